"""The kind of a package's file, told by its bytes as they stream past, whatever its name.

Programs, libraries, scripts, archives and pickles are refused under any name but their own: the environment lists
which endings a package may have, and an ELF file that is called ``weights.data`` is not one of them. Decision 32 says
how the signs were chosen and which false alarms they can give.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from bot.domain.onnx_wire import OnnxFiles
from bot.domain.package import Package, PackageFile

HEAD_BYTES = 64 * 2**10
"""Bytes of a file's beginning that are kept to judge it by."""
_TAIL_BYTES = 22 + 2**16 - 1
"""Bytes between the end of a zip file's directory and the end of the file, at most: a comment lies there."""


@dataclass(frozen=True)
class Sign:
    """The beginning of a file of one kind; ``endings`` are the names of such files."""

    kind: str
    begins: re.Pattern[bytes]
    endings: tuple[str, ...] = ()


def _sign(kind: str, pattern: bytes, *endings: str) -> Sign:
    return Sign(kind, re.compile(pattern, re.DOTALL), endings)


# Of the older LZMA form: what its encoders write of the literal coder, a dictionary of 2^n or 2^n + 2^(n-1) bytes, a
# length that is unknown or below 2^38, and the zero with which its range coder begins.
_DICTIONARIES = {(2**n | half).to_bytes(4, "little") for n in range(12, 32) for half in (0, 2 ** (n - 1))}
_LZMA = (
    rb"\x5d(?:" + b"|".join(map(re.escape, sorted(_DICTIONARIES | {b"\xff" * 4}))) + rb")"
    rb"(?:\xff{8}|.{4}[\x00-\x3f]\x00{3})\x00"
)
# Of a disc: its volume descriptors begin at the 16th sector of 2,048 bytes, one byte before their mark.
_DISC = rb".{32769}(?:CD001|BEA01|CDROM)"
# Of compress: the widest code it uses is of 9 to 16 bits, and its first code, of 9 bits, is a byte as it is.
_COMPRESS = rb"\x1f\x9d[\x09-\x10\x89-\x90].[" + b"".join(b"\\x%02x" % n for n in range(0, 256, 2)) + rb"]"

