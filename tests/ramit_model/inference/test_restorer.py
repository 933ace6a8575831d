"""Restoring from Python: every shape and type, alpha, gray, precision that is too low, flips and turns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import TINY, fill, photograph
from torch import Tensor, nn
from torch.nn import functional as F

from ramit_arch import RAMiT
from ramit_model.inference.alpha import enlarge_alpha, fill_hidden
from ramit_model.inference.opened import OpenedNetwork
from ramit_model.inference.padding import run_padded
from ramit_model.inference.pixels import NotFiniteError
from ramit_model.inference.restorer import Restorer, find_device, restore
from ramit_model.system.errors import InputError


def opened(network: nn.Module, scale: int = 2, channels: int = 3, task: str = "SR") -> OpenedNetwork:
    return OpenedNetwork(network.eval(), {}, "a network", task, scale, channels)


class Nearest(nn.Module):
    """Enlarges by repetition; values that are not finite in low precision, if wanted."""

    def __init__(self, scale: int = 2, overflow: bool = False) -> None:
        super().__init__()
        self.scale, self.overflow = scale, overflow

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        if self.overflow and torch.is_autocast_enabled("cpu"):
            x = x * float("inf")
        return F.interpolate(x, scale_factor=self.scale, mode="nearest")


@pytest.fixture
def tiny() -> Restorer:
    return Restorer(opened(fill(RAMiT(**{k: v for k, v in TINY.items() if k != "type"}))))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(9, 13), (9, 13, 1), (9, 13, 3), (9, 13, 4), (1, 1, 3)])
def test_shape_and_type_are_kept(shape: tuple[int, ...], kind: type) -> None:
    image = np.random.default_rng(0).random(shape)
    image = (image if kind is np.float32 else 1 + image * (np.iinfo(kind).max - 1)).astype(kind)
    result = restore(image, opened(Nearest()))
    assert result.dtype == kind
    np.testing.assert_allclose(result, image.repeat(2, 0).repeat(2, 1), rtol=1e-6)


def test_pixels_are_those_of_the_network(tiny: Restorer) -> None:
    from ramit_model.basicsr_bridge import tensor2img

    image = photograph(21, 30)
    lq = torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    with torch.no_grad():
        expected = tensor2img([run_padded(tiny._network, lq, tiny._unit, 2)])
    assert np.array_equal(tiny(image)[..., ::-1], expected)


def test_gray_with_a_color_network_comes_back_gray(tiny: Restorer) -> None:
    gray = photograph(20, 24)[..., 0]
    result = tiny(gray)
    assert result.shape == (40, 48)
    color = tiny(np.dstack([gray] * 3))
    assert np.abs(result - color.mean(axis=2)).max() <= 0.5


def test_color_with_a_gray_network() -> None:
    restorer = Restorer(opened(Nearest(1), 1, channels=1, task="GDN"))
    with pytest.raises(InputError, match="is in color"):
        restorer(photograph(8, 8))
    equal = np.dstack([photograph(8, 8)[..., 0]] * 3)
    assert np.array_equal(restorer(equal), equal)
    assert np.array_equal(restorer(equal[..., 0]), equal[..., 0])


def test_a_low_precision_that_overflows_gives_way_to_float32() -> None:
    restorer = Restorer(opened(Nearest(overflow=True)), precision="bfloat16")
    image = photograph(8, 8)
    assert np.array_equal(restorer(image), image.repeat(2, 0).repeat(2, 1))
    assert restorer.precision == "float32"


def test_weights_that_give_nan_are_an_error() -> None:
    class Broken(Nearest):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float("nan")

    with pytest.raises(NotFiniteError):
        restore(photograph(8, 8), opened(Broken()))


@pytest.mark.parametrize("shape", [(12, 20, 3), (12, 20)])
def test_self_ensemble_of_a_symmetric_network_changes_nothing(shape: tuple[int, ...]) -> None:
    image = photograph(12, 20)[..., : shape[2] if len(shape) == 3 else 1].reshape(shape)
    assert np.array_equal(restore(image, opened(Nearest()), self_ensemble=True), restore(image, opened(Nearest())))


def test_self_ensemble_commutes_with_turns(tiny: Restorer) -> None:
    tiny.self_ensemble = True
    image = photograph(16, 24).astype(np.float32) / 255
    done: list[float] = []
    result = tiny(image, progress=lambda part, whole: done.append(part / whole))
    turned = np.rot90(tiny(np.ascontiguousarray(np.rot90(image))), -1)
    np.testing.assert_allclose(result, turned, atol=1e-5)
    assert done == sorted(done)
    assert done[-1] == 1


def test_tiles_of_a_local_network_change_nothing() -> None:
    image = photograph(150, 170)
    assert np.array_equal(restore(image, opened(Nearest()), tile=64), restore(image, opened(Nearest())))


@pytest.mark.parametrize(
    ("image", "part"),
    [
        ([[0]], "list"),
        (np.zeros((4, 4), np.int32), "int32"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.full((4, 4), np.nan), "not finite"),
    ],
)
def test_wrong_images(image: object, part: str) -> None:
    with pytest.raises(InputError, match=part):
        restore(image, opened(Nearest()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments", [{"device": "abacus"}, {"device": "cuda:99"}, {"precision": "float8"}, {"tile": 0}, {"tile": "x"}]
)
def test_wrong_arguments(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Restorer(opened(Nearest()), **arguments)  # type: ignore[arg-type]


def test_weights_from_a_file(tmp_path: Path) -> None:
    network = RAMiT(**{k: v for k, v in TINY.items() if k != "type"})
    torch.save(network.state_dict(), tmp_path / "tiny.pth")
    restorer = Restorer(tmp_path / "tiny.pth")
    assert (restorer.scale, restorer.task, restorer.name) == (2, "SR", "tiny.pth")
    assert find_device("cpu") == torch.device("cpu")


def test_hidden_colors_are_filled_from_the_nearest_that_shows() -> None:
    pixels, alpha = np.zeros((5, 9, 3), np.uint8), np.zeros((5, 9), np.uint8)
    pixels[...] = (255, 0, 255)
    pixels[2, 2], pixels[2, 6] = (10, 20, 30), (40, 50, 60)
    alpha[2, 2] = alpha[2, 6] = 1
    filled = fill_hidden(pixels, alpha)
    assert (filled[:, :4] == (10, 20, 30)).all()
    assert (filled[:, 5:] == (40, 50, 60)).all()
    assert pixels[0, 0, 1] == 0
    assert fill_hidden(pixels, np.zeros_like(alpha)) is pixels


def test_transparent_borders_bleed_nothing(tiny: Restorer) -> None:
    image = np.zeros((24, 24, 4), np.uint8)
    image[..., :3] = (90, 120, 60)
    image[..., 3] = 255
    image[:8, :, 3] = 0
    plain = tiny(image)
    image[:8, :, :3] = (255, 0, 255)
    garish = tiny(image)
    assert np.array_equal(plain, garish)


def test_alpha_is_exact_where_it_is_constant(tiny: Restorer) -> None:
    image = np.dstack([photograph(24, 24), np.where(np.arange(24) < 12, 0, 255).astype(np.uint8)[None].repeat(24, 0)])
    alpha = tiny(image)[..., 3]
    assert (alpha[:, :18] == 0).all()
    assert (alpha[:, -18:] == 255).all()


def test_alpha_is_not_touched_at_scale_1() -> None:
    alpha = photograph(9, 9)[..., 0]
    assert enlarge_alpha(alpha, 1, lambda _: pytest.fail("restored")) is alpha
