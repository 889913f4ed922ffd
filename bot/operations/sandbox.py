"""``promobot sandbox``, ``demo`` and ``proof``: the whole platform on one machine, and the story told in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import Refused

if TYPE_CHECKING:
    from bot.domain.proof import Proof
    from bot.sandbox.story import Told

Say = Callable[[str], None]


@dataclass(frozen=True)
class Started:
    """A sandbox that is up: the document of its ``endpoints.json``, and a table for people."""

    endpoints: dict[str, Any]
    table: str


def up(directory: Path, *, s3: bool, like: str, say: Say) -> Started:
    """Start everything, where ``s3`` with object storage; leave ``endpoints.json`` in the directory.

    ``like`` names a world that the sandbox then behaves like, or is empty. Raises InvalidInput for a name that no
    world has, before anything is started.
    """
    _needs_the_extra()
    from bot.sandbox import worlds
    from bot.sandbox.platform import TO_LOOK_AT, Sandbox, Shape
    from bot.sandbox.seed import seed

    world = worlds.likeness(like) if like else None
    sandbox = Sandbox.up(directory, progress=say, seed=seed, shape=Shape(s3=s3), parts=TO_LOOK_AT)
    lines = [sandbox.table(), "", f"To use it in a shell: . {directory}/promobot.env"]
    if sandbox.endpoints.board:
        lines.append(f"To see how users are, in a browser: {sandbox.endpoints.board}")
    if world is not None:
        try:
            world.make(sandbox)
        except BaseException:
            Sandbox.down(directory)
            raise
        lines += [f"It is like {like}: {world.says}.", f"To see it: {world.see}"]
    document = json.loads((directory / "endpoints.json").read_text())
    return Started(document, "\n".join(lines))


def down(directory: Path) -> list[str]:
    """Stop exactly what was started there; return the names of the parts that still ran."""
    _needs_the_extra()
    from bot.sandbox.platform import Sandbox

    return Sandbox.down(directory)


def demo(*, keep: bool, directory: Path | None, say: Say, every_act: bool = False) -> Told:
    """Tell the whole story in a sandbox of its own; with ``every_act`` also what happens after the switch."""
    _needs_the_extra()
    from bot.sandbox.more_acts import MORE
    from bot.sandbox.story import tell

    return tell(keep=keep, directory=directory, say=say, more=MORE if every_act else ())


def type_of_told() -> type[Told]:
    """Return the type of the result of :func:`demo`; the schemas need it."""
    from bot.sandbox.story import Told

    return Told


def proof(out: Path, *, command: str, airflow: bool, say: Say) -> Proof:
    """Tell the story, where ``airflow`` with a DAG's run at its end; write what it left behind into ``out``."""
    _needs_the_extra()
    from bot.sandbox.proof import prove

    return prove(out, command=command, airflow=airflow, say=say)


def _needs_the_extra() -> None:
    # Looked for, not imported: scikit-learn alone takes seconds.
    if find_spec("bot.sandbox") is None:
        raise Refused(
            "the sandbox is not installed: it is a distribution of its own, promobot-sandbox",
            next_step="pip install promobot-sandbox, of the same version; in a clone: pip install -e '.[sandbox]'",
        )
    missing = [name for name in ("fastapi", "sklearn", "uv") if find_spec(name) is None]
    if missing:
        raise Refused(
            f"the sandbox needs packages that are not installed: {', '.join(missing)}",
            next_step="pip install promobot-sandbox; in a clone: pip install -e '.[sandbox]'",
        )
