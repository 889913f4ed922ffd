"""Bringing packages onto the share, and under which name Triton finds them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from bot.concurrency import lazy
from bot.domain.bundled import place_of
from bot.domain.contents import look_at
from bot.domain.desired import Change, Entry
from bot.domain.plan import Named
from bot.domain.record import DeploymentRecord
from bot.domain.routes import Target
from bot.errors import OtherBytes, Rejected
from bot.operations.deployment.item import Item, take_step, with_changed
from bot.operations.deployment.run import Run
from bot.operations.package_rules import refuse_what_is_not_allowed
from bot.operations.progress import progress
from bot.render import deployment as words
from bot.share import Described
from bot.systems.triton.config import parse_config, placed_config

SMALL_BYTES = 64 * 2**20
"""Packages up to this size are published side by side."""


def publish(run: Run, items: list[Item]) -> list[Item]:
    """Bring each package onto the share, every byte hashed; of a bundle the parts in their order.

    What asks other parts is published with their names and versions in its configuration.
    """
    named = lazy(run.named)

    def publish_one(item: Item, parts: Mapping[str, Target]) -> Item:
        if item.change.after is None:
            seen = item.seeing("registered_in_mlflow", words.NOTHING_TO_SERVE)
            return seen.seeing("ready", words.NOTHING_TO_SERVE)
        way = partial(_publish, run, entry=item.change.after, named=named, parts=parts)
        return take_step(item, "publish", "registered_in_mlflow", way)

    def publish_together(group: list[Item]) -> list[Item]:
        done: list[Item] = []
        for item in group:
            if any(not before.may_go_on for before in done):
                done.append(item)  # it ends with the part that failed
            else:
                parts = {before.change.model: before.target for before in done if before.target}
                done.append(publish_one(item, parts if item.change.bundle else _parts_as_before(run, item)))
        return done

    def begin(group: list[Item]) -> None:
        for item in group:
            if item.change.after is not None:
                run.say(f"{words.describe(item.change)}: publishing to the model repository")

    return with_changed(items, itertools.chain(*run.map(_together(items), publish_together, first=begin)))


def _parts_as_before(run: Run, item: Item) -> Mapping[str, Target]:
    """Return the parts that a damaged version goes on asking, where the settings took its bundle apart."""
    serving = run.in_use(run.routes()).everything if item.leaves else []
    return next((what.parts for what in serving if what.target == item.leaves and what.asks), {})


def _together(items: list[Item]) -> list[list[Item]]:
    """Return the items, those of one bundle together; they come in the order of its parts."""
    groups: dict[object, list[Item]] = {}
    for item in items:
        groups.setdefault(place_of(item.change) or item.id, []).append(item)
    return list(groups.values())


def _publish(
    run: Run, item: Item, *, entry: Entry, named: Callable[[], Named], parts: Mapping[str, Target]
) -> Iterator[Item]:
    share, model = run.systems.share, item.change.model
    described, verified = share.packages.described(entry.digest), run.verified_by(item.change)

    read, look, contents = run.reader(model, entry.version), None, None
    if described is not None and verified is not None:
        # Going back needs nobody's leave and no registry: what the share keeps of the package is hashed again.
        item = item.seeing("registered_in_mlflow", _verified_before(verified))
        item = item.seeing("ready", _verified_before(verified))
        package = described.package
    else:
        registered = run.registered(model, entry.version)
        if registered.status != "READY":
            raise Rejected(f"{model} {registered.version} is {registered.status}, not READY", system="MLflow")
        contents = run.registry.contents(registered)
        package = contents.package
        item = item.seeing("registered_in_mlflow", f"version {registered.version}, run {registered.run}")
        item = item.seeing("ready", "status READY")
    yield item
    if package.digest != entry.digest:
        raise OtherBytes(
            f"{model} {entry.version} is {package.digest} now, but {entry.digest} was merged",
            system="MLflow",
            next_step="The artifacts changed after the proposal: register the model again and propose that.",
        )
    if item.leaves is None:
        # Green evidence and verified records are only as good as the record store, so new packages are judged before
        # they come onto the share. Packages that the share keeps were judged when they came, and the rollback stays
        # open. The same holds for targets of the routes: these are the share's own word.
        look = look_at(package)
        if contents is not None:
            refuse_what_is_not_allowed(
                run.settings, contents, name=f"{model} {entry.version}", state=words.NOTHING_PUBLISHED
            )
    described = run.held.packages.keep(package, read)
    config = as_published(described, item.change, parts)
    name = fresh_name(run, item.change, described, leaves=item.leaves, named=named, config=config)
    large = package.size > SMALL_BYTES
    # A large one takes all that a network and a disk give, and its buffers are not wanted four times.
    with run.alone if large else nullcontext(), progress(sum(f.size for f in package.version_files)) as moved:
        run.held.models.publish(package, read, triton_model=name, version=entry.version, moved=moved, look=look)
    target = Target(triton_model=name, version=entry.version, digest=entry.digest)
    yield replace(item, described=described, target=target, config=config)


def as_published(described: Described, change: Change, parts: Mapping[str, Target]) -> str:
    """Return the configuration with the names and versions of the parts that it asks; raise Rejected without one."""
    try:
        return placed_config(described.config, change.after.version if change.after else 0, parts)
    except ValueError as error:
        raise Rejected(f"{words.describe(change)}: {error}", system="model repository") from error


def fresh_name(
    run: Run,
    change: Change,
    described: Described,
    *,
    leaves: Target | None,
    named: Callable[[], Named] | None = None,
    config: str | None = None,
) -> str:
    """Return the name under which Triton serves this version: the first that has its configuration, and room.

    All versions under one name share one configuration, and changing it would reload those that answer now. So a
    version that brings another configuration gets a name of its own. So does a version whose number already holds
    other bytes: the bot never overwrites those, because a reader on NFS may still see them. A damaged version in
    service (``leaves``) gets the next name after its own, which nobody has looked up. The bot loads nothing beside a
    damaged version that answers, or that is asked: Triton would read the damaged one again. ``named`` returns what is
    in use now, and ``config`` is its configuration as it is published.
    """
    named = named or lazy(run.named)
    share, version = run.systems.share, change.after.version if change.after else 0
    config = as_published(described, change, {}) if config is None else config
    wanted, passed = parse_config(config).fingerprint, leaves is None
    for name in _names(change.slot.published_name, wanted):
        if passed and _fits(share.models.config(name), wanted):
            wrong = version in share.models.versions(name) and share.models.wrong_bytes(
                described.package, triton_model=name, version=version
            )
            if not wrong and not _has_damaged(run, named(), name, but=version):
                return name
        passed = passed or (leaves is not None and name == leaves.triton_model)
    raise AssertionError("the names never end")


def _names(base: str, fingerprint: str) -> Iterator[str]:
    own = f"{base}.{fingerprint[:8]}"
    yield from (base, own)
    yield from (f"{own}-{number}" for number in itertools.count(2))


def _fits(config: str | None, fingerprint: str) -> bool:
    try:
        return config is None or parse_config(config).fingerprint == fingerprint
    except ValueError:
        return False  # somebody wrote into it


def _has_damaged(run: Run, named: Named, name: str, *, but: int) -> bool:
    """Whether a version in use under this name does not hold on the share what it should."""
    others = [target for target in named.get(name, ()) if target.version != but]
    return any(not is_whole(run, target) for target in others)


def is_whole(run: Run, target: Target) -> bool:
    """Whether a version in use holds on the share what it should, as far as that is known."""
    share = run.systems.share
    try:
        described = share.packages.described(target.digest)
    except Rejected:
        return False
    return not described or not share.models.wrong_bytes(
        described.package, triton_model=target.triton_model, version=target.version
    )


def _verified_before(record: DeploymentRecord) -> str:
    """Proof for a version that was in service before."""
    return f"as verified in {record.id}; its bytes were hashed again"
