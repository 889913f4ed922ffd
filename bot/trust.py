"""Whom the bot trusts over TLS: one set of certificate authorities for every system that it talks to.

Each client library has a store and variables of its own, so a private authority that one of them knows is unknown to
the next. The bot hands the same authorities to all of them: those of the platform's own store, and those that a
variable of :data:`FILES` or :data:`FOLDERS` names. Decision 40 says why they add up.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO

from bot.errors import Refused

FILES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)
"""Variables that name a file of certificates in PEM, or a folder of such files."""
FOLDERS = ("SSL_CERT_DIR",)
"""Variables that name folders of certificates, separated by colons; a folder that is not there is passed over."""

_OF_THE_PLATFORM = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL, Fedora
    "/etc/pki/tls/certs/ca-bundle.crt",  # older RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_files: dict[bytes, IO[bytes]] = {}
"""Open files, by what they hold. None is closed: a client that lives long uses its path again and again."""
_one_at_a_time = threading.Lock()
_LARGEST_BYTES = 8 * 2**20
"""A file of certificates is smaller than a tenth of this; whatever is larger is something else."""


def bundle() -> bytes:
    """Return all trusted certificates as PEM, each once.

    Raises Refused where a variable names a file that cannot be read, or that holds no certificate.
    """
    return _bundle(tuple(_sources()))


def context() -> ssl.SSLContext:
    """Return a context for TLS that trusts these authorities and checks names. It is shared: do not change it."""
    return _context(bundle())


def new_context() -> ssl.SSLContext:
    """Return a context as :func:`context` does, for the caller alone to change."""
    return _made(bundle())


def file() -> str:
    """Return the path of a file with these certificates, for libraries that take no more than a path.

    The file has no name that another process could take or would have to remove: the path holds in this process,
    as long as it lives.
    """
    certificates = bundle()
    # Several threads may ask first, and each must get the one that stays open.
    with _one_at_a_time:
        if certificates not in _files:
            _files[certificates] = _written(certificates)
        return f"/proc/self/fd/{_files[certificates].fileno()}"


def context_of(path: str) -> ssl.SSLContext:
    """Return a new context that trusts the certificates in this file or folder, and no others."""
    where = Path(path)
    if where.is_dir():
        return ssl.create_default_context(capath=path)
    found = _CERTIFICATE.findall(_read("the settings of a client", where))
    return ssl.create_default_context(cadata=_joined(found).decode("ascii"))


_NO_TLS = re.compile(
    r"wrong.?version.?number|record.?layer.?failure|packet.?length.?too.?long|unexpected TLS packet", re.IGNORECASE
)
_NOT_TRUSTED = re.compile(
    r"certificate.?verify.?failed|certificate.?verification.?failed|verification of the certificate"
    r"|unable to get (local )?issuer|unknown ca|self.?signed",
    re.IGNORECASE,
)
_NOT_ITS_NAME = re.compile(
    r"hostname mismatch|hostname verification|certificate is not valid for|doesn't match|does not match"
    r"|no alternative certificate subject",
    re.IGNORECASE,
)
NO_TLS, NOT_TRUSTED, NOT_ITS_NAME, TRUSTED = (
    "it speaks no TLS at this address",
    "its certificate is not trusted here",
    "its certificate is for other names",
    "its certificate is trusted here",
)
"""The possible meanings of an error of TLS, or of a look at the server."""
ADVICE = {
    NO_TLS: "It speaks no TLS at this address: name the port that does, or its address with http://.",
    NOT_TRUSTED: "Its certificate is of an authority that is not trusted here: add that to this machine's store, or "
    "name its file in SSL_CERT_FILE. docs/how-to/networks.md has both.",
    NOT_ITS_NAME: "Its certificate is for other names: use one of them as its address, or have it issued for this "
    "one.",
}


def meaning(said: str) -> str:
    """Return what an error of TLS means, by the words in which a library tells it; empty for any other error."""
    # gRPC tells of a certificate's verification also where the other side speaks no TLS.
    if _NO_TLS.search(said):
        return NO_TLS
    if _NOT_ITS_NAME.search(said):
        return NOT_ITS_NAME
    return NOT_TRUSTED if _NOT_TRUSTED.search(said) else ""


def advice(said: str) -> str:
    """Return what to do about an error of TLS, by the words in which a library tells it; empty for any other."""
    return ADVICE.get(meaning(said), "")


def look(host: str, port: int, *, name: str, seconds: float) -> str:
    """Return the meaning of a handshake with the server there, which should be ``name``; empty if nothing is there.

    No request is sent. ``seconds`` is the limit of each step. It asks directly, whatever proxies are named.
    """
    tls = new_context()
    tls.set_alpn_protocols(["h2"])  # else a server of gRPC says no more
    try:
        connection = socket.create_connection((host, port), timeout=seconds)
    except (OSError, ValueError):
        return ""
    with connection:
        try:
            with tls.wrap_socket(connection, server_hostname=name):
                return TRUSTED
        except ssl.SSLCertVerificationError as error:
            return meaning(str(error)) or NOT_TRUSTED
        except TimeoutError:
            return ""
        except (OSError, ValueError) as error:
            # It may refuse in the language of TLS: then it wants a certificate of ours. Others answer in their own
            # language, or hang up.
            refuses = isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
            return TRUSTED if refuses else NO_TLS


Source = tuple[str, str, int, int]
"""What names a file, its path, its size in bytes and its time of change in ns: a new certificate is seen."""


def _sources() -> Iterator[Source]:
    """Yield the files that hold trusted certificates, those of the platform first."""
    yield from _of_the_platform()
    for name in FILES:
        if value := os.environ.get(name, "").strip():
            where = Path(value)
            if where.is_dir():
                yield from _in_folder(name, where)
            else:
                yield _source(name, where)
    for name in FOLDERS:
        for part in filter(None, os.environ.get(name, "").split(os.pathsep)):
            yield from _in_folder(name, Path(part))


def _of_the_platform() -> Iterator[Source]:
    built_in = ssl.get_default_verify_paths()
    for place in (built_in.openssl_cafile, *_OF_THE_PLATFORM):
        if Path(place).is_file():
            yield _source("", Path(place))
            return
    found = list(_in_folder("", Path(built_in.openssl_capath)))
    if not found:
        import certifi  # for a machine without a store of its own; requests brings it

        found = [_source("", Path(certifi.where()))]
    yield from found


def _in_folder(name: str, folder: Path) -> Iterator[Source]:
    try:
        inside = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return  # SSL_CERT_DIR often lists the places of several distributions
    except OSError as error:
        raise _unreadable(name, folder, error.strerror or str(error)) from error
    for path in inside:
        # A certificate is there under its name and, by a link, under its hash; a mounted secret has links, too.
        if path.suffix in (".pem", ".crt", ".cer") or re.fullmatch(r"\.\d+", path.suffix):
            try:
                source = _source(name, path)
            except Refused:
                continue  # a link that leads nowhere, as a removed package leaves it
            yield source


def _source(name: str, path: Path) -> Source:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(name, path, error.strerror or str(error)) from error
    if not stat.S_ISREG(found.st_mode):
        raise _unreadable(name, path, "it is not a file")
    return name, str(path), found.st_size, found.st_mtime_ns


@lru_cache(maxsize=4)
def _bundle(sources: tuple[Source, ...]) -> bytes:
    found: list[bytes] = []
    for name, path, _, _ in dict.fromkeys(sources):
        inside = _CERTIFICATE.findall(_read(name, Path(path)))
        if not inside and name in FILES and os.environ.get(name, "").strip() == path:
            raise _unreadable(name, Path(path), "it holds no certificate in PEM")
        found += inside
    return _joined(found)


def _joined(certificates: Iterable[bytes]) -> bytes:
    return b"".join(certificate + b"\n" for certificate in dict.fromkeys(certificates))


def _read(name: str, path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            content = opened.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise _unreadable(name, path, error.strerror or str(error)) from error
    if len(content) > _LARGEST_BYTES:
        raise _unreadable(name, path, f"it has more than {_LARGEST_BYTES} bytes")
    return content


@lru_cache(maxsize=4)
def _context(certificates: bytes) -> ssl.SSLContext:
    return _made(certificates)  # once: it takes a fortieth of a second


def _made(certificates: bytes) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=certificates.decode("ascii"))
    except ssl.SSLError as error:
        named = [name for name in (*FILES, *FOLDERS) if os.environ.get(name, "").strip()]
        raise Refused(
            f"one of the trusted certificates is damaged: {error}",
            state="Nothing was asked.",
            next_step=f"Look at the files that these variables name: {', '.join(named)}." if named else "",
        ) from error


def _written(certificates: bytes) -> IO[bytes]:
    opened = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as anybody may use the path
    opened.write(certificates)
    opened.flush()
    return opened


def _unreadable(name: str, path: Path, problem: str) -> Refused:
    named = f"{name} names {path}" if name else str(path)
    return Refused(
        f"cannot read the certificate authorities: {named}: {problem}",
        state="Nothing was asked.",
        next_step=f"Correct or unset {name}; docs/how-to/networks.md says what it is for." if name else "",
    )
