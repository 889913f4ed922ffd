"""Cases that became law: a request, and what every later version must answer to it, or must not, or its bounds.

``cases/<model>/<name>.json`` in the repository of promotions holds one, in the terms of the Open Inference Protocol:

    {"format": 1,
     "why": "INC-1207: a customer without income was approved",
     "by": "anna",
     "inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [80, 0, 1, 0]}],
     "must": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}],
     "bounds": [{"output": "probabilities", "at": [0, 1], "maximum": 0.4}]}

``must`` are outputs as they have to be answered, ``must_not`` outputs that may not all be answered so again, and
``bounds`` hold values between numbers. ``data`` is flat or nested, as the protocol allows both.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema, model_validator

from bot.domain import in_words, jsontext
from bot.domain.answers import ROOM_BYTES, WHOLE_BYTES, Hashed, Output, hashed
from bot.domain.evidence import AskedCase
from bot.domain.names import CASE_NAME, MODEL_NAME
from bot.domain.packed import loaded
from bot.domain.smoke import (
    DATATYPES,
    FLOATS,
    INTEGERS,
    MAX_DIMENSIONS,
    Tensor,
    Tolerance,
    difference,
    shown,
    tensor_from_json,
)
from bot.errors import InvalidInput

CASES = "cases"
"""The folder in the repository of promotions."""
MAX_CASES = 256
"""Of one model: each is asked at every proposal, and of each release that ``promobot bisect`` loads."""
MAX_BYTES = 2**20
"""Of one file."""

_LINE = re.compile(r" at line ([0-9]+)")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _flat(data: object) -> object:
    """Return nested values row by row; flat ones, and those nested deeper than a tensor can be, as they are."""
    for _ in range(MAX_DIMENSIONS):
        if not isinstance(data, list) or not any(isinstance(item, list) for item in data):
            break
        data = [value for item in data for value in (item if isinstance(item, list) else [item])]
    return data


def _tensor(entry: object) -> Tensor:
    if isinstance(entry, Tensor):
        return entry
    if isinstance(entry, dict) and "data" in entry:
        return tensor_from_json({**entry, "data": _flat(entry["data"])})
    return tensor_from_json(entry)


CaseTensor = Annotated[
    Tensor,
    PlainValidator(_tensor),
    WithJsonSchema(
        {
            "type": "object",
            "description": "a tensor, as the protocol's JSON has it",
            "required": ["name", "datatype", "shape", "data"],
            "properties": {
                "name": {"type": "string"},
                "datatype": {"enum": sorted(DATATYPES)},
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "data": {"type": "array", "description": "all values, flat or nested, row by row"},
            },
        }
    ),
]


class Bound(_Part):
    """Numbers between which values of one output must be."""

    output: str = Field(min_length=1, description="name of the output")
    at: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, description="which value, by one index for each dimension; default: every value of the output"
    )
    minimum: float | None = Field(default=None, description="it must be at least this")
    maximum: float | None = Field(default=None, description="it must be at most this")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("needs a minimum or a maximum")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"nothing is at least {self.minimum:g} and at most {self.maximum:g}")
        return self


class AllowedDistance(_Part):
    """The largest distance of a float from the one in ``must`` or ``must_not``: both parts together."""

    relative: float = Field(default=1e-4, ge=0, description="of the value that is written")
    absolute: float = Field(default=1e-5, ge=0, description="whatever the value is")


class CaseFile(_Part):
    """A request and the answer that every later version must give to it, or must not, or its bounds."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": [key], "properties": {key: {"minItems": 1}}} for key in ("must", "must_not", "bounds")
            ]
        },
    )

    schema_: str = Field(default="", alias="$schema", description="for editors; the bot does not read it")
    format: Literal[1] = Field(description="of this file")
    why: str = Field(
        min_length=1, max_length=500, description="why it is law; the people whose version it stops read this"
    )
    by: str = Field(min_length=1, max_length=100, description="who added it")
    inputs: list[CaseTensor] = Field(min_length=1, description="the request's inputs")
    must: list[CaseTensor] = Field(default=[], description="outputs that must be answered like this")
    must_not: list[CaseTensor] = Field(default=[], description="outputs that must not all be answered like this")
    bounds: list[Bound] = Field(default=[], description="numbers between which values must be")
    tolerance: AllowedDistance = Field(default=AllowedDistance(), description="for floats in must and must_not")

    @model_validator(mode="after")
    def _demands_something(self) -> Self:
        if not (self.must or self.must_not or self.bounds):
            raise ValueError("demands nothing: it needs must, must_not or bounds")
        for key, tensors in (("inputs", self.inputs), ("must", self.must), ("must_not", self.must_not)):
            names = [tensor.name for tensor in tensors]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{key} has {twice[0]!r:.80} twice")
        return self


