"""Carry the digest that one environment has verified to the next."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot import arguments as options
from bot.commands import Answer, Context

if TYPE_CHECKING:
    from bot.operations.propose import Proposal
    from bot.operations.propose_many import Proposals


@dataclass(frozen=True)
class Arguments:
    """The model and version, the source and the target."""

    model: str
    source: str | None
    env: str
    version: int | None
    replace: bool
    request: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("model", type=options.model, help="a model, or a bundle, which goes whole")
    parser.add_argument("--from", dest="source", metavar="ENV", help="where it is verified (default: promotes_from)")
    parser.add_argument("--to", dest="env", required=True, metavar="ENV", help="where to propose it")
    parser.add_argument("--version", type=options.version, help="refuse if another version is in service there")
    options.replace(parser)
    options.request(parser)


def run(arguments: Arguments, context: Context) -> Answer:
    """Carry it."""
    from bot.operations.propose import Proposal
    from bot.render import terminal
    from bot.requests import Promote

    def tell(done: Proposal | Proposals) -> str:
        return terminal.proposed(done) if isinstance(done, Proposal) else terminal.proposed_many(done)

    request = Promote(
        environment=arguments.env,
        by=context.actor(),
        id=arguments.request,
        model=arguments.model,
        source=arguments.source or "",
        version=arguments.version,
        replace=arguments.replace,
    )
    return context.carry_out(request, tell)


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.operations.propose import Proposal
    from bot.operations.propose_many import Proposals
    from bot.records.ledger import RequestDone

    return Proposal | Proposals | RequestDone
