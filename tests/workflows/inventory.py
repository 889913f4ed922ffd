"""Which events start which workflow, as the files say it, and which of them ran through act."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from bot.sandbox.actions.triggers import DEFAULT_TYPES

WORKFLOWS = Path(__file__).resolve().parents[2] / ".github/workflows"
TYPED = (*DEFAULT_TYPES, "merge_group")
"""Events that come in several kinds, each of which can go another way through a workflow."""


def declared(folder: Path = WORKFLOWS) -> set[str]:
    """Each as ``checks.yml merge_group checks_requested`` or ``deploy.yml push``."""
    found = set()
    for path in folder.glob("*.yml"):
        content: dict[Any, Any] = yaml.safe_load(path.read_text())
        for event, body in content[True].items():
            types = (body or {}).get("types", DEFAULT_TYPES.get(event, ())) if event in TYPED else ()
            found |= {f"{path.name} {event} {kind}" for kind in types} or {f"{path.name} {event}"}
    return found


def runs_of(forge: Path) -> set[Path]:
    """The folder of each run, of each repository of a forge."""
    return {file.parent for file in forge.glob("**/actions/runs/*/run.json")}


def ran(runs: set[Path]) -> set[str]:
    """What of `declared` these runs were, where they succeeded; what a run called is one, not the caller."""
    found = set()
    for folder in runs:
        run = json.loads((folder / "run.json").read_text())
        if run["conclusion"] != "success":
            continue
        called = [one["path"].partition("@")[0].rpartition("/")[2] for one in run["referenced"]]
        if called:
            found |= {f"{name} workflow_call" for name in called}
            continue
        action = json.loads((folder / "event.json").read_text()).get("action", "") if run["event"] in TYPED else ""
        found.add(f"{Path(run['workflow_path']).name} {run['event']} {action}".strip())
    return found
