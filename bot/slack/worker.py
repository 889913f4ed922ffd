"""Takes entries from the inbox, does them, answers. Any replica takes any entry; one of them works on it.

Wherever it is killed, the next one goes on from there: a verb under its own id comes to the same result. Before the
worker posts an answer again, it looks for it in Slack. An answer that only one person sees cannot be looked for: the
worker sends it again, unless all can see its subject (a pull request, a merge).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from bot.concurrency import pool
from bot.errors import PromobotError, Rejected
from bot.metrics import ServiceMetrics
from bot.platform import Platform
from bot.render import slack as words
from bot.settings import Environment
from bot.slack import blocks, forms
from bot.slack.attention import attend
from bot.slack.doing import Doing, FormWanted, OpenPlatform, SaidLater
from bot.slack.follow import follow
from bot.slack.inbox import Answer, Asked, Inbox

log = logging.getLogger("bot.slack")

AT_ONCE = 8
"""Entries that one replica works on at the same time: an entry that waits for GitHub delays no other."""
LOOK_SECONDS = 1.0
"""Interval at which a replica looks for entries that another replica left in the inbox."""
FOLLOW_SECONDS = 15.0
ATTEND_SECONDS = 300.0
"""Interval of the looks for what waits for a person."""
DRIFT_SECONDS = 3_600.0
"""Interval of the deep looks, which read every byte and every answer."""
AGAIN_SECONDS = 900.0
"""The same interval while something has drifted, so that the message soon tells its end."""
ANSWER_SECONDS = 1_800
"""Slack accepts answers at a ``response_url`` for this long."""
TRIGGER_SECONDS = 3.0
FORGET_SECONDS = 86_400.0
"""The service gives up an answer that it could not deliver for this long."""


class Worker:
    """Works until it is told to stop."""

    def __init__(
        self,
        inbox: Inbox,
        doing: Doing,
        settings: Callable[[], list[Environment]],
        open_platform: OpenPlatform,
        *,
        follow_seconds: float = FOLLOW_SECONDS,
        drift_seconds: float = DRIFT_SECONDS,
        metrics: ServiceMetrics | None = None,
    ) -> None:
        """``drift_seconds``: how often is looked as deep as ``drift`` does; 0 for never."""
        self.metrics = metrics or ServiceMetrics("slack")
        self._inbox, self._doing, self._settings, self._opened = inbox, doing, settings, open_platform
        self._follow_seconds, self._drift_seconds = follow_seconds, drift_seconds
        self._drift_due: dict[str, float] = {}
        self._wake, self._changed, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._not_before: dict[str, tuple[float, float]] = {}
        self._threads: list[threading.Thread] = []

    # --- running -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work, in threads of its own."""
        self._threads = [
            threading.Thread(target=self._work, name="promobot-inbox", daemon=True),
            threading.Thread(target=self._follow, name="promobot-follow", daemon=True),
            threading.Thread(target=self._attend, name="promobot-attend", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, *, seconds: float = 30) -> None:
        """Take nothing new, and wait for entries under way; a later start takes up those that are not done then."""
        self._stop.set()
        self._wake.set()
        self._changed.set()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """Say that there is something in the inbox."""
        self._wake.set()

    def once(self) -> None:
        """Do what is in the inbox, bring every promotion's message up to date, and return; no threads."""
        for entry in self._inbox.pending():
            self.work_on(entry)
        self._follow_all()

    def _work(self) -> None:
        busy: set[str] = set()
        lock = threading.Lock()

        def run(entry: str) -> None:
            try:
                self.work_on(entry)
            finally:
                with lock:
                    busy.discard(entry)

        with pool(AT_ONCE, name="promobot-entry") as submit:
            while not self._stop.is_set():
                self._wake.wait(LOOK_SECONDS)
                self._wake.clear()
                try:
                    pending = self._inbox.pending()
                except PromobotError as error:
                    log.error("the inbox cannot be read: %s", error)
                    continue
                for entry in pending:
                    with lock:
                        taken = entry in busy or self._stop.is_set() or not self._is_due(entry)
                        if not taken:
                            busy.add(entry)
                    if not taken:
                        submit(partial(run, entry))

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._follow_all()
            self._changed.wait(self._follow_seconds)
            self._changed.clear()

    def _follow_all(self) -> None:
        try:
            listed = self._settings()
            self._inbox.sweep()
        except (PromobotError, OSError) as error:
            log.error("%s", error)
            return
        for settings in listed:
            try:
                with self._inbox.claim(f"follow-{settings.environment}") as mine:
                    if mine:
                        with self._opened(settings) as platform:
                            follow(platform, say=log.info, metrics=self.metrics)
                        self.metrics.looked(settings.environment)
            except (PromobotError, OSError) as error:
                self.metrics.look_failed(settings.environment)
                log.warning("%s: %s", settings.environment, error)
            except Exception:
                self.metrics.look_failed(settings.environment)
                log.exception("%s: its promotions could not be followed", settings.environment)

    def _attend(self) -> None:
        # The first look comes after a while, so that a restart of the service does not read every byte each time.
        while not self._stop.wait(ATTEND_SECONDS):
            self.attend_all(now=time.monotonic())

    def attend_all(self, *, now: float) -> None:
        """Bring each environment's message of what waits up to date; ``now`` is in seconds, and never goes back."""
        try:
            listed = self._settings()
        except (PromobotError, OSError) as error:
            log.error("%s", error)
            return
        for settings in listed:
            try:
                self._attend_to(settings, now=now)
            except (PromobotError, OSError) as error:
                self.metrics.look_failed(settings.environment)
                log.warning("%s: what waits there is not known: %s", settings.environment, error)
            except Exception:
                self.metrics.look_failed(settings.environment)
                log.exception("%s: what waits there could not be told", settings.environment)

    def _attend_to(self, settings: Environment, *, now: float) -> None:
        name = settings.environment
        with self._inbox.claim(f"attend-{name}") as mine:
            if not mine:
                return
            due = self._drift_due.setdefault(name, now + self._drift_seconds)
            deep = bool(self._drift_seconds) and now >= due
            began = time.monotonic()
            if deep:  # also where it fails: a share that is away is not read again at once
                self._drift_due[name] = now + self._drift_seconds
            with self._opened(settings) as platform:
                drifted = attend(platform, deep=deep, metrics=self.metrics)
            if drifted and deep:
                # Sooner, so that the message tells its end; but a long look must not follow upon itself.
                soon = max(AGAIN_SECONDS, 5 * (time.monotonic() - began))
                self._drift_due[name] = now + min(soon, self._drift_seconds)

    # --- one entry ---------------------------------------------------------------------------------------------

    def work_on(self, entry: str) -> None:
        """Do one entry, unless somebody else is at it."""
        try:
            with self._inbox.claim(entry) as mine:
                asked = self._inbox.asked(entry) if mine else None
                if asked is not None:
                    self._go_on(asked)
                    self._not_before.pop(entry, None)
        except (PromobotError, SaidLater) as error:
            self._put_off(entry, error)
        except Exception as error:
            log.exception("%s", entry)
            self._put_off(entry, error)

    def _go_on(self, asked: Asked) -> None:
        answer = self._inbox.answer(asked.id)
        if answer is None:
            came = self._doing.do(asked)
            answer = self._open(asked, came) if isinstance(came, FormWanted) else came
            if answer is None:
                self._inbox.finish(asked.id)
                return
            self._inbox.decide(asked.id, answer)
        if answer.once:
            self._changed.set()
        if self._inbox.begin_to_tell(asked.id) or not answer.once:
            self._tell(asked, answer)
        self._inbox.finish(asked.id)

    def _tell(self, asked: Asked, answer: Answer) -> None:
        age = (datetime.now(UTC) - asked.at).total_seconds()
        url = asked.response_url if age < ANSWER_SECONDS else ""
        try:
            with self._platform() as platform:
                platform.slack.tell(
                    asked.user,
                    answer.text,
                    blocks=answer.blocks,
                    url=url,
                    channel=asked.channel,
                )
        except Rejected as error:
            log.error("%s could not be answered: %s", asked.id, error)
        except PromobotError:
            if age > FORGET_SECONDS:
                log.error("%s could not be answered for a day", asked.id)
                return
            if answer.once:
                # Whether it arrived is not known; all can see what it tells of.
                log.warning("%s: whether it was answered is not known", asked.id)
                return
            raise

    def _open(self, asked: Asked, wanted: FormWanted) -> Answer | None:
        """Open the form that asks for what was left out; without one, say how to type it in full."""
        if not self._inbox.begin_to_tell(asked.id):
            return None  # somebody opened it; a trigger opens one form
        name = wanted.ask.name
        with self._platform() as platform:
            slack = platform.slack
            try:
                form = slack.open_form(asked.trigger, forms.looking(name, channel=asked.channel))
            except PromobotError as error:
                log.warning("no form for %s: %s", asked.id, error)
                said = words.help_with(name)
                return Answer(text=said, blocks=blocks.sections(said))
            try:
                filled = self._doing.fill(asked, wanted.ask)
            except PromobotError as error:
                filled = forms.says(name, words.form_failed(str(error)), channel=asked.channel)
            slack.change_form(form, filled)
        return None

    def _platform(self) -> Platform:
        """Return a platform of the first environment; all have the same Slack app."""
        return self._opened(self._settings()[0])

    def _is_due(self, entry: str) -> bool:
        return time.monotonic() >= self._not_before.get(entry, (0.0, 0.0))[0]

    def _put_off(self, entry: str, error: Exception) -> None:
        """Try again later: after as long as was asked for, or twice as long as last time."""
        last = self._not_before.get(entry, (0.0, 0.5))[1]
        told = getattr(error, "retry_after_seconds", None)
        pause = max(min(2 * last, 60.0), told or 0.0)
        self._not_before[entry] = (time.monotonic() + pause, pause)
        log.warning("%s: again in %g s: %s", entry, pause, error)
