"""Slack's Web API: a message that is sent once, and seen in the channel before it counts as delivered.

Beside it what the app for slash commands asks: who is in a user group, forms, and answers to one person.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from typing import Any, cast

import httpx
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import SlackResponse
from slack_sdk.webhook import WebhookClient

from bot import trust, web
from bot.domain.message import Message
from bot.domain.promotion import is_about
from bot.errors import Rejected, Unavailable
from bot.redaction import excerpt, redact, redact_all
from bot.retry import read_retry_after, retry, retry_when_told
from bot.settings import Slack
from bot.transport_errors import reason

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
CHART = "data_visualization"
"""Slack's block for charts, which not every workspace takes: what it shows must stand beside it as text."""
THREAD_DAYS = 60
"""As far back as the message that began a thread is looked for."""


_ARCHIVED = "the channel is archived: nobody can post there"
_SCOPE_STEP = "Add {} in the app's settings under OAuth & Permissions, and install the app again."
_STEPS = {
    "not_in_channel": "Type `/invite @promobot` in the channel, with the bot's own name.",
    "channel_not_found": "Check slack.channel. A private channel does not exist for a bot that is not invited there.",
    "is_archived": "Unarchive the channel, or name another one in slack.channel.",
    "invalid_auth": "The variable that slack.token_env names must hold the bot's token, xoxb-….",
    "account_inactive": "The app was removed from the workspace: install it again.",
    "token_revoked": "Install the app again, and set the new token.",
}
"""What to do about an error, by Slack's word for it."""


@dataclass(frozen=True)
class Seat:
    """The bot's place in the channel: who it is, and whether Slack would not say that the channel is archived."""

    who: str
    may_be_archived: bool


class _ScopeMissing(Rejected):
    """The app was installed without a scope."""


class _BlocksRefused(Rejected):
    """Slack takes one of the blocks not, or not yet, or not on this plan."""


@dataclass(frozen=True)
class Posted:
    """A message of the bot's own in the channel, by what goes along with it unseen."""

    timestamp: str
    facts: Mapping[str, str]

    @property
    def key(self) -> str:
        """The subject of the message."""
        return self.facts.get("key", "")


class Client(WebClient):
    """Slack's client, over the same HTTP as every client of the bot: its authorities, its proxies, no redirects."""

    def __init__(self, *, base_url: str, token: str | None = None, timeout: int = 30) -> None:
        super().__init__(
            token=token, base_url=base_url, timeout=timeout, ssl=_context_for(base_url), retry_handlers=[]
        )
        # Its own default is the first proxy of the environment, also for hosts in NO_PROXY.
        self.proxy = web.proxy(base_url)
        self._http = web.client(
            base_url,
            # One request for each connection: Slack may have hung up on an idle one, and a message is not sent twice.
            headers={**self.headers, "Connection": "close"},
            timeout=httpx.Timeout(timeout),
        )

    def api_call(
        self,
        api_method: str,
        *,
        http_verb: str = "POST",
        files: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        json: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        auth: dict[str, Any] | None = None,
    ) -> SlackResponse:
        """Ask Slack, and return its answer. Every method of the Web API takes POST, so ``http_verb`` changes nothing.

        Raises SlackApiError where Slack does not do it, and httpx.HTTPError where it is not reached.
        """
        if files is not None or auth is not None:
            raise ValueError("this client sends no files, and asks for no tokens")
        form = {name: value for name, value in {**(params or {}), **(data or {})}.items() if value is not None}
        body = dict(json or {})
        token = body.pop("token", None) or form.pop("token", None) or self.token
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.base_url}{api_method.lstrip('/')}"
        if json is None:
            fields = {name: int(value) if isinstance(value, bool) else value for name, value in form.items()}
            answer = self._http.post(url, data=fields, headers={**(headers or {}), **sent})
        else:
            answer = self._http.post(url, json=body, params=form, headers={**(headers or {}), **sent})
        found = SlackResponse(
            client=self,
            http_verb=http_verb,
            api_url=url,
            req_args={"params": form, "json": body},
            data=_document(answer),
            headers=cast(dict[str, Any], answer.headers),  # a mapping that knows a header in any spelling
            status_code=answer.status_code,
        )
        found.validate()  # type: ignore[no-untyped-call]
        return found


