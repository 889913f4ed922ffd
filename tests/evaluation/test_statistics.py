"""What is said of a difference: against textbooks, scipy and exact enumeration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from bot.domain.measured import improbable, verdict
from bot.domain.spread import FEWEST, Spread
from bot.evaluation.metrics import Metric, metric
from bot.evaluation.statistics import (
    Difference,
    compare,
    moments,
    non_inferior,
    rows_needed,
)

Array = NDArray[Any]


def answers(seed: int, rows: int, *, worse: float = 0.0) -> tuple[Array, Array, Array]:
    """Return labels, and the probabilities of two versions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, rows)
    seen = labels + rng.normal(size=rows)
    both = seen + 0.3 * rng.normal(size=(2, rows))
    return labels, 1 / (1 + np.exp(1 - 2 * (both[0] - worse * (2 * labels - 1)))), 1 / (1 + np.exp(1 - 2 * both[1]))


def numbers(seed: int, rows: int) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=rows)
    return labels, labels + rng.normal(size=rows), labels + rng.normal(size=rows)


# Against what others compute


def test_a_mean_has_the_interval_of_a_paired_t_test() -> None:
    labels, proposed, in_service = numbers(1, 4000)
    found = compare(metric("mae"), labels, proposed, in_service, confidence=0.95)
    better = np.abs(in_service - labels) - np.abs(proposed - labels)
    theirs = stats.ttest_1samp(better, 0.0)
    interval = theirs.confidence_interval(0.9)
    assert found.difference == pytest.approx(better.mean())
    assert found.standard_error == pytest.approx(better.std(ddof=1) / math.sqrt(len(better)))
    # Never narrower, and hardly wider where nothing is skewed.
    assert found.low is not None and found.high is not None
    assert interval.low - 0.12 * found.standard_error <= found.low <= interval.low
    assert interval.high <= found.high <= interval.high + 0.12 * found.standard_error
    assert found.method == "paired t"


def test_the_variance_of_an_auc_is_that_of_delong() -> None:
    labels, proposed, in_service = answers(2, 300)
    found = compare(metric("roc_auc"), labels, np.round(proposed, 1), np.round(in_service, 1))
    positive = labels == 1
    components = []
    for scores in (np.round(proposed, 1), np.round(in_service, 1)):
        wins = scores[positive][:, None] - scores[~positive][None, :]
        psi = np.heaviside(wins, 0.5)
        components.append((psi.mean(axis=1), psi.mean(axis=0)))
    (own10, own01), (other10, other01) = components
    variance = np.var(own10 - other10, ddof=1) / positive.sum() + np.var(own01 - other01, ddof=1) / (~positive).sum()
    assert found.difference == pytest.approx(own10.mean() - other10.mean())
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=2e-3)  # and n / (n - 1)
    assert found.method == "DeLong"


def p_worse(found: Difference, allowed: float = 0.0) -> float:
    assert found.difference is not None and found.spread is not None
    return found.spread.p_value(-allowed - found.difference)


@pytest.mark.parametrize(("better", "worse"), [(0, 6), (3, 12), (10, 30), (40, 80), (5, 5)])
def test_accuracy_agrees_with_the_exact_test_of_mcnemar(better: int, worse: int) -> None:
    rows = 500
    labels = np.ones(rows, dtype=np.int64)
    proposed, in_service = np.ones(rows, dtype=np.int64), np.ones(rows, dtype=np.int64)
    in_service[:better] = 0
    proposed[better : better + worse] = 0
    found = compare(metric("accuracy"), labels, proposed, in_service)
    exact = stats.binomtest(better, better + worse, alternative="less").pvalue
    ours = p_worse(found)
    assert exact * 0.5 < ours < max(exact * 4, 0.02), (exact, ours)


