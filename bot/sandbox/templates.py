"""Pages by Jinja2: whatever a template is given is escaped where it is put in, so no page can forget to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined


def pages(folder: Path, *, filters: dict[str, Callable[..., Any]], strict: bool = True, **known: Any) -> Environment:
    """Return the templates of a folder; all of them have the filters, and know the rest by its names.

    Unless ``strict``, what is not there is empty: of JSON that others made, most is left out.
    """
    made = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined if strict else Undefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    made.globals |= known
    return made
