"""A Triton as the manifests start it: the real one, with the very arguments, loaded with what the routes name."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from bot import environment_files
from bot.domain.marker import MARKER_FILE, Marker
from bot.domain.package import Package, PackageFile
from bot.domain.routes import Route, RouteTable, Target, generation_file
from bot.domain.smoke import Tensor
from bot.errors import Refused, Rejected
from bot.platform import Platform
from bot.sandbox import triton
from bot.sandbox.environments import Environment
from bot.sandbox.processes import Ports
from bot.settings import Triton
from bot.systems.triton.config import render_config
from bot.systems.triton.server import TritonServer
from tests.controls import control
from tests.kubernetes.cluster import MANIFESTS, Cluster, objects
from tests.servers import running
from tests.systems.conftest import RealTriton
from tests.systems.test_triton import put_adder

SCRIPT = MANIFESTS / "base/triton/routed.py"
KEY = "a-key-for-control"


@dataclass(frozen=True)
class Started:
    """A Triton on a share with routes: ``good`` is whole, ``damaged`` is not."""

    grpc: str
    url: str
    state: Path
    log: Path

    def control(self, key: str | None) -> TritonServer:
        return TritonServer(Triton(name="triton-0", grpc=self.grpc), request_seconds=10, control_key=key)

    def ready(self) -> subprocess.CompletedProcess[str]:
        return ready(self.state, self.url)


def ready(state: Path, url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, "ready", state, url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def publish(repository: Path, state: Path, name: str, version: int = 1) -> Target:
    """Put a version on the share, as the bot leaves it there."""
    model = put_adder(RealTriton("", "", repository), name, version)
    files = [("config.pbtxt", b"a"), ("smoke.json", b"{}")]
    files += [("model.onnx", (model / str(version) / "model.onnx").read_bytes())]
    package = Package.of(
        PackageFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in files
    )
    folder = state / "packages" / package.digest.removeprefix("sha256:")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text(package.to_json())
    return Target(name, version, package.digest)


def write(state: Path, table: RouteTable, *, copy: bool = True) -> None:
    (state / "routes").mkdir(exist_ok=True)
    (state / "routes" / generation_file(table.generation)).write_text(table.to_json())
    if copy:
        (state / "routes.json").write_text(table.to_json())


@pytest.fixture(scope="module")
def started(triton_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    share = tmp_path_factory.mktemp("share")
    repository, state = share / "model-repo", share / "state"
    repository.mkdir()
    state.mkdir()
    empty = RouteTable("prod")
    good, other = publish(repository, state, "good"), publish(repository, state, "damaged")
    model = repository / "damaged/1/model.onnx"
    model.write_bytes(model.read_bytes() + b"\0")
    first = empty.following({"good": Route(live=good)})
    write(state, first)
    # Whoever wrote the second generation was killed before its copy.
    write(state, first.following({"good": Route(live=good), "damaged": Route(live=other)}), copy=False)
    cluster = Cluster(objects())
    pods = cluster.pod("ml-prod/triton")
    words = cluster.words(pods, pods.main)
    with Ports() as ports:
        http, grpc = ports.take(), ports.take()
        part = triton.part(
            "triton", environment=triton_environment, model_repository=repository, http_port=http, grpc_port=grpc
        )
        server, at_home = part.command[0], ("--http-address", "--http-port", "--grpc-", "--backend-directory")
        assert words[:3] == ["python3", "/opt/promobot/routed.py", "start"]
        words = [sys.executable, str(SCRIPT), *words[2:]]
        words = [word.replace("secret:triton-control/PROMOBOT_TRITON_KEY", KEY) for word in words]
        places = {"tritonserver": server, "/share/state": str(state)}
        words = [places.get(word, word.replace("/share/model-repo", str(repository))) for word in words]
        # The server that runs here is 24.10, which knows no such limit.
        words = [word for word in words if not word.startswith("--http-max-input-size=")]
        words += [word for word in part.command if word.startswith(at_home)]
        part = replace(part, command=tuple(words), ready_path="/v2/health/live")
        with running(share, part):
            yield Started(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{http}", state, share / "logs" / "triton.log")


def test_it_starts_with_what_the_routes_name_and_is_whole(started: Started) -> None:
    server = started.control(KEY)
    assert [(state.model, state.version, state.state) for state in server.index()] == [("good", 1, "READY")]
    assert server.names() == {"good", "damaged"}
    answer = server.infer("good", 1, [Tensor("X", "FP32", (1, 2), (1.0, 2.0))], outputs=["Y"])
    assert answer[0].data == (2.0, 3.0)
    server.close()
    assert "promobot: damaged 1 is not loaded: model.onnx holds other bytes" in started.log.read_text()


def test_it_is_ready_when_all_that_answers_users_is(started: Started) -> None:
    said = started.ready()
    assert said.returncode == 1
    assert said.stderr == "promobot: /v2/models/damaged/versions/1/ready says 400\n"
    # A shadow answers nobody.
    table = RouteTable.from_json((started.state / "routes" / generation_file(2)).read_text())
    shadowed = {"good": replace(table.route("good"), shadow=table.route("damaged").live)}
    write(started.state, table.following(shadowed))
    assert started.ready().returncode == 0


def test_control_asks_for_the_key(started: Started) -> None:
    for key in (None, "another"):
        server = started.control(key)
        assert server.version()
        for call in (
            server.index,
            lambda asked=server: control(asked).unload("good"),
            lambda asked=server: control(asked).load("good", timeout_seconds=10),
        ):
            with pytest.raises(Rejected, match="This protocol is restricted") as refused:
                call()
            assert "control_key_env" in refused.value.next_step
        server.close()
    with httpx.Client(base_url=started.url, timeout=10) as client:
        for path in ("index", "models/good/unload", "models/damaged/load"):
            answer = client.post(f"/v2/repository/{path}")
            assert answer.status_code == 403 and "restricted" in answer.text
        # What a gateway asks needs none.
        for path in ("", "/ready", "/config", "/stats"):
            assert client.get(f"/v2/models/good/versions/1{path}").status_code == 200
    server = started.control(KEY)
    control(server).unload("good")
    assert server.wait_gone("good", timeout_seconds=30)
    control(server).load("good", timeout_seconds=60)
    assert server.wait_ready([("good", 1)], timeout_seconds=60) == []
    server.close()


def test_who_only_looks_needs_no_key(started: Started) -> None:
    servers = {key: started.control(key) for key in (None, KEY, "another")}
    assert servers[None].loaded() == servers[KEY].loaded() == {("good", 1)}, "its statistics say what its index says"
    with pytest.raises(Rejected, match="This protocol is restricted"):
        servers["another"].loaded()
    for server in servers.values():
        server.close()


def test_the_bot_takes_the_key_from_the_variable_that_is_named(started: Started) -> None:
    named = Triton(name="triton-0", grpc=started.grpc, control_key_env="A_TRITON_KEY")
    dev = environment_files.load(MANIFESTS.parents[1], "dev")
    with Platform(dev, {"A_TRITON_KEY": KEY}) as platform, platform.triton(named) as server:
        assert server.index()[0].ready
    says = "A_TRITON_KEY is not set; it holds the control key of Triton triton-0"
    with Platform(dev, {}) as platform, pytest.raises(Refused, match=says), platform.triton(named):
        pass


def test_it_starts_with_nothing_where_there_are_no_routes_or_none_that_can_be_read(tmp_path: Path) -> None:
    # In place of Triton, a program that says with what it was started.
    command = ["/bin/echo", f"--model-repository={tmp_path}"]
    (tmp_path / MARKER_FILE).write_text(Marker("state", "dev").to_json())
    for text in (None, "{", '{"generation": 1}', '{"generation": 1, "models": {"x": {"live": {}}}}'):
        if text is not None:
            (tmp_path / "routes.json").write_text(text)
        done = subprocess.run(
            [sys.executable, SCRIPT, "start", tmp_path, *command], capture_output=True, text=True, check=True
        )
        assert done.stdout == f"--model-repository={tmp_path}\n", text
        assert "loading nothing" in done.stderr
        assert ("cannot be read" in done.stderr) == (text is not None)


def test_it_is_not_ready_where_that_cannot_be_seen(tmp_path: Path) -> None:
    with Ports() as ports:
        said = ready(tmp_path, f"http://127.0.0.1:{ports.take()}")
    assert said.returncode == 1 and "Traceback" not in said.stderr
    (tmp_path / "routes.json").write_text("{")
    said = ready(tmp_path, "http://127.0.0.1:1")
    assert said.returncode == 1 and "Traceback" not in said.stderr


def test_the_script_needs_nothing_but_the_python_of_tritons_image() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 10))
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= set(sys.stdlib_module_names)


def test_a_state_that_is_not_mounted_is_not_one_before_the_first_deployment(tmp_path: Path) -> None:
    said = ready(tmp_path, "http://127.0.0.1:1")
    assert said.returncode == 1 and "FileNotFoundError" in said.stderr, (
        "an unmounted folder names nothing to wait for"
    )
    (tmp_path / MARKER_FILE).write_text(Marker("state", "dev").to_json())
    assert "Connection refused" in ready(tmp_path, "http://127.0.0.1:1").stderr, "new: it goes on to ask Triton"


def kept(state: Path, folder: Path, *more: str) -> str:
    """Keep the package of a version that lies on the share, with files that lie beside it only; return its digest."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in paths]
    files += [(name, b"{}") for name in ("config.pbtxt", "smoke.json", *more)]
    package = Package.of(
        PackageFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in files
    )
    place = state / "packages" / package.digest.removeprefix("sha256:")
    place.mkdir(parents=True)
    (place / "package.json").write_text(package.to_json())
    return package.digest


