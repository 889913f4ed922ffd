"""Like status, with every byte, answer and alias; exit code 1 if anything differs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot import arguments as options
from bot.commands import Answer, Context
from bot.exit_codes import ExitCode

if TYPE_CHECKING:
    from bot.render.job import Job


@dataclass(frozen=True)
class Arguments:
    """Where; None: everywhere."""

    env: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    options.environment(parser, required=False)


def run(arguments: Arguments, context: Context) -> Answer:
    """Look."""
    from bot.operations.drift import drift
    from bot.render import terminal

    found = [drift(settings) for settings in context.all_settings_of_the_way_back(arguments.env)]
    code = ExitCode.DONE if all(environment.in_sync for environment in found) else ExitCode.FAILED

    def job() -> Job:
        from bot.render import job as documents

        return documents.differences(found)

    return Answer({"environments": found}, "\n\n".join(map(terminal.drift, found)), code, job)
