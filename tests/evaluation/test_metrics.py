"""Each metric is the number that scikit-learn says, and each influence what scikit-learn says of a row more."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn

from bot.evaluation import metrics
from bot.evaluation.metrics import Rows, Undefined, UnknownMetric, metric
from bot.evaluation.statistics import compare

Array = NDArray[Any]
Theirs = Callable[..., float]


def binary(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    labels = rng.integers(0, 2, rows)
    labels[:2] = (0, 1)
    # Rounded, so that there are ties; one of each at least on either side of the threshold.
    shares = np.round(np.clip(0.3 * labels + 0.7 * rng.random(rows), 0.001, 0.999), 2)
    shares[:2] = (0.2, 0.8)
    return labels, shares


def classes(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    labels = np.concatenate([[0, 1, 2, 3], rng.integers(0, 4, rows - 4)])
    raw = rng.random((rows, 4)) + np.eye(4)[labels] * 0.5
    raw[:4] = np.eye(4) + 0.1
    return labels, raw / raw.sum(axis=1, keepdims=True)


def numbers(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    labels = rng.normal(10, 3, rows)
    return labels, labels + rng.standard_t(3, rows)


def _of_decisions(of: Theirs, **more: Any) -> Theirs:
    def theirs(labels: Array, answers: Array, sample_weight: Array | None = None) -> float:
        decided = answers >= 0.5 if answers.ndim == 1 else answers.argmax(axis=1)
        return of(labels, decided.astype(int), sample_weight=sample_weight, **more)

    return theirs


def _rmse(labels: Array, answers: Array, sample_weight: Array | None = None) -> float:
    return float(sklearn.root_mean_squared_error(labels, answers, sample_weight=sample_weight))


def _pinball(labels: Array, answers: Array, sample_weight: Array | None = None) -> float:
    return float(sklearn.mean_pinball_loss(labels, answers, alpha=0.9, sample_weight=sample_weight))


def _auc_of_many(labels: Array, answers: Array, sample_weight: Array | None = None) -> float:
    return float(sklearn.roc_auc_score(labels, answers, multi_class="ovr"))


TABLE: list[tuple[str, Callable[[np.random.Generator, int], tuple[Array, Array]], Theirs]] = [
    ("accuracy", binary, _of_decisions(sklearn.accuracy_score)),
    ("accuracy", classes, _of_decisions(sklearn.accuracy_score)),
    ("balanced_accuracy", binary, _of_decisions(sklearn.balanced_accuracy_score)),
    ("balanced_accuracy", classes, _of_decisions(sklearn.balanced_accuracy_score)),
    ("precision", binary, _of_decisions(sklearn.precision_score)),
    ("precision", classes, _of_decisions(sklearn.precision_score, average="macro")),
    ("precision_weighted", classes, _of_decisions(sklearn.precision_score, average="weighted")),
    ("recall", binary, _of_decisions(sklearn.recall_score)),
    ("recall", classes, _of_decisions(sklearn.recall_score, average="macro")),
    ("recall_score_weighted", binary, _of_decisions(sklearn.recall_score, average="weighted")),
    ("f1", binary, _of_decisions(sklearn.f1_score)),
    ("f1", classes, _of_decisions(sklearn.f1_score, average="macro")),
    ("f1_macro", binary, _of_decisions(sklearn.f1_score, average="macro")),
    ("training_f1_score", binary, _of_decisions(sklearn.f1_score, average="weighted")),
    ("f1_weighted", classes, _of_decisions(sklearn.f1_score, average="weighted")),
    ("roc_auc", binary, sklearn.roc_auc_score),
    ("roc_auc", classes, _auc_of_many),
    ("average_precision", binary, sklearn.average_precision_score),
    ("log_loss", binary, sklearn.log_loss),
    ("log_loss", classes, sklearn.log_loss),
    ("brier", binary, sklearn.brier_score_loss),
    ("brier", classes, sklearn.brier_score_loss),
    ("mae", numbers, sklearn.mean_absolute_error),
    ("mse", numbers, sklearn.mean_squared_error),
    ("rmse", numbers, _rmse),
    ("r2", numbers, sklearn.r2_score),
    ("mape", numbers, sklearn.mean_absolute_percentage_error),
    ("quantile_loss@0.9", numbers, _pinball),
]
NAMES = [f"{name}-{made.__name__}" for name, made, _ in TABLE]


@pytest.mark.parametrize(("name", "made", "theirs"), TABLE, ids=NAMES)
@pytest.mark.parametrize("rows", [9, 200])
def test_a_metric_is_what_scikit_learn_says(name: str, made: Any, theirs: Theirs, rows: int) -> None:
    for seed in range(5):
        labels, answers = made(np.random.default_rng(seed), rows)
        assert metric(name).value(labels, answers) == pytest.approx(theirs(labels, answers), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("name", "made", "theirs"), TABLE, ids=NAMES)
def test_an_influence_is_what_a_row_more_changes(name: str, made: Any, theirs: Theirs) -> None:
    if theirs is _auc_of_many:
        pytest.skip("scikit-learn takes no weights there; the classes' own areas are tested")
    labels, answers = made(np.random.default_rng(3), 60)
    compute = metric(name).compute
    assert compute is not None
    found = compute(Rows(labels, answers))
    weight, little = np.full(60, 1.0), 1e-5
    for row in range(0, 60, 7):
        more = weight.copy()
        more[row] += little
        changed = (
            theirs(labels, answers, sample_weight=more) - theirs(labels, answers, sample_weight=weight)
        ) / little
        expected = changed * 1.0
        share = _of_one_class(name, labels, row)
        assert found.influence[row] / share == pytest.approx(expected, rel=2e-3, abs=2e-6)
    assert abs(found.influence.sum()) < 1e-9


def _of_one_class(name: str, labels: Array, row: int) -> float:
    """DeLong's components are without bias: for m rows of a class they are √(m / (m - 1)) times as large."""
    if name != "roc_auc":
        return 1.0
    of = int((labels == labels[row]).sum())
    return float(np.sqrt(of / (of - 1)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ndcg_is_what_scikit_learn_says_also_with_ties(data: st.DataObject) -> None:
    queries, items = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 7))
    k = data.draw(st.none() | st.integers(1, 8))
    draw = st.lists(st.integers(0, 3), min_size=queries * items, max_size=queries * items)
    relevance, scores = (np.array(data.draw(draw), dtype=float).reshape(queries, items) for _ in range(2))
    name = "ndcg" if k is None else f"ndcg@{k}"
    theirs = sklearn.ndcg_score(relevance, scores, k=k)
    assert metric(name).value(relevance, scores) == pytest.approx(theirs, abs=1e-12)
    by_query = np.repeat([f"q{one}" for one in range(queries)], items)
    order = np.random.default_rng(0).permutation(queries * items)
    flat = metric(name).value(relevance.ravel()[order], scores.ravel()[order], by_query[order])
    assert flat == pytest.approx(theirs, abs=1e-12)


