"""Texts for Slack: answers to commands, forms, promotions. Not the message of a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from bot.domain.evidence import checks_of
from bot.domain.names import short
from bot.domain.promotion import Progress, Promotion, Stage, progress_of_all
from bot.domain.record import DeploymentRecord, Outcome
from bot.render import shadow as shadow_words
from bot.render.again import run_again_there
from bot.render.checks import some
from bot.render.deployment import fix_and_deploy, verdict
from bot.render.differences import is_held as is_held
from bot.render.many import judged_by, left_out_by_reason
from bot.render.mrkdwn import code, escape, link, user
from bot.render.plainly import plainly
from bot.render.proposal import revert_waits
from bot.render.terminal import live_in, sign, users, well_models

if TYPE_CHECKING:
    from bot.operations.history import History
    from bot.operations.propose import Proposal
    from bot.operations.propose_many import Proposals
    from bot.operations.rollback import RolledBack
    from bot.operations.shadow import ShadowReport
    from bot.operations.status import ModelStatus, Status

# --- commands: for the app's manifest, and help ------------------------------------------------------------------

DESCRIPTIONS: Mapping[str, str] = {
    "promote": "Propose a model version to an environment",
    "rollback": "Go back to a version that was verified",
    "promotions": "See what is desired, live, pending and in quarantine",
    "bisect": "Find the release that began to answer a case wrong",
}
HINTS: Mapping[str, str] = {
    "promote": "MODEL VERSION ENV, or MODEL FROM TO, or MODEL:VERSION MODEL:VERSION ENV",
    "rollback": "MODEL ENV [VERSION] [now]",
    "promotions": "[ENV] [MODEL], or history MODEL, or shadow MODEL",
    "bisect": "MODEL ENV CASE [all]",
}
_HELP: Mapping[str, Sequence[tuple[str, str]]] = {
    "promote": (
        ("/promote churn 7 dev", "proposes version 7 of churn to dev: READY, gate, pull request"),
        ("/promote churn:7 fraud-eu:3 dev", "proposes several versions in one pull request"),
        ("/promote churn dev prod", "proposes to prod the digest that is verified and in service in dev"),
        ("/promote", "asks in a form what is left out"),
    ),
    "rollback": (
        ("/rollback churn prod", "opens the revert to the last verified version"),
        ("/rollback churn prod 6", "the same, to version 6"),
        ("/rollback churn prod now", "puts the runtime back first, before the merge"),
    ),
    "promotions": (
        ("/promotions", "what is desired, live, pending, in shadow and in quarantine, everywhere"),
        ("/promotions prod churn", "the same for one environment, one model"),
        ("/promotions history churn", "what was deployed, newest first"),
        ("/promotions shadow churn", "how its shadow answers, and whether it has earned its promotion"),
    ),
    "bisect": (
        ("/bisect churn prod inc-1207", "which release began to answer cases/churn/inc-1207.json wrong"),
        ("/bisect churn prod inc-1207 all", "the same, and every release is asked"),
    ),
}


def help_with(name: str) -> str:
    """Return how the commands are used, the one that was asked about first."""
    lines = []
    for each in sorted(_HELP, key=lambda other: other != name):
        lines.append(f"*/{each}*: {DESCRIPTIONS[each][0].lower()}{DESCRIPTIONS[each][1:]}")
        lines += [f"• {code(example)} {escape(says)}" for example, says in _HELP[each]]
    return "\n".join(lines)


TAKEN = "⏳ On it; the answer follows."
NOT_TAKEN = "❌ This could not be taken, and nothing was done. Type it again in a minute."


def same_environment(name: str) -> str:
    """From and to are one."""
    return f"{code(name)} is both where it comes from and where it goes to."


def bisect_of_what() -> str:
    """Something is missing, and no form asks for it."""
    return f"Which model, where, and which case? {code('/bisect churn prod inc-1207')}"


def no_case_name(word: str) -> str:
    """It cannot be the name of a case."""
    return f"{code(word, limit=60)} is not a valid name of a case: it is that of the file, without its ending."


def unknown_word(word: str) -> str:
    """A word that means nothing here."""
    return f"I do not know {code(word, limit=60)}."


def no_such_model(word: str) -> str:
    """A model that is in no environment file."""
    return f"There is no model {code(word, limit=60)}."


def no_such_environment(word: str) -> str:
    """An environment that is not there, or not for this person."""
    return f"There is no environment {code(word, limit=60)} that you may see."


def no_version(word: str) -> str:
    """A version is a number."""
    return f"{code(word, limit=60)} is not a valid version: a whole number, as MLflow counts them."


def too_many_words(name: str, word: str) -> str:
    """More than the command takes."""
    return f"{code(word, limit=60)} is one word too many: {code(f'/{name} {HINTS[name]}')}"


def named_twice(model: str) -> str:
    """A model stands twice in one command."""
    return f"{code(model)} is named twice: a proposal has one version of it."


def too_many_models(count: int, most: int) -> str:
    """More models than one command takes."""
    return (
        f"These are {count} models, and one command takes {most}: {code('promobot propose --all-ready --env ENV')} "
        "proposes all that is ready in one pull request."
    )


def of_which_model(word: str, models: Sequence[str]) -> str:
    """A word such as history needs a model."""
    return f"{word.capitalize()} of which model? {there_is(models)}"


def no_shadow(model: str) -> str:
    """No environment that the person sees has a shadow of it."""
    return f"👥 {escape(model)} has no shadow in an environment that you see."


def there_is(names: Sequence[str]) -> str:
    """What could have been said."""
    shown = ", ".join(code(name) for name in names[:20]) or "nothing"
    return f"There is {shown}" + (f" and {len(names) - 20} more." if len(names) > 20 else ".")


def wrong(said: str, instead: str) -> str:
    """A wrong word, and the command as it was probably meant."""
    return f"🤔 {said}" + (f" Did you mean {code(instead)}?" if instead else "")


# --- who may -----------------------------------------------------------------------------------------------------

_ROLES = {
    "read": "see it",
    "propose": "propose to it",
    "approve": "approve or merge there",
    "roll_back": "roll it back",
}


def may_not(environment: str, role: str) -> str:
    """The environment file does not allow it."""
    return (
        f"⛔ You may not {_ROLES[role]}: {code(environment)} allows that to those under {code(f'slack.may.{role}')} "
        f"in {code(f'manifests/environments/{environment}.yaml')}. Nothing was done."
    )


def sees_nothing() -> str:
    """No environment file allows this person anything."""
    return f"⛔ No environment file allows you anything here: {code('slack.may')} decides. Nothing was done."


def more_than_proposed(beside: Sequence[str]) -> str:
    """A branch of the bot changes what nobody proposed."""
    listed = ", ".join(beside[:5]) + (f" and {len(beside) - 5} more" if len(beside) > 5 else "")
    return f"besides the entry it changes {listed}"


def beside(number: int, url: str, found: Sequence[str]) -> str:
    """The same, to the person who pressed a button."""
    return (
        f"⛔ {link(url, f'#{number}')} is not only what was proposed: "
        f"{escape(more_than_proposed(found), limit=600)}. "
        "Nothing was done; look at it on GitHub."
    )


def not_the_bots(number: int, url: str) -> str:
    """The entry itself is not one that anybody asked the bot for."""
    return (
        f"⛔ {link(url, f'#{number}')} proposes what nobody asked the bot for: somebody pushed it to the "
        "bot's branch, or it is older than this bot. Nothing was done. Propose it again, or approve and merge it on "
        "GitHub."
    )


def no_login(environment: str, who: str) -> str:
    """Who this is on GitHub is not known, so whether it is their own proposal is not, either."""
    return (
        f"⛔ Nobody approves their own proposal, and who you are on GitHub is not known here. Add "
        f"{code(f'slack.github_logins: {{{who}: your-login}}')} to "
        f"{code(f'manifests/environments/{environment}.yaml')}. Nothing was done."
    )


def own_proposal(number: int) -> str:
    """Nobody approves their own."""
    return f"⛔ #{number} was asked for by you; somebody else must approve and merge it. Nothing was done."


# --- answers -----------------------------------------------------------------------------------------------------


def failed(message: str, state: str, step: str) -> str:
    """Something did not work: what happened, in what state things are, what to do."""
    lines = [f"❌ {escape(message)}", escape(state), f"→ {escape(step)}" if step else ""]
    return "\n".join(line for line in lines if line)


def bug(kind: str) -> str:
    """The bot is wrong."""
    return f"❌ This is a bug in promobot ({escape(kind, limit=80)}). Its log says more; what users get is unchanged."


def done_before(said: str) -> str:
    """The same request once more."""
    return said


def proposed(done: Proposal) -> str:
    """What came of /promote."""
    what = f"{escape(done.model)} {done.version} in {escape(done.environment)}"
    pull = f"{link(done.url, f'#{done.pull_request}')}" if done.pull_request else ""
    why = f" ({escape(done.reason, limit=500)})" if done.reason else ""
    match done.action:
        case "opened" | "updated" if done.section == "shadow":
            misses = f" misses the gate{why}" if done.reason else ""
            return f"👥 {what}{misses}: {pull} proposes it for the shadow path."
        case "opened":
            return f"✅ {pull} proposes {what}. It is checked now; its message in the channel says how far it is."
        case "updated":
            return f"✅ {pull} now proposes {what}."
        case "unchanged":
            return f"✅ {pull} proposes {what} already. {run_again_there()}"
        case "already desired":
            return f"✅ {what}: main says so already."
        case "stopped":
            by = f". {judged_by(done.environment, done.judged_by)}" if done.gate and done.judged_by else ""
            return f"⛔ {what} was not proposed: {escape(done.reason)}{by}"


_LEFT_OUT = 20
"""Reasons in the answer to one person; the rest is a command away."""


def proposed_several(done: Proposals) -> str:
    """What came of /promote with several versions: the pull request, then what is left out and why."""
    pull = link(done.url, f"#{done.pull_request}") if done.pull_request else ""
    named = ", ".join(f"{escape(one.model)} {one.version}" for one in done.proposals)
    what = f"{named} in {escape(done.environment)}"
    match done.action:
        case "opened":
            first = (
                f"✅ {pull} proposes {what}. All of it is checked now; its message in the channel says how far it is."
            )
        case "updated":
            first = f"✅ {pull} now proposes {what}."
        case "unchanged":
            first = f"✅ {pull} proposes {what} already. {run_again_there()}"
        case "nothing":
            first = f"⛔ There is nothing to propose to {escape(done.environment)}."
        case "dry run":
            first = f"{what} would be proposed."
    shadows = [f"{escape(one.model)} {one.version}" for one in done.proposals if one.section == "shadow"]
    lines = [first, *([f"👥 Only for the shadow path: {', '.join(shadows)}."] if shadows else [])]
    left = left_out_by_reason(done.left_out)
    lines += [f"⛔ Left out: {escape(who, limit=300)}: {escape(why, limit=300)}" for who, why in left[:_LEFT_OUT]]
    if len(left) > _LEFT_OUT:
        lines.append(f"… and {len(left) - _LEFT_OUT} more reasons")
    if done.judged_by and any(one.kind in ("gate", "no gate") for one in done.left_out):
        lines.append(judged_by(done.environment, done.judged_by))
    return "\n".join(lines)


def rolled_back(done: RolledBack) -> str:
    """What came of /rollback."""
    what = f"{escape(done.model)} in {escape(done.environment)} to {done.after.version}"
    lines = []
    if done.deployed is not None:
        lines += [f"• {escape(verdict(record))}" for record in done.deployed.records]
    if done.revert_waits:
        lines.insert(0, f"↩️ {what}: {escape(revert_waits(done.environment, done.revert_waits))}")
    elif done.pull_request:
        next_step = "Somebody else merges it." if done.deployed is None else "Merge it, so that Git says so, too."
        lines.insert(0, f"↩️ {link(done.url, f'#{done.pull_request}')} takes {what}. {next_step}")
    else:
        lines.insert(0, f"↩️ {what}: main says so already.")
    lines += [f"⚠️ Fix the settings: {escape(mistake, limit=300)}" for mistake in done.mistakes[:5]]
    return "\n".join(lines)


def approved(number: int, url: str, head: str) -> str:
    """What came of the button Approve."""
    return f"✅ You approved {link(url, f'#{number}')} at {code(head[:12])}."


def has_approved(who: str, number: int, head: str) -> str:
    """The same, for all."""
    return f"✅ {user(who)} approved #{number} at {code(head[:12])}."


def approval(name: str, head: str) -> str:
    """The same, on the pull request."""
    return f"✅ Approved by {name} from Slack, at `{head[:12]}`."


def merged(number: int, url: str) -> str:
    """What came of the button Merge."""
    return f"✅ You merged {link(url, f'#{number}')}; the deployment begins."


def has_merged(who: str, number: int, head: str) -> str:
    """The same, for all."""
    return f"🔀 {user(who)} merged #{number} at {code(head[:12])}."


def queued(number: int, url: str) -> str:
    """The same, where the repository has a merge queue."""
    return (
        f"⏳ You put {link(url, f'#{number}')} into the merge queue. GitHub merges it when its checks pass there; "
        f"then the deployment begins."
    )


def has_queued(who: str, number: int, head: str) -> str:
    """The same, for all."""
    return f"⏳ {user(who)} put #{number} at {code(head[:12])} into the merge queue."


def stale(number: int, url: str, shown: str, now: str) -> str:
    """The button is older than what it would act on."""
    return (
        f"⛔ {link(url, f'#{number}')} moved on after you saw it: from {code(shown[:12])} to {code(now[:12])}. "
        "Nothing was done; look at the new commit first."
    )


def over(number: int, url: str, state: str) -> str:
    """Merged or closed already."""
    return f"{link(url, f'#{number}')} is {state} already. Nothing was done."


def not_green(number: int, url: str) -> str:
    """Its checks have not passed."""
    return f"⛔ The checks of {link(url, f'#{number}')} have not passed at this commit. Nothing was merged."


def not_served_any_more(model: str, environment: str, version: str) -> str:
    """The button is older than what it would act on."""
    return f"⛔ {escape(environment)} no longer serves {escape(model)} {escape(version)}. Nothing was done."


def unknown_button() -> str:
    """A button that is none of ours, or of an older bot."""
    return "🤔 I no longer know this button. Nothing was done."


def desired_state_gone(number: int, environment: str) -> str:
    """A pull request of the bot's branch has the environment's file no more."""
    return f"#{number} removes promotions/{environment}.yaml, so it has no message; its verdict says what to do"


def link_back(url: str) -> str:
    """The comment on a pull request that leads to its thread."""
    return f"💬 [In Slack]({url}): how far it is, and what happened."


# --- what waits for somebody -------------------------------------------------------------------------------------


def attention(found: Status, began: datetime) -> str:
    """Users first; then that somebody is wanted, since when."""
    return f"⚠️ {escape(users(found))} Waiting for you since {began:%Y-%m-%d %H:%M} UTC:"


def attention_over(found: Status, began: datetime, now: datetime) -> str:
    """The same message, once nothing waits."""
    return f"✅ {escape(users(found))} What waited from {began:%Y-%m-%d %H:%M} to {now:%Y-%m-%d %H:%M} UTC is over."


def attention_goes_on(found: Status, began: datetime) -> str:
    """The message is a day old and something is new: nobody would see it here."""
    return f"⏭️ {escape(users(found))} What waits since {began:%Y-%m-%d %H:%M} UTC stands in a new message."


def waits(what: str, next_step: str, *, sign: str = "•") -> str:
    """One thing that waits, and what to type."""
    return f"{sign} {escape(plainly(what), limit=500)}\n   → {escape(next_step, limit=300)}"


def more_waits(count: int, environment: str) -> str:
    """The rest."""
    return f"… and {count} more: {code(f'promobot drift --env {environment}')}"


# --- /promotions -------------------------------------------------------------------------------------------------


def status(found: Status, model: str | None) -> str:
    """Return one environment: desired, live, pending, shadow, quarantine."""
    lines = [f"*{escape(users(found))}*"]
    rows, well = [row for row in found.models if model in (None, row.model)], well_models(found)
    lines += [_row(row, well) for row in rows] or ["• nothing is desired, nothing is served"]
    # A pull request of several models is open for each of them.
    lines += [
        f"   ⏳ {escape(f'{one.model} {one.version}: {one.said}', limit=300)}"
        for one in found.bakes
        if model in (None, one.model)
    ]
    lines += [f"   ⏸️ {escape(found.closed.said, limit=300)}"] if found.closed else []
    pending = dict.fromkeys(one for row in rows for one in row.pending)
    lines += [f"   ⏳ {escape(one)}" for one in pending]
    quarantined = [line for line in found.quarantined if model is None or line.startswith(f"{model} ")]
    lines += [f"   🔒 in quarantine: {escape(line, limit=300)}" for line in quarantined[:10]]
    for one in found.differences[:5]:
        lines += [f"   ⚠️ {escape(plainly(one.what), limit=300)}", f"      → {escape(one.next_step, limit=300)}"]
    if len(found.differences) > 5:
        lines.append(f"   {more_waits(len(found.differences) - 5, found.environment)}")
    lines += [f"   ⚠️ {escape(problem, limit=300)}" for problem in found.problems[:3]]
    return "\n".join(lines)


def _row(row: ModelStatus, well: frozenset[str]) -> str:
    name = f"*{escape(row.model)}*" + (" in shadow" if row.section == "shadow" else "")
    shown = {"✓": "✅", "✗": "⚠️", "?": "❔", " ": "▫️"}[sign(row, well)]
    return f"• {shown} {name}: desired {row.desired or '–'} · live {live_in(row)}"


def history(found: History) -> str:
    """Return what was deployed to one environment, newest first."""
    lines = [f"*{escape(found.environment)}*"]
    lines += [waits(is_held(one), one.hold.next_step, sign="✋") for one in found.held]
    for record in found.records:
        before = record.before.version if record.before else "–"
        after = record.after.version if record.after else "–"
        shadow = " (shadow)" if record.section == "shadow" else ""
        why = f": {escape(plainly(record.problem), limit=300)}" if record.problem else ""
        lines.append(
            f"• {_SIGNS_OF_RECORDS[record.outcome]} {record.finished_at:%Y-%m-%d %H:%M} UTC: "
            f"{escape(record.model)} {before} → {after}{shadow} {record.outcome}{why}"
        )
    return "\n".join(lines if found.records else [*lines, "• nothing was deployed yet"])


def shadow(found: ShadowReport) -> str:
    """Return how a model's shadow answers in one environment."""
    since = f", since {found.listens_since:%Y-%m-%d %H:%M} UTC" if found.listens_since else ""
    lines = [f"*{escape(found.environment)}*: {escape(found.model)} {found.version} in shadow{since}"]
    lines.append(f"• {found.sent:,} copies sent, {found.failed:,} failed, {found.dropped:,} dropped")
    if found.side_by_side is not None:
        lines.append(f"• beside version {found.side_by_side.live}, which answers:")
        lines += [f"• {what}: {escape(much)}" for what, much in shadow_words.rows_of(found.side_by_side)]
    lines += [
        f"• ⚠️ {escape(name)} says nothing: {escape(plainly(why), limit=300)}" for name, why in found.silent.items()
    ]
    if found.verdict is not None:
        lines.append(escape(shadow_words.standing(found.verdict), limit=500))
    return "\n".join(lines)


