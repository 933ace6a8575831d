"""Published figures, from `published.yml`, and whether what was measured may be compared with them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ramit_model.benchmark.results import Published, PublishedSet
from ramit_model.config.option_file import read_yaml

FILE = Path(__file__).with_name("published.yml")


@cache
def _content() -> dict[str, Any]:
    return read_yaml(FILE)


@cache
def load() -> Mapping[str, Published]:
    """All published figures, read once: `NETWORK_TASK`, for example `NGswin_x2`, -> its figures. Not to be changed."""
    return MappingProxyType({name: _published(entry) for name, entry in _content()["networks"].items()})


def _published(entry: dict[str, Any]) -> Published:
    sets = {name: PublishedSet(psnr, ssim) for name, (psnr, ssim) in entry["sets"].items()}
    return Published(
        source=entry["source"],
        parameters=entry["parameters"],
        mult_adds=entry["mult_adds"],
        sets=sets,
        counts_note=entry.get("counts_note"),
        training=entry.get("training"),
        doubt=entry.get("doubt"),
    )


def at_scale(scale: int) -> dict[str, Published]:
    """Published figures at one scale of super-resolution: name of the network alone -> its figures."""
    end = f"_x{scale}"
    return {name.removesuffix(end): entry for name, entry in load().items() if name.endswith(end)}


def names() -> list[str]:
    """Names of all networks with published figures."""
    return list(load())


def comparable(dataset_name: str, image_count: int, metrics: Mapping[str, Mapping[str, Any]], scale: int) -> bool:
    """Whether a test set was measured as the published figures were: on all its images, by the same protocol.

    Args:
        dataset_name: With the noise level for denoising, which nothing is published for here: `Urban100_sigma25`.
        image_count: How many images were measured.
        metrics: Name -> block in the option file. `psnr` and `ssim` must follow the protocol, and one of them must be
            there; others do not matter.
        scale: Output size over input size.
    """
    content = _content()
    types = content["protocol"]["metrics"]
    blocks = {name: metrics[name] for name in types if name in metrics}
    return (
        # The sets are for super-resolution; other tasks use some of the same pictures.
        scale > 1
        and content["sets"].get(dataset_name) == image_count
        and bool(blocks)
        and all(
            block.get("type") == types[name]
            and block.get("crop_border") == scale
            and block.get("test_y_channel") is content["protocol"]["test_y_channel"]
            for name, block in blocks.items()
        )
    )


def differences(average: Mapping[str, float], published: PublishedSet) -> dict[str, float]:
    """Measured less published, of `psnr` (dB) and `ssim`, whichever was measured.

    Args:
        average: Metric -> mean over the set, for which `comparable` must hold.
        published: Figures of the network on this set.
    """
    figures = {"psnr": published.psnr, "ssim": published.ssim}
    return {name: average[name] - figure for name, figure in figures.items() if name in average}
