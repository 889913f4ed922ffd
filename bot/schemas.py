"""JSON Schemas, made from the code: ``python -m bot.schemas`` writes them into ``docs/schemas``.

Those of the files that people edit are made from what reads them. An editor that knows them completes keys and marks
mistakes while somebody types. They refuse what the code refuses as far as JSON Schema can say it; that two Tritons
have two names, or that a file is that of its environment, only the code knows. ``promobot validate`` says everything.

Those in ``output`` describe what each command prints with ``--json``, and are made from the types of the results.
Within a version keys may be added, so they allow keys that they do not know.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from bot import commands
from bot.domain.cases import CaseFile
from bot.domain.desired import Desired
from bot.domain.findings_of_others import FindingsOfOthers
from bot.exit_codes import ExitCode
from bot.output import schema_of
from bot.results import Bug, Failure
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
    documents = {
        "promotions.schema.json": promotions,
        "environment.schema.json": _schema(Environment),
        "case.schema.json": _schema(CaseFile),
        "findings.schema.json": _schema(FindingsOfOthers),
        **{_file_of(name): _output(name, commands.load(name).output()) for name in commands.names()},
        _file_of("error"): _output("error", Failure | Bug),
    }
    return {name: json.dumps(document, indent=2) + "\n" for name, document in documents.items()}


def of_output(schema: str) -> str:
    """Return the name of the file that describes documents whose ``schema`` is this."""
    return f"output/{schema.removeprefix('promobot/').replace('/', '.')}.schema.json"


def _file_of(name: str) -> str:
    return of_output(schema_of(name))


class _Printed(GenerateJsonSchema):
    """Of what is printed every field is there, also one that has its default value, but where it is left out."""

    def field_is_required(self, field: Any, *_: object, **__: object) -> bool:
        return "serialization_exclude_if" not in field

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        # JSON has no such numbers.
        return {"anyOf": [super().float_schema(schema), {"enum": ["inf", "-inf", "nan"]}]}


def _bare(schema: Any) -> Any:
    """Return a schema without what says nothing of a document that is printed: defaults, and titles made of names."""
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _bare(of) for name, of in value.items()} if key in ("properties", "$defs") else _bare(value)
        for key, value in schema.items()
        if key not in ("default", "title")
    }


def _output(name: str, of: Any) -> dict[str, Any]:
    """Describe what ``--json`` prints where the result is of this type."""
    adapter: TypeAdapter[Any] = of if isinstance(of, TypeAdapter) else TypeAdapter(of)
    made = _bare(adapter.json_schema(mode="serialization", schema_generator=_Printed))
    defined = made.pop("$defs", {})
    added = {"schema": {"const": schema_of(name)}, "exit_code": {"$ref": "#/$defs/ExitCode"}}
    results = []
    for result in made.get("anyOf", [made]):
        whole = defined[result["$ref"].rpartition("/")[2]] if "$ref" in result else result
        properties = {**added, **whole.get("properties", {})}
        required = [name for name in properties if name in {*added, *whole.get("required", ())}]
        results.append({**whole, "properties": properties, "required": required})
    shape = results[0] if len(results) == 1 else {"anyOf": results}
    defined = _used({**defined, "ExitCode": _bare(TypeAdapter(ExitCode).json_schema())}, shape)
    title = "promobot … --json, where it failed" if name == "error" else f"promobot {name} --json"
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": title, **shape, "$defs": defined}


def _used(defined: dict[str, Any], by: object) -> dict[str, Any]:
    """Return the definitions that are referred to, by this or by each other."""
    left, found = [by], dict[str, Any]()
    while left:
        match left.pop():
            case {"$ref": str(reference)} if (name := reference.rpartition("/")[2]) not in found:
                found[name] = defined[name]
                left.append(defined[name])
            case dict() as mapping:
                left.extend(mapping.values())
            case list() as items:
                left.extend(items)
    return dict(sorted(found.items()))


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **model.model_json_schema(mode="validation", schema_generator=_Strict),
    }


def main() -> None:
    """Write the schemas into ``docs/schemas`` of this checkout."""
    (FOLDER / "output").mkdir(parents=True, exist_ok=True)
    for name, text in generate().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
