"""``promobot check``: what the jobs on a pull request run, each alone, and the one that sums them up.

The pull request is data. Code, settings and gates are those of the checkout this runs in (the base branch); from the
proposal's head only ``promotions/*.yaml``, ``manifests/environments/*.yaml`` and ``cases/`` are read, through Git,
and never written to disk. The settings and cases that are proposed are looked at, and decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.domain import desired
from bot.domain.bundled import together, with_left
from bot.domain.carrying import CARRIED, carried_over
from bot.domain.cases import ProposedCases, is_below_cases
from bot.domain.desired import Change
from bot.domain.evidence import (
    CasesInService,
    CheckName,
    CheckResult,
    Evidence,
    checks_of,
    latest,
    missing,
    newest_of_each,
)
from bot.domain.record import verified_by
from bot.domain.scope import scope_of
from bot.errors import InvalidInput, PromobotError, Refused
from bot.exit_codes import ExitCode
from bot.operations import Say
from bot.operations.cases import cases_of
from bot.operations.checking import evidence_of, not_passed_together, rules_in, run_check
from bot.operations.job import write_summary
from bot.operations.leaving import Leaving, desired_before_and_after, what_leaves
from bot.operations.proposed_settings import ProposedSettings, is_settings, read_proposed
from bot.operations.proposing import parts_of, read_desired, what_is_beside
from bot.platform import Platforms
from bot.records.ledger import Ledger
from bot.render import cases as case_words
from bot.render import checks as words
from bot.render import leaving as leaving_words
from bot.render import proposal as proposal_words
from bot.render.cases import CaseWords
from bot.render.deployment import describe, not_retired, retired_before
from bot.settings import path_of

if TYPE_CHECKING:
    from bot.systems.git import Repository
    from bot.systems.github import GitHubRepository, PullRequest


MAX_MEASURED_BEFORE = 20
"""Versions of which the comment says what was measured on rows that are replaced, the newest first."""


@dataclass(frozen=True)
class Subject:
    """The proposal of a pull request: the changes of desired state from its merge base with main to its head.

    The checks judge each change from the version that serves now (:func:`_as_served`).
    """

    pull_request: int
    base: str
    head: str
    changes: tuple[Change, ...]
    other_paths: tuple[str, ...]
    settings: ProposedSettings = field(default_factory=ProposedSettings)
    branch: str = ""
    beside: tuple[str, ...] = ()
    """Paths that it changes besides the proposal, if its branch is one of the bot's."""
    cases: tuple[str, ...] = ()
    """Paths below the folder of cases that it changes."""


@dataclass(frozen=True)
class Checked:
    """Result of a check. ``subject.changes`` may be empty: then the pull request proposes no version."""

    check: str
    subject: Subject
    results: tuple[CheckResult, ...]
    problems: tuple[str, ...] = ()
    comment_url: str = ""
    leaving: tuple[Leaving, ...] = ()
    """What merging would take out of service; the verdict looks, and nothing else does."""
    cases: tuple[CasesInService, ...] = ()
    """The answers of what serves to the cases that the pull request proposes."""

    @property
    def passed(self) -> bool:
        """Whether every result passed and none is missing."""
        return not self.problems and all(result.passed for result in self.results)

    @property
    def exit_code(self) -> ExitCode:
        """0 passed, or nothing to check · 1 failed."""
        return ExitCode.DONE if self.passed else ExitCode.FAILED


