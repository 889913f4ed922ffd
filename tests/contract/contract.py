"""Holds requests and answers to GitHub's description of its REST API, more strictly than the description asks.

Fields that are not described are violations, in both directions: what the bot sends must be understood by GitHub, and
what the forge answers must be something that GitHub has. Missing required fields are violations too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DESCRIPTION = Path(__file__).with_name("github-rest.json")
API, GRAPHQL = "/api/v3", "/api/graphql"
METHODS = ("get", "put", "post", "patch", "delete")

EVERYWHERE = frozenset({400, 401, 403, 404, 429, 500, 502, 503})
"""What GitHub may say to any request, as the pages on authentication, rate limits and troubleshooting tell; the
description lists them for some operations only. 304 is another: to any GET with a condition."""

REDIRECTS = {"get": 301}
"""What GitHub may say to any request for a repository that was renamed, as its best practices tell; 307 to others."""

BY_NUMBER = re.compile(r"^/repositories/\d+(?=/|$)")
"""The address of a repository that no rename changes. The description has the one by name only."""

NOT_LISTED = {
    ("post", "/repos/{owner}/{repo}/actions/workflows/{workflow_id}/dispatches"): frozenset({422}),
    ("post", "/repos/{owner}/{repo}/check-runs"): frozenset({422}),
    ("patch", "/repos/{owner}/{repo}/check-runs/{check_run_id}"): frozenset({422}),
    ("post", "/repos/{owner}/{repo}/issues/{issue_number}/labels"): frozenset({422}),
    ("get", "/repos/{owner}/{repo}/commits/{ref}/check-runs"): frozenset({422}),
    ("post", "/repos/{owner}/{repo}/statuses/{sha}"): frozenset({422}),
    ("post", "/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers"): frozenset({422}),
    ("patch", "/repos/{owner}/{repo}/issues/comments/{comment_id}"): frozenset({422}),
}
"""What GitHub answers, and its description leaves out: wrong input is a 422 there as well."""

NOT_DESCRIBED = re.compile(r"GET /repos/[^/]+/[^/]+/(?:statuses/.+|git/refs/.+|contents)|POST /api/graphql")
"""Old addresses that GitHub still answers, and clients still ask; and GraphQL, which is another API."""

BODY_NOT_DESCRIBED = re.compile(r"(POST|PUT) /repos/[^/]+/[^/]+/issues/\d+/labels")
"""Labels as a plain list, which GitHub described once; PyGithub sends it."""

NO_ADDRESS = re.compile(r"payload\.deployment_status\.(log_url|environment_url): '' is not a 'uri'")
"""Where there is none GitHub says "", as its description of the REST API says of the same fields."""

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(_DATE_TIME.fullmatch(value) and datetime.fromisoformat(value))


@FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or bool(re.fullmatch(r"[a-z][a-z0-9+.-]*:[^\s]+", value))


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, as they went over the wire."""

    method: str
    path: str
    """From behind the API's own prefix, without the query."""
    query: str
    sent: bytes
    status: int
    headers: Mapping[str, str]
    """Names in small letters."""
    received: bytes


