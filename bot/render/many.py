"""Titles and texts of a pull request that proposes several versions, and of what it leaves out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from bot.domain.desired import Change, Section
from bot.domain.proposal import LeftOut
from bot.render import proposal
from bot.render.markdown import code, details, escape, fit, table

_TITLE_CHARACTERS = 120
_NAMED = 10


def title(changes: Sequence[Change]) -> str:
    """Return the title of a proposal of several versions."""
    environment = changes[0].environment
    named = [f"{one.model} {_after(one)}" + (" (shadow)" if one.section == "shadow" else "") for one in changes]
    said = f"Promote {len(changes)} models in {environment}: {named[0]}"
    for number, name in enumerate(named[1:], start=1):
        rest = f" and {len(named) - number} more"
        if len(f"{said}, {name}{rest}") > _TITLE_CHARACTERS:
            return said + rest
        said += f", {name}"
    return said


def body(facts: Sequence[proposal.Facts], *, note: str) -> str:
    """Return the text of a proposal of several versions: the verdict, all in one table, and each with its gate."""
    environment = facts[0].change.environment
    passing = [one for one in facts if one.change.section == "models"]
    listening = [one for one in facts if one.change.section == "shadow"]
    said = f"✅ **{_count(len(passing))} the gate of {environment}.**" if passing else ""
    if listening:
        names = ", ".join(f"{one.change.model} {_after(one.change)}" for one in listening)
        shadows = f"👥 **{len(listening)} would receive copies of requests and answer nobody: {escape(names)}.**"
        said = f"{said} {shadows}".strip()
    rows = [
        (
            "👥" if one.change.section == "shadow" else "✅",
            escape(one.change.model),
            str(one.change.before.version) if one.change.before else "–",
            _after(one.change),
            _judged(one),
        )
        for one in facts
    ]
    sections = [
        proposal.headed(said, "Next: the checks below, then your review. Merging deploys all of it at once."),
        note,
        table(("", "model", "in service", "proposed", "gate"), rows),
        *(_gate(one) for one in facts),
        f"### Way back\n\nReaches {proposal.reach(facts[0])} of {environment}. {_way_back(facts)}",
        *(_details(one) for one in facts),
    ]
    return fit([section for section in sections if section])


def _way_back(facts: Sequence[proposal.Facts]) -> str:
    """Say how to go back. The verdict refuses the revert of a first version, which says not that a model retires."""
    environment = facts[0].change.environment
    answers = [one for one in facts if one.change.section == "models"]
    first = [one for one in answers if one.change.before is None]
    one_back = f"{code(f'promobot rollback MODEL --env {environment}')} takes one model back"
    retire = code(f"promobot retire MODEL --env {environment} --reason '…'")
    if not first:
        return f"**Revert** below takes all of it back after the merge; {one_back}."
    if len(first) == len(facts):
        return f"Nothing of it is in service yet, so the way back is out of service: {retire}, one model at a time."
    also = f"; {one_back}" if len(first) < len(answers) else ""
    return (
        f"**Revert** is refused, because {len(first)} of these models have no version in service yet: {retire} takes "
        f"such a one out of service again{also}."
    )


def _gate(facts: proposal.Facts) -> str:
    change = facts.change
    before = f"{change.before.version} → " if change.before else ""
    shadow = " (shadow)" if change.section == "shadow" else ""
    problem = f"\n\n⚠️ {escape(facts.champion_problem)}" if facts.champion_problem else ""
    rows = table(("", "metric", "proposed", "in service", "change", "rule"), proposal.gate_rows(facts))
    if facts.gate.asks_nothing:
        rows = "It has no gate of its own: its bundle is judged by the part that users ask."
    return f"### {escape(change.model)} {before}{_after(change)}{shadow}{problem}\n\n{rows}"


def _judged(facts: proposal.Facts) -> str:
    """Return what became of one version at the gate, in a few words."""
    if facts.reason:
        return escape(facts.reason, limit=200)
    origin = f", with the digest that is verified in {escape(facts.promoted_from)}" if facts.promoted_from else ""
    return ("a part of a bundle" if facts.gate.asks_nothing else "passes") + origin


def _details(facts: proposal.Facts) -> str:
    name = f"{facts.change.model} {_after(facts.change)}"
    parts = [proposal.identity(facts), proposal.origins(facts), proposal.behaviour(facts)]
    return details(f"{name}: identity, where each number comes from, configuration", "\n\n".join(parts))


def _after(change: Change) -> str:
    return str(change.after.version) if change.after else "–"


def _count(number: int) -> str:
    return f"{number} models pass" if number != 1 else "1 model passes"


def waiting(versions: Mapping[str, int]) -> str:
    """A line of progress: which versions are looked at."""
    named = [f"{model} {version}" for model, version in versions.items()]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"waiting for {', '.join(named[:_NAMED])}{more} to be READY"


# --- what is left out ---------------------------------------------------------------------------------------------


def needs_a_name(environment: str) -> str:
    """The registry has a model whose name cannot be served."""
    return f"its name cannot be served; mlflow_names in manifests/environments/{environment}.yaml gives it one"


def has_no_gate(environment: str, model: str) -> str:
    """The environment has no rules for a model."""
    return f"manifests/environments/{environment}.yaml has no gate for it: add gates.{model}, a pattern, or default"


def is_desired(section: Section) -> str:
    """Main says it already."""
    return "main says so already" + (", as a shadow" if section == "shadow" else "")


def lacks_parts(parts: Sequence[str]) -> str:
    """A bundle goes into service whole."""
    return f"it is a part of a bundle, of which {', '.join(parts)} is neither on main nor in this proposal"


def is_older(version: int) -> str:
    """Main says a newer version than the newest that is registered."""
    return f"main says version {version}, which is newer"


def is_retired(reason: str) -> str:
    """Main takes the model out of service."""
    return f"main retires it: {reason}"


def is_open(number: int, version: int) -> str:
    """Another pull request proposes the model."""
    return f"#{number} proposes version {version} already: merge or close it first"


def left_out_by_reason(left_out: Sequence[LeftOut]) -> list[tuple[str, str]]:
    """Return which versions are left out, and why; those that are left out for the same reason together."""
    alike: dict[str, list[LeftOut]] = {}
    for one in left_out:
        alike.setdefault(_without_name(one), []).append(one)
    return [
        (", ".join(_versioned(one) for one in several), several[0].why if len(several) == 1 else why)
        for why, several in alike.items()
    ]


def _without_name(one: LeftOut) -> str:
    return re.sub(rf"\bgates\.{re.escape(one.model)}(?![\w-])", "gates.MODEL", one.why)


def _versioned(one: LeftOut) -> str:
    return one.model if one.version is None else f"{one.model} {one.version}"


def judged_by(environment: str, commit: str) -> str:
    """Whose gates decided: the checks of the pull request judge by the same."""
    return f"The gates in manifests/environments/{environment}.yaml on main at {commit[:12]} decided."
