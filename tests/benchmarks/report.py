"""What was measured, as a page: figures of runs become rows and plots.

    python -m tests.benchmarks --only gateway,rollback --json run.json
    python -m tests.benchmarks.report run.json docs/explanation/performance/

writes ``docs/explanation/performance/figures.json`` (of each benchmark the newest run, whole, with its commit), the
plots beside it, and the part of ``docs/explanation/performance.md`` between its two markers. Any subset of the
benchmarks may be in a run, and any number of runs may be given; without one, page and plots are written again. What
ran with ``--quick`` or is not committed is refused: it says nothing, or nobody can look at what was measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEGIN, END = "<!-- figures: begin, written by tests.benchmarks.report -->", "<!-- figures: end -->"
INK, OURS, PEER = "#7a828c", "#2f81f7", "#d9822b"
"""Readable on white and on black: the plots have no background of their own."""
Document = Mapping[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Write all three; return 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.report", description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="what --json of tests.benchmarks wrote")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="docs/explanation/performance")
    parser.add_argument("--dirty", action="store_true", help="take also what is not committed")
    options = parser.parse_args(argv)
    kept = options.folder / "figures.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    for path in options.runs:
        run = json.loads(path.read_text())
        if run["quick"]:
            parser.error(f"{path} ran with --quick: it measures nothing")
        if run["commit"].endswith("-dirty") and not options.dirty:
            parser.error(f"{path} was measured with changes that are not committed")
        known = merged(known, run)
    options.folder.mkdir(exist_ok=True)
    for old in options.folder.glob("*.svg"):
        old.unlink()
    for name, draw in plots(known).items():
        _save(options.folder / name, draw)
    kept.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    page = options.folder.with_suffix(".md")
    page.write_text(with_block(page.read_text(), block(known)))
    return 0


def merged(known: Document, run: Document) -> dict[str, Any]:
    """Return by benchmark what is known, with those of ``run`` that are newer in their place."""
    found = dict(known)
    about = {key: run[key] for key in ("commit", "version", "at", "machine")}
    for name in dict.fromkeys(figure["benchmark"] for figure in run["figures"]):
        if name not in found or found[name]["at"] <= run["at"]:
            figures = [
                {key: value for key, value in figure.items() if key != "benchmark"}
                for figure in run["figures"]
                if figure["benchmark"] == name
            ]
            found[name] = {**about, "about": run["about"][name], "figures": figures}
    return found


# --- the page -----------------------------------------------------------------------------------------------------


def with_block(page: str, text: str) -> str:
    """Return the page with ``text`` between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN!r} … {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def block(known: Document) -> str:
    """Return what stands between the markers, for these benchmarks."""
    if not known:
        return "Nothing was measured yet.\n"
    drawn = plots(known)
    reached = [figure["reached"] for one in known.values() for figure in one["figures"]]
    lines = [f"**{reached.count(True)} goals of {len(reached) - reached.count(None)} are reached.**", ""]
    if "overview.svg" in drawn:
        lines += ["![Every figure that has a goal, as a part of its goal](performance/overview.svg)", ""]
    for name, one in sorted(known.items()):
        machine = one["machine"]
        lines += [f"## {name}", "", one["about"], ""]
        lines += ["|  | what | measured | goal | against | |", "| --- | --- | --- | --- | --- | --- |"]
        lines += [_row(figure) for figure in one["figures"]]
        lines += [""]
        lines += [f"![{name}](performance/{plot})\n" for plot in drawn if plot.startswith(f"{name}.")]
        rounds = max(len(figure["ours"]) for figure in one["figures"])
        where = f"{machine['cores']} cores, {machine['system']}, Python {machine['python']}"
        lines += [f"Commit `{one['commit']}`, {one['at'][:10]}, {where}; medians of {rounds} rounds.", ""]
    return "\n".join(lines)


def _row(figure: Document) -> str:
    sign = {True: "✅", False: "❌", None: ""}[figure["reached"]]
    goal = "" if figure["goal"] is None else f"≤ {_number(figure['goal'])} {figure['value_unit']}"
    said = figure["note"]
    if figure["peer"]:
        both = f"{_number(_median(figure['ours']))} against {_number(_median(figure['peer']))} {figure['unit']}"
        said = f"{both}; {said}" if said else both
    cells = (
        sign,
        figure["name"],
        f"**{_number(figure['value'])} {figure['value_unit']}**",
        goal,
        figure["against"],
        said,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


# --- plots --------------------------------------------------------------------------------------------------------

Draw = Callable[["Axes"], None]


def plots(known: Document) -> dict[str, Draw]:
    """Return what draws each plot that these figures give, by the name of its file."""
    found: dict[str, Draw] = {}
    rated = [(name, figure) for name, one in sorted(known.items()) for figure in one["figures"] if figure["goal"]]
    if rated:
        found["overview.svg"] = lambda axes: _overview(axes, rated)
    for name, one in sorted(known.items()):
        figures = {figure["name"]: figure for figure in one["figures"]}
        compared = [figure for figure in one["figures"] if figure["peer"] and figure["unit"] == "s"]
        if compared:
            found[f"{name}.compared.svg"] = lambda axes, compared=compared: _compared(axes, compared)
        for figure in one["figures"]:
            more = figure["more"]
            if "wait, ms" in str(list(more)):
                found[f"{name}.waits.svg"] = lambda axes, more=more: _waits(axes, more)
            elif "share" in more and f"{name}.latency.svg" not in found:
                found[f"{name}.latency.svg"] = lambda axes, figures=figures: _latency(axes, figures)
    return found


def _overview(axes: Axes, rated: Sequence[tuple[str, Document]]) -> None:
    """Draw each figure as a part of its goal: left of the line is good."""
    labels = [
        f"{name}: {figure['name']}" + (f", against {_short(figure['against'])}" if figure["peer"] else "")
        for name, figure in rated
    ]
    parts = [max(figure["value"] / figure["goal"], 0.01) for _, figure in rated]
    colours = [OURS if figure["reached"] else PEER for _, figure in rated]
    places = range(len(rated))
    axes.hlines(places, 0.01, parts, colors=colours, linewidth=2)
    axes.scatter(parts, places, c=colours, zorder=3)
    axes.axvline(1, color=INK, linewidth=1, linestyle="--")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xlabel("measured, as a part of the goal (logarithmic); left of the line it is reached")
    axes.figure.set_size_inches(10, 1.2 + 0.28 * len(rated))


def _compared(axes: Axes, figures: Sequence[Document]) -> None:
    """Draw every round of ours and of the peer, and the medians."""
    for place, figure in enumerate(figures):
        for offset, colour, values in ((-0.15, OURS, figure["ours"]), (0.15, PEER, figure["peer"])):
            axes.barh(place + offset, _median(values), height=0.26, color=colour, alpha=0.55)
            axes.plot(values, [place + offset] * len(values), "o", color=colour, markersize=4)
    axes.set_yticks(range(len(figures)), [f"{one['name']}\nagainst {_short(one['against'])}" for one in figures])
    axes.invert_yaxis()
    axes.set_xlabel("seconds: Promobot above (blue), what it is compared with below (orange); a dot for each round")
    axes.figure.set_size_inches(10, 1.2 + 0.75 * len(figures))


def _latency(axes: Axes, figures: Mapping[str, Document]) -> None:
    """Draw latency over the share of the requests, through the gateway and without."""
    styles = iter(("-", "--", ":"))
    for name, figure in figures.items():
        if not name.endswith("p50") or "share" not in figure["more"]:
            continue
        style, kind, shares = next(styles), name.split(", ")[1], figure["more"]["share"]
        for who, colour in (("Triton", PEER), ("gateway", OURS)):
            axes.plot(
                range(len(shares)), figure["more"][who], style, color=colour, marker="o", label=f"{who}, {kind}"
            )
        axes.set_xticks(range(len(shares)), [f"p{share * 100:g}" for share in shares])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("milliseconds (logarithmic)")
    axes.set_xlabel("the share of requests that were answered as fast")
    _legend(axes)


def _waits(axes: Axes, more: Mapping[str, Sequence[float]]) -> None:
    """Draw every request of one round: when it should have begun, and how long it waited."""
    for name in sorted(key.removesuffix(": wait, ms") for key in more if key.endswith(": wait, ms")):
        colour = OURS if "Promobot" in name else PEER
        at, waits = more[f"{name}: at, s"], more[f"{name}: wait, ms"]
        axes.plot(at, waits, ".", color=colour, markersize=4, label=name, rasterized=True)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("when the request was meant to be sent, in seconds")
    axes.set_ylabel("wait in milliseconds (logarithmic)")
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, labelcolor=INK)


def _short(text: str) -> str:
    return text if len(text) <= 50 else f"{text[:49]}…"


def _save(path: Path, draw: Draw, *, behind: str = "none") -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    same_again = {"svg.hashsalt": "promobot", "svg.fonttype": "none"}
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK)
    with mpl.rc_context({**same_again, **colours, "font.size": 10, "font.family": "sans-serif"}):
        figure, axes = plt.subplots(figsize=(10, 4.5))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="both", color=INK, alpha=0.2)
        axes.set_axisbelow(True)
        draw(axes)
        kept = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
        axes.patch.set_alpha(0)
        figure.savefig(path, bbox_inches="tight", facecolor=behind, **kept)
        plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
