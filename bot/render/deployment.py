"""Lines and messages of a deployment, while and after it runs: on the terminal, in Slack, in records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from bot.domain.desired import Change, Entry
from bot.domain.evidence import Evidence, Finding
from bot.domain.golden import Disagreement, Golden
from bot.domain.hold import Held, Hold
from bot.domain.message import Message
from bot.domain.names import short
from bot.domain.record import CRITERIA, CriterionName, DeploymentRecord, Outcome, is_failed_rollback
from bot.domain.routes import Target
from bot.domain.workers import Answering
from bot.errors import OutsideError, PromobotError
from bot.render.mrkdwn import escape
from bot.render.plainly import plainly
from bot.render.proposal import take_blame_back

CUT_OFF = "this deployment was cut off, and what came after it did not ask for it"
UNREADABLE_JOURNAL_STATE = "Nothing was changed; gateways serve what they have."
UNREADABLE_JOURNAL_STEP = (
    "`promobot status` shows what is served. "
    "If that is right, move the latest file in journal/ away and deploy again."
)
NOTHING_TO_SERVE = "the model is taken out of service"

CRITERION_NAMES: dict[CriterionName, str] = {
    "registered_in_mlflow": "registered in MLflow",
    "ready": "READY",
    "triton_loaded": "Triton loaded",
    "smoke_passed": "smoke passed",
    "fastapi_reloaded": "FastAPI reloaded",
    "slack_delivered": "Slack delivered",
}


class Named(Protocol):
    """Anything with a name."""

    name: str


def names(systems: Iterable[Named]) -> str:
    """Return the systems' names in a row."""
    return ", ".join(system.name for system in systems)


def describe(change: Change) -> str:
    """Return a change in a few words."""
    where = change.environment + (" (shadow)" if change.section == "shadow" else "")
    if change.after is None:
        return f"{change.model} out of {where}"
    if change.before == change.after:
        return f"{change.model} {change.after.version} again in {where}"
    before = f"{change.before.version} → " if change.before else ""
    return f"{change.model} {before}{change.after.version} in {where}"


# --- why a change is held ----------------------------------------------------------------------------------------


def held_by_quarantine(change: Change, reason: str, at: datetime) -> Hold:
    """The digest failed here before."""
    return Hold(
        "quarantine",
        f"its digest is in quarantine here since {at:%Y-%m-%d %H:%M} UTC: {reason or 'no reason was given'}",
        merge_revert(change),
        at,
    )


def merge_revert(change: Change) -> str:
    """Git must follow."""
    return f"merge the revert of {change.model}, or: promobot rollback {change.model} --env {change.environment}"


def held_by_settings(change: Change, mistake: object) -> Hold:
    """The environment file has a mistake, so its rules are not known."""
    return Hold(
        "settings",
        f"nothing new goes out while its settings have a mistake ({mistake}); the way back stays open",
        f"correct manifests/environments/{change.environment}.yaml on main, then {deploy(change.environment)}",
    )


def goes_on_without(mistake: object) -> str:
    """A part of the environment file that the way back does not need is wrong."""
    return f"⚠️ {mistake}. This part is left out; until the file is right, only ways back go on."


def not_cleaned_up(mistake: object) -> str:
    """The file that says what to keep has a mistake."""
    return f"nothing is cleaned up while the settings have a mistake ({mistake})"


def held_by_freeze(change: Change, reason: str, start: datetime, end: datetime) -> Hold:
    """Nothing new goes out now."""
    return Hold(
        "freeze",
        f"nothing new goes out until {end:%Y-%m-%d %H:%M %Z} ({reason}); the way back stays open",
        f"wait for its end, then {deploy(change.environment)}",
        start.astimezone(UTC),
    )


def retirement(model: str, environment: str) -> str:
    """The command, or the edit, with which a person takes a model out of service."""
    return (
        f"`promobot retire {model} --env {environment} --reason '…'` opens the pull request that takes it out of "
        f"service; by hand, write its name and a reason under `retired:` in promotions/{environment}.yaml"
    )


def not_retired(change: Change) -> Hold:
    """An entry is gone, and nothing says that this is meant."""
    return Hold(
        "entry gone",
        f"its entry is gone from promotions/{change.environment}.yaml, and nothing there says that it is to leave "
        "service",
        f"put the entry back, or: {retirement(change.model, change.environment)}",
    )


