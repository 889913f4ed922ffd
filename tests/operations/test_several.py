"""Tritons and gateways behind one name: every address that DNS gives is loaded, proven, switched and shown."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest

from bot.domain.routes import RouteTable
from bot.systems.gateway import Gateway, GatewayControl
from bot.systems.triton.server import TritonServer
from tests.operations.world import World

TRITONS, GATEWAYS = "tritons.test", "gateways.test"


class Dns:
    """A resolver that the test controls; other names go to the real one."""

    def __init__(self) -> None:
        self.known: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.before_answer: Callable[[str], object] = str
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: Any, port: Any, *arguments: Any, **more: Any) -> Any:
        if host not in self.known:
            return self._real(host, port, *arguments, **more)
        self.asked.append(host)
        self.before_answer(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, 0)) for where in self.known[host]]


@contextlib.contextmanager
def second_address(port: int, address: str = "127.0.0.2") -> Iterator[Callable[[], object]]:
    """Have what listens at 127.0.0.1 answer at another address, too; what is yielded ends that."""
    listening = socket.create_server((address, port))
    opened: list[socket.socket] = [listening]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                sink.sendall(chunk)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.create_connection(("127.0.0.1", port))
                opened.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def end() -> None:
        with contextlib.suppress(OSError):  # it has ended already
            listening.shutdown(socket.SHUT_RDWR)
        for one in opened:
            one.close()
        thread.join(10)

    try:
        yield end
    finally:
        end()


@pytest.fixture
def dns(world: World) -> Iterator[Dns]:
    """The environment dev, whose Tritons and gateways are behind one name each."""
    triton = next(one for name, one in world.endpoints.tritons if name == "dev")
    triton_port = int(triton.grpc.rpartition(":")[2])
    gateway_port = int(world.endpoints.gateway["dev"][0].url.rpartition(":")[2])
    world.configure(
        "dev",
        tritons=[{"name": "triton", "grpc": f"{TRITONS}:{triton_port}", "every_address": True}],
        gateways=[
            {"name": "gateway", "url": f"http://{GATEWAYS}:{gateway_port}", "every_address": True},
            {"name": "gateway-dev-2", "url": world.endpoints.gateway["dev"][1].url},
        ],
    )
    resolver = Dns()
    resolver.known = {TRITONS: ["127.0.0.1"], GATEWAYS: ["127.0.0.1"]}
    with (
        second_address(triton_port),
        second_address(gateway_port),
        mock.patch("socket.getaddrinfo", resolver.getaddrinfo),
    ):
        yield resolver


def _committed(world: World) -> int:
    """Return the generation of routes.json."""
    text = (world.endpoints.state("dev") / "routes.json").read_text()
    return RouteTable.from_json(text).generation


def _served(world: World, model: str) -> str:
    world.merged(world.register(model))
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0, said
    return said.err


def test_every_address_is_loaded_proven_switched_and_shown(world: World, dns: Dns) -> None:
    dns.known = {TRITONS: ["127.0.0.2", "127.0.0.1"], GATEWAYS: ["127.0.0.1", "127.0.0.2"]}
    model = world.model()
    said = _served(world, model)
    assert f"{model} 1: loading on triton-127.0.0.1, triton-127.0.0.2" in said
    proofs = {criterion.name: criterion.proof for criterion in world.records(model)[0].criteria}
    assert "on triton-127.0.0.1, triton-127.0.0.2" in proofs["triton_loaded"]
    assert proofs["fastapi_reloaded"].endswith("on gateway-127.0.0.1, gateway-127.0.0.2, gateway-dev-2")
    columns = world.words("status", "--env", "dev").out.splitlines()[2].split()
    assert columns[3:] == [
        *("triton-127.0.0.1", "triton-127.0.0.2"),
        *("gateway-127.0.0.1", "gateway-127.0.0.2", "gateway-dev-2", "open"),
    ]
    doctor = world.words("doctor", "--env", "dev")
    assert doctor.code == 0 and "Triton triton-127.0.0.2" in doctor.out and "gateway gateway-127.0.0.2" in doctor.out
    assert world.words("drift", "--env", "dev").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("when", ["the reload", "the golden requests"])
def test_a_gateway_that_is_replaced_in_the_switch_puts_nothing_back(
    world: World, dns: Dns, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    world.configure("dev", deadlines={"reload_seconds": 5, "request_seconds": 3})
    model = world.model()
    _served(world, model)
    world.merged(world.register(model, "better"))
    generation = world.routes()["generation"]
    port = int(world.endpoints.gateway["dev"][0].url.rpartition(":")[2])
    with second_address(port, "127.0.0.3") as evict, second_address(port, "127.0.0.4"):
        dns.known[GATEWAYS] = ["127.0.0.1", "127.0.0.3"]
        of, name = (GatewayControl, "reload") if when == "the reload" else (Gateway, "infer")
        does = getattr(of, name)

        def evicted(gateway: Gateway | GatewayControl, *given: Any, **named: Any) -> Any:
            if gateway.name == "gateway-127.0.0.3" and _committed(world) > generation:
                evict()
                dns.known[GATEWAYS] = ["127.0.0.1", "127.0.0.4"]
            return does(gateway, *given, **named)

        monkeypatch.setattr(of, name, evicted)
        said = world.words("deploy", "--env", "dev")
        assert said.code == 0, said
        assert "gateway-127.0.0.3 does not answer, and its name no longer resolves to its address" in said.err
        if when == "the reload":
            assert "gateway-127.0.0.4 came up in the middle of the switch" in said.err
            proof = [c.proof for c in world.records(model)[-1].criteria if c.name == "fastapi_reloaded"]
            assert proof[0].endswith("on gateway-127.0.0.1, gateway-dev-2, gateway-127.0.0.4")
        assert world.version(model) == 2 and world.quarantined(model) == [] and world.reverts(model) == []


@pytest.mark.slow
@pytest.mark.parametrize("when", ["its index", "the golden requests"])
def test_a_triton_that_is_scaled_away_in_the_switch_puts_nothing_back(
    world: World, dns: Dns, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    world.configure("dev", deadlines={"request_seconds": 3})
    model = world.model()
    _served(world, model)
    world.merged(world.register(model, "better"))
    generation = world.routes()["generation"]
    triton = next(one for name, one in world.endpoints.tritons if name == "dev")
    with second_address(int(triton.grpc.rpartition(":")[2]), "127.0.0.3") as scale_down:
        dns.known[TRITONS] = ["127.0.0.1", "127.0.0.3"]
        name = "index" if when == "its index" else "infer"
        does = getattr(TritonServer, name)

        def asked(server: TritonServer, *given: Any, **named: Any) -> Any:
            if server.name == "triton-127.0.0.3" and _committed(world) > generation:
                scale_down()
                dns.known[TRITONS] = ["127.0.0.1"]
            return does(server, *given, **named)

        monkeypatch.setattr(TritonServer, name, asked)
        said = world.words("deploy", "--env", "dev")
    assert said.code == 0, said
    assert "triton-127.0.0.3 does not answer, and its name no longer resolves to its address" in said.err
    proofs = {criterion.name: criterion.proof for criterion in world.records(model)[-1].criteria}
    assert "triton-127.0.0.3" not in proofs["smoke_passed"]
    assert world.version(model) == 2 and world.quarantined(model) == [] and world.reverts(model) == []


@pytest.mark.extended
def test_a_gateway_that_falls_silent_and_keeps_its_address_blames_no_digest(
    world: World, dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.configure("dev", deadlines={"reload_seconds": 3, "request_seconds": 1})
    model = world.model()
    _served(world, model)
    second = world.register(model, "better")
    world.merged(second)
    port = int(world.endpoints.gateway["dev"][0].url.rpartition(":")[2])
    with second_address(port, "127.0.0.3") as evict:
        dns.known[GATEWAYS] = ["127.0.0.1", "127.0.0.3"]
        reload = GatewayControl.reload

        def evicted(gateway: GatewayControl, *given: Any, **named: Any) -> Any:
            if gateway.name == "gateway-127.0.0.3":
                evict()
            return reload(gateway, *given, **named)

        with monkeypatch.context() as patched:
            patched.setattr(GatewayControl, "reload", evicted)
            assert world.words("deploy", "--env", "dev").code == 1
        assert world.quarantined(model) == [] and world.reverts(model) == []
        assert world.records(model)[-1].outcome == "put back"
    dns.known[GATEWAYS] = ["127.0.0.1"]
    assert world.words("deploy", "--env", "dev").code == 0
    assert world.version(model) == 2


@pytest.mark.extended
def test_who_comes_up_in_the_middle_is_loaded_proven_and_switched_as_well(world: World, dns: Dns) -> None:
    model = world.model()
    _served(world, model)
    world.merged(world.register(model, "better"))
    before = len(dns.asked)

    def scale_up(host: str) -> None:
        if len(dns.asked) > before + 2:
            dns.known[host] = ["127.0.0.1", "127.0.0.2"]

    dns.before_answer = scale_up
    said = world.words("deploy", "--env", "dev")
    assert said.code == 0, said
    assert "triton-127.0.0.2 came up in the middle" in said.err
    record = world.records(model)[-1]
    assert record.outcome == "succeeded"
    proofs = [criterion.proof for criterion in record.criteria]
    assert any("golden requests" in proof and "triton-127.0.0.2" in proof for proof in proofs)
    assert any(proof.endswith("on gateway-127.0.0.1, gateway-dev-2, gateway-127.0.0.2") for proof in proofs)


@pytest.mark.extended
def test_an_address_where_nobody_answers_is_silent_and_nothing_new_goes_out(world: World, dns: Dns) -> None:
    model = world.model()
    _served(world, model)
    world.configure("dev", deadlines={"request_seconds": 1, "load_seconds": 2})
    dns.known[TRITONS] = ["127.0.0.1", "127.0.0.3"]
    world.merged(world.register(model, "better"))
    said = world.words("deploy", "--env", "dev")
    assert said.code == 1
    assert "problem: Triton triton-127.0.0.3 (" in said.out
    assert world.version(model) == 1
    dns.known[TRITONS] = ["127.0.0.1"]
    assert world.deploy().code == 0 and world.version(model) == 2


@pytest.mark.slow
def test_no_address_is_never_taken_for_all_of_them(world: World, dns: Dns) -> None:
    model = world.model()
    _served(world, model)
    for host in (TRITONS, GATEWAYS):
        known = dns.known[host]
        dns.known[host] = []
        for verb in ("deploy", "status", "drift", "cleanup"):
            said = world.words(verb, "--env", "dev")
            assert said.code == 1 and f"promobot: DNS ({host}): it has no address" in said.err
        doctor = world.words("doctor", "--env", "dev")
        assert doctor.code == 1 and f"DNS ({host}): it has no address" in doctor.out
        dns.known[host] = known
    assert world.version(model) == 1
