"""``promobot``: the verbs, the one error boundary, the exit codes.

Exit codes: 0 done · 1 refused or failed, state as it was or put back · 2 usage · 3 a bug · 4 unconfirmed (all but
Slack) · 130 interrupted. Everything slow is imported by the verb that needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from bot.errors import Explained, LeaseLost
from bot.redaction import redact

DONE, FAILED, USAGE, BUG, UNCONFIRMED, INTERRUPTED = 0, 1, 2, 3, 4, 130

EPILOG = """\
exit codes:
  0 done · 1 refused or failed, state as it was or put back · 2 usage · 3 a bug
  4 unconfirmed (all but Slack) · 130 interrupted

Run it in a checkout of the repository that holds promotions/ and manifests/environments/, or say --root DIR.
Secrets come from the environment variables that the environment files name; `promobot doctor` tries them.
"""

COME_BACK = "Run the same command again, it goes on from there; `promobot doctor` says which system does not answer."


class Answer(NamedTuple):
    """What a verb came to: its result, the words for a person, the exit code."""

    result: Any
    text: str
    exit_code: int = DONE
    job: Callable[[Any], Any] | None = None
    """Given ``bot.render.job``, returns what GitHub Actions shows of it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    arguments = parse(argv)
    _die_politely()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no ✓ is no reason to fail
    # SDKs make very many objects while they are imported and hardly any garbage: looking for it costs a fifth of it.
    gc.set_threshold(100_000, 50, 50)
    # Pydantic would read the metadata of all that is installed, to find plugins: a twentieth of a second.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if not arguments.json and sys.stdout.isatty():
        from bot.operations.progress import show_on

        show_on(sys.stderr)
    _fit_the_terminal(arguments)
    try:
        answer: Answer = arguments.run(arguments)
        text = _json(answer) if arguments.json else answer.text
    except KeyboardInterrupt:
        print("\npromobot: interrupted; run the same command again to go on.", file=sys.stderr)
        _tell_the_job(lambda words: words.interrupted(_title(arguments)))
        return INTERRUPTED
    except (Exception, LeaseLost) as error:  # noqa: BLE001 - the one boundary: whoever asked gets an answer
        return _explain(error, arguments)
    _print(text)
    if answer.job is not None:
        _tell_the_job(answer.job)
    return answer.exit_code


def _fit_the_terminal(arguments: argparse.Namespace) -> None:
    """Have tables and long lines fit where somebody reads them; a file or a pipe gets them whole."""
    if arguments.json or not sys.stdout.isatty():
        return
    import shutil

    from bot.render.width import COLUMNS

    COLUMNS.set(shutil.get_terminal_size().columns)


def _tell_the_job(job: Callable[[Any], Any]) -> bool:
    """Have GitHub Actions show what ``job`` makes of ``bot.render.job``, where it runs this; whether it does."""
    if not (os.environ.get("GITHUB_ACTIONS") or os.environ.get("GITHUB_STEP_SUMMARY")):
        return False
    from bot.operations.job import annotates, tell
    from bot.render import job as words

    try:
        tell(job(words), say=_say)
    except Exception as error:  # noqa: BLE001 - the verb is over, and its exit code is what counts
        _say(words.summary_not_written(error))
        return False
    return annotates()


def _title(arguments: argparse.Namespace) -> str:
    where = getattr(arguments, "env", None)
    return f"promobot {arguments.verb}" + (f" in {where}" if isinstance(where, str) else "")


def _explain(error: Exception | LeaseLost, arguments: argparse.Namespace) -> int:
    from bot.errors import InvalidInput, Unavailable

    as_json = arguments.json
    error = _unless_an_extra_is_missing(error, arguments)
    if not isinstance(error, Explained):
        return _bug(error, arguments)
    next_step = error.next_step or (COME_BACK if isinstance(error, Unavailable) else "")
    mistakes = [(m.file, m.line, str(m)) for m in error.mistakes] if isinstance(error, InvalidInput) else []
    told = _tell_the_job(
        lambda words: words.failed(
            _title(arguments), str(error), state=error.state, next_step=next_step, mistakes=mistakes
        )
    )
    if as_json:
        _print(_json(Answer({"error": str(error), "state": error.state, "next_step": next_step}, "", FAILED)))
    elif not told:
        lines = [f"promobot: {error}", error.state, f"→ {next_step}" if next_step else ""]
        print(_folded(redact("\n  ".join(line for line in lines if line))), file=sys.stderr)
    return FAILED


