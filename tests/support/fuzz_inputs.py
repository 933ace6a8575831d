"""Strategies of hypothesis for hostile input: mutated bytes, YAML values, archives, pickles, headers."""

import io
import json
import struct
import tarfile
import zipfile
import zlib
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

Draw = st.DrawFn

NUMBERS = (0, 1, 2, 3, 7, 8, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1)
NAMES = (
    "a.png",
    "b/c.png",
    "../x.png",
    "/tmp/x.png",
    "..\\x.png",
    "C:x.png",
    ".hidden.png",
    "a\nb.png",
    "",
    "x/",
    "é.png",
)

# Bytes ----------------------------------------------------------------------------------------------------------------


@st.composite
def mutated(draw: Draw, seeds: list[bytes], most_edits: int = 8) -> bytes:
    """One of `seeds` with some bytes changed, left out, repeated or added, mostly near the start, where headers are."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, most_edits))):
        if not content:
            break
        near = draw(st.booleans())
        place = draw(st.integers(0, min(len(content), 200 if near else len(content)) - 1))
        if draw(st.booleans()):
            place = len(content) - 1 - place
        kind = draw(st.integers(0, 5))
        if kind == 0:
            content[place] = draw(st.integers(0, 255))
        elif kind == 1:
            form = draw(st.sampled_from(("<I", ">I", "<H", ">H", "<Q", ">Q")))
            size = struct.calcsize(form)
            content[place : place + size] = struct.pack(form, draw(st.sampled_from(NUMBERS)) % (1 << (8 * size)))
        elif kind == 2:
            del content[place : place + draw(st.integers(1, 64))]
        elif kind == 3:
            content[place:place] = content[place : place + draw(st.integers(1, 64))]
        elif kind == 4:
            del content[place:]
        else:
            content[place:place] = draw(st.binary(max_size=16))
    return bytes(content)


def with_checksums(png: bytes) -> bytes:
    """PNG whose chunks have the checksums of their content, so that a change of it is not refused for them."""
    result, place = bytearray(png[:8]), 8
    while place + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        data = png[place + 8 : place + 8 + length]
        result += struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))
        place += 12 + length
    return bytes(result)


@st.composite
def pictures(draw: Draw, seeds: list[bytes]) -> bytes:
    """Mutated picture files, PNGs half of the time with checksums that fit."""
    content = draw(mutated(seeds))
    return with_checksums(content) if content.startswith(b"\x89PNG") and draw(st.booleans()) else content


# YAML -----------------------------------------------------------------------------------------------------------------

TEXTS = (
    "",
    " ",
    "~",
    "none",
    "None",
    "1e-4",
    "auto",
    "../../x",
    "/dev/zero",
    "x\ny",
    "{}",
    "{",
    "%s",
    "é",
    "\x7f",
    "Adam",
    "y",
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from((-1, 0, 1, 2, 3, 4, 10**6, 2**31, 2**63, 10**30)),
    st.integers(),
    st.sampled_from((0.5, -1.0, 1e-9, 1e300, float("nan"), float("inf"), -float("inf"))),
    st.sampled_from(TEXTS),
    st.text(max_size=8),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=4),
)
KEYS = st.one_of(st.text(max_size=5), st.integers(-2, 2), st.none(), st.booleans(), st.sampled_from(("type", "name")))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Path of everything inside of nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((*above, key), *places(inner, (*above, key)))]


@st.composite
def changed_options(draw: Draw, templates: list[dict[str, Any]], most_edits: int = 3) -> dict[str, Any]:
    """One of `templates` with keys dropped, renamed, added, or values replaced by any value that YAML has."""
    options = deepcopy(draw(st.sampled_from(templates)))
    for _ in range(draw(st.integers(1, most_edits))):
        there = places(options)
        if not there:
            break
        *parents, last = draw(st.sampled_from(there))
        block: Any = options
        for key in parents:
            block = block[key]
        kind = draw(st.integers(0, 4))
        if kind == 0:
            del block[last]
        elif kind == 1 and isinstance(block, dict):
            block[draw(KEYS)] = block.pop(last)
        elif kind == 2:
            block[last] = [block[last]]
        elif kind == 3 and isinstance(block, dict):
            block[draw(KEYS)] = draw(VALUES)
        else:
            block[last] = draw(VALUES)
    return options


@st.composite
def overrides(draw: Draw, templates: list[dict[str, Any]]) -> list[str]:
    """Arguments of --force_yml: mostly of keys that there are, values of any form."""
    entries = []
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(draw(st.sampled_from(templates)))))
        keys = draw(st.one_of(st.just(":".join(map(str, place))), st.text(max_size=12)))
        value = draw(
            st.one_of(
                st.text(max_size=20),
                st.sampled_from(
                    ("&a [*a]", "!!python/object/apply:os.system [x]", "{a: 1", "[1, 2", "@x", "a #1", "'x")
                ),
                st.sampled_from(
                    ("!!float x", "!!float []", "!!binary x", "!!timestamp x", "2001-99-99", "0x", "1:2:3")
                ),
                VALUES.map(repr),
            )
        )
        entries.append(f"{keys}{draw(st.sampled_from(('=', '=', '=', ':', '')))}{value}")
    return entries


# Archives -------------------------------------------------------------------------------------------------------------

TYPES = (b"0", b"0", b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"S", b"x", b"L", b"\0")


@st.composite
def tars(draw: Draw, image: bytes) -> bytes:
    """Tars with odd names, types and sizes; then perhaps mutated."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=draw(st.sampled_from((0, 1, 2)))) as archive:
        for _ in range(draw(st.integers(0, 4))):
            info = tarfile.TarInfo(draw(st.sampled_from(NAMES)) or "x")
            info.type = draw(st.sampled_from(TYPES))
            info.linkname = draw(st.sampled_from(("/etc/passwd", "../../x", "a.png")))
            info.size = len(image) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(image))
    return draw(mutated([file.getvalue()], 3))


