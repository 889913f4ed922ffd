"""Run the checks of what main says already, where a deployment is held for them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """Which model, where."""

    model: str
    env: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    options.environment(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Check it."""
    from bot.render import terminal
    from bot.requests import Recheck

    request = Recheck(environment=arguments.env, by=context.actor(), model=arguments.model)
    return context.carry_out(request, terminal.rechecked)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.recheck import Rechecked

    return Rechecked
