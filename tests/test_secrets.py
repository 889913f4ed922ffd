"""Two environments, each with servers and secrets of its own: who receives what, and what is ever seen of it."""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import grpc
import pytest
import stamina
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot import cli, commands, logs
from bot.domain.message import Message
from bot.errors import InvalidInput, Rejected
from bot.gateway.__main__ import main as gateway_main
from bot.gateway.settings import GatewaySettings
from bot.operations import job
from bot.records.directory import RecordStore
from bot.records.ledger import Ledger
from bot.redaction import keep, redact
from bot.settings import GitHub, Slack
from bot.slack.inbox import Answer, Inbox
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository
from bot.systems.slack import Posted, SlackChannel
from bot.training import end_run
from tests.domain.entries import release
from tests.stand_ins.server import Seen, StandIn, answer
from tests.stores import begin_share

PROJECT = Path(__file__).parents[1]
NAMES = ("dev", "prod")
HTTP = ("mlflow", "github", "git", "slack", "gateway", "records", "artifacts")


def canary(environment: str, what: str) -> str:
    """Return a secret with characters that each way of writing writes in its own way."""
    return f"kanarie/{environment}+{what}=4711"


SECRETS = {
    "mlflow.token_env": "mlflow",
    "github.token_env": "git-and-github",
    "slack.token_env": "slack-bot",
    "slack.signing_secret_env": "slack-signing",
    "slack.app_token_env": "slack-app",
    "reload_token_env": "reload",
    "tritons.control_key_env": "triton",
    "staging.triton.control_key_env": "staging",
    "records.s3.access_key_id_env": "records-id",
    "records.s3.secret_access_key_env": "records-key",
    "records.s3.session_token_env": "records-session",
    "mlflow.s3.access_key_id_env": "artifacts-id",
    "mlflow.s3.secret_access_key_env": "artifacts-key",
    "mlflow.s3.session_token_env": "artifacts-session",
}
"""Each secret that an environment file can name, and what it is called here."""

MAY_RECEIVE = {
    "mlflow": {"mlflow"},
    "github": {"git-and-github"},
    "git": {"git-and-github"},
    "slack": {"slack-bot"},
    "gateway": {"reload"},
    "records": {"records-id", "records-session"},
    "artifacts": {"artifacts-id", "artifacts-session"},
    "triton": {"triton"},
    "staging": {"staging"},
}


def variable(environment: str, what: str) -> str:
    """Return a name that does not say that it holds a secret."""
    return f"{environment}_{what}".upper().replace("-", "_") + "_HERE"


def in_every_form(text: str) -> set[str]:
    """Return what a secret looks like to whoever looks for it, also inside of something else in base64."""
    content = text.encode()
    inside = [base64.b64encode(b"\0" * n + content).decode()[4:-4] for n in range(3)]
    quoted = quote(text, safe="")
    return {
        *(text, quoted, quoted.lower(), json.dumps(text)[1:-1].replace("/", "\\/")),
        *(form.translate(table) for form in inside for table in ({}, str.maketrans("+/", "-_"))),
    }


