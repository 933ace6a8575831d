"""RAMiT and NGswin for spandrel, through which chaiNNer, ComfyUI and other programs load networks.

After `ramit_model.spandrel.install()`, every `spandrel.ModelLoader` knows them.
"""

import copy
from typing import Any

from torch import nn

from ramit_model.inference.facts import pop_facts
from ramit_model.inference.identify import build, image_channels
from ramit_model.inference.opened import Identified, UnknownTaskError, identify_weights
from ramit_model.inference.padding import run_padded, size_unit
from ramit_model.inference.published_weights import recognize_tensors
from ramit_model.system.errors import InputError

try:
    from spandrel import (
        MAIN_REGISTRY,
        Architecture,
        ArchRegistry,
        ArchSupport,
        ImageModelDescriptor,
        ModelTiling,
        UnsupportedModelError,
    )
    from spandrel.util import KeyCondition
except ImportError as error:
    if error.name and error.name.partition(".")[0] == "spandrel":
        raise ImportError("spandrel is not installed: pip install 'ramit-basicsr[spandrel]'", name="spandrel") from None
    raise

RAMIT_KEYS = (
    "shallow.conv.weight",
    "stage1.blocks.block0.qkv_proj.qkv.weight",
    "stage1.blocks.block0.ch_attn.logit_scale",
    "attn_mix.mobivari.dw_conv.weight",
    "to_target.final_conv.weight",
)
NGSWIN_KEYS = (
    "shallow_extract.conv1.weight",
    "encoder_layer1.blocks.0.ngram_window_partition.ngram_context.unigram_embed.weight",
    "decoder_layer1.blocks.0.attn.logit_scale",
    "to_target.before_shuffle.weight",
)
"""Names of weights that no other architecture of spandrel has all of."""


class RestorationArch(Architecture[nn.Module]):
    """RAMiT or NGswin: detected by names of weights, its options by shapes, checksums and what the weights state.

    Args:
        name: RAMiT or NGswin.
        keys: Names of weights that tell it from other architectures.
        tiling: Whether tiles may be restored by themselves.
    """

    def __init__(self, name: str, keys: tuple[str, ...], tiling: ModelTiling) -> None:
        super().__init__(id=name, name=name, detect=KeyCondition.has_all(*keys))
        self._tiling = tiling

    def load(self, state_dict: dict[str, Any]) -> ImageModelDescriptor[nn.Module]:
        """Build the network that weights are of.

        Raises:
            UnsupportedModelError: The task of the weights cannot be known, or they are incomplete.
        """
        # A copy, for the marker is taken out of it; with its metadata, which RAMiT writes.
        weights = copy.copy(state_dict)
        try:
            found = identify_weights(weights, pop_facts(weights), recognize_tensors(weights))
        except UnknownTaskError as error:
            how = "write a file that states its task: basicsr convert FILE -o NAME.safetensors --task TASK"
            raise UnsupportedModelError(f"{error.what}; {how}") from None
        except InputError as error:
            raise UnsupportedModelError(f"{self.name}: the file {error}") from None
        network = build(found.options)
        unit = size_unit(network, found.options)
        channels = image_channels(weights)
        return ImageModelDescriptor(
            network,
            weights,
            architecture=self,
            purpose="SR" if found.task == "SR" else "Restoration",
            tags=_tags(found),
            supports_half=True,
            supports_bfloat16=True,
            scale=found.scale,
            input_channels=channels,
            output_channels=channels,
            # None: images of any size, for spandrel would pad otherwise than the published evaluation does.
            size_requirements=None,
            tiling=self._tiling,
            call_fn=lambda model, image: run_padded(model, image, unit, found.scale),
        )


def _tags(found: Identified) -> list[str]:
    variant = found.options.get("variant")
    return [tag for tag in (variant, found.task) if tag is not None]


def install(registry: ArchRegistry = MAIN_REGISTRY) -> list[str]:
    """Let spandrel load RAMiT and NGswin. May be called again.

    Args:
        registry: By default the one that every `ModelLoader` uses.

    Returns:
        Names of the architectures that were added.
    """
    added = registry.add(
        # Channel attention looks at the whole image: tiles by themselves are restored otherwise.
        ArchSupport.from_architecture(RestorationArch("RAMiT", RAMIT_KEYS, ModelTiling.DISCOURAGED)),
        ArchSupport.from_architecture(RestorationArch("NGswin", NGSWIN_KEYS, ModelTiling.SUPPORTED)),
        ignore_duplicates=True,
    )
    return [support.architecture.name for support in added]
