"""Whether a shadow has earned its promotion."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from bot.domain.earned import Verdict, flips_of, in_words, judge, side_by_side
from bot.domain.evidence import rules_of
from bot.domain.gate import Gate, MetricRule, ShadowRule
from bot.domain.paired import Difference
from bot.domain.routes import Target
from bot.domain.shadowed import MOVED_ENDS, Compared
from bot.domain.traffic import BOUNDS

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
RULE = ShadowRule(max_flips=0.01, min_copies=1000)


def counted(copies: int = 0, **counts: Any) -> Compared:
    """Return the counts of so many copies of one row, answered in a millisecond."""
    cells = [0] * (len(BOUNDS) + 1)
    cells[BOUNDS.index(0.001)] = copies
    given: Mapping[str, Any] = {"live_cells": cells, "shadow_cells": list(cells), "rows": copies, **counts}
    return Compared(Target("churn", 7, f"sha256:{7:064x}"), NOW, copies=copies, **given)


def slow(copies: int, seconds: float) -> list[int]:
    cells = [0] * (len(BOUNDS) + 1)
    cells[BOUNDS.index(seconds)] = copies
    return cells


@pytest.mark.parametrize(
    ("found", "standing", "why"),
    [
        (None, "not yet", "no gateway has compared its answers with those of the version in service"),
        (counted(), "not yet", "0 of 1000 copies are compared"),
        (counted(999), "not yet", "999 of 1000 copies are compared"),
        (counted(2000), "promotable", "0 % of decisions flip"),
        (counted(2000, flips=8.0), "not yet", "0.4 % of decisions flip"),
        (counted(20_000, flips=80.0), "promotable", "0.4 % of decisions flip"),
        (counted(2000, flips=60.0), "not", "3 % of decisions flip"),
        (counted(100, flips=50.0), "not", "50 % of decisions flip"),
        (counted(2000, failed=100), "not", "4.76 % of copies fail"),
        (counted(2000, failed=15), "not yet", "0.744 % of copies fail"),
        (counted(2000, unreached=2000), "promotable", "0 % of copies fail"),
        (counted(2000, shadow_cells=slow(2000, 5.0)), "promotable", "0 % of decisions flip"),
    ],
    ids=[
        *(
            "no gateway",
            "nothing",
            "too few",
            "equal",
            "cannot be told",
            "many",
            "flips",
            "few are enough to be sure",
        ),
        *("fails", "fails perhaps", "what no Triton took", "latency is not asked"),
    ],
)
def test_the_verdict(found: Compared | None, standing: str, why: str) -> None:
    verdict = judge(RULE, found)
    assert (verdict.standing, why in verdict.why) == (standing, True), verdict


@pytest.mark.parametrize(
    ("shadow", "standing"),
    [(0.001, "promotable"), (0.0016, "not yet"), (0.0063, "not"), (63.0, "not")],
)
def test_latency_is_judged_by_that_of_the_live_version_for_the_same_requests(shadow: float, standing: str) -> None:
    rule = ShadowRule(max_flips=0.01, min_copies=1000, max_p95_worse=0.5)
    verdict = judge(rule, counted(3000, shadow_cells=slow(3000, shadow)))
    assert verdict.standing == standing, verdict
    (signal,) = [signal for signal in verdict.signals if signal.name == "p95"]
    assert (signal.value, signal.limit) == (shadow, pytest.approx(0.0015))


def test_beyond_all_cells_there_is_no_bound() -> None:
    rule = ShadowRule(max_flips=0.01, max_p95_worse=0.5)
    beyond = [*[0] * len(BOUNDS), 3000]
    (_, _, signal) = judge(rule, counted(3000, shadow_cells=beyond)).signals
    assert (signal.value, signal.high, signal.holds) == (None, None, False)
    assert "to more than a minute" in in_words(signal)


def test_a_number_that_moves_too_far_is_a_flip() -> None:
    found = counted(2000)
    found.moved[MOVED_ENDS.index(0.1)] = 5.0
    found.moved[MOVED_ENDS.index(0.2)] = 300.0
    found.moved[-1] = 100.0
    assert judge(RULE, found).standing == "promotable", "without moved_by, numbers decide nothing"
    assert flips_of(0.2, found).hits == 100.0
    assert flips_of(0.1, found).hits == 400.0
    assert flips_of(0.15, found).hits == 400.0, "of a cell in doubt, all rows"
    assert judge(ShadowRule(max_flips=0.01, moved_by=0.2), found).standing == "not"


def test_sums_that_were_rounded_are_shares_all_the_same() -> None:
    found = counted(1000, flips=1000.000000001)
    assert flips_of(None, found).hits == 1000.0
    assert judge(RULE, found).standing == "not"


def test_a_rule_that_asks_for_more_is_surer() -> None:
    few = counted(1000)
    assert judge(ShadowRule(max_flips=0.01, min_copies=100, confidence=0.9), few).standing == "promotable"
    assert judge(ShadowRule(max_flips=0.01, min_copies=100, confidence=0.9999), few).standing == "not yet"


def test_its_time_is_over() -> None:
    rule = ShadowRule(max_flips=0.01, days=7)
    verdict = judge(rule, counted(10), listens_since=NOW)
    assert verdict.ends_at == NOW + timedelta(days=7)
    assert not verdict.is_over(NOW + timedelta(days=6))
    assert verdict.is_over(NOW + timedelta(days=7))
    assert judge(rule, None, listens_since=NOW).is_over(NOW + timedelta(days=8))
    assert not judge(rule, counted(5000), listens_since=NOW).is_over(NOW + timedelta(days=8)), "it has earned it"
    assert not judge(RULE, counted(10), listens_since=NOW).is_over(NOW + timedelta(days=99)), "nothing limits it"
    assert not judge(rule, counted(10)).is_over(NOW + timedelta(days=99)), "nobody knows since when"
    assert not Verdict("not yet").is_over(NOW)


def test_the_counts_as_people_read_them() -> None:
    found = counted(4)
    found.add(Difference(rows=4, flipped=1, moved=(0.5,), distances=1.0, furthest=0.5))
    found.leave_out("busy")
    read = side_by_side(found)
    assert (read.live, read.copies, read.rows, read.flipped, read.flips) == (7, 5, 8, 1, 0.05)
    assert (read.mean_distance, read.furthest, read.not_compared) == (0.125, 0.5, {"busy": 1})
    assert (read.p50, read.live_p95) == (1.0, 1.0)
    nothing = side_by_side(counted())
    assert (nothing.flips, nothing.mean_distance, nothing.p50) == (None, None, None)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"max_flips": 0.0},
        {"max_flips": 1.0},
        {"max_flips": 0.01, "min_copies": 0},
        {"max_flips": 0.01, "min_copies": 1.5},
        {"max_flips": 0.01, "moved_by": 0},
        {"max_flips": 0.01, "max_error_rate": 0},
        {"max_flips": 0.01, "confidence": 0.5},
        {"max_flips": 0.01, "days": 0},
        {"max_flips": 0.01, "max_flip": 0.02},
    ],
)
def test_a_rule_that_cannot_be_right_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ShadowRule.model_validate(given)


def test_a_rule_for_shadows_changes_no_findings() -> None:
    """Evidence of before stays valid where somebody adds a rule: it is judged after the checks."""
    gate = Gate(metrics={"auc": MetricRule(minimum=0.9)})
    with_rule = gate.model_copy(update={"shadow": RULE})
    assert "shadow" not in gate.model_dump(mode="json")
    assert rules_of(gate, RULE) == rules_of(with_rule, RULE)
