"""A version's metrics: which of many numbers counts, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain import jsontext

TAG = "promobot.metrics"
"""Tag of a registered version with the metrics given to ``register``; continued in ``promobot.metrics.2``, …."""
_TAG_CHARACTERS = 5000
"""What every MLflow takes as the value of a version's tag; newer ones take more."""
_LARGEST = 1.7976931348623157e308
_NAMED = 3
_NAME_CHARACTERS = 40


class Origin(BaseModel):
    """Where a number comes from."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["register", "model", "run"] = Field(
        description="told to register, logged for a LoggedModel, or logged in a run"
    )
    name: str = Field(description="of the registered version, or the id of the LoggedModel or of the run")
    step: int | None = None
    """The step at which it was logged."""
    at: datetime | None = Field(default=None, description="when it was logged or registered, as MLflow says")


@dataclass(frozen=True)
class Logged:
    """One value as MLflow has it. ``dataset`` is empty where it was logged for none."""

    name: str
    value: float
    step: int
    milliseconds: int
    dataset: str = ""


@dataclass(frozen=True)
class Measured:
    """The numbers that the gate judges, and where each comes from.

    ``unclear`` says of a metric why no number of it counts. ``doubt`` says why none of any does. ``only`` says whose
    metrics these are, where somebody may look for one among others'.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    unclear: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""
    only: str = ""

    def why_unknown(self, name: str) -> str:
        """Why it cannot be told which number of a metric counts; empty where it can, or where there is none."""
        return "" if name in self.values else self.unclear.get(name) or self.doubt

    def under(self, told: Mapping[str, float], origin: Origin) -> Measured:
        """Return the same with the metrics given to ``register``, which outrank all that was logged."""
        return Measured(
            values={**self.values, **told},
            origins={**self.origins, **dict.fromkeys(told, origin)},
            unclear={name: why for name, why in self.unclear.items() if name not in told},
            doubt=self.doubt,
            only=self.only,
        )


def of_run(run: str, logged: Iterable[Logged]) -> Measured:
    """Return what was logged in a run: of each metric the value of the highest step, and of that the newest."""
    return _newest(Origin(kind="run", name=run), logged)


def of_model(model: str, logged: Iterable[Logged]) -> Measured:
    """Return what was logged for a LoggedModel. Its run may hold several models, so none of the run's own counts.

    Of each metric the value of the highest step counts, and of that the newest. A metric that was logged for several
    datasets, or with several values at once, is unclear.
    """
    found = _newest(Origin(kind="model", name=model), logged)
    return Measured(
        found.values, found.origins, found.unclear, only=f"only what was logged for {model} itself counts"
    )


def as_tags(told: Mapping[str, float]) -> dict[str, str]:
    """Return the metrics given to ``register`` as tags of the version, each a JSON object; none without metrics."""
    texts: list[str] = []
    pairs: list[str] = []
    for name, value in sorted(told.items()):
        pair = f"{json.dumps(name)}: {json.dumps(value)}"
        if pairs and sum(map(len, pairs)) + 2 * len(pairs) + len(pair) > _TAG_CHARACTERS - 2:
            texts.append(", ".join(pairs))
            pairs = []
        pairs.append(pair)
    texts += [", ".join(pairs)] if pairs else []
    return {_tag(number): f"{{{text}}}" for number, text in enumerate(texts, start=1)}


def told_in(tags: Mapping[str, str]) -> dict[str, float]:
    """Read the metrics given to ``register`` from a version's tags; raise ValueError for a tag in another form."""
    found: dict[str, float] = {}
    for tag in _tags_in(tags):
        try:
            document = jsontext.read(tags[tag])
        except ValueError as error:
            raise ValueError(f"its tag {tag} is not JSON: {error}") from error
        if not isinstance(document, dict):
            raise ValueError(f"its tag {tag} is not a JSON object")
        for name, value in document.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"its tag {tag} has no number for {name[:_NAME_CHARACTERS]}")
            found[name] = float(value)
    return found


def number(value: object) -> float:
    """Return a number as MLflow sends it. Its database keeps infinity as the largest number there is."""
    found = float(value)  # type: ignore[arg-type]
    return found * float("inf") if abs(found) == _LARGEST else found


def _newest(origin: Origin, logged: Iterable[Logged]) -> Measured:
    by_name: dict[str, list[Logged]] = {}
    for one in logged:
        by_name.setdefault(one.name, []).append(one)
    values: dict[str, float] = {}
    origins: dict[str, Origin] = {}
    unclear: dict[str, str] = {}
    for name, found in by_name.items():
        newest = max((one.step, one.milliseconds) for one in found)
        at_last = {repr(one.value) for one in found if (one.step, one.milliseconds) == newest}
        datasets = sorted({one.dataset for one in found})
        if len(datasets) > 1:
            unclear[name] = f"logged for {len(datasets)} datasets ({_listed(datasets)})"
        elif len(at_last) > 1:
            unclear[name] = f"{len(at_last)} values at step {newest[0]} at the same time"
        else:
            values[name] = next(one.value for one in found if (one.step, one.milliseconds) == newest)
            origins[name] = origin.model_copy(update={"step": newest[0], "at": moment(newest[1])})
    return Measured(values, origins, unclear)


def moment(milliseconds: int) -> datetime | None:
    """Return a time of MLflow's; None where it is none that a clock can show, as training code may log anything."""
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _listed(names: list[str]) -> str:
    shown = [name[:_NAME_CHARACTERS] or "none" for name in names[:_NAMED]]
    return ", ".join([*shown, "…"] if len(names) > _NAMED else shown)


def _tags_in(tags: Mapping[str, str]) -> Iterator[str]:
    count = 1
    while (tag := _tag(count)) in tags:
        yield tag
        count += 1


def _tag(count: int) -> str:
    return TAG if count == 1 else f"{TAG}.{count}"
