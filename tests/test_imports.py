"""What a command imports, and what it does not: that is most of what it costs before it does anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from bot.sandbox.processes import Ports
from tests.benchmarks.imports import TO_LOOK
from tests.stores import begin_share

PROJECT = Path(__file__).parents[1]
HEAVY = {
    # NVIDIA's client and its arrays: Triton's messages are enough.
    *("numpy", "rapidjson", "tritonclient.grpc", "tritonclient.utils"),
    # GitPython's model of a repository: what runs Git is enough.
    *("git", "git.repo", "git.objects", "git.index"),
    # What other commands need.
    *("mlflow", "slack_sdk", "slack_bolt", "boto3", "botocore", "aiohttp"),
    *("fastapi", "starlette", "uvicorn", "onnx", "onnxruntime", "sklearn", "pandas"),
    # What only speaks of other commands, or checks what is proposed.
    *("bot.operations.checking", "bot.operations.package_rules", "bot.render.checks"),
    *("bot.domain.cases", "bot.domain.findings_of_others", "bot.operations.cases"),
    *("bot.requests", "bot.operations.deploy", "bot.operations.propose", "bot.slack", "bot.sandbox", "bot.gateway"),
}


def _imported(*arguments: str) -> tuple[int, set[str], str]:
    """Run a command in a process of its own; return its exit code, the modules that are imported then, and stderr."""
    program = (
        "import json, sys\nfrom bot.cli import main\n"
        f"try:\n    code = main({list(arguments)!r})\nexcept SystemExit as ended:\n    code = ended.code\n"
        "sys.stdout.write('\\n' + json.dumps([int(code or 0), sorted(sys.modules)]))"
    )
    tokens = {"GITHUB_TOKEN": "of-a-test-0123456789", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=PROJECT, env=tokens, capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules), done.stdout + done.stderr


def _environment(root: Path, port: int) -> None:
    """Write the settings of an environment of which nothing answers, so that status has to ask everybody."""
    share = {"model_repository": str(root / "share/models"), "state": str(root / "share/state")}
    staging = {"model_repository": str(root / "staging/models"), "state": str(root / "staging/state")}
    begin_share(Path(share["model_repository"]), Path(share["state"]))
    here = f"127.0.0.1:{port}"
    document = {
        "environment": "dev",
        "github": {"repository": "acme/models", "server_url": f"http://{here}", "api_url": f"http://{here}/api/v3"},
        "mlflow": {"uri": f"http://{here}"},
        "staging": {"triton": {"name": "staging", "grpc": here}, "share": staging},
        "share": share,
        "tritons": [{"name": "triton-1", "grpc": here}],
        "gateways": [{"name": "gateway-1", "url": f"http://{here}"}],
        "records": str(root / "records"),
        "slack": {"channel": "C0ML", "api_url": f"http://{here}/api"},
        "gates": {"churn": {"metrics": {"accuracy": {"minimum": 0.5}}}},
        "deadlines": {"request_seconds": 0.1},
    }
    file = root / "manifests/environments/dev.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(document))


def test_status_imports_only_what_it_asks_with(tmp_path: Path) -> None:
    with Ports() as free:
        _environment(tmp_path, free.take())
        code, modules, said = _imported("status", "--root", str(tmp_path))
    assert code == 0 and "triton-1" in said and "gateway-1" in said, said
    assert sorted(HEAVY & modules) == []
    assert set(TO_LOOK) <= modules, "the floor of the benchmarks holds nothing that status does not need"


def test_a_rollback_imports_nothing_that_judges_what_is_new() -> None:
    program = "import json, sys\nimport bot.operations.rollback\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    judges = {"bot.domain.cases", "bot.domain.findings_of_others", "bot.operations.cases", "bot.operations.checking"}
    assert judges & set(json.loads(done.stdout)) == set()


def test_help_imports_nothing_that_asks() -> None:
    code, modules, said = _imported("status", "--help")
    assert code == 0 and "usage: promobot status" in said
    assert not {*HEAVY, *TO_LOOK, "pydantic", "bot.settings", "bot.platform"} & modules
