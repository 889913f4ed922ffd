"""Says whether this Python is the one that a workflow asks for; runs in any Python, so it imports nothing of ours."""

import os
import re
import sys
from pathlib import Path

HERE = sys.version_info[:3]


def fits(wanted: str) -> bool:
    """Whether this Python fits ``3.11``, ``3.x``, ``>=3.10 <3.13`` or ``3.10 - 3.12``."""
    if span := re.fullmatch(r"\s*([\d.x]+)\s+-\s+([\d.x]+)\s*", wanted):
        return fits(f">={span[1]} <={span[2]}")
    return all(fits_one(*part) for part in re.findall(r"(>=|<=|>|<|==|=|~|\^)?\s*v?([\d.x*]+)", wanted))


def fits_one(operator: str, version: str) -> bool:
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    here = HERE[: len(numbers)]
    match operator:
        case ">=":
            return here >= numbers
        case "<=":
            return here <= numbers
        case ">":
            return here > numbers
        case "<":
            return here < numbers
        case "^":
            return here[:1] == numbers[:1] and here >= numbers
        case _:
            return here == numbers


def main() -> int:
    wanted = os.environ["WANTED"]
    if not wanted and os.environ["WANTED_FILE"]:
        wanted = Path(os.environ["WANTED_FILE"]).read_text().strip()
    version = ".".join(map(str, HERE))
    if not any(fits(line) for line in wanted.splitlines() or [""]):
        print(f"::error::The runner's environment has Python {version}, not {wanted}; the sandbox installs none.")
        return 1
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
        outputs.write(f"python-version={version}\npython-path={sys.executable}\n")
    print(f"Python {version} at {sys.executable}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
