"""The Triton adapter: against the sandbox's real Triton, and against servers that do not answer."""

from __future__ import annotations

import math
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton_grpc
from onnx import TensorProto, helper

from bot.domain import binary
from bot.domain.marker import MARKER_FILE, Marker
from bot.domain.packed import RawTensor
from bot.domain.signature import Signature, TensorSpec
from bot.domain.smoke import Tensor
from bot.errors import Rejected, Unavailable
from bot.sandbox import environments, triton
from bot.sandbox.processes import Ports
from bot.settings import Triton
from bot.systems.triton.config import parse_config, placed_config, render_config, versions_of
from bot.systems.triton.server import TritonServer
from tests.controls import control
from tests.gateway.triton import running_triton
from tests.operations.world import wait_until
from tests.servers import running
from tests.stand_ins.between import between
from tests.stand_ins.links import Fault, GrpcLink, Kind
from tests.stand_ins.server import StandIn
from tests.systems.conftest import Clock, RealTriton

ADDER = 'backend: "onnxruntime" max_batch_size: 8 {versions} ' + " ".join(
    f'{side} [{{ name: "{name}" data_type: TYPE_FP32 dims: [2] }}]'
    for side, name in (("input", "X"), ("output", "Y"))
)
TYPES = {
    "BOOL": (TensorProto.BOOL, (True, False)),
    "UINT8": (TensorProto.UINT8, (0, 255)),
    "UINT16": (TensorProto.UINT16, (0, 2**16 - 1)),
    "UINT32": (TensorProto.UINT32, (0, 2**32 - 1)),
    "UINT64": (TensorProto.UINT64, (0, 2**64 - 1)),
    "INT8": (TensorProto.INT8, (-128, 127)),
    "INT16": (TensorProto.INT16, (-(2**15), 2**15 - 1)),
    "INT32": (TensorProto.INT32, (-(2**31), 2**31 - 1)),
    "INT64": (TensorProto.INT64, (-(2**63), 2**63 - 1)),
    "FP16": (TensorProto.FLOAT16, (-1.5, 65504.0)),
    "FP32": (TensorProto.FLOAT, (0.5, -(2.0**100))),
    "FP64": (TensorProto.DOUBLE, (1e-300, 1 / 3)),
    "BYTES": (TensorProto.STRING, ("", "grün 🚀")),
}


@pytest.fixture(scope="module")
def server(real: RealTriton) -> Iterator[TritonServer]:
    named = Triton(name="serving-0", grpc=real.grpc, http=real.url.removeprefix("http://"))
    opened = TritonServer(named, request_seconds=10)
    yield opened
    opened.close()


@pytest.fixture
def hanging(stand_in: StandIn) -> Iterator[TritonServer]:
    """A server that takes the connection, and nothing more."""
    opened = TritonServer(Triton(name="stuck", grpc=f"127.0.0.1:{stand_in.port}"), request_seconds=0.3)
    yield opened
    opened.close()


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto],
) -> None:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def put_adder(real: RealTriton, name: str, *versions: int, config: str = ADDER) -> Path:
    """Write a model of two columns whose version N answers Y = X + N."""
    model = real.repository / name
    for version in versions:
        columns = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in "XY"]
        amount = helper.make_tensor("amount", TensorProto.FLOAT, [1], [float(version)])
        save(
            model / str(version) / "model.onnx",
            [helper.make_node("Add", ["X", "amount"], ["Y"])],
            columns[:1],
            columns[1:],
            [amount],
        )
    listed = ", ".join(str(version) for version in versions)
    (model / "config.pbtxt").write_text(
        config.replace("{versions}", f"version_policy: {{ specific: {{ versions: [{listed}] }} }}")
    )
    return model


def load_strict(real: RealTriton, server: TritonServer) -> None:
    """Load ``strict`` 1, once for all tests that only ask it."""
    if not (real.repository / "strict").is_dir():
        put_adder(real, "strict", 1)
        control(server).load("strict", timeout_seconds=60)