def check(
    platforms: Platforms, name: CheckName, *, pull_request: int, head: str | None, run: str, say: Say
) -> Checked:
    """Run one check for everything that the pull request proposes, and keep what it found."""
    subject, unreadable, _ = _subject(platforms, pull_request=pull_request, head=head)
    if unreadable is not None:
        raise unreadable
    subject = _as_served(platforms, subject)
    results: list[CheckResult] = []
    earlier = _Earlier(platforms, name, subject)
    for change in subject.changes:
        evaluated = platforms[change.environment].settings.has_behaviour(change.model)
        if change.after is None or name not in checks_of(evaluated=evaluated):
            continue
        what = f"{name}: {change.model} {change.after.version} for {change.environment}"
        there = earlier.carried_over(change)
        say(f"{what}, carried over" if there else what)
        found = there or run_check(platforms[change.environment], name, change, change.after, label=str(pull_request))
        results.append(found)
    for environment, platform in platforms.items():
        of_environment = [result for result in results if result.environment == environment]
        if of_environment:
            platform.ledger.add_check_run(f"{_folder(pull_request, subject.head)}/{run}-{name}", of_environment)
    asked, problems = _ask_what_serves(platforms, name, subject, run, say)
    checked = Checked(name, subject, tuple(results), problems, cases=asked)
    summary = words.check_summary(name, subject.changes, checked.results)
    write_summary("\n\n".join([summary, case_words.table_of(asked)]) if asked else summary, say=say)
    return checked


def _ask_what_serves(
    platforms: Platforms, name: CheckName, subject: Subject, run: str, say: Say
) -> tuple[tuple[CasesInService, ...], tuple[str, ...]]:
    """In Smoke, ask what serves the cases that are proposed, and keep the answers; return why it could not."""
    proposed = _proposed_cases(platforms, subject)
    if name != "smoke" or not proposed.changed:
        return (), ()
    from bot.operations.proposed_cases import ask_what_serves, not_asked

    found = ask_what_serves(platforms, proposed, label=str(subject.pull_request), say=say)
    for one in found:
        key = f"{_folder(subject.pull_request, subject.head)}/{run}-cases-{one.model}"
        platforms[one.environment].ledger.add_check_run(key, (), cases=[one])
    return tuple(found), tuple(not_asked(platforms, proposed, found))


def _proposed_cases(platforms: Platforms, subject: Subject) -> ProposedCases:
    """Return what the pull request makes of cases. Its head is fetched."""
    if not subject.cases:
        return ProposedCases()
    from bot.operations.proposed_cases import read_proposed_cases

    repository = platforms.any_of_them.repository()
    return read_proposed_cases(repository, subject.cases, head=subject.head, platforms=platforms)


class _Earlier:
    """The results of one check for earlier commits of the same pull request; each environment's are read once."""

    def __init__(self, platforms: Platforms, name: CheckName, subject: Subject) -> None:
        self._platforms, self._name, self._subject = platforms, name, subject
        self._found: dict[str, list[tuple[str, CheckResult]]] = {}

    def carried_over(self, change: Change) -> CheckResult | None:
        """Return the result that holds for this commit, too; None where the check must be run."""
        if self._name not in CARRIED:
            return None
        platform = self._platforms[change.environment]
        ledger, settings = platform.ledger, platform.settings
        if not settings.has_gate(change.model):
            return None
        if change.environment not in self._found:
            self._found[change.environment] = ledger.checks_of(self._subject.pull_request)
        found = self._found[change.environment]
        try:
            law = cases_of(settings, change.model)
        except InvalidInput:
            return None  # the check says what is wrong with it
        revoked = set(_taken_back(ledger, change)) if found else set()
        if any(_seen(result) in revoked for _, result in found if result.is_about(change)):
            return None  # somebody doubts what was seen, so it is looked at again
        return carried_over(
            self._name,
            change,
            found,
            head=self._subject.head,
            rules=rules_in(settings, change.model, law),
            now=datetime.now(UTC),
        )


