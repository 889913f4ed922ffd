"""What a person sees in the browser: the repository, pull requests, workflow runs. Made on the server, no scripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from bot.sandbox.actions.records import Job, Run
from bot.sandbox.forge.answers import stamp
from bot.sandbox.forge.errors import not_found
from bot.sandbox.forge.forge import DEFAULT_BRANCH, Forge
from bot.sandbox.forge.git import EMPTY_TREE, Commit, FileChange, TreeEntry
from bot.sandbox.forge.html import Child, Html, tag, together
from bot.sandbox.forge.markdown import render
from bot.sandbox.forge.store import Comment, Pull, Review

router = APIRouter(include_in_schema=False)

STYLE = Html((Path(__file__).parent / "style.css").read_text())

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
MAX_COMMITS = 100


def _shown(owner: str, name: str, request: Request) -> Forge:
    forge: Forge | None = request.app.state.repositories.named(f"{owner}/{name}")
    if forge is None:
        raise not_found()
    return forge


Shown = Annotated[Forge, Depends(_shown)]


def _page(forge: Forge, title: str, here: str, *body: Child, is_changing: bool = False) -> HTMLResponse:
    """The frame around every page; one that is still changing loads itself again."""
    base = f"/{forge.repository}"
    owner, name = forge.repository.split("/")
    waiting = sum(pull.state == "open" for pull in forge.store.pulls())
    tabs = {"Code": base, "Pull requests": f"{base}/pulls", "Actions": f"{base}/actions"}
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width"),
        tag("meta", http_equiv="refresh", content=str(REFRESH_SECONDS)) if is_changing else None,
        tag("title", f"{title} · {forge.repository}"),
        tag("style", STYLE),
    )
    navigation = tag(
        "nav",
        [
            tag(
                "a",
                text,
                f" {waiting}" if text == "Pull requests" else None,
                href=url,
                class_="here" * (text == here),
            )
            for text, url in tabs.items()
        ],
    )
    path = tag("div", owner, " / ", tag("a", tag("b", name), href=base), class_="path")
    top = tag("header", tag("div", path, navigation, class_="wide"), class_="top")
    main = tag("main", tag("div", *body, class_="wide"))
    return HTMLResponse(f"<!doctype html>{tag('html', head, tag('body', top, main), lang='en')}")


# The repository


@router.get("/")
def front(request: Request) -> HTMLResponse:
    forge: Forge = request.app.state.forge
    return repository(forge)


@router.get("/{owner}/{name}")
def repository(forge: Shown) -> HTMLResponse:
    tip = forge.git.branch(DEFAULT_BRANCH)
    clone = f"{forge.server_url}/{forge.repository}.git"
    if tip is None:
        nothing = tag("p", "Nothing is pushed here yet: ", tag("code", f"git clone {clone}"))
        return _page(forge, "Code", "Code", tag("h1", forge.repository), nothing)
    waiting = [pull for pull in reversed(forge.store.pulls()) if pull.state == "open"]
    branches = [
        _row(
            tag("a", ref.name[11:], href=f"/{forge.repository}/commits/{quote(ref.name[11:])}"),
            right=_sha(forge, ref.sha),
        )
        for ref in forge.git.refs("refs/heads/")
    ]
    return _page(
        forge,
        "Code",
        "Code",
        tag("h1", forge.repository),
        tag("p", tag("code", clone), class_="quiet"),
        _entries(forge, DEFAULT_BRANCH, forge.git.entries(tip)),
        _section("Open pull requests", [_pull_row(forge, pull) for pull in waiting]),
        _section(
            f"Recent commits on {DEFAULT_BRANCH}",
            [_commit_row(forge, commit) for commit in forge.git.commits(tip, limit=10)],
        ),
        _section("Branches", branches),
    )


@router.get("/{owner}/{name}/commits/{ref:path}")
def commits(forge: Shown, ref: str) -> HTMLResponse:
    tip = forge.git.resolve(ref)
    if tip is None:
        raise not_found()
    rows = [_commit_row(forge, commit) for commit in forge.git.commits(tip, limit=MAX_COMMITS)]
    return _page(forge, ref, "Code", tag("h1", "Commits of ", ref), _box(rows))


@router.get("/{owner}/{name}/commit/{sha}")
def commit(forge: Shown, sha: str) -> HTMLResponse:
    full = forge.git.resolve(sha)
    if full is None:
        raise not_found()
    found = forge.git.commit(full)
    message = found.message.partition("\n")[2].strip()
    who = tag(
        "p", found.author.name, " committed ", _time(found.committed_at), " · ", tag("span", full, class_="sha")
    )
    return _page(
        forge,
        found.title,
        "Code",
        tag("h1", found.title),
        who,
        tag("pre", message) if message else None,
        _checks(forge, full),
        _files(forge.git.diff(found.parents[0] if found.parents else EMPTY_TREE, full)),
    )


@router.get("/{owner}/{name}/tree/{rest:path}")
def tree(forge: Shown, rest: str) -> HTMLResponse:
    ref, sha, path = _ref_and_path(forge, rest)
    entries = _entries(forge, ref, forge.git.entries(sha, path))
    return _page(forge, path or ref, "Code", tag("h1", path or ref), entries)


@router.get("/{owner}/{name}/blob/{rest:path}")
def blob(forge: Shown, rest: str) -> HTMLResponse:
    _, sha, path = _ref_and_path(forge, rest)
    text = _file(forge, sha, path).decode(errors="replace")
    lines = [
        tag("div", tag("span", str(at), class_="no"), line) for at, line in enumerate(text.splitlines(), start=1)
    ]
    shown = tag("div", render(text), class_="text") if path.endswith(".md") else tag("div", lines, class_="diff")
    return _page(forge, path, "Code", tag("h1", path), tag("div", shown, class_="box"))


@router.get("/{owner}/{name}/raw/{rest:path}")
def raw(forge: Shown, rest: str) -> Response:
    _, sha, path = _ref_and_path(forge, rest)
    return PlainTextResponse(_file(forge, sha, path))


def _ref_and_path(forge: Forge, rest: str) -> tuple[str, str, str]:
    """Split ``branch/with/slash/path``: the shortest beginning that is a reference or a commit."""
    parts = rest.strip("/").split("/")
    for length in range(1, len(parts) + 1):
        ref = "/".join(parts[:length])
        if sha := forge.git.resolve(ref):
            return ref, sha, "/".join(parts[length:])
    raise not_found()


def _file(forge: Forge, sha: str, path: str) -> bytes:
    entries = forge.git.entries(sha, path) if path else []
    if [(entry.path, entry.kind) for entry in entries] != [(path, "blob")]:
        raise not_found()
    return forge.git.file(sha, path)


def _entries(forge: Forge, ref: str, entries: Sequence[TreeEntry]) -> Html:
    def row(entry: TreeEntry) -> Html:
        sort = "tree" if entry.kind == "tree" else "blob"
        url = f"/{forge.repository}/{sort}/{quote(ref)}/{quote(entry.path)}"
        return _row("📁 " if sort == "tree" else "📄 ", tag("a", entry.path, href=url))

    return _box([row(entry) for entry in sorted(entries, key=lambda entry: (entry.kind != "tree", entry.path))])


# Pull requests


@router.get("/{owner}/{name}/pulls")
def pulls(forge: Shown) -> HTMLResponse:
    newest = list(reversed(forge.store.pulls()))
    boxes = [
        _box([_pull_row(forge, pull) for pull in newest if pull.state == state], head=state.title())
        for state in ("open", "closed")
    ]
    return _page(forge, "Pull requests", "Pull requests", boxes)


@router.get("/{owner}/{name}/pull/{number}")
def pull_request(forge: Shown, number: int) -> HTMLResponse:
    pull = forge.pull(number)
    said: list[Comment | Review] = [*forge.store.comments(number), *forge.store.reviews(number)]
    said.sort(key=lambda one: (one.created_at if isinstance(one, Comment) else one.submitted_at, one.id))
    head = tag(
        "p",
        _pull_state(pull),
        " ",
        tag("b", pull.author),
        " wants to merge ",
        tag("code", pull.head),
        " into ",
        tag("code", pull.base),
        " · opened ",
        _time(pull.created_at),
        _labels(pull),
    )
    return _page(
        forge,
        f"{pull.title} #{number}",
        "Pull requests",
        tag("h1", pull.title, " ", tag("span", f"#{number}", class_="number")),
        head,
        _words(pull.author, "opened", pull.created_at, pull.body or "*No description.*", anchor="description"),
        [_said(one) for one in said],
        _outcome(forge, pull),
        _checks(forge, pull.head_sha),
        _section("Commits", [_commit_row(forge, commit) for commit in forge.pull_commits(pull)]),
        _files(forge.pull_files(pull)),
        is_changing=any(job.status != "completed" for _, job in forge.jobs_on(pull.head_sha)),
    )


def _outcome(forge: Forge, pull: Pull) -> Html | None:
    if pull.merged_at:
        return tag(
            "p", tag("b", pull.merged_by), " merged ", _sha(forge, pull.merge_commit), " ", _time(pull.merged_at)
        )
    if forge.is_mergeable(pull) is False:
        return tag("p", "This branch has conflicts that must be resolved.", class_="problem")
    return None


def _said(one: Comment | Review) -> Html:
    if isinstance(one, Comment):
        edited = one.updated_at if one.updated_at != one.created_at else None
        return _words(
            one.author, "commented", one.created_at, one.body, anchor=f"issuecomment-{one.id}", edited=edited
        )
    verb = {"APPROVED": "approved these changes", "CHANGES_REQUESTED": "requested changes"}.get(one.state, "reviewed")
    return _words(one.author, verb, one.submitted_at, one.body, anchor=f"pullrequestreview-{one.id}")


def _words(who: str, verb: str, when: datetime, text: str, *, anchor: str, edited: datetime | None = None) -> Html:
    after = [" · edited ", _time(edited)] if edited else []
    head = tag("div", tag("b", who), " ", tag("span", verb, " ", _time(when), *after, class_="quiet"), class_="head")
    return tag("div", head, tag("div", render(text), class_="text") if text else None, class_="box", id=anchor)


def _pull_state(pull: Pull) -> Html:
    word = "merged" if pull.merged_at else "draft" if pull.draft and pull.state == "open" else pull.state
    return _state(word)


def _labels(pull: Pull) -> list[Html]:
    return [together(" ", tag("span", name, class_="label")) for name in pull.labels]


def _pull_row(forge: Forge, pull: Pull) -> Html:
    link = tag("a", tag("b", pull.title), href=f"/{forge.repository}/pull/{pull.number}")
    about = f"#{pull.number} by {pull.author}, ", _time(pull.created_at), f" · {pull.head} → {pull.base}"
    return _row(
        link,
        _labels(pull),
        tag("br"),
        tag("span", about, class_="quiet"),
        left=_pull_state(pull),
        right=_mark_of_commit(forge, pull.head_sha),
    )


def _checks(forge: Forge, sha: str) -> Html | None:
    """The checks of a commit, each with a link to where it says more."""
    jobs = [_job_row(forge, run, job, group=f"{run.workflow_name} / ") for run, job in forge.jobs_on(sha)]
    reported = [
        _check_row(check.conclusion or check.status, check.name, url=check.details_url, more=check.output.title)
        for check in forge.store.checks(sha)
    ]
    latest = {status.context: status for status in reversed(forge.store.statuses(sha))}
    statuses = [
        _check_row(status.state, status.context, url=status.target_url, more=status.description)
        for status in latest.values()
    ]
    rows = [*jobs, *reported, *statuses]
    return _section("Checks", rows) if rows else None


def _check_row(state: str, name: str, *, url: str, more: str, group: str = "") -> Html:
    # Others give the address of their checks: nothing that a click would run.
    link = tag("a", name, href=url) if url.startswith(("/", "http://", "https://")) else name
    words = tag("span", state.replace("_", " "), class_="quiet")
    inside = tag("span", tag("span", group, class_="quiet"), tag("b", link), " ", words, class_="grow")
    after = tag("span", more, class_="quiet")
    return tag("div", _mark(state), inside, after, class_="row", data_check=name, data_state=state)


def _job_row(forge: Forge, run: Run, job: Job, *, group: str = "") -> Html:
    took = _duration(job.started_at, job.completed_at)
    return _check_row(job.conclusion or job.status, job.name, url=_job_url(forge, run, job), more=took, group=group)


def _mark_of_commit(forge: Forge, sha: str) -> Html | None:
    """The one mark that sums up a commit's checks."""
    states = {job.conclusion or job.status for _, job in forge.jobs_on(sha)}
    states |= {check.conclusion or check.status for check in forge.store.checks(sha)}
    order = ("failure", "in_progress", "queued", "cancelled", "success")
    return next((_mark(word) for word in order if word in states), None)