@dataclass
class Recorder:
    """Sits before the forge and keeps what was said. Requests are kept in the order in which they ended."""

    app: ASGIApp
    exchanges: list[Exchange] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith((f"{API}/", GRAPHQL)):
            await self.app(scope, receive, send)
            return
        sent, received, start = bytearray(), bytearray(), dict[str, Any]()

        async def receiving() -> Message:
            message = await receive()
            sent.extend(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            received.extend(message.get("body", b""))
            await send(message)

        await self.app(scope, receiving, sending)
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        self.exchanges.append(
            Exchange(
                scope["method"],
                raw.decode().partition("?")[0].removeprefix(API),
                scope["query_string"].decode(),
                bytes(sent),
                start["status"],
                {name.decode().lower(): value.decode() for name, value in start["headers"]},
                bytes(received),
            )
        )


def violations(exchange: Exchange, *, of_request: bool = True) -> list[str]:
    """What GitHub's description does not allow. ``of_request=False`` for what a test sends wrong on purpose."""
    exchange = replace(exchange, path=BY_NUMBER.sub("/repos/owner/name", exchange.path))
    found = operation_of(exchange.method, exchange.path)
    if found is None:
        asked = f"{exchange.method} {exchange.path}"
        is_known = NOT_DESCRIBED.fullmatch(asked) or (exchange.status == 404 and not of_request)
        return [] if is_known else [f"GitHub has no {asked}"]
    template, operation = found
    name = f"{exchange.method} {template}"
    problems = [*_of_the_answer(exchange, template, operation)]
    if of_request:
        problems += _of_the_request(exchange, operation)
    return [f"{name}: {problem}" for problem in problems]


def webhook_violations(event: str, payload: Mapping[str, Any]) -> list[str]:
    """What GitHub's description of its webhooks does not allow in what is posted."""
    name = "-".join(filter(None, (event, str(payload.get("action", ""))))).replace("_", "-")
    schema = description()["webhooks"].get(name)
    if schema is None:
        return [f"GitHub has no webhook {name}, or tests/contract/__main__.py does not keep it"]
    posted = json.loads(json.dumps(payload))
    return [
        f"webhook {name}: {problem}"
        for problem in _problems("payload", posted, schema)
        if not NO_ADDRESS.fullmatch(problem)
    ]


def operation_of(method: str, path: str) -> tuple[str, dict[str, Any]] | None:
    """The described operation of a request, with its path's template; the one with the most words of its own."""
    fits = [template for template in description()["paths"] if _pattern(template).fullmatch(path)]
    for template in sorted(fits, key=lambda template: -len(re.sub(r"\{[^}]*\}", "", template))):
        if operation := description()["paths"][template].get(method.lower()):
            return template, operation
    return None


def same_path(ours: str, theirs: str) -> bool:
    """Whether two templates name the same path, whatever their variables are called."""
    return re.sub(r"\{[^}]*\}", "{}", ours) == re.sub(r"\{[^}]*\}", "{}", theirs)


@cache
def description() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DESCRIPTION.read_bytes())
    return loaded


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A reference and a file's path may hold slashes."""
    with_slashes = ("{ref}", "{path}", "{branch}", "{basehead}")
    parts = re.split(r"(\{[^}]*\})", template)
    return re.compile(
        "".join(
            (".*" if part in with_slashes else "[^/]+") if part.startswith("{") else re.escape(part) for part in parts
        )
    )


# --- requests -----------------------------------------------------------------------------------------------------


def _of_the_request(exchange: Exchange, operation: dict[str, Any]) -> Iterator[str]:
    parameters = [_resolved(parameter) for parameter in operation.get("parameters", [])]
    queries = {parameter["name"]: parameter for parameter in parameters if parameter["in"] == "query"}
    given = dict(parse_qsl(exchange.query, keep_blank_values=True))
    for name, value in given.items():
        if name not in queries:
            yield f"query: {name!r} is no parameter"
        else:
            schema = queries[name]["schema"]
            yield from _problems(f"query {name}", _typed(value, schema), schema)
    yield from (
        f"query: {name!r} is missing" for name, p in queries.items() if p.get("required") and name not in given
    )
    for parameter in parameters:
        if parameter["in"] == "path" and parameter["schema"].get("type") == "integer":
            value = _in_path(exchange, operation, parameter["name"])
            if not value.isdecimal():
                yield f"path: {parameter['name']} is {value!r}"
    body = operation.get("requestBody")
    if exchange.sent:
        if body is None:
            if exchange.sent not in (b"{}", b"null"):
                yield "takes no body"
        elif not BODY_NOT_DESCRIBED.fullmatch(f"{exchange.method} {exchange.path}"):
            yield from _problems("body", json.loads(exchange.sent), _schema(_resolved(body)))
    elif body is not None and _resolved(body).get("required"):
        yield "a body is missing"


def _in_path(exchange: Exchange, operation: dict[str, Any], name: str) -> str:
    template = next(t for t, operations in description()["paths"].items() if operation in operations.values())
    at = template.split("/").index(f"{{{name}}}")
    return unquote(exchange.path.split("/")[at])


def _typed(value: str, schema: dict[str, Any]) -> object:
    kind = _resolved(schema).get("type")
    if kind == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    return value


# --- answers ------------------------------------------------------------------------------------------------------


