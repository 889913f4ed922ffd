"""What ``--json`` prints is what its schema in ``docs/schemas/output`` describes, and nothing besides."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bot import output, schemas


def described(text: str) -> dict[str, Any]:
    """Return the document; fail where it is not as its schema says, or has keys that the schema does not name."""
    document: dict[str, Any] = json.loads(text)
    mistakes = [
        f"{error.json_path}: {error.message}" for error in _validator(document["schema"]).iter_errors(document)
    ]
    assert mistakes == [], f"{document['schema']}: {mistakes}"
    return document


@pytest.fixture(autouse=True)
def every_output_is_described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold every document that a command prints in this process to its schema, whatever the test is about."""
    printed: list[str] = []
    as_json = output.as_json

    def kept(*given: Any) -> str:
        printed.append(as_json(*given))
        return printed[-1]

    monkeypatch.setattr(output, "as_json", kept)
    yield
    for text in printed:
        described(text)


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    text = (Path(__file__).parents[1] / "docs/schemas" / schemas.of_output(schema)).read_text()
    closed = _closed(json.loads(text))
    jsonschema.Draft202012Validator.check_schema(closed)
    return jsonschema.Draft202012Validator(closed, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def _closed(schema: Any) -> Any:
    """Return a schema that allows no key that it does not name."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {key: _closed(value) for key, value in schema.items()}
    is_object = schema.get("type") == "object" and isinstance(schema.get("properties"), dict)
    return {"additionalProperties": False, **inside} if is_object else inside
