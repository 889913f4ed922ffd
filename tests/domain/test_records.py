"""Deployment records, evidence and messages: outcomes are derived, nothing unseen counts as good."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.evidence import (
    CHECKS,
    CheckName,
    CheckResult,
    Evidence,
    Finding,
    Revocation,
    is_green_at,
    latest,
    missing,
    newest_for,
    newest_of_each,
    rules_of,
)
from bot.domain.gate import Gate
from bot.domain.message import Message
from bot.domain.record import (
    CRITERIA,
    Criterion,
    CriterionName,
    DeploymentRecord,
    Outcome,
    known_entries,
    outcome_of,
    served_after,
    verified_by,
    verified_entries,
)
from bot.domain.release import Lane, Release, Slot
from bot.settings import PackageRules
from tests.domain.entries import HOSTILE_TEXT, a_record, entry

SLOT = Slot("dev", "churn", Lane.LIVE)


def release(of: Entry) -> Release:
    """What an entry names where it answers."""
    return of.in_slot(SLOT)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def criteria(*failing: CriterionName) -> list[Criterion]:
    return [Criterion(name=name, holds=name not in failing, at=NOW, proof="seen") for name in CRITERIA]


def record(
    after: int | None,
    *,
    before: int | None = None,
    outcome: Outcome = "succeeded",
    section: Section = "models",
    model: str = "churn",
) -> DeploymentRecord:
    return a_record(
        entry(after) if after else None,
        at=NOW,
        section=section,
        model=model,
        before=entry(before) if before else None,
        outcome=outcome,
        serving=entry(8, reason="x: y") if section == "shadow" else entry(7),
        criteria=tuple(criteria()),
    )


@pytest.mark.parametrize("switched", [True, False])
def test_every_set_of_criteria_has_its_outcome(switched: bool) -> None:
    seen = set()
    for count in range(len(CRITERIA) + 1):
        for failing in itertools.combinations(CRITERIA, count):
            expected: Outcome = "put back" if switched else "failed"
            if not failing:
                expected = "succeeded"
            elif failing == ("slack_delivered",):
                expected = "unconfirmed"
            assert outcome_of(criteria(*failing), switched=switched) == expected
            seen.add(expected)
    assert len(seen) == 3


def test_a_criterion_that_nobody_looked_at_does_not_hold() -> None:
    assert outcome_of([], switched=False) == "failed"
    assert outcome_of(criteria()[:-1], switched=True) == "unconfirmed"
    assert outcome_of(criteria()[1:], switched=True) == "put back"


def test_verified_versions_newest_first_each_digest_once() -> None:
    records = [
        record(1),
        record(2),
        record(3, outcome="put back"),
        record(4, outcome="failed"),
        record(5, outcome="unconfirmed"),
        record(6, section="shadow"),
        record(7, model="other"),
        record(None, before=5),
        record(2, before=5),
    ]
    assert [e.version for _, e in verified_entries(records, Slot.of("dev", "churn", "models"))] == [2, 5, 1]
    assert next(r for r, _ in verified_entries(records, Slot.of("dev", "churn", "models"))) is records[-1]
    assert [e.version for _, e in verified_entries(records, Slot.of("dev", "churn", "shadow"))] == [6]
    assert verified_entries([], Slot.of("dev", "churn", "models")) == []


def test_entries_are_known_by_model_version_and_digest() -> None:
    same_bytes = record(2, model="fraud").model_copy(update={"after": entry(2, run="of-fraud")})
    known = known_entries([record(2, before=1), record(None, before=2), same_bytes])
    assert known == {
        ("churn", 1, entry(1).digest): entry(1),
        ("churn", 2, entry(2).digest): entry(2),
        ("fraud", 2, entry(2).digest): entry(2, run="of-fraud"),
    }


def test_only_the_very_entry_that_was_verified_needs_no_checks() -> None:
    records = [record(5), record(2, outcome="failed"), record(6, section="shadow"), record(7)]
    same = {"digest": entry(5).digest, "run": entry(5).run}

    def verified(wanted: Entry, model: str = "churn", section: Section = "models") -> DeploymentRecord | None:
        return verified_by(records, wanted.in_slot(Slot.of("dev", model, section)))

    assert verified(entry(5)) is records[0]
    assert verified(entry(5, reason="accuracy 0.8 < 0.9")) is records[0], "a reason names no other release"
    assert verified(entry(6), section="shadow") is records[2]
    others = [entry(5, run="deadbeef"), Entry(version=9, **same), entry(2), entry(6)]
    assert [verified(other) for other in others] == [None] * 4
    assert verified(entry(5), model="fraud") is None and verified(entry(5), section="shadow") is None
    # The same bytes were put into service again as another version: both were verified.
    again = record(7).model_copy(update={"after": Entry(version=9, **same)})
    assert verified_by([*records, again], release(entry(5))) is records[0]


def test_a_record_survives_its_file() -> None:
    written = record(8, before=7)
    assert DeploymentRecord.model_validate_json(written.model_dump_json()) == written
    with pytest.raises(ValidationError):
        DeploymentRecord.model_validate_json(written.model_dump_json().replace('"format":2', '"format":3'))


def test_a_record_of_the_first_format_says_what_users_get_of_its_model_and_of_all_others() -> None:
    served = Desired(environment="dev", models={"churn": entry(7), "wine": entry(3)}, shadow={"churn": entry(8)})
    first = json.loads(record(7).model_dump_json(exclude={"serving"}))
    first |= {"format": 1, "in_service": json.loads(served.model_dump_json())}
    old = DeploymentRecord.model_validate_json(json.dumps(first))
    assert old.serving == entry(7) and served_after("dev", [old]) == served

    shadow = json.loads(json.dumps({**first, "section": "shadow"}))
    assert DeploymentRecord.model_validate(shadow).serving == entry(8)
    out = json.loads(json.dumps({**first, "model": "iris"}))
    assert DeploymentRecord.model_validate(out).serving is None


def test_what_is_served_after_many_deployments_is_what_each_left_of_its_own() -> None:
    def left(model: str, version: int | None, section: Section = "models") -> DeploymentRecord:
        serving = entry(version) if version else None
        return record(version, model=model, section=section).model_copy(update={"serving": serving})

    first = Desired(environment="dev", models={"old": entry(1), "gone": entry(2)})
    whole = record(1).model_copy(update={"in_service": first})
    records = [left("before", 1), whole, left("churn", 7), left("churn", 8, "shadow"), left("gone", None)]
    assert served_after("dev", records) == Desired(
        environment="dev", models={"old": entry(1), "churn": entry(7)}, shadow={"churn": entry(8)}
    )
    assert served_after("dev", []) == Desired(environment="dev")


# --- evidence ----------------------------------------------------------------------------------------------------

GOOD = Finding(what="status", passed=True)
BAD = Finding(what="digest", passed=False, detail="other bytes")


def result(
    check: CheckName, *findings: Finding, minutes: int = 0, model: str = "churn", section: Section = "models"
) -> CheckResult:
    at = NOW + timedelta(minutes=minutes)
    return CheckResult(
        check=check, environment="dev", section=section, model=model, version=7, digest=entry(7).digest,
        run=entry(7).run, findings=findings, at=at,
    )  # fmt: skip


def evidence(*checks: CheckResult, problems: tuple[str, ...] = ()) -> Evidence:
    return Evidence(
        environment="dev", section="models", model="churn", version=7, digest=entry(7).digest, run=entry(7).run,
        pull_request=3, base="b" * 40, head="h" * 40, at=NOW, expires=NOW, checks=checks, problems=problems,
    )  # fmt: skip


def test_a_check_that_found_nothing_passed_nothing() -> None:
    assert result("ready", GOOD).passed
    assert not result("ready").passed
    assert not result("ready", GOOD, BAD).passed
    assert result("ready", GOOD, BAD).problems == [BAD]


def test_evidence_passes_only_with_all_three_checks() -> None:
    three = [result(check, GOOD) for check in CHECKS]
    assert evidence(*three).passed
    for count in range(3):
        for some in itertools.combinations(three, count):
            assert not evidence(*some).passed
    assert not evidence(*three, problems=("the job smoke was cancelled",)).passed
    assert not evidence(*three[:2], result("smoke", GOOD, BAD)).passed
    assert not evidence(*three[:2], result("smoke")).passed
    assert not evidence(three[0], three[0], three[0]).passed


def test_evidence_of_a_model_that_is_measured_passes_only_with_the_measurement() -> None:
    three = [result(check, GOOD) for check in CHECKS]
    demanded = {"evaluation_set": f"sha256:{'5' * 64}"}
    assert not evidence(*three).model_copy(update=demanded).passed
    assert evidence(*three, result("behaviour", GOOD)).model_copy(update=demanded).passed
    assert not evidence(*three, result("behaviour", BAD)).model_copy(update=demanded).passed
    assert not evidence(*three, result("behaviour")).model_copy(update=demanded).passed
    assert not evidence(*three, result("behaviour", BAD)).passed, "what was found counts, demanded or not"


def test_evidence_of_before_is_written_as_before() -> None:
    written = evidence(*(result(check, GOOD) for check in CHECKS)).model_dump_json()
    assert "evaluation" not in written


def test_a_measurement_is_missing_only_where_it_is_demanded() -> None:
    change = Change("dev", "models", "churn", None, entry(7))
    three = [result(check, GOOD) for check in CHECKS]
    assert missing(three, [change]) == []
    assert missing(three, [change], lambda _: True) == ["behaviour of dev/churn"]
    assert missing([*three, result("behaviour", GOOD)], [change], lambda _: True) == []


def test_what_evidence_is_worth_follows_from_its_checks_revocation_and_age() -> None:
    green = evidence(*(result(check, GOOD) for check in CHECKS)).model_copy(update={"expires": NOW + timedelta(1)})
    red = green.model_copy(update={"problems": ("the job smoke was cancelled",)})
    revocation = Revocation(
        environment="dev", model="churn", version=7, digest=entry(7).digest, evidence=(green.name,), reason="wrong",
        by="sam", at=NOW,
    )  # fmt: skip
    revoked = green.model_copy(update={"revoked": revocation})
    assert [one.state(NOW) for one in (green, red, revoked)] == ["green", "red", "revoked"]
    assert green.state(green.expires) == "expired", "from that moment on"
    assert green.state(green.expires - timedelta(microseconds=1)) == "green"


def test_evidence_has_rules_only_where_every_check_applied_the_same() -> None:
    applied = [result(check, GOOD).model_copy(update={"rules": "a"}) for check in CHECKS]
    assert evidence(*applied).rules == "a"
    assert evidence(*applied[:2], applied[2].model_copy(update={"rules": "b"})).rules == ""
    assert evidence().rules == "" and evidence().champion is None
    champion = applied[0].model_copy(update={"champion": entry(6)})
    assert evidence(champion, *applied[1:]).champion == entry(6)


@pytest.mark.parametrize(
    "change",
    [
        {"gate": {"metrics": {"m": {"minimum": 0.6}}}},
        {"gate": {"metrics": {"m": {"minimum": 0.5}}, "on_miss": "shadow"}},
        {"gate": {"metrics": {"m": {"minimum": 0.5}}, "latency_budget_milliseconds": 5}},
        {"gate": {"metrics": {"m": {"minimum": 0.5, "max_regression": 0.1, "confidence": 0.9}}}},
        {"gate": {"metrics": {"m": {"minimum": 0.5}}, "slices": {"by": ["region"], "max_regression": 0.1}}},
        {"gate": {"metrics": {"m": {"minimum": 0.5}}, "on_unknown": "pass"}},
        {"gate": {"metrics": {"m": {"minimum": 0.5}}, "latency": {"p99_milliseconds": 20}}},
        {"packages": {"backends": ["tensorrt"]}},
        {"packages": {"max_bytes": 1}},
    ],
)
def test_every_rule_counts_in_the_fingerprint(change: dict[str, dict[str, object]]) -> None:
    rules = {"gate": {"metrics": {"m": {"minimum": 0.5}}}, "packages": {}}
    was, again, now = (
        rules_of(Gate.model_validate(one["gate"]), PackageRules.model_validate(one["packages"]))
        for one in (rules, rules, {**rules, **change})
    )
    assert was == again != now


def test_what_decides_a_measurement_counts_in_the_fingerprint() -> None:
    gate, packages = Gate.model_validate({"metrics": {"m": {"minimum": 0.5}}}), PackageRules()
    plain = rules_of(gate, packages)
    assert rules_of(gate, packages, measured=None) == plain
    one, other = (rules_of(gate, packages, measured={"digest": digest}) for digest in ("a", "b"))
    assert len({plain, one, other}) == 3


def test_a_gate_of_before_has_the_fingerprint_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all evidence on record would be judged again, because gates can say more today."""
    gate = {
        "metrics": {
            "accuracy": {"minimum": 0.9, "max_regression": 0.01},
            "log_loss": {"maximum": 0.4, "lower_is_better": True},
        },
        "on_miss": "shadow",
        "latency_budget_milliseconds": 50,
    }
    monkeypatch.setattr("bot.domain.evidence.RULES_OF_THE_BOT", 3)  # as it was then; that number is another matter
    was = "898c340e5ea88bf8e6319b0122d10ecfe9dff903264f1845cd2fdc1e37badd3a"
    assert rules_of(Gate.model_validate(gate), PackageRules()) == was