_SIGNS_OF_RECORDS: Mapping[Outcome, str] = {
    "succeeded": "✅",
    "unconfirmed": "✅",
    "rolling out": "🐤",
    "incomplete": "⚠️",
    "put back": "↩️",
    "failed": "❌",
}


# --- forms -------------------------------------------------------------------------------------------------------

FORM_TITLES: Mapping[str, str] = {"promote": "Promote a model", "rollback": "Roll back"}
FORM_SUBMITS: Mapping[str, str] = {"promote": "Propose", "rollback": "Go back"}
LOOKING = "⏳ Looking for what exists. If this stays, close it and type the command in full:"
SEVERAL = "Several versions go into one pull request:"
SEVERAL_HINT = "Several in one pull request: `/promote churn:7 fraud:3 dev`"
VERSION, ENVIRONMENT, MODEL, TARGET = "Version", "Environment", "Model", "Where to"
WHY, WHY_HINT = "Why", "The pull request says it"
NOW, NOW_HINT = "Put the runtime back at once", "Else it goes back when the pull request is merged"
LAST_VERIFIED = "the last verified version"
CLOSE = "Cancel"
EMPTY_FORM: Mapping[str, str] = {
    "promote": "There is no version to propose in an environment where you may.",
    "rollback": "There is nothing to go back to in an environment where you may.",
}


