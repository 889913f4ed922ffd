"""``python -m tests.month``: a simulated month of a whole sandbox, from dev to prod by policy alone.

Real parts: the forge and its workflows, MLflow, Tritons, gateways, Slack, and `promobot watch` for both environments.
The time is moved, for all of them at once. Training registers versions; policies propose, merge and deploy them. One
version breaks the rules of its bake, a gateway refuses a reload, a freeze comes, and a person intervenes. The story
asserts what users get, what is merged and by whom, and what waits and why; then that `promobot report` says the same.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bot.errors import PromobotError
from bot.sandbox.platform import Sandbox
from bot.sandbox.story import NotAsItMust
from tests.month.moved import NotHere, remove, run_anew


def main(argv: Sequence[str] | None = None) -> int:
    """Live the month, print its story, and say whether all went as it must."""
    parser = argparse.ArgumentParser(prog="python -m tests.month", description=__doc__)
    parser.add_argument("--dir", type=Path, help="where the sandbox is; default: a new folder, removed at the end")
    parser.add_argument("--keep", action="store_true", help="leave the sandbox running")
    given = parser.parse_args(argv)
    try:
        run_anew("tests.month", list(sys.argv[1:] if argv is None else argv))
    except NotHere as error:
        print(error)
        return 2
    from tests.month import story

    began = time.monotonic()
    home = given.dir or Path(tempfile.mkdtemp(prefix="promobot-month-"))
    month = story.Month(story.up(home, print), print)
    try:
        month.live()
    except (NotAsItMust, PromobotError) as error:
        print(f"\n✗ {month.today}: {error}\n{month.what_watches_said()}")
        return 1
    finally:
        month.end()
        if not given.keep:
            Sandbox.down(home)
            remove()
            if given.dir is None:
                shutil.rmtree(home, ignore_errors=True)
    print(f"\n✓ a month in {time.monotonic() - began:.0f} s: {month.counted}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
