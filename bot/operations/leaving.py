"""The models that a pull request would take out of service, as far as the records and the gateways say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bot.concurrency import gather
from bot.domain import desired
from bot.domain.desired import Change, Desired
from bot.domain.retirement import Stop, is_removal, stops
from bot.domain.usage import Usage
from bot.errors import InvalidInput, PromobotError
from bot.operations.proposing import desired_at
from bot.platform import Platform
from bot.settings import GatewayEndpoint, path_of
from bot.systems.git import Repository


@dataclass(frozen=True)
class Leaving:
    """A model that would stop answering, and what a gateway knows of its use; ``usage_problem`` where none does."""

    stop: Stop
    usage: Usage | None = None
    usage_problem: str = ""


def what_leaves(
    platforms: Mapping[str, Platform], changes: Iterable[Change], *, with_usage: bool = True
) -> list[Leaving]:
    """Return what these changes would take out of service; ``with_usage`` asks the gateways whether it is in use."""
    removals = [change for change in changes if is_removal(change)]
    found = []
    for name in sorted({change.environment for change in removals}):
        platform = platforms[name]
        of_environment = [change for change in removals if change.environment == name]
        for stop in stops(of_environment, platform.ledger.deployments()):
            found.append(_with_usage(platform, stop) if with_usage else Leaving(stop))
    return found


def desired_before_and_after(
    repository: Repository, environments: Collection[str], path: str, base: str, head: str
) -> tuple[Desired, Desired]:
    """Return what a changed file of ``promotions/`` said at ``base`` and says at ``head``.

    Raises InvalidInput where the head has the file no more, or where nobody knows its environment.
    """
    environment = desired.environment_of(path)
    if environment not in environments or path != desired.path_of(environment):
        raise InvalidInput(_no_desired_state(environments), file=path)
    before, after = (desired_at(repository, environment, commit) for commit in (base, head))
    if after is None:
        if repository.read(head, path_of(environment)) is None and not (before and before.names()):
            after = before or Desired(environment=environment)  # an environment without models may go as a whole
        else:
            elsewhere = [p for p in repository.changed_paths(base, head) if p.endswith(f"/{path}")]
            raise InvalidInput(_file_is_gone(environment, before, elsewhere), file=path)
    return before or Desired(environment=environment), after


def _with_usage(platform: Platform, stop: Stop) -> Leaving:
    problem = ""

    def ask(one: GatewayEndpoint) -> Usage:
        return platform.usage(one, stop.change.model)

    for _, answer in gather(platform.settings.gateways, ask, limit=platform.settings.concurrency.servers):
        if isinstance(answer, Usage):
            return Leaving(stop, answer)
        problem = problem or (str(answer) if isinstance(answer, PromobotError) else "")
    return Leaving(stop, usage_problem=problem)


def _no_desired_state(environments: Iterable[str]) -> str:
    """Return that a file in ``promotions/`` is nothing that the bot reads."""
    known = ", ".join(desired.path_of(name) for name in environments)
    return f"is not the desired state of an environment; those are {known}"


def _file_is_gone(environment: str, before: Desired | None, elsewhere: Sequence[str]) -> str:
    """Return what a pull request does that removes or moves an environment's desired state."""
    served = [f"{name} {entry.version}" for name, entry in sorted((before.models if before else {}).items())]
    listed = ", ".join(served[:10]) + (f" and {len(served) - 10} more" if len(served) > 10 else "")
    moved = f" (it would be {elsewhere[0]}, where nobody reads it)" if elsewhere else ""
    return (
        f"would be gone after the merge{moved}: main would no longer say what {environment} serves "
        f"({listed or 'nothing yet'}), and every deployment, status and rollback of {environment} would be an error. "
        f"Put the file back into this pull request. To take models out of service, keep it and use `retired:`"
    )
