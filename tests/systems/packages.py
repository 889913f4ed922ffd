"""Packages as values, for tests that publish them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping

from bot.domain.package import CONFIG_FILE, SMOKE_FILE, Package, PackageFile
from bot.domain.smoke import SmokeCase, SmokeCases, Tensor

CONFIG = 'backend: "onnxruntime"\nmax_batch_size: 8\n'
SMOKE = SmokeCases(
    (SmokeCase("one", (Tensor("X", "FP32", (1, 1), (1.0,)),), (Tensor("Y", "FP32", (1, 1), (2.0,)),)),)
).to_json()
CHUNK_BYTES = 4
TENSORS = bytes(range(1, 13))
SMOKE_BESIDE = json.dumps(
    {
        "format": 2,
        "cases": [
            {
                "name": "one",
                "inputs": [
                    {
                        "name": "X",
                        "datatype": "UINT8",
                        "shape": [1, 8],
                        "parameters": {"binary_data_size": 8},
                        "sha256": hashlib.sha256(TENSORS[:8]).hexdigest(),
                    }
                ],
                "outputs": [
                    {
                        "name": "Y",
                        "datatype": "UINT8",
                        "shape": [1, 4],
                        "parameters": {"binary_data_size": 4},
                        "sha256": hashlib.sha256(TENSORS[8:]).hexdigest(),
                    }
                ],
            }
        ],
    }
)
"""Golden cases whose tensors are ``TENSORS``, in the file beside."""


class Contents:
    """The bytes of a package by path, and the package that lists them."""

    def __init__(self, files: Mapping[str, bytes], *, config: str = CONFIG, smoke: str = SMOKE) -> None:
        self.files = {CONFIG_FILE: config.encode(), SMOKE_FILE: smoke.encode(), **files}
        self.package = package_of(self.files)

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        return chunks(self.files[path][start:])


def package_of(files: Mapping[str, bytes]) -> Package:
    return Package.of(
        PackageFile(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in files.items()
    )


def chunks(content: bytes) -> Iterator[bytes]:
    """Yield ``content`` in small pieces, so that a file is more than one of them; a large file in about 64."""
    size = max(CHUNK_BYTES, len(content) // 64)
    yield from (content[start : start + size] for start in range(0, len(content), size))


def flat(pieces: Iterable[bytes]) -> bytes:
    return b"".join(pieces)
