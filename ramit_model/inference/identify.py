"""Which network weights belong to, as far as their names and shapes determine it.

They determine everything but the task of a network that keeps the size of color images: its statistics and the
reciprocal helper have no parameters.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ramit_arch import NGswin, RAMiT
from ramit_arch.mobivari import expanded_dim
from ramit_arch.ngswin_arch import N_ENCODER_STAGES, NGswinSettings
from ramit_arch.settings import N_STAGES, VARIANT_SETTINGS, VARIANTS, RAMiTSettings, ramit_settings
from ramit_model.inference.weights import differences
from ramit_model.system.errors import InputError, one_line

Weights = Mapping[str, Tensor]
Options = dict[str, Any]
"""`network_g` as option files have it."""

NETWORKS: dict[str, type[nn.Module]] = {"RAMiT": RAMiT, "NGswin": NGswin}
ENDS = {
    "RAMiT": ("shallow.conv.weight", "to_target.conv.weight"),
    "NGswin": ("shallow_extract.conv1.weight", "to_target.before_shuffle.weight"),
}
"""Names of the first convolution and of the one before the pixel shuffle, by type of network."""

EXPANSIONS = (1.2, 2.0, *(i / 20 for i in range(1, 161)))
"""Expansions of MobiVari 2 that are tried: those of the published networks, then 0.05 to 8."""
COUNTS = ("dim", "depths", "num_heads", "window_size", "mobivari_version", "tail_mobivaris")
"""Settings that names and shapes tell exactly; the others they tell up to rounding."""
UNSEEN = ("mean", "std", "helper")
"""Settings that have no weights."""


def network_type(weights: Weights) -> str:
    """`RAMiT` or `NGswin`.

    Raises:
        InputError: The weights are of neither.
    """
    for name, ends in ENDS.items():
        if all(end in weights and weights[end].ndim == 4 for end in ends):
            return name
    raise InputError("holds weights of another network; RAMiT and NGswin are known")


def image_channels(weights: Weights) -> int:
    """Channels of the images that the network takes."""
    return weights[ENDS[network_type(weights)][0]].shape[1]


def image_scale(weights: Weights) -> int:
    """Output size over input size."""
    out_channels = weights[ENDS[network_type(weights)][1]].shape[0]
    return math.isqrt(out_channels // max(image_channels(weights), 1))


def possible_tasks(weights: Weights) -> tuple[str, ...]:
    """Tasks that a network with these channels and this scale may have; one where the shapes determine it.

    Raises:
        InputError: There is none.
    """
    channels, scale = image_channels(weights), image_scale(weights)
    if scale > 1 and channels == 3:
        return ("SR",)
    if scale == 1 and channels in (1, 3):
        return ("GDN",) if channels == 1 else ("CDN", "DR", "LLE")
    raise InputError(f"takes {channels} channels and enlarges {scale} times, as no published task does")


def options_of(weights: Weights, task: str) -> Options:
    """Options of the network whose weights have these names and shapes.

    Args:
        weights: Its weights, by its own names.
        task: Its task, which determines what shapes do not.

    Returns:
        `network_g`: type, variant, task and scale; more only where the network is not a published one.

    Raises:
        InputError: No network of this task has such weights.
    """
    kind = network_type(weights)
    differing = ""
    try:
        for options in _ngswin(weights) if kind == "NGswin" else _ramit(weights, task):
            differing = differences(build(options), weights)
            if not differing:
                return options
    except (KeyError, IndexError, ZeroDivisionError, ValueError) as error:
        differing = f"{one_line(error)} is missing or odd"
    raise InputError(f"holds incomplete weights of {kind}, or those of a changed one: {differing}")


def misfit(options: Options, weights: Weights) -> str:
    """Describe why a network with these options, which a file states, does not have such weights; empty if it does.

    The network is built only if its size is that of the weights, for options of a stranger may ask for any.
    """
    try:
        if options["type"] == "RAMiT":
            settings, shapes = _settings(options), _ramit_shapes(weights)
            for name in COUNTS:
                if getattr(settings, name) != shapes[name]:
                    return f"{name} is {shapes[name]}"
            if max(settings.hidden_ratio, settings.mobivari_expansion, settings.neck_expansion) > EXPANSIONS[-1]:
                return "no hidden layers are so wide"
        return differences(build(options), weights)
    except (InputError, TypeError, ValueError, KeyError, IndexError, ZeroDivisionError) as error:
        return one_line(error)


def told_by_shapes(options: Options, weights: Weights) -> bool:
    """Whether names and shapes of the weights determine the network with these options, which they fit."""
    if options["type"] != "RAMiT":
        return True
    try:
        (task,) = possible_tasks(weights)
    except (InputError, ValueError):
        return False
    # These settings have no weights; all others are found from them.
    return all(
        getattr(_settings(options), name) == getattr(_settings(options_of(weights, task)), name) for name in UNSEEN
    )


def _settings(options: Options) -> RAMiTSettings:
    return ramit_settings(**{key: value for key, value in options.items() if key != "type"})


def build(options: Options) -> nn.Module:
    """Build a network, without a trace in torch's random numbers.

    Raises:
        InputError: No network has these options.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return NETWORKS[options["type"]](**{key: value for key, value in options.items() if key != "type"})
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"no network has these options: {one_line(error)}") from None


