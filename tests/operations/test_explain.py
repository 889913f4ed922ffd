"""``promobot explain``: what stands behind a digest."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot import environment_files
from bot.domain.bundle import Bundle, Part
from bot.domain.desired import Change, Entry
from bot.domain.evidence import CheckResult, Evidence, Finding
from bot.domain.record import DeploymentRecord
from bot.domain.release import Slot
from bot.domain.scope import fingerprint
from bot.errors import InvalidInput, Refused
from bot.operations.explain import Explained, Place, explain
from bot.platform import Platform
from bot.records.directory import RecordStore
from bot.records.ledger import Proposer
from bot.render import explaining
from bot.systems.github import Approval, GitHubRepository, PullRequest
from tests.domain.entries import a_record
from tests.operations.world import HTTP, World

ROOT = Path(__file__).parents[2]
AT = datetime(2026, 11, 12, 9, 0, tzinfo=UTC)
A, B, C = (f"sha256:{letters * 32}" for letters in ("aa", "ab", "cc"))
TOKENS = {"GITHUB_TOKEN": "ghp_0123456789abcdefghijABCDEFGHIJ012345"}


def entry(version: int, digest: str) -> Entry:
    return Entry(version=version, digest=digest, run=f"run{version}")


def evidence(version: int, digest: str, *, number: int = 12, **more: Any) -> Evidence:
    keys = {"environment": "dev", "section": "models", "model": "churn", "version": version, "digest": digest}
    found = (Finding(what="registered", passed=True), Finding(what="allowed", passed=True))
    plain: dict[str, Any] = {
        "run": f"run{version}",
        "pull_request": number,
        "base": "0" * 40,
        "head": "1" * 40,
        "at": AT,
        "expires": AT + timedelta(days=30),
        "checks": (CheckResult(check="ready", findings=found, at=AT, **keys),),
    }
    return Evidence(**keys, **{**plain, **more})


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Platform]:
    """An environment with records; nobody listens where its GitHub is."""
    records = RecordStore(tmp_path / "records")
    records.begin()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        settings = environment_files.load(ROOT, "dev")
        github = settings.github.model_copy(update={"server_url": url, "api_url": f"{url}/api/v3", "app": None})
        quick = settings.deadlines.model_copy(update={"request_seconds": 0.2})
        update = {"records": str(tmp_path / "records"), "records_bucket": None, "github": github, "deadlines": quick}
        with Platform(settings.model_copy(update=update), TOKENS) as platform:
            yield platform


def _served(number: int, after: Entry | None, before: Entry | None = None, **more: Any) -> DeploymentRecord:
    at = AT + timedelta(hours=number)
    return a_record(after, number=number, at=at, before=before, **{"serving": after, **more})


def _places(found: Explained) -> dict[str, Place]:
    return {f"{place.environment}/{place.section}/{place.model}": place for place in found.places}


def test_a_digest_that_left_service_was_put_back_and_came_again(dev: Platform) -> None:
    old, new = entry(1, A), entry(2, C)
    for record in (
        _served(1, old),
        _served(2, new, old, outcome="put back", serving=old, problem="a gateway refused it"),
        _served(3, new, old),
        _served(4, old, new),
    ):
        dev.ledger.add_deployment(record)
    dev.ledger.add_evidence(evidence(2, C))
    of = new.in_slot(Slot.of("dev", "churn", "models"))
    dev.ledger.put_in_quarantine(of, reason="a gateway refused it", by="promobot", deployment="dev-00000002-churn")

    found = explain([dev], "CCCC")
    assert (found.digest, found.is_bundle, found.unknown, found.exit_code) == (C, False, {}, 0)
    (place,) = found.places
    assert (place.state, place.since) == ("left service", AT + timedelta(hours=4))
    assert place.in_service == old and place.entries == (new,)
    assert [record.id[4:12] for record in place.deployments] == ["00000004", "00000003", "00000002"]
    assert place.quarantine is not None and place.quarantine.deployment == "dev-00000002-churn"
    first = explain([dev], f"sha256:{A[7:20]}").places[0]
    assert (first.state, first.since) == ("in service", AT + timedelta(hours=4))

    words = explaining.on_terminal(found)
    assert words.splitlines()[0] == "churn 2 (cccccccccccc): in service nowhere."
    assert "churn in dev: left service 2026-11-12 13:00 UTC; version 1 (aaaaaaaaaaaa) is there now" in words
    assert "in quarantine since " in words and ", by promobot: a gateway refused it" in words
    assert "dev-00000002-churn  1 → 2    put back   a gateway refused it" in words


def test_a_canary_is_neither_in_service_nor_out_of_it(dev: Platform) -> None:
    old, new = entry(1, A), entry(2, C)
    canary = _served(2, new, old, outcome="rolling out", serving=old)
    for record in (_served(1, old), canary, _served(3, new, old, outcome="rolling out", serving=old)):
        dev.ledger.add_deployment(record)
    place = explain([dev], "cc").places[0]
    assert (place.state, place.since, place.in_service) == ("rolling out", canary.finished_at, old)
    assert "a canary answers some users with it since 2026-11-12 11:00 UTC" in explaining.on_terminal(
        explain([dev], "cc")
    )
    assert explaining.on_terminal(explain([dev], "cc")).splitlines()[0].endswith(": a canary in dev.")
    dev.ledger.add_deployment(_served(4, new, old, outcome="failed", serving=old))
    assert explain([dev], "cc").places[0].state == "rolling out", "a step that failed before its switch ends nothing"
    dev.ledger.add_deployment(_served(5, old, old, outcome="put back", serving=old))
    ended = explain([dev], "cc").places[0]
    assert (ended.state, ended.since) == ("left service", AT + timedelta(hours=5))
    dev.ledger.add_deployment(_served(6, new, old))
    assert explain([dev], "cc").places[0].state == "in service"


def test_people_are_said_to_be_unknown_where_github_is_away(dev: Platform) -> None:
    new = entry(2, C)
    dev.ledger.add_deployment(_served(1, new))
    for number in (12, 13):
        dev.ledger.add_evidence(evidence(2, C, number=number, at=AT + timedelta(minutes=number)))
    dev.ledger.add_proposer(fingerprint([Change("dev", "models", "churn", None, new)]), Proposer(github="anna"))

    pulls = explain([dev], "cc").places[0].pull_requests
    assert [pull.number for pull in pulls] == [13, 12]
    assert all(pull.asked_by == (Proposer(github="anna"),) for pull in pulls), "the records know"
    assert all("GitHub" in pull.problem and pull.merged_by == "" for pull in pulls)
    assert pulls[0].problem == pulls[1].problem, "who did not answer is not asked again"
    words = explaining.on_terminal(explain([dev], "cc"))
    assert "asked for by anna" in words
    assert "who opened, approved and merged it is not known: GitHub (" in words


def test_who_asked_for_a_shadow_that_came_to_answer_and_for_several_at_once(dev: Platform) -> None:
    new = entry(2, C)
    dev.ledger.add_evidence(evidence(2, C))
    gone = Change("dev", "shadow", "churn", new, None)
    dev.ledger.add_proposer(fingerprint([gone, Change("dev", "models", "churn", None, new)]), Proposer(slack="U1"))
    other = entry(4, A)
    for version, digest, model in ((4, A, "churn"), (9, B, "fraud")):
        one = evidence(version, digest, number=14).model_copy(update={"model": model, "head": "2" * 40})
        dev.ledger.add_evidence(one)
    both = [Change("dev", "models", "churn", None, other), Change("dev", "models", "fraud", None, entry(9, B))]
    dev.ledger.add_proposer(fingerprint(both), Proposer(github="sam"))
    assert explain([dev], "cc").places[0].pull_requests[0].asked_by == (Proposer(slack="U1"),)
    assert explain([dev], "aaaa").places[0].pull_requests[0].asked_by == (Proposer(github="sam"),)


def test_a_beginning_of_several_lists_them_and_one_of_none_says_so(dev: Platform) -> None:
    dev.ledger.add_deployment(_served(1, entry(1, A)))
    dev.ledger.add_evidence(evidence(2, B))
    with pytest.raises(Refused, match="2 digests begin with a: sha256:aaaaaaaaaaaa… of churn; sha256:abababababab…"):
        explain([dev], "a")
    place = explain([dev], "ab").places[0]
    assert (place.state, place.since, place.entries) == ("not deployed", None, (entry(2, B),))
    with pytest.raises(Refused, match=r"no record of dev knows a digest that begins with 0"):
        explain([dev], "0")
    for wrong in ("", "sha256:", "churn", "g0", "a" * 65):
        with pytest.raises(InvalidInput, match="cannot begin a digest"):
            explain([dev], wrong)


def test_an_environment_whose_records_cannot_be_read_is_said(dev: Platform, tmp_path: Path) -> None:
    dev.ledger.add_deployment(_served(1, entry(1, A)))
    gone = dev.settings.model_copy(update={"environment": "prod", "records": str(tmp_path / "nothing")})
    with ExitStack() as opened:
        prod = opened.enter_context(Platform(gone, TOKENS))
        found = explain([dev, prod], "aa")
        assert [place.environment for place in found.places] == ["dev"] and "nothing" in found.unknown["prod"]
        words = explaining.on_terminal(found)
        assert "in service in dev, as far as records could be read." in words
        assert "The records of prod cannot be read: " in words
        with pytest.raises(Refused, match=r"no record of dev knows .*; the records of prod cannot be read"):
            explain([dev, prod], "0")


def test_the_digest_of_a_bundle_names_each_part(dev: Platform) -> None:
    parts = {"prep": entry(3, A), "churn": entry(2, C)}
    bundle = Bundle(
        name="both",
        parts=tuple(Part(model=m, version=e.version, digest=e.digest, run=e.run) for m, e in parts.items()),
    )
    for number, (model, one) in enumerate(parts.items(), 1):
        dev.ledger.add_deployment(_served(number, one, model=model, bundle=bundle))
        dev.ledger.add_evidence(evidence(one.version, one.digest, bundle=bundle).model_copy(update={"model": model}))
    other = bundle.model_copy(update={"parts": bundle.parts[:1]})
    dev.ledger.add_evidence(evidence(2, C, bundle=other, at=AT + timedelta(days=1)))
    found = explain([dev], bundle.digest)
    assert found.is_bundle and list(_places(found)) == ["dev/models/churn", "dev/models/prep"]
    assert all(place.state == "in service" for place in found.places)
    assert [len(place.evidence) for place in found.places] == [1, 1], "that beside other parts does not count"
    assert explaining.on_terminal(found).splitlines()[0].endswith("a bundle, in service in dev.")


def test_an_approval_of_an_earlier_commit_is_marked(dev: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    dev.ledger.add_evidence(evidence(2, C))
    pull = PullRequest(12, "https://a/12", "", "", "closed", True, "b", "new", "base", "bot", AT, merged_by="sam")
    monkeypatch.setattr(GitHubRepository, "pull_request", lambda *_: pull)
    approvals = [Approval("anna", "old", AT), Approval("kim", "new", AT)]
    monkeypatch.setattr(GitHubRepository, "approvals", lambda *_: approvals)
    found = explain([dev], "cc")
    assert [(one.by, one.of_head) for one in found.places[0].pull_requests[0].approved_by] == [
        ("anna", False),
        ("kim", True),
    ]
    words = explaining.on_terminal(found)
    assert "approved by anna (an earlier commit), kim" in words and "merged by sam 2026-11-12 09:00 UTC" in words


def test_it_says_who_asked_approved_and_merged_and_what_was_measured(world: World) -> None:
    model = world.model()
    registered = world.register(model)
    asked = world.promobot("propose", model, 1, "--env", "dev", env={"GITHUB_ACTOR": "alex"})
    number = asked.document["pull_request"]
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    head = world.pull(number)["head"]["sha"]
    reviews = f"{world.endpoints.forge}/api/v3/repos/{world.endpoints.repository}/pulls/{number}/reviews"
    for login, state in (("sam", "REQUEST_CHANGES"), ("sam", "APPROVE"), ("sam", "COMMENT")):
        token = {"Authorization": f"Bearer {world.endpoints.secrets.people[login]}"}
        HTTP.post(reviews, json={"event": state, "body": "so", "commit_id": head}, headers=token).raise_for_status()
    world.merge(number)
    assert world.deploy().code == 0

    said = world.bot("explain", registered.digest[:20])
    assert said.code == 0, said
    assert said.document["digest"] == registered.digest
    (place,) = said.document["places"]
    assert (place["environment"], place["model"], place["state"]) == ("dev", model, "in service")
    (pull,) = place["pull_requests"]
    assert (pull["number"], pull["state"], pull["merged_by"], pull["problem"]) == (number, "merged", "alex", "")
    assert [(one["by"], one["of_head"]) for one in pull["approved_by"]] == [("sam", True)]
    assert [one["github"] for one in pull["asked_by"]] == ["alex"] and pull["merged_at"]
    assert [check["check"] for check in place["evidence"][0]["checks"]] == ["ready", "triton", "smoke"]
    assert [record["outcome"] for record in place["deployments"]] == ["succeeded"]

    words = world.words("explain", registered.digest[:20], "--env", "dev").out
    assert words.splitlines()[0] == f"{model} 1 ({registered.digest[7:19]}): in service in dev."
    for line in (f"#{number} http", "asked for by alex", "approved by sam", "merged by alex 20", "roc_auc: "):
        assert line in words, line
