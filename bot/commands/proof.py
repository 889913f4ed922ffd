"""Tell the story, and write down what it left behind on every system."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from bot.commands import Answer, Context, resolved
from bot.output import say


@dataclass(frozen=True)
class Arguments:
    """Where the pages go, and whether Airflow takes part."""

    out: str
    airflow: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder for the pages and proof.json")
    parser.add_argument(
        "--airflow",
        action="store_true",
        help="with a real Airflow at the end, installed first: minutes more",
    )


def run(arguments: Arguments, context: Context) -> Answer:  # noqa: ARG001 - it needs no checkout
    """Tell it, and write it down."""
    from bot.operations.sandbox import proof
    from bot.render.proof import written

    command = f"promobot proof --out {arguments.out}" + (" --airflow" if arguments.airflow else "")
    made = proof(resolved(arguments.out), command=command, airflow=arguments.airflow, say=say)
    return Answer(made, written(made, arguments.out))


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.domain.proof import Proof

    return Proof
