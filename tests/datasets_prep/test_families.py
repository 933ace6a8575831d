"""The table of data sets: it yields what the option files read, and its facts are those published."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from helpers import REPOSITORY

from datasets_prep.downloads import COMMON_FOLDERS, SCALES, Collection
from datasets_prep.families import FAMILIES, own_folder
from datasets_prep.gathering import HERE
from datasets_prep.photographs import DEGRADED
from datasets_prep.sub_images import Grid

COLLECTIONS = {id(c): c for family in FAMILIES.values() for c in family.collections}.values()

IMAGES = {
    "DIV2K": 800,
    "Flickr2K": 2650,
    "DF2K": 3450,
    "BSD500": 400,
    "WED": 4744,
    "DFBW": 8594,
    "LOL-train": 485,
    "VE-LOL-L": 1300,
    "LOL_VE-LOL": 1785,
    "Rain13K": 13_711,
    "Set5": 5,
    "Set14": 14,
    "BSD100": 100,
    "Urban100": 100,
    "Manga109": 109,
    "CBSD68": 68,
    "Kodak24": 24,
    "McMaster": 18,
    "Set12": 12,
    "BSD68": 68,
    "LOL": 15,
    "VE-LOL-cap": 100,
    "Test100": 100,
    "Rain100H": 100,
    "Rain100L": 100,
}


def data_roots(options: Any) -> Iterator[str]:
    """All paths below datasets/ in a file of options."""
    if isinstance(options, dict):
        for value in options.values():
            yield from data_roots(value)
    elif isinstance(options, list):
        for value in options:
            yield from data_roots(value)
    elif isinstance(options, str) and options.startswith("datasets/"):
        yield options.removeprefix("datasets/")


OPTION_FILES = [
    path
    for path in sorted((REPOSITORY / "options").glob("*.yml"))
    if "_demo" not in path.stem and path.stem != "benchmark_speed" and not path.stem.startswith("finetune_")
]


@pytest.mark.parametrize("path", OPTION_FILES, ids=lambda path: path.stem)
def test_what_option_files_read_is_what_a_family_yields(path: Any) -> None:
    outputs = {output for family in FAMILIES.values() for output in family.outputs.values()}
    outputs |= {f"photographs/{part}/{name}.lmdb" for part in ("train", "val") for name in DEGRADED}
    roots = set(data_roots(yaml.safe_load(path.read_text(encoding="utf-8"))))
    assert roots
    assert roots <= outputs


def test_there_are_option_files() -> None:
    assert len(OPTION_FILES) > 20


def test_numbers_of_images_are_those_published() -> None:
    assert {name: family.images for name, family in FAMILIES.items()} == IMAGES


def test_names_and_outputs_are_unique() -> None:
    outputs = [output for family in FAMILIES.values() for output in family.outputs.values()]
    assert len(set(outputs)) == len(outputs)
    assert len({name.lower() for name in FAMILIES}) == len(FAMILIES)
    assert not {"folder", "photographs", "check", "list"} & FAMILIES.keys()
    assert all(name == family.name for name, family in FAMILIES.items())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_outputs_lie_below_the_familys_folder(family: Any) -> None:
    assert all(output.startswith(f"{family.name}/") for output in family.outputs.values())
    assert next(iter(family.outputs)) == "gt"
    # Unfinished outputs lie side by side, under their last names.
    last = [output.split("/")[-1] for output in family.outputs.values()]
    assert len(set(last)) == len(last)
    # LMDBs for training, PNG files for tests; never both in one family.
    assert {output.endswith(".lmdb") for output in family.outputs.values()} == {family.purpose == "train"}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_sub_images_can_be_divided_by_all_scales(family: Any) -> None:
    scales = [int(role[1:]) for role in family.outputs if role.startswith("x")]
    assert not scales or tuple(scales) == SCALES
    if family.grid is not None:
        family.grid.check_multiple(math.lcm(*scales))


@pytest.mark.parametrize("name", ["DFBW", "BSD500", "WED"])
def test_every_patch_of_clean_images_lies_in_a_sub_image(name: str) -> None:
    grid = FAMILIES[name].grid
    assert grid is not None
    assert grid.crop_size - grid.step >= 128


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: c.name)
def test_every_collection_says_where_it_is_from_and_on_which_terms(collection: Collection) -> None:
    for text in (collection.download, collection.terms):
        assert text
        assert "\n" not in text
    assert collection.megapixels > 0
    assert collection.images
    assert all(count > 0 for count in collection.images)


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda c: c.name)
def test_patterns(collection: Collection) -> None:
    assert re.compile(collection.key).groups == 1
    match = re.fullmatch(collection.key, "0001", re.IGNORECASE)
    assert match is not None
    assert match[1] == "0001"
    assert collection.gt
    assert HERE not in collection.gt
    for scale in SCALES:
        assert all("{" not in folder for folder in collection.folders(f"x{scale}"))
        assert len(set(collection.folders(f"x{scale}"))) == len(collection.lr)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_lq_images_are_looked_for_where_the_family_yields_them(family: Any) -> None:
    for collection in family.collections:
        assert bool(collection.lq) == ("lq" in family.outputs)


def test_a_collection_is_told_from_others_by_its_name() -> None:
    names = [collection.name for family in FAMILIES.values() for collection in family.collections]
    by_name = {collection.name: collection for family in FAMILIES.values() for collection in family.collections}
    assert all(by_name[collection.name] is collection for collection in COLLECTIONS)
    # Keys of unions begin with it.
    assert not [(a, b) for a in names for b in names if f"{b}_".startswith(f"{a}_") and a != b]


def test_usual_folders_are_known_for_every_role() -> None:
    roles = {role for family in FAMILIES.values() for role in family.outputs}
    assert roles == COMMON_FOLDERS.keys()


@pytest.mark.parametrize(
    ("pairs", "scales", "outputs"),
    [
        (False, (), {"gt": "GT.lmdb"}),
        (False, (2, 5), {"gt": "HR.lmdb", "x2": "LR_bicubic_X2.lmdb", "x5": "LR_bicubic_X5.lmdb"}),
        (True, (), {"gt": "GT.lmdb", "lq": "LQ.lmdb"}),
        (True, (4,), {"gt": "GT.lmdb", "lq": "LQ.lmdb"}),
    ],
)
def test_images_of_ones_own(pairs: bool, scales: tuple[int, ...], outputs: dict[str, str]) -> None:
    family = own_folder(pairs=pairs, scales=scales, grid=Grid(48, 24))
    assert (family.name, family.outputs, family.grid, family.images) == ("folder", outputs, Grid(48, 24), 0)
