"""What the board costs: its first page, the time until it shows a change, and what users of a gateway notice of it.

The platform is one on this machine: real Git, a real share and real records, Tritons and gateways that say what they
are told. Users ask a real gateway in front of a real Triton. The board reads at its own rhythm throughout.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx

from bot.board.board import Board
from bot.board.server import Pages, application, running
from bot.board.views import Filter
from bot.sandbox.processes import Ports
from tests.benchmarks.asking import ask, percentile
from tests.benchmarks.gateway import RATE, binary_load, cpu_seconds, for_seconds, port_of
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.board.place import TOKEN, Place
from tests.gateway.gateways import gateway_process, running_application, table, target, write_routes
from tests.gateway.triton import publish_adder, running_triton

ENVIRONMENTS = ("dev", "staging", "prod")
MODELS, VIEWERS = 1_000, 50
SECONDS = 60.0
REFRESH_SECONDS = 2.0
"""As the page's own script does."""


def _run(bench: Bench) -> Iterator[Figure]:
    yield from _pages(bench)
    yield from _reads(bench)
    yield from _users(bench)


# --- pages -------------------------------------------------------------------------------------------------------


@contextmanager
def _board(folder: Path, models: int, *environments: str) -> Iterator[tuple[Board, list[Place], httpx.Client]]:
    with ExitStack() as opened:
        places: list[Place] = []
        for name in environments:
            of = {f"model-{number:04d}": 1 + number % 7 for number in range(models)}
            beside = places[0] if places else None
            places.append(Place(folder, opened, models=of, environment=name, beside=beside))
            places[-1].configure(deadlines={})  # as they are by default
            for gateway in places[-1].gateways:
                gateway.counted = dict.fromkeys(of, (1_000, 1))
        board = Board(places[0].root, variables={"GITHUB_TOKEN": TOKEN})
        opened.enter_context(running(board))
        url = opened.enter_context(running_application(application(board), lifespan="off"))
        _until(lambda: all(_is_known(board, name) for name in environments))
        yield board, places, opened.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=SECONDS))


def _is_known(board: Board, name: str) -> bool:
    of = board.of(name)
    if of is None:
        return False
    servers = [part for part in of.parts if part.name.startswith(("Triton ", "gateway "))]
    return len(servers) == 4 and all(of.freshness())


def _pages(bench: Bench) -> Iterator[Figure]:
    models = bench.size(MODELS, 5)
    made, spent, again, sizes = [], [], [], []
    shown: dict[str, list[float]] = {"a deployment": [], "a hold": [], "a Triton that is down": []}
    with _board(bench.folder / "pages", models, *ENVIRONMENTS) as (board, places, web):
        place = places[0]
        for number in range(bench.rounds):
            # All three change, so that nothing of the page is there already.
            _change_all(board, places, 85_000 + number)
            began = time.thread_time()
            Pages(board).board(Filter(), 1)
            spent.append(time.thread_time() - began)
            _change_all(board, places, 80_000 + number)
            seconds, page = _timed(lambda: web.get("/"))
            made.append(seconds)
            sizes.append(len(page.content) / 1e3)
            again.append(_timed(lambda: web.get("/"))[0])

            served, held = 90_000 + number, 95_000 + number
            shown["a deployment"].append(_until_shown(web, str(served), partial(place.serve, "model-0002", served)))
            asked = partial(place.merge, {**place.models, "model-0003": held})
            shown["a hold"].append(_until_shown(web, f"{held} is held", asked))
            place.merge(place.models)
            shown["a Triton that is down"].append(
                _until_shown(web, "triton-1 does not answer", place.tritons[0].stop)
            )
            place.tritons[0].start()
            _until(lambda: _is_known(board, "dev"))
    what = f"{models:,} models in each of {len(ENVIRONMENTS)} environments"
    yield Figure(f"the first page, {what}", made, goal=1.0, note="all of it made anew")
    yield Figure(f"processor time to make it anew, {what}", spent, goal=1.0)
    yield Figure(f"its size, {what}", sizes, goal=300, unit="kB")
    yield Figure(f"the same page once it is made, {what}", again)
    for kind, seconds in shown.items():
        yield Figure(f"until the board shows {kind}, {what}", seconds, goal=5.0)


def _change_all(board: Board, places: list[Place], version: int) -> None:
    before = board.version()
    for each in places:
        each.serve("model-0001", version)
    _until(partial(_all_differ, board, before))


def _all_differ(board: Board, before: object) -> bool:
    now = board.version()
    assert isinstance(before, tuple) and isinstance(now, tuple)
    return len(before) == len(now) and all(one != other for one, other in zip(before, now, strict=True))


def _until_shown(web: httpx.Client, text: str, change: Callable[[], object]) -> float:
    began = time.monotonic()
    change()
    _until(lambda: text in web.get("/", params={"part": "main"}).text)
    return time.monotonic() - began


# --- reads -------------------------------------------------------------------------------------------------------