def test_a_job_that_ran_again_replaces_what_it_found() -> None:
    first, second = result("ready", BAD, minutes=1), result("ready", GOOD, minutes=2)
    other, shadow = result("ready", GOOD, model="other"), result("ready", BAD, section="shadow")
    for order in itertools.permutations([first, second, other, shadow]):
        found = latest(order)
        assert first not in found
        assert {id(r) for r in found} == {id(second), id(other), id(shadow)}


def test_a_check_that_never_said_anything_is_missed() -> None:
    found = [result("ready", GOOD), result("smoke", GOOD), result("triton", GOOD, section="shadow")]
    wanted = Change("dev", "models", "churn", None, entry(7))
    assert missing(found, [wanted, replace(wanted, environment="prod")]) == [
        "triton of dev/churn",
        *(f"{check} of prod/churn" for check in CHECKS),
    ]
    assert missing([], []) == []
    for other in (entry(8), entry(7, run="deadbeef"), Entry(version=8, digest=entry(7).digest, run=entry(7).run)):
        assert missing(found, [replace(wanted, after=other)]) == [f"{check} of dev/churn" for check in CHECKS]
    # An earlier version of promobot kept its results without the run.
    earlier = [one.model_copy(update={"run": ""}) for one in found]
    assert missing(earlier, [wanted]) == ["triton of dev/churn"]