def _unless_an_extra_is_missing(error: Exception | LeaseLost, arguments: argparse.Namespace) -> Exception | LeaseLost:
    """Return what a person must do, in place of an import that failed because an extra is not installed."""
    from bot import extras
    from bot.errors import Refused

    if not (package := extras.missing_package(error)):
        return error
    extra = extras.of_a_command(arguments.verb)
    return Refused(f"this command needs the package {package}", next_step=extras.install(extra))


def _bug(error: Exception, arguments: argparse.Namespace) -> int:
    import tempfile
    import traceback

    trace = redact("".join(traceback.format_exception(error)))
    with tempfile.NamedTemporaryFile("w", prefix="promobot-bug-", suffix=".txt", delete=False) as log:
        log.write(redact(f"promobot {' '.join(sys.argv[1:])}\nPython {sys.version}\n\n") + trace)
    said = f"this is a bug in promobot: {type(error).__name__}: {error}"
    told = _tell_the_job(lambda words: words.bug(_title(arguments), said, trace=trace))
    if arguments.json:
        _print(_json(Answer({"error": said, "log": log.name}, "", BUG)))
    elif not told:
        print(redact(f"promobot: {said}\n  Please report it with {log.name}"), file=sys.stderr)
    return BUG


def _print(text: str, *, colours: bool = False) -> bool:
    """Print it; say whether somebody reads on."""
    from bot.render import colour

    said = _folded(redact(text))
    if colours and colour.is_wanted(os.environ, on_a_terminal=sys.stdout.isatty()):
        said = colour.coloured(said)
    try:
        print(said, flush=True)
        return True
    except BrokenPipeError:
        # Nobody reads on, as behind `| head`; what is still in the buffer must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False


def _json(answer: Answer) -> str:
    import json

    document = _plain(answer.result)
    if isinstance(document, dict):
        document = {**document, "exit_code": answer.exit_code}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return the value as JSON knows it."""
    import dataclasses
    import math
    from datetime import datetime
    from pathlib import Path

    if hasattr(value, "model_dump"):
        return _plain(value.model_dump())
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _say(text: str) -> None:
    print(_folded(redact(text)), file=sys.stderr, flush=True)


def _folded(text: str) -> str:
    from bot.render.width import folded

    return folded(text)


def _die_politely() -> None:
    """Treat SIGTERM as Ctrl-C: what a verb began is cleaned up when a runner cancels the job."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


# --- verbs ---------------------------------------------------------------------------------------------------------


def _validate(arguments: argparse.Namespace) -> Answer:
    from bot.operations.validate import validate
    from bot.render import terminal

    found = validate(_root(arguments))
    return Answer(found, terminal.validated(found), found.exit_code)


def _once(arguments: argparse.Namespace, verb: Callable[[argparse.Namespace], Answer], *named: str) -> Answer:
    """Run the verb; with --request only if it was not done under this id already."""
    if not arguments.request:
        return verb(arguments)
    from bot.operations.requests import begin, finish
    from bot.render import terminal

    settings = _settings_of_the_way_back(arguments) if verb is _rollback else _settings(arguments)
    asked = {name: str(getattr(arguments, name) or "") for name in ("model", *named)}
    done = begin(settings, arguments.request, {"verb": verb.__name__.strip("_"), **asked})
    if done is not None:
        return _answer(arguments, done, terminal.done_before(arguments.request, done), done.exit_code)
    answer = verb(arguments)
    if answer.exit_code in (DONE, UNCONFIRMED):
        finish(settings, arguments.request, answer.text, answer.exit_code)
    return answer


def _answer(arguments: argparse.Namespace, done: Any, text: str, exit_code: int = DONE, url: str = "") -> Answer:
    """Return the answer of a verb of which a job says what the terminal says."""
    return Answer(done, text, exit_code, lambda job: job.said(text, exit_code, title=_title(arguments), url=url))


def _propose(arguments: argparse.Namespace) -> Answer:
    from bot.operations.propose import propose
    from bot.render import terminal

    done = propose(
        _settings(arguments), model=arguments.model, version=arguments.version, say=_say, asking=_asking(arguments)
    )
    return _answer(arguments, done, terminal.proposed(done), done.exit_code, url=done.url)


