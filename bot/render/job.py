"""The texts of a GitHub Actions job: a summary with the verdict first, and annotations with the cause."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.domain.bundled import spoken_slot
from bot.domain.desired import Change
from bot.domain.record import DeploymentRecord, is_failed_rollback
from bot.domain.scope import revert_branch
from bot.exit_codes import ExitCode
from bot.operations.job import Annotation, Job, Level
from bot.render import terminal
from bot.render.checks import CHECK_NAMES, problems_of, some
from bot.render.deployment import (
    CRITERION_NAMES,
    describe,
    mark,
    may_be_wrong,
    verdict,
    what_to_do,
)
from bot.render.markdown import code, details, escape, escape_with_code, fenced, fit, table, tick
from bot.render.proposal import revert_waits, take_blame_back

if TYPE_CHECKING:
    from bot.operations.check import Checked
    from bot.operations.deploy import Deployed
    from bot.operations.rollback import RolledBack
    from bot.operations.status import Status

MOST_ANNOTATIONS = 10
"""GitHub shows so many of each level for a step, and drops the rest."""
LONGEST_SUMMARY = 250_000
"""Characters. GitHub takes 1 MiB, and a character has up to four bytes."""
_NAMED, _TOLD, _IN_FULL = 5, 10, 50
_MERGE = "merge the revert"
_SIGN = {ExitCode.DONE: "✅", ExitCode.UNCONFIRMED: "⚠️"}
_WORST_FIRST = (ExitCode.FAILED, ExitCode.UNCONFIRMED, ExitCode.DONE)


# --- verbs ---------------------------------------------------------------------------------------------------------


def deployed(done: Sequence[Deployed]) -> Job:
    """Tell of a run of deploy, or of reconcile in several environments: what is wrong before what is right."""
    ordered = sorted(done, key=lambda one: _WORST_FIRST.index(one.exit_code))
    heads = [_headline(one) for one in ordered]
    bodies = [part for one in ordered for part in _body(one, title=len(ordered) > 1)]
    return Job(_fit([*heads, *bodies]), _limited(note for one in ordered for note in _notes(one)))


def rolled_back(done: RolledBack) -> Job:
    """Tell of a rollback: what answers, and that Git has to follow."""
    what = f"{done.model} {done.after.version}"
    if done.deployed is None:
        head = f"✅ **Nothing that users see has changed yet: merging goes back to {escape(what)}.**"
        if done.is_back:
            head = f"✅ **{escape(what)} answers in {escape(done.environment)} already; main has to say so.**"
        if not done.url:
            head = f"✅ **main says {escape(what)} in {escape(done.environment)} already: nothing to merge.**"
        own, body = None, []
    else:
        records = [r for r in done.deployed.records if r.model == done.model and r.after == done.after]
        own = replace(done.deployed, records=tuple(records))
        head = _headline(own)
        if not (records or own.exit_code):
            head = f"✅ **{escape(what)} answers in {escape(done.environment)} already: nothing to do.**"
        body = _body(done.deployed)
    follow = ""
    if done.revert_waits:
        follow = escape_with_code(revert_waits(done.environment, done.revert_waits), limit=2_000)
    elif done.url and done.exit_code:
        # What to do stands below, with the cause: nobody is back yet.
        follow = f"The revert, with which main follows: [#{done.pull_request}]({done.url})."
    elif done.url:
        until = "" if done.deployed is None else f" Until then main asks for {_version(done)}."
        follow = f"**What to do:** [merge the revert #{done.pull_request}]({done.url}).{until}"
    mistakes = [f"⚠️ Fix the settings: {escape(mistake)}" for mistake in done.mistakes]
    notes = list(_notes(own)) if own else []
    where = f"{done.model} in {done.environment}"
    if done.revert_waits:
        notes.append(
            Annotation(
                "warning", f"{where}: no revert is open yet", revert_waits(done.environment, done.revert_waits)
            )
        )
    notes += [Annotation("warning", f"settings of {done.environment}", mistake) for mistake in done.mistakes]
    return Job(_fit([head, follow, *mistakes, *body]), _limited(notes))


def differences(found: Sequence[Status]) -> Job:
    """Tell of a deep look: how users are, then what differs and what to type."""
    ordered = sorted(found, key=lambda one: one.in_sync)
    heads, bodies, notes = [], [], []
    for one in ordered:
        heads.append(f"{tick(one.in_sync)} **{escape(terminal.users(one))} {terminal.to_put_right(one)}**")
        rows = [(escape_with_code(d.what), escape_with_code(d.next_step)) for d in one.differences]
        bodies += [f"### {escape(one.environment)}"] * (len(ordered) > 1)
        bodies += [table(("what differs", "what to type"), rows)] if rows else []
        bodies += _bullets("Not known:", one.problems)
        bodies.append(details(f"All of {one.environment}", fenced(terminal.status(one), limit=50_000)))
        notes += [Annotation("error", f"{one.environment}: {d.kind}", f"{d.what}\n→ {d.next_step}")
                  for d in one.differences]  # fmt: skip
    return Job(_fit([*heads, *bodies]), _limited(notes))


def checked(done: Checked) -> Job:
    """Tell why a check is red; its summary is written with what it found."""
    failed = [result for result in done.results if not result.passed]
    notes = [
        Annotation(
            "error",
            f"{CHECK_NAMES[result.check]} of {result.model} {result.version} for {result.environment}",
            some([f"{finding.what}: {finding.detail}" for finding in problems_of(result)], "\n"),
        )
        for result in failed
    ]
    notes += [Annotation("error", "Do not merge", problem) for problem in done.problems]
    return Job("", _limited(notes))


def said(text: str, exit_code: ExitCode, *, title: str, url: str = "") -> Job:
    """Tell what a verb says on the terminal, which begins with the verdict; ``url`` becomes a link."""
    first, _, rest = text.partition("\n")
    head = escape(first, limit=2_000)
    if url:
        head = head.replace(escape(url), f"[{url.removeprefix('https://')}]({url})")
    sign = _SIGN.get(exit_code, "❌")
    summary = _fit([f"{sign} **{head}**", details("All of it", fenced(rest, limit=50_000)) if rest else ""])
    if not exit_code:
        return Job(summary)
    wrong = [first, *(line.strip() for line in rest.split("\n") if line.lstrip().startswith("✗"))]
    level: Level = "warning" if exit_code == ExitCode.UNCONFIRMED else "error"
    return Job(summary, (Annotation(level, title, some(wrong, "\n")),))


# --- where a verb has no answer ------------------------------------------------------------------------------------


Mistake = tuple[str, int | None, str]
"""The file, the line, and what is wrong there."""


def failed(title: str, message: str, *, state: str, next_step: str, mistakes: Sequence[Mistake] = ()) -> Job:
    """Tell of an error: what happened, in what state things are, what to do. ``mistakes`` are those in a file."""
    step = f"**What to do:** {escape_with_code(next_step, limit=2_000)}" if next_step else ""
    head, listed = escape(message, limit=2_000), ""
    if len(mistakes) > 1:
        head = escape(message.partition("\n")[0].rstrip(":"), limit=2_000)
        listed = "\n".join(f"- {escape(said)}" for _, _, said in mistakes[:_IN_FULL])
    of_each = mistakes if len(mistakes) > 1 else [(*(mistakes[0][:2] if mistakes else ("", None)), message)]
    notes = [_in_file(title, _with(said, state, next_step), file, line) for file, line, said in of_each]
    return Job(_fit([f"❌ **{head}**", listed, escape(state), step]), _limited(notes))


def _with(said: str, state: str, next_step: str) -> str:
    return "\n".join(part for part in (said, state, f"→ {next_step}" if next_step else "") if part)


def _in_file(title: str, text: str, file: str, line: int | None) -> Annotation:
    # GitHub shows it in the diff of a file; it knows only those of the repository.
    if file.startswith("/"):
        return Annotation("error", title, text)
    return Annotation("error", title, text, file=file, line=line)


def bug(title: str, message: str, *, trace: str) -> Job:
    """Tell of a bug; the runner's own disk may be gone before anybody looks, so the traceback is here."""
    step = "**What to do:** report it with what is folded here. `promobot status` says in what state things are."
    summary = _fit(
        [f"❌ **{escape(message, limit=2_000)}**", step, details("Traceback", fenced(trace, limit=50_000))]
    )
    return Job(summary, _limited([Annotation("error", title, message)]))


