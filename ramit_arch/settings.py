"""Hyper-parameters of RAMiT: the settings of a network, the published variants, and the statistics of the tasks.

Source: Choi et al., "Reciprocal Attention Mixing Transformer for Lightweight Image Restoration", CVPRW 2024,
arXiv 2305.11474.
"""

from dataclasses import dataclass, replace
from typing import Any

SR_MEAN = (0.4485, 0.4375, 0.4045)
SR_STD = {2: (0.2397, 0.2290, 0.2389), 3: (0.2373, 0.2265, 0.2367), 4: (0.2352, 0.2244, 0.2349)}
"""Mean and standard deviation (by scale) of the training data of super-resolution, RGB, range 0..1."""

STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "CDN": ((0.4775, 0.4515, 0.4047), (0.2442, 0.2367, 0.2457)),
    "GDN": ((0.4539,), (0.2326,)),
    "LLE": ((0.1687, 0.1599, 0.1526), (0.1142, 0.1094, 0.1094)),
    "DR": ((0.5110, 0.5105, 0.4877), (0.2313, 0.2317, 0.2397)),
}
"""Mean and standard deviation of each other task's training data, RGB or gray, range 0..1."""

TASKS = ("SR", "CDN", "GDN", "LLE", "DR")
"""Super-resolution, color denoising, gray denoising, low-light enhancement, deraining."""

VARIANTS = ("RAMiT", "RAMiT-1", "RAMiT-slimSR", "RAMiT-slimLLE")

N_STAGES = 4
N_DOWNSIZINGS = N_STAGES - 2
MOST_BLOCKS = 1000
"""Blocks of a stage; far more would not be built in a lifetime."""


@dataclass(frozen=True, kw_only=True)
class RAMiTSettings:
    """All hyper-parameters of a RAMiT, written here only; the defaults are the published RAMiT for x2.

    Attributes:
        scale: Output size over input size; 1 also adds the input to the output.
        mean: Mean of each input channel over the training data, range 0..1. Its length is the number of channels.
        std: Standard deviation of each input channel over the training data, range 0..1.
        dim: Channels C, a multiple of 16 and of every stage's heads.
        depths: Blocks of each of the four stages.
        num_heads: Attention heads L of each stage, spatial and channel heads together.
        chsa_head_ratio: Share of the heads that attend between channels; `int(L * ratio)` of them, at least one.
        window_size: Window side M in pixels, even.
        hidden_ratio: Hidden channels of the feed-forward network over C.
        qkv_bias: Whether the projection to q, k, v has a bias.
        mobivari_version: 1 (no expansion) or 2.
        mobivari_expansion: Expansion of version 2 in blocks, downsizing and tail.
        mobivari_groups: Groups of its expanding convolution.
        neck_expansion: Expansion of version 2 in the bottleneck and in H-RAMi.
        neck_groups: Groups of its expanding convolution.
        helper: Reciprocal helper: each attention multiplies the values of the other kind in the next block.
        tail_mobivaris: MobiVari layers before the reconstruction.
    """

    scale: int = 2
    mean: tuple[float, ...] = (0.4485, 0.4375, 0.4045)
    std: tuple[float, ...] = (0.2397, 0.2290, 0.2389)
    dim: int = 64
    depths: tuple[int, ...] = (6, 4, 4, 6)
    num_heads: tuple[int, ...] = (4, 4, 4, 4)
    chsa_head_ratio: float = 0.25
    window_size: int = 8
    hidden_ratio: float = 2.0
    qkv_bias: bool = True
    mobivari_version: int = 2
    mobivari_expansion: float = 1.2
    mobivari_groups: int = 4
    neck_expansion: float = 1.2
    neck_groups: int = 4
    helper: bool = True
    tail_mobivaris: int = 2

    def __post_init__(self) -> None:
        for name in ("mean", "std", "depths", "num_heads"):  # option files have lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("depths", "num_heads"):
            if len(getattr(self, name)) != N_STAGES or min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be {N_STAGES} positive numbers, not {list(getattr(self, name))}")
        if max(self.depths) > MOST_BLOCKS:
            raise ValueError(f"depths must be at most {MOST_BLOCKS}, not {list(self.depths)}")
        if self.dim < 1 or self.dim % 4**N_DOWNSIZINGS:
            raise ValueError(f"dim must be a multiple of {4**N_DOWNSIZINGS}, not {self.dim}")
        for heads in self.num_heads:
            if self.dim % heads:
                raise ValueError(f"dim {self.dim} is not a multiple of num_heads {heads}")
            if not 1 <= self.channel_heads(heads) < heads:
                raise ValueError(
                    f"chsa_head_ratio {self.chsa_head_ratio} of num_heads {heads} leaves no spatial or no channel head"
                )
        if self.window_size < 2 or self.window_size % 2:
            raise ValueError(f"window_size must be even and positive, not {self.window_size}")
        if self.scale < 1:
            raise ValueError(f"scale must be a positive integer, not {self.scale}")
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0:
            raise ValueError(f"mean {list(self.mean)} and std {list(self.std)} must name each channel, std above 0")

    def channel_heads(self, heads: int) -> int:
        """Number of the `heads` that attend between channels."""
        return int(heads * self.chsa_head_ratio)


VARIANT_SETTINGS: dict[str, dict[str, Any]] = {
    "RAMiT": {},
    "RAMiT-1": {"mobivari_version": 1},
    "RAMiT-slimSR": {"dim": 48, "depths": (8, 2, 2, 8), "neck_expansion": 2.0, "neck_groups": 1},
    "RAMiT-slimLLE": {"dim": 48, "depths": (4, 2, 2, 4), "neck_groups": 3},
}
"""Differences of each variant from RAMiT."""


def ramit_settings(variant: str = "RAMiT", task: str = "SR", scale: int | None = None, **changes: Any) -> RAMiTSettings:
    """Published settings of a variant for a task.

    Args:
        variant: One of `VARIANTS`; any variant may be combined with any task.
        task: One of `TASKS`.
        scale: 2, 3 or 4 for SR; other SR scales use the statistics of x4. The other tasks have scale 1.
        changes: Further fields of `RAMiTSettings` that replace the published ones; None keeps the published one.

    Raises:
        TypeError: A name in `changes` is not a field of `RAMiTSettings`.
        ValueError: Unknown variant or task, or values that do not fit together.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant {variant!r} is unknown; choose one of {', '.join(VARIANTS)}")
    if task not in TASKS:
        raise ValueError(f"task {task!r} is unknown; choose one of {', '.join(TASKS)}")
    mean: tuple[float, ...]
    std: tuple[float, ...]
    if task == "SR":
        if scale is None or scale < 2:
            raise ValueError(f"task SR needs scale: 2, 3 or 4, not {scale}")
        mean, std = SR_MEAN, SR_STD.get(scale, SR_STD[4])
    else:
        if scale not in (None, 1):
            raise ValueError(f"task {task} keeps the size: scale must be 1, not {scale}")
        mean, std = STATISTICS[task]
    published = RAMiTSettings(
        scale=scale or 1,
        mean=mean,
        std=std,
        helper=task in ("SR", "LLE"),
        **VARIANT_SETTINGS[variant],
    )
    return replace(published, **{name: value for name, value in changes.items() if value is not None})
