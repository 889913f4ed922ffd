"""What a gateway reads at its start, and which tables it takes over."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.domain.marker import MARKER_FILE
from bot.domain.routes import RouteTable, generation_file
from bot.gateway import GatewaySettings
from bot.gateway.table import RoutesFile
from tests.gateway.conftest import StartGateway, StartProcess
from tests.gateway.gateways import TOKEN, RunningGateway, http_client, running_gateway, table, target, write_routes
from tests.gateway.triton import RunningTriton
from tests.systems.tracing import looked_blindly


@pytest.fixture
def gateway(start_gateway: StartGateway, triton_server: RunningTriton) -> RunningGateway:
    """A gateway that serves version 1 at generation 5."""
    return start_gateway(triton_server.url, routes=table(5, target(1)))


@pytest.fixture(scope="module")
def stubborn(tmp_path_factory: pytest.TempPathFactory, triton_server: RunningTriton) -> Iterator[RunningGateway]:
    """The same for tests that are refused, one after the other: it must go on as it is."""
    routes_file = tmp_path_factory.mktemp("routes") / "routes.json"
    write_routes(routes_file, table(5, target(1)))
    told = {"single_process": True, "follow_seconds": 0, "reload_token": TOKEN, "reload_timeout_seconds": 0.3}
    settings = GatewaySettings(routes_file, (triton_server.url,), **told)  # type: ignore[arg-type]
    with running_gateway(settings) as gateway:
        yield gateway


def version_that_answers(gateway: RunningGateway) -> str:
    answer = gateway.infer(10.0).raise_for_status().json()
    version: str = answer["model_version"]
    assert answer["outputs"][0]["data"] == [10.0 + int(version)]
    return version


def assert_unchanged(gateway: RunningGateway) -> None:
    assert RouteTable.from_json(http_client.get(f"{gateway.url}/routes").content) == table(5, target(1))
    assert version_that_answers(gateway) == "1"


def test_a_reload_switches_the_version_and_says_what_is_served(gateway: RunningGateway) -> None:
    assert version_that_answers(gateway) == "1"
    gateway.write(table(6, target(2)))
    answer = gateway.reload(6)
    assert answer.status_code == 200
    assert RouteTable.from_json(answer.content) == table(6, target(2))
    assert answer.json() == gateway.routes()
    assert answer.json()["name"] == "gateway"
    assert answer.json()["draining"] == 0
    assert version_that_answers(gateway) == "2"


def test_reloading_what_is_served_changes_nothing(gateway: RunningGateway) -> None:
    assert gateway.reload(5).status_code == 200
    assert_unchanged(gateway)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
def test_a_reload_needs_the_token(stubborn: RunningGateway, headers: dict[str, str]) -> None:
    stubborn.write(table(6, target(2)))
    answer = http_client.post(f"{stubborn.url}/reload", json={"generation": 6}, headers=headers)
    assert answer.status_code == 401
    assert_unchanged(stubborn)


@pytest.mark.parametrize("header", ["Bearer", "Bearer None", ""])
def test_without_a_token_nobody_may_reload(
    start_gateway: StartGateway, triton_server: RunningTriton, header: str
) -> None:
    gateway = start_gateway(triton_server.url, routes=table(5, target(1)), reload_token="")
    gateway.write(table(6, target(2)))
    answer = http_client.post(f"{gateway.url}/reload", json={"generation": 6}, headers={"Authorization": header})
    assert answer.status_code == 401
    assert_unchanged(gateway)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"generation": "6"}', b'{"generation": true}', b'{"generation": 0}']
)
def test_the_body_names_the_expected_generation(stubborn: RunningGateway, body: bytes) -> None:
    answer = http_client.post(f"{stubborn.url}/reload", content=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 422
    assert_unchanged(stubborn)


@pytest.mark.parametrize(
    ("text", "generation", "status", "words"),
    [
        (table(4, target(2)), 4, 409, "generation 4 is older than 5"),
        (table(6, target(2)), 7, 409, "generation 7 is expected"),
        (table(6, target(2), environment="prod"), 6, 409, "of environment 'prod', this gateway serves 'dev'"),
        (table(5, target(2)), 5, 409, "generation 5 is in service with other routes"),
        (table(6, target(9)), 6, 409, "adder version 9 (for adder) is not ready on http://"),
        (table(6, target(1, "nobody")), 6, 409, "nobody version 1 (for adder) is not ready on http://"),
        ('{"format": 1,', 6, 422, "is not a route table"),
        ('{"format": 3}', 6, 422, "not a routes.json of format 1 or 2"),
    ],
    ids=["older", "not-there-yet", "environment", "same-generation", "version", "model", "broken", "format"],
)
def test_a_table_that_contradicts_is_refused(
    stubborn: RunningGateway, text: RouteTable | str, generation: int, status: int, words: str
) -> None:
    stubborn.write(text)
    answer = stubborn.reload(generation)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert answer.json().get("models") == (["adder"] if "not ready" in words else None)
    assert_unchanged(stubborn)


def test_a_missing_file_is_refused_and_changes_nothing(stubborn: RunningGateway) -> None:
    stubborn.routes_file.unlink(missing_ok=True)
    answer = stubborn.reload(6)
    assert answer.status_code == 409
    assert "is missing" in answer.json()["error"]
    assert_unchanged(stubborn)


def test_a_reload_waits_until_the_file_system_shows_the_generation(
    start_gateway: StartGateway, triton_server: RunningTriton
) -> None:
    gateway = start_gateway(triton_server.url, routes=table(5, target(1)), reload_timeout_seconds=10.0)
    later = threading.Timer(0.3, gateway.write, [table(6, target(2))])
    later.start()
    assert gateway.reload(6).json()["generation"] == 6
    later.join()
    assert version_that_answers(gateway) == "2"


def test_the_folders_above_the_routes_are_opened_before_they_are_read(tmp_path: Path) -> None:
    """Seen on NFS: a gateway that started before the first deployment did not see its routes for half a minute."""
    routes = tmp_path / "promobot" / "dev" / "routes.json"
    for _ in range(2):
        assert looked_blindly(lambda: RoutesFile(routes)._read(), tmp_path / "log", below=tmp_path) == []
        routes.parent.mkdir(parents=True, exist_ok=True)
        routes.write_text(RouteTable("dev", 1).to_json())


def test_a_shadow_that_is_not_ready_is_not_in_the_way(gateway: RunningGateway) -> None:
    gateway.write(table(6, target(2), shadow=target(9)))
    assert gateway.reload(6).status_code == 200
    assert version_that_answers(gateway) == "2"


def test_without_a_file_a_gateway_starts_empty_and_takes_the_first_table(
    start_gateway: StartGateway, triton_server: RunningTriton
) -> None:
    gateway = start_gateway(triton_server.url)
    ready = http_client.get(f"{gateway.url}/v2/health/ready")
    assert ready.status_code == 503 and "the share is not mounted here" in ready.json()["error"]
    assert gateway.infer(1.0).status_code == 503
    (gateway.routes_file.parent / MARKER_FILE).write_text("{}")
    assert http_client.get(f"{gateway.url}/v2/health/ready").status_code == 200, "new, and nothing deployed yet"
    assert (gateway.routes()["generation"], gateway.routes()["environment"]) == (0, None)
    assert gateway.infer(1.0).status_code == 404
    gateway.write(table(1, target(3)))
    assert gateway.reload(1).status_code == 200
    assert version_that_answers(gateway) == "3"


def test_a_gateway_that_restarts_serves_what_the_file_says(
    start_process: StartProcess, triton_server: RunningTriton
) -> None:
    first = start_process(triton_server.url, routes=table(5, target(1)))
    first.write(table(6, target(2)))
    assert first.reload(6).status_code == 200
    first.process.terminate()
    assert first.process.wait(15) == -signal.SIGTERM
    again = start_process(triton_server.url)
    assert again.routes()["generation"] == 6
    assert version_that_answers(again) == "2"


def test_a_copy_that_lags_behind_is_not_what_counts(
    start_gateway: StartGateway, triton_server: RunningTriton, tmp_path: Path
) -> None:
    """Whoever writes routes.json may be killed, or overtaken, between the commit and the copy."""
    (tmp_path / "routes").mkdir()
    for generation, version in ((6, 1), (7, 2)):
        write_routes(tmp_path / "routes" / generation_file(generation), table(generation, target(version)))
    write_routes(tmp_path / "routes" / generation_file(9), table(9, target(1)))  # nothing leads there
    gateway = start_gateway(triton_server.url, routes=table(5, target(1)))
    assert version_that_answers(gateway) == "2"
    assert gateway.reload(7).json()["generation"] == 7


@pytest.mark.parametrize(
    ("routes", "words"),
    [("{", "is not a route table"), (table(5, target(1), environment="prod"), "of environment 'prod'")],
    ids=["broken", "environment"],
)
def test_a_gateway_that_starts_with_a_wrong_file_serves_nothing_until_it_is_right(
    start_gateway: StartGateway,
    triton_server: RunningTriton,
    routes: RouteTable | str,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gateway = start_gateway(triton_server.url, routes=routes, environment="dev")
    ready = http_client.get(f"{gateway.url}/v2/health/ready")
    assert ready.status_code == 503
    assert words in ready.json()["error"]
    assert words in gateway.routes()["problem"]
    assert words in caplog.text
    assert (gateway.infer(1.0).status_code, gateway.infer(1.0).json()["error"][:27]) == (
        503,
        "this gateway serves nothing",
    )
    gateway.write(table(5, target(1)))
    assert gateway.reload(5).status_code == 200
    assert http_client.get(f"{gateway.url}/v2/health/ready").status_code == 200
    assert_unchanged(gateway)
