"""What is too large for memory lies in a file that has no name, and goes with who holds it."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from bot.errors import Refused
from bot.spool import Spool


def test_what_was_added_is_read_from_anywhere_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool()
    assert (spool.add(b"first"), spool.add(b""), spool.add(b"second")) == (0, 5, 5)
    assert (spool.read(5, 6), spool.read(0, 11), spool.read(3, 4)) == (b"second", b"firstsecond", b"stse")
    assert (spool.read(9, 50), spool.read(50, 5)) == (b"nd", b""), "no more than there is"
    assert list(tmp_path.iterdir()) == []


def test_its_descriptor_is_closed_with_it() -> None:
    spool = Spool()
    descriptor = spool._descriptor
    os.fstat(descriptor)
    del spool
    with pytest.raises(OSError) as closed:
        os.fstat(descriptor)
    assert closed.value.errno == errno.EBADF


def test_a_write_that_takes_only_a_part_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda to, content, at: whole(to, bytes(content)[:3], at))
    spool = Spool()
    assert (spool.add(b"12345678"), spool.read(0, 8)) == (0, b"12345678")


def test_a_disk_that_is_full_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spool = Spool()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(Refused, match="takes no golden cases: No space left on device") as refused:
        spool.add(b"content")
    assert "TMPDIR" in refused.value.next_step


def test_a_temporary_folder_that_is_gone_is_said_likewise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(Refused, match=r"gone takes no golden cases: No such file or directory"):
        Spool()
