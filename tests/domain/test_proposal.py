"""What a proposal decides: its path, its edits, and whether it makes room for another."""

from __future__ import annotations

from typing import Any

import pytest

from bot.domain.desired import Change, Desired, Entry, Section
from bot.domain.gate import Gate, GateResult, MetricRule, judge
from bot.domain.metrics import Measured
from bot.domain.proposal import Edit, edited, edits_of, proposed_for, section_for, why_it_waits
from bot.domain.release import Lane, Release
from tests.domain.entries import entry, release


def gate_of(on_miss: Any) -> Gate:
    return Gate(metrics={"accuracy": MetricRule(minimum=0.9)}, on_miss=on_miss)


def judged(accuracy: float) -> GateResult:
    return judge(gate_of("stop"), Measured({"accuracy": accuracy}), None)


@pytest.mark.parametrize(
    ("accuracy", "on_miss", "section"),
    [(0.95, "stop", "shadow"), (0.95, "shadow", "shadow"), (0.5, "shadow", "shadow"), (0.5, "stop", None)],
)
def test_a_person_may_have_what_passes_listen_and_not_what_the_gate_stops(
    accuracy: float, on_miss: str, section: Section | None
) -> None:
    assert section_for(judged(accuracy), gate_of(on_miss), is_promotion=False, as_shadow=True) == section


@pytest.mark.parametrize(
    ("accuracy", "on_miss", "is_promotion", "section"),
    [
        (0.95, "stop", False, "models"),
        (0.95, "shadow", True, "models"),
        (0.85, "shadow", False, "shadow"),
        (0.85, "stop", False, None),
        (0.85, "shadow", True, None),
    ],
)
def test_what_misses_listens_where_the_gate_says_so_and_is_never_promoted(
    accuracy: float, on_miss: str, is_promotion: bool, section: Section | None
) -> None:
    assert section_for(judged(accuracy), gate_of(on_miss), is_promotion=is_promotion) == section


@pytest.mark.parametrize(
    ("wanted", "there", "why"),
    [
        (release(8), release(7), ""),
        (release(7), release(7), ""),
        (release(7), release(8), "#3 already proposes version 8, which is newer"),
        (release(7, Lane.SHADOW), release(8, Lane.SHADOW), "#3 already proposes version 8, which is newer"),
        (release(7), release(8, Lane.SHADOW), ""),
        (
            release(8, Lane.SHADOW),
            release(7),
            "it misses the gate (accuracy 0.85 < 0.9), and #3 proposes version 7, which passes: a shadow waits until "
            "#3 is merged or closed; propose it again then",
        ),
    ],
)
def test_what_passes_goes_first_and_of_two_of_a_kind_the_newer_one(wanted: Release, there: Release, why: str) -> None:
    assert why_it_waits(wanted, there, number=3, missed="accuracy 0.85 < 0.9") == why


def change(section: Section, after: Entry) -> Change:
    return Change("dev", section, "churn", None, after)


def test_what_comes_to_answer_leaves_the_shadow_path_and_another_shadow_stays() -> None:
    listens = Desired(environment="dev", shadow={"churn": entry(8), "fraud": entry(9)})
    assert edits_of(change("models", entry(8)), listens) == [
        Edit("models", "churn", entry(8)),
        Edit("shadow", "churn", None),
    ]
    assert edits_of(change("models", entry(7)), listens) == [Edit("models", "churn", entry(7))]
    assert edits_of(change("shadow", entry(8)), listens) == [Edit("shadow", "churn", entry(8))]


def test_an_open_proposal_sets_what_it_adds_for_the_model_and_taking_out_is_none() -> None:
    main = Desired(environment="dev", models={"churn": entry(1), "fraud": entry(1)}, shadow={"churn": entry(2)})
    there = Desired(environment="dev", models={"churn": entry(2), "fraud": entry(3)})
    found = proposed_for("churn", there, main)
    assert found is not None and (found.section, found.before, found.after) == ("models", entry(1), entry(2))
    assert proposed_for("zeta", there, main) is None
    assert proposed_for("churn", Desired(environment="dev"), main) is None


def test_an_edit_without_an_entry_retires_what_answers_and_says_why() -> None:
    text = "environment: dev\n"
    text = edited(text, [Edit("models", "churn", entry(1)), Edit("shadow", "churn", entry(2))], file="f.yaml")
    assert "version: 1" in text and "version: 2" in text
    text = edited(text, [Edit("models", "churn", None, "nobody asks"), Edit("shadow", "churn", None)], file="f.yaml")
    assert "version:" not in text and 'reason: "nobody asks"' in text
