"""Requests from Slack and their answers, as files: a restart loses nothing, and nothing is done twice.

    inbox/<id>.json     the request; created once, before it is acknowledged, so that a copy changes nothing
    answers/<id>.json   the answer; created once, before anybody is told
    told/<id>.json      somebody begins to tell what must not be told twice and cannot be looked up
    done/<id>.json      everybody was told
    asked-for/<env>/<pull request>/<user>.json   who asked for a pull request
    locks/<id>          held by the replica that works on an entry

The kernel keeps the locks: a lock ends with the process that holds it, however that ends. So there is no lease to
wait for and no clock to trust. All replicas share the directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bot.domain.names import check_request_id
from bot.errors import Refused
from bot.records.directory import RecordStore
from bot.redaction import redact

KEEP_SECONDS = 7 * 86_400
"""An entry is remembered for this long after it is done; a signature lasts five minutes."""


class Asked(BaseModel):
    """One command, button or form, as it came from Slack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Literal["command", "button", "form"]
    name: str
    """Of the command, of the button's action, of the form."""
    text: str = ""
    user: str
    user_name: str = ""
    channel: str = ""
    response_url: str = ""
    trigger: str = ""
    values: Mapping[str, str] = {}
    at: datetime


class Answer(BaseModel):
    """The answer to the person who asked. ``once``: do not send it again, because the deed left a trace for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    blocks: tuple[dict[str, Any], ...] = ()
    once: bool = False


class Inbox:
    """The entries in one directory."""

    def __init__(self, directory: Path, *, below: Path | None = None) -> None:
        """``below`` is the record store where the directory is a folder of it; else it has a marker of its own."""
        self._root = directory
        self._store = RecordStore(directory, below=below, purpose="records" if below else "inbox")
        self._has_own_marker = below is None
        self._mine: set[str] = set()
        self._guard = threading.Lock()

    def begin(self) -> None:
        """Mark a directory of its own, when the service starts. A record store is never made here."""
        if self._has_own_marker:
            self._store.begin()

    def put(self, asked: Asked) -> bool:
        """Keep what was asked; return False where it is there already. Raises Unavailable where it cannot be kept."""
        return self._create(f"inbox/{check_request_id(asked.id)}.json", asked.model_dump_json())

    def pending(self) -> list[str]:
        """Return the ids of what is not done yet, oldest first."""
        done = {key.rpartition("/")[2] for key in self._store.keys("done")}
        left = [key for key in self._store.keys("inbox") if key.rpartition("/")[2] not in done]
        aged = sorted((self._modified(key), key) for key in left)
        return [key.rpartition("/")[2].removesuffix(".json") for _, key in aged]

    def asked(self, entry: str) -> Asked | None:
        """Return an entry that is not done yet; None where it is done, or gone."""
        text = self._store.get(f"inbox/{entry}.json")
        if text is None or self._store.get(f"done/{entry}.json") is not None:
            return None
        return Asked.model_validate_json(text)

    def answer(self, entry: str) -> Answer | None:
        """Return what came of an entry, where that is known."""
        text = self._store.get(f"answers/{entry}.json")
        return None if text is None else Answer.model_validate_json(text)

    def decide(self, entry: str, answer: Answer) -> None:
        """Keep what came of an entry."""
        self._create(f"answers/{entry}.json", redact(answer.model_dump_json()))

    def begin_to_tell(self, entry: str) -> bool:
        """Say that it is being told now; return False where somebody began that before, and may have done it."""
        return self._create(f"told/{entry}.json", json.dumps({"at": datetime.now(UTC).isoformat()}))

    def finish(self, entry: str) -> None:
        """Note that everybody has the answer."""
        self._create(f"done/{entry}.json", json.dumps({"at": datetime.now(UTC).isoformat()}))

    def remember_requester(self, environment: str, number: int, user: str) -> None:
        """Keep who asked for a pull request: they may not approve it."""
        self._create(f"asked-for/{environment}/{number}/{user}.json", "{}")

    def requesters(self, environment: str, number: int) -> frozenset[str]:
        """Return who asked for a pull request."""
        keys = self._store.keys(f"asked-for/{environment}/{number}")
        return frozenset(key.rpartition("/")[2].removesuffix(".json") for key in keys)

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Hold the lock of this name; gives False where another thread or replica holds it."""
        with self._guard:
            if name in self._mine:
                free = False
            else:
                self._mine.add(name)
                free = True
        if not free:
            yield False
            return
        try:
            with self._locked(name) as held:
                yield held
        finally:
            with self._guard:
                self._mine.discard(name)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[bool]:
        self._store.see()
        folder = self._root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)

    def sweep(self) -> None:
        """Forget what was done long ago."""
        until = time.time() - KEEP_SECONDS
        for key in self._store.keys("done"):
            if self._modified(key) >= until:
                continue
            name = key.rpartition("/")[2]
            # The entry first: without it nothing is left to do, whatever else is there.
            for part in (f"inbox/{name}", f"answers/{name}", f"told/{name}", f"locks/{name[:-5]}", f"done/{name}"):
                (self._root / part).unlink(missing_ok=True)

    def _modified(self, key: str) -> float:
        try:
            return (self._root / key).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def _create(self, key: str, text: str) -> bool:
        try:
            self._store.put(key, text)
        except Refused:
            return False
        return True


def id_of(kind: str, trigger: str, otherwise: object) -> str:
    """Return the id of what was asked: the same for every copy of a request, and for nothing else."""
    what = f"{kind}\n{trigger}" if trigger else json.dumps([kind, otherwise], sort_keys=True, default=str)
    return f"slack-{hashlib.sha256(what.encode()).hexdigest()[:40]}"
