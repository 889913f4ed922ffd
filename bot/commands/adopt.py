"""Make a package of a version that MLflow has already, and register it as a new version."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bot import arguments as options
from bot.commands import Answer, Context, UsageMistake, see_that_mlflow_is_named
from bot.exit_codes import ExitCode
from bot.output import say

if TYPE_CHECKING:
    from bot.training.adoption import Adoption


@dataclass(frozen=True)
class Arguments:
    """Which version, or all models; the samples and the name to serve it under."""

    model: str | None
    version: int | None
    all: bool
    samples: str
    serving_name: str
    python_environment: str
    max_smoke_bytes: int | None
    dry_run: bool

    def __post_init__(self) -> None:
        """Hold that one version is named, or all."""
        if self.all == (self.version is not None):
            raise UsageMistake("name a model and its version, or --all")
        if self.all and (self.samples or self.serving_name or self.python_environment or self.max_smoke_bytes):
            raise UsageMistake("--samples, --as, --python-environment and --max-smoke-bytes are for one version")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Read them."""
    # Any name that MLflow has: --as gives it one that can be served.
    parser.add_argument("model", nargs="?", help="the registered model, as MLflow calls it")
    parser.add_argument("version", nargs="?", type=options.version)
    parser.add_argument("--all", action="store_true", help="the newest version of each registered model")
    parser.add_argument(
        "--samples",
        default="",
        metavar="FILE",
        help="rows to ask it: .parquet, .csv, .npy, .npz (default: its own example, or rows made of its signature)",
    )
    parser.add_argument("--as", dest="serving_name", default="", metavar="NAME", help="the name to serve it under")
    parser.add_argument(
        "--python-environment",
        default="",
        metavar="FILE",
        help="serve it as Python code, in this packed environment (.tar.gz), or in Triton's own: triton",
    )
    parser.add_argument(
        "--max-smoke-bytes",
        type=int,
        metavar="N",
        help="how large all golden cases may be together, up to 1 GiB (default: 64 MiB)",
    )
    parser.add_argument("--dry-run", action="store_true", help="register nothing; say what would be adopted")


def run(arguments: Arguments, _: Context) -> Answer:
    """Adopt it."""
    from bot.render import adoption as words
    from bot.training.adoption import Adoptions, adopt, adopt_all
    from bot.training.samples import read_samples

    see_that_mlflow_is_named()
    found: list[Adoption] = []
    with contextlib.redirect_stdout(sys.stderr):  # MLflow and frameworks print there, and --json is one document
        if arguments.model and arguments.version is not None:
            found.append(
                adopt(
                    arguments.model,
                    arguments.version,
                    samples=read_samples(arguments.samples) if arguments.samples else None,
                    serving_name=arguments.serving_name or None,
                    python_environment=_environment(arguments.python_environment),
                    max_smoke_bytes=arguments.max_smoke_bytes,
                    dry_run=arguments.dry_run,
                )
            )
        else:
            for one in adopt_all(dry_run=arguments.dry_run):
                say(words.line(one))
                found.append(one)
    done = all(one.verdict in ("adopted", "ready", "has a package") for one in found)
    code = ExitCode.DONE if done or (arguments.all and arguments.dry_run) else ExitCode.FAILED
    return Answer(Adoptions(found), words.adoptions(found), code)


def _environment(said: str) -> Path | Literal["triton"] | None:
    return "triton" if said == "triton" else Path(said) if said else None


def output() -> Any:
    """Return the type of what ``--json`` prints."""
    from bot.training.adoption import Adoptions

    return Adoptions
