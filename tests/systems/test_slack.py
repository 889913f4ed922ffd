"""The Slack adapter: against the sandbox's workspace, and against answers that spoil delivery."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.domain.message import Message
from bot.errors import Rejected, Unavailable
from bot.sandbox.processes import Part, Ports
from bot.settings import Slack
from bot.systems.slack import CHART, CLOCK_SKEW_SECONDS, SlackChannel
from tests.servers import running
from tests.stand_ins.server import Seen, StandIn, answer
from tests.systems.conftest import Clock

TOKEN = "xoxb-canary4711"
CHANNEL = "C0RELEASES"
BLOCKS = ({"type": "section", "text": {"type": "mrkdwn", "text": "*churn* 7 serves dev"}},)


def connected(url: str, *, token: str = TOKEN, channel: str = CHANNEL, request_seconds: float = 5) -> SlackChannel:
    return SlackChannel(Slack(channel=channel, api_url=f"{url}/api"), token=token, request_seconds=request_seconds)


@contextmanager
def workspace(directory: Path, *options: str) -> Iterator[str]:
    with Ports() as ports:
        port = ports.take()
        command = (sys.executable, "-m", "bot.sandbox.slack", "--port", str(port), "--token", TOKEN, *options)
        with running(directory, Part("slack", (*command, "--dir", str(directory / "data")), port)):
            yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running workspace."""
    with workspace(tmp_path_factory.mktemp("slack")) as address:
        yield address


