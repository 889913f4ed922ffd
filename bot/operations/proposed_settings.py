"""The changes of a pull request in ``manifests/environments/``, read from Git as data.

The checks themselves use the settings of the base branch: proposed settings decide nothing before they are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.domain import desired
from bot.domain.settings_diff import SettingsChange, differences
from bot.errors import InvalidInput
from bot.operations.consistency import Files, mistakes_in, parse_settings
from bot.settings import ENVIRONMENTS, Environment, path_of

if TYPE_CHECKING:
    from bot.systems.git import Repository

PROMOTIONS = "promotions"


@dataclass(frozen=True)
class ProposedSettings:
    """The settings after a pull request, and the mistakes that it would bring or leave in its own files."""

    changes: tuple[SettingsChange, ...] = ()
    mistakes: tuple[str, ...] = ()


def is_settings(path: str) -> bool:
    """Say whether a path lies in the folder of the environment files."""
    return path.startswith(f"{ENVIRONMENTS}/")


def read_proposed(
    repository: Repository, paths: Iterable[str], *, base: str, main: str, head: str
) -> ProposedSettings:
    """Return what the pull request changes in the settings, and its mistakes.

    ``base`` is where it parted from the base branch, ``main`` the base branch's head, ``head`` its own; all are
    fetched. A mistake between files that is on the base branch already is not this pull request's. A mistake within a
    file that it touches always counts.
    """
    touched = [path for path in paths if is_settings(path)]
    if not touched:
        return ProposedSettings()
    changed = frozenset(paths)
    merged = _files(repository, main, head, lambda path: head if path in changed else main)
    there = {_identity(mistake) for mistake in mistakes_in(_files(repository, main, main, lambda _: main))}
    mistakes = [m for m in mistakes_in(merged) if m.file in touched or _identity(m) not in there]
    mistakes += [error for path in touched if (error := _not_an_environment_file(path)) is not None]
    each = [one for mistake in mistakes for one in mistake.mistakes]
    names = [path.removeprefix(f"{ENVIRONMENTS}/").removesuffix(".yaml") for path in touched if _is_file(path)]
    changes = [_change(repository, name, base, merged) for name in names]
    return ProposedSettings(tuple(change for change in changes if change is not None), tuple(map(str, each)))


def _is_file(path: str) -> bool:
    return path.endswith(".yaml") and "/" not in path.removeprefix(f"{ENVIRONMENTS}/")


def _not_an_environment_file(path: str) -> InvalidInput | None:
    # People write .yml out of habit, and nothing would read it.
    if path.endswith(".yml"):
        return InvalidInput("is not read: the name of an environment file ends with .yaml", file=path)
    return None


def _change(repository: Repository, name: str, base: str, merged: Files) -> SettingsChange | None:
    """Return what becomes of one file; None where its new text cannot be read, which is a mistake already."""
    before = _read(repository, base, path_of(name))
    after = merged.settings.get(name)
    if after is None:
        return SettingsChange(name, "removed")
    try:
        new = parse_settings(name, after)
    except InvalidInput:
        return None
    if before is None:
        return SettingsChange(name, "added", tuple(differences({}, _document(new))))
    try:
        old = _document(parse_settings(name, before))
    except InvalidInput:
        return SettingsChange(name, "changed", tuple(differences({}, _document(new))), unreadable_before=True)
    return SettingsChange(name, "changed", tuple(differences(old, _document(new))))


def _document(settings: Environment) -> dict[str, Any]:
    document: dict[str, Any] = settings.model_dump(mode="json")
    return document


def _files(repository: Repository, main: str, head: str, commit_of: Callable[[str], str]) -> Files:
    """Return the texts of all files of settings and desired state, each at the commit that ``commit_of`` names."""

    def texts(folder: str, path_of: Callable[[str], str]) -> dict[str, str | InvalidInput]:
        listed = {*repository.names(main, folder), *repository.names(head, folder)}
        names = sorted(name.removesuffix(".yaml") for name in listed if name.endswith(".yaml"))
        found = {name: _read(repository, commit_of(path_of(name)), path_of(name)) for name in names}
        return {name: text for name, text in found.items() if text is not None}

    return Files(texts(ENVIRONMENTS, path_of), texts(PROMOTIONS, desired.path_of))


def _read(repository: Repository, commit: str, path: str) -> str | InvalidInput | None:
    try:
        return repository.read(commit, path)
    except InvalidInput as error:
        return error


def _identity(mistake: InvalidInput) -> tuple[str, str, str]:
    """Return what tells a mistake from others, wherever its line has moved to."""
    return mistake.file, mistake.key, mistake.problem
