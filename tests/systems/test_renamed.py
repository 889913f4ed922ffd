"""A repository that was renamed: GitHub answers 301 and 307, and nothing that it does not do may look done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import github
import pytest

from bot.errors import Rejected
from bot.sandbox.forge.app import open_forge
from bot.sandbox.forge.people import People
from bot.settings import GitHub
from bot.systems import github as adapter
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository
from tests.sandbox.forge.conftest import PEOPLE, REPOSITORY, Clone, Server
from tests.stand_ins.server import StandIn, answer
from tests.systems.test_github import opened
from tests.systems.test_identity import as_app, install, key_pair

NEW = f"{REPOSITORY.split('/')[0]}/moved"


@pytest.fixture
def renamed(server: Server, clone: Clone) -> int:
    """The number of an open pull request of a repository that was renamed after that."""
    clone.branch("promobot/dev/churn", {"a.txt": "1\n"})
    number = opened(server.url, "bot-token").open_pull_request(branch="promobot/dev/churn", title="A", body="").number
    with server.api("owner") as api:
        changed = api.patch(f"{server.url}/api/v3/repos/{REPOSITORY}", json={"name": "moved"})
    assert changed.json()["full_name"] == NEW
    return number


CALLS: dict[str, Callable[[GitHubRepository, int], object]] = {
    "merge": lambda github, number: github.merge(number, head="0" * 40, title="T"),
    "comment": lambda github, number: github.comment(number, "said"),
    "put_comment": lambda github, number: github.put_comment(number, "said", marker="<!-- m -->"),
    "approve": lambda github, number: github.approve(number, head="0" * 40, body=""),
    "open": lambda github, _: github.open_pull_request(branch="other", title="T", body=""),
    "update": lambda github, number: github.update_pull_request(number, title="T", body=""),
    "read": lambda github, number: github.pull_request(number),
    "list": lambda github, _: github.open_pull_requests(prefix="promobot"),
    "access": lambda github, _: github.access(),
}


def test_every_call_says_the_new_name_and_does_nothing(server: Server, renamed: int) -> None:
    github = opened(server.url, "bot-token")
    for name, call in CALLS.items():
        with pytest.raises(Rejected, match=f"the repository is now {NEW}") as failure:
            call(github, renamed)
        assert f"Set github.repository to {NEW}" in failure.value.next_step, name
    assert {one.status for one in server.exchanges if f"/repos/{REPOSITORY}/" in one.path} >= {301, 307}
    pull = server.forge.store.pull(renamed)
    assert pull is not None and (pull.state, server.forge.store.comments(renamed)) == ("open", [])

    now = GitHub(repository=NEW, server_url=server.url, api_url=f"{server.url}/api/v3")
    found = GitHubRepository(now, token="bot-token", request_seconds=10).open_pull_requests(prefix="promobot")
    assert [one.number for one in found] == [renamed]


def test_an_app_that_does_not_know_its_installation_is_told_as_well(server: Server, renamed: int) -> None:
    adapter._installation.cache_clear()
    private, public = key_pair()
    install(server, public)
    with pytest.raises(Rejected, match=f"the repository is now {NEW}"):
        as_app(server, private).git_token()


def test_git_is_sent_to_the_new_name_and_does_not_go(server: Server, renamed: int) -> None:
    with (
        Repository(f"{server.url}/{REPOSITORY}.git", token="bot-token") as repository,
        pytest.raises(Rejected, match="returned error: 301") as failure,
    ):
        repository.head()
    assert "`promobot doctor` names" in failure.value.next_step


def test_a_renamed_repository_is_still_renamed_after_a_restart(server: Server, renamed: int, tmp_path: Path) -> None:
    again = open_forge(
        folder=server.folder, repository=REPOSITORY, server_url=server.url, people=People(PEOPLE), settings=None
    )
    assert (again.repository, again.store.settings.former_names) == (NEW, (REPOSITORY,))
    with server.api("owner") as api:
        api.patch(f"{server.url}/api/v3/repos/{NEW}", json={"name": REPOSITORY.split("/")[1]}).raise_for_status()
    assert opened(server.url, "bot-token").pull_request(renamed).number == renamed


@pytest.mark.parametrize("status", [300, 302, 303, 307, 308])
def test_a_redirect_to_somewhere_else_is_not_followed(stand_in: StandIn, status: int) -> None:
    stand_in.answers(status, {}, headers={"Location": "https://elsewhere.example/api/v3/repos?token=canary4711"})
    github = opened(stand_in.url, "ghp_canary4711", api="")
    with pytest.raises(Rejected, match=f"HTTP {status}, a redirect to https://elsewhere.example") as failure:
        github.comment(1, "said")
    assert "canary4711" not in str(failure.value) and "api_url" in failure.value.next_step
    assert len(stand_in.seen) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>Please log in</html>"), (200, b""), (201, b""), (200, {"message": "Hello"})],
    ids=["html", "empty", "created nothing", "other JSON"],
)
def test_an_answer_that_is_not_githubs_is_not_a_success(stand_in: StandIn, status: int, body: object) -> None:
    stand_in.answers(status, body)
    github = opened(stand_in.url, "ghp_canary4711", api="")
    for name in ("merge", "comment", "put_comment", "open", "update", "read"):
        with pytest.raises(Rejected) as failure:
            CALLS[name](github, 1)
        assert "not one of GitHub's" in str(failure.value), name
        assert failure.value.state.startswith("It is not known whether"), name


def test_a_merge_that_does_not_say_merged_is_not_one(stand_in: StandIn) -> None:
    said = {"sha": "1" * 40, "merged": False, "message": "Queued"}
    stand_in.behaviour = lambda seen: answer(200, [] if "/rules/branches/" in seen.path else said)
    with pytest.raises(Rejected, match="does not say that it was merged") as failure:
        CALLS["merge"](opened(stand_in.url, "ghp_canary4711", api=""), 1)
    assert failure.value.state == "It is not known whether it was merged."


def test_connections_are_used_again(server: Server, renamed: int) -> None:
    settings = GitHub(repository=NEW, server_url=server.url, api_url=f"{server.url}/api/v3")
    github = GitHubRepository(settings, token="bot-token", request_seconds=10)
    asked: set[int] = set()
    app = server._recorder.app

    async def noting(scope: dict[str, object], receive: object, send: object) -> None:
        client = scope["client"]
        assert isinstance(client, (list, tuple))
        asked.add(client[1])
        await app(scope, receive, send)  # type: ignore[arg-type]

    server._recorder.app = noting  # type: ignore[assignment]
    for _ in range(3):
        github.pull_request(renamed)
    assert len(asked) == 1


def test_another_client_in_the_process_keeps_its_redirects(server: Server, renamed: int) -> None:
    auth = github.Auth.Token("bot-token")
    with github.Github(auth=auth, base_url=f"{server.url}/api/v3") as another:
        assert another.get_repo(REPOSITORY).full_name == NEW
