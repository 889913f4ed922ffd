"""Open the pull request that takes a model out of service."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from bot import arguments as options
from bot.commands import Answer, Context, asking
from bot.output import say


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
    from bot.operations.retire import retire
    from bot.render import terminal

    with context.platform(arguments.env) as platform:
        done = retire(
            platform,
            model=arguments.model,
            reason=arguments.reason,
            by=arguments.by,
            say=say,
            asking=asking(replace=arguments.replace),
        )
    return context.answer(done, terminal.retired(done), done.exit_code, url=done.url)
