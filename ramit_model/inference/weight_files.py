"""Containers of weights: files of `torch.save` and safetensors, told apart by their content, read as data only."""

import os
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from ramit_model.inference.facts import Facts, from_header
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.text import escaped, printable


class _Inert:
    """Stands for an object that is not wanted: takes whatever a pickle does to it, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def _empty_dict(*_: Any) -> dict[Any, Any]:
    """Stands for a kind of dict that is called to make one."""
    return {}


NUMPY = (
    *("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar", "numpy.dtype", "numpy.ndarray"),
    *("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"),
    *(f"numpy.dtypes.{name}DType" for name in ("Float64", "Float32", "Float16", "Int64", "Int32", "UInt8", "Bool")),
)
OTHERS = (
    *(
        "argparse.Namespace",
        "datetime.datetime",
        "datetime.timedelta",
        "typing.Any",
        "__builtin__.list",
        "builtins.list",
    ),
    *("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath"),
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata"),
    *("omegaconf.nodes.AnyNode", "omegaconf.base.Metadata"),
)
DICTS = (
    *("lightning.fabric.utilities.data.AttributeDict", "lightning_fabric.utilities.data.AttributeDict"),
    "pytorch_lightning.utilities.parsing.AttributeDict",
)
STAND_INS: list[Any] = [
    *((_Inert, name) for name in (*NUMPY, *OTHERS)),
    *((dict, name) for name in DICTS),
    (_empty_dict, "collections.defaultdict"),
]
"""Stand-ins, read in place of harmless objects that trainings leave beside the weights, by their names."""


def read_checkpoint(path: str | os.PathLike[str], *, without_extras: bool = False) -> Any:
    """Load a file of `torch.save` into host memory, as data only.

    Args:
        path: The file.
        without_extras: Read the objects in `STAND_INS` as nothing; otherwise they are refused.

    Raises:
        InputError: The file is missing, truncated, not a checkpoint, or holds code.
    """
    try:
        with torch.serialization.safe_globals(STAND_INS if without_extras else []):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except pickle.UnpicklingError:
        # torch raises this for foreign pickles and for other files alike.
        raise InputError(f"{path}: {_refused(path)}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged file makes torch raise nearly anything
        reason = printable(one_line(error).strip()) or type(error).__name__
        raise InputError(f"{path}: broken checkpoint ({reason[:100]}); copy or download it again") from None
    if (part := _damaged_part(Path(path))) is not None:
        raise InputError(f"{path}: broken checkpoint (the checksum of {part} is wrong); copy or download it again")
    return content


def _damaged_part(path: Path) -> str | None:
    """Name of a part of a file of torch.save whose checksum is wrong, to which torch itself does not look."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, LookupError, RuntimeError):
        return None  # before PyTorch 1.6 they were no zips


def read_container(path: str | os.PathLike[str]) -> tuple[Any, Facts | None]:
    """Read a file of weights of either kind.

    Returns:
        Its content (of a safetensors file, name -> tensor), and the facts in the header of a safetensors file; None if
        it is one of `torch.save`.

    Raises:
        InputError: The file is missing or broken, or is something else; the line says what, where that is known.
    """
    path = Path(path)
    start = _start(path)
    if not is_safetensors(start):
        if remark := _foreign(path, start):
            raise InputError(f"{path}: {remark}")
        return read_checkpoint(path, without_extras=True), None
    try:
        with _name_in_text(path) as name, safetensors.safe_open(name, framework="pt") as file:
            header: Mapping[str, str] = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, from_header(header)  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, KeyError, RuntimeError, AttributeError, UnicodeError) as error:
        raise InputError(f"{path}: broken safetensors file ({error}); copy or download it again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


@contextmanager
def _name_in_text(path: Path) -> Iterator[Path]:
    """Path of the file, or of a link to it if its name is no text, which safetensors refuses."""
    if escaped(path) == str(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder, "weights.safetensors")
        link.symlink_to(path.resolve())
        yield link


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts so is a safetensors file: the size of a header, then the header, which is JSON."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _foreign(path: Path, start: bytes) -> str | None:
    """Kind of a file that starts so but holds no weights, and what to do; None if it may hold them."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not start:
        return "is empty; copy or download it again"
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the weights; run git lfs pull, or download the file itself"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "is a web page, not weights; open the address in a browser and download the file itself"
    if start.startswith((b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ", b"BZh")) or start[257:262] == b"ustar":
        return "is an archive; unpack it and give the weights inside"
    entries = _zip_entries(path) if start.startswith(b"PK") else []
    if any(entry.filename.endswith("constants.pkl") for entry in entries):
        return "is a TorchScript program, which holds code, and will not be opened; get the weights themselves"
    # torch.save compresses nothing, and a few bytes can unpack to any size.
    compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if entries and (compressed or not any(entry.filename.endswith("data.pkl") for entry in entries)):
        return "is an archive; unpack it and give the weights inside"
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        return "is an archive whose parts claim more than it holds; copy or download it again"
    return None


def _zip_entries(path: Path) -> list[zipfile.ZipInfo]:
    """Directory of a zip; empty if it has none that can be read, of which torch says more."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, LookupError, RuntimeError):
        return []


def what_it_is(path: Path) -> str:
    """Say what a file is that is not the wanted one."""
    start = _start(path)
    size = path.stat().st_size
    return (
        _foreign(path, start)
        or f"has {size} bytes and is {'truncated or other' if start[:2] == b'PK' else 'no'} weights"
    )


def _refused(path: str | os.PathLike[str]) -> str:
    """Say of a file that torch refuses what it holds, if that can be told, and what to do."""
    if _start(Path(path)).startswith((b"PK", b"\x80")):
        return "holds objects besides plain tensors, which may be code, and will not be opened; get the weights again"
    return "is no checkpoint of plain tensors, will not be opened; get the weights again"
