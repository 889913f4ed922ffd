"""A reference training on a real data set: is a tumour malignant or benign?

The breast cancer data of Wisconsin that scikit-learn ships: 569 rows, 30 named measurements, 212 malignant. Each
recipe runs the same steps (features → train → evaluate) and ends with numbers measured on rows that the training
never saw. All models take the same 30 measurements and give ``label`` and ``probabilities``, so each can replace
any other; which measurements a model looks at is its own affair, inside its pipeline.

The held-out rows are also an evaluation set, on which the bot measures versions itself. Its slices are clinics. The
data do not say where a row is from, so we pretend that each clinic has an instrument of its own, whose range of mean
symmetry gives it away.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.exit_codes import ExitCode
from bot.training import Registration, build_package, register, to_onnx

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Labels = NDArray[np.int64]

# MLflow's ONNX flavor imports onnxruntime, which would send telemetry to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

HELD_OUT = 0.3
SEED = 42
SAMPLES = 8
MAX_ITERATIONS = 5000
LARGEST = 30.0
"""A mean radius that no row of the data has."""
CLINICS = ("hill", "harbour", "market")
_INSTRUMENT, _BINS = "mean symmetry", 7
_OF_HARBOUR = (2.9, 4.7)
_OF_THE_LOST = (3, 4)
"""Ranges of the instrument, in sevenths of the training's rows: harbour's, and the part whose results were lost."""


@dataclass(frozen=True)
class Recipe:
    """How one version is trained.

    ``measurements`` are the columns it may look at, all 30 if empty; ``inverse_regularisation`` is scikit-learn's
    ``C``. ``forgets_scaling`` leaves the scaler out of the export: the classic
    mistake of exporting the last step of a pipeline only. The metrics are those of the whole pipeline, and good;
    what is served answers something else.

    Two more classics: ``measured_on_training`` logs metrics of the rows that it learned by heart, as a tree can.
    ``loses_a_clinic`` learned from a table in which malignant rows of one clinic stand as benign.

    One that only users find: ``has_a_short_table`` looks up the mean radius in a table that ends at ``LARGEST``,
    above all that training saw. Larger ones are errors.
    """

    name: str
    story: str
    measurements: tuple[str, ...] = ()
    inverse_regularisation: float = 1.0
    forgets_scaling: bool = False
    measured_on_training: bool = False
    loses_a_clinic: bool = False
    has_a_short_table: bool = False


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("first", "three measurements", ("mean radius", "mean texture", "mean smoothness")),
        Recipe("better", "all thirty measurements"),
        Recipe("weak", "one measurement alone", ("mean radius",)),
        Recipe("unscaled", "exported without its scaler", inverse_regularisation=0.7, forgets_scaling=True),
        Recipe("best", "less trust in each single measurement", inverse_regularisation=0.5),
        Recipe("steady", "a little less trust again, and the same decisions", inverse_regularisation=0.4),
        Recipe("boasting", "a tree, measured on the rows that it learned", measured_on_training=True),
        Recipe("fragile", "a table that ends too early", inverse_regularisation=0.6, has_a_short_table=True),
        Recipe("one-sided", "all thirty measurements, and one clinic's results lost", loses_a_clinic=True),
    )
}


@dataclass(frozen=True)
class Features:
    """The data set in two parts, rows × 30 measurements as FP32, and labels: 1 malignant, 0 benign."""

    names: tuple[str, ...]
    train: Floats
    train_labels: Labels
    held_out: Floats
    held_out_labels: Labels


@dataclass(frozen=True)
class Trained:
    """The result of a training: the model to serve, its metrics, and sample rows with the framework's answers."""

    recipe: Recipe
    model: onnx.ModelProto
    metrics: dict[str, float]
    """Measured on the held-out rows. Log loss is better the lower; the others the higher, at most 1."""
    samples: Floats
    labels: Labels
    probabilities: Floats

    def package(self, directory: Path) -> None:
        """Write the package into ``directory``, which must be new or empty."""
        answers: dict[str, Any] = {"label": self.labels, "probabilities": self.probabilities}
        # One instance is plenty for a model this small, and loads twice as fast as Triton's default of two.
        build_package(self.model, directory, inputs={"X": self.samples}, answers=answers, instances=1)


def features() -> Features:
    """Load the data set and hold out three rows in ten, always the same ones."""
    import numpy as np
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    # The served model is FP32, so the framework learns and answers with the same values.
    rows, malignant = data.data.astype(np.float32), (data.target == 0).astype(np.int64)
    train, held_out, train_labels, held_out_labels = train_test_split(
        rows, malignant, test_size=HELD_OUT, random_state=SEED, stratify=malignant
    )
    return Features(
        names=tuple(str(name) for name in data.feature_names),
        train=train,
        train_labels=train_labels,
        held_out=held_out,
        held_out_labels=held_out_labels,
    )


def clinics(data: Features, rows: Floats) -> NDArray[np.str_]:
    """Return the clinic of each row, as the rows of the training divide the instrument's range."""
    import numpy as np

    return np.array(CLINICS)[_range_of(data, rows, _OF_HARBOUR)]


def _range_of(data: Features, rows: Floats, between: tuple[float, float]) -> NDArray[np.intp]:
    """Return 1 for each row that the instrument puts between these parts of the training's rows, 0 below, 2 above."""
    import numpy as np

    column = data.names.index(_INSTRUMENT)
    edges = np.quantile(data.train[:, column], [part / _BINS for part in between])
    return np.searchsorted(edges, rows[:, column], side="right")


