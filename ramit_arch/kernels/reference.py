"""Channel attention as a matrix that the kernels apply to each pixel, in PyTorch."""

import torch
from torch import Tensor

from ramit_arch.attention import channel_attention


def channel_mixing(products: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Cosine attention between the channels of a head, and the projection after it, as one matrix.

    Args:
        products: From `channel_products`.
        scale: Temperature of each head, (L).
        weight: Weight of the projection, (L*d, L*d).

    Returns:
        Matrix that maps v of a pixel to the projected attention, (B, L*d, L*d).
    """
    attention = channel_attention(products, scale)
    weight = weight.to(attention.dtype).unflatten(1, (len(scale), -1))
    return torch.einsum("oli,blij->bolj", weight, attention).flatten(2)
