"""A person with a browser and a clone, in a sandbox whose workflows act runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx

from bot.sandbox.platform import Endpoints
from tests.workflows.apart import git

RUN_SECONDS = 90

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], what: str, *, seconds: float = RUN_SECONDS) -> Found:
    """Poll until there is something; fail the test when there is nothing in time."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.2)
    return found


class Person:
    """What somebody does and sees there: the buttons of the pages, and Git."""

    def __init__(self, endpoints: Endpoints, login: str = "alex") -> None:
        self.endpoints = endpoints
        self._token = endpoints.secrets.people[login]
        self.client = httpx.Client(
            base_url=f"{endpoints.forge}/api/v3/repos/{endpoints.repository}",
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=30,
        )

    def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self.client.request(method, path, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    # Runs

    def runs(self, workflow: str) -> list[dict[str, Any]]:
        """The workflow's runs, newest first."""
        found: list[dict[str, Any]] = self.ask("GET", f"/actions/workflows/{workflow}/runs?per_page=100")[
            "workflow_runs"
        ]
        return found

    def next_run(self, workflow: str, start: Callable[[], object]) -> dict[str, Any]:
        """Do what starts the workflow; return its run when it is completed."""
        before = {run["id"] for run in self.runs(workflow)}
        start()
        run = wait_for(
            lambda: next((run for run in self.runs(workflow) if run["id"] not in before), None),
            f"a run of {workflow}",
        )
        assert run is not None
        return self.completed(run)

    def completed(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """The run when it is completed."""

        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.ask("GET", f"/actions/runs/{run['id']}")
            return found if found["status"] == "completed" else None

        done = wait_for(look, f"the end of {run['path']}")
        assert done is not None
        return done

    def jobs(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", f"/actions/runs/{run['id']}/jobs?per_page=100")["jobs"]
        return found

    def dispatch(self, workflow: str, **inputs: str) -> dict[str, Any]:
        """Start a workflow on main; return its run when it is completed."""
        body = {"ref": "main", "inputs": inputs}
        return self.next_run(workflow, lambda: self.ask("POST", f"/actions/workflows/{workflow}/dispatches", body))

    def clock_strikes(self, cron: str) -> None:
        """Let it be the time that a schedule names."""
        httpx.post(f"{self.endpoints.forge}/clock", json={"cron": cron}).raise_for_status()

    def log(self, run: Mapping[str, Any]) -> str:
        return "\n".join(
            f"== {job['name']}: {job['conclusion']}\n"
            + self.client.get(f"/actions/jobs/{job['id']}/logs", follow_redirects=True).text
            for job in self.jobs(run)
        )

    # Pull requests

    def open_pulls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "/pulls?state=open&per_page=100")
        return found

    def checks(self, sha: str) -> dict[str, str]:
        """Conclusions of the checks of a commit, by name; those under way are left out."""
        found = self.ask("GET", f"/commits/{sha}/check-runs?per_page=100")["check_runs"]
        return {check["name"]: check["conclusion"] for check in found if check["status"] == "completed"}

    def merge(self, pull: Mapping[str, Any]) -> str:
        """Merge what was checked; return the new commit of main."""
        body = {"sha": pull["head"]["sha"], "merge_method": "squash"}
        return str(self.ask("PUT", f"/pulls/{pull['number']}/merge", body)["sha"])

    def graphql(self, query: str, **wanted: str) -> Any:
        body = {"query": query, "variables": {"input": wanted}}
        answer = self.client.post(f"{self.endpoints.forge}/api/graphql", json=body).raise_for_status().json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    # Git

    def clone(self, folder: Path) -> Path:
        url = self.endpoints.clone_url.replace("://", f"://x-access-token:{self._token}@", 1)
        git(folder.parent, "clone", "--quiet", url, str(folder))
        return folder

    # What is served

    def served(self, model: str, environment: str = "dev") -> set[str]:
        """The versions with which the environment's gateways route the model."""
        return {
            str(httpx.get(f"{gateway.url}/routes").json()["models"].get(model, {}).get("live", {}).get("version"))
            for gateway in self.endpoints.gateway[environment]
        }
