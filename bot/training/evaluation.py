"""Evaluation sets: rows and labels that every version of a model is measured with.

A training job writes a set once, logs it to MLflow or copies it to a bucket, and names its digest in the settings.
The bot then asks the proposed version and the one in service the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bot.domain.names import check_run_id, short
from bot.errors import InvalidInput
from bot.training.registration import check_mlflow, ensure_experiment, mlflow_errors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

DIGEST_TAG = "promobot.evaluation"
"""The tag of a run in MLflow that names the set among its artifacts."""


@dataclass(frozen=True)
class WrittenSet:
    """An evaluation set: the ``directory`` that holds it, its ``digest`` (``sha256:…``), its number of ``rows``."""

    directory: Path
    digest: str
    rows: int


def evaluation_set(
    directory: Path | str,
    *,
    inputs: Mapping[str, ArrayLike] | None = None,
    labels: ArrayLike | None = None,
    slices: Mapping[str, ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    kind: Literal["class", "number", "relevance"] | None = None,
    batches: Iterable[Mapping[str, Any]] | None = None,
) -> WrittenSet:
    """Write an evaluation set to ``directory``, which must be missing or empty, and return it with its digest.

    ``inputs`` holds, by the name of the model's input, an array ``[rows, …]`` of the model's type: NumPy, pandas,
    PyTorch. A DataFrame in place of the mapping gives an input for each column. ``labels`` are the true outcomes, one
    for each row; without them only decisions that change are counted. ``slices`` are columns that divide the rows,
    such as a region: text, whole numbers or booleans, or a DataFrame of them. ``groups`` says which rows belong
    together, such as a customer or a query; text is kept as a hash. ``kind`` says what labels are (default: an
    array of floating-point numbers is ``number``, any other ``class``); ``relevance`` is for ranking. Say it where
    classes are floating-point, as in a column of pandas that had gaps, or where whole numbers are a quantity.

    ``batches`` is for rows that do not fit into memory: an iterable of mappings with ``inputs``, ``labels``,
    ``slices`` and ``groups``, each as above. Give it instead of them.

    Raises InvalidInput for rows that no set can hold, and Refused where the disk takes no more. Nothing is left in
    ``directory`` then.
    """
    from bot.evaluation.sets import write

    given = {"inputs": inputs, "labels": labels, "slices": slices, "groups": groups}
    if batches is None:
        batches = [given]
    elif named := [name for name, values in given.items() if values is not None]:
        raise InvalidInput(f"is given beside {', '.join(named)}", key="batches", next_step="Give one or the other.")
    written = write(Path(directory), _converted(batches), kind=kind)
    return WrittenSet(written.folder, written.digest, written.rows)


def log_evaluation_set(
    directory: Path | str,
    *,
    run: str | None = None,
    experiment: str = "evaluation",
    tracking_uri: str | None = None,
) -> str:
    """Log the evaluation set in ``directory`` to MLflow and return its address for the settings: ``runs:/…``.

    The function uses the MLflow run with the id ``run``, or starts and ends one in ``experiment``. A set that a run
    of the experiment has already is not logged again. ``tracking_uri`` is the address of MLflow (default:
    ``MLFLOW_TRACKING_URI``). Raises InvalidInput for a folder that holds no whole set, and Unavailable or Rejected if
    MLflow fails.
    """
    from bot.evaluation.description import DESCRIPTION_FILE, digest_of
    from bot.evaluation.sets import open_set

    directory = Path(directory)
    try:
        digest = digest_of((directory / DESCRIPTION_FILE).read_bytes())
        if run is not None:
            check_run_id(run)
    except OSError as error:
        raise InvalidInput(
            f"holds no evaluation set: {error.strerror}",
            file=str(directory),
            next_step="Write one with bot.training.evaluation_set.",
        ) from error
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    open_set(directory, digest)
    check_mlflow(tracking_uri)
    from mlflow import MlflowClient

    place = f"evaluation-{short(digest)}"
    with mlflow_errors():
        client = MlflowClient(tracking_uri=tracking_uri)
        if run is not None:
            client.log_artifacts(run, str(directory), place)
            return f"runs:/{run}/{place}"
        where = ensure_experiment(client, experiment)
        wanted = f"tags.`{DIGEST_TAG}` = '{digest}' AND attributes.status = 'FINISHED'"
        if found := client.search_runs([where], filter_string=wanted, max_results=1):
            return f"runs:/{found[0].info.run_id}/{place}"
        started: str = client.create_run(where, tags={DIGEST_TAG: digest}).info.run_id
        ended = "FAILED"
        try:
            client.log_artifacts(started, str(directory), place)
            ended = "FINISHED"
        finally:
            client.set_terminated(started, ended)
        return f"runs:/{started}/{place}"


def _converted(batches: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield batches of what people hold as batches of arrays."""
    for batch in batches:
        if not isinstance(batch, Mapping):
            raise InvalidInput(f"holds {type(batch).__name__} instead of mappings", key="batches")
        yield {
            name: _by_name(values) if name in ("inputs", "slices") else _array(values)
            for name, values in batch.items()
        }


def _by_name(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: _array(array) for name, array in values.items()}
    if hasattr(values, "columns") and hasattr(values, "to_numpy"):  # a DataFrame
        return {str(name): values[name].to_numpy() for name in values.columns}
    return values


def _array(values: Any) -> Any:
    from bot.training.samples import as_arrays

    if values is None:
        return None
    array = as_arrays(values)
    if isinstance(array, list):
        raise InvalidInput("has rows of different shapes", next_step="Every row of a set has the model's shape.")
    return array
