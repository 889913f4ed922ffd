"""Documents in the format of the code that is imported: one with everything that it can hold, one with the least.

It also runs with the code of an earlier commit (see ``__main__``), so it names no class that was not there from the
beginning without looking for it, and imports nothing of the tests.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import types
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel

WHERE = {
    "record": (("bot.domain.record", "DeploymentRecord"),),
    "evidence": (("bot.domain.evidence", "Evidence"),),
    "revocation": (("bot.domain.evidence", "Revocation"),),
    "quarantine": (
        ("bot.domain.quarantine", "QuarantineEvent"),
        ("bot.operations.ledger", "QuarantineEvent"),
        ("bot.records.ledger", "QuarantineEvent"),
        ("bot.verbs.ledger", "QuarantineEvent"),
    ),
    "check_run": (("bot.records.ledger", "CheckRun"), ("bot.verbs.ledger", "CheckRun")),
    "proposer": (("bot.records.ledger", "Proposer"), ("bot.verbs.ledger", "Proposer")),
    "request_asked": (("bot.records.ledger", "RequestAsked"), ("bot.verbs.ledger", "RequestAsked")),
    "request_done": (("bot.records.ledger", "RequestDone"), ("bot.verbs.ledger", "RequestDone")),
    "ways_back": (("bot.domain.proven", "WaysBackNote"),),
    "withdrawn": (("bot.records.ledger", "Withdrawn"),),
    "journal": (("bot.domain.journal", "Journal"),),
    "way_back": (("bot.domain.way_back", "WayBack"),),
    "origin": (("bot.records.ledger", "OriginNote"),),
    "rollout_note": (("bot.records.ledger", "RolloutNote"),),
    "shadow_note": (("bot.records.ledger", "ShadowNote"),),
    "policy_note": (("bot.records.ledger", "PolicyNote"),),
    "desired": (("bot.domain.desired", "Desired"),),
}
"""Where the model of each kind of document is, or was. The first that is there counts."""
AT = datetime(2026, 11, 23, 8, 15, 30, 250000, tzinfo=UTC)
DIGEST = f"sha256:{'4b1f' * 16}"
BY_NAME: Mapping[str, Any] = {
    "id": "dev-00000012-churn",
    "rollout_id": "dev-00000012-churn",
    "deployment": "dev-00000012-churn",
    "environment": "dev",
    "model": "churn",
    "name": "churn",
    "digest": DIGEST,
    "run": "3f2a" * 8,
    "commit": "c0ffee" + "0" * 34,
    "base": "a" * 40,
    "head": "b" * 40,
    "by": "alex",
    "exit_code": 1,
    "percent": 10,
    "share": 0.5,
    "section": "models",
    "format": None,
    "outcome": "succeeded",
    "url": "https://github.example/acme/promotions/pull/12",
    "steps": None,
}
"""What a field of this name holds, where its type alone would not do; None: as its type says."""


def model_of(kind: str) -> type[BaseModel] | None:
    """Return the model of a kind of document; None where the code that is imported has none."""
    for module, name in WHERE[kind]:
        try:
            return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            continue
    return None


def fingerprint(model: type[BaseModel]) -> str:
    """Return what is the same for formats that are the same: of the schema, without its words."""
    return hashlib.sha256(json.dumps(_plain(model.model_json_schema()), sort_keys=True).encode()).hexdigest()[:12]


def _plain(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {
            key: _plain(value)
            for key, value in schema.items()
            if not (key in ("description", "title") and isinstance(value, str))
        }
    return [_plain(one) for one in schema] if isinstance(schema, list) else schema


def documents(model: type[BaseModel]) -> dict[str, str]:
    """Return a document with everything, and one with the least, as the code that is imported writes them."""
    found = {}
    for name, whole in (("whole", True), ("least", False)):
        found[name] = model.model_validate(_object(model, whole=whole)).model_dump_json(indent=1) + "\n"
    return found


def routes() -> dict[str, str]:
    """Return tables of routes as the code that is imported writes them: one with everything, and an empty one."""
    module = importlib.import_module("bot.domain.routes")
    target = module.Target("churn.1a2b3c4d", 7, DIGEST)
    given: dict[str, Any] = {"live": target, "shadow": module.Target("churn-shadow", 8, DIGEST)}
    if hasattr(module, "Canary"):
        given["canary"] = module.Canary(module.Target("churn", 9, DIGEST), 10, "x-user-id", DIGEST)
    fields = {one.name for one in dataclasses.fields(module.Route)}
    more = {"shadow_share": 50, "partly": True, "compared": module.Target("churn", 6, DIGEST)}
    given |= {name: value for name, value in more.items() if name in fields}
    table = module.RouteTable("dev", 12, {"churn": module.Route(**given)})
    plain = module.RouteTable("dev", 11, {"churn": module.Route(live=target)})
    return {"whole": table.to_json(), "plain": plain.to_json(), "least": module.RouteTable("dev").to_json()}


def messages() -> dict[str, str]:
    """Return messages of the outbox as the code that is imported writes them."""
    module = importlib.import_module("bot.domain.message")
    cls = module.Message
    fields = {field.name for field in dataclasses.fields(cls)}
    more = {"since": 5.5, "thread": "dev/churn", "broadcast": True, "deployments": ("dev-00000012-churn",)}
    whole = cls(
        "dev-00000012-churn", "text", ({"type": "divider"},), **{k: v for k, v in more.items() if k in fields}
    )
    return {"whole": whole.to_json(), "least": cls("dev-00000012-churn", "text").to_json()}


def packages() -> dict[str, str]:
    """Return the lists of two packages as the code that is imported writes them."""
    module = importlib.import_module("bot.domain.package")
    names = ["config.pbtxt", "smoke.json", "model.onnx", "weights/part.data"]
    names += [module.TENSORS_FILE] if hasattr(module, "TENSORS_FILE") else []
    files = [module.PackageFile(name, len(name), hashlib.sha256(name.encode()).hexdigest()) for name in names]
    return {"whole": module.Package.of(files).to_json(), "least": module.Package.of(files[:3]).to_json()}


OTHERS = {"routes": routes, "message": messages, "package": packages}
"""The kinds whose documents are written by hand in the code."""


def shape(text: str) -> str:
    """Return what is the same for documents with the same keys and types."""
    return hashlib.sha256(json.dumps(sorted(set(_paths(json.loads(text))))).encode()).hexdigest()[:12]


def _paths(value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _paths(one, f"{at}.{key}")
        return
    if isinstance(value, list):
        for one in value:
            yield from _paths(one, f"{at}[]")
        return
    known = f" {value}" if at == ".format" else ""
    yield f"{at} {type(value).__name__}{known}"


def kinds() -> dict[str, tuple[str, dict[str, str]]]:
    """Return, of each kind that the code has, the fingerprint of its format and its documents."""
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for kind in WHERE:
        model = model_of(kind)
        if model is not None:
            found[kind] = fingerprint(model), documents(model)
    for kind, write in OTHERS.items():
        try:
            written = write()
        except (ImportError, AttributeError):
            continue
        together = json.dumps({name: shape(text) for name, text in written.items()}, sort_keys=True)
        found[kind] = hashlib.sha256(together.encode()).hexdigest()[:12], written
    return found


def _object(model: type[BaseModel], *, whole: bool) -> dict[str, Any]:
    found = {}
    hints = typing.get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        if field.exclude and not field.is_required():
            continue
        if whole or field.is_required():
            found[name] = _value(name, hints[name], whole=whole)
    return found


def _value(name: str, hint: Any, *, whole: bool) -> Any:
    given = BY_NAME.get(name)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if name == "outputs":
            return {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]}
        return _value(name, arguments[0], whole=whole)
    if origin in (typing.Union, types.UnionType):
        chosen = [one for one in arguments if one is not type(None)]
        if not whole and type(None) in arguments:
            return None
        return _value(name, chosen[0], whole=whole)
    if origin is Literal:
        return given if given in arguments else arguments[-1]
    if origin in (tuple, list, frozenset, set):
        if not whole or not arguments:
            return []
        return [_value(name, arguments[0], whole=whole)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"churn": _value("", arguments[1], whole=whole)} if whole else {}
    if isinstance(hint, type):
        if given is not None and isinstance(given, hint) and not issubclass(hint, (bool, BaseModel)):
            return given
        return _of_type(hint, name, whole=whole)
    return "text"


def _of_type(hint: type, name: str, *, whole: bool) -> Any:
    if issubclass(hint, BaseModel):
        return _object(hint, whole=whole)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint, include_extras=True)
        return {one.name: _value(one.name, hints[one.name], whole=whole) for one in dataclasses.fields(hint)}
    if issubclass(hint, Enum):
        return next(iter(hint)).value
    if issubclass(hint, bool):
        return whole
    if issubclass(hint, datetime):
        return AT
    if name == "before" and hint is str:  # of a journal: the routes as they were
        return routes()["plain"]
    plain: dict[type, Any] = {int: 7, float: 0.25, str: "text"}
    return next((value for of, value in plain.items() if issubclass(hint, of)), "text")


if __name__ == "__main__":
    print(json.dumps(kinds()))
