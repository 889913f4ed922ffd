"""``promobot bisect``: which release began to answer a case wrong. It asks on staging, and changes nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from bot.domain.bisection import Turn, by_all, by_halves
from bot.domain.bundle import Bundle, digest_of
from bot.domain.cases import MAX_BYTES, Case, parse, path_of, said_of
from bot.domain.desired import Entry
from bot.domain.names import CASE_NAME
from bot.domain.nearest import did_you_mean
from bot.domain.record import DeploymentRecord, served_after
from bot.domain.release import Lane, Slot
from bot.errors import InvalidInput, OutsideError, Refused, Rejected
from bot.exit_codes import ExitCode
from bot.operations import Say, cases
from bot.operations.brought import number_of
from bot.operations.checking import left_by_killed, on_staging_triton, purge, released
from bot.operations.known import known_models
from bot.platform import Platform

Answered = Literal["holds", "wrong", "could not be asked", "not asked"]
Conclusion = Literal["began", "always", "never", "unknown"]
"""
began    a release holds, and the next that could be asked does not
always   no release before the wrong one holds, as far back as could be asked
never    what was asked holds
unknown  no release could be asked
"""


@dataclass(frozen=True)
class Served:
    """One verified release of a model, and how it answers the case. ``said`` is the answer, or why there is none."""

    version: int
    digest: str
    run: str
    since: datetime
    """When it went into service first."""
    record: str
    """The deployment that brought it."""
    answered: Answered = "not asked"
    said: str = ""
    bundle: Bundle | None = None

    @property
    def entry(self) -> Entry:
        """The release as desired state names it."""
        return Entry(version=self.version, digest=self.digest, run=self.run)


@dataclass(frozen=True)
class Merge:
    """The pull request that brought a release, who merged it and when; ``problem`` says why that is not known."""

    number: int | None = None
    url: str = ""
    by: str = ""
    at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True)
class Bisected:
    """The release that began to answer wrong, and all that was asked, in the order of service, oldest first."""

    environment: str
    model: str
    case: str
    is_law: bool
    """Whether the case lies in ``cases/`` already."""
    releases: tuple[Served, ...]
    conclusion: Conclusion
    began: Served | None = None
    before: Served | None = None
    """The last release before it that holds."""
    merge: Merge | None = None
    turns: int | None = None
    """The number of turns from right to wrong; known only where all were asked."""
    in_service: int | None = None
    """The version that answers users now."""
    rollback_to: int | None = None
    """The version to go back to, where the one in service is wrong and an earlier one that holds may answer again."""

    @property
    def exit_code(self) -> ExitCode:
        """0 it was found, or nothing is wrong · 1 no release could be asked."""
        return ExitCode.FAILED if self.conclusion == "unknown" else ExitCode.DONE


def read_case(root: Path, model: str, named: str) -> Case:
    """Return a case by the path of its file, or by its name among the model's cases in the checkout."""
    path = Path(named)
    if not path.is_file() and CASE_NAME.fullmatch(named):
        return named_case(root, model, named)
    return _read(path, root, model, named)


def named_case(root: Path, model: str, name: str) -> Case:
    """Return a case by its name among the model's cases in the checkout."""
    return _read(root / path_of(model, name), root, model, name)


def _read(path: Path, root: Path, model: str, named: str) -> Case:
    try:
        with path.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except OSError as error:
        names = [known.stem for known in (root / path_of(model, "x")).parent.glob("*.json")]
        raise InvalidInput(
            f"{named!r:.200} is neither a file nor a case of {model}: {error.strerror}",
            key="--case",
            next_step=did_you_mean(named, names) or "docs/how-to/cases.md says how to write one.",
        ) from error
    name = path.stem if CASE_NAME.fullmatch(path.stem) else "case"
    return parse(text, file=named, model=model, name=name)


def bisect(platform: Platform, case: Case, *, every: bool, say: Say) -> Bisected:
    """Ask releases of the case's model the case, one after another, on staging; leave staging as it was found.

    Only versions that were verified in service count, each once, in the order in which they first were. Without
    ``every`` the search halves what is left, and assumes that releases turned from right to wrong once.
    """
    records = platform.ledger.deployments()
    releases = _releases(platform, case.model, records)
    serving = served_after(platform.environment, records).models.get(case.model)
    current = _index_of(releases, serving)
    asking = _Asking(platform, case, releases, say)
    asking.clear_what_was_left()
    turns = None
    with platform.staging.share.at_work.held(asking.token):
        if every:
            turn, turns = by_all(len(releases), asking.holds)
        else:
            ends = [len(releases) - 1, *([current] if current is not None else [])]
            turn = by_halves(ends, asking.holds)
    asked = tuple(asking.releases)
    began = None if turn.wrong is None else asked[turn.wrong]
    before = None if turn.right is None or began is None else asked[turn.right]
    is_wrong = current is not None and asked[current].answered == "wrong"
    return Bisected(
        environment=platform.environment,
        model=case.model,
        case=case.name,
        is_law=case in cases.cases_of(platform.settings, case.model),
        releases=asked,
        conclusion=_conclusion(turn),
        began=began,
        before=before,
        merge=_merge_of(platform, case.model, began) if began is not None else None,
        turns=turns,
        in_service=serving.version if serving else None,
        rollback_to=_way_back(platform, before) if before is not None and is_wrong else None,
    )


