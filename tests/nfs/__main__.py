"""``python -m tests.nfs``: the share on a real NFS. Prints a table and ends with ``N passed, N failed``."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.nfs import caching, packages, proof, tries, verbs
from tests.nfs.lab import PROJECT, Lab
from tests.nfs.tries import Tried
from tests.reliability.matrix import named

INSIDE = "PROMOBOT_NFS_LAB"
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
PARTS: dict[str, str] = {
    "share": "what two clients do with the product's own share at the same time, and one after the other",
    "reader": "a reader on the other client hashes everything it sees, as fast as it can",
    "faults": "files held open, ESTALE, a server that restarts, a client that is cut off or dies",
    "full": "an export that is full",
    "verbs": "promotions and rollbacks by promobot itself, with Tritons, gateways, users and a reader on a client",
    "caching": "how old a reader's view may be, by mount options",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if all held, 1 if something did not, 2 where this machine cannot have the lab."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if tools := os.environ.get(INSIDE):
        return _inside(Path(tools), options)
    if os.geteuid():
        return _cannot("only root may make namespaces and mount")
    if not Path("/dev/net/tun").exists():
        return _cannot("/dev/net/tun is not there")
    home = Path(tempfile.mkdtemp(prefix="promobot-nfs-"))
    try:
        tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True)
        if tried.returncode:
            return _cannot(tried.stderr.strip())
        packages.unpack(home / "tools")
        again = [sys.executable, "-m", "tests.nfs", *(sys.argv[1:] if argv is None else argv)]
        return subprocess.run(
            ["unshare", *NAMESPACES, *again], env={**os.environ, INSIDE: str(home / "tools")}, cwd=PROJECT
        ).returncode
    except packages.Missing as error:
        return _cannot(str(error))
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _cannot(why: str) -> int:
    print(f"no NFS lab on this machine: {why}", file=sys.stderr)
    return 2


def _inside(tools: Path, options: argparse.Namespace) -> int:
    found: list[Tried] = []
    tables: list[str] = []
    notes = proof.Notes()
    try:
        with contextlib.ExitStack() as stack:
            try:
                lab = stack.enter_context(Lab(tools.parent / "lab", tools))
            except (RuntimeError, OSError) as error:
                return _cannot(str(error))
            for client in (lab.a, lab.b):
                client.know("tests.nfs.inside")
            for part in options.only or PARTS:
                _say(f"{part}: {PARTS[part]}")
                for tried in _run(part, lab, options, tables, notes):
                    found.append(tried)
                    for problem in tried.problems:
                        _say(f"  ✗ {tried.what}: {problem}")
    except KeyboardInterrupt:
        _say("interrupted: the table has what was tried until now")
        options.proof = None
    if options.proof is not None:
        command = shlex.join(["python", "-m", "tests.nfs", *sys.argv[1:]])
        proof.write(options.proof, notes, found, command=command, server=packages.version("nfs-ganesha"))
    return _show(found, tables)


def _run(part: str, lab: Lab, options: argparse.Namespace, tables: list[str], notes: proof.Notes) -> Iterator[Tried]:
    if part == "caching":
        rows = caching.measure(lab, options.rounds, _say)
        tables.append(caching.table(rows))
        yield Tried(part, "all was seen in the end, and at once by whoever lists first", caching.problems(rows))
        return
    if part == "verbs":
        yield from verbs.fifty(lab, options.promotions, _say, options.mount, notes)
        return
    functions: dict[str, tuple[Callable[[tries.Place], None], ...]] = {
        "share": tries.TWO,
        "reader": tries.READER,
        "faults": tries.FAULTS,
        "full": tries.FULL,
    }
    for function in functions[part]:
        what = (function.__doc__ or "").strip()
        if options.rows in what:
            export = "/small" if part == "full" else "/share"
            yield tries.attempt(part, function, lab, export, options=options.mount, mounted=notes.place)


def _show(found: Sequence[Tried], tables: Sequence[str]) -> int:
    for text in tables:
        print(f"\n{text}")
    print(f"\n{'part':8} {'what':98} {'':6} {'s':>5}")
    print("─" * 120)
    for tried in found:
        print(f"{tried.part:8} {tried.what:98} {'failed' if tried.problems else 'passed'} {tried.seconds:5.0f}")
        for figure in tried.figures:
            print(f"{'':8}   {figure}")
        for problem in tried.problems:
            print(f"{'':8} ✗ {problem}")
    failed = sum(bool(tried.problems) for tried in found)
    print(f"\n{len(found) - failed} passed, {failed} failed")
    return 1 if failed or not found else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:8} {says}" for name, says in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.nfs",
        description="The share on a real NFS: a server in user space, two clients with Linux's own NFS client. "
        "Needs root, /dev/net/tun, Debian's packages.",
        epilog=f"parts:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    parser.add_argument("--only", type=named(PARTS), metavar="PART,…", help="these parts only")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows of the table that hold this text")
    parser.add_argument(
        "--promotions",
        type=int,
        default=25,
        metavar="N",
        help="of the part verbs, and as many rollbacks (default: 25)",
    )
    parser.add_argument(
        "--mount", default="", metavar="OPTIONS", help="of both clients, but for the part caching (default: none)"
    )
    parser.add_argument(
        "--proof", type=Path, metavar="FILE", help="write what was mounted and tried as JSON, and a page beside it"
    )
    parser.add_argument("--rounds", type=int, default=6, metavar="N", help="of the part caching (default: 6)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
