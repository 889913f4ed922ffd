"""What main says, for verbs that go on without it where Git or GitHub does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING

from bot.concurrency import background
from bot.errors import InvalidInput, PromobotError, Unavailable

if TYPE_CHECKING:
    from bot.domain.desired import Desired
    from bot.platform import Platform
    from bot.systems.git import Repository


@dataclass(frozen=True)
class Main:
    """The head of main, and the repository with which it was read."""

    repository: Repository
    commit: str
    desired: Desired


Look = Callable[[], Main | PromobotError]
"""Returns main, or why it cannot be read."""


@contextmanager
def main_beside(platform: Platform, *, within_seconds: float | None = None) -> Iterator[Look]:
    """Begin to read main beside what follows; yield what returns it, or why it cannot be read.

    Nobody waits longer than ``within_seconds``, counted from here: a remote that hangs counts as one that does not
    answer, and Git is ended then. Without it Git has its usual time.
    """
    until = None if within_seconds is None else monotonic() + within_seconds
    # Not in the thread: callers import, too, and two threads that import take turns.
    import_module("bot.systems.git")
    with background(lambda: _read(platform, within_seconds), name="main") as answer:

        def look() -> Main | PromobotError:
            main = _waited_for(answer, platform.settings.github.clone_url, until)
            if not isinstance(main, Main | InvalidInput):
                # Git may still be at work there, or was ended in the middle: the next attempt begins anew.
                platform.give_up_repository()
            return main

        yield look


def _read(platform: Platform, limit_seconds: float | None) -> Main:
    repository = platform.repository(limit_seconds=limit_seconds)
    commit = repository.head()
    from bot.operations.proposing import read_desired  # not before: Git fetches while the caller imports this, too

    return Main(repository, commit, read_desired(repository, platform.environment, commit))


def _waited_for(answer: Future[Main], url: str, until: float | None) -> Main | PromobotError:
    try:
        return answer.result(timeout=None if until is None else max(0.0, until - monotonic()))
    except NotInTime:
        return Unavailable("did not say in time where main is", system=f"Git ({url})")
    except PromobotError as error:
        return error
