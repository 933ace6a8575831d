"""Collections of images as people download them: their folders, where they come from, their terms. Data only."""

from dataclasses import dataclass

SCALES = (2, 3, 4)

COMMON_FOLDERS = {
    "gt": ("HR", "GT", "high", "normal", "target", "groundtruth", "original_png", "original", "images"),
    "lq": ("LQ", "low", "input", "rainy", "rain"),
    **{f"x{scale}": (f"LR_bicubic/X{scale}", f"LR/X{scale}") for scale in SCALES},
}
"""Role -> folders that hold its images in many downloads, tried after a collection's own."""

NOT_STATED = "none stated that we know of; ask its authors before any use beyond research"


@dataclass(frozen=True)
class Collection:
    """Images that are downloaded together.

    Attributes:
        name: Also the label for `--source LABEL=PATH`.
        images: Number of images or pairs, or all numbers in use; empty for any number.
        gt: Folders of ground-truth images, best first: the last parts of a path, any case, `*` and `?` as in a shell.
            `a + b` stands for both together.
        lq: The same for LQ images of pairs.
        lr: The same for LR images of super-resolution; `{scale}` is filled in.
        key: The first group of this pattern in a file's name (without extension) tells which images belong together.
        apart_from: Folders never looked into.
        download: File to get, and the official page by name.
        terms: Licence or terms of use in short, as far as its authors state any.
        megapixels: Size of a typical image, only for `basicsr prepare list`.
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
        """Folders of this collection for `gt`, `lq`, or `x2`, `x3`, `x4`."""
        if role in ("gt", "lq"):
            return self.gt if role == "gt" else self.lq
        return tuple(folder.format(scale=role[1:]) for folder in self.lr)


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
VE_LOL = "VE-LOL-L from the page of 'Benchmarking Low-Light Image Enhancement and Beyond' (IJCV 2021)"
VE_LOL_KEY = r"(?:low|normal|high)?_?(.+)"
VE_LOL_CAP = Collection(
    "VE-LOL-L-Cap",
    (400,),
    gt=("VE-LOL-L-Cap-Normal_train", "VE-LOL-L-Cap*/train/high"),
    lq=("VE-LOL-L-Cap-Low_train", "VE-LOL-L-Cap*/train/low"),
    key=VE_LOL_KEY,
    apart_from=("test", "VE-LOL-L-Cap-Low_test", "VE-LOL-L-Cap-Normal_test"),
    download=f"{VE_LOL} (captured part, training pairs)",
    megapixels=0.24,
)
VE_LOL_SYN = Collection(
    "VE-LOL-L-Syn",
    (900,),
    gt=("VE-LOL-L-Syn-Normal_train", "VE-LOL-L-Syn*/train/high"),
    lq=("VE-LOL-L-Syn-Low_train", "VE-LOL-L-Syn*/train/low"),
    key=VE_LOL_KEY,
    apart_from=("test", "VE-LOL-L-Syn-Low_test", "VE-LOL-L-Syn-Normal_test"),
    download=f"{VE_LOL} (synthetic part, training pairs)",
    megapixels=0.147,
)
MPRNET = "as collected for MPRNet (CVPR 2021), deraining data, which names its sources"
RAIN_KEY = r"(?:norain-?|rain-?)?(.+?)"
RAIN13K = Collection(
    "Rain13K",
    (13_711,),
    gt=("Rain13K/target", "train/target"),
    lq=("Rain13K/input", "train/input"),
    apart_from=("test",),
    download=f"the training pairs {MPRNET}",
    terms="joined from several sets, each with its own terms; see the papers that it names",
    megapixels=0.2,
)
