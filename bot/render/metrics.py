"""Where a number comes from, for people."""

from __future__ import annotations

from bot.domain.evidence import JudgedMetric
from bot.domain.metrics import Origin


def origin(of: Origin) -> str:
    """Return where a number comes from: which model or run, which step, when."""
    where = {"register": "given at the registration of", "model": "model", "run": "run"}[of.kind]
    parts = [f"{where} {of.name}", f"step {of.step}" if of.step is not None else ""]
    parts.append(f"{of.at:%Y-%m-%d %H:%M} UTC" if of.at is not None else "")
    return ", ".join(part for part in parts if part)


def judged(one: JudgedMetric) -> str:
    """Return a number that the gate judged and where it came from, beside the one in service."""
    return f"{_number(one.value, one.origin)}; in service {_number(one.champion, one.champion_origin)}"


def _number(value: float | None, of: Origin | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g} ({origin(of)})" if of else f"{value:.4g}"
