"""Workflows, their runs, jobs and logs: https://docs.github.com/rest/actions."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from bot.sandbox.actions.records import Run
from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Found, Paged, Writer, found
from bot.sandbox.forge.errors import ApiError
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.repository import DEFAULT_BRANCH

router = APIRouter(prefix="/repos/{owner}/{name}/actions")


class Dispatch(Body):
    ref: str
    inputs: dict[str, str | bool | int | float] = Field(default_factory=dict)


@router.get("/workflows/{workflow}")
def get_workflow(repository: Found, _: Anyone, workflow: str) -> Json:
    return _workflow(repository, workflow)


@router.post("/workflows/{workflow}/dispatches")
def dispatch(repository: Found, person: Writer, workflow: str, wanted: Dispatch) -> Response:
    path = _workflow(repository, workflow)["path"]
    inputs = {name: _input_text(value) for name, value in wanted.inputs.items()}
    repository.dispatch(path, ref=wanted.ref, inputs=inputs, by=person)
    return Response(status_code=204)


class Wanted:
    """Which runs a list is to have."""

    def __init__(self, branch: str = "", event: str = "", status: str = "", head_sha: str = "") -> None:
        self._wanted = {"head_branch": branch, "event": event, "head_sha": head_sha}
        self._status = status

    def runs(self, forge: Forge, *, path: str = "") -> list[Run]:
        wanted = {name: value for name, value in {**self._wanted, "workflow_path": path}.items() if value}
        return [
            run
            for run in forge.actions.runs.all()
            if all(getattr(run, name) == value for name, value in wanted.items())
            and self._status in ("", run.status, run.conclusion)
        ]


Filter = Annotated[Wanted, Depends()]


@router.get("/workflows/{workflow}/runs")
def list_workflow_runs(repository: Found, _: Anyone, pages: Paged, wanted: Filter, workflow: str) -> Json:
    runs = wanted.runs(repository, path=_workflow(repository, workflow)["path"])
    return {"total_count": len(runs), "workflow_runs": pages.of(runs, repository.answers.run)}


@router.get("/runs")
def list_runs(repository: Found, _: Anyone, pages: Paged, wanted: Filter) -> Json:
    runs = wanted.runs(repository)
    return {"total_count": len(runs), "workflow_runs": pages.of(runs, repository.answers.run)}


@router.get("/runs/{identifier}")
def get_run(repository: Found, _: Anyone, identifier: int) -> Json:
    return repository.answers.run(found(repository.actions.runs.get(identifier)))


@router.get("/runs/{identifier}/jobs")
def list_jobs(repository: Found, _: Anyone, pages: Paged, identifier: int) -> Json:
    run = found(repository.actions.runs.get(identifier))
    jobs = [job for job in run.jobs if job.status != "waiting"]
    return {"total_count": len(jobs), "jobs": pages.of(jobs, lambda job: repository.answers.job(run, job))}


@router.post("/runs/{identifier}/cancel", status_code=202)
def cancel_run(repository: Found, _: Writer, identifier: int) -> Json:
    run = found(repository.actions.runs.get(identifier))
    if run.status == "completed":
        raise ApiError(409, "Cannot cancel a workflow run that is completed.")
    repository.actions.cancel(run)
    return {}


@router.get("/jobs/{identifier}/logs")
def get_job_logs(repository: Found, _: Anyone, identifier: int) -> Response:
    run, job = found(repository.actions.runs.job(identifier))
    page = f"{repository.answers.page}/actions/runs/{run.id}/job/{job.id}/logs"
    return RedirectResponse(page, status_code=302)


def _workflow(forge: Forge, name: str) -> Json:
    """The workflow on the default branch with this file name or number."""
    tip = forge.git.branch(DEFAULT_BRANCH)
    workflows = [forge.answers.workflow(one.path, one.name) for one in (forge.actions.workflows(tip) if tip else ())]
    names = ((one, (one["path"].rsplit("/", 1)[-1], str(one["id"]))) for one in workflows)
    return found(next((one for one, known in names if name in known), None))


def _input_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
