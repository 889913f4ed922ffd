"""What a gateway counts of users' requests, as ``GET /routes`` shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.domain.routes import Route, RouteTable
from bot.domain.smoke import Tensor
from bot.domain.traffic import BOUNDS, Counted, Period, Traffic
from bot.gateway.traffic import CLIENT_LEFT, MINUTES, MOST_LEFT, Counter, TrafficCounts, following
from bot.settings import GatewayEndpoint
from bot.systems.gateway import Gateway
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, http_client, infer_body, table, target, wait_for, write_routes
from tests.gateway.workers import gateway_workers
from tests.stand_ins.failing_triton import (
    StandIn,
    answer_well,
    as_if_restarted,
    break_off,
    for_infer,
    hang,
    http,
)

StartStandIn = Callable[[], StandIn]


@pytest.fixture
def triton(start_stand_in: StartStandIn) -> StandIn:
    return start_stand_in()


@pytest.fixture
def gateway(start_gateway: StartGateway, triton: StandIn) -> RunningGateway:
    return start_gateway(triton.url, routes=table(1, target(7)), timeout_seconds=5)


def period(gateway: RunningGateway, model: str = "adder") -> Period:
    traffic = Traffic.from_json(gateway.routes())
    assert traffic is not None
    return traffic.models[model]


def live(gateway: RunningGateway) -> Counted:
    found = period(gateway).live
    assert found is not None
    return found


def test_each_answer_is_counted_with_its_time(gateway: RunningGateway) -> None:
    assert [gateway.infer(1.0).status_code for _ in range(5)] == [200] * 5
    counted = live(gateway)
    assert (counted.version, counted.digest) == (7, target(7).digest)
    assert (counted.requests, counted.failed, counted.refused) == (5, 0, 0)
    assert sum(counted.cells) == 5 and counted.seconds > 0
    assert gateway.routes()["traffic_bounds"] == list(BOUNDS)
    assert period(gateway).before is None, "nothing answered before"
    assert "traffic" not in gateway.routes()["workers"][0], "it is there once"


def unknown_model(_: Any) -> bytes:
    return http(400, b'{"error":"Request for unknown model: \'adder\' version 7 is not at ready state"}')


@pytest.mark.parametrize(
    ("behaviour", "code", "failed", "refused"),
    [
        pytest.param(for_infer(lambda _: http(500, b"{}")), 500, 1, 0, id="500"),
        pytest.param(for_infer(lambda _: http(400, b'{"error":"shape"}')), 400, 0, 1, id="400"),
        pytest.param(for_infer(break_off), 502, 1, 0, id="broken-off"),
        pytest.param(for_infer(unknown_model), 400, 1, 0, id="the-version-is-not-there"),
        pytest.param(as_if_restarted, 404, 1, 0, id="restarted"),
    ],
)
def test_what_fails_is_told_from_what_is_refused(
    gateway: RunningGateway, triton: StandIn, behaviour: Any, code: int, failed: int, refused: int
) -> None:
    triton.behaviour = behaviour
    assert gateway.infer(1.0).status_code == code
    counted = live(gateway)
    assert (counted.requests, counted.failed, counted.refused) == (1, failed, refused)


def test_a_triton_that_cannot_be_reached_has_failed(gateway: RunningGateway, triton: StandIn) -> None:
    triton.refuse()
    assert gateway.infer(1.0).status_code == 503
    assert (live(gateway).requests, live(gateway).failed) == (1, 1)


def test_a_client_that_leaves_is_counted_with_the_time_that_it_waited(
    gateway: RunningGateway, triton: StandIn
) -> None:
    triton.behaviour = for_infer(hang)
    with pytest.raises(httpx.TimeoutException):
        gateway.infer(1.0, timeout=0.3)
    wait_for(lambda: live(gateway).requests == 1)
    counted = live(gateway)
    assert (counted.failed, counted.refused) == (0, 0)
    assert counted.seconds > 0.04, "as long as nobody answered"


def test_what_the_gateway_itself_refuses_says_nothing_of_a_version(gateway: RunningGateway) -> None:
    assert gateway.infer(1.0, model="other").status_code == 404
    too_large = http_client.post(f"{gateway.url}/v2/models/adder/versions/6/infer", json=infer_body(1.0))
    assert too_large.status_code == 404
    assert live(gateway).requests == 0


def test_what_the_gateway_has_no_room_for_says_nothing_of_a_version(
    start_gateway: StartGateway, triton: StandIn
) -> None:
    room = {"max_request_bytes": 1000, "max_bytes_in_flight": 1000}
    gateway = start_gateway(triton.url, routes=table(1, target(7)), **room)
    triton.behaviour = for_infer(lambda _: http(200, b" " * 2000))
    assert gateway.infer(1.0).status_code == 503
    assert live(gateway).requests == 0


def test_the_bots_own_requests_are_not_counted(gateway: RunningGateway) -> None:
    bot = Gateway(GatewayEndpoint(name="gw-0", url=gateway.url), token=None, request_seconds=5)
    try:
        bot.infer("adder", [Tensor("X", "FP32", (1,), (1.0,))], outputs=[])
        assert live(gateway).requests == 0
        gateway.infer(1.0)
        traffic = bot.counts().traffic
    finally:
        bot.close()
    assert traffic is not None and traffic.generation == 1
    counted = traffic.models["adder"].live
    assert counted is not None and counted.requests == 1


def test_another_version_begins_anew_and_keeps_what_the_old_one_did(gateway: RunningGateway, triton: StandIn) -> None:
    gateway.infer(1.0)
    triton.behaviour = for_infer(lambda _: http(500, b"{}"))
    gateway.infer(1.0)
    triton.behaviour = answer_well
    first = period(gateway)
    gateway.write(table(2, target(8)))
    assert gateway.reload(2).status_code == 200
    gateway.infer(1.0)
    then = period(gateway)
    assert then.since > first.since
    assert then.live is not None
    assert (then.live.version, then.live.requests, then.live.failed) == (8, 1, 0)
    assert then.before is not None
    assert (then.before.version, then.before.requests, then.before.failed) == (7, 2, 1)


def test_other_routes_of_the_same_version_begin_nothing(gateway: RunningGateway) -> None:
    gateway.infer(1.0)
    before = period(gateway)
    gateway.write(table(2, target(7), shadow=target(9, "adder-shadow")))
    assert gateway.reload(2).status_code == 200
    assert period(gateway).since == before.since
    assert live(gateway).requests == 1


def test_numbers_of_several_processes_are_added_up(tmp_path: Path) -> None:
    with StandIn() as triton:
        write_routes(tmp_path / "routes.json", table(1, target(7)))
        with gateway_workers("uvicorn", tmp_path, [triton.url], workers=2) as gateway:
            wait_for(lambda: len(gateway.routes()["workers"]) == 2)
            seen = set[str]()
            sent = 0
            while len(seen) < 2:
                seen.add(gateway.infer(1.0).headers["promobot-worker"])
                sent += 1
            assert live(gateway).requests == sent


# Without a server: time passes at once.


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def counter(counts: TrafficCounts, version: int) -> Counter:
    return counts.counter("adder", target(version))


def serving(counts: TrafficCounts, generation: int, version: int | None) -> None:
    counts.follow(table(generation, target(version) if version else None))


@pytest.fixture
def counts() -> TrafficCounts:
    made = TrafficCounts(clock=Clock())
    serving(made, 1, 7)
    return made


def before(counts: TrafficCounts) -> Counted:
    found = counts.traffic().models["adder"].before
    assert found is not None
    return found


def test_of_what_was_before_only_the_last_hour_counts(counts: TrafficCounts) -> None:
    for minute in range(90):
        for _ in range(minute):
            counter(counts, 7).note(200, 0.01)
        counts.keep_marks()
    counter(counts, 7).note(500, 0.01)
    serving(counts, 2, 8)
    assert before(counts).requests == sum(range(90 - MINUTES + 1, 90)) + 1, "of the last hour, to a minute"
    assert before(counts).failed == 1
    assert sum(before(counts).cells) == before(counts).requests
    assert before(counts).seconds == pytest.approx(before(counts).requests * 0.01)


def test_a_request_that_ends_after_the_switch_counts_for_the_version_that_it_asked(counts: TrafficCounts) -> None:
    asked = counter(counts, 7)
    serving(counts, 2, 8)
    asked.note(200, 0.01)
    period = counts.traffic().models["adder"]
    assert period.live is not None and period.live.requests == 0
    assert [one.codes[200] for _, one in counts.counters()] == [0, 1], "monitors still see it"


def test_a_version_that_comes_back_begins_anew(counts: TrafficCounts) -> None:
    counter(counts, 7).note(500, 0.01)
    serving(counts, 2, 8)
    serving(counts, 3, 7)
    period = counts.traffic().models["adder"]
    assert period.live is not None and (period.live.version, period.live.failed) == (7, 0)
    assert counter(counts, 7).codes == {500: 1}, "what monitors read does not fall at a rollback"


def test_a_model_that_is_out_of_the_table_is_forgotten(counts: TrafficCounts) -> None:
    serving(counts, 2, None)
    assert counts.traffic().models == {} and list(counts.counters()) == []


def test_a_shadow_alone_answers_nobody() -> None:
    counts = TrafficCounts()
    counts.follow(RouteTable("dev", 1, {"adder": Route(shadow=target(8))}))
    assert counts.traffic().models == {}


def test_each_time_is_counted_in_its_cell() -> None:
    one = Counter(target(7), "live")
    for seconds in (0.0, 0.0005, 0.00051, 63.0, 64.0):
        one.note(200, seconds)
    cells = one.last_hour().cells
    assert (cells[0], cells[1], cells[-2], cells[-1]) == (2, 1, 1, 1)
    one.note(CLIENT_LEFT, 1.0)
    assert (one.last_hour().requests, one.last_hour().refused) == (6, 0)


def test_a_version_that_stays_begins_anew_with_its_neighbour() -> None:
    now = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    alone = following(None, [(target(7), "live")], now)
    alone.counters[0].note(500, 0.01)
    divided = following(alone, [(target(7), "live"), (target(8), "canary")], now)
    assert divided.counters[0] is alone.counters[0], "what monitors read goes on"
    divided.counters[0].note(200, 0.01)
    divided.counters[1].note(200, 0.01)
    period = divided.period()
    assert period.live is not None and (period.live.requests, period.live.failed) == (1, 0)
    assert period.canary is not None and period.canary.requests == 1
    assert period.before is not None and (period.before.version, period.before.failed) == (7, 1)
    assert following(divided, [(target(7), "live"), (target(8), "canary")], now) is divided
    full = following(divided, [(target(8), "live")], now)
    assert full.period().live == Counter(target(8), "live").last_hour(), "as a canary it was another"
    before = full.period().before
    assert before is not None and (before.version, before.requests, before.failed) == (7, 2, 1)
    assert full.left == divided.counters
    # With the next version beside it, what it did as a canary stays in the histogram of the version.
    following_one = following(full, [(target(8), "live"), (target(9), "canary")], now)
    assert [(one.target.version, one.lane) for one in following_one.left] == [(8, "canary")]
    gone = following(following_one, [(target(9), "live")], now)
    assert [(one.target.version, one.lane) for one in gone.left] == [(8, "live"), (9, "canary")]


def test_counters_that_left_do_not_pile_up() -> None:
    now, running = datetime(2026, 11, 30, 12, 0, tzinfo=UTC), None
    for number in range(3 * MOST_LEFT):  # the same version, published again and again
        running = following(running, [(target(7, f"adder-{number}"), "live")], now)
    assert running is not None and len(running.left) == MOST_LEFT
