"""Texts for a terminal: tables first, then what to type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from bot.domain.bundled import spoken_slot
from bot.domain.evidence import CheckResult
from bot.domain.names import short
from bot.domain.nearest import did_you_mean
from bot.domain.record import CRITERIA, DeploymentRecord
from bot.domain.routes import WHOLE
from bot.domain.scope import revert_branch
from bot.render import doctor as doctor_words
from bot.render import evaluation as evaluation_words
from bot.render import memory as memory_words
from bot.render import metrics as metric_words
from bot.render import origins as origin_words
from bot.render import proposal as proposal_words
from bot.render import shadow as shadow_words
from bot.render.again import run_again_there
from bot.render.answers import kept_answers
from bot.render.deployment import (
    CRITERION_NAMES,
    NOTHING_TO_SERVE,
    WORST_FIRST,
    checked_in,
    concluded,
    describe,
    held,
    went_well,
)
from bot.render.deployment import mark as outcome_mark
from bot.render.deployment import verdict as deployment_verdict
from bot.render.differences import is_held
from bot.render.many import judged_by, left_out_by_reason
from bot.render.width import COLUMNS, cells, padded, stacked

if TYPE_CHECKING:
    from bot.operations.check import Checked, Queued
    from bot.operations.deploy import Deployed
    from bot.operations.doctor import Diagnosis
    from bot.operations.evidence import Found
    from bot.operations.history import History
    from bot.operations.init import LaidOut
    from bot.operations.propose import Proposal
    from bot.operations.propose_many import Proposals
    from bot.operations.quarantine import Quarantine, Undone
    from bot.operations.recheck import Rechecked
    from bot.operations.rehearse import Rehearsed
    from bot.operations.retire import Retired
    from bot.operations.rollback import RolledBack
    from bot.operations.shadow import ShadowReport
    from bot.operations.status import ModelStatus, Status
    from bot.operations.validate import Validated
    from bot.records.ledger import RequestDone


_RULE = 60
"""The longest line below the name of the last column, in cells."""


def grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain text, columns aligned; stacked where the terminal is too narrow for it."""
    listed = [list(head), *[list(row) for row in rows]]
    widths = [max(cells(row[i]) for row in listed) for i in range(len(head))]
    columns = COLUMNS.get()
    if columns is not None and sum(widths) + 2 * (len(widths) - 1) > columns:
        return stacked(head, listed[1:], columns)
    lines = ["  ".join(map(padded, row, widths)).rstrip() for row in listed]
    # A sentence in the last column needs no line as long as itself.
    lines.insert(1, "  ".join("─" * width for width in [*widths[:-1], min(widths[-1], _RULE)]))
    return "\n".join(lines)


# --- verbs -----------------------------------------------------------------------------------------------------


def status(found: Status) -> str:
    """Return the state of an environment, and what to type."""
    main = "desired: unknown" if found.unknown else f"main is at {found.commit[:12]}"
    # That users are well is half of it where something waits for a person.
    first = users(found) if found.in_sync else f"{users(found)} {to_put_right(found)}"
    lines = [first, f"{main}, routes at generation {found.generation}"]
    well = well_models(found)
    if not found.models:
        lines.append("No model is served." if found.unknown else "No model is desired, none is served.")
    else:
        tritons = sorted({name for row in found.models for name in row.tritons})
        gateways = sorted({name for row in found.models for name in row.gateways})
        rows = [
            [
                sign(row, well),
                row.model + (" (shadow)" if row.section == "shadow" else ""),
                str(row.desired or "–"),
                live_in(row),
                *(_on_triton(row.tritons[name], routed=row.routed is not None) for name in tritons),
                *("silent" if row.gateways[name] is False else str(row.gateways[name] or "–") for name in gateways),
                "; ".join(row.pending),
            ]
            for row in found.models
        ]
        lines.append(grid(["", "model", "desired", "live", *tritons, *gateways, "open"], rows))
    lines += [
        f"🐤 {row.model} {row.canary} answers {row.percent} % of requests beside {row.routed}: "
        f"`promobot rollback {row.model} --env {found.environment} --now` ends its rollout"
        for row in found.models
        if row.canary is not None
    ]
    lines += [f"⏳ {one.model} {one.version}: {one.said}" for one in found.bakes]
    lines += [f"⏸ {found.closed.said}"] if found.closed else []
    lines += [f"{'✋' if one.state == 'held' else '🤖'} {one.line}" for one in found.policies]
    lines += [
        f"bundle {bundle.name} ({short(bundle.digest)}): {proposal_words.parts_of(bundle)}"
        for bundle in found.bundles
    ]
    if found.failed is not None:
        failed = found.failed
        lines.append(f"last deployment that failed: {outcome_mark(failed)} {failed.finished_at:%Y-%m-%d %H:%M} UTC: "
                     f"{deployment_verdict(failed)} {failed.problem}")  # fmt: skip
        lines.append(f"    → promobot history show {failed.id} --env {found.environment}")
    lines += [f"in quarantine: {line}" for line in found.quarantined]
    lines += [f"not known: {problem}" for problem in found.problems]
    if found.in_sync:
        lines.append("Everything is as main says.")
    else:
        lines.append("What differs, and what to type:")
        lines += [f"  ✗ {d.what}\n    → {d.next_step}" for d in found.differences]
    return "\n".join(lines)


