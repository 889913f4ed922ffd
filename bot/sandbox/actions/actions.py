"""GitHub Actions for the forge: an event starts the workflows that ask for it, and act runs them."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from bot.errors import InvalidInput
from bot.sandbox.actions import act, transcript
from bot.sandbox.actions.records import JOBS_PER_RUN, Job, Reference, Run, Runs, now
from bot.sandbox.actions.triggers import is_started
from bot.sandbox.actions.workflows import Call, Workflow, fill_in, parse_workflow, uses_in, with_called
from bot.sandbox.forge.git import Git
from bot.sandbox.forge.people import ACTIONS_BOT, People

MAX_RUNS_AT_ONCE = 2
MAX_LEVELS_OF_CALLS = 10
MAX_MINUTES_OF_A_JOB = 360.0
SECONDS_PER_MINUTE = 60.0
WATCH_SECONDS = 0.5

STAND_INS = Path(__file__).parent / "stand_ins"
SOURCES = ".github"
"""The folder that act reads of a repository."""


class Settings(BaseModel):
    """What runs are given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: tuple[str, ...] = ()
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}
    vars: dict[str, str] = {}
    stand_ins: str = ""
    """A folder ``owner/name`` of each action besides those that the sandbox has a stand-in for."""
    bot_token: str = ""
    """What GITHUB_TOKEN is. Without it each run gets a token of github-actions[bot] that starts no workflows."""


