"""Where people read us: Markdown, and the docstrings, comments and messages of the package."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tests.docs.translations import is_translation

PROJECT = Path(__file__).parents[2]
Kind = Literal["docs", "docstrings", "comments", "messages"]
WORDS_OF_A_MESSAGE = 4
WRITTEN_FROM_DOCSTRINGS = frozenset({"docs/reference/api.md"})


class Text(NamedTuple):
    """A text, and the line of the file on which it begins."""

    file: str
    line: int
    text: str


def docs() -> Iterator[Text]:
    """Yield each English page; code is left out, and so is what a program wrote (the proof, the reference)."""
    pages = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").rglob("*.md"))]
    for page in pages:
        name = str(page.relative_to(PROJECT))
        written = name.startswith("docs/proof/") or name in WRITTEN_FROM_DOCSTRINGS
        if not written and not is_translation(page):
            yield Text(name, 1, _without_code(_by_people(page.read_text())))


def _by_people(text: str) -> str:
    """Leave out what a program wrote between two markers; each text of it comes from a docstring, which is read."""
    parts = re.split(r"(<!-- [a-z ]+: begin.*?: end -->)", text, flags=re.S)
    return "".join("\n" * part.count("\n") if number % 2 else part for number, part in enumerate(parts))


def _without_code(text: str) -> str:
    text = re.sub(r"^[ ]*```.*?^[ ]*```$", lambda fence: "\n" * fence.group(0).count("\n"), text, flags=re.S | re.M)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"`[^`\n]*`", "X", text)


def docstrings() -> Iterator[Text]:
    """Yield each docstring of the package, also those of attributes."""
    for file, tree, _ in _modules():
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            for statement in body if isinstance(body, list) else ():
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    value = statement.value.value
                    if isinstance(value, str):
                        yield Text(file, statement.lineno, _without_code(_without_tables(value.replace("``", "`"))))


def _without_tables(text: str) -> str:
    """Leave out lines of a table, whose columns are two or more spaces apart."""
    return "\n".join("" if re.search(r"\S {2,}\S", line) else line for line in text.split("\n"))


def comments() -> Iterator[Text]:
    """Yield each comment of the package; lines that follow one another are one comment."""
    for file, _, source in _modules():
        first, lines = 0, list[str]()
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                if lines and (token.start[0] != first + len(lines) or not token.line.lstrip().startswith("#")):
                    yield Text(file, first, "\n".join(lines))
                    lines = []
                if not lines:
                    first = token.start[0]
                lines.append(token.string.lstrip("# "))
        if lines:
            yield Text(file, first, "\n".join(lines))


def messages() -> Iterator[Text]:
    """Yield each string of the package that looks like a sentence: errors, progress, documents."""
    for file, tree, _ in _modules():
        told = {
            id(statement.value)
            for node in ast.walk(tree)
            if isinstance(body := getattr(node, "body", None), list)
            for statement in body
            if isinstance(statement, ast.Expr)
        }
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told | parts:
                text = node.value
            else:
                continue
            if len(text.split()) >= WORDS_OF_A_MESSAGE:
                yield Text(file, node.lineno, text)


def _modules() -> Iterator[tuple[str, ast.Module, str]]:
    for path in sorted((PROJECT / "bot").rglob("*.py")):
        source = path.read_text()
        yield str(path.relative_to(PROJECT)), ast.parse(source), source


KINDS = {"docs": docs, "docstrings": docstrings, "comments": comments, "messages": messages}
