"""Facts that determine a measurement: network, weights, code, machine, versions."""

import hashlib
import inspect
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ramit_arch.kernels.cpu.library import library
from ramit_model.benchmark.measure.machine import machine, versions
from ramit_model.benchmark.networks import Network
from ramit_model.benchmark.results import PYTORCH, Case, Weights
from ramit_model.config.validation import find
from ramit_model.inference.foreign.network import versions_of

CHUNK = 1 << 20
CODE = {".py", ".cpp", ".h", ".so"}


def environment() -> dict[str, Any]:
    """Machine and versions."""
    return {"machine": machine(), "versions": versions()}


def case_facts(case: Case) -> dict[str, Any]:
    """Facts about a case for `key_of`; of a runtime other than PyTorch with the versions that matter.

    Cases in PyTorch are described as before there were others, so that older measurements are found.
    """
    facts = asdict(case)
    if case.runtime == PYTORCH:
        del facts["runtime"]
    else:
        facts["versions"] = runtime_versions([case])
    return facts


def runtime_versions(cases: Iterable[Case]) -> dict[str, str]:
    """Versions of the packages that run the cases of other runtimes than PyTorch."""
    runtimes = {case.runtime: None for case in cases if case.runtime != PYTORCH}
    packages = ["onnx", "onnxscript", *runtimes] if runtimes else []
    return {package: version(package) for package in packages}


def foreign_versions(networks: Iterable[Network]) -> dict[str, str]:
    """Versions of the packages that load and run the networks of others."""
    found: dict[str, str] = {}
    for network in networks:
        found |= versions_of(network.network_g["type"]) if network.is_foreign else {}
    return found


def weights_of(network: Network) -> Weights | None:
    """File of weights with its checksum; None without weights."""
    return Weights(network.weights, _sha256(Path(network.weights).expanduser())) if network.weights else None


def network_fingerprint(network: Network, *, trained: bool) -> dict[str, Any]:
    """Facts about a network for `key_of`: options, code and, if `trained`, weights. Its name does not matter.

    The weights of a network that a file describes always matter, for they say which network it is.
    """
    if network.is_foreign:
        weights = weights_of(network)
        return {
            "network_g": {**network.network_g, "weights": weights and weights.sha256},
            "code": _code(network.network_g["type"]),
            "versions": versions_of(network.network_g["type"]),
        }
    weights = weights_of(network) if trained else None
    return {
        "network_g": network.network_g,
        "code": _code(network.network_g["type"]),
        "weights": [weights.sha256, network.param_key] if weights else None,
    }


@cache
def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@cache
def _code(network_type: str) -> str:
    """Checksum of the files beside and below the one that defines a network, and whether compiled kernels serve it."""
    from ramit_model.basicsr_bridge import ARCH_REGISTRY

    folder = Path(inspect.getfile(find(ARCH_REGISTRY, network_type, "network_g.type"))).parent
    files = sorted(path for path in folder.rglob("*") if path.suffix in CODE)
    return hashlib.sha256("".join([*map(_sha256, files), str(library() is not None)]).encode()).hexdigest()
