"""The people and bots of the forge: each token belongs to one of them."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import jwt
from pydantic import BaseModel, ConfigDict

from bot.sandbox.forge.git import Identity


class Person(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    login: str
    type: Literal["User", "Bot"] = "User"
    permission: Literal["read", "write", "admin"] = "write"
    permissions: Mapping[str, Literal["read", "write", "admin"]] | None = None
    """Permissions of an App's installation; for everybody else ``permission`` counts."""
    starts_workflows: bool = True
    """False for the token that a workflow run is given: GitHub starts no workflows for what it does."""

    @property
    def id(self) -> int:
        """The same number for the same login, also after a restart."""
        return zlib.crc32(self.login.encode()) % 10**8

    @property
    def may_write(self) -> bool:
        return self.permission != "read"

    def may(self, permission: str) -> bool:
        """Whether it may write what GitHub's permission of this name guards."""
        if self.permissions is None:
            return self.may_write
        return self.permissions.get(permission) in ("write", "admin")

    @property
    def identity(self) -> Identity:
        return Identity(self.login, f"{self.id}+{self.login}@users.noreply.github.com")


GITHUB = Identity("GitHub", "noreply@github.com")
ACTIONS_BOT = Person(login="github-actions[bot]", type="Bot", starts_workflows=False)

MERGE_QUEUE = Person(login="github-merge-queue[bot]", type="Bot")


class App(BaseModel):
    """A GitHub App that is installed in the repository."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int
    slug: str
    public_key: str
    """PEM; the App keeps the private key."""
    installation: int = 1
    permissions: dict[str, Literal["read", "write", "admin"]]


class BadJwt(Exception):
    """A JSON web token that GitHub does not take, in its words."""


class People:
    """Finds the person of an Authorization header."""

    def __init__(self, by_token: dict[str, Person], *, apps: Mapping[int, App] | None = None) -> None:
        self._by_token = dict(by_token)
        self._apps = dict(apps or {})
        self._expiry: dict[str, datetime] = {}

    def install(self, app: App) -> None:
        """Let an App work here."""
        self._apps[app.id] = app

    def app_of(self, token: str) -> App:
        """The App that signed a JSON web token. Raises `BadJwt`."""
        try:
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
            app = self._apps.get(int(str(issuer)))
        except (jwt.PyJWTError, ValueError) as error:
            raise BadJwt("A JSON web token could not be decoded") from error
        if app is None:
            raise BadJwt("Integration not found")
        try:
            claims = jwt.decode(token, app.public_key, algorithms=["RS256"], options={"verify_iss": False})
        except jwt.ExpiredSignatureError as error:
            raise BadJwt(
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at "
                "which the assertion expires"
            ) from error
        except jwt.PyJWTError as error:
            raise BadJwt("A JSON web token could not be decoded") from error
        if claims.get("exp", 0) > time.time() + 600:
            raise BadJwt("'Expiration time' claim ('exp') is too far in the future")
        return app

    def installation_token(self, app: App, permissions: Mapping[str, str], *, expires: datetime) -> str:
        """A new token of the App, valid until it expires."""
        token = f"ghs_{secrets.token_hex(18)}"
        self._expiry[token] = expires
        self.add(
            token,
            Person.model_validate({"login": f"{app.slug}[bot]", "type": "Bot", "permissions": dict(permissions)}),
        )
        return token

    def add(self, token: str, person: Person) -> None:
        self._by_token[token] = person

    def remove(self, token: str) -> None:
        self._by_token.pop(token, None)

    def named(self, login: str) -> Person:
        """The person with this login; people without a token exist, too."""
        return next((person for person in self._by_token.values() if person.login == login), Person(login=login))

    def with_email(self, email: str) -> Person | None:
        return next((person for person in self._by_token.values() if person.identity.email == email), None)

    def of(self, authorization: str) -> Person | None:
        """The person of ``Bearer T``, ``token T`` or ``Basic …`` (the token is the password, or the only part)."""
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() in ("bearer", "token"):
            return self._holder(rest.strip())
        if scheme.lower() == "basic":
            try:
                name, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
            return self._holder(password) or (self._holder(name) if not password else None)
        return None

    def _holder(self, token: str) -> Person | None:
        expires = self._expiry.get(token)
        return self._by_token.get(token) if expires is None or expires > datetime.now(UTC) else None