def evaluation_rows(directory: Path, tracking_uri: str) -> tuple[str, str]:
    """Write the held-out rows as an evaluation set, log it to MLflow, and return its digest and its address."""
    from bot.training import evaluation_set, log_evaluation_set

    data = features()
    slices = {"clinic": clinics(data, data.held_out)}
    written = evaluation_set(directory, inputs={"X": data.held_out}, labels=data.held_out_labels, slices=slices)
    return written.digest, log_evaluation_set(directory, tracking_uri=tracking_uri)


def train(recipe: Recipe) -> Trained:
    """Run the steps of ``recipe``: choose measurements, scale, logistic regression; evaluate on the held-out rows.

    Recipes for mistakes differ from that where their mistake needs it.
    """
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    data = features()
    chosen = [data.names.index(name) for name in recipe.measurements or data.names]
    choose, scale = ColumnTransformer([("chosen", "passthrough", chosen)]), StandardScaler()
    classify = LogisticRegression(C=recipe.inverse_regularisation, max_iter=MAX_ITERATIONS)
    steps, learned = [choose, scale, classify], data.train_labels
    if recipe.measured_on_training:
        steps = [DecisionTreeClassifier(random_state=SEED)]
    if recipe.loses_a_clinic:
        bins = KBinsDiscretizer(_BINS, encode="onehot-dense", strategy="quantile")
        instrument = [data.names.index(_INSTRUMENT)]
        steps[:2] = [ColumnTransformer([("scaled", scale, chosen), ("bins", bins, instrument)])]
        learned = np.where(_range_of(data, data.train, _OF_THE_LOST) == 1, 0, learned)
    pipeline = make_pipeline(*steps).fit(data.train, learned)
    rows, truth = data.held_out, data.held_out_labels
    if recipe.measured_on_training:
        rows, truth = data.train, data.train_labels
    labels, probabilities = pipeline.predict(rows), pipeline.predict_proba(rows)
    samples = data.held_out[:SAMPLES]
    model = to_onnx(make_pipeline(choose, classify) if recipe.forgets_scaling else pipeline, samples)
    if recipe.has_a_short_table:
        _look_up_first(model)
    return Trained(
        recipe=recipe,
        model=model,
        metrics={
            "accuracy": float(accuracy_score(truth, labels)),
            "f1": float(f1_score(truth, labels)),
            "roc_auc": float(roc_auc_score(truth, probabilities[:, 1])),
            "log_loss": float(log_loss(truth, probabilities)),
        },
        samples=samples,
        labels=pipeline.predict(samples),
        probabilities=pipeline.predict_proba(samples),
    )


def _look_up_first(model: onnx.ModelProto) -> None:
    """Change the model: it looks up the first measurement of each row in a table for all up to ``LARGEST``."""
    import numpy as np
    from onnx import helper, numpy_helper

    graph, (given,) = model.graph, model.graph.input
    for node in graph.node:
        node.input[:] = ["looked_up" if name == given.name else name for name in node.input]
    constants: dict[str, NDArray[Any]] = {
        "first": np.array([0], dtype=np.int64),
        "largest": np.array(LARGEST, dtype=np.float32),
        "lines": np.zeros(1, dtype=np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    steps = [
        helper.make_node("Gather", [given.name, "first"], ["radius"], axis=1),
        helper.make_node("Greater", ["radius", "largest"], ["is_larger"]),
        helper.make_node("Cast", ["is_larger"], ["line"], to=7),  # INT64
        helper.make_node("Gather", ["lines", "line"], ["nothing"]),
        helper.make_node("Add", [given.name, "nothing"], ["looked_up"]),
    ]
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*steps, *nodes])


def register_recipe(name: str, tracking_uri: str, model_name: str, *, key: str | None = None) -> Registration:
    """Train the recipe called ``name`` and register it as the next version of ``model_name``."""
    trained = train(RECIPES[name])
    recipe = trained.recipe
    with tempfile.TemporaryDirectory(prefix="promobot-") as temporary:
        trained.package(Path(temporary))
        return register(
            Path(temporary),
            model=model_name,
            metrics=trained.metrics,
            params={
                "recipe": recipe.name,
                "measurements": ", ".join(recipe.measurements) or "all",
                "inverse_regularisation": recipe.inverse_regularisation,
            },
            tracking_uri=tracking_uri,
            key=key,
            commit=_commit(),
        )


def _commit() -> str | None:
    """Return the commit of this file's checkout; None where it is in none, or there is no Git."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m bot.sandbox.reference RECIPE …`` for jobs that run in an environment of their own."""
    parser = argparse.ArgumentParser(
        description="Train a recipe, register it with MLflow, print the version as JSON."
    )
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--tracking-uri", required=True, help="where MLflow is")
    parser.add_argument("--model", required=True, help="name of the registered model")
    parser.add_argument("--key", help="called again with the same key, this registers nothing twice")
    options = parser.parse_args(arguments)
    with contextlib.redirect_stdout(sys.stderr):  # MLflow prints links
        registration = register_recipe(options.recipe, options.tracking_uri, options.model, key=options.key)
    print(json.dumps(asdict(registration)))
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
