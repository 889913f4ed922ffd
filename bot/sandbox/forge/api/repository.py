"""The repository, its people, references, commits and files: https://docs.github.com/rest/repos and …/rest/git."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Administrator, Anyone, Body, Paged, Repository, Server, Writer, refused
from bot.sandbox.forge.errors import ApiError, not_found, unprocessable
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.git import EMPTY_TREE, Ref
from bot.sandbox.forge.store import Protection

router = APIRouter()

REPO = "/repos/{owner}/{name}"


class NewRef(Body):
    ref: str
    sha: str


class ChangedRepository(Body):
    name: str | None = None
    allow_merge_commit: bool | None = None
    allow_squash_merge: bool | None = None
    allow_rebase_merge: bool | None = None


class MovedRef(Body):
    sha: str
    force: bool = False


class NamedCheck(Body):
    context: str
    app_id: int | None = None


class WantedChecks(Body):
    strict: bool
    contexts: tuple[str, ...] = ()
    checks: tuple[NamedCheck, ...] = ()


class WantedReviews(Body):
    required_approving_review_count: int = Field(default=1, ge=0, le=6)


class WantedProtection(Body):
    """Every field must be given; null switches it off."""

    required_status_checks: WantedChecks | None
    enforce_admins: bool | None
    required_pull_request_reviews: WantedReviews | None
    restrictions: dict[str, Any] | None


@router.get("/user")
def get_user(server: Server, person: Anyone) -> Json:
    if person.type == "Bot":  # an App and a workflow are no users
        raise refused(person)
    return server.answers.whole_user(person.login)


@router.get("/users/{login}")
def get_named_user(server: Server, _: Anyone, login: str) -> Json:
    return server.answers.whole_user(login)


@router.get("/meta")
def get_meta(_: Anyone) -> Json:
    return {"verifiable_password_authentication": False, "installed_version": "3.16.0"}


@router.get("/rate_limit")
def get_rate_limit(server: Server, person: Anyone) -> Json:
    core = server.limits.state(person)
    return {"resources": {"core": core, "search": core, "graphql": core}, "rate": core}


@router.get(REPO)
def get_repository(repository: Repository, person: Anyone) -> Json:
    return repository.answers.whole_repository(person)


@router.patch(REPO)
def change_repository(repository: Repository, person: Administrator, changed: ChangedRepository) -> Json:
    """Rename it, and say how pull requests may be merged."""
    methods = repository.store.settings.methods
    asked = {"merge": changed.allow_merge_commit, "squash": changed.allow_squash_merge}
    asked["rebase"] = changed.allow_rebase_merge
    wanted = tuple(one for one, allowed in asked.items() if (one in methods if allowed is None else allowed))
    if not wanted:
        raise unprocessable("Sorry, you need to allow at least one merge strategy.")
    repository.store.set(methods=wanted)
    if changed.name:
        repository.rename(f"{repository.repository.split('/')[0]}/{changed.name}")
    return repository.answers.whole_repository(person)


@router.get(REPO + "/collaborators/{login}/permission")
def get_permission(repository: Repository, _: Anyone, login: str) -> Json:
    person = repository.people.named(login)
    user = repository.answers.user(login)
    return {"permission": person.permission, "role_name": person.permission, "user": user}


# References


@router.get(REPO + "/branches")
def list_branches(repository: Repository, _: Anyone, pages: Paged) -> list[Json]:
    def answer(ref: Ref) -> Json:
        whole = repository.answers.branch(ref.name.removeprefix("refs/heads/"), ref.sha)
        commit = {key: whole["commit"][key] for key in ("sha", "url")}
        return {"name": whole["name"], "commit": commit, "protected": whole["protected"]}

    return pages.of(repository.git.refs("refs/heads/"), answer)


@router.get(REPO + "/branches/{branch:path}/protection")
def get_protection(repository: Repository, _: Administrator, branch: str) -> Json:
    return repository.answers.protection(_protection(repository, branch))


@router.put(REPO + "/branches/{branch:path}/protection")
def protect(repository: Repository, _: Administrator, branch: str, wanted: WantedProtection) -> Json:
    if repository.git.branch(branch) is None:
        raise ApiError(404, "Branch not found")
    checks, reviews = wanted.required_status_checks, wanted.required_pull_request_reviews
    named = (*checks.contexts, *(check.context for check in checks.checks)) if checks else ()
    rules = Protection(
        branch=branch,
        checks=tuple(dict.fromkeys(named)),
        up_to_date=checks is not None and checks.strict,
        reviews=reviews.required_approving_review_count if reviews else 0,
        only_by_pull_request=reviews is not None,
        for_admins=bool(wanted.enforce_admins),
    )
    repository.store.put(rules)
    return repository.answers.protection(rules)


@router.delete(REPO + "/branches/{branch:path}/protection", status_code=204)
def unprotect(repository: Repository, _: Administrator, branch: str) -> Response:
    _protection(repository, branch)
    repository.store.drop_protection(branch)
    return Response(status_code=204)


def _protection(forge: Forge, branch: str) -> Protection:
    rules = forge.store.protection(branch)
    if rules is None:
        raise ApiError(404, "Branch not protected")
    return rules


@router.get(REPO + "/branches/{branch:path}")
def get_branch(repository: Repository, _: Anyone, branch: str) -> Json:
    sha = repository.git.branch(branch)
    if sha is None:
        raise ApiError(404, "Branch not found")
    return repository.answers.branch(branch, sha)


@router.get(REPO + "/git/ref/{ref:path}")
def get_ref(repository: Repository, _: Anyone, ref: str) -> Json:
    return repository.answers.ref(_exact_ref(repository, ref))


@router.get(REPO + "/git/matching-refs/{ref:path}")
def list_matching_refs(repository: Repository, _: Anyone, pages: Paged, ref: str) -> list[Json]:
    found = [known for known in repository.git.refs("refs/") if known.name.startswith(f"refs/{ref}")]
    return pages.of(found, repository.answers.ref)


@router.get(REPO + "/git/refs/{ref:path}")
def get_ref_by_old_path(repository: Repository, _: Anyone, ref: str) -> Json:
    """GitHub moved this to ``/git/ref/…``; clients still use it."""
    return repository.answers.ref(_exact_ref(repository, ref))


@router.post(REPO + "/git/refs", status_code=201)
def create_ref(repository: Repository, person: Writer, new: NewRef, response: Response) -> Json:
    repository.create_ref(new.ref, new.sha, by=person)
    answer = repository.answers.ref(_exact_ref(repository, new.ref.removeprefix("refs/")))
    response.headers["Location"] = answer["url"]
    return answer


@router.patch(REPO + "/git/refs/{ref:path}")
def update_ref(repository: Repository, person: Writer, ref: str, moved: MovedRef) -> Json:
    repository.move_ref(f"refs/{ref}", moved.sha, force=moved.force, by=person)
    return repository.answers.ref(_exact_ref(repository, ref))


@router.delete(REPO + "/git/refs/{ref:path}", status_code=204)
def delete_ref(repository: Repository, person: Writer, ref: str) -> Response:
    repository.delete_ref(f"refs/{ref}", by=person)
    return Response(status_code=204)


@router.get(REPO + "/git/commits/{sha}")
def get_git_commit(repository: Repository, _: Anyone, sha: str) -> Json:
    return repository.answers.git_commit(repository.git.commit(_commit_sha(repository, sha)))


def _exact_ref(forge: Forge, name: str) -> Ref:
    found = [ref for ref in forge.git.refs(f"refs/{name}") if ref.name == f"refs/{name}"]
    if not found:
        raise not_found()
    return found[0]


# Commits


@router.get(REPO + "/commits")
def list_commits(repository: Repository, _: Anyone, pages: Paged, sha: str = "main", path: str = "") -> list[Json]:
    tip = repository.git.resolve(sha)
    if tip is None:
        raise not_found() if sha != "main" else ApiError(409, "Git Repository is empty.")
    return pages.of(repository.git.commits(tip, path=path), repository.answers.commit)


@router.get(REPO + "/commits/{sha}/pulls")
def list_pulls_of_commit(repository: Repository, _: Anyone, pages: Paged, sha: str) -> list[Json]:
    """The pull requests that brought this commit to its branch, or that have it."""
    commit = _commit_sha(repository, sha)
    found = [
        pull
        for pull in reversed(repository.store.pulls())
        if commit == pull.merge_commit or commit in {brought.sha for brought in repository.pull_commits(pull)}
    ]
    return pages.of(found, repository.answers.pull)


@router.get(REPO + "/compare/{span:path}")
def compare(repository: Repository, _: Anyone, span: str) -> Json:
    """``base...head``, as a pull request would show it."""
    base_name, dots, head_name = span.partition("...")
    owner = repository.repository.split("/")[0]
    git, answers = repository.git, repository.answers
    base = git.resolve(base_name.removeprefix(f"{owner}:"))
    head = git.resolve(head_name.removeprefix(f"{owner}:"))
    if not dots or base is None or head is None:
        raise not_found()
    since = git.merge_base(base, head)
    if since is None:
        raise ApiError(404, f"No common ancestor between {base_name} and {head_name}.")
    ahead, behind = git.count(f"{base}..{head}"), git.count(f"{head}..{base}")
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}.get(
        (ahead > 0, behind > 0), "diverged"
    )
    page = f"{answers.page}/compare/{span}"
    return {
        "url": f"{answers.repo_api}/compare/{span}",
        "html_url": page,
        "permalink_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": answers.commit(git.commit(base)),
        "merge_base_commit": answers.commit(git.commit(since)),
        "status": status,
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": [answers.commit(commit) for commit in reversed(git.commits(f"{base}..{head}"))][:250],
        "files": [answers.file(file, head) for file in git.diff(since, head)][:300],
    }


def _commit_sha(forge: Forge, ref: str) -> str:
    """The commit that ``ref`` names. Raises 422 as GitHub does for a commit that is not there."""
    sha = forge.git.resolve(ref.removeprefix("heads/").removeprefix("tags/"))
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {ref}")
    return sha


# Files


@router.get(REPO + "/contents")
def get_root(repository: Repository, _: Anyone, request: Request, ref: str = "main") -> Any:
    return _contents(repository, "", ref, request.headers.get("accept", ""))


@router.get(REPO + "/contents/{path:path}")
def get_contents(repository: Repository, _: Anyone, request: Request, path: str, ref: str = "main") -> Any:
    return _contents(repository, path.strip("/"), ref, request.headers.get("accept", ""))


def _contents(forge: Forge, path: str, ref: str, accept: str) -> Any:
    commit = forge.git.resolve(ref)
    if commit is None:
        raise ApiError(404, f"No commit found for the ref {ref}")
    entries = forge.git.entries(commit, path)
    if not entries:
        raise not_found()
    if [entry.path for entry in entries] != [path] or entries[0].kind != "blob":
        return [forge.answers.content(entry, ref, None) for entry in entries]
    data = forge.git.file(commit, path)
    if "raw" in accept:
        return Response(data, media_type="application/vnd.github.raw+json; charset=utf-8")
    return forge.answers.content(entries[0], ref, data)


# Last, because its reference may hold slashes and so would take the others' calls.
@router.get(REPO + "/commits/{ref:path}")
def get_commit(repository: Repository, _: Anyone, ref: str, request: Request) -> Any:
    git = repository.git
    commit = git.commit(_commit_sha(repository, ref))
    if "sha" in request.headers.get("accept", ""):
        return Response(commit.sha, media_type="application/vnd.github.sha; charset=utf-8")
    files = git.diff(commit.parents[0] if commit.parents else EMPTY_TREE, commit.sha)
    return repository.answers.commit_with_files(commit, files)
