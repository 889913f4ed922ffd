"""GitHub is away: users go back all the same, ``status`` says what is live, and Git follows later, once."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

import pytest

from bot.share.reverts import Reverts
from bot.systems.github import GitHubRepository
from tests.operations.world import Registered, World

Away = Callable[[World], Iterator[Mapping[str, str]]]


def _two_versions(world: World) -> tuple[str, Registered, Registered]:
    model = world.model()
    return model, world.served(world.register(model)), world.served(world.register(model, "better"))


@contextmanager
def _at(world: World, url: str) -> Iterator[Mapping[str, str]]:
    """Have the checkout's settings look for GitHub at another address."""
    addresses = {"server_url": world.endpoints.forge, "api_url": f"{world.endpoints.forge}/api/v3"}
    world.configure("dev", github={"server_url": url, "api_url": f"{url}/api/v3"})
    try:
        yield {}
    finally:
        world.configure("dev", github=addresses)


@contextmanager
def _stopped(world: World) -> Iterator[Mapping[str, str]]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        with _at(world, f"http://127.0.0.1:{nobody.getsockname()[1]}") as env:
            yield env


@contextmanager
def _unresolved(world: World) -> Iterator[Mapping[str, str]]:
    with _at(world, "http://github.invalid") as env:
        yield env


@contextmanager
def _hanging(world: World) -> Iterator[Mapping[str, str]]:
    world.configure("dev", deadlines={"request_seconds": 2})
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # the system takes connections, and nobody answers
        with _at(world, f"http://127.0.0.1:{silent.getsockname()[1]}") as env:
            yield env
    world.configure("dev", deadlines={"request_seconds": 10})


@contextmanager
def _expired(_: World) -> Iterator[Mapping[str, str]]:
    yield {"GITHUB_TOKEN": "ghp_0123456789abcdefghijABCDEFGHIJ012345"}


@contextmanager
def _no_token(_: World) -> Iterator[Mapping[str, str]]:
    yield {"GITHUB_TOKEN": ""}


@pytest.mark.slow
def test_while_github_is_stopped_users_go_back_and_the_next_deployment_opens_the_one_revert(world: World) -> None:
    model, _, _ = _two_versions(world)
    with _stopped(world):
        said = world.words("rollback", model, "--env", "dev", "--now", "--reason", "wrong answers", "--by", "sam")
        assert (said.code, world.version(model)) == (0, 1), said
        warned, then, *_ = said.err.splitlines()
        assert warned.startswith("⚠️ desired: unknown. What main says of dev cannot be read: Git (http://127.0.0.1:")
        assert then == f"   Going back by routes and records: {model} leaves version 2."
        out = said.out.splitlines()
        assert out[0] == f"{model} is back at version 1 in dev (from 2)."
        assert out[-2].startswith("The revert pull request is not open yet: Git (http://127.0.0.1:")
        assert out[-1].startswith("→ It is noted: the next `promobot deploy --env dev` that reaches GitHub opens it.")

        again = world.promobot("rollback", model, "--env", "dev", "--now", "--by", "sam")
        assert (again.code, again.document["after"]["version"], world.version(model)) == (0, 1, 1), "not one further"
        assert again.document["revert_waits"] and again.document["pull_request"] is None

        live = world.words("status", "--env", "dev")
        users, head, _, _, row, *_ = live.out.splitlines()
        assert users == f"dev: OK. {model} 1 answers. 2 things to put right."
        assert (live.code, head) == (0, f"desired: unknown, routes at generation {world.routes()['generation']}")
        assert row.split() == ["?", model, "unknown", "1", "READY", "1", "1"]
        assert "  ✗ desired: unknown. Git (http://127.0.0.1:" in live.out
        assert f"  ✗ the revert of {model} to 1 that sam asked for at " in live.out
        (found,) = world.promobot("status", "--env", "dev").document["environments"]
        assert (found["models"][0]["desired"], found["models"][0]["agrees"], found["commit"]) == ("unknown", None, "")
        assert {d["kind"] for d in found["differences"]} == {"main", "revert"}

        plain = world.words("rollback", model, "--env", "dev")
        assert plain.code == 1 and f"`promobot rollback {model} --env dev --now` puts users back" in plain.err

    assert (world.quarantined(model), world.noted_reverts()) == ([2], [model, model])
    done = world.words("deploy", "--env", "dev")
    assert (done.code, world.version(model), world.noted_reverts()) == (1, 1, []), done
    assert f"held: {model} 1 → 2 in dev, version 1 goes on answering: its digest is in quarantine" in done.out
    (revert,) = world.reverts(model)
    assert f"the revert of {model} to 1 that sam asked for at " in done.err and revert["html_url"] in done.err
    assert revert["title"] == f"Revert {model} 2 in dev: back to 1"
    assert "Asked for by sam." in revert["body"], "in the words of who asked, not in the bot's"
    assert world.deploy().code == 1
    assert [pull["number"] for pull in world.reverts(model)] == [revert["number"]]
    assert world.reverts(model)[0]["body"] == revert["body"]
    world.merge(revert["number"])
    assert (world.deploy().code, world.version(model), world.quarantined(model)) == (0, 1, [2])


