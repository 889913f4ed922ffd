"""Whether a change may be deployed at all: quarantine, freezes, windows, evidence. The way back needs no evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.concurrency import map_concurrent
from bot.domain.bundle import Bundle
from bot.domain.bundled import stays_the_same
from bot.domain.desired import Change, Entry
from bot.domain.evaluation import Evaluation
from bot.domain.evidence import Evidence, Finding, rules_of
from bot.domain.golden import Golden
from bot.domain.hold import Held, Hold
from bot.domain.measured import against, why_stale
from bot.domain.measured import findings as measured_findings
from bot.domain.names import short
from bot.domain.release import Slot
from bot.domain.retirement import is_removal, spent_by
from bot.domain.routes import Routed, Target
from bot.domain.smoke import SmokeCases
from bot.domain.windows import Closed
from bot.operations.attempts import attempted
from bot.operations.past import Past
from bot.records.ledger import Ledger
from bot.render import deployment as words

if TYPE_CHECKING:
    from bot.domain.cases import Case


@dataclass(frozen=True)
class Admission:
    """Whether a change may go on: ``held`` says why not. What goes on must answer as the evidence says."""

    held: Hold | None = None
    evidence: Evidence | None = None
    judged_again: str = ""
    """What moved since the checks, where it passes all the same."""


def admit_all(past: Past, changes: Sequence[Change]) -> dict[Change, Admission]:
    """Decide on each change, in their order. Where a part of a bundle is held, all of it is."""
    limit = past.settings.concurrency.models
    decided = map_concurrent(changes, lambda change: admit(past, change), limit=limit)
    return _held_together(_held_for_room(past, dict(zip(changes, decided, strict=True))))


def _held_for_room(past: Past, admitted: dict[Change, Admission]) -> dict[Change, Admission]:
    """Hold what a Triton has no room for, or cannot replace; only what was measured is known to have no room."""
    concerned = {
        change: one.evidence
        for change, one in admitted.items()
        if one.held is None and one.evidence is not None
        if one.evidence.memory is not None or past.settings.replaces_in_place(change.model)
    }
    if not concerned:
        return admitted
    # Imported where something was measured: most looks, and every way back, need no room.
    from bot.operations.deployment.room import without_room

    return admitted | {change: Admission(hold) for change, hold in without_room(past, concerned).items()}


def _held_together(admitted: dict[Change, Admission]) -> dict[Change, Admission]:
    # Where a rollback that was cut off overrules main, both are asked for in one place: the bundle tells them apart.
    held = {change.bundle: (change, one.held) for change, one in admitted.items() if change.bundle and one.held}

    def also(change: Change, admission: Admission) -> Admission:
        if admission.held or change.bundle is None or change.bundle not in held:
            return admission
        part, hold = held[change.bundle]
        if part.section != change.section:
            return admission
        said = f"{part.model}, a part of its bundle {change.bundle.name}, is held: {hold.why}"
        return Admission(replace(hold, cause="bundle", why=said))

    return {change: also(change, admission) for change, admission in admitted.items()}


def held_among(admitted: Mapping[Change, Admission]) -> list[Held]:
    """Return what is held, in its order; parts of bundles that would stay as they are wait for nothing."""
    return [
        Held(change, admission.held)
        for change, admission in admitted.items()
        if admission.held and not stays_the_same(change)
    ]


def admit(past: Past, change: Change) -> Admission:
    """Decide on one change. A quarantine holds it whatever else is true, and the way back asks for nothing more."""
    entry = change.after
    if change.bundle is not None and not change.bundle.is_whole:
        return Admission(_bundle_not_whole(change, change.bundle))
    if entry is None:
        return _out_of_service(past, change)
    quarantine = past.quarantined.get(entry.digest) or past.quarantined.get(change.judged_digest)
    if quarantine is not None:
        return Admission(_held_by_quarantine(change, quarantine.reason, quarantine.at))
    if past.goes_back(change):
        seen = past.ledger.evidence(entry.in_slot(change.slot), change.bundle) if change.bundle else None
        return Admission(evidence=seen or _seen(past.ledger, change.slot, entry.version, entry.digest))
    if past.settings.mistakes:
        # A freeze, a window, a gate or a rule may be among what could not be read.
        return Admission(_held_by_settings(change, past.settings.mistakes[0]))
    if past.closed is not None:
        return Admission(_held_for_now(change, past.closed))
    evidence = past.ledger.evidence(entry.in_slot(change.slot), change.bundle)
    if evidence is None:
        return Admission(_no_evidence(change))
    match evidence.state(datetime.now(UTC)):
        case "red":
            return Admission(_failed_evidence(change, evidence))
        case "revoked":
            return Admission(_revoked_evidence(change, evidence))
        case "expired":
            return Admission(_expired_evidence(change, evidence))
        case "green" if not evidence.answers:
            return Admission(_nothing_to_compare(change, evidence))
        case "green":
            return _on_its_base(past, change, entry, evidence)


def _out_of_service(past: Past, change: Change) -> Admission:
    """Let a model leave service only where the file says so: an entry may be gone by mistake."""
    if not is_removal(change):
        return Admission()
    if not change.retired:
        return Admission(words.not_retired(change))
    spent = spent_by(past.of(change.slot), change)
    return Admission(words.retired_before(change, spent) if spent else None)


def golden_of(ledger: Ledger, what: Routed, smoke: SmokeCases) -> tuple[Golden, Evidence | None]:
    """Return how a version in service must answer, and what the checks saw of it, where they asked the same."""
    evidence = seen_once(ledger, what)
    golden = Golden(smoke, evidence.answers if evidence else ())
    return (golden, evidence) if golden.fits else (Golden(smoke), None)


def seen_once(ledger: Ledger, what: Routed) -> Evidence | None:
    """Return what the checks saw of a version in service: what staging answered once holds for good."""
    return _seen(ledger, what.slot, what.target.version, what.target.digest, beside=what.parts)


def _seen(
    ledger: Ledger, slot: Slot, version: int, digest: str, *, beside: Mapping[str, Target] | None = None
) -> Evidence | None:
    # Routes name no run. Checks that passed compared the run and every byte with MLflow's, so there is one of each
    # version, and what another version of the same bytes was answered is left aside.
    found = (one for one in ledger.evidence_of(slot, digest) if one.version == version)
    found = (one for one in found if one.passed and one.revoked is None)
    newest = next(found, None)
    if newest is None or newest.bundle is None or not beside or _is_beside(newest.bundle, beside):
        return newest
    # A part that asks others may answer otherwise beside others.
    return next((one for one in found if one.bundle is not None and _is_beside(one.bundle, beside)), newest)


def _is_beside(bundle: Bundle, parts: Mapping[str, Target]) -> bool:
    """Whether these parts are in service."""
    return all(part.model in parts and parts[part.model].digest == part.digest for part in bundle.parts)


def is_quarantined(past: Past, change: Change) -> bool:
    """Whether what this change asks for failed here before."""
    return change.after is not None and bool({change.after.digest, change.judged_digest} & past.quarantined.keys())


def _on_its_base(past: Past, change: Change, entry: Entry, evidence: Evidence) -> Admission:
    """Judge again what stands on another base: the gate's word holds for one champion and one set of rules."""
    # Imported where evidence is looked at: a way back needs none, and its users wait for every import.
    from bot.domain.cases import judged_by_record
    from bot.operations.cases import answers_already, cases_of

    champion, moved = change.champion, []
    if (champion and champion.digest) != (evidence.champion and evidence.champion.digest):
        moved.append(_champion_moved(evidence.champion, champion))
    smoke = next((result for result in evidence.checks if result.check == "smoke"), None)
    measured = past.settings.evaluation_of(change.model)
    if measured is not None and evidence.evaluation_set != measured.digest:
        return Admission(_other_rows(change, evidence, measured.digest))
    with attempted() as attempt:
        gate, rules = past.settings.gate(change.model), past.settings.packages
        law = cases_of(past.settings, change.model)
        fingerprints = (case.fingerprint for case in law)
        if evidence.rules != rules_of(gate, rules, fingerprints, measured=measured.rules if measured else None):
            of = f"{change.model}, its cases" if law or evidence.cases else change.model
            moved.append(f"the rules of {change.environment} for {of} or for packages were changed")
        if not moved:
            return Admission(evidence=evidence)
        law = () if answers_already(change, entry) else law
        _, unasked = judged_by_record(law, evidence.cases)
        if unasked:
            return Admission(_not_asked(change, evidence, unasked))
        # Imported where something is judged: most looks, and every way back, judge nothing.
        from bot.operations.checking import judge_again

        latency, parts = smoke.latency if smoke else None, past.settings.parts_before(change.model)
        findings = judge_again(
            gate, rules, past.registry, change, entry, latency, parts, law=law, asked=evidence.cases
        )
        if measured is not None and evidence.evaluation is not None:
            beside = _measured_of(past, change, champion) if champion else None
            numbers = against(evidence.evaluation, champion, beside)
            stale = why_stale(gate, numbers, champion, measured_by=measured.measured_by)
            if stale:
                return Admission(_measure_again(change, evidence, moved, stale))
            listens = change.section == "shadow"
            findings += measured_findings(gate, numbers, tolerance=measured.tolerance, listens=listens)
    if attempt.error:
        return Admission(_could_not_judge(change, evidence, moved, attempt.error))
    problems = [finding for finding in findings if not finding.passed]
    if problems:
        return Admission(_misses_now(change, evidence, moved, problems))
    return Admission(
        evidence=evidence,
        judged_again=(
            f"judged again by today's rules, and passed: since its checks {words.checked_in(evidence)} "
            f"{' and '.join(moved)}"
        ),
    )


