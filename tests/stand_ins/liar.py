"""A gateway that lies: in front of a real one, and for as long as it lies its answers name another version."""

from __future__ import annotations

import http.server
import threading

import httpx

from bot.domain.binary import HEADER_LENGTH

PASSED_ON = ("Authorization", "Content-Type", HEADER_LENGTH)


class Liar:
    """A gateway that passes everything on, and for as long as it lies names another version in its answers."""

    def __init__(self, url: str) -> None:
        self.lies = False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _pass_on(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kept = {k: v for k, v in self.headers.items() if k in PASSED_ON}
                answer = httpx.request(method, f"{url}{self.path}", content=body, headers=kept, trust_env=False)
                content = answer.content
                if outer.lies and self.path.endswith("/infer"):
                    # As long as before, since the header of a binary answer says how long its JSON is.
                    content = content.replace(b'"model_version":"2"', b'"model_version":"1"')
                self.send_response(answer.status_code)
                for name in PASSED_ON[1:]:
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self) -> None:
                self._pass_on("GET")

            def do_POST(self) -> None:
                self._pass_on("POST")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)
