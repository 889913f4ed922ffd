"""Propose a registered version to an environment, by a pull request."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context


@dataclass(frozen=True)
class Arguments:
    """Which version, for which environment."""

    model: str
    version: int
    env: str
    replace: bool
    request: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model)
    parser.add_argument("version", type=options.version)
    options.environment(parser)
    options.replace(parser)
    options.request(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Propose it."""
    from bot.render import terminal
    from bot.requests import Propose

    request = Propose(
        environment=arguments.env,
        by=context.actor(),
        id=arguments.request,
        model=arguments.model,
        version=arguments.version,
        replace=arguments.replace,
    )
    return context.carry_out(request, terminal.proposed)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.propose import Proposal
    from bot.records.ledger import RequestDone

    return Proposal | RequestDone
