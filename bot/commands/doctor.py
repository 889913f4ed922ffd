"""Try on every system what a deployment does there, and name what would fail."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context
from bot.results import Environments


@dataclass(frozen=True)
class Arguments:
    """Where, None for everywhere; whether to mark stores that are new."""

    env: str | None
    init: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    options.environment(parser, required=False)
    parser.add_argument(
        "--init",
        action="store_true",
        help="first mark the record store and the shares, where they are new and mounted",
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Try them."""
    from bot.operations.doctor import doctor
    from bot.render import terminal

    with context.platforms(arguments.env) as platforms:
        found = doctor(platforms, init=arguments.init)
    code = max(diagnosis.exit_code for diagnosis in found)
    return Answer(Environments(found), "\n\n".join(map(terminal.diagnosis, found)), code)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.doctor import Diagnosis

    return Environments[Diagnosis]
