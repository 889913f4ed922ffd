"""One way to trust a private authority: every system behind TLS, with a certificate of no public authority."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bot import trust
from bot.errors import OutsideError, PromobotError, Refused, Unavailable
from bot.sandbox import triton
from bot.sandbox.processes import Ports
from bot.sandbox.s3 import ObjectStorage
from bot.sandbox.tls import Authority, behind_tls
from bot.settings import GatewayEndpoint, GitHub, MLflow, Slack, Triton, Tritons
from bot.systems.gateway import Gateway
from bot.systems.git import Repository
from bot.systems.github import GitHubRepository
from bot.systems.slack import SlackChannel
from bot.systems.triton.server import TritonServer
from tests.gateway.gateways import TOKEN, gateway_process
from tests.records.test_record_stores import bucket_of
from tests.sandbox.forge.conftest import REPOSITORY, Clone, Server
from tests.servers import running
from tests.stand_ins.server import StandIn
from tests.stores import bucket_records, registry_of
from tests.systems.conftest import RealTriton

NAMED = (*trust.FILES, *trust.FOLDERS)
SECONDS = 20.0
"""A busy machine takes its time."""


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMED:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


# --- which authorities ---------------------------------------------------------------------------------------------


def holds(authority: Authority) -> bool:
    return ssl.PEM_cert_to_DER_cert(authority.file.read_text()) in trust.context().get_ca_certs(binary_form=True)


def test_without_a_variable_the_platforms_own_store_counts(authority: Authority) -> None:
    assert len(trust.context().get_ca_certs()) > 50
    assert not holds(authority)


@pytest.mark.parametrize("name", NAMED)
def test_whichever_variable_names_it_all_trust_it_and_the_platforms_own_still(
    name: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(trust.context().get_ca_certs())
    monkeypatch.setenv(name, str(authority.file.parent if name in trust.FOLDERS else authority.file))
    assert holds(authority)
    assert len(trust.context().get_ca_certs()) == before + 1


def test_two_variables_add_up_and_none_hides_another(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path, "another authority")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.file))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert holds(authority) and holds(other)


def test_a_certificate_that_is_replaced_is_seen_by_the_next_client(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    first = Authority(tmp_path, "before")
    bundle.write_bytes(first.file.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert holds(first)
    bundle.write_bytes(authority.file.read_bytes() + b"\n")  # a service runs longer than a certificate
    assert holds(authority)


def test_the_file_for_libraries_holds_what_the_context_trusts(trusted: None, authority: Authority) -> None:
    content = Path(trust.file()).read_bytes()
    assert content == trust.bundle() == Path(trust.file()).read_bytes()
    assert authority.file.read_bytes().strip() in content


def test_threads_that_ask_at_the_same_time_get_a_file_that_stays(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`doctor` tries all systems at once."""
    bundle, both = tmp_path / "ca.pem", threading.Barrier(2)
    bundle.write_bytes(authority.file.read_bytes())
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setattr(trust, "_files", {})
    made = tempfile.TemporaryFile

    def met() -> Any:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.3)  # for another thread that makes one as well
        return made()

    monkeypatch.setattr(tempfile, "TemporaryFile", met)
    with ThreadPoolExecutor(2) as pool:
        paths = [asked.result() for asked in [pool.submit(trust.file), pool.submit(trust.file)]]
    assert len(set(paths)) == 1
    assert Path(paths[0]).read_bytes() == trust.bundle()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "it holds no certificate in PEM"),
        (b"\x30\x82\x01\x0a", "it holds no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
    ],
)
def test_a_file_that_holds_no_certificate_is_named_and_not_passed_over(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(Refused, match=said) as refused:
        trust.context()
    assert "SSL_CERT_FILE" in f"{refused.value} {refused.value.next_step}"


def test_what_is_not_a_file_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(Refused, match="it is not a file"):
        trust.bundle()


def test_folders_that_are_not_there_and_other_files_in_them_are_passed_over(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.pem").write_text("no certificate")
    (tmp_path / "gone.pem").symlink_to(tmp_path / "nowhere")
    (tmp_path / "9d66eef0.0").symlink_to(authority.file)
    monkeypatch.setenv("SSL_CERT_DIR", f"/nonexistent:{tmp_path}")
    assert holds(authority)


# --- each system behind TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway_url(real: RealTriton, tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[str]:
    routes = tmp_path_factory.mktemp("gateway") / "routes.json"
    with gateway_process(routes, [real.url]) as process, behind_tls(port_of(process.url), certificate) as port:
        yield f"https://127.0.0.1:{port}"


def try_gateway(url: str) -> None:
    gateway = Gateway(GatewayEndpoint(name="gw-0", url=url), token=TOKEN, request_seconds=SECONDS)
    with contextlib.closing(gateway):
        gateway.try_token()


def test_a_gateway(gateway_url: str, trusted: None) -> None:
    try_gateway(gateway_url)


def test_mlflow(mlflow_uri: str, certificate: Path, trusted: None) -> None:
    with behind_tls(port_of(mlflow_uri), certificate) as port:
        registry = registry_of(MLflow(uri=f"https://localhost:{port}"), request_seconds=SECONDS)
        assert registry.ping() == "answers"


def test_github_and_git(forge: Server, person: Clone, certificate: Path, trusted: None) -> None:
    with behind_tls(port_of(forge.url), certificate) as port:
        url = f"https://localhost:{port}"
        settings = GitHub(repository=REPOSITORY, server_url=url, api_url=f"{url}/api/v3")
        assert GitHubRepository(settings, token="bot-token", request_seconds=SECONDS).login() == "promobot[bot]"
        with Repository(settings.clone_url, token="bot-token", stall_seconds=SECONDS) as git:
            assert len(git.head()) == 40


def test_records_in_a_bucket(
    object_storage: ObjectStorage, certificate: Path, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with behind_tls(object_storage.ports["s3"], certificate) as port:
        settings = bucket_of(object_storage, monkeypatch).model_copy(update={"endpoint": f"https://localhost:{port}"})
        store = bucket_records(settings, seconds=SECONDS)
        store.begin()
        store.put("deployments/dev/one.json", "{}")
        with pytest.raises(Refused):
            store.put("deployments/dev/one.json", "{}")
        assert store.check("dev").startswith("1 deployment records; existing ones cannot be overwritten")


@pytest.mark.parametrize("by_variable", [True, False], ids=["SSL_CERT_FILE", "one context"])
def test_slack(
    stand_in: StandIn, authority: Authority, certificate: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    """Python's own default reads SSL_CERT_FILE, too; only the context that all clients share trusts nobody else."""
    if by_variable:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    else:
        monkeypatch.setattr(trust, "context", lambda: ssl.create_default_context(cafile=str(authority.file)))
    stand_in.answers(200, {"ok": True, "user": "promobot", "team": "acme"})
    with behind_tls(stand_in.port, certificate) as port:
        settings = Slack(channel="C0RELEASES", api_url=f"https://localhost:{port}/api")
        channel = SlackChannel(settings, token="xoxb-1", request_seconds=SECONDS)
        assert channel.identity() == "promobot in acme"
        # The address at which one person is answered is another one of Slack's.
        channel.tell("U1", "seen by you only", url=f"https://localhost:{port}/commands/1")
    assert [seen.path for seen in stand_in.seen] == ["/api/auth.test", "/commands/1"]


def tritons(url: str, **more: object) -> TritonServer:
    named = Triton.model_validate({"name": "serving-0", "grpc": url, "grpc_tls": True, **more})
    return TritonServer(named, request_seconds=SECONDS)


def test_triton(real: RealTriton, certificate: Path, trusted: None) -> None:
    with (
        behind_tls(int(real.grpc.rpartition(":")[2]), certificate, alpn=["h2"]) as port,
        contextlib.closing(tritons(f"localhost:{port}")) as server,
    ):
        assert server.version()


@pytest.mark.slow
def test_triton_with_its_own_tls_that_asks_for_the_bots_certificate(
    authority: Authority,
    certificate: Path,
    trusted: None,
    tmp_path: Path,
    triton_environment: object,
) -> None:
    """Triton's own flags, and a certificate for a name that all its addresses share."""
    shared = authority.issue("triton.mlops.svc")
    own = authority.issue("promobot", client=True)
    (tmp_path / "models").mkdir()
    with Ports() as ports:
        part = triton.part(
            "triton",
            environment=triton_environment,  # type: ignore[arg-type]
            model_repository=tmp_path / "models",
            http_port=ports.take(),
            grpc_port=(grpc := ports.take()),
        )
        flags = (
            *("--grpc-use-ssl=true", "--grpc-use-ssl-mutual=true", f"--grpc-root-cert={authority.file}"),
            *(f"--grpc-server-cert={shared}", f"--grpc-server-key={shared}"),
        )
        part = type(part)(**{**vars(part), "command": (*part.command, *flags)})
        with running(tmp_path, part):
            behind = Tritons(
                name="triton",
                grpc=f"triton.mlops.svc:{grpc}",
                every_address=True,
                grpc_tls=True,
                grpc_client_certificate=str(own),
            ).at("127.0.0.1")
            with contextlib.closing(TritonServer(behind, request_seconds=SECONDS)) as server:
                assert server.version()
            without = behind.model_copy(update={"grpc_client_certificate": None})
            with (
                contextlib.closing(TritonServer(without, request_seconds=2)) as server,
                pytest.raises(Unavailable, match="triton-127"),
            ):
                server.version()


# --- and what is not trusted ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nobody_is_trusted_who_was_not_named(real: RealTriton, stand_in: StandIn, certificate: Path) -> None:
    """Each is told what to do; no request of theirs, with a token in it, arrives."""
    stand_in.answers(200, {})
    told: dict[str, PromobotError] = {}
    with (
        behind_tls(stand_in.port, certificate) as port,
        behind_tls(int(real.grpc.rpartition(":")[2]), certificate, alpn=["h2"]) as grpc,
    ):
        url = f"https://localhost:{port}"
        github = GitHub(repository=REPOSITORY, server_url=url, api_url=f"{url}/api/v3")
        slack = SlackChannel(Slack(channel="C0X", api_url=f"{url}/api"), token="xoxb-1", request_seconds=2)
        attempts = {
            "gateway": lambda: try_gateway(url),
            "mlflow": lambda: registry_of(MLflow(uri=url), request_seconds=2).ping(),
            "github": lambda: GitHubRepository(github, token="t", request_seconds=2).login(),
            "git": lambda: Repository(github.clone_url, token="t", stall_seconds=2).head(),
            "slack": slack.identity,
            "triton": lambda: tritons(f"127.0.0.1:{grpc}").version(),
        }
        for name, attempt in attempts.items():
            with pytest.raises(OutsideError) as refused:
                attempt()  # type: ignore[operator]
            told[name] = refused.value
    assert not stand_in.seen
    assert {name for name, error in told.items() if "SSL_CERT_FILE" not in error.next_step} == set(), {
        name: (str(error), error.next_step) for name, error in told.items()
    }


@pytest.mark.parametrize(
    ("settings", "says", "step"),
    [
        ({"grpc_tls": True, "to": "plain"}, trust.NO_TLS, "Leave out grpc_tls"),
        ({"grpc_tls": True, "to": "tls"}, trust.NOT_TRUSTED, "SSL_CERT_FILE"),
        ({"grpc_tls": False, "to": "tls"}, "it speaks TLS, and the settings say nothing", "Set grpc_tls: true"),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (
                (
                    {"grpc_tls": True, "to": "tls", "trusts": True, "grpc_tls_name": "x.acme"},
                    trust.NOT_ITS_NAME,
                    "grpc_tls_name",
                ),
                ({"grpc_tls": True, "to": "http"}, trust.NO_TLS, "Leave out grpc_tls"),
                ({"grpc_tls": True, "to": "nobody"}, "could not ask", "Is it up"),
                ({"grpc_tls": False, "to": "nobody"}, "could not ask", "Is it up"),
                ({"grpc_tls": False, "to": "mutual"}, "it speaks TLS, and the settings say nothing", "Set grpc_tls"),
                ({"grpc_tls": True, "to": "mutual", "trusts": True}, "could not ask", "grpc_client_certificate"),
            )
        ),
    ],
    ids=lambda value: value.get("to") if isinstance(value, dict) else "",
)
def test_why_a_tritons_tls_and_the_settings_do_not_fit_is_said(
    settings: dict[str, Any],
    says: str,
    step: str,
    real: RealTriton,
    authority: Authority,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to = settings.pop("to")
    if settings.pop("trusts", False):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    plain, clients = int(real.grpc.rpartition(":")[2]), authority.file if to == "mutual" else None
    with behind_tls(plain, certificate, alpn=["h2"], clients_of=clients) as secured:
        port = {"plain": plain, "http": port_of(real.url), "nobody": 1}.get(to, secured)
        named = Triton.model_validate({"name": "serving-0", "grpc": f"localhost:{port}", **settings})
        with (
            contextlib.closing(TritonServer(named, request_seconds=3)) as server,
            pytest.raises(Unavailable) as refused,
        ):
            server.version()
    assert says in str(refused.value) and step in refused.value.next_step, refused.value.next_step


def test_https_to_a_server_without_tls_is_not_taken_for_a_certificate(mlflow_uri: str) -> None:
    url = f"https://localhost:{port_of(mlflow_uri)}"
    gateway = Gateway(GatewayEndpoint(name="gw-0", url=url), token=TOKEN, request_seconds=1)
    github = GitHub(repository=REPOSITORY, server_url=url, api_url=f"{url}/api/v3")
    attempts = {
        "gateway": gateway.routes,
        "mlflow": lambda: registry_of(MLflow(uri=url), request_seconds=1).ping(),
        "github": lambda: GitHubRepository(github, token="t", request_seconds=1).login(),
        "git": lambda: Repository(github.clone_url, token="t", stall_seconds=1).head(),
    }
    for name, attempt in attempts.items():
        with pytest.raises(OutsideError) as refused:
            attempt()
        assert "It speaks no TLS at this address" in refused.value.next_step, (name, str(refused.value))


def test_grpc_writes_no_lines_of_its_own_about_handshakes(real: RealTriton) -> None:
    """In a process of its own: gRPC reads what it may write when it is imported."""
    asks = f"""
from bot.settings import Triton
from bot.systems.triton.server import TritonServer
server = TritonServer(Triton(name="x", grpc={real.grpc!r}, grpc_tls=True), request_seconds=2)
try:
    server.version()
except Exception as error:
    print(error)
"""
    # This process has imported it already, and set it for its children, too.
    bare = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    command = [sys.executable, "-c", asks]
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=True, timeout=120)
    assert trust.NO_TLS in done.stdout
    assert done.stderr == ""


def test_a_certificate_for_another_name_is_refused_and_said_to_be(
    stand_in: StandIn, authority: Authority, trusted: None
) -> None:
    elsewhere = authority.issue("elsewhere.example")
    with behind_tls(stand_in.port, elsewhere) as port, pytest.raises(Unavailable) as refused:
        try_gateway(f"https://localhost:{port}")
    assert "for other names" in refused.value.next_step
    assert not stand_in.seen


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"-----BEGIN CERTIFICATE-----", "does not hold a certificate and its key"),
    ],
)
def test_a_client_certificate_that_is_none_is_named(
    content: bytes | None, said: str, tmp_path: Path, trusted: None
) -> None:
    file = tmp_path / "client.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Refused, match=said):
        tritons("localhost:8001", grpc_client_certificate=str(file))