def begun(share: Path) -> tuple[str, str]:
    """Return what a Triton on this share is started with, and what the script says."""
    command = ["/bin/echo", f"--model-repository={share / 'models'}"]
    words = [sys.executable, SCRIPT, "start", share / "state", *command]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


@pytest.fixture
def bundled(tmp_path: Path) -> Path:
    """Return a share on which only the last of three is routed: it asks the second, and that asks the first."""
    repository, state = tmp_path / "models", tmp_path / "state"
    digests = []
    python = 'backend: "python" parameters { key: "BUNDLE_first" value { string_value: "first.1a2b3c4d:4" } }'
    steps = 'platform: "ensemble" ensemble_scheduling { step [{ model_name: "second" model_version: 2 }] }'
    for name, version, config, file in (
        ("first.1a2b3c4d", 4, 'backend: "onnxruntime"', "model.onnx"),
        ("second", 2, render_config(python, versions=[2]), "model.py"),
        ("last", 7, render_config(steps, versions=[7]), ""),
    ):
        folder = repository / name / str(version)
        folder.mkdir(parents=True)
        folder.with_name("config.pbtxt").write_text(config)
        if file:
            (folder / file).write_text(name)
        digests.append(kept(state, folder, "smoke.tensors"))
    write(state, RouteTable("prod").following({"last": Route(live=Target("last", 7, digests[-1]))}))
    return tmp_path


def test_it_starts_with_what_the_routes_ask_too(bundled: Path) -> None:
    said, _ = begun(bundled)
    assert said.split()[1:] == ["--load-model=first.1a2b3c4d", "--load-model=last", "--load-model=second"]


def test_what_asks_something_damaged_is_not_loaded(bundled: Path) -> None:
    (bundled / "models/first.1a2b3c4d/4/model.onnx").write_text("damaged")
    said, problems = begun(bundled)
    assert "--load-model" not in said
    assert "last 7 is not loaded: it asks first.1a2b3c4d 4, whose bytes are those of no package" in problems
