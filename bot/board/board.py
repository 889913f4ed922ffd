"""The board itself: every environment of a checkout, each read by loops of its own, and what is known of all now."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot import environment_files
from bot.board.collecting import RENEW_SECONDS, Between, OfEnvironment, Rhythm
from bot.board.snapshot import Snapshot
from bot.concurrency import begin
from bot.errors import InvalidInput
from bot.platform import Platform

if TYPE_CHECKING:
    from bot.settings import Environment

log = logging.getLogger("bot.board")


@dataclass
class _Each:
    """One environment: its loops, what its settings are, and why they cannot be read now."""

    of: OfEnvironment | None = None
    settings: Any = None
    opened_at: float = 0.0
    broken: str = ""
    made: tuple[Hashable, Snapshot] | None = None


class Board:
    """Every environment, or those that are named. It reads from ``start`` to ``stop``, however many people look.

    The settings are read anew every few seconds, so it follows the checkout. An environment whose settings cannot be
    read says so, and the others go on.
    """

    def __init__(
        self,
        root: Path,
        *,
        environments: Sequence[str] = (),
        rhythm: Rhythm | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """``variables`` hold the secrets that the settings name; by default those of this process, now and later."""
        self._root, self._named, self._rhythm = root, tuple(environments), rhythm or Rhythm()
        self._variables = variables
        self._between = Between.new(self._rhythm)
        self._each: dict[str, _Each] = {}
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to read; raise InvalidInput where the checkout has no environment."""
        self._follow(self._named or environment_files.environments(self._root))
        begin(self._run, name="board: settings")

    def stop(self) -> None:
        """Read no more."""
        self._ended.set()
        with self._lock:
            each, self._each = self._each, {}
        for one in each.values():
            if one.of is not None:
                one.of.stop()

    @property
    def environments(self) -> list[str]:
        """The names of all environments, in the order of the page."""
        with self._lock:
            return list(self._each)

    def of(self, environment: str) -> OfEnvironment | None:
        """Return the loops of an environment; None where there is none of that name, or its settings never held."""
        with self._lock:
            one = self._each.get(environment)
        return one.of if one else None

    def version(self) -> Hashable:
        """Return what is another one whenever a page shows something else. It asks nobody."""
        with self._lock:
            each = dict(self._each)
        return tuple((name, _version(one)) for name, one in each.items())

    def snapshots(self) -> list[Snapshot]:
        """Return all that is known now. It asks nobody, and is made once for each version of an environment."""
        with self._lock:
            each = dict(self._each)
        with self._making:
            return [_snapshot(name, one) for name, one in each.items()]

    def _run(self) -> None:
        names: Sequence[str] = self._named
        while not self._ended.wait(self._rhythm.settings):
            try:
                names = self._named or environment_files.environments(self._root)
            except InvalidInput:
                # The checkout is gone: each environment says that its file is.
                names = self.environments
            try:
                self._follow(names)
            except Exception:
                log.exception("the settings could not be followed")

    def _follow(self, names: Sequence[str]) -> None:
        for name in names:
            with self._lock:
                one = self._each.setdefault(name, _Each())
            self._follow_one(name, one)
        with self._lock:
            gone = [self._each.pop(name) for name in list(self._each) if name not in names]
        for one in gone:
            if one.of is not None:
                one.of.stop()

    def _follow_one(self, name: str, one: _Each) -> None:
        try:
            settings = environment_files.load_for_the_way_back(self._root, name)
        except InvalidInput as error:
            one.broken = str(error)
            return
        one.broken = ""
        is_same = one.of is not None and one.settings == _said(settings)
        if is_same and time.monotonic() - one.opened_at < RENEW_SECONDS:
            return
        before = one.of
        platform = Platform(settings, self._variables)
        of = OfEnvironment(platform, self._between, rhythm=self._rhythm, before=before.remembered if before else None)
        one.of, one.settings, one.opened_at = of, _said(settings), time.monotonic()
        of.start()
        if before is not None:
            before.stop()
        if self._ended.is_set():
            of.stop()


def _said(settings: Environment) -> tuple[Any, ...]:
    """Return what two states of an environment's settings are compared by; of mistakes their words."""
    return settings.model_dump(), tuple(str(one) for one in settings.mistakes)


def _version(one: _Each) -> Hashable:
    of = one.of
    # A time of today is shown without its date.
    today = datetime.now(UTC).date()
    if of is None:
        return today, one.broken
    return today, one.broken, of.closed(), id(of), of.version, of.freshness()


def _snapshot(name: str, one: _Each) -> Snapshot:
    version = _version(one)
    if one.made is None or one.made[0] != version:
        of, broken = one.of, one.broken
        made = Snapshot(name, datetime.now(UTC), broken=broken) if of is None else of.snapshot(broken)
        one.made = version, made
    return one.made[1]
