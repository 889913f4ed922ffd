"""``python -m tests.doctor``: try every row of the table in a sandbox of its own, and say what held.

``--only NAME`` tries one row, again for more. ``--write`` writes docs/reference/will-it-work.md from the table. Some
rows mount folders or give them to another user, which root may do, and one needs bindfs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bot.sandbox import seed
from bot.sandbox.platform import PARTS, Sandbox
from tests.doctor.page import PAGE, page
from tests.doctor.rows import ROWS
from tests.doctor.trying import tried
from tests.operations.world import World


def main() -> int:
    """Return 0 where all rows hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.doctor", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", metavar="NAME", choices=names, help="a row; again for more")
    parser.add_argument("--write", action="store_true", help="write the page of the documentation from the table")
    given = parser.parse_args()
    if given.write:
        PAGE.write_text(page(PAGE.read_text()))
        return 0
    chosen = [row for row in ROWS if row.name in (given.only or names)]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="promobot-doctor-") as folder:
        home = Path(folder)
        sandbox = Sandbox.up(home / "sandbox", progress=print, seed=seed.seed, parts=PARTS - {"actions", "slack-app"})
        try:
            seed.clone(sandbox.endpoints, home / "clone")
            for row in chosen:
                root = home / row.name
                root.mkdir()
                world = World(sandbox, clone=home / "clone", root=root)
                try:
                    found = tried(row, world)
                finally:
                    world.tidy()
                failed += bool(found.problems)
                print(f"{'✗' if found.problems else '✓'} {row.name}: {row.what}")
                print(f"    doctor: {row.system}: {found.doctor.get(row.system, 'nothing')}")
                print(f"    deploy: {found.deployment} (exit code {found.code})")
                for problem in found.problems:
                    print(f"    ✗ {problem}")
        finally:
            Sandbox.down(home / "sandbox")
    print(f"{len(chosen) - failed} of {len(chosen)} rows hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
