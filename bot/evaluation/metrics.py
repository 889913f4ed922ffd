"""Metrics by name: what each computes of labels and answers, the same number as scikit-learn, and how far it is off.

A team's own metric is a function ``f(labels, answers)`` that returns one number, or one score a row. Their package
lists it under the entry point ``promobot.metrics``, and the settings name it ``package:name``. It is loaded from that
installed distribution and from nowhere else: what a model brings along is never code here.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.domain.nearest import did_you_mean
from bot.evaluation import influence
from bot.evaluation.influence import Average, Decided, Floats, Mask
from bot.evaluation.room import AT_ONCE, distinct, groups_of, in_order, parts, release, room

Array = NDArray[Any]

GROUP = "promobot.metrics"
"""The group of entry points under which a team's package lists its metrics."""
PAIRED = "paired t"
LINEAR = "linearised, paired t"
DELONG = "DeLong"
JACKKNIFE = "jackknife over blocks of rows"
"""How a metric's error is computed; docs/explanation/statistics.md explains each."""
_SHOWN = 40


class Undefined(ValueError):
    """These rows have no such number: says why, in words for a reader."""


class UndefinedByLabels(Undefined):
    """The labels of these rows give no such number, whatever a version answers."""


class UnknownMetric(ValueError):
    """No metric has this name: says which one may be meant."""


@dataclass(frozen=True)
class Sample:
    """One metric of one version: its ``value``, and the ``influence`` of each unit on it.

    A unit is a row, and for a ranking a query. ``groups`` names the group that each unit belongs to. ``step`` is the
    most that one row can change the metric, and 0 where there is no most, as of a loss of numbers. ``rarest`` is the
    number of rows of the rarer class, where a metric compares classes.
    """

    value: float
    influence: Floats
    step: float = 0.0
    groups: Array | None = None
    rarest: int | None = None


@dataclass(frozen=True)
class Rows:
    """What one version answered to the rows of a set; ``refused`` marks those that it did not answer.

    ``classes`` are those of the whole set, where these are some of its rows: what a metric is must not depend on
    the rows, and still less on the answers. ``smallest`` is the least probability that counts, of both versions.
    """

    labels: Array
    answers: Array
    groups: Array | None = None
    refused: Mask | None = None
    classes: Array | None = None
    smallest: float | None = None

    def answered(self) -> Array:
        """Return the answers; raise Undefined where the metric has no worst case for those that are missing."""
        if self.refused is not None and self.refused.any():
            raise Undefined(f"{int(self.refused.sum())} rows were not answered, and it has no worst value for them")
        return self.answers


@dataclass(frozen=True)
class Metric:
    """One metric, and the ``method`` that says how sure a difference is.

    ``compute`` returns a number and influences. A team's own metric has none: ``own`` is called instead.
    """

    name: str
    higher_is_better: bool
    method: str
    compute: Callable[[Rows], Sample] | None = None
    own: Callable[[Array, Array], float | Floats] | None = None

    def value(self, labels: Array, answers: Array, groups: Array | None = None) -> float:
        """Return the metric of these rows; raise Undefined where there is none."""
        if self.compute is not None:
            return self.compute(Rows(labels, answers, groups)).value
        assert self.own is not None  # noqa: S101
        return float(np.mean(self.own(labels, answers)))


