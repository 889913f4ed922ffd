"""The release that began to answer a case wrong, for the terminal and for Slack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bot.domain.names import short
from bot.render.mrkdwn import escape
from bot.render.terminal import grid

if TYPE_CHECKING:
    from bot.operations.bisect import Bisected, Merge, Served

_SIGNS = {"holds": "✓", "wrong": "✗", "could not be asked": "–", "not asked": "·"}
_SHOWN = 10


def on_terminal(found: Bisected) -> str:
    """Return what was found, each release in the order of service, and what to type."""
    rows = [
        [_SIGNS[one.answered], str(one.version), short(one.digest), f"{one.since:%Y-%m-%d %H:%M} UTC", _said(one)]
        for one in found.releases
    ]
    listed = grid(["", "version", "digest", "in service since", "answer"], rows)
    return "\n".join([*_sentences(found, str), "", listed, *["", *_to_do(found)] * bool(_to_do(found))])


def in_slack(found: Bisected) -> str:
    """Return the same without the releases that were not asked."""
    asked = [one for one in found.releases if one.answered != "not asked"]
    lines = [f"• {_SIGNS[one.answered]} version {one.version}: {escape(_said(one))}" for one in asked[-_SHOWN:]]
    lines = [*[f"… and {len(asked) - _SHOWN} before them"] * (len(asked) > _SHOWN), *lines]
    return "\n".join([*_sentences(found, escape), *lines, *(escape(line) for line in _to_do(found))])


def _said(one: Served) -> str:
    return one.answered if one.answered == "not asked" else one.said or one.answered


def _sentences(found: Bisected, quote: Callable[[str], str]) -> list[str]:
    model, where, began, before = found.model, found.environment, found.began, found.before
    asked = sum(one.answered in ("holds", "wrong") for one in found.releases)
    counted = f"{asked} of {len(found.releases)} releases in {where} were asked"
    if found.conclusion == "unknown":
        return [f"❌ No release of {model} in {where} could be asked {quote(found.case)}."]
    if began is None:
        return [f"✅ {model} holds {quote(found.case)} in {where}: {counted}, and no answer is wrong."]
    digest, since = short(began.digest), f"{began.since:%Y-%m-%d %H:%M} UTC"
    first = f"❌ {model} {began.version} ({digest}) began to answer {quote(found.case)} wrong in {where} on {since}."
    if found.conclusion == "always":
        first = (
            f"❌ {model} does not hold {quote(found.case)} in {where} as far back as could be asked: version "
            f"{began.version} ({digest}), in service since {since}."
        )
    lines = [first, quote(began.said) + "."]
    if before is not None:
        lines.append(f"Version {before.version} ({short(before.digest)}), before it, holds: {quote(before.said)}.")
    lines += [_merged(found.merge, quote)] if found.merge else []
    between = _between(found.releases, before, began)
    if between:
        lines.append(f"Between them could not be asked: {', '.join(between)}; it may have begun there.")
    if found.turns is None:
        lines.append(f"{counted}. That assumes that answers turned wrong once; `--all` asks every release.")
    elif found.turns > 1:
        lines.append(f"{counted}. Answers turned wrong {found.turns} times; this was the last time.")
    else:
        lines.append(f"{counted}.")
    return lines


def _between(releases: Sequence[Served], before: Served | None, began: Served) -> list[str]:
    """Return the versions between the one that holds and the one that does not which could not be asked."""
    start = 0 if before is None else releases.index(before) + 1
    return [f"version {one.version}" for one in releases[start : releases.index(began)]]


def _merged(merge: Merge, quote: Callable[[str], str]) -> str:
    if merge.number is None:
        return f"Which pull request brought it is not known: {quote(merge.problem)}."
    if merge.problem:
        return f"Pull request #{merge.number} {quote(merge.url)}: {quote(merge.problem)}."
    who = quote(merge.by)
    return f"#{merge.number} brought it, merged by {who} on {merge.at:%Y-%m-%d %H:%M} UTC: {quote(merge.url)}"


def _to_do(found: Bisected) -> list[str]:
    lines = []
    if found.rollback_to is not None:
        command = f"promobot rollback {found.model} --env {found.environment} --to {found.rollback_to}"
        lines.append(f"Version {found.in_service} answers users wrong. To go back: {command}")
    if found.began is not None and not found.is_law:
        lines.append(f"To have no later version answer so: merge the case as cases/{found.model}/{found.case}.json")
    return lines
