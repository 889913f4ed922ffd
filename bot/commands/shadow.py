"""Show how a model's shadow answers copies of real requests, and whether it has earned its promotion."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """Whose shadow, and where."""

    model: str
    env: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model, help="a model that has a shadow")
    options.environment(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Ask the gateways."""
    from bot.operations.shadow import shadow
    from bot.render import terminal

    with context.platform(arguments.env, lenient=True) as platform:
        found = shadow(platform, arguments.model)
    return Answer(found, terminal.shadow(found))


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.shadow import ShadowReport

    return ShadowReport
