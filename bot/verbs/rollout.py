"""The steps of a deployment, each of which can run twice and looks at its turn before it changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING

from bot.domain.desired import Change, Entry
from bot.domain.evidence import Evidence
from bot.domain.journal import Journal, Underway
from bot.domain.message import Message
from bot.domain.names import SHADOW_SUFFIX
from bot.domain.plan import Plan, in_service, serves, target_of, targets, with_target
from bot.domain.record import (
    Criterion,
    CriterionName,
    DeploymentRecord,
    Step,
    known_entries,
    outcome_of,
    undoes,
    verified_entries,
)
from bot.domain.routes import RouteTable, Target
from bot.domain.smoke import SmokeCases, differences
from bot.errors import PromobotError, Rejected, Superseded, Unavailable
from bot.settings import Environment
from bot.systems.gateway import Gateway
from bot.systems.share import Described, Turn
from bot.systems.triton import TritonServer, parse_config, render_config
from bot.verbs import connect
from bot.verbs.connect import Serving
from bot.verbs.ledger import Ledger
from bot.verbs.observe import at_once
from bot.verbs.proposing import Edit, put_proposal, revert_branch
from bot.words import deployment as words
from bot.words import proposal as proposal_words

if TYPE_CHECKING:
    from bot.systems.mlflow import Registry

Say = Callable[[str], None]


@dataclass
class Item:
    """One change on its way into service, and what was seen on the way."""

    change: Change
    id: str
    started_at: datetime
    target: Target | None = None
    described: Described | None = None
    criteria: list[Criterion] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    problem: str = ""
    switched: bool = False
    incomplete: bool = False
    """Whether it is in service as far as gateways answer, and one did not."""
    quarantined: bool = False
    to_blame: bool = False
    """Whether the digest failed, rather than only something around it."""

    def sees(self, name: CriterionName, proof: str, *, holds: bool = True) -> None:
        """Note that a criterion was seen to hold, or not to."""
        self.criteria.append(Criterion(name=name, holds=holds, at=datetime.now(UTC), proof=proof))

    @contextmanager
    def step(self, what: str, criterion: CriterionName) -> Iterator[None]:
        """Time one step; an error in it is this item's problem and ends its way, not that of the others."""
        started = monotonic()
        try:
            yield
        except Superseded:
            raise
        except PromobotError as error:
            self.sees(criterion, str(error), holds=False)
            self.problem = str(error)
        finally:
            self.did(what, started)

    def did(self, what: str, started: float) -> None:
        """Note a step that began at ``started`` on the monotonic clock."""
        self.steps.append(Step(at=datetime.now(UTC), what=what, seconds=round(monotonic() - started, 4)))


