"""Arrays of all rows: on the disk, in parts, and the same as in memory at once."""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bot.errors import Refused
from bot.evaluation import room
from bot.evaluation.metrics import metric
from bot.evaluation.statistics import Difference, compare
from tests.evaluation.test_measured import LABELS, REGION, ROWS, both


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all rows lie on the disk, and be looked at a few at a time."""
    monkeypatch.setattr(room, "ON_DISK_BYTES", 0)
    monkeypatch.setattr(room, "AT_ONCE", 37)


def _pages(of: np.memmap[Any, Any]) -> int:
    """Return how many KiB of a mapped file this process holds."""
    address, held, here = of.ctypes.data, 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()
        if "-" in head[0] and not head[0].endswith(":"):
            begin, end = (int(part, 16) for part in head[0].split("-"))
            here = begin <= address < end
        elif here and head[0] == "Rss:":
            held += int(head[1])
    return held


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="only Linux takes pages back")
def test_pages_that_were_looked_at_are_let_go_and_stay_in_the_file(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = room.room((2**18,), np.float64)
    assert isinstance(values, np.memmap)
    values[:] = np.arange(2**18)
    assert _pages(values) >= 2048
    room.release(values[5:].reshape(-1, 1))
    assert _pages(values) < 100
    assert values.sum() == (2**18 - 1) * 2**17
    room.release(values)
    monkeypatch.setattr(room, "AT_ONCE", 2**15)
    for part in room.parts(values):
        values[part] += 1
        assert _pages(values) < 1024
    assert values[-1] == 2**18


def test_what_is_small_stays_in_memory() -> None:
    assert not isinstance(room.room((100, 2), np.float32), np.memmap)
    room.release(np.zeros(3), np.zeros(3)[1:])


def test_a_folder_that_takes_nothing_is_named(small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(Refused, match=r"gone takes no answers to an evaluation set: No such file or directory"):
        room.room((10,), np.float64)


def test_parts_are_all_rows_and_wide_rows_come_few_at_a_time(small: None) -> None:
    narrow, wide = np.zeros(100), np.zeros((100, 10))
    assert [(one.start, one.stop) for one in room.parts(narrow)] == [(0, 37), (37, 74), (74, 100)]
    assert {one.stop - one.start for one in room.parts(narrow, None, wide)} == {3, 1}
    assert list(room.parts(np.zeros(0))) == []


@pytest.mark.parametrize("names", [np.array([5, -3, 5, 9, -3, 5]), np.array(["b", "a", "b"]), np.array([0, 2, 2, 1])])
def test_groups_are_numbered_in_the_order_of_their_names(names: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, sizes = np.unique(names, return_inverse=True, return_counts=True)[1:]
    for at_once in (2**20, 2):
        monkeypatch.setattr(room, "AT_ONCE", at_once)
        found, counts = room.groups_of(names)
        assert (found.tolist(), counts.tolist()) == (expected.tolist(), sizes.tolist())
        again, _ = room.groups_of(found)
        assert again is found, "numbers like these need no others"
        assert room.in_order(found, counts).tolist() == np.argsort(expected, kind="stable").tolist()


def test_rows_are_taken_by_number_and_by_mask(small: None) -> None:
    values = np.arange(300).reshape(100, 3)
    rows = np.array([2, 3, 50, 99])
    assert room.taken(values, rows).tolist() == values[rows].tolist()
    mask = np.arange(100) % 7 == 0
    assert room.kept(values, mask).tolist() == values[mask].tolist()
    assert room.distinct(np.array(list("cabac"))).tolist() == ["a", "b", "c"]


NUMBERS = np.random.default_rng(3).normal(size=(3, ROWS))
SHARES = [np.clip(LABELS * 0.4 + 0.3 + noise * 0.2, 0.01, 0.99).round(2) for noise in NUMBERS[:2]]
OF_CLASSES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "average_precision")
OF_NUMBERS = ("mae", "mse", "mape", "rmse", "r2", "quantile_loss@0.9")


def _both_ways(monkeypatch: pytest.MonkeyPatch, name: str, *given: np.ndarray, **more: Any) -> list[Difference]:
    whole = compare(metric(name), *given, **more)
    monkeypatch.setattr(room, "ON_DISK_BYTES", 0)
    monkeypatch.setattr(room, "AT_ONCE", 37)
    return [whole, compare(metric(name), *given, **more)]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", [*OF_CLASSES, "log_loss", "brier", *OF_NUMBERS, "ndcg@3"])
def test_parts_on_the_disk_say_what_all_rows_in_memory_say(
    name: str, grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[np.ndarray] = [LABELS, *map(both, SHARES)]
    if name in OF_NUMBERS:
        given = [NUMBERS[0], NUMBERS[1].astype(np.float32), NUMBERS[2].astype(np.float32)]
    elif name == "ndcg@3":
        given = [np.arange(ROWS) % 4, NUMBERS[1], NUMBERS[2].round(1)]
    groups = (
        np.unique(REGION, return_inverse=True)[1] + 7 * (np.arange(ROWS) % 50) if grouped or "ndcg" in name else None
    )
    whole, parts = _both_ways(monkeypatch, name, *given, groups=groups)
    assert whole.why == parts.why == "" and whole.rows == parts.rows
    for key in ("proposed", "in_service", "difference", "standard_error", "low", "high", "proposed_error"):
        found, expected = getattr(parts, key), getattr(whole, key)
        assert found == expected or found == pytest.approx(expected, rel=1e-9, abs=1e-12), key


@pytest.mark.parametrize("name", OF_CLASSES)
def test_rows_without_an_answer_count_alike_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    refused = random.random(ROWS) < 0.05, random.random(ROWS) < 0.02
    whole, parts = _both_ways(monkeypatch, name, LABELS, *map(both, SHARES), refused=refused)
    assert parts.difference == pytest.approx(whole.difference, rel=1e-9) and parts.rows == whole.rows < ROWS
    assert parts.low == pytest.approx(whole.low, rel=1e-9)
