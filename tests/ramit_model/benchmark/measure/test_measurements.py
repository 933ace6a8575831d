"""The file of measurements: all that was added is there again, whatever ended the program in between."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ramit_model.benchmark.measure.measurements import Measurements, key_of
from ramit_model.system.errors import InputError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMED = st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), PLAIN, max_size=4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "out" / "measurements.jsonl"


def add(file: Path, **values: Any) -> None:
    with Measurements(file) as store:
        for key, value in values.items():
            store.add(key, value)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_what_was_added_is_there_when_opened_again(file: Path) -> None:
    value = {"metrics": {"psnr": 1 / 3, "ssim": float("inf")}, "tiled": False}
    with Measurements(file) as store:
        assert store.get("a") is None
        store.add("a", value, kind="quality", image="ü")
        assert store.get("a") == value
        # On the disk before the program goes on.
        assert [line["key"] for line in lines(file)] == ["a"]
        store.add("b", [])
    with Measurements(file) as store:
        assert (store.get("a"), store.get("b"), store.get("c")) == (value, [], None)
        store.add("c", 3)
    assert lines(file) == [
        {"kind": "quality", "image": "ü", "key": "a", "value": value},
        {"key": "b", "value": []},
        {"key": "c", "value": 3},
    ]


def test_the_last_line_of_a_key_counts(file: Path) -> None:
    add(file, a=1, b=2)
    add(file, a=3)
    with Measurements(file) as store:
        assert (store.get("a"), store.get("b")) == (3, 2)
    assert len(lines(file)) == 3


@pytest.mark.parametrize("cut", range(1, 31))
def test_a_line_cut_short_is_dropped(cut: int, file: Path) -> None:
    add(file, a=1, b={"x": [1, 2, 3]})
    whole = file.read_bytes()
    first, second = whole.splitlines(keepends=True)
    file.write_bytes(first + second[:-cut])
    with Measurements(file) as store:
        assert (store.get("a"), store.get("b")) == (1, None)
        store.add("b", {"x": [1, 2, 3]})
    assert file.read_bytes() == whole


GARBAGE = {
    "text": b"garbage\n",
    "binary": b"\x00\xff\xfe\n",
    "other JSON": b"[1, 2]\n",
    "a number": b"3\n",
    "no value": b'{"key": "b"}\n',
    "an empty line": b"\n",
    "a key that is none": b'{"key": [], "value": 3}\n',
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_ends_what_is_known(kind: str, file: Path) -> None:
    add(file, a=1)
    known = file.read_bytes()
    file.write_bytes(known + GARBAGE[kind] + b'{"key": "c", "value": 3}\n')
    with Measurements(file) as store:
        assert (store.get("a"), store.get("b"), store.get("c")) == (1, None, None)
    assert file.read_bytes() == known
    file.write_bytes(GARBAGE[kind])
    add(file, a=1)
    assert file.read_bytes() == known


def test_an_empty_file(file: Path) -> None:
    file.parent.mkdir()
    file.touch()
    add(file, a=1)
    assert lines(file) == [{"key": "a", "value": 1}]


def test_one_writes_at_a_time(file: Path) -> None:
    with Measurements(file) as store:
        store.add("a", 1)
        with pytest.raises(InputError, match="another benchmark is writing here; choose another --out") as caught:
            Measurements(file)
        assert str(caught.value).startswith(f"{file.parent}: ")
        store.add("b", 2)
    with Measurements(file) as store:
        assert (store.get("a"), store.get("b")) == (1, 2)


@given(NAMED)
def test_keys_depend_on_content_alone(what: dict[str, Any]) -> None:
    key = key_of(**what)
    names = list(what)
    random.Random(0).shuffle(names)
    assert key_of(**{name: shuffled(what[name]) for name in names}) == key
    assert key_of(**json.loads(json.dumps(what))) == key


def shuffled(value: Any) -> Any:
    """The same mapping in another order."""
    if isinstance(value, dict):
        return {name: shuffled(value[name]) for name in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


@given(NAMED, NAMED)
def test_different_content_has_another_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    assume(json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True))
    assert key_of(**one) != key_of(**other)


def test_keys_stay() -> None:
    """Files of earlier versions are to be read."""
    assert key_of(kind="quality", run=1, case={"b": [1, 2.5], "a": None}) == "339170b5aefb49589853312d631bb4e4"
    assert key_of(a=[1, 2]) != key_of(a=[2, 1])
    assert key_of(a=1) != key_of(a="1")