ZIP = ("zip", "npz", "pt", "pth", "jar", "whl", "keras")
SIGNS = (
    _sign("an ELF library or program", rb"\x7fELF", "so"),
    _sign("a Mach-O library or program", rb"(?:\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe)", "dylib", "so"),
    _sign("a fat Mach-O or Java class file", rb"(?:\xca\xfe\xba[\xbe\xbf]|[\xbe\xbf]\xba\xfe\xca)", "dylib", "class"),
    _sign("a script", rb"(?:\xef\xbb\xbf)?#![ \t]*/", "py", "sh"),
    _sign("compiled Python", rb".[\x0b-\x0f\xf2-\xf5]\r\n", "pyc"),
    _sign("WebAssembly", rb"\x00asm", "wasm"),
    _sign("LLVM bitcode", rb"BC\xc0\xde", "bc"),
    _sign("a Dalvik program", rb"dex\n[0-9]{3}\x00", "dex"),
    _sign("compiled Lua", rb"\x1bLua", "luac"),
    _sign("a zip archive", rb"PK(?:\x03\x04|\x05\x06|\x07\x08)", *ZIP),
    _sign("a tar archive", rb".{257}ustar", "tar"),
    _sign("an archive of compress", _COMPRESS, "z"),
    _sign("an LZMA archive", _LZMA, "lzma"),
    _sign("an lzip archive", rb"LZIP[\x00\x01]", "lz"),
    _sign("an lzop archive", rb"\x89LZO\x00\r\n\x1a\n", "lzo"),
    _sign("an LHA archive", rb".{2}-l[hz][0-9ds]-", "lzh", "lha"),
    _sign("an RPM package", rb"\xed\xab\xee\xdb", "rpm"),
    _sign("an xar archive", rb"xar!\x00", "xar"),
    _sign("a gzip archive", rb"\x1f\x8b\x08", "gz", "tgz"),
    _sign("a bzip2 archive", rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", "bz2"),
    _sign("an xz archive", rb"\xfd7zXZ\x00", "xz"),
    _sign("a zstd archive", rb"\x28\xb5\x2f\xfd", "zst"),
    _sign("an lz4 archive", rb"\x04\x22\x4d\x18", "lz4"),
    _sign("a 7z archive", rb"7z\xbc\xaf\x27\x1c", "7z"),
    _sign("a rar archive", rb"Rar!\x1a\x07", "rar"),
    _sign("an ar archive", rb"!<(?:arch|thin)>\n", "a"),
    _sign("a cpio archive", rb"07070[127][0-9A-Fa-f]{6}", "cpio"),
    _sign("a cabinet archive", rb"MSCF\x00{4}", "cab"),
    _sign("a file system", rb"hsqs|sqsh", "squashfs"),
    _sign("an image of a disc", _DISC, "iso"),
    _sign("NumPy's pickled objects", rb"\x93NUMPY.{4,6}\{[^}]{0,200}'descr': *'\|?O", "npy"),
)
PICKLE, PE = "a pickle", "a Windows library or program"
OWN_ENDINGS: Mapping[str, tuple[str, ...]] = {
    **{sign.kind: sign.endings for sign in SIGNS},
    PICKLE: ("pkl", "pickle", "joblib", "pt", "pth"),
    PE: ("dll", "exe"),
}
"""Under which endings a kind is what its name says; then the environment's list decides alone."""
TEXTS = ("txt", "json")


class Contents:
    """Looks at one file while its bytes pass, in order. Keeps a bounded part of them."""

    def __init__(self, file: PackageFile, listed: Collection[str]) -> None:
        self._file, self._ending = file, file.path.rpartition(".")[2].lower()
        self._head, self._tail, self._at = bytearray(), b"", 0
        self._onnx = OnnxFiles(file.path, listed, file.size) if self._ending == "onnx" else None
        self._text = _Text() if self._ending in TEXTS else None
        self._pe: int | None = None
        self._pe_mark = b""

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
            if self._pe is None and len(self._head) >= 64:
                self._pe = int.from_bytes(self._head[60:64], "little") if self._head[:2] == b"MZ" else -1
        if self._pe is not None and self._pe >= 64:
            self._find_pe(self._pe, chunk)
        self._tail = (self._tail + chunk[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        self._at += len(chunk)
        if self._onnx is not None:
            self._onnx.feed(chunk)
        if self._text is not None:
            self._text.feed(chunk)

    def problem(self) -> str:
        """Say what is wrong with the file when all its bytes have passed; an empty string where nothing is."""
        for kind in self._kinds():
            if self._ending not in OWN_ENDINGS[kind]:
                return f"is {kind}, whatever it is called"
        if self._text is not None and not self._text.finish():
            return "is not text in UTF-8"
        return self._onnx.finish() if self._onnx is not None else ""

    def _kinds(self) -> Iterator[str]:
        head = bytes(self._head)
        yield from (sign.kind for sign in SIGNS if sign.begins.match(head))
        if b"PE\0\0" in (self._pe_mark, head[self._pe : self._pe + 4] if self._pe and self._pe > 0 else b""):
            yield PE
        if _is_tar(head) and not head.startswith(b"ustar", 257):
            yield "a tar archive"
        if _ends_as_zip(self._tail):
            yield "a zip archive"
        if is_pickle(head, size=self._at):
            yield PICKLE

    def _find_pe(self, pointer: int, chunk: bytes) -> None:
        """Keep the four bytes to which the header of a Windows program points."""
        begin, end = pointer + len(self._pe_mark) - self._at, pointer + 4 - self._at
        if 0 <= begin < len(chunk):
            self._pe_mark += chunk[begin:end]


Look = Callable[[PackageFile], Contents]
"""Gives what looks at one file of a package."""


def look_at(package: Package) -> Look:
    """Return what looks at the package's files, one at a time."""
    return partial(Contents, listed=frozenset(file.path for file in package.version_files))


class _Text:
    """Whether bytes are text in UTF-8 without control characters."""

    _CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f]")

    def __init__(self) -> None:
        self._rest, self._is_text = b"", True

    def feed(self, chunk: bytes) -> None:
        if not self._is_text:
            return
        data = self._rest + chunk
        # A character of several bytes may be cut in two: its first byte is one of the last three.
        cut = next((len(data) - n for n in (1, 2, 3) if data[-n:][:1] >= b"\xc0"), len(data))
        whole, self._rest = data[:cut], data[cut:]
        try:
            whole.decode()
        except UnicodeDecodeError:
            self._is_text = False
        else:
            self._is_text = not self._CONTROL.search(whole)

    def finish(self) -> bool:
        """Say whether all of it is text."""
        try:
            self._rest.decode()
        except UnicodeDecodeError:
            return False
        return self._is_text


def _is_tar(head: bytes) -> bool:
    """Whether the first 512 bytes are the header of a file in a tar archive: its sum of them, in octal, is right.

    Archives of before POSIX have no other mark. Some programs summed signed bytes.
    """
    header = head[:512]
    field = re.fullmatch(rb"[ \0]*([0-7]+)[ \0]*", header[148:156])
    if len(header) < 512 or field is None:
        return False
    others = header[:148] + b" " * 8 + header[156:]
    unsigned = sum(others)
    return int(field[1], 8) in (unsigned, unsigned - 256 * sum(byte > 127 for byte in others))


def _ends_as_zip(tail: bytes) -> bool:
    """Whether these last bytes of a file hold the end of a zip directory whose comment is what follows."""
    ends = (match.end() for match in re.finditer(rb"PK\x05\x06.{18}", tail, re.DOTALL))
    return any(int.from_bytes(tail[end - 2 : end], "little") == len(tail) - end for end in ends)


# --- pickles --------------------------------------------------------------------------------------------------------

_PLAIN, _TEXT, _LINE, _TWO_LINES = "plain", "text", "line", "two lines"
_ARGUMENTS: Mapping[int, str | int] = {
    **dict.fromkeys(b"(.012abdestu}]loNQR\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98)", _PLAIN),
    **dict.fromkeys(b"FILSgpP", _LINE),
    ord("V"): _TEXT,
    **dict.fromkeys(b"ci", _TWO_LINES),
    **dict.fromkeys(b"Khq\x80\x82", 1),
    **dict.fromkeys(b"M\x83", 2),
    **dict.fromkeys(b"Jjr\x84", 4),
    **dict.fromkeys(b"G\x95", 8),
    # Less than none: so many bytes say how many follow.
    **dict.fromkeys(b"CU\x8a\x8c", -1),
    **dict.fromkeys(b"BTX\x8b", -4),
    **dict.fromkeys(b"\x8d\x8e\x96", -8),
}
"""The opcodes of pickle, and what follows each."""
_NAMES = frozenset(b"ci\x93")
_CALLS = frozenset(b"Rio\x81\x92")
ENOUGH_OPCODES = 12
"""After a protocol header: so many that are right do not stand in a tensor by chance."""


def is_pickle(head: bytes, *, size: int) -> bool:
    """Whether a file of ``size`` bytes that begins with ``head`` is a pickle.

    From protocol 2 on a header says so, and opcodes follow. Before that a pickle is text: it counts as one where it
    names something and calls it.
    """
    headed = re.match(rb"\x80[\x02-\x05]", head) is not None
    at, count, names, calls = 0, 0, False, False
    while at < len(head):
        code = head[at]
        after = _after_opcode(head, at)
        if after is None or after > size:
            return False
        count, at = count + 1, after
        names, calls = names or code in _NAMES, calls or (names and code in _CALLS)
        if code == ord("."):
            return headed or calls
        if headed and count > ENOUGH_OPCODES:
            return True
    return at < size and (headed or calls)


def _after_opcode(head: bytes, at: int) -> int | None:
    """Return where the next opcode begins, beyond the end where ``head`` does not reach; None where this is none."""
    following = _ARGUMENTS.get(head[at])
    at += 1
    match following:
        case None:
            return None
        case "plain":
            return at
        case "text" | "line" | "two lines":
            for _ in range(2 if following == "two lines" else 1):
                end = head.find(b"\n", at)
                line = head[at : end if end >= 0 else len(head)]
                if not line.isascii() and following != "text":
                    return None
                if end < 0:
                    return len(head)
                at = end + 1
            return at
        case int() if following > 0:
            return at + following
        case int():
            length = head[at : at - following]
            return at - following + int.from_bytes(length, "little") if len(length) == -following else len(head)
        case _:
            raise AssertionError(following)
