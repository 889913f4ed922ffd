"""Titles, bodies and comments of the pull requests that change desired state."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bot.domain.bundle import Bundle
from bot.domain.desired import Change, Entry
from bot.domain.gate import GateResult
from bot.domain.metrics import Measured
from bot.domain.names import short
from bot.domain.package import Package
from bot.domain.proven import WayProof
from bot.domain.record import run_of
from bot.domain.signature import Signature
from bot.render import metrics as metric_words
from bot.render.markdown import code, details, escape, fenced, fit, table, tick
from bot.render.proven import proven
from bot.render.sizes import size


@dataclass(frozen=True)
class Candidate:
    """The facts about a version in the pull request: the proposed one, or the champion in service."""

    version: int
    digest: str
    run: str
    url: str
    commit: str
    metrics: Measured
    params: Mapping[str, str]
    package: Package
    config: str
    signature: Signature


@dataclass(frozen=True)
class Facts:
    """Everything that the pull request's text is made of."""

    change: Change
    candidate: Candidate
    champion: Candidate | None
    champion_problem: str
    gate: GateResult
    reason: str
    tritons: int | None
    gateways: int | None
    promoted_from: str = ""
    note: str = ""
    judged_by: str = ""
    """The commit of main whose rules were applied; empty where those of the checkout were."""
    steps: tuple[int, ...] = ()
    """Percent of the requests that it would answer, step by step; empty where all users get it at once."""
    main: Entry | None = None
    """What main asks for; ``change.before`` is what answers, and the two differ where a version was put back."""
    proof: WayProof | None = None
    """The proof of the way back, which is the version that answers now; None where nobody noted one."""

    @property
    def is_desired(self) -> bool:
        """Whether main asks for just this, and for copies of as many requests."""
        main, after = self.main, self.change.after
        return bool(main and after and main.names_the_same_as(after) and main.percent == after.percent)

    @property
    def does_not_answer(self) -> Entry | None:
        """What main asks for and users do not get; None where they do, or where it asks for nothing."""
        before = self.change.before
        return None if self.main is None or (before and self.main.names_the_same_as(before)) else self.main


VERDICT_ENDS = "<!-- promobot:verdict -->"
"""What stands above it in a pull request's text is kept true by each run of the checks."""


def headed(verdict: str, next_step: str = "") -> str:
    """Return a verdict and what comes next, as the part of a text that :func:`with_verdict` replaces."""
    return "\n\n".join(part for part in (verdict, next_step, VERDICT_ENDS) if part)


def with_verdict(body: str, verdict: str, next_step: str = "") -> str:
    """Return the text of a pull request with another verdict; as it is where it has none of ours."""
    _, mark, rest = body.partition(VERDICT_ENDS)
    return headed(verdict, next_step) + rest if mark else body


def below_verdict(body: str) -> str:
    """Return what a text says besides the verdict, which may have changed since it was written."""
    _, mark, rest = body.partition(VERDICT_ENDS)
    return rest if mark else body


_REQUESTED = "<!-- promobot:requested-by {} -->"


def requested_by(name: str, slack_user: str) -> str:
    """Return who asked for a pull request from Slack; the bot finds the user's id there again."""
    marker = _REQUESTED.format(slack_user) if re.fullmatch(r"[UW][A-Z0-9]+", slack_user) else ""
    return f"{marker}\nRequested by **{escape(name)}** from Slack."


def requester_of(body: str) -> str:
    """Return the id of the Slack user who asked for a pull request; empty where nobody did from there."""
    found = re.search(_REQUESTED.format("([UW][A-Z0-9]+)"), body)
    return found[1] if found else ""


def title(change: Change) -> str:
    """Return the title of a proposal."""
    assert change.after is not None  # noqa: S101 - removals have words of their own
    if change.section == "shadow":
        return f"Shadow {change.model} {change.after.version} in {change.environment}"
    return f"Promote {change.model} to {change.after.version} in {change.environment}"


