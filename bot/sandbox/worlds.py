"""Worlds that a sandbox can be like: the platforms of organisations, and the mistakes that people make in them.

``promobot sandbox up --dir DIR --like NAME`` starts everything as usual and then makes it so. The tests of
``promobot doctor`` use the same functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml

from bot.domain.nearest import did_you_mean
from bot.errors import InvalidInput, Refused
from bot.sandbox.platform import OWNER, SLACK_MANIFEST, Sandbox
from bot.sandbox.processes import HOST, Part, Ports, port_of
from bot.sandbox.seed import environment_file, write
from bot.sandbox.tls import HERE, Authority

WORKERS = 3
QUEUE = {
    "check_response_timeout_minutes": 60,
    "grouping_strategy": "ALLGREEN",
    "max_entries_to_build": 1,
    "max_entries_to_merge": 1,
    "merge_method": "SQUASH",
    "min_entries_to_merge": 1,
    "min_entries_to_merge_wait_minutes": 0,
}
"""A merge queue as the forge has it."""
Command = Callable[[tuple[str, ...]], tuple[str, ...]]
"""Is given the words of a part's command, and returns those to run instead."""


@dataclass(frozen=True)
class Likeness:
    """One world: what it is like, what there is to see in it, and what makes a sandbox so."""

    says: str
    see: str
    make: Callable[[Sandbox], object]


def change_channel(sandbox: Sandbox, **how: bool) -> None:
    """Archive the channel of releases or not (``archived``), invite the bot or remove it (``has_bot``)."""
    endpoints = sandbox.endpoints
    _done(httpx.post(f"{endpoints.slack}/channels/{endpoints.slack_channel}", json=how, timeout=60))


def install_app(sandbox: Sandbox, *, without: str = "") -> None:
    """Install the bot's app in the workspace, without one scope of its manifest."""
    endpoints = sandbox.endpoints
    installed = httpx.get(f"{endpoints.slack}/app", timeout=60).json()
    manifest, secrets = installed["manifest"], endpoints.secrets
    known = yaml.safe_load(SLACK_MANIFEST.read_text())["oauth_config"]["scopes"]["bot"]
    manifest["oauth_config"]["scopes"]["bot"] = [scope for scope in known if scope != without]
    app = {"app_token": secrets.slack_app, "signing_secret": secrets.slack_signing}
    app["request_url"] = installed["request_url"]
    _done(httpx.post(f"{endpoints.slack}/app", json={**app, "manifest": manifest}, timeout=60))


def restart_triton(sandbox: Sandbox, name: str, changes: Mapping[str, str], *, more: tuple[str, ...] = ()) -> None:
    """Start a Triton again with other values of its options, and with ``more`` of them."""

    def changed(command: tuple[str, ...]) -> tuple[str, ...]:
        options = (word.partition("=") for word in command)
        return (*(f"{name}={changes[name]}" if name in changes else name + sign + value
                  for name, sign, value in options), *more)  # fmt: skip

    sandbox.restart(name, command=changed)


def restart_gateways(
    sandbox: Sandbox, environment: str, change: Callable[[tuple[str, ...]], tuple[str, ...]]
) -> None:
    """Start the environment's gateways again with another command."""
    for gateway in sandbox.endpoints.gateway[environment]:
        sandbox.restart(gateway.name, command=change)


def with_option(option: str, value: str) -> Command:
    """Return what gives an option of a command another value."""

    def changed(command: tuple[str, ...]) -> tuple[str, ...]:
        at = command.index(option) + 1
        return (*command[:at], value, *command[at + 1 :])

    return changed


def change_repository(sandbox: Sandbox, **how: object) -> None:
    """Change the repository's settings on the forge, as its owner does: its ``name``, ``allow_squash_merge``, …"""
    _ask(sandbox, "PATCH", body=how)


def _merged_only_by(way: str, sandbox: Sandbox) -> None:
    change_repository(
        sandbox, **{f"allow_{name}": name == way for name in ("merge_commit", "squash_merge", "rebase_merge")}
    )


def ask_for_signatures(sandbox: Sandbox, branches: str = "~ALL") -> None:
    """Add a ruleset that requires signed commits on every branch, or on those that match."""
    _ruleset("signed commits", branches, sandbox, type="required_signatures")


def drop_rulesets(sandbox: Sandbox) -> None:
    """Remove every ruleset of the repository."""
    for known in _ask(sandbox, "GET", "/rulesets").json():
        _ask(sandbox, "DELETE", f"/rulesets/{known['id']}")


