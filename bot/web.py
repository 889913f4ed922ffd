"""How the bot speaks HTTP: a client that sends its own credentials to one server, and nothing to anybody else."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name the authorities to trust; the first that is set counts."""
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
    write becomes a read. ``authorities`` is a file or folder of certificates to trust, by default what the variables
    of the environment name. ``certificate`` is a file with the client's own certificate and key.
    """
    tls: ssl.SSLContext | bool = True
    if url.startswith("https:"):
        bundle = authorities or next(filter(None, map(os.environ.get, _BUNDLES)), None) or ""
        tls = _context(bundle, certificate, unverified)
    # What httpx itself finds in the environment misses networks in NO_PROXY, which the rest of the bot knows.
    return httpx.Client(headers=dict(headers), timeout=timeout, verify=tls, trust_env=False, proxy=_proxy(url))


@lru_cache(maxsize=8)
def _context(bundle: str, certificate: str, unverified: bool) -> ssl.SSLContext:
    # Reading the authorities takes a fortieth of a second.
    if not bundle:
        context = httpx.create_ssl_context(trust_env=False)
    elif Path(bundle).is_dir():
        context = ssl.create_default_context(capath=bundle)
    else:
        context = ssl.create_default_context(cafile=bundle)
    if unverified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return context


def _proxy(url: str) -> str | None:
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
