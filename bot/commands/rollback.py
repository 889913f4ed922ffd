"""Open the revert pull request to the last verified version."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot import arguments as options
from bot.commands import Answer, Context, asking, once
from bot.output import say

if TYPE_CHECKING:
    from bot.platform import Platform
    from bot.render.job import Job


@dataclass(frozen=True)
class Arguments:
    """Which model goes back, to which version, and when."""

    model: str
    env: str
    to: int | None
    now: bool
    replace: bool
    request: str
    reason: str
    by: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    options.environment(parser)
    parser.add_argument(
        "--to", type=options.version, metavar="VERSION", help="a verified version (default: the last one)"
    )
    parser.add_argument("--now", action="store_true", help="put the runtime back first, before the merge")
    options.replace(parser)
    options.request(parser)
    parser.add_argument("--reason", default="", help="why; the pull request says it")
    options.by(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Go back."""

    def do(platform: Platform) -> Answer:
        from bot.operations.rollback import rollback

        done = rollback(
            platform,
            model=arguments.model,
            to_version=arguments.to,
            now=arguments.now,
            reason=arguments.reason,
            by=arguments.by,
            say=say,
            request=arguments.request,
            asking=asking(replace=arguments.replace),
        )
        from bot.render import terminal  # until users are back, nothing is imported that only speaks

        def job() -> Job:
            from bot.render import job as documents

            return documents.rolled_back(done)

        return Answer(done, terminal.rolled_back(done), done.exit_code, job)

    asked = {
        "verb": "rollback",
        "model": arguments.model,
        "to": str(arguments.to or ""),
        "now": str(arguments.now or ""),
    }
    with context.platform(arguments.env, lenient=True) as platform:
        return once(context, platform, arguments.request, asked, lambda: do(platform))
