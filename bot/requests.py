"""The requests of people, as values. The command line, Slack and the dispatch workflow are doors of the same ones.

A door makes a request of what somebody typed, has :func:`carry_out` run it, and says in its words what came of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar, Generic, Protocol, TypeVar

from bot.errors import InvalidInput, Refused
from bot.exit_codes import ExitCode

if TYPE_CHECKING:
    from bot.domain.cases import Case
    from bot.operations import Say
    from bot.operations.bisect import Bisected
    from bot.operations.evidence import Found
    from bot.operations.merge import Merged
    from bot.operations.propose import Proposal
    from bot.operations.propose_many import Proposals
    from bot.operations.proposing import Asking
    from bot.operations.quarantine import Quarantine
    from bot.operations.recheck import Rechecked
    from bot.operations.retire import Retired
    from bot.operations.rollback import RolledBack
    from bot.platform import Platform
    from bot.records.ledger import Ledger, RequestDone


@dataclass(frozen=True)
class Actor:
    """The person who asks: a name for people to read, and how GitHub and Slack know this person, where they do."""

    name: str = ""
    github: str = ""
    """A login. Empty at a terminal: there GitHub names whose token it is as the author."""
    slack: str = ""
    """A user's id."""
    is_policy: bool = False
    """Whether it is a policy, and no person."""

    @property
    def shown(self) -> str:
        """The name, with the door where it says more than the name."""
        return f"{self.name} (Slack)" if self.slack else self.name

    @property
    def note(self) -> str:
        """The paragraph of a pull request that says who asked for it; empty where its author does."""
        if not self.slack:
            return ""
        from bot.render.proposal import requested_by

        return requested_by(self.name, self.slack)


class Result(Protocol):
    """What every door needs to know of what came of a request."""

    @property
    def exit_code(self) -> ExitCode:
        """As of the command."""


R = TypeVar("R", bound=Result)


@dataclass(frozen=True, kw_only=True)
class Request(ABC, Generic[R]):
    """What somebody asks for in one environment.

    ``id`` is the person's or the door's own: what is asked for again under the same id is done once.
    """

    verb: ClassVar[str]

    environment: str
    by: Actor
    id: str = ""

    @property
    @abstractmethod
    def asked(self) -> dict[str, str]:
        """The parts that identify it: what makes it another request under the same id."""

    @property
    def recorded(self) -> dict[str, str]:
        """The request as the record store of its environment keeps it under the id."""
        return {"verb": self.verb, **self.asked, **({"by": self.by.slack} if self.by.slack else {})}

    @abstractmethod
    def run(self, platforms: Platforms, say: Say) -> R:
        """Run the operation."""


Platforms = Callable[[str], "Platform"]
"""Returns the platform of an environment, which the door opens and closes; raises what is wrong with its settings."""


@dataclass(frozen=True, kw_only=True)
class Propose(Request["Proposal"]):
    """Propose a registered version."""

    verb = "propose"

    model: str
    version: int
    replace: bool = False
    as_shadow: bool = False
    share: float | None = None
    """Of a shadow: of which share of the requests it gets copies; None: as main says, else of all."""

    @property
    def asked(self) -> dict[str, str]:
        """Which version."""
        version = {"model": self.model, "version": str(self.version)}
        return {**version, "as": "shadow", "share": f"{self.share or ''}"} if self.as_shadow else version

    def run(self, platforms: Platforms, say: Say) -> Proposal:
        """Propose it."""
        from bot.operations.propose import Listener, propose

        return propose(
            platforms(self.environment),
            model=self.model,
            version=self.version,
            say=say,
            listener=Listener(self.share) if self.as_shadow else None,
            asking=_asking(self.by, replace=self.replace),
        )


@dataclass(frozen=True, kw_only=True)
class ProposeMany(Request["Proposals"]):
    """Propose several registered versions in one pull request; without ``versions`` the newest of every model."""

    verb = "propose"

    versions: Mapping[str, int] | None
    replace: bool = False
    dry_run: bool = False

    @property
    def asked(self) -> dict[str, str]:
        """Which versions."""
        if self.versions is None:
            return {"models": "all ready"}
        return {"models": " ".join(f"{model}:{version}" for model, version in sorted(self.versions.items()))}

    def run(self, platforms: Platforms, say: Say) -> Proposals:
        """Propose them."""
        from bot.operations.propose_many import propose_many

        return propose_many(
            platforms(self.environment),
            self.versions,
            say=say,
            dry_run=self.dry_run,
            asking=_asking(self.by, replace=self.replace),
        )


