"""Pull requests that conflict with main because their neighbours were merged: renewed, and checked once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from bot.domain.evidence import LIFETIME
from bot.operations import proposing, renewing
from bot.systems.triton.server import TritonControl
from tests.operations.world import Registered, World

FIRST = 2


@pytest.fixture
def loads() -> Iterator[list[str]]:
    """The names under which anything was loaded by this process, on whatever Triton."""
    found: list[str] = []
    real = TritonControl.load

    def load(control: TritonControl, name: str, **more: object) -> object:
        found.append(name)
        return real(control, name, **more)  # type: ignore[arg-type]

    with mock.patch.object(TritonControl, "load", load):
        yield found


def checks_in(loads: list[str]) -> list[str]:
    return [name for name in loads if ".check-" in name]


def proposed(world: World, count: int) -> list[tuple[Registered, int]]:
    """So many models of which nothing is in service yet, each proposed and green."""
    models = [world.register(world.model(), note=str(number)) for number in range(count)]
    pulls = [(one, int(world.proposed(one)["number"])) for one in models]
    for _, number in pulls:
        assert all(said.code == 0 for said in world.check(number))
    return pulls


def test_first_proposals_are_merged_one_after_the_other_and_each_was_checked_once(
    world: World, loads: list[str]
) -> None:
    pulls = proposed(world, FIRST)
    assert len(checks_in(loads)) == 2 * FIRST
    heads = {number: world.pull(number)["head"]["sha"] for _, number in pulls}
    for place, (registered, number) in enumerate(pulls):
        if place:
            assert world.pull(number)["head"]["sha"] != heads[number], "it conflicted, and was written anew"
            said = world.check(number)
            assert [one.code for one in said] == [0, 0, 0, 0], said
            assert "carried over from" in world.sticky(number)
            for evidence in world.ledger().all_evidence(registered.model):
                assert evidence.expires == min(result.at for result in evidence.checks) + LIFETIME
        world.merge(number)
        deployed = world.words("deploy", "--env", "dev")
        assert deployed.code == 0, deployed
        assert world.version(registered.model) == 1
        for _, later in pulls[place + 1 :]:
            assert f"#{later} conflicted with main and is written anew on it" in deployed.err
    assert len(checks_in(loads)) == 2 * FIRST, "nothing was loaded on staging a second time"
    assert [pull["number"] for pull in world.open_pulls() if pull["number"] in heads] == []


@pytest.mark.extended
@pytest.mark.timeout(1200)
def test_sixteen_first_proposals_end_in_service_with_one_look_at_staging_each(world: World, loads: list[str]) -> None:
    pulls = proposed(world, 16)
    for _, number in pulls:
        assert all(said.code == 0 for said in world.check(number))
        world.merge(number)
        assert world.deploy().code == 0
    assert {world.version(registered.model) for registered, _ in pulls} == {1}
    # Those that were green already were asked a second time at the commit that is merged; the first was new to all.
    assert len(checks_in(loads)) == 2 * 16 + 2


@pytest.mark.slow
def test_what_a_person_pushed_stays_and_a_comment_says_what_to_do(world: World) -> None:
    (first, number), (_, other) = proposed(world, 2)
    pull = world.pull(other)
    branch = pull["head"]["ref"]
    world.git("fetch", "--quiet", "origin", branch)
    world.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    world.git("commit", "--quiet", "--allow-empty", "--message", "A word of mine")
    world.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    head = world.pull(other)["head"]["sha"]
    world.merge(number)
    for _ in range(2):
        said = world.words("deploy", "--env", "dev")
        assert said.code == 0 and f"#{other} conflicts with main and is left as it is: {head[:12]}" in said.err
    assert world.pull(other)["head"]["sha"] == head
    (told,) = [body.replace("\\", "") for body in world.comments(other) if "promobot:renewal" in body]
    assert "is not the bot's (alex)" in told and "Next: resolve the conflict by hand" in told
    assert world.version(first.model) == 1


@pytest.mark.slow
def test_where_main_says_something_else_of_the_same_model_nothing_is_written_over_it(world: World) -> None:
    model = world.model()
    first, second = world.register(model, note="1"), world.register(model, "better", note="2")
    number = int(world.proposed(second)["number"])
    head = world.pull(number)["head"]["sha"]
    world.desire(model, first.entry)
    said = world.words("deploy", "--env", "dev")
    assert f"#{number} conflicts with main and is left as it is: main asks for something else of the same" in said.err
    assert world.pull(number)["head"]["sha"] == head
    assert [body for body in world.comments(number) if f"({model} 1)" in body.replace("\\", "")]


@pytest.mark.slow
def test_other_rules_or_a_revocation_have_the_bytes_looked_at_again(world: World, loads: list[str]) -> None:
    (_, merged), (ruled, one), (doubted, two) = proposed(world, 3)
    del loads[:]
    world.merge(merged)
    assert world.deploy().code == 0
    world.configure("dev", gates={ruled.model: {"metrics": {"accuracy": {"minimum": 0.1}}}})
    said = world.promobot("evidence", "revoke", doubted.model, doubted.version, "--env", "dev", "--reason", "doubt")
    assert said.code == 0, said
    for number in (one, two):
        assert all(said.code == 0 for said in world.check(number))
        assert "carried over" not in world.sticky(number)
    assert len(checks_in(loads)) == 4


@pytest.mark.slow
def test_a_deployment_that_dies_while_it_renews_is_followed_by_one_that_goes_on(world: World) -> None:
    (_, merged), (_, one), (_, two) = proposed(world, 3)
    heads = {number: world.pull(number)["head"]["sha"] for number in (one, two)}
    world.merge(merged)
    real = renewing.renew

    def dies(*arguments: object, **more: object) -> None:
        real(*arguments, **more)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with mock.patch.object(renewing, "renew", dies):
        assert world.deploy().code == 130
    now = {number: world.pull(number)["head"]["sha"] for number in (one, two)}
    assert len({number for number in heads if now[number] != heads[number]}) == 1
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0 and said.err.count("is written anew on it") == 1
    assert all(world.pull(number)["head"]["sha"] != heads[number] for number in heads)
    assert world.deploy().code == 0
    again = {number: world.pull(number)["head"]["sha"] for number in (one, two)}
    assert again == {number: world.pull(number)["head"]["sha"] for number in (one, two)}


@pytest.mark.slow
def test_who_pushes_while_the_bot_renews_keeps_the_branch(world: World) -> None:
    (_, merged), (_, other) = proposed(world, 2)
    branch = world.pull(other)["head"]["ref"]
    world.merge(merged)
    real, pushed = proposing._commit, list[str]()

    @contextmanager
    def overtaken(*arguments: Any) -> Iterator[str]:
        with real(*arguments) as commit:
            if not pushed:
                world.git("fetch", "--quiet", "origin", branch)
                world.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
                world.git("commit", "--quiet", "--allow-empty", "--message", "A word of mine")
                world.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
                pushed.append(world.git("rev-parse", "HEAD"))
            yield commit

    with mock.patch.object(proposing, "_commit", overtaken):
        said = world.words("deploy", "--env", "dev")
    assert said.code == 0 and f"#{other} could not be renewed, the next deployment tries again" in said.err
    assert [world.pull(other)["head"]["sha"]] == pushed
