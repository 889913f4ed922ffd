"""Cases that became law, as a pull request tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.domain.evidence import CasesInService, CheckResult
from bot.render.markdown import code, escape, table

if TYPE_CHECKING:
    from bot.domain.cases import Case, ProposedCases  # its models take time to build, and users wait

_SHOWN = 20


@dataclass(frozen=True)
class CaseWords:
    """The words of a pull request that changes cases: its verdict, the same beside another verdict, its section."""

    first: str = ""
    also: str = ""
    section: str = ""


NO_CASES = CaseWords()


def held(smoke: CheckResult) -> str:
    """Return how many cases a version holds, and that some stop nothing where that is so."""
    wrong = [one.case for one in smoke.cases if one.wrong]
    if not wrong:
        return f"**Cases that are law:** {len(smoke.cases)} of {len(smoke.cases)} hold."
    named = ", ".join(code(name) for name in wrong[:_SHOWN]) + (", …" if len(wrong) > _SHOWN else "")
    stops = any(finding.what == f"case {name}" for name in wrong for finding in smoke.problems)
    but = "" if stops else " They stop nothing here; what Smoke found says why."
    return (
        f"⚠️ **Cases that are law:** {len(smoke.cases) - len(wrong)} of {len(smoke.cases)} hold. "
        f"Not held: {named}.{but}"
    )


def comment_parts(proposed: ProposedCases, asked: Sequence[CasesInService]) -> CaseWords:
    """Return the words of a pull request that changes cases; nothing where it changes none."""
    count = len(proposed.changed) + len(proposed.removed)
    if not count:
        return NO_CASES
    models = ", ".join(dict.fromkeys(escape(case.model) for case in proposed.changed)) or "a model"
    made = _counted(len(proposed.changed), "case is law", "cases are law") + f" for {models}"
    gone = _counted(len(proposed.removed), "case is", "cases are") + " law no more"
    what = " and ".join([*[made] * bool(proposed.changed), *[gone] * bool(proposed.removed)])
    first = f"⚖️ **After the merge {what}.** {_in_service(asked)}Next: review what is below."
    return CaseWords(first, f"⚖️ It also changes cases: after the merge {what}.", _section(proposed, asked))


def table_of(asked: Sequence[CasesInService]) -> str:
    """Return what serves in each environment, and how it answers each case."""
    rows = []
    for one in asked:
        where = (escape(one.environment), f"{escape(one.model)} {one.entry.version}")
        if one.problem:
            rows.append(("⚠️", *where, "–", f"could not be asked: {escape(one.problem, limit=400)}"))
        rows += [
            (
                "❌" if case.wrong else "✅",
                *where,
                code(case.case),
                escape(case.wrong, limit=400) or "holds",
            )
            for case in one.asked
        ]
    more = f"\n\n… and {len(rows) - _SHOWN} more." if len(rows) > _SHOWN else ""
    return table(("", "environment", "in service", "case", "found"), rows[:_SHOWN]) + more


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _in_service(asked: Sequence[CasesInService]) -> str:
    wrong = [one for one in asked if any(case.wrong for case in one.asked)]
    if wrong:
        named = ", ".join(f"{escape(one.model)} {one.entry.version} in {escape(one.environment)}" for one in wrong)
        return f"⚠️ {named} does not hold all of it now, and stays in service. "
    named = ", ".join(
        f"{escape(one.model)} {one.entry.version} in {escape(one.environment)}" for one in asked if one.asked
    )
    return f"{named} holds all of it. " if named else "Nothing in service was asked it. "


def _section(proposed: ProposedCases, asked: Sequence[CasesInService]) -> str:
    parts = ["### Cases"]
    rows = [(code(case.path), _demands(case), escape(case.reason, limit=600)) for case in proposed.changed[:_SHOWN]]
    if rows:
        parts.append(table(("case", "demands", "why"), rows))
    if more := len(proposed.changed) - _SHOWN:
        parts += [f"… and {more} more."] * (more > 0)
    if proposed.removed:
        listed = ", ".join(code(path) for path in proposed.removed[:_SHOWN])
        parts.append(f"⚠️ No longer asked: {listed}.")
    if asked:
        parts.append(table_of(asked))
    if proposed.changed:
        parts.append(
            "Law counts from the merge on, for every version that comes later. A version that was in service before "
            "may come back. An open proposal is asked at its next checks. A merged one that waits for its deployment "
            "is held until `promobot recheck` has asked it."
        )
    return "\n\n".join(parts)


def _demands(case: Case) -> str:
    """Return what a case demands, in a few words."""
    file = case.file
    said = [f"must be {tensor.name} {_few(tensor.data)}" for tensor in file.must]
    said += ["must not be " + ", ".join(f"{t.name} {_few(t.data)}" for t in file.must_not)] * bool(file.must_not)
    for bound in file.bounds:
        where = f"{bound.output}{bound.at or ''}"
        limits = [f"≥ {bound.minimum:g}"] * (bound.minimum is not None)
        limits += [f"≤ {bound.maximum:g}"] * (bound.maximum is not None)
        said.append(f"{where} {' and '.join(limits)}")
    return escape("; ".join(said), limit=400)


def _few(values: Sequence[object]) -> str:
    return ", ".join(f"{value!r:.40}" for value in values[:4]) + ", …" * (len(values) > 4)