def rows(*values: float) -> Tensor:
    return Tensor("X", "FP32", (len(values) // 2, 2), values)


def states(server: TritonServer, model: str) -> dict[int, str]:
    return {state.version: state.state for state in server.index() if state.model == model}


def test_a_marker_in_the_root_is_not_a_model_and_a_hidden_folder_is(real: RealTriton, server: TritonServer) -> None:
    (real.repository / MARKER_FILE).write_text(Marker("models", "dev").to_json())
    assert MARKER_FILE not in server.names()
    (real.repository / ".hidden").mkdir()
    try:
        assert ".hidden" in server.names(), "so the marker must be a file"
    finally:
        (real.repository / ".hidden").rmdir()


# --- a server that is well ----------------------------------------------------------------------------------------


def test_it_says_its_version(server: TritonServer) -> None:
    assert server.version().split(".")[0] == "2"


def test_load_wait_infer_unload(real: RealTriton, server: TritonServer) -> None:
    put_adder(real, "adder", 3, 12)
    assert states(server, "adder") == {}

    control(server).load("adder", timeout_seconds=60)

    assert server.wait_ready([("adder", 3), ("adder", 12)], timeout_seconds=60) == []
    assert states(server, "adder") == {3: "READY", 12: "READY"}
    for version in (3, 12):
        answer = server.infer("adder", version, [rows(1, 2, 3, 4)], outputs=["Y"])
        assert answer == [Tensor("Y", "FP32", (2, 2), tuple(float(n + version) for n in (1, 2, 3, 4)))]
    assert server.signature("adder", 12) == Signature(
        (TensorSpec("X", "FP32", (-1, 2)),), (TensorSpec("Y", "FP32", (-1, 2)),)
    )

    control(server).unload("adder")
    assert server.wait_gone("adder", timeout_seconds=30)
    assert "READY" not in states(server, "adder").values()
    with pytest.raises((Rejected, Unavailable), match="ask adder 3"):
        server.infer("adder", 3, [rows(1, 2)], outputs=["Y"])


def test_a_version_that_the_configuration_does_not_name_is_not_loaded(real: RealTriton, server: TritonServer) -> None:
    model = put_adder(real, "narrow", 1, 2)
    config = model / "config.pbtxt"
    config.write_text(render_config(config.read_text(), versions=[2]))
    control(server).load("narrow", timeout_seconds=60)
    assert server.wait_ready([("narrow", 2)], timeout_seconds=60) == []

    missing = server.wait_ready([("narrow", 1), ("narrow", 2), ("absent", 1)], timeout_seconds=0.2)

    assert [(state.model, state.version, state.state) for state in missing] == [
        ("absent", 1, "ABSENT"),
        ("narrow", 1, "ABSENT"),
    ]
    with pytest.raises((Rejected, Unavailable)):
        server.infer("narrow", 1, [rows(1, 2)], outputs=["Y"])
    with pytest.raises((Rejected, Unavailable)):
        server.signature("narrow", 1)


def test_waiting_for_what_stays_ends_at_the_deadline(
    real: RealTriton, server: TritonServer, request: pytest.FixtureRequest
) -> None:
    load_strict(real, server)
    clock: Clock = request.getfixturevalue("clock")  # only from here on: a load takes real time
    assert server.wait_gone("strict", timeout_seconds=20) is False
    assert server.wait_ready([("strict", 2)], timeout_seconds=20)
    assert clock.seconds == pytest.approx(40, abs=0.2)


def test_every_datatype_there_and_back(real: RealTriton, server: TritonServer) -> None:
    ends = [
        [helper.make_tensor_value_info(side + t, kind, ["N", 2]) for t, (kind, _) in TYPES.items()] for side in "XY"
    ]
    nodes = [helper.make_node("Identity", [f"X{datatype}"], [f"Y{datatype}"]) for datatype in TYPES]
    save(real.repository / "types" / "1" / "model.onnx", nodes, *ends, [])
    (real.repository / "types" / "config.pbtxt").write_text(
        'backend: "onnxruntime" max_batch_size: 8 '
        + " ".join(
            f'{kind} [{{ name: "{side}{datatype}" data_type: TYPE_{datatype} dims: [2] }}]'.replace(
                "TYPE_BYTES", "TYPE_STRING"
            )
            for kind, side in (("input", "X"), ("output", "Y"))
            for datatype in TYPES
        )
    )
    control(server).load("types", timeout_seconds=60)

    sent = [Tensor(f"X{datatype}", datatype, (1, 2), data) for datatype, (_, data) in TYPES.items()]
    wanted = [f"Y{datatype}" for datatype in reversed(TYPES)]
    for ask in (server.infer, server.infer_over_http):
        answer = ask("types", 1, sent, outputs=wanted)
        assert [tensor.name for tensor in answer] == wanted, "in the order in which they were asked for"
        for tensor in answer:
            data = TYPES[tensor.datatype][1]
            assert tensor == Tensor(f"Y{tensor.datatype}", tensor.datatype, (1, 2), data)
            assert [type(value) for value in tensor.data] == [type(value) for value in data]
    raw = [RawTensor(tensor.name, tensor.datatype, tensor.shape, binary.encode(tensor)) for tensor in sent]
    answered = server.infer_raw("types", 1, raw, outputs=wanted)
    assert answered == [tensor._replace(name=f"Y{tensor.datatype}") for tensor in reversed(raw)]
    specs = {spec.name: spec for spec in server.signature("types", 1).inputs}
    assert specs == {f"X{datatype}": TensorSpec(f"X{datatype}", datatype, (-1, 2)) for datatype in TYPES}


_ECHO = """\
import triton_python_backend_utils as utils
class TritonPythonModel:
    def execute(self, requests):
        given = [utils.get_input_tensor_by_name(one, "X") for one in requests]
        return [utils.InferenceResponse([{answer}]) for one in given]
"""
ECHO_OF = {
    "other": _ECHO.format(answer='utils.Tensor("Y", one.as_numpy())'),
    # NumPy has no BF16. As DLPack it passes as it is.
    "BF16": _ECHO.format(answer='utils.Tensor.from_dlpack("Y", one.to_dlpack())'),
}


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("BYTES", (b"\xff\x00", "", "text", b"\xed\xa0\x80", "x" * 100_000)),
        ("BYTES", ()),
        ("BF16", (1.5, -(2.0**100), math.inf, 0.0, 3.140625)),
        ("BF16", ()),
        ("FP32", ()),
    ],
    ids=["bytes", "no bytes", "bf16", "no bf16", "nothing"],
)
def test_what_numpy_or_json_cannot_hold_there_and_back(
    real: RealTriton, server: TritonServer, datatype: str, data: tuple[Any, ...]
) -> None:
    """The Python backend echoes it: the sandbox's onnxruntime takes texts only, and no BF16."""
    name = f"echo-{datatype.lower()}"
    if not (real.repository / name).exists():
        kind = datatype.replace("BYTES", "STRING")
        (real.repository / name / "1").mkdir(parents=True)
        (real.repository / name / "1" / "model.py").write_text(ECHO_OF["BF16" if datatype == "BF16" else "other"])
        ends = " ".join(
            f'{side} [{{ name: "{end}" data_type: TYPE_{kind} dims: [-1] }}]'
            for side, end in (("input", "X"), ("output", "Y"))
        )
        (real.repository / name / "config.pbtxt").write_text(f'backend: "python" {ends}')
        control(server).load(name, timeout_seconds=60)
    for ask in (server.infer, server.infer_over_http):
        assert ask(name, 1, [Tensor("X", datatype, (len(data),), data)], outputs=["Y"]) == [
            Tensor("Y", datatype, (len(data),), data)
        ]


