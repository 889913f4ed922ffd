"""Publish a damaged version in service again, and repair what else the deep look finds.

The bot never overwrites damaged bytes: it publishes the version under the next fresh name, and loads, proves and
switches to it like any other, with a record of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from bot.domain.asked import InUse
from bot.domain.bundled import together
from bot.domain.contents import look_at
from bot.domain.desired import SECTIONS, Change, Desired, Entry, KnownEntries
from bot.domain.plan import Live, Plan, in_service, serves
from bot.domain.record import known_entries
from bot.domain.release import Slot
from bot.domain.routes import Routed
from bot.errors import PromobotError, Rejected
from bot.operations.deployment.admission import Admission, golden_of, seen_once
from bot.operations.deployment.item import Item
from bot.operations.deployment.publishing import fresh_name
from bot.operations.deployment.rollouts import compares, under_way
from bot.operations.deployment.run import Run
from bot.operations.deployment.unfinished import Unfinished
from bot.operations.inspection import inspect_answers, inspect_share, kept_of, ways_back, wrong_with
from bot.operations.package_rules import refuse_what_is_not_allowed
from bot.render import deployment as words
from bot.share import Described
from bot.systems.triton.config import asked_in


class Restoration:
    """What one run finds wrong with what is in service; ``deep`` looks at everything, else only at what is loaded."""

    def __init__(self, run: Run, in_use: InUse, unfinished: Unfinished, *, deep: bool) -> None:
        self._run, self._in_use, self._unfinished, self._deep = run, in_use, unfinished, deep
        self._table = in_use.table
        self._wrong: dict[Routed, str] = {}
        self.repaired: list[str] = []
        self.problems: list[str] = []
        for what in in_use.everything:
            if what.fills_its_slot and unfinished.publishes_again(what):
                self._wrong[what] = "its repair was cut off"

    def look_at_the_share(self, todo: Plan) -> Plan:
        """Hash what is about to be loaded, or everything; return the plan without what must not be loaded.

        That is what is damaged, and what asks it: Triton loads the parts of an ensemble with it.
        """
        missing = {target for targets in todo.load.values() for target in targets}
        for what in self._in_use.everything:
            if what not in self._wrong and (self._deep or what.target in missing):
                said = self._wrong_on_the_share(what)
                if said:
                    self._found_wrong(what, said)
        damaged = {what.target for what in self._wrong}
        damaged |= self._in_use.asking(damaged)
        load = {
            name: tuple(target for target in targets if target not in damaged) for name, targets in todo.load.items()
        }
        return replace(todo, load=load)

    def look_at_answers(self, live: Live) -> None:
        """Ask every Triton for what is in use and whole on the share."""
        for what in self._in_use.everything if self._deep else ():
            kept = kept_of(self._run.systems.share, what.target)
            if what not in self._wrong and kept is not None:
                golden, _ = golden_of(self._run.ledger, what, kept.smoke)
                limit = self._run.settings.concurrency.servers
                faults = inspect_answers(self._run.systems, what, live, golden, limit=limit)
                wrong = [fault for fault in faults if fault.kind == "answer"]
                if wrong:
                    self._found_wrong(what, f"{wrong[0].where} answered wrong, {wrong[0].said}")
                self.problems += [
                    f"gateway {f.where} answers wrong, though every Triton is right: {f.said}"
                    for f in faults
                    if f not in wrong
                ]

    def _found_wrong(self, what: Routed, said: str) -> None:
        self._wrong[what] = said
        if what.asked_by:
            self.problems.append(_asked_and_wrong(what, said))
        if what.is_compared:
            self.problems.append(_compared_and_wrong(what, said))

    def items(self, changing: list[Change], desired: Desired) -> list[Item]:
        """Return what is to be published again: all that is wrong but what a change replaces anyway.

        With a part of a bundle, all of it: what asks that part must ask it under its new name. Of one model the live
        version comes first, and a canary beside it by the next run.
        """
        replaced = {change.slot for change in changing}
        wrong = {
            what.slot: (what, reason)
            for what, reason in self._wrong.items()
            if what.slot not in replaced and what.fills_its_slot
        }
        known, environment = known_entries(self._run.history), self._table.environment
        changes = [self._again(what, desired, known) for what, _ in wrong.values()]
        served, bundles = in_service(self._table, known), self._run.settings.bundles
        in_place = {what.slot: what for what in self._in_use.everything if what.fills_its_slot}
        found = []
        for change in together(changes, {environment: served}, {environment: bundles}):
            if change.bundle is not None and not change.bundle.is_whole:
                # It was never deployed as a bundle.
                change = replace(change, bundle=None, left=None)
                if change.slot not in wrong:
                    continue
            what = in_place[change.slot]
            item = self._unfinished.item(change, Admission(evidence=seen_once(self._run.ledger, what)))
            item = replace(item, publishes_again=True)
            if change.slot in wrong:
                found.append(replace(item, leaves=what.target, reason=wrong[change.slot][1]))
            else:
                found.append(replace(item, reason="another part of its bundle is published again"))
        taken = replaced | {item.change.slot for item in found}
        canaries = [(what, said) for what, said in self._wrong.items() if what.percent and what.slot not in replaced]
        for what, said in canaries:
            before, again = served.models.get(what.slot.model), self._again(what, desired, known)
            made = self._step_again(what, said, before, again) if what.slot not in taken else None
            if made is None:
                self.problems.append(_canary_and_wrong(what, said))
            else:
                found.append(made)
        return found

    def _step_again(self, what: Routed, said: str, before: Entry | None, again: Change) -> Item | None:
        """Return the step that a damaged canary is at, to be made again by the same bytes under another name.

        None where no record tells which step it is, and of bundles, whose parts ask each other by their names.
        """
        model, run = what.slot.model, self._run
        rollout = under_way(self._table, run.history, model)
        if rollout is None or len(run.settings.parts_with(model)) > 1:
            return None
        item = self._unfinished.item(replace(again, before=before), Admission(evidence=seen_once(run.ledger, what)))
        item = replace(item, rollout=rollout, leaves=what.target, reason=said)
        return replace(item, compares=compares(run, item))

    def _again(self, what: Routed, desired: Desired, known: KnownEntries) -> Change:
        slot = what.slot
        wanted, digest = desired.section(slot.section).get(slot.model), what.target.digest
        served = known.get((slot.model, what.target.version, digest))
        entry = wanted if wanted and wanted.digest == digest else served
        if entry is None:
            entry = Entry(version=what.target.version, digest=digest, run="unknown")
        entry = entry.model_copy(update={"version": what.target.version})
        return Change(slot.environment, slot.section, slot.model, entry, entry)

    def put_the_rest_right(self, desired: Desired) -> None:
        """Bring back damaged ways back, and point MLflow's aliases where they belong."""
        if not self._deep:
            return
        run, table = self._run, self._run.routes()
        backs = ways_back(
            run.ledger.deployments(),
            table,
            versions=run.settings.keep.versions,
            quarantined=run.ledger.quarantined(),
        )
        for back in backs:
            said = wrong_with(run.systems.share, back)
            if said:
                slot, entry = back.slot, Entry.of(back)
                change = Change(slot.environment, slot.section, slot.model, entry, entry)
                with self._tried(_way_back_lost(change, said)):
                    described = self._describe(slot.model, entry, in_service=False)
                    if asked_in(described.config):
                        continue  # it asks parts of its bundle: the way back publishes it with them
                    name = fresh_name(run, change, described, leaves=None)
                    read = run.reader(slot.model, back.version)
                    # That it was in service is known from the record store alone.
                    run.held.models.publish(
                        described.package,
                        read,
                        triton_model=name,
                        version=back.version,
                        look=look_at(described.package),
                    )
                    self.repaired.append(_way_back_published(change, said))
        for section in SECTIONS:
            for model, entry in desired.section(section).items():
                slot = Slot.of(run.settings.environment, model, section)
                if serves(table.target(slot), entry):
                    alias = slot.alias
                    with self._tried(f"MLflow's alias {model}@{alias} was not moved"):
                        if run.registry.alias(model, alias) != entry.version:
                            run.aliases.point(model, alias, entry.version)
                            self.repaired.append(f"moved MLflow's alias {model}@{alias} to {entry.version}")

    def _wrong_on_the_share(self, what: Routed) -> str:
        fault = inspect_share(self._run.systems.share, what)
        if fault is not None and fault.kind == "package" and what.target.digest:
            entry = Entry(version=what.target.version, digest=what.target.digest, run="unknown")
            with self._tried(fault.said):
                self._describe(what.slot.model, entry, in_service=True)
                self.repaired.append(f"kept what proves {what.slot.model} {what.target.version} anew")
                fault = inspect_share(self._run.systems.share, what)
        return fault.said if fault is not None and fault.kind != "package" else ""

    def _describe(self, model: str, entry: Entry, *, in_service: bool) -> Described:
        """Return what is kept of a package; keep it anew, from the registry, where it is gone or damaged.

        Raises NotAllowed where the rules refuse what is not in service.
        """
        run, share = self._run, self._run.systems.share
        try:
            described = share.packages.described(entry.digest)
        except Rejected:
            described = None
        if described is not None:
            return described
        contents = run.registry.contents(run.registry.version(model, entry.version, with_run=False))
        package = contents.package
        if package.digest != entry.digest:
            raise Rejected(f"{model} {entry.version} is {package.digest} now", system="MLflow")
        if not in_service:
            refuse_what_is_not_allowed(
                run.settings, contents, name=f"{model} {entry.version}", state=words.NOTHING_PUBLISHED
            )
        run.held.packages.discard(entry.digest)
        return run.held.packages.keep(package, run.reader(model, entry.version))

    @contextmanager
    def _tried(self, what: str) -> Iterator[None]:
        try:
            yield
        except PromobotError as error:
            self.problems.append(f"{what}; {error}")


