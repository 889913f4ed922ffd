"""What several files of this folder use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = """
#include <stdio.h>
__attribute__((constructor)) static void loaded(void) {
    FILE *canary = fopen("CANARY", "w");
    if (canary) fclose(canary);
}
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A shared library, and the file that it writes as soon as anything loads it."""
    folder = tmp_path_factory.mktemp("library")
    canary, source, built = folder / "canary", folder / "payload.c", folder / "payload.data"
    source.write_text(LIBRARY.replace("CANARY", str(canary)))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(built), str(source)], check=True, timeout=120)
    subprocess.run([sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(built)!r})"], check=True, timeout=60)
    assert canary.exists(), "else its absence would prove nothing"
    canary.unlink()
    return built, canary
