"""What ``--json`` prints where it is more than the result of one operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Each = TypeVar("Each")


@dataclass(frozen=True)
class Environments(Generic[Each]):
    """The result for each environment."""

    environments: Sequence[Each]


@dataclass(frozen=True)
class ServiceEnded:
    """How the Slack service ended; false where it did not start."""

    stopped: bool


@dataclass(frozen=True)
class WatchEnded:
    """How the service that watches ended."""

    stopped: bool


@dataclass(frozen=True)
class BoardEnded:
    """How the board ended; false where it did not start."""

    stopped: bool


@dataclass(frozen=True)
class SandboxEnded:
    """The parts of a sandbox that were stopped."""

    stopped: Sequence[str]


@dataclass(frozen=True)
class Failure:
    """What keeps a command from having a result."""

    error: str
    state: str
    """In what state things are."""
    next_step: str


@dataclass(frozen=True)
class Bug:
    """A bug in promobot."""

    error: str
    log: str
    """The file to report it with."""
