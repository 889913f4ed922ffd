"""``python -m bot.airflow.logs DAG RUN``: are the logs of this run in object storage?

Airflow uploads the log of each try when it is over, and where that fails the task still succeeds. So somebody has to
look. Run it where Airflow's own commands run, with the variables of its workers. Exit code 1 where a log is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlsplit

from bot.exit_codes import ExitCode

ENDED = frozenset({"success", "failed", "up_for_retry", "skipped"})


def expected(tasks: Mapping[str, tuple[str | None, int]]) -> list[str]:
    """Return the end of the key of each log there must be: ``tasks`` are state and number of tries, by name.

    A try that still runs or waits has none yet, and what never began (skipped, upstream_failed) never gets one.
    """
    return [
        f"task_id={task}/attempt={attempt}.log"
        for task, (state, tries) in sorted(tasks.items())
        for attempt in range(1, tries + 1 if state in ENDED else tries)
    ]


def missing(tasks: Mapping[str, tuple[str | None, int]], keys: Collection[str], *, folder: str) -> list[str]:
    """Return the keys of the logs that there must be in ``folder`` and are not."""
    return [key for key in (f"{folder}{end}" for end in expected(tasks)) if key not in keys]


def main(arguments: list[str] | None = None) -> int:
    """Look, say what is missing, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bot.airflow.logs", description="Are the logs of a DAG run in object storage?"
    )
    parser.add_argument("dag")
    parser.add_argument("run", help="the id of the run, as in manual__2026-11-23T10:00:00+00:00")
    options = parser.parse_args(arguments)

    from airflow.providers.amazon.aws.hooks.s3 import S3Hook
    from airflow.sdk.configuration import conf

    base = urlsplit(conf.get("logging", "remote_base_log_folder", fallback=""))
    if not conf.getboolean("logging", "remote_logging") or base.scheme != "s3":
        print(
            (
                "remote logging is off: AIRFLOW__LOGGING__REMOTE_LOGGING is not True here, or the "
                "folder is not an s3:// address"
            ),
            file=sys.stderr,
        )
        return ExitCode.FAILED
    tasks = _tasks(options.dag, options.run)
    if not (count := len(expected(tasks))):
        print(f"no task of {options.dag} {options.run} has ended, or there is no such run", file=sys.stderr)
        return ExitCode.FAILED
    folder = f"{base.path.strip('/')}/dag_id={options.dag}/run_id={options.run}/".lstrip("/")
    address = f"s3://{base.netloc}/{folder}"
    try:
        hook = S3Hook(aws_conn_id=conf.get("logging", "remote_log_conn_id"))
        keys = set(hook.list_keys(base.netloc, prefix=folder) or [])
    except Exception as error:  # noqa: BLE001 - every error of the SDK means the same here
        print(f"{address} cannot be listed: {error}", file=sys.stderr)
        return ExitCode.FAILED
    if lacking := missing(tasks, keys, folder=folder):
        print(_missing(lacking, count, address), file=sys.stderr)
        return ExitCode.FAILED
    print(f"{count} of {count} logs are in {address}")
    return ExitCode.DONE


def _tasks(dag: str, run: str) -> dict[str, tuple[str | None, int]]:
    """Read state and number of tries from Airflow's database."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.query(TaskInstance).filter_by(dag_id=dag, run_id=run).all()
        return {row.task_id: (str(row.state) if row.state else None, int(row.try_number)) for row in rows}


def _missing(lacking: Sequence[str], count: int, folder: str) -> str:
    """Some never arrived, and Airflow did not say so."""
    lines = [f"{count - len(lacking)} of {count} logs are in {folder}; missing:", *(f"  {key}" for key in lacking)]
    return "\n".join(
        [*lines, "Airflow uploads a log when its task has ended and does not fail where that fails: see credentials,",
         "region and endpoint of the connection, on the workers."]
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
