"""The files that an ONNX model names, read from its bytes as they stream past.

An ONNX model is a protobuf message of up to 2 GiB. Its tensors may keep their values in other files; onnxruntime
opens whatever ``location`` says, beside the model, above it, or anywhere. This follows only the fields in which a
tensor can lie, and steps over everything else, so memory stays bounded whatever the size. Field numbers are those of
``onnx.proto``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import PurePosixPath

MODEL, GRAPH, NODE, ATTRIBUTE, TENSOR, SPARSE, ENTRY, FUNCTION, TRAINING = (
    *("ModelProto", "GraphProto", "NodeProto", "AttributeProto", "TensorProto", "SparseTensorProto"),
    *("StringStringEntryProto", "FunctionProto", "TrainingInfoProto"),
)
INSIDE: Mapping[str, Mapping[int, str]] = {
    MODEL: {7: GRAPH, 20: TRAINING, 25: FUNCTION},
    TRAINING: {1: GRAPH, 2: GRAPH},
    FUNCTION: {7: NODE, 11: ATTRIBUTE},
    GRAPH: {1: NODE, 5: TENSOR, 15: SPARSE},
    NODE: {5: ATTRIBUTE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    SPARSE: {1: TENSOR, 2: TENSOR},
    TENSOR: {13: ENTRY},
    ENTRY: {},
}
"""The messages in which a tensor can lie, by the number of the field."""
_TEXTS = {ENTRY: {1, 2}, NODE: {4}}
"""The texts that are read: key and value of an entry, and a node's operator."""
_KEY, _VALUE, _OPERATOR = 1, 2, 4

