"""GitHub's JSON: how each thing looks in the REST API and in webhook payloads (API version 2022-11-28)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bot.sandbox.actions.records import Job, Run, workflow_id
from bot.sandbox.forge import signing
from bot.sandbox.forge.git import Commit, FileChange, Identity, Ref, TreeEntry
from bot.sandbox.forge.people import App, Person
from bot.sandbox.forge.store import (
    CheckRun,
    Comment,
    Deployment,
    DeploymentStatus,
    Hook,
    Label,
    MergeQueueRule,
    Protection,
    Pull,
    Review,
    SignatureRule,
    Status,
)

if TYPE_CHECKING:
    from bot.sandbox.forge.forge import Forge

Json = dict[str, Any]

BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
"""When everything was made that has no time of its own."""

ACTIONS_APP, ACTIONS_SLUG = 15368, "github-actions"


def stamp(moment: datetime | None) -> str | None:
    """A time as the API writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def node_id(kind: str, identifier: object) -> str:
    return base64.b64encode(f"{kind}:{identifier}".encode()).decode()


class Answers:
    """Turns the forge's records into GitHub's JSON."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self.api = f"{forge.server_url}/api/v3"
        self.repo_api = f"{self.api}/repos/{forge.repository}"
        self.page = f"{forge.server_url}/{forge.repository}"

    # People and the repository

    def user(self, login: str) -> Json:
        person: Person = self._forge.people.named(login)
        url = f"{self.api}/users/{quote(login)}"
        page = f"{self._forge.server_url}/{quote(login)}"
        return {
            "login": person.login,
            "id": person.id,
            "node_id": node_id("User", person.id),
            "avatar_url": f"{page}.png",
            "gravatar_id": "",
            "url": url,
            "html_url": page,
            "followers_url": f"{url}/followers",
            "following_url": f"{url}/following{{/other_user}}",
            "gists_url": f"{url}/gists{{/gist_id}}",
            "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
            "subscriptions_url": f"{url}/subscriptions",
            "organizations_url": f"{url}/orgs",
            "repos_url": f"{url}/repos",
            "events_url": f"{url}/events{{/privacy}}",
            "received_events_url": f"{url}/received_events",
            "type": person.type,
            "user_view_type": "public",
            "site_admin": False,
        }

    def whole_user(self, login: str) -> Json:
        """A person's own page, as asking for one has it."""
        person = self._forge.people.named(login)
        facts = dict.fromkeys(("company", "location", "hireable", "bio", "twitter_username"))
        return {
            **self.user(login),
            **facts,
            "name": person.login,
            "blog": "",
            "email": person.identity.email,
            "public_repos": 0,
            "public_gists": 0,
            "followers": 0,
            "following": 0,
            "created_at": stamp(BEGINNING),
            "updated_at": stamp(BEGINNING),
        }

    def app(self, identifier: int, slug: str, *, permissions: Mapping[str, str] | None = None) -> Json:
        """A GitHub App."""
        page = f"{self._forge.server_url}/apps/{slug}"
        return {
            "id": identifier,
            "slug": slug,
            "node_id": node_id("App", identifier),
            "owner": self.user(self._forge.repository.split("/")[0]) | {"type": "Organization"},
            "name": slug,
            "description": None,
            "external_url": page,
            "html_url": page,
            "created_at": stamp(BEGINNING),
            "updated_at": stamp(BEGINNING),
            "permissions": dict(permissions or {}),
            "events": [],
        }

    def installation(self, app: App) -> Json:
        """A GitHub App in this repository."""
        owner = self.user(self._forge.repository.split("/")[0]) | {"type": "Organization"}
        url = f"{self.api}/app/installations/{app.installation}"
        return {
            "id": app.installation,
            "account": owner,
            "repository_selection": "selected",
            "access_tokens_url": f"{url}/access_tokens",
            "repositories_url": f"{self.api}/installation/repositories",
            "html_url": f"{self._forge.server_url}/settings/installations/{app.installation}",
            "app_id": app.id,
            "app_slug": app.slug,
            "target_id": owner["id"],
            "target_type": "Organization",
            "permissions": dict(app.permissions),
            "events": [],
            "created_at": stamp(BEGINNING),
            "updated_at": stamp(BEGINNING),
            "single_file_name": None,
            "suspended_at": None,
            "suspended_by": None,
        }

    def minimal_repository(self) -> Json:
        """The repository as lists and workflow runs have it."""
        owner, name = self._forge.repository.split("/")
        repo = self.repo_api
        lists = ("contributors", "deployments", "downloads", "events", "forks", "hooks", "languages", "merges")
        more = ("stargazers", "subscribers", "subscription", "tags", "teams")
        one_of = {
            "archive": "/{archive_format}{/ref}",
            "assignees": "/assignees{/user}",
            "blobs": "/git/blobs{/sha}",
            "branches": "/branches{/branch}",
            "collaborators": "/collaborators{/collaborator}",
            "comments": "/comments{/number}",
            "commits": "/commits{/sha}",
            "compare": "/compare/{base}...{head}",
            "contents": "/contents/{+path}",
            "git_commits": "/git/commits{/sha}",
            "git_refs": "/git/refs{/sha}",
            "git_tags": "/git/tags{/sha}",
            "issue_comment": "/issues/comments{/number}",
            "issue_events": "/issues/events{/number}",
            "issues": "/issues{/number}",
            "keys": "/keys{/key_id}",
            "labels": "/labels{/name}",
            "milestones": "/milestones{/number}",
            "notifications": "/notifications{?since,all,participating}",
            "pulls": "/pulls{/number}",
            "releases": "/releases{/id}",
            "statuses": "/statuses/{sha}",
            "trees": "/git/trees{/sha}",
        }
        return {
            "id": self._forge.number,
            "node_id": node_id("Repository", self._forge.number),
            "name": name,
            "full_name": self._forge.repository,
            "private": True,
            "owner": self.user(owner) | {"type": "Organization"},
            "html_url": self.page,
            "description": None,
            "fork": False,
            "url": repo,
            **{f"{kind}_url": f"{repo}/{kind}" for kind in (*lists, *more)},
            **{f"{kind}_url": f"{repo}{path}" for kind, path in one_of.items()},
        }

    def repository(self) -> Json:
        """The repository as a side of a pull request and a webhook's payload have it."""
        open_pulls = sum(pull.state == "open" for pull in self._forge.store.pulls())
        return {
            **self.minimal_repository(),
            "visibility": "private",
            "clone_url": f"{self.page}.git",
            "git_url": f"{self.page}.git",
            "ssh_url": f"{self.page}.git",
            "svn_url": self.page,
            "mirror_url": None,
            "homepage": None,
            "language": None,
            "license": None,
            "topics": [],
            "size": 0,
            "forks": 0,
            "forks_count": 0,
            "stargazers_count": 0,
            "watchers": 0,
            "watchers_count": 0,
            "open_issues": open_pulls,
            "open_issues_count": open_pulls,
            "default_branch": "main",
            "archived": False,
            "disabled": False,
            "is_template": False,
            "has_issues": True,
            "has_projects": False,
            "has_wiki": False,
            "has_pages": False,
            "has_downloads": False,
            "has_discussions": False,
            "created_at": stamp(BEGINNING),
            "updated_at": stamp(BEGINNING),
            "pushed_at": stamp(BEGINNING),
        }

    def whole_repository(self, person: Person) -> Json:
        """The repository as asking for it has it: also what the asker may do."""
        levels = ("read", "triage", "write", "maintain", "admin")
        names = ("pull", "triage", "push", "maintain", "admin")
        reached = levels.index(person.permission)
        return {
            **self.repository(),
            "allow_merge_commit": "merge" in self._forge.store.settings.methods,
            "allow_squash_merge": "squash" in self._forge.store.settings.methods,
            "allow_rebase_merge": "rebase" in self._forge.store.settings.methods,
            "allow_auto_merge": False,
            "delete_branch_on_merge": False,
            "network_count": 0,
            "subscribers_count": 0,
            "permissions": {name: level <= reached for level, name in enumerate(names)},
        }

    # Pull requests, comments, reviews

    def pull(self, pull: Pull) -> Json:
        """A pull request as lists and payloads have it."""
        url = f"{self.repo_api}/pulls/{pull.number}"
        page = f"{self.page}/pull/{pull.number}"
        issue = f"{self.repo_api}/issues/{pull.number}"
        return {
            "id": pull.id,
            "node_id": node_id("PullRequest", pull.id),
            "number": pull.number,
            "state": pull.state,
            "locked": False,
            "draft": pull.draft,
            "title": pull.title,
            "body": pull.body or None,
            "user": self.user(pull.author),
            "labels": [self.label_named(name) for name in pull.labels],
            "assignee": self.user(pull.assignees[0]) if pull.assignees else None,
            "assignees": [self.user(login) for login in pull.assignees],
            "requested_reviewers": [self.user(login) for login in pull.reviewers],
            "requested_teams": [],
            "milestone": None,
            "auto_merge": None,
            "active_lock_reason": None,
            "author_association": "COLLABORATOR",
            "head": self._side(pull.head, pull.head_sha, pull.author),
            "base": self._side(pull.base, pull.base_sha, self._forge.repository.split("/")[0]),
            "merge_commit_sha": pull.merge_commit or None,
            "created_at": stamp(pull.created_at),
            "updated_at": stamp(pull.updated_at),
            "closed_at": stamp(pull.closed_at),
            "merged_at": stamp(pull.merged_at),
            "url": url,
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "issue_url": issue,
            "commits_url": f"{url}/commits",
            "comments_url": f"{issue}/comments",
            "review_comments_url": f"{url}/comments",
            "review_comment_url": f"{self.repo_api}/pulls/comments{{/number}}",
            "statuses_url": f"{self.repo_api}/statuses/{pull.head_sha}",
            "_links": {
                name: {"href": address}
                for name, address in {
                    "self": url,
                    "html": page,
                    "issue": issue,
                    "comments": f"{issue}/comments",
                    "review_comments": f"{url}/comments",
                    "review_comment": f"{self.repo_api}/pulls/comments{{/number}}",
                    "commits": f"{url}/commits",
                    "statuses": f"{self.repo_api}/statuses/{pull.head_sha}",
                }.items()
            },
        }

    def whole_pull(self, pull: Pull, *, is_new: bool = False) -> Json:
        """A pull request as asking for one has it. For a new one GitHub has not yet looked whether it merges."""
        mergeable = None if is_new else self._forge.is_mergeable(pull)
        files = self._forge.pull_files(pull)
        return {
            **self.pull(pull),
            "merged": pull.merged_at is not None,
            "merged_by": self.user(pull.merged_by) if pull.merged_by else None,
            "mergeable": mergeable,
            "rebaseable": mergeable,
            "mergeable_state": self._forge.mergeable_state(pull, mergeable=mergeable),
            "maintainer_can_modify": False,
            "comments": len(self._forge.store.comments(pull.number)),
            "review_comments": 0,
            "commits": len(self._forge.pull_commits(pull)),
            "additions": sum(file.additions for file in files),
            "deletions": sum(file.deletions for file in files),
            "changed_files": len(files),
        }

    def _named_pull(self, pull: Pull) -> Json:
        """A pull request as checks and workflow runs name it."""
        repo = {"id": self._forge.number, "name": self._forge.repository.split("/")[1], "url": self.repo_api}
        return {
            "id": pull.id,
            "number": pull.number,
            "url": f"{self.repo_api}/pulls/{pull.number}",
            "head": {"ref": pull.head, "sha": pull.head_sha, "repo": repo},
            "base": {"ref": pull.base, "sha": pull.base_sha, "repo": repo},
        }

    def _side(self, branch: str, sha: str, login: str) -> Json:
        owner = self._forge.repository.split("/")[0]
        return {
            "label": f"{owner}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self.user(login),
            "repo": self.repository(),
        }

    def issue(self, pull: Pull) -> Json:
        """A pull request as the issue that it is too."""
        url = f"{self.repo_api}/issues/{pull.number}"
        whole = self.pull(pull)
        kept = (
            "id",
            "number",
            "state",
            "locked",
            "title",
            "body",
            "user",
            "labels",
            "assignee",
            "assignees",
            "milestone",
        )
        times = (
            "created_at",
            "updated_at",
            "closed_at",
            "author_association",
            "active_lock_reason",
            "draft",
            "html_url",
        )
        return {key: whole[key] for key in (*kept, *times)} | {
            "node_id": whole["node_id"],
            "url": url,
            "repository_url": self.repo_api,
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "comments": len(self._forge.store.comments(pull.number)),
            "state_reason": None,
            "pull_request": {key: whole[key] for key in ("url", "html_url", "diff_url", "patch_url", "merged_at")},
        }

    def told_issue(self, pull: Pull) -> Json:
        """The issue as the payload of a comment has it."""
        issue = self.issue(pull)
        people = {key: value for key, value in issue["user"].items() if key != "user_view_type"}
        return {**issue, "user": people, "reactions": self._reactions(f"{issue['url']}/reactions")}

    def _reactions(self, url: str) -> Json:
        kinds = ("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket")
        return {"url": url, "total_count": 0, **dict.fromkeys(kinds, 0)}

    def label_named(self, name: str) -> Json:
        label = self._forge.store.label(name)
        return self.label(label if label is not None else Label(id=0, name=name))

    def label(self, label: Label) -> Json:
        return {
            "id": label.id,
            "node_id": node_id("Label", label.id),
            "url": f"{self.repo_api}/labels/{quote(label.name, safe='')}",
            "name": label.name,
            "color": label.color,
            "default": False,
            "description": label.description or None,
        }

    def comment(self, comment: Comment) -> Json:
        return {
            "id": comment.id,
            "node_id": node_id("IssueComment", comment.id),
            "url": f"{self.repo_api}/issues/comments/{comment.id}",
            "html_url": f"{self.page}/pull/{comment.number}#issuecomment-{comment.id}",
            "issue_url": f"{self.repo_api}/issues/{comment.number}",
            "body": comment.body,
            "user": self.user(comment.author),
            "author_association": "COLLABORATOR",
            "created_at": stamp(comment.created_at),
            "updated_at": stamp(comment.updated_at),
            "performed_via_github_app": None,
            "reactions": self._reactions(f"{self.repo_api}/issues/comments/{comment.id}/reactions"),
        }

    def review(self, review: Review) -> Json:
        return {
            "id": review.id,
            "node_id": node_id("PullRequestReview", review.id),
            "user": self.user(review.author),
            "body": review.body,
            "state": review.state,
            "commit_id": review.commit,
            "submitted_at": stamp(review.submitted_at),
            "author_association": "COLLABORATOR",
            "html_url": (page := f"{self.page}/pull/{review.number}#pullrequestreview-{review.id}"),
            "pull_request_url": (pull := f"{self.repo_api}/pulls/{review.number}"),
            "_links": {"html": {"href": page}, "pull_request": {"href": pull}},
        }

    # Git

    def ref(self, ref: Ref) -> Json:
        return {
            "ref": ref.name,
            "node_id": node_id("Ref", ref.name),
            "url": f"{self.repo_api}/git/{ref.name}",
            "object": {
                "sha": ref.sha,
                "type": ref.kind,
                "url": f"{self.repo_api}/git/{'commits' if ref.kind == 'commit' else 'tags'}/{ref.sha}",
            },
        }

    def branch(self, name: str, sha: str) -> Json:
        rules = self._forge.store.protection(name)
        return {
            "name": name,
            "commit": self.commit(self._forge.git.commit(sha)),
            "protected": name == "main",
            "protection": {
                "enabled": name == "main",
                "required_status_checks": {
                    "enforcement_level": "everyone" if rules and rules.checks else "off",
                    "contexts": list(rules.checks) if rules else [],
                    "checks": [{"context": check, "app_id": None} for check in rules.checks] if rules else [],
                },
            },
            "protection_url": f"{self.repo_api}/branches/{quote(name)}/protection",
            "_links": {"self": f"{self.repo_api}/branches/{quote(name)}", "html": f"{self.page}/tree/{quote(name)}"},
        }

    def ruleset(self, rule: MergeQueueRule | SignatureRule) -> Json:
        """A ruleset as lists have it."""
        return {
            "id": rule.id,
            "name": rule.name,
            "target": "branch",
            "source_type": "Repository",
            "source": self._forge.repository,
            "enforcement": "active",
            "node_id": node_id("RepositoryRuleset", rule.id),
            "created_at": stamp(rule.created_at),
            "updated_at": stamp(rule.created_at),
            "_links": {
                "self": {"href": f"{self.repo_api}/rulesets/{rule.id}"},
                "html": {"href": f"{self.page}/rules/{rule.id}"},
            },
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
        reviews = {
            "url": f"{url}/required_pull_request_reviews",
            "dismiss_stale_reviews": False,
            "require_code_owner_reviews": False,
            "require_last_push_approval": False,
            "required_approving_review_count": rules.reviews,
        }
        off = ("required_linear_history", "allow_force_pushes", "allow_deletions", "block_creations")
        more = ("required_conversation_resolution", "lock_branch", "allow_fork_syncing")
        return {
            "url": url,
            **({"required_status_checks": checks} if rules.checks else {}),
            **({"required_pull_request_reviews": reviews} if rules.only_by_pull_request or rules.reviews else {}),
            "enforce_admins": {"url": f"{url}/enforce_admins", "enabled": rules.for_admins},
            "required_signatures": {"url": f"{url}/required_signatures", "enabled": False},
            **{name: {"enabled": False} for name in (*off, *more)},
        }

    def git_commit(self, commit: Commit) -> Json:
        """The Git database's view of a commit."""
        url = f"{self.repo_api}/git/commits/{commit.sha}"
        return {
            "sha": commit.sha,
            "node_id": node_id("Commit", commit.sha),
            "url": url,
            "html_url": f"{self.page}/commit/{commit.sha}",
            "author": self._signature(commit.author, commit.authored_at),
            "committer": self._signature(commit.committer, commit.committed_at),
            "message": commit.message,
            "tree": {"sha": commit.tree, "url": f"{self.repo_api}/git/trees/{commit.tree}"},
            "parents": [self._parent(sha) for sha in commit.parents],
            "verification": self._verification(commit),
        }

    def _verification(self, commit: Commit) -> Json:
        git = self._forge.git
        payload, armored = signing.parts(git.bytes_of("cat-file", "commit", commit.sha)[1])
        if not armored:
            return {
                "verified": False,
                "reason": "unsigned",
                "signature": None,
                "payload": None,
                "verified_at": None,
            }
        is_ours = self._forge.key.made(payload, armored)
        return {
            "verified": is_ours,
            "reason": "valid" if is_ours else "unknown_key",
            "signature": armored,
            "payload": payload.decode(errors="replace"),
            "verified_at": stamp(commit.committed_at) if is_ours else None,
        }

    def commit(self, commit: Commit) -> Json:
        whole = self.git_commit(commit)
        inner = {key: whole[key] for key in ("url", "author", "committer", "message", "tree", "verification")}
        return {
            "sha": commit.sha,
            "node_id": whole["node_id"],
            "commit": inner | {"comment_count": 0},
            "url": f"{self.repo_api}/commits/{commit.sha}",
            "html_url": whole["html_url"],
            "comments_url": f"{self.repo_api}/commits/{commit.sha}/comments",
            "author": self._user_of(commit.author),
            "committer": self._user_of(commit.committer),
            "parents": whole["parents"],
        }

    def commit_with_files(self, commit: Commit, files: list[FileChange]) -> Json:
        additions, deletions = sum(file.additions for file in files), sum(file.deletions for file in files)
        stats = {"total": additions + deletions, "additions": additions, "deletions": deletions}
        return {**self.commit(commit), "stats": stats, "files": [self.file(file, commit.sha) for file in files]}

    def pushed_commit(self, commit: Commit) -> Json:
        """A commit as the payload of a push has it."""
        parent = commit.parents[0] if commit.parents else None
        files = self._forge.git.diff(parent, commit.sha) if parent else []
        author = {"name": commit.author.name, "email": commit.author.email}
        return {
            "id": commit.sha,
            "tree_id": commit.tree,
            "distinct": True,
            "message": commit.message,
            "timestamp": commit.committed_at.isoformat(),
            "url": f"{self.page}/commit/{commit.sha}",
            "author": author,
            "committer": {"name": commit.committer.name, "email": commit.committer.email},
            "added": [file.path for file in files if file.status == "added"],
            "removed": [file.path for file in files if file.status == "removed"],
            "modified": [file.path for file in files if file.status not in ("added", "removed")],
        }

    def _parent(self, sha: str) -> Json:
        return {"sha": sha, "url": f"{self.repo_api}/commits/{sha}", "html_url": f"{self.page}/commit/{sha}"}

    def _signature(self, who: Identity, moment: datetime) -> Json:
        return {"name": who.name, "email": who.email, "date": stamp(moment)}

    def _user_of(self, who: Identity) -> Json | None:
        person = self._forge.people.with_email(who.email)
        return self.user(person.login) if person else None

    def file(self, file: FileChange, commit: str) -> Json:
        path = quote(file.path)
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
            **({"patch": file.patch} if file.patch else {}),
            **({"previous_filename": file.previous_path} if file.previous_path else {}),
        }

    def content(self, entry: TreeEntry, ref: str, data: bytes | None) -> Json:
        """A file (with ``data``) or an entry of a folder's list, as the contents API has it."""
        path = quote(entry.path)
        kinds = {"blob": "file", "tree": "dir", "commit": "submodule"}
        url = f"{self.repo_api}/contents/{path}?ref={quote(ref, safe='')}"
        inline = {"encoding": "base64", "content": base64.encodebytes(data).decode()} if data is not None else {}
        is_file = entry.kind == "blob"
        git_url = f"{self.repo_api}/git/{'blobs' if is_file else 'trees'}/{entry.sha}"
        page = f"{self.page}/{'blob' if is_file else 'tree'}/{ref}/{path}"
        return {
            "type": kinds[entry.kind],
            "name": entry.path.rsplit("/", 1)[-1],
            "path": entry.path,
            "sha": entry.sha,
            "size": entry.size,
            "url": url,
            "html_url": page,
            "git_url": git_url,
            "download_url": f"{self.page}/raw/{ref}/{path}" if is_file else None,
            "_links": {"self": url, "git": git_url, "html": page},
            **inline,
        }

    # Deployments and webhooks

    def deployment(self, deployment: Deployment) -> Json:
        url = f"{self.repo_api}/deployments/{deployment.id}"
        statuses = self._forge.store.deployment_statuses(deployment.id)
        return {
            "id": deployment.id,
            "node_id": node_id("Deployment", deployment.id),
            "url": url,
            "sha": deployment.sha,
            "ref": deployment.ref,
            "task": deployment.task,
            "payload": deployment.payload,
            "original_environment": deployment.environment,
            "environment": deployment.environment,
            "description": deployment.description or None,
            "creator": self.user(deployment.creator),
            "created_at": stamp(deployment.created_at),
            "updated_at": stamp(statuses[-1].created_at if statuses else deployment.created_at),
            "statuses_url": f"{url}/statuses",
            "repository_url": self.repo_api,
            "transient_environment": deployment.transient,
            "production_environment": deployment.production,
        }

    def deployment_status(self, deployment: Deployment, status: DeploymentStatus) -> Json:
        url = f"{self.repo_api}/deployments/{deployment.id}"
        return {
            "id": status.id,
            "node_id": node_id("DeploymentStatus", status.id),
            "url": f"{url}/statuses/{status.id}",
            "state": status.state,
            "creator": self.user(status.creator),
            "description": status.description,
            "environment": deployment.environment,
            "environment_url": status.environment_url,
            "log_url": status.log_url,
            "target_url": status.log_url,
            "created_at": stamp(status.created_at),
            "updated_at": stamp(status.created_at),
            "deployment_url": url,
            "repository_url": self.repo_api,
        }

    def hook(self, hook: Hook) -> Json:
        """A webhook; its secret is never told."""
        url = f"{self.repo_api}/hooks/{hook.id}"
        hidden = {"secret": "********"} if hook.secret else {}
        return {
            "type": "Repository",
            "id": hook.id,
            "name": "web",
            "active": hook.active,
            "events": list(hook.events),
            "config": {"url": hook.url, "content_type": "json", "insecure_ssl": "0", **hidden},
            "created_at": stamp(BEGINNING),
            "updated_at": stamp(BEGINNING),
            "url": url,
            "test_url": f"{url}/test",
            "ping_url": f"{url}/pings",
            "deliveries_url": f"{url}/deliveries",
            "last_response": {"code": None, "status": "unused", "message": None},
        }

    # Statuses and checks

    def status(self, status: Status) -> Json:
        return {
            "id": status.id,
            "node_id": node_id("Status", status.id),
            "url": f"{self.repo_api}/statuses/{status.sha}",
            "avatar_url": self.user(status.creator)["avatar_url"],
            "state": status.state,
            "description": status.description or None,
            "target_url": status.target_url or None,
            "context": status.context,
            "creator": self.user(status.creator),
            "created_at": stamp(status.created_at),
            "updated_at": stamp(status.created_at),
        }

    def simple_status(self, status: Status) -> Json:
        """A status in the sum of all."""
        return {key: value for key, value in self.status(status).items() if key != "creator"}

    def check(self, check: CheckRun) -> Json:
        """A check run that was reported through the API."""
        creator = self._forge.people.named(check.creator)
        slug = creator.login.removesuffix("[bot]")
        return self._check(
            {
                "id": check.id,
                "name": check.name,
                "head_sha": check.sha,
                "status": check.status,
                "conclusion": check.conclusion,
                "started_at": stamp(check.started_at),
                "completed_at": stamp(check.completed_at),
                "external_id": check.external_id,
                "details_url": check.details_url or f"{self.page}/runs/{check.id}",
                "html_url": f"{self.page}/runs/{check.id}",
                "check_suite": {"id": creator.id},
                "app": self.app(creator.id, slug),
            },
            title=check.output.title or None,
            summary=check.output.summary or None,
            text=check.output.text or None,
            annotations=0,
        )

    def job_check(self, run: Run, job: Job) -> Json:
        """The check run that a workflow's job is."""
        page = f"{self.page}/actions/runs/{run.id}/job/{job.id}"
        return self._check(
            {
                "id": job.id,
                "name": job.name,
                "head_sha": run.head_sha,
                "status": job.status,
                "conclusion": job.conclusion,
                "started_at": stamp(job.started_at or run.created_at),
                "completed_at": stamp(job.completed_at),
                "external_id": f"{run.id}-{job.key}",
                "details_url": page,
                "html_url": page,
                "check_suite": {"id": run.id},
                "app": self.app(ACTIONS_APP, ACTIONS_SLUG),
            },
            title=None,
            summary=None,
            text=None,
            annotations=len(job.annotations),
        )

    def _check(
        self, fields: Json, *, title: str | None, summary: str | None, text: str | None, annotations: int
    ) -> Json:
        url = f"{self.repo_api}/check-runs/{fields['id']}"
        sha = fields["head_sha"]
        return {
            **fields,
            "node_id": node_id("CheckRun", fields["id"]),
            "url": url,
            "output": {
                "title": title,
                "summary": summary,
                "text": text,
                "annotations_count": annotations,
                "annotations_url": f"{url}/annotations",
            },
            "pull_requests": [
                self._named_pull(pull)
                for pull in self._forge.store.pulls()
                if pull.head_sha == sha and pull.state == "open"
            ],
        }

    # Actions

    def workflow(self, path: str, name: str) -> Json:
        identifier = workflow_id(path)
        first = stamp(BEGINNING)
        return {
            "id": identifier,
            "node_id": node_id("Workflow", identifier),
            "name": name,
            "path": path,
            "state": "active",
            "created_at": first,
            "updated_at": first,
            "url": f"{self.repo_api}/actions/workflows/{identifier}",
            "html_url": f"{self.page}/blob/main/{path}",
            "badge_url": f"{self.page}/workflows/{quote(name)}/badge.svg",
        }

    def run(self, run: Run) -> Json:
        url = f"{self.repo_api}/actions/runs/{run.id}"
        pulls = [pull for number in run.pulls if (pull := self._forge.store.pull(number))]
        commit = self._forge.git.commit(run.head_sha) if self._forge.git.exists(run.head_sha) else None
        return {
            "id": run.id,
            "name": run.workflow_name,
            "node_id": node_id("WorkflowRun", run.id),
            "check_suite_id": run.id,
            "check_suite_node_id": node_id("CheckSuite", run.id),
            "head_branch": run.head_branch,
            "head_sha": run.head_sha,
            "path": run.workflow_path,
            "referenced_workflows": [{"path": one.path, "sha": one.sha, "ref": one.ref} for one in run.referenced],
            "display_title": run.title,
            "run_number": run.number,
            "run_attempt": 1,
            "event": run.event,
            "status": run.status,
            "conclusion": run.conclusion,
            "workflow_id": workflow_id(run.workflow_path),
            "created_at": stamp(run.created_at),
            "updated_at": stamp(run.updated_at),
            "run_started_at": stamp(run.started_at or run.created_at),
            "actor": self.user(run.actor),
            "triggering_actor": self.user(run.actor),
            "pull_requests": [self._named_pull(pull) for pull in pulls],
            "head_commit": self.short_commit(commit) if commit else None,
            "repository": self.minimal_repository(),
            "head_repository": self.minimal_repository(),
            "url": url,
            "html_url": f"{self.page}/actions/runs/{run.id}",
            "jobs_url": f"{url}/jobs",
            "logs_url": f"{url}/logs",
            "check_suite_url": f"{self.repo_api}/check-suites/{run.id}",
            "artifacts_url": f"{url}/artifacts",
            "cancel_url": f"{url}/cancel",
            "rerun_url": f"{url}/rerun",
            "workflow_url": f"{self.repo_api}/actions/workflows/{workflow_id(run.workflow_path)}",
        }

    def short_commit(self, commit: Commit) -> Json:
        return {
            "id": commit.sha,
            "tree_id": commit.tree,
            "message": commit.message,
            "timestamp": stamp(commit.committed_at),
            "author": {"name": commit.author.name, "email": commit.author.email},
            "committer": {"name": commit.committer.name, "email": commit.committer.email},
        }

    def job(self, run: Run, job: Job) -> Json:
        return {
            "id": job.id,
            "run_id": run.id,
            "workflow_name": run.workflow_name,
            "head_branch": run.head_branch,
            "run_url": f"{self.repo_api}/actions/runs/{run.id}",
            "run_attempt": 1,
            "node_id": node_id("CheckRun", job.id),
            "head_sha": run.head_sha,
            "url": f"{self.repo_api}/actions/jobs/{job.id}",
            "html_url": f"{self.page}/actions/runs/{run.id}/job/{job.id}",
            "check_run_url": f"{self.repo_api}/check-runs/{job.id}",
            "status": job.status,
            "conclusion": job.conclusion,
            "created_at": stamp(run.created_at),
            "started_at": stamp(job.started_at or run.created_at),
            "completed_at": stamp(job.completed_at),
            "name": job.name,
            "steps": [
                {
                    "name": step.name,
                    "status": step.status,
                    "conclusion": step.conclusion,
                    "number": step.number,
                    "started_at": stamp(step.started_at),
                    "completed_at": stamp(step.completed_at),
                }
                for step in job.steps
            ],
            "labels": ["ubuntu-latest"],
            "runner_id": 1,
            "runner_name": "sandbox",
            "runner_group_id": 1,
            "runner_group_name": "Default",
        }
