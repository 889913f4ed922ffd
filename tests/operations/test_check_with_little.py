"""``promobot check`` with what a runner for checks has, and nothing more.

It has MLflow, the staging Triton, staging's part of the share, GitHub's token, and the records, in which it may write
below two folders only. Whatever serves is closed to it: the share, the Tritons and their key, the gateways and their
token, Slack.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from bot.domain.evidence import CHECKS
from bot.domain.release import Slot
from bot.sandbox.platform import BOT
from tests.kubernetes.rules import WRITTEN_BY_CHECKS as WRITTEN
from tests.operations.world import World

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from bot.share import copying, notes
# However small the package is, it is looked for on every share that the settings name.
copying.SMALL_BYTES = notes.WORTH_BYTES = 0
from bot import cli
for name in ("ready", "triton", "smoke", "verdict"):
    code = cli.main(["check", name, *sys.argv[1:]])
    print(name, code, flush=True)
"""


def _as_anybody() -> None:
    """Lose root's right to pass over modes, where the tests run as root; the program that is started has it not."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; refused to whoever is not root, and has them not


@contextlib.contextmanager
def read_only(folders: Iterator[Path]) -> Iterator[None]:
    """Take the right to write in these folders, and give it back."""
    modes = {folder: stat.S_IMODE(folder.stat().st_mode) for folder in folders}
    try:
        for folder in modes:
            folder.chmod(0o555)
        yield
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)


def files(records: Path) -> set[str]:
    return {path.relative_to(records).as_posix() for path in records.rglob("*.json")}


def records_folders(records: Path) -> Iterator[Path]:
    """All folders of the record store, but those that the checks write in, and the inbox of the Slack app."""
    for folder in [records, *(path for path in records.rglob("*") if path.is_dir())]:
        if not {*WRITTEN, "slack"} & set(folder.relative_to(records).parts):
            yield folder


def may_create(key: str) -> bool:
    """Whether the policy in docs/how-to/storage.md lets the runners for checks create this record of dev."""
    blocks = re.findall(
        r"^```json\n(.*?)^```$", (PROJECT / "docs/how-to/storage.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (policy,) = (json.loads(block) for block in blocks if "CreateWhatChecksFound" in block)
    resources = [
        resource
        for statement in policy["Statement"]
        if "s3:PutObject" in statement["Action"]
        for resource in statement["Resource"]
    ]
    return any(fnmatch(f"arn:aws:s3:::mlops/dev/promobot/{key}", resource) for resource in resources)


def check_with_little(world: World, closed: Path, number: int, *, is_there: bool) -> dict[str, int]:
    """Run all checks of a pull request like that; return their exit codes. What serves lies in ``closed``."""
    for environment in world.endpoints.triton:
        below = closed / environment
        if is_there:
            (below / "model-repo").mkdir(parents=True)
            (below / "state").mkdir()
        world.configure(
            environment,
            share={"model_repository": str(below / "model-repo"), "state": str(below / "state")},
            tritons=[{"name": "serving", "grpc": "127.0.0.1:1", "control_key_env": "KEY_OF_WHAT_SERVES"}],
            gateways=[{"name": "serving", "url": "http://127.0.0.1:1"}],
        )
    if is_there:
        closed.chmod(0)
    variables = {
        **world.endpoints.plain_variables(),
        "PATH": os.environ["PATH"],
        "HOME": str(closed.parent),
        "PYTHONPATH": str(PROJECT),
        "GITHUB_TOKEN": world.endpoints.secrets.people[BOT],
    }
    needs = json.dumps({name: {"result": "success"} for name in CHECKS})
    where = ["--pull-request", str(number), "--head", world.pull(number)["head"]["sha"], "--run-id", "1"]
    try:
        with read_only(records_folders(world.endpoints.records)):
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, "--root", str(world.root), *where, "--needs", needs],
                env=variables,
                capture_output=True,
                text=True,
                check=False,
                preexec_fn=_as_anybody,
            )
    finally:
        if is_there:
            closed.chmod(0o755)
    codes = [line.split(" ") for line in done.stdout.splitlines() if re.fullmatch(r"[a-z]+ \d+", line)]
    assert len(codes) == 4, done
    return {name: int(code) for name, code in codes}


@pytest.mark.parametrize("share", ["not to be read", pytest.param("not there", marks=pytest.mark.slow)])
def test_all_checks_pass_and_write_what_they_may(world: World, tmp_path: Path, share: str) -> None:
    model = world.model()
    world.served(world.register(model))
    new = world.register(model, "better")
    number = world.proposed(new)["number"]
    records = world.endpoints.records
    for name in WRITTEN:
        (records / name).mkdir(exist_ok=True)
    before = files(records)
    codes = check_with_little(world, tmp_path / "closed", number, is_there=share == "not to be read")
    assert codes == {"ready": 0, "triton": 0, "smoke": 0, "verdict": 0}, world.sticky(number)
    written = files(records) - before
    assert {path.split("/")[0] for path in written} == set(WRITTEN)
    assert all(may_create(path) for path in written), "docs/how-to/storage.md"
    evidence = world.ledger().evidence(new.entry.in_slot(Slot.of("dev", model, "models")))
    assert evidence is not None and evidence.passed
    (smoke,) = [result for result in evidence.checks if result.check == "smoke"]
    assert smoke.behaviour is not None and not smoke.behaviour.problem, "the version in service was asked, too"


@pytest.mark.extended
def test_the_verdict_on_a_model_that_leaves_service_says_what_it_does_not_know(world: World, tmp_path: Path) -> None:
    model = world.model()
    world.served(world.register(model))
    number = world.propose_by_hand(world.edited(model, None))
    codes = check_with_little(world, tmp_path / "closed", number, is_there=True)
    assert codes["verdict"] == 1
    comment = world.sticky(number).replace("\\", "")
    assert f"**This would stop {model} in dev.** Version 1 answers now" in comment, "the records say so"
    assert "Its number of requests is not known" in comment


def test_the_policy_of_the_bucket_lets_checks_create_what_they_found_and_nothing_else() -> None:
    assert all(may_create(f"{folder}/dev/x.json") for folder in WRITTEN)
    for folder in ("deployments", "confirmations", "origins", "revocations", "quarantine", "requests", "doctor"):
        assert not may_create(f"{folder}/dev/x.json"), folder


def test_what_is_closed_here_is_closed(tmp_path: Path) -> None:
    """The folders of the test above: none can be read, none of the records can be written."""
    closed, records = tmp_path / "closed", tmp_path / "records"
    for folder in (closed / "state", records / "deployments", records / "checks", records / "slack"):
        folder.mkdir(parents=True)
    closed.chmod(0)
    program = (
        "import os, sys\n"
        "for name in ('closed/state', 'records/new', 'records/deployments/new', 'records/checks/new'):\n"
        "    try:\n"
        "        os.listdir(name) if name.startswith('closed') else os.mkdir(name)\n"
        "    except PermissionError:\n"
        "        print(name)\n"
    )
    try:
        with read_only(records_folders(records)):
            done = subprocess.run(
                [sys.executable, "-c", program],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
                preexec_fn=_as_anybody,
            )
    finally:
        closed.chmod(0o755)
    assert done.stdout.split() == ["closed/state", "records/new", "records/deployments/new"]
