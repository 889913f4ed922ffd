"""What is kept: everything that serves, could serve at once, or is a way back; and what is somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.domain.desired import SECTIONS, Entry, Section
from bot.domain.journal import Journal, Underway
from bot.domain.plan import Loaded, targets
from bot.domain.record import DeploymentRecord, Outcome, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.retention import (
    Stock,
    bisect_of,
    emptied,
    owned,
    published_in,
    pull_request_of,
    retention,
    slot_of,
    strangers_in,
)
from bot.domain.routes import Route, RouteTable, Target
from tests.domain.entries import a_record, entry

START = datetime(2026, 1, 1, tzinfo=UTC)
LANES = ("", ".1a2b3c4d", ".1a2b3c4d-2")


def record(
    number: int,
    version: int,
    *,
    model: str = "churn",
    section: Section = "models",
    outcome: Outcome = "succeeded",
) -> DeploymentRecord:
    at = START + timedelta(hours=number)
    return a_record(entry(version), number=number, at=at, outcome=outcome, model=model, section=section)


def live(version: int, triton_model: str = "churn") -> Target:
    return Target(triton_model, version, entry(version).digest)


def stock(served: list[int], **more: object) -> Stock:
    """Versions that were served one after the other, all published and loaded; the last one is routed."""
    pairs = frozenset(("churn", version) for version in served)
    there = Stock(
        routes=RouteTable("dev", 4, {"churn": Route(live(served[-1]))}),
        records=[record(n, version) for n, version in enumerate(served)],
        published=pairs,
        tritons={"t0": pairs},
    )
    return replace(there, **more)  # type: ignore[arg-type]


def versions(pairs: frozenset[tuple[str, int]]) -> list[int]:
    return sorted(version for _, version in pairs)


def test_the_last_verified_stay_and_one_of_them_stays_warm() -> None:
    found = retention(stock([1, 2, 3, 4, 5]), versions=3, warm=1)
    assert versions(found.stays_loaded) == [4, 5]
    assert versions(found.surplus["t0"]) == [1, 2, 3]
    assert found.removable == frozenset(), "a Triton has them loaded still"
    unloaded = stock([1, 2, 3, 4, 5], tritons={"t0": frozenset({("churn", 5), ("churn", 4)})})
    found = retention(unloaded, versions=3, warm=1)
    assert versions(found.removable) == [1, 2]
    assert found.digests == {entry(n).digest for n in (3, 4, 5)}


def test_what_failed_goes_and_is_no_way_back() -> None:
    records = [record(1, 1), record(2, 2, outcome="failed"), record(3, 3, outcome="put back"), record(4, 4)]
    there = stock([1, 2, 3, 4], records=records, tritons={"t0": frozenset({("churn", 4)})})
    found = retention(there, versions=2, warm=1)
    assert versions(found.removable) == [2, 3]
    assert retention(replace(there, tritons={"t0": there.published}), versions=2, warm=1).stays_loaded == {
        ("churn", 1),
        ("churn", 4),
    }


def test_a_version_in_quarantine_counts_for_nothing_and_goes_when_older_ones_do() -> None:
    there = stock([1, 2, 3, 4], quarantined=frozenset({entry(3).digest}))
    assert versions(retention(there, versions=2, warm=1).stays_loaded) == [2, 4]
    alone = replace(there, tritons={"t0": frozenset({("churn", 4)})})
    assert versions(retention(alone, versions=2, warm=1).removable) == [1]


def test_a_triton_that_is_silent_may_have_anything() -> None:
    found = retention(stock([1, 2, 3, 4, 5], tritons={"t0": frozenset(), "t1": None}), versions=1, warm=0)
    assert found.removable == frozenset()
    assert {entry(n).digest for n in range(1, 6)} <= found.digests


def test_a_model_out_of_service_leaves_every_triton_and_stays_a_way_back() -> None:
    found = retention(stock([1, 2, 3, 4], routes=RouteTable("dev", 5)), versions=3, warm=1)
    assert found.stays_loaded == frozenset()
    found = retention(
        stock([1, 2, 3, 4], routes=RouteTable("dev", 5), tritons={"t0": frozenset()}), versions=3, warm=1
    )
    assert versions(found.removable) == [1]


def test_a_shadow_is_kept_by_its_own_records() -> None:
    pairs = frozenset({("churn", 1), ("churn-shadow", 1), ("churn-shadow", 2)})
    there = stock([1], published=pairs, tritons={"t0": pairs})
    there = replace(there, records=[*there.records, record(7, 1, section="shadow"), record(8, 2, section="shadow")])
    found = retention(there, versions=1, warm=1)
    assert found.surplus["t0"] == {("churn-shadow", 1), ("churn-shadow", 2)}
    found = retention(replace(there, tritons={"t0": frozenset()}), versions=1, warm=1)
    assert found.removable == {("churn-shadow", 1)}


def test_bytes_that_were_left_for_a_fresh_name_go() -> None:
    pairs = frozenset({("churn", 1), ("churn", 2), ("churn.1a2b3c4d", 2)})
    table = RouteTable("dev", 9, {"churn": Route(live(2, "churn.1a2b3c4d"))})
    there = stock([1, 2], routes=table, published=pairs, tritons={"t0": pairs})
    assert retention(there, versions=3, warm=1).surplus["t0"] == {("churn", 2)}
    found = retention(replace(there, tritons={"t0": frozenset()}), versions=3, warm=1)
    assert found.removable == {("churn", 2)}


def test_what_no_record_tells_of_is_left_alone() -> None:
    strange = {("churn", 9), ("fraud", 1), ("churn.by-hand", 1), ("Upper", 1)}
    there = stock([1, 2])
    there = replace(there, published=there.published | strange, tritons={"t0": frozenset(strange)})
    found = retention(there, versions=1, warm=0)
    assert found.unknown == strange
    assert found.surplus["t0"] == frozenset()
    assert found.removable == {("churn", 1)}


def test_what_a_journal_names_stays() -> None:
    before = RouteTable("dev", 3, {"churn": Route(live(1, "churn.1a2b3c4d"))})
    journal = Journal(
        turn=4,
        before=before.to_json(),
        underway=(
            Underway(id="x", section="models", model="churn", before=entry(1), after=entry(3), started_at=START),
        ),
    )
    published = frozenset({("churn", 2), ("churn", 3), ("churn.1a2b3c4d", 1), ("churn.1a2b3c4d", 2)})
    there = stock([1, 2, 3, 4], journal=journal, published=published, tritons={"t0": frozenset()})
    found = retention(there, versions=1, warm=0)
    assert found.removable == {("churn", 2), ("churn.1a2b3c4d", 2)}
    assert {entry(1).digest, entry(3).digest} <= found.digests


# --- for anything ---------------------------------------------------------------------------------------------------

numbers = st.integers(1, 6)
names = st.tuples(st.sampled_from(["churn", "churn-shadow", "fraud", "by-hand"]), st.sampled_from(LANES)).map("".join)
pairs = st.frozensets(st.tuples(names, numbers), max_size=14)
OUTCOMES: tuple[Outcome, ...] = ("succeeded", "unconfirmed", "incomplete", "put back", "failed")


@st.composite
def stocks(draw: st.DrawFn) -> Stock:
    records = [
        record(n, version, model=model, section=section, outcome=outcome)
        for n, (version, model, section, outcome) in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        numbers,
                        st.sampled_from(["churn", "fraud"]),
                        st.sampled_from(SECTIONS),
                        st.sampled_from(OUTCOMES),
                    ),
                    max_size=12,
                )
            )
        )
    ]

    def target(stem: str) -> Target | None:
        lane, version = draw(st.sampled_from(LANES)), draw(numbers)
        return live(version, stem + lane) if draw(st.booleans()) else None

    models = {name: Route(target(name), target(f"{name}-shadow")) for name in ("churn", "fraud")}
    table = RouteTable("dev", 3).following(models)
    journal = None
    if draw(st.booleans()):
        underway = Underway(
            id="x",
            section=draw(st.sampled_from(SECTIONS)),
            model="churn",
            before=entry(draw(numbers)),
            after=entry(draw(numbers)),
            started_at=START,
        )
        earlier = RouteTable("dev", 2).following({"churn": Route(target("churn"))})
        journal = Journal(turn=1, before=earlier.to_json(), underway=(underway,))
    tritons: Mapping[str, Loaded | None] = draw(
        st.dictionaries(st.sampled_from(["t0", "t1"]), st.one_of(st.none(), pairs, pairs), min_size=1)
    )
    return Stock(
        routes=table,
        records=records,
        published=draw(pairs) | {(t.triton_model, t.version) for t in targets(table)},
        tritons=tritons,
        journal=journal,
        quarantined=draw(st.frozensets(numbers.map(lambda n: entry(n).digest), max_size=2)),
    )


@given(stocks(), st.integers(1, 4), st.integers(0, 2))
def test_nothing_that_is_needed_ever_goes(there: Stock, keep: int, warm: int) -> None:
    found = retention(there, versions=keep, warm=warm)
    assert found.removable <= there.published
    for target in targets(there.routes):
        pair = (target.triton_model, target.version)
        assert pair not in found.removable and all(pair not in surplus for surplus in found.surplus.values())
        assert target.digest in found.digests
    for have in there.tritons.values():
        assert have is not None or not found.removable
        assert not found.removable & (have or frozenset())
    if there.journal:
        for item in there.journal.underway:
            for entry_ in (item.before, item.after):
                assert entry_ is not None and entry_.digest in found.digests
                assert not any(
                    slot_of("dev", name) == item.slot_in("dev") and version == entry_.version
                    for name, version in found.removable
                )
        for target in targets(RouteTable.from_json(there.journal.before)):
            assert (target.triton_model, target.version) not in found.removable
    for model in ("churn", "fraud"):
        for section in SECTIONS:
            slot = Slot.of("dev", model, section)
            last = [e for _, e in verified_entries(there.records, slot)][:keep]
            routed = there.routes.target(slot)
            for kept in last:
                assert kept.digest in found.digests
                gone = {p for p in found.removable if slot_of("dev", p[0]) == slot and p[1] == kept.version}
                # Another name's bytes of what is routed may go: where it is routed to they stay.
                assert not gone or (routed is not None and routed.digest == kept.digest)
    told = {(r.slot, r.after.version) for r in there.records if r.after}
    for name, version in found.removable | {pair for surplus in found.surplus.values() for pair in surplus}:
        assert (slot_of("dev", name), version) in told, "it is the bot's own"


@given(stocks(), st.integers(1, 4), st.integers(0, 2))
def test_once_all_is_done_nothing_is_left_to_do(there: Stock, keep: int, warm: int) -> None:
    assume(not there.silent)
    first = retention(there, versions=keep, warm=warm)
    tritons = {name: frozenset(have or ()) - first.surplus[name] for name, have in there.tritons.items()}
    second = retention(replace(there, tritons=tritons), versions=keep, warm=warm)
    assert not any(second.surplus.values())
    assert first.removable <= second.removable
    third = retention(
        replace(there, tritons=tritons, published=there.published - second.removable), versions=keep, warm=warm
    )
    assert (third.removable, third.unknown) == (frozenset(), first.unknown)
    of_slot: dict[Slot, set[Entry]] = {}
    for r in there.records:
        if r.after:
            of_slot.setdefault(r.slot, set()).add(r.after)
    for pair in there.published - second.removable:
        slot = slot_of("dev", pair[0])
        assert slot is None or {e.digest for e in of_slot.get(slot, ()) if e.version == pair[1]} <= third.digests


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("churn", Slot("dev", "churn", Lane.LIVE)),
        ("churn-shadow", Slot("dev", "churn", Lane.SHADOW)),
        ("churn.1a2b3c4d", Slot("dev", "churn", Lane.LIVE)),
        ("churn-shadow.1a2b3c4d-12", Slot("dev", "churn", Lane.SHADOW)),
        ("churn.1a2b3c4d-0", None),
        ("churn.1a2b3c4", None),
        ("churn.check-12-smoke", None),
        (".git", None),
        ("churn.", None),
        ("Churn", None),
        ("-shadow", None),
    ],
)
def test_whose_a_name_is(name: str, slot: Slot | None) -> None:
    assert slot_of("dev", name) == slot


def test_names_of_checks() -> None:
    assert pull_request_of("churn.check-12-smoke") == 12
    for name in ("churn", "churn.check-x-smoke", "churn.1a2b3c4d", "churn.check-01-ready"):
        assert pull_request_of(name) is None


def test_names_of_releases_that_a_bisect_loaded() -> None:
    assert bisect_of("churn.bisect-prod-0a1b2c3d-12") == "0a1b2c3d"
    for name in ("churn", "churn.bisect-prod-0a1b2c3d", "churn.bisect-prod-xyz-1", "churn.check-12-smoke"):
        assert bisect_of(name) is None


def test_what_lies_in_tritons_root() -> None:
    contents = {
        "README": False,
        ".snapshot": True,
        ".snapshot/1": True,
        "churn": True,
        "churn/1": True,
        "churn/2": True,
        "churn/3": False,
        "churn/007": True,
        "churn/8.tmp": True,
        "churn/config.pbtxt": False,
        "churn/notes.txt": False,
        "fraud": True,
        "fraud/config.pbtxt": False,
        "by-hand": True,
    }
    assert published_in(contents) == {("churn", 1), ("churn", 2), (".snapshot", 1)}
    there = stock([1], records=[record(1, 1), record(2, 1, model="fraud")], tritons={"t0": frozenset()})
    assert owned(there) == {Slot("dev", "churn", Lane.LIVE), Slot("dev", "fraud", Lane.LIVE)}
    assert strangers_in(contents, {("churn", 2), (".snapshot", 1)}, stock=there) == [
        ".snapshot",
        "README",
        "by-hand",
        "churn/007",
        "churn/2",
        "churn/3",
        "churn/8.tmp",
        "churn/notes.txt",
    ]
    assert emptied(contents, there, frozenset()) == ["fraud"], "churn is routed, by-hand is nobody's"
    assert emptied(contents, replace(there, tritons={"t0": frozenset({("fraud", 1)})}), frozenset()) == []
    assert emptied(contents, replace(there, tritons={"t0": None}), frozenset()) == []
    plain = {"churn": True, "churn/1": True, "churn/config.pbtxt": False}
    out = replace(there, routes=RouteTable("dev", 5))
    assert emptied(plain, out, frozenset({("churn", 1)})) == ["churn"]
    assert emptied(plain, out, frozenset()) == []
