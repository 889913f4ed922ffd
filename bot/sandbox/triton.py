"""The Triton server of a sandbox: the real one, on the CPU, in explicit model control."""

from __future__ import annotations

import os
from pathlib import Path

from bot.sandbox import environments
from bot.sandbox.environments import Environment
from bot.sandbox.processes import HOST, Part


def part(
    name: str,
    *,
    environment: Environment,
    model_repository: Path,
    http_port: int,
    grpc_port: int,
    metrics_port: int | None = None,
) -> Part:
    """Return the server that serves what is loaded from ``model_repository``, which must exist."""
    server = environments.triton_server(environment)
    command = (
        str(server / "bin" / "tritonserver"),
        "--model-control-mode=explicit",
        f"--model-repository={model_repository}",
        f"--backend-directory={server / 'backends'}",
        f"--http-address={HOST}",
        f"--http-port={http_port}",
        f"--grpc-address={HOST}",
        f"--grpc-port={grpc_port}",
        "--strict-readiness=true",
        # Packages say all of it. Completing costs a start of the backend more: more than half the time of a load.
        "--disable-auto-complete-config",
        *_metrics(metrics_port),
        "--log-verbose=0",
    )
    variables = {
        # The Python that the backend embeds looks for its packages beside the first python3 on PATH.
        "PATH": f"{environment.bin}:{os.environ.get('PATH', os.defpath)}",
        "LD_LIBRARY_PATH": str(environments.libpython(environment.python).parent),
        "PYTHONPATH": "",
        # A backend that is loaded from a version directory would leave __pycache__ there: to Triton, a new version.
        "PYTHONDONTWRITEBYTECODE": "1",
        # onnxruntime would keep telemetry in the home of its user, and send it to its makers.
        "ORT_DISABLE_TELEMETRY": "1",
    }
    return Part(name=name, command=command, port=http_port, ready_path="/v2/health/ready", variables=variables)


def _metrics(port: int | None) -> tuple[str, ...]:
    if port is None:
        # They would need one more port, and look for GPUs for a second at the end.
        return ("--allow-metrics=false",)
    return (f"--metrics-address={HOST}", f"--metrics-port={port}")
