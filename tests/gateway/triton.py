"""A real Triton for the gateway's tests, with models whose answers tell their version."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from tests.gateway.gateways import free_port, http_client, wait_until_live

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
    process: subprocess.Popen[bytes]

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
def running_triton(repository: Path) -> Iterator[RunningTriton]:
    """Run Triton on ``repository`` in explicit mode until the block ends."""
    environment = _environment()
    server = next(environment.glob("lib/python3*/site-packages/pytriton/tritonserver"))
    home = next(
        line.partition("=")[2].strip()
        for line in (environment / "pyvenv.cfg").read_text().splitlines()
        if line.startswith("home")
    )
    port = free_port()
    command = [server / "bin" / "tritonserver", f"--model-repository={repository}"]
    command += [f"--backend-directory={server / 'backends'}", "--model-control-mode=explicit"]
    command += ["--http-address=127.0.0.1", f"--http-port={port}", "--allow-grpc=false", "--allow-metrics=false"]
    log_file = repository.with_name("triton.log")
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                # The embedded interpreter finds its packages through the first python on PATH.
                "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
                "LD_LIBRARY_PATH": str(Path(home).parent / "lib"),
                "PYTHONPATH": str(server.parent.parent),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )
    try:
        wait_until_live(f"http://127.0.0.1:{port}", process, log_file)
        yield RunningTriton(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment() -> Path:
    """Return the virtual environment that holds Triton (see the recipe in the documentation of the sandbox)."""
    named = os.environ.get("PROMOBOT_TRITON_ENVIRONMENT", "")
    if not named:
        pytest.skip("PROMOBOT_TRITON_ENVIRONMENT names no environment with Triton")
    return Path(named)
