"""Keys that sign and verify, by ``cryptography``: Ed25519, and ECDSA with P-256 or P-384.

A key is PEM: a private one as PKCS #8 without a password, a public one as SubjectPublicKeyInfo, as OpenSSL writes
them. No key is made here: ``openssl genpkey -algorithm ed25519 -out key.pem``, ``openssl pkey -in key.pem -pubout``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.errors import InvalidInput

_HOW = "openssl genpkey -algorithm ed25519 -out key.pem makes one; openssl pkey -in key.pem -pubout, its public half."


@dataclass(frozen=True)
class Key:
    """A public key. ``name`` is the sha256 of it (its SubjectPublicKeyInfo in DER), in hexadecimal digits."""

    name: str
    _public: Any

    @classmethod
    def read(cls, path: Path) -> Key:
        """Read a public key, or the public half of a private one; raise InvalidInput with what is wrong."""
        return cls._of(_loaded(path, may_be_public=True))

    @classmethod
    def _of(cls, public: Any) -> Key:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(hashlib.sha256(spki).hexdigest(), public)

    def verifies(self, signed: bytes, message: bytes) -> bool:
        """Say whether ``signed`` is a signature of ``message`` by this key."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey

        try:
            if isinstance(self._public, EllipticCurvePublicKey):
                self._public.verify(signed, message, ECDSA(_hash_of(self._public)))
            else:
                self._public.verify(signed, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key. ``key`` is its public half."""

    key: Key
    _private: Any

    @classmethod
    def read(cls, path: Path) -> Signer:
        """Read a private key; raise InvalidInput with what is wrong."""
        private = _loaded(path, may_be_public=False)
        return cls(Key._of(private.public_key()), private)

    def sign(self, message: bytes) -> bytes:
        """Return the signature of ``message``."""
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey

        if isinstance(self._private, EllipticCurvePrivateKey):
            return bytes(self._private.sign(message, ECDSA(_hash_of(self._private))))
        return bytes(self._private.sign(message))


def _loaded(path: Path, *, may_be_public: bool) -> Any:
    """Return the private key in a file, or with ``may_be_public`` the public one that it holds or belongs to."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

    try:
        text = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", file=str(path)) from error
    is_private = b"PRIVATE KEY" in text
    if not is_private and not may_be_public:
        raise InvalidInput("is not a private key in PEM", file=str(path), next_step=_HOW)
    try:
        loaded: Any = load_pem_private_key(text, None) if is_private else load_pem_public_key(text)
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise InvalidInput(
            f"is not a key in PEM without a password: {error}", file=str(path), next_step=_HOW
        ) from error
    public = loaded.public_key() if is_private else loaded
    if not _is_known(public):
        raise InvalidInput("is neither Ed25519 nor ECDSA with P-256 or P-384", file=str(path), next_step=_HOW)
    return public if may_be_public else loaded


def _is_known(public: Any) -> bool:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    is_ec = isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1 | SECP384R1)
    return is_ec or isinstance(public, Ed25519PublicKey)


def _hash_of(key: Any) -> Any:
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384

    return SHA256() if key.curve.key_size <= 256 else SHA384()
