"""Through which proxy each system is asked: the table of docs/how-to/networks.md, row by row."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bot import web
from bot.errors import OutsideError, Rejected
from bot.records.bucket import BucketRecords
from bot.sandbox.s3 import REGION
from bot.sandbox.tls import Authority, behind_tls
from bot.settings import Bucket, GatewayEndpoint, GitHub, MLflow, Slack, Triton
from bot.systems.gateway import Gateway
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository
from bot.systems.slack import SlackChannel
from bot.systems.triton.server import TritonServer
from tests.stand_ins.http_proxy import Proxy
from tests.stand_ins.server import StandIn
from tests.stores import registry_of

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy")
PAGE = Path(__file__).parents[2] / "docs/how-to/networks.md"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A running proxy; no variable names it yet."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    running = Proxy()
    yield running
    running.close()


@pytest.fixture
def url(stand_in: StandIn, authority: Authority, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Somebody behind TLS who refuses everything, so that nobody asks again."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    stand_in.answers(403, {"message": "nobody in particular"})
    with behind_tls(stand_in.port, certificate) as port:
        yield f"https://127.0.0.1:{port}"


def ask_mlflow(url: str) -> None:
    registry_of(MLflow(uri=url), request_seconds=5).ping()


def ask_github(url: str) -> None:
    GitHubRepository(GitHub(repository="acme/models", api_url=url), token="t", request_seconds=5).login()


def ask_git(url: str) -> None:
    with Repository(f"{url}/acme/models.git", token="t", stall_seconds=5) as git:
        git.head()


def ask_s3(url: str) -> None:
    credentials = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    BucketRecords(Bucket(bucket="mlops", region=REGION, endpoint=url), credentials, request_seconds=5).keys("x")


def ask_slack(url: str) -> None:
    SlackChannel(Slack(channel="C0X", api_url=f"{url}/api"), token="xoxb-1", request_seconds=5).identity()


def answer_in_slack(url: str) -> None:
    channel = SlackChannel(Slack(channel="C0X", api_url=f"{url}/api"), token="xoxb-1", request_seconds=5)
    channel.tell("U1", "for you", url=f"{url}/commands/1")


def ask_gateway(url: str) -> None:
    with contextlib.closing(Gateway(GatewayEndpoint(name="gw-0", url=url), token="t", request_seconds=5)) as gateway:
        gateway.routes()


def ask_triton(url: str) -> None:
    named = Triton(name="serving-0", grpc=url.removeprefix("https://"), grpc_tls=True)
    with contextlib.closing(TritonServer(named, request_seconds=1)) as server:
        server.version()


BY_OUR_RULES = {
    "MLflow": ask_mlflow,
    "GitHub": ask_github,
    "Git": ask_git,
    "S3": ask_s3,
    "Slack": ask_slack,
    "Slack's addresses for answers": answer_in_slack,
}


def slow(*values: str) -> Any:
    """Of which another one stays in the default run."""
    return pytest.param(*values, marks=pytest.mark.slow)


def ask(attempt: Callable[[str], None], url: str) -> None:
    # What answers is nobody in particular: it counts which way the request took.
    with contextlib.suppress(OutsideError):
        attempt(url)


@contextmanager
def only_through(proxy: Proxy, url: str) -> Iterator[None]:
    yield
    assert set(proxy.asked) == {url.removeprefix("https://")}


@pytest.mark.parametrize("system", BY_OUR_RULES)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", slow("https_proxy"), slow("ALL_PROXY")])
def test_the_environments_proxy_is_asked(
    system: str, variable: str, proxy: Proxy, url: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    with only_through(proxy, url):
        ask(BY_OUR_RULES[system], url)
    assert stand_in.seen, "and the request arrived"


@pytest.mark.parametrize(
    ("system", "excepted"),
    [
        *((system, "10.0.0.0/8,127.0.0.0/8") for system in BY_OUR_RULES if not system.startswith("Slack")),
        *(slow(system, "127.0.0.1") for system in BY_OUR_RULES),
    ],
)
def test_no_proxy_names_hosts_and_networks(
    system: str, excepted: str, proxy: Proxy, url: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", excepted)
    ask(BY_OUR_RULES[system], url)
    assert stand_in.seen and not proxy.asked


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_the_variables_are_read_in_either_case(variable: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, proxy.url)
    assert web.proxy("https://github.com") == proxy.url


def test_no_proxy_names_domains(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", ".svc,acme.example")
    for url in ("https://mlflow.mlops.svc", "https://acme.example", "https://git.acme.example:8443"):
        assert web.proxy(url) is None
    assert web.proxy("https://github.com") == proxy.url
    assert web.proxy("http://github.com") is None, "HTTPS_PROXY is for https"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_gateway_is_never_asked_through_a_proxy(
    variable: str, proxy: Proxy, url: str, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    ask(ask_gateway, url)
    assert stand_in.seen and not proxy.asked


def test_tritons_http_is_never_asked_through_a_proxy(
    proxy: Proxy, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, proxy.url)
    stand_in.answers(403)
    address = f"127.0.0.1:{stand_in.port}"
    opened = TritonServer(Triton(name="t", grpc=address, http=address), request_seconds=5)
    with contextlib.closing(opened) as server, pytest.raises(Rejected, match="HTTP 403"):
        server.infer_over_http("churn", 1, [], outputs=["Y"])
    assert stand_in.seen and not proxy.asked


@pytest.mark.parametrize("variable", ["https_proxy", slow("grpc_proxy"), slow("http_proxy")])
def test_tritons_grpc_goes_by_grpcs_own_variables(
    variable: str, proxy: Proxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    with only_through(proxy, url):
        ask(ask_triton, url)


@pytest.mark.parametrize(
    ("variable", "excepted"),
    [
        ("https_proxy", "127.0.0.0/8"),
        slow("https_proxy", "127.0.0.1"),
        slow("HTTPS_PROXY", ""),
        slow("ALL_PROXY", ""),
    ],
)
def test_tritons_grpc_knows_small_letters_and_no_proxy(
    variable: str, excepted: str, proxy: Proxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    monkeypatch.setenv("no_proxy", excepted)
    ask(ask_triton, url)
    assert not proxy.asked


def test_the_page_has_a_row_for_each_system() -> None:
    table = PAGE.read_text().partition("## Proxies")[2]
    rows = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)
    assert set(rows) >= {*BY_OUR_RULES, "gateways", "Triton's gRPC", "Triton's HTTP"}
