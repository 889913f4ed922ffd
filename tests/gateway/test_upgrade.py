"""Requests that offer another protocol are ordinary requests: the offer is ignored, the body is not."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI

from bot.gateway import Gateway, GatewaySettings, create_app
from bot.gateway.protocol import GatewayProtocol
from tests.gateway.clients import BODY, INFER, answer_of, client_of, head
from tests.gateway.gateways import running_application, table, target, write_routes
from tests.stand_ins.failing_triton import StandIn

H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
CHUNKED = b"%x;note=1\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SERVERS = {
    "reference": GatewayProtocol,
    "mounted": "bot.gateway.protocol:GatewayProtocol",  # as people type it
    "mounted, h11": "h11",
}


@pytest.fixture(params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path: Path, start_stand_in: Callable[[], StandIn]
) -> Iterator[tuple[str, StandIn]]:
    """The reference application, and one that somebody mounted the router in."""
    triton = start_stand_in()
    settings = GatewaySettings(routes_file=tmp_path / "routes.json", tritons=(triton.url,))
    write_routes(settings.routes_file, table(1, target(7)))
    app = create_app(settings) if request.param == "reference" else mounted(settings)
    with running_application(app, http=SERVERS[request.param]) as url:
        yield url, triton


def mounted(settings: GatewaySettings) -> FastAPI:
    app = FastAPI()
    app.include_router(Gateway(settings).router)
    return app


OFFERS = {
    "h2c": H2C,
    "foo": ("Upgrade: foo/1", "connection: keep-alive, UPGRADE"),
    "websocket": (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: eA==",
    ),
    "without connection": ("Upgrade: h2c",),
    "two": ("Connection: upgrade", "Upgrade: h2c", "Upgrade: foo"),
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_an_offer_of_another_protocol_is_ignored_and_the_body_kept(
    server: tuple[str, StandIn], offer: tuple[str, ...]
) -> None:
    url, triton = server
    chunked = head(*offer, "Transfer-Encoding: chunked", length=None)
    ways: list[list[bytes]] = [
        [head(*offer) + BODY],
        [head(*offer), BODY],
        [head(*offer)[:30], head(*offer)[30:] + BODY[:5], BODY[5:]],
        [chunked + CHUNKED],
        [chunked, CHUNKED[:3], CHUNKED[3:]],
    ]
    with client_of(url) as client:  # all on one connection: no byte of a body is taken for the next request
        for parts in ways:
            client.send(*parts)
            heard = client.hear()
            assert (heard.status, json.loads(heard.body)["model_version"]) == (200, "7")
        client.send(head(*offer, method="GET", path="/v2/health/live", length=None))
        assert client.hear().status == 200
    assert [seen.body for seen in triton.infers] == [BODY] * len(ways)
    for seen in triton.infers:
        assert not {"upgrade", "http2-settings", "connection"} & set(seen.headers)


@pytest.mark.slow
def test_thousands_of_offers_at_once_are_as_many_requests(
    tmp_path: Path, start_stand_in: Callable[[], StandIn]
) -> None:
    settings = GatewaySettings(routes_file=tmp_path / "routes.json", tritons=(start_stand_in().url,))
    write_routes(settings.routes_file, table(1, target(7)))
    one = head("Connection: upgrade", "Upgrade: a", method="GET", path="/v2", length=None)
    with running_application(mounted(settings), http=GatewayProtocol) as url, client_of(url) as client:
        client.send(one * 1500, head("Connection: close", method="GET", path="/v2", length=None))
        assert client.rest().count(b"HTTP/1.1 200 OK") == 1501


def test_what_follows_a_body_becomes_no_header(server: tuple[str, StandIn]) -> None:
    url, triton = server
    with client_of(url) as client:
        client.send(head("Transfer-Encoding: chunked", length=None) + CHUNKED[:-2] + b"X-User: admin\r\n\r\n")
        assert client.hear().status == 200
    assert "x-user" not in triton.infers[0].headers


def test_curl_with_http2_gets_its_answer(server: tuple[str, StandIn]) -> None:
    curl = shutil.which("curl")
    assert curl, "this test needs curl: apt-get install curl"
    url, triton = server
    command = [curl, "--http2", "--silent", "--show-error", "--max-time", "30", "--write-out", " %{http_code}"]
    ran = subprocess.run([*command, "--data-binary", BODY.decode(), url + INFER], capture_output=True, text=True)
    assert ran.stdout.endswith(" 200"), ran
    assert triton.infers[0].body == BODY


@pytest.mark.slow
def test_javas_client_gets_its_answer(server: tuple[str, StandIn], tmp_path: Path) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("no java here; raw sockets send the same bytes in another test")
    url, triton = server
    source = tmp_path / "Post.java"
    source.write_text(
        """
        import java.net.URI;
        import java.net.http.*;
        class Post {
            public static void main(String[] given) throws Exception {
                var request = HttpRequest.newBuilder(URI.create(given[0]))
                    .POST(HttpRequest.BodyPublishers.ofString(given[1])).build();
                var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
                System.out.print(answer.statusCode() + " " + answer.version());
            }
        }
        """
    )
    ran = subprocess.run([java, str(source), url + INFER, BODY.decode()], capture_output=True, text=True)
    assert ran.stdout == "200 HTTP_1_1", ran
    assert triton.infers[0].body == BODY


def test_uvicorns_own_protocol_loses_the_body_and_the_router_says_so(
    tmp_path: Path, start_stand_in: Callable[[], StandIn]
) -> None:
    triton = start_stand_in()
    settings = GatewaySettings(routes_file=tmp_path / "routes.json", tritons=(triton.url,))
    write_routes(settings.routes_file, table(1, target(7)))
    with running_application(mounted(settings)) as url:
        heard = answer_of(url, head(*H2C) + BODY)
        assert (heard.status, heard.headers["connection"]) == (400, "close")
        assert "drops bodies of requests with Upgrade, see docs/how-to/gateway.md" in heard.error
    assert triton.infers == []


def test_a_tunnel_is_not_opened(server: tuple[str, StandIn]) -> None:
    url, _ = server
    heard = answer_of(url, b"CONNECT triton:8000 HTTP/1.1\r\nHost: triton:8000\r\n\r\n")
    assert 400 <= heard.status < 500