def _reads(bench: Bench) -> Iterator[Figure]:
    seconds = 20.0 if not bench.quick else 4.0
    counted: dict[int, list[float]] = {0: [], VIEWERS: []}
    with _board(bench.folder / "reads", bench.size(50, 5), "dev") as (_, places, web):
        url, place = str(web.base_url), places[0]

        def requests() -> int:
            return sum(len(one.server.seen) for one in place.gateways) + sum(len(one.asked) for one in place.tritons)

        for _ in range(bench.rounds):
            for viewers, found in counted.items():
                with _viewers(url, viewers):
                    before, began = requests(), time.monotonic()
                    threading.Event().wait(seconds)
                    found.append((requests() - before) / (time.monotonic() - began) / 4)
    name = f"requests a second that a Triton or gateway gets, {VIEWERS} open boards"
    yield Figure(name, counted[VIEWERS], "none open", counted[0], goal=1.1, unit="/s")


@contextmanager
def _viewers(url: str, number: int) -> Iterator[None]:
    """Have so many boards open, each of which asks as its script does, in a process of its own."""
    if not number:
        yield
        return
    command = [sys.executable, "-m", "tests.benchmarks.board", url, str(number)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "open\n":
            raise RuntimeError("the viewers did not start")
        yield
    finally:
        process.kill()
        process.communicate()


async def _look(url: str, number: int) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=SECONDS) as client:

        async def one(place: int) -> None:
            etag = ""
            await asyncio.sleep(REFRESH_SECONDS * place / number)
            while True:
                answer = await client.get("/", params={"part": "main"}, headers={"if-none-match": etag})
                etag = answer.headers.get("etag", "")
                await asyncio.sleep(REFRESH_SECONDS)

        (await client.get("/")).raise_for_status()
        print("open", flush=True)
        await asyncio.gather(*(one(place) for place in range(number)))


# --- users -------------------------------------------------------------------------------------------------------


def _users(bench: Bench) -> Iterator[Figure]:
    """Ask one real gateway at a steady rate, while nobody looks and while fifty do."""
    seconds = 6.0 if not bench.quick else 0.5
    repository = bench.folder / "repository"
    publish_adder(repository / "adder", versions=(1,))
    routes = bench.folder / "routes.json"
    write_routes(routes, table(1, target(1)))
    with ExitStack() as opened:
        triton = opened.enter_context(running_triton(repository))
        triton.load("adder")
        gateway = opened.enter_context(gateway_process(routes, [triton.url]))
        place = Place(bench.folder / "users", opened, models={"adder": 1})
        place.configure(deadlines={}, gateways=[{"name": "gateway-1", "url": gateway.url}])
        url, pid = opened.enter_context(_board_process(place.root))
        load = binary_load(port_of(gateway.url))
        ask(for_seconds(load, 1.0, rate=0.0))  # connections are opened, code is warm
        found: dict[int, list[list[float]]] = {0: [], VIEWERS: []}
        spent: dict[int, list[float]] = {0: [], VIEWERS: []}
        with httpx.Client(base_url=url, trust_env=False, timeout=SECONDS) as web:
            _until(lambda: "adder" in web.get("/").text)
        for round_ in range(bench.rounds):
            for viewers in (0, VIEWERS) if round_ % 2 else (VIEWERS, 0):
                with _viewers(url, viewers):
                    before = cpu_seconds(pid)
                    found[viewers].append(ask(for_seconds(load, seconds)).waits)
                    spent[viewers].append((cpu_seconds(pid) - before) / seconds)
    load_ = f"{RATE:g} requests a second, load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        ours, peer = ([percentile(waits, share) for waits in found[number]] for number in (VIEWERS, 0))
        note = f"{percentile(peer, 0.5) * 1e3:.2f} ms with none open; {load_}"
        figure = f"{name} of a gateway's users, {VIEWERS} open boards"
        yield Figure(figure, ours, "none open", peer, note=note)
    name = f"processor time of the board in a second, {VIEWERS} open boards"
    yield Figure(
        name, spent[VIEWERS], "none open", spent[0], note=f"{percentile(spent[0], 0.5):.3f} s with none open"
    )


@contextmanager
def _board_process(root: Path) -> Iterator[tuple[str, int]]:
    with Ports() as ports:
        port = ports.take()
        command = [sys.executable, "-m", "bot", "board", "--root", str(root), "--port", str(port)]
        process = subprocess.Popen(command, env={**os.environ, "GITHUB_TOKEN": TOKEN}, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            _until(lambda: _is_up(url) or process.poll() is not None)
            yield url, process.pid
        finally:
            process.terminate()
            process.wait(SECONDS)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _timed(work: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
    began = time.monotonic()
    answer = work()
    answer.raise_for_status()
    return time.monotonic() - began, answer


def _until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError("not in time")
        time.sleep(0.02)


BENCHMARK = Benchmark("board", "what the board costs, and how soon it shows a change", _run)

if __name__ == "__main__":
    asyncio.run(_look(sys.argv[1], int(sys.argv[2])))
