"""Shadows: they get copies, and can do nothing to live answers."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from bot.domain.shadowed import MOVED_ENDS
from bot.gateway import ShadowSettings
from bot.gateway.shadow import Allowance
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, http_client, infer_body, table, target, wait_for
from tests.gateway.triton import RunningTriton
from tests.stand_ins.failing_triton import (
    Behaviour,
    Seen,
    StandIn,
    answer_well,
    as_if_restarted,
    break_off,
    hang,
    http,
)

StartStandIn = Callable[[], StandIn]
SHADOW = target(8, "adder-shadow")


def for_shadow(behaviour: Behaviour) -> Behaviour:
    return lambda seen: behaviour(seen) if "/adder-shadow/" in seen.path else answer_well(seen)


def copies(triton: StandIn) -> list[Seen]:
    return [seen for seen in triton.infers if seen.path == "/v2/models/adder-shadow/versions/8/infer"]


def counts(gateway: RunningGateway) -> Any:
    return gateway.routes()["shadows"]["adder"]


def compared(gateway: RunningGateway) -> Any:
    return counts(gateway)["compared"]


def answering(live: list[dict[str, Any]], shadow: list[dict[str, Any]], headers: str = "") -> Behaviour:
    """Answer so as the live version, and so as the shadow; ``headers`` are those of the live answer."""

    def behaviour(seen: Seen) -> bytes:
        if not seen.path.endswith("/infer"):
            return answer_well(seen)
        for_shadow = "/adder-shadow/" in seen.path
        document = {"model_version": "8" if for_shadow else "7", "outputs": shadow if for_shadow else live}
        return http(200, json.dumps(document).encode(), "" if for_shadow else headers)

    return behaviour


def output(*data: object, name: str = "Y", datatype: str = "FP64") -> list[dict[str, Any]]:
    return [{"name": name, "datatype": datatype, "shape": [len(data)], "data": list(data)}]


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
        "unreached": 0,
        "dropped": 0,
        "latency_seconds_sum": counts(gateway)["latency_seconds_sum"],
        "compared": compared(gateway),
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


def test_a_shadow_gets_copies_of_its_share(start_gateway: StartGateway, triton: StandIn) -> None:
    half = table(1, target(7), shadow=SHADOW)
    half = replace(half, models={"adder": replace(half.models["adder"], shadow_share=50)})
    gateway = start_gateway(triton.url, routes=half, shadow=ShadowSettings(timeout_seconds=60))
    for number in range(200):
        gateway.infer(1.0)
        if number % 8 == 7:  # no more than may be under way
            wait_for(lambda: (seen := counts(gateway))["answered"] == seen["sent"])
    assert counts(gateway)["dropped"] == 0
    assert 50 < counts(gateway)["sent"] < 150, "a hundred, and seven standard deviations to each side"


def test_counts_belong_to_one_shadow(gateway: RunningGateway, triton: StandIn) -> None:
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    gateway.write(table(2, target(8), shadow=SHADOW))
    assert gateway.reload(2).json()["shadows"]["adder"]["answered"] == 1, "the shadow stayed"
    gateway.write(table(3, target(8), shadow=target(9, "adder-shadow")))
    assert gateway.reload(3).json()["shadows"]["adder"]["answered"] == 0
    gateway.write(table(4, target(8)))
    assert gateway.reload(4).json()["shadows"] == {}


def test_its_answers_are_compared_with_the_live_ones(gateway: RunningGateway, triton: StandIn) -> None:
    triton.behaviour = answering(output(1.0, 2.0, 3.0, 4.0), output(1.0, 2.0, 3.5, 4.0))
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    triton.behaviour = answering(output(1, 0, datatype="INT64"), output(1, 1, datatype="INT64"))
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 2)
    found = compared(gateway)
    assert (found["live"], found["copies"], found["rows"]) == (target(7).to_json(), 2, 6)
    assert (found["flipped"], found["flips"], found["unlike"]) == (1, 0.5, 0)
    assert (found["distances"], found["furthest"]) == (0.5, 0.5)
    assert found["moved"][MOVED_ENDS.index(0.5)] == 0.25
    assert sum(found["live_cells"]) == sum(found["shadow_cells"]) == 2
    assert 0 < found["live_seconds"] < 5
    assert 0 < found["shadow_seconds"] < 5
    assert found["left_out"] == {}
    assert gateway.routes()["moved_ends"] == list(MOVED_ENDS)


def test_another_form_is_another_answer_and_shows_no_values(gateway: RunningGateway, triton: StandIn) -> None:
    triton.behaviour = answering(output(1.0), output("secret", datatype="BYTES"))
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    found = compared(gateway)
    assert (found["flipped"], found["unlike"], found["example"]) == (1, 1, "Y: BYTES[1] instead of FP64[1]")


def test_a_failure_is_the_shadows_but_not_where_no_triton_had_it(gateway: RunningGateway, triton: StandIn) -> None:
    triton.behaviour = for_shadow(lambda _: http(500, b"{}"))
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["failed"] == 1)
    triton.behaviour = for_shadow(as_if_restarted)
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["failed"] == 2)
    assert counts(gateway)["unreached"] == 1
    assert (compared(gateway)["failed"], compared(gateway)["unreached"], compared(gateway)["copies"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("why", "settings", "live", "headers"),
    [
        ("large", {"max_compared_bytes": 100}, output(*map(float, range(100))), ""),
        ("no room", {"max_bytes_in_flight": 1000}, output(*map(float, range(200))), ""),
        ("busy", {"compare_share": 1e-9}, output(1.0), ""),
    ],
)
def test_what_is_not_compared_is_counted_with_its_reason(
    start_gateway: StartGateway, triton: StandIn, why: str, settings: Any, live: Any, headers: str
) -> None:
    triton.behaviour = answering(live, output(2.0), headers)
    shadows = ShadowSettings(**settings)
    gateway = start_gateway(triton.url, routes=table(1, target(7), shadow=SHADOW), shadow=shadows)
    for number in range(1, 4):
        gateway.infer(1.0)
        wait_for(lambda number=number: counts(gateway)["answered"] == number)
    found = compared(gateway)
    assert found["left_out"] == {why: 2 if why == "busy" else 3}, "the first one finds a little that was saved up"
    assert found["copies"] == (1 if why == "busy" else 0)
    assert sum(found["live_cells"]) == 3, "latencies are known all the same"


@pytest.mark.parametrize(
    ("encoding", "packed", "left_out"),
    [
        ("gzip", gzip.compress, {}),
        ("deflate", zlib.compress, {}),
        ("br", gzip.compress, {"encoded": 1}),
        ("gzip", lambda _: b"no gzip", {"encoded": 1}),
        ("gzip", lambda body: gzip.compress(body + b" " * 70_000), {"large": 1}),
    ],
    ids=["gzip", "deflate", "another", "broken", "a bomb"],
)
def test_a_compressed_live_answer_is_compared_as_it_was_before(
    gateway: RunningGateway,
    triton: StandIn,
    encoding: str,
    packed: Callable[[bytes], bytes],
    left_out: dict[str, int],
) -> None:
    document = json.dumps({"model_version": "7", "outputs": output(1.0)}).encode()
    well = answering([], output(3.0))
    triton.behaviour = lambda seen: (
        http(200, packed(document), f"Content-Encoding: {encoding}\r\n") if "/adder/" in seen.path else well(seen)
    )
    with http_client.stream("POST", f"{gateway.url}/v2/models/adder/infer", json=infer_body(1.0)) as answer:
        assert answer.status_code == 200, "nobody reads what may be no gzip"
    wait_for(lambda: counts(gateway)["answered"] == 1)
    found = compared(gateway)
    assert (found["copies"], found["left_out"]) == (0 if left_out else 1, left_out)
    assert found["furthest"] == (0 if left_out else 2.0)


@pytest.mark.parametrize("other", ["0.92:1", "0.93:1"], ids=["another", "the same"])
def test_texts_of_a_classification_are_no_decisions(gateway: RunningGateway, triton: StandIn, other: str) -> None:
    """Neither do equal ones count: a shadow of which only those count would seem to answer alike."""
    triton.behaviour = answering(output("0.93:1", datatype="BYTES"), output(other, datatype="BYTES"))
    body = {**infer_body(1.0), "outputs": [{"name": "Y", "parameters": {"classification": 1}}]}
    http_client.post(f"{gateway.url}/v2/models/adder/infer", json=body).raise_for_status()
    wait_for(lambda: counts(gateway)["answered"] == 1)
    assert (compared(gateway)["copies"], compared(gateway)["left_out"]) == (0, {"classification": 1})


def test_a_shadow_that_answers_much_more_than_the_live_version_flips(
    gateway: RunningGateway, triton: StandIn
) -> None:
    """As a detector does that finds boxes everywhere: left out, it would seem to answer alike."""
    triton.behaviour = answering(output(1.0), output(*map(float, range(50_000))))
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    found = compared(gateway)
    assert (found["copies"], found["flips"], found["unlike"], found["left_out"]) == (1, 1.0, 1, {})


def test_a_shadows_answer_for_which_the_gateway_has_no_room_is_not_its_failure(
    start_gateway: StartGateway, triton: StandIn
) -> None:
    triton.behaviour = answering(output(1.0), output(*map(float, range(2_000))))
    shadows = ShadowSettings(max_bytes_in_flight=4_000)
    gateway = start_gateway(triton.url, routes=table(1, target(7), shadow=SHADOW), shadow=shadows)
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["dropped"] == 1)
    found = counts(gateway)
    assert (found["sent"], found["answered"], found["failed"]) == (0, 0, 0)
    assert (found["compared"]["failed"], found["compared"]["left_out"]) == (0, {"no room": 1})


def test_the_bots_own_requests_are_copied_and_not_compared(gateway: RunningGateway, triton: StandIn) -> None:
    url = f"{gateway.url}/v2/models/adder/infer"
    http_client.post(url, json=infer_body(1.0), headers={"promobot-own": "1"}).raise_for_status()
    wait_for(lambda: counts(gateway)["answered"] == 1)
    found = compared(gateway)
    assert (found["copies"], sum(found["shadow_cells"]), found["left_out"]) == (0, 0, {})


def test_comparing_begins_anew_with_another_live_version(gateway: RunningGateway, triton: StandIn) -> None:
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    before = compared(gateway)
    gateway.write(table(2, target(6), shadow=SHADOW))
    gateway.reload(2)
    found = compared(gateway)
    assert (found["live"]["version"], found["copies"], counts(gateway)["answered"]) == (6, 0, 1)
    assert (before["copies"], before["since"] <= found["since"]) == (1, True)


def test_with_no_share_nothing_is_compared(start_gateway: StartGateway, triton: StandIn) -> None:
    shadows = ShadowSettings(compare_share=0)
    gateway = start_gateway(triton.url, routes=table(1, target(7), shadow=SHADOW), shadow=shadows)
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    assert compared(gateway) is None
    with pytest.raises(ValueError, match="must be from 0 to 1, not"):
        ShadowSettings(compare_share=1.5)


def test_an_allowance_is_a_share_of_what_the_process_uses() -> None:
    now = used = 0.0
    allowance = Allowance(0.1, clock=lambda: now, used=lambda: used)
    assert allowance.has_any(), "there is a little at the beginning"
    allowance.spend(0.045)
    now, used = 0.1, 0.1
    assert not allowance.has_any(), "0.01 of 0.02 s are paid back"
    now, used = 0.2, 0.25
    assert allowance.has_any()
    now, used = 0.3, 1000.0
    assert allowance.has_any()
    allowance.spend(0.035)
    assert not allowance.has_any(), "no more than 0.025 s were saved"
    used = 2000.0
    assert not allowance.has_any(), "the kernel is not asked each time"
    now, used = 1.3, 1000.0
    assert not allowance.has_any(), "a process that idles gets 0.005 s for a second"
    now = 3.5
    assert allowance.has_any()


def test_a_process_that_idles_in_a_bake_compares_as_if_it_used_half_a_processor() -> None:
    now = 0.0
    allowances = [
        Allowance(0.1, **more, clock=lambda: now, used=lambda: 0.0) for more in ({}, {"at_least_used": 0.5})
    ]
    for allowance in allowances:
        allowance.spend(0.025 + 0.02)
    now = 0.41
    assert [allowance.has_any() for allowance in allowances] == [False, True], "0.002 s and 0.02 s are earned"


def test_a_shadow_on_a_real_triton(start_gateway: StartGateway, triton_server: RunningTriton) -> None:
    gateway = start_gateway(triton_server.url, routes=table(1, target(1), shadow=target(3)))
    assert gateway.infer(1.0).json()["outputs"][0]["data"] == [2.0]
    wait_for(lambda: counts(gateway)["answered"] == 1)
    found = compared(gateway)
    assert (found["copies"], found["flipped"], found["furthest"]) == (1, 0, 2.0), "3 instead of 1 is added"
    assert found["moved"][MOVED_ENDS.index(2.0)] == 1
