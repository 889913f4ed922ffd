"""A process that publishes one package, imports no more than the bot does, and prints its largest resident set."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path

from bot.domain.metrics import Measured
from bot.domain.package import Package
from bot.settings import S3, MLflow, Share
from bot.systems.mlflow import RegisteredVersion
from tests.stores import Unfenced, registry_of


def main() -> None:
    """Publish what stdin describes; print bytes."""
    told = json.load(sys.stdin)
    Path(told["root"]).mkdir(parents=True, exist_ok=True)
    named = S3(
        endpoint=told["endpoint"],
        region=told["region"],
        access_key_id_env="AWS_ACCESS_KEY_ID",
        secret_access_key_env="AWS_SECRET_ACCESS_KEY",
    )
    registry = registry_of(MLflow(uri="http://127.0.0.1:9", s3=named))
    source = f"s3://{told['bucket']}/{told['prefix']}"
    version = RegisteredVersion("model", 1, "READY", "", "", source, Measured(), {}, {}, "")
    share = Unfenced(Share(model_repository=told["root"], state=told["state"]))
    share.begin()
    package = Package.from_json(told["package"])
    share.models.publish(package, partial(registry.unverified_chunks, version), triton_model="model", version=1)
    # Of this program alone: getrusage also counts what its parent held when it was started.
    (held,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(held) * 1024)


if __name__ == "__main__":
    main()
