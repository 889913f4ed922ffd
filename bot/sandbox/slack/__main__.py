"""``python -m bot.sandbox.slack``: one workspace, on 127.0.0.1."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import uvicorn

from bot.exit_codes import ExitCode
from bot.sandbox.processes import HOST
from bot.sandbox.slack.app import create_app
from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.slack import Slack
from bot.sandbox.slack.workspace import Channel, Workspace


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bot.sandbox.slack", description="A Slack of our own.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True, help="where the messages are kept")
    parser.add_argument("--token", required=True, help="the bot token that is taken, xoxb-…")
    parser.add_argument(
        "--app",
        type=Path,
        metavar="FILE",
        help="JSON: the app's manifest, app_token, signing_secret, request_url (default: one that calls the Web API)",
    )
    parser.add_argument(
        "--without-block",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type of block that this workspace does not take, as data_visualization; again for more",
    )
    parser.add_argument(
        "--channel",
        action="append",
        type=_channel,
        metavar="ID=NAME",
        help="a channel with the bot in it; again for more (default: C0RELEASES=ml-releases)",
    )
    options = parser.parse_args(arguments)
    channels = tuple(options.channel or (_channel("C0RELEASES=ml-releases"),))
    slack = Slack(
        Workspace(options.dir, channels=channels),
        _installation(options.app, options.token),
        url=f"http://{HOST}:{options.port}",
        host=HOST,
        without_blocks=frozenset(options.without_block),
    )
    uvicorn.run(create_app(slack), host=HOST, port=options.port, ws="none", log_level="info", server_header=False)
    return ExitCode.DONE


def _installation(file: Path | None, token: str) -> Installation:
    if file is None:
        return Installation.of_token(token)
    return Installation.model_validate({"bot_token": token, **json.loads(file.read_text())})


def _channel(text: str) -> Channel:
    channel_id, _, name = text.partition("=")
    if not channel_id.startswith("C") or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID=NAME, as in C0RELEASES=ml-releases")
    return Channel(channel_id, name)


if __name__ == "__main__":
    sys.exit(main())
