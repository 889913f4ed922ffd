"""``python -m tests.situations``: bring a small world into every situation, and hold each first line to the table.

``--only NAME`` tries one row, again for more. ``--show`` prints what is said instead of judging it. ``--write``
writes the table into docs/how-to/operations.md. ``--pictures DIR`` keeps a picture of each situation.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.reliability.scene import Scene
from tests.situations.page import PAGE, page
from tests.situations.rows import ROWS
from tests.situations.trying import Theatre


def main() -> int:
    """Return 0 where all rows hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.situations", description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", metavar="NAME", choices=names, help="a row; again for more")
    parser.add_argument("--show", action="store_true", help="print what is said, and judge nothing")
    parser.add_argument("--json", action="store_true", help="one row as JSON on each line")
    parser.add_argument("--write", action="store_true", help="write the table of docs/how-to/operations.md")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="keep pictures there, and judge nothing")
    given = parser.parse_args()
    if given.write:
        PAGE.write_text(page(PAGE.read_text()))
        return 0
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        os.environ.pop(name, None)
    chosen = [row for row in ROWS if row.name in (given.only or names)]
    failed = 0
    with Scene(more=1) as scene:
        theatre = Theatre(scene, given.pictures)
        for row in chosen:
            started = time.monotonic()
            tried = theatre.tried(row)
            failed += bool(tried.problems)
            if given.json:
                print(json.dumps({"row": row.name, **asdict(tried)}), flush=True)
                continue
            print(f"{'✗' if tried.problems else '✓'} {row.name}: {row.what} ({time.monotonic() - started:.1f} s)")
            if given.show:
                for surface, line in tried.seen.lines.items():
                    print(f"    {surface!r}: {line!r},")
            else:
                for problem in tried.problems:
                    print(f"    ✗ {problem}")
            sys.stdout.flush()
    if not given.json:
        print(f"{len(chosen) - failed} of {len(chosen)} situations are told as the table says")
    return 1 if failed and not given.show else 0


if __name__ == "__main__":
    sys.exit(main())