def _files(files: list[FileChange]) -> Html:
    def box(file: FileChange) -> Html:
        head = tag(
            "div",
            tag("code", f"{file.previous_path} → " if file.previous_path else "", file.path),
            tag("span", f" {file.status} ", class_="quiet"),
            tag("span", f"+{file.additions} ", class_="plus"),
            tag("span", f"−{file.deletions}", class_="minus"),
            class_="head",
        )
        return tag("div", head, _diff(file.patch), class_="box")

    return together(tag("h2", f"Changed files ({len(files)})"), [box(file) for file in files])


def _diff(patch: str) -> Html:
    """A patch with the line numbers of both sides."""
    rows = []
    old = new = 0
    for line in patch.splitlines():
        if hunk := re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)", line):
            old, new = int(hunk[1]), int(hunk[2])
            rows.append(tag("div", line, class_="hunk"))
            continue
        kind = {"+": "added", "-": "removed"}.get(line[:1], "")
        left = tag("span", "" if kind == "added" else str(old), class_="no")
        right = tag("span", "" if kind == "removed" else str(new), class_="no")
        rows.append(tag("div", left, right, line, class_=kind))
        old += kind != "added"
        new += kind != "removed"
    return tag("div", rows, class_="diff")


# Workflow runs


@router.get("/{owner}/{name}/actions")
def all_runs(forge: Shown) -> HTMLResponse:
    runs = forge.actions.runs.all()
    rows = [
        _row(
            tag("a", tag("b", run.title), href=f"/{forge.repository}/actions/runs/{run.id}"),
            tag("br"),
            tag("span", f"{run.workflow_name} #{run.number}: {run.event} by {run.actor}", class_="quiet"),
            left=_mark(run.conclusion or run.status),
            right=[tag("code", run.head_branch), " ", _time(run.created_at)],
        )
        for run in runs
    ]
    changing = any(run.status != "completed" for run in runs)
    return _page(forge, "Actions", "Actions", tag("h1", "Workflow runs"), _box(rows), is_changing=changing)


