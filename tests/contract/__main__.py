"""``python -m tests.contract package/generated/api.github.com.json``: take a newer description of GitHub's REST API.

The file is in the npm package ``@octokit/openapi``, which carries GitHub's description of api.github.com. What the
forge offers is taken from it, without examples and prose, and kept here: the whole has 13 MB. Beside it go the shapes
of what the forge answers (``bot/sandbox/forge/shapes.json``): what each must have, with a value that may stand there,
addresses as the description's own examples have them.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from bot.sandbox.forge.app import routers
from tests.contract.contract import DESCRIPTION, METHODS, same_path

SHAPES_FILE = Path(__file__).parents[2] / "bot" / "sandbox" / "forge" / "shapes.json"

WEBHOOKS = (
    *("ping", "push", "deployment-created", "deployment-status-created"),
    *("merge-group-checks-requested", "merge-group-destroyed"),
    *("issue-comment-created", "issue-comment-edited", "pull-request-review-submitted"),
    *("pull-request-opened", "pull-request-edited", "pull-request-synchronize", "pull-request-labeled"),
    *("pull-request-unlabeled", "pull-request-review-requested", "pull-request-closed", "pull-request-reopened"),
    *("pull-request-enqueued", "pull-request-dequeued"),
)
"""What the forge posts to webhooks, and gives to workflow runs."""

SHAPES = (
    *("simple-user", "public-user", "integration", "installation", "minimal-repository", "repository"),
    *("full-repository", "pull-request-simple", "pull-request", "issue", "issue-comment", "pull-request-review"),
    *("commit", "diff-entry", "deployment", "deployment-status", "check-run", "workflow", "workflow-run", "job"),
)
"""What the forge answers with, by the names of its schemas."""

BEGINNING = "2024-01-01T00:00:00Z"
"""When everything was made that has no time of its own."""

ADDRESSES = (
    (r"https?://api\.github\.com/users/octocat", "$api/users/$login"),
    (r"https?://api\.github\.com/repos/[\w-]+/[\w-]+(?=/|$)", "$repo"),
    (r"https?://api\.github\.com", "$api"),
    (r"https?://github\.com/(octocat|github|actions)/[\w-]+", "$page"),
    (r"https?://github\.com/octocat$", "$server/$login"),
    (r"\b[0-9a-f]{40}\b", "$sha"),
    (r"/1347\b", "/$number"),
    (r"(?<=runs/)\d+|(?<=jobs/)\d+|(?<=check-runs/)\d+|(?<=deployments/)\d+|(?<=installations/)\d+", "$id"),
)
"""What stands for what in the examples of addresses."""

PROSE = frozenset({"description", "example", "examples", "summary", "tags", "externalDocs", "title"})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.contract", description=__doc__)
    parser.add_argument("file", type=Path, help="api.github.com.json of the npm package @octokit/openapi")
    whole: dict[str, Any] = json.loads(parser.parse_args().file.read_bytes())
    paths = {path: _operations(whole, path) for path in whole["paths"]}
    kept = {
        "info": {"version": whole["info"]["version"], "license": whole["info"]["license"]},
        "paths": {path: operations for path, operations in paths.items() if operations},
        "webhooks": {name: _webhook(whole["x-webhooks"][name]) for name in WEBHOOKS},
        "components": {},
    }
    _add_components(whole, kept)
    DESCRIPTION.write_text(json.dumps(kept, indent=None, separators=(",", ":"), sort_keys=True) + "\n")
    shapes = {name: _shape(whole, whole["components"]["schemas"][name]) for name in SHAPES}
    SHAPES_FILE.write_text(json.dumps(shapes, indent=1, sort_keys=True) + "\n")
    print(f"{DESCRIPTION}: {len(kept['paths'])} paths of version {kept['info']['version']}")


def _shape(whole: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What an object of this schema must have, and what may stand there."""
    return {name: _default(whole, schema["properties"][name]) for name in schema.get("required", ())}


def _default(whole: dict[str, Any], field: dict[str, Any]) -> Any:
    if "$ref" in field:
        return _default(whole, whole["components"]["schemas"][field["$ref"].rpartition("/")[2]])
    example = field.get("example")
    if isinstance(example, str) and re.match(r"https?://(api\.)?github\.com/", example):
        for pattern, name in ADDRESSES:
            example = re.sub(pattern, name, example)
        return example
    if field.get("nullable") or {"oneOf", "anyOf"} & field.keys():
        return None
    if "enum" in field:
        return field.get("default", field["enum"][0])
    if field.get("format") == "date-time":
        return BEGINNING
    return {"boolean": False, "integer": 0, "array": [], "object": {}}.get(str(field.get("type")), "")


def _webhook(operations: dict[str, Any]) -> dict[str, Any]:
    """The schema of what is posted."""
    found: dict[str, Any] = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
    return found


def offered() -> list[tuple[str, str]]:
    """Method and path of everything that the forge offers under GitHub's name."""
    routes = [route for router in routers() for route in router.routes if isinstance(route, APIRoute)]
    return [(method, route.path) for route in routes for method in route.methods]


def _operations(whole: dict[str, Any], path: str) -> dict[str, Any]:
    asked = {method for method, ours in offered() if same_path(ours, path)}
    found = whole["paths"][path]
    return {
        method: _without_prose(operation)
        for method, operation in found.items()
        if method in METHODS and method.upper() in asked
    }


def _without_prose(value: Any, *, names: bool = False) -> Any:
    """The value without what is for people. ``names``: its keys are names that GitHub chose, all to be kept."""
    if isinstance(value, list):
        return [_without_prose(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_prose(item, names=key in ("properties", "responses", "schemas"))
        for key, item in value.items()
        if names or not (key in PROSE or key.startswith("x-"))
    }


def _add_components(whole: dict[str, Any], kept: dict[str, Any]) -> None:
    waiting = [*_references(kept["paths"]), *_references(kept["webhooks"])]
    while waiting:
        _, _, kind, name = waiting.pop().split("/")
        there = kept["components"].setdefault(kind, {})
        if name not in there:
            there[name] = _without_prose(whole["components"][kind][name])
            waiting += _references(there[name])


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


if __name__ == "__main__":
    main()