def green(head: str = "h" * 40, **more: object) -> Evidence:
    found = evidence(*(result(check, GOOD) for check in CHECKS))
    return found.model_copy(update={"expires": NOW + timedelta(1), "head": head, **more})


def test_evidence_counts_for_its_own_entry_and_for_no_other_of_the_same_digest() -> None:
    assert green().covers(release(entry(7)))
    assert green().covers(release(entry(7, reason="accuracy 0.8 < 0.9"))), "a reason names no other release"
    others = [entry(8), entry(7, run="deadbeef"), Entry(version=8, digest=entry(7).digest, run=entry(7).run)]
    assert not any(green().covers(release(other)) for other in others)
    theirs = green(run="deadbeef", problems=("the run is wrong",))
    assert newest_for([theirs, green()], release(entry(7))) == green()
    assert newest_for([theirs, green()], release(entry(7, run="deadbeef"))) == theirs
    assert newest_for([theirs], release(entry(7))) is None


def test_evidence_of_earlier_versions_tells_the_run_in_what_ready_found() -> None:
    def written(said: str, *, passed: bool = True) -> Evidence:
        ready = result("ready", Finding(what="run", passed=passed, detail=said))
        document = json.loads(evidence(ready, *(result(check, GOOD) for check in CHECKS[1:])).model_dump_json())
        del document["run"]
        for check in document["checks"]:
            del check["run"]
        return Evidence.model_validate_json(json.dumps(document))

    ours = written("run7 in MLflow, run7 proposed")
    assert (ours.run, ours.passed, ours.covers(release(entry(7)))) == ("run7", True, True)
    theirs = written("run7 in MLflow, deadbeef proposed", passed=False)
    assert (
        theirs.run,
        theirs.covers(release(entry(7))),
        theirs.covers(release(entry(7, run="deadbeef"))),
    ) == ("deadbeef", False, True)
    unknown = written("something else")
    assert (unknown.run, unknown.passed, unknown.covers(release(entry(7)))) == ("", True, False), (
        "who knows for which run"
    )
    failed = written("something else", passed=False)
    assert failed.covers(release(entry(7))) and failed.covers(release(entry(7, run="deadbeef")))


