"""The data sets that people download: what they hold, how they lie on disk, where they come from. Nothing runs here."""

from dataclasses import dataclass
from typing import Literal

from datasets_prep.sub_images import Grid

SCALES = (2, 3, 4)

COMMON_FOLDERS = {
    "gt": ("HR", "GT", "high", "normal", "target", "groundtruth", "original_png", "original", "images"),
    "lq": ("LQ", "low", "input", "rainy", "rain"),
    **{f"x{scale}": (f"LR_bicubic/X{scale}", f"LR/X{scale}") for scale in SCALES},
}
"""Role -> folders that hold its images in many a download, tried after a collection's own."""

NOT_STATED = "none stated that we know of; ask its authors before any use beyond research"


@dataclass(frozen=True)
class Collection:
    """Images that come together.

    Attributes:
        name: Also the label for `--source LABEL=PATH`.
        images: Number of images or pairs, or the numbers that are in use; none for any.
        gt: Folders of ground-truth images, best first: the last parts of a path, any case, `*` and `?` as in a shell.
            `a + b` stands for both together.
        lq: The same for LQ images of pairs.
        lr: The same for LR images of super-resolution; `{scale}` is filled in.
        key: The first group of this pattern in a file's name (without extension) tells which images belong together.
        apart_from: Folders never looked into.
        download: What people get, and where: the official page by name.
        terms: Licence or terms of use in short, as far as its authors state any.
        megapixels: Of a typical image, for `basicsr prepare list` alone.
    """

    name: str
    images: tuple[int, ...] = ()
    gt: tuple[str, ...] = ()
    lq: tuple[str, ...] = ()
    lr: tuple[str, ...] = ()
    key: str = r"(.+)"
    apart_from: tuple[str, ...] = ()
    download: str = ""
    terms: str = NOT_STATED
    megapixels: float = 0.0

    def folders(self, role: str) -> tuple[str, ...]:
        """This collection's own folders for `gt`, `lq`, or `x2`, `x3`, `x4`."""
        if role in ("gt", "lq"):
            return self.gt if role == "gt" else self.lq
        return tuple(folder.format(scale=role[1:]) for folder in self.lr)


