"""Show every environment on a page that people look at, and that changes nothing."""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context
from bot.exit_codes import ExitCode
from bot.results import BoardEnded


@dataclass(frozen=True)
class Arguments:
    """Which environments, where to listen, under which names, who says who looks, how often to read."""

    env: list[str] | None
    host: str
    port: int
    host_name: list[str] | None
    who_header: str | None
    every: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("--env", action="append", metavar="ENV", help="an environment; again for more (default: all)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=options.port, default=8090, metavar="PORT", help="default: 8090")
    parser.add_argument(
        "--host-name",
        action="append",
        type=options.host_name,
        metavar="NAME",
        help="a name under which people reach it, besides localhost and addresses; again for more",
    )
    parser.add_argument(
        "--who-header",
        type=options.header,
        metavar="HEADER",
        help="the header in which a proxy in front says who looks, as x-auth-request-user (default: nobody is named)",
    )
    parser.add_argument(
        "--every",
        type=options.seconds,
        default=2.0,
        metavar="SECONDS",
        help="how often the share, each Triton and each gateway are read (default: 2)",
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Serve until somebody ends it."""
    # Each read asks every gateway: what it found is on the page, and that it asked is not worth a line.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from bot.board.board import Board
    from bot.board.collecting import Rhythm
    from bot.board.server import serve

    board = Board(context.root, environments=tuple(arguments.env or ()), rhythm=Rhythm(serving=arguments.every))
    started = serve(
        board,
        host=arguments.host,
        port=arguments.port,
        who_header=arguments.who_header or "",
        hosts=arguments.host_name or (),
    )
    if not started:
        return Answer(BoardEnded(False), "the board did not start", ExitCode.FAILED)
    return Answer(BoardEnded(True), "stopped")


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    return BoardEnded
