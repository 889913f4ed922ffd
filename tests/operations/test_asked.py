"""What is in service asks parts, and these stay loaded, whatever the settings and the records say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from bot.domain.bundle import Bundle, Part
from bot.domain.desired import Change, Desired, Entry
from bot.domain.golden import Disagreement
from bot.domain.plan import Live, Plan, plan
from bot.domain.release import Slot
from bot.domain.routes import Route, RouteTable, Target
from bot.errors import Rejected
from bot.operations.asked import asked_by, in_use
from bot.operations.deployment import repair as repairing
from bot.operations.deployment.loading import _load_whole, needed_under
from bot.operations.deployment.publishing import fresh_name
from bot.operations.deployment.repair import Repairs, repair
from bot.operations.deployment.run import Run

if TYPE_CHECKING:
    from bot.platform import Serving
    from bot.settings import Environment
    from bot.systems.triton.server import TritonServer

DIGEST = "sha256:" + "a" * 64
STEPS = 'platform: "ensemble" ensemble_scheduling {{ step [{{ model_name: "{}" model_version: {} }}] }}'
PYTHON = 'backend: "python" parameters {{ key: "BUNDLE_ranker" value {{ string_value: "{}" }} }}'
ALONE = 'backend: "onnxruntime"'
TABLE = RouteTable("dev", 1, {"fraud": Route(Target("fraud.aaaaaaaa", 7, DIGEST), Target("fraud-shadow", 8, DIGEST))})


def share(read: list[str] | None = None, **configs: str) -> Any:
    there = {name.replace("_", "."): text for name, text in configs.items()}

    def config(name: str) -> str | None:
        if read is not None:
            read.append(name)
        if there.get(name) == "not UTF-8":
            raise Rejected("it is not UTF-8", system="model repository")
        return there.get(name)

    versions = {"tokenizer": [2, 3], "ranker.bbbbbbbb": [1]}
    return SimpleNamespace(models=SimpleNamespace(config=config, versions=lambda name: versions.get(name, [])))


def test_the_published_configuration_says_what_is_asked_also_by_what_is_asked() -> None:
    there = share(
        fraud_aaaaaaaa=PYTHON.format("ranker.bbbbbbbb:1"),
        ranker_bbbbbbbb=STEPS.format("tokenizer", 3),
        tokenizer=ALONE,
    )
    assert asked_by(there, [], [TABLE]) == {("ranker.bbbbbbbb", 1), ("tokenizer", 3)}


def test_a_version_that_is_not_on_the_share_is_not_named_to_triton() -> None:
    assert asked_by(share(fraud_aaaaaaaa=STEPS.format("tokenizer", 9)), [], [TABLE]) == frozenset()


OF = Bundle(
    name="fraud",
    parts=tuple(
        Part(model=model, version=version, digest=DIGEST, run="abc")
        for model, version in (("tokenizer", 3), ("ranker", 1), ("fraud", 7))
    ),
)


def record(name: str, version: int, digest: str = "", *, bundle: Bundle | None = None) -> Any:
    after, model = SimpleNamespace(version=version, digest=digest), name.partition(".")[0]
    return SimpleNamespace(
        verified=True,
        bundle=bundle,
        after=after,
        published_as=name if bundle else "",
        model=model,
        section="models",
        slot=Slot.of("dev", model, "models"),
    )


def test_what_was_only_ever_verified_alone_is_not_read() -> None:
    """Users wait for each of these while they are put back, on a network file system."""
    read: list[str] = []
    alone = {f"model-{number}": f"sha256:{number:064}" for number in range(50)}
    routes = {model: Route(Target(model, 1, digest)) for model, digest in alone.items()}
    table = RouteTable("dev", 1, {**routes, "fraud": Route(Target("fraud.aaaaaaaa", 7, DIGEST))})
    records = [record(model, 1, digest) for model, digest in alone.items()]
    there = share(read, fraud_aaaaaaaa=STEPS.format("tokenizer", 3))
    for also in ([], [record("fraud.aaaaaaaa", 7, DIGEST), record("fraud.aaaaaaaa", 7, DIGEST, bundle=OF)]):
        assert asked_by(there, [*records, *also], [table]) == {("tokenizer", 3)}
        assert set(read) == {"fraud.aaaaaaaa", "tokenizer"}


@pytest.mark.parametrize("broken", ["", "not UTF-8", "{", PYTHON.format(""), PYTHON.format("ranker:latest")])
def test_where_it_cannot_be_read_the_records_say_it(broken: str) -> None:
    there = share(**({"fraud_aaaaaaaa": broken} if broken else {}))
    asked = [("tokenizer", 3), ("ranker.bbbbbbbb", 1), ("fraud.aaaaaaaa", 7)]
    records = [record(name, version, bundle=OF) for name, version in asked]
    assert asked_by(there, records, [TABLE]) == {("ranker.bbbbbbbb", 1), ("tokenizer", 3)}


def test_a_load_and_a_withdrawal_leave_what_is_asked_loaded() -> None:
    there = share(fraud_aaaaaaaa=STEPS.format("tokenizer", 2))
    run: Any = SimpleNamespace(systems=SimpleNamespace(share=there), history=[])
    routes = {**TABLE.models, "tokenizer": Route(Target("tokenizer", 3, DIGEST))}
    needed = needed_under(run, RouteTable("dev", 2, routes))
    assert needed == {"tokenizer": {2, 3}, "fraud.aaaaaaaa": {7}, "fraud-shadow": {8}}


def test_what_is_asked_is_in_use_before_what_asks_it_also_where_it_is_gone() -> None:
    there = share(fraud_aaaaaaaa=STEPS.format("tokenizer", 9))
    needed = in_use(there, [record("tokenizer", 9, DIGEST, bundle=OF)], TABLE)
    assert [what.target for what in needed.everything] == [
        Target("fraud-shadow", 8, DIGEST),
        Target("tokenizer", 9, DIGEST),
        Target("fraud.aaaaaaaa", 7, DIGEST),
    ]
    assert [(what.target.triton_model, what.why) for what in needed.only_asked] == [
        ("tokenizer", "asked by fraud.aaaaaaaa 7")
    ]


class FakeTriton:
    """Notes what it is asked to load and to unload."""

    name = "triton-1"

    def __init__(self) -> None:
        self.done: list[str] = []

    def load(self, model: str, **_: float) -> None:
        self.done.append(f"load {model}")

    def unload(self, model: str) -> None:
        self.done.append(f"unload {model}")

    def wait_ready(self, *_: Any, **__: float) -> list[Any]:
        return []


ASKED, ASKS = Target("tokenizer", 3, "sha256:" + "b" * 64), Target("fraud.aaaaaaaa", 7, DIGEST)
OTHER = Target("ranker", 1, "sha256:" + "c" * 64)
ROUTES = RouteTable("dev", 1, {"fraud": Route(ASKS), "ranker": Route(OTHER)})
HISTORY = [
    record("tokenizer", 3, ASKED.digest, bundle=OF),
    record("ranker", 1, OTHER.digest, bundle=OF),
    record("fraud.aaaaaaaa", 7, DIGEST, bundle=OF),
]


class FakeRun(Run):
    """A run over a share that is told which published versions are damaged."""

    def __init__(self, triton: FakeTriton, *damaged: str) -> None:
        there = share(fraud_aaaaaaaa=STEPS.format("tokenizer", 3), tokenizer=ALONE, ranker=ALONE)

        def wrong_bytes(_: object, *, triton_model: str, **__: int) -> list[str]:
            return ["model.onnx has other bytes"] if triton_model in damaged else []

        there.models.wrong_bytes = wrong_bytes
        described = SimpleNamespace(package=None, config=ALONE, smoke=SimpleNamespace(cases=()))
        there.packages = SimpleNamespace(described=lambda _: described)
        there.routes = SimpleNamespace(read=lambda _: ROUTES)
        self.systems = cast("Serving", SimpleNamespace(share=there, tritons=[triton], gateways=[]))
        deadlines = SimpleNamespace(load_seconds=1)
        settings = SimpleNamespace(deadlines=deadlines, environment="dev", replaces_in_place=lambda _: False)
        self.settings = cast("Environment", settings)
        self.ledger: Any = SimpleNamespace(evidence_of=lambda *_: iter(()))
        self._triton = triton

    @property
    def history(self) -> Any:
        return HISTORY

    def map(self, things: Any, work: Any, **_: Any) -> list[Any]:
        return [work(thing) for thing in things]

    def triton(self, _: Any) -> Any:
        return self._triton


def test_a_triton_that_comes_up_gets_what_is_asked_before_what_asks_it() -> None:
    triton = FakeTriton()
    run = FakeRun(triton)
    _load_whole(run, run.in_use(ROUTES), cast("TritonServer", triton))
    assert sorted(triton.done[:2]) == ["load ranker", "load tokenizer"]
    assert triton.done[2:] == ["load fraud.aaaaaaaa"]


def test_what_asks_something_damaged_is_not_loaded_for_triton_loads_that_with_it() -> None:
    triton = FakeTriton()
    run = FakeRun(triton, "tokenizer")
    _load_whole(run, run.in_use(ROUTES), cast("TritonServer", triton))
    assert triton.done == ["load ranker"]


def test_nothing_is_published_beside_something_damaged_that_is_asked() -> None:
    change = Change("dev", "models", "tokenizer", None, Entry(version=4, digest=DIGEST, run="abc"))
    described: Any = SimpleNamespace(package=None, config=ALONE)
    assert fresh_name(FakeRun(FakeTriton()), change, described, leaves=None) == "tokenizer"
    name = fresh_name(FakeRun(FakeTriton(), "tokenizer"), change, described, leaves=None)
    assert name.startswith("tokenizer.")


def lost(run: FakeRun) -> Plan:
    """Return what a Triton needs that restarted: all of it."""
    needed = run.in_use(ROUTES)
    live = Live(ROUTES, {"triton-1": frozenset()}, {}, {})
    return plan(Desired(environment="dev"), live, known={}, asked=[what.target for what in needed.only_asked])


def repaired(monkeypatch: pytest.MonkeyPatch, *wrong: str) -> tuple[FakeTriton, Repairs]:
    triton = FakeTriton()
    run = FakeRun(triton)
    differs = Disagreement("one", "Y[0]: 1 instead of 2", as_staging=False)

    def wrong_there(target: Target, *_: object) -> list[Disagreement]:
        return [differs] if target.triton_model in wrong else []

    monkeypatch.setattr(repairing, "wrong_on_triton", wrong_there)
    return triton, repair(run, lost(run), run.in_use(ROUTES), ROUTES)


def test_a_triton_that_restarted_gets_back_what_is_asked_though_no_route_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    triton, found = repaired(monkeypatch)
    assert found.problems == []
    assert sorted(triton.done[:2]) == ["load ranker", "load tokenizer"]
    assert triton.done[2:] == ["load fraud.aaaaaaaa"]
    assert "loaded tokenizer 3 on triton-1 again, which did not have it" in found.done


def test_what_asks_a_part_that_answers_wrong_is_taken_off_again(monkeypatch: pytest.MonkeyPatch) -> None:
    triton, found = repaired(monkeypatch, "tokenizer")
    assert [said for said in triton.done if said.startswith("unload")] == ["unload fraud.aaaaaaaa"]
    wrong, asks = found.problems
    assert "tokenizer 3 was loaded again" in wrong
    assert "fraud.aaaaaaaa 7 is not loaded: it asks tokenizer 3, which was not repaired" in asks