def test_queries_of_several_lengths_count_the_same() -> None:
    groups = np.array(["a"] * 3 + ["b"] * 2 + ["c"] * 3)
    relevance, scores = np.array([0, 1, 2, 1, 0, 0, 0, 1.0]), np.array([0.3, 0.2, 0.1, 0.9, 0.8, 0.1, 0.2, 0.3])
    each = [sklearn.ndcg_score(relevance[None, groups == one], scores[None, groups == one]) for one in "abc"]
    assert metric("ndcg").value(relevance, scores, groups) == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("val_auc", "roc_auc"),
        ("AUC-ROC", "roc_auc"),
        ("roc_auc_score", "roc_auc"),
        ("training_roc_auc_score", "roc_auc"),
        ("val/ROC AUC", "roc_auc"),
        ("logloss", "log_loss"),
        ("binary_logloss", "log_loss"),
        ("test_log_loss", "log_loss"),
        ("Brier score loss", "brier"),
        ("mean_absolute_error", "mae"),
        ("eval/mean_squared_error", "mse"),
        ("root_mean_squared_error", "rmse"),
        ("val_RMSE", "rmse"),
        ("r2_score", "r2"),
        ("R2", "r2"),
    ],
)
def test_metrics_go_by_the_usual_spellings(spelled: str, meant: str) -> None:
    found, same = metric(spelled), metric(meant)
    assert (found.compute, found.method, found.higher_is_better, found.name) == (
        same.compute,
        same.method,
        same.higher_is_better,
        spelled,
    )


