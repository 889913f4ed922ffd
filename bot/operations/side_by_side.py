"""Many things of one kind, a few of them at the same time, as if one had been done after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from bot.errors import PromobotError

Thing = TypeVar("Thing")
Answer = TypeVar("Answer")

AT_ONCE = 4
"""How many are under way at the same time.

Triton loads four models at a time (its own ``--model-load-thread-count``) and has the fifth wait, while our deadline
for that one runs already; MLflow's server has four workers; and synced writes of four small files take hardly longer
than of one. What takes more gains nothing.
"""
FEW = 2
"""Up to so many are done one after the other, where whoever asked is: nothing is gained by more, and every file and
request then comes in an order that a test can count on."""


def side_by_side(
    things: Iterable[Thing], work: Callable[[Thing], object], *, first: Callable[[Thing], object] = lambda _: None
) -> None:
    """Do the work for each; begin in their order, ``first`` right before each, never two of those at once.

    An error ends it: nothing is begun after it, what is under way is waited for, and the first of them is raised.
    """
    listed = list(things)
    waiting, lock = iter(enumerate(listed)), Lock()
    errors: dict[int, BaseException] = {}

    def take() -> tuple[int, Thing] | None:
        with lock:
            following = None if errors else next(waiting, None)
            if following is not None:
                try:
                    first(following[1])
                except BaseException as error:  # noqa: BLE001 - raised below
                    errors[following[0]] = error
                    return None
            return following

    def do(_: int) -> None:
        while (taken := take()) is not None:
            try:
                work(taken[1])
            except BaseException as error:  # noqa: BLE001 - raised below
                errors[taken[0]] = error
                return

    if len(listed) <= FEW:
        for one in listed:
            first(one)
            work(one)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            list(pool.map(do, range(min(AT_ONCE, len(listed)))))
        except BaseException as error:  # whoever waits was interrupted: no more is begun
            errors.setdefault(-1, error)
            raise
    if errors:
        raise errors[min(errors)]


def read_once(read: Callable[[], Answer]) -> Callable[[], Answer]:
    """Read now, for many items; what goes wrong is told to each of them when it asks."""
    try:
        answer = read()
    except PromobotError as error:
        failed = error

        def fail() -> Answer:
            raise failed

        return fail
    return lambda: answer
