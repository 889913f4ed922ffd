"""A release as one signed statement, of real records, and checked without any system."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bot.domain.package import Package
from bot.errors import InvalidInput
from bot.signing import Key, Signer
from tests.operations.world import World


def pair(folder: Path, name: str = "key", private: Any = None) -> tuple[Path, Path]:
    """Write a private key and its public half as PEM; return both files."""
    private = private or ed25519.Ed25519PrivateKey.generate()
    none, pem = serialization.NoEncryption(), serialization.Encoding.PEM
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    secret.write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, none))
    public.write_bytes(private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return secret, public


@pytest.mark.parametrize(
    "private",
    [
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
        pytest.param(ec.generate_private_key(ec.SECP256R1()), id="P-256"),
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
    ],
)
def test_a_key_verifies_what_it_signed_and_nothing_else(private: Any, tmp_path: Path) -> None:
    secret, public = pair(tmp_path, private=private)
    signer, key = Signer.read(secret), Key.read(public)
    assert key.name == signer.key.name == Key.read(secret).name
    signed = signer.sign(b"message")
    assert key.verifies(signed, b"message")
    assert not key.verifies(signed, b"massage") and not key.verifies(b"", b"message")
    assert not Key.read(pair(tmp_path, "other")[1]).verifies(signed, b"message")


def test_what_is_no_key_says_why(tmp_path: Path) -> None:
    secret, public = pair(tmp_path)
    large = pair(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))[0]
    locked = tmp_path / "locked.pem"
    scheme = serialization.BestAvailableEncryption(b"word")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(pem, form, scheme))
    for path, why in (
        (tmp_path / "none.pem", "cannot be read: No such file"),
        (public, "is not a private key in PEM"),
        (large, "is neither Ed25519 nor ECDSA"),
        (locked, "is not a key in PEM without a password"),
    ):
        with pytest.raises(InvalidInput, match=why) as found:
            Signer.read(path)
        assert str(path) in str(found.value)
    assert Key.read(secret).name


def test_a_release_is_stated_signed_and_verified_offline(world: World, tmp_path: Path) -> None:
    model = world.model()
    first = world.served(world.register(model))
    secret, public = pair(tmp_path)
    file = tmp_path / "churn.json"
    said = world.words("evidence", "export", model, 1, "--env", "dev", "--key", secret, "--to", file)
    assert said.code == 0, said.err
    key = Key.read(public)
    (record,) = world.records(model)
    assert said.out == (
        f"{file}: {model} 1 ({first.entry.digest[7:19]}), 1 deployments in dev; signed by key {key.name[:12]}\n"
    )
    checked = world.bot("evidence", "verify", file, "--key", public).document
    assert (checked["model"], checked["version"], checked["digest"]) == (model, 1, first.entry.digest)
    assert (checked["signed_by"], checked["deployments"]) == (key.name, [record.id])
    envelope = json.loads(file.read_text())
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    message, signed = tmp_path / "message", tmp_path / "signed"
    message.write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    signed.write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    openssl = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        public,
        "-rawin",
        "-in",
        message,
        "-sigfile",
        signed,
    ]
    assert subprocess.run(openssl, check=False, capture_output=True).returncode == 0, "another program says so, too"
    statement = json.loads(payload)["predicate"]
    listed = {"format": 1, "digest": statement["digest"], "files": statement["files"]}
    assert Package.from_json(json.dumps(listed)).digest == first.entry.digest
    (place,) = statement["places"]
    assert place["deployments"][0]["id"] == record.id and len(statement["records"][record.id]) == 64
    assert place["evidence"][0]["digest"] == first.entry.digest


def test_what_was_changed_or_signed_by_another_is_not_believed(world: World, tmp_path: Path) -> None:
    model = world.model()
    world.served(world.register(model))
    secret, public = pair(tmp_path)
    other = pair(tmp_path, "other")[1]
    file = tmp_path / "churn.json"
    assert world.bot("evidence", "export", model, 1, "--env", "dev", "--key", secret, "--to", file).code == 0
    refused = world.words("evidence", "verify", file, "--key", other)
    assert (
        refused.code == 1 and "is not signed by" in refused.err and "Nothing in it is to be believed." in refused.err
    )
    assert world.bot("evidence", "verify", file, "--key", other, "--key", public).code == 0
    envelope = json.loads(file.read_text())
    payload = base64.b64decode(envelope["payload"]).replace(b'"outcome":"succeeded"', b'"outcome":"unconfirmed"')
    file.write_text(json.dumps({**envelope, "payload": base64.b64encode(payload).decode()}))
    assert world.words("evidence", "verify", file, "--key", public).code == 1
    file.write_text(json.dumps({**envelope, "signatures": []}))
    unsigned = world.words("evidence", "verify", file, "--key", public)
    assert unsigned.code == 1 and "it names nobody" in unsigned.err
    file.write_text("{}")
    assert "is not an envelope of DSSE" in world.words("evidence", "verify", file, "--key", public).err


def test_what_no_record_knows_is_not_stated(world: World) -> None:
    model = world.model()
    world.register(model)
    said = world.words("evidence", "export", model, 1, "--env", "dev")
    assert said.code == 1 and f"the records know no release of {model} 1" in said.err


@pytest.mark.parametrize(
    ("typed", "lacking"),
    [
        (("list",), "--env"),
        (("export", "churn"), "MODEL, VERSION"),
        (("verify", "churn.json"), "FILE, --key"),
        (("revoke", "churn", "1"), "--env"),
    ],
)
def test_what_is_lacking_is_named(world: World, typed: tuple[str, ...], lacking: str) -> None:
    said = world.words("evidence", *typed)
    assert said.code == 2 and f"the following arguments are required: {lacking}" in said.err
    assert os.linesep in said.err
