"""``promobot validate``: read every file of desired state and settings in a checkout, and say what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot import settings as settings_module
from bot.domain import desired
from bot.errors import InvalidInput, PromobotError


@dataclass(frozen=True)
class Validated:
    """The files that were read, and the mistakes in them."""

    files: tuple[str, ...]
    mistakes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 all right · 1 mistakes."""
        return 1 if self.mistakes else 0


def validate(root: Path) -> Validated:
    """Read all; nothing outside the checkout is asked."""
    files: list[str] = []
    mistakes: list[str] = []
    known = settings_module.environments(root)
    for name in known:
        files.append(settings_module.path_of(name))
        try:
            settings_module.load(root, name)
        except PromobotError as error:
            mistakes.append(str(error))
    for path in sorted((root / "promotions").glob("*")):
        file = path.relative_to(root).as_posix()
        files.append(file)
        try:
            if path.suffix != ".yaml" or path.stem not in known:
                raise InvalidInput("is not the desired state of a known environment", file=file)
            desired.parse(path.read_bytes().decode(), file=file, environment=path.stem)
        except OSError as error:
            mistakes.append(f"{file}: cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            mistakes.append(f"{file}: is not UTF-8: {error.reason} at byte {error.start}")
        except PromobotError as error:
            mistakes.append(str(error))
    return Validated(tuple(files), tuple(mistakes))
