"""The object storage of a sandbox: SeaweedFS, which speaks S3, in one process on ports of 127.0.0.1.

It needs nothing of the rest of the sandbox::

    with s3.running(directory) as store:
        store.client().put_object(Bucket=store.bucket, Key="dev/airflow-logs/x", Body=b"…")
        subprocess.run(command, env={**os.environ, **store.variables()})

Chosen because it does what the bot stands on, and refuses what it must: of 16 writers with ``If-None-Match: *`` one
wins, wrong credentials and wrong checksums are errors, object lock holds. This describes SeaweedFS 4.48.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.errors import OutsideError, Unavailable
from bot.sandbox.processes import HOST, POLL_SECONDS, Part, Ports, Processes, write_private
from bot.sandbox.project import program

BUCKET = "mlops"
REGION = "ap-northeast-2"
"""SeaweedFS takes any; the bot's documents and manifests name this one."""
READY_DEADLINE_SECONDS = 60.0
PROBE = "sandbox/ready"
_ALLOWED = ("Read", "Write", "List", "PutObjectRetention")
"""Rights of the bucket's users, in the words of SeaweedFS. Write includes deletion; the two cannot be separated."""
_SERVERS = ("s3", "filer", "volume", "master")
"""Each listens on a port for HTTP and on one for gRPC."""


@dataclass(frozen=True)
class Credentials:
    """An access key and its secret."""

    access_key_id: str
    secret_access_key: str = field(repr=False)

    @classmethod
    def new(cls, name: str) -> Credentials:
        """Return fresh random ones; the name is at the beginning of the id."""
        return cls(f"{name}{secrets.token_hex(8)}".upper(), secrets.token_hex(20))


