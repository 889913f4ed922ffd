"""The steps of ``.github/workflows/release.yml``, each of which also runs in a clone.

``check TAG`` says what keeps a tag from being released; ``build --out DIR`` builds both distributions and ``same``
compares two such folders; ``sbom DIST --out DIR`` lists what an installation consists of; ``notes VERSION`` prints
what the release says of itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.releases import build, changelog, check, sbom

PROJECT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str]) -> int:
    """Do one step; 1 where something is wrong, which standard error names."""
    asked = _parser().parse_args(arguments)
    try:
        found: list[str] = asked.step(asked)
    except ValueError as error:
        found = [str(error)]
    for problem in found:
        print(f"::error::{problem}", file=sys.stderr)
    return 1 if found else 0


def _check(asked: argparse.Namespace) -> list[str]:
    wrong = check.problems(PROJECT, tag=asked.tag, repository_url=asked.repository_url, main=asked.main)
    return [str(problem) for problem in wrong]


def _build(asked: argparse.Namespace) -> list[str]:
    version = build.version_of(build.build(PROJECT, asked.out))
    print(f"version={version}")
    return [f"{version} was built, not {asked.tag}"] if asked.tag not in ("", f"v{version}") else []


def _same(asked: argparse.Namespace) -> list[str]:
    one, other = build.sums(asked.one), build.sums(asked.other)
    build.version_of(one)
    return [f"{name} is not the same in both" for name in build.differences(one, other)]


def _sbom(asked: argparse.Namespace) -> list[str]:
    print(f"promobot {sbom.write(PROJECT, asked.dist, asked.out)}")
    return []


def _notes(asked: argparse.Namespace) -> list[str]:
    version = asked.version or None
    for entry in changelog.entries((PROJECT / changelog.PAGE).read_text()):
        if version in (None, entry.version):
            print(changelog.notes(entry, repository_url=asked.repository_url, ref=asked.ref), end="")
            return []
    return [f"{changelog.PAGE} has no {version}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.releases", description=__doc__)
    steps = parser.add_subparsers(required=True)
    one = steps.add_parser("check")
    one.add_argument("tag")
    one.add_argument("--repository-url", required=True)
    one.add_argument("--main", default="origin/main")
    one.set_defaults(step=_check)
    one = steps.add_parser("build")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--tag", default="", help="whose version must come out")
    one.set_defaults(step=_build)
    one = steps.add_parser("same")
    one.add_argument("one", type=Path)
    one.add_argument("other", type=Path)
    one.set_defaults(step=_same)
    one = steps.add_parser("sbom")
    one.add_argument("dist", type=Path)
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(step=_sbom)
    one = steps.add_parser("notes")
    one.add_argument("--version", default="", help="by default the newest")
    one.add_argument("--repository-url", required=True)
    one.add_argument("--ref", required=True)
    one.set_defaults(step=_notes)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
