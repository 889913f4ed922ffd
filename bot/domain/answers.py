"""Answers of staging as a record keeps them: a small output whole, of a large one its hash and the furthest values.

Records are never deleted, and two segmented images would take megabytes in each. A hash and a few values are enough
to tell the same answer again, and to tell another one in words.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bot.domain.packed import CHUNK, Scalar, loaded, pack, unequal
from bot.domain.smoke import (
    FLOATS,
    Tensor,
    Tolerance,
    declared,
    is_close,
    is_sha256,
    other_form,
    scalar_from_json,
    scalar_to_json,
    shown,
    tensor_from_json,
)

WHOLE_BYTES = 4096
"""Of one output: up to here a record has all values."""
ROOM_BYTES = 64 * 2**10
"""Of all outputs that one record has whole. The outputs after that are kept by their hash."""
FURTHEST = 16
"""So many values of an output that is kept by its hash."""
_TEXT = 200
"""Characters or bytes of one value that are kept. Only an answer that is wrong has such values."""


class Place(NamedTuple):
    """One value that is not exactly what the training framework answered: where, what was expected, and what came."""

    at: int
    expected: Scalar
    got: Scalar


@dataclass(frozen=True)
class Hashed:
    """An output of which a record keeps the sha256 of its bytes in the protocol's binary form.

    ``differing`` is the number of values that are not exactly those of the training framework, ``furthest`` those
    of them that are furthest off, measured by the tolerance.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    sha256: str
    differing: int
    furthest: tuple[Place, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return it as it stands in a record; ``format`` tells it from an output with all values, which has none."""
        return {
            "format": 2,
            "name": self.name,
            "datatype": self.datatype,
            "shape": list(self.shape),
            "sha256": self.sha256,
            "differing": self.differing,
            "furthest": [
                {"at": at, "expected": scalar_to_json(expected), "got": scalar_to_json(got)}
                for at, expected, got in self.furthest
            ],
        }


Output = Tensor | Hashed


def output_from_json(entry: object) -> Output:
    """Parse an output of a record, of this version or of earlier ones; raise ValueError for what is none."""
    if isinstance(entry, Tensor | Hashed):
        return entry
    if not isinstance(entry, Mapping) or "format" not in entry:
        return tensor_from_json(entry)
    if entry["format"] != 2:
        raise ValueError(f"an output of format {entry['format']!r:.40}, which a later version of promobot wrote")
    name, datatype, shape = declared(entry)
    sha256, differing, furthest = entry.get("sha256"), entry.get("differing"), entry.get("furthest")
    if not is_sha256(sha256) or type(differing) is not int or not isinstance(furthest, list):
        raise ValueError(f"output {name!r:.80} lacks sha256, differing or furthest")
    places = tuple(_place(place, datatype, math.prod(shape)) for place in furthest)
    return Hashed(name, datatype, shape, str(sha256), differing, places)


def output_to_json(output: Output) -> dict[str, object]:
    """Return an output as it stands in a record."""
    return output.to_json()


def hashed(expected: Tensor, got: Tensor, tolerance: Tolerance) -> Hashed:
    """Return what is kept of a large output."""
    digest = sha256_of(got)
    if other_form(expected, got):
        return Hashed(got.name, got.datatype, got.shape, digest, len(got.data))
    count, found = 0, list[tuple[float, Place]]()
    for distance, place in _apart(expected, got, tolerance):
        count += 1
        found.append((distance, place))
        if len(found) > CHUNK:
            found = _furthest(found)
    kept = tuple(Place(at, _cut(want), _cut(have)) for _, (at, want, have) in _furthest(found))
    return Hashed(got.name, got.datatype, got.shape, digest, count, kept)


def unlike(kept: Hashed, got: Tensor | None, tolerance: Tolerance) -> str:
    """Say in a few words how ``got`` differs from an output that is kept by its hash; empty where it does not.

    The same bytes are the same answer. Otherwise floats must be within the tolerance at each place that is kept. At
    any other place staging was closer to the training framework, with which every value is compared anyway.
    """
    said = other_form(kept, got)
    if got is None or said:
        return said
    have = loaded(got.data)
    digest = hashlib.sha256(pack(got.datatype, have)).hexdigest()
    if digest == kept.sha256:
        return ""
    if kept.datatype not in FLOATS:
        return f"{kept.name}: values of sha256 {digest[:12]} instead of {kept.sha256[:12]}"
    wrong = [place for place in kept.furthest if not is_close(place.got, have[place.at], tolerance, floating=True)]
    if not wrong:
        return ""
    at, _, was = wrong[0]
    return (
        f"{kept.name}[{at}]: {shown(have[at])} instead of {shown(was)}"
        f" ({len(wrong)} of the {len(kept.furthest)} values that are kept differ)"
    )


def sha256_of(tensor: Tensor) -> str:
    """Return the sha256 of a tensor's bytes in the protocol's binary form."""
    return hashlib.sha256(pack(tensor.datatype, tensor.data)).hexdigest()


def _apart(expected: Tensor, got: Tensor, tolerance: Tolerance) -> Iterator[tuple[float, Place]]:
    """Yield each value that is not exactly the expected one, and how far off it is."""
    for at, want, have in unequal(expected.data, got.data):
        for index, (one, other) in enumerate(zip(want, have, strict=True), at):
            if one != other and not (_is_nan(one) and _is_nan(other)):
                yield _distance(one, other, tolerance), Place(index, one, other)


def _distance(want: Scalar, have: Scalar, tolerance: Tolerance) -> float:
    """Return by how many times the tolerance a float is off; infinite for what is not a matter of distance."""
    if not isinstance(want, float) or not isinstance(have, float):
        return math.inf
    allowed = tolerance.absolute + tolerance.relative * abs(want)
    distance = abs(have - want) / allowed if allowed else math.inf
    return math.inf if math.isnan(distance) else distance


def _is_nan(value: Scalar) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _furthest(found: Sequence[tuple[float, Place]]) -> list[tuple[float, Place]]:
    return sorted(found, key=lambda one: (-one[0], one[1].at))[:FURTHEST]


def _cut(value: Scalar) -> Scalar:
    return value[:_TEXT] if isinstance(value, str | bytes) else value


def _place(entry: Any, datatype: str, count: int) -> Place:
    if not isinstance(entry, Mapping) or set(entry) != {"at", "expected", "got"}:
        raise ValueError("a value that is kept has other keys than at, expected and got")
    at = entry["at"]
    if type(at) is not int or not 0 <= at < count:
        raise ValueError(f"a value is kept at {at!r:.40} of {count}")
    return Place(at, scalar_from_json(entry["expected"], datatype), scalar_from_json(entry["got"], datatype))
