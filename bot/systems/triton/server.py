"""Triton, controlled over gRPC: a load over HTTP holds one of the threads that answer users.

Requests to infer go over gRPC, and over HTTP in the protocol's binary form where the settings name its address: that
is how gateways ask.
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

# gRPC writes lines of its own about each handshake, and reads this when it is imported. Its errors say the same.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.protobuf import text_format

from bot import trust
from bot.domain import binary
from bot.domain.memory import Reading, reading_of
from bot.domain.packed import RawTensor, check
from bot.domain.signature import Signature, TensorSpec
from bot.domain.smoke import Tensor
from bot.errors import Denied, Refused, Rejected, Unavailable
from bot.redaction import excerpt
from bot.retry import read_retry_after, retry
from bot.settings import Triton
from bot.systems.triton.messages import generated
from bot.transport_errors import reason

service, stubs = generated("service_pb2"), generated("service_pb2_grpc")

if TYPE_CHECKING:
    import httpx

# UNKNOWN and CANCELLED are what gRPC makes of an answer that somebody in between cut short, or wrote: a proxy's HTTP
# 500. Triton gives neither to what it was asked here, and no version is to blame for them.
_WORTH_TRYING_AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "UNKNOWN", "CANCELLED")
CONTROL_HEADER = "triton-grpc-protocol-promobot-control"
"""What ``--grpc-restricted-protocol=model-repository,…:promobot-control=VALUE`` makes Triton ask for."""
_RESTRICTED = "This protocol is restricted"
_NOT_EXPLICIT = "explicit model load / unload is not allowed"
_NOT_FOUND = (
    "failed to poll from model repository",
    "at least one version must be available under",
    "failed to open directory",
)
"""What Triton says of a model that it does not find, or may not look for. The bot has published and verified it."""
_NOT_FOUND_STEP = (
    "It does not see what is on the share: compare its --model-repository, and what is mounted there, with the "
    "environment file; and may its user read what the bot's user writes?"
)
_EXPLICIT_STEP = "Start it with --model-control-mode=explicit: in its other modes nobody can tell it what to load."
_MAX_MESSAGE = 2**31 - 1
"""As Triton itself: as much as gRPC can count."""
_CHANNEL = (
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    # Else a new channel to the same address goes by the old connection.
    ("grpc.use_local_subchannel_pool", 1),
    # Else a Triton that comes back after an hour is not asked for two minutes.
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_OF_TLS = (
    "Is it up, does its gRPC endpoint speak TLS, is the authority of its certificate trusted here (SSL_CERT_FILE), "
    "and does it want a certificate of the bot's (grpc_client_certificate)? docs/how-to/networks.md says how."
)
_TLS_STEPS = {
    trust.NOT_TRUSTED: trust.ADVICE[trust.NOT_TRUSTED],
    trust.NO_TLS: "Leave out grpc_tls, or start it with --grpc-use-ssl=true.",
    trust.NOT_ITS_NAME: "Name one of them in grpc_tls_name, or have the certificate issued for the host in grpc.",
}
_ONLY_TLS, _ONLY_TLS_STEP = "it speaks TLS, and the settings say nothing of it", "Set grpc_tls: true."
_NO_CONNECTION = "failed to connect to all addresses"
_LAST_ERROR = re.compile(
    rf"{_NO_CONNECTION}; last error: (?:[A-Z_]+: )?(?:ipv[46]:\S+: )?(?:Failed to connect to remote host: )?(.+)"
)
"""How gRPC says that nobody is there; the error names the address already."""
_LOOK_SECONDS = 2.0
"""For a look at who is there, after an error."""
_HTTP_WORTH_TRYING_AGAIN = (429, 502, 503, 504)
_OF_THE_LINE = re.compile(r"RST_STREAM|GOAWAY|Stream removed|http2 header with status|Socket closed|Connection reset")


@dataclass(frozen=True)
class ModelState:
    """One line of Triton's repository index."""

    model: str
    version: int
    state: str
    reason: str

    @property
    def pair(self) -> tuple[str, int]:
        """The model and the version, by which Triton knows it."""
        return self.model, self.version

    @property
    def ready(self) -> bool:
        """Whether this version answers."""
        return self.state == "READY"

    @property
    def loaded(self) -> bool:
        """Whether Triton has it, is about to have it, or has not let go of it yet."""
        return self.state in ("READY", "LOADING", "UNLOADING")


class _Connection:
    """One connection to Triton's gRPC; ``calls`` has each call of its protocol by its own name."""

    def __init__(
        self, address: str, *, options: tuple[tuple[str, int | str], ...], credentials: grpc.ChannelCredentials | None
    ) -> None:
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=options)
        self.calls = stubs.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