@pytest.mark.slow
@pytest.mark.parametrize("away", [_unresolved, _hanging, _expired, _no_token])
def test_however_github_is_away(world: World, away: Away) -> None:
    model, _, _ = _two_versions(world)
    with away(world) as env:
        live = world.words("status", "--env", "dev", env=env)
        assert live.code == 0 and live.out.splitlines()[1].startswith("desired: unknown, routes at generation"), live
        assert world.promobot("drift", "--env", "dev", env=env).code == 1
        said = world.words("rollback", model, "--env", "dev", "--now", env=env)
        assert (said.code, world.version(model)) == (0, 1), said
        assert said.err.startswith("⚠️ desired: unknown.")
    assert world.noted_reverts() == [model]
    assert world.words("reconcile", "--env", "dev").code == 1
    assert (len(world.reverts(model)), world.noted_reverts()) == (1, [])


@pytest.mark.extended
def test_what_was_merged_and_never_deployed_does_not_come_once_github_is_back(world: World) -> None:
    model, _, _ = _two_versions(world)
    world.merged(world.register(model, "best"))
    with _stopped(world):
        assert world.words("rollback", model, "--env", "dev", "--now", "--reason", "slow").code == 0
    said = world.words("deploy", "--env", "dev")
    assert (said.code, world.version(model), world.quarantined(model)) == (1, 1, [2, 3]), said
    assert "rolled back to 1 while main could not be read: slow" in said.out
    assert [pull["title"] for pull in world.reverts(model)] == [f"Revert {model} 3 in dev: back to 1"]


@pytest.mark.extended
def test_another_way_back_that_people_merged_meanwhile_counts(world: World) -> None:
    model, first, _ = _two_versions(world)
    world.served(world.register(model, "best"))
    with _stopped(world):
        assert world.words("rollback", model, "--env", "dev", "--now").code == 0
    assert world.version(model) == 2
    world.desire(model, first.entry)
    assert (world.deploy().code, world.version(model)) == (0, 1)
    assert world.reverts(model) == [] and world.noted_reverts() == []
    assert 1 not in world.quarantined(model)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["open_pull_request", "open_pull_requests"])
def test_only_the_api_is_away(world: World, lost: str) -> None:
    from bot.errors import Unavailable

    model, _, _ = _two_versions(world)
    with mock.patch.object(GitHubRepository, lost, side_effect=Unavailable("HTTP 503", system="GitHub")):
        said = world.words("rollback", model, "--env", "dev", "--now")
        assert (said.code, world.version(model)) == (0, 1), said
        assert "The revert pull request is not open yet: GitHub: HTTP 503" in said.out
        held = world.words("deploy", "--env", "dev")
        assert (held.code, world.noted_reverts()) == (1, [model])
        assert "could not be opened, the next run tries again: GitHub: HTTP 503" in held.err
    assert world.deploy().code == 1
    assert (len(world.reverts(model)), world.noted_reverts()) == (1, [])


@pytest.mark.slow
@pytest.mark.parametrize("where", ["before the pull request", "before it is forgotten"])
def test_a_rollback_that_is_killed_is_followed_by_one_revert(world: World, where: str) -> None:
    model, _, _ = _two_versions(world)
    of, step = (GitHubRepository, "open_pull_request") if where == "before the pull request" else (Reverts, "drop")
    with mock.patch.object(of, step, side_effect=KeyboardInterrupt):
        said = world.words("rollback", model, "--env", "dev", "--now", "--by", "sam")
        assert (said.code, world.version(model), world.noted_reverts()) == (130, 1, [model])
    with mock.patch.object(of, step, side_effect=KeyboardInterrupt):
        assert world.words("deploy", "--env", "dev").code == 130
    assert world.deploy().code == 1
    (revert,) = world.reverts(model)
    assert "Asked for by sam." in revert["body"] and world.noted_reverts() == []
    world.merge(revert["number"])
    assert (world.deploy().code, world.version(model), world.reverts(model)) == (0, 1, [])


@pytest.mark.extended
def test_whoever_decides_after_a_killed_rollback_is_not_overruled_by_its_note(world: World) -> None:
    model, _, _ = _two_versions(world)
    with mock.patch.object(GitHubRepository, "open_pull_request", side_effect=KeyboardInterrupt):
        assert world.words("rollback", model, "--env", "dev", "--now").code == 130
    best = world.served(world.register(model, "best"))
    assert (world.version(model), world.noted_reverts()) == (best.version, [])
    assert world.reverts(model) == [] and world.quarantined(model) == [2]


@pytest.mark.slow
def test_a_note_that_cannot_be_read_stops_no_way_back(world: World) -> None:
    model, _, _ = _two_versions(world)
    folder = world.endpoints.state("dev") / "reverts"
    folder.mkdir(exist_ok=True)
    (folder / f"00000001-{model}.json").write_text("{")
    said = world.words("rollback", model, "--env", "dev", "--now")
    assert (said.code, world.version(model), len(world.reverts(model))) == (0, 1, 1), said
    assert f"reverts/00000001-{model}.json on the share is not readable" in said.err
    (difference,) = world.promobot("status", "--env", "dev").document["environments"][0]["differences"][:1]
    assert difference["kind"] == "revert" and f"reverts/00000001-{model}.json" in difference["what"]
    assert difference["next_step"] == "open that revert with `promobot rollback`, and move the file away"
    assert "Everything is as main says." not in world.words("status", "--env", "dev").out
