"""Compiled libraries: only one whose structures are those that Python knows is called."""

import ctypes
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import torch
from helpers import REPOSITORY, run_python

from ramit_arch.kernels.cpu import abi, binding, library

SOURCES = REPOSITORY / "ramit_arch/kernels/cpu"
"""In the checkout: an installed package has no C++ sources."""

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


def build(folder: Path, changes: tuple[str, str] = ("", "")) -> str:
    """Compile the library's description of itself, and a function that may not be called."""
    for name in "abi.h", "abi.cpp":
        text = (SOURCES / name).read_text()
        assert changes[0] in text or name == "abi.cpp"
        (folder / name).write_text(text.replace(*changes) if changes[0] else text)
    (folder / "kernel.cpp").write_text('extern "C" void block_attention_float32() { __builtin_trap(); }')
    path = folder / "library.so"
    sources = [folder / "abi.cpp", folder / "kernel.cpp"]
    subprocess.run(["g++", "-std=c++17", "-shared", "-fPIC", *sources, "-o", path], check=True)
    return str(path)


@needs_compiler
def test_a_library_of_the_same_structures_is_used(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = library.open_library(build(tmp_path))
    assert found is not None
    assert found.limits == library.Limits(16, 8, 448, 64, 128)


@needs_compiler
@pytest.mark.parametrize(
    ("before", "after", "part"),
    [
        ("int batch, height, width, channels;", "int batch, width, height, channels;", "structure BlockAttention"),
        ("const float *gate;", "", "structure WindowAttention"),
        ("double *scale;", "float *scale;", "structure WindowAttentionGradients"),
        ("int ffn_hidden;", "long ffn_hidden;", "structure PostAttention"),
        ("    int batch, pixels", "    alignas(16) int batch, pixels", "structure ChannelMixing"),
        ("constexpr int ABI_VERSION = ", "constexpr int ABI_VERSION = 1000 + ", "ABI version"),
    ],
)
def test_a_library_of_a_changed_structure_is_refused_with_one_line(
    before: str, after: str, part: str, tmp_path: Path
) -> None:
    path = build(tmp_path, (before, after))
    with pytest.warns(UserWarning) as caught:
        assert library.open_library(path) is None
    [warning] = caught
    assert str(warning.message) == (
        f"{path} is not used: its {part} is not that of this package; build it again: pip install -e ."
    )


@needs_compiler
def test_a_refused_library_is_not_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks do without it."""
    path = build(tmp_path, ("const float *gate;", ""))
    with pytest.warns(UserWarning, match="is not used"):
        refused = library.open_library(path)
    monkeypatch.setattr(binding, "library", lambda: refused)
    assert not binding.is_supported(torch.zeros(1, 8, 8, 16), 16)
    with pytest.raises(RuntimeError, match="no compiled kernels"):
        binding.call("block_attention_float32")


@needs_compiler
def test_a_library_from_before_the_check_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.cpp").write_text('extern "C" void transform_float32() {}')
    path = tmp_path / "old.so"
    subprocess.run(["g++", "-shared", "-fPIC", tmp_path / "old.cpp", "-o", path], check=True)
    with pytest.warns(UserWarning, match="its ABI version is not that of this package"):
        assert library.open_library(str(path)) is None


@needs_compiler
def test_offsets_of_fields_are_those_of_the_compiler(tmp_path: Path) -> None:
    """The check compares definitions and sizes; that the offsets follow from them is tested here."""
    fields = [(kind, name) for kind in abi.STRUCTURES for name, _ in kind._fields_]
    offsets = ", ".join(f"offsetof({kind.__name__}, {name})" for kind, name in fields)
    (tmp_path / "offsets.cpp").write_text(
        f'#include <cstddef>\n#include "{SOURCES / "abi.h"}"\nextern "C" {{ extern const int offsets[]; '
        f"const int offsets[] = {{{offsets}}}; }}"
    )
    path = tmp_path / "offsets.so"
    subprocess.run(["g++", "-std=c++17", "-shared", "-fPIC", tmp_path / "offsets.cpp", "-o", path], check=True)
    found = (ctypes.c_int * len(fields)).in_dll(ctypes.CDLL(str(path)), "offsets")
    assert list(found) == [getattr(kind, name).offset for kind, name in fields]


def test_structures_take_all_their_fields_and_no_others() -> None:
    fields = dict(batch=1, pixels=64, channels=4, n=2, y=torch.zeros(64, 4), weight=torch.zeros(2, 16), bias=None)
    structure = binding.pack(abi.ChannelMixing, **fields)
    assert (structure.pixels, structure.y, structure.bias) == (64, fields["y"].data_ptr(), None)
    with pytest.raises(ValueError, match="ChannelMixing has the fields"):
        binding.pack(abi.ChannelMixing, **fields, height=8)
    with pytest.raises(ValueError, match="contiguous"):
        binding.pack(abi.ChannelMixing, **{**fields, "weight": torch.zeros(16, 2).mT})


def test_a_library_that_does_not_load_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.so"
    path.write_text("no library")
    with pytest.warns(UserWarning, match=r"text\.so is not used: .*text\.so"):
        assert library.open_library(str(path)) is None


@pytest.mark.parametrize(
    ("capability", "variables", "built", "part"),
    [
        ("AVX2", {"RAMIT_KERNELS": "0"}, "found.so", "RAMIT_KERNELS=0"),
        ("DEFAULT", {}, "found.so", "no AVX2 (DEFAULT)"),
        ("AVX2", {}, None, "no compiled kernels for AVX2: not built when"),
        ("AVX512", {}, "found.so", "found.so cannot be used"),
    ],
)
def test_status_says_why_there_are_no_kernels(
    capability: str, variables: dict[str, str], built: str | None, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(library.sys, "platform", "linux")
    monkeypatch.setattr(library.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(library, "_library", None)
    monkeypatch.setattr(library, "_find", lambda _: built)
    monkeypatch.delenv("RAMIT_KERNELS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert part in library.status()
    assert "\n" not in library.status()


def test_status_names_another_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_library", None)
    monkeypatch.setattr(library.platform, "machine", lambda: "arm64")
    monkeypatch.setattr(library.platform, "system", lambda: "Darwin")
    assert library.status().endswith("this is Darwin on arm64")


def test_status_names_the_kernels_in_use() -> None:
    in_use = library.status() == f"compiled kernels for {torch.backends.cpu.get_cpu_capability()} in use"
    assert in_use == (library.library() is not None)


def test_kernels_can_be_turned_off() -> None:
    code = (
        "import os; os.environ['RAMIT_KERNELS'] = '0'\n"
        "from ramit_arch.kernels.cpu.library import library\n"
        "assert library() is None\n"
    )
    run_python(code)