def verdict(facts: Facts) -> str:
    """Return what a reviewer must know, in one sentence."""
    change, gate = facts.change, facts.gate
    assert change.after is not None  # noqa: S101 - removals have words of their own
    name = f"{change.model} {change.after.version}"
    if change.section == "shadow":
        gate_says = f"misses the gate of {change.environment} ({escape(facts.reason)})"
        if gate.passed:
            gate_says = f"passes the gate of {change.environment}, and is to listen first"
        share = "" if change.after.share is None else f"{change.after.percent} % of the "
        return f"👥 **{name} {gate_says}: it would receive copies of {share}requests and answer nobody.**"
    origin = f", with the digest that is verified in {facts.promoted_from}" if facts.promoted_from else ""
    against = "nothing is in service yet"
    if facts.champion is not None:
        better = [row for row in gate.rows if row.change is not None]
        against = f"against version {facts.champion.version} in service: " + (
            ", ".join(f"{row.metric} {row.change:+.4g}" for row in better) or "no metric in common"
        )
    return f"✅ **{name} passes the gate of {change.environment}{origin}; {escape(against)}.**"


def body(facts: Facts) -> str:
    """Return the text of a proposal."""
    problem = f"⚠️ {escape(facts.champion_problem)}" if facts.champion_problem else ""
    sections = [
        headed(verdict(facts), "Next: the checks below, then your review. Merging deploys it."),
        facts.note,
        _main_says_otherwise(facts),
        problem,
        _gate(facts),
        behaviour(facts),
        _way_back(facts),
        details("Identity: version, digest, run, code, size", identity(facts)),
        details("Where each number comes from", origins(facts)),
        details("Files of the package", _files(facts.candidate.package)),
    ]
    sections.append(details("Lineage: run, code, parameters", _lineage(facts.candidate)))
    return fit(sections)


def _main_says_otherwise(facts: Facts) -> str:
    missing, change = facts.does_not_answer, facts.change
    if missing is None:
        return ""
    verb = "listens" if change.section == "shadow" else "answers"
    now = f"version {change.before.version} {verb}" if change.before else f"nothing {verb}"
    return f"⚠️ Main asks for version {missing.version}, which is not in service: {now}, and that is what is compared."


def _lineage(candidate: Candidate) -> str:
    rows = [
        ("registered version", f"[{candidate.version}]({candidate.url})"),
        ("run", code(candidate.run)),
        ("code", code(candidate.commit) if candidate.commit else "unknown"),
        ("digest of the package", code(candidate.digest)),
        *((f"parameter {code(n)}", code(v[:200])) for n, v in sorted(candidate.params.items())[:100]),
    ]
    more = f"\n\n… and {len(candidate.params) - 100} more parameters." if len(candidate.params) > 100 else ""
    return table(("what", "value"), rows) + more


def identity(facts: Facts) -> str:
    """Return version, digest, run, code and size, beside those in service."""
    candidate, champion = facts.candidate, facts.champion
    rows = [
        ("version", f"[{candidate.version}]({candidate.url})", f"{champion.version}" if champion else "–"),
        ("digest", code(short(candidate.digest)), code(short(champion.digest)) if champion else "–"),
        ("MLflow run", code(candidate.run), code(champion.run) if champion else "–"),
        (
            "code",
            code(candidate.commit[:12]) if candidate.commit else "unknown",
            code(champion.commit[:12]) if champion and champion.commit else "–",
        ),
        ("size", size(candidate.package.size), size(champion.package.size) if champion else "–"),
    ]
    return table(("", "proposed", "in service"), rows)


def gate_rows(facts: Facts) -> list[tuple[str, ...]]:
    """Return a row for each metric of the gate: how it was judged, both values, the change, the rule."""
    return [
        (
            tick(row.passed),
            code(row.metric),
            _number(row.value),
            _number(row.champion),
            f"{row.change:+.4g}" if row.change is not None else "–",
            escape(row.rule),
        )
        for row in facts.gate.rows
    ]


def _gate(facts: Facts) -> str:
    rows = gate_rows(facts)
    text = "### Gate\n\n" + table(("", "metric", "proposed", "in service", "change", "rule"), rows)
    measured, champion = facts.candidate.metrics, facts.champion.metrics if facts.champion else Measured()
    others = sorted(set(measured.values) - {row.metric for row in facts.gate.rows})
    more = f"\n\n… and {len(others) - 50} more." if len(others) > 50 else ""
    if others:
        rest = [(code(n), _number(measured.values[n]), _number(champion.values.get(n))) for n in others[:50]]
        text += "\n\n" + details("Other metrics", table(("metric", "proposed", "in service"), rest) + more)
    return text