def live_in(row: ModelStatus) -> str:
    """Return which version is live, and which canary answers for some."""
    beside = f", {row.canary} at {row.percent} %" if row.canary is not None else ""
    return f"{row.routed or '–'}{beside}"


def well_models(found: Status) -> frozenset[str]:
    """Return the models whose users are well."""
    return frozenset(one.model for one in found.users if one.health == "OK")


def sign(row: ModelStatus, well: frozenset[str]) -> Literal["✓", "✗", "?", " "]:
    """Return how one model is on one path: ✓ never stands beside one that somebody asks for in vain."""
    if row.desired is None and row.routed is None:
        return " "
    if row.routed is not None and (row.model not in well if row.section == "models" else _lacks(row)):
        return "✗"
    return "?" if row.agrees is None else "✓" if row.agrees else "✗"


def _lacks(row: ModelStatus) -> bool:
    """Say whether a Triton or a gateway does not have what is routed."""
    return not all(row.tritons.values()) or any(there != row.routed for there in row.gateways.values())


def _on_triton(has_it: bool | None, *, routed: bool) -> str:
    if has_it and not routed:
        return "–"  # it has all that is asked of it, which is nothing
    return {True: "READY", False: "absent", None: "silent"}[has_it]


def drift(found: Status) -> str:
    """Return what a deep look found: how users are and how much is to be put right, then as status says it."""
    first, _, rest = status(found).partition("\n")
    first = f"{users(found)} {to_put_right(found)}" if found.in_sync else first
    warm = [f"{one.model} {one.version}" for one in found.ways_back if one.place == "warm" and not one.wrong]
    proven = f"\nways back that are loaded and answer rightly: {', '.join(warm)}" if warm else ""
    return f"{first}\n{rest}{proven}"


def to_put_right(found: Status) -> str:
    """Return how much differs from main, in one sentence."""
    count = len(found.differences)
    if not count:
        return "Everything is as main says."
    return f"{count} thing{'s' * (count > 1)} to put right."


def users(found: Status) -> str:
    """Return how users are, in one line: the first thing that matters."""
    ill = [one for one in found.users if one.health != "OK"]
    if ill:
        said = "; ".join(
            f"{one.model} is DOWN: {one.why}" if one.health == "DOWN" else f"{one.model} is degraded: {one.why}"
            for one in ill[:5]
        )
        more = f"; and {len(ill) - 5} more" if len(ill) > 5 else ""
        well = len(found.users) - len(ill)
        return f"{found.environment}: {said}{more}." + (f" {well} other models are OK." if well > 1 else "")
    if not found.users:
        return f"{found.environment}: no model is in service."
    if len(found.users) > 3:
        return f"{found.environment}: OK. {len(found.users)} models answer."
    beside = {
        row.model: f" ({row.canary} at {row.percent} %)"
        for row in found.models
        if row.section == "models" and row.canary is not None
    }
    return (
        f"{found.environment}: OK. "
        + ", ".join(f"{one.model} {one.version}{beside.get(one.model, '')}" for one in found.users)
        + (" answers." if len(found.users) == 1 else " answer.")
    )


