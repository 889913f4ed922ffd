"""Copies of requests for the shadow, under a budget so hard that a live answer never waits for it.

A copy is made after the live answer has left, goes over connections of its own, and is dropped, never queued, when
the budget is spent. The shadow's answer is compared with the live one in the copy's own task, as far as a share of
the processor allows. Both are thrown away then; only counts remain.

In the same way the version before is asked what the newest one was asked, where the routes say so.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.domain.paired import Answer, LeftOut, compare
from bot.domain.routes import WHOLE, RouteTable, Target
from bot.domain.shadowed import Compared, Copies
from bot.gateway.budget import Budget, Full, Held
from bot.gateway.connection import ExchangeFailed, Headers, NotSent, Reply
from bot.gateway.rewrite import HEADER_LENGTH
from bot.gateway.settings import ShadowSettings
from bot.gateway.tritons import Tritons, lacks_the_version, request_to

log = logging.getLogger("bot.gateway")

_ENCODED = b"content-encoding"
_SAVED_UP_SECONDS = 0.25
"""Of the process's time: the share of so much is saved up at most."""
_EVERY_SECONDS = 0.05
"""From one question to the kernel, how much the process used, to the next."""
_AT_LEAST_USED = 0.05
"""Of one processor: a process that uses less may compare as if it used so much."""
_AT_LEAST_USED_IN_A_BAKE = 0.5
"""The same for the version before: users have a new one, and what is compared says how soon a wrong one is seen."""
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_TIMES_AS_LARGE = 2
"""A shadow's answer to be compared may be so many times as large as a live one: JSON has numbers of many lengths."""
_CLASSIFICATION = b'"classification"'
"""Such a request is answered with texts such as ``0.93:1``: there another score is not another decision."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A live answer: which target gave it, what it was, and how long Triton took."""

    by: Target
    reply: Reply
    seconds: float


class Allowance:
    """The processor time that comparing may take: a share of what this process uses, and a little where it idles.

    So what comparing costs is in proportion to all else, whatever the answers are like.
    """

    def __init__(
        self,
        share: float,
        *,
        at_least_used: float = _AT_LEAST_USED,
        clock: Callable[[], float] = time.monotonic,
        used: Callable[[], float] = time.process_time,
    ) -> None:
        self._at_least_used = at_least_used
        self._share, self._left = share, share * _SAVED_UP_SECONDS
        self._clock, self._at = clock, clock()
        self._used, self._used_at = used, used()

    def has_any(self) -> bool:
        """Say whether anything is left, as far as the kernel was asked last: it takes time to answer."""
        now = self._clock()
        if now - self._at < _EVERY_SECONDS:
            return self._left > 0
        used = self._used()
        earned = self._share * max(used - self._used_at, (now - self._at) * self._at_least_used)
        self._left = min(self._share * _SAVED_UP_SECONDS, self._left + earned)
        self._at, self._used_at = now, used
        return self._left > 0

    def spend(self, seconds: float) -> None:
        """Take what something took, which may be more than was left: the next one waits so much longer."""
        self._left -= seconds


