"""Golden cases of images: as JSON, and with their tensors as bytes beside it.

Six images of 3×640×640, each as a case whose answer has the same shape, on a real Triton and through a gateway of its
own process. The proof is what a deployment does with each case: read it, ask Triton over gRPC, ask the gateway,
compare every value. The answers of the package are a little off, so that no comparison ends at equal bytes. Both
forms hold the same cases and are asked in turns. Evidence is that of two such answers.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from bot.domain.answers import Output
from bot.domain.evidence import Answer
from bot.domain.golden import Golden, Recorder
from bot.domain.packed import Packed, pack
from bot.domain.smoke import Beside, SmokeCase, SmokeCases, Tensor
from bot.settings import GatewayEndpoint, Triton
from bot.systems.gateway import Gateway
from bot.systems.triton.server import TritonServer
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.gateway.gateways import TOKEN, gateway_process, table, target, write_routes
from tests.gateway.triton import publish_adder, running_triton

MEBIBYTE = 2**20
OFF = 2**-22
"""Of each answer: far below the tolerance, and exact in FP32."""
AS_JSON = "all in smoke.json"


def _run(bench: Bench) -> Iterator[Figure]:
    side, images = bench.size(640, 200), bench.size(6, 2)
    smoke = SmokeCases(tuple(_case(number, 3 * side * side) for number in range(images)))
    file = bench.folder / "smoke.tensors"
    text, beside = smoke.files()
    with file.open("wb") as out:
        out.writelines(pack(tensor.datatype, tensor.data) for tensor in beside)
    json = smoke.to_json()

    def read(begin: int, size: int) -> bytes:
        with file.open("rb") as opened:
            opened.seek(begin)
            return opened.read(size)

    forms: dict[str, Callable[[], SmokeCases]] = {
        "ours": lambda: SmokeCases.from_json(
            text, Beside(file.stat().st_size, read, "the benchmark") if beside else None
        ),
        "peer": lambda: SmokeCases.from_json(json),
    }
    note = f"{images} images of 3×{side}×{side}, and answers as large"
    size = (len(text) + file.stat().st_size) / MEBIBYTE
    yield Figure("golden cases of images", [size], AS_JSON, [len(json) / MEBIBYTE], goal=0.5, unit="MiB", note=note)
    with ExitStack() as running:
        publish_adder(bench.folder / "repository/adder", versions=(1,))
        write_routes(bench.folder / "routes.json", table(1, target(1)))
        triton = running.enter_context(running_triton(bench.folder / "repository"))
        triton.load("adder")
        served = running.enter_context(gateway_process(bench.folder / "routes.json", [triton.url]))
        server = TritonServer(Triton(name="triton", grpc=triton.grpc), request_seconds=60)
        running.callback(server.close)
        gateway = Gateway(GatewayEndpoint(name="gateway", url=served.url), token=TOKEN, request_seconds=60)
        running.callback(gateway.close)

        def prove(form: str) -> None:
            golden = Golden(forms[form]())
            for case, staging in golden:
                names = [tensor.name for tensor in case.outputs]
                of_triton = server.infer("adder", 1, case.inputs, outputs=names)
                version, through = gateway.infer("adder", case.inputs, outputs=names)
                wrong = [
                    *golden.disagreements(case, staging, of_triton),
                    *golden.disagreements(case, staging, through),
                ]
                if wrong or version != "1":
                    raise RuntimeError(f"version {version} answered {wrong}")

        took = bench.in_turns({form: (lambda form=form: prove(form)) for form in forms})  # type: ignore[misc]
        what = "proof on a Triton and through a gateway"
        yield Figure(what, took["ours"], AS_JSON, took["peer"], goal=0.5, note=note)
        # What is written of two answers: into the check record, and again into the evidence.
        cases, recorder = smoke.cases[:2], Recorder(smoke.tolerance)
        answered = [server.infer("adder", 1, case.inputs, outputs=["Y"]) for case in cases]
        kept = [recorder.answer(case, outputs) for case, outputs in zip(cases, answered, strict=True)]
        whole = [_answer(case, outputs) for case, outputs in zip(cases, answered, strict=True)]
        written = [sum(len(one.model_dump_json()) for one in answers) / MEBIBYTE for answers in (kept, whole)]
        yield Figure(
            "evidence of two answers",
            written[:1],
            "every value in JSON",
            written[1:],
            goal=0.01,
            unit="MiB",
            note=note,
        )


def _answer(case: SmokeCase, outputs: list[Tensor]) -> Answer:
    whole: tuple[Output, ...] = tuple(outputs)
    return Answer(case=case.name, outputs=whole)


def _case(number: int, count: int) -> SmokeCase:
    """Return an image and its answer: numbers that FP32 holds exactly, also when 1 is added."""
    values = array.array("f", ((n * 7 + number) % 256 / 256 for n in range(count)))
    answers = array.array("f", (value + 1 + OFF for value in values))
    x, y = (
        Tensor(name, "FP32", (count,), Packed.of("FP32", count, one.tobytes()))
        for name, one in (("X", values), ("Y", answers))
    )
    return SmokeCase(f"image-{number}", (x,), (y,))


BENCHMARK = Benchmark("golden", "golden cases of images as JSON, and as bytes beside it", _run)
