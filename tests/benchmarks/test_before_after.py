"""The table of the rebuild says what its figures say; no test looks at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import before_after
from tests.benchmarks.before_after import IMPORTS, WANTED, Row, lines_of, shape
from tests.benchmarks.measuring import benchmarks
from tests.benchmarks.publish import HASHING, READING

ROOT = Path(__file__).parents[2]
PAGE, FIGURES = ROOT / "docs/explanation/performance.md", ROOT / "docs/explanation/performance/rebuild.json"


def test_the_page_says_what_its_figures_say() -> None:
    page = PAGE.read_text()
    assert page == before_after.with_block(page, before_after.block(json.loads(FIGURES.read_text())))


def test_what_is_wanted_is_asked_of_benchmarks_that_exist() -> None:
    assert {wanted.benchmark for wanted in WANTED} <= {benchmark.name for benchmark in benchmarks()}


def _run(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"before": "abc", "after": "def", "at": "2026-11-30T12:00:00", "rounds": 3, "cores": 2, "rows": list(rows)}


def _row(after: list[float], before: list[float], reached: bool | None) -> dict[str, Any]:
    row = {"what": "waiting", "unit": "s", "goal": "≤ 2 s", "before": before, "after": after, "reached": reached}
    return row | {"floor": [1.5], "floor_is": IMPORTS}


def test_a_row_has_both_trees_how_much_better_it_is_and_its_floor() -> None:
    text = before_after.block(_run(_row([1.0, 2.0, 9.0], [4.0, 4.0, 1.0], True)))
    assert f"| ✅ | waiting, s | ≤ 2 s | 4 | **2** | 50 % | 1.5: {IMPORTS} |" in text
    assert "Before is `abc`, after is `def`; 2026-11-30, 2 cores, medians of 3 rounds." in text


def test_what_one_tree_does_not_have_is_said() -> None:
    assert "| not measured | **1** | – |" in before_after.block(_run(_row([1.0], [], True)))


@pytest.mark.parametrize(("after", "reached"), [([1.0, 2.0, 9.0], True), ([3.0], False), ([], None)])
def test_a_goal_is_reached_by_the_median_of_what_is_there(after: list[float], reached: bool | None) -> None:
    assert Row("waiting", "≤ 2 s", [5.0], after, "s", limit=2).reached is reached


def test_a_figure_is_found_by_the_beginning_of_its_name_and_what_it_is_compared_with() -> None:
    figures = [{"name": "deploy, new", "against": against, "value": n} for n, against in enumerate(("", IMPORTS), 1)]
    for against, value in (("", 1), (IMPORTS, 2)):
        found = before_after._wanted(figures, "deploy", against)
        assert found is not None and found["value"] == value
    assert before_after._wanted(figures, "rollback", "") is None


def test_the_shape_of_a_tree_is_read_from_its_source(tmp_path: Path) -> None:
    (tmp_path / "bot/sandbox").mkdir(parents=True)
    (tmp_path / "bot/sandbox/long.py").write_text("def f(a, b, c, d, e):\n" + "    x = 1\n" * 90)
    (tmp_path / "bot/errors.py").write_text("class A:\n    def f(self, one, *, two):\n        return one\n")
    (tmp_path / "bot/a.py").write_text("from bot.errors import A\nfrom bot import errors\n")
    (tmp_path / "bot/b.py").write_text("import bot.errors\n")
    found = shape(tmp_path)
    assert found["longest function"] == 2
    assert found["longest parameter list"] == 2
    assert found["most-imported module"] == pytest.approx(100 * 2 / 3)
    assert lines_of(tmp_path / "bot/sandbox") == 91


def test_a_floor_that_no_run_compared_with_is_said() -> None:
    with pytest.raises(RuntimeError, match=f"publish was not compared with {READING}"):
        before_after._seconds([{"name": "publish", "against": HASHING, "peer": [1.0]}], "publish", READING)
    found = [{"name": "publish", "against": READING, "peer": [1.0, 3.0]}]
    assert before_after._seconds(found, "publish", READING) == 2


def test_a_part_that_is_measured_again_keeps_the_other_rows_and_says_of_what_they_are() -> None:
    earlier = _run(_row([5.0], [5.0], False), _row([7.0], [7.0], False) | {"what": "hashing"})
    run = before_after.with_rows_of({**earlier, "after": "old"}, _run(_row([1.0], [4.0], True)))
    text = before_after.block(run)
    assert "waiting, s |" in text and "**1**" in text and "**5**" not in text
    assert "hashing, s (at `old`) |" in text
    again = before_after.with_rows_of(run, _run(_row([2.0], [4.0], True)))
    assert "hashing, s (at `old`) |" in before_after.block(again)