def history(found: History) -> str:
    """Return how the newest deployment ended and all of them, newest first, or what was in service at a time."""
    if found.at is not None and found.in_service is not None:
        since = f"since {found.since}" if found.since else "nothing had been deployed"
        rows = [
            [model + suffix, str(entry.version), short(entry.digest), entry.run]
            for entries, suffix in ((found.in_service.models, ""), (found.in_service.shadow, " (shadow)"))
            for model, entry in sorted(entries.items())
        ]
        head = f"In service in {found.environment} at {found.at.isoformat()} ({since}):"
        return head + "\n" + (grid(["model", "version", "digest", "run"], rows) if rows else "nothing")
    held = [f"✋ {is_held(one)}\n    → {one.hold.next_step}" for one in found.held]
    if found.unknown:
        what = "since when it is held is not known" if found.held else "whether something is held now is not known"
        held.append(f"{what}: {found.unknown}")
    if not found.records and found.model and found.models:
        asked = f"Nothing of {found.model} was deployed to {found.environment}. "
        return f"{asked}{did_you_mean(found.model, found.models)}There are: {', '.join(found.models)}."
    if not found.records:
        return "\n".join([f"Nothing was deployed to {found.environment} yet.", *held])
    table = grid(
        ["", "when (UTC)", "deployment", "model", "version", "outcome"],
        (
            [
                outcome_mark(record),
                f"{record.finished_at:%Y-%m-%d %H:%M:%S}",
                record.id,
                record.model + (" (shadow)" if record.section == "shadow" else ""),
                versions(record),
                outcome(record),
            ]
            for record in found.records
        ),
    )
    newest = found.records[0]
    first = f"{newest.finished_at:%Y-%m-%d %H:%M} UTC: {outcome_mark(newest)} {deployment_verdict(newest)}"
    causes = [f"{record.id}: {record.problem}" for record in found.records if record.problem]
    if not causes:
        return "\n".join([first, *held, table])
    which = f"promobot history show {newest.id} --env {found.environment}"
    return "\n".join(
        [first, *held, table, "What happened:", *(f"  {cause}" for cause in causes), f"All of one: {which}"]
    )


def _step_of(record: DeploymentRecord) -> str:
    """Return which step of which rollout a deployment was, to follow what users get; empty where it was none."""
    rollout = record.rollout
    if rollout is None or len(rollout.steps) == 1:
        return ""
    beside = (
        f"; {rollout.percent} % of the requests get what was asked for" if record.outcome == "rolling out" else ""
    )
    steps = ", ".join(f"{percent} %" for percent in rollout.steps)
    return f"{beside} (step {rollout.step} of {len(rollout.steps)} of the rollout {rollout.id}: {steps})"


def record_in_full(record: DeploymentRecord) -> str:
    """Return all that is known of one deployment: how it ended first, then why, what to type, and each step."""
    served = f"version {record.serving.version} ({record.serving.digest})" if record.serving else "nothing"
    after = record.after
    proposed = f"version {after.version} ({after.digest}, run {after.run})" if after else "no version"
    lines = [
        f"{outcome_mark(record)} {deployment_verdict(record)}",
        f"what happened: {record.problem}" if record.problem else "",
        f"users get: {served}{_step_of(record)}",
        f"asked for: {proposed}",
        f"its digest is in quarantine: promobot quarantine list --env {record.environment}"
        if record.quarantined
        else "",
        f"from {record.started_at:%Y-%m-%d %H:%M:%S} to {record.finished_at:%H:%M:%S} UTC, "
        f"commit {record.commit[:12] or 'unknown'}",
        "\n  ".join(["comes from:", *origin_words.in_words(record.origin)]) if record.origin else "",
        "",
        grid(
            ["", "criterion", "proof"],
            [["✓" if c.holds else "✗", CRITERION_NAMES[c.name], c.proof] for c in record.criteria],
        ),
        "",
        grid(["seconds", "step"], [[f"{step.seconds:.1f}", step.what] for step in record.steps]),
    ]
    return "\n".join(line for number, line in enumerate(lines) if line or number in (7, 9))


