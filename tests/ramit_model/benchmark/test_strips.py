"""Comparison strips: each has a file of its own."""

from ramit_model.benchmark.results import Strip
from ramit_model.benchmark.strips import DrawnStrip, _with_files_of_their_own


def drawn(dataset: str, image: str) -> DrawnStrip:
    return DrawnStrip(Strip(dataset, image, (0, 0, 8, 8), f"strips/{dataset}_{image}_0_0_8_8.png", {}, {}), b"")


def test_strips_that_would_have_one_file() -> None:
    found = _with_files_of_their_own([drawn("a", "b_c"), drawn("a_b", "c"), drawn("a", "b_c"), drawn("a", "d")])
    assert [each.strip.file for each in found] == [
        "strips/a_b_c_0_0_8_8.png",
        "strips/a_b_c_0_0_8_8_2.png",
        "strips/a_b_c_0_0_8_8.png",  # the same picture
        "strips/a_d_0_0_8_8.png",
    ]
