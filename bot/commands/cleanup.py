"""Unload and delete versions that no route, rollback target or Triton still uses."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context
from bot.output import say


@dataclass(frozen=True)
class Arguments:
    """Where, and whether only to say what would go."""

    env: str
    dry_run: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    options.environment(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")


def run(arguments: Arguments, context: Context) -> Answer:
    """Clean up."""
    from bot.operations.cleanup import cleanup
    from bot.render.cleanup import cleaned_up

    with context.platform(arguments.env) as platform:
        done = cleanup(platform, dry_run=arguments.dry_run, say=say)
    return Answer(done, cleaned_up(done), done.exit_code)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.domain.retention import CleanedUp

    return CleanedUp