def metric(name: str, *, threshold: float = 0.5, lower_is_better: bool = False) -> Metric:
    """Return the metric of this name, as MLflow and scikit-learn spell it: ``val_auc``, ``eval/f1``, ``ndcg@10``.

    ``threshold`` decides for class 1 where the answer is one probability. ``lower_is_better`` says the direction of a
    team's own metric, ``package:name``; all others have theirs. Raises UnknownMetric.
    """
    if ":" in name:
        return _own(name, lower_is_better=lower_is_better)
    plain = _plain(name)
    if found := _NDCG.fullmatch(plain):
        depth = found["k"]
        return Metric(name, True, PAIRED, partial(_ndcg, k=int(depth) if depth else None))
    if found := _QUANTILE.fullmatch(plain):
        loss = partial(_quantile_loss, float(f"0.{found['share']}"))
        return Metric(name, False, PAIRED, partial(_mean_of, loss, _read_numbers, _number_answers))
    average: Average | None = None
    if found := _AVERAGED.fullmatch(plain):
        plain, average = found["class"], "macro" if found["average"] == "macro" else "weighted"
    elif _AUTOLOGGED.fullmatch(name.casefold()):
        average = "weighted"  # so MLflow's autologging computes it
    key = _SPELLINGS.get(plain, plain)
    if key in _DECIDED:
        method, of = _DECIDED[key]
        return Metric(name, True, method, partial(_decided, threshold=threshold, of=of, average=average))
    if key not in _KNOWN:
        step = did_you_mean(key, known())
        raise UnknownMetric(
            f"no metric is known as {name!r:.80}. {step}Say in evaluation.<model>.metrics what computes it, or "
            f"take it out of the gate. Known are {', '.join(known())}; a metric of your own is an entry point of "
            f"your package in the group {GROUP}, named package:name"
        )
    higher, method, compute = _KNOWN[key]
    return Metric(name, higher, method, compute)


def known() -> tuple[str, ...]:
    """Return the names of all metrics that are known without a package of a team's own."""
    return tuple(sorted({*_DECIDED, *_KNOWN, "ndcg@10", "quantile_loss@0.9"}))


_NDCG = re.compile(r"ndcg(?:_(?:at_)?(?P<k>[1-9][0-9]{0,5}))?")
_QUANTILE = re.compile(r"(?:quantile|pinball)(?:_loss)?_0_(?P<share>[0-9]{1,6})")
_AVERAGED = re.compile(r"(?P<class>precision|recall|f1)(?:_score)?_(?P<average>macro|weighted)")
_AUTOLOGGED = re.compile(r"training_(?:precision|recall|f1)_score")
_BEFORE = re.compile(r"(?:mean_)?(?:val|valid|validation|eval|evaluation|test|train|training|holdout)_")
_SPELLINGS = {
    "acc": "accuracy",
    "balanced_acc": "balanced_accuracy",
    "auc": "roc_auc",
    "auroc": "roc_auc",
    "auc_roc": "roc_auc",
    "rocauc": "roc_auc",
    "ap": "average_precision",
    "logloss": "log_loss",
    "binary_logloss": "log_loss",
    "multi_logloss": "log_loss",
    "mlogloss": "log_loss",
    "cross_entropy": "log_loss",
    "brier_loss": "brier",
    "brier_score_loss": "brier",
    "mean_absolute_error": "mae",
    "l1": "mae",
    "mean_squared_error": "mse",
    "l2": "mse",
    "root_mean_squared_error": "rmse",
    "mean_absolute_percentage_error": "mape",
}


def _plain(name: str) -> str:
    """Return a metric's name without where it was measured: ``val/ROC-AUC`` is ``roc_auc``."""
    last = re.split(r"[/]", name.strip())[-1]
    plain = re.sub(r"[^a-z0-9]+", "_", last.casefold()).strip("_")
    plain = _BEFORE.sub("", plain, count=1) or plain
    return plain.removesuffix("_score") or plain


# What answers are read as


def _flat(answers: Array) -> Array:
    """Return answers without axes of one value; those of one number a row have one axis."""
    return answers.reshape(len(answers)) if answers.size == len(answers) else answers