def retired_before(change: Change, spent: DeploymentRecord) -> Hold:
    """The mark was carried out, and a person brought the model back."""
    return Hold(
        "retired before",
        f"{spent.id} took it out of service for this reason already ({change.retired}), and it came back since",
        f"merge the pull request that brings it back; to take it out once more, write another reason under "
        f"retired.{change.model} in promotions/{change.environment}.yaml",
        spent.finished_at,
    )


def no_evidence(change: Change) -> Hold:
    """Nobody checked it."""
    digest = short(change.after.digest) if change.after else ""
    return Hold(
        "evidence", f"there is no evidence that {digest} was checked for this environment", _check_again(change)
    )


def failed_evidence(change: Change, evidence: Evidence) -> Hold:
    """The checks were red."""
    what_next = f"{_take_back(change, evidence)}, or {_check_again(change)}"
    return Hold("evidence", f"its checks {checked_in(evidence)} did not pass", what_next, evidence.at)


def revoked_evidence(change: Change, evidence: Evidence) -> Hold:
    """Somebody took the checks' word back."""
    event = evidence.revoked
    why = f" by {event.by or 'somebody'} on {event.at:%Y-%m-%d %H:%M} UTC: {event.reason}" if event else ""
    what_next = f"{_take_back(change, evidence)}, or {_check_again(change)}"
    at = event.at if event else evidence.at
    return Hold("evidence", f"its evidence {checked_in(evidence)} was revoked{why}", what_next, at)


def expired_evidence(change: Change, evidence: Evidence) -> Hold:
    """The checks were too long ago."""
    why = f"its checks {checked_in(evidence)} expired on {evidence.expires:%Y-%m-%d}"
    return Hold("evidence", why, _check_again(change), evidence.expires)


def nothing_to_compare(change: Change, evidence: Evidence) -> Hold:
    """The checks are older than what deploy asks of them."""
    why = f"its checks {checked_in(evidence)} did not record what staging answered"
    return Hold("evidence", why, _check_again(change), evidence.at)


def checked_in(evidence: Evidence) -> str:
    """Where the checks ran, as people look for it."""
    return f"in #{evidence.pull_request}" if evidence.pull_request is not None else f"of main at {evidence.head[:12]}"


def champion_moved(was: Entry | None, now: Entry | None) -> str:
    """The gate compared with another version."""
    before, after = (f"{one.version} ({short(one.digest)})" if one else "none" for one in (was, now))
    return f"the version in service was {before} and is {after}"


def rules_moved(change: Change) -> str:
    """The rules changed after the checks."""
    return f"the rules of {change.environment} for {change.model} or for packages were changed"


def judged_again(evidence: Evidence, moved: Sequence[str]) -> str:
    """Something moved, and it passes all the same."""
    return f"judged again by today's rules, and passed: since its checks {checked_in(evidence)} {' and '.join(moved)}"


def misses_now(change: Change, evidence: Evidence, moved: Sequence[str], problems: Sequence[Finding]) -> Hold:
    """Something moved after the checks, and now the version does not pass."""
    found = "; ".join(f"{problem.what}: {problem.detail}" for problem in problems[:3])
    return Hold(
        "base",
        f"since its checks {checked_in(evidence)} {' and '.join(moved)}; judged again, it does not pass ({found})",
        _take_back(change, evidence),
        evidence.at,
    )


def could_not_judge(change: Change, evidence: Evidence, moved: Sequence[str], error: Exception) -> Hold:
    """Something moved, and what that means could not be found out."""
    since = " and ".join(moved) or "it cannot be told whether something moved"
    return Hold(
        "base",
        f"since its checks {checked_in(evidence)} {since}, and it could not be judged again: {error}",
        f"deploy again when that is fixed, or {_take_back(change, evidence)}",
        evidence.at,
    )


def held(one: Held) -> str:
    """Return, in one line, that a change is held, who answers meanwhile, why, and what to type."""
    return f"held: {describe(one.change)}, {_meanwhile(one.change)}: {one.hold.why}; {one.hold.next_step}"


def _meanwhile(change: Change) -> str:
    if change.section == "shadow":
        return "no user is affected"
    return f"version {change.before.version} goes on answering" if change.before else "nothing answers"