@dataclass(frozen=True, kw_only=True)
class Promote(Request["Proposal | Proposals"]):
    """Propose what another environment serves and has verified; by default the one that the settings name.

    A bundle goes whole: ``model`` is its name, or that of the part that users ask. ``version`` refuses another one
    that is in service there.
    """

    verb = "promote"

    model: str
    source: str = ""
    version: int | None = None
    replace: bool = False
    note: str = ""
    """The paragraph of the pull request that says who asked for it, where that is more than a name."""

    @property
    def asked(self) -> dict[str, str]:
        """What, from where."""
        return {"model": self.model, "source": self.source, "version": str(self.version or "")}

    def run(self, platforms: Platforms, say: Say) -> Proposal | Proposals:
        """Propose it."""
        from bot.operations.promote import promote
        from bot.settings import path_of

        target = platforms(self.environment)
        source = self.source or target.settings.source
        if source is None:
            raise InvalidInput(
                f"{path_of(self.environment)} has no promotes_from",
                key="--from",
                next_step=f"Nothing is promoted to {self.environment}. A registered version goes there by "
                f"`promobot propose {self.model} VERSION --env {self.environment}`.",
            )
        return promote(
            platforms(source),
            target,
            model=self.model,
            version=self.version,
            say=say,
            asking=_asking(self.by, replace=self.replace, note=self.note),
        )


@dataclass(frozen=True, kw_only=True)
class RollBack(Request["RolledBack"]):
    """Go back to a verified version: by a pull request, or ``now``, before it."""

    verb = "rollback"

    model: str
    to: int | None = None
    now: bool = False
    reason: str = ""
    replace: bool = False
    note: str = ""
    """The paragraph of the pull request that says who asked for it, where that is more than a name."""

    @property
    def asked(self) -> dict[str, str]:
        """What goes back, to where, and when."""
        return {"model": self.model, "to": str(self.to or ""), "now": "now" if self.now else ""}

    def run(self, platforms: Platforms, say: Say) -> RolledBack:
        """Go back."""
        from bot.operations.main_branch import main_beside

        platform = platforms(self.environment)
        hurried = platform.settings.deadlines.request_seconds if self.now else None
        with main_beside(platform, within_seconds=hurried) as main:
            # Users wait. While Git fetches, all the rest is imported: the two take longest here.
            from bot.operations.rollback import GoBack, rollback

            ask = GoBack(
                model=self.model,
                to_version=self.to,
                now=self.now,
                reason=self.reason,
                by=self.by.shown or "a person",
                request=self.id,
                asking=_asking(self.by, replace=self.replace, note=self.note),
            )
            return rollback(platform, ask, main, say=say)


@dataclass(frozen=True, kw_only=True)
class Retire(Request["Retired"]):
    """Take a model out of service, by a pull request."""

    verb = "retire"

    model: str
    reason: str
    replace: bool = False

    @property
    def asked(self) -> dict[str, str]:
        """Which model."""
        return {"model": self.model}

    def run(self, platforms: Platforms, say: Say) -> Retired:
        """Propose that it goes."""
        from bot.operations.retire import retire

        return retire(
            platforms(self.environment),
            model=self.model,
            reason=self.reason,
            by=self.by.shown,
            say=say,
            asking=_asking(self.by, replace=self.replace),
        )


@dataclass(frozen=True, kw_only=True)
class Recheck(Request["Rechecked"]):
    """Check what main says already."""

    verb = "recheck"

    model: str

    @property
    def asked(self) -> dict[str, str]:
        """Which model."""
        return {"model": self.model}

    def run(self, platforms: Platforms, say: Say) -> Rechecked:
        """Check it."""
        from bot.operations.recheck import recheck

        return recheck(platforms(self.environment), model=self.model, say=say)


@dataclass(frozen=True, kw_only=True)
class Bisect(Request["Bisected"]):
    """Find the release that began to answer a case wrong. Nothing changes, also where it is asked for again."""

    verb = "bisect"

    case: Case
    every: bool = False
    """Ask every release, not only those that halve what is left."""

    @property
    def asked(self) -> dict[str, str]:
        """Which case of which model."""
        return {"model": self.case.model, "case": self.case.fingerprint, "all": "all" if self.every else ""}

    def run(self, platforms: Platforms, say: Say) -> Bisected:
        """Ask releases."""
        from bot.operations.bisect import bisect

        return bisect(platforms(self.environment), self.case, every=self.every, say=say)


