"""One MLflow server: requests with the credentials of one environment, and what the server's refusals mean."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from bot import web
from bot.credentials import Credentials
from bot.domain.secret_text import Kind
from bot.errors import Refused
from bot.redaction import excerpt
from bot.retry import read_retry_after
from bot.settings import MLflow

NOT_THERE = "RESOURCE_DOES_NOT_EXIST"
WHO = "Name mlflow.token_env, or mlflow.username_env and mlflow.password_env, in the environment file."
"""What to do where the server does not know the credentials."""
_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_OF_MLFLOWS_CLIENTS: tuple[tuple[str, Kind], ...] = (
    ("MLFLOW_TRACKING_USERNAME", "name"),
    ("MLFLOW_TRACKING_PASSWORD", "password"),
    ("MLFLOW_TRACKING_TOKEN", "token"),
)
_IN_WORDS = {
    NOT_THERE: "MLflow does not have it",
    "RESOURCE_ALREADY_EXISTS": "MLflow has it already",
    "RESOURCE_CONFLICT": "somebody else changed it at the same time",
    "INVALID_PARAMETER_VALUE": "MLflow does not take such a request",
    "BAD_REQUEST": "MLflow does not take such a request",
    "ENDPOINT_NOT_FOUND": "this server does not know the question: it is too old, or is no MLflow",
    "UNAUTHENTICATED": "MLflow does not know these credentials",
    "PERMISSION_DENIED": "MLflow does not let these credentials do it",
    "REQUEST_LIMIT_EXCEEDED": "MLflow is asked too often",
    "TEMPORARILY_UNAVAILABLE": "MLflow is not available for the moment",
    "INTERNAL_ERROR": "MLflow failed",
}
"""The meaning of the server's codes; its own words stand behind ours."""


class Refusal(Exception):
    """MLflow's server did not do what was asked."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self.retry_after_seconds = read_retry_after(answer.headers.get("Retry-After"))
        self.redirected_to = web.without_query(answer.headers.get("Location", "")) if answer.is_redirect else ""
        said, self.code = " ".join(answer.text.split()), ""
        with suppress(ValueError, LookupError, TypeError):
            document = answer.json()
            self.code = str(document["error_code"])
            said = f"{document['error_code']}: {document['message']}"
        answered = excerpt(f"HTTP {self.status} {self.redirected_to or said}".strip(), 400)
        ours = _IN_WORDS.get(self.code, "")
        super().__init__(f"{ours} ({answered})" if ours else answered)


class Server:
    """MLflow's server, asked with the credentials of one environment. Raises Refusal and what httpx raises."""

    def __init__(
        self, settings: MLflow, credentials: Credentials, *, request_seconds: float, download_seconds: float
    ) -> None:
        self.uri, self._artifacts = settings.uri, settings.artifacts or settings.uri
        self._waits = httpx.Timeout(request_seconds)
        self._downloads = httpx.Timeout(request_seconds, read=download_seconds, pool=download_seconds)
        self._client = web.client(
            settings.uri,
            headers={"User-Agent": "promobot", **_header(settings, credentials)},
            timeout=self._waits,
            authorities=credentials.value("MLFLOW_TRACKING_SERVER_CERT_PATH"),
            certificate=credentials.value("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
            unverified=credentials.value("MLFLOW_TRACKING_INSECURE_TLS").lower() in ("true", "1"),
        )

    def get(self, what: str, **parameters: str | int) -> Any:
        """Return the JSON object that the server answers."""
        return self._document(self._client.get(f"{self.uri}{_API}/{what}", params=parameters))

    def send(self, method: str, what: str, **body: str) -> None:
        """Ask the server to change something."""
        self._document(self._client.request(method, f"{self.uri}{_API}/{what}", json=body))

    def listed(self, folder: str) -> Any:
        """Return what the server lists of a folder of its artifacts."""
        address = f"{self._artifacts}{_ARTIFACTS}"
        answer = self._client.get(address, params={"path": folder}, timeout=self._downloads)
        return self._document(answer).get("files", [])

    def opened(self, path: str, start: int) -> httpx.Response:
        """Return the answer with the bytes of an artifact from ``start`` on, to be read and closed."""
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        address = f"{self._artifacts}{_ARTIFACTS}/{quote(path)}"
        request = self._client.build_request("GET", address, headers=headers, timeout=self._downloads)
        answer = self._client.send(request, stream=True)
        if not answer.is_success:
            try:
                answer.read()
                raise Refusal(answer)
            finally:
                answer.close()
        return answer

    def folder(self, source: str) -> str | None:
        """Return the folder that an address names on this server; None where it is another server's."""
        parts = urlsplit(source)
        if parts.scheme == "mlflow-artifacts":
            # An address without a host is this server's own.
            scheme = urlsplit(self._artifacts).scheme
            is_ours = not parts.netloc or web.origin(f"{scheme}://{parts.netloc}") == web.origin(self._artifacts)
            return parts.path.strip("/") if is_ours else None
        for ours in (self._artifacts, self.uri):
            if source.startswith(f"{ours}{_ARTIFACTS}/"):
                return source.removeprefix(f"{ours}{_ARTIFACTS}/").strip("/")
        return None

    def _document(self, answer: httpx.Response) -> Any:
        if not answer.is_success:
            raise Refusal(answer)
        document = answer.json()
        if not isinstance(document, dict):
            raise TypeError("no JSON object")
        return document


def _header(settings: MLflow, credentials: Credentials) -> dict[str, str]:
    """Return the header by which the server knows this environment.

    An environment that names no variables of its own has those that MLflow's clients know. They are for the server
    that MLFLOW_TRACKING_URI names, where it names one.
    """
    user = password = token = ""
    if settings.token_env:
        token = credentials.secret(settings.token_env, purpose="MLflow's bearer token")
    elif settings.username_env and settings.password_env:
        user = credentials.secret(settings.username_env, purpose="the user's name for MLflow", kind="name")
        password = credentials.secret(settings.password_env, purpose="the password for MLflow", kind="password")
    else:
        theirs = credentials.value("MLFLOW_TRACKING_URI")
        if theirs and web.origin(theirs) != web.origin(settings.uri):
            return {}
        user, password, token = (
            credentials.secret(name, purpose="MLflow's credentials", kind=kind) if credentials.value(name) else ""
            for name, kind in _OF_MLFLOWS_CLIENTS
        )
        for name in ("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_AUTH"):
            if credentials.value(name) and not (token or user):
                raise Refused(
                    f"{name} is set, which the bot does not know", state="Nothing was asked.", next_step=WHO
                )
    if user and password:
        return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {"Authorization": f"Bearer {token}"} if token else {}