def _ramit(weights: Weights, task: str) -> Iterator[Options]:
    """Options of RAMiT that these weights may have, the likeliest first."""
    shapes = _ramit_shapes(weights)
    options: Options = {"type": "RAMiT", "variant": "RAMiT", "task": task}
    if task == "SR":
        options["scale"] = image_scale(weights)
    for variant in VARIANTS:
        published = RAMiTSettings(**VARIANT_SETTINGS[variant])
        if all(getattr(published, name) == shapes[name] for name in ("dim", "depths", "mobivari_version")):
            yield {**options, "variant": variant}
    published = RAMiTSettings()
    if shapes["mobivari_version"] == 2:
        shapes |= _expansions(weights, shapes["dim"])
    changes = {name: value for name, value in shapes.items() if value != getattr(published, name)}
    yield {**options, **{name: list(value) if isinstance(value, tuple) else value for name, value in changes.items()}}


def _ramit_shapes(weights: Weights) -> dict[str, Any]:
    """Settings of RAMiT that names and shapes tell, without the expansions of MobiVari."""
    dim = weights["shallow.conv.weight"].shape[0]
    block = "stage{}.blocks.block{}.{}"
    depths = tuple(_count(weights, f"stage{stage}.blocks.block{{}}.norm1.norm.weight") for stage in _stages())
    heads = []
    ratio = 0.0
    for stage in _stages():
        spatial, channel = (
            weights[block.format(stage, 0, f"{kind}_attn.logit_scale")].shape[0] for kind in ("sp", "ch")
        )
        heads.append(spatial + channel)
        ratio = max(ratio, channel / (spatial + channel))
    first = "stage1.blocks.block0"
    return {
        "dim": dim,
        "depths": depths,
        "num_heads": tuple(heads),
        "chsa_head_ratio": ratio,
        "window_size": math.isqrt(weights[f"{first}.sp_attn.relative_position_index"].shape[0]),
        "hidden_ratio": weights[f"{first}.ffn.hidden.weight"].shape[0] / dim,
        "qkv_bias": f"{first}.qkv_proj.qkv.bias" in weights,
        "mobivari_version": 2 if f"{first}.mobivari.exp_conv.weight" in weights else 1,
        "tail_mobivaris": _count(weights, "to_target.mobivari.mobivari{}.dw_conv.weight"),
    }


def _stages() -> range:
    return range(1, N_STAGES + 1)


def _count(weights: Weights, name: str) -> int:
    """How many names there are with 0, 1, ... in their place."""
    count = 0
    while name.format(count) in weights:
        count += 1
    return count


def _expansions(weights: Weights, dim: int) -> dict[str, Any]:
    """Expansion and groups of both kinds of MobiVari 2."""
    block = _expansion(weights, {"stage1.blocks.block0.mobivari": dim, "down1.reduction": 4 * dim})
    neck = dim + dim // 4 + dim // 16
    neck_block = _expansion(weights, {"bottleneck.mobivari": neck, "attn_mix.mobivari": neck + dim})
    return {
        "mobivari_expansion": block[0],
        "mobivari_groups": block[1],
        "neck_expansion": neck_block[0],
        "neck_groups": neck_block[1],
    }


def _expansion(weights: Weights, dims: Mapping[str, int]) -> tuple[float, int]:
    """Expansion and groups that give several layers, with so many input channels each, their hidden channels."""
    shapes = {dim: weights[f"{name}.exp_conv.weight"].shape for name, dim in dims.items()}
    dim, shape = next(iter(shapes.items()))
    groups = dim // shape[1]
    for expansion in EXPANSIONS:
        if all(expanded_dim(dim, expansion, groups) == shape[0] for dim, shape in shapes.items()):
            return expansion, groups
    raise ValueError("the expansion of MobiVari")


def _ngswin(weights: Weights) -> Iterator[Options]:
    """Options of NGswin that these weights may have."""
    options: Options = {"type": "NGswin", "scale": image_scale(weights)}
    yield options
    dim = weights["shallow_extract.conv1.weight"].shape[0]
    stages = [f"encoder_layer{stage}" for stage in range(1, N_ENCODER_STAGES + 1)]
    first = f"{stages[0]}.blocks.0"
    table = weights[f"{first}.attn.relative_position_bias_table"].shape[0]
    ngram_table = weights[f"{first}.ngram_window_partition.ngram_context.ngram_attn.relative_position_bias_table"]
    shapes: dict[str, Any] = {
        "dim": dim,
        "depths": [_count(weights, f"{stage}.blocks.{{}}.norm1.weight") for stage in stages],
        "num_heads": [weights[f"{stage}.blocks.0.attn.logit_scale"].shape[0] for stage in stages],
        "decoder_depth": _count(weights, "decoder_layer1.blocks.{}.norm1.weight"),
        "decoder_heads": weights["decoder_layer1.blocks.0.attn.logit_scale"].shape[0],
        "window_size": (math.isqrt(table) + 1) // 2,
        "ngram": (math.isqrt(ngram_table.shape[0]) + 1) // 2,
        "mlp_ratio": weights[f"{first}.ffn.fc1.weight"].shape[0] / dim,
    }
    published = NGswinSettings(scale=2)
    yield options | {
        name: value
        for name, value in shapes.items()
        if value != (list(default) if isinstance(default := getattr(published, name), tuple) else default)
    }
