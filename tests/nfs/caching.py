"""How long a reader goes on seeing what was, by mount options and by how it looks.

The writer is client ``a``; the reader, client ``b``, has the export mounted once for each set of options and looks
through each of them all the while, in every way, each way in a folder of its own: a look that refreshes what the
client knows of a folder must help no other. What is measured is the time from when the writer is done until the
reader sees it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.nfs.guest import Told
from tests.nfs.lab import Lab

OPTIONS = {
    "default": "",
    "actimeo=1": "actimeo=1",
    "lookupcache=none": "lookupcache=none",
    "lookupcache=positive": "lookupcache=positive",
    "acdirmax=3": "acdirmax=3",
    "nocto": "nocto",
    "noac": "noac",
}
PAUSE_SECONDS = 0.1
ROUND_SECONDS = 75.0

Look = Callable[[Path, str], bool]
"""Given its folder and the round's name: whether the new is seen."""


def _is_there(folder: Path, name: str) -> bool:
    return (folder / name).is_dir()


def _is_gone(folder: Path, name: str) -> bool:
    return not (folder / f"old-{name}").is_dir()


def _holds(folder: Path, name: str) -> bool:
    return (folder / "file").read_text() == name


def _listed(look: Look) -> Look:
    def first(folder: Path, name: str) -> bool:
        list(folder.iterdir())
        return look(folder, name)

    return first


@dataclass(frozen=True)
class Way:
    """A way to look, and what the writer does that it looks for."""

    says: str
    look: Look
    change: Callable[[Path, str], None]
    asked_before: bool = True


def _rename_in(folder: Path, name: str) -> None:
    staged = folder.parent / f"staged-{os.urandom(4).hex()}"
    staged.mkdir()
    staged.rename(folder / name)


def _rename_away(folder: Path, name: str) -> None:
    (folder / f"old-{name}").rename(folder.parent / f"trash-{os.urandom(4).hex()}")


def _replace(folder: Path, name: str) -> None:
    staged = folder.parent / f"staged-{os.urandom(4).hex()}"
    staged.write_text(name)
    staged.replace(folder / "file")


def _replace_and_keep(folder: Path, name: str) -> None:
    os.link(folder / "file", folder.parent / f"kept-{os.urandom(4).hex()}")
    _replace(folder, name)


WAYS = {
    "fresh": Way("a new folder, by a name nobody asked for", _is_there, _rename_in, asked_before=False),
    "asked": Way("a new folder, by a name asked for before", _is_there, _rename_in),
    "listed": Way("the same, after listing its parent", _listed(_is_there), _rename_in),
    "replaced": Way("a replaced file, opened by its name", _holds, _replace),
    "replaced-listed": Way("the same, after listing its parent", _listed(_holds), _replace),
    "linked": Way("a replaced file whose old inode has another name", _holds, _replace_and_keep),
    "linked-listed": Way("the same, after listing its parent", _listed(_holds), _replace_and_keep),
    "gone": Way("a folder that was renamed away", _is_gone, _rename_away),
    "gone-listed": Way("the same, after listing its parent", _listed(_is_gone), _rename_away),
}


def prepare(share: str, rounds: int) -> None:
    """Make the folders, on the writer."""
    for way in WAYS:
        folder = Path(share) / "caching" / way
        folder.mkdir(parents=True)
        (folder / "file").write_text("nothing yet")
        for number in range(rounds):
            (folder / f"old-{number}").mkdir()


def change(share: str, name: str) -> dict[str, float]:
    """Do what is to be seen, on the writer; return when each was done."""
    done = {}
    for key, way in WAYS.items():
        way.change(Path(share) / "caching" / key, name)
        done[key] = time.time()
    return done


def watch(mounts: Mapping[str, str], name: str, told: Told) -> dict[str, dict[str, float]]:
    """Look until all is seen, or too long; return when each was seen first through each mount, and how it looked.

    Names that nobody asked for are not asked for until told.
    """
    seen: dict[str, dict[str, float]] = {key: {} for key in mounts}
    began, changed = time.monotonic(), 0.0
    while not changed or time.monotonic() < changed + ROUND_SECONDS:
        if not changed and (told.to_stop() or time.monotonic() > began + ROUND_SECONDS):
            changed = time.monotonic()
        for options, mount in mounts.items():
            for key, way in WAYS.items():
                if key in seen[options] or not (way.asked_before or changed):
                    continue
                try:
                    if way.look(Path(mount) / "caching" / key, name):
                        seen[options][key] = time.time()
                except FileNotFoundError:
                    pass  # between a handle that is stale and the name's new one
        if all(len(found) == len(WAYS) for found in seen.values()):
            break
        time.sleep(PAUSE_SECONDS)
    return seen


def clock() -> float:
    return time.time()


@dataclass(frozen=True)
class Row:
    """What was measured of one set of options and one way."""

    options: str
    way: str
    seconds: tuple[float, ...]

    @property
    def shown(self) -> str:
        return f"{statistics.median(self.seconds):.1f} ({max(self.seconds):.1f})"


def measure(lab: Lab, rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Mount the export at the reader with each set of options; look at what the writer changes, so many rounds."""
    writer = lab.home / "caching-writer"
    lab.a.mount("/share", writer)
    lab.a.call(prepare, share=str(writer), rounds=rounds)
    mounts = {}
    for number, (name, options) in enumerate(OPTIONS.items()):
        mounts[name] = str(lab.home / f"caching-{number}")
        lab.b.mount("/share", Path(mounts[name]), ",".join(filter(None, (options, "nosharecache"))))
    found: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        watching = lab.b.start(watch, mounts=mounts, name=str(number))
        time.sleep(3)
        apart = lab.b.call(clock) - lab.a.call(clock)
        done = lab.a.call(change, share=str(writer), name=str(number))
        for options, seen in watching.stop().items():
            for way, at in done.items():
                seconds = seen[way] - at - apart if way in seen else ROUND_SECONDS
                found.setdefault((options, way), []).append(max(0.0, seconds))
        say(f"  round {number + 1} of {rounds}")
    for mount in mounts.values():
        lab.b.unmount(Path(mount))
    lab.a.unmount(writer)
    return [Row(options, way, tuple(seconds)) for (options, way), seconds in found.items()]


def table(rows: list[Row]) -> str:
    """Return the median and the longest time in seconds, a line for each way and a column for each set of options."""
    cells = {(row.way, row.options): row.shown for row in rows}
    width = max(len(way.says) for way in WAYS.values())
    lines = [" " * width + "".join(f"  {options:>20}" for options in OPTIONS)]
    for key, way in WAYS.items():
        lines.append(f"{way.says:{width}}" + "".join(f"  {cells[(key, options)]:>20}" for options in OPTIONS))
    return "\n".join(lines)


AT_ONCE_SECONDS = 5.0


def problems(rows: list[Row]) -> list[str]:
    """Say what was never seen, and where listing first did not help though nothing says that it should not."""
    found = [f"{row.options}, {row.way}: not within {ROUND_SECONDS:g} s" for row in rows if max(row.seconds) >= 70]
    for row in rows:
        if row.way.endswith("listed") and row.options != "nocto" and max(row.seconds) > AT_ONCE_SECONDS:
            found.append(f"{row.options}, {row.way}: {max(row.seconds):.1f} s")
    return found
