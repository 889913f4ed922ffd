"""Rulesets: https://docs.github.com/rest/repos/rules. Of the rules only the merge queue, and signed commits."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response

from bot.sandbox.forge.answers import Json
from bot.sandbox.forge.api.request import Administrator, Anyone, Body, Paged, Repository
from bot.sandbox.forge.errors import not_found, unprocessable
from bot.sandbox.forge.forge import DEFAULT_BRANCH, Forge
from bot.sandbox.forge.signing import Refs
from bot.sandbox.forge.store import MergeQueueRule, SignatureRule, now

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
    target: str = "branch"
    enforcement: str
    conditions: Conditions
    rules: tuple[Rule, ...]


@router.get("")
def list_rulesets(repository: Repository, _: Anyone, pages: Paged) -> list[Json]:
    return pages.of(_all(repository), lambda rule: _short(repository, rule))


@router.post("", status_code=201)
def create(repository: Repository, _: Administrator, wanted: Wanted) -> Json:
    """Turn the merge queue of main on, or ask for signed commits on some branches."""
    types = [rule.type for rule in wanted.rules]
    if wanted.enforcement != "active" or types not in (["merge_queue"], ["required_signatures"]):
        raise unprocessable("The forge keeps one rule in a ruleset: an active merge_queue or required_signatures.")
    made = _signatures(repository, wanted) if types == ["required_signatures"] else _queue(repository, wanted)
    repository.store.put(made)
    return _whole(repository, made)


def _signatures(forge: Forge, wanted: Wanted) -> SignatureRule:
    return SignatureRule(
        id=forge.store.next_id(), name=wanted.name, refs=wanted.conditions.ref_name, created_at=now()
    )


def _queue(forge: Forge, wanted: Wanted) -> MergeQueueRule:
    branches, [rule] = wanted.conditions.ref_name, wanted.rules
    is_main = set(branches.include) <= {"~DEFAULT_BRANCH", f"refs/heads/{DEFAULT_BRANCH}"} and not branches.exclude
    if not is_main or rule.parameters is None:
        raise unprocessable("The forge keeps a merge queue for the default branch only.")
    if (rule.parameters.max_entries_to_build, rule.parameters.min_entries_to_merge) != (1, 1):
        raise unprocessable("The forge's merge queue builds and merges one entry at a time.")
    method: Any = rule.parameters.merge_method.lower()
    return MergeQueueRule(
        id=forge.store.next_id(),
        name=wanted.name,
        branch=DEFAULT_BRANCH,
        method=method,
        parameters=rule.parameters.model_dump(),
        created_at=now(),
    )


@of_branch.get("/{branch:path}")
def list_rules(repository: Repository, _: Anyone, branch: str) -> list[Json]:
    """The rules that hold for a branch, of whatever ruleset; the branch need not exist."""
    where = {"ruleset_source_type": "Repository", "ruleset_source": repository.repository}
    return [
        {**_rule(rule), **where, "ruleset_id": rule.id}
        for rule in _all(repository)
        if _refs(rule).hold_for(f"refs/heads/{branch}", default=DEFAULT_BRANCH)
    ]


@router.get("/{identifier}")
def get(repository: Repository, _: Anyone, identifier: int) -> Json:
    return _whole(repository, _found(repository, identifier))


@router.delete("/{identifier}", status_code=204)
def delete(repository: Repository, _: Administrator, identifier: int) -> Response:
    repository.store.drop_ruleset(_found(repository, identifier))
    return Response(status_code=204)


def _all(forge: Forge) -> list[MergeQueueRule | SignatureRule]:
    return [*forge.store.merge_queues(), *forge.store.signature_rules()]


def _found(forge: Forge, identifier: int) -> MergeQueueRule | SignatureRule:
    found = next((rule for rule in _all(forge) if rule.id == identifier), None)
    if found is None:
        raise not_found()
    return found


def _refs(rule: MergeQueueRule | SignatureRule) -> Refs:
    return rule.refs if isinstance(rule, SignatureRule) else Refs(include=("~DEFAULT_BRANCH",))


def _rule(rule: MergeQueueRule | SignatureRule) -> Json:
    if isinstance(rule, SignatureRule):
        return {"type": "required_signatures"}
    return {"type": "merge_queue", "parameters": rule.parameters}


def _short(forge: Forge, rule: MergeQueueRule | SignatureRule) -> Json:
    return forge.answers.ruleset(rule)


def _whole(forge: Forge, rule: MergeQueueRule | SignatureRule) -> Json:
    refs = _refs(rule)
    return {
        **_short(forge, rule),
        "conditions": {"ref_name": {"include": list(refs.include), "exclude": list(refs.exclude)}},
        "rules": [_rule(rule)],
        "current_user_can_bypass": "never",
    }
