"""``python -m bot.airflow.logs DAG RUN``: are the logs of this run in object storage, and can nobody change them?

Airflow uploads the log of each try when it is over, and where that fails the task still succeeds. So somebody has to
look. Run it where Airflow's own commands run, with the variables of its workers. Exit code 1 where a log is missing.

Airflow's writer reads a log, adds to it, and puts it under the same key again. ``--lock governance:365`` locks each
version of each log, so whatever is put there later, what was there stays. It needs a bucket with Object Lock.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
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


@dataclass(frozen=True)
class Retention:
    """The days that a version of a log is kept from its upload on. ``mode``: S3's ``governance`` or ``compliance``.

    A lock by ``governance`` can be lifted with a special right, one by ``compliance`` by nobody before its time.
    """

    mode: str
    days: int

    @classmethod
    def parse(cls, text: str) -> Retention:
        """Read ``MODE:DAYS``; raise ValueError with how it is written."""
        if not (found := re.fullmatch(r"(governance|compliance):([1-9]\d{0,4})", text)):
            raise ValueError(f"{text!r:.40} is not MODE:DAYS, as governance:365")
        return cls(found[1], int(found[2]))

    def until(self, uploaded: datetime) -> datetime:
        """Return until when a version is locked; the same at each call, so that locking twice changes nothing."""
        return (uploaded + timedelta(days=self.days)).replace(microsecond=0)


@dataclass(frozen=True)
class Locked:
    """The number of versions that are locked, those of them that were written over, and when the first lock ends."""

    versions: int
    written_over: int
    until: datetime | None


def lock(client: Any, bucket: str, folder: str, retention: Retention) -> Locked:
    """Lock each version of each object below ``folder`` in a bucket; return what is locked, as read back.

    ``client`` is boto3's for S3. Locking again changes nothing, and a lock that ends later stays. Raises what the
    client raises, and ValueError where the store says it locked a version and does not keep it.
    """
    versions, over, ends = 0, 0, list[datetime]()
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=folder):
        for one in page.get("Versions", []):
            of = {"Bucket": bucket, "Key": one["Key"], "VersionId": one["VersionId"]}
            until = retention.until(one["LastModified"])
            if (there := _locked_until(client, of)) is None or there < until:
                client.put_object_retention(
                    **of, Retention={"Mode": retention.mode.upper(), "RetainUntilDate": until}
                )
                there = _locked_until(client, of)
            if there is None or there < until:
                raise ValueError(f"the store does not keep {one['Key']} until {until:%Y-%m-%d}, though it said so")
            versions, over, ends = versions + 1, over + (not one["IsLatest"]), [*ends, there]
    return Locked(versions, over, min(ends, default=None))


def _locked_until(client: Any, of: Mapping[str, str]) -> datetime | None:
    found: datetime | None = client.head_object(**of).get("ObjectLockRetainUntilDate")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Look, say what is missing, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bot.airflow.logs", description="Are the logs of a DAG run in object storage?"
    )
    parser.add_argument("dag")
    parser.add_argument("run", help="the id of the run, as in manual__2026-11-23T10:00:00+00:00")
    parser.add_argument(
        "--lock",
        metavar="MODE:DAYS",
        help="lock each version of each log, as governance:365 or compliance:365; the bucket needs Object Lock",
    )
    options = parser.parse_args(arguments)
    try:
        retention = Retention.parse(options.lock) if options.lock is not None else None
    except ValueError as error:
        parser.error(f"argument --lock: {error}")

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
    if retention is not None:
        try:
            print(_said(lock(hook.get_conn(), base.netloc, folder, retention)))
        except Exception as error:  # noqa: BLE001 - every error of the SDK means the same here
            print(f"not every log in {address} is locked: {error}", file=sys.stderr)
            return ExitCode.FAILED
    return ExitCode.DONE


def _said(found: Locked) -> str:
    over = f"; {found.written_over} of them were written over, and are kept" if found.written_over else ""
    until = f" until {found.until:%Y-%m-%d} at least" if found.until else ""
    return f"{found.versions} versions are locked{until}{over}"


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