def _promote(arguments: argparse.Namespace) -> Answer:
    from bot import settings
    from bot.operations.promote import promote
    from bot.render import terminal

    target = _settings(arguments)
    name = arguments.source or target.promotes_from
    if name is None:
        from bot.errors import InvalidInput

        raise InvalidInput(f"{settings.path_of(target.environment)} has no promotes_from", key="--from")
    source = settings.load(_root(arguments), name)
    done = promote(
        source, target, model=arguments.model, version=arguments.version, say=_say, asking=_asking(arguments)
    )
    return _answer(arguments, done, terminal.proposed(done), done.exit_code, url=done.url)


def _check(arguments: argparse.Namespace) -> Answer:
    from bot.operations.check import check, check_queued, sum_up
    from bot.render import terminal

    root, number, head = _root(arguments), arguments.pull_request, arguments.head
    if arguments.check == "queued":
        queued = check_queued(root, base=arguments.base, head=head, say=_say)
        return Answer(queued, terminal.queued(queued), queued.exit_code)
    if arguments.check == "verdict":
        done = sum_up(root, pull_request=number, head=head, needs=arguments.needs, say=_say)
    else:
        done = check(root, arguments.check, pull_request=number, head=head, run=arguments.run_id, say=_say)
    return Answer(done, terminal.checked(done), done.exit_code, lambda job: job.checked(done))


def _recheck(arguments: argparse.Namespace) -> Answer:
    from bot.operations.recheck import recheck
    from bot.render import terminal

    done = recheck(_settings(arguments), model=arguments.model, say=_say)
    return _answer(arguments, done, terminal.rechecked(done), done.exit_code)


def _deploy(arguments: argparse.Namespace) -> Answer:
    from bot.operations.deploy import deploy
    from bot.render import terminal

    done = deploy(_settings_of_the_way_back(arguments), say=_say)
    return Answer(done, terminal.deployed(done), done.exit_code, lambda job: job.deployed([done]))


def _reconcile(arguments: argparse.Namespace) -> Answer:
    from bot.operations.reconcile import exit_code, reconcile
    from bot.render import terminal

    done = reconcile(_all_settings(arguments), say=_say)
    text = "\n\n".join(map(terminal.deployed, done))
    return Answer({"environments": done}, text, exit_code(done), lambda job: job.deployed(done))


def _cleanup(arguments: argparse.Namespace) -> Answer:
    from bot.operations.cleanup import cleanup
    from bot.render.cleanup import cleaned_up

    done = cleanup(_settings(arguments), dry_run=arguments.dry_run, say=_say)
    return Answer(done, cleaned_up(done), done.exit_code)


def _rollback(arguments: argparse.Namespace) -> Answer:
    from bot.operations.rollback import rollback

    done = rollback(
        _settings_of_the_way_back(arguments),
        model=arguments.model,
        to_version=arguments.to,
        now=arguments.now,
        reason=arguments.reason,
        by=arguments.by,
        say=_say,
        request=arguments.request or "",
        asking=_asking(arguments),
    )
    from bot.render import terminal  # until users are back, nothing is imported that only speaks

    return Answer(done, terminal.rolled_back(done), done.exit_code, lambda job: job.rolled_back(done))


def _retire(arguments: argparse.Namespace) -> Answer:
    from bot.operations.retire import retire
    from bot.render import terminal

    done = retire(
        _settings(arguments),
        model=arguments.model,
        reason=arguments.reason,
        by=arguments.by,
        say=_say,
        asking=_asking(arguments),
    )
    return _answer(arguments, done, terminal.retired(done), done.exit_code, url=done.url)


def _status(arguments: argparse.Namespace) -> Answer:
    from bot.operations.status import statuses
    from bot.render import terminal

    if arguments.watch is None:
        found = statuses(_all_settings_of_the_way_back(arguments))
        return Answer({"environments": found}, "\n\n".join(map(terminal.status, found)))
    try:
        # Settings are read anew each time, as the file may be corrected meanwhile.
        while _show(lambda: "\n\n".join(map(terminal.status, statuses(_all_settings_of_the_way_back(arguments))))):
            time.sleep(arguments.watch)
    except KeyboardInterrupt:
        pass
    return Answer(None, "")


