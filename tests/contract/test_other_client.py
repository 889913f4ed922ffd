"""Another client than the bot's, typed from GitHub's description: what it gets fits its models."""

from __future__ import annotations

import pytest
from githubkit import GitHub, TokenAuthStrategy
from githubkit.exception import RequestFailed

from tests.sandbox.forge.conftest import Clone, Server

ACME = ("acme", "models")


def client(server: Server, person: str = "alex") -> GitHub[TokenAuthStrategy]:
    return GitHub(TokenAuthStrategy(f"{person}-token"), base_url=f"{server.url}/api/v3", auto_retry=False)


def test_a_pull_request_from_its_branch_to_the_merge(server: Server, clone: Clone) -> None:
    github = client(server)
    rest = github.rest  # which does not keep its client
    commit = clone.branch("prepared", {"a.txt": "1\n"})

    made = rest.git.create_ref(*ACME, ref="refs/heads/feature", sha=commit).parsed_data
    assert (made.ref, made.object_.sha) == ("refs/heads/feature", commit)
    pull = rest.pulls.create(*ACME, title="A", head="feature", base="main", body="Why").parsed_data
    assert (pull.number, pull.head.sha, pull.merged) == (1, commit, False)
    listed = rest.pulls.list(*ACME, state="open", head="acme:feature").parsed_data
    assert [one.number for one in listed] == [1]
    comment = rest.issues.create_comment(*ACME, 1, body="Looks **good**").parsed_data
    assert [one.body for one in rest.issues.list_comments(*ACME, 1).parsed_data] == ["Looks **good**"]
    assert comment.html_url.endswith(f"/pull/1#issuecomment-{comment.id}")

    with pytest.raises(RequestFailed) as refused:
        rest.pulls.merge(*ACME, 1, sha="0" * 40, merge_method="squash")
    assert refused.value.response.status_code == 409

    merged = rest.pulls.merge(*ACME, 1, sha=commit, merge_method="squash").parsed_data
    assert merged.merged and rest.repos.get_branch(*ACME, "main").parsed_data.commit.sha == merged.sha
    assert rest.pulls.get(*ACME, 1).parsed_data.state == "closed"


def test_pages_are_followed(server: Server, clone: Clone) -> None:
    github = client(server)
    clone.branch("feature", {"a.txt": "1\n"})
    github.rest.pulls.create(*ACME, title="A", head="feature", base="main")
    for number in range(35):
        github.rest.issues.create_comment(*ACME, 1, body=f"Comment {number}")

    owner, repo = ACME
    found = github.rest.paginate(
        github.rest.issues.list_comments, owner=owner, repo=repo, issue_number=1, per_page=10
    )
    assert [comment.body for comment in found] == [f"Comment {number}" for number in range(35)]
