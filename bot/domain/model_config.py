"""The fields that a ``config.pbtxt`` may have: a decision for each field of Triton's ``model_config.proto``.

A field that has no decision here is refused, and so is a parameter that is not listed for its backend. So a field
that a later Triton adds stays refused until somebody reads what it does. Decision 32 tells how each was decided.

A configuration comes as plain values: messages and maps are mappings, repeated fields are lists.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["allowed", "refused", "file", "map", "parameters"]

PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "pytorch_libtorch": "pytorch",
    "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow",
    "tensorrt_plan": "tensorrt",
    "ensemble": "ensemble",
}
"""The backend that each of Triton's old platform names stands for."""

ENSEMBLE = (
    "an ensemble serves other models, and with model_version -1 any version of them, which no route names. "
    "List it behind these models under bundles in the environment's settings: then they are released together"
)


DECOUPLED = (
    "a decoupled model gives any number of answers to one request. The checks, the proofs and the gateways "
    "expect exactly one"
)


@dataclass(frozen=True)
class Decision:
    """What holds for one field: whether it may be set, and why not.

    ``file`` names a file of the package. ``map`` may have any key; what its values hold is decided below it.
    ``parameters`` is a map whose keys are decided one by one. A refused field decides for all below it.
    """

    kind: Kind
    why: str = ""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _allowed(text: str) -> dict[str, Decision]:
    return dict.fromkeys(_names(text), Decision("allowed"))