def aggregate(
    platforms: Platforms, *, pull_request: int, head: str | None, needs: dict[str, str], say: Say
) -> Checked:
    """Demand that every check of every entry ran and passed; write the one comment, the summary and the evidence."""
    say(f"summing up #{pull_request}")
    subject, unreadable, pull = _subject(platforms, pull_request=pull_request, head=head)
    # A mistake in a file is the first thing that a reviewer must see: jobs fail because of it, and say only that.
    problems = [str(mistake) for mistake in unreadable.mistakes] if unreadable is not None else []
    problems += subject.settings.mistakes
    proposed_cases = _proposed_cases(platforms, subject)
    problems += proposed_cases.mistakes
    problems += [_beside(subject.branch, subject.beside)] if subject.beside else []
    problems += [words.job_did_not_succeed(job, result) for job, result in needs.items() if result != "success"]
    leaving = tuple(what_leaves(platforms, subject.changes))
    problems += [problem for one in leaving if (problem := _problem(one))]
    try:
        subject = _as_served(platforms, subject)
    except PromobotError as error:
        problems.append(str(error))
    expected = [change for change in subject.changes if change.after is not None]
    concerned = {change.environment: platforms[change.environment].ledger for change in expected}
    found = [r for ledger in concerned.values() for r in ledger.check_runs(_folder(pull_request, subject.head))]
    taken_back = {seen for change in expected for seen in _taken_back(concerned[change.environment], change)}
    results = latest(result for result in found if _seen(result) not in taken_back)
    sets = {change: platforms[change.environment].settings.evaluation_of(change.model) for change in expected}
    problems += [
        f"there is no result for the check {name}"
        for name in missing(
            results, expected, lambda change: platforms[change.environment].settings.has_behaviour(change.model)
        )
    ]
    whole = not_passed_together(expected, results)
    asked: list[CasesInService] = []
    if proposed_cases.changed:
        from bot.operations.proposed_cases import not_asked

        folder = _folder(pull_request, subject.head)
        asked = [one for platform in platforms.values() for one in platform.ledger.cases_asked(folder)]
        problems += not_asked(platforms, proposed_cases, asked)
    for change in expected:
        if change.after is not None:
            evidence = evidence_of(
                change,
                change.after,
                results,
                [*problems, *whole.get(change, ())],
                pull_request=pull_request,
                base=subject.base,
                head=subject.head,
                evaluation_set=rules.digest if (rules := sets[change]) else "",
            )
            concerned[change.environment].add_evidence(evidence)
    checked = Checked("verdict", subject, tuple(results), tuple(problems), leaving=leaving, cases=tuple(asked))
    body = words.comment(
        subject.changes,
        results,
        problems,
        head=subject.head,
        other_paths=subject.other_paths,
        settings=subject.settings.changes,
        logs=platforms.any_of_them.runner.address,
        leaving=leaving,
        cases=case_words.comment_parts(proposed_cases, asked),
        measured_before=_measured_before(platforms, subject),
    )
    write_summary(body, say=say)
    github = platforms.any_of_them.github
    checked = replace(checked, comment_url=github.put_comment(pull_request, body, marker=words.MARKER))
    _keep_true(platforms, github, pull, checked, case_words.comment_parts(proposed_cases, asked))
    return checked


def _measured_before(platforms: Platforms, subject: Subject) -> list[Evidence]:
    """Return the newest evidence of each version that was measured on a set which this pull request replaces."""
    found: list[Evidence] = []
    for change in subject.settings.changes:
        replaced = {
            one.before
            for one in change.differences
            if one.before and one.key.startswith("evaluation.") and one.key.endswith(".digest")
        }
        if replaced and change.environment in platforms:
            every = newest_of_each(platforms[change.environment].ledger.all_evidence())
            found += [one for one in every if one.evaluation is not None and one.evaluation.digest in replaced]
    return found[:MAX_MEASURED_BEFORE]


def _keep_true(
    platforms: Platforms, github: GitHubRepository, pull: PullRequest, checked: Checked, cases: CaseWords
) -> None:
    """Put the checks' verdict at the top of the text with which the bot opened the pull request."""
    subject, scope = checked.subject, scope_of(pull.branch)
    if scope is None or scope.environment not in {*platforms, *platforms.broken}:
        return
    verdict = words.headline(
        subject.changes,
        checked.results,
        checked.problems,
        other_paths=subject.other_paths,
        settings=subject.settings.changes,
        leaving=checked.leaving,
        cases=cases,
    )
    body = proposal_words.with_verdict(pull.body, verdict, words.details_are_in(checked.comment_url))
    if body != pull.body:
        github.set_body(pull.number, body)