def test_json_says_of_fp16_that_it_needs_the_binary_form(real: RealTriton, server: TritonServer) -> None:
    model = real.repository / "half"
    ends = [[helper.make_tensor_value_info(end, TensorProto.FLOAT16, ["N", 2])] for end in "XY"]
    save(model / "1" / "model.onnx", [helper.make_node("Identity", ["X"], ["Y"])], *ends, [])
    (model / "config.pbtxt").write_text(ADDER.replace("{versions}", "").replace("FP32", "FP16"))
    control(server).load("half", timeout_seconds=60)
    given = {"name": "X", "datatype": "FP16", "shape": [1, 2], "data": [1.0, 2.0]}
    answer = httpx.post(f"{real.url}/v2/models/half/versions/1/infer", json={"inputs": [given]})
    assert answer.status_code == 400
    assert "Please use the binary data format for input X" in answer.json()["error"]
    assert server.infer_over_http("half", 1, [Tensor("X", "FP16", (1, 2), (1.0, 2.0))], outputs=["Y"])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Unavailable),
        (b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno", Rejected),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Rejected),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n" + b'{"model_version":"2","outputs":[ ]}  '[:36], Rejected),
        (b"", Unavailable),
    ],
    ids=["busy", "refused", "no answer", "other version", "closed"],
)
def test_what_goes_wrong_over_http_names_the_address(
    stand_in: StandIn, answer: bytes, error: type[Exception]
) -> None:
    stand_in.behaviour = lambda _: answer
    named = Triton(name="t", grpc="127.0.0.1:9", http=f"127.0.0.1:{stand_in.port}")
    opened = TritonServer(named, request_seconds=0.5)
    with pytest.raises(error, match=rf"Triton t \(127\.0\.0\.1:{stand_in.port}\)"):
        opened.infer_over_http("m", 1, [rows(1, 2)], outputs=["Y"])
    opened.close()


