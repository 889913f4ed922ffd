"""Find the release that began to answer a case wrong, by asking releases on staging."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """Which model, where, and the case."""

    model: str
    env: str
    case: str
    all: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    options.environment(parser)
    parser.add_argument(
        "--case", required=True, metavar="FILE", help="the case: a file, or its name in cases/MODEL of the checkout"
    )
    parser.add_argument(
        "--all", action="store_true", help="ask every release; without it the search halves what is left"
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Ask releases."""
    from bot.operations.bisect import read_case
    from bot.render import bisecting
    from bot.requests import Bisect

    case = read_case(context.root, arguments.model, arguments.case)
    request = Bisect(environment=arguments.env, by=context.actor(), case=case, every=arguments.all)
    return context.carry_out(request, bisecting.on_terminal)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.bisect import Bisected

    return Bisected
