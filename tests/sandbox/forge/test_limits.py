"""Rate limits, conditional requests, and who is told what."""

from __future__ import annotations

import time

import httpx
import pytest

from bot.errors import Unavailable
from bot.sandbox.forge.limits import PER_HOUR, Secondary
from tests.sandbox.forge.conftest import Clone, Server
from tests.systems.test_github import opened


def test_what_is_left_is_in_each_answer_and_the_question_is_free(server: Server, clone: Clone) -> None:
    with server.api() as api:
        first, second = api.get("/pulls"), api.get("/pulls")
        asked = api.get(f"{server.url}/api/v3/rate_limit")
    left = [int(answer.headers["x-ratelimit-remaining"]) for answer in (first, second, asked)]
    assert left == [PER_HOUR - 1, PER_HOUR - 2, PER_HOUR - 2]
    assert asked.json()["resources"]["core"] == {
        "limit": PER_HOUR,
        "used": 2,
        "remaining": PER_HOUR - 2,
        "reset": int(first.headers["x-ratelimit-reset"]),
    }
    assert time.time() < int(first.headers["x-ratelimit-reset"]) <= time.time() + 3601


def test_a_conditional_request_costs_nothing_until_something_changes(server: Server, clone: Clone) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    with server.api() as api:
        api.post("/pulls", json={"title": "A", "head": "feature", "base": "main"}).raise_for_status()
        first = api.get("/pulls/1")
        known = {"If-None-Match": first.headers["etag"]}
        same = api.get("/pulls/1", headers=known)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["x-ratelimit-remaining"] == first.headers["x-ratelimit-remaining"]
        api.patch("/pulls/1", json={"title": "B"}).raise_for_status()
        changed = api.get("/pulls/1", headers=known)
        assert (changed.status_code, changed.json()["title"]) == (200, "B")


def test_the_primary_limit_is_403_with_when_it_ends_and_the_bot_says_so(server: Server, clone: Clone) -> None:
    server.forge.limits.per_hour = 1
    bot = opened(server.url, "alex-token")
    bot.open_pull_requests(prefix="")
    with pytest.raises(Unavailable, match="API rate limit exceeded for user ID") as failure:
        bot.open_pull_requests(prefix="")
    assert failure.value.retry_after_seconds is not None and 3000 < failure.value.retry_after_seconds <= 3601
    with server.api() as api:
        refused = api.get("/pulls")
    assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (403, "0")
    with server.api("bot") as api:
        assert api.get("/pulls").status_code == 200, "everybody has a limit of their own"


@pytest.mark.parametrize("status", [403, 429])
def test_the_secondary_limit_is_obeyed_and_then_the_answer_comes(server: Server, clone: Clone, status: int) -> None:
    hit = {"times": 1, "retry_after": 1, "status": status}
    assert httpx.post(f"{server.url}/faults", json=hit).status_code == 204
    assert opened(server.url, "alex-token").open_pull_requests(prefix="") == []
    assert [one.status for one in server.exchanges][-2:] == [status, 200]


def test_a_secondary_limit_that_is_forgotten_hits_nobody(server: Server, clone: Clone) -> None:
    server.forge.limits.hit_secondary(Secondary(times=3))
    assert httpx.delete(f"{server.url}/faults").status_code == 204
    with server.api() as api:
        assert api.get("/pulls").status_code == 200
