"""Python environments that a sandbox needs beside the bot's own, made once and kept in the user's cache.

The Triton server and its Python backend run in ``triton`` (numpy 1, which the bot must not be held to). DAGs run in
``airflow``, because the bot does not depend on Airflow. The ``runner`` stands for our GitHub Actions runner: it has
the bot's own dependencies, with those that measure, and nothing else. A verb that quietly needs a training framework
fails here as it would there.

An environment's directory carries a hash of everything that it is made from, so a changed lock is a new environment.
It is built in place (a virtual environment does not survive being moved) under an exclusive lock, and counts as built
only when its marker file is there: several sandboxes may ask at once, none gets half of one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.errors import OutsideError, Refused, Unavailable
from bot.sandbox.processes import POLL_SECONDS, locked
from bot.sandbox.project import FILES, program

CACHE_VARIABLE = "XDG_CACHE_HOME"
MARKER = ".complete"
TRITON_LOCK = Path(__file__).with_name("triton.lock")
AIRFLOW_LOCK = Path(__file__).with_name("airflow.lock")
TRITON_BACKEND = Path(__file__).with_name("triton_backend") / "model.py"
RUNNER_EXTRA = "evaluation"
"""What of the bot's dependencies the runner has: the job Behaviour needs the most."""
TRITON_PYTHONS = ((3, 10), (3, 12))
"""The oldest and the newest Python of Triton's environment: of numpy 1 there are builds for these."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that an environment is made with."""

    path: str
    version: str
    """Major and minor: ``3.11``."""
    identity: str
    """All that tells it from another build of the same version."""

    @classmethod
    def ours(cls) -> Interpreter:
        """Return the one that runs this."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return cls(sys.executable, version, f"{sys.version} {sys.base_prefix}")


@dataclass(frozen=True)
class Environment:
    """A finished Python environment."""

    directory: Path
    python: Interpreter

    @property
    def bin(self) -> Path:
        """Where its programs are. First on PATH, it also makes an embedded Python find its packages."""
        return self.directory / "bin"

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        return self.directory / "lib" / f"python{self.python.version}" / "site-packages"


def cache_directory() -> Path:
    """Return ``$XDG_CACHE_HOME/promobot``, by default ``~/.cache/promobot``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache") / "promobot"


def triton(*, progress: Callable[[str], None], cancelled: Callable[[], bool] = lambda: False) -> Environment:
    """Return the environment of the Triton server, made first where it does not exist.

    Raises Refused if no Triton exists for this machine or Python, Unavailable if a download failed.
    """
    _check_triton_runs_here()
    python = triton_python()

    def install(environment: Environment) -> None:
        # nvidia-pytriton's own requirements hold nothing that the server needs.
        options = ("--no-deps", "--require-hashes", "--compile-bytecode")
        _uv("pip", "install", *options, "-r", str(TRITON_LOCK), into=environment, cancelled=cancelled)
        server = triton_server(environment)
        stub = server / "python_backend_stubs" / python.version / "triton_python_backend_stub"
        if not stub.is_file():
            raise Refused(
                f"nvidia-pytriton has no Python backend for Python {python.version}",
                next_step="run the sandbox with Python 3.11",
            )
        _copy_executable(stub, server / "backends" / "python" / stub.name)
        _copy_executable(server / "bin" / "tritonserver", server / "bin" / "tritonserver")
        backend = server / "backends" / "onnxruntime" / "model.py"
        backend.parent.mkdir()
        shutil.copyfile(TRITON_BACKEND, backend)

    made_from = (TRITON_LOCK.read_bytes(), TRITON_BACKEND.read_bytes())
    return _environment("triton", made_from, install, python=python, progress=progress, cancelled=cancelled)


