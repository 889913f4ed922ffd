"""Make what is served equal to the head of main, and prove it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot import arguments as options
from bot.commands import Answer, Context
from bot.output import say

if TYPE_CHECKING:
    from bot.operations.job import Job


@dataclass(frozen=True)
class Arguments:
    """Where."""

    env: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    options.environment(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Deploy."""
    from bot.operations.deploy import deploy
    from bot.render import terminal

    with context.platform(arguments.env, lenient=True) as platform:
        done = deploy(platform, say=say)

    def job() -> Job:
        from bot.render import job as documents

        return documents.deployed([done])

    return Answer(done, terminal.deployed(done), done.exit_code, job)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.deploy import Deployed

    return Deployed