def criteria(records: Sequence[DeploymentRecord]) -> str:
    """Return the six criteria of each deployment in a table."""
    rows = []
    for record in records:
        held = {criterion.name: criterion.holds for criterion in record.criteria}
        if record.after is None:
            # Nothing was registered, loaded or asked: a ✓ would say that it was.
            held = {c.name: c.holds for c in record.criteria if not c.holds or c.proof != NOTHING_TO_SERVE}
        marks = ["✓" if held.get(name) else "✗" if name in held else "–" for name in CRITERIA]
        rows.append([record.id, versions(record), outcome(record), *marks])
    return grid(["deployment", "version", "outcome", *(CRITERION_NAMES[name] for name in CRITERIA)], rows)


def versions(record: DeploymentRecord) -> str:
    """Return from which version to which; a dash stands for none."""
    before = str(record.before.version) if record.before else "–"
    return f"{before} → {record.after.version if record.after else '–'}"


def outcome(record: DeploymentRecord) -> str:
    """Return the outcome, with its percent where it is a step of a rollout."""
    is_step = record.outcome == "rolling out"
    return f"{record.outcome}, {record.rollout.percent} %" if record.rollout and is_step else record.outcome


def deployed(done: Deployed, *, asked_for: str = "") -> str:
    """Return what a deploy did: first of the model that somebody ``asked_for``, then what went wrong."""
    if did_nothing(done):
        return f"{done.environment} is as main says ({done.commit[:12]}): nothing to do."
    # The first line must not tell of a success if something else of the same run went wrong.
    lines = [_concluded(record, done.reverts) for record in done.records if record.model == asked_for]
    others = [record for record in done.records if record.model != asked_for]
    failed = sorted((r for r in others if not r.is_well), key=lambda r: WORST_FIRST.index(r.outcome))
    lines += [_concluded(record, done.reverts) for record in failed]
    lines += map(held, done.held)
    if done.problems and not lines and not others:
        many = "1 problem" if len(done.problems) == 1 else f"{len(done.problems)} problems"
        lines.append(f"Nothing was deployed to {done.environment}: {many}.")
    lines += [f"problem: {line}" for line in done.problems]
    lines += [line for record in others if record.is_well for line in went_well(record)]
    if done.repaired and not lines:
        lines.append(f"{done.environment} is as main says again ({done.commit[:12]}).")
    if done.records:
        lines.append(criteria(done.records))
    lines += [f"repaired: {line}" for line in done.repaired]
    if done.undelivered:
        waiting = "1 message waits" if done.undelivered == 1 else f"{done.undelivered} messages wait"
        lines.append(f"{waiting} in the outbox for Slack; the next deploy delivers what waits.")
    if done.problems:
        lines.append(f"→ promobot status --env {done.environment} says who is affected, and what to type")
    return "\n".join(lines)


def _concluded(record: DeploymentRecord, reverts: Mapping[str, str]) -> str:
    branch = revert_branch(spoken_slot(record.slot, record.bundle))
    return concluded(record, revert_url=reverts.get(branch, ""))


def did_nothing(done: Deployed) -> bool:
    """Say whether a deployment found nothing to do, and nothing wrong."""
    return not (done.records or done.held or done.repaired or done.problems or done.undelivered)