def _finite(values: Array, what: str, start: int = 0) -> Floats:
    """Return numbers as float64; raise Undefined where one is not finite. ``start`` is the first row's number."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        kind = Undefined if what == "answers" else UndefinedByLabels
        raise kind(f"the {what} are not numbers") from error
    if not np.isfinite(numbers).all():
        wrong = ~np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1)
        count, first = int(wrong.sum()), start + int(wrong.argmax())
        are = "is" if count == 1 else "are"
        kind = Undefined if what == "answers" else UndefinedByLabels
        raise kind(f"{count} of the {what} {are} not finite, first of row {first}")
    return numbers


def _see_that_all_are_finite(values: Array, what: str) -> None:
    """Raise Undefined where one of them is not a finite number; looks at some of them at a time."""
    for part in parts(values):
        _finite(values[part], what, part.start)


def _number_labels(rows: Rows) -> Array:
    """Return one label a row, each a finite number, as they lie there."""
    labels = _flat(rows.labels)
    _see_that_all_are_finite(labels, "labels")
    if labels.ndim != 1:
        raise UndefinedByLabels("a row has several labels, and this metric takes one")
    return labels


def _number_answers(answers: Array, start: int = 0) -> Floats:
    numbers = _finite(answers, "answers", start)
    if numbers.ndim != 1:
        raise Undefined(f"an answer has the shape {list(answers.shape[1:])}, and this metric takes one number a row")
    return numbers


def _numbers(rows: Rows) -> tuple[Array, Array]:
    """Return one label and one answer a row, each a finite number, as they lie there."""
    labels, answers = _number_labels(rows), _flat(rows.answered())
    for part in parts(answers):
        _number_answers(answers[part], part.start)
    return labels, answers


def _text(values: Array) -> Array:
    """Return bytes and objects as text, so that they compare with labels."""
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "O":
        return np.array(
            [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.flat]
        ).reshape(values.shape)
    return values


def classes_of(labels: Array) -> Array:
    """Return the classes that labels name, sorted: 0 and 1 where there are no others."""
    classes = distinct(_text(_flat(labels)))
    return np.array([0, 1]) if is_binary(classes) else classes


def is_binary(classes: Array) -> bool:
    """Whether these are the classes 0 and 1, of which one number speaks."""
    return classes.dtype.kind in "biuf" and bool(np.isin(classes, (0, 1)).all())


def _positive(rows: Rows) -> Mask:
    """Return which rows are of the class that one number speaks of: 1, or the greater one of two."""
    labels, classes = _text(_flat(rows.labels)), _classes(rows)
    one: object = 1
    if not is_binary(classes):
        if len(classes) > 2:
            raise Undefined(f"there are {len(classes)} classes, and an answer is one number")
        if len(classes) < 2:
            raise UndefinedByLabels(f"every label is {_shown(classes[0])}")
        one = classes[-1]
    found = np.empty(labels.shape, np.bool_)
    for part in parts(labels):
        found[part] = labels[part] == one
    return found


def _classes(rows: Rows) -> Array:
    """Return the classes of the set; raise Undefined where one is not a class."""
    classes = classes_of(rows.labels) if rows.classes is None else rows.classes
    if classes.dtype.kind == "f":
        _finite(classes, "classes")
    return classes


def _class_of(labels: Array, columns: int, classes: Array) -> NDArray[Any]:
    """Return the column of each row's class: its number, or its place in the alphabet."""
    labels = _text(_flat(labels))
    codes = np.empty(labels.shape, np.min_scalar_type(columns))
    if labels.dtype.kind == "U":
        if len(classes) != columns:
            raise Undefined(f"the labels have {len(classes)} classes, and an answer has {columns} numbers")
        for part in parts(labels):
            codes[part] = np.searchsorted(classes, labels[part])
        return codes
    _see_that_all_are_finite(labels, "labels")
    for part in parts(labels):
        numbers = _finite(labels[part], "labels", part.start)
        own = numbers.astype(np.intp)
        if (wrong := (own != numbers) | (own < 0) | (own >= columns)).any():
            said = f"a label is {numbers[wrong][0]:g}, and an answer has {columns} numbers"
            raise Undefined(f"{said}: classes are 0 to {columns - 1}")
        codes[part] = own
    return codes


def _shown(value: object) -> str:
    return str(value)[:_SHOWN]


def _probability_labels(rows: Rows, columns: int) -> NDArray[Any]:
    """Return the class of each row, as the number of its probability."""
    return _positive(rows).view(np.uint8) if columns == 1 else _class_of(rows.labels, columns, _classes(rows))


