"""The messages and calls of Triton's gRPC protocol, as NVIDIA generates them from its ``.proto`` files.

They lie in ``tritonclient.grpc``. Importing that package also imports NVIDIA's own client, and with it NumPy: more
than half of what Triton costs a command before it asks anything. The bot sends and receives bytes and needs neither,
so the generated modules are imported without the package around them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import Lock
from typing import Any

_PACKAGE = "tritonclient.grpc"
_one_at_a_time = Lock()


def generated(name: str) -> Any:
    """Return a generated module without running its package's ``__init__``."""
    with _one_at_a_time:
        if _PACKAGE in sys.modules:
            return import_module(f"tritonclient.grpc.{name}")
        spec = find_spec(_PACKAGE)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
        sys.modules[_PACKAGE] = module_from_spec(spec)
        try:
            return import_module(f"tritonclient.grpc.{name}")
        finally:
            del sys.modules[_PACKAGE]