@dataclass(frozen=True)
class Case:
    """One case of a model."""

    model: str
    name: str
    file: CaseFile

    @property
    def path(self) -> str:
        """Where it lies in the repository of promotions."""
        return path_of(self.model, self.name)

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs that it asks for."""
        file = self.file
        names = [*(tensor.name for tensor in (*file.must, *file.must_not)), *(bound.output for bound in file.bounds)]
        return list(dict.fromkeys(names))

    @cached_property
    def request(self) -> str:
        """The sha256 of what is asked: cases with the same one get the same answer."""
        asked = {"inputs": [tensor.to_json() for tensor in self.file.inputs], "outputs": sorted(self.outputs)}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the request and of its demands, without the person who added it and the reason."""
        file = self.file
        demanded = {
            "name": self.name,
            "request": self.request,
            "must": [tensor.to_json() for tensor in file.must],
            "must_not": [tensor.to_json() for tensor in file.must_not],
            "bounds": [bound.model_dump() for bound in file.bounds],
            "tolerance": file.tolerance.model_dump(),
        }
        return hashlib.sha256(json.dumps(demanded, sort_keys=True).encode()).hexdigest()

    @property
    def reason(self) -> str:
        """Why it is law, and who added it."""
        return f"{self.file.why.strip().rstrip('.')} (added by {self.file.by.strip()})"


@dataclass(frozen=True)
class ProposedCases:
    """What becomes of cases: those that are new or changed, the paths of those that go, and mistakes in files."""

    changed: tuple[Case, ...] = ()
    removed: tuple[str, ...] = ()
    mistakes: tuple[str, ...] = ()

    @property
    def by_model(self) -> dict[str, list[Case]]:
        """The new and changed ones of each model."""
        found: dict[str, list[Case]] = {}
        for case in self.changed:
            found.setdefault(case.model, []).append(case)
        return found


def path_of(model: str, name: str) -> str:
    """Return the path of a case in the repository of promotions."""
    return f"{CASES}/{model}/{name}.json"


def is_below_cases(path: str) -> bool:
    """Say whether a path lies in the folder of cases."""
    return path.startswith(f"{CASES}/")


def place_of(path: str) -> tuple[str, str] | None:
    """Return model and name of the case at a path; None for a page of text, which people may keep beside cases.

    Raises InvalidInput for a file that nothing reads: a case that nobody is asked protects nobody.
    """
    parts = path.split("/")
    if parts[0] == CASES and parts[-1].endswith(".md"):
        return None
    if len(parts) != 3 or not parts[2].endswith(".json"):
        raise InvalidInput(f"is not read: a case is {CASES}/<model>/<name>.json", file=path)
    model, name = parts[1], parts[2].removesuffix(".json")
    if not MODEL_NAME.fullmatch(model):
        raise InvalidInput(f"{model!r:.80} is not a valid model name", file=path)
    if not CASE_NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r:.80} is not a valid name of a case: a-z, 0-9, ., _ and -, at most 80, beginning with a letter "
            "or a digit",
            file=path,
        )
    return model, name


def parse(text: str | bytes, *, file: str, model: str, name: str) -> Case:
    """Read one case; raise InvalidInput with file, line and key for everything that is wrong."""
    if len(text) > MAX_BYTES:
        raise InvalidInput(f"has {len(text)} bytes, more than {MAX_BYTES}", file=file)
    try:
        document = jsontext.read(text, unique_keys=True)
    except ValueError as error:
        line = _LINE.search(str(error))
        raise InvalidInput(f"not JSON: {error}", file=file, line=int(line[1]) if line else None) from error
    if not isinstance(document, dict):
        raise InvalidInput("is not a JSON object", file=file, line=1)
    try:
        return Case(model, name, CaseFile.model_validate(document))
    except ValidationError as error:
        details = in_words.misspelt_once(error.errors(include_url=False))
        mistakes = [_mistake(text, detail, file) for detail in details]
        if len(mistakes) == 1:
            raise mistakes[0] from error
        listing = "\n  ".join(map(str, mistakes[:20]))
        all_of_them = InvalidInput(f"{len(mistakes)} mistakes:\n  {listing}", file=file)
        all_of_them.mistakes = tuple(mistakes)
        raise all_of_them from error


def _mistake(text: str | bytes, detail: Mapping[str, Any], file: str) -> InvalidInput:
    path = detail["loc"]
    key = ".".join(map(str, path))
    return InvalidInput(in_words.of_pydantic(detail), file=file, line=jsontext.line_of(text, path), key=key)


# --- what an answer is worth ---------------------------------------------------------------------------------------


def wrong_in(case: Case, answer: Sequence[Output]) -> list[str]:
    """Return one sentence for each demand that an answer does not meet; nothing where it holds.

    An output that is missing, or has another datatype or shape than the case says, never holds.
    """
    file, by_name = case.file, {tensor.name: tensor for tensor in answer}
    got = {name: tensor for name, tensor in by_name.items() if isinstance(tensor, Tensor)}
    tolerance = Tolerance(file.tolerance.relative, file.tolerance.absolute)
    wrong = [said for tensor in file.must if (said := difference(tensor, got.get(tensor.name), tolerance))]
    wrong += _as_forbidden(file.must_not, got, tolerance)
    return wrong + [said for bound in file.bounds if (said := _outside(bound, got.get(bound.output)))]