def _probabilities(answers: Array, start: int = 0) -> Array:
    """Return the probabilities of all classes, in their own precision."""
    checked = _finite(answers, "answers", start)
    if answers.dtype.kind != "f":
        answers = checked
    if answers.ndim > 2:
        shape = list(answers.shape[1:])
        raise Undefined(f"an answer has the shape {shape}, and this metric takes one row of numbers")
    if checked.min() < 0 or checked.max() > 1:
        wrong = checked[(checked < 0) | (checked > 1)][0]
        raise Undefined(f"an answer is {wrong:.4g}, and this metric takes probabilities")
    if answers.ndim == 1:
        return np.stack([np.ones((), dtype=answers.dtype) - answers, answers], axis=1)
    if not np.isclose(checked.sum(axis=1), 1, rtol=float(np.sqrt(np.finfo(answers.dtype).eps))).all():
        raise Undefined("the numbers of an answer do not add up to 1, and this metric takes probabilities")
    return answers


def decisions(classes: Array, answers: Array, threshold: float = 0.5, *, start: int = 0) -> Array:
    """Return what each answer decides, as one of the set's classes has it. ``start`` is the number of the first row.

    Whole numbers and texts are decisions already. One probability a row decides for class 1 from ``threshold`` on. Of
    several the greatest counts.
    """
    answers = _text(_flat(answers))
    if answers.dtype.kind not in "f":
        return answers
    numbers = _finite(answers, "answers", start)
    if numbers.ndim == 1:
        if is_binary(classes):
            return (numbers >= threshold).astype(np.int64)
        if classes.dtype.kind == "U" or (numbers != np.round(numbers)).any():
            raise Undefined("an answer is one number, which decides between the classes 0 and 1 only")
        return numbers.astype(np.int64)
    if numbers.ndim > 2:
        raise Undefined(
            f"an answer has the shape {list(numbers.shape[1:])}, and this metric takes one row of numbers"
        )
    columns = numbers.shape[1]
    codes = numbers[:, 1] >= threshold if columns == 2 and threshold != 0.5 else numbers.argmax(axis=1)
    if classes.dtype.kind != "U":
        return np.asarray(codes, dtype=np.int64)
    if len(classes) != columns:
        raise Undefined(f"the labels have {len(classes)} classes, and an answer has {columns} numbers")
    return np.asarray(classes[np.asarray(codes, dtype=np.intp)])


# Metrics of decisions


def _decided(
    rows: Rows,
    *,
    threshold: float,
    of: Callable[[Floats, Average, list[str]], Decided],
    average: Average | None = None,
) -> Sample:
    labels = _text(_flat(rows.labels))
    if labels.ndim != 1:
        raise UndefinedByLabels("a row has several labels, and this metric takes one")
    classes = _classes(rows)
    if len(classes) > _MOST_CLASSES:
        raise UndefinedByLabels(f"there are {len(classes)} classes, more than {_MOST_CLASSES}")
    width, kind = len(classes) + 1, np.min_scalar_type(len(classes))
    of_label, of_decision = np.empty(len(labels), kind), np.empty(len(labels), kind)
    counts = np.zeros((len(classes), width))
    for part, decided, refused in _decisions(rows, classes, threshold):
        codes = np.where(refused, len(classes), _places(classes, decided))
        own = np.searchsorted(classes, labels[part])
        counts += np.bincount(own * width + codes, minlength=counts.size).reshape(counts.shape)
        of_label[part], of_decision[part] = own, codes
    binary = is_binary(classes)
    found = of(counts, average or ("binary" if binary else "macro"), [_shown(one) for one in classes])
    return Sample(found.value, found.of_rows(of_label, of_decision), found.step, rows.groups)


def _places(classes: Array, decided: Array) -> NDArray[np.intp]:
    """Return the place of each decision among the classes; one past the last for what no label is called."""
    strange = np.zeros(len(decided), np.bool_)
    if decided.dtype.kind == "u" and classes.dtype.kind == "i":  # compared as floats, large ones would be alike
        strange = decided > np.iinfo(np.int64).max
        decided = np.where(strange, 0, decided).astype(np.int64)
    found = np.minimum(np.searchsorted(classes, decided), len(classes) - 1)
    return np.where(strange | (classes[found] != decided), len(classes), found)


