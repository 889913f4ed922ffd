"""What Triton's metrics say of memory, what a load took by them, and whether there is room."""

from __future__ import annotations

import pytest

from bot.domain.memory import Gauge, Lack, Memory, Reading, lacks, of_backend, reading_of, taken, with_loaded

GIB = 2**30
CPU_ONLY = """\
# HELP nv_cpu_utilization CPU utilization rate [0.0 - 1.0]
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.02255639097744361
# HELP nv_cpu_memory_total_bytes CPU total memory (RAM), in bytes
# TYPE nv_cpu_memory_total_bytes gauge
nv_cpu_memory_total_bytes 16861294592
nv_cpu_memory_used_bytes 4000546816
nv_pinned_memory_pool_used_bytes 0
nv_inference_count{model="churn",version="1"} 7
"""
TWO_GPUS = """\
nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5
nv_gpu_memory_total_bytes{gpu_uuid="GPU-1"} 25769803776
nv_gpu_memory_used_bytes{gpu_uuid="GPU-1"} 1.9327352832e+10
nv_gpu_memory_total_bytes{gpu_uuid="GPU-2"} 25769803776
nv_gpu_memory_used_bytes{gpu_uuid="GPU-2"} 1073741824 1764542573000
"""


def gpus(**used: int) -> Reading:
    return Reading(gpus={name: Gauge(count * GIB, 24 * GIB) for name, count in used.items()})


def main(used: int, total: int = 16) -> Reading:
    return Reading(main=Gauge(used * GIB, total * GIB))


def test_metrics_of_a_machine_without_gpus_and_of_one_with_two() -> None:
    cpu = reading_of(CPU_ONLY)
    assert cpu.main == Gauge(4000546816, 16861294592) and cpu.gpus == {}
    assert cpu.main.free == 12860747776
    both = reading_of(CPU_ONLY + TWO_GPUS)
    assert both.gpus == {"GPU-1": Gauge(18 * GIB, 24 * GIB), "GPU-2": Gauge(GIB, 24 * GIB)}
    assert reading_of("") == Reading()
    assert reading_of("nv_cpu_memory_used_bytes 5").main is None, "without the whole nobody knows what is free"
    assert reading_of("nv_cpu_memory_used_bytes 5\nnv_cpu_memory_total_bytes 0").main is None


def test_two_readings_of_one_look_are_alike_and_a_later_look_differs() -> None:
    assert reading_of(CPU_ONLY).beat == reading_of(CPU_ONLY).beat != ()
    assert reading_of(CPU_ONLY).beat != reading_of(CPU_ONLY.replace("0.0225", "0.0226")).beat


def test_a_load_takes_what_is_surely_used_more_of_afterwards() -> None:
    assert taken([main(4)], [main(6)]) == Memory(main=2 * GIB)
    assert taken([main(3), main(4)], [main(9), main(6)]) == Memory(main=2 * GIB), "the least after, the most before"
    assert taken([gpus(a=4, b=1)], [gpus(a=5, b=4)]) == Memory(gpu=3 * GIB), "on the GPU that gave most"
    assert taken([gpus(a=4)], [gpus(a=5)], told=2 * GIB) == Memory(gpu=2 * GIB, gpu_by="backend")
    assert taken([main(4)], [main(4)], told=2 * GIB) == Memory(gpu=2 * GIB, gpu_by="backend")


@pytest.mark.parametrize(("before", "after"), [([6], [4]), ([4], [4]), ([4, 7], [6, 8]), ([4], [6, 3])])
def test_where_others_on_the_machine_move_more_nothing_is_known(before: list[int], after: list[int]) -> None:
    found = taken([main(one) for one in before], [main(one) for one in after])
    assert (found.main, found.gpu) == (None, None) and "no more memory after the load" in found.problem


def test_a_gpu_that_came_is_measured_only_from_then_on() -> None:
    after = Reading(Gauge(4, 9), {"a": Gauge(3, 9), "new": Gauge(9, 9)})
    assert taken([Reading(Gauge(6, 9), {"a": Gauge(1, 9)})], [after]) == Memory(gpu=2)


def test_of_what_a_backend_tells_only_gpus_count() -> None:
    assert of_backend([("CPU", 0, 7), ("GPU", 0, 3), ("GPU", 1, 2), ("GPU", 1, 2)]) == 4
    assert of_backend([("CPU", 0, 7)]) is None and of_backend([]) is None
    assert of_backend([("GPU", 0, 0)]) is None, "zero is what a backend says that does not know"


@pytest.mark.parametrize(
    ("need", "there", "lack"),
    [
        (Memory(main=3 * GIB), main(14), Lack("main memory", 3 * GIB, 2 * GIB, 16 * GIB)),
        (Memory(main=2 * GIB), main(14), None),
        (Memory(gpu=10 * GIB), gpus(a=18, b=15), Lack("GPU memory", 10 * GIB, 9 * GIB, 24 * GIB)),
        (Memory(gpu=9 * GIB), gpus(a=18, b=15), None),
        (Memory(), main(16), None),
        (Memory(main=3 * GIB), gpus(a=24), None),
        (Memory(gpu=3 * GIB), main(16), None),
        (Memory(problem="its metrics cannot be read"), main(16), None),
    ],
)
def test_there_is_no_room_only_where_that_is_sure(need: Memory, there: Reading, lack: Lack | None) -> None:
    assert lacks(need, there) == lack


def test_what_is_loaded_first_leaves_less_for_the_next() -> None:
    there = Reading(Gauge(10, 16), {"a": Gauge(10, 24), "b": Gauge(20, 24)})
    after = with_loaded(there, Memory(main=5, gpu=12))
    assert after.main == Gauge(15, 16) and after.gpus == {"a": Gauge(22, 24), "b": Gauge(20, 24)}
    assert lacks(Memory(main=2), after) is not None and lacks(Memory(main=2), there) is None
    assert with_loaded(Reading(), Memory(main=5, gpu=12)) == Reading()
