"""One module of a library without the rest takes nothing from anyone who wants the whole of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot import bare

PROJECT = Path(__file__).parents[1]
OURS = "import bot.systems.git"
THEIRS = "import git"


def _says(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_only_what_runs_git_is_imported() -> None:
    found = "print(sorted({'git', 'git.cmd', 'git.repo', 'git.objects'} & set(sys.modules)))"
    assert _says(f"import sys; {OURS}; {found}") == "[]"


@pytest.mark.parametrize("imports", [f"{OURS}; {THEIRS}", f"{THEIRS}; {OURS}"], ids=["before", "after"])
def test_gitpython_works_whole_before_and_after(imports: str, tmp_path: Path) -> None:
    program = f"{imports}; git.Repo.init({str(tmp_path)!r}); print(git.cmd.Git is git.Git, bot.systems.git.Git)"
    assert _says(program) == "True <class 'git.cmd.Git'>"
    assert (tmp_path / ".git").is_dir()


def test_a_library_that_is_missing_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_library'") as missing:
        bare.module_of("no_such_library", "part")
    assert missing.value.name == "no_such_library", "by which the extra to install is found"


def test_a_module_that_is_missing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("of_nobody_else").mkdir()
    tmp_path.joinpath("of_nobody_else/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_part"):
        bare.module_of("of_nobody_else", "no_such_part")
    assert "of_nobody_else" not in sys.modules


def test_two_modules_of_a_package_belong_together() -> None:
    stubs, messages = (bare.module_of("tritonclient.grpc", name) for name in ("service_pb2_grpc", "service_pb2"))
    assert stubs.grpc__service__pb2 is messages
