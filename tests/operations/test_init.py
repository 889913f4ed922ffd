"""``promobot init``: a repository that is right as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bot import cli, environment_files
from tests.workflows.actionlint import Actionlint
from tests.workflows.test_audits import PROJECT, zizmor

SHA = "0123456789abcdef0123456789abcdef01234567"
NAMES = ("--repository", "acme/promotions", "--promobot", "acme/promobot", "--ref", SHA, "--owners", "@acme/mlops")


@pytest.fixture(scope="module")
def actionlint() -> Actionlint:
    return Actionlint()


def test_it_is_valid_and_the_auditors_find_nothing(
    tmp_path: Path, actionlint: Actionlint, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", str(tmp_path), *NAMES]) == 0
    assert "written: promotions/prod.yaml" in capsys.readouterr().out
    assert cli.main(["validate", "--root", str(tmp_path)]) == 0
    code, said = zizmor(tmp_path)
    assert code == 0, said
    for workflow in (tmp_path / ".github/workflows").glob("*.yml"):
        assert actionlint.lint(workflow.read_text(), workflow.name) == []
    whole = "".join(file.read_text() for file in tmp_path.rglob("*") if file.is_file())
    assert not any(word in whole for word in ("ENVIRONMENT", "REPOSITORY", "OWNERS", "@REF", " REF", "PROMOBOT/"))
    readme = (tmp_path / "README.md").read_text()
    assert len(readme.splitlines()) <= 12 and "`cases/<model>/`" in readme and "`evaluation`" in readme


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
        # A secret that the caller does not pass is empty in the called job, also one of its environment.
        optional = {"PROMOBOT_CHECKOUT_TOKEN", *(["PROMOBOT_RELOAD_TOKEN"] if workflow.stem == "drift" else [])}
        assert set(takes["secrets"]) - optional <= set(job.get("secrets", {}))
        needed = {right for one in called["jobs"].values() for right in one["permissions"].items()}
        order = ["read", "write"]
        for scope, right in needed:
            assert order.index(job["permissions"][scope]) >= order.index(right), f"{workflow.name} may not {right}"


OTHER = ("--base", "release/1.0", "--runner", "gpu", "--environments", "on,7,production")


def test_another_branch_other_runners_and_other_environments(tmp_path: Path, actionlint: Actionlint) -> None:
    assert cli.main(["init", str(tmp_path), *NAMES, *OTHER]) == 0
    assert cli.main(["validate", "--root", str(tmp_path)]) == 0
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in (tmp_path / ".github/workflows").iterdir()}
    for path in sorted((tmp_path / ".github/workflows").iterdir()):
        assert actionlint.lint(path.read_text(), path.name) == []
    for name, workflow in workflows.items():
        given = workflow["jobs"]["promobot"]["with"]
        assert given["runner"] == "gpu"
        assert given.get("base", "release/1.0" if name == "checks" else None) == "release/1.0"
    assert workflows["checks"][True]["pull_request_target"]["branches"] == ["release/1.0"]
    assert workflows["deploy"][True]["push"]["branches"] == ["release/1.0"]
    assert json.loads(workflows["deploy"]["jobs"]["promobot"]["with"]["environments"]) == ["on", "7", "production"]
    offered = workflows["dispatch"][True]["workflow_dispatch"]["inputs"]["environment"]["options"]
    assert offered == ["on", "7", "production"]
    found = {name: environment_files.load(tmp_path, name) for name in ("on", "7", "production")}
    assert [one.promotes_from for one in found.values()] == [None, "on", "7"]
    assert {one.github.base for one in found.values()} == {"release/1.0"}
    owned = (tmp_path / ".github/CODEOWNERS").read_text().splitlines()
    assert [line for line in owned if line.startswith("/")] == ["/promotions/on.yaml"]
    readme = (tmp_path / "README.md").read_text()
    assert "`on`, `7`, `production`, `on-operations`, `7-operations` and `production-operations`" in readme


def test_one_environment_alone_belongs_to_its_owners(tmp_path: Path) -> None:
    cli.main(["init", str(tmp_path), *NAMES, "--environments", "prod"])
    assert "/promotions" not in (tmp_path / ".github/CODEOWNERS").read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--environments", "dev,dev"),
        ("--environments", "Dev"),
        ("--environments", ""),
        ("--environments", "../x"),
        ("--runner", "a,b,c"),
        ("--runner", "a b"),
        ("--runner", "${{ x }}"),
        ("--base", "-x"),
        ("--base", "a: b"),
    ],
)
def test_names_that_would_be_something_else_in_a_workflow_are_refused(tmp_path: Path, wrong: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", str(tmp_path), *NAMES, f"{wrong[0]}={wrong[1]}"])
    assert ended.value.code == 2
    assert list(tmp_path.iterdir()) == []


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