class Rollout:
    """One run under one turn."""

    def __init__(
        self,
        settings: Environment,
        systems: Serving,
        ledger: Ledger,
        *,
        turn: Turn,
        commit: str,
        history: list[DeploymentRecord],
        say: Say,
    ) -> None:
        self.settings, self.systems, self.ledger = settings, systems, ledger
        self.turn, self.commit, self.history, self.say = turn, commit, history, say
        text = systems.share.journal()
        self.journal = Journal.model_validate_json(text) if text is not None else None

    @cached_property
    def registry(self) -> Registry:
        """The model registry; opened by the first step that needs it, for its SDK is slow to import."""
        return connect.registry(self.settings)

    # --- before anything is touched ----------------------------------------------------------------------------

    def forbids(self, change: Change) -> str:
        """Say why this change must not be deployed; an empty string where nothing is against it."""
        if change.after is None:
            return ""
        quarantine = self.ledger.quarantined().get(change.after.digest)
        if quarantine is not None:
            return words.held_by_quarantine(quarantine.reason, quarantine.at)
        if self.goes_back(change):
            return ""
        now = datetime.now(UTC)
        for freeze in self.settings.freezes:
            if freeze.start <= now < freeze.end:
                return words.held_by_freeze(freeze.reason, freeze.end)
        evidence = self.ledger.evidence(change.model, change.after.digest, change.section)
        return _why_unproven(evidence, change.after, now)

    def is_quarantined(self, change: Change) -> bool:
        """Whether what this change asks for failed here before."""
        return change.after is not None and change.after.digest in self.ledger.quarantined()

    def goes_back(self, change: Change) -> bool:
        """Whether this change returns to what was verified in service before."""
        return self._verified_by(change) is not None

    def _verified_by(self, change: Change) -> DeploymentRecord | None:
        verified = verified_entries(self.history, model=change.model, section=change.section)
        return next(
            (record for record, entry in verified if change.after and entry.digest == change.after.digest), None
        )

    def item(self, change: Change) -> Item:
        """Begin the deployment of one change, or go on with it under its own name where it was cut off."""
        name = _published_name(change)
        for underway in self._unfinished():
            if underway.is_of(change):
                return Item(change, underway.id, underway.started_at)
        return Item(change, f"{self.settings.environment}-{self.turn.number:08d}-{name}", datetime.now(UTC))

    # --- what was cut off --------------------------------------------------------------------------------------

    def last_verified(self, current: RouteTable) -> RouteTable:
        """Return the routes that are known to be good: those in force, unless a deployment was cut off."""
        return self.journal.verified(current, self.history) if self.journal else current

    def is_astray(self, verified: RouteTable) -> bool:
        """Whether routes are in force that a deployment wrote and nobody proved."""
        return self.journal is not None and self._current().models != verified.models

    def finish_going_back(self) -> list[DeploymentRecord]:
        """Finish a deployment that was cut off while it was being put back; return its records."""
        if self.journal is None or not self.journal.going_back:
            return []
        items = [self._cut_off(underway, self.journal.going_back, to_blame=True) for underway in self._unfinished()]
        self.put_back(items, self.last_verified(self._current()))
        records = self.conclude(items)
        self.close_journal()
        self.journal = None
        return records

    def abandoned(self, items: list[Item]) -> list[Item]:
        """Return what was cut off and is not gone on with, for main asks for something else by now."""
        going_on = {item.id for item in items}
        return [
            self._cut_off(underway, words.CUT_OFF, to_blame=False)
            for underway in self._unfinished()
            if underway.id not in going_on
        ]

    def _cut_off(self, underway: Underway, problem: str, *, to_blame: bool) -> Item:
        change = Change(self.settings.environment, underway.section, underway.model, underway.before, underway.after)
        return Item(change, underway.id, underway.started_at, problem=problem, switched=to_blame, to_blame=to_blame)

    def open_journal(self, items: list[Item], before: RouteTable) -> None:
        """Write what is about to be done, before any of it is done."""
        items = [*items, *self.abandoned(items)]
        if items:
            self._write_journal(items, before)

    def close_journal(self) -> None:
        """Forget what was done: it is recorded."""
        if self.systems.share.journal() is not None:
            self.turn.check()
            self.systems.share.close_journal()

    def _write_journal(self, items: list[Item], before: RouteTable, *, going_back: str = "") -> None:
        underway = tuple(
            Underway(
                id=item.id,
                section=item.change.section,
                model=item.change.model,
                before=item.change.before,
                after=item.change.after,
                started_at=item.started_at,
            )
            for item in items
        )
        journal = Journal(turn=self.turn.number, before=before.to_json(), underway=underway, going_back=going_back)
        self.turn.check()
        self.systems.share.write_journal(journal.model_dump_json(indent=1) + "\n")

    def _unfinished(self) -> list[Underway]:
        recorded = {record.id for record in self.history}
        return [item for item in self.journal.underway if item.id not in recorded] if self.journal else []

    def _current(self) -> RouteTable:
        return self.systems.share.routes(self.settings.environment)

    # -----------------------------------------------------------------------------------------------------------

    def repair(self, todo: Plan, table: RouteTable, *, verified: RouteTable) -> tuple[list[str], list[str]]:
        """Bring back what the routes in force need: a Triton that restarted empty, a gateway that missed a reload.

        Returns what was repaired, and what could not be.
        """
        repaired: list[str] = []
        problems = [words.silent(name, why) for name, why in todo.silent.items()]
        for triton in self.systems.tritons:
            for target in todo.load.get(triton.name, ()):
                self.turn.check()
                try:
                    self._load_on(target, triton)
                    repaired.append(words.loaded_again(target, triton.name))
                except Superseded:
                    raise
                except PromobotError as error:
                    problems.append(str(error))
        for gateway in self.systems.gateways:
            # Routes that nobody proved are not spread further; the switch, or going back, reloads every gateway.
            if gateway.name in todo.reload and not self.is_astray(verified):
                try:
                    gateway.reload(table.generation, timeout_seconds=self.settings.deadlines.reload_seconds)
                    repaired.append(words.reloaded_again(gateway.name, table.generation))
                except PromobotError as error:
                    problems.append(str(error))
        for line in (*repaired, *problems):
            self.say(line)
        return repaired, problems

    def see_that_gateways_answer(self, items: list[Item], todo: Plan) -> list[Item]:
        """Return the items that can go on: nothing new goes out past a gateway that does not answer."""
        away = {gateway.name: why for gateway in self.systems.gateways if (why := todo.silent.get(gateway.name))}
        for item in items if away else ():
            if not self.goes_back(item.change):
                item.problem = "; ".join(words.silent(name, why) for name, why in away.items())
                item.sees("fastapi_reloaded", item.problem, holds=False)
        return [item for item in items if not item.problem]

    # --- steps before the switch -------------------------------------------------------------------------------

    def publish(self, items: list[Item]) -> list[Item]:
        """Bring each package onto the share, every byte hashed; return the items that can go on."""
        for item in items:
            if item.change.after is None:
                item.sees("registered_in_mlflow", words.NOTHING_TO_SERVE)
                item.sees("ready", words.NOTHING_TO_SERVE)
                continue
            self.say(words.publishing(item.change))
            with item.step("publish", "registered_in_mlflow"):
                self._publish(item, item.change.after)
        return [item for item in items if not item.problem]

    def _publish(self, item: Item, entry: Entry) -> None:
        share, model = self.systems.share, item.change.model
        described, verified = share.described(entry.digest), self._verified_by(item.change)

        def read(path: str) -> Iterator[bytes]:
            return self.registry.stream(self.registry.version(model, entry.version), path)

        if described is not None and verified is not None:
            # Going back needs nobody's leave and no registry: what the share keeps of the package is hashed again.
            item.sees("registered_in_mlflow", words.verified_before(verified))
            item.sees("ready", words.verified_before(verified))
            package = described.package
        else:
            registered = self.registry.version(model, entry.version)
            if registered.status != "READY":
                raise Rejected(words.not_ready(model, registered.version, registered.status), system="MLflow")
            package = self.registry.package(registered)
            item.sees("registered_in_mlflow", f"version {registered.version}, run {registered.run}")
            item.sees("ready", "status READY")
        if package.digest != entry.digest:
            item.to_blame = True
            raise Rejected(
                f"{model} {entry.version} is {package.digest} now, but {entry.digest} was merged",
                system="MLflow",
                next_step="The artifacts changed after the proposal: register the model again and propose that.",
            )
        self.turn.check()
        item.described = share.describe(package, read)
        name = self._triton_model(item.change, item.described)
        self.turn.check()
        share.publish(package, read, triton_model=name, version=entry.version)
        item.target = Target(triton_model=name, version=entry.version, digest=entry.digest)

    def _triton_model(self, change: Change, described: Described) -> str:
        """Return the name under which Triton serves this version.

        All versions under one name share one configuration, and changing it would reload those that answer now: a
        version that brings another configuration gets a name of its own.
        """
        name = _published_name(change)
        there, wanted = self.systems.share.config(name), parse_config(described.config).fingerprint
        if there is None or parse_config(there).fingerprint == wanted:
            return name
        return f"{name}.{wanted[:8]}"

    def load(self, items: list[Item], before: RouteTable) -> list[Item]:
        """Load each version beside the one in service, on every Triton; return the items that can go on."""
        for item in items:
            if item.target is None:
                item.sees("triton_loaded", words.NOTHING_TO_SERVE)
                continue
            self.say(words.loading(item.target, self.systems.tritons))
            with item.step("load", "triton_loaded"):
                self.turn.check()
                self._name_versions(item, {item.target.version, *_versions_needed(before, item.target.triton_model)})
                for _, answer in at_once(self.systems.tritons, partial(self._load_on, item.target)):
                    if isinstance(answer, PromobotError):
                        item.to_blame = isinstance(answer, Rejected)
                        raise answer
                item.sees("triton_loaded", words.ready_on(item.target, self.systems.tritons))
        return self._those_that_go_on(items, before)

    def prove(self, items: list[Item], before: RouteTable) -> list[Item]:
        """Send the golden requests to exactly this version on every Triton; return the items that can go on."""
        for item in items:
            if item.target is None or item.described is None:
                item.sees("smoke_passed", words.NOTHING_TO_SERVE)
                continue
            smoke = item.described.smoke
            with item.step("golden requests", "smoke_passed"):
                for triton, answer in at_once(self.systems.tritons, partial(_wrong_on_triton, item.target, smoke)):
                    if isinstance(answer, PromobotError):
                        raise answer
                    if answer:
                        item.to_blame = True
                        raise Rejected("; ".join(answer[:3]), system=f"Triton {triton.name}")
                item.sees("smoke_passed", words.golden_answers(len(smoke.cases), self.systems.tritons))
        return self._those_that_go_on(items, before)

    def _load_on(self, target: Target, triton: TritonServer) -> None:
        seconds = self.settings.deadlines.load_seconds
        triton.load(target.triton_model, timeout_seconds=seconds)
        # Triton's "200" to a load proves nothing: the index must name this very version READY.
        for state in triton.wait_ready([(target.triton_model, target.version)], timeout_seconds=seconds):
            said = f"{state.model} {state.version} is {state.state} after the load {state.reason}".strip()
            raise Rejected(said, system=f"Triton {triton.name}")

    def _name_versions(self, item: Item, versions: set[int]) -> None:
        if item.described is not None and item.target is not None:
            config = render_config(item.described.config, versions=versions)
            self.systems.share.write_config(item.target.triton_model, config)

    def _those_that_go_on(self, items: list[Item], before: RouteTable) -> list[Item]:
        for item in items:
            if item.problem:
                self._withdraw(item, before)
        return [item for item in items if not item.problem]

    def _withdraw(self, item: Item, before: RouteTable) -> None:
        """Take a version that does not go into service off every Triton; those in service stay as they are."""
        if item.target is None:
            return
        name = item.target.triton_model
        needed = _versions_needed(before, name)
        self.turn.check()
        if needed:
            self._name_versions(item, needed)

        def withdraw(triton: TritonServer) -> None:
            if needed:
                triton.load(name, timeout_seconds=self.settings.deadlines.load_seconds)
            else:
                triton.unload(name)

        for triton, answer in at_once(self.systems.tritons, withdraw):
            if isinstance(answer, PromobotError):
                # Nobody is routed to it. Say it; the next load under this name narrows it.
                self.say(words.could_not_withdraw(name, triton.name, answer))

    # --- the switch --------------------------------------------------------------------------------------------

    def switch(self, items: list[Item], before: RouteTable) -> bool:
        """Write the routes, reload every gateway, and ask through each; say whether all of it held."""
        models = dict(before.models)
        for item in items:
            route = models.get(item.change.model, before.route(item.change.model))
            models[item.change.model] = with_target(route, item.change.section, item.target)
        after = self._current().following(models)
        self.turn.check()
        started = monotonic()
        self.say(words.switching(self.settings.environment, after.generation))
        unanswered: list[str] = []
        problems: list[str] = []
        try:
            self.systems.share.write_routes(after)
        except PromobotError as error:
            # It may have been written all the same; going back writes the next generation either way.
            problems.append(str(error))
        else:
            for gateway, answer in at_once(self.systems.gateways, partial(self._switch_gateway, after, items)):
                if isinstance(answer, Unavailable):
                    unanswered.append(str(answer))
                elif answer:
                    problems.append(f"gateway {gateway.name}: {answer}")
        if not all(self.goes_back(item.change) for item in items):
            problems, unanswered = problems + unanswered, []
        for item in items:
            item.switched = True
            item.did(f"switch to generation {after.generation}", started)
            if problems:
                item.to_blame, item.problem = True, "; ".join(problems)
                item.sees("fastapi_reloaded", item.problem, holds=False)
            elif unanswered:
                # The way back is not kept closed by a gateway that is away: what it serves when it comes up is in
                # routes.json. But nobody calls this done.
                item.incomplete, item.problem = True, "; ".join(unanswered)
                item.sees("fastapi_reloaded", item.problem, holds=False)
            else:
                item.sees("fastapi_reloaded", words.serves_generation(after.generation, self.systems.gateways))
        return not problems

    def _switch_gateway(self, table: RouteTable, items: list[Item], gateway: Gateway) -> str:
        """Reload one gateway and ask through it; return what is wrong, or an empty string."""
        there = gateway.reload(table.generation, timeout_seconds=self.settings.deadlines.reload_seconds)
        if (there.generation, there.models) != (table.generation, table.models):
            return f"serves generation {there.generation} after the reload"
        wrong = (_wrong_through_gateway(item, gateway) for item in items)
        return next((said for said in wrong if said), "")

    def put_back(self, items: list[Item], before: RouteTable) -> None:
        """Route to what was in service before, on every gateway, and take the new versions off again."""
        if items:
            self._write_journal(items, before, going_back=items[0].problem)
        self.turn.check()
        started = monotonic()
        # The generation only rises, so going back is a new table with the old routes.
        table = self._current().following(before.models)
        self.say(words.putting_back(self.settings.environment, table.generation))
        self.systems.share.write_routes(table)
        astray: list[str] = []
        for gateway, answer in at_once(self.systems.gateways, partial(self._bring_back, table)):
            if answer:
                astray.append(words.not_known_to_be_back(gateway.name, str(answer)))
        # What still runs under the routes that were put back may finish before its version is taken off.
        seconds = self.settings.deadlines.request_seconds
        at_once(self.systems.gateways, lambda gateway: gateway.wait_drained(timeout_seconds=seconds))
        for item in items:
            item.did(f"put back by generation {table.generation}", started)
            item.problem = "; ".join([item.problem, *astray])
            self._withdraw(item, before)

    def _bring_back(self, table: RouteTable, gateway: Gateway) -> str:
        try:
            there = gateway.reload(table.generation, timeout_seconds=self.settings.deadlines.reload_seconds)
        except PromobotError:
            # One that refused to switch refuses to switch back, and serves the old routes all along: look.
            there = gateway.routes()
        return "" if there.models == table.models else f"it serves generation {there.generation}"

    # --- afterwards --------------------------------------------------------------------------------------------

    def conclude(self, items: list[Item]) -> list[DeploymentRecord]:
        """Alias, quarantine, the revert, Slack and the record, in this order: the record tells of all of them."""
        current = self._current()
        return [self._conclude(item, current) for item in items]

    def _conclude(self, item: Item, current: RouteTable) -> DeploymentRecord:
        change, revert_url = item.change, ""
        if serves(target_of(current.route(change.model), change.section), change.after):
            self._point_alias(change)
            if change.before is not None and undoes(self.history, change):
                self._quarantine(change, change.before, words.was_rolled_back(change))
        elif item.to_blame and change.after is not None and not self.goes_back(change):
            self._quarantine(change, change.after, item.problem)
            item.quarantined = True
            revert_url = self.make_git_follow(change)
        announced = self._record(item, current, delivered=True)
        message = words.message(announced, revert_url=revert_url)
        try:
            item.sees("slack_delivered", f"read back, ts {connect.slack(self.settings).deliver(message)}")
        except PromobotError as error:
            self.systems.share.put_in_outbox(item.id, message.to_json())
            item.sees("slack_delivered", f"in the outbox: {error}", holds=False)
        record = self._record(item, current, delivered=False)
        self.ledger.add_deployment(record)
        self.say(words.concluded(record, revert_url=revert_url))
        return record

    def _record(self, item: Item, current: RouteTable, *, delivered: bool) -> DeploymentRecord:
        criteria = list(item.criteria)
        if delivered:
            # As the message must say it: if it is read at all, it was delivered.
            criteria.append(Criterion(name="slack_delivered", holds=True, at=datetime.now(UTC), proof="this message"))
        known = known_entries(self.history) | {e.digest: e for e in (item.change.before, item.change.after) if e}
        return DeploymentRecord(
            id=item.id,
            environment=self.settings.environment,
            section=item.change.section,
            model=item.change.model,
            before=item.change.before,
            after=item.change.after,
            commit=self.commit,
            started_at=item.started_at,
            finished_at=datetime.now(UTC),
            outcome="incomplete" if item.incomplete else outcome_of(criteria, switched=item.switched),
            in_service=in_service(current, known),
            criteria=tuple(criteria),
            steps=tuple(item.steps),
            problem=item.problem,
            quarantined=item.quarantined,
        )

    def make_git_follow(self, change: Change) -> str:
        """Open the revert pull request for a change that is not in service, or find it; return its address."""
        verified = verified_entries(self.history, model=change.model, section=change.section)
        back = change.before or next((entry for _, entry in verified), None)
        try:
            with connect.repository(self.settings) as repository:
                proposed = put_proposal(
                    self.settings,
                    repository,
                    connect.github(self.settings),
                    edits=[Edit(change.section, change.model, back)],
                    branch=revert_branch(self.settings.environment, change.model),
                    title=proposal_words.revert_title(change, back),
                    body=proposal_words.revert_body(change, back, reason=self._reason(change)),
                )
        except PromobotError as error:
            # What users get is right already; the next run tries again to make Git say so, too.
            self.say(words.could_not_revert(change, error))
            return ""
        return proposed.pull_request.url if proposed else ""

    def _reason(self, change: Change) -> str:
        event = self.ledger.quarantined().get(change.after.digest) if change.after else None
        return event.reason if event else ""

    def _quarantine(self, change: Change, entry: Entry, reason: str) -> None:
        self.ledger.put_in_quarantine(
            model=change.model, version=entry.version, digest=entry.digest, reason=reason, by="promobot deploy"
        )

    def _point_alias(self, change: Change) -> None:
        alias = self.settings.environment + (SHADOW_SUFFIX if change.section == "shadow" else "")
        version = change.after.version if change.after else None
        try:
            self.registry.set_alias(change.model, alias, version)
        except PromobotError as error:
            # The alias is a projection of Git for people who look at MLflow; it decides nothing.
            self.say(words.could_not_alias(alias, error))

    def flush_outbox(self) -> None:
        """Deliver what Slack did not take before; what it still does not take stays."""
        for name, text in self.systems.share.outbox().items():
            try:
                connect.slack(self.settings).deliver(Message.from_json(text))
            except PromobotError as error:
                self.say(words.still_undelivered(name, error))
                return
            self.ledger.confirm(name)
            self.systems.share.drop_from_outbox(name)
            self.say(words.delivered_late(name))