def _measured_of(past: Past, change: Change, champion: Entry) -> Evaluation | None:
    """Return what was measured of the version in service when its own checks ran; None where nothing was."""
    found = _seen(past.ledger, change.slot.live, champion.version, champion.digest)
    return found.evaluation if found else None


def _bundle_not_whole(change: Change, bundle: Bundle) -> Hold:
    """Some parts have an entry, and others none."""
    missing = ", ".join(bundle.missing)
    return Hold(
        "bundle",
        f"its bundle {bundle.name} is not whole: {missing} has no entry in {change.section}",
        f"propose all parts of {bundle.name} for {change.environment} in one pull request, or retire all of them; "
        f"if the settings added {missing} to it, revert that in manifests/environments/{change.environment}.yaml",
    )


def _held_by_quarantine(change: Change, reason: str, at: datetime) -> Hold:
    """The digest failed here before."""
    return Hold(
        "quarantine",
        f"its digest is in quarantine here since {at:%Y-%m-%d %H:%M} UTC: {reason or 'no reason was given'}",
        words.merge_revert(change),
        at,
    )


def _held_by_settings(change: Change, mistake: object) -> Hold:
    """The environment file has a mistake, so its rules are not known."""
    return Hold(
        "settings",
        f"nothing new goes out while its settings have a mistake ({mistake}); the way back stays open",
        f"correct manifests/environments/{change.environment}.yaml on main, then {words.deploy(change.environment)}",
    )


