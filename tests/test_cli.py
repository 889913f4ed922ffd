"""The command line as scripts and people meet it: words, streams, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from bot import cli, commands
from bot.domain.desired import Change
from bot.domain.hold import Held, Hold
from bot.errors import InvalidInput, LeaseLost, OutsideError, Refused, Unavailable
from bot.exit_codes import ExitCode
from bot.operations import deploy as deploy_verb
from bot.operations import validate as validate_verb
from bot.operations.deploy import Deployed
from bot.redaction import redact
from bot.render import job as job_words
from tests.domain.entries import entry

PROJECT = Path(__file__).parents[1]
CANARY = "canary-7f3a9c51e2"

SDKS = {
    *("git", "github", "grpc", "httpx", "mlflow", "numpy", "pydantic", "requests", "slack_bolt", "slack_sdk", "yaml"),
    *("tritonclient", "fastapi", "starlette", "onnx", "onnxruntime", "sklearn", "pandas"),
}


VERBS = commands.names()


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """What a verb does about SIGTERM in this process ends with the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in ("promotions", "manifests"):
        shutil.copytree(PROJECT / folder, tmp_path / "checkout" / folder)
    return tmp_path / "checkout"


@pytest.fixture
def bug_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bugs"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


Doing = Callable[[Callable[[], Any]], None]


@pytest.fixture
def validating(monkeypatch: pytest.MonkeyPatch) -> Doing:
    """Let ``promobot validate`` do something else."""

    def doing(what: Callable[[], Any]) -> None:
        monkeypatch.setattr(validate_verb, "validate", lambda _: what())

    return doing


def fail(error: BaseException) -> Callable[[], Any]:
    def failing() -> Any:
        raise error

    return failing


