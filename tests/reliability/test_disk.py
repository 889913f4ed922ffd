"""What a disk may forget: the model on which the matrix of lost writes stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.disk import Change, Disk


def _hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


class Log:
    """Does what it is told, and writes down what strace would."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir(mode=0o755)
        (self.root / "old").write_text("old")
        self.disk = Disk([self.root])
        self._file = folder / "log"
        self._lines: list[str] = []

    def __call__(self, call: str, *arguments: str, result: str = "0") -> None:
        self._lines.append(f"{call}({', '.join(arguments)}) = {result}")

    def path(self, name: str) -> str:
        return f'"{_hexed(str(self.root / name))}"'

    def descriptor(self, name: str) -> str:
        return f"3<{_hexed(str(self.root / name) if name else str(self.root))}>"

    def replace(self, *, content: str, sync: bool, sync_folder: bool) -> None:
        """Replace ``old`` by way of a new file."""
        new = self.descriptor("new")
        self("openat", "AT_FDCWD</>", self.path("new"), "O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC", "0666", result=new)
        self("fchmod", new, "0644")
        self("write", new, f'"{_hexed(content)}"', "3", result="3")
        (self.root / "old").write_text(content)
        (self.root / "old").chmod(0o644)
        if sync:
            self("fsync", new)
        self("rename", self.path("new"), self.path("old"))
        if sync_folder:
            self("fsync", self.descriptor(""))
        self._file.write_text("\n".join(self._lines) + "\n")
        self.disk.record(self._file)
        assert self.disk.misses() == []

    def left(self, survives: tuple[str, ...]) -> dict[str, str]:
        def kept(change: Change) -> bool:
            return change.says.startswith(survives)

        self.disk.cut(kept)
        return {path.name: path.read_text() for path in self.root.iterdir()}


@pytest.mark.parametrize(
    ("sync", "sync_folder", "survives", "left"),
    [
        (True, True, (), {"old": "new"}),
        (True, False, (), {"old": "old"}),
        (True, False, ("rename",), {"old": "new"}),
        (False, True, (), {"old": ""}),
        (False, False, (), {"old": "old"}),
        (False, False, ("rename",), {"old": ""}),
        (False, False, ("name",), {"old": "old", "new": ""}),
        (False, False, ("name", "write"), {"old": "old", "new": "new"}),
    ],
)
def test_what_was_not_synced_may_be_lost_and_may_be_kept(
    tmp_path: Path, sync: bool, sync_folder: bool, survives: tuple[str, ...], left: dict[str, str]
) -> None:
    log = Log(tmp_path)
    log.replace(content="new", sync=sync, sync_folder=sync_folder)
    assert log.left(survives) == left


def test_a_removal_that_was_not_synced_may_come_back(tmp_path: Path) -> None:
    for name, synced, left in (("one", False, {"old": "old"}), ("other", True, {})):
        (tmp_path / name).mkdir()
        log = Log(tmp_path / name)
        log("unlink", log.path("old"))
        if synced:
            log("fsync", log.descriptor(""))
        log._file.write_text("\n".join(log._lines) + "\n")
        log.disk.record(log._file)
        assert log.left(()) == left
