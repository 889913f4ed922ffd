"""Root as anybody else: what it may do with files follows from their owner and mode, for a while."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

_OVER_FILES = {"dac_override": 1, "dac_read_search": 2, "fowner": 3}
"""Capabilities by which root passes over modes and owners, with their numbers (``linux/capability.h``)."""
_VERSION_3 = 0x20080522
WITHOUT = (
    "setpriv",
    *(f"--{of}=" + ",".join(f"-{name}" for name in _OVER_FILES) for of in ("inh-caps", "bounding-set")),
)
"""What a command begins with, to be run by a root that passes over no mode and no owner."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextmanager
def without_privileges() -> Iterator[None]:
    """Take root's privileges over files from this thread, and from the threads that it starts; for root.

    Raises OSError where the kernel refuses. Other processes, and those that are started by this one, keep them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION_3, 0), (_Sets * 2)()

    def call(function: str) -> None:
        if getattr(libc, function)(ctypes.byref(header), sets):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    call("capget")
    before = sets[0].effective
    for number in _OVER_FILES.values():
        sets[0].effective &= ~(1 << number)
    call("capset")
    try:
        yield
    finally:
        sets[0].effective = before
        call("capset")
