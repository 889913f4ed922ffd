"""What waits for somebody in an environment, in one message of the channel: changed while it lasts, then closed.

The list is computed: from ``status`` at each look, and from ``drift``, which reads every byte, at longer intervals.
The service reads from the channel what it told already, so it continues the same message after a restart.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.domain.message import Message
from bot.metrics import ServiceMetrics
from bot.operations.drift import deepened, note_ways_back
from bot.operations.silence import note_look
from bot.operations.status import Status, looked
from bot.platform import Platform
from bot.render import slack as words
from bot.render.differences import KINDS_OF_HOLDS
from bot.slack import blocks

if TYPE_CHECKING:
    from bot.systems.slack import Posted

log = logging.getLogger("bot.slack")

WAITS_FROM = timedelta(hours=1)
"""Somebody may be at what is younger, and the promotion's own message tells of a hold at once."""
ANEW_AFTER = timedelta(days=1)
"""Slack notifies nobody of a changed message. If the message is older than this, news begins another one."""
_FOLLOWED_DAYS = 30
_KEEPS_USERS = ("silent", "triton", "gateway")
"""The kinds of difference for which users may get no answer, or another version's."""
_SHOWN, _WHAT, _STEP = 15, 220, 120
"""So many things, and so many characters of each: Slack takes 8,000 characters of facts, and not much more text."""


@dataclass(frozen=True)
class Waiting:
    """One thing that waits: what, and what to type."""

    what: str
    next_step: str

    @property
    def cut(self) -> Waiting:
        """The same, as short as a message can have it."""
        return Waiting(_cut(self.what, _WHAT), _cut(self.next_step, _STEP))


@dataclass(frozen=True)
class Drifted:
    """The result of the last deep look: its first findings, and how many there were."""

    shown: tuple[Waiting, ...] = ()
    count: int = 0

    @classmethod
    def of(cls, found: Sequence[Waiting]) -> Drifted:
        """Return what a message can have of all that was found."""
        return cls(tuple(one.cut for one in found[:_SHOWN]), len(found))


def attend(platform: Platform, *, deep: bool, metrics: ServiceMetrics | None = None) -> bool:
    """Bring the environment's message up to date; return whether something has drifted.

    ``deep`` looks as ``drift`` does, unless a deployment is under way, which moves things. Between deep looks, what
    the last one found stands: it is kept in the message. ``metrics`` receive what either look found.

    Raises what GitHub, Slack, the share or the records raise: then nothing is known, and the message stays.
    """
    slack = platform.slack
    since = time.time() - _FOLLOWED_DAYS * 86_400
    open_ = next((one for one in slack.posted(since=since) if _is_open(one, platform.environment)), None)
    look, drifted = looked(platform), _kept(open_)
    found = look.found
    note_look(platform.share, found.silent, say=log.warning)
    if deep and found.underway_since is None:
        found = deepened(platform, look)
        note_ways_back(platform, found, say=log.warning)
        drifted = Drifted.of(_drifted(found))
        if metrics is not None:
            metrics.drifted(found.environment, drifted.count)
    if metrics is not None:
        metrics.differences(found.environment, (one.kind for one in look.found.differences), held=len(found.held))
    now = datetime.now(UTC)
    waiting = what_waits(found, now=now)
    began = datetime.fromisoformat(open_.facts["began"]) if open_ is not None else now
    if open_ is not None and now - began > ANEW_AFTER and _is_new(open_, waiting, drifted):
        slack.put(message(found, [], Drifted(), began=began, now=now, goes_on=True), posted=open_)
        open_, began = None, now
    if open_ is not None or waiting or drifted.count:
        slack.put(message(found, waiting, drifted, began=began, now=now), posted=open_)
    return bool(drifted.count)


def what_waits(found: Status, *, now: datetime) -> list[Waiting]:
    """Return what any look finds: causes of missing answers, holds and deployments that last too long, the outbox.

    Trouble of users counts at once, unless a deployment is under way: that moves things.
    """
    held = [Waiting(words.is_held(one), one.hold.next_step) for one in found.held if _is_old(one.hold.since, now)]
    cut_off = found.underway_since is not None and _is_old(found.underway_since, now)
    told = [d for d in found.differences if d.kind == "slack" or (d.kind == "unfinished" and cut_off)]
    ill = found.underway_since is None and any(users.health != "OK" for users in found.users)
    causes = [d for d in found.differences if ill and d.kind in _KEEPS_USERS]
    return [*(Waiting(d.what, d.next_step) for d in causes), *held, *(Waiting(d.what, d.next_step) for d in told)]


def message(
    found: Status,
    waiting: Sequence[Waiting],
    drifted: Drifted,
    *,
    began: datetime,
    now: datetime,
    goes_on: bool = False,
) -> Message:
    """Return the message: how users are, and what waits since when, or that nothing waits.

    ``goes_on``: this message is closed because a new one follows.
    """
    now_told = [one.cut for one in waiting]
    also = [one for one in drifted.shown if one not in now_told]
    shown = [*now_told, *also][:_SHOWN]
    more = len(waiting) + drifted.count - (len(drifted.shown) - len(also)) - len(shown)
    lines = [words.waits(one.what, one.next_step) for one in shown]
    if more:
        lines.append(words.more_waits(more, found.environment))
    head = words.attention_over(found, began, now)
    if shown:
        head = words.attention(found, began)
    elif goes_on:
        head = words.attention_goes_on(found, began)
    return Message(
        key=f"{found.environment}/attention/{began.isoformat()}",
        text=head,
        blocks=blocks.sections("\n".join([f"*{head}*", *lines])),
        facts={
            "attention": "open" if shown else "closed",
            "of": found.environment,
            "began": began.isoformat(),
            "drifted": json.dumps([[one.what, one.next_step] for one in drifted.shown], ensure_ascii=False),
            "drifted_count": str(drifted.count),
            "known": ",".join(sorted({_name(one) for one in shown})),
        },
    )


def _is_open(posted: Posted, environment: str) -> bool:
    return posted.facts.get("attention") == "open" and posted.facts.get("of") == environment


def _is_old(since: datetime | None, now: datetime) -> bool:
    return since is None or now - since >= WAITS_FROM


def _is_new(posted: Posted, waiting: Sequence[Waiting], drifted: Drifted) -> bool:
    known = set(posted.facts.get("known", "").split(","))
    return any(_name(one) not in known for one in [*(one.cut for one in waiting), *drifted.shown][:_SHOWN])


def _name(one: Waiting) -> str:
    return hashlib.sha256(one.what.encode()).hexdigest()[:8]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _drifted(found: Status) -> list[Waiting]:
    """Return what differs, without holds and undelivered messages: others tell of these."""
    told = {"slack", *KINDS_OF_HOLDS}
    return [Waiting(d.what, d.next_step) for d in found.differences if d.kind not in told]


def _kept(posted: Posted | None) -> Drifted:
    if posted is None:
        return Drifted()
    shown = [Waiting(str(what), str(step)) for what, step in json.loads(posted.facts.get("drifted", "[]"))]
    return Drifted(tuple(shown), int(posted.facts.get("drifted_count", len(shown))))
