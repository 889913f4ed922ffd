"""In which ways the world may differ from what Git says, each with what to type about it."""

from __future__ import annotations

from collections.abc import Mapping

from bot.domain.desired import Change
from bot.domain.hold import Held, Hold
from bot.render.deployment import deploy as deploy
from bot.render.deployment import describe
from bot.render.deployment import merge_revert as merge_revert

KIND_OF_HOLD: Mapping[str, str] = {"quarantine": "quarantine", "entry gone": "retired", "retired before": "retired"}
"""The kind of a difference by the cause of a hold; that of all other causes is `held`."""
KINDS_OF_HOLDS = frozenset({"held", *KIND_OF_HOLD.values()})
"""The kinds of changes that a deployment refuses; no other difference has one of them."""

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
        "a deployment refuses what main asks for (evidence, freeze, window, base); it says why and since when",
        "as it says, mostly `promobot recheck churn --env dev`",
    ),
    "quarantine": ("a deployment refuses what main asks for: its digest is in quarantine", _REVERT),
    "serves quarantined": ("what main asks for is in service, and its digest is in quarantine", _REVERT),
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
    "way back": (
        "the version to go back to is loaded on a Triton, and answers a golden request wrong there",
        "restart that Triton, then " + _DEPLOY,
    ),
    "stranger": (
        "something that the bot did not make lies in Triton's root",
        "see who made it, and remove it by hand",
    ),
    "alias": ("MLflow's alias does not point at what main says", _RECONCILE),
}
"""Every kind of difference: what differs, and what to type. Status knows the first fourteen, drift all of them."""


def doctor(environment: str) -> str:
    """Somebody does not answer: why, is asked of everybody."""
    return f"promobot doctor --env {environment}"


def correct(environment: str) -> str:
    """The environment file has a mistake."""
    return f"correct manifests/environments/{environment}.yaml on main, then: {deploy(environment)}"


def is_held(one: Held) -> str:
    """A deployment refuses what main asks for."""
    since = f" since {one.hold.since:%Y-%m-%d %H:%M} UTC" if one.hold.since else ""
    now = f"version {one.change.before.version} is live" if one.change.before else "nothing is live"
    return f"{describe(one.change)} is held{since}, {now}: {one.hold.why}"


def merge_open(revert: int, model: str) -> str:
    """A revert is open."""
    return f"merge #{revert}, the revert of {model}"


def step_about(hold: Hold, change: Change, revert: int | None) -> str:
    """Return what to type about a hold; where a ``revert`` is open already, nobody needs to open one."""
    if revert is None:
        return hold.next_step
    merge = merge_open(revert, change.model)
    return merge if hold.cause == "quarantine" else f"{merge}; or: {hold.next_step}"


def open_it_anew() -> str:
    """The note of a rollback whose revert is still to be opened is damaged."""
    return "open that revert with `promobot rollback`, and move the file away"


def table() -> str:
    """Return the kinds as the table of docs/how-to/operations.md."""
    rows = [f"| `{kind}` | {what} | {step} |" for kind, (what, step) in KINDS.items()]
    return "\n".join(["| kind | what differs | what to type |", "|---|---|---|", *rows])
