"""Both attentions against slow transcriptions of their definition, one window and one head at a time."""

import math

import pytest
import torch
from torch.nn import functional as F

from ramit_arch.attention import ChannelAttention, SpatialAttention, cosine_matrix, relative_position_index

M, HEADS, CH_HEADS, DIM = 4, 3, 2, 5


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module.double()


def spatial_reference(
    attention: SpatialAttention, qkv: torch.Tensor, ch: torch.Tensor | None, shift: int
) -> torch.Tensor:
    batch, height, width, _ = qkv.shape
    result = torch.zeros(batch, height, width, HEADS * DIM, dtype=qkv.dtype)
    # Pixel (y, x) of the shifted image is pixel (y + shift, x + shift) of the image, wrapping around.
    for b in range(batch):
        for top in range(0, height, M):
            for left in range(0, width, M):
                pixels = [((top + i + shift) % height, (left + j + shift) % width) for i in range(M) for j in range(M)]
                for head in range(HEADS):
                    tokens = torch.stack([qkv[b, y, x].view(HEADS, 3, DIM)[head] for y, x in pixels])
                    q, k, v = tokens.unbind(1)
                    if ch is not None:
                        v = v * torch.stack([ch[b, y, x].view(CH_HEADS, DIM).mean(0) for y, x in pixels])
                    scale = math.exp(min(float(attention.logit_scale[head]), math.log(100.0)))
                    scores = F.cosine_similarity(q[:, None], k[None], dim=-1) * scale
                    for p in range(M * M):
                        for r in range(M * M):
                            dy, dx = p // M - r // M + M - 1, p % M - r % M + M - 1
                            row = dy * (2 * M - 1) + dx
                            scores[p, r] += attention.relative_position_bias_table[row, head]
                    y_head = scores.softmax(dim=1) @ v
                    for (y, x), value in zip(pixels, y_head, strict=True):
                        result[b, y, x, head * DIM : (head + 1) * DIM] = value
    # A 1x1 convolution treats every pixel alike, so it may come before or after the shift back.
    return attention.proj(result)


@pytest.mark.parametrize("shift", [0, M // 2])
@pytest.mark.parametrize("helped", [False, True])
def test_spatial_attention(shift: int, helped: bool) -> None:
    attention = randomised(SpatialAttention(HEADS, DIM, window_size=M, shift=shift))
    with torch.no_grad():
        attention.logit_scale[0] = 7.0  # above ln 100: bounded
        qkv = torch.randn(2, 2 * M, 3 * M, 3 * HEADS * DIM, dtype=torch.float64)
        ch = torch.randn(2, 2 * M, 3 * M, CH_HEADS * DIM, dtype=torch.float64) if helped else None
        torch.testing.assert_close(attention(qkv, ch), spatial_reference(attention, qkv, ch, shift))


@pytest.mark.parametrize("helped", [False, True])
def test_channel_attention(helped: bool) -> None:
    attention = randomised(ChannelAttention(HEADS, DIM))
    height, width = 4, 6
    with torch.no_grad():
        qkv = torch.randn(2, height, width, 3 * HEADS * DIM, dtype=torch.float64)
        sp = torch.randn(2, height, width, 7, dtype=torch.float64) if helped else None
        heads = []
        for head in range(HEADS):
            q, k, v = qkv.unflatten(-1, (HEADS, 3, DIM))[..., head, :, :].unbind(-2)
            if sp is not None:
                v = v * sp.mean(-1, keepdim=True)
            q, k, v = (t.flatten(1, 2).transpose(1, 2) for t in (q, k, v))
            scale = math.exp(min(float(attention.logit_scale[head]), math.log(100.0)))
            scores = F.cosine_similarity(q[:, :, None], k[:, None], dim=-1) * scale
            heads.append((scores.softmax(dim=-1) @ v).transpose(1, 2).unflatten(1, (height, width)))
        torch.testing.assert_close(attention(qkv, sp), attention.proj(torch.cat(heads, dim=-1)))


def test_relative_position_index_of_a_window_of_two() -> None:
    expected = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert relative_position_index(2).tolist() == expected


class Cosines(torch.nn.Module):
    """`cosine_matrix` of maps (B, n, H, W)."""

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return cosine_matrix(q.flatten(2), k.flatten(2), q.shape[-1])


def test_exports_add_up_in_parts() -> None:
    """Other runtimes add up one by one: in one row, a flat image of 32x32 pixels cost a network of full size 4e-3."""
    q, k = torch.rand(2, 3, 5, 6), torch.rand(2, 4, 5, 6)
    program = torch.export.export(Cosines(), (q, k))
    graphs = [module.graph for module in program.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]
    sums = [node for graph in graphs for node in graph.nodes if node.target is torch.ops.aten.sum.dim_IntList]
    assert len(sums) == 1
    assert sums[0].args[0].meta["val"].shape == (2, 5, 3, 4)
    x, y = q.flatten(2).double(), k.flatten(2).double()
    wanted = torch.einsum("bnp,bmp->bnm", x / x.norm(dim=-1, keepdim=True), y / y.norm(dim=-1, keepdim=True))
    for result in (program.module()(q, k), Cosines()(q, k)):
        torch.testing.assert_close(result.double(), wanted, atol=1e-6, rtol=0)