@dataclass(frozen=True)
class ObjectStorage:
    """One SeaweedFS with one bucket, on which object lock can be used (so it keeps versions, too).

    ``credentials`` are for users of the bucket: they read, write, lock and list, and can do nothing else. ``owner``
    may do everything; it makes the bucket.
    """

    directory: Path
    ports: Mapping[str, int]
    credentials: Credentials
    owner: Credentials
    bucket: str = BUCKET
    region: str = REGION

    @classmethod
    def new(cls, directory: Path, *, ports: Ports, bucket: str = BUCKET) -> ObjectStorage:
        """Choose ports and credentials; nothing is started."""
        names = [name for server in _SERVERS for name in (server, f"{server}.grpc")]
        return cls(
            directory=directory,
            ports={name: ports.take() for name in names},
            credentials=Credentials.new("promobot"),
            owner=Credentials.new("owner"),
            bucket=bucket,
        )

    @property
    def endpoint(self) -> str:
        """Where S3 is spoken; no slash at the end. Buckets are part of the path, not of the host."""
        return f"http://{HOST}:{self.ports['s3']}"

    def variables(self) -> dict[str, str]:
        """Return the environment variables by which every AWS SDK, and MLflow, finds it."""
        return {
            "AWS_ACCESS_KEY_ID": self.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_access_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint,
        }

    def part(self, name: str = "s3") -> Part:
        """Return the process to start; writes the file that tells it who may do what."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "data").mkdir(exist_ok=True)
        allowed = [f"{what}:{self.bucket}" for what in _ALLOWED]
        people = (("owner", self.owner, ["Admin"]), ("promobot", self.credentials, allowed))
        identities = [
            {
                "name": who,
                "credentials": [{"accessKey": one.access_key_id, "secretKey": one.secret_access_key}],
                "actions": actions,
            }
            for who, one, actions in people
        ]
        config = self.directory / "s3.json"
        write_private(config, json.dumps({"identities": identities}, indent=1) + "\n")
        numbers = [f"-{_flag(name)}={port}" for name, port in self.ports.items()]
        return Part(
            name=name,
            command=(
                *(str(program("weed")), "-logtostderr=true", "server", f"-dir={self.directory / 'data'}"),
                *(f"-ip={HOST}", f"-ip.bind={HOST}", *numbers),
                *("-master.telemetry=false", "-master.electionTimeout=1s", "-master.resumeState=false"),
                *("-master.volumeSizeLimitMB=1024", "-volume.max=0", "-volume.preStopSeconds=0"),
                *("-filer", f"-filer.localSocket={_socket('filer', self.ports['filer'])}"),
                *("-s3", f"-s3.config={config}", f"-s3.localSocket={_socket('s3', self.ports['s3'])}"),
                *("-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            ),
            port=self.ports["s3"],
            ready_path="/healthz",
            # Asked to end it takes 15 seconds; killed it loses nothing, but leaves its sockets.
            ends_by_kill=True,
            leaves=(
                *(_socket(server, self.ports[server]) for server in ("filer", "s3")),
                *(_socket(f"{server}-grpc", self.ports[f"{server}.grpc"]) for server in _SERVERS),
            ),
        )

    def prepare(
        self,
        *,
        deadline_seconds: float = READY_DEADLINE_SECONDS,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make the bucket where it is not there yet, and return once an object was really put and read.

        That is seconds after the server answers: it listens before there is a volume to write to. Raises Unavailable
        with what it said last.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        owner, client = self.client(self.owner), self.client()
        deadline, text = time.monotonic() + deadline_seconds, secrets.token_bytes(16)
        while True:
            try:
                self._make_bucket(owner)
                client.put_object(Bucket=self.bucket, Key=PROBE, Body=text)
                if client.get_object(Bucket=self.bucket, Key=PROBE)["Body"].read() == text:
                    return
                said = "an object was read with another content than was put"
            except (BotoCoreError, ClientError) as error:
                said = str(error)
            if cancelled():
                raise OutsideError("not waited for: the sandbox is being stopped", system="s3")
            if time.monotonic() > deadline:
                raise Unavailable(f"did not take an object within {deadline_seconds:.0f} s: {said}", system="s3")
            time.sleep(POLL_SECONDS * 5)

    def client(self, credentials: Credentials | None = None) -> Any:
        """Return a plain S3 client of boto3, by default with what the bucket's users have."""
        import boto3
        from botocore.config import Config

        chosen = credentials or self.credentials
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=chosen.access_key_id,
            aws_secret_access_key=chosen.secret_access_key,
            config=Config(
                s3={"addressing_style": "path"},
                proxies={},
                connect_timeout=5,
                read_timeout=30,
                retries={"total_max_attempts": 1, "mode": "standard"},
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the address, the bucket and the credentials for it."""
        return {
            "endpoint": self.endpoint,
            "bucket": self.bucket,
            "region": self.region,
            "access_key_id": self.credentials.access_key_id,
            "secret_access_key": self.credentials.secret_access_key,
        }

    def _make_bucket(self, owner: Any) -> None:
        with contextlib.suppress(owner.exceptions.BucketAlreadyOwnedByYou, owner.exceptions.BucketAlreadyExists):
            owner.create_bucket(
                Bucket=self.bucket,
                ObjectLockEnabledForBucket=True,
                CreateBucketConfiguration={"LocationConstraint": self.region},
            )


@contextlib.contextmanager
def running(directory: Path, *, bucket: str = BUCKET) -> Iterator[ObjectStorage]:
    """Run object storage of its own in ``directory`` for the length of the ``with`` block."""
    with Ports() as ports:
        store = ObjectStorage.new(directory / "s3", ports=ports, bucket=bucket)
        processes = Processes(directory)
        process = processes.start(store.part())
        try:
            processes.wait_until_ready(process)
            store.prepare()
            yield store
        finally:
            processes.stop([process])


def _flag(name: str) -> str:
    server, _, kind = name.partition(".")
    return f"{server}.port.{kind}" if kind else f"{server}.port"


def _socket(what: str, port: int) -> str:
    # Where it puts those for gRPC no flag changes; so all are there, under the names that it gives by itself.
    return f"/tmp/seaweedfs-{what}-{port}.sock"  # noqa: S108
