"""What a wrong config.pbtxt is told: which line, and what belongs there, not protobuf's words."""

from __future__ import annotations

import pytest

from bot.systems.triton.config import parse_config


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
