"""GitHub's webhook payloads: what a workflow finds in $GITHUB_EVENT_PATH, and which commit it runs at."""

from __future__ import annotations

from typing import Any

from bot.sandbox.actions.actions import Event
from bot.sandbox.forge.answers import Answers
from bot.sandbox.forge.git import ZERO
from bot.sandbox.forge.people import MERGE_QUEUE, Person
from bot.sandbox.forge.repository import DEFAULT_BRANCH
from bot.sandbox.forge.store import Comment, Pull, Queued, Review

__all__ = ["Event", "commented", "common", "dispatched", "merge_group", "of_pull", "pushed", "reviewed", "scheduled"]


def common(answers: Answers, by: Person) -> dict[str, Any]:
    """What every payload says: where it happened, and who did it."""
    return {"repository": answers.repository(), "sender": answers.user(by.login)}


def of_pull(answers: Answers, pull: Pull, action: str, by: Person, **more: Any) -> list[Event]:
    """``pull_request_target`` (as the base branch has it) and ``pull_request`` (as the test merge has it).

    ``more`` is what the payload of some actions has besides.
    """
    git = answers.of.git
    base_tip = git.branch(pull.base)
    if base_tip is None:
        return []
    whole = answers.whole_pull(pull)
    compared_from = git.merge_base(base_tip, pull.head_sha) if pull.state == "open" else pull.base_sha
    shared: dict[str, Any] = {
        "payload": {"action": action, "number": pull.number, "pull_request": whole, **more, **common(answers, by)},
        "action": action,
        "actor": by.login,
        "branch": pull.base,
        "changed_paths": git.changed_paths(compared_from or base_tip, pull.head_sha),
        **_of_head(pull),
    }
    target = _event("pull_request_target", base_tip, f"refs/heads/{pull.base}", **shared)
    if not pull.merge_commit:  # with a conflict there is no test merge, and GitHub runs no pull_request workflow
        return [target]
    return [target, _event("pull_request", pull.merge_commit, f"refs/pull/{pull.number}/merge", **shared)]


def _of_head(pull: Pull) -> dict[str, Any]:
    head = {"head_sha": pull.head_sha, "head_branch": pull.head}
    return {**head, "title": pull.title, "pulls": (pull.number,)}


def _event(name: str, sha: str, ref: str, **more: Any) -> Event:
    """An event that runs, with the workflow files as they are there, at a commit."""
    where = {"head_sha": sha, "head_branch": ref.split("/", 2)[2]}
    return Event(name=name, workflow_sha=sha, sha=sha, ref=ref, **{**where, **more})


def pushed(answers: Answers, ref: str, old: str, new: str, by: Person) -> list[Event]:
    """``push``. A deletion starts nothing: there is no commit left to take a workflow from."""
    git = answers.of.git
    tip = git.resolve(new) if new != ZERO else None
    if tip is None or not ref.startswith(("refs/heads/", "refs/tags/")):
        return []
    is_branch, created, main = ref.startswith("refs/heads/"), old == ZERO, git.branch(DEFAULT_BRANCH)
    since = old if not created else (git.merge_base(main, tip) if main and main != tip else None)
    new_commits = git.commits(tip, without=[since], limit=20) if since else [git.commit(tip)]
    payload = {
        "ref": ref,
        "before": old,
        "after": new,
        "created": created,
        "deleted": False,
        "base_ref": None,
        "forced": not created and not git.is_ancestor(old, tip),
        "compare": f"{answers.page}/compare/{old[:12]}...{new[:12]}",
        "commits": [answers.pushed_commit(commit) for commit in reversed(new_commits)],
        "head_commit": answers.pushed_commit(git.commit(tip)),
        "pusher": {"name": by.login, "email": by.identity.email},
        **common(answers, by),
    }
    name = ref.split("/", 2)[2]
    more = {"branch": name} if is_branch else {"tag": name}
    facts = {"title": git.commit(tip).title, "changed_paths": git.changed_paths(since, tip)}
    return [_event("push", tip, ref, payload=payload, actor=by.login, **facts, **more)]


def merge_group(answers: Answers, pull: Pull, entry: Queued, ref: str, action: str, *, reason: str = "") -> Event:
    """``merge_group``: runs at the commit that would be merged, with the workflows that it has."""
    commit = answers.of.git.commit(entry.group)
    group = {
        "head_sha": entry.group,
        "head_ref": ref,
        "base_sha": entry.base_sha,
        "base_ref": f"refs/heads/{pull.base}",
        "head_commit": answers.short_commit(commit),
    }
    said = {"action": action, "merge_group": group, **({"reason": reason} if reason else {})}
    return _event(
        *("merge_group", entry.group, ref),
        payload={**said, **common(answers, MERGE_QUEUE)},
        actor=MERGE_QUEUE.login,
        title=commit.title,
        action=action,
        branch=pull.base,
    )


def dispatched(
    answers: Answers, path: str, name: str, *, ref: str, sha: str, inputs: dict[str, str], by: Person
) -> Event:
    """``workflow_dispatch`` of one workflow."""
    payload = {"inputs": inputs, "ref": ref, "workflow": path, **common(answers, by)}
    who = {"actor": by.login, "title": name}
    return _event("workflow_dispatch", sha, ref, payload=payload, inputs=inputs, only_workflow=path, **who)


def scheduled(answers: Answers, cron: str) -> list[Event]:
    """``schedule``: runs at the default branch, by whom GitHub names then, the last who changed the workflow."""
    tip = answers.of.git.branch(DEFAULT_BRANCH)
    if tip is None:
        return []
    return [
        _event(
            *("schedule", tip, f"refs/heads/{DEFAULT_BRANCH}"),
            payload={"schedule": cron, "repository": answers.repository()},
            actor=answers.of.git.commit(tip).author.name,
            title=workflow.name,
            only_workflow=workflow.path,
        )
        for workflow in answers.of.actions.workflows(tip)
        if (trigger := workflow.triggers.get("schedule")) and cron in trigger.crons
    ]


def commented(
    answers: Answers, pull: Pull, comment: Comment, action: str, by: Person, *, before: str = ""
) -> list[Event]:
    """``issue_comment``: runs at the default branch, and shows no check on the pull request."""
    tip = answers.of.git.branch(DEFAULT_BRANCH)
    if tip is None:
        return []
    changes = {"changes": {"body": {"from": before}}} if action == "edited" else {}
    said = {"action": action, "issue": answers.told_issue(pull), "comment": answers.comment(comment), **changes}
    payload = {**said, **common(answers, by)}
    who = {"actor": by.login, "title": pull.title, "action": action}
    return [_event("issue_comment", tip, f"refs/heads/{DEFAULT_BRANCH}", payload=payload, **who)]


def reviewed(answers: Answers, pull: Pull, review: Review, by: Person) -> list[Event]:
    """``pull_request_review``: runs at the test merge, with a check on the pull request."""
    if not pull.merge_commit:
        return []
    said = {"action": "submitted", "review": answers.review(review), "pull_request": answers.pull(pull)}
    payload = {**said, **common(answers, by)}
    merge = (pull.merge_commit, f"refs/pull/{pull.number}/merge")
    who = {"actor": by.login, "action": "submitted", **_of_head(pull)}
    return [_event("pull_request_review", *merge, payload=payload, **who)]
