"""Lines about the versions that the bot unloads and removes."""

from __future__ import annotations

from collections.abc import Iterable

from bot.domain.names import short
from bot.domain.retention import CleanedUp

UNLOADED, REMOVED = "unloaded", "removed"


def unloaded(triton_model: str, versions: Iterable[int], triton: str) -> str:
    """Versions that no route needs were taken off a Triton."""
    return f"{triton_model} {_numbers(versions)} off {triton}"


def version_removed(triton_model: str, version: int) -> str:
    """A version left the share."""
    return f"{triton_model}/{version} from the model repository"


def folder_removed(triton_model: str) -> str:
    """A model's folder in which no version was left."""
    return f"{triton_model}, in which no version is left, from the model repository"


def package_removed(digest: str) -> str:
    """The description of a package beside the model repository was removed."""
    return f"what was kept of package {short(digest)}"


def check_removed(triton_model: str, pull_request: int) -> str:
    """The rest of a killed check on staging was removed."""
    return f"{triton_model} from staging: #{pull_request} is closed"


def trash_deleted(count: int) -> str:
    """Files and folders in the trash were deleted."""
    return f"{count} in the trash and in staging"


def silent(triton: str) -> str:
    """A Triton does not answer, so its versions are not known."""
    return f"Triton {triton} does not answer and may have anything: nothing was removed from the model repository"


def not_settled(gateway: str, why: str) -> str:
    """A gateway may still pass requests to what would be unloaded."""
    return f"nothing was unloaded while gateway {gateway} may still ask for it: {why}"


def other_generation(generation: int, wanted: int) -> str:
    """A gateway missed a reload."""
    return f"it serves generation {generation}, not {wanted}"


NOT_DRAINED = "requests still run under older routes"


def not_narrowed(triton_model: str, why: str) -> str:
    """Loading with fewer versions would load what must not be loaded."""
    return f"{triton_model} was not narrowed: {why}"


def still_there(triton_model: str, triton: str) -> str:
    """Triton has not let go of it in time."""
    return f"{triton_model} is still being unloaded on {triton}"


def not_known_bytes(version: int) -> str:
    """Nobody knows what a version should hold."""
    return f"no record says what version {version}, which is loaded, must hold"


def left(why: str) -> str:
    """Something had to stay."""
    return f"left by the cleanup: {why}"


def failed(error: BaseException) -> str:
    """The deployment stands; the next one cleans up."""
    return f"cleanup did not end, the next deployment resumes it: {error}"


def cleaned_up(done: CleanedUp) -> str:
    """Return what a cleanup did, or would do."""
    would = "would be " if done.dry_run else ""
    lines = [f"{would}{UNLOADED}: {line}" for line in done.unloaded]
    lines += [f"{would}{REMOVED}: {line}" for line in done.removed]
    lines += [f"left: {line}" for line in done.left]
    return "\n".join(lines) or f"{done.environment}: there is nothing to clean up."


def _numbers(versions: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(versions))) or "nothing"
