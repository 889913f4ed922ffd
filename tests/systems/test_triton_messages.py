"""Triton's messages come without NVIDIA's client around them, and take nothing from anyone who wants that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
OURS = "import bot.systems.triton.server, bot.systems.triton.config"
THEIRS = "import tritonclient.grpc"


def _says(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_neither_the_client_nor_numpy_is_imported() -> None:
    found = "print(sorted({'numpy', 'rapidjson', 'tritonclient.grpc', 'tritonclient.utils'} & set(sys.modules)))"
    assert _says(f"import sys; {OURS}; {found}") == "[]"
    assert "numpy" in _says(f"import sys; {THEIRS}; {found}"), "NVIDIA's package still imports it: we gain by it"


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_the_client_works_before_and_after(first: str) -> None:
    imports = "; ".join([OURS, THEIRS] if first == "ours" else [THEIRS, OURS])
    same = "server.service.ModelInferRequest is tritonclient.grpc.service_pb2.ModelInferRequest"
    program = f"{imports}; from bot.systems.triton import server; from tritonclient.grpc import InferenceServerClient"
    assert _says(f"{program}; InferenceServerClient('127.0.0.1:1').close(); print({same})") == "True"


def test_reading_a_configuration_needs_no_grpc() -> None:
    assert _says("import sys, bot.systems.triton.config; print('grpc' in sys.modules)") == "False"
