"""Two Tritons, two gateways and their users, on the client that reads.

Triton is the stand-in of ``tests/stand_ins/triton.py``: it reads the model repository when it is told to, and answers
as a function of the bytes that it read. The gateways are the product's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bot.gateway import GatewaySettings, create_app
from tests.nfs.guest import Told
from tests.reliability.servers import TOKENS, _Line, _server, _socket
from tests.stand_ins import triton as stand_in
from tests.stand_ins.triton import StandInTriton

GRPC, HTTP, GATEWAYS = (8001, 8101), (8000, 8100), (8200, 8300)
MODEL = "churn"
BETWEEN_SECONDS = 0.05
KEEP_ALIVE_SECONDS = 600
BODY = b'{"inputs":[{"name":"X","datatype":"FP32","shape":[1,1],"data":[0.5]}]}'


def serve(address: str, repository: str, state: str, answers: Mapping[str, Any], told: Told) -> dict[str, Any]:
    """Serve until told; return what users got: ``answers`` are what each version adds to X."""
    logging.disable(logging.CRITICAL)
    os.environ["GRPC_VERBOSITY"] = "NONE"
    known = {int(version): list(added) for version, added in answers.items()}
    return asyncio.run(_serve(address, Path(repository), Path(state), known, told))


async def _serve(
    address: str, repository: Path, state: Path, known: Mapping[int, list[float]], told: Told
) -> dict[str, Any]:
    async with contextlib.AsyncExitStack() as stack:
        tritons = [StandInTriton(repository) for _ in GRPC]
        for triton, port in zip(tritons, GRPC, strict=True):
            grpc = stand_in.grpc_server(triton, port=port, address=address)
            await grpc.start()
            stack.push_async_callback(grpc.stop, None)
        apps: list[tuple[int, Any]] = [
            (port, stand_in.http_app(triton)) for triton, port in zip(tritons, HTTP, strict=True)
        ]
        for number, port in enumerate(GATEWAYS, 1):
            app = create_app(
                GatewaySettings(
                    routes_file=state / "routes.json",
                    tritons=tuple(f"http://{address}:{http}" for http in HTTP),
                    name=f"gateway-{number}",
                    reload_token=TOKENS["PROMOBOT_RELOAD_TOKEN"],
                    single_process=True,
                )
            )
            await stack.enter_async_context(app.router.lifespan_context(app))
            apps.append((port, app))
        servers = [(_server(app), _socket(port, address)) for port, app in apps]
        for server, _ in servers:
            # uvicorn closes what was idle for 5 s, which Triton does not; a machine that shares its processors with
            # others can stand still for so long, and what is sent at that very moment is lost.
            server.config.timeout_keep_alive = KEEP_ALIVE_SECONDS
        tasks = [asyncio.create_task(server.serve(sockets=[listening])) for server, listening in servers]
        users = [asyncio.create_task(_ask(_Line(port, address), known, told)) for port in GATEWAYS]
        got = await asyncio.gather(*users)
        for server, _ in servers:
            server.should_exit = True
        await asyncio.wait(tasks, timeout=5)
    return {
        "asked": sum(one["asked"] for one in got),
        "wrong": [wrong for one in got for wrong in one["wrong"]],
        "failed": sum(one["failed"] for one in got),
        "versions": sorted({version for one in got for version in one["versions"]}),
    }


async def _ask(line: _Line, known: Mapping[int, list[float]], told: Told) -> dict[str, Any]:
    """Ask a gateway until told; a failure counts from the first answer on."""
    asked, failed = 0, 0
    wrong: list[str] = []
    versions: set[int] = set()
    while not told.to_stop():
        await asyncio.sleep(BETWEEN_SECONDS)
        status, content = await line.ask("POST", f"/v2/models/{MODEL}/infer", BODY)
        if status != 200:
            failed += bool(asked)
            if asked and len(wrong) < 5:
                wrong.append(f"status {status}: {content[:200]!r}")
            continue
        asked += 1
        document = json.loads(content)
        version = int(document["model_version"])
        versions.add(version)
        if document["outputs"][0]["data"] != [0.5 + added for added in known.get(version, [])] and len(wrong) < 5:
            wrong.append(f"version {version} answered {document['outputs'][0]['data']}")
    return {"asked": asked, "failed": failed, "wrong": wrong, "versions": versions}
