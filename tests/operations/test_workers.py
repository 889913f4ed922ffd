"""Several worker processes behind one address, in a real environment: what is called done holds for all of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.systems.gateway import GatewayControl
from tests.gateway.gateways import GatewayProcess, http_client
from tests.gateway.workers import START_SECONDS, gateway_workers
from tests.operations.world import Registered, World, _smoke_text, wait_until

pytestmark = pytest.mark.timeout(900)  # five more Pythons start, on a machine that has other things to do

WORKERS = 4
CONNECTIONS = 80


@contextmanager
def served_by_workers(
    world: World, folder: Path, master: str = "uvicorn", **settings: Any
) -> Iterator[GatewayProcess]:
    """Have the environment's only gateway be an application with several workers."""
    tritons = [one.http for name, one in world.endpoints.tritons if name == "dev"]
    started = {"workers": WORKERS, "token": world.endpoints.secrets.reload, **settings}
    routes = world.endpoints.state("dev") / "routes.json"
    with gateway_workers(master, folder, tritons, routes_file=routes, **started) as gateway:
        wait_until(lambda: len(gateway.routes()["workers"] or ()) in (0, WORKERS), seconds=START_SECONDS)
        world.configure("dev", gateways=[{"name": "gateway-dev-1", "url": gateway.url}])
        yield gateway


def versions_seen(gateway: GatewayProcess, model: str) -> set[str]:
    """Ask over 80 new connections."""
    inputs = json.loads(_smoke_text("first"))["cases"][0]["inputs"]
    url = f"{gateway.url}/v2/models/{model}/infer"
    answers = [http_client.post(url, json={"inputs": inputs}) for _ in range(CONNECTIONS)]
    return {answer.raise_for_status().json()["model_version"] for answer in answers}


def two_versions(world: World) -> tuple[str, Registered, Registered]:
    model = world.model()
    return model, world.served(world.register(model)), world.served(world.register(model, "better"))


def workers_of(gateway: GatewayProcess) -> list[str]:
    return sorted(worker["id"] for worker in gateway.routes()["workers"])


@pytest.mark.slow
def test_a_rollback_is_called_done_when_no_worker_answers_with_the_version_rolled_back(
    world: World, tmp_path: Path
) -> None:
    with served_by_workers(world, tmp_path, follow_seconds=3600) as gateway:
        model, _, _ = two_versions(world)
        record = world.records(model)[-1]
        proof = next(c.proof for c in record.criteria if c.name == "fastapi_reloaded")
        assert "gateway-dev-1 (all 4 workers)" in proof or "gateway-dev-1 (4 workers serve it; golden" in proof
        assert versions_seen(gateway, model) == {"2"}
        said = world.words("rollback", model, "--env", "dev", "--now", "--reason", "wrong answers")
        assert said.code == 0, said
        assert versions_seen(gateway, model) == {"1"}


@pytest.mark.slow
def test_nothing_new_goes_out_past_a_worker_that_stands_still(world: World, tmp_path: Path) -> None:
    with served_by_workers(world, tmp_path, follow_seconds=3600) as gateway:
        model = world.model()
        world.served(world.register(model))
        assert "on all 4 workers, takes the reload token" in world.words("doctor", "--env", "dev").out
        world.merged(world.register(model, "better"))
        still = workers_of(gateway)[0]
        os.kill(int(still.partition("-")[0]), signal.SIGSTOP)
        try:
            assert f"1 of 4 workers do not answer: {still}" in world.words("status", "--env", "dev").out
            committed = (world.endpoints.state("dev") / "routes.json").read_text()
            refused = world.words("deploy", "--env", "dev")
            assert refused.code == 1 and f"1 of 4 workers do not answer: {still}" in refused.out
            assert (world.endpoints.state("dev") / "routes.json").read_text() == committed
            assert world.quarantined(model) == [] and world.reverts(model) == []
        finally:
            os.kill(int(still.partition("-")[0]), signal.SIGCONT)
        assert world.deploy().code == 0
        assert versions_seen(gateway, model) == {"2"}


@pytest.mark.slow
def test_the_same_under_gunicorn(world: World, tmp_path: Path) -> None:
    with served_by_workers(world, tmp_path, "gunicorn") as gateway:
        model, _, _ = two_versions(world)
        assert versions_seen(gateway, model) == {"2"}
        assert world.words("rollback", model, "--env", "dev", "--now", "--reason", "wrong answers").code == 0
        assert versions_seen(gateway, model) == {"1"}


@pytest.mark.extended
def test_a_way_back_goes_past_a_worker_that_stands_still_and_is_not_called_done(world: World, tmp_path: Path) -> None:
    with served_by_workers(world, tmp_path) as gateway:
        model, _, _ = two_versions(world)
        world.configure("dev", deadlines={"reload_seconds": 5})
        still = workers_of(gateway)[0]
        os.kill(int(still.partition("-")[0]), signal.SIGSTOP)
        try:
            said = world.words("rollback", model, "--env", "dev", "--now", "--reason", "wrong answers")
            assert said.code == 1 and still in said.out
            assert world.records(model)[-1].outcome == "incomplete"
        finally:
            os.kill(int(still.partition("-")[0]), signal.SIGCONT)
        # It follows the routes by itself as soon as it can.
        wait_until(lambda: versions_seen(gateway, model) == {"1"})


@pytest.mark.extended
def test_a_worker_that_is_killed_in_the_switch_is_started_again_and_nothing_is_put_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served_by_workers(world, tmp_path, follow_seconds=3600) as gateway:
        model, _, _ = two_versions(world)
        world.merged(world.register(model, "best"))
        reload, killed = GatewayControl.reload, list[str]()

        def kill_and_reload(adapter: GatewayControl, to: int, *, timeout_seconds: float) -> Any:
            if not killed:
                killed.append(workers_of(gateway)[0])
                os.kill(int(killed[0].partition("-")[0]), signal.SIGKILL)
            return reload(adapter, to, timeout_seconds=timeout_seconds)

        monkeypatch.setattr(GatewayControl, "reload", kill_and_reload)
        assert world.deploy().code == 0
        wait_until(lambda: len(workers_of(gateway)) == WORKERS, seconds=START_SECONDS)
        assert killed[0] not in workers_of(gateway)
        assert versions_seen(gateway, model) == {"3"}


@pytest.mark.slow
def test_where_nobody_knows_all_workers_nothing_new_goes_out_and_a_way_back_is_not_called_done(
    world: World, tmp_path: Path
) -> None:
    model, _, _ = two_versions(world)
    too_long = tmp_path / ("x" * 90)  # for a Unix socket
    too_long.mkdir()
    with served_by_workers(world, tmp_path, temporary=too_long) as gateway:
        assert gateway.routes()["workers"] is None
        status = world.words("status", "--env", "dev").out
        assert "gateway gateway-dev-1 cannot be switched: it does not know how many processes answer" in status
        doctor = world.words("doctor", "--env", "dev")
        assert doctor.code == 1 and "its workers cannot find each other" in doctor.out
        world.merged(world.register(model, "best"))
        refused = world.words("deploy", "--env", "dev")
        assert refused.code == 1 and "cannot be switched, so nothing new goes out" in refused.out
        assert world.quarantined(model) == [] and world.reverts(model) == []
        back = world.words("rollback", model, "--env", "dev", "--to", 1, "--now", "--reason", "wrong answers")
        assert back.code == 1 and "The way back goes all the same" in back.err
        assert world.records(model)[-1].outcome == "incomplete"
        wait_until(lambda: versions_seen(gateway, model) == {"1"})
