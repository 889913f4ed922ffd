"""YAML as desired state needs it: one plain document whose every value knows its line.

People and the bot edit the same files, so a file means what it seems to mean or is refused: no second document, no
duplicate key, no alias, no tag, no ``yes`` that becomes true, no number in base 8, no date. Built in one pass over
PyYAML's events with a stack of our own, so that deep nesting costs an error, not the interpreter's stack.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from bot.domain import in_words
from bot.errors import InvalidInput

MAX_CHARACTERS = 4 * 2**20
"""Some 25,000 entries. Without aliases a document cannot grow beyond its text."""
MAX_DEPTH = 12
MAX_MISTAKES = 20

_FOREIGN_BREAKS = re.compile("[\x85\u2028\u2029]|\r(?!\n)")
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_HALF = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")
_YAML_1_1, _STRING = yaml.resolver.Resolver(), "tag:yaml.org,2002:str"
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Span:
    """Where a token stands: offsets into the text, end excluded, and its first line, from 1."""

    start: int
    end: int
    line: int


@dataclass
class Node:
    """A value with its place. ``value`` is a scalar, a list of nodes, or a dict of nodes by key."""

    value: Any
    span: Span
    keys: dict[str, Span] = field(default_factory=dict)
    flow: bool = False

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def line_at(self, path: tuple[Any, ...]) -> int:
        """Return the line of the key or item at ``path``, or of the nearest thing around it."""
        node, line = self, self.span.line
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                line, node = node.keys[step].line, node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.span.line
            else:
                break
        return line


def read(text: str, *, file: str) -> Node:
    """Parse one document; raise InvalidInput with file, line and key for everything it will not accept."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput(f"longer than {MAX_CHARACTERS} characters", file=file)
    if foreign := _FOREIGN_BREAKS.search(text):
        line = text.count("\n", 0, foreign.start()) + 1
        raise InvalidInput("a line break that is neither \\n nor \\r\\n", file=file, line=line)
    if stray := _NOT_TEXT.search(text):
        line = text.count("\n", 0, stray.start()) + 1
        name = "a byte order mark" if stray[0] == "\ufeff" else f"the character U+{ord(stray[0]):04X}"
        raise InvalidInput(f"{name} does not belong into a text", file=file, line=line)
    try:
        return _build(text, file)
    except yaml.YAMLError as error:
        said, where = in_words.of_yaml(error, text)
        key = in_words.key_near(text, where) if where else ""
        raise InvalidInput(f"not YAML: {said}", file=file, line=where, key=key) from error
    except (ValueError, OverflowError) as error:
        # PyYAML without libyaml does not check the numbers of escapes such as "\Uffffffff".
        raise InvalidInput("not YAML: an escape names a character that does not exist", file=file) from error


def needs_quotes(text: str) -> bool:
    """Say whether a plain scalar of this text would not be read back as the same string, here or by YAML 1.1.

    Others read these files, too: to most of them ``on``, ``1_000``, ``010`` and ``2026-01-01`` are not strings.
    """
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_./-]*(?::[A-Za-z0-9]+)?", text)
    elsewhere = _YAML_1_1.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return not plain or _scalar(text) != text or elsewhere != _STRING


def shown(key: str) -> str:
    """Return a key of a file as an error may show it: one line without control characters, at most 80 characters."""
    flat = key if key.isprintable() else repr(key)[1:-1]
    return flat if len(flat) <= 80 else flat[:79] + "…"


def _build(text: str, file: str) -> Node:
    root: Node | None = None
    stack: list[Node] = []
    pending: list[tuple[str, Span] | None] = []
    for event in _events(text):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent) and root is not None:
            raise InvalidInput("a second document begins here; one file is one document", file=file, line=line)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InvalidInput("anchors and aliases are not allowed", file=file, line=line)
        if (tag := getattr(event, "tag", None)) not in (None, "!"):
            raise InvalidInput(f"tags are not allowed: {tag!r:.60}", file=file, line=line)
        span = Span(event.start_mark.index, event.end_mark.index, line)
        if isinstance(event, yaml.CollectionEndEvent):
            node, _ = stack.pop(), pending.pop()
            node.span = Span(node.span.start, span.end, node.span.line)
            continue
        if isinstance(event, yaml.ScalarEvent):
            if _HALF.search(event.value):  # PyYAML without libyaml lets "\\ud800" pass
                raise InvalidInput("half a character", file=file, line=line)
            value = _scalar(event.value) if event.implicit[0] else event.value
            if stack and isinstance(stack[-1].value, dict) and pending[-1] is None:
                pending[-1] = (_key(value, stack[-1], file, line), span)
                continue
            node = Node(value, span)
        elif isinstance(event, yaml.CollectionStartEvent):
            if stack and isinstance(stack[-1].value, dict) and pending[-1] is None:
                raise InvalidInput("a key must be plain text", file=file, line=line)
            kind: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            node = Node(kind, span, flow=bool(event.flow_style))
            if len(stack) >= MAX_DEPTH:
                raise InvalidInput(f"nested deeper than {MAX_DEPTH} levels", file=file, line=line)
        else:
            continue
        if not stack:
            root = node
        elif isinstance(stack[-1].value, dict):
            key, key_span = pending[-1] or ("", span)
            stack[-1].value[key], stack[-1].keys[key] = node, key_span
            pending[-1] = None
        else:
            stack[-1].value.append(node)
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(node)
            pending.append(None)
    return root if root is not None else Node(None, Span(0, 0, 1))


def _events(text: str) -> Iterator[Any]:
    # libyaml counts characters of its own buffer; its offsets are ours because byte order marks are refused before.
    return yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _key(value: Any, mapping: Node, file: str, line: int) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"the key {in_words.value(value)} is not text; quote it", file=file, line=line)
    if value in mapping.value:
        first = mapping.keys[value].line
        raise InvalidInput(f"stands twice, first in line {first}", file=file, line=line, key=shown(value))
    return value


def _scalar(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


Model = TypeVar("Model", bound=BaseModel)

_NOT_IN_THE_FILE = ("[key]", "[directory]", "[s3]", "[name]", "[rule]")
"""Steps of Pydantic's own: a mapping's key as opposed to its value, and which of several forms a value has."""


def validate(node: Node, model: type[Model], *, file: str) -> Model:
    """Return the document as ``model``; raise InvalidInput that names file, line and key of each mistake."""
    try:
        return model.model_validate(node.plain())
    except ValidationError as error:
        details = in_words.misspelt_once(error.errors(include_url=False))
        mistakes = [mistake(node, detail, file) for detail in details]
        first = mistakes[0]
        if len(mistakes) == 1:
            raise first from error
        listing = "\n  ".join(map(str, mistakes[:MAX_MISTAKES]))
        if len(mistakes) > MAX_MISTAKES:
            listing += f"\n  and {len(mistakes) - MAX_MISTAKES} more"
        all_of_them = InvalidInput(f"{len(mistakes)} mistakes:\n  {listing}", file=file)
        all_of_them.mistakes = tuple(mistakes)
        raise all_of_them from error


def mistake(node: Node, detail: Any, file: str) -> InvalidInput:
    """Return one of Pydantic's error details as a mistake with file, line and key."""
    path = tuple(step for step in detail["loc"] if step not in _NOT_IN_THE_FILE)
    key = ".".join(shown(str(step)) for step in path)
    return InvalidInput(in_words.of_pydantic(detail), file=file, line=node.line_at(path), key=key)
