"""``python -m tests.site``: write the generated pages of docs/reference, and build the site without a warning.

``--to FOLDER`` says where the site goes, ``--pages`` only writes pages. Exit code 1 where a link leads nowhere.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tests.site import reference

PROJECT = Path(__file__).parents[2]


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site into ``folder``; whatever the generator warns of is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    # Material prints an advertisement of its successor otherwise.
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=PROJECT, env=quiet, capture_output=True, text=True, check=False)


def main() -> int:
    """Write, build, and say what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.site", description=__doc__)
    parser.add_argument("--to", type=Path, default=PROJECT / ".site", metavar="FOLDER", help="default: .site")
    parser.add_argument("--pages", action="store_true", help="write the generated pages only")
    options = parser.parse_args()
    for path, text in reference.pages().items():
        (PROJECT / path).write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    if options.pages:
        return 0
    done = build(options.to.resolve())
    print(done.stdout + done.stderr, end="")
    if done.returncode == 0:
        print(f"the site is in {options.to}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