def version_of(model: str, version: int) -> str:
    """An option of a form."""
    return f"{model} {version}"


def back_to(version: int, when: str) -> str:
    """An option of a form."""
    return f"{version}, verified {when}"


def model_in(model: str, environment: str) -> str:
    """A heading among the options of a form."""
    return f"{model} in {environment}"


def too_long_for_a_form() -> str:
    """So many versions were typed without an environment."""
    return "These are too many for a form. Type the environment behind them, or propose fewer at once."


def form_failed(message: str) -> str:
    """A form could not be filled."""
    return f"❌ {escape(message)}"


# --- the message of a promotion ----------------------------------------------------------------------------------

SIGNS: Mapping[Stage, str] = {
    "checking": "🟡",
    "green": "🟢",
    "red": "🔴",
    "merged": "🔀",
    "held": "✋",
    "deploying": "🚀",
    "rolling out": "🐤",
    "served": "✅",
    "put back": "↩️",
    "rollback failed": "❌",
    "failed": "❌",
    "incomplete": "⚠️",
    "left": "⏮️",
    "overtaken": "⏭️",
    "closed": "⚪",
}
StepState = Literal["done", "now", "held", "wrong", "open"]
_MARKS: Mapping[StepState, str] = {"done": "✅", "now": "⏳", "held": "✋", "wrong": "❌", "open": "▫️"}
_STEPS = ("proposed", "checks", "merged", "deploying", "served")
_REACHED: Mapping[Stage, tuple[int, StepState]] = {
    "checking": (1, "now"),
    "green": (2, "open"),
    "red": (1, "wrong"),
    "merged": (3, "now"),
    "held": (3, "held"),
    "deploying": (3, "now"),
    "rolling out": (4, "now"),
    "served": (5, "done"),
    "put back": (4, "wrong"),
    "rollback failed": (4, "wrong"),
    "failed": (3, "wrong"),
    "incomplete": (4, "now"),
    "left": (5, "done"),
    "overtaken": (3, "wrong"),
    "closed": (1, "wrong"),
}


