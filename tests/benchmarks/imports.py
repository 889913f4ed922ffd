"""What the libraries that a command uses take to be imported: nothing that starts a Python takes less."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

IMPORTS = "a Python that imports the libraries it uses"
TO_SWITCH = ("pydantic", "yaml", "git", "httpx", "tritonclient.grpc")
"""What rollback needs until users have the earlier version."""
TO_LOOK = (*TO_SWITCH, "github")
TO_DEPLOY = (*TO_LOOK, "slack_sdk")

# As the command line does: there is little garbage in imports, and no plugin of pydantic.
_AS_THE_BOT = "import gc, os; gc.set_threshold(100_000, 50, 50); os.environ['PYDANTIC_DISABLE_PLUGINS'] = '__all__'"


def importing(*modules: str) -> Callable[[], None]:
    """Return what starts a Python that imports these, and ends."""

    def run() -> None:
        subprocess.run([sys.executable, "-c", f"{_AS_THE_BOT}; import {', '.join(modules)}"], check=True)

    return run
