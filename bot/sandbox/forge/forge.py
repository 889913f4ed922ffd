"""The deeds of people and bots on the forge, and their consequences. The API, Git and the pages call this."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pygit2 import reference_is_valid_name

from bot.sandbox.actions.records import Job, Run
from bot.sandbox.forge import events, signing
from bot.sandbox.forge.answers import Answers, node_id
from bot.sandbox.forge.errors import ApiError, invalid, not_found, unprocessable
from bot.sandbox.forge.git import ZERO, Commit, RefMoved
from bot.sandbox.forge.limits import Limits
from bot.sandbox.forge.people import ACTIONS_BOT, GITHUB, MERGE_QUEUE, Person
from bot.sandbox.forge.repository import ONLY_BY_QUEUE, Repository
from bot.sandbox.forge.store import (
    AutoMerge,
    Comment,
    Deployment,
    DeploymentState,
    DeploymentStatus,
    MergeMethod,
    Pull,
    Queued,
    Review,
    now,
)

NO_WORKFLOW = {"workflow": None, "workflow_run": None}
"""GitHub names the run that deploys; a payload of the forge leaves it out, as it may for what no run made."""
VIOLATED = "Repository rule violations found\n\n"


@dataclass(frozen=True)
class RefUpdate:
    """One reference that moved; `ZERO` stands for "was not there" and "is gone"."""

    name: str
    old: str
    new: str


@dataclass(eq=False)
class Forge(Repository):
    """One repository of the forge, and all that happens in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.answers = Answers(self)
        self.limits = Limits()
        self.on_event: Callable[[str, Mapping[str, Any]], object] = lambda *_: None
        """Told of everything that GitHub would post to webhooks: the event's name and its payload."""
        self.actions.on_completed = self._run_completed
        self.actions.on_job = self._job_changed
        # Requests that change pull requests or move references through the API hold this lock, so that two of them
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

    def open_pull(self, *, title: str, body: str, head: str, base: str, by: Person) -> Pull:
        """Open a pull request. ``head`` may be ``owner:branch``. Raises 422 as GitHub does."""
        head = head.removeprefix(f"{self.owner}:")
        with self._lock:
            base_sha, head_sha = self.git.branch(base), self.git.branch(head)
            if base_sha is None or head_sha is None:
                raise invalid("PullRequest", field="head" if base_sha else "base")
            message = ""
            if any(pull.state == "open" and (pull.head, pull.base) == (head, base) for pull in self.store.pulls()):
                message = f"A pull request already exists for {self.owner}:{head}."
            elif self.git.merge_base(base_sha, head_sha) is None:
                message = f"The {head} branch has no history in common with {base}"
            elif self.git.is_ancestor(head_sha, base_sha):
                message = f"No commits between {base} and {head}"
            if message:
                raise invalid("PullRequest", code="custom", message=message)
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
            )
            pull = self._with_test_merge(pull)
            self.store.put(pull)
            self._tell_of_pull(pull, "opened", by)
        return pull

    def edit_pull(self, number: int, *, title: str | None, body: str | None, state: str | None, by: Person) -> Pull:
        """Change what is given. Closing and reopening are events of their own, as every edit is."""
        with self._lock:
            pull = self.pull(number)
            if title is not None and not title.strip():
                raise invalid("PullRequest", field="title", code="missing_field")
            changes: dict[str, object] = {"title": title, "body": body}
            changes = {name: value for name, value in changes.items() if value is not None}
            edited: dict[str, Any] = {name: {"from": getattr(pull, name)} for name in changes}
            event = ""
            if state is not None and state != pull.state:
                event = self._check_state_change(pull, state)
                changes |= {"state": state, "closed_at": now() if state == "closed" else None, "auto_merge": None}
            changed = pull.model_copy(update={**changes, "updated_at": now()})
            if event == "reopened":
                changed = self._with_test_merge(changed.model_copy(update={"head_sha": self.git.branch(pull.head)}))
            self.store.put(changed)
            if edited:
                self._tell_of_pull(changed, "edited", by, changes=edited)
            if event:
                self._tell_of_pull(changed, event, by)
            self._advance_queue()
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
            base, head = self.git.branch(pull.base), self.git.branch(pull.head)
            if pull.state != "open" or base is None or head is None:
                raise ApiError(405, "Pull Request is not mergeable")
            if sha is not None and sha != head:
                raise ApiError(409, "Head branch was modified. Review and try the merge again.")
            if method not in self.store.settings.methods:
                what = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}[method]
                raise ApiError(405, f"{what} are not allowed on this repository.")
            rules = self.protection(pull.base, by)
            if rules is not None and rules.up_to_date and self.is_behind(pull):
                raise ApiError(409, "Head branch is out of date. Review and try the merge again.")
            if rules is not None and (refused := self.refusals(rules, pull)):
                raise ApiError(405, " ".join(refused))
            if unsigned := self._unsigned_merge(pull, method, base, head):
                raise ApiError(405, VIOLATED + unsigned)
            if self.merge_queue_of(pull.base):
                raise ApiError(405, VIOLATED + ONLY_BY_QUEUE)
            made = self._merge_commit(pull, method, base=base, head=head, title=title, message=message, by=by)
            if made is None:
                raise ApiError(405, "Pull Request is not mergeable")
            return self.fast_forward(pull, made, base=base, by=by)

    # Auto-merge: https://docs.github.com/en/pull-requests/…/automatically-merging-a-pull-request

    def set_auto_merge(self, node: str, wanted: AutoMerge | None, *, expected: str | None) -> int | None:
        """Merge the pull request with this node id as soon as its branch's rules allow it; None: no longer.

        Return its number, None if it is not here. GitHub also switches it off where somebody who may not write
        pushes to the branch; here all who push may write. Raises 422 in GitHub's words.
        """
        with self._lock:
            pull = next((one for one in self.store.pulls() if node_id("pull-request", one.id) == node), None)
            if pull is None:
                return None
            if wanted is None:
                if pull.auto_merge is None:
                    raise unprocessable("Can't disable auto-merge for this pull request.")
                self.store.put(pull.model_copy(update={"auto_merge": None, "updated_at": now()}))
                return pull.number
            if refused := self._no_auto_merge(pull, wanted, expected):
                raise unprocessable(refused)
            self.store.put(pull.model_copy(update={"auto_merge": wanted, "updated_at": now()}))
            return pull.number

    def _no_auto_merge(self, pull: Pull, wanted: AutoMerge, expected: str | None) -> str:
        """Why GitHub takes no auto-merge of a pull request; empty where it does."""
        if not self.store.settings.allow_auto_merge:
            return "Auto merge is not allowed for this repository"
        if pull.state != "open":
            return "Can't enable auto-merge for this pull request."
        if expected not in (None, pull.head_sha):
            return "Head branch was modified. Review and try the merge again."
        if wanted.method not in self.store.settings.methods:
            return f"Merge method {wanted.method} is not allowed on this repository"
        state = self.mergeable_state(pull, mergeable=self.is_mergeable(pull))
        if state in ("clean", "unstable"):
            # Nothing is left to wait for. Where a branch has no rules at all, GitHub says that.
            is_ruled = self.store.protection(pull.base) or self.merge_queue_of(pull.base)
            said = f"Pull request is in {state} status" if is_ruled else "Protected branch rules not configured"
            return f"Pull request {said}" + ("" if is_ruled else " for this branch")
        return ""

    def advance(self) -> None:
        """See what a check or a review that is new means for auto-merges and for the merge queue."""
        with self._lock:
            self._auto_merges()
            self._advance_queue()

    def _auto_merges(self) -> None:
        """Merge what was to be merged as soon as the rules allow it, in the name of the person who wanted that."""
        for pull in self.store.pulls():
            wanted = pull.auto_merge
            if pull.state != "open" or wanted is None:
                continue
            by = self.people.named(wanted.by).model_copy(update={"starts_workflows": wanted.starts_workflows})
            try:
                if self.merge_queue_of(pull.base):
                    self.enqueue(node_id("pull-request", pull.id), expected=pull.head_sha, by=by)
                else:
                    self.merge_pull(
                        pull.number,
                        method=wanted.method,
                        sha=pull.head_sha,
                        title=wanted.title or None,
                        message=wanted.message or None,
                        by=by.model_copy(update={"permission": "write"}),  # it goes round no rule
                    )
            except ApiError:
                continue  # not yet

    def _unsigned_merge(self, pull: Pull, method: MergeMethod, base: str, head: str) -> str:
        """Why a branch that takes signed commits only does not take this merge; empty where it does."""
        if not self.asks_for_signatures(f"refs/heads/{pull.base}") or method == "squash":
            return ""  # one new commit, which GitHub signs
        if method == "rebase":
            return "Base branch requires signed commits. Rebase merges cannot be automatically signed by GitHub."
        return signing.violations(self.git, self.key, [one.sha for one in self.git.commits(head, without=[base])])

    def fast_forward(self, pull: Pull, made: str, *, base: str, by: Person) -> Pull:
        """Put the commit that merges a pull request on its base branch. Raises 405 where that was moved."""
        try:
            self.git.update_ref(f"refs/heads/{pull.base}", new=made, old=base)
        except RefMoved as moved:
            # A push came in between; GitHub says the same.
            raise ApiError(405, "Base branch was modified. Review and try the merge again.") from moved
        merged = self._close(pull, by, merged=made)
        self.moved([RefUpdate(f"refs/heads/{pull.base}", base, made)], by=by)
        return merged

    def _close(self, pull: Pull, by: Person, *, merged: str = "") -> Pull:
        changes: dict[str, object] = {"state": "closed", "closed_at": now(), "updated_at": now(), "auto_merge": None}
        if merged:
            changes |= {"merged_at": now(), "merged_by": by.login, "merge_commit": merged}
        closed = pull.model_copy(update=changes)
        self.store.put(closed)
        self._tell_of_pull(closed, "closed", by)
        return closed

    def _merge_commit(
        self,
        pull: Pull,
        method: MergeMethod,
        *,
        base: str,
        head: str,
        by: Person,
        title: str | None = None,
        message: str | None = None,
    ) -> str | None:
        """The new head of the base branch, made but not yet put there; None when there is a conflict."""
        new = list(reversed(self.git.commits(head, without=[base])))
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
            text = title or f"Merge pull request #{pull.number} from {self.owner}/{pull.head}"
            details = message if message is not None else pull.title
            author, parents = by.identity, [base, head]
        whole = f"{text}\n\n{details}" if details else text
        return self.git.commit_tree(
            tree, parents=parents, message=whole, author=author, committer=GITHUB, sign=self.key.sign
        )

    def _with_test_merge(self, pull: Pull) -> Pull:
        """Set ``refs/pull/N/head`` and, if it merges cleanly, ``refs/pull/N/merge``."""
        self.git.set_ref(f"refs/pull/{pull.number}/head", pull.head_sha)
        base = self.git.branch(pull.base) or pull.base_sha
        tree, merge = self.git.merge_trees(base, pull.head_sha), ""
        if tree is not None:
            message, parents = f"Merge {pull.head_sha} into {base}", [base, pull.head_sha]
            merge = self.git.commit_tree(tree, parents=parents, message=message, author=GITHUB, committer=GITHUB)
            self.git.set_ref(f"refs/pull/{pull.number}/merge", merge)
        return pull.model_copy(update={"merge_commit": merge})

    # The merge queue: what is queued is checked as it would be merged, and merged when that is green.
    #
    # One pull request at a time, as with ``max_entries_to_build: 1``: its group is main with it merged, on a branch
    # ``gh-readonly-queue/main/pr-N-SHA`` (SHA is main's head), which starts ``merge_group``. GitHub can build groups
    # of several ahead of each other; the forge refuses a ruleset that asks for it.

    def enqueue(self, node: str, *, expected: str | None, by: Person) -> int | None:
        """Queue the pull request with this node id; return its position, None if it is not here."""
        with self._lock:
            pull = next((one for one in self.store.pulls() if node_id("pull-request", one.id) == node), None)
            if pull is None:
                return None
            if not self.merge_queue_of(pull.base):
                raise unprocessable("The merge queue is not enabled for this branch.")
            if pull.state != "open" or not self.is_mergeable(pull):
                raise unprocessable("Pull request is not mergeable.")
            if expected not in (None, pull.head_sha):
                raise unprocessable("Head branch was modified. Review and try the merge again.")
            rules = self.store.protection(pull.base)
            if rules is not None and (refused := self.refusals(rules, pull)):
                raise unprocessable(" ".join(refused))
            if pull.number in [entry.number for entry in self.store.queued()]:
                raise unprocessable("The pull request is already in the merge queue.")
            self.store.put(Queued(number=pull.number, head_sha=pull.head_sha))
            position = len(self.store.queued())
            self._tell_of_pull(pull, "enqueued", by)
            self._advance_queue()
            return position

    def _run_completed(self) -> None:
        """See what a run that has ended means for auto-merges and for the merge queue."""
        self.advance()

    def _advance_queue(self) -> None:
        """Go on as far as it goes now: make the first entry's group, merge it when green, drop it when red."""
        while entries := self.store.queued():
            entry, pull = entries[0], self.pull(entries[0].number)
            base, rule = self.git.branch(pull.base), self.store.merge_queue(f"refs/heads/{pull.base}")
            if rule is None or base is None or pull.state != "open" or pull.head_sha != entry.head_sha:
                self._drop_queued(entry, pull, "MANUAL" if pull.state != "open" else "BRANCH_PROTECTIONS")
                continue
            if entry.group and entry.base_sha != base:  # somebody else moved main: this is not what would be merged
                self._end_group(entry, pull, "invalidated")
                entry = entry.model_copy(update={"group": "", "base_sha": ""})
            if not entry.group:
                made = self._merge_commit(pull, rule.method, base=base, head=pull.head_sha, by=MERGE_QUEUE)
                if made is None:
                    self._drop_queued(entry, pull, "MERGE_CONFLICT")
                    continue
                entry = entry.model_copy(update={"group": made, "base_sha": base})
                self.store.put(entry)
                self._place(_group_ref(entry, pull), made)
                self._tell_of_group(entry, pull, "checks_requested")
            rules = self.store.protection(pull.base)
            states = self.check_states(rules, entry.group).values() if rules else ()
            if "failing" in states:
                self._drop_queued(entry, pull, "CI_FAILURE")
            elif all(state == "successful" for state in states):
                self.store.remove(entry)
                self._tell_of_pull(pull, "dequeued", MERGE_QUEUE, reason="MERGE")
                self.fast_forward(pull, entry.group, base=base, by=MERGE_QUEUE)
                self._end_group(entry, pull, "merged")
            else:
                return

    def _drop_queued(self, entry: Queued, pull: Pull, reason: str) -> None:
        self.store.remove(entry)
        self._tell_of_pull(pull, "dequeued", MERGE_QUEUE, reason=reason)
        if entry.group:
            self._end_group(entry, pull, "invalidated" if reason == "CI_FAILURE" else "dequeued")

    def _end_group(self, entry: Queued, pull: Pull, reason: str) -> None:
        self._tell_of_group(entry, pull, "destroyed", reason=reason)
        self._place(_group_ref(entry, pull), ZERO)

    def _place(self, ref: str, sha: str) -> None:
        """Set a branch that only the queue writes, or take it away (`ZERO`); a new one is an event as any push."""
        old = self.git.ref(ref) or ZERO
        if sha == ZERO:
            self.git.update_ref(ref, new=ZERO, old=old)
        else:
            self.git.set_ref(ref, sha)
            self._fire(events.pushed(self.answers, ref, old, sha, MERGE_QUEUE), MERGE_QUEUE)

    # Comments, reviews

    def add_comment(self, number: int, *, body: str, by: Person) -> Comment:
        pull = self.pull(number)
        if not body.strip():
            raise invalid("IssueComment", field="body", code="unprocessable")
        comment = Comment(id=self.store.next_id(), number=number, author=by.login, body=body)
        self.store.put(comment)
        self.store.put(pull.model_copy(update={"updated_at": now()}))
        self._fire(events.commented(self.answers, pull, comment, "created", by), by)
        return comment

    def edit_comment(self, comment: Comment, *, body: str, by: Person) -> Comment:
        edited, pull = comment.model_copy(update={"body": body, "updated_at": now()}), self.pull(comment.number)
        self.store.put(edited)
        self._fire(events.commented(self.answers, pull, edited, "edited", by, before=comment.body), by)
        return edited

    def add_review(self, number: int, *, state: str, body: str, commit: str | None, by: Person) -> Review:
        pull = self.pull(number)
        if state in ("APPROVED", "CHANGES_REQUESTED") and by.login == pull.author:
            what = "approve" if state == "APPROVED" else "request changes on"
            raise ApiError(422, "Unprocessable Entity", errors=[f"Can not {what} your own pull request"])
        said = {"number": number, "author": by.login, "body": body, "state": state, "commit": commit or pull.head_sha}
        review = Review.model_validate({"id": self.store.next_id(), **said})
        self.store.put(review)
        self._fire(events.reviewed(self.answers, pull, review, by), by)
        self.advance()
        return review

    # References

    def create_ref(self, name: str, sha: str, *, by: Person) -> None:
        if not name.startswith("refs/") or name.count("/") < 2 or not reference_is_valid_name(name):
            raise unprocessable("Reference name must start with 'refs/' and have at least two slashes.")
        if not self.git.exists(sha):
            raise unprocessable("Object does not exist")
        with self._lock:
            if refused := self._unsigned(name, ZERO, sha):
                raise unprocessable(VIOLATED + refused)
            try:
                self.git.update_ref(name, new=sha, old=None)
            except RefMoved as exists:
                raise unprocessable("Reference already exists") from exists
            self.moved([RefUpdate(name, ZERO, sha)], by=by)

    def _unsigned(self, ref: str, old: str, new: str) -> str:
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
            stale = ApiError(409, f'Expected branch to point to "{expected}" but it did not.  Pull and try again.')
            if tip != expected:
                raise stale
            if refused := self.push_refusal(branch, ZERO, by):
                raise unprocessable(refused)
            tree = self.git.tree_with(tip, files)
            made = self.git.commit_tree(
                tree, parents=[tip], message=message, author=by.identity, committer=GITHUB, sign=self.key.sign
            )
            try:
                self.git.update_ref(ref, new=made, old=tip)
            except RefMoved as moved:
                raise stale from moved
            self.moved([RefUpdate(ref, tip, made)], by=by)
            return made

    def moved(self, updates: Sequence[RefUpdate], *, by: Person) -> None:
        """What follows when references have moved, by a push or through the API."""
        with self._lock:
            for update in updates:
                if update.name.startswith("refs/heads/"):
                    self._branch_moved(update.name.removeprefix("refs/heads/"), by)
                self._fire(events.pushed(self.answers, update.name, update.old, update.new, by), by)
            self._advance_queue()

    def _branch_moved(self, branch: str, by: Person) -> None:
        # Read where the branch is now: of two pushes, the older one may be told about later.
        tip = self.git.branch(branch)
        for pull in self.store.pulls():
            if pull.state != "open" or branch not in (pull.head, pull.base):
                continue
            if tip is None:
                self._close(pull, by)
            elif branch == pull.base and self.git.is_ancestor(pull.head_sha, tip):
                self._close(pull, by, merged=pull.head_sha)  # its commits were pushed to the base directly
            elif branch == pull.head and tip != pull.head_sha:
                base_sha = self.git.branch(pull.base) or pull.base_sha
                update = {"head_sha": tip, "base_sha": base_sha, "updated_at": now()}
                changed = self._with_test_merge(pull.model_copy(update=update))
                self.store.put(changed)
                self._tell_of_pull(changed, "synchronize", by, before=pull.head_sha, after=tip)

    # Deployments

    def _job_changed(self, run: Run, job: Job, environment: str) -> None:
        """A job with a GitHub Environment is a deployment there, from its beginning to its end."""
        page = f"{self.answers.page}/actions/runs/{run.id}/job/{job.id}"
        with self._lock:
            if job.status == "in_progress":
                deployment = Deployment(
                    id=self.store.next_id(),
                    sha=run.head_sha,
                    ref=run.head_branch,
                    environment=environment,
                    creator=ACTIONS_BOT.login,
                    page=page,
                )
                self.store.put(deployment)
                said = self.answers.deployment(deployment)
                self._tell("deployment", {"action": "created", "deployment": said, **NO_WORKFLOW}, ACTIONS_BOT)
                self._report_deployment(deployment, "in_progress")
                return
            for deployment in self.store.all(Deployment):
                if (deployment.environment, deployment.page) == (environment, page):
                    self._deployment_ended(deployment, is_success=job.conclusion == "success")

    def _deployment_ended(self, deployment: Deployment, *, is_success: bool) -> None:
        """One that succeeded makes the environment's earlier ones inactive, but for production."""
        self._report_deployment(deployment, "success" if is_success else "failure")
        if not is_success or deployment.environment == "production":
            return
        for earlier in self.store.all(Deployment):
            statuses = self.store.deployment_statuses(earlier.id)
            is_older = earlier.environment == deployment.environment and earlier.id < deployment.id
            if is_older and statuses and statuses[-1].state == "success":
                self._report_deployment(earlier, "inactive")

    def _report_deployment(self, deployment: Deployment, state: DeploymentState) -> None:
        page, creator = "" if state == "inactive" else deployment.page, ACTIONS_BOT.login
        status = DeploymentStatus(
            id=self.store.next_id(), deployment=deployment.id, state=state, log_url=page, creator=creator
        )
        self.store.put(status)
        said = {"deployment_status": self.answers.deployment_status(deployment, status)}
        deployed = self.answers.deployment(deployment)
        self._tell("deployment_status", {"action": "created", **said, "deployment": deployed}, ACTIONS_BOT)

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
        trigger = workflow.triggers.get("workflow_dispatch")
        if trigger is None:
            raise unprocessable("Workflow does not have 'workflow_dispatch' trigger")
        if unexpected := [name for name in inputs if name not in trigger.inputs]:
            raise unprocessable(f"Unexpected inputs provided: {unexpected}".replace("'", '"'))
        given = dict(inputs)
        for name, declared in trigger.inputs.items():
            if declared.default is not None:
                given.setdefault(name, declared.default)
            if declared.required and not given.get(name):
                raise unprocessable(f"Required input '{name}' not provided")
            if declared.type == "choice" and name in given and given[name] not in declared.options:
                value = f"Provided value '{given[name]}' for input '{name}'"
                raise unprocessable(f"{value} not in the list of allowed values")
        event = events.dispatched(self.answers, path, workflow.name, ref=full, sha=sha, inputs=given, by=by)
        runs = self.actions.fire(event)
        if not runs:
            raise ApiError(403, "Actions has been disabled for this repository.")
        return runs[0]

    def strike(self, cron: str) -> list[Run]:
        """Let it be the time that a schedule names: start each workflow of main that has it."""
        return [run for event in events.scheduled(self.answers, cron) for run in self.actions.fire(event)]

    def _tell_of_pull(self, pull: Pull, action: str, by: Person, **more: Any) -> None:
        """Fire what GitHub fires when something happened to a pull request."""
        self._fire(events.of_pull(self.answers, pull, action, by, **more), by)

    def _tell_of_group(self, entry: Queued, pull: Pull, action: str, *, reason: str = "") -> None:
        """Fire the event of a merge group that is to be checked, or that ended."""
        group = events.merge_group(self.answers, pull, entry, _group_ref(entry, pull), action, reason=reason)
        self._fire([group], MERGE_QUEUE)

    def _tell(self, event: str, payload: Mapping[str, Any], by: Person) -> None:
        self.on_event(event, {**payload, **events.common(self.answers, by)})

    def _fire(self, happened: Sequence[events.Event], by: Person) -> None:
        """Tell of it, and start workflows; none for what a workflow's own token did, lest they never end."""
        for event in happened:
            # One webhook for what two kinds of workflows hear of: at the base, and at the test merge.
            if event.name != "pull_request":
                self.on_event(event.name.removesuffix("_target"), event.payload)
            if by.starts_workflows:
                self.actions.fire(event)


def _group_ref(entry: Queued, pull: Pull) -> str:
    return f"refs/heads/gh-readonly-queue/{pull.base}/pr-{entry.number}-{entry.base_sha}"


def _squashed(commits: Sequence[Commit]) -> str:
    """The body of a squashed commit: the one commit's own, or all messages as a list."""
    if len(commits) == 1:
        return commits[0].message.partition("\n")[2].strip()
    return "\n\n".join(f"* {commit.message}" for commit in commits)