def _ruleset(name: str, branches: str, sandbox: Sandbox, **rule: object) -> None:
    if name not in [known["name"] for known in _ask(sandbox, "GET", "/rulesets").json()]:
        where = {"ref_name": {"include": [branches], "exclude": []}}
        ruleset = {"name": name, "enforcement": "active", "conditions": where, "rules": [rule]}
        _ask(sandbox, "POST", "/rulesets", ruleset)


def _renamed(sandbox: Sandbox) -> None:
    if not _ask(sandbox, "GET").is_redirect:  # else it was renamed at an earlier start
        change_repository(sandbox, name=f"{sandbox.endpoints.repository.partition('/')[2]}-moved")


def _tritons_of_dev(sandbox: Sandbox, *, mode: str = "explicit", elsewhere: bool = False) -> None:
    repository = sandbox.endpoints.directory / "elsewhere" if elsewhere else sandbox.endpoints.model_repository("dev")
    repository.mkdir(exist_ok=True)
    for triton in sandbox.endpoints.triton["dev"]:
        options = {"--model-control-mode": mode, "--model-repository": str(repository)}
        restart_triton(sandbox, triton.name, options)


def _other_state(sandbox: Sandbox) -> None:
    other = sandbox.endpoints.state("prod") / "routes.json"
    restart_gateways(sandbox, "dev", with_option("--routes", str(other)))


def _records_unmounted(sandbox: Sandbox) -> None:
    if sandbox.endpoints.s3 is not None:
        raise Refused("records are in a bucket with --s3, which is not mounted", next_step="leave out --s3")
    records = sandbox.endpoints.records
    records.rename(records.with_name("records-away"))
    records.mkdir()


def _workers(sandbox: Sandbox) -> None:
    """The gateways' commands, as the application that uvicorn runs in several processes."""
    for environment, gateways in sandbox.endpoints.gateway.items():
        for gateway in gateways:
            settings = {
                "PROMOBOT_SANDBOX_ROUTES": str(sandbox.endpoints.state(environment) / "routes.json"),
                "PROMOBOT_SANDBOX_TRITONS": " ".join(one.http for one in sandbox.endpoints.triton[environment]),
                "PROMOBOT_SANDBOX_NAME": gateway.name,
                "PROMOBOT_SANDBOX_ENVIRONMENT": environment,
            }
            sandbox.restart(gateway.name, env=settings, command=_of_several_workers)


def _of_several_workers(command: tuple[str, ...]) -> tuple[str, ...]:
    if command[2] != "bot.gateway":
        return command
    given = dict(zip(command[3::2], command[4::2], strict=True))
    where = ("--host", given["--host"], "--port", given["--port"])
    return (sys.executable, "-m", "uvicorn", "bot.sandbox.mounted:app", *where, "--workers", str(WORKERS))


def _private_ca(sandbox: Sandbox) -> None:
    """Behind TLS, with a certificate of an authority that nobody knows.

    Not Slack, and not the forge's API: it names its own address in its answers, which is without TLS.
    """
    endpoints = sandbox.endpoints
    gateways = [one for several in endpoints.gateway.values() for one in several]
    plain = [
        *(endpoints.forge, endpoints.mlflow),
        *(one.url for one in gateways),
        *([endpoints.s3.endpoint] if endpoints.s3 else []),
    ]
    with Ports() as ports:
        fronts = _speak_tls(
            sandbox, ports, map(port_of, plain), grpc=[port_of(one.grpc) for _, one in endpoints.tritons]
        )

    def secured(url: str) -> str:
        return f"https://localhost:{fronts[port_of(url)]}"

    def change(document: dict[str, Any]) -> None:
        document["github"]["server_url"] = secured(endpoints.forge)
        document["mlflow"]["uri"] = secured(endpoints.mlflow)
        for gateway in document["gateways"]:
            gateway["url"] = secured(gateway["url"])
        for triton in (*document["tritons"], document["staging"]["triton"]):
            triton.update(grpc=secured(triton["grpc"]).removeprefix("https://"), grpc_tls=True)
        if endpoints.s3:
            document["records"]["s3"]["endpoint"] = secured(endpoints.s3.endpoint)

    _write_settings(sandbox, change)


def _store_like(kind: str, sandbox: Sandbox, *, over_https: bool = False) -> None:
    """Records in a store of this kind of ``bot.sandbox.s3_like``, in front of the sandbox's own."""
    storage = sandbox.endpoints.s3
    if storage is None:
        raise Refused("records are in a directory", next_step="Start it with --s3.")
    with Ports() as ports:
        port = ports.take()
        words = (sys.executable, "-m", "bot.sandbox.s3_like", kind, "--port", str(port))
        _started(sandbox, Part("s3-like", (*words, "--store", storage.endpoint), port, any_answer=True))
        url = f"http://{HOST}:{port}"
        if over_https:
            url = f"https://localhost:{_speak_tls(sandbox, ports, [port])[port]}"
    _write_settings(sandbox, lambda document: document["records"]["s3"].update(endpoint=url))