class Shadows:
    """Sends copies to the shadows of one environment and counts what became of them."""

    def __init__(
        self, urls: Sequence[str], settings: ShadowSettings, *, chance: Callable[[], float] = random.random
    ) -> None:
        self._settings, self._chance = settings, chance
        self._tritons = Tritons(
            urls,
            timeout_seconds=settings.timeout_seconds,
            probe_timeout_seconds=settings.timeout_seconds,
            limits=settings.limits,
        )
        self._counts: dict[str, Copies] = {}
        self._before: dict[str, Copies] = {}
        self._answering: dict[str, tuple[Target, ...]] = {}
        self._copied: frozenset[str] = frozenset()
        self._shares: dict[str, int] = {}
        self._allowance = Allowance(settings.compare_share)
        self._allowance_in_a_bake = Allowance(settings.compare_share, at_least_used=_AT_LEAST_USED_IN_A_BAKE)
        self._bodies = Budget(settings.max_bytes_in_flight)
        self._under_way: set[asyncio.Task[None]] = set()

    def become(self, name: str, urls: Sequence[str]) -> None:
        """Let these Tritons, and no others, stand for ``name``."""
        self._tritons.become(name, urls)

    async def ask_those_that_lack(self) -> None:
        """Ask each Triton for the shadows that it lacked when a copy met it."""
        await self._tritons.ask_those_that_lack()

    @property
    def counts(self) -> dict[str, Copies]:
        """The counts of each model that has a shadow."""
        return self._counts

    @property
    def before(self) -> dict[str, Copies]:
        """The counts of each model whose newest version is compared with the one before: of copies to that one."""
        return self._before

    @property
    def copied(self) -> frozenset[str]:
        """The models of which anything is copied."""
        return self._copied

    def follow(self, table: RouteTable) -> None:
        """Begin to count anew for what is new in ``table``, and forget what left.

        Comparing begins anew also where another version answers: that is another pair.
        """
        routes = table.models
        shadows = {model: (route.shadow, route.live) for model, route in routes.items() if route.shadow is not None}
        before = {model: (one.compared, one.newest) for model, one in routes.items() if one.compared is not None}
        answering = {model: table.route(model).answering for model in before}
        going_on = {
            model: one for model, one in self._before.items() if self._answering[model] == answering.get(model)
        }
        self._counts = self._following(self._counts, shadows)
        # With the numbers of the traffic, which begin anew where a canary comes to answer all.
        self._before, self._answering = self._following(going_on, before), answering
        self._copied = frozenset((*shadows, *before))
        self._shares = {model: table.route(model).shadow_share for model in shadows}
        self._tritons.keep_to([target for target, _ in (*shadows.values(), *before.values())])

    def _following(
        self, old: Mapping[str, Copies], pairs: Mapping[str, tuple[Target, Target | None]]
    ) -> dict[str, Copies]:
        """Return the counts of each model: who gets the copies, and beside whose answers they are compared."""
        found = {
            model: old[model] if model in old and old[model].target == target else Copies(target)
            for model, (target, _) in pairs.items()
        }
        for model, (_, answers) in pairs.items():
            counts = found[model]
            if answers is None or not self._settings.compare_share:
                counts.compared = None
            elif counts.compared is None or counts.compared.live != answers:
                counts.compared = Compared(answers, datetime.now(UTC))
        return found

    def copy(self, model: str, headers: Headers, body: bytes | bytearray, answered: Answered | None) -> None:
        """Send a copy in the background, if the budget allows; never waits, never raises for what the shadow does.

        ``answered`` is the live answer, kept under the same budget until the shadow answers. None for one of the
        bot's own requests, which is not compared.
        """
        counts = self._counts.get(model)
        if counts is None or ((share := self._shares[model]) != WHOLE and self._chance() * WHOLE >= share):
            return
        pair = counts.compared
        if pair is None or answered is None or answered.by != pair.live:
            pair = None  # nothing to compare, or the answer of another version
        self._send_soon(counts, pair, headers, body, answered, is_shadow=True)

    def ask_before(self, model: str, headers: Headers, body: bytes | bytearray, answered: Answered) -> None:
        """Ask the version before what the newest one has ``answered``, in the background, to compare both.

        It is asked for nothing else, so nothing is sent that would not be compared. A request that the newest one
        refused and this one answers flips whole; one that both refuse is not compared. Never waits, never raises.
        """
        counts = self._before.get(model)
        pair = counts.compared if counts is not None else None
        if counts is None or pair is None or answered.by != pair.live:
            return
        if self._allowance_in_a_bake.has_any():
            self._send_soon(counts, pair, headers, body, answered, is_shadow=False)
        else:
            pair.leave_out("busy")

    def _send_soon(
        self,
        counts: Copies,
        pair: Compared | None,
        headers: Headers,
        body: bytes | bytearray,
        answered: Answered | None,
        *,
        is_shadow: bool,
    ) -> None:
        spent = len(self._under_way) >= self._settings.limits.max_in_flight
        held = Held(self._bodies)
        try:
            if spent or len(body) > self._settings.max_request_bytes:
                raise Full
            held.take(len(body))
        except Full:
            counts.dropped += 1
            return
        counts.sent += 1
        kept, seconds = None, answered.seconds if answered is not None else 0.0
        if pair is not None and answered is not None:
            kept = self._kept(pair, answered, held, is_shadow=is_shadow)
        headers = [(name, value) for name, value in headers if name != b"accept-encoding"]
        task = asyncio.create_task(self._send(counts, pair, headers, body, seconds, kept, held, is_shadow))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _kept(self, pair: Compared, answered: Answered, held: Held, *, is_shadow: bool) -> Answered | None:
        """Return the live answer to compare with; None, and say why in the counts, where it is not kept.

        An answer that the processor has no time to compare is not kept either: keeping it takes time, too. Where it
        is not a shadow that is judged, but the live answer, one that is too large is kept as an empty one.
        """
        if is_shadow and not self._allowance.has_any():
            pair.leave_out("busy")
            return None
        size, most = len(answered.reply.body), self._settings.max_compared_bytes
        if size > most and is_shadow:
            pair.leave_out("large")
            return None
        if size > _TIMES_AS_LARGE * most or answered.reply.status != 200:
            return replace(answered, reply=replace(answered.reply, body=b""))
        try:
            held.take(size)
        except Full:
            pair.leave_out("no room")
            return None
        return answered

    async def close(self) -> None:
        """Give up the copies that are under way and close the connections."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._tritons.close()

    async def _send(
        self,
        counts: Copies,
        pair: Compared | None,
        headers: Headers,
        body: bytes | bytearray,
        live_seconds: float,
        kept: Answered | None,
        held: Held,
        is_shadow: bool,
    ) -> None:
        started = time.perf_counter()
        request = request_to(counts.target, b"POST", b"/infer", headers, body, admit=held.take)
        with held:
            try:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    reply = await self._tritons.send(counts.target, request)
            except (ExchangeFailed, TimeoutError) as error:
                _count_failure(counts, pair, unreached=isinstance(error, NotSent))
                return
            except Full:  # the shadow may answer well: it is the gateway that has no room
                counts.sent -= 1
                counts.dropped += 1
                if pair is not None and kept is not None:
                    pair.leave_out("no room")
                return
            if kept is not None and kept.reply.status != 200 and _is_refused(reply):
                counts.answered += 1  # as the newest one did
                return
            if reply.status != 200:
                _count_failure(counts, pair, unreached=lacks_the_version(reply))
                return
            seconds = time.perf_counter() - started
            counts.answered += 1
            counts.latency_seconds_sum += seconds
            if pair is not None:
                pair.took(live_seconds=live_seconds, shadow_seconds=seconds)
                if kept is not None:
                    if is_shadow:
                        self._compare(pair, kept.reply, reply, body, self._allowance)
                    else:
                        self._compare(pair, reply, kept.reply, body, self._allowance_in_a_bake)

    def _compare(
        self, pair: Compared, trusted: Reply, judged: Reply, body: bytes | bytearray, allowance: Allowance
    ) -> None:
        """Compare both answers and count how they differ."""
        started, max_bytes = time.perf_counter(), self._settings.max_compared_bytes
        try:
            if _CLASSIFICATION in body:  # whatever is answered: else the equal ones alone would count
                raise LeftOut("classification")
            pair.add(compare(_answer(trusted, max_bytes), _answer_to_judge(judged, max_bytes)))
        except LeftOut as left_out:
            pair.leave_out(str(left_out))
        except Exception:  # whatever is answered, the next copy is compared, too
            log.exception("two answers could not be compared")
            pair.leave_out("unreadable")
        allowance.spend(time.perf_counter() - started)


def _answer(reply: Reply, max_bytes: int) -> Answer:
    """Return a reply as it was before Triton compressed it; raise LeftOut where it is too large, or not legible."""
    length, encoding = None, b""
    for name, value in reply.headers:
        if name == HEADER_LENGTH:
            length = value
        elif name == _ENCODED:
            encoding = value.strip().lower()
    body = reply.body
    if encoding and encoding != b"identity":
        if encoding not in (b"gzip", b"deflate"):
            raise LeftOut("encoded")
        unpacking = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            body = unpacking.decompress(body, max_bytes + 1)
        except zlib.error as error:
            raise LeftOut("encoded") from error
    if len(body) > max_bytes:
        raise LeftOut("large")
    return Answer(body, length)


def _answer_to_judge(reply: Reply, max_bytes: int) -> Answer:
    """Return a reply as it was before it was compressed, to be judged by an answer of at most ``max_bytes``.

    One that is much larger, or not legible, is empty, so that it flips whole. If it was left out, a version that
    answers otherwise would seem to answer alike.
    """
    try:
        return _answer(reply, _TIMES_AS_LARGE * max_bytes)
    except LeftOut:
        return Answer(b"")


def _is_refused(reply: Reply) -> bool:
    """Whether Triton refused the request itself."""
    return 400 <= reply.status < 500 and not lacks_the_version(reply)


def _count_failure(counts: Copies, pair: Compared | None, *, unreached: bool) -> None:
    counts.failed += 1
    counts.unreached += unreached
    if pair is not None:
        pair.unreached += unreached
        pair.failed += not unreached
