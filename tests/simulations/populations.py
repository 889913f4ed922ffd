"""Populations from which samples are drawn: all their rows are known, so the true difference is known exactly.

A sample is drawn with replacement, so that its rows are independent and the population's own metric is the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bot.evaluation.metrics import Metric, metric
from bot.evaluation.statistics import compare

Array = NDArray[Any]

ROWS = 200_000
QUERIES = 40_000
TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Population:
    """Labels, and what three versions answer: the one in service, one as good, and one that is worse."""

    name: str
    metric: Metric
    labels: Array
    in_service: Array
    equal: Array
    worse: Array
    groups: Array | None = None

    @cache  # noqa: B019 - a population is made once
    def allowed(self, version: str) -> float:
        """Return the ``max_regression`` by which the version misses by a hair: it is that and ε worse.

        For the version that is as good this is almost nothing, and it is at the very border of what holds.
        """
        found = compare(self.metric, self.labels, getattr(self, version), self.in_service, groups=self.groups)
        assert found.difference is not None, found.why
        return -found.difference - TINY

    @property
    def units(self) -> int:
        """How many rows, or groups of rows, there are to draw."""
        return len(self.labels) if self.groups is None else int(self.groups.max()) + 1


def _logistic(score: Array) -> Array:
    return 1 / (1 + np.exp(-score))


def _classifier(seed: int, share: float, rows: int = ROWS) -> tuple[Array, Array, Array, Array]:
    """Return labels of which ``share`` are 1, and the scores of three versions that see the same with noise."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < share).astype(np.int64)
    seen = rng.normal(size=rows) + 1.8 * labels
    noise = rng.normal(size=(3, rows))
    offset = np.log(share / (1 - share)) - 1.6
    scores = 1.8 * (seen + 0.35 * noise) + offset
    worse = 1.8 * (seen + 0.6 * noise[2]) + offset
    return labels, scores[0], scores[1], worse


def _in_order(population: Population) -> Population:
    """Return it so that the equal version is not better by the hair that a finite population leaves."""
    if population.allowed("equal") >= -TINY:
        return population
    return Population(
        population.name,
        population.metric,
        population.labels,
        population.equal,
        population.in_service,
        population.worse,
        population.groups,
    )


def _of_classes(name: str, measure: str, seed: int, share: float = 0.3) -> Population:
    labels, now, equal, worse = _classifier(seed, share)
    return _in_order(Population(name, metric(measure), labels, _logistic(now), _logistic(equal), _logistic(worse)))


def _rare_flips() -> Population:
    """A version that differs in one row of a hundred, always for the worse: most small samples show no such row."""
    rng = np.random.default_rng(5)
    labels = (rng.random(ROWS) < 0.5).astype(np.int64)
    right = rng.random(ROWS) < 0.9
    now = np.where(right, labels, 1 - labels)
    worse = np.where(right & (rng.random(ROWS) < 0.01), 1 - labels, now)
    # As good: one row in 50 changes from wrong to right, or back.
    change = rng.random(ROWS)
    equal = np.where(change < np.where(right, 0.01, 0.09), 1 - now, now)
    return _in_order(Population("accuracy, few rows differ", metric("accuracy"), labels, now, equal, worse))


def _rarely_wrong(name: str, measure: str, labels: Array, right: Array, wrong: Array) -> Population:
    """Versions that are wrong, and badly so, in one row of a hundred; the worse one in as many more."""
    rng = np.random.default_rng(16)
    ours, others, more = ((rng.random(len(labels)) < 0.01).reshape(-1, *[1] * (right.ndim - 1)) for _ in range(3))
    now, equal, worse = (np.where(lost, wrong, right) for lost in (ours, others, ours | more))
    return _in_order(Population(name, metric(measure), labels, now, equal, worse))


def _rarely_other() -> Population:
    """One decision of a hundred is wrong, and where a version is wrong is chance."""
    labels = np.arange(ROWS) % 2
    return _rarely_wrong("accuracy near 1", "accuracy", labels, labels, 1 - labels)


def _rarely_last(name: str, measure: str) -> Population:
    """One positive of a hundred is ranked behind every other row."""
    labels = np.arange(ROWS) % 2
    scores = labels * 10 + np.random.default_rng(17).random(ROWS)
    return _rarely_wrong(name, measure, labels, scores, np.where(labels == 1, -5.0, scores))


def _rarely_turned(name: str) -> Population:
    """One probability of a hundred is turned round."""
    labels = np.arange(ROWS) % 2
    shares = 0.98 * labels + 0.01
    return _rarely_wrong(name, "brier", labels, shares, 1 - shares)


def _rarely_reversed(name: str) -> Population:
    """One ranking of a hundred is turned round."""
    relevance = np.random.default_rng(18).choice([0.0, 0, 0, 0, 1, 2, 3], size=(QUERIES, 20))
    return _rarely_wrong(name, "ndcg@10", relevance, relevance, -relevance)


def _of_numbers(name: str, measure: str | Metric, draw: Callable[[np.random.Generator, Any], Array]) -> Population:
    """The worse version's errors are 10 % larger, row by row: what makes it worse lies in the tail."""
    rng = np.random.default_rng(11)
    labels = rng.normal(50, 10, ROWS)
    shared, own, other = draw(rng, (3, ROWS))
    now, equal = labels + shared + 0.5 * own, labels + shared + 0.5 * other
    worse = labels + 1.1 * (shared + 0.5 * own)
    found = metric(measure) if isinstance(measure, str) else measure
    return _in_order(Population(name, found, labels, now, equal, worse))


