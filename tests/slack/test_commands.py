"""What people type, and what is understood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.render import slack as words
from bot.sandbox.slack.blocks import problems_of_view
from bot.slack import forms
from bot.slack.commands import (
    MANY,
    NAMES,
    Ask,
    Bisect,
    Command,
    Help,
    Known,
    Name,
    Promote,
    Propose,
    ProposeMany,
    RollBack,
    Show,
    ShowHistory,
    ShowShadow,
    Wrong,
    parse,
)

KNOWN = Known({"dev": ("churn", "fraud-eu"), "prod": ("churn",)})


@pytest.mark.parametrize(
    ("name", "text", "meant"),
    [
        ("promote", "churn 7 dev", Propose("churn", 7, "dev")),
        ("promote", "  churn   7  dev ", Propose("churn", 7, "dev")),
        ("promote", "churn dev prod", Promote("churn", "dev", "prod")),
        ("promote", "churn:7 fraud-eu:3 dev", ProposeMany((("churn", 7), ("fraud-eu", 3)), "dev")),
        ("promote", "dev fraud-eu:3 churn:7", ProposeMany((("fraud-eu", 3), ("churn", 7)), "dev")),
        ("promote", "churn:7 dev", Propose("churn", 7, "dev")),
        ("promote", "churn:7", Ask("promote", "churn", 7)),
        ("promote", "churn:7 fraud-eu:3", Ask("promote", versions=(("churn", 7), ("fraud-eu", 3)))),
        ("promote", "", Ask("promote")),
        ("promote", "churn", Ask("promote", "churn")),
        ("promote", "churn 7", Ask("promote", "churn", 7)),
        ("promote", "churn prod", Ask("promote", "churn", None, "prod")),
        ("rollback", "churn prod", RollBack("churn", "prod")),
        ("rollback", "churn prod 6", RollBack("churn", "prod", 6)),
        ("rollback", "churn prod now", RollBack("churn", "prod", None, True)),
        ("rollback", "churn prod 6 NOW", RollBack("churn", "prod", 6, True)),
        ("rollback", "churn prod --now", RollBack("churn", "prod", None, True)),
        ("rollback", "", Ask("rollback")),
        ("rollback", "churn", Ask("rollback", "churn")),
        ("promotions", "", Show()),
        ("promotions", "dev", Show("dev")),
        ("promotions", "dev churn", Show("dev", "churn")),
        ("promotions", "churn dev", Show("dev", "churn")),
        ("promotions", "churn", Show(None, "churn")),
        ("promotions", "history churn", ShowHistory("churn")),
        ("promotions", "shadow churn", ShowShadow("churn")),
        ("bisect", "churn prod inc-1207", Bisect("churn", "prod", "inc-1207")),
        ("bisect", "churn prod inc-1207 ALL", Bisect("churn", "prod", "inc-1207", True)),
        ("bisect", "churn prod all", Bisect("churn", "prod", "all")),
        *((name, word, Help(name)) for name in NAMES for word in ("help", "HELP", "?", "--help")),
    ],
)
def test_it_is_understood(name: Name, text: str, meant: Command) -> None:
    assert parse(name, text, KNOWN) == meant


def test_a_bundle_is_one_name_where_it_goes_from_one_environment_to_the_next() -> None:
    known = Known(KNOWN.models, bundles=frozenset({"scoring"}))
    assert parse("promote", "scoring dev prod", known) == Promote("scoring", "dev", "prod")
    assert isinstance(parse("promote", "scoring 7 dev", known), Wrong), "a bundle has no version"


def test_a_model_that_nobody_named_is_understood_where_a_gate_stands_for_it() -> None:
    open_to = Known({"dev": ("churn",)}, may_be_new=lambda word: word.startswith("fraud-"))
    assert parse("promote", "fraud-eu 3 dev", open_to) == Propose("fraud-eu", 3, "dev")
    assert parse("rollback", "fraud-eu dev", open_to) == RollBack("fraud-eu", "dev")
    assert isinstance(parse("promote", "chrun 3 dev", open_to), Wrong)
    assert isinstance(parse("promotions", "fraud-eu", open_to), Wrong), "there is nothing to show of it"


@pytest.mark.parametrize(
    ("name", "text", "instead"),
    [
        ("promote", "chrun 7 dev", "/promote churn 7 dev"),
        ("promote", "churn 7 dve", "/promote churn 7 dev"),
        ("promote", "churn v7 dev", "/promote churn 7 dev"),
        ("promote", "Churn 7 dev", "/promote churn 7 dev"),
        ("promote", "churn dev prdo", "/promote churn dev prod"),
        ("promote", "chrun:7 fraud-eu:3 dev", "/promote churn:7 fraud-eu:3 dev"),
        ("promote", "churn:7 fraud-eu:v3 dev", "/promote churn:7 fraud-eu:3 dev"),
        ("promote", "churn:7 fraud-eu:3 dve", "/promote churn:7 fraud-eu:3 dev"),
        ("rollback", "fraud_eu dev", "/rollback fraud-eu dev"),
        ("rollback", "churn prodd now", "/rollback churn prod now"),
        ("promotions", "hsitory churn", "/promotions history churn"),
        ("promotions", "history chrun", "/promotions history churn"),
        ("promotions", "shaddow churn", "/promotions shadow churn"),
        ("promotions", "pord churn", "/promotions prod churn"),
        ("bisect", "chrun prod inc-1207 all", "/bisect churn prod inc-1207 all"),
    ],
)
def test_a_wrong_word_gets_the_nearest_right_one(name: Name, text: str, instead: str) -> None:
    found = parse(name, text, KNOWN)
    assert isinstance(found, Wrong) and found.instead == instead
    assert isinstance(
        parse(name, instead.partition(" ")[2], KNOWN),
        Propose | ProposeMany | Promote | RollBack | Show | ShowHistory | ShowShadow | Bisect,
    )


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("promote", "zzz 7 dev", "There is `churn`, `fraud-eu`."),
        ("promote", "churn 7 nowhere", "There is `dev`, `prod`."),
        ("promote", "churn 0 dev", "`0` is not a valid version"),
        ("promote", "churn 99999999999 dev", "is not a valid version"),
        ("promote", "churn dev dev", "both where it comes from"),
        ("promote", "churn 7 dev please", "one word too many"),
        ("promote", "churn:7 fraud-eu:3 dev prod", "`prod` is one word too many"),
        ("promote", "churn:7 churn:8 dev", "`churn` is named twice"),
        ("promote", "churn:0 dev", "`0` is not a valid version"),
        ("promote", "churn: dev", "is not a valid version"),
        ("promote", "zzz:7 dev", "There is `churn`, `fraud-eu`."),
        ("rollback", "churn dev latest", "`latest` is not a valid version"),
        ("promotions", "history", "History of which model?"),
        ("promotions", "shadow", "Shadow of which model?"),
        ("promotions", "dev churn prod", "one word too many"),
        ("bisect", "churn prod", "which case? `/bisect churn prod inc-1207`"),
        ("bisect", "churn prod ../x", "`../x` is not a valid name of a case"),
        ("bisect", "churn prod a b", "one word too many"),
    ],
)
def test_what_is_wrong_is_said(name: Name, text: str, says: str) -> None:
    found = parse(name, text, KNOWN)
    assert isinstance(found, Wrong) and says in found.said, found


@given(st.sampled_from(NAMES), st.text(max_size=300))
def test_whatever_is_typed_is_data(name: Name, text: str) -> None:
    found = parse(name, text, KNOWN)
    if isinstance(found, Wrong):
        said = words.wrong(found.said, found.instead)
        # Nothing that was typed is a mention, a channel or a link.
        assert "<" not in said and ">" not in said.replace("&gt;", "")


@given(st.sampled_from(NAMES), st.lists(st.sampled_from(["<!channel>", "<@U0SAM>", "<http://x|y>", "&", "churn"])))
def test_no_mention_gets_through(name: Name, typed: list[str]) -> None:
    found = parse(name, " ".join(typed), KNOWN)
    if isinstance(found, Wrong):
        assert "<" not in words.wrong(found.said, found.instead)


def test_a_form_says_the_same_as_a_line() -> None:
    values = {"what": "churn/7", "environment": "dev"}
    assert forms.command_of("promote", values) == Propose("churn", 7, "dev")
    assert forms.command_of("promote", {"model": "churn", "version": "8", "environment": "dev"}) == Propose(
        "churn", 8, "dev"
    )
    assert forms.command_of("rollback", {"target": "prod/churn/6", "now": "now"}) == RollBack(
        "churn", "prod", 6, True
    )
    assert forms.command_of("rollback", {"target": "prod/churn/"}) == RollBack("churn", "prod")
    for odd in ({}, {"what": "churn"}, {"what": "churn/x"}, {"version": "٣", "model": "churn"}, {"what": "churn/0"}):
        assert isinstance(forms.command_of("promote", odd), Wrong)


def test_one_command_names_only_so_many_models() -> None:
    open_to = Known({"dev": ()}, may_be_new=lambda _: True)
    named = [f"m-{number}:1" for number in range(MANY + 1)]
    assert isinstance(parse("promote", " ".join([*named[:MANY], "dev"]), open_to), ProposeMany)
    found = parse("promote", " ".join([*named, "dev"]), open_to)
    assert isinstance(found, Wrong) and "These are 51 models, and one command takes 50" in found.said


def test_a_form_for_several_asks_for_the_environment_alone() -> None:
    asked = Ask("promote", versions=(("churn", 7), ("fraud-eu", 3)))
    form = forms.promote(asked, versions={}, environments=["dev", "prod"], channel="C1", known=False)
    assert problems_of_view(form) == []
    text, environment = form["blocks"]
    assert "`churn 7, fraud-eu 3`" in text["text"]["text"] and environment["block_id"] == "environment"
    chosen = {"environment": {"environment": {"selected_option": {"value": "dev"}}}}
    sent = {**form, "state": {"values": chosen}}
    assert forms.channel_of(sent) == "C1"
    assert forms.command_of("promote", forms.values_of(sent)) == ProposeMany(asked.versions, "dev")
    for odd in ("churn", "churn:x dev:1", ":1", "churn:0"):
        assert isinstance(forms.command_of("promote", {"versions": odd, "environment": "dev"}), Wrong)


def test_fifty_long_names_are_too_many_for_a_form_which_says_so() -> None:
    asked = Ask("promote", versions=tuple(("m" * 61 + f"{number:02}", 1) for number in range(MANY)))
    form = forms.promote(asked, versions={}, environments=["dev"], channel="C1", known=True)
    assert problems_of_view(form) == [] and "too many for a form" in str(form["blocks"]) and not form.get("submit")


def test_help_begins_with_what_was_asked_about() -> None:
    for name in NAMES:
        said = words.help_with(name)
        assert said.startswith(f"*/{name}*") and all(f"*/{other}*" in said for other in NAMES)


def test_each_example_of_the_help_is_understood() -> None:
    for name in NAMES:
        for example, _ in words._HELP[name]:
            line = example.partition(" ")[2]
            assert not isinstance(parse(name, line, KNOWN), Wrong), example
