"""Every call that the verbs make to GitHub's API, against GitHub's description; and how many there are."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.contract import Exchange, operation_of, violations
from tests.operations.world import World
from tests.stand_ins.recording import Link

MOST_CALLS = 21


@pytest.fixture
def link(world: World) -> Iterator[Link]:
    """Between the verbs of this test and the forge."""
    with Link(world.endpoints.forge) as between:
        for environment in world.endpoints.triton:
            world.configure(environment, github={"api_url": f"{between.url}/api/v3"})
        yield between


def spoken(link: Link) -> list[Exchange]:
    """What was said since the last look."""
    found = list(link.recorder.exchanges)
    link.recorder.exchanges.clear()
    return found


def shown(exchanges: list[Exchange]) -> list[str]:
    """The calls by name, as often as they were made."""
    named: Counter[str] = Counter()
    for one in exchanges:
        found = operation_of(one.method, one.path)
        named[f"{one.method} {found[0] if found else one.path}"] += 1
    return [f"{many} × {name}" for name, many in sorted(named.items())]


def checked_by(said: list[Any]) -> None:
    assert [one.code for one in said] == [0] * len(said), said


def test_from_the_proposal_to_the_record_of_success(world: World, link: Link) -> None:
    model = world.model()
    world.served(world.register(model))
    new = world.register(model, "better")
    spoken(link)

    proposed = world.bot("propose", model, new.version, "--env", "dev").document
    of_proposal = spoken(link)
    checked_by(world.check(proposed["pull_request"]))
    of_checks = spoken(link)
    world.merge(proposed["pull_request"])
    checked_by([world.deploy()])
    of_deploy = spoken(link)

    assert world.records(model)[-1].outcome == "succeeded"
    calls = [*of_proposal, *of_checks, *of_deploy]
    for name, of in (("propose", of_proposal), ("checks", of_checks), ("deploy", of_deploy)):
        print(f"{name}: {len(of)}", *shown(of), sep="\n  ")
    assert [problem for one in calls for problem in violations(one)] == []
    assert 0 < len(calls) <= MOST_CALLS, shown(calls)


@pytest.mark.extended
def test_every_other_verb_that_asks_github(world: World, link: Link) -> None:
    model = world.model()
    world.served(world.register(model))
    second = world.register(model, "better")
    number = world.bot("propose", model, second.version, "--env", "dev").document["pull_request"]
    again = world.bot("propose", model, second.version, "--env", "dev").document
    assert again["action"] == "unchanged"
    third = world.register(model, "best")
    assert world.bot("propose", model, third.version, "--env", "dev").document["action"] == "updated"
    checked_by(world.check(number))
    checked_by(world.check(number))  # the comment is updated
    world.merge(number)
    checked_by([world.deploy()])
    checked_by([world.bot("promote", model, "--to", "prod")])
    assert world.bot("rollback", model, "--env", "dev").document["pull_request"]
    for verb in ("status", "drift", "doctor"):
        assert world.bot(verb, "--env", "dev").code in (0, 1)
    checked_by([world.bot("cleanup", "--env", "dev")])

    exchanges = spoken(link)
    problems = sorted({problem for one in exchanges for problem in violations(one)})
    assert problems == [], "\n".join(problems)
    kinds = {name.partition(" × ")[2] for name in shown(exchanges)}
    pulls = "/repos/{owner}/{repo}/pulls"
    assert {
        f"GET {pulls}",
        f"POST {pulls}",
        f"GET {pulls}/{{pull_number}}",
        f"PATCH {pulls}/{{pull_number}}",
        "GET /repos/{owner}/{repo}",
        "GET /repos/{owner}/{repo}/issues/{issue_number}/comments",
        "POST /repos/{owner}/{repo}/issues/{issue_number}/comments",
        "PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}",
    } <= kinds, "the calls of the adapter, each made by a verb here"


def test_a_field_that_github_does_not_know_in_a_call_of_a_verb_fails(world: World, link: Link) -> None:
    model = world.model()
    world.register(model)
    checked_by([world.bot("propose", model, 1, "--env", "dev")])
    opened = next(one for one in spoken(link) if one.method == "POST")
    body = {**json.loads(opened.sent), "reviewers": ["alex"]}
    assert violations(opened) == []
    bent = Exchange(**{**vars(opened), "sent": json.dumps(body).encode()})
    assert "'reviewers' was unexpected" in violations(bent)[0]


@pytest.mark.slow
def test_several_versions_cost_github_as_much_as_one(world: World, link: Link) -> None:
    """From the proposal to the record of success: of five models no more calls than of two."""
    spent: dict[int, list[str]] = {}
    for count in (2, 5):
        versions = [world.register(world.model(), note=f"{count}-{number}") for number in range(count)]
        spoken(link)
        what = [f"{one.model}:{one.version}" for one in versions]
        number = world.bot("propose", *what, "--env", "dev").document["pull_request"]
        checked_by(world.check(number))
        world.merge(number)
        checked_by([world.deploy()])
        calls = spoken(link)
        assert [problem for one in calls for problem in violations(one)] == []
        spent[count] = shown(calls)
    assert spent[5] == spent[2]
