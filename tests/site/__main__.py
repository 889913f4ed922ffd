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


def build(folder: Path, *, configuration: Path = PROJECT / "mkdocs.yml") -> tuple[int, str]:
    """Build the site into ``folder``; a warning is an error. Return exit code and complaints."""
    # With --quiet the generator does not count its warnings, and takes them for no error.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(configuration)]
    # Material prints an advertisement of its successor otherwise.
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "--site-dir", str(folder)],
        cwd=PROJECT,
        env=quiet,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, "".join(line for line in done.stdout.splitlines(True) if not line.startswith("INFO "))


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
    code, complaints = build(options.to.resolve())
    print(complaints, end="")
    if code == 0:
        print(f"the site is in {options.to}")
    return code


if __name__ == "__main__":
    sys.exit(main())
