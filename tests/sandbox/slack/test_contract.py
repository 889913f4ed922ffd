"""What our Slack takes and refuses: scopes, people and groups, blocks and views, files, manifests."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from slack_sdk.errors import SlackApiError

from bot.sandbox.slack.web_api import METHODS
from tests.sandbox.slack.conftest import APP_TOKEN, CHANNEL, MANIFEST, SECRET, TOKEN, Served, Slack
from tests.sandbox.slack.shapes import ANSWERS
from tests.sandbox.slack.test_people import MODAL

SCOPES = [
    *("chat:write", "commands", "channels:history", "channels:read", "usergroups:read"),
]


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def button(**more: Any) -> dict[str, Any]:
    return {"type": "button", "action_id": "a", "text": plain("Press"), **more}


@pytest.fixture
def installed(slack: Slack) -> Slack:
    slack.install(request_url="http://127.0.0.1:9/slack/events", scopes=SCOPES)
    return slack


def test_every_method_is_held_to_its_documentation() -> None:
    assert set(METHODS) == set(ANSWERS)


@pytest.mark.parametrize(
    ("method", "scope", "arguments"),
    [
        ("chat.postMessage", "chat:write", {"channel": CHANNEL, "text": "x"}),
        ("conversations.history", "channels:history", {"channel": CHANNEL}),
        ("usergroups.users.list", "usergroups:read", {"usergroup": "S0MLTEAM"}),
    ],
)
def test_a_scope_that_the_manifest_lacks(slack: Slack, method: str, scope: str, arguments: dict[str, Any]) -> None:
    slack.install(request_url="http://127.0.0.1:9/slack/events", scopes=["commands"])
    with pytest.raises(SlackApiError) as failure:
        slack.client.api_call(method, json=arguments)
    said = failure.value.response
    assert (said["error"], said["needed"], said["provided"]) == ("missing_scope", scope, "commands")
    slack.install(request_url="http://127.0.0.1:9/slack/events", scopes=["commands", scope])
    slack.client.api_call(method, json=arguments)


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("usergroups.users.list", {"usergroup": "S0NONE"}, "no_such_subteam"),
        ("views.update", {"view_id": "V0NONE", "view": MODAL}, "not_found"),
        (
            "chat.postMessage",
            {"channel": CHANNEL, "text": "x", "metadata": {"event_type": "e", "event_payload": {"k": "x" * 8000}}},
            "metadata_too_large",
        ),
    ],
)
def test_refusals(installed: Slack, method: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SlackApiError) as failure:
        installed.client.api_call(method, json=arguments)
    assert failure.value.response["error"] == said


def test_people_cannot_have_their_messages_changed(installed: Slack) -> None:
    installed.types("sam", "mine")
    ts = installed.client.conversations_history(channel=CHANNEL, limit=1)["messages"][0]["ts"]
    with pytest.raises(SlackApiError) as failure:
        installed.client.chat_update(channel=CHANNEL, ts=ts, text="not mine")
    assert failure.value.response["error"] == "cant_update_message"


def chart(
    *,
    kind: str = "bar",
    title: str = "t",
    series: int = 2,
    points: int = 2,
    name: str = "",
    label: str = "",
    value: object = 0.5,
    categories: list[str] | None = None,
    **axis: str,
) -> dict[str, Any]:
    labels = [label or f"label {number}" for number in range(points)]
    data = [{"label": one, "value": value} for one in labels]
    listed = [{"name": name or f"series {number}", "data": data} for number in range(series)]
    named = {"categories": labels if categories is None else categories, **axis}
    shown = {"type": kind, "series": listed, "axis_config": named}
    return {"type": "data_visualization", "title": title, "chart": shown}


GOOD: list[list[dict[str, Any]]] = [
    [{"type": "actions", "elements": [button(style="danger", value="v" * 2000)]}],
    [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3000}, "accessory": button()}],
    [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2000}] * 10}],
    [{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}] * 20] * 100}],
    [{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 10}],
    [{"type": "header", "text": plain("x" * 150)}],
    [{"type": "divider"}] * 50,
    [chart(), chart(kind="line")],
    [chart(series=6, points=20, title="x" * 50, x_label="x" * 50, y_label="y" * 50)],
    [chart(points=1, kind="area", value=-0.5)],
    [{"type": "actions", "elements": [{"type": "checkboxes", "options": [{"text": plain("Now"), "value": "now"}]}]}],
    [{"type": "input", "label": plain("Version"), "element": {"type": "number_input", "is_decimal_allowed": False}}],
]
BAD: list[tuple[list[dict[str, Any]], str]] = [
    ([{"type": "header", "text": plain("x" * 151)}], "/blocks/0/text/text"),
    ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "/blocks/0/text/type"),
    ([{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}], "/blocks/0/text/text"),
    ([{"type": "section", "text": {"type": "mrkdwn", "text": ""}}], "/blocks/0/text/text"),
    ([{"type": "section"}], "/blocks/0/text"),
    ([{"type": "section", "fields": [{"type": "mrkdwn", "text": "x"}] * 11}], "/blocks/0/fields"),
    ([{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}], "/blocks/0/fields/0/text"),
    ([{"type": "actions", "elements": []}], "/blocks/0/elements"),
    ([{"type": "actions", "elements": [button(action_id=f"a{n}") for n in range(26)]}], "/blocks/0/elements"),
    ([{"type": "actions", "elements": [button(), button()]}], "/blocks/0/elements"),
    ([{"type": "actions", "elements": [button(text=plain("x" * 76))]}], "/blocks/0/elements/0/text/text"),
    ([{"type": "actions", "elements": [button(value="v" * 2001)]}], "/blocks/0/elements/0/value"),
    ([{"type": "actions", "elements": [button(style="green")]}], "/blocks/0/elements/0/style"),
    ([{"type": "actions", "elements": [button(action_id="a" * 256)]}], "/blocks/0/elements/0/action_id"),
    (
        [{"type": "actions", "elements": [button(confirm={"title": plain("x" * 101), "text": plain("y")})]}],
        "/blocks/0/elements/0/confirm/title/text",
    ),
    ([{"type": "divider", "block_id": "same"}, {"type": "divider", "block_id": "same"}], "/blocks"),
    ([{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}] * 21]}], "/blocks/0/rows/0"),
    ([{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}]] * 101}], "/blocks/0/rows"),
    ([{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}]]}] * 2, "/blocks"),
    ([{"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * 11}], "/blocks/0/elements"),
    ([{"type": "image", "alt_text": "x", "image_url": "https://x.example/i.png"}], "/blocks/0/type"),
    ([{"type": "divider"}] * 51, "/blocks"),
    ([{"type": "chart"}], "/blocks/0/type"),
    ([chart()] * 3, "/blocks"),
    ([chart(title="x" * 51)], "/blocks/0/title"),
    ([chart(title="")], "/blocks/0/title"),
    ([chart(kind="radar")], "/blocks/0/chart/type"),
    ([{"type": "data_visualization", "title": "x"}], "/blocks/0/chart"),
    ([chart(series=7)], "/blocks/0/chart/series"),
    ([chart(series=0)], "/blocks/0/chart/series"),
    ([chart(name="same")], "/blocks/0/chart/series"),
    ([chart(name="n" * 21, series=1)], "/blocks/0/chart/series/0/name"),
    ([chart(points=21)], "/blocks/0/chart/series/0/data"),
    ([chart(points=0)], "/blocks/0/chart/series/0/data"),
    ([chart(label="l" * 21)], "/blocks/0/chart/series/0/data/0/label"),
    ([chart(categories=["another"])], "/blocks/0/chart/series/0/data"),
    ([chart(categories=["label 0"])], "/blocks/0/chart/series/0/data"),
    ([chart(categories=[])], "/blocks/0/chart/axis_config/categories"),
    ([chart(value="0.9")], "/blocks/0/chart/series/0/data/0/value"),
    ([chart(value=True)], "/blocks/0/chart/series/0/data/0/value"),
    ([chart(x_label="x" * 51)], "/blocks/0/chart/axis_config/x_label"),
]


@pytest.mark.parametrize("blocks", GOOD)
def test_blocks_at_their_limits_are_taken(installed: Slack, blocks: list[dict[str, Any]]) -> None:
    installed.client.chat_postMessage(channel=CHANNEL, text="x", blocks=blocks)


@pytest.mark.parametrize(("blocks", "where"), BAD)
def test_blocks_beyond_them_are_refused(installed: Slack, blocks: list[dict[str, Any]], where: str) -> None:
    with pytest.raises(SlackApiError) as failure:
        installed.client.chat_postMessage(channel=CHANNEL, text="x", blocks=blocks)
    said = failure.value.response
    assert said["error"] == "invalid_blocks"
    assert any(f"[json-pointer:{where}" in message for message in said["response_metadata"]["messages"]), said


@pytest.mark.parametrize(
    "change",
    [
        {"title": plain("x" * 25)},
        {"submit": None},
        {"type": "home"},
        {"blocks": []},
        {"blocks": [{"type": "divider"}] * 101},
        {"blocks": [{"type": "table", "rows": [[{"type": "raw_text", "text": "a"}]]}]},
        {"private_metadata": "x" * 3001},
        {"callback_id": "x" * 256},
    ],
)
def test_views_that_are_refused(slack: Slack, served: Served, change: dict[str, Any]) -> None:
    triggers: list[str] = []

    @served.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any]) -> None:
        triggers.append(command["trigger_id"])
        ack()

    slack.types("alex", "/promote")
    with pytest.raises(SlackApiError) as failure:
        slack.client.views_open(trigger_id=triggers[0], view={**MODAL, **change})
    assert failure.value.response["error"] == "invalid_arguments"
    assert failure.value.response["response_metadata"]["messages"]
    slack.client.views_open(trigger_id=triggers[0], view=MODAL)
    slack.does("alex", "closes")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"signing_secret": ""}, "needs signing_secret"),
        ({"request_url": ""}, "no request URL for /promote, /who, interactivity"),
        ({"app_token": "xoxb-wrong"}, "app_token"),
        ({"manifest": {**MANIFEST, "settngs": {}}}, "settngs"),
        ({"manifest": {**MANIFEST, "display_information": {"name": "x" * 36}}}, "display_information.name"),
        (
            {"app_token": "", "manifest": {**MANIFEST, "settings": {"socket_mode_enabled": True}}},
            "needs app_token",
        ),
    ],
)
def test_an_app_that_cannot_be_installed(slack: Slack, change: dict[str, Any], said: str) -> None:
    app = {"manifest": MANIFEST, "signing_secret": SECRET, "app_token": APP_TOKEN, "request_url": "http://x.example"}
    answer = httpx.post(f"{slack.url}/app", json=app | change)
    assert answer.status_code == 422 and said in answer.json()["error"], answer.text
    assert SECRET not in httpx.get(f"{slack.url}/app").text and TOKEN not in httpx.get(f"{slack.url}/app").text
