"""What a report counts, against what really happened in made-up lives of an environment."""

from __future__ import annotations

import statistics
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.report import Numbers, Share, Times, deliveries, numbers
from tests.domain.lives import BEGAN, WHAT, Happened, Life


def expected(happened: list[Happened], since: datetime, until: datetime) -> Numbers:
    """Count what happened, straight from what is known of it."""

    def is_in(at: datetime | None) -> bool:
        return at is not None and since <= at <= until

    def times(seconds: list[float | None]) -> Times:
        known = [one for one in seconds if one is not None]
        if not known:
            return Times(0, len(seconds), None, None)
        smallest = next(one for one in sorted(known) if sum(x <= one for x in known) >= 0.9 * len(known) - 1e-9)
        return Times(len(known), len(seconds), statistics.median(known), smallest)

    there = [one for one in happened if is_in(one.at)]
    served = [one for one in there if one.what == "release" and not one.was_put_back]
    put_back = [one for one in there if one.was_put_back]
    rolled_back = [one for one in there if one.what in ("release", "ended") and one.back_at and not one.was_put_back]
    had = len(served) + len(put_back) + sum(one.what == "ended" for one in rolled_back)
    failed = len(put_back) + len(rolled_back)
    back = [one for one in happened if is_in(one.back_at)]
    count = {what: sum(one.what == what for one in there) for what in ("stopped", "shadow", "way back")}
    return Numbers(
        releases=len(served),
        by_policy=sum(one.by_policy is True for one in served),
        by_people=sum(one.by_policy is False for one in served),
        repeated=sum(one.is_again for one in served),
        put_back=len(put_back),
        rolled_back=len(rolled_back),
        stopped=count["stopped"],
        under_way=0,
        ended=sum(one.what == "ended" and one.back_at is None for one in there),
        change_failures=Share(failed, had, failed / had if had else None),
        lead_time=times([one.lead for one in served if not one.is_again]),
        waiting_for_review=times([one.review for one in served]),
        time_to_restore=times([one.restored for one in back]),
        exposed=times(
            [(one.back_at - one.reached_at).total_seconds() for one in back if one.back_at and one.reached_at]
        ),
        shadows=count["shadow"],
        ways_back=count["way back"],
        failed_ways_back=sum(one.what == "failed way back" for one in there),
        out_of_service=sum(one.what == "out of service" for one in there),
    )


lives = st.lists(
    st.tuples(
        st.sampled_from(WHAT),
        st.sampled_from(["churn", "fraud", "pair"]),
        st.integers(0, 4),
        st.integers(1, 90),
        st.integers(1, 3),
        st.integers(1, 3_000),
    ),
    max_size=30,
)


@given(lives, st.integers(0, 40_000), st.integers(0, 60_000))
@settings(max_examples=300, deadline=None)
def test_a_report_counts_what_happened(done: list[Any], since: int, length: int) -> None:
    life = Life()
    for what, name, known, hours, bits, minutes in done:
        life.passes(minutes)
        life.does(what, name, known, float(hours), bits)
    begin = BEGAN + timedelta(minutes=since)
    found = deliveries(life.records)
    for ends in (begin + timedelta(minutes=length), life.now):
        counted, wanted = numbers(found, begin, ends), expected(life.happened, begin, ends)
        assert replace(counted, **_rounded(counted)) == replace(wanted, **_rounded(wanted))
    ids = [id_ for one in found for id_ in one.records]
    assert len(ids) == len(set(ids)), "no deployment counts twice"
    assert {id_ for one in found for id_ in one.records} <= {one.id for one in life.records}


def _rounded(found: Numbers) -> dict[str, Times]:
    names = ("lead_time", "waiting_for_review", "time_to_restore", "exposed")
    return {
        name: replace(
            times,
            median_seconds=times.median_seconds and round(times.median_seconds, 3),
            p90_seconds=times.p90_seconds and round(times.p90_seconds, 3),
        )
        for name in names
        for times in [getattr(found, name)]
    }


def test_without_a_release_there_is_no_number() -> None:
    found = numbers([], BEGAN, BEGAN)
    assert (found.releases, found.change_failures) == (0, Share(0, 0, None))
    assert found.lead_time == Times(0, 0, None, None)


def test_the_ninth_of_ten() -> None:
    assert Times.over([float(n) for n in range(1, 11)]) == Times(10, 10, 5.5, 9.0)
    assert Times.over([None, 7.0]) == Times(1, 2, 7.0, 7.0)
    assert Times.over([None, None]) == Times(0, 2, None, None)


def test_a_rollout_that_goes_on_is_under_way_and_counts_as_nothing_yet() -> None:
    life = Life()
    life.does("release", "churn", 3, 1, 1)
    life.does("canary, then roll back", "churn", 3, 1, 1)
    first, second = life.records[:2]
    assert (first.outcome, second.outcome) == ("succeeded", "rolling out")
    found = deliveries([first, second])
    assert [(one.result, one.reached_at) for one in found][1] == ("under way", second.criteria[0].at)
    counted = numbers(found, BEGAN, life.now)
    assert (counted.releases, counted.under_way, counted.change_failures.of) == (1, 1, 1)


def test_a_step_that_failed_before_its_switch_leaves_the_rollout_under_way_or_takes_it_from_users() -> None:
    life = Life()
    life.does("release", "churn", 3, 1, 1)
    life.does("canary, then put back", "churn", 3, 1, 0)
    first, step, back = life.records
    failed = back.model_copy(update={"outcome": "failed", "steps": back.steps[:1]})
    (_, one) = deliveries([first, step, failed])
    assert (one.result, one.records, one.back) == ("under way", (step.id, failed.id), None)
    unswitched = back.model_copy(update={"steps": (back.steps[0], back.steps[2])})
    (_, one) = deliveries([first, step, unswitched])
    assert one.back is not None and one.back.asked_at == back.started_at, "some users had it when the step began"


def test_a_canary_that_was_taken_away_leaves_the_release_that_answers_all_along() -> None:
    life = Life()
    for what in ("release", "release", "canary, then roll back", "roll back at once"):
        life.passes(30)
        life.does(what, "churn", 3, 1, 1)
    found = [one for one in deliveries(life.records) if one.kind == "release"]
    assert [(one.result, one.back is not None) for one in found] == [
        ("served", False),
        ("served", True),
        ("ended", True),
    ]


def test_a_part_of_a_bundle_that_was_recorded_alone_is_no_release() -> None:
    life = Life()
    life.does("release", "pair", 3, 1, 3)
    prep, rank = life.records
    assert [one.result for one in deliveries([prep, rank])] == ["served"]
    assert [one.result for one in deliveries([prep])] == ["under way"]


def test_clocks_that_contradict_each_other_give_no_time() -> None:
    life = Life()
    life.does("release", "churn", 3, 1, 1)
    (one,) = deliveries(life.records)
    assert one.origin is not None and one.lead_seconds is not None
    later = one.ended_at + timedelta(hours=1)
    one = replace(one, origin=one.origin.model_copy(update={"registered_at": later, "opened_at": later}))
    assert (one.lead_seconds, one.review_seconds) == (None, None)
