"""Memory of a real Triton: what its metrics say, and what a load takes that is seen from outside as well."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bot.domain.memory import Memory
from bot.errors import Unavailable
from bot.operations import memory
from bot.operations.memory import Meter, looks
from bot.sandbox import environments, triton
from bot.sandbox.processes import Ports
from bot.settings import Triton
from bot.systems.triton.server import TritonServer
from tests.controls import control
from tests.gateway.gateways import wait_until_live
from tests.stand_ins.server import Seen, StandIn, answer

MIB = 2**20
WEIGHTS = 200 * MIB
CONFIG = """\
backend: "onnxruntime" max_batch_size: 0
input [{name: "X" data_type: TYPE_INT64 dims: [-1]}] output [{name: "Y" data_type: TYPE_FP32 dims: [-1, 1024]}]
"""


@dataclass(frozen=True)
class Measured:
    """A real Triton with its metrics, its process, and the repository that it serves from."""

    named: Triton
    process: int
    repository: Path


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    directory = tmp_path_factory.mktemp("triton")
    repository = directory / "models"
    weights = np.zeros((WEIGHTS // 4096, 1024), dtype=np.float32) + 0.5
    vectors = [
        helper.make_tensor_value_info("X", TensorProto.INT64, ["n"]),
        helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", 1024]),
    ]
    nodes = [helper.make_node("Gather", ["W", "X"], ["Y"], axis=0)]
    graph = helper.make_graph(nodes, "g", vectors[:1], vectors[1:], [numpy_helper.from_array(weights, "W")])
    (repository / "large/1").mkdir(parents=True)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, repository / "large/1/model.onnx")
    (repository / "large/config.pbtxt").write_text(CONFIG)
    with Ports() as ports:
        http, grpc, metrics = ports.take(), ports.take(), ports.take()
        part = triton.part(
            "triton",
            environment=environments.triton(progress=print),
            model_repository=repository,
            http_port=http,
            grpc_port=grpc,
            metrics_port=metrics,
        )
        log_file = directory / "triton.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                part.command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **part.variables}
            )
        try:
            wait_until_live(f"http://127.0.0.1:{http}", process, log_file)
            named = Triton(name="real", grpc=f"127.0.0.1:{grpc}", metrics=f"127.0.0.1:{metrics}")
            yield Measured(named, process.pid, repository)
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture
def server(real: Measured) -> Iterator[TritonServer]:
    opened = TritonServer(real.named, request_seconds=20)
    yield opened
    opened.close()


def resident(process: int) -> int:
    """Return the bytes that a process and its descendants have in memory, as the kernel counts them."""
    children = Path(f"/proc/{process}/task").glob("*/children")
    pids = [int(pid) for path in children for pid in path.read_text().split()]
    status = Path(f"/proc/{process}/status").read_text()
    own = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
    return own + sum(map(resident, pids))


def test_a_real_triton_says_what_its_machine_has_and_each_look_of_its_is_a_new_reading(server: TritonServer) -> None:
    first, second = looks(server)
    assert first.beat != second.beat
    for reading in (first, second):
        assert reading.main is not None and 0 < reading.main.used < reading.main.total
    whole = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert first.main is not None and first.main.total == whole, "the machine's, whatever a container may use"


def test_a_load_takes_what_the_process_has_more_of(real: Measured, server: TritonServer) -> None:
    ticks = itertools.count()

    def behave(_: Seen) -> bytes:
        # What Triton's own gauges would say on a machine on which nothing else moves.
        said = {"utilization": next(ticks), "memory_total_bytes": 2**40, "memory_used_bytes": resident(real.process)}
        return answer(200, "".join(f"nv_cpu_{name} {value}\n" for name, value in said.items()).encode())

    with StandIn(behave) as machine:
        quiet = TritonServer(
            real.named.model_copy(update={"metrics": f"127.0.0.1:{machine.port}"}), request_seconds=20
        )
        meter = Meter()
        with meter.measuring(quiet, "large", 1):
            control(server).load("large", timeout_seconds=120)
            assert server.wait_ready([("large", 1)], timeout_seconds=120) == []
        quiet.close()
    assert meter.memory.main is not None, meter.memory
    assert WEIGHTS <= meter.memory.main <= 4 * WEIGHTS and meter.memory.gpu is None
    assert server.memory_told_of("large", 1) == [], "of main memory no backend tells"


def test_what_others_load_meanwhile_is_not_taken_for_this_one(
    real: Measured, server: TritonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, seen = Meter(), iter([frozenset[tuple[str, int]](), frozenset({("other", 1)})])
    monkeypatch.setattr(memory, "_others", lambda *_: next(seen))
    monkeypatch.setattr(TritonServer, "memory_told_of", lambda *_: [])
    with meter.measuring(server, "large", 1):
        pass
    assert meter.memory == Memory(problem=f"other models were loaded or unloaded on {server.name} meanwhile")


def test_metrics_that_stay_as_they_are_or_say_nothing_are_no_measure(
    real: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "BEAT_SECONDS", 0.2)
    for text, said in ((b"", "say nothing of memory"), (b"nv_cpu_memory_total_bytes 9\nnv_cpu_memory_used_bytes 5\n",
                                                        "do not change within")):  # fmt: skip
        with StandIn(lambda _, text=text: answer(200, text)) as machine:  # type: ignore[misc]
            named = real.named.model_copy(update={"metrics": f"127.0.0.1:{machine.port}"})
            stuck, meter = TritonServer(named, request_seconds=5), Meter()
            with pytest.raises(Unavailable, match=said):
                looks(stuck)
            with meter.measuring(stuck, "large", 1):
                pass
            assert said in meter.memory.problem and meter.memory.main is None
            stuck.close()
