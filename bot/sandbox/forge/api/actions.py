"""Workflows, their runs, jobs and logs: https://docs.github.com/rest/actions."""

from __future__ import annotations

import io
import zipfile
from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import Field

from bot.sandbox.actions.records import Job, Run
from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Anyone, Body, Paged, Repository, Writer
from bot.sandbox.forge.errors import ApiError, not_found
from bot.sandbox.forge.forge import DEFAULT_BRANCH, Forge

router = APIRouter(prefix="/repos/{owner}/{name}/actions")


class Dispatch(Body):
    ref: str
    inputs: dict[str, str | bool | int | float] = Field(default_factory=dict)
    return_run_details: bool = False


@router.get("/workflows")
def list_workflows(repository: Repository, _: Anyone, pages: Paged) -> Json:
    found = _workflows(repository)
    return {"total_count": len(found), "workflows": pages.of(found, lambda workflow: workflow)}


@router.get("/workflows/{workflow}")
def get_workflow(repository: Repository, _: Anyone, workflow: str) -> Json:
    return _workflow(repository, workflow)


@router.post("/workflows/{workflow}/dispatches")
def dispatch(repository: Repository, person: Writer, workflow: str, wanted: Dispatch) -> Response:
    path = _workflow(repository, workflow)["path"]
    inputs = {name: _input_text(value) for name, value in wanted.inputs.items()}
    run = repository.dispatch(path, ref=wanted.ref, inputs=inputs, by=person)
    if not wanted.return_run_details:
        return Response(status_code=204)
    answer = repository.answers.run(run)
    return JSONResponse({"workflow_run_id": run.id, "run_url": answer["url"], "html_url": answer["html_url"]})


@router.get("/workflows/{workflow}/runs")
def list_workflow_runs(
    repository: Repository,
    _: Anyone,
    pages: Paged,
    workflow: str,
    branch: str = "",
    event: str = "",
    status: str = "",
    head_sha: str = "",
    actor: str = "",
) -> Json:
    path = _workflow(repository, workflow)["path"]
    found = _filtered(repository, branch=branch, event=event, status=status, head_sha=head_sha, actor=actor)
    found = [run for run in found if run.workflow_path == path]
    return {"total_count": len(found), "workflow_runs": pages.of(found, repository.answers.run)}


@router.get("/runs")
def list_runs(
    repository: Repository,
    _: Anyone,
    pages: Paged,
    branch: str = "",
    event: str = "",
    status: str = "",
    head_sha: str = "",
    actor: str = "",
) -> Json:
    found = _filtered(repository, branch=branch, event=event, status=status, head_sha=head_sha, actor=actor)
    return {"total_count": len(found), "workflow_runs": pages.of(found, repository.answers.run)}


@router.get("/runs/{identifier}")
def get_run(repository: Repository, _: Anyone, identifier: int) -> Json:
    return repository.answers.run(_run(repository, identifier))


@router.get("/runs/{identifier}/jobs")
def list_jobs(
    repository: Repository,
    _: Anyone,
    pages: Paged,
    identifier: int,
    filter: Literal["latest", "all"] = "latest",  # noqa: A002, ARG001 - GitHub's name; there is one attempt
) -> Json:
    run = _run(repository, identifier)
    jobs = [job for job in run.jobs if job.status != "waiting"]
    return {"total_count": len(jobs), "jobs": pages.of(jobs, lambda job: repository.answers.job(run, job))}


@router.get("/runs/{identifier}/logs")
def get_run_logs(repository: Repository, _: Anyone, identifier: int) -> Response:
    """A zip with one text file per job, as GitHub has at its top level."""
    run = _run(repository, identifier)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as logs:
        for position, job in enumerate(run.jobs):
            logs.writestr(f"{position}_{job.name.replace('/', '_')}.txt", repository.actions.runs.log(run, job))
    return Response(archive.getvalue(), media_type="application/zip")


@router.post("/runs/{identifier}/cancel", status_code=202)
def cancel_run(repository: Repository, _: Writer, identifier: int) -> Json:
    run = _run(repository, identifier)
    if run.status == "completed":
        raise ApiError(409, "Cannot cancel a workflow run that is completed.")
    repository.actions.cancel(run)
    return {}


@router.get("/jobs/{identifier}")
def get_job(repository: Repository, _: Anyone, identifier: int) -> Json:
    return repository.answers.job(*_job(repository, identifier))


@router.get("/jobs/{identifier}/logs")
def get_job_logs(repository: Repository, _: Anyone, identifier: int) -> Response:
    run, job = _job(repository, identifier)
    page = f"{repository.answers.page}/actions/runs/{run.id}/job/{job.id}/logs"
    return RedirectResponse(page, status_code=302)


def _workflows(forge: Forge) -> list[Json]:
    tip = forge.git.branch(DEFAULT_BRANCH)
    found = sorted(forge.actions.workflows(tip), key=lambda workflow: workflow.path) if tip else []
    return [forge.answers.workflow(workflow.path, workflow.name) for workflow in found]


def _workflow(forge: Forge, name: str) -> Json:
    """The workflow on the default branch with this file name or number."""
    found = [
        workflow
        for workflow in _workflows(forge)
        if name in (workflow["path"].rsplit("/", 1)[-1], str(workflow["id"]))
    ]
    if not found:
        raise not_found()
    return found[0]


def _filtered(forge: Forge, *, branch: str, event: str, status: str, head_sha: str, actor: str) -> list[Run]:
    return [
        run
        for run in forge.actions.runs.all()
        if branch in ("", run.head_branch)
        and event in ("", run.event)
        and status in ("", run.status, run.conclusion)
        and head_sha in ("", run.head_sha)
        and actor in ("", run.actor)
    ]


def _run(forge: Forge, identifier: int) -> Run:
    run = forge.actions.runs.get(identifier)
    if run is None:
        raise not_found()
    return run


def _job(forge: Forge, identifier: int) -> tuple[Run, Job]:
    found = forge.actions.runs.job(identifier)
    if found is None:
        raise not_found()
    return found


def _input_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
