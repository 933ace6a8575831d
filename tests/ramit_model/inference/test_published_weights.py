"""Facts about published weights: complete, true of the networks here and of the files at hand."""

import hashlib
import re
from pathlib import Path

import pytest

from ramit_arch import NGswin, RAMiT
from ramit_model.inference.published_weights import by_name, git_blob, published_weights, recognize
from ramit_model.system.errors import InputError

AT_HAND = ("NGswin_x2.pth", "RAMiT-1_CDN.pth", "RAMiT-1_X2.pth", "RAMiT-slimLLE_LLE.pth", "RAMiT-slimSR_X4.pth")


def test_every_network_has_one_file() -> None:
    entries = published_weights()
    assert len(entries) == 18
    for key in ("name", "git_blob", "url"):
        assert len({getattr(entry, key) for entry in entries}) == 18, key
    assert len({(entry.network, entry.task, entry.scale) for entry in entries}) == 18


@pytest.mark.parametrize("entry", published_weights(), ids=lambda entry: entry.name)
def test_an_entry_agrees_with_itself(entry) -> None:
    assert re.fullmatch("[0-9a-f]{40}", entry.git_blob)
    assert re.fullmatch(rf"https://github\.com/rami0205/\w+/raw/[0-9a-f]{{40}}/\w+/{re.escape(entry.name)}", entry.url)
    setting = f"x{entry.scale}" if entry.task == "SR" else entry.task
    assert entry.name.lower() == f"{entry.network}_{setting}.pth".lower()
    # Every entry names a network that can be built.
    if entry.network == "NGswin":
        NGswin(scale=entry.scale)
    elif entry.task == "SR":
        RAMiT(variant=entry.network, task=entry.task, scale=entry.scale)
    else:
        assert entry.scale == 1
        RAMiT(variant=entry.network, task=entry.task)


@pytest.mark.parametrize("name", AT_HAND)
def test_files_are_recognized_by_their_content(assets: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "renamed.bin"
    path.symlink_to(assets / "weights" / name)
    assert recognize(path) == by_name(name)


def test_other_files_are_not_recognized(tmp_path: Path) -> None:
    path = tmp_path / "RAMiT_X2.pth"
    path.write_bytes(b"something else")
    assert recognize(path) is None


def test_git_blob_is_that_of_git() -> None:
    # `printf 'hello\n' | git hash-object --stdin`
    assert git_blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert git_blob(b"hello\n") != hashlib.sha1(b"hello\n", usedforsecurity=False).hexdigest()


def test_an_unknown_name_and_a_missing_file_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^RAMiT_X5\.pth: no published weights have this name; there are RAMiT_X2\.pth, "
    ):
        by_name("RAMiT_X5.pth")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        recognize(tmp_path / "none.pth")
