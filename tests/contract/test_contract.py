"""The contract itself: it accepts what GitHub describes, and each bent field, status and path fails."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.contract.contract import Exchange, violations, webhook_violations
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server

PULLS = f"/repos/{REPOSITORY}/pulls"


@pytest.fixture
def opened(server: Server, clone: Clone) -> Exchange:
    """A pull request that was opened, as it went over the wire."""
    clone.branch("feature", {"a.txt": "1\n"})
    with server.api() as api:
        api.post("/pulls", json={"title": "A", "head": "feature", "base": "main"}).raise_for_status()
        api.get("/pulls", params={"state": "open", "per_page": 100}).raise_for_status()
    return next(one for one in server.exchanges if one.method == "POST" and one.path == PULLS)


def bent(exchange: Exchange, **changes: Any) -> Exchange:
    """The answer with other fields; None takes one out."""
    answer = {**json.loads(exchange.received), **changes}
    kept = {key: value for key, value in answer.items() if key not in changes or value is not None}
    return replace(exchange, received=json.dumps(kept).encode())


def asking(exchange: Exchange, **changes: Any) -> Exchange:
    return replace(exchange, sent=json.dumps({**json.loads(exchange.sent), **changes}).encode())


def test_what_github_describes_is_accepted(opened: Exchange) -> None:
    assert violations(opened) == []
    assert violations(replace(opened, method="GET", sent=b"", path=f"{PULLS}/1", query="", status=200)) == []


def test_a_bent_answer_fails(opened: Exchange) -> None:
    name = "POST /repos/{owner}/{repo}/pulls"
    refused = json.dumps({"message": "No", "documentation_url": "https://docs.github.com/rest"}).encode()
    for exchange, problem in (
        (bent(opened, headline="x"), "201: Additional properties are not allowed ('headline' was unexpected)"),
        (bent(opened, merged_at="yesterday"), "201.merged_at: 'yesterday' is not a 'date-time'"),
        (bent(opened, number="1"), "201.number: '1' is not of type 'integer'"),
        (bent(opened, state="half open"), "201.state: 'half open' is not one of ['open', 'closed']"),
        (bent(opened, html_url=None), "201: 'html_url' is a required property"),
        (bent(opened, user={"login": "alex"}), "201.user: 'avatar_url' is a required property"),
        (replace(opened, status=200), "200 is none of its answers (201, 403, 422)"),
        (replace(opened, status=409, received=refused), "409 is none of its answers (201, 403, 422)"),
        (replace(opened, status=401, received=b'{"oops": 1}'), "401: Additional properties are not allowed"),
    ):
        assert any(f"{name}: {problem}" in found for found in violations(exchange)), (problem, violations(exchange))


def test_a_bent_request_fails(opened: Exchange) -> None:
    listed = replace(opened, method="GET", sent=b"", query="state=open", status=200, received=b"[]")
    assert violations(listed) == []
    for exchange, problem in (
        (asking(opened, mergeable=True), "body: Additional properties are not allowed ('mergeable' was unexpected)"),
        (asking(opened, title=7), "body.title: 7 is not of type 'string'"),
        (replace(opened, sent=b'{"title": "A", "base": "main"}'), "body: 'head' is a required property"),
        (replace(opened, sent=b""), "a body is missing"),
        (replace(listed, query="state=ajar"), "query state: 'ajar' is not one of ['open', 'closed', 'all']"),
        (replace(listed, query="per_page=many"), "query per_page: 'many' is not of type 'integer'"),
        (replace(listed, query="colour=red"), "query: 'colour' is no parameter"),
        (replace(listed, path=f"{PULLS}/first"), "path: pull_number is 'first'"),
        (replace(listed, path=f"/repos/{REPOSITORY}/pullz"), f"GitHub has no GET /repos/{REPOSITORY}/pullz"),
        (replace(listed, method="DELETE"), f"GitHub has no DELETE {PULLS}"),
    ):
        assert any(problem in found for found in violations(exchange)), (problem, violations(exchange))


def test_a_forge_that_answers_with_a_field_of_its_own_fails_its_tests(
    server: Server, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = server.forge.answers.whole_user
    monkeypatch.setattr(server.forge.answers, "whole_user", lambda login: whole(login) | {"mood": "good"})
    assert httpx.get(f"{server.url}/api/v3/user", headers={"Authorization": "Bearer alex-token"}).status_code == 200
    assert any("'mood' was unexpected" in found for found in server.violations())
    server.exchanges.clear()


def test_a_bent_payload_of_a_webhook_fails(server: Server, clone: Clone, opened: Exchange) -> None:
    told = dict(server.told)
    assert {"push", "pull_request"} <= told.keys()
    payload = told["pull_request"]
    assert webhook_violations("pull_request", payload) == []
    without = {key: value for key, value in payload.items() if key != "number"}
    for bent_payload, problem in (
        ({**payload, "mood": "good"}, "Additional properties are not allowed ('mood' was unexpected)"),
        ({**payload, "action": "admired"}, "GitHub has no webhook pull-request-admired"),
        ({**payload, "number": "1"}, "payload.number: '1' is not of type 'integer'"),
        (without, "'number' is a required property"),
    ):
        found = webhook_violations("pull_request", bent_payload)
        assert any(problem in one for one in found), (problem, found)
