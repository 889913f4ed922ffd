"""Numbers with units, as people read them."""

from __future__ import annotations


def size(count: float) -> str:
    """So many bytes."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def duration(seconds: float) -> str:
    """So long, as roughly as it is known."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def progress(done: int, total: int, seconds: float) -> str:
    """The progress of a transfer after so many seconds."""
    rate = done / seconds if seconds > 0 else 0.0
    parts = [f"{size(done)} of {size(total)}", f"{size(rate)}/s"]
    if rate and done < total:
        parts.append(f"{duration((total - done) / rate)} left")
    return " · ".join(parts)