def _show(look: Callable[[], str]) -> bool:
    """Show a look in the place of the one before; say whether somebody reads on. A fault is shown, too."""
    from datetime import UTC, datetime

    from bot.errors import PromobotError

    try:
        text = look()
    except PromobotError as error:
        text = f"{error}\n{error.state}".strip()
    clear = "\033[H\033[2J" if sys.stdout.isatty() else ""
    return _print(f"{clear}{text}\n\nlooked at {datetime.now(UTC):%H:%M:%S} UTC; Ctrl-C ends it\n", colours=True)


def _drift(arguments: argparse.Namespace) -> Answer:
    from bot.operations.drift import drift
    from bot.render import terminal

    found = [drift(settings) for settings in _all_settings_of_the_way_back(arguments)]
    code = DONE if all(environment.in_sync for environment in found) else FAILED
    text = "\n\n".join(map(terminal.drift, found))
    return Answer({"environments": found}, text, code, lambda job: job.differences(found))


def _history(arguments: argparse.Namespace) -> Answer:
    from bot.errors import InvalidInput
    from bot.operations.history import history, show
    from bot.render import terminal

    settings = _settings_of_the_way_back(arguments)
    if arguments.model == "show" and arguments.record:
        record = show(settings, arguments.record)
        return Answer(record, terminal.record_in_full(record))
    if arguments.record:
        raise InvalidInput(f"is one word too many; `promobot history show {arguments.record}`", key=arguments.record)
    found = history(settings, model=arguments.model, at=arguments.at, limit=arguments.limit)
    return Answer(found, terminal.history(found))


def _init(arguments: argparse.Namespace) -> Answer:
    from pathlib import Path

    from bot.operations.init import init
    from bot.render import terminal

    directory = Path(arguments.directory).resolve()
    done = init(
        directory,
        repository=arguments.repository,
        promobot=arguments.promobot,
        ref=arguments.ref,
        owners=arguments.owners,
        base=arguments.base,
        runners=arguments.runner,
        environments=arguments.environments,
    )
    return Answer(done, terminal.laid_out(done))


def _doctor(arguments: argparse.Namespace) -> Answer:
    from bot.operations.doctor import doctor
    from bot.render import terminal

    found = doctor(_all_settings(arguments), init=arguments.init)
    code = max(diagnosis.exit_code for diagnosis in found)
    return Answer({"environments": found}, "\n\n".join(map(terminal.diagnosis, found)), code)


def _quarantine(arguments: argparse.Namespace) -> Answer:
    from bot.operations.quarantine import lift, list_quarantine, take_back
    from bot.render import terminal

    settings = _settings(arguments)
    named = [name for name in (arguments.digest, arguments.of_run, arguments.deployment) if name]
    if arguments.action == "list":
        found = list_quarantine(settings)
    elif len(named) != 1:
        from bot.errors import InvalidInput

        raise InvalidInput("name the digest to lift, or one --run or --deployment", key="DIGEST")
    elif arguments.digest:
        found = lift(settings, digest=arguments.digest, reason=arguments.reason, by=arguments.by)
    else:
        found = take_back(settings, of=named[0], reason=arguments.reason, by=arguments.by)
    return Answer(found, terminal.quarantine(found), found.exit_code)


def _evidence(arguments: argparse.Namespace) -> Answer:
    from bot.operations.evidence import list_evidence, revoke, show
    from bot.render import terminal

    settings = _settings(arguments)
    if arguments.action == "list":
        found = list_evidence(settings, model=arguments.model)
        return Answer(found, terminal.evidence(found))
    if not (arguments.model and arguments.version):
        from bot.errors import InvalidInput

        raise InvalidInput("name the model, and a version or the beginning of a digest", key="MODEL VERSION")
    if arguments.action == "show":
        found = show(settings, model=arguments.model, which=arguments.version)
        return Answer(found, terminal.evidence_in_full(found))
    found = revoke(settings, model=arguments.model, which=arguments.version, reason=arguments.reason, by=arguments.by)
    return Answer(found, terminal.revoked(found))


def _slack(arguments: argparse.Namespace) -> Answer:
    from pathlib import Path

    from bot.slack.service import SlackService, log_to_stderr

    log_to_stderr()
    state = Path(arguments.state).resolve() if arguments.state else None
    service = SlackService(
        _root(arguments),
        environments=tuple(arguments.env or ()),
        state=state,
        follow_seconds=arguments.follow,
        drift_seconds=arguments.drift,
    )
    if arguments.once:
        service.worker.once()
    elif arguments.socket:
        service.serve_socket()
    elif not service.serve(host=arguments.host, port=arguments.http):
        return Answer({"stopped": False}, "the service did not start", FAILED)
    return Answer({"stopped": True}, "stopped")


