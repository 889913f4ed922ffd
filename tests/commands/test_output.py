"""``--json``: each command's document names its form, and the schema of that form says what is in it."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from bot import commands, schemas
from bot.exit_codes import ExitCode
from bot.operations.propose import Proposal
from bot.output import as_json, say
from bot.records.ledger import RequestDone
from bot.results import Environments
from tests.outputs import described

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROPOSED = as_json("propose", Proposal("dev", "churn", 7, "opened"), ExitCode.DONE)


def test_each_command_has_a_schema() -> None:
    made = schemas.generate()
    for name in commands.names():
        schema = json.loads(made[f"output/{name}.v1.schema.json"])
        for result in schema.get("anyOf", [schema]):
            assert result["properties"]["schema"] == {"const": f"promobot/{name}/v1"}
            assert {"schema", "exit_code"} <= set(result["required"])
    assert len([name for name in made if name.startswith("output/")]) == len(commands.names()) + 1


def test_scripts_find_what_they_always_found() -> None:
    """design: `--json` of `propose` with `action`, `section`, `pull_request`, `reason`."""
    document = described(PROPOSED)
    assert {"action": "opened", "section": "models", "pull_request": None, "reason": ""}.items() <= document.items()
    assert next(iter(document)) == "schema" and document["exit_code"] == 0
    done = RequestDone(said="done", exit_code=ExitCode.UNCONFIRMED, at=AT)
    assert described(as_json("propose", done, done.exit_code)) == {
        "schema": "promobot/propose/v1",
        "said": "done",
        "exit_code": 4,
        "at": "2026-03-01T12:00:00+00:00",
    }


@pytest.mark.parametrize(
    "wrong", [{"exit_code": 7}, {"version": "7"}, {"another": 1}, {"schema": "promobot/retire/v1"}]
)
def test_what_is_not_described_is_found(wrong: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="promobot/"):
        described(json.dumps(json.loads(PROPOSED) | wrong))
    document = json.loads(PROPOSED)
    del document["reason"]
    with pytest.raises(AssertionError, match="promobot/propose/v1: "):
        described(json.dumps(document))


class Model(BaseModel):
    value: float
    at: datetime


@dataclass(frozen=True)
class Printed:
    models: tuple[Model, ...]
    numbers: dict[str, float]
    names: frozenset[str]
    path: Path


def test_what_json_has_no_word_for_is_a_text() -> None:
    printed = Printed((Model(value=math.inf, at=AT),), {"a": math.nan, "b": 0.5}, frozenset({"x"}), Path("/a/b"))
    document = json.loads(as_json("x", Environments([printed]), ExitCode.FAILED))
    assert document == {
        "schema": "promobot/x/v1",
        "environments": [
            {
                "models": [{"value": "inf", "at": "2026-03-01T12:00:00+00:00"}],
                "numbers": {"a": "nan", "b": 0.5},
                "names": ["x"],
                "path": "/a/b",
            }
        ],
        "exit_code": 1,
    }
    with pytest.raises(TypeError, match="object is nothing that --json can print"):
        as_json("x", Environments([object()]), ExitCode.DONE)


def test_lines_of_progress_of_several_threads_do_not_run_into_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece that is written may be followed by another thread's."""

    class Stream(io.StringIO):
        pieces: ClassVar[list[str]] = []

        def write(self, text: str) -> int:
            self.pieces.append(text)
            return super().write(text)

    monkeypatch.setattr("sys.stderr", Stream())
    say("waiting for churn 8 to be READY")
    assert Stream.pieces == ["waiting for churn 8 to be READY\n"]
