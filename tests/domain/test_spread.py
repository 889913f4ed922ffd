"""How sure a difference is at any confidence: Student's distribution as scipy computes it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bot.domain.spread import FEWEST, Spread, t_above, t_quantile

DEGREES = st.floats(FEWEST, 1e9)


@settings(max_examples=300, deadline=None)
@given(st.floats(-40, 40), DEGREES)
def test_the_tail_is_that_of_scipy(t: float, degrees: float) -> None:
    assert t_above(t, degrees) == pytest.approx(float(stats.t.sf(t, degrees)), rel=1e-8, abs=1e-250)


@settings(max_examples=300, deadline=None)
@given(st.floats(0.501, 0.999999), DEGREES)
def test_the_quantile_is_that_of_scipy(share: float, degrees: float) -> None:
    assert t_quantile(share, degrees) == pytest.approx(float(stats.t.ppf(share, degrees)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("degrees", [30.0, 999.9, 1000.1, 1e12])
def test_where_one_method_ends_the_other_goes_on(degrees: float) -> None:
    for t in (0.0, 1e-9, 0.5, 1.645, 5.0, 12.0):
        assert t_above(t, degrees) == pytest.approx(float(stats.t.sf(t, degrees)), rel=1e-8)
    assert t_above(math.inf, degrees) == 0.0 and t_above(-math.inf, degrees) == 1.0


def test_versions_that_cannot_differ_have_no_room_between_their_bounds() -> None:
    same = Spread(0.0, 0.0, 999.0)
    assert same.bounds(0.95) == (0.0, 0.0)
    assert (same.p_value(0.01), same.p_value(0.0), same.p_value(-0.01)) == (0.0, 1.0, 1.0)


def test_nothing_is_said_where_a_few_rows_carry_it() -> None:
    few = Spread(0.001, 0.0, FEWEST - 1)
    assert few.bounds(0.95) == (math.inf, math.inf) and few.p_value(0.5) == 1.0
