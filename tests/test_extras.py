"""What each extra installs, that it is enough to import its part of the bot, and what is said where it is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bot import commands, extras
from tests.test_layers import modules

PROJECT = Path(__file__).parents[1]
LOCK = PROJECT / "requirements.lock"
MEGABYTE = 10**6
MOST_PACKAGES, MOST_MEGABYTES = 20, 40
"""What an application that mounts the gateway may have to install, the bot itself included."""

PARTS = {
    "": ("bot.domain", "bot.errors", "bot.redaction", "bot.extras", "bot.folders", "bot.logs"),
    "gateway": ("bot.gateway",),
    "recording": ("bot.gateway", "bot.recordings"),
    "bot": ("bot",),
    "board": ("bot", "bot.board"),
    "slack": ("bot", "bot.slack"),
    "stores": ("bot",),
    "evaluation": ("bot", "bot.evaluation"),
    "training": ("bot", "bot.evaluation", "bot.training"),
    "models": ("bot", "bot.evaluation", "bot.training"),
    "torch": ("bot", "bot.evaluation", "bot.training"),
    "airflow": ("bot", "bot.airflow"),
    "sandbox": ("bot", "bot.evaluation", "bot.board", "bot.gateway", "bot.slack", "bot.training", "bot.sandbox"),
}
"""Which modules each extra is for, by the package that they are in."""

NEEDS_MORE = {
    # Airflow is the environment's own.
    *(f"bot.airflow.{name}" for name in ("failures", "logs", "sensors", "triggers")),
    # Triton's Python backend imports it.
    "bot.sandbox.triton_backend.model",
    "bot.__main__",  # it runs the command
    "bot.sandbox.mounted",  # an application, which reads its variables
    "bot.sandbox.hatch_build",  # a part of hatchling, for which it builds the distribution
}


def declared() -> tuple[list[str], dict[str, list[str]]]:
    """Return what the project needs, and what each extra adds."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return project["dependencies"], project["optional-dependencies"]


@cache
def closure(extra: str) -> set[str]:
    """Return the distributions that ``promobot[EXTRA]`` installs here, by their normalized names; not promobot."""
    base, optional = declared()
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()

    def add(text: str, extra: str) -> None:
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": extra}):
            return
        name = canonicalize_name(wanted.name)
        for one in ("", *wanted.extras):
            if (name, one) in seen:
                continue
            seen.add((name, one))
            if name == "promobot":
                needs = optional[one] if one else base
            else:
                found.add(name)
                needs = distribution(name).requires or []
            for line in needs:
                add(line, one)

    add(f"promobot[{extra}]" if extra else "promobot", "")
    return found


def installed_bytes(name: str) -> int:
    """Return how large a distribution is as it was installed, without what Python compiled later."""
    files = [file.locate() for file in distribution(name).files or [] if file.suffix != ".pyc"]
    return sum(Path(str(file)).stat().st_size for file in files if Path(str(file)).is_file())


def parts_of(extra: str) -> list[str]:
    """Return the modules that ``extra`` must be enough for."""
    others = {part for parts in PARTS.values() for part in parts} - {"bot", *PARTS[""]}
    return [
        module
        for module, _, _ in modules()
        if module not in NEEDS_MORE and all(name.isidentifier() for name in module.split("."))
        if any(module == part or module.startswith(f"{part}.") for part in PARTS[extra])
        and not any(module == o or module.startswith(f"{o}.") for o in others - set(PARTS[extra]))
        # The two that start the sandbox say themselves what is missing.
        and (extra == "sandbox" or module != "bot.operations.sandbox")
    ]


@cache
def installed() -> Mapping[str, list[str]]:
    """Return the distributions of each top-level module that is installed."""
    return packages_distributions()


def in_a_process_with(distributions: set[str], program: str) -> subprocess.CompletedProcess[str]:
    """Run ``program`` where the modules of every other distribution cannot be imported."""
    hidden = sorted(
        top
        for top, names in installed().items()
        if top.isidentifier() and top != "bot" and not {canonicalize_name(name) for name in names} & distributions
    )
    before = (
        "import sys\n"
        f"hidden = frozenset({hidden!r})\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in hidden:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    return subprocess.run(
        [sys.executable, "-c", before + program], cwd=PROJECT, capture_output=True, text=True, check=False
    )


def test_the_extras_are_these() -> None:
    _, optional = declared()
    assert set(optional) == {*PARTS, "docs", "release", "test"} - {""}


def test_an_application_that_mounts_the_gateway_installs_little() -> None:
    names = closure("gateway")
    assert {"fastapi", "pydantic", "uvicorn"} <= names
    assert not names & {"boto3", "gitpython", "grpcio", "httpx", "mlflow", "mlflow-skinny", "numpy", "tritonclient"}
    wheel = sum(path.stat().st_size for path in shipped())
    size = (sum(installed_bytes(name) for name in names) + wheel) / MEGABYTE
    assert len(names) + 1 <= MOST_PACKAGES, sorted(names)
    assert size <= MOST_MEGABYTES


