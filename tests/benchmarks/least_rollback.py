"""The least that goes back: what a rollback with ``--now`` is compared with, in a process that runs or a new one.

    python -m tests.benchmarks.least_rollback '{"state": …}'

Routes are written and synced, every gateway reloads, and each gateway and each Triton is asked once. It reads no
record, takes no turn, hashes nothing and leaves no trace. As a new process it also imports the libraries that the bot
uses until users are back, and meanwhile has Git fetch main and reads desired state, since main is what says which
version a rollback leaves. Nothing of the bot is imported.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Goal:
    """The way back: the environment's folder of state, what shall answer, and whom to tell and to ask.

    ``target`` is as in ``routes.json``; ``question`` is the body of an inference request; ``gateways`` are ports and
    ``tritons`` the addresses of gRPC; ``git`` is the address of the repository with its token in it.
    """

    state: str
    model: str
    target: dict[str, Any]
    token: str
    question: str
    gateways: list[int]
    tritons: list[str]
    git: str
    desired: str


class Least:
    """The least that goes back; every channel is open before it begins."""

    def __init__(self, goal: Goal) -> None:
        import grpc
        from tritonclient.grpc import service_pb2_grpc

        self._goal = goal
        self._channels = [grpc.insecure_channel(address) for address in goal.tritons]
        for channel in self._channels:
            grpc.channel_ready_future(channel).result(timeout=10)
        self._tritons = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in self._channels]

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            channel.close()

    def run(self) -> None:
        """Go back."""
        goal, state = self._goal, Path(self._goal.state)
        file = state / "routes.json"
        table = json.loads(file.read_text())
        table["generation"] += 1
        table["models"][goal.model] |= {"live": goal.target}
        for path in (state / "routes" / f"{table['generation']:010d}.json", file):
            _replace(path, json.dumps(table))
        for port in goal.gateways:
            reload = json.dumps({"generation": table["generation"]}).encode()
            _post(port, "/reload", reload, {"Authorization": f"Bearer {goal.token}"})
        for port in goal.gateways:
            said = _post(port, f"/v2/models/{goal.model}/infer", goal.question.encode(), {})
            if int(json.loads(said)["model_version"]) != goal.target["version"]:
                raise RuntimeError(f"another version answered: {said!r}")
        for stub in self._tritons:
            stub.ModelInfer(self._request(), timeout=10)

    def _request(self) -> Any:
        from tritonclient.grpc import service_pb2

        (given,) = json.loads(self._goal.question)["inputs"]
        target = self._goal.target
        request = service_pb2.ModelInferRequest(
            model_name=target["triton_model"], model_version=str(target["version"])
        )
        tensor = request.inputs.add(name=given["name"], datatype=given["datatype"], shape=given["shape"])
        tensor.contents.fp32_contents.extend(given["data"])
        return request


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _post(port: int, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {said!r}")
        return said
    finally:
        connection.close()


def _read_main(goal: Goal, folder: str) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)

    git("init", "--quiet", "--bare")
    git("-c", "maintenance.auto=false", "fetch", "--quiet", "--depth=1", "--no-tags", goal.git, "refs/heads/main")
    git("cat-file", "blob", f"FETCH_HEAD:{goal.desired}")


def main() -> None:
    """Go back from a process that holds nothing yet."""
    from tests.benchmarks.imports import TO_SWITCH

    gc.set_threshold(200_000, 50, 50)  # as the command line does
    goal = Goal(**json.loads(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        reading = threading.Thread(target=_read_main, args=(goal, folder))
        reading.start()
        for library in TO_SWITCH:
            import_module(library)
        least = Least(goal)
        reading.join()
        least.run()


if __name__ == "__main__":
    main()
