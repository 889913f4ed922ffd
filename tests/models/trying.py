"""Bring models into service as a company does, and compare what users get with what each framework answers.

A batch is registered, proposed in one pull request, checked, merged and deployed. Then a gateway is asked every smoke
case over JSON and over the binary form. A model that the checks refuse is told so, and the others go on without it.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.domain import binary, desired
from bot.domain.pyfunc import ENVIRONMENT_FILE, is_pyfunc
from bot.domain.smoke import FLOATS, SmokeCase, Tensor, differences, tensor_from_json
from bot.training.package import read_cases, read_package
from tests.models.given import Case
from tests.operations.world import HTTP, PROMOTIONS, Registered, World

BATCH = 24
"""Models of one pull request: each is a process of Triton with onnxruntime inside, on staging and on dev."""
ENVIRONMENT = "dev"
NO_JSON = "JSON has no FP16"
"""Triton's own rule. A gateway says so with 400: that is asked, too."""


@dataclass
class Tried:
    """What became of a case. A step that was not reached is empty, one that failed says why in ``problem``."""

    family: str
    name: str
    shapes: str = ""
    datatypes: str = ""
    package: str = ""
    checks: str = ""
    deployed: str = ""
    json: str = ""
    binary: str = ""
    largest: float | None = None
    problem: str = ""
    install: str = ""
    not_installed: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether it was served, and answered as its framework over both forms."""
        steps = (self.package, self.checks, self.deployed, self.json, self.binary)
        return not self.problem and all(step in ("ok", NO_JSON) for step in steps)


def try_all(world: World, cases: Sequence[Case], folder: Path) -> Iterator[Tried]:
    """Yield what became of each case, in order."""
    for start in range(0, len(cases), BATCH):
        yield from _Batch(world, folder / str(start), cases[start : start + BATCH]).rows()
        world.tidy()


class _Batch:
    """Some cases on their way through one pull request."""

    def __init__(self, world: World, folder: Path, cases: Sequence[Case]) -> None:
        self._world, self._folder, self._cases = world, folder, cases
        self._registered: dict[str, tuple[Registered, Tried]] = {}
        self._pyfuncs: dict[str, str] = {}
        """The sha256 of the environment of each pyfunc, by model: the settings allow both by name."""

    def rows(self) -> list[Tried]:
        tried = [self._packaged(number, case) for number, case in enumerate(self._cases)]
        if self._pyfuncs:
            pinned = {model: sha256 for model, sha256 in self._pyfuncs.items() if sha256}
            rules = {"pyfuncs": list(self._pyfuncs), "python_environments": pinned}
            self._world.configure(ENVIRONMENT, packages=rules)
        if self._proposed_and_checked():
            self._deployed()
        for registered, row in self._registered.values():
            if row.deployed:
                _ask(self._world, registered, row)
        return tried

    def _packaged(self, number: int, case: Case) -> Tried:
        tried = Tried(case.family, case.name)
        if case.missing:
            tried.not_installed, tried.install = case.missing, case.install
            return tried
        directory = self._folder / str(number)
        try:
            case.write(directory)
            tried.shapes, tried.datatypes = _interface(directory)
            model = self._world.model()
            registered = self._world.register_package(directory, model)
        except Exception as error:  # noqa: BLE001 - whatever a model's framework or converter raises is its result
            traceback.print_exc()
            tried.problem = f"package: {type(error).__name__}: {error}"
            return tried
        tried.package = "ok"
        self._registered[model] = registered, tried
        if is_pyfunc(package := read_package(directory)):
            self._pyfuncs[model] = f"sha256:{archive.sha256}" if (archive := package.file(ENVIRONMENT_FILE)) else ""
        return tried

    def _proposed_and_checked(self) -> bool:
        """Merge the models that the checks let through; those that they refuse are proposed no more."""
        for _ in range(2):
            going = {name: one for name, (one, row) in self._registered.items() if not row.problem}
            if not going:
                return False
            path = PROMOTIONS.format(ENVIRONMENT)
            text = self._world.promotions(ENVIRONMENT)
            for name, one in going.items():
                text = desired.with_entry(text, file=path, section="models", model=name, entry=one.entry)
            number = self._world.propose_by_hand({path: text}, title=f"{len(going)} models")
            *_, verdict = self._world.check(number)
            for name, problem in _refused(verdict.document):
                self._registered[name][1].problem = f"checks: {problem}"
            if verdict.code == 0:
                for name in going:
                    self._registered[name][1].checks = "ok"
                self._world.merge(number)
                return True
        raise AssertionError(f"the checks are red, and name no model: {verdict.out}")

    def _deployed(self) -> None:
        said = self._world.deploy(ENVIRONMENT)
        outcomes = {record["model"]: record for record in said.document.get("records", [])}
        for name, (_, row) in self._registered.items():
            if not row.checks:
                continue
            record = outcomes.get(name, {})
            if record.get("outcome") == "succeeded":
                row.deployed = "ok"
            else:
                row.problem = f"deploy: {record.get('outcome', said.err[-500:])}: {record.get('reason', '')}"


def _refused(verdict: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for result in verdict["results"]:
        for finding in result["findings"]:
            if not finding["passed"]:
                yield result["model"], f"{finding['what']}: {finding['detail']}"


def _interface(directory: Path) -> tuple[str, str]:
    """Return shapes and datatypes of a package's configuration, as clients see them: inputs → outputs."""
    from bot.systems.triton.config import parse_config

    values = parse_config(directory.joinpath("config.pbtxt").read_text()).values
    batched = int(values.get("max_batch_size", 0)) > 0

    def side(key: str) -> tuple[str, str]:
        shapes = [[*(["N"] if batched else []), *one.get("dims", [])] for one in values.get(key, [])]
        kinds = [str(one["data_type"]).removeprefix("TYPE_") for one in values.get(key, [])]
        return " ".join(f"[{','.join(map(str, shape))}]" for shape in shapes), " ".join(kinds)

    (asked, from_), (answered, to) = side("input"), side("output")
    return f"{asked} → {answered}", f"{from_} → {to}"


