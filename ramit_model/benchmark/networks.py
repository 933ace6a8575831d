"""The networks of a benchmark's option file, ours, BasicSR's or those of others that a file describes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ramit_model.benchmark import published
from ramit_model.benchmark.schema import BenchmarkNetwork
from ramit_model.config.checks import check_network
from ramit_model.config.option_file import Options
from ramit_model.config.validation import check_schema, suggest
from ramit_model.inference.foreign import is_foreign
from ramit_model.system.errors import InputError


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Attributes:
        name: Name in the option file.
        network_g: Options of the network.
        weights: File; None to measure no quality.
        param_key: Key of the weights in a BasicSR file.
        published: Entry of the published figures, or None.
        number: Place in the option file, from 0, those that were left out counted: gives the color.
    """

    name: str
    network_g: Options
    weights: str | None
    param_key: str | None
    published: str | None
    number: int = 0

    @property
    def is_foreign(self) -> bool:
        """Whether `network_g` itself names the file of weights."""
        return is_foreign(self.network_g)


def read_network(name: str, block: Options, options: Options, file: str) -> Network:
    """Check the block of a network.

    Raises:
        InputError: Something is wrong with it.
    """
    where = f"{file}: networks.{name}"
    check_schema(BenchmarkNetwork, block, f"{where}.")
    network_g = block["network_g"]
    foreign = is_foreign(network_g)
    for key in ("weights", "param_key") if foreign else ():
        if block.get(key) is not None:
            raise InputError(f"{where}.{key}: type {network_g['type']} has it in network_g; write it there")
    check_network({**options, "network_g": network_g}, where)
    figures = block.get("published")
    if figures is not None and figures not in published.names():
        raise InputError(f"{where}.published: nothing is known as {figures!r}{suggest(figures, published.names())}")
    return Network(
        name=name,
        network_g=network_g,
        weights=network_g["weights"] if foreign else block.get("weights"),
        param_key=None if foreign else block.get("param_key", "params"),
        published=figures,
    )


def leave_out_missing(options: Options, only: Sequence[str], *, with_quality: bool) -> list[str]:
    """Leave out weights, networks and test sets whose files are not there, in place.

    Args:
        options: Content of the option file.
        only: Names of `--only`.
        with_quality: Whether quality is measured.

    Returns:
        A line for each that takes part.
    """
    lines = []
    networks = set(options["networks"]) & set(only) or set(options["networks"])
    for name, block in list(options["networks"].items()):
        network_g = block.get("network_g")
        if is_foreign(network_g):
            weights = network_g.get("weights")
            if isinstance(weights, str) and not Path(weights).expanduser().is_file():
                # Without it, nothing at all is known of the network.
                del options["networks"][name]
                if options.get("baseline") == name:
                    options["baseline"] = None
                if name in networks:
                    lines.append(f"networks.{name}.network_g.weights: {weights}: no such file")
            continue
        weights = block.get("weights")
        if isinstance(weights, str) and not Path(weights).expanduser().is_file():
            if name in networks and with_quality:
                lines.append(f"networks.{name}.weights: {weights}: no such file")
            block["weights"] = None
    return lines + _leave_out_sets(options, only, with_quality=with_quality)


def _leave_out_sets(options: Options, only: Sequence[str], *, with_quality: bool) -> list[str]:
    lines = []
    sets = [str(block.get("name")) for block in options["datasets"].values()]
    # With a noise level or without: sets are named either way.
    named = {name for name in sets if any(word == name or word.startswith(f"{name}_sigma") for word in only)}
    for phase, block in list(options["datasets"].items()):
        for key in ("dataroot_gt", "dataroot_lq"):
            root = block.get(key)
            if isinstance(root, str) and not Path(root).expanduser().is_dir():
                if with_quality and (not named or block.get("name") in named):
                    lines.append(f"datasets.{phase}.{key}: {root}: no such folder")
                del options["datasets"][phase]
                break
    return lines
