"""Signed commits: the forge signs what it makes itself, as GitHub does, and may ask for signatures on branches.

The signature is an SSH signature (OpenSSH's PROTOCOL.sshsig) in the commit's ``gpgsig`` header, with a key of the
forge's own; ``git verify-commit`` takes it. GitHub also takes keys of people, which this forge knows none of.

As a program it is the hook of a push: ``python -m bot.sandbox.forge.signing REF OLD NEW`` in the repository, with the
rules and the key's file in the environment. It ends with 1, in GitHub's words, where a rule refuses the push.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import struct
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, TypeAdapter

from bot.exit_codes import ExitCode
from bot.sandbox.forge.git import ZERO, Git

_MAGIC, _NAMESPACE, _HASH, _KIND = b"SSHSIG", b"git", b"sha512", b"ssh-ed25519"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
DEFAULT = "main"
UNSIGNED = "Commits must have verified signatures."


class Key:
    """The forge's own key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        line = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        self._public = line.decode()
        self._blob = base64.b64decode(line.split()[1])

    @classmethod
    def of(cls, file: Path) -> Key:
        """Read it from a file, which is made where it is not there."""
        if not file.exists():
            made = Ed25519PrivateKey.generate()
            file.write_bytes(
                made.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            file.chmod(0o600)
        read = serialization.load_pem_private_key(file.read_bytes(), password=None)
        if not isinstance(read, Ed25519PrivateKey):
            raise TypeError(f"{file} holds no Ed25519 key")
        return cls(read)

    @property
    def allowed_signer(self) -> str:
        """The line by which ``ssh-keygen -Y verify`` and Git know the key."""
        return f"noreply@github.com {self._public}\n"

    def sign(self, payload: bytes) -> str:
        """Return the armored signature of a commit's text."""
        signature = _string(_KIND) + _string(self._private.sign(_signed(payload)))
        blob = _MAGIC + struct.pack(">I", 1) + _string(self._blob) + _string(_NAMESPACE) + _string(b"")
        blob += _string(_HASH) + _string(signature)
        return "\n".join([_BEGIN, *textwrap.wrap(base64.b64encode(blob).decode(), 70), _END])

    def made(self, payload: bytes, armored: str) -> bool:
        """Say whether this key made the signature, of this text: Ed25519 signs the same text the same way."""
        return armored.split() == self.sign(payload).split()


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _signed(payload: bytes) -> bytes:
    digest = hashlib.sha512(payload).digest()
    return _MAGIC + _string(_NAMESPACE) + _string(b"") + _string(_HASH) + _string(digest)


def is_verified(git: Git, commit: str, key: Key) -> bool:
    """Say whether the forge signed a commit."""
    payload, armored = git.signature_of(commit)
    return bool(armored) and key.made(payload, armored)


# --- rules ---------------------------------------------------------------------------------------------------------


class Refs(BaseModel):
    """The branches for which a ruleset holds, as GitHub writes them: fnmatch, ``~ALL``, ``~DEFAULT_BRANCH``."""

    model_config = ConfigDict(frozen=True)

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def hold_for(self, ref: str) -> bool:
        """Say whether they hold for a full reference name."""

        def named(patterns: Iterable[str]) -> bool:
            return any(_matches(pattern, ref) for pattern in patterns)

        return named(self.include) and not named(self.exclude)


def _matches(pattern: str, ref: str) -> bool:
    if pattern == "~ALL":
        return True
    if pattern == "~DEFAULT_BRANCH":
        return ref == f"refs/heads/{DEFAULT}"
    translated = "".join(
        {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
        for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    )
    return re.fullmatch(translated, ref) is not None


def brought(git: Git, ref: str, old: str, new: str) -> list[str]:
    """Return the commits that a move brings to a branch, besides what the default branch has."""
    default = "" if ref == f"refs/heads/{DEFAULT}" else git.branch(DEFAULT)
    return [
        one.sha
        for one in git.commits(new, without=[known for known in (old, default) if known not in (None, "", ZERO)])
    ]


def violations(git: Git, key: Key, commits: Sequence[str]) -> str:
    """Return what GitHub says of commits that are not signed; empty where all are."""
    found = [commit for commit in commits if not is_verified(git, commit, key)]
    if not found:
        return ""
    many = "1 violation" if len(found) == 1 else f"{len(found)} violations"
    return f"{UNSIGNED}\n  Found {many}:\n\n" + "\n".join(f"  {commit}" for commit in found)


def main(arguments: Sequence[str]) -> int:
    """Refuse a push as GitHub does; see the module."""
    ref, old, new = arguments
    rules = TypeAdapter(tuple[Refs, ...]).validate_json(os.environ["FORGE_SIGNED"])
    if new == ZERO or not any(refs.hold_for(ref) for refs in rules):
        return ExitCode.DONE
    git, key = Git(Path.cwd()), Key.of(Path(os.environ["FORGE_KEY"]))
    if said := violations(git, key, brought(git, ref, old, new)):
        url = os.environ["FORGE_RULES"]
        print(f"error: GH013: Repository rule violations found for {ref}.", file=sys.stderr)
        print(f"Review all repository rules at {url}\n\n- {said}\n", file=sys.stderr)
        return ExitCode.FAILED
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
