"""Plain English, held: no page, docstring, comment or message has a construction that we avoid."""

from __future__ import annotations

import pytest

from tests.prose.rules import LONGEST_SENTENCE, findings
from tests.prose.texts import KINDS, Kind


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_none(kind: Kind) -> None:
    found = [f for text in KINDS[kind]() for f in findings(text.text, file=text.file, line=text.line)]
    listed = "\n".join(map(str, found[:50]))
    assert found == [], f"python -m tests.prose {kind} lists them:\n{listed}"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("'x' is no version.", "is no X"),
        ("The bytes are not to be had.", "to be had"),
        ("It is not read any more.", "any more"),
        ("Say whether it is there or not.", "or not at the end"),
        ("It is out of service by now.", "by now"),
        ("Whoever runs it sees it.", "whoever"),
        ("What is left out is asked for.", "a free relative as the subject"),
        ("It reads the list; what is gone is left out.", "a free relative as the subject"),
        ("It is there. Who holds the lock may write.", "who as the subject"),
        ("It waits, for it may come back.", "for meaning because"),
        ("The next deploy goes on with it.", "gone on with"),
        ("A failure is said, and stops nothing.", "is said"),
        ("The reviewer is told.", "is said"),
        ("How long and how much one server may take.", "how as a sentence"),
        ("Have one Triton take the surplus off.", "have it done"),
        (" ".join(["word"] * (LONGEST_SENTENCE + 1)) + ".", f"a sentence of {LONGEST_SENTENCE + 1} words"),
    ],
)
def test_each_construction_is_found_with_its_line(text: str, rule: str) -> None:
    (found,) = findings(f"Good.\n\n{text}", file="x.md", line=4)
    assert (found.rule, found.where) == (rule, "x.md:6")


@pytest.mark.parametrize(
    "text",
    [
        "There is no evidence for this version.",
        "It is no longer live.",
        "What is live? Ask `promobot status`.",
        "Triton is told to load it.",
        "It is done for the next environment, for each model.",
        "How long does it take?",
        " ".join(["word"] * LONGEST_SENTENCE) + ". And another one.",
    ],
)
def test_good_sentences_stay(text: str) -> None:
    assert list(findings(text, file="x.md")) == []
