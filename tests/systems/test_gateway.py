"""The gateway adapter: a real gateway in front of a real Triton, and answers that no gateway gives."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import onnx
import pytest

from bot.domain.marker import MARKER_FILE
from bot.domain.routes import Route, RouteTable, Target
from bot.domain.shadowed import Copies
from bot.domain.smoke import Tensor
from bot.errors import Denied, Foreign, NotReady, Refused, Rejected, Unavailable
from bot.render.deployment import unknown_workers
from bot.settings import GatewayEndpoint
from bot.systems.gateway import LOOKS, Gateway
from tests.controls import switching
from tests.gateway.gateways import TOKEN, GatewayProcess, gateway_process, write_routes
from tests.gateway.triton import CONFIG, publish_adder
from tests.stand_ins import failing_triton as kept
from tests.stand_ins.server import Behaviour, Seen, StandIn, answer
from tests.systems.conftest import Clock, RealTriton

DIGEST = f"sha256:{7:064x}"


def connected(url: str, *, token: str = TOKEN, request_seconds: float = 5) -> Gateway:
    return Gateway(GatewayEndpoint(name="gw-0", url=url), token=token, request_seconds=request_seconds)


def table(generation: int, version: int) -> RouteTable:
    return RouteTable("dev", generation, {"adder": Route(live=Target("gateway-adder", version, DIGEST))})


@pytest.fixture(scope="module")
def process(real: RealTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that has never seen a ``routes.json``, on a share that is mounted and marked."""
    publish_adder(real.repository / "gateway-adder", versions=(1, 2))
    httpx.post(f"{real.url}/v2/repository/models/gateway-adder/load", timeout=60).raise_for_status()
    routes = tmp_path_factory.mktemp("gateway") / "routes.json"
    (routes.parent / MARKER_FILE).write_text("{}")
    with gateway_process(routes, [real.url], arguments=["--reload-timeout-seconds", "0.3"]) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(process: GatewayProcess) -> Iterator[Gateway]:
    opened = connected(process.url)
    yield opened
    opened.close()


@pytest.fixture
def broken(stand_in: StandIn) -> Iterator[Gateway]:
    opened = connected(stand_in.url, request_seconds=0.5)
    yield opened
    opened.close()


def ask(gateway: Gateway, *values: float) -> tuple[str, tuple[Any, ...]]:
    version, (output,) = gateway.infer("adder", [Tensor("X", "FP32", (len(values),), values)], outputs=["Y"])
    return version, output.data


def test_from_the_first_table_to_the_next(process: GatewayProcess, gateway: Gateway, real: RealTriton) -> None:
    assert gateway.routes() == RouteTable(""), "it serves nothing, in no environment yet"
    with pytest.raises(Rejected, match=r"gateway gw-0 .*could not ask adder: HTTP 404"):
        ask(gateway, 1.0)

    write_routes(process.routes_file, table(1, 1))
    assert switching(gateway).reload(1, timeout_seconds=10) == table(1, 1)
    assert gateway.routes() == table(1, 1)
    assert ask(gateway, 10.0, 20.0) == ("1", (11.0, 21.0))

    write_routes(process.routes_file, table(2, 2))
    assert gateway.routes() == table(1, 1), "nothing happens before the reload"
    assert switching(gateway).reload(2, timeout_seconds=10) == table(2, 2)
    assert ask(gateway, 10.0) == ("2", (12.0,))
    assert switching(gateway).reload(2, timeout_seconds=10) == table(2, 2), "once more changes nothing"


def test_what_is_infinite_or_no_number_comes_through(process: GatewayProcess, gateway: Gateway) -> None:
    """Missing values are NaN in many a model's input, so golden requests hold them."""
    in_force = gateway.routes().generation
    write_routes(process.routes_file, table(in_force + 1, 1))
    switching(gateway).reload(in_force + 1, timeout_seconds=10)
    _, (first, second, third) = ask(gateway, math.nan, math.inf, 1.5)
    assert math.isnan(first) and (second, third) == (math.inf, 2.5)