def shipped() -> list[Path]:
    """Return the files that the wheel is made of."""
    sandbox = PROJECT / "bot/sandbox"  # a distribution of its own
    files = [path for path in (PROJECT / "bot").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return [path for path in files if not path.is_relative_to(sandbox)]


@pytest.mark.parametrize("extra", ["", "gateway"])
def test_what_is_light_imports_nothing_else(extra: str) -> None:
    program = "".join(f"import {module}\n" for module in parts_of(extra))
    done = in_a_process_with(closure(extra), program)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_bots_own_extra_is_enough_for_every_command() -> None:
    program = "".join(f"import {module}\n" for module in parts_of("bot"))
    done = in_a_process_with(closure("bot"), program)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_module_that_is_hidden_is_not_found() -> None:
    done = in_a_process_with(closure("gateway"), "import git")
    assert "No module named 'git'" in done.stderr


# --- what is said where an extra is missing -----------------------------------------------------------------------


def test_a_command_says_which_extra_to_install() -> None:
    program = "from bot.cli import main\nsys.exit(main(['validate', '--root', '.']))"
    assert in_a_process_with(closure("bot"), program).returncode == 0
    program = "from bot.cli import main\nsys.exit(main(['status', '--env', 'dev']))"
    done = in_a_process_with(closure(""), program)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("promobot: this command needs the package ")
    assert done.stderr.endswith("\n  → pip install 'promobot[bot]'\n")


def test_with_json_it_is_one_document() -> None:
    program = "from bot.cli import main\nsys.exit(main(['slack', '--socket', '--json']))"
    done = in_a_process_with(closure("bot"), program)
    said = json.loads(done.stdout)
    assert (done.returncode, said["next_step"]) == (1, "pip install 'promobot[slack]'")
    assert said["error"].startswith("this command needs the package ")


def test_every_command_has_an_extra() -> None:
    assert {extras.of_a_command(verb) for verb in commands.names()} == {
        "board",
        "bot",
        "evaluation",
        "models",
        "slack",
        "sandbox",
    }


def test_mounting_without_the_extra_says_so() -> None:
    done = in_a_process_with(closure(""), "import bot.gateway")
    (last,) = done.stderr.splitlines()[-1:]
    assert last == "ModuleNotFoundError: bot.gateway needs fastapi: pip install 'promobot[gateway]'"


def test_a_module_of_ours_that_is_missing_is_a_bug() -> None:
    error = ModuleNotFoundError("No module named 'bot.nothing'", name="bot.nothing")
    assert extras.missing_package(error) == ""
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'bot.nothing'$"), extras.needed("bot", by="x"):
        raise error


# --- each extra, really installed ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of the bot and of the sandbox by distribution, built by what the lock has."""
    folder = tmp_path_factory.mktemp("wheels")
    for project in (PROJECT, PROJECT / "bot/sandbox"):
        uv("build", "--quiet", "--wheel", "--build-constraint", str(LOCK), "--out-dir", str(folder), str(project))
    return {canonicalize_name(path.name.partition("-")[0]): path for path in folder.glob("*.whl")}


def uv(*arguments: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "uv", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_wheel_has_types_and_no_tests(wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels["promobot"]) as archive:
        names = archive.namelist()
    assert "bot/py.typed" in names
    assert not [name for name in names if name.startswith("tests/") or name.endswith(".pyc")]


def check_types(environment: Path, folder: Path) -> None:
    """Have mypy check an application against what is installed, where only ``py.typed`` says that it has types."""
    shutil.copy(PROJECT / "tests/typed_consumer.py", folder)
    strict = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(environment / "bin/python")]
    for changed, said in (("", ""), ("gateway.target(7)\n", "has incompatible type")):
        path = folder / "typed_consumer.py"
        path.write_text(
            path.read_text().replace(
                "    live: Target", f"    {changed}    live: Target" if changed else "    live: Target"
            )
        )
        done = subprocess.run([*strict, path.name], cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode, said in done.stdout) == (int(bool(changed)), True), done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("extra", PARTS)
def test_each_extra_alone_is_enough_for_its_part(tmp_path: Path, wheels: dict[str, Path], extra: str) -> None:
    environment = tmp_path / "environment"
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    name = f"promobot[{extra}]" if extra else "promobot"
    what = [f"{name} @ {wheels['promobot'].as_uri()}"]
    own = {"promobot"}
    if extra == "sandbox":
        own.add("promobot-sandbox")
        what.append(f"promobot-sandbox @ {wheels['promobot-sandbox'].as_uri()}")
    uv("pip", "install", "--quiet", "--python", str(environment / "bin/python"), "--constraint", str(LOCK), *what)
    listed = {path.name for path in environment.glob("lib/python*/site-packages/*.dist-info")}
    assert {canonicalize_name(name.split("-")[0]) for name in listed} == closure(extra) | own
    if extra == "gateway":
        size = sum(path.lstat().st_size for path in (environment / "lib").rglob("*") if path.is_file())
        assert len(listed) <= MOST_PACKAGES
        assert size <= MOST_MEGABYTES * MEGABYTE
        check_types(environment, tmp_path)
    program = "".join(f"import {module}\n" for module in parts_of(extra)) + "print(bot.__file__)"
    done = subprocess.run(
        [environment / "bin/python", "-c", program],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(environment)), "the bot of the environment, not that of the project"
