"""Protection of a branch: what must hold before it moves, in GitHub's words for what does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.sandbox.forge.store import Protection, Pull

if TYPE_CHECKING:
    from bot.sandbox.forge.forge import Forge

GREEN = frozenset({"success", "neutral", "skipped"})
"""What GitHub takes for a success: a job that was skipped, too."""


def refusals(forge: Forge, protection: Protection, pull: Pull) -> list[str]:
    """What keeps a pull request from being merged; nothing where all holds."""
    found = check_refusals(forge, protection, pull.head_sha)
    if protection.reviews > len(approvals(forge, pull)):
        many = "1 approving review is" if protection.reviews == 1 else f"{protection.reviews} approving reviews are"
        found.append(f"At least {many} required by reviewers with write access.")
    return found


def check_refusals(forge: Forge, protection: Protection, sha: str) -> list[str]:
    """What required checks say of a commit."""
    states = check_states(forge, protection, sha)
    missing = {name: state for name, state in states.items() if state != "successful"}
    if len(missing) > 1:
        return [f"{len(missing)} of {len(states)} required status checks {_together(set(missing.values()))}."]
    return [f'Required status check "{name}" is {state}.' for name, state in missing.items()]


def check_states(forge: Forge, protection: Protection, sha: str) -> dict[str, str]:
    """For each required check what it is on a commit: expected, in progress, failing or successful."""
    return {name: _state(forge, name, sha) for name in protection.checks}


def approvals(forge: Forge, pull: Pull) -> list[str]:
    """Who approves: everybody's last word counts, but for plain comments."""
    last = {review.author: review.state for review in forge.store.reviews(pull.number) if review.state != "COMMENTED"}
    if "CHANGES_REQUESTED" in last.values():
        return []
    return [who for who, state in last.items() if state == "APPROVED" and forge.people.named(who).may_write]


def is_behind(forge: Forge, pull: Pull) -> bool:
    """Whether the base has commits that the pull request's branch has not."""
    base = forge.git.branch(pull.base)
    return base is not None and not forge.git.is_ancestor(base, pull.head_sha)


def _state(forge: Forge, name: str, sha: str) -> str:
    """The newest word on a check of this name: expected (nobody reports it), in progress, failing or successful."""
    reported = [(check.id, check.status, check.conclusion) for check in forge.store.checks(sha) if check.name == name]
    reported += [(job.id, job.status, job.conclusion) for _, job in forge.jobs_on(sha) if job.name == name]
    statuses = {
        "pending": ("in_progress", None),
        "success": ("completed", "success"),
        "failure": ("completed", "failure"),
        "error": ("completed", "failure"),
    }
    reported += [(one.id, *statuses[one.state]) for one in forge.store.statuses(sha) if one.context == name]
    if not reported:
        return "expected"
    _, status, conclusion = max(reported)
    if status != "completed":
        return "in progress"
    return "successful" if conclusion in GREEN else "failing"


def _together(states: set[str]) -> str:
    if states == {"expected"}:
        return "are expected"
    return "have failed" if states == {"failing"} else "have not succeeded: " + ", ".join(sorted(states))
