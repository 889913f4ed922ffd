"""Turns: who may write to an environment, across processes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from bot.errors import LeaseLost, Unavailable
from bot.share import lease as leases
from tests.share.test_share import MODEL, share_at
from tests.stores import Unfenced
from tests.systems.tracing import Ended, clean, synced, traced

SECONDS = 30.0


class Deployer:
    """Another process that takes a turn, and then does what it is told."""

    def __init__(self, share: Unfenced, *, overtake: bool = False, wait_seconds: float = SECONDS) -> None:
        self._ours, theirs = clean.Pipe()
        self.refused = clean.Value("i", 0)
        """How often a lock was somebody else's."""
        self.process = clean.Process(target=_take, args=(share, theirs, self.refused, overtake, wait_seconds))
        self.process.start()

    def number(self) -> int:
        """Wait until it has its turn."""
        return self._received()

    def has_turn(self) -> bool:
        return self._ours.poll()

    def check(self) -> str:
        """Let it look at its turn; return what it raised, or nothing."""
        self._ours.send("check")
        return self._received()

    def end(self) -> None:
        self._ours.send("end")
        self.process.join(SECONDS)
        assert self.process.exitcode == 0

    def signal(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def _received(self) -> Any:
        assert self._ours.poll(SECONDS), "nothing was heard of the other process"
        return self._ours.recv()


def _take(share: Unfenced, told: Connection, refused: Any, overtake: bool, wait_seconds: float) -> None:
    lock = leases._try_lock

    def counted(*how: Any) -> bool:
        locked = lock(*how)
        refused.value += not locked
        return locked

    leases._try_lock = counted
    with share.lease(overtake=overtake, wait_seconds=wait_seconds) as held:
        told.send(held.lease.token)
        while told.recv() == "check":
            try:
                held.lease.check()
                told.send("")
            except LeaseLost as error:
                told.send(str(error))


def _write_in_turn(share: Unfenced, log: Path) -> None:
    with share.lease() as held:
        held.lease.check()
        with log.open("a") as file:
            file.write(f"begin {held.lease.token}\n")
            file.flush()
            time.sleep(0.005)  # a window for the others, should the lock not hold them
            file.write(f"end {held.lease.token}\n")
        held.lease.check()


Start = Callable[..., Deployer]


@pytest.fixture
def share(tmp_path: Path) -> Unfenced:
    return share_at(tmp_path)


@pytest.fixture
def start(share: Unfenced) -> Iterator[Start]:
    started: list[Deployer] = []

    def begin(**how: Any) -> Deployer:
        started.append(Deployer(share, **how))
        return started[-1]

    yield begin
    for deployer in started:
        deployer.process.kill()
        deployer.process.join(SECONDS)


def turns(share: Unfenced) -> list[int]:
    return sorted(int(path.name) for path in (share.state / "turns").iterdir())


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_numbers_only_rise(share: Unfenced) -> None:
    numbers = []
    for _ in range(3):
        with share.lease() as held:
            held.lease.check()
            numbers.append(held.lease.token)
    assert numbers == [1, 2, 3]


def test_old_numbers_are_forgotten_and_never_given_again(share: Unfenced) -> None:
    for expected in range(1, 121):
        with share.lease() as held:
            assert held.lease.token == expected
    assert len(turns(share)) <= 60 and turns(share)[-1] == 120


def test_two_processes_exclude_each_other(start: Start) -> None:
    first = start()
    assert first.number() == 1
    second = start()
    assert first.check() == "" and not second.has_turn()
    assert first.check() == ""
    first.end()
    assert second.number() == 2
    assert second.check() == ""
    second.end()


def test_of_many_each_has_its_turn_alone(share: Unfenced, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [clean.Process(target=_write_in_turn, args=(share, log)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0] * 8
    assert log.read_text().split("\n")[:-1] == [f"{what} {n}" for n in range(1, 9) for what in ("begin", "end")]


def test_a_number_that_a_listing_does_not_show_is_not_taken_twice(share: Unfenced, tmp_path: Path) -> None:
    """An NFS client may list a folder as it was."""
    with share.lease() as first:
        taken = tmp_path / "taken"

    def work() -> None:
        with share.lease(overtake=True) as held:
            taken.write_text(str(held.lease.token))

    assert traced(work, inject="getdents64:retval=0", path=share.state / "turns") == Ended(killed=False)
    assert int(taken.read_text()) == first.lease.token + 1


def test_who_overtakes_waits_for_nobody_and_the_holder_stops_at_its_next_step(start: Start) -> None:
    holder = start()
    assert holder.number() == 1
    holder.signal(signal.SIGSTOP)

    rollback = start(overtake=True)
    assert rollback.number() == 2
    assert rollback.check() == ""

    holder.signal(signal.SIGCONT)
    assert "turn 1 is over" in holder.check()
    assert rollback.check() == "", "the rollback is the latest, and goes through"
    holder.end()
    rollback.end()


def test_who_waits_for_the_lock_does_not_end_a_rollback_that_overtook_its_holder(start: Start) -> None:
    holder = start()
    assert holder.number() == 1
    waiting = start()
    rollback = start(overtake=True)
    assert rollback.number() == 2
    assert "turn 1 is over" in holder.check()
    holder.end()

    refused = waiting.refused.value
    until(lambda: waiting.refused.value > refused + 1)  # twice since, and each time in vain
    assert not waiting.has_turn()
    assert rollback.check() == ""
    rollback.end()
    assert waiting.number() == 3
    waiting.end()


def test_of_two_rollbacks_the_later_goes_through_and_is_not_alone(share: Unfenced, start: Start) -> None:
    first = start(overtake=True)
    assert first.number() == 1
    with share.lease(overtake=True) as second:
        assert (second.lease.token, second.lease.alone) == (2, False)
        assert "turn 1 is over" in first.check()
        first.end()
    with share.lease(wait_seconds=0) as third:
        assert third.lease.alone


def test_a_rollback_that_hangs_is_not_waited_for_for_ever(start: Start) -> None:
    rollback = start(overtake=True)
    assert rollback.number() == 1
    rollback.signal(signal.SIGSTOP)
    second = start(wait_seconds=0.2)
    assert second.number() == 2
    second.end()
    rollback.signal(signal.SIGCONT)
    assert "turn 1 is over" in rollback.check()
    rollback.end()


def test_a_holder_that_hangs_is_not_waited_for_for_ever_and_is_refused_when_it_wakes_up(start: Start) -> None:
    holder = start()
    assert holder.number() == 1
    holder.signal(signal.SIGSTOP)

    second = start(wait_seconds=0.2)
    assert second.number() == 2
    assert second.check() == ""
    second.end()

    holder.signal(signal.SIGCONT)
    assert "turn 2 was taken by a later" in holder.check()
    holder.end()


def test_a_holder_that_was_killed_holds_nothing(start: Start) -> None:
    holder = start()
    assert holder.number() == 1
    holder.signal(signal.SIGKILL)
    holder.process.join(SECONDS)
    second = start()
    assert second.number() == 2
    second.end()


def test_superseded_says_that_the_other_converges(share: Unfenced) -> None:
    with share.lease() as first, share.lease(overtake=True), pytest.raises(LeaseLost) as failure:
        first.lease.check()
    assert "Nothing more was changed from here" in failure.value.state
    assert "promobot status" in failure.value.next_step


def test_a_turn_ends_with_an_error_of_its_own(share: Unfenced, start: Start) -> None:
    with pytest.raises(ZeroDivisionError), share.lease():
        raise ZeroDivisionError
    assert start().number() == 2


def test_a_share_that_cannot_be_written_gives_no_turn(tmp_path: Path) -> None:
    share = share_at(tmp_path)
    shutil.rmtree(share.state)
    share.state.write_text("no folder")
    with pytest.raises(Unavailable, match="could not look at"), share.lease():
        pass


def test_a_turn_that_cannot_be_looked_at_lets_nobody_write(share: Unfenced) -> None:
    with share.lease() as held:
        (share.state / "turns").rename(share.state / "away")
        with pytest.raises(Unavailable, match="could not look for a later turn: No such file"):
            held.lease.check()
        (share.state / "away").rename(share.state / "turns")
        held.lease.check()


def test_a_lock_that_closes_with_an_error_takes_nothing_back(share: Unfenced) -> None:
    with share.lease():
        pass

    def work() -> None:
        with share.lease():
            pass

    assert traced(work, inject="close:error=ENOSPC", path=share.state / "lock") == Ended(killed=False)
    with share.lease(wait_seconds=0) as held:
        assert held.lease.alone


def test_a_number_is_on_the_disk_before_anything_bears_it(share: Unfenced, tmp_path: Path) -> None:
    def work() -> None:
        with share.lease():
            share.journal_of(1).write("{}")

    steps = synced(work, tmp_path / "strace")
    renamed = next(number for number, step in enumerate(steps) if step.startswith("move "))
    assert f"sync {share.state}/turns" in steps[:renamed]


def test_who_has_the_lock_is_alone_and_who_did_not_wait_for_it_is_not(share: Unfenced, start: Start) -> None:
    with share.lease() as held:
        assert held.lease.alone
    holder = start()
    assert holder.number()
    with share.lease(wait_seconds=0) as held:
        assert not held.lease.alone
    holder.end()


@pytest.mark.parametrize("alone", [False, True])
def test_what_killed_processes_left_behind_is_swept(share: Unfenced, alone: bool) -> None:
    share.models.publish(MODEL.package, MODEL.read, triton_model="churn", version=7)
    now = time.time()
    for folder, age_seconds in (("old", 2 * 86400), ("young", 3600)):
        for where in ("staging", "trash"):
            left = share.state / where / folder
            (left / "deep").mkdir(parents=True)
            (left / "deep" / "model.onnx").write_text("half")
            (left / "deep").chmod(0o555)
            os.utime(left, (now - age_seconds, now - age_seconds))
    half_a_file = share.state / "staging" / "routes.json.1234"
    half_a_file.write_text("{")
    os.utime(half_a_file, (now - 2 * 86400,) * 2)

    assert share.trash.sweep(alone=alone) == (5 if alone else 3)

    for where in ("staging", "trash"):
        assert [path.name for path in (share.state / where).iterdir()] == ([] if alone else ["young"])
    assert share.models.versions("churn") == [7]
    assert share.trash.sweep(alone=alone) == 0


def test_who_yields_takes_the_lease_from_nobody(share: Unfenced, start: Start) -> None:
    with share.lease(yields=True, wait_seconds=0) as held:
        assert held.lease.alone
    holder = start()
    number = holder.number()
    with (
        pytest.raises(Unavailable, match="another deployment is under way"),
        share.lease(yields=True, wait_seconds=0),
    ):
        raise AssertionError("it has the lease")
    assert turns(share)[-1] == number and holder.check() == ""
    holder.end()
    with share.lease(yields=True, wait_seconds=0) as held:
        assert held.lease.token == number + 1


def test_a_share_out_of_a_backup_counts_on_behind_the_turns_that_it_has_forgotten(share: Unfenced) -> None:
    with share.lease(above=41) as held:
        assert held.lease.token == 42
    with share.lease(above=7) as held:
        assert held.lease.token == 43, "it knows later ones itself"
    assert turns(share)[-1] == 43
