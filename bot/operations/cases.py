"""Reads the cases of ``cases/<model>`` in a checkout, asks them, and finds their mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bot.domain import cases
from bot.domain.bundle import digest_of
from bot.domain.cases import CASES, MAX_BYTES, MAX_CASES, Case, Keeper
from bot.domain.desired import Change, Entry
from bot.domain.evidence import AskedCase, Finding
from bot.domain.nearest import did_you_mean
from bot.domain.record import verified_by
from bot.errors import InvalidInput, Rejected
from bot.settings import ENVIRONMENTS, Environment

if TYPE_CHECKING:
    from bot.records.ledger import Ledger
    from bot.systems.triton.server import TritonServer


def cases_of(settings: Environment, model: str) -> tuple[Case, ...]:
    """Return the cases of a model in the checkout that the settings were read from, by name.

    Raises InvalidInput for a mistake in one of them: what is law and cannot be read must not be passed over.
    """
    if settings.checkout is None:
        return ()
    texts = {path: text for path, text in texts_in(settings.checkout, model).items() if cases.place_of(path)}
    return tuple(_read(path, text) for path, text in texts.items())


def texts_in(checkout: Path, model: str = "*") -> dict[str, bytes | InvalidInput]:
    """Return the files of one model's cases, or of all that lies below the folder of cases, by path."""
    root = checkout / CASES
    found = sorted(
        path for path in (root.rglob("*") if model == "*" else (root / model).glob("*")) if not path.is_dir()
    )
    return {path.relative_to(checkout).as_posix(): _bytes_of(path, checkout) for path in found}


def _bytes_of(path: Path, checkout: Path) -> bytes | InvalidInput:
    try:
        with path.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        return InvalidInput(f"cannot be read: {error.strerror}", file=path.relative_to(checkout).as_posix())


def _read(path: str, text: str | bytes | InvalidInput) -> Case:
    place = cases.place_of(path)
    if isinstance(text, InvalidInput):
        raise text
    if place is None:
        raise InvalidInput("is not a case", file=path)
    return cases.parse(text, file=path, model=place[0], name=place[1])


def read_all(
    texts: Mapping[str, str | bytes | InvalidInput], environments: Iterable[Environment]
) -> tuple[list[Case], list[InvalidInput]]:
    """Return the cases among these files, and every mistake: in a file, its place, or a model that nobody serves."""
    found: list[Case] = []
    mistakes: list[InvalidInput] = []
    for path, text in texts.items():
        try:
            if cases.place_of(path) is not None:
                found.append(_read(path, text))
        except InvalidInput as error:
            mistakes += error.mistakes
    known = list(environments)
    for model, group in groupby(sorted(found, key=lambda case: (case.model, case.name)), key=lambda case: case.model):
        own = list(group)
        if known and not any(settings.has_gate(model) for settings in known):
            step = did_you_mean(model, frozenset[str]().union(*(settings.named_models for settings in known)))
            said = f"no environment in {ENVIRONMENTS} has a gate for {model}, so nothing is ever asked it"
            mistakes.append(InvalidInput(said, file=own[0].path, next_step=step))
        if len(own) > MAX_CASES:
            said = f"{model} has {len(own)} cases, more than {MAX_CASES}"
            mistakes.append(InvalidInput(said, file=f"{CASES}/{model}"))
    return found, mistakes


def ask(triton: TritonServer, name: str, version: int, law: Iterable[Case]) -> Iterator[tuple[Case, AskedCase]]:
    """Ask a loaded version every case; yield each with what was answered. A request that Triton refuses is wrong."""
    keeper = Keeper()
    for case in law:
        try:
            outputs = triton.infer(name, version, case.file.inputs, outputs=case.outputs)
        except Rejected as error:
            yield case, cases.refused(case, f"not answered: {error}")
        else:
            yield case, keeper.asked(case, outputs)


def finding(case: Case, asked: AskedCase, *, waived: str) -> Finding:
    """Return what the check says of a case; ``waived`` says why a wrong answer stops nothing, empty where it does."""
    said = cases.said_of(case, asked)
    if asked.wrong and waived:
        said = f"does not hold: {said}; this stops nothing, because {waived}"
    return Finding(what=f"case {case.name}", passed=not asked.wrong or bool(waived), detail=said)


def why_waived(change: Change, entry: Entry, ledger: Ledger) -> str:
    """Return why a version that answers a case wrong is not stopped for it; empty where it is.

    A case is law for versions that are new. The way back must stay open, whatever was found out since.
    """
    if stops_nothing := answers_already(change, entry):
        return stops_nothing
    verified = verified_by(ledger.deployments(), entry.in_slot(change.slot.live), change.bundle)
    return f"these bytes were verified in service by {verified.id}" if verified else ""


def answers_already(change: Change, entry: Entry) -> str:
    """Return why a wrong answer makes nothing worse for users, as far as the change itself says."""
    if change.section == "shadow":
        return "a shadow answers nobody"
    champion, moved = change.champion, change.bundle is not None and digest_of(change.left) != change.bundle.digest
    is_same = champion is not None and champion.digest == entry.digest and not moved
    return "these very bytes are in service" if is_same else ""
