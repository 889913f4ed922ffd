"""The quality gate: what a model's metrics must satisfy, alone and against the version in service."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from bot.domain.bundle import is_not_given
from bot.domain.metrics import Measured, Origin
from bot.domain.names import FindingsName
from bot.domain.nearest import nearest

_ALIKE = 3
REASON_CHARACTERS = 500
"""Characters of a shadow's reason in the file of desired state, at most."""


CONFIDENCE = 0.95
"""How sure a slice's verdict is where ``slices`` does not say it."""


def _is_none(value: object) -> bool:
    return value is None


def _is_stop(value: object) -> bool:
    return value == "stop"


def _is_pass(value: object) -> bool:
    return value == "pass"


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"it names {', '.join(twice)} twice")
    return names


def _given(key: str, kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a document that gives a key a value, and not null."""
    return {"required": [key], "properties": {key: {"type": kind}}}


Confidence = Annotated[float, Field(gt=0.5, lt=1)]
Margin = Annotated[float, Field(ge=0)]
SliceName = Annotated[str, StringConstraints(min_length=1)]
SliceNames = Annotated[
    tuple[SliceName, ...],
    Field(min_length=1, strict=False, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_once),
]
OnUnknown = Literal["stop", "pass"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MetricRule(_Part):
    """What one metric must satisfy."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [_given(bound, "number") for bound in ("minimum", "maximum", "max_regression")],
            "if": _given("confidence", "number"),
            "then": _given("max_regression", "number"),
        },
    )

    minimum: float | None = Field(default=None, description="the metric must be at least this")
    maximum: float | None = Field(default=None, description="the metric must be at most this")
    max_regression: float | None = Field(
        default=None,
        ge=0,
        description="how much worse than the version in service it may be, in the metric's own unit",
    )
    lower_is_better: bool = Field(default=False, description="for losses: worse means higher")
    confidence: Confidence | None = Field(
        default=None,
        exclude_if=_is_none,
        description="how sure it must be that the metric, measured on the evaluation set, is at most max_regression "
        "worse; without it the measured numbers alone are compared",
    )

    @model_validator(mode="after")
    def _says_something(self) -> MetricRule:
        if self.minimum is None and self.maximum is None and self.max_regression is None:
            raise ValueError("needs a minimum, a maximum or a max_regression")
        if self.confidence is not None and self.max_regression is None:
            raise ValueError("confidence needs a max_regression, of which it says how sure it must be")
        return self


class SliceRule(_Part):
    """The rules for each part of the evaluation set: each region, each kind of customer."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                _given("max_regression", "number"),
                {"required": ["metrics"], "properties": {"metrics": {"type": "object", "minProperties": 1}}},
            ]
        },
    )

    by: SliceNames = Field(description="columns of the evaluation set; each value of each column is a slice")
    min_rows: int = Field(default=200, ge=2, description="a slice with fewer rows is shown, and not judged")
    max_regression: Margin | None = Field(
        default=None,
        description="how much worse than the version in service each metric of the gate may be on a slice, in the "
        "metric's own unit",
    )
    metrics: dict[str, Margin] = Field(
        default_factory=dict,
        description="the same for single metrics by name; without max_regression only these are judged on slices",
    )
    confidence: Confidence = Field(
        default=CONFIDENCE,
        description="how sure it must be that a slice is worse, all slices and metrics together",
    )
    on_unknown: OnUnknown = Field(
        default="pass",
        exclude_if=_is_pass,
        description="what happens where the rows of a slice are too few to tell: stop, or pass",
    )

    @model_validator(mode="after")
    def _says_something(self) -> SliceRule:
        if self.max_regression is None and not self.metrics:
            raise ValueError("needs a max_regression, or one for a metric under metrics")
        return self

    def allows(self, metric: str) -> float | None:
        """Return how much worse a metric may be on a slice; None where slices are not judged by it."""
        return self.metrics.get(metric, self.max_regression)


class LatencyRule(_Part):
    """The latency budget of one request on the staging Triton, where both versions are asked in turns."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                _given(bound, "number")
                for bound in ("p50_milliseconds", "p99_milliseconds", "max_p50_worse", "max_p99_worse")
            ]
        },
    )

    p50_milliseconds: float | None = Field(default=None, gt=0, description="the median must be at most this")
    p99_milliseconds: float | None = Field(
        default=None, gt=0, description="99 of 100 requests must take at most this"
    )
    max_p50_worse: Margin | None = Field(
        default=None, description="how much longer than in service the median may be: 0.2 is 20 %"
    )
    max_p99_worse: Margin | None = Field(default=None, description="the same for 99 of 100 requests")

    @model_validator(mode="after")
    def _says_something(self) -> LatencyRule:
        if all(
            bound is None
            for bound in (self.p50_milliseconds, self.p99_milliseconds, self.max_p50_worse, self.max_p99_worse)
        ):
            raise ValueError("needs p50_milliseconds, p99_milliseconds, max_p50_worse or max_p99_worse")
        return self