@pytest.mark.parametrize("spelled", ["eval/accuracy", "accuracy_score", "acc", "val_acc", "Accuracy"])
def test_accuracy_goes_by_many_names(spelled: str) -> None:
    assert metric(spelled).value(np.array([0, 1, 1, 1]), np.array([0.1, 0.9, 0.2, 0.7])) == 0.75


def test_what_is_less_where_it_is_better_says_so() -> None:
    less = {name for name in metrics.known() if not metric(name).higher_is_better}
    assert less == {"log_loss", "brier", "mae", "mse", "rmse", "mape", "quantile_loss@0.9"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("profit", "no metric is known as 'profit'. "),
        ("acuracy", "Did you mean accuracy?"),
        ("pr_auc", "no metric is known as 'pr_auc'"),  # an area by trapezoids: not average precision
        ("", "no metric is known as ''"),
        ("ndcg@0", "no metric is known as 'ndcg@0'"),
        ("quantile_loss", "no metric is known as"),
    ],
)
def test_an_unknown_name_names_those_that_there_are(name: str, says: str) -> None:
    with pytest.raises(UnknownMetric) as caught:
        metric(name)
    assert says in str(caught.value) and "accuracy, average_precision" in str(caught.value)


def test_decisions_are_read_from_what_a_model_answers() -> None:
    zero_or_one, words = np.array([0, 1]), np.array(["no", "yes"])
    for labels, answers, decided in [
        (zero_or_one, np.array([0.5, 0.49]), [1, 0]),
        (zero_or_one, np.array([[0.5], [0.49]], dtype=np.float32), [1, 0]),
        (zero_or_one, np.array([[0.6, 0.4], [0.2, 0.8]]), [0, 1]),
        (zero_or_one, np.array([1, 0]), [1, 0]),
        (np.array([2, 0]), np.array([2.0, 1.0]), [2, 1]),
        (np.array([2, 0]), np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), [2, 0]),
        (words, np.array(["yes", "no"]), ["yes", "no"]),
        (words, np.array([b"yes", b"no"], dtype=object), ["yes", "no"]),
        (words, np.array([[0.1, 0.9], [0.8, 0.2]]), ["yes", "no"]),
    ]:
        assert metrics.decisions(labels, answers).tolist() == decided
    assert metrics.decisions(zero_or_one, np.array([0.5, 0.8]), 0.7).tolist() == [0, 1]
    assert metrics.decisions(zero_or_one, np.array([[0.4, 0.6], [0.2, 0.8]]), 0.7).tolist() == [0, 1]


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "labels", "answers", "says"),
    [
        ("roc_auc", [1, 1, 1], [0.1, 0.2, 0.3], "all labels are the same"),
        ("average_precision", [0, 0], [0.1, 0.2], "all labels are the same"),
        ("roc_auc", [0, 1, 2], [0.1, 0.2, 0.3], "there are 3 classes, and an answer is one number"),
        ("roc_auc", [0, 1, 1], [[0.2, 0.3, 0.5]] * 3, "no row has the label 2"),
        ("roc_auc", [0, 1], [0.1, NAN], "1 of the answers is not finite, first of row 1"),
        ("accuracy", [0, 1, 1], [NAN, NAN, 0.1], "2 of the answers are not finite, first of row 0"),
        ("accuracy", [0, 2], [0.1, 0.9], "decides between the classes 0 and 1 only"),
        ("accuracy", ["a", "b"], [0, 1], "labels such as a and decisions such as 0 do not compare"),
        ("accuracy", [0, 1], [[[0.1]], [[0.2]]], None),
        ("accuracy", [0, 1], np.zeros((2, 2, 2)), "has the shape [2, 2]"),
        ("log_loss", [0, 1], [0.1, 1.7], "an answer is 1.7, and this metric takes probabilities"),
        ("log_loss", [0, 1], [[0.9, 0.9]] * 2, "do not add up to 1"),
        ("log_loss", [0, 5], [[0.9, 0.1]] * 2, "a label is 5, and an answer has 2 numbers: classes are 0 to 1"),
        ("log_loss", ["a", "b", "c"], [[0.9, 0.1]] * 3, "the labels have 3 classes"),
        ("log_loss", ["a", "a"], [0.9, 0.1], "every label is a"),
        ("precision", [0, 1], [0.1, 0.2], "no row is decided for 1, so its precision is not defined"),
        ("precision", [0, 1, 2], [0, 1, 1], "no row is decided for 2"),
        ("recall", [0, 0], [0.1, 0.7], "no row has the label 1, so its recall is not defined"),
        ("f1", [0, 0], [0.1, 0.2], "no row has the label 1 or is decided for it"),
        ("mae", [0.5, NAN], [0.1, 0.2], "1 of the labels is not finite, first of row 1"),
        ("mae", ["a", "b"], [0.1, 0.2], "the labels are not numbers"),
        ("mae", [1.0, 2.0], [[1, 2], [3, 4]], "has the shape [2]"),
        ("r2", [1.0, 1.0], [1.0, 2.0], "all labels are the same"),
        ("ndcg", [1.0, 1.0], [1.0, 2.0], "the set has no groups"),
        ("ndcg", [[1.0, -1.0]], [[1.0, 2.0]], "a label is -1, and relevance is 0 or more"),
        ("ndcg", [[1.0, 1.0]], [[1.0, 2.0, 3.0]], "labels of the shape [2], answers of [3]"),
    ],
)
def test_what_is_not_defined_says_why(name: str, labels: Any, answers: Any, says: str | None) -> None:
    if says is None:
        assert metric(name).value(np.array(labels), np.array(answers)) == 0.5
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Undefined) as caught:
            metric(name).value(np.array(labels), np.array(answers))
    assert says in str(caught.value)