def test_infinite_and_no_numbers_there_and_back(real: RealTriton, server: TritonServer) -> None:
    load_strict(real, server)
    (answer,) = server.infer("strict", 1, [rows(math.nan, math.inf)], outputs=["Y"])
    assert math.isnan(float(answer.data[0])) and answer.data[1] == math.inf


# --- a server that refuses ----------------------------------------------------------------------------------------


def test_a_load_that_fails_says_why_in_a_line_and_leaves_the_others_alone(
    real: RealTriton, server: TritonServer
) -> None:
    model = put_adder(real, "breaks", 1)
    control(server).load("breaks", timeout_seconds=60)
    put_adder(real, "breaks-next", 2)
    (real.repository / "breaks-next" / "2").rename(model / "2")
    (model / "2" / "model.onnx").write_bytes(b"no graph at all")
    (model / "config.pbtxt").write_text(render_config((model / "config.pbtxt").read_text(), versions=[1, 2]))

    with pytest.raises(Rejected, match=r"Triton serving-0 \(127\.0\.0\.1:\d+\): could not load breaks: ") as failure:
        control(server).load("breaks", timeout_seconds=60)

    said = str(failure.value)
    assert "model.onnx cannot be opened" in said
    assert "\n" not in said and len(said) < 800 and "At:" not in said
    assert states(server, "breaks")[1] == "READY"
    (missing,) = server.wait_ready([("breaks", 1), ("breaks", 2)], timeout_seconds=0)
    assert (missing.version, missing.ready) == (2, False) and "cannot be opened" in missing.reason
    assert server.infer("breaks", 1, [rows(1, 2)], outputs=["Y"])[0].data == (2.0, 3.0)


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ((Tensor("Z", "FP32", (1, 2), (1.0, 2.0)),), ("Y",), "Z"),
        ((Tensor("X", "INT64", (1, 2), (1, 2)),), ("Y",), "INT64"),
        ((Tensor("X", "FP32", (1, 3), (1.0, 2.0, 3.0)),), ("Y",), "shape"),
        ((Tensor("X", "FP32", (9, 2), (1.0,) * 18),), ("Y",), "batch"),
        ((rows(1, 2),), ("nothing",), "nothing"),
        ((Tensor("X", "UINT8", (1, 2), (1, 256)),), ("Y",), "X does not hold"),
        ((Tensor("X", "FP32", (1, 2), ("a", "b")),), ("Y",), "X does not hold"),
        ((Tensor("X", "FP32", (2, 2), (1.0, 2.0)),), ("Y",), "X does not hold"),
    ],
)
def test_a_request_that_does_not_fit_is_rejected(
    real: RealTriton, server: TritonServer, inputs: tuple[Tensor, ...], outputs: tuple[str, ...], said: str
) -> None:
    load_strict(real, server)
    with pytest.raises(Rejected, match=said):
        server.infer("strict", 1, inputs, outputs=outputs)


