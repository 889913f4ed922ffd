"""What people do, over HTTP, with a real slack_bolt app on the other side."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.webhook import WebhookClient

from bot.sandbox.slack.delivery import ACKNOWLEDGE_SECONDS
from bot.sandbox.slack.modals import TRIGGER_SECONDS, Triggers
from bot.sandbox.slack.refusal import SlackError
from bot.sandbox.slack.workspace import User
from tests.sandbox.slack.conftest import CHANNEL, SECRET, Served, Slack, until

MODAL: dict[str, Any] = {
    "type": "modal",
    "callback_id": "promote",
    "title": {"type": "plain_text", "text": "Promote"},
    "submit": {"type": "plain_text", "text": "Promote"},
    "blocks": [
        {
            "type": "input",
            "block_id": "model",
            "label": {"type": "plain_text", "text": "Model"},
            "element": {"type": "plain_text_input", "action_id": "name"},
        },
        {
            "type": "input",
            "block_id": "environment",
            "label": {"type": "plain_text", "text": "Environment"},
            "element": {
                "type": "static_select",
                "action_id": "chosen",
                "options": [
                    {"text": {"type": "plain_text", "text": name}, "value": name} for name in ("dev", "prod")
                ],
            },
        },
    ],
}
BUTTONS: list[dict[str, Any]] = [
    {
        "type": "actions",
        "block_id": "decide",
        "elements": [
            {
                "type": "button",
                "action_id": "approve",
                "value": "12",
                "style": "primary",
                "text": {"type": "plain_text", "text": "Approve"},
            }
        ],
    }
]


def test_a_command_is_signed_and_has_every_field(slack: Slack, served: Served) -> None:
    heard: list[dict[str, Any]] = []

    @served.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any]) -> None:
        heard.append(command)
        ack()

    assert slack.types("alex", "/promote churn 7 dev")["ok"]
    (headers, body) = served.requests[0]
    assert SignatureVerifier(SECRET).is_valid(
        body, headers["x-slack-request-timestamp"], headers["x-slack-signature"]
    )
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
    assert set(fields) == {
        *("token", "team_id", "team_domain", "channel_id", "channel_name", "user_id", "user_name"),
        *("command", "text", "api_app_id", "is_enterprise_install", "response_url", "trigger_id"),
    }
    assert (heard[0]["command"], heard[0]["text"], heard[0]["user_id"]) == ("/promote", "churn 7 dev", "U0ALEX")
    assert (heard[0]["channel_id"], heard[0]["channel_name"]) == (CHANNEL, "ml-releases")
    assert heard[0]["response_url"].startswith(f"{slack.url}/commands/T0SANDBOX/")


def test_a_command_of_nobody_and_one_in_a_thread(slack: Slack, served: Served) -> None:
    assert slack.types("alex", "/promoet churn")["error"] == "invalid_command"
    assert "/promoet` is not a valid command" in slack.alone("alex")[-1]["text"]
    ts = slack.client.chat_postMessage(channel=CHANNEL, text="a thread")["ts"]
    assert slack.types("alex", "/promote churn", thread_ts=ts)["error"] == "not_in_threads"
    assert served.requests == []


def test_what_comes_with_the_acknowledgement_is_seen_by_one_or_by_all(slack: Slack, served: Served) -> None:
    @served.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any]) -> None:
        if command["text"] == "all":
            ack(text="for everybody", response_type="in_channel")
        else:
            ack(text="for you alone", blocks=[{"type": "divider"}])

    slack.types("sam", "/promote")
    shown = slack.alone("sam")[-1]
    assert shown["text"] == "for you alone" and shown["blocks"][0]["type"] == "divider"
    assert all(other["text"] != "for you alone" for other in slack.alone("alex"))
    slack.types("sam", "/promote all")
    newest = slack.client.conversations_history(channel=CHANNEL, limit=1)["messages"][0]
    assert newest["text"] == "for everybody" and newest["bot_id"] == "B0PROMOBOT"


@pytest.mark.slow
def test_no_acknowledgement_within_three_seconds(slack: Slack, served: Served) -> None:
    late, acknowledged = threading.Event(), threading.Event()

    @served.app.command("/promote")
    def promote(ack: Any) -> None:
        late.wait(60)
        ack()
        acknowledged.set()

    assert ACKNOWLEDGE_SECONDS == 3
    assert slack.types("alex", "/promote churn")["error"] == "operation_timeout"
    assert not acknowledged.is_set(), "Slack did not wait for it"
    late.set()
    assert slack.alone("alex")[-1]["text"] == "/promote failed with the error “operation_timeout”"
    assert slack.deliveries()[-1]["problem"] == "operation_timeout"


def test_an_app_that_is_down_or_refuses(slack: Slack, served: Served) -> None:
    assert slack.types("alex", "/promote churn")["error"] == "http_client_error"  # Bolt: 404, nobody handles it
    served.server.should_exit = True
    served.thread.join(20)
    assert slack.types("alex", "/promote churn")["error"] == "dispatch_failed"


def test_a_trigger_opens_one_modal_within_three_seconds(slack: Slack, served: Served) -> None:
    triggers: list[str] = []

    @served.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any]) -> None:
        triggers.append(command["trigger_id"])
        ack()

    slack.types("alex", "/promote")
    view = slack.client.views_open(trigger_id=triggers[0], view=MODAL)["view"]
    assert view["id"] == view["root_view_id"] and view["previous_view_id"] is None and view["hash"]
    assert [modal["id"] for modal in slack.sees("alex")["modals"]] == [view["id"]]
    assert slack.sees("sam")["modals"] == []

    def refused(trigger: str) -> str:
        with pytest.raises(SlackApiError) as failure:
            slack.client.views_open(trigger_id=trigger, view=MODAL)
        return str(failure.value.response["error"])

    assert refused(triggers[0]) == "exchanged_trigger_id"
    assert refused("1.2.3") == "invalid_trigger_id"
    slack.does("alex", "closes")


def test_a_trigger_is_good_for_three_seconds() -> None:
    now = 1_700_000_000.0
    triggers = Triggers(lambda: now)
    alex = User("U0ALEX", "alex", "Alex")
    in_time, too_late = triggers.give(alex), triggers.give(alex)
    now += TRIGGER_SECONDS
    assert triggers.exchange(in_time) == alex.id
    now += 0.001
    with pytest.raises(SlackError) as failure:
        triggers.exchange(too_late)
    assert failure.value.word == "expired_trigger_id"


def test_a_modal_is_filled_in_refused_and_taken(slack: Slack, served: Served) -> None:
    heard: list[dict[str, Any]] = []

    @served.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any], client: Any) -> None:
        ack()
        client.views_open(trigger_id=command["trigger_id"], view=MODAL)

    @served.app.view("promote")
    def submitted(ack: Any, body: dict[str, Any]) -> None:
        heard.append(body)
        if body["view"]["state"]["values"]["model"]["name"]["value"] == "chrn":
            ack(response_action="errors", errors={"model": "no model is called chrn"})
        else:
            ack()

    slack.types("alex", "/promote")
    (modal,) = until(lambda: slack.sees("alex")["modals"])
    missing = slack.does("alex", "submits", values={"model": {"name": "churn"}})
    assert missing["error"] == "required" and list(missing["errors"]) == ["environment"] and not heard

    wrong = slack.does("alex", "submits", values={"model": {"name": "chrn"}, "environment": {"chosen": "dev"}})
    assert wrong["errors"] == {"model": "no model is called chrn"}
    assert slack.sees("alex")["modals"][0]["errors"] == wrong["errors"]
    assert slack.does("alex", "submits", view_id=modal["id"], values={"model": {"name": "churn"}})["ok"]
    assert slack.sees("alex")["modals"] == []
    values = heard[-1]["view"]["state"]["values"]
    assert values["model"]["name"] == {"type": "plain_text_input", "value": "churn"}
    assert values["environment"]["chosen"]["selected_option"]["value"] == "dev"
    assert heard[-1]["user"]["id"] == "U0ALEX" and heard[-1]["view"]["callback_id"] == "promote"


def test_a_modal_is_updated_and_closed(slack: Slack, served: Served) -> None:
    @served.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any], client: Any) -> None:
        ack()
        client.views_open(trigger_id=command["trigger_id"], view=MODAL)

    @served.app.view("promote")
    def submitted(ack: Any) -> None:
        ack(response_action="update", view={**MODAL, "callback_id": "sure"})

    slack.types("alex", "/promote")
    (modal,) = until(lambda: slack.sees("alex")["modals"])
    with pytest.raises(SlackApiError) as failure:
        slack.client.views_update(view_id=modal["id"], hash="0.0", view=MODAL)
    assert failure.value.response["error"] == "hash_conflict"
    changed = {**MODAL, "title": {"type": "plain_text", "text": "Promote churn"}}
    view = slack.client.views_update(view_id=modal["id"], hash=modal["hash"], view=changed)["view"]
    assert view["title"]["text"] == "Promote churn" and view["hash"] != modal["hash"]

    slack.does("alex", "submits", values={"model": {"name": "churn"}, "environment": {"chosen": "prod"}})
    (sure,) = slack.sees("alex")["modals"]
    assert (sure["callback_id"], sure["id"]) == ("sure", modal["id"])
    slack.does("alex", "closes")
    assert slack.sees("alex")["modals"] == []


def test_a_button_is_pressed_and_the_answer_replaces_the_message(slack: Slack, served: Served) -> None:
    heard: list[dict[str, Any]] = []

    @served.app.action("approve")
    def approve(ack: Any, body: dict[str, Any], respond: Any) -> None:
        heard.append(body)
        ack()
        respond(text="approved by sam", replace_original=True)

    ts = slack.client.chat_postMessage(channel=CHANNEL, text="churn 7?", blocks=BUTTONS)["ts"]
    assert slack.does("sam", "acts", channel=CHANNEL, ts=ts, action_id="approve")["ok"]
    until(lambda: slack.client.conversations_history(channel=CHANNEL, limit=1)["messages"][0].get("edited"))
    body = heard[0]
    assert body["type"] == "block_actions" and body["user"]["id"] == "U0SAM" and body["api_app_id"] == "A0PROMOBOT"
    assert body["container"] == {
        "type": "message",
        "message_ts": ts,
        "channel_id": CHANNEL,
        "is_ephemeral": False,
    }
    assert body["message"]["ts"] == ts and body["channel"] == {"id": CHANNEL, "name": "ml-releases"}
    (action,) = body["actions"]
    assert {name: action[name] for name in ("action_id", "block_id", "type", "value", "style")} == {
        "action_id": "approve",
        "block_id": "decide",
        "type": "button",
        "value": "12",
        "style": "primary",
    }
    assert body["response_url"].startswith(f"{slack.url}/actions/")
    absent = httpx.post(f"{slack.url}/people/sam/acts", json={"channel": CHANNEL, "ts": ts, "action_id": "approve"})
    assert absent.status_code == 422, "the button is gone with the message's blocks"


def test_a_button_that_one_person_sees(slack: Slack, served: Served) -> None:
    heard: list[dict[str, Any]] = []

    @served.app.action("approve")
    def approve(ack: Any, body: dict[str, Any], respond: Any) -> None:
        heard.append(body)
        ack()
        respond("done", replace_original=True)

    slack.client.chat_postEphemeral(channel=CHANNEL, user="U0ALEX", text="sure?", blocks=BUTTONS)
    shown = slack.alone("alex")[-1]
    slack.does("alex", "acts", channel=CHANNEL, ts=shown["ts"], action_id="approve")
    until(lambda: (slack.alone("alex")[-1]["ts"], slack.alone("alex")[-1]["text"]) == (shown["ts"], "done"))
    assert heard[0]["container"]["is_ephemeral"] and "message" not in heard[0]
    with pytest.raises(SlackApiError) as failure:
        slack.client.chat_postEphemeral(channel=CHANNEL, user="U0NOBODY", text="hello")
    assert failure.value.response["error"] == "user_not_in_channel"


def test_a_response_url_works_five_times(slack: Slack, served: Served) -> None:
    urls: list[str] = []

    @served.app.command("/promote")
    def promote(ack: Any, command: dict[str, Any]) -> None:
        urls.append(command["response_url"])
        ack()

    slack.types("alex", "/promote")
    hook = WebhookClient(urls[0])
    assert hook.send(text="working").status_code == 200
    assert hook.send(text="done", replace_original=True).body == "ok"
    # As in Slack (github.com/slackapi/bolt-python/issues/1268): no message came with a command, so none is replaced.
    assert [shown["text"] for shown in slack.alone("alex")][-2:] == ["working", "done"]
    refused = hook.send(blocks=[{"type": "headline"}])
    assert refused.status_code == 400 and "invalid_blocks" in refused.body
    for _ in range(3):
        assert hook.send(text="for all", response_type="in_channel").status_code == 200
    assert hook.send(text="once more").status_code == 404
    assert "used_url" in hook.send(text="once more").body
    slack.fault(method="response_url", status=429, retry_after=3)
    assert hook.send(text="once more").headers["Retry-After"] == "3"


def test_the_same_bytes_again(slack: Slack, served: Served) -> None:
    @served.app.command("/promote")
    def promote(ack: Any) -> None:
        ack()

    slack.types("alex", "/promote churn 7 dev")
    number = slack.deliveries()[-1]["number"]
    answer = httpx.post(f"{slack.url}/deliveries/{number}", json={"times": 5}, timeout=30).json()
    assert answer["statuses"] == [200] * 5
    assert len(served.requests) == 6 and len({body for _, body in served.requests}) == 1
    assert len({headers["x-slack-signature"] for headers, _ in served.requests}) == 1
