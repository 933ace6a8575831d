"""Families: the data sets that `basicsr prepare` can write, each from one or more collections. Data only."""

from dataclasses import dataclass
from typing import Literal

from datasets_prep.downloads import (
    BSD500,
    DIV2K,
    FLICKR2K,
    LOL_TRAIN,
    MPRNET,
    NOT_STATED,
    RAIN13K,
    RAIN_KEY,
    SCALES,
    VE_LOL,
    VE_LOL_CAP,
    VE_LOL_KEY,
    VE_LOL_SYN,
    WED,
    Collection,
)
from datasets_prep.sub_images import Grid


@dataclass(frozen=True)
class Family:
    """Data set that `basicsr prepare NAME` writes.

    Attributes:
        name: Name, also of the folder below `--out`.
        purpose: train or test.
        collections: Collection, or several that are joined.
        outputs: Role (gt, lq, x2, x3, x4) -> path below `--out`; `.lmdb` for an LMDB, otherwise a folder of PNG files.
        grid: How sub-images are cut; None keeps images whole.
        color: `color` stores gray images with three channels, `gray` accepts gray images only.
        deep: Images of 16 bits: refused, or rounded to 8.
    """

    name: str
    purpose: str
    collections: tuple[Collection, ...]
    outputs: dict[str, str]
    grid: Grid | None = None
    color: Literal["color", "gray"] = "color"
    deep: Literal["refuse", "round"] = "refuse"

    @property
    def images(self) -> int:
        """Number of images or pairs; 0 for any."""
        return sum(max(collection.images, default=0) for collection in self.collections)


# Crop, step and threshold as BasicSR's documentation has them for DIV2K.
SR_GRID = Grid(crop_size=480, step=240, thresh_size=0)
# With this step every patch of up to 128x128 lies whole in some sub-image, in half the space.
CLEAN_GRID = Grid(crop_size=480, step=352, thresh_size=16)


def _sr_test(
    name: str, images: int, megapixels: float, download: str, *aliases: str, terms: str = NOT_STATED
) -> Family:
    collection = Collection(
        name,
        (images,),
        gt=(*(f"{n}/{f}" for n in (name, *aliases) for f in ("HR", "GTmod12", "original")), name, *aliases),
        lr=tuple(f"{n}/LR_bicubic/X{{scale}}" for n in (name, *aliases)),
        download=download,
        megapixels=megapixels,
        terms=terms,
    )
    lr = {f"x{scale}": f"{name}/LR_bicubic/X{scale}" for scale in SCALES}
    return Family(name, "test", (collection,), {"gt": f"{name}/HR", **lr})


def _clean_test(
    name: str,
    images: int,
    megapixels: float,
    download: str,
    *folders: str,
    color: Literal["color", "gray"] = "color",
    terms: str = NOT_STATED,
) -> Family:
    gt = (f"{name}/GT", f"{name}/original_png", *folders, name)
    collection = Collection(name, (images,), gt=gt, download=download, terms=terms, megapixels=megapixels)
    return Family(name, "test", (collection,), {"gt": f"{name}/GT"}, color=color)


def _pairs_test(name: str, collection: Collection) -> Family:
    return Family(name, "test", (collection,), {"gt": f"{name}/GT", "lq": f"{name}/LQ"})


def _rain_test(name: str, *images: int) -> Family:
    collection = Collection(
        name,
        images,
        gt=(f"{name}/target", f"{name}/norain"),
        lq=(f"{name}/input", f"{name}/rainy", f"{name}/rain"),
        key=RAIN_KEY,
        apart_from=("train",),
        download=f"the test pairs {MPRNET}",
        megapixels=0.155,
    )
    return _pairs_test(name, collection)


def _sr_train(name: str, *collections: Collection) -> Family:
    lr = {f"x{scale}": f"{name}/{name}_train_LR_bicubic_X{scale}_sub.lmdb" for scale in SCALES}
    return Family(name, "train", collections, {"gt": f"{name}/{name}_train_HR_sub.lmdb", **lr}, SR_GRID)


def _clean_train(name: str, *collections: Collection) -> Family:
    return Family(name, "train", collections, {"gt": f"{name}/GT.lmdb"}, CLEAN_GRID)


def _pairs_train(name: str, *collections: Collection) -> Family:
    return Family(name, "train", collections, {"gt": f"{name}/GT.lmdb", "lq": f"{name}/LQ.lmdb"})


