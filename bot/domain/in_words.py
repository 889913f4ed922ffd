"""Mistakes that PyYAML, Pydantic and protobuf find in a document, in the bot's words.

Their own messages speak of tokens, types and flow nodes to the author of a program. The author of the file needs to
know which line is wrong and what belongs there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bot.domain.nearest import nearest

if TYPE_CHECKING:
    import yaml

MOST_LEVELS = 12
_MARKERS = ("<<<<<<< ", "=======", ">>>>>>> ")
_KEY = re.compile(r"( *)(?:- +)*['\"]?([A-Za-z0-9_.-]{1,63})['\"]? *:(?:\s|$)")
_PLACE = re.compile(r" at line (\d+) column (\d+)")

# --- YAML ----------------------------------------------------------------------------------------------------------


def of_yaml(error: yaml.YAMLError, text: str) -> tuple[str, int | None]:
    """Return what is wrong with a text that is not YAML, and in which line, from 1; None where that is not known.

    libyaml and PyYAML word the same differently, and often name a line behind the mistake. So the lines decide,
    and the message only says where to look.
    """
    lines = text.split("\n")
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "")
    # Where the text ends too early, libyaml names a line behind it.
    last = len(text.rstrip("\n").split("\n"))
    at = _line_of(getattr(error, "problem_mark", None), last)
    began = _line_of(getattr(error, "context_mark", None), last)
    if at is None:
        return "a character that YAML does not know", None
    for number, line in enumerate(lines, start=1):
        if line.startswith(_MARKERS) and number <= at:
            return f"a merge was not finished: the line begins with {line.split()[0]}", number
    here = lines[at - 1]
    before = next((number for number in range(at - 1, 0, -1) if _says_something(lines[number - 1])), None)
    if "\t" in here[: len(here) - len(here.lstrip())]:
        return "a tab; indent with spaces", at
    if "mapping values" in problem:
        return _stray_colon(lines, at, before)
    if "expected ':'" in problem:
        return "there is no “: ” behind the key", began or at
    if "cannot start any token" in problem:
        return _wants_quotes(here), at
    if "end of stream" in problem:
        return "a quotation mark is not closed", began or at
    if "node content" in problem:
        return "a value is missing, or a bracket is not closed", at
    if "',' or" in problem:
        return "a comma is missing, or a bracket is not closed", began or at
    if "escape" in problem:
        return "a backslash in double quotes means nothing here; write two, or put the text in single quotes", at
    if "alphabetic or numeric" in problem:
        return _wants_quotes(here), at
    if "document start" in problem:
        return "there is text behind “...”, the end of the document", at
    if "sequence entries" in problem or here.lstrip().startswith("- "):
        return "“- ” begins a list where none may be", at
    if "expected key" in problem or "block end" in problem:
        return _stray_line(here), at
    return "it cannot be read from here on", at


def key_near(text: str, line: int) -> str:
    """Return the keys that lead to a line, joined by dots, as far as its indentation tells; for a text that is none.

    Empty where nothing above it looks like a key.
    """
    path: list[str] = []
    indent = None
    for above in reversed(text.split("\n")[:line]):
        found = _KEY.match(above)
        if found and (indent is None or len(found[1]) < indent):
            path.insert(0, found[2])
            indent = len(found[1])
        if indent == 0 or len(path) == MOST_LEVELS:
            break
    return ".".join(path)


def _line_of(mark: Any, last: int) -> int | None:
    return None if mark is None else min(int(mark.line) + 1, last)


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _has_value(line: str) -> bool:
    """Whether something stands behind the key, so that no keys may follow below it."""
    behind = line.partition(":")[2].strip()
    return bool(behind) and not behind.startswith(("#", "|", ">"))


def _stray_colon(lines: list[str], at: int, before: int | None) -> tuple[str, int]:
    here = lines[at - 1]
    if before is not None and not _KEY.match(lines[before - 1]) and not lines[before - 1].lstrip().startswith("- "):
        return "there is no “: ” behind the key", before
    if before is not None and _indent(here) > _indent(lines[before - 1]) and _has_value(lines[before - 1]):
        return f"it is indented deeper than line {before}, which has a value already", at
    return "a second “: ” in one line; put quotation marks around a text that holds one", at


def _wants_quotes(here: str) -> str:
    value = here.partition(":")[2].strip() or here.strip()
    begins = f"“{value[0]}”" if value and value[0].isprintable() else "this character"
    return f"a text that begins with {begins} needs quotation marks"


def _stray_line(here: str) -> str:
    value = here.partition(":")[2].strip()
    if value[:1] in ("'", '"'):
        return "there is text behind the closing quotation mark"
    if value.count("}") > value.count("{") or value.count("]") > value.count("["):
        return "a bracket is closed that was not opened"
    return "it is indented otherwise than the lines around it"


# --- Pydantic ------------------------------------------------------------------------------------------------------

A_TIME = "a time with its zone, as 2026-12-24T18:00:00+01:00"
_NEEDS = {
    "string": "it needs a text",
    "int": "it needs a whole number",
    "float": "it needs a number",
    "bool": "it needs true or false",
    "dict": "it needs keys of its own, each with a value",
    "mapping": "it needs keys of its own, each with a value",
    "model": "it needs keys of its own, each with a value",
    "list": "it needs a list",
    "tuple": "it needs a list",
    "date": "it needs a day, as 2026-12-24",
    "datetime": f"it needs {A_TIME}",
    "timezone": f"it needs {A_TIME}",
    "bytes": "it needs a text",
}
"""By the beginning of the type of an error, up to its first ``_``."""
_BOUNDS = {
    "greater_than": ("gt", "it must be more than {}"),
    "greater_than_equal": ("ge", "it must be at least {}"),
    "less_than": ("lt", "it must be less than {}"),
    "less_than_equal": ("le", "it must be at most {}"),
    "multiple_of": ("multiple_of", "it must be a multiple of {}"),
    "string_pattern_mismatch": ("pattern", "it must match {}"),
    "literal_error": ("expected", "it must be {}"),
    "enum": ("expected", "it must be {}"),
}
_COUNTS = {
    "string_too_short": ("min_length", "at least", "character"),
    "string_too_long": ("max_length", "at most", "character"),
    "too_short": ("min_length", "at least", "entry"),
    "too_long": ("max_length", "at most", "entry"),
}


def misspelt_once(details: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return Pydantic's details with each key that is missing and stands beside it misspelt as one mistake."""
    found = list(details)
    kept: list[Mapping[str, Any]] = []
    for detail in found:
        *around, key = detail["loc"] or ("",)
        if detail["type"] == "extra_forbidden":
            missing = [d["loc"][-1] for d in found if d["type"] == "missing" and list(d["loc"][:-1]) == around]
            if meant := nearest(str(key), missing):
                found = [d for d in found if (d["type"], d["loc"]) != ("missing", (*around, meant))]
                detail = {"type": "misspelt", "loc": detail["loc"], "ctx": {"meant": meant}}
        kept.append(detail)
    return [detail for detail in kept if detail["type"] != "missing" or detail in found]


