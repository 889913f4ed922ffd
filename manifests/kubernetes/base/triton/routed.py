"""What a Triton needs of the routes in force. Standard library only: it runs in Triton's own image, on Python 3.10.

    routed.py start STATE tritonserver --model-repository=DIR …    start it with what the routes name loaded
    routed.py ready STATE URL                                      exit 0 if all that answers users is ready there

STATE is ``share.state`` of the environment file. A Triton in explicit control starts with nothing loaded; so each
start reads the routes, compares the bytes of every version that they name with its package, and has Triton load
what is whole. What asks other models needs these: they are compared and loaded, too, also where no route names them.
Nothing here writes, and nothing needs the bot, GitHub or MLflow.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

CHUNK_BYTES = 2**20
REQUEST_SECONDS = 3.0
MARKER_FILE = ".promobot.json"
NOT_OF_THE_VERSION = ("config.pbtxt", "smoke.json", "smoke.tensors")
ASKED = (
    re.compile(r'key:\s*"BUNDLE_[^"]*"\s*value\s*{\s*string_value:\s*"([^":]+):([0-9]+)"'),
    re.compile(r'model_name:\s*"([^"]+)"\s*model_version:\s*([0-9]+)'),
)
"""How a published configuration names what a Python model asks, and the steps of an ensemble."""


def routes(state: Path) -> dict:
    """Return the models of the newest route table; none before the first deployment.

    Raises FileNotFoundError where the folder is not marked as the bot's: what is not mounted is as empty as what is
    new, and a Triton that has loaded nothing for it is not ready.
    """
    try:
        # A client of NFS believes for a while what it knew of a name; listing a folder makes it ask.
        for folder in (state, state / "routes"):
            list(folder.iterdir() if folder.is_dir() else ())
        table = json.loads((state / "routes.json").read_bytes())
        # Whoever was killed between the commit and its copy left an older routes.json.
        while (later := state / "routes" / f"{table['generation'] + 1:010d}.json").is_file():
            table = json.loads(later.read_bytes())
    except FileNotFoundError:
        if not (state / MARKER_FILE).is_file():
            raise
        return {}
    return table["models"]


def asked(repository: Path, name: str) -> list[tuple[str, str]]:
    """Return name and version of each model that this one asks."""
    text = (repository / name / "config.pbtxt").read_text()
    return sorted({found for form in ASKED for found in form.findall(text)})


def needed(state: Path, repository: Path, target: dict) -> tuple[list[str], str]:
    """Return the models to load for a version of the routes, and what is wrong with it, or with one that it asks.

    No route has the digest of what is only asked: its bytes are right where some package has them.
    """
    names, problem = [target["triton_model"]], damage(state, repository, target)
    seen, open_ends = set(), [] if problem else asked(repository, target["triton_model"])
    while open_ends and not problem:
        name, version = one = open_ends.pop()
        if one in seen:
            continue
        seen.add(one)
        if is_some_package(state, repository, name, version):
            names.append(name)
            open_ends += asked(repository, name)
        else:
            problem = f"it asks {name} {version}, whose bytes are those of no package"
    return names, problem


def is_some_package(state: Path, repository: Path, name: str, version: str) -> bool:
    """Whether a version on the share holds exactly what some package that is kept lists."""
    folder = repository / name / version
    there = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for kept in sorted((state / "packages").iterdir()):
        listed = json.loads((kept / "package.json").read_bytes())["files"]
        paths = sorted(file["path"] for file in listed if file["path"] not in NOT_OF_THE_VERSION)
        part = {"triton_model": name, "version": version, "digest": kept.name}
        if folder.is_dir() and paths == there and not damage(state, repository, part):
            return True
    return False


def damage(state: Path, repository: Path, target: dict) -> str:
    """Return what is wrong with the bytes of a version on the share; nothing where they are those of its digest."""
    digest = target["digest"].removeprefix("sha256:")
    version = repository / target["triton_model"] / str(target["version"])
    try:
        listed = json.loads((state / "packages" / digest / "package.json").read_bytes())["files"]
        for file in listed:
            if file["path"] not in NOT_OF_THE_VERSION and _sha256(version / file["path"]) != file["sha256"]:
                return f"{file['path']} holds other bytes"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return str(error)
    return ""


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


def start(state: Path, command: list[str]) -> None:
    """Become Triton, with what the routes name and is whole as ``--load-model``."""
    repository = Path(next(word.partition("=")[2] for word in command if word.startswith("--model-repository=")))
    names = set()
    try:
        for route in routes(state).values():
            for target in route.values():
                found, problem = needed(state, repository, target)
                if problem:
                    _say(f"{target['triton_model']} {target['version']} is not loaded: {problem}")
                else:
                    names.update(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # It must come up all the same: the bot cannot put anything right on a Triton that is not there.
        _say(f"the routes in {state} cannot be read: {error!r}")
    _say(f"loading {', '.join(sorted(names)) or 'nothing'}")
    os.execvp(command[0], [*command, *(f"--load-model={name}" for name in sorted(names))])  # noqa: S606


def ready(state: Path, url: str) -> str:
    """Return what is missing here of what answers users. Shadows are not asked about: they answer nobody."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=REQUEST_SECONDS)
    paths = ["/v2/health/live"]
    for route in routes(state).values():
        if "live" in route:
            paths.append(f"/v2/models/{route['live']['triton_model']}/versions/{route['live']['version']}/ready")
    for path in paths:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            return f"{path} says {answer.status}"
    return ""


def _say(text: str) -> None:
    print(f"promobot: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Do as the first argument says."""
    state = Path(arguments[1])
    if arguments[0] == "start":
        start(state, arguments[2:])
    try:
        missing = ready(state, arguments[2])
    except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
        missing = repr(error)
    if missing:
        _say(missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