def interrupted(title: str) -> Job:
    """Tell that somebody, or a deadline, ended the job."""
    text = "Interrupted before the end. Run the job again: it goes on from there."
    return Job(f"⚠️ **{text}**", (Annotation("warning", title, text),))


# --- one environment -----------------------------------------------------------------------------------------------


def _headline(done: Deployed) -> str:
    """Return the verdict of one run: of its one deployment, or how many ended how, and who is affected."""
    sign = _SIGN.get(done.exit_code, "❌")
    where = done.environment
    if len(done.records) == 1 and not (done.held or done.problems):
        return f"{mark(done.records[0])} **{escape(verdict(done.records[0]))}**"
    if _is_alone(done):
        return f"❌ **{escape(_held(done.held[0].change))}**"
    if len(done.problems) == 1 and not (done.records or done.held):
        return f"❌ **{escape(f'{where}: {done.problems[0]}', limit=2_000)}**"
    counts = [
        (f"{len(of)} {what}" + (f" ({_names(of)})" if is_wrong else ""))
        for what, of, is_wrong in _counted(done.records)
        if of
    ]
    counts += [f"{len(done.held)} held ({_names([one.change for one in done.held])})"] if done.held else []
    counts += [_count(len(done.problems), "problem")] if done.problems else []
    if counts:
        return f"{sign} **{escape(where)}: {escape('; '.join(counts), limit=2_000)}.**"
    if done.repaired:
        return f"{sign} **{escape(where)} is as main says again: {_count(len(done.repaired), 'repair')}.**"
    if done.undelivered:
        return f"{sign} **{escape(where)} is as main says; {escape(_outbox(done))}.**"
    return f"{sign} **{escape(where)} is as main says ({code(done.commit[:12])}): nothing to do.**"


