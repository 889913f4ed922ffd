"""Where a deployment comes from, for people who read in a terminal."""

from __future__ import annotations

from datetime import datetime

from bot.domain.origin import POLICY, Origin


def in_words(origin: Origin) -> list[str]:
    """Return it in lines: the registration, the request to go back at once, the pull request and its people."""
    lines = [f"registered in MLflow {_time(origin.registered_at)}"] if origin.registered_at else []
    if origin.asked_at is not None:
        return [*lines, f"{origin.proposed_by or 'somebody'} went back at once {_time(origin.asked_at)}"]
    if origin.pull_request is None:
        lines.append("no pull request asked for it: main was changed without one")
    else:
        lines.append(f"#{origin.pull_request} {origin.url}".rstrip())
        lines += [f"  {one}" for one in people(origin)]
    return [*lines, *([f"not known: {origin.unknown}"] if origin.unknown else [])]


def people(origin: Origin) -> list[str]:
    """Return who proposed, approved and merged it, and when, as far as that is known."""
    merged_by = POLICY if origin.by_policy else origin.merged_by
    return [
        f"{what} by {who or 'somebody'}" + (f" {_time(at)}" if at else "")
        for what, who, at in (
            ("proposed", origin.proposed_by, origin.opened_at),
            ("approved", origin.approved_by, origin.approved_at),
            ("merged", merged_by, origin.merged_at),
        )
        if who or at
    ]


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