def origins(facts: Facts) -> str:
    """Return where each judged number comes from, beside those of the version in service."""
    measured, champion = facts.candidate.metrics, facts.champion.metrics if facts.champion else Measured()
    judged = [row.metric for row in facts.gate.rows]
    names = [*judged, *sorted(set(measured.values) - set(judged))[:50]]
    rows = [(code(n), _from(measured, n), _from(champion, n) if facts.champion else "–") for n in names]
    return table(("metric", "proposed", "in service"), rows)


def _from(measured: Measured, name: str) -> str:
    if why := measured.why_unknown(name):
        return f"⚠️ {escape(why)}"
    origin = measured.origins.get(name)
    return escape(metric_words.origin(origin)) if origin else "–"


def behaviour(facts: Facts) -> str:
    """Return signature and configuration, as differences where a version is in service."""
    candidate, champion = facts.candidate, facts.champion
    if champion is None:
        text = f"Takes and gives {code(str(candidate.signature), limit=1000)}"
        return f"### Signature and configuration\n\n{text}\n\n" + details(
            "config.pbtxt", fenced(candidate.config.strip(), "protobuf")
        )
    diff = _diff(_signature_lines(champion.signature), _signature_lines(candidate.signature))
    config = _diff(champion.config.splitlines(), candidate.config.splitlines())
    return "\n\n".join(
        [
            "### Signature and configuration",
            f"Signature differs:\n\n{fenced(diff, 'diff')}" if diff else "The signature is the same.",
            f"Configuration differs:\n\n{fenced(config, 'diff')}" if config else "The configuration is the same.",
        ]
    )


def _count(number: int | None, what: str) -> str:
    return f"every {what}" if number is None else f"{number} {what}{'s' * (number != 1)}"


def reach(facts: Facts) -> str:
    """Return how many servers a merge reaches."""
    return f"{_count(facts.tritons, 'Triton')}, {_count(facts.gateways, 'gateway')}"


def _by_steps(facts: Facts) -> str:
    """Return which share of the requests it answers when."""
    *steps, last = facts.steps or (0,)
    return f", and answers {', '.join(map(str, steps))}, then {last} % of the requests there" if steps else ""


def _way_back(facts: Facts) -> str:
    change = facts.change
    back = (
        f"version {change.before.version} ({short(change.before.digest)})" if change.before else "nothing in service"
    )
    if change.before is None and change.section == "models":
        command = f"promobot retire {change.model} --env {change.environment} --reason '…'"
        return (
            f"### Way back\n\nReaches {reach(facts)} of {change.environment}. Nothing is in service yet, so the way "
            f"back is to take it out of service again. Run\n\n{fenced(command, 'sh')}\n\nand merge what that opens."
        )
    if change.section == "shadow":
        # `promobot rollback` would go back from the version that answers.
        listens = back if change.before else "nothing"
        return (
            f"### Way back\n\nReaches {reach(facts)} of {change.environment}. It answers nobody. To go back to "
            f"{listens} on the shadow path: press **Revert** below after the merge, and merge that."
        )
    command = f"promobot rollback {change.model} --env {change.environment}"
    button = "press **Revert** below after the merge, or run"
    if facts.does_not_answer is not None:
        button = f"run the following. The button **Revert** would bring version {facts.does_not_answer.version} back"
    return (
        f"### Way back\n\nReaches {reach(facts)} of {change.environment}{_by_steps(facts)}. To go back to {back}: "
        f"{button}\n\n{fenced(command, 'sh')}\n\nAdd `--now` to put the runtime back before the revert is merged."
        + (f"\n\n{proven(facts.proof)}" if facts.proof is not None else "")
    )


def _files(package: Package) -> str:
    rows = [(code(file.path), size(file.size), code(file.sha256[:12])) for file in package.files[:200]]
    more = f"\n\n… and {len(package.files) - 200} more." if len(package.files) > 200 else ""
    return table(("file", "size", "sha256"), rows) + more


