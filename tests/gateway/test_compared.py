"""The version before is asked what the newest one answers, in the background, and both answers are compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from bot.domain.routes import Canary, Route, RouteTable
from bot.domain.traffic import OWN_HEADER
from bot.gateway.settings import ShadowSettings
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, http_client, infer_body, target, wait_for
from tests.stand_ins.failing_triton import Behaviour, Seen, StandIn, answer_well, http

Output = dict[str, Any]
Start = Callable[..., RunningGateway]
NEW, BEFORE, SHADOW = target(8), target(7), target(9, "adder-shadow")


def compared_table(generation: int = 1, **route: Any) -> RouteTable:
    """Version 8 answers all, and is compared with version 7."""
    return RouteTable("dev", generation, {"adder": Route(**{"live": NEW, "compared": BEFORE, **route})})


def label(*rows: int) -> list[Output]:
    return [{"name": "label", "datatype": "INT64", "shape": [len(rows)], "data": list(rows)}]


def by_version(answers: dict[str, list[Output]], *, fails: str = "", refuses: str = "") -> Behaviour:
    """Answer so by the version in the path; the version ``fails`` answers 500, and those in ``refuses`` 400."""

    def behaviour(seen: Seen) -> bytes:
        if not seen.path.endswith("/infer"):
            return answer_well(seen)
        version = seen.path.split("/")[-2]
        if version == fails:
            return http(500, b"{}")
        if version in refuses:
            return http(400, b'{"error": "unexpected shape"}')
        return http(200, json.dumps({"model_version": version, "outputs": answers[version]}).encode())

    return behaviour


@pytest.fixture
def triton(start_stand_in: Callable[[], StandIn]) -> StandIn:
    found = start_stand_in()
    found.behaviour = by_version({"7": label(0, 1), "8": label(0, 0), "9": label(1, 1)})
    return found


@pytest.fixture
def start(start_gateway: StartGateway, triton: StandIn) -> Callable[..., RunningGateway]:
    def start(routes: RouteTable, **shadow: Any) -> RunningGateway:
        settings = ShadowSettings(**{"compare_share": 1, **shadow})
        return start_gateway(triton.url, routes=routes, shadow=settings)

    return start


def counts(gateway: RunningGateway) -> Any:
    return gateway.routes()["compared"]["adder"]


def ask(gateway: RunningGateway, model: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return http_client.post(f"{gateway.url}/v2/models/{model}/infer", json=infer_body(1.0), headers=headers)


def asked(triton: StandIn, version: int) -> int:
    return sum(seen.path.endswith(f"/versions/{version}/infer") for seen in triton.infers)


def test_what_the_newest_answers_is_compared_with_the_version_before(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table())
    assert gateway.infer(1.0, 2.0).json()["outputs"] == label(0, 0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    found = counts(gateway)
    assert (found["version"], found["compared"]["live"]) == (7, NEW.to_json())
    assert (found["compared"]["copies"], found["compared"]["rows"], found["compared"]["flips"]) == (1, 2, 0.5)
    assert gateway.routes()["shadows"] == {} and asked(triton, 7) == 1
    numbers = http_client.get(f"{gateway.url}/metrics").text
    assert 'promobot_gateway_compared_rows_total{decision="flipped",model="adder",version="8"} 1.0' in numbers


def test_only_what_the_canary_answers_is_compared(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table(live=BEFORE, canary=Canary(NEW, 50)))
    assert ask(gateway, "adder/versions/7").json()["model_version"] == "7"
    assert ask(gateway, "adder/versions/8").json()["model_version"] == "8"
    wait_for(lambda: counts(gateway)["answered"] == 1)
    assert (counts(gateway)["compared"]["copies"], asked(triton, 7), asked(triton, 8)) == (1, 2, 1)


def test_comparing_begins_anew_where_the_canary_comes_to_answer_all(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table(live=BEFORE, canary=Canary(NEW, 50)))
    ask(gateway, "adder/versions/8")
    wait_for(lambda: counts(gateway)["answered"] == 1)
    gateway.write(compared_table(2, live=BEFORE, canary=Canary(NEW, 60)))
    assert gateway.reload(2).json()["compared"]["adder"]["compared"]["copies"] == 1, "a step goes on"
    gateway.write(compared_table(3))
    assert gateway.reload(3).json()["compared"]["adder"]["compared"]["copies"] == 0


def test_a_shadow_listens_all_the_same(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table(shadow=SHADOW))
    gateway.infer(1.0, 2.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    wait_for(lambda: gateway.routes()["shadows"]["adder"]["answered"] == 1)
    assert gateway.routes()["shadows"]["adder"]["compared"]["flips"] == 1.0
    assert (asked(triton, 7), asked(triton, 8), asked(triton, 9)) == (1, 1, 1)


def test_a_failure_of_the_version_before_says_nothing_of_the_new_one(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table())
    triton.behaviour = by_version({"8": label(0, 0)}, fails="7")
    assert gateway.infer(1.0).status_code == 200
    wait_for(lambda: counts(gateway)["failed"] == 1)
    assert counts(gateway)["compared"]["copies"] == 0


def test_an_answer_that_is_much_larger_decides_otherwise(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table(), max_compared_bytes=200)
    triton.behaviour = by_version({"7": label(0, 1), "8": label(*range(500))})
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    assert (counts(gateway)["compared"]["flips"], counts(gateway)["compared"]["left_out"]) == (1.0, {})


def test_what_only_the_newest_refuses_is_decided_otherwise(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table())
    triton.behaviour = by_version({"7": label(0, 1)}, refuses="8")
    assert gateway.infer(1.0).status_code == 400
    wait_for(lambda: counts(gateway)["answered"] == 1)
    found = counts(gateway)["compared"]
    assert (found["copies"], found["rows"], found["flips"]) == (1, 2, 1.0)
    triton.behaviour = by_version({}, refuses="78")
    assert gateway.infer(1.0).status_code == 400
    wait_for(lambda: counts(gateway)["answered"] == 2)
    found = counts(gateway)
    assert (found["compared"]["copies"], found["failed"]) == (1, 0), "both refuse it"


def test_the_bots_own_requests_are_not_compared(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table())
    assert ask(gateway, "adder", {OWN_HEADER: "1"}).status_code == 200
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    assert asked(triton, 7) == 1


def test_nothing_is_sent_that_would_not_be_compared(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table(), compare_share=1e-9)
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)  # which takes what there was
    gateway.infer(1.0)
    assert (counts(gateway)["compared"]["left_out"], asked(triton, 7)) == ({"busy": 1}, 1)


def test_comparing_ends_with_the_routes(start: Start, triton: StandIn) -> None:
    gateway = start(compared_table())
    gateway.infer(1.0)
    wait_for(lambda: counts(gateway)["answered"] == 1)
    gateway.write(compared_table(2, live=BEFORE, compared=None))
    assert gateway.reload(2).json()["compared"] == {}
    gateway.infer(1.0)
    assert asked(triton, 7) == 2, "as the one that answers"
