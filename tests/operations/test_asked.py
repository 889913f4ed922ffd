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


def share(**configs: str) -> Any:
    there = {name.replace("_", "."): text for name, text in configs.items()}

    def config(name: str) -> str | None:
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


@pytest.mark.parametrize("broken", ["", "not UTF-8", "{", PYTHON.format(""), PYTHON.format("ranker:latest")])
def test_where_it_cannot_be_read_the_records_say_it(broken: str) -> None:
    of = SimpleNamespace(digest="sha256:b")

    def record(name: str, version: int) -> Any:
        return SimpleNamespace(verified=True, bundle=of, after=SimpleNamespace(version=version), published_as=name)

    there = share(**({"fraud_aaaaaaaa": broken} if broken else {}))
    records = [record("tokenizer", 3), record("ranker.bbbbbbbb", 1), record("fraud.aaaaaaaa", 7)]
    assert asked_by(there, records, [TABLE]) == {("ranker.bbbbbbbb", 1), ("tokenizer", 3)}


def test_a_load_and_a_withdrawal_leave_what_is_asked_loaded() -> None:
    there = share(fraud_aaaaaaaa=STEPS.format("tokenizer", 2))
    run: Any = SimpleNamespace(systems=SimpleNamespace(share=there), history=[])
    routes = {**TABLE.models, "tokenizer": Route(Target("tokenizer", 3, DIGEST))}
    needed = needed_under(run, RouteTable("dev", 2, routes))
    assert needed == {"tokenizer": {2, 3}, "fraud.aaaaaaaa": {7}, "fraud-shadow": {8}}
