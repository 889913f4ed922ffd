"""Warnings about models that would leave service, and about desired state that would be gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bot.domain.retirement import Stop
from bot.domain.usage import Usage
from bot.render.markdown import code, escape


class Leaving(Protocol):
    """A model that would stop answering, and what is known of its use."""

    @property
    def stop(self) -> Stop:
        """What stops."""

    @property
    def usage(self) -> Usage | None:
        """Its requests; None if they are not known."""

    @property
    def usage_problem(self) -> str:
        """Why that is not known."""


def paragraph(leaving: Leaving) -> str:
    """Return what merging stops, who asks for it, why it is meant, and the way back; for the comment."""
    stop, change = leaving.stop, leaving.stop.change
    since = f" since {stop.since.finished_at:%Y-%m-%d} ({code(stop.since.id)})" if stop.since else ""
    what = f"{escape(change.model)} in {escape(change.environment)}"
    if not stop.is_meant:
        return f"⛔ **This would stop {what}.** Version {stop.answers.version} answers now{since}. {_used(leaving)}"
    back = f"promobot rollback {change.model} --env {change.environment}"
    return (
        f"⚠️ **Merging stops {what}.** Version {stop.answers.version} answers now{since}. {_used(leaving)} "
        f"Users who ask for it get 404 after the merge.\n\n"
        f"Why: {escape(change.retired, limit=500)}\n\n"
        f"The way back: press **Revert** below after the merge, or run {code(back)}; with `--now` it answers again "
        f"before the merge of that."
    )


def stops(leaving: Sequence[Leaving]) -> str:
    """Return what merging takes from users, in one paragraph, where nothing else is proposed."""
    named = [f"{one.stop.change.model} in {one.stop.change.environment}" for one in leaving]
    listed = escape(", ".join(named[:5])) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
    now = f"version {leaving[0].stop.answers.version} answers" if len(named) == 1 else "all of them answer"
    return f"⏹️ **Merging stops {listed}: {now} now, and users get 404 after the merge.**"


def nothing_leaves(model: str, environment: str) -> str:
    """Return that an entry goes which nobody gets answers from."""
    return f"{escape(model)} is not in service in {escape(environment)}, so nothing stops"


def _used(leaving: Leaving) -> str:
    usage = leaving.usage
    if usage is None:
        why = f" ({escape(leaving.usage_problem, limit=300)})" if leaving.usage_problem else ""
        return f"Its number of requests is not known{why}."
    if usage.last is None:
        return f"Nobody has asked for it since it was loaded, as far as {escape(usage.where)} sees one Triton."
    return (
        f"One Triton behind {escape(usage.where)} counted {usage.requests:,} inferences since it loaded the version, "
        f"the bot's own among them; the last was at {usage.last:%Y-%m-%d %H:%M} UTC."
    )
