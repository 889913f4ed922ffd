"""The options that say what is logged and how; apart from :mod:`bot.logs`, because every ``--help`` needs them."""

from __future__ import annotations

import argparse
import os
from typing import Any, NamedTuple

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
OPTIONS = ("--log-format", "--log-level")
"""Those of :func:`add_options` that take a value."""
VARIABLES = {"level": "PROMOBOT_LOG_LEVEL", "format": "PROMOBOT_LOG_FORMAT"}
"""They count where no option says otherwise."""


class Chosen(NamedTuple):
    """The level and the format of a process's logs."""

    level: str
    format: str


def add_options(parser: argparse.ArgumentParser, *, shown: bool = True) -> None:
    """Add the options of logs; what nobody types leaves nothing in the result, so that they may stand twice."""
    levels: dict[str, Any] = {"dest": "log_level", "default": argparse.SUPPRESS}
    texts = {
        "format": f"how stderr gets it: text, or one JSON object a line (default: {VARIABLES['format']}, else text)",
        "level": f"what is logged (default: {VARIABLES['level']}, else warning, of services info)",
        "verbose": "the same as --log-level info",
    }
    helps = texts if shown else dict.fromkeys(texts, argparse.SUPPRESS)
    parser.add_argument("--log-format", choices=FORMATS, default=argparse.SUPPRESS, help=helps["format"])
    parser.add_argument("--log-level", choices=LEVELS, help=helps["level"], **levels)
    parser.add_argument("-v", "--verbose", action="store_const", const="info", help=helps["verbose"], **levels)


def chosen(typed: dict[str, Any], *, level: str) -> Chosen:
    """Take what was typed out of the parser's result; else what the variables say; else ``level``, as text.

    Raises ValueError where a variable holds something else.
    """
    found = {}
    for name, default, allowed in (("level", level, LEVELS), ("format", "text", FORMATS)):
        value = typed.pop(f"log_{name}", "") or os.environ.get(VARIABLES[name], "").strip().lower() or default
        if value not in allowed:
            raise ValueError(f"{VARIABLES[name]} is {value!r:.40}; it may be {', '.join(allowed)}")
        found[name] = value
    return Chosen(**found)
