"""Airflow beside a sandbox: the smallest set of real processes in which deferrable sensors really defer.

    with airflow.running(directory, dags=…, variables={…}) as running:
        run = running.start("promobot_train", {"model": "churn"})
        assert running.end_of(run) == "success"

An API server, a scheduler with the LocalExecutor, and a triggerer, each a process; SQLite. There is no DAG processor:
the DAGs are read once, at the start, by ``airflow dags reserialize``. Everything listens on 127.0.0.1, and nothing
listens that serves logs: once a task is over they are where remote logging put them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import httpx

from bot.errors import Rejected, Unavailable
from bot.sandbox import environments
from bot.sandbox.environments import Environment
from bot.sandbox.platform import BOT, Endpoints
from bot.sandbox.processes import HOST, Part, Ports, Processes, inherited_variables
from bot.sandbox.project import CODE, FILES
from bot.sandbox.s3 import ObjectStorage

MANIFESTS = FILES / "manifests/airflow"
READY_SECONDS = 120.0
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG."""

    dag: str
    id: str


@dataclass(frozen=True)
class TaskState:
    """How a task of a run is: its state in Airflow's words, None before it is scheduled; how often it was begun."""

    state: str | None
    tries: int


@dataclass
class Airflow:
    """A running Airflow. Its REST API takes everybody as its administrator: it listens on this machine only."""

    directory: Path
    environment: Environment
    variables: Mapping[str, str] = field(repr=False)
    port: int
    scheduler_port: int
    processes: Processes

    @property
    def url(self) -> str:
        """The API server, which is also the page for people."""
        return f"http://{HOST}:{self.port}"

    def command(self, *arguments: str) -> str:
        """Run ``airflow`` and return what it says; raise Rejected where it fails."""
        done = subprocess.run(
            [str(self.environment.bin / "airflow"), *arguments],
            env={**inherited_variables(), **self.variables},
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = "\n".join(f"{done.stdout}{done.stderr}".rstrip().splitlines()[-12:])
            raise Rejected(f"airflow {' '.join(arguments)} failed:\n{said}", system="airflow")
        return done.stdout

    def parts(self) -> list[Part]:
        """Return the processes, in the order in which they start."""
        health = "/api/v2/monitor/health"
        return [
            self._part("api-server", "--workers", "1", port=self.port, ready_path=health),
            self._part("scheduler", "--skip-serve-logs", port=self.scheduler_port, ready_path="/health"),
            # It listens nowhere; that it lives is what the API server says, see wait_for_triggerer.
            self._part("triggerer", "--skip-serve-logs", port=self.port, ready_path=health),
        ]

    def _part(self, name: str, *options: str, port: int, ready_path: str) -> Part:
        command = (str(self.environment.bin / "airflow"), name, *options)
        return Part(f"airflow-{name}", command, port, ready_path, variables=self.variables)

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call the REST API, and return what it answers; raise Rejected for anything but success."""
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as client:
            token = client.get("/auth/token").json()["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            answer = client.request(method, f"/api/v2{path}", json=body, headers=headers)
        if not answer.is_success:
            raise Rejected(f"{method} {path}: HTTP {answer.status_code} {answer.text[:400]}", system="airflow")
        return answer.json() if answer.content else None

    def start(self, dag: str, conf: Mapping[str, Any]) -> DagRun:
        """Start a run of a DAG with these parameters."""
        self.api("PATCH", f"/dags/{dag}", {"is_paused": False})
        run = self.api("POST", f"/dags/{dag}/dagRuns", {"logical_date": None, "conf": dict(conf)})
        return DagRun(dag, run["dag_run_id"])

    def state(self, run: DagRun) -> str:
        """Return the state of a run."""
        return str(self.api("GET", f"/dags/{run.dag}/dagRuns/{run.id}")["state"])

    def tasks(self, run: DagRun) -> dict[str, TaskState]:
        """Return the tasks of a run by name."""
        found = self.api("GET", f"/dags/{run.dag}/dagRuns/{run.id}/taskInstances")["task_instances"]
        return {one["task_id"]: TaskState(one["state"], int(one["try_number"])) for one in found}

    def handed_over(self, run: DagRun, task: str, key: str = "return_value") -> Any:
        """Return what a task left for others."""
        path = f"/dags/{run.dag}/dagRuns/{run.id}/taskInstances/{task}/xcomEntries/{key}?deserialize=false"
        value = self.api("GET", path)["value"]
        return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value

    def again(self, run: DagRun, *tasks: str) -> None:
        """Run these tasks and all that follow them again, like a person who clears them."""
        body = {"dag_run_id": run.id, "task_ids": list(tasks), "include_downstream": True, "only_failed": False}
        self.api("POST", f"/dags/{run.dag}/clearTaskInstances", {**body, "dry_run": False, "reset_dag_runs": True})

    def wait(self, holds: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Poll until something holds; raise Unavailable where it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise Unavailable(f"{what}: not within {seconds:.0f} s", system="airflow")
            time.sleep(POLL_SECONDS)

    def end_of(self, run: DagRun, *, seconds: float = 300) -> str:
        """Wait for the end of a run, and return its state."""
        self.wait(lambda: self.state(run) in ("success", "failed"), seconds=seconds, what=f"the end of {run.id}")
        return self.state(run)

    def triggerer_lives(self) -> bool:
        """Whether the triggerer was heard of in the last half minute."""
        return bool(self.api("GET", "/monitor/health")["triggerer"]["status"] == "healthy")


def shipped_variables() -> dict[str, str]:
    """Return the variables of ``manifests/airflow/airflow.env``."""
    return _variables((MANIFESTS / "airflow.env").read_text())


def _variables(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and line[0] != "#")
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def variables_for(endpoints: Endpoints, storage: ObjectStorage, *, root: Path) -> dict[str, str]:
    """Return the shipped variables as they are, and what they leave to the platform.

    ``root`` is the checkout that workers and triggerers have, ``storage`` where logs go.
    """
    return {
        **shipped_variables(),
        **endpoints.variables(login=BOT),
        **storage.variables(),
        "PROMOBOT_ROOT": str(root),
    }


@contextlib.contextmanager
def running(
    directory: Path, *, dags: Path, variables: Mapping[str, str], progress: Callable[[str], None] = print
) -> Iterator[Airflow]:
    """Run Airflow in ``directory`` with the DAGs of a folder for the length of the ``with`` block.

    ``variables`` are those of a deployment: remote logging, connections, tokens. They win over what is set here.
    """
    environment = environments.airflow(progress=progress)
    directory.mkdir(parents=True, exist_ok=True)
    with Ports() as ports:
        port, scheduler_port = ports.take(), ports.take()
        found = Airflow(
            directory,
            environment,
            {**_settings(directory, dags, environment, port, scheduler_port), **variables},
            port,
            scheduler_port,
            Processes(directory),
        )
        try:
            found.command("db", "migrate")
            found.command("dags", "reserialize")
            started = [found.processes.start(part) for part in found.parts()]
            for process in started:
                found.processes.wait_until_ready(process, deadline_seconds=READY_SECONDS)
            if errors := found.api("GET", "/importErrors")["import_errors"]:
                raise Rejected(f"a DAG cannot be read: {errors[0]['stack_trace']}", system="airflow")
            found.wait(found.triggerer_lives, seconds=READY_SECONDS, what="the triggerer")
            yield found
        finally:
            found.processes.stop()


def _settings(
    directory: Path, dags: Path, environment: Environment, port: int, scheduler_port: int
) -> dict[str, str]:
    facts = {"home": directory.resolve(), "dags": dags.resolve(), "host": HOST, "port": port}
    template = Template(Path(__file__).with_name("airflow.env").read_text())
    settings = template.substitute(facts, scheduler_port=scheduler_port, secret=secrets.token_hex(32))
    path = {"PATH": f"{environment.bin}:{os.environ['PATH']}", "PYTHONPATH": str(_bot_alone(directory))}
    return {**_variables(settings), **path}


def _bot_alone(directory: Path) -> Path:
    """Return a folder with this code alone: beside an installed one lie packages that are not Airflow's."""
    folder = directory.resolve() / "code"
    folder.mkdir(exist_ok=True)
    if not (folder / "bot").exists():
        (folder / "bot").symlink_to(CODE / "bot", target_is_directory=True)
    return folder
