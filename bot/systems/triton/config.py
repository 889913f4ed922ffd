"""``config.pbtxt``: parsed and written as Triton itself does, by its own message."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format, text_format

from bot.domain import in_words
from bot.domain.model_config import (
    BUNDLE_PARAMETER,
    MODEL_DIRECTORY,
    PYTHON_ENVIRONMENT,
    asked_models,
    backend_of,
    python_environment,
)
from bot.domain.routes import Target
from bot.domain.signature import ModelConfig, Signature, TensorSpec
from bot.systems.triton.messages import generated

model_config = generated("model_config_pb2")


def parse_config(text: str) -> ModelConfig:
    """Parse ``config.pbtxt``; raise ValueError where it is not a model configuration."""
    message = _message(text)
    message.ClearField("name")
    message.ClearField("version_policy")
    canonical = message.SerializeToString(deterministic=True)
    return ModelConfig(
        backend=backend_of(message.backend, message.platform),
        max_batch_size=message.max_batch_size,
        signature=Signature(
            inputs=tuple(_spec(t, message.max_batch_size) for t in message.input),
            outputs=tuple(_spec(t, message.max_batch_size) for t in message.output),
        ),
        fingerprint=hashlib.sha256(canonical).hexdigest(),
        values=json_format.MessageToDict(message, preserving_proto_field_name=True),
        text=text_format.MessageToString(message),
    )


def render_config(text: str, *, versions: Iterable[int]) -> str:
    """Return the configuration with a version policy that names exactly these versions, and without a name."""
    message = _message(text)
    message.ClearField("name")
    message.version_policy.Clear()
    message.version_policy.specific.versions.extend(sorted(set(versions)))
    return str(text_format.MessageToString(message))


def placed_config(text: str, version: int, parts: Mapping[str, Target] | None = None) -> str:
    """Return the configuration of a package as it stands beside the version that it is published with.

    Triton looks for files of labels and for a Python model's environment beside config.pbtxt, and the package's files
    lie in the version's folder. So two versions with either never have the same configuration, and get names of
    their own.

    A model that asks others gets their names and versions as ``parts`` has them, by the model's own name: so it asks
    exactly these for good, and with other parts it has another configuration, hence another name. Raises ValueError
    where it asks a model that is not among them.
    """
    message = _message(text)
    asks = _ask_exactly(message, parts or {})
    environment = python_environment({"parameters": _parameters(message)}) or ""
    names_files = environment.startswith(MODEL_DIRECTORY) or any(output.label_filename for output in message.output)
    if not asks and not names_files:
        return text
    for output in message.output:
        if output.label_filename:
            output.label_filename = f"{version}/{output.label_filename}"
    if environment.startswith(MODEL_DIRECTORY):
        inside = environment.removeprefix(MODEL_DIRECTORY)
        message.parameters[PYTHON_ENVIRONMENT].string_value = f"{MODEL_DIRECTORY}{version}/{inside}"
    return str(text_format.MessageToString(message))


def _parameters(message: Any) -> dict[str, dict[str, str]]:
    return {name: {"string_value": parameter.string_value} for name, parameter in message.parameters.items()}


def asked_in(text: str) -> tuple[str, ...]:
    """Return the models that a configuration asks, as the package names them."""
    return asked_models(json_format.MessageToDict(_message(text), preserving_proto_field_name=True))


def asked_exactly(text: str) -> frozenset[tuple[str, int]]:
    """Return what a published configuration asks: names and versions as Triton has them."""
    message = _message(text)
    steps = {(step.model_name, int(step.model_version)) for step in message.ensemble_scheduling.step}
    given = [
        message.parameters[key].string_value.rpartition(":")
        for key in message.parameters
        if key.startswith(BUNDLE_PARAMETER)
    ]
    return frozenset(steps | {(name, int(version)) for name, _, version in given})


def _ask_exactly(message: Any, parts: Mapping[str, Target]) -> bool:
    """Name these parts in steps and parameters; say whether there are any."""
    asks = False
    for step in message.ensemble_scheduling.step:
        part, asks = _part(step.model_name, parts), True
        step.model_name, step.model_version = part.triton_model, part.version
    for key in sorted(message.parameters):
        if key.startswith(BUNDLE_PARAMETER):
            part, asks = _part(key.removeprefix(BUNDLE_PARAMETER), parts), True
            message.parameters[key].string_value = f"{part.triton_model}:{part.version}"
    return asks


def _part(model: str, parts: Mapping[str, Target]) -> Target:
    if model not in parts:
        raise ValueError(f"it asks {model!r:.80}, which is not published with it; list it before it in a bundle")
    return parts[model]


def completed_config(text: str, known: str, *, version: int) -> tuple[str, list[str]]:
    """Return a package's configuration, and the fields that were completed by ``known``, another configuration.

    Triton completes the same ones: who runs it, inputs, outputs, and with them how many rows go together. Files in
    the folder of ``version`` are named as the package does, without the folder.
    """
    message, other = _message(text), _message(known)
    message.ClearField("name")
    message.ClearField("version_policy")
    completed = []
    if not message.backend and not message.platform:
        completed += [name for name in ("backend", "platform") if getattr(other, name)]
    missing = [name for name in ("input", "output") if not getattr(message, name) and getattr(other, name)]
    completed += missing
    if missing and not message.max_batch_size and other.max_batch_size:
        completed.append("max_batch_size")
        if other.HasField("dynamic_batching") and not message.WhichOneof("scheduling_choice"):
            completed.append("dynamic_batching")
    for name in completed:
        value = getattr(other, name)
        if isinstance(value, str | int):
            setattr(message, name, value)
        else:
            getattr(message, name).MergeFrom(value)
    for output in message.output:
        output.label_filename = output.label_filename.removeprefix(f"{version}/")
    return str(text_format.MessageToString(message, as_utf8=True)), completed


def versions_of(text: str) -> list[int]:
    """Return the versions that the configuration's policy names; none where it names none."""
    return sorted(_message(text).version_policy.specific.versions)


def _message(text: str) -> Any:
    try:
        return text_format.Parse(text, model_config.ModelConfig())
    except text_format.ParseError as error:
        raise ValueError(f"config.pbtxt: {in_words.of_text_format(str(error), _fields)}") from error


def _fields(message: str) -> list[str]:
    pool = model_config.ModelConfig.DESCRIPTOR.file.pool
    return list(pool.FindMessageTypeByName(message).fields_by_name)


def _spec(tensor: object, max_batch_size: int) -> TensorSpec:
    kind = model_config.DataType.Name(tensor.data_type).removeprefix("TYPE_")  # type: ignore[attr-defined]
    batch = (-1,) if max_batch_size > 0 else ()
    datatype = "BYTES" if kind == "STRING" else kind
    return TensorSpec(tensor.name, datatype, (*batch, *tensor.dims))  # type: ignore[attr-defined]
