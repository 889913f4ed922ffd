"""Rules for packages: a package's list and configuration against the environment's rules and the bot's own.

Checks, proposals, deployments and rollbacks all ask here. The answer needs only the package's list, and documents
that were compared with it: the bot downloads nothing else before the answer is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from bot.domain.evidence import Finding
from bot.domain.model_config import LOADED_BY_NAME, MODEL_DIRECTORY, config_problems, python_environment
from bot.domain.package import CONFIG_FILE, SMOKE_FILE, Package
from bot.domain.pyfunc import is_of_pyfunc, is_pyfunc
from bot.domain.smoke import smoke_problems
from bot.errors import NotAllowed
from bot.render import checks as words
from bot.settings import Environment, PackageRules
from bot.systems.triton.config import parse_config

if TYPE_CHECKING:
    from bot.systems.mlflow import PackageContents


def rule_findings(
    rules: PackageRules, contents: PackageContents, parts: Collection[str] = (), *, model: str
) -> Iterator[Finding]:
    """Yield a finding for each rule; of a package that is too large, for those rules that its list decides.

    ``parts``: the models that it may ask, those before it in its bundle. An ensemble runs no code of its own, so
    there it needs no leave as a backend. A pyfunc needs leave by the name of its ``model``, whatever the backends.

    Raises Rejected or Unavailable where ``config.pbtxt`` or ``smoke.json`` cannot be read, and OtherBytes where they
    have other bytes than the package lists.
    """
    package = contents.package
    said = package.too_large(rules.max_bytes)
    yield Finding(what="size", passed=not said, detail=said or f"{package.size} bytes")
    names = [file.path for file in package.version_files]
    types, may_be_a_pyfunc = tuple(rules.file_types), is_pyfunc(package) and model in rules.pyfuncs
    strange = [
        path
        for path in names
        if LOADED_BY_NAME.fullmatch(path) or not (path.endswith(types) or (may_be_a_pyfunc and is_of_pyfunc(path)))
    ]
    yield Finding(
        what="file types",
        passed=not strange,
        detail=words.some(strange, ", ") or f"only {', '.join(rules.file_types)}",
    )
    if said:
        return
    try:
        config = parse_config(contents.read(CONFIG_FILE).decode())
    except ValueError as error:
        yield Finding(what="configuration", passed=False, detail=str(error))
        return
    # A configuration may name another program than the bot's own: then it is any Python model.
    if is_pyfunc(package) and config.backend == "python" and "default_model_filename" not in config.values:
        yield _leave_for_a_pyfunc(rules, model)
    else:
        yield Finding(
            what="backend",
            passed=config.backend in rules.backends or (config.backend == "ensemble" and bool(parts)),
            detail=f"{config.backend or 'none'}; allowed: {', '.join(rules.backends)}",
        )
    if not names and config.backend != "ensemble":
        yield Finding(what="file list", passed=False, detail="package.json lists no file of the version")
    # Said only where it is wrong: of good cases a reviewer reads how each was answered.
    if said := _wrong_with_smoke(contents):
        yield Finding(what="smoke cases", passed=False, detail=said)
    pinned = set(rules.python_environments.values())
    environments = [file.path for file in package.version_files if f"sha256:{file.sha256}" in pinned]
    wrong = config_problems(config.values, files=names, environments=environments, parts=parts)
    wrong += _lines_that_pin(config.values, package, environments, model)
    yield Finding(
        what="configuration",
        passed=not wrong,
        detail=words.some(wrong) or "every field and parameter is allowed, and every file that it names is listed",
    )


def _lines_that_pin(
    config: Mapping[str, object], package: Package, environments: Collection[str], model: str
) -> Iterator[str]:
    """Yield the line that lists the environment which a configuration names, where no line does."""
    inside = (python_environment(config) or "").removeprefix(MODEL_DIRECTORY)
    archive = package.file(inside) if inside and inside not in environments else None
    if archive is not None:
        line = f'python_environments: {{{model}: "sha256:{archive.sha256}"}}'
        yield f"who has read what is in that archive, lists it under packages: {line}"


def _leave_for_a_pyfunc(rules: PackageRules, model: str) -> Finding:
    """Say whether the environment takes this model as a pyfunc, and if not, the line that has it do so."""
    if model in rules.pyfuncs:
        return Finding(what="backend", passed=True, detail=f"python; {model} is one of packages.pyfuncs")
    listed = ", ".join([*rules.pyfuncs, model])
    return Finding(
        what="backend",
        passed=False,
        detail="python, which loads a pyfunc of MLflow: pickled code that would run in Triton beside every other "
        f"model. {model} is not one of packages.pyfuncs here; to allow it, write under packages: pyfuncs: [{listed}]",
    )


def _wrong_with_smoke(contents: PackageContents) -> str:
    try:
        smoke = contents.smoke()
    except ValueError as error:
        return f"{SMOKE_FILE} {error}"
    problems = smoke_problems(smoke)
    return f"{SMOKE_FILE} {words.some(problems)}" if problems else ""


def refuse_what_is_not_allowed(settings: Environment, contents: PackageContents, *, name: str, state: str) -> None:
    """Raise NotAllowed where a rule refuses the package; its message has each rule and what it found.

    ``name`` is the model and version as people know them, ``state`` what the caller has left unchanged.
    """
    settings.see_that_it_can_be_used("packages")
    model = name.partition(" ")[0]
    findings = rule_findings(settings.packages, contents, settings.parts_before(model), model=model)
    wrong = [finding for finding in findings if not finding.passed]
    if wrong:
        raise NotAllowed(
            (
                f"{name} is not allowed in {settings.environment}: "
                f"{words.some([f'{f.what}: {f.detail}' for f in wrong])}"
            ),
            system="package rules",
            state=state,
            next_step=(
                "Change what is named and register the model again; "
                "docs/how-to/training.md says what a package may contain."
            ),
        )