_EDSR = "benchmark.tar from the EDSR page of Seoul National University (cv.snu.ac.kr/research/EDSR)"
_BSD_TERMS = "non-commercial research and education (Berkeley Segmentation Dataset)"

_ALL = (
    _sr_train("DIV2K", DIV2K),
    _sr_train("Flickr2K", FLICKR2K),
    _sr_train("DF2K", DIV2K, FLICKR2K),
    _clean_train("BSD500", BSD500),
    _clean_train("WED", WED),
    _clean_train("DFBW", DIV2K, FLICKR2K, BSD500, WED),
    _pairs_train("LOL-train", LOL_TRAIN),
    _pairs_train("VE-LOL-L", VE_LOL_CAP, VE_LOL_SYN),
    _pairs_train("LOL_VE-LOL", LOL_TRAIN, VE_LOL_CAP, VE_LOL_SYN),
    _pairs_train("Rain13K", RAIN13K),
    _sr_test("Set5", 5, 0.12, _EDSR),
    _sr_test("Set14", 14, 0.23, _EDSR),
    _sr_test("BSD100", 100, 0.154, _EDSR, "B100", "BSDS100", terms=_BSD_TERMS),
    _sr_test("Urban100", 100, 0.77, _EDSR),
    _sr_test(
        "Manga109",
        109,
        0.97,
        "Manga109 from manga109.org, on application",
        terms="academic use on application; every use needs the credit that its page asks for",
    ),
    _clean_test(
        "CBSD68", 68, 0.154, "the color images of BSD68, from the Berkeley Segmentation Dataset", terms=_BSD_TERMS
    ),
    _clean_test("Kodak24", 24, 0.39, "the Kodak Lossless True Color Image Suite", "Kodak", terms="unrestricted use"),
    _clean_test("McMaster", 18, 0.25, "the McMaster data set of Hong Kong Polytechnic University", "McM"),
    _clean_test("Set12", 12, 0.15, "Set12, with the DnCNN code", color="gray"),
    _clean_test("BSD68", 68, 0.154, "BSD68 in gray, with the DnCNN code", color="gray", terms=_BSD_TERMS),
    _pairs_test(
        "LOL",
        Collection(
            "LOL",
            (15,),
            gt=("eval15/high", "LOL/high"),
            lq=("eval15/low", "LOL/low"),
            apart_from=("our485",),
            download=LOL_TRAIN.download,
            megapixels=0.24,
        ),
    ),
    _pairs_test(
        "VE-LOL-cap",
        Collection(
            "VE-LOL-cap",
            (100,),
            gt=("VE-LOL-L-Cap-Normal_test", "VE-LOL-L-Cap*/test/high"),
            lq=("VE-LOL-L-Cap-Low_test", "VE-LOL-L-Cap*/test/low"),
            key=VE_LOL_KEY,
            apart_from=("train", "VE-LOL-L-Cap-Low_train", "VE-LOL-L-Cap-Normal_train"),
            download=f"{VE_LOL} (captured part, test pairs)",
            megapixels=0.24,
        ),
    ),
    _rain_test("Test100", 100, 98),  # MPRNet's download lacks two
    _rain_test("Rain100H", 100),
    _rain_test("Rain100L", 100),
)

FAMILIES = {family.name: family for family in _ALL}
"""Name -> family, in the order of `basicsr prepare list`."""


OWN = "folder"
"""Name of the family of the user's own images."""


def own_folder(*, pairs: bool, scales: tuple[int, ...], grid: Grid | None) -> Family:
    """Build the family `folder`: images of the user's own.

    Args:
        pairs: LQ images are given beside the ground truth, `scales[0]` times smaller if there is a scale.
        scales: Clean images also get LR images at these scales.
        grid: How sub-images are cut; None keeps images whole.
    """
    collection = Collection(OWN)
    if pairs:
        outputs = {"gt": "GT.lmdb", "lq": "LQ.lmdb"}
    elif scales:
        outputs = {"gt": "HR.lmdb", **{f"x{scale}": f"LR_bicubic_X{scale}.lmdb" for scale in scales}}
    else:
        outputs = {"gt": "GT.lmdb"}
    return Family(OWN, "train", (collection,), outputs, grid, deep="round")
