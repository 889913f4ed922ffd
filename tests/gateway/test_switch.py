"""A switch, and the end of a Triton, under load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tritonclient.http as triton_http

from bot.gateway.connection import Limits
from tests.gateway.conftest import StartGateway, StartProcess
from tests.gateway.gateways import RunningGateway, table, target, wait_for
from tests.gateway.triton import RunningTriton, publish_adder, running_triton
from tests.stand_ins.failing_triton import StandIn

CLIENTS = 4
REQUESTS_PER_SECOND = 100


class Client(threading.Thread):
    """Asks at a steady rate and keeps the version of each answer; checks that version and numbers agree."""

    def __init__(self, gateway: RunningGateway, *, binary: bool) -> None:
        super().__init__()
        self.gateway, self.binary = gateway, binary
        self.versions: list[str] = []
        self.failures: list[Exception] = []
        self.stop = threading.Event()

    def run(self) -> None:
        values = np.array([1.5], np.float32)
        given = triton_http.InferInput("X", [1], "FP32")
        given.set_data_from_numpy(values, binary_data=self.binary)
        with triton_http.InferenceServerClient(self.gateway.host_and_port) as client:
            while not self.stop.wait(CLIENTS / REQUESTS_PER_SECOND):
                try:
                    answer = client.infer("adder", [given])
                    version = answer.get_response()["model_version"]
                    np.testing.assert_array_equal(answer.as_numpy("Y"), values + int(version))
                    self.versions.append(version)
                except Exception as error:  # noqa: BLE001  whatever it is, it is a failed request
                    self.failures.append(error)


@contextmanager
def users_of(gateway: RunningGateway) -> Iterator[list[Client]]:
    """Clients that ask all the time: in the end no request failed, and each saw versions 1, 2 and 3 in this order."""
    clients = [Client(gateway, binary=number % 2 == 0) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join(20)
    assert [failure for client in clients for failure in client.failures] == []
    for client in clients:
        assert client.versions == sorted(client.versions)
        assert set(client.versions) == {"1", "2", "3"}


def wait_for_more_answers(clients: list[Client]) -> None:
    wanted = [len(client.versions) + 15 for client in clients]
    wait_for(lambda: all(len(client.versions) >= many for client, many in zip(clients, wanted, strict=True)))


def test_a_switch_under_load_fails_nothing_and_happens_once(
    start_process: StartProcess, triton_server: RunningTriton
) -> None:
    gateway = start_process(triton_server.url, routes=table(1, target(1)))
    with users_of(gateway) as clients:
        for generation, name in ((2, "adder.1a2b3c4d"), (3, "adder")):
            wait_for_more_answers(clients)
            gateway.write(table(generation, target(generation, name)))
            assert gateway.reload(generation).status_code == 200
        wait_for_more_answers(clients)


def test_a_triton_that_is_told_to_end_fails_nothing_and_ends(
    start_gateway: StartGateway, start_stand_in: Callable[[], StandIn], tmp_path: Path
) -> None:
    publish_adder(tmp_path / "repository" / "adder", versions=(1,))
    other = start_stand_in()
    with running_triton(tmp_path / "repository") as triton:
        triton.load("adder")
        limits = Limits(connection_seconds=1.0)
        gateway = start_gateway(triton.url, other.url, routes=table(1, target(1)), limits=limits)
        statuses: list[int] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.wait(0.02):
                statuses.append(gateway.infer(1.0).status_code)

        clients = [threading.Thread(target=ask) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            wait_for(lambda: len(statuses) > 20)
            triton.process.terminate()
            triton.process.wait(timeout=20)  # by itself it would wait 30 s for its connections
            ended = len(statuses)
            wait_for(lambda: len(statuses) > ended + 20)
        finally:
            stop.set()
            for client in clients:
                client.join()
    assert set(statuses) == {200}