def what(promotion: Promotion) -> str:
    """Return the change in a few words, without markup."""
    if promotion.parts:
        return f"{_count(promotion)} in {promotion.environment}"
    shadow = " (shadow)" if promotion.section == "shadow" else ""
    where = f"{promotion.environment}{shadow}"
    if promotion.after is None:
        return f"{promotion.model} out of {where}"
    before = f"{promotion.before} → " if promotion.before else ""
    back = "Back: " if promotion.way_back else ""
    return f"{back}{promotion.model} {before}{promotion.after} in {where}"


def headline(promotion: Promotion, progress: Progress) -> str:
    """Return where it stands, in one line; the plain text, too, but for its markup."""
    sign = SIGNS[progress.stage]
    return f"{sign} *{escape(what(promotion))}*: {_standing(promotion, progress)}"


def plain(promotion: Promotion, progress: Progress) -> str:
    """Return the same for a notification."""
    return (
        f"{SIGNS[progress.stage]} {escape(what(promotion))}: {_standing(promotion, progress)} (#{promotion.number})"
    )


_SHORT: Mapping[Stage, str] = {
    "red": "checks did not pass",
    "rollback failed": "rollback failed",
    "put back": "put back after the switch",
    "failed": "failed before the switch",
    "held": "held",
    "incomplete": "in service wherever gateways answer",
    "checking": "checks run",
    "deploying": "being deployed",
    "merged": "waiting for the deployment",
    "green": "checks passed",
    "rolling out": "rolling out",
    "served": "served",
    "left": "replaced since",
    "overtaken": "overtaken before the deployment",
    "closed": "closed",
}
"""Of one model among several; problems come first."""
_LISTENS = "listening"
"""Of a shadow that is in service."""
_LINES = 50
"""As many models have a line in the message of their pull request."""
_FEW = 15
"""Of so many there is room to say more."""


