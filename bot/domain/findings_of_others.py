"""What other tools found of a package, as a document that is bound to its digest, and whether a gate's demand holds.

``promobot.checks/<name>.json``, beside the package in MLflow or among the artifacts of the version's run:

    {"format": 1, "name": "data-drift", "digest": "sha256:…", "passed": true, "summary": "0 of 30 columns drifted",
     "details_url": "https://…", "at": "2026-11-30T12:00:00+00:00", "by": "evidently 0.7"}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from bot.domain import in_words, jsontext
from bot.domain.gate import DemandedFindings
from bot.domain.names import Digest, FindingsName, short
from bot.domain.package import FINDINGS_FOLDER

MAX_BYTES = 64 * 2**10
"""Of one document: it is a summary, and details_url leads to the rest."""
CLOCKS = timedelta(minutes=5)
"""So far the clocks of two machines may differ."""


def _moment(text: object) -> object:
    # Pydantic would take a number for seconds since 1970.
    if isinstance(text, str):
        try:
            return datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"it needs {in_words.A_TIME}, not {text!r:.60}") from error
    return text


class FindingsOfOthers(BaseModel):
    """One document: what a tool found of one package."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = Field(description="of this document")
    name: FindingsName = Field(description="that of the file, without its ending")
    digest: Digest = Field(description="of the package that was looked at")
    passed: bool = Field(description="whether the tool is content")
    summary: str = Field(min_length=1, max_length=500, description="what was found, in a sentence")
    details_url: str | None = Field(
        default=None, max_length=2000, pattern=r"^https?://[^\s]+$", description="where the whole report is"
    )
    at: Annotated[AwareDatetime, BeforeValidator(_moment)] = Field(description="when it looked, with time zone")
    by: str = Field(min_length=1, max_length=100, description="what looked: a tool and its version, or a job")


@dataclass(frozen=True)
class Found:
    """A document as it was found: ``where`` it lies, and its text, or the ``problem`` with which it was read."""

    where: str
    text: bytes = b""
    problem: str = ""


def path_of(name: str) -> str:
    """Return where a document of this name lies, beside the package or among the artifacts of the run."""
    return f"{FINDINGS_FOLDER}/{name}.json"


def parse(text: bytes, *, name: str) -> FindingsOfOthers:
    """Read a document; raise ValueError that says what is wrong with it."""
    try:
        document = FindingsOfOthers.model_validate(jsontext.read(text, unique_keys=True))
    except ValidationError as error:
        details = in_words.misspelt_once(error.errors(include_url=False))
        raise ValueError("; ".join(map(_in_words, details[:5]))) from error
    if document.name != name:
        raise ValueError(f"name: it is {document.name!r:.80} in a file that is called {name}.json")
    return document


def _in_words(detail: Mapping[str, Any]) -> str:
    key = ".".join(map(str, detail["loc"]))
    return f"{key}: {in_words.of_pydantic(detail)}" if key else in_words.of_pydantic(detail)


def judge(
    demanded: Mapping[str, DemandedFindings], found: Mapping[str, Sequence[Found]], *, digest: str, now: datetime
) -> list[tuple[str, bool, str]]:
    """Return of each demanded document its name, whether it holds, and a sentence about it.

    Of several the newest counts. One that cannot be read fails: it may be the newest.
    """
    return [(name, *_judged(name, rule, found.get(name, ()), digest, now)) for name, rule in demanded.items()]


def _judged(
    name: str, rule: DemandedFindings, found: Sequence[Found], digest: str, now: datetime
) -> tuple[bool, str]:
    if not found:
        return False, (
            f"there is no {path_of(name)}, neither beside the package nor in its run; the job that makes it has not "
            "written it for this version"
        )
    read: list[tuple[FindingsOfOthers, str]] = []
    for one in found:
        try:
            if one.problem:
                raise ValueError(one.problem)
            read.append((parse(one.text, name=name), one.where))
        except ValueError as error:
            return False, f"{path_of(name)} {one.where} cannot be read: {error}"
    # A document about other bytes says nothing, unless there is nothing else.
    document, where = max(read, key=lambda pair: (pair[0].digest == digest, pair[0].at))
    said = f"{document.summary.rstrip('.')} ({document.by}, {document.at:%Y-%m-%d %H:%M %Z}"
    said += f", {document.details_url})" if document.details_url else ")"
    if document.digest != digest:
        return False, (
            f"{path_of(name)} {where} is about {short(document.digest)}, and these bytes are {short(digest)}: {said}"
        )
    if document.at > now + CLOCKS:
        return False, f"it is dated {document.at:%Y-%m-%d %H:%M %Z}, which is still to come: {said}"
    hours = (now - document.at) / timedelta(hours=1)
    if rule.max_age_hours is not None and hours > rule.max_age_hours:
        limit = f"the gate takes {rule.max_age_hours:g} at most"
        return False, f"it is {hours:.0f} hours old, and {limit}; run the job again: {said}"
    return document.passed, said if document.passed else f"it failed: {said}"