CHART_BLOCK = {
    "type": CHART,
    "title": "churn 7",
    "chart": {
        "type": "bar",
        "series": [{"name": "proposed", "data": [{"label": "auc", "value": 0.9}]}],
        "axis_config": {"categories": ["auc"]},
    },
}


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a workspace to which charts have not come yet."""
    with workspace(tmp_path_factory.mktemp("older-slack"), "--without-block", CHART) as address:
        yield address


@pytest.fixture
def slack(url: str) -> Iterator[SlackChannel]:
    yield connected(url)
    httpx.delete(f"{url}/faults").raise_for_status()


@pytest.fixture
def broken(stand_in: StandIn) -> SlackChannel:
    return connected(stand_in.url, request_seconds=1)


def spoil(url: str, **fault: Any) -> None:
    httpx.post(f"{url}/faults", json=fault).raise_for_status()


def texts(url: str) -> list[str]:
    document = json.dumps(httpx.get(f"{url}/messages.json").json())
    return [part.split('"')[0] for part in document.split('"text": "')[1:]]


def times(url: str, text: str) -> int:
    """How often a message of this very text is in the workspace."""
    return texts(url).count(text)


def test_who_am_i(slack: SlackChannel) -> None:
    assert slack.identity() == "promobot in Sandbox"


def test_a_message_is_delivered_once_by_its_key(url: str, slack: SlackChannel) -> None:
    message = Message("dev-1-churn", "one: churn 7 serves dev", BLOCKS)
    assert slack.find(message.key) is None
    timestamp = slack.deliver(message)
    assert slack.find(message.key) == timestamp
    assert slack.deliver(message) == timestamp
    assert connected(url).deliver(Message(message.key, "one: in other words")) == timestamp
    assert times(url, message.text) == 1 and times(url, "one: in other words") == 0
    assert slack.deliver(Message("dev-2-churn", message.text)) != timestamp, "another key is another message"
    assert times(url, message.text) == 2


def test_a_key_is_compared_whole_and_found_behind_other_messages(url: str, slack: SlackChannel) -> None:
    first = slack.deliver(Message("dev-3", "three"))
    for number in range(30):
        slack.deliver(Message(f"dev-3-{number}", f"chatter {number}"))
    assert slack.find("dev-3") == first
    assert slack.find("dev-3-3") != first
    assert slack.find("dev") is None


@pytest.mark.slow
def test_a_key_is_found_however_much_was_said_since(url: str, slack: SlackChannel) -> None:
    began = time.time()
    message = Message("dev-4/succeeded", "four", since=began)
    first = slack.deliver(message)
    for number in range(210):
        chatter = {"channel": CHANNEL, "text": f"and {number}"}
        httpx.post(f"{url}/api/chat.postMessage", json=chatter, headers={"Authorization": f"Bearer {TOKEN}"})
    assert slack.deliver(message) == first and times(url, "four") == 1
    assert slack.find(message.key, since=float(first) + 2 * CLOCK_SKEW_SECONDS) is None, "it looks no further back"


def test_people_who_write_the_same_words_are_not_taken_for_the_bot(url: str, slack: SlackChannel) -> None:
    payload = {
        "channel": CHANNEL,
        "text": "five",
        "metadata": {"event_type": "other", "event_payload": {"key": "dev-5"}},
    }
    httpx.post(f"{url}/api/chat.postMessage", json=payload, headers={"Authorization": f"Bearer {TOKEN}"})
    assert slack.find("dev-5") is None


def test_an_answer_that_was_lost_does_not_make_a_second_message(url: str, slack: SlackChannel) -> None:
    message = Message("dev-6", "six")
    spoil(url, method="chat.postMessage", status=500, after=True)
    with pytest.raises(Unavailable, match="post the message"):
        slack.deliver(message)
    assert times(url, "six") == 1
    timestamp = slack.deliver(message)
    assert times(url, "six") == 1 and slack.find("dev-6") == timestamp


def test_a_client_that_gave_up_waiting_does_not_send_a_second_message(
    url: str, slack: SlackChannel, stand_in: StandIn
) -> None:
    """The message is taken, but the line hangs before the answer comes back."""

    def pass_on(seen: Seen) -> bytes | None:
        headers = {name: seen.headers[name] for name in ("authorization", "content-type")}
        got = httpx.request(seen.method, f"{url}{seen.path}", content=seen.body, headers=headers)
        return None if seen.path == "/api/chat.postMessage" else answer(got.status_code, got.json())

    stand_in.behaviour = pass_on
    message = Message("dev-7", "seven")
    slow = connected(stand_in.url, request_seconds=1)
    with pytest.raises(Unavailable, match="could not post the message"):
        slow.deliver(message)
    assert times(url, "seven") == 1
    assert slow.deliver(message) == slack.find("dev-7")
    assert times(url, "seven") == 1


def test_who_cannot_look_whether_it_was_sent_does_not_send(url: str, slack: SlackChannel) -> None:
    message = Message("dev-8", "eight")
    spoil(url, method="conversations.history", status=503, times=3)
    with pytest.raises(Unavailable, match="read the channel"):
        slack.deliver(message)
    assert times(url, "eight") == 0
    assert slack.deliver(message) == slack.find("dev-8")


def test_a_message_that_was_accepted_but_is_not_there_is_unavailable(stand_in: StandIn, broken: SlackChannel) -> None:
    def behave(seen: Seen) -> bytes:
        if seen.path.endswith("chat.postMessage"):
            return answer(200, {"ok": True, "channel": CHANNEL, "ts": "1700000000.000001", "message": {}})
        return answer(200, {"ok": True, "messages": [{"ts": "1600000000.000001", "text": "older"}]})

    stand_in.behaviour = behave
    with pytest.raises(Unavailable, match="accepted but is not in the channel"):
        broken.deliver(Message("dev-9", "nine"))


def test_a_rate_limit_says_how_long(url: str, slack: SlackChannel, clock: Clock) -> None:
    spoil(url, method="chat.postMessage", status=429, retry_after=17)
    with pytest.raises(
        Unavailable, match=r"Slack \(C0RELEASES\): could not post the message: ratelimited"
    ) as failure:
        slack.deliver(Message("dev-10", "ten"))
    assert failure.value.retry_after_seconds == 17
    assert clock.pauses == [] and times(url, "ten") == 0
    slack.deliver(Message("dev-10", "ten"))
    assert times(url, "ten") == 1


def test_a_short_rest_that_it_asks_for_is_waited_for_and_the_message_is_there_once(
    url: str, slack: SlackChannel
) -> None:
    spoil(url, method="chat.postMessage", status=429, retry_after=1)
    assert slack.deliver(Message("dev-21", "twenty-one")) == slack.find("dev-21")
    assert times(url, "twenty-one") == 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_fault_is_unavailable(url: str, slack: SlackChannel, status: int) -> None:
    spoil(url, method="*", status=status, times=3)
    with pytest.raises(Unavailable):
        slack.identity()


@pytest.mark.parametrize("word", ["ratelimited", "internal_error", "fatal_error", "service_unavailable"])
def test_a_fault_that_is_said_with_200_is_unavailable(stand_in: StandIn, broken: SlackChannel, word: str) -> None:
    stand_in.answers(200, {"ok": False, "error": word})
    with pytest.raises(Unavailable, match=word):
        broken.identity()


def test_a_wrong_token_and_a_wrong_channel_are_rejected_and_no_token_is_shown(url: str) -> None:
    for channel, word in (
        (connected(url, token="xoxb-other4711"), "invalid_auth"),
        (connected(url, channel="C0NOWHERE"), "channel_not_found"),
    ):
        with pytest.raises(Rejected, match=word) as failure:
            channel.deliver(Message("dev-11", "eleven"))
        shown = str(failure.value) + repr(failure.value) + str(failure.value.__cause__)
        assert "4711" not in shown
    assert times(url, "eleven") == 0


def test_what_slack_refuses_is_rejected(slack: SlackChannel) -> None:
    with pytest.raises(Rejected, match="msg_too_long"):
        slack.deliver(Message("dev-12", "x" * 40_001))
    with pytest.raises(Rejected, match="invalid_blocks"):
        slack.deliver(Message("dev-12", "x", ({"type": "headline"},)))


@pytest.mark.slow
def test_a_server_that_is_down_or_hangs_is_unavailable_in_time(
    closed_port: int, stand_in: StandIn, broken: SlackChannel
) -> None:
    for channel in (connected(f"http://127.0.0.1:{closed_port}"), broken):
        with pytest.raises(Unavailable, match="could not read the channel") as failure:
            channel.deliver(Message("dev-13", "thirteen"))
        assert TOKEN not in str(failure.value) + repr(failure.value.__cause__)
    assert not stand_in.outwaited


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"no HTTP at all\r\n\r\n",
        answer(200, b'{"ok": true', length=500),
        answer(503, b"<html>Down for maintenance</html>"),
        answer(502),
    ],
)
def test_an_answer_that_breaks_off_or_comes_from_something_in_between_is_unavailable(
    stand_in: StandIn, broken: SlackChannel, sent: bytes
) -> None:
    stand_in.behaviour = lambda _: sent
    for act in (broken.identity, lambda: broken.find("dev-14")):
        with pytest.raises(Unavailable):
            act()


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Log in to the network</html>",
        b"",
        b"[]",
        b"null",
        b'{"ok": true}',
        b'{"ok": true, "messages": [1]}',
        b'{"ok": true, "messages": [{"metadata": {"event_type": "promobot_message", "event_payload": []}}]}',
    ],
)
def test_what_is_no_answer_of_slack_is_an_error_of_ours(stand_in: StandIn, broken: SlackChannel, body: bytes) -> None:
    stand_in.answers(200, body)
    with pytest.raises((Unavailable, Rejected)):
        broken.deliver(Message("dev-15", "fifteen"))


def kinds(url: str, text: str) -> list[str]:
    """The blocks of the one message of this text."""
    (found,) = [
        message
        for channel in httpx.get(f"{url}/messages.json").json()["channels"]
        for message in channel["messages"]
        if message["text"] == text
    ]
    return [block["type"] for block in found["blocks"]]


def test_a_chart_is_shown_where_the_workspace_takes_it_and_left_out_where_not(url: str, older: str) -> None:
    for address, taken in ((url, [CHART]), (older, [])):
        slack = connected(address)
        first = Message("dev/#1", "one", (*BLOCKS, CHART_BLOCK), facts={"number": "1"})
        slack.put(first, posted=None)
        assert kinds(address, "one") == ["section", *taken]
        (posted,) = [one for one in slack.posted(since=0) if one.key == "dev/#1"]
        assert slack.put(first, posted=posted) == posted.timestamp
        assert posted.facts["fingerprint"] == first.fingerprint, "it counts as said, and is not said again"
        changed = Message("dev/#1", "one, changed", (*BLOCKS, CHART_BLOCK), facts={"number": "1"})
        assert slack.put(changed, posted=posted) == posted.timestamp
        assert kinds(address, "one, changed") == ["section", *taken]
        slack.deliver(Message("dev-20", "told", (*BLOCKS, CHART_BLOCK)))
        assert kinds(address, "told") == ["section", *taken]


def test_other_blocks_that_are_refused_stay_refused(older: str) -> None:
    slack = connected(older)
    for blocks in (({"type": "headline"},), ({"type": "headline"}, CHART_BLOCK)):
        with pytest.raises(Rejected, match="invalid_blocks"):
            slack.deliver(Message("dev-22", "never", blocks))
    assert times(older, "never") == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_token_follows_no_redirect(status: int) -> None:
    with StandIn() as slack, StandIn() as other:
        other.answers(200, {"ok": True, "user": "u", "team": "t"})
        slack.answers(status, headers={"Location": f"{other.url}/api/auth.test"})
        with contextlib.suppress(Rejected, Unavailable):
            connected(slack.url).identity()
        assert [seen.headers["authorization"] for seen in slack.seen] == [f"Bearer {TOKEN}"]
        assert other.seen == []
