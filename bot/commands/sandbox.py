"""Start or stop the whole platform on this machine."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Literal

from bot.commands import Answer, Context, resolved
from bot.output import say
from bot.results import SandboxEnded


@dataclass(frozen=True)
class Arguments:
    """Where it keeps everything, and what it is like."""

    action: Literal["up", "down"]
    dir: str
    s3: bool
    like: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument(
        "--dir", required=True, metavar="DIR", help="where it keeps everything; endpoints.json is there"
    )
    parser.add_argument(
        "--s3", action="store_true", help="up: object storage, with records and MLflow's artifacts in it"
    )
    parser.add_argument(
        "--like",
        default="",
        metavar="NAME",
        help="up: be like a world that people have; an unknown name lists them",
    )


def run(arguments: Arguments, context: Context) -> Answer:  # noqa: ARG001 - it needs no checkout
    """Start it, or stop it."""
    from bot.operations.sandbox import down, up

    directory = resolved(arguments.dir)
    if arguments.action == "up":
        started = up(directory, s3=arguments.s3, like=arguments.like, say=say)
        return Answer(started.endpoints, started.table)
    stopped = down(directory)
    return Answer(SandboxEnded(stopped), f"stopped: {', '.join(stopped) or 'nothing was running'}")


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    return dict[str, Any] | SandboxEnded