@dataclass(frozen=True)
class Event:
    """Something that happened, with all that a workflow run needs to know of it."""

    name: str
    payload: Mapping[str, Any]
    """The webhook's payload, as $GITHUB_EVENT_PATH holds it."""
    workflow_sha: str
    """The commit whose workflow files are run."""
    sha: str
    ref: str
    head_sha: str
    """The commit that the checks are shown on."""
    head_branch: str
    actor: str
    title: str
    action: str = ""
    branch: str = ""
    """The branch that the ``branches`` filter compares: the pushed branch, or a pull request's base."""
    tag: str = ""
    changed_paths: tuple[str, ...] = ()
    pulls: tuple[int, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    only_workflow: str = ""
    """The path of the one workflow that a dispatch names."""


@dataclass(frozen=True)
class _Place:
    """A commit of a repository of this forge, and the name by which it was asked for."""

    repository: str
    git: Git
    sha: str
    ref: str


@dataclass
class _Execution:
    """A run that waits or is under way."""

    run: Run
    event: Event
    workflow: Workflow
    groups: frozenset[str]
    process: subprocess.Popen[str] | None = None
    tracking_id: str = field(default_factory=lambda: f"github_{secrets.token_hex(16)}")
    cancelled: bool = False
    timed_out: set[int] = field(default_factory=set)
    """Ids of jobs that took too long."""


@dataclass(eq=False)
class Actions:
    """Runs workflows. ``folder`` keeps the runs' records, logs and, while they last, their workspaces.

    ``repositories`` holds all of the forge's, as ``owner/name.git``: a workflow may call those of another.
    """

    folder: Path
    git: Git
    repositories: Path
    people: People
    settings: Settings | None
    server_url: str
    repository: str

    def __post_init__(self) -> None:
        self.runs = Runs(self.folder / "runs")
        self._lock = threading.RLock()
        self._waiting: list[_Execution] = []
        self._running: dict[int, _Execution] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._stopping = False
        self.on_completed: Callable[[], None] = lambda: None
        """Told, by the run's own thread, that a run has ended."""
        self.on_job: Callable[[Run, Job, str], None] = lambda *_: None
        """Told, by the run's own thread, that a job with this GitHub Environment has begun or ended."""
        for run in self.runs.all():  # what a stopped forge left unfinished
            if run.status != "completed":
                self._close(
                    run, conclusion="cancelled", problem="The forge was stopped while this run was under way."
                )

    # What starts runs

    def workflows(self, commit: str) -> list[Workflow]:
        """The workflows at a commit, without files that do not parse as one."""
        return [one for one in self._files(commit) if isinstance(one, Workflow)]

    def _files(self, commit: str) -> Iterator[Workflow | InvalidInput]:
        for path, content in self.git.files(commit, SOURCES).items():
            if re.fullmatch(r"\.github/workflows/[^/]+\.ya?ml", path):
                try:
                    yield parse_workflow(path, content.decode(errors="replace"))
                except InvalidInput as broken:
                    yield broken

    def fire(self, event: Event) -> list[Run]:
        """Queue a run of every workflow that the event starts. Returns at once, with the runs as people see them."""
        if self.settings is None or self._stopping:
            return []
        where = {"branch": event.branch, "tag": event.tag}
        facts: dict[str, Any] = {"action": event.action, "changed_paths": event.changed_paths, **where}
        started = []
        for workflow in self._files(event.workflow_sha):
            if isinstance(workflow, InvalidInput):
                if event.name == "push":
                    started.append(self._failed_to_load(workflow, event))
                continue
            trigger = workflow.triggers.get(event.name)
            if trigger is None or event.only_workflow not in ("", workflow.path):
                continue
            if event.only_workflow or is_started(event.name, trigger, **facts):
                started.append(self._queue(workflow, event))
        self._start_next()
        return started

    def cancel(self, run: Run) -> None:
        """Cancel a run; one that waits is cancelled at once, one under way when act has ended."""
        with self._lock:
            waiting = [execution for execution in self._waiting if execution.run.id == run.id]
            for execution in waiting:
                self._waiting.remove(execution)
                self._close(execution.run, conclusion="cancelled", problem="")
            running = self._running.get(run.id)
            if running is not None:
                running.cancelled = True  # seen by the run's thread if it has not started act yet
        if running is not None and running.process is not None:
            act.end(running.process, running.tracking_id)

    def stop(self) -> None:
        """End everything under way and start nothing more."""
        with self._lock:
            self._stopping = True
            unfinished = [*self._waiting, *self._running.values()]
        for execution in unfinished:
            self.cancel(execution.run)
        for thread in list(self._threads.values()):
            thread.join()

    # The queue

    def _queue(self, workflow: Workflow, event: Event) -> Run:
        github = {"event": event.payload, "actor": event.actor, "ref": event.ref}
        title = fill_in(workflow.run_name, {"inputs": event.inputs, "github": github}) or event.title
        workflow, referenced = self._with_called(
            workflow, _Place(self.repository, self.git, event.workflow_sha, event.ref)
        )
        run = _new_run(workflow.path, workflow.name, event, title=title, jobs=workflow.jobs)
        run = self.runs.add(run.model_copy(update={"referenced": referenced}))
        contexts = {"inputs": event.inputs, "github": {**github, "run_id": run.id}}
        groups = {fill_in(one.group, contexts): one.cancel_in_progress for one in workflow.concurrency}
        impatient = {group for group, cancels in groups.items() if cancels}
        with self._lock:
            # As on GitHub: one runs, one waits; what waited gives way, and so does what runs, where it says so.
            for older in [one for one in self._waiting if one.groups & groups.keys()]:
                self._waiting.remove(older)
                self._close(older.run, conclusion="cancelled", problem="")
            overtaken = [older.run for older in self._running.values() if older.groups & impatient]
            self._waiting.append(_Execution(run=run, event=event, workflow=workflow, groups=frozenset(groups)))
        for running in overtaken:
            # Ending act takes a moment; the push does not wait for it.
            threading.Thread(target=self.cancel, args=(running,), name=f"cancel-{running.id}").start()
        return run

    def _with_called(
        self, workflow: Workflow, place: _Place, *, levels: int = MAX_LEVELS_OF_CALLS
    ) -> tuple[Workflow, tuple[Reference, ...]]:
        """The workflow with what the workflows that it calls add to a run, and which those are."""
        found: list[tuple[Call, Workflow]] = []
        referenced: list[Reference] = []
        for call in workflow.calls if levels else ():
            at, path = self._called(call.uses, place)
            text = at.git.files(at.sha, SOURCES).get(path) if at is not None else None
            if at is None or text is None:
                continue  # act says what is missing
            try:
                called = parse_workflow(path, text.decode(errors="replace"))
            except InvalidInput:
                continue
            called, deeper = self._with_called(called, at, levels=levels - 1)
            found.append((call, called))
            referenced += [Reference(path=f"{at.repository}/{path}@{at.ref}", sha=at.sha, ref=at.ref), *deeper]
        return with_called(workflow, found), tuple(referenced)

    def _called(self, uses: str, place: _Place) -> tuple[_Place | None, str]:
        """Where a called workflow is, and its path there; a path of its own is taken at the caller's commit."""
        if uses.startswith("./"):
            return place, uses.removeprefix("./")
        name, _, ref = uses.partition("@")
        owner, _, rest = name.partition("/")
        return self._place(f"{owner}/{rest.partition('/')[0]}", ref), rest.partition("/")[2]

    def _place(self, repository: str, ref: str) -> _Place | None:
        """A commit of a repository that this forge hosts; None where there is none."""
        folder = self.repositories / f"{repository}.git"
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repository) or not (folder / "HEAD").is_file():
            return None
        git = Git(folder)
        sha = git.resolve(ref)
        return _Place(repository, git, sha, ref) if sha else None

    def _start_next(self) -> None:
        """Start what may start now: the oldest first, one at a time of each group, `MAX_RUNS_AT_ONCE` in all."""
        with self._lock:
            busy = {group for running in self._running.values() for group in running.groups}
            for execution in list(self._waiting):
                if self._stopping or len(self._running) >= MAX_RUNS_AT_ONCE:
                    return
                if not execution.groups & busy:
                    self._waiting.remove(execution)
                    self._running[execution.run.id] = execution
                    thread = threading.Thread(target=self._execute, args=(execution,), name=f"run-{execution.run.id}")
                    self._threads[execution.run.id] = thread
                    thread.start()
                busy |= execution.groups  # a younger run of the same group waits behind this one

    def _execute(self, execution: _Execution) -> None:
        run_id = execution.run.id
        try:
            self._run(execution)
        except Exception:  # noqa: BLE001 - a thread has nobody above it: the run's page tells what happened
            self._close(self._current(run_id), conclusion="failure", problem=traceback.format_exc())
        finally:
            with self._lock:
                del self._running[run_id]
                self._threads.pop(run_id, None)
                is_stopping = self._stopping
            if not is_stopping:
                self.on_completed()
            self._start_next()

    # One run

    def _run(self, execution: _Execution) -> None:
        settings = self.settings or Settings()
        folder = self.runs.folder_of(execution.run)
        token = settings.bot_token or f"ghs_{secrets.token_hex(18)}"
        if not settings.bot_token:
            self.people.add(token, ACTIONS_BOT)
        try:
            invocation = self._prepare(execution, folder, settings, token)
            with self._lock:
                if not execution.cancelled:
                    execution.process = act.start(invocation)
            self._follow(execution)
        finally:
            act.end_leftovers(execution.tracking_id)
            if not settings.bot_token:
                self.people.remove(token)
            for leftover in ("source", "work", "missing", "hosted"):
                shutil.rmtree(folder / leftover, ignore_errors=True)
            (folder / "secrets.yml").unlink(missing_ok=True)

    def _prepare(self, execution: _Execution, folder: Path, settings: Settings, token: str) -> act.Invocation:
        event, run = execution.event, execution.run
        sources = self.git.files(event.workflow_sha, SOURCES)
        hosted = self._hosted(sources, folder / "hosted")
        for path, content in sources.items():
            file = folder / "source" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        payload = {**event.payload, **({"inputs": dict(event.inputs)} if event.name == "workflow_dispatch" else {})}
        (folder / "event.json").write_text(json.dumps(payload))
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return act.Invocation(
            folder=folder,
            home=home,
            event=event.name,
            workflow_path=execution.workflow.path,
            actor=event.actor,
            path=settings.path,
            environment={**self._github_environment(event, run), **settings.env},
            secrets={**settings.secrets, "GITHUB_TOKEN": token},
            variables=settings.vars,
            actions=_stand_ins(
                [sources, *(there for _, there in hosted.values())], folder / "missing", more=settings.stand_ins
            )
            | {action: at for action, (at, _) in hosted.items()},
            tracking_id=execution.tracking_id,
        )

    def _github_environment(self, event: Event, run: Run) -> dict[str, str]:
        return {
            "GITHUB_SERVER_URL": self.server_url,
            "GITHUB_API_URL": f"{self.server_url}/api/v3",
            "GITHUB_GRAPHQL_URL": f"{self.server_url}/api/graphql",
            "GITHUB_REPOSITORY": self.repository,
            "GITHUB_REPOSITORY_OWNER": self.repository.split("/")[0],
            "SHA_REF": event.sha,  # act's name for where github.sha comes from
            "GITHUB_REF": event.ref,
            "GITHUB_REF_NAME": event.ref.removeprefix("refs/").removeprefix("heads/").removeprefix("tags/"),
            "GITHUB_RUN_ID": str(run.id),
            "GITHUB_RUN_NUMBER": str(run.number),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_TRIGGERING_ACTOR": event.actor,
            "GITHUB_WORKFLOW_REF": f"{self.repository}/{run.workflow_path}@{event.ref}",
            "GITHUB_WORKFLOW_SHA": event.workflow_sha,
            "RUNNER_NAME": "sandbox",
            "RUNNER_ENVIRONMENT": "self-hosted",
        }

    def _follow(self, execution: _Execution) -> None:
        """Keep the run's record and logs up to date with what act says, until it has ended."""
        run = self._current(execution.run.id).model_copy(update={"status": "in_progress", "started_at": now()})
        self.runs.put(run)
        workflow, process = execution.workflow, execution.process
        complaints: list[str] = []
        if process is not None and process.stdout is not None:
            has_ended = threading.Event()
            watch = threading.Thread(target=self._watch, args=(execution, has_ended), name=f"watch-{run.id}")
            watch.start()
            try:
                for line in process.stdout:
                    message = transcript.read_message(line)
                    if message is not None and message.job_name not in workflow.only_calls:
                        before, run = run, self._heard(run, message, execution=execution)
                        self._tell_of_jobs(execution, before, run)
                    elif message is None and not line.startswith("{"):
                        complaints.append(line.rstrip("\n"))
            finally:
                has_ended.set()
                watch.join()
            process.wait()
        failed = {job.conclusion for job in run.jobs} & {"failure", "cancelled"}
        act_failed = process is not None and process.returncode != 0 and not failed
        conclusion = "cancelled" if execution.cancelled else "failure" if act_failed else "skipped"
        problem = "\n".join(complaints) if act_failed and not execution.cancelled else ""
        self._close(run, conclusion=conclusion, problem=problem)
        self._tell_of_jobs(execution, run, self._current(run.id))

    def _watch(self, execution: _Execution, has_ended: threading.Event) -> None:
        """End jobs that take longer than their ``timeout-minutes``, which act does not look at."""
        while not has_ended.wait(WATCH_SECONDS):
            run = self._current(execution.run.id)
            for job in run.jobs:
                minutes = execution.workflow.timeouts.get(job.key, MAX_MINUTES_OF_A_JOB)
                is_running = job.status == "in_progress" and job.started_at is not None
                if not is_running or job.started_at is None or job.id in execution.timed_out:
                    continue
                if (now() - job.started_at).total_seconds() > minutes * SECONDS_PER_MINUTE:
                    execution.timed_out.add(job.id)
                    said = f"has exceeded the maximum execution time of {minutes:g} minutes."
                    self._log(run, job, [f"##[error]The job running on runner sandbox {said}"], at=now())
                    act.end_job(execution.tracking_id, job.key)

    def _tell_of_jobs(self, execution: _Execution, before: Run, after: Run) -> None:
        """Tell of jobs with a GitHub Environment that have begun or ended in between."""
        known = {job.id: job.status for job in before.jobs}
        for job in after.jobs:
            template = execution.workflow.environments.get(job.key, "")
            if (
                not template
                or job.status == known.get(job.id, "queued")
                or job.status not in ("in_progress", "completed")
            ):
                continue
            event = execution.event
            github = {"event": event.payload, "actor": event.actor, "ref": event.ref}
            contexts = {"matrix": json.loads(job.matrix), "inputs": event.inputs, "github": github}
            self.on_job(after, job, fill_in(template, contexts))

    def _heard(self, run: Run, message: transcript.Message, *, execution: _Execution) -> Run:
        workflow, at = execution.workflow, now()
        position = next(
            (
                place
                for place, job in enumerate(run.jobs)
                if (job.key, job.matrix) == (message.job_key, message.matrix)
            ),
            None,
        )
        if position is None:
            job = transcript.unforeseen_job(message, workflow=workflow)
            position = len(run.jobs)
            job = job.model_copy(update={"id": run.id * JOBS_PER_RUN + position + 1})
            run = run.model_copy(update={"jobs": (*run.jobs, job)})
        before = run.jobs[position]
        if "${{" in before.name:
            before = before.model_copy(update={"name": transcript.name_of(message, workflow=workflow)})
        if message.job_result == "failure" and before.id in execution.timed_out:
            message = message.model_copy(update={"job_result": "cancelled"})  # as GitHub calls it
        job, lines = transcript.advance(before, message, at=at)
        if lines:
            self._log(run, job, lines, at=at)
        if job == run.jobs[position]:
            return run
        jobs = _released((*run.jobs[:position], job, *run.jobs[position + 1 :]))
        run = run.model_copy(update={"jobs": jobs})
        self.runs.put(run)
        return run

    def _log(self, run: Run, job: Job, lines: list[str], *, at: datetime) -> None:
        stamp = at.strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
        with self.runs.log_file(run, job).open("a") as log:
            log.writelines(f"{stamp} {line}\n" for line in lines)

    def _close(self, run: Run, *, conclusion: str, problem: str) -> None:
        """Give every job that has no result yet this one, and the run the sum of its jobs."""
        at = now()
        jobs = tuple(
            transcript.close(
                job, conclusion="failure" if job.started_at and conclusion == "skipped" else conclusion, at=at
            )
            for job in run.jobs
        )
        results = {job.conclusion for job in jobs}
        if conclusion == "cancelled" or (conclusion == "failure" and not results):
            summed_up = conclusion
        else:
            summed_up = next((word for word in ("failure", "cancelled", "success") if word in results), "skipped")
        changes = {"status": "completed", "conclusion": summed_up, "jobs": jobs, "problem": problem}
        self.runs.put(run.model_copy(update=changes))

    def _current(self, run_id: int) -> Run:
        run = self.runs.get(run_id)
        if run is None:
            raise LookupError(f"run {run_id} is not known")
        return run

    # Workflow files

    def _hosted(self, sources: Mapping[str, bytes], folder: Path) -> dict[str, tuple[Path, Mapping[str, bytes]]]:
        """For each ``owner/name@ref`` of this forge that is used: a folder with all of it, and its ``.github``."""
        found: dict[str, tuple[Path, Mapping[str, bytes]]] = {}
        waiting = [sources]
        while waiting:
            for name, ref in sorted(used.split("@", 1) for used in _used(waiting.pop())):
                repository = "/".join(name.split("/")[:2])
                place = self._place(repository, ref)
                if place is None or f"{repository}@{ref}" in found:
                    continue
                at = folder / f"{repository}@{ref}".replace("/", "-")
                place.git.check_out(place.sha, at)
                there = place.git.files(place.sha, SOURCES)
                found[f"{repository}@{ref}"] = at, there
                waiting.append(there)
        return found

    def _failed_to_load(self, broken: InvalidInput, event: Event) -> Run:
        """GitHub shows a push of a broken workflow file as a failed run without jobs."""
        run = self.runs.add(_new_run(broken.file, broken.file, event, title=event.title, jobs=()))
        self._close(run, conclusion="failure", problem=f"Invalid workflow file: {broken.message}")
        return self._current(run.id)


