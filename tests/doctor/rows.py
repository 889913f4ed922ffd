"""The table: forty ways in which a platform is wrong, each with what names it.

Each row changes the world around one model whose first version was merged and is not deployed yet. `doctor` names it
on the line of ``system``; ``deployment`` is what the first deployment says, or WORKS where it goes through.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bot import trust
from bot.domain.marker import MARKER_FILE, Marker
from bot.records.bucket import BucketRecords
from bot.records.directory import RecordStore
from bot.sandbox import s3, s3_like, worlds
from bot.sandbox.processes import HOST
from bot.sandbox.reference import evaluation_rows
from bot.sandbox.tls import HERE as NAMES
from bot.sandbox.tls import Authority
from bot.settings import Bucket
from tests.operations.world import World
from tests.privileges import WITHOUT, without_privileges
from tests.stores import begin_share

Arrange = Callable[[World, ExitStack], Mapping[str, str] | None]
"""Changes the world; what it pushes onto the stack puts it back. It returns variables of the environment."""
NOTHING = "nothing"
"""What a deployment says where it goes through."""


@dataclass(frozen=True)
class Row:
    """One misconfiguration. ``doctor`` and ``deployment`` are parts of what is said."""

    name: str
    what: str
    system: str
    doctor: str
    deployment: str
    arrange: Arrange
    by_root: bool = False
    """Whether only root can make the world so."""


def nowhere(stack: ExitStack) -> int:
    """Return a port of this machine on which nobody listens."""
    taken = stack.enter_context(socket.socket())
    taken.bind((HOST, 0))
    return int(taken.getsockname()[1])


def variable(name: str, value: str) -> Arrange:
    """Have a variable of the environment hold this."""
    return lambda _, __: {name: value}


def setting(**changes: Any) -> Arrange:
    """Have dev's environment file say this."""

    def arrange(world: World, _: ExitStack) -> None:
        world.configure("dev", **changes)

    return arrange


def evaluated(*, digest: str = "", source: str = "") -> Arrange:
    """Have dev's environment file name an evaluation set for all models, with another digest or another folder."""

    def arrange(world: World, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()), "rows")
        there, address = evaluation_rows(folder, world.endpoints.mlflow)
        where = f"{address.rpartition('/')[0]}/{source}" if source else address
        world.configure("dev", evaluation={"default": {"digest": digest or there, "from": where}})

    return arrange


def at_nobodys(make: Callable[[World, int], dict[str, Any]]) -> Arrange:
    """Have dev's environment file name a port on which nobody listens."""

    def arrange(world: World, stack: ExitStack) -> None:
        world.configure("dev", **make(world, nowhere(stack)))

    return arrange


def tritons(world: World, **changes: Any) -> dict[str, Any]:
    """Return the Tritons of dev's environment file with other values."""
    (triton,) = world.endpoints.triton["dev"]
    known = {"name": triton.name, "grpc": triton.grpc, "http": triton.http.removeprefix("http://")}
    return {"tritons": [{**known, **changes}]}


def _staging(world: World, **changes: Any) -> dict[str, Any]:
    """Return the staging Triton of dev's environment file with other values."""
    one = world.endpoints.triton_staging
    known = {"name": one.name, "grpc": one.grpc, "http": one.http.removeprefix("http://")}
    return {"staging": {"triton": {**known, **changes}}}


def _http_of(world: World) -> str:
    (triton,) = world.endpoints.triton["dev"]
    return triton.http.removeprefix("http://")


def _first_gateway(world: World) -> str:
    return world.endpoints.gateway["dev"][0].url.removeprefix("http://")


def gateways(world: World, **changes: Any) -> dict[str, Any]:
    """Return the first gateway of dev's environment file with other values, and the others as they are."""
    first, *others = ({"name": one.name, "url": one.url} for one in world.endpoints.gateway["dev"])
    return {"gateways": [{**first, **changes}, *others]}


