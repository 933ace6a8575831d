"""Schema of the blocks of data sets in the option files of trainings and tests; see `schema`."""

from typing import Annotated, Literal

from pydantic import Field

from ramit_model.config.blocks import (
    Block,
    Count,
    HeldOut,
    Natural,
    NotNegative,
    Sigma,
    Typed,
)


class Dataset(Block):
    """Options of every data set."""

    name: str = Field(description="Name in logs, tables and folders of results.")
    type: str = Field(description="Class of the data set.")
    meta_info_file: str | None = Field(
        default=None, description="Text file that lists the images to read, one a line; ~ reads the whole folder."
    )
    io_backend: Typed = Field(description="`{type: disk}` for folders, `{type: lmdb}` for LMDBs.")
    # For training only; the validation blocks of BasicSR's own files have them too.
    gt_size: Natural | None = Field(
        default=None,
        description="Side of a training patch in GT pixels, a multiple of `scale`; not with `train.progressive`.",
    )
    use_hflip: bool | None = Field(default=None, description="Flip training patches at random.")
    use_rot: bool | None = Field(default=None, description="Turn training patches by right angles at random.")
    use_shuffle: bool | None = Field(
        default=None, description="Accepted because BasicSR's own files have it; has no effect."
    )
    num_worker_per_gpu: Count | None = Field(default=None, description="Reading processes of each training process.")
    batch_size_per_gpu: Natural | None = Field(
        default=None, description="Patches an iteration of each training process; not with `train.progressive`."
    )
    dataset_enlarge_ratio: Natural = Field(
        default=1, description="Passes over the images that make an epoch; not needed with RestorationModel."
    )
    prefetch_mode: Literal["cpu", "cuda"] | None = Field(
        default=None, description="Read batches ahead in a thread (cpu) or also copy them ahead to the GPU (cuda)."
    )
    num_prefetch_queue: Natural = Field(default=1, description="Batches that `prefetch_mode: cpu` reads ahead.")
    pin_memory: bool = Field(default=False, description="Read into page-locked memory, which copies to the GPU faster.")
    persistent_workers: bool = Field(default=False, description="Keep the reading processes from epoch to epoch.")


TEMPLATE = "LQ file name without suffix, where {} is that of the GT file."
KEY = (
    "Regular expression that finds what GT and LQ names have in common, where they are not equal and follow no known "
    "pattern."
)
"""Descriptions of options that several data sets have."""


class SingleDataset(Dataset):
    """Low-quality images alone; nothing is measured."""

    dataroot_lq: str = Field(description="Folder or LMDB of the LQ images.")
    dataroot_gt: str | None = Field(default=None, description="Accepted, but not read.")
    filename_tmpl: str = Field(default="{}", description=TEMPLATE)
    color: Literal["y", "gray"] | None = Field(
        default=None,
        description="gray: make images gray by OpenCV's 8-bit RGB2GRAY; y: read only the Y channel of YCbCr "
        "(BT.601, 16..235).",
    )
    mean: list[float] | None = Field(default=None, description="Mean to subtract from each channel, range 0..1.")
    std: list[float] | None = Field(
        default=None, description="Standard deviation to divide each channel by, range 0..1."
    )


class PairedDataset(SingleDataset):
    """Pairs of low-quality and ground-truth images."""

    dataroot_gt: str = Field(description="Folder or LMDB of the GT images.")
    key: str | None = Field(default=None, description=KEY)


class TrainDataset(Dataset):
    """Options of every training set."""

    use_hflip: bool = Field(description="Flip patches at random.")
    use_rot: bool = Field(description="Turn patches by right angles at random.")
    sub_images: bool = Field(
        default=False, description="NAME_s001, NAME_s002, ... are one image, and all images are taken equally often."
    )
    num_worker_per_gpu: Count = Field(description="Reading processes of each training process.")


class PairedTrainDataset(TrainDataset, PairedDataset):
    """Training pairs."""