def _count(promotion: Promotion) -> str:
    number = len(promotion.parts) + promotion.untold
    return f"{number} model{'s' * (number != 1)}"


def headline_of_several(promotion: Promotion, each: Sequence[Progress]) -> str:
    """Return where the models of one pull request stand, in one line."""
    return (
        f"{SIGNS[progress_of_all(each).stage]} *{escape(what(promotion))}*: {_standing_of_several(promotion, each)}"
    )


def plain_of_several(promotion: Promotion, each: Sequence[Progress]) -> str:
    """Return the same for a notification."""
    standing = _standing_of_several(promotion, each)
    return f"{SIGNS[progress_of_all(each).stage]} {escape(what(promotion))}: {standing} (#{promotion.number})"


def _standing_of_several(promotion: Promotion, each: Sequence[Progress]) -> str:
    progress = progress_of_all(each)
    match progress.stage:
        case "red" if not promotion.beside:
            own = sum(map(_is_to_blame, each)) or len(each)
            return f"the checks of {own} did not pass; do not merge"
        case "checking":
            return "their checks run"
        case "green":
            return "their checks passed; merge it"
        case "red" | "closed":
            return _standing(promotion, progress)
        case _:
            labels = [_label(one, how) for one, how in zip(promotion.each, each, strict=True)]
            return ", ".join(
                f"{labels.count(said)} {said}" for said in (*_SHORT.values(), _LISTENS) if said in labels
            )


