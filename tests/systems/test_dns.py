"""DNS: every address, each once, in order; none is an error and never "all of none"."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest

from bot.errors import PromobotError, Unavailable
from bot.settings import GatewayEndpoint
from bot.systems.dns import addresses
from bot.systems.gateway import Gateway
from tests.stand_ins.server import StandIn


def _gives(monkeypatch: pytest.MonkeyPatch, *found: str) -> None:
    def getaddrinfo(host: str, port: object, **_: object) -> list[object]:
        assert host == "tritons.test" and port is None
        return [
            (socket.AF_INET6 if ":" in where else socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, 0))
            for where in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_each_address_is_given_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    _gives(monkeypatch, "10.0.0.10", "fd00::2", "10.0.0.9", "10.0.0.10", "fd00::1")
    assert addresses("tritons.test") == ["10.0.0.9", "10.0.0.10", "fd00::1", "fd00::2"]


def test_it_is_asked_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    _gives(monkeypatch, "10.0.0.1")
    assert addresses("tritons.test") == ["10.0.0.1"]
    _gives(monkeypatch, "10.0.0.1", "10.0.0.2")
    assert addresses("tritons.test") == ["10.0.0.1", "10.0.0.2"]


def test_no_address_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    _gives(monkeypatch)
    with pytest.raises(Unavailable, match=r"DNS \(tritons\.test\): it has no address") as failure:
        addresses("tritons.test")
    assert "headless" in failure.value.next_step


def test_a_name_that_is_not_known_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(Unavailable, match=r"could not find its addresses: .*Name or service not known"):
        addresses("gone.test")


def test_localhost() -> None:
    assert "127.0.0.1" in addresses("localhost")


def test_an_address_is_its_own_name() -> None:
    assert addresses("127.0.0.1") == ["127.0.0.1"]


# --- one gateway of several is asked by the name of all of them --------------------------------------------------


def _ask(several: GatewayEndpoint) -> None:
    one = several.at("127.0.0.1")
    gateway = Gateway(one, token="t" * 16, request_seconds=2, known_as=several.url)
    with contextlib.closing(gateway), contextlib.suppress(PromobotError):
        gateway.routes()


def test_a_gateway_is_asked_by_the_name_of_the_service(stand_in: StandIn) -> None:
    stand_in.answers(404)
    _ask(GatewayEndpoint(name="gateway", url=f"http://gateways.test:{stand_in.port}", every_address=True))
    assert [seen.headers["host"] for seen in stand_in.seen] == [f"gateways.test:{stand_in.port}"]


def test_its_certificate_is_that_of_the_service() -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    near, _ = listening.accept()
                    with near, contextlib.suppress(ssl.SSLError):
                        context.wrap_socket(near, server_side=True)  # it has no certificate: the name is what counts

        thread = threading.Thread(target=serve)
        thread.start()
        port = listening.getsockname()[1]
        _ask(GatewayEndpoint(name="gateway", url=f"https://gateways.test:{port}", every_address=True))
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    assert set(names) == {"gateways.test"}
