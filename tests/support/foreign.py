"""Files of networks of others: small ones that spandrel knows, and ONNX made node by node."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn


def small_networks() -> dict[str, Callable[[], nn.Module]]:
    """Name of an architecture in spandrel -> function that makes a small network for x2, or x1."""
    from spandrel.architectures.ATD import ATD
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.DAT import DAT
    from spandrel.architectures.HAT import HAT
    from spandrel.architectures.NAFNet import NAFNet
    from spandrel.architectures.OmniSR import OmniSR
    from spandrel.architectures.PLKSR import RealPLKSR
    from spandrel.architectures.SAFMN import SAFMN
    from spandrel.architectures.SeemoRe import SeemoRe
    from spandrel.architectures.SPAN import SPAN
    from spandrel.architectures.SwinIR import SwinIR

    windows = {"upscale": 2, "img_size": 16, "embed_dim": 8, "num_heads": [2, 2]}
    light = {**windows, "upsampler": "pixelshuffledirect"}
    experts = {"scale": 2, "num_experts": 3, "num_layers": 1, "embedding_dim": 16, "recursive": 2}
    return {
        "SwinIR": lambda: SwinIR(**light, depths=[2, 2], window_size=8, mlp_ratio=2, resi_connection="1conv"),
        "HAT": lambda: HAT(**windows, depths=(2, 2), window_size=8, upsampler="pixelshuffle", squeeze_factor=2),
        "DAT": lambda: DAT(
            **{**light, "img_size": 64, "embed_dim": 16}, depth=[2, 2], split_size=[8, 8], expansion_factor=2
        ),
        "ATD": lambda: ATD(**light, depths=(2, 2), window_size=8, num_tokens=8, category_size=64),
        "OmniSR": lambda: OmniSR(up_scale=2, num_feat=16, res_num=1, block_num=1, window_size=8, pe=True, bias=True),
        "PLKSR": lambda: RealPLKSR(dim=8, n_blocks=1, upscaling_factor=2, norm_groups=4, dropout=0.0),
        "SPAN": lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2, norm=False),
        "SeemoRe": lambda: SeemoRe(**experts, in_chans=3, img_range=1.0, use_shuffle=True, lr_space="exp", topk=1),
        "SAFMN": lambda: SAFMN(dim=16, n_blocks=1, upscaling_factor=2),
        "RealESRGAN Compact": lambda: Compact(upscale=2, num_feat=4, num_conv=1),
        "NAFNet": lambda: NAFNet(width=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]),
    }


def save_small(path: Path, architecture: str, seed: int = 0) -> Path:
    """Save random weights of one of `small_networks` as BasicSR does."""
    torch.manual_seed(seed)
    torch.save({"params": small_networks()[architecture]().state_dict()}, path)
    return path


def write_onnx(
    path: Path,
    *,
    shrink: int = 1,
    scale: int = 2,
    channels: int = 3,
    dims: tuple[int | str, ...] = ("b", "h", "w"),
    half: bool = False,
    external: bool = False,
) -> Path:
    """Write a network of one 1x1 convolution between rearrangements, for sizes that are multiples of `shrink`.

    It repeats each pixel `scale` times in both directions, but for a factor of 0.9.

    Args:
        path: File to write.
        shrink: Factor by which the image is made smaller before the convolution.
        scale: Output size over input size.
        channels: Channels of the images.
        dims: Batch, height and width of the input, numbers or names.
        half: Whether it computes in float16.
        external: Whether the weights go into a second file.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    inside, outside = channels * shrink**2, channels * (shrink * scale) ** 2
    weight = np.zeros((outside, inside, 1, 1), np.float16 if half else np.float32)
    # ONNX puts the place in a block before the channel.
    for row in range(shrink * scale):
        for column in range(shrink * scale):
            for channel in range(channels):
                to = (row * shrink * scale + column) * channels + channel
                weight[to, (row // scale * shrink + column // scale) * channels + channel] = 0.9
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    batch, height, width = dims
    nodes = [
        helper.make_node("SpaceToDepth", ["image"], ["small"], blocksize=shrink),
        helper.make_node("Conv", ["small", "weight"], ["features"]),
        helper.make_node("DepthToSpace", ["features"], ["result"], blocksize=shrink * scale),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", kind, [batch, channels, height, width])],
        [helper.make_tensor_value_info("result", kind, [batch, channels, "h2", "w2"])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.arange(3), "unused")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save_model(model, path, save_as_external_data=external, size_threshold=0)
    return path
