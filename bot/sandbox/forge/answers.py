"""GitHub's JSON: how each thing looks in the REST API and in webhook payloads (API version 2022-11-28).

What an object must have is in ``shapes.json``, made of GitHub's own description by ``python -m tests.contract``: each
required field with a value that may stand there, and addresses as the description's examples have them. Here is only
what tells one thing from another, and what the description has no example for.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from bot.sandbox.actions.records import Job, Run, workflow_id
from bot.sandbox.forge import signing
from bot.sandbox.forge.git import Commit, FileChange, Identity
from bot.sandbox.forge.people import App, Person
from bot.sandbox.forge.repository import Repository
from bot.sandbox.forge.store import (
    CheckRun,
    Comment,
    Deployment,
    DeploymentStatus,
    Protection,
    Pull,
    Review,
    Ruleset,
)

Json = dict[str, Any]

SHAPES: Mapping[str, Json] = json.loads(Path(__file__).with_name("shapes.json").read_text())
BEGINNING = "2024-01-01T00:00:00Z"
"""When everything was made that has no time of its own."""
ACTIONS_APP, ACTIONS_SLUG = 15368, "github-actions"
MEMBER = {"author_association": "COLLABORATOR"}
LEVELS = ("read", "triage", "write", "maintain", "admin")
ACCESS = ("pull", "triage", "push", "maintain", "admin")
PULL_LINKS = {
    "self": "url",
    "html": "html_url",
    "issue": "issue_url",
    "comments": "comments_url",
    "review_comments": "review_comments_url",
    "review_comment": "review_comment_url",
    "commits": "commits_url",
    "statuses": "statuses_url",
}


def stamp(moment: datetime | None) -> str | None:
    """A time as the API writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def node_id(kind: str, identifier: object) -> str:
    return base64.b64encode(f"{kind}:{identifier}".encode()).decode()


