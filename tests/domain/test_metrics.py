"""Which of many numbers counts, where it comes from, and what register writes down."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain.metrics import TAG, Logged, Measured, Origin, as_tags, moment, number, of_model, of_run, told_in

NOON = 1_772_366_400_000
REGISTERED = Origin(kind="register", name="churn 7", at=datetime(2026, 3, 1, 12, tzinfo=UTC))


def logged(value: float, *, step: int = 0, at: int = NOON, dataset: str = "", name: str = "accuracy") -> Logged:
    return Logged(name, value, step, at, dataset)


def test_the_highest_step_counts_and_of_that_the_newest() -> None:
    found = of_model("m-1", [logged(0.6), logged(0.9, step=2, at=NOON - 9), logged(0.8, step=2), logged(0.7, step=1)])
    assert dict(found.values) == {"accuracy": 0.8} and not found.unclear
    assert found.origins["accuracy"] == Origin(
        kind="model", name="m-1", step=2, at=datetime(2026, 3, 1, 12, tzinfo=UTC)
    )
    assert of_run("r", [logged(0.6, step=3)]).origins["accuracy"].kind == "run"
    assert found.only == "only what was logged for m-1 itself counts" and of_run("r", []).only == ""


@pytest.mark.parametrize(
    ("several", "why"),
    [
        (
            [logged(0.6, dataset="train d1"), logged(0.9, dataset="test d2")],
            "logged for 2 datasets (test d2, train d1)",
        ),
        ([logged(0.6), logged(0.9, step=5, dataset="test d2")], "logged for 2 datasets (none, test d2)"),
        ([logged(0.6, dataset=f"{n}") for n in range(5)], "logged for 5 datasets (0, 1, 2, …)"),
        ([logged(0.6, step=3), logged(0.9, step=3)], "2 values at step 3 at the same time"),
    ],
)
def test_a_metric_with_several_numbers_that_might_count_has_none(several: list[Logged], why: str) -> None:
    found = of_model("m-1", [*several, logged(0.5, name="f1")])
    assert dict(found.values) == {"f1": 0.5} and dict(found.unclear) == {"accuracy": why}
    assert (found.why_unknown("accuracy"), found.why_unknown("f1"), found.why_unknown("auc")) == (why, "", "")
    told = found.under({"accuracy": 0.41}, REGISTERED)
    assert told.values["accuracy"] == 0.41 and told.why_unknown("accuracy") == ""


def test_the_same_value_twice_is_one() -> None:
    assert of_model("m-1", [logged(math.nan), logged(math.nan)]).unclear == {}
    assert of_model("m-1", [logged(0.5), logged(0.5)]).values == {"accuracy": 0.5}


def test_what_register_was_told_counts_above_everything_else() -> None:
    for other in (
        of_run("r", [logged(0.95, step=9), logged(0.8, name="f1")]),
        Measured(doubt="the files are another's"),
    ):
        found = other.under({"accuracy": 0.41}, REGISTERED)
        assert (found.values["accuracy"], found.origins["accuracy"]) == (0.41, REGISTERED)
        assert found.why_unknown("accuracy") == "" and found.why_unknown("auc") == other.doubt
        assert found.values.get("f1") == other.values.get("f1")


@given(
    st.dictionaries(st.text(min_size=1, max_size=250), st.floats(allow_nan=False, allow_infinity=False), max_size=90)
)
def test_what_register_was_told_comes_back_from_the_tags(told: dict[str, float]) -> None:
    tags = as_tags(told)
    assert told_in({**tags, "promobot.digest": "sha256:1"}) == told
    assert (TAG in tags) is bool(told)


def test_fifteen_hundred_metrics_fit_into_tags_that_every_mlflow_takes() -> None:
    told = {f"metric_{n}_{'m' * 60}": n / 7 for n in range(1500)}
    tags = as_tags(told)
    assert max(map(len, tags.values())) <= 5000 and told_in(tags) == told
    assert [*tags][:2] == ["promobot.metrics", "promobot.metrics.2"]


@pytest.mark.parametrize(
    "text", ["", "0.41", "[0.41]", '{"accuracy": "high"}', '{"accuracy": true}', '{"accuracy": null}']
)
def test_a_tag_that_register_did_not_write_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"its tag promobot\.metrics "):
        told_in({TAG: text})


def test_numbers_and_times_as_mlflow_sends_them() -> None:
    assert (number("0.5"), number(3), number(-sys.float_info.max)) == (0.5, 3.0, -math.inf)
    assert number(sys.float_info.max) == math.inf and math.isnan(number("NaN"))
    assert moment(NOON) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert moment(10**18) is None and moment(-(10**18)) is None
