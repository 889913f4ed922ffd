"""Typed records on a real store."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.domain.desired import Change, Entry
from bot.domain.evidence import CheckResult, Evidence, Finding, Latency
from bot.domain.origin import Origin
from bot.domain.record import CRITERIA, Criterion, DeploymentRecord, Outcome, Rollout, Step, verified_entries
from bot.domain.release import Slot
from bot.errors import Refused, Rejected
from bot.records.directory import RecordStore
from bot.records.ledger import NOBODY, Ledger, OriginNote, PolicyNote, Proposer, RequestAsked, Withdrawn
from tests.domain.entries import a_record, entry, release

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> RecordStore:
    made = RecordStore(tmp_path / "records")
    made.begin()
    return made


@pytest.fixture
def ledger(store: RecordStore) -> Ledger:
    return Ledger(store, "dev")


def record(turn: int, *, outcome: Outcome = "succeeded", version: int = 7, model: str = "churn") -> DeploymentRecord:
    missing = {"succeeded": "", "unconfirmed": "slack_delivered"}.get(outcome, "smoke_passed")
    return a_record(
        entry(version),
        number=turn,
        at=NOW,
        model=model,
        finished_at=NOW + timedelta(seconds=3),
        outcome=outcome,
        serving=entry(version),
        criteria=tuple(Criterion(name=n, holds=n != missing, at=NOW, proof=f"seen: {n}") for n in CRITERIA),
        steps=(Step(at=NOW, what="publish – grün", seconds=0.25),),
        problem="" if outcome == "succeeded" else "something",
    )


def result(check: str = "ready", *, passed: bool = True) -> CheckResult:
    return CheckResult.model_validate(
        {
            "check": check,
            "environment": "dev",
            "section": "models",
            "model": "churn",
            "version": 7,
            "digest": entry(7).digest,
            "run": "run7",
            "findings": (Finding(what="status", passed=passed, detail="READY"),),
            "at": NOW,
            "latency": Latency(requests=50, p50=1.5, p95=2.5, p99=3.5, budget=None),
        }
    )


def evidence(at: datetime, *, problems: tuple[str, ...] = (), run: str = "run7") -> Evidence:
    return Evidence(
        environment="dev",
        section="models",
        model="churn",
        version=7,
        digest=entry(7).digest,
        run=run,
        pull_request=3,
        base="b" * 40,
        head="h" * 40,
        at=at,
        expires=at + timedelta(days=30),
        checks=(result("ready"), result("triton"), result("smoke")),
        problems=problems,
    )


# --- deployments --------------------------------------------------------------------------------------------------


def test_deployments_come_back_whole_and_oldest_first(ledger: Ledger, store: RecordStore) -> None:
    written = [record(turn) for turn in (2, 10, 1)]
    for one in written:
        ledger.add_deployment(one)
    Ledger(store, "prod").add_deployment(record(5).model_copy(update={"environment": "prod"}))
    assert ledger.deployments() == sorted(written, key=lambda one: one.id)
    assert [len(Ledger(store, environment).deployments()) for environment in ("dev", "prod", "staging")] == [3, 1, 0]


def test_one_that_is_written_after_its_neighbour_is_read_too(ledger: Ledger) -> None:
    # A run writes the records of its models side by side: who looks in between sees the later name first.
    ledger.add_deployment(record(1))
    known = ledger.with_new([])
    ledger.add_deployment(record(2, model="wine"))
    known = ledger.with_new(known)
    ledger.add_deployment(record(2, model="churn"))
    known = ledger.with_new(known)
    assert [one.id for one in known] == ["dev-00000001-churn", "dev-00000002-churn", "dev-00000002-wine"]
    assert ledger.with_new(known) == known == ledger.deployments()


def test_a_deployment_is_written_once(ledger: Ledger) -> None:
    ledger.add_deployment(record(1))
    with pytest.raises(Refused, match="dev-00000001-churn"):
        ledger.add_deployment(record(1, outcome="failed"))
    assert ledger.deployments() == [record(1)]


def test_a_confirmation_makes_an_unconfirmed_deployment_succeed_and_no_other(ledger: Ledger) -> None:
    for turn, outcome in ((1, "unconfirmed"), (2, "unconfirmed"), (3, "failed"), (4, "put back")):
        ledger.add_deployment(record(turn, outcome=outcome))  # type: ignore[arg-type]
    for turn in (1, 3, 4):
        ledger.confirm(f"dev-{turn:08d}-churn")
        ledger.confirm(f"dev-{turn:08d}-churn")  # nobody minds a second time

    found = ledger.deployments()

    assert [one.outcome for one in found] == ["succeeded", "unconfirmed", "failed", "put back"]
    assert all(criterion.holds for criterion in found[0].criteria)
    slack = next(criterion for criterion in found[0].criteria if criterion.name == "slack_delivered")
    assert slack.proof == "delivered later"
    assert [c.proof for c in found[0].criteria if c != slack] == [f"seen: {n}" for n in CRITERIA[:-1]]
    assert found[1:] == [record(2, outcome="unconfirmed"), record(3, outcome="failed"), record(4, outcome="put back")]
    assert [one.id for one, _ in verified_entries(found, Slot.of("dev", "churn", "models"))] == ["dev-00000002-churn"]


def test_many_that_confirm_at_once_all_succeed(ledger: Ledger) -> None:
    ledger.add_deployment(record(1, outcome="unconfirmed"))
    ready, failures = threading.Barrier(8), []

    def confirm() -> None:
        ready.wait(20)
        try:
            ledger.confirm("dev-00000001-churn")
        except Refused as error:
            failures.append(error)

    threads = [threading.Thread(target=confirm) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []


# --- evidence -----------------------------------------------------------------------------------------------------


def test_the_newest_evidence_for_its_own_path_counts(ledger: Ledger, store: RecordStore) -> None:
    assert ledger.evidence(entry(7).in_slot(Slot.of("dev", "churn", "models"))) is None
    later = evidence(NOW + timedelta(seconds=1), problems=("head moved",))
    for_shadow = evidence(NOW + timedelta(seconds=2)).model_copy(update={"section": "shadow"})
    for one in (later, evidence(NOW), evidence(NOW - timedelta(days=400)), for_shadow):
        ledger.add_evidence(one)
    assert ledger.evidence(entry(7).in_slot(Slot.of("dev", "churn", "models"))) == later
    assert ledger.evidence(entry(7).in_slot(Slot.of("dev", "churn", "shadow"))) == for_shadow
    assert ledger.evidence(entry(8).in_slot(Slot.of("dev", "churn", "models"))) is None
    assert ledger.evidence(entry(7).in_slot(Slot.of("dev", "fraud", "models"))) is None
    assert Ledger(store, "prod").evidence(entry(7).in_slot(Slot.of("prod", "churn", "models"))) is None


def test_evidence_of_the_same_digest_in_another_proposal_changes_nothing(ledger: Ledger) -> None:
    ours = evidence(NOW)
    ledger.add_evidence(ours)
    theirs = evidence(NOW + timedelta(days=1), problems=("deadbeef is not its run",), run="deadbeef")
    ledger.add_evidence(theirs)
    assert ledger.evidence(entry(7).in_slot(Slot.of("dev", "churn", "models"))) == ours
    assert ledger.evidence(entry(7, run="deadbeef").in_slot(Slot.of("dev", "churn", "models"))) == theirs
    same_bytes = Entry(version=8, digest=entry(7).digest, run="run7")
    assert ledger.evidence(same_bytes.in_slot(Slot.of("dev", "churn", "models"))) is None


def test_evidence_that_lies_under_the_key_of_another_environment_is_not_taken(
    ledger: Ledger, store: RecordStore
) -> None:
    ledger.add_evidence(evidence(NOW))
    (key,) = store.keys("evidence/dev")
    text = store.get(key)
    assert text is not None
    for elsewhere in (key.replace("/dev/", "/prod/"), key.replace("/churn/", "/fraud/")):
        store.put(elsewhere, text)
    for other, slot in (
        (Ledger(store, "prod"), Slot.of("prod", "churn", "models")),
        (ledger, Slot.of("dev", "fraud", "models")),
        (ledger, Slot.of("dev", "churn", "shadow")),
    ):
        assert other.evidence(entry(7).in_slot(slot)) is None
        assert list(other.evidence_of(slot, entry(7).digest)) == []


def test_a_revocation_holds_for_what_it_names_and_for_nothing_later(ledger: Ledger, store: RecordStore) -> None:
    old, new = evidence(NOW), evidence(NOW + timedelta(seconds=1))
    for one in (old, new):
        ledger.add_evidence(one)
    ledger.revoke([old, new], reason="staging was wrong", by="sam")
    found = list(ledger.evidence_of(Slot.of("dev", "churn", "models"), entry(7).digest))
    assert [one.name for one in found] == [new.name, old.name]
    assert [one.revoked and (one.revoked.by, one.revoked.reason) for one in found] == [
        ("sam", "staging was wrong")
    ] * 2
    # The clock of whoever checks may be behind that of whoever revokes.
    between = evidence(NOW + timedelta(milliseconds=500))
    ledger.add_evidence(between)
    latest = evidence(NOW + timedelta(seconds=2))
    ledger.add_evidence(latest)
    assert ledger.evidence(entry(7).in_slot(Slot.of("dev", "churn", "models"))) == latest
    assert [one.revoked is None for one in ledger.all_evidence("churn")] == [True, False, True, False]
    assert ledger.all_evidence() == ledger.all_evidence("churn")
    assert ledger.all_evidence("fraud") == Ledger(store, "prod").all_evidence() == []


def test_check_runs_of_one_head_are_read_together(ledger: Ledger) -> None:
    ledger.add_check_run("pr-3/abc/ready-1", [result("ready"), result("triton", passed=False)])
    ledger.add_check_run("pr-3/abc/smoke-1", [result("smoke")])
    ledger.add_check_run("pr-3/other/ready-1", [result("ready", passed=False)])
    assert ledger.check_runs("pr-3/abc") == [result("ready"), result("triton", passed=False), result("smoke")]
    assert ledger.check_runs("pr-33/abc") == []
    with pytest.raises(Refused):
        ledger.add_check_run("pr-3/abc/smoke-1", [])


# --- quarantine ---------------------------------------------------------------------------------------------------


def put(ledger: Ledger, version: int, reason: str = "wrong answers") -> None:
    ledger.put_in_quarantine(release(version), reason=reason, by="promobot")


def test_quarantine_is_put_lifted_and_put_again(ledger: Ledger, store: RecordStore) -> None:
    assert ledger.quarantined() == {}
    put(ledger, 7)
    put(ledger, 8)
    put(ledger, 7, "a second reason")
    found = ledger.quarantined()
    assert sorted(event.version for event in found.values()) == [7, 8]
    assert found[entry(7).digest].reason == "wrong answers", "it is in quarantine already"
    assert Ledger(store, "prod").quarantined() == {}

    ledger.lift_quarantine(found[entry(7).digest], reason="it was the network", by="alex")
    assert [event.version for event in ledger.quarantined().values()] == [8]

    put(ledger, 7, "again")
    assert ledger.quarantined()[entry(7).digest].reason == "again"
    assert len(store.keys("quarantine/dev")) == 4, "what happened is all there"


def test_an_event_names_its_deployment_and_those_of_before_name_none(ledger: Ledger, store: RecordStore) -> None:
    put(ledger, 7)
    (key,) = store.keys("quarantine/dev")
    old = json.loads(store.get(key) or "")
    assert old.pop("deployment") == ""
    store.put("quarantine/dev/20250101T000000.000000Z-old.json", json.dumps({**old, "digest": entry(6).digest}))
    ledger.put_in_quarantine(release(8), reason="wrong", by="bot", deployment="dev-00000012-churn")
    found = {event.digest: event.deployment for event in ledger.quarantined().values()}
    assert found == {entry(6).digest: "", entry(7).digest: "", entry(8).digest: "dev-00000012-churn"}


def test_what_answers_is_by_the_newest_record_of_the_model_on_its_path_whatever_main_says(ledger: Ledger) -> None:
    main = Change("dev", "models", "churn", entry(9), entry(10))
    assert ledger.answers([main]) == [entry(9)], "of what was never deployed nobody knows more than main"
    ledger.add_deployment(a_record(entry(7), number=2, at=NOW, serving=entry(7)))
    ledger.add_deployment(a_record(entry(9), number=11, at=NOW, outcome="put back", serving=entry(7)))
    ledger.add_deployment(a_record(entry(5), number=12, at=NOW, model="a-churn", serving=entry(5)))
    shadow = {"id": "dev-00000013-churn-shadow", "section": "shadow", "serving": entry(8)}
    ledger.add_deployment(a_record(entry(8), number=13, at=NOW, **shadow))
    assert ledger.answers([main, replace(main, section="shadow")]) == [entry(7), entry(8)]
    ledger.add_deployment(a_record(None, number=14, at=NOW, serving=None))
    assert ledger.answers([main]) == [None], "it is out of service"


# --- what somebody broke ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', "null"])
def test_a_record_that_cannot_be_read_is_rejected_by_its_key(store: RecordStore, ledger: Ledger, text: str) -> None:
    digest = entry(7).digest.removeprefix("sha256:")
    for key, read in (
        ("deployments/dev/1.json", ledger.deployments),
        ("quarantine/dev/1.json", ledger.quarantined),
        ("checks/dev/pr-1/abc/1.json", lambda: ledger.check_runs("pr-1/abc")),
        (
            f"evidence/dev/churn/{digest}/1.json",
            lambda: ledger.evidence(entry(7).in_slot(Slot.of("dev", "churn", "models"))),
        ),
    ):
        store.put(key, text)
        with pytest.raises(Rejected, match=key):
            read()


def test_where_a_deployment_comes_from_is_kept_once_and_counts_for_all_steps_of_its_rollout(ledger: Ledger) -> None:
    steps = Rollout(id="dev-00000002-churn", percent=10, step=1, steps=(10, 100), began_at=NOW)
    first = record(2).model_copy(update={"rollout": steps})
    second = record(3).model_copy(update={"rollout": steps.at(100)})
    asked = Origin(proposed_by="kim", asked_at=NOW)
    at_once = record(4).model_copy(update={"origin": asked})
    records = [record(1), first, second, at_once]
    for one in records:
        ledger.add_deployment(one)
    assert ledger.origins_known() == frozenset()
    assert ledger.deployments() == ledger.with_origins(records) == records, "what is not known is left out"
    for number in (57, 58):
        ledger.note_origin(OriginNote(deployment=first.id, at=NOW, origin=Origin(pull_request=number)))
    ledger.note_origin(OriginNote(deployment=at_once.id, at=NOW, origin=Origin(pull_request=60)))
    assert ledger.origins_known() == {first.id, at_once.id}
    told = [one.origin for one in ledger.with_origins(ledger.deployments())]
    assert told == [None, Origin(pull_request=57), Origin(pull_request=57), asked]


def test_what_policies_do_is_kept_in_the_order_of_time_and_once(ledger: Ledger) -> None:
    def note(number: int, what: str, seconds: int) -> PolicyNote:
        given = {"pull_request": number, "head": "a" * 40, "what": what, "why": what, "by": "a/1"}
        return PolicyNote.model_validate({**given, "at": NOW + timedelta(seconds=seconds)})

    assert (ledger.policy_notes(7), ledger.pull_requests_of_policies()) == ([], [])
    notes = [note(7, "asking", 1), note(7, "on", 2), note(7, "taken back", 3), note(7, "asking", 4)]
    for one in (*reversed(notes), note(12, "merged", 1), notes[0]):
        ledger.note_policy(one)
    assert ledger.policy_notes(7) == notes
    assert ledger.pull_requests_of_policies() == [7, 12]


def test_the_records_tell_what_policies_asked_for_and_what_they_closed(ledger: Ledger) -> None:
    asked = {"verb": "promote", "model": "churn", "source": "dev", "version": "8"}
    ledger.ask("by-hand", RequestAsked(asked=asked | {"version": "9"}, at=NOW))
    assert not ledger.asked_by_policy("churn", 8) and ledger.withdrawn() == frozenset()
    ledger.ask("policy-dev-00000012-churn", RequestAsked(asked=asked, at=NOW))
    assert ledger.asked_by_policy("churn", 8)
    assert not ledger.asked_by_policy("churn", 9) and not ledger.asked_by_policy("wine", 8)
    for _ in range(2):
        ledger.note_withdrawn(Withdrawn(pull_request=12, at=NOW, why="dev went back"))
    assert ledger.withdrawn() == {12}


def test_a_proposal_of_before_reads_as_a_persons(ledger: Ledger, store: RecordStore) -> None:
    store.put("proposals/dev/f/a.json", '{"slack": "", "github": "alex"}')
    ledger.add_proposer("f", Proposer(policy=True))
    assert {(one.name, one.policy) for one in ledger.proposers("f")} == {("the policy", True), ("alex", False)}
    assert "policy" not in NOBODY.model_dump_json(), "earlier versions read it, too"
