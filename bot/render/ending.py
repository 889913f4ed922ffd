"""The comment on a merged pull request: what became of it. It stays true, because it says what happened and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.domain.desired import Section
from bot.domain.ending import Ending
from bot.domain.names import short
from bot.domain.record import DeploymentRecord, is_failed_rollback
from bot.render.deployment import describe, mark, what_to_do
from bot.render.markdown import code, escape, escape_with_code, fit
from bot.render.plainly import plainly

_SHOWN = 20


def marker(environment: str) -> str:
    """Return how the comment begins, unseen; each environment has its own."""
    return f"<!-- promobot:end {environment} -->"


def comment(environment: str, ends: Sequence[Ending]) -> str:
    """Return the one comment: how each change of the pull request ended, what went wrong first."""
    parts = [_part(end) for end in _worst_first(ends)[:_SHOWN]]
    if len(ends) > _SHOWN:
        parts.append(f"… and {len(ends) - _SHOWN} more: {code(f'promobot history --env {environment}')}")
    return marker(environment) + "\n" + fit(parts)


def headline(environment: str, ends: Sequence[Ending]) -> str:
    """Return how it ended in one paragraph, for the head of the text with which the bot opened it."""
    first, *more = map(_first, _worst_first(ends))
    return f"{marker(environment)}\n{first}" + (f" And {len(more)} more." if more else "")


def details_are_in(url: str) -> str:
    """Point from the text of a pull request to the comment."""
    return f"[What happened, and what to do]({url})"


def _worst_first(ends: Sequence[Ending]) -> list[Ending]:
    return sorted(ends, key=lambda end: (end.hold is None, end.is_well))


def _first(end: Ending) -> str:
    since = f" since {_at(end.hold.since)}" if end.hold is not None and end.hold.since else ""
    if end.record is None and end.hold is None:
        return f"✅ **{escape(_was_there(end))}**"
    if end.record is None:
        before = f"version {end.change.before.version} went on answering" if end.change.before else "nothing answered"
        if end.change.section == "shadow":
            before = "no user was affected"
        return f"✋ **{escape(describe(end.change))} was merged and held{since}; {before}.**"
    held = f" Held{since}." if end.hold is not None else ""
    if end.left is not None:
        return f"↩️ **{escape(_was_left(end.record, end.left))}**{held}"
    return f"{mark(end.record)} **{escape(_ended(end.record))}**{held}"


def _part(end: Ending) -> str:
    record, hold = end.left or end.record, end.hold
    parts = [_first(end)]
    if record is not None and record.problem:
        parts.append(f"What happened: {escape(plainly(record.problem), limit=2_000)}")
    if hold is not None:
        parts.append(f"Why: {escape(hold.why, limit=2_000)}.")
        parts.append(f"What to do: {escape_with_code(hold.next_step, limit=1_000)}")
    elif record is not None:
        step = what_to_do(record, merge="merge the revert that the bot opened" if record.quarantined else "")
        parts += [f"What to do: {escape_with_code(step, limit=1_000)}"] if step else []
    if record is not None:
        digest = f", digest {code(short(record.after.digest))}" if record.after else ""
        whole = code(f"promobot history show {record.id} --env {record.environment}")
        parts.append(f"<sub>Record {code(record.id)}{digest}. All of it: {whole}</sub>")
    return "\n\n".join(parts)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _was_there(end: Ending) -> str:
    """Return that a merge only made main say what was so already."""
    change, when = end.change, f" at {_at(end.merged_at)}" if end.merged_at else ""
    where = _where(change.environment, change.section)
    if change.after is None:
        was = f"{change.model} had left {where}"
    else:
        did = "listened on" if change.section == "shadow" else "answered in"
        was = f"{change.model} {change.after.version} {did} {where}"
    return f"{was} already when this was merged{when}: nothing was deployed."


def _was_left(record: DeploymentRecord, left: DeploymentRecord) -> str:
    """Return that a release was in service, and was rolled back."""
    return f"{_went(record)}, and was rolled back at {_at(left.finished_at)}: {_answers(left)} after it."


def _ended(record: DeploymentRecord) -> str:
    """Return how it ended, in the past tense: who reads it in a year reads it, too."""
    where, at = _where(record.environment, record.section), _at(record.finished_at)
    if record.verified and record.after is None:
        return f"{_went(record)}."
    version = f"{record.model} {record.after.version}" if record.after else record.model
    if is_failed_rollback(record):
        return f"The rollback to {version} in {where} failed at {at}: {_answers(record)} after it."
    match record.outcome:
        case "succeeded":
            return f"{_went(record)}; all six criteria held."
        case "unconfirmed":
            return f"{_went(record)}; Slack had not taken the message yet."
        case "rolling out":
            share = f"{record.rollout.percent} %" if record.rollout else "some"
            return f"{version} began to answer {share} of requests in {where} at {at}; {_answers(record)} the others."
        case "incomplete":
            return f"{_went(record)}, wherever gateways answered."
        case "put back":
            return f"{version} was put back in {where} at {at}: {_answers(record)} after it."
        case "failed":
            return f"{version} failed before the switch in {where} at {at}: {_stayed(record)}."


def _where(environment: str, section: Section) -> str:
    return f"{environment}'s shadow path" if section == "shadow" else environment


def _went(record: DeploymentRecord) -> str:
    at, was = _at(record.finished_at), f" (before: {record.before.version})" if record.before else ""
    where = _where(record.environment, record.section)
    if record.after is None:
        return f"{record.model} left service in {where} at {at}{was}"
    if record.section == "shadow":
        return f"{record.model} {record.after.version} went to {where} at {at}{was}, where it answers nobody"
    return f"{record.model} {record.after.version} went into service in {where} at {at}{was}"


def _answers(record: DeploymentRecord) -> str:
    now = f"version {record.serving.version}" if record.serving else "nothing"
    return f"{now} {'listened' if record.section == 'shadow' else 'answered'}"


def _stayed(record: DeploymentRecord) -> str:
    # Not that it answered: a Triton that is down is why many a deployment fails before the switch.
    path = "on the shadow path" if record.section == "shadow" else "in service"
    return f"version {record.serving.version} stayed {path}" if record.serving else f"nothing was {path}"
