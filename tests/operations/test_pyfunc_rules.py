"""An environment takes a pyfunc by its name only, and its environment of Python by its digest."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from bot.domain.evidence import Finding
from bot.domain.package import Package, PackageFile
from bot.domain.pyfunc import ENVIRONMENT_FILE, MODEL_PY
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor
from bot.operations.package_rules import rule_findings
from bot.settings import PackageRules

CONFIG = (
    'backend: "python" max_batch_size: 4 input { name: "X" data_type: TYPE_FP32 dims: [1] } '
    'output { name: "Y" data_type: TYPE_FP32 dims: [1] } '
    'parameters { key: "own.pyfunc" value { string_value: "{}" } } '
)
ARCHIVE = f"$$TRITON_MODEL_DIRECTORY/{ENVIRONMENT_FILE}"
WITH_ENVIRONMENT = f'{CONFIG} parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{ARCHIVE}" }} }}'
SMOKE = SmokeCases(
    (SmokeCase("one", (Tensor("X", "FP32", (1, 1), (1.0,)),), (Tensor("Y", "FP32", (1, 1), (1.0,)),)),)
)
FILES = {
    "model.py": MODEL_PY,
    "pyfunc/MLmodel": "flavors: {}",
    "pyfunc/python_model.pkl": "pickled",
    "smoke.json": "",
}


def refused(rules: PackageRules, *, config: str = CONFIG, **files: str) -> dict[str, Finding]:
    """Return what the rules say against a package of the model prices; names of files have ``__`` for a slash."""
    there = {**FILES, **{name.replace("__", "/"): text for name, text in files.items()}, "config.pbtxt": config}
    package = Package.of(
        PackageFile(path, len(text), hashlib.sha256(text.encode()).hexdigest()) for path, text in there.items()
    )
    contents: Any = SimpleNamespace(package=package, read=lambda _: config.encode(), smoke=lambda: SMOKE)
    return {one.what: one for one in rule_findings(rules, contents, model="prices") if not one.passed}


def test_a_pyfunc_is_refused_with_the_reason_and_the_line_that_allows_it() -> None:
    said = refused(PackageRules(pyfuncs=["rates"]))
    assert set(said) == {"backend", "file types"}
    assert "pickled code that would run in Triton" in said["backend"].detail
    assert said["backend"].detail.endswith("to allow it, write under packages: pyfuncs: [rates, prices]")


def test_a_pyfunc_is_allowed_by_its_name() -> None:
    assert refused(PackageRules(pyfuncs=["prices"])) == {}


def test_it_needs_its_name_also_where_every_python_model_is_allowed() -> None:
    rules = PackageRules(backends=["python"], file_types=[".py", ".pkl", "MLmodel"])
    assert set(refused(rules)) == {"backend"}


@pytest.mark.parametrize(
    ("config", "files"),
    [
        (CONFIG, {"model.py": "import os"}),
        (CONFIG + 'default_model_filename: "pyfunc/own.py"', {"pyfunc__own.py": "import os"}),
    ],
)
def test_the_name_of_a_pyfunc_allows_no_other_program(config: str, files: dict[str, str]) -> None:
    said = refused(PackageRules(pyfuncs=["prices"]), config=config, **files)
    assert said["backend"].detail == "python; allowed: onnxruntime"


def test_the_name_of_a_pyfunc_allows_no_artifacts_of_other_kinds_and_nothing_beside_it() -> None:
    said = refused(PackageRules(pyfuncs=["prices"]), **{"pyfunc__artifacts__lib.so": "ELF", "other.py": "import os"})
    assert said["file types"].detail == "other.py, pyfunc/artifacts/lib.so"


def test_its_environment_is_pinned_by_digest_and_the_line_that_pins_it_is_said() -> None:
    sha256 = hashlib.sha256(b"packed").hexdigest()
    given: dict[str, Any] = {"config": WITH_ENVIRONMENT, ENVIRONMENT_FILE: "packed"}
    said = refused(PackageRules(pyfuncs=["prices"]), **given)
    assert set(said) == {"configuration"}
    assert (
        f"the sha256 of '{ENVIRONMENT_FILE}' is not one of packages.python_environments here"
        in said["configuration"].detail
    )
    assert f'python_environments: {{prices: "sha256:{sha256}"}}' in said["configuration"].detail
    assert (
        refused(PackageRules(pyfuncs=["prices"], python_environments={"packed": f"sha256:{sha256}"}), **given) == {}
    )
