"""What three doors ask for: done once under an id, in a form that the record store keeps and goes on reading."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bot import requests
from bot.domain.cases import parse
from bot.errors import Refused
from bot.exit_codes import ExitCode
from bot.platform import Platform
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger, RequestAsked
from bot.requests import Actor, Request, carry_out

ALEX = Actor("alex", github="alex-of-github")
KIM = Actor("kim", slack="U1")
DIGEST = "sha256:" + "1" * 64
X = {"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}
CASE = parse(
    json.dumps({"format": 1, "why": "x", "by": "anna", "inputs": [X], "must": [X]}), file="f", model="churn", name="a"
)


@dataclass(frozen=True)
class Counted:
    number: int
    exit_code: ExitCode


@dataclass(frozen=True, kw_only=True)
class Count(Request[Counted]):
    """Counts how often it is done, and ends as it is told to."""

    verb = "count"

    environment: str = "dev"
    by: Actor = ALEX
    what: str = "sheep"
    ends: list[ExitCode | BaseException] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    @property
    def asked(self) -> dict[str, str]:
        return {"what": self.what}

    def run(self, platforms: requests.Platforms, say: Any) -> Counted:  # noqa: ARG002 - it counts here
        self.done.append(len(self.done) + 1)
        end = self.ends.pop(0) if self.ends else ExitCode.DONE
        if isinstance(end, BaseException):
            raise end
        return Counted(len(self.done), end)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    store = RecordStore(tmp_path / "records")
    store.begin()
    return Ledger(store, "dev")


@pytest.fixture
def platforms(ledger: Ledger) -> requests.Platforms:
    def platform(environment: str) -> Platform:
        assert environment == "dev"
        return cast("Platform", SimpleNamespace(ledger=ledger))

    return platform


def told(result: Counted) -> str:
    return f"{result.number} counted"


def carried(request: Request[Counted], platforms: requests.Platforms) -> requests.CarriedOut[Counted]:
    return carry_out(request, platforms, say=lambda _: None, tell=told)


def test_without_an_id_it_is_done_each_time_and_no_record_store_is_asked() -> None:
    def nowhere(environment: str) -> Platform:
        raise AssertionError(environment)

    request = Count()
    assert carried(request, nowhere).said == "1 counted"
    assert carried(request, nowhere).said == "2 counted"


@pytest.mark.parametrize("end", [ExitCode.DONE, ExitCode.UNCONFIRMED])
def test_under_an_id_it_is_done_once_and_says_it_again(end: ExitCode, platforms: requests.Platforms) -> None:
    request = Count(id="nightly-1")
    request.ends.append(end)
    first = carried(request, platforms)
    assert (first.said, first.exit_code, first.is_done, first.before) == ("1 counted", end, True, None)
    again = carried(request, platforms)
    assert (again.said, again.exit_code, again.is_done, again.result) == ("1 counted", end, True, None)
    assert again.before is not None and again.before.said == "1 counted"
    assert request.done == [1]
    assert carried(Count(id="nightly-2"), platforms).said == "1 counted", "another id is another request"


@pytest.mark.parametrize("end", [ExitCode.FAILED, Refused("it is frozen"), KeyboardInterrupt()])
def test_what_failed_or_was_cut_off_runs_again(end: ExitCode | BaseException, platforms: requests.Platforms) -> None:
    request = Count(id="nightly")
    request.ends.append(end)
    if isinstance(end, BaseException):
        with pytest.raises(type(end)):
            carried(request, platforms)
    else:
        assert not carried(request, platforms).is_done
    assert carried(request, platforms).said == "2 counted"


def test_it_is_told_before_it_counts_as_done(platforms: requests.Platforms) -> None:
    request = Count(id="nightly")

    def cut_off(_: Counted) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(request, platforms, say=lambda _: None, tell=cut_off)
    assert carried(request, platforms).said == "2 counted"


@pytest.mark.parametrize("other", [Count(id="nightly", what="goats"), Count(id="nightly", by=KIM)])
def test_an_id_stands_for_one_request(other: Count, platforms: requests.Platforms) -> None:
    carried(Count(id="nightly"), platforms)
    with pytest.raises(Refused, match="the request nightly was for something else: count sheep"):
        carried(other, platforms)
    assert other.done == []


def propose(by: Actor = ALEX) -> requests.Propose:
    return requests.Propose(environment="dev", by=by, model="churn", version=7)


RECORDED: list[tuple[Request[Any], dict[str, str]]] = [
    (
        requests.ProposeMany(environment="dev", by=ALEX, versions={"fraud": 3, "churn": 7}),
        {"verb": "propose", "models": "churn:7 fraud:3"},
    ),
    (requests.ProposeMany(environment="dev", by=ALEX, versions=None), {"verb": "propose", "models": "all ready"}),
    (propose(), {"verb": "propose", "model": "churn", "version": "7"}),
    (propose(KIM), {"verb": "propose", "model": "churn", "version": "7", "by": "U1"}),
    (
        requests.Promote(environment="prod", by=ALEX, model="churn"),
        {"verb": "promote", "model": "churn", "source": "", "version": ""},
    ),
    # As Slack recorded it before.
    (
        requests.Promote(environment="prod", by=KIM, model="churn", source="dev"),
        {"verb": "promote", "model": "churn", "source": "dev", "by": "U1"},
    ),
    (
        requests.RollBack(environment="dev", by=ALEX, model="churn", to=3),
        {"verb": "rollback", "model": "churn", "to": "3", "now": ""},
    ),
    (
        requests.RollBack(environment="dev", by=KIM, model="churn", now=True),
        {"verb": "rollback", "model": "churn", "to": "", "now": "now", "by": "U1"},
    ),
    # As the command line recorded it before.
    (
        requests.RollBack(environment="dev", by=ALEX, model="churn", now=True),
        {"verb": "rollback", "model": "churn", "to": "", "now": "True"},
    ),
    (requests.Retire(environment="dev", by=ALEX, model="churn", reason="x"), {"verb": "retire", "model": "churn"}),
    (requests.Recheck(environment="dev", by=ALEX, model="churn"), {"verb": "recheck", "model": "churn"}),
    (
        requests.Bisect(environment="dev", by=ALEX, case=CASE, every=True),
        {"verb": "bisect", "model": "churn", "case": CASE.fingerprint, "all": "all"},
    ),
    (
        requests.LiftQuarantine(environment="dev", by=ALEX, digest=DIGEST, reason="x"),
        {"verb": "quarantine lift", "digest": DIGEST},
    ),
    (
        requests.LiftQuarantine(environment="dev", by=ALEX, of="dev-00000012", reason="x"),
        {"verb": "quarantine lift", "of": "dev-00000012"},
    ),
    (
        requests.RevokeEvidence(environment="dev", by=ALEX, model="churn", which="7", reason="x"),
        {"verb": "evidence revoke", "model": "churn", "which": "7"},
    ),
    (
        requests.Merge(environment="dev", by=KIM, number=12, head="a" * 40),
        {"verb": "merge", "number": "12", "head": "a" * 40, "by": "U1"},
    ),
]


@pytest.mark.parametrize(
    ("request_", "recorded"), RECORDED, ids=[f"{r.verb} of {r.by.name}, {n}" for n, (r, _) in enumerate(RECORDED)]
)
def test_what_was_recorded_is_the_same_request(
    request_: Request[Any], recorded: dict[str, str], ledger: Ledger, platforms: requests.Platforms
) -> None:
    ledger.ask("id", RequestAsked(asked=recorded, at=datetime.now(UTC)))
    assert requests._begin(ledger, with_id(request_)) is None, "it was cut off, and goes on"
    for other, _ in RECORDED:
        if requests._meaning(other.recorded) != requests._meaning(recorded):
            with pytest.raises(Refused, match="was for something else"):
                requests._begin(ledger, with_id(other))


def with_id(request: Request[Any]) -> Request[Any]:
    return replace(request, id="id")


def test_every_request_is_recorded_in_the_table_above() -> None:
    assert {type(request) for request, _ in RECORDED} == set(Request.__subclasses__()) - {Count}


def test_a_person_of_slack_is_named_in_the_pull_request_and_of_github_by_github() -> None:
    assert (ALEX.shown, ALEX.note) == ("alex", "")
    assert KIM.shown == "kim (Slack)"
    assert "kim" in KIM.note and "U1" in KIM.note
