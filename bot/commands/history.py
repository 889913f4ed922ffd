"""Show what was deployed, one deployment whole, or what was in service at a time."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot import arguments as options
from bot.commands import Answer, Context, UsageMistake

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class Arguments:
    """Of which model; or ``show`` and a record."""

    model: str | None
    record: str | None
    env: str | None
    at: datetime | None
    limit: int

    def __post_init__(self) -> None:
        if not self.environment:
            raise UsageMistake("the following arguments are required: --env")

    @property
    def environment(self) -> str:
        """The environment of ``--env``, or of the deployment to show; empty without either."""
        from bot.domain.names import environment_of

        return self.env or (environment_of(self.record or "") if self.model == "show" else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument(
        "model", type=options.model, nargs="?", help="a model; or `show`, and one deployment's id behind it"
    )
    parser.add_argument("record", nargs="?", metavar="RECORD", help="show: the deployment, as dev-00000012-churn")
    note = "the environment; a deployment that is shown names its own"
    parser.add_argument("--env", metavar="ENV", help=note)
    parser.add_argument(
        "--at", type=options.time, metavar="TIME", help="what was in service then (ISO 8601, UTC if not said)"
    )
    parser.add_argument(
        "--limit", type=options.version, default=50, metavar="N", help="how many deployments (default 50)"
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Read the records."""
    from bot.errors import InvalidInput
    from bot.operations.history import history, show
    from bot.render import terminal

    record = arguments.record
    with context.platform(arguments.environment, lenient=True) as platform:
        if arguments.model == "show" and record:
            found = show(platform, record)
            return Answer(found, terminal.record_in_full(found))
        if record:
            raise InvalidInput(f"is one word too many; `promobot history show {record}`", key=record)
        all_of_it = history(platform, model=arguments.model, at=arguments.at, limit=arguments.limit)
    return Answer(all_of_it, terminal.history(all_of_it))


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.domain.record import DeploymentRecord
    from bot.operations.history import History

    return History | DeploymentRecord
