"""What clients may cost a gateway: memory, headers, time, connections."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from bot.gateway import Gateway, GatewaySettings, ShadowSettings
from bot.gateway.__main__ import parser
from bot.gateway.settings import ClientLimits
from tests.gateway.clients import BODY, Client, answer_of, bodies, client_of, head
from tests.gateway.conftest import StartGateway, StartProcess
from tests.gateway.gateways import http_client, running_application, table, target, wait_for, write_routes
from tests.stand_ins.failing_triton import StandIn, answer_well, for_infer, hang, http

MEBIBYTE = 2**20
QUARTER = 256 * 1024
StartStandIn = Callable[[], StandIn]


def part(size: int) -> bytes:
    """Return a request of which ``size`` bytes are there, and no end; it does not announce how many come."""
    return head("Transfer-Encoding: chunked", length=None) + b"%x\r\n%b\r\n" % (size, b" " * size)


# --- memory -------------------------------------------------------------------------------------------------------


def test_bodies_beyond_the_budget_are_refused_until_there_is_room(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    gateway = start_gateway(
        start_stand_in().url, routes=table(1, target(7)), max_request_bytes=MEBIBYTE, max_bytes_in_flight=MEBIBYTE
    )

    def held() -> int:
        return bodies(gateway.routes())

    with client_of(gateway.url) as first, client_of(gateway.url) as second:
        first.send(part(3 * QUARTER))
        wait_for(lambda: held() == 3 * QUARTER)
        second.send(part(QUARTER))
        wait_for(lambda: held() == 4 * QUARTER)
        for more in (head() + BODY, head("Transfer-Encoding: chunked", length=None) + b"1\r\n{\r\n"):
            refused = answer_of(gateway.url, more)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert "holds as many bytes" in refused.error
        assert held() == 4 * QUARTER, "what was refused is not held"
        assert gateway.routes()["bodies"]["refused"] == 2
        second.close()
        wait_for(lambda: held() == 3 * QUARTER)
        assert gateway.infer(1.0).status_code == 200
        first.send(b"0\r\n\r\n")
        assert first.hear().status == 200
    wait_for(lambda: held() == 0)


def test_a_body_that_is_announced_and_would_not_fit_is_refused_before_it_is_sent(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    gateway = start_gateway(
        start_stand_in().url, routes=table(1, target(7)), max_request_bytes=MEBIBYTE, max_bytes_in_flight=MEBIBYTE
    )
    with client_of(gateway.url) as first:
        first.send(part(3 * QUARTER))
        wait_for(lambda: bodies(gateway.routes()))
        assert answer_of(gateway.url, head("Expect: 100-continue", length=2 * QUARTER)).status == 503
        announced = [client for client in range(8) if answer_of(gateway.url, head() + BODY).status == 200]
    assert len(announced) == 8, "what is only announced takes nothing from others"


def test_answers_count_too_until_their_clients_have_read_them(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    """A few bytes may ask for many: an embedding, a batch. So a slow reader costs as much as a slow writer."""
    triton = start_stand_in()
    gateway = start_gateway(
        triton.url,
        routes=table(1, target(7)),
        max_request_bytes=MEBIBYTE,
        max_bytes_in_flight=16 * MEBIBYTE,
        clients=ClientLimits(answer_seconds=1.0),
    )
    triton.behaviour = for_infer(lambda _: http(200, b"x" * (17 * MEBIBYTE)))
    refused = answer_of(gateway.url, head() + BODY)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    wait_for(lambda: bodies(gateway.routes()) == 0)

    triton.behaviour = for_infer(lambda _: http(200, b"x" * (12 * MEBIBYTE)))
    with client_of(gateway.url) as slow:
        slow.send(head() + BODY)
        wait_for(lambda: bodies(gateway.routes()) >= 12 * MEBIBYTE)
        assert answer_of(gateway.url, head() + BODY).status == 503
        wait_for(lambda: bodies(gateway.routes()) == 0)  # it did not read in time, and was left
    assert len(answer_of(gateway.url, head() + BODY).body) == 12 * MEBIBYTE


def test_many_clients_with_unfinished_bodies_do_not_take_the_memory(
    start_process: StartProcess, start_stand_in: StartStandIn
) -> None:
    size = 16 * MEBIBYTE
    limits = ["--max-request-bytes", str(size), "--max-bytes-in-flight", str(size)]
    gateway = start_process(start_stand_in().url, routes=table(1, target(7)), arguments=limits)
    before = resident(gateway.process.pid)
    with ExitStack() as clients:
        threads = []
        for _ in range(8):
            client = clients.enter_context(client_of(gateway.url))
            threads.append(threading.Thread(target=client.send, args=[part(size - 1)]))
            threads[-1].start()
        for thread in threads:
            thread.join()
        wait_for(lambda: gateway.routes()["bodies"]["refused"] >= 7)
        assert bodies(gateway.routes()) <= size
        assert resident(gateway.process.pid) - before < 4 * size


def resident(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_copies_for_shadows_have_a_budget_of_their_own(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(
        triton.url,
        routes=table(1, target(7), target(8, "adder-shadow")),
        shadow=ShadowSettings(timeout_seconds=20, max_bytes_in_flight=len(BODY) + 10),
    )

    def counts() -> dict[str, Any]:
        return dict(gateway.routes()["shadows"]["adder"])

    triton.behaviour = lambda seen: hang(seen) if "adder-shadow" in seen.path else answer_well(seen)
    for _ in range(3):
        assert answer_of(gateway.url, head() + BODY).status == 200
    wait_for(lambda: (counts()["sent"], counts()["dropped"]) == (1, 2))
    triton.refuse()
    triton.listen(int(triton.url.rpartition(":")[2]))
    wait_for(lambda: counts()["failed"] == 1)

    triton.behaviour = for_infer(lambda seen: http(200, b"x" * 200) if "shadow" in seen.path else answer_well(seen))
    assert answer_of(gateway.url, head() + BODY).status == 200
    # The gateway has no room for the answer: nobody knows whether the shadow answers well.
    wait_for(lambda: (counts()["sent"], counts()["dropped"], counts()["failed"]) == (1, 3, 1))


# --- heads --------------------------------------------------------------------------------------------------------

LIMITED = ClientLimits(max_headers=20, max_head_bytes=4096)
ENDLESS = b"x" * QUARTER


@pytest.mark.parametrize(
    "parts",
    [
        [head(*(f"X-{number}: 1" for number in range(20)))],
        [head("X: " + "x" * 4096)],
        [head(path="/" + "x" * 4096)],
        [b"POST / HTTP/1.1\r\nX: ", ENDLESS],
        [b"POST / HTTP/1.1\r\n", ENDLESS],
        [b"POST /", ENDLESS],
        [head("Transfer-Encoding: chunked", length=None) + b"1;", ENDLESS],
        [head("Transfer-Encoding: chunked", length=None) + b"0\r\nX: ", ENDLESS],
        [
            head("Transfer-Encoding: chunked", length=None) + b"0\r\n",
            b"".join(b"X-%d: 1\r\n" % number for number in range(20)) + b"\r\n",
        ],
    ],
    ids=["many", "long value", "long path", "value", "name", "path", "chunk extension", "trailer", "trailers"],
)
def test_a_head_that_is_too_large_is_refused(
    start_gateway: StartGateway, start_stand_in: StartStandIn, parts: list[bytes]
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)), clients=LIMITED)
    with client_of(gateway.url) as client:
        client.send(*parts)
        heard = client.hear()
        assert (heard.status, heard.headers["connection"]) == (431, "close")
        assert client.is_closed()
    assert triton.infers == []
    assert gateway.infer(1.0).status_code == 200


def test_empty_lines_without_end_are_no_way_around(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    gateway = start_gateway(start_stand_in().url, routes=table(1, target(7)), clients=LIMITED)
    with client_of(gateway.url) as client:
        client.send(b"\r\n" * 4096)
        assert client.hear().status == 431
        assert client.is_closed()


def test_what_cannot_be_read_is_refused_in_tritons_shape(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    two = b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"
    for wrong in (
        head(length=None)[:-2] + two,
        head("Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head("A: b\r\n folded"),
        head("A : b"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ):
        heard = answer_of(gateway.url, wrong)
        assert (heard.status, heard.headers["connection"]) == (400, "close"), wrong
        assert "not an HTTP request" in heard.error
    assert triton.infers == []


def test_a_refusal_is_never_taken_for_the_answer_to_an_earlier_request(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    triton.behaviour = for_infer(hang)
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    with client_of(gateway.url) as client:
        client.send(head() + BODY)
        wait_for(lambda: triton.infers)
        client.send(b"no request at all\r\n\r\n")
        assert client.is_closed()


# --- time ---------------------------------------------------------------------------------------------------------

HURRIED = ClientLimits(head_seconds=0.3, request_seconds=0.6)
HALVES = {
    "line": b"POST /v2/mod",
    "head": head()[:-2],
    "body": head() + BODY[:-1],
    "no body": head(),
    "chunk": head("Transfer-Encoding: chunked", length=None) + b"5\r\nab",
    "upgrade": head("Connection: upgrade", "Upgrade: h2c") + BODY[:-1],
    "empty lines": b"\r\n\r\n",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_a_request_that_does_not_arrive_is_ended(
    start_gateway: StartGateway, start_stand_in: StartStandIn, half: bytes
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)), clients=HURRIED)
    with client_of(gateway.url) as client:
        client.send(half)
        heard = client.hear()
        assert (heard.status, heard.headers["connection"]) == (408, "close")
        assert client.is_closed()
    wait_for(lambda: bodies(gateway.routes()) == 0)
    assert triton.infers == []


def test_a_request_that_drips_is_ended(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    """Each byte is in time; the request is not."""
    gateway = start_gateway(start_stand_in().url, routes=table(1, target(7)), clients=HURRIED)
    ended = threading.Event()

    def drip(client: Client, more: bytes) -> None:
        try:
            while not ended.wait(0.02):
                client.send(more)
        except OSError:
            return

    for start, more in ((b"POST / HTTP/1.1\r\n", b"X: y\r\n"), (head(length=10**6), b" ")):
        with client_of(gateway.url) as client:
            client.send(start)
            dripping = threading.Thread(target=drip, args=(client, more))
            dripping.start()
            try:
                assert client.hear().status == 408
            finally:
                ended.set()
                dripping.join()
                ended.clear()


def test_a_body_that_nobody_wants_any_more_is_not_read_for_ever(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    gateway = start_gateway(start_stand_in().url, routes=table(1, target(7)), clients=HURRIED)
    with client_of(gateway.url) as client:
        client.send(head(method="GET", path="/v2/health/live", length=1000))
        assert client.hear().status == 200
        assert client.is_closed(), "and no second answer"


def test_a_request_behind_one_that_is_being_answered_is_not_late(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    answered = threading.Event()

    def slowly(_: object) -> bytes:
        answered.wait(20)
        return http(200, b"{}")

    triton.behaviour = for_infer(slowly)
    gateway = start_gateway(triton.url, routes=table(1, target(7)), clients=ClientLimits(head_seconds=0.1))
    with client_of(gateway.url) as client:
        client.send(head() + BODY + head()[:20])
        wait_for(lambda: triton.infers)
        threading.Timer(0.5, answered.set).start()
        assert client.hear().status == 200
        client.send(head()[20:] + BODY)
        assert client.hear().status == 200


def test_a_mounted_router_ends_slow_bodies_under_any_server(tmp_path: Path, start_stand_in: StartStandIn) -> None:
    settings = GatewaySettings(routes_file=tmp_path / "routes.json", tritons=(start_stand_in().url,), clients=HURRIED)
    write_routes(settings.routes_file, table(1, target(7)))
    app = FastAPI()
    app.include_router(Gateway(settings).router)
    with running_application(app) as url, client_of(url) as client:
        client.send(head() + BODY[:-1])
        heard = client.hear()
        assert (heard.status, heard.headers["connection"]) == (408, "close")
        assert client.is_closed()
        assert bodies(http_client.get(f"{url}/routes").json()) == 0


# --- connections --------------------------------------------------------------------------------------------------


def test_more_connections_than_allowed_are_refused(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    gateway = start_gateway(start_stand_in().url, routes=table(1, target(7)), clients=ClientLimits(max_connections=2))
    with client_of(gateway.url) as first, client_of(gateway.url) as second:
        for client in (first, second):
            client.send(head() + BODY)
            assert client.hear().status == 200
        with client_of(gateway.url) as third:
            refused = third.hear()
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert third.is_closed()
        first.send(head() + BODY)
        assert first.hear().status == 200, "those that are there are served"
        second.close()
        wait_for(lambda: served(gateway.url))


def served(url: str) -> bool:
    return answer_of(url, head() + BODY).status == 200


# --- settings -----------------------------------------------------------------------------------------------------


def test_every_limit_of_clients_is_a_flag_of_the_reference_application() -> None:
    options = vars(parser().parse_args(["--routes", "r", "--triton", "http://a:1"]))
    settings = GatewaySettings(routes_file=Path("r"), tritons=("http://a:1",))
    assert {name: options[name] for name in vars(settings.clients)} == vars(settings.clients)
    for name in ("max_request_bytes", "max_bytes_in_flight"):
        assert options[name] == getattr(settings, name)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_request_bytes": 2, "max_bytes_in_flight": 1}, "would never fit"),
        ({"max_request_bytes": 0}, "must be more than 0"),
    ],
)
def test_limits_under_which_nothing_works_are_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GatewaySettings(routes_file=Path("r"), tritons=("http://a:1",), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="head_seconds must be more than 0"):
        ClientLimits(head_seconds=0)
