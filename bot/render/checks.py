"""The findings of the checks, for a pull request, a job's summary and the evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bot.domain.carrying import SAYS_SO
from bot.domain.desired import Change, Entry
from bot.domain.evidence import CHECKS, CheckName, CheckResult, Evidence, Finding
from bot.domain.measured import unmeasured
from bot.domain.names import short
from bot.domain.nearest import nearest_number
from bot.domain.retirement import is_removal
from bot.domain.settings_diff import SettingsChange
from bot.render import leaving as leaving_words
from bot.render import memory as memory_words
from bot.render.again import run_again
from bot.render.cases import NO_CASES, CaseWords
from bot.render.cases import held as cases_held
from bot.render.deployment import describe
from bot.render.evaluation import measured, on_the_rows_of_before
from bot.render.leaving import Leaving
from bot.render.markdown import code, details, escape, fit, table, tick

MARKER = "<!-- promobot:checks -->"
MAX_FINDINGS = 50
MAX_ENTRIES = 20
MAX_SETTINGS = 100
_MAX_NAMES, _MAX_ROWS = 60, 200
"""The verdict names so many entries, and a table has so many of those that have no section of their own."""
NOTHING_LOOKED_AT = "looked at nothing"
_PROBLEMS_SHOWN = 10
_UNMEASURED_SHOWN = 10

CHECK_NAMES: dict[CheckName, str] = {
    "ready": "READY",
    "triton": "Triton",
    "smoke": "Smoke",
    "behaviour": "Behaviour",
}
_WHAT: dict[CheckName, str] = {
    "ready": "registered, allowed, and every byte as proposed",
    "triton": "loads on staging; configuration and signature agree",
    "smoke": "answers as the training framework did, in time",
    "behaviour": "what was measured on staging holds",
}


def some(problems: Sequence[str], between: str = "; ") -> str:
    """Return the first problems, and how many more there are: a hostile package may have thousands."""
    shown = list(problems[:_PROBLEMS_SHOWN])
    more = len(problems) - len(shown)
    return between.join([*shown, *([f"and {more} more"] if more else [])])


def could_not(name: CheckName) -> str:
    """A system kept the check from being finished."""
    return {
        "ready": "artifacts can be read",
        "triton": "loads",
        "smoke": "answers",
        "behaviour": "can be measured",
    }[name]


WRITTEN = ("version", "run", "digest")
"""The fields of an entry. If one is wrong, somebody mistyped it, and the other findings follow from that."""

Owners = Sequence[tuple[str, int]]
"""Models and versions in MLflow, the newest first."""


def wrong_digest(change: Change, entry: Entry, there: str, owners: Owners | None) -> str:
    """An entry names other bytes than its version has; ``owners`` were registered with what it names."""
    if owners and (change.model, entry.version) in owners:
        return (
            f"version {entry.version} was registered with this digest, and now has {there}: somebody replaced its "
            "files. Register the model again, and propose that version"
        )
    return _written_wrong("digest", change, entry, f"has {there}", owners)


def wrong_run(change: Change, entry: Entry, there: str, owners: Owners | None) -> str:
    """An entry names another run than its version is of; ``owners`` are those of the run that it names."""
    return _written_wrong("run", change, entry, f"is of run {there}" if there else "is of no run", owners)


def _written_wrong(what: str, change: Change, entry: Entry, right: str, owners: Owners | None) -> str:
    own = [version for model, version in owners or () if model == change.model]
    if own:
        whose = f"this is the {what} of version {own[0]}"
    elif owners:
        whose = f"this is the {what} of another model, {owners[0][0]} {owners[0][1]}"
    elif owners is None:
        whose = f"this is not the {what} of version {entry.version}"
    else:
        whose = f"no version in MLflow has this {what}"
    return f"{whose}; version {entry.version} {right}; {_how_to_write(change, entry.version, f'the right {what}')}"


def no_such_version(
    change: Change, entry: Entry, there: Sequence[int], owners: Owners | None, *, of_the_model: str
) -> str:
    """An entry names a version that is not there; ``owners`` were registered with the digest that it names.

    ``there`` are the model's newest versions. Without any, ``of_the_model`` says which models there are.
    """
    own = [version for model, version in owners or () if model == change.model]
    if not there:
        return of_the_model
    unknown = f"there is no version {entry.version} of {change.model}"
    if own:
        return f"{unknown}; the digest is that of version {own[0]}; {_how_to_write(change, own[0], 'that entry')}"
    newest = ", ".join(map(str, there[:5])) + (", …" if len(there) > 5 else "")
    return f"{unknown}; did you mean version {nearest_number(entry.version, there)}? The newest are {newest}"


def _how_to_write(change: Change, version: int, what: str) -> str:
    if change.section == "shadow":
        return f"write {what} under shadow.{change.model} in promotions/{change.environment}.yaml"
    return f"`promobot propose {change.model} {version} --env {change.environment}` writes {what}"


def problems_of(result: CheckResult) -> list[Finding]:
    """Return what is wrong: first what is written wrong, because the rest may follow from that."""
    return sorted(result.problems, key=lambda finding: finding.what not in WRITTEN)


def job_did_not_succeed(job: str, result: str) -> str:
    """A job that this one needs was skipped, cancelled or failed."""
    return f"the job {job} ended as “{result}”"


def nothing_to_check(changes: Sequence[Change]) -> str:
    """A pull request that proposes no version; what leaves service is the verdict's to say."""
    if changes:
        taken = "; ".join(escape(describe(change)) for change in changes)
        return f"**No version to check:** this pull request only takes entries away ({taken})."
    return "**Nothing to check:** this pull request changes no model in `promotions/`."


