"""Constructions that make a reader at 3 a.m. read twice, each with what to write instead.

The list was made from reviews of this project's own texts by people who do not speak English at home.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_SENTENCE = 35
"""Words. We aim at 25; a list of names may take ten more."""


@dataclass(frozen=True)
class Rule:
    """A construction to avoid: ``found`` matches it, ``better`` says what to write."""

    name: str
    found: re.Pattern[str]
    better: str


def _rule(name: str, found: str, better: str, flags: re.RegexFlag = re.MULTILINE) -> Rule:
    return Rule(name, re.compile(found, flags), better)


RULES = (
    _rule(
        "is no X",
        r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer|more than|less|fewer|such|one\b)[a-z]+",
        "“is not a valid …”, “is not …”",
    ),
    _rule("to be had", r"\bto be had\b", "“exists”, “is available”"),
    _rule("any more", r"\bany more\b(?! than)", "“no longer”"),
    _rule("or not at the end", r"\bor not(?=[.;:,)]|$)", "“whether …”, without “or not”"),
    _rule("by now", r"\bby now\b", "“since then”, “meanwhile”, “already”"),
    _rule("borne", r"\bborne\b", "“tolerated”, “limited”"),
    _rule("mend", r"\b[Mm]end(?:s|ed|ing)?\b", "“fix”"),
    _rule("whoever", r"\b[Ww]hoever\b", "“anyone who”, “the process that”: say who"),
    _rule("nobody that", r"\b[Nn]obody that\b", "“no one”"),
    _rule(
        "a free relative as the subject",
        r"(?:^|(?<=[.;:] ))What (?:is|was|has|had|can|no|it|they|a|an|the|we|people|must|may|else)\b(?![^.;:]*\?)"
        r"|(?<=; )what (?:is|was|has|it|they|no)\b",
        "a noun as the subject: “A damaged version is …”",
    ),
    _rule(
        "who as the subject",
        r"(?:^|(?<=[.;:] ))Who(?:ever)? (?:is|was|has|had|can|only|no|takes|holds|does|asks|wants)\b(?![^.;:]*\?)",
        "say who: “The process that holds the lock …”",
    ),
    _rule(
        "for meaning because",
        r"(?:[,;] )for (?:it|they|that|this|then|there|nobody|its|nothing|no|he|she|who|whoever)\b",
        "“because”",
    ),
    _rule(
        "is said",
        r"\b(?:is|are|was|were) (?:not )?(?:said\b|told\b(?! to\b))",
        "name who says it: “`doctor` reports …”",
    ),
    _rule("gone on with", r"\bgo(?:es|ne|ing)? on with\b", "“resume”, “continue”"),
    _rule("how as a sentence", r"^How (?:long|often|much|many|far)\b[^?\n]*$", "a noun: “Timeouts of one server.”"),
    _rule("have it done", r"^Have (?:a |an |the |one |each |every )?\w+ \w+", "the plain verb: “Unload …”"),
)

_SENTENCE_ENDS = re.compile(r"[.!?:;][*_)”\"]*(?:\s+|$)|\n\s*\n|\n\s*(?:[-*>#]|\d+\.)\s|\|")


@dataclass(frozen=True)
class Finding:
    """One place: ``where`` is ``file:line``."""

    where: str
    rule: str
    text: str
    better: str

    def __str__(self) -> str:
        return f"{self.where}: {self.rule}: “{self.text}” → {self.better}"


def findings(text: str, *, file: str, line: int = 1) -> Iterator[Finding]:
    """Yield what to write otherwise in a text that begins on this line of the file."""
    for rule in RULES:
        for match in rule.found.finditer(text):
            yield Finding(_where(text, match.start(), file, line), rule.name, _around(text, match), rule.better)
    start = 0
    for end in [*(match.end() for match in _SENTENCE_ENDS.finditer(text)), len(text)]:
        sentence, begin = text[start:end], start
        start = end
        words = [word for word in sentence.split() if any(character.isalnum() for character in word)]
        if len(words) > LONGEST_SENTENCE:
            begin += len(sentence) - len(sentence.lstrip(" \n|"))
            yield Finding(
                _where(text, begin, file, line),
                f"a sentence of {len(words)} words",
                " ".join(words[:7]) + " …",
                f"sentences of at most {LONGEST_SENTENCE}",
            )


def _where(text: str, at: int, file: str, line: int) -> str:
    return f"{file}:{line + text.count(chr(10), 0, at)}"


def _around(text: str, match: re.Match[str]) -> str:
    """Return the construction with a few words around it, on one line."""
    return " ".join(text[max(0, match.start() - 30) : match.end() + 40].split())