def _decisions(rows: Rows, words: Array, threshold: float) -> Iterator[tuple[slice, Array, Mask]]:
    """Yield some rows at a time: which they are, their decisions, and which of them have none."""
    answers = _flat(rows.answers)
    for part in parts(answers, rows.labels):
        some = answers[part]
        refused = np.zeros(len(some), dtype=bool) if rows.refused is None else rows.refused[part]
        if refused.any() and some.dtype.kind == "f":
            some = np.where(refused.reshape(-1, *[1] * (some.ndim - 1)), some.dtype.type(0), some)
        decided = decisions(words, some, threshold, start=part.start)
        if decided.ndim != 1:
            shape = list(decided.shape[1:])
            raise Undefined(f"an answer has the shape {shape}, and this metric takes one decision a row")
        if (words.dtype.kind == "U") != (decided.dtype.kind == "U"):
            said = f"labels such as {_shown(words[0])} and decisions such as {_shown(decided[0])}"
            raise Undefined(f"{said} do not compare")
        yield part, decided, refused


_MOST_CLASSES = 2000


def _accuracy(counts: Floats, _: Average, __: list[str]) -> Decided:
    rows = float(counts.sum())
    value = float(np.trace(counts) / rows)
    return Decided(value, np.eye(*counts.shape) - value, rows)


def _balanced(counts: Floats, _: Average, __: list[str]) -> Decided:
    return influence.recall(counts, "macro")


def _recall(counts: Floats, average: Average, classes: list[str]) -> Decided:
    _see_that_none_is_zero(
        counts.sum(axis=1), counts, average, classes, "has the label {}, so its recall is not defined"
    )
    return influence.recall(counts, average)


def _precision(counts: Floats, average: Average, classes: list[str]) -> Decided:
    decided = counts.sum(axis=0)[:-1]
    _see_that_none_is_zero(decided, counts, average, classes, "is decided for {}, so its precision is not defined")
    return influence.precision(counts, average)


def _f1(counts: Floats, average: Average, classes: list[str]) -> Decided:
    whole = counts.sum(axis=1) + counts.sum(axis=0)[:-1]
    _see_that_none_is_zero(whole, counts, average, classes, "has the label {0} or is decided for it")
    return influence.f1(counts, average)


def _see_that_none_is_zero(rows: Floats, counts: Floats, average: Average, classes: list[str], why: str) -> None:
    # Some rows of a set may be of some of its classes only.
    asked = [1] if average == "binary" else np.flatnonzero(counts.sum(axis=1))
    for one in asked:
        if not rows[one]:
            # Where no row is of the class, no answer would give a number.
            kind = Undefined if counts[one].any() else UndefinedByLabels
            raise kind(f"no row {why.format(classes[one])}")


_DECIDED: dict[str, tuple[str, Callable[[Floats, Average, list[str]], Decided]]] = {
    "accuracy": (PAIRED, _accuracy),
    "balanced_accuracy": (LINEAR, _balanced),
    "precision": (LINEAR, _precision),
    "recall": (LINEAR, _recall),
    "f1": (LINEAR, _f1),
}


# Metrics of one score, of probabilities, of numbers


def _scored(rows: Rows) -> tuple[Mask, Array]:
    """Return which rows are positive and their scores; a missing answer is ranked as wrongly as can be."""
    positive = _positive(rows)
    if not 0 < int(positive.sum()) < len(positive):
        raise UndefinedByLabels("all labels are the same, and this metric compares rows of two classes")
    answers, refused = _flat(rows.answers), rows.refused
    if answers.ndim == 2 and answers.shape[1] == 2:
        answers = answers[:, 1]
    if answers.ndim != 1:
        raise Undefined(f"an answer has the shape {list(answers.shape[1:])}, and this metric takes one number a row")
    if refused is not None and not refused.any():
        refused = None
    if refused is None and answers.dtype.kind == "f":
        _see_that_all_are_finite(answers, "answers")
        return positive, answers
    scores, low, high = room(answers.shape, np.float64), np.inf, -np.inf
    for part in parts(answers, scores):
        some = answers[part] if refused is None else np.where(refused[part], 0, answers[part])
        scores[part] = _finite(some, "answers", part.start)
        there = scores[part] if refused is None else scores[part][~refused[part]]
        if len(there):
            low, high = min(low, float(there.min())), max(high, float(there.max()))
    if refused is not None:
        low, high = (low, high) if low <= high else (0.0, 0.0)
        scores[refused & positive], scores[refused & ~positive] = low - 1.0, high + 1.0
        release(scores)
    return positive, scores