def details_are_in(url: str) -> str:
    """Point from the text of a pull request to the comment."""
    return f"[What each check found]({url})" if url else ""


def queued(changes: Sequence[Change], problems: Sequence[str]) -> str:
    """Return what a merge group's job says."""
    if problems:
        return "❌ **Not merged: the evidence does not hold.**\n\n" + "\n".join(
            f"- {escape(p)}" for p in problems[:50]
        )
    if not changes:
        return nothing_to_check(changes)
    return "✅ **The checks of each pull request hold for " + ", ".join(escape(describe(c)) for c in changes) + ".**"


def check_summary(name: CheckName, changes: Sequence[Change], results: Sequence[CheckResult]) -> str:
    """Return one check's job summary."""
    if not results:
        if name == "behaviour" and any(change.after is not None for change in changes):
            return (
                "**Nothing to measure:** the settings have no evaluation set and no recordings for what this pull "
                "request proposes."
            )
        return nothing_to_check(changes)
    parts = [f"## {CHECK_NAMES[name]}: {_WHAT[name]}"]
    for result in results:
        parts.append(f"### {tick(result.passed)} {_subject(result)}\n\n{_findings(result)}")
        parts += [said] if (said := measured(result)) else []
    return "\n\n".join(parts)


def headline(
    changes: Sequence[Change],
    results: Sequence[CheckResult],
    problems: Sequence[str],
    *,
    other_paths: Sequence[str],
    settings: Sequence[SettingsChange] = (),
    leaving: Sequence[Leaving] = (),
    cases: CaseWords = NO_CASES,
) -> str:
    """Return the verdict in one paragraph: whether to merge, and for what reason not."""
    proposed = [change for change in changes if change.after is not None]
    failed = [result for result in results if not result.passed]
    if problems or failed:
        return "❌ **Do not merge: " + _first_problem(failed, problems) + ".** Nothing in service has changed."
    if not proposed:
        gone = {(one.stop.change.environment, one.stop.change.model) for one in leaving}
        idle = [c for c in changes if is_removal(c) and (c.environment, c.model) not in gone]
        said = [leaving_words.nothing_leaves(change.model, change.environment) for change in idle]
        first = _only_settings(settings, changes) if settings else nothing_to_check(changes)
        if cases.first:
            first = f"{first} {cases.first}" if settings or changes else cases.first
        if leaving:
            first = leaving_words.stops(leaving) + (f" {first}" if settings else " Next: review and merge.")
        return first + "".join(f" {line}." for line in said[:MAX_ENTRIES])
    what = ", ".join(escape(_named(change)) for change in proposed[:_MAX_NAMES])
    what += f" and {len(proposed) - _MAX_NAMES} more" * (len(proposed) > _MAX_NAMES)
    more = [*_only_claimed(results), *_besides(settings, other_paths), *[cases.also] * bool(cases.also)]
    also = "".join(f" {said}" for said in more)
    say_so = " Merging makes main say so." if all(map(_answers_already, proposed)) else ""
    if not say_so and all(change.section == "shadow" for change in proposed):
        say_so = " A shadow gets copies of requests, and answers nobody."
    return f"✅ **Every check passed for {what}.**{say_so}{also} Next: review and merge."


