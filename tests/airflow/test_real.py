"""The DAG of manifests/airflow on a real Airflow, against the sandbox's MLflow, forge, Tritons and object storage."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.airflow.logs import missing
from bot.sandbox import airflow
from bot.sandbox.airflow import MANIFESTS, Airflow, DagRun, variables_for
from bot.sandbox.platform import Sandbox
from bot.sandbox.processes import inherited_variables
from bot.sandbox.s3 import ObjectStorage
from tests.operations.world import World, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

DAG = "promobot_train"
ALL = {
    *("prepare_features", "train", "evaluate", "register_version", "wait_until_ready", "propose_version"),
    *("is_asked_to_wait", "wait_for_deployment"),
}


class Logs:
    """What the bucket holds of a run, through the S3 API."""

    def __init__(self, store: ObjectStorage, folder: str = "dev/airflow-logs/") -> None:
        self.store, self.client, self.folder = store, store.client(), folder

    def keys(self, run: DagRun) -> list[str]:
        prefix = f"{self.folder}dag_id={run.dag}/run_id={run.id}/"
        found = self.client.list_objects_v2(Bucket=self.store.bucket, Prefix=prefix).get("Contents", [])
        return [entry["Key"] for entry in found if entry["Size"] > 0]

    def missing(self, running: Airflow, run: DagRun) -> list[str]:
        tasks = {name: (task.state, task.tries) for name, task in running.tasks(run).items()}
        assert any(tries for _, tries in tasks.values())
        return missing(tasks, self.keys(run), folder=f"{self.folder}dag_id={run.dag}/run_id={run.id}/")

    def text(self, run: DagRun, task: str) -> str:
        keys = [key for key in self.keys(run) if f"/task_id={task}/" in key]
        return "".join(
            self.client.get_object(Bucket=self.store.bucket, Key=key)["Body"].read().decode() for key in keys
        )


@pytest.fixture
def logs(store: ObjectStorage) -> Logs:
    return Logs(store)


def deferred(running: Airflow, run: DagRun) -> None:
    running.wait(lambda: running.tasks(run)["wait_for_deployment"].state == "deferred", seconds=240, what="deferral")


def versions(world: World, model: str = "churn") -> list[int]:
    with contextlib.closing(sqlite3.connect(world.endpoints.directory / "mlflow/mlflow.db", timeout=30)) as database:
        rows = database.execute("SELECT version FROM model_versions WHERE name = ?", (model,)).fetchall()
    return sorted(int(version) for (version,) in rows)


def checked_by_command(running: Airflow, run: DagRun) -> subprocess.CompletedProcess[str]:
    """What a person runs to see whether the logs arrived."""
    return subprocess.run(
        [str(running.environment.bin / "python"), "-m", "bot.airflow.logs", run.dag, run.id],
        env={**inherited_variables(), **running.variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_waits_for_the_deployment_and_ends_as_it_and_every_log_is_in_the_bucket(
    running: Airflow, world: World, logs: Logs
) -> None:
    run = running.start(DAG, {"wait_for_deployment": True})
    deferred(running, run)
    # Whoever waits survives the triggerer: another one goes on, until the same moment.
    triggerer = next(p for p in running.processes.recorded() if p.part.name == "airflow-triggerer")
    running.processes.halt([triggerer])
    proposed = running.handed_over(run, "propose_version")
    number = proposed["pull_request"]
    assert all(said.code == 0 for said in world.check(number))
    world.merge(number)
    running.processes.wait_until_ready(running.processes.start(triggerer.part))
    assert running.tasks(run)["wait_for_deployment"].state == "deferred"
    assert world.deploy().code == 0

    assert running.end_of(run) == "success"
    (record,) = (r for r in world.records("churn") if r.after and r.after.version == proposed["version"])
    ended = running.handed_over(run, "wait_for_deployment")
    assert (ended["outcome"], ended["record"]) == ("succeeded", record.id)
    assert set(running.tasks(run)) == ALL
    assert {task.state for task in running.tasks(run).values()} == {"success"}
    assert world.version("churn") == proposed["version"]

    wait_until(lambda: not logs.missing(running, run), seconds=120)
    assert f"#{number} is open" in logs.text(run, "wait_for_deployment")
    # The triggerer has a log of its own, beside the task's.
    assert any("/task_id=wait_for_deployment/attempt=1.log.trigger." in key for key in logs.keys(run)), logs.keys(run)
    assert not list((running.directory / "task-logs").rglob("attempt=*.log"))  # what is uploaded is deleted
    said = checked_by_command(running, run)
    assert said.returncode == 0, said
    for token in world.endpoints.secrets.people.values():
        assert not any(token in logs.text(run, task) for task in ALL)


def test_a_task_that_dies_after_it_registered_registers_and_proposes_nothing_twice(
    running: Airflow, world: World, logs: Logs
) -> None:
    before = versions(world)
    pulls = {pull["number"] for pull in world.open_pulls()}
    run = running.start(DAG, {"inverse_regularisation": 0.5})
    running.wait(lambda: running.tasks(run)["evaluate"].state == "success", seconds=240, what="evaluate")
    wait_until_registered = time.monotonic() + 120
    while versions(world) == before:
        assert time.monotonic() < wait_until_registered
        time.sleep(0.001)
    # It has just registered and cannot go on, for MLflow stands still; then it dies.
    with standing_still(world.sandbox, "mlflow"):
        kill_tasks(running)
        running.wait(
            lambda: running.tasks(run)["register_version"].state == "up_for_retry", seconds=120, what="the next try"
        )
    assert running.end_of(run) == "success"
    assert running.tasks(run)["register_version"].tries == 2
    (new,) = set(versions(world)) - set(before)
    assert running.handed_over(run, "register_version")["version"] == new

    running.again(run, "register_version")
    running.wait(lambda: running.state(run) not in ("success", "failed"), seconds=60, what="the run to begin again")
    assert running.end_of(run) == "success"
    assert running.tasks(run)["propose_version"].tries == 2
    assert set(versions(world)) == {*before, new}
    assert running.handed_over(run, "propose_version")["action"] == "unchanged"
    (number,) = {pull["number"] for pull in world.open_pulls()} - pulls
    assert running.handed_over(run, "propose_version")["pull_request"] == number
    wait_until(lambda: not logs.missing(running, run), seconds=120)


def test_a_deployment_that_is_put_back_fails_the_run_and_says_the_way_back(
    running: Airflow, world: World, logs: Logs
) -> None:
    run = running.start(DAG, {"wait_for_deployment": True, "inverse_regularisation": 0.7})
    deferred(running, run)
    number = running.handed_over(run, "propose_version")["pull_request"]
    assert all(said.code == 0 for said in world.check(number))
    world.restart("gateway-dev-2", "--triton", world.endpoints.triton_staging.http)  # which has nothing loaded
    world.merge(number)
    assert world.deploy().code == 1

    assert running.end_of(run) == "failed"
    ended = running.handed_over(run, "wait_for_deployment", "ended")
    (revert,) = world.reverts("churn")
    assert ended["outcome"] == "put back"
    assert revert["html_url"] in ended["next_step"]
    assert running.tasks(run)["wait_for_deployment"].tries == 1  # trying again changes nothing
    wait_until(lambda: not logs.missing(running, run), seconds=120)
    assert "DeploymentFailed" in logs.text(run, "wait_for_deployment")
    assert revert["html_url"] in logs.text(run, "wait_for_deployment")


def test_a_pull_request_that_is_closed_fails_the_run_as_refused(running: Airflow, world: World, logs: Logs) -> None:
    run = running.start(DAG, {"wait_for_deployment": True, "inverse_regularisation": 0.6})
    deferred(running, run)
    number = running.handed_over(run, "propose_version")["pull_request"]
    world.api("PATCH", f"/pulls/{number}", {"state": "closed"})
    assert running.end_of(run) == "failed"
    assert running.handed_over(run, "wait_for_deployment", "ended")["outcome"] == "refused"
    wait_until(lambda: "PromobotRefused" in logs.text(run, "wait_for_deployment"), seconds=120)


def test_parameters_are_held_to_their_schema(running: Airflow) -> None:
    for conf in ({"model": "../churn"}, {"inverse_regularisation": 0}, {"wait_for_deployment": "yes"}):
        with pytest.raises(Exception, match="HTTP 4"):
            running.start(DAG, conf)


def test_where_remote_logging_is_wrong_airflow_succeeds_and_the_check_does_not(
    sandbox: Sandbox, store: ObjectStorage, root: Path, world: World, tmp_path: Path
) -> None:
    """The mutation of the checks above: whatever keeps logs from the bucket must turn them red."""
    variables = {**variables_for(sandbox.endpoints, store, root=root), "AWS_SECRET_ACCESS_KEY": "wrong"}
    with airflow.running(tmp_path / "airflow", dags=MANIFESTS / "dags", variables=variables) as wrong:
        run = wrong.start(DAG, {})
        assert wrong.end_of(run) == "success"
        time.sleep(20)  # as long as an upload ever took here, and more: what must never come cannot be polled for
        assert len(Logs(store).missing(wrong, run)) == len(ALL) - 1
        said = checked_by_command(wrong, run)
    assert said.returncode == 1
    assert "cannot be listed" in said.stderr


@contextlib.contextmanager
def standing_still(sandbox: Sandbox, name: str) -> Iterator[None]:
    (process,) = (process for process in sandbox.processes.recorded() if process.part.name == name)
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGCONT)


def kill_tasks(running: Airflow) -> None:
    """SIGKILL every process that runs a task, below the scheduler; Airflow titles it with the task's id."""
    scheduler = next(p.pid for p in running.processes.recorded() if p.part.name == "airflow-scheduler")
    killed = [pid for pid in _below(scheduler) if re.match(r"airflow worker -- [0-9a-f-]{36}", _title(pid))]
    assert killed, [(pid, _title(pid)) for pid in _below(scheduler)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)


def _below(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _below(child)


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""
