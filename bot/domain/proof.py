"""The proof of a run of the story: what was seen in each of its cases, before it, after it, and in between."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bot.domain.bundle import ONLY_WHERE_GIVEN
from bot.domain.evidence import Evidence
from bot.domain.record import DeploymentRecord

CaseName = Literal["promotion", "shadow", "refused", "put-back", "rolled-back", "airflow"]


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class View(_Fact):
    """What could be seen from outside at one moment."""

    at: datetime
    tritons: dict[str, tuple[str, ...]] = Field(description="each Triton's index: model, version, state")
    routes: dict[str, dict[str, Any]] = Field(description="what each gateway answers to GET /routes")


class Comment(_Fact):
    """A comment on a pull request."""

    author: str
    body: str


class Pull(_Fact):
    """A pull request, as it read when its case was over."""

    number: int
    title: str
    author: str
    state: str = Field(description="open, closed, or merged by whom")
    branch: str
    head: str
    merged_as: str = Field(description="commit of main, empty where it was not merged")
    body: str
    comments: tuple[Comment, ...]
    checks: dict[str, str] = Field(description="conclusion of each check of its head")


class Message(_Fact):
    """A message of the bot in Slack, with the replies in its thread."""

    text: str
    replies: tuple[str, ...] = ()


class Hop(_Fact):
    """A place that the bytes, or their name, went through, and the digest that was found there."""

    where: str
    digest: str


class Mount(_Fact):
    """What ``findmnt`` says, in the mount namespace of a process, of the file system that a path is on."""

    who: str
    path: str
    target: str
    source: str
    filesystem: str
    options: str


class Case(_Fact):
    """One of the ways in which a release ends."""

    name: CaseName
    act: int
    title: str
    started_at: datetime
    finished_at: datetime
    typed: tuple[str, ...] = Field(description="what people typed, in order")
    seen: tuple[str, ...]
    pulls: tuple[Pull, ...]
    records: tuple[DeploymentRecord, ...]
    messages: tuple[Message, ...]
    hops: tuple[Hop, ...]
    objects: tuple[str, ...] = Field(description="keys that are new in the record store")
    before: View
    after: View
    picture: str = Field(default="", description="the thread in Slack; empty where there was no browser")


class Proof(_Fact):
    """A whole run."""

    format: Literal[1] = 1
    command: str
    made_at: datetime
    commit: str
    versions: dict[str, str]
    formats: dict[str, str] = Field(description="see formats()")
    records: str = Field(description="where deployment records and evidence were kept")
    mounts: tuple[Mount, ...]
    cases: tuple[Case, ...]


def formats() -> Mapping[str, str]:
    """Return a hash of each format that a proof shows: a proof with others was made before they changed.

    The format is names, types and limits; the sentences that explain them are not part of it. Nor is what is written
    only of a bundle or of a rollout, which no case of a proof has.
    """
    shown: tuple[type[BaseModel], ...] = (Proof, DeploymentRecord, Evidence)
    schemas = {
        model.__name__: json.dumps(_without_sentences(model.model_json_schema()), sort_keys=True) for model in shown
    }
    return {name: hashlib.sha256(schema.encode()).hexdigest()[:12] for name, schema in schemas.items()}


_IN_NO_CASE = ("behaviour", "rolling out")


def _without_sentences(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _without_sentences(value)
            for key, value in schema.items()
            if not (key == "description" and isinstance(value, str))
            and not (isinstance(value, dict) and ONLY_WHERE_GIVEN.items() <= value.items())
        }
    return (
        [_without_sentences(one) for one in schema if one not in _IN_NO_CASE] if isinstance(schema, list) else schema
    )