def replaced(was: str, change: Change) -> str:
    """Return the comment that says that an open proposal, of ``was``, now proposes another version."""
    return f"🔁 This pull request proposed {escape(was)}; it now proposes **{escape(title(change))}**."


# --- commits of people on a branch of the bot -----------------------------------------------------------------


def commit(sha: str, author: str, email: str, subject: str) -> str:
    """Return a commit in a few words: which, by whom as it says itself, and what for."""
    name, address, said = (
        "".join(character if character.isprintable() else "\ufffd" for character in text)[:80]
        for text in (author, email, subject)
    )
    return f"{sha[:12]} by {name} <{address}> ({said})"


def dropped(commits: Sequence[str]) -> str:
    """Return the comment that names the commits which were replaced, as somebody asked."""
    lines = "\n".join(f"- {escape(one)}" for one in commits[:20])
    more = f"\n- and {len(commits) - 20} more" if len(commits) > 20 else ""
    return (
        f"🔁 The bot wrote this branch anew, as somebody asked with `--replace`. These commits are no longer on it:"
        f"\n\n{lines}{more}\n\n`git fetch origin` and the full id of one still gets it from GitHub for a while."
    )


def retire_title(model: str, environment: str, entry: Entry | None) -> str:
    """Return the title of the pull request that takes a model out of service."""
    return f"Retire {model}{f' {entry.version}' if entry else ''} in {environment}"


