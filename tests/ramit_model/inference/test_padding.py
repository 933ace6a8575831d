"""Symmetric padding against NumPy's."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramit_model.inference.padding import pad_symmetric


@given(height=st.integers(1, 40), width=st.integers(1, 40), unit=st.sampled_from([1, 4, 32]))
def test_is_numpys_symmetric_mode(height: int, width: int, unit: int) -> None:
    x = torch.rand(2, 3, height, width)
    expected = np.pad(x.numpy(), [(0, 0), (0, 0), (0, -height % unit), (0, -width % unit)], mode="symmetric")
    np.testing.assert_array_equal(pad_symmetric(x, unit).numpy(), expected)


def test_border_pixel_repeats() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]])
    assert pad_symmetric(x, 8).tolist()[0] == [1, 2, 3, 3, 2, 1, 1, 2]
