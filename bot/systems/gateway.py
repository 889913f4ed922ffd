"""The gateways' side that the bot talks to: reload, the routes in force, and a golden request."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from bot import trust
from bot.domain import binary
from bot.domain.routes import RouteTable
from bot.domain.shadowed import Copies
from bot.domain.smoke import Tensor
from bot.domain.traffic import OWN_HEADER, Traffic
from bot.domain.usage import Usage, usage_from
from bot.domain.workers import Answering, answering
from bot.errors import Denied, Foreign, NotReady, Refused, Rejected, Unavailable
from bot.redaction import excerpt
from bot.retry import read_retry_after, retry, retry_call
from bot.settings import GatewayEndpoint
from bot.transport_errors import reason

_TOO_LARGE = (
    "Allow it requests as large as the golden cases (max_request_bytes; an ingress has a limit of its own), or "
    "package the model with smaller ones."
)
LOOKS = 4
"""New connections to open, to see whether processes that do not know each other answer at one address."""


@dataclass(frozen=True)
class Told:
    """One answer of ``GET /routes``: the routes in force, and what its processes counted.

    ``traffic`` is None where the gateway is too old to count. ``compared`` are the copies to the version before, by
    model; None where the gateway is too old to compare.
    """

    table: RouteTable
    traffic: Traffic | None
    shadows: Mapping[str, Copies]
    compared: Mapping[str, Copies] | None = None


class Gateway:
    """One gateway. Errors are Unavailable or Rejected and name it."""

    def __init__(
        self, endpoint: GatewayEndpoint, *, token: str | None, request_seconds: float, known_as: str | None = None
    ) -> None:
        """``token`` is the reload token; a gateway without one can be read and asked, and refuses to reload.

        ``known_as`` is the address by which users know it, where ``endpoint`` has that of one of several.
        """
        self.name = endpoint.name
        self._system = f"gateway {endpoint.name} ({endpoint.url})"
        self._token = token
        self.retry_seconds = request_seconds
        # Never through a proxy of the environment: a gateway is a neighbour.
        # Without TLS nobody asks for certificates, and to read those of the web takes a fortieth of a second.
        tls = trust.context() if endpoint.url.startswith("https:") else False
        # Nor twice over one connection: of several processes behind one address it reaches one only.
        self._client = httpx.Client(
            base_url=endpoint.url,
            timeout=request_seconds,
            trust_env=False,
            verify=tls,
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._answered_by: set[str] = set()
        self.latest: tuple[Answering, ...] = ()
        """The newest report of the processes behind this address."""
        if known_as is not None:
            # An ingress goes by this name, and so does the certificate.
            host = httpx.URL(known_as)
            self._client.headers["Host"] = host.netloc.decode()
            self._client.event_hooks["request"] = [partial(_by_name, host.host)]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @retry
    def routes(self) -> RouteTable:
        """Return the routes in force on every process of this gateway.

        Where some serve an older generation than the others, the table has the lowest. Raise Unavailable, which names
        it, where a process does not answer.
        """
        return self._seen(self._look())

    @retry
    def told(self) -> Told:
        """Return what one answer says: the routes as :meth:`routes` does, and what was counted. One request."""
        with self._errors("read its routes"):
            found, told = _told(self._read_routes())
        self._seen(found)
        return told

    def _seen(self, found: Answering) -> RouteTable:
        self.latest = (found,)
        if found.silent:
            raise Unavailable(_silent(found), system=self._system)
        return found.oldest

    @retry
    def workers(self) -> tuple[Answering, ...]:
        """Return what several processes say of themselves and of each other, one answer of each group that is seen.

        Which process answers is chance, so there may be groups that are not seen.
        """
        for _ in range(2):  # a master that was just replaced answers the first time only
            seen = {found.group: found for found in (self._look() for _ in range(LOOKS))}
            if len(seen) == 1:
                break
        self.latest = tuple(seen.values())
        return self.latest

    def counts(self) -> Told:
        """Return what all processes behind this address counted; an earlier gateway compared nothing of shadows.

        Raise Unavailable where one of them does not answer, or nobody knows all of them: what it counted is missing,
        and a part must not be taken for the whole.
        """
        seen = self._read_counts()
        if why := _why_not_all([there for there, _ in seen]):
            raise Unavailable(f"could not read what it counted: {why}", system=self._system)
        return seen[-1][1]

    @retry
    def _read_counts(self) -> list[tuple[Answering, Told]]:
        """Return one answer of each group of processes that is seen."""
        seen: dict[str, tuple[Answering, Told]] = {}
        with self._errors("read what it counted"):
            for _ in range(2):  # a master that was just replaced answers the first time only
                seen = {}
                for _ in range(LOOKS):
                    there, told = _told(self._read_routes())
                    seen[there.group] = there, told
                if len(seen) == 1:
                    break
        return list(seen.values())

    def _look(self) -> Answering:
        with self._errors("read its routes"):
            document = self._read_routes()
            return answering(document, _table(document))

    def _read_routes(self) -> dict[str, Any]:
        answer = self._client.get("/routes")
        answer.raise_for_status()
        document = answer.json()
        if not isinstance(document, dict):
            raise ValueError("no JSON object")
        return document

    @retry
    def try_token(self) -> None:
        """See that the gateway takes the reload token, and change nothing; raise Rejected where it does not."""
        authorization = self._authorization()
        with self._errors("try the reload token"):
            # The token is looked at before the request, and this request asks for nothing.
            answer = self._client.post("/reload", json={}, headers=authorization)
            if answer.status_code != 422:
                answer.raise_for_status()

    @retry
    def try_share(self, name: str) -> str | None:
        """Return what the gateway reads of a trial's file where its routes are, or why it cannot.

        None where the gateway is too old to be asked. It switches nothing.
        """
        authorization = self._authorization()
        with self._errors("have it try the share"):
            answer = self._client.post("/reload", json={"trial": name}, headers=authorization)
            if answer.status_code == 422:
                return None
            answer.raise_for_status()
            return str(answer.json()["trial"])

    def wait_drained(self, *, timeout_seconds: float) -> bool:
        """Wait until no request runs under older routes; return whether that was so in time."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._errors("read its routes"):
                answer = self._client.get("/routes")
                answer.raise_for_status()
                document = answer.json()
                if not document.get("draining", 0) and answering(document, _table(document)).drained:
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)

    @retry
    def infer(
        self, model: str, inputs: Sequence[Tensor], *, outputs: Sequence[str], version: int | None = None
    ) -> tuple[str, list[Tensor]]:
        """Ask as a user does, in the binary form: JSON has not every datatype.

        ``version`` asks this one of several that answer users. Return the version that says it answered, and the
        named outputs.
        """
        path = f"/v2/models/{model}" if version is None else f"/v2/models/{model}/versions/{version}"
        try:
            body, headers = binary.request(inputs, outputs)
        except ValueError as error:  # nobody was asked yet
            raise Rejected(f"could not ask {model}: {error}", system=self._system) from error
        with self._errors(f"ask {model}"):
            own = {**headers, OWN_HEADER: "1"}
            answer = self._client.post(f"{path}/infer", content=body, headers=own)
            self._answered_by.add(answer.headers.get("promobot-worker", ""))
            answer.raise_for_status()
            answered, tensors = binary.answer(answer.content, answer.headers)
            return answered, binary.only(outputs, tensors)

    def answered_by(self) -> frozenset[str]:
        """Return the processes that answered ``infer`` since this was last called."""
        seen, self._answered_by = frozenset(self._answered_by), set()
        return seen

    def _authorization(self) -> dict[str, str]:
        if self._token is None:
            raise Refused(f"{self._system} was opened to be read; it is not reloaded without the reload token")
        return {"Authorization": f"Bearer {self._token}"}

    def usage(self, model: str) -> Usage:
        """Return how much the version in service is asked, by the statistics of the Triton that this gateway asks."""
        with self._errors(f"read the statistics of {model}"):
            answer = self._client.get(f"/v2/models/{model}/stats")
            answer.raise_for_status()
            return usage_from(answer.json(), where=f"gateway {self.name}")

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPStatusError as error:
            said = excerpt(" ".join(error.response.text.split()), 300)
            message = f"could not {doing}: HTTP {error.response.status_code} {said}"
            if error.response.status_code in (429, 502, 503, 504):
                after = read_retry_after(error.response.headers.get("Retry-After"))
                raise Unavailable(message, system=self._system, retry_after_seconds=after) from error
            if error.response.status_code in (401, 403, 407):
                raise Denied(message, system=self._system) from error
            if error.response.status_code == 413:
                # The gateway's own limit, or an ingress's before it. The bot asks it for golden cases only.
                raise Foreign(message, system=self._system, next_step=_TOO_LARGE) from error
            document = _document(error.response)
            if "error" not in document:
                raise Foreign(message, system=self._system) from error
            if models := document.get("models"):
                raise NotReady(message, system=self._system, models=tuple(map(str, models))) from error
            raise Rejected(message, system=self._system) from error
        except httpx.HTTPError as error:
            message = f"could not {doing}: {reason(error)}"
            raise Unavailable(message, system=self._system, next_step=trust.advice(str(error))) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Foreign(f"could not {doing}: not the answer of a gateway: {error}", system=self._system) from error


