"""Changes of bundles: a change of any part is a change of all of them. See also :mod:`bot.domain.asked`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from bot.domain.bundle import Bundle, Bundles, Part, bundle_of
from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.release import Release, Slot


def bundle_in(entries: Mapping[str, Entry], name: str, parts: Sequence[str]) -> Bundle:
    """Return the bundle that these entries make, by model's name."""
    return Bundle(
        name=name,
        parts=tuple(
            Part(model=model, version=entry.version, digest=entry.digest, run=entry.run)
            for model in parts
            if (entry := entries.get(model))
        ),
        missing=tuple(model for model in parts if model not in entries),
    )


def together(
    changes: Iterable[Change], wanted: Mapping[str, Desired], bundles: Mapping[str, Bundles]
) -> list[Change]:
    """Return the changes with those of every bundle whole: each part is one, also a part that stays as it is.

    ``wanted`` is the desired state that they lead to, and ``bundles`` the bundles, both by environment. The parts of
    a bundle come one after another, in their order.
    """
    given = list(changes)
    found: list[Change] = []
    done: set[tuple[str, Section, str]] = set()
    for change in given:
        of = bundles.get(change.environment, {})
        name = bundle_of(change.model, of)
        if not name:
            found.append(change)
        elif (change.environment, change.section, name) not in done:
            done.add((change.environment, change.section, name))
            found += _whole(change, given, wanted[change.environment], name, of[name])
    return found


def _whole(one: Change, given: list[Change], wanted: Desired, name: str, parts: Sequence[str]) -> list[Change]:
    entries = wanted.section(one.section)
    changing = {c.model: c for c in given if (c.environment, c.section) == (one.environment, one.section)}
    found = [
        changing.get(model) or Change(one.environment, one.section, model, entries.get(model), entries.get(model))
        for model in parts
        if model in changing or model in entries
    ]
    after = bundle_in(entries, name, parts)
    return with_left([replace(change, bundle=after) for change in found])


def with_left(changes: Sequence[Change]) -> list[Change]:
    """Return the changes, whose parts of bundles are all there, with the bundles that they leave."""
    before: dict[Place, dict[str, Entry]] = {}
    for change in changes:
        if (place := place_of(change)) and change.before:
            before.setdefault(place, {})[change.model] = change.before
    return [
        replace(change, left=bundle_in(before.get(place, {}), change.bundle.name, change.bundle.models))
        if change.bundle and (place := place_of(change))
        else change
        for change in changes
    ]


Place = tuple[str, Section, str]
"""Where a bundle is: its environment, its section of desired state, and its name."""


def place_of(change: Change) -> Place | None:
    """Return where the bundle is that a change is a part of; None where it is a part of none."""
    return (change.environment, change.section, change.bundle.name) if change.bundle else None


def stays_the_same(change: Change) -> bool:
    """Whether it is a part that stays as it is beside one that changes."""
    return change.bundle is not None and change.before == change.after


def is_first_of_its_bundle(change: Change, among: Iterable[Change]) -> bool:
    """Whether no part of the same bundle comes before it among these: one is enough to speak for all of them."""
    if change.bundle is None:
        return True
    return next(one for one in among if (one.section, one.bundle) == (change.section, change.bundle)) == change


def spoken_for(change: Change) -> Slot:
    """Return the place under which a change is spoken of: of a bundle that of the last part, which users ask.

    A bundle that lacks an entry does not know which part is the last; the one that it leaves may.
    """
    of = [bundle for bundle in (change.bundle, change.left) if change.bundle and bundle]
    return spoken_slot(change.slot, next((bundle for bundle in of if bundle.is_whole), change.bundle))


def spoken_slot(slot: Slot, bundle: Bundle | None) -> Slot:
    """Return the place under which what is in ``slot`` is spoken of, in this bundle where it is a part of one."""
    return Slot(slot.environment, bundle.models[-1], slot.lane) if bundle else slot


def entries_of(bundle: Bundle | None) -> dict[str, Entry]:
    """Return the entries of a bundle by model, in its order; nothing of no bundle."""
    parts = bundle.parts if bundle else ()
    return {part.model: Entry(version=part.version, digest=part.digest, run=part.run) for part in parts}


def blamed(slot: Slot, entry: Entry, bundle: Bundle | None) -> Release:
    """Return the release that goes into quarantine for what an entry asks for in its place.

    Of a bundle that is the last part that has an entry, with the digest of the whole bundle.
    """
    if bundle is None or not bundle.parts:
        return entry.in_slot(slot)
    last = bundle.parts[-1].model
    release = entries_of(bundle)[last].in_slot(Slot(slot.environment, last, slot.lane))
    return replace(release, digest=bundle.digest)