def _as_forbidden(forbidden: Sequence[Tensor], got: Mapping[str, Tensor], tolerance: Tolerance) -> list[str]:
    """Return what is wrong where an answer has all of these outputs, or where they cannot be compared."""
    unlike, no_such = False, list[str]()
    for tensor in forbidden:
        have = got.get(tensor.name)
        said = difference(tensor, have, tolerance)
        unlike = unlike or bool(said)
        if have is None or (have.datatype, have.shape) != (tensor.datatype, tensor.shape):
            no_such.append(said)
    if no_such or unlike or not forbidden:
        return no_such
    values = ", ".join(f"{tensor.name} {_few(tensor)}" for tensor in forbidden)
    return [f"{values}: the very answer that it must not get again"]


def _few(tensor: Tensor) -> str:
    values = ", ".join(map(shown, tensor.data[:4]))
    return values + ", …" * (len(tensor.data) > 4)


def _outside(bound: Bound, got: Tensor | None) -> str:
    if got is None:
        return f"{bound.output}: missing in the answer"
    if got.datatype not in FLOATS and got.datatype not in INTEGERS:
        return f"{bound.output}: {got.datatype} has no bounds"
    indices: Iterable[int] = range(len(got.data))
    if bound.at is not None:
        if len(bound.at) != len(got.shape) or any(i >= size for i, size in zip(bound.at, got.shape, strict=True)):
            return f"{bound.output}: has no value at {bound.at}; its shape is {list(got.shape)}"
        flat = 0
        for index, size in zip(bound.at, got.shape, strict=True):
            flat = flat * size + index
        indices = [flat]
    elif not got.data:
        return f"{bound.output}: has no values"
    values = loaded(got.data)
    wrong = [(index, float(values[index])) for index in indices if not _is_within(bound, float(values[index]))]
    if not wrong:
        return ""
    index, value = wrong[0]
    limit = (
        f"≥ {bound.minimum:g}" if bound.minimum is not None and not value >= bound.minimum else f"≤ {bound.maximum:g}"
    )
    more = f" ({len(wrong)} of {len(values)} values)" if len(wrong) > 1 else ""
    return f"{bound.output}[{index}]: {shown(value)}, and must be {limit}{more}"


def _is_within(bound: Bound, value: float) -> bool:
    # NaN is within no bounds.
    above = bound.minimum is None or value >= bound.minimum
    return above and (bound.maximum is None or value <= bound.maximum) and not math.isnan(value)


class Keeper:
    """Makes of staging's answers what the evidence keeps of them, within a bound for all cases together."""

    def __init__(self) -> None:
        self._room = ROOM_BYTES

    def asked(self, case: Case, outputs: Sequence[Tensor]) -> AskedCase:
        """Return a case with what was answered to it, and what of it is wrong."""
        wrong = "; ".join(wrong_in(case, outputs))
        kept = tuple(map(self._kept, outputs))
        return AskedCase(case=case.name, request=case.request, demands=case.fingerprint, outputs=kept, wrong=wrong)

    def _kept(self, got: Tensor) -> Output:
        if got.size <= min(WHOLE_BYTES, self._room):
            self._room -= got.size
            return got
        return hashed(got, got, Tolerance())


def refused(case: Case, why: str) -> AskedCase:
    """Return a case whose request Triton refused."""
    return AskedCase(
        case=case.name, request=case.request, demands=case.fingerprint, outputs=(), wrong=why, refused=True
    )


def said_of(case: Case, asked: AskedCase) -> str:
    """Say in a line what was answered to a case, and why the case is there."""
    if asked.wrong:
        return f"{asked.wrong}; {case.reason}"
    values = "; ".join(f"{one.name} {_few(one)}" for one in asked.outputs if isinstance(one, Tensor))
    return f"{values or 'as demanded'}; {case.reason}"


# --- judged again by what is on record -----------------------------------------------------------------------------


def judged_by_record(
    cases: Iterable[Case], asked: Sequence[AskedCase]
) -> tuple[list[tuple[Case, list[str]]], list[Case]]:
    """Return what is wrong with each case by the answers that were recorded, and the cases that were not asked.

    What was found of the very same case stands. Otherwise an answer counts for a case with the same request, if all
    of it is on record.
    """
    same = {one.demands: one for one in asked}
    answers = {one.request: one for one in asked if not one.refused and not any(map(_is_hashed, one.outputs))}
    found: list[tuple[Case, list[str]]] = []
    unasked: list[Case] = []
    for case in cases:
        if case.fingerprint in same:
            said = same[case.fingerprint].wrong
            found.append((case, [said] if said else []))
        elif case.request in answers:
            found.append((case, wrong_in(case, answers[case.request].outputs)))
        else:
            unasked.append(case)
    return found, unasked


def _is_hashed(output: Output) -> bool:
    return isinstance(output, Hashed)
