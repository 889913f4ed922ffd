"""Git over HTTP: hands each request to ``git http-backend``, and tells the forge which references a push moved."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from bot.sandbox.forge.forge import Forge, RefUpdate
from bot.sandbox.forge.git import ZERO, git_environment
from bot.sandbox.forge.people import Person
from bot.sandbox.forge.repository import DEFAULT_BRANCH
from bot.sandbox.project import CODE

router = APIRouter()

CHUNK_BYTES = 64 * 1024


@router.get("/{owner}/{name}/info/refs")
async def advertise(request: Request, owner: str, name: str, service: str = "") -> Response:
    if service not in ("git-upload-pack", "git-receive-pack"):
        return PlainTextResponse("This forge speaks smart HTTP only.\n", status_code=403)
    return await _serve(request, owner, name, "info/refs", is_push=service == "git-receive-pack")


@router.post("/{owner}/{name}/git-upload-pack")
async def fetch(request: Request, owner: str, name: str) -> Response:
    return await _serve(request, owner, name, "git-upload-pack", is_push=False)


@router.post("/{owner}/{name}/git-receive-pack")
async def push(request: Request, owner: str, name: str) -> Response:
    return await _serve(request, owner, name, "git-receive-pack", is_push=True)


async def _serve(request: Request, owner: str, name: str, service: str, *, is_push: bool) -> Response:
    forge: Forge | None = request.app.state.repositories.named(f"{owner}/{name.removesuffix('.git')}")
    if forge is None:
        return PlainTextResponse("Repository not found.\n", status_code=404)
    person = forge.people.of(request.headers.get("authorization", ""))
    if person is None:
        challenge = {"WWW-Authenticate": 'Basic realm="GitHub"'}
        return PlainTextResponse("Invalid username or token.\n", status_code=401, headers=challenge)
    if is_push and not person.may("contents"):
        message = f"Permission to {forge.repository}.git denied to {person.login}.\n"
        return PlainTextResponse(message, status_code=403)
    if service != "git-receive-pack":
        return await _run_backend(request, forge, person, service, received=None)
    with tempfile.TemporaryDirectory() as folder:
        received = Path(folder) / "received"
        response = await _run_backend(request, forge, person, service, received=received)
        if received.exists():
            updates = [
                RefUpdate(name, old, new) for old, new, name in map(str.split, received.read_text().splitlines())
            ]
            # Before git hears "done": who has pushed finds its pull request up to date.
            await run_in_threadpool(forge.moved, updates, by=person)
        return response


async def _run_backend(
    request: Request, forge: Forge, person: Person, service: str, *, received: Path | None
) -> Response:
    """One CGI request. A push's answer is read whole, so that what follows from it is done before it is sent."""
    headers = request.headers
    environment = git_environment() | {
        "GIT_PROJECT_ROOT": str(forge.git.folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{service}",
        "QUERY_STRING": request.url.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
        "REMOTE_USER": person.login,
        "REMOTE_ADDR": request.client.host if request.client else "",
    }
    if "content-length" in headers:
        environment["CONTENT_LENGTH"] = headers["content-length"]
    if received is not None:
        environment["FORGE_RECEIVED"] = str(received)
        environment |= await run_in_threadpool(_protection, forge, person)
    process = await asyncio.create_subprocess_exec(
        await run_in_threadpool(_backend),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    feeding = asyncio.create_task(_feed(request, process))
    status, answer_headers = await _read_headers(process)
    if received is None:
        return StreamingResponse(_stream(process, feeding), status_code=status, headers=answer_headers)
    content = b"".join([chunk async for chunk in _stream(process, feeding)])
    return Response(content, status_code=status, headers=answer_headers)


@cache
def _backend() -> str:
    """The program itself: where ``git http-backend`` is ended, what it started may go on without it."""
    path = subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{path}/git-http-backend"


def _protection(forge: Forge, person: Person) -> dict[str, str]:
    """Variables for the hook of a push: why the default branch is closed, and which commits may go there anyway."""
    rules = [rule.refs.model_dump() for rule in forge.store.signature_rules()]
    signed = {
        "FORGE_SIGNED": json.dumps(rules),
        "FORGE_KEY": str(forge.key_file),
        "FORGE_RULES": f"{forge.answers.page}/rules",
        "FORGE_PYTHON": sys.executable,
        "PYTHONPATH": str(CODE),
    }
    refusal = forge.push_refusal(DEFAULT_BRANCH, ZERO, person)
    heads = {pull.head_sha for pull in forge.store.pulls() if pull.state == "open"} if refusal else set()
    allowed = [sha for sha in sorted(heads) if not forge.push_refusal(DEFAULT_BRANCH, sha, person)]
    return {
        "FORGE_REFUSAL": refusal,
        "FORGE_ALLOWED": " ".join(allowed),
        **(signed if rules else {}),
    }


async def _feed(request: Request, process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    try:
        # Git may end before it has read everything, when it has refused.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            async for chunk in request.stream():
                if chunk and not process.stdin.is_closing():
                    process.stdin.write(chunk)
                    await process.stdin.drain()
    except ClientDisconnect:
        # It knows how much was to come, and would ask for the rest for ever, at full speed.
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    process.stdin.close()


async def _read_headers(process: asyncio.subprocess.Process) -> tuple[int, dict[str, str]]:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    status, headers = 200, {}
    while line := (await process.stdout.readline()).decode().strip():
        key, _, value = line.partition(":")
        if key.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[key] = value.strip()
    return status, headers


async def _stream(process: asyncio.subprocess.Process, feeding: asyncio.Task[None]) -> AsyncIterator[bytes]:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        while chunk := await process.stdout.read(CHUNK_BYTES):
            yield chunk
        await feeding
    finally:
        feeding.cancel()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()  # the client has gone
        await process.wait()
