"""A stand-in for Triton in explicit model-control mode, whose answers are a function of the bytes that it loaded.

It speaks Triton's own gRPC (the service that tritonclient is generated from) and the part of its HTTP that a gateway
asks, where it also has its metrics. What it does is what was measured of the real one: a load reads ``config.pbtxt``
and its version policy from the model repository; a version is loaded anew only where its files are newer than those
that it saw, or where the configuration differs in more than the policy; a failed load leaves READY what was; versions
that the policy does not name go once a load succeeded; it starts with nothing loaded; and it never looks at the
repository unless it is told.

A model is any directory whose ``model.onnx`` begins with :data:`MAGIC`. It takes ``X`` (FP32, one number a row) and
gives ``Y`` (FP64, four numbers a row): X plus what the sha256 of all the version's files says. So a file that is
torn, missing or somebody else's shows in the answer.

An ensemble has no files. It gives X plus what each of its steps adds, as the versions that it names are in memory at
that moment. Like the real one, it does not load without them, and is taken off when one of them goes.

A Python model answers as an ensemble of the parts in its parameters (BLS). Triton knows nothing of these: it loads
without them, stays when they go, and then answers with an error.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import struct
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from bot.domain.binary import HEADER_LENGTH

MAGIC = b"\x08\x08\x3a\x00"
"""How an ONNX file begins here: version 8 of the format, and an empty graph."""
MODEL_FILE = "model.onnx"
CONFIG = f"""\
backend: "onnxruntime"
max_batch_size: 8
default_model_filename: "{MODEL_FILE}"
input [{{name: "X" data_type: TYPE_FP32 dims: [1]}}]
output [{{name: "Y" data_type: TYPE_FP64 dims: [4]}}]
"""
_NAMES = 4


def model_file(noise: bytes, *, loads: bool = True) -> bytes:
    """Return what is an ONNX file by its form, with ``noise`` of up to 16 KiB in its producer's name.

    One that does not load has the same fields in another order.
    """
    producer = b"\x12" + bytes((len(noise) & 127 | 128, len(noise) >> 7)) + noise
    return MAGIC + producer if loads else producer + MAGIC


Around = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Called with each gRPC request's name and what handles it; gives the answer."""


def offsets(files: Mapping[str, bytes]) -> tuple[float, ...]:
    """Return what a version of these files adds to X."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    return tuple(word / 2**32 for word in struct.unpack(f">{_NAMES}I", digest.digest()[: 4 * _NAMES]))


def added(parts: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """Return what an ensemble adds to X whose steps add so much."""
    return tuple(map(sum, zip(*parts, strict=True)))


@dataclass(frozen=True)
class Loaded:
    """A version in memory: what it adds, and how new the files were that it was read from."""

    offsets: tuple[float, ...]
    stamp: int
    config: bytes
    asks: tuple[tuple[str, int], ...] = ()
    """The models and versions of an ensemble's steps, or those that a Python model asks."""
    is_python: bool = False


@dataclass(frozen=True)
class State:
    """Everything that a Triton has in memory; a value, so that it can be kept and put back."""

    loaded: Mapping[tuple[str, int], Loaded]
    said: Mapping[tuple[str, int], str]


class NotAnswered(Exception):
    """Why a Python model answers with an error."""


class LoadFailed(Exception):
    """Why a model, or one of its versions, does not load."""


