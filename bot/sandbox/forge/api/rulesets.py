"""Rulesets: https://docs.github.com/rest/repos/rules. Of the rules only the merge queue."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Administrator, Anyone, Body, Paged, Repository
from bot.sandbox.forge.errors import not_found, unprocessable
from bot.sandbox.forge.forge import DEFAULT_BRANCH, Forge
from bot.sandbox.forge.store import MergeQueueRule, now

router = APIRouter(prefix="/repos/{owner}/{name}/rulesets")
of_branch = APIRouter(prefix="/repos/{owner}/{name}/rules/branches")


class RefNames(Body):
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class Conditions(Body):
    ref_name: RefNames


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
    parameters: Parameters


class Wanted(Body):
    name: str
    target: str = "branch"
    enforcement: str
    conditions: Conditions
    rules: tuple[Rule, ...]


@router.get("")
def list_rulesets(repository: Repository, _: Anyone, pages: Paged) -> list[Json]:
    return pages.of(repository.store.merge_queues(), lambda rule: _short(repository, rule))


@router.post("", status_code=201)
def create(repository: Repository, _: Administrator, wanted: Wanted) -> Json:
    """Turn the merge queue of main on."""
    branches = wanted.conditions.ref_name
    is_main = set(branches.include) <= {"~DEFAULT_BRANCH", f"refs/heads/{DEFAULT_BRANCH}"} and not branches.exclude
    if [rule.type for rule in wanted.rules] != ["merge_queue"] or not is_main or wanted.enforcement != "active":
        raise unprocessable("The forge keeps one rule in a ruleset: an active merge_queue of the default branch.")
    [rule] = wanted.rules
    if (rule.parameters.max_entries_to_build, rule.parameters.min_entries_to_merge) != (1, 1):
        raise unprocessable("The forge's merge queue builds and merges one entry at a time.")
    method: Any = rule.parameters.merge_method.lower()
    made = MergeQueueRule(
        id=repository.store.next_id(),
        name=wanted.name,
        branch=DEFAULT_BRANCH,
        method=method,
        parameters=rule.parameters.model_dump(),
        created_at=now(),
    )
    repository.store.put(made)
    return _whole(repository, made)


@of_branch.get("/{branch:path}")
def list_rules(repository: Repository, _: Anyone, branch: str) -> list[Json]:
    """The rules that hold for a branch, of whatever ruleset."""
    rule = repository.store.merge_queue(branch)
    where = {"ruleset_source_type": "Repository", "ruleset_source": repository.repository}
    return [{"type": "merge_queue", "parameters": rule.parameters, **where, "ruleset_id": rule.id}] if rule else []


@router.get("/{identifier}")
def get(repository: Repository, _: Anyone, identifier: int) -> Json:
    return _whole(repository, _found(repository, identifier))


@router.delete("/{identifier}", status_code=204)
def delete(repository: Repository, _: Administrator, identifier: int) -> Response:
    repository.store.drop_merge_queue(_found(repository, identifier))
    return Response(status_code=204)


def _found(forge: Forge, identifier: int) -> MergeQueueRule:
    found = next((rule for rule in forge.store.merge_queues() if rule.id == identifier), None)
    if found is None:
        raise not_found()
    return found


def _short(forge: Forge, rule: MergeQueueRule) -> Json:
    return forge.answers.ruleset(rule)


def _whole(forge: Forge, rule: MergeQueueRule) -> Json:
    return {
        **_short(forge, rule),
        "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}},
        "rules": [{"type": "merge_queue", "parameters": rule.parameters}],
    }
