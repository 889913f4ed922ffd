"""``promobot report`` on the records of real deployments, and what ``explain`` says of the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tests.operations.test_canary import step, stepping
from tests.operations.test_deploy import GATEWAYS, asks_another_triton
from tests.operations.test_origins import released
from tests.operations.world import World


def reported(world: World, model: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the numbers of a model, and its deliveries, oldest first."""
    said = world.promobot("report", "--since", "1h", "--env", "dev")
    assert said.code == 0, said
    (found,) = said.document["environments"]
    (of_model,) = [one["numbers"] for one in found["models"] if one["name"] == model]
    return of_model, [one for one in found["deliveries"] if one["name"] == model]


def seconds(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_real_deployments_read_right(world: World) -> None:
    model = world.model()
    numbers = [released(world, world.register(model))]
    assert world.deploy().code == 0
    second = world.register(model, "better")
    numbers.append(released(world, second))
    assert world.deploy().code == 0
    back = world.bot("rollback", model, "--env", "dev", "--now", "--by", "kim", "--reason", "wrong answers")
    assert back.code == 0, back
    world.merge(back.document["pull_request"])
    assert world.deploy().code == 0
    world.merged(world.register(model, "best"))
    world.restart(GATEWAYS[1], *asks_another_triton(world))
    assert world.deploy().code == 1

    of_model, found = reported(world, model)
    records = world.records(model)
    assert [(one["kind"], one["result"]) for one in found] == [
        ("release", "served"),
        ("release", "served"),
        ("way back", "served"),
        ("release", "put back"),
    ]
    assert [one["records"] for one in found] == [[record.id] for record in records]
    assert [one["origin"] and one["origin"]["pull_request"] for one in found][:3] == [*numbers, None]
    assert (of_model["releases"], of_model["by_people"], of_model["ways_back"]) == (2, 2, 1)
    assert of_model["change_failures"] == {"count": 2, "of": 3, "rate": 2 / 3}
    for name in ("lead_time", "waiting_for_review"):
        assert (of_model[name]["known"], of_model[name]["of"]) == (2, 2)
    first = found[0]
    lead = seconds(first["origin"]["registered_at"], first["ended_at"])
    assert lead > 0 and of_model["lead_time"]["median_seconds"] >= 0
    assert (of_model["time_to_restore"]["known"], of_model["time_to_restore"]["of"]) == (2, 2)

    rolled_back, put_back = found[1]["back"], found[3]["back"]
    assert (rolled_back["how"], rolled_back["record"]) == ("rolled back", records[2].id)
    assert records[1].finished_at < datetime.fromisoformat(rolled_back["asked_at"]) < records[2].finished_at
    assert (put_back["how"], put_back["record"]) == ("put back", records[3].id)
    assert put_back["asked_at"] is not None, "the record says when it was switched"
    assert records[3].started_at < datetime.fromisoformat(put_back["asked_at"])
    assert datetime.fromisoformat(put_back["asked_at"]) < datetime.fromisoformat(put_back["at"])
    assert datetime.fromisoformat(put_back["at"]) <= records[3].finished_at

    words = world.words("report", "--since", "1h", "--env", "dev").out
    (row,) = [line for line in words.splitlines() if line.startswith(f"{model} ")]
    assert row.split()[1:6] == ["2", "67", "%", "(2", "of"]
    assert f"rolled back by {records[2].id}; users had it for" in words

    words = world.words("explain", second.digest, "--env", "dev").out
    for said in (f"({records[1].id}), ", " after its registration", f"#{numbers[1]} waited ", " for its review"):
        assert said in words, words
    assert f"failed users: rolled back by {records[2].id}; users had it for " in words


def test_a_rollout_counts_once_from_its_first_step_to_all_users(world: World) -> None:
    model = stepping(world)
    world.served(world.register(model))
    world.merged(world.register(model, "better"))
    assert world.deploy().code == 0
    begun = world.records(model)[-1]
    of_model, found = reported(world, model)
    assert (of_model["releases"], of_model["under_way"], found[-1]["result"]) == (1, 1, "under way")
    for percent in (50, 100):
        assert step(world, model, percent, rollout=begun.id).records
    of_model, found = reported(world, model)
    assert (of_model["releases"], of_model["under_way"]) == (2, 0)
    assert found[-1]["records"] == [record.id for record in world.records(model)[1:]]
    reached, ended = (datetime.fromisoformat(found[-1][name]) for name in ("reached_at", "ended_at"))
    assert reached <= begun.finished_at < ended <= world.records(model)[-1].finished_at