FIELDS: Mapping[str, Decision] = {
    # Publishing writes name and version_policy anew. platform and backend are judged by the environment's list.
    **_allowed("name platform backend version_policy version_policy.latest version_policy.latest.num_versions"),
    **_allowed("version_policy.all version_policy.specific version_policy.specific.versions max_batch_size"),
    "runtime": Decision("refused", "Triton loads the library that it names into the server"),
    # Tensors: names, types, shapes.
    **_allowed("input input.name input.data_type input.format input.dims input.reshape input.reshape.shape"),
    **_allowed("input.is_shape_tensor input.allow_ragged_batch input.optional input.is_non_linear_format_io"),
    **_allowed("output output.name output.data_type output.dims output.reshape output.reshape.shape"),
    **_allowed("output.is_shape_tensor output.is_non_linear_format_io"),
    "output.label_filename": Decision("file"),
    **_allowed("batch_input batch_input.kind batch_input.target_name batch_input.data_type batch_input.source_input"),
    **_allowed("batch_output batch_output.target_name batch_output.kind batch_output.source_input"),
    # How it is run: speed and memory, no files. The name of an accelerator decides which parameters it may have.
    **_allowed("optimization optimization.graph optimization.graph.level optimization.priority"),
    **_allowed("optimization.cuda optimization.cuda.graphs optimization.cuda.busy_wait_events"),
    **_allowed("optimization.cuda.output_copy_stream optimization.cuda.graph_spec"),
    **_allowed("optimization.cuda.graph_spec.batch_size optimization.cuda.graph_spec.graph_lower_bound"),
    **_allowed("optimization.cuda.graph_spec.graph_lower_bound.batch_size optimization.cuda.graph_spec.input.dim"),
    **_allowed("optimization.cuda.graph_spec.graph_lower_bound.input.dim"),
    "optimization.cuda.graph_spec.input": Decision("map"),
    "optimization.cuda.graph_spec.graph_lower_bound.input": Decision("map"),
    **_allowed("optimization.execution_accelerators"),
    **_allowed("optimization.execution_accelerators.gpu_execution_accelerator"),
    **_allowed("optimization.execution_accelerators.gpu_execution_accelerator.name"),
    **_allowed("optimization.execution_accelerators.cpu_execution_accelerator"),
    **_allowed("optimization.execution_accelerators.cpu_execution_accelerator.name"),
    "optimization.execution_accelerators.gpu_execution_accelerator.parameters": Decision("parameters"),
    "optimization.execution_accelerators.cpu_execution_accelerator.parameters": Decision("parameters"),
    **_allowed("optimization.input_pinned_memory optimization.input_pinned_memory.enable"),
    **_allowed("optimization.output_pinned_memory optimization.output_pinned_memory.enable"),
    **_allowed("optimization.gather_kernel_buffer_threshold optimization.eager_batching"),
    # How requests wait and are put together.
    **_allowed(
        "dynamic_batching dynamic_batching.preferred_batch_size dynamic_batching.max_queue_delay_microseconds"
    ),
    **_allowed("dynamic_batching.preserve_ordering dynamic_batching.priority_levels"),
    **_allowed("dynamic_batching.default_priority_level dynamic_batching.default_queue_policy"),
    **_allowed("dynamic_batching.default_queue_policy.timeout_action"),
    **_allowed("dynamic_batching.default_queue_policy.default_timeout_microseconds"),
    **_allowed("dynamic_batching.default_queue_policy.allow_timeout_override"),
    **_allowed("dynamic_batching.default_queue_policy.max_queue_size"),
    "dynamic_batching.priority_queue_policy": Decision("map"),
    **_allowed("dynamic_batching.priority_queue_policy.timeout_action"),
    **_allowed("dynamic_batching.priority_queue_policy.default_timeout_microseconds"),
    **_allowed("dynamic_batching.priority_queue_policy.allow_timeout_override"),
    **_allowed("dynamic_batching.priority_queue_policy.max_queue_size"),
    "sequence_batching": Decision(
        "refused",
        "a model of sequences keeps state between requests, in one instance of one Triton. Gateways spread requests "
        "over Tritons, and golden requests belong to no sequence. Take the state as an input, and give it back as an "
        "output",
    ),
    # Publishing writes the names and versions of a bundle's parts in; whose they may be is judged below.
    **_allowed("ensemble_scheduling ensemble_scheduling.step ensemble_scheduling.step.model_name"),
    **_allowed("ensemble_scheduling.step.model_version ensemble_scheduling.max_inflight_requests"),
    "ensemble_scheduling.step.model_namespace": Decision(
        "refused", "there is one model repository, and publishing names the parts that are in it"
    ),
    "ensemble_scheduling.step.input_map": Decision("map"),
    "ensemble_scheduling.step.output_map": Decision("map"),
    # Where it is run. A host policy is one of the server's own command line, a profile one of the TensorRT plan.
    **_allowed("instance_group instance_group.name instance_group.kind instance_group.count instance_group.gpus"),
    **_allowed("instance_group.rate_limiter instance_group.rate_limiter.resources instance_group.profile"),
    **_allowed("instance_group.rate_limiter.resources.name instance_group.rate_limiter.resources.global"),
    **_allowed("instance_group.rate_limiter.resources.count instance_group.rate_limiter.priority"),
    **_allowed("instance_group.secondary_devices instance_group.secondary_devices.kind"),
    **_allowed("instance_group.secondary_devices.device_id instance_group.passive instance_group.host_policy"),
    "default_model_filename": Decision("file"),
    "cc_model_filenames": Decision("file"),
    "metric_tags": Decision("map"),
    "parameters": Decision("parameters"),
    **_allowed("model_warmup model_warmup.name model_warmup.batch_size model_warmup.count"),
    "model_warmup.inputs": Decision("map"),
    **_allowed("model_warmup.inputs.data_type model_warmup.inputs.dims model_warmup.inputs.zero_data"),
    **_allowed("model_warmup.inputs.random_data"),
    "model_warmup.inputs.input_data_file": Decision(
        "refused",
        "Triton reads it from the folder warmup beside config.pbtxt, which all versions share and no digest covers. "
        "Use zero_data or random_data",
    ),
    "model_operations": Decision("refused", "the backend loads the libraries that it names, from any path"),
    "model_transaction_policy": Decision("allowed"),
    "model_transaction_policy.decoupled": Decision(
        "refused",
        DECOUPLED,
    ),
    "model_repository_agents": Decision(
        "refused", "an agent is code that runs in the server and changes what is loaded"
    ),
    "response_cache": Decision("allowed"),
    "response_cache.enable": Decision(
        "refused",
        "a cache would answer for the model: the latency budget, the proofs after a deployment and `drift` repeat "
        "requests, and would measure the cache",
    ),
    **_allowed("model_metrics model_metrics.metric_control model_metrics.metric_control.metric_identifier"),
    **_allowed("model_metrics.metric_control.metric_identifier.family"),
    **_allowed("model_metrics.metric_control.histogram_options"),
    **_allowed("model_metrics.metric_control.histogram_options.buckets"),
}
"""The decision for each field, by its path without indexes and without the keys of maps."""

