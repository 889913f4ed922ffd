"""Git over HTTP: hands each request to ``git http-backend``, and tells the forge which references a push moved."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from bot.sandbox.forge.forge import Forge, RefUpdate
from bot.sandbox.forge.git import ZERO, git_environment
from bot.sandbox.forge.people import Person
from bot.sandbox.forge.repository import DEFAULT_BRANCH
from bot.sandbox.project import CODE

router = APIRouter()


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
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to hear it
    return await run_in_threadpool(_run_backend, request, forge, person, service, body)


def _run_backend(request: Request, forge: Forge, person: Person, service: str, body: bytes) -> Response:
    """One CGI request, read and answered whole: a client that goes away leaves no process that waits for more."""
    headers = request.headers
    environment = git_environment() | {
        "GIT_PROJECT_ROOT": str(forge.git.folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{service}",
        "QUERY_STRING": request.url.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
        "REMOTE_USER": person.login,
        "REMOTE_ADDR": request.client.host if request.client else "",
    }
    with tempfile.TemporaryDirectory() as folder:
        received = Path(folder) / "received"
        if service == "git-receive-pack":
            environment |= {"FORGE_RECEIVED": str(received), **_protection(forge, person)}
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        if received.exists():
            moves = [line.split() for line in received.read_text().splitlines()]
            # Before git hears "done": who has pushed finds its pull request up to date.
            forge.moved([RefUpdate(name, old, new) for old, new, name in moves], by=person)
    head, _, content = done.stdout.partition(b"\r\n\r\n")
    answered = dict(line.split(": ", 1) for line in head.decode().splitlines())
    return Response(content, int(answered.pop("Status", "200").split()[0]), answered)


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
