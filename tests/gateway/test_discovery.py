"""Tritons that a gateway finds by DNS: they join, leave and are replaced while it serves."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bot.domain.routes import Route, RouteTable
from bot.gateway import GatewaySettings
from bot.gateway import __main__ as command
from bot.gateway.connection import Limits
from tests.gateway.conftest import StartGateway
from tests.gateway.gateways import RunningGateway, table, target, wait_for, write_routes
from tests.gateway.test_switch import users_of, wait_for_more_answers
from tests.gateway.triton import publish_adder, running_triton
from tests.gateway.workers import APPLICATION, gateway_workers
from tests.stand_ins.failing_triton import Seen, StandIn, answer_well, as_if_restarted, for_infer, hang

NAME = "tritons.test"
FAST = 0.02


class Dns:
    """What the resolver of this machine says of NAME; everything else it says as ever."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real
        self.addresses: list[str] | OSError = []
        self.asked = 0
        self.before_answer: Callable[[], object] = lambda: None

    def getaddrinfo(self, host: Any, *arguments: Any, **more: Any) -> Any:
        if host != NAME:
            return self._real(host, *arguments, **more)
        self.asked += 1
        self.before_answer()
        if isinstance(self.addresses, OSError):
            raise self.addresses
        families = ((socket.AF_INET6 if ":" in address else socket.AF_INET, address) for address in self.addresses)
        return [(family, socket.SOCK_STREAM, 6, "", (address, 0)) for family, address in families]

    def is_asked_again(self) -> None:
        """Return when a question that was begun after now was answered."""
        before = self.asked
        wait_for(lambda: self.asked > before + 2)


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    resolver = Dns(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    return resolver


@pytest.fixture
def tritons() -> Iterator[list[StandIn]]:
    """Two at one port: at 127.0.0.1 and at 127.0.0.2."""
    with ExitStack() as running:
        first = running.enter_context(StandIn())
        port = int(first.url.rpartition(":")[2])
        yield [first, running.enter_context(StandIn(host="127.0.0.2", port=port))]


@pytest.fixture
def start(dns: Dns, start_gateway: StartGateway, tritons: list[StandIn]) -> Callable[..., RunningGateway]:
    # Gateways end before the resolver is the machine's again.
    def start(**more: Any) -> RunningGateway:
        name = f"http://{NAME}:{tritons[0].url.rpartition(':')[2]}"
        more = {"routes": table(1, target(7)), "resolve_seconds": FAST, **more}
        return start_gateway(tritons_every_address=(name,), **more)

    return start


def known(gateway: RunningGateway) -> dict[str, int]:
    (worker,) = gateway.routes()["workers"]
    counts: dict[str, int] = worker["tritons"]
    return counts


def served(gateway: RunningGateway, times: int = 6) -> None:
    assert [gateway.infer(1.0).status_code for _ in range(times)] == [200] * times


def test_every_address_is_a_triton_and_is_asked_by_the_name(
    start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.2", "127.0.0.1", "127.0.0.1"]
    gateway = start()
    served(gateway)
    assert [len(triton.infers) for triton in tritons] == [3, 3]
    port = tritons[0].url.rpartition(":")[2]
    assert {seen.headers["host"] for triton in tritons for seen in triton.infers} == {f"{NAME}:{port}"}
    dns.is_asked_again()
    served(gateway)
    assert all(triton.open == 1 for triton in tritons), "who stays keeps its connections"


def test_one_that_joins_gets_requests_once_it_has_the_version(
    start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1"]
    gateway = start()
    joins = tritons[1]
    joins.behaviour = as_if_restarted
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    wait_for(lambda: any(seen.path.endswith("/ready") for seen in joins.seen))
    served(gateway)
    assert joins.infers == [] and known(gateway) == {"known": 2, "lacking": 1}
    joins.behaviour = answer_well
    wait_for(lambda: known(gateway) == {"known": 2, "lacking": 0})
    served(gateway)
    assert len(joins.infers) == 3


def test_one_that_is_named_before_it_listens_gets_nothing_until_it_does(
    start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1"]
    gateway = start(limits=Limits(pause_seconds=0))
    joins, port = tritons[1], int(tritons[1].url.rpartition(":")[2])
    joins.refuse()
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    wait_for(lambda: known(gateway) == {"known": 2, "lacking": 1})
    # A switch to what it is not known to have either.
    gateway.write(table(2, target(8)))
    assert gateway.reload(2).status_code == 200
    joins.behaviour = as_if_restarted
    joins.listen(port)
    wait_for(lambda: any("/8/ready" in seen.path for seen in joins.seen))
    served(gateway)
    assert joins.infers == []


def test_one_that_leaves_finishes_what_it_has_and_its_connections_are_closed(
    start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    gateway = start(limits=Limits(connection_seconds=1000))  # so that nothing else closes them
    served(gateway)
    leaves, goes_on = tritons[1], threading.Event()

    def slowly(seen: Seen) -> bytes:
        assert goes_on.wait(60)
        return answer_well(seen)

    leaves.behaviour = for_infer(slowly)
    before = len(leaves.infers)
    with ThreadPoolExecutor(2) as clients:
        under_way = [clients.submit(gateway.infer, 1.0) for _ in range(2)]
        wait_for(lambda: len(leaves.infers) > before)
        dns.addresses = ["127.0.0.1"]
        wait_for(lambda: known(gateway)["known"] == 1)
        served(gateway)
        assert leaves.open == 1, "it is not cut off"
        goes_on.set()
        assert [answer.result().status_code for answer in under_way] == [200, 200]
    wait_for(lambda: leaves.open == 0, seconds=20)
    assert len(leaves.infers) == before + 1


@pytest.mark.parametrize("answer", [[], socket.gaierror(socket.EAI_AGAIN, "Temporary failure")], ids=["no", "fails"])
def test_an_answer_that_fails_or_is_empty_removes_nobody(
    start: Callable[..., RunningGateway],
    dns: Dns,
    tritons: list[StandIn],
    caplog: pytest.LogCaptureFixture,
    answer: list[str] | OSError,
) -> None:
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    gateway = start()
    dns.addresses = answer
    dns.is_asked_again()
    dns.is_asked_again()
    served(gateway)
    assert [len(triton.infers) for triton in tritons] == [3, 3] and known(gateway)["known"] == 2
    assert caplog.text.count(f"DNS ({NAME})") == 1, "it is said once"
    dns.addresses = ["127.0.0.2"]
    wait_for(lambda: known(gateway)["known"] == 1)


def test_no_request_waits_for_dns_and_neither_does_the_end(
    start: Callable[..., RunningGateway], start_gateway: StartGateway, dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    gateway = start()
    goes_on, hangs = threading.Event(), threading.Event()

    def hang_for_long() -> None:
        hangs.set()
        goes_on.wait(60)

    dns.before_answer = hang_for_long
    try:
        assert hangs.wait(60)
        served(gateway)
        asked = dns.asked
        # One that begins now does not wait for it either, and asks whom it was told of.
        name = f"http://{NAME}:{tritons[0].url.rpartition(':')[2]}"
        more = {"tritons_every_address": (name,), "probe_timeout_seconds": 0.2}
        served(start_gateway(tritons[0].url, **more))
        assert start_gateway(**more).infer(1.0).status_code == 503
        assert dns.asked == asked + 2, "a question that hangs is asked once"
    finally:
        goes_on.set()


def test_who_does_not_answer_has_dns_asked_at_once(
    start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1"]
    gateway = start(resolve_seconds=100_000)
    served(gateway)
    tritons[0].refuse()
    dns.addresses = ["127.0.0.2"]
    wait_for(lambda: gateway.infer(1.0).status_code == 200, seconds=20)
    assert dns.asked == 2 and len(tritons[1].infers) == 1


def test_one_that_came_after_the_bot_loaded_is_not_in_the_way_of_a_switch(
    start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    gateway = start()
    came = tritons[1]
    came.behaviour = lambda seen: as_if_restarted(seen) if "/8/" in seen.path else answer_well(seen)
    served(gateway)
    gateway.write(table(2, target(8)))
    assert gateway.reload(2).status_code == 200
    before = len(came.infers)
    served(gateway)
    assert len(came.infers) == before and known(gateway) == {"known": 2, "lacking": 1}
    # What none has is routed to by none, and what one lost that is in service is asked of the other.
    for triton in tritons:
        triton.behaviour = lambda seen: as_if_restarted(seen) if "/9/" in seen.path else answer_well(seen)
    gateway.write(table(3, target(9)))
    refused = gateway.reload(3)
    assert (refused.status_code, refused.json()["models"]) == (409, ["adder"])
    wait_for(lambda: known(gateway)["lacking"] == 0)  # what was refused is asked about no more


def test_one_that_is_named_by_itself_is_in_the_way_as_ever(
    start: Callable[..., RunningGateway], start_gateway: StartGateway, dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1"]
    name = f"http://{NAME}:{tritons[0].url.rpartition(':')[2]}"
    gateway = start_gateway(tritons[1].url, routes=table(1, target(7)), tritons_every_address=(name,))
    tritons[1].behaviour = as_if_restarted
    gateway.write(table(2, target(8)))
    assert gateway.reload(2).status_code == 409


def test_of_one_that_is_gone_a_switch_of_many_models_asks_once(
    start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    gateway = start(routes=table(1, None), probe_timeout_seconds=0.3)
    gone = tritons[1]
    gone.behaviour = lambda seen: hang(seen) if seen.path.endswith("/ready") else answer_well(seen)
    models = {f"m{number}": Route(live=target(1, f"m{number}")) for number in range(200)}
    gateway.write(RouteTable("dev", 2, models))
    # Asked for each of the models, that would be a minute.
    assert gateway.reload(2).status_code == 200
    assert len({seen.path for seen in gone.seen if seen.path.endswith("/ready")}) == 1


def test_one_that_lost_a_version_is_asked_for_it_again_when_it_has_it(
    start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]
) -> None:
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    gateway = start()
    lost = tritons[1]
    lost.behaviour = as_if_restarted
    served(gateway)
    assert len(lost.infers) == 1, "whoever meets it finds out for all"
    lost.behaviour = answer_well
    wait_for(lambda: known(gateway)["lacking"] == 0)
    served(gateway)
    assert len(lost.infers) == 4


def test_shadows_follow_too(start: Callable[..., RunningGateway], dns: Dns, tritons: list[StandIn]) -> None:
    dns.addresses = ["127.0.0.1"]
    gateway = start(routes=table(1, target(7), shadow=target(8)))
    dns.addresses = ["127.0.0.2"]
    wait_for(lambda: gateway.infer(1.0).status_code == 200 and any("/8/infer" in one.path for one in tritons[1].seen))
    # One that lacks the shadow when a copy meets it gets copies again once it has it.
    tritons[1].behaviour = lambda seen: as_if_restarted(seen) if "/8/" in seen.path else answer_well(seen)
    dns.addresses = ["127.0.0.1", "127.0.0.2"]
    wait_for(lambda: known(gateway) == {"known": 2, "lacking": 0})
    wait_for(lambda: gateway.infer(1.0).status_code == 200 and any("/8/ready" in one.path for one in tritons[1].seen))
    tritons[1].behaviour = answer_well
    before = sum("/8/infer" in one.path for one in tritons[1].seen)
    wait_for(
        lambda: (
            gateway.infer(1.0).status_code == 200
            and sum("/8/infer" in one.path for one in tritons[1].seen) > before + 2
        )
    )


def test_ipv6_addresses_are_in_brackets(
    dns: Dns, start_gateway: StartGateway, caplog: pytest.LogCaptureFixture
) -> None:
    dns.addresses = ["::1", "127.0.0.1"]
    name = f"http://{NAME}:9"
    gateway = start_gateway(routes=table(1, target(7)), tritons_every_address=(name,), resolve_seconds=FAST)
    assert gateway.infer(1.0).status_code == 503 and known(gateway)["known"] == 2
    assert "http://[::1]:9" in caplog.text and "http://127.0.0.1:9" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the URL of at least one Triton"),
        (["--triton-every-address", "https://tritons.test:8000"], "is not a base URL of a Triton"),
        (["--triton-every-address", "tritons.test:8000"], "is not a base URL of a Triton"),
        (["--triton-every-address", "http://tritons.test:http"], "is not a base URL of a Triton"),
        (["--triton-every-address", "http://[::1:8000"], "is not a base URL of a Triton"),
        (["--triton", "http://[::1:8000"], "is not a base URL of a Triton"),
        (["--triton-every-address", "http://tritons.test:8000", "--resolve-seconds", "0"], "resolve_seconds"),
        (["--triton-every-address", "http://tritons.test:8000", "--resolve-seconds", "nan"], "resolve_seconds"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(["--routes", str(tmp_path / "routes.json"), *arguments])
    assert words in capsys.readouterr().err


def test_an_application_may_name_every_address_alone(tmp_path: Path) -> None:
    settings = GatewaySettings(tmp_path / "routes.json", tritons_every_address=("http://tritons.test:8000",))
    assert settings.tritons == ()


@pytest.mark.slow
def test_a_switch_while_real_tritons_come_and_go_fails_nothing(
    dns: Dns, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """One comes up that has not what the bot has loaded; the other is scaled away."""
    repositories = [tmp_path / name / "repository" for name in ("goes", "comes")]
    publish_adder(repositories[0] / "adder", versions=(1, 2, 3))
    publish_adder(repositories[1] / "adder", versions=(1,))
    dns.addresses = ["127.0.0.1"]
    with running_triton(repositories[0]) as goes:
        goes.load("adder")
        port = int(goes.url.rpartition(":")[2])
        gateway = start_gateway(
            routes=table(1, target(1)),
            tritons_every_address=(f"http://{NAME}:{port}",),
            resolve_seconds=FAST,
            limits=Limits(connection_seconds=1.0),
        )
        # The clients end before the Triton that they ask.
        with ExitStack() as running, users_of(gateway) as clients:
            dns.addresses = ["127.0.0.1", "127.0.0.2"]
            wait_for_more_answers(clients)
            comes = running.enter_context(running_triton(repositories[1], host="127.0.0.2", http_port=port))
            wait_for_more_answers(clients)
            comes.load("adder")
            wait_for(lambda: known(gateway) == {"known": 2, "lacking": 0})
            gateway.write(table(2, target(2)))
            assert gateway.reload(2).status_code == 200
            assert known(gateway) == {"known": 2, "lacking": 1}
            wait_for_more_answers(clients)
            shutil.rmtree(repositories[1] / "adder")
            publish_adder(repositories[1] / "adder", versions=(2, 3))
            comes.load("adder")
            wait_for(lambda: known(gateway) == {"known": 2, "lacking": 0})
            goes.process.terminate()
            gateway.write(table(3, target(3)))
            assert gateway.reload(3).status_code == 200
            goes.process.wait(timeout=20)  # by itself it would wait 30 s for its connections
            dns.addresses = ["127.0.0.2"]
            wait_for(lambda: known(gateway) == {"known": 1, "lacking": 0})
            wait_for_more_answers(clients)


RESOLVES_FROM_A_FILE = """
import pathlib
import socket

def getaddrinfo(host, *arguments, real=socket.getaddrinfo, **more):
    if host != "tritons.test":
        return real(host, *arguments, **more)
    addresses = pathlib.Path(__file__).with_name("addresses").read_text().split()
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.slow
def test_each_of_several_workers_finds_them_for_itself(tmp_path: Path, tritons: list[StandIn]) -> None:
    addresses, port = tmp_path / "addresses", tritons[0].url.rpartition(":")[2]
    addresses.write_text("127.0.0.1")
    every = f'        tritons_every_address=("http://{NAME}:{port}",),\n        resolve_seconds={FAST},\n'
    application = RESOLVES_FROM_A_FILE + APPLICATION.replace("        name=", f"{every}        name=")
    write_routes(tmp_path / "routes.json", table(1, target(7)))
    with gateway_workers("uvicorn", tmp_path, (), workers=2, application=application) as gateway:

        def counts() -> list[int]:
            return [worker["tritons"]["known"] for worker in gateway.routes()["workers"]]

        wait_for(lambda: counts() == [1, 1])
        for text, expected in (("127.0.0.1 127.0.0.2", 2), ("", 2), ("127.0.0.2", 1)):
            addresses.write_text(text)
            wait_for(lambda expected=expected: counts() == [expected] * 2)  # type: ignore[misc]
            served(gateway, 20)
        assert tritons[1].infers
        before = len(tritons[0].infers)
        served(gateway, 20)
        assert len(tritons[0].infers) == before
