"""Our Slack, spoken to as the bot does: slack_sdk over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from slack_sdk.errors import SlackApiError

from tests.sandbox.slack.conftest import CHANNEL, TOKEN, Slack

KEY = {"event_type": "promobot_message", "event_payload": {"key": "dev/churn/7"}}


def word(failure: pytest.ExceptionInfo[SlackApiError]) -> str:
    return str(failure.value.response["error"])


def test_who_am_i(slack: Slack) -> None:
    answer = slack.client.auth_test()
    assert (answer["user"], answer["team"], answer["user_id"]) == ("promobot", "Sandbox", "U0PROMOBOT")


def test_a_wrong_token_a_missing_one_and_one_in_the_form(slack: Slack) -> None:
    with pytest.raises(SlackApiError) as failure:
        slack.client_with("xoxb-other").chat_postMessage(channel=CHANNEL, text="hello")
    assert word(failure) == "invalid_auth"
    with pytest.raises(SlackApiError) as failure:
        slack.client_with(None).auth_test()
    assert word(failure) == "not_authed"
    assert httpx.post(f"{slack.url}/api/auth.test", data={"token": TOKEN}).json()["ok"] is True


def test_a_message_is_in_the_channel_and_found_by_its_metadata(slack: Slack) -> None:
    posted = slack.client.chat_postMessage(channel=CHANNEL, text="churn 7 serves dev", metadata=KEY)
    assert posted["channel"] == CHANNEL and posted["message"]["text"] == "churn 7 serves dev"

    newest = slack.client.conversations_history(channel=CHANNEL, limit=1, include_all_metadata=True)["messages"][0]
    assert newest["ts"] == posted["ts"] and newest["metadata"] == KEY and newest["bot_id"] == "B0PROMOBOT"
    plain = slack.client.conversations_history(channel=CHANNEL, limit=1)["messages"][0]
    assert "metadata" not in plain

    exact = slack.client.conversations_history(
        channel=CHANNEL, oldest=posted["ts"], latest=posted["ts"], inclusive=True, limit=1
    )
    assert [message["ts"] for message in exact["messages"]] == [posted["ts"]]
    outside = slack.client.conversations_history(channel=CHANNEL, oldest=posted["ts"], latest=posted["ts"])
    assert outside["messages"] == []


def test_timestamps_only_rise_and_pages_follow_one_another(slack: Slack) -> None:
    posted = [slack.client.chat_postMessage(channel="#ml-releases", text=f"line {n}")["ts"] for n in range(7)]
    assert posted == sorted(set(posted))

    seen: list[str] = []
    for page in slack.client.conversations_history(channel=CHANNEL, limit=3, oldest=posted[0], inclusive=True):
        assert len(page["messages"]) <= 3
        seen += [message["ts"] for message in page["messages"]]
    assert seen == posted[::-1]


def test_a_thread(slack: Slack) -> None:
    parent = slack.client.chat_postMessage(channel=CHANNEL, text="deploying")["ts"]
    first = slack.client.chat_postMessage(channel=CHANNEL, text="loaded", thread_ts=parent, metadata=KEY)["ts"]
    # An answer to an answer is in the same thread.
    second = slack.client.chat_postMessage(channel=CHANNEL, text="serving", thread_ts=first)["ts"]

    thread = slack.client.conversations_replies(channel=CHANNEL, ts=parent, include_all_metadata=True)["messages"]
    assert [message["ts"] for message in thread] == [parent, first, second]
    assert thread[0]["reply_count"] == 2 and thread[0]["latest_reply"] == second
    assert thread[1]["metadata"] == KEY and thread[1]["thread_ts"] == parent
    in_channel = slack.client.conversations_history(channel=CHANNEL, limit=3)["messages"]
    assert not {first, second} & {message["ts"] for message in in_channel}
    pages = slack.client.conversations_replies(channel=CHANNEL, ts=parent, limit=2)
    assert pages["has_more"] and [len(page["messages"]) for page in pages] == [2, 1]


def test_an_update_replaces_what_it_says_and_keeps_its_metadata(slack: Slack) -> None:
    blocks = [{"type": "header", "text": {"type": "plain_text", "text": "Deploying"}}]
    ts = slack.client.chat_postMessage(channel=CHANNEL, text="deploying", blocks=blocks, metadata=KEY)["ts"]
    updated = slack.client.chat_update(channel=CHANNEL, ts=ts, text="deployed")
    assert updated["ts"] == ts and updated["text"] == "deployed"
    message = slack.client.conversations_history(channel=CHANNEL, limit=1, include_all_metadata=True)["messages"][0]
    assert message["text"] == "deployed" and "blocks" not in message
    assert message["edited"]["user"] == "U0PROMOBOT" and message["metadata"] == KEY


def test_permalinks_and_channels(slack: Slack) -> None:
    ts = slack.client.chat_postMessage(channel=CHANNEL, text="done")["ts"]
    link = slack.client.chat_getPermalink(channel=CHANNEL, message_ts=ts)["permalink"]
    assert link.endswith(f"/archives/{CHANNEL}/p{ts.replace('.', '')}")
    assert slack.client.conversations_info(channel=CHANNEL)["channel"]["is_member"] is True


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("chat.postMessage", {"channel": "C0NOWHERE", "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": "general", "text": "x"}, "not_in_channel"),
        ("chat.postMessage", {"channel": CHANNEL}, "no_text"),
        ("chat.postMessage", {"channel": CHANNEL, "text": "x" * 40_001}, "msg_too_long"),
        ("chat.postMessage", {"channel": CHANNEL, "text": "x", "thread_ts": "1.1"}, "invalid_thread_ts"),
        ("chat.postMessage", {"channel": CHANNEL, "text": "x", "thread_ts": "1500000000.000001"}, "thread_not_found"),
        ("chat.postMessage", {"channel": CHANNEL, "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ("chat.postMessage", {"channel": CHANNEL, "blocks": [{"type": "headline"}]}, "invalid_blocks"),
        ("chat.postMessage", {"channel": CHANNEL, "blocks": "[{"}, "invalid_blocks_format"),
        ("chat.postMessage", {"channel": CHANNEL, "text": "x", "metadata": {"key": 1}}, "invalid_metadata_format"),
        ("chat.update", {"channel": CHANNEL, "ts": "1500000000.000001", "text": "x"}, "message_not_found"),
        ("conversations.replies", {"channel": CHANNEL, "ts": "1500000000.000001"}, "thread_not_found"),
        ("conversations.history", {"channel": CHANNEL, "cursor": "bm9uc2Vuc2U="}, "invalid_cursor"),
        ("conversations.history", {"channel": CHANNEL, "limit": 1000}, "invalid_limit"),
        ("chat.shout", {"channel": CHANNEL}, "unknown_method"),
    ],
)
def test_refusals_in_slacks_words(slack: Slack, method: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SlackApiError) as failure:
        slack.client.api_call(method, json=arguments)
    assert word(failure) == said
    assert failure.value.response.status_code == 200


def test_faults_end_after_their_times(slack: Slack) -> None:
    slack.fault(method="chat.postMessage", status=429, times=2, retry_after=7)
    for _ in range(2):
        with pytest.raises(SlackApiError) as failure:
            slack.client.chat_postMessage(channel=CHANNEL, text="faulty")
        assert word(failure) == "ratelimited" and failure.value.response.status_code == 429
        assert failure.value.response.headers["Retry-After"] == "7"
    slack.client.auth_test()
    slack.client.chat_postMessage(channel=CHANNEL, text="well again")


def test_an_answer_that_is_lost_after_the_message_was_taken(slack: Slack) -> None:
    slack.fault(method="chat.postMessage", status=500, after=True)
    with pytest.raises(SlackApiError) as failure:
        slack.client.chat_postMessage(channel=CHANNEL, text="was it sent?")
    assert failure.value.response.status_code == 500
    newest = slack.client.conversations_history(channel=CHANNEL, limit=1)["messages"][0]
    assert newest["text"] == "was it sent?"


def test_a_fault_that_is_none_is_refused(slack: Slack) -> None:
    assert httpx.post(f"{slack.url}/faults", json={"method": "x", "status": 200}).status_code == 422


def test_messages_survive_a_restart(slack: Slack) -> None:
    ts = slack.client.chat_postMessage(channel=CHANNEL, text="keep me", metadata=KEY)["ts"]
    before = httpx.get(f"{slack.url}/messages.json").json()
    slack.processes.stop()
    slack.processes.wait_until_ready(slack.processes.start(slack.part))
    assert httpx.get(f"{slack.url}/messages.json").json() == before
    assert slack.client.chat_postMessage(channel=CHANNEL, text="later")["ts"] > ts