def test_an_answer_of_another_version_is_no_answer(real: RealTriton) -> None:
    put_adder(real, "asked", 1)

    def another(request: Any, ask: Callable[[Any], Any]) -> Any:
        answer = ask(request)
        answer.model_version = "2"
        return answer

    with between(real.grpc, {"ModelInfer": another}) as address:
        server = TritonServer(Triton(name="far", grpc=address), request_seconds=10)
        control(server).load("asked", timeout_seconds=60)
        with pytest.raises(Rejected, match="asked 1 was asked, 2 answered"):
            server.infer("asked", 1, [rows(1, 2)], outputs=["Y"])
        raw = RawTensor("X", "FP32", (1, 2), bytes(8))
        with pytest.raises(Rejected, match="asked 1 was asked, 2 answered"):
            server.infer_raw("asked", 1, [raw], outputs=["Y"])
        server.close()


def test_bytes_that_are_not_as_many_as_their_shape_says_are_no_answer(real: RealTriton) -> None:
    put_adder(real, "cut", 1)

    def cut(request: Any, ask: Callable[[Any], Any]) -> Any:
        answer = ask(request)
        answer.raw_output_contents[0] = answer.raw_output_contents[0][:-1]
        return answer

    with between(real.grpc, {"ModelInfer": cut}) as address:
        server = TritonServer(Triton(name="far", grpc=address), request_seconds=10)
        control(server).load("cut", timeout_seconds=60)
        with pytest.raises(Rejected, match="cut 1: Y: 7 bytes are not 2 values of FP32"):
            server.infer_raw("cut", 1, [RawTensor("X", "FP32", (1, 2), bytes(8))], outputs=["Y"])
        server.close()


def test_a_model_that_is_not_there(server: TritonServer) -> None:
    with pytest.raises(
        Unavailable, match="could not load nowhere"
    ):  # the bot has published it: no version is to blame
        control(server).load("nowhere", timeout_seconds=10)
    with pytest.raises((Rejected, Unavailable), match="nowhere"):
        server.signature("nowhere", 1)
    control(server).unload("nowhere")
    assert server.wait_gone("nowhere", timeout_seconds=5)


# --- a server that does not answer ---------------------------------------------------------------------------------

