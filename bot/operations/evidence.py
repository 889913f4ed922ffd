"""``promobot evidence``: what the checks found, and a person's way to take it back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from bot.domain.evidence import Evidence, newest_of_each
from bot.domain.nearest import did_you_mean, nearest
from bot.errors import InvalidInput, Refused
from bot.exit_codes import ExitCode
from bot.platform import Platform
from bot.records.ledger import Ledger


@dataclass(frozen=True)
class Found:
    """Evidence, newest first; ``revoked`` says how much of it was just revoked."""

    environment: str
    at: datetime
    evidence: tuple[Evidence, ...]
    revoked: int = 0

    @property
    def exit_code(self) -> ExitCode:
        """0 done."""
        return ExitCode.DONE


def list_evidence(platform: Platform, *, model: str | None) -> Found:
    """Return all evidence of one model or of every one."""
    return Found(platform.environment, datetime.now(UTC), tuple(platform.ledger.all_evidence(model)))


def show(platform: Platform, *, model: str, which: str) -> Found:
    """Return the newest evidence of each entry of one version, on each path. Raise Refused where there is none, and
    InvalidInput where ``model`` or ``which`` is empty."""
    _see_that_it_is_named(model, which)
    newest = newest_of_each(_of(platform.ledger, model, which))
    return Found(platform.environment, datetime.now(UTC), tuple(newest))


def revoke(platform: Platform, *, model: str, which: str, reason: str, by: str) -> Found:
    """Revoke all evidence of one version. Later checks write new evidence; the version in service stays."""
    _see_that_it_is_named(model, which)
    if not reason.strip():
        raise InvalidInput("say why: the people whose release it holds read this", key="--reason")
    ledger, environment = platform.ledger, platform.environment
    standing = [evidence for evidence in _of(ledger, model, which, passed=True) if evidence.revoked is None]
    if not standing:
        raise Refused(
            f"all evidence of {model} {which} in {environment} was revoked before",
            state="Nothing was changed.",
            next_step=f"`promobot evidence show {model} {which} --env {environment}` says by whom and why.",
        )
    ledger.revoke(standing, reason=reason, by=by)
    left = _of(ledger, model, which, passed=True)
    return Found(environment, datetime.now(UTC), tuple(left), len(standing))


def _see_that_it_is_named(model: str, which: str) -> None:
    if not (model and which):
        raise InvalidInput("name the model, and a version or the beginning of a digest", key="MODEL VERSION")


def _of(ledger: Ledger, model: str, which: str, *, passed: bool = False) -> list[Evidence]:
    """Return the evidence of a version, or of the one digest that begins so.

    With ``passed``, only passed checks decide which digest that is. Anyone with a branch can propose another digest
    under the same version, which never passes.
    """
    found = ledger.all_evidence(model)
    beginning = which.removeprefix("sha256:")
    of = [evidence for evidence in found if which.isdecimal() and evidence.version == int(which)]
    of = of or [evidence for evidence in found if evidence.digest.removeprefix("sha256:").startswith(beginning)]
    if passed and len({evidence.digest for evidence in of}) > 1:
        of = [evidence for evidence in of if evidence.passed]
    if not beginning or len({evidence.digest for evidence in of}) != 1:
        # Only where there is none of this model at all was another one meant.
        known = {model} if found else {one.model for one in ledger.all_evidence()}
        command = f"promobot evidence list {nearest(model, known) or model} --env {ledger.environment}"
        what = "evidence of several digests" if beginning and of else "no evidence"
        raise Refused(
            f"there is {what} of {model} {which} in {ledger.environment}",
            state="Nothing was changed.",
            next_step=f"{did_you_mean(model, known)}`{command}` lists what there is.",
        )
    return of
