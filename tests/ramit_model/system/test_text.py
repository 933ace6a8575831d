"""Values as people read them."""

import pytest

from ramit_model.system.text import readable_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (3600, "1 h 00 min"), (86400, "1 d 0 h")],
)
def test_time(seconds: float, text: str) -> None:
    assert readable_time(seconds) == text
