"""GitHub's JSON: how each thing looks in the REST API and in webhook payloads (API version 2022-11-28).

``shapes.json`` has the required fields of each object, with a value that may stand there, and addresses as in the
examples of GitHub's own description. ``python -m tests.contract`` makes it from that description. ``bindings.json``
says which field shows what of a record, and has the values without an example. This module has what must be looked
up.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

from bot.sandbox.actions.records import Job, Run, workflow_id
from bot.sandbox.forge.git import Commit, FileChange, Identity
from bot.sandbox.forge.people import App, Person
from bot.sandbox.forge.repository import Repository
from bot.sandbox.forge.store import (
    AutoMerge,
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


def _data(name: str) -> Mapping[str, Json]:
    found: Mapping[str, Json] = json.loads(Path(__file__).with_name(name).read_text())
    return found


SHAPES, BINDINGS = _data("shapes.json"), _data("bindings.json")
BEGINNING = "2024-01-01T00:00:00Z"
"""When everything was made that has no time of its own."""
ACTIONS = {"id": 15368, "slug": "github-actions"}
LEVELS = ("read", "triage", "write", "maintain", "admin")
ACCESS = ("pull", "triage", "push", "maintain", "admin")
MERGES = {"merge": "merge_commit", "squash": "squash_merge", "rebase": "rebase_merge"}
PULL_LINKS = ("issue", "comments", "review_comments", "review_comment", "commits", "statuses")


def stamp(moment: datetime | None) -> str | None:
    """A time as the API writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def node_id(kind: str, identifier: object) -> str:
    return base64.b64encode(f"{kind}:{identifier}".encode()).decode()


def _filled(value: Any, facts: Mapping[str, Any]) -> Any:
    """The value with every ``$name`` in its texts filled in, also in those inside it."""
    if isinstance(value, str):
        return Template(value).safe_substitute(facts)
    if isinstance(value, dict):
        return {name: _filled(one, facts) for name, one in value.items()}
    return list(value) if isinstance(value, list) else value


