"""What ``python -m bot.airflow.logs`` says: whether the logs of a run are where Airflow was told to put them."""

from __future__ import annotations

from collections.abc import Sequence

NO_REMOTE_LOGGING = (
    "remote logging is off: AIRFLOW__LOGGING__REMOTE_LOGGING is not True here, or the folder is not an s3:// address"
)


def no_such_run(dag: str, run: str) -> str:
    """Airflow does not know it, or nothing of it has ended."""
    return f"no task of {dag} {run} has ended, or there is no such run"


def all_there(count: int, folder: str) -> str:
    """Nothing is missing."""
    return f"{count} of {count} logs are in {folder}"


def missing(lacking: Sequence[str], count: int, folder: str) -> str:
    """Some never arrived, and Airflow did not say so."""
    lines = [f"{count - len(lacking)} of {count} logs are in {folder}; missing:", *(f"  {key}" for key in lacking)]
    return "\n".join(
        [*lines, "Airflow uploads a log when its task has ended and does not fail where that fails: see credentials,",
         "region and endpoint of the connection, on the workers."]
    )  # fmt: skip


def cannot_look(folder: str, error: Exception) -> str:
    """The store itself does not answer, or not to us."""
    return f"{folder} cannot be listed: {error}"