def _answers_already(change: Change) -> bool:
    """Whether merging changes nothing for users: main said something else, which was put back."""
    before, after = change.before, change.after
    return before is not None and after is not None and before.names_the_same_as(after)


def _named(change: Change) -> str:
    if not _answers_already(change) or change.after is None:
        return describe(change)
    where = change.environment + (" (shadow)" if change.section == "shadow" else "")
    verb = "listens" if change.section == "shadow" else "answers"
    return f"{change.model} {change.after.version} in {where}, which {verb} already"


def comment(
    changes: Sequence[Change],
    results: Sequence[CheckResult],
    problems: Sequence[str],
    *,
    head: str,
    other_paths: Sequence[str],
    settings: Sequence[SettingsChange] = (),
    logs: str = "",
    leaving: Sequence[Leaving] = (),
    cases: CaseWords = NO_CASES,
    measured_before: Sequence[Evidence] = (),
) -> str:
    """Return the one comment that sums up: verdict first, then each entry, what is wrong before what is right.

    ``settings`` is what would become of environment files, ``other_paths`` is what no check looked at. ``leaving`` is
    what merging takes out of service. ``logs`` is where the run shows what each job said. ``measured_before`` is what
    was measured on evaluation sets that the settings would no longer name.
    """
    proposed = [change for change in changes if change.after is not None]
    failed = [result for result in results if not result.passed]
    first = headline(
        changes, results, problems, other_paths=other_paths, settings=settings, leaving=leaving, cases=cases
    )
    parts = [MARKER, first]
    if problems or failed:
        told = {job_did_not_succeed(result.check, "failure") for result in failed}
        untold = [problem for problem in problems if problem not in told]
        below = untold if failed else untold[1:]  # the verdict says the first of them
        rest = [f"- {escape(problem)}" for problem in below[:20]]
        if len(below) > 20:
            rest.append(f"- and {len(below) - 20} more")
        if rest:
            parts.append("\n".join(rest))
    parts += [leaving_words.paragraph(one) for one in leaving[:MAX_ENTRIES]]
    if len(leaving) > MAX_ENTRIES:
        parts.append(f"… and {len(leaving) - MAX_ENTRIES} more models leave service.")
    parts.append(f"<sub>Commit {code(head[:12])}. This comment is updated by each run{_link(logs)}.</sub>")
    if problems or failed:
        parts.append(f"<sub>{run_again(logs)}</sub>")
    own = [
        (change, [r for r in results if (r.environment, r.section, r.model) == _key(change)]) for change in proposed
    ]
    own.sort(key=lambda pair: all(result.passed for result in pair[1]))
    parts += _entries(own[:MAX_ENTRIES])
    if len(own) > MAX_ENTRIES:
        parts.append(
            f"… and {len(own) - MAX_ENTRIES} more entries, none worse than these; the jobs' summaries have them."
        )
        others = own[MAX_ENTRIES : MAX_ENTRIES + _MAX_ROWS]
        parts.append(
            table(("", "entry", *CHECK_NAMES.values()), [_in_a_row(change, found) for change, found in others])
        )
    parts += [cases.section] if cases.section else []
    parts += [_settings(change, measured_before) for change in settings]
    if other_paths:
        listed = ", ".join(code(path) for path in other_paths[:20])
        more = f" and {len(other_paths) - 20} more" if len(other_paths) > 20 else ""
        parts.append(
            f"ℹ️ Besides `promotions/` this changes {listed}{more}: nothing of it ran in these checks, which use the "
            "base branch's code."
        )
    parts += [said for change, found in own[:MAX_ENTRIES] if (said := _findings_in_full(change, found))]
    return fit(parts)


