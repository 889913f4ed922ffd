"""Pages of docs/reference that are made of the code: settings, promotions, commands, JSON documents, records.

A test of the default run compares them with the code, so a review shows each change of what people rely on.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from bot import cli, commands, schemas
from bot.domain.evidence import CheckResult, Evidence
from bot.domain.origin import Origin
from bot.domain.quarantine import QuarantineEvent
from bot.domain.record import DeploymentRecord
from bot.exit_codes import ExitCode
from bot.records.ledger import OriginNote

FOLDER = "docs/reference"
MADE = "`python -m tests.site` writes this page from the code."
Schema = Mapping[str, Any]


def pages() -> dict[str, str]:
    """Return the text of each page by its path."""
    made: dict[str, Callable[[], str]] = {
        "settings": settings,
        "promotions": promotions,
        "commands": all_commands,
        "json": documents,
        "records": records,
    }
    return {f"{FOLDER}/{name}.md": make() for name, make in made.items()}


# --- a schema as tables --------------------------------------------------------------------------------------------


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _type(schema: Schema) -> str:
    """Return what a value may be, in words; a part with a name as a link to its table."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    for kind in ("anyOf", "oneOf"):
        if kind in schema:
            return " or ".join(dict.fromkeys(_type(one) for one in schema[kind]))
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}))}"
        case "object":
            of = [*schema.get("patternProperties", {}).values()] or [schema.get("additionalProperties")]
            return f"mapping to {_type(of[0])}" if of and isinstance(of[0], Mapping) else "mapping"
        case "null":
            return "nothing"
        case "string" if "format" in schema:
            return {"date-time": "time", "uri": "address", "path": "path"}.get(schema["format"], schema["format"])
        case "string":
            return "text"
        case str(other):
            return other
        case list(several):
            return " or ".join(several)
    return "anything"


def _limits(schema: Schema) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    for one in schema.get("anyOf", ()):
        found += [limits] if (limits := _limits(one)) else []
    return ", ".join(dict.fromkeys(found))


def _default(schema: Schema, *, required: bool) -> str:
    if required:
        return "**required**"
    value = schema.get("default")
    return f"`{json.dumps(value, ensure_ascii=False)}`" if value not in (None, "", {}, []) else "–"


def _table(schema: Schema, *, with_default: bool) -> Iterator[str]:
    yield f"| key | value | {'default | ' * with_default}meaning |"
    yield f"|---|---|{'---|' * with_default}---|"
    needed = set(schema.get("required", ()))
    for key, of in schema["properties"].items():
        limits = _limits(of)
        value = _type(of) + (f", {limits}" if limits else "")
        default = f"{_default(of, required=key in needed)} | " * with_default
        yield f"| `{key}` | {_cell(value)} | {default}{_cell(of.get('description', ''))} |"


def _whole(schema: Schema, *, top: str, with_default: bool = True) -> Iterator[str]:
    yield f"## {top}"
    yield ""
    yield from _table(schema, with_default=with_default)
    for name, part in schema.get("$defs", {}).items():
        yield from ("", f"## {name}", "")
        if part.get("description"):
            yield from (" ".join(part["description"].split()), "")
        if "properties" in part:
            yield from _table(part, with_default=with_default)
        else:
            yield f"{_type(part)}."


def _schema(name: str) -> Schema:
    read: Schema = json.loads(schemas.generate()[name])
    return read


def settings() -> str:
    """Return the page of ``manifests/environments/<env>.yaml``."""
    lines = [
        "# Settings",
        "",
        f"Every key of `manifests/environments/<env>.yaml`. {MADE} A key that is not here is an error, which names "
        "file, line and key. An editor that knows the [JSON Schema](../schemas/environment.schema.json) completes "
        "keys and marks mistakes. No secret stands in this file: a key that ends with `_env` names the variable that "
        "has it.",
        "",
        *_whole(_schema("environment.schema.json"), top="The file"),
    ]
    return "\n".join(lines) + "\n"


def promotions() -> str:
    """Return the page of ``promotions/<env>.yaml`` and ``cases/``."""
    lines = [
        "# Promotions and cases",
        "",
        f"Every key of the files that say what is served and what must hold. {MADE} Schemas for editors: "
        "[promotions](../schemas/promotions.schema.json), [cases](../schemas/case.schema.json), "
        "[findings of others](../schemas/findings.schema.json).",
    ]
    for name, top in (
        ("promotions", "promotions/&lt;env&gt;.yaml"),
        ("case", "cases/&lt;model&gt;/&lt;name&gt;.json"),
        ("findings", "Findings of others"),
    ):
        lines += ["", *_whole(_schema(f"{name}.schema.json"), top=top)]
    return "\n".join(lines) + "\n"


# --- commands ------------------------------------------------------------------------------------------------------

EXIT_CODES = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "refused or failed; the state is as it was, or was put back",
    ExitCode.USAGE: "what was typed is not understood",
    ExitCode.BUG: "a bug in promobot, with a log to report",
    ExitCode.UNCONFIRMED: "everything holds but Slack's message, which waits in an outbox",
    ExitCode.INTERRUPTED: "interrupted",
}
COMMON = ("--help", "--json", "--root", *(f"--log-{name}" for name in ("level", "format")))


