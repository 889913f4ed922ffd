"""An error of the file system at every call of a deployment, one at a time.

A first run is logged by strace. Each of its calls on the share and the record store is a point with each error that
such a call can give (:func:`errors_of`); strace makes the call fail without doing it. The verb must then end in words
of ours, with exit code 1 (or 0 or 4 where the call did not matter), never with a traceback; the invariants of any
moment must hold; and the next run, without the error, must converge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tests.reliability import invariants
from tests.reliability.matrix import Matrix, Part, Point
from tests.reliability.scenarios import SCENARIOS, Scenario
from tests.reliability.scene import OPENING, Call, Ended, Scene, calls

SCENARIOS_TRIED = (("deploy, update", "", 1), ("deploy, five at once, seed 1", ", five at once", 8))
"""Each with what its rows are called besides their error, and the so-manieth of its points that is tried."""
TRIES = 12
ERRORS = ("ENOSPC", "EDQUOT", "EIO", "ESTALE", "EACCES", "EMFILE", "EINTR")
_MAKING = frozenset({"rename", "renameat", "renameat2", "link", "linkat", "mkdir", "mkdirat", "symlink"})
_WRITING = frozenset(
    {"write", "writev", "pwrite64", "fsync", "fdatasync", "ftruncate", "copy_file_range", "sendfile"}
)
_LOOKING = frozenset({"stat", "lstat", "newfstatat", "statx", "readlink"})


@dataclass(frozen=True)
class Site:
    """A call, how many of its kind (name and arguments) came before it, and how many of its name on its path."""

    call: Call
    before: int
    before_on_path: int


def errors_of(call: Call) -> tuple[str, ...]:
    """Return the errors that a file system may give to this call; none for calls that are not of files."""
    if call.name in OPENING:
        return ERRORS if call.mutates else ("EIO", "ESTALE", "EACCES", "EMFILE", "EINTR")
    if call.name in _MAKING:
        return ("ENOSPC", "EDQUOT", "EIO", "ESTALE", "EACCES")
    if call.name in _WRITING:
        return ("ENOSPC", "EDQUOT", "EIO", "ESTALE", "EINTR")
    if call.name == "close":
        # NFS tells of a full disk when the file is closed.
        return ("ENOSPC", "EDQUOT", "EIO")
    if call.name in ("read", "pread64", "getdents64"):
        return ("EIO", "ESTALE")
    if call.name in _LOOKING or call.mutates:
        return ("EIO", "ESTALE", "EACCES")
    return ("EIO", "ESTALE") if call.name == "fstat" else ()


def run(matrix: Matrix) -> Iterator[Point]:
    """Try each error at each call."""
    for name, more, stride in SCENARIOS_TRIED[: 1 if matrix.sample else None]:
        if not any(matrix.wants(f"{error}{more}") for error in ERRORS):
            continue
        scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
        yield from _of(matrix, scenario, more, stride)


def _of(matrix: Matrix, scenario: Scenario, more: str, stride: int) -> Iterator[Point]:
    scene = matrix.scene()
    log = scene.home / "errors.log"
    scenario.restore(scene)
    ended = scene.deploy(log=log)
    found = [call for call in calls(log) if call.is_on(scene.share, scene.records)]
    if ended.code != 0 or not found:
        yield Point(scenario.name, "no error", [f"ended with {ended.code}: {ended.said}"])
    matrix.say(f"  {len(found)} calls, {sum(len(errors_of(call)) for call in found)} errors in all")
    for error in ERRORS if not matrix.sample else ERRORS[:1]:
        sites = [site for site in _sites(found) if error in errors_of(site.call)]
        for site in matrix.some(sites, stride=stride) if matrix.wants(f"{error}{more}") else ():
            name = f"{error} from {site.call.name} number {site.call.number}, {site.call.shape}"
            yield Point(f"{error}{more}", name, _one(scene, scenario, site, error))


def _sites(found: list[Call]) -> list[Site]:
    seen: Counter[tuple[object, ...]] = Counter()
    sites = []
    for call in found:
        sites.append(Site(call, seen[call.kind], seen[(call.name, call.path)]))
        seen.update([call.kind, (call.name, call.path)])
    return sites


def _one(scene: Scene, scenario: Scenario, site: Site, error: str) -> list[str]:
    ended, hit = _injected(scene, scenario, site, error)
    if not hit:
        return [f"the error missed: ended with {ended.code}"]
    problems = []
    if ended.code not in (0, 1, 4):
        problems.append(f"ended with {ended.code}: {ended.said[-1500:]}")
    elif not ended.said.strip():
        problems.append(f"ended with {ended.code} and said nothing")
    problems += invariants.always(scene, scene.look(), scenario.allowed)
    return [*problems, *invariants.converges(scene, scenario.allowed)]


def _injected(scene: Scene, scenario: Scenario, site: Site, error: str) -> tuple[Ended, bool]:
    """Run with the error; say whether it met that call, for numbers vary a little from run to run."""
    log, number, name = scene.home / "injected.log", site.call.number, site.call.name
    for attempt in range(TRIES):
        # Counted on its path first, which is exact, but for paths with a random part.
        counted = not attempt and bool(site.call.path)
        when = site.before_on_path + 1 if counted else number
        scenario.restore(scene)
        inject = [f"{name}:error={error}:when={when}"]
        ended = scene.deploy(log=log, inject=inject, on=site.call.path if counted else "")
        seen = calls(log)
        if any(call.injected and call.kind == site.call.kind for call in seen):
            return ended, True
        if counted:
            continue
        alike = [call.number for call in seen if call.kind == site.call.kind]
        # Where it was this time; or, where the error met something before it that ended the run, a little further.
        number = alike[site.before] if len(alike) > site.before else site.call.number + attempt
    return ended, False


PART = Part("errors", "an error of the file system at every call on the share and the record store", run)
