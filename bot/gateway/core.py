"""The gateway: one route table at a time, requests passed on to the version that it names, and ``/reload``.

A request takes the table once, when its body is there, and everything about it follows from that one table; a
reload replaces the table in one assignment. So a switch drops nothing, and no answer mixes two versions.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import random
import re
from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as installed_version
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from bot.domain.dividing import is_canary
from bot.domain.routes import Canary, Route, RouteTable, Target
from bot.domain.shadowed import MOVED_ENDS, Copies, copies_of
from bot.domain.traffic import Traffic, merged
from bot.gateway.asgi import (
    DIGEST_HEADER,
    FULL,
    GENERATION_HEADER,
    STATUS_OF,
    WORKER_HEADER,
    ClientGone,
    Refusal,
    answer_error,
    error_answer,
    passed_on,
    read_body,
    send_reply,
    unless_gone,
)
from bot.gateway.budget import Budget, Full, Held
from bot.gateway.connection import ExchangeFailed, Headers
from bot.gateway.discovery import Discovery
from bot.gateway.metrics import Scrape, exposition, totals_of
from bot.gateway.rewrite import with_public_name
from bot.gateway.settings import GatewaySettings
from bot.gateway.shadow import Answered, Shadows
from bot.gateway.table import Broken, NotTaken, RoutesFile, check_successor
from bot.gateway.totals import Totals, total
from bot.gateway.traffic import CLIENT_LEFT, MINUTE_SECONDS, OWN, Counter, TrafficCounts
from bot.gateway.tritons import Tritons, in_the_way, lacks_the_version, request_to
from bot.gateway.workers import State, Workers

if TYPE_CHECKING:
    from bot.gateway.recording import Recorder

log = logging.getLogger("bot.gateway")

_TRIAL = re.compile(r"promobot-doctor-[0-9a-f]{16}\.json")
_SUMMED = frozenset({"shadows", "compared", "traffic", "traffic_bounds"})
"""Counts of the workers, of which ``GET /routes`` shows the sum."""
REQUEST_ID = b"x-request-id"
RELOAD_BYTES = 4096
"""The body of a reload is one number."""

NOT_MOUNTED = "routes.json is missing, and its folder is not marked as the bot's: the share is not mounted here"
NOT_STARTED = "the gateway has not started: its router must be included in the application that is run"


@dataclass
class Service:
    """A table and the requests that run under it; ``problem`` says why nothing can be served."""

    table: RouteTable
    problem: str = ""
    in_flight: int = 0

    @cached_property
    def fingerprint(self) -> str:
        """Equal where two workers serve equal tables."""
        return hashlib.sha256(self.table.to_json().encode()).hexdigest()[:12]

    @cached_property
    def header(self) -> tuple[bytes, bytes]:
        """Says of an answer which generation it follows."""
        return GENERATION_HEADER, b"%d" % self.table.generation

    def __enter__(self) -> None:
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1


class Gateway:
    """One gateway, with its ``settings``. Mount it with ``app.include_router(gateway.router)``.

    It reads and connects nothing before the application starts. So you may create one when a module is imported, and
    in a process that forks.
    """

    settings: GatewaySettings
    """The settings that were given to the constructor."""
    router: APIRouter
    """Answers under ``/v2``, ``/routes`` and ``/reload``; starts and stops the gateway with the application."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self._routes_file = RoutesFile(settings.routes_file)
        self._tritons = Tritons(
            settings.tritons,
            timeout_seconds=settings.timeout_seconds,
            probe_timeout_seconds=settings.probe_timeout_seconds,
            limits=settings.limits,
            unreachable=self._ask_dns_soon,
        )
        self._discovery = Discovery(
            settings.tritons_every_address,
            every_seconds=settings.resolve_seconds,
            found=self._take_tritons,
            then=self._ask_tritons_that_lack,
        )
        self._bodies = Budget(settings.max_bytes_in_flight)
        self._shadows = Shadows(settings.tritons, settings.shadow)
        self._traffic = TrafficCounts()
        self._recorder: Recorder | None = None
        self._service = Service(RouteTable(settings.environment), problem=NOT_STARTED)
        self._older: list[Service] = []
        self._unread = False
        self._reloading = asyncio.Lock()
        self._said = ""
        of = (str(settings.routes_file.absolute()), settings.environment, settings.name)
        self._workers = Workers(alone=settings.single_process, of=of)
        self._worker = (WORKER_HEADER, b"")  # in answers; there is none before the start
        self._refusals = Tally[int]()
        self._reloads = Tally({"taken": 0, "refused": 0, "unauthorized": 0})
        self.router = self._make_router()

    @property
    def table(self) -> RouteTable:
        """The route table in service; before the start, an empty one of generation 0."""
        return self._service.table

    def target(self, model: str) -> Target | None:
        """Return the version that answers for ``model``, its name in desired state; None if none is live.

        While a canary answers for some requests, this is the version that answers for the others.
        """
        return self.table.route(model).live

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Read the routes at the start, close the connections at the end. ``router`` does this already.

        ``_app`` is not used: Starlette passes the application to each lifespan.
        """
        async with self._reloading:
            # In the process that serves: one that imports the application may be forked afterwards. And before the
            # routes are read: a reload of the workers that are found then misses none that read older ones.
            await self._workers.join(
                state=lambda: {**self._own_state(), **self._traffic.traffic().to_json()},
                reload=self._reload_for_another,
                totals=lambda: self._totals().to_json(),
            )
            self._worker = WORKER_HEADER, self._workers.id.encode()
            await self._begin()
        await self._discovery.begin(timeout_seconds=self.settings.probe_timeout_seconds)
        if self.settings.recording is not None:
            from bot.gateway.recording import Recorder  # nobody else pays for its imports

            self._recorder = Recorder(
                self.settings.recording, environment=lambda: self.table.environment, writer=lambda: self._workers.id
            )
            await self._recorder.begin()
        following = asyncio.create_task(self._follow()) if self.settings.follow_seconds else None
        marking = asyncio.create_task(self._keep_marks())
        try:
            yield
        finally:
            running = [task for task in (marking, following) if task is not None]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._discovery.end()
            self._workers.leave()
            self._service = Service(self.table, problem="the gateway has stopped")
            await self._shadows.close()
            if self._recorder is not None:
                await self._recorder.close()
            self._tritons.close()
            self._routes_file.close()

    def _make_router(self) -> APIRouter:
        router = APIRouter(lifespan=self.lifespan)
        # Plain ASGI on the path of every request: FastAPI's dependencies and parsing would cost more than the rest.
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            router.add_route(f"{prefix}/infer", _Infer(self), methods=["POST"])  # type: ignore[arg-type]
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            for what in ("", "/ready", "/config", "/stats"):
                router.add_route(prefix + what, _Ask(self, what), methods=["GET"])  # type: ignore[arg-type]
        router.add_api_route("/v2", self._metadata, methods=["GET"])
        router.add_api_route("/v2/health/live", self._live, methods=["GET"])
        router.add_api_route("/v2/health/ready", self._ready, methods=["GET"])
        router.add_api_route("/routes", self._routes, methods=["GET"])
        router.add_api_route("/metrics", self._metrics, methods=["GET"])
        router.add_api_route("/reload", self._reload, methods=["POST"])
        return router

    # The routes: at the start, and at /reload.

    async def _begin(self) -> None:
        """Read the routes; where that fails, the next question for readiness tries again."""
        service = await self._service_at_start()
        self._unread = bool(service.problem)
        self._switch(service)

    async def _service_at_start(self) -> Service:
        empty = RouteTable(self.settings.environment)
        try:
            table = await self._routes_file.read()
            if table is None:
                # An unmounted folder is as empty as a new one: "serves nothing, ready" must not follow from that.
                if not await self._routes_file.is_new():
                    raise Broken(NOT_MOUNTED)
                log.warning("%s is missing: serving nothing until the first reload", self._routes_file.path)
                return Service(empty)
            check_successor(table, empty)
        except (Broken, NotTaken) as error:
            log.error("%s: serving nothing: %s", self._routes_file.path, error)
            return Service(empty, problem=str(error))
        return Service(table)

    def _switch(self, service: Service) -> None:
        self._older = [older for older in (*self._older, self._service) if older.in_flight]
        self._service = service
        self._shadows.follow(service.table)
        self._traffic.follow(service.table)
        self._tritons.keep_to(_answering(service.table))
        log.info("serving generation %d of %r", service.table.generation, service.table.environment)

    def _take_tritons(self, name: str, urls: Sequence[str], *, first: bool) -> None:
        """Let these addresses stand for the name; a new one is asked what it has before users ask it.

        At the start nothing is known of any, and all are asked alike.
        """
        self._tritons.become(name, urls, lacking=() if first else _answering(self.table))
        self._shadows.become(name, urls)

    async def _ask_tritons_that_lack(self) -> None:
        if not self._reloading.locked():  # a reload notes who lacks what it is about to route to
            self._tritons.keep_to(_answering(self.table))
        await self._tritons.ask_those_that_lack()
        await self._shadows.ask_those_that_lack()

    def _ask_dns_soon(self) -> None:
        self._discovery.ask_soon()

    async def _follow(self) -> None:
        """Take over newer routes without being told: nobody can choose which worker a reload reaches."""
        while True:
            await asyncio.sleep(self.settings.follow_seconds)
            try:
                await self._workers.stay()
                await self._look_for_newer()
                self._said = ""
            except (NotTaken, Broken) as error:
                if str(error) != self._said:  # else once in every ``follow_seconds``
                    log.warning("%s: the newer routes are not taken: %s", self._routes_file.path, error)
                self._said = str(error)
            except Exception:  # a worker that no longer follows would serve old routes for ever
                log.exception("could not look for newer routes")

    async def _keep_marks(self) -> None:
        while True:
            await asyncio.sleep(MINUTE_SECONDS)
            self._traffic.keep_marks()

    async def _look_for_newer(self) -> None:
        generation = self.table.generation
        if not await self._routes_file.has_changed(generation):
            return
        async with self._reloading:
            if self._unread:
                await self._begin()
            else:
                table = await self._routes_file.read()
                if table is not None and table.generation > self.table.generation:
                    await self._take(table)
        self._routes_file.keep()

    async def _reload(self, request: Request) -> Response:
        """Take over ``routes.json``: body ``{"generation": N}`` says which generation it must have at least.

        All workers at this address take it over, and 200 says that all of them serve it.
        ``{"trial": NAME}`` switches nothing: it asks what this gateway reads of a file that the bot has just written.
        """
        if not self._may_reload(request.headers.get("authorization", "")):
            self._reloads["unauthorized"] += 1
            return error_answer(401, "a reload needs the gateway's bearer token")
        try:
            with Held(self._bodies) as held:
                body = await read_body(
                    request.scope,
                    request.receive,
                    max_bytes=RELOAD_BYTES,
                    held=held,
                    seconds=self.settings.clients.request_seconds,
                )
            if trial := _trial(body):
                seconds = self.settings.reload_timeout_seconds
                return JSONResponse({"trial": await self._routes_file.trial(trial, timeout_seconds=seconds)})
            generation = _expected_generation(body)
        except ValueError as error:
            return self._refusal({"status": 422, "error": str(error)})
        except ClientGone:
            return Response(status_code=400)  # which nobody reads
        except Full:
            return error_answer(503, FULL)
        except Refusal as error:
            return error_answer(error.status, error.error)
        refused = [answer for answer in await self._reload_all(generation) if answer["status"] != 200]
        if not refused:
            self._reloads["taken"] += 1
            return JSONResponse(await self._state(), headers=self._headers)
        models = [set(answer.get("models", ())) for answer in refused]
        first = {**refused[0], "models": sorted(set().union(*models)) if all(models) else []}
        if len(refused) > 1:
            first["error"] = "; ".join(dict.fromkeys(answer["error"] for answer in refused))
        return self._refusal(first)

    async def _reload_all(self, generation: int) -> list[State]:
        """Reload this worker and then the others; return how each answers. If this one refuses, it asks no other."""
        own = await self._reload_for_another(generation)
        if own["status"] != 200:
            return [own]
        settings = self.settings
        return await self._workers.reload(
            generation,
            timeout_seconds=settings.probe_timeout_seconds,
            answer_seconds=settings.reload_timeout_seconds + settings.probe_timeout_seconds,
        )

    async def _reload_for_another(self, generation: int) -> State:
        """Take over ``generation``; return the status, and what a refusal says."""
        try:
            async with self._reloading:
                await self._take_over(generation)
        except NotTaken as error:
            return {"status": 409, "error": str(error), "models": list(error.models)}
        except Broken as error:
            return {"status": 422, "error": str(error)}
        return {"status": 200}

    def _refusal(self, answer: State) -> Response:
        self._reloads["refused"] += 1
        log.warning("%s: reload refused: %s", self._routes_file.path, answer["error"])
        return error_answer(answer["status"], answer["error"], models=answer.get("models", ()))

    async def _take_over(self, generation: int) -> None:
        new = await self._routes_file.read_from(generation, timeout_seconds=self.settings.reload_timeout_seconds)
        await self._take(new)

    async def _take(self, new: RouteTable) -> None:
        old = self.table
        check_successor(new, old)
        if new == old and not self._service.problem:
            return
        await self._check_ready(new, old)
        self._unread = False
        self._switch(Service(new))

    async def _check_ready(self, new: RouteTable, old: RouteTable) -> None:
        """Raise NotTaken, which names all such models, if a Triton says that a version to answer is not ready on it.

        A Triton that cannot be asked does not count unless none can: while one of several is down, a rollback must
        still be possible. One that DNS gave does not count where another has the version: it may have come up after
        the bot loaded the version everywhere, and requests go around it. Nor does one that lacks a version which goes
        out ``partly``. Shadows are not asked about: they must never be in the way of what answers.
        """
        coming = [
            (model, target)
            for model, route in new.models.items()
            for target in route.answering
            if target not in old.route(model).answering
        ]
        readiness = await self._tritons.readiness({target for _, target in coming})
        problems: dict[str, str] = {}
        for model, target in coming:
            said = readiness[target]
            name = f"{target.triton_model} version {target.version}"
            if all(one.ready is None for one in said):
                why = said[0].problem if said else "none is known"
                raise NotTaken(f"no Triton can say whether {name} (for {model}) is ready: {why}")
            if new.route(model).partly and any(one.ready for one in said):
                continue  # the bot brings it to one Triton after another, and requests go around the others
            for one in in_the_way(said)[:1]:
                problems[model] = f"{name} (for {model}) is not ready on {one.url}: {one.problem}"
        if problems:
            # The reload can leave these out, and route to the others.
            raise NotTaken("; ".join(problems.values()), models=tuple(problems))

    def _may_reload(self, authorization: str) -> bool:
        token = self.settings.reload_token
        expected, got = f"Bearer {token}".encode(), authorization.encode()
        return hmac.compare_digest(expected, got) and bool(token)

    # Questions of people and of the bot to the gateway itself.

    async def _state(self) -> dict[str, Any]:
        own = {"id": self._workers.id, **self._own_state()}
        others = await self._workers.states(timeout_seconds=self.settings.probe_timeout_seconds)
        workers, service = [own, *others], self._service
        traffic = merged([self._traffic.traffic(), *filter(None, map(Traffic.from_json, others))])
        return {
            "name": self.settings.name,
            **json.loads(service.table.to_json()),
            "environment": service.table.environment or None,
            "problem": service.problem or None,
            # Requests that still run under an older table: at 0, what only that table named may be unloaded.
            "draining": sum(worker.get("draining", 0) for worker in workers),
            "bodies": self._bodies.to_json(),
            "shadows": _sum_of_copies(worker.get("shadows", {}) for worker in workers),
            "compared": _sum_of_copies(worker.get("compared", {}) for worker in workers),
            "moved_ends": MOVED_ENDS,
            **(traffic.to_json() if traffic else {}),
            **({"recording": self._recorder.counts.to_json()} if self._recorder else {}),
            "worker": own["id"],
            "group": self._workers.group,
            # None where this process cannot tell which others there are.
            "workers": [_without_counts(worker) for worker in workers] if self._workers.known else None,
        }

    def _own_state(self) -> State:
        service = self._service
        return {
            "generation": service.table.generation,
            "routes": service.fingerprint,
            "draining": sum(older.in_flight for older in self._older),
            "problem": service.problem or None,
            # Their number: no answer names an address.
            "tritons": self._tritons.counts,
            "silence": self._tritons.silence.to_json(),
            "shadows": {model: counts.to_json() for model, counts in self._shadows.counts.items()},
            "compared": {model: counts.to_json() for model, counts in self._shadows.before.items()},
        }

    def _totals(self) -> Totals:
        """Return what this process counted since it began."""
        return totals_of(
            self.table,
            self._traffic,
            refusals=self._refusals,
            reloads=self._reloads,
            shadows=self._shadows.counts,
            before=self._shadows.before,
            recorded=self._recorder.counts.to_json() if self._recorder else {},
        )

    async def _metrics(self, request: Request) -> Response:
        """Answer with what all processes at this address counted, as Prometheus reads it."""
        own = {"id": self._workers.id, **self._own_state()}
        others = await self._workers.totals(timeout_seconds=self.settings.probe_timeout_seconds)
        answered = {one["id"]: Totals.from_json(one["totals"]) for one in others if "totals" in one}
        answered[own["id"]] = self._totals()
        silent = {one["id"] for one in others} - set(answered)
        try:
            totals = await asyncio.to_thread(total, answered, silent=silent, folder=self._workers.folder)
        except OSError as error:  # the folder was tidied away, or its file system is full
            log.warning("what ended workers counted is not known: %s", error)
            totals = total(answered, silent=(), folder=None)
        scrape = Scrape(self.table, totals, [own, *others], name=self.settings.name)
        accept = request.headers.get("accept", "")
        text, content_type = await asyncio.to_thread(exposition, scrape, accept=accept)
        return Response(text, headers={**self._headers, "content-type": content_type})

    @property
    def _headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self._ours}

    @property
    def _ours(self) -> tuple[tuple[bytes, bytes], ...]:
        """The headers by which every answer says which process gives it, and which routes it follows."""
        return self._worker, self._service.header

    async def _routes(self) -> Response:
        state = await self._state()
        # Of a thousand models it takes many milliseconds, which no user has to wait.
        return await asyncio.to_thread(JSONResponse, state, headers=self._headers)

    async def _metadata(self) -> Response:
        # Only what the gateway passes on: Triton's own list promises shared memory, repository control and more.
        extensions = ["classification", "model_configuration", "binary_tensor_data", "parameters", "statistics"]
        return JSONResponse(
            {"name": self.settings.name, "version": installed_version("promobot"), "extensions": extensions}
        )

    async def _live(self) -> Response:
        return Response()

    async def _ready(self) -> Response:
        """Ready is a gateway that has a table and sees a live Triton.

        Not Triton's own readiness: with --strict-readiness that is false whenever any version is being loaded, which
        would take every gateway out of service at each deployment. Of one model, ``/v2/models/{model}/ready`` speaks.
        """
        if self._unread and not self._reloading.locked():
            async with self._reloading:
                await self._begin()
        problem = self._service.problem or ("" if await self._tritons.any_live() else "no Triton is live")
        return error_answer(503, problem) if problem else Response()

    # Requests that are passed on.

    def _serving(self, scope: Scope, *, divided: bool) -> tuple[Service, str, Target]:
        """Return the table in force, to be entered for as long as the request runs under it, the model's public name
        and the target that answers for it. Raise Refusal if there is none.

        ``divided``: a canary answers its share of the requests. One whose path names a version in service gets that.
        """
        service = self._service
        if service.problem:
            raise Refusal(503, f"this gateway serves nothing: {service.problem}")
        model, version = scope["path_params"]["model"], scope["path_params"].get("version")
        route = service.table.route(model)
        live, canary = route.live, route.canary
        if live is None:
            raise Refusal(404, f"model {model!r} is not in service here")
        if version is not None:
            return service, model, _named_by(version, route, model)
        if canary is not None and divided and _is_for(canary, scope["headers"]):
            return service, model, canary.target
        return service, model, live

    async def infer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request to infer; an ASGI application, for code that routes such requests past FastAPI.

        ``scope["path_params"]`` has ``model``, and ``version`` where the path names one. ``receive`` and ``send``
        are ASGI's. An error is answered in Triton's shape, so nothing is raised for one.
        """
        with Held(self._bodies) as held:
            await self._infer_within(held, scope, receive, send)

    async def _infer_within(self, held: Held, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        settings = self.settings
        counter: Counter | None = None
        began = 0.0
        ours: Headers = ()
        try:
            body = await read_body(
                scope,
                receive,
                max_bytes=settings.max_request_bytes,
                held=held,
                seconds=settings.clients.request_seconds,
            )
            service, model, target = self._serving(scope, divided=True)
            counter = None if OWN in headers else self._traffic.counter(model, target)
            ours = self._worker, service.header, (DIGEST_HEADER, target.digest.encode())
            began = perf_counter()
            with service:
                headers = passed_on(headers, renamed=target.triton_model != model)
                request = request_to(target, b"POST", b"/infer", headers, body, admit=held.take)
                reply = await unless_gone(receive, self._tritons.send(target, request))
            if reply.status == 200 and target.triton_model != model:
                reply = with_public_name(reply, key="model_name", triton_model=target.triton_model, model=model)
        except ClientGone:
            if counter is not None:  # a version may be so slow that nobody waits for it
                counter.note(CLIENT_LEFT, perf_counter() - began)
            return
        except (Refusal, ExchangeFailed, Full) as error:
            if not isinstance(error, ExchangeFailed):
                self._refusals[error.status if isinstance(error, Refusal) else 503] += 1
            elif counter is not None:
                counter.note(STATUS_OF[type(error)], perf_counter() - began)
            await answer_error(error, scope, receive, send, ours=ours or self._ours)
            return
        answered: Answered | None = None
        if counter is not None:
            seconds = perf_counter() - began
            lacking = reply.status != 200 and lacks_the_version(reply)
            counter.note(reply.status, seconds, lacking=lacking)
            if model in self._shadows.copied and not lacking:
                answered = Answered(target, reply, seconds)
        await send_reply(reply, send, ours=ours)
        if reply.status == 200:  # what the live version refused would say nothing about its shadow
            if target is service.table.route(model).live:  # nor does what a canary answers
                self._shadows.copy(model, headers, body, answered)
            if self._recorder is not None:
                self._recorder.take(model, target, headers, body)
        if answered is not None and reply.status < 500:  # the version before may answer what this one refuses
            self._shadows.ask_before(model, headers, body, answered)

    async def _ask(self, what: str, scope: Scope, receive: Receive, send: Send) -> None:
        with Held(self._bodies) as held:
            await self._ask_within(held, what, scope, receive, send)

    async def _ask_within(self, held: Held, what: str, scope: Scope, receive: Receive, send: Send) -> None:
        ours: Headers = ()
        try:
            service, model, target = self._serving(scope, divided=False)
            ours = self._worker, service.header, (DIGEST_HEADER, target.digest.encode())
            with service:
                request = request_to(target, b"GET", what.encode(), admit=held.take)
                reply = await self._tritons.send(target, request)
            if reply.status == 200 and target.triton_model != model:
                reply = with_public_name(reply, key="name", triton_model=target.triton_model, model=model)
        except (Refusal, ExchangeFailed, Full) as error:
            await answer_error(error, scope, receive, send, ours=ours or self._ours)
            return
        await send_reply(reply, send, ours=ours)


@dataclass(frozen=True)
class _Infer:
    """``POST …/infer`` as an ASGI application."""

    gateway: Gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.gateway.infer(scope, receive, send)


@dataclass(frozen=True)
class _Ask:
    """``GET …`` of what Triton knows about the version in service, as an ASGI application."""

    gateway: Gateway
    what: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.gateway._ask(self.what, scope, receive, send)


def _sum_of_copies(workers: Iterable[Mapping[str, object]]) -> dict[str, object]:
    """Add up the counts of several workers, by model."""
    found: dict[str, list[Copies]] = {}
    for counts in workers:
        for model, count in counts.items():
            found.setdefault(model, []).append(Copies.from_json(count))
    return {model: total.to_json() for model, counts in found.items() if (total := copies_of(counts)) is not None}


def _without_counts(worker: State) -> State:
    return {key: value for key, value in worker.items() if key not in _SUMMED}


def _answering(table: RouteTable) -> set[Target]:
    return {target for route in table.models.values() for target in route.answering}


def _named_by(version: str, route: Route, model: str) -> Target:
    """Return the version that a path names; raise Refusal where it is not in service."""
    for target in route.answering:
        if version == str(target.version):
            return target
    there = " and ".join(str(target.version) for target in route.answering)
    is_there = "are" if len(route.answering) > 1 else "is"
    raise Refusal(404, f"version {version} of model {model!r} is not in service here, {there} {is_there}")


def _is_for(canary: Canary, headers: Headers) -> bool:
    """Say whether the canary answers: by the header that it names, else by the id of the request, else by chance.

    An empty header is none: a client that sends one for everybody would move all of them at once.
    """
    name, request_id = canary.key.encode(), b""
    for header, value in headers:
        if header == name and value:
            return is_canary(canary, value)
        if header == REQUEST_ID and not request_id:
            request_id = value
    if request_id:
        return is_canary(canary, request_id)
    return random.random() * 100 < canary.percent  # noqa: S311  nobody wins by guessing it, and it is quick


def _trial(body: bytes | bytearray) -> str:
    """Return the name of the trial that a reload asks about; empty where it asks for something else."""
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    name = document.get("trial") if isinstance(document, dict) and set(document) == {"trial"} else None
    return name if isinstance(name, str) and _TRIAL.fullmatch(name) else ""


def _expected_generation(body: bytes | bytearray) -> int:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    generation = document.get("generation") if isinstance(document, dict) else None
    if type(generation) is not int or generation < 1 or set(document) != {"generation"}:
        raise ValueError('the body must be {"generation": N} with N from 1')
    return generation
