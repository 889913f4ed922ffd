"""``python -m bot.gateway``: the reference application under uvicorn, with uvloop and httptools."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import uvicorn

from bot.gateway.app import create_app
from bot.gateway.settings import GatewaySettings

RELOAD_TOKEN_VARIABLE = "PROMOBOT_RELOAD_TOKEN"  # noqa: S105  the name of a variable, not a secret


def parser() -> argparse.ArgumentParser:
    """Return what understands the arguments."""
    made = argparse.ArgumentParser(
        prog="python -m bot.gateway",
        description="A gateway in front of Tritons: answers with the versions that routes.json names.",
        epilog=f"POST /reload needs the bearer token in the environment variable {RELOAD_TOKEN_VARIABLE}.",
    )
    made.add_argument("--routes", type=Path, required=True, metavar="FILE", help="routes.json, written by the bot")
    made.add_argument(
        "--triton", action="append", required=True, metavar="URL", help="http://HOST:PORT; once for each Triton"
    )
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    made.add_argument("--port", type=int, default=8080, help="port to listen on (default: %(default)s)")
    made.add_argument("--name", default="gateway", help="how this gateway calls itself (default: %(default)s)")
    made.add_argument("--environment", default="", help="refuse routes of another (default: the first table says it)")
    made.add_argument("--timeout-seconds", type=float, default=30.0, help="for one answer (default: %(default)s)")
    made.add_argument(
        "--reload-timeout-seconds", type=float, default=5.0, help="to wait for a generation (default: %(default)s)"
    )
    made.add_argument("--access-log", action="store_true", help="log every request")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; requests in flight are then finished."""
    understands = parser()
    options = understands.parse_args(arguments)
    try:
        settings = GatewaySettings(
            routes_file=options.routes,
            tritons=tuple(options.triton),
            name=options.name,
            environment=options.environment,
            reload_token=os.environ.get(RELOAD_TOKEN_VARIABLE, ""),
            timeout_seconds=options.timeout_seconds,
            reload_timeout_seconds=options.reload_timeout_seconds,
        )
        app = create_app(settings)
    except ValueError as error:
        understands.error(str(error))

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not settings.reload_token:
        logging.getLogger("bot.gateway").warning("%s is empty: every reload is refused", RELOAD_TOKEN_VARIABLE)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            # One process: the route table is its memory, and a reload reaches the one process that answers it. More
            # workers behind one port would switch one of them and leave the others. Scale by more gateways instead:
            # the bot reloads each by its own address.
            workers=1,
            loop="uvloop",
            http="httptools",
            ws="none",
            access_log=options.access_log,
            log_config=None,
            server_header=False,
            # Longer than clients and load balancers keep idle connections, so that it is they who close first and no
            # request meets a connection that is just being closed.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(settings.timeout_seconds) + 5,
        )
    )
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