def _new_run(path: str, name: str, event: Event, *, title: str, jobs: tuple[Job, ...]) -> Run:
    return Run(
        workflow_path=path,
        workflow_name=name,
        title=title,
        event=event.name,
        head_branch=event.head_branch,
        head_sha=event.head_sha,
        pulls=event.pulls,
        actor=event.actor,
        jobs=jobs,
    )


def _released(jobs: tuple[Job, ...]) -> tuple[Job, ...]:
    """Jobs whose ``needs`` are all done are queued; GitHub shows them as checks only from then on."""
    open_keys = {job.key for job in jobs if job.status != "completed"}
    return tuple(
        job.model_copy(update={"status": "queued"})
        if job.status == "waiting" and not open_keys & set(job.needs)
        else job
        for job in jobs
    )


def _used(sources: Mapping[str, bytes]) -> set[str]:
    """Every action and workflow from elsewhere that these files name."""
    return {used for content in sources.values() for used in uses_in(content.decode(errors="replace"))}


def _stand_ins(sources: Iterable[Mapping[str, bytes]], missing: Path, *, more: str) -> dict[str, Path]:
    """A local folder for every action that the workflows name; for unknown ones, an action that says so and fails."""
    used = sorted({action for some in sources for action in _used(some)})
    folders: dict[str, Path] = {}
    for action in used:
        name, _, ref = action.partition("@")
        owner_and_name, _, inside = name.partition("/")[2].partition("/")
        repository = f"{name.partition('/')[0]}/{owner_and_name}@{ref}"
        ours = [STAND_INS / owner_and_name] if name.startswith("actions/") else []
        others = [Path(more) / name] if more else []
        stand_in = next((folder for folder in (*ours, *others) if folder.is_dir()), None)
        if stand_in is not None and not inside:
            folders[repository] = stand_in
            continue
        folder = missing / repository.replace("/", "-")
        (folder / inside).mkdir(parents=True, exist_ok=True)
        text = (STAND_INS / "missing.yml").read_text().replace("ACTION", action)
        (folder / inside / "action.yml").write_text(text)
        folders[repository] = folder
    return folders
