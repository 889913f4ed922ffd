"""The cases that a pull request adds, changes or takes away, read from Git as data, and what serves today asked them.

Cases of a pull request decide nothing before it is merged: versions are judged by those of the base branch. So a case
may be merged although the version in service does not hold it, and the reviewer sees that before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.domain.cases import MAX_CASES, Case, ProposedCases, is_below_cases, place_of
from bot.domain.desired import Entry
from bot.domain.evidence import CasesInService
from bot.domain.record import DeploymentRecord, served_after
from bot.errors import InvalidInput, Rejected, Unavailable
from bot.operations import Say, cases
from bot.operations.checking import on_staging_triton, released
from bot.platform import Platform, Platforms

if TYPE_CHECKING:
    from bot.systems.git import Repository


def read_proposed_cases(
    repository: Repository, paths: Iterable[str], *, head: str, platforms: Platforms
) -> ProposedCases:
    """Return what a pull request makes of cases, and the mistakes in the files that it touches."""
    touched = [path for path in paths if is_below_cases(path)]
    texts: dict[str, str | InvalidInput] = {}
    removed = []
    for path in touched:
        try:
            text = repository.read(head, path)
        except InvalidInput as error:
            texts[path] = error
            continue
        if text is None:
            removed += [path] if _is_a_case(path) else []
        else:
            texts[path] = text
    found, mistakes = cases.read_all(texts, [platform.settings for platform in platforms.values()])
    return ProposedCases(tuple(found), tuple(removed), tuple(map(str, mistakes)))


def _is_a_case(path: str) -> bool:
    try:
        return place_of(path) is not None
    except InvalidInput:
        return False


def ask_what_serves(platforms: Platforms, proposed: ProposedCases, *, label: str, say: Say) -> list[CasesInService]:
    """Ask the version that serves now, in each environment, the new and changed cases of its model, on staging."""
    found = []
    for environment, platform in platforms.items():
        for model, law, entry, beside in _served(platform, proposed.by_model):
            say(f"smoke: {len(law)} proposed cases of {model}, asked of version {entry.version} in {environment}")
            found.append(_ask(platform, model, law, entry, beside, name=f"{model}.check-{label}-cases"))
    return found


def not_asked(platforms: Platforms, proposed: ProposedCases, found: Sequence[CasesInService]) -> list[str]:
    """Return a sentence for each version in service that was not asked these very cases."""
    there = {(one.environment, one.model): one for one in found}
    problems = [
        f"cases of {one.model} could not be asked in {one.environment}: {one.problem}" for one in found if one.away
    ]
    for environment, platform in platforms.items():
        for model, law, entry, _ in _served(platform, proposed.by_model):
            one = there.get((environment, model))
            asked = {answer.demands for answer in one.asked} if one else set()
            if one is None or (not one.problem and {case.fingerprint for case in law} - asked):
                problems.append(f"{model} {entry.version} in {environment} was not asked the proposed cases")
    return problems


def _served(
    platform: Platform, by_model: Mapping[str, list[Case]]
) -> Iterator[tuple[str, list[Case], Entry, DeploymentRecord | None]]:
    if not by_model:
        return
    records = platform.ledger.deployments()
    serving = served_after(platform.environment, records).models
    for model, law in by_model.items():
        if model in serving and platform.settings.has_gate(model):
            entry = serving[model]
            newest = (one for one in reversed(records) if one.model == model and one.after == entry and one.verified)
            yield model, law[:MAX_CASES], entry, next(newest, None)


def _ask(
    platform: Platform, model: str, law: Sequence[Case], entry: Entry, record: DeploymentRecord | None, *, name: str
) -> CasesInService:
    result = CasesInService(
        environment=platform.environment, model=model, entry=entry, asked=(), at=datetime.now(UTC)
    )
    bundle = record.bundle if record else None
    try:
        registered, contents = released(platform, model, entry)
        with on_staging_triton(platform, model, registered, contents, name, bundle) as triton:
            asked = tuple(one for _, one in cases.ask(triton, name, entry.version, law))
    except Unavailable as error:
        return result.model_copy(update={"problem": str(error), "away": True})
    except Rejected as error:
        return result.model_copy(update={"problem": str(error)})
    return result.model_copy(update={"asked": asked})
