"""A real Triton for the gateway's tests, with models whose answers tell their version."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx

from bot.sandbox import environments, triton
from bot.sandbox.processes import HOST, Ports
from tests.gateway.gateways import http_client, wait_until_live

CONFIG = """\
backend: "onnxruntime"
default_model_filename: "model.onnx"
version_policy: {all: {}}
input [{name: "X" data_type: TYPE_FP32 dims: [-1]}]
output [{name: "Y" data_type: TYPE_FP32 dims: [-1]}]
"""


@dataclass(frozen=True)
class RunningTriton:
    url: str
    grpc: str
    process: subprocess.Popen[bytes]
    metrics: str = ""
    """``host:port`` of its own metrics, where it has any."""

    def load(self, model: str) -> None:
        http_client.post(f"{self.url}/v2/repository/models/{model}/load", timeout=60).raise_for_status()


def publish_adder(directory: Path, *, versions: Sequence[int]) -> None:
    """Write a model whose version N answers Y = X + N."""
    directory.mkdir(parents=True)
    (directory / "config.pbtxt").write_text(CONFIG)
    vector = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in ("X", "Y")]
    for version in versions:
        amount = onnx.helper.make_tensor("amount", onnx.TensorProto.FLOAT, [1], [float(version)])
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Add", ["X", "amount"], ["Y"])], "adder", vector[:1], vector[1:], [amount]
        )
        model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
        (directory / str(version)).mkdir()
        onnx.save(model, directory / str(version) / "model.onnx")


@contextmanager
def running_triton(
    repository: Path,
    *,
    host: str = HOST,
    http_port: int | None = None,
    completes: bool = False,
    metrics: bool = False,
) -> Iterator[RunningTriton]:
    """Run the sandbox's Triton on ``repository`` until the block ends; it has loaded nothing.

    With ``completes`` it completes configurations, as a stock Triton does. With ``metrics`` it tells its own.
    """
    with Ports() as ports:
        part = triton.part(
            "triton",
            environment=environments.triton(progress=print),
            model_repository=repository,
            http_port=http_port or ports.take(),
            grpc_port=(grpc_port := ports.take()),
            metrics_port=(metrics_port := ports.take() if metrics else None),
        )
        log_file = repository.with_name("triton.log")
        command = [f"--http-address={host}" if "--http-address=" in word else word for word in part.command]
        if completes:
            command.remove("--disable-auto-complete-config")
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **part.variables}
            )
        try:
            wait_until_live(f"http://{host}:{part.port}", process, log_file)
            yield RunningTriton(
                f"http://{host}:{part.port}", f"127.0.0.1:{grpc_port}", process, f"{HOST}:{metrics_port}"
            )
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
