"""Go back and forth again while users ask, to prove that the way back works; where the settings allow it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context
from bot.output import say


@dataclass(frozen=True)
class Arguments:
    """Which model, where, and who asks."""

    model: str
    env: str
    by: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    options.environment(parser)
    options.by(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Rehearse."""
    from bot.operations.rehearse import rehearse
    from bot.render import terminal

    with context.platform(arguments.env) as platform:
        done = rehearse(platform, arguments.model, by=context.actor(arguments.by).shown or "somebody", say=say)
    return Answer(done, terminal.rehearsed(done), done.exit_code)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.rehearse import Rehearsed

    return Rehearsed