PARAMETERS: Mapping[str, Collection[str]] = {
    "onnxruntime": _names(
        "execution_mode intra_op_thread_count inter_op_thread_count enable_mem_arena enable_mem_pattern "
        "memory.enable_memory_arena_shrinkage session.use_device_allocator_for_initializers cudnn_conv_algo_search "
        "gpu_mem_limit arena_extend_strategy do_copy_in_default_stream"
    ),
    "python": frozenset({"FORCE_CPU_ONLY_INPUT_TENSORS"}),
    "tensorrt": frozenset({"execution_context_allocation_strategy"}),
    "tensorflow": _names(
        "TF_NUM_INTRA_THREADS TF_NUM_INTER_THREADS TF_USE_PER_SESSION_THREADS TF_GRAPH_TAG TF_SIGNATURE_DEF "
        "MAX_SESSION_SHARE_COUNT"
    ),
    "pytorch": _names(
        "DISABLE_OPTIMIZED_EXECUTION INFERENCE_MODE DISABLE_CUDNN ENABLE_WEIGHT_SHARING ENABLE_CACHE_CLEANING "
        "ENABLE_JIT_EXECUTOR ENABLE_JIT_PROFILING ENABLE_TENSOR_FUSER INTRA_OP_THREAD_COUNT INTER_OP_THREAD_COUNT "
        "NUM_THREADS NUM_INTEROP_THREADS"
    ),
    "openvino": _names(
        "INFERENCE_NUM_THREADS COMPILATION_NUM_THREADS HINT_BF16 NUM_STREAMS SKIP_OV_DYNAMIC_BATCHSIZE "
        "ENABLE_BATCH_PADDING RESHAPE_IO_LAYERS TARGET_DEVICE"
    ),
    "fil": _names(
        "model_type predict_proba output_class threshold algo storage_type blocks_per_sm threads_per_tree "
        "transfer_threshold use_experimental_optimizations xgboost_allow_unknown_field is_classifier"
    ),
}
"""The parameters that each backend may be given: numbers and switches, none that names a file or a library."""

ACCELERATORS: Mapping[str, Collection[str]] = {
    "tensorrt": _names(
        "precision_mode max_workspace_size_bytes minimum_segment_size max_cached_engines "
        "trt_max_partition_iterations trt_min_subgraph_size int8_use_native_calibration_table trt_dla_enable "
        "trt_dla_core trt_force_sequential_engine_build trt_context_memory_sharing_enable "
        "trt_layer_norm_fp32_fallback trt_detailed_build_log trt_build_heuristics_enable trt_sparsity_enable "
        "trt_builder_optimization_level trt_auxiliary_streams trt_tactic_sources trt_profile_min_shapes "
        "trt_profile_max_shapes trt_profile_opt_shapes trt_cuda_graph_enable"
    ),
    "cuda": _names(
        "cudnn_conv_algo_search cudnn_conv_use_max_workspace cudnn_conv1d_pad_to_nc1d gpu_mem_limit "
        "arena_extend_strategy do_copy_in_default_stream use_ep_level_unified_stream enable_cuda_graph prefer_nhwc "
        "use_tf32 tunable_op_enable tunable_op_tuning_enable enable_skip_layer_norm_strict_mode"
    ),
    "openvino": frozenset(),
    "auto_mixed_precision": frozenset(),
    "gpu_io": frozenset(),
}
"""The parameters that each execution accelerator may be given."""

