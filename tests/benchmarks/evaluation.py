"""Asking two versions an evaluation set, against a plain loop of Triton's own client over the same batches.

100,000 rows of 30 numbers, on a real Triton as the sandbox starts it; versions 1 and 2 of a model answer a class and
two probabilities. Ours is what the check does: compare every byte of the set with its digest, read it from the disk,
ask both versions of each batch in turns, keep the answers. The loop sends batches by `tritonclient.grpc` and takes
the answers as arrays: once it reads the same batches from the disk, without comparing anything, and once it has them
in memory already. Batches have 64 rows, as packages have by default, and 1,024.

The memory is the largest that a process of its own had resident: it writes a set of ten million rows batch by batch,
asks two versions on that Triton, and computes all that Behaviour says of them, four metrics, three slices and the
decisions that change, with a million groups.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from bot.domain.gate import Gate
from bot.domain.signature import Signature
from bot.evaluation import measured
from bot.evaluation.asking import IN_SERVICE, PROPOSED, AskOne, ask, on_triton
from bot.evaluation.collected import Collected, collect
from bot.evaluation.sets import EvaluationSet, open_set, write
from bot.settings import EvaluationRules, Triton
from bot.systems.triton.server import TritonServer
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.gateway.triton import RunningTriton, running_triton

READS = "a loop of tritonclient that reads the same batches"
HAS = "a loop of tritonclient that has them in memory"
FEATURES, LARGEST = 30, 4096
STEPS = {
    "writing": "writing a set of {rows:,} rows",
    "asking": "asking {rows:,} rows of two versions",
    "judging": "metrics, slices and decisions of {rows:,} rows",
}
RULES = EvaluationRules.model_validate({"digest": f"sha256:{'0' * 64}", "from": "runs:/benchmark/evaluation"})
GATE = Gate.model_validate(
    {
        "metrics": {
            "accuracy": {"max_regression": 0.01, "confidence": 0.95},
            "roc_auc": {"max_regression": 0.01, "confidence": 0.95},
            "average_precision": {"max_regression": 0.01},
            "log_loss": {"max_regression": 0.05, "lower_is_better": True},
        },
        "slices": {"by": ["region"], "max_regression": 0.02},
    }
)
CONFIG = f"""\
backend: "onnxruntime"
default_model_filename: "model.onnx"
version_policy: {{all: {{}}}}
max_batch_size: {LARGEST}
input [{{name: "X" data_type: TYPE_FP32 dims: [{FEATURES}]}}]
output [
  {{name: "label" data_type: TYPE_INT64 dims: [1] reshape {{shape: []}}}},
  {{name: "probabilities" data_type: TYPE_FP32 dims: [2]}}
]
"""
OUTPUTS = ["label", "probabilities"]


def publish_classifier(directory: Path) -> None:
    """Write two versions of a model of two classes whose weights differ."""
    directory.mkdir(parents=True)
    (directory / "config.pbtxt").write_text(CONFIG)
    for version in (1, 2):
        weights = np.random.default_rng(version).normal(size=(FEATURES, 2)).astype(np.float32)
        graph = onnx.helper.make_graph(
            [
                onnx.helper.make_node("MatMul", ["X", "weights"], ["scores"]),
                onnx.helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
                onnx.helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
            ],
            "classifier",
            [onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["n", FEATURES])],
            [
                onnx.helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["n"]),
                onnx.helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, ["n", 2]),
            ],
            [onnx.numpy_helper.from_array(weights, "weights")],
        )
        model = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
        (directory / str(version)).mkdir()
        onnx.save(model, directory / str(version) / "model.onnx")


def batches_of(rows: int, *, at_once: int = 2**16) -> Iterator[dict[str, object]]:
    """Yield rows, a different beginning of the random numbers for each batch."""
    for start in range(0, rows, at_once):
        random, count = np.random.default_rng(start), min(at_once, rows - start)
        yield {
            "inputs": {"X": random.normal(size=(count, FEATURES)).astype(np.float32)},
            "labels": random.integers(0, 2, count),
            "slices": {"region": np.array(["asia", "europe", "america"])[random.integers(0, 3, count)]},
            "groups": random.integers(0, 10**6, count),
        }


def versions(server: TritonServer, opened: EvaluationSet, signature: Signature) -> dict[str, AskOne]:
    """Return what asks versions 2 and 1."""
    return {
        who: on_triton(
            partial(server.infer_raw, "classifier", version),
            opened.inputs,
            signature,
            max_batch_size=LARGEST,
            outputs=OUTPUTS,
        )
        for who, version in ((PROPOSED, 2), (IN_SERVICE, 1))
    }


def _run(bench: Bench) -> Iterator[Figure]:
    from tritonclient import grpc

    publish_classifier(bench.folder / "repository/classifier")
    rows = bench.size(100_000, 2000)
    written = write(bench.folder / "set", batches_of(rows))
    with running_triton(bench.folder / "repository") as triton:
        triton.load("classifier")
        server = TritonServer(Triton(name="triton", grpc=triton.grpc), request_seconds=60)
        client = grpc.InferenceServerClient(triton.grpc)
        signature = server.signature("classifier", 1)

        def ours(at_once: int) -> int:
            opened = open_set(written.folder, written.digest)
            kept = list(ask(opened.batches(at_once), versions(server, opened, signature)))
            if any(mask.any() for answered in kept for mask in answered.refused.values()):
                raise RuntimeError("a row was refused")
            return sum(len(answered.outputs[PROPOSED]["label"]) for answered in kept)

        def peer(parts: Iterable[np.ndarray]) -> int:
            kept = []
            for part in parts:
                for version in ("2", "1"):
                    given = grpc.InferInput("X", list(part.shape), "FP32")
                    given.set_data_from_numpy(part)
                    wanted = [grpc.InferRequestedOutput(name) for name in OUTPUTS]
                    answer = client.infer("classifier", [given], model_version=version, outputs=wanted)
                    kept.append([answer.as_numpy(name) for name in OUTPUTS])
            return sum(len(label) for label, _ in kept) // 2

        def read(at_once: int) -> Iterator[np.ndarray]:
            return (batch.inputs["X"] for batch in written.batches(at_once))

        for at_once in (64, 1024):
            parts = list(read(at_once))
            if not ours(at_once) == peer(parts) == rows:  # and so both are warm
                raise RuntimeError("not every row was answered")
            works = {
                "ours": partial(ours, at_once),
                READS: lambda at_once=at_once: peer(read(at_once)),
                HAS: partial(peer, parts),
            }
            took = bench.in_turns(works)
            rate = rows * 2 / statistics.median(took["ours"])
            for against, goal in ((READS, 1.2), (HAS, None)):
                yield Figure(
                    f"{rows:,} rows × 2 versions, {at_once:,} in a request",
                    took["ours"],
                    against,
                    took[against],
                    goal=goal,
                    note=f"{rate:,.0f} answers a second",
                )
        many = bench.size(10_000_000, 200_000)
        base, peaks = (_peaks(bench, triton, count) for count in (1, many))
        for step, what in STEPS.items():
            note = f"largest resident memory of the process; {base[step]:.0f} MiB with one row"
            yield Figure(what.format(rows=many), [peaks[step]], goal=500, unit="MiB", note=note)
        client.close()
        server.close()


def _peaks(bench: Bench, triton: RunningTriton, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.evaluation", str(rows), triton.grpc, str(bench.folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _evaluate(rows: int, address: str, folder: Path) -> None:
    """Write a set, ask both versions, judge what they answer; print the largest resident memory of each step."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        written = write(Path(place, "set"), batches_of(rows))
        peaks = {"writing": _peak()}
        server = TritonServer(Triton(name="triton", grpc=address), request_seconds=60)
        opened = open_set(written.folder, written.digest)
        asked = versions(server, opened, server.signature("classifier", 1))
        collected = collect(ask(opened.batches(LARGEST), asked), rows=rows, output="probabilities")
        peaks["asking"] = _peak()
        _judge(collected, opened)
        print(json.dumps({**peaks, "judging": _peak()}))


def _judge(collected: Collected, rows: EvaluationSet) -> None:
    """Compute what Behaviour says of the answers; raise RuntimeError where it says nothing."""
    measures = measured.measures(GATE, RULES)
    metrics = measured.metrics(collected, measures, seed=RULES.digest, claimed={})
    slices = list(measured.slices(collected, GATE, measures, seed=RULES.digest))
    changed = measured.changed(collected, rows.labels, RULES, inputs=None)
    if collected.rows > 1 and (any(one.why for one in metrics) or not slices or changed is None):
        raise RuntimeError("; ".join(one.why for one in metrics) or "nothing was judged")


def _peak() -> float:
    """Return the largest resident memory since the last time, in MiB."""
    # Not ru_maxrss: a process begins with that of the one which started it.
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


BENCHMARK = Benchmark("evaluation", "an evaluation set on two versions, against a loop of tritonclient", _run)


if __name__ == "__main__":
    _evaluate(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
