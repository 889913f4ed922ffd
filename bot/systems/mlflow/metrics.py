"""Whose metrics a registered version has: of its run, of a LoggedModel, or of the version that it is a copy of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from bot.domain.metrics import Logged, Measured, Origin, moment, number, of_model, of_run, told_in
from bot.redaction import redact, redact_all
from bot.systems.mlflow.server import Refusal, Server

HOPS = 5
"""Sources that a version may name in a chain before the chain is taken for a circle."""
COPIED = re.compile(r"models:/([^/@]+)/(\d+)")
"""The source of a version that was copied from another one."""
_LOGGED_MODEL = re.compile(r"^models:/(m-[^/]+)$|/models/(m-[0-9a-f]{32})/artifacts(?:/|$)")
_RUN = re.compile(r"^runs:/([^/]+)/|/([0-9a-f]{32})/artifacts(?:/|$)")


def run_of(server: Server, run: str) -> Any:
    """Return a run as MLflow has it."""
    return server.get("runs/get", run_id=run)["run"]


def measured(server: Server, version: Any, run: Any) -> Measured:
    """Return a version's metrics: those given to ``register``, and below them those of its bytes' origin.

    A copy has the metrics of the version that it was made of. ``run`` is what the version's own run logged.
    """
    told: dict[str, tuple[float, Origin]] = {}
    found = Measured(doubt=f"its source {version.get('source', '')!r:.200} leads nowhere")
    for _ in range(HOPS):
        try:
            here = told_in(pairs(version, "tags"))
        except ValueError as error:
            return Measured(doubt=f"{error}; set it right or delete it")
        origin = Origin(
            kind="register",
            name=f"{version['name']} {version['version']}",
            at=moment(int(version.get("creation_timestamp", 0))),
        )
        # The nearest counts: a copy may have been told something else than what it was made of.
        told = {**{name: (value, origin) for name, value in here.items()}, **told}
        copied = COPIED.fullmatch(str(version.get("source", "")))
        if copied is None:
            found = _measured_where_it_lies(server, version, run)
            break
        model, number_ = unquote(copied[1]), copied[2]
        before = version.get("run_id")
        try:
            version = server.get("model-versions/get", name=model, version=number_)["model_version"]
        except Refusal as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise
            found = Measured(doubt=f"it is a copy of {model} {number_}, which is gone")
            break
        if version.get("run_id") != before:
            run = run_of(server, version["run_id"])["data"] if version.get("run_id") else {}
    for name, (value, origin) in told.items():
        found = found.under({name: value}, origin)
    return found


def _measured_where_it_lies(server: Server, version: Any, run: Any) -> Measured:
    """Return the metrics that belong to a version's bytes: those of a LoggedModel, or of the run they lie in."""
    source, run_id = str(version.get("source", "")), str(version.get("run_id", ""))
    found, named = _LOGGED_MODEL.search(source), str(version.get("model_id", ""))
    other = _RUN.search(source)
    if found and other and other.start() < found.start():
        found = None  # a folder of the run, which training may call what it likes
    model = found[found.lastindex or 0] if found else named
    if source.startswith("models:/") and not found:
        return Measured(doubt=f"its source {source!r:.200} names neither a version nor a LoggedModel")
    if named and named != (found and model):
        place = f"those of {model}" if found else f"at {source!r:.200}"
        return Measured(doubt=f"its files are {place}, and it is registered for {named}")
    if model:
        return _measured_for(server, model)
    owner = other[other.lastindex or 0] if other else run_id
    if owner != run_id:
        return Measured(doubt=f"its files are of run {owner}, and it is registered for run {run_id or 'none'}")
    return of_run(run_id, _logged(run))


def _measured_for(server: Server, model: str) -> Measured:
    document = server.get(f"logged-models/{quote(model, safe='')}")["model"].get("data", {})
    measured = of_model(model, _logged(document))
    # MLflow's database has no NaN for a LoggedModel. It keeps 0, the best of all losses; the run has the NaN.
    for name in [name for name, value in measured.values.items() if value == 0]:
        origin = measured.origins[name]
        for run in {str(one["run_id"]) for one in document["metrics"] if one["key"] == name and one.get("run_id")}:
            history = server.get("metrics/get-history", run_id=run, metric_key=name)
            if any(
                math.isnan(one.value) and (one.step, moment(one.milliseconds)) == (origin.step, origin.at)
                for one in _logged(history)
            ):
                measured = measured.under({name: math.nan}, origin)
    return measured


def pairs(document: Any, name: str) -> dict[str, Any]:
    """Return a list of MLflow's keys and values as a mapping; a missing value is empty."""
    return {str(pair["key"]): redact_all(pair.get("value", "")) for pair in document.get(name, [])}


def _logged(document: Any) -> Iterator[Logged]:
    """Yield the metrics of a run, of a LoggedModel, or of a metric's history."""
    for one in document.get("metrics", []):
        dataset = " ".join(str(one[part]) for part in ("dataset_name", "dataset_digest") if one.get(part))
        value = number(one.get("value", 0))
        yield Logged(str(one["key"]), value, int(one.get("step", 0)), int(one.get("timestamp", 0)), redact(dataset))
