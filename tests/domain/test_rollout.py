"""What is due of a rollout: tables of what was counted, and what is decided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from bot.domain.record import DeploymentRecord, Rollout
from bot.domain.release import Lane, Slot
from bot.domain.rollout import (
    STARTS,
    Baked,
    Baking,
    Breach,
    Next,
    Pair,
    Seen,
    UnderWay,
    Waits,
    baking_in,
    flips_in,
    look,
    pair_of,
    start_of,
    together,
)
from bot.domain.routes import Canary, Route, RouteTable, Target
from bot.domain.sequential import Counts
from bot.domain.shadowed import Compared, Copies
from bot.domain.traffic import BOUNDS, Counted, Period, TrafficLane
from tests.domain.entries import a_record, entry

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
SLOT = Slot("prod", "churn", Lane.LIVE)
STEP = Baking("prod-00000008-churn", SLOT, entry(8), entry(7), since=NOW)
FAST, SLOW = 0.010, 0.040


@dataclass(frozen=True)
class Bake:
    minutes: float = 30
    min_requests: int = 200
    max_error_rate: float = 0.01
    max_p95_worse: float = 0.5
    max_flips: float | None = None
    moved_by: float | None = None
    on_breach: Literal["put back", "tell"] = "put back"


RULES = Bake()


def counted(
    version: int, requests: int, failed: int = 0, *, lasts: float = FAST, lane: TrafficLane = "live"
) -> Counted:
    cells = [0] * (len(BOUNDS) + 1)
    cells[next(k for k, end in enumerate(BOUNDS) if lasts <= end)] = requests
    return Counted(version, entry(version).digest, lane, requests, failed, 0, requests * lasts, tuple(cells))


def seen(new: Counted, old: Counted | None = None, **more: object) -> Seen:
    return Seen(Pair(new, old, "before" if old else "unknown"), BOUNDS, **more)  # type: ignore[arg-type]


OLD = counted(7, 5000, 5)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def test_it_waits_for_both_minutes_and_requests() -> None:
    few = look(STEP, seen(counted(8, 120), OLD), RULES, at(45))
    assert isinstance(few, Waits) and (few.requests, few.minutes) == (120, 45)
    assert isinstance(look(STEP, seen(counted(8, 900), OLD), RULES, at(29)), Waits)
    assert isinstance(look(STEP, seen(counted(8, 200), OLD), RULES, at(30)), Baked)


def test_a_clock_that_is_behind_is_no_time() -> None:
    found = look(STEP, seen(counted(8, 120), OLD), RULES, at(-3))
    assert isinstance(found, Waits) and found.minutes == 0


def test_a_version_that_fails_too_often_is_put_back_at_once() -> None:
    found = look(STEP, seen(counted(8, 300, 30), OLD), RULES, at(0.1))
    assert isinstance(found, Breach) and not found.only_told
    failed, p95 = found.table.signals
    assert (failed.is_breach, p95.is_breach) == (True, False)
    assert (failed.new, failed.old, failed.allowed) == (0.1, 0.001, 0.01)
    assert (found.table.new, found.table.old, found.table.beside) == (8, 7, "before")


def test_a_version_that_takes_much_longer_is_put_back() -> None:
    found = look(STEP, seen(counted(8, 300, lasts=SLOW), OLD), RULES, at(0.1))
    assert isinstance(found, Breach) and not found.only_told
    failed, p95 = found.table.signals
    assert (failed.is_breach, p95.is_breach) == (False, True)
    assert (p95.new, p95.old, p95.allowed) == (0.04, 0.01, pytest.approx(0.015))


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (counted(8, 199, 199), OLD),
        (counted(8, 300, 2), OLD),
        (counted(8, 300, 30), counted(7, 5000, 500)),
        (counted(8, 300, lasts=SLOW), counted(7, 5000, lasts=SLOW)),
        (counted(8, 300, lasts=SLOW), counted(7, 3)),
    ],
    ids=["too few requests", "as often as is allowed", "no oftener than the old one", "both slow", "old one unknown"],
)
def test_nothing_is_put_back_that_is_not_surely_bad(new: Counted, old: Counted) -> None:
    assert isinstance(look(STEP, seen(new, old), RULES, at(1)), Waits)


def test_what_nobody_knows_puts_nothing_back_and_lets_nothing_go_on() -> None:
    assert look(STEP, Seen(None, BOUNDS, missing=("gateway-2",)), RULES, at(60)) == Waits(0, 60, ("gateway-2",))
    assert look(STEP, Seen(None, BOUNDS), RULES, at(60)) == Waits(0, 60)
    silent = look(STEP, seen(counted(8, 900), OLD, missing=("gateway-2",)), RULES, at(60))
    assert isinstance(silent, Waits) and silent.missing == ("gateway-2",)
    # What the others say is known: users get these failures.
    assert isinstance(look(STEP, seen(counted(8, 900, 90), OLD, missing=("gateway-2",)), RULES, at(60)), Breach)


@pytest.mark.parametrize(
    ("step", "old", "why"),
    [
        (STEP, None, "too little is known of what 7 did"),
        (STEP, counted(7, 3), "too little is known of what 7 did"),
        (replace(STEP, old=None), None, "nothing was before it"),
    ],
)
def test_without_anything_to_compare_with_it_is_only_told(step: Baking, old: Counted | None, why: str) -> None:
    found = look(step, seen(counted(8, 300, 30), old), RULES, at(1))
    assert isinstance(found, Breach) and found.only_told == why
    assert found.table.signals[0].is_breach


def test_what_is_told_for_want_of_numbers_is_put_back_once_they_are_there() -> None:
    told = look(STEP, seen(counted(8, 300, 30), counted(7, 3)), RULES, at(1))
    assert isinstance(told, Breach) and told.is_open, "few requests were made before, and more of the new ones come"
    more = look(STEP, seen(counted(8, 30_000, 9_000), counted(7, 60)), RULES, at(2))
    assert isinstance(more, Breach) and not more.only_told
    first = look(replace(STEP, old=None), seen(counted(8, 300, 30)), RULES, at(1))
    assert isinstance(first, Breach) and not first.is_open, "nothing will ever be known of what was not there"


def test_of_two_that_answer_at_the_same_time_the_old_one_is_waited_for() -> None:
    """Whichever gets its requests first is chance: the other one must not be called unknown for that."""
    step = replace(STEP, percent=50, steps=(50, 100))

    def beside(new: Counted, old: Counted, minutes: float) -> object:
        return look(step, Seen(Pair(replace(new, lane="canary"), old, "beside"), BOUNDS), RULES, at(minutes))

    assert isinstance(beside(counted(8, 200, 16), counted(7, 195), 1), Waits)
    surely = beside(counted(8, 1000, 80), counted(7, 995), 2)
    assert isinstance(surely, Breach) and not surely.only_told
    silent = beside(counted(8, 200, 16), counted(7, 2), 30)
    assert isinstance(silent, Breach) and silent.only_told == "too little is known of what 7 did"
    assert isinstance(beside(counted(8, 200, 0), counted(7, 2), 30), Next)


def test_a_later_sequence_puts_back_what_the_first_one_cannot_tell() -> None:
    whole, late = Pair(counted(8, 300, 30)), Pair(counted(8, 300, 150), OLD, "before")
    found = look(STEP, Seen(whole, BOUNDS, (late,)), RULES, at(10))
    assert isinstance(found, Breach) and not found.only_told


def test_the_settings_may_say_that_it_is_only_told() -> None:
    found = look(STEP, seen(counted(8, 300, 30), OLD), Bake(on_breach="tell"), at(1))
    assert isinstance(found, Breach) and "on_breach: tell" in found.only_told


def test_a_version_that_begins_to_fail_late_does_not_hide_behind_its_good_requests() -> None:
    whole, late = counted(8, 60_300, 30), counted(8, 300, 30)
    assert isinstance(look(STEP, seen(whole, OLD), RULES, at(10)), Waits)
    found = look(STEP, seen(whole, OLD, later=(Pair(late, OLD, "before"),)), RULES, at(10))
    assert isinstance(found, Breach) and found.table.new_requests == 300


def test_a_later_sequence_begins_each_hundred_and_twentieth_of_the_bake() -> None:
    numbers = [start_of(STEP, RULES, at(minutes)) for minutes in (0, 0.2, 0.25, 0.26, 0.5, 29.9, 30, 31, -1)]
    assert numbers == [None, None, 1, 1, 2, 119, 120, None, None]
    assert STARTS == 120


# --- steps ---------------------------------------------------------------------------------------------------------


# --- decisions -----------------------------------------------------------------------------------------------------

BEFORE, AFTER = (Target("churn", n, entry(n).digest) for n in (7, 8))
COMPARED = replace(STEP, compared=BEFORE)
MAY_FLIP = replace(RULES, max_flips=0.02)


def flipped(hits: float, of: int, *, old: Counted | None = OLD) -> Seen:
    return Seen(Pair(counted(8, 1000), old, "before", flips=Counts(hits, of)), BOUNDS)


def test_a_version_that_decides_otherwise_too_often_is_put_back_at_once() -> None:
    breach = look(COMPARED, flipped(100, 400), MAY_FLIP, at(1))
    assert isinstance(breach, Breach) and not breach.only_told, breach
    signal = breach.table.signals[-1]
    assert (signal.signal, signal.new, signal.allowed, signal.is_breach) == ("flips", 0.25, 0.02, True)
    assert breach.table.compared == 400 and not any(one.is_breach for one in breach.table.signals[:-1])
    assert isinstance(look(COMPARED, flipped(100, 400, old=None), MAY_FLIP, at(1)), Breach), "its own word suffices"


@pytest.mark.parametrize(("hits", "of"), [(8, 400), (16, 400), (3, 10)])
def test_decisions_put_nothing_back_that_does_not_surely_decide_otherwise(hits: float, of: int) -> None:
    assert not isinstance(look(COMPARED, flipped(hits, of), MAY_FLIP, at(31)), Breach)


def test_without_answers_that_were_compared_nothing_goes_on() -> None:
    waits = look(COMPARED, flipped(0, 199), MAY_FLIP, at(31))
    assert isinstance(waits, Waits) and waits.compared == 199, waits
    waits = look(COMPARED, seen(counted(8, 1000), OLD), MAY_FLIP, at(31))
    assert isinstance(waits, Waits) and waits.compared == 0, waits
    assert isinstance(look(COMPARED, flipped(0, 200), MAY_FLIP, at(31)), Baked)


def test_decisions_are_judged_only_where_the_rules_and_the_routes_say_so() -> None:
    for step, rules in ((STEP, MAY_FLIP), (COMPARED, RULES)):
        done = look(step, flipped(400, 400), rules, at(31))
        assert isinstance(done, Baked) and [one.signal for one in done.table.signals] == ["failed", "p95"], done


def test_a_later_sequence_sees_decisions_that_began_to_change() -> None:
    from_the_beginning, later = flipped(0, 100_000).pair, flipped(60, 200).pair
    assert from_the_beginning is not None and later is not None
    both = Seen(from_the_beginning, BOUNDS, later=(later,))
    assert isinstance(look(COMPARED, both, MAY_FLIP, at(20)), Breach)


def test_decisions_add_up_and_their_difference_is_what_happened_since() -> None:
    new = counted(8, 10)
    both = together([Pair(new, flips=Counts(1.5, 10)), Pair(new), Pair(new, flips=Counts(0.5, 5))])
    assert both is not None and both.flips == Counts(2.0, 15)
    since = Pair(new, flips=Counts(1.5, 10)).after(Pair(new, flips=Counts(0.5, 4)))
    assert since is not None and since.flips == Counts(1.0, 6)
    anew = Pair(new, flips=Counts(0.0, 3)).after(Pair(new, flips=Counts(0.5, 4)))
    assert anew is not None and anew.flips is None


def test_only_these_two_versions_are_compared() -> None:
    copies = Copies(BEFORE, compared=Compared(AFTER, NOW, copies=10, rows=10, flipped=3, flips=3.0))
    assert flips_in(copies, COMPARED, None) == Counts(3.0, 10)
    other = replace(COMPARED, new=entry(9))
    for step, found in ((other, copies), (STEP, copies), (COMPARED, None), (COMPARED, Copies(BEFORE))):
        assert flips_in(found, step, None) is None


def test_a_step_that_is_baked_is_followed_by_the_next_and_the_last_by_nothing() -> None:
    divided = replace(STEP, percent=10, steps=(1, 10, 50, 100))
    old = counted(7, 9000)
    found = look(divided, Seen(Pair(counted(8, 1000, lane="canary"), old, "beside"), BOUNDS), RULES, at(31))
    assert isinstance(found, Next) and found.percent == 50
    assert replace(divided, percent=50).next_percent == 100 and replace(divided, percent=100).next_percent is None
    assert (divided.step, divided.periods, STEP.periods) == ("step-010", 2, 1)


DIVIDED = RouteTable(
    "prod",
    3,
    {"churn": Route(Target("churn", 7, entry(7).digest), canary=Canary(Target("churn", 8, entry(8).digest), 50))},
)


def made(percent: int) -> DeploymentRecord:
    rollout = Rollout(id="prod-00000002-churn", percent=percent, step=1, steps=(10, 50, 100), began_at=NOW)
    return record(2, 8, 7, outcome="rolling out", rollout=rollout)


@pytest.mark.parametrize("goes_to", ["half", "all"])
def test_a_step_that_no_record_knows_yet_is_not_baked_by_the_time_of_the_one_before(goes_to: str) -> None:
    """Another watch is making it, or was cut off: users have it for a moment, and its bake has not begun."""
    records = [record(1, 7, None), made(10 if goes_to == "half" else 50)]
    routes = DIVIDED if goes_to == "half" else table(8)
    step = baking_in(records, routes, SLOT)
    assert step is not None and step.is_under_way
    lane: TrafficLane = "canary" if goes_to == "half" else "live"
    good, bad = (replace(counted(8, 9000, failed), lane=lane) for failed in (0, 900))
    seen_now = Seen(Pair(good, OLD, "beside" if goes_to == "half" else "before"), BOUNDS)
    percent = 50 if goes_to == "half" else 100
    found = look(step, seen_now, RULES, at(600))
    assert isinstance(found, UnderWay) and found.percent == percent
    assert look(step, Seen(None, BOUNDS), RULES, at(600)) == UnderWay(percent)
    assert isinstance(look(step, replace(seen_now, pair=replace(seen_now.pair, new=bad)), RULES, at(1)), Breach)


def test_a_step_with_its_record_bakes() -> None:
    step = baking_in([record(1, 7, None), made(50)], DIVIDED, SLOT)
    assert step is not None and not step.is_under_way and (step.percent, step.next_percent) == (50, 100)


def test_each_step_has_its_own_requests() -> None:
    """At night nobody asks: a step of which nobody knows anything is not baked by the requests of the one before."""
    step = replace(STEP, percent=50, steps=(10, 50, 100))
    pair = Pair(counted(8, 1000, lane="canary"), counted(7, 9000), "beside")
    found = look(step, Seen(pair, BOUNDS, earlier=900), RULES, at(31))
    assert isinstance(found, Waits) and found.requests == 100
    assert isinstance(look(step, Seen(pair, BOUNDS, earlier=800), RULES, at(31)), Next)
    assert isinstance(look(step, Seen(pair, BOUNDS, earlier=1200), RULES, at(31)), Next), "a gateway began anew"
    assert (step.step_before, replace(step, percent=10).step_before) == ("step-010", None)
    assert replace(step, percent=100).step_before is None, "its numbers begin with it"


# --- what was counted ----------------------------------------------------------------------------------------------


def test_the_new_version_is_compared_with_the_one_beside_it_or_with_the_one_before() -> None:
    before, live, canary = counted(7, 100), counted(8, 10), counted(8, 10, lane="canary")
    whole = Period(NOW, (live,), before)
    assert pair_of(whole, STEP) == Pair(live, before, "before")
    divided = replace(STEP, percent=10, steps=(10, 100))
    assert pair_of(Period(NOW, (counted(7, 90), canary), before), divided) == Pair(canary, counted(7, 90), "beside")
    assert pair_of(whole, divided) is None
    assert pair_of(None, STEP) is None
    assert pair_of(Period(NOW, (counted(9, 10),), before), STEP) is None
    assert pair_of(Period(NOW, (live,), None), STEP) == Pair(live)
    # Published again, it is its own version before.
    assert pair_of(Period(NOW, (live,), counted(8, 100)), STEP) == Pair(live)


def test_several_gateways_are_added_up() -> None:
    one, other = Pair(counted(8, 10, 1), OLD, "before"), Pair(counted(8, 20, 2))
    assert together([one, other]) == Pair(counted(8, 10, 1).plus(counted(8, 20, 2)), OLD, "before")
    assert together([other, one, one]) == Pair(
        counted(8, 20, 2).plus(counted(8, 10, 1)).plus(counted(8, 10, 1)), OLD.plus(OLD), "before"
    )
    assert together([]) is None


def test_what_happened_since_is_the_difference_of_the_counts() -> None:
    earlier, now = Pair(counted(8, 100, 1), OLD, "before"), Pair(counted(8, 150, 4), OLD, "before")
    found = now.after(earlier)
    assert found is not None and found.old == OLD
    assert (found.new.requests, found.new.failed, sum(found.new.cells)) == (50, 3, 50)
    beside = Pair(counted(8, 150, 4), counted(7, 900), "beside")
    found = beside.after(Pair(counted(8, 100, 1), counted(7, 500), "beside"))
    assert found is not None and found.old is not None and found.old.requests == 400


def test_counts_of_which_a_process_began_anew_have_no_difference_however_many_there_are_since() -> None:
    """One of four workers dies, and its 250 good requests are gone; soon the others have more than were there."""
    began, again = at(-60), at(0.5)
    earlier = Pair(counted(8, 1000, 4), OLD, "before", began)
    assert Pair(counted(8, 1100, 8), OLD, "before", again).after(earlier) is None
    assert Pair(counted(8, 1100, 8), OLD, "before", began).after(earlier) is not None
    period = Period(began, (counted(8, 10),), latest=began)
    both = period.plus(Period(again, (counted(8, 10),)))
    assert (both.since, both.began_last) == (began, again)
    pair = pair_of(Period.from_json(both.to_json(), cells=len(BOUNDS) + 1), STEP)
    assert pair is not None and pair.began == again


def test_counts_that_began_anew_have_no_difference() -> None:
    earlier = Pair(counted(8, 100, 1), counted(7, 500), "beside")
    assert Pair(counted(8, 90, 1), counted(7, 500), "beside").after(earlier) is None
    assert Pair(counted(8, 200, 0), counted(7, 500), "beside").after(earlier) is None
    assert Pair(counted(8, 200, 1, lasts=SLOW), counted(7, 500), "beside").after(earlier) is None
    assert Pair(counted(8, 200, 1), counted(7, 400), "beside").after(earlier) is None
    assert Pair(counted(9, 200, 1), counted(7, 500), "beside").after(earlier) is None


# --- which rollout -------------------------------------------------------------------------------------------------


def record(number: int, version: int, before: int | None, **more: object) -> DeploymentRecord:
    known: dict[str, object] = {"id": f"prod-{number:08d}-churn", "environment": "prod"}
    return a_record(entry(version), at=NOW, before=entry(before) if before else None, **{**known, **more})


def table(version: int) -> RouteTable:
    return RouteTable("prod", 3, {"churn": Route(Target("churn", version, entry(version).digest))})


def test_the_newest_change_that_answers_is_the_rollout() -> None:
    records = [record(1, 7, None), record(2, 8, 7)]
    found = baking_in(records, table(8), SLOT)
    assert found is not None and (found.id, found.new.version, found.old) == (records[1].id, 8, entry(7))
    first = baking_in(records[:1], table(7), SLOT)
    assert first is not None and first.old is None


def test_a_deployment_that_failed_and_bytes_published_again_change_no_rollout() -> None:
    records = [record(1, 7, None), record(2, 8, 7), record(3, 9, 8, outcome="failed"), record(4, 8, 8)]
    found = baking_in(records, table(8), SLOT)
    assert found is not None and found.id == records[1].id


def test_a_way_back_and_what_nobody_knows_is_no_rollout() -> None:
    records = [record(1, 7, None), record(2, 8, 7)]
    assert baking_in([*records, record(3, 7, 8, way_back=True)], table(7), SLOT) is None
    assert baking_in(records, table(9), SLOT) is None
    assert baking_in([], table(8), SLOT) is None
    assert baking_in(records, table(8), Slot("prod", "wine", Lane.LIVE)) is None


def test_the_routes_say_what_its_answers_are_compared_with() -> None:
    records = [record(1, 7, None), record(2, 8, 7)]
    whole = RouteTable("prod", 3, {"churn": Route(AFTER, compared=BEFORE)})
    found, without = baking_in(records, whole, SLOT), baking_in(records, table(8), SLOT)
    assert found is not None and found.compared == BEFORE
    assert without is not None and without.compared is None
