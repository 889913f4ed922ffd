"""Show what is desired and what is live everywhere, and what to type next."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context, UsageMistake
from bot.output import show
from bot.results import Environments


@dataclass(frozen=True)
class Arguments:
    """Where, None for everywhere; and how often to look again."""

    env: str | None
    watch: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    options.environment(parser, required=False)
    parser.add_argument(
        "--watch",
        type=options.seconds,
        nargs="?",
        const=5.0,
        metavar="SECONDS",
        help="look again and again, every 5 seconds if not said; not with --json",
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Look, or look again and again."""
    if context.json and arguments.watch is not None:
        raise UsageMistake("argument --watch: not allowed with argument --json")
    from bot.operations.seen import Watched
    from bot.operations.status import statuses
    from bot.render import terminal

    if arguments.watch is None:
        with context.platforms(arguments.env, lenient=True) as platforms:
            found = statuses(platforms)
        return Answer(Environments(found), "\n\n".join(map(terminal.status, found)))

    watched = Watched()

    def look() -> str:
        # Settings are read anew each time, as the file may be corrected meanwhile.
        with context.platforms(arguments.env, lenient=True) as platforms:
            return "\n\n".join(map(terminal.status, statuses(platforms, watched=watched)))

    try:
        while _show(look):
            time.sleep(arguments.watch)
    except KeyboardInterrupt:
        pass
    return Answer(None, "")


def _show(look: Callable[[], str]) -> bool:
    """Show a look in the place of the one before; say whether somebody reads on. A fault is shown, too."""
    from datetime import UTC, datetime

    from bot.operations.attempts import attempted

    with attempted() as attempt:
        text = look()
    if attempt.error:
        text = f"{attempt.error}\n{attempt.error.state}".strip()
    clear = "\033[H\033[2J" if sys.stdout.isatty() else ""
    return show(f"{clear}{text}\n\nlooked at {datetime.now(UTC):%H:%M:%S} UTC; Ctrl-C ends it\n", colours=True)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.status import Status

    return Environments[Status]
