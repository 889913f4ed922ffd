"""One repository of the forge: what it is made of, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bot.sandbox.actions.actions import Actions
from bot.sandbox.actions.records import Job, Run
from bot.sandbox.forge.errors import not_found
from bot.sandbox.forge.git import Commit, FileChange, Git
from bot.sandbox.forge.people import People, Person
from bot.sandbox.forge.signing import Key
from bot.sandbox.forge.store import Protection, Pull, Store

DEFAULT_BRANCH = "main"
GREEN = frozenset({"success", "neutral", "skipped"})
"""What GitHub takes for a success: a job that was skipped, too."""
ONLY_BY_QUEUE = "Changes must be made through the merge queue"


@dataclass(eq=False)
class Repository:
    """A repository with its pull requests, rules and workflow runs; this half of it changes nothing."""

    repository: str
    number: int
    server_url: str
    git: Git
    store: Store
    people: People
    actions: Actions

    def __post_init__(self) -> None:
        self.key_file = self.git.folder / "web-flow.pem"
        self.key = Key.of(self.key_file)

    @property
    def owner(self) -> str:
        return self.repository.split("/")[0]

    # Pull requests

    def pull(self, number: int) -> Pull:
        pull = self.store.pull(number)
        if pull is None:
            raise not_found()
        return pull

    def is_mergeable(self, pull: Pull) -> bool | None:
        """Whether the branches merge without a conflict now; None for a closed pull request."""
        base, head = self.git.branch(pull.base), self.git.branch(pull.head)
        if pull.state != "open" or base is None or head is None:
            return None
        return self.git.merge_trees(base, head) is not None

    def mergeable_state(self, pull: Pull, *, mergeable: bool | None) -> str:
        """GitHub's word: unknown, dirty, behind or blocked (protection), unstable (a check fails), clean."""
        if not mergeable:
            return "unknown" if mergeable is None else "dirty"
        rules = self.store.protection(pull.base)
        if rules is not None and rules.up_to_date and self.is_behind(pull):
            return "behind"
        if rules is not None and self.refusals(rules, pull):
            return "blocked"
        return "clean" if self._all_green(pull.head_sha) else "unstable"

    def is_behind(self, pull: Pull) -> bool:
        """Whether the base has commits that the pull request's branch has not."""
        base = self.git.branch(pull.base)
        return base is not None and not self.git.is_ancestor(base, pull.head_sha)

    def pull_commits(self, pull: Pull) -> list[Commit]:
        """The commits that the pull request brings, oldest first."""
        return list(reversed(self.git.commits(pull.head_sha, without=[self._compared_from(pull)])))

    def pull_files(self, pull: Pull) -> list[FileChange]:
        return self.git.diff(self._compared_from(pull), pull.head_sha)

    def _compared_from(self, pull: Pull) -> str:
        """Where the pull request's changes begin: where its branch left the base."""
        base = pull.base_sha if pull.state == "closed" else self.git.branch(pull.base) or pull.base_sha
        return self.git.merge_base(base, pull.head_sha) or base

    # Checks

    def jobs_on(self, sha: str, *, latest: bool = True) -> list[tuple[Run, Job]]:
        """The jobs that show as checks on a commit, newest run first; ``latest``: the last run of each workflow."""
        seen: set[tuple[str, str]] = set()
        found = []
        for run in self.actions.runs.all():
            if run.head_sha != sha or (latest and (run.workflow_path, run.event) in seen):
                continue
            seen.add((run.workflow_path, run.event))
            found += [(run, job) for job in run.jobs if job.status != "waiting"]
        return found

    def checks_on(self, sha: str) -> list[tuple[int, str, str, str | None]]:
        """Every check of a commit: id, name, status and conclusion."""
        reported = [(one.id, one.name, one.status, one.conclusion) for one in self.store.checks(sha)]
        return reported + [(job.id, job.name, job.status, job.conclusion) for _, job in self.jobs_on(sha)]

    def _all_green(self, sha: str) -> bool:
        return all(status == "completed" and said in GREEN for status, said in self._newest_checks(sha).values())

    def _newest_checks(self, sha: str) -> Mapping[str, tuple[str, str | None]]:
        """Status and conclusion of each check of a commit by name; of two of a name the newer one counts."""
        return {name: (status, said) for _, name, status, said in sorted(self.checks_on(sha), key=lambda one: one[0])}

    # The conditions before a branch moves, with GitHub's words if they do not hold

    def protection(self, branch: str, by: Person) -> Protection | None:
        """What this person is held to on a branch."""
        rules = self.store.protection(branch)
        return None if rules is None or (by.permission == "admin" and not rules.for_admins) else rules

    def refusals(self, rules: Protection, pull: Pull) -> list[str]:
        """What keeps a pull request from being merged; nothing where all holds."""
        found = self.check_refusals(rules, pull.head_sha)
        if rules.reviews > len(self._approvals(pull)):
            many = "1 approving review is" if rules.reviews == 1 else f"{rules.reviews} approving reviews are"
            found.append(f"At least {many} required by reviewers with write access.")
        return found

    def check_refusals(self, rules: Protection, sha: str) -> list[str]:
        """What required checks say of a commit."""
        states = self.check_states(rules, sha)
        missing = {name: state for name, state in states.items() if state != "successful"}
        if len(missing) > 1:
            words = {"expected": "are expected", "failing": "have failed"}
            kinds = sorted(set(missing.values()))
            said = words.get(kinds[0]) if len(kinds) == 1 else None
            said = said or f"have not succeeded: {', '.join(kinds)}"
            return [f"{len(missing)} of {len(states)} required status checks {said}."]
        return [f'Required status check "{name}" is {state}.' for name, state in missing.items()]

    def check_states(self, rules: Protection, sha: str) -> Mapping[str, str]:
        """For each required check what it is on a commit: expected, in progress, failing or successful."""
        newest = self._newest_checks(sha)
        return {name: _state(*newest.get(name, ("", None))) for name in rules.checks}

    def _approvals(self, pull: Pull) -> list[str]:
        """Who approves: everybody's last word counts, but for plain comments."""
        last = {one.author: one.state for one in self.store.reviews(pull.number) if one.state != "COMMENTED"}
        if "CHANGES_REQUESTED" in last.values():
            return []
        return [who for who, state in last.items() if state == "APPROVED" and self.people.named(who).may_write]

    def asks_for_signatures(self, ref: str) -> bool:
        """Whether a ruleset asks for verified signatures on the commits of a branch."""
        return any(rule.refs.hold_for(ref) for rule in self.store.signature_rules())

    def merge_queue_of(self, branch: str) -> bool:
        """Whether a branch is changed through a merge queue only."""
        return self.store.merge_queue(f"refs/heads/{branch}") is not None

    def push_refusal(self, branch: str, sha: str, by: Person) -> str:
        """Why a branch may not be moved to a commit without a pull request; empty where it may."""
        if self.merge_queue_of(branch):
            return ONLY_BY_QUEUE
        rules = self.protection(branch, by)
        if rules is None:
            return ""
        if rules.only_by_pull_request or rules.reviews:
            return "Changes must be made through a pull request."
        return " ".join(self.check_refusals(rules, sha))


def _state(status: str, conclusion: str | None) -> str:
    if not status:
        return "expected"
    if status != "completed":
        return "in progress"
    return "successful" if conclusion in GREEN else "failing"
