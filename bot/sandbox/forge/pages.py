"""Pages for the browser: the repository, pull requests, workflow runs. Made on the server, without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from markupsafe import Markup

from bot.sandbox.actions.records import Job, Run, Step
from bot.sandbox.forge.answers import stamp
from bot.sandbox.forge.errors import not_found
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.markdown import render
from bot.sandbox.forge.repository import DEFAULT_BRANCH
from bot.sandbox.forge.store import Comment, Review
from bot.sandbox.templates import pages

router = APIRouter(include_in_schema=False)

MARKS = {
    **dict.fromkeys(("failure", "error"), "✗"),
    **dict.fromkeys(("skipped", "cancelled"), "⊘"),
    "success": "✓",
    "in_progress": "●",
    "neutral": "■",
}
IN_ORDER = ("failure", "in_progress", "queued", "cancelled", "success")
"""Of several checks, the first of these that one of them is sums them up."""
MAX_COMMITS = 100

Line = dict[str, object]


def took(part: Job | Step) -> str:
    start, end = part.started_at, part.completed_at
    return f"{(end - start).total_seconds():.1f} s" if start and end else ""


def numbered(patch: str) -> Iterator[Line]:
    """The lines of a patch with the line numbers of both sides."""
    old = new = 0
    for text in patch.splitlines():
        if hunk := re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)", text):
            old, new = int(hunk[1]), int(hunk[2])
            yield {"kind": "hunk", "text": text}
            continue
        kind = {"+": "added", "-": "removed"}.get(text[:1], "")
        yield {
            "kind": kind,
            "text": text,
            "old": "" if kind == "added" else old,
            "new": "" if kind == "removed" else new,
        }
        old, new = old + (kind != "added"), new + (kind != "removed")


def mark_of(forge: Forge, sha: str) -> str | None:
    """The one state that sums up a commit's checks."""
    states = {conclusion or status for _, _, status, conclusion in forge.checks_on(sha)}
    return next((word for word in IN_ORDER if word in states), None)


TEMPLATES = pages(
    Path(__file__).with_name("templates"),
    filters={"stamp": stamp, "markdown": render, "took": took, "numbered": numbered},
    marks=MARKS,
    mark_of=mark_of,
    style=Markup(Path(__file__).with_name("style.css").read_text()),  # noqa: S704 - our own
)


def _shown(owner: str, name: str, request: Request) -> Forge:
    forge: Forge | None = request.app.state.repositories.named(f"{owner}/{name}")
    if forge is None:
        raise not_found()
    return forge


Shown = Annotated[Forge, Depends(_shown)]


def _page(template: str, forge: Forge, here: str, *, is_changing: bool = False, **shown: Any) -> HTMLResponse:
    """A page; one that is still changing loads itself again."""
    made = TEMPLATES.get_template(f"{template}.html")
    return HTMLResponse(made.render(forge=forge, here=here, is_changing=is_changing, **shown))


# The repository


@router.get("/")
def front(request: Request) -> HTMLResponse:
    return repository(request.app.state.forge)


@router.get("/{owner}/{name}")
def repository(forge: Shown) -> HTMLResponse:
    tip = forge.git.branch(DEFAULT_BRANCH)
    clone = f"{forge.server_url}/{forge.repository}.git"
    return _page("repository", forge, "code", tip=tip, clone=clone, entries=_entries(forge, tip) if tip else ())


@router.get("/{owner}/{name}/commits/{ref:path}")
def commits(forge: Shown, ref: str) -> HTMLResponse:
    listed = forge.git.commits(_resolved(forge, ref), limit=MAX_COMMITS)
    return _page("commits", forge, "code", ref=ref, commits=listed)


@router.get("/{owner}/{name}/commit/{sha}")
def commit(forge: Shown, sha: str) -> HTMLResponse:
    found = forge.git.commit(_resolved(forge, sha))
    files, checks = forge.git.changes_of(found), _checks(forge, found.sha)
    return _page("commit", forge, "code", commit=found, files=files, checks=checks)


@router.get("/{owner}/{name}/tree/{rest:path}")
def tree(forge: Shown, rest: str) -> HTMLResponse:
    ref, sha, path = _ref_and_path(forge, rest)
    return _page("tree", forge, "code", ref=ref, path=path, entries=_entries(forge, sha, path))


@router.get("/{owner}/{name}/blob/{rest:path}")
def blob(forge: Shown, rest: str) -> HTMLResponse:
    _, sha, path = _ref_and_path(forge, rest)
    entries = forge.git.entries(sha, path) if path else []
    if [(entry.path, entry.kind) for entry in entries] != [(path, "blob")]:
        raise not_found()
    return _page("blob", forge, "code", path=path, text=forge.git.file(sha, path).decode(errors="replace"))


