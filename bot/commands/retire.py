"""Open the pull request that takes a model out of service."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """Which model, where, why."""

    model: str
    env: str
    replace: bool
    reason: str
    by: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    options.environment(parser)
    options.replace(parser)
    parser.add_argument("--reason", required=True, help="why; the file and the pull request say it")
    options.by(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Propose that it goes."""
    from bot.render import terminal
    from bot.requests import Retire

    request = Retire(
        environment=arguments.env,
        by=context.actor(arguments.by),
        model=arguments.model,
        reason=arguments.reason,
        replace=arguments.replace,
    )
    return context.carry_out(request, terminal.retired)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.retire import Retired

    return Retired