def promobot(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bot", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, **more)


# --- help and usage ------------------------------------------------------------------------------------------------


def test_help_names_every_verb_and_the_exit_codes() -> None:
    done = promobot("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert {"propose", "check", "deploy", "rollback", "promote", "status", "drift", "history"} <= set(VERBS)
    for part in (*VERBS, "0 done", "1 refused or failed", "2 usage", "3 a bug", "4 unconfirmed", "130 interrupted"):
        assert part in done.stdout


def test_the_version_is_that_of_what_is_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"promobot {metadata.version('promobot')}\n"

    def not_there(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_there)
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert "a checkout that is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_json_and_root(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: promobot {verb} " in said
    assert "--json" in said
    assert "--root DIR" in said
    if verb not in ("adopt", "package", "check", "init", "validate", "sandbox", "demo", "proof"):
        assert "--env ENV" in said or "--to ENV" in said


def test_help_and_usage_import_no_sdk() -> None:
    """One process says it all: what the first of these imported would be there after the last."""
    listed = [["--help"], *([verb, "--help"] for verb in VERBS), ["deploy"]]
    program = (
        "import sys\nfrom bot.cli import main\n"
        f"for arguments in {listed!r}:\n"
        "    try:\n        main(arguments)\n    except SystemExit:\n        pass\n"
        f"    if found := sorted({SDKS!r} & set(sys.modules)):\n"
        "        sys.exit(f'{arguments} imports {found}')\n"
        "sys.stderr.write('all were said')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "all were said"), done.stderr


def test_what_is_not_needed_before_the_switch_is_not_imported_before_it() -> None:
    """Users wait for all that a way back imports until gateways have switched: Git, Tritons, gateways, no more."""
    program = (
        "import sys\nimport bot.settings, bot.operations.rollback, bot.operations.deploy\n"
        "import bot.systems.git, bot.share, bot.records.directory, bot.systems.gateway, bot.systems.triton.server\n"
        f"sys.stderr.write(repr(sorted({SDKS!r} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stderr.endswith("['grpc', 'httpx', 'pydantic', 'tritonclient', 'yaml']"), done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: VERB"),
        (["deploi"], "there is no verb 'deploi'. Did you mean deploy?"),
        (["deploy"], "required: --env"),
        (["deploy", "--env"], "expected one argument"),
        (["propose", "churn", "--env", "dev"], "required: version"),
        (["propose", "--env", "dev"], "name a model and its version, as in churn:7, or say --all-ready"),
        (["propose", "churn:7", "--all-ready", "--env", "dev"], "or say --all-ready"),
        (["propose", "churn:7", "churn:8", "--env", "dev"], "churn is named twice: a proposal has one version of it"),
        (["propose", "churn:7", "fraud", "--env", "dev"], "'fraud' has no version: write fraud:7"),
        (["propose", "churn:7", "fraud:x", "--env", "dev"], "argument version: 'x' is not a valid version"),
        (["propose", "prod.Model-A:7", "--env", "dev"], "mlflow_names in the environment file"),
        (["propose", "../x", "7", "--env", "dev"], "'../x' is not a valid model name"),
        (["propose", "churn-shadow", "7", "--env", "dev"], "kept for the shadow path"),
        *(
            (
                ["propose", "churn", version, "--env", "dev"],
                "is not a valid version: a whole number from 1 to 2147483647",
            )
            for version in ("0", "1.5", "x", "2147483648", "٣", "1_0", "")
        ),
        (["rollback", "churn", "--env", "dev", "--to", "latest"], "is not a valid version"),
        (["propose", "churn:7", "--env", "dev", "--as", "shadow", "--share", "2"], "write a number from 0.01 to 1"),
        (["propose", "churn:7", "--env", "dev", "--share", "0.1"], "--share is that of a shadow"),
        (["propose", "churn:7", "fraud:3", "--env", "dev", "--as", "shadow"], "--as shadow is for one version"),
        (["history", "--env", "dev", "--at", "yesterday"], "is not a valid time, as in 2026-11-22T14:00:00+01:00"),
        (["check", "taste", "--pull-request", "1"], "invalid choice: 'taste'"),
        (["check", "ready"], "required: --pull-request"),
        (["check", "verdict", "--pull-request", "1", "--needs", "{"], "is not GitHub's `needs` context as JSON"),
        (["check", "verdict", "--pull-request", "1", "--needs", '{"a": 1}'], "is not GitHub's `needs` context"),
        (["check", "verdict", "--pull-request", "1", "--needs", "[]"], "is not GitHub's `needs` context"),
        (["quarantine", "drop", "--env", "dev"], "invalid choice: 'drop'"),
        *(
            (["slack", "--once", "--follow", seconds], "is not a number of seconds above 0")
            for seconds in ("0", "-1", "inf", "nan", "often")
        ),
        (["sandbox", "up"], "required: --dir"),
        (["validate", "--loud"], "unrecognized arguments: --loud"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_wrong_usage_is_2_and_leaves_stdout_empty(
    arguments: list[str], says: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--json"] if as_json and arguments else arguments)
    said = capsys.readouterr()
    assert ended.value.code == ExitCode.USAGE == 2
    assert said.out == ""
    assert says in said.err
    assert said.err.startswith("usage: promobot")


# --- what went wrong -----------------------------------------------------------------------------------------------


def test_a_wrong_file_is_1_with_file_line_and_key(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = checkout / "manifests/environments/dev.yaml"
    text = file.read_text().replace("records: /", "records: ")
    file.write_text(text)
    line = text.splitlines().index(next(x for x in text.splitlines() if x.startswith("records:"))) + 1
    assert cli.main(["status", "--env", "dev", "--root", str(checkout)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    where = f"manifests/environments/dev.yaml:{line}: records: "
    assert said.err.startswith(f"promobot: {where}")
    assert "Nothing was changed." in said.err
    assert cli.main(["status", "--env", "dev", "--root", str(checkout), "--json"]) == 1
    said = capsys.readouterr()
    assert said.err == ""
    document = json.loads(said.out)
    assert document["error"].startswith(where)
    assert (document["state"], document["exit_code"]) == ("Nothing was changed.", 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["deploy", "--env", "../dev"], "'../dev' is not a valid environment name"),
        (["deploy", "--env", "staging"], "there is no such file"),
        (["promote", "churn", "--to", "dev"], "no promotes_from"),
        (["quarantine", "lift", "--env", "dev"], "name the digest to lift"),
        (["quarantine", "lift", "feed", "--run", "dev-00000001", "--env", "dev"], "name the digest to lift, or one"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    arguments: list[str], says: str, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*arguments, "--root", str(checkout)]) == 1
    said = capsys.readouterr()
    assert says in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_outside_a_checkout_it_says_where_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["validate", "--root", str(tmp_path)]) == 1
    assert "→ Run promobot in a checkout" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["validate"], ["proof", "--out", "there"]])
def test_in_a_folder_that_is_gone_it_says_so(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    assert cli.main(arguments) == 1
    assert "the folder that this was started in is gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        Refused("it is frozen", state="Nothing was changed.", next_step="Wait."),
        OutsideError("is away", system="MLflow", state="Nothing was changed.", next_step="Wait."),
        Unavailable("is away", system="Slack", state="Nothing was changed.", next_step="Wait."),
    ],
)
def test_what_was_refused_or_failed_is_1(
    error: Exception, validating: Doing, capsys: pytest.CaptureFixture[str]
) -> None:
    validating(fail(error))
    assert cli.main(["validate"]) == ExitCode.FAILED == 1
    assert capsys.readouterr() == ("", f"promobot: {error}\n  Nothing was changed.\n  → Wait.\n")
    assert cli.main(["validate", "--json"]) == 1
    said = capsys.readouterr()
    expected = {"error": str(error), "state": "Nothing was changed.", "next_step": "Wait.", "exit_code": 1}
    expected["schema"] = "promobot/error/v1"
    assert (json.loads(said.out), said.err) == (expected, "")


def test_who_does_not_answer_is_worth_another_try(validating: Doing, capsys: pytest.CaptureFixture[str]) -> None:
    validating(fail(Unavailable("could not read a record: timed out", system="record store")))
    assert cli.main(["validate"]) == 1
    assert "Run the same command again" in capsys.readouterr().err


def test_a_lease_that_is_lost_is_1_and_says_who_goes_on(
    validating: Doing, capsys: pytest.CaptureFixture[str]
) -> None:
    validating(fail(LeaseLost("turn 1 is over", state="The later one converges.", next_step="promobot status")))
    assert cli.main(["validate"]) == 1
    assert capsys.readouterr().err == "promobot: turn 1 is over\n  The later one converges.\n  → promobot status\n"


def test_a_bug_is_3_with_a_log_and_no_traceback_on_the_terminal(
    validating: Doing, bug_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", CANARY)
    monkeypatch.setattr(sys, "argv", ["promobot", "validate", f"--token={CANARY}"])
    validating(fail(RuntimeError(f"boom {CANARY}")))
    assert cli.main(["validate"]) == ExitCode.BUG == 3
    said = capsys.readouterr()
    (log,) = bug_folder.iterdir()
    assert said.out == ""
    assert said.err == (
        f"promobot: this is a bug in promobot: RuntimeError: boom ***\n  Please report it with {log}\n"
    )
    text = log.read_text()
    assert "Traceback (most recent call last)" in text
    assert "RuntimeError: boom ***" in text
    assert text.startswith("promobot validate --token=***\nPython 3.")
    assert CANARY not in text


def test_a_bug_with_json_is_one_document(
    validating: Doing, bug_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", CANARY)
    validating(fail(KeyError(CANARY)))
    assert cli.main(["validate", "--json"]) == 3
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["exit_code"] == 3
    assert Path(document["log"]).parent == bug_folder
    assert CANARY not in said.out + said.err + Path(document["log"]).read_text()


@pytest.mark.parametrize("variable", ["GITHUB_TOKEN", "SIGNING_SECRET", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_no_secret_of_the_environment_is_ever_printed(
    variable: str,
    as_json: list[str],
    validating: Doing,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, CANARY)
    for what in (
        lambda: validate_verb.Validated((f"a {CANARY}",), ()),
        lambda: validate_verb.Validated((), (f"a {CANARY}",)),
        fail(Refused(f"a {CANARY}", state=CANARY, next_step=CANARY)),
    ):
        validating(what)
        cli.main(["validate", *as_json])
        said = capsys.readouterr()
        assert CANARY not in said.out + said.err
        assert "***" in said.out + said.err


def test_a_result_that_is_no_json_is_a_bug_and_no_traceback(
    validating: Doing, bug_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validating(lambda: validate_verb.Validated((object(),), ()))  # type: ignore[arg-type]
    assert cli.main(["validate", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["exit_code"] == 3
    assert len(list(bug_folder.iterdir())) == 1


# --- where GitHub Actions runs it ----------------------------------------------------------------------------------


@pytest.fixture
def summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the job's summary is, as in a job of GitHub Actions."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return tmp_path / "summary.md"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """What `promobot deploy` finds instead of deploying."""
    change = Change("dev", "models", "churn", entry(1), entry(2))
    hold = Hold("evidence", f"no evidence, says {CANARY}", "promobot recheck churn --env dev")
    found = Deployed("dev", "c" * 40, held=(Held(change, hold),))
    monkeypatch.setattr(deploy_verb, "deploy", lambda *_, **__: found)
    monkeypatch.setenv("SLACK_BOT_TOKEN", CANARY)
    return found


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_job_shows_the_verdict_first_and_the_cause_as_an_annotation(
    as_json: list[str], held: Deployed, summary: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deploy", "--env", "dev", "--root", str(checkout), *as_json]) == held.exit_code == 1
    said = capsys.readouterr()
    assert said.err == (
        "::error title=churn in dev%3A held::churn 1 → 2 in dev is held: version 1 answers."
        "%0Ano evidence, says ***%0A→ promobot recheck churn --env dev\n"
    )
    assert "::error" not in said.out
    assert not as_json or json.loads(said.out)["exit_code"] == 1
    lines = summary.read_text().replace("\\", "").splitlines()
    assert lines[0] == "❌ **churn 1 → 2 in dev is held: version 1 answers.**"
    assert CANARY not in summary.read_text()


def test_elsewhere_nothing_is_annotated(
    held: Deployed, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["deploy", "--env", "dev", "--root", str(checkout)]) == 1
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    assert cli.main(["deploy", "--env", "dev", "--root", str(checkout)]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_summary_that_cannot_be_written_changes_no_outcome_and_is_said(
    as_json: list[str],
    held: Deployed,
    tmp_path: Path,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "gone" / "summary.md"))
    assert cli.main(["deploy", "--env", "dev", "--root", str(checkout), *as_json]) == held.exit_code == 1
    said = capsys.readouterr()
    first, cause = said.err.splitlines()
    assert first.startswith("the job's summary could not be written (FileNotFoundError: ")
    assert first.endswith("; this changes no outcome")
    assert cause.startswith("::error title=churn in dev%3A held::")
    assert "held" in said.out


def test_words_that_fail_change_no_outcome_either(
    held: Deployed,
    summary: Path,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(job_words, "deployed", lambda _: 1 / 0)
    assert cli.main(["deploy", "--env", "dev", "--root", str(checkout)]) == held.exit_code == 1
    assert "could not be written (ZeroDivisionError: division by zero)" in capsys.readouterr().err
    assert not summary.exists()


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_an_error_is_said_once_in_a_job_and_stands_in_the_summary(
    as_json: list[str], validating: Doing, summary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validating(fail(InvalidInput("is no version", file="promotions/dev.yaml", line=3, key="models.churn.version")))
    assert cli.main(["validate", *as_json]) == 1
    said = capsys.readouterr()
    what = "promotions/dev.yaml:3: models.churn.version: is no version"
    assert said.err == (
        f"::error file=promotions/dev.yaml,line=3,title=promobot validate::{what}%0ANothing was changed.\n"
    )
    assert not as_json or json.loads(said.out)["error"] == what
    assert as_json or not said.out
    assert summary.read_text().replace("\\", "") == f"❌ **{what}**\n\nNothing was changed.\n\n"


def test_where_an_error_cannot_be_annotated_it_is_said_as_elsewhere(
    validating: Doing, summary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job_words, "failed", fail(RuntimeError("boom")))
    validating(fail(Refused("it is frozen")))
    assert cli.main(["validate"]) == 1
    assert capsys.readouterr().err.endswith("\npromobot: it is frozen\n")


def test_a_bug_leaves_its_traceback_in_the_summary_of_a_job(
    validating: Doing,
    bug_folder: Path,
    summary: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DB_PASSWORD", CANARY)
    validating(fail(RuntimeError(f"boom {CANARY}")))
    assert cli.main(["validate"]) == ExitCode.BUG
    assert (
        capsys.readouterr().err
        == "::error title=promobot validate::this is a bug in promobot: RuntimeError: boom ***\n"
    )
    assert "Traceback (most recent call last)" in summary.read_text()
    assert CANARY not in summary.read_text()


def test_a_wrong_input_of_a_job_is_shown_too(summary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["propose", "churn", "latest", "--env", "dev"])
    assert ended.value.code == ExitCode.USAGE
    what = "argument version: 'latest' is not a valid version: a whole number from 1 to 2147483647"
    assert f"::error title=promobot propose::{what}%0A" in capsys.readouterr().err
    assert summary.read_text().replace("\\", "").startswith(f"❌ **{what}**\n")


# --- interrupted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_ctrl_c_is_130(as_json: list[str], validating: Doing, capsys: pytest.CaptureFixture[str]) -> None:
    validating(fail(KeyboardInterrupt()))
    assert cli.main(["validate", *as_json]) == ExitCode.INTERRUPTED == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert "interrupted; run the same command again" in said.err


def test_a_runner_that_cancels_the_job_is_ctrl_c() -> None:
    program = (
        "import os, signal, sys, time\nfrom bot.operations import validate\n"
        "def cancelled(_):\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\n"
        "validate.validate = cancelled\nfrom bot.cli import main\nsys.exit(main(['validate']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "bot", "validate"]
        done = subprocess.run(command, cwd=PROJECT, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_without_unicode_is_no_failure() -> None:
    done = promobot("validate", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("\\u2713 4 files are right")


# --- validate ------------------------------------------------------------------------------------------------------


def test_on_a_terminal_lines_are_broken_between_words_and_in_a_pipe_they_are_not(checkout: Path) -> None:
    screen, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 40))
    command = [sys.executable, "-m", "bot", "validate", "--root", str(checkout)]
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TERM")}
    done = subprocess.run(command, cwd=PROJECT, stdout=terminal, stderr=subprocess.PIPE, env=env, check=False)
    os.close(terminal)
    shown = os.read(screen, 10_000).decode().replace("\r\n", "\n")
    os.close(screen)
    whole = promobot("validate", "--root", str(checkout)).stdout
    assert done.returncode == 0 and whole.count("\n") == 1
    assert shown.split() == whole.split() and shown.count("\n") > 3
    assert max(map(len, shown.splitlines())) <= 40


def test_a_good_checkout_validates(checkout: Path) -> None:
    done = promobot("validate", "--root", str(checkout))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("✓ 4 files are right: manifests/environments/dev.yaml, ")
    done = promobot("validate", "--root", str(checkout), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["mistakes"] == []
    assert document["files"] == [
        *(f"manifests/environments/{name}.yaml" for name in ("dev", "prod")),
        *(f"promotions/{name}.yaml" for name in ("dev", "prod")),
    ]


def test_a_bad_checkout_names_every_mistake(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "manifests/environments/dev.yaml").write_text("environment: dev\nrecord: /x\n")
    (checkout / "manifests/environments/Bad Name.yaml").write_text("environment: x\n")
    (checkout / "promotions/dev.yaml").write_text("environment: dev\nmodels:\n  churn: {version: 0}\n")
    (checkout / "promotions/prod.yaml").write_bytes(b"environment: \xff\n")
    (checkout / "promotions/other.yaml").write_text("environment: other\n")
    (checkout / "promotions/README.md").write_text("hello\n")
    (checkout / "promotions/folder.yaml").mkdir()
    assert cli.main(["validate", "--root", str(checkout), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    said = "\n".join(document["mistakes"])
    assert len(document["mistakes"]) == 8
    for part in (
        "'Bad Name' is not a valid environment name",
        "manifests/environments/dev.yaml:2: record: unknown key",
        "promotions/dev.yaml:3: models.churn.version: ",
        "promotions/prod.yaml: is not UTF-8",
        "promotions/other.yaml: is not the desired state of a known environment",
        "promotions/README.md: is not the desired state",
        "promotions/folder.yaml: is not the desired state",
        "promotions/Bad Name.yaml: is missing beside",
    ):
        assert part in said
    assert cli.main(["validate", "--root", str(checkout)]) == 1
    assert capsys.readouterr().out.count("✗ ") == 8


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("promotions/dev.yaml", "promotions/dev.yaml: is missing beside manifests/environments/dev.yaml"),
        ("promotions", "commit it with the one line `environment: prod`"),
    ],
)
def test_an_environment_without_desired_state_is_a_mistake(
    checkout: Path, capsys: pytest.CaptureFixture[str], folder: str, said: str
) -> None:
    (checkout / folder).rename(checkout / "elsewhere")
    assert cli.main(["validate", "--root", str(checkout)]) == 1
    assert said in capsys.readouterr().out


def test_a_folder_below_the_root_of_the_repository_is_not_what_git_has(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkout / ".git").mkdir()
    assert cli.main(["validate", "--root", str(checkout)]) == 0
    capsys.readouterr()
    (checkout / ".git").rename(tmp_path / ".git")
    assert cli.main(["validate", "--root", str(checkout)]) == 1
    assert f"{checkout} is not the root of the repository, which is {tmp_path}" in capsys.readouterr().out
    assert cli.main(["validate", "--root", str(tmp_path)]) == 1
    assert f"there is no manifests/environments/ in {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["validate", "status", "drift", "reconcile", "doctor"])
def test_no_environment_at_all_is_an_error_and_no_empty_success(
    checkout: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    for name in ("dev", "prod"):
        (checkout / f"manifests/environments/{name}.yaml").rename(checkout / f"manifests/environments/{name}.yml")
    assert cli.main([verb, "--root", str(checkout)]) == 1
    assert "there is no environment file in" in capsys.readouterr().err


def test_an_environment_file_that_nobody_reads_is_a_mistake(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(checkout / "manifests/environments/dev.yaml", checkout / "manifests/environments/test.yml")
    assert cli.main(["validate", "--root", str(checkout)]) == 1
    assert "manifests/environments/test.yml: is not read; an environment file ends with .yaml" in (
        capsys.readouterr().out
    )


def test_an_environment_whose_desired_state_is_a_folder(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "promotions/dev.yaml").unlink()
    (checkout / "promotions/dev.yaml").mkdir()
    assert cli.main(["validate", "--root", str(checkout)]) == 1
    assert "✗ promotions/dev.yaml: cannot be read: Is a directory" in capsys.readouterr().out


BODY = "MIIEpAIBAAKCAQEA4711"


@pytest.mark.parametrize("line_end", ["\n", "\\n"])
def test_a_private_key_is_blanked_out_line_by_line(monkeypatch: pytest.MonkeyPatch, line_end: str) -> None:
    key = line_end.join(["-----BEGIN KEY-----", BODY, "-----END KEY-----", ""])
    monkeypatch.setenv("PROMOBOT_APP_KEY", key)
    for shown in (key, json.dumps(key), key.replace("\n", "\n  ")):
        assert BODY not in redact(f"could not read {shown}")
    assert redact("-----BEGIN KEY----- is how it begins") == "-----BEGIN KEY----- is how it begins"


@pytest.mark.parametrize(
    "token", ["ghs_16C7e42F292c6912E7710c838347Ae178B4a", "github_pat_11ABCDEFG0123456789_abcde"]
)
def test_a_token_that_is_in_no_variable_is_blanked_out_by_its_look(token: str) -> None:
    assert redact(f"Authorization: token {token} here") == "Authorization: token *** here"


def test_watching_looks_again_until_somebody_ends_it_and_a_fault_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks: list[int] = []

    def statuses(_: object, watched: dict[str, int]) -> list[object]:
        looks.append(len(watched))
        watched[f"look {len(looks)}"] = 1
        if len(looks) == 1:
            raise Unavailable("Slack hangs", system="Slack", state="Nothing was changed.")
        return []

    def sleep(seconds: float) -> None:
        assert seconds == 7
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("bot.operations.status.statuses", statuses)
    monkeypatch.setattr("time.sleep", sleep)
    assert cli.main(["status", "--watch", "7"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Slack: Slack hangs\nNothing was changed.\n")
    assert said.count("looked at") == 3, "it went on after the fault"
    assert looks == [0, 1, 2], "what one look saw, the next one knows"


def test_watching_and_json_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "--watch", "--json"])
    assert ended.value.code == 2
    assert "not allowed with argument --json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["check", "smoek", "--pull-request", "1"], "smoke"),
        (["quarantine", "lst", "--env", "dev"], "list"),
        (["quarantine", "list", "--evn", "dev"], "--env"),
        (["status", "--jsno"], "--json"),
        (["status", "dev"], "--env dev"),
    ],
)
def test_a_wrong_word_behind_a_verb_gets_the_nearest_one(
    typed: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(typed)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"Did you mean {meant}?" in said and said.startswith(f"usage: promobot {typed[0]} ")


def test_a_record_names_its_own_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.parse(["history", "show", "eu-dev-00000012-churn"]).arguments.environment == "eu-dev"
    assert cli.parse(["history", "show", "dev-00000012", "--env", "prod"]).arguments.environment == "prod"
    for typed in (["history"], ["history", "churn"], ["history", "show", "churn"], ["history", "churn", "dev-1"]):
        with pytest.raises(SystemExit):
            cli.parse(typed)
        assert "the following arguments are required: --env" in capsys.readouterr().err


def test_a_mistake_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        cli.main(["evidence", "sohw", "churn", "1", "--env", "dev"])
    said = capsys.readouterr().err
    assert max(map(len, said.splitlines())) <= 60
    assert "Did you mean show?" in " ".join(said.split())
