"""The output of a command: text for people on a terminal, one JSON document for scripts. Secrets are blanked out.

Every command imports it, also for its `--help`, so what is slow to import is imported where it is used.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from bot.exit_codes import ExitCode


def prepare(*, json: bool) -> None:
    """Make this process print what its streams can take, and fit the terminal where a person reads.

    A file or a pipe gets tables and long lines whole.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ✓ must not make it fail
    from bot.operations.progress import show_on
    from bot.render.width import COLUMNS

    if json or not sys.stdout.isatty():
        # An earlier command of this process may have had a terminal.
        show_on(None)
        COLUMNS.set(None)
        return
    import shutil

    show_on(sys.stderr)
    COLUMNS.set(shutil.get_terminal_size().columns)


def show(text: str, *, colours: bool = False) -> bool:
    """Print a command's answer on stdout; return whether somebody reads on."""
    from bot.redaction import redact
    from bot.render import colour
    from bot.render.width import folded

    shown = folded(redact(text))
    if colours and colour.is_wanted(os.environ, on_a_terminal=sys.stdout.isatty()):
        shown = colour.coloured(shown)
    try:
        print(shown, flush=True)
        return True
    except BrokenPipeError:
        # Nobody reads on, as behind `| head`. The rest of the buffer must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False


def say(text: str) -> None:
    """Print a line of progress, or an error, on stderr."""
    from bot.redaction import redact
    from bot.render.width import folded

    # In one piece: threads say what they do at the same time, and print writes the end of a line by itself.
    sys.stderr.write(f"{folded(redact(text))}\n")
    sys.stderr.flush()


def schema_of(name: str) -> str:
    """Return what names the form of a document: of a command, or of an ``error``.

    Within v1 keys are added and none goes or changes its meaning. docs/schemas/output describes each.
    """
    return f"promobot/{name}/v1"


def as_json(name: str, result: object, exit_code: ExitCode) -> str:
    """Return the one document of ``--json``: the ``result``, what names its form, and the exit code."""
    import json

    from pydantic import TypeAdapter

    printed: dict[str, Any] = _finite(TypeAdapter[Any](Any).dump_python(result))
    document = {"schema": schema_of(name), **printed, "exit_code": exit_code}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False, default=_text)


def _text(value: object) -> str:
    """Return a value that JSON has no word for."""
    from datetime import datetime
    from pathlib import Path

    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that --json can print")


def _finite(value: Any) -> Any:
    """Return the value with ``inf`` and ``nan`` as texts: JSON has no such numbers."""
    import math

    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
