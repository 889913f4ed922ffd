"""One part of an evaluation set is asked: what a task of Airflow, or a pod of an indexed Job, does of a large set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bot import extras
from bot.errors import InvalidInput, Refused, Rejected
from bot.platform import Platform
from bot.settings import EvaluationRules, Triton
from bot.systems.triton.config import parse_config

if TYPE_CHECKING:
    from bot.domain.signature import Signature
    from bot.evaluation.asking import Answered, AskOne
    from bot.evaluation.sets import EvaluationSet
    from bot.systems.triton.server import TritonServer


@dataclass(frozen=True)
class Loaded:
    """A version that a Triton has loaded: its package's digest, where it answers, and its name and number there."""

    digest: str
    grpc: str
    model: str
    version: int


@dataclass(frozen=True)
class EvaluatedPart:
    """What one part of a set came to.

    ``part`` counts from 0. ``rows`` were asked of each version, and ``refused`` of them it did not answer. ``folder``
    holds the answers. ``already`` says that they lay there, and nothing was asked.
    """

    model: str
    environment: str
    set: str
    part: int
    of: int
    rows: int
    refused: dict[str, int]
    folder: str
    already: bool


def ask_part(
    platform: Platform,
    *,
    model: str,
    versions: Mapping[str, Loaded],
    part: int,
    of: int,
    answers: Path,
    say: Callable[[str], object] = lambda _: None,
) -> EvaluatedPart:
    """Ask every version the rows of one part, and keep what they answer below ``answers``; a second run does nothing.

    Raises InvalidInput where the settings name no evaluation set for the model, or where the set does not fit it.
    """
    with extras.needed("evaluation", by="an evaluation set"):
        from bot.evaluation.asking import ask, rows_in_a_request
        from bot.evaluation.parts import About, is_answered, keep_answers, part_of

    rules = rules_of(platform, model)
    whole = rows_of(platform, rules, stop=0)  # its description alone
    with ExitStack() as opened:
        servers = {
            who: opened.enter_context(platform.triton(Triton(name=who.replace("_", "-"), grpc=loaded.grpc)))
            for who, loaded in versions.items()
        }
        asked = {
            who: asking(servers[who], loaded.model, loaded.version, whole, rules) for who, loaded in versions.items()
        }
        at_once = rows_in_a_request(rules.batch_rows, (one.max_rows for one in asked.values()))
        mine = part_of(whole.rows, part, of, batch_rows=at_once)
        about = About(whole.digest, {who: loaded.digest for who, loaded in versions.items()}, mine)
        refused = dict.fromkeys(versions, 0)
        already = is_answered(answers, about, {who: one.output for who, one in asked.items()})
        if not already:
            say(f"rows {mine.start:,} to {mine.stop:,} of {whole.rows:,}, {at_once:,} in a request")
            of_the_part = rows_of(platform, rules, start=mine.start, stop=mine.stop)

            def counted() -> Iterator[Answered]:
                batches = of_the_part.batches(at_once, start=mine.start, stop=mine.stop)
                for answered in ask(batches, {who: one.ask for who, one in asked.items()}, most_refused=None):
                    for who, mask in answered.refused.items():
                        refused[who] += int(mask.sum())
                    yield answered

            try:
                keep_answers(answers, about, counted())
            except OSError as error:
                raise Refused(
                    f"the answers cannot be kept in {answers}: {error.strerror or error}",
                    state="No answer of this part was kept.",
                    next_step="Mount a folder that is writable, with room, and run the same command again.",
                ) from error
    return EvaluatedPart(
        model=model,
        environment=platform.environment,
        set=whole.digest,
        part=part,
        of=of,
        rows=mine.stop - mine.start,
        refused=refused,
        folder=str(answers / mine.name),
        already=already,
    )


def rules_of(platform: Platform, model: str) -> EvaluationRules:
    """Return how the settings want the model to be measured; raise InvalidInput where they say nothing of it."""
    rules = platform.settings.evaluation_of(model)
    if rules is None:
        raise InvalidInput(
            f"names no evaluation set for {model}",
            file=f"manifests/environments/{platform.environment}.yaml",
            key="evaluation",
            next_step="docs/how-to/evaluation-sets.md says how to write one, and how to name it.",
        )
    return rules


def rows_of(platform: Platform, rules: EvaluationRules, *, start: int = 0, stop: int | None = None) -> EvaluationSet:
    """Return the set that the rules pin, compared with its digest; fetch what this machine does not have.

    With ``start`` or ``stop`` only the files that hold these rows are fetched. Raises InvalidInput where
    the source holds other bytes than the digest names.
    """
    from bot.evaluation.keeping import keep

    source = f"s3://{rules.s3.bucket}/{rules.s3.prefix}" if rules.s3 else rules.source or ""
    return keep(platform.sets_folder, rules.digest, platform.reader(rules), of=source, start=start, stop=stop)


@dataclass(frozen=True)
class Asking:
    """What asks one loaded version rows of a set.

    ``output`` is the one that is measured, and ``max_rows`` how many rows the version takes in a request; 0 where it
    has no batches.
    """

    ask: AskOne
    signature: Signature
    output: str
    max_rows: int


def asking(server: TritonServer, model: str, version: int, of: EvaluationSet, rules: EvaluationRules) -> Asking:
    """Return what asks a loaded version; raise InvalidInput where the set does not fit it."""
    from bot.evaluation.asking import on_triton
    from bot.evaluation.measured import output_of

    signature = server.signature(model, version)
    try:
        size = parse_config(server.configuration(model, version)).max_batch_size
    except ValueError as error:
        raise Rejected(
            f"the configuration of {model} {version} cannot be read: {error}", system=server.name
        ) from error
    output = output_of(rules, of.labels, signature)
    infer = partial(server.infer_raw, model, version)
    ask = on_triton(infer, of.inputs, signature, max_batch_size=size, outputs=[output])
    return Asking(ask, signature, output, size)