def test_a_commit_is_green_where_the_newest_of_every_entry_is() -> None:
    head, other = "h" * 40, "o" * 40
    red = green(problems=("red",))
    fraud = green(model="fraud")
    both = [green().release, fraud.release]
    assert is_green_at([green(), red], head, both[:1], NOW) and not is_green_at([red, green()], head, both[:1], NOW)
    assert is_green_at([fraud, green()], head, both, NOW)
    assert not is_green_at([fraud, red], head, both, NOW), "one of two entries is red"
    assert not is_green_at([green()], head, both, NOW), "of one of two entries nothing is known"
    assert not is_green_at([green(), fraud], head, [*both, green(version=8).release], NOW), "another version is asked"
    assert not is_green_at([green()], other, [], NOW) and not is_green_at([], head, [], NOW)
    assert is_green_at([green(other, problems=("red",)), green()], head, both[:1], NOW)
    assert not is_green_at([green(expires=NOW)], head, both[:1], NOW)


def test_of_each_entry_the_newest_evidence_is_shown() -> None:
    newest, older = green(at=NOW + timedelta(1)), green()
    theirs, shadow = green(run="deadbeef"), green(section="shadow")
    assert newest_of_each([newest, theirs, shadow, older]) == [newest, theirs, shadow]


@pytest.mark.parametrize("text", HOSTILE_TEXT)
def test_a_message_survives_the_outbox(text: str) -> None:
    message = Message(
        key="dev-1", text=text, blocks=({"type": "section", "text": {"type": "mrkdwn", "text": text}},), since=1.5
    )
    assert Message.from_json(message.to_json()) == message


def test_entries_in_records_keep_what_files_may_say() -> None:
    kept = record(8, section="shadow")
    assert kept.serving == Entry.model_validate(entry(8, reason="x: y"))
