"""Canaries: which version answers whom, in every gateway and worker alike, and how they come and go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import sqrt
from typing import Any

import httpx
import pytest

from bot.domain.dividing import is_canary
from bot.domain.routes import Canary, Route, RouteTable
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, http_client, infer_body, table, target, wait_for
from tests.gateway.triton import RunningTriton
from tests.gateway.workers import gateway_workers
from tests.stand_ins.failing_triton import Seen, StandIn, answer_well, http

StartStandIn = Callable[[], StandIn]
SALT = "sha256:" + "1" * 64
KEY = "x-user-id"
USERS = [f"user-{number}" for number in range(200)]


def divided(generation: int, percent: int, *, key: str = KEY, shadow: int | None = None) -> RouteTable:
    listens = target(shadow, "adder-shadow") if shadow else None
    route = Route(target(7), listens, Canary(target(8), percent, key, SALT))
    return RouteTable("dev", generation, {"adder": route})


def ask(url: str, **headers: str) -> str:
    """Return the version that answers."""
    answer = http_client.post(f"{url}/v2/models/adder/infer", json=infer_body(1.0), headers=headers)
    return str(answer.raise_for_status().json()["model_version"])


def expected(user: str, percent: int) -> str:
    return "8" if is_canary(Canary(target(8), percent, KEY, SALT), user.encode()) else "7"


@pytest.fixture
def triton(start_stand_in: StartStandIn) -> StandIn:
    return start_stand_in()


def test_a_user_stays_with_one_version_and_none_moves_back(start_gateway: StartGateway, triton: StandIn) -> None:
    gateway = start_gateway(triton.url, routes=divided(1, 10))
    moved = set[str]()
    for generation, percent in enumerate((10, 25, 50, 99), start=1):
        gateway.write(divided(generation, percent))
        assert gateway.reload(generation).status_code == 200
        answers = {user: ask(gateway.url, **{KEY: user}) for user in USERS}
        assert answers == {user: expected(user, percent) for user in USERS}
        assert moved <= {user for user, version in answers.items() if version == "8"}
        moved = {user for user, version in answers.items() if version == "8"}
    assert 0 < len(moved) < len(USERS) + 1


def test_gateways_agree_without_talking(start_gateway: StartGateway, triton: StandIn) -> None:
    first, second = (start_gateway(triton.url, routes=divided(1, 50)) for _ in range(2))
    assert [ask(first.url, **{KEY: user}) for user in USERS] == [ask(second.url, **{KEY: user}) for user in USERS]


@pytest.mark.slow
def test_workers_agree_without_talking(triton: StandIn, tmp_path: Any) -> None:
    (tmp_path / "routes.json").write_text(divided(1, 50).to_json())
    with gateway_workers("uvicorn", tmp_path, [triton.url], workers=3, follow_seconds=3600) as running:
        wait_for(lambda: len(running.routes()["workers"]) == 3)
        seen = Counter[str]()
        for user in USERS:
            answer = http_client.post(
                f"{running.url}/v2/models/adder/infer", json=infer_body(1.0), headers={KEY: user}
            )
            assert answer.json()["model_version"] == expected(user, 50)
            seen[answer.headers["promobot-worker"]] += 1
    assert len(seen) > 1


@pytest.mark.parametrize("headers", [{}, {KEY: ""}], ids=["missing", "empty"])
def test_without_the_key_the_request_decides(
    start_gateway: StartGateway, triton: StandIn, headers: dict[str, str]
) -> None:
    gateway = start_gateway(triton.url, routes=divided(1, 50))
    for user in USERS[:50]:
        assert ask(gateway.url, **headers, **{"x-request-id": user}) == expected(user, 50)


def test_without_any_key_chance_decides(start_gateway: StartGateway, triton: StandIn) -> None:
    gateway = start_gateway(triton.url, routes=divided(1, 50, key=""))
    with httpx.Client(base_url=gateway.url) as client:
        answers = [client.post("/v2/models/adder/infer", json=infer_body(1.0)).json() for _ in range(400)]
    new = sum(answer["model_version"] == "8" for answer in answers)
    assert abs(new - 200) <= 5 * sqrt(400 * 0.25)


def test_a_request_that_names_a_version_gets_it(start_gateway: StartGateway, triton: StandIn) -> None:
    gateway = start_gateway(triton.url, routes=divided(1, 1))
    for version in (7, 8):
        for user in USERS[:20]:
            path = f"{gateway.url}/v2/models/adder/versions/{version}/infer"
            answer = http_client.post(path, json=infer_body(1.0), headers={KEY: user})
            assert answer.json()["model_version"] == str(version)
    refused = http_client.post(f"{gateway.url}/v2/models/adder/versions/9/infer", json=infer_body(1.0))
    assert refused.status_code == 404
    assert refused.json()["error"] == "version 9 of model 'adder' is not in service here, 7 and 8 are"


def test_questions_about_the_model_are_about_the_live_version(start_gateway: StartGateway, triton: StandIn) -> None:
    gateway = start_gateway(triton.url, routes=divided(1, 99))
    for user in USERS[:20]:
        http_client.get(f"{gateway.url}/v2/models/adder/ready", headers={KEY: user}).raise_for_status()
    asked = {seen.path for seen in triton.seen if seen.path.endswith("/ready")}
    assert "/v2/models/adder/versions/7/ready" in asked
    assert not any("/versions/8/" in path for path in asked)


def test_a_canary_that_is_not_ready_is_refused_and_named(start_gateway: StartGateway, triton: StandIn) -> None:
    def lacks_8(seen: Seen) -> bytes:
        if "/versions/8/ready" in seen.path:
            return http(400, b'{"error":"not ready"}')
        return answer_well(seen)

    triton.behaviour = lacks_8
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    gateway.write(divided(2, 10))
    refused = gateway.reload(2)
    assert (refused.status_code, refused.json()["models"]) == (409, ["adder"])
    assert "adder version 8 (for adder) is not ready" in refused.json()["error"]
    assert gateway.routes()["generation"] == 1


def test_what_is_routed_already_is_not_asked_about_again(start_gateway: StartGateway, triton: StandIn) -> None:
    """A step must be possible while one of several Tritons restarts, and so must the end of a canary."""
    gateway = start_gateway(triton.url, routes=divided(1, 10))
    triton.behaviour = lambda seen: http(400, b"{}") if seen.path.endswith("/ready") else answer_well(seen)
    for generation, routes in ((2, divided(2, 50)), (3, table(3, target(8))), (4, table(4, target(8)))):
        gateway.write(routes)
        assert gateway.reload(generation).status_code == 200, generation


def test_only_what_the_live_version_answered_is_copied_to_a_shadow(
    start_gateway: StartGateway, triton: StandIn
) -> None:
    gateway = start_gateway(triton.url, routes=divided(1, 50, shadow=9))
    answers = Counter(ask(gateway.url, **{KEY: user}) for user in USERS)
    wait_for(lambda: gateway.routes()["shadows"]["adder"]["answered"] == answers["7"])
    assert answers["8"] > 0


def test_a_table_of_format_3_is_refused_and_the_gateway_keeps_what_it_has(
    start_gateway: StartGateway, triton: StandIn
) -> None:
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    gateway.write(divided(2, 10).to_json().replace('"format": 2', '"format": 3'))
    refused = gateway.reload(2)
    assert (refused.status_code, "format 1 or 2" in refused.json()["error"]) == (422, True)
    assert ask(gateway.url) == "7"


def test_routes_say_who_divides(start_gateway: StartGateway, triton: StandIn) -> None:
    gateway = start_gateway(triton.url, routes=divided(1, 10))
    said = gateway.routes()["models"]["adder"]
    assert said["canary"] == {**target(8).to_json(), "percent": 10, "key": KEY, "salt": SALT}


def test_requests_are_counted_for_who_answered_them(start_gateway: StartGateway, triton: StandIn) -> None:
    gateway = start_gateway(triton.url, routes=divided(1, 50))
    answers = Counter(ask(gateway.url, **{KEY: user}) for user in USERS)
    counted = gateway.routes()["traffic"]["adder"]["versions"]
    assert {(one["version"], one["lane"]): one["requests"] for one in counted} == {
        (7, "live"): answers["7"],
        (8, "canary"): answers["8"],
    }
    gateway.write(divided(2, 99))  # a step is of the same pair
    assert gateway.reload(2).status_code == 200
    assert gateway.routes()["traffic"]["adder"]["versions"] == counted


def test_a_canary_on_a_real_triton(start_gateway: StartGateway, triton_server: RunningTriton) -> None:
    """Versions of one name and under another one answer what they are: version N adds N."""
    for name in ("adder", "adder.1a2b3c4d"):
        route = Route(target(1), None, Canary(target(2, name), 50, KEY, SALT))
        gateway: RunningGateway = start_gateway(triton_server.url, routes=RouteTable("dev", 1, {"adder": route}))
        seen = set[int]()
        for user in USERS[:40]:
            answer = http_client.post(
                f"{gateway.url}/v2/models/adder/infer", json=infer_body(1.0), headers={KEY: user}
            ).json()
            version = 2 if expected(user, 50) == "8" else 1
            assert (answer["model_name"], answer["model_version"]) == ("adder", str(version))
            assert answer["outputs"][0]["data"] == [1.0 + version]
            seen.add(version)
        assert seen == {1, 2}
