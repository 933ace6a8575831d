"""`basicsr prepare list`: what there is, from where, on which terms."""

from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from datasets_prep.bicubic import crop_to_multiple, downscale
from datasets_prep.families import FAMILIES
from datasets_prep.image_files import encode_png
from datasets_prep.listing import BYTES_A_PIXEL, describe, descriptions
from ramit_model.cli import main


def listed(capsys: pytest.CaptureFixture[str], *names: str) -> str:
    assert main(["prepare", "list", *names]) == 0
    return capsys.readouterr().out


def test_every_family_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out = listed(capsys)
    for family in FAMILIES.values():
        assert f"\n{family.name} (" in f"\n{out}"
        for collection in family.collections:
            assert collection.download in out
            assert collection.terms in out
        for output in family.outputs.values():
            assert output in out
    assert "\nfolder (" in out
    assert "as far as known to us" in out


@pytest.mark.parametrize("name", [*FAMILIES, "folder", "photographs"])
def test_every_family_is_listed_by_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = listed(capsys, name)
    assert out.startswith(f"{name} (")
    assert out == f"{descriptions()[name]}\n"
    assert out.isascii()


def test_several_are_listed_in_the_order_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    out = listed(capsys, "WED", "DIV2K")
    assert out.index("WED (") < out.index("DIV2K (")
    assert "Rain13K" not in out


def test_an_unknown_name_gets_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "list", "WED", "DIV3K"]) == 2
    assert capsys.readouterr() == ("", "basicsr prepare: DIV3K: unknown family; did you mean DIV2K?\n")
    assert main(["prepare", "list", "WED", "xyz"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(name in line for name in FAMILIES)


def test_facts_of_a_family() -> None:
    text = describe(FAMILIES["DFBW"])
    for part in ("for training", "DIV2K, 800 images", "WED, 4,744 images", "DFBW/GT.lmdb", "480x480, step 352"):
        assert part in text
    text = describe(FAMILIES["Test100"])
    for part in ("test set", "100 or 98 pairs", "Test100/GT, Test100/LQ"):
        assert part in text
    assert "sub-images" not in text


def test_the_space_grows_with_overlap_and_outputs() -> None:
    def size(text: str) -> float:
        number, unit = text.splitlines()[-1].removeprefix("  disk    about ").split()
        return float(number) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]

    family = FAMILIES["DIV2K"]
    whole = size(describe(replace(family, grid=None)))
    assert whole == pytest.approx(800 * 2.8e6 * BYTES_A_PIXEL * (1 + 1 / 4 + 1 / 9 + 1 / 16), rel=0.02)
    assert 2.5 * whole < size(describe(family)) < 4.5 * whole
    assert size(describe(replace(family, outputs={"gt": "x"}, grid=None))) < whole


def test_estimates_are_what_photographs_take(assets: Path) -> None:
    """Bytes a pixel of photographs from several sets, and of their LR images, as they are written by default."""
    rates = []
    for folder in ("Set5/HR", "McMaster6", "BSDS500_train200"):
        for path in sorted((assets / "images" / folder).iterdir())[:4]:
            image = crop_to_multiple(cv2.imread(str(path)), 12)
            for picture in (image, downscale(image, 2)):
                rates.append(len(encode_png(picture, 1)) / picture[..., 0].size)
    assert sum(rates) / len(rates) == pytest.approx(BYTES_A_PIXEL, rel=0.1)
