"""Make a package of a Triton model directory, and register it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot import arguments as options
from bot.commands import Answer, Context, UsageMistake, from_here, see_that_mlflow_is_named

if TYPE_CHECKING:
    from bot.training.model_directory import Packaged


@dataclass(frozen=True)
class Arguments:
    """The directory, where its golden cases come from, and where the package goes."""

    directory: str
    version: int | None
    samples: str
    answers: str
    ask: str
    ask_model: str
    to: str
    register: str
    metric: list[tuple[str, float]] | None

    def __post_init__(self) -> None:
        """Hold that the answers come from one place, and that the package goes somewhere."""
        if bool(self.answers) == bool(self.ask):
            raise UsageMistake("say where the golden answers come from: --answers FILE, or --ask HOST:PORT")
        if not self.to and not self.register:
            raise UsageMistake("say where the package goes: --to DIR, --register MODEL, or both")
        if self.metric and not self.register:
            raise UsageMistake("--metric is for --register")
        if self.ask_model and not self.ask:
            raise UsageMistake("--ask-model is for --ask")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    parser.add_argument("directory", metavar="DIR", help="a model's folder in a Triton model repository")
    parser.add_argument("--version", type=options.version, help="the folder of a version (default: the newest)")
    parser.add_argument(
        "--samples",
        required=True,
        metavar="FILE",
        help="what to ask it: .parquet, .csv, .npy, .npz, or .json with requests",
    )
    parser.add_argument(
        "--answers", default="", metavar="FILE", help="what the training framework answers, in the same forms"
    )
    parser.add_argument(
        "--ask", default="", metavar="HOST:PORT", help="gRPC of a Triton that serves this version today"
    )
    parser.add_argument(
        "--ask-model", default="", metavar="NAME", help="its name there (default: the directory's name)"
    )
    parser.add_argument("--to", default="", metavar="DIR", help="write the package into this new directory")
    parser.add_argument("--register", default="", metavar="MODEL", help="register it as the next version of MODEL")
    parser.add_argument(
        "--metric",
        action="append",
        type=_metric,
        metavar="NAME=VALUE",
        help="a metric for the gate; once for each",
    )


def run(arguments: Arguments, _: Context) -> Answer:
    """Package it."""
    from bot.render import packaging as words
    from bot.training.model_directory import package_directory

    if arguments.register:
        see_that_mlflow_is_named()
    with tempfile.TemporaryDirectory(prefix="promobot-") as temporary:
        target = from_here(Path(arguments.to).absolute) if arguments.to else Path(temporary, "package")
        made = package_directory(
            from_here(Path(arguments.directory).absolute),
            target,
            samples=arguments.samples,
            answers=arguments.answers,
            ask=arguments.ask,
            ask_model=arguments.ask_model,
            version=arguments.version,
        )
        if not arguments.to:
            made = replace(made, directory="")
        if arguments.register:
            made = _registered(made, target, arguments)
    return Answer(made, words.packaged(made))


def _registered(made: Packaged, package: Path, arguments: Arguments) -> Packaged:
    from bot.training.registration import register

    with redirect_stdout(sys.stderr):  # MLflow's client prints the address of a run
        done = register(
            package,
            model=arguments.register,
            metrics=dict(arguments.metric or ()),
            params={"triton model directory": made.model, "triton version": made.version},
        )
    return replace(made, serving_name=done.model, registered=done.version)


def _metric(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE with a number") from error


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.training.model_directory import Packaged

    return Packaged