def _ask(world: World, registered: Registered, tried: Tried) -> None:
    """Ask a gateway every smoke case of the package, as users do: in JSON, and in the binary form."""
    smoke = read_cases(registered.artifacts)
    url = f"{world.endpoints.gateway[ENVIRONMENT][0].url}/v2/models/{registered.model}/infer"
    for form, ask in (("json", _in_json), ("binary", _in_bytes)):
        said = "ok"
        for case in smoke.cases:
            try:
                answers = ask(url, case)
            except _NoJsonError:
                said = NO_JSON
                continue
            except (AssertionError, ValueError) as error:
                tried.problem = f"{form}: {case.name}: {error}"
                return
            if wrong := differences(case, answers, smoke.tolerance):
                tried.problem = f"{form}: {case.name}: {'; '.join(wrong)}"
                return
            tried.largest = max(tried.largest or 0.0, _largest(case.outputs, answers))
        setattr(tried, form, said)


class _NoJsonError(Exception):
    """A gateway refused, in JSON, what JSON cannot hold."""


def _in_json(url: str, case: SmokeCase) -> list[Tensor]:
    body = {
        "inputs": [tensor.to_json() for tensor in case.inputs],
        "outputs": [{"name": tensor.name} for tensor in case.outputs],
    }
    # Python's own writer has NaN, as gateways and Triton read it; httpx refuses it.
    reply = HTTP.post(url, content=json.dumps(body), headers={"Content-Type": "application/json"})
    if reply.status_code == 400 and any(tensor.datatype == "FP16" for tensor in (*case.inputs, *case.outputs)):
        raise _NoJsonError(reply.text)
    assert reply.status_code == 200, f"{reply.status_code} {reply.text[:500]}"
    return [tensor_from_json({key: one[key] for key in _KEYS}) for one in reply.json()["outputs"]]


_KEYS = ("name", "datatype", "shape", "data")


def _in_bytes(url: str, case: SmokeCase) -> list[Tensor]:
    body, headers = binary.request(case.inputs, [tensor.name for tensor in case.outputs])
    reply = HTTP.post(url, content=body, headers=headers)
    assert reply.status_code == 200, f"{reply.status_code} {reply.text[:500]}"
    return binary.answer(reply.content, reply.headers)[1]


def _largest(expected: Sequence[Tensor], answers: Sequence[Tensor]) -> float:
    """Return the largest difference of a float from the framework's."""
    got = {tensor.name: tensor for tensor in answers}
    pairs = (
        (float(want), float(have))
        for tensor in expected
        if tensor.datatype in FLOATS
        for want, have in zip(tensor.data, got[tensor.name].data, strict=True)
    )
    return max((abs(want - have) for want, have in pairs if math.isfinite(want) and math.isfinite(have)), default=0.0)
