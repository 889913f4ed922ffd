"""The published JSON Schemas are those of the code, and mean the same."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bot import environment_files, schemas, settings
from bot.domain import desired, yamltext
from bot.errors import InvalidInput

PROJECT = Path(__file__).parents[1]
DIGEST = "sha256:" + "1" * 64
ENTRY = {"version": 1, "digest": DIGEST, "run": "r1"}


@cache
def generated() -> dict[str, str]:
    return schemas.generate()


@cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    schema = yaml.safe_load(generated()[f"{kind}.schema.json"])
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_command_writes_them(tmp_path: Path) -> None:
    elsewhere = (
        "import pathlib, sys; from bot import schemas; schemas.FOLDER = pathlib.Path(sys.argv[1]); schemas.main()"
    )
    command = [sys.executable, "-c", elsewhere, str(tmp_path / "docs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    folder = tmp_path / "docs"
    written = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.json")}
    assert written == generated()
    assert done.stdout.split() == [str(tmp_path / "docs" / name) for name in generated()]


def each_property(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
    for name, child in schema.get("$defs", {}).items():
        yield from each_property(child, name)


@pytest.mark.parametrize("kind", ["promotions", "environment", "case"])
def test_every_key_is_described(kind: str) -> None:
    schema = validator(kind).schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    assert schema["description"]
    for path, child in each_property(schema):
        assert child.get("description"), path
    for name, part in schema["$defs"].items():
        assert part["description"], name
        assert part["additionalProperties"] is False, name


def read(text: str, *, kind: str) -> bool:
    """Whether the code accepts the text."""
    try:
        if kind == "promotions":
            desired.parse(text, file="f")
        else:
            environment_files.parse(text, file="f", environment="dev")
    except InvalidInput:
        return False
    return True


def of_promotions(**changes: Any) -> dict[str, Any]:
    return {
        "environment": "dev",
        "models": {"churn": ENTRY},
        "shadow": {"churn": {**ENTRY, "reason": "x"}},
        **changes,
    }


@pytest.mark.parametrize(
    ("document", "accepted"),
    [
        (of_promotions(), True),
        ({"environment": "dev"}, True),
        (of_promotions(models=None, shadow={}), True),
        (of_promotions(models={"churn": {**ENTRY, "reason": ""}}), True),
        (of_promotions(models={"on": ENTRY, "x" * 63: ENTRY}), True),
        (of_promotions(models={"churn": {**ENTRY, "version": 2**31 - 1}}), True),
        ({}, False),
        ([], False),
        (of_promotions(environment="Dev"), False),
        (of_promotions(environment=None), False),
        (of_promotions(environment="x" * 32), False),
        (of_promotions(extra=1), False),
        (of_promotions(models=[]), False),
        (of_promotions(models=0), False),
        (of_promotions(models={"churn": None}), False),
        (of_promotions(models={"churn": {**ENTRY, "reason": "only shadows have one"}}), False),
        (of_promotions(shadow={"churn": {**ENTRY, "reason": "x" * 501}}), False),
        (of_promotions(shadow={"churn": {**ENTRY, "reason": 1}}), False),
        (of_promotions(models={"churn": {**ENTRY, "more": 1}}), False),
        *((of_promotions(models={name: ENTRY}), False) for name in ("churn-shadow", "../x", "X", "", "-x", "x" * 64)),
        *((of_promotions(shadow={name: ENTRY}), False) for name in ("churn-shadow", "../x", "X", "", "-x", "x" * 64)),
        *((of_promotions(models={"churn": {**ENTRY, "version": v}}), False) for v in (0, -1, 2**31, "1", 1.5, True)),
        *((of_promotions(models={"churn": {**ENTRY, "digest": d}}), False) for d in (DIGEST[:-1], DIGEST[7:], "", 1)),
        *(
            (of_promotions(models={"churn": {**ENTRY, "run": r}}), False)
            for r in ("", "-x", "a/b", "x" * 65, 7, None)
        ),
        *(
            (of_promotions(models={"churn": {k: v for k, v in ENTRY.items() if k != left_out}}), False)
            for left_out in ENTRY
        ),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_promotions_mean_the_same_to_code_and_schema(document: Any, accepted: bool) -> None:
    text = json.dumps(document)  # which is YAML, too
    assert yamltext.read(text, file="f").plain() == document  # both judge the same
    assert read(text, kind="promotions") is accepted
    assert validator("promotions").is_valid(document) is accepted


DEV: dict[str, Any] = yaml.safe_load((PROJECT / "manifests/environments/dev.yaml").read_text())
# What a schema cannot say: a gate that only measured numbers can answer needs a set to measure on.
DEV["evaluation"] = {"default": {"digest": f"sha256:{'5' * 64}", "from": "runs:/r/evaluation"}}


def of_environment(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(DEV)
    *folders, last = path.split(".")
    place: Any = document
    for step in folders:
        place = place[int(step)] if step.isdecimal() else place[step]
    if value is Ellipsis:
        del place[last]
    else:
        place[last] = value
    return document


ACCURACY = "gates.churn.metrics.accuracy"


@pytest.mark.parametrize(
    ("path", "value", "accepted"),
    [
        ("environment", "dev", True),
        ("github.server_url", "http://127.0.0.1:8080", True),
        ("github.api_url", "https://forge.example/api/v3/", True),
        ("promotes_from", None, True),
        ("promotes_from", "test", True),
        *(
            ("promotes_from", value, accepted)
            for value, accepted in [
                ({"environment": "test"}, True),
                ({"environment": "test", "after": "24h", "when": "baked"}, True),
                ({"environment": "test", "after": "30m", "when": "verified"}, True),
                ({"environment": "test", "after": "7d"}, True),
                ({}, False),
                ({"after": "24h"}, False),
                ({"environment": "test", "after": "24 h"}, False),
                ({"environment": "test", "after": "0h"}, False),
                ({"environment": "test", "after": 24}, False),
                ({"environment": "test", "when": "soaked"}, False),
                ({"environment": "../x"}, False),
            ]
        ),
        ("merge", {"when": "checks pass"}, True),
        ("merge", {"when": "checks pass", "after_clean": 5}, True),
        ("merge", {"when": "always"}, False),
        ("merge", {"after_clean": 5}, False),
        ("merge", {"when": "checks pass", "after_clean": 0}, False),
        ("gates.churn.latency_budget_milliseconds", None, True),
        ("gates.churn.latency_budget_milliseconds", 0.5, True),
        ("mlflow.token_env", "MLFLOW_TOKEN", True),
        (ACCURACY, {"max_regression": 0}, True),
        (ACCURACY, {"minimum": -1, "maximum": None}, True),
        (ACCURACY, {"max_regression": 0.01, "confidence": 0.95}, True),
        (ACCURACY, {"minimum": 0.9, "confidence": None}, True),
        (ACCURACY, {"minimum": 0.9, "confidence": 0.95}, False),
        (ACCURACY, {"max_regression": None, "minimum": 0.9, "confidence": 0.95}, False),
        (ACCURACY, {"max_regression": 0.01, "confidence": 0.5}, False),
        (ACCURACY, {"max_regression": 0.01, "confidence": 1}, False),
        *(
            ("gates.churn.slices", value, accepted)
            for value, accepted in [
                (None, True),
                ({"by": ["region"], "max_regression": 0.03}, True),
                ({"by": ["region", "plan"], "metrics": {"accuracy": 0.03}, "on_unknown": "stop"}, True),
                ({"by": ["region"], "max_regression": 0.03, "min_rows": 50, "confidence": 0.9}, True),
                ({"by": ["region"]}, False),
                ({"by": ["region"], "metrics": {}}, False),
                ({"by": [], "max_regression": 0.03}, False),
                ({"by": "region", "max_regression": 0.03}, False),
                ({"by": ["region", "region"], "max_regression": 0.03}, False),
                ({"by": [""], "max_regression": 0.03}, False),
                ({"by": ["region"], "max_regression": 0.03, "min_rows": 1}, False),
                ({"by": ["region"], "max_regression": 0.03, "confidence": None}, False),
            ]
        ),
        *(("gates.churn.on_unknown", value, value in ("stop", "pass")) for value in ("stop", "pass", "shadow", None)),
        *(
            ("gates.churn.latency", value, accepted)
            for value, accepted in [
                ({"p50_milliseconds": 5, "max_p99_worse": 0.2}, True),
                ({"max_p50_worse": 0}, True),
                ({}, False),
                ({"p50_milliseconds": None}, False),
                ({"p99_milliseconds": 0}, False),
                ({"max_p99_worse": -0.1}, False),
                ({"p95_milliseconds": 5}, False),
            ]
        ),
        ("records", "/a/..b/c..", True),
        ("records", {"s3": {"bucket": "mlops"}}, True),
        ("records", {"s3": {"bucket": "mlops", "object_lock": {"days": 1}, "prefix": "a/b"}}, True),
        ("mlflow.s3", {"endpoint": "http://s3:8333"}, True),
        ("freezes", [{"start": "2026-12-24T00:00:00Z", "end": "2026-12-25T00:00:00Z", "reason": "x"}], True),
        *(
            ("windows", [value], accepted)
            for value, accepted in [
                ("Mon-Thu 10:00-16:00 Asia/Seoul", True),
                ("Mon–Thu,Sat 10:00–24:00 America/Argentina/Buenos_Aires", True),
                ("22:00-02:00 UTC", True),
                ("22:00-02:00 Etc/GMT+9", True),
                ("Mon-Thu 10:00-16:00", False),
                ("Mon - Thu 10:00-16:00 UTC", False),
                ("Mo 10:00-16:00 UTC", False),
                ("Mon 10:00-24:01 UTC", False),
                ("Mon 24:00-10:00 UTC", False),
                ("Mon 10:00-16:00 ../UTC", False),
                (" Mon 10:00-16:00 UTC", False),
                (10, False),
            ]
        ),
        ("packages", {"backends": ["python"]}, True),
        ("deadlines", {}, True),
        ("environment", "../dev", False),
        ("environment", ..., False),
        ("github", ..., False),
        ("staging", ..., False),
        ("gates", {}, False),
        ("gates", {"churn-shadow": DEV["gates"]["churn"]}, False),
        ("gates", {"../x": DEV["gates"]["churn"]}, False),
        *(
            ("gates", {key: DEV["gates"]["churn"]}, accepted)
            for key, accepted in [
                *((key, True) for key in ("default", "fraud-*", "*-eu", "a*b*", "*-", "x" * 62 + "*")),
                *((key, False) for key in ("*", "**", "Fraud-*", "-*", "x" * 63 + "*", "fraud.*")),
            ]
        ),
        ("mlflow_names", {"model-a": "prod.fraud.Model-A", "fraud": "Fraud", "score": "credit score v2"}, True),
        ("mlflow_names", {"churn": "churn_모델", "risk": "catalog.schema.model", "x": 'it\'s "so"'}, True),
        *(
            ("mlflow_names", {"a": bad}, False)
            for bad in ("", "a/b", "a:b", "x" * 257, " a", "a ", ".", "..", "a\tb")
        ),
        ("mlflow_names", {"Model-A": "Model-A"}, False),
        ("gates.churn.metrics", {}, False),
        ("gates.churn.on_miss", "ship", False),
        ("gates.churn.latency_budget_milliseconds", 0, False),
        (ACCURACY, {}, False),
        (ACCURACY, {"lower_is_better": True}, False),
        (ACCURACY, {"minimum": None}, False),
        (ACCURACY, {"minimum": "0.9"}, False),
        (ACCURACY, {"minimum": True}, False),
        (ACCURACY, {"max_regression": -0.1}, False),
        *(
            ("evaluation", {"churn": {"digest": f"sha256:{'5' * 64}", **value}}, accepted)
            for value, accepted in [
                ({}, False),
                ({"from": "runs:/r/evaluation"}, True),
                ({"from": "runs:/r/a/b.c", "s3": None}, True),
                ({"from": "runs:/r"}, False),
                ({"from": "runs:/r/../x"}, False),
                ({"from": "runs:/r//x"}, False),
                ({"from": "s3://mlops/x"}, False),
                ({"s3": {"bucket": "mlops", "prefix": "x"}}, True),
                ({"s3": {"bucket": "mlops"}}, False),
                ({"s3": {"bucket": "mlops", "prefix": "x"}, "from": "runs:/r/x"}, False),
                (
                    {"from": "runs:/r/x", "output": "p", "metrics": {"accuracy": "f1"}, "tolerance": 0},
                    True,
                ),
                ({"from": "runs:/r/x", "threshold": 1}, False),
                ({"from": "runs:/r/x", "tolerance": -1}, False),
                ({"from": "runs:/r/x", "metrics": {"a": ""}}, False),
                ({"from": "runs:/r/x", "show_inputs": 1}, False),
                ({"from": "runs:/r/x", "costs": {"per_unit": 2}}, True),
                ({"from": "runs:/r/x", "costs": {"per_unit": 0}}, False),
                ({"from": "runs:/r/x", "costs": {"false_positive": 1, "false_negative": 20}}, True),
                ({"from": "runs:/r/x", "costs": {"false_positive": 1}}, False),
                ({"from": "runs:/r/x", "costs": {"false_positive": 1, "false_negative": 1, "per_unit": 1}}, False),
                ({"from": "runs:/r/x", "costs": {}}, False),
                ({"from": "runs:/r/x", "batch_rows": 0}, False),
            ]
        ),
        (ACCURACY, {"minimum": 0.9, "more": 1}, False),
        ("github.repository", "acme", False),
        ("github.repository", "../..", False),
        ("github.server_url", "github.com", False),
        ("github.server_url", "https://bot:secret@github.com", False),
        ("mlflow.uri", "file:///x", False),
        ("mlflow.uri", "http://a b", False),
        ("mlflow.token_env", "lower", False),
        ("records", "relative", False),
        ("records", "s3://mlops/dev", False),
        ("records", {}, False),
        ("records", {"s3": {}}, False),
        ("records", {"s3": {"bucket": "mlops", "more": 1}}, False),
        ("records", {"s3": {"bucket": "mlops", "prefix": "../a"}}, False),
        ("records", {"s3": {"bucket": "mlops", "object_lock": {"days": 0}}}, False),
        ("mlflow.s3", {"bucket": "mlops"}, False),
        ("records", "/a/../b", False),
        ("records", "/..", False),
        ("records", "/a/..", False),
        ("tritons", [], False),
        ("tritons.0.grpc", "http://x:1", False),
        ("tritons.0.name", "A", False),
        ("gateways", [], False),
        ("gateways.0.url", ..., False),
        ("slack.channel", "#general", False),
        ("slack.token", "xoxb", False),
        ("packages", {"backends": []}, False),
        ("packages", {"max_bytes": 0}, False),
        ("deadlines", {"ready_seconds": 0}, False),
        ("deadlines", {"ready_seconds": "1"}, False),
        ("freezes", [{"start": "2026-12-24T00:00:00Z", "end": "2026-12-25T00:00:00Z"}], False),
        ("freezes", [{"start": 0, "end": 1, "reason": "x"}], False),
        ("freezes", {}, False),
    ],
)
def test_environments_mean_the_same_to_code_and_schema(path: str, value: Any, accepted: bool) -> None:
    document = of_environment(path, value)
    text = json.dumps(document)  # which is YAML, too
    assert yamltext.read(text, file="f").plain() == document
    assert read(text, kind="environment") is accepted
    assert validator("environment").is_valid(document) is accepted


@pytest.mark.parametrize("environment", environment_files.environments(PROJECT))
def test_the_committed_files_are_right(environment: str) -> None:
    for file, kind in ((settings.path_of(environment), "environment"), (desired.path_of(environment), "promotions")):
        validator(kind).validate(yamltext.read((PROJECT / file).read_text(), file=file).plain())