def _only_claimed(results: Sequence[CheckResult]) -> list[str]:
    """Say which numbers passed on training's word alone, although the settings want the model to be measured."""
    said = []
    for result in results:
        evaluation = result.evaluation
        if evaluation is None or not result.passed:
            continue
        which = ", ".join(map(code, unmeasured(evaluation)))
        if evaluation.digest and not evaluation.labelled:
            which = "any metric, since the evaluation set has no labels"
        elif which:
            which = f"{which}: the gate judged only what training logged"
        if which:
            said.append(f"⚠️ **Not measured for {escape(result.model)} in {escape(result.environment)}:** {which}.")
    return said[:_UNMEASURED_SHOWN]


def _besides(settings: Sequence[SettingsChange], other_paths: Sequence[str]) -> list[str]:
    """Say what else a pull request changes that has passed its checks: they say nothing of it."""
    said = []
    if settings:
        said.append(f"⚠️ It also changes the settings of {_environments(settings)}.")
    if other_paths:
        files = "one other file" if len(other_paths) == 1 else f"{len(other_paths)} other files"
        said.append(f"⚠️ It also changes {files}, which no check looked at.")
    return said


def _only_settings(settings: Sequence[SettingsChange], changes: Sequence[Change]) -> str:
    taken = "; ".join(escape(describe(change)) for change in changes)
    also = f" It also takes entries away ({taken})." if taken else " It proposes no version."
    return f"🔧 **Merging this changes the settings of {_environments(settings)}.**{also} Next: review what is below."


def _environments(settings: Sequence[SettingsChange]) -> str:
    return ", ".join(escape(change.environment) for change in settings)


_MEANS = {
    "records": "the bot no longer reads evidence, quarantine and history that were written elsewhere",
    "share": "versions that were published elsewhere are published again; old routes and journals are no longer read",
    "tritons": "the bot no longer loads and proves a server that is left out; that one may keep serving",
    "gateways": "the bot no longer switches a gateway that is left out; it may keep serving its versions",
    "slack.may": "who may propose, approve and roll back from Slack",
    "slack.github_logins": "who counts as whom on GitHub, so that nobody approves their own proposal",
    "packages": "what a package may contain, code among it",
    "evaluation": "numbers from other rows, or computed in another way, do not compare with those of before; the bot "
    "holds a version that was checked before and is not deployed yet, until it is checked again",
}
"""Consequences of a change of these keys that are not obvious."""


