"""Like status, with every byte, answer and alias; exit code 1 if anything differs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot import arguments as options
from bot.commands import Answer, Context
from bot.exit_codes import ExitCode
from bot.output import say
from bot.results import Environments

if TYPE_CHECKING:
    from bot.operations.job import Job


@dataclass(frozen=True)
class Arguments:
    """Where; None: everywhere. ``note``: keep who is silent, and which ways back are proven, for later looks."""

    env: str | None
    note: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    options.environment(parser, required=False)
    parser.add_argument(
        "--note",
        action="store_true",
        help="note on the share who is silent, so that `status` can say since when, and in the records which ways "
        "back answered rightly, so that pull requests say it; needs write access there",
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Look."""
    from bot.operations.drift import drift, note_ways_back
    from bot.operations.silence import note_look
    from bot.render import terminal

    with context.platforms(arguments.env, lenient=True) as platforms:
        found = [drift(platform) for platform in platforms]
        for platform, environment in zip(platforms, found, strict=True) if arguments.note else ():
            note_look(platform.share, environment.silent, say=say)
            note_ways_back(platform, environment, say=say)
    code = ExitCode.DONE if all(environment.in_sync for environment in found) else ExitCode.FAILED

    def job() -> Job:
        from bot.render import job as documents

        return documents.differences(found)

    return Answer(Environments(found), "\n\n".join(map(terminal.drift, found)), code, job)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.status import Status

    return Environments[Status]
