"""The app as it is installed in a workspace: typed, pressed and filled in there, under HTTP and in Socket Mode."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
import yaml
from fastapi import FastAPI

from bot.render import slack as words
from bot.sandbox.platform import BOT
from bot.slack import SlackService
from bot.slack.manifest import FILE, manifest, text
from tests.gateway.gateways import running_application
from tests.operations.world import World, wait_until
from tests.slack.people import CHANNEL, SECRET

APP_TOKEN = "xapp-1-A0PROMOBOT-canary4711"
MAY = {"read": ["everyone"], "propose": ["S0MLTEAM"], "approve": ["S0RELEASERS"], "roll_back": ["S0MLTEAM"]}
"""By user group: Alex is in both, Sam in the first only."""


class Workspace:
    """What people do in the workspace, and what they see there."""

    def __init__(self, world: World) -> None:
        self.world, self.url = world, world.endpoints.slack

    def install(self, *, request_url: str = "", socket_mode: bool = False) -> None:
        app = {"manifest": manifest(socket_mode=socket_mode), "request_url": request_url}
        self._post("/app", {**app, "signing_secret": SECRET, "app_token": APP_TOKEN})

    def put_back(self) -> None:
        """Install the app as the sandbox has it."""
        secrets = self.world.endpoints.secrets
        tokens = {"signing_secret": secrets.slack_signing, "app_token": secrets.slack_app}
        url = f"{self.world.endpoints.slack_app}/slack/events"
        self._post("/app", {"manifest": FILE.read_text(), "request_url": url, **tokens})

    def does(self, who: str, deed: str, **said: Any) -> dict[str, Any]:
        return self._post(f"/people/{who}/{deed}", said)

    def types(self, who: str, line: str) -> list[str]:
        """Type a command; return what only this person saw before."""
        before = self.told(who)
        assert self.does(who, "types", channel=CHANNEL, text=line)["ok"]
        return before

    def sees(self, who: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/people/{who}/sees.json").json()
        return found

    def told(self, who: str) -> list[str]:
        """What only this person sees in the channel, oldest first."""
        channels = {channel["id"]: channel for channel in self.sees(who)["channels"]}
        return [shown["text"] for shown in channels[CHANNEL]["ephemerals"]]

    def asks(self, who: str, line: str) -> str:
        """Type a command and wait for the one answer, which follows the acknowledgement where there is one."""
        before = self.types(who, line)
        wait_until(lambda: len(self.told(who)) > len(before) and self.told(who)[-1] != words.TAKEN)
        *acknowledged, answer = self.told(who)[len(before) :]
        assert acknowledged in ([], [words.TAKEN])
        return answer

    def form(self, who: str) -> dict[str, Any]:
        """Wait for a form that is filled; return it."""
        wait_until(lambda: any(one.get("submit") for one in self.sees(who)["modals"]))
        (only,) = self.sees(who)["modals"]
        return dict(only)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(self.url + path, json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def serving(world: World, state: Path, *, socket_mode: bool) -> Iterator[Workspace]:
    for environment in world.endpoints.triton:
        world.configure(environment, slack={"may": MAY})
    workspace = Workspace(world)
    tokens = {"SLACK_SIGNING_SECRET": SECRET, "SLACK_APP_TOKEN": APP_TOKEN}
    with ExitStack() as running:
        running.enter_context(mock.patch.dict(os.environ, {**world.endpoints.variables(login=BOT), **tokens}))
        running.callback(workspace.put_back)
        if socket_mode:
            workspace.install(socket_mode=True)
        service = SlackService(world.root, state=state, follow_seconds=0.5)
        if socket_mode:
            running.enter_context(service.socket())
        else:
            app = FastAPI()
            app.include_router(service.router, prefix="/promobot")
            url = running.enter_context(running_application(app))
            workspace.install(request_url=f"{url}/promobot/slack/events")
        yield workspace


@pytest.fixture
def workspace(world: World, tmp_path: Path) -> Iterator[Workspace]:
    with serving(world, tmp_path / "state", socket_mode=False) as installed:
        yield installed


@pytest.fixture
def connected(world: World, tmp_path: Path) -> Iterator[Workspace]:
    with serving(world, tmp_path / "state", socket_mode=True) as installed:
        yield installed


def test_the_manifest_that_people_paste_is_that_of_the_code() -> None:
    assert FILE.read_text() == text(), "run python -m bot.slack.manifest"
    assert yaml.safe_load(FILE.read_text()) == manifest()


@pytest.mark.slow
def test_groups_decide(workspace: Workspace) -> None:
    world = workspace.world
    model = world.model()
    first = world.register(model)
    assert "proposes" in workspace.asks("sam", f"/promote {model} {first.version} dev")
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    message = _promotion(workspace, pull["number"], "its checks run")
    sam = workspace.does("sam", "acts", channel=CHANNEL, ts=message["ts"], action_id="promobot_approve")
    assert sam["ok"]
    wait_until(lambda: "You may not approve" in workspace.told("sam")[-1])
    assert workspace.does("alex", "acts", channel=CHANNEL, ts=message["ts"], action_id="promobot_approve")["ok"]
    wait_until(lambda: "You approved" in (workspace.told("alex") or [""])[-1])


@pytest.mark.slow
def test_a_form_asks_for_what_was_left_out(workspace: Workspace) -> None:
    world = workspace.world
    model = world.model()
    first, second = world.register(model), world.register(model, "better")
    workspace.types("alex", f"/promote {model} {second.version}")
    form = workspace.form("alex")
    what, where = form["blocks"]
    assert what["element"]["initial_option"]["value"] == f"{model}/2"
    groups = {group["label"]["text"]: group["options"] for group in what["element"]["option_groups"]}
    assert [option["text"]["text"] for option in groups[model]] == [f"{model} 2", f"{model} 1"]
    assert {option["value"] for option in where["element"]["options"]} == {"dev", "prod"}
    before = len(workspace.told("alex"))
    done = workspace.does("alex", "submits", values={"environment": {"environment": "dev"}})
    assert done["ok"] and workspace.sees("alex")["modals"] == []
    wait_until(lambda: len(workspace.told("alex")) > before)
    assert "proposes" in workspace.told("alex")[-1]
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    assert pull["title"] == f"Promote {model} to 2 in dev"
    assert first.version == 1


@pytest.mark.extended
def test_the_form_for_the_way_back_lists_what_was_verified(workspace: Workspace) -> None:
    world = workspace.world
    model = world.model()
    for recipe in ("first", "better", "first"):
        world.served(world.register(model, recipe, note=recipe if recipe == "better" else str(time.time())))
    workspace.types("sam", "/rollback")
    form = workspace.form("sam")
    target = form["blocks"][0]["element"]
    groups = {group["label"]["text"]: group["options"] for group in target["option_groups"]}
    values = [option["value"] for option in groups[f"{model} in dev"]]
    assert values == [f"dev/{model}/", f"dev/{model}/2", f"dev/{model}/1"]
    filled = {"target": {"target": f"dev/{model}/1"}, "now": {"now": ["now"]}, "reason": {"reason": "<!channel> bad"}}
    assert workspace.does("sam", "submits", values=filled)["ok"]
    wait_until(lambda: any("takes" in one for one in workspace.told("sam")))
    assert world.version(model) == 1
    (revert,) = world.reverts(model)
    assert "bad" in revert["body"]
    said = [message["text"] for message in world.slack(model)]
    assert said and not any("<!channel>" in one for one in said)


@pytest.mark.slow
def test_the_form_without_the_registry_takes_a_number(workspace: Workspace) -> None:
    world = workspace.world
    model = world.model()
    world.kill("mlflow")
    workspace.types("alex", f"/promote {model}")
    form = workspace.form("alex")
    assert [block["block_id"] for block in form["blocks"]] == ["model", "version", "environment"]
    world.restart("mlflow")
    registered = world.register(model)
    filled = {"version": {"version": str(registered.version)}, "environment": {"environment": "dev"}}
    assert workspace.does("alex", "submits", values=filled)["ok"]
    wait_until(lambda: world.open_pulls(f"promobot/dev/{model}"))


def test_everybody_sees_what_is_served(workspace: Workspace) -> None:
    world = workspace.world
    model = world.model()
    world.served(world.register(model))
    world.register(model, "weak")
    assert "is served" not in workspace.asks("sam", "/promotions help")
    said = workspace.asks("sam", f"/promotions {model}")
    assert f"✅ *{model}*: desired 1 · live 1" in said and "*prod: " in said


def test_socket_mode(connected: Workspace) -> None:
    world = connected.world
    model = world.model()
    first = world.register(model)
    assert "proposes" in connected.asks("alex", f"/promote {model} {first.version} dev")
    (pull,) = world.open_pulls(f"promobot/dev/{model}")
    message = _promotion(connected, pull["number"], "its checks run")
    # Slack ends connections from time to time; the client has another one at once.
    httpx.post(f"{connected.url}/socket", json={"disconnect": "refresh_requested"}).raise_for_status()
    wait_until(lambda: httpx.get(f"{connected.url}/socket").json()["connections"])
    assert connected.does("alex", "acts", channel=CHANNEL, ts=message["ts"], action_id="promobot_approve")["ok"]
    wait_until(lambda: "asked for by you" in connected.told("alex")[-1])
    connected.types("alex", "/promote")
    assert connected.form("alex")["callback_id"] == "promote"


def _promotion(workspace: Workspace, number: int, words: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def there() -> bool:
        channels = {channel["id"]: channel for channel in workspace.sees("alex")["channels"]}
        found[:] = [
            message
            for message in channels[CHANNEL]["messages"]
            if ((message.get("metadata") or {}).get("event_payload") or {}).get("number") == str(number)
        ]
        return bool(found) and words in found[0]["text"]

    wait_until(there)
    return found[0]
