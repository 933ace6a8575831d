"""Averages of the losses of a training, and the error that ends one that diverges."""

import torch
import torch.distributed as dist
from torch import Tensor

from ramit_model.system.errors import InputError
from ramit_model.training.checkpoint import training_states


class LossAverage:
    """Losses since they were last logged, summed on their device: nothing waits for the GPU until `values` is called.

    Args:
        world_size: Number of processes, over which losses are averaged if there are several.
    """

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        self.reset()

    def reset(self) -> None:
        """Begin a new average."""
        self._sums: dict[str, Tensor] = {}
        self._iterations = 0

    def add(self, name: str, value: Tensor) -> None:
        """Add a loss, detached, or the share of a part of the batch in it."""
        self._sums[name] = self._sums[name] + value if name in self._sums else value

    def end_iteration(self) -> None:
        """Count one more iteration."""
        self._iterations += 1

    def values(self) -> dict[str, float]:
        """Averages over iterations and processes, by name; empty if there was none. Waits for the GPU.

        Raises:
            FloatingPointError: One is not finite; the message is its name with a space before it, if there are several.
        """
        if not self._sums:
            return {}
        averages = torch.stack(list(self._sums.values())) / self._iterations
        if self.world_size > 1:
            dist.all_reduce(averages)
            averages /= self.world_size
        if not averages.isfinite().all():
            first = next(name for name, average in zip(self._sums, averages, strict=True) if not average.isfinite())
            raise FloatingPointError(f" {first}" if len(self._sums) > 1 else "")
        return dict(zip(self._sums, averages.tolist(), strict=True))


def diverged(what: str, run: str, amp: str | None) -> InputError:
    """Error of a training whose loss or weights are not finite.

    Args:
        what: Subject of the line, such as `the loss` or `a weight`.
        run: Name of the run, to find its last checkpoint.
        amp: Type of mixed precision, if any.
    """
    states = training_states(run)
    kept = f"the last good checkpoint is {states[0].name}" if states else "no checkpoint was saved before"
    remedy = "set train.amp to bfloat16" if amp == "float16" else "lower train.optim_g.lr or set train.grad_clip"
    return InputError(f"{what} is not finite (NaN or Inf); {kept}: {remedy}, and go on with --auto_resume")
