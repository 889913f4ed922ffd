"""Models of every shape from the package to a user of a gateway, in JSON and in the binary form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from bot.domain import binary
from bot.domain.smoke import SmokeCases, differences, tensor_from_json
from bot.training import build_package
from tests.operations.test_datatypes import released
from tests.operations.world import HTTP, World
from tests.training.shapes import SHAPES, asked

AT_ONCE = "more outputs than rows"


@pytest.mark.extended
def test_the_next_version_of_a_model_without_batches_is_compared_with_the_one_in_service(
    world: World, tmp_path: Path
) -> None:
    served, model = SHAPES[AT_ONCE](), world.model()
    for number in range(2):
        served.model.doc_string = f"trained on day {number}"
        if number:  # it finds one box fewer in some images
            threshold = onnx.numpy_helper.from_array(np.float32(0.5), "zero")
            served.model.graph.initializer[0].CopyFrom(threshold)
        answers = asked(served.model, *({"image": image} for image in served.inputs))
        folder = tmp_path / f"package-{number}"
        build_package(served.model, folder, inputs=served.inputs, answers=answers)
        comment = released(world, world.register_package(folder, model))
    assert "1 of 2" in comment, comment


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == AT_ONCE else pytest.mark.extended) for name in SHAPES]
)
def test_a_user_gets_what_the_package_promises(world: World, name: str, tmp_path: Path) -> None:
    served = SHAPES[name]()
    build_package(served.model, tmp_path / "package", inputs=served.inputs, answers=served.answers, **served.given)
    registered = world.register_package(tmp_path / "package", world.model())
    released(world, registered)

    smoke = SmokeCases.from_json((registered.artifacts / "smoke.json").read_bytes())
    url = f"{world.endpoints.gateway['dev'][0].url}/v2/models/{registered.model}/infer"
    for case in smoke.cases:
        outputs = [tensor.name for tensor in case.outputs]
        body, headers = binary.request(case.inputs, outputs)
        reply = HTTP.post(url, content=body, headers=headers).raise_for_status()
        version, got = binary.answer(reply.content, reply.headers)
        assert (version, differences(case, got, smoke.tolerance)) == (str(registered.version), [])
        request = {"inputs": [tensor.to_json() for tensor in case.inputs], "outputs": [{"name": n} for n in outputs]}
        document = HTTP.post(url, content=json.dumps(request)).raise_for_status().json()
        got = [tensor_from_json(tensor) for tensor in document["outputs"]]
        assert (document["model_version"], differences(case, got, smoke.tolerance)) == (version, [])
