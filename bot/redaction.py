"""Secrets are blanked out of whatever people read, wherever they may have slipped in."""

from __future__ import annotations

import os
import re

_BY_ITS_LOOK = re.compile(
    r"\b(?:gh[a-z]_|github_pat_)[A-Za-z0-9_.-]{16,}"
    r"|\bx(?:ox[a-z]|app)-[A-Za-z0-9-]{8,}"
    # Whoever has this address may speak for the bot, for half an hour.
    r"|(?<=//hooks\.slack\.com/)[^\s\"'<>]+"
)
_ARMOUR = re.compile(r"-----[A-Z ]+-----")


def redact(text: str) -> str:
    """Blank out every secret of the environment; and tokens of GitHub and Slack by their look.

    A private key has many lines, each of which may stand alone; an App's token is in no variable.
    """
    for name, value in os.environ.items():
        if name.endswith(("TOKEN", "SECRET", "PASSWORD", "KEY")):
            for part in (value, *re.split(r"[\r\n]+|\\n", value)):
                if len(part) >= 8 and not _ARMOUR.fullmatch(part):
                    text = text.replace(part, "***")
    return _BY_ITS_LOOK.sub("***", text)
