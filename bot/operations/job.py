"""Where GitHub Actions runs a verb: the job's summary, and annotations with the cause.

Both only tell of an outcome, so nothing that goes wrong here changes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from bot.operations import Say
from bot.redaction import redact
from bot.render.job import Annotation, Job, summary_not_written


def annotates() -> bool:
    """Whether GitHub Actions reads what this process prints."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def tell(job: Job, *, say: Say) -> None:
    """Write the summary and print the annotations, each where Actions takes it."""
    if job.summary:
        write_summary(job.summary, say=say)
    annotate(job.annotations)


def write_summary(text: str, *, say: Say) -> None:
    """Append to the job's summary, where GitHub Actions has one; what keeps it from that is said."""
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