REASONS: Mapping[str, str] = {
    "TRITON_BATCH_STRATEGY_PATH": "Triton loads the library that it names into the server",
    "EXECUTION_ENV_PATH": "it names an archive of programs that the Python backend unpacks and runs",
    "CPU_EXTENSION_PATH": "OpenVINO loads the library that it names into the server",
    "TF_INIT_OPS_FILE": "it names a file of operations that are run at the load",
    "trt_extra_plugin_lib_paths": "TensorRT loads the libraries that it names into the server",
    **dict.fromkeys(
        ("trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix"),
        "engines are machine code, and no digest covers a cache of them",
    ),
    **dict.fromkeys(
        ("trt_timing_cache_enable", "trt_timing_cache_path", "trt_force_timing_cache", "int8_calibration_table_name"),
        "it has the server read a file that no digest covers",
    ),
    **dict.fromkeys(
        ("trt_dump_subgraphs", "trt_dump_ep_context_model", "trt_ep_context_file_path", "trt_ep_context_embed_mode"),
        "it has the server write files, or read engines that no digest covers",
    ),
    **dict.fromkeys(
        _names(
            "user_compute_stream has_user_compute_stream gpu_external_alloc gpu_external_free "
            "gpu_external_empty_cache"
        ),
        "it is an address in the server's memory",
    ),
}
"""Why a parameter that somebody may have reason to ask for is refused."""

PYTHON_ENVIRONMENT = "EXECUTION_ENV_PATH"
"""The parameter that names the archive of a Python model's environment."""
MODEL_DIRECTORY = "$$TRITON_MODEL_DIRECTORY/"
"""What such a path begins with where the archive comes with the model."""

OWN_PARAMETER = re.compile(r"own\.[A-Za-z0-9_.-]{1,100}")
"""Parameters that no Triton and no backend reads: notes for clients, and what a Python model reads itself."""
_OWN_STEP = "a parameter of your own begins with `own.`"

MAX_INSTANCES = 64
"""Copies of a model on one Triton, over all instance groups: each takes memory that other models need."""
MAX_WARMUP_REQUESTS = 100
"""Requests of all warm-ups of a model together: a load takes that much longer, at every deployment and restart."""
MAX_WARMUP_BYTES = 64 * 2**20
"""Of the inputs of one warm-up request; Triton makes them up in memory."""

LOADED_BY_NAME = re.compile(r"batchstrategy\.so|(?:lib)?triton_.*\.(?:so|dll)", re.IGNORECASE)
"""Files that Triton loads out of a version's folder whatever the configuration says."""


def backend_of(backend: str, platform: str) -> str:
    """Return the backend that serves a configuration; old platform names are translated."""
    if platform == "ensemble":  # Triton goes by this whatever the backend is
        return platform
    return backend or PLATFORMS.get(platform, platform)


def config_problems(
    config: Mapping[str, object],
    *,
    files: Collection[str],
    environments: Collection[str] | None = None,
    parts: Collection[str] | None = (),
) -> list[str]:
    """Return one sentence for each thing that a configuration may not say; it begins with the field's path.

    ``files`` are the paths of the package's files that go into the version's folder, ``environments`` those of them
    that are archives of Python which the platform's environment allows. None is all: nobody has asked it yet.
    ``parts`` are the models that it may ask: those before it in its bundle. None where the bundle is not known, as in
    a training job.
    """
    platform, named = str(config.get("platform", "")), str(config.get("backend", ""))
    backend = backend_of(named, platform)
    found = list(_asked_problems(config, backend, parts))
    if backend == "ensemble":
        found += [f"{'platform' if platform else 'backend'}: {ENSEMBLE}"] * (parts is not None and not parts)
    elif platform and platform not in PLATFORMS:
        found.append(f"platform: {platform!r:.80} is not one of Triton's; name the backend instead")
    elif platform and named and PLATFORMS[platform] != named:
        found.append(f"platform: {platform} stands for the backend {PLATFORMS[platform]}, not for {named!r:.80}")
    found += _problems(config, "", "", backend, frozenset(files))
    if said := _environment_problem(config, backend, files, environments):
        found.append(f"parameters.{PYTHON_ENVIRONMENT}: refused; {said}")
    return [*found, *_too_much(config)]


def python_environment(config: Mapping[str, object]) -> str | None:
    """Return the path that the configuration names as the archive of a Python model's environment; None for none."""
    parameters = config.get("parameters")
    named = parameters.get(PYTHON_ENVIRONMENT) if isinstance(parameters, Mapping) else None
    return str(named.get("string_value", "")) if isinstance(named, Mapping) else None


