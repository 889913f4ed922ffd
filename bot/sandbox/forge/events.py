"""GitHub's webhook payloads: what a workflow finds in $GITHUB_EVENT_PATH, and which commit it runs at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.sandbox.actions.actions import Event
from bot.sandbox.forge.git import ZERO
from bot.sandbox.forge.people import MERGE_QUEUE, Person
from bot.sandbox.forge.store import Comment, Pull, Queued, Review

if TYPE_CHECKING:
    from bot.sandbox.forge.forge import Forge

__all__ = ["Event", "commented", "dispatched", "merge_group", "of_pull", "pushed", "reviewed", "scheduled"]


def _common(forge: Forge, by: Person) -> dict[str, Any]:
    return {"repository": forge.answers.repository(), "sender": forge.answers.user(by.login)}


def of_pull(forge: Forge, pull: Pull, action: str, by: Person, **more: Any) -> list[Event]:
    """``pull_request_target`` (as the base branch has it) and ``pull_request`` (as the test merge has it).

    ``more`` is what the payload of some actions has besides.
    """
    payload = {
        "action": action,
        "number": pull.number,
        "pull_request": forge.answers.whole_pull(pull),
        **more,
        **_common(forge, by),
    }
    base_tip = forge.git.branch(pull.base)
    if base_tip is None:
        return []
    compared_from = forge.git.merge_base(base_tip, pull.head_sha) if pull.state == "open" else pull.base_sha
    shared: dict[str, Any] = {
        "payload": payload,
        "action": action,
        "head_sha": pull.head_sha,
        "head_branch": pull.head,
        "actor": by.login,
        "title": pull.title,
        "branch": pull.base,
        "changed_paths": forge.git.changed_paths(compared_from or base_tip, pull.head_sha),
        "pulls": (pull.number,),
    }
    target = Event(
        name="pull_request_target", workflow_sha=base_tip, sha=base_tip, ref=f"refs/heads/{pull.base}", **shared
    )
    if not pull.merge_commit:  # with a conflict there is no test merge, and GitHub runs no pull_request workflow
        return [target]
    merge = pull.merge_commit
    return [
        target,
        Event(name="pull_request", workflow_sha=merge, sha=merge, ref=f"refs/pull/{pull.number}/merge", **shared),
    ]


def pushed(forge: Forge, ref: str, old: str, new: str, by: Person) -> list[Event]:
    """``push``. A deletion starts nothing: there is no commit left to take a workflow from."""
    tip = forge.git.resolve(new) if new != ZERO else None
    if tip is None or not ref.startswith(("refs/heads/", "refs/tags/")):
        return []
    git, answers = forge.git, forge.answers
    branch = ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ""
    created = old == ZERO
    main = git.branch("main")
    since = old if not created else (git.merge_base(main, tip) if main and main != tip else None)
    new_commits = git.commits(f"{since}..{tip}", limit=20) if since else [git.commit(tip)]
    commits = [answers.pushed_commit(commit) for commit in reversed(new_commits)]
    payload = {
        "ref": ref,
        "before": old,
        "after": new,
        "created": created,
        "deleted": False,
        "forced": not created and not git.is_ancestor(old, tip),
        "base_ref": None,
        "compare": f"{answers.page}/compare/{old[:12]}...{new[:12]}",
        "commits": commits,
        "head_commit": answers.pushed_commit(git.commit(tip)),
        "pusher": {"name": by.login, "email": by.identity.email},
        **_common(forge, by),
    }
    changed = git.changed_paths(since, tip) if since else tuple(e.path for e in git.entries(tip, recursive=True))
    return [
        Event(
            name="push",
            payload=payload,
            workflow_sha=tip,
            sha=tip,
            ref=ref,
            head_sha=tip,
            head_branch=ref.split("/", 2)[2],
            actor=by.login,
            title=git.commit(tip).title,
            branch=branch,
            tag="" if branch else ref.removeprefix("refs/tags/"),
            changed_paths=changed,
        )
    ]


def merge_group(forge: Forge, pull: Pull, entry: Queued, ref: str, action: str, *, reason: str = "") -> Event:
    """``merge_group``: runs at the commit that would be merged, with the workflows that it has."""
    commit = forge.git.commit(entry.group)
    payload = {
        "action": action,
        "merge_group": {
            "head_sha": entry.group,
            "head_ref": ref,
            "base_sha": entry.base_sha,
            "base_ref": f"refs/heads/{pull.base}",
            "head_commit": forge.answers.short_commit(commit),
        },
        **({"reason": reason} if reason else {}),
        **_common(forge, MERGE_QUEUE),
    }
    return Event(
        name="merge_group",
        payload=payload,
        workflow_sha=entry.group,
        sha=entry.group,
        ref=ref,
        head_sha=entry.group,
        head_branch=ref.removeprefix("refs/heads/"),
        actor=MERGE_QUEUE.login,
        title=commit.title,
        action=action,
        branch=pull.base,
    )


def dispatched(
    forge: Forge, path: str, name: str, *, ref: str, sha: str, inputs: dict[str, str], by: Person
) -> Event:
    """``workflow_dispatch`` of one workflow."""
    return Event(
        name="workflow_dispatch",
        payload={"inputs": inputs, "ref": ref, "workflow": path, **_common(forge, by)},
        workflow_sha=sha,
        sha=sha,
        ref=ref,
        head_sha=sha,
        head_branch=ref.split("/", 2)[2],
        actor=by.login,
        title=name,
        inputs=inputs,
        only_workflow=path,
    )


def scheduled(forge: Forge, cron: str) -> list[Event]:
    """``schedule``: runs at the default branch, by whom GitHub names then, the last who changed the workflow."""
    tip = forge.git.branch("main")
    if tip is None:
        return []
    by = forge.git.commit(tip).author.name
    return [
        Event(
            name="schedule",
            payload={"schedule": cron, "repository": forge.answers.repository()},
            workflow_sha=tip,
            sha=tip,
            ref="refs/heads/main",
            head_sha=tip,
            head_branch="main",
            actor=by,
            title=workflow.name,
            only_workflow=workflow.path,
        )
        for workflow in forge.actions.workflows(tip)
        if (trigger := workflow.trigger("schedule")) and cron in trigger.crons
    ]


def commented(
    forge: Forge, pull: Pull, comment: Comment, action: str, by: Person, *, before: str = ""
) -> list[Event]:
    """``issue_comment``: runs at the default branch, and shows no check on the pull request."""
    payload = {
        "action": action,
        "issue": forge.answers.told_issue(pull),
        "comment": forge.answers.comment(comment),
        **({"changes": {"body": {"from": before}}} if action == "edited" else {}),
    }
    return _on_default_branch(forge, "issue_comment", action, payload, pull, by)


def reviewed(forge: Forge, pull: Pull, review: Review, by: Person) -> list[Event]:
    """``pull_request_review``: runs at the test merge, with a check on the pull request."""
    if not pull.merge_commit:
        return []
    payload = {
        "action": "submitted",
        "review": forge.answers.review(review),
        "pull_request": forge.answers.pull(pull),
        **_common(forge, by),
    }
    return [
        Event(
            name="pull_request_review",
            payload=payload,
            workflow_sha=pull.merge_commit,
            sha=pull.merge_commit,
            ref=f"refs/pull/{pull.number}/merge",
            head_sha=pull.head_sha,
            head_branch=pull.head,
            actor=by.login,
            title=pull.title,
            action="submitted",
            pulls=(pull.number,),
        )
    ]


def _on_default_branch(
    forge: Forge, name: str, action: str, payload: dict[str, Any], pull: Pull, by: Person
) -> list[Event]:
    tip = forge.git.branch("main")
    if tip is None:
        return []
    return [
        Event(
            name=name,
            payload={**payload, **_common(forge, by)},
            workflow_sha=tip,
            sha=tip,
            ref="refs/heads/main",
            head_sha=tip,
            head_branch="main",
            actor=by.login,
            title=pull.title,
            action=action,
        )
    ]