def test_what_json_has_not_comes_through(process: GatewayProcess, gateway: Gateway, real: RealTriton) -> None:
    """A gateway in front of a real Triton, which refuses FP16 in JSON."""
    model = real.repository / "gateway-half"
    ends = [[onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT16, ["N"])] for end in "XY"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["X"], ["Y"])], "half", *ends)
    (model / "1").mkdir(parents=True)
    made = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    onnx.save(made, model / "1" / "model.onnx")
    (model / "config.pbtxt").write_text(CONFIG.replace("FP32", "FP16"))
    httpx.post(f"{real.url}/v2/repository/models/gateway-half/load", timeout=60).raise_for_status()
    in_force = gateway.routes()
    half = Route(live=Target("gateway-half", 1, DIGEST))
    then = RouteTable("dev", in_force.generation + 1, {**in_force.models, "half": half})
    write_routes(process.routes_file, then)
    switching(gateway).reload(then.generation, timeout_seconds=10)
    sent = Tensor("X", "FP16", (3,), (1.5, -65504.0, math.inf))
    assert gateway.infer("half", [sent], outputs=["Y"]) == ("1", [replace(sent, name="Y")])


def test_a_golden_request_that_its_datatype_cannot_hold_is_no_fault_of_the_gateway(gateway: Gateway) -> None:
    with pytest.raises(Rejected, match=r"X does not hold FP16\[1\]") as refused:
        gateway.infer("half", [Tensor("X", "FP16", (1,), (1e9,))], outputs=["Y"])
    assert type(refused.value) is Rejected


def test_a_reload_that_the_gateway_does_not_take_is_rejected_at_once(
    process: GatewayProcess, gateway: Gateway, clock: Clock
) -> None:
    in_force = gateway.routes()
    refused = (
        (table(in_force.generation + 1, 99), in_force.generation + 1, "409 .*not ready"),
        (table(max(in_force.generation - 1, 0), 1), in_force.generation, "409"),
        (table(in_force.generation + 1, 1), in_force.generation + 2, "409"),
    )
    for written, generation, said in refused:
        write_routes(process.routes_file, written)
        with pytest.raises(Rejected, match=said) as failure:
            switching(gateway).reload(generation, timeout_seconds=200)
        named = failure.value.models if isinstance(failure.value, NotReady) else ()
        assert named == (("adder",) if "not ready" in said else ()), "what is not ready is named, all else names none"
        assert clock.pauses == [], "asked once"
        assert gateway.routes() == in_force


def test_a_wrong_token_is_rejected_at_once_and_shown_nowhere(process: GatewayProcess) -> None:
    other = connected(process.url, token="canary-4711")
    with pytest.raises(Denied, match="HTTP 401") as failure:
        switching(other).reload(1, timeout_seconds=30)
    assert "canary" not in str(failure.value) + repr(failure.value.__cause__)
    other.close()


def test_a_gateway_that_was_opened_to_be_read_is_read_and_never_reloaded(process: GatewayProcess) -> None:
    reader = Gateway(GatewayEndpoint(name="gw-0", url=process.url), token=None, request_seconds=5)
    before = reader.routes()
    for call in (lambda: switching(reader).reload(before.generation + 1, timeout_seconds=5), reader.try_token):
        with pytest.raises(Refused, match="opened to be read"):
            call()
    assert reader.routes() == before
    reader.close()


def test_a_gateway_that_is_down_is_unavailable(closed_port: int, clock: Clock) -> None:
    gone = connected(f"http://127.0.0.1:{closed_port}")
    with pytest.raises(Unavailable, match=r"gateway gw-0 \(http://127"):
        switching(gone).reload(1, timeout_seconds=1.2)
    assert len(clock.pauses) == 1, "it tries until the deadline, because a gateway may be restarting"
    for read in (gone.routes, lambda: ask(gone, 1.0)):
        with pytest.raises(Unavailable):
            read()
    gone.close()


def after(faults: list[bytes], good: Behaviour) -> Behaviour:
    """Answer with each of the faults once, and well from then on."""
    left = iter(faults)
    return lambda seen: next(left, None) or good(seen)