class NoisyDataset(Dataset):
    """Options of data sets that add Gaussian noise when an image is read."""

    color: Literal["gray"] | None = Field(
        default=None, description="gray: make images gray by OpenCV's 8-bit RGB2GRAY."
    )
    sigma: Sigma | None = Field(
        default=None, description="Noise level in 8-bit gray levels, range 0..255; ~ takes each level of `val.sigma`."
    )


class CleanDataset(NoisyDataset):
    """Ground truth alone, to which Gaussian noise is added when it is read."""

    dataroot_gt: str = Field(description="Folder or LMDB of the clean images.")


class CleanTrainDataset(TrainDataset, CleanDataset):
    """Clean training images."""

    sigma: Annotated[list[Sigma], Field(min_length=2, max_length=2)] = Field(  # type: ignore[assignment]
        description="Limits of the noise level, uniform for each patch, in 8-bit gray levels, range 0..255."
    )


class PhotoDataset(NoisyDataset):
    """Folder of photos, sub-folders included. LQ is made when they are read, or comes from a second folder."""

    io_backend: Typed | None = Field(  # type: ignore[assignment]
        default=None, description="Folders only: `{type: disk}`, or left out."
    )
    dataroot_gt: str | None = Field(
        default=None,
        description="Folder of the photos; a validation set without it takes what `datasets.train` holds out.",
    )
    dataroot_lq: str | None = Field(
        default=None,
        description="Folder of LQ images, paired with the photos by their names; ~ makes LQ: by MATLAB's bicubic "
        "`imresize` at a scale above 1, else by noise.",
    )
    filename_tmpl: str = Field(default="{}", description=TEMPLATE)
    key: str | None = Field(default=None, description=KEY)
    shrink: Natural = Field(
        default=1,
        description="Downscale the photos by this number before anything else, against noise and artefacts of JPEG.",
    )
    held_out: HeldOut = Field(
        default=0,
        description="Photos for validation alone, chosen by their names: a training takes all others, a validation "
        "these. tenth: a tenth, 1 at least and 20 at most; 0: a validation takes the whole folder.",
    )
    crop: Natural | None = Field(
        default=None, description="Side of the centre that validations and tests take, LQ pixels; ~ for whole photos."
    )


class PhotoTrainDataset(TrainDataset, PhotoDataset):
    """Photos to train on."""

    io_backend: Typed | None = Field(default=None, description="Folders only: `{type: disk}`, or left out.")
    dataroot_gt: str = Field(description="Folder of the photos.")
    held_out: HeldOut = Field(
        default="tenth", description="As in validations; where no validation takes them, none is held out."
    )
    sigma: Annotated[list[Sigma], Field(min_length=2, max_length=2)] | None = Field(  # type: ignore[assignment]
        default=None,
        description="Limits of the noise level, uniform for each patch, in 8-bit gray levels, range 0..255.",
    )
    cache_gb: NotNegative = Field(
        default=20,
        description="Most gigabytes of decoded photos on the disk (a photo of 12 megapixels takes 0.036), and never "
        "more than half of its free space; 0 decodes a photo for each patch.",
    )
    cache_folder: str | None = Field(
        default=None, description="Folder of the decoded photos; ~ for `experiments/.decoded`."
    )


CLEAN = "CleanImageDataset"
PHOTOS = "PhotoDataset"
DATASETS: dict[str, tuple[type[Block], type[Block]]] = {
    "PairedRestorationDataset": (PairedTrainDataset, PairedDataset),
    "PairedImageDataset": (PairedTrainDataset, PairedDataset),
    "SingleRestorationDataset": (SingleDataset, SingleDataset),
    "SingleImageDataset": (SingleDataset, SingleDataset),
    CLEAN: (CleanTrainDataset, CleanDataset),
    PHOTOS: (PhotoTrainDataset, PhotoDataset),
}
"""Data set type -> schema for training, and for validation and test."""
