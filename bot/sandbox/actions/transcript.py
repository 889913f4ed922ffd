"""What act says while it runs, line by line, as changes of a job and lines of its log. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from bot.sandbox.actions.records import COMPLETE, SET_UP, Annotation, Job, Step, with_ends
from bot.sandbox.actions.workflows import Workflow

# GitHub's step is green when `continue-on-error` lets the job go on; act reports the outcome instead.
_CONTINUED = "Failed but continue next step"
_ANNOTATION_LEVELS = {"error": "failure", "warning": "warning", "notice": "notice"}
# Steps have a terminal under act, so some programs colour what they say.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_LOGGED_COMMANDS = {"error", "warning", "notice", "debug", "group", "endgroup"}


def canonical(matrix: Mapping[str, object]) -> str:
    """A matrix combination as text that is the same for the same values."""
    return json.dumps(matrix, sort_keys=True, default=str)


class Message(BaseModel):
    """One line of ``act --json`` that belongs to a job."""

    model_config = ConfigDict(frozen=True)

    job_key: str = Field(alias="jobID")
    matrix: Annotated[str, BeforeValidator(canonical)] = "{}"
    job_name: Annotated[str, StringConstraints(strip_whitespace=True)] = Field("", alias="job")
    step_path: tuple[str, ...] = Field((), validation_alias=AliasChoices("stepID", "stepid"))
    """The step's key, and below it those of the composite action that it runs."""
    step_name: str = Field("", alias="step")
    stage: str = ""
    text: str = Field("", alias="msg")
    level: str = "info"
    is_output: bool = Field(False, alias="raw_output")
    command: str = ""
    argument: str = Field("", validation_alias=AliasChoices("content", "arg"))
    properties: Mapping[str, str] = Field({}, alias="kvPairs")
    step_result: str = Field("", alias="stepResult")
    job_result: str = Field("", alias="jobResult")


def read_message(line: str) -> Message | None:
    """The message in a line of act's output; None for a line that is about no job."""
    try:
        fields = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(fields, dict) or "jobID" not in fields:
        return None
    return Message.model_validate({name: value for name, value in fields.items() if value})


def unforeseen_job(message: Message, *, workflow: Workflow) -> Job:
    """A job that the workflow file did not show: of a computed matrix, or of a called workflow."""
    name = name_of(message, workflow=workflow)
    return Job(key=message.job_key, matrix=message.matrix, name=name, steps=with_ends())


def name_of(message: Message, *, workflow: Workflow) -> str:
    """The job's name with every expression in it evaluated by act, and before it what GitHub puts there."""
    name = re.sub(r"-\d+$", "", message.job_name) if message.matrix != "{}" else message.job_name
    for prefix, shown in workflow.prefixes.items():
        if name.startswith(prefix):
            return shown + name.removeprefix(prefix)
    return name.removeprefix(f"{workflow.in_act}/")


def advance(job: Job, message: Message, *, at: datetime) -> tuple[Job, list[str]]:
    """The job after this message, and what it adds to the job's log."""
    if message.job_result:
        return _finished(job, _own_result(job, message), at=at), []
    if message.text.startswith("⭐ Run "):
        return _started(job, message, at=at)
    if message.step_result:
        return (_step_finished(job, message, at=at) if _is_own_step(message) else job), []
    if message.command == "summary":
        return job.model_copy(update={"summary": job.summary + message.argument}), []
    if message.command in _LOGGED_COMMANDS:
        return _annotated(job, message), [f"##[{message.command}]{message.argument}"]
    if message.is_output:
        return job, _CONTROL.sub("", message.text).rstrip("\n").split("\n")
    if message.text.strip() == _CONTINUED:
        return _with_step(job, message.step_path[0], conclusion="success"), []
    if message.level == "error" and not message.command:
        code = re.fullmatch(r"exit status (\d+)", message.text.strip())
        return job, [f"##[error]{f'Process completed with exit code {code[1]}.' if code else message.text.strip()}"]
    return job, []


def _own_result(job: Job, message: Message) -> str:
    """act has one result for all combinations of a matrix; GitHub has one for each, which its steps tell."""
    own = [step.conclusion for step in job.steps if step.key not in (SET_UP, COMPLETE)]
    is_innocent = message.job_result == "failure" and job.matrix != "{}" and own
    return "success" if is_innocent and set(own) <= {"success", "skipped"} else message.job_result


def close(job: Job, *, conclusion: str, at: datetime) -> Job:
    """The job when act has ended without a word about its result."""
    return job if job.status == "completed" else _finished(job, conclusion, at=at)


def _is_own_step(message: Message) -> bool:
    """A step of the job, not one inside a composite action, and not its Pre or Post part."""
    return len(message.step_path) == 1 and message.stage in ("", "Main")


def _started(job: Job, message: Message, *, at: datetime) -> tuple[Job, list[str]]:
    if message.stage not in ("", "Main") or not message.step_path:
        return job, []
    if len(message.step_path) > 1:
        return job, [f"Run {_first_line(message.text.removeprefix('⭐ Run Main '))}"]
    key = message.step_path[0]
    if key == SET_UP:
        job = job.model_copy(update={"status": "in_progress", "started_at": at})
    if key not in {step.key for step in job.steps}:
        job = _with_new_step(job, key, f"Run {_first_line(message.step_name)}")
    job = _with_step(job, key, status="in_progress", started_at=at)
    step = next(step for step in job.steps if step.key == key)
    if "${{" in step.name:
        job = _with_step(job, key, name=_first_line(message.step_name))
    title = next(step.name for step in job.steps if step.key == key)
    return job, [f"##[group]{title}", *_script(message), "##[endgroup]"] if key not in (SET_UP, COMPLETE) else [title]


def _script(message: Message) -> list[str]:
    text = message.text.removeprefix("⭐ Run Main ").rstrip("\n")
    return text.split("\n") if "\n" in text else []


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _step_finished(job: Job, message: Message, *, at: datetime) -> Job:
    key = message.step_path[0]
    known = next((step.conclusion for step in job.steps if step.key == key), None)
    return _with_step(job, key, status="completed", conclusion=known or message.step_result, completed_at=at)


def _finished(job: Job, result: str, *, at: datetime) -> Job:
    unfinished = "skipped" if result in ("success", "failure", "skipped") else result
    steps = tuple(
        step
        if step.status == "completed"
        else step.model_copy(
            update={
                "status": "completed",
                "conclusion": result if step.status == "in_progress" else unfinished,
                "completed_at": at,
            }
        )
        for step in job.steps
    )
    started_at = job.started_at or at
    finished = {"status": "completed", "conclusion": result, "started_at": started_at, "completed_at": at}
    return job.model_copy(update={**finished, "steps": steps})


def _annotated(job: Job, message: Message) -> Job:
    level = _ANNOTATION_LEVELS.get(message.command)
    if level is None:
        return job
    line = message.properties.get("line", "")
    annotation = Annotation(
        level=level,
        path=message.properties.get("file", ".github"),
        line=int(line) if line.isdigit() else 1,
        message=message.argument,
    )
    return job.model_copy(update={"annotations": (*job.annotations, annotation)})


def _with_step(job: Job, key: str, **changes: object) -> Job:
    steps = tuple(step.model_copy(update=changes) if step.key == key else step for step in job.steps)
    return job.model_copy(update={"steps": steps})


def _with_new_step(job: Job, key: str, name: str) -> Job:
    """A step put before "Complete job"."""
    *before, last = job.steps
    steps = (
        *before,
        Step(number=last.number, key=key, name=name),
        last.model_copy(update={"number": last.number + 1}),
    )
    return job.model_copy(update={"steps": steps})
