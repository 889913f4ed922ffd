"""The app as it is installed in the workspace: its manifest, its tokens, and where its requests go."""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SCOPES = frozenset(
    {
        "channels:history",
        "channels:read",
        "chat:write",
        "commands",
        "groups:history",
        "groups:read",
        "im:history",
        "im:read",
        "usergroups:read",
    }
)
"""Those that our methods ask for. Not ``chat:write.public``: to write where the app is not."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlashCommand(_Part):
    """A command, as people type it."""

    command: Annotated[str, Field(pattern=r"^/[^\s/A-Z]{1,31}$")]
    description: Annotated[str, Field(min_length=1, max_length=2000)]
    url: str = ""
    usage_hint: Annotated[str, Field(max_length=1000)] = ""
    should_escape: bool = False


class _Information(_Part):
    name: Annotated[str, Field(min_length=1, max_length=35)]
    description: Annotated[str, Field(max_length=140)] = ""
    long_description: Annotated[str, Field(max_length=4000)] = ""
    background_color: Annotated[str, Field(pattern=r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")] | None = None


class _BotUser(_Part):
    display_name: Annotated[str, Field(max_length=80)]
    always_online: bool = False


class _AppHome(_Part):
    home_tab_enabled: bool = False
    messages_tab_enabled: bool = False
    messages_tab_read_only_enabled: bool = False


class _Features(_Part):
    app_home: _AppHome = _AppHome()
    bot_user: _BotUser | None = None
    slash_commands: Annotated[tuple[SlashCommand, ...], Field(max_length=50)] = ()
    unfurl_domains: tuple[str, ...] = ()


class _Scopes(_Part):
    bot: tuple[str, ...] = ()
    user: tuple[str, ...] = ()


class _OAuth(_Part):
    redirect_urls: tuple[str, ...] = ()
    scopes: _Scopes = _Scopes()


class _Interactivity(_Part):
    is_enabled: bool
    request_url: str = ""
    message_menu_options_url: str = ""


class _Events(_Part):
    request_url: str = ""
    bot_events: tuple[str, ...] = ()
    user_events: tuple[str, ...] = ()


class _Settings(_Part):
    allowed_ip_address_ranges: tuple[str, ...] = ()
    event_subscriptions: _Events = _Events()
    interactivity: _Interactivity = _Interactivity(is_enabled=False)
    org_deploy_enabled: bool = False
    socket_mode_enabled: bool = False
    token_rotation_enabled: bool = False


class _Version(_Part):
    major_version: int = 1
    minor_version: int = 0


class Manifest(BaseModel):
    """An app manifest as Slack takes it; a key that Slack does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: _Version = Field(default=_Version(), alias="_metadata")
    display_information: _Information
    features: _Features = _Features()
    oauth_config: _OAuth = _OAuth()
    settings: _Settings = _Settings()


class Installation(_Part):
    """The app. ``request_url`` is where its requests go instead of what the manifest says, which names a public host.

    The manifest may be given as YAML text.
    """

    manifest: Manifest
    bot_token: str = Field(min_length=1, repr=False)
    app_token: str = Field(default="", pattern=r"^(xapp-.+)?$", repr=False)
    signing_secret: str = Field(default="", repr=False)
    request_url: str = ""

    @field_validator("manifest", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return yaml.safe_load(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _is_reachable(self) -> Installation:
        if self.manifest.settings.socket_mode_enabled:
            if not self.app_token:
                raise ValueError("an app in Socket Mode needs app_token, xapp-…")
            return self
        if self.commands and not self.signing_secret:
            raise ValueError("an app that is reached over HTTP needs signing_secret")
        unreachable = [name for name, command in self.commands.items() if not (self.request_url or command.url)]
        if self.manifest.settings.interactivity.is_enabled and not self.interactivity_url:
            unreachable.append("interactivity")
        if unreachable:
            raise ValueError(f"no request URL for {', '.join(unreachable)}, and no Socket Mode")
        return self

    @classmethod
    def of_token(cls, token: str) -> Installation:
        """Return an app that only calls the Web API, with every scope."""
        information = {"display_information": {"name": "Promobot"}}
        scopes = {"oauth_config": {"scopes": {"bot": sorted(SCOPES)}}}
        return cls(manifest=Manifest.model_validate({**information, **scopes}), bot_token=token)

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the bot token may do."""
        return self.manifest.oauth_config.scopes.bot

    @property
    def commands(self) -> dict[str, SlashCommand]:
        """The app's slash commands, by what is typed."""
        return {command.command: command for command in self.manifest.features.slash_commands}

    @property
    def socket_mode(self) -> bool:
        """Whether requests go to the app over its WebSocket connections."""
        return self.manifest.settings.socket_mode_enabled

    @property
    def interactivity_url(self) -> str:
        """Where buttons and modals go."""
        return self.request_url or self.manifest.settings.interactivity.request_url

    def command_url(self, command: str) -> str:
        """Return where the command goes."""
        return self.request_url or self.commands[command].url
