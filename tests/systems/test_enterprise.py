"""GitHub Enterprise Server behind a path: every address comes from ``github.server_url`` and ``github.api_url``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.errors import Rejected
from bot.operations.doctor import refused_pushes
from bot.records.directory import RecordStore
from bot.settings import GitHub
from bot.systems import github as adapter
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository
from tests.domain.entries import entry
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server
from tests.systems.test_identity import install, key_pair
from tests.systems.test_proposing import Bot, push
from tests.systems.test_signed_commits import with_setting


@pytest.fixture
def enterprise(first_commit: Path, tmp_path: Path) -> Iterator[Server]:
    shutil.copytree(first_commit / "forge", tmp_path / "forge")
    server = Server(tmp_path / "forge", None, prefix="/ghe")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bot(enterprise: Server, first_commit: Path, tmp_path: Path) -> Bot:
    shutil.copytree(first_commit / "clone", tmp_path / "clone")
    clone = Clone(tmp_path / "clone")
    clone.git("remote", "set-url", "origin", enterprise.clone_url())
    RecordStore(tmp_path / "records").begin()
    made = Bot(enterprise, "dev", tmp_path / "records")
    push(clone, "A new environment", {made.file: f"environment: {made.environment}\n"})
    return made


@pytest.mark.slow
@pytest.mark.parametrize("sign", [False, True])
def test_a_proposal_from_its_branch_to_its_merge(enterprise: Server, bot: Bot, sign: bool) -> None:
    github = with_setting(bot, sign)
    assert bot.settings.github.clone_url == f"{enterprise.url}/{REPOSITORY}.git" and "/ghe/" in enterprise.url + "/"
    assert github.login() == "promobot[bot]" and github.access().lacks == ()
    bot.propose(7)
    again = bot.propose(8)
    assert again is not None and again.action == "updated"
    pull = again.pull_request
    assert pull.url == f"{enterprise.url}/{REPOSITORY}/pull/{pull.number}"
    assert github.put_comment(pull.number, "<!-- m --> once", marker="<!-- m -->").startswith(pull.url)
    assert [one.number for one in github.open_pull_requests(prefix="promobot/")] == [pull.number]
    assert refused_pushes(bot.settings, github, of_base=github.rules().types) is None
    commit = github.merge(pull.number, head=pull.head, title="Merged")
    with Repository(bot.settings.github.clone_url, token="bot-token") as repository:
        assert repository.head() == commit
        assert entry(8).digest in (repository.read(repository.head(), bot.file) or "")


def test_an_app_works_there(enterprise: Server) -> None:
    private, public = key_pair()
    install(enterprise, public)
    adapter._installation.cache_clear()
    api = f"{enterprise.url}/api/v3"
    settings = GitHub.model_validate(
        {"repository": REPOSITORY, "server_url": enterprise.url, "api_url": api, "app": {"id": 77}}
    )
    github = GitHubRepository(settings, app_key=private, request_seconds=10)
    assert github.login() == "promoter[bot]" and github.access().kind == "GitHub App"
    assert (github.author() or ("", ""))[1].endswith("+promoter[bot]@users.noreply.127.0.0.1")
    with Repository(settings.clone_url, token=github.git_token()) as repository:
        assert len(repository.head()) == 40


def test_an_address_without_the_path_is_named_as_wrong(enterprise: Server) -> None:
    api = enterprise.url.removesuffix("/ghe") + "/api/v3"
    settings = GitHub.model_validate({"repository": REPOSITORY, "server_url": enterprise.url, "api_url": api})
    with pytest.raises(Rejected, match="HTTP 404"):
        GitHubRepository(settings, token="bot-token", request_seconds=10).open_pull_requests(prefix="promobot")