def shadow(found: ShadowReport) -> str:
    """Return how a shadow answers beside the version in service."""
    since = f" since {found.listens_since:%Y-%m-%d %H:%M} UTC" if found.listens_since else ""
    of = f", and gets copies of {found.share} % of the requests" if found.share < WHOLE else ""
    lines = [f"{found.model} {found.version} is on {found.environment}'s shadow path{since}{of}"]
    lines.append(
        f"{found.sent} copies sent, {found.answered} answered, {found.failed} failed, {found.dropped} dropped"
    )
    lines += [f"not known: gateway {name}: {why}" for name, why in found.silent.items()]
    if found.side_by_side is not None:
        lines.append(f"beside version {found.side_by_side.live}, which answers:")
        lines.append(grid(["what", "how much"], shadow_words.rows_of(found.side_by_side)))
    if found.verdict is None:
        lines.append(
            f"No rule judges it: gates.{found.model}.shadow in manifests/environments/{found.environment}.yaml would "
            "say what it must show to be proposed."
        )
    else:
        lines.append(shadow_words.standing(found.verdict))
        lines += [f"  {line}" for line in shadow_words.signals(found.verdict)]
    return "\n".join(lines)


def proposed(done: Proposal) -> str:
    """Return what a proposal came to."""
    name = f"{done.model} {done.version}"
    where = f"{done.environment}'s shadow path" if done.section == "shadow" else done.environment
    reason = f" because {done.reason}" if done.reason else ""
    by = f"\n{judged_by(done.environment, done.judged_by)}" if done.gate and done.judged_by else ""
    match done.action:
        case "opened":
            return f"{name} is proposed to {where}{reason}: {done.url}{by}"
        case "updated":
            return f"#{done.pull_request} now proposes {name} to {where}{reason}: {done.url}{by}"
        case "unchanged":
            said = f"{name} is proposed to {where} already; nothing was changed: {done.url}"
            return f"{said}\n→ {run_again_there()}"
        case "already desired":
            return f"{name} is what main says for {where} already; nothing to propose."
        case "stopped":
            return f"{name} is not proposed to {done.environment}{reason}.{by}"


def proposed_many(done: Proposals) -> str:
    """Return what a proposal of several versions came to, for the terminal."""
    lines = []
    count = f"{len(done.proposals)} version{'s' * (len(done.proposals) != 1)}"
    match done.action:
        case "opened":
            lines.append(f"{count} are proposed to {done.environment}: {done.url}")
        case "updated":
            lines.append(f"#{done.pull_request} now proposes {count} to {done.environment}: {done.url}")
        case "unchanged":
            lines.append(f"{count} are proposed to {done.environment} already; nothing was changed: {done.url}")
        case "nothing":
            lines.append(f"There is nothing to propose to {done.environment}.")
        case "dry run":
            lines.append(f"{count} would be proposed to {done.environment}; nothing was changed.")
    if done.proposals:
        rows = [
            (one.model, str(one.version), "shadow" if one.section == "shadow" else "", one.reason)
            for one in done.proposals
        ]
        lines.append(grid(*_filled(("proposed", "version", "path", "because"), rows)))
    if done.left_out:
        lines.append(grid(("left out", "because"), left_out_by_reason(done.left_out)))
    if done.judged_by and (done.proposals or any(one.kind in ("gate", "no gate") for one in done.left_out)):
        lines.append(judged_by(done.environment, done.judged_by))
    if done.action == "unchanged":
        lines.append(f"→ {run_again_there()}")
    return "\n\n".join(lines)


