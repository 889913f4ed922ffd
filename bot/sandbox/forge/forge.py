"""What people and bots can do on the forge, and what follows from it. The API, Git and the pages call this."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from bot.sandbox.actions.actions import Actions
from bot.sandbox.actions.records import Job, Run
from bot.sandbox.forge import events, merge_queue, protection, signing
from bot.sandbox.forge.answers import Answers, node_id
from bot.sandbox.forge.errors import ApiError, invalid, not_found, unprocessable
from bot.sandbox.forge.git import ZERO, Commit, FileChange, Git, RefMoved
from bot.sandbox.forge.hooks import Deliveries
from bot.sandbox.forge.limits import Limits
from bot.sandbox.forge.people import ACTIONS_BOT, GITHUB, MERGE_QUEUE, People, Person
from bot.sandbox.forge.signing import Key
from bot.sandbox.forge.store import (
    Comment,
    Deployment,
    DeploymentState,
    DeploymentStatus,
    Hook,
    Label,
    Protection,
    Pull,
    Queued,
    Review,
    Store,
    now,
)

DEFAULT_BRANCH = "main"

NO_WORKFLOW = {"workflow": None, "workflow_run": None}
"""GitHub names the run that deploys; a payload of the forge leaves it out, as it may for what no run made."""

MergeMethod = Literal["merge", "squash", "rebase"]


@dataclass(frozen=True)
class RefUpdate:
    """One reference that moved; `ZERO` stands for "was not there" and "is gone"."""

    name: str
    old: str
    new: str


class Forge:
    """One repository of the forge, with its pull requests and workflow runs."""

    def __init__(
        self,
        *,
        repository: str,
        number: int,
        server_url: str,
        git: Git,
        store: Store,
        people: People,
        actions: Actions,
    ) -> None:
        self.repository = repository
        self.number = number
        self.server_url = server_url
        self.git = git
        self.store = store
        self.people = people
        self.actions = actions
        self.key_file = git.folder / "web-flow.pem"
        self.key = Key.of(self.key_file)
        self.answers = Answers(self)
        self.limits = Limits()
        self.deliveries = Deliveries()
        actions.on_completed = self.run_completed
        actions.on_job = self.job_changed
        # Whoever changes pull requests or moves references through the API holds this, so that two requests
        # cannot both find that "there is no open pull request yet".
        self._lock = threading.RLock()

    def rename(self, name: str) -> None:
        """Give the repository another ``owner/name``, as a rename or a transfer does; the old one leads here."""
        with self._lock:
            former = (*self.store.settings.former_names, self.repository)
            self.store.set(name=name, former_names=tuple(one for one in dict.fromkeys(former) if one != name))
            self.repository = self.actions.repository = name
            self.answers = Answers(self)

    # Pull requests

    def pull(self, number: int) -> Pull:
        pull = self.store.pull(number)
        if pull is None:
            raise not_found()
        return pull

    def open_pull(self, *, title: str, body: str, head: str, base: str, draft: bool, by: Person) -> Pull:
        """Open a pull request. ``head`` may be ``owner:branch``. Raises 422 as GitHub does."""
        owner = self.repository.split("/")[0]
        head = head.removeprefix(f"{owner}:")
        with self._lock:
            base_sha, head_sha = self.git.branch(base), self.git.branch(head)
            if base_sha is None:
                raise invalid("PullRequest", field="base")
            if head_sha is None:
                raise invalid("PullRequest", field="head")
            if any(pull.state == "open" and (pull.head, pull.base) == (head, base) for pull in self.store.pulls()):
                message = f"A pull request already exists for {owner}:{head}."
                raise invalid("PullRequest", code="custom", message=message)
            if self.git.merge_base(base_sha, head_sha) is None:
                message = f"The {head} branch has no history in common with {base}"
                raise invalid("PullRequest", code="custom", message=message)
            if self.git.is_ancestor(head_sha, base_sha):
                raise invalid("PullRequest", code="custom", message=f"No commits between {base} and {head}")
            pull = Pull(
                number=self.store.next_number(),
                id=self.store.next_id(),
                title=title,
                body=body,
                author=by.login,
                head=head,
                head_sha=head_sha,
                base=base,
                base_sha=base_sha,
                draft=draft,
                created_at=now(),
                updated_at=now(),
            )
            pull = self._with_test_merge(pull)
            self.store.put(pull)
            self.tell_of_pull(pull, "opened", by)
        return pull

    def edit_pull(
        self, number: int, *, title: str | None, body: str | None, state: str | None, base: str | None, by: Person
    ) -> Pull:
        """Change what is given. Closing and reopening are events of their own, as every edit is."""
        with self._lock:
            pull = self.pull(number)
            changes: dict[str, object] = {"updated_at": now()}
            edited: dict[str, Any] = {}
            if title is not None:
                edited["title"] = {"from": pull.title}
            if body is not None:
                edited["body"] = {"from": pull.body}
            if base is not None:
                edited["base"] = {"ref": {"from": pull.base}, "sha": {"from": pull.base_sha}}
            if title is not None:
                if not title.strip():
                    raise invalid("PullRequest", field="title", code="missing_field")
                changes["title"] = title
            if body is not None:
                changes["body"] = body
            if base is not None:
                base_sha = self.git.branch(base)
                if base_sha is None:
                    raise invalid("PullRequest", field="base")
                changes |= {"base": base, "base_sha": base_sha}
            event = ""
            if state is not None and state != pull.state:
                event = self._check_state_change(pull, state)
                changes |= {"state": state, "closed_at": now() if state == "closed" else None}
            changed = pull.model_copy(update=changes)
            if event == "reopened" or base is not None:
                changed = self._with_test_merge(changed.model_copy(update={"head_sha": self.git.branch(pull.head)}))
            self.store.put(changed)
            if edited:
                self.tell_of_pull(changed, "edited", by, changes=edited)
            if event:
                self.tell_of_pull(changed, event, by)
            merge_queue.advance(self)
        return changed

    def _check_state_change(self, pull: Pull, state: str) -> str:
        if state == "closed":
            return "closed"
        if state != "open":
            raise invalid("PullRequest", field="state")
        if pull.merged_at or self.git.branch(pull.head) is None:
            reason = "the pull request is merged" if pull.merged_at else f"the {pull.head} branch has been deleted"
            raise invalid("PullRequest", field="state", message=f"state cannot be changed. {reason}.")
        return "reopened"

    def merge_pull(
        self, number: int, *, method: MergeMethod, sha: str | None, title: str | None, message: str | None, by: Person
    ) -> Pull:
        """Merge, with real commits in the repository. Raises 405 or 409 in GitHub's words."""
        with self._lock:
            pull = self.pull(number)
            if pull.draft and pull.state == "open":
                raise ApiError(405, "Pull Request is still a draft")
            base_tip, head_tip = self.git.branch(pull.base), self.git.branch(pull.head)
            if pull.state != "open" or base_tip is None or head_tip is None:
                raise ApiError(405, "Pull Request is not mergeable")
            if sha is not None and sha != head_tip:
                raise ApiError(409, "Head branch was modified. Review and try the merge again.")
            if method not in self.store.settings.methods:
                what = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}[method]
                raise ApiError(405, f"{what} are not allowed on this repository.")
            self._see_that_it_may(pull, by)
            if refused := self._unsigned_merge(pull, method, base_tip, head_tip):
                raise ApiError(405, f"Repository rule violations found\n\n{refused}")
            if self.store.merge_queue(pull.base) is not None:
                raise ApiError(405, f"Repository rule violations found\n\n{merge_queue.ONLY_BY_QUEUE}")
            made = self.merge_commit(pull, method, base=base_tip, head=head_tip, title=title, message=message, by=by)
            if made is None:
                raise ApiError(405, "Pull Request is not mergeable")
            return self.fast_forward(pull, made, base=base_tip, by=by)

    def _unsigned_merge(self, pull: Pull, method: MergeMethod, base: str, head: str) -> str:
        """Why a branch that takes signed commits only does not take this merge; empty where it does."""
        if not self.asks_for_signatures(f"refs/heads/{pull.base}") or method == "squash":
            return ""  # one new commit, which GitHub signs
        if method == "rebase":
            return "Base branch requires signed commits. Rebase merges cannot be automatically signed by GitHub."
        return signing.violations(self.git, self.key, [one.sha for one in self.git.commits(f"{base}..{head}")])

    def asks_for_signatures(self, ref: str) -> bool:
        """Whether a ruleset asks for verified signatures on the commits of a branch."""
        return any(rule.refs.hold_for(ref, default=DEFAULT_BRANCH) for rule in self.store.signature_rules())

    def unsigned(self, ref: str, old: str, new: str) -> str:
        """Why a branch does not take the commits that a move brings to it; empty where it does."""
        if not self.asks_for_signatures(ref):
            return ""
        return signing.violations(self.git, self.key, signing.brought(self.git, ref, old, new))

    def commit_on_branch(
        self, branch: str, *, expected: str, message: str, files: Mapping[str, bytes | None], by: Person
    ) -> str:
        """Append a signed commit to a branch; ``files`` by path, None to delete. Raises 409 where it has moved."""
        with self._lock:
            ref = f"refs/heads/{branch}"
            tip = self.git.ref(ref)
            if tip is None:
                raise ApiError(404, f"The branch '{branch}' was not found")
            if tip != expected:
                raise ApiError(409, f'Expected branch to point to "{expected}" but it did not.  Pull and try again.')
            if refused := self.push_refusal(branch, ZERO, by):
                raise unprocessable(refused)
            tree = self.git.tree_with(tip, files)
            made = self.git.commit_tree(tree, parents=[tip], message=message, author=by.identity, committer=GITHUB)
            made = signing.signed(self.git, made, self.key)
            self.move_ref(ref, made, force=False, by=by)
            return made

    def fast_forward(self, pull: Pull, made: str, *, base: str, by: Person) -> Pull:
        """Put the commit that merges a pull request on its base branch. Raises 405 where that was moved."""
        with self._lock:
            try:
                self.git.update_ref(f"refs/heads/{pull.base}", new=made, old=base)
            except RefMoved as moved:
                # A push came in between; GitHub says the same.
                raise ApiError(405, "Base branch was modified. Review and try the merge again.") from moved
            merged = pull.model_copy(
                update={
                    "state": "closed",
                    "closed_at": now(),
                    "merged_at": now(),
                    "merged_by": by.login,
                    "merge_commit": made,
                    "updated_at": now(),
                }
            )
            self.store.put(merged)
            self.tell_of_pull(merged, "closed", by)
            self.moved([RefUpdate(f"refs/heads/{pull.base}", base, made)], by=by)
        return merged

    def place(self, ref: str, sha: str, *, by: Person) -> None:
        """Set a branch that only the forge writes, or take it away (`ZERO`); a new one is an event as any push."""
        old = self.git.ref(ref) or ZERO
        if sha == ZERO:
            self.git.delete_ref(ref, old=old)
        else:
            self.git.set_ref(ref, sha)
            self._fire(events.pushed(self, ref, old, sha, by), by)

    def enqueue(self, node: str, *, expected: str | None, by: Person) -> int | None:
        """Queue the pull request with this node id; return its position, None if it is not here."""
        with self._lock:
            pull = next((one for one in self.store.pulls() if node_id("PullRequest", one.id) == node), None)
            return None if pull is None else merge_queue.add(self, pull, expected=expected, by=by)

    def run_completed(self) -> None:
        """See what a run that has ended means for the merge queue."""
        with self._lock:
            merge_queue.advance(self)

    def _see_that_it_may(self, pull: Pull, by: Person) -> None:
        rules = self.protection(pull.base, by)
        if rules is None:
            return
        if rules.up_to_date and protection.is_behind(self, pull):
            raise ApiError(409, "Head branch is out of date. Review and try the merge again.")
        if refused := protection.refusals(self, rules, pull):
            raise ApiError(405, " ".join(refused))

    def protection(self, branch: str, by: Person) -> Protection | None:
        """What this person is held to on a branch."""
        rules = self.store.protection(branch)
        return None if rules is None or (by.permission == "admin" and not rules.for_admins) else rules

    def push_refusal(self, branch: str, sha: str, by: Person) -> str:
        """Why a branch may not be moved to a commit without a pull request; empty where it may."""
        if self.store.merge_queue(branch) is not None:
            return merge_queue.ONLY_BY_QUEUE
        rules = self.protection(branch, by)
        if rules is None:
            return ""
        if rules.only_by_pull_request or rules.reviews:
            return "Changes must be made through a pull request."
        return " ".join(protection.check_refusals(self, rules, sha))

    def merge_commit(
        self,
        pull: Pull,
        method: MergeMethod,
        *,
        base: str,
        head: str,
        title: str | None,
        message: str | None,
        by: Person,
    ) -> str | None:
        """The new head of the base branch, made but not yet put there; None when there is a conflict."""
        owner = self.repository.split("/")[0]
        new = list(reversed(self.git.commits(f"{base}..{head}")))
        if method == "rebase":
            tip: str | None = base
            for commit in new:
                if tip is not None and len(commit.parents) == 1:
                    tip = self.git.pick(commit, onto=tip, committer=by.identity)
            return tip
        tree = self.git.merge_trees(base, head)
        if tree is None:
            return None
        if method == "squash":
            text = title or f"{new[0].title if len(new) == 1 else pull.title} (#{pull.number})"
            details = message if message is not None else _squashed(new)
            author, parents = self.people.named(pull.author).identity, [base]
        else:
            text = title or f"Merge pull request #{pull.number} from {owner}/{pull.head}"
            details = message if message is not None else pull.title
            author, parents = by.identity, [base, head]
        whole = f"{text}\n\n{details}" if details else text
        made = self.git.commit_tree(tree, parents=parents, message=whole, author=author, committer=GITHUB)
        return signing.signed(self.git, made, self.key)

    def is_mergeable(self, pull: Pull) -> bool | None:
        """Whether the branches merge without a conflict now; None for a closed pull request."""
        base, head = self.git.branch(pull.base), self.git.branch(pull.head)
        if pull.state != "open" or base is None or head is None:
            return None
        return self.git.merge_trees(base, head) is not None

    def mergeable_state(self, pull: Pull, *, mergeable: bool | None) -> str:
        """GitHub's word: unknown, dirty, draft, behind or blocked (protection), unstable (a check fails), clean."""
        if mergeable is None:
            return "unknown"
        if not mergeable:
            return "dirty"
        if pull.draft:
            return "draft"
        rules = self.store.protection(pull.base)
        if rules is not None and rules.up_to_date and protection.is_behind(self, pull):
            return "behind"
        if rules is not None and protection.refusals(self, rules, pull):
            return "blocked"
        return "clean" if self._all_green(pull.head_sha) else "unstable"

    def _all_green(self, sha: str) -> bool:
        checks = [(check.status, check.conclusion) for check in self.store.checks(sha)]
        jobs = [(job.status, job.conclusion) for _, job in self.jobs_on(sha)]
        latest = {status.context: status.state for status in reversed(self.store.statuses(sha))}
        green = ("success", "neutral", "skipped")
        return all(status == "completed" and conclusion in green for status, conclusion in [*checks, *jobs]) and all(
            state == "success" for state in latest.values()
        )

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

    def pull_commits(self, pull: Pull) -> list[Commit]:
        """The commits that the pull request brings, oldest first."""
        since = self._compared_from(pull)
        return list(reversed(self.git.commits(f"{since}..{pull.head_sha}")))

    def pull_files(self, pull: Pull) -> list[FileChange]:
        return self.git.diff(self._compared_from(pull), pull.head_sha)

    def _compared_from(self, pull: Pull) -> str:
        """Where the pull request's changes begin: where its branch left the base."""
        base = pull.base_sha if pull.state == "closed" else self.git.branch(pull.base) or pull.base_sha
        return self.git.merge_base(base, pull.head_sha) or base

    def _with_test_merge(self, pull: Pull) -> Pull:
        """Set ``refs/pull/N/head`` and, if it merges cleanly, ``refs/pull/N/merge``."""
        self.git.set_ref(f"refs/pull/{pull.number}/head", pull.head_sha)
        base = self.git.branch(pull.base) or pull.base_sha
        tree = self.git.merge_trees(base, pull.head_sha)
        merge = ""
        if tree is not None:
            message = f"Merge {pull.head_sha} into {base}"
            merge = self.git.commit_tree(
                tree, parents=[base, pull.head_sha], message=message, author=GITHUB, committer=GITHUB
            )
            self.git.set_ref(f"refs/pull/{pull.number}/merge", merge)
        return pull.model_copy(update={"merge_commit": merge})

    def update_branch(self, number: int, *, expected: str | None, by: Person) -> None:
        """Merge the base into a pull request's branch. Raises 422 as GitHub does."""
        with self._lock:
            pull = self.pull(number)
            base, head = self.git.branch(pull.base), self.git.branch(pull.head)
            if pull.state != "open" or base is None or head is None:
                raise unprocessable("Pull request is closed")
            if expected is not None and expected != head:
                raise unprocessable("expected head sha didn’t match current head ref.")
            if not protection.is_behind(self, pull):
                raise unprocessable("There are no new commits on the base branch.")
            tree = self.git.merge_trees(head, base)
            if tree is None:
                raise unprocessable("merge conflict between base and head")
            message = f"Merge branch '{pull.base}' into {pull.head}"
            made = self.git.commit_tree(
                tree, parents=[head, base], message=message, author=by.identity, committer=GITHUB
            )
            self.move_ref(f"refs/heads/{pull.head}", made, force=False, by=by)

    # Comments, labels, reviews

    def add_comment(self, number: int, *, body: str, by: Person) -> Comment:
        pull = self.pull(number)
        if not body.strip():
            raise invalid("IssueComment", field="body", code="unprocessable")
        comment = Comment(
            id=self.store.next_id(), number=number, author=by.login, body=body, created_at=now(), updated_at=now()
        )
        self.store.put(comment)
        self.store.put(pull.model_copy(update={"updated_at": now()}))
        self._fire(events.commented(self, pull, comment, "created", by), by)
        return comment

    def edit_comment(self, comment: Comment, *, body: str, by: Person) -> Comment:
        edited = comment.model_copy(update={"body": body, "updated_at": now()})
        self.store.put(edited)
        self._fire(events.commented(self, self.pull(comment.number), edited, "edited", by, before=comment.body), by)
        return edited

    def set_labels(self, number: int, names: Sequence[str], *, by: Person) -> Pull:
        """Give the pull request exactly these labels; ones that the repository does not know yet are made."""
        with self._lock:
            pull = self.pull(number)
            for name in names:
                if self.store.label(name) is None:
                    self.store.put(Label(id=self.store.next_id(), name=name))
            labels = tuple(dict.fromkeys(label.name for name in names if (label := self.store.label(name))))
            changed = pull.model_copy(update={"labels": labels, "updated_at": now()})
            self.store.put(changed)
            for name in labels:
                if name not in pull.labels:
                    self.tell_of_pull(changed, "labeled", by, label=self.answers.label_named(name))
            for name in pull.labels:
                if name not in labels:
                    self.tell_of_pull(changed, "unlabeled", by, label=self.answers.label_named(name))
        return changed

    def request_reviewers(self, number: int, logins: Sequence[str], *, by: Person) -> Pull:
        with self._lock:
            pull = self.pull(number)
            if pull.author in logins:
                raise unprocessable("Review cannot be requested from pull request author.")
            reviewers = tuple(dict.fromkeys([*pull.reviewers, *logins]))
            changed = pull.model_copy(update={"reviewers": reviewers, "updated_at": now()})
            self.store.put(changed)
            for login in logins:
                self.tell_of_pull(changed, "review_requested", by, requested_reviewer=self.answers.user(login))
        return changed

    def add_review(self, number: int, *, state: str, body: str, commit: str | None, by: Person) -> Review:
        pull = self.pull(number)
        if state in ("APPROVED", "CHANGES_REQUESTED") and by.login == pull.author:
            what = "approve" if state == "APPROVED" else "request changes on"
            raise ApiError(422, "Unprocessable Entity", errors=[f"Can not {what} your own pull request"])
        review = Review.model_validate(
            {
                "id": self.store.next_id(),
                "number": number,
                "author": by.login,
                "body": body,
                "state": state,
                "commit": commit or pull.head_sha,
                "submitted_at": now(),
            }
        )
        self.store.put(review)
        self._fire(events.reviewed(self, pull, review, by), by)
        return review

    # References

    def create_ref(self, name: str, sha: str, *, by: Person) -> None:
        if not name.startswith("refs/") or name.count("/") < 2 or not self.git.is_valid_ref(name):
            raise unprocessable("Reference name must start with 'refs/' and have at least two slashes.")
        if not self.git.exists(sha):
            raise unprocessable("Object does not exist")
        with self._lock:
            if refused := self.unsigned(name, ZERO, sha):
                raise unprocessable(f"Repository rule violations found\n\n{refused}")
            try:
                self.git.update_ref(name, new=sha, old=None)
            except RefMoved as exists:
                raise unprocessable("Reference already exists") from exists
            self.moved([RefUpdate(name, ZERO, sha)], by=by)

    def move_ref(self, name: str, sha: str, *, force: bool, by: Person) -> None:
        with self._lock:
            old = self.git.ref(name)
            if old is None:
                raise unprocessable("Reference does not exist")
            if not self.git.exists(sha):
                raise unprocessable("Object does not exist")
            is_protected = name == f"refs/heads/{DEFAULT_BRANCH}"
            if (not force or is_protected) and not self.git.is_ancestor(old, sha):
                raise unprocessable("Update is not a fast forward")
            if refused := self.push_refusal(name.removeprefix("refs/heads/"), sha, by):
                raise unprocessable(refused)
            if refused := self.unsigned(name, old, sha):
                raise unprocessable(f"Repository rule violations found\n\n{refused}")
            try:
                self.git.update_ref(name, new=sha, old=old)
            except RefMoved as moved:
                raise unprocessable("Update is not a fast forward") from moved
            self.moved([RefUpdate(name, old, sha)], by=by)

    def delete_ref(self, name: str, *, by: Person) -> None:
        with self._lock:
            old = self.git.ref(name)
            if old is None:
                raise unprocessable("Reference does not exist")
            if name == f"refs/heads/{DEFAULT_BRANCH}":
                raise unprocessable("Cannot delete the default branch")
            self.git.delete_ref(name, old=old)
            self.moved([RefUpdate(name, old, ZERO)], by=by)

    def moved(self, updates: Sequence[RefUpdate], *, by: Person) -> None:
        """What follows when references have moved, by a push or through the API."""
        with self._lock:
            for update in updates:
                if update.name.startswith("refs/heads/"):
                    self._branch_moved(update.name.removeprefix("refs/heads/"), by)
                self._fire(events.pushed(self, update.name, update.old, update.new, by), by)
            merge_queue.advance(self)

    def _branch_moved(self, branch: str, by: Person) -> None:
        # Read where the branch is now: of two pushes, the older one may be told about later.
        tip = self.git.branch(branch)
        for pull in self.store.pulls():
            if pull.state != "open" or branch not in (pull.head, pull.base):
                continue
            if tip is None:
                self._close(pull, by, merged="")
            elif branch == pull.base and self.git.is_ancestor(pull.head_sha, tip):
                self._close(pull, by, merged=pull.head_sha)  # its commits were pushed to the base directly
            elif branch == pull.head and tip != pull.head_sha:
                base_sha = self.git.branch(pull.base) or pull.base_sha
                update = {"head_sha": tip, "base_sha": base_sha, "updated_at": now()}
                changed = self._with_test_merge(pull.model_copy(update=update))
                self.store.put(changed)
                self.tell_of_pull(changed, "synchronize", by, before=pull.head_sha, after=tip)

    def _close(self, pull: Pull, by: Person, *, merged: str) -> None:
        moment: datetime = now()
        changes: dict[str, object] = {"state": "closed", "closed_at": moment, "updated_at": moment}
        if merged:
            changes |= {"merged_at": moment, "merged_by": by.login, "merge_commit": merged}
        closed = pull.model_copy(update=changes)
        self.store.put(closed)
        self.tell_of_pull(closed, "closed", by)

    # Deployments and webhooks

    def deploy(
        self,
        *,
        ref: str,
        task: str,
        environment: str,
        description: str,
        payload: dict[str, Any] | str,
        required: Sequence[str] | None,
        transient: bool,
        production: bool,
        by: Person,
    ) -> Deployment:
        """Note that somebody deploys. Raises 409 where checks that are asked for are not green: all, by default."""
        sha = self.git.resolve(ref)
        if sha is None:
            raise unprocessable(f"No ref found for: {ref}")
        rules = Protection(branch="", checks=tuple(required or ()))
        if protection.check_refusals(self, rules, sha) or (required is None and not self._all_green(sha)):
            raise ApiError(409, f"Conflict: Commit status checks failed for {ref}.")
        deployment = Deployment(
            id=self.store.next_id(),
            sha=sha,
            ref=ref,
            task=task,
            environment=environment,
            description=description,
            payload=payload,
            transient=transient,
            production=production,
            creator=by.login,
            created_at=now(),
        )
        self.store.put(deployment)
        self._tell(
            "deployment", {"action": "created", "deployment": self.answers.deployment(deployment), **NO_WORKFLOW}, by
        )
        return deployment

    def report_deployment(
        self,
        deployment: Deployment,
        *,
        state: DeploymentState,
        description: str,
        log_url: str,
        environment_url: str,
        auto_inactive: bool,
        by: Person,
    ) -> DeploymentStatus:
        """Say how a deployment goes; one that succeeded makes the environment's earlier ones inactive."""
        status = self._deployment_status(
            deployment, state, description=description, log_url=log_url, environment_url=environment_url, by=by
        )
        if state == "success" and auto_inactive:
            for earlier in self.store.deployments():
                statuses = self.store.deployment_statuses(earlier.id)
                is_older = earlier.environment == deployment.environment and earlier.id < deployment.id
                may_end = not earlier.transient and not earlier.production
                if is_older and may_end and statuses and statuses[-1].state == "success":
                    self._deployment_status(earlier, "inactive", by=by)
        return status

    def job_changed(self, run: Run, job: Job, environment: str) -> None:
        """A job with a GitHub Environment is a deployment there, from its beginning to its end."""
        page = f"{self.answers.page}/actions/runs/{run.id}/job/{job.id}"
        with self._lock:
            if job.status == "in_progress":
                deployment = Deployment(
                    id=self.store.next_id(),
                    sha=run.head_sha,
                    ref=run.head_branch,
                    task="deploy",
                    environment=environment,
                    description="",
                    payload={},
                    transient=False,
                    production=environment == "production",
                    creator=ACTIONS_BOT.login,
                    created_at=now(),
                )
                self.store.put(deployment)
                told = {"action": "created", "deployment": self.answers.deployment(deployment), **NO_WORKFLOW}
                self._tell("deployment", told, ACTIONS_BOT)
                self._deployment_status(deployment, "in_progress", log_url=page, by=ACTIONS_BOT)
                return
            for deployment in self.store.deployments():
                statuses = self.store.deployment_statuses(deployment.id)
                if deployment.environment == environment and [one.log_url for one in statuses] == [page]:
                    self.report_deployment(
                        deployment,
                        state="success" if job.conclusion == "success" else "failure",
                        description="",
                        log_url=page,
                        environment_url="",
                        auto_inactive=True,
                        by=ACTIONS_BOT,
                    )

    def _deployment_status(
        self,
        deployment: Deployment,
        state: DeploymentState,
        *,
        by: Person,
        description: str = "",
        log_url: str = "",
        environment_url: str = "",
    ) -> DeploymentStatus:
        status = DeploymentStatus(
            id=self.store.next_id(),
            deployment=deployment.id,
            state=state,
            description=description,
            log_url=log_url,
            environment_url=environment_url,
            creator=by.login,
            created_at=now(),
        )
        self.store.put(status)
        told = {
            "action": "created",
            "deployment_status": self.answers.deployment_status(deployment, status),
            "deployment": self.answers.deployment(deployment),
        }
        self._tell("deployment_status", told, by)
        return status

    def add_hook(self, hook: Hook) -> None:
        """Tell this address from now on; the first that it hears is a ping."""
        self.store.put(hook)
        said = {"zen": "Design for failure.", "hook_id": hook.id, "hook": self.answers.hook(hook)}
        self.deliveries.tell([hook], "ping", {**said, "repository": self.answers.repository()})

    def _tell(self, event: str, payload: Mapping[str, Any], by: Person) -> None:
        """Post it to every webhook that asked for this."""
        whole = {**payload, "repository": self.answers.repository(), "sender": self.answers.user(by.login)}
        self.deliveries.tell(self.store.hooks(), event, whole)

    # Events

    def dispatch(self, path: str, *, ref: str, inputs: dict[str, str], by: Person) -> Run:
        """Start the workflow at ``path`` as it is at ``ref``. Raises 422 as GitHub does."""
        full = next((name for name in (f"refs/heads/{ref}", f"refs/tags/{ref}", ref) if self.git.ref(name)), None)
        sha = self.git.resolve(full) if full else None
        if full is None or sha is None:
            raise unprocessable(f"No ref found for: {ref}")
        workflow = next((workflow for workflow in self.actions.workflows(sha) if workflow.path == path), None)
        if workflow is None:
            raise not_found()
        if workflow.trigger("workflow_dispatch") is None:
            raise unprocessable("Workflow does not have 'workflow_dispatch' trigger")
        known = {declared.name for declared in workflow.inputs}
        if unexpected := [name for name in inputs if name not in known]:
            raise unprocessable(f"Unexpected inputs provided: {unexpected}".replace("'", '"'))
        given = dict(inputs)
        for declared in workflow.inputs:
            if declared.default is not None:
                given.setdefault(declared.name, declared.default)
            if declared.required and not given.get(declared.name):
                raise unprocessable(f"Required input '{declared.name}' not provided")
            if declared.kind == "choice" and declared.name in given and given[declared.name] not in declared.options:
                value = f"Provided value '{given[declared.name]}' for input '{declared.name}'"
                raise unprocessable(f"{value} not in the list of allowed values")
        runs = self.actions.fire(events.dispatched(self, path, workflow.name, ref=full, sha=sha, inputs=given, by=by))
        if not runs:
            raise ApiError(403, "Actions has been disabled for this repository.")
        return runs[0]

    def strike(self, cron: str) -> list[Run]:
        """Let it be the time that a schedule names: start each workflow of main that has it."""
        return [run for event in events.scheduled(self, cron) for run in self.actions.fire(event)]

    def tell_of_pull(self, pull: Pull, action: str, by: Person, **more: Any) -> None:
        """Fire what GitHub fires when something happened to a pull request."""
        self._fire(events.of_pull(self, pull, action, by, **more), by)

    def tell_of_group(self, pull: Pull, entry: Queued, ref: str, action: str, *, reason: str = "") -> None:
        """Fire what GitHub fires when a merge group is to be checked, or is no more."""
        self._fire([events.merge_group(self, pull, entry, ref, action, reason=reason)], MERGE_QUEUE)

    def _fire(self, happened: Sequence[events.Event], by: Person) -> None:
        """Tell the webhooks, and start workflows; none for what a workflow's own token did, lest they never end."""
        for event in happened:
            # One webhook for what two kinds of workflows hear of: at the base, and at the test merge.
            if event.name != "pull_request":
                self._tell(event.name.removesuffix("_target"), event.payload, by)
            if by.starts_workflows:
                self.actions.fire(event)


def _squashed(commits: Sequence[Commit]) -> str:
    """The body of a squashed commit: the one commit's own, or all messages as a list."""
    if len(commits) == 1:
        return commits[0].message.partition("\n")[2].strip()
    return "\n\n".join(f"* {commit.message}" for commit in commits)
