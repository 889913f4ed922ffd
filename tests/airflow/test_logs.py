"""Which logs there must be, and which are missing."""

from __future__ import annotations

from bot.airflow.logs import missing

FOLDER = "dev/airflow-logs/dag_id=d/run_id=r/"


def test_each_try_that_is_over_has_a_log() -> None:
    tasks = {"a": ("success", 2), "b": ("running", 2), "c": ("deferred", 1), "d": ("skipped", 0), "e": (None, 0)}
    keys = [f"{FOLDER}task_id=a/attempt=1.log", f"{FOLDER}task_id=b/attempt=1.log"]
    assert missing(tasks, keys, folder=FOLDER) == [f"{FOLDER}task_id=a/attempt=2.log"]
    assert missing({"a": ("failed", 1)}, [], folder=FOLDER) == [f"{FOLDER}task_id=a/attempt=1.log"]
    assert missing({"a": ("up_for_retry", 1)}, [], folder=FOLDER) == [f"{FOLDER}task_id=a/attempt=1.log"]


def test_another_runs_logs_do_not_count() -> None:
    keys = ["dev/airflow-logs/dag_id=d/run_id=other/task_id=a/attempt=1.log"]
    assert missing({"a": ("success", 1)}, keys, folder=FOLDER)
