"""GitHub's merge queue: what is queued is checked as it would be merged, and merged when that is green.

One pull request at a time, as with ``max_entries_to_build: 1``: its group is main with it merged, on a branch
``gh-readonly-queue/main/pr-N-SHA`` (SHA is main's head), which starts ``merge_group``. GitHub can build groups of
several ahead of each other; the forge refuses a ruleset that asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.sandbox.forge import protection
from bot.sandbox.forge.errors import unprocessable
from bot.sandbox.forge.git import ZERO
from bot.sandbox.forge.people import MERGE_QUEUE, Person
from bot.sandbox.forge.store import Pull, Queued

if TYPE_CHECKING:
    from bot.sandbox.forge.forge import Forge

ONLY_BY_QUEUE = "Changes must be made through the merge queue"


def add(forge: Forge, pull: Pull, *, expected: str | None, by: Person) -> int:
    """Queue a pull request to which nothing stands in the way but others before it; return its position."""
    if forge.store.merge_queue(pull.base) is None:
        raise unprocessable("The merge queue is not enabled for this branch.")
    if pull.state != "open" or pull.draft or not forge.is_mergeable(pull):
        raise unprocessable("Pull request is not mergeable.")
    if expected not in (None, pull.head_sha):
        raise unprocessable("Head branch was modified. Review and try the merge again.")
    rules = forge.store.protection(pull.base)
    if rules is not None and (refused := protection.refusals(forge, rules, pull)):
        raise unprocessable(" ".join(refused))
    if pull.number in [entry.number for entry in forge.store.queued()]:
        raise unprocessable("The pull request is already in the merge queue.")
    forge.store.put(Queued(number=pull.number, head_sha=pull.head_sha))
    position = len(forge.store.queued())
    forge.tell_of_pull(pull, "enqueued", by)
    advance(forge)
    return position


def advance(forge: Forge) -> None:
    """Go on as far as it goes now: make the first entry's group, merge it when green, drop it when red."""
    while entries := forge.store.queued():
        entry, pull = entries[0], forge.pull(entries[0].number)
        base, rule = forge.git.branch(pull.base), forge.store.merge_queue(pull.base)
        if rule is None or base is None or pull.state != "open" or pull.head_sha != entry.head_sha:
            _drop(forge, entry, pull, "MANUAL" if pull.state != "open" else "BRANCH_PROTECTIONS")
            continue
        if entry.group and entry.base_sha != base:  # somebody else moved main: the group is not what would be merged
            _end_group(forge, entry, pull, "invalidated")
            entry = entry.model_copy(update={"group": "", "base_sha": ""})
        if not entry.group:
            made = forge.merge_commit(
                pull, rule.method, base=base, head=pull.head_sha, title=None, message=None, by=MERGE_QUEUE
            )
            if made is None:
                _drop(forge, entry, pull, "MERGE_CONFLICT")
                continue
            entry = entry.model_copy(update={"group": made, "base_sha": base})
            forge.store.put(entry)
            forge.place(_ref(entry, pull), made, by=MERGE_QUEUE)
            forge.tell_of_group(pull, entry, _ref(entry, pull), "checks_requested")
        rules = forge.store.protection(pull.base)
        states = protection.check_states(forge, rules, entry.group).values() if rules else ()
        if "failing" in states:
            _drop(forge, entry, pull, "CI_FAILURE")
        elif all(state == "successful" for state in states):
            forge.store.drop_queued(entry)
            forge.tell_of_pull(pull, "dequeued", MERGE_QUEUE, reason="MERGE")
            forge.fast_forward(pull, entry.group, base=base, by=MERGE_QUEUE)
            _end_group(forge, entry, pull, "merged")
        else:
            return


def _drop(forge: Forge, entry: Queued, pull: Pull, reason: str) -> None:
    forge.store.drop_queued(entry)
    forge.tell_of_pull(pull, "dequeued", MERGE_QUEUE, reason=reason)
    if entry.group:
        _end_group(forge, entry, pull, "invalidated" if reason == "CI_FAILURE" else "dequeued")


def _end_group(forge: Forge, entry: Queued, pull: Pull, reason: str) -> None:
    forge.tell_of_group(pull, entry, _ref(entry, pull), "destroyed", reason=reason)
    forge.place(_ref(entry, pull), ZERO, by=MERGE_QUEUE)


def _ref(entry: Queued, pull: Pull) -> str:
    return f"refs/heads/gh-readonly-queue/{pull.base}/pr-{entry.number}-{entry.base_sha}"
