"""Text of `basicsr prepare list`: for every family its sources, their terms, and its outputs."""

from datasets_prep.downloads import Collection
from datasets_prep.estimate import readable
from datasets_prep.families import FAMILIES, Family
from datasets_prep.sub_images import Grid

BYTES_A_PIXEL = 1.75
"""Bytes of PNG a pixel, level 1: 1.6 of Set5, 1.7 of BSDS500, 1.9 of McMaster, but 1.2 of photographs scaled down."""

OWN_FOLDER = """\
folder (for training)
  needs   clean images of your own, or pairs: --source gt=DIR lq=DIR
  yields  HR.lmdb and LR_bicubic_X{N}.lmdb with --scale, GT.lmdb without, GT.lmdb and LQ.lmdb of pairs"""

PHOTOGRAPHS = """\
photographs (to check a set-up with: options/check_*.yml)
  needs   nothing: photographs that come with scikit-image
  terms   as scikit-image states for each (skimage/data/README.txt)
  yields  train and val, each with HR.lmdb, LR_bicubic_X{2,3,4}.lmdb, dark.lmdb, rainy.lmdb
  disk    about 23 MB"""

NOTE = """\
Terms are given in short and as far as known to us: what the page of a data set says, counts.
Sizes on disk are estimates; before it writes anything, `basicsr prepare` says what your files will take."""


def describe(family: Family) -> str:
    """Describe a family in a paragraph."""
    lines = [f"{family.name} ({'for training' if family.purpose == 'train' else 'test set'})"]
    for collection in family.collections:
        name = f"{collection.name}, " if len(family.collections) > 1 else ""
        count = " or ".join(f"{count:,}" for count in collection.images)
        lines.append(f"  needs   {name}{count} {'pairs' if collection.lq else 'images'}: {collection.download}")
        lines.append(f"  terms   {name}{collection.terms}")
    lines.append(f"  yields  {', '.join(family.outputs.values())}")
    if family.grid is not None:
        lines.append(
            f"          in sub-images of {family.grid.crop_size}x{family.grid.crop_size}, step {family.grid.step}"
        )
    lines.append(f"  disk    about {readable(sum(_bytes(c, family) for c in family.collections))}")
    return "\n".join(lines)


def descriptions() -> dict[str, str]:
    """Describe all families, that of the user's own images, and the embedded one; returns name -> paragraph."""
    return {
        **{name: describe(family) for name, family in FAMILIES.items()},
        "folder": OWN_FOLDER,
        "photographs": PHOTOGRAPHS,
    }


def _bytes(collection: Collection, family: Family) -> float:
    pixels = collection.megapixels * 1e6
    share = sum(1 if role in ("gt", "lq") else 1 / int(role[1:]) ** 2 for role in family.outputs)
    return max(collection.images) * pixels * _overlap(family.grid, pixels) * share * BYTES_A_PIXEL


def _overlap(grid: Grid | None, pixels: float) -> float:
    """Average number of sub-images that hold a pixel."""
    if grid is None:
        return 1.0
    height, width = round((pixels * 2 / 3) ** 0.5), round((pixels * 3 / 2) ** 0.5)
    return sum(box[2] * box[3] for box in grid.boxes(height, width)) / pixels
