"""``promobot init``: a repository that is right as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bot import cli
from tests.workflows.actionlint import Actionlint
from tests.workflows.test_audits import PROJECT, zizmor

SHA = "0123456789abcdef0123456789abcdef01234567"
NAMES = ("--repository", "acme/promotions", "--promobot", "acme/promobot", "--ref", SHA, "--owners", "@acme/mlops")


def test_it_is_valid_and_the_auditors_find_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", str(tmp_path), *NAMES]) == 0
    assert "written: promotions/prod.yaml" in capsys.readouterr().out
    assert cli.main(["validate", "--root", str(tmp_path)]) == 0
    code, said = zizmor(tmp_path)
    assert code == 0, said
    actionlint = Actionlint()
    for workflow in (tmp_path / ".github/workflows").glob("*.yml"):
        assert actionlint.lint(workflow.read_text(), workflow.name) == []
    whole = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    assert not any(word in whole for word in ("ENVIRONMENT", "REPOSITORY", "OWNERS", "@REF", " REF", "PROMOBOT/"))
    assert len((tmp_path / "README.md").read_text().splitlines()) <= 12


def test_it_calls_what_there_is_with_inputs_that_there_are(tmp_path: Path) -> None:
    cli.main(["init", str(tmp_path), *NAMES])
    for workflow in (tmp_path / ".github/workflows").glob("*.yml"):
        job = yaml.safe_load(workflow.read_text())["jobs"]["promobot"]
        path, ref = job["uses"].removeprefix("acme/promobot/").split("@")
        assert ref == job["with"]["promobot-ref"] == SHA
        called = yaml.safe_load((PROJECT / path).read_text())
        takes = called[True]["workflow_call"]
        assert set(job["with"]) <= set(takes["inputs"])
        assert {name for name, given in takes["inputs"].items() if given.get("required")} <= set(job["with"])
        assert set(job.get("secrets", {})) <= set(takes["secrets"])
        needed = {right for one in called["jobs"].values() for right in one["permissions"].items()}
        order = ["read", "write"]
        for scope, right in needed:
            assert order.index(job["permissions"][scope]) >= order.index(right), f"{workflow.name} may not {right}"


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert cli.main(["init", str(tmp_path), *NAMES, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["kept"] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"
    cli.main(["init", str(tmp_path), *NAMES, "--json"])
    assert json.loads(capsys.readouterr().out)["written"] == []


@pytest.mark.parametrize("wrong", ["main", "v1", SHA[:7], SHA + "\n", "x" * 40])
def test_only_a_commit_is_called(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", str(tmp_path), *NAMES[:5], wrong, *NAMES[6:]])
    assert ended.value.code == 2
    assert list(tmp_path.iterdir()) == []