class GatewayControl:
    """Switches one gateway, for a caller with the right to.

    ``may_still`` is called right before each request, also before a retry. It raises if the right to change something
    is gone.
    """

    def __init__(self, gateway: Gateway, may_still: Callable[[], object]) -> None:
        self.name = gateway.name
        self._gateway, self._may_still = gateway, may_still

    def reload(self, generation: int, *, timeout_seconds: float) -> RouteTable:
        """Tell the gateway to serve ``generation``, again until the deadline; return the routes in force then."""
        deadline = time.monotonic() + timeout_seconds
        authorization = self._gateway._authorization()

        def reload() -> None:
            self._may_still()
            with self._gateway._errors(f"reload to generation {generation}"):
                answer = self._gateway._client.post(
                    "/reload",
                    json={"generation": generation},
                    headers=authorization,
                    timeout=max(deadline - time.monotonic(), 0.1),
                )
                answer.raise_for_status()

        retry_call(reload, seconds=timeout_seconds, attempts=None)
        return self._gateway.routes()


def _told(document: dict[str, Any]) -> tuple[Answering, Told]:
    found = answering(document, _table(document))
    shadows = {str(model): Copies.from_json(count) for model, count in document.get("shadows", {}).items()}
    asked = document.get("compared")
    compared = None if asked is None else {str(model): Copies.from_json(count) for model, count in asked.items()}
    return found, Told(found.oldest, Traffic.from_json(document), shadows, compared)


