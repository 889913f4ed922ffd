"""A small sample of ``python -m tests.simulations``, and that its page says what its figures say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from bot.evaluation.statistics import compare
from tests.simulations import page, textbook
from tests.simulations.__main__ import CLAIMS, IN_SLICES, LIMITS, POINT, SIZES, too_often
from tests.simulations.populations import POPULATIONS, population
from tests.simulations.trials import blamed_claims, blamed_slices, many, verdicts

SAMPLE = ("accuracy, few rows differ", "Brier, few rows differ", "MAE, heavy tails (t of 3)")


@pytest.mark.parametrize("name", SAMPLE)
def test_many_samples_at_once_say_what_compare_says_of_each(name: str) -> None:
    of = population(name)
    differences, spreads = many(of, "worse", np.random.default_rng(1), (5,), 400)
    rows = np.random.default_rng(1).integers(of.units, size=(5, 400))
    for number, chosen in enumerate(rows):
        alone = compare(of.metric, of.labels[chosen], of.worse[chosen], of.in_service[chosen])
        assert differences[number] == pytest.approx(alone.difference)
        assert alone.spread is not None
        assert dataclasses.astuple(spreads[number]) == pytest.approx(dataclasses.astuple(alone.spread))


@pytest.mark.parametrize("name", SAMPLE)
def test_a_verdict_is_wrong_as_seldom_as_its_level_says(name: str) -> None:
    of, runs = population(name), 4000
    most = stats.binom.ppf(0.9999, runs, 0.05) / runs
    for size in (50, 1000):
        assert verdicts(of, "worse", size, runs).holds <= most
        assert verdicts(of, "equal", size, runs).misses <= most
    assert blamed_slices(of, 100, 200) <= stats.binom.ppf(0.9999, 200, 0.05) / 200


def test_a_verdict_comes_where_there_are_rows_enough() -> None:
    of = population("MAE, heavy tails (t of 3)")
    border = of.allowed("worse")
    assert verdicts(of, "worse", 5000, 200, border / 2).misses > 0.95
    assert verdicts(of, "worse", 5000, 200, border * 2).holds > 0.95


def test_a_metric_that_is_no_mean_of_rows_is_tried_sample_by_sample() -> None:
    of = population("ROC AUC, 3 % positive")
    assert verdicts(of, "worse", 2000, 60).holds <= stats.binom.ppf(0.9999, 60, 0.05) / 60


def test_an_honest_claim_is_seldom_blamed_also_where_no_row_is_wrong() -> None:
    assert blamed_claims(population("accuracy near 1"), 50, 200) <= stats.binom.ppf(0.9999, 200, 0.05) / 200


def test_figures_of_some_rows_are_kept_beside_the_others() -> None:
    kept = page.read()
    f1 = {50: {"runs": 9, "false_holds": 1.0, "false_misses": 0.0}}
    both = page.together(kept, {"runs": kept["runs"], "verdicts": {"F1": f1}})
    assert list(both["verdicts"]) == list(kept["verdicts"])
    assert both["verdicts"]["F1"] == {"50": {"runs": 9, "false_holds": 1.0, "false_misses": 0.0}}
    assert both["verdicts"]["accuracy"] == kept["verdicts"]["accuracy"]


def test_the_usual_intervals_are_certain_of_what_they_did_not_see() -> None:
    found = textbook.false_holds(50, 2000)
    assert found["Student's t"] > 0.5 and found["BCa bootstrap"] > 0.5
    assert found["what is used here"] <= 0.05


def test_the_page_says_what_was_simulated() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page(text, page.read()) == text


def test_every_level_held_in_what_was_simulated() -> None:
    found = page.read()
    assert found["runs"] == 2000
    assert list(found["verdicts"]) == list(POPULATIONS) and set(found["slices"]) == set(IN_SLICES)
    assert set(found["claims"]) == set(CLAIMS)
    assert set(found["power"]) == set(found["foretold"]) == set(POINT)
    assert too_often(found) == []
    assert {name for name, _ in LIMITS} < set(POPULATIONS)
    for by_size in found["verdicts"].values():
        assert len(by_size) in (len(SIZES), len(SIZES) - 1)
        assert all(of["runs"] >= 2000 for of in by_size.values())
    for of in found["foretold"].values():
        assert 0.6 < of["holds"] < 0.95
