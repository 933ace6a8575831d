"""What a training is expected to come to, in words."""

import pytest

from ramit_model.training.expectation import Expected, describe_end


@pytest.mark.parametrize(
    ("value", "spread", "text"), [(27.10449, 0.274, "27.10 ± 0.27"), (0.87654, 0.0012, "0.8765 ± 0.0012")]
)
def test_digits(value: float, spread: float, text: str) -> None:
    assert str(Expected(10, "a", "psnr", value, spread)) == text


def test_the_last_iteration_is_described() -> None:
    rows = [
        Expected(250, "a", "psnr", 20.0, 0.5),
        Expected(1000, "a", "psnr", 27.4, 0.2),
        Expected(1000, "a", "ssim", 0.8, 0.01),
    ]
    assert describe_end(rows) == "expected at 1,000 iterations: psnr 27.40 ± 0.20, ssim 0.8000 ± 0.0100"


def test_nothing_known_is_nothing_said() -> None:
    assert describe_end([]) == ""