class _NotFound(Unavailable):
    """Triton does not find in its repository what it is asked to load; no version is to blame for that."""


class TritonServer:
    """One Triton. Every call has a deadline; errors are Unavailable or Rejected and name the server.

    ``control_key`` goes with each look at its repository, load and unload, where the server restricts them.
    """

    def __init__(self, triton: Triton, *, request_seconds: float, control_key: str | None = None) -> None:
        self.name = triton.name
        self._system = f"Triton {triton.name} ({triton.grpc})"
        self._request_seconds = self.retry_seconds = request_seconds
        self._control = ((CONTROL_HEADER, control_key),) if control_key else ()
        self._open = partial(_Connection, triton.grpc, options=_channel(triton), credentials=_credentials(triton))
        self._client = self._open()
        self.http, self.metrics = triton.http, triton.metrics
        self._where = (triton.host, int(triton.grpc.rpartition(":")[2]))
        self._has_tls, self._tls_name = triton.grpc_tls, triton.grpc_tls_name or triton.host
        self._http_client: httpx.Client | None = None
        self._left: list[_Connection] = []
        self._leaving = threading.Lock()

    def close(self) -> None:
        """Close every connection that was opened."""
        for client in (self._client, *self._left):
            client.close()
        if self._http_client is not None:
            self._http_client.close()

    @retry
    def version(self) -> str:
        """Return the server's own version."""
        with self._asking("ask for its version") as calls:
            return str(calls.ServerMetadata(service.ServerMetadataRequest(), timeout=self._request_seconds).version)

    @retry
    def index(self) -> list[ModelState]:
        """Return what the repository index says of every model version that was ever asked for."""
        return [
            ModelState(entry.name, int(entry.version), entry.state, entry.reason)
            for entry in self._index()
            if entry.version.isdecimal()
        ]

    def loaded(self) -> frozenset[tuple[str, int]]:
        """Return each (model, version) that is READY.

        A Triton that restricts its index tells the same by its statistics, to somebody who has no key of its control.
        """
        if not self._control:
            try:
                return frozenset(state.pair for state in self.index() if state.ready)
            except Denied:
                return self._counted()
        return frozenset(state.pair for state in self.index() if state.ready)

    @retry
    def _counted(self) -> frozenset[tuple[str, int]]:
        with self._asking("read its statistics") as calls:
            answer = calls.ModelStatistics(service.ModelStatisticsRequest(), timeout=self._request_seconds)
        return frozenset((one.name, int(one.version)) for one in answer.model_stats if one.version.isdecimal())

    @retry
    def names(self) -> set[str]:
        """Return the names of all that lies in the server's repository, also of what is not loaded."""
        return {str(entry.name) for entry in self._index()}

    def _index(self) -> Any:
        with self._asking("read the index") as calls:
            request = service.RepositoryIndexRequest()
            return calls.RepositoryIndex(request, timeout=self._request_seconds, metadata=self._control).models

    @retry
    def memory(self) -> Reading:
        """Return what its metrics say of memory; ``metrics`` must be set. Raises Unavailable or Rejected."""
        import httpx

        doing, system = "could not read its metrics", f"Triton {self.name} ({self.metrics})"
        step = "Compare the Triton's metrics with its --metrics-port, and see that --allow-metrics is not false."
        try:
            # No proxy, and no certificates, as for its HTTP.
            url, behind_tls = f"http://{self.metrics}/metrics", False
            reply = httpx.get(url, timeout=self._request_seconds, trust_env=False, verify=behind_tls)
        except httpx.HTTPError as error:
            raise Unavailable(f"{doing}: {reason(error)}", system=system, next_step=step) from error
        if reply.status_code != 200:
            raise Rejected(f"{doing}: HTTP {reply.status_code}", system=system, next_step=step)
        return reading_of(reply.text)

    @retry
    def memory_told_of(self, model: str, version: int) -> list[tuple[str, int, int]]:
        """Return what its backend says that this version takes, as (kind, id, bytes); most backends say nothing."""
        with self._asking(f"read the statistics of {model} {version}") as calls:
            request = service.ModelStatisticsRequest(name=model, version=str(version))
            answer = calls.ModelStatistics(request, timeout=self._request_seconds)
        return [(one.type, one.id, one.byte_size) for stats in answer.model_stats for one in stats.memory_usage]

    @retry
    def try_http(self) -> None:
        """See that it answers over HTTP, where gateways ask; ``http`` must be set. Raises Unavailable or Rejected."""
        import httpx

        doing, system = "could not ask whether it lives, over HTTP", f"Triton {self.name} ({self.http})"
        try:
            status = self._opened_http().get("/v2/health/live").status_code
        except httpx.HTTPError as error:
            said = f"{doing}: {reason(error)}"
            raise Unavailable(
                said, system=system, next_step="Compare the Triton's http with where it listens."
            ) from error
        if status != 200:
            raise Rejected(
                f"{doing}: HTTP {status}", system=system, next_step="Is another service at the Triton's http?"
            )

    def try_to_load(self, trial: str, nowhere: str) -> bool:
        """Ask it to load ``trial``, which has no version, and ``nowhere``, which does not exist; nothing is loaded.

        Return whether it told the two apart: then it found ``trial`` in its repository and read its configuration.
        Raises Rejected where it takes one of them, Unavailable where it does not load on command at all.
        """
        return self._refusal_of(trial) != self._refusal_of(nowhere)

    def _refusal_of(self, model: str) -> str:
        try:
            with self._asking(f"load {model}") as calls:
                self._load(calls, model, timeout_seconds=self._request_seconds)
        except Denied:
            raise
        except (Rejected, _NotFound) as error:
            return str(error).replace(model, "")
        raise Rejected(f"it says that it loaded {model}, which has no version", system=self._system)

    def wait_ready(self, wanted: Iterable[tuple[str, int]], *, timeout_seconds: float) -> list[ModelState]:
        """Wait until each (model, version) is READY in the index; return those that are not at the deadline."""
        deadline = time.monotonic() + timeout_seconds
        expected = set(wanted)
        while True:
            states = {state.pair: state for state in self.index()}
            missing = [
                states.get(pair, ModelState(*pair, state="ABSENT", reason=""))
                for pair in sorted(expected)
                if pair not in states or not states[pair].ready
            ]
            if not missing or time.monotonic() >= deadline:
                return missing
            time.sleep(0.05)

    def wait_gone(self, model: str, *, but: Iterable[int] = (), timeout_seconds: float) -> bool:
        """Wait until no version of the model, ``but`` these, is loaded (unloading is asynchronous)."""
        return not self.wait_all_gone({model: set(but)}, timeout_seconds=timeout_seconds)

    def wait_all_gone(self, stay: Mapping[str, Collection[int]], *, timeout_seconds: float) -> set[str]:
        """Wait until of these models only the versions that ``stay`` are loaded; return those of which more is."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            index = self.index()
            there = {s.model for s in index if s.loaded and s.model in stay and s.version not in stay[s.model]}
            if not there or time.monotonic() >= deadline:
                return there
            time.sleep(0.05)

    @retry
    def signature(self, model: str, version: int) -> Signature:
        """Return the tensors that Triton says this version takes and gives."""
        with self._asking(f"read the metadata of {model} {version}") as calls:
            request = service.ModelMetadataRequest(name=model, version=str(version))
            answer = calls.ModelMetadata(request, timeout=self._request_seconds)
        return Signature(
            inputs=tuple(TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in answer.inputs),
            outputs=tuple(TensorSpec(t.name, t.datatype, tuple(t.shape)) for t in answer.outputs),
        )

    @retry
    def configuration(self, model: str, version: int) -> str:
        """Return the configuration with which Triton serves this version, completed by Triton, as text."""
        with self._asking(f"read the configuration of {model} {version}") as calls:
            request = service.ModelConfigRequest(name=model, version=str(version))
            answer = calls.ModelConfig(request, timeout=self._request_seconds, metadata=self._control)
        return str(text_format.MessageToString(answer.config))

    @retry
    def infer(self, model: str, version: int, inputs: Sequence[Tensor], *, outputs: Sequence[str]) -> list[Tensor]:
        """Ask exactly this version; return the named outputs."""
        encoded = [RawTensor(tensor.name, tensor.datatype, tensor.shape, self._encoded(tensor)) for tensor in inputs]
        answered = self._ask(model, version, encoded, outputs)
        try:
            return [binary.decode(*tensor) for tensor in answered]
        except ValueError as error:
            raise Rejected(f"{model} {version}: {error}", system=self._system) from error

    @retry
    def infer_raw(
        self, model: str, version: int, inputs: Sequence[RawTensor], *, outputs: Sequence[str]
    ) -> list[RawTensor]:
        """Ask exactly this version with bytes; return the bytes of the named outputs, as many as their shapes say."""
        answered = self._ask(model, version, inputs, outputs)
        try:
            for tensor in answered:
                check(tensor.datatype, math.prod(tensor.shape), tensor.raw)
        except ValueError as error:
            raise Rejected(f"{model} {version}: {tensor.name}: {error}", system=self._system) from error
        return answered

    def _ask(self, model: str, version: int, inputs: Sequence[RawTensor], outputs: Sequence[str]) -> list[RawTensor]:
        request = service.ModelInferRequest(model_name=model, model_version=str(version))
        for name in outputs:
            request.outputs.add(name=name)
        for tensor in inputs:
            request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
            request.raw_input_contents.append(tensor.raw)
        with self._asking(f"ask {model} {version}") as calls:
            answer = calls.ModelInfer(request, timeout=self._request_seconds)
        if answer.model_version != str(version):
            raise Rejected(f"{model} {version} was asked, {answer.model_version} answered", system=self._system)
        try:
            return [_output(name, answer) for name in outputs]
        except ValueError as error:
            raise Rejected(f"{model} {version}: {error}", system=self._system) from error

    @retry
    def infer_over_http(
        self, model: str, version: int, inputs: Sequence[Tensor], *, outputs: Sequence[str]
    ) -> list[Tensor]:
        """Ask exactly this version as a gateway does: over HTTP, in the binary form. ``http`` must be set."""
        import httpx

        said = f"could not ask {model} {version} over HTTP"
        client, system = self._opened_http(), f"Triton {self.name} ({self.http})"
        try:
            body, headers = binary.request(inputs, outputs)
            path = f"/v2/models/{quote(model, safe='')}/versions/{version}/infer"
            reply = client.post(path, content=body, headers=headers)
            if reply.status_code in _HTTP_WORTH_TRYING_AGAIN:
                after = read_retry_after(reply.headers.get("Retry-After"))
                message = f"{said}: HTTP {reply.status_code} {_first_lines(reply.text)}"
                raise Unavailable(message, system=system, retry_after_seconds=after)
            if reply.status_code != 200:
                message = f"{said}: HTTP {reply.status_code} {_first_lines(reply.text)}"
                raise Rejected(message, system=system)
            answered, tensors = binary.answer(reply.content, reply.headers)
            if answered != str(version):
                raise Rejected(f"{model} {version} was asked over HTTP, {answered} answered", system=system)
            return binary.only(outputs, tensors)
        except httpx.HTTPError as error:
            message = f"{said}: {reason(error)}"
            raise Unavailable(message, system=system, next_step="Is it up? `promobot doctor`.") from error
        except ValueError as error:
            raise Rejected(f"{said}: {error}", system=system) from error

    def _opened_http(self) -> httpx.Client:
        import httpx

        with self._leaving:
            if self._http_client is None:
                # Never through a proxy of the environment: it is a neighbour. It has no TLS, so the certificates of
                # the web are not read, which takes longer than to ask.
                behind_tls = False
                self._http_client = httpx.Client(
                    base_url=f"http://{self.http}",
                    timeout=self._request_seconds,
                    trust_env=False,
                    verify=behind_tls,
                )
            return self._http_client

    def _load(self, calls: Any, model: str, *, timeout_seconds: float) -> None:
        request = service.RepositoryModelLoadRequest(model_name=model)
        calls.RepositoryModelLoad(request, timeout=timeout_seconds, metadata=self._control)

    def _encoded(self, tensor: Tensor) -> bytes:
        try:
            return binary.encode(tensor)  # the same bytes, whichever the wire
        except (ValueError, OverflowError, TypeError) as error:
            said = f"{tensor.name} does not hold {tensor.datatype}{list(tensor.shape)}: {error}"
            raise Rejected(said, system=self._system) from error

    @contextmanager
    def _asking(self, doing: str) -> Iterator[Any]:
        client = self._client
        try:
            yield client.calls
        except grpc.RpcError as error:
            status, said = error.code().name, error.details() or "no message"
            if status == "DEADLINE_EXCEEDED":
                self._leave(client)
            message = f"could not {doing}: {_first_lines(said)}"
            if _RESTRICTED in message:  # it says UNAVAILABLE
                step = "Does the variable that control_key_env names hold this Triton's key?"
                raise Denied(message, system=self._system, next_step=step) from error
            if any(words in message for words in _NOT_FOUND):
                raise _NotFound(message, system=self._system, next_step=_NOT_FOUND_STEP) from error
            if _NOT_EXPLICIT in message:  # it says UNAVAILABLE, and no version is to blame
                raise Unavailable(message, system=self._system, next_step=_EXPLICIT_STEP) from error
            if status in _WORTH_TRYING_AGAIN or _OF_THE_LINE.search(said):
                meaning, step = self._of_the_connection(said)
                if meaning:
                    message = f"could not {doing}: {meaning} ({_first_lines(said)})"
                raise Unavailable(message, system=self._system, next_step=step) from error
            raise Rejected(message, system=self._system) from error
        except ValueError as error:  # what gRPC raises of a channel that is closed
            raise Unavailable(f"could not {doing}: {error}", system=self._system) from error

    def _of_the_connection(self, said: str) -> tuple[str, str]:
        """Return what an error says of who is at this address, if anything, and what to do about it."""
        meaning = trust.meaning(said) if self._has_tls else ""
        if not meaning and _NO_CONNECTION in said:
            # gRPC tells what the last of several addresses said, and that a server of TLS hung up without a word.
            meaning = trust.look(*self._where, name=self._tls_name, seconds=min(self._request_seconds, _LOOK_SECONDS))
        if not self._has_tls:
            if meaning in ("", trust.NO_TLS):
                return "", "Is it up? `promobot doctor`."
            return _ONLY_TLS, _ONLY_TLS_STEP
        if meaning in ("", trust.TRUSTED):
            return "", _OF_TLS
        return meaning, _TLS_STEPS[meaning]

    def _leave(self, client: _Connection) -> None:
        """Ask on a new connection from now on; what others still wait for on this one goes on.

        A connection that something in between has forgotten answers nothing for a quarter of an hour, and nobody says
        so. Keepalive finds it with pings; more than one in five minutes without data, as in the middle of a load, and
        Triton hangs up by default.
        """
        with self._leaving:
            if client is self._client:
                self._left.append(client)
                self._client = self._open()


class TritonControl:
    """Loads and unloads on one Triton, for a caller with the right to.

    ``may_still`` is called right before each request, also before a retry. It raises if the right to change something
    is gone.
    """

    def __init__(self, server: TritonServer, may_still: Callable[[], object]) -> None:
        self._server, self._may_still, self.retry_seconds = server, may_still, server.retry_seconds

    @retry
    def load(self, model: str, *, timeout_seconds: float) -> None:
        """Load what the model's configuration on disk names. Triton's 200 proves nothing: see wait_ready."""
        self._may_still()
        with self._server._asking(f"load {model}") as calls:
            self._server._load(calls, model, timeout_seconds=timeout_seconds)

    @retry
    def unload(self, model: str) -> None:
        """Unload all versions of the model; Triton finishes what is in flight first."""
        self._may_still()
        with self._server._asking(f"unload {model}") as calls:
            request = service.RepositoryModelUnloadRequest(model_name=model)
            calls.RepositoryModelUnload(
                request, timeout=self._server._request_seconds, metadata=self._server._control
            )


def _channel(triton: Triton) -> tuple[tuple[str, int | str], ...]:
    if triton.grpc_tls_name is None:
        return _CHANNEL
    return (*_CHANNEL, ("grpc.ssl_target_name_override", triton.grpc_tls_name))


def _credentials(triton: Triton) -> grpc.ChannelCredentials | None:
    """Return what the channel needs for TLS; None without. Raises Refused where a certificate cannot be read."""
    if not triton.grpc_tls:
        return None
    own = None
    if triton.grpc_client_certificate is not None:
        try:
            own = Path(triton.grpc_client_certificate).read_bytes()
        except OSError as error:
            raise Refused(
                f"grpc_client_certificate of Triton {triton.name} cannot be read: {error.strerror} "
                f"({triton.grpc_client_certificate})",
                state="Nothing was asked.",
                next_step="It is one file with a certificate and its key as PEM, readable for the bot.",
            ) from error
        # gRPC says only "handshake failed" of a key that is missing.
        if b"-----BEGIN CERTIFICATE-----" not in own or b"PRIVATE KEY-----" not in own:
            raise Refused(
                f"grpc_client_certificate of Triton {triton.name} does not hold a certificate and its key "
                f"({triton.grpc_client_certificate})",
                state="Nothing was asked.",
                next_step="Write both into one file: `cat tls.crt tls.key`.",
            )
    return grpc.ssl_channel_credentials(trust.bundle(), private_key=own, certificate_chain=own)


def _first_lines(message: str) -> str:
    # Triton quotes whole tracebacks of a backend; the first lines say what went wrong.
    said = " ".join(message.split("\n\nAt:")[0].split())
    if found := _LAST_ERROR.fullmatch(said):
        said = f"no connection: {found[1]}"
    return excerpt(said, 600)


def _output(name: str, answer: Any) -> RawTensor:
    for index, output in enumerate(answer.outputs):
        if output.name == name:
            # Triton gives bytes over gRPC, never the typed fields of the message.
            raw = answer.raw_output_contents[index]
            return RawTensor(name, output.datatype, tuple(output.shape), raw)
    raise ValueError(f"the answer has no output {name}")