def deploy(environment: str) -> str:
    """Converge."""
    return f"promobot deploy --env {environment}"


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


# --- progress ----------------------------------------------------------------------------------------------------


def publishing(change: Change) -> str:
    """Bytes are being copied."""
    return f"{describe(change)}: publishing to the model repository"


def loading(target: Target, tritons: Iterable[Named]) -> str:
    """Tritons are loading."""
    return f"{target.triton_model} {target.version}: loading on {names(tritons)}"


def ready_on(target: Target, tritons: Iterable[Named]) -> str:
    """All Tritons have it."""
    return f"{target.triton_model} {target.version} READY on {names(tritons)}"


def newcomer(triton: str) -> str:
    """DNS gives an address that it did not give when the run began."""
    return f"{triton} came up in the middle: loading what is in service and what is to be"


def golden_answers(
    golden: Golden, evidence: Evidence | None, tritons: Iterable[Named], *, again: bool = False
) -> str:
    """All Tritons answer rightly."""
    count = len(golden.smoke.cases)
    seen = f" and on staging {checked_in(evidence)}" if evidence and golden.staging else ""
    when = ", before the switch and after it" if again else ""
    return f"{count} of {count} golden requests answered as in training{seen}, on {names(tritons)}{when}"


def answers_differ(wrong: Sequence[Disagreement], evidence: Evidence | None) -> str:
    """It answers otherwise than it did before: which case, what it says, and what was said before."""
    return "; ".join(
        f"case {one.case}: {one.said}"
        + (f", which staging answered {checked_in(evidence)}" if one.as_staging and evidence else "")
        for one in wrong[:3]
    ) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def other_cases(change: Change, evidence: Evidence | None) -> str:
    """The package's cases are not those of the recorded answers, so nothing can be compared."""
    where = f" {checked_in(evidence)}" if evidence else ""
    return f"the evidence{where} has answers to other requests than the smoke cases of {describe(change)}"


def nothing_kept(target: Target) -> str:
    """What proves a version in service is gone from the share."""
    return (
        f"{target.triton_model} {target.version} is in service, but nothing is kept of its package "
        f"({short(target.digest)}), so it is not loaded where it is missing"
    )


def damaged(target: Target, wrong: Sequence[str]) -> str:
    """Somebody changed what is in service."""
    return (
        f"{target.triton_model} {target.version} is in service, but its bytes are no longer those of "
        f"{short(target.digest)}, so it is not loaded where it is missing: {'; '.join(wrong[:3])}"
    )


def wrong_after_restart(target: Target, wrong: Sequence[Disagreement], evidence: Evidence | None) -> str:
    """A Triton that had lost a version answers otherwise than before."""
    return (
        f"{target.triton_model} {target.version} was loaded again and unloaded, because it answers otherwise than "
        f"before: {answers_differ(wrong, evidence)}"
    )


def lost_since(target: Target, state: str) -> str:
    """A Triton had the version before the switch, and has it no more."""
    return f"{target.triton_model} {target.version} was READY before the switch and is {state} after it"


def serves_generation(
    generation: int, gateways: Iterable[Named], asked_through: Mapping[str, tuple[int, int]] | None = None
) -> str:
    """All gateways serve it; ``asked_through`` says by name how many of how many workers gave golden answers."""
    through = asked_through or {}
    named = ", ".join(f"{one.name}{_workers(*through.get(one.name, (1, 1)))}" for one in gateways)
    return f"generation {generation} and the golden answers on {named}"


def _workers(met: int, known: int) -> str:
    if known <= 1:
        return ""
    if met == known:
        return f" (all {known} workers)"
    return f" ({known} workers serve it; golden answers came through {met})"


def unknown_workers(answers: Sequence[Answering]) -> str:
    """Say why nobody knows all processes that answer at a gateway's address; empty where they are known."""
    if any(not answer.says for answer in answers):
        return "it does not say which process answers: it is older than this bot; bring it up to date first"
    if any(answer.workers is None for answer in answers):
        return (
            "it does not know how many processes answer at its address, because its workers cannot find each other; "
            "its log says why. Give them a TMPDIR that they can write to, or say single_process=True where there is "
            "only one"
        )
    if len(answers) > 1:
        return (
            f"{len(answers)} groups of processes that do not know each other answer at its address; give each "
            f"machine an entry of its own in `gateways`, or use every_address"
        )
    return ""


