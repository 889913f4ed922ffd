"""What a gateway tells its clients about what is behind it: nothing. Its log tells the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.clients import BODY, Heard, answer_of, client_of, head
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, table, target
from tests.stand_ins.failing_triton import Behaviour, StandIn, answer_well, break_off, for_infer, hang, http

StartStandIn = Callable[[], StandIn]
PATHS = ("", "/ready", "/config", "/stats")


def everything(gateway: RunningGateway) -> list[Heard]:
    """Ask for all that a client may ask for."""
    model = "/v2/models/adder"
    gets = ["/v2", "/v2/health/live", "/v2/health/ready", "/routes", "/nothing", *(model + path for path in PATHS)]
    asked = [answer_of(gateway.url, head(method="GET", path=path, length=None)) for path in gets]
    asked += [answer_of(gateway.url, head(path=path) + BODY) for path in (f"{model}/infer", "/reload", "/nothing")]
    return asked


def tells(heard: Heard, *secrets: str) -> list[str]:
    """Return what an answer tells of where things are: a Triton's host or port, a folder."""
    text = json.dumps(heard.headers) + heard.body.decode(errors="replace")
    return [secret for secret in (*secrets, "127.0.0.1", "http://") if secret in text]


FAULTS: dict[str, Behaviour] = {
    "hangs": hang,
    "breaks off": break_off,
    "no HTTP": lambda _: b"SSH-2.0-OpenSSH\r\n\r\n",
    "two lengths": lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "length and chunks": lambda _: (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "another protocol": lambda _: b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nh2",
    "large head": lambda _: b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20),
    "not live": lambda _: http(503, b""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_names_what_is_behind_the_gateway(
    start_gateway: StartGateway,
    start_stand_in: StartStandIn,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    tritons = [start_stand_in(), start_stand_in()]
    gateway = start_gateway(
        *(triton.url for triton in tritons),
        routes=table(1, target(7)),
        timeout_seconds=0.2,
        probe_timeout_seconds=0.2,
    )
    assert answer_of(gateway.url, head() + BODY).status == 200
    ports = [triton.url.rpartition(":")[2] for triton in tritons]
    for triton in tritons:  # the greeting of a new connection is answered well, but where it is what fails
        triton.behaviour = FAULTS[fault] if fault == "not live" else asked_for(FAULTS[fault])
    answers = everything(gateway)
    assert [heard for heard in answers if tells(heard, *ports, str(tmp_path))] == []
    assert {heard.status for heard in answers} & {502, 503, 504}
    assert any(f"127.0.0.1:{port}" in caplog.text for port in ports)


def asked_for(behaviour: Behaviour) -> Behaviour:
    return lambda seen: answer_well(seen) if seen.path.endswith("/live") else behaviour(seen)


def test_nor_does_it_where_no_triton_can_be_reached(
    start_gateway: StartGateway, start_stand_in: StartStandIn, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    triton = start_stand_in()
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    triton.refuse()
    port = triton.url.rpartition(":")[2]
    assert [heard for heard in everything(gateway) if tells(heard, port, str(tmp_path))] == []
    assert f"127.0.0.1:{port}" in caplog.text


@pytest.mark.parametrize("routes", ["no table", None], ids=["broken", "missing"])
def test_nor_where_its_own_files_are(
    start_gateway: StartGateway, tmp_path: Path, caplog: pytest.LogCaptureFixture, routes: str | None
) -> None:
    gateway = start_gateway("http://127.0.0.1:9", routes=routes)
    assert [heard for heard in everything(gateway) if tells(heard, str(tmp_path))] == []
    assert str(tmp_path) not in gateway.reload(5).text
    assert str(tmp_path / "routes.json") in caplog.text


def test_a_traceback_of_a_python_backend_ends_at_the_gateway(
    start_gateway: StartGateway, start_stand_in: StartStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    triton = start_stand_in()
    said = 'Failed to process: no "key"\n\nAt:\n  /opt/models/churn/7/model.py(91): execute\n'
    triton.behaviour = for_infer(lambda _: http(500, json.dumps({"error": said, "more": 1}).encode()))
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    heard = answer_of(gateway.url, head() + BODY)
    assert (heard.status, json.loads(heard.body)) == (500, {"error": 'Failed to process: no "key"', "more": 1})
    assert "/opt/models/churn/7/model.py(91)" in caplog.text


LEFT_OVER = {
    "another answer": http(200, b'{"model_version":"99"}'),
    "no HTTP": b"xyz",
    "a beginning": b"H",
    "an empty line": b"\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("rest", LEFT_OVER.values(), ids=LEFT_OVER)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_with_bytes_left_over_is_not_used_again(
    start_gateway: StartGateway, start_stand_in: StartStandIn, rest: bytes, chunked: bool
) -> None:
    triton = start_stand_in()
    whole = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" if chunked else http(200, b"{}")
    )
    triton.behaviour = for_infer(lambda _: whole + rest)
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    for _ in range(3):
        heard = answer_of(gateway.url, head() + BODY)
        assert (heard.status, heard.body) == (200, b"{}")
    connections = sum(seen.path.endswith("/live") for seen in triton.seen)
    assert connections == (3 if rest else 1)


def test_a_triton_that_announces_its_answer_first_is_understood(
    start_gateway: StartGateway, start_stand_in: StartStandIn
) -> None:
    triton = start_stand_in()
    triton.behaviour = for_infer(lambda _: b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + http(200, b"{}"))
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    assert [answer_of(gateway.url, head() + BODY).body for _ in range(3)] == [b"{}"] * 3


@pytest.mark.parametrize("length", ["9", "-1", "x", "1_0", "99999999999999999999"])
def test_a_header_length_that_lies_is_no_answer(
    start_gateway: StartGateway, start_stand_in: StartStandIn, length: str
) -> None:
    triton = start_stand_in()
    lie = f"Inference-Header-Content-Length: {length}\r\n"
    triton.behaviour = for_infer(lambda _: http(200, b"{}", lie))
    gateway = start_gateway(triton.url, routes=table(1, target(7, "adder.1a2b3c4d")))
    assert answer_of(gateway.url, head() + BODY).status == 502


def test_an_answer_to_head_has_no_body(start_gateway: StartGateway, start_stand_in: StartStandIn) -> None:
    triton = start_stand_in()
    triton.behaviour = lambda seen: (
        answer_well(seen) if seen.path.endswith("/live") else http(200, b'{"name":"adder"}')
    )
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    with client_of(gateway.url) as client:
        client.send(head("Connection: close", method="HEAD", path="/v2/models/adder", length=None))
        assert re.search(rb"content-length: 16\r\n.*\r\n\r\n$", client.rest(), re.DOTALL)
