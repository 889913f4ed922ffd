"""Rules for packages: a package's list and configuration against the environment's rules and the bot's own.

Checks, proposals, deployments and rollbacks all ask here. The answer needs only the package's list, and documents
that were compared with it: the bot downloads nothing else before the answer is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from bot.domain.evidence import Finding
from bot.domain.model_config import LOADED_BY_NAME, config_problems
from bot.domain.package import CONFIG_FILE, SMOKE_FILE
from bot.domain.smoke import smoke_problems
from bot.errors import NotAllowed
from bot.render import checks as words
from bot.settings import Environment, PackageRules
from bot.systems.triton.config import parse_config

if TYPE_CHECKING:
    from bot.systems.mlflow import PackageContents


def rule_findings(rules: PackageRules, contents: PackageContents, parts: Collection[str] = ()) -> Iterator[Finding]:
    """Yield a finding for each rule; of a package that is too large, for those rules that its list decides.

    ``parts``: the models that it may ask, those before it in its bundle. An ensemble runs no code of its own, so
    there it needs no leave as a backend.

    Raises Rejected or Unavailable where ``config.pbtxt`` or ``smoke.json`` cannot be read, and OtherBytes where they
    have other bytes than the package lists.
    """
    package = contents.package
    said = package.too_large(rules.max_bytes)
    yield Finding(what="size", passed=not said, detail=said or f"{package.size} bytes")
    names = [file.path for file in package.version_files]
    strange = [path for path in names if not path.endswith(tuple(rules.file_types)) or LOADED_BY_NAME.fullmatch(path)]
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
    yield Finding(
        what="configuration",
        passed=not wrong,
        detail=words.some(wrong) or "every field and parameter is allowed, and every file that it names is listed",
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
    parts = settings.parts_before(name.partition(" ")[0])
    wrong = [finding for finding in rule_findings(settings.packages, contents, parts) if not finding.passed]
    if wrong:
        raise NotAllowed(
            (
                f"{name} is not allowed in {settings.environment}: "
                f"{words.some([f'{f.what}: {f.detail}' for f in wrong])}"
            ),
            system="package rules",
            state=state,
            next_step=(
                "Change what is named and register the model again; docs/training.md says what a package may contain."
            ),
        )
