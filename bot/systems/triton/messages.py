"""The messages and calls of Triton's gRPC protocol, as NVIDIA generates them from its ``.proto`` files.

They lie in ``tritonclient.grpc``. Importing that package also imports NVIDIA's own client, and with it NumPy: more
than half of what Triton costs a command before it asks anything. The bot sends and receives bytes and needs neither.
"""

from __future__ import annotations

from typing import Any

from bot import bare


def generated(name: str) -> Any:
    """Return a generated module."""
    return bare.module_of("tritonclient.grpc", name)