def of_pydantic(detail: Mapping[str, Any]) -> str:
    """Return one of the details of Pydantic's ValidationError in one sentence without a full stop."""
    kind, context = str(detail["type"]), detail.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return "unknown key"
        case "misspelt":
            return f"unknown key; did you mean {context['meant']}?"
        case "missing":
            return "is missing"
        case "value_error":
            return str(context["error"])  # raised by a check of ours
        case "json_invalid":
            place = _PLACE.search(str(context.get("error", "")))
            return f"it is no JSON, at line {place[1]}, column {place[2]}" if place else "it is no JSON"
        case "finite_number":
            return f"it needs a finite number, not {value(detail['input'])}"
    if kind in _BOUNDS:
        name, says = _BOUNDS[kind]
        return f"{says.format(context[name])}, not {value(detail['input'])}"
    if kind in _COUNTS:
        name, bound, what = _COUNTS[kind]
        count = context[name]
        plural = f"{what}s" if what == "character" else "entries"
        return f"it needs {bound} {count} {what if count == 1 else plural}"
    needs = _NEEDS.get(kind.partition("_")[0], "something else belongs here")
    return f"{needs}, not {value(detail['input'])}"


def of_record(details: Sequence[Mapping[str, Any]]) -> str:
    """Return the first of Pydantic's details of a document that a program wrote, with the key."""
    key = ".".join(str(step) for step in details[0]["loc"])
    return f"{key}: {of_pydantic(details[0])}" if key else of_pydantic(details[0])


def value(given: object) -> str:
    """Return a value of a file as its writer knows it, short."""
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, Mapping):
        return "keys" if given else "{}"
    if isinstance(given, list | tuple):
        return "a list" if given else "[]"
    return f"{given!r:.60}"


# --- protobuf's text format, as config.pbtxt has it --------------------------------------------------------------

_AT = re.compile(r"(\d+):\d+ : (?:'.*': )?(.*)", re.DOTALL)
_NO_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "([^"]*)"')
_TEXT_FORMAT = (
    (re.compile(r"Enum type .* has no value named (.+)\."), "{} is none of the values that belong here"),
    (re.compile(r"Couldn't parse integer: (.+)"), "it needs a whole number, not {}"),
    (re.compile(r"Couldn't parse float: (.+)"), "it needs a number, not {}"),
    (re.compile(r"Value out of range: (.+)"), "{} is too large or too small"),
    (re.compile(r'should not have multiple "(.+)" fields'), "{} stands twice"),
    (re.compile(r"Expected string but found: (.+)"), "it needs a text in quotation marks, not {}"),
    (re.compile(r'Expected "true" or "false"()'), "it needs true or false"),
    (re.compile(r'Expected "(.+)"'), "“{}” is missing"),
    (re.compile(r"String missing ending quote()"), "a quotation mark is not closed"),
    (re.compile(r"Expected identifier or number, got (\S+)\."), "“{}” stands where a field begins"),
)


def of_text_format(said: str, fields: Callable[[str], Collection[str]]) -> str:
    """Return what protobuf's reader says of a text, with its line; ``fields`` are those of a message by its name."""
    found = _AT.match(said)
    if found is None:
        return "it cannot be read"
    where, rest = f"line {found[1]}", found[2]
    if unknown := _NO_FIELD.search(rest):
        meant = nearest(unknown[2], fields(unknown[1]))
        return f"{where}: there is no field {unknown[2]}" + (f"; did you mean {meant}?" if meant else "")
    for theirs, ours in _TEXT_FORMAT:
        if known := theirs.search(rest):
            return f"{where}: {ours.format(shorter(known[1]))}"
    return f"{where}: it cannot be read from here on"


def shorter(text: str) -> str:
    """Return a piece of a file in one line of at most 60 characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= 60 else flat[:59] + "…"
