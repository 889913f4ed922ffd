"""What the libraries that a command uses take to be imported: nothing that starts a Python takes less."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

IMPORTS = "a Python that imports the libraries it uses"
TO_SWITCH = ("pydantic.main", "yaml", "httpx", "grpc", "google.protobuf.message")
"""What rollback needs until users have the earlier version. A plain ``import pydantic`` has no models yet.

GitPython is not among it: the bot imports only the module that runs Git.
"""
TO_LOOK = (*TO_SWITCH, "github")
TO_DEPLOY = (*TO_LOOK, "slack_sdk")

AS_THE_BOT = "import gc; gc.set_threshold(200_000, 50, 50)"
"""As the command line does: there is little garbage in imports."""


def importing(*modules: str) -> Callable[[], None]:
    """Return what starts a Python that imports these, and ends."""

    def run() -> None:
        subprocess.run([sys.executable, "-c", f"{AS_THE_BOT}; import {', '.join(modules)}"], check=True)

    return run
