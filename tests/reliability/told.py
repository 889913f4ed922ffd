"""Rows of the matrix that are told as a story: each begins with nothing, and yields what does not hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from tests.reliability.matrix import Matrix, Point
from tests.reliability.scene import Scene


def told_meanwhile(scene: Scene) -> Iterator[str]:
    """Yield what users were told wrongly until now: each had a whole answer, or a model that nobody served yet.

    Which version gave it is for the row to say. What comes after this is new.
    """
    for answer in sorted(scene.look(ask=False).answers, key=str):
        if answer.status not in (200, 404) or not answer.whole:
            yield f"a user was told {answer}"


@dataclass(frozen=True)
class Row:
    """Something that happens; ``act`` yields what does not hold."""

    name: str
    act: Callable[[Scene], Iterator[str]]


def as_told(matrix: Matrix, rows: Sequence[Row], *, sampled: Collection[str]) -> Iterator[Point]:
    """Try each row once, of a sample only those that are ``sampled``; the settings are as before after each."""
    scene = matrix.scene()
    for row in rows:
        if matrix.wants(row.name) and (not matrix.sample or row.name in sampled):
            scene.seed = 0
            scene.restore("empty", models=())
            with scene.settings_with():
                yield Point(row.name, "as told", list(row.act(scene)))
