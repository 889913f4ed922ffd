"""GitHub's concurrency groups: a newer run takes the place of an older one where the workflow says so."""

from __future__ import annotations

from pathlib import Path

from tests.sandbox.forge.conftest import REPOSITORY, Server, wait_until, with_first_commit

CHECK = """
name: Check
on: pull_request_target
concurrency: {group: "check-${{ github.event.pull_request.number }}", cancel-in-progress: true}
jobs:
  check:
    runs-on: ubuntu-latest
    steps: [{run: "sleep 60"}]
"""


def test_a_newer_commit_cancels_the_checks_of_the_older_one(running_server: Server, tmp_path: Path) -> None:
    clone = with_first_commit(running_server, tmp_path / "clone", {".github/workflows/check.yml": CHECK})
    repo = running_server.as_pygithub().get_repo(REPOSITORY)
    clone.branch("promote", {"promotions/dev.yaml": "environment: dev\n"})
    repo.create_pull(base="main", head="promote", title="Promote", body="")
    wait_until(lambda: [run.status for run in repo.get_workflow_runs()] == ["in_progress"])
    clone.git("checkout", "--quiet", "promote")
    clone.commit("Newer", {"promotions/dev.yaml": "environment: dev\nmodels: {}\n# newer\n"})
    clone.git("push", "--quiet", "origin", "promote")

    def statuses() -> list[tuple[str, str | None]]:
        return [(run.status, run.conclusion) for run in repo.get_workflow_runs()]

    wait_until(lambda: statuses() == [("in_progress", None), ("completed", "cancelled")], timeout_seconds=40)