def _silent(found: Answering) -> str:
    there = len(found.workers or ())
    return f"{len(found.silent)} of {there} workers do not answer: {', '.join(found.silent)}"


def _why_not_all(seen: Sequence[Answering]) -> str:
    """Say why these answers do not speak for every process; empty where they do, or are too old to tell."""
    if len(seen) > 1:
        return f"{len(seen)} groups of processes that do not know each other answer at its address"
    if any(found.says and found.workers is None for found in seen):
        return "it does not know how many processes answer at its address"
    if any(found.oldest.generation != found.table.generation for found in seen):
        return "not all of its workers serve the same routes"
    return next((_silent(found) for found in seen if found.silent), "")


def _by_name(host: str, request: httpx.Request) -> None:
    request.extensions = {**request.extensions, "sni_hostname": host}


def _document(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of an answer; an empty one where it holds none: gateway and Triton always send one."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


_OF_A_TABLE = ("format", "environment", "generation", "models")


def _table(document: Any) -> RouteTable:
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    if document.get("environment") is None and document.get("generation") == 0:
        return RouteTable("")  # a gateway that never saw a routes.json serves nothing, in no environment yet
    # Without what it counted, which is most of it.
    return RouteTable.from_json(json.dumps({key: document.get(key) for key in _OF_A_TABLE}))