def cannot_be_switched(gateway: str, why: str) -> str:
    """A gateway that answers, and that nobody could switch, or could not prove to be switched."""
    return f"{gateway} cannot be switched, so nothing new goes out: {why}"


def way_back_past(gateway: str, why: str) -> str:
    """The way back does not wait for such a gateway."""
    return f"{gateway} cannot be told to switch, or cannot prove it. The way back goes all the same: {why}"


def switching(environment: str, generation: int) -> str:
    """The moment users get the new version."""
    return f"{environment}: switching the routes to generation {generation}"


def putting_back(environment: str, generation: int) -> str:
    """The moment users get the old version again."""
    return f"{environment}: putting the last verified routes back, as generation {generation}"


def some_go_back(changes: Sequence[Change], *, staying: int) -> str:
    """Some models fail, the others stay."""
    listed = ", ".join(describe(change) for change in changes)
    return f"{listed}: failed after the switch and goes back; the other {staying} stay and are proven again"


def does_not_follow(gateway: str, why: str) -> str:
    """A gateway does not take the routes in force, so it would not take new ones."""
    return f"{gateway} does not take the routes in force, so nothing new goes out: {why}"


def gateway_left(gateway: str) -> str:
    """A gateway was evicted or replaced in the middle of the switch."""
    return f"{gateway} does not answer, and its name no longer resolves to its address: it left the gateways"


def triton_left(triton: str) -> str:
    """A Triton was scaled away or replaced in the middle of the switch."""
    return f"{triton} does not answer, and its name no longer resolves to its address: it left the Tritons"


def gateway_came(gateway: str) -> str:
    """A gateway came up in the middle of the switch."""
    return f"{gateway} came up in the middle of the switch: it is reloaded and proven, too"


def unreadable_journal(why: str) -> str:
    """Somebody wrote into the journal."""
    return f"the journal is not readable: {why}"


def verified_before(record: DeploymentRecord) -> str:
    """Proof for a version that was in service before."""
    return f"as verified in {record.id}; its bytes were hashed again"


NOTHING_PUBLISHED = "Nothing of it was published or loaded."


def not_ready(model: str, version: int, status: str) -> str:
    """MLflow does not say READY."""
    return f"{model} {version} is {status}, not READY"


def loaded_again(target: Target, triton: str) -> str:
    """A Triton had lost a version."""
    return f"loaded {target.triton_model} {target.version} on {triton} again, which did not have it"


def reloaded_again(gateway: str, generation: int) -> str:
    """A gateway had missed a reload."""
    return f"reloaded gateway {gateway} to generation {generation}, which it did not serve"


def silent(error: PromobotError) -> str:
    """A system did not answer."""
    return f"{error.system} does not answer: {error.said}" if isinstance(error, OutsideError) else str(error)


def without_system(said: str | PromobotError) -> str:
    """Return a message for a sentence that names the system already."""
    return said.said if isinstance(said, OutsideError) else str(said)


def not_known_to_be_back(gateway: str, why: str) -> str:
    """The worst that can happen after a put-back."""
    return f"gateway {gateway} is not known to be back: {why}"


def stays_loaded(target: Target) -> str:
    """Somebody may still be routed to what was put back."""
    return f"{target.triton_model} {target.version} stays loaded: a gateway may still route to it"


def could_not_withdraw(model: str, triton: str, error: Exception) -> str:
    """Something unused stays loaded."""
    return f"{model} stays loaded on {triton}, where nobody is routed to it: {error}"


def could_not_revert(change: Change, error: Exception) -> str:
    """Git still says what is not in service."""
    return f"the revert of {describe(change)} could not be proposed, the next run tries again: {error}"


def in_service_after_all(change: Change) -> str:
    """Why the bot closes the revert that it opened."""
    return f"{describe(change)}: it is in service now, so nothing goes back."


def withdrawn(url: str) -> str:
    """The bot closed a revert that nobody wants now."""
    return f"closed the revert {url}"


def could_not_withdraw_revert(change: Change, error: Exception) -> str:
    """A revert stays open that nobody wants."""
    return f"the revert of {describe(change)} could not be closed; close it, do not merge it: {error}"


