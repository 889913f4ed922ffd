"""Publishing one large file from a bucket, near by and from a store that gives each connection little.

The second asks through a relay, a process of its own, which lets through so many bytes a second for each connection:
as a store that is far away does. What makes the difference then is how many connections are used.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from bot.sandbox import s3
from tests.benchmarks.measuring import Bench, Benchmark, Figure
from tests.benchmarks.publish import MEBIBYTE, Bucket, Environments, Stored, publish, s5cmd

BYTES_A_SECOND = 64 * MEBIBYTE
_PIECE = 2**17


def _run(bench: Bench) -> Iterator[Figure]:
    size = bench.size(2**29, 24 * MEBIBYTE)
    with s3.running(bench.folder / "s3") as storage:
        stored = Bucket(storage).store("model", {"model.bin": size})
        what = f"publish one file of {size // MEBIBYTE} MiB from S3"
        ours, peer = _compare(bench, storage, stored)
        yield Figure(what, ours, "s5cmd, sync -f", peer)
        with _relay(storage.ports["s3"]) as port:
            ours, peer = _compare(bench, replace(storage, ports={**storage.ports, "s3": port}), stored)
        what, note = f"{what}, far away", f"{BYTES_A_SECOND // MEBIBYTE} MiB/s for each connection"
        yield Figure(what, ours, "s5cmd, sync -f", peer, note=note)
        yield Figure(what, ours, "one connection, nothing else", [size / BYTES_A_SECOND] * len(ours), note=note)


def _compare(bench: Bench, storage: s3.ObjectStorage, stored: Stored) -> tuple[list[float], list[float]]:
    bucket, environments = Bucket(storage), Environments(bench.folder)
    registry, target, share = bucket.registry(), bench.folder / "copied", environments.new("dev")

    def fresh() -> None:
        nonlocal share
        share = environments.new("dev")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    def ours() -> None:
        publish(share, registry, stored.version(storage, 1), stored.package)

    return bench.compare(ours, lambda: s5cmd(bucket, stored, target), before=fresh)


@contextmanager
def _relay(port: int) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.benchmarks.one_file", str(port), str(BYTES_A_SECOND)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as relay:
        assert relay.stdout is not None
        try:
            yield int(relay.stdout.readline())
        finally:
            relay.terminate()


async def _serve(port: int, bytes_a_second: int) -> None:
    async def connected(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(client, to_server), _pass_on(server, to_client, bytes_a_second))

    relay = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(relay.sockets[0].getsockname()[1], flush=True)
    await relay.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_a_second: int = 0) -> None:
    clock, due = asyncio.get_running_loop(), 0.0
    with suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
            if bytes_a_second:
                # Whoever was idle gets no more for it afterwards.
                due = max(due, clock.time()) + len(piece) / bytes_a_second
                await asyncio.sleep(due - clock.time())
    writer.close()


BENCHMARK = Benchmark("one_file", "one large file, near by and far away", _run, slow=True)

if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
