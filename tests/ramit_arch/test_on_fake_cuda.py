"""Networks on a GPU, as far as that can be seen without one: devices, types and shapes of all tensors."""

import pytest
import torch
from fake_cuda import CUDA, fake_cuda, needs_fake_cuda
from helpers import network

pytestmark = needs_fake_cuda

NETWORKS = ("RAMiT_x2", "RAMiT-1_x3", "RAMiT-slimSR_x4", "RAMiT_GDN", "RAMiT-slimLLE_LLE", "NGswin_x2")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("training", "kind"), [(True, None), (False, torch.float16)], ids=str)
def test_forward(name: str, training: bool, kind: torch.dtype | None) -> None:
    with fake_cuda():
        net = network(name).to(CUDA).train(training)
        x = torch.rand(2, net.in_channels, 64, 96, device=CUDA)
        with torch.set_grad_enabled(training), torch.autocast("cuda", kind, enabled=kind is not None):
            y = net(x)
        assert y.device == CUDA
        assert y.shape == (2, net.in_channels, 64 * net.scale, 96 * net.scale)
        assert y.requires_grad == training


def test_a_tensor_on_the_wrong_device_is_noticed() -> None:
    """Otherwise these tests would show nothing."""
    with fake_cuda():
        net = network("RAMiT-slimLLE_LLE").to(CUDA)
        with pytest.raises(RuntimeError, match="device"):
            net(torch.rand(1, 3, 64, 64))


def test_waiting_for_a_value_is_noticed() -> None:
    with fake_cuda(), pytest.raises(Exception, match="_local_scalar_dense"):
        torch.rand(2, device=CUDA).sum().item()
