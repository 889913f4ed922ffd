"""JSON Schemas of the files that people edit, made from the code that reads them: ``python -m bot.schemas``.

An editor that knows them completes keys and marks mistakes while somebody types. They refuse what the code refuses
as far as JSON Schema can say it; that two Tritons have two names, or that a file is that of its environment, only
the code knows. ``promobot validate`` says everything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from bot.domain.desired import Desired
from bot.settings import Environment

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"


class _Strict(GenerateJsonSchema):
    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        generated = super().dict_schema(schema)
        if "patternProperties" in generated:
            # Without this, a key that matches no pattern would be allowed with any value.
            generated["additionalProperties"] = False
        return generated


def generate() -> dict[str, str]:
    """Return the text of each schema by the name of its file."""
    promotions = _schema(Desired)
    # Only a shadow has a reason; both sections are made of the same entries.
    without_reason = {"properties": {"reason": {"const": ""}}}
    for kind in promotions["properties"]["models"]["anyOf"]:
        for pattern, entry in kind.get("patternProperties", {}).items():
            kind["patternProperties"][pattern] = {"allOf": [entry, without_reason]}
    documents = {"promotions.schema.json": promotions, "environment.schema.json": _schema(Environment)}
    return {name: json.dumps(document, indent=2) + "\n" for name, document in documents.items()}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **model.model_json_schema(mode="validation", schema_generator=_Strict),
    }


def main() -> None:
    """Write the schemas into ``docs/schemas`` of this checkout."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in generate().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
