"""A team's own metric: from their installed package, and an error of theirs is one line of a finding."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path

import numpy as np
import pytest

from bot.evaluation.metrics import GROUP, UnknownMetric, metric
from bot.evaluation.statistics import compare

MODULE = """
import numpy as np

def profit(labels, answers):
    return float(((answers >= 0.5) * (labels * 10.0 - 2)).sum())

def per_row(labels, answers):
    return (answers >= 0.5) * (labels * 10.0 - 2)

def fails(labels, answers):
    raise RuntimeError("the warehouse is closed")

def leaves(labels, answers):
    raise SystemExit(3)

def nothing(labels, answers):
    return float("nan")

def words(labels, answers):
    return "good"

def two(labels, answers):
    return np.array([1.0, 2.0])

def sorts(labels, answers):
    answers.sort()
    return 1.0

not_a_function = 5
"""
POINTS = ("profit", "per_row", "fails", "leaves", "nothing", "words", "two", "sorts", "not_a_function")


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution ``acme-metrics``, as an installer lays it out, on the path of this process."""
    info = tmp_path / "acme_metrics-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-metrics\nVersion: 1.0\n")
    listed = "".join(f"{name} = acme_metrics:{name}\n" for name in POINTS)
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\n{listed}missing = acme_metrics:missing\nbroken = acme_broken:f\n"
        "[other]\nelse = acme_metrics:profit\n"
    )
    (tmp_path / "acme_metrics.py").write_text(MODULE)
    (tmp_path / "acme_broken.py").write_text("raise ValueError('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    invalidate_caches()
    yield


def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    return labels, *(np.clip(0.5 * labels + 0.5 * rng.random((2, 400)), 0, 1))


def test_it_is_a_function_of_labels_and_answers() -> None:
    labels, proposed, in_service = rows()
    found = compare(metric("acme-metrics:profit"), labels, proposed, in_service)
    assert found.why == ""
    assert found.proposed == float(((proposed >= 0.5) * (labels * 10.0 - 2)).sum())
    assert found.method == "jackknife over blocks of rows"
    assert found.difference == found.proposed - (found.in_service or 0.0)
    mean = compare(metric("acme-metrics:per_row"), labels, proposed, in_service)
    assert mean.proposed == pytest.approx((found.proposed or 0.0) / 400)
    less = compare(metric("acme-metrics:per_row", lower_is_better=True), labels, proposed, in_service)
    assert less.difference == -(mean.difference or 0.0)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("acme-metrics:fails", "failed: RuntimeError: the warehouse is closed (acme_metrics.py:11)"),
        ("acme-metrics:leaves", "failed: SystemExit: 3 (acme_metrics.py:14)"),
        ("acme-metrics:nothing", "returned nan"),
        ("acme-metrics:words", "failed: ValueError: could not convert string to float"),
        ("acme-metrics:two", "returned the shape [2]: it returns one number, or one score a row"),
    ],
)
def test_an_error_of_theirs_is_why_there_is_no_number(name: str, says: str) -> None:
    labels, proposed, in_service = rows()
    found = compare(metric(name), labels, proposed, in_service)
    assert found.difference is None and f"{name} {says}" in found.why


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("acme-metrics:profits", "acme-metrics lists no metric 'profits' under promobot.metrics; it lists broken, "),
        ("acme-metrics:else", "acme-metrics lists no metric 'else'"),  # it is in another group
        ("nobody:profit", "no package 'nobody' is installed where the check runs"),
        ("acme_broken:f", "no package 'acme_broken' is installed"),  # a module is no installed distribution
        ("acme-metrics:broken", "cannot be loaded: ValueError: no licence (acme_broken.py:1)"),
        ("acme-metrics:missing", "cannot be loaded: AttributeError"),
        ("acme-metrics:not_a_function", "is int, and not a function of labels and answers"),
        ("promobot:anything", "promobot lists no metric 'anything' under promobot.metrics; it lists none"),
        (":profit", "no package '' is installed"),
    ],
)
def test_only_what_an_installed_package_lists_is_loaded(name: str, says: str) -> None:
    with pytest.raises(UnknownMetric) as caught:
        metric(name)
    assert says in str(caught.value)


def test_it_cannot_change_what_other_metrics_read() -> None:
    labels, proposed, in_service = rows()
    before = proposed.copy()
    found = compare(metric("acme-metrics:sorts"), labels, proposed, in_service)
    assert "read-only" in found.why and np.array_equal(proposed, before) and proposed.flags.writeable
