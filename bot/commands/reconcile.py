"""Put right what drift finds, by deploy's own path."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot import arguments as options
from bot.commands import Answer, Context
from bot.output import say
from bot.results import Environments

if TYPE_CHECKING:
    from bot.operations.job import Job


@dataclass(frozen=True)
class Arguments:
    """Where; None: everywhere."""

    env: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    options.environment(parser, required=False)


def run(arguments: Arguments, context: Context) -> Answer:
    """Put it right."""
    from bot.operations.reconcile import exit_code, reconcile
    from bot.render import terminal

    with context.platforms(arguments.env) as platforms:
        done = reconcile(platforms, say=say)

    def job() -> Job:
        from bot.render import job as documents

        return documents.deployed(done)

    return Answer(Environments(done), "\n\n".join(map(terminal.deployed, done)), exit_code(done), job)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.deploy import Deployed

    return Environments[Deployed]
