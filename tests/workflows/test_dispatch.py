"""The workflow files that people start by hand, run unmodified by act in a sandbox."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.sandbox.platform import Endpoints, Sandbox
from bot.sandbox.reference import register_recipe
from bot.sandbox.seed import MODEL, seed

RUN_SECONDS = 90


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    directory = tmp_path_factory.mktemp("sandbox") / "platform"
    sandbox = Sandbox.up(directory, progress=print, seed=seed)
    yield sandbox.endpoints
    Sandbox.down(directory)


class Alex:
    """A person with a browser: what the buttons of the Actions page do."""

    def __init__(self, endpoints: Endpoints) -> None:
        self.client = httpx.Client(
            base_url=f"{endpoints.forge}/api/v3/repos/{endpoints.repository}",
            headers={"Authorization": f"Bearer {endpoints.secrets.people['alex']}"},
            timeout=30,
        )

    def dispatch(self, workflow: str, **inputs: str) -> dict[str, Any]:
        """Start a workflow on main; return its run when it is completed."""
        before = {run["id"] for run in self.runs(workflow)}
        answer = self.client.post(f"/actions/workflows/{workflow}/dispatches", json={"ref": "main", "inputs": inputs})
        assert answer.is_success, answer.text
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            for run in self.runs(workflow):
                if run["id"] not in before and run["status"] == "completed":
                    return run
            time.sleep(0.2)
        raise AssertionError(f"{workflow} was not completed within {RUN_SECONDS} s")

    def runs(self, workflow: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get(f"/actions/workflows/{workflow}/runs").json()["workflow_runs"]
        return found

    def log(self, run: dict[str, Any]) -> str:
        jobs = self.client.get(f"/actions/runs/{run['id']}/jobs").json()["jobs"]
        return "\n".join(
            self.client.get(f"/actions/jobs/{job['id']}/logs", follow_redirects=True).text for job in jobs
        )

    def open_pulls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.get("/pulls?state=open").json()
        return found


def test_a_person_proposes_by_hand(endpoints: Endpoints) -> None:
    alex = Alex(endpoints)
    version = register_recipe("first", endpoints.mlflow, MODEL).version
    run = alex.dispatch("dispatch.yml", verb="propose", model=MODEL, environment="dev", version=str(version))
    assert run["conclusion"] == "success", alex.log(run)
    assert [pull["title"] for pull in alex.open_pulls()] == [f"Promote {MODEL} to {version} in dev"]
    assert alex.open_pulls()[0]["user"]["login"] == "promobot[bot]"


def test_a_rollback_without_anything_to_go_back_to_is_red_and_says_why(endpoints: Endpoints) -> None:
    alex = Alex(endpoints)
    run = alex.dispatch("dispatch.yml", verb="rollback", model=MODEL, environment="prod", now="true", reason="x")
    assert run["conclusion"] == "failure"
    assert f"there is no verified record of an earlier version of {MODEL} in prod" in alex.log(run)


def test_checking_again_what_main_does_not_ask_for_is_red_and_says_why(endpoints: Endpoints) -> None:
    alex = Alex(endpoints)
    run = alex.dispatch("dispatch.yml", verb="recheck", model=MODEL, environment="prod")
    assert run["conclusion"] == "failure"
    assert f"main asks for no version of {MODEL} in prod" in alex.log(run)


@pytest.mark.parametrize("hostile", ["$(touch CANARY)`touch CANARY`; touch CANARY", "' && touch CANARY #"])
def test_inputs_are_arguments_and_never_code(endpoints: Endpoints, hostile: str) -> None:
    alex = Alex(endpoints)
    canary = endpoints.directory / "canary"
    hostile = hostile.replace("CANARY", str(canary))
    run = alex.dispatch(
        "dispatch.yml", verb="rollback", model=MODEL, environment="dev", reason=hostile, version=hostile
    )
    assert run["conclusion"] == "failure"
    assert "is no version" in alex.log(run)
    assert not canary.exists()


def test_drift_is_green_while_nothing_differs_and_red_when_something_does(endpoints: Endpoints) -> None:
    alex = Alex(endpoints)
    run = alex.dispatch("drift.yml")
    assert run["conclusion"] == "success", alex.log(run)
    assert "Everything is as main says." in alex.log(run)

    routes = endpoints.state("dev") / "routes.json"
    _write_foreign_routes(routes)
    run = alex.dispatch("drift.yml")
    assert run["conclusion"] == "failure"
    assert "gateway-dev-1 serves generation 0, not 7" in alex.log(run)

    run = alex.dispatch("dispatch.yml", verb="reconcile", environment="dev")
    assert run["conclusion"] == "success", alex.log(run)
    assert "reloaded gateway gateway-dev-1 to generation 7" in alex.log(run)
    assert alex.dispatch("drift.yml")["conclusion"] == "success"


def _write_foreign_routes(path: Path) -> None:
    path.write_text('{"format": 1, "environment": "dev", "generation": 7, "models": {}}')