class Answers:
    """Turns a repository's records into GitHub's JSON."""

    def __init__(self, of: Repository) -> None:
        self.of = of
        self.api = f"{of.server_url}/api/v3"
        self.repo_api = f"{self.api}/repos/{of.repository}"
        self.page = f"{of.server_url}/{of.repository}"
        self._where = {"server": of.server_url, "api": self.api, "repo": self.repo_api, "page": self.page}

    def _shaped(self, kind: str, facts: Mapping[str, Any], known: Mapping[str, Any]) -> Json:
        """An object of GitHub's: what is known, and for all else that it must have what the description says."""
        found: Json = _filled(SHAPES.get(kind, {}), {**self._where, **facts, **known})
        if "node_id" in found:
            found["node_id"] = node_id(kind.removesuffix("-simple"), known.get("id") or known.get("sha"))
        return found | {name: stamp(one) if isinstance(one, datetime) else one for name, one in known.items()}

    def _made(self, name: str, record: Any, *, kind: str = "", **more: Any) -> Json:
        """An object of GitHub's of a record, as ``bindings.json`` says; ``more`` is what it does not say."""
        bound, facts = BINDINGS[name], record if isinstance(record, dict) else dict(record)
        known = {field: facts[attribute] for field, attribute in bound["fields"].items()}
        users = {field: self.user(facts[attribute]) for field, attribute in bound.get("users", {}).items()}
        always = _filled(bound["always"], {**self._where, **facts})
        return self._shaped(kind or bound.get("shape", ""), facts, {**known, **users, **always, **more})

    # People and the repository

    def user(self, login: str) -> Json:
        person = self.of.people.named(login)
        return self._made("user", {**dict(person), "id": person.id})

    def whole_user(self, login: str) -> Json:
        """A person's own page, as asking for one has it."""
        person = self.of.people.named(login)
        own = {"user_view_type": "public", "blog": "", "name": person.login, "email": person.identity.email}
        return {**SHAPES["public-user"], **self.user(login), **own}

    def _organization(self) -> Json:
        return self.user(self.of.owner) | {"type": "Organization"}

    def app(self, app: Mapping[str, Any]) -> Json:
        """A GitHub App, of its ``id``, ``slug``, and maybe ``permissions``."""
        return self._made("app", dict(app), owner=self._organization(), permissions=app.get("permissions", {}))

    def installation(self, app: App) -> Json:
        """A GitHub App in this repository."""
        owner = self._organization()
        return self._made(
            "installation", app, account=owner, target_id=owner["id"], permissions=dict(app.permissions)
        )

    def minimal_repository(self, kind: str = "minimal-repository", **more: Any) -> Json:
        """The repository as lists and workflow runs have it."""
        names = {"name": self.of.repository.split("/")[1], "full_name": self.of.repository}
        known = {"id": self.of.number, "private": True, "owner": self._organization(), **names, **more}
        return self._shaped(kind, {}, known) | {"node_id": node_id("repository", self.of.number)}

    def repository(self, kind: str = "repository", **more: Any) -> Json:
        """The repository as a side of a pull request and a webhook's payload have it."""
        waiting, clone = sum(pull.state == "open" for pull in self.of.store.pulls()), f"{self.page}.git"
        known = {
            "svn_url": self.page,
            "default_branch": "main",
            "visibility": "private",
            "topics": [],
            "has_discussions": False,
            **dict.fromkeys(("clone_url", "git_url", "ssh_url"), clone),
            **dict.fromkeys(("open_issues", "open_issues_count"), waiting),
            **dict.fromkeys(("created_at", "updated_at", "pushed_at"), BEGINNING),
        }
        return self.minimal_repository(kind, **known, **more)

    def whole_repository(self, person: Person) -> Json:
        """The repository as asking for it has it: also what the asker may do."""
        methods, reached = self.of.store.settings.methods, LEVELS.index(person.permission)
        allowed = {f"allow_{name}": kind in methods for kind, name in MERGES.items()}
        permissions = {name: level <= reached for level, name in enumerate(ACCESS)}
        allowed["allow_auto_merge"] = self.of.store.settings.allow_auto_merge
        return self.repository("full-repository", **allowed, permissions=permissions)

    # Pull requests, comments, reviews

    def pull(self, pull: Pull, kind: str = "", **more: Any) -> Json:
        """A pull request as lists and payloads have it."""
        sides = {
            "head": self._side(pull.head, pull.head_sha, pull.author),
            "base": self._side(pull.base, pull.base_sha, self.of.owner),
        }
        texts = {"body": pull.body or None, "merge_commit_sha": pull.merge_commit or None}
        wanted = {"auto_merge": self._auto_merge(pull.auto_merge)}
        found = self._made("pull", pull, kind=kind, **sides, **texts, **wanted, **more)
        links = {"self": "url", "html": "html_url", **{name: f"{name}_url" for name in PULL_LINKS}}
        return found | {"_links": {name: {"href": found[field]} for name, field in links.items()}}

    def _auto_merge(self, wanted: AutoMerge | None) -> Json | None:
        if wanted is None:
            return None
        how = {"merge_method": wanted.method, "commit_title": wanted.title, "commit_message": wanted.message}
        return {"enabled_by": self.user(wanted.by), **how}

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
        sides = {"head": (pull.head, pull.head_sha), "base": (pull.base, pull.base_sha)}
        named = {"id": pull.id, "number": pull.number, "url": f"{self.repo_api}/pulls/{pull.number}"}
        return {**named, **{side: {"ref": ref, "sha": sha, "repo": repo} for side, (ref, sha) in sides.items()}}

    def _side(self, branch: str, sha: str, login: str) -> Json:
        label = f"{self.of.owner}:{branch}"
        return {"label": label, "ref": branch, "sha": sha, "user": self.user(login), "repo": self.repository()}

    def issue(self, pull: Pull) -> Json:
        """A pull request as the issue that it is too."""
        url, whole = f"{self.repo_api}/issues/{pull.number}", self.pull(pull)
        same = ("id", "number", "state", "title", "body", "user", "assignees", "html_url", "draft", "created_at")
        more = ("updated_at", "closed_at", "author_association", "active_lock_reason")
        known = {
            **{name: whole[name] for name in (*same, *more)},
            **{f"{name}_url": f"{url}/{name}" for name in ("comments", "events")},
            "url": url,
            "labels_url": f"{url}/labels{{/name}}",
            "repository_url": self.repo_api,
            "comments": len(self.of.store.comments(pull.number)),
            "state_reason": None,
            "pull_request": {name: whole[name] for name in ("url", "html_url", "diff_url", "patch_url", "merged_at")},
        }
        return self._shaped("issue", {}, known)

    def told_issue(self, pull: Pull) -> Json:
        """The issue as the payload of a comment has it."""
        issue, reactions = self.issue(pull), BINDINGS["comment"]["always"]["reactions"]
        return {**issue, "reactions": {**reactions, "url": f"{issue['url']}/reactions"}}

    def comment(self, comment: Comment) -> Json:
        return self._made("comment", comment)

    def review(self, review: Review) -> Json:
        return self._made("review", review)

    # Git

    def ref(self, name: str) -> Json:
        return self._made("ref", {"ref": name, "sha": self.of.git.ref(name)}, node_id=node_id("ref", name))

    def branch(self, name: str, sha: str) -> Json:
        rules = self.of.store.protection(name)
        checks = rules.checks if rules else ()
        required = {
            "enforcement_level": "everyone" if checks else "off",
            "contexts": list(checks),
            "checks": _named_checks(checks),
        }
        return self._made(
            *("branch", {"name": name, "quoted": quote(name)}),
            commit=self.commit(self.of.git.commit(sha)),
            protected=name == "main",
            protection={"enabled": name == "main", "required_status_checks": required},
        )

    def ruleset(self, rule: Ruleset) -> Json:
        """A ruleset as lists have it."""
        return self._made("ruleset", rule, source=self.of.repository, node_id=node_id("ruleset", rule.id))

    def protection(self, rules: Protection) -> Json:
        url = f"{self.repo_api}/branches/{quote(rules.branch)}/protection"
        checks = {
            "url": f"{url}/required_status_checks",
            "strict": rules.up_to_date,
            "contexts": list(rules.checks),
            "contexts_url": f"{url}/required_status_checks/contexts",
            "checks": _named_checks(rules.checks),
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
        return self._shaped("commit", {}, {"sha": commit.sha, "commit": inner, "parents": parents, **people})

    def _verification(self, commit: Commit) -> Json:
        payload, armored = self.of.git.signature_of(commit.sha)
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
        more = {"patch": file.patch, "previous_filename": file.previous_path}
        return self._made(
            *("file", {**vars(file), "commit": commit, "quoted": quote(file.path)}),
            changes=file.additions + file.deletions,
            **{name: value for name, value in more.items() if value},
        )

    # Deployments, checks

    def deployment(self, deployment: Deployment) -> Json:
        statuses = self.of.store.deployment_statuses(deployment.id)
        updated = statuses[-1].created_at if statuses else deployment.created_at
        production = deployment.environment == "production"
        return self._made("deployment", deployment, updated_at=updated, production_environment=production)

    def deployment_status(self, deployment: Deployment, status: DeploymentStatus) -> Json:
        return self._made("deployment status", status, environment=deployment.environment)

    def check(self, check: CheckRun) -> Json:
        """A check run that was reported through the API."""
        creator, page = self.of.people.named(check.creator), f"{self.page}/runs/{check.id}"
        app = {"id": creator.id, "slug": creator.login.removesuffix("[bot]")}
        addresses = {"details_url": check.details_url or page, "html_url": page}
        output = {name: text or None for name, text in check.output.model_dump().items()}
        return self._check("check", check, check.sha, app, suite=creator.id, output=output, **addresses)

    def job_check(self, run: Run, job: Job) -> Json:
        """The check run that a workflow's job is."""
        page = f"{self.page}/actions/runs/{run.id}/job/{job.id}"
        more = {"started_at": job.started_at or run.created_at, "external_id": f"{run.id}-{job.key}"}
        said = {**dict.fromkeys(("title", "summary", "text")), "annotations_count": len(job.annotations)}
        addresses = {"details_url": page, "html_url": page, "head_sha": run.head_sha}
        return self._check("job check", job, run.head_sha, ACTIONS, suite=run.id, output=said, **addresses, **more)

    def _check(
        self, name: str, record: Any, sha: str, app: Mapping[str, Any], *, suite: int, output: Json, **more: Any
    ) -> Json:
        pulls = [pull for pull in self.of.store.pulls() if pull.head_sha == sha and pull.state == "open"]
        annotations = {"annotations_url": f"{self.repo_api}/check-runs/{record.id}/annotations"}
        return self._made(
            *(name, record),
            **more,
            check_suite={"id": suite},
            app=self.app(app),
            output={"annotations_count": 0, **annotations, **output},
            pull_requests=[self._named_pull(pull) for pull in pulls],
        )

    # Actions

    def workflow(self, path: str, name: str) -> Json:
        return self._made("workflow", {"id": workflow_id(path), "name": name, "path": path, "quoted": quote(name)})

    def run(self, run: Run) -> Json:
        workflow, repository = workflow_id(run.workflow_path), self.minimal_repository()
        pulls = [pull for number in run.pulls if (pull := self.of.store.pull(number))]
        commit = self.of.git.commit(run.head_sha) if self.of.git.exists(run.head_sha) else None
        return self._made(
            "run",
            run,
            workflow_id=workflow,
            workflow_url=f"{self.repo_api}/actions/workflows/{workflow}",
            repository=repository,
            head_repository=repository,
            check_suite_node_id=node_id("check-suite", run.id),
            referenced_workflows=[one.model_dump() for one in run.referenced],
            run_started_at=run.started_at or run.created_at,
            pull_requests=[self._named_pull(pull) for pull in pulls],
            head_commit=self.short_commit(commit) if commit else None,
        )

    def job(self, run: Run, job: Job) -> Json:
        steps = [step.model_dump(exclude={"key"}) for step in job.steps]
        times = ("started_at", "completed_at")
        of_run = {name: getattr(run, name) for name in ("workflow_name", "head_sha", "head_branch", "created_at")}
        page = f"{self.page}/actions/runs/{run.id}/job/{job.id}"
        return self._made(
            "job",
            job,
            **of_run,
            run_id=run.id,
            run_url=f"{self.repo_api}/actions/runs/{run.id}",
            html_url=page,
            started_at=job.started_at or run.created_at,
            steps=[{**step, **{name: stamp(step[name]) for name in times}} for step in steps],
        )


def _signature(who: Identity, moment: datetime) -> Json:
    return {"name": who.name, "email": who.email, "date": stamp(moment)}


def _named_checks(names: Iterable[str]) -> list[Json]:
    return [{"context": name, "app_id": None} for name in names]