def _sandbox(arguments: argparse.Namespace) -> Answer:
    from bot.operations.sandbox import down, up

    if arguments.action == "up":
        started = up(_directory(arguments), s3=arguments.s3, like=arguments.like, say=_say)
        return Answer(started.endpoints, started.table)
    stopped = down(_directory(arguments))
    return Answer({"stopped": stopped}, f"stopped: {', '.join(stopped) or 'nothing was running'}")


def _demo(arguments: argparse.Namespace) -> Answer:
    from bot.operations.sandbox import demo

    told = demo(keep=arguments.keep, directory=_directory(arguments) if arguments.dir else None, say=_say)
    return Answer(told, told.text, told.exit_code)


def _proof(arguments: argparse.Namespace) -> Answer:
    from bot.operations.sandbox import proof
    from bot.render.proof import written

    command = f"promobot proof --out {arguments.out}" + (" --airflow" if arguments.airflow else "")
    made = proof(_path(arguments.out), command=command, airflow=arguments.airflow, say=_say)
    return Answer(made, written(made, arguments.out))


# --- arguments -----------------------------------------------------------------------------------------------------


def _root(arguments: argparse.Namespace) -> Any:
    from pathlib import Path

    # Not resolved: whoever keeps a checkout up to date may do so by flipping a link, under a service that runs.
    return _from_here(Path(arguments.root).absolute)


def _directory(arguments: argparse.Namespace) -> Any:
    return _path(arguments.dir)


def _path(text: str) -> Any:
    from pathlib import Path

    return _from_here(Path(text).resolve)


def _from_here(path: Callable[[], Any]) -> Any:
    try:
        return path()
    except FileNotFoundError as error:
        from bot.errors import Refused

        raise Refused(
            "the folder that this was started in is gone",
            state="Nothing was changed.",
            next_step="Go to a folder that exists, such as a checkout, and run the same command there.",
        ) from error


def _asking(arguments: argparse.Namespace) -> Any:
    from bot.operations.proposing import Asking
    from bot.records.ledger import Proposer

    # In a workflow this is who started it. Elsewhere it is a person with a token, whom GitHub names as the author.
    return Asking(Proposer(github=os.environ.get("GITHUB_ACTOR", "")), replace=arguments.replace)


def _settings(arguments: argparse.Namespace) -> Any:
    from bot import settings

    return settings.load(_root(arguments), arguments.env)


def _settings_of_the_way_back(arguments: argparse.Namespace) -> Any:
    from bot import settings

    return settings.load_for_the_way_back(_root(arguments), arguments.env)


def _all_settings(arguments: argparse.Namespace) -> list[Any]:
    from bot import settings

    root = _root(arguments)
    return [settings.load(root, name) for name in ([arguments.env] if arguments.env else settings.environments(root))]


def _all_settings_of_the_way_back(arguments: argparse.Namespace) -> list[Any]:
    """For those who only look: a mistake in one part must not hide how users are."""
    from bot import settings

    root = _root(arguments)
    names = [arguments.env] if arguments.env else settings.environments(root)
    return [settings.load_for_the_way_back(root, name) for name in names]


def _model(text: str) -> str:
    from bot.domain.names import check_model_name

    try:
        return check_model_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _version(text: str) -> int:
    from bot.domain.names import MAX_VERSION

    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_VERSION:
        raise argparse.ArgumentTypeError(f"{text!r} is no version: a whole number from 1 to {MAX_VERSION}")
    return int(text)


