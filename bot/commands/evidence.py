"""List what the checks found, show it in full, take it back, or hand it on as one signed statement."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bot import arguments as options
from bot.commands import Answer, Context, UsageMistake

_OF_ONE_ENVIRONMENT = ("list", "show", "revoke")


@dataclass(frozen=True)
class Arguments:
    """Of which version, where; why it is taken back; for a statement its keys and its file."""

    action: Literal["list", "show", "revoke", "export", "verify"]
    model: str | None
    """Of verify: the file."""
    version: str | None
    env: str | None
    reason: str
    by: str
    key: list[Path]
    to: Path | None

    def __post_init__(self) -> None:
        """Raise UsageMistake where the arguments do not fit the action."""
        lacking = "--env" if self.action in _OF_ONE_ENVIRONMENT and not self.env else ""
        lacking = lacking or (
            "MODEL, VERSION" if self.action == "export" and not (self.model and self.version) else ""
        )
        lacking = lacking or ("FILE, --key" if self.action == "verify" and not (self.model and self.key) else "")
        if lacking:
            raise UsageMistake(f"the following arguments are required: {lacking}")
        if self.action == "export" and len(self.key) > 1:
            raise UsageMistake("export signs with one --key")
        if self.action != "verify" and self.model is not None:
            try:
                options.model(self.model)
            except argparse.ArgumentTypeError as error:
                raise UsageMistake(f"argument model: {error}") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("action", choices=["list", "show", "revoke", "export", "verify"])
    parser.add_argument("model", nargs="?", metavar="MODEL", help="the model; verify: the file of a statement")
    parser.add_argument(
        "version",
        nargs="?",
        metavar="VERSION",
        help="show, revoke, export: the version, or the beginning of its digest",
    )
    parser.add_argument("--env", metavar="ENV", help="the environment; export: that alone (default: all)")
    parser.add_argument("--reason", default="", help="revoke: why; those who are held by it read this")
    note = "export: the private key that signs; verify: a public key of who may have signed, once for each (PEM)"
    parser.add_argument("--key", type=Path, action="append", default=[], metavar="FILE", help=note)
    parser.add_argument("--to", type=Path, metavar="FILE", help="export: write the statement there (default: stdout)")
    options.by(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """List it, show it, revoke it, or make or check a statement."""
    match arguments.action:
        case "export":
            return _export(arguments, context)
        case "verify":
            return _verify(arguments)
    from bot.operations.evidence import list_evidence, show
    from bot.render import terminal
    from bot.requests import RevokeEvidence

    environment = arguments.env or ""
    if arguments.action == "list":
        with context.platform(environment) as platform:
            found = list_evidence(platform, model=arguments.model)
        return Answer(found, terminal.evidence(found))
    model, version = arguments.model or "", arguments.version or ""
    if arguments.action == "show":
        with context.platform(environment) as platform:
            found = show(platform, model=model, which=version)
        return Answer(found, terminal.evidence_in_full(found))
    by = context.actor(arguments.by)
    request = RevokeEvidence(environment=environment, by=by, model=model, which=version, reason=arguments.reason)
    return context.carry_out(request, terminal.revoked)


def _export(arguments: Arguments, context: Context) -> Answer:
    import json

    from bot.errors import InvalidInput
    from bot.operations.attesting import export
    from bot.render import attesting as words
    from bot.signing import Signer

    signer = Signer.read(arguments.key[0]) if arguments.key else None
    with context.platforms(arguments.env) as platforms:
        found = export(platforms, model=arguments.model or "", which=arguments.version or "", signer=signer)
    text = json.dumps(found.envelope, indent=1)
    if arguments.to is None:
        return Answer(found, text)
    try:
        arguments.to.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot be written: {error.strerror}", file=str(arguments.to)) from error
    return Answer(found, words.exported(found, str(arguments.to)))


def _verify(arguments: Arguments) -> Answer:
    from bot.errors import InvalidInput
    from bot.operations.attesting import verify
    from bot.render import attesting as words
    from bot.signing import Key

    file = Path(arguments.model or "")
    keys = [Key.read(path) for path in arguments.key]
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(file)) from error
    except UnicodeDecodeError as error:
        raise InvalidInput("is not text in UTF-8", file=str(file)) from error
    found = verify(text, keys, file=str(file))
    return Answer(found, words.verified(found))


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.attesting import Exported, Verified
    from bot.operations.evidence import Found

    return Found | Exported | Verified
