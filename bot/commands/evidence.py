"""List what the checks found, show it in full, or take it back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Literal

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """Of which version, where; why it is taken back."""

    action: Literal["list", "show", "revoke"]
    model: str | None
    version: str | None
    env: str
    reason: str
    by: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("action", choices=["list", "show", "revoke"])
    parser.add_argument("model", type=options.model, nargs="?")
    parser.add_argument(
        "version", nargs="?", metavar="VERSION", help="show, revoke: the version, or the beginning of its digest"
    )
    options.environment(parser)
    parser.add_argument("--reason", default="", help="revoke: why; those who are held by it read this")
    options.by(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """List it, show it, or revoke it."""
    from bot.operations.evidence import list_evidence, show
    from bot.render import terminal
    from bot.requests import RevokeEvidence

    if arguments.action == "list":
        with context.platform(arguments.env) as platform:
            found = list_evidence(platform, model=arguments.model)
        return Answer(found, terminal.evidence(found))
    model, version = arguments.model or "", arguments.version or ""
    if arguments.action == "show":
        with context.platform(arguments.env) as platform:
            found = show(platform, model=model, which=version)
        return Answer(found, terminal.evidence_in_full(found))
    by = context.actor(arguments.by)
    request = RevokeEvidence(environment=arguments.env, by=by, model=model, which=version, reason=arguments.reason)
    return context.carry_out(request, terminal.revoked)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.evidence import Found

    return Found
