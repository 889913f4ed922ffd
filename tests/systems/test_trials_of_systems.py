"""What `promobot doctor` asks of each system: the operation itself, aimed so that it changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.errors import Denied, Rejected, Unavailable
from bot.gateway import GatewaySettings
from bot.sandbox import environments, triton
from bot.sandbox.processes import Part, Ports
from bot.settings import GatewayEndpoint, GitHub, MLflow, Share, Slack, Triton
from bot.share import trial_name
from bot.systems.gateway import Gateway
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository
from bot.systems.slack import SlackChannel
from bot.systems.triton.server import TritonServer
from tests.controls import control
from tests.gateway.gateways import TOKEN as RELOAD_TOKEN
from tests.gateway.gateways import running_gateway
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server
from tests.servers import running
from tests.stand_ins.server import StandIn
from tests.stores import Unfenced, registry_of
from tests.systems.conftest import RealTriton

TOKEN = "xoxb-canary4711"
SCOPES = ("chat:write", "channels:history", "channels:read", "usergroups:read")


# --- Slack ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slack_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("slack")
    with Ports() as ports:
        port = ports.take()
        command = (sys.executable, "-m", "bot.sandbox.slack", "--port", str(port), "--token", TOKEN)
        with running(directory, Part("slack", (*command, "--dir", str(directory / "data")), port)):
            yield f"http://127.0.0.1:{port}"


@pytest.fixture
def slack(slack_url: str) -> Iterator[str]:
    """A workspace whose channel is as it should be, before and after."""
    yield slack_url
    install(slack_url, *SCOPES)
    change(slack_url, has_bot=True, archived=False)


def install(url: str, *scopes: str) -> None:
    manifest = {"display_information": {"name": "Promobot"}, "oauth_config": {"scopes": {"bot": scopes}}}
    httpx.post(f"{url}/app", json={"manifest": manifest}).raise_for_status()


def change(url: str, **how: bool) -> None:
    httpx.post(f"{url}/channels/C0RELEASES", json=how).raise_for_status()


def channel(url: str, named: str = "C0RELEASES") -> SlackChannel:
    return SlackChannel(Slack(channel=named, api_url=f"{url}/api"), token=TOKEN, request_seconds=20)


def test_a_channel_is_read_and_nothing_is_said_in_it(slack: str) -> None:
    install(slack, *SCOPES)
    seat = channel(slack).try_channel(groups=["S0MLTEAM"])
    assert (seat.who, seat.may_be_archived) == ("promobot in Sandbox", False)
    assert not any(one["messages"] for one in httpx.get(f"{slack}/messages.json").json()["channels"])


@pytest.mark.parametrize(
    ("how", "said", "step"),
    [
        ({"has_bot": False}, "could not read the channel: not_in_channel", "/invite"),
        ({"archived": True}, "the channel is archived", "Unarchive the channel"),
    ],
)
def test_a_channel_where_nothing_can_be_said_is_named(slack: str, how: dict[str, bool], said: str, step: str) -> None:
    change(slack, **how)
    with pytest.raises(Rejected, match=said) as failure:
        channel(slack).try_channel()
    assert step in failure.value.next_step


@pytest.mark.parametrize("scope", ["chat:write", "channels:history", "usergroups:read"])
def test_a_scope_that_is_missing_is_named(slack: str, scope: str) -> None:
    install(slack, *(one for one in SCOPES if one != scope))
    with pytest.raises(Rejected, match=scope) as failure:
        channel(slack).try_channel(groups=["S0MLTEAM"])
    assert f"Add {scope} in the app's settings" in failure.value.next_step


def test_without_the_scope_to_look_it_is_said_that_the_channel_may_be_archived(slack: str) -> None:
    install(slack, *(one for one in SCOPES if one != "channels:read"))
    assert channel(slack).try_channel().may_be_archived


def test_a_channel_and_a_group_that_are_not_there_are_named(slack: str) -> None:
    with pytest.raises(Rejected, match="channel_not_found") as failure:
        channel(slack, "C0NOWHERE").try_channel()
    assert "slack.channel" in failure.value.next_step
    with pytest.raises(Rejected, match="who is in S0NOBODY: no_such_subteam"):
        channel(slack).try_channel(groups=["S0NOBODY"])


# --- Triton --------------------------------------------------------------------------------------------------------


def opened(grpc: str) -> TritonServer:
    return TritonServer(Triton(name="t", grpc=grpc), request_seconds=20)


def share_at(repository: Path, state: Path) -> Unfenced:
    share = Unfenced(Share(model_repository=str(repository), state=str(state)))
    share.begin()
    return share


def test_triton_tells_a_trial_that_it_can_read_from_what_is_not_there(real: RealTriton, tmp_path: Path) -> None:
    share = share_at(real.repository, real.repository.with_name("trial-state"))
    server = opened(real.grpc)
    with share.trials.of_a_model() as name:
        assert server.try_to_load(name, trial_name())
        assert not server.try_to_load(trial_name(), trial_name())
    with share_at(tmp_path / "elsewhere", tmp_path / "state").trials.of_a_model() as name:
        assert not server.try_to_load(name, trial_name()), "what it does not serve from it does not find"
        with pytest.raises(Unavailable, match="failed to poll from model repository") as failure:
            control(server).load(name, timeout_seconds=20)  # as a deployment does: no version is to blame
        assert "compare its --model-repository" in failure.value.next_step
    assert not {name for name in server.names() if "doctor" in name}
    server.close()


@pytest.mark.parametrize("mode", ["none", pytest.param("poll", marks=pytest.mark.slow)])
def test_a_triton_that_does_not_load_on_command_is_named(mode: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with Ports() as ports:
        part = triton.part(
            "triton",
            environment=environments.triton(progress=print),
            model_repository=tmp_path / "models",
            http_port=ports.take(),
            grpc_port=(grpc := ports.take()),
        )
        command = tuple(word.replace("=explicit", f"={mode}") for word in part.command)
        with running(tmp_path, Part("triton", command, part.port, part.ready_path, variables=part.variables)):
            server = opened(f"127.0.0.1:{grpc}")
            with pytest.raises(Unavailable, match="explicit model load / unload is not allowed") as failure:
                server.try_to_load(trial_name(), trial_name())
            assert "--model-control-mode=explicit" in failure.value.next_step
            with pytest.raises(Unavailable) as loading:
                control(server).load("churn", timeout_seconds=20)
            assert loading.value.next_step == failure.value.next_step, "a deployment says the same"
            server.close()


# --- Git and GitHub ------------------------------------------------------------------------------------------------


def github(url: str, token: str, *, api: str = "/api/v3") -> GitHubRepository:
    settings = GitHub(repository=REPOSITORY, server_url=url, api_url=url + api, token_env="BOT_GITHUB_TOKEN")
    return GitHubRepository(settings, token=token, request_seconds=20)


def test_a_push_is_tried_and_nothing_is_pushed(forge: Server, person: Clone) -> None:
    with Repository(f"{forge.url}/{REPOSITORY}.git", token="bot-token") as repository:
        branch = trial_name()
        repository.try_to_push(repository.head(), branch)
        assert repository.branch(branch) is None


def test_a_token_that_may_only_read_cannot_push(forge: Server, person: Clone) -> None:
    with Repository(f"{forge.url}/{REPOSITORY}.git", token="reader-token") as repository:
        head = repository.head()
        with pytest.raises(Rejected, match="could not push"):
            repository.try_to_push(head, trial_name())


def test_a_pull_request_is_asked_for_and_none_is_opened(forge: Server, person: Clone) -> None:
    before = github(forge.url, "bot-token").open_pull_requests(prefix="")
    github(forge.url, "bot-token").try_to_open(trial_name())
    assert github(forge.url, "bot-token").open_pull_requests(prefix="") == before


def test_a_token_that_may_open_no_pull_request_is_named(forge: Server, person: Clone) -> None:
    with pytest.raises(Rejected, match="could not open a pull request"):
        github(forge.url, "reader-token").try_to_open(trial_name())


def test_an_archived_repository_is_named(stand_in: StandIn) -> None:
    stand_in.answers(200, {"full_name": REPOSITORY, "archived": True})
    with pytest.raises(Rejected, match="the repository is archived") as failure:
        github(stand_in.url, "ghp_canary4711", api="").try_to_open(trial_name())
    assert [seen.method for seen in stand_in.seen] == ["GET"] and "Unarchive" in failure.value.next_step


# --- MLflow --------------------------------------------------------------------------------------------------------


def test_an_alias_is_asked_for_and_none_is_set(mlflow_uri: str) -> None:
    name = "tried"
    api = f"{mlflow_uri}/api/2.0/mlflow"
    httpx.post(f"{api}/registered-models/create", json={"name": name}, timeout=60).raise_for_status()
    registry = registry_of(MLflow(uri=mlflow_uri), request_seconds=30)
    registry.try_alias(name, "promobot-doctor")
    assert registry.alias(name, "promobot-doctor") is None


@pytest.mark.parametrize(
    ("status", "document", "said"),
    [
        (403, {"error_code": "PERMISSION_DENIED", "message": "Permission denied"}, "Permission denied"),
        (200, {}, "which does not exist"),
    ],
)
def test_a_server_that_forbids_or_takes_such_an_alias_is_named(
    stand_in: StandIn, status: int, document: dict[str, Any], said: str
) -> None:
    stand_in.answers(status, document)
    with pytest.raises(Rejected, match=said):
        registry_of(MLflow(uri=stand_in.url), request_seconds=5).try_alias("churn", "promobot-doctor")
    assert [seen.method for seen in stand_in.seen] == ["POST", *(["DELETE"] if status == 200 else [])]


# --- the gateway ---------------------------------------------------------------------------------------------------


def gateway(url: str, token: str = RELOAD_TOKEN) -> Gateway:
    return Gateway(GatewayEndpoint(name="g", url=url), token=token, request_seconds=20)


def test_a_gateway_says_what_it_reads_of_the_share_and_switches_nothing(tmp_path: Path) -> None:
    share = share_at(tmp_path / "models", tmp_path / "state")
    settings = GatewaySettings(share.state / "routes.json", ("http://127.0.0.1:9",), reload_token=RELOAD_TOKEN)
    other = share_at(tmp_path / "other-models", tmp_path / "other-state")
    with running_gateway(settings) as running, share.trials.of_routes() as (name, text):
        asked = gateway(running.url)
        before = asked.routes()
        assert asked.try_share(name) == text
        with other.trials.of_routes() as (elsewhere, _):
            assert asked.try_share(elsewhere) == "No such file or directory"
        assert asked.routes() == before
        with pytest.raises(Denied):
            gateway(running.url, token="another-token").try_share(name)
        asked.close()


@pytest.mark.parametrize("name", ["../state.json", "0000000001.json", "promobot-doctor-1.json", "", "x" * 3000])
def test_a_gateway_is_asked_about_trials_only(tmp_path: Path, name: str) -> None:
    share = share_at(tmp_path / "models", tmp_path / "state")
    settings = GatewaySettings(share.state / "routes.json", ("http://127.0.0.1:9",), reload_token=RELOAD_TOKEN)
    with running_gateway(settings) as running:
        answered = httpx.post(
            f"{running.url}/reload", json={"trial": name}, headers={"Authorization": f"Bearer {RELOAD_TOKEN}"}
        )
        assert answered.status_code == 422 and "must be" in answered.text


def test_a_gateway_of_before_is_known_as_one(stand_in: StandIn) -> None:
    stand_in.answers(422, {"error": 'the body must be {"generation": N} with N from 1'})
    assert gateway(stand_in.url).try_share(f"{trial_name()}.json") is None
