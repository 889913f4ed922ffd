"""What ``promobot doctor`` says of what it finds."""

from __future__ import annotations

from collections.abc import Sequence


def another_repository(triton: str, environment: str, unseen: Sequence[str]) -> str:
    """A Triton does not see what lies on the share."""
    named = ", ".join(unseen[:3]) + (", …" if len(unseen) > 3 else "")
    return f"{triton} reads another model repository than that of {environment}: it does not know {named}"


def another_repository_step() -> str:
    """What to look at."""
    return "Compare its --model-repository, and what is mounted there, with the environment file."


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
