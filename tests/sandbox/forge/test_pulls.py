"""Pull requests through PyGithub and plain HTTP: GitHub's answers, and what Git holds afterwards."""

from __future__ import annotations

from pathlib import Path

import github
import pytest

from tests.sandbox.forge.conftest import PEOPLE, REPOSITORY, Clone, Server, clone_of


@pytest.fixture
def repo(server: Server) -> github.Repository.Repository:
    return server.as_pygithub("bot").get_repo(REPOSITORY)


def test_a_pull_request_is_opened_found_edited_and_closed(repo: github.Repository.Repository, clone: Clone) -> None:
    head = clone.branch("promote/churn", {"promotions/dev.yaml": "environment: dev\nmodels: {churn: 7}\n"})

    pull = repo.create_pull(base="main", head="promote/churn", title="Promote churn 7", body="Why")
    assert (pull.number, pull.state, pull.user.login, pull.head.sha) == (1, "open", "promobot[bot]", head)
    assert pull.mergeable is None, "GitHub has not yet looked"
    pull.update()
    assert (pull.mergeable, pull.mergeable_state, pull.commits, pull.changed_files) == (True, "clean", 1, 1)

    assert [found.number for found in repo.get_pulls(state="open", head="acme:promote/churn")] == [1]
    assert list(repo.get_pulls(head="acme:other")) == []
    pull.edit(title="Promote churn 7 to dev", body="Because")
    assert (repo.get_pull(1).title, repo.get_pull(1).body) == ("Promote churn 7 to dev", "Because")
    pull.edit(state="closed")
    assert repo.get_pull(1).state == "closed"
    pull.edit(state="open")
    assert repo.get_pull(1).state == "open"

    [file] = pull.get_files()
    assert (file.filename, file.status, file.additions, file.deletions) == ("promotions/dev.yaml", "modified", 1, 1)
    assert file.patch.startswith("@@ ") and "+models: {churn: 7}" in file.patch
    assert pull.commits == 1 and repo.get_commit(head).sha == head


def test_a_second_pull_request_for_the_same_branch_is_refused(
    repo: github.Repository.Repository, clone: Clone
) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    repo.create_pull(base="main", head="feature", title="One", body="")

    with pytest.raises(github.GithubException) as refused:
        repo.create_pull(base="main", head="feature", title="Two", body="")

    assert refused.value.status == 422
    assert refused.value.data["message"] == "Validation Failed"
    assert refused.value.data["errors"][0]["message"] == "A pull request already exists for acme:feature."


def test_what_github_does_not_accept_is_422(server: Server, clone: Clone) -> None:
    clone.git("push", "origin", "main:same")
    with server.api() as api:
        missing = api.post("/pulls", json={"head": "feature", "base": "main"})
        no_branch = api.post("/pulls", json={"head": "nowhere", "base": "main", "title": "A"})
        nothing_new = api.post("/pulls", json={"head": "same", "base": "main", "title": "A"})
        broken = api.post("/pulls", content=b"{", headers={"Content-Type": "application/json"})

    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (422, "missing_field")
    assert (no_branch.status_code, no_branch.json()["errors"][0]["field"]) == (422, "head")
    assert nothing_new.json()["errors"][0]["message"] == "No commits between main and same"
    assert (broken.status_code, broken.json()["message"]) == (400, "Problems parsing JSON")


def test_401_403_and_404_are_worded_as_github_words_them(server: Server, clone: Clone) -> None:
    with server.api(None) as api:
        assert api.get("/pulls").status_code == 401
    with server.api("wrong") as api:
        assert api.get("/pulls").json()["message"] == "Bad credentials"
    with server.api("reader") as api:
        assert api.get("/pulls").status_code == 200
        assert api.post("/issues/1/comments", json={"body": "x"}).status_code == 403
    with server.api() as api:
        assert api.get("/pulls/9").json()["message"] == "Not Found"
        assert api.get("/no/such/call").status_code == 404
        assert api.get("/pulls/nine").status_code == 404


def test_merging_makes_a_merge_commit_with_both_parents(repo: github.Repository.Repository, clone: Clone) -> None:
    head = clone.branch("feature", {"a.txt": "1\n"})
    before = clone.git("rev-parse", "main")
    pull = repo.create_pull(base="main", head="feature", title="Add a", body="")

    merged = pull.merge(sha=head)

    assert merged.merged
    commit = repo.get_commit(merged.sha)
    assert [parent.sha for parent in commit.parents] == [before, head]
    assert commit.commit.message == "Merge pull request #1 from acme/feature\n\nAdd a"
    assert repo.get_branch("main").commit.sha == merged.sha
    pull.update()
    assert (pull.merged, pull.state, pull.merge_commit_sha, pull.merged_by.login) == (
        True,
        "closed",
        merged.sha,
        "promobot[bot]",
    )
    with pytest.raises(github.GithubException) as again:
        pull.merge()
    assert again.value.status == 405


