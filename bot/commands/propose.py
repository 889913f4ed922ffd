"""Propose registered versions to an environment, by a pull request."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context, UsageMistake

_MORE = (
    "MODEL VERSION, or MODEL:VERSION of as many models as you like, which makes one pull request for all; "
    "the names of MLflow that cannot be served go by those of mlflow_names"
)


@dataclass(frozen=True)
class Arguments:
    """Which versions, for which environment; ``versions`` is None for the newest of every model."""

    what: list[str]
    all_ready: bool
    dry_run: bool
    env: str
    replace: bool
    request: str
    lane: str
    share: float | None
    versions: Mapping[str, int] | None = field(init=False)

    def __post_init__(self) -> None:
        """Read what is to be proposed."""
        if self.all_ready == bool(self.what):
            raise UsageMistake("name a model and its version, as in churn:7, or say --all-ready")
        object.__setattr__(self, "versions", None if self.all_ready else _versions(self.what))
        if self.lane == "shadow" and not self.is_one:
            raise UsageMistake("--as shadow is for one version, as in churn:7, and opens its pull request")
        if self.share is not None and self.lane != "shadow":
            raise UsageMistake("--share is that of a shadow: say --as shadow, too")

    @property
    def is_one(self) -> bool:
        """Whether one version was named, as ``churn 7`` or ``churn:7``."""
        return self.versions is not None and len(self.versions) == 1 and not self.dry_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("what", nargs="*", metavar="MODEL[:VERSION]", help=_MORE)
    parser.add_argument(
        "--all-ready",
        action="store_true",
        help="the newest version of each registered model that has a package and passes its gate",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="open nothing; say what would be proposed, and what not"
    )
    parser.add_argument(
        "--as",
        dest="lane",
        choices=("models", "shadow"),
        default="models",
        help="shadow: it gets copies of requests and answers nobody, also where it passes its gate",
    )
    parser.add_argument(
        "--share",
        type=_share,
        metavar="N",
        help="with --as shadow: it gets copies of this share of requests, as in 0.1 (default: as main says, or all)",
    )
    options.environment(parser)
    options.replace(parser)
    options.request(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Propose them."""
    from bot.render import terminal
    from bot.requests import Propose, ProposeMany

    if arguments.is_one and arguments.versions:
        ((model, version),) = arguments.versions.items()
        request = Propose(
            environment=arguments.env,
            by=context.actor(),
            id=arguments.request,
            model=model,
            version=version,
            replace=arguments.replace,
            as_shadow=arguments.lane == "shadow",
            share=arguments.share,
        )
        return context.carry_out(request, terminal.proposed)
    many = ProposeMany(
        environment=arguments.env,
        by=context.actor(),
        # What changes nothing may be asked again under any id.
        id="" if arguments.dry_run else arguments.request,
        versions=arguments.versions,
        replace=arguments.replace,
        dry_run=arguments.dry_run,
    )
    return context.carry_out(many, terminal.proposed_many)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.propose import Proposal
    from bot.operations.propose_many import Proposals
    from bot.records.ledger import RequestDone

    return Proposal | Proposals | RequestDone


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.01 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r:.20} is not a share: write a number from 0.01 to 1")
    return share


def _versions(what: list[str]) -> dict[str, int]:
    """Return the versions by model, in the order in which they were typed."""
    if len(what) == 1 and ":" not in what[0]:
        _read("model", options.model, what[0])
        raise UsageMistake(f"the following arguments are required: version (as in {what[0]}:7)")
    pairs = [tuple(what)] if len(what) == 2 and not any(":" in word for word in what) else map(_pair, what)
    found: dict[str, int] = {}
    for model, version in pairs:
        name = _read("model", options.model, model)
        if name in found:
            raise UsageMistake(f"{name} is named twice: a proposal has one version of it")
        found[name] = _read("version", options.version, version)
    return found


def _pair(word: str) -> tuple[str, str]:
    model, colon, version = word.rpartition(":")
    if not colon:
        raise UsageMistake(f"{word!r:.80} has no version: write {word[:63]}:7")
    return model, version


def _read(what: str, reader: Any, text: str) -> Any:
    try:
        return reader(text)
    except argparse.ArgumentTypeError as error:
        raise UsageMistake(f"argument {what}: {error}") from error
