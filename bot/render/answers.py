"""Large answers of staging, of which the evidence keeps the hash and the furthest values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from bot.domain.answers import Hashed
from bot.domain.evidence import Answer
from bot.domain.smoke import shown

KEPT_SHOWN = 10
"""Large answers that have a line; the JSON has all of them."""


def kept_answers(answers: Iterable[Answer]) -> Iterator[str]:
    """Yield a line for each large answer: whether it was exactly the training framework's, and where it was not."""
    large = [(answer.case, output) for answer in answers for output in answer.outputs if isinstance(output, Hashed)]
    for case, output in large[:KEPT_SHOWN]:
        said = "exactly as the training framework answered"
        if output.differing:
            said = f"{output.differing} of {math.prod(output.shape)} values not exactly as the training framework's"
        if output.furthest:
            at, expected, got = output.furthest[0]
            said += f", the furthest at [{at}]: {shown(got)} instead of {shown(expected)}"
        form = f"{output.datatype}{list(output.shape)}"
        yield f"staging, {case}: {output.name} {form} sha256 {output.sha256[:12]}, {said}"
    if len(large) > KEPT_SHOWN:
        yield f"staging: {len(large) - KEPT_SHOWN} more large answers; --json has all of them"
