"""Several worker processes behind one address: they switch together, and whoever does not is named.

The processes are those of uvicorn and gunicorn as people run them, with the mounted application of the README.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bot.domain.routes import generation_file
from bot.gateway.table import RoutesFile
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import GatewayProcess, RunningGateway, table, target, wait_for, write_routes
from tests.gateway.workers import START_SECONDS, gateway_workers
from tests.stand_ins.failing_triton import StandIn, answer_well, as_if_restarted, hang

StartStandIn = Callable[[], StandIn]
SEEN = 80


@pytest.fixture(scope="module")
def triton() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture(scope="module", params=["uvicorn", pytest.param("gunicorn", marks=pytest.mark.slow)])
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, triton: StandIn
) -> Iterator[GatewayProcess]:
    """Four workers that would look for newer routes once an hour."""
    folder = tmp_path_factory.mktemp(request.param)
    write_routes(folder / "routes.json", table(1, target(1)))
    with gateway_workers(request.param, folder, [triton.url], workers=4, follow_seconds=3600) as running:
        yield running


@pytest.fixture
def address(started: GatewayProcess) -> GatewayProcess:
    """The same, all of which serve version 1."""
    wait_for(lambda: len(workers_of(started)) == 4, seconds=START_SECONDS)
    generation = started.routes()["generation"] + 1
    started.write(table(generation, target(1)))
    assert started.reload(generation).status_code == 200
    return started


def switched(gateway: GatewayProcess) -> int:
    """Write the routes to version 2; return their generation."""
    generation: int = gateway.routes()["generation"] + 1
    gateway.write(table(generation, target(2)))
    return generation


def workers_of(gateway: GatewayProcess) -> dict[str, dict[str, Any]]:
    return {worker["id"]: worker for worker in gateway.routes()["workers"]}


def pid_of(worker: str) -> int:
    return int(worker.partition("-")[0])


def versions_seen(gateway: GatewayProcess, *, connections: int = SEEN) -> Counter[tuple[str, str]]:
    """Ask over a new connection each time; return who answered, and with which version."""
    answers = [gateway.infer(1.0).raise_for_status() for _ in range(connections)]
    return Counter((heard.headers["promobot-worker"], heard.json()["model_version"]) for heard in answers)


@pytest.mark.slow
def test_a_reload_reaches_every_worker(address: GatewayProcess) -> None:
    seen = versions_seen(address)
    assert len({worker for worker, _ in seen}) > 1 and {version for _, version in seen} == {"1"}
    generation = switched(address)
    said = address.reload(generation)
    assert said.status_code == 200
    assert [worker["generation"] for worker in said.json()["workers"]] == [generation] * 4
    assert {version for _, version in versions_seen(address)} == {"2"}


@pytest.mark.slow
def test_a_worker_that_stands_still_is_named_and_no_reload_is_called_done(address: GatewayProcess) -> None:
    still = sorted(workers_of(address))[0]
    generation = switched(address)
    os.kill(pid_of(still), signal.SIGSTOP)
    try:
        said = address.reload(generation)
        assert (said.status_code, said.json()["error"]) == (503, f"worker {still} does not answer")
        there = workers_of(address)
        assert there.pop(still) == {"id": still, "problem": "it does not answer"}
        assert [worker["generation"] for worker in there.values()] == [generation] * 3
    finally:
        os.kill(pid_of(still), signal.SIGCONT)
    wait_for(lambda: address.reload(generation).status_code == 200)
    assert {version for _, version in versions_seen(address)} == {"2"}


@pytest.mark.slow
def test_a_worker_that_is_killed_is_not_counted_and_its_successor_serves_the_newest(address: GatewayProcess) -> None:
    before = workers_of(address)
    gone = sorted(before)[0]
    generation = switched(address)
    os.kill(pid_of(gone), signal.SIGKILL)
    wait_for(lambda: address.reload(generation).status_code == 200)
    wait_for(lambda: len(workers_of(address)) == 4, seconds=START_SECONDS)
    assert gone not in workers_of(address) and len(workers_of(address).keys() - before.keys()) == 1
    assert [worker["generation"] for worker in workers_of(address).values()] == [generation] * 4
    assert {version for _, version in versions_seen(address)} == {"2"}


# Several gateways in this process, which is the master of none: they find each other as workers do.


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder whose name is short enough for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="promobot-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def start_worker(start_gateway: StartGateway, triton: StandIn) -> Callable[..., RunningGateway]:
    return lambda *, routes=None, **settings: start_gateway(
        triton.url, routes=routes, **{"single_process": False, **settings}
    )


def test_a_gateway_alone_says_so(start_gateway: StartGateway, triton: StandIn) -> None:
    alone = start_gateway(triton.url, routes=table(1, target(1)))
    said = alone.routes()
    assert [worker["id"] for worker in said["workers"]] == [said["worker"]] == [said["group"]]
    assert pid_of(said["worker"]) == os.getpid()
    assert alone.infer(1.0).headers["promobot-worker"] == said["worker"]
    assert alone.infer(1.0, model="nobody").headers["promobot-worker"] == said["worker"], "also with an error"


def test_workers_that_serve_something_else_are_not_told(
    start_worker: Callable[..., RunningGateway], tmp_path: Path
) -> None:
    ours = start_worker(routes=table(1, target(1)), name="ours")
    same, other = start_worker(name="ours"), start_worker(name="theirs")
    ours.write(table(2, target(2)))
    assert ours.reload(2).status_code == 200
    assert [gateway.routes()["generation"] for gateway in (ours, same, other)] == [2, 2, 1]
    assert ours.routes()["group"] == same.routes()["group"] != other.routes()["group"]
    assert len(ours.routes()["workers"]) == 2 and len(other.routes()["workers"]) == 1


def test_a_worker_that_refuses_is_heard(
    start_worker: Callable[..., RunningGateway], start_stand_in: StartStandIn, start_gateway: StartGateway
) -> None:
    ours = start_worker(routes=table(1, target(1)))
    empty = start_stand_in()
    empty.behaviour = as_if_restarted
    start_gateway(empty.url, single_process=False)
    ours.write(table(2, target(2)))
    said = ours.reload(2)
    assert (said.status_code, said.json()["models"]) == (409, ["adder"])
    assert "adder version 2 (for adder) is not ready on" in said.json()["error"]
    assert sorted(worker["generation"] for worker in ours.routes()["workers"]) == [1, 2]


def test_what_drains_and_what_shadows_received_is_that_of_all_workers(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    ours, other = (
        start_gateway(triton.url, routes=routes, single_process=False, timeout_seconds=1.5)
        for routes in (table(1, target(1), target(9)), None)
    )
    for gateway in (ours, other):
        assert gateway.infer(1.0).status_code == 200
    wait_for(lambda: ours.routes()["shadows"]["adder"]["answered"] == 2)
    assert other.routes()["shadows"]["adder"]["sent"] == 2

    triton.behaviour = lambda seen: hang(seen) if "/versions/1/infer" in seen.path else answer_well(seen)
    with ThreadPoolExecutor(1) as pool:
        asked = len(triton.infers)
        pool.submit(other.infer, 1.0)
        wait_for(lambda: len(triton.infers) > asked)
        ours.write(table(2, target(2)))
        assert ours.reload(2).json()["draining"] == 1, "it runs under the older routes in another worker"
    assert ours.routes()["draining"] == 0


@pytest.mark.parametrize("mode", [0o755, None], ids=["others may enter", "not there"])
def test_where_workers_cannot_find_each_other_the_gateway_says_that_it_does_not_know(
    start_worker: Callable[..., RunningGateway],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mode: int | None,
) -> None:
    if mode is None:
        monkeypatch.setattr(tempfile, "tempdir", str(temporary / "nothing"))
    else:
        (temporary / f"promobot-gateway-{os.getuid()}").mkdir()
        (temporary / f"promobot-gateway-{os.getuid()}").chmod(mode)
    gateway = start_worker(routes=table(1, target(1)))
    assert gateway.routes()["workers"] is None
    assert "other workers of this server cannot be found" in caplog.text
    assert gateway.reload(1).status_code == 200


def test_a_path_too_long_for_a_socket_is_said(
    start_worker: Callable[..., RunningGateway],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (temporary / ("x" * 90)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / ("x" * 90)))
    assert start_worker(routes=table(1, target(1))).routes()["workers"] is None
    assert "is longer than 100 bytes; TMPDIR names a shorter folder" in caplog.text


def test_a_worker_whose_socket_was_tidied_away_is_found_again(
    start_worker: Callable[..., RunningGateway], temporary: Path
) -> None:
    one = start_worker(routes=table(1, target(1)), follow_seconds=0.05)
    other = start_worker(follow_seconds=0.05)
    for name in temporary.glob("*/*/*"):
        name.unlink()
    wait_for(lambda: len(one.routes()["workers"]) == len(other.routes()["workers"]) == 2)


def test_what_ended_workers_and_strangers_left_in_the_folder_disturbs_nobody(
    start_worker: Callable[..., RunningGateway], temporary: Path
) -> None:
    one = start_worker(routes=table(1, target(1)), probe_timeout_seconds=0.5)
    (folder,) = temporary.glob("*/*")
    with socket.socket(socket.AF_UNIX) as ended:
        ended.bind(str(folder / "1-ended"))
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(folder / "2-stranger"))
        stranger.listen()
        said = one.routes()["workers"]
        assert [worker["id"] for worker in said[1:]] == ["2-stranger"], "it lives, and says nothing"
        assert one.reload(1).status_code == 503
    assert len(one.routes()["workers"]) == 1 and one.reload(1).status_code == 200
    assert not (folder / "1-ended").exists(), "nobody asks it again"
    with socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(next(folder.iterdir())))
        rude.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
    assert one.infer(1.0).status_code == 200


def test_a_worker_that_takes_no_more_connections_is_named(
    start_worker: Callable[..., RunningGateway], temporary: Path
) -> None:
    """As one that stood still for long, while many asked it."""
    one = start_worker(routes=table(1, target(1)), probe_timeout_seconds=0.5)
    (folder,) = temporary.glob("*/*")
    with ExitStack() as opened:
        full = opened.enter_context(socket.socket(socket.AF_UNIX))
        full.bind(str(folder / "2-full"))
        full.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                waiting = opened.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(folder / "2-full"))
        assert [worker["problem"] for worker in one.routes()["workers"][1:]] == ["it does not answer"]
        said = one.reload(1)
        assert (said.status_code, said.json()["error"]) == (503, "worker 2-full does not answer")
    assert one.reload(1).status_code == 200


# What a gateway does by itself.


def test_a_gateway_that_nobody_reloads_follows_the_routes(start_gateway: StartGateway, triton: StandIn) -> None:
    gateway = start_gateway(triton.url, routes=table(1, target(1)), follow_seconds=0.05)
    gateway.write(table(2, target(2)))
    wait_for(lambda: gateway.infer(1.0).json()["model_version"] == "2")
    # routes.json lags behind where its writer was killed.
    generations = gateway.routes_file.parent / "routes"
    generations.mkdir()
    (generations / generation_file(3)).write_text(table(3, target(3)).to_json())
    wait_for(lambda: gateway.infer(1.0).json()["model_version"] == "3")


def test_what_it_would_refuse_at_a_reload_it_does_not_follow(
    start_gateway: StartGateway, start_stand_in: StartStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(5, target(1)), follow_seconds=0.05)
    for refused, said in (
        ("{", "is not a route table"),
        (table(4, target(2)), ""),
        (table(6, target(2), environment="prod"), "of environment 'prod'"),
    ):
        gateway.write(refused)
        if said:
            wait_for(lambda said=said: said in caplog.text)  # type: ignore[misc]
        assert gateway.routes()["generation"] == 5
    triton.behaviour = lambda seen: as_if_restarted(seen) if "/2/" in seen.path else answer_well(seen)
    gateway.write(table(6, target(2)))
    wait_for(lambda: "adder version 2 (for adder) is not ready on" in caplog.text)
    assert gateway.infer(1.0).json()["model_version"] == "1"
    triton.behaviour = answer_well
    wait_for(lambda: gateway.infer(1.0).json()["model_version"] == "2")
    assert caplog.text.count("the newer routes are not taken") == 3, "each is said once"


def test_a_gateway_that_started_without_the_share_begins_by_itself(
    start_gateway: StartGateway, triton: StandIn
) -> None:
    gateway = start_gateway(triton.url, follow_seconds=0.05)
    assert gateway.infer(1.0).status_code == 503
    gateway.write(table(7, target(3)))
    wait_for(lambda: gateway.infer(1.0).status_code == 200)
    assert gateway.routes()["generation"] == 7


def test_what_has_not_changed_is_not_read_again(
    start_gateway: StartGateway, triton: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counted(name: str) -> None:
        does = getattr(RoutesFile, name)
        monkeypatch.setattr(RoutesFile, name, lambda *given: done.append(name) or does(*given))

    counted("_read")
    counted("_has_changed")
    start_gateway(triton.url, routes=table(1, target(1)), follow_seconds=0.01)
    wait_for(lambda: done.count("_has_changed") > 10)
    assert done.count("_read") == 2, "at the start, and at the first look"
