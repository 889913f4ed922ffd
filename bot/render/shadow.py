"""How a shadow answers beside the version in service, in words and numbers for every surface."""

from __future__ import annotations

from collections.abc import Mapping

from bot.domain.earned import SideBySide, Verdict, in_words, share
from bot.domain.shadowed import WHY_LEFT_OUT
from bot.render.markdown import code, escape, table
from bot.render.proposal import headed

STANDING = {"promotable": "✅ promotable", "not": "❌ not promotable", "not yet": "⏳ not yet"}


def rows_of(found: SideBySide) -> list[tuple[str, str]]:
    """Return what was counted, as rows of a table: what, and how much."""
    rows = [
        ("answers compared", f"{found.copies:,} since {found.since:%Y-%m-%d %H:%M} UTC"),
        ("decisions flipped", _flipped(found)),
    ]
    if found.unlike:
        rows.append(("answers of another form", f"{found.unlike:,}, as {found.example}"))
    if found.furthest:
        rows.append(
            ("how far numbers moved", f"{found.mean_distance or 0:.3g} on average, {found.furthest:.3g} at most")
        )
    rows += [
        (
            "copies that failed",
            f"{found.failed:,}" + (f", and no Triton took {found.unreached:,}" * bool(found.unreached)),
        ),
        ("p50 of the shadow, and live", f"{_milliseconds(found.p50)}, {_milliseconds(found.live_p50)}"),
        ("p95 of the shadow, and live", f"{_milliseconds(found.p95)}, {_milliseconds(found.live_p95)}"),
    ]
    return [*rows, *left_out(found.not_compared)]


def left_out(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return how many answers were not compared, by why."""
    return [
        ("not compared", f"{count:,}: {WHY_LEFT_OUT.get(kind, kind)}")
        for kind, count in sorted(counts.items())
        if count
    ]


def standing(verdict: Verdict) -> str:
    """Return a verdict and why, in one sentence."""
    until = f"; its time is over on {verdict.ends_at:%Y-%m-%d %H:%M} UTC" if verdict.ends_at else ""
    return f"{STANDING[verdict.standing]}: {verdict.why}{until}"


def signals(verdict: Verdict) -> list[str]:
    """Return each thing that was judged, with its sign."""
    sign = {True: "✅", False: "❌", None: "⏳"}
    return [f"{sign[signal.holds]} {in_words(signal)}" for signal in verdict.signals]


def earned(found: SideBySide, verdict: Verdict) -> str:
    """Return the part of a proposal that says how the shadow earned it."""
    return "\n\n".join(
        [
            "### It listened as a shadow, and has earned to answer",
            f"The gateways compared {found.copies:,} of its answers with those of version {found.live}, for the same "
            f"requests of users, since {found.since:%Y-%m-%d %H:%M} UTC. The gate's rule for shadows holds:",
            "\n".join(f"- {line}" for line in signals(verdict)),
            table(("what", "how much"), [(what, escape(much)) for what, much in rows_of(found)]),
        ]
    )


def taken_out_title(model: str, version: int, environment: str) -> str:
    """Return the title of the pull request that takes out a shadow whose time is over."""
    return f"Take shadow {model} {version} out of {environment}: its time is over"


def taken_out_body(model: str, environment: str, found: SideBySide | None, verdict: Verdict) -> str:
    """Return its text."""
    rule = f"gates.{model}.shadow.days"
    lines = [
        headed(""),
        f"👥 **{escape(model)} has listened in {escape(environment)} for as long as {code(rule)} allows, and has not "
        "earned to answer.** Its entry leaves the shadow path; no user is affected.",
        escape(standing(verdict)),
        "\n".join(f"- {line}" for line in signals(verdict)),
        table(("what", "how much"), [(what, escape(much)) for what, much in rows_of(found)]) if found else "",
        "Close it where it shall go on listening: the bot does not propose this again.",
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _flipped(found: SideBySide) -> str:
    if found.flips is None:
        return "–"
    return f"{found.flipped:,} of {found.rows:,}; {share(found.flips)} of a copy on average"


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g} ms"
