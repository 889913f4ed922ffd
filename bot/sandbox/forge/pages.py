"""What a person sees in the browser: the repository, pull requests, workflow runs. Plain HTML, made on the server."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from bot.sandbox.actions.records import Job, Run
from bot.sandbox.forge.answers import stamp
from bot.sandbox.forge.errors import not_found
from bot.sandbox.forge.forge import DEFAULT_BRANCH, Forge
from bot.sandbox.forge.git import EMPTY_TREE, Commit, FileChange
from bot.sandbox.forge.markdown import render
from bot.sandbox.forge.store import Comment, Pull, Review

router = APIRouter(include_in_schema=False)

STYLE = (Path(__file__).parent / "style.css").read_text()

MARKS = {
    "success": "✓",
    "failure": "✗",
    "error": "✗",
    "in_progress": "●",
    "skipped": "⊘",
    "cancelled": "⊘",
    "neutral": "■",
}

REFRESH_SECONDS = 2
MAX_COMMITS_SHOWN = 20


def _shown(owner: str, name: str, request: Request) -> Forge:
    forge: Forge = request.app.state.forge
    if f"{owner}/{name}".lower() != forge.repository.lower():
        raise not_found()
    return forge


Shown = Annotated[Forge, Depends(_shown)]

escape = html.escape


def _page(forge: Forge, title: str, here: str, body: str, *, is_changing: bool = False) -> HTMLResponse:
    """The frame around every page; one that is still changing loads itself again."""
    base = f"/{forge.repository}"
    owner, name = forge.repository.split("/")
    waiting = sum(pull.state == "open" for pull in forge.store.pulls())
    tabs = (("Code", base), (f"Pull requests {waiting}", f"{base}/pulls"), ("Actions", f"{base}/actions"))
    navigation = "".join(
        f'<a href="{url}"{" class=here" if text.split()[0] == here else ""}>{escape(text)}</a>' for text, url in tabs
    )
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if is_changing else ""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{refresh}'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)} · {forge.repository}</title>'
        f"<style>{STYLE}</style></head><body>"
        f'<header class="top"><div class="wide"><div class="path">{escape(owner)} / '
        f'<a href="{base}"><b>{escape(name)}</b></a></div><nav>{navigation}</nav></div></header><main><div class="wide">{body}</div></main></body></html>'
    )


# The repository


@router.get("/")
def front(request: Request) -> HTMLResponse:
    forge: Forge = request.app.state.forge
    return repository(forge)


@router.get("/{owner}/{name}")
def repository(forge: Shown) -> HTMLResponse:
    base = f"/{forge.repository}"
    tip = forge.git.branch(DEFAULT_BRANCH)
    if tip is None:
        how = f"git clone {forge.server_url}/{forge.repository}.git"
        return _page(forge, "Code", "Code", f"<h1>Nothing here yet</h1><pre>{escape(how)}</pre>")
    rows = "".join(
        f"<div class=row><span class=grow>{'📁' if entry.kind == 'tree' else '📄'} "
        f'<a href="{base}/{"tree" if entry.kind == "tree" else "blob"}/{DEFAULT_BRANCH}/{escape(entry.path)}">'
        f"{escape(entry.path)}</a></span></div>"
        for entry in sorted(forge.git.entries(tip), key=lambda entry: (entry.kind != "tree", entry.path))
    )
    branches = "".join(
        f'<div class=row><a href="{base}/commits/{escape(ref.name[11:])}">{escape(ref.name[11:])}</a>'
        f"<span class=right>{_sha(forge, ref.sha)}</span></div>"
        for ref in forge.git.refs("refs/heads/")
    )
    pulls = "".join(_pull_row(forge, pull) for pull in reversed(forge.store.pulls()) if pull.state == "open")
    commits = "".join(_commit_row(forge, commit) for commit in forge.git.commits(tip, limit=10))
    body = (
        f"<h1>{escape(forge.repository)}</h1><p class=quiet><code>{forge.server_url}{base}.git</code></p>"
        f"<div class=box>{rows}</div>"
        f"<h2>Open pull requests</h2><div class=box>{pulls or '<div class=row>None.</div>'}</div>"
        f"<h2>Recent commits on {DEFAULT_BRANCH}</h2><div class=box>{commits}</div>"
        f"<h2>Branches</h2><div class=box>{branches}</div>"
    )
    return _page(forge, "Code", "Code", body)


@router.get("/{owner}/{name}/commits/{ref:path}")
def commits(forge: Shown, ref: str) -> HTMLResponse:
    tip = forge.git.resolve(ref)
    if tip is None:
        raise not_found()
    rows = "".join(_commit_row(forge, commit) for commit in forge.git.commits(tip, limit=100))
    return _page(forge, ref, "Code", f"<h1>Commits of {escape(ref)}</h1><div class=box>{rows}</div>")


@router.get("/{owner}/{name}/commit/{sha}")
def commit(forge: Shown, sha: str) -> HTMLResponse:
    full = forge.git.resolve(sha)
    if full is None:
        raise not_found()
    found = forge.git.commit(full)
    files = forge.git.diff(found.parents[0] if found.parents else EMPTY_TREE, full)
    message = found.message.partition("\n")[2].strip()
    body = (
        f"<h1>{escape(found.title)}</h1><p class=quiet>{escape(found.author.name)} committed "
        f"{_time(found.committed_at)} · <span class=sha>{full}</span></p>{f'<pre>{escape(message)}</pre>' if message else ''}"
        f"{_checks(forge, full)}{_files(files)}"
    )
    return _page(forge, found.title, "Code", body)


@router.get("/{owner}/{name}/tree/{rest:path}")
def tree(forge: Shown, rest: str) -> HTMLResponse:
    ref, commit_sha, path = _ref_and_path(forge, rest)
    base = f"/{forge.repository}"
    rows = "".join(
        f"<div class=row>{'📁' if entry.kind == 'tree' else '📄'} "
        f'<a href="{base}/{"tree" if entry.kind == "tree" else "blob"}/{escape(ref)}/{escape(entry.path)}">'
        f"{escape(entry.path)}</a></div>"
        for entry in forge.git.entries(commit_sha, path)
    )
    return _page(forge, path or ref, "Code", f"<h1>{escape(path or ref)}</h1><div class=box>{rows}</div>")


@router.get("/{owner}/{name}/blob/{rest:path}")
def blob(forge: Shown, rest: str) -> HTMLResponse:
    _, commit_sha, path = _ref_and_path(forge, rest)
    text = _file(forge, commit_sha, path).decode(errors="replace")
    if path.endswith(".md"):
        shown = f"<div class=text>{render(text)}</div>"
    else:
        lines = (
            f"<div><span class=no>{number}</span>{escape(line)}</div>"
            for number, line in enumerate(text.splitlines(), 1)
        )
        shown = f"<div class=diff>{''.join(lines)}</div>"
    return _page(forge, path, "Code", f"<h1>{escape(path)}</h1><div class=box>{shown}</div>")


@router.get("/{owner}/{name}/raw/{rest:path}")
def raw(forge: Shown, rest: str) -> Response:
    _, commit_sha, path = _ref_and_path(forge, rest)
    return PlainTextResponse(_file(forge, commit_sha, path))


def _ref_and_path(forge: Forge, rest: str) -> tuple[str, str, str]:
    """Split ``branch/with/slash/path``: the shortest beginning that is a reference or a commit."""
    parts = rest.strip("/").split("/")
    for length in range(1, len(parts) + 1):
        ref = "/".join(parts[:length])
        if sha := forge.git.resolve(ref):
            return ref, sha, "/".join(parts[length:])
    raise not_found()


def _file(forge: Forge, commit_sha: str, path: str) -> bytes:
    entries = forge.git.entries(commit_sha, path) if path else []
    if [(entry.path, entry.kind) for entry in entries] != [(path, "blob")]:
        raise not_found()
    return forge.git.file(commit_sha, path)


# Pull requests


@router.get("/{owner}/{name}/pulls")
def pulls(forge: Shown) -> HTMLResponse:
    def box(title: str, found: Iterable[Pull]) -> str:
        rows = "".join(_pull_row(forge, pull) for pull in found)
        return f"<div class=box><div class=head><b>{title}</b></div>{rows or '<div class=row>None.</div>'}</div>"

    newest = list(reversed(forge.store.pulls()))
    body = box("Open", (pull for pull in newest if pull.state == "open")) + box(
        "Closed", (pull for pull in newest if pull.state == "closed")
    )
    return _page(forge, "Pull requests", "Pull", body)


@router.get("/{owner}/{name}/pull/{number}")
def pull_request(forge: Shown, number: int) -> HTMLResponse:
    pull = forge.pull(number)
    base = f"/{forge.repository}"
    labels = " ".join(f"<span class=label>{escape(name)}</span>" for name in pull.labels)
    said: list[Comment | Review] = [*forge.store.comments(number), *forge.store.reviews(number)]
    said.sort(key=lambda one: (one.created_at if isinstance(one, Comment) else one.submitted_at, one.id))
    merged = (
        f"<p><b>{escape(pull.merged_by)}</b> merged {_sha(forge, pull.merge_commit)} {_time(pull.merged_at)}</p>"
        if pull.merged_at
        else ""
    )
    mergeable = forge.is_mergeable(pull)
    conflict = "<p class=problem>This branch has conflicts that must be resolved.</p>" if mergeable is False else ""
    brought = "".join(_commit_row(forge, commit) for commit in forge.pull_commits(pull))
    body = (
        f"<h1>{escape(pull.title)} <span class=number>#{number}</span></h1>"
        f"<p>{_state(pull)} <b>{escape(pull.author)}</b> wants to merge <code>{escape(pull.head)}</code> into "
        f'<a href="{base}">{escape(pull.base)}</a> · opened {_time(pull.created_at)} {labels}</p>'
        + _words("description", pull.author, pull.body or "*No description.*", pull.created_at, "opened")
        + "".join(_said(one) for one in said)
        + merged
        + conflict
        + _checks(forge, pull.head_sha)
        + f"<h2>Commits</h2><div class=box>{brought}</div>"
        + _files(forge.pull_files(pull))
    )
    changing = any(job.status != "completed" for _, job in forge.jobs_on(pull.head_sha))
    return _page(forge, f"{pull.title} #{number}", "Pull", body, is_changing=changing)


def _said(one: Comment | Review) -> str:
    if isinstance(one, Comment):
        edited = "" if one.updated_at == one.created_at else f" · edited {_time(one.updated_at)}"
        return _words(f"issuecomment-{one.id}", one.author, one.body, one.created_at, "commented", after=edited)
    verb = {"APPROVED": "approved these changes", "CHANGES_REQUESTED": "requested changes"}.get(one.state, "reviewed")
    return _words(f"pullrequestreview-{one.id}", one.author, one.body, one.submitted_at, verb)


def _words(anchor: str, who: str, text: str, when: datetime, verb: str, *, after: str = "") -> str:
    shown = f"<div class=text>{render(text)}</div>" if text else ""
    return (
        f'<div class=box id="{anchor}"><div class=head><b>{escape(who)}</b> '
        f"<span class=quiet>{verb} {_time(when)}{after}</span></div>{shown}</div>"
    )


def _state(pull: Pull) -> str:
    word = "merged" if pull.merged_at else "draft" if pull.draft and pull.state == "open" else pull.state
    return f'<span class="state {word}">{word.title()}</span>'


def _pull_row(forge: Forge, pull: Pull) -> str:
    labels = " ".join(f"<span class=label>{escape(name)}</span>" for name in pull.labels)
    return (
        f'<div class=row>{_state(pull)}<span class=grow><a href="/{forge.repository}/pull/{pull.number}">'
        f"<b>{escape(pull.title)}</b></a> {labels}<br><span class=quiet>#{pull.number} by {escape(pull.author)}, "
        f"{_time(pull.created_at)} · {escape(pull.head)} → {escape(pull.base)}</span></span>"
        f"<span class=right>{_mark_of_commit(forge, pull.head_sha)}</span></div>"
    )


def _checks(forge: Forge, sha: str) -> str:
    """The checks of a commit, each with a link to where it says more."""
    rows = [
        _check_row(
            job.conclusion or job.status, job.name, f"{run.workflow_name} / ", _job_url(forge, run, job), _took(job)
        )
        for run, job in forge.jobs_on(sha)
    ]
    rows += [
        _check_row(check.conclusion or check.status, check.name, "", check.details_url, escape(check.output.title))
        for check in forge.store.checks(sha)
    ]
    latest = {status.context: status for status in reversed(forge.store.statuses(sha))}
    rows += [
        _check_row(status.state, status.context, "", status.target_url, escape(status.description))
        for status in latest.values()
    ]
    return f"<h2>Checks</h2><div class=box id=checks>{''.join(rows)}</div>" if rows else ""


def _check_row(state: str, name: str, group: str, url: str, more: str) -> str:
    is_link = url.startswith(("/", "http://", "https://"))
    link = f'<a href="{escape(url)}">{escape(name)}</a>' if is_link else escape(name)
    return (
        f'<div class=row data-check="{escape(name)}" data-state="{state}">{_mark(state)}'
        f"<span class=grow><span class=quiet>{escape(group)}</span><b>{link}</b> "
        f"<span class=quiet>{state.replace('_', ' ')}</span></span><span class=quiet>{more}</span></div>"
    )


def _mark(state: str) -> str:
    return f'<span class="mark {state}" title="{state}">{MARKS.get(state, "○")}</span>'


def _mark_of_commit(forge: Forge, sha: str) -> str:
    states = {job.conclusion or job.status for _, job in forge.jobs_on(sha)}
    states |= {check.conclusion or check.status for check in forge.store.checks(sha)}
    return next(
        (_mark(word) for word in ("failure", "in_progress", "queued", "cancelled", "success") if word in states), ""
    )


def _files(files: list[FileChange]) -> str:
    shown = "".join(
        f"<div class=box><div class=head><code>{escape(f'{file.previous_path} → ' if file.previous_path else '')}"
        f"{escape(file.path)}</code> <span class=quiet>{file.status}</span> "
        f"<span class='count plus'>+{file.additions}</span> <span class='count minus'>−{file.deletions}</span></div>{_diff(file.patch)}</div>"
        for file in files
    )
    return f"<h2>Changed files ({len(files)})</h2>{shown}"


def _diff(patch: str) -> str:
    """A patch with the line numbers of both sides."""
    rows = []
    old = new = 0
    for line in patch.splitlines():
        if hunk := re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)", line):
            old, new = int(hunk[1]), int(hunk[2])
            rows.append(f"<div class=hunk>{escape(line)}</div>")
            continue
        kind = {"+": "added", "-": "removed"}.get(line[:1], "")
        left, right = ("" if kind == "added" else old), ("" if kind == "removed" else new)
        old += kind != "added"
        new += kind != "removed"
        rows.append(
            f'<div class="{kind}"><span class=no>{left}</span><span class=no>{right}</span>{escape(line)}</div>'
        )
    return f"<div class=diff>{''.join(rows)}</div>" if rows else ""


# Workflow runs


@router.get("/{owner}/{name}/actions")
def all_runs(forge: Shown) -> HTMLResponse:
    runs = forge.actions.runs.all()
    rows = "".join(
        f"<div class=row>{_mark(run.conclusion or run.status)}<span class=grow>"
        f'<a href="/{forge.repository}/actions/runs/{run.id}"><b>{escape(run.title)}</b></a><br>'
        f"<span class=quiet>{escape(run.workflow_name)} #{run.number}: {run.event} by {escape(run.actor)}"
        f"</span></span>"
        f"<span class=quiet><code>{escape(run.head_branch)}</code> {_time(run.created_at)}</span></div>"
        for run in runs
    )
    changing = any(run.status != "completed" for run in runs)
    body = f"<h1>Workflow runs</h1><div class=box>{rows or '<div class=row>None yet.</div>'}</div>"
    return _page(forge, "Actions", "Actions", body, is_changing=changing)


@router.get("/{owner}/{name}/actions/runs/{identifier}")
def run_page(forge: Shown, identifier: int) -> HTMLResponse:
    run = forge.actions.runs.get(identifier)
    if run is None:
        raise not_found()
    jobs = "".join(
        _check_row(job.conclusion or job.status, job.name, "", _job_url(forge, run, job), _took(job))
        for job in run.jobs
    )
    summaries = "".join(
        f"<h2>{escape(job.name)} summary</h2><div class=box><div class=text>{render(job.summary)}</div></div>"
        for job in run.jobs
        if job.summary
    )
    notes = "".join(
        f"<div class=row>{_mark('failure' if note.level == 'failure' else 'neutral')}<span class=grow>"
        f"<b>{escape(job.name)}</b><br>{escape(note.message)}</span><span class=quiet>{escape(note.path)}:{note.line}</span></div>"
        for job in run.jobs
        for note in job.annotations
    )
    body = (
        _run_head(forge, run)
        + f"<h2>Jobs</h2><div class=box>{jobs or '<div class=row>None.</div>'}</div>"
        + (f"<h2>Annotations</h2><div class=box>{notes}</div>" if notes else "")
        + summaries
    )
    return _page(forge, run.title, "Actions", body, is_changing=run.status != "completed")


@router.get("/{owner}/{name}/actions/runs/{identifier}/job/{job_id}")
def job_page(forge: Shown, identifier: int, job_id: int) -> HTMLResponse:
    run, job = _run_and_job(forge, identifier, job_id)
    steps = "".join(
        f"<div class=row>{_mark(step.conclusion or step.status)}<span class=grow>{escape(step.name)}</span>"
        f"<span class=quiet>{_duration(step.started_at, step.completed_at)}</span></div>"
        for step in job.steps
    )
    log = "".join(_log_line(line) for line in forge.actions.runs.log(run, job).splitlines())
    base = f"{_job_url(forge, run, job)}/logs"
    body = (
        _run_head(forge, run)
        + f"<h2>{_mark(job.conclusion or job.status)} {escape(job.name)}</h2><div class=box>{steps}</div>"
        + f'<h2>Log <a class=quiet href="{base}">raw</a></h2><div class="box log">{log}</div>'
        + (f"<h2>Summary</h2><div class=box><div class=text>{render(job.summary)}</div></div>" if job.summary else "")
    )
    return _page(forge, f"{job.name} · {run.title}", "Actions", body, is_changing=job.status != "completed")


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


def _run_head(forge: Forge, run: Run) -> str:
    base = f"/{forge.repository}"
    word = run.conclusion or run.status
    pulls = " ".join(f'<a href="{base}/pull/{number}">#{number}</a>' for number in run.pulls)
    problem = f"<div class=problem>{escape(run.problem)}</div>" if run.problem else ""
    return (
        f'<h1><a href="{base}/actions/runs/{run.id}">{escape(run.title)}</a> '
        f"<span class=number>#{run.number}</span></h1>"
        f'<p><span class="state {word}">{word.replace("_", " ").title()}</span> {escape(run.workflow_name)} · '
        f"{run.event} by <b>{escape(run.actor)}</b> {_time(run.created_at)} · {pulls} <code>{escape(run.head_branch)}</code> "
        f"{_sha(forge, run.head_sha)}</p>{problem}"
    )


def _job_url(forge: Forge, run: Run, job: Job) -> str:
    return f"/{forge.repository}/actions/runs/{run.id}/job/{job.id}"


def _log_line(line: str) -> str:
    at, _, text = line.partition(" ")
    command = re.match(r"##\[(\w+)\](.*)", text)
    if command and command[1] == "endgroup":
        return ""
    kind, shown = (command[1], f"▾ {command[2]}" if command[1] == "group" else command[2]) if command else ("", text)
    return f'<div class="{escape(kind)}"><span class=at>{escape(at[11:19])}</span>{escape(shown)}</div>'


# Small parts


def _commit_row(forge: Forge, commit: Commit) -> str:
    return (
        f'<div class=row><span class=grow><a href="/{forge.repository}/commit/{commit.sha}">'
        f"{escape(commit.title)}</a><br><span class=quiet>{escape(commit.author.name)}, {_time(commit.committed_at)}</span></span>"
        f"{_mark_of_commit(forge, commit.sha)}{_sha(forge, commit.sha)}</div>"
    )


def _sha(forge: Forge, sha: str) -> str:
    return f'<a class=sha href="/{forge.repository}/commit/{sha}">{sha[:7]}</a>'


def _time(moment: datetime | None) -> str:
    iso = stamp(moment) or ""
    return f'<time datetime="{iso}">{iso.replace("T", " ").removesuffix("Z")} UTC</time>'


def _took(job: Job) -> str:
    return _duration(job.started_at, job.completed_at)


def _duration(start: datetime | None, end: datetime | None) -> str:
    return f"{(end - start).total_seconds():.1f} s" if start and end else ""