class ShadowRule(_Part):
    """The conditions under which the bot proposes that a shadow answers, judged on copies of real requests."""

    max_flips: float = Field(
        gt=0, lt=1, description="the share of decisions that may be others than those of the version in service"
    )
    moved_by: float | None = Field(
        default=None,
        gt=0,
        exclude_if=_is_none,
        description="a decision is another one, too, where a number of its row moves by more than this: for models "
        "that answer one number",
    )
    min_copies: int = Field(default=1000, ge=1, description="so many answers must be compared")
    max_error_rate: float = Field(
        default=0.01, gt=0, lt=1, description="the share of copies that may fail, of requests that did not fail live"
    )
    max_p95_worse: Margin | None = Field(
        default=None,
        exclude_if=_is_none,
        description="how much longer than in service 95 of 100 copies may take: 0.5 is 50 %",
    )
    confidence: Confidence = Field(
        default=CONFIDENCE, description="how sure it must be, all of this together and however often it is looked at"
    )
    days: float | None = Field(
        default=None,
        gt=0,
        exclude_if=_is_none,
        description="how long it may listen; the bot then proposes to take out what has not earned its promotion",
    )


class DemandedFindings(_Part):
    """A demand for the findings of another tool: ``promobot.checks/<name>.json``, about these bytes, and passed."""

    max_age_hours: float | None = Field(
        default=None, gt=0, description="how old it may be when READY looks; default: any age"
    )


class Gate(_Part):
    """The rules for one model in one environment."""

    metrics: dict[str, MetricRule] = Field(min_length=1, description="rules by the metric's name in MLflow")
    on_miss: Literal["shadow", "stop"] = Field(
        default="stop", description="what happens to a model that misses: publish it as a shadow, or stop"
    )
    latency_budget_milliseconds: float | None = Field(
        default=None, gt=0, description="median time for one smoke request on the staging Triton"
    )
    slices: SliceRule | None = Field(
        default=None, exclude_if=_is_none, description="what must hold on each part of the evaluation set"
    )
    on_unknown: OnUnknown = Field(
        default="stop",
        exclude_if=_is_stop,
        description="what happens where the rows are too few to tell whether a metric with a confidence holds",
    )
    latency: LatencyRule | None = Field(
        default=None, exclude_if=_is_none, description="how long requests of the evaluation set may take"
    )
    shadow: ShadowRule | None = Field(
        default=None,
        exclude_if=_is_none,
        description="what a shadow must show on copies of real requests; then the bot proposes that it answers",
    )
    findings: dict[FindingsName, DemandedFindings] = Field(
        default={},
        description="what other tools must have found, by the name of promobot.checks/<name>.json in MLflow",
        exclude_if=is_not_given,
    )

    @model_validator(mode="after")
    def _slices_name_its_metrics(self) -> Gate:
        unknown = sorted(set(self.slices.metrics) - set(self.metrics)) if self.slices else []
        if unknown:
            raise ValueError(f"slices.metrics names {', '.join(unknown)}, which the gate's metrics do not have")
        return self

    @property
    def needs_evaluation(self) -> str:
        """The first key that only an evaluation set can answer, as ``slices``; empty where there is none."""
        sure = (f"metrics.{name}.confidence" for name, rule in self.metrics.items() if rule.confidence is not None)
        parts = (key for key in ("slices", "latency") if getattr(self, key) is not None)
        return next(iter((*sure, *parts)), "")


ASKS_NOTHING = Gate.model_construct(metrics={})
"""The gate of a part of a bundle that has none of its own: its bundle is judged by the part that users ask."""


@dataclass(frozen=True)
class GateRow:
    """One ``metric`` judged by its ``rule``: whether it ``passed``, and ``why`` it did not.

    ``value`` is the version's, ``champion`` that of the version in service; None where there is none. ``origin`` and
    ``champion_origin`` say where each is from. ``margin`` is the distance to the nearest bound; negative means
    missed. ``limit`` is that bound, in the metric's own unit; None where nothing bounds it, or there is no value.
    """

    metric: str
    value: float | None
    champion: float | None
    rule: str
    passed: bool
    margin: float
    why: str = ""
    limit: float | None = None
    origin: Origin | None = None
    champion_origin: Origin | None = None

    @property
    def change(self) -> float | None:
        """The value less the champion's, where both are known."""
        return None if self.value is None or self.champion is None else self.value - self.champion