def test_what_was_not_answered_is_as_wrong_as_can_be() -> None:
    labels, answers = np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.8, NAN])
    refused = np.array([False, False, True, True])
    rows = Rows(labels, answers, refused=refused)
    for name, value in [("accuracy", 0.5), ("recall", 0.5), ("precision", 1.0), ("roc_auc", 0.25)]:
        compute = metric(name).compute
        assert compute is not None
        assert compute(rows).value == value, name
    compute = metric("mae").compute
    assert compute is not None
    with pytest.raises(Undefined, match="2 rows were not answered, and it has no worst value for them"):
        compute(rows)


# What a metric is does not depend on the answers, nor on which rows of a set they are


@pytest.mark.parametrize("name", ["f1", "precision", "recall", "balanced_accuracy", "accuracy"])
def test_a_decision_that_no_label_is_called_is_wrong_and_makes_no_other_metric_of_it(name: str) -> None:
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 2, 2000)
    answers = np.where(rng.random(2000) < 0.8, labels, 1 - labels)
    strange = answers.copy()
    strange[np.flatnonzero(labels == 0)[:5]] = 2
    binary, odd = (metric(name).value(labels, one) for one in (answers, strange))
    assert odd == pytest.approx(binary, abs=0.02)
    found = compare(metric(name), labels, strange, answers)
    assert found.in_service == binary and found.proposed == odd
    assert compare(metric(name), labels, answers, strange).proposed == binary, "nor that of the other one"
    assert metric("precision").value(np.array([0, 1, 1]), np.array([2, 1, 1])) == 1.0, "nor one of class 1"


