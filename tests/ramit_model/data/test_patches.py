"""Random patches: any place, all eight turns, LQ and GT alike, everything from one seed."""

import random
from collections import Counter
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramit_model.data.patches import PatchRequest, as_request, group_sub_images, random_patch


def unlike_pixels(height: int, width: int, channels: int = 3) -> np.ndarray:
    """An image in which no number stands twice."""
    return np.arange(height * width * channels).reshape(height, width, channels)


def enlarged(image: np.ndarray, scale: int) -> np.ndarray:
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def taken(image: np.ndarray, request: PatchRequest, *, hflip: bool = True, rot: bool = True) -> np.ndarray:
    lq, gt = random_patch(image, image, request, request.generator(), hflip=hflip, rot=rot)
    np.testing.assert_array_equal(lq, gt)
    return lq


def turns(image: np.ndarray) -> dict[bytes, str]:
    """Each of the eight right-angle turns and flips of a square -> its name."""
    quarter = {f"{90 * k} degrees": np.rot90(image, k) for k in range(4)}
    mirrored = {f"mirrored, {90 * k} degrees": np.rot90(image[:, ::-1], k) for k in range(4)}
    return {np.ascontiguousarray(turned).tobytes(): name for name, turned in {**quarter, **mirrored}.items()}


def count_turns(seeds: range, *, hflip: bool = True, rot: bool = True) -> Counter[str]:
    image = unlike_pixels(2, 2)
    names = turns(image)
    patches = (taken(image, PatchRequest(0, 2, seed), hflip=hflip, rot=rot) for seed in seeds)
    return Counter(names[np.ascontiguousarray(patch).tobytes()] for patch in patches)


@pytest.mark.parametrize("first", [0, 3 << 48], ids=["seed 0", "seed 3"])
def test_all_eight_turns_are_equally_frequent(first: int) -> None:
    """With the seeds that follow one another in a training."""
    counts = count_turns(range(first, first + 8000))
    assert len(counts) == 8
    chi_square = sum((count - 1000) ** 2 / 1000 for count in counts.values())
    assert chi_square < 24.3, counts  # 0.1 % of all fair dice with eight faces


