"""The newest live requests, asked of two versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.domain.recorded import Recorded
from bot.domain.smoke import Tensor
from bot.errors import Denied, Rejected, Unavailable
from bot.operations.replaying import replay
from bot.recordings import packed
from bot.recordings.directory import Directory

AT = datetime(2026, 11, 30, 9, tzinfo=UTC)
Answer = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    """A hundred requests, whose only value is their number."""
    found = Directory(tmp_path)
    for part in range(4):
        lines = [
            Recorded(
                AT + timedelta(seconds=number),
                "churn",
                7,
                "sha256:ab",
                (Tensor("X", "FP32", (1, 1), (float(number),)),),
            ).to_line()
            for number in range(part * 25, part * 25 + 25)
        ]
        found.add(f"dev/churn/2026-11-30/00000{part}-g-{part}.jsonl.gz", packed(lines))
    return found


def above(limit: float, *, asked: list[float] | None = None) -> Answer:
    def answer(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        value = float(inputs[0].data[0])
        if asked is not None:
            asked.append(value)
        return [Tensor("label", "INT64", (1,), (int(value > limit),))]

    return answer


def test_both_versions_are_asked_the_newest(store: Directory) -> None:
    asked: list[float] = []
    found = replay(store, "dev", "churn", 40, {"proposed": above(70, asked=asked), "in_service": above(80)})
    assert asked == [float(number) for number in range(99, 59, -1)]
    assert found.requests == 40 and found.problem == ""
    assert found.since == AT + timedelta(seconds=60) and found.until == AT + timedelta(seconds=99)
    assert found.decisions is not None and found.decisions.changed == 10


def test_versions_take_turns_at_being_asked_first(store: Directory) -> None:
    order: list[str] = []

    def note(who: str) -> Answer:
        def answer(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
            order.append(who)
            return inputs

        return answer

    replay(store, "dev", "churn", 2, {"proposed": note("new"), "in_service": note("old")})
    assert order in (["new", "old", "old", "new"], ["old", "new", "new", "old"])


def test_a_refused_request_is_counted_and_the_others_are_asked(store: Directory) -> None:
    def picky(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if float(inputs[0].data[0]) > 97:
            raise Rejected("too large", system="Triton")
        return inputs

    found = replay(store, "dev", "churn", 10, {"proposed": picky, "in_service": lambda inputs: inputs})
    assert (found.asked, found.requests, found.refused.proposed) == (10, 8, 2)
    assert found.refused.why == "request 0: it refused this request", "what it says may quote the request"
    shown = replay(
        store, "dev", "churn", 10, {"proposed": picky, "in_service": lambda inputs: inputs}, show_inputs=True
    )
    assert "too large" in shown.refused.why
    both = replay(store, "dev", "churn", 10, {"proposed": picky, "in_service": picky})
    assert (both.refused.proposed, both.refused.in_service) == (2, 2), "the second is asked, too"


@pytest.mark.parametrize("error", [Unavailable("gone", system="Triton"), Denied("no right", system="Triton")])
def test_an_outage_in_the_middle_is_said_with_what_was_found(store: Directory, error: Exception) -> None:
    def failing(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if float(inputs[0].data[0]) < 95:
            raise error
        return inputs

    found = replay(store, "dev", "churn", 50, {"proposed": failing, "in_service": lambda inputs: inputs})
    assert found.requests == 5 and str(error) in found.problem


def test_where_nothing_is_recorded_that_is_said(store: Directory, tmp_path: Path) -> None:
    ask: dict[str, Answer] = {"proposed": above(1), "in_service": above(1)}
    found = replay(store, "dev", "fraud", 5, ask)  # type: ignore[arg-type]
    assert found.problem == "no request of fraud is recorded in dev" and found.decisions is None
    gone = replay(Directory(tmp_path / "gone"), "dev", "churn", 5, ask)  # type: ignore[arg-type]
    assert "recordings" in gone.problem
