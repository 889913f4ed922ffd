"""Tries rows: brings the scene into each situation, looks, and compares with what the row declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.scene import Ended, Scene
from tests.situations.pictures import take
from tests.situations.rows import Row
from tests.situations.stage import COLUMNS, Seen, Stage

_VARY = {
    "time": r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?( UTC)?",
    "clock": r"(\d{4}-\d\d-\d\d )?\d\d:\d\d UTC",
    "date": r"\d{4}-\d\d-\d\d",
    "url": r"https?://\S+?",
    "digest": r"[0-9a-f]{12}",
    "commit": r"[0-9a-f]{12}",
    "number": r"\d+",
    "share": r"\d+(\.\d+)? %",
    "why": r".+?",
    "folder": r"\S+?",
}


@dataclass(frozen=True)
class Tried:
    """What was seen in one situation, and in what the table does not hold."""

    seen: Seen
    problems: tuple[str, ...]


class Theatre:
    """The scene on which all rows are played, with the states from which they begin."""

    def __init__(self, scene: Scene, pictures: Path | None = None) -> None:
        """``pictures``: where to keep pictures of each situation; what is said is folded then, and not judged."""
        self.scene, self._pictures = scene, pictures
        self.stage = Stage(scene)

    def tried(self, row: Row) -> Tried:
        """Bring the world into one situation and look."""
        self._prepare(row.base)
        self.stage.begin(row.base, row.models)
        self.stage.pull = PULLS[row.base]
        self.stage.columns = COLUMNS if self._pictures else 0
        try:
            row.arrange(self.stage)
            seen = self.stage.see()
            if self._pictures:
                take(row.name, row.what, seen, self._pictures)
                return Tried(seen, ())
        finally:
            self.stage.columns = 0
            self.stage.tidy()
        return Tried(seen, (*problems(row, seen.lines), *said_twice(self.stage.ended)))

    def _prepare(self, base: str) -> None:
        """Have real verbs make the state from which a row begins, once."""
        if self.scene.has(base):
            return
        before = {"served": "empty", "merged": "served"}[base]
        self._prepare(before)
        stage = self.stage
        stage.begin(before)
        version = PULLS[base]
        assert stage.merged("churn", version) == version
        stage.follows()
        if base == "served":
            stage.deploys()
            stage.follows()
        self.scene.save(base)
        stage.tidy()


PULLS: Mapping[str, int] = {"empty": 0, "served": 1, "merged": 2}
"""The newest pull request in each of the states; it proposes the version of the same number."""


def problems(row: Row, lines: Mapping[str, str]) -> list[str]:
    """Return where what was seen is not what the row says."""
    expected = {"users": row.users, **row.says}
    found = []
    for surface in {**expected, **lines}:
        said, wanted = lines.get(surface, ""), expected.get(surface, "")
        if not pattern(wanted).fullmatch(said):
            found.append(f"{surface}: says {said or 'nothing'!r}, and not {wanted or 'nothing'!r}")
    return found


def said_twice(ended: Ended) -> list[str]:
    """Return the lines of stderr that stdout repeats; those for GitHub's annotations repeat by design."""
    progress = ended.said.removesuffix(ended.out).splitlines()
    told = [" ".join(line.split()) for line in progress if not line.startswith("::")]
    answer = " ".join(ended.out.split())
    return [f"stdout repeats what stderr said: {line!r}" for line in told if line and line in answer]


def pattern(text: str) -> re.Pattern[str]:
    """Return what a declared line stands for."""
    parts = re.split(r"‹(\w+)›", text)
    return re.compile("".join(_VARY[part] if n % 2 else re.escape(part) for n, part in enumerate(parts)))
