"""The app's manifest, from the commands that there are: ``python -m bot.slack.manifest`` writes the file beside.

It is what Slack takes under "Create New App", "From a manifest".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bot.render import slack as words
from bot.slack.commands import NAMES
from bot.slack.guard import PATH

FILE = Path(__file__).with_name("manifest.yaml")
HOST = "https://promobot.example.com"
SCOPES: dict[str, str] = {
    "commands": "the slash commands",
    "chat:write": "each promotion's message, its thread, and answers",
    "channels:history": "read back what was posted in a public channel: delivery is seen, nothing is posted twice",
    "groups:history": "the same in a private channel",
    "channels:read": "`promobot doctor` sees that a public channel is archived, which nothing else tells beforehand",
    "groups:read": "the same of a private channel",
    "usergroups:read": "who is in a user group that the environment file names",
}
"""The scopes of the bot token, each with its reason."""


def manifest(*, host: str = HOST, socket_mode: bool = False) -> dict[str, Any]:
    """Return the manifest; in Socket Mode Slack asks for no address."""
    url = {} if socket_mode else {"url": host + PATH}
    interactivity: dict[str, Any] = {"is_enabled": True}
    if not socket_mode:
        interactivity["request_url"] = host + PATH
    return {
        "_metadata": {"major_version": 1, "minor_version": 1},
        "display_information": {
            "name": "Promobot",
            "description": "Promotes machine-learning models by Git, and proves what is served.",
            "background_color": "#1d3557",
        },
        "features": {
            "bot_user": {"display_name": "promobot", "always_online": True},
            "slash_commands": [
                {
                    "command": f"/{name}",
                    **url,
                    "description": words.DESCRIPTIONS[name],
                    "usage_hint": words.HINTS[name],
                    "should_escape": False,
                }
                for name in NAMES
            ],
        },
        "oauth_config": {"scopes": {"bot": list(SCOPES)}},
        "settings": {
            "interactivity": interactivity,
            "org_deploy_enabled": False,
            "socket_mode_enabled": socket_mode,
            "token_rotation_enabled": False,
        },
    }


def text() -> str:
    """Return the file: HTTP mode, with an address to replace."""
    head = (
        f"# Made by `python -m bot.slack.manifest`. Put your own address in place of {HOST}.\n"
        "# For Socket Mode: leave out every url and request_url, and say socket_mode_enabled: true.\n"
    )
    return head + yaml.safe_dump(manifest(), sort_keys=False, width=110)


if __name__ == "__main__":
    FILE.write_text(text())
