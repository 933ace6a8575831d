"""Networks in ONNX: scale, unit of sizes, channels and parameters are found out; what is none of that is one line."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'ramit-basicsr[export]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'ramit-basicsr[export]'")

from foreign import write_onnx
from helpers import run_basicsr, testing_options

from ramit_model.inference.foreign import onnx_network as module
from ramit_model.inference.foreign.network import random_image
from ramit_model.inference.foreign.onnx_network import onnx
from ramit_model.system.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        onnx(str(path))
    return str(caught.value)


@pytest.mark.parametrize(
    ("form", "unit"),
    [
        ({}, 1),
        ({"scale": 3}, 1),
        ({"scale": 1, "shrink": 2}, 2),
        ({"shrink": 4, "channels": 1}, 4),
        ({"dims": (1, "h", "w")}, 1),
        ({"half": True}, 1),
    ],
)
def test_found_out(tmp_path: Path, form: dict[str, Any], unit: int) -> None:
    network = onnx(str(write_onnx(tmp_path / "n.onnx", **form)))
    scale, channels, shrink = form.get("scale", 2), form.get("channels", 3), form.get("shrink", 1)
    assert (network.scale, network.in_channels, network.size_unit) == (scale, channels, unit)
    # Of the convolution; whole numbers are no parameters.
    assert network.parameters_in_file == (channels * shrink**2) * channels * (shrink * scale) ** 2
    assert network.description.startswith("ONNX by ONNX Runtime ")
    assert network.precisions == {"float32"}
    image = torch.cat([random_image(channels, 7, 9), 1 - random_image(channels, 7, 9)])
    expected = 0.9 * image.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    tolerance = 2e-3 if form.get("half") else 1e-6
    torch.testing.assert_close(network(image), expected, rtol=0, atol=tolerance)


def test_what_cannot_be_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "n.onnx"
    assert refused(path) == f"{path}: no such file; check the path"
    path.write_bytes(b"no network")
    assert refused(path).startswith(f"{path}: ONNX Runtime cannot read it: ")
    write_onnx(path, dims=("b", 32, 48))
    assert refused(path) == f"{path}: takes images of 48x32 pixels only; export it for images of any size"
    write_onnx(path, shrink=3)
    assert refused(path).startswith(f"{path}: cannot restore an image of any size that was tried (")
    write_onnx(path, external=True)
    assert refused(path) == f"{path}: its weights are in further files; export it into one"
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert refused(path) == "type onnx needs the package onnxruntime: pip install 'ramit-basicsr[export]'"


def test_two_inputs(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save_model

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 3, "h", "w"]) for name in ("image", "mask")]
    output = helper.make_tensor_value_info("result", TensorProto.FLOAT, ["b", 3, "h", "w"])
    graph = helper.make_graph([helper.make_node("Add", ["image", "mask"], ["result"])], "n", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    save_model(model, tmp_path / "n.onnx")
    assert "must have one input of floats (B, C, H, W), not image: " in refused(tmp_path / "n.onnx")


def test_in_a_test(pairs: Path, tmp_path: Path, write_options: Any) -> None:
    block = {"type": "onnx", "weights": str(write_onnx(tmp_path / "n.onnx"))}
    done = run_basicsr("test", "-opt", write_options(testing_options(pairs, None, network_g=block)), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (log,) = (tmp_path / "results").rglob("*.log")
    assert "network: OnnxNetwork, 36 parameters" in log.read_text()