def _counted(records: Sequence[DeploymentRecord]) -> list[tuple[str, list[DeploymentRecord], bool]]:
    """Return in which ways deployments ended, the worst first, and whether something is wrong with these."""
    rollbacks = [record for record in records if is_failed_rollback(record)]
    rest = [record for record in records if not is_failed_rollback(record)]

    def ended(*outcomes: str) -> list[DeploymentRecord]:
        return [record for record in rest if record.outcome in outcomes]

    return [
        ("rollbacks failed" if len(rollbacks) > 1 else "rollback failed", rollbacks, True),
        ("put back after the switch", ended("put back"), True),
        ("failed before the switch", ended("failed"), True),
        ("in service wherever gateways answer", ended("incomplete"), True),
        ("rolling out", ended("rolling out"), False),
        ("as main asks", ended("succeeded", "unconfirmed"), False),
    ]


def _body(done: Deployed, *, title: bool = False) -> list[str]:
    """Return what is below the verdict: causes and what to do, the table, and what is folded."""
    wrong = [record for record in done.records if not record.is_well]
    parts = [f"### {escape(done.environment)}"] if title else []
    for record in wrong[:_TOLD]:
        parts.append(f"{mark(record)} **{escape(verdict(record))}**" if len(done.records) > 1 else "")
        parts += _causes(record, _revert(done, record))
    if len(wrong) > _TOLD:
        parts.append(f"… and {len(wrong) - _TOLD} more, in the table.")
    for one in done.held[:_TOLD]:
        revert = _revert(done, one.change)
        step, why = (escape_with_code(text, limit=2_000) for text in (one.hold.next_step, one.hold.why))
        parts += [
            f"✋ **{'Why:' if _is_alone(done) else escape(_held(one.change))}** {why}.",
            f"**What to do:** {step.replace(_MERGE, f'[{_MERGE}]({revert})') if revert else step}.",
        ]
    if len(done.held) > _TOLD:
        parts.append(f"… and {len(done.held) - _TOLD} more are held.")
    parts += _bullets("Problems:", done.problems)
    if done.undelivered:
        parts.append(f"⚠️ {escape(_outbox(done))}.")
    if done.records:
        rows = [
            (mark(r), code(r.id), terminal.versions(r), r.outcome, _served(r))
            for r in sorted(done.records, key=lambda record: record.is_well)
        ]
        parts.append(table(("", "deployment", "version", "outcome", "users get"), rows))
    parts += _bullets("Repaired:", done.repaired)
    parts += [_in_full(record) for record in [*wrong, *(r for r in done.records if r.is_well)][:_IN_FULL]]
    return [part for part in parts if part]


def _causes(record: DeploymentRecord, revert: str) -> list[str]:
    step = escape_with_code(what_to_do(record, merge=_MERGE if revert else ""))
    lift = code(take_blame_back(record.id, record.environment))
    return [
        f"**What happened:** {escape(record.problem, limit=2_000)}" if record.problem else "",
        f"**What to do:** {step.replace(_MERGE, f'[{_MERGE}]({revert})')}." if step else "",
        f"If the model is not at fault: {lift}" if may_be_wrong(record) else "",
    ]