def exact_false_holds(rows: int, allowed: float, better: float) -> float:
    """Return how often a version that is exactly as much worse as is allowed holds, by adding up all outcomes."""
    worse = better + allowed
    most = min(rows, int(rows * worse + 9 * math.sqrt(rows * worse) + 20))
    ours, theirs = np.meshgrid(np.arange(most + 1), np.arange(most + 1), indexing="ij")
    same = rows - ours - theirs
    chance = stats.binom.pmf(ours, rows, better) * stats.binom.pmf(
        theirs, np.maximum(rows - ours, 0), worse / (1 - better)
    )
    d = (ours - theirs) / rows
    second = ours * (1 - d) ** 2 + theirs * (1 + d) ** 2 + same * d**2
    third = ours * (1 - d) ** 3 - theirs * (1 + d) ** 3 - same * d**3
    skew = np.divide(third, second**1.5, out=np.zeros_like(d), where=second > 0)
    error = np.sqrt(second / rows / (rows - 1))
    chance = np.where(same >= 0, chance, 0.0)
    likely = chance > 1e-9
    holds = 0.0
    for one, its_error, its_skew, its_chance in zip(
        d[likely], error[likely], skew[likely], chance[likely], strict=True
    ):
        below, above = Spread(float(its_error), float(its_skew), rows - 1.0, 1 / rows).bounds(0.95)
        holds += its_chance * (verdict(float(one), (one - below, one + above), allowed) == "holds")
    return holds + float(chance[~likely].sum())


@pytest.mark.parametrize("rows", [50, 200, 1000])
@pytest.mark.parametrize("allowed", [0.005, 0.01, 0.02, 0.05])
def test_accuracy_holds_its_level_exactly_also_where_few_rows_differ(rows: int, allowed: float) -> None:
    for better in (0.0, 0.005, 0.02, 0.05, 0.1):
        assert exact_false_holds(rows, allowed, better) <= 0.05


def test_that_sum_is_of_what_compare_says() -> None:
    labels = np.ones(200, dtype=np.int64)
    proposed, in_service = labels.copy(), labels.copy()
    in_service[:2], proposed[2:9] = 0, 0
    found = compare(metric("accuracy"), labels, proposed, in_service)
    d = -5 / 200
    psi = np.repeat([1 - d, -1 - d, -d], [2, 7, 191])
    error, skew, _, _ = moments(psi / 200)
    assert found.low == pytest.approx(d - Spread(float(error), float(skew), 199.0, 1 / 200).bounds(0.95)[0])


def rarely_worst(name: str, rows: int, seed: int) -> tuple[Array, Array, Array]:
    """Return labels and two versions that are right; of the first one row of a hundred is as wrong as can be."""
    rng, labels = np.random.default_rng(seed), np.arange(rows) % 2
    lost = rng.random(rows) < 0.01
    if name == "brier":
        shares = labels * 0.98 + 0.01
        return labels, np.where(lost, 1 - shares, shares), shares
    if name == "ndcg":
        relevance = np.tile([1.0, 0.0], (rows, 1))
        return relevance, np.where(lost[:, None], 1 - relevance, relevance), relevance
    scores = labels * 10 + rng.random(rows)
    return labels, np.where(lost & (labels == 1), -5.0, scores), scores


@pytest.mark.parametrize("rows", [70, 200])
@pytest.mark.parametrize(
    ("name", "allowed"), [("roc_auc", 0.009), ("average_precision", 0.004), ("brier", 0.009), ("ndcg", 0.0035)]
)
def test_what_has_a_worst_value_holds_its_level_also_where_no_row_was_seen_to_differ(
    name: str, allowed: float, rows: int
) -> None:
    """The versions are worse than is allowed by a hair; half of the samples of 70 rows show no row that differs."""
    found = [compare(metric(name), *rarely_worst(name, rows, seed)) for seed in range(100)]
    assert any(one.difference == 0 for one in found)
    assert sum(non_inferior(one, allowed, 0.95).outcome == "holds" for one in found) <= 5


# What follows from a difference


def told(difference: float, error: float, rows: int = 1000, **more: Any) -> Difference:
    spread = Spread(error, more.pop("skew", 0.0), more.pop("degrees", rows - 1.0), more.pop("step", 0.0))
    return Difference(rows, "", 0.9, 0.9, difference, spread, **more)


