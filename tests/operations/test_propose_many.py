"""Several versions in one pull request: what it says, what is left out, and that one generation serves all of it."""

from __future__ import annotations

import json
from unittest import mock

import pytest

from bot.operations import proposing
from bot.systems.github import GitHubRepository
from tests.operations.world import Registered, World, rows_of


def named(*versions: Registered) -> list[str]:
    return [f"{one.model}:{one.version}" for one in versions]


def several(world: World, count: int, **more: float) -> list[Registered]:
    return [world.register(world.model(), note=str(number), **more) for number in range(count)]


def test_several_versions_are_one_pull_request_one_verdict_and_one_generation(world: World) -> None:
    one, two = several(world, 2)
    listens = world.register(world.model(on_miss="shadow"), note="3", accuracy=0.1)
    stopped = world.register(world.model(on_miss="stop"), note="4", accuracy=0.1)
    said = world.promobot("propose", *named(one, two, listens, stopped), "no-such:1", "--env", "dev")

    assert said.code == 1, "what was named is not all proposed"
    document = said.document
    assert (document["action"], document["environment"]) == ("opened", "dev")
    assert {(p["model"], p["version"], p["section"]) for p in document["proposals"]} == {
        (one.model, 1, "models"),
        (two.model, 1, "models"),
        (listens.model, 1, "shadow"),
    }
    left = {one["model"]: one for one in document["left_out"]}
    assert set(left) == {stopped.model, "no-such"}
    assert left[stopped.model]["kind"] == "gate" and "accuracy 0.1 < 0.9" in left[stopped.model]["why"]
    assert left["no-such"]["kind"] == "no gate" and "has no gate for it: add gates.no-such" in left["no-such"]["why"]

    pull = world.pull(document["pull_request"])
    assert pull["head"]["ref"].startswith("promobot-many/dev/")
    assert pull["title"].startswith(f"Promote 3 models in dev: {one.model} 1, ")
    assert pull["body"].startswith("✅ **2 models pass the gate of dev.** 👥 **1 would receive copies of requests")
    assert {row[1] for row in rows_of(pull["body"].replace("\\", ""), f"### {one.model} 1")} >= {
        "`accuracy`",
        "`roc_auc`",
    }

    assert [one.code for one in world.check(pull["number"])] == [0, 0, 0, 0]
    verdict = world.sticky(pull["number"]).replace("\\", "")
    assert all(f"{each.model} 1 in dev" in verdict for each in (one, two, listens)), verdict
    assert world.pull(pull["number"])["body"].startswith("✅ **Every check passed for ")

    world.merge(pull["number"])
    before = world.routes()["generation"]
    assert world.deploy().code == 0
    assert world.routes()["generation"] == before + 1
    assert [world.version(each.model) for each in (one, two)] == [1, 1]
    assert world.routes()["models"][listens.model]["shadow"]["version"] == 1
    ended = world.pull(pull["number"])["body"].replace("\\", "").partition("promobot:verdict")[0]
    assert "1 went into service in dev" in ended and "And 2 more." in ended


@pytest.mark.slow
def test_all_ready_proposes_what_passes_and_names_why_the_rest_is_left_out(world: World) -> None:
    for environment in world.endpoints.triton:
        world.configure(environment, gates={"ready-*": {"metrics": {"accuracy": {"minimum": 0.9}}}})
    served = world.served(world.register("ready-served", note="1"))
    one, two = world.register("ready-one", note="2"), world.register("ready-two", note="3")
    world.register("ready-low", note="4", accuracy=0.5)
    world.register("Ready One", note="5")
    world.register("unready", note="6")
    world.proposed(world.register("ready-open", note="7"))
    spoilt = world.register("ready-spoilt", note="8")
    for path in spoilt.artifacts.iterdir():
        if path.name == "package.json":
            path.unlink()

    world.retire(world.served(world.register("ready-retired", note="9")).model, "nobody asks")
    world.deploy()

    dry = world.promobot("propose", "--all-ready", "--dry-run", "--env", "dev")
    assert dry.code == 0 and dry.document["action"] == "dry run"
    assert [p["model"] for p in dry.document["proposals"]] == [one.model, two.model]
    assert len(world.open_pulls("promobot-many/")) == 0
    kinds = {left["model"]: left["kind"] for left in dry.document["left_out"]}
    assert {name: kinds[name] for name in kinds if "eady" in name} == {
        served.model: "served",
        "ready-low": "gate",
        "Ready One": "no name",
        "unready": "no gate",
        "ready-open": "open",
        "ready-spoilt": "no package",
        "ready-retired": "retired",
    }
    words = world.words("propose", "--all-ready", "--dry-run", "--env", "dev").out
    assert "2 versions would be proposed to dev; nothing was changed." in words
    assert "mlflow_names in manifests/environments/dev.yaml gives it one" in words

    said = world.promobot("propose", "--all-ready", "--env", "dev")
    assert said.code == 0 and said.document["action"] == "opened"
    again = world.promobot("propose", "--all-ready", "--env", "dev")
    assert (again.code, again.document["action"]) == (0, "unchanged")
    assert [pull["number"] for pull in world.open_pulls("promobot-many/")] == [said.document["pull_request"]]