MAX_PARTS = 20_000_000
"""Fields that are stepped through. A run of numbers of one field is one: a forest of a million nodes stays below."""
MAX_DEPTH = 100
"""Messages within messages, as protobuf itself allows."""
_MAX_TEXT = 4096
_MAX_TAG = 2**32 - 1
"""Protobuf in C++ drops what is above, so that an unknown field here would be a known one to who loads the model."""
_MAX_HEADER = 20
"""A tag and a length of ten bytes each."""
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class OnnxFiles:
    """Reads one ONNX file in chunks. ``problem`` says what is wrong with it; empty as long as nothing is.

    ``path`` is the file's own path in the package, ``listed`` what the package lists, ``size`` how long the file is.
    """

    def __init__(self, path: str, listed: Collection[str], size: int) -> None:
        self.problem = ""
        self._folder, self._listed = PurePosixPath(path).parent, listed
        self._size, self._parts = size, 0
        self._rest, self._at = b"", 0
        """The bytes that are not read yet, and where in the file they begin."""
        self._skip = 0
        self._open: list[tuple[str, int]] = [(MODEL, size)]
        self._seen: set[int] = set()
        self._texts: dict[int, list[str]] = {}

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes of the file."""
        if self.problem:
            return
        if self._skip >= len(chunk) and not self._rest:
            self._skip -= len(chunk)
            self._at += len(chunk)
            return
        data = self._rest + chunk if self._rest else chunk
        taken = self._read(data)
        self._rest, self._at = data[taken:], self._at + taken

    def finish(self) -> str:
        """Return what is wrong, when the whole file was read."""
        if not self.problem:
            self._close(self._at)
            ended = not self._rest and not self._skip and self._at == self._size and len(self._open) <= 1
            if not ended or not {1, 7} <= self._seen:
                self.problem = "is not an ONNX model"
        return self.problem

    def _read(self, data: bytes) -> int:
        """Step through ``data``; return how many bytes of it are done with."""
        at, length, start = min(self._skip, len(data)), len(data), self._at
        self._skip -= at
        while at < length and not self.problem:
            if start + at >= self._open[-1][1]:
                self._close(start + at)
                if self.problem:
                    break
            kind, end = self._open[-1]
            if length - at < _MAX_HEADER and start + length < self._size:
                break
            limit = min(length, end - start)
            self._parts += 1
            if self._parts > MAX_PARTS:
                self.problem = f"has more than {MAX_PARTS:,} fields; keep its weights in raw_data or in another file"
                break
            tag, body = _varint(data, at, limit)
            wire, field = tag & 7, tag >> 3
            if body < 0 or field == 0 or tag > _MAX_TAG:
                self._broken()
            elif wire == _LENGTH:
                size, body = _varint(data, body, limit)
                if body < 0 or start + body + size > end:
                    self._broken()
                    break
                if kind == MODEL:
                    self._seen.add(field)
                inner = INSIDE[kind].get(field)
                if inner is not None:
                    if len(self._open) > MAX_DEPTH:
                        self._broken()
                        break
                    self._open.append((inner, start + body + size))
                    at = body
                elif field in _TEXTS.get(kind, ()) and size <= _MAX_TEXT:
                    if body + size > length:
                        break  # the rest of the text is in the next chunk
                    self._take(kind, field, data[body : body + size])
                    at = body + size
                elif kind == ENTRY and field == _VALUE:
                    self._take(kind, field, b"\0")  # no path is as long
                    at = self._step_over(body + size, length)
                else:
                    at = self._step_over(body + size, length)
            elif wire in (_VARINT, _FIXED64, _FIXED32):
                if kind == MODEL:
                    self._seen.add(field)
                after = _after_numbers(data, at, body, limit, wire)
                if after < 0 and start + length >= min(end, self._size):
                    self._broken()
                elif after < 0:
                    break
                else:
                    at = after
            else:
                self._broken()  # groups, which ONNX never had
        return at

    def _step_over(self, to: int, length: int) -> int:
        self._skip = max(0, to - length)
        return min(to, length)

    def _close(self, at: int) -> None:
        """Leave the messages that end here."""
        while len(self._open) > 1 and self._open[-1][1] <= at:
            kind, _ = self._open.pop()
            if kind == ENTRY:
                self._judge_entry()

    def _take(self, kind: str, field: int, content: bytes) -> None:
        text = content.decode(errors="replace")
        if kind == ENTRY:
            self._texts.setdefault(field, []).append(text)
        elif text == "EPContext":
            self.problem = "holds an engine that was compiled for one device (EPContext), which may lie in any file"

    def _judge_entry(self) -> None:
        """Judge one entry of a tensor's external data. Of a text that stands twice protobuf keeps the last."""
        keys, values = self._texts.pop(_KEY, []), self._texts.pop(_VALUE, [])
        if "location" not in keys:
            return
        for location in values or [""]:
            if not self._is_listed(location):
                shown = location if location != "\0" else "a name that is too long"
                self.problem = f"keeps values in {shown!r:.120}, which is not a file that package.json lists"

    def _is_listed(self, location: str) -> bool:
        plain = PurePosixPath(location)
        if not location or plain.is_absolute() or ".." in plain.parts or "\\" in location:
            return False
        return (self._folder / plain).as_posix() in self._listed

    def _broken(self) -> None:
        self.problem = "is not an ONNX model"


def _varint(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Return the number that begins at ``at`` and where it ends; -1 as its end where it is none."""
    if at < limit and data[at] < 0x80:
        return data[at], at + 1
    value = 0
    for count in range(10):
        if at + count >= limit:
            break
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & (2**64 - 1), at + count + 1
    return 0, -1


def _after_numbers(data: bytes, at: int, body: int, limit: int, wire: int) -> int:
    """Return where the numbers of one field end that stand here one after the other, -1 where none is whole."""
    if body - at == 1:
        found = _numbers(data[at:body], wire).match(data, at, limit)
        return found.end() if found else -1
    if wire == _VARINT:
        return _varint(data, body, limit)[1]
    after = body + (8 if wire == _FIXED64 else 4)
    return after if after <= limit else -1


@cache
def _numbers(tag: bytes, wire: int) -> re.Pattern[bytes]:
    """Return the pattern of one or more numbers of the field ``tag``, one byte: a list may be millions of fields."""
    number = {_VARINT: rb"[\x80-\xff]{0,9}+[\x00-\x7f]", _FIXED32: rb"[\x00-\xff]{4}", _FIXED64: rb"[\x00-\xff]{8}"}
    return re.compile(rb"(?:" + re.escape(tag) + number[wire] + rb")++", re.DOTALL)