def lines_of_several(promotion: Promotion, each: Sequence[Progress]) -> str:
    """Return a line for each model: its versions, and where it stands; problems come first."""
    order = list(_SHORT)
    listed = sorted(
        zip(promotion.each, each, strict=True),
        key=lambda pair: (order.index(pair[1].stage), not _is_to_blame(pair[1])),
    )
    room = 300 if len(listed) <= _FEW else 60
    lines = [_line(one, progress, room) for one, progress in listed[:_LINES]]
    more = len(listed) - len(lines) + promotion.untold
    return "\n".join(
        [*lines, *([f"… and {more} more: {link(promotion.url, f'#{promotion.number}')}"] if more else [])]
    )


def _line(one: Promotion, progress: Progress, room: int) -> str:
    before = f"{one.before} → " if one.before else ""
    shadow = " (shadow)" if one.section == "shadow" else ""
    what = f"*{escape(one.model)}* {before}{one.after}{shadow}"
    if progress.stage == "red" and progress.evidence is not None and not _is_to_blame(progress):
        return f"▫️ {what}: its own checks passed; it waits for the others"
    why = " ".join(_why(progress).split())
    said = f"{SIGNS[progress.stage]} {what}: {_label(one, progress)}"
    return f"{said}: {escape(why, limit=room)}" if why else said


def _label(one: Promotion, progress: Progress) -> str:
    return _LISTENS if (progress.stage, one.section) == ("served", "shadow") else _SHORT[progress.stage]


def _is_to_blame(progress: Progress) -> bool:
    """Whether a model's own checks did not pass: a job that failed for one of several models failed for all."""
    evidence = progress.evidence
    if progress.stage != "red" or evidence is None:
        return False
    demanded = set(checks_of(evaluated=bool(evidence.evaluation_set)))
    return not demanded <= {check.check for check in evidence.checks if check.passed} or any(
        not check.passed for check in evidence.checks
    )


