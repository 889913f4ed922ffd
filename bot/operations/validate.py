"""``promobot validate``: read every file of desired state and settings in a checkout, and say what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bot import environment_files
from bot.errors import InvalidInput
from bot.exit_codes import ExitCode
from bot.operations.cases import read_all, texts_in
from bot.operations.consistency import Files, mistakes_in, readable
from bot.settings import ENVIRONMENTS, path_of


@dataclass(frozen=True)
class Validated:
    """The files that were read, and the mistakes in them."""

    files: tuple[str, ...]
    mistakes: tuple[str, ...]

    @property
    def exit_code(self) -> ExitCode:
        """0 all right · 1 mistakes."""
        return ExitCode.FAILED if self.mistakes else ExitCode.DONE


def validate(root: Path) -> Validated:
    """Read all files, each alone and beside the others; nothing outside the checkout is asked."""
    settings = [root / path_of(name) for name in environment_files.environments(root)]
    promotions = sorted((root / "promotions").glob("*"))
    found = [InvalidInput(_not_the_root(root, above))] if (above := environment_files.repository_above(root)) else []
    found += [
        InvalidInput("is not read; an environment file ends with .yaml", file=path.relative_to(root).as_posix())
        for path in sorted((root / ENVIRONMENTS).iterdir())
        if path.suffix != ".yaml"
    ]
    found += [
        InvalidInput("is not the desired state of a known environment", file=path.relative_to(root).as_posix())
        for path in promotions
        if path.suffix != ".yaml"
    ]
    read = [path for path in promotions if path.suffix == ".yaml"]
    law = texts_in(root)
    files = Files(*({path.stem: _text(path, root) for path in paths} for paths in (settings, read)))
    found += mistakes_in(files)
    found += read_all(law, readable(files))[1]
    names = [path.relative_to(root).as_posix() for path in (*settings, *promotions)]
    return Validated((*names, *law), tuple(map(str, found)))


def _not_the_root(root: Path, repository: Path) -> str:
    return (
        f"{root} is not the root of the repository, which is {repository}: Git has promotions/ at its root only, so "
        f"nothing of these files is read there; move them, or say --root {repository}"
    )


def _text(path: Path, root: Path) -> str | InvalidInput:
    file = path.relative_to(root).as_posix()
    try:
        return path.read_bytes().decode()
    except OSError as error:
        return InvalidInput(f"cannot be read: {error.strerror}", file=file)
    except UnicodeDecodeError as error:
        return InvalidInput(f"is not UTF-8: byte {error.start} belongs to no character", file=file)
