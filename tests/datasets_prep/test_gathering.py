"""From file names to the images of a family: whatever people have is found, or named line by line."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_prep.downloads import Collection
from datasets_prep.families import FAMILIES, Family
from datasets_prep.gathering import MAX_KEY, Item, gather, image_key
from datasets_prep.sources import Member
from ramit_model.system.errors import InputError

CLEAN = Family("Clean", "train", (Collection("Clean", (3,), gt=("Clean/HR",)),), {"gt": "Clean/GT.lmdb"})
PAIRS = Family(
    "Pairs", "train", (Collection("Pairs", gt=("Pairs/high",), lq=("Pairs/low",)),), {"gt": "GT.lmdb", "lq": "LQ.lmdb"}
)
UNION = replace(
    CLEAN,
    name="Union",
    collections=(Collection("One", (2,), gt=("One/HR",)), Collection("Two", (1,), gt=("Two/HR",))),
)


def member(path: str) -> Member:
    """`photos/a/1.png` lies in the folder photos, `x/photos.zip: a/1.png` in an archive."""
    if ": " in path:
        source, name = path.split(": ", 1)
        return Member(Path(source), name, 1, "zip", Path(source), 0, (1, 1))
    source, name = path.split("/", 1)
    return Member(Path(source), name, 1, "folder", Path(source), 0, (1, 1))


def members(*paths: str, **labelled: Iterable[str]) -> dict[str, list[Member]]:
    named = {label.replace("_", "-"): [member(path) for path in of_label] for label, of_label in labelled.items()}
    return {**({"": [member(path) for path in paths]} if paths else {}), **named}


def names(items: list[Item], role: str = "gt") -> list[str]:
    return [item.files[role].where for item in items]


def lines(
    family: Family, found: dict[str, list[Member]], roles: Iterable[str] = ("gt",), *, incomplete: bool = False
) -> list[str]:
    with pytest.raises(InputError) as caught:
        gather(family, found, tuple(roles), incomplete=incomplete)
    return str(caught.value).splitlines()


# Real downloads -------------------------------------------------------------------------------------------------------


def numbered(folder: str, pattern: str, count: int, first: int = 1) -> list[str]:
    return [f"{folder}{pattern.format(i)}" for i in range(first, first + count)]


def benchmark(folder: str, count: int) -> list[str]:
    paths = numbered(f"benchmark.tar: benchmark/{folder}/HR/", "{}.png", count)
    for s in (2, 3, 4):
        paths += numbered(f"benchmark.tar: benchmark/{folder}/LR_bicubic/X{s}/", f"{{}}x{s}.png", count)
    return paths


def rain(folder: str, count: int) -> list[str]:
    return [p for part in ("input", "target") for p in numbered(f"test/{folder}/{part}/", "{}.png", count)]


def ve_lol(part: str, count: int, test: int) -> list[str]:
    root = f"VE-LOL-L.zip: VE-LOL-L-{part}-Full/VE-LOL-L-{part}-"
    return [
        *numbered(f"{root}Low_train/", "low{:05}.png", count),
        *numbered(f"{root}Normal_train/", "normal{:05}.png", count),
        *numbered(f"{root}Low_test/", "low{:05}.png", test, first=count + 1),
        *numbered(f"{root}Normal_test/", "normal{:05}.png", test, first=count + 1),
    ]


DIV2K = [
    *numbered("DIV2K_train_HR.zip: DIV2K_train_HR/", "{:04}.png", 800),
    *numbered("DIV2K_valid_HR.zip: DIV2K_valid_HR/", "{:04}.png", 100, first=801),
]
for _scale in (2, 3, 4):
    _zip = f"DIV2K_train_LR_bicubic_X{_scale}.zip: DIV2K_train_LR_bicubic/X{_scale}/"
    DIV2K += numbered(_zip, f"{{:04}}x{_scale}.png", 800)
FLICKR2K = numbered("Flickr2K.tar: Flickr2K/Flickr2K_HR/", "{:06}.png", 2650)
for _scale in (2, 3, 4):
    for _kind in ("bicubic", "unknown"):
        _folder = f"Flickr2K.tar: Flickr2K/Flickr2K_LR_{_kind}/X{_scale}/"
        FLICKR2K += numbered(_folder, f"{{:06}}x{_scale}.png", 2650)
BSD500 = [
    *numbered("BSR_bsds500.tgz: BSR/BSDS500/data/images/train/", "{}.jpg", 200, first=1000),
    *numbered("BSR_bsds500.tgz: BSR/BSDS500/data/images/test/", "{}.jpg", 200, first=2000),
    *numbered("BSR_bsds500.tgz: BSR/BSDS500/data/images/val/", "{}.jpg", 100, first=3000),
    *numbered("BSR_bsds500.tgz: BSR/bench/data/images/", "{}.jpg", 5, first=2000),
]
WED = numbered("exploration_database_and_code/pristine_images/", "{:05}.bmp", 4744)
LOL = [
    *(p for part in ("high", "low") for p in numbered(f"LOLdataset.zip: our485/{part}/", "{}.png", 485)),
    *(p for part in ("high", "low") for p in numbered(f"LOLdataset.zip: eval15/{part}/", "{}.png", 15, 1000)),
]
CAP, SYN = ve_lol("Cap", 400, 100), ve_lol("Syn", 900, 100)
RAIN13K = [p for part in ("input", "target") for p in numbered(f"train/Rain13K/{part}/", "{}.jpg", 13_711)]
RAIN_TESTS = [*rain("Test100", 98), *rain("Rain100H", 100), *rain("Rain100L", 100), *rain("Test1200", 20)]
BENCHMARK = [
    p for name, n in (("Set5", 5), ("Set14", 14), ("B100", 100), ("Urban100", 100)) for p in benchmark(name, n)
]

DOWNLOADS = {
    "DIV2K": DIV2K,
    "Flickr2K": FLICKR2K,
    "DF2K": DIV2K + FLICKR2K,
    "BSD500": BSD500,
    "WED": WED,
    "DFBW": DIV2K + FLICKR2K + BSD500 + WED,
    "LOL-train": LOL,
    "VE-LOL-L": CAP + SYN,
    "LOL_VE-LOL": LOL + CAP + SYN,
    "Rain13K": RAIN13K + RAIN_TESTS,
    "Set5": BENCHMARK,
    "Set14": BENCHMARK,
    "BSD100": BENCHMARK,
    "Urban100": BENCHMARK,
    "Manga109": numbered("Manga109/HR/", "{}.png", 109),
    "CBSD68": [
        *numbered("CBSD68-dataset/CBSD68/original_png/", "{:04}.png", 68),
        *numbered("CBSD68-dataset/CBSD68/noisy15/", "{:04}.png", 68),
    ],
    "Kodak24": numbered("kodak/", "kodim{:02}.png", 24),
    "McMaster": numbered("McM/", "{}.tif", 18),
    "Set12": [*numbered("testsets.zip: Set12/", "{:02}.png", 12), *numbered("testsets.zip: BSD68/", "test{}.png", 68)],
    "BSD68": [*numbered("testsets.zip: Set12/", "{:02}.png", 12), *numbered("testsets.zip: BSD68/", "test{}.png", 68)],
    "LOL": LOL,
    "VE-LOL-cap": CAP,
    "Test100": RAIN_TESTS + RAIN13K[:50] + RAIN13K[-50:],
    "Rain100H": RAIN_TESTS,
    "Rain100L": RAIN_TESTS,
}


CASES = [(name, str) for name in FAMILIES]
CASES += [(name, str.swapcase) for name, family in FAMILIES.items() if family.images < 2000]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_images_of_every_download_are_found_and_no_others(name: str, case: type[str]) -> None:
    family = FAMILIES[name]
    found = members()
    for path in DOWNLOADS[name]:
        head, colon, tail = path.partition(": ")
        found.setdefault("", []).append(member(f"{head}{colon}{case(tail)}" if colon else case(path)))
    items, complete = gather(family, found, tuple(family.outputs))
    assert complete
    assert len(items) == (98 if name == "Test100" else family.images)
    keys = [item.key for item in items]
    assert keys == sorted(set(keys))
    given_lr = {"DIV2K", "Flickr2K", "DF2K", "Set5", "Set14", "BSD100", "Urban100"}
    roles = set(family.outputs) if name in given_lr or "lq" in family.outputs else {"gt"}
    assert all(set(item.files) == roles for item in items)
    wrong = re.compile(r"valid|unknown|/val/|bench/|noisy|Test1200", re.IGNORECASE)
    assert not [where for role in roles for where in names(items, role) if wrong.search(where)]
    if family.purpose == "train":
        assert not [where for role in roles for where in names(items, role) if re.search("eval15|_test/", where)]


def test_images_of_a_union_are_called_after_their_collections() -> None:
    items, _ = gather(FAMILIES["LOL_VE-LOL"], members(*DOWNLOADS["LOL_VE-LOL"]), ("gt", "lq"))
    keys = [item.key for item in items]
    assert (keys[0], keys[-1]) == ("LOL-train_1", "VE-LOL-L-Syn_00900")
    assert "VE-LOL-L-Cap_00001" in keys
    (first,) = (item for item in items if item.key == "VE-LOL-L-Cap_00001")
    assert {role: m.path.name for role, m in first.files.items()} == {"gt": "normal00001.png", "lq": "low00001.png"}


def test_the_training_pairs_beside_test_pairs_are_left_alone() -> None:
    paths = [*(f"Rain13K/train/{part}/{i}.jpg" for part in ("input", "target") for i in range(9))]
    paths += [f"Rain13K/{path}" for path in rain("Test100", 100)]
    items, complete = gather(FAMILIES["Test100"], members(*paths), ("gt", "lq"))
    assert (len(items), complete) == (100, True)


# Folders and labels ---------------------------------------------------------------------------------------------------


def test_usual_folders_are_tried_after_a_collections_own() -> None:
    own, usual = (
        ("x/Clean/HR/1.png", "x/Clean/HR/2.png", "x/Clean/HR/3.png"),
        ("x/GT/4.png", "x/GT/5.png", "x/GT/6.png"),
    )
    assert names(gather(CLEAN, members(*usual, *own), ("gt",))[0]) == list(own)
    assert names(gather(CLEAN, members(*usual), ("gt",))[0]) == list(usual)


@pytest.mark.parametrize("path", ["mine/{}.png", "my.zip: {}.png", "my.zip: a/b/{}.png"])
def test_the_only_folder_with_images_needs_no_special_name(path: str) -> None:
    paths = [path.format(i) for i in range(3)]
    assert names(gather(CLEAN, members(*paths), ("gt",))[0]) == paths


def test_several_folders_of_no_known_name_are_ambiguous() -> None:
    (line,) = lines(CLEAN, members("x/a/1.png", "x/b/2.png", "y.zip: 3.png"))
    assert line.startswith("Clean gt: x/a and x/b and y.zip could each be meant; ")
    assert "--source" in line


def test_sources_of_one_name_are_told_apart() -> None:
    paths = ("Clean/HR/1.png", "Clean/HR/2.png", "Clean/HR/3.png")
    twice = members(*paths)[""] + [
        replace(m, source=Path("/old/Clean"), file=Path("/old/Clean")) for m in members(*paths)[""]
    ]
    (line,) = lines(CLEAN, {"": twice})
    assert "Clean/HR and /old/Clean/HR could each be meant" in line


def test_a_source_may_be_named_twice() -> None:
    paths = ("Clean/HR/1.png", "Clean/HR/2.png", "Clean/HR/3.png")
    assert len(gather(CLEAN, members(*paths, *paths), ("gt",))[0]) == 3


def test_odd_characters_in_names_do_not_make_folders_differ() -> None:
    paths = ("x/a/1\n.png", "x/a/2\udcff.png", "x/a/3\u200b.png")
    assert len(gather(CLEAN, members(*paths), ("gt",))[0]) == 3


@pytest.mark.parametrize("label", ["gt", "Clean"])
def test_a_label_replaces_folder_names(label: str) -> None:
    labelled = [f"odd/{i}.png" for i in range(3)]
    found = members("Clean/HR/9.png", **{label: labelled})
    assert names(gather(CLEAN, found, ("gt",))[0]) == labelled


def test_a_role_label_takes_all_folders_but_prefers_known_ones() -> None:
    paths = ("x/a/1.png", "x/b/2.png", "x/c/d/3.png")
    assert names(gather(CLEAN, members(gt=paths), ("gt",))[0]) == list(paths)
    known = ("x/Clean/HR/1.png", "x/Clean/HR/2.png", "x/Clean/HR/3.png")
    assert names(gather(CLEAN, members(gt=paths + known), ("gt",))[0]) == list(known)


def test_labels_of_scales() -> None:
    family = FAMILIES["Set5"]
    found = members(gt=numbered("a/", "{}.png", 5), x2=numbered("b/", "{}X2.png", 5), x3=numbered("c/", "{}.png", 5))
    items, _ = gather(family, found, ("gt", "x2", "x3", "x4"))
    assert [set(item.files) for item in items] == [{"gt", "x2", "x3"}] * 5
    assert names(items, "x2") == numbered("b/", "{}X2.png", 5)


def test_a_union_takes_own_folders_or_labels_alone() -> None:
    one, two = ["x/One/HR/1.png", "x/One/HR/2.png"], ["x/Two/HR/1.png"]
    assert [item.key for item in gather(UNION, members(*one, *two), ("gt",))[0]] == ["One_1", "One_2", "Two_1"]
    items, _ = gather(UNION, members(*one, Two=["odd/7.png"]), ("gt",))
    assert names(items) == [*one, "odd/7.png"]
    (line,) = lines(UNION, members(*one, "x/HR/1.png"))
    assert line.startswith("Two: no GT images found")
    assert "--source Two=PATH" in line


def test_a_role_label_never_makes_one_collection_of_a_union_of_another() -> None:
    one, two = ["x/One/HR/1.png", "x/One/HR/2.png"], ["x/Two/HR/1.png"]
    assert len(gather(UNION, members(gt=one + two), ("gt",))[0]) == 3
    (line,) = lines(UNION, members(gt=one))
    assert line.startswith("Two: no GT images found")
    items, _ = gather(UNION, members(gt=one, Two=["odd/7.png"]), ("gt",))
    assert names(items) == [*one, "odd/7.png"]


def test_a_union_may_be_incomplete_by_whole_collections_but_not_by_halves_of_pairs() -> None:
    items, complete = gather(UNION, members("x/One/HR/1.png"), ("gt",), incomplete=True)
    assert (names(items), complete) == (["x/One/HR/1.png"], False)
    (line,) = lines(UNION, members("x/elsewhere/1.png"), incomplete=True)
    assert "no image of One, Two in the sources" in line
    found = members("x/our485/high/1.png", "x/our485/low/1.png", "x/VE-LOL-L-Cap-Normal_train/1.png")
    (line,) = lines(FAMILIES["LOL_VE-LOL"], found, ("gt", "lq"), incomplete=True)
    assert line.startswith("VE-LOL-L-Cap: no LQ images found")


def test_what_belongs_to_another_set_is_never_looked_into() -> None:
    family = FAMILIES["DIV2K"]
    (line,) = lines(family, members(*numbered("DIV2K_valid_HR/", "{:04}.png", 100, 801)), incomplete=True)
    assert line.startswith("DIV2K: no GT images found")


def test_validation_images_of_bsd500_are_left_out_under_a_label_too() -> None:
    found = members(gt=["x/a/1.jpg", "x/VAL/2.jpg", "x/b/val/3.jpg"])
    assert names(gather(FAMILIES["BSD500"], found, ("gt",), incomplete=True)[0]) == ["x/a/1.jpg"]


# Numbers --------------------------------------------------------------------------------------------------------------


def test_too_few_images_need_a_word() -> None:
    found = members("Clean/HR/1.png", "Clean/HR/2.png")
    assert lines(CLEAN, found) == ["Clean: 2 of 3 images found; add the missing ones, or say --incomplete"]
    items, complete = gather(CLEAN, found, ("gt",), incomplete=True)
    assert (len(items), complete) == (2, False)


@pytest.mark.parametrize("incomplete", [False, True])
def test_too_many_images_are_another_set(incomplete: bool) -> None:
    found = members(*numbered("Clean/HR/", "{}.png", 4))
    assert lines(CLEAN, found, incomplete=incomplete) == ["Clean: 4 images found, but it has 3: is it another set?"]


@pytest.mark.parametrize("count", [98, 100])
def test_both_numbers_in_use_are_complete(count: int) -> None:
    assert gather(FAMILIES["Test100"], members(*rain("Test100", count)), ("gt", "lq"))[1]


@pytest.mark.parametrize(("count", "part"), [(99, "99 of 100 or 98"), (97, "97 of 100 or 98"), (101, "has 100 or 98")])
def test_other_numbers_are_not(count: int, part: str) -> None:
    (line,) = lines(FAMILIES["Test100"], members(*rain("Test100", count)), ("gt", "lq"))
    assert part in line


def test_every_collection_has_its_line() -> None:
    found = lines(UNION, members("x/One/HR/1.png"))
    assert [line.split(":")[0] for line in found] == ["One", "Two"]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_images_at_all(name: str) -> None:
    family = FAMILIES[name]
    found = lines(family, members("holiday/notes/1.png", "holiday/other/2.png"), tuple(family.outputs))
    assert len(found) == len(family.collections)
    for line in found:
        assert "--source" in line


# Keys and partners ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "role", "stem", "key"),
    [
        ("VE-LOL-cap", "lq", "low00001", "00001"),
        ("VE-LOL-cap", "gt", "normal00001", "00001"),
        ("VE-LOL-cap", "gt", "Normal_7", "7"),
        ("VE-LOL-cap", "gt", "r0081t", "r0081t"),
        ("VE-LOL-cap", "gt", "low", "low"),
        ("Rain100L", "gt", "norain-001", "001"),
        ("Rain100L", "lq", "rain-001", "001"),
        ("Rain100L", "lq", "rain1", "1"),
        ("Test100", "lq", "1", "1"),
        ("DIV2K", "x2", "0001x2", "0001"),
        ("DIV2K", "x3", "0001X3", "0001"),
        ("DIV2K", "x2", "0001", "0001"),
        ("DIV2K", "x2", "0001x3", "0001x3"),
        ("DIV2K", "gt", "0001x2", "0001x2"),
        ("DIV2K", "gt", "a.b.c", "a_b_c"),
        ("DIV2K", "gt", "Größe 1", "Gru00f6u00dfe 1"),
        # Bytes of UTF-8, and one of no text.
        ("DIV2K", "gt", "Gr\udcc3\udcb6\udcc3\udc9fe\udcc3", "Gru00f6u00dfeudcc3"),
        ("DIV2K", "gt", "a\ud800", "aud800"),  # half a character, as Windows allows
    ],
)
def test_keys(family: str, role: str, stem: str, key: str) -> None:
    assert image_key(stem, FAMILIES[family].collections[0].key, role) == key


PATTERNS = sorted({c.key for family in FAMILIES.values() for c in family.collections})


@given(
    st.text(st.characters(codec=None), min_size=1), st.sampled_from(PATTERNS), st.sampled_from(["gt", "lq", "x2", "x4"])
)
def test_keys_are_such_as_basicsr_can_use(stem: str, pattern: str, role: str) -> None:
    key = image_key(stem, pattern, role)
    assert key.isascii()
    assert key.isprintable()
    assert "." not in key
    assert image_key(key, "(.+)", "gt") == key
    if role in ("gt", "lq"):
        assert key


def test_names_that_become_one_key_are_named() -> None:
    found = members("Clean/HR/a.b.png", "Clean/HR/a_b.png", "Clean/HR/ä.png", "Clean/HR/ö.png", "Clean/HR/c.png")
    assert lines(CLEAN, found) == [
        "Clean/HR/a_b.png: is called a_b in the set, as is Clean/HR/a.b.png; rename or remove one",
    ]


def test_the_same_image_in_two_formats_is_named() -> None:
    (line,) = lines(CLEAN, members("Clean/HR/1.jpg", "Clean/HR/1.png"))
    assert line.startswith("Clean/HR/1.png: is called 1 in the set, as is Clean/HR/1.jpg")


def test_names_too_long_for_a_key_are_named() -> None:
    longest = "a" * MAX_KEY
    assert gather(PAIRS, members(f"Pairs/high/{longest}.png", f"Pairs/low/{longest}.png"), ("gt", "lq"))
    (line,) = lines(CLEAN, members(f"y.zip: HR/{longest}b.png"))
    assert line.startswith("y.zip: HR/aaa")
    assert line.endswith(f"has a name of more than {MAX_KEY} characters; rename it")


def test_lr_images_without_partner_are_named() -> None:
    gt, lr = numbered("Set5/HR/", "{}.png", 5), numbered("Set5/LR_bicubic/X2/", "{}x2.png", 5, first=2)
    assert lines(FAMILIES["Set5"], members(*gt, *lr), ("gt", "x2")) == [
        "Set5/HR/1.png: has no X2 image; add it, or remove this one",
        "Set5/LR_bicubic/X2/6x2.png: has no GT image; add it, or remove this one",
    ]


NUMBERS = st.sets(st.integers(0, 30), min_size=1)


@given(NUMBERS, NUMBERS, st.randoms())
def test_pairs_are_whole_or_every_file_without_partner_is_named(gt: set[int], lq: set[int], random: object) -> None:
    paths = [f"Pairs/high/{i}.png" for i in gt] + [f"Pairs/low/{i}.png" for i in lq]
    random.shuffle(paths)  # type: ignore[attr-defined]
    alone = {f"Pairs/high/{i}.png" for i in gt - lq} | {f"Pairs/low/{i}.png" for i in lq - gt}
    if alone:
        assert {line.split(": has no ")[0] for line in lines(PAIRS, members(*paths), ("gt", "lq"))} == alone
        assert len(lines(PAIRS, members(*paths), ("gt", "lq"))) == len(alone)
        return
    items, complete = gather(PAIRS, members(*paths), ("gt", "lq"))
    assert complete
    assert [item.key for item in items] == sorted(map(str, gt))
    assert all(item.files["gt"].path.name == item.files["lq"].path.name for item in items)
