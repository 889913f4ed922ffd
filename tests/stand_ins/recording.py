"""A recorder between the verbs and a sandbox's forge: every request to GitHub's API that they make passes here."""

from __future__ import annotations

import socket
import threading
from types import TracebackType

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.contract.contract import Recorder
from tests.sandbox.forge.conftest import wait_until

DROPPED = frozenset({"host", "content-length", "connection", "transfer-encoding", "accept-encoding"})


class Link:
    """Use it as a context manager; ``url`` stands for the forge's."""

    def __init__(self, forge: str) -> None:
        self._forge = forge
        self._client = httpx.AsyncClient(timeout=30, trust_env=False)
        self.recorder = Recorder(self._pass_on)
        # asyncio sends without delay only where the protocol is named.
        self._socket = socket.socket(proto=socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.recorder, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> Link:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = await self._client.request(
            request.method,
            f"{self._forge}{request.url.path}",
            params=request.query_params,
            content=await request.body(),
            headers={name: value for name, value in request.headers.items() if name not in DROPPED},
        )
        headers = {name: value for name, value in answer.headers.items() if name not in DROPPED}
        # Addresses in the answer lead here, too: PyGithub follows none to another host than it was given.
        content = answer.content.replace(self._forge.encode(), self.url.encode())
        await Response(content, answer.status_code, headers)(scope, receive, send)
