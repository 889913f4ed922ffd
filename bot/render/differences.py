"""In which ways the world may differ from what Git says, each with what to type about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.domain.desired import Change
from bot.domain.hold import Held, Hold
from bot.domain.journal import Journal
from bot.domain.names import short
from bot.domain.routes import Target
from bot.domain.way_back import WayBack
from bot.render.deployment import deploy as deploy
from bot.render.deployment import describe
from bot.render.deployment import merge_revert as merge_revert
from bot.render.proposal import revert_of

KIND_OF_HOLD: Mapping[str, str] = {"quarantine": "quarantine", "entry gone": "retired", "retired before": "retired"}
"""The kind of a difference by the cause of a hold; that of all other causes is `held`."""

_DOCTOR = "`promobot doctor --env dev`"
_DEPLOY, _RECONCILE = "`promobot deploy --env dev`", "`promobot reconcile --env dev`"
_REVERT = "merge the revert, or `promobot rollback churn --env dev`"
KINDS = {
    "main": ("main cannot be read: Git or GitHub does not answer, or refuses the credentials", _DOCTOR),
    "records": (
        "the record store cannot be read: what is in quarantine, and what failed, is not known",
        _DOCTOR,
    ),
    "settings": (
        "the environment file has a mistake: only ways back go on until it is corrected",
        "correct the file on main, then " + _DEPLOY,
    ),
    "revert": ("a rollback put users back at once, and its pull request is not open yet", _DEPLOY),
    "silent": ("a Triton, a gateway or MLflow does not answer", _DOCTOR),
    "unfinished": (
        "a deployment is under way: who makes it, since when, at which step; or it was cut off",
        "wait for its end; where its run is over, " + _DEPLOY,
    ),
    "desired": ("main asks for something else than the routes name", _DEPLOY),
    "retired": (
        "main has no entry for a model in service, and does not say that it is to leave",
        "put the entry back, or `promobot retire churn --env dev --reason …`",
    ),
    "held": (
        "a deployment refuses what main asks for (evidence, freeze, base, settings); it says why and since when",
        "as it says, mostly `promobot recheck churn --env dev`",
    ),
    "quarantine": ("main asks for a digest that is in quarantine", _REVERT),
    "triton": ("a Triton does not have READY what the routes name", _DEPLOY),
    "gateway": ("a gateway serves another generation, or other routes", _DEPLOY),
    "slack": ("a message waits in the outbox", _DEPLOY),
    "package": ("what is kept to prove a version in service is gone or damaged", _RECONCILE),
    "bytes": ("a version in service is gone from the share, or holds other bytes", _RECONCILE),
    "config": ("`config.pbtxt` is gone, is not that of the package, or does not name the version", _RECONCILE),
    "answer": ("a Triton answers a golden request wrong", _RECONCILE),
    "gateway answer": (
        "a gateway answers wrong, or with another version, though its Tritons are right",
        "restart it",
    ),
    "kept": ("a verified version that is kept as a way back is gone or damaged", _RECONCILE),
    "stranger": (
        "something that the bot did not make lies in Triton's root",
        "see who made it, and remove it by hand",
    ),
    "alias": ("MLflow's alias does not point at what main says", _RECONCILE),
}
"""Every kind of difference: what differs, and what to type. Status knows the first thirteen, drift all of them."""


def unknown(why: str) -> str:
    """Main cannot be read, so nothing can be compared with it."""
    return f"desired: unknown. {why}"


def revert_waits(way: WayBack) -> str:
    """A rollback whose pull request is not open yet."""
    return f"{revert_of(way.model, way.target.version, way.by, way.at)} is not open yet"


def doctor(environment: str) -> str:
    """Somebody does not answer: why, is asked of everybody."""
    return f"promobot doctor --env {environment}"


def under_way(journal: Journal, steps: Sequence[str]) -> str:
    """Somebody deploys: what, since when, at which step, and who. ``steps`` are those of the journal's changes."""
    by = f", by {journal.by}" if journal.by else ""
    if not journal.underway:
        return f"a deployment is under way{by}, or was cut off"
    began = min(item.started_at for item in journal.underway)
    what = [
        f"{item.model}{f' {item.after.version}' if item.after else ''} ({step})"
        for item, step in zip(journal.underway, steps, strict=True)
    ]
    more = f" and {len(what) - 5} more" if len(what) > 5 else ""
    return f"a deployment is under way since {began:%Y-%m-%d %H:%M} UTC{by}: {', '.join(what[:5])}{more}"


def records_unread(why: str) -> str:
    """Nobody knows what failed here before."""
    return f"what is in quarantine is not known: {why}"


def correct(environment: str) -> str:
    """The environment file has a mistake."""
    return f"correct manifests/environments/{environment}.yaml on main, then: {deploy(environment)}"


def wait_for(environment: str) -> str:
    """Somebody deploys already."""
    return f"wait for its end; where its run is over, it was cut off: {deploy(environment)}"


def is_held(one: Held) -> str:
    """A deployment refuses what main asks for."""
    since = f" since {one.hold.since:%Y-%m-%d %H:%M} UTC" if one.hold.since else ""
    now = f"version {one.change.before.version} is live" if one.change.before else "nothing is live"
    return f"{describe(one.change)} is held{since}, {now}: {one.hold.why}"


def step_about(hold: Hold, change: Change, revert: int | None) -> str:
    """Return what to type about a hold; where a ``revert`` is open already, nobody needs to open one."""
    if revert is None:
        return hold.next_step
    merge = f"merge #{revert}, the revert of {change.model}"
    return merge if hold.cause == "quarantine" else f"{merge}; or: {hold.next_step}"


def differs(change: Change) -> str:
    """Desired is not what is routed."""
    why = f" ({change.retired})" if change.retired else ""
    now = f"{change.before.version} is live" if change.before else "nothing is live"
    return f"{describe(change)} is desired{why}, {now}"


def serves_quarantined(model: str, version: int, environment: str, reason: str) -> str:
    """What failed here is in service all the same."""
    return f"{model} {version} is in service in {environment}, and in quarantine there: {reason}"


def not_loaded(target: Target, triton: str) -> str:
    """A Triton lacks what is routed to it."""
    return f"{target.triton_model} {target.version} is routed but not READY on Triton {triton}"


def behind(gateway: str, generation: int, wanted: int) -> str:
    """A gateway serves other routes."""
    return f"gateway {gateway} serves generation {generation}, not {wanted}"


def cannot_be_proven(gateway: str, why: str) -> str:
    """Nobody can say that every process of a gateway serves the same."""
    return f"gateway {gateway} cannot be switched: {why}"


def undelivered(name: str) -> str:
    """Slack has not taken a message."""
    return f"the message of {name} is in the outbox"


def in_quarantine(model: str, version: int, digest: str, reason: str) -> str:
    """A digest that failed."""
    return f"{model} {version} ({short(digest)}): {reason}"


def open_it_anew() -> str:
    """The note of a rollback whose revert is still to be opened is damaged."""
    return "open that revert with `promobot rollback`, and move the file away"


def table() -> str:
    """Return the kinds as the table of docs/operations.md."""
    rows = [f"| `{kind}` | {what} | {step} |" for kind, (what, step) in KINDS.items()]
    return "\n".join(["| kind | what differs | what to type |", "|---|---|---|", *rows])