@pytest.mark.slow
def test_squashing_makes_one_commit_and_rebasing_one_of_each(
    repo: github.Repository.Repository, clone: Clone
) -> None:
    for name in ("squashed", "rebased"):
        clone.git("checkout", "--quiet", "-B", name, "main")
        clone.commit(f"{name} one", {f"{name}1.txt": "1\n"})
        clone.commit(f"{name} two", {f"{name}2.txt": "2\n"})
        clone.git("push", "--quiet", "origin", name)
        repo.create_pull(base="main", head=name, title=f"All of {name}", body="")

    repo.get_pull(1).merge(merge_method="squash")
    squashed = repo.get_commit("main")
    assert squashed.commit.message == "All of squashed (#1)\n\n* squashed one\n\n* squashed two"
    assert [file.filename for file in squashed.files] == ["squashed1.txt", "squashed2.txt"]

    repo.get_pull(2).merge(merge_method="rebase")
    newest = [repo.get_commit(f"main~{back}") for back in range(3)]
    assert [commit.commit.message for commit in newest] == ["rebased two", "rebased one", squashed.commit.message]
    assert all(len(commit.parents) == 1 for commit in newest)
    assert newest[0].commit.author.name == "Alex"


def test_a_merge_of_another_head_than_expected_is_409(repo: github.Repository.Repository, clone: Clone) -> None:
    old = clone.branch("feature", {"a.txt": "1\n"})
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    clone.git("checkout", "--quiet", "feature")
    clone.commit("More", {"b.txt": "1\n"})
    clone.git("push", "origin", "feature")

    with pytest.raises(github.GithubException) as refused:
        pull.merge(sha=old)

    assert refused.value.status == 409
    assert refused.value.data["message"] == "Head branch was modified. Review and try the merge again."


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_a_conflict_is_405_and_changes_nothing(repo: github.Repository.Repository, clone: Clone, method: str) -> None:
    clone.branch("feature", {"promotions/dev.yaml": "environment: theirs\n"})
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    ours = clone.commit("Ours", {"promotions/dev.yaml": "environment: ours\n"})
    clone.git("push", "origin", "main")

    pull.update()
    assert (pull.mergeable, pull.mergeable_state) == (False, "dirty")
    with pytest.raises(github.GithubException) as refused:
        pull.merge(merge_method=method)

    assert (refused.value.status, refused.value.data["message"]) == (405, "Pull Request is not mergeable")
    assert repo.get_branch("main").commit.sha == ours


def test_neighbouring_changes_merge_one_after_the_other(repo: github.Repository.Repository, clone: Clone) -> None:
    text = "".join(f"line {number}\n" for number in range(20))
    clone.commit("Lines", {"lines.txt": text})
    clone.git("push", "origin", "main")
    clone.branch("early", {"lines.txt": text.replace("line 2\n", "line two\n")})
    clone.branch("late", {"lines.txt": text.replace("line 15\n", "line fifteen\n")})
    pulls = [repo.create_pull(base="main", head=name, title=name, body="") for name in ("early", "late")]

    for pull in pulls:
        assert pull.merge().merged

    clone.git("fetch", "--quiet")
    merged = clone.git("show", "origin/main:lines.txt")
    assert "line two\n" in merged and "line fifteen\n" in merged


def test_a_push_to_the_branch_moves_the_pull_request_and_its_refs(
    repo: github.Repository.Repository, clone: Clone
) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    clone.git("checkout", "--quiet", "feature")
    newer = clone.commit("More", {"b.txt": "1\n"})
    clone.git("push", "origin", "feature")

    pull.update()
    assert pull.head.sha == newer
    assert clone.git("ls-remote", "origin", "refs/pull/1/head").startswith(newer)
    assert clone.git("ls-remote", "origin", "refs/pull/1/merge").startswith(pull.merge_commit_sha)


def test_pushing_a_pull_requests_commits_to_main_marks_it_merged(
    repo: github.Repository.Repository, clone: Clone
) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    repo.create_pull(base="main", head="feature", title="A", body="")
    clone.git("push", "origin", "feature:main")

    assert (repo.get_pull(1).state, repo.get_pull(1).merged) == ("closed", True)


def test_deleting_the_branch_closes_the_pull_request(repo: github.Repository.Repository, clone: Clone) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    clone.git("push", "--quiet", "origin", ":feature")

    pull.update()
    assert (pull.state, pull.merged) == ("closed", False)
    with pytest.raises(github.GithubException) as refused:
        pull.edit(state="open")
    assert refused.value.status == 422


