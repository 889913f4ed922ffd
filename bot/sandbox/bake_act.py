"""An optional act: a version that every check passes fails for some users, and is put back by itself in seconds."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
import yaml

from bot.sandbox import environments
from bot.sandbox.seed import MODEL
from bot.sandbox.story import NotAsItMust, Story, Titled, expect, get

BAKE: Mapping[str, Any] = {"minutes": 1, "min_requests": 60, "max_error_rate": 0.01, "max_p95_worse": 9.0}
"""A minute stands for half an hour; and of a request of a millisecond a busy machine makes a few."""
LARGE_EVERY = 5
"""One of so many patients has a tumour larger than any in the training's data."""
PAUSE_SECONDS = 0.01
BACK_SECONDS = 90.0
LOOK_SECONDS = 1.0


def puts_itself_back(story: Story) -> None:
    """Release a version whose table ends too early, watch, and expect users to be back without anybody's doing."""
    before = story.last_record("dev").serving
    if before is None:
        raise NotAsItMust("nothing is in service in dev")
    _have_rules(story)
    version = story.train("fragile")
    pull = story.propose(version, "dev")
    story.see_checks(pull)
    with Patients(story) as patients, _watching(story):
        patients.see_served(str(before.version), seconds=3)
        story.merge(pull)
        story.see(
            f"every check passed, and version {version} is in service: no row that anybody had is too large for it"
        )
        _see_it_back(story, before.version, patients)
    patients.see_who_failed(version)
    story.see_served("dev", before.version)
    record = story.last_record("dev")
    expect(record.way_back, True, f"whether {record.id} is a way back")
    if f"requests to {version} failed" not in record.reason:
        raise NotAsItMust(f"{record.id} does not say why: {record.reason!r}")
    story.see(f"{record.id}: {record.reason}")
    reverts = [one for one in story.forge.pulls("open") if one["head"]["ref"] == f"promobot-revert/dev/{MODEL}"]
    expect(len(reverts), 1, "reverts that are open")
    expect("| failed | ⚠️" in reverts[0]["body"], True, "the table in the revert")
    expect(len(story.slack_messages(record)), 1, "messages in Slack")
    story.see(f"#{reverts[0]['number']} makes Git follow, with the table of both versions; Slack says the same")


def _have_rules(story: Story) -> None:
    """Have dev's settings say what a bake must not do, unless they say it already."""
    there = yaml.safe_load((story.checkout / "manifests/environments/dev.yaml").read_text())
    if there.get("rollout", {}).get(MODEL):
        return
    settings = story.propose_settings("Watch churn in dev", {"rollout": {MODEL: {"bake": dict(BAKE)}}})
    story.see_checks(settings)
    story.forge.merge(settings["number"], head=settings["head"]["sha"])
    story.see(f"#{settings['number']} merged by alex: what users get of a new version is watched")


def _see_it_back(story: Story, version: int, patients: Patients) -> None:
    """Wait until every gateway has this version alone again."""
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline:
        routes = [get(f"{gateway.url}/routes")["models"][MODEL] for gateway in story.endpoints.gateway["dev"]]
        if all(route["live"]["version"] == version and "canary" not in route for route in routes):
            seconds = time.monotonic() - (patients.first_failed_at or time.monotonic())
            story.see(f"users are back at version {version}, {seconds:.1f} s after the first request failed")
            return
        time.sleep(0.1)
    raise NotAsItMust(f"version {version} was not put back in {BACK_SECONDS:g} s")


@contextmanager
def _watching(story: Story) -> Iterator[None]:
    """Run ``promobot watch`` as the service that it is."""
    words = ["watch", "--env", "dev", "--every", f"{LOOK_SECONDS:g}"]
    story.typed.append(f"promobot {' '.join(words)} &")
    python = environments.runner_directory() / "bin" / "python"
    with (story.endpoints.directory / "watch.log").open("ab") as log:
        service = subprocess.Popen(
            [str(python), "-m", "bot", *words],
            cwd=story.checkout,
            env={**os.environ, **story.endpoints.variables()},
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            service.terminate()
            expect(service.wait(60), 0, "the exit code of promobot watch")


class Patients:
    """Patients whose rows go to dev's gateways in turn until told to stop."""

    def __init__(self, story: Story) -> None:
        from bot.sandbox.reference import LARGEST

        self._story, self._stop = story, threading.Event()
        self._answers: list[tuple[int, str, bool]] = []
        """Status, version, and whether the tumour was a large one."""
        self.first_failed_at: float | None = None
        usual = story.samples[0]
        self._rows = (usual, {**usual, "data": [LARGEST + 5, *usual["data"][1:]]})
        self._thread = threading.Thread(target=self._ask_in_turn)

    def __enter__(self) -> Patients:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def see_served(self, version: str, *, seconds: float) -> None:
        """Wait so long, and expect every request to be answered by this version."""
        self._stop.wait(seconds)
        seen = {(status, said) for status, said, _ in self._answers}
        expect(seen, {(200, version)}, "what users got before")

    def see_who_failed(self, version: int) -> None:
        """Expect that nobody failed but patients with a large tumour, whom the new version answered."""
        failed = [one for one in self._answers if one[0] != 200]
        expect({status for status, _, _ in failed}, {500}, "the status of requests that failed")
        expect(all(large for _, _, large in failed), True, "whether only large tumours failed")
        self._story.see(
            f"{len(failed)} of {len(self._answers)} requests failed, all with a tumour too large for {version}"
        )

    def _ask_in_turn(self) -> None:
        gateways = [gateway.url for gateway in self._story.endpoints.gateway["dev"]]
        with httpx.Client(timeout=10, trust_env=False) as client:
            for number in itertools.count():
                if self._stop.wait(PAUSE_SECONDS):
                    return
                large = number % LARGE_EVERY == 0
                url = f"{gateways[number % len(gateways)]}/v2/models/{MODEL}/infer"
                headers = {"x-user-id": f"patient-{number}"}
                answer = client.post(url, json={"inputs": [self._rows[large]]}, headers=headers)
                if not answer.is_success and self.first_failed_at is None:
                    self.first_failed_at = time.monotonic()
                version = str(answer.json().get("model_version", "")) if answer.is_success else ""
                self._answers.append((answer.status_code, version, large))


ACT: Titled = (
    "version 9 passes every check and fails for some users: watched, and put back by itself",
    puts_itself_back,
)