def triton_python() -> Interpreter:
    """Return the Python of Triton's environment: ours, or where ours is too new another one of this machine.

    Raises Refused where there is none.
    """
    oldest, newest = TRITON_PYTHONS
    if oldest <= sys.version_info[:2] <= newest:
        return Interpreter.ours()
    for minor in range(newest[1], oldest[1] - 1, -1):
        # Looked for, never downloaded: what runs here is for the person to choose.
        command = [str(program("uv")), "python", "find", "--no-python-downloads", "--system", f"3.{minor}"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode == 0 and (path := found.stdout.strip()):
            told = [path, "-c", "import sys; print(sys.version, sys.base_prefix)"]
            identity = subprocess.run(told, capture_output=True, text=True, check=False)
            if identity.returncode == 0:
                return Interpreter(path, f"3.{minor}", identity.stdout.strip())
    ours = Interpreter.ours().version
    raise Refused(
        f"the sandbox's Triton needs a Python between 3.{oldest[1]} and 3.{newest[1]} beside this one ({ours}): its "
        "Python backend needs numpy 1, which has no build for others",
        next_step=f"install Python 3.{newest[1]} beside it; nothing else of the bot needs it",
    )


def triton_server(environment: Environment) -> Path:
    """Return the directory of the Triton server in the environment: ``bin``, ``backends`` and so on."""
    return environment.site_packages / "pytriton" / "tritonserver"


def airflow(*, progress: Callable[[str], None], cancelled: Callable[[], bool] = lambda: False) -> Environment:
    """Return the environment of Airflow, with all that ``promobot[training]`` needs, made first where there is none.

    The bot itself is not in it: the caller puts this code on PYTHONPATH, so one environment serves each version of
    the bot. Raises Unavailable if a download failed.
    """

    def install(environment: Environment) -> None:
        options = ("--require-hashes", "--compile-bytecode")
        _uv("pip", "install", *options, "-r", str(AIRFLOW_LOCK), into=environment, cancelled=cancelled)

    return _environment("airflow", (AIRFLOW_LOCK.read_bytes(),), install, progress=progress, cancelled=cancelled)


def runner(*, progress: Callable[[str], None], cancelled: Callable[[], bool] = lambda: False) -> Environment:
    """Return the environment that workflows run in, made first where it does not exist.

    Raises Unavailable when a download failed.
    """
    project, lock, uv = (FILES / name for name in ("pyproject.toml", "requirements.lock", "requirements-uv.lock"))

    def install(environment: Environment) -> None:
        # A workflow's own "uv pip install" finds everything there already, so uv has to be there too.
        _uv(
            *("pip", "install", "--require-hashes", "--only-binary", ":all:", "--compile-bytecode"),
            *("-c", str(lock), "-r", str(project), "--extra", RUNNER_EXTRA, "-r", str(uv)),
            into=environment,
            cancelled=cancelled,
        )

    made_from = (project.read_bytes(), lock.read_bytes(), RUNNER_EXTRA.encode())
    return _environment("runner", made_from, install, progress=progress, cancelled=cancelled)


def runner_directory() -> Path:
    """Return where :func:`runner` is or will be, without making it."""
    project, lock = FILES / "pyproject.toml", FILES / "requirements.lock"
    return _directory("runner", (project.read_bytes(), lock.read_bytes(), RUNNER_EXTRA.encode()), Interpreter.ours())


def libpython(python: Interpreter) -> Path:
    """Return a Python's shared library, which Triton's Python backend is linked against.

    Raises Refused that says what to install where there is none.
    """
    name = f"libpython{python.version}.so.1.0"
    # Asked of that Python, since it need not be ours.
    asked = "import json, sys, sysconfig; print(json.dumps([sys.base_prefix, sysconfig.get_config_vars()]))"
    prefix, variables = json.loads(subprocess.check_output([python.path, "-c", asked]))
    configured = [variables.get("LIBDIR"), variables.get("LIBPL")]
    multiarch = variables.get("MULTIARCH") or ""
    folders = [Path(prefix) / "lib", *(Path(folder) for folder in configured if folder)]
    for folder in folders:
        for candidate in (folder / name, folder / multiarch / name):
            if candidate.is_file():
                return candidate
    raise Refused(
        f"{name} is in none of {', '.join(sorted({str(folder) for folder in folders}))}; "
        "Triton's Python backend is linked against it",
        next_step=f"install it (Debian, Ubuntu: apt-get install libpython{python.version}), or use a Python that "
        "was built with --enable-shared",
    )


def bytecode_variables() -> Mapping[str, str]:
    """Return environment variables that let this Python's programs keep their compiled form.

    Where ``PYTHONDONTWRITEBYTECODE`` is set and the packages came uncompiled (uv does that), each start compiles
    everything again: MLflow takes 6 seconds to import instead of 2. Then the compiled form goes to our own cache.
    """
    probe = importlib.util.find_spec("pydantic")
    compiled = probe is not None and probe.cached is not None and Path(probe.cached).is_file()
    if compiled or not sys.dont_write_bytecode:
        return {}
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(cache_directory() / "bytecode")}


def _environment(
    name: str,
    made_from: Sequence[bytes],
    install: Callable[[Environment], None],
    *,
    python: Interpreter | None = None,
    progress: Callable[[str], None],
    cancelled: Callable[[], bool],
) -> Environment:
    python = python or Interpreter.ours()
    directory = _directory(name, made_from, python)
    environment = Environment(directory, python)
    if (directory / MARKER).exists():
        return environment
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = directory.with_name(f"{directory.name}.lock")
    with locked(lock, while_waiting=lambda: _stop_if(cancelled)):
        if (directory / MARKER).exists():  # somebody else made it while we waited
            return environment
        progress(f"making the {name} environment, once: {directory}")
        shutil.rmtree(directory, ignore_errors=True)
        try:
            _uv("venv", "--python", python.path, str(directory), into=None, cancelled=cancelled)
            install(environment)
            (directory / MARKER).touch()
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
    return environment


def _directory(name: str, made_from: Sequence[bytes], python: Interpreter) -> Path:
    parts = (*made_from, python.identity.encode())
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    return cache_directory() / f"{name}-{digest[:16]}"


def _uv(*arguments: str, into: Environment | None, cancelled: Callable[[], bool]) -> None:
    variables = {**os.environ, "UV_NO_PROGRESS": "1"}
    variables.pop("PYTHONPATH", None)
    if into is not None:
        variables["VIRTUAL_ENV"] = str(into.directory)
    if "PIP_INDEX_URL" in variables:  # who told pip of a mirror means it for uv too
        variables.setdefault("UV_DEFAULT_INDEX", variables["PIP_INDEX_URL"])
    command = [str(program("uv")), *arguments]
    with subprocess.Popen(
        command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                if cancelled():
                    process.terminate()
    _stop_if(cancelled)
    if process.returncode != 0:
        end = "\n".join(output.rstrip().splitlines()[-12:])
        raise Unavailable(
            f"uv {' '.join(arguments[:2])} failed:\n{end}",
            system="uv",
            next_step="check that the package index can be reached, then try again",
        )


def _stop_if(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise OutsideError("stopped on the way", system="environments")


def _check_triton_runs_here() -> None:
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        raise Refused(
            f"Triton runs on Linux on x86-64 or arm64, this is {platform.system()} on {platform.machine()}",
            next_step="run the sandbox in a container or a virtual machine of Linux",
        )


def _copy_executable(source: Path, target: Path) -> None:
    """Copy and make executable, as a new file: uv links installed files to its cache, whose modes are not ours."""
    beside = target.with_name(f"{target.name}.new")
    shutil.copyfile(source, beside)
    beside.chmod(0o755)
    beside.replace(target)