def _settings(change: SettingsChange, measured_before: Sequence[Evidence]) -> str:
    """Return what becomes of one environment's settings: each value before and after."""
    title = f"### Settings of {escape(change.environment)}"
    if change.kind == "removed":
        return (
            f"{title}\n\n⚠️ **The environment file is deleted.** The bot no longer deploys, proves or rolls back "
            f"{escape(change.environment)}; its present versions keep serving."
        )
    if not change.differences:
        return f"{title}\n\nOnly comments and layout change; every value stays as it is."
    said = {
        "added": "The environment is new.",
        "changed": "The file has a mistake before this change, so every value is shown as new."
        if change.unreadable_before
        else "",
    }[change.kind]
    shown = change.differences[:MAX_SETTINGS]
    rows = [(code(one.key), _value(one.before), _value(one.after)) for one in shown]
    more = len(change.differences) - len(shown)
    keys = [f"{one.key}." for one in change.differences]
    means = [
        f"⚠️ {code(key)}: {meaning}."
        for key, meaning in _MEANS.items()
        if change.kind == "changed" and any(one.startswith((f"{key}.", f"{key}[")) for one in keys)
    ]
    before = [one for one in measured_before if one.environment == change.environment]
    parts = [
        title,
        said,
        *means,
        table(("setting", "before", "after"), rows),
        f"… and {more} more." if more else "",
        on_the_rows_of_before(before) if before else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _value(value: str | None) -> str:
    return "–" if value is None else code(value, limit=400)


def _link(logs: str) -> str:
    return f" ([logs]({logs}))" if logs else ""


Own = tuple[Change, Sequence[CheckResult]]
"""A change, and what the checks found about it."""


def _entries(own: Sequence[Own]) -> list[str]:
    """Return a section for each entry; those that were refused for the same reason, unseen, share one."""
    alike: dict[str, list[Own]] = {}
    for change, found in own:
        # Of one that was looked at, what each check found is worth reading.
        alike.setdefault(_refused_for(change, found) or f"{_key(change)}", []).append((change, found))
    return [_entry(change, found, others) for (change, found), *others in alike.values()]


def _refused_for(change: Change, results: Sequence[CheckResult]) -> str:
    """Return the one reason for which no check looked at an entry, whatever its name; empty where one did."""
    reasons = {tuple((f.what, f.passed, f.detail) for f in result.findings) for result in results}
    if len(reasons) != 1 or len(results) < len(CHECKS):
        return ""
    ((what, passed, detail), *more) = next(iter(reasons)) or (("", True, ""),)
    return "" if passed or more else f"{what}: {detail.partition('. ')[0].removesuffix(change.model)}"


def _entry(change: Change, results: Sequence[CheckResult], others: Sequence[Own] = ()) -> str:
    """Return the section of an entry; ``others`` were refused for the same reason."""
    by_name = {result.check: result for result in results}
    rows: list[tuple[str, str, str]] = []
    for name in CHECK_NAMES:
        result = by_name.get(name)
        if result is None and name not in CHECKS:
            continue
        if result is None:
            rows.append(("❌", CHECK_NAMES[name], "no result"))
            continue
        problems = problems_of(result)
        said = "; ".join(f"{escape(f.what, limit=100)}: {escape(f.detail, limit=400)}" for f in problems[:3])
        if len(problems) > 3:
            said += f"; and {len(problems) - 3} more"
        count = len(result.findings)
        said = said or (f"{count} of {count}: {_WHAT[name]}" if count else NOTHING_LOOKED_AT)
        said += "".join(f" ({SAYS_SO} {escape(f.detail)})" for f in result.findings if f.what == SAYS_SO)
        rows.append((tick(result.passed), CHECK_NAMES[name], said))
    if _refused_for(change, results):
        rows = [("❌", ", ".join(CHECK_NAMES[name] for name in CHECK_NAMES if name in by_name), rows[0][2])]
    digest = f" {code(short(change.after.digest))}" if change.after else ""
    also = ", ".join(escape(_named(other)) for other, _ in others)
    also = f"\n\n**The same holds for** {also}." if also else ""
    text = f"### {escape(_named(change))}{digest}\n\n" + table(("", "check", "found"), rows) + also
    smoke, behaviour = by_name.get("smoke"), by_name.get("behaviour")
    parts = [text, measured(behaviour) if behaviour else "", _behaviour(smoke) if smoke else ""]
    if loaded := by_name.get("triton"):
        parts.append(memory_words.taken(loaded.memory, loaded.memory_in_service))
    return "\n\n".join(part for part in parts if part)


def _in_a_row(change: Change, results: Sequence[CheckResult]) -> tuple[str, ...]:
    """Return one entry and whether each check passed, for the table of those that have no section."""
    passed = {result.check: result.passed for result in results}
    marks = [tick(passed[name]) if name in passed else "❌" if name in CHECKS else "–" for name in CHECK_NAMES]
    whole = all(passed.values()) and passed.keys() >= set(CHECKS)
    return (tick(whole), escape(_named(change)), *marks)


def _behaviour(smoke: CheckResult) -> str:
    """Return how the version answered on staging: as in training, beside the champion, and how fast."""
    # Cases that became law come after the package's own.
    golden = [finding for finding in smoke.findings if finding.what.startswith("case ")][: len(smoke.answers)]
    right = sum(finding.passed for finding in golden)
    parts = []
    if smoke.answers:
        # Where it broke off, nobody knows how many more there were.
        broke_off = any(finding.what == could_not("smoke") for finding in smoke.problems)
        rest = "; then it broke off" if broke_off else ""
        parts.append(f"**Parity with the training framework:** {right} of {len(smoke.answers)} smoke cases{rest}.")
    if smoke.cases:
        parts.append(cases_held(smoke))
    behaviour = smoke.behaviour
    if behaviour is not None:
        against = f"**Against version {behaviour.champion.version} in service**, on the same Triton: "
        if behaviour.problem or not behaviour.cases:
            why = escape(behaviour.problem) or "There is no case that both answered."
            parts.append(f"⚠️ {against}not compared. {why}")
        else:
            moved = [m.by for m in behaviour.moved if math.isfinite(m.by)]
            broken = any(m.by == math.inf and not m.flips for m in behaviour.moved)
            furthest = f"numbers move by up to {max(moved):.3g}" if moved else "no number moves"
            if broken:
                furthest = "a number became infinite or NaN, or was so before"
            flips = f"{behaviour.flipped} of {behaviour.cases} decisions flip"
            parts.append(f"{'⚠️ ' if behaviour.flipped or broken else ''}{against}{flips}; {furthest}.")
            if behaviour.moved:
                rows = [
                    (
                        "⚠️ flips" if m.flips else "moves",
                        escape(m.case),
                        code(m.output),
                        escape(m.before),
                        escape(m.after),
                        f"{m.by:.3g}" if math.isfinite(m.by) else "–",
                    )
                    for m in behaviour.moved
                ]
                parts.append(table(("", "case", "output", "in service", "proposed", "moved by"), rows))
    measured = (("proposed", smoke.latency), ("in service", behaviour.latency if behaviour else None))
    times = [
        (
            who,
            *(f"{percentile:.2f}" for percentile in (latency.p50, latency.p95, latency.p99)),
            f"{latency.budget:g}" if latency.budget is not None else "–",
            str(latency.requests),
        )
        for who, latency in measured
        if latency is not None
    ]
    if times:
        parts.append(table(("", "p50 ms", "p95 ms", "p99 ms", "budget for p50", "requests on staging"), times))
    return "\n\n".join(parts)


def _findings_in_full(change: Change, results: Sequence[CheckResult]) -> str:
    """Return everything that was looked at for one entry, folded."""
    parts = []
    if _refused_for(change, results):
        return ""  # the section above has all of it
    by_name = {result.check: result for result in results}
    for result in (by_name[name] for name in CHECK_NAMES if name in by_name and by_name[name].findings):
        count = sum(finding.passed for finding in result.findings)
        title = f"{CHECK_NAMES[result.check]} of {_named(change)}: {count} of {len(result.findings)} hold"
        parts.append(details(title, _findings(result)))
    return "\n\n".join(parts)


def _findings(result: CheckResult) -> str:
    if not result.findings:
        return f"It {NOTHING_LOOKED_AT}."
    ordered = sorted(result.findings, key=lambda finding: finding.passed)
    shown = ordered[:MAX_FINDINGS]
    rows = [(tick(f.passed), escape(f.what, limit=100), escape(f.detail, limit=1000)) for f in shown]
    more = f"\n\n… and {len(ordered) - len(shown)} more." if len(ordered) > len(shown) else ""
    return table(("", "what", "found"), rows) + more


def _first_problem(failed: Sequence[CheckResult], problems: Iterable[str]) -> str:
    for result in failed:
        for finding in problems_of(result):
            name = f"{CHECK_NAMES[result.check]} of {escape(result.model)} {result.version}"
            return f"{name} failed at “{escape(finding.what)}”: {escape(finding.detail.removesuffix('.'), limit=400)}"
        return f"{CHECK_NAMES[result.check]} of {escape(result.model)} {result.version} {NOTHING_LOOKED_AT}"
    return escape(next(iter(problems), "a check failed"))


def _subject(result: CheckResult) -> str:
    shadow = " (shadow)" if result.section == "shadow" else ""
    where = f"{escape(result.environment)}{shadow}"
    return f"{escape(result.model)} {result.version} for {where} {code(short(result.digest))}"


def _key(change: Change) -> tuple[str, str, str]:
    return change.environment, change.section, change.model