def could_not_alias(alias: str, error: Exception) -> str:
    """MLflow shows the old alias."""
    return f"MLflow's alias {alias} was not moved, the next change moves it: {error}"


def still_undelivered(name: str, error: Exception) -> str:
    """Slack is still down."""
    return f"the message of {name} is still in the outbox: {error}"


def delivered_late(name: str) -> str:
    """Slack has taken a message of an earlier run."""
    return f"the message of {name} is delivered now"


def person_went_back(target: Entry, reason: str) -> str:
    """Why what main asks for is in quarantine."""
    return f"rolled back to {target.version}" + (f": {reason}" if reason else "")


def held_after_the_switch(model: str, error: Exception) -> str:
    """The bad version could not enter quarantine before users are served."""
    return f"{model} goes back first, and what it leaves into quarantine after that: {error}"


def goes_on_back(change: Change) -> str:
    """This run resumes an interrupted rollback."""
    return f"{describe(change)}: resuming the rollback that was cut off"


def was_rolled_back(change: Change) -> str:
    """Why the version before is in quarantine."""
    version = change.after.version if change.after else "nothing"
    return f"rolled back to {version}"


# --- what was found damaged --------------------------------------------------------------------------------------

REPAIR_CUT_OFF = "its repair was cut off"


def answers_wrong(triton: str, said: str) -> str:
    """A Triton answers otherwise than the version should."""
    return f"{triton} answered wrong, {said}"


def gateway_answers_wrong(gateway: str, said: str) -> str:
    """A gateway answers otherwise than the Tritons do."""
    return f"gateway {gateway} answers wrong, though every Triton is right: {said}"


def description_restored(model: str, version: int) -> str:
    """The kept description of a package was gone or damaged, and was written again."""
    return f"kept what proves {model} {version} anew"


def other_package(model: str, version: int, digest: str) -> str:
    """The registry now holds another package under this number."""
    return f"{model} {version} is {digest} now"


def way_back_lost(change: Change, said: str) -> str:
    """A version that is kept cannot be brought back."""
    version = change.after.version if change.after else 0
    return f"{change.model} {version} is not a way back in {change.environment} ({said})"


def way_back_published(change: Change, said: str) -> str:
    """A version that is kept was damaged."""
    version = change.after.version if change.after else 0
    return f"published {change.model} {version}, a way back in {change.environment}, again: {said}"


def alias_not_moved(model: str, alias: str) -> str:
    """MLflow did not take it."""
    return f"MLflow's alias {model}@{alias} was not moved"


def alias_moved(model: str, alias: str, version: int) -> str:
    """MLflow's alias points where it should again."""
    return f"moved MLflow's alias {model}@{alias} to {version}"


OUTCOME_MARKS: dict[Outcome, str] = {
    "succeeded": "✅",
    "unconfirmed": "✅",
    "incomplete": "⚠️",
    "put back": "↩️",
    "failed": "❌",
}


WORST_FIRST: tuple[Outcome, ...] = ("put back", "failed", "incomplete", "unconfirmed", "succeeded")


def mark(record: DeploymentRecord) -> str:
    """Return the sign of an outcome; a failed rollback is a failure, whatever was put back for it."""
    return "❌" if is_failed_rollback(record) else OUTCOME_MARKS[record.outcome]


# --- the end -----------------------------------------------------------------------------------------------------