def _held_for_now(change: Change, shut: Closed) -> Hold:
    """Nothing new goes out now: a freeze is on, or no window is open."""
    wait = "wait for its end" if shut.cause == "freeze" else "wait until then"
    return Hold(
        shut.cause,
        f"{shut.said}; the way back stays open",
        f"{wait}: `promobot watch` deploys it; without it, {words.deploy(change.environment)}",
        shut.since,
    )


def _no_evidence(change: Change) -> Hold:
    """Nobody checked it."""
    digest = short(change.after.digest) if change.after else ""
    return Hold(
        "evidence", f"there is no evidence that {digest} was checked for this environment", _check_again(change)
    )


def _failed_evidence(change: Change, evidence: Evidence) -> Hold:
    """The checks were red."""
    what_next = f"{_take_back(change, evidence)}, or {_check_again(change)}"
    return Hold("evidence", f"its checks {words.checked_in(evidence)} did not pass", what_next, evidence.at)


def _revoked_evidence(change: Change, evidence: Evidence) -> Hold:
    """Somebody took the checks' word back."""
    event = evidence.revoked
    why = f" by {event.by or 'somebody'} on {event.at:%Y-%m-%d %H:%M} UTC: {event.reason}" if event else ""
    what_next = f"{_take_back(change, evidence)}, or {_check_again(change)}"
    at = event.at if event else evidence.at
    return Hold("evidence", f"its evidence {words.checked_in(evidence)} was revoked{why}", what_next, at)


