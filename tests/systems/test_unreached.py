"""Every system that is not reached is told of in the same plain words, whichever library asked it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import requests
import stamina

from bot.errors import Unavailable
from bot.records import bucket
from bot.settings import Bucket, GatewayEndpoint, GitHub, MLflow, Slack, Triton
from bot.systems.gateway import Gateway
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository
from bot.systems.slack import SlackChannel
from bot.systems.triton.server import TritonServer
from bot.transport_errors import reason
from tests.stores import registry_of

_KEYS = {"aws_access_key_id": "canary", "aws_secret_access_key": "canary4711"}
_LIBRARIES = (
    "Errno",
    "Max retries",
    "HTTPConnection",
    "urlopen",
    "urllib3",
    "ConnectError",
    "endpoint URL",
    "<",
    "111",
)
"""The words of libraries and of errno that no operator should have to know."""

ASKS: dict[str, Callable[[str], object]] = {
    "mlflow": lambda at: registry_of(MLflow(uri=f"http://{at}"), request_seconds=1).version("churn", 1),
    "github": lambda at: GitHubRepository(
        GitHub(repository="acme/models", api_url=f"http://{at}"), token="t", request_seconds=1
    ).open_pull_requests(prefix="promobot"),
    "gateway": lambda at: Gateway(
        GatewayEndpoint(name="g", url=f"http://{at}"), token="t", request_seconds=1
    ).routes(),
    "triton, gRPC": lambda at: TritonServer(Triton(name="t", grpc=at), request_seconds=1).index(),
    "triton, HTTP": lambda at: TritonServer(Triton(name="t", grpc=at, http=at), request_seconds=1).try_http(),
    "slack": lambda at: SlackChannel(
        Slack(channel="C0RELEASES", api_url=f"http://{at}/api"), token="xoxb-canary", request_seconds=1
    ).identity(),
    "records in a bucket": lambda at: bucket.opened(
        Bucket(bucket="records", endpoint=f"http://{at}"), _KEYS, request_seconds=1
    ).get("deployments/one.json"),
    "git": lambda at: Repository(f"http://{at}/acme/models.git", token="t", limit_seconds=1).head(),
}


@pytest.mark.parametrize("system", ASKS)
def test_nobody_listens(system: str, closed_port: int) -> None:
    with stamina.set_testing(True, attempts=1), pytest.raises(Unavailable) as raised:
        ASKS[system](f"127.0.0.1:{closed_port}")
    said = str(raised.value)
    assert "no connection" in said
    assert not [word for word in _LIBRARIES if word in said.replace(str(closed_port), "")]


def _raised(ask: Callable[[], object], *, kind: type[Exception]) -> Exception:
    with pytest.raises(kind) as raised:
        ask()
    return raised.value


def test_each_way_of_not_being_reached_has_its_words(closed_port: int) -> None:
    nobody = "http://nobody.invalid"
    for error in (
        _raised(lambda: httpx.get(nobody), kind=httpx.ConnectError),
        _raised(lambda: requests.get(nobody, timeout=5), kind=requests.ConnectionError),
    ):
        assert reason(error) == "no address is known for its name"
    with socket.create_server(("127.0.0.1", 0)) as still:
        address = f"http://127.0.0.1:{still.getsockname()[1]}"
        for error in (
            _raised(lambda: httpx.get(address, timeout=0.05), kind=httpx.ReadTimeout),
            _raised(lambda: requests.get(address, timeout=0.05), kind=requests.ReadTimeout),
        ):
            assert reason(error) == "no answer in time"
    assert reason(httpx.ConnectTimeout("")) == "no connection in time"
    assert reason(httpx.RemoteProtocolError("peer closed")) == "it closed the connection without an answer"


def test_what_is_no_matter_of_the_network_stays_as_it_is(tmp_path: Path) -> None:
    try:
        (tmp_path / "nowhere" / "file").read_text()
    except OSError as error:
        assert reason(error) == str(error)
    assert reason(ValueError()) == "ValueError"


def test_what_was_handled_before_is_not_the_reason() -> None:
    error = _raised(_from_none, kind=ssl.SSLError)
    assert reason(error) == "its certificate is not trusted here"


def _from_none() -> None:
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except ConnectionRefusedError:
        raise ssl.SSLError(1, "certificate verify failed") from None
