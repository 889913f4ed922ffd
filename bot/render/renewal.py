"""The words about a pull request of the bot that conflicts with main."""

from __future__ import annotations

from collections.abc import Sequence

from bot.domain.desired import Change
from bot.render.markdown import escape, fenced

MARKER = "<!-- promobot:renewal -->"


def has_commits(commit: str, author: str) -> str:
    """A person pushed to the bot's branch."""
    return f"{commit[:12]} on its branch is not the bot's ({author}); the bot never writes over it"


def main_moved(moved: Sequence[Change], environment: str) -> str:
    """Main says something else of the same model now."""
    said = ", ".join(f"{one.model} {one.after.version if one.after else 'nothing'}" for one in moved[:5])
    return f"main asks for something else of the same model in {environment} now ({said})"


def left_alone(why: str, others: Sequence[Change] = ()) -> str:
    """Return the comment on a pull request that a person must decide about.

    ``others`` are the changes that main is not in the way of, where it is of several models.
    """
    versions = " ".join(f"{one.model}:{one.after.version}" for one in others if one.after)
    rest = f"promobot propose {versions} --env {others[0].environment}" if versions else ""
    step = f", and propose the others again:\n\n{fenced(rest, 'sh')}" if rest else "."
    return (
        f"{MARKER}\n⚠️ **This conflicts with main, and the bot leaves it as it is:** {escape(why)}.\n\n"
        "Next: resolve the conflict by hand, propose the same again, which writes the branch anew, or close "
        f"this{step}"
    )
