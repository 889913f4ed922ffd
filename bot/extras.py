"""Which extra of ``promobot`` to install where a package is missing.

The base installs what reads desired state and routes, and little else. So an import of more can fail, and the
error says what to install.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_OF_A_COMMAND = {
    "adopt": "models",
    "evaluate": "evaluation",
    "board": "board",
    "slack": "slack",
    "sandbox": "sandbox",
    "demo": "sandbox",
    "proof": "sandbox",
}


def of_a_command(name: str) -> str:
    """Return the extra that the command ``promobot NAME`` needs."""
    return _OF_A_COMMAND.get(name, "bot")


def install(extra: str) -> str:
    """Return the command that installs ``extra``."""
    return f"pip install 'promobot[{extra}]'"


def missing_package(error: BaseException) -> str:
    """Return the package of others that could not be imported; empty if ``error`` says something else.

    A missing module of ours is a bug, not a missing extra.
    """
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    top = name.partition(".")[0]
    return "" if top == "bot" else top


@contextmanager
def needed(extra: str, *, by: str) -> Iterator[None]:
    """Make an import that fails inside say that ``by`` needs ``extra``.

    Raises ModuleNotFoundError with the same ``name`` as the import that failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not (package := missing_package(error)):
            raise
        raise ModuleNotFoundError(f"{by} needs {package}: {install(extra)}", name=error.name) from error
