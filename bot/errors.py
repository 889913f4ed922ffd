"""Every error that Promobot raises on purpose, drawn in one place.

    Explained                says what happened, what is the state, and what to do next; never raised itself
    ├── LeaseLost            a later deployment or rollback took over: no step may catch it
    └── PromobotError        something a person must read; the command ends with exit code 1
        ├── InvalidInput     a file or an argument is wrong: says file, line and key
        ├── Refused          the rules forbid it; nothing was changed
        └── OutsideError     a system around us did not do what was asked
            ├── Unavailable  worth trying again: refused, timed out, 5xx, 429
            └── Rejected     not worth trying again as it is: 4xx, not found, contradiction
                ├── NotAllowed     a package holds, or its configuration says, what it may not
                ├── WrongAnswers   a Triton answers otherwise than it must: the digest is to blame
                ├── OtherBytes     what is there is not what the digest names
                ├── NotRegistered  MLflow has no such version
                ├── Denied         our credentials are not accepted
                ├── Foreign        something in between answered in the system's place
                └── NotReady       a gateway refuses routes to models that are not ready for it

Each message says what happened; ``state`` says what state things are in, ``next_step`` what to do about it.
"The gate says no" and "not yet" are values of the domain, never exceptions.
"""

from __future__ import annotations

from bot.redaction import redact

__all__ = [
    "Denied",
    "Explained",
    "Foreign",
    "InvalidInput",
    "LeaseLost",
    "NoPackage",
    "NotAllowed",
    "NotReady",
    "NotRegistered",
    "OtherBytes",
    "OutsideError",
    "PromobotError",
    "Refused",
    "Rejected",
    "Unavailable",
]


class Explained(BaseException):
    """What happened (``message``), in what ``state`` things are, and what to do next (``next_step``).

    Secrets are blanked out of the message at once: what a system answered may quote the request with its headers, and
    the message goes to terminals, records, comments and Slack.
    """

    def __init__(self, message: str, *, state: str = "", next_step: str = "") -> None:
        message = redact(message)
        super().__init__(message)
        self.message = message
        self.state = state
        self.next_step = next_step

    def __str__(self) -> str:
        return self.message


class PromobotError(Explained, Exception):
    """An error that a step may catch and report, and continue after."""


class LeaseLost(Explained):
    """A later deployment or rollback holds the lease; the step that raises this must change nothing more.

    Like KeyboardInterrupt it derives from BaseException, so no ``except PromobotError`` or ``except Exception`` of a
    step can take it for a fault of one model and go on writing. Only the boundaries of a command catch it: ``cli``,
    a request of Slack, one environment of ``reconcile``, and the cleanup after a deployment that is over.
    """


class InvalidInput(PromobotError):
    """A file or an argument is wrong: names the ``file``, the ``line`` (from 1) and the ``key`` that it knows of."""

    def __init__(
        self, message: str, *, file: str = "", line: int | None = None, key: str = "", next_step: str = ""
    ) -> None:
        where = ":".join(part for part in (file, str(line) if line else "") if part)
        text = ": ".join(part for part in (where, key, message) if part)
        super().__init__(text, state="Nothing was changed.", next_step=next_step)
        self.file, self.line, self.key, self.problem = file, line, key, message
        self.mistakes: tuple[InvalidInput, ...] = (self,)
        """One for each mistake in the file; the message names them all."""


class Refused(PromobotError):
    """The rules forbid it; nothing was changed."""


class OutsideError(PromobotError):
    """A system around the bot did not do what was asked.

    ``system`` names it as people know it. ``said`` is the message for a sentence that names the system already.
    """

    def __init__(self, message: str, *, system: str, state: str = "", next_step: str = "") -> None:
        super().__init__(f"{system}: {message}", state=state, next_step=next_step)
        self.system, self.said = system, message


class Unavailable(OutsideError):
    """Worth trying again. ``retry_after_seconds`` is what the system asked for, when it did."""

    def __init__(
        self,
        message: str,
        *,
        system: str,
        state: str = "",
        next_step: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, system=system, state=state, next_step=next_step)
        self.retry_after_seconds = retry_after_seconds


class Rejected(OutsideError):
    """Asking again changes nothing: the request, the credentials or the state of things must change first."""


class NotAllowed(Rejected):
    """A package holds a file, or its configuration a field, that the rules refuse: the package is to blame."""


class WrongAnswers(Rejected):
    """A Triton answers golden requests otherwise than it must: the bytes were judged, and are to blame."""


class OtherBytes(Rejected):
    """The bytes are not those that the digest names: somebody changed it, and the digest is not to blame for that."""


class NotRegistered(Rejected):
    """MLflow has no such version of the model; ``versions`` are the newest that it has, the newest first."""

    def __init__(self, message: str, *, system: str, next_step: str = "", versions: tuple[int, ...] = ()) -> None:
        super().__init__(message, system=system, next_step=next_step)
        self.versions = versions


class NoPackage(Rejected):
    """A registered version has no package: MLflow knows it, and what Triton is to serve is not known."""


class Denied(Rejected):
    """Our credentials are not accepted; no model is to blame for that."""


class Foreign(Rejected):
    """The answer is not one that this system gives: a proxy in between wrote it. No model is to blame for that."""


class NotReady(Rejected):
    """A gateway refuses routes because some ``models`` are not ready for it; the others may be routed."""

    def __init__(self, message: str, *, system: str, models: tuple[str, ...]) -> None:
        super().__init__(message, system=system)
        self.models = models
