"""A small sample of ``python -m tests.simulations.shadows``, and that the page says what its figures say."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy import stats

from bot.domain.earned import judge
from bot.domain.paired import Difference
from bot.domain.routes import Target
from bot.domain.shadowed import Compared
from tests.simulations import shadows
from tests.simulations.shadows import NOT_GOOD_ENOUGH, Shadow


@pytest.mark.parametrize(
    "of",
    [
        Shadow(flips=0.0005, fails=0.0005, copies=1500),
        Shadow(flips=0.03, rows=20, copies=1500),
        Shadow(flips=0.004, fails=0.02, copies=1500),
    ],
)
def test_many_looks_at_once_say_what_one_look_says(of: Shadow) -> None:
    flips, fails = shadows.drawn(of, 2, np.random.default_rng(1))
    promotable, bad = shadows.looks(flips, fails)
    seen = set()
    for run in range(2):
        counted = Compared(Target("churn", 7, f"sha256:{7:064x}"), datetime(2026, 11, 30, tzinfo=UTC))
        for copy in range(of.copies):
            if fails[run, copy]:
                counted.failed += 1
            else:
                counted.add(Difference(of.rows, round(float(flips[run, copy]) * of.rows)))
                counted.took(live_seconds=0.001, shadow_seconds=0.001)
            if copy % 50 == 49 or copy < 50:
                standing = judge(shadows.RULE, counted).standing
                seen.add(standing)
                assert (standing == "promotable", standing == "not") == (promotable[run, copy], bad[run, copy])
    assert "not yet" in seen
    assert len(seen) > 1


@pytest.mark.parametrize("name", ["1 % flip, in batches of 20 rows that flip together", "1 % flip and 1 % fail"])
def test_one_that_is_not_good_enough_is_hardly_ever_called_promotable(name: str) -> None:
    promotable, _ = shadows.ended(NOT_GOOD_ENOUGH[name], 200)
    assert (promotable > 0).sum() <= stats.binom.ppf(0.9999, 200, shadows.LEVEL)


def test_an_equal_one_is_promotable_as_soon_as_there_are_copies_enough() -> None:
    promotable, bad = shadows.ended(Shadow(copies=1100), 20)
    assert (set(promotable), set(bad)) == ({shadows.RULE.min_copies}, {0})


def test_the_page_says_what_was_simulated() -> None:
    text = shadows.PAGE.read_text(encoding="utf-8")
    assert shadows.page(text, json.loads(shadows.FIGURES.read_text(encoding="utf-8"))) == text


def test_the_level_held_in_what_was_simulated() -> None:
    found = json.loads(shadows.FIGURES.read_text(encoding="utf-8"))
    assert (found["runs"], list(found["wrong"])) == (10_000, list(NOT_GOOD_ENOUGH))
    assert shadows.too_often(found) == []
