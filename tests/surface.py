"""The public surface, read from the source: what ``__all__`` of the public modules names, and how it is called.

``python -m tests.surface`` writes docs/reference/api.md. Reading the source, not running modules, also shows what is
imported late, and what needs Airflow.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs/reference/api.md"
PUBLIC = ("bot.gateway", "bot.gateway.protocol", "bot.training", "bot.airflow", "bot.errors", "bot.exit_codes")

INTRODUCTION = """\
# Reference

The public surface: what an application, a training job or a DAG may import, and how it is called. \
Everything else of `bot` may change without notice. `python -m tests.surface` writes this page from the source. \
A test compares the two, so a review shows each change of the surface.
"""


@dataclass(frozen=True)
class Definition:
    """Where a public name is defined, in the source."""

    module: str
    name: str
    node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

    @property
    def doc(self) -> str:
        return ast.get_docstring(self.node) or ""


@dataclass
class Module:
    """One file: what it defines, and where each name that it imports is from."""

    name: str
    tree: ast.Module
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    defined: dict[str, ast.stmt] = field(default_factory=dict)


@cache
def module(name: str) -> Module:
    path = PROJECT.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    read = Module(name, ast.parse(path.read_text()))
    for node in ast.walk(read.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            read.imported |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            read.imported |= {(alias.asname or alias.name).split(".")[0]: (alias.name, "") for alias in node.names}
    for statement in read.tree.body:
        match statement:
            case ast.ClassDef(name=own) | ast.FunctionDef(name=own) | ast.AsyncFunctionDef(name=own):
                read.defined[own] = statement
            case ast.Assign(targets=[ast.Name(id=own)]) | ast.AnnAssign(target=ast.Name(id=own)):
                read.defined[own] = statement
    return read


def declared(name: str) -> list[str]:
    """Return the ``__all__`` of a module."""
    (listed,) = (
        node.value
        for node in module(name).tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    return list(ast.literal_eval(listed))


def origin(module_name: str, name: str) -> tuple[str, str]:
    """Return the module in which ``name`` of ``module_name`` is defined, and its name there."""
    here = module(module_name)
    if name not in here.defined and name in here.imported:
        from_module, there = here.imported[name]
        if from_module.split(".")[0] == "bot":
            return origin(from_module, there)
        return from_module, there
    return module_name, name


def definition(module_name: str, name: str) -> Definition:
    where, own = origin(module_name, name)
    node = module(where).defined[own]
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef), f"{where}.{own}"
    return Definition(where, own, node)


def surface() -> dict[str, dict[str, Definition]]:
    """Return the definitions of all that is public, by module and name."""
    return {name: {one: definition(name, one) for one in declared(name)} for name in PUBLIC}


# --- what a definition offers --------------------------------------------------------------------------------------

Function = ast.FunctionDef | ast.AsyncFunctionDef


CALLED_BY_OTHERS = frozenset({"GatewayProtocol", "PromobotDeploymentSensor", "PromobotReadySensor"})
"""Classes whose methods uvicorn or Airflow calls. Only what they declare, and what a person gives, is public."""
MADE_BY_OTHERS = frozenset({"GatewayProtocol"})
"""Of these, what uvicorn makes, too."""


def decorators(node: ast.ClassDef | Function) -> set[str]:
    return {ast.unparse(one).partition("(")[0].split(".")[-1] for one in node.decorator_list}


def members(node: ast.ClassDef) -> Iterator[Function]:
    """Yield the public methods and properties that a class defines itself."""
    if node.name in CALLED_BY_OTHERS:
        return
    for inside in node.body:
        if isinstance(inside, Function) and not inside.name.startswith("_"):
            yield inside


def fields(node: ast.ClassDef) -> Iterator[tuple[ast.AnnAssign, str]]:
    """Yield the public attributes that a class declares, each with the text below it."""
    for inside, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(inside, ast.AnnAssign) or not isinstance(inside.target, ast.Name):
            continue
        if not inside.target.id.startswith("_"):
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            yield inside, str(said)


def values(node: ast.ClassDef) -> list[str]:
    """Return the members of an enumeration, each with its value."""
    if not any(ast.unparse(base).endswith("Enum") for base in node.bases):
        return []
    return [ast.unparse(inside) for inside in node.body if isinstance(inside, ast.Assign)]


def is_data(node: ast.ClassDef) -> bool:
    """Whether what a class declares is what its constructor takes."""
    return "dataclass" in decorators(node) or any(ast.unparse(base) == "BaseModel" for base in node.bases)


def constructor(node: ast.ClassDef) -> Function | None:
    """Return the constructor that a class defines itself, if people call it."""
    if node.name in MADE_BY_OTHERS:
        return None
    return next((one for one in node.body if isinstance(one, Function) and one.name == "__init__"), None)


def parameters(node: ast.ClassDef | Function) -> list[str]:
    """Return the names of what a function or a constructor takes, without ``self``."""
    if isinstance(node, ast.ClassDef):
        if is_data(node):
            return [ast.unparse(one.target) for one, _ in fields(node)]
        made = constructor(node)
        return parameters(made) if made else []
    arguments = node.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [one.arg for one in listed if one.arg not in ("self", "cls")]


def annotations(node: ast.ClassDef | Function) -> Iterator[ast.expr]:
    """Yield every type that the public part of a definition names, also of its members."""
    if isinstance(node, ast.ClassDef):
        yield from (one.annotation for one, _ in fields(node))
        for base in node.bases:
            if not ast.unparse(base).startswith("_"):
                yield base
        for inside in (constructor(node), *members(node)):
            if inside is not None:
                yield from annotations(inside)
        return
    arguments = node.args
    for one in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if one is not None and one.annotation is not None:
            yield one.annotation
    if node.returns is not None:
        yield node.returns


def leaks(found: Definition, public: set[tuple[str, str]]) -> list[str]:
    """Return the types of ours that a definition names and that are not public."""
    pending = [(found.module, one) for one in annotations(found.node)]
    private: list[str] = []
    while pending:
        where, expression = pending.pop()
        for node in ast.walk(expression):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                continue  # of a Literal
            if not isinstance(node, ast.Name) or hasattr(builtins, node.id):
                continue
            home, name = origin(where, node.id)
            if home.split(".")[0] != "bot" or (home, name) in public:
                continue
            statement = module(home).defined[name]
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
                pending.append((home, statement.value))  # another name of a type: what counts is the type
            else:
                private.append(f"{found.module}.{found.name} names {home}.{name}")
    return sorted(set(private))


def inherited(found: Definition) -> str:
    """Return what the bases that are ours say; what a parent explains, a child need not repeat."""
    assert isinstance(found.node, ast.ClassDef)
    names = [origin(found.module, base.id) for base in found.node.bases if isinstance(base, ast.Name)]
    bases = [
        definition(home, name) for home, name in names if home.startswith("bot.") and name in module(home).defined
    ]
    return "".join(base.doc + inherited(base) for base in bases)


def problems(found: Definition) -> list[str]:
    """Return what the texts of a definition do not say: a member without any, a parameter that none names."""
    where = f"{found.module}.{found.name}"
    missing = [] if found.doc else [f"{where} has no docstring"]
    said = found.doc
    if isinstance(found.node, ast.ClassDef):
        explained = {ast.unparse(one.target) for one, text in fields(found.node) if text}
        if (made := constructor(found.node)) is not None:
            said += ast.get_docstring(made) or ""
        said += inherited(found)
        for member in members(found.node):
            text = ast.get_docstring(member) or ""
            missing += [] if text else [f"{where}.{member.name} has no docstring"]
            missing += [
                f"{where}.{member.name} does not say what {one} is"
                for one in parameters(member)
                if f"``{one}" not in text
            ]
    else:
        explained = set()
    described = said + "".join(
        ast.unparse(one) for one in ast.walk(found.node) if isinstance(one, ast.keyword) and one.arg == "description"
    )
    own = {
        ast.unparse(one.target)
        for one, _ in (fields(found.node) if isinstance(found.node, ast.ClassDef) else ())
        if one.value is not None and "description=" in ast.unparse(one.value)
    }
    missing += [
        f"{where} does not say what {one} is"
        for one in parameters(found.node)
        if one not in explained | own and f"``{one}" not in described
    ]
    return missing


# --- the page -----------------------------------------------------------------------------------------------------


def signature(name: str, node: ast.ClassDef | Function) -> str:
    """Return how something is called, one line where it fits, else one for each parameter."""
    if isinstance(node, ast.ClassDef):
        if is_data(node):
            listed = [
                f"{ast.unparse(one.target)}: {ast.unparse(one.annotation)}" + default(one.value)
                for one, _ in fields(node)
            ]
            return laid_out(f"class {name}", listed, "")
        made = constructor(node)
        bases = [ast.unparse(base) for base in node.bases if not ast.unparse(base).startswith("_")]
        if made is None:
            return f"class {name}" + (f"({', '.join(bases)})" if bases else "")
        return laid_out(f"class {name}", arguments_of(made), "")
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    if "property" in decorators(node):
        return f"{name}: {ast.unparse(node.returns) if node.returns else 'Any'}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return laid_out(f"{prefix} {name}", arguments_of(node), returns)


def default(value: ast.expr | None) -> str:
    if value is None:
        return ""
    text = ast.unparse(value)
    if text.startswith("field("):
        found = {one.arg: ast.unparse(one.value) for one in ast.walk(value) if isinstance(one, ast.keyword)}
        text = found.get("default") or f"{found.get('default_factory')}()"
    if text.startswith("Field("):
        found = {one.arg: ast.unparse(one.value) for one in ast.walk(value) if isinstance(one, ast.keyword)}
        return f" = {found['default']}" if "default" in found else ""
    return f" = {text}"


def arguments_of(node: Function) -> list[str]:
    clean = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(clean, Function)
    arguments = clean.args
    arguments.args = [one for one in arguments.args if one.arg not in ("self", "cls")]
    # Only parameters are split: a comma within brackets belongs to a type.
    parts, depth, start = [], 0, 0
    text = ast.unparse(arguments)
    for at, character in enumerate(text):
        depth += (character in "[({") - (character in "])}")
        if character == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
    return [part for part in [*parts, text[start:].strip()] if part]


def laid_out(head: str, parameters: list[str], returns: str) -> str:
    one_line = f"{head}({', '.join(parameters)}){returns}"
    if len(one_line) <= 100:
        return one_line
    return "\n".join([f"{head}(", *(f"    {one}," for one in parameters), f"){returns}"])


def page() -> str:
    parts = [INTRODUCTION]
    for name, found in surface().items():
        parts.append(f"## {name}\n")
        for own, one in found.items():
            parts.append(f"### {own}\n")
            lines = [signature(own, one.node)]
            if isinstance(one.node, ast.ClassDef):
                if not is_data(one.node):
                    lines += [
                        f"    {ast.unparse(a.target)}: {ast.unparse(a.annotation)}" for a, _ in fields(one.node)
                    ]
                lines += [f"    {line}" for line in values(one.node)]
                for member in members(one.node):
                    lines += [f"    {line}" for line in signature(member.name, member).splitlines()]
            parts.append("```text\n" + "\n".join(lines) + "\n```\n")
            parts.append(_prose(one) + "\n")
    return "\n".join(parts)


def _prose(one: Definition) -> str:
    """Return a docstring as Markdown; below it what the texts of attributes and members say."""
    paragraphs = [one.doc]
    if isinstance(one.node, ast.ClassDef):
        if (made := constructor(one.node)) is not None:
            paragraphs += [ast.get_docstring(made) or ""]
        attributes: Mapping[str, str] = {
            **{ast.unparse(a.target): inspect.cleandoc(text) for a, text in fields(one.node) if text},
            **{m.name: ast.get_docstring(m) or "" for m in members(one.node)},
        }
        paragraphs += [f"``{name}``: {_joined(text)}" for name, text in attributes.items()]
    text = "\n\n".join(filter(None, paragraphs))
    return (
        "\n\n".join(_joined(paragraph) for paragraph in text.split("\n\n")).replace("``", "`").replace(":func:", "")
    )


def _joined(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"wrote {PAGE.relative_to(PROJECT)}\n")
