"""Only what Slack has signed, just now, reaches Bolt; whatever else comes is 401, and nothing is 500."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from slack_sdk.signature import Clock

from bot.errors import Unavailable
from bot.slack import app as bolt
from bot.slack.guard import MAX_BODY_BYTES, Guard
from bot.slack.inbox import Asked, Inbox
from bot.slack.service import bolt_endpoint

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = 1_790_000_000
FORM = {
    "command": "/rollback",
    "text": "churn dev",
    "user_id": "U0ALEX",
    "user_name": "alex",
    "team_id": "T0SANDBOX",
    "channel_id": "C0RELEASES",
    "response_url": "https://hooks.slack.com/commands/T0/1/x",
    "trigger_id": "13345224609.738474920.8088930838d88f008e0",
}
Headers = list[tuple[bytes, bytes]]


def signature(body: bytes, timestamp: bytes, secret: str = SECRET) -> bytes:
    return b"v0=" + hmac.new(secret.encode(), b"v0:" + timestamp + b":" + body, hashlib.sha256).hexdigest().encode()


def signed(body: bytes, timestamp: bytes = b"%d" % NOW) -> Headers:
    return [
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"x-slack-request-timestamp", timestamp),
        (b"x-slack-signature", signature(body, timestamp)),
    ]


class Slack:
    """The whole of HTTP mode but the socket: guard, Bolt, listeners, inbox."""

    def __init__(self, directory: Path, *, secret: str = SECRET) -> None:
        self.inbox = Inbox(directory)
        self.inbox.begin()
        self.taken: list[Asked] = []
        app = bolt.create(self._put, token="xoxb-1", signing_secret=secret)
        self.app = Guard(bolt_endpoint(app), secret=SECRET, clock=lambda: self.now)
        self.now: float = NOW

    def _put(self, asked: Asked) -> None:
        if self.inbox.put(asked):
            self.taken.append(asked)

    async def ask(self, body: bytes, headers: Headers, *, method: str = "POST", chunks: int = 1) -> tuple[int, bytes]:
        size = max(1, -(-len(body) // chunks))
        parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": part, "more_body": part is not parts[-1]} for part in parts
        ]
        said: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "http", "method": method, "path": "/slack/events", "query_string": b"", "headers": headers}
        await self.app(scope, receive, send)
        return said[0]["status"], b"".join(message.get("body", b"") for message in said[1:])


@pytest.fixture
def slack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slack:
    # Bolt has a check of its own behind ours, by the clock of this machine.
    monkeypatch.setattr(Clock, "now", lambda _: NOW)
    return Slack(tmp_path)


def test_what_slack_signed_is_taken_and_acknowledged(slack: Slack) -> None:
    body = urlencode(FORM).encode()
    status, said = asyncio.run(slack.ask(body, signed(body), chunks=3))
    assert status == 200 and b"On it" in said
    (asked,) = slack.taken
    assert (asked.kind, asked.name, asked.text) == ("command", "rollback", "churn dev")
    assert (asked.user, asked.channel) == ("U0ALEX", "C0RELEASES")


def mutations(count: int) -> Iterable[tuple[str, bytes, Headers, str]]:
    """Yield requests of which none is as Slack signed it: kind, body, headers, method."""
    chance = random.Random(4711)  # noqa: S311 - the same each time
    body = urlencode(FORM).encode()
    right, now = signature(body, b"%d" % NOW), b"%d" % NOW

    def headers(timestamp: bytes | None = now, signed_as: bytes | None = right) -> Headers:
        found: Headers = [(b"content-type", b"application/x-www-form-urlencoded")]
        if timestamp is not None:
            found.append((b"x-slack-request-timestamp", timestamp))
        if signed_as is not None:
            found.append((b"X-Slack-Signature".lower(), signed_as))
        return found

    def noise(length: int) -> bytes:
        return bytes(chance.randrange(256) for _ in range(length))

    def flipped(text: bytes) -> bytes:
        at = chance.randrange(len(text))
        return text[:at] + bytes([text[at] ^ (1 << chance.randrange(8))]) + text[at + 1 :]

    def cut(text: bytes) -> bytes:
        return text[: chance.randrange(len(text))]

    odd = [b"", b"0", b"-1", b"1e9", b" ", b"\x00", b"nan", b"inf", b"0x10", "١٢٣".encode(), b"9" * 400, now + b".5"]
    odd += [
        b"+" + now,
        now + b" ",
        b" " + now,
        b"%d" % (NOW * 1000),
        noise(8),
        b"-" + now,
        now + b"\n",
        b"1_790_000_000",
    ]
    for number in range(count):
        match number % 14:
            case 0:
                yield "a bit of the signature", body, headers(signed_as=flipped(right)), "POST"
            case 1:
                yield "a bit of the body", flipped(body), headers(), "POST"
            case 2:
                yield "a shorter signature", body, headers(signed_as=cut(right)), "POST"
            case 3:
                yield "noise as signature", body, headers(signed_as=noise(chance.randrange(90))), "POST"
            case 4:
                stamp = chance.choice(odd)
                yield "an odd time, signed", body, headers(stamp, signature(body, stamp)), "POST"
            case 5:
                far = chance.choice([-1, 1]) * chance.randrange(301, 10**8)
                stamp = b"%d" % (NOW + far)
                yield "another time, signed", body, headers(stamp, signature(body, stamp)), "POST"
            case 6:
                stamp = b"%d" % (NOW + chance.choice([-1, 1]) * chance.randrange(1, 300))
                yield "another time, not signed", body, headers(stamp), "POST"
            case 7:
                other = signature(body, now, f"secret {number}")
                yield "another secret", body, headers(signed_as=other), "POST"
            case 8:
                lacking = chance.choice([headers(None), headers(signed_as=None), headers(None, None)])
                yield "a header is missing", body, lacking, "POST"
            case 9:
                twice = [*headers(), chance.choice(headers()[1:])]
                yield "a header comes twice", body, twice, "POST"
            case 10:
                yield "cut off", cut(body), headers(), "POST"
            case 11:
                longer = body + chance.choice([b"&", b"&x=1", b"\x00", noise(5), b"\n"])
                yield "something added", longer, headers(), "POST"
            case 12:
                method = chance.choice(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "post"])
                yield "another method", body, headers(), method
            case _:
                scheme = chance.choice([b"v1=", b"V0=", b"v0:", b"", b"v0=v0=", b"sha256=", b"v0= "])
                yield "another scheme", body, headers(signed_as=scheme + right[3:]), "POST"


def test_of_ten_thousand_mutations_none_gets_through(slack: Slack) -> None:
    answers: Counter[tuple[str, int]] = Counter()

    async def ask_all() -> None:
        for kind, body, headers, method in mutations(10_000):
            status, said = await slack.ask(body, headers, method=method)
            answers[(kind, status)] += 1
            assert said == b"not signed by Slack"

    asyncio.run(ask_all())
    assert {status for _, status in answers} == {401}, answers
    assert sum(answers.values()) == 10_000 and len(answers) == 14
    assert slack.taken == [] and slack.inbox.pending() == []


def test_the_right_one_among_them_does(slack: Slack) -> None:
    # The test above could pass with a guard that lets nobody in.
    body = urlencode(FORM).encode()
    for stamp in (NOW, NOW - 300, NOW + 300):
        status, _ = asyncio.run(slack.ask(body, signed(body, b"%d" % stamp)))
        assert status == 200
    assert len(slack.taken) == 1


def test_twenty_five_copies_are_taken_once(slack: Slack) -> None:
    body = urlencode(FORM).encode()

    async def ask_all() -> list[int]:
        asked = [slack.ask(body, signed(body, b"%d" % (NOW + n % 3))) for n in range(25)]
        return [status for status, _ in await asyncio.gather(*asked)]

    assert asyncio.run(ask_all()) == [200] * 25
    assert len(slack.taken) == 1 and len(slack.inbox.pending()) == 1


def test_a_copy_after_it_is_done_changes_nothing(slack: Slack) -> None:
    body = urlencode(FORM).encode()
    asyncio.run(slack.ask(body, signed(body)))
    (entry,) = slack.inbox.pending()
    slack.inbox.finish(entry)
    assert asyncio.run(slack.ask(body, signed(body)))[0] == 200
    assert slack.inbox.pending() == [] and len(slack.taken) == 1
    slack.now += 301
    assert asyncio.run(slack.ask(body, signed(body)))[0] == 401, "a replay"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"payload=",
        b"payload=%7B",
        b"payload=[]",
        b"payload=" + b"[" * 100_000,
        b"{",
        b"{}",
        b"null",
        b"",
        b"&" * 200,
        b"command=/rollback",
        b"command=/nothing&text=x",
        b"payload=%7B%22type%22%3A%22block_actions%22%7D",
        b"payload=" + json.dumps({"type": "view_submission", "view": {"callback_id": "promote"}}).encode(),
        b"payload=" + json.dumps({"type": "view_submission", "view": 7}).encode(),
        b"payload=" + json.dumps({"type": "block_actions", "actions": 7, "user": None}).encode(),
        b"payload=" + json.dumps({"type": "block_actions", "actions": [{"action_id": 1}], "user": []}).encode(),
        b"ssl_check=1&token=x",
        b"type=url_verification",
    ],
    ids=lambda body: body[:30].decode("latin-1"),
)
def test_what_is_signed_and_makes_no_sense_is_no_error_of_ours(slack: Slack, body: bytes) -> None:
    status, _ = asyncio.run(slack.ask(body, signed(body)))
    assert status in (200, 400, 404)


def test_a_body_without_end_is_not_read_to_the_end(slack: Slack) -> None:
    body = b"x" * (MAX_BODY_BYTES + 1)
    assert asyncio.run(slack.ask(body, signed(body), chunks=20))[0] == 401


def test_an_empty_secret_lets_nobody_in() -> None:
    with pytest.raises(ValueError, match="empty"):
        Guard(bolt_endpoint(None), secret="")


def test_what_cannot_be_kept_is_not_acknowledged_as_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "now", lambda _: NOW)
    slack = Slack(tmp_path)

    def put(_: Asked) -> bool:
        raise Unavailable("no space left on device", system="record store")

    monkeypatch.setattr(slack.inbox, "put", put)
    body = urlencode(FORM).encode()
    status, said = asyncio.run(slack.ask(body, signed(body)))
    assert status == 200 and b"could not be taken" in said


def test_bolts_own_check_stands_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "now", lambda _: NOW)
    slack = Slack(tmp_path, secret="another")
    body = urlencode(FORM).encode()
    assert asyncio.run(slack.ask(body, signed(body)))[0] == 401
    assert slack.taken == []
