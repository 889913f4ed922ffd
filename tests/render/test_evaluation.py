"""The measured part of the comment: one glance for a reviewer, whatever was and was not measured."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from bot.domain.desired import Entry
from bot.domain.evaluation import (
    ChangedDecision,
    ComparedLatency,
    Decisions,
    Evaluation,
    MeasuredMetric,
    MeasuredSlice,
    Percentiles,
    Ratio,
    Refusals,
    Replay,
)
from bot.domain.evidence import CheckResult, Finding
from bot.render.evaluation import SLICES_SHOWN, lines, measured

CHAMPION = Entry(version=7, digest=f"sha256:{'7' * 64}", run="run7")
ACCURACY = MeasuredMetric(
    metric="accuracy",
    measure="accuracy",
    rule="≥ 0.9, at most 0.01 worse",
    claimed=0.97,
    proposed=0.91,
    proposed_error=0.004,
    in_service=0.905,
    difference=0.005,
    low=-0.001,
    high=0.011,
    confidence=0.95,
    standard_error=0.003,
    method="t",
    rows=5000,
)


def slice_of(number: int, difference: float | None, **more: Any) -> MeasuredSlice:
    return MeasuredSlice(
        by="region",
        value=f"r{number}",
        rows=300,
        metric="accuracy",
        in_service=0.9,
        proposed=0.9 + (difference or 0),
        difference=difference,
        **more,
    )


def evaluation(**more: Any) -> Evaluation:
    values: dict[str, Any] = {"digest": f"sha256:{'5' * 64}", "rows": 5000, "champion": CHAMPION}
    return Evaluation(**{**values, "metrics": (ACCURACY,), **more})


def result(of: Evaluation | None, *failing: str) -> CheckResult:
    names = ["evaluation set", "claimed accuracy", "measured accuracy", "slice region = r1"]
    return CheckResult(
        check="behaviour",
        environment="dev",
        section="models",
        model="churn",
        version=8,
        digest=f"sha256:{'8' * 64}",
        findings=tuple(Finding(what=name, passed=name not in failing) for name in names),
        at=datetime(2026, 11, 30, tzinfo=UTC),
        evaluation=of,
    )


def test_claim_measurement_and_difference_stand_side_by_side() -> None:
    text = measured(result(evaluation(), "claimed accuracy"))
    assert text.startswith(
        "**Measured here** on 5,000 rows of the evaluation set `555555555555`, beside version 7 in"
    )
    assert (
        "| ✅ | `accuracy` | ❌ 0.97 | 0.91 | 0.905 | +0.005 (-0.001 to +0.011) | ≥ 0.9, at most 0.01 worse |" in text
    )
    assert "each of its two bounds holds with 95 % confidence" in text


def test_what_cannot_be_told_says_how_many_rows_would_do() -> None:
    unknown = ACCURACY.model_copy(update={"outcome": "unknown", "rows_needed": 12345})
    text = measured(result(evaluation(metrics=(unknown,)), "measured accuracy"))
    assert "| ❌ | `accuracy` |" in text and "cannot be told, about 12,345 rows would tell" in text


def test_the_worst_slices_come_first_and_the_others_are_folded() -> None:
    slices = tuple(slice_of(number, 0.001 * number - 0.004, outcome="holds", allowed=0.03) for number in range(12))
    bad = slice_of(1, -0.2, outcome="misses", allowed=0.03)
    text = measured(result(evaluation(slices=(*slices[2:], bad)), "slice region = r1"))
    first, _, rest = text.partition("<details>")
    assert "**Slices**, worst first, 11 in all:" in first
    assert first.count("region = r") == SLICES_SHOWN and rest.count("region = r") == 11 - SLICES_SHOWN
    assert first.index("| ❌ | region = r1 |") < first.index("region = r2 |")


def test_what_has_no_room_is_counted() -> None:
    holding = tuple(slice_of(number, 0.0, outcome="holds", allowed=0.03) for number in range(1800))
    text = measured(result(evaluation(slices=holding)))
    assert "1,800 in all" in text and "95 more rows" in text and text.count("region = r") == 100
    assert text.endswith("1,700 more rows are not shown here. `promobot evidence show` prints them.")
    names = [f"r{number}" for number in range(1800, 2029)]
    bad = tuple(slice_of(number, -0.2, outcome="misses", allowed=0.03) for number in range(1800, 2029))
    found = result(evaluation(slices=(*holding, *bad)))
    missed = tuple(Finding(what=f"slice region = {name}", passed=False) for name in names)
    text = measured(found.model_copy(update={"findings": missed}))
    assert text.count("region = r") == 100 and "| ❌ | region = r1800 |" in text
    assert "1,929 more rows are not shown here, 129 of them worse than allowed." in text


def test_a_confidence_near_one_is_not_100_percent() -> None:
    text = measured(result(evaluation(metrics=(ACCURACY.model_copy(update={"confidence": 0.99999999}),))))
    assert "each of its two bounds holds with 99.999999 % confidence" in text


def test_a_slice_with_few_rows_is_marked_so() -> None:
    text = measured(result(evaluation(slices=(slice_of(1, -0.5, allowed=0.03), slice_of(2, None)))))
    assert "| too few rows | region = r1 | 300 |" in text and "| – |" in text


DECISIONS = Decisions(
    rows=5000,
    changed=37,
    fixed=30,
    broken=5,
    other=2,
    worst=(ChangedDecision(row=17, before="0 (0.9)", after="1 (0.8)", label="0", by=0.7),),
    worth=-19.5,
)


def test_decisions_that_change_are_counted_by_direction() -> None:
    text = measured(result(evaluation(decisions=DECISIONS)))
    assert (
        "**37 of 5,000 rows of the evaluation set would be decided otherwise**: 30 fixed, 5 broken, 2 other" in text
    )
    assert "By the costs in the settings that is worth -19.5 on these rows." in text
    assert "| 17 | 0 (0.9) | 1 (0.8) | 0 |" in text.replace("\\", "") and "inputs" not in text


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (Decisions(rows=10, changed=0), "**None of 10 real requests would be answered otherwise.**"),
        (Decisions(rows=10, changed=3, other=3), "3 without a label that tells which is right."),
        (Decisions(rows=10, changed=3, broken=3), "⚠️ **3 of 10 real requests would be decided otherwise**"),
        (
            Decisions(rows=10, changed=9, fixed=8, broken=1, kind="number"),
            "8 nearer to the label, 1 farther from it.",
        ),
    ],
)
def test_each_kind_of_change_has_its_words(of: Decisions, says: str) -> None:
    assert says in measured(result(evaluation(replay=Replay(requests=10, asked=10, decisions=of))))


def test_real_requests_say_when_they_were_recorded_and_what_was_not_asked() -> None:
    at = datetime(2026, 11, 30, 12, tzinfo=UTC)
    refused = Refusals(proposed=3, in_service=1)
    replay = Replay(requests=0, asked=4, since=at, until=at, refused=refused, problem="the bucket is away")
    text = measured(result(evaluation(replay=replay)))
    assert "recorded from 2026-11-30 12:00 to 2026-11-30 12:00 UTC." in text
    assert "⚠️ 3 were refused by the proposed version, and 1 by the one in service." in text
    assert "Not all real requests were asked: the bucket is away." in text
    assert any("not all real requests were asked" in line for line in lines(evaluation(replay=replay)))


def test_inputs_are_shown_where_they_are_there_and_cannot_write_markdown() -> None:
    hostile = {"name": "a | b\n# <img src=x>", "age": "41"}
    worst = (ChangedDecision(row=1, before="0", after="1", label="0", inputs=hostile),)
    text = measured(result(evaluation(decisions=Decisions(rows=2, changed=1, broken=1, worst=worst))))
    assert "| row | in service | proposed | label | inputs |" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| 1 |")]
    assert "age: 41" in row and "\\<img" in row and "a \\| b" in row


def test_times_are_shown_beside_each_other() -> None:
    ratio = Ratio(ratio=1.1, low=1.05, high=1.16)
    times = ComparedLatency(
        requests=400,
        proposed=Percentiles(p50=1.1, p99=3.0),
        in_service=Percentiles(p50=1.0, p99=2.9),
        p50_ratio=ratio,
        p99_ratio=ratio,
    )
    text = measured(result(evaluation(latency=times)))
    assert "| proposed ÷ in service | 1.10 × (1.05 to 1.16) | 1.10 × (1.05 to 1.16) |" in text
    assert any("p50 1.10 ms, p99 3.00 ms" in line for line in lines(evaluation(latency=times)))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"champion": None}, "nothing is in service to compare with"),
        ({"champion_problem": "it does not load"}, "⚠️ version 7 in service was not measured: it does not load"),
        ({"problem": "the bucket is away"}, "⚠️ **Nothing was measured here.** the bucket is away"),
        ({"metrics": (MeasuredMetric(metric="kpi", measure="", why="nobody knows it"),)}, "`kpi`: nobody knows it."),
    ],
)
def test_what_was_not_measured_is_said(more: dict[str, Any], says: str) -> None:
    assert says in measured(result(evaluation(**more)))


def test_a_result_without_a_measurement_says_nothing() -> None:
    assert measured(result(None)) == ""


def test_a_terminal_tells_it_whole() -> None:
    told = "\n".join(lines(evaluation(decisions=DECISIONS, slices=(slice_of(1, -0.2, outcome="misses"),))))
    assert "accuracy: claimed 0.97, measured 0.91 ± 0.004, in service 0.905, difference +0.005" in told
    assert "region = r1 (300 rows): accuracy 0.9 in service, 0.7 proposed, -0.2: misses" in told
    assert "row 17: 0 (0.9) → 1 (0.8), label 0" in told and "**" not in told
    assert lines(evaluation(problem="the bucket is away")) == ["measured: nothing: the bucket is away"]
