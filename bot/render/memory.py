"""Memory that versions take, and that a Triton lacks, for the comment of a pull request and for a held change."""

from __future__ import annotations

from bot.domain.memory import Lack, Memory, Reading
from bot.render.markdown import escape, table
from bot.render.sizes import size


def taken(proposed: Memory | None, in_service: Memory | None) -> str:
    """Return what loading took on staging, beside the version in service; empty where nothing was measured."""
    if proposed is None:
        return ""
    if proposed.main is None and proposed.gpu is None:
        return f"ℹ️ How much memory loading takes is not known: {escape(proposed.problem, limit=400)}"
    rows = [
        (who, _bytes(memory.main), _bytes(memory.gpu))
        for who, memory in (("proposed", proposed), ("in service", in_service))
        if memory is not None
    ]
    return table(("loading on staging took", "main memory", "memory of one GPU"), rows)


def in_words(memory: Memory) -> str:
    """Return what loading took, in a few words."""
    named = ((memory.main, "main memory"), (memory.gpu, "memory of one GPU"))
    known = [f"{size(count)} of {what}" for count, what in named if count is not None]
    return " and ".join(known) or f"an unknown amount of memory: {memory.problem}"


def no_room(triton: str, lack: Lack) -> str:
    """Return that a version has no room on a Triton, with the numbers."""
    where = "are free on any GPU" if lack.kind == "GPU memory" else "of main memory are free"
    return (
        f"{triton} has no room for it beside what is loaded there: loading took {size(lack.needed)} on staging, and "
        f"{size(max(0, lack.free))} of {size(lack.total)} {where}"
    )


def free(reading: Reading) -> str:
    """Return what a Triton's metrics say is free."""
    main = [("main memory", reading.main)] if reading.main else []
    gauges = [*main, *((f"GPU {number}", gauge) for number, gauge in enumerate(reading.gpus.values()))]
    said = [f"{size(gauge.free)} of {size(gauge.total)} free in {what}" for what, gauge in gauges]
    return ", ".join(said) or "its metrics say nothing of memory"


def _bytes(count: int | None) -> str:
    return "–" if count is None else size(count)
