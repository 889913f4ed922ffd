"""The mistakes in files of settings and desired state: in each alone, and between them. No system is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bot import environment_files
from bot.domain import desired, yamltext
from bot.domain.bundled import bundle_in
from bot.domain.desired import SECTIONS, Desired
from bot.domain.gates import models_in
from bot.domain.names import check_environment_name
from bot.domain.nearest import did_you_mean
from bot.errors import InvalidInput
from bot.settings import Environment, path_of


@dataclass(frozen=True)
class Files:
    """The texts of one state of the repository, by environment. An InvalidInput stands for a file without a text."""

    settings: Mapping[str, str | InvalidInput]
    promotions: Mapping[str, str | InvalidInput]


def mistakes_in(files: Files) -> list[InvalidInput]:
    """Return every mistake, with file, line and key: first those within a file, then those between files."""
    found: list[InvalidInput] = []
    environments: dict[str, Environment] = {}
    for name, text in files.settings.items():
        try:
            environments[name] = parse_settings(name, text)
        except InvalidInput as error:
            found.append(error)
    wanted: dict[str, Desired] = {}
    for name, text in files.promotions.items():
        file = desired.path_of(name)
        try:
            if name not in files.settings:
                raise InvalidInput("is not the desired state of a known environment", file=file)
            if isinstance(text, InvalidInput):
                raise text
            wanted[name] = desired.parse(text, file=file, environment=name)
        except InvalidInput as error:
            found.append(error)
    found += [_without_desired_state(name) for name in files.settings if name not in files.promotions]
    places = _Places(files)
    found += _models_without_a_gate(environments, wanted, places)
    found += _bundles_without_a_gate(environments, places)
    found += _parts_without_a_gate(environments, places)
    found += _rollouts_of_parts(environments, places)
    found += _broken_bundles(environments, wanted, places)
    found += _unknown_sources(environments, frozenset(files.settings), places)
    found += _bakes_that_nobody_makes(environments, places)
    found += _other_names(environments, places)
    found += _in_each_others_way(environments, places)
    return found


def readable(files: Files) -> list[Environment]:
    """Return the settings that can be read."""
    found = []
    for name, text in files.settings.items():
        with suppress(InvalidInput):  # its mistakes are named elsewhere
            found.append(parse_settings(name, text))
    return found


def _without_desired_state(name: str) -> InvalidInput:
    # Not an empty one: every verb for this environment fails until the file is there.
    return InvalidInput(
        f"is missing beside {path_of(name)}; commit it with the one line `environment: {name}`",
        file=desired.path_of(name),
    )


def parse_settings(name: str, text: str | InvalidInput) -> Environment:
    """Read one environment file; raise InvalidInput with file, line and key."""
    file = path_of(name)
    if isinstance(text, InvalidInput):
        raise text
    try:
        check_environment_name(name)
    except ValueError as error:
        raise InvalidInput(f"the file's name is not an environment's: {error}", file=file) from error
    return environment_files.parse(text, file=file, environment=name)


@dataclass(frozen=True)
class _Places:
    """Finds the line of a key in files that were parsed before."""

    files: Files

    def in_settings(self, name: str, problem: str, *path: Any, next_step: str = "") -> InvalidInput:
        """Return the mistake at a key of an environment file."""
        return self._at(path_of(name), self.files.settings[name], path, problem, next_step)

    def in_promotions(self, name: str, problem: str, *path: Any, next_step: str = "") -> InvalidInput:
        """Return the mistake at a key of a promotions file."""
        return self._at(desired.path_of(name), self.files.promotions[name], path, problem, next_step)

    def _at(
        self, file: str, text: str | InvalidInput, path: tuple[Any, ...], problem: str, next_step: str
    ) -> InvalidInput:
        line = yamltext.read(text, file=file).line_at(path) if isinstance(text, str) else None
        key = ".".join(yamltext.shown(str(step)) for step in path)
        return InvalidInput(problem, file=file, line=line, key=key, next_step=next_step)


def _models_without_a_gate(
    environments: Mapping[str, Environment], wanted: Mapping[str, Desired], places: _Places
) -> Iterator[InvalidInput]:
    for name, state in wanted.items():
        settings = environments.get(name)
        if settings is None:
            continue  # its own mistake is named already
        for section in SECTIONS:
            for model in state.section(section):
                if not settings.has_gate(model):
                    said = f"{path_of(name)} has no gate for it"
                    step = f"Add gates.{model} there, or take the entry out."
                    yield places.in_promotions(name, said, section, model, next_step=step)


def _bundles_without_a_gate(environments: Mapping[str, Environment], places: _Places) -> Iterator[InvalidInput]:
    for name, settings in environments.items():
        for bundle, parts in settings.bundles.items():
            if not settings.has_gate(parts[-1]):
                said = f"there is no gate for {parts[-1]}, the last part, which users ask"
                step = f"{did_you_mean(parts[-1], settings.gates)}Add gates.{parts[-1]}, or list that part last."
                yield places.in_settings(name, said, "bundles", bundle, next_step=step)


def _parts_without_a_gate(environments: Mapping[str, Environment], places: _Places) -> Iterator[InvalidInput]:
    """Yield models that are to be measured or rolled out and have no gate: a name with a slip in it does neither."""
    for name, settings in environments.items():
        for part, models, so in (
            ("evaluation", settings.evaluation, "so nothing of it is measured"),
            ("rollout", settings.rollout, "so it is never rolled out"),
        ):
            for model in sorted(one for one in models_in(models) if not settings.has_gate(one)):
                said = f"there is no gate for this model, {so}"
                step = f"{did_you_mean(model, settings.named_models)}Add gates.{model}, or take this out."
                yield places.in_settings(name, said, part, model, next_step=step)


def _rollouts_of_parts(environments: Mapping[str, Environment], places: _Places) -> Iterator[InvalidInput]:
    """Yield rollouts of parts of bundles that users do not ask: the whole bundle goes as the part that they ask."""
    for name, settings in environments.items():
        for model in sorted(models_in(settings.rollout)):
            asked = settings.parts_with(model)[-1]
            if asked != model:
                said = f"it is a part of a bundle that goes to its users as {asked}, which they ask"
                step = f"Write it as rollout.{asked}, or take it out."
                yield places.in_settings(name, said, "rollout", model, next_step=step)


def _broken_bundles(
    environments: Mapping[str, Environment], wanted: Mapping[str, Desired], places: _Places
) -> Iterator[InvalidInput]:
    """Yield bundles of which some parts have an entry and others none: such a bundle is never deployed."""
    for name, state in wanted.items():
        settings = environments.get(name)
        for bundle, parts in settings.bundles.items() if settings else ():
            for section in SECTIONS:
                entries = state.section(section)
                found = bundle_in(entries, bundle, parts)
                if not found.is_whole:
                    missing = found.missing[0]
                    said = f"the bundle {bundle} of {path_of(name)} also needs {', '.join(found.missing)}"
                    step = (
                        f"{did_you_mean(missing, entries)}Add {section}.{missing}, or take out the other parts, too."
                    )
                    yield places.in_promotions(name, said, section, found.parts[0].model, next_step=step)


def _unknown_sources(
    environments: Mapping[str, Environment], known: frozenset[str], places: _Places
) -> Iterator[InvalidInput]:
    for name, settings in environments.items():
        source = settings.source
        if source is not None and source not in known:
            said = f"there is no environment {source}; there are {', '.join(sorted(known))}"
            yield places.in_settings(name, said, "promotes_from")


def _bakes_that_nobody_makes(environments: Mapping[str, Environment], places: _Places) -> Iterator[InvalidInput]:
    """Yield what waits for bakes of an environment that bakes nothing."""
    for name, settings in environments.items():
        rule, source = settings.path, environments.get(settings.source or "")
        if rule is None or source is None or rule.when != "baked":
            continue
        if not any(rules.watched for rules in source.rollout.values()):
            said = f"{path_of(source.environment)} bakes nothing, so nothing would ever be carried on"
            step = f"Add `rollout.default.bake` to {path_of(source.environment)}, or say `when: verified`."
            yield places.in_settings(name, said, "promotes_from", "when", next_step=step)


def _other_names(environments: Mapping[str, Environment], places: _Places) -> Iterator[InvalidInput]:
    """Yield the names under which an environment would take another registered model than the one before it has."""
    for name, settings in environments.items():
        source = environments.get(settings.source or "")
        if source is None:
            continue
        for model in sorted(source.mlflow_names.keys() | settings.mlflow_names.keys()):
            here, there = (one.mlflow_names.get(model, model) for one in (settings, source))
            if here != there and settings.has_gate(model):
                said = f"{model} is {here!r} in MLflow here and {there!r} in {source.environment}"
                step = (
                    f"Say the same in both: versions of one registered model go from {source.environment} to {name}."
                )
                yield places.in_settings(name, said, "mlflow_names", model, next_step=step)


def _in_each_others_way(environments: Mapping[str, Environment], places: _Places) -> Iterator[InvalidInput]:
    """Yield what two environments share and must not.

    A folder of one within a folder of the other counts too: Triton lists everything that it finds. Environments may
    share one staging Triton, one record store and one Slack channel.
    """
    used: dict[tuple[str, str], list[tuple[str, tuple[Any, ...]]]] = defaultdict(list)
    folders: list[tuple[PurePosixPath, str, tuple[Any, ...], str]] = []
    repository: tuple[str, str] | None = None
    for name, settings in environments.items():
        if repository is None:
            repository = name, settings.github.repository
        elif settings.github.repository != repository[1]:
            said = f"is not {repository[1]}, which {repository[0]} names; all environments here have one repository"
            yield places.in_settings(name, said, "github", "repository")
        for number, triton in enumerate(settings.tritons):
            used["Triton", triton.grpc].append((name, ("tritons", number)))
        for number, gateway in enumerate(settings.gateways):
            used["gateway", gateway.url].append((name, ("gateways", number)))
        for part in ("model_repository", "state"):
            folders.append((PurePosixPath(getattr(settings.share, part)), name, ("share", part), "serving"))
            staged = PurePosixPath(getattr(settings.staging.share, part))
            folders.append((staged, name, ("staging", "share", part), "staging"))
    for (kind, address), uses in used.items():
        for name, path in uses[1:]:
            others = sorted({other for other, _ in uses if other != name}) or [name]
            said = f"the {kind} at {address} serves {', '.join(others)} already"
            yield places.in_settings(name, said, *path)
    for name, settings in environments.items():
        serving = [other for other, _ in used.get(("Triton", settings.staging.triton.grpc), [])]
        if serving:
            said = f"serves {', '.join(sorted(set(serving)))}; proposals are checked beside nothing that serves"
            yield places.in_settings(name, said, "staging", "triton", "grpc")
    yield from _folders_within_each_other(folders, places)


def _folders_within_each_other(
    folders: list[tuple[PurePosixPath, str, tuple[Any, ...], str]], places: _Places
) -> Iterator[InvalidInput]:
    for index, (folder, name, path, kind) in enumerate(folders):
        for other, whose, where, other_kind in folders[:index]:
            shared = {kind, other_kind} == {"staging"} and folder == other and path == where
            of_one_share = name == whose and path[:-1] == where[:-1]  # the settings themselves see to these
            touching = folder == other or folder in other.parents or other in folder.parents
            if touching and not shared and not of_one_share:
                named = f"{other} ({'.'.join(where)} of {whose})"
                said = f"{folder} and {named} must not be one folder, or one in the other"
                yield places.in_settings(name, said, *path)
                break
