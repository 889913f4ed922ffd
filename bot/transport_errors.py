"""Why a server was not reached, in plain words: libraries tell it in the words of their own classes and of errno."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from http.client import RemoteDisconnected

from bot import trust

_NO_CONNECTION = (
    errno.ECONNREFUSED,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
    errno.EADDRNOTAVAIL,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
)
_CLOSED = ("RemoteProtocolError", "IncompleteRead", "ConnectionClosedError")
"""The classes in which httpx, urllib3 and botocore say that an answer ended too early."""


def reason(error: BaseException) -> str:
    """Return why a request of httpx, requests, urllib or botocore got no answer; other texts stay as they are.

    The libraries raise their own class around another's around the system's: the innermost that is known decides.
    """
    chain = list(_chain(error))
    for one in reversed(chain):
        if isinstance(one, socket.gaierror):
            return "no address is known for its name"
        if isinstance(one, ssl.SSLError):
            return trust.meaning(str(one)) or str(error)
        if isinstance(one, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
            return "it closed the connection without an answer"
        if isinstance(one, OSError) and one.errno in _NO_CONNECTION:
            return f"no connection: {os.strerror(one.errno)}"
    names = [type(one).__name__ for one in chain]
    if any("Timeout" in name for name in names):
        return "no connection in time" if any("ConnectTimeout" in name for name in names) else "no answer in time"
    if any(isinstance(one, RemoteDisconnected) or type(one).__name__ in _CLOSED for one in chain):
        return "it closed the connection without an answer"
    return str(error) or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those inside it: its cause, what it was raised over, and what it carries."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        context = None if one.__suppress_context__ else one.__context__
        inner = (one.__cause__, context, getattr(one, "reason", None), *one.args)
        waiting += [other for other in inner if isinstance(other, BaseException)]