CALLS: dict[str, Callable[[TritonServer], object]] = {
    "version": lambda server: server.version(),
    "index": lambda server: server.index(),
    "load": lambda server: control(server).load("m", timeout_seconds=0.3),
    "unload": lambda server: control(server).unload("m"),
    "wait_ready": lambda server: server.wait_ready([("m", 1)], timeout_seconds=0.3),
    "wait_gone": lambda server: server.wait_gone("m", timeout_seconds=0.3),
    "signature": lambda server: server.signature("m", 1),
    "infer": lambda server: server.infer("m", 1, [rows(1, 2)], outputs=["Y"]),
    "infer_raw": lambda server: server.infer_raw("m", 1, [RawTensor("X", "FP32", (1, 2), bytes(8))], outputs=["Y"]),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_hangs_is_unavailable_in_time(stand_in: StandIn, hanging: TritonServer, call: str) -> None:
    with pytest.raises(Unavailable, match=r"Triton stuck \(127\.0\.0\.1:\d+\): could not"):
        CALLS[call](hanging)
    assert not stand_in.outwaited


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_down_is_unavailable_in_time(closed_port: int, call: str) -> None:
    server = TritonServer(Triton(name="gone", grpc=f"127.0.0.1:{closed_port}"), request_seconds=0.5)
    with pytest.raises(Unavailable, match="Triton gone") as failure:
        CALLS[call](server)
    server.close()
    assert "promobot doctor" in failure.value.next_step
    assert "all addresses" not in str(failure.value), "gRPC's words name the address a second time"


@pytest.mark.parametrize(
    ("call", "fault"),
    [
        ("load", Fault("reset")),
        ("infer", Fault("truncated")),
        *(
            pytest.param("load", fault, marks=pytest.mark.slow)
            for fault in (
                Fault("truncated"),
                Fault("status", status=429),
                Fault("status", status=500),
                Fault("status", status=502),
            )
        ),
    ],
    ids=str,
)
def test_no_version_is_to_blame_for_what_the_line_did(real: RealTriton, call: str, fault: Fault) -> None:
    """Whatever somebody between us and Triton makes of the answer is worth trying again, and no error of Triton."""
    if not (real.repository / "m").exists():
        put_adder(real, "m", 1)
    with GrpcLink(real.grpc) as link:
        server = TritonServer(Triton(name="far", grpc=link.address), request_seconds=2)
        control(server).load("m", timeout_seconds=60)
        link.fails(fault)
        with pytest.raises(Unavailable, match="Triton far"):
            CALLS[call](server)
        link.works()
        wait_until(lambda: _answers(server))
        CALLS[call](server)
        server.close()


@pytest.mark.parametrize("kind", ["hangs", "hangs after the head"])
def test_a_connection_on_which_nothing_comes_back_is_not_asked_again(real: RealTriton, kind: Kind) -> None:
    with GrpcLink(real.grpc) as link:
        link.fails(Fault(kind, times=1))  # before there is a connection: it cuts those that are open
        server = TritonServer(Triton(name="far", grpc=link.address), request_seconds=1)
        with pytest.raises(Unavailable, match="Deadline Exceeded"):
            server.index()
        server.index()
        wait_until(lambda: link.waited)  # it is noted when the connection ends
        assert (link.spoiled, len(link.waited)) == (1, 1)
        server.close()


def _answers(server: TritonServer) -> bool:
    try:
        return bool(server.version())
    except Unavailable:
        return False


@pytest.mark.slow
def test_a_server_that_dies_and_comes_back_is_found_again(tmp_path: Path) -> None:
    """One channel outlives a restart; what was loaded does not."""
    repository = tmp_path / "model-repository"
    repository.mkdir()
    with Ports() as ports:
        part = triton.part(
            "triton",
            environment=environments.triton(progress=print),
            model_repository=repository,
            http_port=ports.take(),
            grpc_port=(grpc := ports.take()),
        )
        server = TritonServer(Triton(name="restarts", grpc=f"127.0.0.1:{grpc}"), request_seconds=2)
        put_adder(RealTriton(grpc="", url="", repository=repository), "adder", 1)
        with running(tmp_path, part):
            control(server).load("adder", timeout_seconds=60)
            assert states(server, "adder") == {1: "READY"}
        with pytest.raises(Unavailable):
            server.index()
        with running(tmp_path, part):
            deadline = time.monotonic() + 30
            while True:
                try:
                    found = states(server, "adder")
                    break
                except Unavailable:  # the channel waits a moment before it tries again
                    assert time.monotonic() < deadline
            assert found == {}
        server.close()


# --- configurations ------------------------------------------------------------------------------------------------

CONFIG = """
# What a person wrote.
name: "churn"
backend: "onnxruntime"
max_batch_size: 64
input [ { name: "X" data_type: TYPE_FP32 dims: [ 30 ] }, { name: "text" data_type: TYPE_STRING dims: [ 1 ] } ]
output [ { name: "p" data_type: TYPE_FP64 dims: [ 1 ] reshape { shape: [ ] } } ]
version_policy: { specific: { versions: [ 3, 1 ] } }
instance_group [ { count: 2 kind: KIND_CPU } ]
parameters: { key: "b" value: { string_value: "1" } }
parameters: { key: "a" value: { string_value: "2" } }
model_repository_agents { agents: [ { name: "checksum" } ] }
"""


def test_what_matters_of_a_configuration() -> None:
    config = parse_config(CONFIG)
    assert (config.backend, config.max_batch_size) == ("onnxruntime", 64)
    assert config.signature == Signature(
        (TensorSpec("X", "FP32", (-1, 30)), TensorSpec("text", "BYTES", (-1, 1))), (TensorSpec("p", "FP64", (-1, 1)),)
    )
    assert config.values["parameters"] == {"a": {"string_value": "2"}, "b": {"string_value": "1"}}
    assert config.values["model_repository_agents"] == {"agents": [{"name": "checksum"}]}
    assert "name" not in config.values and "version_policy" not in config.values
    assert "churn" not in config.text and "version_policy" not in config.text


def test_without_batching_the_dimensions_are_the_whole_shape() -> None:
    config = parse_config('platform: "onnxruntime_onnx" input [{ name: "X" data_type: TYPE_INT8 dims: [-1, 3] }]')
    assert config.signature.inputs == (TensorSpec("X", "INT8", (-1, 3)),)
    assert config.backend == "onnxruntime", "the old spelling"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (CONFIG.replace('name: "churn"', 'name: "fraud"'), True),
        (CONFIG.replace('name: "churn"\n', ""), True),
        (CONFIG.replace("[ 3, 1 ]", "[ 9 ]"), True),
        (CONFIG.replace("specific: { versions: [ 3, 1 ] }", "all { }"), True),
        (CONFIG.replace("# What a person wrote.", "").replace("\n", " "), True),
        (
            'parameters: { key: "a" value: { string_value: "2" } }'
            + CONFIG.replace('parameters: { key: "a" value: { string_value: "2" } }', ""),
            True,
        ),
        (CONFIG.replace("count: 2", "count: 3"), False),
        (CONFIG.replace("[ 30 ]", "[ 31 ]"), False),
        (CONFIG.replace("max_batch_size: 64", "max_batch_size: 65"), False),
        (CONFIG + "dynamic_batching { }", False),
        (CONFIG.replace('name: "X"', 'name: "Z"'), False),
    ],
)
def test_the_fingerprint_leaves_out_name_policy_and_spelling_only(other: str, same: bool) -> None:
    assert other != CONFIG
    assert (parse_config(other).fingerprint == parse_config(CONFIG).fingerprint) is same


