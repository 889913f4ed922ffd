"""Taking a model out of service: the mark in the file, what stops by it, and what an absent entry does not do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain import desired
from bot.domain.desired import Desired, Entry, Retirement
from bot.domain.plan import Live, plan
from bot.domain.record import DeploymentRecord
from bot.domain.retirement import is_removal, last_left, spent_by, stops
from bot.domain.routes import Route, RouteTable, Target
from bot.domain.usage import usage_from
from bot.errors import InvalidInput
from tests.domain.entries import HOSTILE_TEXT, NAMES, Written, a_record, entry, files

FILE = "promotions/dev.yaml"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def history(*after: tuple[Entry | None, str]) -> list[DeploymentRecord]:
    """One deployment of churn an hour, each with its reason."""
    return [
        a_record(to, number=hour, at=NOON + timedelta(hours=hour), serving=to, reason=why)
        for hour, (to, why) in enumerate(after, 1)
    ]


def removal(retired: str = "") -> desired.Change:
    return desired.Change("dev", "models", "churn", entry(2), None, retired)


# --- the mark in the file ----------------------------------------------------------------------------------------


def test_a_model_is_retired_in_two_lines_and_proposed_again_without_them() -> None:
    text = "# What dev serves.\nenvironment: dev\nmodels: {}\n\nshadow: {}\n\nretired: {}\n"
    served = desired.with_entry(text, file=FILE, section="models", model="churn", entry=entry(2))
    gone = desired.with_retirement(served, file=FILE, model="churn", reason="replaced by churn-eu")
    assert desired.parse(gone, file=FILE) == Desired(
        environment="dev", retired={"churn": Retirement(reason="replaced by churn-eu")}
    )
    assert gone.endswith('\nretired:\n  churn:\n    reason: "replaced by churn-eu"\n\n')
    again = desired.with_entry(gone, file=FILE, section="models", model="churn", entry=entry(3))
    assert desired.parse(again, file=FILE) == Desired(environment="dev", models={"churn": entry(3)})
    assert again.startswith("# What dev serves.\n")


@settings(max_examples=100)
@given(files(), st.sampled_from(NAMES), st.sampled_from([text for text in HOSTILE_TEXT if text]))
def test_retiring_takes_out_one_entry_and_leaves_all_others(written: Written, model: str, reason: str) -> None:
    there = written.desired
    after = desired.with_retirement(written.text, file=FILE, model=model, reason=reason)
    models = {name: one for name, one in there.models.items() if name != model}
    assert desired.parse(after, file=FILE) == there.model_copy(
        update={"models": models, "retired": {model: Retirement(reason=reason)}}
    )
    assert desired.with_retirement(after, file=FILE, model=model, reason=reason) == after
    back = desired.with_entry(after, file=FILE, section="models", model=model, entry=entry(9))
    assert desired.parse(back, file=FILE).retired == {}


def test_a_shadow_may_stay_where_a_model_is_retired() -> None:
    text = f"environment: dev\nshadow:\n  churn: {{version: 3, digest: {entry(3).digest}, run: run3}}\n"
    after = desired.with_retirement(text, file=FILE, model="churn", reason="no demand")
    assert desired.parse(after, file=FILE).shadow == {"churn": entry(3)}
    again = desired.with_entry(after, file=FILE, section="shadow", model="churn", entry=entry(4))
    assert desired.parse(again, file=FILE).retired["churn"].reason == "no demand"


@pytest.mark.parametrize(
    ("lines", "line", "key", "said"),
    [
        ("retired:\n  churn: {reason: x}\n", 4, "retired.churn", "either answers or is retired"),
        ("retired:\n  fraud: {}\n", 4, "retired.fraud.reason", "missing"),
        ("retired:\n  fraud: {reason: ''}\n", 4, "retired.fraud.reason", "at least 1 character"),
        ("retired:\n  fraud: true\n", 4, "retired.fraud", ""),
        ("retired:\n  fraud: {reason: x, at: now}\n", 4, "retired.fraud.at", "unknown key"),
        ("retired:\n  Fraud: {reason: x}\n", 4, "retired.Fraud", "not a valid model name"),
    ],
)
def test_a_mark_that_is_wrong_is_named_with_line_and_key(lines: str, line: int, key: str, said: str) -> None:
    text = f"environment: dev\nmodels: {{churn: {{version: 2, digest: {entry(2).digest}, run: run2}}}}\n{lines}"
    with pytest.raises(InvalidInput) as failure:
        desired.parse(text, file=FILE)
    assert (failure.value.line, failure.value.key) == (line, key)
    assert said in str(failure.value)


def test_an_old_file_without_the_section_reads_as_before() -> None:
    assert desired.parse("environment: dev\nmodels: {}\nshadow: {}\n", file=FILE) == Desired(environment="dev")
    assert desired.parse("environment: dev\nretired:\n", file=FILE).retired == {}


def test_a_change_carries_the_mark_and_a_mark_alone_is_a_change() -> None:
    served = Desired(environment="dev", models={"churn": entry(2)})
    gone, marked = Desired(environment="dev"), Desired(environment="dev", retired={"churn": Retirement(reason="old")})
    (change,) = desired.changes(served, gone)
    assert (change.after, change.retired) == (None, "")
    assert desired.changes(served, marked) == [removal("old")]
    # The entry went first, and was held; the mark that comes later is what stops the model.
    assert desired.changes(gone, marked) == [desired.Change("dev", "models", "churn", None, None, "old")]
    assert desired.changes(marked, gone) == [desired.Change("dev", "models", "churn", None, None, "")]
    assert desired.changes(marked, served) == [desired.Change("dev", "models", "churn", None, entry(2))]
    assert desired.changes(marked, marked) == []
    assert served.having("shadow", "churn", entry(3)).retired == {}
    assert marked.having("models", "churn", entry(2)).retired == {}


def test_the_plan_says_whether_what_is_live_is_to_leave() -> None:
    table = RouteTable("dev", 4, {"churn": Route(Target("churn", 2, entry(2).digest))})
    live = Live(table, {}, {}, {})
    known = {("churn", 2, entry(2).digest): entry(2)}
    (change,) = plan(Desired(environment="dev"), live, known=known).changes
    assert change == removal() and is_removal(change)
    marked = Desired(environment="dev", retired={"churn": Retirement(reason="old")})
    assert plan(marked, live, known=known).changes == (removal("old"),)


# --- what stops --------------------------------------------------------------------------------------------------


def test_what_answers_now_stops_and_the_file_says_whether_that_is_meant() -> None:
    records = history((entry(1), ""), (entry(2), ""))
    (stop,) = stops([removal()], records)
    assert (stop.answers, stop.since, stop.is_meant) == (entry(2), records[-1], False)
    assert stops([removal("old")], records)[0].is_meant
    assert stops([removal()], []) == [], "what no record tells of answers nobody"


def test_the_end_of_a_shadow_stops_nothing() -> None:
    ends = desired.Change("dev", "shadow", "churn", entry(3), None)
    records = [*history((entry(2), "")), a_record(entry(3), number=2, at=NOON, section="shadow", serving=entry(3))]
    assert not is_removal(ends) and stops([ends], records) == []


def test_what_main_asked_for_and_never_went_into_service_is_not_what_stops() -> None:
    records = [*history((entry(1), "")), a_record(entry(2), number=2, at=NOON, outcome="failed", serving=entry(1))]
    (stop,) = stops([removal("old")], records)
    assert stop.answers == entry(1)


def test_a_mark_counts_once_and_another_reason_is_another_mark() -> None:
    retired = history((entry(2), ""), (None, "old"))
    assert spent_by(retired, removal("old")) is None, "nobody brought it back"
    back = history((entry(2), ""), (None, "old"), (entry(2), ""))
    spent = spent_by(back, removal("old"))
    assert spent is not None and spent.id == back[1].id
    assert spent_by(back, removal("too slow")) is None
    (stop,) = stops([removal("old")], back)
    assert stop.spent == back[1] and not stop.is_meant
    assert last_left(retired) == retired[1] and last_left(back) is None and last_left([]) is None


# --- whether it is used ------------------------------------------------------------------------------------------


def test_tritons_statistics_say_how_often_and_when() -> None:
    stats = {"model_stats": [{"inference_count": 7, "last_inference": 1_800_000_000_000}]}
    found = usage_from(stats, where="gateway g")
    assert (found.requests, found.last, found.where) == (7, datetime.fromtimestamp(1.8e9, UTC), "gateway g")
    nobody = usage_from({"model_stats": [{"inference_count": 0, "last_inference": 0}]}, where="g")
    assert (nobody.requests, nobody.last) == (0, None)
    with pytest.raises(KeyError):
        usage_from({}, where="g")
