"""What users get, watched from beside: which version answers, and whether it answers as it was trained."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from typing import Any

from bot.sandbox.reference import RECIPES, train
from tests.operations.world import World

TOLERANCE = 1e-4
CLIENT_SECONDS = 30.0


@dataclass(frozen=True)
class Asked:
    """One request of a user: when it began and ended (seconds since 1970), and what came of it."""

    started: float
    ended: float
    gateway: int
    version: int | None
    probabilities: tuple[float, ...] = ()
    problem: str = ""


@cache
def question() -> bytes:
    """The body of the request: the first sample that the training kept."""
    samples = train(RECIPES["first"]).samples[:1]
    given = {"name": "X", "shape": list(samples.shape), "datatype": "FP32", "data": samples.ravel().tolist()}
    return json.dumps({"inputs": [given], "outputs": [{"name": "probabilities"}]}).encode()


@cache
def golden(recipe: str) -> tuple[float, ...]:
    """What the training framework answered to it."""
    return tuple(train(RECIPES[recipe]).probabilities[:1].ravel().tolist())


def is_golden(asked: Asked, recipe: str) -> bool:
    """Whether the answer is that of this recipe."""
    expected = golden(recipe)
    return len(asked.probabilities) == len(expected) and all(
        abs(one - other) <= TOLERANCE for one, other in zip(asked.probabilities, expected, strict=True)
    )


class Client:
    """One user with a connection of their own, which is opened again when it breaks off."""

    def __init__(self, url: str, model: str, *, gateway: int) -> None:
        host, _, port = url.partition("://")[2].partition(":")
        self._connection = HTTPConnection(host, int(port), timeout=CLIENT_SECONDS)
        self._path, self._gateway = f"/v2/models/{model}/infer", gateway

    def ask(self) -> Asked:
        """Ask once; a failure is an outcome."""
        started = time.time()
        try:
            self._connection.request("POST", self._path, question(), {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, HTTPException) as error:
            self._connection.close()
            return Asked(started, time.time(), self._gateway, None, problem=f"{type(error).__name__} {error}")
        ended = time.time()
        if answer.status != 200:
            return Asked(started, ended, self._gateway, None, problem=f"HTTP {answer.status} {body[:200]!r}")
        document: dict[str, Any] = json.loads(body)
        data = tuple(document["outputs"][0]["data"])
        return Asked(started, ended, self._gateway, int(document["model_version"]), data)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Watch:
    """Asks every gateway in turn until the block ends."""

    def __init__(self, world: World, model: str, *, environment: str = "dev", pause_seconds: float = 0.1) -> None:
        self._clients = [
            Client(gateway.url, model, gateway=number)
            for number, gateway in enumerate(world.endpoints.gateway[environment])
        ]
        self._pause, self._ended = pause_seconds, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.asked: list[Asked] = []

    def __enter__(self) -> Watch:
        question()  # it takes a training, which nobody shall wait for
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            for client in self._clients:
                self.asked.append(client.ask())
            if self._ended.wait(self._pause):
                break
        for client in self._clients:
            client.close()

    def problems(self, recipes: Mapping[int, str], *, may_fail: bool = False) -> Sequence[str]:
        """Say what was wrong: failures, and answers that are not those of the versions in ``recipes``."""
        found = [] if self.asked else ["nobody asked anything"]
        failed = [asked for asked in self.asked if asked.problem]
        if failed and not may_fail:
            found.append(f"{len(failed)} of {len(self.asked)} requests failed, first: {failed[0].problem}")
        for asked in self.asked:
            if asked.version is not None and not (
                asked.version in recipes and is_golden(asked, recipes[asked.version])
            ):
                found.append(f"version {asked.version} answered {asked.probabilities}, expected of {dict(recipes)}")
                break
        return found