def test_many_are_told_in_lines_and_tables_that_say_something(world: World) -> None:
    one, two = several(world, 2)
    said = world.words("propose", *named(one, two), "none:1", "nothing:2", "--env", "dev")
    assert said.code == 1
    assert said.err == f"waiting for {one.model} 1, {two.model} 1, none 1, nothing 2 to be READY\n"
    url, proposed, left = said.out.rstrip("\n").split("\n\n")
    assert url.startswith("2 versions are proposed to dev: http")
    assert proposed.splitlines()[0].split() == ["proposed", "version"], "no column is empty"
    (row,) = left.splitlines()[2:]
    assert row.startswith("none 1, nothing 2  manifests/environments/dev.yaml has no gate for it: add gates.MODEL, ")


@pytest.mark.slow
def test_who_is_cut_off_in_the_middle_comes_to_one_pull_request(world: World) -> None:
    versions = several(world, 2)
    where = ("propose", *named(*versions), "--env", "dev")
    with mock.patch.object(GitHubRepository, "open_pull_request", side_effect=KeyboardInterrupt):
        assert world.promobot(*where).code == 130
    assert world.open_pulls("promobot-many/") == []
    first = world.promobot(*where)
    assert first.code == 0 and first.document["action"] == "opened"
    assert world.promobot(*where).document["action"] == "unchanged"
    assert len(world.open_pulls("promobot-many/")) == 1

    newer = [world.register(versions[0].model, "better", note="new"), versions[1]]
    updated = world.promobot("propose", *named(*newer), "--env", "dev")
    assert updated.document["action"] == "updated"
    assert updated.document["pull_request"] == first.document["pull_request"]
    older = world.promobot(*where)
    assert (older.code, older.document["action"]) == (1, "nothing")
    assert f"#{first.document['pull_request']} proposes version 2 already" in older.document["left_out"][0]["why"]


@pytest.mark.slow
def test_two_at_the_same_time_make_one_pull_request_of_the_same_and_none_twice(world: World) -> None:
    one, two, three = several(world, 3)
    real, done = proposing._put, []

    def overtaken(*arguments: object) -> object:
        if not done:
            done.append(True)
            assert world.promobot("propose", *named(one, two), "--env", "dev").document["action"] == "opened"
        return real(*arguments)  # type: ignore[arg-type]

    with mock.patch.object(proposing, "_put", overtaken):
        said = world.promobot("propose", *named(one, two), "--env", "dev")
    assert said.document["action"] == "unchanged"
    (pull,) = world.open_pulls("promobot-many/")
    alone = world.promobot("propose", two.model, two.version, "--env", "dev").document
    assert (alone["action"], alone["reason"]) == (
        "stopped",
        f"#{pull['number']} proposes version 1 already: merge or close it first",
    )
    more = world.promobot("propose", *named(two, three), "--env", "dev")
    assert more.code == 1
    assert [p["model"] for p in more.document["proposals"]] == [three.model], "the other has an open proposal"
    assert world.pull(more.document["pull_request"])["head"]["ref"] == f"promobot/dev/{three.model}"
    assert f"#{pull['number']} proposes version 1 already" in json.dumps(more.document["left_out"])


@pytest.mark.slow
def test_one_of_several_that_conflicts_with_main_is_renewed_with_all_of_them(world: World) -> None:
    alone, *together = several(world, 3)
    number = int(world.proposed(alone)["number"])
    said = world.promobot("propose", *named(*together), "--env", "dev")
    many = said.document["pull_request"]
    for pull in (number, many):
        assert all(one.code == 0 for one in world.check(pull))
    world.merge(number)
    deployed = world.words("deploy", "--env", "dev")
    assert f"#{many} conflicted with main and is written anew on it" in deployed.err
    assert all(one.code == 0 for one in world.check(many))
    assert world.sticky(many).count("carried over from") == 4
    world.merge(many)
    assert world.deploy().code == 0
    assert {world.version(each.model) for each in (alone, *together)} == {1}


@pytest.mark.slow
def test_where_main_moved_one_of_several_the_comment_says_how_the_others_go_on(world: World) -> None:
    one, two, three = several(world, 3)
    number = world.promobot("propose", *named(one, two, three), "--env", "dev").document["pull_request"]
    world.desire(one.model, world.register(one.model, "better").entry)
    assert f"#{number} conflicts with main and is left as it is" in world.words("deploy", "--env", "dev").err
    (told,) = [body for body in world.comments(number) if "This conflicts with main" in body]
    assert "or close this, and propose the others again:" in told
    (typed,) = [line for line in told.splitlines() if line.startswith("promobot propose ")]
    assert set(typed.split()[2:4]) == set(named(two, three)) and typed.endswith(" --env dev")
    world.api("PATCH", f"/pulls/{number}", {"state": "closed"})
    again = world.promobot(*typed.split()[1:])
    assert (again.code, again.document["action"], len(again.document["proposals"])) == (0, "opened", 2)


@pytest.mark.slow
def test_a_persons_word_on_the_branch_of_several_is_named_in_the_verdict(world: World) -> None:
    versions = several(world, 2)
    pull = world.pull(world.promobot("propose", *named(*versions), "--env", "dev").document["pull_request"])
    branch = pull["head"]["ref"]
    world.git("fetch", "--quiet", "origin", branch)
    world.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
    path = world.clone / "promotions/dev.yaml"
    path.write_text(path.read_text() + "# more\n")
    world.git("commit", "--quiet", "--all", "--message", "More")
    world.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    assert world.check(pull["number"])[-1].code == 1
    assert "is a branch of the bot, and changes more than was proposed" in world.sticky(pull["number"])
    said = world.promobot("propose", *named(*versions), "--env", "dev")
    assert said.code == 1 and "a commit that is a person's" in said.document["error"]
