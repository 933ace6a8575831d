"""The yardstick itself: the literal network computes what was recorded, and ours computes the same."""

import numpy as np
import pytest
import torch
from helpers import fill, network, recorded
from literal import LiteralRAMiT

OUTPUTS = {name: record for name, record in recorded("outputs").items() if name.startswith("RAMiT")}


def literal(name: str) -> torch.nn.Module:
    variant, task = name.rsplit("_", 1)
    scale = int(task[1:]) if task.startswith("x") else None
    return fill(LiteralRAMiT(variant, "SR" if scale else task, scale)).eval()


@pytest.mark.parametrize("name", OUTPUTS)
def test_literal_network_gives_the_recorded_output(name: str) -> None:
    net, record = literal(name).double(), OUTPUTS[name]
    x = torch.from_numpy(np.random.RandomState(7).rand(2, net.in_channels, 72, 88).astype(np.float32)).double()
    with torch.no_grad():
        y = net(x)
    np.testing.assert_allclose(
        y.flatten()[record["index"]], record["value"], rtol=0, atol=1e-6 * np.abs(record["value"]).max()
    )


@pytest.mark.parametrize("name", ["RAMiT-1_x2", "RAMiT_CDN", "RAMiT-slimSR_x3", "RAMiT_GDN", "RAMiT-slimLLE_LLE"])
@pytest.mark.parametrize("size", [(1, 40, 72), (2, 33, 32)])
def test_outputs_and_gradients_are_those_of_the_literal_network(name: str, size: tuple[int, int, int]) -> None:
    ours, reference = fill(network(name)).double(), literal(name).double()
    batch, height, width = size
    torch.manual_seed(0)
    x = torch.rand(batch, ours.in_channels, height, width, dtype=torch.float64)
    results = []
    for net in (ours, reference):
        own = x.clone().requires_grad_()
        y = net(own)
        y.square().mean().backward()
        results.append((y.detach(), own.grad, {key: p.grad for key, p in net.named_parameters()}))
    (y, gx, gradients), (expected, expected_gx, expected_gradients) = results
    assert (y - expected).abs().max() < 1e-9 * expected.abs().max()
    assert (gx - expected_gx).abs().max() < 1e-8 * expected_gx.abs().max()
    assert gradients.keys() == expected_gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected_gradients.values())
    for key, gradient in expected_gradients.items():
        assert (gradients[key] - gradient).abs().max() < 1e-8 * largest, key
