"""The values that evidence keeps of what was measured: they come back as they were written."""

from __future__ import annotations

import json
import math

from bot.domain.desired import Entry
from bot.domain.evaluation import (
    ChangedDecision,
    ComparedLatency,
    Decisions,
    Evaluation,
    MeasuredMetric,
    MeasuredSlice,
    Percentiles,
    Ratio,
    Refusals,
)

CHAMPION = Entry(version=7, digest=f"sha256:{'7' * 64}", run="run7")
WHOLE = Evaluation(
    digest=f"sha256:{'5' * 64}",
    measured_by="0123456789abcdef",
    rows=1000,
    champion=CHAMPION,
    refused=Refusals(proposed=1, in_service=0, why="HTTP 400: shape"),
    metrics=(
        MeasuredMetric(
            metric="accuracy",
            measure="accuracy",
            claimed=0.95,
            proposed=0.9,
            proposed_error=0.01,
            in_service=0.88,
            difference=0.02,
            low=-0.001,
            high=0.041,
            confidence=0.95,
            standard_error=0.012,
            method="t",
            rows=1000,
            outcome="holds",
        ),
        MeasuredMetric(metric="log_loss", measure="log_loss", lower_is_better=True, proposed=math.inf),
    ),
    slices=(MeasuredSlice(by="region", value="north", rows=12, metric="accuracy", proposed=math.nan),),
    decisions=Decisions(
        rows=1000,
        changed=3,
        fixed=1,
        broken=1,
        other=1,
        worst=(ChangedDecision(row=17, before="0", after="1", label="0", by=0.4, inputs={"age": "41"}),),
        worth=-19.0,
    ),
    latency=ComparedLatency(
        requests=200,
        proposed=Percentiles(p50=1.0, p99=2.0),
        in_service=Percentiles(p50=0.9, p99=2.1),
        p50_ratio=Ratio(ratio=1.1, low=1.0, high=1.2),
    ),
)


def test_what_was_measured_comes_back_as_it_was_written_also_where_a_number_is_none() -> None:
    text = WHOLE.model_dump_json()
    again = Evaluation.model_validate_json(text)
    assert json.loads(text) == json.loads(again.model_dump_json())
    loss = again.metric("log_loss")
    assert loss is not None and loss.proposed == math.inf
    assert math.isnan(again.slices[0].proposed or 0)
    assert again.metrics[0] == WHOLE.metrics[0] and again.decisions == WHOLE.decisions
    assert again.metric("f1") is None
