"""What became of adopting versions that MLflow has already, on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bot.render.terminal import grid

if TYPE_CHECKING:
    from bot.training.adoption import Adoption

_MARKS = {"adopted": "✓", "ready": "✓", "has a package": "✓"}


def line(one: Adoption) -> str:
    """Return one version's progress."""
    return f"{_MARKS.get(one.verdict, '✗')} {one.model} {one.version}: {one.verdict}"


def adoptions(found: Sequence[Adoption]) -> str:
    """Return the verdict of each version: one in sentences, several as a table and what is missing below it."""
    if not found:
        return "MLflow has no registered model."
    if len(found) == 1:
        return _one(found[0])
    counts = Counter(one.verdict for one in found)
    head = f"{len(found)} models: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    rows = [
        [_MARKS.get(one.verdict, "✗"), one.model, str(one.version), one.flavor, one.verdict, _asked(one), _new(one)]
        for one in found
    ]
    missing = [f"{one.model} {one.version}: {one.why}\n    → {one.next_step}" for one in found if one.why]
    table = grid(["", "model", "version", "flavor", "verdict", "asked about", "registered"], rows)
    ready = any(one.verdict in ("adopted", "has a package") for one in found)
    step = ["To propose them, once they have gates:\n    → promobot propose --all-ready --env ENV --dry-run"]
    return "\n".join([head, table, *_made_up(found), *missing, *(step if ready else [])])


def _one(one: Adoption) -> str:
    name = f"{one.model} {one.version}"
    match one.verdict:
        case "adopted":
            return "\n".join(
                [
                    f"{name} is adopted: it is registered with a package as version {one.registered}.",
                    *_made_up([one]),
                    f"    → promobot propose {one.serving_name} {one.registered} --env ENV",
                ]
            )
        case "ready":
            return "\n".join([f"{name} ({one.flavor}) can be adopted; nothing was registered.", *_made_up([one])])
        case "has a package":
            return f"{name} has a package already.\n    → promobot propose {one.model} {one.version} --env ENV"
    return f"{name} is not adopted: {one.verdict}. {one.why}\n    → {one.next_step}"


def _asked(one: Adoption) -> str:
    return one.rows if one.verdict in ("adopted", "ready") else ""


def _made_up(found: Sequence[Adoption]) -> list[str]:
    """Say what rows prove that nobody gave."""
    if not any(_asked(one) == "made of its signature" for one in found):
        return []
    return [
        "Rows that are made of a signature prove that Triton computes what the framework computes. Users may send "
        "others: give real ones with --samples FILE."
    ]


def _new(one: Adoption) -> str:
    return f"version {one.registered}" if one.registered else ""
