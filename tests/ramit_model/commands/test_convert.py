"""`basicsr convert`: what it says of files, what it writes, what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import fill
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ramit_arch import RAMiT
from ramit_model.cli import main
from ramit_model.inference.facts import FACTS_KEY, MARKER
from ramit_model.inference.opened import open_network
from ramit_model.inference.weights import read_weight_file

SMALL = {"dim": 16, "depths": [1, 1, 1, 2], "neck_groups": 1}


def network(**changes: Any) -> RAMiT:
    return fill(RAMiT(**{"task": "SR", "scale": 2, **SMALL, **changes}))


def save(net: RAMiT, path: Path, key: str = "params") -> Path:
    """As BasicSR saves, without what RAMiT states itself."""
    torch.save({key: dict(net.state_dict())}, path)
    return path


def header(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("half", [False, True])
def test_a_converted_file_knows_itself(tmp_path: Path, suffix: str, half: bool) -> None:
    net = network(task="DR", scale=None)
    out = tmp_path / f"out{suffix}"
    arguments = ["convert", str(save(net, tmp_path / "w.pth")), "-o", str(out), "--task", "DR"]
    assert main([*arguments, *["--half"] * half]) == 0
    opened = open_network(out)
    assert opened.options == {"type": "RAMiT", "variant": "RAMiT", "task": "DR", **SMALL}
    assert opened.network.settings == net.settings
    for name, value in net.state_dict().items():
        expected = value.half().float() if half and value.is_floating_point() else value
        assert torch.equal(opened.network.state_dict()[name], expected), name
    back = tmp_path / f"back{'.pth' if suffix == '.safetensors' else '.safetensors'}"
    assert main(["convert", str(out), "-o", str(back)]) == 0
    assert open_network(back).options == opened.options


def test_the_facts_are_in_the_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(network(), tmp_path / "w.pth", "params_ema")
    given = ["--license", "CC-BY-4.0", "--source", "https://example.org", "--metrics", "Set5_psnr=38.1", "b=1"]
    assert main(["convert", str(source), "-o", str(tmp_path / "o.safetensors"), *given]) == 0
    facts = header(tmp_path / "o.safetensors")
    assert json.loads(facts["network_g"]) == {"type": "RAMiT", "variant": "RAMiT", "task": "SR", "scale": 2, **SMALL}
    assert (facts["task"], facts["scale"], facts["license"]) == ("SR", "2", "CC-BY-4.0")
    assert (facts["source"], json.loads(facts["metrics"])) == ("https://example.org", {"Set5_psnr": 38.1, "b": 1.0})
    line = capsys.readouterr().out
    assert line.startswith(f"{source}: RAMiT with its own depths, dim, neck_groups, SR x2, 0.0")
    assert "float32, under params_ema (torch.save) -> " in line
    assert line.count("\n") == 1
    # They survive the next conversion.
    assert main(["convert", str(tmp_path / "o.safetensors"), "-o", str(tmp_path / "o.pth")]) == 0
    again = torch.load(tmp_path / "o.pth", weights_only=True)[FACTS_KEY]
    assert (again["license"], again["metrics"]) == ("CC-BY-4.0", {"Set5_psnr": 38.1, "b": 1.0})


@pytest.mark.parametrize(
    ("changes", "marked"),
    [
        ({}, False),
        ({"task": "GDN", "scale": None}, False),
        ({"task": "CDN", "scale": None}, True),
        ({"helper": False}, True),
        ({"mean": [0.5], "std": [0.2]}, True),
    ],
)
def test_a_marker_is_written_only_where_shapes_do_not_tell(
    tmp_path: Path, changes: dict[str, Any], marked: bool
) -> None:
    net = network(**changes)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    assert main(["convert", str(tmp_path / "w.pth"), "-o", str(tmp_path / "o.safetensors")]) == 0
    with safe_open(tmp_path / "o.safetensors", framework="pt") as file:
        assert (MARKER in file.keys()) == marked  # noqa: SIM118
    assert open_network(tmp_path / "o.safetensors").network.settings == net.settings
    # Programs that hand on tensors alone lose the header.
    save_file(load_file(tmp_path / "o.safetensors"), tmp_path / "bare.safetensors")
    assert open_network(tmp_path / "bare.safetensors").network.settings == net.settings


def test_published_weights_keep_their_address(assets: Path, tmp_path: Path) -> None:
    assert main(["convert", str(assets / "weights/RAMiT-1_CDN.pth"), "-o", str(tmp_path)]) == 0
    facts = header(tmp_path / "RAMiT-1_CDN.safetensors")
    assert facts["source"].endswith("/pretrained/RAMiT-1_CDN.pth")
    assert open_network(tmp_path / "RAMiT-1_CDN.safetensors").name == "RAMiT-1_CDN.pth"


def test_a_bad_file_is_named_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    save(network(), tmp_path / "b.pth")
    save(network(task="LLE", scale=None), tmp_path / "c.pth")
    files = [str(tmp_path / name) for name in ("a.pth", "b.pth", "c.pth", "d.pth")]
    assert main(["convert", *files, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.safetensors"]
    assert said.out.count("\n") == 1
    lines = said.err.splitlines()
    assert len(lines) == 3
    for line, remark in zip(
        lines, ("a.pth: is a pointer of Git LFS", "c.pth: RAMiT of task", "d.pth: no such file"), strict=True
    ):
        assert line.startswith("basicsr convert: ")
        assert remark in line


def test_existing_files_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(network(), tmp_path / "w.pth")
    before = source.read_bytes()
    assert main(["convert", str(source), "-o", str(source)]) == 2
    assert "w.pth: exists; add --overwrite to replace it" in capsys.readouterr().err
    assert source.read_bytes() == before
    assert main(["convert", str(source), "-o", str(source), "--overwrite"]) == 0
    assert "network_g" in read_weight_file(source).facts
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.bad_input
@pytest.mark.parametrize("out", ["w.pth/x", "w.pth/x.safetensors"])
def test_a_file_where_a_folder_is_needed(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(network(), tmp_path / "w.pth")
    assert main(["convert", str(source), "-o", str(tmp_path / out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"basicsr convert: {source}: is a file, where a folder is needed; ")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("files", "out", "remark"),
    [
        (["a/w.pth", "b/w.pth"], "out", r"b/w\.pth: would become out/w\.safetensors as a/w\.pth does"),
        (["a/w.pth"], "w.bin", r"--out w\.bin: end its name in \.safetensors or \.pth"),
        (["a/w.pth", "b/v.pth"], "w.pth", r"--out w\.pth: several inputs need a folder"),
    ],
)
def test_outputs_are_checked_before_anything_is_read(
    tmp_path: Path, files: list[str], out: str, remark: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *files, "-o", out]) == 2
    assert re.search(remark, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_weights_too_large_for_half_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = network()
    with torch.no_grad():
        net.shallow.conv.bias[0] = 1e5
    source = save(net, tmp_path / "w.pth")
    assert main(["convert", str(source), "-o", str(tmp_path / "o.safetensors"), "--half"]) == 2
    assert "w.pth: shallow.conv.bias is not finite in half precision; leave --half out" in capsys.readouterr().err


def test_without_out_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(save(network(), tmp_path / "w.pth"))]) == 0
    assert capsys.readouterr().out.rstrip().endswith("under params (torch.save)")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]
