"""Count what came of releases: how many, how soon, how many failed users, how soon users were back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """Since when; where, None for everywhere."""

    since: datetime | timedelta
    env: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument(
        "--since",
        type=options.since,
        default=timedelta(days=30),
        metavar="TIME",
        help="30d, 12h, or a time (ISO 8601, UTC if not said); default: 30d",
    )
    options.environment(parser, required=False)


def run(arguments: Arguments, context: Context) -> Answer:
    """Read the records."""
    from datetime import UTC

    from bot.operations.report import report
    from bot.render import reporting

    until = datetime.now(UTC)
    since = until - arguments.since if isinstance(arguments.since, timedelta) else arguments.since
    with context.platforms(arguments.env, lenient=True) as platforms:
        found = report(platforms, since=since, until=until)
    return Answer(found, reporting.on_terminal(found), found.exit_code)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.report import Report

    return Report
