"""One command, button or form: may this person, then the verb, then what to answer.

Each runs under the id of its entry, so that one that is done again, after a restart or by another replica, comes to
what it came to.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, assert_never

from bot import environment_files, requests
from bot.domain.desired import Change, Desired, changes
from bot.domain.evidence import is_green_at
from bot.domain.message import Message
from bot.domain.names import MODEL_NAME
from bot.domain.record import served_after, verified_entries
from bot.domain.release import Lane, Slot
from bot.domain.scope import asks_for_release, fingerprint
from bot.errors import InvalidInput, LeaseLost, PromobotError, Unavailable
from bot.operations.bisect import named_case
from bot.operations.history import history
from bot.operations.known import known_models
from bot.operations.merge import Merged
from bot.operations.propose import Proposal
from bot.operations.propose_many import Proposals
from bot.operations.proposing import desired_at, parts_of, what_is_beside
from bot.operations.rollback import RolledBack
from bot.operations.shadow import shadow
from bot.operations.status import status
from bot.platform import Platform
from bot.render import bisecting, markdown
from bot.render import proposal as proposal_words
from bot.render import slack as words
from bot.settings import Environment
from bot.slack import blocks, forms
from bot.slack.commands import (
    NAMES,
    Ask,
    Bisect,
    Command,
    Help,
    Known,
    Promote,
    Propose,
    ProposeMany,
    RollBack,
    Show,
    ShowHistory,
    ShowShadow,
    Wrong,
    parse,
)
from bot.slack.inbox import Answer, Asked, Inbox
from bot.slack.people import People, Role

if TYPE_CHECKING:
    from bot.systems.github import PullRequest

log = logging.getLogger("bot.slack")
HISTORY = 10
R = TypeVar("R", bound=Proposal | Proposals | RolledBack)


@dataclass(frozen=True)
class FormWanted:
    """Something was left out; this is the form that asks for it."""

    ask: Ask


@dataclass(frozen=True)
class _Shown:
    """The pull request and the version for which a button was shown."""

    environment: str
    number: int
    head: str
    model: str
    version: str


class _No(Exception):
    """Refused, in these words."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class SaidLater(Exception):
    """It is done, but Slack did not take the message about it: do it again, which changes nothing and posts it."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(str(error))
        self.retry_after_seconds = error.retry_after_seconds


OpenPlatform = Callable[[Environment], Platform]
"""Opens what a piece of work needs of an environment, with the secrets of the service."""


class Doing:
    """Does what is asked for, each piece of work with platforms of its own, from environment files as they are now.

    Nothing is kept open between two pieces of work, which run in several threads: a token that was exchanged, a
    server that came or went, or a setting that was corrected counts for the next one.
    """

    def __init__(
        self, root: Path, environments: tuple[str, ...], inbox: Inbox, people: People, open_platform: OpenPlatform
    ) -> None:
        self._root, self._environments = root, environments
        self._inbox, self._people, self._open = inbox, people, open_platform

    def do(self, asked: Asked) -> Answer | FormWanted:
        """Do it; whatever happens, there is something to answer. Raises SaidLater alone."""
        with self._work() as work:
            return work.do(asked)

    def fill(self, asked: Asked, ask: Ask) -> dict[str, Any]:
        """Return the form that asks for what was left out, with what exists."""
        with self._work() as work:
            return work.fill(asked, ask)

    def _work(self) -> _Work:
        return _Work(self._root, self._environments, self._inbox, self._people, self._open)


class _Work:
    """One piece of work: one command, button or form, and the platforms that it uses, each made once."""

    def __init__(
        self, root: Path, environments: tuple[str, ...], inbox: Inbox, people: People, open_platform: OpenPlatform
    ) -> None:
        self._root, self._environments = root, environments
        self._inbox, self._people, self._open = inbox, people, open_platform
        self._platforms: dict[str, Platform] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as closing:
            for platform in self._platforms.values():
                closing.callback(platform.close)

    def do(self, asked: Asked) -> Answer | FormWanted:
        """Do it; whatever happens, there is something to answer. Raises SaidLater alone."""
        try:
            return self._do(asked)
        except _No as refused:
            return _answer(refused.said)
        except (PromobotError, LeaseLost) as error:
            return _answer(words.failed(str(error), error.state, error.next_step))
        except SaidLater:
            raise
        except Exception as error:
            log.exception("%s %s", asked.kind, asked.name)
            return _answer(words.bug(type(error).__name__))

    def _do(self, asked: Asked) -> Answer | FormWanted:
        if asked.kind == "button":
            return self._button(asked)
        if asked.kind == "form":
            command = forms.command_of(asked.name, asked.values)
        else:
            known = self._known(asked.user)
            if not known.environments:
                raise _No(words.sees_nothing())
            command = parse(_name(asked.name), asked.text, known)
        return self._command(asked, command)

    def _command(self, asked: Asked, command: Command) -> Answer | FormWanted:
        match command:
            case Help():
                return _answer(words.help_with(command.name))
            case Wrong():
                return _answer(words.wrong(command.said, command.instead))
            case Ask():
                return FormWanted(command)
            case Show():
                return _answer(self._show(asked, command))
            case ShowHistory():
                return _answer(self._history(asked, command))
            case ShowShadow():
                return _answer(self._shadow(asked, command))
            case Propose() | Promote():
                return self._propose(asked, command)
            case ProposeMany():
                return self._propose_several(asked, command)
            case RollBack():
                return self._roll_back(asked, command)
            case Bisect():
                return self._bisect(asked, command)
        assert_never(command)

    # --- who sees and may what ---------------------------------------------------------------------------------

    def _platform(self, environment: str) -> Platform:
        if environment not in self._environments:
            raise _No(words.no_such_environment(environment))
        if environment not in self._platforms:
            self._platforms[environment] = self._open(
                environment_files.load_for_the_way_back(self._root, environment)
            )
        return self._platforms[environment]

    def _allowed(self, asked: Asked, environment: str, role: Role) -> Platform:
        platform = self._platform(environment)
        if not self._people.may(platform, asked.user, role):
            raise _No(words.may_not(environment, role))
        if role == "propose" and platform.settings.mistakes:
            raise platform.settings.mistakes[0]
        return platform

    def _changeable(self, asked: Asked, environment: str, role: Role, model: str) -> Platform:
        platform = self._allowed(asked, environment, role)
        of_bundles, known = platform.settings.bundles, _models_of(platform)
        if not platform.settings.has_gate(model) and model not in known and model not in of_bundles:
            raise _No(f"{words.no_such_model(model)} {words.there_is(sorted(known))}")
        return platform

    def _visible(self, user: str, role: Role = "read") -> list[Platform]:
        found = []
        for environment in self._environments:
            with suppress(InvalidInput):  # one broken file must not silence the others
                found.append(self._platform(environment))
        return [platform for platform in found if self._people.may(platform, user, role)]

    def _known(self, user: str) -> Known:
        visible = self._visible(user)
        return Known(
            {one.environment: tuple(sorted(_models_of(one))) for one in visible},
            bundles=frozenset(name for one in visible for name in one.settings.bundles),
            may_be_new=lambda word: any(_has_gate(one.settings, word) for one in visible),
        )

    # --- commands ----------------------------------------------------------------------------------------------

    def _propose(self, asked: Asked, command: Propose | Promote) -> Answer:
        environment, model, by = command.environment, command.model, _actor(asked)
        self._changeable(asked, environment, "propose", model)
        if isinstance(command, Promote):
            self._allowed(asked, command.source, "read")
            promote = requests.Promote(
                environment=environment, by=by, id=asked.id, model=model, source=command.source
            )
            return self._carry_out(promote, _proposed)
        request = requests.Propose(environment=environment, by=by, id=asked.id, model=model, version=command.version)
        return self._carry_out(request, words.proposed)

    def _propose_several(self, asked: Asked, command: ProposeMany) -> Answer:
        for model, _ in command.versions:
            self._changeable(asked, command.environment, "propose", model)
        request = requests.ProposeMany(
            environment=command.environment, by=_actor(asked), id=asked.id, versions=dict(command.versions)
        )
        return self._carry_out(request, words.proposed_several)

    def _roll_back(self, asked: Asked, command: RollBack) -> Answer:
        self._changeable(asked, command.environment, "roll_back", command.model)
        request = requests.RollBack(
            environment=command.environment,
            by=_actor(asked),
            id=asked.id,
            model=command.model,
            to=command.version,
            now=command.now,
            reason=asked.values.get("reason", ""),
        )
        return self._carry_out(request, words.rolled_back)

    def _bisect(self, asked: Asked, command: Bisect) -> Answer:
        platform = self._allowed(asked, command.environment, "read")
        if command.model not in (known := _models_of(platform)):
            raise _No(f"{words.no_such_model(command.model)} {words.there_is(sorted(known))}")
        case = named_case(self._root, command.model, command.case)
        request = requests.Bisect(environment=command.environment, by=_actor(asked), case=case, every=command.every)
        return _answer(requests.carry_out(request, self._platform, say=log.info, tell=bisecting.in_slack).said)

    def _carry_out(self, request: requests.Request[R], say: Callable[[R], str]) -> Answer:
        def tell(result: R) -> str:
            if result.pull_request:
                self._inbox.remember_requester(request.environment, result.pull_request, request.by.slack)
            return say(result)

        done = requests.carry_out(request, self._platform, say=log.info, tell=tell)
        return _answer(done.said, once=done.is_done)

    def _show(self, asked: Asked, command: Show) -> str:
        shown = [
            platform
            for platform in self._visible(asked.user)
            if command.environment in (None, platform.environment)
            and (command.model is None or command.model in _models_of(platform))
        ]
        parts = []
        for platform in shown:
            try:
                parts.append(words.status(status(platform), command.model))
            except PromobotError as error:
                parts.append(f"*{platform.environment}*\n{words.failed(str(error), error.state, error.next_step)}")
        return "\n\n".join(parts) or words.sees_nothing()

    def _history(self, asked: Asked, command: ShowHistory) -> str:
        shown = [platform for platform in self._visible(asked.user) if command.model in _models_of(platform)]
        found = [history(platform, model=command.model, at=None, limit=HISTORY) for platform in shown]
        return "\n\n".join(map(words.history, found)) or words.sees_nothing()

    def _shadow(self, asked: Asked, command: ShowShadow) -> str:
        parts = []
        for platform in self._visible(asked.user):
            if platform.share.routes.read(platform.environment).route(command.model).shadow is None:
                continue
            try:
                parts.append(words.shadow(shadow(platform, command.model)))
            except PromobotError as error:
                parts.append(f"*{platform.environment}*\n{words.failed(str(error), error.state, error.next_step)}")
        return "\n\n".join(parts) or words.no_shadow(command.model)

    # --- buttons -----------------------------------------------------------------------------------------------

    def _button(self, asked: Asked) -> Answer:
        shown = _shown(asked.text)
        match asked.name:
            case blocks.APPROVE:
                return self._approve(asked, shown)
            case blocks.MERGE:
                return self._merge(asked, shown)
            case blocks.ROLL_BACK:
                ledger = self._allowed(asked, shown.environment, "roll_back").ledger
                served = served_after(ledger.environment, ledger.deployments()).models.get(shown.model)
                if not ledger.asked(asked.id) and (served is None or str(served.version) != shown.version):
                    raise _No(words.not_served_any_more(shown.model, shown.environment, shown.version))
                return self._roll_back(asked, RollBack(shown.model, shown.environment))
            case _:
                raise _No(words.unknown_button())

    def _approve(self, asked: Asked, shown: _Shown) -> Answer:
        platform, pull = self._others_proposal(asked, shown)
        if pull.head != shown.head:
            raise _No(words.stale(pull.number, pull.url, shown.head, pull.head))
        if pull.state != "open":
            raise _No(words.over(pull.number, pull.url, "merged" if pull.merged else "closed"))
        self._see_what_it_changes(platform, asked, pull)
        github = platform.github
        body = words.approval(markdown.escape(asked.user_name or asked.user), shown.head)
        if not github.approve(pull.number, head=shown.head, body=body):
            # Opened by the bot itself, whose approval GitHub does not take: it is written down beside.
            marker = f"<!-- promobot:approved {asked.user} {shown.head} -->"
            github.put_comment(pull.number, f"{marker}\n{body}", marker=marker)
        self._tell_all(platform, asked, shown, words.has_approved(asked.user, pull.number, shown.head))
        return _answer(words.approved(pull.number, pull.url, shown.head), once=True)

    def _merge(self, asked: Asked, shown: _Shown) -> Answer:
        platform, pull = self._others_proposal(asked, shown)
        if pull.head != shown.head:
            raise _No(words.stale(pull.number, pull.url, shown.head, pull.head))
        if pull.state != "open":
            # By this very request, perhaps, whose answer was lost.
            if not (pull.merged and platform.ledger.asked(asked.id)):
                raise _No(words.over(pull.number, pull.url, "merged" if pull.merged else "closed"))
        else:
            wanted = [change.release for change in self._see_what_it_changes(platform, asked, pull)]
            found, releases = platform.ledger.all_evidence(), [release for release in wanted if release]
            if not is_green_at(found, shown.head, releases, datetime.now(UTC)):
                raise _No(words.not_green(pull.number, pull.url))
        request = requests.Merge(
            environment=shown.environment, by=_actor(asked), id=asked.id, number=pull.number, head=shown.head
        )
        done = requests.carry_out(request, self._platform, say=log.info, tell=_merged)
        is_queued = done.result.queued if done.result else pull.state == "open"
        for_all = words.has_queued if is_queued else words.has_merged
        self._tell_all(platform, asked, shown, for_all(asked.user, pull.number, shown.head))
        return _answer(done.said, once=True)

    def _others_proposal(self, asked: Asked, shown: _Shown) -> tuple[Platform, PullRequest]:
        platform = self._allowed(asked, shown.environment, "approve")
        pull = platform.github.pull_request(shown.number)
        settings = platform.settings
        if (
            not asks_for_release(pull.branch, settings.environment)
            or pull.of_a_fork
            or pull.into != settings.github.base
        ):
            raise _No(words.unknown_button())
        if asked.user not in settings.slack.github_logins:
            raise _No(words.no_login(settings.environment, asked.user))
        slack = self._inbox.requesters(settings.environment, pull.number) | {proposal_words.requester_of(pull.body)}
        if _is_one_of(settings, asked.user, slack=slack, github={pull.author}):
            raise _No(words.own_proposal(pull.number))
        return platform, pull

    def _see_what_it_changes(self, platform: Platform, asked: Asked, pull: PullRequest) -> list[Change]:
        """Refuse a commit that is more, or something else, than somebody else asked the bot for; return its changes.

        Everything is read from the commit itself: the message in Slack may be older, and a name in a commit or in
        the pull request's text is anybody's to write.
        """
        repository, name = platform.repository(), platform.environment
        base = repository.merge_base(repository.head(), repository.fetch(pull.head))
        for environment in _environments_in(repository.changed_paths(base, pull.head)):
            if environment in self._environments:
                self._allowed(asked, environment, "approve")
        parts = parts_of(pull.branch, platform.settings.bundles)
        beside = what_is_beside(repository, pull.branch, base=base, head=pull.head, parts=parts)
        if beside:
            raise _No(words.beside(pull.number, pull.url, beside))
        before, after = (
            desired_at(repository, name, commit) or Desired(environment=name) for commit in (base, pull.head)
        )
        asked_for = list(changes(before, after))
        proposers = platform.ledger.proposers(fingerprint(asked_for))
        if not proposers:
            raise _No(words.not_the_bots(pull.number, pull.url))
        slack, github = ({getattr(one, where) for one in proposers} for where in ("slack", "github"))
        if _is_one_of(platform.settings, asked.user, slack=slack, github=github):
            raise _No(words.own_proposal(pull.number))
        return asked_for

    def _tell_all(self, platform: Platform, asked: Asked, shown: _Shown, said: str) -> None:
        """Say in the promotion's thread who did what, once."""
        key = f"{shown.environment}/#{shown.number}"
        since = asked.at.timestamp()
        try:
            slack = platform.slack
            thread = next((p.facts["thread"] for p in slack.posted(since=since - 30 * 86_400) if p.key == key), "")
            slack.deliver(Message(key=asked.id, text=said, blocks=blocks.sections(said), since=since, thread=thread))
        except Unavailable as error:
            raise SaidLater(error) from error
        except PromobotError as error:
            # It is done, and GitHub shows it; Slack will never take this.
            log.warning("%s: %s", asked.id, error)

    # --- forms -------------------------------------------------------------------------------------------------

    def fill(self, asked: Asked, ask: Ask) -> dict[str, Any]:
        """Return the form that asks for what was left out, with what exists."""
        channel = asked.channel
        if ask.name == "rollback":
            return forms.rollback(ask, targets=self._targets(asked.user), channel=channel)
        platforms = self._visible(asked.user, "propose")
        environments = [one.environment for one in platforms]
        models = sorted({model for one in platforms for model in _models_of(one)})
        versions: dict[str, list[int]] = {model: [] for model in models}
        try:
            registry = platforms[0].registry if platforms else None
            if registry and any(one.settings.takes_unnamed for one in platforms):
                new = (m for m in registry.models() if any(_has_gate(one.settings, m) for one in platforms))
                models = list(dict.fromkeys([*models, *new]))[: forms.OPTIONS]
            for model in models if registry else ():
                versions[model] = registry.versions(model) if registry else []
            known = True
        except PromobotError as error:
            log.warning("the form is filled without the registry: %s", error)
            known = False
        return forms.promote(ask, versions=versions, environments=environments, channel=channel, known=known)

    def _targets(self, user: str) -> list[forms.Target]:
        found = []
        for platform in self._visible(user, "roll_back"):
            ledger = platform.ledger
            records, quarantined = ledger.deployments(), ledger.quarantined()
            served = served_after(platform.environment, records).models
            for model in sorted(known_models(platform.settings, records=records)):
                now = served.get(model)
                back = [
                    (record, entry)
                    for record, entry in verified_entries(records, Slot(platform.environment, model, Lane.LIVE))
                    if entry.digest not in quarantined and (now is None or entry.digest != now.digest)
                ]
                if back:
                    found.append(forms.Target(platform.environment, model, None))
                found += [
                    forms.Target(platform.environment, model, entry.version, f"{record.finished_at:%Y-%m-%d}")
                    for record, entry in back
                ]
        return found