def _speak_tls(sandbox: Sandbox, ports: Ports, http: Iterable[int], *, grpc: Sequence[int] = ()) -> dict[int, int]:
    """Speak TLS for these ports, with a certificate of a new authority in ``DIR/like``; return where, by port."""
    folder = _like(sandbox)
    authority = Authority(folder, "a private authority of the sandbox")
    certificate = authority.issue(*HERE)
    fronts, health = {port: ports.take() for port in (*http, *grpc)}, ports.take()
    words = (sys.executable, "-m", "bot.sandbox.tls", "--certificate", str(certificate), "--health", str(health))
    pairs = (f"{front}:{port}{'/h2' if port in grpc else ''}" for port, front in fronts.items())
    _started(sandbox, Part("private-ca", (*words, *pairs), health))
    return fronts


def _started(sandbox: Sandbox, part: Part) -> None:
    sandbox.processes.stop([process for process in sandbox.processes.recorded() if process.part.name == part.name])
    sandbox.processes.wait_until_ready(sandbox.processes.start(part))


def _write_settings(sandbox: Sandbox, change: Callable[[dict[str, Any]], object]) -> None:
    """Write environment files that name this world's addresses, below ``DIR/like``; the repository's stay."""
    for environment in sandbox.endpoints.triton:
        document = environment_file(sandbox.endpoints, environment)
        change(document)
        write(_like(sandbox) / f"manifests/environments/{environment}.yaml", document)


def _like(sandbox: Sandbox) -> Path:
    folder = sandbox.endpoints.directory / "like"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


MAKES: Mapping[str, Callable[[Sandbox], object]] = {
    "slack-archived": partial(change_channel, archived=True),
    "slack-not-invited": partial(change_channel, has_bot=False),
    "slack-scope": partial(install_app, without="channels:history"),
    "triton-none": partial(_tritons_of_dev, mode="none"),
    "triton-poll": partial(_tritons_of_dev, mode="poll"),
    "triton-other-repository": partial(_tritons_of_dev, elsewhere=True),
    "gateway-other-share": _other_state,
    "records-not-mounted": _records_unmounted,
    "renamed-repository": _renamed,
    "squash-only": partial(_merged_only_by, "squash_merge"),
    "rebase-only": partial(_merged_only_by, "rebase_merge"),
    "merge-queue": partial(_ruleset, "queue", "~DEFAULT_BRANCH", type="merge_queue", parameters=QUEUE),
    "signed-commits": ask_for_signatures,
    "private-ca": _private_ca,
    "s3-no-trailers": partial(_store_like, "no-trailers", over_https=True),
    "s3-virtual-hosts-only": partial(_store_like, "virtual-hosts-only"),
    "s3-no-conditions": partial(_store_like, "no-conditions"),
    "workers": _workers,
}
WORLDS = {
    name: Likeness(**told, make=MAKES[name])
    for name, told in yaml.safe_load(Path(__file__).with_name("worlds.yaml").read_text()).items()
}


def likeness(name: str) -> Likeness:
    """Return the world of this name; raise InvalidInput, with all that there are, for another."""
    if name not in WORLDS:
        step = f"{did_you_mean(name, WORLDS)}There are:\n{listed()}"
        raise InvalidInput(f"no world is called {name!r}", key="--like", next_step=step)
    return WORLDS[name]


def listed() -> str:
    """Return the worlds, a line each."""
    width = max(map(len, WORLDS))
    return "\n".join(f"  {name.ljust(width)}  {world.says}" for name, world in WORLDS.items())


def _ask(sandbox: Sandbox, method: str, path: str = "", body: Mapping[str, object] | None = None) -> httpx.Response:
    """Ask the forge about the repository, as its owner."""
    endpoints = sandbox.endpoints
    url = f"{endpoints.forge}/api/v3/repos/{endpoints.repository}{path}"
    headers = {"Authorization": f"Bearer {endpoints.secrets.people[OWNER]}"}
    return _done(httpx.request(method, url, json=body, headers=headers, timeout=60, trust_env=False))


def _done(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise Refused(f"the sandbox answers {answer.status_code} to {answer.request.url}: {answer.text}")
    return answer