def _resolved(forge: Forge, ref: str) -> str:
    sha = forge.git.resolve(ref)
    if sha is None:
        raise not_found()
    return sha


def _ref_and_path(forge: Forge, rest: str) -> tuple[str, str, str]:
    """Split ``branch/with/slash/path``: the shortest beginning that is a reference or a commit."""
    parts = rest.strip("/").split("/")
    for length in range(1, len(parts) + 1):
        ref = "/".join(parts[:length])
        if sha := forge.git.resolve(ref):
            return ref, sha, "/".join(parts[length:])
    raise not_found()


def _entries(forge: Forge, sha: str, path: str = "") -> list[Any]:
    return sorted(forge.git.entries(sha, path), key=lambda entry: (entry.kind != "tree", entry.path))


# Pull requests


@router.get("/{owner}/{name}/pulls")
def pulls(forge: Shown) -> HTMLResponse:
    return _page("pulls", forge, "pulls")


@router.get("/{owner}/{name}/pull/{number}")
def pull_request(forge: Shown, number: int) -> HTMLResponse:
    pull = forge.pull(number)
    thread: list[Comment | Review] = [*forge.store.comments(number), *forge.store.reviews(number)]
    thread.sort(key=lambda one: (one.created_at if isinstance(one, Comment) else one.submitted_at, one.id))
    return _page(
        *("pull", forge, "pulls"),
        pull=pull,
        thread=thread,
        checks=_checks(forge, pull.head_sha),
        is_changing=any(job.status != "completed" for _, job in forge.jobs_on(pull.head_sha)),
    )


def _checks(forge: Forge, sha: str) -> list[Line]:
    """The checks of a commit, each with a link to where it says more."""
    reported = forge.store.checks(sha)
    return [_job_line(forge, run, job, group=f"{run.workflow_name} / ") for run, job in forge.jobs_on(sha)] + [
        {
            "name": check.name,
            "state": check.conclusion or check.status,
            "more": check.output.title,
            "group": "",
            # Others give the address of their checks: nothing that a click would run.
            "url": check.details_url if check.details_url.startswith(("/", "http://", "https://")) else "",
        }
        for check in reported
    ]


def _job_line(forge: Forge, run: Run, job: Job, *, group: str = "") -> Line:
    page = f"/{forge.repository}/actions/runs/{run.id}/job/{job.id}"
    return {"name": job.name, "state": job.conclusion or job.status, "url": page, "more": took(job), "group": group}


# Workflow runs


@router.get("/{owner}/{name}/actions")
def all_runs(forge: Shown) -> HTMLResponse:
    runs = forge.actions.runs.all()
    return _page("runs", forge, "actions", runs=runs, is_changing=any(run.status != "completed" for run in runs))


@router.get("/{owner}/{name}/actions/runs/{identifier}")
def run_page(forge: Shown, identifier: int) -> HTMLResponse:
    run = forge.actions.runs.get(identifier)
    if run is None:
        raise not_found()
    jobs = [_job_line(forge, run, job) for job in run.jobs]
    notes = [(job, note) for job in run.jobs for note in job.annotations]
    return _page("run", forge, "actions", run=run, jobs=jobs, notes=notes, is_changing=run.status != "completed")


@router.get("/{owner}/{name}/actions/runs/{identifier}/job/{job_id}")
def job_page(forge: Shown, identifier: int, job_id: int) -> HTMLResponse:
    run, job = _run_and_job(forge, identifier, job_id)
    log = [line for text in forge.actions.runs.log(run, job).splitlines() if (line := _log_line(text))]
    return _page("job", forge, "actions", run=run, job=job, log=log, is_changing=job.status != "completed")


@router.get("/{owner}/{name}/actions/runs/{identifier}/job/{job_id}/logs")
def job_log(forge: Shown, identifier: int, job_id: int) -> Response:
    """The log as text: where the API's answer for a job's logs redirects to, without asking for a token again."""
    run, job = _run_and_job(forge, identifier, job_id)
    return PlainTextResponse(forge.actions.runs.log(run, job))


def _run_and_job(forge: Forge, identifier: int, job_id: int) -> tuple[Run, Job]:
    found = forge.actions.runs.job(job_id)
    if found is None or found[0].id != identifier:
        raise not_found()
    return found


def _log_line(text: str) -> Line | None:
    at, _, said = text.partition(" ")
    command = re.match(r"##\[(\w+)\](.*)", said)
    kind, said = (command[1], command[2]) if command else ("", said)
    return None if kind == "endgroup" else {"at": at[11:19], "kind": kind, "text": said}