def answer_well(seen: Seen) -> bytes:
    return answer(200, {"format": 1, "environment": "dev", "generation": 3, "models": {}})


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_gateway_that_is_just_restarting_is_reloaded_a_little_later(
    stand_in: StandIn, broken: Gateway, status: int
) -> None:
    stand_in.behaviour = after([answer(status, b"not yet")], answer_well)
    assert switching(broken).reload(3, timeout_seconds=10) == RouteTable("dev", 3)
    first = stand_in.seen[0]
    assert (first.method, first.path, first.body) == ("POST", "/reload", b'{"generation":3}')
    assert first.headers["authorization"] == f"Bearer {TOKEN}"
    assert [seen.path for seen in stand_in.seen] == ["/reload", "/reload", "/routes"]


def test_a_reload_is_tried_until_its_deadline_and_no_longer(
    stand_in: StandIn, broken: Gateway, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in.answers(503, b"starting")
    with pytest.raises(Unavailable, match="HTTP 503 starting"):
        switching(broken).reload(3, timeout_seconds=1.2)
    assert len(clock.pauses) == 1 and len(stand_in.seen) == 2

    # One that fails for a while and then hangs must not get a whole deadline for its last answer, too.
    given, post = [], httpx.Client.post

    def noted(client: httpx.Client, url: str, *, timeout: float, **more: Any) -> httpx.Response:
        given.append(timeout)
        return post(client, url, timeout=timeout, **more)

    monkeypatch.setattr(httpx.Client, "post", noted)
    stand_in.behaviour = after([answer(503)] * 2, lambda _: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(Unavailable, match="no answer in time"):
        switching(broken).reload(3, timeout_seconds=2)
    _, first, second = clock.pauses
    assert given == pytest.approx([2, 2 - first, 2 - first - second]), "each try has what the pauses before it left"
    assert not stand_in.outwaited


def test_a_gateway_that_hangs_is_unavailable_in_time(stand_in: StandIn, broken: Gateway) -> None:
    for act in (lambda: switching(broken).reload(3, timeout_seconds=0.7), broken.routes, lambda: ask(broken, 1.0)):
        with pytest.raises(Unavailable, match="no answer in time"):
            act()
    assert not stand_in.outwaited


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_a_refusal_is_rejected_without_another_try(stand_in: StandIn, broken: Gateway, status: int) -> None:
    stand_in.answers(status, b"no,\n  because\n")
    with pytest.raises(Rejected, match=f"HTTP {status} no, because$"):
        switching(broken).reload(3, timeout_seconds=30)
    assert len(stand_in.seen) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error": "FP16 has no JSON"}', Rejected),
        (500, b'{"error": "onnx runtime error"}', Rejected),
        (409, b'{"error": "adder is not ready", "models": ["adder"]}', NotReady),
        (401, b'{"error": "a token"}', Denied),
        (403, b"<html>forbidden</html>", Denied),
        (500, b"<html>of a proxy</html>", Foreign),
        (500, b"Internal Server Error", Foreign),
        (404, b'{"detail": "Not Found"}', Foreign),
        (400, b"[]", Foreign),
        (413, b'{"error": "the request has more than 1024 bytes"}', Foreign),
        (413, b"<html>of an ingress</html>", Foreign),
    ],
)
def test_who_refuses_is_told_apart(
    stand_in: StandIn, broken: Gateway, status: int, body: bytes, kind: type[Rejected]
) -> None:
    stand_in.answers(status, body)
    with pytest.raises(Rejected) as failure:
        ask(broken, 1.0)
    assert type(failure.value) is kind, "gateway and Triton say `error`; what else answers is no model's fault"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>welcome</html>",
        b"",
        b"null",
        b"[]",
        b'"ok"',
        b"{}",
        b"\xff",
        b'{"format": 1, "environment": "dev", "generation": 1, "models": []}',
        b'{"format": 1, "environment": "dev", "generation": 1, "models": {"a": []}}',
        b'{"model_version": "1", "outputs": [1]}',
        b'{"model_version": "1", "outputs": [{"name": "Y", "datatype": "FP32", "shape": [2], "data": [1]}]}',
    ],
)
def test_what_is_no_answer_of_a_gateway_is_rejected(stand_in: StandIn, broken: Gateway, body: bytes) -> None:
    stand_in.answers(200, body)
    for act in (broken.routes, lambda: switching(broken).reload(3, timeout_seconds=30), lambda: ask(broken, 1.0)):
        with pytest.raises(Foreign, match="not the answer of a gateway"):
            act()


