"""What a wrong config.pbtxt is told: which line, and what belongs there, not protobuf's words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.domain.routes import Target
from bot.systems.triton.config import asked_in, parse_config, placed_config


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_batch: 8\n", "line 1: there is no field max_batch; did you mean max_batch_size?"),
        ("input {\n  dim: [1]\n}\n", "line 2: there is no field dim; did you mean dims?"),
        ("zzz: 1\n", "line 1: there is no field zzz"),
        ('max_batch_size: "x"\n', 'line 1: it needs a whole number, not "x"'),
        ("max_batch_size: 99999999999\n", "line 1: 99999999999 is too large or too small"),
        ("max_batch_size: 1\nmax_batch_size: 2\n", "line 2: max_batch_size stands twice"),
        (
            'max_batch_size: 8\ninput [ { name: "X" data_type: TYPE_FP3 } ]\n',
            "line 2: TYPE_FP3 is none of the values that belong here",
        ),
        ("optimization { cuda { graphs: maybe } }", "line 1: it needs true or false"),
        ("backend: onnx", "line 1: it needs a text in quotation marks, not 'onnx'"),
        ('name: "a\n', "line 1: a quotation mark is not closed"),
        ("max_batch_size 8\n", "line 1: “:” is missing"),
        ("input [\n", "line 2: “{” is missing"),
        ('input { name: "x" }}\n', "line 1: “}” stands where a field begins"),
        (f"backend: {'a' * 100}", f"line 1: it needs a text in quotation marks, not '{'a' * 58}…"),
    ],
)
def test_a_mistake_in_a_configuration_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_config(text)
    assert str(error.value) == f"config.pbtxt: {says}"


PARTS = {
    "tokenizer": Target("tokenizer.1a2b3c4d", 4, f"sha256:{'0' * 64}"),
    "ranker": Target("ranker", 1, f"sha256:{'1' * 64}"),
}
ENSEMBLE = """
platform: "ensemble"
ensemble_scheduling { step [ { model_name: "tokenizer" model_version: -1 }, { model_name: "ranker" } ] }
"""


def test_an_ensemble_asks_exactly_the_parts_with_which_it_is_published() -> None:
    placed = placed_config(ENSEMBLE, 7, PARTS)
    steps = parse_config(placed).values["ensemble_scheduling"]["step"]  # type: ignore[index,call-overload]
    assert [(step["model_name"], step["model_version"]) for step in steps] == [
        ("tokenizer.1a2b3c4d", "4"),
        ("ranker", "1"),
    ]
    other = placed_config(ENSEMBLE, 7, {**PARTS, "ranker": replace(PARTS["ranker"], version=2)})
    assert parse_config(placed).fingerprint != parse_config(other).fingerprint, "so it gets a name of its own"
    assert asked_in(ENSEMBLE) == ("tokenizer", "ranker")


def test_a_python_model_gets_its_parts_in_parameters_whatever_its_package_says() -> None:
    given = 'backend: "python" parameters { key: "BUNDLE_tokenizer" value { string_value: "tokenizer:-1" } }'
    placed = parse_config(placed_config(given, 7, PARTS)).values
    assert placed["parameters"] == {"BUNDLE_tokenizer": {"string_value": "tokenizer.1a2b3c4d:4"}}


@pytest.mark.parametrize("parts", [{}, {"ranker": PARTS["ranker"]}])
def test_what_is_not_published_with_it_is_never_asked(parts: dict[str, Target]) -> None:
    with pytest.raises(ValueError, match="it asks 'tokenizer', which is not published with it"):
        placed_config(ENSEMBLE, 7, parts)
