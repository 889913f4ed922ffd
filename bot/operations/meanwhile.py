"""Something that waits for somebody outside, while other things are done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TypeVar

Answer = TypeVar("Answer")

_GIVEN_UP_SECONDS = 3.0


@contextmanager
def meanwhile(work: Callable[[], Answer]) -> Iterator[Future[Answer]]:
    """Begin ``work`` beside what follows; give where its answer, or its error, will be."""
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is asked for
            answer.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield answer
    finally:
        # Nearly always it is done. Where something else failed first, who hangs does not keep that error back.
        thread.join(_GIVEN_UP_SECONDS)
