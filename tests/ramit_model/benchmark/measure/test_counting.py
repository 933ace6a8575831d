"""Counts against hand calculation, the published code and the table in ramit_arch/README.md."""

import functools
import re
from typing import Any

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.archs.swinir_arch import SwinIR
from benchmark_options import NETWORKS
from helpers import REPOSITORY, network, recorded
from torch import nn
from torch.nn import functional as F

from ramit_model.benchmark.measure import counting as module
from ramit_model.benchmark.measure.counting import channels_of, count, count_by_running

COMPLEXITY = recorded("complexity")


@functools.cache
def readme_table() -> dict[str, tuple[str, str]]:
    """Name -> parameters, and Mult-Adds in G, as the table of networks in ramit_arch/README.md states them."""
    row = re.compile(r"^\| (RAMiT\S*) \| (\S+) \| ([\d,]+) \| ([\d.]+) G \|", re.MULTILINE)
    rows = row.findall((REPOSITORY / "ramit_arch/README.md").read_text())
    return {f"{variant}_{task}": (parameters, g) for variant, task, parameters, g in rows}


@pytest.mark.parametrize("name", COMPLEXITY)
def test_agrees_with_the_published_code_and_the_readme(name: str) -> None:
    with torch.device("meta"):
        net = network(name)
    counts = count(net, channels=net.in_channels, scale=net.scale, unit=net.size_unit)
    assert counts.parameters == COMPLEXITY[name]["params"]
    # Of NGswin torch's counter finds 3 % less: N-grams of both directions share their attention, norms are not counted.
    tolerance = 0.04 if name.startswith("NGswin") else 0.01
    assert counts.mult_adds == pytest.approx(COMPLEXITY[name]["multadds_1280x720_hr"], rel=tolerance)
    if not name.startswith("NGswin"):
        assert (f"{counts.parameters:,}", f"{counts.mult_adds / 1e9:.1f}") == readme_table()[name]
    assert counts.output == (1280, 720)
    assert counts.activations > 0


def test_by_hand() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=False),
                nn.Conv2d(8, 4, 1, stride=2),
            )
            self.linear = nn.Linear(4, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.body(x).permute(0, 2, 3, 1))

    counts = count(Small(), channels=3, scale=1, unit=1, output=(12, 10))
    pixels = 12 * 10
    assert counts.parameters == (3 * 9 * 8 + 8) + 2 * 9 * 8 + (8 * 4 + 4) + (4 * 5 + 5)
    assert counts.mult_adds == pixels * (3 * 9 * 8 + 2 * 9 * 8) + pixels / 4 * (8 * 4 + 4 * 5)
    assert counts.activations == pixels * (8 + 8) + pixels / 4 * (4 + 5)


@pytest.mark.parametrize("fused", [False, True])
def test_attention_is_two_matrix_products(fused: bool) -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q = x.flatten(2).transpose(1, 2).unsqueeze(1)  # (1, 1, H * W, C)
            if fused:
                return F.scaled_dot_product_attention(q, q, q)
            return (q @ q.transpose(-2, -1)).softmax(-1) @ q

    counts = count(Attention(), channels=16, scale=1, unit=1, output=(8, 4))
    assert (counts.parameters, counts.mult_adds) == (0, 2 * 32 * 32 * 16)
    assert counts.activations == 32 * 32 + 32 * 16


@pytest.mark.parametrize(
    ("scale", "unit", "height", "width"), [(1, 1, 7, 9), (2, 1, 4, 5), (3, 1, 3, 3), (2, 8, 8, 8), (4, 2, 2, 4)]
)
def test_input_is_rounded_up_and_padded(scale: int, unit: int, height: int, width: int) -> None:
    counts = count(nn.Conv2d(1, 1, 1), channels=1, scale=scale, unit=unit, output=(9, 7))
    assert counts.mult_adds == counts.activations == height * width


@pytest.mark.parametrize(
    ("scale", "parameters", "mult_adds", "published", "published_mult_adds"),
    [
        (2, 910152, 240.910848e9, 878e3, 195.6e9),
        (3, 918267, 109.2496896e9, 886e3, 87.2e9),
        (4, 929628, 62.7107328e9, 897e3, 49.6e9),
    ],
)
def test_swinir(scale: int, parameters: int, mult_adds: float, published: float, published_mult_adds: float) -> None:
    options = yaml.safe_load((REPOSITORY / f"options/test_SwinIR-light_x{scale}.yml").read_text())["network_g"]
    options.pop("type")
    net = SwinIR(**options)
    counts = count(net, channels=3, scale=scale, unit=8)
    assert (counts.parameters, counts.mult_adds) == (parameters, mult_adds)
    # Without the tables of relative position biases, the parameters are the published ones, in thousands.
    tables = sum(p.numel() for name, p in net.named_parameters() if name.endswith("relative_position_bias_table"))
    assert round((parameters - tables) / 1000) == published / 1000
    # The published Mult-Adds are what SwinIR's own code estimates for the input size in that file, not for 1280x720.
    size = tuple((side // scale // 8 + 1) * 8 for side in (1024, 720))
    estimate = SwinIR(**{**options, "img_size": size}).flops()
    assert estimate == pytest.approx(published_mult_adds, rel=0.0015)
    # A pixel costs about the same by both: that code estimates a few convolutions too low, and adds norms.
    padded = [-(-side // scale // 8) * 8 for side in (1280, 720)]
    assert estimate / (size[0] * size[1]) == pytest.approx(mult_adds / (padded[0] * padded[1]), rel=0.05)


def test_the_network_is_left_as_it_is() -> None:
    net = network("RAMiT-slimSR_x4").train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    count(net, channels=3, scale=4, unit=32)
    assert net.training
    assert all(parameter.device.type == "cpu" for parameter in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_network_that_looks_at_values_cannot_be_counted() -> None:
    class Peeks(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.mean() > 0 else -x

    with pytest.raises(RuntimeError, match="meta"):
        count(Peeks(), channels=3, scale=1, unit=1)


@pytest.mark.parametrize(
    ("network_g", "channels"),
    [
        (NETWORKS["tiny"], 3),
        ({**NETWORKS["tiny"], "scale": 1, "task": "GDN"}, 1),
        (NETWORKS["plain"], 3),
        ({**NETWORKS["plain"], "num_in_ch": 1, "num_out_ch": 1}, 1),
    ],
)
def test_channels(network_g: dict[str, Any], channels: int) -> None:
    assert channels_of(build_network(dict(network_g)), network_g) == channels


@pytest.mark.usefixtures("one_thread")
def test_a_network_that_needs_data_is_counted_by_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "prepare_process", lambda: None)
    options = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
    (by_running,) = count_by_running(options, 2)
    assert by_running == count(build_network(dict(options)), channels=3, scale=2, unit=1)
