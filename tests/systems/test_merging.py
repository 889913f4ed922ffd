"""Merging as organisations let it happen: by each method, in a queue, beside others. And accounts that are gone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.errors import Rejected, Unavailable
from bot.sandbox.forge.errors import ApiError
from bot.settings import GitHub
from bot.systems import github as adapter
from bot.systems.github import GitHubRepository
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server
from tests.sandbox.forge.test_merge_queue import QUEUE
from tests.stand_ins.server import Seen, StandIn, answer
from tests.systems.test_github import opened

BASE_MOVED = "Base branch was modified. Review and try the merge again."


def configured(server: Server, **changes: Any) -> GitHubRepository:
    settings = {"repository": REPOSITORY, "server_url": server.url, "api_url": f"{server.url}/api/v3", **changes}
    return GitHubRepository(GitHub.model_validate(settings), token="bot-token", request_seconds=10)


def allow(server: Server, **allowed: bool) -> None:
    with server.api("owner") as api:
        api.patch(f"{server.url}/api/v3/repos/{REPOSITORY}", json=allowed).raise_for_status()


def proposal(github: GitHubRepository, clone: Clone, name: str) -> tuple[int, str]:
    head = clone.branch(name, {f"{name}.txt": "1\n"})
    return github.open_pull_request(branch=name, title=name, body="").number, head


@pytest.mark.slow
def test_each_method_merges_by_setting_and_by_what_is_allowed(server: Server, clone: Clone) -> None:
    main = server.forge.git
    for number, (wanted, forbidden, parents) in enumerate(
        [(None, {}, 1), ("merge", {}, 2), ("rebase", {}, 1), (None, {"allow_squash_merge": False}, 2)]
    ):
        allow(server, **forbidden)
        github = configured(server, merge_method=wanted)
        pull, head = proposal(github, clone, f"branch-{number}")
        commit = github.merge(pull, head=head, title=f"T (#{pull})")
        assert commit is not None and main.branch("main") == commit
        assert len(main.commit(commit).parents) == parents, wanted
        clone.git("pull", "--quiet", "origin", "main")

    squash = configured(server, merge_method="squash")
    pull, head = proposal(squash, clone, "refused")
    with pytest.raises(Rejected, match="allows merge, rebase") as failure:
        squash.merge(pull, head=head, title="T")
    assert "github.merge_method" in failure.value.next_step
    assert not squash.pull_request(pull).merged


def test_a_merge_beside_anothers_is_asked_again_at_the_same_head(
    server: Server, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_BASE_MOVED_SECONDS", 0.0)
    github = configured(server)
    pull, head = proposal(github, clone, "beside")
    others, merges = server.forge.fast_forward, iter([False, True, False, False, False])

    def beside(*given: Any, **named: Any) -> Any:
        if not next(merges):
            raise ApiError(405, BASE_MOVED)
        return others(*given, **named)

    monkeypatch.setattr(server.forge, "fast_forward", beside)
    assert github.merge(pull, head=head, title="T") == server.forge.git.branch("main")

    clone.git("pull", "--quiet", "origin", "main")
    second, head = proposal(github, clone, "always")
    with pytest.raises(Unavailable, match="Base branch was modified") as failure:
        github.merge(second, head=head, title="T")
    assert (failure.value.state, "merge it again" in failure.value.next_step) == ("Nothing was merged.", True)


def test_after_anothers_merge_only_the_head_that_was_shown_is_merged(
    server: Server, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_BASE_MOVED_SECONDS", 0.0)
    github = configured(server)
    pull, head = proposal(github, clone, "pushed")

    def pushed_meanwhile(*_: Any, **__: Any) -> Any:
        clone.git("checkout", "--quiet", "pushed")
        clone.commit("Later", {"later.txt": "1"})
        clone.git("push", "--quiet", "origin", "pushed")
        raise ApiError(405, BASE_MOVED)

    monkeypatch.setattr(server.forge, "merge_pull", pushed_meanwhile)
    with pytest.raises(Rejected, match="its head is now") as failure:
        github.merge(pull, head=head, title="T")
    assert "look at the new commit" in failure.value.next_step


@pytest.mark.slow
def test_a_merge_queue_is_joined_once(server: Server, clone: Clone) -> None:
    with server.api("owner") as api:
        rule = {"type": "merge_queue", "parameters": QUEUE}
        wanted = {"name": "queue", "enforcement": "active", "rules": [rule]}
        where = {"conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}}
        rules = {"required_status_checks": {"strict": False, "contexts": ["Verdict"]}, "enforce_admins": True}
        rules |= {"required_pull_request_reviews": None, "restrictions": None}
        api.put("/branches/main/protection", json=rules).raise_for_status()
        api.post("/rulesets", json={**wanted, **where}).raise_for_status()
    github = configured(server)
    assert github.rules().has_queue
    pull, head = proposal(github, clone, "queued")
    with pytest.raises(Rejected, match='"Verdict" is expected'):
        github.merge(pull, head=head, title="T")
    with server.api("bot") as api:
        check = {"name": "Verdict", "head_sha": head, "conclusion": "success"}
        api.post("/check-runs", json=check).raise_for_status()

    assert [github.merge(pull, head=head, title="T") for _ in range(2)] == [None, None]

    assert [entry.number for entry in server.forge.store.queued()] == [pull]
    with pytest.raises(Rejected, match="Head branch was modified"):
        github.merge(proposal(github, clone, "other")[0], head=head, title="T")


def test_deleted_accounts_have_a_name(server: Server, clone: Clone, stand_in: StandIn) -> None:
    number, head = proposal(configured(server), clone, "gone")
    with server.api() as api:
        whole = json.loads(api.get(f"/pulls/{number}").text.replace(f"{server.url}/api/v3", stand_in.url))
    gone = {**whole, "user": None, "head": {**whole["head"], "user": None, "repo": None}}
    review = {"id": 1, "user": None, "state": "APPROVED", "commit_id": head}
    comment = {"id": 1, "user": None, "body": "<!-- m -->", "html_url": "https://github.example/1"}

    def behave(seen: Seen) -> bytes:
        path = seen.path.partition("?")[0]
        if path.endswith("/graphql"):
            return answer(200, {"data": {"viewer": {"login": "promobot[bot]"}}})
        if path.endswith("/reviews"):
            return answer(200, [review] if seen.method == "GET" else {**review, "id": 2})
        if path.endswith("/comments"):
            return answer(200, [comment] if seen.method == "GET" else {**comment, "id": 2})
        return answer(200, gone if "/pulls/" in path else [gone])

    stand_in.behaviour = behave
    github = opened(stand_in.url, "ghp_canary4711", api="")
    assert github.pull_request(number).author == "ghost"
    assert github.open_pull_requests(prefix="gone") == [], "of a repository that is gone"
    assert github.approve(number, head=head, body="Yes") is True
    github.put_comment(number, "<!-- m -->\nours", marker="<!-- m -->")
    made = [seen.path for seen in stand_in.seen if seen.method == "POST" and "graphql" not in seen.path]
    assert [path.rpartition("/")[2] for path in made] == ["reviews", "comments"], "of nobody else's are ours"


def test_answers_that_name_another_address_are_an_error_with_advice(
    server: Server, clone: Clone, stand_in: StandIn
) -> None:
    number, _ = proposal(configured(server), clone, "alias")
    with server.api() as api:
        whole = api.get(f"/pulls/{number}").json()
    me = {"data": {"viewer": {"login": "another[bot]"}}}
    stand_in.behaviour = lambda seen: answer(200, me if "graphql" in seen.path else whole)
    with pytest.raises(Rejected, match=r"another address than github\.api_url"):
        opened(stand_in.url, "ghp_canary4711", api="").approve(number, head="0" * 40, body="")
