"""A pull request of several models: what its message takes along, and how far all of it has come."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import pytest

from bot.domain.promotion import Part, Progress, Promotion, Stage, is_about, progress_of_all, thread_of
from bot.domain.release import Lane, Slot
from tests.domain.entries import entry


def several(count: int, *, name: str = "model-{}") -> Promotion:
    parts = (Part("models", name.format(n), n or None, n + 1, entry(n + 1).digest) for n in range(count))
    none = Promotion("dev", 12, "http://github/pull/12", "c" * 40, "models", "", None, None, "", way_back=False)
    return replace(none, parts=tuple(parts))


def test_what_goes_along_with_a_message_is_read_again() -> None:
    shadow = Part("shadow", "fraud", None, 3, entry(3).digest)
    promotion = several(2)
    promotion = (
        Promotion.from_facts(
            {
                **promotion.facts(),
                "parts": "\n".join([*(part.to_text() for part in promotion.parts), shadow.to_text()]),
            }
        )
        or pytest.fail()
    )
    assert promotion.parts == (*several(2).parts, shadow)
    assert Promotion.from_facts(promotion.facts()) == promotion
    assert [(one.model, one.before, one.after, one.slot.lane) for one in promotion.each] == [
        ("model-0", None, 1, Lane.LIVE),
        ("model-1", 1, 2, Lane.LIVE),
        ("fraud", None, 3, Lane.SHADOW),
    ]
    assert Promotion.from_facts({**promotion.facts(), "parts": "nonsense"}) is None


def test_fifty_models_go_along_with_a_message_whatever_their_names() -> None:
    promotion = several(50, name="m" * 61 + "{:02}")
    facts = promotion.facts()
    # What Slack adds: a key, a fingerprint, the stage, whether GitHub is away.
    assert len(json.dumps({**facts, "key": promotion.key, "more": "x" * 200})) < 8_000
    assert Promotion.from_facts(facts) == promotion


def test_of_more_models_than_fit_it_is_known_how_many_there_are() -> None:
    promotion = several(300)
    facts = promotion.facts()
    assert len(json.dumps(facts)) < 8_000
    told = Promotion.from_facts(facts) or pytest.fail()
    assert 50 < len(told.parts) < 300 and len(told.parts) + told.untold == 300
    assert told.parts == promotion.parts[: len(told.parts)]
    assert Promotion.from_facts(told.facts()) == told


def test_a_deployment_of_any_of_its_models_belongs_into_its_thread() -> None:
    promotion = several(3)
    facts = promotion.facts()
    of_one = thread_of(Slot("dev", "model-1", Lane.LIVE), entry(2).digest)
    assert is_about(facts, of_one) and is_about(facts, promotion.thread)
    assert not is_about(facts, thread_of(Slot("dev", "model-1", Lane.LIVE), f"sha256:{'f' * 64}"))
    assert not is_about(facts, thread_of(Slot("dev", "model-1", Lane.SHADOW), entry(2).digest))
    assert not is_about({}, of_one)


@pytest.mark.parametrize(
    ("stages", "all_of_it"),
    [
        (["green", "green"], "green"),
        (["green", "checking"], "checking"),
        (["checking", "red", "green"], "red"),
        (["served", "served"], "served"),
        (["served", "merged"], "merged"),
        (["served", "deploying", "merged"], "deploying"),
        (["served", "held"], "held"),
        (["served", "put back", "held"], "put back"),
        (["served", "left"], "served"),
        (["left", "overtaken"], "left"),
    ],
)
def test_all_of_it_is_as_far_as_what_is_worth_a_look(stages: list[Stage], all_of_it: Stage) -> None:
    assert progress_of_all([Progress(stage) for stage in stages]).stage == all_of_it


@pytest.mark.parametrize("stage", get_args(Stage))
def test_of_one_it_is_its_own(stage: Stage) -> None:
    assert progress_of_all([Progress(stage)]).stage == stage