def test_an_answer_that_breaks_off_is_unavailable(stand_in: StandIn, broken: Gateway) -> None:
    for sent in (b"", b"HTTP/1.1 200", answer(200, b'{"format": 1', length=500)):
        stand_in.behaviour = lambda _, sent=sent: sent  # type: ignore[misc]
        with pytest.raises(Unavailable):
            broken.routes()


def test_each_question_goes_over_a_connection_of_its_own() -> None:
    """One connection reaches one of several processes: whatever it answers proves nothing of the others."""
    connections = 0

    def answer_and_keep(_: object) -> bytes:
        return kept.http(200, b'{"format": 1, "environment": "dev", "generation": 3, "models": {}}')

    with kept.StandIn(behaviour=answer_and_keep) as server:
        accept = server._accept

        async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await accept(reader, writer)

        server.refuse()
        server._accept = counted  # type: ignore[method-assign]
        server.listen(0)
        gateway = connected(server.url)
        for _ in range(3):
            assert gateway.routes() == RouteTable("dev", 3)
        gateway.close()
        assert connections == 3


def of_workers(
    *workers: dict[str, Any], worker: str = "1-a", group: str = "g", generation: int = 3, **more: Any
) -> bytes:
    document = {"format": 1, "environment": "dev", "generation": generation, "models": {}}
    return answer(200, {**document, "worker": worker, "group": group, "workers": list(workers), **more})


def serves(name: str, generation: int = 3, draining: int = 0) -> dict[str, Any]:
    return {"id": name, "generation": generation, "routes": f"of {generation}", "draining": draining}


def test_a_gateway_is_as_far_as_the_last_of_its_workers(stand_in: StandIn, broken: Gateway) -> None:
    said = [serves("1-a"), serves("2-b", 1), serves("3-c", 2)]
    stand_in.behaviour = lambda _: of_workers(*said)
    assert broken.routes().generation == 1
    said[1:] = [serves("2-b")]
    assert broken.routes().generation == 3
    said[1]["routes"] = "others under the same number"
    assert broken.routes().generation == 0


def test_a_worker_that_does_not_answer_is_named_and_is_not_drained(stand_in: StandIn, broken: Gateway) -> None:
    stand_in.behaviour = lambda _: of_workers(serves("1-a"), {"id": "2-b", "problem": "it does not answer"})
    with pytest.raises(Unavailable, match="1 of 2 workers do not answer: 2-b"):
        broken.routes()
    with pytest.raises(Unavailable, match="1 of 2 workers do not answer: 2-b"):
        switching(broken).reload(3, timeout_seconds=0.1)
    assert not broken.wait_drained(timeout_seconds=0)
    stand_in.behaviour = lambda _: of_workers(serves("1-a"), serves("2-b", draining=1))
    assert not broken.wait_drained(timeout_seconds=0)
    stand_in.behaviour = lambda _: of_workers(serves("1-a"), serves("2-b"))
    assert broken.wait_drained(timeout_seconds=0)


def test_groups_that_do_not_know_each_other_are_seen(stand_in: StandIn, broken: Gateway) -> None:
    """As two machines behind one address answer, where a balancer asks them in turn."""
    turn = itertools.cycle([of_workers(serves("1-a"), group="one"), of_workers(serves("9-z"), group="other")])
    stand_in.behaviour = lambda _: next(turn)
    assert {found.group for found in broken.workers()} == {"one", "other"}
    assert unknown_workers(broken.latest).startswith("2 groups of processes that do not know each other answer at")
    # A master that was just replaced has gone.
    answers = iter([of_workers(serves("1-a"), group="one"), *[of_workers(serves("9-z"), group="other")] * 7])
    stand_in.behaviour = lambda _: next(answers)
    assert [found.group for found in broken.workers()] == ["other"] and unknown_workers(broken.latest) == ""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (of_workers(workers=None), "it does not know how many processes answer at its address"),
        (answer_well(Seen("GET", "/routes", {}, b"")), "it is older than this bot"),
        (of_workers(serves("1-a")), ""),
    ],
    ids=["cannot find them", "says nothing", "alone"],
)
def test_who_does_not_know_its_workers_is_told_apart(
    stand_in: StandIn, broken: Gateway, said: bytes, why: str
) -> None:
    stand_in.behaviour = lambda _: said
    assert broken.routes().generation == 3
    found = unknown_workers(broken.workers())
    assert why in found and bool(why) == bool(found)


