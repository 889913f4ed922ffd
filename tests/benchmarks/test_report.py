"""The page says what its figures say; runs of different days are put together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import report

ROOT = Path(__file__).parents[2]
PAGE, FOLDER = ROOT / "docs/explanation/performance.md", ROOT / "docs/explanation/performance"


def figure(benchmark: str, value: float, *, peer: float | None = None) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "name": "waiting | long",
        "against": "nothing" if peer else "",
        "value": value / (peer or 1),
        "value_unit": "×" if peer else "s",
        "goal": 1,
        "reached": value / (peer or 1) <= 1,
        "unit": "s",
        "ours": [value] * 3,
        "peer": [peer] * 3 if peer else [],
        "note": "",
        "more": {},
    }


def run(day: int, *figures: dict[str, Any], commit: str = "abc", quick: bool = False) -> dict[str, Any]:
    return {
        "commit": commit,
        "version": "0.1.0",
        "at": f"2026-11-{day:02d}T12:00:00+00:00",
        "machine": {"cores": 2, "system": "Linux", "python": "3.11.7"},
        "quick": quick,
        "about": {"one": "About one.", "two": "About two."},
        "figures": figures,
    }


def test_the_page_says_what_its_figures_say() -> None:
    known = json.loads((FOLDER / "figures.json").read_text())
    page = PAGE.read_text()
    assert page == report.with_block(page, report.block(known)), (
        "write it again: python -m tests.benchmarks.report docs/explanation/performance/"
    )
    assert {path.name for path in FOLDER.glob("*.svg")} == set(report.plots(known))


def test_the_newest_run_of_each_benchmark_counts_whole_and_says_its_commit() -> None:
    known = report.merged({}, run(2, figure("one", 0.5), figure("two", 0.7), commit="first"))
    known = report.merged(known, run(3, figure("one", 2.0, peer=4.0), commit="later"))
    known = report.merged(known, run(1, figure("two", 9.0), commit="older"))

    assert {name: one["commit"] for name, one in known.items()} == {"one": "later", "two": "first"}
    text = report.block(known)
    assert "| ✅ | waiting \\| long | **0.5 ×** | ≤ 1 × | nothing | 2 against 4 s |" in text
    assert "| ✅ | waiting \\| long | **0.7 s** | ≤ 1 s |  |  |" in text
    assert "**2 goals of 2 are reached.**" in text
    assert "About one." in text and "Commit `later`, 2026-11-03" in text


@pytest.mark.parametrize(
    ("given", "said"), [({"quick": True}, "measures nothing"), ({"commit": "abc-dirty"}, "not committed")]
)
def test_what_says_nothing_is_refused(
    given: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(json.dumps(run(1, figure("one", 1.0), **given)))
    with pytest.raises(SystemExit):
        report.main([str(tmp_path / "run.json"), str(tmp_path / "performance")])
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_page_plots_and_figures_are_written_and_a_second_time_the_same(tmp_path: Path) -> None:
    page, folder = tmp_path / "performance.md", tmp_path / "performance"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    (tmp_path / "run.json").write_text(json.dumps(run(1, figure("one", 2.0, peer=4.0))))
    written = []
    for runs in ([str(tmp_path / "run.json")], []):
        command = [sys.executable, "-m", "tests.benchmarks.report", *runs, str(folder)]
        subprocess.run(command, check=True, cwd=ROOT)
        written.append({path.name: path.read_bytes() for path in (page, *folder.iterdir())})
    assert written[0] == written[1]
    assert set(written[0]) == {"performance.md", "figures.json", "one.compared.svg", "overview.svg"}
    assert page.read_text().startswith("before\n") and page.read_text().endswith("after\n")
