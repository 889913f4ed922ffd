"""The gateways' side that the bot talks to: reload, the routes in force, and a golden request."""

from __future__ import annotations

import json
import select
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from typing import Any
from urllib.parse import urlsplit

from bot.domain.routes import RouteTable
from bot.domain.smoke import Tensor, tensor_from_json
from bot.errors import Rejected, Unavailable
from bot.retry import asked_again, patient, seconds_asked_for
from bot.settings import GatewayEndpoint


class Gateway:
    """One gateway. Errors are Unavailable or Rejected and name it."""

    def __init__(
        self, endpoint: GatewayEndpoint, *, token: str, request_seconds: float, known_as: str | None = None
    ) -> None:
        """``known_as`` is the address by which users know it, where ``endpoint`` has that of one of several."""
        self.name = endpoint.name
        self._system = f"gateway {endpoint.name} ({endpoint.url})"
        self._token = token
        self.patience_seconds = request_seconds
        self._line = _Line(endpoint.url, seconds=request_seconds, known_as=known_as or endpoint.url)

    def close(self) -> None:
        """Close the connection."""
        self._line.close()

    @patient
    def routes(self) -> RouteTable:
        """Return the routes in force on this gateway."""
        with self._errors("read its routes"):
            return _table(json.loads(self._line.ask("GET", "/routes")))

    def reload(self, generation: int, *, timeout_seconds: float) -> RouteTable:
        """Tell the gateway to serve ``generation``, again until the deadline; return the routes in force then."""
        deadline = time.monotonic() + timeout_seconds

        def reload() -> None:
            with self._errors(f"reload to generation {generation}"):
                self._reload({"generation": generation}, seconds=max(deadline - time.monotonic(), 0.1))

        asked_again(reload, seconds=timeout_seconds, tries=None)
        return self.routes()

    @patient
    def try_token(self) -> None:
        """See that the gateway takes the reload token, and change nothing; raise Rejected where it does not."""
        with self._errors("try the reload token"):
            # The token is looked at before the request, and this request asks for nothing.
            try:
                self._reload({})
            except _Refused as refused:
                if refused.status != 422:
                    raise

    def wait_drained(self, *, timeout_seconds: float) -> bool:
        """Wait until no request runs under older routes any more; say whether that was so in time."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with self._errors("read its routes"):
                if not json.loads(self._line.ask("GET", "/routes")).get("draining", 0):
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)

    @patient
    def infer(self, model: str, inputs: Sequence[Tensor], *, outputs: Sequence[str]) -> tuple[str, list[Tensor]]:
        """Ask as a user does; return the version that says it answered, and the named outputs."""
        body = {"inputs": [tensor.to_json() for tensor in inputs], "outputs": [{"name": name} for name in outputs]}
        with self._errors(f"ask {model}"):
            document = json.loads(self._line.ask("POST", f"/v2/models/{model}/infer", body))
            return str(document["model_version"]), [tensor_from_json(tensor) for tensor in document["outputs"]]

    def _reload(self, document: Mapping[str, int], *, seconds: float | None = None) -> None:
        self._line.ask("POST", "/reload", document, token=self._token, seconds=seconds)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except _Refused as error:
            message = f"could not {doing}: HTTP {error.status} {error}".rstrip()
            if error.status in (429, 502, 503, 504):
                after = seconds_asked_for(error.retry_after)
                raise Unavailable(message, system=self._system, retry_after_seconds=after) from error
            raise Rejected(message, system=self._system) from error
        except (OSError, HTTPException) as error:
            raise Unavailable(f"could not {doing}: {type(error).__name__} {error}", system=self._system) from error
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected(f"could not {doing}: not the answer of a gateway: {error}", system=self._system) from error


class _Refused(Exception):
    """An answer that is no success; the message is what its body says."""

    def __init__(self, status: int, content: bytes, retry_after: str | None) -> None:
        super().__init__(" ".join(content.decode(errors="replace").split())[:300])
        self.status, self.retry_after = status, retry_after


class _Line:
    """HTTP/1.1 to one gateway, by the standard library: the start of a client that can do more costs users a tenth of
    a second of each way back. One connection, kept; never through a proxy, for a gateway is a neighbour.
    """

    def __init__(self, url: str, *, seconds: float, known_as: str) -> None:
        """``known_as`` is the address by which an ingress and the certificate know it."""
        address, name = urlsplit(url), urlsplit(known_as)
        self._below, self._host_header, self._seconds = address.path.rstrip("/"), name.netloc, seconds
        host, port = address.hostname or "", address.port
        self._connection = (
            _ByName(host, port, name=name.hostname or host)
            if address.scheme == "https"
            else HTTPConnection(host, port)
        )

    def ask(
        self, method: str, path: str, document: Any = None, *, token: str = "", seconds: float | None = None
    ) -> bytes:
        """Return the body of the answer; raise _Refused, OSError, or HTTPException. ``document`` goes as JSON."""
        # NaN and Infinity go as Python writes them: a missing value in many a model's input. Triton reads them.
        body = json.dumps(document, separators=(",", ":")).encode() if document is not None else None
        headers = {"Host": self._host_header, "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._connection.timeout = self._seconds if seconds is None else seconds
        self._see_that_it_is_open()
        try:
            self._connection.request(method, self._below + path, body, headers)
            answer = self._connection.getresponse()
            content = answer.read()
            if not content and answer.length is None and not answer.chunked:
                raise IncompleteRead(b"")  # it ended among its headers
        except BaseException:
            self.close()  # what is left of an answer must not be taken for the next one
            raise
        if not 200 <= answer.status < 300:
            raise _Refused(answer.status, content, answer.headers.get("Retry-After"))
        return content

    def close(self) -> None:
        self._connection.close()

    def _see_that_it_is_open(self) -> None:
        """Use a kept connection only while nothing came on it: a gateway that restarted has closed it."""
        kept: socket.socket | None = self._connection.sock
        if kept is None:
            return
        if select.select([kept], [], [], 0)[0]:
            self.close()
        else:
            kept.settimeout(self._connection.timeout)


class _ByName(HTTPSConnection):
    """TLS to a server whose certificate is of a name, whichever of its addresses is asked."""

    def __init__(self, host: str, port: int | None, *, name: str) -> None:
        import certifi  # with what the machine trusts, what the web does

        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        super().__init__(host, port, context=context)
        self._name, self._tls = name, context

    def connect(self) -> None:
        HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _table(document: Any) -> RouteTable:
    if not isinstance(document, dict):
        raise ValueError("no JSON object")
    if document.get("environment") is None and document.get("generation") == 0:
        return RouteTable("")  # a gateway that never saw a routes.json serves nothing, in no environment yet
    return RouteTable.from_json(json.dumps(document))
