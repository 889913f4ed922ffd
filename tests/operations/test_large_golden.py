"""Golden cases with large tensors, from the training job to the gateways and back, on the real parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bot import concurrency
from bot.domain.answers import Hashed
from bot.domain.evidence import Evidence
from bot.domain.golden import Golden
from bot.domain.packed import Packed
from bot.domain.routes import Target
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor
from bot.operations.inspection import wrong_on_triton
from bot.training import build_package
from tests.operations.test_datatypes import released
from tests.operations.world import Registered, World

SIDE = 160
ROWS = np.random.default_rng(7).random((2, 3, SIDE, SIDE), dtype=np.float32)


def segmentation(folder: Path, *, off: float = 0.0, weight: float = 0.5, note: str = "") -> Path:
    """Write a package that segments images; ``off`` is added to what it says the training framework answered."""
    shape = ["N", 3, SIDE, SIDE]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)] for name in ("image", "mask")]
    weights = [helper.make_tensor("weight", TensorProto.FLOAT, [], [weight])]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["image", "weight"], ["mask"])], note or "mask", *ends, weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    build_package(model, folder, inputs=ROWS, answers=ROWS * np.float32(weight) + np.float32(off))
    return folder


class OneAnswer:
    """A Triton, or a gateway, that gives the answer of training, and notes how many wait for room to ask."""

    name, http = "one", None

    def __init__(self, case: SmokeCase) -> None:
        self.case, self.held = case, list[int]()

    def infer(self, *_: Any, **__: Any) -> Any:
        taken = 0
        while concurrency._large.acquire(blocking=False):
            taken += 1
        for _taken in range(taken):
            concurrency._large.release()
        self.held.append(concurrency.LARGE_AT_ONCE - taken)
        return list(self.case.outputs)


@pytest.mark.parametrize(("size", "held"), [(concurrency.LARGE_BYTES, 0), (concurrency.LARGE_BYTES + 1, 1)])
def test_a_large_case_is_asked_when_there_is_room_for_it(size: int, held: int) -> None:
    """However many models and servers a deployment asks at the same time."""
    x = Tensor("X", "UINT8", (1, size - 1), Packed("UINT8", size - 1, lambda: bytes(size - 1), size=size - 1))
    case = SmokeCase("row-0", (x,), (Tensor("Y", "BOOL", (1,), (True,)),))
    one, target = OneAnswer(case), Target("m", 1, "sha256:" + "0" * 64)
    assert wrong_on_triton(target, Golden(SmokeCases((case,))), one) == []  # type: ignore[arg-type]
    assert one.held == [held]


def newest(world: World, registered: Registered) -> Evidence:
    return world.ledger().all_evidence(registered.model)[0]


def bytes_of_records(world: World, model: str) -> int:
    """The bytes of all check records and evidence that name the model."""
    texts = [path.read_bytes() for path in world.endpoints.records.rglob("*.json")]
    return sum(len(text) for text in texts if f'"model": "{model}"'.encode() in text)


@pytest.mark.slow
def test_segmented_images_are_checked_deployed_looked_at_and_put_back(world: World, tmp_path: Path) -> None:
    model = world.model()
    first = world.register_package(segmentation(tmp_path / "1", off=1e-7), model)
    assert (first.artifacts / "smoke.tensors").stat().st_size == 4 * ROWS.nbytes, (
        "rows and answers, and both together"
    )
    comment = released(world, first)
    assert "**Parity with the training framework:** 3 of 3 smoke cases." in comment

    answers = newest(world, first).answers
    (mask,) = answers[0].outputs
    assert isinstance(mask, Hashed) and mask.differing > ROWS.size / 4 and len(mask.furthest) == 16
    told = world.words("evidence", "show", model, 1, "--env", "dev").out
    assert "staging, row-0: mask FP32[1, 3, 160, 160] sha256 " in told.replace("\n", " "), told
    assert bytes_of_records(world, model) < 60_000, "whole, the masks alone would take 7 MB in each of two records"
    assert {path.name for path in (first.artifacts).iterdir()} >= {"smoke.json", "smoke.tensors"}
    assert world.published() and not [name for name in world.published() if "smoke" in name]

    second = world.register_package(segmentation(tmp_path / "2", weight=0.5001, note="other"), model, "better")
    comment = released(world, second)
    assert "Against version 1 in service" in comment and "`mask[" in comment, "what moved is named, with one value"
    assert world.promobot("drift", "--env", "dev").code == 0, "deep: every Triton and gateway is asked again"
    assert world.promobot("rollback", model, "--env", "dev", "--now").code == 0
    assert world.records(model)[-1].outcome == "succeeded"


@pytest.mark.slow
def test_what_answers_otherwise_than_training_is_refused_and_says_where(world: World, tmp_path: Path) -> None:
    registered = world.register_package(segmentation(tmp_path / "1", off=0.01), world.model())
    proposed = world.promobot("propose", registered.model, registered.version, "--env", "dev").document
    number = int(proposed["pull_request"])
    assert [said.code for said in world.check(number)] == [0, 0, 1, 1]
    assert "Do not merge" in world.sticky(number)
    assert f"{ROWS[0].size} of {ROWS[0].size} values differ" in world.sticky(number)
    (mask,) = newest(world, registered).answers[0].outputs
    assert isinstance(mask, Hashed) and mask.differing == ROWS[0].size


def changed(registered: Registered, *, content: bytes | None = None, **of_first_input: Any) -> Registered:
    """Change what lies in MLflow, and list it anew, as an attacker with access to the artifacts would."""
    if content is not None:
        (registered.artifacts / "smoke.tensors").write_bytes(content)
    text = registered.artifacts / "smoke.json"
    document = json.loads(text.read_text())
    document["cases"][0]["inputs"][0].update(of_first_input)
    text.write_text(json.dumps(document))
    return registered.relist()


@pytest.mark.slow
def test_a_package_that_lies_about_its_tensors_makes_the_checks_red_with_the_reason(
    world: World, tmp_path: Path
) -> None:
    model = world.model()
    good = world.register_package(segmentation(tmp_path / "1"), model)
    content = (good.artifacts / "smoke.tensors").read_bytes()
    # Sizes are judged before anything is proposed.
    for lie, says in (
        ({"content": content[:-4]}, "ends at byte"),
        ({"content": content + b"\0"}, "names no case for 1 bytes of smoke.tensors"),
        ({"content": content, "shape": [1, 3, SIDE, SIDE + 1]}, "which are not FP32"),
        ({"shape": [1, 3, SIDE, SIDE], "parameters": {"binary_data_size": -1}}, "binary_data_size is -1"),
    ):
        refused = world.promobot("propose", model, changed(good, **lie).version, "--env", "dev")  # type: ignore[arg-type]
        assert refused.code == 1 and says in refused.err + refused.out, refused
    # The values are compared when they are asked, and the check is red, not broken.
    size = 4 * ROWS[0].size
    lying = changed(good, parameters={"binary_data_size": size}, sha256="0" * 64)
    proposed = world.promobot("propose", model, lying.version, "--env", "dev").document
    number = int(proposed["pull_request"])
    assert [said.code for said in world.check(number)] == [0, 0, 1, 1]
    assert "has other bytes for image at 0" in world.sticky(number)
