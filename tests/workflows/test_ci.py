"""The project's own continuous integration through act: the file as it is; what it runs is a script of this test."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from bot.sandbox.actions.actions import Settings
from bot.sandbox.actions.records import Run
from tests.sandbox.forge.conftest import Clone, Server, with_first_commit
from tests.sandbox.forge.test_merge_queue import enqueue, turn_on
from tests.workflows.inventory import WORKFLOWS
from tests.workflows.person import wait_for

PROJECT = WORKFLOWS.parents[1]
SCRIPT = '#!/bin/bash\necho "checked $GITHUB_EVENT_NAME at $(git rev-parse HEAD)"\ntest ! -e broken\n'
"""The real .ci/run installs everything and runs every test, also this one."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "forge", Settings(bot_token="bot-token"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def forge_folder(server: Server) -> Path:
    return server.folder


@pytest.mark.slow
@pytest.mark.runs(
    "ci.yml push",
    "ci.yml pull_request opened",
    "ci.yml pull_request synchronize",
    "ci.yml pull_request reopened",
    "ci.yml merge_group checks_requested",
)
def test_it_runs_what_is_proposed_queued_and_merged(server: Server, forge_folder: Path, tmp_path: Path) -> None:
    files = {".github/workflows/ci.yml": (WORKFLOWS / "ci.yml").read_text(), ".ci/run": SCRIPT}

    def seen(event: str, start: Callable[[], object]) -> str:
        """Do what starts it, and return the log of the run, which must be green."""
        known = {run.id for run in server.forge.actions.runs.all()}
        start()

        def done() -> int:
            runs = server.forge.actions.runs.all()
            return next(
                (run.id for run in runs if run.id not in known and (run.event, run.status) == (event, "completed")), 0
            )

        run = server.forge.actions.runs.get(wait_for(done, f"a run for {event}"))
        assert run is not None and run.conclusion == "success", run
        return server.forge.actions.runs.log(run, run.jobs[0])

    def change(name: str) -> None:
        clone.git("checkout", "--quiet", "change")
        clone.commit(name, {name: "x\n"})
        clone.git("push", "--quiet", "origin", "change")

    clones: list[Clone] = []
    assert "checked push at" in seen(
        "push", lambda: clones.append(with_first_commit(server, tmp_path / "clone", files))
    )
    [clone] = clones
    with server.api("owner") as api:
        clone.branch("change", {"bot.py": "1\n"})
        body = {"title": "A change", "head": "change", "base": "main"}
        merge_commit_is_checked = seen("pull_request", lambda: api.post("/pulls", json=body).raise_for_status())
        assert "checked pull_request at" in merge_commit_is_checked
        assert "checked pull_request at" in seen("pull_request", lambda: change("more.py"))

        def reopen() -> None:
            for state in ("closed", "open"):
                api.patch("/pulls/1", json={"state": state}).raise_for_status()

        assert "checked pull_request at" in seen("pull_request", reopen)

        def propose() -> None:
            clone.branch("proposal", {"promotions/dev.yaml": "models: {}\n"})
            api.post("/pulls", json={**body, "head": "proposal"}).raise_for_status()

        proposed = seen("pull_request", propose)
        assert "Only promotions/ changes" in proposed and "checked" not in proposed, "it reports, and runs nothing"
        turn_on(server).raise_for_status()
        rules = {"required_status_checks": {"strict": False, "contexts": ["CI"]}, "enforce_admins": True}
        rules |= {"required_pull_request_reviews": None, "restrictions": None}  # type: ignore[dict-item]
        api.put("/branches/main/protection", json=rules).raise_for_status()
        node = api.get("/pulls/1").json()["node_id"]
        assert "checked merge_group at" in seen("merge_group", lambda: enqueue(server, node))
        wait_for(lambda: api.get("/pulls/1").json()["merged"], "the merge")
        merged = api.get("/pulls/1").json()["merge_commit_sha"]
    assert httpx.get(f"{server.page}/commit/{merged}").status_code == 200


@pytest.mark.slow
@pytest.mark.runs("pins.yml schedule", "pins.yml workflow_dispatch")
def test_a_clock_looks_whether_a_pin_is_past_its_time(server: Server, forge_folder: Path, tmp_path: Path) -> None:
    list_of_pins = "manifests/pins.toml"
    names = (".github/workflows/pins.yml", list_of_pins, "tests/kubernetes/pins.py")
    files = {name: (PROJECT / name).read_text() for name in names}
    today = datetime.now(tz=UTC).date()
    files[list_of_pins] = re.sub(r"^looked = .*$", f"looked = {today}", files[list_of_pins], flags=re.MULTILINE)
    clone = with_first_commit(server, tmp_path / "clone", files)
    runs = server.forge.actions.runs

    def ended(start: Callable[[], httpx.Response]) -> tuple[str | None, str]:
        """Start the one run more; return how it ended, and its log."""
        known = {run.id for run in runs.all()}
        start().raise_for_status()

        def completed() -> Run | None:
            return next((run for run in runs.all() if run.id not in known and run.status == "completed"), None)

        run = wait_for(completed, "the run")
        return run.conclusion, runs.log(run, run.jobs[0])

    with server.api("owner") as api:

        def by_hand(looked: date) -> tuple[str | None, str]:
            clone.commit(
                "Looked", {list_of_pins: files[list_of_pins].replace(f"looked = {today}", f"looked = {looked}", 1)}
            )
            clone.git("push", "--quiet", "origin", "main")
            return ended(lambda: api.post("/actions/workflows/pins.yml/dispatches", json={"ref": "main"}))

        conclusion, log = ended(lambda: httpx.post(f"{server.url}/clock", json={"cron": "41 5 * * 1"}))
        assert conclusion == "success" and "ghcr.io/actions/actions-runner 2." in log, log
        conclusion, log = by_hand(today - timedelta(days=400))
        assert conclusion == "failure" and "days past its" in log, log
        conclusion, log = by_hand(today - timedelta(days=1))
        assert conclusion == "success", log
