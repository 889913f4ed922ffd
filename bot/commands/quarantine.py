"""List the digests that failed here, or allow one again."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Literal

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """The digest to lift, where, and why."""

    action: Literal["list", "lift"]
    digest: str | None
    of_run: str
    deployment: str
    env: str
    reason: str
    by: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("action", choices=["list", "lift"])
    parser.add_argument("digest", nargs="?", metavar="DIGEST", help="lift: the digest, or its beginning")
    parser.add_argument(
        "--run",
        dest="of_run",
        default="",
        metavar="RUN",
        help="lift: all that a run blamed, as dev-00000012; closes its reverts",
    )
    parser.add_argument(
        "--deployment", default="", metavar="ID", help="lift: what one deployment blamed, as dev-00000012-churn"
    )
    options.environment(parser)
    parser.add_argument("--reason", default="", help="why it is lifted")
    options.by(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """List it, or lift it."""
    from bot.operations.quarantine import list_quarantine
    from bot.render import terminal
    from bot.requests import LiftQuarantine

    if arguments.action == "list":
        with context.platform(arguments.env) as platform:
            found = list_quarantine(platform)
        return Answer(found, terminal.quarantine(found), found.exit_code)
    if sum(map(bool, (arguments.digest, arguments.of_run, arguments.deployment))) != 1:
        from bot.errors import InvalidInput

        raise InvalidInput("name the digest to lift, or one --run or --deployment", key="DIGEST")
    request = LiftQuarantine(
        environment=arguments.env,
        by=context.actor(arguments.by),
        digest=arguments.digest or "",
        of=arguments.of_run or arguments.deployment,
        reason=arguments.reason,
    )
    return context.carry_out(request, terminal.quarantine)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.quarantine import Quarantine

    return Quarantine