def _of_the_answer(exchange: Exchange, template: str, operation: dict[str, Any]) -> Iterator[str]:
    status, method = exchange.status, exchange.method.lower()
    responses = operation["responses"]
    known = {*EVERYWHERE, *NOT_LISTED.get((method, template), ())} | ({304} if method == "get" else set())
    known |= {REDIRECTS.get(method, 307)}
    if str(status) not in responses and status not in known:
        yield f"{status} is none of its answers ({', '.join(responses)})"
        return
    response = _resolved(responses.get(str(status), {"content": {}}))
    content = response.get("content", {})
    is_json = exchange.headers.get("content-type", "").startswith("application/json")
    if "application/json" in content and is_json:
        yield from _problems(f"{status}", json.loads(exchange.received), content["application/json"]["schema"])
    elif status >= 400 or status in (301, 307):
        yield from _problems(f"{status}", json.loads(exchange.received), _refusal(status))
    elif not content and exchange.received:
        yield f"{status} has no body, but {exchange.received[:80]!r} came"


def _refusal(status: int) -> dict[str, Any]:
    name = "validation-error" if status == 422 else "basic-error"
    plain = {"$ref": "#/components/schemas/basic-error"}
    return {"anyOf": [{"$ref": f"#/components/schemas/{name}"}, plain]} if status == 422 else plain


def _schema(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["content"]["application/json"]["schema"]
    return found


def _resolved(part: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        _, _, kind, name = part["$ref"].split("/")
        part = description()["components"][kind][name]
    return part


# --- schemas ------------------------------------------------------------------------------------------------------


def _problems(where: str, value: object, schema: dict[str, Any]) -> Iterator[str]:
    document = {**_strict(schema), "$defs": _definitions()}
    for error in Draft202012Validator(document, format_checker=FORMATS).iter_errors(value):
        for cause in _causes(error):
            place = "".join(f".{part}" for part in cause.absolute_path)
            yield f"{where}{place}: {cause.message[:300]}"


def _causes(error: ValidationError) -> Iterator[ValidationError]:
    """Of alternatives none of which fits, what the nearest one lacks."""
    if not error.context:
        yield error
        return
    alternatives: dict[object, list[ValidationError]] = {}
    for inner in error.context:
        alternatives.setdefault(inner.schema_path[0], []).append(inner)
    for inner in min(alternatives.values(), key=lambda found: (found[0].validator == "type", len(found))):
        yield from _causes(inner)


@cache
def _definitions() -> dict[str, Any]:
    return {name: _strict(schema) for name, schema in description()["components"]["schemas"].items()}


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of today for OpenAPI 3.0's, in which an object has the fields that are described and no others."""
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref'].rsplit('/', 1)[1]}"}
    if "allOf" in schema:
        return _nullable(schema, _strict(_merged([_resolved(part) for part in schema["allOf"]])))
    if schema.get("format") == "uri" and schema.get("default") == "":
        return {"anyOf": [{"const": ""}, {"type": "string", "format": "uri"}]}  # "no address", as GitHub says it
    strict = {key: value for key, value in schema.items() if key not in ("nullable", "oneOf", "discriminator")}
    if "properties" in schema:
        strict["properties"] = {name: _strict(part) for name, part in schema["properties"].items()}
        # With alternatives beside them, the fields are theirs as well.
        if not {"anyOf", "oneOf"} & schema.keys():
            strict.setdefault("additionalProperties", False)
    if isinstance(strict.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(strict["additionalProperties"])
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    # Alternatives overlap when fields are optional: one that fits is enough.
    if alternatives := [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        only_required = all(part.keys() <= {"required"} for part in alternatives)
        strict["anyOf"] = alternatives if only_required else [_strict(part) for part in alternatives]
        if only_required and "properties" in schema:
            strict.setdefault("additionalProperties", False)
    return _nullable(schema, strict)


def _nullable(schema: dict[str, Any], strict: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, strict]} if schema.get("nullable") else strict


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    for part in parts:
        assert not part.keys() - {"type", "properties", "required", "nullable"}, part.keys()
        merged["properties"] |= part.get("properties", {})
        merged["required"] += part.get("required", [])
    return merged
