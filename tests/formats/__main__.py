"""``python -m tests.formats keep`` and ``history``: write the documents that the tests read."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.formats import samples

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).parent / "kept"
INDEX = KEPT / "index.json"
SETTINGS = KEPT / "settings"
SCHEMAS = {name: f"docs/schemas/{name}.schema.json" for name in ("environment", "promotions")}
CODE = ("bot/domain", "bot/records", "bot/verbs/ledger.py", "bot/settings.py")
"""What decides the formats."""


def main() -> int:
    """Write what is missing; say what was written."""
    parser = argparse.ArgumentParser(prog="python -m tests.formats", description=__doc__)
    parser.add_argument("what", choices=("keep", "history"))
    parser.add_argument("--since", default="", help="history: only commits after this one")
    asked = parser.parse_args()
    keep_settings(whole_history=asked.what == "history")
    if asked.what == "keep":
        head = _git("log", "-1", "--format=%h %as").strip()
        return keep(samples.kinds(), since=f"{head}, or the commit after it")
    span = f"{asked.since}..HEAD" if asked.since else "HEAD"
    log = _git("log", "--first-parent", "--reverse", "--no-patch", "--format=%h %as", span, "--", *CODE)
    for line in log.splitlines():
        keep(_written_by(line.split()[0]), since=line)
    return 0


def keep(kinds: Mapping[str, tuple[str, Mapping[str, str]]], *, since: str) -> int:
    """Write the documents of the formats that are not kept yet."""
    index: dict[str, dict[str, str]] = json.loads(INDEX.read_text()) if INDEX.exists() else {}
    for kind, (fingerprint, documents) in sorted(kinds.items()):
        if fingerprint in index.get(kind, {}):
            continue
        (KEPT / kind).mkdir(parents=True, exist_ok=True)
        for name, text in documents.items():
            (KEPT / kind / f"{fingerprint}.{name}.json").write_text(text)
        index.setdefault(kind, {})[fingerprint] = since
        print(f"{kind} {fingerprint}, since {since}")
    INDEX.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    return 0


def keep_settings(*, whole_history: bool) -> None:
    """Keep every key that files of settings and desired state may have; of the history also whole files."""
    keys_file = SETTINGS / "keys.json"
    known: dict[str, list[str]] = json.loads(keys_file.read_text()) if keys_file.exists() else {}
    for name, path in SCHEMAS.items():
        keys = keys_of(name) | set(known.get(name, ()))
        for commit in _commits(path) if whole_history else ():
            keys |= set(_keys(json.loads(_git("show", f"{commit}:{path}"))))
        known[name] = sorted(keys)
    SETTINGS.mkdir(parents=True, exist_ok=True)
    keys_file.write_text(json.dumps(known, indent=1) + "\n")
    for commit in _commits("manifests/environments") if whole_history else ():
        for path in _git("ls-tree", "--name-only", commit, "manifests/environments/").splitlines():
            (SETTINGS / f"{commit}.{Path(path).name}").write_text(_git("show", f"{commit}:{path}"))


def keys_of(schema: str) -> set[str]:
    """Return every key that today's schema knows, as paths."""
    return set(_keys(json.loads((ROOT / SCHEMAS[schema]).read_text())))


def _keys(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the path of every key that a schema allows; ``*`` stands for names that people choose."""
    definitions = schema.get("$defs", {})

    def walk(node: dict[str, Any], at: str, above: frozenset[str]) -> Iterator[str]:
        if reference := node.get("$ref"):
            name = reference.rpartition("/")[2]
            if name not in above:
                yield from walk(definitions[name], at, above | {name})
            return
        for one in [*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())]:
            yield from walk(one, at, above)
        for key, one in node.get("properties", {}).items():
            yield f"{at}.{key}"
            yield from walk(one, f"{at}.{key}", above)
        for one in [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]:
            if isinstance(one, dict):
                yield from walk(one, f"{at}.*", above)
        if isinstance(node.get("items"), dict):
            yield from walk(node["items"], f"{at}[]", above)

    return walk(schema, "", frozenset())


def _commits(path: str) -> list[str]:
    log = _git("log", "--first-parent", "--reverse", "--no-patch", "--format=%h", "--diff-filter=AM", "--", path)
    return log.split()


def _written_by(commit: str) -> dict[str, Any]:
    """Return what the code of this commit writes."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit, "bot"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        shutil.copy(Path(samples.__file__), folder)
        done = subprocess.run(
            [sys.executable, "samples.py"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        print(f"{commit}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
