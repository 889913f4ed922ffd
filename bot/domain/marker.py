"""The file that tells a store from the empty folder under a mount that is missing.

It lies at the root of the record store, of the state, and of Triton's root, and is created once. A folder without it
that was never used looks exactly like a mount that is not there, so nobody reads it as empty.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

from bot.domain import jsontext
from bot.domain.names import check_environment_name

MARKER_FILE = ".promobot.json"
"""A plain file: Triton lists hidden folders of its root as models, and files not at all."""
MARKER_KEY = "promobot.json"
"""The same in a bucket, where no name is hidden."""
RECORD_FOLDERS = ("deployments", "checks", "evidence", "quarantine", "requests", "shadows", "slack", "inbox")
"""One of them is in every record store that was used."""
Purpose = Literal["records", "state", "models", "staging state", "staging models", "inbox"]


@dataclass(frozen=True)
class Marker:
    """The purpose of a store. ``environment`` is empty where several environments share it."""

    purpose: Purpose
    environment: str = ""

    def to_json(self) -> str:
        """Return the text of the file."""
        document = {"format": 1, "purpose": self.purpose, "environment": self.environment or None}
        return json.dumps(document, indent=1) + "\n"

    def mismatch(self, text: str | bytes) -> str:
        """Say why the file of a store is not this one's, or is not a marker at all; empty where it is this one's."""
        try:
            document = jsontext.read(text)
            if not isinstance(document, dict) or document.get("format") != 1:
                return "not a marker of format 1"
            purpose, environment = str(document.get("purpose")), document.get("environment") or ""
            if purpose != self.purpose:
                return f"it is for {purpose}, not for {self.purpose}"
            if environment and self.environment and check_environment_name(environment) != self.environment:
                return f"it belongs to {environment}, not to {self.environment}"
        except ValueError as error:
            return str(error)
        return ""
