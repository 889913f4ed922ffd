"""Deployments with their statuses, and webhooks that arrive signed."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import github
import pytest

from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server, wait_until
from tests.stand_ins.server import Seen, StandIn, answer

SECRET = "shared-with-the-receiver"


@pytest.fixture
def receiver() -> Iterator[StandIn]:
    with StandIn() as running:
        running.answers(200, b"ok")
        yield running


def hooked(server: Server, receiver: StandIn, *events: str) -> int:
    hook = {"name": "web", "active": True, "events": events}
    hook["config"] = {"url": f"{receiver.url}/hook", "content_type": "json", "secret": SECRET}
    with server.api("owner") as api:
        made = api.post("/hooks", json=hook)
    assert made.status_code == 201, made.text
    assert SECRET not in made.text
    return int(made.json()["id"])


def told(receiver: StandIn) -> list[tuple[str, str]]:
    """Event and action of what arrived, each with a signature that fits."""
    return [(seen.headers["x-github-event"], _payload(seen).get("action", "")) for seen in list(receiver.seen)]


def _payload(seen: Seen) -> dict[str, Any]:
    digest = hmac.new(SECRET.encode(), seen.body, hashlib.sha256).hexdigest()
    assert seen.headers["x-hub-signature-256"] == f"sha256={digest}"
    payload: dict[str, Any] = json.loads(seen.body)
    assert payload["repository"]["full_name"] == REPOSITORY
    return payload


def test_a_deployment_and_what_is_said_of_it(server: Server, clone: Clone) -> None:
    repo = server.as_pygithub("bot").get_repo(REPOSITORY)
    first = repo.create_deployment("main", environment="dev", required_contexts=[], auto_merge=False)
    assert (first.sha, first.environment, first.creator.login) == (
        clone.git("rev-parse", "main"),
        "dev",
        "promobot[bot]",
    )
    first.create_status("in_progress", description="loading")
    first.create_status("success", target_url="https://example.com/log")
    second = repo.create_deployment("main", environment="dev", required_contexts=[], auto_merge=False)
    second.create_status("success")

    assert [one.id for one in repo.get_deployments(environment="dev")] == [second.id, first.id]
    assert list(repo.get_deployments(environment="prod")) == []
    assert [status.state for status in first.get_statuses()] == ["inactive", "success", "in_progress"]
    assert [status.state for status in second.get_statuses()] == ["success"]


def test_a_deployment_wants_green_checks_unless_it_says_otherwise(server: Server, clone: Clone) -> None:
    repo = server.as_pygithub("bot").get_repo(REPOSITORY)
    commit = repo.get_commit("main")
    commit.create_status("failure", "https://example.com", "broken", "smoke")
    with pytest.raises(github.GithubException) as refused:
        repo.create_deployment("main", environment="dev")
    assert (refused.value.status, "checks failed" in refused.value.data["message"]) == (409, True)
    commit.create_status("success", "https://example.com", "works", "smoke")
    assert repo.create_deployment("main", environment="dev").id


def test_webhooks_tell_each_thing_once_signed_and_in_order(server: Server, clone: Clone, receiver: StandIn) -> None:
    hooked(server, receiver, "pull_request", "push", "issue_comment", "deployment_status")
    clone.branch("feature", {"a.txt": "1\n"})
    repo = server.as_pygithub("bot").get_repo(REPOSITORY)
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    pull.create_issue_comment("Hello")
    pull.merge(merge_method="squash")
    repo.create_deployment("main", environment="dev", required_contexts=[]).create_status("success")

    wait_until(lambda: len(receiver.seen) >= 7)
    assert told(receiver) == [
        ("ping", ""),
        ("push", ""),
        ("pull_request", "opened"),
        ("issue_comment", "created"),
        ("pull_request", "closed"),
        ("push", ""),
        ("deployment_status", "created"),
    ]
    deliveries = {seen.headers["x-github-delivery"] for seen in receiver.seen}
    assert len(deliveries) == 7
    merged = _payload(receiver.seen[4])["pull_request"]
    assert merged["merged_at"] and merged["number"] == 1


def test_a_receiver_that_fails_keeps_nobody_waiting_and_the_next_is_told(
    server: Server, clone: Clone, receiver: StandIn
) -> None:
    answers = iter([answer(500)])
    receiver.behaviour = lambda _: next(answers, answer(200))
    hook = hooked(server, receiver, "*")
    clone.branch("feature", {"a.txt": "1\n"})
    wait_until(lambda: len(receiver.seen) >= 2)
    with server.api("owner") as api:
        assert [one["id"] for one in api.get("/hooks").json()] == [hook]
        assert api.delete(f"/hooks/{hook}").status_code == 204
    clone.branch("other", {"b.txt": "1\n"})
    with server.api() as api:
        assert api.post("/issues/1/comments", json={"body": "x"}).status_code == 404
    assert len(receiver.seen) == 2
