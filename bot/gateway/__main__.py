"""``python -m bot.gateway``: the reference application under uvicorn, with uvloop and httptools."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import uvicorn

from bot import logs
from bot.domain.secret_text import cleaned
from bot.exit_codes import ExitCode
from bot.gateway.app import create_app
from bot.gateway.protocol import protocol_with
from bot.gateway.settings import CLIENT_LIMITS, SHADOW_SETTINGS, ClientLimits, GatewaySettings, RecordingSettings

RELOAD_TOKEN_VARIABLE = "PROMOBOT_RELOAD_TOKEN"  # noqa: S105  the name of a variable, not a secret
FOLLOW_VARIABLE = "PROMOBOT_FOLLOW_SECONDS"
KEEP_ALIVE_SECONDS = 75
"""Longer than clients and load balancers keep idle connections, so that they close first and no request meets a
connection that is just being closed.
"""

_SETTINGS: dict[str, Any] = {field.name: field.default for field in fields(GatewaySettings)}
_LIMITS: tuple[tuple[str, object, type, str], ...] = (
    ("--max-request-bytes", _SETTINGS["max_request_bytes"], int, "largest body of a request"),
    ("--max-bytes-in-flight", _SETTINGS["max_bytes_in_flight"], int, "bodies of all requests and answers together"),
    ("--max-connections", CLIENT_LIMITS.max_connections, int, "connections of clients"),
    ("--max-headers", CLIENT_LIMITS.max_headers, int, "headers of a request"),
    ("--max-head-bytes", CLIENT_LIMITS.max_head_bytes, int, "request line and headers together"),
    ("--head-seconds", CLIENT_LIMITS.head_seconds, float, "for the head of a request to arrive"),
    ("--request-seconds", CLIENT_LIMITS.request_seconds, float, "for a whole request to arrive"),
    ("--answer-seconds", CLIENT_LIMITS.answer_seconds, float, "for a client to read a large answer"),
    ("--keep-alive-seconds", KEEP_ALIVE_SECONDS, int, "for an idle connection"),
    ("--shadow-bytes-in-flight", SHADOW_SETTINGS.max_bytes_in_flight, int, "copies for shadows, and their answers"),
    (
        "--shadow-compared-bytes",
        SHADOW_SETTINGS.max_compared_bytes,
        int,
        "an answer that is compared with its shadow's",
    ),
    (
        "--shadow-compare-share",
        SHADOW_SETTINGS.compare_share,
        float,
        "of the processor time, for comparing; 0: compare nothing",
    ),
)


def parser() -> argparse.ArgumentParser:
    """Return what understands the arguments."""
    made = argparse.ArgumentParser(
        prog="python -m bot.gateway",
        description="A gateway in front of Tritons: answers with the versions that routes.json names.",
        epilog=f"POST /reload needs the bearer token in the environment variable {RELOAD_TOKEN_VARIABLE}.",
    )
    made.add_argument("--routes", type=Path, required=True, metavar="FILE", help="routes.json, written by the bot")
    made.add_argument(
        "--triton", action="append", default=[], metavar="URL", help="http://HOST:PORT; once for each Triton"
    )
    made.add_argument(
        "--triton-every-address",
        action="append",
        default=[],
        metavar="URL",
        help="http://HOST:PORT; every address that DNS gives for HOST is a Triton of its own",
    )
    made.add_argument(
        "--resolve-seconds",
        type=float,
        default=_SETTINGS["resolve_seconds"],
        metavar="N",
        help="how often to ask DNS for these addresses (default: %(default)s)",
    )
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument("--port", type=int, default=8080, help="port to listen on (default: %(default)s)")
    made.add_argument("--name", default="gateway", help="how this gateway calls itself (default: %(default)s)")
    made.add_argument("--environment", default="", help="refuse routes of another (default: the first table says it)")
    made.add_argument("--timeout-seconds", type=float, default=30.0, help="for one answer (default: %(default)s)")
    made.add_argument(
        "--reload-timeout-seconds", type=float, default=5.0, help="to wait for a generation (default: %(default)s)"
    )
    made.add_argument(
        "--follow-seconds",
        type=float,
        default=os.environ.get(FOLLOW_VARIABLE) or _SETTINGS["follow_seconds"],
        metavar="N",
        help="how often to look for newer routes without a reload; 0: never "
        f"(default: what {FOLLOW_VARIABLE} says, else {_SETTINGS['follow_seconds']:g})",
    )
    for flag, default, kind, what in _LIMITS:
        made.add_argument(flag, type=kind, default=default, metavar="N", help=f"{what} (default: %(default)s)")
    _add_recording(made)
    logs.add_options(made)
    made.add_argument("--access-log", action="store_true", help="log every request")
    return made


def _add_recording(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("a sample of live requests, kept so that the next version is asked the same")
    group.add_argument(
        "--record-to", default="", metavar="WHERE", help="a folder, or s3://BUCKET/PREFIX (default: record nothing)"
    )
    group.add_argument(
        "--record-share", type=float, default=0.01, metavar="N", help="share of the requests (default: %(default)s)"
    )
    group.add_argument(
        "--record-per-second", type=float, default=10.0, metavar="N", help="at most so many (default: %(default)s)"
    )
    group.add_argument(
        "--record-drop",
        action="append",
        default=[],
        metavar="FIELD",
        help="keep no value of an input NAME, or of a column NAME[3]; once for each",
    )
    group.add_argument(
        "--record-keep-days", type=int, default=14, metavar="N", help="remove older days (default: %(default)s)"
    )


def _recording(options: argparse.Namespace) -> RecordingSettings | None:
    if not options.record_to:
        return None
    return RecordingSettings(
        options.record_to,
        share=options.record_share,
        per_second=options.record_per_second,
        drop=tuple(options.record_drop),
        keep_days=options.record_keep_days,
    )


def _reload_token() -> str:
    text = os.environ.get(RELOAD_TOKEN_VARIABLE, "")
    try:
        return cleaned(text) if text else ""
    except ValueError as error:
        raise ValueError(f"the environment variable {RELOAD_TOKEN_VARIABLE} {error}") from None


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; requests in flight are then finished."""
    understands = parser()
    options = understands.parse_args(arguments)
    try:
        settings = GatewaySettings(
            routes_file=options.routes,
            tritons=tuple(options.triton),
            tritons_every_address=tuple(options.triton_every_address),
            resolve_seconds=options.resolve_seconds,
            name=options.name,
            environment=options.environment,
            reload_token=_reload_token(),
            timeout_seconds=options.timeout_seconds,
            reload_timeout_seconds=options.reload_timeout_seconds,
            follow_seconds=options.follow_seconds,
            single_process=True,
            max_request_bytes=options.max_request_bytes,
            max_bytes_in_flight=options.max_bytes_in_flight,
            clients=ClientLimits(**{field.name: getattr(options, field.name) for field in fields(ClientLimits)}),
            shadow=replace(
                SHADOW_SETTINGS,
                max_bytes_in_flight=options.shadow_bytes_in_flight,
                max_compared_bytes=options.shadow_compared_bytes,
                compare_share=options.shadow_compare_share,
            ),
            recording=_recording(options),
        )
        app = create_app(settings)
        logged = logs.chosen(vars(options), level="info")
    except ValueError as error:
        understands.error(str(error))

    logs.configure(logged)
    if not settings.reload_token:
        logging.getLogger("bot.gateway").warning("%s is empty: every reload is refused", RELOAD_TOKEN_VARIABLE)
    _allow_files(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            workers=1,
            loop="uvloop",
            http=protocol_with(settings.clients),
            ws="none",
            access_log=options.access_log,
            log_config=None,
            server_header=False,
            timeout_keep_alive=options.keep_alive_seconds,
            timeout_graceful_shutdown=int(settings.timeout_seconds) + 5,
        )
    )
    server.run()
    return ExitCode.DONE if server.started else ExitCode.FAILED


def _allow_files(settings: GatewaySettings) -> None:
    """Raise the soft limit of open files to what the connections need; say so where the hard limit is lower."""
    connections = settings.clients.max_connections
    needed = connections + len(settings.tritons) * settings.limits.max_in_flight + 256
    if settings.tritons_every_address:
        needed += 2 * connections  # nobody knows how many there will be; a client has one request under way at a time
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < possible:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < needed:
        logging.getLogger("bot.gateway").warning(
            "%d files may be open, %d are needed for every connection: raise `ulimit -n`", possible, needed
        )


if __name__ == "__main__":
    sys.exit(main())
