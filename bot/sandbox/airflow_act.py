"""An optional act that takes minutes: an Airflow DAG trains, registers, proposes, and ends as its deployment does."""

from __future__ import annotations

import json
import time

from bot.airflow.logs import missing
from bot.sandbox import airflow
from bot.sandbox.airflow import Airflow, DagRun
from bot.sandbox.story import NotAsItMust, Story, expect

DAG = "promobot_train"
TITLE = "a DAG of Airflow trains, proposes and waits, and its logs go to the bucket"
FOLDER = "dev/airflow-logs/"
"""Where ``manifests/airflow/airflow.env`` sends logs, inside the bucket."""
TASKS_SECONDS = 400.0
UPLOAD_SECONDS = 120.0


def trained_by_airflow(story: Story) -> None:
    """Act 10."""
    endpoints, storage = story.endpoints, story.endpoints.s3
    if storage is None:
        raise NotAsItMust("logs of Airflow need object storage")
    variables = airflow.variables_for(endpoints, storage, root=story.checkout)
    with airflow.running(
        endpoints.directory / "airflow",
        dags=airflow.MANIFESTS / "dags",
        variables=variables,
        progress=lambda line: story.say(f"  {line}"),
    ) as running:
        # Of another C than any recipe of the story: bytes of its own, of which nothing is known yet.
        conf = {"wait_for_deployment": True, "inverse_regularisation": 0.5}
        story.typed.append(f"airflow dags trigger {DAG} --conf '{json.dumps(conf)}'")
        run = running.start(DAG, conf)
        _wait_until_deferred(running, run)
        proposed = running.handed_over(run, "propose_version")
        number, version = proposed["pull_request"], proposed["version"]
        pull = story.forge.pull(number)
        story.see(f"{run.id} of {DAG} trained and registered version {version}: #{number} opened")
        story.see_checks(pull)
        story.merge(pull)
        story.see_served("dev", version)
        record = story.see_succeeded("dev")
        expect(running.end_of(run), "success", f"the end of {run.id}")
        ended = running.handed_over(run, "wait_for_deployment")
        expect(ended["record"], record.id, "the record that the DAG waited for")
        story.see(f"{run.id} ended as its deployment did: {ended['outcome']}, {ended['record']}")
        keys = _logs(story, running, run)
    story.see(f"{len(keys)} logs of {run.id} are in the bucket, one for each try of each task")
    (key,) = [key for key in keys if key.endswith("task_id=wait_for_deployment/attempt=1.log")]
    story.see(f"read back from {key}: {_line(story.object(key), about=f'#{number}')}")


def _wait_until_deferred(running: Airflow, run: DagRun) -> None:
    def waits() -> bool:
        return running.state(run) in ("success", "failed") or running.tasks(run)[last].state == "deferred"

    last = "wait_for_deployment"
    running.wait(waits, seconds=TASKS_SECONDS, what=f"{last} of {run.id}")
    if (state := running.state(run)) != "running":
        raise NotAsItMust(f"{run.id} ended with {state}: {running.tasks(run)}")


def _logs(story: Story, running: Airflow, run: DagRun) -> list[str]:
    """Wait until the log of each try is in the bucket; return all keys of the run."""
    folder = f"{FOLDER}dag_id={run.dag}/run_id={run.id}/"
    tasks = {name: (task.state, task.tries) for name, task in running.tasks(run).items()}
    until = time.monotonic() + UPLOAD_SECONDS
    while True:
        keys = [key for key in story.objects() if key.startswith(folder)]
        lacking = missing(tasks, keys, folder=folder)
        if not lacking:
            return keys
        if time.monotonic() > until:
            raise NotAsItMust(f"logs that are not in the bucket: {', '.join(lacking)}")
        time.sleep(airflow.POLL_SECONDS)


def _line(log: str, about: str) -> str:
    """Return what the first line of a log about something says; Airflow writes a JSON document for each."""
    for line in log.splitlines():
        if about in line:
            try:
                return str(json.loads(line)["event"])
            except (ValueError, KeyError, TypeError):
                return line.strip()
    raise NotAsItMust(f"the log says nothing of {about}")
