"""Publishing: from a bucket, from a version that shares most of its bytes, on to the next environment."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import boto3
from mlflow.artifacts import download_artifacts

from bot.concurrency import FILES as AT_ONCE
from bot.domain.contents import look_at
from bot.domain.evidence import CHECKS
from bot.domain.metrics import Measured
from bot.domain.package import CONFIG_FILE, SMOKE_FILE, Package, PackageFile
from bot.sandbox import s3
from bot.settings import S3, MLflow, Share
from bot.share import mount_of
from bot.systems.mlflow import RegisteredVersion, Registry
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.stores import Unfenced, registry_of
from tests.systems.packages import CONFIG, SMOKE

FILES = 20
MEBIBYTE = 2**20
BLOCK = 4 * MEBIBYTE
HASHING = "hashing its bytes from memory, nothing else"
READING = "cp -r --reflink, then hashing what came of it, nothing else"
"""The least that looks at the bytes that were written, and not at those that they came from."""
CHECKING = "one publish, then hashing twice at a time"
"""The least that three checks do of which none trusts another."""


@dataclass(frozen=True)
class Stored:
    """A package in the bucket, and how the bot reads it."""

    package: Package
    prefix: str

    def version(self, storage: s3.ObjectStorage, number: int) -> RegisteredVersion:
        source = f"s3://{storage.bucket}/{self.prefix}"
        return RegisteredVersion("model", number, "READY", "", "", source, Measured(), {}, {}, "")


class Bucket:
    """Object storage with packages in it, and who copies from there."""

    def __init__(self, storage: s3.ObjectStorage) -> None:
        self.storage, self._client = storage, storage.client()

    def store(self, prefix: str, sizes: dict[str, int], *, shared: dict[str, bytes] | None = None) -> Stored:
        """Upload a package of random bytes; files are made of blocks, so that memory does not limit their size."""
        listed = []
        small = {CONFIG_FILE: CONFIG.encode(), SMOKE_FILE: SMOKE.encode()}
        for path, content in small.items():
            self._client.put_object(Bucket=self.storage.bucket, Key=f"{prefix}/{path}", Body=content)
            listed.append(PackageFile(path, len(content), hashlib.sha256(content).hexdigest()))
        for path, size in sizes.items():
            with tempfile.TemporaryFile(dir=self.storage.directory) as file:
                digest, seed = hashlib.sha256(), (shared or {}).get(path) or os.urandom(BLOCK)
                for at in range(0, size, BLOCK):
                    # Cheap to make, and no two blocks alike.
                    block = (at.to_bytes(8, "big") + seed[8:])[: size - at]
                    digest.update(block)
                    file.write(block)
                file.seek(0)
                self._client.upload_fileobj(file, self.storage.bucket, f"{prefix}/{path}")
            listed.append(PackageFile(path, size, digest.hexdigest()))
        return Stored(Package.of(listed), prefix)

    def registry(self) -> Registry:
        """As the bot opens it; MLflow itself is not asked for anything that is measured."""
        os.environ.update(
            BENCHMARK_KEY_ID=self.storage.credentials.access_key_id,
            BENCHMARK_KEY=self.storage.credentials.secret_access_key,
        )
        named = S3(
            endpoint=self.storage.endpoint,
            region=self.storage.region,
            access_key_id_env="BENCHMARK_KEY_ID",
            secret_access_key_env="BENCHMARK_KEY",
        )
        return registry_of(MLflow(uri="http://127.0.0.1:9", s3=named))

    def variables(self) -> dict[str, str]:
        """What other programs read."""
        where = {"S3_ENDPOINT_URL": self.storage.endpoint, "RCLONE_CONFIG": os.devnull}
        return {**os.environ, **self.storage.variables(), **where}


class Environments:
    """Shares of environments, each empty when it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new(self, name: str, *neighbours: str) -> Unfenced:
        shutil.rmtree(self.folder / name, ignore_errors=True)
        # A disk that is told what is free takes its time for that, after the next sync: before what is measured.
        os.sync()
        (self.folder / name / "model-repo").mkdir(parents=True)
        share = Unfenced(self._share(name), [self._share(other) for other in neighbours])
        share.begin()
        return share

    def _share(self, name: str) -> Share:
        where = self.folder / name
        return Share(model_repository=str(where / "model-repo"), state=str(where / "state"))


