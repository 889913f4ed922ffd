"""What processes of ours log: as text or JSON, from a level on, without secrets; and a line for each retry."""

from __future__ import annotations

import argparse
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from bot import cli, logs
from bot.exit_codes import ExitCode
from bot.logs import Chosen, JsonFormatter
from bot.redaction import keep

PROJECT = Path(__file__).parents[1]
SECRET = "canary-of-logs-4711"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What a process logs belongs to all of it, and so to all tests."""
    root, ours = logging.getLogger(), logs._is_ours
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logs._is_ours = ours


def record(message: str, *given: object, level: int = logging.WARNING, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("bot.x", level, "x.py", 1, message, given, None)
    vars(made).update(fields)
    return made


def test_a_record_as_json() -> None:
    said = JsonFormatter().format(record("asked %d times", 3, system="MLflow", where=Path("/x")))
    assert "\n" not in said
    document = json.loads(said)
    assert datetime.fromisoformat(document.pop("time")).utcoffset() is not None
    assert document == {
        "level": "warning",
        "logger": "bot.x",
        "message": "asked 3 times",
        "fields": {"system": "MLflow", "where": "/x"},
    }


def test_a_traceback_is_in_the_same_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        made = logging.LogRecord("bot.x", logging.ERROR, "x.py", 1, "it failed", (), sys.exc_info())
    said = JsonFormatter().format(made)
    assert "\n" not in said
    assert json.loads(said)["error"].endswith("ValueError: two\nlines")


@pytest.mark.parametrize("form", logs.FORMATS)
def test_no_line_holds_a_secret(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    keep(SECRET)
    logs.configure(Chosen("info", form))
    try:
        raise ValueError(f"it said {SECRET}")
    except ValueError:
        logging.getLogger("bot.x").exception("with %s", SECRET, extra={"header": {"token": f"Bearer {SECRET}"}})
    said = capsys.readouterr().err
    assert "with ***" in said and SECRET not in said


@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_from_a_level_on(level: str, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # a process may say twice how it logs
        logs.configure(Chosen(level, "json"))
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("bot.x").log(number, "a line")
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(found) == lines
    logging.getLogger("slack_sdk").info("a whole request")
    assert capsys.readouterr().err == ""


# --- what was chosen ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "chosen"),
    [
        (["status", "--env", "dev"], Chosen("warning", "text")),
        (["slack", "--once"], Chosen("info", "text")),
        (["status", "--env", "dev", "-v"], Chosen("info", "text")),
        (["-v", "status", "--env", "dev"], Chosen("info", "text")),
        (["--log-format", "json", "status", "--env", "dev"], Chosen("warning", "json")),
        (["--log-level", "error", "slack", "--once", "--log-format", "json"], Chosen("error", "json")),
        (["--log-level=debug", "status", "--env", "dev", "--log-level", "error"], Chosen("error", "text")),
    ],
)
def test_the_options_stand_before_or_behind_the_command(typed: list[str], chosen: Chosen) -> None:
    assert cli.parse(typed).context.logs == chosen


def test_variables_count_where_nobody_typed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMOBOT_LOG_LEVEL", "DEBUG")
    monkeypatch.setenv("PROMOBOT_LOG_FORMAT", "json")
    assert cli.parse(["status", "--env", "dev"]).context.logs == Chosen("debug", "json")
    assert cli.parse(["status", "--env", "dev", "--log-format", "text"]).context.logs == Chosen("debug", "text")


def test_a_variable_with_something_else_is_a_mistake_of_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PROMOBOT_LOG_LEVEL", "loud")
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "--env", "dev"])
    assert ended.value.code == ExitCode.USAGE
    assert "PROMOBOT_LOG_LEVEL is 'loud'; it may be debug, info, warning, error" in capsys.readouterr().err


def test_what_is_typed_is_one_of_the_choices() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    logs.add_options(parser)
    with pytest.raises(argparse.ArgumentError, match="invalid choice: 'xml'"):
        parser.parse_args(["--log-format", "xml"])


# --- processes ----------------------------------------------------------------------------------------------------


def run(script: str, *arguments: str) -> list[str]:
    """Return what the script writes to stderr."""
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stderr.splitlines()


_ASKS_MLFLOW = """
import contextlib, stamina, sys
from bot.credentials import Credentials
from bot.errors import Unavailable
from bot.settings import MLflow
from bot.systems.mlflow import Registry
with contextlib.suppress(Unavailable), stamina.set_testing(True, attempts=3, cap=True):
    Registry(MLflow(uri=sys.argv[1]), Credentials({})).ping()
"""


def test_each_retry_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ours = "from bot import logs\nlogs.configure(logs.Chosen('info', 'json'))\n"
        found = [json.loads(line) for line in run(ours + _ASKS_MLFLOW, uri) if "bot.retry" in line]
        later = run("import bot.retry\n" + ours + _ASKS_MLFLOW, uri)
        theirs = run("import logging\nlogging.basicConfig(format='theirs: %(message)s')\n" + _ASKS_MLFLOW, uri)
        nobodys = run(_ASKS_MLFLOW, uri)
    assert [line["fields"] for line in found] == [
        {"attempt": number, "pause_seconds": 0.0, "system": f"MLflow ({uri})"} for number in (2, 3)
    ]
    assert all(f"begins in 0.00 s: MLflow ({uri}): could not search" in line["message"] for line in found)
    assert {line["level"] for line in found} == {"info"}
    assert theirs == ["theirs: stamina.retry_scheduled"] * 2, "the hooks of an application around the bot are its own"
    assert nobodys == []
    assert [line for line in later if "stamina" in line] == [] and len(later) == len(found), "whichever comes first"


def test_the_gateway_logs_as_json(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "bot.gateway", "--routes", str(tmp_path / "routes.json"), "--port", port]
        command += ["--triton", "http://127.0.0.1:1", "--log-format", "json"]
        variables = {name: value for name, value in os.environ.items() if name != "PROMOBOT_RELOAD_TOKEN"}
        ended = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode
    found = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ("bot.gateway", "warning") in {(line["logger"], line["level"]) for line in found}
    assert any("address already in use" in line["message"] for line in found)
