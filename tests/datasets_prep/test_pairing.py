"""Pairs of GT and LQ by the names that published sets and people give them."""

import pytest

from datasets_prep.pairing import pair
from ramit_model.system.errors import InputError

PATTERNS = {
    "equal": (["a.png", "sub/b.png"], ["a.png", "sub/b.png"], [0, 1]),
    "another suffix": (["a.png", "b.png"], ["a.jpg", "b.PNG"], [0, 1]),
    "dots": (["a.1.png"], ["a.1.jpg"], [0]),
    "LOL-v2": (["normal00001.png", "normal00002.png"], ["low00001.png", "low00002.png"], [0, 1]),
    "Rain100H of PReNet": (["norain-1.png", "norain-2.png"], ["rain-1.png", "rain-1x2.png", "rain-2.png"], [0, 0, 1]),
    "DDN": (["1_clean.png", "12_clean.png"], ["1_3.png", "1_14.png", "12_1.png"], [0, 0, 1]),
    "DDN, bare": (["1.jpg", "12.jpg"], ["1_1.jpg", "12_14.jpg"], [0, 1]),
    "Raindrop": (["0_clean.png", "1_clean.png"], ["0_rain.png", "1_rain.png"], [0, 1]),
    "SIDD": (["0001_GT_SRGB_010.PNG"], ["0001_NOISY_SRGB_010.PNG"], [0]),
    "RESIDE": (["1400.png", "1401.png"], ["1400_0.8_0.2.jpg", "1401_1.png"], [0, 1]),
    "RealSR": (["Canon_001_HR.png"], ["Canon_001_LR2.png"], [0]),
    "DIV2K": (["0001.png", "0002.png"], ["0001x2.png", "0002x2.png"], [0, 1]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_known_patterns(name: str) -> None:
    gt, lq, partners = PATTERNS[name]
    found = pair(gt, lq)
    assert found.pairs == sorted((gt[partner], each) for partner, each in zip(partners, lq, strict=True))
    assert found.how.startswith(f"{len(lq)} LQ images for" if len(lq) > len(gt) else "paired by")


def test_numbers_are_whole() -> None:
    """1 is not the beginning of 12."""
    with pytest.raises(InputError, match=r"LQ 12_1\.png has no partner"):
        pair(["1.png"], ["1_1.png", "12_1.png"])


def test_a_key() -> None:
    found = pair(["u/x1c.png", "u/x2c.png"], ["v/y1d.png", "v/y1e.png", "v/y2d.png"], key=r"(\d+)")
    assert found.pairs == [("u/x1c.png", "v/y1d.png"), ("u/x1c.png", "v/y1e.png"), ("u/x2c.png", "v/y2d.png")]
    assert found.how == r"3 LQ images for 2 GT images, paired by key (\d+)"
    assert pair(["a1b2.png"], ["c1d2.png"], key=r"(\d)\w(\d)").pairs == [("a1b2.png", "c1d2.png")]


def test_a_template() -> None:
    assert pair(["s/a.png"], ["s/a_x2.jpg"], template="{}_x2").pairs == [("s/a.png", "s/a_x2.jpg")]
    with pytest.raises(InputError, match=r"LQ a\.png has no partner"):
        pair(["a.png"], ["a.png"], template="{}_x2")


@pytest.mark.parametrize(
    ("gt", "lq", "key", "line"),
    [
        (["1.png", "2.png"], ["1.png", "3.png"], None, r"LQ 3\.png has no partner \(and 1 more\); add it, remove"),
        (["1.png", "2.png"], ["1.png"], None, r"GT 2\.png has no partner; add it"),
        (["a.png", "a.jpg"], ["a.bmp"], None, "would have one key"),
        (["a.png"], ["b.jpg", "b.png"], None, r"LQ b\.jpg"),
        (["a.png"], ["a.png"], r"\d", r"GT a\.png does not match key"),
        (["a1.png", "b1.png"], ["1.png"], r"\d", r"GT a1\.png and b1\.png would have one key"),
        (["a.png"], ["a.png"], "(", "key: .* is not a regular expression"),
    ],
)
def test_what_cannot_be_paired_is_named(gt: list[str], lq: list[str], key: str | None, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        pair(gt, lq, key=key)
    assert "\n" not in str(caught.value)
