"""What gateways counted of a shadow: sums that add up, and what is read of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.domain.paired import Difference
from bot.domain.routes import Target
from bot.domain.shadowed import MOVED_ENDS, Compared, Copies, copies_of, merged
from bot.domain.traffic import BOUNDS

SINCE = datetime(2026, 11, 30, 12, tzinfo=UTC)
LIVE = Target("churn", 7, f"sha256:{7:064x}")


def counted(*differences: Difference, live: Target = LIVE, since: datetime = SINCE) -> Compared:
    found = Compared(live, since)
    for difference in differences:
        found.add(difference)
    return found


def test_a_copy_counts_once_however_many_rows_it_has() -> None:
    found = counted(Difference(rows=1), Difference(rows=100, flipped=50))
    assert (found.copies, found.rows, found.flipped, found.flips) == (2, 101, 50, 0.5)


def test_numbers_are_counted_by_how_far_they_moved() -> None:
    moved = (0.1, 0.1000001, 1e-9, 0.0999, 2e6)
    found = counted(Difference(rows=10, moved=moved, distances=1.0, furthest=0.5))
    cells = {at: share for at, share in enumerate(found.moved) if share}
    end = MOVED_ENDS.index(0.1)
    assert cells == {0: 0.1, end: 0.2, end + 1: 0.1, len(MOVED_ENDS): 0.1}, "an end belongs to its cell"
    assert (found.distances, found.furthest) == (1.0, 0.5)


def test_latencies_are_counted_by_cells() -> None:
    found = counted()
    found.took(live_seconds=0.0, shadow_seconds=BOUNDS[3])
    found.took(live_seconds=1000.0, shadow_seconds=BOUNDS[3] + 1e-6)
    assert (found.live_cells[0], found.live_cells[-1], sum(found.live_cells)) == (1, 1, 2)
    assert (found.shadow_cells[3], found.shadow_cells[4], found.live_seconds) == (1, 1, 1000.0)


def test_it_is_read_as_it_was_written() -> None:
    found = counted(
        Difference(rows=3, flipped=1, moved=(0.2,), distances=0.2, furthest=0.2),
        Difference(rows=2, flipped=2, unlike="p: missing in the answer"),
    )
    found.took(live_seconds=0.001, shadow_seconds=0.25)
    found.leave_out("busy")
    found.failed, found.unreached = 3, 4
    text = json.dumps(found.to_json(), allow_nan=False)
    read = Compared.from_json({**json.loads(text), "of a later version": 1})
    assert read == replace(found, flips=read.flips, moved=read.moved)
    assert read.flips == pytest.approx(found.flips, abs=1e-9)
    assert read.moved == pytest.approx(found.moved, abs=1e-9)


def test_a_number_that_moved_beyond_all_bounds_leaves_the_counts_numbers() -> None:
    found = counted(*[Difference(rows=1, moved=(1e308,), distances=1e308, furthest=1e308)] * 3)
    assert Compared.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))).furthest == 1e30


def test_several_add_up() -> None:
    one = counted(Difference(rows=2, flipped=1, moved=(0.2,), distances=0.2, furthest=0.2), since=SINCE)
    two = counted(Difference(rows=1, flipped=1, unlike="p: missing in the answer"), since=SINCE - timedelta(hours=1))
    one.leave_out("busy")
    two.leave_out("busy")
    two.leave_out("large")
    two.took(live_seconds=0.001, shadow_seconds=0.001)
    two.failed = 2
    found = merged([one, two])
    assert found is not None
    assert (found.copies, found.rows, found.flipped, found.flips, found.unlike) == (2, 3, 2, 1.5, 1)
    assert (found.since, found.example, found.failed) == (two.since, "p: missing in the answer", 2)
    assert (found.left_out, found.furthest, sum(found.moved)) == ({"busy": 2, "large": 1}, 0.2, 0.5)
    assert found.live_cells == two.live_cells
    assert one.copies == two.copies == 1, "what was added up stays as it was"
    assert merged([]) is None


def test_another_live_version_is_another_pair() -> None:
    before = counted(Difference(rows=1), Difference(rows=1))
    after = counted(Difference(rows=1, flipped=1), live=Target("churn", 8, f"sha256:{8:064x}"))
    assert merged([after, before]) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("since", None),
        ("since", "2026-11-30T12:00:00"),
        ("live", {"version": 7}),
        ("copies", -1),
        ("copies", 1.5),
        ("copies", True),
        ("flips", float("nan")),
        ("flips", "1"),
        ("moved", [0.0]),
        ("live_cells", [0.5] * (len(BOUNDS) + 1)),
        ("left_out", []),
        ("left_out", {"busy": -1}),
        ("furthest", float("inf")),
    ],
)
def test_what_is_not_such_counts_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Compared.from_json({**counted().to_json(), key: value})


def copies(**counts: Any) -> Copies:
    return Copies(Target("churn-shadow", 8, f"sha256:{8:064x}"), **counts)


def test_copies_of_several_add_up_and_an_earlier_gateway_compares_nothing() -> None:
    pair = counted(Difference(rows=2, flipped=1))
    new = copies(sent=2, answered=1, failed=1, unreached=1, dropped=4, latency_seconds_sum=0.5, compared=pair)
    old = {key: value for key, value in new.to_json().items() if key not in ("unreached", "compared")}
    read = [Copies.from_json(json.loads(json.dumps(entry))) for entry in (old, new.to_json(), new.to_json())]
    assert read[1:] == [new, new]
    assert (read[0].unreached, read[0].compared) == (0, None)
    total = copies_of(read)
    assert total is not None
    assert (total.sent, total.failed, total.unreached, total.dropped, total.latency_seconds_sum) == (6, 3, 2, 12, 1.5)
    assert total.compared == merged([pair, pair])
    assert copies_of([]) is None


def test_copies_of_another_shadow_are_left_out() -> None:
    other = Copies(Target("churn-shadow", 9, f"sha256:{9:064x}"), sent=5)
    assert copies_of([copies(sent=1), other]) == copies(sent=1)


@pytest.mark.parametrize(
    "entry", [None, {}, {**copies().to_json(), "sent": -1}, {**copies().to_json(), "version": "8"}]
)
def test_what_is_not_such_copies_is_refused(entry: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Copies.from_json(entry)
