"""Muon with AdamW: what Muon cannot train, AdamW trains at the same rate."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

SMALLEST_SIDE = 8
"""Matrices with a smaller side are tables, such as position biases of a few heads, and no linear maps."""


class MuonWithAdamW(Optimizer):
    """Muon (Jordan et al., 2024) for matrices, 1x1 convolutions among them, and AdamW for everything else.

    Args:
        params: What is trained.
        lr: Rate of both.
        weight_decay: Decoupled weight decay of both.
        momentum: Momentum of Muon.
        nesterov: Whether it is Nesterov's.
        ns_steps: Steps of the Newton-Schulz iteration that makes an update orthogonal.
        adjust_lr_fn: How Muon's rate depends on the size of a matrix, as in `torch.optim.Muon`. The default gives its
            updates the size of AdamW's (Liu et al., Muon is Scalable for LLM Training, 2025): one rate fits both.
        betas: Decay rates of AdamW's averages.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.001,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        parameters = list(params)
        matrices = [parameter for parameter in parameters if _is_linear(parameter)]
        others = [parameter for parameter in parameters if not _is_linear(parameter)]
        common: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
        of_muon = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
        self.parts: list[tuple[Optimizer, list[nn.Parameter]]] = []
        """Both optimizers, and the weights as they know them."""
        groups = []
        if matrices:
            views = [nn.Parameter(matrix.detach().view(len(matrix), -1)) for matrix in matrices]  # of the same memory
            self.parts.append((torch.optim.Muon(views, **(common | of_muon)), views))
            groups.append({**self.parts[-1][0].param_groups[0], "params": matrices})
        if others:
            self.parts.append((AdamW(others, **common, betas=betas), others))
            groups.append({**self.parts[-1][0].param_groups[0], "params": others})
        super().__init__(groups, common)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for (optimizer, views), group in zip(self.parts, self.param_groups, strict=True):
            for view, parameter in zip(views, group["params"], strict=True):
                view.grad = None if parameter.grad is None else parameter.grad.reshape(view.shape)
            # Groups and state are those of this optimizer, which is what a training saves and loads.
            optimizer.param_groups = [{**group, "params": views}]
            optimizer.state = defaultdict(dict)
            for view, parameter in zip(views, group["params"], strict=True):
                optimizer.state[view] = self.state[parameter]
            optimizer.step()
        return loss


def _is_linear(weight: torch.Tensor) -> bool:
    is_matrix = weight.ndim == 2 or (weight.ndim == 4 and weight.shape[2:] == (1, 1))
    return is_matrix and min(weight.shape[:2]) >= SMALLEST_SIDE
