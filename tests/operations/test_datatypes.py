"""Every datatype from the checks to the gateways and back: what passed the checks can be deployed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from bot.domain import binary
from bot.domain.smoke import DATATYPES, SmokeCases, Tensor
from bot.training import build_package
from tests.operations.world import HTTP, Registered, World

ROWS: dict[str, tuple[int, Any, Any]] = {
    "BOOL": (TensorProto.BOOL, bool, [[True, False], [False, False]]),
    "UINT8": (TensorProto.UINT8, "u1", [[0, 2**8 - 1], [1, 2]]),
    "UINT16": (TensorProto.UINT16, "u2", [[0, 2**16 - 1], [1, 2]]),
    "UINT32": (TensorProto.UINT32, "u4", [[0, 2**32 - 1], [1, 2]]),
    "UINT64": (TensorProto.UINT64, "u8", [[0, 2**64 - 1], [1, 2]]),
    "INT8": (TensorProto.INT8, "i1", [[-(2**7), 2**7 - 1], [1, 2]]),
    "INT16": (TensorProto.INT16, "i2", [[-(2**15), 2**15 - 1], [1, 2]]),
    "INT32": (TensorProto.INT32, "i4", [[-(2**31), 2**31 - 1], [1, 2]]),
    "INT64": (TensorProto.INT64, "i8", [[-(2**63), 2**63 - 1], [1, 2]]),
    "FP16": (TensorProto.FLOAT16, "f2", [[0.5, np.inf], [np.nan, -65504]]),
    "FP32": (TensorProto.FLOAT, "f4", [[0.5, -np.inf], [np.nan, 2.0**100]]),
    "FP64": (TensorProto.DOUBLE, "f8", [[1 / 3, np.inf], [np.nan, 1e-300]]),
    "BYTES": (TensorProto.STRING, object, [["", "grün 🚀"], ["a\n\t\"'", "x" * 20_000]]),
}
"""Not BF16: Triton's backend for ONNX has none, so `build_package` casts it at the edges of a graph.
That it comes through each wire of a real Triton is seen in tests/systems/test_triton.py.
"""


def echo(folder: Path, note: str, datatypes: Iterable[str] = tuple(ROWS)) -> Path:
    """Write a package whose outputs are its inputs, one of each datatype."""
    chosen = {name: ROWS[name] for name in datatypes}
    ends = [
        [helper.make_tensor_value_info(side + name, kind, ["N", 2]) for name, (kind, _, _) in chosen.items()]
        for side in "XY"
    ]
    nodes = [helper.make_node("Identity", [f"X{name}"], [f"Y{name}"]) for name in chosen]
    graph = helper.make_graph(nodes, note, *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    rows = {name: np.array(values, dtype=dtype) for name, (_, dtype, values) in chosen.items()}
    build_package(
        model,
        folder,
        inputs={f"X{name}": array for name, array in rows.items()},
        answers={f"Y{name}": array for name, array in rows.items()},
    )
    return folder


def released(world: World, registered: Registered) -> str:
    """Propose, check, merge and deploy a version; return the comment of the checks."""
    proposed = world.promobot("propose", registered.model, registered.version, "--env", "dev").document
    number = int(proposed["pull_request"])
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0], world.sticky(number)
    comment = world.sticky(number)
    world.merge(number)
    said = world.deploy()
    assert said.code == 0, said
    return comment


def asked(world: World, registered: Registered) -> str:
    """Ask a gateway the last smoke case as a user with a client of Triton does; return the version."""
    case = SmokeCases.from_json((registered.artifacts / "smoke.json").read_bytes()).cases[-1]
    body, headers = binary.request(case.inputs, [tensor.name for tensor in case.outputs])
    url = world.endpoints.gateway["dev"][0].url
    reply = HTTP.post(f"{url}/v2/models/{registered.model}/infer", content=body, headers=headers)
    version, outputs = binary.answer(reply.content, reply.headers)
    assert [_plain(tensor) for tensor in outputs] == [_plain(tensor) for tensor in case.outputs]
    return version


def _plain(tensor: Tensor) -> tuple[str, str, tuple[int, ...], str]:
    """As text, for NaN equals itself there."""
    return tensor.name, tensor.datatype, tuple(tensor.shape), repr(list(tensor.data))


def test_a_model_of_fp16_is_deployed(world: World, tmp_path: Path) -> None:
    """JSON has no FP16, so a gateway that is asked in JSON would refuse what staging answered."""
    model = world.model()
    registered = world.served(world.register_package(echo(tmp_path / "1", "first", ["FP16"]), model))
    assert asked(world, registered) == "1"
    given = {"name": "XFP16", "datatype": "FP16", "shape": [1, 2], "data": [1, 2]}
    url = f"{world.endpoints.gateway['dev'][0].url}/v2/models/{model}/infer"
    refused = HTTP.post(url, json={"inputs": [given]})
    assert refused.status_code == 400
    assert "Please use the binary data format for input XFP16" in refused.json()["error"]


@pytest.mark.slow
def test_every_datatype_is_checked_deployed_looked_at_and_put_back(world: World, tmp_path: Path) -> None:
    assert set(ROWS) == DATATYPES - {"BF16"}
    model = world.model()
    first = world.register_package(echo(tmp_path / "1", "first"), model)
    released(world, first)
    assert asked(world, first) == "1"
    second = world.register_package(echo(tmp_path / "2", "second"), model, "better")
    released(world, second)
    assert asked(world, second) == "2"
    drift = world.promobot("drift", "--env", "dev").document["environments"][0]["differences"]
    assert [difference for difference in drift if model in str(difference)] == []
    assert world.promobot("rollback", model, "--env", "dev", "--now").code == 0
    assert asked(world, first) == "1"
