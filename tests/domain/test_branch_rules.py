"""Which rules of a branch keep the bot from pushing to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bot.domain.branch_rules import BLOCKING, Rule, hindrances


@dataclass(frozen=True)
class Of:
    type: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def _why(*rules: Rule, signed: bool = False) -> list[str]:
    return hindrances(
        list(rules),
        branch="promobot/dev/churn",
        title="Promote churn to 7 in dev",
        author="1+promobot[bot]@users.noreply.github.com",
        committer="noreply@github.com",
        signed=signed,
    )


@pytest.mark.parametrize("kind", sorted(BLOCKING))
def test_what_stops_every_push(kind: str) -> None:
    assert _why(Of(kind)) == [f"{kind}: {BLOCKING[kind]}"]


def test_what_stops_no_push_of_the_bots() -> None:
    harmless = ("deletion", "required_linear_history", "code_scanning", "max_file_size", "something new")
    assert _why(*map(Of, harmless)) == []


def test_signatures_are_asked_of_whoever_does_not_sign() -> None:
    assert _why(Of("required_signatures"), signed=True) == []
    (said,) = _why(Of("required_signatures"))
    assert said.startswith("required_signatures: its commits must be signed")


@pytest.mark.parametrize(
    ("kind", "operator", "pattern", "fits"),
    [
        ("branch_name_pattern", "starts_with", "feature/", False),
        ("branch_name_pattern", "starts_with", "promobot", True),
        ("branch_name_pattern", "regex", "^(feature|promobot)/", True),
        ("branch_name_pattern", "regex", r"^JIRA-\d+", False),
        ("branch_name_pattern", "regex", r"\p{Greek", True),
        ("commit_message_pattern", "contains", "JIRA-", False),
        ("commit_message_pattern", "ends_with", "dev", True),
        ("commit_author_email_pattern", "ends_with", "@acme.example", False),
        ("committer_email_pattern", "ends_with", "@github.com", True),
        ("committer_email_pattern", "of some later year", "x", True),
    ],
)
@pytest.mark.parametrize("negate", [False, True])
def test_patterns(kind: str, operator: str, pattern: str, fits: bool, negate: bool) -> None:
    known = operator != "of some later year" and pattern != r"\p{Greek"
    rule = Of(kind, {"operator": operator, "pattern": pattern, "negate": negate})
    assert bool(_why(rule)) == (known and fits == negate)
