"""The content of the sandbox's repository: this project's own files, with environments that name the sandbox's ports.

It is put into the bare repository directly, as a repository's history is there before anybody works with it: nothing
is pushed, so no workflow runs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bot.errors import InvalidInput
from bot.sandbox.forge.git import Git, Identity, git_environment
from bot.sandbox.platform import STAGING, Endpoints, TritonEndpoint
from bot.sandbox.project import CODE, FILES

CONTENT = (".github", "pyproject.toml", "requirements.lock", "README.md")
LEFT_OUT = {"__pycache__", "content", "hatch_build.py", "LICENSE", "ci.yml", "pins.yml", "release.yml"}
MODEL = "churn"

_SETTINGS = yaml.safe_load(Path(__file__).with_name("environment.yaml").read_text())
MAY, LOGINS, GATES = _SETTINGS["may"], _SETTINGS["github_logins"], {MODEL: _SETTINGS["gate"]}


def seed(endpoints: Endpoints) -> None:
    """Make the first commit of the sandbox's repository."""
    _commit(endpoints, _project(("bot", *CONTENT)))


def seed_promotions(endpoints: Endpoints) -> None:
    """Make it without the code of the bot, which only workflows of this repository would run.

    Repositories of promotions are such that call the bot's workflows from another repository. Of what each command
    fetches, the code is nine parts in ten.
    """
    _commit(endpoints, _project((".github", "README.md")))


def _commit(endpoints: Endpoints, files: dict[str, bytes]) -> None:
    for environment in endpoints.triton:
        settings = f"manifests/environments/{environment}.yaml"
        write(endpoints.directory / "slack-app" / settings, environment_file(endpoints, environment))
        files[settings] = (endpoints.directory / "slack-app" / settings).read_bytes()
        files[f"promotions/{environment}.yaml"] = (
            f"# What {environment} serves. Merging a change of this file deploys it.\n"
            f"environment: {environment}\nmodels: {{}}\n\nshadow: {{}}\n"
        ).encode()
    git = Git(endpoints.directory / "forge" / "repositories" / f"{endpoints.repository}.git")
    message, who = "A repository of promotions", Identity("alex", "alex@example.com")
    first = git.commit_tree(git.tree_with(None, files), parents=[], message=message, author=who, committer=who)
    git.update_ref("refs/heads/main", new=first, old=None)
    git.pack()


def clone(endpoints: Endpoints, directory: Path) -> None:
    """Clone the repository as a person does, over HTTP."""
    url = endpoints.clone_url.replace("://", f"://x-access-token:{endpoints.secrets.people['alex']}@", 1)
    command = ["git", "clone", "--quiet", url, str(directory)]
    done = subprocess.run(command, env=git_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InvalidInput(f"git clone failed: {done.stderr.strip()}", key=str(directory.parent))


def _project(names: Sequence[str]) -> dict[str, bytes]:
    """The project's own files by their paths, but for what tests and releases it: promotions have no need of that."""
    found: dict[str, bytes] = {}
    for root, name in ((CODE if name == "bot" else FILES, name) for name in names):
        listed = (root / name).rglob("*") if (root / name).is_dir() else [root / name]
        for path in (path.relative_to(root) for path in listed if path.is_file()):
            left_out = LEFT_OUT & set(path.parts) or path.suffix == ".pyc"
            if not left_out:
                found[path.as_posix()] = (root / path).read_bytes()
    return found


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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
