"""Processes are found again, stopped with what they started, and never confused with others."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.errors import Rejected, Unavailable
from bot.sandbox.processes import Part, Ports, Processes
from tests.servers import lives

SERVER = "import http.server as h, sys; h.test(h.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind='127.0.0.1')"


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as taken:
        yield taken


def server(ports: Ports, *, name: str = "web", code: str = SERVER, variables: dict[str, str] | None = None) -> Part:
    port = ports.take()
    return Part(name=name, command=(sys.executable, "-c", code, str(port)), port=port, variables=variables or {})


def test_another_command_that_knows_the_directory_stops_them(ports: Ports, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    process = processes.start(server(ports))
    processes.wait_until_ready(process)

    assert Processes(tmp_path).stop() == ["web"]
    assert not lives(process.pid)
    assert Processes(tmp_path).stop() == []


def test_what_a_process_started_goes_with_it_even_when_the_process_is_gone(ports: Ports, tmp_path: Path) -> None:
    spawn = (
        f"import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True)\n{SERVER}"
    )
    processes = Processes(tmp_path)
    process = processes.start(server(ports, code=spawn))
    processes.wait_until_ready(process)
    child = int(processes.log("web").read_text().split()[0])
    os.kill(process.pid, signal.SIGKILL)

    assert processes.stop() == ["web"]
    assert not lives(child)


def test_one_whose_starter_died_before_it_wrote_the_record_is_found(ports: Ports, tmp_path: Path) -> None:
    processes = Processes(tmp_path / "one")
    process = processes.start(server(ports))
    processes.wait_until_ready(process)
    (tmp_path / "one/pids/web.json").unlink()

    assert Processes(tmp_path / "on").stop() == []
    assert [found.pid for found in Processes(tmp_path / "one").living()] == [process.pid]
    assert Processes(tmp_path / "one").stop() == ["web"]
    assert not lives(process.pid)


def test_one_that_ignores_sigterm_is_killed(ports: Ports, tmp_path: Path) -> None:
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVER}"
    processes = Processes(tmp_path)
    process = processes.start(server(ports, code=stubborn))
    processes.wait_until_ready(process)
    processes.halt([process], deadline_seconds=0.2)
    assert not lives(process.pid)


def test_one_whose_first_thread_is_gone_has_not_ended(ports: Ports, tmp_path: Path) -> None:
    """Its other threads hold its ports still: a killed Triton's, for a moment."""
    first_ends = (
        "import ctypes, http.server as h, sys, threading\n"
        "web = h.HTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler)\n"
        "threading.Thread(target=web.serve_forever).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    part = server(ports, code=first_ends)
    processes = Processes(tmp_path)
    process = processes.start(part)
    processes.wait_until_ready(process)
    state = Path(f"/proc/{process.pid}/stat")
    for _ in range(1000):
        if state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.01)
    else:
        pytest.fail("its first thread never ended")
    assert [found.pid for found in processes.living()] == [process.pid]
    assert processes.stop() == ["web"]
    processes.wait_until_ready(processes.start(part))
    processes.stop()


def test_a_process_that_merely_has_the_id_now_is_left_alone(ports: Ports, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    process = processes.start(server(ports))
    processes.wait_until_ready(process)
    processes.halt([process])
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        record = tmp_path / "pids" / "web.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "pid": stranger.pid}))
        assert Processes(tmp_path).stop() == []
        assert lives(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_one_that_ends_is_named_with_the_end_of_its_log(ports: Ports, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    failing = server(ports, name="triton-dev-1", code="print('x\\n' * 50); raise SystemExit('no such backend')")
    with pytest.raises(Rejected, match=r"^triton-dev-1: ended .* code 1.*triton-dev-1\.log") as failure:
        processes.wait_until_ready(processes.start(failing))
    assert failure.value.message.endswith("no such backend")
    assert failure.value.message.count("\n") <= 16
    processes.stop()


def test_one_that_never_answers_is_named_too(ports: Ports, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    silent = server(ports, name="mlflow", code="import time; print('thinking', flush=True); time.sleep(60)")
    process = processes.start(silent)
    deadline = time.monotonic() + 5
    while not processes.log("mlflow").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(Unavailable, match=r"(?s)^mlflow: did not answer .* thinking$"):
        processes.wait_until_ready(process, deadline_seconds=0.1)
    processes.stop()


def test_what_is_set_for_a_real_platform_does_not_reach_a_part(
    ports: Ports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "the real one")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com")
    names = ("GITHUB_TOKEN", "MLFLOW_TRACKING_URI")
    show = f"import os; print(*[os.environ.get(name) for name in {names}], flush=True)\n{SERVER}"
    processes = Processes(tmp_path)
    process = processes.start(server(ports, code=show, variables={"MLFLOW_TRACKING_URI": "ours"}))
    processes.wait_until_ready(process)
    processes.stop()
    assert processes.log("web").read_text().startswith("None ours\n")


def test_records_are_for_the_owner_only(ports: Ports, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    process = processes.start(server(ports, variables={"TOKEN": "secret"}))
    assert (tmp_path / "pids" / "web.json").stat().st_mode & 0o077 == 0
    assert "secret" not in repr(process)
    assert dataclasses.asdict(Processes(tmp_path).recorded()[0].part) == dataclasses.asdict(process.part)
    processes.stop()


def test_sandboxes_that_start_at_once_never_take_the_same_port() -> None:
    with Ports() as one, Ports() as other:
        taken = [ports.take() for _ in range(100) for ports in (one, other)]
        assert len(set(taken)) == 200
        assert not other.reserve(taken[0])
    with Ports() as later:
        assert later.reserve(taken[0])
