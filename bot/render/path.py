"""The words about what goes from one environment to the next by itself."""

from __future__ import annotations

from datetime import datetime

from bot.domain.path import Offer, Rule
from bot.render.markdown import code

MARKER = "<!-- promobot:withdrawn -->"
"""Begins the comment on a pull request that its policy closes."""
BY_POLICY = "<!-- promobot:by-policy -->"
"""Stands in the text of a pull request that a policy opened."""


def opened_by_policy(environment: str, rule: Rule, offer: Offer, checked: int | None, now: datetime) -> str:
    """Return the paragraph of a pull request that says why a policy opened it, with the evidence of the source."""
    baked = ", baked" if rule.when == "baked" else ""
    evidence = f"; its checks there: #{checked}" if checked is not None else ""
    return (
        f"{BY_POLICY}\n🤖 Opened by the policy of {environment}: {rule.source} serves {offer.said}, verified since "
        f"{offer.since:%Y-%m-%d %H:%M} UTC ({_age(now, offer.since)}){baked}. Deployment "
        f"{code(offer.record)}{evidence}."
    )


def _age(now: datetime, since: datetime) -> str:
    minutes = max(int((now - since).total_seconds() // 60), 0)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // (24 * 60)} d"


def withdrawn(name: str, source: str, record: str) -> str:
    """Return the comment on a proposal that its policy closes."""
    return f"{source} went back from this version of {name} ({code(record)}), so its policy proposes it no more."


def theirs(number: int, source: str, record: str) -> str:
    """Return why a proposal stays open, though its source went back."""
    return f"{source} went back from it ({record}), and #{number} stays open: somebody's commit is on its branch"


def proposed_once(said: str) -> str:
    """Return the line of what was proposed."""
    return f"proposed: {said}"


def not_proposed(offer: Offer, why: str) -> str:
    """Return why something that is due is not proposed."""
    return f"{offer.said} is due, and could not be proposed: {why}"


def next_look(offer: Offer) -> str:
    """Return that others come first."""
    return f"{offer.said} is due, and is proposed at the next look"


def not_read(source: str, why: str) -> str:
    """Return why nothing is known of the source."""
    return f"nothing is carried on while {source} cannot be read: {why}"


def not_compared(why: str) -> str:
    """Return why open proposals could not be looked at."""
    return f"whether an open proposal has to be closed is not known: {why}"


def mistake(said: str) -> str:
    """Return that the settings have a mistake."""
    return f"nothing is carried on while the settings have a mistake ({said})"