def _in_full(record: DeploymentRecord) -> str:
    criteria = [(tick(c.holds), CRITERION_NAMES[c.name], escape(c.proof)) for c in record.criteria]
    steps = [(f"{step.seconds:.1f}", escape(step.what)) for step in record.steps]
    parts = [
        table(("", "criterion", "proof"), criteria) if criteria else "",
        table(("seconds", "step"), steps) if steps else "",
    ]
    return details(f"{mark(record)} {record.id}", "\n\n".join(part for part in parts if part) or "nothing")


def _notes(done: Deployed) -> Iterable[Annotation]:
    """Yield the cause of each thing that makes the job red, then what only needs an eye."""
    for record in done.records:
        if not record.is_well:
            revert = _revert(done, record)
            step = what_to_do(record, merge=f"merge {revert}" if revert else "")
            lines = [verdict(record), record.problem, f"→ {step}" if step else ""]
            outcome = "rollback failed" if is_failed_rollback(record) else record.outcome
            text = "\n".join(line for line in lines if line)
            yield Annotation("error", f"{record.model} in {done.environment}: {outcome}", text)
    for one in done.held:
        text = f"{_held(one.change)}\n{one.hold.why}\n→ {one.hold.next_step}"
        yield Annotation("error", f"{one.change.model} in {done.environment}: held", text)
    for problem in done.problems:
        yield Annotation("error", f"{done.environment}: problem", problem)
    if done.undelivered:
        yield Annotation("warning", f"{done.environment}: unconfirmed", f"{done.environment}: {_outbox(done)}")


def _revert(done: Deployed, of: DeploymentRecord | Change) -> str:
    return done.reverts.get(revert_branch(spoken_slot(of.slot, of.bundle)), "")


def _is_alone(done: Deployed) -> bool:
    """Whether the verdict names the one change that is held."""
    return len(done.held) == 1 and not (done.records or done.problems)


def _held(change: Change) -> str:
    verb = "listens" if change.section == "shadow" else "answers"
    now = f"version {change.before.version} {verb}" if change.before else f"nothing {verb}"
    return f"{describe(change)} is held: {now}."


def _outbox(done: Deployed) -> str:
    waits = "1 message to Slack waits" if done.undelivered == 1 else f"{done.undelivered} messages to Slack wait"
    again = f"promobot deploy --env {done.environment}"
    return f"{waits} in the outbox, and `{again}` delivers when Slack answers again"


def _served(record: DeploymentRecord) -> str:
    shadow = " (shadow)" if record.section == "shadow" else ""
    if record.outcome == "rolling out" and record.serving and record.after and record.rollout:
        return f"version {record.serving.version}, {record.after.version} at {record.rollout.percent} %"
    return f"version {record.serving.version}{shadow}" if record.serving else f"nothing{shadow}"


def _version(done: RolledBack) -> str:
    return f"version {done.before.version}" if done.before else "no version"


def _names(of: Sequence[DeploymentRecord | Change]) -> str:
    names = [one.slot.published_name for one in of]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _bullets(head: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    shown = [f"- {escape(line, limit=2_000)}" for line in lines[:_IN_FULL]]
    shown += [f"- and {len(lines) - _IN_FULL} more"] if len(lines) > _IN_FULL else []
    return [f"{head}\n\n" + "\n".join(shown)]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


# --- as GitHub takes it --------------------------------------------------------------------------------------------


def _fit(parts: Sequence[str]) -> str:
    return fit(parts, limit=LONGEST_SUMMARY)


def _limited(notes: Iterable[Annotation]) -> tuple[Annotation, ...]:
    """Return as many as GitHub shows; the last of a level says how many are left out."""
    found = list(notes)
    kept: list[Annotation] = []
    for level in ("error", "warning"):
        of = [note for note in found if note.level == level]
        kept += of if len(of) <= MOST_ANNOTATIONS else of[: MOST_ANNOTATIONS - 1]
        if len(of) > MOST_ANNOTATIONS:
            more = len(of) - MOST_ANNOTATIONS + 1
            kept.append(Annotation(of[0].level, f"{more} more", f"and {more} more: the job's summary has them"))
    return tuple(kept)