def test_rows_of_some_classes_are_read_by_the_classes_of_the_set() -> None:
    labels, classes = np.array(["a", "b", "a", "b"]), np.array(["a", "b", "c"])
    shares = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    alone = compare(metric("accuracy"), labels, shares, None)
    assert alone.why == "the labels have 2 classes, and an answer has 3 numbers"
    assert compare(metric("accuracy"), labels, shares, None, classes=classes).proposed == 0.75
    losses = -np.log([0.8, 0.8, 0.1, 0.7])
    assert compare(metric("log_loss"), labels, shares, None, classes=classes).proposed == pytest.approx(losses.mean())
    assert compare(metric("f1"), labels, shares, None, classes=classes).why == ""
    ones, floats = np.ones(4, np.int64), np.array([1.0, 2.0, 2.0, 1.0], np.float32)
    assert compare(metric("accuracy"), ones, floats, None, classes=np.array([0, 1, 2])).proposed == 0.5
    of_class_1 = compare(metric("log_loss"), ones, np.full(4, 0.9), None, classes=np.array([1, 2]))
    assert of_class_1.proposed == pytest.approx(-np.log(0.1)), "a probability is that of the greater class"


def test_large_whole_numbers_are_not_compared_as_floats() -> None:
    labels = np.array([2**53, 2**53 + 1])
    for kind in (np.int64, np.uint64):
        assert metric("accuracy").value(labels, np.full(2, 2**53, kind)) == 0.5
    assert metric("accuracy").value(labels, np.array([2**53, 2**64 - 1], np.uint64)) == 0.5


def test_log_loss_of_two_versions_has_one_least_probability() -> None:
    labels = np.array([0, 1] * 50)
    wrong = np.where(np.arange(100) < 5, 1 - labels, labels).astype(float)
    fine, coarse = wrong.astype(np.float64), wrong.astype(np.float16)
    found = compare(metric("log_loss"), labels, coarse, fine)
    assert found.proposed == pytest.approx(found.in_service) and found.difference == pytest.approx(0, abs=1e-9)
    assert compare(metric("log_loss"), labels, fine, None).proposed == pytest.approx(sklearn.log_loss(labels, fine))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["roc_auc", "average_precision", "brier", "ndcg", "accuracy"]))
def test_no_row_moves_a_metric_by_more_than_its_step(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(4, 40))
    labels = rng.integers(0, 2, rows)
    labels[:2] = (0, 1)
    answers = np.round(np.clip(labels * rng.choice([0.2, 0.9]) + 0.3 * rng.random(rows), 0, 1), 1)
    groups = np.arange(rows) // 3
    compute = metric(name).compute
    assert compute is not None
    whole = compute(Rows(labels, answers, groups))
    for row in range(rows):
        for answer in (0.0, 1.0, -9.0, 9.0) if name != "brier" else (0.0, 1.0):
            changed = np.concatenate([answers[:row], [answer], answers[row + 1 :]])
            moved = abs(compute(Rows(labels, changed, groups)).value - whole.value)
            assert moved <= whole.step + 1e-12


def test_the_step_of_several_classes_is_of_the_rarest() -> None:
    labels, answers = classes(np.random.default_rng(1), 200)
    for name in ("roc_auc", "brier"):
        compute = metric(name).compute
        assert compute is not None
        whole = compute(Rows(labels, answers))
        for row in range(0, 200, 7):
            for column in range(4):
                changed = answers.copy()
                changed[row] = np.eye(4)[column]
                assert abs(compute(Rows(labels, changed)).value - whole.value) <= whole.step + 1e-12
        assert whole.step < 0.1
