"""``promobot evaluate``: parts of a set, asked of two versions on a real Triton, are together what one run hears."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bot import cli
from bot.environment_files import load
from bot.evaluation.asking import IN_SERVICE, PROPOSED, ask, rows_in_a_request
from bot.evaluation.parts import merged
from bot.evaluation.sets import EvaluationSet, write
from bot.operations.evaluating import asking, rules_of
from bot.platform import Platform
from bot.settings import Triton
from bot.systems.triton.server import TritonServer
from tests.benchmarks.evaluation import batches_of, publish_classifier
from tests.controls import control
from tests.servers import RunningTriton

PROJECT = Path(__file__).parents[2]
DIGESTS = {PROPOSED: f"sha256:{2:064x}", IN_SERVICE: f"sha256:{1:064x}"}


@pytest.fixture(scope="module")
def server(triton_server: RunningTriton) -> Iterator[TritonServer]:
    publish_classifier(triton_server.repository / "measured")
    server = TritonServer(Triton(name="staging", grpc=triton_server.grpc), request_seconds=60)
    control(server).load("measured", timeout_seconds=60)
    yield server
    server.close()


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluationSet:
    """A set that this machine has already, and a checkout whose settings name it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written = write(tmp_path / "set", batches_of(1000, at_once=300))
    place = tmp_path / "cache/promobot/evaluation" / written.digest.removeprefix("sha256:")
    place.parent.mkdir(parents=True)
    written.folder.rename(place)
    settings = tmp_path / "root/manifests/environments/dev.yaml"
    settings.parent.mkdir(parents=True)
    source = f"{{digest: '{written.digest}', from: 'runs:/0123/evaluation', batch_rows: 100}}"
    text = (PROJECT / "manifests/environments/dev.yaml").read_text()
    settings.write_text(f"{text}\nevaluation:\n  churn: {source}\n")
    return EvaluationSet(place, written.digest, written.description)


def command(tmp_path: Path, grpc: str, part: int, *more: str) -> list[str]:
    loaded = {who: f"{digest}@{grpc}/measured/{n}" for n, (who, digest) in enumerate(reversed(DIGESTS.items()), 1)}
    return [
        *(
            "evaluate",
            "churn",
            "--env",
            "dev",
            "--root",
            str(tmp_path / "root"),
            "--answers",
            str(tmp_path / "answers"),
        ),
        *(
            "--part",
            str(part),
            "--of",
            "3",
            "--proposed",
            loaded[PROPOSED],
            "--in-service",
            loaded[IN_SERVICE],
            *more,
        ),
    ]


def test_parts_on_a_real_triton_are_together_one_run(
    server: TritonServer,
    triton_server: RunningTriton,
    opened: EvaluationSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for part in (2, 0, 1):
        assert cli.main(command(tmp_path, triton_server.grpc, part)) == 0
        place = tmp_path / f"answers/part-0000{part}-of-00003"
        rows = 400 if part == 2 else 300
        name = f"part {part} of 3 of the evaluation of churn"
        said = f"{name}: {rows} rows answered by proposed and in service, in {place}"
        assert capsys.readouterr().out.splitlines() == [said]
    assert cli.main(command(tmp_path, triton_server.grpc, 1, "--json")) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["already"], document["rows"], document["set"]) == (True, 300, opened.digest)

    with Platform(load(tmp_path / "root", "dev"), {"XDG_CACHE_HOME": str(tmp_path / "cache")}) as platform:
        rules = rules_of(platform, "churn")
        asked = {who: asking(server, "measured", n, opened, rules) for who, n in ((PROPOSED, 2), (IN_SERVICE, 1))}
    assert {rows_in_a_request(rules.batch_rows, [one.max_rows]) for one in asked.values()} == {100}
    whole = list(ask(opened.batches(100), {who: one.ask for who, one in asked.items()}))
    together = list(merged(tmp_path / "answers", opened, DIGESTS, {who: one.output for who, one in asked.items()}))
    assert len(together) == len(whole) == 10
    for one, other in zip(together, whole, strict=True):
        for who in DIGESTS:
            for name, array in other.outputs[who].items():
                np.testing.assert_array_equal(one.outputs[who][name], array)
    differ = partial(np.testing.assert_array_equal, together[0].outputs[PROPOSED]["probabilities"])
    with pytest.raises(AssertionError):
        differ(together[0].outputs[IN_SERVICE]["probabilities"])  # two versions that differ were asked


def test_what_cannot_be_asked_says_why(
    server: TritonServer,
    triton_server: RunningTriton,
    opened: EvaluationSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = command(tmp_path, triton_server.grpc, 0)
    other[1] = "fraud"
    assert cli.main(other) == 1
    said = capsys.readouterr().err
    assert "manifests/environments/dev.yaml: evaluation: names no evaluation set for fraud" in said
    assert cli.main(command(tmp_path, triton_server.grpc, 3)) == 1
    assert "there is no part 3 of 3: they count from 0 to 2" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        cli.main(command(tmp_path, triton_server.grpc, 0, "--proposed", "churn/7"))

    assert "is not DIGEST@HOST:PORT/MODEL/VERSION" in capsys.readouterr().err
    missing = command(
        tmp_path, triton_server.grpc, 0, "--in-service", f"{DIGESTS[PROPOSED]}@{triton_server.grpc}/gone/1"
    )
    assert cli.main(missing) == 1
    assert "gone" in capsys.readouterr().err
    assert not (tmp_path / "answers").exists()
