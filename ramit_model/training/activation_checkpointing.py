"""Activation checkpointing: less memory for a second forward pass."""

from torch import nn

from ramit_model.system.errors import InputError


def checkpoint_activations(net: nn.Module, network_type: str) -> None:
    """Let the stages of a network compute their activations again in the backward pass instead of keeping them.

    Raises:
        InputError: The network has no stages that support it.
    """
    stages = [module for module in net.modules() if hasattr(module, "checkpointing")]
    if not stages:
        raise InputError(f"train.activation_checkpointing: {network_type} does not know it; set it to false")
    for stage in stages:
        stage.checkpointing = True  # type: ignore[assignment]
