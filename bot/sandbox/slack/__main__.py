"""``python -m bot.sandbox.slack``: one workspace, on 127.0.0.1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvicorn

from bot.sandbox.processes import HOST
from bot.sandbox.slack.app import create_app
from bot.sandbox.slack.workspace import Channel, Workspace


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.slack", description="A Slack of our own.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where the messages are kept")
    parser.add_argument("--token", required=True, help="the bot token that is taken, xoxb-…")
    parser.add_argument(
        "--channel",
        action="append",
        type=_channel,
        metavar="ID=NAME",
        help="a channel with the bot in it; again for more (default: C0RELEASES=ml-releases)",
    )
    options = parser.parse_args(arguments)
    channels = tuple(options.channel or (_channel("C0RELEASES=ml-releases"),))
    app = create_app(Workspace(options.dir, channels=channels), token=options.token)
    uvicorn.run(app, host=HOST, port=options.port, ws="none", log_level="info", server_header=False)
    return 0


def _channel(text: str) -> Channel:
    channel_id, _, name = text.partition("=")
    if not channel_id.startswith("C") or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID=NAME, as in C0RELEASES=ml-releases")
    return Channel(channel_id, name)


if __name__ == "__main__":
    sys.exit(main())
