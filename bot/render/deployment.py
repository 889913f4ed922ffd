"""The documents of a deployment: its Slack message, its verdict, what to do; and the words that they share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from bot.domain.desired import Change
from bot.domain.evidence import Evidence
from bot.domain.golden import Disagreement, Golden
from bot.domain.hold import Held, Hold
from bot.domain.message import Message
from bot.domain.names import SHADOW_SUFFIX, short
from bot.domain.record import CRITERIA, CriterionName, DeploymentRecord, Outcome, is_failed_rollback
from bot.domain.routes import Target
from bot.domain.workers import Answering
from bot.errors import OutsideError, PromobotError
from bot.render.mrkdwn import escape
from bot.render.plainly import plainly
from bot.render.proposal import take_blame_back

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
    share = f" (copies of {change.after.percent} %)" if change.after.share is not None else ""
    return f"{change.model} {before}{change.after.version}{share} in {where}"


def merge_revert(change: Change) -> str:
    """Git must follow."""
    return f"merge the revert of {change.model}, or: promobot rollback {change.model} --env {change.environment}"


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


def checked_in(evidence: Evidence) -> str:
    """Where the checks ran, as people look for it."""
    return f"in #{evidence.pull_request}" if evidence.pull_request is not None else f"of main at {evidence.head[:12]}"


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


def asked_again(asker: str) -> str:
    """Release the model anew that asks a damaged part; ``asker`` is its name in Triton."""
    model = asker.partition(" ")[0].partition(".")[0].removesuffix(SHADOW_SUFFIX)
    return f"propose a new version of {model} with its parts as a bundle"


def golden_answers(
    golden: Golden, evidence: Evidence | None, tritons: Iterable[Named], *, again: bool = False
) -> str:
    """All Tritons answer rightly."""
    count = len(golden.smoke.cases)
    seen = f" and on staging {checked_in(evidence)}" if evidence and golden.staging else ""
    when = ", before the switch and after it" if again else ""
    return f"{count} of {count} golden requests answered as in training{seen}, on {names(tritons)}{when}"


def ready_in_place(target: Target, tritons: Iterable[Named]) -> str:
    """A version took the place of the one before, on one Triton after another."""
    return f"{target.triton_model} {target.version} READY on {names(tritons)}, in the place of the version before"


def answers_differ(wrong: Sequence[Disagreement], evidence: Evidence | None) -> str:
    """It answers otherwise than before: the case, the answer, and the earlier answer."""
    return "; ".join(
        f"case {one.case}: {one.said}"
        + (f", which staging answered {checked_in(evidence)}" if one.as_staging and evidence else "")
        for one in wrong[:3]
    ) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


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


NOTHING_PUBLISHED = "Nothing of it was published or loaded."


def without_system(said: str | PromobotError) -> str:
    """Return a message for a sentence that names the system already."""
    return said.said if isinstance(said, OutsideError) else str(said)


OUTCOME_MARKS: dict[Outcome, str] = {
    "succeeded": "✅",
    "unconfirmed": "✅",
    "rolling out": "🐤",
    "incomplete": "⚠️",
    "put back": "↩️",
    "failed": "❌",
}


WORST_FIRST: tuple[Outcome, ...] = ("put back", "failed", "incomplete", "rolling out", "unconfirmed", "succeeded")


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
            rehearsed = f", in a rehearsal by {record.rehearsal}" if record.rehearsal else ""
            return f"{record.model} {version} is served in {record.environment}{was}{rehearsed}."
        case "unconfirmed":
            served = verdict(record.model_copy(update={"outcome": "succeeded"})).removesuffix(".")
            return f"{served}; everything holds but Slack; the message is in the outbox."
        case "rolling out":
            share = f"{record.rollout.percent} %" if record.rollout else "some"
            rest = f", {before} the others" if record.before else ""
            again = f"; it was published again: {record.reason}" if record.reason else ""
            return f"{record.model} {version} answers {share} of requests in {record.environment}{rest}{again}."
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
        case "failed" if record.leaves_rollout and record.rollout:
            return (
                f"The step of {record.model} {version} to {record.rollout.percent} % in {record.environment} failed "
                "before the switch: users get what they got."
            )
        case "failed":
            return f"{describe(change)} failed before the switch: nothing that users see has changed."


def the_way(record: DeploymentRecord) -> str:
    """Return at which step of its rollout a deployment is, and what ends it; empty without several steps."""
    rollout = record.rollout
    if rollout is None or len(rollout.steps) == 1 or not record.is_well:
        return ""
    steps = " → ".join(f"*{step} %*" if step == rollout.percent else f"{step} %" for step in rollout.steps)
    said = f"Step {rollout.step} of {len(rollout.steps)}: {steps}."
    goes_on = f"`promobot watch --env {record.environment}` makes the next one"
    stop = f"`promobot rollback {record.model} --env {record.environment} --now` ends the rollout."
    return said if rollout.is_whole else f"{said} {goes_on}; {stop}"


def went_well(record: DeploymentRecord) -> list[str]:
    """Return the outcome for the terminal, and at which step of its rollout it is."""
    way = the_way(record).replace("*", "")
    return [verdict(record), f"  {way}"] if way else [verdict(record)]


def concluded(record: DeploymentRecord, *, revert_url: str) -> str:
    """Return the outcome with its problem and what to do, for the terminal."""
    lines = went_well(record)
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
        case "succeeded" | "unconfirmed" | "rolling out":
            return ""
        case "incomplete":
            return f"{again}, when every gateway answers"
        case "put back":
            return merge or f"promobot rollback {record.model} --env {record.environment}, and merge what it opens"
        case "failed" if record.leaves_rollout:
            return f"fix the cause; `promobot watch --env {record.environment}` makes the step then"
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


def is_for_everybody(record: DeploymentRecord) -> bool:
    """Whether the whole channel reads its message, and not only the thread of its promotion.

    A failure is; and a way back, because nobody reads the thread of a version that served long ago.
    """
    return record.way_back or record.outcome in ("put back", "failed", "incomplete")


def message(record: DeploymentRecord, *, revert_url: str) -> Message:
    """Return the Slack message of a deployment.

    Its key is the record's id and its outcome: a deployment that was cut off after its message, and then ended
    otherwise, gets a second message.
    """
    sign = mark(record)
    text = f"{sign} {verdict(record)}"
    blocks: list[dict[str, Any]] = [_section(f"*{sign} {escape(verdict(record))}*")]
    if way := the_way(record):
        blocks.append(_section(escape(way)))
    if record.way_back and record.reason:
        blocks.append(_section(f"*Why:* {escape(record.reason)}"))
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
    wrong = [record for outcome, of in ended.items() if outcome not in ("succeeded", "rolling out") for record in of]
    for record in wrong[:_NAMED]:
        url = revert_urls.get(record.id, "")
        said = f"*{escape(verdict(record))}*\n{escape(plainly(record.problem)[:500])}"
        blocks.append(_section(said + _step(record, url, alone=False)))
    if any(map(may_be_wrong, wrong)):
        command = take_blame_back(group, records[0].environment)
        blocks.append(_section(f"*If no model is at fault:* `{escape(command)}`"))
    named = [f"{record.model} {record.after.version if record.after else 'out'}" for record in ended["succeeded"]]
    named += [verdict(record).removesuffix(".") for record in ended["rolling out"]]
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
        what = merge or (escape(what_to_do(record, merge="")) if record.leaves_rollout else "")
        step = f"\n*What to do:* {what}" if what else ""
    if alone and may_be_wrong(record):
        command = escape(take_blame_back(record.id, record.environment))
        step += f"\n*If the model is not at fault:* `{command}`"
    return step


_NAMED = 10
_BULLETIN: dict[Outcome, tuple[str, str]] = {
    "succeeded": ("✅", "as main asks"),
    "rolling out": ("🐤", "rolling out"),
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
    return f"{what} {verb} in {record.environment}{_beside(record)}{held}"


def _beside(record: DeploymentRecord) -> str:
    """Return which canary still answers some after a step that failed."""
    rollout = record.rollout
    if rollout is None or record.after is None or not record.leaves_rollout:
        return ""
    return f", and version {record.after.version} {rollout.steps[rollout.step - 2]} % of the requests, as before"


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}