def _roc_auc(rows: Rows) -> Sample:
    answers = _flat(rows.answers)
    if answers.ndim == 2 and answers.shape[1] > 2:
        return _roc_auc_of_many(rows)
    return _of_classes(influence.roc_auc, influence.step_of_roc_auc, rows)


def _of_classes(
    compute: Callable[[Mask, Array], tuple[float, Floats]], step: Callable[[int, int], float], rows: Rows
) -> Sample:
    positive, scores = _scored(rows)
    count = int(positive.sum())
    others = len(positive) - count
    return Sample(*compute(positive, scores), step(count, others), rows.groups, rarest=min(count, others))


def _average_precision(rows: Rows) -> Sample:
    return _of_classes(influence.average_precision, influence.step_of_average_precision, rows)


def _roc_auc_of_many(rows: Rows) -> Sample:
    """Return the mean over the classes, each against the rest."""
    shares = _flat(rows.answered())
    for part in parts(shares):
        _probabilities(shares[part], part.start)
    columns = shares.shape[1]
    labels = _probability_labels(rows, columns)
    there = np.bincount(labels, minlength=columns)
    if (there == 0).any():
        raise UndefinedByLabels(
            f"no row has the label {int((there == 0).argmax())}, and this metric compares all classes"
        )
    values, whole = [], room((len(shares),), np.float64)
    for one in range(columns):
        value, psi = influence.roc_auc(labels == one, shares[:, one])
        values.append(value)
        for part in parts(whole, psi):
            whole[part] += psi[part]
    for part in parts(whole):
        whole[part] /= columns
    step = influence.step_of_roc_auc_of_many(there)
    return Sample(float(np.mean(values)), whole, step, rows.groups, rarest=int(there.min()))


def _mean_of(
    score: Callable[..., Floats],
    of_labels: Callable[[Rows, int], Callable[[slice], Array]],
    of_answers: Callable[[Array, int], Array],
    rows: Rows,
) -> Sample:
    """Return the mean of one score a row."""
    answers = _flat(rows.answered())
    labels = of_labels(rows, answers.shape[1] if answers.ndim > 1 else 1)
    scores, whole = room((len(answers),), np.float64), 0.0
    for part in parts(answers, rows.labels, scores):
        some = score(labels(part), of_answers(answers[part], part.start))
        scores[part] = some
        whole += some.sum()
    value = float(whole / len(answers))
    for part in parts(scores):
        scores[part] -= value
        scores[part] /= len(answers)
    return Sample(value, scores, groups=rows.groups)


def _read_classes(rows: Rows, columns: int) -> Callable[[slice], Array]:
    return _probability_labels(rows, columns).__getitem__


def _read_numbers(rows: Rows, _: int) -> Callable[[slice], Array]:
    labels = _number_labels(rows)
    return lambda part: _finite(labels[part], "labels", part.start)


def _log_loss(rows: Rows) -> Sample:
    """Return the mean of -log p. No p counts as less than the coarser of both versions' numbers can tell from 0."""
    kind = rows.answers.dtype
    smallest = rows.smallest or float(np.finfo(kind if kind.kind == "f" else np.float64).eps)
    return _mean_of(partial(_log_of_own, smallest), _read_classes, _probabilities, rows)


def _log_of_own(smallest: float, classes: NDArray[Any], shares: Array) -> Floats:
    own = np.take_along_axis(shares, classes[:, None], axis=1)[:, 0].astype(np.float64)
    return np.asarray(-np.log(np.clip(own, smallest, 1 - smallest)))


