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