@pytest.mark.parametrize(
    ("difference", "error", "allowed", "outcome"),
    [
        (0.0, 0.005, 0.01, "holds"),
        (0.0, 0.007, 0.01, "unknown"),
        (-0.005, 0.002, 0.01, "holds"),
        (-0.01, 0.002, 0.01, "unknown"),
        (-0.015, 0.002, 0.01, "misses"),
        (-0.015, 0.004, 0.01, "unknown"),
        (0.02, 0.1, 0.01, "unknown"),
        (0.0, 0.0, 0.0, "holds"),  # every row the same
        (-0.01, 0.0, 0.01, "holds"),
        (-0.011, 0.0, 0.01, "misses"),
    ],
)
def test_a_verdict_is_a_non_inferiority_test(difference: float, error: float, allowed: float, outcome: str) -> None:
    found = non_inferior(told(difference, error), allowed, 0.95)
    assert found.outcome == outcome
    assert (found.why == "") is (outcome != "unknown" or found.rows_needed is not None)


def test_rows_needed_are_those_of_the_textbook() -> None:
    deviation = 0.3
    found = told(0.002, deviation / math.sqrt(1000))
    # What looks better by less than its error is taken for equal.
    expected = ((stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * deviation / 0.01) ** 2
    needed = rows_needed(found, 0.01, 0.95)
    assert needed is not None and expected <= needed <= 1.06 * expected
    verdict = non_inferior(found, 0.01, 0.95)
    assert verdict.outcome == "unknown" and verdict.rows_needed == needed


def test_what_is_worse_by_more_than_chance_needs_more_rows() -> None:
    needed = [rows_needed(told(worse, 0.004), 0.01, 0.95) or 0 for worse in (0.0, -0.004, -0.006, -0.009, -0.013)]
    assert needed[0] == needed[1] > 1000  # within a standard error of equal
    assert needed == sorted(needed) and len(set(needed)) == 4
    assert rows_needed(told(-0.015, 0.004), 0.01, 0.95) is None


@pytest.mark.parametrize(
    ("difference", "error", "allowed"), [(-0.0125, 0.002, 0.01), (-0.025, 0.012, 0.01), (0.0, 0.02, 0.0)]
)
def test_no_number_of_rows_helps_what_is_as_bad_as_it_looks(difference: float, error: float, allowed: float) -> None:
    found = non_inferior(told(difference, error), allowed, 0.95)
    assert found.outcome == "unknown" and found.rows_needed is None
    assert found.why.startswith("no number of rows shows that it holds")


def test_nothing_is_said_where_a_few_rows_carry_it() -> None:
    rng = np.random.default_rng(1)
    labels = rng.normal(size=1000)
    in_service = labels + rng.normal(size=1000)
    proposed = in_service.copy()
    proposed[7] += 1000
    found = compare(metric("mae"), labels, proposed, in_service)
    assert found.difference is not None and found.difference < -0.9
    assert found.low is None and found.high is None and found.spread is not None and found.spread.too_few
    verdict = non_inferior(found, 0.5, 0.95)
    assert verdict.outcome == "unknown"
    assert verdict.why == "no more than about 3 rows carry the difference"
    assert verdict.rows_needed is not None and verdict.rows_needed > 1000
    assert p_worse(found, 0.5) == 1.0


@pytest.mark.parametrize("rows", [0, 1, 2, 5])
@pytest.mark.parametrize("name", ["accuracy", "mae", "brier", "r2", "f1", "roc_auc", "log_loss", "ndcg"])
def test_a_handful_of_rows_says_nothing(name: str, rows: int) -> None:
    labels, proposed, in_service = answers(1, rows)
    groups = np.arange(rows)
    found = non_inferior(compare(metric(name), labels, proposed, in_service, groups=groups), 0.5, 0.95)
    assert found.outcome == "unknown" and found.why


def test_a_version_alone_is_measured_with_its_error() -> None:
    labels, proposed, _ = answers(3, 400)
    found = compare(metric("accuracy"), labels, proposed, None)
    value = ((proposed >= 0.5) == labels).mean()
    assert (found.proposed, found.in_service, found.difference, found.low) == (value, None, None, None)
    assert found.proposed_error == pytest.approx(math.sqrt(value * (1 - value) / 399 + 2 / 400**2))
    verdict = non_inferior(found, 0.01, 0.95)
    assert (verdict.outcome, verdict.why) == ("unknown", "no version is in service to compare with")


def test_what_the_version_in_service_cannot_answer_is_said_of_it() -> None:
    labels, proposed, in_service = answers(3, 40)
    in_service[3] = math.nan
    found = compare(metric("accuracy"), labels, proposed, in_service)
    assert found.why == "in service: 1 of the answers is not finite, first of row 3"
    assert found.proposed == ((proposed >= 0.5) == labels).mean()
    assert (found.difference, found.low, found.standard_error) == (None, None, None)
    assert (found.undefined_by, non_inferior(found, 0.5, 0.95).outcome) == ("in_service", "unknown")
    other = compare(metric("accuracy"), labels, in_service, proposed)
    assert (other.proposed, other.in_service, other.undefined_by) == (None, found.proposed, "proposed")


def test_a_row_that_the_version_in_service_left_open_leaves_the_others_to_compare() -> None:
    labels, proposed, in_service = numbers(3, 2000)
    its = np.zeros(2000, dtype=bool)
    its[7] = True
    broken = np.where(its, math.nan, in_service)
    for ours, outcome in ((labels + (in_service - labels) * 0.5, "holds"), (labels + 100, "misses")):
        found = compare(metric("mae"), labels, ours, broken, refused=(~its & its, its))
        assert found.proposed == pytest.approx(np.abs(ours - labels).mean())
        assert found.in_service == pytest.approx(np.abs(in_service - labels)[~its].mean())
        assert found.rows == 1999 and found.undefined_by is None
        assert found.why.endswith("the difference is of the 1,999 rows that it answered")
        assert non_inferior(found, 0.01, 0.95).outcome == outcome
    turned = compare(metric("mae"), labels, broken, proposed, refused=(its, ~its & its))
    assert (turned.proposed, turned.difference, turned.undefined_by) == (None, None, "proposed")
    assert turned.in_service == pytest.approx(np.abs(proposed - labels).mean())


def test_precision_of_a_version_that_decides_for_nothing_leaves_the_others_number() -> None:
    labels, decided, never = np.array([0, 1] * 200), np.array([0, 1] * 200), np.zeros(400, np.int64)
    found = compare(metric("precision"), labels, decided, never)
    assert (found.proposed, found.in_service, found.undefined_by) == (1.0, None, "in_service")
    assert compare(metric("precision"), labels, never, decided).undefined_by == "proposed"
    assert compare(metric("precision"), labels, never, None).undefined_by == "proposed"


@pytest.mark.parametrize("name", ["roc_auc", "recall", "f1", "r2", "ndcg", "log_loss"])
def test_labels_that_give_no_number_are_nobodys_fault(name: str) -> None:
    labels = np.zeros(50) if name in ("r2", "ndcg") else np.full(50, "a") if name == "log_loss" else np.zeros(50, int)
    answers = np.linspace(0.1, 0.4, 50)
    found = compare(metric(name), labels, answers, answers)
    assert (found.proposed, found.in_service, found.undefined_by) == (None, None, "set"), found.why


def test_a_loss_that_grows_is_worse() -> None:
    labels, proposed, in_service = answers(4, 5000, worse=0.3)
    for name in ("log_loss", "brier", "accuracy", "roc_auc"):
        found = compare(metric(name), labels, proposed, in_service)
        assert found.difference is not None and found.high is not None
        assert found.difference < 0 and found.high < 0, name
        assert non_inferior(found, 0.0, 0.95).outcome == "misses"


def test_rows_of_a_group_count_as_one() -> None:
    labels, proposed, in_service = answers(5, 300)
    for name in ("accuracy", "log_loss", "roc_auc", "f1"):
        alone = compare(metric(name), labels, proposed, in_service)
        thrice = [np.repeat(one, 3) for one in (labels, proposed, in_service)]
        together = compare(metric(name), *thrice, groups=np.repeat(np.arange(300), 3).astype(str))
        assert together.difference == pytest.approx(alone.difference)
        assert together.standard_error == pytest.approx(alone.standard_error, rel=5e-3), name
        assert together.low == pytest.approx(alone.low, abs=2e-4)
        assert together.method == f"{alone.method}, by groups"


def test_what_one_version_refuses_counts_against_it_and_what_both_refuse_not_at_all() -> None:
    labels, proposed, in_service = answers(6, 100)
    mine, its = np.zeros(100, dtype=bool), np.zeros(100, dtype=bool)
    mine[:10], its[5:15] = True, True
    broken = np.where(mine, math.nan, proposed), np.where(its, math.nan, in_service)
    found = compare(metric("accuracy"), labels, *broken, refused=(mine, its))
    right, theirs = (proposed >= 0.5) == labels, (in_service >= 0.5) == labels
    counted = ~(mine & its)
    assert found.rows == 95
    assert found.proposed == pytest.approx((right & ~mine)[counted].mean())
    assert found.in_service == pytest.approx((theirs & ~its)[counted].mean())
    unbounded = compare(metric("log_loss"), labels, *broken, refused=(mine, its))
    assert unbounded.why == "5 rows were not answered, and it has no worst value for them"


# The parts


def test_effective_degrees_count_the_rows_that_carry_a_sum() -> None:
    rng = np.random.default_rng(1)
    for made, low, high in [
        (rng.normal(size=5000), 4500, 4999),
        (rng.uniform(-1, 1, size=5000), 4999, 4999),
        (np.concatenate([np.ones(20), -np.ones(20), np.zeros(5000)]), 75, 85),
        (np.concatenate([[30.0], rng.normal(size=5000) * 0.01]), 0, 2.1),
        (rng.standard_cauchy(5000), 0, 10),
        (np.zeros(100), 99, 99),
    ]:
        _, _, degrees, largest = moments(made)
        assert float(largest) == np.abs(made).max()
        assert low <= float(degrees) <= high
    assert FEWEST > 10


@pytest.mark.parametrize("unit", [1e-300, 1e-82, 1.0, 1e77, 1e150])
def test_the_unit_of_a_metric_does_not_change_how_many_rows_carry_it(unit: float) -> None:
    carried = np.concatenate([[1.0], np.full(999, 1e-4)]) * unit
    error, _, degrees, _ = moments(carried - carried.mean())
    assert float(degrees) < 3 and float(error) > 0


def test_holm_by_hand() -> None:
    # 0.05/4 = 0.0125, 0.05/3 = 0.0167, 0.05/2 = 0.025
    assert improbable([0.01, 0.016, 0.03, 0.5], 0.95) == {0, 1}
    assert improbable([0.013, 0.001], 0.95) == {0, 1}
    assert improbable([0.04, 0.04], 0.95) == frozenset()
    assert improbable([math.nan, 0.001], 0.95) == {1}
    assert improbable([], 0.95) == frozenset()


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.6, 0.99))
def test_holm_is_between_bonferroni_and_no_correction(p_values: list[float], confidence: float) -> None:
    rejected, level = improbable(p_values, confidence), 1 - confidence
    assert {number for number, p in enumerate(p_values) if p <= level / len(p_values)} <= rejected
    assert rejected <= {number for number, p in enumerate(p_values) if p <= level}