def restarted(make: Callable[[World], object], *names: str) -> Arrange:
    """Start parts with other options, and again as they were when the row is over."""

    def arrange(world: World, stack: ExitStack) -> None:
        commands = {one.part.name: one.part.command for one in world.sandbox.processes.recorded()}

        def undo() -> None:
            for name in names:
                world.sandbox.restart(name, command=lambda _, name=name: commands[name])  # type: ignore[misc]

        stack.callback(undo)
        make(world)

    return arrange


def away(folder: Callable[[World], Path]) -> Arrange:
    """Leave what an unmounted file system leaves: an empty folder."""

    def arrange(world: World, stack: ExitStack) -> None:
        there = folder(world)
        elsewhere = there.with_name(f"{there.name}-away")
        there.rename(elsewhere)
        there.mkdir()

        def back() -> None:
            shutil.rmtree(there)
            elsewhere.rename(there)

        stack.callback(back)

    return arrange


def read_only(folder: Callable[[World], Path]) -> Arrange:
    """Mount a folder over itself, read-only; for root."""

    def arrange(world: World, stack: ExitStack) -> None:
        there = folder(world)
        subprocess.run(["mount", "--bind", there, there], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", there], check=True)
        subprocess.run(["mount", "--options", "remount,bind,ro", there], check=True)

    return arrange


def of_another_user(folder: Callable[[World], Path], *, deep: bool = True) -> Arrange:
    """Give a folder, with all that is in it where ``deep``, to another user, and take root's privileges from the bot.

    For root.
    """

    def arrange(world: World, stack: ExitStack) -> None:
        _give_away(folder(world), stack, deep=deep)
        stack.enter_context(without_privileges())

    return arrange


def _give_away(folder: Path, stack: ExitStack, *, deep: bool) -> None:
    for path in (folder, *(folder.rglob("*") if deep else ())):
        found = path.lstat()
        stack.callback(os.chown, path, found.st_uid, found.st_gid, follow_symlinks=False)
        os.chown(path, ANOTHER, ANOTHER, follow_symlinks=False)


def _models_of_another_user(world: World, stack: ExitStack) -> None:
    for folder in _models(world).iterdir():
        if folder.is_dir():
            _give_away(folder, stack, deep=False)
    stack.enter_context(without_privileges())


def closed_to(parts: Sequence[str], folder: Callable[[World], Path]) -> Arrange:
    """Have parts run as a user who may not enter a folder of the bot's; for root."""

    def run_by_another(world: World) -> None:
        for name in parts:
            world.sandbox.restart(name, command=lambda words: (*WITHOUT, *words))

    def arrange(world: World, stack: ExitStack) -> None:
        restarted(run_by_another, *parts)(world, stack)
        there = folder(world)
        stack.callback(there.chmod, stat.S_IMODE(there.stat().st_mode))
        there.chmod(0o700)
        _give_away(there, stack, deep=False)

    return arrange


def refuses_chmod(world: World, stack: ExitStack) -> None:
    """Have the bot see the share by a file system that keeps every mode, as some mounts of SMB; for root."""
    seen = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    subprocess.run(["bindfs", "--chmod-deny", world.endpoints.share, seen], check=True)
    stack.callback(subprocess.run, ["umount", "--lazy", seen], check=True)
    folders = {"model_repository": _models(world), "state": _state(world)}
    world.configure(
        "dev",
        share={key: str(seen / path.relative_to(world.endpoints.share)) for key, path in folders.items()},
    )


def in_bucket(
    like: str | None = None, *, key_id: str = "", secret: str = "", begun: bool = True, **settings: Any
) -> Arrange:
    """Have records in a bucket of a store that starts now, by a ``like`` in front of it, with these settings.

    ``key_id`` and ``secret`` are those of the bot, where they are not the store's. ``begun`` says whether a person
    said `doctor --init`.
    """

    def arrange(world: World, stack: ExitStack) -> dict[str, str]:
        storage = stack.enter_context(s3.running(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        known = storage.credentials
        named = {"access_key_id_env": "RECORDS_KEY_ID", "secret_access_key_env": "RECORDS_KEY"}
        bucket = {"bucket": storage.bucket, "endpoint": storage.endpoint, "region": storage.region, **named}
        key = {"aws_access_key_id": known.access_key_id, "aws_secret_access_key": known.secret_access_key}
        if begun:
            at = Bucket.model_validate({**bucket, "prefix": "dev/promobot"})
            store, before = BucketRecords(at, key, request_seconds=60), RecordStore(world.endpoints.records)
            store.begin()
            for name in before.keys("evidence"):
                store.put(name, before.get(name) or "")
        if like is not None:
            bucket["endpoint"] = stack.enter_context(s3_like.like(like, storage.endpoint))
        world.configure("dev", records={"s3": {**bucket, **settings}})
        return {"RECORDS_KEY_ID": key_id or known.access_key_id, "RECORDS_KEY": secret or known.secret_access_key}

    return arrange


def marked(folder: Callable[[World], Path], marker: Marker) -> Arrange:
    """Have a store carry another store's marker."""

    def arrange(world: World, stack: ExitStack) -> None:
        file = folder(world) / MARKER_FILE
        stack.callback(file.write_text, file.read_text())
        file.write_text(marker.to_json())

    return arrange


def main_says(change: Callable[[World, str], dict[str, str | None]]) -> Arrange:
    """Change files on main; None removes one."""

    def arrange(world: World, stack: ExitStack) -> None:
        path = "promotions/dev.yaml"
        before = world.promotions()
        changed = change(world, before)
        new = [name for name in changed if name != path]
        stack.callback(lambda: world.commit({path: before}, remove=new))
        world.commit(
            {name: text for name, text in changed.items() if text is not None},
            remove=[name for name, text in changed.items() if text is None],
        )

    return arrange


def channel(**how: bool) -> Arrange:
    """Have the channel of releases be so."""

    def arrange(world: World, stack: ExitStack) -> None:
        stack.callback(worlds.change_channel, world.sandbox, has_bot=True, archived=False)
        worlds.change_channel(world.sandbox, **how)

    return arrange


def without_scope(scope: str) -> Arrange:
    """Have the app be installed without a scope."""

    def arrange(world: World, stack: ExitStack) -> None:
        stack.callback(worlds.install_app, world.sandbox)
        worlds.install_app(world.sandbox, without=scope)

    return arrange


def _new_share(world: World, stack: ExitStack) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    world.configure("dev", share={"model_repository": str(folder / "models"), "state": str(folder / "state")})


def _share_elsewhere(world: World, stack: ExitStack) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    begin_share(folder / "models", folder / "state")
    world.configure("dev", share={"model_repository": str(folder / "models"), "state": str(folder / "state")})


def _two_file_systems(world: World, stack: ExitStack) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
    begin_share(world.endpoints.model_repository("dev"), folder / "state")
    world.configure("dev", share={"state": str(folder / "state")})


def _new_records(world: World, stack: ExitStack) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    world.configure("dev", records=str(folder / "records"))


def _renamed(world: World, stack: ExitStack) -> None:
    owner, _, name = world.endpoints.repository.partition("/")

    def back() -> None:
        headers = {"Authorization": f"Bearer {world.endpoints.secrets.people['alex']}"}
        url = f"{world.endpoints.forge}/api/v3/repos/{owner}/{name}-moved"
        httpx.patch(url, json={"name": name}, headers=headers, timeout=60).raise_for_status()

    stack.callback(back)
    worlds.WORLDS["renamed-repository"].make(world.sandbox)


def _rebase_only(world: World, stack: ExitStack) -> None:
    every = {"allow_squash_merge": True, "allow_merge_commit": True, "allow_rebase_merge": True}
    stack.callback(worlds.change_repository, world.sandbox, **every)
    worlds.WORLDS["rebase-only"].make(world.sandbox)
    world.configure("dev", github={"merge_method": "squash"})


def _auto_merge_without_a_rule(world: World, stack: ExitStack) -> None:
    stack.callback(worlds.change_repository, world.sandbox, allow_auto_merge=False)
    worlds.change_repository(world.sandbox, allow_auto_merge=True)
    world.configure("dev", merge={"when": "checks pass"})


def _signatures_and_none_made(world: World, stack: ExitStack) -> None:
    stack.callback(worlds.drop_rulesets, world.sandbox)
    worlds.ask_for_signatures(world.sandbox, "refs/heads/promobot*/**")
    world.configure("dev", github={"sign_commits": False})


def _triton_with(changes: Mapping[str, str], *more: str) -> Arrange:
    name = "triton-dev-1"
    return restarted(lambda world: worlds.restart_triton(world.sandbox, name, changes, more=more), name)


def _with_a_control_key(world: World, stack: ExitStack) -> dict[str, str]:
    restricted = "--grpc-restricted-protocol=model-repository:promobot-control=the-key-of-this-triton"
    _triton_with({}, restricted)(world, stack)
    world.configure("dev", **tritons(world, control_key_env="A_CONTROL_KEY"))
    return {"A_CONTROL_KEY": "another-key-than-this-tritons"}


def _with_tls(world: World, stack: ExitStack, **settings: Any) -> None:
    """Have Triton speak TLS, with a certificate of an authority that nobody named."""
    authority = Authority(Path(stack.enter_context(tempfile.TemporaryDirectory())))
    certificate = authority.issue(*NAMES)
    flags = (f"--grpc-server-cert={certificate}", f"--grpc-server-key={certificate}")
    _triton_with({}, "--grpc-use-ssl=true", *flags)(world, stack)
    world.configure("dev", **tritons(world, **settings))


def _triton_elsewhere(world: World, stack: ExitStack) -> None:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    _triton_with({"--model-repository": folder})(world, stack)


def _records(world: World) -> Path:
    return world.endpoints.records


def _state(world: World) -> Path:
    return world.endpoints.state("dev")


def _models(world: World) -> Path:
    return world.endpoints.model_repository("dev")


ANOTHER = 4001
"""A user whom nobody of these tests is."""
GATEWAYS = ("gateway-dev-1", "gateway-dev-2")
NEVER = "was never used"
LATER = "everything holds but Slack; the message is in the outbox"
HERE = f"http://{HOST}"

ROWS = (
    # --- Slack
    Row(
        "slack-not-invited", "the bot is not in the channel", "Slack", "not_in_channel", LATER, channel(has_bot=False)
    ),
    Row(
        "slack-archived", "the channel is archived", "Slack", "the channel is archived", LATER, channel(archived=True)
    ),
    Row(
        "slack-unknown-channel",
        "`slack.channel` names no channel",
        "Slack",
        "channel_not_found",
        LATER,
        setting(slack={"channel": "C0NOWHERE"}),
    ),
    Row("slack-scope-write", "the app lacks `chat:write`", "Slack", "chat:write", LATER, without_scope("chat:write")),
    Row(
        "slack-scope-read",
        "the app lacks `channels:history`",
        "Slack",
        "missing_scope",
        LATER,
        without_scope("channels:history"),
    ),
    Row(
        "slack-token-wrong",
        "the bot token is not this workspace's",
        "Slack",
        "invalid_auth",
        LATER,
        variable("SLACK_BOT_TOKEN", "xoxb-another-workspaces-token"),
    ),
    Row(
        "slack-token-missing",
        "the bot token's variable is not set",
        "Slack",
        "SLACK_BOT_TOKEN is not set",
        LATER,
        variable("SLACK_BOT_TOKEN", ""),
    ),
    Row(
        "slack-unreachable",
        "Slack cannot be reached",
        "Slack",
        "could not ask who I am",
        LATER,
        at_nobodys(lambda _, port: {"slack": {"api_url": f"{HERE}:{port}/api"}}),
    ),
    # --- Triton
    Row(
        "triton-none",
        "Triton runs with `--model-control-mode=none`",
        "Triton triton-dev-1",
        "explicit model load / unload is not allowed",
        "explicit model load / unload is not allowed",
        _triton_with({"--model-control-mode": "none"}),
    ),
    Row(
        "triton-poll",
        "Triton runs with `--model-control-mode=poll`",
        "Triton triton-dev-1",
        "explicit model load / unload is not allowed",
        "explicit model load / unload is not allowed",
        _triton_with({"--model-control-mode": "poll"}),
    ),
    Row(
        "triton-other-repository",
        "Triton serves from another model repository",
        "Triton triton-dev-1",
        "reads another model repository",
        "failed to poll from model repository",
        _triton_elsewhere,
    ),
    Row(
        "triton-unreachable",
        "Triton's gRPC address is wrong",
        "Triton triton-dev-1",
        "could not ask for its version",
        "no connection: Connection refused",
        at_nobodys(lambda world, port: tritons(world, grpc=f"{HOST}:{port}")),
    ),
    Row(
        "triton-http-unreachable",
        "Triton's HTTP address is wrong",
        "Triton triton-dev-1",
        "over HTTP",
        "over HTTP: no connection: Connection refused",
        at_nobodys(lambda world, port: tritons(world, http=f"{HOST}:{port}")),
    ),
    Row(
        "triton-metrics-unreachable",
        "the address of a Triton's `metrics` is wrong",
        "Triton triton-dev-1",
        "could not read its metrics: no connection",
        NOTHING,
        at_nobodys(lambda world, port: tritons(world, metrics=f"{HOST}:{port}")),
    ),
    Row(
        "triton-metrics-http",
        "`metrics` of a Triton is its HTTP address",
        "Triton triton-dev-1",
        "could not read its metrics: HTTP 404",
        NOTHING,
        lambda world, _: world.configure("dev", **tritons(world, metrics=_http_of(world))),
    ),
    Row(
        "triton-metrics-of-a-gateway",
        "`metrics` of a Triton are those of a gateway",
        "Triton triton-dev-1",
        "says nothing of memory",
        NOTHING,
        lambda world, _: world.configure("dev", **tritons(world, metrics=_first_gateway(world))),
    ),
    Row(
        "staging-metrics-unreachable",
        "the address of the staging Triton's `metrics` is wrong",
        "staging Triton",
        "could not read its metrics: no connection",
        NOTHING,
        at_nobodys(lambda world, port: _staging(world, metrics=f"{HOST}:{port}")),
    ),
    Row(
        "triton-key-missing",
        "the control key's variable is not set",
        "Triton triton-dev-1",
        "A_CONTROL_KEY is not set",
        "A_CONTROL_KEY is not set",
        lambda world, _: world.configure("dev", **tritons(world, control_key_env="A_CONTROL_KEY")),
    ),
    Row(
        "triton-key-wrong",
        "the control key is another Triton's",
        "Triton triton-dev-1",
        "This protocol is restricted",
        "This protocol is restricted",
        _with_a_control_key,
    ),
    Row(
        "triton-no-tls",
        "`grpc_tls` is true, and Triton speaks none",
        "Triton triton-dev-1",
        trust.NO_TLS,
        trust.NO_TLS,
        lambda world, _: world.configure("dev", **tritons(world, grpc_tls=True)),
    ),
    Row(
        "triton-not-trusted",
        "the authority of Triton's certificate is not trusted",
        "Triton triton-dev-1",
        trust.NOT_TRUSTED,
        trust.NOT_TRUSTED,
        lambda world, stack: _with_tls(world, stack, grpc_tls=True),
    ),
    Row(
        "triton-only-tls",
        "Triton speaks TLS, and `grpc_tls` is not set",
        "Triton triton-dev-1",
        "it speaks TLS, and the settings say nothing of it",
        "it speaks TLS, and the settings say nothing of it",
        _with_tls,
    ),
    Row(
        "triton-no-address",
        "the headless service of the Tritons has no pods",
        "Triton triton-dev-1",
        "could not find its addresses",
        "could not find its addresses",
        lambda world, _: world.configure(
            "dev",
            **tritons(
                world, grpc="triton.nowhere.invalid:8001", http="triton.nowhere.invalid:8000", every_address=True
            ),
        ),
    ),
    # --- the share
    Row("share-not-mounted", "the state's mount is missing", "share", NEVER, NEVER, away(_state)),
    Row("models-not-mounted", "the mount of Triton's root is missing", "share", NEVER, NEVER, away(_models)),
    Row(
        "share-new",
        "`share` names folders that are not there",
        "share",
        "No such file or directory",
        "No such file or directory",
        _new_share,
    ),
    Row(
        "share-of-another",
        "`share` names another environment's folders",
        "share",
        "it belongs to prod",
        "it belongs to prod, not to dev",
        marked(_state, Marker("state", "prod")),
    ),
    Row(
        "share-elsewhere",
        "`share` names other folders than Triton and the gateways mount",
        "Triton triton-dev-1",
        "reads another model repository",
        "does not take the routes in force",
        _share_elsewhere,
    ),
    Row(
        "share-two-file-systems",
        "state and model repository are on two file systems",
        "share",
        "not on one file system",
        "does not take the routes in force",
        _two_file_systems,
    ),
    Row(
        "state-read-only",
        "the state is a mount of its own, and read-only",
        "share",
        "are two mounts",
        "could not take a turn: Read-only file system",
        read_only(_state),
        by_root=True,
    ),
    Row(
        "models-read-only",
        "Triton's root is a mount of its own, and read-only",
        "share",
        "are two mounts",
        "Read-only file system",
        read_only(_models),
        by_root=True,
    ),
    Row(
        "models-not-writable",
        "Triton's root belongs to another user than the bot",
        "share",
        "Permission denied",
        "Permission denied",
        of_another_user(_models, deep=False),
        by_root=True,
    ),
    Row(
        "state-not-writable",
        "the state belongs to another user, who deployed before",
        "share",
        "Permission denied",
        "could not take a turn: Permission denied",
        of_another_user(_state),
        by_root=True,
    ),
    Row(
        "models-of-another-user",
        "the folders of models that are there belong to another user, who deployed before",
        "share",
        "somebody else made it, and we may not write to it",
        NOTHING,
        _models_of_another_user,
        by_root=True,
    ),
    Row(
        "share-refuses-chmod",
        "the share refuses `chmod`, as some mounts of SMB and FUSE",
        "share",
        "it refuses chmod (Operation not permitted)",
        "this share refuses to set modes",
        refuses_chmod,
        by_root=True,
    ),
    Row(
        "state-closed-to-gateways",
        "the state's folder has mode 700, and the gateways run as another user",
        "gateway gateway-dev-1",
        "does not read the routes in",
        "could not reload to generation",
        closed_to(GATEWAYS, _state),
        by_root=True,
    ),
    Row(
        "models-closed-to-triton",
        "Triton's root has mode 700, and Triton runs as another user",
        "Triton triton-dev-1",
        "could not read the index: failed to open directory",
        "failed to poll from model repository",
        closed_to(("triton-dev-1",), _models),
        by_root=True,
    ),
    # --- records
    Row("records-not-mounted", "the record store's mount is missing", "records", NEVER, NEVER, away(_records)),
    Row(
        "records-new",
        "the record store is new, and nobody said `doctor --init`",
        "records",
        NEVER,
        NEVER,
        _new_records,
    ),
    Row(
        "records-of-another",
        "`records` names a folder of the share",
        "records",
        "it is for state",
        "it is for state, not for records",
        marked(_records, Marker("state", "dev")),
    ),
    Row(
        "records-read-only",
        "the record store is mounted read-only",
        "records",
        "Read-only file system",
        "Read-only file system",
        read_only(_records),
        by_root=True,
    ),
    Row(
        "records-not-writable",
        "the record store belongs to another user than the bot",
        "records",
        "Permission denied",
        "Permission denied",
        of_another_user(_records),
        by_root=True,
    ),
    Row(
        "bucket-new",
        "the records' folder in the bucket is new, and nobody said `doctor --init`",
        "records",
        NEVER,
        NEVER,
        in_bucket(begun=False),
    ),
    Row(
        "bucket-unknown",
        "`records.s3.bucket` names a bucket that the key may not use, or none",
        "records",
        "AccessDenied",
        "AccessDenied",
        in_bucket(bucket="nobodys-bucket"),
    ),
    Row(
        "bucket-secret-wrong",
        "the secret of the bucket's key is wrong",
        "records",
        "SignatureDoesNotMatch",
        "SignatureDoesNotMatch",
        in_bucket(secret="another-secret-than-this-keys"),
    ),
    Row(
        "bucket-key-unknown",
        "the bucket's key is another store's",
        "records",
        "InvalidAccessKeyId",
        "InvalidAccessKeyId",
        in_bucket(key_id="ANOTHERSTORESKEY0000"),
    ),
    Row(
        "bucket-key-missing",
        "the variable of the bucket's key is not set",
        "records",
        "A_KEY is not set",
        "A_KEY is not set",
        in_bucket(access_key_id_env="A_KEY"),
    ),
    Row(
        "bucket-in-host",
        "the store takes a bucket in the host's name only, and `addressing_style` is not set",
        "records",
        "SecondLevelDomainForbidden",
        "SecondLevelDomainForbidden",
        in_bucket("virtual-hosts-only"),
    ),
    Row(
        "bucket-no-conditions",
        "the store answers 501 to a write with a condition",
        "records",
        "NotImplemented",
        "NotImplemented",
        in_bucket("no-conditions"),
    ),
    Row(
        "bucket-no-tls",
        "`records.s3.endpoint` says https, and the store speaks none",
        "records",
        "it speaks no TLS at this address",
        "it speaks no TLS at this address",
        lambda world, stack: in_bucket(endpoint=world.endpoints.mlflow.replace("http:", "https:"))(world, stack),
    ),
    # --- Git and GitHub
    Row(
        "github-token-wrong",
        "the token is not valid",
        "GitHub",
        "401",
        "could not read Username",
        variable("GITHUB_TOKEN", "ghp_anotherservers0000000000000000000000"),
    ),
    Row(
        "github-token-missing",
        "the token's variable is not set",
        "Git",
        "GITHUB_TOKEN is not set",
        "GITHUB_TOKEN is not set",
        variable("GITHUB_TOKEN", ""),
    ),
    Row(
        "repository-unknown",
        "`github.repository` names no repository",
        "GitHub",
        "404",
        "Repository not found",
        setting(github={"repository": "promobot/nowhere"}),
    ),
    Row(
        "repository-renamed",
        "the repository has another name now",
        "GitHub",
        "the repository is now promobot/models-moved",
        "returned error: 301",
        _renamed,
    ),
    Row(
        "base-unknown",
        "`github.base` names no branch",
        "Git",
        "refs/heads/trunk",
        "couldn't find remote ref refs/heads/trunk",
        setting(github={"base": "trunk"}),
    ),
    Row(
        "merge-method",
        "`github.merge_method` is one that main does not allow",
        "GitHub",
        "github.merge_method is squash, and main allows rebase",
        NOTHING,
        _rebase_only,
    ),
    Row(
        "auto-merge-not-allowed",
        "`merge` is set, and the repository does not allow auto-merge",
        "GitHub",
        "promobot/models does not allow auto-merge",
        NOTHING,
        setting(merge={"when": "checks pass"}),
    ),
    Row(
        "verdict-not-required",
        "`merge` is set, and main does not require the check Verdict",
        "GitHub",
        "the rules of main do not require Verdict",
        NOTHING,
        _auto_merge_without_a_rule,
    ),
    Row(
        "commits-not-signed",
        "a ruleset asks for signed commits on the bot's branches, and `github.sign_commits` is false",
        "GitHub",
        "required_signatures: its commits must be signed",
        NOTHING,
        _signatures_and_none_made,
    ),
    Row(
        "github-unreachable",
        "the API cannot be reached",
        "GitHub",
        "could not ask who I am",
        NOTHING,
        at_nobodys(lambda _, port: {"github": {"api_url": f"{HERE}:{port}/api/v3"}}),
    ),
    Row(
        "git-unreachable",
        "Git's server cannot be reached",
        "Git",
        "could not fetch",
        "no connection to",
        at_nobodys(lambda _, port: {"github": {"server_url": f"{HERE}:{port}"}}),
    ),
    Row(
        "promotions-broken",
        "`promotions/dev.yaml` on main says `models` twice",
        "Git",
        "promotions/dev.yaml",
        "models: stands twice",
        main_says(lambda _, before: {"promotions/dev.yaml": before + "models: [\n"}),
    ),
    Row(
        "promotions-gone",
        "`promotions/dev.yaml` is not on main",
        "Git",
        "promotions/dev.yaml",
        "is missing at",
        main_says(lambda _, __: {"promotions/dev.yaml": None, "promotions/README": "moved\n"}),
    ),
    Row(
        "promotions-stray",
        "a file in `promotions/` belongs to no environment",
        "Git",
        "promotions/ belongs to no environment",
        NOTHING,
        main_says(lambda _, __: {"promotions/qa.yaml": "environment: qa\nmodels: {}\nshadow: {}\n"}),
    ),
    # --- MLflow
    Row(
        "mlflow-unreachable",
        "MLflow cannot be reached",
        "MLflow",
        "could not search registered models",
        "could not read",
        at_nobodys(lambda _, port: {"mlflow": {"uri": f"{HERE}:{port}"}}),
    ),
    Row(
        "mlflow-another-server",
        "`mlflow.uri` is another service's address",
        "MLflow",
        "could not search registered models",
        "HTTP 404",
        lambda world, _: world.configure("dev", mlflow={"uri": world.endpoints.slack}),
    ),
    Row(
        "mlflow-token-missing",
        "the variable of MLflow's token is not set",
        "MLflow",
        "A_TOKEN is not set",
        "A_TOKEN is not set",
        setting(mlflow={"token_env": "A_TOKEN"}),
    ),
    # --- gateways
    Row(
        "gateway-token-wrong",
        "the reload token is another one than the gateways'",
        "gateway gateway-dev-1",
        "could not try the reload token: HTTP 401",
        "HTTP 401",
        variable("PROMOBOT_RELOAD_TOKEN", "another-token-than-theirs"),
    ),
    Row(
        "gateway-token-missing",
        "the reload token's variable is not set",
        "gateway gateway-dev-1",
        "PROMOBOT_RELOAD_TOKEN is not set",
        "PROMOBOT_RELOAD_TOKEN is not set",
        variable("PROMOBOT_RELOAD_TOKEN", ""),
    ),
    Row(
        "gateway-unreachable",
        "a gateway cannot be reached",
        "gateway gateway-dev-1",
        "could not read its routes",
        "does not answer: could not read its routes",
        at_nobodys(lambda world, port: gateways(world, url=f"{HERE}:{port}")),
    ),
    Row(
        "gateway-is-triton",
        "a gateway's `url` is Triton's",
        "gateway gateway-dev-1",
        "could not read its routes",
        "does not answer: could not read its routes",
        lambda world, _: world.configure("dev", **gateways(world, url=world.endpoints.triton["dev"][0].http)),
    ),
    Row(
        "gateway-of-another",
        "a gateway's `url` is one of another environment",
        "gateway gateway-dev-1",
        "serves prod, not dev",
        "gateway-dev-1 does not take the routes in force",
        lambda world, _: world.configure("dev", **gateways(world, url=world.endpoints.gateway["prod"][0].url)),
    ),
    Row(
        "set-other",
        "`evaluation.<model>.digest` is not that of the set which lies there",
        "evaluation sets",
        "and where it is kept lies",
        "measured it on another evaluation set",
        evaluated(digest=f"sha256:{'5' * 64}"),
    ),
    Row(
        "set-gone",
        "`evaluation.<model>.from` names a folder that MLflow does not have",
        "evaluation sets",
        "evaluation.json",
        "measured it on another evaluation set",
        evaluated(source="nowhere"),
    ),
    Row(
        "gateway-no-address",
        "the headless service of the gateways has no pods",
        "gateway gateway-dev-1",
        "could not find its addresses",
        "could not find its addresses",
        lambda world, _: world.configure(
            "dev", **gateways(world, url="http://gateway.nowhere.invalid:8080", every_address=True)
        ),
    ),
    Row(
        "gateway-other-share",
        "the gateways read another share than the bot writes",
        "gateway gateway-dev-1",
        "does not read the routes in",
        "could not reload to generation",
        restarted(
            lambda world: worlds.restart_gateways(
                world.sandbox, "dev", worlds.with_option("--routes", str(world.root / "elsewhere" / "routes.json"))
            ),
            *GATEWAYS,
        ),
    ),
)
