"""``python -m tests.prose [KIND …]``: list what to write otherwise; 0 if there is nothing."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from tests.prose.rules import findings
from tests.prose.texts import KINDS


def main(argv: Sequence[str] | None = None) -> int:
    """Print one line for each place, and how many there are of each kind."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose", description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=f"one of {', '.join(KINDS)}")
    parser.add_argument("--under", default="", help="only files whose path begins so")
    options = parser.parse_args(argv)
    counted: Counter[str] = Counter()
    for kind in options.kinds or KINDS:
        for text in KINDS[kind]():
            if text.file.startswith(options.under):
                for finding in findings(text.text, file=text.file, line=text.line):
                    counted[kind] += 1
                    print(finding)
    print(", ".join(f"{count} in {kind}" for kind, count in counted.items()) or "nothing to write otherwise")
    return 1 if counted else 0


if __name__ == "__main__":
    sys.exit(main())