def _normal(rng: np.random.Generator, shape: Any) -> Array:
    return rng.normal(size=shape)


def _student(rng: np.random.Generator, shape: Any) -> Array:
    return rng.standard_t(3, size=shape)


def _lognormal(rng: np.random.Generator, shape: Any) -> Array:
    return rng.lognormal(0, 1.0, size=shape)


def _disasters() -> Population:
    """A version that is as good but for one row of 500, where its error is a hundred times as large."""
    found = _of_numbers("MAE, rare disasters", "mae", _normal)
    rng = np.random.default_rng(12)
    worse = found.in_service + 100 * rng.normal(size=ROWS) * (rng.random(ROWS) < 0.002)
    return Population(found.name, found.metric, found.labels, found.in_service, found.equal, worse)


def _rankings() -> Population:
    rng = np.random.default_rng(13)
    relevance = rng.choice([0.0, 0, 0, 0, 1, 2, 3], size=(QUERIES, 20))
    noise = rng.normal(size=(3, QUERIES, 20))
    now, equal, worse = relevance + 1.0 * noise[0], relevance + 1.0 * noise[1], relevance + 1.3 * noise[2]
    return _in_order(Population("NDCG@10", metric("ndcg@10"), relevance, now, equal, worse))


def _grouped() -> Population:
    """Users with 1 to 40 rows, whose errors go together: rows are far from independent."""
    rng = np.random.default_rng(14)
    sizes = rng.integers(1, 40, 8000)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels, now, equal, worse = _classifier(15, 0.5, len(groups))
    of_user = rng.normal(size=(3, len(sizes)))[:, groups]
    found = Population(
        "accuracy, rows of users",
        metric("accuracy"),
        labels,
        _logistic(now + 1.5 * of_user[0]),
        _logistic(equal + 1.5 * of_user[1]),
        _logistic(worse + 1.8 * of_user[2]),
        groups,
    )
    return _in_order(found)


def _median_error(labels: Array, answers: Array) -> float:
    return float(np.median(np.abs(labels - answers)))


_MEDIAN = Metric("package:median_error", False, "jackknife over blocks of rows", own=_median_error)

POPULATIONS: dict[str, Callable[[], Population]] = {
    "accuracy": lambda: _of_classes("accuracy", "accuracy", 1),
    "accuracy, few rows differ": _rare_flips,
    "accuracy near 1": _rarely_other,
    "accuracy, rows of users": _grouped,
    "balanced accuracy": lambda: _of_classes("balanced accuracy", "balanced_accuracy", 1, 0.1),
    "F1, 5 % positive": lambda: _of_classes("F1, 5 % positive", "f1", 2, 0.05),
    "F1": lambda: _of_classes("F1", "f1", 2),
    "ROC AUC": lambda: _of_classes("ROC AUC", "roc_auc", 3),
    "ROC AUC, 3 % positive": lambda: _of_classes("ROC AUC, 3 % positive", "roc_auc", 3, 0.03),
    "ROC AUC, few rows differ": lambda: _rarely_last("ROC AUC, few rows differ", "roc_auc"),
    "average precision": lambda: _of_classes("average precision", "average_precision", 4),
    "average precision, few rows differ": lambda: _rarely_last(
        "average precision, few rows differ", "average_precision"
    ),
    "Brier": lambda: _of_classes("Brier", "brier", 6),
    "Brier, few rows differ": lambda: _rarely_turned("Brier, few rows differ"),
    "log loss": lambda: _of_classes("log loss", "log_loss", 6),
    "MAE": lambda: _of_numbers("MAE", "mae", _normal),
    "MAE, heavy tails (t of 3)": lambda: _of_numbers("MAE, heavy tails (t of 3)", "mae", _student),
    "MAE, skewed (log-normal)": lambda: _of_numbers("MAE, skewed (log-normal)", "mae", _lognormal),
    "MAE, rare disasters": _disasters,
    "RMSE, heavy tails (t of 3)": lambda: _of_numbers("RMSE, heavy tails (t of 3)", "rmse", _student),
    "R²": lambda: _of_numbers("R²", "r2", _normal),
    "NDCG@10": _rankings,
    "NDCG@10, few queries differ": lambda: _rarely_reversed("NDCG@10, few queries differ"),
    "a team's own: median error": lambda: _of_numbers("a team's own: median error", _MEDIAN, _normal),
}


@cache
def population(name: str) -> Population:
    """Return the population of this name, made once."""
    return POPULATIONS[name]()


def draw(of: Population, rng: np.random.Generator, units: int) -> tuple[Array, Array | None]:
    """Return the rows of a sample of so many units, and their groups, each drawn anew."""
    chosen = rng.integers(of.units, size=units)
    if of.groups is None:
        return chosen, None
    starts = np.searchsorted(of.groups, chosen)
    sizes = np.searchsorted(of.groups, chosen, "right") - starts
    rows = np.concatenate([np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)])
    return rows, np.repeat(np.arange(units), sizes)