MIRROR = {"as it is": lambda i: i, "left and right": lambda i: i[:, ::-1]}
FLIP_AND_SWAP = {
    "as it is": lambda i: i,
    "top and bottom": lambda i: i[::-1],
    "rows and columns": lambda i: i.transpose(1, 0, 2),
    "both": lambda i: i[::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize(
    ("hflip", "rot", "made_by"),
    [(False, False, {"as it is": lambda i: i}), (True, False, MIRROR), (False, True, FLIP_AND_SWAP)],
    ids=["neither", "hflip", "rot"],
)
def test_less_than_all_turns(hflip: bool, rot: bool, made_by: dict[str, Callable[[np.ndarray], np.ndarray]]) -> None:
    image = unlike_pixels(2, 2)
    expected = {turns(image)[np.ascontiguousarray(turn(image)).tobytes()] for turn in made_by.values()}
    counts = count_turns(range(2000), hflip=hflip, rot=rot)
    assert counts.keys() == expected
    for count in counts.values():
        assert count == pytest.approx(2000 / len(expected), abs=110)  # five standard deviations


def test_every_place_is_equally_frequent() -> None:
    image, size = unlike_pixels(7, 9), 4
    corners = {int(image[top, left, 0]): (top, left) for top in range(4) for left in range(6)}
    patches = (taken(image, PatchRequest(0, size, seed)) for seed in range(6000))
    counts = Counter(corners[int(patch[..., 0].min())] for patch in patches)
    assert set(counts) == set(product(range(4), range(6)))
    chi_square = sum((count - 250) ** 2 / 250 for count in counts.values())
    assert chi_square < 49.7, counts  # 0.1 % of all fair dice with 24 faces


def test_turn_and_place_do_not_depend_on_each_other() -> None:
    image = unlike_pixels(3, 2)
    names = {**turns(image[:2]), **{key: f"below, {name}" for key, name in turns(image[1:]).items()}}
    patches = (taken(image, PatchRequest(0, 2, seed)) for seed in range(8000))
    counts = Counter(names[np.ascontiguousarray(patch).tobytes()] for patch in patches)
    assert len(counts) == 16
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 37.7, counts


sizes = st.integers(1, 20)


@given(sizes, sizes, st.integers(1, 4), st.integers(1, 20), st.integers(0, 2**64), st.booleans(), st.booleans())
def test_gt_patch_is_the_place_of_the_lq_patch(
    height: int, width: int, scale: int, size: int, seed: int, hflip: bool, rot: bool
) -> None:
    lq, request = unlike_pixels(height, width), PatchRequest(0, min(size, height, width), seed)
    patch, gt = random_patch(lq, enlarged(lq, scale), request, request.generator(), hflip=hflip, rot=rot)
    assert patch.shape == (request.patch_size, request.patch_size, 3)
    np.testing.assert_array_equal(gt, enlarged(patch, scale))


@given(sizes, sizes, st.integers(1, 20), st.integers(0, 2**64))
def test_a_patch_is_a_turned_part_of_the_image(height: int, width: int, size: int, seed: int) -> None:
    image, size = unlike_pixels(height, width), min(size, height, width)
    patch = taken(image, PatchRequest(0, size, seed))
    top, left = divmod(int(patch[..., 0].min()) // 3, width)
    part = image[top : top + size, left : left + size]
    assert np.ascontiguousarray(patch).tobytes() in turns(part)


@given(sizes, sizes, st.integers(1, 20), st.integers(0, 2**64))
def test_without_turns_it_is_a_plain_part(height: int, width: int, size: int, seed: int) -> None:
    image, size = unlike_pixels(height, width), min(size, height, width)
    patch = taken(image, PatchRequest(0, size, seed), hflip=False, rot=False)
    top, left = divmod(int(patch[0, 0, 0]) // 3, width)
    np.testing.assert_array_equal(patch, image[top : top + size, left : left + size])


def test_whole_image() -> None:
    image = unlike_pixels(6, 6)
    np.testing.assert_array_equal(taken(image, PatchRequest(0, 6, 1), hflip=False, rot=False), image)
    gt = enlarged(image, 3)
    request = PatchRequest(0, 6, 1)
    np.testing.assert_array_equal(random_patch(image, gt, request, request.generator(), hflip=False, rot=False)[1], gt)


def test_the_seed_says_everything() -> None:
    image = unlike_pixels(40, 50)
    random.seed(0)
    one = taken(image, PatchRequest(0, 8, 11))
    random.seed(1)
    np.testing.assert_array_equal(taken(image, PatchRequest(0, 8, 11)), one)
    assert len({taken(image, PatchRequest(0, 8, seed)).tobytes() for seed in range(200)}) > 190
    # Nor does it touch the generator of everyone else.
    state = random.getstate()
    taken(image, PatchRequest(0, 8, 12))
    assert random.getstate() == state


def test_a_request_stays_and_an_index_becomes_one() -> None:
    request = PatchRequest(3, 16, 5)
    assert as_request(request, 64) is request
    random.seed(0)
    one, other = as_request(3, 64), as_request(3, 64)
    assert one[:2] == other[:2] == (3, 64)
    assert one.seed != other.seed
    random.seed(0)
    assert as_request(3, 64) == one


# Sub-images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "groups"),
    [
        (["a_s001", "a_s002", "b_s001"], [[0, 1], [2]]),
        (["a_s001", "b_s001", "a_s002"], [[0, 2], [1]]),
        (["a", "b", "a"], [[0], [1], [2]]),
        # Whole images between others, one called like the image of sub-images.
        (["100007", "0001_s001", "0001", "0001_s002"], [[0], [1, 3], [2]]),
        # More digits, and fewer than `extract_subimages` writes.
        (["a_s999", "a_s1000", "a_s01", "a_s02"], [[0, 1], [2], [3]]),
        (["a_s001_s001", "a_s001_s002", "a_s002_s001"], [[0, 1], [2]]),
        (["a_s001x", "as001", "_s001", "a_S001"], [[0], [1], [2], [3]]),
        # Files, in folders of equal names.
        (["x/a_s001.png", "x/a_s002.png", "y/a_s001.png", "y/a.b_s001.jpg", "y/a.b_s002.jpg"], [[0, 1], [2], [3, 4]]),
        (["x_s001/a.png", "x_s002/a.png"], [[0], [1]]),
        ([], []),
    ],
)
def test_sub_images_of_an_image(paths: list[str], groups: list[list[int]]) -> None:
    assert group_sub_images(paths) == groups


@given(st.dictionaries(st.text("ab1_/", min_size=1), st.integers(1, 1200), max_size=4), st.integers())
def test_sub_images_in_any_order(counts: dict[str, int], seed: int) -> None:
    entries = [(name, f"{name}_s{i + 1:03d}") for name, count in counts.items() for i in range(count)]
    random.Random(seed).shuffle(entries)
    groups = group_sub_images(path for _, path in entries)
    assert sorted(place for group in groups for place in group) == list(range(len(entries)))
    assert sorted(len(group) for group in groups) == sorted(counts.values())
    assert all(len({entries[place][0] for place in group}) == 1 for group in groups)
