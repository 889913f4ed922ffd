"""One workspace while it runs: what is in it, the app that is installed, and how the two talk."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.sandbox.slack.delivery import Courier
from bot.sandbox.slack.faults import Faults
from bot.sandbox.slack.installation import Installation
from bot.sandbox.slack.modals import Modals, Triggers
from bot.sandbox.slack.refusal import SlackError
from bot.sandbox.slack.sockets import Sockets
from bot.sandbox.slack.workspace import TEAM_ID, Channel, Json, Message, User, Workspace

USES = 5
USABLE_SECONDS = 30 * 60.0


@dataclass
class ResponseAddress:
    """A ``response_url``: 5 answers within 30 minutes to the person who typed or pressed something.

    ``source`` is the timestamp of the message with the button, which can be replaced; ``alone`` says whether only
    ``user`` sees that.
    """

    channel: Channel
    user: User
    kind: str
    at: float
    thread_ts: str = ""
    source: str = ""
    alone: bool = True
    uses: int = 0


class Slack:
    """Everything of one workspace. ``url`` is where it answers, without a slash at its end.

    ``without_blocks`` are types of block that it does not take: Slack brings new ones to its workspaces by and by.
    """

    def __init__(
        self,
        workspace: Workspace,
        app: Installation,
        *,
        url: str,
        host: str = "127.0.0.1",
        without_blocks: frozenset[str] = frozenset(),
    ) -> None:
        self.workspace, self.app, self.url = workspace, app, url
        clock: Callable[[], float] = workspace.now
        self.faults, self.without_blocks = Faults(), without_blocks
        self.triggers, self.modals = Triggers(clock), Modals(clock)
        self.sockets = Sockets(host, enabled=lambda: self.app.socket_mode, clock=clock)
        self.courier = Courier(lambda: self.app, self.sockets, clock=clock)
        self._addresses: dict[str, ResponseAddress] = {}

    async def start(self) -> None:
        """Listen for the app's WebSocket connections."""
        await self.sockets.start()

    async def stop(self) -> None:
        """End what is under way."""
        await self.sockets.stop()

    def permalink(self, channel: Channel, message: Message) -> str:
        """Return the message's address: on our page, where it is seen."""
        return f"{self.url}/archives/{channel.id}/p{message.ts.replace('.', '')}"

    def response_url(self, address: ResponseAddress) -> str:
        """Return a ``response_url`` for this."""
        name = f"{address.kind}/{TEAM_ID}/{secrets.randbelow(10**13)}/{secrets.token_urlsafe(18)}"
        self._addresses[name] = address
        return f"{self.url}/{name}"

    def respond(
        self, name: str, said: dict[str, Any], *, check: Callable[[dict[str, Any]], tuple[Json, ...]]
    ) -> None:
        """Do what was posted to a ``response_url``; raise SlackError for what Slack refuses."""
        address = self._addresses.get(name)
        if address is None:
            raise SlackError("invalid_url")
        if self.workspace.now() - address.at > USABLE_SECONDS:
            raise SlackError("expired_url")
        if address.uses >= USES:
            raise SlackError("used_url")
        blocks, text = check(said), str(said.get("text") or "")
        if not text and not blocks:
            raise SlackError("no_text")
        if not (said.get("replace_original") and self._replace(address, text, blocks)):
            in_channel = said.get("response_type") == "in_channel"
            self.show(address, text, blocks, in_channel=in_channel, thread_ts=str(said.get("thread_ts") or ""))
        address.uses += 1

    def show(
        self, address: ResponseAddress, text: str, blocks: tuple[Json, ...], *, in_channel: bool, thread_ts: str = ""
    ) -> None:
        """Say something where somebody typed or pressed: to everybody there, or to that person alone."""
        workspace = self.workspace
        said: dict[str, Any] = {"text": text, "blocks": blocks}
        if in_channel:
            workspace.post(address.channel, user=workspace.bot, thread_ts=thread_ts, **said)
        else:
            thread_ts = thread_ts or address.thread_ts
            workspace.whisper(address.channel, to=address.user, of=workspace.bot, thread_ts=thread_ts, **said)

    def _replace(self, address: ResponseAddress, text: str, blocks: tuple[Json, ...]) -> bool:
        if address.kind == "commands":
            return False  # no message came with it: an answer is always a new one
        if address.alone:
            return self.workspace.replace_ephemeral(address.source, text=text, blocks=blocks)
        message = self.workspace.message(address.channel, address.source)
        if message is not None:
            self.workspace.edit(address.channel, message, text=text, blocks=blocks)
        return message is not None