@dataclass(frozen=True)
class Family:
    """What `basicsr prepare NAME` makes.

    Attributes:
        name: Also the folder below `--out`.
        purpose: train or test.
        collections: One, or several that are joined.
        outputs: Role (gt, lq, x2, x3, x4) -> path below `--out`; `.lmdb` for an LMDB, otherwise a folder of PNG files.
        grid: How sub-images are cut; None keeps images whole.
        color: What the images are; `color` turns gray ones into three channels, `gray` wants gray ones.
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

DIV2K = Collection(
    "DIV2K",
    (800,),
    gt=("DIV2K_train_HR", "DIV2K/HR"),
    lr=("DIV2K_train_LR_bicubic/X{scale}", "DIV2K_train_LR_bicubic_X{scale}"),
    apart_from=("DIV2K_valid_HR", "DIV2K_valid_LR_bicubic", "DIV2K_test_HR"),
    download="DIV2K_train_HR.zip, and if you like DIV2K_train_LR_bicubic_X2.zip, _X3, _X4, from the DIV2K page of "
    "ETH Zurich (data.vision.ee.ethz.ch/cvl/DIV2K)",
    terms="academic research only; the photographs belong to their owners",
    megapixels=2.8,
)
FLICKR2K = Collection(
    "Flickr2K",
    (2650,),
    gt=("Flickr2K_HR", "Flickr2K/HR"),
    lr=("Flickr2K_LR_bicubic/X{scale}",),
    download="Flickr2K.tar from the EDSR page of Seoul National University (cv.snu.ac.kr/research/EDSR)",
    terms="none stated that we know of; photographs from Flickr under their owners' licences",
    megapixels=2.8,
)
BSD500 = Collection(
    "BSD500",
    (400,),
    gt=("BSDS500/data/images/train + BSDS500/data/images/test", "images/train + images/test", "BSD500", "BSDS500"),
    # Its validation images are those of the test sets BSD68 and BSD100.
    apart_from=("val",),
    download="BSR_bsds500.tgz from the Berkeley Segmentation Dataset page (BSDS500); its train and test images",
    terms="non-commercial research and education",
    megapixels=0.154,
)
WED = Collection(
    "WED",
    (4744,),
    gt=("pristine_images", "WED", "WaterlooED"),
    download="exploration_database_and_code from the Waterloo Exploration Database page (University of Waterloo); "
    "unpack it if it comes as .rar",
    terms="see the copyright notice inside the download",
    megapixels=0.3,
)
LOL_TRAIN = Collection(
    "LOL-train",
    (485,),
    gt=("our485/high",),
    lq=("our485/low",),
    apart_from=("eval15",),
    download="LOLdataset.zip from the page of Retinex-Net ('Deep Retinex Decomposition', BMVC 2018)",
    megapixels=0.24,
)
_VE_LOL = "VE-LOL-L from the page of 'Benchmarking Low-Light Image Enhancement and Beyond' (IJCV 2021)"
_VE_LOL_KEY = r"(?:low|normal|high)?_?(.+)"
VE_LOL_CAP = Collection(
    "VE-LOL-L-Cap",
    (400,),
    gt=("VE-LOL-L-Cap-Normal_train", "VE-LOL-L-Cap*/train/high"),
    lq=("VE-LOL-L-Cap-Low_train", "VE-LOL-L-Cap*/train/low"),
    key=_VE_LOL_KEY,
    apart_from=("test", "VE-LOL-L-Cap-Low_test", "VE-LOL-L-Cap-Normal_test"),
    download=f"{_VE_LOL} (captured part, training pairs)",
    megapixels=0.24,
)
VE_LOL_SYN = Collection(
    "VE-LOL-L-Syn",
    (900,),
    gt=("VE-LOL-L-Syn-Normal_train", "VE-LOL-L-Syn*/train/high"),
    lq=("VE-LOL-L-Syn-Low_train", "VE-LOL-L-Syn*/train/low"),
    key=_VE_LOL_KEY,
    apart_from=("test", "VE-LOL-L-Syn-Low_test", "VE-LOL-L-Syn-Normal_test"),
    download=f"{_VE_LOL} (synthetic part, training pairs)",
    megapixels=0.147,
)
_MPRNET = "as collected for MPRNet (CVPR 2021), deraining data, which names its sources"
_RAIN_KEY = r"(?:norain-?|rain-?)?(.+?)"
RAIN13K = Collection(
    "Rain13K",
    (13_711,),
    gt=("Rain13K/target", "train/target"),
    lq=("Rain13K/input", "train/input"),
    apart_from=("test",),
    download=f"the training pairs {_MPRNET}",
    terms="joined from several sets, each with its own terms; see the papers that it names",
    megapixels=0.2,
)


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
        key=_RAIN_KEY,
        apart_from=("train",),
        download=f"the test pairs {_MPRNET}",
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
        "CBSD68", 68, 0.154, "the colour images of BSD68, from the Berkeley Segmentation Dataset", terms=_BSD_TERMS
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
            key=_VE_LOL_KEY,
            apart_from=("train", "VE-LOL-L-Cap-Low_train", "VE-LOL-L-Cap-Normal_train"),
            download=f"{_VE_LOL} (captured part, test pairs)",
            megapixels=0.24,
        ),
    ),
    _rain_test("Test100", 100, 98),  # MPRNet's download lacks two
    _rain_test("Rain100H", 100),
    _rain_test("Rain100L", 100),
)

FAMILIES = {family.name: family for family in _ALL}
"""Name -> family, in the order of `basicsr prepare list`."""


def own_folder(*, pairs: bool, scales: tuple[int, ...], grid: Grid | None) -> Family:
    """The family `folder`: images of one's own.

    Args:
        pairs: LQ images are given beside the ground truth, `scales[0]` times smaller if there is a scale.
        scales: Clean images also get LR images at these scales.
        grid: How sub-images are cut; None keeps images whole.
    """
    collection = Collection("folder", gt=("**",), lq=("**",))
    if pairs:
        outputs = {"gt": "GT.lmdb", "lq": "LQ.lmdb"}
    elif scales:
        outputs = {"gt": "HR.lmdb", **{f"x{scale}": f"LR_bicubic_X{scale}.lmdb" for scale in scales}}
    else:
        outputs = {"gt": "GT.lmdb"}
    return Family("folder", "train", (collection,), outputs, grid, deep="round")