def retire_body(
    model: str, environment: str, served: Entry | None, *, reason: str, by: str, parts: Sequence[str] = ()
) -> str:
    """Return the text of the pull request that takes a model out of service; ``served`` is what answers now.

    ``parts`` are all models that leave with it: those of its bundle.
    """
    others = [part for part in parts if part != model]
    now = (
        f"Version {served.version} ({code(short(served.digest))}) answers now." if served else "Nothing answers now."
    )
    back = f"promobot rollback {model} --env {environment}"
    lines = [
        headed(""),
        f"⏹️ **{escape(model)} leaves service in {escape(environment)}.** {now}",
        f"The other parts of its bundle leave with it: {escape(', '.join(others))}." if others else "",
        f"Asked for by {escape(by)}." if by else "",
        f"**Why:** {escape(reason)}",
        "Next: see in the verdict whether anybody still asks for it, then merge. Users get 404 after that.",
        f"The way back: press **Revert** below after the merge, or run\n\n{fenced(back, 'sh')}",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


BY_THE_BOT = "Opened by the bot"
"""How the text of a revert says that nobody asked for it."""


def take_blame_back(of: str, environment: str) -> str:
    """Return the command that undoes what a deployment, or a whole run, blamed."""
    which = "--run" if of == run_of(of, environment) else "--deployment"
    return f"promobot quarantine lift {which} {of} --env {environment} --reason '…'"


def blame_taken_back(of: str, reason: str, by: str) -> str:
    """Why the bot closes a revert: a person says that the model was not at fault."""
    return f"{escape(by)} took back what {escape(of)} blamed: {escape(reason)}"


def revert_title(change: Change, back: Entry | None) -> str:
    """Return the title of the pull request that goes back."""
    target = f"back to {back.version}" if back else "back to nothing"
    what = f" {change.after.version}" if change.after else ""
    section = " shadow" if change.section == "shadow" else ""
    if change.bundle is not None:
        target = f"back to {parts_of(change.left)}"
        which = f"{change.bundle.name} {short(change.bundle.digest)}"
        return f"Revert{section} bundle {which} in {change.environment}: {target}"
    return f"Revert{section} {change.model}{what} in {change.environment}: {target}"


def parts_of(bundle: Bundle | None) -> str:
    """Name the parts of a bundle, with their versions."""
    return ", ".join(f"{part.model} {part.version}" for part in bundle.parts) if bundle else "nothing"


def only_the_runtime_went_back(change: Change, back: Entry) -> str:
    """What users get after ``--now``, where the pull request could not be opened."""
    return (
        f"The runtime of {change.environment} was put back to {change.model} {back.version}; `promobot status` shows "
        "what answers. Main does not say so yet, and no pull request asks it to."
    )


def revert_waits(environment: str, error: str) -> str:
    """The runtime is back, and no pull request is open yet."""
    return (
        f"The revert pull request is not open yet: {error}\n"
        f"→ It is noted: the next `promobot deploy --env {environment}` that reaches GitHub opens it."
    )


def revert_of(model: str, version: int, by: str, at: datetime) -> str:
    """Name a rollback that was taken at once."""
    return f"the revert of {model} to {version} that {by} asked for at {at:%Y-%m-%d %H:%M} UTC"


Fate = Literal["quarantined", "lost", "blameless", "unseen"]
"""
quarantined  it is in quarantine, or goes there at the merge
lost         its bytes no longer exist
blameless    the fault lies elsewhere
unseen       users never got it, so it does not go into quarantine
"""


def revert_body(
    change: Change,
    back: Entry | None,
    *,
    reason: str,
    by: str = "",
    note: str = "",
    fate: Fate = "quarantined",
    deployment: str = "",
    is_back: bool = False,
) -> str:
    """Return the text of the pull request that goes back.

    ``is_back`` says that users have what it goes back to already, so that only main has to follow. ``fate`` says what
    becomes of the digest that is left, and ``deployment`` which one blames it.
    """
    asked = f"Asked for by {escape(by)}." if by else f"{BY_THE_BOT}, which has put the runtime back already."
    if fate == "lost":
        asked = f"{BY_THE_BOT}: users get what they got before, and what was merged cannot be deployed."
    lines = [
        headed(""),
        f"↩️ **{_goes_back(change, back, is_back=is_back)}**",
        note or asked,
        f"**Why:** {escape(reason)}" if reason else "",
        "Next: merge it. It needs no gate: the checks see that the bytes are still there and answer rightly.",
        *(_of_what_is_left(change, change.after, fate, deployment) if change.after else ()),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _goes_back(change: Change, back: Entry | None, *, is_back: bool) -> str:
    """Say from where to where."""
    target = f"version {back.version} ({code(short(back.digest))}), which was verified here" if back else "no version"
    where = escape(change.environment) + (" (shadow)" if change.section == "shadow" else "")
    now = f"version {change.after.version}" if change.after else "no version"
    subject = change.model
    if change.bundle is not None:
        subject, now = f"The bundle {change.bundle.name}", parts_of(change.bundle)
        target = f"{parts_of(change.left)}, which were verified here together" if back else "no version"
    if is_back:
        return f"{escape(subject)} in {where} is at {target}; main asks for {now}. Merging this only changes main."
    return f"{escape(subject)} in {where} goes back from {now} to {target}."


def _of_what_is_left(change: Change, left: Entry, fate: Fate, deployment: str) -> list[str]:
    """Say what becomes of the digest that is left, and what to type where that is wrong."""
    environment, digest = change.environment, code(short(change.judged_digest))
    match fate:
        case "lost":
            return [
                f"{digest} itself is not in quarantine: its bytes no longer exist. If they come back before this is "
                "merged, deploy again and close this; else register the model again."
            ]
        case "blameless":
            return [
                f"{digest} is not in quarantine: the fault lies elsewhere. Fix that and run "
                f"`promobot deploy --env {environment}`, which closes this when version {left.version} is "
                f"in service. Or merge this, and propose the version again later."
            ]
        case "unseen":
            return []
        case "quarantined":
            lift = f"promobot quarantine lift {change.judged_digest} --env {environment} --reason '…'"
            held = (
                f"{digest} is, or will be, in quarantine in {environment}: nothing "
                f"proposes or deploys it there until a person lifts that with\n\n" + fenced(lift, "sh")
            )
            wrong = "If the model is not at fault, this takes the blame back and closes this pull request:\n\n"
            return [held, *([wrong + fenced(take_blame_back(deployment, environment), "sh")] if deployment else [])]


def _signature_lines(signature: Signature) -> list[str]:
    return [f"input  {spec}" for spec in signature.inputs] + [f"output {spec}" for spec in signature.outputs]


def _diff(before: list[str], after: list[str]) -> str:
    return "\n".join(list(difflib.unified_diff(before, after, "in service", "proposed", lineterm="", n=2))[:400])


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
