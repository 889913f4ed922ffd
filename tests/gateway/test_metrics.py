"""``GET /metrics`` of a gateway: what Prometheus reads."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as open_parser

from bot.domain.routes import Canary, Route, RouteTable
from bot.gateway import metrics
from bot.gateway.totals import Totals, total
from bot.gateway.traffic import TrafficCounts
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, http_client, table, target, wait_for, write_routes
from tests.gateway.workers import gateway_workers
from tests.stand_ins.failing_triton import StandIn, for_infer, http

StartStandIn = Callable[[], StandIn]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{sample.name} twice with the same labels"
            found[key] = sample.value
    return found


def scraped(gateway: RunningGateway) -> Samples:
    answer = http_client.get(f"{gateway.url}/metrics").raise_for_status()
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.text)


def value(found: Samples, name: str, /, **labels: str) -> float | None:
    return found.get((f"promobot_gateway_{name}", frozenset(labels.items())))


@pytest.fixture
def triton(start_stand_in: StartStandIn) -> StandIn:
    return start_stand_in()


@pytest.fixture
def gateway(start_gateway: StartGateway, triton: StandIn) -> RunningGateway:
    return start_gateway(triton.url, routes=table(1, target(7), shadow=target(9, "adder-shadow")))


def test_requests_are_counted_by_model_version_lane_and_code(gateway: RunningGateway, triton: StandIn) -> None:
    of = {"model": "adder", "version": "7", "lane": "live"}
    for _ in range(3):
        gateway.infer(1.0)
    triton.behaviour = for_infer(lambda _: http(500, b"{}"))
    gateway.infer(1.0)
    assert gateway.infer(1.0, model="other").status_code == 404
    found = scraped(gateway)
    assert value(found, "requests_total", **of, code="200") == 3
    assert value(found, "requests_total", **of, code="500") == 1
    assert value(found, "failed_requests_total", **of) == 1
    assert value(found, "refusals_total", code="404") == 1
    duration = "request_duration_seconds"
    assert value(found, f"{duration}_count", model="adder", version="7") == 4
    assert value(found, f"{duration}_bucket", model="adder", version="7", le="+Inf") == 4
    assert (value(found, f"{duration}_sum", model="adder", version="7") or 0) > 0
    shown = [v for (name, labels), v in sorted(found.items(), key=_bound) if name.endswith("_bucket")]
    assert shown == sorted(shown), "what took up to a bound took up to the next one, too"


def _bound(item: tuple[tuple[str, frozenset[tuple[str, str]]], float]) -> float:
    return float(dict(item[0][1]).get("le", "nan"))


def test_it_says_what_the_gateway_serves(gateway: RunningGateway, triton: StandIn) -> None:
    gateway.infer(1.0)
    wait_for(lambda: gateway.routes()["shadows"]["adder"]["answered"] == 1)
    gateway.write(table(2, target(8), shadow=target(9, "adder-shadow")))
    assert gateway.reload(2).status_code == 200
    assert gateway.reload(3).status_code == 409
    assert gateway.reload(2, token="wrong").status_code == 401
    found = scraped(gateway)
    assert value(found, "generation") == 2
    assert value(found, "serving") == value(found, "workers") == 1
    assert value(found, "silent_workers") == value(found, "draining_requests") == 0
    assert value(found, "route", model="adder", version="8", lane="live") == 1
    assert value(found, "route", model="adder", version="9", lane="shadow") == 1
    assert value(found, "info", name="gateway", environment="dev") == 1
    assert [value(found, "reloads_total", result=one) for one in ("taken", "refused", "unauthorized")] == [1, 1, 1]
    assert value(found, "shadow_requests_total", model="adder", version="9", result="answered") == 1
    assert value(found, "shadow_requests_total", model="adder", version="9", result="dropped") == 0
    assert [value(found, "tritons", state=state) for state in ("known", "silent", "lacking")] == [1, 0, 0]
    of_the_old = {"model": "adder", "version": "7", "lane": "live"}
    assert value(found, "requests_total", **of_the_old, code="200") == 1, "its last requests are not lost"


def test_every_answer_says_which_routes_it_follows_and_which_bytes_were_asked(
    gateway: RunningGateway, triton: StandIn
) -> None:
    def said(answer: Any) -> tuple[str | None, str | None]:
        return answer.headers.get("promobot-generation"), answer.headers.get("promobot-digest")

    assert said(gateway.infer(1.0)) == ("1", target(7).digest)
    assert said(http_client.get(f"{gateway.url}/v2/models/adder")) == ("1", target(7).digest)
    assert said(gateway.infer(1.0, model="other")) == ("1", None)
    assert said(http_client.get(f"{gateway.url}/routes")) == ("1", None)
    triton.refuse()
    assert said(gateway.infer(1.0)) == ("1", target(7).digest), "which version did not answer"
    gateway.write(table(2, None))
    assert said(gateway.reload(2)) == ("2", None)
    assert said(gateway.infer(1.0)) == ("2", None)


def test_what_is_not_served_has_no_series(gateway: RunningGateway, triton: StandIn) -> None:
    gateway.infer(1.0, model="something-else")
    http_client.post(f"{gateway.url}/v2/models/adder/versions/999/infer", json={})
    text = http_client.get(f"{gateway.url}/metrics").text
    assert "something-else" not in text and "999" not in text
    assert triton.url.rpartition(":")[2] not in text, "nor does it name an address"


def test_a_gateway_that_serves_nothing_says_so(start_gateway: StartGateway, triton: StandIn, tmp_path: Path) -> None:
    found = scraped(start_gateway(triton.url))
    assert value(found, "serving") == 0 and value(found, "generation") == 0


def test_who_asks_for_open_metrics_gets_it(gateway: RunningGateway) -> None:
    gateway.infer(1.0)
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = http_client.get(f"{gateway.url}/metrics", headers=accept).raise_for_status()
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in open_parser.text_string_to_metric_families(answer.text)}
    assert {"promobot_gateway_requests", "promobot_gateway_request_duration_seconds"} <= names


def test_two_configurations_of_one_version_are_one_series(start_gateway: StartGateway, triton: StandIn) -> None:
    gateway = start_gateway(triton.url, routes=table(1, target(7)))
    gateway.infer(1.0)
    gateway.write(table(2, target(7, "adder.1a2b3c4d")))
    assert gateway.reload(2).status_code == 200
    gateway.infer(1.0)
    found = scraped(gateway)
    assert value(found, "requests_total", model="adder", version="7", lane="live", code="200") == 2


def test_no_more_models_have_series_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MOST_MODELS", 2)
    routes = RouteTable("dev", 1, {f"model-{number}": Route(live=target(1)) for number in range(5)})
    counts = TrafficCounts()
    counts.follow(routes)
    for _, counter in counts.counters():
        counter.note(200, 0.01)
    totals = metrics.totals_of(routes, counts, refusals={}, reloads={}, shadows={}, before={}, recorded={})
    found = samples(metrics.exposition(_scrape(routes, totals), accept="")[0].decode())
    models = {labels["model"] for _, of in found if "model" in (labels := dict(of))}
    assert models == {"model-0", "model-1", metrics.OTHERS}
    others = value(found, "requests_total", model=metrics.OTHERS, version="", lane="live", code="200")
    assert others == 3
    assert value(found, "route", model="model-1", version="1", lane="live") == 1
    assert value(found, "route", model="model-2", version="1", lane="live") is None


def test_a_version_that_gets_a_share_is_told_from_the_live_one() -> None:
    canary = Canary(target(8), 10, "x-user-id", target(8).digest)
    routes = RouteTable("dev", 1, {"adder": Route(live=target(7), canary=canary)})
    counts = TrafficCounts()
    counts.follow(routes)
    counts.counter("adder", target(8)).note(500, 0.01)
    totals = metrics.totals_of(routes, counts, refusals={}, reloads={}, shadows={}, before={}, recorded={})
    found = samples(metrics.exposition(_scrape(routes, totals), accept="")[0].decode())
    assert value(found, "failed_requests_total", model="adder", version="8", lane="canary") == 1
    assert value(found, "failed_requests_total", model="adder", version="7", lane="live") == 0
    assert value(found, "route", model="adder", version="8", lane="canary") == 1
    assert value(found, "canary_percent", model="adder", version="8") == 10


def _scrape(routes: RouteTable, totals: Totals) -> metrics.Scrape:
    return metrics.Scrape(routes, totals, [{"id": "1", "generation": 1}], name="gateway")


def test_a_worker_that_is_killed_takes_nothing_away(tmp_path: Path) -> None:
    """A number that falls is a restart to a monitor, and all that is left would count as new."""
    of = {"model": "adder", "version": "7", "lane": "live", "code": "200"}
    with StandIn() as triton:
        write_routes(tmp_path / "routes.json", table(1, target(7)))
        with gateway_workers("uvicorn", tmp_path, [triton.url], workers=2) as gateway:
            wait_for(lambda: len(gateway.routes()["workers"]) == 2)
            answered = dict[str, int]()
            while len(answered) < 2:
                worker = gateway.infer(1.0).headers["promobot-worker"]
                answered[worker] = answered.get(worker, 0) + 1
            sent = sum(answered.values())
            # On a busy machine a worker may not answer the other in time; then it counts as it was seen last.
            wait_for(lambda: value(scraped(gateway), "requests_total", **of) == sent)
            assert value(scraped(gateway), "workers") == 2
            killed = next(iter(answered))
            os.kill(int(killed.partition("-")[0]), signal.SIGKILL)
            wait_for(lambda: killed not in str(gateway.routes()["workers"]))
            assert value(scraped(gateway), "requests_total", **of) == sent
            gateway.infer(1.0)
            wait_for(lambda: value(scraped(gateway), "requests_total", **of) == sent + 1)


# What is kept of processes, without any.


def totals(number: float, *, at: float | None = None, version: str = "7") -> Totals:
    found = Totals() if at is None else Totals(at)
    found.add(("requests", "adder", version), number)
    found.add_times(("duration", "adder", version), number / 8, [int(number), 0])
    return found


def of_all(found: Totals) -> tuple[float, float, list[int]]:
    return found.numbers["requests", "adder", "7"], *found.times["duration", "adder", "7"]


def test_what_ended_processes_counted_stays_in_the_sum(tmp_path: Path) -> None:
    assert of_all(total({"1": totals(10), "2": totals(5)}, silent=(), folder=tmp_path)) == (15, 1.875, [15, 0])
    assert of_all(total({"1": totals(11)}, silent=(), folder=tmp_path)) == (16, 2.0, [16, 0]), "2 has ended"
    assert of_all(total({"1": totals(11), "3": totals(1)}, silent=(), folder=tmp_path)) == (17, 2.125, [17, 0])
    assert of_all(total({"3": totals(1)}, silent=(), folder=tmp_path)) == (17, 2.125, [17, 0]), "1 has ended, too"


def test_a_silent_process_counts_as_it_was_seen_last_and_once(tmp_path: Path) -> None:
    total({"1": totals(10), "2": totals(5)}, silent=(), folder=tmp_path)
    assert of_all(total({"1": totals(10)}, silent=("2",), folder=tmp_path))[0] == 15
    assert of_all(total({"1": totals(10), "2": totals(6)}, silent=(), folder=tmp_path))[0] == 16


def test_an_older_reading_takes_nothing_away(tmp_path: Path) -> None:
    total({"1": totals(10, at=2)}, silent=(), folder=tmp_path)
    assert of_all(total({"1": totals(9, at=1)}, silent=(), folder=tmp_path))[0] == 10
    assert of_all(total({"1": totals(8, at=3)}, silent=(), folder=tmp_path))[0] == 8, "another shadow begins at 0"


def test_versions_of_ended_processes_do_not_pile_up(tmp_path: Path) -> None:
    total({"1": totals(10, version="6")}, silent=(), folder=tmp_path)
    found = total({"2": totals(1)}, silent=(), folder=tmp_path)
    assert set(found.numbers) == {("requests", "adder", "7")}
    assert set(found.times) == {("duration", "adder", "7")}


def test_a_file_that_was_cut_off_is_none(tmp_path: Path) -> None:
    (tmp_path / ".totals.json").write_text('{"1": {"numb')
    assert of_all(total({"1": totals(9)}, silent=(), folder=tmp_path))[0] == 9
