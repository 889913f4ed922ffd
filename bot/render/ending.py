"""What a pull request says after its merge: what became of it. It stays true: it says what happened, and when."""

from __future__ import annotations

from collections.abc import Sequence

from bot.domain.hold import Held
from bot.domain.names import short
from bot.domain.record import DeploymentRecord, is_failed_rollback
from bot.render.deployment import describe, mark, what_to_do
from bot.render.markdown import code, escape, escape_with_code, fit

_SHOWN = 20


def marker(environment: str) -> str:
    """Return how the comment begins, unseen; each environment has its own."""
    return f"<!-- promobot:end {environment} -->"


def comment(environment: str, records: Sequence[DeploymentRecord], held: Sequence[Held]) -> str:
    """Return the one comment: how each change of the pull request ended, what went wrong first."""
    worst_first = sorted(records, key=lambda record: record.verified)
    parts = [*(part for one in held[:_SHOWN] for part in _held(one)), *map(_record, worst_first[:_SHOWN])]
    more = max(0, len(held) - _SHOWN) + max(0, len(records) - _SHOWN)
    if more:
        parts.append(f"… and {more} more: {code(f'promobot history --env {environment}')}")
    return marker(environment) + "\n" + fit(parts)


def headline(environment: str, records: Sequence[DeploymentRecord], held: Sequence[Held]) -> str:
    """Return how it ended in one paragraph, for the head of the text with which the bot opened it."""
    first, *more = [
        *(_held(one)[0] for one in held),
        *(_first(record) for record in sorted(records, key=lambda record: record.verified)),
    ]
    return f"{marker(environment)}\n{first}" + (f" And {len(more)} more." if more else "")


def details_are_in(url: str) -> str:
    """Point from the text of a pull request to the comment."""
    return f"[What happened, and what to do]({url})"


def _held(one: Held) -> list[str]:
    since = f" since {one.hold.since:%Y-%m-%d %H:%M} UTC" if one.hold.since else ""
    before = f"version {one.change.before.version} went on answering" if one.change.before else "nothing answered"
    if one.change.section == "shadow":
        before = "no user was affected"
    return [
        f"✋ **{escape(describe(one.change))} was merged and held{since}; {before}.**",
        f"Why: {escape(one.hold.why, limit=2_000)}.",
        f"What to do: {escape_with_code(one.hold.next_step, limit=1_000)}",
    ]


def _first(record: DeploymentRecord) -> str:
    at = f"{record.finished_at:%Y-%m-%d %H:%M} UTC"
    return f"{mark(record)} **{escape(_ended(record, at))}**"


def _record(record: DeploymentRecord) -> str:
    lines = [_first(record)]
    if record.problem:
        lines.append(f"What happened: {escape(record.problem, limit=2_000)}")
    if step := what_to_do(record, merge="merge the revert that the bot opened" if record.quarantined else ""):
        lines.append(f"What to do: {escape_with_code(step, limit=1_000)}")
    digest = f", digest {code(short(record.after.digest))}" if record.after else ""
    whole = code(f"promobot history show {record.id} --env {record.environment}")
    lines.append(f"<sub>Record {code(record.id)}{digest}. All of it: {whole}</sub>")
    return "\n\n".join(lines)


def _ended(record: DeploymentRecord, at: str) -> str:
    """Return how it ended, in the past tense: who reads it in a year reads it, too."""
    where = f"{record.environment}'s shadow path" if record.section == "shadow" else record.environment
    was = f" (before: {record.before.version})" if record.before else ""
    now = f"version {record.serving.version}" if record.serving else "nothing"
    answers = f"{now} {'listened' if record.section == 'shadow' else 'answered'}"
    if record.verified and record.after is None:
        return f"{record.model} left service in {where} at {at}{was}."
    version = f"{record.model} {record.after.version}" if record.after else record.model
    if is_failed_rollback(record):
        return f"The rollback to {version} in {where} failed at {at}: {answers} after it."
    match record.outcome:
        case "succeeded":
            return f"{version} went into service in {where} at {at}{was}; all six criteria held."
        case "unconfirmed":
            return f"{version} went into service in {where} at {at}{was}; Slack had not taken the message yet."
        case "incomplete":
            return f"{version} went into service in {where} at {at}{was}, wherever gateways answered."
        case "put back":
            return f"{version} was put back in {where} at {at}: {answers} after it."
        case "failed":
            return f"{version} failed before the switch in {where} at {at}: {_stayed(record)}."


def _stayed(record: DeploymentRecord) -> str:
    # Not that it answered: a Triton that is down is why many a deployment fails before the switch.
    path = "on the shadow path" if record.section == "shadow" else "in service"
    return f"version {record.serving.version} stayed {path}" if record.serving else f"nothing was {path}"


def could_not_tell(error: Exception) -> str:
    """Users get what they should; only the pull request does not say so yet."""
    return f"a pull request could not be told how it ended, `promobot history` tells it: {error}"


def not_all_told() -> str:
    """A run of very many changes, or a GitHub that is slow."""
    return "not every pull request is told how it ended; `promobot history` has all of them"
