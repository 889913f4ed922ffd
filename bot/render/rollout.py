"""The words about a rollout: how far it bakes, what both versions did, and why it is put back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bot.domain.message import Message
from bot.domain.rollout import Baking, Breach, Compared, Rules, Table, UnderWay, Verdict, Waits
from bot.render.markdown import table as as_markdown
from bot.render.mrkdwn import escape

WATCH = "promobot watch"
_HEADS = {"beside": "beside it", "before": "in its last hour", "unknown": "unknown"}


def watched_by(environment: str) -> str:
    """The command that goes on watching."""
    return f"promobot watch --env {environment}"


def where(step: Baking) -> str:
    """Return the version and for how many users it answers."""
    part = "" if step.is_whole else f" at {step.percent} %"
    return f"{step.slot.model} {step.new.version}{part} in {step.slot.environment}"


def baking(found: Waits, rules: Rules) -> str:
    """Return how far a version bakes, as in ``baking: 120 of 200 requests, 12 of 30 minutes``."""
    said = f"baking: {min(found.requests, rules.min_requests):,} of {rules.min_requests:,} requests"
    passed = min(found.minutes, rules.minutes)
    said += f", {int(passed) if rules.minutes >= 1 else _minutes(passed)} of {_minutes(rules.minutes)} minutes"
    if found.compared is not None:
        said += f", {min(found.compared, rules.min_requests):,} of {rules.min_requests:,} answers compared"
    if found.missing:
        said += f"; nobody knows what {', '.join(found.missing)} counted"
    return said


def standing(verdict: Verdict, rules: Rules, environment: str) -> str:
    """Return how a version stands for somebody who only looks."""
    match verdict:
        case Waits():
            return baking(verdict, rules)
        case Breach():
            return f"breaks the rules of its bake: {why(verdict.table)}; `{watched_by(environment)}` acts on it"
        case UnderWay():
            return f"a deployment brings it to {verdict.percent} % of the requests, or was cut off on the way"
        case _:
            return f"its bake is over; `{watched_by(environment)}` goes on from there"


def why(table: Table) -> str:
    """Return in one sentence what the new version does that it must not."""
    said = {"failed": _failures, "p95": _p95, "flips": _decisions}
    return "; ".join(said[one.signal](table, one) for one in table.signals if one.is_breach)


def _failures(table: Table, one: Compared) -> str:
    said = f"{share(one.new)} of {table.new_requests:,} requests to {table.new} failed; {share(one.allowed)} may"
    if table.old is None or one.old is None:
        return said
    return f"{said}, and {share(one.old)} of {table.old_requests:,} to {table.old} did"


def _p95(table: Table, one: Compared) -> str:
    return (
        f"p95 of {table.new} is {seconds(one.new)}, {seconds(one.allowed)} is allowed, "
        f"and that of {table.old} is {seconds(one.old)}"
    )


def _decisions(table: Table, one: Compared) -> str:
    return (
        f"{share(one.new)} of decisions of {table.new} are others than those of {table.old} to the same requests, by "
        f"{table.compared:,} answers; {share(one.allowed)} may be"
    )


def rows(table: Table) -> list[tuple[str, str, str, str]]:
    """Return the table's rows, the head first: what, the new version, the old one, what is allowed."""
    old = f"version {table.old}" if table.old is not None else "nothing"
    found = [("", f"version {table.new}", f"{old}, {_HEADS[table.beside]}", "allowed")]
    found.append(("requests", f"{table.new_requests:,}", _known(table, f"{table.old_requests:,}"), ""))
    for one in table.signals:
        mark = "⚠️ " if one.is_breach else ""
        if one.signal == "failed":
            new = f"{mark}{table.new_failed:,} ({share(one.new)})"
            old_failed = _known(table, f"{table.old_failed:,} ({share(one.old)})")
            found.append(("failed", new, old_failed, share(one.allowed)))
        elif one.signal == "flips":
            new = f"{mark}{share(one.new)} of {table.compared:,} answers"
            found.append(("other decisions", new, "", share(one.allowed)))
        else:
            found.append(("p95, at most", f"{mark}{seconds(one.new)}", seconds(one.old), seconds(one.allowed)))
    found.append(("refused (4xx)", f"{table.new_refused:,}", _known(table, f"{table.old_refused:,}"), ""))
    return found


def _known(table: Table, said: str) -> str:
    return "unknown" if table.beside == "unknown" else said


def in_a_pull_request(table: Table) -> str:
    """Return the table as Markdown."""
    head, *others = rows(table)
    return as_markdown(head, others)


def in_columns(table: Table) -> str:
    """Return the table for a terminal and for Slack, in columns of one width."""
    listed = rows(table)
    widths = [max(len(row[column]) for row in listed) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in listed
    )


def asked_by_watch(table: Table) -> str:
    """Return the paragraph of a revert that says who asked for it, with the table."""
    return f"Asked for by `{WATCH}`: what users got of version {table.new} broke the rules of its bake.\n\n" + (
        in_a_pull_request(table)
    )


def told(step: Baking, breach: Breach) -> str:
    """Return the line about a breach that is not put back."""
    return f"⚠️ {where(step)} is not as it must be, and stays: {why(breach.table)}. {breach.only_told.capitalize()}."


def message(step: Baking, breach: Breach, *, thread: str = "", problem: str = "") -> Message:
    """Return the Slack message about a breach that is not put back; ``problem`` says what kept the bot from it."""
    model, environment = step.slot.model, step.slot.environment
    said = problem or breach.only_told
    head = f"⚠️ {where(step)} is not as it must be, and was not put back."
    command = f"promobot rollback {model} --env {environment} --now --reason '…'"
    blocks: list[dict[str, Any]] = [
        _section(f"*{escape(head)}*"),
        _section(f"*What happened:* {escape(why(breach.table))}\n```{escape(in_columns(breach.table))}```"),
        _section(f"*Why it stays:* {escape(said)}\n*What to do:* `{escape(command)}`"),
    ]
    kind = "stuck" if problem else "breach"
    return Message(
        key=f"watch/{step.id}/{kind}",
        text=f"{head} {why(breach.table)}",
        blocks=tuple(blocks),
        since=step.since.timestamp(),
        thread=thread,
        broadcast=True,
    )


def share(value: float | None) -> str:
    """Return a share of requests, as in ``4.1 %``."""
    if value is None:
        return "unknown"
    percent = 100 * value
    digits = 1 if percent >= 1 else 2
    text = f"{percent:.{digits}f}".rstrip("0").rstrip(".") if percent else "0"
    return f"{text} %"


def seconds(value: float | None) -> str:
    """Return a time, as in ``24 ms``."""
    if value is None:
        return "unknown"
    if math.isinf(value):
        return "over a minute"
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def _minutes(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:g}"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def looked(lines: Sequence[str], environment: str, *, has_rules: bool) -> str:
    """Return the answer of a look for a terminal; ``has_rules``: whether the settings would have anything watched."""
    return "\n".join(lines) or nothing(environment, has_rules=has_rules)


def nothing(environment: str, *, has_rules: bool) -> str:
    """Return that nothing is rolled out; and where the settings would have nothing watched, that it is so."""
    said = f"nothing is being rolled out in {environment}"
    if has_rules:
        return said
    return (
        f"{said}; its settings here have no `rollout` with several steps or a `bake`, and no gate with rules for a "
        "`shadow`"
    )
