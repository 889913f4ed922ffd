"""Tell the whole story in a sandbox of its own: train, propose, check, merge, roll back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot.commands import Answer, Context, resolved
from bot.output import say


@dataclass(frozen=True)
class Arguments:
    """Where it runs, whether it stays, and whether every act is played."""

    keep: bool
    dir: str | None
    all: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("--keep", action="store_true", help="leave the sandbox running")
    parser.add_argument(
        "--all", action="store_true", help="also tell what happens after the switch, which takes longer"
    )
    parser.add_argument(
        "--dir", metavar="DIR", help="where the sandbox keeps everything (default: a temporary folder)"
    )


def run(arguments: Arguments, context: Context) -> Answer:  # noqa: ARG001 - it needs no checkout
    """Tell it."""
    from bot.operations.sandbox import demo

    directory = resolved(arguments.dir) if arguments.dir else None
    told = demo(keep=arguments.keep, directory=directory, every_act=arguments.all, say=say)
    return Answer(told, told.text, told.exit_code)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.sandbox import type_of_told

    return type_of_told()
