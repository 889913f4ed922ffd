"""The tensors of MLflow's model signature, read from ``MLmodel`` as MLflow documents the format."""

from __future__ import annotations

import yaml

from bot.domain import in_words, jsontext
from bot.domain.signature import Signature, TensorSpec

_NUMPY_TO_TRITON = {
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "str": "BYTES",
    "object": "BYTES",
}


def signature_of(text: bytes) -> Signature | None:
    """Return the tensors of the signature; None where it has none, or one of columns.

    Raises ValueError, with what is wrong in words for people, where ``text`` is not an ``MLmodel`` file.
    """
    try:
        # MLflow's own parser needs pandas, which a runner lacks. Nothing is built of the rest of the document: a few
        # aliases and merges would become more than a machine holds.
        signature = _yaml_value(yaml.compose(text, Loader=yaml.SafeLoader), "signature")
        inputs, outputs = (_tensors(_yaml_text(_yaml_value(signature, part))) for part in ("inputs", "outputs"))
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, TypeError, AttributeError) as error:
        said = "it is not built as MLflow builds one"
        if isinstance(error, yaml.YAMLError):
            said, line = in_words.of_yaml(error, text.decode(errors="replace"))
            said = f"not YAML{f' in line {line}' if line else ''}: {said}"
        raise ValueError(said) from error
    return Signature(inputs, outputs) if inputs and outputs else None


def _yaml_value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return the value of a key; None where there is none, or null. Of two the last counts, as MLflow reads it."""
    if node is None:
        return None
    if not isinstance(node, yaml.MappingNode):
        raise TypeError(f"the value that holds {key} is not a mapping")
    found = next((value for name, value in reversed(node.value) if name.value == key), None)
    return None if found is None or found.tag == "tag:yaml.org,2002:null" else found


def _yaml_text(node: yaml.Node | None) -> str | None:
    if node is None:
        return None
    if not isinstance(node, yaml.ScalarNode):
        raise TypeError("is no text")
    return str(node.value)


def _tensors(schema: str | None) -> tuple[TensorSpec, ...]:
    columns = jsontext.read(schema) if schema else []
    if any(column.get("type") != "tensor" for column in columns):
        return ()
    return tuple(
        TensorSpec(
            column.get("name") or "",
            _NUMPY_TO_TRITON.get(column["tensor-spec"]["dtype"], column["tensor-spec"]["dtype"]),
            tuple(column["tensor-spec"]["shape"]),
        )
        for column in columns
    )
