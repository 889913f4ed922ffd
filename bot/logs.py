"""Log lines on stderr, for operators and machines: as text, or as one JSON object a line. Secrets are blanked out.

What people follow (progress, errors, answers) is no log: :mod:`bot.output` prints that, whatever is set here.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bot.redaction import Formatter, redact_all

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

OPTIONS = ("--log-format", "--log-level")
"""Those of :func:`add_options` that take a value."""
VARIABLES = {"level": "PROMOBOT_LOG_LEVEL", "format": "PROMOBOT_LOG_FORMAT"}
"""They count where no option says otherwise."""

_QUIET = ("slack_sdk", "slack_bolt", "stamina")
"""Slack's SDK logs whole requests below WARNING. stamina logs what the hook of :mod:`bot.retry` says better."""
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_is_ours = False


class Chosen(NamedTuple):
    """What a process logs, and how."""

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


class JsonFormatter(logging.Formatter):
    """One JSON object a record: ``time``, ``level``, ``logger``, ``message``, and ``fields`` and ``error`` if any."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if fields := {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}:
            document["fields"] = json.loads(json.dumps(fields, default=str))
        if record.exc_info:
            document["error"] = self.formatException(record.exc_info)
        return json.dumps(redact_all(document), ensure_ascii=False)


class _ToStderr(logging.Handler):
    """Writes to what is standard error at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 - logging's own way to say that a line could not be written
            self.handleError(record)


_handler = _ToStderr()


def configure(chosen: Chosen) -> None:
    """Have this process log to stderr as it was chosen. For processes of our own only."""
    global _is_ours
    _is_ours = True
    _handler.setFormatter(JsonFormatter() if chosen.format == "json" else Formatter(TEXT))
    root = logging.getLogger()
    root.addHandler(_handler)  # once, however often this is called
    root.setLevel(chosen.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def are_ours() -> bool:
    """Return whether this process logs as :func:`configure` says, and not as an application around the bot does."""
    return _is_ours