COUNTED = {
    "traffic": {"adder": {"since": "2026-11-30T12:00:00Z", "versions": [], "before": None}},
    "traffic_bounds": [0.1],
    "shadows": {"adder": Copies(Target("adder-shadow", 8, DIGEST), sent=1).to_json()},
}


@pytest.mark.parametrize(
    ("workers", "why"),
    [
        ([serves("1-a"), {"id": "2-b", "problem": "it does not answer"}], "1 of 2 workers do not answer: 2-b"),
        ([serves("1-a"), serves("2-b", 2)], "not all of its workers serve the same routes"),
        (None, "it does not know how many processes answer"),
    ],
    ids=["one is silent", "one is behind", "unknown"],
)
def test_what_some_of_its_workers_counted_is_not_taken_for_what_all_did(
    stand_in: StandIn, broken: Gateway, workers: Any, why: str
) -> None:
    """Else a rollout would go on by the half of its requests that went well."""
    stand_in.behaviour = lambda _: of_workers(**COUNTED, workers=workers)
    with pytest.raises(Unavailable, match=why):
        broken.counts()


def test_groups_that_do_not_know_each_other_have_no_counts(stand_in: StandIn, broken: Gateway) -> None:
    turn = itertools.cycle([of_workers(serves("1-a"), group=name, **COUNTED) for name in ("one", "other")])
    stand_in.behaviour = lambda _: next(turn)
    with pytest.raises(Unavailable, match="2 groups of processes"):
        broken.counts()


def test_requests_and_copies_are_asked_for_at_once(stand_in: StandIn, broken: Gateway) -> None:
    stand_in.behaviour = lambda _: of_workers(serves("1-a"), **COUNTED)
    found = broken.counts()
    assert found.traffic is not None and list(found.traffic.models) == ["adder"]
    assert found.shadows["adder"].sent == 1
    assert len(stand_in.seen) == LOOKS
    stand_in.behaviour = lambda _: of_workers(serves("1-a"))
    found = broken.counts()
    assert (found.traffic, found.shadows) == (None, {}), "one of before says nothing, and not zero"


@pytest.mark.parametrize("workers", [1, [1], [{}], [{"id": "1-a", "generation": "3"}], {"id": 1}])
def test_workers_that_are_none_are_no_answer_of_a_gateway(stand_in: StandIn, broken: Gateway, workers: Any) -> None:
    stand_in.behaviour = lambda _: of_workers(workers=workers)
    with pytest.raises(Foreign, match="not the answer of a gateway"):
        broken.routes()


def test_it_is_known_which_processes_answered(process: GatewayProcess, gateway: Gateway) -> None:
    generation = gateway.routes().generation + 1
    write_routes(process.routes_file, table(generation, 1))
    switching(gateway).reload(generation, timeout_seconds=10)
    gateway.answered_by()
    ask(gateway, 1.0)
    assert gateway.answered_by() == gateway.latest[0].ids and len(gateway.latest[0].ids) == 1
    assert gateway.answered_by() == frozenset()


def test_a_proxy_of_the_environment_is_not_asked(
    stand_in: StandIn, process: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, stand_in.url)
    gateway = connected(process.url)
    gateway.routes()
    gateway.close()
    assert stand_in.seen == []


def test_the_path_in_an_address_is_kept(stand_in: StandIn) -> None:
    stand_in.behaviour = answer_well
    below = connected(f"{stand_in.url}/models-gateway/")
    switching(below).reload(3, timeout_seconds=5)
    below.close()
    assert [seen.path for seen in stand_in.seen] == ["/models-gateway/reload", "/models-gateway/routes"]


def test_who_asks_at_the_same_time_gets_their_own_answer(process: GatewayProcess) -> None:
    write_routes(process.routes_file, table(100, 2))
    opened = connected(process.url)
    try:
        switching(opened).reload(100, timeout_seconds=10)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda number: ask(opened, float(number)), range(200)))
    finally:
        opened.close()
    assert answers == [("2", (number + 2.0,)) for number in range(200)]