def _run(bench: Bench) -> Iterator[Figure]:
    # Small, too, each file is worth a note of where its bytes lie.
    total = bench.size(2**30, (FILES + 1) * MEBIBYTE)
    sizes = {f"weights/{number:02}.bin": total // FILES for number in range(FILES)}
    with s3.running(bench.folder / "s3") as storage:
        bucket = Bucket(storage)
        stored = bucket.store("model", sizes)
        yield from _against_copiers(bench, bucket, stored)
        yield from _checks(bench, bucket, stored)
        with ExitStack() as mounted:
            for folder in _file_systems(bench, mounted, total):
                yield from _on_one_share(bench, bucket, stored, sizes, folder)
        yield _memory(bench, bucket)


def _against_copiers(bench: Bench, bucket: Bucket, stored: Stored) -> Iterator[Figure]:
    environments, registry = Environments(bench.folder), bucket.registry()
    target, share = bench.folder / "copied", environments.new("dev")
    source = f"s3://{bucket.storage.bucket}/{stored.prefix}"

    def fresh() -> None:
        nonlocal share
        share = environments.new("dev")
        for path in (target, bench.folder / "fetched"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()

    def ours() -> None:
        publish(share, registry, stored.version(bucket.storage, 1), stored.package)

    def rclone() -> None:
        remote = f":s3,provider=SeaweedFS,env_auth=true,endpoint='{bucket.storage.endpoint}':"
        _run_and_sync(bucket, target, "rclone", "copy", source.replace("s3://", remote), str(target))

    def mlflow() -> None:
        fetched = download_artifacts(source, dst_path=str(bench.folder / "fetched"))  # type: ignore[arg-type]
        shutil.copytree(fetched, target, dirs_exist_ok=True)
        subprocess.run(["sync", "-f", str(target)], check=True)

    what = f"publish {_size(stored.package.size)} in {FILES} files from S3"
    for against, peer, goal in (
        ("s5cmd, sync -f", lambda: s5cmd(bucket, stored, target), 1.15),
        ("rclone copy, sync -f", rclone, 0.8),
        ("MLflow's download_artifacts, shutil.copytree", mlflow, 0.45),
    ):
        with _environment(bucket.variables()):  # MLflow's own client reads it
            seconds = bench.compare(ours, peer, before=fresh)
        yield Figure(what, seconds[0], against, seconds[1], goal, note=_file_system(bench.folder))


def _checks(bench: Bench, bucket: Bucket, stored: Stored) -> Iterator[Figure]:
    """What three checks at a time cost in bytes, as three jobs on two cores; each has a client of its own."""
    environments = Environments(bench.folder)
    share = environments.new("dev")
    version = stored.version(bucket.storage, 1)

    def nothing_there() -> None:
        nonlocal share
        share = environments.new("dev")

    def publish_once() -> None:
        publish(share, bucket.registry(), version, stored.package)

    def check(name: str) -> None:
        registry, look = bucket.registry(), look_at(stored.package)
        with share.models.at_hand(stored.package, partial(registry.unverified_chunks, version), look=look) as there:
            if name != "ready":
                share.models.place(stored.package, there, triton_model=f"model.check-1-{name}", version=1)

    def all_checks() -> None:
        with ThreadPoolExecutor(len(CHECKS)) as jobs:
            list(jobs.map(check, CHECKS))

    def hash_once(_: int) -> None:
        for file in stored.package.version_files:
            _digest(_published(share), file)

    def publish_and_hash_twice() -> None:
        publish_once()
        with ThreadPoolExecutor(2) as jobs:
            list(jobs.map(hash_once, range(2)))

    works = {"checks": all_checks, "once": publish_once, "least": publish_and_hash_twice}
    ours, once, least = bench.in_turns(works, before=dict.fromkeys(works, nothing_there)).values()
    what = f"READY, Triton and Smoke of {_size(stored.package.size)}, all but Triton's own loads"
    yield Figure(what, ours, "one publish", once, goal=1.5, note=_file_system(bench.folder))
    yield Figure(what, ours, CHECKING, least, note=_file_system(bench.folder))


def _on_one_share(
    bench: Bench, bucket: Bucket, stored: Stored, sizes: dict[str, int], folder: Path
) -> Iterator[Figure]:
    environments, registry, kind = Environments(folder), bucket.registry(), _file_system(folder)
    # One file of twenty is another one.
    (changed, size), *_ = sizes.items()
    one = bucket.store("other", {changed: size})
    new = Package.of([*(f for f in stored.package.files if f.path != changed), *one.package.version_files])
    share = environments.new("dev")

    def read(path: str, start: int = 0) -> Iterator[bytes]:
        where = one if path == changed else stored
        return registry.unverified_chunks(where.version(bucket.storage, 1), path, start)

    def nothing_there() -> None:
        nonlocal share
        share = environments.new("dev")

    def publish_first() -> None:
        publish(share, registry, stored.version(bucket.storage, 1), stored.package)

    def first_is_there() -> None:
        nothing_there()
        publish_first()

    def publish_second() -> None:
        share.models.publish(new, read, triton_model="model", version=2)

    def hashing_alone() -> None:
        _hash(_published(share), stored.package)

    target, prod = folder / "copied", environments.new("prod", "dev")

    # What is deleted is deleted first: the disk goes on with that until the next sync, which a new share begins with.
    def nothing_copied() -> None:
        shutil.rmtree(target, ignore_errors=True)
        first_is_there()

    def nothing_in_prod() -> None:
        nonlocal prod
        shutil.rmtree(target, ignore_errors=True)
        prod = environments.new("prod", "dev")

    def refused(path: str, start: int = 0) -> Iterator[bytes]:
        raise AssertionError(f"{path} was to be found on the share, from {start}")

    def carry() -> None:
        prod.models.publish(stored.package, refused, triton_model="model", version=1)

    def copy() -> None:
        subprocess.run(["cp", "-r", "--reflink=auto", str(_published(share)), str(target)], check=True)

    def copy_and_sync() -> None:
        copy()
        subprocess.run(["sync", "-f", str(target)], check=True)

    def copy_and_hash() -> None:
        copy_and_sync()
        _hash(target, stored.package)

    first, second, hashing, reading = bench.in_turns(
        {"first": publish_first, "second": publish_second, "hashing": hashing_alone, "reading": copy_and_hash},
        before={"first": nothing_there, "second": first_is_there, "reading": nothing_copied},
    ).values()
    shares_bytes = kind == "xfs"  # where bytes are copied, the disk decides and not the bot
    what = f"publish what shares 95 % ({kind})"
    yield Figure(what, second, "the first publish", first, note=kind)
    yield Figure(what, second, HASHING, hashing, 1.3 if shares_bytes else None, note=kind)
    yield Figure(what, second, READING, reading, note=kind)
    yield Figure(f"hashing alone ({kind})", hashing, "the first publish", first, note=kind)

    ours, peer, hashing, reading = bench.in_turns(
        {"carry": carry, "copy": copy_and_sync, "hashing": hashing_alone, "reading": copy_and_hash},
        before={"carry": nothing_in_prod, "copy": nothing_in_prod, "reading": nothing_in_prod},
    ).values()
    what = f"carry a digest on ({kind})"
    yield Figure(what, ours, "cp -r --reflink=auto, sync -f", peer, None if shares_bytes else 1.2, note=kind)
    yield Figure(what, ours, HASHING, hashing, 1.15 if shares_bytes else None, note=kind)
    yield Figure(what, ours, READING, reading, note=kind)


def _published(share: Unfenced) -> Path:
    return share.root / "model/1"


def _hash(folder: Path, package: Package) -> None:
    """Do the least that can tell that bytes are the right ones: what is left where copying takes nothing."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(partial(_digest, folder), package.version_files))


def _digest(folder: Path, file: PackageFile) -> None:
    with (folder / file.path).open("rb") as opened:
        assert hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


def _memory(bench: Bench, bucket: Bucket) -> Figure:
    """The largest resident set of a process that publishes 8 GiB, MLflow's client and boto included."""
    size = bench.size(2**31, 5 * MEBIBYTE)
    stored = bucket.store("large", {f"{number}.bin": size for number in range(4)})
    environments, peaks = Environments(bench.folder), []
    for _ in range(1 if bench.quick else min(bench.rounds, 3)):
        share = environments.new("dev")
        told = {
            "package": stored.package.to_json(),
            "prefix": stored.prefix,
            "bucket": bucket.storage.bucket,
            "endpoint": bucket.storage.endpoint,
            "region": bucket.storage.region,
            "root": str(share.root),
            "state": str(share.state),
        }
        ended = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.one_publish"],
            input=json.dumps(told),
            env=bucket.variables(),
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(float(ended.stdout) / MEBIBYTE)
        shutil.rmtree(bench.folder / "dev")
    what = f"memory while {_size(stored.package.size)} are published"
    return Figure(what, peaks, "largest resident set", goal=300, unit="MiB")


def publish(share: Unfenced, registry: Registry, version: RegisteredVersion, package: Package) -> None:
    """Publish a version as a deployment does."""

    def read(path: str, start: int = 0) -> Iterator[bytes]:
        return registry.unverified_chunks(version, path, start)

    share.models.publish(package, read, triton_model="model", version=version.version)


def s5cmd(bucket: Bucket, stored: Stored, target: Path) -> None:
    """Copy a package as s5cmd does, which verifies nothing, and have it on the disk."""
    source = f"s3://{bucket.storage.bucket}/{stored.prefix}/*"
    _run_and_sync(bucket, target, "s5cmd", "--log", "error", "cp", source, f"{target}/")


def _run_and_sync(bucket: Bucket, target: Path, program: str, *arguments: str) -> None:
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    subprocess.run(command, check=True, env=bucket.variables(), stdout=subprocess.DEVNULL)
    subprocess.run(["sync", "-f", str(target)], check=True)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    boto3.DEFAULT_SESSION = None  # MLflow's clients come from it, and it remembers whose credentials it once found
    try:
        yield
    finally:
        boto3.DEFAULT_SESSION = None
        os.environ.clear()
        os.environ.update(before)


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 2**29 else f"{count / MEBIBYTE:.3g} MiB"


def _file_system(folder: Path) -> str:
    return mount_of(folder.resolve(), Path("/proc/self/mountinfo").read_text()).filesystem


@contextmanager
def _xfs(bench: Bench, total: int) -> Iterator[Path | None]:
    """An XFS that shares bytes between files, on a loop device, where this machine lets us make one."""
    image, folder = bench.folder / "xfs.img", bench.folder / "xfs"
    mkfs = shutil.which("mkfs.xfs") or shutil.which("mkfs.xfs", path="/sbin:/usr/sbin")
    if mkfs is None or os.geteuid():
        bench.say("  no XFS: it needs root and mkfs.xfs (Debian's xfsprogs)")
        yield None
        return
    with image.open("wb") as file:
        file.truncate(max(total * 6, 512 * MEBIBYTE))
    folder.mkdir()
    subprocess.run([mkfs, "-q", "-m", "reflink=1", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(folder)]).returncode:
        bench.say(f"  no XFS: this kernel ({platform.release()}) does not mount it here")
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        image.unlink()


def _file_systems(bench: Bench, mounted: ExitStack, total: int) -> Iterator[Path]:
    yield bench.folder
    if not bench.quick and (folder := mounted.enter_context(_xfs(bench, total))) is not None:
        yield folder


BENCHMARK = Benchmark("publish", "bytes from a bucket, from another version and from another environment", _run)
