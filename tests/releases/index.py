"""An index that takes uploads on this machine, and lets a workflow in by its identity: trusted publishing."""

from __future__ import annotations

import json
import re
import ssl
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme

IDENTITY, TOKEN = "header.payload.signature", "pypi-for-fifteen-minutes"


class Index:
    """The runner's identity provider and the index, on one port; ``uploads`` are the names of the files in order.

    ``authority`` signed its certificate: uv asks for identities by https only.
    """

    def __init__(self) -> None:
        self.uploads: list[str] = []
        self.said: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                index.said.append(f"GET {self.path}")
                if path == "/identity" and self.headers["Authorization"].lower() == "bearer for-this-run":
                    self._answer(200, {"value": IDENTITY})
                elif path == "/_/oidc/audience":
                    self._answer(200, {"audience": "pypi"})
                else:
                    self._answer(404, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                index.said.append(f"POST {self.path}")
                if self.path == "/_/oidc/mint-token" and json.loads(body) == {"token": IDENTITY}:
                    self._answer(200, {"success": True, "token": TOKEN})
                elif self.path == "/legacy/":
                    self._take(body)
                else:
                    self._answer(403, {"errors": [{"code": "invalid-publisher", "description": "not that workflow"}]})

            def _take(self, body: bytes) -> None:
                if self.headers["Authorization"] != f"Basic {b64encode(f'__token__:{TOKEN}'.encode()).decode()}":
                    self._answer(403, {})
                    return
                (name,) = re.findall(rb'name="content"; filename="([^"]+)"', body)
                index.uploads.append(name.decode())
                self._answer(200, {})

            def _answer(self, status: int, content: object) -> None:
                sent = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of http.server
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.authority = authority.cert_pem.bytes().decode()
        self._thread = threading.Thread(target=self._server.serve_forever, name="index")
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Index:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