@st.composite
def zips(draw: Draw, image: bytes) -> bytes:
    """Zips with odd names and kinds of members; then perhaps mutated."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in draw(st.lists(st.sampled_from([name for name in NAMES if name]), max_size=4, unique=True)):
            info = zipfile.ZipInfo(name)
            info.compress_type = draw(st.sampled_from((0, 8, 12, 14)))
            info.external_attr = draw(st.sampled_from((0, 0o120777 << 16, 0o100644 << 16, 0o60644 << 16)))
            archive.writestr(info, image)
    return draw(mutated([file.getvalue()], 3))


# Weights --------------------------------------------------------------------------------------------------------------

GLOBALS = (
    *("os system", "posix system", "builtins eval", "builtins getattr", "builtins list", "fuzz_guard trip"),
    *("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch FloatStorage", "argparse Namespace"),
    *("numpy dtype", "numpy._core.multiarray scalar", "torch.nn.modules.conv Conv2d", "pathlib PosixPath"),
    *(
        "torch._utils _rebuild_parameter",
        "torch Size",
        "torch device",
        "collections defaultdict",
        "torch.storage _load_from_bytes",
    ),
)
PIECES = st.one_of(
    st.sampled_from([b"c" + name.replace(" ", "\n").encode() + b"\n" for name in GLOBALS]),
    st.sampled_from(
        (b"(", b")", b"}", b"]", b"t", b"R", b"b", b"s", b"u", b"e", b"0", b"2", b"N", b"\x81", b"\x85", b"\x86")
    ),
    st.sampled_from(
        (
            b"\x8c\x01x",
            b"X\x02\0\0\0ok",
            b"K\x01",
            b"M\xff\xff",
            b"q\0",
            b"h\0",
            b"Q",
            b"\x8a\x08" + b"\xff" * 7 + b"\x7f",
        )
    ),
)


@st.composite
def pickles(draw: Draw, seeds: list[bytes]) -> bytes:
    """Files of torch.save: mutated real ones, and containers around pickles of arbitrary operations."""
    if draw(st.booleans()):
        return draw(mutated(seeds))
    code = b"\x80\x02" + b"".join(draw(st.lists(PIECES, max_size=14))) + b"."
    if draw(st.booleans()):
        return code
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(8))
    return file.getvalue()


DTYPES = ("F32", "F16", "BF16", "U8", "BOOL", "I64", "F64", "F8_E4M3", "X", "", 3, None)
SIZES = st.sampled_from((0, 1, 2, 3, 4, 16, 2**31, 2**40, 2**63, -1, 0.5, "1", None))


@st.composite
def safetensor_files(draw: Draw, seeds: list[bytes], names: list[str]) -> bytes:
    """Safetensors: mutated real ones, and headers that claim anything."""
    if draw(st.booleans()):
        return draw(mutated(seeds))
    header: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(names), max_size=4, unique=True)):
        shape = draw(st.lists(SIZES, max_size=4))
        header[name] = {
            "dtype": draw(st.sampled_from(DTYPES)),
            "shape": shape,
            "data_offsets": draw(st.one_of(st.just([0, 16]), st.lists(SIZES, max_size=3))),
        }
    if draw(st.booleans()):
        options = draw(
            st.one_of(
                VALUES.map(repr), st.sampled_from(('{"type":"RAMiT"}', '{"type":"RAMiT","depths":[99999999,1,1,1]}'))
            )
        )
        header["__metadata__"] = {
            "format": "pt",
            "network_g": options,
            "scale": draw(st.sampled_from(("2", "x", "[" * 3000))),
        }
    text = json.dumps(header).encode()
    length = draw(st.sampled_from((len(text), len(text), len(text), 0, 2**31, 2**62, len(text) - 1)))
    return struct.pack("<Q", length) + text + bytes(draw(st.sampled_from((0, 16, 64))))