def _filled(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return a table without the columns that are empty in every row."""
    kept = [number for number in range(len(head)) if any(row[number] for row in rows)]
    return [head[number] for number in kept], [[row[number] for number in kept] for row in rows]


def retired(done: Retired) -> str:
    """Return what became of taking a model out of service."""
    what = f"{done.model} in {done.environment}"
    now = f"version {done.serving.version} answers until then" if done.serving else "nothing answers now"
    if done.action == "already desired":
        return f"main retires {what} already: {done.reason}."
    return f"Merge this to take {what} out of service: {done.url}\nIt is {done.action}; {now}."


def rehearsed(done: Rehearsed) -> str:
    """Return whether the way back works, and how each of both deployments ended."""
    name = f"{done.model} in {done.environment}"
    if done.is_proven:
        first = (
            f"The way back of {name} works: users got version {done.back_to}, and have version {done.version} again."
        )
    elif done.forth and all(record.verified for record in done.forth):
        first = f"The way back of {name} is not proven; users have version {done.version} again."
    else:
        first = f"The way back of {name} is not proven: {status_command(done.environment)} shows what users get."
    told = [concluded(record, revert_url="") for record in (*done.back, *done.forth)]
    return "\n".join([first, *told, *done.problems])


def status_command(environment: str) -> str:
    """Return what shows how everything is."""
    return f"`promobot status --env {environment}`"


def rolled_back(done: RolledBack) -> str:
    """Return what a rollback did."""
    lines = []
    if done.deployed and not did_nothing(done.deployed):
        lines.append(deployed(done.deployed, asked_for=done.model))
    elif done.deployed:
        # Not that the environment is as main says: main may still ask for what was left.
        lines.append(f"{done.model} {done.after.version} answers in {done.environment} already: nothing to do.")
    if done.revert_waits:
        lines.append(proposal_words.revert_waits(done.environment, done.revert_waits))
    elif done.url and done.is_back:
        answers = f"{done.model} {done.after.version} answers in {done.environment} already. "
        lines.append(f"{'' if done.deployed else answers}Merge this, so that main says so: {done.url}")
    elif done.url:
        lines.append(f"Merge this to go back to {done.model} {done.after.version} in {done.environment}: {done.url}")
    else:
        lines.append(f"main says {done.model} {done.after.version} in {done.environment} already.")
    lines += [f"Fix the settings: {mistake}" for mistake in done.mistakes]
    return "\n".join(lines)


def laid_out(done: LaidOut) -> str:
    """Return what was written, and what to do next."""
    lines = [f"written: {path}" for path in done.written]
    lines += [f"kept as it was: {path}" for path in done.kept]
    return "\n".join([*lines, f"Next: README.md in {done.directory}; promobot validate --root {done.directory}"])


def done_before(request: str, done: RequestDone) -> str:
    """Return what a request said that was done before, and that nothing was done now."""
    return f"{done.said}\nThe request {request} was done at {done.at:%Y-%m-%d %H:%M} UTC; nothing was done now."


def checked(done: Checked) -> str:
    """Return what a check found."""
    stopping = [
        f"Merging stops {s.change.model} in {s.change.environment}: version {s.answers.version} answers now."
        for s in (one.stop for one in done.leaving)
        if s.is_meant
    ]
    if not (done.results or done.problems or stopping):
        changed = ", ".join(change.environment for change in done.subject.settings.changes)
        said = f"The pull request changes the settings of {changed}, and" if changed else "Nothing to check:"
        return f"{said} {'it' if changed else 'the pull request'} proposes no version."
    lines = [*stopping, *_results(done.results)]
    lines += [f"✗ {problem}" for problem in done.problems]
    if done.comment_url:
        lines.append(done.comment_url)
    return "\n".join(lines)


def queued(done: Queued) -> str:
    """Return whether a merge group may go on."""
    if not done.changes:
        return "Nothing to check: the merge group proposes no version."
    what = ", ".join(describe(change) for change in done.changes)
    return "\n".join([f"✗ {problem}" for problem in done.problems] or [f"✓ the evidence holds for {what}"])


def rechecked(done: Rechecked) -> str:
    """Return what the checks found about what main says, and what to type."""
    what = f"{done.model} in {done.environment}, as main says at {done.commit[:12]}"
    verdict = f"Not every check passed for {what}: it is not deployed."
    if not done.exit_code:
        verdict = f"Every check passed for {what}. Next: promobot deploy --env {done.environment}"
    return "\n".join([verdict, *_results(done.results)])


def evidence(found: Found) -> str:
    """Return what evidence there is, newest first."""
    if not found.evidence:
        return f"There is no evidence in {found.environment} yet."
    rows = [
        [
            one.model + (" (shadow)" if one.section == "shadow" else ""),
            str(one.version),
            short(one.digest),
            one.run[:8] or "–",
            f"{one.at:%Y-%m-%d %H:%M}",
            checked_in(one),
            one.state(found.at),
            f"by {one.revoked.by or 'somebody'}: {one.revoked.reason}" if one.revoked else "",
        ]
        for one in found.evidence
    ]
    return grid(["model", "version", "digest", "run", "when (UTC)", "checked", "worth", "revoked"], rows)


def evidence_in_full(found: Found) -> str:
    """Return evidence with all its findings."""
    parts = [evidence(found)]
    for one in found.evidence:
        champion = f"version {one.champion.version} ({short(one.champion.digest)})" if one.champion else "no version"
        lines = [
            f"{one.model} {one.version} ({one.section}), checked {checked_in(one)}; compared with {champion}; "
            f"expires {one.expires:%Y-%m-%d}",
            *(f"✗ {problem}" for problem in one.problems),
            *_results(one.checks),
            *(f"{judged.metric}: {metric_words.judged(judged)}" for check in one.checks for judged in check.judged),
            *(evaluation_words.lines(one.evaluation) if one.evaluation else ()),
            *([f"loading took {memory_words.in_words(one.memory)}"] if one.memory else []),
            *kept_answers(one.answers),
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def revoked(found: Found) -> str:
    """Return what was revoked, and what that means."""
    one = found.evidence[0]
    return (
        f"The evidence of {one.model} {one.version} ({short(one.digest)}) in {found.environment} is revoked: it is "
        "not deployed before it is checked again. The version in service stays, and a way back needs no evidence.\n"
        + evidence(found)
    )


def _results(results: Sequence[CheckResult]) -> list[str]:
    """Return what checks found, what does not hold first: forty lines of ✓ hide the one that matters."""
    lines = []
    for result in sorted(results, key=lambda one: one.passed):
        sign = "✓" if result.passed else "✗"
        lines.append(f"{sign} {result.check}: {result.model} {result.version} for {result.environment}")
        findings = sorted(result.findings, key=lambda finding: finding.passed)
        lines += [f"    {'✓' if f.passed else '✗'} {f.what}: {f.detail}" for f in findings]
    return lines


def diagnosis(found: Diagnosis) -> str:
    """Return what to fix before a deployment, then a line for each system."""
    marks = {True: "✓", False: "✗", None: "–"}
    rows = [[marks[e.works], e.system, e.seen if not e.next_step else f"{e.seen} → {e.next_step}"]
            for e in found.systems]  # fmt: skip
    failing = [e.system for e in found.systems if e.works is False]
    untried = [e.system for e in found.systems if e.works is None]
    first = doctor_words.verdict(found.environment, failing, untried, len(found.systems))
    return f"{first}\n" + grid(["", "system", "what was seen"], rows)


def validated(found: Validated) -> str:
    """Return the mistakes, or how many files are right."""
    if found.mistakes:
        return "\n".join(f"✗ {mistake}" for mistake in found.mistakes)
    return f"✓ {len(found.files)} files are right: {', '.join(found.files)}"


def _undone(undone: Undone, environment: str) -> list[str]:
    lines = [f"{event.model} {event.version} is out of quarantine in {environment}" for event in undone.lifted]
    lines += [f"closed the revert {url}" for url in undone.closed]
    lines += [f"problem: {problem}" for problem in undone.problems]
    if not lines:
        return [f"Nothing that {undone.of} blamed is in quarantine in {environment}, and no revert of it is open."]
    return [*lines, f"What main asks for of it goes into service with: promobot deploy --env {environment}"]


def quarantine(found: Quarantine) -> str:
    """Return what is in quarantine."""
    lines = []
    if found.lifted is not None:
        lines.append(
            f"{found.lifted.model} {found.lifted.version} may be proposed to {found.environment} again. If main asks "
            "for it already, promobot watch deploys it, and closes the revert that the bot opened; without a watch: "
            f"promobot deploy --env {found.environment}"
        )
    if found.undone is not None:
        lines += _undone(found.undone, found.environment)
    if not found.events:
        return "\n".join([*lines, f"Nothing is in quarantine in {found.environment}."])
    rows = [
        [
            event.model,
            str(event.version),
            short(event.digest),
            f"{event.at:%Y-%m-%d %H:%M}",
            event.by,
            "yes" if event.digest in found.in_service else "–",
            event.reason,
        ]
        for event in found.events
    ]
    head = ["model", "version", "digest", "since (UTC)", "by", "in service", "reason"]
    return "\n".join([*lines, grid(head, rows)])
