"""What ``promobot doctor`` says of what it finds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ASK_THE_DOCTOR = re.compile(r" ?`promobot doctor`[^.:]*\.")
TRIED_ALIAS = "promobot-doctor"
"""The alias that is asked for and never set."""


def did_not_end(seconds: float) -> str:
    """A trial hangs."""
    return f"it does not answer: the trial did not end within {seconds:g} s"


def did_not_end_step() -> str:
    """What to look at."""
    return "Is it up, and can this machine reach it?"


def without_ourselves(next_step: str) -> str:
    """Return what to do, without the advice to ask the doctor: this is the doctor."""
    left = _ASK_THE_DOCTOR.sub("", next_step)
    if left == next_step:
        return next_step
    return left.rstrip(" ;") + ("." if left.endswith(";") else "") or "Are the credentials right?"


def verdict(environment: str, failing: Sequence[str], untried: Sequence[str], count: int) -> str:
    """Return the first line: whether a deployment would go through, and what is in its way."""
    if failing:
        return f"✗ {environment}: fix this before you deploy: {', '.join(failing)}"
    if untried:
        return f"– {environment}: nothing fails, and not everything could be tried: {', '.join(untried)}"
    return f"✓ {environment}: all {count} systems take what a deployment does"


def registry(model: str, version: int, files: int) -> str:
    """MLflow works."""
    return f"reads {model} {version} ({files} files), may set its aliases"


def nothing_registered(models: Iterable[str]) -> str:
    """MLflow answers, and has nothing to try more with."""
    listed = list(models)
    named = ", ".join(listed[:3]) + (", …" if len(listed) > 3 else "")
    return f"answers; reading a version and setting an alias were not tried: no version of {named} is registered"


def nothing_registered_step() -> str:
    """What to do about it."""
    return "Register a version, then ask again."


def no_package(model: str, version: int) -> str:
    """MLflow has a version without a package."""
    return f"lists {model} {version}, may set its aliases; reading was not tried: the version has no package.json"


def no_package_step() -> str:
    """What to do about it."""
    return "Register a version with bot.training.register, then ask again."


def channel(who: str, named: str) -> str:
    """Slack works."""
    return f"{who}, reads and may write {named}"


def may_be_archived(said: str) -> tuple[str, str]:
    """Slack works as far as it shows, and what to do to see the rest."""
    return (
        f"{said}; Slack does not show whether it is archived without the scope channels:read (private: groups:read)",
        "Add the scope in the app's settings under OAuth & Permissions, and install the app again.",
    )


def under_way() -> str:
    """A deployment holds the share."""
    return "a deployment is under way or was cut off, and nothing of it was touched"


def triton(version: str, ready: int) -> str:
    """A Triton works."""
    return f"version {version}, loads on command, {ready} model versions READY"


def share_untried(said: str) -> str:
    """A Triton works as far as that can be said without the share."""
    return f"{said}; whether it reads the bot's share was not tried, since the share fails"


def gateway(generation: int, workers: int) -> str:
    """A gateway works."""
    of_workers = f" on all {workers} workers" if workers > 1 else ""
    return f"serves generation {generation}{of_workers}, takes the reload token"


def another_state(name: str, said: str, state: str) -> str:
    """A gateway cannot read what the bot writes beside the routes."""
    return f"{name} does not read the routes in {state}: {said}"


def another_state_step() -> str:
    """What to look at."""
    return (
        "Compare its --routes, and what is mounted there, with share.state in the environment file; and may its user "
        "read what the bot's user writes?"
    )


def gateway_untried(said: str, why: str) -> str:
    """A gateway works as far as that can be said."""
    return f"{said}; whether it reads the bot's share was not tried: {why}"


THE_SHARE_FAILS = "the share fails"
OLD_GATEWAY = "it is of a version that cannot be asked"


def another_environment(name: str, theirs: str, ours: str) -> str:
    """A gateway follows the routes of another environment."""
    return f"{name} serves {theirs}, not {ours}: it follows another routes.json"


def another_environment_step() -> str:
    """What to look at."""
    return "Compare its address with the environment file, and its --routes with share.state there."


def another_repository(triton: str, environment: str, unseen: Sequence[str]) -> str:
    """A Triton does not see what lies on the share, or cannot read what the bot has just published."""
    named = ", ".join(unseen[:3]) + (", …" if len(unseen) > 3 else "")
    said = f"it does not know {named}" if unseen else "it cannot read what the bot publishes there"
    return f"{triton} reads another model repository than that of {environment}: {said}"


def another_repository_step() -> str:
    """What to look at."""
    return (
        "Compare its --model-repository, and what is mounted there, with the environment file; and may its user read "
        "what the bot's user writes?"
    )


def unknown_workers_step() -> str:
    """Why that matters, and where it is explained."""
    return "Until then nothing new is deployed here. See “Several workers” in docs/gateway.md."


def plain_secrets(variables: Sequence[str]) -> str:
    """Some secrets look like ordinary words."""
    return (
        f"{', '.join(variables)}: shorter than 8 characters, or a plain word. Such a value is easy to guess, and the "
        f"bot cannot blank it out of what it says without blanking other words"
    )


def plain_secrets_step() -> str:
    """What to do about them."""
    return "Set longer ones, made at random, as `openssl rand -hex 32` prints them."


def nobodys_desired_state(paths: Sequence[str]) -> str:
    """Files in ``promotions/`` that no environment reads."""
    return f"{', '.join(paths[:5])} in promotions/ belongs to no environment that this checkout has settings for"


def nobodys_desired_state_step() -> str:
    """What to do about them."""
    return "Bring this checkout up to date. Else add manifests/environments/<env>.yaml, or remove the file."


def sample_title(environment: str) -> str:
    """A commit's title as proposals have it, for rules about messages."""
    return f"Promote model to 1 in {environment}"
