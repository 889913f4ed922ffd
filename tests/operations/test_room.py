"""What loading takes is measured on staging, shown beside the version in service, and holds what has no room."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from bot.domain.release import Slot
from bot.sandbox.platform import BOT
from tests.operations.world import HTTP, MANIFEST, World, rows_of
from tests.stand_ins.server import Seen, StandIn, answer

GIB = 2**30


class Machine:
    """The metrics of one Triton's machine, on which each model that the real Triton has loaded takes one GiB."""

    def __init__(self, http: str) -> None:
        self.total = 64 * GIB
        self.works = True
        self._http, self._looks = http, itertools.count()

    @property
    def used(self) -> int:
        index = HTTP.post(f"{self._http}/v2/repository/index", json={}).json()
        return GIB * (1 + sum(entry.get("state") == "READY" for entry in index))

    def __call__(self, _: Seen) -> bytes:
        if not self.works:
            return answer(503)
        gauges = {
            "nv_cpu_utilization": next(self._looks),
            "nv_cpu_memory_total_bytes": self.total,
            "nv_cpu_memory_used_bytes": self.used,
        }
        return answer(200, "".join(f"{name} {value}\n" for name, value in gauges.items()).encode())


@contextmanager
def machines(world: World) -> Iterator[tuple[Machine, Machine]]:
    """Give the machines of the staging Triton and of dev's; the checkout's settings name their metrics."""
    document: dict[str, Any] = yaml.safe_load((world.root / MANIFEST.format("dev")).read_text())
    (serving,), staging = document["tritons"], document["staging"]
    of_staging, of_serving = Machine(f"http://{staging['triton']['http']}"), Machine(f"http://{serving['http']}")
    with StandIn(of_staging) as one, StandIn(of_serving) as other:
        measured = {**staging["triton"], "metrics": f"127.0.0.1:{one.port}"}
        world.configure("dev", staging={"triton": measured})
        world.configure("dev", tritons=[{**serving, "metrics": f"127.0.0.1:{other.port}"}])
        yield of_staging, of_serving


def proposed(world: World, model: str, recipe: str) -> int:
    number = int(world.proposed(world.register(model, recipe))["number"])
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0]
    return number


def test_what_loading_takes_is_measured_shown_and_holds_what_has_no_room(world: World) -> None:
    model = world.model()
    world.configure("dev", keep={"warm": 0})  # so that the way back loads anew
    with machines(world) as (_, serving):
        number = proposed(world, model, "first")
        taken = list(rows_of(world.sticky(number), "| loading on staging took"))
        assert [list(row) for row in taken[1:]] == [["proposed", "1.00 GiB", "–"]]
        (evidence,) = world.ledger().all_evidence(model)
        assert evidence.memory is not None and (evidence.memory.main, evidence.memory.problem) == (GIB, "")
        shown = world.words("evidence", "show", model, "1", "--env", "dev").out
        assert "loading took 1.00 GiB of main memory" in shown
        assert "of 64.00 GiB free in main memory" in world.words("doctor", "--env", "dev").out
        world.merge(number)
        assert world.deploy().code == 0

        number = proposed(world, model, "better")
        taken = list(rows_of(world.sticky(number), "| loading on staging took"))
        assert [list(row)[:2] for row in taken[1:]] == [["proposed", "1.00 GiB"], ["in service", "1.00 GiB"]]
        world.merge(number)

        serving.total = serving.used + GIB // 2
        said = world.words("deploy", "--env", "dev")
        assert said.code == 1
        why = "triton-dev-1 has no room for it beside what is loaded there: loading took 1.00 GiB on staging, and "
        first = said.out.splitlines()[0]
        assert first.startswith(f"held: {model} 1 → 2 in dev, version 1 goes on answering: {why}512.0 MiB of ")
        status = world.bot("status", "--env", "dev").document
        assert [one["hold"]["cause"] for one in status["environments"][0]["held"]] == ["room"]
        assert world.version(model) == 1 and world.quarantined(model) == [] and len(world.records(model)) == 1
        assert world.reverts(model) == []

        serving.total = 64 * GIB
        assert world.deploy().code == 0
        assert world.version(model) == 2

        serving.total = 1
        back = world.bot("rollback", model, "--env", "dev", "--now", "--reason", "users complain")
        assert back.code == 0 and world.version(model) == 1, "a way back is never held"


def test_what_is_not_known_holds_nothing(world: World) -> None:
    model = world.model()
    with machines(world) as (staging, serving):
        staging.works = False
        number = proposed(world, model, "first")
        comment = world.sticky(number).replace("\\", "")
        assert "How much memory loading takes is not known: Triton triton-staging" in comment
        assert "could not read its metrics: HTTP 503" in comment
        (evidence,) = world.ledger().all_evidence(model)
        assert evidence.memory is not None and evidence.memory.main is None
        serving.total = 1
        world.merge(number)
        assert world.deploy().code == 0, "nobody knows what it takes"

        staging.works, serving.works = True, False
        world.merge(proposed(world, model, "better"))
        assert world.deploy().code == 0, "nobody knows what is free"
        assert world.version(model) == 2
        of = world.ledger().evidence_of(Slot.of("dev", model, "models"), world.records(model)[-1].after.digest)  # type: ignore[union-attr]
        assert next(of).memory is not None


def test_a_real_triton_gives_up_one_version_before_it_loads_the_next(world: World) -> None:
    model = world.model()
    world.configure("dev", rollout={model: {"replace": "in place with an outage"}})
    world.served(world.register(model))
    assert world.loaded("dev") == [f"{model} 1"]
    world.merged(world.register(model, "better"))
    said = world.words("deploy", "--env", "dev", login=BOT)
    assert said.code == 0, said
    assert f"triton-dev-1: unloading {model}, to make room for {model} 2" in said.err
    assert world.loaded("dev") == [f"{model} 2"] and world.version(model) == 2
    record = world.records(model)[-1]
    proofs = {criterion.name: criterion.proof for criterion in record.criteria}
    assert proofs["triton_loaded"] == f"{model} 2 READY on triton-dev-1, in the place of the version before"
    assert record.outcome == "succeeded"

    world.configure("dev", rollout={model: {"replace": "in place"}})
    world.merged(world.register(model, "best"))
    said = world.words("deploy", "--env", "dev", login=BOT)
    held = f"held: {model} 2 → 3 in dev, version 2 goes on answering: {model} is replaced in place, and dev has one"
    assert said.code == 1 and said.out.startswith(held), said
    back = world.bot("rollback", model, "--env", "dev", "--to", 1, "--now", "--reason", "users complain")
    assert back.code == 0 and world.loaded("dev") == [f"{model} 1"], "a way back is never held"