def _expired_evidence(change: Change, evidence: Evidence) -> Hold:
    """The checks were too long ago."""
    why = f"its checks {words.checked_in(evidence)} expired on {evidence.expires:%Y-%m-%d}"
    return Hold("evidence", why, _check_again(change), evidence.expires)


def _nothing_to_compare(change: Change, evidence: Evidence) -> Hold:
    """The checks are older than what deploy asks of them."""
    why = f"its checks {words.checked_in(evidence)} did not record what staging answered"
    return Hold("evidence", why, _check_again(change), evidence.at)


def _other_rows(change: Change, evidence: Evidence, digest: str) -> Hold:
    """The settings name another evaluation set than the checks measured it on."""
    before = short(evidence.evaluation_set) if evidence.evaluation_set else "none"
    why = (
        f"its checks {words.checked_in(evidence)} measured it on another evaluation set than the settings name now "
        f"({before} instead of {short(digest)})"
    )
    return Hold("evidence", why, _check_again(change), evidence.at)


def _champion_moved(was: Entry | None, now: Entry | None) -> str:
    """The gate compared with another version."""
    before, after = (f"{one.version} ({short(one.digest)})" if one else "none" for one in (was, now))
    return f"the version in service was {before} and is {after}"


def _misses_now(change: Change, evidence: Evidence, moved: Sequence[str], problems: Sequence[Finding]) -> Hold:
    """Something moved after the checks, and now the version does not pass."""
    found = "; ".join(f"{problem.what}: {problem.detail}" for problem in problems[:3])
    return Hold(
        "base",
        (
            f"since its checks {words.checked_in(evidence)} {' and '.join(moved)}; judged again, it does "
            f"not pass ({found})"
        ),
        _take_back(change, evidence),
        evidence.at,
    )


def _not_asked(change: Change, evidence: Evidence, unasked: Sequence[Case]) -> Hold:
    """A case became law after the checks, and nobody knows how this version answers it."""
    named = ", ".join(case.name for case in unasked[:5]) + (", …" if len(unasked) > 5 else "")
    what = f"the case {named}" if len(unasked) == 1 else f"{len(unasked)} cases ({named})"
    why = f"it was not asked {what} by its checks {words.checked_in(evidence)}: law is asked of every later version"
    return Hold("base", why, _check_again(change), evidence.at)


def _measure_again(change: Change, evidence: Evidence, moved: Sequence[str], stale: str) -> Hold:
    """Something moved after the checks, and the numbers that were measured then do not tell what that means."""
    why = f"since its checks {words.checked_in(evidence)} {' and '.join(moved)}; {stale}"
    return Hold("base", why, _check_again(change), evidence.at)


def _could_not_judge(change: Change, evidence: Evidence, moved: Sequence[str], error: Exception) -> Hold:
    """Something moved, and what that means could not be found out."""
    since = " and ".join(moved) or "it cannot be told whether something moved"
    return Hold(
        "base",
        f"since its checks {words.checked_in(evidence)} {since}, and it could not be judged again: {error}",
        f"deploy again when that is fixed, or {_take_back(change, evidence)}",
        evidence.at,
    )


def _check_again(change: Change) -> str:
    """What main says already cannot be proposed: it is checked where it is."""
    command = f"promobot recheck {change.model} --env {change.environment}"
    return f"`{command}` checks what main says, then deploy again"


def _take_back(change: Change, evidence: Evidence) -> str:
    """How main comes to say what is in service."""
    if change.section == "models" and change.before is not None:
        back = f"promobot rollback {change.model} --env {change.environment} --to {change.before.version}"
        return f"`{back}` has main say what is in service"
    if evidence.pull_request is not None:
        return f"press Revert on #{evidence.pull_request} to have main ask for it no more"
    return f"take it out of promotions/{change.environment}.yaml to have main ask for it no more"
