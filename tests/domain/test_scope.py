"""What a branch of the bot may change, to the byte."""

from __future__ import annotations

import pytest

from bot.domain import desired
from bot.domain.desired import Change, Entry
from bot.domain.release import Slot
from bot.domain.scope import (
    Scope,
    asks_for,
    asks_for_release,
    beside,
    fingerprint,
    many_branch,
    proposal_branch,
    retire_branch,
    revert_branch,
    scope_of,
)
from tests.domain.entries import entry

FILE = "promotions/dev.yaml"
MAIN = (
    "# What dev serves.\nenvironment: dev\nmodels:\n  churn:\n    version: 1\n"
    f"    digest: {entry(1).digest}\n    run: {entry(1).run}\n\nshadow: {{}}\n"
)
PROPOSAL, BACK, BACK_SHADOW, RETIREMENT = (
    scope_of(branch) or pytest.fail(branch)
    for branch in (
        proposal_branch("dev", "churn"),
        revert_branch(Slot.of("dev", "churn", "models")),
        revert_branch(Slot.of("dev", "churn", "shadow")),
        retire_branch("dev", "churn"),
    )
)


def edited(text: str, model: str, new: Entry | None, section: desired.Section = "models") -> str:
    return desired.with_entry(text, file=FILE, section=section, model=model, entry=new)


def retired(text: str, model: str = "churn") -> str:
    return desired.with_retirement(text, file=FILE, model=model, reason="nobody asks")


SHADOWED = edited(MAIN, "churn", entry(2).model_copy(update={"reason": "accuracy"}), "shadow")


@pytest.mark.parametrize(
    ("branch", "scope"),
    [
        ("promobot/dev/churn", Scope("dev", "churn", ("models", "shadow"), kind="proposal")),
        ("promobot-revert/dev/churn", Scope("dev", "churn", ("models",), kind="way back")),
        ("promobot-revert/dev/churn-shadow", Scope("dev", "churn", ("shadow",), kind="way back")),
        ("promobot-retire/dev/churn", Scope("dev", "churn", ("models",), kind="retirement")),
        ("promobot-many/dev/0a1b", Scope("dev", "", ("models", "shadow"), kind="proposal", is_many=True)),
        ("promobot/dev/churn/more", Scope("dev", "churn/more", ("models", "shadow"), kind="proposal")),
        ("promobot/dev/", Scope("dev", "", ("models", "shadow"), kind="proposal")),
        ("promobot/dev", None),
        ("promobot", None),
        ("promobot-fix/dev/churn", None),
        ("feature/promobot/dev/churn", None),
    ],
)
def test_a_branch_is_the_bots_by_its_name(branch: str, scope: Scope | None) -> None:
    assert scope_of(branch) == scope


@pytest.mark.parametrize(
    ("scope", "before", "after"),
    [
        (PROPOSAL, MAIN, edited(MAIN, "churn", entry(2))),
        (PROPOSAL, None, edited("environment: dev\n", "churn", entry(2))),
        (PROPOSAL, MAIN, edited(MAIN, "churn", entry(2), "shadow")),
        (PROPOSAL, SHADOWED, edited(edited(SHADOWED, "churn", entry(2)), "churn", None, "shadow")),
        (BACK, MAIN, edited(MAIN, "churn", entry(7))),
        (BACK, MAIN, retired(MAIN)),
        (BACK, retired(MAIN), edited(retired(MAIN), "churn", entry(1))),
        (RETIREMENT, MAIN, retired(MAIN)),
        (PROPOSAL, retired(MAIN), edited(retired(MAIN), "churn", entry(2))),
        (BACK_SHADOW, SHADOWED, edited(SHADOWED, "churn", None, "shadow")),
        (PROPOSAL, MAIN, MAIN),
        (PROPOSAL, None, None),
    ],
)
def test_what_the_bot_writes_is_within_its_scope(scope: Scope, before: str | None, after: str | None) -> None:
    assert beside(scope, [FILE], before, after) == []


GOOD = edited(MAIN, "churn", entry(2))