@router.get("/{owner}/{name}/actions/runs/{identifier}")
def run_page(forge: Shown, identifier: int) -> HTMLResponse:
    run = forge.actions.runs.get(identifier)
    if run is None:
        raise not_found()
    notes = [
        _row(
            tag("b", job.name),
            tag("br"),
            note.message,
            left=_mark("failure" if note.level == "failure" else "neutral"),
            right=tag("span", f"{note.path}:{note.line}", class_="quiet"),
        )
        for job in run.jobs
        for note in job.annotations
    ]
    return _page(
        forge,
        run.title,
        "Actions",
        _run_head(forge, run),
        _section("Jobs", [_job_row(forge, run, job) for job in run.jobs]),
        _section("Annotations", notes) if notes else None,
        [_summary(f"{job.name} summary", job) for job in run.jobs],
        is_changing=run.status != "completed",
    )


@router.get("/{owner}/{name}/actions/runs/{identifier}/job/{job_id}")
def job_page(forge: Shown, identifier: int, job_id: int) -> HTMLResponse:
    run, job = _run_and_job(forge, identifier, job_id)
    steps = [
        _row(
            step.name,
            left=_mark(step.conclusion or step.status),
            right=tag("span", _duration(step.started_at, step.completed_at), class_="quiet"),
        )
        for step in job.steps
    ]
    log = [_log_line(line) for line in forge.actions.runs.log(run, job).splitlines()]
    return _page(
        forge,
        f"{job.name} · {run.title}",
        "Actions",
        _run_head(forge, run),
        tag("h2", _mark(job.conclusion or job.status), " ", job.name),
        _box(steps),
        tag("h2", "Log ", tag("a", "raw", href=f"{_job_url(forge, run, job)}/logs", class_="quiet")),
        tag("div", log, class_="box log"),
        _summary("Summary", job),
        is_changing=job.status != "completed",
    )


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