class Answers:
    """Turns a repository's records into GitHub's JSON."""

    def __init__(self, of: Repository) -> None:
        self.of = of
        self.api = f"{of.server_url}/api/v3"
        self.repo_api = f"{self.api}/repos/{of.repository}"
        self.page = f"{of.server_url}/{of.repository}"

    def _shaped(self, kind: str, **known: Any) -> Json:
        """An object of GitHub's: what is known, and for all else that it must have what the description says."""
        facts = {"server": self.of.server_url, "api": self.api, "repo": self.repo_api, "page": self.page, **known}
        facts.setdefault("sha", known.get("head_sha", ""))
        given = {name: stamp(value) if isinstance(value, datetime) else value for name, value in known.items()}
        if "node_id" in SHAPES[kind]:
            given.setdefault("node_id", node_id(kind, known.get("id") or facts["sha"]))
        needed = {
            name: Template(value).safe_substitute(facts) if isinstance(value, str) else value
            for name, value in SHAPES[kind].items()
        }
        return needed | given

    # People and the repository

    def user(self, login: str) -> Json:
        person = self.of.people.named(login)
        avatar = f"{self.of.server_url}/{quote(login)}.png"
        return self._shaped(
            "simple-user",
            login=person.login,
            id=person.id,
            type=person.type,
            avatar_url=avatar,
            gravatar_id="",
        )

    def whole_user(self, login: str) -> Json:
        """A person's own page, as asking for one has it."""
        person = self.of.people.named(login)
        return {
            **SHAPES["public-user"],
            **self.user(login),
            "user_view_type": "public",
            "blog": "",
            "name": person.login,
            "email": person.identity.email,
        }

    def _organization(self) -> Json:
        return self.user(self.of.owner) | {"type": "Organization"}

    def app(self, identifier: int, slug: str, *, permissions: Mapping[str, str] | None = None) -> Json:
        """A GitHub App."""
        page = f"{self.of.server_url}/apps/{slug}"
        known = {"id": identifier, "slug": slug, "name": slug, "owner": self._organization()}
        return self._shaped(
            "integration", **known, html_url=page, external_url=page, permissions=dict(permissions or {})
        )

    def installation(self, app: App) -> Json:
        """A GitHub App in this repository."""
        owner = self._organization()
        return self._shaped(
            "installation",
            id=app.installation,
            account=owner,
            target_id=owner["id"],
            target_type="Organization",
            app_id=app.id,
            app_slug=app.slug,
            permissions=dict(app.permissions),
            repository_selection="selected",
        )

    def minimal_repository(self, kind: str = "minimal-repository", **more: Any) -> Json:
        """The repository as lists and workflow runs have it."""
        name = self.of.repository.split("/")[1]
        return self._shaped(
            kind,
            id=self.of.number,
            name=name,
            full_name=self.of.repository,
            private=True,
            **{"node_id": node_id("repository", self.of.number), "owner": self._organization(), **more},
        )

    def repository(self, kind: str = "repository", **more: Any) -> Json:
        """The repository as a side of a pull request and a webhook's payload have it."""
        waiting = sum(pull.state == "open" for pull in self.of.store.pulls())
        clone = f"{self.page}.git"
        return self.minimal_repository(
            kind,
            clone_url=clone,
            git_url=clone,
            ssh_url=clone,
            svn_url=self.page,
            default_branch="main",
            open_issues=waiting,
            open_issues_count=waiting,
            visibility="private",
            topics=[],
            **{
                "has_discussions": False,
                **dict.fromkeys(("created_at", "updated_at", "pushed_at"), BEGINNING),
                **more,
            },
        )

    def whole_repository(self, person: Person) -> Json:
        """The repository as asking for it has it: also what the asker may do."""
        methods, reached = self.of.store.settings.methods, LEVELS.index(person.permission)
        return self.repository(
            "full-repository",
            **{f"allow_{name}": kind in methods for kind, name in MERGES.items()},
            permissions={name: level <= reached for level, name in enumerate(ACCESS)},
        )

    # Pull requests, comments, reviews

    def pull(self, pull: Pull, kind: str = "pull-request-simple", **more: Any) -> Json:
        """A pull request as lists and payloads have it."""
        kept = ("id", "number", "state", "draft", "title", "created_at", "updated_at", "closed_at", "merged_at")
        shaped = self._shaped(
            kind,
            **{name: getattr(pull, name) for name in kept},
            body=pull.body or None,
            user=self.user(pull.author),
            assignees=[],
            requested_reviewers=[],
            requested_teams=[],
            merge_commit_sha=pull.merge_commit or None,
            head=self._side(pull.head, pull.head_sha, pull.author),
            base=self._side(pull.base, pull.base_sha, self.of.owner),
            active_lock_reason=None,
            node_id=node_id("pull-request", pull.id),
            **MEMBER,
            **more,
        )
        shaped["statuses_url"] = f"{self.repo_api}/statuses/{pull.head_sha}"
        return shaped | {"_links": {name: {"href": shaped[field]} for name, field in PULL_LINKS.items()}}

    def whole_pull(self, pull: Pull, *, is_new: bool = False) -> Json:
        """A pull request as asking for one has it. For a new one GitHub has not yet looked whether it merges."""
        mergeable = None if is_new else self.of.is_mergeable(pull)
        files = self.of.pull_files(pull)
        return self.pull(
            pull,
            "pull-request",
            merged=pull.merged_at is not None,
            merged_by=self.user(pull.merged_by) if pull.merged_by else None,
            mergeable=mergeable,
            rebaseable=mergeable,
            mergeable_state=self.of.mergeable_state(pull, mergeable=mergeable),
            comments=len(self.of.store.comments(pull.number)),
            commits=len(self.of.pull_commits(pull)),
            additions=sum(file.additions for file in files),
            deletions=sum(file.deletions for file in files),
            changed_files=len(files),
        )

    def _named_pull(self, pull: Pull) -> Json:
        """A pull request as checks and workflow runs name it."""
        repo = {"id": self.of.number, "name": self.of.repository.split("/")[1], "url": self.repo_api}
        return {
            "id": pull.id,
            "number": pull.number,
            "url": f"{self.repo_api}/pulls/{pull.number}",
            "head": {"ref": pull.head, "sha": pull.head_sha, "repo": repo},
            "base": {"ref": pull.base, "sha": pull.base_sha, "repo": repo},
        }

    def _side(self, branch: str, sha: str, login: str) -> Json:
        label = f"{self.of.owner}:{branch}"
        return {"label": label, "ref": branch, "sha": sha, "user": self.user(login), "repo": self.repository()}

    def issue(self, pull: Pull) -> Json:
        """A pull request as the issue that it is too."""
        url, whole = f"{self.repo_api}/issues/{pull.number}", self.pull(pull)
        same = ("id", "node_id", "number", "state", "title", "body", "user", "assignees", "html_url", "draft")
        times = ("created_at", "updated_at", "closed_at", "author_association", "active_lock_reason")
        return self._shaped(
            "issue",
            **{name: whole[name] for name in (*same, *times)},
            url=url,
            labels_url=f"{url}/labels{{/name}}",
            repository_url=self.repo_api,
            **{f"{name}_url": f"{url}/{name}" for name in ("comments", "events")},
            comments=len(self.of.store.comments(pull.number)),
            state_reason=None,
            pull_request={name: whole[name] for name in ("url", "html_url", "diff_url", "patch_url", "merged_at")},
        )

    def told_issue(self, pull: Pull) -> Json:
        """The issue as the payload of a comment has it."""
        issue = self.issue(pull)
        return {**issue, "reactions": self._reactions(f"{issue['url']}/reactions")}

    def _reactions(self, url: str) -> Json:
        kinds = ("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket")
        return {"url": url, "total_count": 0, **dict.fromkeys(kinds, 0)}

    def comment(self, comment: Comment) -> Json:
        url = f"{self.repo_api}/issues/comments/{comment.id}"
        return self._shaped(
            "issue-comment",
            id=comment.id,
            url=url,
            body=comment.body,
            user=self.user(comment.author),
            **{"created_at": comment.created_at, "updated_at": comment.updated_at, **MEMBER},
            html_url=f"{self.page}/pull/{comment.number}#issuecomment-{comment.id}",
            issue_url=f"{self.repo_api}/issues/{comment.number}",
            performed_via_github_app=None,
            reactions=self._reactions(f"{url}/reactions"),
        )

    def review(self, review: Review) -> Json:
        page = f"{self.page}/pull/{review.number}#pullrequestreview-{review.id}"
        pull = f"{self.repo_api}/pulls/{review.number}"
        return self._shaped(
            "pull-request-review",
            id=review.id,
            user=self.user(review.author),
            body=review.body,
            state=review.state,
            **{"commit_id": review.commit, "submitted_at": review.submitted_at, **MEMBER},
            html_url=page,
            pull_request_url=pull,
            _links={"html": {"href": page}, "pull_request": {"href": pull}},
        )

    # Git

    def ref(self, name: str) -> Json:
        sha = self.of.git.ref(name)
        target = {"sha": sha, "type": "commit", "url": f"{self.repo_api}/git/commits/{sha}"}
        url = f"{self.repo_api}/git/{name}"
        return {"ref": name, "node_id": node_id("ref", name), "url": url, "object": target}

    def branch(self, name: str, sha: str) -> Json:
        rules = self.of.store.protection(name)
        checks = list(rules.checks) if rules else []
        required = {
            "enforcement_level": "everyone" if checks else "off",
            "contexts": checks,
            "checks": [{"context": check, "app_id": None} for check in checks],
        }
        url = f"{self.repo_api}/branches/{quote(name)}"
        return {
            "name": name,
            "commit": self.commit(self.of.git.commit(sha)),
            "protected": name == "main",
            "protection": {"enabled": name == "main", "required_status_checks": required},
            "protection_url": f"{url}/protection",
            "_links": {"self": url, "html": f"{self.page}/tree/{quote(name)}"},
        }

    def ruleset(self, rule: Ruleset) -> Json:
        """A ruleset as lists have it."""
        address = {"self": f"{self.repo_api}/rulesets/{rule.id}", "html": f"{self.page}/rules/{rule.id}"}
        return {
            "id": rule.id,
            "name": rule.name,
            "target": "branch",
            "enforcement": "active",
            "source_type": "Repository",
            "source": self.of.repository,
            "node_id": node_id("ruleset", rule.id),
            "_links": {name: {"href": at} for name, at in address.items()},
            "created_at": stamp(rule.created_at),
            "updated_at": stamp(rule.created_at),
        }

    def protection(self, rules: Protection) -> Json:
        url = f"{self.repo_api}/branches/{quote(rules.branch)}/protection"
        checks = {
            "url": f"{url}/required_status_checks",
            "strict": rules.up_to_date,
            "contexts": list(rules.checks),
            "contexts_url": f"{url}/required_status_checks/contexts",
            "checks": [{"context": check, "app_id": None} for check in rules.checks],
        }
        off = ("dismiss_stale_reviews", "require_code_owner_reviews", "require_last_push_approval")
        reviews = {
            "url": f"{url}/required_pull_request_reviews",
            "required_approving_review_count": rules.reviews,
            **dict.fromkeys(off, False),
        }
        return {
            "url": url,
            **({"required_status_checks": checks} if rules.checks else {}),
            **({"required_pull_request_reviews": reviews} if rules.only_by_pull_request or rules.reviews else {}),
            "enforce_admins": {"url": f"{url}/enforce_admins", "enabled": rules.for_admins},
        }

    def commit(self, commit: Commit) -> Json:
        parents = [
            {"sha": sha, "url": f"{self.repo_api}/commits/{sha}", "html_url": f"{self.page}/commit/{sha}"}
            for sha in commit.parents
        ]
        inner = {
            "url": f"{self.repo_api}/git/commits/{commit.sha}",
            "author": _signature(commit.author, commit.authored_at),
            "committer": _signature(commit.committer, commit.committed_at),
            "message": commit.message,
            "tree": {"sha": commit.tree, "url": f"{self.repo_api}/git/trees/{commit.tree}"},
            "verification": self._verification(commit),
            "comment_count": 0,
        }
        people = {"author": self._user_of(commit.author), "committer": self._user_of(commit.committer)}
        return self._shaped("commit", sha=commit.sha, commit=inner, parents=parents, **people)

    def _verification(self, commit: Commit) -> Json:
        payload, armored = signing.parts(self.of.git.bytes_of("cat-file", "commit", commit.sha)[1])
        is_ours = bool(armored) and self.of.key.made(payload, armored)
        return {
            "verified": is_ours,
            "reason": "valid" if is_ours else "unknown_key" if armored else "unsigned",
            "signature": armored or None,
            "payload": payload.decode(errors="replace") if armored else None,
            "verified_at": stamp(commit.committed_at) if is_ours else None,
        }

    def commit_with_files(self, commit: Commit, files: list[FileChange]) -> Json:
        additions, deletions = sum(file.additions for file in files), sum(file.deletions for file in files)
        stats = {"total": additions + deletions, "additions": additions, "deletions": deletions}
        return {**self.commit(commit), "stats": stats, "files": [self.file(file, commit.sha) for file in files]}

    def short_commit(self, commit: Commit) -> Json:
        """A commit as a workflow run has it."""
        who = {"author": commit.author, "committer": commit.committer}
        people = {role: {"name": one.name, "email": one.email} for role, one in who.items()}
        moment = stamp(commit.committed_at)
        return {"id": commit.sha, "tree_id": commit.tree, "message": commit.message, "timestamp": moment, **people}

    def pushed_commit(self, commit: Commit) -> Json:
        """A commit as the payload of a push has it."""
        parent = commit.parents[0] if commit.parents else None
        files = self.of.git.diff(parent, commit.sha) if parent else []
        words = {"added": "added", "removed": "removed"}
        return {
            **self.short_commit(commit),
            "distinct": True,
            "timestamp": commit.committed_at.isoformat(),
            "url": f"{self.page}/commit/{commit.sha}",
            **{
                kind: [file.path for file in files if words.get(file.status, "modified") == kind]
                for kind in ("added", "removed", "modified")
            },
        }

    def _user_of(self, who: Identity) -> Json | None:
        person = self.of.people.with_email(who.email)
        return self.user(person.login) if person else None

    def file(self, file: FileChange, commit: str) -> Json:
        path = quote(file.path)
        more = {"patch": file.patch, "previous_filename": file.previous_path}
        return {
            "sha": file.blob,
            "filename": file.path,
            "status": file.status,
            "additions": file.additions,
            "deletions": file.deletions,
            "changes": file.additions + file.deletions,
            "blob_url": f"{self.page}/blob/{commit}/{path}",
            "raw_url": f"{self.page}/raw/{commit}/{path}",
            "contents_url": f"{self.repo_api}/contents/{path}?ref={commit}",
            **{name: value for name, value in more.items() if value},
        }

    # Deployments

    def deployment(self, deployment: Deployment) -> Json:
        statuses = self.of.store.deployment_statuses(deployment.id)
        return self._shaped(
            "deployment",
            id=deployment.id,
            sha=deployment.sha,
            ref=deployment.ref,
            task="deploy",
            payload={},
            environment=deployment.environment,
            original_environment=deployment.environment,
            creator=self.user(deployment.creator),
            created_at=deployment.created_at,
            updated_at=statuses[-1].created_at if statuses else deployment.created_at,
            transient_environment=False,
            production_environment=deployment.environment == "production",
        )

    def deployment_status(self, deployment: Deployment, status: DeploymentStatus) -> Json:
        url = f"{self.repo_api}/deployments/{deployment.id}"
        return self._shaped(
            "deployment-status",
            id=status.id,
            state=status.state,
            creator=self.user(status.creator),
            url=f"{url}/statuses/{status.id}",
            deployment_url=url,
            environment=deployment.environment,
            environment_url="",
            log_url=status.log_url,
            target_url=status.log_url,
            created_at=status.created_at,
            updated_at=status.created_at,
        )

    # Checks

    def check(self, check: CheckRun) -> Json:
        """A check run that was reported through the API."""
        creator, page = self.of.people.named(check.creator), f"{self.page}/runs/{check.id}"
        kept = ("id", "name", "status", "conclusion", "started_at", "completed_at", "external_id")
        return self._check(
            **{name: getattr(check, name) for name in kept},
            head_sha=check.sha,
            details_url=check.details_url or page,
            html_url=page,
            check_suite={"id": creator.id},
            app=self.app(creator.id, creator.login.removesuffix("[bot]")),
            output={name: text or None for name, text in check.output.model_dump().items()},
        )

    def job_check(self, run: Run, job: Job) -> Json:
        """The check run that a workflow's job is."""
        page = f"{self.page}/actions/runs/{run.id}/job/{job.id}"
        kept = ("id", "name", "status", "conclusion", "completed_at")
        return self._check(
            **{name: getattr(job, name) for name in kept},
            started_at=job.started_at or run.created_at,
            external_id=f"{run.id}-{job.key}",
            head_sha=run.head_sha,
            details_url=page,
            html_url=page,
            check_suite={"id": run.id},
            app=self.app(ACTIONS_APP, ACTIONS_SLUG),
            output={"title": None, "summary": None, "text": None},
            annotations=len(job.annotations),
        )

    def _check(self, *, annotations: int = 0, output: Json, **fields: Any) -> Json:
        url = f"{self.repo_api}/check-runs/{fields['id']}"
        pulls = [one for one in self.of.store.pulls() if one.head_sha == fields["head_sha"] and one.state == "open"]
        return self._shaped(
            "check-run",
            **fields,
            output={**output, "annotations_count": annotations, "annotations_url": f"{url}/annotations"},
            pull_requests=[self._named_pull(pull) for pull in pulls],
        )

    # Actions

    def workflow(self, path: str, name: str) -> Json:
        identifier = workflow_id(path)
        return self._shaped(
            "workflow",
            id=identifier,
            name=name,
            path=path,
            html_url=f"{self.page}/blob/main/{path}",
            url=f"{self.repo_api}/actions/workflows/{identifier}",
            badge_url=f"{self.page}/workflows/{quote(name)}/badge.svg",
        )

    def run(self, run: Run) -> Json:
        url, workflow = f"{self.repo_api}/actions/runs/{run.id}", workflow_id(run.workflow_path)
        pulls = [pull for number in run.pulls if (pull := self.of.store.pull(number))]
        commit = self.of.git.commit(run.head_sha) if self.of.git.exists(run.head_sha) else None
        kept = ("id", "head_branch", "head_sha", "event", "status", "conclusion", "created_at", "updated_at")
        return self._shaped(
            "workflow-run",
            **{name: getattr(run, name) for name in kept},
            name=run.workflow_name,
            path=run.workflow_path,
            workflow_id=workflow,
            display_title=run.title,
            run_number=run.number,
            run_attempt=1,
            actor=self.user(run.actor),
            triggering_actor=self.user(run.actor),
            repository=self.minimal_repository(),
            head_repository=self.minimal_repository(),
            check_suite_id=run.id,
            check_suite_node_id=node_id("check-suite", run.id),
            check_suite_url=f"{self.repo_api}/check-suites/{run.id}",
            referenced_workflows=[one.model_dump() for one in run.referenced],
            run_started_at=run.started_at or run.created_at,
            pull_requests=[self._named_pull(pull) for pull in pulls],
            head_commit=self.short_commit(commit) if commit else None,
            html_url=f"{self.page}/actions/runs/{run.id}",
            artifacts_url=f"{url}/artifacts",
            workflow_url=f"{self.repo_api}/actions/workflows/{workflow}",
        )

    def job(self, run: Run, job: Job) -> Json:
        kept = ("id", "name", "status", "conclusion", "completed_at")
        steps = [step.model_dump(exclude={"key"}) for step in job.steps]
        times = ("started_at", "completed_at")
        return self._shaped(
            "job",
            **{name: getattr(job, name) for name in kept},
            run_id=run.id,
            run_attempt=1,
            workflow_name=run.workflow_name,
            head_sha=run.head_sha,
            head_branch=run.head_branch,
            created_at=run.created_at,
            started_at=job.started_at or run.created_at,
            labels=["ubuntu-latest"],
            runner_id=1,
            runner_name="sandbox",
            runner_group_id=1,
            runner_group_name="Default",
            run_url=f"{self.repo_api}/actions/runs/{run.id}",
            html_url=f"{self.page}/actions/runs/{run.id}/job/{job.id}",
            steps=[{**step, **{name: stamp(step[name]) for name in times}} for step in steps],
        )


MERGES = {"merge": "merge_commit", "squash": "squash_merge", "rebase": "rebase_merge"}


def _signature(who: Identity, moment: datetime) -> Json:
    return {"name": who.name, "email": who.email, "date": stamp(moment)}
