"""A protected branch: merges and pushes that its rules forbid, in GitHub's words."""

from __future__ import annotations

from typing import Any

import github
import httpx
import pytest

from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server

NOTHING: dict[str, Any] = {
    "required_status_checks": None,
    "enforce_admins": True,
    "required_pull_request_reviews": None,
    "restrictions": None,
}
VERDICT = {"required_status_checks": {"strict": False, "contexts": ["Verdict"]}}
ONE_REVIEW = {"required_pull_request_reviews": {"required_approving_review_count": 1}}


def protect(server: Server, **rules: Any) -> None:
    with server.api("owner") as api:
        answer = api.put("/branches/main/protection", json={**NOTHING, **rules})
    assert answer.status_code == 200, answer.text


def opened(server: Server, clone: Clone, *, name: str = "feature") -> github.PullRequest.PullRequest:
    clone.branch(name, {f"{name}.txt": "1\n"})
    repo = server.as_pygithub("bot").get_repo(REPOSITORY)
    return repo.create_pull(base="main", head=name, title="A", body="")


def refusal(pull: github.PullRequest.PullRequest) -> tuple[int, str]:
    with pytest.raises(github.GithubException) as refused:
        pull.merge(sha=pull.head.sha)
    return refused.value.status, refused.value.data["message"]


def report(server: Server, pull: github.PullRequest.PullRequest, **more: Any) -> None:
    repo = server.as_pygithub("bot").get_repo(REPOSITORY)
    repo.create_check_run("Verdict", pull.head.sha, **more)


def test_a_required_check_must_be_green(server: Server, clone: Clone) -> None:
    protect(server, **VERDICT)
    pull = opened(server, clone)
    assert refusal(pull) == (405, 'Required status check "Verdict" is expected.')
    pull.update()
    assert pull.mergeable_state == "blocked"
    report(server, pull, status="in_progress")
    assert refusal(pull) == (405, 'Required status check "Verdict" is in progress.')
    report(server, pull, conclusion="failure")
    assert refusal(pull) == (405, 'Required status check "Verdict" is failing.')
    report(server, pull, conclusion="success")
    assert pull.merge(sha=pull.head.sha).merged


def test_a_skipped_check_counts_as_a_green_one_as_on_github(server: Server, clone: Clone) -> None:
    protect(server, **VERDICT)
    pull = opened(server, clone)
    report(server, pull, conclusion="skipped")
    assert pull.merge().merged


def test_a_green_check_of_an_older_head_does_not_count(server: Server, clone: Clone) -> None:
    protect(server, **VERDICT)
    pull = opened(server, clone)
    report(server, pull, conclusion="success")
    clone.git("checkout", "--quiet", "feature")
    clone.commit("More", {"b.txt": "1\n"})
    clone.git("push", "--quiet", "origin", "feature")
    pull.update()
    assert refusal(pull) == (405, 'Required status check "Verdict" is expected.')


def test_a_required_review_must_be_there_and_nobody_objects(server: Server, clone: Clone) -> None:
    protect(server, **VERDICT, **ONE_REVIEW)
    pull = opened(server, clone)
    review = "At least 1 approving review is required by reviewers with write access."
    assert refusal(pull) == (405, f'Required status check "Verdict" is expected. {review}')
    report(server, pull, conclusion="success")
    as_alex = server.as_pygithub().get_repo(REPOSITORY).get_pull(1)
    for event, body in (("COMMENT", "Hm"), ("REQUEST_CHANGES", "No")):
        as_alex.create_review(event=event, body=body)
        assert refusal(pull) == (405, review)
    as_alex.create_review(event="APPROVE", body="Yes")
    assert pull.merge().merged


def test_a_branch_that_is_behind_must_be_updated_first_where_the_rules_say_so(server: Server, clone: Clone) -> None:
    clone.commit("Main moves", {"main.txt": "0\n"})
    clone.git("push", "--quiet", "origin", "main")
    pull = opened(server, clone)
    clone.commit("Main moves on", {"main.txt": "1\n"})
    clone.git("push", "--quiet", "origin", "main")
    protect(server, required_status_checks={"strict": True, "contexts": ["Verdict"]})
    report(server, pull, conclusion="success")
    pull.update()
    assert pull.mergeable_state == "behind"
    assert refusal(pull) == (409, "Head branch is out of date. Review and try the merge again.")
    clone.git("checkout", "--quiet", "feature")
    clone.git("merge", "--quiet", "--no-edit", "main")
    clone.git("push", "--quiet", "origin", "feature")
    pull.update()
    report(server, pull, conclusion="success")
    assert pull.merge(sha=pull.head.sha).merged


def test_direct_pushes_are_refused_in_githubs_words_and_admins_are_too(server: Server, clone: Clone) -> None:
    protect(server, **VERDICT)
    clone.commit("Direct", {"direct.txt": "1\n"})
    said = clone.git("push", "origin", "main", ok=False)
    assert "GH006: Protected branch update failed for refs/heads/main." in said
    assert '- Required status check "Verdict" is expected.' in said
    protect(server, **VERDICT, **ONE_REVIEW)
    assert "- Changes must be made through a pull request." in clone.git("push", "origin", "main", ok=False)
    clone.git("remote", "set-url", "origin", server.clone_url("owner"))
    assert "GH006" in clone.git("push", "origin", "main", ok=False)
    protect(server, **VERDICT, **ONE_REVIEW, enforce_admins=False)
    clone.git("push", "origin", "main")


def test_who_may_see_and_change_it(server: Server, clone: Clone) -> None:
    with server.api("owner") as api:
        assert api.get("/branches/main/protection").json()["message"] == "Branch not protected"
        protect(server, **VERDICT)
        found = api.get("/branches/main/protection").json()
        assert found["required_status_checks"]["contexts"] == ["Verdict"]
        assert api.delete("/branches/main/protection").status_code == 204
    with server.api() as api:
        assert api.put("/branches/main/protection", json=NOTHING).status_code == 404
    assert httpx.get(f"{server.url}/api/v3/repos/{REPOSITORY}/branches/main/protection").status_code == 401
