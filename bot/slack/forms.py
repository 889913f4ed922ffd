"""Modals for what was left out: filled with what exists, as far as this person may use it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slack_sdk.models.blocks import (
    Block,
    CheckboxesElement,
    InputBlock,
    MarkdownTextObject,
    NumberInputElement,
    Option,
    OptionGroup,
    PlainTextInputElement,
    SectionBlock,
    StaticSelectElement,
)
from slack_sdk.models.views import View

from bot.domain.names import MAX_VERSION
from bot.render import mrkdwn
from bot.render import slack as words
from bot.slack.commands import Ask, Command, Propose, ProposeMany, RollBack, Wrong, is_number

_METADATA_CHARACTERS = 2_800
"""Slack keeps 3,000 characters with a form, unseen."""
OPTIONS = 100
"""As many as Slack takes, of groups and in each."""


@dataclass(frozen=True)
class Target:
    """A version that an environment can go back to; None for the last verified one."""

    environment: str
    model: str
    version: int | None
    when: str = ""


def looking(name: str, *, channel: str) -> dict[str, Any]:
    """Return the form that is shown at once: Slack waits 3 s, and what exists may take longer to find."""
    text = f"{words.LOOKING} {mrkdwn.code(f'/{name} {words.HINTS[name]}')}"
    return _form(name, [_text(text)], channel=channel, submit=False)


def says(name: str, text: str, *, channel: str) -> dict[str, Any]:
    """Return a form that only tells something."""
    return _form(name, [_text(text)], channel=channel, submit=False)


def promote(
    ask: Ask, *, versions: Mapping[str, Sequence[int]], environments: Sequence[str], channel: str, known: bool
) -> dict[str, Any]:
    """Return the form of /promote; without ``known`` the registry did not answer, and the version is typed."""
    blocks: list[Block] = []
    listed = [("", [(name, name) for name in environments])]
    if ask.versions and environments:
        return _several(ask, _select("environment", words.ENVIRONMENT, listed, chosen=""), channel=channel)
    if known:
        groups = [
            (model, [(words.version_of(model, one), f"{model}/{one}") for one in numbers[:OPTIONS]])
            for model, numbers in versions.items()
            if numbers
        ]
        if not groups or not environments:
            return says("promote", words.EMPTY_FORM["promote"], channel=channel)
        chosen = f"{ask.model}/{ask.version}" if ask.version else ""
        blocks.append(_select("what", words.VERSION, groups, chosen=chosen))
    else:
        models = [("", [(model, model) for model in versions])]
        blocks.append(_select("model", words.MODEL, models, chosen=ask.model))
        number = NumberInputElement(
            action_id="version",
            is_decimal_allowed=False,
            min_value="1",
            initial_value=str(ask.version) if ask.version else None,
        )
        blocks.append(InputBlock(block_id="version", label=words.VERSION, element=number))
    blocks.append(_select("environment", words.ENVIRONMENT, listed, chosen=ask.environment))
    return _form("promote", blocks, channel=channel)


def _several(ask: Ask, environment: InputBlock, *, channel: str) -> dict[str, Any]:
    """Return the form for several versions that were typed: it asks for the environment alone."""
    named = [words.version_of(model, version) for model, version in ask.versions]
    text = f"{words.SEVERAL} {mrkdwn.code(', '.join(named), limit=2500)}"
    versions = " ".join(f"{model}:{version}" for model, version in ask.versions)
    if len(versions) > _METADATA_CHARACTERS:
        return says("promote", words.too_long_for_a_form(), channel=channel)
    return _form("promote", [_text(text), environment], channel=channel, versions=versions)


def rollback(ask: Ask, *, targets: Sequence[Target], channel: str) -> dict[str, Any]:
    """Return the form of /rollback."""
    groups: dict[str, list[tuple[str, str]]] = {}
    chosen = ""
    for one in targets:
        value = f"{one.environment}/{one.model}/{one.version or ''}"
        label = words.LAST_VERIFIED if one.version is None else words.back_to(one.version, one.when)
        groups.setdefault(words.model_in(one.model, one.environment), []).append((label, value))
        if one.model == ask.model and not chosen:
            chosen = value
    if not groups:
        return says("rollback", words.EMPTY_FORM["rollback"], channel=channel)
    at_once = Option(value="now", label=words.NOW, description=words.NOW_HINT)
    blocks: list[Block] = [
        _select("target", words.TARGET, list(groups.items()), chosen=chosen),
        InputBlock(
            block_id="now",
            label=words.NOW,
            optional=True,
            element=CheckboxesElement(action_id="now", options=[at_once]),
        ),
        InputBlock(
            block_id="reason",
            label=words.WHY,
            hint=words.WHY_HINT,
            optional=True,
            element=PlainTextInputElement(action_id="reason", max_length=300),
        ),
    ]
    return _form("rollback", blocks, channel=channel)


def values_of(view: Mapping[str, Any]) -> dict[str, str]:
    """Return what was filled in, by the name of each field, as text."""
    found: dict[str, str] = {}
    if versions := _kept(view).get("versions"):
        found["versions"] = str(versions)
    state = view.get("state") or {}
    for fields in (state.get("values") or {}).values():
        for name, field in fields.items():
            if field.get("selected_options") is not None:
                found[name] = ",".join(str(option["value"]) for option in field["selected_options"])
            elif field.get("selected_option") is not None:
                found[name] = str(field["selected_option"]["value"])
            elif field.get("value") is not None:
                found[name] = str(field["value"])
    return found


def channel_of(view: Mapping[str, Any]) -> str:
    """Return where the command was typed that opened this form."""
    return str(_kept(view).get("channel", ""))


def _kept(view: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what Slack kept with the form; nothing where it is not ours."""
    try:
        kept = json.loads(view.get("private_metadata") or "{}")
    except (ValueError, TypeError):
        return {}
    return kept if isinstance(kept, dict) else {}