def _environment_problem(
    config: Mapping[str, object], backend: str, files: Collection[str], environments: Collection[str] | None
) -> str:
    """Say why the archive of a Python environment may not be used; an empty string where it may, or none is named."""
    path = python_environment(config)
    if path is None or backend != "python":
        return ""  # of other backends the parameter is refused by its name
    if not path.startswith(MODEL_DIRECTORY):
        return (
            f"{path!r:.120} lies outside of the package, so no digest covers it. Put the archive into the package "
            f"and write {MODEL_DIRECTORY}NAME"
        )
    inside = path.removeprefix(MODEL_DIRECTORY)
    if inside not in files:
        return f"{inside!r:.120} is not a file that package.json lists"
    if environments is not None and inside not in environments:
        return f"the sha256 of {inside!r:.120} is not one of packages.python_environments here"
    return ""


BUNDLE_PARAMETER = "BUNDLE_"
"""Parameter ``BUNDLE_<part>`` of a Python model: publishing writes name and version of the part there."""


def asked_models(config: Mapping[str, object]) -> tuple[str, ...]:
    """Return the models that this one asks, as its package names them: in steps, and in its parameters for parts."""
    schedule, parameters = config.get("ensemble_scheduling"), config.get("parameters")
    steps = _messages(schedule, "step") if isinstance(schedule, Mapping) else []
    names = [str(step.get("model_name", "")) for step in steps]
    given = map(str, parameters) if isinstance(parameters, Mapping) else ()
    names += [key.removeprefix(BUNDLE_PARAMETER) for key in given if key.startswith(BUNDLE_PARAMETER)]
    return tuple(dict.fromkeys(names))


def _asked_problems(config: Mapping[str, object], backend: str, parts: Collection[str] | None) -> Iterator[str]:
    """Say which models it must not ask: those that are not before it in its bundle."""
    schedule = config.get("ensemble_scheduling")
    if schedule is not None and backend != "ensemble":
        yield "ensemble_scheduling: only a model of the platform ensemble has steps"
        return
    for number, step in enumerate(_messages(schedule, "step") if isinstance(schedule, Mapping) else []):
        version = str(step.get("model_version", "-1"))
        if version not in ("-1", "0"):
            yield (
                f"ensemble_scheduling.step[{number}].model_version: {version:.20} is written by the package; "
                "write -1: publishing puts the version of the bundle there"
            )
    if parts is not None and (parts or backend != "ensemble"):
        listed = ", ".join(parts) or "it is in none"
        for model in asked_models(config):
            if model not in parts:
                yield (
                    f"it asks {model!r:.80}, which is not listed before it in its bundle ({listed}); a part asks "
                    "only parts before it, so none asks itself in a circle"
                )


def _too_much(config: Mapping[str, object]) -> Iterator[str]:
    """Say what would take more memory or time than any model needs, before it answers its first request."""
    instances = sum(_number(group.get("count", 1)) for group in _messages(config, "instance_group"))
    if instances > MAX_INSTANCES:
        yield f"instance_group: {instances} instances, more than {MAX_INSTANCES}"
    requests = 0
    for number, warmup in enumerate(_messages(config, "model_warmup")):
        requests += max(1, _number(warmup.get("count", 1)))
        inputs = warmup.get("inputs")
        rows = max(1, _number(warmup.get("batch_size", 1)))
        size = rows * sum(map(_input_bytes, inputs.values())) if isinstance(inputs, Mapping) else 0
        if size > MAX_WARMUP_BYTES:
            yield f"model_warmup[{number}]: inputs of {size} bytes, more than {MAX_WARMUP_BYTES}"
    if requests > MAX_WARMUP_REQUESTS:
        yield f"model_warmup: {requests} requests, more than {MAX_WARMUP_REQUESTS}"


