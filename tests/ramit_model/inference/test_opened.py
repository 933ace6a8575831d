"""Networks opened from their weights alone: published files, files of trainings, files that do not tell their task."""

from pathlib import Path

import pytest
import torch
from helpers import fill, network
from torch import nn

from ramit_arch import NGswin, RAMiT
from ramit_model.inference.identify import options_of
from ramit_model.inference.opened import open_network
from ramit_model.inference.published_weights import by_name, published_weights
from ramit_model.system.errors import InputError

AT_HAND = ("NGswin_x2.pth", "RAMiT-1_CDN.pth", "RAMiT-1_X2.pth", "RAMiT-slimLLE_LLE.pth", "RAMiT-slimSR_X4.pth")


def options(name: str) -> dict[str, object]:
    entry = by_name(name)
    if entry.network == "NGswin":
        return {"type": "NGswin", "scale": entry.scale}
    scale = {"scale": entry.scale} if entry.task == "SR" else {}
    return {"type": "RAMiT", "variant": entry.network, "task": entry.task, **scale}


@pytest.mark.parametrize("name", AT_HAND)
@pytest.mark.parametrize("form", ["as published", "saved again", "half"])
def test_published_files_are_known_by_content(assets: Path, tmp_path: Path, name: str, form: str) -> None:
    path = tmp_path / "renamed.pth"
    weights = torch.load(assets / "weights" / name, map_location="cpu", weights_only=True)
    if form == "as published":
        path.symlink_to(assets / "weights" / name)
    elif form == "saved again":
        torch.save({"params": {f"module.{key}": value for key, value in weights.items()}}, path)
    else:
        torch.save({key: value.half() if value.is_floating_point() else value for key, value in weights.items()}, path)
    opened = open_network(path)
    entry = by_name(name)
    assert (opened.name, opened.task, opened.scale, opened.channels) == (name, entry.task, entry.scale, 3)
    assert opened.options == options(name)
    assert not opened.network.training
    for key, value in opened.network.state_dict().items():
        expected = weights[key].half() if form == "half" and value.is_floating_point() else weights[key]
        assert torch.equal(value, expected.to(value.dtype)), key


@pytest.mark.parametrize("entry", published_weights(), ids=lambda entry: entry.name)
def test_shapes_tell_all_but_the_task(tmp_path: Path, entry) -> None:
    setting = f"x{entry.scale}" if entry.task == "SR" else entry.task
    weights = network(f"{entry.network}_{setting}").state_dict()
    assert options_of(weights, entry.task) == options(entry.name)


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 16, "depths": [1, 1, 1, 2], "neck_groups": 1},
        {"dim": 32, "depths": [2, 1, 3, 1], "num_heads": [4, 2, 8, 4], "chsa_head_ratio": 0.5, "neck_groups": 2},
        {"mobivari_version": 1, "dim": 16, "qkv_bias": False, "window_size": 4, "hidden_ratio": 1.5},
        {"dim": 32, "mobivari_expansion": 2.5, "mobivari_groups": 8, "neck_expansion": 0.75, "neck_groups": 2},
    ],
)
def test_other_settings_are_found_from_shapes(changes: dict[str, object]) -> None:
    weights = RAMiT(task="SR", scale=3, **changes).state_dict()
    found = options_of(weights, "SR")
    assert found.pop("type") == "RAMiT"
    again = RAMiT(**found).state_dict()
    assert {name: value.shape for name, value in again.items()} == {n: v.shape for n, v in weights.items()}


def test_other_settings_of_ngswin_are_found_from_shapes() -> None:
    weights = NGswin(scale=4, dim=32, depths=[1, 2, 1], num_heads=[2, 4, 2], decoder_heads=3, ngram=3).state_dict()
    found = options_of(weights, "SR")
    assert found == {
        **{"type": "NGswin", "scale": 4, "dim": 32, "depths": [1, 2, 1], "num_heads": [2, 4, 2]},
        **{"decoder_heads": 3, "ngram": 3},
    }


def small(path: Path, task: str, **changes: object) -> Path:
    net = fill(RAMiT(task=task, dim=16, depths=[1, 1, 1, 2], neck_groups=1, **changes))
    torch.save(dict(net.state_dict()), path)
    return path


def test_a_task_that_shapes_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    path = small(tmp_path / "w.pth", "DR")
    with pytest.raises(InputError, match=r"w\.pth: RAMiT of task CDN, DR, LLE has the same shapes; .*--task"):
        open_network(path)
    opened = open_network(path, task="DR")
    assert (opened.task, opened.scale, opened.options["task"]) == ("DR", 1, "DR")
    with pytest.raises(InputError, match=r"shapes of task CDN or DR or LLE, not SR"):
        open_network(path, task="SR")


@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel, lambda net: torch.compile(net, backend="eager")])
@pytest.mark.parametrize("changes", [{}, {"helper": True}, {"mean": [0.5, 0.5, 0.5]}])
def test_a_state_dict_states_the_arguments(tmp_path: Path, wrap, changes: dict[str, object]) -> None:
    """Also if BasicSR's own model or a script has written it."""
    net = RAMiT(task="DR", dim=16, depths=[1, 1, 1, 2], neck_groups=1, **changes)
    torch.save({"params": wrap(net).state_dict()}, tmp_path / "w.pth")
    opened = open_network(tmp_path / "w.pth")
    assert opened.network.settings == net.settings
    assert opened.task == "DR"
    with pytest.raises(InputError, match=r"states itself that its task is DR, not LLE; leave --task out"):
        open_network(tmp_path / "w.pth", task="LLE")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "stated",
    [{"dim": 32}, {"depths": [10**9, 1, 1, 2]}, {"dim": 10**6}, {"hidden_ratio": 1e9}, {"odd": 1}, {"task": 3}],
)
def test_a_file_that_states_another_network_is_refused_soon(tmp_path: Path, stated: dict[str, object]) -> None:
    weights = dict(RAMiT(task="DR", dim=16, depths=[1, 1, 1, 2], neck_groups=1).state_dict())
    network_g = {"type": "RAMiT", "task": "DR", "dim": 16, "depths": [1, 1, 1, 2], "neck_groups": 1, **stated}
    torch.save({"params": weights, "ramit": {"network_g": network_g}}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: states itself to be RAMiT .*, but holds other weights: "):
        open_network(tmp_path / "w.pth")


def test_a_task_that_contradicts_is_an_error(assets: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is the published RAMiT-1_CDN\.pth, not DR; leave --task out"):
        open_network(assets / "weights/RAMiT-1_CDN.pth", task="DR")
    with pytest.raises(InputError, match=r"has the shapes of task GDN, not CDN"):
        open_network(small(tmp_path / "w.pth", "GDN"), task="CDN")
    with pytest.raises(InputError, match=r"--task denoise: is unknown; choose one of SR, CDN, GDN, LLE, DR"):
        open_network(tmp_path / "w.pth", task="denoise")


def test_weights_of_other_networks_are_an_error(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3, 3, 3)}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w\.pth: holds weights of another network; RAMiT and NGswin are known"):
        open_network(tmp_path / "w.pth")
    weights = torch.load(small(tmp_path / "w.pth", "SR", scale=2), weights_only=True)
    del weights["stage3.blocks.block0.ffn.out.bias"]
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"incomplete weights of RAMiT.*1 missing \(stage3\.blocks\.block0\.ffn\.out"):
        open_network(tmp_path / "w.pth")