def _why(progress: Progress) -> str:
    """Return what went wrong with one model, or by which numbers it was judged."""
    record, evidence = progress.record, progress.evidence
    match progress.stage:
        case "held" if progress.held is not None:
            return plainly(progress.held.hold.why)
        case "put back" | "rollback failed" | "failed" | "incomplete" if record is not None:
            return plainly(record.problem)
        case "red" if evidence is not None:
            wrong = [f"{f.what}: {f.detail}" for check in evidence.checks for f in check.problems]
            return next(iter([*wrong, *evidence.problems]), "")
        case "green" if evidence is not None:
            judged = [metric for check in evidence.checks for metric in check.judged if metric.value is not None]
            return ", ".join(
                f"{one.metric} {one.value:.4g}" + (f" (was {one.champion:.4g})" if one.champion is not None else "")
                for one in judged[:2]
            )
        case _:
            return ""


def how_several_go_back(promotion: Promotion, progress: Progress) -> str:
    """What to type or press to go back, once several models were merged together; empty before that."""
    if progress.stage not in ("rolling out", "served", "put back", "failed", "held", "incomplete", "rollback failed"):
        return ""
    answers = [one for one in promotion.each if one.section == "models"]
    new = [one for one in answers if one.before is None]
    said = []
    if len(new) < len(answers):
        said.append(f"{code(f'/rollback MODEL {promotion.environment}')} takes one model back")
    if new:
        # The revert of a first version would take the model out of service without saying that this is meant.
        command = f"promobot retire MODEL --env {promotion.environment} --reason '…'"
        said.append(f"{code(command)} takes out of service what had no version before")
    else:
        said.append(f"*Revert* in {link(promotion.url, f'#{promotion.number}')} takes all of them back")
    return "; ".join(said)


def github_away(since: datetime, *, refuses: bool) -> str:
    """Facts that only GitHub knows may be out of date."""
    return f"GitHub {'refuses the bot' if refuses else 'does not answer'} since {since:%Y-%m-%d %H:%M} UTC."


def _standing(promotion: Promotion, progress: Progress) -> str:
    record, version = progress.record, promotion.after or "nothing"
    listens = "listens on the shadow path" if promotion.section == "shadow" else "is served"
    match progress.stage:
        case "checking":
            return "its checks run"
        case "green" if progress.merges_itself:
            return "its checks passed; it merges by itself"
        case "green":
            return "its checks passed; merge it"
        case "red" if promotion.beside:
            return "it changes more than was proposed; do not merge"
        case "red":
            return "its checks did not pass; do not merge"
        case "merged":
            return "merged; waiting for the deployment"
        case "held":
            return _held(promotion, progress)
        case "deploying":
            return "being deployed"
        case "rolling out":
            share = f"{record.rollout.percent} %" if record is not None and record.rollout else "some"
            return f"{version} answers {share} of requests"
        case "served" if record is not None and record.outcome == "unconfirmed":
            return f"{version} {listens}; its message had to wait{_bake(progress)}"
        case "served":
            return f"{version} {listens}{_bake(progress)}"
        case "put back":
            return "failed after the switch and was put back"
        case "rollback failed":
            return f"the rollback failed; {promotion.before} still answers"
        case "failed":
            return "failed before the switch; nothing that users see has changed"
        case "incomplete":
            return "in service wherever gateways answer"
        case "left":
            # Not what answers now: nobody comes back to this message when something else does.
            if progress.then is not None and progress.then.after is None:
                return "taken out of service"
            back = "rolled back to" if progress.then and progress.then.way_back else "replaced by"
            return f"{back} {_then(progress)}"
        case "overtaken" if progress.then is None:
            return "merged, and taken back on main before it was deployed"
        case "overtaken":
            return f"merged, and overtaken by {_then(progress)} before it was deployed"
        case "closed":
            return "closed without being merged"


def _bake(progress: Progress) -> str:
    """Return how it bakes, without what changes at each look: the message stays as it is until the bake is over."""
    if (bake := progress.bake) is None:
        return ""
    return "; baked" if bake.is_over else f"; bakes since {bake.since:%Y-%m-%d %H:%M} UTC"


def _held(promotion: Promotion, progress: Progress) -> str:
    if (held := progress.held) is None:
        return "merged, and held"
    since = f" since {held.hold.since:%Y-%m-%d %H:%M} UTC" if held.hold.since else ""
    if promotion.section == "shadow":
        return f"merged, and held{since}; nothing of it listens"
    return f"merged, and held{since}; {held.change.before.version if held.change.before else 'nothing'} answers"