@pytest.mark.slow
def test_lists_come_in_pages_that_pygithub_follows(
    repo: github.Repository.Repository, server: Server, clone: Clone
) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    for number in range(35):
        pull.create_issue_comment(f"Comment {number}")

    assert [comment.body for comment in pull.get_issue_comments()] == [f"Comment {number}" for number in range(35)]
    with server.api() as api:
        first = api.get("/issues/1/comments", params={"per_page": 20})
        second = api.get(first.links["next"]["url"])
    assert (len(first.json()), len(second.json())) == (20, 15)
    assert first.links["last"]["url"] == first.links["next"]["url"]
    assert set(second.links) == {"prev", "first"}


def test_comments_are_updated_in_place(repo: github.Repository.Repository, clone: Clone) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    comment = pull.create_issue_comment("<!-- promobot -->\nWaiting")
    comment.edit("<!-- promobot -->\nDone")

    assert [(found.id, found.body) for found in pull.get_issue_comments()] == [
        (comment.id, "<!-- promobot -->\nDone")
    ]


def test_reviews(repo: github.Repository.Repository, server: Server, clone: Clone) -> None:
    clone.branch("feature", {"a.txt": "1\n"})
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    with pytest.raises(github.GithubException) as refused:
        pull.create_review(event="APPROVE", body="Mine")
    assert refused.value.status == 422
    server.as_pygithub().get_repo(REPOSITORY).get_pull(1).create_review(event="APPROVE", body="Good")
    assert [(review.user.login, review.state) for review in pull.get_reviews()] == [("alex", "APPROVED")]


def test_references_are_made(repo: github.Repository.Repository, clone: Clone) -> None:
    first = clone.git("rev-parse", "main")
    assert repo.create_git_ref("refs/heads/revert/churn", first).object.sha == first
    assert clone.git("ls-remote", "origin", "refs/heads/revert/churn").startswith(first)

    for name, sha, message in (
        ("refs/heads/revert/churn", first, "Reference already exists"),
        ("refs/heads/other", "0" * 39 + "1", "Object does not exist"),
    ):
        with pytest.raises(github.GithubException) as refused:
            repo.create_git_ref(name, sha)
        assert (refused.value.status, refused.value.data["message"]) == (422, message)


def test_checks_of_a_commit(repo: github.Repository.Repository, clone: Clone) -> None:
    head = clone.branch("feature", {"a.txt": "1\n"})
    pull = repo.create_pull(base="main", head="feature", title="A", body="")
    commit = repo.get_commit(head)
    repo.create_check_run("load", head, conclusion="success", output={"title": "Loaded", "summary": "in 2 s"})
    [found] = commit.get_check_runs()
    assert (found.name, found.status, found.conclusion, found.output.title) == (
        "load",
        "completed",
        "success",
        "Loaded",
    )
    pull.update()
    assert pull.mergeable_state == "clean"
    repo.create_check_run("smoke", head, status="in_progress")
    pull.update()
    assert pull.mergeable_state == "unstable"


@pytest.mark.slow
def test_renames_deletions_and_binary_files_have_their_words(
    repo: github.Repository.Repository, clone: Clone
) -> None:
    clone.commit("Base", {"old.txt": "a\nb\nc\nd\n", "gone.txt": "x\n"})
    clone.git("push", "origin", "main")
    clone.git("checkout", "--quiet", "-B", "feature")
    clone.git("mv", "old.txt", "new name.txt")
    clone.git("rm", "--quiet", "gone.txt")
    (clone.folder / "model.bin").write_bytes(bytes(range(256)))
    clone.commit("Change", {})
    clone.git("push", "--quiet", "origin", "feature")
    pull = repo.create_pull(base="main", head="feature", title="A", body="")

    files = {file.filename: file for file in pull.get_files()}
    assert {name: file.status for name, file in files.items()} == {
        "gone.txt": "removed",
        "model.bin": "added",
        "new name.txt": "renamed",
    }
    assert files["new name.txt"].previous_filename == "old.txt"


@pytest.mark.slow
def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    first = Server(tmp_path / "forge", None)
    first.start()
    clone = clone_of(first, tmp_path / "clone")
    clone.git("checkout", "--quiet", "-B", "main")
    clone.commit("First", {"a.txt": "1\n"})
    clone.git("push", "--quiet", "origin", "main")
    clone.branch("feature", {"b.txt": "1\n"})
    repo = first.as_pygithub().get_repo(REPOSITORY)
    repo.create_pull(base="main", head="feature", title="A", body="").create_issue_comment("Kept")
    first.stop()

    second = Server(tmp_path / "forge", None)
    second.start()
    pull = second.as_pygithub("bot").get_repo(REPOSITORY).get_pull(1)
    assert pull.user.login == PEOPLE["alex-token"].login
    assert [comment.body for comment in pull.get_issue_comments()] == ["Kept"]
    assert pull.merge().merged
    second.stop()