@dataclass(frozen=True)
class Queued:
    """The changes that a merge group would bring to main, and the reasons against them, if any."""

    base: str
    head: str
    changes: tuple[Change, ...]
    problems: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 all of it is covered by evidence · 1 it is not."""
        return ExitCode.FAILED if self.problems else ExitCode.DONE


def check_queued(platforms: Platforms, *, base: str, head: str, say: Say) -> Queued:
    """Demand that what the checks of each pull request found counts for what a merge group proposes as a whole.

    Nothing is loaded: the digests are those that were checked. Deploy looks again, and at more.
    """
    say(f"looking for the evidence of {base[:12]}..{head[:12]}")
    repository = platforms.any_of_them.repository()
    for commit in (base, head):
        repository.fetch(commit)
    changes = _all_changes(repository, platforms, repository.changed_paths(base, head), base, head)
    problems = [problem for one in what_leaves(platforms, changes, with_usage=False) if (problem := _problem(one))]
    for change in changes:
        measured = platforms[change.environment].settings.evaluation_of(change.model)
        problem = _uncovered(platforms[change.environment].ledger, change, measured.digest if measured else "")
        problems += [problem] if problem else []
    queued = Queued(base, head, tuple(changes), tuple(problems))
    write_summary(words.queued(queued.changes, queued.problems), say=say)
    return queued


def _uncovered(ledger: Ledger, change: Change, evaluation_set: str) -> str:
    """Say why a change of a merge group has nothing that speaks for it; an empty string where it has.

    ``evaluation_set`` is the digest of the rows on which the settings want it to be measured; empty for none.
    """
    release = change.release
    if release is None:
        return ""
    if {release.digest, change.judged_digest} & ledger.quarantined().keys():
        return _why_uncovered(change, "quarantine")
    if verified_by(ledger.deployments(), release, change.bundle):
        return ""
    evidence = ledger.evidence(release, change.bundle)
    if evidence is None:
        return _why_uncovered(change, "missing")
    if evaluation_set and evidence.evaluation_set != evaluation_set:
        return _why_uncovered(change, "rows")
    state = evidence.state(datetime.now(UTC))
    return "" if state == "green" else _why_uncovered(change, state, evidence)


def _taken_back(ledger: Ledger, change: Change) -> Iterator[tuple[object, ...]]:
    """Yield the results that a revocation took back: summing them up again makes no new evidence of them."""
    release = change.release
    if release is not None:
        for evidence in ledger.evidence_of(release.slot, release.digest):
            if evidence.revoked is not None and evidence.covers(release):
                yield from (_seen(result) for result in evidence.checks)


def _seen(result: CheckResult) -> tuple[object, ...]:
    return result.environment, result.section, result.model, result.digest, result.check, result.at


# --- what is proposed ---------------------------------------------------------------------------------------------


def _subject(
    platforms: Platforms, *, pull_request: int, head: str | None
) -> tuple[Subject, InvalidInput | None, PullRequest]:
    """Return what is proposed, why that is not known where a file has a mistake, and the pull request itself."""
    platform = platforms.any_of_them
    pull = platform.github.pull_request(pull_request)
    if head is not None and pull.head != head:
        raise Refused(
            f"#{pull_request} has moved on from {head[:12]} to {pull.head[:12]}",
            state="Nothing was checked for the old commit.",
            next_step="The run for the new commit is what counts.",
        )
    repository = platform.repository()
    main = repository.head()
    base = repository.merge_base(main, repository.fetch(pull.head))
    paths = repository.changed_paths(base, pull.head)
    changes: list[Change] = []
    unreadable = None
    try:
        changes = _all_changes(repository, platforms, paths, base, pull.head)
    except InvalidInput as error:
        unreadable = error
    proposed = read_proposed(repository, paths, base=base, main=main, head=pull.head)
    scope = scope_of(pull.branch)
    ours = scope is not None and scope.environment in {*platforms, *platforms.broken}
    known = scope is not None and scope.environment in platforms
    parts = parts_of(pull.branch, platforms[scope.environment].settings.bundles) if scope and known else ()
    more = what_is_beside(repository, pull.branch, base=base, head=pull.head, parts=parts) if ours else []
    law = tuple(path for path in paths if is_below_cases(path))
    read = {*law, *(path for path in paths if path.startswith("promotions/") or is_settings(path))}
    others = tuple(path for path in paths if path not in read)
    subject = Subject(pull_request, base, pull.head, tuple(changes), others, proposed, pull.branch, tuple(more), law)
    return subject, unreadable, pull


def _as_served(platforms: Platforms, subject: Subject) -> Subject:
    """Return it with each change from what answers now, rather than from what main says: that may have been put back.

    By the records, because a runner for checks reaches neither the share nor a gateway of what serves.
    """
    changes: list[Change] = []
    for name in dict.fromkeys(change.environment for change in subject.changes):
        own = [change for change in subject.changes if change.environment == name]
        answers = platforms[name].ledger.answers(own)
        changes += with_left([replace(c, before=entry) for c, entry in zip(own, answers, strict=True)])
    return replace(subject, changes=tuple(changes))


def _all_changes(
    repository: Repository, platforms: Platforms, paths: Iterable[str], base: str, head: str
) -> list[Change]:
    return [
        change
        for path in paths
        if path.startswith("promotions/")
        for change in _changes(repository, platforms, path, base, head)
    ]


def _changes(repository: Repository, platforms: Platforms, path: str, base: str, head: str) -> list[Change]:
    environment = desired.environment_of(path)
    if environment in platforms.broken:
        raise platforms.broken[environment]
    if environment not in platforms and path == desired.path_of(environment) and _is_new(repository, path, head):
        return []
    before, after = desired_before_and_after(repository, platforms, path, base, head)
    bundles = platforms[environment].settings.bundles
    return together(desired.changes(before, after), {environment: after}, {environment: bundles})


def _is_new(repository: Repository, path: str, head: str) -> bool:
    """Say whether a pull request adds the environment of this file, too; raise InvalidInput where it has entries."""
    environment = desired.environment_of(path)
    if repository.read(head, path_of(environment)) is None:
        return False
    if read_desired(repository, environment, head).names():
        raise InvalidInput(
            f"the settings of {environment} are proposed here, too, so nothing can check its models yet",
            file=path,
            next_step="Merge the environment without models first, then propose them.",
        )
    return True


def _folder(pull_request: int, head: str) -> str:
    return f"pr-{pull_request}/{head}"


def _beside(branch: str, found: Sequence[str]) -> str:
    """A branch of the bot changes more than what was proposed."""
    listed = ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
    return (
        f"{branch} is a branch of the bot, and changes more than was proposed: {listed}; "
        "propose the rest from a branch of another name"
    )


def _why_uncovered(change: Change, state: str, evidence: Evidence | None = None) -> str:
    """Nothing speaks for a change of a merge group."""
    revoked = evidence.revoked if evidence else None
    why = {
        "quarantine": "its digest is in quarantine there",
        "rows": "its checks measured it on another evaluation set",
        "missing": "no checks of this digest are on record",
        "red": "its newest checks did not pass",
        "expired": "its checks are too old",
        "revoked": f"its checks were revoked by {revoked.by}: {revoked.reason}"
        if revoked
        else "its checks were revoked",
    }[state]
    return f"{describe(change)}: {why}; run the checks of its pull request again, then queue it again"


def _problem(leaving: leaving_words.Leaving) -> str:
    """Return why a model must not leave service like this; empty where the file says that it is meant."""
    stop = leaving.stop
    if stop.is_meant:
        return ""
    said = retired_before(stop.change, stop.spent) if stop.spent else not_retired(stop.change)
    return f"{stop.change.model} in {stop.change.environment}: {said.why}; {said.next_step}"
