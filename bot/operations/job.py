"""Where GitHub Actions runs a verb: the job's summary, and annotations with the cause.

Both only tell of an outcome, so nothing that goes wrong here changes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from bot.operations import Say
from bot.redaction import redact

Level = Literal["error", "warning"]
_LONGEST_ANNOTATION = 2_000


@dataclass(frozen=True)
class Annotation:
    """One line above the job's log and, with ``file``, in the pull request's diff."""

    level: Level
    title: str
    text: str
    file: str = ""
    line: int | None = None

    @property
    def command(self) -> str:
        """The line of the log of which GitHub makes the annotation, escaped as its toolkit does."""
        given = {"file": self.file, "line": str(self.line or ""), "title": self.title}
        properties = ",".join(f"{name}={_property(value)}" for name, value in given.items() if value)
        return f"::{self.level} {properties}::{_data(self.text)}"


@dataclass(frozen=True)
class Job:
    """The texts that a verb shows in its job."""

    summary: str
    annotations: tuple[Annotation, ...] = ()


def annotates() -> bool:
    """Whether GitHub Actions reads what this process prints."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def tell(job: Job, *, say: Say) -> None:
    """Write the summary and print the annotations, each where Actions takes it."""
    if job.summary:
        write_summary(job.summary, say=say)
    annotate(job.annotations)


def write_summary(text: str, *, say: Say) -> None:
    """Append to the job's summary, where GitHub Actions has one; report an error and go on."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as summary:
            summary.write(redact(text) + "\n")
    except (OSError, ValueError) as error:
        say(summary_not_written(error))


def annotate(annotations: Iterable[Annotation]) -> None:
    """Print annotations for Actions to read: on stderr, because stdout may be one JSON document."""
    if annotates():
        for one in annotations:
            # Before it is escaped: the secret would be known afterwards, too, and only by its spellings.
            bare = replace(one, title=redact(one.title), text=redact(one.text))
            print(bare.command, file=sys.stderr, flush=True)


def summary_not_written(error: Exception) -> str:
    """The runner's disk is full, or its file is gone: the verb's outcome stays what it is."""
    return f"the job's summary could not be written ({type(error).__name__}: {error}); this changes no outcome"


def _data(text: str) -> str:
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)[:_LONGEST_ANNOTATION]
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
