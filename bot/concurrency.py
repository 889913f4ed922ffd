"""Several things at the same time, never more than the settings say, and none of them left behind.

    map_concurrent   many things of one kind; the first error ends the group
    gather           every server at once; each has its answer, or its error
    background       one thing beside what follows, whose answer is asked for later
    lazy             one thing that many ask for, read once
    begin            one thing that nobody waits for: a thread that keeps no process from ending
    pool             workers for what arrives while they work
    room_for         few at a time of what takes much memory

The caller that begins a group waits for all of it. ``background`` and ``begin`` are the exceptions: a hung worker
must not delay another worker's error. A group raises :class:`bot.errors.LeaseLost` like any other error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Protocol, TypeVar

from bot.errors import PromobotError

Thing = TypeVar("Thing")
System = TypeVar("System")
Answer = TypeVar("Answer")
Worker = Callable[[], None]
Heard = tuple[System, Answer | PromobotError]
"""A server and its answer, or its error."""

MODELS = 4
"""Triton loads four models at a time (its own ``--model-load-thread-count``) and has the fifth wait, while our
deadline for that one runs already; MLflow's server has four workers; and synced writes of four small files take
hardly longer than of one. What takes more gains nothing."""
SERVERS = 32
FILES = 4
"""Two cores are busy with three, a fourth covers for one that waits. Decision 27 has the figures."""
RECORDS = 16

LARGE_BYTES = 4 * 2**20
LARGE_AT_ONCE = 4
"""Of what takes more than ``LARGE_BYTES``: golden requests, each of which is in memory several times."""

_GIVEN_UP_SECONDS = 3.0
_large = threading.BoundedSemaphore(LARGE_AT_ONCE)


class Schedule(Protocol):
    """Decides which worker of a group goes on, and when."""

    def run(self, workers: Sequence[Worker], *, interrupted: Callable[[BaseException], None]) -> None:
        """Run all workers and return when all have ended; they raise nothing.

        If something interrupts the wait, it calls ``interrupted`` with that, before it waits for the workers.
        """


class Threads:
    """A thread for each worker; the operating system decides."""

    def run(self, workers: Sequence[Worker], *, interrupted: Callable[[BaseException], None]) -> None:
        """Run them side by side; one alone runs in the caller's thread."""
        if len(workers) == 1:
            workers[0]()
            return
        with ThreadPoolExecutor(max(1, len(workers)), thread_name_prefix="promobot-worker") as threads:
            try:
                for running in [threads.submit(worker) for worker in workers]:
                    running.result()
            except BaseException as error:
                interrupted(error)
                raise


schedule: Schedule = Threads()
"""Tests put a seeded one here, which makes one interleaving of a run happen again (``tests/reliability``)."""


def map_concurrent(
    things: Iterable[Thing],
    work: Callable[[Thing], Answer],
    *,
    limit: int,
    first: Callable[[Thing], object] = lambda _: None,
    stop: threading.Event | None = None,
) -> list[Answer]:
    """Do the work for each, ``limit`` at a time; return the answers in the order of the things.

    They begin in their order, ``first`` right before each, and never two of those at once. An error ends the group:
    nothing is begun after it, ``stop`` is set for what is under way, all of that is waited for, and the error of the
    earliest thing is raised.
    """
    listed = list(things)
    waiting, lock = iter(enumerate(listed)), threading.Lock()
    answers: dict[int, Answer] = {}
    errors: dict[int, BaseException] = {}

    def fails(number: int, error: BaseException) -> None:
        errors.setdefault(number, error)
        if stop is not None:
            stop.set()

    def take() -> tuple[int, Thing] | None:
        with lock:
            taken = None if errors else next(waiting, None)
            if taken is not None:
                try:
                    first(taken[1])
                except BaseException as error:  # noqa: BLE001 - raised below
                    fails(taken[0], error)
                    return None
            return taken

    def worker() -> None:
        while (taken := take()) is not None:
            try:
                answers[taken[0]] = work(taken[1])
            except BaseException as error:  # noqa: BLE001 - raised below
                fails(taken[0], error)
                return

    schedule.run([worker] * min(limit, len(listed)), interrupted=lambda error: fails(-1, error))
    if errors:
        raise errors[min(errors)]
    return [answers[number] for number in range(len(listed))]


def gather(systems: Iterable[System], ask: Callable[[System], Answer], *, limit: int) -> list[Heard[System, Answer]]:
    """Ask all systems at the same time; return each with its answer, or with its error."""

    def asked(system: System) -> Answer | PromobotError:
        try:
            return ask(system)
        except PromobotError as error:
            return error

    listed = list(systems)
    return list(zip(listed, map_concurrent(listed, asked, limit=limit), strict=True))


def lazy(read: Callable[[], Answer]) -> Callable[[], Answer]:
    """Return what reads when it is first asked, and once; what goes wrong is told to each that asks."""
    lock, answers, errors = threading.Lock(), list[Answer](), list[PromobotError]()

    def ask() -> Answer:
        with lock:
            if not answers and not errors:
                try:
                    answers.append(read())
                except PromobotError as error:
                    errors.append(error)
        if errors:
            raise errors[0]
        return answers[0]

    return ask


def begin(work: Callable[[], Answer], *, name: str) -> Future[Answer]:
    """Begin in a thread of its own, which keeps no process from ending; return where the answer will be."""
    return _begin(work, name)[0]


@contextmanager
def background(work: Callable[[], Answer], *, name: str) -> Iterator[Future[Answer]]:
    """Begin ``work`` beside what follows; give where its answer, or its error, will be."""
    answer, thread = _begin(work, name)
    try:
        yield answer
    finally:
        # Nearly always it is done. Where something else failed first, a worker that hangs must not delay that error.
        thread.join(_GIVEN_UP_SECONDS)


def _begin(work: Callable[[], Answer], name: str) -> tuple[Future[Answer], threading.Thread]:
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is asked for
            answer.set_exception(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return answer, thread


@contextmanager
def pool(limit: int, *, name: str) -> Iterator[Callable[[Callable[[], object]], object]]:
    """Give what hands work to ``limit`` workers, whenever it arrives; all of it is waited for at the end."""
    with ThreadPoolExecutor(limit, thread_name_prefix=name) as threads:
        yield threads.submit


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Wait until fewer than ``LARGE_AT_ONCE`` others of this process hold as much; do not enter it twice."""
    with _large if size > LARGE_BYTES else nullcontext():
        yield
