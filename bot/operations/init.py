"""``promobot init``: lay out a repository of promotions that calls the bot's workflows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.errors import InvalidInput
from bot.render.layout import ENVIRONMENTS, RUNNERS, files


@dataclass(frozen=True)
class LaidOut:
    """The files that were written, and those that existed and stay as they are."""

    directory: str
    written: tuple[str, ...]
    kept: tuple[str, ...]


def init(
    directory: Path,
    *,
    repository: str,
    promobot: str,
    ref: str,
    owners: str,
    base: str = "main",
    runners: tuple[str, str] = RUNNERS,
    environments: Sequence[str] = ENVIRONMENTS,
) -> LaidOut:
    """Write every file that is not there yet. ``ref`` is the commit of ``promobot`` whose workflows are called.

    ``base`` is the branch whose head is desired state, ``runners`` the labels for checks and for everything else,
    ``environments`` those that a version goes through, in that order.
    """
    written, kept = [], []
    texts = files(
        repository=repository,
        promobot=promobot,
        ref=ref,
        owners=owners,
        base=base,
        runners=runners,
        environments=environments,
    )
    for path, text in texts.items():
        file = directory / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as new:
                new.write(text)
        except FileExistsError:
            kept.append(path)
        except OSError as error:
            raise InvalidInput(f"cannot be written: {error.strerror}", file=str(file)) from error
        else:
            written.append(path)
    return LaidOut(str(directory), tuple(written), tuple(kept))