def _document(answer: httpx.Response) -> dict[str, Any]:
    """Return what Slack answers; for anything else than a JSON object, an error that quotes its beginning."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    said = f": it answers {excerpt(' '.join(answer.text.split()), 100)}" if answer.text.strip() else ""
    return {"ok": False, "error": f"HTTP {answer.status_code}{said}"}


class SlackChannel:
    """One channel. Errors are Unavailable or Rejected."""

    def __init__(self, settings: Slack, *, token: str, request_seconds: float) -> None:
        self._channel = settings.channel
        self._system = f"Slack ({settings.channel})"
        self.retry_seconds = request_seconds
        self._client = Client(token=token, base_url=settings.api_url + "/", timeout=max(1, round(request_seconds)))

    @retry
    def identity(self) -> str:
        """Return the bot user's name in the workspace."""
        with self._errors("ask who I am"):
            answer = self._client.auth_test()
            return f"{answer['user']} in {answer['team']}"

    @retry
    def try_channel(self, *, groups: Collection[str] = ()) -> Seat:
        """Read the channel and the user groups as a deployment and the app do, and post nothing.

        Raises Rejected where the bot is not in the channel, where it is archived, or where a scope is missing.
        """
        with self._errors("ask who I am"):
            who = self._client.auth_test()
            headers = {name.lower(): value for name, value in who.headers.items()}
            scopes = frozenset(filter(None, (s.strip() for s in headers.get("x-oauth-scopes", "").split(","))))
            named = f"{who['user']} in {who['team']}"
        if scopes and "chat:write" not in scopes:
            raise Rejected(
                f"{named} lacks the scope chat:write", system=self._system, next_step=_SCOPE_STEP.format("chat:write")
            )
        with self._errors("read the channel"):
            self._client.conversations_history(channel=self._channel, limit=1)
        for group in groups:
            self.members(group)
        try:
            with self._errors("look at the channel"):
                channel = self._client.conversations_info(channel=self._channel)["channel"]
                archived, member = bool(channel.get("is_archived")), channel.get("is_member") is not False
        except _ScopeMissing:
            return Seat(named, may_be_archived=True)
        if archived:
            raise Rejected(_ARCHIVED, system=self._system, next_step=_STEPS["is_archived"])
        if not member:
            raise Rejected("the bot is not in the channel", system=self._system, next_step=_STEPS["not_in_channel"])
        return Seat(named, may_be_archived=False)

    def deliver(self, message: Message, *, may_still: Callable[[], object] = lambda: None) -> str:
        """Post the message unless it is there already, and see it there; return its timestamp.

        ``may_still`` is called right before it is posted, and raises if another process has to post it now.
        """
        thread = self._thread_of(message)
        # It may have been posted before its thread was begun, or without being found to belong there.
        found = self.find(message.key, since=message.since) or (thread and self._reply(thread, message.key))
        if found:
            return found
        may_still()
        timestamp = self._with_what_is_taken(partial(self._post, message, thread), message)
        if not self._is_there(timestamp, thread):
            raise Unavailable("the message was accepted but is not in the channel", system=self._system)
        return timestamp

    def put(self, message: Message, *, posted: Posted | None) -> str:
        """Show this in the channel under the message's key: post it, or change what ``posted`` says."""
        if posted is None:
            timestamp = self._with_what_is_taken(partial(self._post, message, ""), message)
        elif posted.facts.get("fingerprint") == message.fingerprint:
            return posted.timestamp
        else:
            timestamp = self._with_what_is_taken(partial(self._update, posted.timestamp, message), message)
        if not self._is_there(timestamp, ""):
            raise Unavailable("the message was accepted but is not in the channel", system=self._system)
        return timestamp

    @retry
    def posted(self, *, since: float) -> list[Posted]:
        """Return the bot's messages in the channel since then, newest first, without replies in threads."""
        with self._errors("read the channel"):
            return list(self._messages(since))

    def find(self, key: str, *, since: float = 0) -> str | None:
        """Return the timestamp of the message with this key, or None where none was posted after ``since``."""
        return self._first(lambda posted: posted.key == key, since)

    @retry
    def permalink(self, timestamp: str) -> str:
        """Return the address of a message."""
        with self._errors("ask for the message's address"):
            answer = self._client.chat_getPermalink(channel=self._channel, message_ts=timestamp)
            return str(answer["permalink"])

    @retry
    def members(self, group: str) -> frozenset[str]:
        """Return the ids of the users in a user group."""
        with self._errors(f"ask who is in {group}"):
            answer = self._client.usergroups_users_list(usergroup=group)
            return frozenset(str(user) for user in answer["users"])

    @retry_when_told
    def open_form(self, trigger: str, form: Mapping[str, Any]) -> str:
        """Open a modal for the person who pulled the trigger, within 3 s of that; return its id."""
        with self._errors("open the form"):
            answer = self._client.views_open(trigger_id=trigger, view=redact_all(dict(form)))
            return str(answer["view"]["id"])

    @retry
    def change_form(self, form_id: str, form: Mapping[str, Any]) -> None:
        """Show something else in an open modal."""
        with self._errors("fill the form"):
            self._client.views_update(view_id=form_id, view=redact_all(dict(form)))

    def tell(
        self,
        user: str,
        text: str,
        *,
        blocks: Sequence[Mapping[str, Any]] = (),
        url: str = "",
        channel: str = "",
    ) -> None:
        """Answer one person: at the address that came with the question, else where they asked, else directly.

        The address is good for half an hour. Nobody else sees it, and it cannot be read back. It replaces nothing:
        a button's message belongs to everybody, and Slack lets nobody replace an earlier answer to a command.
        """
        text, listed = redact(text), redact_all([dict(block) for block in blocks]) or None
        if url:
            try:
                return self._respond(url, text, listed)
            except Rejected:
                pass  # too old, or used too often
        if channel:
            try:
                return self._whisper(channel, user, text, listed)
            except Rejected:
                pass  # where the bot is not
        return self._write_to(user, text, listed)

    @retry_when_told
    def _respond(self, url: str, text: str, blocks: list[dict[str, Any]] | None) -> None:
        client = WebhookClient(
            url, timeout=max(1, round(self.retry_seconds)), ssl=_context_for(url), retry_handlers=[]
        )
        client.proxy = web.proxy(url)
        with self._errors("answer"):
            answer = client.send(
                text=text, blocks=blocks, response_type="ephemeral", replace_original=False, unfurl_links=False
            )
        if answer.status_code == 429 or answer.status_code >= 500:
            seconds = read_retry_after(answer.headers.get("Retry-After"))
            raise Unavailable(
                f"could not answer: HTTP {answer.status_code}", system=self._system, retry_after_seconds=seconds
            )
        if answer.status_code != 200:
            raise Rejected(f"could not answer: HTTP {answer.status_code}", system=self._system)

    @retry_when_told
    def _whisper(self, channel: str, user: str, text: str, blocks: list[dict[str, Any]] | None) -> None:
        with self._errors("answer"):
            self._client.chat_postEphemeral(channel=channel, user=user, text=text, blocks=blocks)

    @retry_when_told
    def _write_to(self, user: str, text: str, blocks: list[dict[str, Any]] | None) -> None:
        with self._errors("answer"):
            self._client.chat_postMessage(channel=user, text=text, blocks=blocks, unfurl_links=False)

    def _with_what_is_taken(self, say: Callable[[list[dict[str, Any]]], str], message: Message) -> str:
        """Say it, without its charts where Slack refuses the blocks: a missing picture keeps nobody from the rest.

        What goes along unseen stays the same, so that it counts as said.
        """
        blocks = redact_all(message.blocks)
        try:
            return say(blocks)
        except _BlocksRefused:
            others = [block for block in blocks if block.get("type") != CHART]
            if len(others) == len(blocks):
                raise
            return say(others)

    @retry_when_told
    def _post(self, message: Message, thread: str, blocks: list[dict[str, Any]]) -> str:
        with self._errors("post the message"):
            answer = self._client.chat_postMessage(
                channel=self._channel,
                text=redact(message.text),
                blocks=blocks or None,
                metadata=_metadata(message),
                unfurl_links=False,
                thread_ts=thread or None,
                reply_broadcast=True if thread and message.broadcast else None,
            )
            return str(answer["ts"])

    @retry
    def _update(self, timestamp: str, message: Message, blocks: list[dict[str, Any]]) -> str:
        with self._errors("change the message"):
            answer = self._client.chat_update(
                channel=self._channel,
                ts=timestamp,
                text=redact(message.text),
                blocks=blocks,
                metadata=_metadata(message),
            )
            return str(answer["ts"])

    @retry
    def _is_there(self, timestamp: str, thread: str) -> bool:
        with self._errors("read the message back"):
            only: dict[str, Any] = {"oldest": timestamp, "latest": timestamp, "inclusive": True}
            if thread:
                seen = self._client.conversations_replies(channel=self._channel, ts=thread, limit=_PAGE, **only)
            else:
                seen = self._client.conversations_history(channel=self._channel, limit=1, **only)
            return timestamp in {entry.get("ts") for entry in seen["messages"]}

    def _thread_of(self, message: Message) -> str:
        if not message.thread:
            return ""
        since = message.since - THREAD_DAYS * 86_400
        return self._first(lambda posted: is_about(posted.facts, message.thread), since) or ""

    @retry
    def _first(self, is_it: Callable[[Posted], bool], since: float) -> str | None:
        with self._errors("read the channel"):
            return next((posted.timestamp for posted in self._messages(since) if is_it(posted)), None)

    @retry
    def _reply(self, thread: str, key: str) -> str | None:
        with self._errors("read the thread"):
            return next((posted.timestamp for posted in self._messages(0, thread) if posted.key == key), None)

    def _messages(self, since: float, thread: str = "") -> Iterator[Posted]:
        cursor: str | None = None
        oldest = f"{max(since - CLOCK_SKEW_SECONDS, 0):.6f}"
        while True:
            page: dict[str, Any] = {"channel": self._channel, "limit": _PAGE, "cursor": cursor}
            page |= {"oldest": oldest, "include_all_metadata": True}
            if thread:
                seen = self._client.conversations_replies(ts=thread, **page)
            else:
                seen = self._client.conversations_history(**page)
            for entry in seen["messages"]:
                metadata = entry.get("metadata") or {}
                if metadata.get("event_type") == EVENT_TYPE:
                    facts = {name: str(value) for name, value in metadata.get("event_payload", {}).items()}
                    yield Posted(str(entry["ts"]), facts)
            cursor = (seen.get("response_metadata") or {}).get("next_cursor")
            if not (cursor and seen.get("has_more")):
                return

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except SlackApiError as error:
            said = str(error.response.get("error", "")) if isinstance(error.response.data, dict) else ""
            status = error.response.status_code
            message = f"could not {doing}: {said or f'HTTP {status}'}"
            if status == 429 or status >= 500 or said in _TRY_AGAIN:
                seconds = read_retry_after(error.response.headers.get("Retry-After"))
                raise Unavailable(message, system=self._system, retry_after_seconds=seconds) from error
            if said == "missing_scope":
                needed = str(error.response.get("needed", ""))
                step = _SCOPE_STEP.format(needed or "it")
                raise _ScopeMissing(f"{message}: {needed}", system=self._system, next_step=step) from error
            kind = _BlocksRefused if said == "invalid_blocks" else Rejected
            raise kind(message, system=self._system, next_step=_STEPS.get(said, "")) from error
        except (SlackClientError, httpx.HTTPError, OSError, HTTPException) as error:
            step = trust.advice(str(error))
            raise Unavailable(f"could not {doing}: {reason(error)}", system=self._system, next_step=step) from error
        except (TypeError, AttributeError) as error:
            raise Rejected(f"could not {doing}: not the answer of Slack: {error}", system=self._system) from error


def _context_for(url: str) -> ssl.SSLContext | None:
    return trust.context() if url.startswith("https:") else None


def _metadata(message: Message) -> dict[str, Any]:
    payload = {**message.facts, "key": message.key}
    if message.facts:
        payload["fingerprint"] = message.fingerprint
    return {"event_type": EVENT_TYPE, "event_payload": payload}
