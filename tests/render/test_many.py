"""What a reviewer reads of several versions in one pull request."""

from __future__ import annotations

from dataclasses import replace

from bot.domain.gate import GateResult
from bot.render import many
from bot.render.markdown import MAX_CHARACTERS
from tests.render.markdown_reader import HOSTILE, assert_only_our_markup
from tests.render.test_pull_requests import LINKS, change, facts


def test_fifty_models_fit_and_each_gate_stays_whole() -> None:
    several = [facts(change=change(model=f"model-{number}", before=None)) for number in range(50)]
    text = many.body(several, note="")
    assert len(text) <= MAX_CHARACTERS
    assert text.startswith("✅ **50 models pass the gate of dev.**\n\nNext: the checks below, then your review.")
    assert text.count("| ✅ | `accuracy` | 0.95 | 0.94 | +0.01 | ≥ 0.9, at most 0.01 worse |") == 50
    assert all(f"| ✅ | model\\-{number} | – | 8 | passes |" in text for number in range(50))
    assert (
        "Nothing of it is in service yet, so the way back is out of service: `promobot retire MODEL --env dev "
        in text
    )
    assert_only_our_markup(text, comments=1, links=LINKS * 50)


def test_the_way_back_is_one_that_the_verdict_lets_pass() -> None:
    successor, first, shadow = facts(), facts(change=change(model="new", before=None)), change(section="shadow")
    both = many.body([successor, facts()], note="")
    assert "**Revert** below takes all of it back after the merge; `promobot rollback MODEL --env dev` takes" in both
    mixed = many.body([successor, first], note="")
    assert "**Revert** is refused, because 1 of these models have no version in service yet: `promobot ret" in mixed
    assert "`promobot rollback MODEL --env dev` takes one model back" in mixed
    listens = many.body([first, facts(change=replace(shadow, before=None))], note="")
    assert "promobot rollback" not in listens and "**Revert** is refused" in listens


def test_a_part_of_a_bundle_without_a_gate_and_a_promoted_digest_are_said_as_such() -> None:
    part = facts(gate=GateResult((), asks_nothing=True), reason="", promoted_from="dev")
    text = many.body([part, facts(reason="", promoted_from="dev")], note="")
    assert "| a part of a bundle, with the digest that is verified in dev |" in text
    assert "| passes, with the digest that is verified in dev |" in text
    assert "It has no gate of its own: its bundle is judged by the part that users ask." in text
    assert_only_our_markup(text, comments=1, links=LINKS * 2)


def test_a_title_names_as_many_as_fit_and_counts_the_rest() -> None:
    assert many.title([change(model="churn"), change(model="fraud", section="shadow")]) == (
        "Promote 2 models in dev: churn 8, fraud 8 (shadow)"
    )
    long = many.title([change(model=f"model-number-{number}") for number in range(50)])
    assert len(long) <= 120 and long.startswith("Promote 50 models in dev: model-number-0 8, ")
    assert long.endswith(" and 46 more")


def test_what_listens_is_named_and_foreign_text_stays_text() -> None:
    listens = facts(change=change(section="shadow"), reason=HOSTILE[:400], champion_problem=HOSTILE[:400])
    text = many.body([facts(), listens], note="")
    assert text.startswith(
        "✅ **1 model passes the gate of dev.** 👥 **1 would receive copies of requests and answer "
    )
    assert_only_our_markup(text, comments=1, links=LINKS * 2)