def _published_name(change: Change) -> str:
    return change.model + (SHADOW_SUFFIX if change.section == "shadow" else "")


def _versions_needed(table: RouteTable, triton_model: str) -> set[int]:
    return {target.version for target in targets(table) if target.triton_model == triton_model}


def _why_unproven(evidence: Evidence | None, entry: Entry, now: datetime) -> str:
    if evidence is None:
        return words.no_evidence(entry)
    if not evidence.passed:
        return words.failed_evidence(evidence)
    return words.expired_evidence(evidence) if evidence.expires <= now else ""


def _wrong_on_triton(target: Target, smoke: SmokeCases, triton: TritonServer) -> list[str]:
    wrong: list[str] = []
    for case in smoke.cases:
        outputs = [tensor.name for tensor in case.outputs]
        answer = triton.infer(target.triton_model, target.version, case.inputs, outputs=outputs)
        wrong += [f"{case.name}: {said}" for said in differences(case, answer, smoke.tolerance)]
    return wrong


def _wrong_through_gateway(item: Item, gateway: Gateway) -> str:
    if item.target is None or item.described is None or item.change.section == "shadow":
        return ""
    for case in item.described.smoke.cases:
        outputs = [tensor.name for tensor in case.outputs]
        version, answer = gateway.infer(item.change.model, case.inputs, outputs=outputs)
        if version != str(item.target.version):
            return f"version {version} answered instead of {item.target.version}"
        if wrong := differences(case, answer, item.described.smoke.tolerance):
            return f"{case.name}: {wrong[0]}"
    return ""
