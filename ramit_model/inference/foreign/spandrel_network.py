"""Networks that spandrel finds out from their weights."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ramit_model.inference.foreign.network import ForeignNetwork, existing
from ramit_model.inference.opened import whose
from ramit_model.inference.weights import read_weights
from ramit_model.system.errors import InputError, one_line


class SpandrelNetwork(ForeignNetwork):
    """Network that spandrel has loaded.

    Args:
        descriptor: `spandrel.ImageModelDescriptor`.
        path: File of the weights.
        program: Package and version that know it.
    """

    def __init__(self, descriptor: Any, path: Path, program: str) -> None:
        tags = f" ({', '.join(descriptor.tags)})" if descriptor.tags else ""
        halves = {"float16": descriptor.supports_half, "bfloat16": descriptor.supports_bfloat16}
        super().__init__(
            path=path,
            description=f"{descriptor.architecture.name}{tags} by {program}",
            scale=descriptor.scale,
            in_channels=descriptor.input_channels,
            size_unit=descriptor.size_requirements.multiple_of,
            precisions={"float32", "tf32", *(name for name, supported in halves.items() if supported)},
            parameters_in_file=sum(parameter.numel() for parameter in descriptor.model.parameters()),
        )
        self.model: nn.Module = descriptor.model
        self.requirements = descriptor.size_requirements
        # Not the descriptor itself: it would round to 0..1, pad by reflection and allow no gradient.
        self.call: Callable[[nn.Module, Tensor], Tensor] = descriptor._call_fn

    def padding(self, width: int, height: int) -> tuple[int, int]:
        """Columns and rows to add to an image, also for a smallest size and for squares."""
        right, below = self.requirements.get_padding(width, height)
        return int(right), int(below)

    def restore(self, image: Tensor) -> Tensor:
        """Restore images of a size that the network takes."""
        return self.call(self.model, image)


def spandrel(weights: str, param_key: str | None = None) -> SpandrelNetwork:
    """Load a network of any architecture that spandrel knows; `network_g.type: spandrel`.

    Args:
        weights: File in any container and wrapping that `ramit_model.inference.weights` reads, as data only.
        param_key: Key of the weights in a BasicSR file; None: the moving average, if there is one.

    Raises:
        InputError: spandrel is not installed, the file cannot be read, or its network is not known, or is none that
            maps images to images.
    """
    if importlib.util.find_spec("spandrel") is None:
        raise InputError("type spandrel needs the package spandrel: pip install 'ramit-basicsr[spandrel]'")
    path = existing(weights)
    tensors = read_weights(path, param_key)
    package = importlib.import_module("spandrel")
    registry, program = _registry(package), f"spandrel {package.__version__}"
    tensors = package.canonicalize_state_dict(tensors)
    supports = registry.architectures("detection")
    known = next((support.architecture for support in supports if support.detect(tensors)), None)
    if known is None:
        raise InputError(f"{path}: {program} knows no network with such weights{whose(path)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are for the author of the network
            descriptor = known.load(tensors)
    except Exception as error:  # architectures of others raise nearly anything for weights that they do not expect
        raise InputError(f"{path}: {program} takes it for {known.name} and cannot load it: {one_line(error)}") from None
    if not isinstance(descriptor, package.ImageModelDescriptor):
        raise InputError(f"{path}: {known.name} fills in masked parts of images; only networks for whole images run")
    if descriptor.input_channels != descriptor.output_channels:
        channels = f"{descriptor.input_channels} channels to {descriptor.output_channels}"
        raise InputError(f"{path}: {known.name} maps {channels}; only networks that keep the channels run")
    return SpandrelNetwork(descriptor, path, program)


def _registry(package: Any) -> Any:
    """Architectures of spandrel and, where it is installed, of spandrel_extra_arches; nothing global is changed."""
    registry = package.MAIN_REGISTRY.copy()
    if importlib.util.find_spec("spandrel_extra_arches") is not None:
        extra = importlib.import_module("spandrel_extra_arches").EXTRA_REGISTRY
        registry.add(*extra.architectures(), ignore_duplicates=True)
    return registry
