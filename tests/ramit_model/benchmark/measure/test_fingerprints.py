"""What determines a measurement: everything that would change it, and nothing else."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmark_options import NETWORKS, save_weights

import ramit_arch
import ramit_model
from ramit_model.benchmark.measure import fingerprints
from ramit_model.benchmark.measure.fingerprints import environment, network_fingerprint, weights_of
from ramit_model.benchmark.measure.measurements import key_of
from ramit_model.benchmark.networks import Network


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """As in a new process: files are taken to stay as they are for as long as a command runs."""
    ramit_model.register()
    fingerprints._sha256.cache_clear()
    fingerprints._code.cache_clear()
    yield
    fingerprints._sha256.cache_clear()
    fingerprints._code.cache_clear()


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network("tiny", NETWORKS["tiny"], str(save_weights(tmp_path / "tiny.pth")), "params", None)


def key(network: Network, *, trained: bool = True) -> str:
    return key_of(network=network_fingerprint(network, trained=trained))


def test_the_machine_and_the_versions() -> None:
    here = environment()
    assert here.keys() == {"machine", "versions"}
    assert here["versions"]["torch"] == torch.__version__ or here["versions"]["torch"] in torch.__version__
    assert here["machine"]["threads"] == torch.get_num_threads()
    assert key_of(**environment()) == key_of(**here)


def test_names_and_places_do_not_matter(network: Network, tmp_path: Path) -> None:
    moved = Path(network.weights or "").rename(tmp_path / "moved.pth")
    other = replace(network, name="other", weights=str(moved), published="RAMiT_x2")
    fingerprint = key(other)
    moved.rename(tmp_path / "tiny.pth")
    assert key(network) == fingerprint
    assert key(replace(network, network_g=dict(reversed(network.network_g.items())))) == fingerprint


def test_what_is_computed_matters(network: Network, tmp_path: Path) -> None:
    others = [
        network,
        replace(network, network_g=NETWORKS["wide"]),
        replace(network, weights=str(save_weights(tmp_path / "other.pth", seed=1))),
        replace(network, weights=None),
        replace(network, param_key="params_ema"),
    ]
    assert len({key(other) for other in others}) == len(others)
    # Time and memory do not depend on weights.
    assert len({key(other, trained=False) for other in others}) == 2


def test_weights(network: Network, tmp_path: Path) -> None:
    found = weights_of(network)
    assert found is not None
    assert found.path == str(tmp_path / "tiny.pth")
    (tmp_path / "empty.pth").touch()
    empty = weights_of(replace(network, weights=str(tmp_path / "empty.pth")))
    assert empty is not None
    assert empty.sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert weights_of(replace(network, weights=None)) is None


def test_the_home_folder(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key(replace(network, weights="~/tiny.pth")) == key(network)


@pytest.mark.parametrize("changed", ["attention.py", "kernels/reference.py", "kernels/cpu/window_attention.cpp"])
def test_code_matters(network: Network, changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that was changed is another one; its code is what lies beside and below it."""
    plain = replace(network, network_g=NETWORKS["plain"], weights=None)
    folder = tmp_path / "ramit_arch"
    shutil.copytree(Path(ramit_arch.__file__).parent, folder)
    (folder / "kernels/cpu/window_attention.cpp").touch()  # it is not installed
    fingerprints._code.cache_clear()
    monkeypatch.setattr(
        fingerprints.inspect,
        "getfile",
        lambda found, get=fingerprints.inspect.getfile: (
            str(folder / "ramit_arch.py") if getattr(found, "__name__", "") == "RAMiT" else get(found)
        ),
    )
    before = key(network), key(plain)
    with (folder / changed).open("a") as file:
        file.write("# changed\n")
    fingerprints._code.cache_clear()
    fingerprints._sha256.cache_clear()
    after = key(network), key(plain)
    assert after[0] != before[0]
    assert after[1] == before[1]