def _messages(config: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    found = config.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _input_bytes(given: object) -> int:
    """Return the bytes of one row of a warm-up input."""
    if not isinstance(given, Mapping):
        return 0
    dims = given.get("dims")
    elements = math.prod(abs(_number(dim)) for dim in dims) if isinstance(dims, list) else 1
    bits = re.search(r"[0-9]+", str(given.get("data_type", "")))
    # A text begins with its length, in four bytes.
    return elements * (int(bits[0]) // 8 if bits else 1 if given.get("data_type") == "TYPE_BOOL" else 4)


def _number(value: object) -> int:
    """Return an integer; those of 64 bits come as text."""
    return int(value) if isinstance(value, int | str) and str(value).lstrip("-").isdecimal() else 0


def _problems(
    message: Mapping[str, object], path: str, shown: str, backend: str, files: frozenset[str]
) -> Iterator[str]:
    for name, value in message.items():
        below, said = f"{path}{name}", f"{shown}{name}"
        decision = FIELDS.get(below)
        if decision is None:
            yield f"{said}: is not known here, so it is refused"
            continue
        for number, one in enumerate(value if isinstance(value, list) else [value]):
            where = f"{said}[{number}]" if isinstance(value, list) and len(value) > 1 else said
            yield from _judged(decision, one, below, where, backend, files, message)


def _judged(
    decision: Decision,
    value: object,
    path: str,
    shown: str,
    backend: str,
    files: frozenset[str],
    around: Mapping[str, object],
) -> Iterator[str]:
    match decision.kind:
        case "refused":
            yield f"{shown}: refused; {decision.why}"
        case "file":
            names = value.items() if isinstance(value, Mapping) else [("", value)]
            for key, name in names:
                if problem := _file_problem(str(name), path, backend, files):
                    yield f"{shown}{f'[{key}]' if key else ''}: {str(name)!r:.120} {problem}"
        case "parameters":
            known, of = _known_parameters(path, backend, around)
            for key in value if isinstance(value, Mapping) else ():
                if path == "parameters" and (key, backend) == (PYTHON_ENVIRONMENT, "python"):
                    continue  # its value decides
                if backend == "python" and path == "parameters" and str(key).startswith(BUNDLE_PARAMETER):
                    continue
                if key not in known and not OWN_PARAMETER.fullmatch(str(key)):
                    yield f"{shown}.{key!s:.80}: refused; {_reason(str(key), of)}"
        case "map":
            for key, each in value.items() if isinstance(value, Mapping) else ():
                if isinstance(each, Mapping):
                    yield from _problems(each, f"{path}.", f"{shown}[{key!s:.80}].", backend, files)
        case "allowed":
            if path.endswith("_execution_accelerator.name") and value not in ACCELERATORS:
                yield f"{shown}: refused; {str(value)!r:.80} is not one of {', '.join(ACCELERATORS)}"
            if isinstance(value, Mapping):
                yield from _problems(value, f"{path}.", f"{shown}.", backend, files)


def _known_parameters(path: str, backend: str, around: Mapping[str, object]) -> tuple[Collection[str], str]:
    if path == "parameters":
        return PARAMETERS.get(backend, ()), f"the backend {backend or 'that is not named'}"
    accelerator = str(around.get("name", ""))
    return ACCELERATORS.get(accelerator, ()), f"the accelerator {accelerator or 'that is not named'}"


def _reason(parameter: str, of: str) -> str:
    if parameter in REASONS:
        return REASONS[parameter]
    return f"it is not on the list of parameters of {of}; {_OWN_STEP}"


def _file_problem(name: str, path: str, backend: str, files: frozenset[str]) -> str:
    """Say why a configuration may not name this file; an empty string where it may."""
    if path == "output.label_filename":
        return "" if name in files else "is not a file that package.json lists"
    if name in files:
        wrong = backend == "onnxruntime" and not name.endswith(".onnx")
        return "must end with .onnx: only such files are read for the files that they name" if wrong else ""
    # A model may be a folder: onnxruntime opens model.onnx in it. All that lies in it is listed.
    inside = (PurePosixPath(name) / "model.onnx").as_posix() if backend == "onnxruntime" else ""
    if PurePosixPath(name).as_posix() == name and (
        inside in files or (not inside and any(file.startswith(f"{name}/") for file in files))
    ):
        return ""
    return "is not a file that package.json lists"
