"""Bounds that hold at every look: against exact probabilities, at borders, and that they find what is there."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.sequential import (
    Bounds,
    Cells,
    Counts,
    difference,
    is_above,
    is_below,
    is_longer,
    is_more_frequent,
    quantile,
    rate,
)

ENDS = (0.01, 0.0125, 0.015625, 0.01953125, 0.0244140625)


def ever(p: float, looks: int, is_wrong: Callable[[Counts], bool]) -> float:
    """Return the exact probability that something is said at any look of a sequence with this rate."""
    going, said = {0: 1.0}, 0.0
    for of in range(1, looks + 1):
        after: dict[int, float] = {}
        for hits, probability in going.items():
            for more, share in ((0, 1 - p), (1, p)):
                now = Counts(hits + more, of)
                if is_wrong(now):
                    said += probability * share
                else:
                    after[now.hits] = after.get(now.hits, 0.0) + probability * share
        going = after
    return said


@pytest.mark.parametrize("p", [0.01, 0.05, 0.5, 0.95])
def test_a_true_rate_is_ever_outside_no_oftener_than_alpha(p: float) -> None:
    wrong = ever(p, 300, lambda seen: is_above(seen, p, 0.05) or is_below(seen, p, 0.05))
    assert 0.001 < wrong <= 0.05


def test_an_interval_of_a_fixed_sample_is_wrong_far_more_often_when_it_is_looked_at() -> None:
    def is_out(seen: Counts) -> bool:
        share = seen.hits / seen.of
        return seen.of >= 30 and abs(share - 0.5) > 1.96 * (share * (1 - share) / seen.of) ** 0.5

    assert ever(0.5, 300, is_out) > 0.2


@given(st.integers(0, 400), st.integers(0, 400), st.sampled_from([0.05, 0.001]))
def test_the_bounds_end_where_a_rate_is_no_longer_refuted(hits: int, misses: int, alpha: float) -> None:
    seen = Counts(hits, hits + misses)
    found = rate(seen, alpha)
    assert 0 <= found.low <= found.high <= 1
    if seen.share is None:
        assert found == Bounds(0.0, 1.0)
        return
    assert found.low <= seen.share <= found.high
    hair = 1e-6
    if hits:
        assert is_above(seen, found.low - hair, alpha) and not is_above(seen, found.low + hair, alpha)
    else:
        assert found.low == 0
    if misses:
        assert is_below(seen, found.high + hair, alpha) and not is_below(seen, found.high - hair, alpha)
    else:
        assert found.high == 1


def test_more_requests_tell_more_and_less_alpha_tells_less() -> None:
    few, many, stricter = rate(Counts(1, 10), 0.05), rate(Counts(100, 1000), 0.05), rate(Counts(1, 10), 0.001)
    assert stricter.low < few.low < many.low < 0.1 < many.high < few.high < stricter.high


def test_nothing_seen_is_no_evidence() -> None:
    nothing, bad = Counts(0, 0), Counts(90, 100)
    assert nothing.share is None
    assert not is_above(nothing, 0.0, 0.05) and not is_below(nothing, 1.0, 0.05)
    assert not is_more_frequent(bad, nothing, limit=0.01, alpha=0.05)
    assert not is_more_frequent(nothing, bad, limit=0.0, alpha=0.05)
    empty = Cells((0,) * 6, ENDS)
    slow = Cells((0, 0, 0, 0, 0, 900), ENDS)
    assert quantile(empty, 0.95, 0.05) == Bounds(0.0, inf) and empty.end_of(0.95) is None
    assert not is_longer(slow, empty, 0.95, factor=1.5, alpha=0.05)
    assert not is_longer(empty, slow, 0.95, factor=1.5, alpha=0.05)


def test_a_rate_of_all_or_none_is_surely_beyond_the_other_end() -> None:
    assert is_above(Counts(1, 1), 0.0, 0.05) and is_below(Counts(0, 1), 1.0, 0.05)
    assert not is_above(Counts(0, 1000), 0.0, 0.05) and not is_below(Counts(1000, 1000), 1.0, 0.05)


def test_a_version_fails_too_often_only_above_the_limit_and_above_the_old_one() -> None:
    new = Counts(40, 400)
    assert is_more_frequent(new, Counts(1, 4000), limit=0.01, alpha=0.0005)
    assert not is_more_frequent(new, Counts(400, 4000), limit=0.01, alpha=0.0005)
    assert not is_more_frequent(new, Counts(1, 4000), limit=0.1, alpha=0.0005)
    assert not is_more_frequent(new, Counts(0, 30), limit=0.01, alpha=0.0005)
    found = difference(new, Counts(1, 4000), 0.0005)
    assert 0.03 < found.low < 0.1 < found.high < 0.2
    assert difference(Counts(1, 4000), new, 0.0005) == Bounds(-found.high, -found.low)


def test_a_quantile_lies_between_the_ends_of_two_cells() -> None:
    # 90 % in the first cell, 8 % in the third: the quantile is in the third.
    seen = Cells((9000, 0, 800, 0, 200, 0), ENDS)
    assert quantile(seen, 0.95, 0.0005) == Bounds(ENDS[1], ENDS[2])
    assert seen.end_of(0.95) == ENDS[2] and seen.end_of(0.99) == ENDS[4] and seen.end_of(0.9) == ENDS[0]
    assert quantile(Cells((9, 0, 1, 0, 0, 0), ENDS), 0.95, 0.0005) == Bounds(0.0, inf)
    assert quantile(Cells((0, 0, 0, 0, 0, 800), ENDS), 0.95, 0.0005) == Bounds(ENDS[-1], inf)
    assert Cells((0, 0, 0, 0, 0, 800), ENDS).end_of(0.95) == inf


def test_p95_is_longer_only_beyond_the_factor() -> None:
    old = Cells((4900, 100, 0, 0, 0, 0), ENDS)
    twice = Cells((0, 0, 100, 700, 100, 0), ENDS)
    assert is_longer(twice, old, 0.95, factor=1.5, alpha=0.0005)
    assert not is_longer(twice, old, 0.95, factor=2.0, alpha=0.0005)
    assert not is_longer(old, twice, 0.95, factor=1.5, alpha=0.0005)


def test_the_fixed_cell_argument_holds_exactly() -> None:
    """The upper bound is ever too low with the probability of one cell, though any of three may fool us."""
    shares = (0.5, 0.3, 0.1, 0.1)  # the true 0.95 quantile is in the last cell
    looks, alpha = 40, 0.2

    def is_too_low(counts: tuple[int, ...]) -> bool:
        return quantile(Cells(counts, (1.0, 2.0, 3.0)), 0.95, alpha).high <= 3.0

    going, said = {(0, 0, 0, 0): 1.0}, 0.0
    for _ in range(looks):
        after: dict[tuple[int, ...], float] = {}
        for counts, probability in going.items():
            for cell, share in enumerate(shares):
                now = tuple(count + (k == cell) for k, count in enumerate(counts))
                after[now] = after.get(now, 0.0) + probability * share
        said += sum(probability for now, probability in after.items() if is_too_low(now))
        going = {now: probability for now, probability in after.items() if not is_too_low(now)}
    last = ever(0.9, looks, lambda seen: is_above(seen, 0.95, alpha))
    assert said == pytest.approx(last)
    assert ever(0.95, looks, lambda seen: is_above(seen, 0.95, alpha)) <= alpha


def test_cells_must_fit_their_ends() -> None:
    with pytest.raises(ValueError, match="5 ends make 6 cells, not 5"):
        Cells((1, 2, 3, 4, 5), ENDS)
