"""Measured numbers as evidence keeps them: both versions were asked the same rows on staging.

A difference is always oriented: positive means that the proposed version is better, whatever the metric's own
direction is. Bounds are one-sided, each at ``confidence``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.bundle import ONLY_WHERE_GIVEN
from bot.domain.desired import Entry
from bot.domain.spread import Spread

Outcome = Literal["holds", "misses", "unknown"]
"""Of a comparison: it is shown to hold, shown to miss, or cannot be told with these rows."""
UndefinedBy = Literal["proposed", "in_service", "set"]
"""Whose answers give no such number; the set, where its labels give none whatever a version answers."""
Who = Literal["proposed", "in_service"]
WHO: tuple[Who, ...] = ("proposed", "in_service")


class _Value(BaseModel):
    # A model may answer NaN, which must be read as it was written.
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants", json_schema_extra=ONLY_WHERE_GIVEN)


class Refusals(_Value):
    """Numbers of rows that each version did not answer, or answered with what is not a finite number."""

    proposed: int = 0
    in_service: int = 0
    only_proposed: int | None = Field(
        default=None, description="of those of `proposed`, which the version in service answered; None where unknown"
    )
    why: str = Field(default="", description="what one of the refusals said")


class _Compared(_Value):
    """What says how sure a difference is at another confidence, too; None in evidence of earlier versions."""

    standard_error: float | None = Field(default=None, description="of the difference")
    skew: float | None = Field(default=None, description="how lopsided the influences of rows are")
    degrees: float | None = Field(default=None, description="effective degrees of freedom")
    step: float | None = Field(default=None, description="how much one row more can change it")

    undefined_by: UndefinedBy | None = Field(
        default=None,
        description="whose answers give no number, or the set, whose labels give none; None where none is missing, "
        "and in evidence of earlier versions",
    )

    @property
    def spread(self) -> Spread | None:
        """How the difference spreads; None where that was not kept."""
        if self.standard_error is None or self.skew is None or self.degrees is None or self.step is None:
            return None
        return Spread(self.standard_error, self.skew, self.degrees, self.step)


class MeasuredMetric(_Compared):
    """One metric of the gate, measured on the rows that both versions were asked."""

    metric: str = Field(description="its name in the gate, and in MLflow")
    measure: str = Field(description="the name of what was computed")
    rule: str = Field(default="", description="what the gate asked of it, in words")
    lower_is_better: bool = False
    claimed: float | None = Field(default=None, description="the number of training, as the gate judges it")
    proposed: float | None = None
    proposed_error: float | None = Field(default=None, description="standard error of `proposed`")
    in_service: float | None = None
    difference: float | None = Field(default=None, description="positive means that the proposed one is better")
    low: float | None = Field(default=None, description="one-sided lower bound of the difference")
    high: float | None = Field(default=None, description="one-sided upper bound of the difference")
    confidence: float | None = Field(default=None, description="of each bound")
    method: str = Field(default="", description="how the bounds were computed")
    rows: int = Field(default=0, description="rows that count, labelled ones")
    outcome: Outcome | None = Field(default=None, description="of the comparison that the gate asks for")
    rows_needed: int | None = Field(default=None, description="about so many rows would tell")
    why: str = Field(default="", description="why it was not measured")


class MeasuredSlice(_Compared):
    """One metric on the rows that have one value in a slice column. ``outcome`` is None where it is not judged."""

    by: str
    value: str
    rows: int
    metric: str
    proposed: float | None = None
    in_service: float | None = None
    difference: float | None = Field(default=None, description="positive means that the proposed one is better")
    low: float | None = None
    high: float | None = None
    confidence: float | None = None
    allowed: float | None = Field(default=None, description="how much worse it may be; None where it is not judged")
    p_value: float | None = Field(
        default=None, description="of these rows where the slice is not worse than `allowed`, before correction"
    )
    outcome: Outcome | None = Field(default=None, description="after correction for many comparisons")
    why: str = Field(default="", description="why it was not measured")


class ChangedDecision(_Value):
    """One row that the proposed version decides otherwise. ``inputs`` only where the settings let them be shown."""

    row: int
    before: str
    after: str
    label: str = ""
    by: float | None = Field(default=None, description="how far the answer moved")
    inputs: dict[str, str] | None = None


class Decisions(_Value):
    """Rows that are decided otherwise: ``fixed`` are right only now, ``broken`` were right, ``other`` the rest."""

    rows: int
    changed: int
    fixed: int = 0
    broken: int = 0
    other: int = Field(default=0, description="wrong before and after, or without a label")
    kind: Literal["decision", "number"] = Field(
        default="decision", description="of numbers: fixed is nearer to the label, and broken farther from it"
    )
    worst: tuple[ChangedDecision, ...] = Field(default=(), description="the worst first")
    worth: float | None = Field(
        default=None, description="what the change is worth on these rows by `costs`; positive is a gain"
    )


class Replay(_Value):
    """Recorded live requests, the newest ones, answered by both versions."""

    requests: int = Field(default=0, description="that both versions answered")
    asked: int = Field(default=0, description="that were recorded and asked")
    since: datetime | None = Field(default=None, description="when the oldest of them was recorded")
    until: datetime | None = Field(default=None, description="when the newest of them was recorded")
    refused: Refusals = Refusals()
    decisions: Decisions | None = None
    incomplete: int = Field(default=0, description="that were recorded without some fields; 0 or nothing was asked")
    without: tuple[str, ...] = Field(default=(), description="the fields that were not recorded")
    problem: str = Field(default="", description="why nothing, or not all, was asked")


class Percentiles(_Value):
    """Times of one version, in milliseconds."""

    p50: float
    p99: float


class Ratio(_Value):
    """The proposed version's time divided by that of the version in service; 1.2 is 20 % slower."""

    ratio: float
    low: float
    high: float


class ComparedLatency(_Value):
    """Requests of one row each, after a warm-up, both versions in turns on the same Triton."""

    requests: int = Field(description="to each version")
    proposed: Percentiles
    in_service: Percentiles | None = None
    p50_ratio: Ratio | None = None
    p99_ratio: Ratio | None = None
    confidence: float = Field(default=0.95, description="of each bound of a ratio")


class Evaluation(_Value):
    """The measurements of one check on one evaluation set."""

    digest: str = Field(description="of the evaluation set; empty where only recorded requests were asked")
    measured_by: str = Field(
        default="", description="fingerprint of what else decides the numbers: output, measures, threshold"
    )
    rows: int = 0
    labelled: bool = True
    champion: Entry | None = Field(default=None, description="the version in service that was asked the same")
    champion_problem: str = Field(default="", description="why the version in service was not measured")
    refused: Refusals = Refusals()
    metrics: tuple[MeasuredMetric, ...] = ()
    slices: tuple[MeasuredSlice, ...] = Field(default=(), description="the worst first")
    decisions: Decisions | None = None
    latency: ComparedLatency | None = None
    replay: Replay | None = Field(default=None, description="recorded requests, where the settings ask for them")
    seconds: float = Field(default=0.0, description="that asking took, both versions together")
    problem: str = Field(default="", description="why nothing was measured")

    def metric(self, name: str) -> MeasuredMetric | None:
        """Return what was measured for a metric of the gate; None where nothing was."""
        return next((one for one in self.metrics if one.metric == name), None)