def test_rendering_names_the_versions_and_keeps_the_rest() -> None:
    rendered = render_config(CONFIG, versions=[12, 3, 12])
    assert versions_of(rendered) == [3, 12]
    assert parse_config(rendered).fingerprint == parse_config(CONFIG).fingerprint
    assert "churn" not in rendered
    assert render_config(rendered, versions=[3, 12]) == rendered
    assert versions_of(
        render_config(CONFIG.replace("specific: { versions: [ 3, 1 ] }", "latest { num_versions: 2 }"), versions=[5])
    ) == [5]


@pytest.mark.parametrize(
    ("text", "versions"), [(CONFIG, [1, 3]), ("", []), ("version_policy: { all { } }", []), ('backend: "x"', [])]
)
def test_the_versions_that_a_configuration_names(text: str, versions: list[int]) -> None:
    assert versions_of(text) == versions


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "no_such_field: 1",
        "max_batch_size: many",
        "max_batch_size: 99999999999",
        "input [{ data_type: TYPE_FP12 }]",
        'backend: "x',
        "max_batch_size: 1 max_batch_size: 2",
        "\x00",
    ],
)
def test_what_is_no_configuration_is_a_value_error(text: str) -> None:
    for read in (parse_config, versions_of, lambda text: render_config(text, versions=[1])):
        with pytest.raises(ValueError, match=r"config\.pbtxt"):
            read(text)


def test_labels_are_looked_for_in_the_folder_of_the_version() -> None:
    text = CONFIG.replace("reshape { shape: [ ] }", 'label_filename: "labels.txt"')
    assert text != CONFIG
    placed = placed_config(text, 7)
    assert 'label_filename: "7/labels.txt"' in placed
    assert parse_config(placed).fingerprint != parse_config(placed_config(text, 8)).fingerprint
    assert placed_config(CONFIG, 7) == CONFIG, "without labels versions share what is written"


OF_ENVIRONMENT = """\
import os
import numpy
import triton_python_backend_utils as utils
class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(4)
        config.add_input({"name": "X", "data_type": "TYPE_FP32", "dims": [2]})
        config.add_output({"name": "Y", "data_type": "TYPE_STRING", "dims": [1]})
        POLICY
        return config
    def execute(self, requests):
        said = numpy.array([[os.environ.get("OF_THE_TEAM", "nothing")]], dtype=object)
        return [utils.InferenceResponse([utils.Tensor("Y", said)]) for _ in requests]
"""