def all_commands() -> str:
    """Return the page of every command, its arguments and options, and the exit codes."""
    assert set(EXIT_CODES) == set(ExitCode), "a new exit code needs its words"
    parser = cli.build_parser(commands.names())
    lines = [
        "# Commands",
        "",
        f"Every command of `promobot`, its arguments and options, and what exit codes mean. {MADE} The "
        "[README](../../README.md#the-verbs) has them in the order in which people meet them.",
        "",
        "## Exit codes",
        "",
        "| code | means |",
        "|---|---|",
        *(f"| **{int(code)}** | {EXIT_CODES[code]} |" for code in ExitCode),
        "",
        "## Every command",
        "",
        "| option | |",
        "|---|---|",
        "| `--json` | prints [one JSON document](json.md) on stdout and nothing else |",
        "| `--root DIR` | the checkout to work in; default: here |",
        *(
            f"| `{_invocation(action)}` | {_cell(_help(action))} |"
            for action in parser._actions
            if action.option_strings and not isinstance(action, argparse._SubParsersAction)
        ),
    ]
    (verbs,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name in commands.names():
        lines += ["", *_command(name, verbs.choices[name])]
    return "\n".join(lines) + "\n"


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## promobot {name}"
    yield ""
    yield _cell(parser.description or "")
    actions = [one for one in parser._actions if one.help != argparse.SUPPRESS]
    shown = [one for one in actions if not set(one.option_strings) & set(COMMON)]
    if not shown:
        return
    yield from ("", "| | | |", "|---|---|---|")
    for action in shown:
        yield f"| `{_invocation(action)}` | {_said(action)} | {_cell(_help(action))} |"


def _invocation(action: argparse.Action) -> str:
    value = action.metavar or action.dest.upper()
    value = value if isinstance(value, str) else " ".join(value)
    if action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return value if action.metavar or action.choices else action.dest.upper()
    option = max(action.option_strings, key=len)
    return option if action.nargs == 0 else f"{option} {value}"


def _said(action: argparse.Action) -> str:
    if action.required and action.option_strings:
        return "**required**"
    if not action.option_strings:
        return "" if action.nargs in ("?", "*") else "**required**"
    return ""  # a default stands in the words for it


def _help(action: argparse.Action) -> str:
    text = action.help or ""
    values = {**vars(action), "prog": "promobot"}
    return re.sub(r"%\((\w+)\)s", lambda found: str(values.get(found[1], "")), text).replace("%%", "%")


# --- what is printed and kept --------------------------------------------------------------------------------------


def documents() -> str:
    """Return the page of what ``--json`` prints."""
    lines = [
        "# JSON documents",
        "",
        f"With `--json` each command prints one document on stdout and nothing else. {MADE} Its `schema` names its "
        "form, as `promobot/status/v1`. Within a version keys may be added; none goes or changes its meaning. "
        "`exit_code` is that of the process. Where a command fails, the document is [an error](#an-error).",
        "",
        "| command | schema | keys |",
        "|---|---|---|",
    ]
    made = schemas.generate()
    for name in commands.names():
        file = next(path for path in made if path.startswith(f"output/{name}."))
        link = f"[{file.removeprefix('output/')}](../schemas/{file})"
        lines.append(f"| `{name}` | {link} | {_keys(json.loads(made[file]))} |")
    error = next(path for path in made if path.startswith("output/error."))
    lines += ["", "## An error", ""]
    lines.append(f"[{error.removeprefix('output/')}](../schemas/{error}): {_keys(json.loads(made[error]))}.")
    return "\n".join(lines) + "\n"


def _keys(schema: Schema) -> str:
    shapes = schema.get("anyOf", [schema])
    keys = dict.fromkeys(key for shape in shapes for key in shape.get("properties", {}))
    return ", ".join(f"`{key}`" for key in keys if key not in ("schema", "exit_code"))


KEPT: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("A deployment", "deployments/<env>/<id>.json", DeploymentRecord),
    ("Where it comes from", "origins/<env>/<id>.json", OriginNote),
    ("What a check found", "checks/<env>/pr-<n>/<head>/<run>-<check>.json", CheckResult),
    ("Evidence", "evidence/<env>/<model>/<digest>/<time>.json", Evidence),
    ("A digest in quarantine, or out of it", "quarantine/<env>/<time>-<digest>.json", QuarantineEvent),
)


def records() -> str:
    """Return the page of the documents in the record store."""
    assert Origin.__name__ in OriginNote.model_json_schema()["$defs"]
    lines = [
        "# Records",
        "",
        f"The documents of the record store, each written once and never changed. {MADE} "
        "[Storage](../how-to/storage.md) says where they lie. Later versions of promobot add keys and read what "
        "earlier ones wrote.",
    ]
    for title, key, model in KEPT:
        schema = model.model_json_schema(mode="validation")
        lines += ["", f"## {title}", "", f"`{key}`", ""]
        lines += _table(schema, with_default=False)
        for name, part in schema.get("$defs", {}).items():
            if "properties" in part:
                lines += ["", f"### {name}", "", *_table(part, with_default=False)]
    return "\n".join(_with_anchors(lines)) + "\n"


def _with_anchors(lines: list[str]) -> Iterator[str]:
    """Leave out a part that stands above already."""
    seen: set[str] = set()
    skipping = False
    for line in lines:
        if line.startswith("#"):
            skipping = line.startswith("### ") and line in seen
            seen.add(line)
        if not skipping:
            yield line
