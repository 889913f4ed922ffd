"""The records of workflow runs: kept in memory, one folder per run on disk."""

from __future__ import annotations

import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

JOBS_PER_RUN = 1000
"""Job ids are run id × this + position, so that an id tells its run."""
SET_UP, COMPLETE = "--setup-job", "--complete-job"
"""What act calls the steps at a job's ends."""


def workflow_id(path: str) -> int:
    """A number for the workflow at this path, the same at every start."""
    return zlib.crc32(path.encode())


def now() -> datetime:
    return datetime.now(UTC)


class Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Step(Record):
    number: int
    key: str
    name: str
    status: str = "queued"
    conclusion: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


def with_ends(*own: tuple[str, str]) -> tuple[Step, ...]:
    """The steps of a job, each by its key (as act reports it: its ``id``, or its index) and its name."""
    named = enumerate([(SET_UP, "Set up job"), *own, (COMPLETE, "Complete job")], start=1)
    return tuple(Step(number=number, key=key, name=name) for number, (key, name) in named)


class Annotation(Record):
    level: str
    """``notice``, ``warning`` or ``failure``."""
    path: str
    line: int
    message: str


class Job(Record):
    id: int = 0
    key: str
    matrix: str = "{}"
    """The combination as canonical JSON."""
    name: str
    """As people see it; until the job begins it may hold an expression that only act can evaluate."""
    needs: tuple[str, ...] = ()
    status: str = "queued"
    conclusion: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    steps: tuple[Step, ...] = ()
    summary: str = ""
    """Markdown that the steps wrote to $GITHUB_STEP_SUMMARY."""
    annotations: tuple[Annotation, ...] = ()


class Reference(Record):
    """A workflow that a run called."""

    path: str
    """As GitHub has it: ``owner/name/.github/workflows/x.yml@ref``."""
    sha: str
    ref: str


class Run(Record):
    id: int = 0
    number: int = 0
    """Counts the runs of this workflow."""
    workflow_path: str
    workflow_name: str
    title: str
    event: str
    status: str = "queued"
    conclusion: str | None = None
    head_branch: str
    head_sha: str
    """Where the checks show: the pull request's head, or the pushed commit."""
    pulls: tuple[int, ...] = ()
    actor: str
    created_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    updated_at: datetime = Field(default_factory=now)
    jobs: tuple[Job, ...] = ()
    referenced: tuple[Reference, ...] = ()
    """The workflows that it called."""
    problem: str = ""
    """Why the run as a whole failed, when no step did."""


class Runs:
    """All runs. Records are frozen: to change one, put a new one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)
        found = (Run.model_validate_json(file.read_bytes()) for file in folder.glob("*/run.json"))
        self._runs = {run.id: run for run in sorted(found, key=lambda run: run.id)}

    def folder_of(self, run: Run) -> Path:
        return self._folder / str(run.id)

    def log_file(self, run: Run, job: Job) -> Path:
        return self.folder_of(run) / f"job-{job.id}.log"

    def all(self) -> list[Run]:
        """Every run, newest first."""
        return list(reversed(list(self._runs.values())))

    def get(self, identifier: int) -> Run | None:
        return self._runs.get(identifier)

    def job(self, identifier: int) -> tuple[Run, Job] | None:
        run = self._runs.get(identifier // JOBS_PER_RUN)
        found = [job for job in run.jobs if job.id == identifier] if run else []
        return (run, found[0]) if run and found else None

    def log(self, run: Run, job: Job) -> str:
        file = self.log_file(run, job)
        return file.read_text(errors="replace") if file.exists() else ""

    def add(self, run: Run) -> Run:
        """Give ``run`` its id, its number and its jobs' ids, and keep it."""
        with self._lock:
            identifier = max(self._runs, default=1000) + 1
            number = sum(known.workflow_path == run.workflow_path for known in self._runs.values()) + 1
            jobs = tuple(
                job.model_copy(update={"id": identifier * JOBS_PER_RUN + position})
                for position, job in enumerate(run.jobs, start=1)
            )
            run = run.model_copy(update={"id": identifier, "number": number, "jobs": jobs})
            self.put(run)
            return run

    def put(self, run: Run) -> None:
        with self._lock:
            run = run.model_copy(update={"updated_at": now()})
            self._runs[run.id] = run
            folder = self.folder_of(run)
            folder.mkdir(exist_ok=True)
            draft = folder / "run.new"
            draft.write_bytes(run.model_dump_json(indent=1).encode())
            draft.replace(folder / "run.json")
