"""Tritons that refuse, hang, break off or have lost their models; clients that leave; a gateway that is stopped."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from bot.domain.routes import Route, RouteTable
from bot.domain.silence import TritonsOfGateway
from bot.gateway.connection import Limits
from bot.gateway.tritons import request_to
from tests.gateway.conftest import StartGateway, StartProcess
from tests.gateway.gateways import http_client, infer_body, table, target, wait_for
from tests.stand_ins.failing_triton import (
    Behaviour,
    Seen,
    StandIn,
    answer_well,
    as_if_restarted,
    break_off,
    for_infer,
    hang,
    http,
)

StartStandIn = Callable[[], StandIn]


def test_tritons_are_asked_in_turn_and_by_version(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    tritons = [start_stand_in() for _ in range(3)]
    gateway = start_gateway(*(triton.url for triton in tritons), routes=table(1, target(7)))
    for _ in range(9):
        assert gateway.infer(1.0).json()["model_version"] == "7"
    assert [len(triton.infers) for triton in tritons] == [3, 3, 3]
    assert {seen.path for triton in tritons for seen in triton.infers} == {"/v2/models/adder/versions/7/infer"}
    assert all(triton.open == 1 for triton in tritons), "connections are kept"


def test_what_is_meant_for_the_application_does_not_reach_triton(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    headers = {"Authorization": "Bearer a", "Cookie": "b=c", "Connection": "x-hop", "X-Hop": "1", "X-Trace": "kept"}
    http_client.post(f"{gateway.url}/v2/models/adder/infer?a=b", json=infer_body(1.0), headers=headers)
    (seen,) = triton.infers
    assert seen.headers["x-trace"] == "kept"
    assert seen.headers["host"] == triton.url.removeprefix("http://")
    assert not {"authorization", "cookie", "x-hop", "connection"} & set(seen.headers)
    assert json.loads(seen.body) == infer_body(1.0)


def test_a_name_of_triton_is_one_part_of_its_path(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7, "../repository/x")))
    assert gateway.infer(1.0).status_code == 503, "such a table is none"
    assert triton.infers == []
    assert request_to(target(7, "../x?y"), b"GET", b"/ready").path == b"/v2/models/..%2Fx%3Fy/versions/7/ready"


def test_a_triton_that_refuses_is_skipped_and_found_again(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    down, up = start_stand_in(), start_stand_in()
    gateway = start_gateway(down.url, up.url, routes=table(1, target(7)))
    port = int(down.url.rpartition(":")[2])
    down.refuse()
    assert [gateway.infer(1.0).status_code for _ in range(10)] == [200] * 10
    assert len(up.infers) == 10
    down.listen(port)
    wait_for(lambda: gateway.infer(1.0).status_code == 200 and down.infers)


def test_no_triton_is_503_and_over_as_soon_as_one_is_back(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    tritons = [start_stand_in(), start_stand_in()]
    gateway = start_gateway(*(triton.url for triton in tritons), routes=table(1, target(7)))
    port = int(tritons[0].url.rpartition(":")[2])
    for triton in tritons:
        triton.refuse()
    answer = gateway.infer(1.0)
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("no Triton can take this request now")
    assert http_client.get(f"{gateway.url}/v2/health/ready").status_code == 503
    assert http_client.get(f"{gateway.url}/v2/health/live").status_code == 200
    assert http_client.get(f"{gateway.url}/v2/models/adder/ready").status_code == 503
    tritons[0].listen(port)
    assert gateway.infer(1.0).status_code == 200
    assert http_client.get(f"{gateway.url}/v2/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("behaviour", "status", "words"),
    [
        (hang, 504, "did not answer in time"),
        (break_off, 502, "broke off before its answer was whole"),
        (lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", 504, "did not answer in time"),
        (lambda _: b"SSH-2.0-OpenSSH\r\n\r\n", 502, "broke off before its answer was whole"),
        (lambda _: http(500, b'{"error":"out of memory"}'), 500, "out of memory"),
        (lambda _: http(400, b'{"error":"unexpected input"}'), 400, "unexpected input"),
    ],
    ids=["hangs", "breaks-off", "half", "no-http", "500", "400"],
)
def test_what_may_have_been_processed_is_not_asked_again(
    start_gateway: StartGateway, start_stand_in: StartStandIn, behaviour: Behaviour, status: int, words: str
) -> None:
    tritons = [start_stand_in(), start_stand_in()]
    for triton in tritons:
        triton.behaviour = for_infer(behaviour)
    gateway = start_gateway(*(triton.url for triton in tritons), routes=table(1, target(7)), timeout_seconds=0.3)
    answer = gateway.infer(1.0)
    assert (answer.status_code, answer.headers.get("content-type", "application/json")) == (
        status,
        "application/json",
    )
    assert words in answer.json()["error"]
    assert sum(len(triton.infers) for triton in tritons) == 1
    for triton in tritons:
        triton.behaviour = answer_well
    assert [gateway.infer(1.0).status_code for _ in range(4)] == [200] * 4


def test_a_triton_that_is_ending_gets_no_request_that_could_be_lost(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    ending, whole = start_stand_in(), start_stand_in()
    ending.behaviour = break_off  # it accepts connections, and drops them
    gateway = start_gateway(ending.url, whole.url, routes=table(1, target(7)))
    assert [gateway.infer(1.0).status_code for _ in range(6)] == [200] * 6
    assert (len(ending.infers), len(whole.infers)) == (0, 6)


def test_connections_are_given_up_so_that_a_triton_can_end(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)), limits=Limits(connection_seconds=0.1))
    assert gateway.infer(1.0).status_code == 200
    assert triton.open == 1
    wait_for(lambda: triton.open == 0)
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        assert gateway.infer(1.0).status_code == 200


def test_a_gateway_says_since_when_no_triton_answers(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    tritons = [start_stand_in(), start_stand_in()]
    limits = Limits(pause_seconds=0)
    gateway = start_gateway(*(triton.url for triton in tritons), routes=table(1, target(7)), limits=limits)

    def silence() -> TritonsOfGateway:
        (worker,) = gateway.routes()["workers"]
        found = TritonsOfGateway.from_json(worker["silence"])
        assert found is not None
        return found

    assert gateway.infer(1.0).status_code == 200
    answered = silence()
    assert (answered.known, answered.silent, answered.since) == (2, 0, None) and answered.answered is not None
    ports = [int(triton.url.rpartition(":")[2]) for triton in tritons]
    for triton in tritons:
        triton.refuse()
    assert gateway.infer(1.0).status_code == 503
    first = silence()
    assert (first.known, first.silent, first.answered) == (2, 2, answered.answered)
    assert first.since is not None and answered.answered <= first.since <= datetime.now(UTC)
    assert gateway.infer(1.0).status_code == 503
    assert silence() == first, "the first of several that failed"
    tritons[0].listen(ports[0])
    wait_for(lambda: gateway.infer(1.0).status_code == 200)
    assert silence().silent == 1 and (silence().answered or answered.answered) > first.since


def test_a_triton_that_hangs_altogether_delays_one_request(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    wedged, whole = start_stand_in(), start_stand_in()
    wedged.behaviour = hang
    limits = Limits(greeting_seconds=0.5, pause_seconds=0.1)
    gateway = start_gateway(wedged.url, whole.url, routes=table(1, target(7)), limits=limits)
    assert gateway.infer(1.0).status_code == 200  # whoever asks first finds out
    assert gateway.infer(1.0).status_code == 200
    codes: list[int] = []

    def ask() -> None:
        while time.monotonic() < deadline:
            codes.append(gateway.infer(1.0).status_code)

    tried, begun = len(wedged.infers), time.monotonic()
    deadline = begun + 1.5
    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    # Each try takes half a second, so two at a time would be more than this, however slow the machine is.
    tried = len(wedged.infers) - tried
    assert tried <= 1 + (time.monotonic() - begun) / limits.greeting_seconds, "one at a time tries it again"
    assert set(codes) == {200} and len(codes) > tried, "the others go round"


def test_a_triton_that_lost_its_models_is_gone_around(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    restarted, whole = start_stand_in(), start_stand_in()
    gateway = start_gateway(restarted.url, whole.url, routes=table(1, target(7)))
    restarted.behaviour = as_if_restarted
    assert [gateway.infer(1.0).status_code for _ in range(6)] == [200] * 6
    assert len(restarted.infers) == 3
    whole.behaviour = as_if_restarted
    answer = gateway.infer(1.0)
    assert (answer.status_code, answer.json()["error"][:25]) == (404, "Request for unknown model")


def test_a_triton_that_is_loaded_right_after_it_refused_answers(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    restarted, whole = start_stand_in(), start_stand_in()
    gateway = start_gateway(restarted.url, whole.url, routes=table(1, target(7)))

    def is_loaded_once_it_refused(seen: Seen) -> bytes:
        restarted.behaviour = answer_well
        return as_if_restarted(seen)

    for _ in range(4):
        restarted.behaviour = for_infer(is_loaded_once_it_refused)
        assert gateway.infer(1.0).status_code == 200


def test_a_reload_needs_the_version_on_every_triton_that_answers(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    lacking, whole = start_stand_in(), start_stand_in()
    gateway = start_gateway(lacking.url, whole.url, routes=table(1, target(7)))
    lacking.behaviour = as_if_restarted
    gateway.write(table(2, target(8)))
    answer = gateway.reload(2)
    assert answer.status_code == 409
    assert f"adder version 8 (for adder) is not ready on {lacking.url}" in answer.json()["error"]
    lacking.refuse()
    assert gateway.reload(2).status_code == 200, "one that is down must not be in the way of a rollback"
    whole.refuse()
    gateway.write(table(3, target(9)))
    assert gateway.reload(3).status_code == 409
    gateway.write(table(4, None, None))
    assert gateway.reload(4).status_code == 200, "taking a model out of service needs no Triton"


def test_a_version_that_comes_to_one_triton_after_another_is_taken_and_asked_for_where_it_is(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    lacking, having = start_stand_in(), start_stand_in()
    gateway = start_gateway(lacking.url, having.url, routes=table(1, target(7)))
    lacking.behaviour = as_if_restarted
    partly = RouteTable("dev", 2, {"adder": Route(target(8), partly=True)})
    gateway.write(partly)
    assert gateway.reload(2).status_code == 200
    assert RouteTable.from_json(http_client.get(f"{gateway.url}/routes").content) == partly
    for _ in range(4):  # both have their turn to be asked first
        answer = gateway.infer(1.0)
        assert (answer.status_code, answer.json()["model_version"]) == (200, "8")
    having.behaviour = as_if_restarted
    gateway.write(RouteTable("dev", 3, {"adder": Route(target(9), partly=True)}))
    assert gateway.reload(3).status_code == 409, "one must have it"


def test_a_model_that_stays_is_not_asked_about(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    triton.behaviour = lambda seen: as_if_restarted(seen) if "/adder/" in seen.path else answer_well(seen)
    models = {"adder": Route(live=target(7)), "other": Route(live=target(1, "other"))}
    gateway.write(RouteTable("dev", 2, models))
    assert gateway.reload(2).status_code == 200


@pytest.mark.parametrize("seconds", [0.3, 0.02], ids=["later", "before anybody looks"])
def test_a_client_that_leaves_frees_tritons_connection(
    start_gateway: StartGateway, start_stand_in: StartStandIn, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    triton = start_stand_in()
    triton.behaviour = for_infer(hang)
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    with pytest.raises(httpx.ReadTimeout):
        gateway.infer(1.0, timeout=seconds)
    wait_for(lambda: triton.infers and triton.open == 0)
    triton.behaviour = answer_well
    assert gateway.infer(1.0).status_code == 200
    assert "Traceback" not in caplog.text


def test_a_client_that_leaves_while_it_uploads_is_nobodys_problem(
    start_gateway: StartGateway, start_stand_in: StartStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2]))) as client:
        client.sendall(b"POST /v2/models/adder/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
    assert gateway.infer(1.0).status_code == 200
    assert len(triton.infers) == 1
    assert "Traceback" not in caplog.text


def test_a_request_in_chunks_arrives_whole(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    chunks = [b"a" * 70_000, b"b" * 3, b"c" * 200_000]
    assert http_client.post(f"{gateway.url}/v2/models/adder/infer", content=iter(chunks)).status_code == 200
    (seen,) = triton.infers
    assert seen.body == b"".join(chunks)
    assert "transfer-encoding" not in seen.headers


def test_an_answer_in_chunks_and_after_100_continue_arrives_whole(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwhol\r\n1\r\ne\r\n0\r\n\r\n"
    triton.behaviour = for_infer(lambda _: b"HTTP/1.1 100 Continue\r\n\r\n" + chunked)
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    assert [gateway.infer(1.0).content for _ in range(2)] == [b"whole", b"whole"]


def test_what_nobody_asked_for_never_becomes_an_answer(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()

    def twice(seen: Seen) -> bytes:
        return http(200, b"answer to %d" % len(triton.infers)) * 2

    triton.behaviour = for_infer(twice)
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    for number in range(1, 6):
        assert gateway.infer(1.0).text == f"answer to {number}"
    triton.behaviour = for_infer(lambda _: http(200, b"right") + b"HTTP/1.1 200 OK\r\n")  # half of another
    assert [gateway.infer(1.0).text for _ in range(3)] == ["right"] * 3
    triton.behaviour = answer_well
    assert gateway.infer(1.0).status_code == 200
    triton.say(http(200, b"wrong"))
    wait_for(lambda: triton.open == 0)
    assert gateway.infer(1.0).json()["model_version"] == "7"


def test_requests_in_flight_are_finished_before_the_gateway_ends(
    start_process: StartProcess, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    release = threading.Event()

    def slow(seen: Seen) -> bytes:
        assert release.wait(10)
        return answer_well(seen)

    triton.behaviour = for_infer(slow)
    gateway = start_process(triton.url, routes=table(1, target(7)))
    answers: list[httpx.Response] = []
    client = threading.Thread(target=lambda: answers.append(gateway.infer(1.0)))
    client.start()
    wait_for(lambda: triton.infers)
    gateway.process.terminate()

    def refuses() -> bool:
        try:
            http_client.get(f"{gateway.url}/v2/health/live", timeout=1)
        except httpx.TransportError:
            return True
        return False

    wait_for(refuses)
    assert gateway.process.poll() is None
    release.set()
    client.join(10)
    assert [answer.status_code for answer in answers] == [200]
    assert gateway.process.wait(10) == -signal.SIGTERM


def test_requests_under_the_older_table_are_counted_until_they_end(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    triton.behaviour = lambda seen: None if "/versions/7/infer" in seen.path else answer_well(seen)
    gateway = start_gateway(triton.url, routes=table(1, target(7)), timeout_seconds=1.5)
    old = threading.Thread(target=gateway.infer, args=[1.0])
    old.start()
    wait_for(lambda: triton.infers)
    gateway.write(table(2, target(8)))
    assert gateway.reload(2).json()["draining"] == 1
    assert gateway.infer(1.0).json()["model_version"] == "8"
    old.join(10)
    assert gateway.routes()["draining"] == 0


def test_a_gateway_needs_real_urls_of_tritons(start_process: StartProcess) -> None:
    with pytest.raises(AssertionError, match="is not a base URL of a Triton"):
        start_process("https://127.0.0.1:1/v2")


def test_a_slow_triton_does_not_slow_requests_to_others(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    slow, quick = start_stand_in(), start_stand_in()
    slow.behaviour = for_infer(hang)
    gateway = start_gateway(slow.url, quick.url, routes=table(1, target(7)), timeout_seconds=600)
    codes: list[int] = []
    clients = [threading.Thread(target=lambda: codes.append(gateway.infer(1.0).status_code)) for _ in range(8)]
    for client in clients:
        client.start()
    # Half are answered while the others hang; the last may not have arrived yet.
    wait_for(lambda: len(codes) == 4 and len(slow.infers) == 4)
    assert codes == [200] * 4
    slow.refuse()
    for client in clients:
        client.join()


def test_a_request_that_is_too_large_is_refused_before_triton_sees_it(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)), max_request_bytes=1000)
    url = f"{gateway.url}/v2/models/adder/infer"
    assert http_client.post(url, content=b"x" * 1000).status_code == 200
    for too_large in (b"x" * 1001, iter([b"x" * 600, b"x" * 600])):
        answer = http_client.post(url, content=too_large)
        assert answer.status_code == 413
        assert answer.json() == {"error": "the request is larger than 1000 bytes"}
    assert len(triton.infers) == 1


def test_more_requests_than_a_triton_is_to_bear_are_refused(
    start_gateway: StartGateway, start_stand_in: StartStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    triton = start_stand_in()
    triton.behaviour = for_infer(hang)
    gateway = start_gateway(
        triton.url, routes=table(1, target(7)), limits=Limits(max_in_flight=2), timeout_seconds=1.0
    )
    clients = [threading.Thread(target=gateway.infer, args=[1.0]) for _ in range(2)]
    for client in clients:
        client.start()
    wait_for(lambda: len(triton.infers) == 2)
    answer = gateway.infer(1.0)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "has 2 requests of this gateway already" in caplog.text
    for client in clients:
        client.join()
