"""Cases that became law: what a file may say, where its mistakes are, and what an answer is worth."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from bot.domain import jsontext
from bot.domain.answers import Hashed
from bot.domain.cases import Case, Keeper, judged_by_record, parse, place_of, refused, wrong_in
from bot.domain.evidence import AskedCase, rules_of
from bot.domain.gate import Gate
from bot.domain.smoke import Tensor
from bot.errors import InvalidInput
from bot.settings import PackageRules
from tests.test_schemas import validator

X: dict[str, Any] = {"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [80, 0.5]}
LABEL: dict[str, Any] = {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}
SURE: dict[str, Any] = {"output": "probabilities", "at": [0, 1], "maximum": 0.4}
GATE = Gate.model_validate({"metrics": {"accuracy": {"minimum": 0.5}}})


def document(**changes: Any) -> dict[str, Any]:
    return {"format": 1, "why": "INC-1: approved", "by": "anna", "inputs": [X], "must": [LABEL], **changes}


def case(**changes: Any) -> Case:
    return parse(json.dumps(document(**changes)), file="cases/churn/a.json", model="churn", name="a")


def answer(label: int = 0, probability: float = 0.3) -> list[Tensor]:
    return [
        Tensor("label", "INT64", (1,), (label,)),
        Tensor("probabilities", "FP32", (1, 2), (1 - probability, probability)),
    ]


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line", "says"),
    [
        ({"must": []}, 1, "demands nothing: it needs must, must_not or bounds"),
        ({"must": [LABEL, LABEL]}, 1, "must has 'label' twice"),
        ({"why": ""}, 3, "why: it needs at least 1 character"),
        ({"because": "x"}, 31, "because: unknown key"),
        ({"inputs": [{**X, "data": [1]}]}, 6, "inputs.0: tensor 'X' has not as many values as its shape [1, 2] says"),
        ({"inputs": [{**X, "datatype": "FP31"}]}, 6, "inputs.0: tensor 'X' has the unknown datatype 'FP31'"),
        ({"must": [], "bounds": [SURE, {"output": "p"}]}, 29, "bounds.1: needs a minimum or a maximum"),
        (
            {"must": [], "bounds": [{**SURE, "minimum": 0.5}]},
            21,
            "bounds.0: nothing is at least 0.5 and at most 0.4",
        ),
        ({"must": [], "bounds": [{**SURE, "maximun": 1}]}, 28, "bounds.0.maximun: unknown key"),
        ({"format": 2}, 2, "format: it must be 1, not 2"),
    ],
)
def test_a_mistake_names_file_line_and_key(changes: dict[str, Any], line: int, says: str) -> None:
    text = json.dumps(document(**changes), indent=1)
    with pytest.raises(InvalidInput) as error:
        parse(text, file="cases/churn/a.json", model="churn", name="a")
    where, _, said = str(error.value).partition(": ")
    assert said == says
    assert where == f"cases/churn/a.json:{line}"
    assert not validator("case").is_valid(document(**changes)) or says.endswith(
        ("twice", "says", "at most 0.4", "maximum")
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "f:1: not JSON: a key in double quotes is missing, at line 1, column 2"),
        ('{"must": [],\n "must": []}', "f: not JSON: the key 'must' stands twice"),
        ("[" * 100_000, "f: not JSON: nested too deeply"),
        ("[]", "f:1: is not a JSON object"),
        (" " * 2**20 + "{}", f"f: has {2**20 + 2} bytes, more than {2**20}"),
    ],
)
def test_what_is_no_case_is_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse(text, file="f", model="churn", name="a")
    assert str(error.value) == says


def test_nested_data_is_read_row_by_row_and_the_schema_allows_it() -> None:
    nested = document(inputs=[{**X, "data": [[80, 0.5]]}], **{"$schema": "../case.schema.json"})
    validator("case").validate(nested)
    assert parse(json.dumps(nested), file="f", model="churn", name="a").fingerprint == case().fingerprint
    with pytest.raises(InvalidInput, match="has not as many values"):
        case(inputs=[{**X, "data": json.loads("[" * 200 + "1" + "]" * 200)}])


def test_a_file_that_nothing_reads_is_a_mistake_and_a_page_of_text_is_none() -> None:
    assert place_of("cases/churn/a.b-1.json") == ("churn", "a.b-1")
    assert place_of("cases/README.md") is None
    for path in ("cases/a.json", "cases/churn/a.yaml", "cases/churn/old/a.json"):
        with pytest.raises(InvalidInput, match=r"is not read: a case is cases/<model>/<name>\.json"):
            place_of(path)
    for path in ("cases/Churn/a.json", "cases/churn/.json", "cases/churn/Ä.json"):
        with pytest.raises(InvalidInput, match="is not a valid"):
            place_of(path)


def test_lines_are_found_in_a_document_as_people_write_it() -> None:
    text = '\n{ "a": {"b\\"c": [1,\n [2, {"d":\n3}]]}, \n"e": "}"}'
    places: list[tuple[tuple[str | int, ...], int]] = [
        ((), 2),
        (("a",), 2),
        (("a", 'b"c', 1), 3),
        (("a", 'b"c', 1, 1, "d"), 3),
        (("e",), 5),
        (("a", "nothing", "else"), 2),
        (("e", 0), 5),
    ]
    assert [jsontext.line_of(text, path) for path, _ in places] == [line for _, line in places]


# --- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "got", "says"),
    [
        ({}, answer(), []),
        ({}, answer(1), ["label[0]: 1 instead of 0 (1 of 1 values differ)"]),
        ({}, answer()[1:], ["label: missing in the answer"]),
        ({"must": [{**LABEL, "datatype": "INT32"}]}, answer(), ["label: INT64[1] instead of INT32[1]"]),
        ({"must": [], "must_not": [LABEL]}, answer(1), []),
        ({"must": [], "must_not": [LABEL]}, answer(), ["label 0: the very answer that it must not get again"]),
        ({"must": [], "must_not": [LABEL]}, answer()[1:], ["label: missing in the answer"]),
        (
            {"must": [], "must_not": [{**LABEL, "shape": [1, 1]}]},
            answer(1),
            ["label: INT64[1] instead of INT64[1, 1]"],
        ),
        ({"must": [], "bounds": [SURE]}, answer(), []),
        ({"must": [], "bounds": [SURE]}, answer(0, 0.5), ["probabilities[1]: 0.5, and must be ≤ 0.4"]),
        ({"must": [], "bounds": [SURE]}, answer(0, math.nan), ["probabilities[1]: nan, and must be ≤ 0.4"]),
        (
            {"must": [], "bounds": [{"output": "probabilities", "minimum": 0.4}]},
            answer(0, 0.3),
            ["probabilities[1]: 0.3, and must be ≥ 0.4"],
        ),
        (
            {"must": [], "bounds": [{**SURE, "at": [1, 0]}]},
            answer(),
            ["probabilities: has no value at [1, 0]; its shape is [1, 2]"],
        ),
        ({"must": [], "bounds": [{"output": "p", "minimum": 0}]}, answer(), ["p: missing in the answer"]),
    ],
)
def test_what_an_answer_is_worth(changes: dict[str, Any], got: list[Tensor], says: list[str]) -> None:
    assert wrong_in(case(**changes), got) == says


def test_an_answer_must_have_all_that_is_forbidden_together() -> None:
    both = case(
        must=[], must_not=[LABEL, {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.7, 0.3]}]
    )
    assert wrong_in(both, answer(0, 0.31)) == []
    assert wrong_in(both, answer(0, 0.3)) == [
        "label 0, probabilities 0.7, 0.3: the very answer that it must not get again"
    ]


def test_an_empty_output_is_within_no_bounds() -> None:
    empty = [Tensor("probabilities", "FP32", (0, 2), ())]
    assert wrong_in(case(must=[], bounds=[{"output": "probabilities", "maximum": 1}]), empty) == [
        "probabilities: has no values"
    ]


# --- what changed since --------------------------------------------------------------------------------------------


def test_who_added_it_and_why_change_no_fingerprint_and_every_demand_does() -> None:
    assert case(why="another", by="ben").fingerprint == case().fingerprint
    others = [case(must=[{**LABEL, "data": [1]}]), case(bounds=[SURE]), case(tolerance={"relative": 0.0})]
    assert len({one.fingerprint for one in (case(), *others)}) == 4
    assert len({one.request for one in (case(), *others)}) == 2, "bounds ask for another output"


def test_rules_have_the_fingerprint_of_before_where_there_is_no_case() -> None:
    rules = PackageRules()
    assert rules_of(GATE, rules, ()) == rules_of(GATE, rules)
    assert rules_of(GATE, rules, [case().fingerprint]) != rules_of(GATE, rules)
    assert rules_of(GATE, rules, ["b", "a"]) == rules_of(GATE, rules, ["a", "b"])


def test_a_recorded_answer_is_judged_by_what_is_law_today() -> None:
    asked = [Keeper().asked(case(), answer()[:1])]
    assert asked[0].wrong == ""
    kept = [AskedCase.model_validate_json(one.model_dump_json()) for one in asked]
    stricter = case(must=[{**LABEL, "data": [1]}])
    judged, unasked = judged_by_record([stricter, case(bounds=[SURE])], kept)
    assert judged == [(stricter, ["label[0]: 0 instead of 1 (1 of 1 values differ)"])]
    assert [one.file.bounds for one in unasked] == [case(bounds=[SURE]).file.bounds]
    assert judged_by_record([case()], kept) == ([(case(), [])], [])


def test_what_staging_refused_stays_wrong_for_the_same_case_and_tells_nothing_of_another() -> None:
    same, other = case(), case(must=[{**LABEL, "data": [1]}])
    judged, unasked = judged_by_record([same, other], [refused(same, "not answered: no such input")])
    assert judged == [(same, ["not answered: no such input"])] and unasked == [other]


def test_of_a_large_answer_the_evidence_keeps_a_hash_and_the_verdict_of_the_same_case() -> None:
    shape = (1, 2000)
    large = case(must=[], bounds=[{"output": "p", "maximum": 1}])
    kept = Keeper().asked(large, [Tensor("p", "FP32", shape, (0.5,) * 2000)])
    assert isinstance(kept.outputs[0], Hashed) and not kept.wrong
    assert judged_by_record([large], [kept]) == ([(large, [])], [])
    other = case(must=[], bounds=[{"output": "p", "maximum": 0.4}])
    assert judged_by_record([other], [kept]) == ([], [other])