def _seconds(text: str) -> float:
    import math

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not (seconds > 0 and math.isfinite(seconds)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _seconds_or_never(text: str) -> float:
    return 0.0 if text == "0" else _seconds(text)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no port: a whole number from 1 to 65535")
    return int(text)


def _request(text: str) -> str:
    from bot.domain.names import check_request_id

    try:
        return check_request_id(text) if text else ""  # a workflow passes on an input that was left empty
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _repository(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no repository: owner/name")
    return text


def _owners(text: str) -> str:
    if not re.fullmatch(r"@[A-Za-z0-9][A-Za-z0-9-]*(/[A-Za-z0-9._-]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no owner: @person or @organisation/team")
    return text


def _branch(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_./-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a branch")
    return text


def _runners(text: str) -> tuple[str, str]:
    labels = text.split(",")
    if len(labels) > 2 or not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", label) for label in labels):
        raise argparse.ArgumentTypeError(f"{text!r} is not one label, or two with a comma between them")
    return labels[0], labels[-1]


def _environments(text: str) -> tuple[str, ...]:
    from bot.domain.names import check_environment_name

    names = tuple(text.split(","))
    try:
        for name in names:
            check_environment_name(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names an environment twice")
    return names


def _sha(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise argparse.ArgumentTypeError(f"{text!r:.80} is no commit: 40 hexadecimal digits")
    return text


def _needs(text: str) -> dict[str, str]:
    import json

    try:
        return {job: str(outcome["result"]) for job, outcome in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise argparse.ArgumentTypeError("is not GitHub's `needs` context as JSON") from error


def _time(text: str) -> Any:
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time, as in 2026-11-22T14:00:00+01:00") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class _Version(argparse.Action):
    """Looked up when somebody asks: reading what is installed takes longer than the rest of the parser."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"promobot {version('promobot')}")
        parser.exit()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; end with exit code 2 where it is a mistake."""
    parser = _parser()
    typed = list(sys.argv[1:] if argv is None else argv)
    if typed and not typed[0].startswith("-") and typed[0] not in parser.verbs:
        from bot.domain.nearest import did_you_mean

        meant = did_you_mean(typed[0], parser.verbs)
        parser.error(f"there is no verb {typed[0]!r:.80}. {meant}`promobot --help` lists them")
    arguments = parser.parse_args(typed)
    # Of `--reason=--` argparse leaves no value at all, where a text is meant.
    for name, value in vars(arguments).items():
        if value == []:
            parser.error(f"argument --{name.replace('_', '-')}: expected one argument")
    if getattr(arguments, "watch", None) is not None and arguments.json:
        parser.error("argument --watch: not allowed with argument --json")
    if "check" in arguments:
        needed = ("base", "head") if arguments.check == "queued" else ("pull_request",)
        if missing := [name for name in needed if getattr(arguments, name) is None]:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
            parser.error(f"the following arguments are required: {flags}")
    return arguments


class _Parser(argparse.ArgumentParser):
    """What reads a command line."""

    verbs: list[str]
    """Those that it knows, as they are listed."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2. A job of GitHub Actions gets its inputs from people, and shows them what is wrong."""
        if wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            from bot.domain.nearest import did_you_mean

            meant = did_you_mean(wrong[1], [word.strip(" '") for word in wrong[2].split(",")])
            message = f"{message}. {meant}".rstrip() if meant else message
        step = f"`{self.prog} --help` lists what it takes."
        _tell_the_job(lambda words: words.failed(self.prog, message, state="Nothing was changed.", next_step=step))
        super().error(message)


def _parser() -> _Parser:
    parser = _Parser(
        prog="promobot",
        description="Git says which model each environment serves; promobot makes it so, proves it, or puts it back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    parser.verbs = []

    def verb(name: str, run: Callable[[argparse.Namespace], Answer], says: str) -> argparse.ArgumentParser:
        parser.verbs.append(name)
        added = verbs.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")
        added.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else")
        added.add_argument("--root", default=".", metavar="DIR", help="the checkout to work in (default: here)")
        added.set_defaults(run=run, verb=name)
        return added

    def environment(added: argparse.ArgumentParser, *, required: bool = True) -> None:
        note = "" if required else " (default: all)"
        added.add_argument("--env", required=required, metavar="ENV", help=f"the environment{note}")

    def request(added: argparse.ArgumentParser, *named: str) -> None:
        note = "an id of your own: asked again with the same one, it is done once"
        added.add_argument("--request", type=_request, metavar="ID", help=note)
        run = added.get_default("run")
        added.set_defaults(run=lambda arguments: _once(arguments, run, *named))

    def replace(added: argparse.ArgumentParser) -> None:
        note = "drop commits of people that are on the bot's branch; a comment names them (default: stop)"
        added.add_argument("--replace", action="store_true", help=note)

    by = os.environ.get("GITHUB_ACTOR") or os.environ.get("USER", "")

    added = verb("propose", _propose, "propose a registered version to an environment, by a pull request")
    added.add_argument("model", type=_model)
    added.add_argument("version", type=_version)
    environment(added)
    replace(added)
    request(added, "version")

    added = verb("promote", _promote, "carry the digest that one environment has verified to the next")
    added.add_argument("model", type=_model)
    added.add_argument("--from", dest="source", metavar="ENV", help="where it is verified (default: promotes_from)")
    added.add_argument("--to", dest="env", required=True, metavar="ENV", help="where to propose it")
    added.add_argument("--version", type=_version, help="refuse if another version is in service there")
    replace(added)
    request(added, "source", "version")

    added = verb("check", _check, "run one check of a pull request, sum them up, or look at a merge group")
    added.add_argument("check", choices=["ready", "triton", "smoke", "verdict", "queued"])
    added.add_argument("--pull-request", type=_version, metavar="N")
    added.add_argument("--head", type=_sha, metavar="SHA", help="refuse if the pull request is at another commit")
    added.add_argument("--base", type=_sha, metavar="SHA", help="queued: what the merge group is built on")
    run = f"{os.environ.get('GITHUB_RUN_ID', str(os.getpid()))}.{os.environ.get('GITHUB_RUN_ATTEMPT', '1')}"
    added.add_argument("--run-id", default=run, help="tells runs apart (default: that of GitHub Actions)")
    added.add_argument("--needs", type=_needs, default={}, metavar="JSON", help="verdict: GitHub's `needs` context")

    added = verb("recheck", _recheck, "run the checks of what main says already, where a deployment is held for them")
    added.add_argument("model", type=_model)
    environment(added)

    added = verb("deploy", _deploy, "make what is served equal to the head of main, and prove it")
    environment(added)

    added = verb("rollback", _rollback, "open the revert pull request to the last verified version")
    added.add_argument("model", type=_model)
    environment(added)
    added.add_argument("--to", type=_version, metavar="VERSION", help="a verified version (default: the last one)")
    added.add_argument("--now", action="store_true", help="put the runtime back first, before the merge")
    replace(added)
    request(added, "to", "now")
    added.add_argument("--reason", default="", help="why; the pull request says it")
    added.add_argument("--by", default=by, help=argparse.SUPPRESS)

    added = verb("retire", _retire, "open the pull request that takes a model out of service")
    added.add_argument("model", type=_model)
    environment(added)
    replace(added)
    added.add_argument("--reason", required=True, help="why; the file and the pull request say it")
    added.add_argument("--by", default=by, help=argparse.SUPPRESS)

    added = verb("status", _status, "show what is desired and what is live everywhere, and what to type next")
    environment(added, required=False)
    added.add_argument(
        "--watch",
        type=_seconds,
        nargs="?",
        const=5.0,
        metavar="SECONDS",
        help="look again and again, every 5 seconds if not said; not with --json",
    )

    added = verb("drift", _drift, "like status, with every byte, answer and alias; exit code 1 if anything differs")
    environment(added, required=False)

    added = verb("reconcile", _reconcile, "put right what drift finds, by deploy's own path")
    environment(added, required=False)

    added = verb(
        "history", _history, "show what was deployed, one deployment whole, or what was in service at a time"
    )
    added.add_argument("model", type=_model, nargs="?", help="a model; or `show`, and one deployment's id behind it")
    added.add_argument("record", nargs="?", metavar="RECORD", help="show: the deployment, as dev-00000012-churn")
    environment(added)
    added.add_argument(
        "--at", type=_time, metavar="TIME", help="what was in service then (ISO 8601, UTC if not said)"
    )
    added.add_argument("--limit", type=_version, default=50, metavar="N", help="how many deployments (default 50)")

    added = verb("quarantine", _quarantine, "list the digests that failed here, or allow one again")
    added.add_argument("action", choices=["list", "lift"])
    added.add_argument("digest", nargs="?", metavar="DIGEST", help="lift: the digest, or its beginning")
    added.add_argument(
        "--run",
        dest="of_run",
        default="",
        metavar="RUN",
        help="lift: all that a run blamed, as dev-00000012; closes its reverts",
    )
    added.add_argument(
        "--deployment", default="", metavar="ID", help="lift: what one deployment blamed, as dev-00000012-churn"
    )
    environment(added)
    added.add_argument("--reason", default="", help="why it is lifted")
    added.add_argument("--by", default=by, help=argparse.SUPPRESS)

    added = verb("evidence", _evidence, "list what the checks found, show it in full, or take it back")
    added.add_argument("action", choices=["list", "show", "revoke"])
    added.add_argument("model", type=_model, nargs="?")
    added.add_argument(
        "version", nargs="?", metavar="VERSION", help="show, revoke: the version, or the beginning of its digest"
    )
    environment(added)
    added.add_argument("--reason", default="", help="revoke: why; those who are held by it read this")
    added.add_argument("--by", default=by, help=argparse.SUPPRESS)

    added = verb("cleanup", _cleanup, "unload and remove what no route, no way back and no Triton needs any more")
    environment(added)
    added.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")

    added = verb("validate", _validate, "read all files of desired state and settings, and name every mistake")

    added = verb(
        "init", _init, "lay out a repository of promotions that calls the bot's workflows; overwrites nothing"
    )
    added.add_argument("directory", metavar="DIR")
    added.add_argument(
        "--repository", type=_repository, required=True, metavar="OWNER/NAME", help="the new repository"
    )
    added.add_argument("--promobot", type=_repository, required=True, metavar="OWNER/NAME", help="where the bot is")
    added.add_argument("--ref", type=_sha, required=True, metavar="SHA", help="the bot's commit to call")
    added.add_argument(
        "--owners", type=_owners, required=True, metavar="@ORG/TEAM", help="who owns .github, manifests"
    )
    added.add_argument(
        "--base", type=_branch, default="main", metavar="BRANCH", help="whose head is desired state (default: main)"
    )
    added.add_argument(
        "--runner",
        type=_runners,
        default=("promobot-checks", "promobot-deploy"),
        metavar="LABEL[,LABEL]",
        help="labels of the runners for checks and for everything else; one label: for both "
        "(default: promobot-checks,promobot-deploy)",
    )
    added.add_argument(
        "--environments",
        type=_environments,
        default=("dev", "prod"),
        metavar="ENV[,ENV…]",
        help="in the order in which a version goes through them (default: dev,prod)",
    )

    added = verb("doctor", _doctor, "try on every system what a deployment does there, and name what would fail")
    environment(added, required=False)
    added.add_argument(
        "--init",
        action="store_true",
        help="first mark the record store and the shares, where they are new and mounted",
    )

    added = verb("slack", _slack, "serve slash commands, buttons and forms, and keep each promotion's message")
    added.add_argument("--env", action="append", metavar="ENV", help="an environment; again for more (default: all)")
    how = added.add_mutually_exclusive_group(required=True)
    how.add_argument("--http", type=_port, metavar="PORT", help="take what Slack sends to /slack/events")
    how.add_argument("--socket", action="store_true", help="connect to Slack by Socket Mode; nothing listens")
    how.add_argument("--once", action="store_true", help="do what is in the inbox, and return")
    added.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="with --http (default: 127.0.0.1)")
    added.add_argument(
        "--state", metavar="DIR", help="where the inbox is, shared by replicas (default: slack/ in the record store)"
    )

    added.add_argument(
        "--follow",
        type=_seconds,
        default=15.0,
        metavar="SECONDS",
        help="how often promotions' messages are brought up to date, besides after each command (default: 15)",
    )

    added.add_argument(
        "--drift",
        type=_seconds_or_never,
        default=3_600.0,
        metavar="SECONDS",
        help="how often to look as deep as `promobot drift` for what waits for somebody; 0: never (default: 3600)",
    )

    added = verb("sandbox", _sandbox, "start or stop the whole platform on this machine")
    added.add_argument("action", choices=["up", "down"])
    added.add_argument(
        "--dir", required=True, metavar="DIR", help="where it keeps everything; endpoints.json is there"
    )
    added.add_argument(
        "--s3", action="store_true", help="up: object storage, with records and MLflow's artifacts in it"
    )
    added.add_argument(
        "--like",
        default="",
        metavar="NAME",
        help="up: be like a world that people have; an unknown name lists them",
    )

    added = verb(
        "demo", _demo, "tell the whole story in a sandbox of its own: train, propose, check, merge, roll back"
    )
    added.add_argument("--keep", action="store_true", help="leave the sandbox running")
    added.add_argument(
        "--dir", metavar="DIR", help="where the sandbox keeps everything (default: a temporary folder)"
    )

    added = verb("proof", _proof, "tell the story, and write down what it left behind on every system")
    added.add_argument("--out", required=True, metavar="DIR", help="the folder for the pages and proof.json")
    added.add_argument(
        "--airflow",
        action="store_true",
        help="with a real Airflow at the end, installed first: minutes more",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
