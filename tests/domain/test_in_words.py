"""What libraries find wrong with a file is said in words that its writer knows, with the line and the key."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from bot import settings
from bot.domain import in_words, jsontext, yamltext
from bot.domain.desired import Desired
from bot.domain.way_back import WayBack
from bot.errors import InvalidInput
from tests.domain.entries import entry

PROJECT = Path(__file__).parents[2]
FILE = "promotions/dev.yaml"
CHURN = "environment: dev\nmodels:\n  churn:\n    version: 1\n"


@pytest.mark.parametrize("reader", ["libyaml", "PyYAML"])
@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        (
            f"{CHURN}<<<<<<< HEAD\n    run: a\n=======\n    run: b\n>>>>>>> theirs\n",
            *(5, "models.churn.version", "a merge was not finished: the line begins with <<<<<<<"),
        ),
        (f"{CHURN}    run: a: b\n", 5, "models.churn.run", "a second “: ” in one line"),
        (
            f"{CHURN}      run: a\n",
            5,
            "models.churn.version.run",
            "it is indented deeper than line 4, which has a value",
        ),
        (f"{CHURN}   run: a\n", 5, "models.churn.run", "it is indented otherwise than the lines around it"),
        (f"{CHURN}    run\n    digest: x\n", 5, "models.churn.version", "there is no “: ” behind the key"),
        (
            "environment: dev\nmodels:\n  churn:\n    version:1\n    run: a\n",
            *(4, "models.churn", "there is no “: ” behind the key"),
        ),
        (f"{CHURN}\trun: a\n", 5, "models.churn.version", "a tab; indent with spaces"),
        (f"{CHURN}    run: 'a\n    digest: x\n", 5, "models.churn.run", "a quotation mark is not closed"),
        (f'{CHURN}    run: "a\n    digest: x\n', 5, "models.churn.run", "a quotation mark is not closed"),
        (f"{CHURN}    run: 'a' b\n", 5, "models.churn.run", "there is text behind the closing quotation mark"),
        (
            "environment: dev\nmodels:\n  churn: {version: 1\nshadow: {}\n",
            3,
            "models.churn",
            "a comma is missing, or a",
        ),
        (
            "environment: dev\nmodels: {a: {version: 1 run: x}}\n",
            2,
            "models",
            "a comma is missing, or a bracket is not",
        ),
        ("environment: dev\nmodels: [a\nshadow: {}\n", 2, "models", "a comma is missing, or a bracket is not closed"),
        ("environment: dev\nmodels: {}}\n", 2, "models", "a bracket is closed that was not opened"),
        (f"{CHURN}    run: @a\n", 5, "models.churn.run", "a text that begins with “@” needs quotation marks"),
        (f"{CHURN}    run: * a\n", 5, "models.churn.run", "a text that begins with “*” needs quotation marks"),
        (f'{CHURN}    run: "a\\qb"\n', 5, "models.churn.run", "a backslash in double quotes means nothing here"),
        (f"{CHURN}  - fraud\n", 5, "models.churn.version", "“- ” begins a list where none may be"),
        ("environment: - a\n", 1, "environment", "“- ” begins a list where none may be"),
        ("environment: dev\n... x\n", 2, "environment", "there is text behind “...”, the end of the document"),
        ("environment: dev\nmodels: |x\n", 2, "models", "it cannot be read from here on"),
        ("environment: dev\nmodels: {\n", 2, "models", "a value is missing, or a bracket is not closed"),
    ],
)
def test_a_text_that_is_not_yaml(
    reader: str, text: str, line: int, key: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reader == "PyYAML":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    with pytest.raises(InvalidInput) as error:
        yamltext.read(text, file=FILE)
    assert (error.value.line, error.value.key) == (line, key)
    assert error.value.problem.startswith(f"not YAML: {says}")


WRONG: tuple[Any, ...] = (None, True, 7, -1, 0, 1.5, 10**12, "", "x", "#x", [], ["x"], [7], {}, {"x": 1}, "x" * 9999)
THEIRS = ("Input", "should", "be a valid ", "Field ", "Extra ", "Value error", "Assertion", "ensure", "belongs here")


def _paths(document: Any) -> Iterator[tuple[Any, ...]]:
    steps = document.items() if isinstance(document, dict) else enumerate(document)
    for step, inner in steps:
        yield (step,)
        if isinstance(inner, dict | list):
            yield from ((step, *path) for path in _paths(inner))


def _changed(document: Any, path: tuple[Any, ...], wrong: Any) -> Any:
    changed = copy.deepcopy(document)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = wrong
    return changed


def test_no_value_of_a_file_is_answered_in_pydantics_words() -> None:
    environment = yaml.safe_load((PROJECT / "manifests/environments/dev.yaml").read_text()) | {
        "freezes": [{"start": "2026-12-24T00:00:00+01:00", "end": "2026-12-27T00:00:00+01:00", "reason": "x"}],
        "deadlines": {"load_seconds": 5},
        "keep": {"versions": 3},
        "records": {"s3": {"bucket": "mlops", "object_lock": {"days": 3, "mode": "governance"}}},
    }
    good = Desired(environment="dev", models={"churn": entry(1)}).model_dump()
    seen = 0
    for model, document in ((settings.Environment, environment), (Desired, good)):
        for path in _paths(document):
            for wrong in WRONG:
                try:
                    model.model_validate(_changed(document, path, wrong))
                except ValidationError as error:
                    for detail in error.errors(include_url=False):
                        said = in_words.of_pydantic(detail)
                        assert not any(word in said.replace(str(wrong), "") for word in THEIRS), (path, detail)
                        seen += 1
    assert seen > 500


def test_a_key_that_is_misspelt_is_one_mistake_and_the_right_one_is_named() -> None:
    text = f"{CHURN}    run: a\n    digest: {entry(1).digest}\n".replace("version", "vresion").replace("run", "rnu")
    with pytest.raises(InvalidInput) as error:
        yamltext.validate(yamltext.read(text, file=FILE), Desired, file=FILE)
    assert [str(mistake) for mistake in error.value.mistakes] == [
        f"{FILE}:4: models.churn.vresion: unknown key; did you mean version?",
        f"{FILE}:5: models.churn.rnu: unknown key; did you mean run?",
    ]
    alone = f"{CHURN}    run: a\n    digest: {entry(1).digest}\n    alias: x\n"
    with pytest.raises(InvalidInput, match=r"models\.churn\.alias: unknown key$"):
        yamltext.validate(yamltext.read(alone, file=FILE), Desired, file=FILE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "it is no JSON, at line 1, column 1"),
        ("{}", "environment: is missing"),
        ('{"environment": 7}', "environment: it needs a text, not 7"),
    ],
)
def test_a_record_that_is_not_readable(text: str, says: str) -> None:
    with pytest.raises(ValidationError) as error:
        WayBack.model_validate_json(text)
    assert in_words.of_record(error.value.errors()) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a value is missing, at line 1, column 1"),
        ('{"a": 1,\n"b" 2}', "a colon is missing, at line 2, column 5"),
        ('{"a": 1 "b": 2}', "a comma is missing, at line 1, column 9"),
        ("{a: 1}", "a key in double quotes is missing, at line 1, column 2"),
        ("{} x", "there is text behind the end, at line 1, column 4"),
        ('"a', "a text is not closed, at line 1, column 1"),
        ('"\\q"', "a backslash means nothing here, at line 1, column 2"),
        ('"\n"', "a text holds a control character, at line 1, column 2"),
        (b"\xff", "it is not text in UTF-8, at byte 0"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_text_that_is_no_json(text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(says)}$"):
        jsontext.read(text)
