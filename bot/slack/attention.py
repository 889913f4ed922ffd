"""What waits for somebody in an environment, in one message of the channel: changed while it lasts, then closed.

What waits is computed: from ``status`` at each look, and from ``drift``, which reads every byte, at longer intervals.
What is told already is read from the channel, so a service that begins anew goes on with the same message.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bot.domain.hold import Held
from bot.domain.message import Message
from bot.settings import Environment
from bot.slack import blocks
from bot.verbs import connect
from bot.verbs.drift import drift
from bot.verbs.status import Status, status
from bot.words import slack as words

if TYPE_CHECKING:
    from bot.systems.slack import Posted

HELD_FOR = timedelta(hours=1)
"""A hold that is younger is told by the promotion's own message alone: somebody may be at it."""
_FOLLOWED_DAYS = 30
_SHOWN = 20


@dataclass(frozen=True)
class Waiting:
    """One thing that waits: what, and what to type."""

    what: str
    next_step: str


def attend(settings: Environment, *, deep: bool) -> bool:
    """Bring the environment's message up to date; return whether a deep look is wanted again soon.

    ``deep`` looks as ``drift`` does. It is wanted again soon while something has drifted, so that its end is told,
    and where a deployment was under way, which moves things. Between deep looks, what the last one found stands: it
    is kept in the message.

    Raises what GitHub, Slack, the share or the records raise: then nothing is known, and the message stays.
    """
    slack = connect.slack(settings)
    since = time.time() - _FOLLOWED_DAYS * 86_400
    open_ = next((one for one in slack.posted(since=since) if _is_open(one, settings.environment)), None)
    found = drift(settings) if deep else status(settings)
    now = datetime.now(UTC)
    moving = any(difference.kind == "unfinished" for difference in found.differences)
    drifted = _drifted(found) if deep and not moving else _kept(open_)
    waiting = [*what_waits(found, now=now), *drifted]
    if open_ is None and not waiting:
        return moving
    began = datetime.fromisoformat(open_.facts["began"]) if open_ is not None else now
    slack.put(message(found, waiting, drifted, began=began, now=now), posted=open_)
    return moving or bool(drifted)


def what_waits(found: Status, *, now: datetime) -> list[Waiting]:
    """Return what any look finds: changes held for more than an hour, and messages that Slack has not taken."""
    held = [Waiting(words.is_held(one), one.hold.next_step) for one in found.held if _is_old(one, now)]
    outbox = [Waiting(d.what, d.next_step) for d in found.differences if d.kind == "slack"]
    return [*held, *outbox]


def message(
    found: Status, waiting: Sequence[Waiting], drifted: Sequence[Waiting], *, began: datetime, now: datetime
) -> Message:
    """Return the message: how users are, and what waits since when; or that nothing does any more."""
    lines = [words.waits(one.what, one.next_step) for one in waiting[:_SHOWN]]
    if len(waiting) > _SHOWN:
        lines.append(words.more_waits(len(waiting) - _SHOWN, found.environment))
    head = words.attention(found, began) if waiting else words.attention_over(found, began, now)
    return Message(
        key=f"{found.environment}/attention/{began.isoformat()}",
        text=head,
        blocks=blocks.sections("\n".join([f"*{head}*", *lines])),
        facts={
            "attention": "open" if waiting else "closed",
            "of": found.environment,
            "began": began.isoformat(),
            "drifted": json.dumps([[one.what, one.next_step] for one in drifted[:_SHOWN]]),
        },
    )


def _is_open(posted: Posted, environment: str) -> bool:
    return posted.facts.get("attention") == "open" and posted.facts.get("of") == environment


def _is_old(held: Held, now: datetime) -> bool:
    return held.hold.since is None or now - held.hold.since >= HELD_FOR


def _drifted(found: Status) -> list[Waiting]:
    """Return what differs, but what is told besides: holds and messages that were not delivered."""
    held = {words.is_held(one) for one in found.held}
    return [Waiting(d.what, d.next_step) for d in found.differences if d.kind != "slack" and d.what not in held]


def _kept(posted: Posted | None) -> list[Waiting]:
    if posted is None:
        return []
    return [Waiting(str(what), str(step)) for what, step in json.loads(posted.facts.get("drifted", "[]"))]
