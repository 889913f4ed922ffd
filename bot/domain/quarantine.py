"""The quarantine of an environment: digests that failed there, kept out until a person lifts them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bot.domain.desired import Section
from bot.domain.names import SHADOW_SUFFIX
from bot.domain.release import Release, Slot


class QuarantineEvent(BaseModel):
    """A digest is put into quarantine, or taken out of it by a person."""

    model_config = ConfigDict(frozen=True)

    environment: str
    section: Section = Field(default="models", description="where the release was that is to blame")
    model: str
    version: int
    digest: str
    run: str = Field(default="", description="MLflow run; empty in events of earlier versions of promobot")
    lifted: bool
    reason: str
    by: str
    at: datetime
    deployment: str = ""
    """The deployment that put it there; empty where a person did, and in events of before."""

    @model_validator(mode="before")
    @classmethod
    def _without_a_section(cls, given: Any) -> Any:
        """Earlier versions of promobot wrote the place into the id of the deployment only."""
        if not isinstance(given, Mapping) or "section" in given:
            return given
        is_shadow = str(given.get("deployment", "")).endswith(SHADOW_SUFFIX)
        return {**given, "section": "shadow" if is_shadow else "models"}

    @classmethod
    def of(cls, release: Release, *, reason: str, by: str, at: datetime, deployment: str = "") -> QuarantineEvent:
        """Return the event that puts the digest of a release into the quarantine of its environment."""
        return cls(
            environment=release.slot.environment,
            section=release.slot.section,
            model=release.slot.model,
            version=release.version,
            digest=release.digest,
            run=release.run,
            lifted=False,
            reason=reason,
            by=by,
            at=at,
            deployment=deployment,
        )

    @property
    def release(self) -> Release:
        """The release that is to blame; its run is empty in events of earlier versions of promobot."""
        slot = Slot.of(self.environment, self.model, self.section)
        return Release(slot, self.version, self.digest, self.run)

    def lifted_by(self, by: str, *, reason: str, at: datetime) -> QuarantineEvent:
        """Return the event that takes the digest out of quarantine again."""
        return self.model_copy(update={"lifted": True, "reason": reason, "by": by, "at": at})


Quarantined = Mapping[str, QuarantineEvent]
"""The quarantine as it is now: by digest, the event that put it there."""


def quarantined_by(events: Iterable[QuarantineEvent]) -> dict[str, QuarantineEvent]:
    """Return what is in quarantine after these events, in any order; of each digest the newest one decides."""
    return {digest: event for digest, event in _newest(events).items() if not event.lifted}


def lifted_by(events: Iterable[QuarantineEvent]) -> dict[str, QuarantineEvent]:
    """Return what people allowed again, and nothing blamed since; by digest, the event that lifted it."""
    return {digest: event for digest, event in _newest(events).items() if event.lifted}


def _newest(events: Iterable[QuarantineEvent]) -> dict[str, QuarantineEvent]:
    return {event.digest: event for event in sorted(events, key=lambda event: event.at)}


def beginning_with(text: str, quarantined: Quarantined) -> list[QuarantineEvent]:
    """Return the events whose digest begins with ``text``, with or without ``sha256:``; none for an empty text."""
    wanted = text.removeprefix("sha256:")
    return [event for digest, event in quarantined.items() if wanted and digest[len("sha256:") :].startswith(wanted)]