def command_of(name: str, values: Mapping[str, str]) -> Command:
    """Return what a form that was sent asks for."""
    if name == "promote" and values.get("versions"):
        return _command_of_several(values["versions"], values.get("environment", ""))
    if name == "promote":
        model, _, version = values.get("what", "").partition("/")
        model, version = model or values.get("model", ""), version or values.get("version", "")
        if model and is_number(version) and 1 <= int(version) <= MAX_VERSION:
            return Propose(model, int(version), values.get("environment", ""))
        return Wrong(words.no_version(version))
    environment, model, version = [*values.get("target", "").split("/"), "", ""][:3]
    number = int(version) if is_number(version) else None
    return RollBack(model, environment, number, "now" in values.get("now", "").split(","))


def _command_of_several(versions: str, environment: str) -> Command:
    pairs = [(model, version) for model, _, version in (word.rpartition(":") for word in versions.split())]
    for model, version in pairs:
        if not model or not is_number(version) or not 1 <= int(version) <= MAX_VERSION:
            return Wrong(words.no_version(version))
    return ProposeMany(tuple((model, int(version)) for model, version in pairs), environment)


def _select(
    name: str, label: str, groups: Sequence[tuple[str, Sequence[tuple[str, str]]]], *, chosen: str
) -> InputBlock:
    made = [
        (heading, [Option(value=value, label=text[:75]) for text, value in options[:OPTIONS] if len(value) <= 75])
        for heading, options in groups[:OPTIONS]
    ]
    initial = next((option for _, options in made for option in options if option.value == chosen), None)
    if len(made) == 1 and not made[0][0]:
        element = StaticSelectElement(action_id=name, options=made[0][1], initial_option=initial)
    else:
        listed = [OptionGroup(label=heading[:75], options=options) for heading, options in made if options]
        element = StaticSelectElement(action_id=name, option_groups=listed, initial_option=initial)
    return InputBlock(block_id=name, label=label, element=element)


def _text(text: str) -> SectionBlock:
    return SectionBlock(text=MarkdownTextObject(text=text))


def _form(
    name: str, blocks: Sequence[Block], *, channel: str, submit: bool = True, versions: str = ""
) -> dict[str, Any]:
    view = View(
        type="modal",
        callback_id=name,
        title=words.FORM_TITLES[name],
        submit=words.FORM_SUBMITS[name] if submit else None,
        close=words.CLOSE,
        blocks=blocks,
        private_metadata=json.dumps({"channel": channel, **({"versions": versions} if versions else {})}),
    )
    made: dict[str, Any] = view.to_dict()
    return made
