"""Rulesets: https://docs.github.com/rest/repos/rules. Of the rules only the merge queue, and signed commits."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Administrator, Anyone, Body, Found, Paged, found
from bot.sandbox.forge.errors import unprocessable
from bot.sandbox.forge.forge import Forge
from bot.sandbox.forge.repository import DEFAULT_BRANCH
from bot.sandbox.forge.signing import Refs
from bot.sandbox.forge.store import Ruleset

router = APIRouter(prefix="/repos/{owner}/{name}/rulesets")
of_branch = APIRouter(prefix="/repos/{owner}/{name}/rules/branches")


class Conditions(Body):
    ref_name: Refs


class Parameters(Body):
    check_response_timeout_minutes: int
    grouping_strategy: Literal["ALLGREEN", "HEADGREEN"]
    max_entries_to_build: int
    max_entries_to_merge: int
    merge_method: Literal["MERGE", "SQUASH", "REBASE"]
    min_entries_to_merge: int
    min_entries_to_merge_wait_minutes: int


class Rule(Body):
    type: str
    parameters: Parameters | None = None


class Wanted(Body):
    name: str
    enforcement: str
    conditions: Conditions
    rules: tuple[Rule, ...]


@router.get("")
def list_rulesets(repository: Found, _: Anyone, pages: Paged) -> list[Json]:
    return pages.of(repository.store.all(Ruleset), repository.answers.ruleset)


@router.post("", status_code=201)
def create(repository: Found, _: Administrator, wanted: Wanted) -> Json:
    """Turn the merge queue of main on, or ask for signed commits on some branches."""
    types = [rule.type for rule in wanted.rules]
    if wanted.enforcement != "active" or types not in (["merge_queue"], ["required_signatures"]):
        raise unprocessable("The forge keeps one rule in a ruleset: an active merge_queue or required_signatures.")
    refs, [rule] = wanted.conditions.ref_name, wanted.rules
    if rule.type == "merge_queue":
        main = {"~DEFAULT_BRANCH", f"refs/heads/{DEFAULT_BRANCH}"}
        if not set(refs.include) <= main or refs.exclude or rule.parameters is None:
            raise unprocessable("The forge keeps a merge queue for the default branch only.")
        if (rule.parameters.max_entries_to_build, rule.parameters.min_entries_to_merge) != (1, 1):
            raise unprocessable("The forge's merge queue builds and merges one entry at a time.")
    kept = {"id": repository.store.next_id(), "name": wanted.name, "refs": refs, **rule.model_dump()}
    made = Ruleset.model_validate(kept)
    repository.store.put(made)
    return _whole(repository, made)


@of_branch.get("/{branch:path}")
def list_rules(repository: Found, _: Anyone, branch: str) -> list[Json]:
    """The rules that hold for a branch, of whatever ruleset; the branch need not exist."""
    where = {"ruleset_source_type": "Repository", "ruleset_source": repository.repository}
    return [
        {**_rule(rule), **where, "ruleset_id": rule.id}
        for rule in repository.store.all(Ruleset)
        if rule.refs.hold_for(f"refs/heads/{branch}")
    ]


@router.get("/{identifier}")
def get(repository: Found, _: Anyone, identifier: int) -> Json:
    return _whole(repository, found(repository.store.get(Ruleset, identifier)))


@router.delete("/{identifier}", status_code=204)
def delete(repository: Found, _: Administrator, identifier: int) -> Response:
    repository.store.remove(found(repository.store.get(Ruleset, identifier)))
    return Response(status_code=204)


def _rule(rule: Ruleset) -> Json:
    return {"type": rule.type, **({"parameters": rule.parameters} if rule.parameters else {})}


def _whole(forge: Forge, rule: Ruleset) -> Json:
    refs: dict[str, Any] = {name: list(patterns) for name, patterns in rule.refs.model_dump().items()}
    more = {"conditions": {"ref_name": refs}, "rules": [_rule(rule)], "current_user_can_bypass": "never"}
    return {**forge.answers.ruleset(rule), **more}
