"""The app as it is installed in the workspace: its manifest, its tokens, and where its requests go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCOPES = (
    *("channels:history", "channels:read", "chat:write", "commands", "groups:history", "groups:read"),
    "usergroups:read",
)
"""Those that our methods ask for. Not ``chat:write.public``: to write where the app is not."""

_MANIFEST = Draft202012Validator(json.loads(Path(__file__).with_name("manifest.json").read_text()))


class SlashCommand(BaseModel):
    """A command, as people type it."""

    command: str
    description: str
    url: str = ""
    usage_hint: str = ""


class Installation(BaseModel):
    """The app. ``request_url`` is where its requests go instead of what the manifest says, which names a public host.

    The manifest may be given as YAML text. A key that Slack does not know is an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: dict[str, Any]
    bot_token: str = Field(min_length=1, repr=False)
    app_token: str = Field(default="", pattern=r"^(xapp-.+)?$", repr=False)
    signing_secret: str = Field(default="", repr=False)
    request_url: str = ""

    @field_validator("manifest", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        manifest = yaml.safe_load(value) if isinstance(value, str) else value
        problems = [f"{error.json_path}: {error.message}" for error in _MANIFEST.iter_errors(manifest)]
        if problems:
            raise ValueError("; ".join(problems))
        return manifest

    @model_validator(mode="after")
    def _is_reachable(self) -> Installation:
        if self.socket_mode:
            if not self.app_token:
                raise ValueError("an app in Socket Mode needs app_token, xapp-…")
            return self
        if self.commands and not self.signing_secret:
            raise ValueError("an app that is reached over HTTP needs signing_secret")
        unreachable = [name for name in self.commands if not self.command_url(name)]
        if self._at("settings", "interactivity", "is_enabled") and not self.interactivity_url:
            unreachable.append("interactivity")
        if unreachable:
            raise ValueError(f"no request URL for {', '.join(unreachable)}, and no Socket Mode")
        return self

    @classmethod
    def of_token(cls, token: str) -> Installation:
        """Return an app that only calls the Web API, with every scope."""
        scopes = {"scopes": {"bot": list(SCOPES)}}
        manifest = {"display_information": {"name": "Promobot"}, "oauth_config": scopes}
        return cls(manifest=manifest, bot_token=token)

    def _at(self, *path: str) -> Any:
        """Return what the manifest has there, or None."""
        found: Any = self.manifest
        for name in path:
            found = (found or {}).get(name)
        return found

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes of the bot token."""
        return tuple(self._at("oauth_config", "scopes", "bot") or ())

    @property
    def commands(self) -> dict[str, SlashCommand]:
        """The app's slash commands, by what is typed."""
        listed = map(SlashCommand.model_validate, self._at("features", "slash_commands") or ())
        return {command.command: command for command in listed}

    @property
    def socket_mode(self) -> bool:
        """Whether requests go to the app over its WebSocket connections."""
        return bool(self._at("settings", "socket_mode_enabled"))

    @property
    def interactivity_url(self) -> str:
        """Where buttons and modals go."""
        return self.request_url or str(self._at("settings", "interactivity", "request_url") or "")

    def command_url(self, command: str) -> str:
        """Return where the command goes."""
        return self.request_url or self.commands[command].url
