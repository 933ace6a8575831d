"""Manifests: what is written is read again, and what is broken is said in one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_prep.manifest import Header, Record, manifest_path, read_header, read_records, write_manifest
from ramit_model.system.errors import InputError

HEADER = Header(
    family="Set5",
    role="x2",
    made_with={"grid": None, "treatment": {"color": "color"}},
    made_from="ab" * 32,
    images=2,
    complete=True,
    entries=2,
    gt="../../HR",
    scale=2,
    notes={"gray stored as color": ["baby", "größe"]},
)
RECORDS = [Record("baby_s001", (12, 34, 3), "cd" * 32), Record("bird_s001", (5, 6, 1), "ef" * 32)]


@pytest.fixture(params=["X2", "X2.lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    path.mkdir()
    return path


def test_what_is_written_is_read(store: Path) -> None:
    write_manifest(store, HEADER, RECORDS)
    assert read_header(store) == HEADER
    assert list(read_records(store)) == RECORDS


def test_it_is_hidden_among_images_only(tmp_path: Path) -> None:
    assert manifest_path(tmp_path / "HR").name == ".manifest.jsonl"
    assert manifest_path(tmp_path / "HR.lmdb").name == "manifest.jsonl"


def test_none_is_no_error(store: Path) -> None:
    assert read_header(store) is None
    assert read_header(store / "nowhere") is None
    (store / "file").touch()
    assert read_header(store / "file") is None


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "content", [b"", b"\n", b"{", b"\xff\n", b"[]\n", b"3\n", b"null\n", b'{"format": 1}\n', b'{"format": 1, "x": 2}\n']
)
def test_a_broken_first_line(store: Path, content: bytes) -> None:
    manifest_path(store).write_bytes(content)
    with pytest.raises(InputError, match=r"manifest.jsonl: (broken|of format None).* again") as caught:
        read_header(store)
    assert len(str(caught.value).splitlines()) == 1


def test_a_later_format(store: Path) -> None:
    write_manifest(store, replace(HEADER, format=2), RECORDS)
    with pytest.raises(InputError, match="of format 2, this version reads 1; prepare it again"):
        read_header(store)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"x",
        b"\xff\xfe",
        b'["baby", [1, 2], "aa"]',
        b'["baby", [1, 2, null], "aa"]',
        b'["baby", "123"]',
        b"3",
        b'["a", 1, 2]',
        b"{}",
    ],
)
def test_a_broken_line_is_named_by_its_number(store: Path, line: bytes) -> None:
    write_manifest(store, HEADER, RECORDS)
    with manifest_path(store).open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(InputError, match=r"manifest.jsonl:4: broken; prepare the set again") as caught:
        list(read_records(store))
    assert len(str(caught.value).splitlines()) == 1


@given(
    st.lists(
        st.builds(
            Record,
            st.text(min_size=1).filter(lambda key: key.isprintable() and not set("/\\") & set(key)),
            st.tuples(*[st.integers(1, 10**6)] * 3),
            st.text("0123456789abcdef", min_size=64, max_size=64),
        )
    )
)
def test_any_key_is_read_as_written(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    store = tmp_path_factory.mktemp("set")
    write_manifest(store, HEADER, records)
    assert list(read_records(store)) == records
    assert len(manifest_path(store).read_text(encoding="ascii").splitlines()) == 1 + len(records)


def test_the_manifest_is_lines_of_json(store: Path) -> None:
    write_manifest(store, HEADER, RECORDS)
    first, *rest = map(json.loads, manifest_path(store).read_text().splitlines())
    assert first["family"] == "Set5"
    assert first["format"] == 1
    assert rest[0] == ["baby_s001", [12, 34, 3], "cd" * 32]