def verdict(record: DeploymentRecord) -> str:
    """Return the outcome in one sentence."""
    change = Change(record.environment, record.section, record.model, record.before, record.after)
    version = record.after.version if record.after else "none"
    before = f"version {record.before.version}" if record.before else "nothing"
    match record.outcome:
        case "succeeded" if record.after is None:
            why = f" ({record.reason})" if record.reason else ""
            return f"{describe(change)}: it is out of service{why}."
        case "succeeded" if record.before == record.after:
            path = " on the shadow path" if record.section == "shadow" else ""
            return f"{record.model} {version} was published again{path} in {record.environment}: {record.reason}."
        case "succeeded" if record.section == "shadow":
            return f"{record.model} {version} is on the shadow path in {record.environment}."
        case "succeeded" if record.way_back and record.before:
            return (
                f"{record.model} is back at version {version} in {record.environment} (from {record.before.version})."
            )
        case "succeeded":
            was = f" (was {record.before.version})" if record.before else ""
            return f"{record.model} {version} is served in {record.environment}{was}."
        case "unconfirmed":
            served = verdict(record.model_copy(update={"outcome": "succeeded"})).removesuffix(".")
            return f"{served}; everything holds but Slack; the message is in the outbox."
        case "incomplete":
            if record.after is None or record.section == "shadow":
                return f"{describe(change)}: so it is wherever gateways answer; deploy again when all do."
            was = f" (from {record.before.version})" if record.before else ""
            back = f"{record.model} is back at version {version} in {record.environment}{was}"
            return f"{back} wherever gateways answer; deploy again when all do."
        case "put back" | "failed" if is_failed_rollback(record):
            return (
                f"The rollback of {record.model} to version {version} in {record.environment} failed: {before} still "
                f"{'listens' if record.section == 'shadow' else 'answers'}."
            )
        case "put back":
            return f"{describe(change)} failed after the switch and was put back: {before} answers."
        case "failed":
            return f"{describe(change)} failed before the switch: nothing that users see has changed."


def concluded(record: DeploymentRecord, *, revert_url: str) -> str:
    """Return the outcome with its problem and what to do, for the terminal."""
    lines = [verdict(record)]
    if record.problem:
        lines.append(f"  what happened: {record.problem}")
    if step := what_to_do(record, merge=f"merge {revert_url}" if revert_url else ""):
        lines.append(f"  what to do: {step}")
    if may_be_wrong(record):
        lines.append(f"  if the model is not at fault: {take_blame_back(record.id, record.environment)}")
    return "\n".join(lines)


def what_to_do(record: DeploymentRecord, *, merge: str) -> str:
    """Return what to do about a deployment that did not go well; ``merge`` says to merge its revert, if it has one.

    Empty where nothing is to do.
    """
    again = deploy(record.environment)
    if is_unblamed(record):
        return "; or ".join(part for part in (fix_and_deploy(record), merge) if part)
    match record.outcome:
        case "succeeded" | "unconfirmed":
            return ""
        case "incomplete":
            return f"{again}, when every gateway answers"
        case "put back":
            return merge or f"promobot rollback {record.model} --env {record.environment}, and merge what it opens"
        case "failed":
            return merge or f"fix the cause, then {again}"


def is_unblamed(record: DeploymentRecord) -> bool:
    """Whether it was put back for a fault that is not the model's own, or is a rollback that failed."""
    return (record.outcome == "put back" and not record.quarantined) or is_failed_rollback(record)


def may_be_wrong(record: DeploymentRecord) -> bool:
    """Whether its digest is blamed although every Triton had answered rightly before the switch."""
    return record.outcome == "put back" and record.quarantined


def fix_and_deploy(record: DeploymentRecord) -> str:
    """Return what to do where no digest is to blame."""
    if is_failed_rollback(record) and record.after is not None:
        again = f"promobot rollback {record.model} --env {record.environment} --to {record.after.version} --now"
        return f"fix the cause, then {again}"
    return f"no digest is blamed; fix the cause, then promobot deploy --env {record.environment}"


def failed_as_before(record: DeploymentRecord) -> str:
    """Return that nothing is new: it failed as it is recorded to have failed before."""
    return f"{verdict(record)}\n  what happened, as {record.id} has recorded it before: {record.problem}"


def message(record: DeploymentRecord, *, revert_url: str) -> Message:
    """Return the Slack message of a deployment.

    Its key is the record's id and how it ended: a deployment that was cut off after its message, and that ended
    otherwise when it was finished, is told of again.
    """
    sign = mark(record)
    text = f"{sign} {verdict(record)}"
    blocks: list[dict[str, Any]] = [_section(f"*{sign} {escape(verdict(record))}*")]
    if record.problem:
        blocks.append(_section(f"*What happened:* {escape(plainly(record.problem))}"))
        blocks.append(_section(f"*State:* {escape(_state(record))}{_step(record, revert_url)}"))
    held = {criterion.name for criterion in record.criteria if criterion.holds}
    criteria = "   ".join(f"{'✅' if name in held else '❌'} {CRITERION_NAMES[name]}" for name in CRITERIA)
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": criteria}]})
    digest = f" · digest `{short(record.after.digest)}`" if record.after else ""
    facts = f"`{record.id}` · commit `{record.commit[:12] or 'unknown'}`{digest}"
    if record.problem:
        facts += f" · all of it: `promobot history show {record.id} --env {record.environment}`"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": facts}]})
    return Message(
        key=f"{record.id}/{record.outcome}", text=text, blocks=tuple(blocks), since=record.started_at.timestamp()
    )


