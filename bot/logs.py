"""Log lines on stderr, for operators and machines: as text, or as one JSON object a line. Secrets are blanked out.

Progress, errors and answers are not log lines: :mod:`bot.output` prints them, whatever is set here.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bot.log_options import FORMATS as FORMATS
from bot.log_options import Chosen as Chosen
from bot.log_options import add_options as add_options
from bot.log_options import chosen as chosen
from bot.redaction import Formatter, redact_all

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_QUIET = ("slack_sdk", "slack_bolt", "stamina")
"""Slack's SDK logs whole requests below WARNING. stamina logs what the hook of :mod:`bot.retry` says better."""
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_is_ours = False
_when_ours: list[Callable[[], object]] = []


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
    """Make this process log to stderr as it was chosen. For processes of our own only."""
    global _is_ours
    if not _is_ours:
        _is_ours = True
        for act in _when_ours:
            act()
    _handler.setFormatter(JsonFormatter() if chosen.format == "json" else Formatter(TEXT))
    root = logging.getLogger()
    root.addHandler(_handler)  # once, however often this is called
    root.setLevel(chosen.level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def when_ours(act: Callable[[], object]) -> None:
    """Call ``act`` as soon as this process logs as :func:`configure` says, and never where an application logs."""
    if _is_ours:
        act()
    else:
        _when_ours.append(act)
