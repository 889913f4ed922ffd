"""A disk that forgets what was not synced: the tree that is left after a power cut, from a log of system calls.

What is recorded is each change of the share and the record store, in order. What the disk may lose:

- the bytes of a file, write by write, and its mode, until the file was synced (``fsync``);
- a name (made, removed, or linked), until its folder was synced;
- a rename, which happens as a whole or not at all, until the folder that it moved something *into* was synced.

Nothing else keeps order: whatever was not synced may be lost or kept, each for itself. That is more than ext4 or XFS
would lose (they keep the order of names), and about what POSIX promises. What a synced folder names is there; whether
its *content* is there is that file's own business, so a rename that survived may lead to an empty file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_CALL = re.compile(r"(\w+)\((.*)\) += (\d+)(?:<(.*)>)?$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(?:AT_FDCWD|\d+)<((?:[^<>\\]|\\x[0-9a-f]{2})*)>")


@dataclass
class Node:
    """A file (``names`` is None) or a folder."""

    mode: int
    data: bytes = b""
    names: dict[str, Node] | None = None


@dataclass
class Change:
    """One change that the disk may forget until it is ``synced``; ``do`` makes it, on nodes."""

    says: str
    of: list[Node]
    do: Callable[[], None]
    synced: bool = False


@dataclass
class Disk:
    """The trees below ``roots`` as they were, and what was done to them since."""

    roots: list[Path]
    changes: list[Change] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Twice: one tree has every change, to find by its path what a call is about; the other those that survive.
        self._now: dict[Path, Node] = {}
        self._then: dict[int, Node] = {}
        self._kept = {root: self._read(root) for root in self.roots}

    def _read(self, root: Path) -> Node:
        node = self._mirrored(root.stat().st_mode & 0o7777, folder=True)
        self._now[root] = node
        kept = self._then[id(node)]
        assert node.names is not None and kept.names is not None
        for path in sorted(root.iterdir()):
            child = self._read(path) if path.is_dir() else self._file(path)
            node.names[path.name] = child
            kept.names[path.name] = self._then[id(child)]
        return node

    def _file(self, path: Path) -> Node:
        node = self._mirrored(path.stat().st_mode & 0o7777, folder=False)
        node.data = self._then[id(node)].data = path.read_bytes()
        return node

    def _mirrored(self, mode: int, *, folder: bool) -> Node:
        node = Node(mode, names={} if folder else None)
        self._then[id(node)] = Node(mode, names={} if folder else None)
        self._keep = [*getattr(self, "_keep", []), node]  # lest an id be given twice
        return node

    # --- recording ---------------------------------------------------------------------------------------------

    def record(self, log: Path) -> None:
        """Take note of every change in a log that strace wrote with ``-y -xx``."""
        for line in log.read_text().splitlines():
            if found := _CALL.match(line):
                self._call(found[1], found[2], _unhex(found[4] or ""))

    def _call(self, name: str, arguments: str, opened: str) -> None:
        paths = list(_paths(arguments))
        if name in ("open", "openat"):
            self._open(Path(opened), arguments)
        elif name in ("mkdir", "mkdirat"):
            self._new(paths[0], _mode(arguments), folder=True)
        elif name in ("rename", "renameat", "renameat2"):
            self._rename(paths[0], paths[1])
        elif name in ("link", "linkat"):
            node = self._find(paths[0])
            if node is not None:
                self._name(paths[1], node)
        elif name in ("unlink", "unlinkat", "rmdir"):
            self._unname(paths[0])
        elif name in ("chmod", "fchmod", "fchmodat"):
            node = self._find(paths[0] if name != "fchmod" else _descriptor(arguments))
            if node is not None:
                self._chmod(node, _mode(arguments))
        elif name == "write":
            node = self._find(_descriptor(arguments))
            if node is not None and node.names is None:
                self._write(node, _unhexed(arguments))
        elif name in ("fsync", "fdatasync"):
            node = self._find(_descriptor(arguments))
            if node is not None:
                self._sync(node)
        elif any(self._find(path) for path in paths):
            raise NotImplementedError(f"{name} of {paths}")

    def _open(self, path: Path, arguments: str) -> None:
        if "O_CREAT" in arguments and self._find(path) is None:
            self._new(path, _mode(arguments), folder=False)
        elif "O_TRUNC" in arguments and self._find(path) is not None:
            raise NotImplementedError(f"{path} is truncated in place")

    def _new(self, path: Path, mode: int, *, folder: bool) -> None:
        if self._find(path.parent) is not None:
            self._name(path, self._mirrored(mode & ~_UMASK, folder=folder))

    def _name(self, path: Path, node: Node) -> None:
        parent = self._folder(path.parent)
        if parent is None:
            return
        there, kept = self._then[id(parent)], self._then[id(node)]
        _names(parent)[path.name] = node
        self._note(f"name {path}", [parent], lambda: _names(there).__setitem__(path.name, kept))

    def _unname(self, path: Path) -> None:
        parent = self._folder(path.parent)
        if parent is None:
            return
        there = self._then[id(parent)]
        _names(parent).pop(path.name, None)
        self._note(f"unname {path}", [parent], lambda: _names(there).pop(path.name, None))

    def _rename(self, source: Path, target: Path) -> None:
        out, into, node = self._folder(source.parent), self._folder(target.parent), self._find(source)
        if out is None or into is None or node is None:
            return
        there, here, kept = self._then[id(out)], self._then[id(into)], self._then[id(node)]
        _names(out).pop(source.name)
        _names(into)[target.name] = node

        def rename() -> None:
            if _names(there).get(source.name) is kept:
                del _names(there)[source.name]
            _names(here)[target.name] = kept

        self._note(f"rename {source} to {target}", [into], rename)

    def _chmod(self, node: Node, mode: int) -> None:
        kept = self._then[id(node)]
        node.mode = mode
        self._note(f"mode {mode:o}", [node], lambda: setattr(kept, "mode", mode))

    def _write(self, node: Node, data: bytes) -> None:
        kept, at = self._then[id(node)], len(node.data)
        node.data += data

        def write() -> None:
            # What was lost before it reads as zeros.
            kept.data = kept.data[:at].ljust(at, b"\0") + data + kept.data[at + len(data) :]

        self._note(f"write {len(data)} bytes", [node], write)

    def _note(self, says: str, of: list[Node], do: Callable[[], object]) -> None:
        self.changes.append(Change(says, of, lambda: do() and None))

    def _sync(self, node: Node) -> None:
        for change in self.changes:
            change.synced |= any(one is node for one in change.of)

    def _find(self, path: Path) -> Node | None:
        root = next((root for root in self.roots if path == root or root in path.parents), None)
        if root is None:
            return None
        node: Node | None = self._now[root]
        for name in path.relative_to(root).parts:
            node = node.names.get(name) if node is not None and node.names is not None else None
        return node

    def _folder(self, path: Path) -> Node | None:
        node = self._find(path)
        return node if node is not None and node.names is not None else None

    def misses(self) -> list[str]:
        """Return where what was recorded is not what there is: then no power cut of it would say anything."""
        return [wrong for root in self.roots for wrong in self._differences(root, self._now[root])]

    def _differences(self, path: Path, node: Node) -> Iterator[str]:
        if node.mode != path.stat().st_mode & 0o7777:
            yield f"{path} has mode {path.stat().st_mode & 0o7777:o}, not {node.mode:o}"
        if node.names is None:
            if path.read_bytes() != node.data:
                yield f"{path} has other bytes"
            return
        there = {child.name for child in path.iterdir()}
        yield from (f"{path / name} is there, or is not" for name in there ^ node.names.keys())
        for name in there & node.names.keys():
            yield from self._differences(path / name, node.names[name])

    # --- the power cut -----------------------------------------------------------------------------------------

    @property
    def unsynced(self) -> list[Change]:
        """The changes that may be lost."""
        return [change for change in self.changes if not change.synced]

    def cut(self, survives: Callable[[Change], bool]) -> None:
        """Forget each change that was not synced and does not survive, and write the trees to where they were."""
        from tests.reliability.servers import empty

        for change in self.changes:
            if change.synced or survives(change):
                change.do()
        for root, node in self._kept.items():
            empty(root)
            self._write_out(root, self._then[id(node)])

    def _write_out(self, path: Path, node: Node) -> None:
        if node.names is None:
            path.write_bytes(node.data)
        else:
            path.mkdir()
            for name, child in node.names.items():
                self._write_out(path / name, child)
        path.chmod(node.mode)


_UMASK = os.umask(0o022)
os.umask(_UMASK)


def _names(node: Node) -> dict[str, Node]:
    assert node.names is not None
    return node.names


def _unhex(text: str) -> str:
    return re.sub(r"(?:\\x[0-9a-f]{2})+", lambda m: _bytes(m[0]).decode(errors="surrogateescape"), text)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _unhexed(arguments: str) -> bytes:
    found = _STRING.search(arguments)
    assert found, arguments
    return _bytes(found[1])


def _descriptor(arguments: str) -> Path:
    found = re.match(_DESCRIPTOR, arguments)
    return Path(_unhex(found[1])) if found else Path()


def _paths(arguments: str) -> Iterator[Path]:
    """Yield the paths that are named, each beneath the folder that was given before it."""
    base = Path("/")
    for found in re.finditer(f"{_DESCRIPTOR.pattern}|{_STRING.pattern}", arguments):
        if found[1] is not None:
            base = Path(_unhex(found[1]))
        else:
            yield base / _unhex(found[2])


def _mode(arguments: str) -> int:
    found = re.search(r"\b(0[0-7]+)\b(?!.*\b0[0-7]+\b)", re.sub(r'"[^"]*"|<[^>]*>', "", arguments))
    return int(found[1], 8) if found else 0o666
