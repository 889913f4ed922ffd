"""Carry the digest that one environment has verified to the next."""

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
    """What is carried, from where to where."""

    model: str
    source: str | None
    env: str
    version: int | None
    replace: bool
    request: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    parser.add_argument("--from", dest="source", metavar="ENV", help="where it is verified (default: promotes_from)")
    parser.add_argument("--to", dest="env", required=True, metavar="ENV", help="where to propose it")
    parser.add_argument("--version", type=options.version, help="refuse if another version is in service there")
    options.replace(parser)
    options.request(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Carry it."""
    from bot.operations.promote import promote
    from bot.render import terminal

    def do(target: Platform) -> Answer:
        name = arguments.source or target.settings.promotes_from
        if name is None:
            from bot import settings
            from bot.errors import InvalidInput

            raise InvalidInput(f"{settings.path_of(target.environment)} has no promotes_from", key="--from")
        with context.platform(name) as source:
            done = promote(
                source,
                target,
                model=arguments.model,
                version=arguments.version,
                say=say,
                asking=asking(replace=arguments.replace),
            )
        return context.answer(done, terminal.proposed(done), done.exit_code, url=done.url)

    asked = {
        "verb": "promote",
        "model": arguments.model,
        "source": arguments.source or "",
        "version": str(arguments.version or ""),
    }
    with context.platform(arguments.env) as platform:
        return once(context, platform, arguments.request, asked, lambda: do(platform))
