"""How the bot speaks HTTP: a client that sends its own credentials to one server, and nothing to anybody else."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from bot import trust

if TYPE_CHECKING:
    import httpx

_PORTS = {"http": 80, "https": 443}


def client(
    url: str,
    *,
    headers: Mapping[str, str],
    timeout: httpx.Timeout,
    authorities: str = "",
    certificate: str = "",
    unverified: bool = False,
) -> httpx.Client:
    """Return a client for the server at ``url``.

    It never follows a redirect: the credentials in ``headers`` are meant for this server alone, and a redirected
    write becomes a read. ``authorities`` is a file or folder of the only certificates to trust; without one the
    client trusts what all others trust. ``certificate`` is a file with the client's own certificate and key.
    """
    import httpx  # not before: Git asks this module for a proxy, and needs no client

    tls: ssl.SSLContext | bool = False  # nobody asks for certificates without TLS, and to read them takes a moment
    if url.startswith("https:"):
        if authorities or certificate or unverified:
            tls = _context_of_its_own(authorities, certificate, unverified)
        else:
            tls = trust.context()
    # What httpx itself finds in the environment misses networks in NO_PROXY, which the rest of the bot knows.
    return httpx.Client(headers=dict(headers), timeout=timeout, verify=tls, trust_env=False, proxy=proxy(url))


@lru_cache(maxsize=8)
def _context_of_its_own(authorities: str, certificate: str, unverified: bool) -> ssl.SSLContext:
    context = trust.context_of(authorities) if authorities else trust.new_context()
    if unverified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return context


def proxy(url: str) -> str | None:
    """Return the proxy through which the environment has this address asked; None where it is asked directly.

    ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` in either case; ``NO_PROXY`` may name hosts, domains, addresses
    and networks (``10.0.0.0/8``).
    """
    if not getproxies():
        return None
    from requests.utils import get_environ_proxies, select_proxy

    found: str | None = select_proxy(url, get_environ_proxies(url))
    return found


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of an address: what must be the same for credentials to be sent there."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)


def without_query(url: str) -> str:
    """Return an address that may be shown: without a user, a password or a query, which may hold a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path