def test_a_python_model_runs_in_the_environment_that_its_package_brings(
    real: RealTriton, server: TritonServer, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/activate").write_text("export OF_THE_TEAM=ours\n")
    placed = placed_config(
        'backend: "python" input { name: "X" data_type: TYPE_FP32 dims: [1, 2] } '
        'output { name: "Y" data_type: TYPE_STRING dims: [1, 1] } '
        'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }',
        3,
    )
    model = real.repository / "with-environment"
    (model / "3").mkdir(parents=True)
    (model / "3/model.py").write_text(OF_ENVIRONMENT.replace("POLICY", ""))
    with tarfile.open(model / "3/env.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "bin", "bin")
    (model / "config.pbtxt").write_text(render_config(placed, versions=[3]))
    control(server).load("with-environment", timeout_seconds=60)
    assert server.infer("with-environment", 3, [rows(1, 2)], outputs=["Y"])[0].data == ("ours",)
    control(server).unload("with-environment")


def test_what_a_python_model_completes_is_read_back(tmp_path: Path) -> None:
    """A Triton that completes configurations, as a stock one does."""
    repository = tmp_path / "models"
    for name, policy in {"plain": "", "streams": 'config.set_model_transaction_policy({"decoupled": True})'}.items():
        (repository / name / "1").mkdir(parents=True)
        (repository / name / "1/model.py").write_text(OF_ENVIRONMENT.replace("POLICY", policy))
        (repository / name / "config.pbtxt").write_text('backend: "python"')
    with running_triton(repository, completes=True) as running:
        opened = TritonServer(Triton(name="completes", grpc=running.grpc), request_seconds=10)
        for name, decoupled in {"plain": False, "streams": True}.items():
            control(opened).load(name, timeout_seconds=60)
            config = parse_config(opened.configuration(name, 1))
            assert (config.max_batch_size, config.is_decoupled) == (4, decoupled)
            assert config.signature == opened.signature(name, 1)
        opened.close()


def test_each_version_answers_with_its_own_labels(real: RealTriton, server: TritonServer) -> None:
    """As a client of the classification extension asks: the best of each row, with its label."""
    labels = {7: "cat\ndog\n", 8: "Katze\nHund\n"}
    for version, text in labels.items():
        name = f"labelled-{version}"
        config = ADDER.replace('"Y" data_type: TYPE_FP32 dims: [2]', '"Y" data_type: TYPE_FP32 dims: [2] {labels}')
        config = config.replace("{labels}", 'label_filename: "labels.txt"')
        model = put_adder(real, name, version)
        (model / str(version) / "labels.txt").write_text(text)
        placed = placed_config(config.replace("{versions}", ""), version)
        (model / "config.pbtxt").write_text(render_config(placed, versions=[version]))
        control(server).load(name, timeout_seconds=60)
        with triton_grpc.InferenceServerClient(real.grpc) as client:
            given = triton_grpc.InferInput("X", [1, 2], "FP32")
            given.set_data_from_numpy(np.array([[0.5, 2.0]], np.float32))
            wanted = triton_grpc.InferRequestedOutput("Y", class_count=1)
            answer = client.infer(name, [given], outputs=[wanted]).as_numpy("Y")
        assert answer.ravel()[0].decode().split(":")[1:] == ["1", text.split()[1]]
        control(server).unload(name)


def test_an_old_platform_name_and_weights_beside_the_model_are_served(real: RealTriton, server: TritonServer) -> None:
    model = put_adder(real, "old-spelling", 1)
    config = ADDER.replace('backend: "onnxruntime"', 'platform: "onnxruntime_onnx"').replace("{versions}", "")
    graph = onnx.load(model / "1/model.onnx")
    graph.graph.initializer[0].raw_data = np.array([3.0], np.float32).tobytes()
    graph.graph.initializer[0].ClearField("float_data")
    onnx.save(graph, model / "1/model.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
    assert b"w.data" in (model / "1/model.onnx").read_bytes()
    (model / "config.pbtxt").write_text(render_config(config, versions=[1]))
    control(server).load("old-spelling", timeout_seconds=60)
    assert parse_config(config).backend == "onnxruntime"
    assert server.infer("old-spelling", 1, [rows(1.0, 2.0)], outputs=["Y"])[0].data == (4.0, 5.0)
    control(server).unload("old-spelling")
