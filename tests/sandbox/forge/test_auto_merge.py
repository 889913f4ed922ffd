"""Auto-merge, as GitHub's pages and its answers say: it waits for the branch's rules, and for nothing else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from bot.sandbox.forge.api.apps import AUTO_MERGE, NO_AUTO_MERGE
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server
from tests.sandbox.forge.test_protection import ONE_REVIEW, VERDICT, opened, protect, report


def allow(server: Server, *, auto_merge: bool = True, **more: bool) -> None:
    with server.api("owner") as api:
        allowed = {"allow_auto_merge": auto_merge, **more}
        api.patch(f"{server.url}/api/v3/repos/{REPOSITORY}", json=allowed).raise_for_status()


def graphql(server: Server, query: str, pull: Any, person: str = "bot", **more: str) -> Any:
    answer = httpx.post(
        f"{server.url}/api/graphql",
        headers={"Authorization": f"Bearer {person}-token"},
        json={"query": query, "variables": {"input": {"pullRequestId": pull.node_id, **more}}},
    )
    return answer.json()


def switch_on(server: Server, pull: Any, person: str = "bot", **more: str) -> Any:
    return graphql(server, AUTO_MERGE, pull, person, **{"mergeMethod": "SQUASH", **more})


def refused(answer: Any) -> str:
    """The message of a refusal."""
    assert set(answer["data"].values()) == {None}
    return str(answer["errors"][0]["message"])


def is_on(server: Server, pull: Any) -> Any:
    with server.api() as api:
        [listed] = [one for one in api.get("/pulls?state=open").json() if one["number"] == pull.number]
        whole = api.get(f"/pulls/{pull.number}").json()
    assert listed["auto_merge"] == whole["auto_merge"], "lists tell it, too"
    return listed["auto_merge"]


def test_it_merges_as_soon_as_the_required_check_is_green_and_not_before(server: Server, clone: Clone) -> None:
    allow(server)
    protect(server, **VERDICT)
    pull = opened(server, clone)
    assert is_on(server, pull) is None
    done = switch_on(server, pull, expectedHeadOid=pull.head.sha, commitHeadline="Promote churn")
    assert done["data"]["enablePullRequestAutoMerge"]["pullRequest"]["number"] == pull.number
    on = is_on(server, pull)
    assert (on["enabled_by"]["login"], on["merge_method"], on["commit_title"]) == (
        "promobot[bot]",
        "squash",
        "Promote churn",
    )
    report(server, pull, conclusion="failure")
    pull.update()
    assert not pull.merged
    report(server, pull, conclusion="success")
    pull.update()
    assert pull.merged and pull.merged_by.login == "promobot[bot]"
    assert server.forge.git.commit(pull.merge_commit_sha).title == "Promote churn"


def test_a_required_review_merges_it_too(server: Server, clone: Clone) -> None:
    allow(server)
    protect(server, **VERDICT, **ONE_REVIEW)
    pull = opened(server, clone)
    report(server, pull, conclusion="success")
    switch_on(server, pull)
    with server.api() as api:
        api.post(f"/pulls/{pull.number}/reviews", json={"event": "APPROVE"}).raise_for_status()
    pull.update()
    assert pull.merged


def test_a_check_that_is_not_required_stops_nothing_once_it_is_on(server: Server, clone: Clone) -> None:
    allow(server)
    protect(server, **VERDICT)
    pull = opened(server, clone)
    switch_on(server, pull)
    repo = server.as_pygithub("bot").get_repo(REPOSITORY)
    repo.create_check_run("lint", pull.head.sha, conclusion="failure")
    report(server, pull, conclusion="success")
    pull.update()
    assert pull.merged, "GitHub waits for what is required only"


def test_where_nothing_is_left_to_wait_for_it_is_refused_in_githubs_words(server: Server, clone: Clone) -> None:
    allow(server)
    unruled = opened(server, clone, name="unruled")
    assert refused(switch_on(server, unruled)) == (
        "Pull request Protected branch rules not configured for this branch"
    )
    protect(server, **VERDICT)
    pull = opened(server, clone)
    report(server, pull, conclusion="success")
    assert refused(switch_on(server, pull)) == "Pull request Pull request is in clean status"
    repo = server.as_pygithub("bot").get_repo(REPOSITORY)
    repo.create_check_run("lint", pull.head.sha, conclusion="failure")
    assert refused(switch_on(server, pull)) == "Pull request Pull request is in unstable status"


def test_what_else_is_refused(server: Server, clone: Clone) -> None:
    protect(server, **VERDICT)
    pull = opened(server, clone)
    assert refused(switch_on(server, pull)) == "Auto merge is not allowed for this repository"
    allow(server)
    assert refused(switch_on(server, pull, person="reader")) == "Resource not accessible by integration"
    assert "Head branch was modified" in refused(switch_on(server, pull, expectedHeadOid="0" * 40))
    allow(server, allow_squash_merge=False)
    assert "squash is not allowed" in refused(switch_on(server, pull))
    assert "Can't disable" in refused(graphql(server, NO_AUTO_MERGE, pull))
    with server.api() as api:
        api.patch(f"/pulls/{pull.number}", json={"state": "closed"}).raise_for_status()
    assert "Can't enable" in refused(switch_on(server, pull, mergeMethod="MERGE"))


def test_who_switches_it_off_or_closes_it_stops_it(server: Server, clone: Clone) -> None:
    allow(server)
    protect(server, **VERDICT)
    pull = opened(server, clone)
    switch_on(server, pull)
    off = graphql(server, NO_AUTO_MERGE, pull, "alex")
    assert off["data"]["disablePullRequestAutoMerge"]["pullRequest"]["number"] == pull.number
    assert is_on(server, pull) is None
    report(server, pull, conclusion="success")
    pull.update()
    assert not pull.merged

    other = opened(server, clone, name="other")
    switch_on(server, other)
    with server.api() as api:
        for state in ("closed", "open"):
            api.patch(f"/pulls/{other.number}", json={"state": state}).raise_for_status()
    assert is_on(server, other) is None


def test_a_push_of_somebody_who_may_write_leaves_it_on_and_the_new_commit_is_what_must_be_green(
    server: Server, clone: Clone
) -> None:
    allow(server)
    protect(server, **VERDICT)
    pull = opened(server, clone)
    switch_on(server, pull)
    clone.git("checkout", "--quiet", "feature")
    clone.commit("More", {"more.txt": "1\n"})
    clone.git("push", "--quiet", "origin", "feature")
    report(server, pull, conclusion="success")  # of the commit before
    assert is_on(server, pull)["enabled_by"]["login"] == "promobot[bot]"
    pull.update()
    assert not pull.merged
    report(server, pull, conclusion="success")
    pull.update()
    assert pull.merged


@pytest.mark.parametrize("for_admins", [True, False])
def test_it_goes_round_no_rule_whoever_switched_it_on(server: Server, clone: Clone, for_admins: bool) -> None:
    allow(server)
    protect(server, **VERDICT, **ONE_REVIEW, enforce_admins=for_admins)
    pull = opened(server, clone)
    switch_on(server, pull, person="owner")
    report(server, pull, conclusion="success")
    pull.update()
    assert not pull.merged, "a review is missing"
