"""Windows gathered by one index and scattered back, against cyclic shift and partition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramit_arch.kernels.cpu.gather import WindowGather
from ramit_arch.windows import cyclic_shift, window_partition, window_reverse


@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    m=st.sampled_from([2, 4, 8]),
    shifted=st.booleans(),
    channels=st.integers(1, 5),
)
def test_gather_and_scatter(batch: int, rows: int, columns: int, m: int, shifted: bool, channels: int) -> None:
    shift = m // 2 if shifted else 0
    x = torch.randn(batch, rows * m, columns * m, channels)
    windows = WindowGather(rows * m, columns * m, m, shift)
    rolled = x.roll((-shift, -shift), (1, 2)).view(batch, rows, m, columns, m, channels)
    tokens = windows.gather(x)
    assert torch.equal(tokens, rolled.transpose(2, 3).reshape(-1, m * m, channels))
    assert torch.equal(windows.scatter(tokens), x)
    partitioned = window_partition(cyclic_shift(x, -shift), m)
    assert torch.equal(partitioned.flatten(0, 2), tokens)
    assert torch.equal(cyclic_shift(window_reverse(partitioned, m), shift), x)


@pytest.mark.parametrize("shift", [0, 2])
def test_gradients(shift: int) -> None:
    x = torch.randn(2, 8, 12, 3, dtype=torch.float64, requires_grad=True)
    windows = WindowGather(8, 12, 4, shift)
    assert torch.autograd.gradcheck(windows.gather, x)
    assert torch.autograd.gradcheck(windows.scatter, windows.gather(x).detach().requires_grad_())
    assert torch.autograd.gradgradcheck(windows.gather, x)
