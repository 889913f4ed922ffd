"""A real Prometheus, and promtool: Debian's package ``prometheus`` has both."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bot.sandbox.processes import Ports
from tests.gateway.gateways import wait_for

MONITORING = Path(__file__).parents[2] / "manifests" / "monitoring"
ALERTS = MONITORING / "alerts.yaml"
DASHBOARD = MONITORING / "dashboard.json"

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="Prometheus is not installed: apt-get install prometheus",
)


def promtool(*arguments: str | Path) -> str:
    """Return what promtool says; fail where it finds something wrong."""
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Running:
    """A Prometheus that scrapes and evaluates every second."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression, now."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def firing(self) -> dict[str, dict[str, Any]]:
        """Return the alerts that fire, by name."""
        answer = httpx.get(f"{self.url}/api/v1/alerts", timeout=30).raise_for_status()
        listed = answer.json()["data"]["alerts"]
        return {one["labels"]["alertname"]: one for one in listed if one["state"] == "firing"}


@contextmanager
def running(
    folder: Path, targets: Mapping[str, Sequence[str]], *, rules: Path, jobs: Sequence[dict[str, Any]] = ()
) -> Iterator[Running]:
    """Run a Prometheus that scrapes these ``host:port`` by job, with these rules, until the block ends.

    ``jobs`` are more of them, as its file has them.
    """
    with Ports() as ports:
        port = ports.take()
    listed = [{"job_name": job, "static_configs": [{"targets": list(of_job)}]} for job, of_job in targets.items()]
    often = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump({"global": often, "rule_files": [str(rules)], "scrape_configs": [*listed, *jobs]}))
    log = (folder / "prometheus.log").open("wb")
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()[-3000:]
        try:
            return httpx.get(f"{url}/-/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(ready)
        yield Running(url)
    finally:
        process.terminate()
        process.wait(30)
        log.close()
