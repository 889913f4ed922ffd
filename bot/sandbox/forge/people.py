"""Who is asking: each token belongs to one person (or bot)."""

from __future__ import annotations

import base64
import binascii
import zlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from bot.sandbox.forge.git import Identity


class Person(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    login: str
    type: Literal["User", "Bot"] = "User"
    permission: Literal["read", "write", "admin"] = "write"
    starts_workflows: bool = True
    """False for the token that a workflow run is given: GitHub starts no workflows for what it does."""

    @property
    def id(self) -> int:
        """The same number for the same login, also after a restart."""
        return zlib.crc32(self.login.encode()) % 10**8

    @property
    def may_write(self) -> bool:
        return self.permission != "read"

    @property
    def identity(self) -> Identity:
        return Identity(self.login, f"{self.id}+{self.login}@users.noreply.github.com")


GITHUB = Identity("GitHub", "noreply@github.com")
ACTIONS_BOT = Person(login="github-actions[bot]", type="Bot", starts_workflows=False)


class People:
    """Finds the person of an Authorization header."""

    def __init__(self, by_token: dict[str, Person]) -> None:
        self._by_token = dict(by_token)

    @classmethod
    def read(cls, file: Path) -> People:
        """Read ``{"token": {"login": "alex", "type": "User"}}``; pydantic's error names what is wrong in it."""
        return cls(TypeAdapter(dict[str, Person]).validate_json(file.read_bytes()))

    def add(self, token: str, person: Person) -> None:
        self._by_token[token] = person

    def remove(self, token: str) -> None:
        self._by_token.pop(token, None)

    def named(self, login: str) -> Person:
        """The person with this login; one who has no token (any more) is still somebody."""
        return next((person for person in self._by_token.values() if person.login == login), Person(login=login))

    def with_email(self, email: str) -> Person | None:
        return next((person for person in self._by_token.values() if person.identity.email == email), None)

    def of(self, authorization: str) -> Person | None:
        """The person of ``Bearer T``, ``token T`` or ``Basic …`` (the token is the password, or the only part)."""
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() in ("bearer", "token"):
            return self._by_token.get(rest.strip())
        if scheme.lower() == "basic":
            try:
                name, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
            return self._by_token.get(password) or (self._by_token.get(name) if not password else None)
        return None
