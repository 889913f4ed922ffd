"""Run one check of a pull request, sum them up, or look at a merge group."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bot import arguments as options
from bot.commands import Answer, Context, UsageMistake
from bot.output import say

if TYPE_CHECKING:
    from bot.operations.job import Job


@dataclass(frozen=True)
class Arguments:
    """Which check, of which pull request or merge group."""

    check: Literal["ready", "triton", "smoke", "behaviour", "verdict", "queued"]
    pull_request: int | None
    head: str | None
    base: str | None
    run_id: str
    needs: dict[str, str]

    def __post_init__(self) -> None:
        """See that what the check needs is named."""
        needed: dict[str, object] = {"--base": self.base, "--head": self.head}
        if self.check != "queued":
            needed = {"--pull-request": self.pull_request}
        if missing := [flag for flag, value in needed.items() if value is None]:
            raise UsageMistake(f"the following arguments are required: {', '.join(missing)}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("check", choices=["ready", "triton", "smoke", "behaviour", "verdict", "queued"])
    parser.add_argument("--pull-request", type=options.version, metavar="N")
    parser.add_argument(
        "--head", type=options.commit, metavar="SHA", help="refuse if the pull request is at another commit"
    )
    parser.add_argument("--base", type=options.commit, metavar="SHA", help="queued: what the merge group is built on")
    run = f"{os.environ.get('GITHUB_RUN_ID', str(os.getpid()))}.{os.environ.get('GITHUB_RUN_ATTEMPT', '1')}"
    parser.add_argument("--run-id", default=run, help="tells runs apart (default: that of GitHub Actions)")
    parser.add_argument(
        "--needs", type=options.needs, default={}, metavar="JSON", help="verdict: GitHub's `needs` context"
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Run it."""
    from bot.operations.check import aggregate, check, check_queued
    from bot.platform import Platforms
    from bot.render import terminal

    number, head, base = arguments.pull_request, arguments.head, arguments.base
    with Platforms(context.root) as platforms:
        if arguments.check == "queued":
            assert base is not None and head is not None  # noqa: S101 - see Arguments
            queued = check_queued(platforms, base=base, head=head, say=say)
            return Answer(queued, terminal.queued(queued), queued.exit_code)
        assert number is not None  # noqa: S101 - see Arguments
        if arguments.check == "verdict":
            done = aggregate(platforms, pull_request=number, head=head, needs=arguments.needs, say=say)
        else:
            done = check(platforms, arguments.check, pull_request=number, head=head, run=arguments.run_id, say=say)

    def job() -> Job:
        from bot.render import job as documents

        return documents.checked(done)

    return Answer(done, terminal.checked(done), done.exit_code, job)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.check import Checked, Queued

    return Checked | Queued