@dataclass(frozen=True, kw_only=True)
class LiftQuarantine(Request["Quarantine"]):
    """Allow one digest again, or everything that a run or a deployment blamed; that also closes its reverts."""

    verb = "quarantine lift"

    digest: str = ""
    """A digest, or its beginning."""
    of: str = ""
    """In place of a digest: a run, as dev-00000012, or a deployment, as dev-00000012-churn."""
    reason: str

    @property
    def asked(self) -> dict[str, str]:
        """The digest, or the run or the deployment."""
        return {"of": self.of} if self.of else {"digest": self.digest}

    def run(self, platforms: Platforms, say: Say) -> Quarantine:  # noqa: ARG002 - it takes no time
        """Lift it."""
        from bot.operations.quarantine import lift, take_back

        platform = platforms(self.environment)
        if self.of:
            return take_back(platform, of=self.of, reason=self.reason, by=self.by.shown)
        return lift(platform, digest=self.digest, reason=self.reason, by=self.by.shown)


@dataclass(frozen=True, kw_only=True)
class RevokeEvidence(Request["Found"]):
    """Take back what the checks found of one version."""

    verb = "evidence revoke"

    model: str
    which: str
    """The version, or the beginning of its digest."""
    reason: str

    @property
    def asked(self) -> dict[str, str]:
        """Of which version."""
        return {"model": self.model, "which": self.which}

    def run(self, platforms: Platforms, say: Say) -> Found:  # noqa: ARG002 - it takes no time
        """Take it back."""
        from bot.operations.evidence import revoke

        platform = platforms(self.environment)
        return revoke(platform, model=self.model, which=self.which, reason=self.reason, by=self.by.shown)


@dataclass(frozen=True, kw_only=True)
class Merge(Request["Merged"]):
    """Merge the pull request at the commit that this person saw; the door says who may."""

    verb = "merge"

    number: int
    head: str

    @property
    def asked(self) -> dict[str, str]:
        """Which commit of which pull request."""
        return {"number": str(self.number), "head": self.head}

    def run(self, platforms: Platforms, say: Say) -> Merged:  # noqa: ARG002 - it takes no time
        """Merge it."""
        from bot.operations.merge import merge

        return merge(platforms(self.environment), number=self.number, head=self.head)


# --- carrying out --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CarriedOut(Generic[R]):
    """What came of a request, now or when it was done before under its id."""

    said: str
    """In the words of the door that did it."""
    exit_code: ExitCode
    result: R | None = None
    before: RequestDone | None = None

    @property
    def is_done(self) -> bool:
        """Whether the same id does nothing more."""
        return self.exit_code in (ExitCode.DONE, ExitCode.UNCONFIRMED)


def carry_out(request: Request[R], platforms: Platforms, *, say: Say, tell: Callable[[R], str]) -> CarriedOut[R]:
    """Do what is asked for; under an id only if it was not done under it before.

    ``tell`` says in the door's words what came of it, before that is recorded. A request that is interrupted in
    between runs again, and tells it again. Raises Refused where the id was used for something else.
    """
    ledger = platforms(request.environment).ledger if request.id else None
    if ledger and (done := _begin(ledger, request)):
        return CarriedOut(done.said, done.exit_code, before=done)
    result = request.run(platforms, say)
    carried = CarriedOut(tell(result), result.exit_code, result)
    if ledger and carried.is_done:
        from bot.records.ledger import RequestDone

        done = RequestDone(said=carried.said, exit_code=carried.exit_code, at=datetime.now(UTC))
        ledger.finish_request(request.id, done)
    return carried


def _begin(ledger: Ledger, request: Request[R]) -> RequestDone | None:
    """Claim the id; return what came of it where it is done already. One that was interrupted is resumed."""
    from bot.records.ledger import RequestAsked

    asked = request.recorded
    known = ledger.ask(request.id, RequestAsked(asked=asked, at=datetime.now(UTC))).asked
    if _meaning(known) != _meaning(asked):
        was = " ".join(value for value in known.values() if value)
        raise Refused(
            f"the request {request.id} was for something else: {was}",
            state="Nothing was changed.",
            next_step="Use an id of its own for each request.",
        )
    return ledger.request_done(request.id)


def _meaning(recorded: Mapping[str, str]) -> dict[str, str]:
    """Return what was asked for, also as earlier versions recorded it: with or without what was left out."""
    given = {name: value for name, value in recorded.items() if value}
    return {**given, "now": "now"} if "now" in given else given


def _asking(by: Actor, *, replace: bool, note: str = "") -> Asking:
    from bot.operations.proposing import Asking
    from bot.records.ledger import Proposer

    return Asking(
        Proposer(slack=by.slack, github=by.github, policy=by.is_policy), replace=replace, note=note or by.note
    )
