"""What became of one part of an evaluation set, on the terminal."""

from __future__ import annotations

from collections.abc import Mapping


def part_answered(
    *, model: str, part: int, of: int, rows: int, refused: Mapping[str, int], folder: str, already: bool
) -> str:
    """Return which rows were asked, what was refused, and where the answers lie."""
    name = f"part {part} of {of} of the evaluation of {model}"
    if already:
        return f"{name}: its answers lie in {folder} already; nothing was asked"
    lines = [
        f"{name}: {rows:,} rows answered by {' and '.join(who.replace('_', ' ') for who in refused)}, in {folder}"
    ]
    lines += [f"{who.replace('_', ' ')} refused {count:,} of them" for who, count in refused.items() if count]
    return "\n".join(lines)
