"""Propose a registered version to an environment, by a pull request."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot import arguments as options
from bot.commands import Answer, Context, asking, once
from bot.output import say

if TYPE_CHECKING:
    from bot.platform import Platform


@dataclass(frozen=True)
class Arguments:
    """Which version, for which environment."""

    model: str
    version: int
    env: str
    replace: bool
    request: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    parser.add_argument("version", type=options.version)
    options.environment(parser)
    options.replace(parser)
    options.request(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Propose it."""
    from bot.operations.propose import propose
    from bot.render import terminal

    def do(platform: Platform) -> Answer:
        done = propose(
            platform,
            model=arguments.model,
            version=arguments.version,
            say=say,
            asking=asking(replace=arguments.replace),
        )
        return context.answer(done, terminal.proposed(done), done.exit_code, url=done.url)

    asked = {"verb": "propose", "model": arguments.model, "version": str(arguments.version)}
    with context.platform(arguments.env) as platform:
        return once(context, platform, arguments.request, asked, lambda: do(platform))
