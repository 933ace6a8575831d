"""Exported networks: any size, the same pixels, and nothing written where they differ."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import fill
from torch.export import ExportedProgram

from ramit_arch import NGswin, RAMiT
from ramit_model.cli import main
from ramit_model.export import check, exporting, onnx_file, torch_file
from ramit_model.export.network import EXAMPLE, AnySize, half_precision, trace
from ramit_model.inference.padding import run_padded
from ramit_model.system.errors import InputError

pytestmark = pytest.mark.skipif(torch.__version__ < (2, 13), reason="earlier releases export for one size only")

SIZES = ((1, 1, 1), (2, 5, 37), (1, 32, 64))


def tiny(**changes: object) -> RAMiT:
    """Shifted windows and both reciprocal helpers in two blocks."""
    options = {"task": "SR", "scale": 2, "dim": 16, "depths": [2, 1, 1, 1], "neck_groups": 1, **changes}
    return fill(RAMiT(**options)).eval()


@pytest.fixture(scope="module")
def network() -> RAMiT:
    return tiny()


@pytest.fixture(scope="module")
def program(network: RAMiT) -> ExportedProgram:
    return trace(network, unit=32, scale=2, channels=3)


def test_the_example_is_not_among_the_checked_sizes() -> None:
    assert EXAMPLE not in check.SIZES
    assert any(size[0] > 1 for size in check.SIZES)
    assert (1, 1, 1) in check.SIZES


@pytest.mark.parametrize("size", [(1, 1), (7, 45), (64, 32)])
def test_padding_is_that_of_tests(network: RAMiT, size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    with torch.inference_mode():
        assert torch.equal(AnySize(network, unit=32, scale=2)(x), run_padded(network, x, 32, 2))


def test_half_precision_takes_and_gives_float32() -> None:
    network = tiny(task="GDN", scale=None)
    half = half_precision(network)
    x = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        y, expected = half(x), network(x)
    assert y.dtype == torch.float32
    assert not torch.equal(y, expected)
    torch.testing.assert_close(y, expected, atol=0.05, rtol=0)  # weights of no training amplify more
    # The network itself is as it was.
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert half.normalisation.mean.dtype == torch.float32


def test_onnx_of_any_size(program: ExportedProgram, network: RAMiT, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    content = onnx_file.to_onnx(program, metadata={"network_g": json.dumps({"type": "RAMiT"}), "scale": "2"})
    run = onnx_file.open_onnx(content, threads=1)
    for difference in check.differences(run, network, unit=32, scale=2, channels=3, sizes=SIZES):
        assert difference.largest < 1e-4, str(difference)
    model = onnx.load_model_from_string(content)
    assert {entry.key: entry.value for entry in model.metadata_props}["scale"] == "2"
    assert [opset.version for opset in model.opset_import if not opset.domain] == [18]
    (graph_input,) = model.graph.input
    assert graph_input.name == "input"
    assert [axis.dim_param or axis.dim_value for axis in graph_input.type.tensor_type.shape.dim] == [
        *("batch", 3, "height", "width")
    ]
    assert [value.name for value in model.graph.output] == ["output"]


def test_package_of_any_size(program: ExportedProgram, network: RAMiT) -> None:
    run = torch_file.open_package(torch_file.to_package(program, metadata={"scale": "2"}))
    for difference in check.differences(run, network, unit=32, scale=2, channels=3, sizes=SIZES):
        assert difference.largest < 1e-4, str(difference)


def test_ngswin_of_any_size() -> None:
    """Masks of shifted windows and N-grams follow the size; an image of a single window has its own reflection."""
    changes = {"dim": 16, "depths": (2, 1, 1), "num_heads": (2, 2, 2), "decoder_depth": 1, "decoder_heads": 2}
    network = fill(NGswin(scale=2, **changes)).eval()
    run = torch_file.open_package(torch_file.to_package(trace(network, unit=32, scale=2, channels=3)))
    for difference in check.differences(run, network, unit=32, scale=2, channels=3, sizes=SIZES):
        assert difference.largest < 1e-4, str(difference)


def test_nothing_is_written_where_pixels_differ(
    network: RAMiT, program: ExportedProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "trace", lambda *args, **kwargs: program)
    out = tmp_path / "out.pt2"
    other = tiny(chsa_head_ratio=0.5)
    arguments = {"unit": 32, "scale": 2, "channels": 3, "format": "torch"}
    with pytest.raises(InputError, match=r"out\.pt2: not written: differs from PyTorch at 1x1: .*, more than 1e-04"):
        exporting.export_network(other, out, **arguments)
    assert not list(tmp_path.iterdir())
    exported = exporting.export_network(network, out, **arguments, metadata={"task": "SR"})
    assert exported.path.stat().st_size == exported.size
    assert max(difference.largest for difference in exported.differences) < 1e-4


def test_a_pixel_that_is_not_finite_is_a_difference(network: RAMiT) -> None:
    def run(images: np.ndarray) -> np.ndarray:
        return np.full((*images.shape[:2], images.shape[2] * 2, images.shape[3] * 2), np.nan, np.float32)

    (difference,) = check.differences(run, network, unit=32, scale=2, channels=3, sizes=[(1, 8, 8)])
    assert not difference.largest <= 1


@pytest.mark.parametrize(
    ("largest", "own", "within"),
    [(1e-4, 0, True), (1.1e-4, 0, False), (1.1e-4, 2e-5, False), (1.1e-4, 3e-5, True), (float("nan"), 1, False)],
)
def test_rounding_of_pytorch_itself_is_allowed_for(largest: float, own: float, within: bool) -> None:
    assert check.Difference((1, 8, 8), largest, own).within(1e-4) == within


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "PACKAGES", ("json", "no_such_package"))
    with pytest.raises(InputError, match=r"^ONNX needs no_such_package: pip install 'ramit-basicsr\[export\]'$"):
        onnx_file.check_packages()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.bin"], "--out out.bin: end its name in .onnx or .pt2, or say --format"),
        (["-o", "out.pt2", "--opset", "18"], "--opset: is for ONNX only; leave it out"),
        (["-o", "there.pt2"], "there.pt2: exists; add --overwrite to replace it"),
        (["-o", "no/out.pt2"], "--out no/out.pt2: there is no folder no; make it first"),
        (["-o", "out.pt2", "--weights", "missing.pth"], "missing.pth"),
        (["-o", "folder.pt2"], "--out folder.pt2: is a folder; name a file in it"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.pt2").write_bytes(b"")
    Path("folder.pt2").mkdir()
    assert main(["export", "--weights", "w.pth", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_opset_must_be_known() -> None:
    pytest.importorskip("onnx")
    with pytest.raises(InputError, match="--opset 17: choose one from 18 to"):
        onnx_file.check_opset(17)


def test_the_command_writes_a_package(network: RAMiT, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"params": network.state_dict()}, tmp_path / "tiny.pth")
    out = tmp_path / "tiny.pt2"
    assert main(["export", "--weights", str(tmp_path / "tiny.pth"), "-o", str(out)]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("tiny.pth: RAMiT, SR x2 -> torch.export, float32")
    assert second.startswith("largest difference from PyTorch: ")
    assert third.startswith(f"{out} (")
    facts = {torch_file.FACTS: ""}
    torch.export.load(out, extra_files=facts)
    stated = json.loads(facts[torch_file.FACTS])
    assert json.loads(stated["network_g"])["type"] == "RAMiT"
    assert (stated["task"], stated["scale"], stated["precision"]) == ("SR", "2", "float32")