def _run_head(forge: Forge, run: Run) -> Html:
    base = f"/{forge.repository}"
    title = tag("a", run.title, href=f"{base}/actions/runs/{run.id}")
    about = tag(
        "p",
        _state(run.conclusion or run.status),
        f" {run.workflow_name} · {run.event} by ",
        tag("b", run.actor),
        " ",
        _time(run.created_at),
        " · ",
        [together(tag("a", f"#{number}", href=f"{base}/pull/{number}"), " ") for number in run.pulls],
        tag("code", run.head_branch),
        " ",
        _sha(forge, run.head_sha),
    )
    problem = tag("div", run.problem, class_="problem") if run.problem else None
    return together(tag("h1", title, " ", tag("span", f"#{run.number}", class_="number")), about, problem)


def _summary(title: str, job: Job) -> Html | None:
    if not job.summary:
        return None
    return together(tag("h2", title), tag("div", tag("div", render(job.summary), class_="text"), class_="box"))


def _job_url(forge: Forge, run: Run, job: Job) -> str:
    return f"/{forge.repository}/actions/runs/{run.id}/job/{job.id}"


def _log_line(line: str) -> Html | None:
    at, _, text = line.partition(" ")
    command = re.match(r"##\[(\w+)\](.*)", text)
    if command and command[1] == "endgroup":
        return None
    kind, shown = (command[1], command[2]) if command else ("", text)
    clock = tag("span", at[11:19], class_="at")
    return tag("div", clock, "▾ " if kind == "group" else None, shown, class_=kind)