@dataclass(frozen=True)
class GateResult:
    """The ``rows``, one for each metric of the gate, worst first. ``asks_nothing``: the gate has no metric."""

    rows: tuple[GateRow, ...]
    asks_nothing: bool = False

    @property
    def passed(self) -> bool:
        """Whether every row passed: nothing judged is nothing passed, but where the gate asks nothing."""
        return self.asks_nothing if not self.rows else all(row.passed for row in self.rows)

    @property
    def reason(self) -> str:
        """The misses in a few words, worst first; an empty string where there are none."""
        said = "; ".join(row.why for row in self.rows if not row.passed)
        return said if len(said) <= REASON_CHARACTERS else said[: REASON_CHARACTERS - 1] + "…"


def judge(gate: Gate, metrics: Measured, champion: Measured | None) -> GateResult:
    """Judge a version's metrics by the gate, against the champion's where there is a champion.

    A metric misses where it cannot be told which number of it counts, the version's or one to compare with.
    """
    rows = [
        replace(
            _judged(name, rule, metrics, champion or Measured()),
            origin=metrics.origins.get(name),
            champion_origin=champion.origins.get(name) if champion else None,
        )
        for name, rule in gate.metrics.items()
    ]
    worst_first = sorted(rows, key=lambda row: (row.passed, row.margin, row.metric))
    return GateResult(tuple(worst_first), asks_nothing=not gate.metrics)


def _judged(name: str, rule: MetricRule, metrics: Measured, champion: Measured) -> GateRow:
    own, other = metrics.why_unknown(name), champion.why_unknown(name)
    row = _row(name, rule, None if own else metrics.values.get(name), None if other else champion.values.get(name))
    if own:
        return replace(row, why=f"{name} is ambiguous: {own}")
    if row.value is None:
        alike = _alike(name, metrics.values)
        others = "" if alike or not metrics.values else f" (there are {_first_few(sorted(metrics.values))})"
        row = replace(row, why=f"{row.why} (there is {', '.join(alike)})" if alike else row.why + others)
        return replace(row, why=f"{row.why}: {metrics.only}") if metrics.only else row
    if other and rule.max_regression is not None:
        why = f"{name} of the version in service is ambiguous: {other}"
        return replace(row, passed=False, margin=-math.inf, why=f"{row.why}; {why}" if row.why else why)
    return row


def _alike(name: str, there: Collection[str]) -> list[str]:
    """Return the metrics that may be meant by a name that is not there, at most three, the shortest first."""
    word = _letters(name)
    found = [one for one in sorted(there, key=lambda one: (len(one), one)) if word and word in _letters(one)]
    close = nearest(name, there)
    return found[:_ALIKE] or ([close] if close else [])


def _first_few(names: Sequence[str]) -> str:
    """Name the first few, and say how many more there are."""
    more = len(names) - _ALIKE
    return ", ".join(names[:_ALIKE]) + (f" and {more} more" if more > 0 else "")


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _row(name: str, rule: MetricRule, value: float | None, champion: float | None) -> GateRow:
    bounds: list[tuple[float, str, float]] = []
    sign = -1.0 if rule.lower_is_better else 1.0
    texts: list[str] = []
    if rule.minimum is not None:
        texts.append(f"≥ {rule.minimum:g}")
    if rule.maximum is not None:
        texts.append(f"≤ {rule.maximum:g}")
    if rule.max_regression is not None:
        texts.append(f"at most {rule.max_regression:g} worse")
    text = ", ".join(texts)
    if value is None or not math.isfinite(value):
        shown = "missing" if value is None else "not a finite number"
        return GateRow(name, value, champion, text, False, -math.inf, f"{name} is {shown}")
    if rule.minimum is not None:
        bounds.append((value - rule.minimum, f"{value:.4g} < {rule.minimum:g}", rule.minimum))
    if rule.maximum is not None:
        bounds.append((rule.maximum - value, f"{value:.4g} > {rule.maximum:g}", rule.maximum))
    # Nothing is worse than a number that is none, and a comparison with it would always hold.
    if rule.max_regression is not None and champion is not None and math.isfinite(champion):
        worse = sign * (champion - value)
        # A model exactly as much worse as is allowed passes; binary fractions must not decide that.
        slack = rule.max_regression - worse
        slack = 0.0 if math.isclose(worse, rule.max_regression, rel_tol=1e-9, abs_tol=1e-12) else slack
        allowed = champion - sign * rule.max_regression
        bounds.append((slack, f"{worse:.4g} worse than in service ({champion:.4g})", allowed))
    misses = [why for margin, why, _ in bounds if margin < 0]
    margin, _, limit = min(bounds, default=(math.inf, "", None))
    why = f"{name} {', '.join(misses)}" if misses else ""
    return GateRow(name, value, champion, text, not misses, margin, why, limit)
