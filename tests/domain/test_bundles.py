"""Bundles: what is a part of what, the one digest, and that a change of any part is a change of all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bot.domain.asked import Recorded
from bot.domain.blame import Failure, Seen, Switched, decide
from bot.domain.bundle import Bundle, Part, needs_no_gate, order_of
from bot.domain.bundled import (
    blamed,
    bundle_in,
    entries_of,
    is_first_of_its_bundle,
    spoken_for,
    stays_the_same,
    together,
)
from bot.domain.desired import Change, Desired, Entry
from bot.domain.evidence import Evidence, newest_for
from bot.domain.journal import Journal, Underway
from bot.domain.record import DeploymentRecord, undoes, verified_bundles, verified_by
from bot.domain.release import Slot
from bot.domain.retention import Stock, retention
from bot.domain.routes import Route, RouteTable, Target
from bot.domain.way_back import choose_bundle

PARTS = ["tokenizer", "ranker", "fraud"]
BUNDLES = {"dev": {"fraud": PARTS}}
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def entry(model: str, version: int) -> Entry:
    return Entry(version=version, digest=f"sha256:{PARTS.index(model):032x}{version:032x}", run="abc")


def entries(*versions: int) -> dict[str, Entry]:
    return {model: entry(model, version) for model, version in zip(PARTS, versions, strict=True)}


def bundle(*versions: int) -> Bundle:
    return bundle_in(entries(*versions), "fraud", PARTS)


def changes(before: tuple[int, ...], after: tuple[int, ...]) -> list[Change]:
    old, new = entries(*before), entries(*after)
    differing = [Change("dev", "models", m, old[m], new[m]) for m in PARTS if old[m] != new[m]]
    return together(differing, {"dev": Desired(environment="dev", models=new)}, BUNDLES)


def record(model: str, of: Bundle, number: int, *, outcome: str = "succeeded", name: str = "") -> DeploymentRecord:
    return DeploymentRecord.model_validate(
        {
            "id": f"dev-{number:08d}-{model}",
            "environment": "dev",
            "section": "models",
            "model": model,
            "before": None,
            "after": entries_of(of)[model],
            "commit": "",
            "started_at": NOW,
            "finished_at": NOW,
            "outcome": outcome,
            "criteria": (),
            "steps": (),
            "bundle": of,
            "published_as": name or model,
        }
    )


def test_a_change_of_one_part_is_a_change_of_all_in_their_order() -> None:
    found = changes((3, 1, 7), (4, 1, 7))
    assert [change.model for change in found] == PARTS
    assert [stays_the_same(change) for change in found] == [False, True, True]
    assert {change.judged_digest for change in found} == {bundle(4, 1, 7).digest}
    assert {change.left and change.left.digest for change in found} == {bundle(3, 1, 7).digest}
    assert {spoken_for(change) for change in found} == {Slot.of("dev", "fraud", "models")}
    assert [is_first_of_its_bundle(change, found) for change in found] == [True, False, False]


def test_models_of_no_bundle_stay_alone() -> None:
    alone = Change("dev", "models", "churn", None, entry("fraud", 1))
    assert together([alone], {"dev": Desired(environment="dev")}, BUNDLES) == [alone]
    assert alone.judged_digest == entry("fraud", 1).digest


def test_a_bundle_without_an_entry_of_a_part_is_not_whole_and_one_without_any_is_retired() -> None:
    some = {model: one for model, one in entries(3, 1, 7).items() if model != "ranker"}
    (tokenizer, fraud) = together(
        [Change("dev", "models", model, None, one) for model, one in some.items()],
        {"dev": Desired(environment="dev", models=some)},
        BUNDLES,
    )
    assert tokenizer.bundle == fraud.bundle
    assert tokenizer.bundle is not None
    assert not tokenizer.bundle.is_whole
    assert tokenizer.bundle.missing == ("ranker",)
    gone = [Change("dev", "models", model, one, None) for model, one in entries(3, 1, 7).items()]
    (retired, *_) = together(gone, {"dev": Desired(environment="dev")}, BUNDLES)
    assert retired.bundle is not None
    assert (retired.bundle.is_whole, retired.judged_digest) == (True, "")


def test_the_digest_tells_every_combination_and_order_apart() -> None:
    some = [bundle(3, 1, 7), bundle(4, 1, 7), bundle(3, 2, 7), bundle(3, 1, 8)]
    some.append(Bundle(name="fraud", parts=tuple(reversed(some[0].parts))))
    assert len({one.digest for one in some}) == len(some)
    again = Part.model_validate({**some[0].parts[0].model_dump(), "run": "other"})
    assert Bundle(name="other", parts=(again, *some[0].parts[1:])).digest == some[0].digest, (
        "of bytes, as every digest"
    )


def test_only_the_last_part_needs_a_gate() -> None:
    assert [needs_no_gate(model, BUNDLES["dev"]) for model in (*PARTS, "churn")] == [True, True, False, False]
    assert [order_of(model, BUNDLES["dev"]) for model in (*PARTS, "churn")] == [0, 1, 2, 0]


def test_a_part_may_ask_parts_before_it() -> None:
    assert [part.model for part in bundle(3, 1, 7).before("fraud")] == ["tokenizer", "ranker"]
    assert bundle(3, 1, 7).before("tokenizer") == ()


def test_a_release_was_verified_in_its_bundle_only() -> None:
    records = [record(model, of, n) for n, of in enumerate([bundle(3, 1, 7), bundle(4, 1, 8)], 1) for model in PARTS]
    tokenizer = entry("tokenizer", 3).in_slot(Slot.of("dev", "tokenizer", "models"))
    assert verified_by(records, tokenizer, bundle(3, 1, 7)) is records[0]
    assert verified_by(records, tokenizer, bundle(3, 1, 8)) is None, "each part was verified, and never together"
    assert verified_by(records, tokenizer) is None
    assert verified_bundles(records, tokenizer.slot) == [bundle(4, 1, 8), bundle(3, 1, 7)]


def test_a_bundle_goes_back_where_it_was_verified_before_what_it_leaves() -> None:
    records = [record(model, of, n) for n, of in enumerate([bundle(3, 1, 7), bundle(4, 1, 8)], 1) for model in PARTS]
    assert [undoes(records, change) for change in changes((4, 1, 8), (3, 1, 7))] == [True] * 3
    assert [undoes(records, change) for change in changes((4, 1, 8), (3, 1, 9))] == [False] * 3
    assert [undoes(records, change) for change in changes((3, 1, 7), (4, 1, 8))] == [False] * 3


def test_evidence_counts_for_its_bundle_only() -> None:
    release = entry("fraud", 7).in_slot(Slot.of("dev", "fraud", "models"))
    one = Evidence(
        environment="dev",
        section="models",
        model="fraud",
        version=7,
        digest=release.digest,
        run="abc",
        pull_request=1,
        base="",
        head="",
        at=NOW,
        expires=NOW,
        checks=(),
        bundle=bundle(3, 1, 7),
    )
    assert newest_for([one], release, bundle(3, 1, 7)) is one
    assert newest_for([one], release, bundle(4, 1, 7)) is None
    assert newest_for([one], release) is None


@pytest.mark.parametrize("kind", ["answer", "lost"])
def test_all_parts_go_back_with_one_and_that_one_is_to_blame(kind: str) -> None:
    parts = [Switched(model, bundle="fraud") for model in PARTS]
    seen = Seen((Failure(kind, "Triton 1", "wrong", "ranker"),), {"Triton 1": set(PARTS)})  # type: ignore[arg-type]
    decided = decide([*parts, Switched("churn")], seen)
    assert {model: why.to_blame for model, why in decided.back.items()} == {
        "tokenizer": False,
        "ranker": True,
        "fraud": False,
    }
    assert "ranker of the same bundle: wrong" in decided.back["fraud"].problem


def test_a_server_that_fails_every_part_of_one_bundle_is_not_at_fault_by_itself() -> None:
    parts = [Switched(model, bundle="fraud") for model in PARTS]
    failures = tuple(Failure("answer", "Triton 1", "wrong", model) for model in PARTS)
    assert decide(parts, Seen(failures, {"Triton 1": set(PARTS)})).back["fraud"].to_blame


def test_the_routes_of_a_bundle_are_good_when_all_of_it_is_recorded() -> None:
    was, now = bundle(3, 1, 7), bundle(4, 1, 8)
    before, after = (
        RouteTable("dev", n, {p.model: Route(Target(p.model, p.version, p.digest)) for p in of.parts})
        for n, of in ((1, was), (2, now))
    )
    underway = tuple(
        Underway(
            id=f"dev-00000002-{model}",
            section="models",
            model=model,
            before=entries_of(was)[model],
            after=entries_of(now)[model],
            started_at=NOW,
            bundle=now,
            left=was,
        )
        for model in PARTS
    )
    journal = Journal(turn=2, before=before.to_json(), underway=underway)
    some = [record(model, now, 2) for model in PARTS]
    assert journal.verified(after, some[:2]).models == before.models, "else routes would be of two releases"
    assert journal.verified(after, some).models == after.models


def three_releases() -> tuple[RouteTable, list[DeploymentRecord]]:
    """The routes to the newest of three releases, each with another tokenizer, and the records of all."""
    releases = [
        (bundle(3, 1, 7), "fraud.aaaaaaaa"),
        (bundle(4, 1, 7), "fraud.bbbbbbbb"),
        (bundle(5, 1, 7), "fraud.cccccccc"),
    ]
    records = [
        record(model, of, number, name=name if model == "fraud" else model)
        for number, (of, name) in enumerate(releases, 1)
        for model in PARTS
    ]
    now, name = releases[-1]
    models = {p.model: Route(Target(p.model, p.version, p.digest)) for p in now.parts}
    models["fraud"] = Route(Target(name, 7, now.parts[2].digest))
    return RouteTable("dev", 3, models), records


def test_what_a_bundle_to_go_back_to_asks_is_kept_under_its_own_name() -> None:
    routes, records = three_releases()
    published = frozenset(
        {("tokenizer", 3), ("tokenizer", 4), ("tokenizer", 5), ("ranker", 1)}
        | {(name, 7) for name in ("fraud.aaaaaaaa", "fraud.bbbbbbbb", "fraud.cccccccc")}
    )
    stock = Stock(routes, records, published, {"triton": frozenset()})
    assert retention(stock, versions=2, warm=0).removable == {("tokenizer", 3), ("fraud.aaaaaaaa", 7)}


@pytest.mark.parametrize("lacks", PARTS)
def test_a_bundle_that_lacks_an_entry_is_blamed_without_it(lacks: str) -> None:
    whole, there = bundle(3, 1, 7), {model: one for model, one in entries(4, 1, 7).items() if model != lacks}
    broken = bundle_in(there, "fraud", PARTS)
    last = list(there)[-1]
    for model, one in there.items():
        release = blamed(Slot.of("dev", model, "models"), one, broken)
        assert (release.slot.model, release.version, release.digest) == (last, there[last].version, broken.digest)
    change = Change("dev", "models", "ranker", entry("ranker", 1), there.get("ranker"), bundle=broken, left=whole)
    assert spoken_for(change).model == "fraud", "its revert is that of the part that users ask"


def test_nothing_goes_back_to_a_bundle_with_any_part_in_quarantine() -> None:
    verified = [bundle(4, 1, 8), bundle(4, 1, 7), bundle(3, 1, 7)]
    bad = {entry("tokenizer", 4).digest}
    for model in PARTS:
        found = choose_bundle(verified, leaves=verified[0].digest, model=model, quarantined=bad, to_version=None)
        assert found == verified[2]
    assert choose_bundle(verified, leaves="", model="fraud", quarantined=bad, to_version=8) is None
    whole = {verified[1].digest}
    assert (
        choose_bundle(verified, leaves=verified[0].digest, model="fraud", quarantined=whole, to_version=7)
        == (verified[2])
    )


def test_what_something_in_service_asks_stays_loaded_and_kept_though_no_route_names_it() -> None:
    records = [record(model, bundle(3, 1, 7), 1) for model in PARTS]
    alone = {"after": entry("tokenizer", 4), "bundle": None, "published_as": ""}
    records.append(record("tokenizer", bundle(4, 1, 7), 2).model_copy(update=alone))
    routes = {one.model: Route(Target(one.model, one.version, one.digest)) for one in bundle(4, 1, 7).parts}
    pairs = frozenset({("tokenizer", 3), ("tokenizer", 4), ("ranker", 1), ("fraud", 7)})
    stock = Stock(RouteTable("dev", 2, routes), records, pairs, {"triton": pairs})
    assert retention(stock, versions=1, warm=0).surplus == {"triton": {("tokenizer", 3)}}
    decided = retention(replace(stock, asked={("tokenizer", 3)}), versions=1, warm=0)
    assert decided.surplus == {"triton": frozenset()}
    off = replace(stock, asked={("tokenizer", 3)}, tritons={"triton": pairs - {("tokenizer", 3)}})
    off = replace(off, quarantined={bundle(3, 1, 7).digest})  # so no bundle to go back to keeps it
    decided = retention(off, versions=1, warm=0)
    assert decided.removable == frozenset()
    assert entry("tokenizer", 3).digest in decided.digests


def test_records_tell_with_which_parts_a_release_was_verified() -> None:
    releases = [(bundle(3, 1, 7), "fraud.a"), (bundle(4, 1, 7), "fraud.b")]
    records = [
        record(model, of, number, name=name if model == "fraud" else model)
        for number, (of, name) in enumerate(releases, 1)
        for model in PARTS
    ]
    told = Recorded.of(records)
    fraud = Target("fraud.a", 7, entry("fraud", 7).digest)
    assert told.asked_by(fraud) == {("tokenizer", 3), ("ranker", 1)}
    assert {model: (one.triton_model, one.version) for model, one in told.beside(fraud).items()} == {
        "tokenizer": ("tokenizer", 3),
        "ranker": ("ranker", 1),
        "fraud": ("fraud.a", 7),
    }
    ranker = told.beside(Target("ranker", 1, entry("ranker", 1).digest))
    assert ranker["tokenizer"] == Target("tokenizer", 4, entry("tokenizer", 4).digest), "as it was verified last"
    assert told.asked_by(Target("ranker", 1, "")) == {("tokenizer", 4)}, "a part asks only parts before it"
    assert told.beside(Target("churn", 7, entry("fraud", 7).digest)) == {}
    assert told.asked_by(Target("churn", 7, "")) == frozenset()


def test_a_bundle_with_a_part_in_quarantine_is_not_counted_as_a_way_back_that_is_kept() -> None:
    """Else the one that a rollback goes to is removed for it."""
    routes, records = three_releases()
    published = frozenset({("fraud.aaaaaaaa", 7), ("tokenizer", 3), ("ranker", 1)})
    bad = {entry("tokenizer", 4).digest}
    stock = Stock(routes, records, published, {"triton": frozenset()}, quarantined=frozenset(bad))
    assert retention(stock, versions=2, warm=0).removable == frozenset()


def test_a_bundle_that_leaves_service_waits_for_no_other_that_does() -> None:
    two = {"fraud": ["tokenizer", "fraud"], "other": ["ranker"]}
    old = entries(3, 1, 7)
    routes = {model: Route(Target(model, one.version, one.digest)) for model, one in old.items()}
    underway = tuple(
        Underway(
            id=f"dev-2-{model}",
            section="models",
            model=model,
            before=old[model],
            after=None,
            started_at=NOW,
            bundle=bundle_in({}, name, parts),
        )
        for name, parts in two.items()
        for model in parts
    )
    journal = Journal(turn=2, before=RouteTable("dev", 1, routes).to_json(), underway=underway)
    gone = [record(model, bundle(3, 1, 7), 2).model_copy(update={"id": f"dev-2-{model}"}) for model in two["fraud"]]
    verified = journal.verified(RouteTable("dev", 2, {}), gone)
    assert [slot.model for slot in verified.slots] == ["ranker"]
