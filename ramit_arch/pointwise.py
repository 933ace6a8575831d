"""1x1 convolutions of channels-last maps."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Pointwise(nn.Conv2d):
    """1x1 convolution of a channels-last map, as the matrix product that it is: (..., C_in) -> (..., C_out)."""

    def __init__(self, dim: int, out_dim: int, *, groups: int = 1, bias: bool = True) -> None:
        super().__init__(dim, out_dim, 1, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.groups == 1:
            return F.linear(x, *self.matrix())
        groups = self.weight.view(self.groups, -1, self.weight.shape[1])
        y = torch.einsum("...gi,goi->...go", x.unflatten(-1, (self.groups, -1)), groups).flatten(-2)
        return y if self.bias is None else y + self.bias

    def matrix(self) -> list[Tensor]:
        """Weight (C_out, C_in / groups), and bias (C_out) if there is one."""
        return [self.weight.flatten(1), *([] if self.bias is None else [self.bias])]
