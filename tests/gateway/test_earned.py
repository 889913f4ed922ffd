"""Shadows on a real Triton that flip some rows, are slow, or fail on some: none of them earns its promotion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bot.domain.earned import Verdict, judge
from bot.domain.gate import ShadowRule
from bot.domain.shadowed import Copies
from bot.gateway import ShadowSettings
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, http_client, table, target, wait_for
from tests.gateway.triton import RunningTriton, running_triton

RULE = ShadowRule(max_flips=0.05, max_error_rate=0.05, min_copies=200)
REQUESTS = 400
AT_ONCE = 8
"""Copies that a gateway has under way at most."""
CONFIG = """\
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: 8
version_policy: {all: {}}
instance_group [{count: 1, kind: KIND_CPU}]
input [{name: "X" data_type: TYPE_FP32 dims: [1]}]
output [{name: "label" data_type: TYPE_INT64 dims: [1]}]
"""
SLOW_CONFIG = (
    CONFIG.replace("onnxruntime", "python").replace("model.onnx", "model.py").replace("count: 1", "count: 8")
)
SLOW_MODEL = """\
import time
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.3)
        found = [pb.get_input_tensor_by_name(one, "X").as_numpy() > 0.5 for one in requests]
        return [pb.InferenceResponse([pb.Tensor("label", one.astype(np.int64))]) for one in found]
"""
EQUAL, FLIPS, FAILS = 2, 3, 5
"""Versions of the shadow. The live one is 1, and calls a number from 0 to 1 great from a half on."""


def _model(threshold: float, *, fails_above: float = 2.0) -> onnx.ModelProto:
    """Return a model that says whether X is above the threshold, and fails where X is above ``fails_above``."""
    given = {
        "threshold": np.float32(threshold),
        "fails_above": np.float32(fails_above),
        "only": np.zeros(1, np.int64),
    }
    nodes = [
        helper.make_node("Greater", ["X", "threshold"], ["is_great"]),
        helper.make_node("Cast", ["is_great"], ["said"], to=TensorProto.INT64),
        # There is one entry, so what is above has an index that is not there.
        helper.make_node("Greater", ["X", "fails_above"], ["is_bad"]),
        helper.make_node("Cast", ["is_bad"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["only", "index"], ["nothing"]),
        helper.make_node("Add", ["said", "nothing"], ["answer"]),
    ]
    nodes.append(helper.make_node("Identity", ["answer"], ["label"]))
    graph = helper.make_graph(
        nodes,
        "chooser",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, ["n", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in given.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    repository = tmp_path_factory.mktemp("model-repository")
    versions = {
        1: _model(0.5),
        EQUAL: _model(0.5),
        FLIPS: _model(0.6),
        FAILS: _model(0.5, fails_above=0.9),
    }
    for name in ("adder", "adder-shadow"):
        (repository / name).mkdir()
        (repository / name / "config.pbtxt").write_text(CONFIG)
        for version, model in versions.items():
            (repository / name / str(version)).mkdir()
            onnx.save(model, repository / name / str(version) / "model.onnx")
    (repository / "adder-slow/1").mkdir(parents=True)
    (repository / "adder-slow/config.pbtxt").write_text(SLOW_CONFIG)
    (repository / "adder-slow/1/model.py").write_text(SLOW_MODEL)
    with running_triton(repository) as running:
        for name in ("adder", "adder-shadow", "adder-slow"):
            running.load(name)
        yield running


Listens = Callable[..., RunningGateway]


@pytest.fixture
def listens(start_gateway: StartGateway, triton: RunningTriton, tmp_path: Path) -> Listens:
    """Start a gateway in front of version 1 whose shadow is the version that is named."""
    settings = ShadowSettings(timeout_seconds=30, compare_share=1)

    def start(version: int, name: str = "adder-shadow") -> RunningGateway:
        routes = table(1, target(1), shadow=target(version, name))
        return start_gateway(triton.url, routes=routes, shadow=settings)

    return start


def ask(gateway: RunningGateway, requests: int = REQUESTS) -> Copies:
    """Ask with numbers from 0 to 1, in batches of 1 and 2, and return the counts when all copies are answered."""
    for number in range(requests):
        values = [(number * 37 % 100 + 0.5) / 100, (number * 61 % 100 + 0.5) / 100][: 1 + number % 2]
        body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [len(values), 1], "data": values}]}
        http_client.post(f"{gateway.url}/v2/models/adder/infer", json=body).raise_for_status()
        if number % AT_ONCE == AT_ONCE - 1 or number == requests - 1:
            wait_for(lambda: (seen := counted(gateway)).answered + seen.failed == seen.sent)
    return counted(gateway)


def counted(gateway: RunningGateway) -> Copies:
    found: Any = gateway.routes()["shadows"]["adder"]
    return Copies.from_json(found)


def holds(verdict: Verdict) -> dict[str, bool | None]:
    return {signal.name: signal.holds for signal in verdict.signals}


def test_an_equal_one_earns_it(listens: Listens) -> None:
    found = ask(listens(EQUAL))
    verdict = judge(RULE, found.compared)
    assert (verdict.standing, verdict.copies, found.dropped) == ("promotable", REQUESTS, 0), verdict
    assert holds(verdict) == {"flips": True, "errors": True}


def test_one_that_flips_some_rows_does_not(listens: Listens) -> None:
    found = ask(listens(FLIPS))
    verdict = judge(RULE, found.compared)
    assert found.compared is not None
    assert 0.05 < found.compared.flipped / found.compared.rows < 0.15, "those between 0.5 and 0.6"
    assert (verdict.standing, holds(verdict)["flips"]) == ("not", False), verdict


def test_one_that_is_slow_does_not(listens: Listens) -> None:
    rule = RULE.model_copy(update={"max_p95_worse": 1.0})
    verdict = judge(rule, ask(listens(1, "adder-slow"), requests=280).compared)
    assert (verdict.standing, holds(verdict)["flips"], holds(verdict)["p95"]) == ("not", True, False), verdict


def test_one_that_fails_on_some_does_not(listens: Listens) -> None:
    found = ask(listens(FAILS))
    verdict = judge(RULE, found.compared)
    assert (found.failed > 20, found.unreached) == (True, 0)
    assert (verdict.standing, holds(verdict)["flips"], holds(verdict)["errors"]) == ("not", True, False), verdict
