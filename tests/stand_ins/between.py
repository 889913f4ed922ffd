"""Somebody between the bot and a real Triton, who passes every gRPC call on but those that a test takes over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

Handler = Callable[[Any, Callable[[Any], Any]], Any]
"""Takes a request and what asks the real one; returns the answer."""


@contextmanager
def between(address: str, handlers: Mapping[str, Handler]) -> Iterator[str]:
    """Serve on a free port what ``address`` serves, with ``handlers`` by method name; yield the address to ask."""
    with grpc.insecure_channel(address) as channel:
        real = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def passed_on(method: str) -> Callable[[Any, Any, grpc.ServicerContext], Any]:
            def handle(_: Any, request: Any, context: grpc.ServicerContext) -> Any:
                ask = getattr(real, method)
                try:
                    return handlers[method](request, ask) if method in handlers else ask(request)
                except grpc.RpcError as error:
                    context.abort(error.code(), error.details())

            return handle

        methods = {name for name in vars(service_pb2_grpc.GRPCInferenceServiceServicer) if name[0].isupper()}
        servicer = type(
            "Between",
            (service_pb2_grpc.GRPCInferenceServiceServicer,),
            {name: passed_on(name) for name in methods},
        )
        server = grpc.server(ThreadPoolExecutor(4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(grace=None).wait()