class Triton:
    """Records the metadata of each call. It refuses it with these words, or answers with an empty message."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.refuses = True
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((_Calls(self),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait(10)


class _Calls(grpc.GenericRpcHandler):  # type: ignore[misc, unused-ignore]
    def __init__(self, triton: Triton) -> None:
        self._triton = triton

    def service(self, details: Any) -> Any:
        said = " ".join(f"{name}: {value}" for name, value in details.invocation_metadata)
        self._triton.seen.append(said)

        def answers(_: bytes, context: Any) -> bytes:
            if self._triton.refuses:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, f"who are you? {said}")
            return b""

        return grpc.unary_unary_rpc_method_handler(answers)


@dataclass
class Place:
    """The servers of one environment."""

    name: str
    http: dict[str, StandIn]
    tritons: dict[str, Triton]

    def received(self) -> dict[str, str]:
        """Return everything that each server was sent, with what is in base64 read."""
        heard = {name: " ".join(map(_readable, server.seen)) for name, server in self.http.items()}
        return heard | {name: " ".join(triton.seen) for name, triton in self.tritons.items()}


def _readable(seen: Seen) -> str:
    kind, _, value = seen.headers.get("authorization", "").partition(" ")
    basic = base64.b64decode(value).decode() if kind == "Basic" else ""
    return f"{seen.method} {seen.path} {seen.headers} {seen.body!r} {basic}"


def echo(status: int) -> Callable[[Seen], bytes]:
    """Fail, and quote the request in the error in several ways, as debugging proxies do."""

    def behave(seen: Seen) -> bytes:
        headers = "; ".join(f"{name}: {value}" for name, value in seen.headers.items())
        held = [headers]
        for value in seen.headers.values():
            kind, _, token = value.partition(" ")
            token = base64.b64decode(token).decode().partition(":")[2] if kind == "Basic" else token
            if token:
                encoded = base64.b64encode(token.encode()).decode()
                held += [
                    token,
                    quote(token, safe=""),
                    encoded,
                    base64.urlsafe_b64encode(b"u:" + token.encode()).decode(),
                ]
        # The secrets first, for texts are cut.
        said = " ".join([*held[1:], held[0]])
        if "auth.test" in seen.path or "/api/chat" in seen.path or "/api/conv" in seen.path:
            return answer(200, {"ok": False, "error": said})
        if "/api/2.0/" in seen.path:
            return answer(status, {"error_code": "PERMISSION_DENIED", "message": said})
        if seen.headers.get("authorization", "").startswith("AWS4"):
            xml = f"<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>"
            return answer(status, xml.encode(), headers={"Content-Type": "application/xml"})
        if "graphql" in seen.path or "/repos/" in seen.path:
            return answer(status, {"message": said, "errors": [{"message": said}]})
        return answer(status, said.encode())

    return behave


@dataclass
class Ground:
    """A checkout with two environments, and what was said there."""

    root: Path
    places: dict[str, Place]
    out: list[str] = field(default_factory=list)

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> int:
        try:
            code = cli.main([arguments[0], "--root", str(self.root), *arguments[1:]])
        except SystemExit as ended:  # how argparse refuses
            code = int(ended.code or 0)
        said = capsys.readouterr()
        self.out.append(f"$ {' '.join(arguments)}\n{said.out}\n{said.err}")
        return code

    def everything(self) -> Iterator[tuple[str, str]]:
        """Yield all that anybody could read: what was said, and every file that was written."""
        yield from ((text.splitlines()[0], text) for text in self.out)
        for path in self.root.parent.rglob("*"):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes().decode(errors="replace")


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    for name in list(os.environ):
        if name.startswith(("MLFLOW_TRACKING", "AWS_", "GITHUB_TOKEN", "SLACK_")):
            monkeypatch.delenv(name)
    root = tmp_path / "checkout"
    with ExitStack() as opened, stamina.set_testing(True, attempts=3, cap=True):
        places = {}
        for name in NAMES:
            http = {what: opened.enter_context(StandIn()) for what in HTTP}
            tritons = {"triton": Triton(), "staging": Triton()}
            for triton in tritons.values():
                opened.callback(triton.close)
            places[name] = Place(name, http, tritons)
            for what in SECRETS.values():
                monkeypatch.setenv(variable(name, what), f"{canary(name, what)}\n")
            _write(root, name, _settings(places[name], tmp_path))
        tensor = {"name": "x", "datatype": "INT64", "shape": [1], "data": [1]}
        case = {"format": 1, "why": "because", "by": "anna", "inputs": [tensor], "must": [tensor]}
        (root / "cases" / "churn").mkdir(parents=True)
        (root / "cases" / "churn" / "law.json").write_text(json.dumps(case))
        yield Ground(root, places)
    signal.signal(signal.SIGTERM, before)


def _write(root: Path, name: str, document: dict[str, Any]) -> None:
    for path, text in (
        (f"manifests/environments/{name}.yaml", yaml.safe_dump(document)),
        (f"promotions/{name}.yaml", f"environment: {name}\nmodels: {{}}\n\nshadow: {{}}\n"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def _settings(place: Place, folder: Path) -> dict[str, Any]:
    urls = {name: server.url for name, server in place.http.items()}
    share = {
        kind: {
            "model_repository": f"{folder}/{place.name}/{kind}/models",
            "state": f"{folder}/{place.name}/{kind}/bot",
        }
        for kind in ("share", "staging")
    }
    settings: dict[str, Any] = {
        "environment": place.name,
        "github": {"repository": "acme/models", "server_url": urls["git"], "api_url": urls["github"]},
        "mlflow": {"uri": urls["mlflow"], "s3": {"endpoint": urls["artifacts"]}},
        "staging": {
            "triton": {"name": "staging", "grpc": f"127.0.0.1:{place.tritons['staging'].port}"},
            "share": share["staging"],
        },
        "share": share["share"],
        "tritons": [{"name": "triton", "grpc": f"127.0.0.1:{place.tritons['triton'].port}"}],
        "gateways": [{"name": "gateway", "url": urls["gateway"]}],
        "records": {"s3": {"bucket": "mlops", "endpoint": urls["records"]}},
        "slack": {"channel": "C0RELEASES", "api_url": f"{urls['slack']}/api"},
        "evaluation": {"churn": {"digest": f"sha256:{2:064x}", "from": "runs:/0123/evaluation"}},
        "gates": {"churn": {"on_miss": "shadow", "metrics": {"accuracy": {"minimum": 0.9, "max_regression": 0.01}}}},
        "deadlines": {"request_seconds": 5, "turn_seconds": 1, "ready_seconds": 1},
    }
    if place.name == "prod":
        settings["promotes_from"] = "dev"
    for path, what in SECRETS.items():
        part: Any = settings
        *above, last = path.split(".")
        for name in above:
            part = part[name][0] if isinstance(part[name], list) else part[name]
        part[last] = variable(place.name, what)
    return settings


def serving(place: Place) -> None:
    """Have the servers of an environment answer well enough that all of them are asked."""
    version = {"name": "churn", "version": "1", "status": "READY", "source": "s3://models/churn"}
    place.http["mlflow"].answers(200, {"model_version": version, "model_versions": []})
    place.http["slack"].answers(200, {"ok": True, "user": "promobot", "team": "acme", "messages": []})
    routes = answer(200, {"environment": None, "generation": 0})
    place.http["gateway"].behaviour = lambda seen: routes if seen.path == "/routes" else answer(422)
    for name in ("github", "git", "records", "artifacts"):
        place.http[name].answers(403, b"")
    for triton in place.tritons.values():
        triton.refuses = False


# --- who receives what ---------------------------------------------------------------------------------------------


def test_each_server_receives_its_own_secrets_and_no_others(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ground.places.values():
        serving(place)
    before = dict(os.environ)
    ground.run(capsys, "doctor")
    ground.run(capsys, "status")
    for name in (*NAMES, *reversed(NAMES)):
        ground.run(capsys, "propose", "churn", "1", "--env", name)
    ground.run(capsys, "promote", "churn", "--to", "prod")
    after = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    assert after == {name: value for name, value in before.items() if name != "PYDANTIC_DISABLE_PLUGINS"}

    everything = {(name, what) for name in NAMES for what in SECRETS.values()}
    for name, place in ground.places.items():
        for server, heard in place.received().items():
            got = {
                (owner, what)
                for owner, what in everything
                if any(form in heard for form in in_every_form(canary(owner, what)))
            }
            assert got == {(name, what) for what in MAY_RECEIVE[server]}, (name, server)


# --- what is seen of it --------------------------------------------------------------------------------------------

LOADED = f"sha256:{1:064x}@127.0.0.1:9/churn/1"
EVERY = (
    ("doctor",),
    ("doctor", "--json"),
    ("status",),
    ("status", "--json"),
    ("drift",),
    ("reconcile",),
    ("validate",),
    *(
        (*verb, "--env", name)
        for name in NAMES
        for verb in (
            ("propose", "churn", "1"),
            ("propose", "churn", "1", "--json"),
            ("deploy",),
            ("deploy", "--json"),
            ("watch", "--once"),
            ("rollback", "churn"),
            ("rehearse", "churn"),
            ("rollback", "churn", "--now", "--reason", "users complain"),
            ("history",),
            ("quarantine", "list"),
            ("quarantine", "lift", f"sha256:{7:064x}", "--reason", "by mistake"),
            ("evidence", "list", "churn"),
            ("evidence", "revoke", "churn", "1", "--reason", "by mistake"),
            ("evidence", "export", "churn", "1"),
            ("recheck", "churn"),
            ("bisect", "churn", "--case", "law"),
            ("explain", "0"),
            ("report",),
            ("shadow", "churn"),
            ("evaluate", "churn", "--part", "0", "--of", "2", "--answers", "answers", "--proposed", LOADED),
            ("retire", "churn", "--reason", "nobody asks it"),
            ("cleanup",),
        )
    ),
    ("promote", "churn", "--to", "prod"),
    *(
        ("check", check, "--pull-request", "1", "--run-id", "1.1")
        for check in ("ready", "triton", "smoke", "behaviour")
    ),
    ("check", "verdict", "--pull-request", "1", "--needs", "{}"),
    ("check", "queued", "--base", "0" * 40, "--head", "1" * 40),
)
NOT_HERE = {"adopt", "board", "package", "init", "slack", "sandbox", "demo", "proof"}
"""They ask no server by themselves: the service's verbs are those above, and adopt and package ask as MLflow's
clients do, and the board reads as `status` does. The Triton that package asks gets no secret.
"""


def test_every_verb_is_tried() -> None:
    assert {arguments[0] for arguments in EVERY} | NOT_HERE == set(commands.names())


@pytest.mark.parametrize("records", ["a directory", pytest.param("a bucket", marks=pytest.mark.slow)])
def test_servers_that_quote_requests_reveal_nothing(
    ground: Ground, capsys: pytest.CaptureFixture[str], records: str, tmp_path: Path
) -> None:
    logs.configure(logs.Chosen("info", "text"))
    for name, place in ground.places.items():
        for server in place.http.values():
            server.behaviour = echo(403)
        if records == "a directory":
            (tmp_path / name / "records").mkdir(parents=True)
            _write(ground.root, name, {**_settings(place, tmp_path), "records": f"{tmp_path}/{name}/records"})
    codes = {arguments: ground.run(capsys, *arguments) for arguments in EVERY}
    assert set(codes.values()) <= {0, 1}, {arguments: code for arguments, code in codes.items() if code not in (0, 1)}

    asked = {name for name, place in ground.places.items() for heard in place.received().values() if "4711" in heard}
    assert asked == set(NAMES), "the canaries were sent"
    shown = "\n".join(ground.out)
    assert shown.count("***") > 20 and "who are you?" in shown, "and quoted"
    forms = {
        form: f"{what} of {name}"
        for name in NAMES
        for what in SECRETS.values()
        for form in in_every_form(canary(name, what))
    }
    seen = {(where, forms[form]) for where, text in ground.everything() for form in forms if form in text}
    assert seen == set()


def test_an_apps_key_and_its_tokens_are_never_shown(
    ground: Ground, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    # As a variable holds it whose lines a form has joined.
    monkeypatch.setenv("DEV_APP_HERE", key.decode().replace("\n", "\\n"))
    dev = ground.places["dev"]
    settings = _settings(dev, tmp_path)
    settings["github"]["app"] = {"id": 7, "private_key_env": "DEV_APP_HERE"}
    _write(ground.root, "dev", settings)
    for server in dev.http.values():
        server.behaviour = echo(403)
    ground.run(capsys, "doctor", "--env", "dev")
    (signed, *_) = [seen.headers["authorization"].split()[1] for seen in dev.http["github"].seen]
    assert signed.count(".") == 2, "the key was understood"
    lines = [line for line in key.decode().splitlines() if "-----" not in line and len(line) >= 8]
    shown = ground.out[-1]
    assert "***" in shown and not [secret for secret in (signed, *lines) if secret in shown]


LEAVING = f"said {canary('dev', 'mlflow')} and so on"


def _github(url: str) -> GitHubRepository:
    settings = GitHub(repository="acme/models", server_url=url, api_url=url)
    return GitHubRepository(settings, token="t" * 20, request_seconds=5)


def _slack(url: str) -> SlackChannel:
    return SlackChannel(Slack(channel="C0RELEASES", api_url=f"{url}/api"), token="t" * 20, request_seconds=5)


MESSAGE = Message("key", LEAVING, ({"type": "section", "text": {"type": "mrkdwn", "text": LEAVING}},))
SENDS: dict[str, Callable[[str], object]] = {
    "a pull request": lambda url: _github(url).open_pull_request(branch="b", title=LEAVING, body=LEAVING),
    "its new text": lambda url: _github(url).update_pull_request(1, title=LEAVING, body=LEAVING),
    "a comment": lambda url: _github(url).comment(1, LEAVING),
    "the one comment": lambda url: _github(url).put_comment(1, LEAVING, marker="m"),
    "a review": lambda url: _github(url).approve(1, head="1" * 40, body=LEAVING),
    "a merge": lambda url: _github(url).merge(1, head="1" * 40, title=LEAVING),
    "a message": lambda url: _slack(url).deliver(MESSAGE),
    "a changed message": lambda url: _slack(url).put(MESSAGE, posted=Posted("1.0", {})),
    "an answer": lambda url: _slack(url).tell("U1", LEAVING, blocks=MESSAGE.blocks, channel="C1"),
    "an answer at its address": lambda url: _slack(url).tell("U1", LEAVING, blocks=MESSAGE.blocks, url=f"{url}/hook"),
    "a form": lambda url: _slack(url).open_form("t", {"title": {"text": LEAVING}}),
    "a changed form": lambda url: _slack(url).change_form("V1", {"title": {"text": LEAVING}}),
}


def as_github_and_slack(seen: Seen) -> bytes:
    """Answer as far as it takes until the text is sent."""
    user = {"login": "another"}
    pull = {"url": f"http://{seen.headers['host']}/repos/acme/models/pulls/1", "number": 1, "user": user}
    if seen.method == "GET":
        path = seen.path.partition("?")[0]
        listed = path.endswith(("/comments", "/reviews")) or "/rules/" in path
        return answer(200, [] if listed else {**pull, "sha": "1" * 40})
    if seen.path.endswith("graphql"):
        return answer(200, {"data": {"viewer": {"login": "me"}}})
    return answer(200, {"ok": True, "ts": "1.0", "messages": [{"ts": "1.0"}], "view": {"id": "V1"}})


@pytest.mark.parametrize("what", SENDS)
def test_what_is_sent_is_blanked(what: str, stand_in: StandIn) -> None:
    keep(canary("dev", "mlflow"))
    stand_in.behaviour = as_github_and_slack
    with contextlib.suppress(AttributeError, Rejected):  # what comes after it was sent is not looked at here
        SENDS[what](stand_in.url)
    sent = [
        unquote_plus(seen.body.decode())
        for seen in stand_in.seen
        if b"and so on" in seen.body or b"and+so" in seen.body
    ]
    assert sent and all("said *** and so on" in text for text in sent)
    assert not [
        seen for seen in stand_in.seen for form in in_every_form(canary("dev", "mlflow")) if form in str(seen)
    ]


def test_what_is_written_is_blanked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> None:
    keep(canary("dev", "mlflow"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    job.write_summary(LEAVING, say=pytest.fail)
    inbox = Inbox(tmp_path / "inbox")
    inbox.begin()
    inbox.decide("slack-1", Answer(text=LEAVING))
    share = begin_share(tmp_path / "share/models", tmp_path / "share/bot")
    share.outbox.put("one", LEAVING)
    records = RecordStore(tmp_path / "records")
    records.begin()
    ledger = Ledger(records, "dev")
    ledger.put_in_quarantine(release(7), reason=LEAVING, by="alex")
    with Repository(stand_in.url, token="t" * 20) as repository:
        tree = str(repository._repo.git.hash_object("-t", "tree", "-w", os.devnull))
        who = {f"GIT_{role}_{what}": "a" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        with repository._repo.git.custom_environment(**who):
            first = str(repository._repo.git.commit_tree(tree, "-m", "first"))
        made = repository.commit(first, {"a.txt": "a"}, message=LEAVING, author="a", email="a@example.com")
        assert repository._repo.git.log("-1", "--format=%B", made).strip() == "said *** and so on"
    texts = [path.read_text() for path in tmp_path.rglob("*") if path.is_file() and "locks" not in path.parts]
    assert sum("said *** and so on" in text for text in texts) == 4
    assert not [text for text in texts if "kanarie" in text]


def test_a_gateways_reload_token_is_cleaned_and_known() -> None:
    with_break = GatewaySettings(Path("routes.json"), ("http://127.0.0.1:1",), reload_token="kanarie-4711\n")
    assert with_break.reload_token == "kanarie-4711" and redact("kanarie-4711") == "***"
    with pytest.raises(ValueError, match="the reload token is in quotation marks") as failure:
        GatewaySettings(Path("routes.json"), ("http://127.0.0.1:1",), reload_token="'kanarie-4712'")
    assert "kanarie" not in str(failure.value)


def test_a_gateway_started_with_a_wrong_token_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMOBOT_RELOAD_TOKEN", "kanarie\n4711")
    with pytest.raises(SystemExit):
        gateway_main(["--routes", "routes.json", "--triton", "http://127.0.0.1:1"])
    said = capsys.readouterr().err
    assert "PROMOBOT_RELOAD_TOKEN has a line break inside" in said and "kanarie" not in said


def test_a_training_job_is_told_of_a_token_that_would_be_sent_with_its_line_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value, says in (("kanarie-4711\n", "white space around it"), ("'kanarie-4711'", "quotation marks")):
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", value)
        with pytest.raises(InvalidInput, match=f"MLFLOW_TRACKING_TOKEN: .*{says}") as failure:
            end_run("0" * 32, tracking_uri="http://127.0.0.1:1")
        assert "kanarie" not in str(failure.value)


# --- secrets that are not right ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "is not set"),
        ("  \n", "holds nothing but white space"),
        ("'kanarie-4711'", "is in quotation marks"),
        ("kanarie\n4711", "has a line break inside"),
        ("kanarie–4711", "not ASCII"),
    ],
)
def test_the_doctor_says_what_is_wrong_with_a_secret(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    serving(ground.places["dev"])
    names = [variable("dev", what) for what in ("mlflow", "slack-bot", "reload", "git-and-github", "triton")]
    names.append(variable("dev", "records-key"))
    for name in names:
        monkeypatch.setenv(name, value)
    ground.run(capsys, "doctor", "--env", "dev")
    (said,) = ground.out
    for name in names:
        assert re.search(rf"the environment variable {name} [^;]*{says}", said), (name, said)
    assert "anarie" not in said and "4711" not in said


def test_the_doctor_names_secrets_that_cannot_be_blanked(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving(ground.places["dev"])
    monkeypatch.setenv(variable("dev", "reload"), "s3cret")
    monkeypatch.setenv(variable("dev", "mlflow"), "promobot")
    ground.run(capsys, "doctor", "--env", "dev")
    said = ground.out[-1]
    assert f"{variable('dev', 'mlflow')}, {variable('dev', 'reload')}: shorter than 8 characters" in said
    assert "s3cret" not in said


# --- the source ----------------------------------------------------------------------------------------------------

SWITCHES = {
    ("bot/systems/mlflow/artifacts.py", "MLFLOW_DISABLE_TELEMETRY"),
    ("bot/systems/mlflow/artifacts.py", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"),
    ("bot/systems/triton/server.py", "GRPC_VERBOSITY"),
}
"""Constants without a secret, which a library reads when it is imported and cannot be told otherwise."""


def writes(source: str) -> list[str]:
    """Return each way in which the source changes the environment of its process: a switch's name, or the code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()) if _is_environment(value):
                found.append(ast.unparse(node))
            case ast.AugAssign(target=target) if _is_environment(target):
                found.append(ast.unparse(node))
            case ast.Call(
                func=ast.Attribute(value=value, attr="setdefault"), args=[ast.Constant(n), ast.Constant()]
            ) if _is_environment(value):
                found.append(str(n))
            case ast.Call(func=ast.Attribute(value=value, attr=method)) if _is_environment(value) and method in (
                *("setdefault", "update", "pop", "popitem", "clear", "__setitem__", "__delitem__"),
            ):
                found.append(ast.unparse(node))
            case ast.Call(func=ast.Attribute(attr="putenv" | "unsetenv")):
                found.append(ast.unparse(node))
            case ast.ImportFrom(module="os", names=names) if {n.name for n in names} & {"environ", "environb"}:
                found.append(ast.unparse(node))
    return found


def _is_environment(node: ast.expr) -> bool:
    return ast.unparse(node) in ("os.environ", "os.environb")


def test_nothing_in_the_bot_writes_to_the_environment() -> None:
    """What is there belongs to every client and to every process that is started.

    The sandbox is left out: its parts are processes of their own, which get their settings like this.
    """
    paths = (str(path.relative_to(PROJECT)) for path in (PROJECT / "bot").rglob("*.py"))
    files = [path for path in paths if not path.startswith("bot/sandbox/")]
    assert {(path, write) for path in files for write in writes((PROJECT / path).read_text())} == SWITCHES


@pytest.mark.parametrize(
    "source",
    [
        "os.environ['A'] = secret",
        "del os.environ['A']",
        "os.environ.update(A=secret)",
        "os.environ.setdefault('A', secret)",
        "os.environ |= {'A': secret}",
        "os.environ.pop('A')",
        "os.putenv('A', secret)",
        "from os import environ",
        "os.environb[b'A'] = secret",
    ],
)
def test_a_write_is_found(source: str) -> None:
    assert writes(source) and writes(source) != ["A"]
