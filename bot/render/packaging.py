"""What became of packaging a Triton model directory, on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.training.model_directory import Packaged


def packaged(made: Packaged) -> str:
    """Return what the package holds, what was completed and left out, and what to type next."""
    return "\n".join(_lines(made))


def _lines(made: Packaged) -> Iterator[str]:
    name = f"{made.model} {made.version}"
    where = f" in {made.directory}" if made.directory else ""
    files = "1 file" if made.files == 1 else f"{made.files} files"
    yield f"{name} is a package{where}: {made.backend}, {files}, {made.digest}"
    cases = "1 golden case" if made.cases == 1 else f"{made.cases} golden cases"
    yield f"{cases}, answered by {made.answered_by}"
    if made.completed:
        yield f"completed in config.pbtxt, as Triton does: {', '.join(made.completed)}"
    if made.left_out:
        yield f"left out: {', '.join(made.left_out)}"
    if made.registered is not None:
        yield f"registered as {made.serving_name} {made.registered}"
        yield f"    → promobot propose {made.serving_name} {made.registered} --env ENV"
