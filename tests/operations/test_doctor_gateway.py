"""What ``promobot doctor`` says of a gateway that is too old for what the settings ask of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from bot.domain.routes import RouteTable
from bot.errors import Refused
from bot.operations.doctor import _gateway
from bot.settings import Bake, GatewayEndpoint, RolloutRules
from bot.systems.gateway import Gateway
from tests.gateway.gateways import TOKEN
from tests.stand_ins.server import Seen, StandIn, answer

OLD = {**json.loads(RouteTable("dev", 3).to_json()), "worker": "1-a", "group": "g", "workers": []}
NEW = {**OLD, "traffic": {}, "traffic_bounds": [0.1]}


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


def tried(stand_in: StandIn, said: dict[str, Any], rollout: dict[str, RolloutRules]) -> object:
    def behaviour(seen: Seen) -> bytes:
        return answer(422, {"error": "no"}) if seen.method == "POST" else answer(200, said)

    stand_in.behaviour = behaviour
    endpoint = GatewayEndpoint(name="gw-0", url=stand_in.url)

    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[Gateway]:
        gateway = Gateway(endpoint, token=TOKEN, request_seconds=5)
        try:
            yield gateway
        finally:
            gateway.close()

    @contextmanager
    def of_routes() -> Iterator[tuple[str, str]]:
        yield "promobot-doctor-0123456789abcdef.json", "text"

    platform: Any = SimpleNamespace(
        environment="dev",
        gateway=opened,
        share=SimpleNamespace(trials=SimpleNamespace(of_routes=of_routes)),
        settings=SimpleNamespace(rollout=rollout, share=SimpleNamespace(state="/state")),
    )
    return _gateway(platform, endpoint, endpoint)


@pytest.mark.parametrize(
    "rules",
    [RolloutRules(steps=[10, 100]), RolloutRules(bake=Bake()), RolloutRules(replace="in place")],
    ids=["steps", "a bake", "in place"],
)
def test_a_gateway_that_is_too_old_for_a_rollout_is_named_before_one_begins(
    stand_in: StandIn, rules: RolloutRules
) -> None:
    with pytest.raises(Refused, match="gw-0 is too old for `rollout` in the settings") as refused:
        tried(stand_in, OLD, {"churn": rules})
    assert "Bring it up to date first" in refused.value.next_step
    assert tried(stand_in, NEW, {"churn": rules})


def test_one_that_is_too_old_will_do_where_nothing_is_divided(stand_in: StandIn) -> None:
    assert tried(stand_in, OLD, {"churn": RolloutRules()})


def test_a_gateway_that_is_too_old_to_compare_is_named_too(stand_in: StandIn) -> None:
    limits = RolloutRules(bake=Bake(max_flips=0.02))
    with pytest.raises(Refused, match="gw-0 is too old for `max_flips` in the settings") as refused:
        tried(stand_in, NEW, {"churn": limits})
    assert "Bring it up to date first" in refused.value.next_step
    assert tried(stand_in, {**NEW, "compared": {}}, {"churn": limits})
