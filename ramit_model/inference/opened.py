"""Open a network from its weights alone: the file tells which network, task and scale they are of."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ramit_arch.settings import TASKS
from ramit_model.inference.facts import Facts
from ramit_model.inference.identify import (
    build,
    image_channels,
    image_scale,
    misfit,
    network_type,
    options_of,
    possible_tasks,
)
from ramit_model.inference.published_files import locate
from ramit_model.inference.published_weights import PublishedWeights, recognize, recognize_tensors
from ramit_model.inference.weights import WeightFile, read_weight_file
from ramit_model.system.errors import InputError

HOW_TO_SAY = "say which with --task (in Python, task=)"


@dataclass(frozen=True)
class OpenedNetwork:
    """A network that is ready to restore images, and what is known of it."""

    network: nn.Module
    """In eval mode, float32, on the CPU, with the weights of the file."""
    options: dict[str, Any]
    """`network_g` as option files have it."""
    name: str
    """Name of the published file, such as RAMiT-1_X2.pth, or of the file itself."""
    task: str
    """SR, CDN, GDN, LLE or DR."""
    scale: int
    """Output size over input size."""
    channels: int
    """Channels of the images that the network takes, 3 (RGB) or 1 (gray)."""


@dataclass(frozen=True)
class Identified:
    """Network of a file of weights.

    Attributes:
        options: `network_g` as option files have it.
        task: SR, CDN, GDN, LLE or DR.
        scale: Output size over input size.
        published: The published file with these weights; None if it is none, or another one.
        source: How the task is known: `published`, `file`, `shapes` or `user`.
    """

    options: dict[str, Any]
    task: str
    scale: int
    published: PublishedWeights | None
    source: str


class UnknownTaskError(InputError):
    """Error for weights that may be of several tasks.

    Args:
        what: Which tasks the weights may be of.
        how: How to say which.
    """

    def __init__(self, what: str, how: str) -> None:
        super().__init__(f"{what}; {how}")
        self.what = what


def open_network(source: str | Path, *, task: str | None = None) -> OpenedNetwork:
    """Open a network from a file of weights, or a published one by its name.

    Args:
        source: File of any container that `read_weight_file` reads, or a name such as RAMiT-1_X2, which is looked up in
            ./weights and the cache, and else downloaded.
        task: Task of weights that do not tell it themselves: color denoising (CDN), deraining (DR) and low-light
            enhancement (LLE) have the same shapes.

    Raises:
        InputError: The file is missing, broken or not of a known network, its task is unknown, or `task` contradicts
            it.
    """
    path = locate(source)
    file = read_weight_file(path)
    found = identify(file, task)
    network = build(found.options)
    network.load_state_dict(file.weights)
    return OpenedNetwork(
        network=network.eval(),
        options=found.options,
        name=found.published.name if found.published else path.name,
        task=found.task,
        scale=found.scale,
        channels=image_channels(file.weights),
    )


def identify(file: WeightFile, task: str | None = None) -> Identified:
    """Find out which network the weights of a file are of: from what it states, its checksum, its shapes or `task`.

    Raises:
        InputError: The weights are of no known network, their task is unknown, or `task` contradicts it.
    """
    if task is not None and task not in TASKS:
        raise InputError(f"--task {task}: is unknown; choose one of {', '.join(TASKS)}")
    published = recognize(file.path) or recognize_tensors(file.weights)
    try:
        found = identify_weights(file.weights, file.facts, published, task)
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from None
    if task is not None and task != found.task:
        how = {
            "published": f"is the published {published.name}" if published else "",
            "file": f"states itself that its task is {found.task}",
            "shapes": f"has the shapes of task {found.task}",
        }[found.source]
        raise InputError(f"{file.path}: {how}, not {task}; leave --task out")
    return found


def identify_weights(
    weights: dict[str, Tensor], facts: Facts, published: PublishedWeights | None, task: str | None = None
) -> Identified:
    """Find out which network weights are of; `identify` without a file.

    Raises:
        InputError: They are of no known network, or their task is unknown. The line does not name a file.
    """
    stated = facts.get("network_g")
    kind, scale = network_type(weights), image_scale(weights)
    if published:
        return Identified(options_of(weights, published.task), published.task, scale, published, "published")
    if isinstance(stated, dict) and stated.get("type") == kind == "RAMiT":
        if differing := misfit(stated, weights):
            raise InputError(f"states itself to be {_short(stated)}, but holds other weights: {differing}")
        return Identified(stated, stated.get("task", "SR"), scale, None, "file")
    possible = possible_tasks(weights)
    if len(possible) == 1:
        return Identified(options_of(weights, possible[0]), possible[0], scale, None, "shapes")
    if task is None:
        raise UnknownTaskError(f"{kind} of task {', '.join(possible)} has the same shapes", HOW_TO_SAY)
    if task not in possible:
        raise InputError(f"has the shapes of task {' or '.join(possible)}, not {task}; {HOW_TO_SAY}")
    return Identified(options_of(weights, task), task, scale, None, "user")


def whose(path: str | os.PathLike[str]) -> str:
    """Say which network the weights of a file are of, to be appended to a message; nothing if that is not known."""
    try:
        file = read_weight_file(path)
        published = recognize(file.path) or recognize_tensors(file.weights)
        found = identify_weights(file.weights, file.facts, published)
    except UnknownTaskError as error:
        return f"; the file holds {error.what.removesuffix(' has the same shapes').replace(', ', ' or ')}"
    except InputError:
        return ""
    return f"; the file holds {_short(found.options)}{f', published as {published.name}' if published else ''}"


def _short(options: dict[str, Any]) -> str:
    words = (options.get("variant") or options["type"], options.get("task", ""), f"x{options.get('scale') or 1}")
    return " ".join(word for word in map(str, words) if word)