def _brier(classes: NDArray[Any], shares: Array) -> Floats:
    wide = shares.astype(np.float64)
    own = np.take_along_axis(wide, classes[:, None], axis=1)[:, 0]
    scores = np.asarray((wide**2).sum(axis=1) - own**2 + (1 - own) ** 2)
    return scores / 2 if shares.shape[1] == 2 else scores


def _mean_brier(rows: Rows) -> Sample:
    """Return the mean; the score of a row is at most 1, and of several classes at most 2."""
    found = _mean_of(_brier, _read_classes, _probabilities, rows)
    answers = _flat(rows.answers)
    most = 2.0 if answers.ndim > 1 and answers.shape[1] > 2 else 1.0
    return replace(found, step=most / len(answers))


def _quantile_loss(share: float, labels: Floats, numbers: Floats) -> Floats:
    return np.maximum(share * (labels - numbers), (share - 1) * (labels - numbers))


def _absolute(labels: Floats, numbers: Floats) -> Floats:
    return np.abs(labels - numbers)


def _squared(labels: Floats, numbers: Floats) -> Floats:
    return (labels - numbers) ** 2


def _relative(labels: Floats, numbers: Floats) -> Floats:
    return np.abs(labels - numbers) / np.maximum(np.abs(labels), np.finfo(np.float64).eps)


def _of_numbers(compute: Callable[[Array, Array], tuple[float, Floats]], rows: Rows) -> Sample:
    return Sample(*compute(*_numbers(rows)), groups=rows.groups)


def _r2(rows: Rows) -> Sample:
    labels, _ = _numbers(rows)
    if len(labels) and all((labels[part] == labels[0]).all() for part in parts(labels)):
        raise UndefinedByLabels("all labels are the same, and this metric divides by how they vary")
    return _of_numbers(influence.coefficient_of_determination, rows)


_KNOWN: dict[str, tuple[bool, str, Callable[[Rows], Sample]]] = {
    "roc_auc": (True, DELONG, _roc_auc),
    "average_precision": (True, LINEAR, _average_precision),
    "log_loss": (False, PAIRED, _log_loss),
    "brier": (False, PAIRED, _mean_brier),
    "mae": (False, PAIRED, partial(_mean_of, _absolute, _read_numbers, _number_answers)),
    "mse": (False, PAIRED, partial(_mean_of, _squared, _read_numbers, _number_answers)),
    "mape": (False, PAIRED, partial(_mean_of, _relative, _read_numbers, _number_answers)),
    "rmse": (False, LINEAR, partial(_of_numbers, influence.root_mean_squared_error)),
    "r2": (True, LINEAR, _r2),
}


# Rankings


def _ndcg(rows: Rows, *, k: int | None) -> Sample:
    """Return the mean over the queries. A query is a group of rows, or one row with a label for each of its items."""
    relevance, scores = _flat(rows.labels), _flat(rows.answered())
    _see_that_all_are_finite(relevance, "labels")
    _see_that_all_are_finite(scores, "answers")
    if relevance.shape != scores.shape:
        raise Undefined(f"labels of the shape {list(relevance.shape[1:])}, answers of {list(scores.shape[1:])}")
    if (least := min(relevance[part].min() for part in parts(relevance))) < 0:
        raise UndefinedByLabels(f"a label is {least:g}, and relevance is 0 or more")
    if relevance.ndim == 2:
        groups, gains = rows.groups, np.empty(len(relevance))
        for part in parts(relevance, scores):
            gains[part] = ndcg(_wide(relevance[part]), _wide(scores[part]), k)
    else:
        if rows.groups is None:
            raise UndefinedByLabels("the set has no groups, which say what rows belong to one query")
        gains, groups = _by_query(relevance, scores, rows.groups, k), None
    value = float(gains.mean())
    return Sample(value, (gains - value) / len(gains), 1 / len(gains), groups)


