"""What one process does on staging at a time."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.stores import begin_share


def test_only_one_is_at_work_at_a_time(tmp_path: Path) -> None:
    share = begin_share(tmp_path / "models", tmp_path / "state", staging=True)
    inside, let_go, entered = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        with share.at_work.alone("loading"):
            entered.append("first in")
            inside.set()
            let_go.wait(20)
            entered.append("first out")

    def second() -> None:
        with share.at_work.alone("loading"):
            entered.append("second in")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(20)
    threads[1].start()
    with share.at_work.alone("something else"):
        let_go.set()
    for thread in threads:
        thread.join(20)
    assert entered == ["first in", "first out", "second in"]
    with share.at_work.alone("loading"):
        assert not share.at_work.is_held("another name")