@pytest.mark.parametrize(
    ("scope", "paths", "before", "after", "found"),
    [
        (PROPOSAL, ["pyproject.toml", FILE], MAIN, GOOD, ["pyproject.toml"]),
        (PROPOSAL, [FILE, "promotions/prod.yaml"], MAIN, GOOD, ["promotions/prod.yaml"]),
        (PROPOSAL, [FILE], MAIN, edited(GOOD, "fraud", entry(1)), [f"models.fraud in {FILE}"]),
        (PROPOSAL, [FILE], MAIN, edited(MAIN, "fraud", entry(1)), [f"models.fraud in {FILE}"]),
        (PROPOSAL, [FILE], MAIN, edited(MAIN, "churn", None), [f"models.churn in {FILE}"]),
        (PROPOSAL, [FILE], MAIN, None, [f"models.churn in {FILE}"]),
        (PROPOSAL, [FILE], MAIN, retired(MAIN), [f"models.churn in {FILE}"]),
        (RETIREMENT, [FILE], MAIN, GOOD, [f"models.churn in {FILE}"]),
        (RETIREMENT, [FILE], MAIN, edited(MAIN, "churn", None), [f"models.churn in {FILE}"]),
        (RETIREMENT, [FILE], MAIN, retired(retired(MAIN), "fraud"), [f"models.fraud in {FILE}"]),
        # Two versions at once; a shadow that goes although another version comes to answer.
        (
            PROPOSAL,
            [FILE],
            MAIN,
            edited(GOOD, "churn", entry(3), "shadow"),
            [f"models.churn in {FILE}", f"shadow.churn in {FILE}"],
        ),
        (
            PROPOSAL,
            [FILE],
            SHADOWED,
            edited(edited(SHADOWED, "churn", entry(3)), "churn", None, "shadow"),
            [f"shadow.churn in {FILE}"],
        ),
        (BACK, [FILE], SHADOWED, edited(SHADOWED, "churn", None, "shadow"), [f"shadow.churn in {FILE}"]),
        (BACK_SHADOW, [FILE], SHADOWED, edited(SHADOWED, "churn", entry(3)), [f"models.churn in {FILE}"]),
        # To the byte.
        (PROPOSAL, [FILE], MAIN, GOOD + "# reviewed\n", [f"lines of {FILE} besides the entry"]),
        (PROPOSAL, [FILE], MAIN, GOOD.replace("\n\n", "\n \n"), [f"lines of {FILE} besides the entry"]),
        (PROPOSAL, [FILE], MAIN, GOOD.replace("# What dev serves.", "# Nothing."), [f"lines of {FILE} besides"]),
        (PROPOSAL, [FILE], MAIN, MAIN + "# reviewed\n", [f"lines of {FILE} besides the entry"]),
        (PROPOSAL, [FILE], None, "environment: dev\n", [f"lines of {FILE} besides the entry"]),
    ],
)
def test_what_it_does_not_propose_is_named(
    scope: Scope, paths: list[str], before: str | None, after: str | None, found: list[str]
) -> None:
    said = beside(scope, paths, before, after)
    assert len(said) == len(found)
    assert all(one.startswith(expected) for one, expected in zip(said, found, strict=True)), said


def test_a_fingerprint_is_what_main_would_say_and_not_what_it_said() -> None:
    change = Change("dev", "models", "churn", entry(1), entry(2))
    shadow = Change("dev", "shadow", "churn", entry(2), None)
    same = Change("dev", "models", "churn", None, entry(2))
    assert fingerprint([change, shadow]) == fingerprint([shadow, same])
    others = [
        [change],
        [Change("prod", "models", "churn", entry(1), entry(2)), shadow],
        [Change("dev", "models", "churn", entry(1), entry(3)), shadow],
        [Change("dev", "models", "fraud", entry(1), entry(2)), shadow],
        [Change("dev", "models", "churn", entry(1), entry(2).model_copy(update={"run": "other"})), shadow],
    ]
    assert len({fingerprint(one) for one in [*others, [change, shadow]]}) == 6


def test_a_branch_of_several_may_change_an_entry_of_each_and_no_word_more() -> None:
    branch = many_branch("dev", ["fraud", "churn"])
    assert branch == many_branch("dev", ["churn", "fraud"]) != many_branch("dev", ["churn"])
    scope = scope_of(branch) or pytest.fail(branch)
    reason = entry(3).model_copy(update={"reason": "accuracy"})
    text = edited(edited(edited(MAIN, "churn", entry(2)), "fraud", entry(5)), "price", reason, "shadow")
    assert beside(scope, [FILE], MAIN, text) == []
    assert beside(scope, [FILE, "bot/cli.py"], MAIN, text) == ["bot/cli.py"]
    assert beside(scope, [FILE], MAIN, text + "# more\n") == [f"lines of {FILE} besides the entry"]
    assert beside(scope, [FILE], MAIN, edited(text, "churn", None)) != []
    assert beside(scope, [FILE], MAIN, edited(text, "churn", reason, "shadow")) != [], "one entry of a model"
    assert beside(scope, [FILE], text, retired(text)) != [], "nothing leaves service on it"
    assert asks_for(branch, Slot.of("dev", "fraud", "models"))
    assert not asks_for(branch, Slot.of("prod", "fraud", "models"))
    assert asks_for(f"revert-12-{branch}", Slot.of("dev", "fraud", "models"))
    assert asks_for_release(branch, "dev") and not asks_for_release(branch, "prod")
    assert not asks_for_release("promobot-retire/dev/churn", "dev")
