"""The words of policies: why a pull request merges by itself, and why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.domain.policy import MayMerge, MustWait
from bot.render.markdown import escape

if TYPE_CHECKING:
    from datetime import datetime

MARKER = "<!-- promobot:policy -->"
"""The beginning of the one comment about it."""
RULE = "merge: checks pass"


def comment(decided: MayMerge | MustWait, environment: str, base: str, *, was_on: bool = False) -> str:
    """Return the one comment that says whether a pull request merges by itself, and why.

    ``was_on``: it was to merge by itself until now.
    """
    rule = f"`{RULE}` in manifests/environments/{environment}.yaml says when."
    if isinstance(decided, MayMerge):
        return (
            f"{MARKER}\n🤖 **This merges by itself** as soon as the rules of `{base}` allow it: "
            f"{escape(decided.why)}.\n\n{rule} To keep it open, make it a draft or press *Disable auto-merge*."
        )
    first, *others = decided.reasons
    more = "".join(f"\n- {escape(reason.said)}" for reason in others)
    beside = f"\n\nBesides:\n{more}" if more else ""
    until = f" It may from {_at(decided.until)} on." if decided.until else ""
    return (
        f"{MARKER}\n✋ **This {'no longer merges' if was_on else 'does not merge'} by itself**: {escape(first.said)}."
        f"{until}{beside}\n\n{rule} A person may merge it as ever."
    )


def due(why: str) -> str:
    """GitHub has it."""
    return f"merges by itself as soon as GitHub's rules allow it ({why})"


def merged(why: str, *, queued: bool) -> str:
    """It is done."""
    return f"{'is in the merge queue' if queued else 'was merged'} by policy ({why})"


def unstable() -> str:
    """GitHub would merge it, and something that is not required is not green."""
    return "may merge by itself, and waits: a check that the branch does not require is red or still runs"


def held(decided: MustWait) -> str:
    """The rules do not allow it."""
    return f"does not merge by itself: {decided.why}"


def taken_back(decided: MustWait) -> str:
    """It was to merge by itself until now."""
    return f"no longer merges by itself: {decided.why}"


def too_late(decided: MustWait) -> str:
    """GitHub was faster."""
    return f"was merged by itself before that could be taken back: {decided.why}"


def waits(why: str) -> str:
    """It could not be done now."""
    return f"is to merge by itself, which could not be asked for now: {why}"


def moved_on() -> str:
    """Another deployment was recorded while this was decided."""
    return "is decided anew: a deployment ended just now"


def branch_moved() -> str:
    """Its newest commit is another one than a moment ago."""
    return "is decided anew: its branch moved just now"


def not_asked(why: str) -> str:
    """Nobody knows which pull requests there are."""
    return f"what may merge by itself is not known now: {why}"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M %Z}"
