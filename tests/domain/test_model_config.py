"""What a configuration may say: every field of Triton's own message is decided, and what is not listed is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from bot.domain.model_config import (
    ACCELERATORS,
    FIELDS,
    LOADED_BY_NAME,
    PARAMETERS,
    REASONS,
    asked_models,
    config_problems,
)
from bot.systems.triton.config import parse_config

FILES = ("model.onnx", "labels.txt", "payload.data", "large/model.onnx", "weights/part.data")
GOOD = """
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "X" data_type: TYPE_FP32 dims: [ 30 ] } ]
output [ { name: "label" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } } ]
"""


def problems(more: str, *, base: str = GOOD) -> list[str]:
    return config_problems(parse_config(base + more).values, files=FILES)


def fields(descriptor: Any, before: str = "") -> Iterator[str]:
    """Every field of a message and of those below it, by the paths that decisions have."""
    for field in descriptor.fields:
        path, message = f"{before}{field.name}", field.message_type
        yield path
        if message is not None and message.GetOptions().map_entry:
            message = message.fields_by_name["value"].message_type
        if message is not None:
            yield from fields(message, f"{path}.")


def decided(path: str) -> bool:
    """Whether a field has a decision, its own or that of a message above it that decides for all below."""
    parts = path.split(".")
    above = [FIELDS.get(".".join(parts[:count])) for count in range(1, len(parts))]
    return path in FIELDS or any(one is not None and one.kind in ("refused", "parameters") for one in above)


def test_every_field_of_tritons_configuration_has_a_decision() -> None:
    known = list(fields(model_config_pb2.ModelConfig.DESCRIPTOR))
    assert len(known) > 150
    assert [path for path in known if not decided(path)] == []
    assert set(FIELDS) - set(known) == set(), "decided, but no field of Triton's"
    assert all(decision.why for decision in FIELDS.values() if decision.kind == "refused")


def test_a_field_without_a_decision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_problems({"backend": "onnxruntime", "a_new_field": 1}, files=FILES) == [
        "a_new_field: is not known here, so it is refused"
    ]
    monkeypatch.setattr("bot.domain.model_config.FIELDS", {k: v for k, v in FIELDS.items() if k != "input.dims"})
    assert problems("") == ["input.dims: is not known here, so it is refused"]


def test_a_parameter_that_is_refused_with_a_reason_is_on_no_list() -> None:
    listed = {name for names in (*PARAMETERS.values(), *ACCELERATORS.values()) for name in names}
    assert listed & set(REASONS) == set()


def parameter(name: str, value: str = "1") -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


def accelerator(name: str, kind: str = "gpu", **parameters: str) -> str:
    told = "".join(f'parameters {{ key: "{key}" value: "{value}" }} ' for key, value in parameters.items())
    one = f'{kind}_execution_accelerator: [ {{ name: "{name}" {told}}} ]'
    return f"optimization {{ execution_accelerators {{ {one} }} }}"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        # code that Triton, a backend or an accelerator would load
        ('runtime: "payload.data"', "runtime: refused; Triton loads the library that it names into the server"),
        ('runtime: "libtriton_python.so"', "runtime: refused"),
        (parameter("TRITON_BATCH_STRATEGY_PATH", "/x/payload.data"), "parameters.TRITON_BATCH_STRATEGY_PATH: refuse"),
        (parameter("EXECUTION_ENV_PATH", "$$TRITON_MODEL_DIRECTORY/e.tar.gz"), "parameters.EXECUTION_ENV_PATH: "),
        (parameter("CPU_EXTENSION_PATH"), "OpenVINO loads the library"),
        ('model_operations { op_library_filename: "payload.data" }', "model_operations: refused; the backend loads"),
        ('model_repository_agents { agents [ { name: "checksum" } ] }', "model_repository_agents: refused; an agent"),
        (accelerator("tensorrt", trt_extra_plugin_lib_paths="/x.so"), "trt_extra_plugin_lib_paths: refused; Tensor"),
        (accelerator("tensorrt", trt_engine_cache_path="/x"), "engines are machine code"),
        (accelerator("tensorrt", trt_ep_context_file_path="/x"), "trt_ep_context_file_path: refused"),
        (accelerator("tensorrt", int8_calibration_table_name="x"), "a file that no digest covers"),
        (accelerator("cuda", gpu_external_alloc="140737488355328"), "an address in the server's memory"),
        (accelerator("cuda", unheard_of="1"), "not on the list of parameters of the accelerator cuda"),
        (accelerator("openvino", "cpu", device_type="x"), "on the list of parameters of the accelerator openvino"),
        (accelerator("mine"), "'mine' is not one of tensorrt, cuda"),
        # parameters of which nobody said what they do
        (parameter("session.register_custom_ops"), "on the list of parameters of the backend onnxruntime; a p"),
        (parameter("FORCE_CPU_ONLY_INPUT_TENSORS"), "parameters.FORCE_CPU_ONLY_INPUT_TENSORS: refused"),
        (parameter("own."), "parameters.own.: refused"),
        (parameter("OWN.x"), "parameters.OWN.x: refused"),
        # files outside the package, or files that nobody lists
        *(
            (f'default_model_filename: "{name}"', f"default_model_filename: {name!r} is not a file that package.json")
            for name in ("../../../elsewhere/model.onnx", "/etc/passwd", "other.onnx", "./model.onnx", "large/", "..")
        ),
        ('default_model_filename: "weights"', "is not a file that package.json lists"),
        ('default_model_filename: "payload.data"', "must end with .onnx"),
        ('cc_model_filenames { key: "7.5" value: "../x.onnx" }', "cc_model_filenames[7.5]: '../x.onnx' is not"),
        ('cc_model_filenames { key: "7.5" value: "payload.data" }', "must end with .onnx"),
        ('output { name: "p" label_filename: "../labels.txt" }', "output[1].label_filename: '../labels.txt' is not"),
        ('output { name: "p" label_filename: "7/labels.txt" }', "output[1].label_filename: '7/labels.txt' is not"),
        ('output { name: "p" label_filename: "/etc/passwd" }', "output[1].label_filename: '/etc/passwd' is not"),
        (
            'model_warmup { name: "w" inputs { key: "X" value { input_data_file: "../x" } } }',
            "model_warmup.inputs[X].input_data_file: refused; Triton reads it from the folder warmup",
        ),
        (
            'model_warmup { name: "w" inputs { key: "X" value { input_data_file: "payload.data" } } }',
            "Use zero_data or random_data",
        ),
        (
            "sequence_batching { oldest { max_candidate_sequences: 4 } }",
            "sequence_batching: refused; a model of sequences keeps state between requests",
        ),
        # what is served would not be what the routes name, or the checks would measure something else
        ("ensemble_scheduling { }", "ensemble_scheduling: only a model of the platform ensemble has steps"),
        ("model_transaction_policy { decoupled: true }", "decoupled: refused; a decoupled model gives any number"),
        ("response_cache { enable: true }", "response_cache.enable: refused; a cache would answer for the model"),
        ('platform: "tensorrt_plan"', "tensorrt_plan stands for the backend tensorrt, not for 'onnxruntime'"),
        ('platform: "custom"', "platform: 'custom' is not one of Triton's"),
        ('platform: "ensemble"', "platform: an ensemble serves other models"),
    ],
)  # fmt: skip
def test_what_a_configuration_may_not_say_is_named_with_the_reason(more: str, says: str) -> None:
    found = problems(more)
    assert len(found) == 1, found
    assert says in found[0]


def test_an_ensemble_is_refused_for_its_own_reason_whatever_the_environment_allows() -> None:
    ensemble = """
    platform: "ensemble"
    ensemble_scheduling { step [ { model_name: "fraud" model_version: -1
      input_map { key: "A" value: "B" } output_map { key: "C" value: "D" } } ] }
    """
    config = parse_config(ensemble)
    assert config.backend == "ensemble"
    assert config_problems(config.values, files=FILES)[0].startswith(
        "platform: an ensemble serves other models, and "
    )
    assert parse_config('backend: "onnxruntime" platform: "ensemble"').backend == "ensemble", "as Triton decides"
    assert problems("", base='backend: "ensemble"')[0].startswith("backend: an ensemble")


@pytest.mark.parametrize(
    "more",
    [
        "",
        'name: "churn" version_policy { latest { num_versions: 3 } }',
        "version_policy { all { } }",
        "version_policy { specific { versions: [ 1, 2 ] } }",
        'platform: "onnxruntime_onnx"',
        "".join(parameter(name) for name in sorted(PARAMETERS["onnxruntime"])),
        parameter("own.team", "fraud") + parameter("own.trained-by", "churn"),
        "dynamic_batching { preferred_batch_size: [ 4 ] max_queue_delay_microseconds: 100 }",
        """dynamic_batching { priority_levels: 2 default_priority_level: 1 default_queue_policy { max_queue_size: 5 }
           priority_queue_policy { key: 1 value { timeout_action: DELAY default_timeout_microseconds: 9 } } }""",
        "instance_group [ { count: 2 kind: KIND_CPU } ]",
        """instance_group [ { kind: KIND_GPU gpus: [ 0 ] profile: "p" host_policy: "gpu_0"
           rate_limiter { resources [ { name: "R" global: true count: 2 } ] priority: 2 } } ]""",
        "optimization { graph { level: 1 } priority: PRIORITY_MAX input_pinned_memory { enable: false } }",
        """optimization { cuda { graphs: true graph_spec [ { batch_size: 1 input { key: "X" value { dim: [ 30 ] } }
           graph_lower_bound { batch_size: 1 input { key: "X" value { dim: [ 30 ] } } } } ] }
           eager_batching: true }""",
        accelerator("tensorrt", precision_mode="FP16", max_workspace_size_bytes="1073741824"),
        accelerator("cuda", gpu_mem_limit="1"),
        accelerator("openvino", "cpu"),
        'default_model_filename: "model.onnx"',
        'default_model_filename: "large"',
        'default_model_filename: "large/model.onnx" cc_model_filenames { key: "7.5" value: "model.onnx" }',
        'output { name: "p" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }',
        'batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "X" } ]',
        'metric_tags { key: "team" value: "fraud" }',
        """model_metrics { metric_control: [ {
           metric_identifier { family: "nv_inference_first_response_histogram_ms" }
           histogram_options { buckets: [ 1, 2 ] } } ] }""",
        """model_warmup { name: "w" batch_size: 1 count: 2 inputs { key: "X"
           value { data_type: TYPE_FP32 dims: [ 30 ] zero_data: true } } }""",
        'model_warmup { name: "w" inputs { key: "X" value { random_data: true } } }',
        "model_transaction_policy { decoupled: false } response_cache { enable: false }",
        "model_transaction_policy { } response_cache { }",
        'runtime: ""',
    ],
)
def test_what_does_no_harm_is_accepted(more: str) -> None:
    assert problems(more) == []


def warmup(*, count: int = 1, rows: int = 1, dims: str = "30", kind: str = "FP32") -> str:
    value = f"data_type: TYPE_{kind} dims: [ {dims} ] zero_data: true"
    inputs = f'inputs {{ key: "X" value {{ {value} }} }}'
    return f'model_warmup {{ name: "w" batch_size: {rows} count: {count} {inputs} }}'


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("instance_group [ { count: 65 } ]", "instance_group: 65 instances, more than 64"),
        ("instance_group [ { count: 64 }, { } ]", "instance_group: 65 instances, more than 64"),
        (warmup(count=101), "model_warmup: 101 requests, more than 100"),
        (warmup(count=50) + warmup(count=51), "model_warmup: 101 requests, more than 100"),
        (warmup(count=0) * 101, "model_warmup: 101 requests, more than 100"),
        (warmup(dims="16777217"), "model_warmup[0]: inputs of 67108868 bytes, more than 67108864"),
        (
            warmup() + warmup(rows=65536, dims="16, 17"),
            "model_warmup[1]: inputs of 71303168 bytes, more than 67108864",
        ),
        (warmup(dims="9223372036854775807", kind="INT8"), "model_warmup[0]: inputs of 9223372036854775807 bytes"),
        (warmup(dims="-9223372036854775807", kind="BOOL"), "model_warmup[0]: inputs of 9223372036854775807 bytes"),
        (warmup(dims="16777217", kind="STRING"), "model_warmup[0]: inputs of 67108868 bytes"),
        (warmup(dims="8388609", kind="FP64"), "model_warmup[0]: inputs of 67108872 bytes"),
    ],
)
def test_what_takes_more_than_a_model_needs_is_refused(more: str, says: str) -> None:
    (said,) = problems(more)
    assert said.startswith(says)


@pytest.mark.parametrize(
    "more",
    [
        "instance_group [ { count: 32 }, { count: 32 } ]",
        warmup(count=100),
        warmup(dims="16777216"),
        warmup(rows=65536, dims="16, 16"),
        warmup(dims="67108864", kind="BOOL"),
        warmup(dims="33554432", kind="BF16"),
    ],
)
def test_what_is_at_a_limit_is_accepted(more: str) -> None:
    assert problems(more) == []


@pytest.mark.parametrize("platform", ["tensorflow_savedmodel", "tensorflow_graphdef", "pytorch_libtorch"])
def test_old_platform_names_are_their_backend(platform: str) -> None:
    assert parse_config(f'platform: "{platform}"').backend == platform.partition("_")[0]


def test_each_backend_has_parameters_of_its_own() -> None:
    for backend, names in PARAMETERS.items():
        for name in names:
            assert problems(parameter(name), base=f'backend: "{backend}"') == []
            assert problems(parameter(name), base='backend: "mine"'), "of an unknown backend nothing is known"
    assert problems(parameter("own.path") + parameter("FORCE_CPU_ONLY_INPUT_TENSORS"), base='backend: "python"') == []


def test_a_model_of_another_backend_may_be_a_folder_of_listed_files() -> None:
    config = parse_config('backend: "tensorflow" default_model_filename: "model.savedmodel"').values
    assert config_problems(config, files=["model.savedmodel/saved_model.pb"]) == []
    assert config_problems(config, files=["model.savedmodel2/saved_model.pb"])


@pytest.mark.parametrize(
    "name", ["batchstrategy.so", "libtriton_onnxruntime.so", "libtriton_python.so", "triton_x.dll"]
)
def test_what_triton_loads_by_its_name_is_known(name: str) -> None:
    assert LOADED_BY_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["model.onnx", "weights/batchstrategy.so.data", "libtriton_x.so.txt"])
def test_what_triton_does_not_load_by_its_name_is_no_such_file(name: str) -> None:
    assert not LOADED_BY_NAME.fullmatch(name)


PYTHON = 'backend: "python"\n'


@pytest.mark.parametrize(
    ("path", "environments", "says"),
    [
        ("$$TRITON_MODEL_DIRECTORY/e.tar.gz", ["e.tar.gz"], ""),
        ("$$TRITON_MODEL_DIRECTORY/e.tar.gz", None, ""),
        (
            "$$TRITON_MODEL_DIRECTORY/e.tar.gz",
            [],
            "the sha256 of 'e.tar.gz' is not one of packages.python_environments",
        ),
        ("$$TRITON_MODEL_DIRECTORY/f.tar.gz", ["f.tar.gz"], "'f.tar.gz' is not a file that package.json lists"),
        ("$$TRITON_MODEL_DIRECTORY/../e.tar.gz", None, "'../e.tar.gz' is not a file that package.json lists"),
        ("$$TRITON_MODEL_DIRECTORY/./e.tar.gz", ["e.tar.gz"], "'./e.tar.gz' is not a file that package.json lists"),
        ("/opt/e.tar.gz", ["e.tar.gz"], "'/opt/e.tar.gz' lies outside of the package, so no digest covers it"),
        ("e.tar.gz", ["e.tar.gz"], "'e.tar.gz' lies outside of the package"),
        ("/x/$$TRITON_MODEL_DIRECTORY/e.tar.gz", ["e.tar.gz"], "'/x/$$TRITON_MODEL_DIRECTORY/e.tar.gz' lies outside"),
        ("", ["e.tar.gz"], "'' lies outside of the package"),
    ],
)
def test_the_environment_of_a_python_model_is_a_listed_archive_that_is_pinned(
    path: str, environments: list[str] | None, says: str
) -> None:
    config = parse_config(PYTHON + parameter("EXECUTION_ENV_PATH", path))
    found = config_problems(config.values, files=["model.py", "e.tar.gz"], environments=environments)
    assert [f"parameters.EXECUTION_ENV_PATH: refused; {says}" in said for said in found] == ([True] if says else [])


ENSEMBLE = (
    'platform: "ensemble" ensemble_scheduling { step [ { model_name: "tokenizer" model_version: -1 '
    'input_map { key: "X" value: "X" } output_map { key: "Y" value: "Y" } } ] }'
)


def test_an_ensemble_may_ask_the_parts_before_it_in_its_bundle() -> None:
    config = parse_config(ENSEMBLE).values
    assert config_problems(config, files=[], parts=["tokenizer", "ranker"]) == []
    assert config_problems(config, files=[], parts=None) == [], "a training job does not know the bundle"
    (other,) = config_problems(config, files=[], parts=["ranker"])
    assert "it asks 'tokenizer', which is not listed before it in its bundle (ranker)" in other
    (fixed,) = config_problems(parse_config(ENSEMBLE.replace("-1", "3")).values, files=[], parts=["tokenizer"])
    assert fixed.startswith("ensemble_scheduling.step[0].model_version: 3 is written by the package; write -1")


def test_a_python_model_names_its_parts_in_parameters() -> None:
    config = parse_config('backend: "python" parameters { key: "BUNDLE_tokenizer" value { } }').values
    assert asked_models(config) == ("tokenizer",)
    assert config_problems(config, files=["model.py"], parts=["tokenizer"]) == []
    (alone,) = config_problems(config, files=["model.py"])
    assert "not listed before it in its bundle (it is in none)" in alone
    onnx = parse_config('backend: "onnxruntime" parameters { key: "BUNDLE_tokenizer" value { } }').values
    assert any("BUNDLE_tokenizer: refused" in said for said in config_problems(onnx, files=[], parts=["tokenizer"]))
