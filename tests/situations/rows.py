"""The situations: how the world comes to be so, what users get then, and what each surface says first.

A text stands for itself, but for what differs from run to run: ``‹time›``, ``‹clock›``, ``‹url›``, ``‹digest›``,
``‹commit›``, ``‹number›``, ``‹share›``, ``‹folder›`` and ``‹why›``. A surface that a row does not name says nothing
in that situation.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.situations.acts import (
    DEV,
    Act,
    after,
    alias,
    asked,
    back_at_once,
    champion_moved,
    checked,
    deployed,
    entry_gone,
    expired,
    fault,
    killed,
    main_broken,
    merged_red,
    merged_with,
    nothing,
    other_bytes,
    retirement,
    revert_merged,
    revoked,
    rolled_out,
    setting,
    settings_unreadable,
    several,
    shadowed,
    stopped,
    stranger,
    typed,
    unmounted,
    watched,
    without_room,
)

Said = dict[str, str]
"""By surface, its first line."""


@dataclass(frozen=True)
class Row:
    """One situation. ``says`` has the first line of each surface; ``do`` is what a person does about it."""

    name: str
    what: str
    arrange: Act
    users: str
    says: Said
    do: str
    base: str = "served"
    """The state that it begins from: ``empty``, ``served`` (churn 1) or ``merged`` (churn 2 besides)."""
    models: tuple[str, ...] = ("churn",)


FREEZE = {"start": "2020-01-01T00:00:00+00:00", "end": "2099-12-24T00:00:00+00:00", "reason": "year end"}
WINDOW = "Sun 03:00-03:01 UTC"
"""One that is all but always shut."""
BROKEN = {"gates": {"churn": {"metrics": {"accuracy": {"minimum": "high"}}}}}
HARDER = {"gates": {"churn": {"metrics": {"accuracy": {"minimum": 0.95}}}}}

AT_1 = (
    "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks for version 2. Merging this "
    "only changes main."
)
BEGAN = "🐤 churn 2 began to answer 50 % of requests in dev at ‹time›; version 1 answered the others."
BROKEN_BAKE = (
    "churn 2: put back, because ‹share› of ‹number› requests to 2 failed; 1 % may, and 0 % of ‹number› to 1 did"
)
NOT_WELL = (
    "churn 2: what is due could not be done, and is tried again: the step to 100 % did not go well: Triton triton-2 "
    "(‹why›): could not load churn: ‹why›"
)
STEP_FAILED = "❌ The step of churn 2 to 100 % in dev failed before the switch: users get what they got."
CHECKED = "✅ Every check passed for churn 1 → 2 in dev. Next: review and merge."
LEFT_2 = (
    "↩️ churn 2 went into service in dev at ‹time› (before: 1), and was rolled back at ‹time›: "
    "version 1 answered after it."
)
OK_2 = "dev: OK. churn 2 answers."
NOTHING: Said = {}
SERVED: Said = {
    "status": "dev: OK. churn 1 answers.",
    "drift": "dev: OK. churn 1 answers. Everything is as main says.",
    "history": "‹time›: ✅ churn 1 is served in dev.",
    "Slack, deployment": "✅ churn 1 is served in dev.",
    "Slack, promotion": "✅ churn 1 in dev: 1 is served (#1)",
    "pull request": "✅ churn 1 went into service in dev at ‹time›; all six criteria held.",
    "comment": "✅ churn 1 went into service in dev at ‹time›; all six criteria held.",
}
"""What is said where version 1 is served, and nobody asked for anything else."""
MERGED: Said = SERVED | {
    "status": "dev: OK. churn 1 answers. 1 thing to put right.",
    "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
    "Slack, promotion": "🔀 churn 1 → 2 in dev: merged; waiting for the deployment (#2)",
    "pull request": CHECKED,
    "comment": CHECKED,
}
"""What is said where version 2 was merged besides."""

ROWS: tuple[Row, ...] = (
    # --- on its way
    Row(
        "nothing-yet",
        "a new environment: nothing was proposed",
        nothing,
        users="404",
        says={
            "status": "dev: no model is in service.",
            "drift": "dev: no model is in service. Everything is as main says.",
            "history": "Nothing was deployed to dev yet.",
        },
        do="`promobot propose churn 1 --env dev`",
        base="empty",
    ),
    Row(
        "proposed",
        "a version was proposed; its checks run",
        lambda s: s.proposes("churn", 2),
        users="version 1",
        says=SERVED
        | {
            "Slack, promotion": "🟡 churn 1 → 2 in dev: its checks run (#2)",
            "pull request": ("✅ churn 2 passes the gate of dev; against version 1 in service: accuracy +0."),
            "comment": "",
        },
        do="wait for the checks",
    ),
    Row(
        "green",
        "its checks passed",
        checked(2),
        users="version 1",
        says=SERVED
        | {
            "Slack, promotion": "🟢 churn 1 → 2 in dev: its checks passed; merge it (#2)",
            "pull request": CHECKED,
            "comment": CHECKED,
        },
        do="review, and merge",
    ),
    Row(
        "red",
        "a check found that it answers wrong",
        checked(3, codes=(0, 1)),
        users="version 1",
        says=SERVED
        | {
            "Slack, promotion": "🔴 churn 1 → 3 in dev: its checks did not pass; do not merge (#2)",
            "pull request": (
                "❌ Do not merge: Smoke of churn 3 failed at “case one”: Y[0]: 1.20374 instead of "
                "0.334328 (4 of 4 values differ). Nothing in service has changed."
            ),
            "comment": (
                "❌ Do not merge: Smoke of churn 3 failed at “case one”: Y[0]: 1.20374 instead of "
                "0.334328 (4 of 4 values differ). Nothing in service has changed."
            ),
        },
        do="do not merge; fix the model, and propose a new version",
    ),
    Row(
        "newer",
        "a newer version was proposed in the same pull request",
        after(checked(2), checked(5)),
        users="version 1",
        says=SERVED
        | {
            "Slack, promotion": "🟢 churn 1 → 5 in dev: its checks passed; merge it (#2)",
            "pull request": "✅ Every check passed for churn 1 → 5 in dev. Next: review and merge.",
            "comment": "✅ Every check passed for churn 1 → 5 in dev. Next: review and merge.",
        },
        do="review the newer version, and merge",
    ),
    Row(
        "two-proposals",
        "two models are proposed at the same time",
        after(checked(2), lambda stage: stage.proposes("wine", 1)),
        users="churn: version 1; wine: 404",
        says=SERVED
        | {
            "Slack, promotion": "🟡 wine 1 in dev: its checks run (#3)",
            "pull request": "✅ wine 1 passes the gate of dev; nothing is in service yet.",
            "comment": "",
        },
        do="review each by itself: they do not wait for each other",
        models=("churn", "wine"),
    ),
    Row(
        "merged",
        "merged, and not deployed yet",
        nothing,
        users="version 1",
        says=MERGED,
        do="wait for the job *Deploy*; if none runs, `promobot deploy --env dev`",
        base="merged",
    ),
    Row(
        "released",
        "it is served",
        deployed(),
        users="version 2",
        says=MERGED
        | {
            "command": "churn 2 is served in dev (was 1).",
            "status": OK_2,
            "drift": "dev: OK. churn 2 answers. Everything is as main says.",
            "history": "‹time›: ✅ churn 2 is served in dev (was 1).",
            "job summary": "✅ churn 2 is served in dev (was 1).",
            "Slack, deployment": "✅ churn 2 is served in dev (was 1).",
            "Slack, promotion": "✅ churn 1 → 2 in dev: 2 is served (#2)",
            "pull request": "✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held.",
            "comment": ("✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held."),
        },
        do="nothing",
        base="merged",
    ),
    Row(
        "canary",
        "a canary answers some users",
        rolled_out(50, 100),
        users="version 1 or version 2",
        says=MERGED
        | {
            "command": "churn 2 answers 50 % of requests in dev, version 1 the others.",
            "status": "dev: OK. churn 1 (2 at 50 %) answers.",
            "drift": "dev: OK. churn 1 (2 at 50 %) answers. Everything is as main says.",
            "history": "‹time›: 🐤 churn 2 answers 50 % of requests in dev, version 1 the others.",
            "job summary": "🐤 churn 2 answers 50 % of requests in dev, version 1 the others.",
            "Slack, deployment": "🐤 churn 2 answers 50 % of requests in dev, version 1 the others.",
            "Slack, promotion": "🐤 churn 1 → 2 in dev: 2 answers 50 % of requests (#2)",
            "pull request": BEGAN,
            "comment": BEGAN,
        },
        do="nothing: `promobot watch` makes the next step. To end it: `promobot rollback churn --env dev --now`",
        base="merged",
    ),
    Row(
        "canary-step-failed",
        "a canary answers some users, and its next step could not be made",
        after(rolled_out(50, 100, minutes=1e-6), asked(), stopped("triton-2"), watched(1)),
        users="version 1 or version 2",
        says=MERGED
        | {
            "command": NOT_WELL,
            "status": "dev: churn is degraded: 1 of 2 Tritons silent since ‹clock› (triton-2). 1 thing to put right.",
            "drift": "dev: churn is degraded: 1 of 2 Tritons silent since ‹clock› (triton-2). 1 thing to put right.",
            "history": f"‹time›: {STEP_FAILED}",
            "job summary": f"❌ {NOT_WELL}",
            "annotation": f"promobot watch in dev: {NOT_WELL}",
            "Slack, deployment": STEP_FAILED,
            "Slack, promotion": "🐤 churn 1 → 2 in dev: 2 answers 50 % of requests (#2)",
            "pull request": BEGAN,
            "comment": BEGAN,
        },
        do="bring back what does not answer; `promobot watch` tries again",
        base="merged",
    ),
    Row(
        "canary-back",
        "a person ended a rollout by `rollback --now`",
        after(rolled_out(50, 100), back_at_once()),
        users="version 1",
        says=MERGED
        | {
            "command": "churn is back at version 1 in dev (from 2).",
            "job summary": "✅ churn is back at version 1 in dev (from 2).",
            "history": "‹time›: ✅ churn is back at version 1 in dev (from 2).",
            "Slack, deployment": "✅ churn is back at version 1 in dev (from 2).",
            "Slack, promotion": "⏮️ churn 1 → 2 in dev: rolled back to 1 (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": BEGAN,
            "comment": BEGAN,
            "revert": AT_1,
        },
        do="merge the revert",
        base="merged",
    ),
    Row(
        "bake-broken",
        "it broke the rules of its bake, and `promobot watch` put it back",
        after(rolled_out(100), asked(failing=100), watched(1)),
        users="version 1",
        says=MERGED
        | {
            "command": BROKEN_BAKE,
            "job summary": f"❌ {BROKEN_BAKE}",
            "annotation": f"promobot watch in dev: {BROKEN_BAKE}",
            "history": "‹time›: ✅ churn is back at version 1 in dev (from 2).",
            "Slack, deployment": "✅ churn is back at version 1 in dev (from 2).",
            "Slack, promotion": "⏮️ churn 1 → 2 in dev: rolled back to 1 (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": "✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held.",
            "comment": "✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held.",
            "revert": AT_1,
        },
        do=(
            "merge the revert; if the model is not at fault, [lift the quarantine](#quarantine) and raise the limits "
            "in `rollout.churn.bake`"
        ),
        base="merged",
    ),
    Row(
        "shadow",
        "a version that misses the gate listens in shadow",
        shadowed,
        users="version 1",
        says=SERVED
        | {
            "command": "churn 2 is on the shadow path in dev.",
            "history": "‹time›: ✅ churn 2 is on the shadow path in dev.",
            "job summary": "✅ churn 2 is on the shadow path in dev.",
            "Slack, deployment": "✅ churn 2 is on the shadow path in dev.",
            "Slack, promotion": "✅ churn 2 in dev (shadow): 2 listens on the shadow path (#2)",
            "pull request": (
                "✅ churn 2 went to dev's shadow path at ‹time›, where it answers nobody; all six criteria held."
            ),
            "comment": (
                "✅ churn 2 went to dev's shadow path at ‹time›, where it answers nobody; all six criteria held."
            ),
        },
        do="nothing: it gets copies of requests, and answers nobody",
    ),
    # --- held
    Row(
        "held-quarantine",
        "its digest failed here before",
        after(fault("refuse_answer", gateway=2, model="churn"), deployed(1), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                "its digest is in quarantine here since ‹time›: ‹why›; "
                "merge the revert of churn, or: promobot rollback churn --env dev"
            ),
            "drift": "dev: OK. churn 1 answers. 2 things to put right.",
            "history": ("‹time›: ↩️ churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."),
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, deployment": (
                "↩️ churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."
            ),
            "Slack, promotion": "↩️ churn 1 → 2 in dev: failed after the switch and was put back (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": (
                "↩️ churn 2 was put back in dev at ‹time›: version 1 answered after it. Held since ‹time›."
            ),
            "comment": "↩️ churn 2 was put back in dev at ‹time›: version 1 answered after it. Held since ‹time›.",
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks"
                " for version 2. Merging this only changes main."
            ),
        },
        do="merge the revert, or [lift the quarantine](#quarantine)",
        base="merged",
    ),
    Row(
        "held-freeze",
        "a freeze of the environment file",
        after(setting(freezes=[FREEZE]), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                "nothing new goes out until ‹time› (year end); the way "
                "back stays open; wait for its end: `promobot watch` deploys it; without it, promobot deploy "
                "--env dev"
            ),
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do="wait; the way back stays open",
        base="merged",
    ),
    Row(
        "held-window",
        "outside the windows of the environment file",
        after(setting(windows=[WINDOW]), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                f"nothing new goes out until ‹time› (windows: {WINDOW}); the way "
                "back stays open; wait until then: `promobot watch` deploys it; without it, promobot deploy "
                "--env dev"
            ),
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do="wait; the way back stays open",
        base="merged",
    ),
    Row(
        "held-room",
        "a serving Triton has no room for it",
        without_room,
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: triton-1 has no room for it beside what is "
                "loaded there: loading took 2.00 GiB on staging, and 1.00 GiB of 8.00 GiB of main memory are free; "
                "make room there (`promobot cleanup --env dev` unloads versions that nothing uses) or give it more "
                "memory, then promobot deploy --env dev"
            ),
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do=(
            "make room, or give it more memory ([will it fit?](will-it-fit.md#what-is-held)); then "
            "`promobot deploy --env dev`"
        ),
    ),
    Row(
        "held-no-evidence",
        "merged without checks",
        after(merged_with(2, evidence=False), deployed(1)),
        users="version 1",
        says=SERVED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                "there is no evidence that ‹digest› was checked for "
                "this environment; `promobot recheck churn --env dev` checks what main says, then"
                " deploy again"
            ),
            "status": "dev: OK. churn 1 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do="`promobot recheck churn --env dev`, then `promobot deploy --env dev`",
    ),
    Row(
        "held-red",
        "merged with red checks",
        merged_red,
        users="version 1",
        says=SERVED
        | {
            "command": (
                "held: churn 1 → 3 in dev, version 1 goes on answering: "
                "its checks in #2 did not pass; `promobot rollback "
                "churn --env dev --to 1` has main say what is in service, or `promobot recheck "
                "churn --env dev` checks what main says, then deploy again"
            ),
            "status": "dev: OK. churn 1 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
            "job summary": "❌ churn 1 → 3 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 3 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 3 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 3 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 3 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do=("`promobot rollback churn --env dev --to 1`, or fix the cause and `promobot recheck churn --env dev`"),
    ),
    Row(
        "held-revoked",
        "its evidence was revoked",
        revoked,
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                "its evidence in #2 was revoked by alex on ‹time›: "
                "staging ran another backend; `promobot rollback churn --env dev --to 1` has main"
                " say what is in service, or `promobot recheck churn --env dev` checks what main "
                "says, then deploy again"
            ),
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do="`promobot recheck churn --env dev`, then `promobot deploy --env dev`",
        base="merged",
    ),
    Row(
        "held-expired",
        "its checks are older than 30 days",
        expired,
        users="version 1",
        says=SERVED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                "its checks in #2 expired on ‹date›; `promobot recheck "
                "churn --env dev` checks what main says, then deploy again"
            ),
            "status": "dev: OK. churn 1 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do="`promobot recheck churn --env dev`, then `promobot deploy --env dev`",
    ),
    Row(
        "held-moved",
        "the gate is stricter than when it was checked",
        after(setting(**HARDER), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                "since its checks in #2 the rules of dev for churn or "
                "for packages were changed; judged again, it does not pass (gate: accuracy 0.9 < "
                "0.95); `promobot rollback churn --env dev --to 1` has main say what is in "
                "service"
            ),
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do="`promobot rollback churn --env dev --to 1`",
        base="merged",
    ),
    Row(
        "held-champion-moved",
        "since its checks another version is in service, and MLflow cannot be asked about it",
        champion_moved,
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 5 in dev, version 1 goes on answering: "
                "since its checks in #3 the version in service was 2 (‹digest›) and is 1 "
                "(‹digest›), and it could not be judged again: MLflow (‹url›): could not read churn 5: ‹why›; deploy "
                "again when that is fixed, or `promobot rollback churn --env dev --to 1` has main say what is in "
                "service"
            ),
            "history": "‹time›: ✅ churn is back at version 1 in dev (from 2).",
            "job summary": "❌ churn 1 → 5 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 5 in dev is held: version 1 answers.",
            "Slack, deployment": "✅ churn is back at version 1 in dev (from 2).",
            "Slack, promotion": "✋ churn 2 → 5 in dev: merged, and held since ‹time›; 1 answers (#3)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#4)",
            "pull request": "✋ churn 1 → 5 in dev was merged and held since ‹time›; version 1 went on answering.",
            "comment": "✋ churn 1 → 5 in dev was merged and held since ‹time›; version 1 went on answering.",
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks for version 2. "
                "Merging this only changes main."
            ),
        },
        do="bring MLflow back, then `promobot deploy --env dev` judges it again",
        base="merged",
    ),
    Row(
        "held-settings",
        "the environment file has a mistake",
        after(setting(**BROKEN), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                "nothing new goes out while its settings have a mistake"
                " (manifests/environments/dev.yaml:36: gates.churn.metrics.accuracy.minimum: it "
                "needs a number, not 'high'); the way back stays open; correct "
                "manifests/environments/dev.yaml on main, then promobot deploy --env dev"
            ),
            "status": "dev: OK. churn 1 answers. 2 things to put right.",
            "drift": "dev: OK. churn 1 answers. 2 things to put right.",
            "job summary": "❌ dev: 1 held (churn); 1 problem.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, promotion": "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2)",
            "pull request": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
            "comment": ("✋ churn 1 → 2 in dev was merged and held since ‹time›; version 1 went on answering."),
        },
        do="correct the file on main, then `promobot deploy --env dev`",
        base="merged",
    ),
    Row(
        "held-entry-gone",
        "somebody removed the entry from `promotions/dev.yaml`",
        entry_gone,
        users="version 1",
        says=SERVED
        | {
            "command": (
                "held: churn out of dev, version 1 goes on answering: "
                "its entry is gone from promotions/dev.yaml, and nothing "
                "there says that it is to leave service; put the "
                "entry back, or: `promobot retire churn --env dev --reason '…'` opens the pull "
                "request that takes it out of service; by hand, write its name and a reason under"
                " `retired:` in promotions/dev.yaml"
            ),
            "status": "dev: OK. churn 1 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
            "job summary": "❌ churn out of dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn out of dev is held: version 1 answers.",
        },
        do="put the entry back, or `promobot retire churn --env dev --reason '…'`",
    ),
    # --- failed
    Row(
        "failed",
        "a serving Triton cannot load it",
        after(merged_with(4, evidence=True), deployed(1)),
        users="version 1",
        says=SERVED
        | {
            "command": ("churn 1 → 4 in dev failed before the switch: nothing that users see has changed."),
            "status": "dev: OK. churn 1 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
            "history": (
                "‹time›: ❌ churn 1 → 4 in dev failed before the switch: nothing that users see has changed."
            ),
            "job summary": ("❌ churn 1 → 4 in dev failed before the switch: nothing that users see has changed."),
            "annotation": (
                "churn in dev: failed: churn 1 → 4 in dev failed before the switch: nothing that "
                "users see has changed."
            ),
            "Slack, deployment": (
                "❌ churn 1 → 4 in dev failed before the switch: nothing that users see has changed."
            ),
            "Slack, promotion": (
                "❌ churn 1 → 4 in dev: failed before the switch; nothing that users see has changed (#2)"
            ),
            "Slack, way back": "🟡 Back: churn 4 → 1 in dev: its checks run (#3)",
            "pull request": ("❌ churn 4 failed before the switch in dev at ‹time›: version 1 stayed in service."),
            "comment": ("❌ churn 4 failed before the switch in dev at ‹time›: version 1 stayed in service."),
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks"
                " for version 4. Merging this only changes main."
            ),
        },
        do="merge the revert; fix the model, and propose a new version",
    ),
    Row(
        "failed-answers",
        "the serving Tritons answer otherwise than training did",
        after(merged_with(3, evidence=True), deployed(1)),
        users="version 1",
        says=SERVED
        | {
            "command": ("churn 1 → 3 in dev failed before the switch: nothing that users see has changed."),
            "status": "dev: OK. churn 1 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
            "history": (
                "‹time›: ❌ churn 1 → 3 in dev failed before the switch: nothing that users see has changed."
            ),
            "job summary": ("❌ churn 1 → 3 in dev failed before the switch: nothing that users see has changed."),
            "annotation": (
                "churn in dev: failed: churn 1 → 3 in dev failed before the switch: nothing that "
                "users see has changed."
            ),
            "Slack, deployment": (
                "❌ churn 1 → 3 in dev failed before the switch: nothing that users see has changed."
            ),
            "Slack, promotion": (
                "❌ churn 1 → 3 in dev: failed before the switch; nothing that users see has changed (#2)"
            ),
            "Slack, way back": "🟡 Back: churn 3 → 1 in dev: its checks run (#3)",
            "pull request": ("❌ churn 3 failed before the switch in dev at ‹time›: version 1 stayed in service."),
            "comment": ("❌ churn 3 failed before the switch in dev at ‹time›: version 1 stayed in service."),
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks"
                " for version 3. Merging this only changes main."
            ),
        },
        do="merge the revert; fix the model, and propose a new version",
    ),
    Row(
        "put-back-blamed",
        "put back after the switch, and the model is blamed",
        after(fault("refuse_answer", gateway=2, model="churn"), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": ("churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."),
            "drift": "dev: OK. churn 1 answers. 2 things to put right.",
            "history": ("‹time›: ↩️ churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."),
            "job summary": ("↩️ churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."),
            "annotation": (
                "churn in dev: put back: churn 1 → 2 in dev failed after the switch and was put "
                "back: version 1 answers."
            ),
            "Slack, deployment": (
                "↩️ churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."
            ),
            "Slack, promotion": "↩️ churn 1 → 2 in dev: failed after the switch and was put back (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": "↩️ churn 2 was put back in dev at ‹time›: version 1 answered after it.",
            "comment": "↩️ churn 2 was put back in dev at ‹time›: version 1 answered after it.",
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks"
                " for version 2. Merging this only changes main."
            ),
        },
        do=("merge the revert; if the model is not at fault, [take the blame back](#a-model-was-blamed-wrongly)"),
        base="merged",
    ),
    Row(
        "put-back",
        "put back after the switch: a gateway refused the reload",
        after(fault("refuse_reload", gateway=2, model="churn", version=2), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": ("churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."),
            "history": ("‹time›: ↩️ churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."),
            "job summary": ("↩️ churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."),
            "annotation": (
                "churn in dev: put back: churn 1 → 2 in dev failed after the switch and was put "
                "back: version 1 answers."
            ),
            "Slack, deployment": (
                "↩️ churn 1 → 2 in dev failed after the switch and was put back: version 1 answers."
            ),
            "Slack, promotion": "↩️ churn 1 → 2 in dev: failed after the switch and was put back (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": "↩️ churn 2 was put back in dev at ‹time›: version 1 answered after it.",
            "comment": "↩️ churn 2 was put back in dev at ‹time›: version 1 answered after it.",
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks"
                " for version 2. Merging this only changes main."
            ),
        },
        do="fix the gateway, then `promobot deploy --env dev`, which closes the revert",
        base="merged",
    ),
    Row(
        "put-back-one-of-several",
        "of two models of one run, one was put back",
        several,
        users="churn: version 1; iris: version 1; wine: 404",
        says=SERVED
        | {
            "command": "wine 1 in dev failed after the switch and was put back: nothing answers.",
            "status": "dev: OK. churn 1, iris 1 answer. 1 thing to put right.",
            "drift": "dev: OK. churn 1, iris 1 answer. 1 thing to put right.",
            "history": ("‹time›: ↩️ wine 1 in dev failed after the switch and was put back: nothing answers."),
            "job summary": "❌ dev: 1 put back after the switch (wine); 1 as main asks.",
            "annotation": (
                "wine in dev: put back: wine 1 in dev failed after the switch and was put back: nothing answers."
            ),
            "Slack, deployment": ("↩️ wine 1 in dev failed after the switch and was put back: nothing answers."),
            "Slack, promotion": "✅ iris 1 in dev: 1 is served (#3)",
            "pull request": "✅ iris 1 went into service in dev at ‹time›; all six criteria held.",
            "comment": "✅ iris 1 went into service in dev at ‹time›; all six criteria held.",
            "revert": ("↩️ wine in dev is at no version; main asks for version 1. Merging this only changes main."),
        },
        do="merge the revert of wine; the other model stays",
        models=("churn", "wine", "iris"),
    ),
    # --- going back
    Row(
        "rollback-proposed",
        "a rollback was asked for, without `--now`",
        after(deployed(), typed("rollback", "churn", *DEV, "--reason", "worse", "--by", "alex")),
        users="version 2",
        says=MERGED
        | {
            "command": "Merge this to go back to churn 1 in dev: ‹url›",
            "status": OK_2,
            "drift": "dev: OK. churn 2 answers. Everything is as main says.",
            "history": "‹time›: ✅ churn 2 is served in dev (was 1).",
            "job summary": "✅ Nothing that users see has changed yet: merging goes back to churn 1.",
            "Slack, deployment": "✅ churn 2 is served in dev (was 1).",
            "Slack, promotion": "✅ churn 1 → 2 in dev: 2 is served (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": "✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held.",
            "comment": ("✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held."),
            "revert": ("↩️ churn in dev goes back from version 2 to version 1 (`‹digest›`), which was verified here."),
        },
        do="merge the revert; users get the old version after that. If they cannot wait: `--now`",
        base="merged",
    ),
    Row(
        "rolled-back",
        "`rollback --now` is done, and its revert is not merged",
        after(deployed(), back_at_once()),
        users="version 1",
        says=MERGED
        | {
            "command": "churn is back at version 1 in dev (from 2).",
            "history": "‹time›: ✅ churn is back at version 1 in dev (from 2).",
            "job summary": "✅ churn is back at version 1 in dev (from 2).",
            "Slack, deployment": "✅ churn is back at version 1 in dev (from 2).",
            "Slack, promotion": "⏮️ churn 1 → 2 in dev: rolled back to 1 (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": "✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held.",
            "comment": ("✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held."),
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks"
                " for version 2. Merging this only changes main."
            ),
        },
        do="merge the revert",
        base="merged",
    ),
    Row(
        "rolled-back-deploy",
        "the same, and somebody runs deploy",
        after(deployed(), back_at_once(), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": (
                "held: churn 1 → 2 in dev, version 1 goes on answering: "
                "its digest is in quarantine here since ‹time›: rolled "
                "back to 1: error rate doubled; merge the revert of churn, or: promobot rollback "
                "churn --env dev"
            ),
            "history": "‹time›: ✅ churn is back at version 1 in dev (from 2).",
            "job summary": "❌ churn 1 → 2 in dev is held: version 1 answers.",
            "annotation": "churn in dev: held: churn 1 → 2 in dev is held: version 1 answers.",
            "Slack, deployment": "✅ churn is back at version 1 in dev (from 2).",
            "Slack, promotion": "⏮️ churn 1 → 2 in dev: rolled back to 1 (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": LEFT_2 + " Held since ‹time›.",
            "comment": LEFT_2 + " Held since ‹time›.",
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks"
                " for version 2. Merging this only changes main."
            ),
        },
        do="merge the revert",
        base="merged",
    ),
    Row(
        "reverted",
        "its revert was merged and deployed",
        after(deployed(), revert_merged),
        users="version 1",
        says=MERGED
        | {
            "command": "dev is as main says (‹digest›): nothing to do.",
            "status": "dev: OK. churn 1 answers.",
            "drift": "dev: OK. churn 1 answers. Everything is as main says.",
            "history": "‹time›: ✅ churn is back at version 1 in dev (from 2).",
            "job summary": "✅ dev is as main says (`‹digest›`): nothing to do.",
            "Slack, deployment": "✅ churn is back at version 1 in dev (from 2).",
            "Slack, promotion": "⏮️ churn 1 → 2 in dev: rolled back to 1 (#2)",
            "Slack, way back": "✅ Back: churn 2 → 1 in dev: 1 is served (#3)",
            "pull request": LEFT_2,
            "comment": (LEFT_2),
        },
        do="nothing",
        base="merged",
    ),
    Row(
        "rollback-failed",
        "`rollback --now` failed: a gateway refuses to go back",
        after(deployed(), fault("refuse_reload", gateway=2, model="churn", version=1), back_at_once(1)),
        users="version 2",
        says=MERGED
        | {
            "command": "The rollback of churn to version 1 in dev failed: version 2 still answers.",
            "status": "dev: OK. churn 2 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 2 answers. 1 thing to put right.",
            "history": ("‹time›: ❌ The rollback of churn to version 1 in dev failed: version 2 still answers."),
            "job summary": ("❌ The rollback of churn to version 1 in dev failed: version 2 still answers."),
            "annotation": (
                "churn in dev: rollback failed: The rollback of churn to version 1 in dev failed:"
                " version 2 still answers."
            ),
            "Slack, deployment": ("❌ The rollback of churn to version 1 in dev failed: version 2 still answers."),
            "Slack, promotion": "✅ churn 1 → 2 in dev: 2 is served (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": "✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held.",
            "comment": ("✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held."),
            "revert": ("↩️ churn in dev goes back from version 2 to version 1 (`‹digest›`), which was verified here."),
        },
        do="fix the gateway, then the same command again",
        base="merged",
    ),
    Row(
        "rollback-incomplete",
        "`rollback --now` while a gateway is down",
        after(deployed(), stopped("gateway-2"), back_at_once(1)),
        users="no answer from gateway-2, version 1 from gateway-1",
        says=MERGED
        | {
            "command": (
                "churn is back at version 1 in dev (from 2) wherever gateways answer; deploy again when all do."
            ),
            "status": (
                "dev: churn is degraded: 1 of 2 gateways silent since ‹clock› (gateway-2). 2 things to put right."
            ),
            "drift": (
                "dev: churn is degraded: 1 of 2 gateways silent since ‹clock› (gateway-2). 2 things to put right."
            ),
            "history": (
                "‹time›: ⚠️ churn is back at version 1 in dev (from 2) wherever gateways answer; "
                "deploy again when all do."
            ),
            "job summary": "❌ dev: 1 in service wherever gateways answer (churn); 1 problem.",
            "annotation": (
                "churn in dev: incomplete: churn is back at version 1 in dev (from 2) wherever "
                "gateways answer; deploy again when all do."
            ),
            "Slack, deployment": (
                "⚠️ churn is back at version 1 in dev (from 2) wherever gateways answer; deploy again when all do."
            ),
            "Slack, promotion": "⏮️ churn 1 → 2 in dev: rolled back to 1 (#2)",
            "Slack, way back": "🟡 Back: churn 2 → 1 in dev: its checks run (#3)",
            "pull request": "✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held.",
            "comment": ("✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held."),
            "revert": (
                "↩️ churn in dev is at version 1 (`‹digest›`), which was verified here; main asks"
                " for version 2. Merging this only changes main."
            ),
        },
        do="bring the gateway back, `promobot deploy --env dev`, and merge the revert",
        base="merged",
    ),
    Row(
        "reverts-wait",
        "`rollback --now` while GitHub is down",
        after(deployed(), stopped("forge"), back_at_once()),
        users="version 1",
        says=MERGED
        | {
            "command": "churn is back at version 1 in dev (from 2).",
            "status": "dev: OK. churn 1 answers. 2 things to put right.",
            "drift": "dev: OK. churn 1 answers. 2 things to put right.",
            "history": "‹time›: ✅ churn is back at version 1 in dev (from 2).",
            "job summary": "✅ churn is back at version 1 in dev (from 2).",
            "annotation": (
                "churn in dev: no revert is open yet: The revert pull request is not open yet: "
                "Git (‹url›/acme/models.git): could not fetch refs/heads/main: ‹why›"
            ),
            "Slack, deployment": "✅ churn is back at version 1 in dev (from 2).",
            "Slack, promotion": "⏮️ churn 1 → 2 in dev: rolled back to 1 (#2)",
            "pull request": "✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held.",
            "comment": ("✅ churn 2 went into service in dev at ‹time› (before: 1); all six criteria held."),
        },
        do="when GitHub is back: `promobot deploy --env dev` opens the revert; merge it",
        base="merged",
    ),
    Row(
        "retire-proposed",
        "taking the model out of service was proposed",
        retirement(merged=False),
        users="version 1",
        says=SERVED
        | {
            "command": "Merge this to take churn in dev out of service: ‹url›",
            "job summary": "✅ Merge this to take churn in dev out of service: [‹url›](‹url›)",
            "pull request": (
                "⏹️ Merging stops churn in dev: version 1 answers now, and users get 404 after "
                "the merge. Next: review and merge."
            ),
            "comment": (
                "⏹️ Merging stops churn in dev: version 1 answers now, and users get 404 after "
                "the merge. Next: review and merge."
            ),
            "Slack, promotion": "",
        },
        do="see whether anybody still asks for it, then merge",
    ),
    Row(
        "retired",
        "the model was taken out of service",
        retirement(merged=True),
        users="404",
        says=SERVED
        | {
            "command": "churn out of dev: it is out of service (replaced by churn-eu).",
            "status": "dev: no model is in service.",
            "drift": "dev: no model is in service. Everything is as main says.",
            "history": "‹time›: ✅ churn out of dev: it is out of service (replaced by churn-eu).",
            "job summary": "✅ churn out of dev: it is out of service (replaced by churn-eu).",
            "Slack, deployment": "✅ churn out of dev: it is out of service (replaced by churn-eu).",
            "pull request": "✅ churn left service in dev at ‹time› (before: 1).",
            "comment": "✅ churn left service in dev at ‹time› (before: 1).",
            "Slack, promotion": "",
        },
        do="nothing; the way back is `promobot rollback churn --env dev`",
    ),
    # --- something is down
    Row(
        "triton-1-down",
        "one of two Tritons is down",
        stopped("triton-1"),
        users="version 1",
        says=SERVED
        | {
            "status": ("dev: churn is degraded: 1 of 2 Tritons silent (triton-1). 1 thing to put right."),
            "drift": ("dev: churn is degraded: 1 of 2 Tritons silent (triton-1). 1 thing to put right."),
        },
        do="bring it back, then `promobot deploy --env dev`",
    ),
    Row(
        "tritons-down",
        "all Tritons are down",
        stopped("triton-1", "triton-2"),
        users="error 503",
        says=SERVED
        | {
            "status": (
                "dev: churn is DOWN: 2 of 2 Tritons silent since ‹clock› (triton-1, triton-2). 2 things to put right."
            ),
            "drift": (
                "dev: churn is DOWN: 2 of 2 Tritons silent since ‹clock› (triton-1, triton-2). 2 things to put right."
            ),
        },
        do="bring one back, then `promobot deploy --env dev`",
    ),
    Row(
        "tritons-down-deploy",
        "a version was merged while all Tritons are down",
        after(stopped("triton-1", "triton-2"), deployed(1)),
        users="error 503",
        says=MERGED
        | {
            "command": ("churn 1 → 2 in dev failed before the switch: nothing that users see has changed."),
            "status": (
                "dev: churn is DOWN: 2 of 2 Tritons silent since ‹clock› (triton-1, triton-2). 3 things to put right."
            ),
            "drift": (
                "dev: churn is DOWN: 2 of 2 Tritons silent since ‹clock› (triton-1, triton-2). 3 things to put right."
            ),
            "history": (
                "‹time›: ❌ churn 1 → 2 in dev failed before the switch: nothing that users see has changed."
            ),
            "job summary": "❌ dev: 1 failed before the switch (churn); 2 problems.",
            "annotation": (
                "churn in dev: failed: churn 1 → 2 in dev failed before the switch: nothing that "
                "users see has changed."
            ),
            "Slack, deployment": (
                "❌ churn 1 → 2 in dev failed before the switch: nothing that users see has changed."
            ),
            "Slack, promotion": (
                "❌ churn 1 → 2 in dev: failed before the switch; nothing that users see has changed (#2)"
            ),
            "pull request": ("❌ churn 2 failed before the switch in dev at ‹time›: version 1 stayed in service."),
            "comment": ("❌ churn 2 failed before the switch in dev at ‹time›: version 1 stayed in service."),
        },
        do="bring one back, then `promobot deploy --env dev`",
        base="merged",
    ),
    Row(
        "triton-empty",
        "a Triton restarted and has nothing loaded",
        fault("restart_triton", number=2),
        users="version 1",
        says=SERVED
        | {
            "status": ("dev: churn is degraded: 1 of 2 Tritons without it (triton-2). 1 thing to put right."),
            "drift": ("dev: churn is degraded: 1 of 2 Tritons without it (triton-2). 1 thing to put right."),
        },
        do="`promobot deploy --env dev` loads what is missing",
    ),
    Row(
        "gateway-down",
        "one of two gateways is down",
        stopped("gateway-2"),
        users="no answer from gateway-2, version 1 from gateway-1",
        says=SERVED
        | {
            "status": ("dev: churn is degraded: 1 of 2 gateways silent (gateway-2). 1 thing to put right."),
            "drift": ("dev: churn is degraded: 1 of 2 gateways silent (gateway-2). 1 thing to put right."),
        },
        do="bring it back, then `promobot deploy --env dev`",
    ),
    Row(
        "gateways-down",
        "all gateways are down",
        stopped("gateway-1", "gateway-2"),
        users="no answer",
        says=SERVED
        | {
            "status": ("dev: churn is DOWN: 2 of 2 gateways silent (gateway-1, gateway-2). 2 things to put right."),
            "drift": ("dev: churn is DOWN: 2 of 2 gateways silent (gateway-1, gateway-2). 2 things to put right."),
        },
        do="bring one back; it starts from `routes.json`",
    ),
    Row(
        "gateway-down-deploy",
        "a version was merged while a gateway is down",
        after(stopped("gateway-2"), deployed(1)),
        users="no answer from gateway-2, version 1 from gateway-1",
        says=MERGED
        | {
            "command": ("churn 1 → 2 in dev failed before the switch: nothing that users see has changed."),
            "status": (
                "dev: churn is degraded: 1 of 2 gateways silent since ‹clock› (gateway-2). 2 things to put right."
            ),
            "drift": (
                "dev: churn is degraded: 1 of 2 gateways silent since ‹clock› (gateway-2). 2 things to put right."
            ),
            "history": (
                "‹time›: ❌ churn 1 → 2 in dev failed before the switch: nothing that users see has changed."
            ),
            "job summary": "❌ dev: 1 failed before the switch (churn); 1 problem.",
            "annotation": (
                "churn in dev: failed: churn 1 → 2 in dev failed before the switch: nothing that "
                "users see has changed."
            ),
            "Slack, deployment": (
                "❌ churn 1 → 2 in dev failed before the switch: nothing that users see has changed."
            ),
            "Slack, promotion": (
                "❌ churn 1 → 2 in dev: failed before the switch; nothing that users see has changed (#2)"
            ),
            "pull request": ("❌ churn 2 failed before the switch in dev at ‹time›: version 1 stayed in service."),
            "comment": ("❌ churn 2 failed before the switch in dev at ‹time›: version 1 stayed in service."),
        },
        do="bring it back, then `promobot deploy --env dev`",
        base="merged",
    ),
    Row(
        "github-down",
        "GitHub is down",
        after(stopped("forge"), deployed(1)),
        users="version 1",
        says=SERVED
        | {
            "status": "dev: OK. churn 1 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
            "job summary": "❌ Git (‹url›/acme/models.git): could not fetch refs/heads/main: ‹why›",
            "annotation": (
                "promobot deploy in dev: Git (‹url›/acme/models.git): could not fetch refs/heads/main: ‹why›"
            ),
        },
        do="wait; the live versions keep serving. To go back: [without GitHub](#without-github)",
    ),
    Row(
        "github-down-proposed",
        "GitHub is down while a proposal is open",
        after(checked(2), stopped("forge")),
        users="version 1",
        says=SERVED
        | {
            "status": "dev: OK. churn 1 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 1 answers. 1 thing to put right.",
            "Slack, promotion": (
                "🟢 churn 1 → 2 in dev: its checks passed; merge it (#2). GitHub does not answer since ‹time›."
            ),
            "pull request": CHECKED,
            "comment": CHECKED,
        },
        do="wait; the live versions keep serving",
    ),
    Row(
        "github-down-held",
        "while GitHub is down, the evidence of what was merged is revoked",
        after(
            stopped("forge"),
            typed(
                "evidence", "revoke", "churn", "2", *DEV, "--reason", "staging ran another backend", "--by", "alex"
            ),
        ),
        users="version 1",
        says=MERGED
        | {
            "command": (
                "The evidence of churn 2 (‹digest›) in dev is revoked: it is not deployed before it is checked "
                "again. The version in service stays, and a way back needs no evidence."
            ),
            "job summary": (
                "✅ The evidence of churn 2 (‹digest›) in dev is revoked: it is not deployed before it is checked "
                "again. The version in service stays, and a way back needs no evidence."
            ),
            "Slack, promotion": (
                "✋ churn 1 → 2 in dev: merged, and held since ‹time›; 1 answers (#2). GitHub does not answer since "
                "‹time›."
            ),
        },
        do="when GitHub is back: `promobot recheck churn --env dev`, then `promobot deploy --env dev`",
        base="merged",
    ),
    Row(
        "mlflow-down",
        "MLflow is down",
        after(stopped("MLflow"), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "command": ("churn 1 → 2 in dev failed before the switch: nothing that users see has changed."),
            "history": (
                "‹time›: ❌ churn 1 → 2 in dev failed before the switch: nothing that users see has changed."
            ),
            "job summary": ("❌ churn 1 → 2 in dev failed before the switch: nothing that users see has changed."),
            "annotation": (
                "churn in dev: failed: churn 1 → 2 in dev failed before the switch: nothing that "
                "users see has changed."
            ),
            "Slack, deployment": (
                "❌ churn 1 → 2 in dev failed before the switch: nothing that users see has changed."
            ),
            "Slack, promotion": (
                "❌ churn 1 → 2 in dev: failed before the switch; nothing that users see has changed (#2)"
            ),
            "pull request": ("❌ churn 2 failed before the switch in dev at ‹time›: version 1 stayed in service."),
            "comment": ("❌ churn 2 failed before the switch in dev at ‹time›: version 1 stayed in service."),
        },
        do="bring MLflow back, then `promobot deploy --env dev`",
        base="merged",
    ),
    Row(
        "slack-down",
        "Slack is down: the message is in the outbox",
        after(stopped("Slack"), deployed(4)),
        users="version 2",
        says=MERGED
        | {
            "command": (
                "churn 2 is served in dev (was 1); everything holds but Slack; the message is in the outbox."
            ),
            "status": "dev: OK. churn 2 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 2 answers. 1 thing to put right.",
            "history": (
                "‹time›: ✅ churn 2 is served in dev (was 1); everything holds but Slack; the "
                "message is in the outbox."
            ),
            "job summary": (
                "✅ churn 2 is served in dev (was 1); everything holds but Slack; the message is in the outbox."
            ),
            "annotation": (
                "dev: unconfirmed: dev: 1 message to Slack waits in the outbox, and `promobot "
                "deploy --env dev` delivers when Slack answers again"
            ),
            "pull request": (
                "✅ churn 2 went into service in dev at ‹time› (before: 1); Slack had not taken the message yet."
            ),
            "comment": (
                "✅ churn 2 went into service in dev at ‹time› (before: 1); Slack had not taken the message yet."
            ),
        },
        do="nothing; the next `promobot deploy --env dev` delivers the message",
        base="merged",
    ),
    Row(
        "records-unmounted",
        "the record store is not mounted",
        after(unmounted("records"), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "status": "dev: OK. churn 1 answers. 2 things to put right.",
            "drift": (
                "promobot: record store (‹folder›/records): ‹folder›/records: it is not mounted, "
                "or was never used; no .promobot.json and nothing of ours is there"
            ),
            "history": (
                "promobot: record store (‹folder›/records): ‹folder›/records: it is not mounted, "
                "or was never used; no .promobot.json and nothing of ours is there"
            ),
            "job summary": (
                "❌ record store (‹folder›/records): ‹folder›/records: it is not mounted, or was "
                "never used; no .promobot.json and nothing of ours is there"
            ),
            "annotation": (
                "promobot deploy in dev: record store (‹folder›/records): ‹folder›/records: it is"
                " not mounted, or was never used; no .promobot.json and nothing of ours is there"
            ),
        },
        do="mount it, then the same command again",
        base="merged",
    ),
    Row(
        "state-unmounted",
        "the share's state is not mounted",
        after(unmounted("state"), deployed(1)),
        users="version 1",
        says=MERGED
        | {
            "status": (
                "promobot: model repository (‹folder›/share/model-repo/dev): "
                "‹folder›/share/promobot/dev: it is not mounted, or was never used; no "
                ".promobot.json and nothing of ours is there"
            ),
            "drift": (
                "promobot: model repository (‹folder›/share/model-repo/dev): "
                "‹folder›/share/promobot/dev: it is not mounted, or was never used; no "
                ".promobot.json and nothing of ours is there"
            ),
            "job summary": (
                "❌ model repository (‹folder›/share/model-repo/dev): ‹folder›/share/promobot/dev:"
                " it is not mounted, or was never used; no .promobot.json and nothing of ours is "
                "there"
            ),
            "annotation": (
                "promobot deploy in dev: model repository (‹folder›/share/model-repo/dev): "
                "‹folder›/share/promobot/dev: it is not mounted, or was never used; no "
                ".promobot.json and nothing of ours is there"
            ),
        },
        do="mount it, then the same command again",
        base="merged",
    ),
    Row(
        "killed-before",
        "the runner died before the switch",
        killed("Triton RepositoryModelLoad"),
        users="version 1",
        says=MERGED
        | {
            "status": "dev: OK. churn 1 answers. 2 things to put right.",
            "drift": "dev: OK. churn 1 answers. 2 things to put right.",
            "Slack, promotion": "🚀 churn 1 → 2 in dev: being deployed (#2)",
        },
        do="`promobot deploy --env dev` finishes it",
        base="merged",
    ),
    Row(
        "killed-after",
        "the runner died after the switch, before anything was proven",
        killed("gateway-2 POST /v2/models/churn/infer"),
        users="version 2",
        says=MERGED
        | {
            "status": "dev: OK. churn 2 answers. 1 thing to put right.",
            "drift": "dev: OK. churn 2 answers. 1 thing to put right.",
            "Slack, promotion": "🚀 churn 1 → 2 in dev: being deployed (#2)",
        },
        do="`promobot deploy --env dev` finishes it",
        base="merged",
    ),
    # --- something was changed by hand
    Row(
        "settings-broken",
        "the environment file cannot be read",
        settings_unreadable,
        users="version 1",
        says=MERGED
        | {
            "status": ("promobot: manifests/environments/dev.yaml:68: tritons: stands twice, first in line 18"),
            "drift": ("promobot: manifests/environments/dev.yaml:68: tritons: stands twice, first in line 18"),
            "history": ("promobot: manifests/environments/dev.yaml:68: tritons: stands twice, first in line 18"),
            "job summary": ("❌ manifests/environments/dev.yaml:68: tritons: stands twice, first in line 18"),
            "annotation": (
                "promobot deploy in dev: manifests/environments/dev.yaml:68: tritons: stands twice, first in line 18"
            ),
        },
        do=(
            "correct the file on main; to go back meanwhile, "
            "[take an older checkout](#if-the-environment-file-has-a-mistake)"
        ),
        base="merged",
    ),
    Row(
        "main-broken",
        "`promotions/dev.yaml` cannot be read",
        main_broken,
        users="version 1",
        says=MERGED
        | {
            "status": "promobot: promotions/dev.yaml:9: models: stands twice, first in line 2",
            "drift": "promobot: promotions/dev.yaml:9: models: stands twice, first in line 2",
            "job summary": "❌ promotions/dev.yaml:9: models: stands twice, first in line 2",
            "annotation": ("promobot deploy in dev: promotions/dev.yaml:9: models: stands twice, first in line 2"),
        },
        do="correct the file on main, then `promobot deploy --env dev`",
        base="merged",
    ),
    Row(
        "other-bytes",
        "somebody changed bytes on the share",
        other_bytes,
        users="version 1",
        says=SERVED | {"drift": "dev: OK. churn 1 answers. 1 thing to put right."},
        do="`promobot reconcile --env dev`",
    ),
    Row(
        "stranger",
        "something of somebody else's lies in Triton's root",
        stranger,
        users="version 1",
        says=SERVED | {"drift": "dev: OK. churn 1 answers. 1 thing to put right."},
        do="see who made it, and remove it by hand",
    ),
    Row(
        "alias",
        "somebody moved MLflow's alias",
        alias,
        users="version 1",
        says=SERVED | {"drift": "dev: OK. churn 1 answers. 1 thing to put right."},
        do="`promobot reconcile --env dev`",
    ),
)
