"""Reads ``manifests/environments/<env>.yaml`` of a checkout; each mistake has its file, line and key.

:mod:`bot.settings` defines the settings and their values.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bot.domain import yamltext
from bot.domain.names import check_environment_name
from bot.domain.nearest import did_you_mean
from bot.domain.yamltext import Node
from bot.errors import InvalidInput
from bot.settings import ENVIRONMENTS, Environment, path_of


def parse(text: str, *, file: str, environment: str) -> Environment:
    """Read an environment file; raise InvalidInput with file, line and key for what is wrong."""
    node = yamltext.read(text, file=file)
    if not isinstance(node.value, dict):
        raise InvalidInput("is not a mapping", file=file, line=node.span.line)
    settings = yamltext.validate(node, Environment, file=file)
    if settings.environment != environment:
        raise InvalidInput(
            f"says {settings.environment!r}, but the file is that of {environment!r}",
            file=file,
            line=node.line_at(("environment",)),
            key="environment",
        )
    return settings


def load(root: Path, environment: str) -> Environment:
    """Read the settings of ``environment`` from the checkout at ``root``."""
    settings = parse(_text_of(root, environment), file=path_of(environment), environment=environment)
    return settings.read_from(root)


THE_WAY_BACK_NEEDS = frozenset(
    {"environment", "github", "share", "tritons", "gateways", "reload_token_env", "records", "bundles"}
)
"""Without these nothing can be put back: where models lie, what serves them, what was verified, where Git is.

And which models go back together: a part of a bundle alone would leave the others with a part that they do not know.
"""

_STAND_INS: dict[str, object] = {
    "mlflow": {"uri": "http://unusable.invalid"},
    "staging": {
        "triton": {"name": "unusable", "grpc": "unusable.invalid:1"},
        "share": {"model_repository": "/nonexistent/models", "state": "/nonexistent/state"},
    },
    "slack": {"channel": "C00"},
    "gates": {"unusable": {"metrics": {"unusable": {"minimum": 0}}}},
}
"""For required parts that have a mistake. A caller that asks for one of them gets the mistake, never these."""


def load_for_the_way_back(root: Path, environment: str) -> Environment:
    """Read the settings as :func:`load` does, but go on where the way back does not need what is wrong.

    What is wrong is left out, part by part, and listed in ``mistakes``: a gate, a freeze, a deadline (its default
    holds), a role of Slack (nobody has it), an unknown key. Raises InvalidInput where a needed part is wrong, or the
    file cannot be read at all.
    """
    text, file = _text_of(root, environment), path_of(environment)
    try:
        return load(root, environment)
    except InvalidInput as error:
        first = error
    try:
        node = yamltext.read(text, file=file)
        if not isinstance(node.value, dict):
            raise first
        document, mistakes, unusable = _without_what_is_wrong(node, file)
        settings = Environment.model_validate(document)
        if settings.environment != environment:
            raise first
    except InvalidInput as error:
        raise InvalidInput(
            error.problem,
            file=error.file,
            line=error.line,
            key=error.key,
            next_step=error.next_step
            or "Take the last commit whose file is right: `git worktree add ../before COMMIT`, then the same command "
            "with `--root ../before`.",
        ) from error
    if "gates" in unusable:
        settings = settings.model_copy(update={"gates": {}})
    return settings.read_from(root, mistakes=mistakes, unusable=unusable)


def load_all_for_the_way_back(root: Path, names: Iterable[str]) -> tuple[list[Environment], list[InvalidInput]]:
    """Read several environments so; return those that can be used, and why others cannot.

    For a service of several environments: one broken file must not silence the others.
    """
    found, broken = [], []
    for name in names:
        try:
            found.append(load_for_the_way_back(root, name))
        except InvalidInput as error:
            broken.append(error)
    return found, broken


def _without_what_is_wrong(node: Node, file: str) -> tuple[dict[str, Any], list[InvalidInput], set[str]]:
    """Return the document without its mistakes, the mistakes, and the parts for which something else stands in.

    Raises InvalidInput for a mistake that cannot be left out.
    """
    document = node.plain()
    mistakes: list[InvalidInput] = []
    unusable: set[str] = set()
    while True:
        try:
            Environment.model_validate(document)
            return document, mistakes, unusable
        except ValidationError as error:
            details = error.errors(include_url=False)
        left_out: set[tuple[Any, ...]] = set()
        for detail in details:
            mistake = yamltext.mistake(node, detail, file)
            # A rule between parts names none of them; the one part in it that is not needed is promotes_from.
            smallest = _smallest_part(document, detail["loc"] or ("promotes_from",))
            part = smallest[0]
            if part in THE_WAY_BACK_NEEDS or not (part in document or part in _STAND_INS or smallest in left_out):
                raise mistake
            mistakes.append(mistake)
            left_out.add(smallest)
        for part, *inner in sorted(left_out, key=len, reverse=True):
            holder = document[part] if inner else document
            holder.pop(inner[0] if inner else part, None)
        for part in {part for part, *_ in left_out} & _STAND_INS.keys():
            if not document.get(part):
                document[part] = _STAND_INS[part]
                unusable.add(part)
        if any(part == "mlflow_names" for part, *_ in left_out):
            unusable.add("mlflow")


def _smallest_part(document: dict[str, Any], where: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the smallest thing around a mistake without which the file still says the rest.

    Of ``gates``, ``evaluation`` and ``rollout`` that is what one model has, of ``deadlines``, ``keep`` and ``slack``
    one key that has a default, and of everything else the whole part.
    """
    part = where[0]
    inner = document.get(part)
    in_pieces = part in _IN_PIECES and isinstance(inner, dict) and len(where) > 1 and where[1] in inner
    return where[:2] if in_pieces and where[:2] != ("slack", "channel") else where[:1]


_IN_PIECES = frozenset({"gates", "evaluation", "rollout", "deadlines", "keep", "slack"})


def environments(root: Path) -> list[str]:
    """Return the names of the environments that the checkout at ``root`` has settings for, sorted."""
    folder = root / ENVIRONMENTS
    if not folder.is_dir():
        raise InvalidInput(
            f"there is no {ENVIRONMENTS}/ in {root}",
            next_step="Run promobot in a checkout of the repository that holds your promotions, or say --root DIR.",
        )
    found = sorted(path.stem for path in folder.glob("*.yaml"))
    if not found:
        raise InvalidInput(
            f"there is no environment file in {folder}",
            next_step=f"Add {ENVIRONMENTS}/<env>.yaml (`promobot init` writes two), or say --root DIR.",
        )
    return found


def repository_above(root: Path) -> Path | None:
    """Return the root of the checkout that ``root`` lies in; None where it is that root, or in no checkout.

    Git has ``promotions/`` at its root only, so files below another folder of that name are never read there.
    """
    root = root.resolve()
    above = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    return None if above == root else above


def _text_of(root: Path, environment: str) -> str:
    try:
        check_environment_name(environment)
    except ValueError as error:
        raise InvalidInput(str(error), key="--env") from error
    path = root / path_of(environment)
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        known = environments(root)
        step = f"{did_you_mean(environment, known)}Environments: {', '.join(known)}."
        raise InvalidInput("there is no such file", file=str(path), next_step=step) from error
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"is not UTF-8: byte {error.start} belongs to no character", file=str(path)) from error
