"""A small sample of the bakes of ``python -m tests.simulations``, and that the page says what its figures say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bot.domain.sequential import Cells, Counts, is_above, is_longer, is_more_frequent, rate
from tests.simulations import bakes, page
from tests.simulations.__main__ import too_often_broken_off
from tests.simulations.bakes import ENDS, FACTOR, FLIPS, HEALTHY, LIMIT, QUANTILE, WORSE, Bake, level

SAMPLE = (
    "5 % of both fail, half of the traffic goes to the new one",
    "p95 is half longer, 10 % of the traffic",
    "2 % of decisions are others, 10 % of the traffic",
)


ALPHA = 0.0005


def counted(cells: np.ndarray) -> Cells:  # type: ignore[type-arg]
    return Cells([int(count) for count in np.bincount(cells, minlength=len(ENDS) + 1)], [float(end) for end in ENDS])


@pytest.mark.parametrize(
    "of",
    [
        Bake(fails=0.12, failed=0.01, longer=2.6, before=None, share=0.4, requests=900),
        Bake(fails=0.12, failed=0.01, longer=2.6, before=700, requests=900),
    ],
)
@pytest.mark.parametrize("start", [0, 200])
def test_many_looks_at_once_say_what_one_look_says(of: Bake, start: int) -> None:
    (fails, failed), (lasts, lasted) = bakes.drawn(of, 6, np.random.default_rng(1))
    by_errors = bakes.by_errors(of, fails, failed, alpha=ALPHA, start=start)
    by_latency = bakes.by_latency(of, lasts, lasted, alpha=ALPHA, start=start)
    each = (1 - of.share) / of.share
    for bake in range(6):
        for look in range(start + 60, of.requests + 1, 80):
            began, old = (0, of.before) if of.before else (round(start * each), round(look * each))
            new = Counts(int(fails[bake, start:look].sum()), look - start)
            before = Counts(int(failed[bake, began:old].sum()), old - began)
            at = bake, look - start - 1
            assert by_errors[at] == is_more_frequent(new, before, limit=LIMIT, alpha=ALPHA)
            ours, theirs = counted(lasts[bake, start:look]), counted(lasted[bake, began:old])
            assert by_latency[at] == is_longer(ours, theirs, QUANTILE, factor=FACTOR, alpha=ALPHA)
    assert 0 < by_errors.mean() < 1 and 0 < by_latency.mean() < 1


@pytest.mark.parametrize("start", [0, 200])
def test_many_looks_at_decisions_say_what_one_look_says(start: int) -> None:
    flips = bakes.decisions(Bake(flips=0.07, requests=900), 6, np.random.default_rng(1))
    found = bakes.by_decisions(flips, alpha=ALPHA, start=start)
    for bake in range(6):
        for look in range(start + 60, 900 + 1, 80):
            seen = Counts(int(flips[bake, start:look].sum()), look - start)
            assert found[bake, look - start - 1] == is_above(seen, FLIPS, ALPHA)
    assert 0 < found.mean() < 1


def test_many_lower_bounds_are_those_of_each() -> None:
    hits, of = np.array([1, 3, 40, 400]), np.array([1, 200, 400, 5000])
    expected = [rate(Counts(int(x), int(n)), ALPHA).low for x, n in zip(hits, of, strict=True)]
    assert bakes.lower(hits, of, ALPHA) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_healthy_bake_is_hardly_ever_broken_off(name: str) -> None:
    runs = 100
    assert (bakes.breaches(HEALTHY[name], runs) > 0).sum() <= stats.binom.ppf(0.9999, runs, level(HEALTHY[name]))


def test_a_version_that_fails_is_seen_as_soon_as_there_are_requests_enough() -> None:
    found = bakes.breaches(WORSE["10 % fail"], 100, soon=True)
    assert np.median(found) == bakes.LEAST and found.min() > 0


def test_it_makes_no_difference_how_far_is_looked_at_once() -> None:
    of = Bake(fails=0.05, before=None, requests=1500)
    assert list(bakes.breaches(of, 20)) == list(bakes.breaches(of, 20, soon=True))


def test_the_page_says_what_was_simulated() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page(text, page.read("bakes")) == text


def test_every_level_held_in_what_was_simulated() -> None:
    found = page.read("bakes")
    assert found["runs"] == 10_000
    assert list(found["healthy"]) == list(HEALTHY) and list(found["worse"]) == list(WORSE)
    assert too_often_broken_off(found) == []
