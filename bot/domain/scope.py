"""The changes that a branch of the bot may make: the proposed entry, as the bot writes it, and nothing beside it.

A branch of another name is a person's, and may change what its reviewers accept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from bot.domain import desired
from bot.domain.desired import SECTIONS, Change, Desired, Section
from bot.domain.names import ENVIRONMENT_NAME, SHADOW_SUFFIX
from bot.domain.release import Slot

Kind = Literal["proposal", "way back", "retirement"]
PREFIXES: Mapping[str, Kind] = {
    "promobot": "proposal",
    "promobot-many": "proposal",
    "promobot-revert": "way back",
    "promobot-retire": "retirement",
}
_MANY = "promobot-many"
_BRANCH = re.compile(rf"({'|'.join(PREFIXES)})/({ENVIRONMENT_NAME.pattern})/(.*)", re.DOTALL)


def proposal_branch(environment: str, model: str) -> str:
    """Return the branch of the one open proposal for a model in an environment."""
    return f"promobot/{environment}/{model}"


def many_branch(environment: str, models: Iterable[str]) -> str:
    """Return the branch of the one open proposal for these models together: the same ones, the same branch."""
    told_apart = hashlib.sha256("\n".join(sorted(models)).encode()).hexdigest()[:12]
    return f"{_MANY}/{environment}/{told_apart}"


def revert_branch(slot: Slot) -> str:
    """Return the branch of the one open way back for what is in a slot.

    The way back of a model's shadow is another change, which must not take the place of the model's own.
    """
    return f"promobot-revert/{slot.environment}/{slot.published_name}"


def retire_branch(environment: str, model: str) -> str:
    """Return the branch of the one open pull request that takes a model out of service in an environment."""
    return f"promobot-retire/{environment}/{model}"


@dataclass(frozen=True)
class Scope:
    """What one branch is about: ``sections`` are those that it may change of its model.

    One that ``is_many`` is about several models, which its name does not tell.
    """

    environment: str
    model: str
    sections: tuple[Section, ...]
    kind: Kind
    is_many: bool = False

    def covers(self, model: str) -> bool:
        """Whether it may change what this model has."""
        return self.is_many or model == self.model

    @property
    def file(self) -> str:
        """The one file that it may change."""
        return desired.path_of(self.environment)


def scope_of(branch: str) -> Scope | None:
    """Return what a branch may change; None where its name is not one that the bot gives."""
    found = _BRANCH.fullmatch(branch)
    if found is None:
        return None
    prefix, environment, name = found.groups()
    match PREFIXES[prefix]:
        case "proposal":
            many = prefix == _MANY
            return Scope(environment, "" if many else name, SECTIONS, "proposal", is_many=many)
        case "retirement":
            return Scope(environment, name, ("models",), "retirement")
        case "way back":
            model = name.removesuffix(SHADOW_SUFFIX)
            return Scope(environment, model, ("models",) if model == name else ("shadow",), "way back")


def asks_for_release(branch: str, environment: str) -> bool:
    """Whether a branch of this name is the bot's and asks for releases there: a proposal, or a way back."""
    scope = scope_of(branch)
    return scope is not None and scope.environment == environment and scope.kind != "retirement"


def scope_behind(branch: str) -> Scope | None:
    """Return the scope of a branch of the bot; of GitHub's own revert of one, that of what it takes back.

    What such a revert takes back is changed the other way round, so its kind is a way back.
    """
    name = re.sub(r"^revert-[0-9]+-", "", branch)
    scope = scope_of(name)
    return replace(scope, kind="way back") if scope is not None and name != branch else scope


def asks_for(branch: str, slot: Slot) -> bool:
    """Whether a branch of this name may change the entry: one of the bot's, or GitHub's revert of one."""
    scope = scope_behind(branch)
    return (
        scope is not None
        and scope.environment == slot.environment
        and scope.covers(slot.model)
        and slot.section in scope.sections
    )


def beside(
    scope: Scope, paths: Iterable[str], before: str | None, after: str | None, parts: Collection[str] = ()
) -> list[str]:
    """Return what a branch changes besides its entry, in words; empty where it does what the bot does.

    ``parts`` are models that go with its own: those of its bundle.

    ``before`` and ``after`` are the texts of its file, None where there is none. They are compared to the byte: a
    comment or a blank line that was not proposed is named, too. Raises InvalidInput where one has a mistake.
    """
    found = [path for path in paths if path != scope.file]
    old, new = (_parsed(text, scope) for text in (before, after))
    differing = desired.changes(old, new)
    proposed = [change for change in differing if _is_proposed(change, scope, differing, parts)]
    found += [f"{c.section}.{c.model} in {scope.file}" for c in differing if c not in proposed]
    if len(proposed) == len(differing):
        text = before or f"environment: {scope.environment}\n"
        for change in proposed:
            text = _edited(text, scope.file, change)
        if after != (text if proposed else before):
            found.append(f"lines of {scope.file} besides the entry")
    return found


def _parsed(text: str | None, scope: Scope) -> Desired:
    if text is None:
        return Desired(environment=scope.environment)
    return desired.parse(text, file=scope.file, environment=scope.environment)


def _edited(text: str, file: str, change: Change) -> str:
    if change.after is None and change.retired:
        return desired.with_retirement(text, file=file, model=change.model, reason=change.retired)
    return desired.with_entry(text, file=file, section=change.section, model=change.model, entry=change.after)


def _is_proposed(change: Change, scope: Scope, differing: Iterable[Change], parts: Collection[str]) -> bool:
    """Say whether a change is one that the bot makes on this branch.

    A proposal sets one entry; where a shadow comes to answer, it is taken out of the shadow path as well. A
    retirement removes the entry and says why.
    """
    if not (scope.covers(change.model) or change.model in parts) or change.section not in scope.sections:
        return False
    if scope.kind == "way back":
        return True
    if scope.kind == "retirement":
        return change.after is None and bool(change.retired)
    sets = [one for one in differing if one.model == change.model and one.after is not None]
    if len(sets) != 1:
        return False
    answers = sets[0].after if sets[0].section == "models" else None
    takes_over = answers is not None and change.before is not None and change.before.digest == answers.digest
    return change == sets[0] or (change.section == "shadow" and change.after is None and takes_over)


def fingerprint(changes: Iterable[Change]) -> str:
    """Return what tells one proposal from every other: what it makes main say, whatever main says before."""
    said = sorted(
        json.dumps(
            [c.environment, c.section, c.model, c.after.model_dump() if c.after else c.retired], sort_keys=True
        )
        for c in changes
    )
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:32]
