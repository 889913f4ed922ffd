"""Shadows: they get copies, and can do nothing to live answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bot.gateway import ShadowSettings
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, http_client, infer_body, table, target, wait_for
from tests.gateway.triton import RunningTriton
from tests.stand_ins.failing_triton import Behaviour, Seen, StandIn, answer_well, break_off, hang, http

StartStandIn = Callable[[], StandIn]
SHADOW = target(8, "adder-shadow")


def for_shadow(behaviour: Behaviour) -> Behaviour:
    return lambda seen: behaviour(seen) if "/adder-shadow/" in seen.path else answer_well(seen)


def copies(triton: StandIn) -> list[Seen]:
    return [seen for seen in triton.infers if seen.path == "/v2/models/adder-shadow/versions/8/infer"]


def counts(gateway: RunningGateway) -> Any:
    return gateway.routes()["shadows"]["adder"]


@pytest.fixture
def triton(start_stand_in: StartStandIn) -> StandIn:
    return start_stand_in()


@pytest.fixture
def gateway(start_gateway: StartGateway, triton: StandIn) -> RunningGateway:
    return start_gateway(triton.url, routes=table(1, target(7), shadow=SHADOW))


def test_a_shadow_gets_the_same_bytes_and_answers_nobody(gateway: RunningGateway, triton: StandIn) -> None:
    assert gateway.infer(1.25, 3.0).json()["model_version"] == "7"
    wait_for(lambda: counts(gateway)["answered"] == 1)
    (live,) = [seen for seen in triton.infers if "/adder/" in seen.path]
    (copy,) = copies(triton)
    assert copy.body == live.body
    assert copy.headers["content-type"] == live.headers["content-type"]
    assert counts(gateway) == {
        **SHADOW.to_json(),
        "sent": 1,
        "answered": 1,
        "failed": 0,
        "dropped": 0,
        "latency_seconds_sum": counts(gateway)["latency_seconds_sum"],
    }
    assert 0 < counts(gateway)["latency_seconds_sum"] < 5


def test_a_shadow_that_hangs_slows_no_live_answer(start_gateway: StartGateway, triton: StandIn) -> None:
    triton.behaviour = for_shadow(hang)
    # No copy ends by itself while the test lasts.
    shadows = ShadowSettings(timeout_seconds=600)
    gateway = start_gateway(triton.url, routes=table(1, target(7), shadow=SHADOW), shadow=shadows)
    with httpx.Client(timeout=60) as client:
        for _ in range(100):
            answer = client.post(f"{gateway.url}/v2/models/adder/infer", json=infer_body(1.0))
            assert answer.json()["model_version"] == "7"
    assert counts(gateway)["failed"] == 0, "every live answer came while all copies hung"
    assert len(copies(triton)) <= 16, "no more are in flight than the budget allows"
    triton.refuse()
    wait_for(lambda: counts(gateway)["failed"] == counts(gateway)["sent"])
    assert 8 <= counts(gateway)["sent"] <= 16, "what exceeds the budget is not even begun"
    assert counts(gateway)["sent"] + counts(gateway)["dropped"] == 100
    assert counts(gateway)["answered"] == 0


@pytest.mark.parametrize(
    "behaviour", [break_off, lambda _: http(500, b"{}"), lambda _: b"no HTTP\r\n\r\n"], ids=["off", "500", "no-http"]
)
def test_a_shadow_that_fails_is_counted_and_fails_nothing(
    gateway: RunningGateway, triton: StandIn, behaviour: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    triton.behaviour = for_shadow(behaviour)
    assert [gateway.infer(1.0).status_code for _ in range(5)] == [200] * 5
    wait_for(lambda: counts(gateway)["failed"] == 5)
    assert "Traceback" not in caplog.text


def test_what_the_live_version_refuses_is_not_copied(gateway: RunningGateway, triton: StandIn) -> None:
    triton.behaviour = lambda _: http(400, b'{"error":"bad input"}')
    assert gateway.infer(1.0).status_code == 400
    triton.behaviour = answer_well
    assert gateway.infer(1.0).status_code == 200
    wait_for(lambda: counts(gateway)["answered"] == 1)
    assert len(copies(triton)) == 1


def test_a_large_request_is_not_copied(gateway: RunningGateway, triton: StandIn) -> None:
    body = b" " * (2**20 + 1)
    assert http_client.post(f"{gateway.url}/v2/models/adder/infer", content=body).status_code == 200
    wait_for(lambda: counts(gateway)["dropped"] == 1)
    assert copies(triton) == []


def test_counts_belong_to_one_shadow(gateway: RunningGateway, triton: StandIn) -> None:
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    gateway.write(table(2, target(8), shadow=SHADOW))
    assert gateway.reload(2).json()["shadows"]["adder"]["answered"] == 1, "the shadow stayed"
    gateway.write(table(3, target(8), shadow=target(9, "adder-shadow")))
    assert gateway.reload(3).json()["shadows"]["adder"]["answered"] == 0
    gateway.write(table(4, target(8)))
    assert gateway.reload(4).json()["shadows"] == {}


def test_a_shadow_on_a_real_triton(start_gateway: StartGateway, triton_server: RunningTriton) -> None:
    gateway = start_gateway(triton_server.url, routes=table(1, target(1), shadow=target(3)))
    assert gateway.infer(1.0).json()["outputs"][0]["data"] == [2.0]
    wait_for(lambda: counts(gateway)["answered"] == 1)