def _then(progress: Progress) -> str:
    return str(progress.then.after.version) if progress.then and progress.then.after else "nothing"


def steps(progress: Progress) -> str:
    """Return the way it goes, and how far it is."""
    reached, there = _REACHED[progress.stage]
    parts = []
    for number, name in enumerate(_STEPS):
        mark = _MARKS["done" if number < reached else there if number == reached else "open"]
        if name == "checks" and progress.evidence is not None and not progress.evidence.passed:
            mark = _MARKS["wrong"]  # also where it was merged all the same
        parts.append(f"{mark} {name}")
    if progress.bake is not None:
        parts.append(f"{_MARKS['done' if progress.bake.is_over else 'now']} baked")
    return "  ".join(parts)


def facts(promotion: Promotion) -> str:
    """Return who asked, where it is on GitHub, and which bytes."""
    asked = f"asked for by {user(promotion.requested_by)} · " if promotion.requested_by else ""
    if not asked and promotion.proposed_by:
        asked = f"proposed by {escape(promotion.proposed_by, limit=60)} · "
    digest = f" · digest {code(short(promotion.digest))}" if promotion.digest else ""
    return f"{asked}{link(promotion.url, f'#{promotion.number}')} · commit {code(promotion.head[:12])}{digest}"


def policy(promotion: Promotion, progress: Progress) -> str:
    """Return whether it merges by itself, and why; empty where that was never so."""
    if progress.merges_itself:
        how = "Merges" if promotion.state == "open" else "Was to merge"
        return f"🤖 {how} by itself: {escape(progress.merges_itself, limit=500)}"
    if progress.no_longer and promotion.state == "open":
        return f"✋ No longer merges by itself: {escape(progress.no_longer, limit=500)}"
    return ""


def problem(promotion: Promotion, progress: Progress) -> str:
    """Return what went wrong, and in what state things are; empty where nothing did."""
    if progress.stage == "red" and promotion.beside:
        return f"*What happened:* {escape(more_than_proposed(promotion.beside), limit=1200)}"
    record, evidence = progress.record, progress.evidence
    if progress.stage == "held" and progress.held is not None:
        hold = progress.held.hold
        return f"*Why:* {escape(plainly(hold.why), limit=1200)}\n*What to do:* {escape(hold.next_step, limit=600)}"
    if record is not None and progress.stage == "rollback failed":
        return (
            f"*What happened:* {escape(plainly(record.problem), limit=1200)}\n*State:* {_in_service(record)}\n"
            f"*What to do:* {escape(fix_and_deploy(record))}"
        )
    if record is not None and progress.stage in ("put back", "failed", "incomplete"):
        return f"*What happened:* {escape(plainly(record.problem), limit=1200)}\n*State:* {_in_service(record)}"
    if progress.stage == "red" and evidence is not None:
        wrong = [f"{f.what}: {f.detail}" for check in evidence.checks for f in check.problems]
        # The check's own findings first: the failure of its job follows from them.
        listed = some([*wrong, *evidence.problems]) or "a check did not pass"
        return f"*What happened:* {escape(listed, limit=1200)}"
    return ""


def _in_service(record: DeploymentRecord) -> str:
    entry = record.serving
    verb = "listens" if record.section == "shadow" else "answers"
    return f"version {entry.version} {verb} in {escape(record.environment)}" if entry else "nothing is in service"


METRICS_HEAD = ("metric", "proposed", "in service", "change")
PROPOSED, IN_SERVICE, LIMIT = "proposed", "in service", "limit"
"""Legend of a chart's bars: 20 characters at most."""


def chart_title(promotion: Promotion, *, champion: bool) -> str:
    """Above the chart of the metrics."""
    against = f"{promotion.before} in service" if champion and promotion.before else "the gate"
    return f"{promotion.model} {promotion.after or ''} against {against}"


OPEN, APPROVE, MERGE, ROLL_BACK, CONFIRM, NO = "Open", "Approve", "Merge", "Roll back", "Yes", "No"


def merge_question(promotion: Promotion) -> str:
    """Before it is merged."""
    if promotion.parts:
        where = promotion.environment
        return f"Merges #{promotion.number} at {promotion.head[:12]}, which deploys {_count(promotion)} to {where}."
    return f"Merges #{promotion.number} at {promotion.head[:12]}, which deploys it to {promotion.environment}."


def merge_way_back(number: int, model: str = "") -> str:
    """A button for the way back, of one model where there are several."""
    said = f"Merge the way back #{number}"
    return f"{said} of {model}"[:75] if model else said


def roll_back_question(promotion: Promotion) -> str:
    """Before the revert is opened."""
    return f"Opens the revert of {promotion.model} {promotion.after or ''} in {promotion.environment}."
