"""What is measured where a version refuses rows, or where tasks of their own asked the set: no systems are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bot.domain.desired import Entry
from bot.domain.evaluation import Evaluation, Who
from bot.domain.gate import Gate
from bot.domain.signature import Signature
from bot.errors import InvalidInput, Rejected
from bot.evaluation.asking import IN_SERVICE, PROPOSED, ask
from bot.evaluation.parts import About, keep_answers, split
from bot.evaluation.sets import Batch, EvaluationSet, open_set
from bot.operations import measuring
from bot.operations.evaluating import Asking
from bot.settings import EvaluationRules
from bot.training import evaluation_set

DIGESTS: dict[str, str] = {PROPOSED: "sha256:" + "1" * 64, IN_SERVICE: "sha256:" + "2" * 64}
CHAMPION = Entry(version=1, digest=DIGESTS[IN_SERVICE], run="2" * 32)
GATE = Gate.model_validate({"metrics": {"accuracy": {"minimum": 0.5, "max_regression": 0.1}}})
ROWS = 300
Refuses = Callable[[int], bool]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    folder = tmp_path_factory.mktemp("sets") / "set"
    number = np.arange(ROWS, dtype=np.float32)
    found = evaluation_set(folder, inputs={"X": number[:, np.newaxis]}, labels=(number % 10 == 0).astype(np.int64))
    return open_set(folder, found.digest)


def version(*, wrong: int = 0, refuses: Refuses = lambda _: False, output: str = "label") -> Any:
    """Return what asks a version that is right but for its first rows, and refuses some."""

    def asks(batch: Batch) -> Mapping[str, Any]:
        numbers = batch.inputs["X"][:, 0].astype(int)
        if any(map(refuses, numbers)):
            raise Rejected("ValueError: no income of Jane Doe", system="Triton")
        return {output: np.where(numbers < wrong, 1, 0) ^ (numbers % 10 == 0)}

    return measuring._Opened(Asking(asks, Signature(inputs=(), outputs=()), output, 0), lambda inputs: inputs)


def measured(opened: EvaluationSet, asked: dict[Who, Any], **rules: Any) -> Evaluation:
    given = {"digest": opened.digest, "from": "runs:/0123456789abcdef0123456789abcdef/evaluation", "batch_rows": 64}
    proposed: Any = SimpleNamespace(
        registered=SimpleNamespace(metrics=SimpleNamespace(values={})),
        contents=SimpleNamespace(package=SimpleNamespace(digest=DIGESTS[PROPOSED])),
    )
    champion = CHAMPION if "in_service" in asked else None
    wanted = EvaluationRules.model_validate({**given, **rules})
    return measuring._evaluated(GATE, wanted, opened, proposed, champion, asked, "")


@pytest.mark.parametrize("who", ["proposed", "in_service"])
def test_a_row_that_a_version_refuses_takes_nothing_else_of_what_is_measured(opened: EvaluationSet, who: Who) -> None:
    asked: dict[Who, Any] = {"proposed": version(), "in_service": version(wrong=10)}
    asked[who] = version(refuses=lambda row: row == 5)
    found = measured(opened, asked)
    assert getattr(found.refused, who) == 1
    metric = found.metric("accuracy")
    assert metric is not None and metric.difference is not None
    assert found.latency is not None and found.latency.in_service is not None and found.latency.requests > 0


def test_rows_that_only_the_proposed_version_answers_time_it_alone(opened: EvaluationSet) -> None:
    found = measured(opened, {"proposed": version(), "in_service": version(refuses=lambda row: row != 7)})
    assert found.latency is not None and found.latency.in_service is not None, "row 7 is answered by both"
    alone = measured(
        opened,
        {"proposed": version(refuses=lambda row: row < 150), "in_service": version(refuses=lambda row: row >= 150)},
    )
    assert alone.latency is not None and alone.latency.in_service is None


def test_what_a_model_says_of_a_row_is_shown_only_where_inputs_may_be(opened: EvaluationSet) -> None:
    asked: dict[Who, Any] = {"proposed": version(refuses=lambda row: row == 5)}
    assert measured(opened, asked).refused.why == "row 5: it refused this row"
    assert "Jane Doe" in measured(opened, asked, show_inputs=True).refused.why


def _answered(root: Path, opened: EvaluationSet, asked: Mapping[str, Any]) -> None:
    for part in split(opened.rows, 2, batch_rows=50):
        batches = opened.batches(50, start=part.start, stop=part.stop)
        about = About(opened.digest, {who: DIGESTS[who] for who in asked}, part)
        asks = {who: one.rows.ask for who, one in asked.items()}
        keep_answers(root / DIGESTS[PROPOSED].removeprefix("sha256:"), about, ask(batches, asks, most_refused=None))


def test_parts_of_both_versions_serve_where_the_one_in_service_is_away_by_now(
    opened: EvaluationSet, tmp_path: Path
) -> None:
    both: dict[Who, Any] = {"proposed": version(wrong=3), "in_service": version()}
    _answered(tmp_path, opened, both)
    found = measured(opened, {"proposed": both["proposed"]}, answers=str(tmp_path))
    metric = found.metric("accuracy")
    assert metric is not None and metric.proposed == pytest.approx(1 - 3 / ROWS) and metric.in_service is None
    again = measured(opened, both, answers=str(tmp_path), batch_rows=7).metric("accuracy")
    assert again is not None and again.difference == pytest.approx(-3 / ROWS), "the rows in a request are the parts'"


def test_answers_of_another_output_are_no_zeros(opened: EvaluationSet, tmp_path: Path) -> None:
    _answered(tmp_path, opened, {"proposed": version(), "in_service": version()})
    asked: dict[Who, Any] = {"proposed": version(output="score"), "in_service": version(output="score")}
    with pytest.raises(InvalidInput, match="has no answers of the output score, which is measured") as failure:
        measured(opened, asked, answers=str(tmp_path))
    assert failure.value.next_step == "Run that part again; the others stay."
