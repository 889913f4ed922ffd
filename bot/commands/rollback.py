"""Open the revert pull request to the last verified version."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot import arguments as options
from bot.commands import Answer, Context

if TYPE_CHECKING:
    from bot.operations.job import Job
    from bot.operations.rollback import RolledBack


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
    from bot.requests import RollBack

    request = RollBack(
        environment=arguments.env,
        by=context.actor(arguments.by),
        id=arguments.request,
        model=arguments.model,
        to=arguments.to,
        now=arguments.now,
        reason=arguments.reason,
        replace=arguments.replace,
    )
    return context.carry_out(request, _tell, _job, lenient=True)


def _tell(done: RolledBack) -> str:
    from bot.render import terminal  # until users are back, nothing is imported that only speaks

    return terminal.rolled_back(done)


def _job(done: RolledBack) -> Job:
    from bot.render import job as documents

    return documents.rolled_back(done)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from pydantic import TypeAdapter

    from bot.operations.deploy import Deployed  # noqa: F401 - RolledBack names it, and does not import it
    from bot.operations.rollback import RolledBack
    from bot.records.ledger import RequestDone

    return TypeAdapter[RolledBack | RequestDone](RolledBack | RequestDone)
