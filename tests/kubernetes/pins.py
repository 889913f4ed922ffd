"""Each pin of ``manifests/pins.toml``: is it past its time?

``python -m tests.kubernetes.pins`` says which are, and ends with 1 then. It needs nothing but Python, so that a
scheduled job installs nothing for it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "manifests" / "pins.toml"


@dataclass(frozen=True)
class Pin:
    """One image or chart of somebody else's; a chart has no digest."""

    name: str
    tag: str
    looked: date
    renew_days: int
    least: str
    why: str
    from_: str
    digest: str = ""

    @property
    def image(self) -> str:
        """The name with tag and digest, as a manifest has it."""
        return f"{self.name}:{self.tag}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"

    @property
    def due(self) -> date:
        """The last day on which it is in time."""
        return self.looked + timedelta(days=self.renew_days)

    @property
    def is_safe(self) -> bool:
        """Whether the tag is not older than ``least``."""
        return numbers(self.tag) >= numbers(self.least)


def numbers(tag: str) -> tuple[int, ...]:
    """Return the version that a tag begins with: ``v4.5.0`` and ``26.08-py3`` as numbers."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    if found is None:
        raise ValueError(f"the tag {tag!r} begins with no version")
    return tuple(int(number) for number in found[1].split("."))


def load(text: str) -> list[Pin]:
    """Read the list; raise ValueError where it names one thing twice, or a key that is none."""
    found = []
    known = {each.name.rstrip("_") for each in fields(Pin)}
    for entry in tomllib.loads(text)["pin"]:
        if unknown := set(entry) - known:
            raise ValueError(f"{entry.get('name')}: no such key: {', '.join(sorted(unknown))}")
        found.append(Pin(**{"from_" if key == "from" else key: value for key, value in entry.items()}))
    names = [pin.name for pin in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))} is there twice")
    return found


def past_their_time(pins: Iterable[Pin], today: date) -> list[str]:
    """Return a sentence for each pin that is due, or that nobody can have looked at yet."""
    said = []
    for pin in pins:
        if pin.looked > today:
            said.append(f"{pin.name} {pin.tag}: `looked` is {pin.looked}, which is still to come")
        elif today > pin.due:
            late = (today - pin.due).days
            days = f"{late} {'day' if late == 1 else 'days'} past its {pin.renew_days}"
            said.append(
                f"{pin.name} {pin.tag}: {days}; see what is newest, read its advisories, set `tag`, `digest` and "
                "`looked` in manifests/pins.toml"
            )
    return said


def main(arguments: Sequence[str] = ()) -> int:
    """Say what is past its time, today or on the day that is named."""
    today = date.fromisoformat(arguments[0]) if arguments else datetime.now(tz=UTC).date()
    pins = load(FILE.read_text())
    for sentence in (said := past_their_time(pins, today)):
        sys.stderr.write(f"::error file=manifests/pins.toml::{sentence}\n")
    for pin in sorted(pins, key=lambda pin: pin.due):
        sys.stdout.write(f"{pin.due}  {pin.name} {pin.tag}\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