def bulletin(group: str, records: Sequence[DeploymentRecord], *, revert_urls: Mapping[str, str]) -> Message:
    """Return the one Slack message of a run that deployed many models.

    Its key says which deployments it tells of, and how each ended: a run that was cut off after its message tells
    of the same again, and so nobody twice.
    """
    ended = {outcome: [r for r in records if _told_as(r) == outcome] for outcome in _BULLETIN}
    worst = next(outcome for outcome in reversed(_BULLETIN) if ended[outcome])
    counts = ", ".join(f"{len(of)} {_BULLETIN[outcome][1]}" for outcome, of in ended.items() if of)
    sign = "❌" if any(map(is_failed_rollback, records)) else _BULLETIN[worst][0]
    head = f"{sign} {len(records)} deployments in {records[0].environment}: {counts}."
    blocks: list[dict[str, Any]] = [_section(f"*{escape(head)}*")]
    wrong = [record for outcome, of in ended.items() if outcome != "succeeded" for record in of]
    for record in wrong[:_NAMED]:
        url = revert_urls.get(record.id, "")
        said = f"*{escape(verdict(record))}*\n{escape(plainly(record.problem)[:500])}"
        blocks.append(_section(said + _step(record, url, alone=False)))
    if any(map(may_be_wrong, wrong)):
        command = take_blame_back(group, records[0].environment)
        blocks.append(_section(f"*If no model is at fault:* `{escape(command)}`"))
    named = [f"{record.model} {record.after.version if record.after else 'out'}" for record in ended["succeeded"]]
    lines = [*([f"{', '.join(named[:_NAMED])}" + (", …" if len(named) > _NAMED else "")] if named else [])]
    lines.append(f"`promobot history --env {records[0].environment} --limit {len(records)}` tells of each")
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": escape("\n".join(lines))}]})
    facts = f"`{group}` · commit `{records[-1].commit[:12] or 'unknown'}`"
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": facts}]})
    told = "\n".join(sorted(f"{record.id}/{_told_as(record)}" for record in records))
    return Message(
        key=f"{group}/{hashlib.sha256(told.encode()).hexdigest()[:16]}",
        text=head,
        blocks=tuple(blocks),
        since=min(record.started_at for record in records).timestamp(),
        deployments=tuple(record.id for record in records),
    )


def _step(record: DeploymentRecord, revert_url: str, *, alone: bool = True) -> str:
    """Return what to do, as a line of Slack's; ``alone``: the command that takes the blame back is named here."""
    merge = f"<{revert_url}|merge the revert>" if revert_url else ""
    if is_unblamed(record):
        step = f"\n*What to do:* {escape(fix_and_deploy(record))}" + (f"; or {merge}" if merge else "")
    else:
        step = f"\n*What to do:* {merge}" if merge else ""
    if alone and may_be_wrong(record):
        command = escape(take_blame_back(record.id, record.environment))
        step += f"\n*If the model is not at fault:* `{command}`"
    return step


_NAMED = 10
_BULLETIN: dict[Outcome, tuple[str, str]] = {
    "succeeded": ("✅", "as main asks"),
    "incomplete": ("⚠️", "in service wherever gateways answer"),
    "failed": ("❌", "failed before the switch"),
    "put back": ("↩️", "put back after the switch"),
}


def _told_as(record: DeploymentRecord) -> Outcome:
    # A message that is read was delivered.
    return "succeeded" if record.outcome == "unconfirmed" else record.outcome


def _state(record: DeploymentRecord) -> str:
    entry = record.serving
    what = f"version {entry.version} ({short(entry.digest)})" if entry else "nothing"
    verb = "listens" if record.section == "shadow" else "answers"
    held = f"; {short(record.after.digest)} is in quarantine there" if record.quarantined and record.after else ""
    return f"{what} {verb} in {record.environment}{held}"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}