def _asked_and_wrong(what: Routed, said: str) -> str:
    """A version is damaged that no route names, so it is not published again by itself."""
    name = f"{what.target.triton_model} {what.target.version}"
    return (
        f"{name} is asked by {what.asked_by}, and no route names it: {said}. "
        f"Neither is loaded where it is missing; {words.asked_again(what.asked_by)}"
    )


def _compared_and_wrong(what: Routed, said: str) -> str:
    """The version before is damaged, with which the one in service is compared; it answers nobody."""
    return (
        f"{what.target.triton_model} {what.target.version} is what {what.slot.model} is compared with: {said}. It is "
        "not loaded where it is missing, so fewer answers are compared"
    )


def _canary_and_wrong(what: Routed, said: str) -> str:
    """A canary is damaged, and is not published again by this run."""
    target, slot = what.target, what.slot
    return (
        f"{target.triton_model} {target.version} answers {what.percent} % of requests for {slot.model}: {said}. It "
        f"is not loaded where it is missing; `promobot rollback {slot.model} --env {slot.environment} --now` ends "
        "its rollout"
    )


def _way_back_lost(change: Change, said: str) -> str:
    """A version that is kept cannot be brought back."""
    version = change.after.version if change.after else 0
    return f"{change.model} {version} is not a way back in {change.environment} ({said})"


def _way_back_published(change: Change, said: str) -> str:
    """A version that is kept was damaged."""
    version = change.after.version if change.after else 0
    return f"published {change.model} {version}, a way back in {change.environment}, again: {said}"