def _models_of(platform: Platform) -> frozenset[str]:
    """Return the models that a person may name there; records are read only where the settings need not name all."""
    settings = platform.settings
    if not settings.takes_unnamed and not settings.mistakes:
        return known_models(settings)
    return known_models(settings, records=platform.ledger.deployments())


def _has_gate(settings: Environment, word: str) -> bool:
    return MODEL_NAME.fullmatch(word) is not None and settings.has_gate(word)


def _actor(asked: Asked) -> requests.Actor:
    return requests.Actor(asked.user_name or asked.user, slack=asked.user)


def _proposed(done: Proposal | Proposals) -> str:
    return words.proposed(done) if isinstance(done, Proposal) else words.proposed_several(done)


def _merged(done: Merged) -> str:
    return words.queued(done.number, done.url) if done.queued else words.merged(done.number, done.url)


def _is_one_of(settings: Environment, user: str, *, slack: Collection[str], github: Collection[str]) -> bool:
    """Say whether a user of Slack is among these people: by id, or by the GitHub login of either."""
    logins = {who: login.lower() for who, login in settings.slack.github_logins.items()}
    others = {login.lower() for login in github} | {logins[who] for who in slack if who in logins}
    return user in slack or logins.get(user, "") in others - {""}


def _environments_in(paths: Iterable[str]) -> list[str]:
    """Return the environments whose desired state or settings are among these files."""
    found = (re.fullmatch(r"(?:promotions|manifests/environments)/([^/]+)\.ya?ml", path) for path in paths)
    return sorted({match[1] for match in found if match})


def _answer(said: str, *, once: bool = False) -> Answer:
    return Answer(text=said, blocks=blocks.sections(said), once=once)


def _name(name: str) -> Any:
    return name if name in NAMES else "promotions"


def _shown(value: str) -> _Shown:
    try:
        document = json.loads(value)
        shown = _Shown(
            str(document["environment"]),
            int(document["number"]),
            str(document["head"]),
            str(document["model"]),
            str(document["version"]),
        )
    except (ValueError, KeyError, TypeError):
        raise _No(words.unknown_button()) from None
    if not re.fullmatch(r"[0-9a-f]{40}", shown.head):
        raise _No(words.unknown_button())
    return shown
