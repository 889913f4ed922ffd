"""What two versions answered to a whole evaluation set, in columns: on the disk where it is much.

Texts are kept once each. A row that a version refused, or answered with what is not a finite number, counts as not
answered.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.domain.evaluation import WHO, Refusals
from bot.errors import InvalidInput
from bot.evaluation.metrics import classes_of
from bot.evaluation.room import AT_ONCE, groups_of, parts, release, room

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bot.evaluation.asking import Answered


LONGEST, MOST_WORDS = 64, 100_000
"""A text has so many characters at most, else its beginning and a hash; a version answers so many different ones."""


class Column:
    """One value, or one row of values, for each row of a set; texts as numbers of words.

    ``who`` names the version whose answers these are: what it answers must not fill the memory of this machine.
    """

    def __init__(self, rows: int, who: str = "") -> None:
        self._rows, self._who = rows, who
        self._values: NDArray[Any] | None = None
        self._words: dict[str, int] | None = None
        self._put = 0

    def put(self, start: int, values: NDArray[Any]) -> None:
        """Keep the values of the rows from ``start`` on."""
        if values.dtype.kind in "USO":
            self._words = {} if self._words is None else self._words
            words = self._words
            flat = np.fromiter((words.setdefault(_word(v), len(words)) for v in values.ravel().tolist()), np.int32)
            values = flat.reshape(values.shape)
            if self._who and len(words) > MOST_WORDS:
                raise InvalidInput(
                    f"answers more than {MOST_WORDS:,} different texts, and a decision is one of a few classes",
                    key=self._who,
                    next_step="Name another output in the environment file: evaluation.<model>.output.",
                )
        if self._values is None:
            self._values = room((self._rows, *values.shape[1:]), values.dtype)
        self._values[start : start + len(values)] = values
        self._put += values.size
        if self._put >= AT_ONCE:
            self._put = 0
            release(self._values)

    def codes(self) -> tuple[NDArray[Any], list[str]]:
        """Return the numbers of words, and the words; a column without text has no words."""
        return self._stored(), list(self._words or ())

    def values(self) -> NDArray[Any]:
        """Return the values of all rows; those of rows that nobody put are 0."""
        stored = self._stored()
        if self._words is None:
            return stored
        words = np.array(list(self._words) or [""], np.str_)
        found = room(stored.shape, words.dtype)
        for part in parts(stored, found):
            found[part] = words[stored[part]]
        return found

    def _stored(self) -> NDArray[Any]:
        return np.zeros(self._rows, np.float64) if self._values is None else self._values


def _word(value: Any) -> str:
    """Return a text as it is compared: the same of labels and answers, and never long."""
    text: str = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
    if len(text) <= LONGEST:
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{text[: LONGEST - 1 - len(digest)]}…{digest}"


@dataclass
class Collected:
    """All rows of a set with the answers of each version that was asked, by who it is.

    ``groups`` has the number of each row's group, in the order of the groups' names.
    """

    rows: int
    labels: NDArray[Any] | None
    groups: NDArray[Any] | None
    slices: Mapping[str, tuple[NDArray[Any], list[str]]]
    answers: Mapping[str, NDArray[Any]]
    refused: Mapping[str, NDArray[np.bool_]]
    seconds: float = 0.0
    why: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def classes(self) -> NDArray[Any] | None:
        """The classes that the labels of all rows name; None where labels name none."""
        if self.labels is None or self.labels.dtype.kind == "f":
            return None
        return classes_of(self.labels)

    @property
    def refusals(self) -> Refusals:
        """The number of rows that each version did not answer, and that only the proposed one did not."""
        counts = {who: int(mask.sum()) for who, mask in self.refused.items()}
        if len(self.refused) == len(WHO):
            proposed, in_service = (self.refused[who] for who in WHO)
            counts["only_proposed"] = int((proposed & ~in_service).sum())
        return Refusals(**counts, why=self.why.get(WHO[0], ""))

    def answered_by(self, who: Iterable[str], *, limit: int) -> list[int]:
        """Return the numbers of the first ``limit`` rows that each of these versions answered."""
        missing = np.zeros(self.rows, np.bool_)
        for each in who:
            missing |= self.refused[each]
        return [int(row) for row in np.flatnonzero(~missing)[:limit]]


def collect(answered: Iterable[Answered], *, rows: int, output: str) -> Collected:
    """Read all answers, of which only ``output`` is kept; raise Refused where the disk takes no more.

    Raises InvalidInput, with the version as its key, where answers are not decisions.
    """
    labels, groups = Column(rows), Column(rows)
    slices: dict[str, Column] = {}
    answers: dict[str, Column] = {}
    refused: dict[str, NDArray[np.bool_]] = {}
    why: dict[str, str] = {}
    has_labels = has_groups = False
    seconds = 0.0
    for each in answered:
        batch = each.batch
        at = slice(batch.start, batch.start + batch.rows)
        if batch.labels is not None:
            has_labels = True
            labels.put(batch.start, batch.labels)
        if batch.groups is not None:
            has_groups = True
            groups.put(batch.start, batch.groups)
        for name, values in batch.slices.items():
            slices.setdefault(name, Column(rows)).put(batch.start, values)
        for who, mask in each.refused.items():
            column = answers.setdefault(who, Column(rows, who))
            missing = refused.setdefault(who, np.zeros(rows, np.bool_))
            missing[at] = mask
            if output in each.outputs[who]:
                values = each.outputs[who][output]
                column.put(batch.start, values)
                if values.dtype.kind == "f":
                    wrong = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
                    missing[at] |= wrong
                    if wrong.any() and who not in why:
                        why[who] = f"row {batch.start + int(wrong.argmax())}: {output} is not a finite number"
            if said := each.errors.get(who):
                why.setdefault(who, said)
        seconds += sum(each.seconds.values())
    if WHO[1] in refused and refused[WHO[1]].all():
        said = why.get(WHO[1], "it refused them")
        raise InvalidInput(f"it has no usable answer to any of the {rows:,} rows: {said}", key=WHO[1])
    return Collected(
        rows=rows,
        labels=labels.values() if has_labels else None,
        groups=groups_of(groups.values())[0] if has_groups else None,
        slices={name: column.codes() for name, column in slices.items()},
        answers={who: column.values() for who, column in answers.items()},
        refused=refused,
        seconds=seconds,
        why=why,
    )
