"""Serve slash commands, buttons and forms, and keep each promotion's message."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bot import arguments as options
from bot.commands import Answer, Context, resolved
from bot.exit_codes import ExitCode
from bot.results import ServiceEnded


@dataclass(frozen=True)
class Arguments:
    """Which environments, how Slack's requests come, where the inbox is, how often to look."""

    env: list[str] | None
    http: int | None
    socket: bool
    once: bool
    host: str
    state: str | None
    follow: float
    drift: float
    metrics_port: int | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("--env", action="append", metavar="ENV", help="an environment; again for more (default: all)")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--http", type=options.port, metavar="PORT", help="take what Slack sends to /slack/events")
    how.add_argument("--socket", action="store_true", help="connect to Slack by Socket Mode; nothing listens")
    how.add_argument("--once", action="store_true", help="do what is in the inbox, and return")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--state", metavar="DIR", help="where the inbox is, shared by replicas (default: slack/ in the record store)"
    )
    parser.add_argument(
        "--follow",
        type=options.seconds,
        default=15.0,
        metavar="SECONDS",
        help="how often promotions' messages are brought up to date, besides after each command (default: 15)",
    )
    parser.add_argument(
        "--drift",
        type=options.seconds_or_never,
        default=3_600.0,
        metavar="SECONDS",
        help="how often to look as deep as `promobot drift` for what waits for somebody; 0: never (default: 3600)",
    )
    parser.add_argument(
        "--metrics-port", type=options.port, metavar="PORT", help="serve metrics for Prometheus there, at ADDRESS too"
    )


def run(arguments: Arguments, context: Context) -> Answer:
    """Serve until somebody ends it, or once."""
    from bot.slack.service import SlackService

    service = SlackService(
        context.root,
        environments=tuple(arguments.env or ()),
        state=resolved(arguments.state) if arguments.state else None,
        follow_seconds=arguments.follow,
        drift_seconds=arguments.drift,
    )
    if arguments.once:
        service.worker.once()
        return Answer(ServiceEnded(True), "stopped")
    with ExitStack() as serving:
        if arguments.metrics_port is not None:
            serving.enter_context(service.worker.metrics.served(host=arguments.host, port=arguments.metrics_port))
        if arguments.socket:
            service.serve_socket()
        elif arguments.http is None or not service.serve(host=arguments.host, port=arguments.http):
            return Answer(ServiceEnded(False), "the service did not start", ExitCode.FAILED)
    return Answer(ServiceEnded(True), "stopped")


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    return ServiceEnded
