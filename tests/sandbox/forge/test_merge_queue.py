"""The merge queue, as GitHub's pages on it say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.sandbox.forge.api.apps import ENQUEUE
from tests.sandbox.forge.conftest import Clone, Server, wait_until, with_first_commit

CHECK = """
name: Check
on: {pull_request_target: , merge_group: {types: [checks_requested]}}
jobs:
  verdict:
    name: Verdict
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: |
          echo "$GITHUB_EVENT_NAME $GITHUB_REF $GITHUB_SHA"
          test "$GITHUB_EVENT_NAME" = merge_group || exit 0
          case "$GITHUB_REF" in */pr-1-*) sleep 8 ;; esac
          test ! -e red
"""
QUEUE = {
    "check_response_timeout_minutes": 60,
    "grouping_strategy": "ALLGREEN",
    "max_entries_to_build": 1,
    "max_entries_to_merge": 1,
    "merge_method": "SQUASH",
    "min_entries_to_merge": 1,
    "min_entries_to_merge_wait_minutes": 0,
}


def turn_on(server: Server, **changes: object) -> httpx.Response:
    with server.api("owner") as api:
        rules = {"required_status_checks": {"strict": False, "contexts": ["Verdict"]}, "enforce_admins": True}
        api.put(
            "/branches/main/protection", json={**rules, "required_pull_request_reviews": None, "restrictions": None}
        ).raise_for_status()
        return api.post(
            "/rulesets",
            json={
                "name": "queue",
                "enforcement": "active",
                "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
                "rules": [{"type": "merge_queue", "parameters": {**QUEUE, **changes}}],
            },
        )


def enqueue(server: Server, node: str, *, person: str = "alex", **more: str) -> Any:
    return httpx.post(
        f"{server.url}/api/graphql",
        headers={"Authorization": f"Bearer {person}-token"},
        json={"query": ENQUEUE, "variables": {"input": {"pullRequestId": node, **more}}},
    ).json()


@pytest.fixture
def clone(running_server: Server, tmp_path: Path) -> Clone:
    clone = with_first_commit(running_server, tmp_path / "clone", {".github/workflows/check.yml": CHECK})
    assert turn_on(running_server).status_code == 201
    return clone


def opened(server: Server, clone: Clone, branch: str, files: dict[str, str]) -> dict[str, Any]:
    clone.branch(branch, files)
    with server.api() as api:
        pull: dict[str, Any] = api.post("/pulls", json={"title": branch, "head": branch, "base": "main"}).json()
    return pull


def is_green(server: Server, pull: dict[str, Any]) -> bool:
    jobs = server.forge.jobs_on(pull["head"]["sha"])
    return [job.conclusion for _, job in jobs] == ["success"]


@pytest.mark.slow
def test_what_is_queued_is_checked_as_it_would_be_merged_one_after_the_other(
    running_server: Server, clone: Clone
) -> None:
    one = opened(running_server, clone, "one", {"one": "1\n"})
    before = enqueue(running_server, one["node_id"])
    assert before["data"]["enqueuePullRequest"] is None and "Verdict" in before["errors"][0]["message"], (
        "not yet green"
    )
    red = opened(running_server, clone, "red", {"red": "1\n"})
    two = opened(running_server, clone, "two", {"two": "2\n"})
    wait_until(lambda: all(is_green(running_server, pull) for pull in (one, red, two)))

    with running_server.api("owner") as api:
        refused = api.put(f"/pulls/{one['number']}/merge", json={"sha": one["head"]["sha"]})
    assert refused.status_code == 405 and "Changes must be made through the merge queue" in refused.json()["message"]
    assert "through the merge queue" in clone.git("push", "origin", "one:main", ok=False)
    answers = [enqueue(running_server, pull["node_id"]) for pull in (one, red, two)]
    assert [said["data"]["enqueuePullRequest"]["mergeQueueEntry"]["position"] for said in answers] == [1, 2, 3]
    again = enqueue(running_server, two["node_id"])
    assert again["errors"][0]["message"] == "The pull request is already in the merge queue."

    base = clone.git("rev-parse", "origin/main")
    name = f"gh-readonly-queue/main/pr-{one['number']}-{base}"
    wait_until(lambda: not running_server.forge.store.queued(), timeout_seconds=60)
    with running_server.api() as api:
        wait_until(lambda: api.get(f"/pulls/{two['number']}").json()["merged"])
        wait_until(lambda: "gh-readonly-queue" not in clone.git("ls-remote", "origin"))
        pulls = {pull["title"]: pull for pull in api.get("/pulls?state=all").json()}
        runs = api.get("/actions/runs?event=merge_group").json()["workflow_runs"]
        log = api.get(f"/actions/jobs/{running_server.forge.actions.runs.get(runs[-1]['id']).jobs[0].id}/logs")
    assert {title: bool(pull["merged_at"]) for title, pull in pulls.items()} == {
        "one": True,
        "red": False,
        "two": True,
    }
    assert [(run["head_branch"].split("-")[3], run["conclusion"]) for run in reversed(runs)] == [
        (str(one["number"]), "success"),
        (str(red["number"]), "failure"),
        (str(two["number"]), "success"),
    ]
    assert runs[-1]["head_branch"] == name and runs[-1]["head_sha"] == pulls["one"]["merge_commit_sha"]
    assert f"merge_group refs/heads/{name} {runs[-1]['head_sha']}" in httpx.get(log.headers["location"]).text
    clone.git("fetch", "--quiet", "origin")
    assert clone.git("log", "--format=%s", "origin/main").splitlines()[:2] == ["A change (#3)", "A change (#1)"]


@pytest.mark.slow
def test_who_pushes_or_closes_leaves_the_queue_and_a_conflict_does_too(running_server: Server, clone: Clone) -> None:
    first, pushed, clashing, closed = (
        opened(running_server, clone, name, {file: name})
        for name, file in zip("abcd", ["x", "y", "x", "z"], strict=True)
    )
    wait_until(lambda: all(is_green(running_server, pull) for pull in (first, pushed, clashing, closed)))
    for pull in (first, pushed, clashing, closed):
        enqueue(running_server, pull["node_id"])
    clone.git("checkout", "--quiet", "b")
    clone.commit("Later", {"later": "1"})
    clone.git("push", "--quiet", "origin", "b")
    with running_server.api() as api:
        api.patch(f"/pulls/{closed['number']}", json={"state": "closed"}).raise_for_status()
        wait_until(lambda: not running_server.forge.store.queued(), timeout_seconds=60)
        wait_until(lambda: api.get(f"/pulls/{first['number']}").json()["merged"])
        merged = [pull["number"] for pull in api.get("/pulls?state=all").json() if pull["merged_at"]]
    assert merged == [first["number"]]


def test_what_the_forge_does_not_do_it_refuses(running_server: Server, clone: Clone) -> None:
    assert turn_on(running_server, max_entries_to_build=5).status_code == 422
    assert enqueue(running_server, "nothing")["errors"][0]["type"] == "NOT_FOUND"
    assert enqueue(running_server, "nothing", person="reader")["errors"][0]["type"] == "FORBIDDEN"
    with running_server.api() as api:
        [rule] = api.get("/rulesets").json()
        assert api.get(f"/rulesets/{rule['id']}").json()["rules"] == [{"type": "merge_queue", "parameters": QUEUE}]
        assert api.delete(f"/rulesets/{rule['id']}").status_code == 404, "only for administrators"
        assert api.get("/rulesets/9999").status_code == 404
    with running_server.api("owner") as api:
        assert api.delete(f"/rulesets/{rule['id']}").status_code == 204
    pull = opened(running_server, clone, "one", {"one": "1\n"})
    assert "not enabled" in enqueue(running_server, pull["node_id"])["errors"][0]["message"]