class StandInTriton:
    """The server's memory. ``grpc_server`` and ``http_app`` are the two ways in."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self._loaded: dict[str, dict[int, Loaded]] = {}
        """By model and version, so that a load takes as long beside ten thousand models as beside one."""
        self._said: dict[tuple[str, int], str] = {}
        self.no_room_for_two: frozenset[str] = frozenset()
        """Models of which it has room for one version, whatever its name."""
        self.fails_from: dict[tuple[str, int], float] = {}
        """By model and version the least number that it cannot take, until a restart."""
        self.memory: tuple[int, int] | None = None
        """The bytes of its machine that are used, and of how many, which its metrics tell; None without metrics."""

    def save(self) -> State:
        loaded = {(model, version): one for model, of_it in self._loaded.items() for version, one in of_it.items()}
        return State(loaded, dict(self._said))

    def restart(self, state: State | None = None) -> None:
        """Forget everything, or remember what ``state`` says as if the files had been read just now."""
        now = time.time_ns()
        self._loaded, self.fails_from = {}, {}
        for (model, version), one in (state.loaded if state else {}).items():
            self._loaded.setdefault(model, {})[version] = replace(one, stamp=now)
        self._said = dict(state.said) if state else {}

    def answer_wrong(self, model: str, version: int) -> None:
        """Have a version answer another number from now on, as one whose memory is damaged."""
        one = self._loaded[model][version]
        self._loaded[model][version] = replace(one, offsets=tuple(offset + 1 for offset in one.offsets))

    def ready(self, model: str, version: int) -> bool:
        return version in self._loaded.get(model, {})

    def index(self) -> list[tuple[str, str, str, str]]:
        """Return name, version, state and reason of each version that was ever asked for, and of models besides."""
        rows = [(model, str(version), "READY", "") for model, of_it in self._loaded.items() for version in of_it]
        rows += [
            (model, str(version), "UNAVAILABLE", reason)
            for (model, version), reason in self._said.items()
            if not self.ready(model, version)
        ]
        known = {row[0] for row in rows}
        folders = (path.name for path in self.repository.iterdir() if path.is_dir())
        return sorted(rows + [(name, "", "", "") for name in folders if name not in known])

    def load(self, model: str) -> None:
        folder = self.repository / model
        try:
            text = (folder / "config.pbtxt").read_text()
            config = text_format.Parse(text, model_config_pb2.ModelConfig())
        except (OSError, text_format.ParseError) as error:
            raise LoadFailed(f"failed to load '{model}', failed to poll from model repository: {error}") from error
        there = {int(path.name) for path in folder.iterdir() if path.name.isdecimal()}
        policy = config.version_policy
        if policy.HasField("specific"):
            wanted = there & set(policy.specific.versions)
        elif policy.HasField("all"):
            wanted = there
        else:
            wanted = set(sorted(there)[-1:])
        if not wanted:
            raise LoadFailed(f"at least one version must be available under the version policy of model '{model}'")
        config.ClearField("version_policy")
        config.ClearField("instance_group")
        kept = config.SerializeToString(deterministic=True)
        problems, loaded = [], self._loaded.setdefault(model, {})
        for version in sorted(wanted):
            directory = folder / str(version)
            stamp, before = _stamp(directory), loaded.get(version)
            if before is not None and stamp <= before.stamp and kept == before.config:
                continue
            asks, is_python = _asked(config), config.backend == "python"
            try:
                if before is None and (there := self._in_the_way(model)):
                    raise LoadFailed(f"failed to allocate memory for version {version}: {there} is in memory")
                if missing := [part for part in asks if not is_python and not self.ready(*part)]:
                    raise LoadFailed(f"ensemble '{model}' depends on '{missing[0][0]}' which has no loaded version")
                read = () if asks else _read(directory, config.default_model_filename)
                loaded[version] = Loaded(read, stamp, kept, asks, is_python)
                self._said.pop((model, version), None)
            except LoadFailed as error:
                self._said[model, version] = str(error)
                problems.append(f"version {version} is at UNAVAILABLE state: {error}")
        if problems:
            raise LoadFailed(f"load failed for model '{model}': {'; '.join(problems)}")
        self._drop(model, loaded.keys() - wanted)

    def _in_the_way(self, model: str) -> str:
        """Return what takes the room of a further version of a model; empty where there is room."""
        base = model.partition(".")[0]
        if base not in self.no_room_for_two:
            return ""
        names = (f"{name} {number}" for name, of_it in self._loaded.items() for number in of_it)
        return next((name for name in names if name.partition(" ")[0].partition(".")[0] == base), "")

    def unload(self, model: str) -> None:
        self._drop(model, self._loaded.get(model, {}))

    def infer(self, model: str, version: int, values: list[float]) -> list[float]:
        if max(values, default=0.0) >= self.fails_from.get((model, version), math.inf):
            raise NotAnswered(f"'{model}' version {version} has no line for {max(values)} in its table")
        return [value + offset for value in values for offset in self._adds(model, version)]

    def _adds(self, model: str, version: int) -> tuple[float, ...]:
        if not self.ready(model, version):
            raise NotAnswered(f"Request for unknown model: '{model}' version {version} is not at ready state")
        one = self._loaded[model][version]
        return added(self._adds(*part) for part in one.asks) if one.asks else one.offsets

    def _drop(self, model: str, versions: Iterable[int]) -> None:
        for version in sorted(versions):
            del self._loaded[model][version]
            self._said[model, version] = "unloaded"
            for name, of_it in self._loaded.items():
                leaning = [n for n, one in of_it.items() if (model, version) in one.asks and not one.is_python]
                self._drop(name, leaning)


def _asked(config: Any) -> tuple[tuple[str, int], ...]:
    given = [config.parameters[key].string_value for key in sorted(config.parameters) if key.startswith("BUNDLE_")]
    parts = [(name, int(version)) for name, _, version in (one.rpartition(":") for one in given)]
    return (*((step.model_name, step.model_version) for step in config.ensemble_scheduling.step), *parts)


def _stamp(directory: Path) -> int:
    seen = (path.stat() for path in (directory, *directory.rglob("*")))
    return max(max(found.st_mtime_ns, found.st_ctime_ns) for found in seen)


def _read(directory: Path, model_file: str) -> tuple[float, ...]:
    files = {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    if not files.get(model_file or MODEL_FILE, b"").startswith(MAGIC):
        raise LoadFailed(f"{directory / (model_file or MODEL_FILE)} is no model")
    return offsets(files)


# --- gRPC ---------------------------------------------------------------------------------------------------------


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, triton: StandInTriton) -> None:
        self._triton = triton

    async def ServerReady(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=True)

    async def ServerLive(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerMetadata(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0", extensions=[])

    async def RepositoryIndex(self, request: Any, _context: Any) -> Any:  # noqa: N802
        line = service_pb2.RepositoryIndexResponse.ModelIndex
        rows = [row for row in self._triton.index() if row[2] == "READY" or not request.ready]
        listed = [line(name=name, version=version, state=state, reason=why) for name, version, state, why in rows]
        return service_pb2.RepositoryIndexResponse(models=listed)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        try:
            self._triton.load(request.model_name)
        except LoadFailed as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return service_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: Any, _context: Any) -> Any:  # noqa: N802
        self._triton.unload(request.model_name)
        return service_pb2.RepositoryModelUnloadResponse()

    async def ModelReady(self, request: Any, _context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=self._triton.ready(request.name, int(request.version)))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._known(request.name, request.version, context)
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=request.name,
            versions=[request.version],
            platform="onnxruntime_onnx",
            inputs=[tensor(name="X", datatype="FP32", shape=[-1, 1])],
            outputs=[tensor(name="Y", datatype="FP64", shape=[-1, _NAMES])],
        )

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._known(request.name, request.version, context)
        return service_pb2.ModelConfigResponse()

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._known(request.model_name, request.model_version, context)
        raw = request.raw_input_contents[0]
        values = list(struct.unpack(f"<{len(raw) // 4}f", raw))
        try:
            answer = self._triton.infer(request.model_name, int(request.model_version), values)
        except NotAnswered as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
        output = service_pb2.ModelInferResponse.InferOutputTensor(
            name="Y", datatype="FP64", shape=[len(values), _NAMES]
        )
        return service_pb2.ModelInferResponse(
            model_name=request.model_name,
            model_version=request.model_version,
            outputs=[output],
            raw_output_contents=[struct.pack(f"<{len(answer)}d", *answer)],
        )

    async def _known(self, model: str, version: str, context: Any) -> None:
        if not version.isdecimal() or not self._triton.ready(model, int(version)):
            said = f"Request for unknown model: '{model}' version {version} is not at ready state"
            await context.abort(grpc.StatusCode.UNAVAILABLE, said)


class _Interceptor(grpc.aio.ServerInterceptor):
    def __init__(self, around: Around) -> None:
        self._around = around

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        name = details.method.rpartition("/")[2]

        async def handle(request: Any, context: Any) -> Any:
            return await self._around(name, functools.partial(handler.unary_unary, request, context))

        return grpc.unary_unary_rpc_method_handler(handle, handler.request_deserializer, handler.response_serializer)


def grpc_server(
    triton: StandInTriton, *, port: int, around: Around | None = None, address: str = "127.0.0.1"
) -> grpc.aio.Server:
    """Return the gRPC server, not started; it stands for the real one at this address and port."""
    # Without SO_REUSEPORT: two on one port would share the requests.
    options = [("grpc.so_reuseport", 0)]
    server = grpc.aio.server(interceptors=[_Interceptor(around)] if around else [], options=options)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Service(triton), server)
    if not server.add_insecure_port(f"{address}:{port}"):
        raise OSError(f"port {port} is taken")
    return server


# --- HTTP ---------------------------------------------------------------------------------------------------------


def http_app(triton: StandInTriton, *, refuses: Callable[[str], bool] = lambda _: False) -> Starlette:
    """Return the part of Triton's HTTP that a gateway asks; it answers no request for a model that it ``refuses``."""

    async def live(_: Request) -> Response:
        return Response()

    async def ready(request: Request) -> Response:
        model, version = request.path_params["model"], request.path_params["version"]
        if triton.ready(model, version):
            return Response()
        return JSONResponse({"error": "Model version not ready"}, status_code=400)

    async def infer(request: Request) -> Response:
        model, version = request.path_params["model"], request.path_params["version"]
        if not triton.ready(model, version):
            said = f"Request for unknown model: '{model}' version {version} is not at ready state"
            return JSONResponse({"error": said}, status_code=400)
        if refuses(model):
            return JSONResponse({"error": f"'{model}' cannot be asked in this form"}, status_code=400)
        body, length = await request.body(), int(request.headers.get(HEADER_LENGTH, "-1"))
        asked = json.loads(body[:length] if length >= 0 else body)
        (tensor,) = asked["inputs"]
        binary = tensor.get("parameters", {}).get("binary_data_size")
        values = list(struct.unpack(f"<{binary // 4}f", body[length:])) if binary is not None else tensor["data"]
        try:
            answer = triton.infer(model, version, [float(value) for value in values])
        except NotAnswered as error:
            return JSONResponse({"error": str(error)}, status_code=500)
        output: dict[str, Any] = {"name": "Y", "datatype": "FP64", "shape": [len(values), _NAMES]}
        said = {"model_name": model, "model_version": str(version), "outputs": [output]}
        if not any(one.get("parameters", {}).get("binary_data") for one in asked.get("outputs", [])):
            output["data"] = answer
            return JSONResponse(said)
        raw = struct.pack(f"<{len(answer)}d", *answer)
        output["parameters"] = {"binary_data_size": len(raw)}
        text = json.dumps(said).encode()
        headers = {HEADER_LENGTH: str(len(text))}
        return Response(text + raw, headers=headers, media_type="application/octet-stream")

    async def metrics(_: Request) -> Response:
        if triton.memory is None:
            return JSONResponse({"error": "Not Found"}, status_code=404)
        gauges = zip(("used", "total"), triton.memory, strict=True)
        return Response("".join(f"nv_cpu_memory_{what}_bytes {count}\n" for what, count in gauges))

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/v2/health/live", live),
            Route("/v2/health/ready", live),
            Route("/v2/models/{model}/versions/{version:int}/ready", ready),
            Route("/v2/models/{model}/versions/{version:int}/infer", infer, methods=["POST"]),
        ]
    )
