"""An object store that ignores conditions, as ``rclone serve s3`` does: it takes every object, whoever was first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def forgetful_s3() -> Iterator[str]:
    """Serve one for the length of a ``with`` block; gives its address. It lists nothing and trusts everybody."""
    objects: dict[str, tuple[bytes, dict[str, str]]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            meta = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
            objects[self.path] = (body, meta)
            self._answers(200)

        def do_GET(self) -> None:
            if "list-type=2" in self.path:
                self._answers(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
            elif self.path in objects:
                self._answers(200, *objects[self.path])
            else:
                self._answers(404, b"<Error><Code>NoSuchKey</Code></Error>")

        def _answers(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
