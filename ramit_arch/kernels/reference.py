"""Channel attention as a matrix that the kernels apply to each pixel, in PyTorch."""

import torch
from torch import Tensor

from ramit_arch.attention import MIN_NORM, at_least_float32, without_autocast


def channel_products(qk: Tensor) -> Tensor:
    """Sums over all pixels of the products of every two channels, in float32 at least: (B, 2*L*d, 2*L*d).

    Args:
        qk: q of all heads, then k of all heads, (B, pixels, 2*L*d); the pixels may be in any order.
    """
    with without_autocast(qk):
        qk = at_least_float32(qk)
        return qk.mT @ qk


def channel_mixing(products: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Cosine attention between the channels of a head, and the projection after it, as one matrix.

    Args:
        products: From `channel_products`. The product of a channel with itself is its squared L2 norm.
        scale: Temperature of each head, (L).
        weight: Weight of the projection, (L*d, L*d).

    Returns:
        Matrix that maps v of a pixel to the projected attention, (B, L*d, L*d).
    """
    heads = len(scale)
    norm = products.diagonal(dim1=1, dim2=2).clamp(min=MIN_NORM**2).sqrt()
    cosines = products / (norm.unsqueeze(2) * norm.unsqueeze(1))
    q_and_k = (2, heads, -1)
    cosines = cosines.unflatten(2, q_and_k).unflatten(1, q_and_k)[:, 0, :, :, 1]  # (B, L, d, L, d)
    cosines = cosines.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)  # (B, L, d, d)
    attention = (cosines * scale.view(-1, 1, 1)).softmax(dim=-1)
    weight = weight.to(attention.dtype).unflatten(1, (heads, -1))
    return torch.einsum("oli,blij->bolj", weight, attention).flatten(2)
