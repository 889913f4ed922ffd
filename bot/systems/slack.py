"""Slack's Web API: a message that is sent once, and seen in the channel before it counts as delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from bot.domain.message import Message
from bot.errors import Rejected, Unavailable
from bot.retry import patient, patient_when_told, seconds_asked_for
from bot.settings import Slack

EVENT_TYPE = "promobot_message"
CLOCK_SKEW_SECONDS = 300
"""By how much Slack's clock may be behind ours."""
_PAGE = 200
_TRY_AGAIN = {
    "ratelimited",
    "rate_limited",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
}


class SlackChannel:
    """One channel. Errors are Unavailable or Rejected."""

    def __init__(self, settings: Slack, *, token: str, request_seconds: float) -> None:
        self._channel = settings.channel
        self._system = f"Slack ({settings.channel})"
        self.patience_seconds = request_seconds
        self._client = WebClient(
            token=token, base_url=settings.api_url + "/", timeout=max(1, round(request_seconds)), retry_handlers=[]
        )

    @patient
    def identity(self) -> str:
        """Return the bot user's name in the workspace."""
        with self._errors("ask who I am"):
            answer = self._client.auth_test()
            return f"{answer['user']} in {answer['team']}"

    def deliver(self, message: Message, *, may_still: Callable[[], object] = lambda: None) -> str:
        """Post the message unless it is in the channel already, and see it there; return its timestamp.

        ``may_still`` is called right before it is posted, and raises where that is for somebody else to do by now.
        """
        found = self.find(message.key, since=message.since)
        if found is not None:
            return found
        may_still()
        timestamp = self._post(message)
        if not self._is_there(timestamp):
            raise Unavailable("the message was accepted but is not in the channel", system=self._system)
        return timestamp

    @patient_when_told
    def _post(self, message: Message) -> str:
        with self._errors("post the message"):
            answer = self._client.chat_postMessage(
                channel=self._channel,
                text=message.text,
                blocks=list(message.blocks) or None,
                metadata={"event_type": EVENT_TYPE, "event_payload": {"key": message.key}},
                unfurl_links=False,
            )
            return str(answer["ts"])

    @patient
    def _is_there(self, timestamp: str) -> bool:
        with self._errors("read the message back"):
            seen = self._client.conversations_history(
                channel=self._channel, oldest=timestamp, latest=timestamp, inclusive=True, limit=1
            )
            return timestamp in {entry.get("ts") for entry in seen["messages"]}

    @patient
    def find(self, key: str, *, since: float = 0) -> str | None:
        """Return the timestamp of the message with this key, or None where none was posted after ``since``."""
        cursor: str | None = None
        oldest = f"{max(since - CLOCK_SKEW_SECONDS, 0):.6f}"
        with self._errors("read the channel"):
            while True:
                seen = self._client.conversations_history(
                    channel=self._channel, limit=_PAGE, oldest=oldest, cursor=cursor, include_all_metadata=True
                )
                for entry in seen["messages"]:
                    metadata = entry.get("metadata") or {}
                    if (
                        metadata.get("event_type") == EVENT_TYPE
                        and metadata.get("event_payload", {}).get("key") == key
                    ):
                        return str(entry["ts"])
                cursor = (seen.get("response_metadata") or {}).get("next_cursor")
                if not (cursor and seen.get("has_more")):
                    return None

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except SlackApiError as error:
            said = str(error.response.get("error", "")) if isinstance(error.response.data, dict) else ""
            status = error.response.status_code
            message = f"could not {doing}: {said or f'HTTP {status}'}"
            if status == 429 or status >= 500 or said in _TRY_AGAIN:
                seconds = seconds_asked_for(error.response.headers.get("Retry-After"))
                raise Unavailable(message, system=self._system, retry_after_seconds=seconds) from error
            raise Rejected(message, system=self._system) from error
        except (SlackClientError, OSError, HTTPException) as error:
            raise Unavailable(f"could not {doing}: {error}", system=self._system) from error
        except (TypeError, AttributeError) as error:
            raise Rejected(f"could not {doing}: not the answer of Slack: {error}", system=self._system) from error
