"""Who the bot is on GitHub: as an App, with a token, as a workflow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.errors import Rejected
from bot.sandbox.forge.people import App
from bot.settings import GitHub, GitHubApp
from bot.systems import github as adapter
from bot.systems.git import Repository
from bot.systems.github import PERMISSIONS, GitHubRepository
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server

ENOUGH = {"metadata": "read", "contents": "write", "pull_requests": "write"}


def key_pair() -> tuple[str, str]:
    """An RSA key as PEM: private, public."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    return key_pair()


@pytest.fixture(autouse=True)
def _no_token_is_kept() -> Iterator[None]:
    adapter._installation.cache_clear()
    yield


def install(forge: Server, public: str, **permissions: str) -> None:
    given = {"id": 77, "slug": "promoter", "public_key": public, "installation": 9}
    forge.forge.people.install(App.model_validate({**given, "permissions": permissions or ENOUGH}))


def as_app(forge: Server, key: str, *, app: int = 77, installation: int | None = None) -> GitHubRepository:
    settings = GitHub(
        repository=REPOSITORY,
        server_url=forge.url,
        api_url=f"{forge.url}/api/v3",
        app=GitHubApp(id=app, installation=installation),
    )
    return GitHubRepository(settings, app_key=key, request_seconds=10)


def with_token(forge: Server, token: str) -> GitHubRepository:
    settings = GitHub(repository=REPOSITORY, server_url=forge.url, api_url=f"{forge.url}/api/v3")
    return GitHubRepository(settings, token=token, request_seconds=10)


def test_an_app_finds_its_installation_and_works_with_its_token(
    forge: Server, person: Clone, keys: tuple[str, str]
) -> None:
    install(forge, keys[1])
    github = as_app(forge, keys[0])
    assert github.login() == "promoter[bot]"
    access = github.access()
    assert (access.kind, access.permissions, access.lacks) == ("GitHub App", ENOUGH, ())

    with Repository(f"{forge.page}.git", token=github.git_token()) as repository:
        head = repository.head()
        commit = repository.commit(head, {"app.txt": "1\n"}, message="By the App\n", author="a", email="a@b.c")
        repository.push(commit, "by-the-app", expected=None)
    pull = github.open_pull_request(branch="by-the-app", title="By the App", body="")
    assert (pull.author, pull.has_no_checks) == ("promoter[bot]", False)
    assert github.merge(pull.number, head=commit, title="By the App")

    as_app(forge, keys[0]).pull_request(pull.number)
    tokens = [one.path for one in forge.exchanges if one.path.endswith("/access_tokens")]
    assert tokens == ["/app/installations/9/access_tokens"], "one for all that is opened"


def test_an_app_that_was_given_too_little_is_told_what_it_lacks(
    forge: Server, person: Clone, keys: tuple[str, str]
) -> None:
    install(forge, keys[1], metadata="read", contents="read")
    github = as_app(forge, keys[0])
    assert github.access().lacks == ("contents: write", "pull_requests: write")
    person.branch("too-little", {"too-little.txt": "1\n"})
    with pytest.raises(Rejected, match="HTTP 403 Resource not accessible by integration") as failure:
        github.open_pull_request(branch="too-little", title="T", body="")
    assert "GitHub App 77, may not do this" in failure.value.next_step


@pytest.mark.parametrize(
    ("key", "app", "said", "step"),
    [
        ("none", 77, "cannot be read as an RSA key in PEM", ""),
        ("another", 77, "HTTP 401 A JSON web token could not be decoded", "PROMOBOT_APP_KEY"),
        ("right", 78, "HTTP 401 Integration not found", "GitHub App 78"),
    ],
)
def test_an_app_with_a_wrong_key_or_number(
    forge: Server, keys: tuple[str, str], key: str, app: int, said: str, step: str
) -> None:
    install(forge, keys[1])
    held = {"none": "-----BEGIN canary4711", "another": key_pair()[0], "right": keys[0]}[key]
    with pytest.raises(Rejected, match=said) as failure:
        as_app(forge, held, app=app).git_token()
    assert step in failure.value.next_step
    assert "canary4711" not in repr(failure.value) + repr(failure.value.__cause__)


def test_what_tokens_may_do_is_seen_as_far_as_github_shows_it(forge: Server) -> None:
    alex, robin, bot = (with_token(forge, f"{name}-token").access() for name in ("alex", "reader", "bot"))
    assert (alex.login, alex.kind, alex.lacks) == ("alex", "token", ())
    assert (robin.login, robin.lacks) == ("robin", ("contents: write", "pull_requests: write"))
    assert (bot.login, bot.kind, bot.permissions) == ("promobot[bot]", "installation token", None)


def test_a_workflows_own_token_opens_pull_requests_without_checks(forge: Server, person: Clone) -> None:
    from bot.sandbox.forge.people import ACTIONS_BOT

    forge.forge.people.add("ghs_of-a-run", ACTIONS_BOT)
    github = with_token(forge, "ghs_of-a-run")
    assert github.access().kind == "workflow token"
    person.branch("of-a-run", {"of-a-run.txt": "1\n"})
    assert github.open_pull_request(branch="of-a-run", title="T", body="").has_no_checks


def test_the_permissions_are_what_the_documentation_lists() -> None:
    assert PERMISSIONS == ENOUGH


def test_a_comment_of_somebody_else_is_not_ours_to_change(forge: Server, person: Clone) -> None:
    person.branch("theirs", {"theirs.txt": "1\n"})
    github = with_token(forge, "bot-token")
    number = github.open_pull_request(branch="theirs", title="T", body="").number
    mallory = forge.forge.people.named("alex")
    forge.forge.add_comment(number, body="<!-- marker -->\nEvery check passed, merge me", by=mallory)

    github.put_comment(number, "<!-- marker -->\nred", marker="<!-- marker -->")
    github.put_comment(number, "<!-- marker -->\ngreen", marker="<!-- marker -->")

    said = [(comment.author, comment.body) for comment in forge.forge.store.comments(number)]
    assert said == [
        ("alex", "<!-- marker -->\nEvery check passed, merge me"),
        ("promobot[bot]", "<!-- marker -->\ngreen"),
    ]
