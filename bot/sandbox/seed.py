"""The content of the sandbox's repository: this project's own files, with environments that name the sandbox's ports.

It is put into the bare repository directly, as a repository's history is there before anybody works with it: nothing
is pushed, so no workflow runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from bot.errors import InvalidInput
from bot.sandbox.platform import STAGING, Endpoints, TritonEndpoint
from bot.sandbox.project import CODE, FILES

CONTENT = (".github", "pyproject.toml", "requirements.lock", "README.md")
MODEL = "churn"

_SETTINGS = yaml.safe_load(Path(__file__).with_name("environment.yaml").read_text())
MAY, LOGINS, GATES = _SETTINGS["may"], _SETTINGS["github_logins"], {MODEL: _SETTINGS["gate"]}


def seed(endpoints: Endpoints) -> None:
    """Make the first commit of the sandbox's repository."""
    with tempfile.TemporaryDirectory(prefix="promobot-seed-") as folder:
        tree = Path(folder)
        _copy_project(tree)
        for environment in endpoints.triton:
            write(tree / f"manifests/environments/{environment}.yaml", environment_file(endpoints, environment))
            _write_text(
                tree / f"promotions/{environment}.yaml",
                f"# What {environment} serves. Merging a change of this file deploys it.\n"
                f"environment: {environment}\nmodels: {{}}\n\nshadow: {{}}\n",
            )
        shutil.copytree(tree / "manifests", endpoints.directory / "slack-app/manifests", dirs_exist_ok=True)
        _commit(tree, endpoints.directory / "forge" / "repositories" / f"{endpoints.repository}.git")


def clone(endpoints: Endpoints, directory: Path) -> None:
    """Clone the repository as a person does, over HTTP."""
    url = endpoints.clone_url.replace("://", f"://x-access-token:{endpoints.secrets.people['alex']}@", 1)
    _git(directory.parent, "clone", "--quiet", url, str(directory))


def _copy_project(tree: Path) -> None:
    for source in (CODE / "bot", *(FILES / name for name in CONTENT)):
        if source.is_dir():
            shutil.copytree(
                source, tree / source.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "content")
            )
        else:
            shutil.copy2(source, tree / source.name)
    # A repository of promotions has no need of the project's own continuous integration.
    for workflow in ("ci.yml", "pins.yml"):
        (tree / ".github" / "workflows" / workflow).unlink(missing_ok=True)


def environment_file(endpoints: Endpoints, environment: str) -> dict[str, Any]:
    """Return the document of ``manifests/environments/<environment>.yaml`` that names these endpoints."""
    environments = list(endpoints.triton)
    earlier = environments[: environments.index(environment)]
    return {
        "environment": environment,
        "github": {
            "repository": endpoints.repository,
            "server_url": endpoints.forge,
            "api_url": f"{endpoints.forge}/api/v3",
        },
        "mlflow": {"uri": endpoints.mlflow},
        "staging": {
            "triton": _triton(endpoints.triton_staging),
            "share": _share(endpoints, STAGING),
        },
        "share": _share(endpoints, environment),
        "tritons": [_triton(triton) for triton in endpoints.triton[environment]],
        "gateways": [{"name": gateway.name, "url": gateway.url} for gateway in endpoints.gateway[environment]],
        "records": endpoints.records_setting(),
        "slack": {
            "channel": endpoints.slack_channel,
            "api_url": endpoints.slack_api,
            "may": MAY,
            "github_logins": LOGINS,
        },
        "gates": GATES,
        **({"promotes_from": earlier[-1]} if earlier else {}),
    }


def _triton(one: TritonEndpoint) -> dict[str, str]:
    return {"name": one.name, "grpc": one.grpc, "http": one.http.removeprefix("http://")}


def _share(endpoints: Endpoints, environment: str) -> dict[str, str]:
    return {
        "model_repository": str(endpoints.model_repository(environment)),
        "state": str(endpoints.state(environment)),
    }


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a document as YAML, in the order of its keys."""
    _write_text(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _commit(tree: Path, repository: Path) -> None:
    _git(tree, "init", "--quiet", "--initial-branch=main")
    _git(tree, "add", "--all")
    _git(tree, "commit", "--quiet", "--message", "A repository of promotions")
    _git(tree, "push", "--quiet", str(repository), "HEAD:refs/heads/main")


def _git(folder: Path, *arguments: str) -> None:
    identity = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "alex"), ("EMAIL", "alex@example.com"))
    }
    environment = {**os.environ, **identity, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise InvalidInput(f"git {arguments[0]} failed: {done.stderr.strip()}", key=str(folder))