# Small parts


def _box(rows: Sequence[Html], *, head: str = "") -> Html:
    inside = rows or [_row("None.")]
    return tag("div", tag("div", tag("b", head), class_="head") if head else None, inside, class_="box")


def _section(title: str, rows: Sequence[Html]) -> Html:
    return together(tag("h2", title), _box(rows))


def _row(*inside: Child, left: Child = None, right: Child = None) -> Html:
    return tag(
        "div",
        left,
        tag("span", *inside, class_="grow"),
        tag("span", right, class_="right") if right else None,
        class_="row",
    )


def _commit_row(forge: Forge, commit: Commit) -> Html:
    return _row(
        tag("a", commit.title, href=f"/{forge.repository}/commit/{commit.sha}"),
        tag("br"),
        tag("span", f"{commit.author.name}, ", _time(commit.committed_at), class_="quiet"),
        right=_several(_mark_of_commit(forge, commit.sha), _sha(forge, commit.sha)),
    )


def _several(*parts: Html | None) -> Iterable[Html]:
    return [part for part in parts if part is not None]


def _state(word: str) -> Html:
    return tag("span", word.replace("_", " ").capitalize(), class_=f"state {word}")


def _mark(state: str) -> Html:
    return tag("span", MARKS.get(state, "○"), class_=f"mark {state}", title=state)


def _sha(forge: Forge, sha: str) -> Html:
    return tag("a", sha[:7], class_="sha", href=f"/{forge.repository}/commit/{sha}")


def _time(moment: datetime | None) -> Html:
    iso = stamp(moment) or ""
    return tag("time", f"{iso.replace('T', ' ').removesuffix('Z')} UTC", datetime=iso)


def _duration(start: datetime | None, end: datetime | None) -> str:
    return f"{(end - start).total_seconds():.1f} s" if start and end else ""
