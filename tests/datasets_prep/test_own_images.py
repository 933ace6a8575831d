"""Images of the user's own: keys and pairs, whatever folders and archives they come in."""

from pathlib import Path

import pytest

from datasets_prep.own_images import own_items
from datasets_prep.sources import Member
from ramit_model.system.errors import InputError


def members(source: str, *names: str, kind: str = "folder") -> list[Member]:
    return [Member(Path(source), name, 1, kind, Path(source), 0, (1, 1)) for name in names]  # type: ignore[arg-type]


def keys(**labelled: list[Member]) -> list[str]:
    return [item.key for item in own_items({label.strip("_"): of_label for label, of_label in labelled.items()})[0]]


def test_names_are_keys_where_all_are_different() -> None:
    found = [*members("x", "1.png", "a/2.png"), *members("y.zip", "b/3.png", kind="zip")]
    assert keys(_=found) == ["1", "2", "3"]


def test_equal_names_get_their_sub_folders() -> None:
    assert keys(_=members("photos", "2020/a.png", "2021/a.png", "2021/b.png")) == ["2020_a", "2021_a", "2021_b"]


def test_equal_names_of_several_sources_get_these() -> None:
    assert keys(_=[*members("x/one", "a.png"), *members("x/two", "a.png")]) == ["one_a", "two_a"]


def test_names_that_no_folder_tells_apart_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        keys(_=members("photos", "a.png", "a.jpg", "a_b.png", "a/b.png"))
    assert str(caught.value).splitlines() == [
        "photos/a.jpg: is called photos_a in the set, as is photos/a.png; rename or remove one",
        "photos/a/b.png: is called photos_a_b in the set, as is photos/a_b.png; rename or remove one",
    ]


def test_bytes_that_are_no_text_are_escaped_in_keys() -> None:
    assert keys(_=members("x", "\udcd6.png")) == ["uDCD6".lower()]


def test_pairs() -> None:
    gt, lq = members("hr", "a.png", "b.png"), members("lr", "a.jpg", "b.jpg")
    items, remarks = own_items({"gt": gt, "lq": lq})
    assert [(item.key, item.files) for item in items] == [
        ("a", {"gt": gt[0], "lq": lq[0]}),
        ("b", {"gt": gt[1], "lq": lq[1]}),
    ]
    assert remarks == ["paired by equal names without suffix"]


def test_pairs_of_archives_with_folders_of_their_own() -> None:
    gt, lq = members("a.zip", "high/1.png", kind="zip"), members("b.zip", "low/1.png", kind="zip")
    assert [item.files for item in own_items({"gt": gt, "lq": lq})[0]] == [{"gt": gt[0], "lq": lq[0]}]


def test_one_gt_with_several_lq_has_the_keys_of_these() -> None:
    assert keys(gt=members("c", "1_clean.png"), lq=members("r", "1_1.png", "1_2.png")) == ["1_1", "1_2"]


def test_pairs_by_a_key() -> None:
    items, remarks = own_items({"gt": members("g", "x1c.png"), "lq": members("l", "y1d.png")}, key=r"\d")
    assert ([item.key for item in items], remarks) == (["x1c"], [r"paired by --key \d"])


@pytest.mark.parametrize(
    ("labelled", "key", "line"),
    [
        ({"lq": members("l", "1.png")}, None, "no GT images found"),
        ({"": members("g", "1.png"), "gt": members("h", "1.png")}, None, "some have the label gt and some have none"),
        ({"": members("g", "1.png")}, r"\d", "--key: is for pairs"),
        ({"gt": members("g", "1.png", "l/1.png"), "lq": members("g/l", "1.png")}, None, r"g/l/1\.png: is GT and LQ"),
        ({"gt": members("g", "1.png"), "lq": members("l", "2.png")}, None, r"--key, a regular expression"),
    ],
)
def test_mistakes(labelled: dict[str, list[Member]], key: str | None, line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        own_items(labelled, key=key)
    assert "\n" not in str(caught.value)
