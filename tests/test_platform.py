"""Which record store an environment has is decided in one place, and costs nothing where it is a directory."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from bot import environment_files
from bot.errors import InvalidInput, Refused
from bot.platform import Platform
from bot.records.bucket import BucketRecords
from bot.records.directory import RecordStore
from bot.settings import Bucket, S3Records
from bot.slack import service

PROJECT = Path(__file__).parents[1]
DEV = environment_files.load(PROJECT, "dev")
IN_A_BUCKET = DEV.model_copy(update={"records": S3Records(s3=Bucket(bucket="mlops"))})


def test_a_directory_or_a_bucket_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with Platform(DEV, {}) as dev, Platform(IN_A_BUCKET, {}) as stored, Platform(IN_A_BUCKET, {}) as again:
        assert isinstance(dev.records, RecordStore)
        assert isinstance(stored.records, BucketRecords)
        assert stored.records is again.records, "what was read of a bucket is read once in a process"


def test_the_sdk_is_not_imported_for_a_directory() -> None:
    script = (
        "import sys; from pathlib import Path; from bot import environment_files\n"
        "from bot.platform import Platform\n"
        "from bot.operations import history\n"
        "Platform(environment_files.load(Path('.'), 'dev')).ledger\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('boto3', 'botocore', 's3transfer')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_inbox_needs_a_place_of_its_own_where_records_are_in_a_bucket() -> None:
    assert service._inbox_beside_the_records([DEV])._root == Path(str(DEV.records)) / "slack"
    for listed in ([IN_A_BUCKET], [DEV, IN_A_BUCKET]):
        with pytest.raises(InvalidInput, match="in a bucket, which has no locks") as failure:
            service._inbox_beside_the_records(listed)
        assert "--state DIR" in failure.value.next_step


# --- one platform for each command ---------------------------------------------------------------------------------

HELD = {"GITHUB_TOKEN": "t" * 20, "PROMOBOT_RELOAD_TOKEN": "r" * 20, "SLACK_BOT_TOKEN": "xoxb-" + "s" * 20}


class _Counted:
    """Stands where adapters are opened; counts what is opened and closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: Counter[str] = Counter()
        self.open_now: list[str] = []
        for kind in ("repository", "github", "registry", "records", "ledger", "slack", "share", "staging_share"):
            self._count(monkeypatch, f"_open_{kind}", kind)
        for kind in ("triton", "gateway"):
            self._count(monkeypatch, f"_{kind}", kind)

    def _count(self, monkeypatch: pytest.MonkeyPatch, method: str, kind: str) -> None:
        counted = self

        class Stand:
            def __init__(self, name: str) -> None:
                self.name = name
                counted.opened[name] += 1
                counted.open_now.append(name)

            def within(self, _: float | None) -> Stand:
                return self

            def close(self) -> None:
                counted.open_now.remove(self.name)

        def opens(platform: Platform, one: object, **_: object) -> Stand:
            if isinstance(one, ExitStack):
                stand = Stand(kind)
                one.callback(stand.close)
                return stand
            return Stand(f"{kind} {one.name}")  # type: ignore[attr-defined]

        monkeypatch.setattr(Platform, method, opens)


def _use_all(platform: Platform) -> None:
    for _ in range(2):
        _ = platform.github, platform.registry, platform.records, platform.ledger, platform.slack
        _ = platform.share, platform.staging, platform.serving(), platform.repository()
        platform.repository(limit_seconds=1)


def test_each_system_is_opened_once_and_all_are_closed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = _Counted(monkeypatch)
    with Platform(DEV, HELD) as platform:
        assert counted.opened == {}, "lazily"
        _use_all(platform)
        names = {f"triton {one.name}" for one in (*DEV.tritons, DEV.staging.triton)}
        names |= {f"gateway {one.name}" for one in DEV.gateways}
        assert names < counted.opened.keys()
        assert set(counted.opened.values()) == {1}, counted.opened
        assert sorted(counted.open_now) == sorted(counted.opened)
    assert counted.open_now == []


def test_all_are_closed_after_an_error_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = _Counted(monkeypatch)
    with pytest.raises(ZeroDivisionError), Platform(DEV, HELD) as platform:
        _use_all(platform)
        _ = 1 // 0
    assert counted.open_now == []
    assert counted.opened


def test_what_cannot_be_opened_leaves_nothing_open_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = _Counted(monkeypatch)
    variables = {name: value for name, value in HELD.items() if name != "PROMOBOT_RELOAD_TOKEN"}
    with Platform(DEV, variables) as platform:
        with pytest.raises(Refused, match="PROMOBOT_RELOAD_TOKEN"):
            platform.serving()
        assert counted.open_now == [], "the token is looked at before anything is opened"
        assert platform.serving(reads_only=True).gateways, "who only looks needs no token"
        variables["PROMOBOT_RELOAD_TOKEN"] = "r" * 20
        assert platform.serving().gateways


def test_who_is_still_at_work_after_the_end_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = _Counted(monkeypatch)
    with Platform(DEV, HELD) as platform:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        platform.repository()
    assert counted.open_now == []


def test_threads_that_ask_at_the_same_time_get_the_same_system(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made = []

    def slow(_platform: Platform, _: ExitStack) -> object:
        begun.set()
        assert go_on.wait(30)
        made.append(object())
        return made[-1]

    monkeypatch.setattr(Platform, "_open_github", slow)
    with Platform(DEV, HELD) as platform, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(lambda: platform.github) for _ in range(3)]
        assert begun.wait(30)
        assert platform.records is not None, "who asks for another system waits for nobody"
        go_on.set()
        assert {id(one.result()) for one in asked} == {id(made[0])}
    assert len(made) == 1


def test_a_repository_that_hangs_is_given_up_and_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = _Counted(monkeypatch)
    with Platform(DEV, HELD) as platform:
        first = platform.repository()
        platform.give_up_repository()
        assert platform.repository() is not first
        assert counted.open_now == ["repository", "repository"]
    assert counted.open_now == []


def test_secrets_come_from_the_given_variables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "of-the-process-0000")
    with Platform(DEV, {}) as platform, pytest.raises(Refused, match="GITHUB_TOKEN is not set"):
        _ = platform.github