def _wide(values: Array) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _by_query(relevance: Array, scores: Array, groups: Array, k: int | None) -> Floats:
    """Return the NDCG of each query, in the order of the groups' names."""
    codes, sizes = groups_of(groups)
    order, starts = in_order(codes, sizes), np.cumsum(sizes) - sizes
    gains = np.empty(len(sizes))
    for size in np.unique(sizes):
        all_of_it = np.flatnonzero(sizes == size)
        at_once = max(1, AT_ONCE // int(size))
        for first in range(0, len(all_of_it), at_once):
            which = all_of_it[first : first + at_once]
            rows = order[starts[which][:, None] + np.arange(size)]
            gains[which] = ndcg(_wide(relevance[rows]), _wide(scores[rows]), k)
            release(order, relevance, scores)
    return gains


def ndcg(relevance: Floats, scores: Floats, k: int | None = None) -> Floats:
    """Return the NDCG of each row of items, as scikit-learn: items of one score share their places' discounts."""
    items = relevance.shape[1]
    discount = 1 / np.log2(np.arange(items) + 2.0)
    discount[items if k is None else k :] = 0
    before = np.concatenate([[0.0], np.cumsum(discount)])
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    edge = np.ones((len(scores), 1), dtype=bool)
    changes = np.diff(ranked, axis=1) != 0
    places = np.arange(items)
    first = np.maximum.accumulate(np.where(np.hstack([edge, changes]), places, 0), axis=1)
    last = np.minimum.accumulate(np.where(np.hstack([changes, edge]), places, items)[:, ::-1], axis=1)[:, ::-1]
    shared = (before[last + 1] - before[first]) / (last + 1 - first)
    gain = (np.take_along_axis(relevance, order, axis=1) * shared).sum(axis=1)
    best = (-np.sort(-relevance, axis=1) * discount).sum(axis=1)
    return np.asarray(np.divide(gain, best, out=np.zeros(len(gain)), where=best > 0))


# A team's own


def _own(name: str, *, lower_is_better: bool) -> Metric:
    """Return a metric of a team's own package; raise UnknownMetric where it is not installed or cannot be loaded."""
    package, _, point = name.partition(":")
    try:
        listed = metadata.distribution(package).entry_points.select(group=GROUP)
    except (metadata.PackageNotFoundError, ValueError) as error:
        raise UnknownMetric(f"{name}: no package {package!r:.80} is installed where the check runs") from error
    found = next((one for one in listed if one.name == point), None)
    if found is None:
        there = ", ".join(sorted(one.name for one in listed)) or "none"
        raise UnknownMetric(f"{name}: {package} lists no metric {point!r:.80} under {GROUP}; it lists {there}")
    try:
        function = found.load()
    except (Exception, SystemExit) as error:
        raise UnknownMetric(f"{name} cannot be loaded: {_last_line(error)}") from error
    if not callable(function):
        raise UnknownMetric(f"{name} is {type(function).__name__}, and not a function of labels and answers")
    return Metric(name, not lower_is_better, JACKKNIFE, own=partial(_asked, name, function))


def _asked(name: str, function: Callable[[Array, Array], object], labels: Array, answers: Array) -> float | Floats:
    """Ask a team's function; raise Undefined where it fails, or returns something else."""
    try:
        found = np.asarray(function(_read_only(labels), _read_only(answers)), dtype=np.float64)
    except (Exception, SystemExit) as error:
        raise Undefined(f"{name} failed: {_last_line(error)}") from error
    if found.shape not in ((), (len(labels),)):
        raise Undefined(f"{name} returned the shape {list(found.shape)}: it returns one number, or one score a row")
    if not np.isfinite(found).all():
        raise Undefined(f"{name} returned {found[()] if found.ndim == 0 else 'scores that are not finite'}")
    return float(found) if found.ndim == 0 else found


def _read_only(values: Array) -> Array:
    """Return the same values as an array that cannot be written to: other metrics read them, too."""
    view = values.view(np.ndarray)
    view.flags.writeable = False
    return view


def _last_line(error: BaseException) -> str:
    """Return the last line of a traceback, with the place that it points at."""
    said = traceback.format_exception_only(error)[-1].strip()
    frames = traceback.extract_tb(error.__traceback__)
    return f"{said} ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else said