# A team's own metric


def median(labels: Array, given: Array) -> float:
    return float(np.median(np.abs(labels - given)))


def test_a_teams_own_metric_is_told_by_leaving_blocks_out() -> None:
    own = Metric("package:median", False, "jackknife over blocks of rows", own=median)
    labels, proposed, in_service = numbers(7, 5000)
    found = compare(own, labels, proposed, in_service, seed="sha256:1")
    assert found.difference == pytest.approx(median(labels, in_service) - median(labels, proposed))
    rng = np.random.default_rng(1)
    resampled = []
    for _ in range(300):
        rows = rng.integers(5000, size=5000)
        resampled.append(median(labels[rows], in_service[rows]) - median(labels[rows], proposed[rows]))
    assert found.standard_error == pytest.approx(np.std(resampled), rel=0.35)
    again = compare(own, labels, proposed, in_service, seed="sha256:1")
    assert again == found
    assert compare(own, labels, proposed, in_service, seed="sha256:2").low != found.low
    assert compare(own, labels[:5], proposed[:5], in_service[:5]).why


def test_a_teams_own_scores_are_a_mean_of_rows() -> None:
    own = Metric(
        "package:profit", True, "jackknife over blocks of rows", own=lambda labels, given: -np.abs(labels - given)
    )
    labels, proposed, in_service = numbers(8, 500)
    found, same = compare(own, labels, proposed, in_service), compare(metric("mae"), labels, proposed, in_service)
    assert (found.difference, found.low) == (pytest.approx(same.difference), pytest.approx(same.low))