def _conclusion(turn: Turn) -> Conclusion:
    if turn.wrong is not None:
        return "always" if turn.right is None else "began"
    return "unknown" if turn.right is None else "never"


def _releases(platform: Platform, model: str, records: Sequence[DeploymentRecord]) -> list[Served]:
    """Return each release that was verified in service, in the order in which it first was."""
    slot, found = Slot(platform.environment, model, Lane.LIVE), dict[str, Served]()
    for record in records:
        if record.slot == slot and record.verified and (entry := record.after) is not None:
            of = digest_of(record.bundle) or entry.digest
            found.setdefault(
                of,
                Served(entry.version, entry.digest, entry.run, record.finished_at, record.id, bundle=record.bundle),
            )
    if not found:
        known = known_models(platform.settings, records=records)
        raise Refused(
            f"no version of {model} was ever verified in service in {platform.environment}",
            state="Nothing was loaded.",
            next_step=f"{did_you_mean(model, known)}`promobot history --env {platform.environment}` lists what was.",
        )
    return list(found.values())


def _index_of(releases: Sequence[Served], serving: Entry | None) -> int | None:
    """Return which of these answers now; the newest of them where one digest was in several bundles."""
    found = [number for number, one in enumerate(releases) if serving is not None and one.digest == serving.digest]
    return found[-1] if found else None


class _Asking:
    """Asks releases the case, each once, under names of its own on staging."""

    def __init__(self, platform: Platform, case: Case, releases: Sequence[Served], say: Say) -> None:
        self.releases = list(releases)
        self.token = secrets.token_hex(4)
        self._platform, self._case, self._say = platform, case, say

    def clear_what_was_left(self) -> None:
        """Take off staging what a killed run left there; what belongs to a living one stays."""
        staging, seconds = self._platform.staging, self._platform.settings.deadlines.load_seconds
        for name in left_by_killed(staging.share):
            self._say(f"{name} goes from staging: the run that loaded it was killed")
            purge(staging.share, staging.triton, name, seconds)

    def holds(self, number: int) -> bool | None:
        """Return whether a release holds the case; None where it cannot be asked."""
        if self.releases[number].answered == "not asked":
            self.releases[number] = self._asked(number)
        answered = self.releases[number].answered
        return None if answered == "could not be asked" else answered == "holds"

    def _asked(self, number: int) -> Served:
        platform, model, one = self._platform, self._case.model, self.releases[number]
        self._say(f"asking {model} {one.version}, in service since {one.since:%Y-%m-%d %H:%M} UTC")
        name = f"{model}.bisect-{platform.environment}-{self.token}-{number}"
        try:
            registered, contents = released(platform, model, one.entry)
            with on_staging_triton(platform, model, registered, contents, name, one.bundle) as triton:
                ((_, asked),) = cases.ask(triton, name, one.version, [self._case])
        except Rejected as error:
            return replace(one, answered="could not be asked", said=str(error))
        if asked.refused:
            return replace(one, answered="could not be asked", said=asked.wrong)
        said = asked.wrong or said_of(self._case, asked).partition(f"; {self._case.reason}")[0]
        return replace(one, answered="wrong" if asked.wrong else "holds", said=said)


def _way_back(platform: Platform, before: Served) -> int | None:
    """Return the version to go back to; None where it is in quarantine."""
    judged = {before.digest, digest_of(before.bundle)}
    return None if judged & platform.ledger.quarantined().keys() else before.version


def _merge_of(platform: Platform, model: str, release: Served) -> Merge:
    """Return which pull request brought a release, by its evidence, and who merged it, by GitHub."""
    number = number_of(platform.ledger, release.entry.in_slot(Slot(platform.environment, model, Lane.LIVE)))
    if number is None:
        return Merge(problem=f"no evidence names it; `promobot history show {release.record}` has the commit of main")
    try:
        pull = platform.github.pull_request(number)
    except OutsideError as error:
        return Merge(number, problem=str(error))
    if not pull.merged:
        return Merge(number, pull.url, problem="it was checked there, and merged by another pull request")
    return Merge(number, pull.url, pull.merged_by, pull.merged_at)
