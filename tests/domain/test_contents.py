"""What a file is, told by its bytes: the same whatever it is called, and however it arrives."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib.util
import io
import lzma
import marshal
import os
import pickle
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from bot.domain.contents import HEAD_BYTES, OWN_ENDINGS, Contents, is_pickle, look_at
from bot.domain.onnx_wire import INSIDE, MAX_DEPTH, OnnxFiles
from bot.domain.package import PackageFile
from tests.systems.packages import package_of


class Runs:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("true",)


def judged(path: str, content: bytes, *, chunk: int = 2**18, listed: tuple[str, ...] = ()) -> str:
    file = PackageFile(path, len(content), hashlib.sha256(content).hexdigest())
    seen = Contents(file, {path, *listed})
    for start in range(0, len(content), chunk):
        seen.feed(content[start : start + chunk])
    return seen.problem()


def compiled() -> bytes:
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(compile("1", "x", "eval"))


def zipped(comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = comment
        archive.writestr("__main__.py", "print(1)")
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    return buffer.getvalue()


def tarred_before_posix() -> bytes:
    """Return a tar archive as V7 wrote it: without a mark, so only the sum of its header tells."""
    made = bytearray(tarred())
    made[257:512] = bytes(255)
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made[:512])
    return bytes(made)


def lzma_alone(**options: int) -> bytes:
    return lzma.compress(b"x" * 99, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "preset": 6, **options}])


def long_text(protocol: int) -> bytes:
    """Return a pickle that first reads a long text which is not ASCII, and drops it."""
    runs, text = pickle.dumps(Runs(), protocol=protocol), b"V" + b"\xe9" * 600 + b"\n0"
    return runs[:2] + text + runs[2:] if protocol > 1 else text + runs


def windows(pointer: int) -> bytes:
    return b"MZ".ljust(60, b"\0") + struct.pack("<I", pointer) + b"\0" * (pointer - 64) + b"PE\0\0" + b"\0" * 20


def object_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([Runs()], dtype=object), allow_pickle=True)
    return buffer.getvalue()


KINDS = {
    "this Python itself": ("an ELF library", Path(sys.executable).read_bytes()[:200_000]),
    "Mach-O, 64 bits": ("a Mach-O library", b"\xcf\xfa\xed\xfe" + bytes(40)),
    "Mach-O, 32 bits": ("a Mach-O library", b"\xce\xfa\xed\xfe" + bytes(40)),
    "Mach-O, other way round": ("a Mach-O library", b"\xfe\xed\xfa\xcf" + bytes(40)),
    "Mach-O, fat": ("a fat Mach-O", b"\xca\xfe\xba\xbe" + bytes(40)),
    "Mach-O, fat, 64 bits": ("a fat Mach-O", b"\xca\xfe\xba\xbf" + bytes(40)),
    "Windows": ("a Windows library", windows(128)),
    "Windows, a header far away": ("a Windows library", windows(HEAD_BYTES + 7)),
    "Windows, a header in the header": ("a Windows library", b"MZPE\0\0".ljust(60, b"\0") + struct.pack("<I", 2)),
    "a shell script": ("a script", b"#!/bin/sh\ntrue\n"),
    "a script with a mark and a space": ("a script", b"\xef\xbb\xbf#! /usr/bin/env python\n"),
    "compiled Python": ("compiled Python", compiled()),
    "WebAssembly": ("WebAssembly", b"\0asm\1\0\0\0"),
    "zip": ("a zip archive", zipped()),
    "zip after something else": ("a zip archive", bytes(1000) + zipped()),
    "zip with a comment after something else": ("a zip archive", bytes(1000) + zipped(b"c" * 65_535)),
    "tar": ("a tar archive", tarred()),
    "tar of before POSIX": ("a tar archive", tarred_before_posix()),
    "LZMA": ("an LZMA archive", lzma_alone()),
    "LZMA of a small dictionary": ("an LZMA archive", lzma_alone(dict_size=4096)),
    "LZMA of a dictionary of another size": ("an LZMA archive", lzma_alone(dict_size=6144)),
    # What the programs wrote of "hi".
    "compress": ("an archive of compress", bytes.fromhex("1f9d9068d22800")),
    "lzip": ("an lzip archive", b"LZIP\1" + bytes(30)),
    "lzop": ("an lzop archive", b"\x89LZO\0\r\n\x1a\n" + bytes(30)),
    "LHA": ("an LHA archive", b"\x1e\x9a-lh5-" + bytes(30)),
    "RPM": ("an RPM package", b"\xed\xab\xee\xdb" + bytes(30)),
    "xar": ("an xar archive", b"xar!\0\x1c" + bytes(30)),
    "ISO 9660": ("an image of a disc", bytes(32_768) + b"\1CD001\1" + bytes(2041)),
    "UDF": ("an image of a disc", bytes(32_768) + b"\0BEA01\1" + bytes(2041)),
    "gzip": ("a gzip archive", gzip.compress(b"x")),
    "bzip2": ("a bzip2 archive", bz2.compress(b"x")),
    "an empty bzip2": ("a bzip2 archive", bz2.compress(b"")),
    "xz": ("an xz archive", lzma.compress(b"x")),
    "zstd": ("a zstd archive", b"\x28\xb5\x2f\xfd" + bytes(9)),
    "7z": ("a 7z archive", b"7z\xbc\xaf\x27\x1c" + bytes(9)),
    "ar": ("an ar archive", b"!<arch>\nx"),
    "NumPy's objects": ("NumPy's pickled objects", object_array()),
    **{f"pickle {p}": ("a pickle", pickle.dumps(Runs(), protocol=p)) for p in range(6)},
    **{f"pickle {p} of data": ("a pickle", pickle.dumps({"a": [1, 2.5]}, protocol=p)) for p in range(2, 6)},
    **{f"pickle {p} after a long text": ("a pickle", long_text(p)) for p in (0, 1, 2, 4)},
    "a large pickle": ("a pickle", pickle.dumps([Runs(), bytes(300_000)])),
    "a pickle with something behind it": ("a pickle", pickle.dumps(Runs()) + bytes(300_000)),
    "a pickle of a large text": ("a pickle", pickle.dumps(bytes(300_000))),
}  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 7, 2**18])
@pytest.mark.parametrize("name", KINDS)
def test_what_is_code_is_found_under_any_name(name: str, chunk: int) -> None:
    kind, content = KINDS[name]
    for path in ("weights.data", "folder/labels.txt", "model.onnx", "extensionless", "a.pb", "x.bin"):
        assert judged(path, content, chunk=max(chunk, len(content) // 2000)).startswith(f"is {kind}"), path


def test_what_is_called_what_it_is_is_left_to_the_environments_list() -> None:
    assert judged("libx.so", KINDS["this Python itself"][1]) == ""
    assert judged("model.pt", zipped()) == "" and judged("a.pkl", pickle.dumps(1)) == ""
    assert judged("model.py", b"#!/usr/bin/env python\n") == ""
    assert judged("model.pt", KINDS["this Python itself"][1]).startswith("is an ELF")
    assert judged("libx.so", zipped()).startswith("is a zip")


def test_no_kind_is_a_kind_of_weights_text_or_onnx() -> None:
    endings = {ending for own in OWN_ENDINGS.values() for ending in own}
    assert endings & {"onnx", "data", "txt", "json", "bin", "pb"} == set()


def test_tensors_are_no_code() -> None:
    chance = np.random.default_rng(14)
    for dtype in (np.float32, np.float16, np.float64):
        for number in range(700):
            values = chance.normal(0, 0.02, 400).astype(dtype)
            assert judged("w.data", values.tobytes()) == "", (dtype, number)
    for content in (b"", bytes(100), bytes(range(256)), chance.integers(-128, 127, 9999, np.int8).tobytes()):
        assert judged("w.data", content) == ""


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.float32, np.float64])
def test_small_numbers_and_zeros_are_no_archive(dtype: type[np.generic]) -> None:
    for first in (0, 1, 32, 93, 120, 128):
        for second in (0, 1, 8, 64, 127):
            values = np.array([first, second, *range(200)]).astype(dtype)
            assert judged("w.data", values.tobytes()) == "", (first, second)
    assert judged("w.data", np.zeros(40_000, dtype).tobytes()) == ""
    for power in range(12, 31):
        assert judged("w.data", np.array([2**power, 512, 0, 0] * 100, np.int64).tobytes()) == "", power


def test_few_tensors_that_begin_as_a_pickle_does_are_taken_for_one() -> None:
    chance = np.random.default_rng(1)
    mistaken = sum(is_pickle(b"\x80" + bytes([2 + n % 4]) + chance.bytes(400), size=10_000) for n in range(20_000))
    assert mistaken < 600, "3 in 100, of the 1 in 16,384 that begin so by chance"


@pytest.mark.parametrize(
    "content",
    [b"cat\ndog\nbird\n", b"cat\ndog\n.net\n", b"I\nam\nfine.\n", b"(Setosa)\nVirginica\n", b"0\n1\n", b"co2\nR\n"],
)
def test_labels_are_no_pickle(content: bytes) -> None:
    assert judged("labels.txt", content) == "" and judged("labels.data", content) == ""


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1000])
def test_texts_are_texts(chunk: int) -> None:
    good = "Größe\t1\r\n模型 🙂\n{}".encode()
    assert judged("labels.txt", good * 3, chunk=chunk) == judged("a.json", good, chunk=chunk) == ""
    for bad in (
        good + b"\xff",
        good + b"\xe6\xa8",
        b"a\0b",
        b"\xc3\x28",
        b"\x1b[31m",
        "ä".encode("latin-1"),
        b"\x80",
    ):
        for where in (bad, good + bad, bad + good if bad[-1:] < b"\x80" else bad):
            assert judged("labels.txt", where, chunk=chunk) == "is not text in UTF-8", bad


# --- ONNX -----------------------------------------------------------------------------------------------------------


def external(location: str, **more: str) -> TensorProto:
    tensor = TensorProto(
        name=f"w-{location}", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL
    )
    for key, value in {"offset": "0", "location": location, "length": "16", **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(*initializers: TensorProto, nodes: tuple[onnx.NodeProto, ...] = (), **more: Any) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 4]) for name in "XY"]
    nodes = nodes or (helper.make_node("Identity", ["X"], ["Y"]),)
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], initializer=initializers)
    made: onnx.ModelProto = helper.make_model(graph, **more)
    return made


def sparse(values: TensorProto, indices: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[4])


def inside(location: str) -> Iterator[tuple[str, onnx.ModelProto]]:
    """A model for each place in which a tensor can lie."""
    tensor = external(location)
    plain = numpy_helper.from_array(np.zeros(3, np.float32), "p")
    yield "initializer", model(plain, tensor)
    yield "values", model()
    one = model()
    one.graph.sparse_initializer.append(sparse(tensor, plain))
    yield "sparse values", one
    one = model()
    one.graph.sparse_initializer.append(sparse(plain, tensor))
    yield "sparse indices", one
    yield "attribute", model(nodes=(helper.make_node("Constant", [], ["Y"], value=tensor),))
    attributes = onnx.AttributeProto(name="many", type=onnx.AttributeProto.TENSORS, tensors=[plain, tensor])
    yield "attribute of many", model(nodes=(onnx.NodeProto(op_type="X", attribute=[attributes]),))
    attributes = onnx.AttributeProto(name="s", sparse_tensor=sparse(tensor, plain))
    yield "sparse attribute", model(nodes=(onnx.NodeProto(op_type="X", attribute=[attributes]),))
    attributes = onnx.AttributeProto(name="s", sparse_tensors=[sparse(plain, tensor)])
    yield "sparse attributes", model(nodes=(onnx.NodeProto(op_type="X", attribute=[attributes]),))
    branch = model(tensor).graph
    yield "branch", model(nodes=(helper.make_node("If", ["X"], ["Y"], then_branch=branch, else_branch=branch),))
    attributes = onnx.AttributeProto(name="g", graphs=[model().graph, branch])
    yield "graphs", model(nodes=(onnx.NodeProto(op_type="X", attribute=[attributes]),))
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    function = helper.make_function("own", "f", [], ["y"], [constant], [helper.make_opsetid("", 18)])
    yield "function", model(functions=[function])
    function = helper.make_function("own", "f", [], ["y"], [], [helper.make_opsetid("", 18)])
    function.attribute_proto.add(name="v", t=tensor)
    yield "a function's default", model(functions=[function])
    one = model()
    one.training_info.add(initialization=branch)
    yield "training's beginning", one
    one = model()
    one.training_info.add(algorithm=branch)
    yield "training's step", one


@pytest.mark.parametrize("chunk", [1, 13, 2**18])
@pytest.mark.parametrize("where", [name for name, _ in inside("x") if name != "values"])
def test_every_file_that_a_model_names_is_listed(where: str, chunk: int) -> None:
    content = dict(inside("../out.data"))[where].SerializeToString()
    assert judged("model.onnx", content, chunk=chunk) == (
        "keeps values in '../out.data', which is not a file that package.json lists"
    )
    content = dict(inside("w.data"))[where].SerializeToString()
    assert judged("model.onnx", content, chunk=chunk, listed=("w.data",)) == ""
    assert judged("model.onnx", content, chunk=chunk).startswith("keeps values in 'w.data'")


@pytest.mark.parametrize(
    ("location", "is_listed"),
    [
        ("w.data", True), ("part/w.data", True), ("./w.data", True),
        ("", False), (".", False), ("..", False), ("other.data", False), ("W.data", False), ("w.data\0", False),
        ("../large/w.data", False), ("part/../w.data", False), ("/w.data", False), ("//w.data", False),
        ("part\\w.data", False), ("*/_ORT_MEM_ADDR_/*", False), ("x" * 5000, False),
        ("part/" * 2000 + "w.data", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("chunk", [3, 2**18])
def test_a_location_is_a_listed_file_beside_the_model(location: str, is_listed: bool, chunk: int) -> None:
    content = model(external(location)).SerializeToString()
    listed = ("large/w.data", "large/part/w.data")
    assert (judged("large/model.onnx", content, listed=listed, chunk=chunk) == "") is is_listed


def test_a_location_that_stands_twice_is_judged_both_times() -> None:
    tensor = external("w.data")
    tensor.external_data.add(key="location", value="/etc/passwd")
    assert "/etc/passwd" in judged("m.onnx", model(tensor).SerializeToString(), listed=("w.data",))
    entry = onnx.StringStringEntryProto(key="location", value="w.data").SerializeToString()
    twice = entry + onnx.StringStringEntryProto(key="location", value="/etc/passwd").SerializeToString()
    again = model(external("@")).SerializeToString()
    short = onnx.StringStringEntryProto(key="location", value="@").SerializeToString()
    assert again.count(short) == 1
    rebuilt = TensorProto(name="w", data_type=1, dims=[4], data_location=1).SerializeToString()
    rebuilt += b"\x6a" + bytes([len(twice)]) + twice
    graph = b"\x2a" + bytes([len(rebuilt)]) + rebuilt
    content = b"\x08\x08" + b"\x3a" + bytes([len(graph)]) + graph
    parsed = onnx.ModelProto.FromString(content)
    assert parsed.graph.initializer[0].external_data[0].value == "/etc/passwd", "the last counts for protobuf"
    assert "/etc/passwd" in judged("m.onnx", content, listed=("w.data",))


@pytest.mark.parametrize("chunk", [1, 2**18])
@pytest.mark.parametrize("where", ["7", "7.5", "7.5.13", "7.5.13.1", "7.5.13.2"])
def test_a_field_number_that_is_cut_to_a_known_one_is_refused(where: str, chunk: int) -> None:
    """Protobuf in C++ keeps 32 bits of a tag: to whoever loads the model, all of these name ../out.data."""
    location = field("7.5.13.1", where, b"location") + field("7.5.13.2", where, b"../out.data")
    tensor = field("7.5.13", where, location) + b"\x70\x01"
    content = b"\x08\x08" + field("7", where, field("7.5", where, tensor)) + b"\x3a\x00"
    assert judged("m.onnx", content, chunk=chunk) == "is not an ONNX model"


def field(path: str, where: str, content: bytes) -> bytes:
    """Return a field with its tag as it should be, or with a bit above the 32nd where ``path`` is ``where``."""
    tag = int(path.rpartition(".")[2]) << 3 | 2
    written = bytes([tag | 0x80, 0x80, 0x80, 0x80, 0x10]) if path == where else bytes([tag])
    return written + bytes([len(content)]) + content


def test_where_the_values_lie_is_judged_also_where_the_model_says_that_they_are_in_it() -> None:
    tensor = external("/etc/passwd")
    tensor.data_location = TensorProto.DEFAULT
    assert "/etc/passwd" in judged("m.onnx", model(tensor).SerializeToString())


def test_an_engine_that_was_compiled_elsewhere_is_refused() -> None:
    node = helper.make_node("EPContext", [], ["Y"], domain="com.microsoft", ep_cache_context="/x.engine")
    assert "EPContext" in judged("m.onnx", model(nodes=(node,)).SerializeToString())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no model at all", b"\x08\x08", b"\x3a\x00", b"\x08\x08\x3a\x05ab", b"\x0b\x0c",
        b"\x00\x00", b"\xff" * 40,
        b"\x08\x08\x3a\x02\x0a\x05", b"\x08\x08\x3a\x00\x09abc", b"\x08\x08\x3a\x00\x08" + b"\x80" * 12,
        b"\x08", b"\x3a",
        b"\x08\x08\x3a\x00\x1d\x00", b"PNG and more", bytes(1000),
    ],
)  # fmt: skip
def test_what_is_no_model_is_none(content: bytes) -> None:
    for chunk in (1, 2**18):
        assert judged("model.onnx", content, chunk=chunk) == "is not an ONNX model"


def test_a_cut_model_is_none() -> None:
    whole = model(numpy_helper.from_array(np.arange(50, dtype=np.float32), "w")).SerializeToString()
    assert judged("m.onnx", whole) == ""
    for end in range(len(whole)):
        found = judged("m.onnx", whole[:end])
        parsed = onnx.ModelProto()
        try:
            parsed.ParseFromString(whole[:end])
        except Exception:  # noqa: BLE001 - protobuf's own error has no public name
            assert found == "is not an ONNX model", end
        else:
            assert (found == "") is (parsed.HasField("graph") and parsed.HasField("ir_version")), end


def test_messages_within_messages_have_an_end() -> None:
    def nested(depth: int) -> bytes:
        def field(number: int, content: bytes) -> bytes:
            size, length = len(content), b""
            while size >= 0x80:
                length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
            return bytes([number << 3 | 2]) + length + bytes([size]) + content

        graph = model(external("/etc/passwd")).graph.SerializeToString()
        for _ in range(depth):
            graph = field(1, field(5, field(6, graph)))  # a graph's node's attribute's graph
        return b"\x08\x08" + field(7, graph)

    assert "/etc/passwd" in judged("m.onnx", nested(20))
    assert judged("m.onnx", nested(MAX_DEPTH)) == "is not an ONNX model"
    assert judged("m.onnx", nested(2000)) == "is not an ONNX model"


def test_too_many_fields_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.domain.onnx_wire.MAX_PARTS", 100)
    many = model(*(numpy_helper.from_array(np.zeros(1, np.float32), f"w{n}") for n in range(100))).SerializeToString()
    assert judged("m.onnx", many).startswith("has more than 100 fields")


def test_a_forest_is_one_field_for_each_list() -> None:
    values = [float(n) for n in range(5000)]
    node = helper.make_node("Trees", ["X"], ["Y"], nodes_values=values, nodes_ids=list(range(5000)))
    content = model(nodes=(node,)).SerializeToString()
    reading = OnnxFiles("m.onnx", (), len(content))
    reading.feed(content)
    assert reading.finish() == "" and reading._parts < 100


def test_weights_take_no_memory_and_no_time() -> None:
    content = model(numpy_helper.from_array(np.zeros(2**22, np.float32), "w")).SerializeToString()
    reading = OnnxFiles("m.onnx", (), len(content))
    for start in range(0, len(content), 2**16):
        reading.feed(content[start : start + 2**16])
        assert len(reading._rest) < 5000
    assert reading.finish() == "" and reading._parts < 100


def test_every_message_in_which_a_tensor_can_lie_is_followed() -> None:
    descriptors: dict[str, Any] = {}

    def collect(descriptor: Any) -> None:
        if descriptor.name not in descriptors:
            descriptors[descriptor.name] = descriptor
            for field in descriptor.fields:
                if field.message_type is not None:
                    collect(field.message_type)

    def leads(name: str, seen: frozenset[str] = frozenset()) -> bool:
        inner = [f.message_type.name for f in descriptors[name].fields if f.message_type is not None]
        return name == "TensorProto" or any(leads(i, seen | {i}) for i in inner if i not in seen)

    collect(onnx.ModelProto.DESCRIPTOR)
    edges = {
        name: {f.number: f.message_type.name for f in d.fields if f.message_type and leads(f.message_type.name)}
        for name, d in descriptors.items()
        if leads(name)
    }
    entry = onnx.TensorProto.DESCRIPTOR.fields_by_name["external_data"]
    edges["TensorProto"][entry.number] = entry.message_type.name
    assert {name: dict(fields) for name, fields in INSIDE.items() if fields} == {n: e for n, e in edges.items() if e}


def test_the_first_problem_is_told_however_a_model_arrives() -> None:
    content = bytearray(model(external("w.data"), numpy_helper.from_array(np.arange(9.0), "v")).SerializeToString())
    at = content.rindex(b"w.data") + 1
    content[at : at + 6] = bytes(6)  # a location that nobody lists, and after it no field
    told = [judged("m.onnx", bytes(content), chunk=chunk, listed=("w.data",)) for chunk in (1, len(content))]
    assert told[0] == told[1] and told[0].startswith("keeps values in 'w")


@settings(deadline=None, max_examples=300)
@given(data=st.data(), seed=st.binary(min_size=1, max_size=6), chunk=st.integers(1, 400))
def test_damaged_models_end_in_an_answer(data: st.DataObject, seed: bytes, chunk: int) -> None:
    content = bytearray(model(external("w.data"), numpy_helper.from_array(np.arange(9.0), "v")).SerializeToString())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at : at + len(seed)] = seed
    once = judged("m.onnx", bytes(content), chunk=chunk, listed=("w.data",))
    assert once == judged("m.onnx", bytes(content), listed=("w.data",)), "however it arrives"
    try:
        parsed = onnx.ModelProto.FromString(bytes(content))
    except Exception:  # noqa: BLE001 - protobuf's own error has no public name
        return
    outside = [e.value for t in parsed.graph.initializer for e in t.external_data if e.key == "location"]
    assert once or all(value in ("w.data", "m.onnx", "./w.data") for value in outside)


def test_each_file_of_a_package_is_looked_at_by_itself() -> None:
    package = package_of({"config.pbtxt": b"", "smoke.json": b"", "model.onnx": b"x", "w.data": b"y"})
    look = look_at(package)
    first = look(package.version_files[0])
    first.feed(b"x")
    assert first.problem() == "is not an ONNX model" and look(package.version_files[1]).problem() == ""
