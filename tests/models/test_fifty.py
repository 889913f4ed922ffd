"""A registry of fifty models, as MLflow's autologging leaves them, becomes one pull request that deploys.

The page docs/how-to/fifty-models.md has the commands; this runs them as they stand there.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
import yaml
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression

from bot.domain import binary
from bot.domain.smoke import SmokeCases, differences
from tests.docs.test_docs import fenced
from tests.models.frameworks import NUMBERS, TABLE, TWO, encoded
from tests.operations.world import HTTP, World

PAGE = Path(__file__).parents[2] / "docs/how-to/fifty-models.md"
MODELS = 50
FREE_NAMES = {"credit-score": "Credit Score v2", "risk": "prod.risk.Model-A"}
"""Names that cannot be served, by what the page's mlflow_names calls them."""


def _columns(seed: int) -> object:
    return encoded(LogisticRegression(C=1 + seed)).fit(TABLE, TWO)


def _forest(seed: int) -> object:
    return RandomForestRegressor(4, max_depth=4, random_state=seed).fit(NUMBERS, NUMBERS[:, 0])


def _words(seed: int) -> object:
    frame = pd.DataFrame(NUMBERS, columns=list("abcd"))
    return GradientBoostingClassifier(n_estimators=4, random_state=seed).fit(frame, np.where(TWO, "yes", "no"))


def _xgboost(seed: int) -> object:
    model = xgboost.XGBClassifier(n_estimators=4, random_state=seed, max_depth=2 + seed % 3)
    return model.fit(NUMBERS, TWO, eval_set=[(NUMBERS, TWO)], verbose=False)


def _lightgbm(seed: int) -> object:
    rows = lightgbm.Dataset(NUMBERS, TWO)
    parameters = {"objective": "binary", "verbose": -1, "seed": seed, "num_leaves": 4 + seed % 5}
    return lightgbm.train(parameters, rows, 4, valid_sets=[rows], valid_names=["valid_0"])


KINDS: dict[str, tuple[str, Callable[[int], object]]] = {
    "churn": ("sklearn", _columns),
    "demand": ("sklearn", _forest),
    "fraud": ("xgboost", _xgboost),
    "leads": ("lightgbm", _lightgbm),
    "words": ("sklearn", _words),
}


def names(count: int) -> list[str]:
    """Return what the registered models are called: the last two have names that cannot be served."""
    kinds = list(KINDS)
    plain = [f"{kinds[number % len(kinds)]}-{number:02d}" for number in range(count - len(FREE_NAMES))]
    return [*plain, *FREE_NAMES.values()]


def autolog(mlflow: Any, count: int) -> None:
    """Train models with autologging on, as notebooks do, and register each under a name of its own."""
    for number, name in enumerate(names(count)):
        flavor, fit = KINDS.get(name.partition("-")[0], KINDS["churn"])
        module = getattr(mlflow, flavor)
        module.autolog(registered_model_name=name, silent=True)
        try:
            fit(number)
        finally:
            module.autolog(disable=True)


def commands_of_the_page() -> list[list[str]]:
    """Return what the page types, block by block."""
    lines = [line for block in fenced(PAGE, "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines]


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_a_registry_of_fifty_is_adopted_by_one_command_and_served(world: World) -> None:
    variables = {"MLFLOW_TRACKING_URI": world.endpoints.mlflow}
    import mlflow

    # MLflow would load each model in a process of its own, to see which packages it imports.
    as_they_are = mock.patch.object(mlflow.models, "infer_pip_requirements", lambda _, __, fallback, **___: fallback)
    with mock.patch.dict(os.environ, variables), as_they_are:
        mlflow.set_tracking_uri(world.endpoints.mlflow)
        autolog(mlflow, MODELS)
    look, adopt, propose, deploy = commands_of_the_page()
    (settings,) = map(yaml.safe_load, fenced(PAGE, "yaml"))
    assert settings["mlflow_names"] == FREE_NAMES
    world.configure("dev", **settings)

    looked = _run(world, look)
    assert {one["verdict"] for one in looked["versions"] if one["model"] in names(MODELS)} == {"ready"}
    adopted = {one["model"]: one for one in _run(world, adopt)["versions"] if one["model"] in names(MODELS)}
    assert {one["verdict"] for one in adopted.values()} == {"adopted"}
    assert len(adopted) == MODELS

    proposed = _run(world, propose)
    assert {one["model"] for one in proposed["proposals"]} >= {_served_as(name) for name in adopted}, proposed
    number = proposed["pull_request"]
    assert [said.code for said in world.check(number)] == [0, 0, 0, 0], world.sticky(number)
    world.merge(number)
    assert deploy == ["deploy", "--env", "dev"]
    said = world.deploy()
    assert said.code == 0, said
    for name, one in adopted.items():
        _ask(world, _served_as(name), one["registered"])


def _run(world: World, command: list[str]) -> dict[str, Any]:
    said = world.promobot(*command)
    assert said.code == 0, said
    return said.document


def _served_as(name: str) -> str:
    return {registered: served for served, registered in FREE_NAMES.items()}.get(name, name)


def _ask(world: World, model: str, version: int) -> None:
    """Ask a gateway the last smoke case, as a user does."""
    packages = world.endpoints.state("dev") / "packages"
    live = world.routes()["models"][model]["live"]
    assert live["version"] == version
    smoke = packages / live["digest"].removeprefix("sha256:") / "smoke.json"
    case = SmokeCases.from_json(smoke.read_bytes()).cases[-1]
    body, headers = binary.request(case.inputs, [tensor.name for tensor in case.outputs])
    url = f"{world.endpoints.gateway['dev'][0].url}/v2/models/{model}/infer"
    reply = HTTP.post(url, content=body, headers=headers).raise_for_status()
    answered, outputs = binary.answer(reply.content, reply.headers)
    assert (answered, differences(case, outputs, SmokeCases((case,)).tolerance)) == (str(version), [])
