"""The schemas under ``docs`` are those of the code; what they mean is tried in tests/test_schemas.py."""

from __future__ import annotations

from pathlib import Path

from bot import schemas

FOLDER = Path(__file__).parents[2] / "docs/schemas"


def test_the_committed_schemas_are_those_of_the_code() -> None:
    committed = {path.relative_to(FOLDER).as_posix(): path.read_text() for path in FOLDER.rglob("*.json")}
    made = schemas.generate()
    changed = sorted(name for name in made.keys() | committed.keys() if made.get(name) != committed.get(name))
    assert changed == [], "run: python -m bot.schemas"
