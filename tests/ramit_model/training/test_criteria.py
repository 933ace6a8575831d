"""Lists of losses: names, values, gradients, and what BasicSR's single options mean."""

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.archs import vgg_arch
from torch import Tensor, nn
from torchvision.models import vgg

import ramit_model.basicsr_bridge as bridge
from ramit_model.system.errors import InputError
from ramit_model.training.criteria import Criteria, loss_values, losses_of, total

pytestmark = pytest.mark.fast

L1, FFT = {"type": "L1Loss"}, {"type": "FFTLoss", "loss_weight": 0.05}
STYLE = {"type": "PerceptualLoss", "layer_weights": {"conv1_2": 1.0}, "style_weight": 2.0}


def images(channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    output, gt = (torch.rand(2, channels, 48, 48, generator=generator, dtype=torch.float64) for _ in range(2))
    return output, gt


@pytest.fixture
def random_vgg(monkeypatch: pytest.MonkeyPatch) -> nn.Sequential:
    """Layers of a small VGG with random weights, in place of a download."""
    torch.manual_seed(0)
    layers = vgg.make_layers([64, 64, "M", 128])
    monkeypatch.setattr(vgg_arch.vgg, "vgg19", lambda pretrained: SimpleNamespace(features=layers))
    return layers


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ([L1, FFT], ["l_l1", "l_fft"]),
        ([L1, L1, L1], ["l_l1", "l_l1_2", "l_l1_3"]),
        ([L1, {**L1, "name": "l1"}], ["l_l1_2", "l_l1"]),
        ([L1, {**L1, "name": "l1_2"}, L1], ["l_l1", "l_l1_2", "l_l1_3"]),
        ([{**L1, "name": "pixel"}, {**FFT, "name": None}], ["l_pixel", "l_fft"]),
        ([{"type": "Loss"}, {"type": "MSSSIMLoss"}], ["l_loss", "l_msssim"]),
    ],
    ids=str,
)
def test_names(entries: list[dict[str, Any]], names: list[str]) -> None:
    losses = losses_of({"losses": entries})
    assert [loss.names[0] for loss in losses] == names
    assert [loss.key for loss in losses] == [f"train.losses[{index}]" for index in range(len(entries))]
    assert [dict(loss.block) for loss in losses] == [
        {key: value for key, value in entry.items() if key != "name"} for entry in entries
    ]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("train", "line"),
    [
        (
            {"losses": [L1], "pixel_opt": L1},
            "train.losses: train.pixel_opt is there, too; move its loss into the list, or write ~ for it",
        ),
        (
            {"losses": [], "perceptual_opt": STYLE},
            "train.losses: train.perceptual_opt is there, too; move its loss into the list, or write ~ for it",
        ),
        (
            {"losses": [{**L1, "name": "x"}, FFT, {**L1, "name": "x"}]},
            "train.losses[2].name: train.losses[0] is called x, too; rename one",
        ),
        (
            {"losses": [L1, {**FFT, "name": "a/b"}]},
            "train.losses[1].name: 'a/b' is a name in logs; use letters, digits and _ - only",
        ),
        (
            {"losses": [{**L1, "name": "perceptual_style"}, STYLE]},
            "train.losses[0].name: perceptual_style may be a part of train.losses[1]; choose another",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes(train: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError) as caught:
        losses_of(train)
    assert caught.value.line == line


# Values ---------------------------------------------------------------------------------------------------------------


def test_values_by_name_and_their_sum() -> None:
    output, gt = images()
    entries = [L1, {**FFT, "name": "frequencies"}, {"type": "MSELoss", "loss_weight": 3.0}]
    values = Criteria({"losses": entries})(output, gt)
    difference = (output - gt).numpy()
    spectrum = np.fft.rfft2(difference, norm="ortho")
    expected = {
        "l_l1": np.abs(difference).mean(),
        "l_frequencies": 0.05 * (np.abs(spectrum.real).mean() + np.abs(spectrum.imag).mean()) / 2,
        "l_mse": 3 * (difference**2).mean(),
    }
    assert {name: value.item() for name, value in values.items()} == pytest.approx(expected)
    assert list(values) == list(expected)
    assert total(values).item() == pytest.approx(sum(expected.values()))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("block", "formula"),
    [
        ({"type": "L1Loss", "reduction": "sum"}, lambda x, y: np.abs(x - y).sum()),
        ({"type": "MSELoss"}, lambda x, y: ((x - y) ** 2).mean()),
        ({"type": "CharbonnierLoss", "eps": 1e-6}, lambda x, y: np.sqrt((x - y) ** 2 + 1e-6).mean()),
        (
            {"type": "WeightedTVLoss"},
            lambda x, _: np.abs(np.diff(x, axis=2)).mean() + np.abs(np.diff(x, axis=3)).mean(),
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_basicsrs_losses_are_their_formulas(block: dict[str, Any], formula: Any, channels: int) -> None:
    """Values, and gradients by central differences."""
    output, gt = (image[:, :, :9, :8] for image in images(channels))
    output.requires_grad_()
    criteria = Criteria({"losses": [block]})
    (value,) = criteria(output, gt).values()
    assert value.item() == pytest.approx(formula(output.detach().numpy(), gt.numpy()))
    (gradient,) = torch.autograd.grad(value, output)
    rng, x, y = np.random.default_rng(0), output.detach().numpy(), gt.numpy()
    for place in zip(*(rng.integers(0, side, 20) for side in x.shape), strict=True):
        step = np.zeros_like(x)
        step[place] = 1e-7
        slope = (formula(x + step, y) - formula(x - step, y)) / 2e-7
        assert gradient[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("channels", [1, 3])
def test_perceptual_loss_has_two_names(random_vgg: nn.Sequential, channels: int) -> None:
    output, gt = images(channels)
    values = Criteria({"losses": [L1, STYLE]}).double()(output, gt)
    mean, std = (torch.tensor(v).view(3, 1, 1).double() for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        layers = deepcopy(random_vgg[:3]).double()  # to the second convolution
        features = [layers((image - mean) / std).flatten(2) for image in (output, gt)]
    grams = [f @ f.mT / f[0].numel() for f in features]
    content, style = (2**i * (x - y).abs().mean().item() for i, (x, y) in enumerate((features, grams)))
    assert list(values) == ["l_l1", "l_perceptual", "l_perceptual_style"]
    assert values["l_perceptual"].item() == pytest.approx(content)
    assert values["l_perceptual_style"].item() == pytest.approx(style)
    alone = Criteria({"losses": [{**STYLE, "style_weight": 0, "name": "vgg"}]}).double()(output, gt)
    assert list(alone) == ["l_vgg"]
    single = Criteria({"pixel_opt": L1, "perceptual_opt": STYLE}).double()(output, gt)
    assert list(single) == ["l_pix", "l_percep", "l_style"]
    assert [value.item() for value in single.values()] == [value.item() for value in values.values()]


def test_a_loss_of_three_parts_or_none_is_refused() -> None:
    class Parts(nn.Module):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.count = count

        def forward(self, output: Tensor, gt: Tensor) -> Any:
            return ((output - gt).abs().mean(),) * self.count if self.count else None

    names = ("l_a", "l_a_style")
    assert list(loss_values(Parts(2), names, *images())) == ["l_a", "l_a_style"]
    with pytest.raises(ValueError, match="gives 3 losses"):
        loss_values(Parts(3), names, *images())
    with pytest.raises(ValueError, match="gives no loss"):
        loss_values(Parts(0), names, *images())
    gan = bridge.LOSS_REGISTRY.get("GANLoss")("vanilla")
    with pytest.raises(ValueError, match="judges what a discriminator gives, not images"):
        loss_values(gan, names, *images())
