"""What is in service asks parts, and these stay loaded, whatever the settings and the records say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bot.domain.routes import Route, RouteTable, Target
from bot.errors import Rejected
from bot.operations.asked import asked_by
from bot.operations.deployment.loading import needed_under

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


def record(name: str, version: int, digest: str = "", *, bundle: str = "") -> Any:
    of = SimpleNamespace(digest=bundle) if bundle else None
    after = SimpleNamespace(version=version, digest=digest)
    return SimpleNamespace(verified=True, bundle=of, after=after, published_as=name if bundle else "")


def test_what_was_only_ever_verified_alone_is_not_read() -> None:
    """Users wait for each of these while they are put back, on a network file system."""
    read: list[str] = []
    alone = {f"model-{number}": f"sha256:{number:064}" for number in range(50)}
    routes = {model: Route(Target(model, 1, digest)) for model, digest in alone.items()}
    table = RouteTable("dev", 1, {**routes, "fraud": Route(Target("fraud.aaaaaaaa", 7, DIGEST))})
    records = [record(model, 1, digest) for model, digest in alone.items()]
    there = share(read, fraud_aaaaaaaa=STEPS.format("tokenizer", 3))
    for also in ([], [record("fraud.aaaaaaaa", 7, DIGEST), record("fraud.aaaaaaaa", 7, DIGEST, bundle="sha256:b")]):
        assert asked_by(there, [*records, *also], [table]) == {("tokenizer", 3)}
        assert set(read) == {"fraud.aaaaaaaa", "tokenizer"}


@pytest.mark.parametrize("broken", ["", "not UTF-8", "{", PYTHON.format(""), PYTHON.format("ranker:latest")])
def test_where_it_cannot_be_read_the_records_say_it(broken: str) -> None:
    there = share(**({"fraud_aaaaaaaa": broken} if broken else {}))
    asked = [("tokenizer", 3), ("ranker.bbbbbbbb", 1), ("fraud.aaaaaaaa", 7)]
    records = [record(name, version, bundle="sha256:b") for name, version in asked]
    assert asked_by(there, records, [TABLE]) == {("ranker.bbbbbbbb", 1), ("tokenizer", 3)}


def test_a_load_and_a_withdrawal_leave_what_is_asked_loaded() -> None:
    there = share(fraud_aaaaaaaa=STEPS.format("tokenizer", 2))
    run: Any = SimpleNamespace(systems=SimpleNamespace(share=there), history=[])
    routes = {**TABLE.models, "tokenizer": Route(Target("tokenizer", 3, DIGEST))}
    needed = needed_under(run, RouteTable("dev", 2, routes))
    assert needed == {"tokenizer": {2, 3}, "fraud.aaaaaaaa": {7}, "fraud-shadow": {8}}
