"""Reads the images of a data set from files or an LMDB; what is wrong with them is known before a run begins."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import torch
from torch import Tensor

from datasets_prep.headers import ClaimError, check_claim, read_header
from datasets_prep.image_formats import ImageError
from ramit_model.basicsr_bridge import FileClient, bgr2ycbcr
from ramit_model.data.degradation import to_gray
from ramit_model.data.listing import lmdb_sizes
from ramit_model.data.patches import Image
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.paths import expand
from ramit_model.system.text import printable

UNREADABLE = "cannot be decoded as an image; replace or remove it"

Sizes = dict[str, tuple[int, int]]
"""Path or key -> height and width; without those that only decoding tells."""


def _has(cursor: lmdb.Cursor, key: bytes) -> bool:
    try:
        return bool(cursor.set_key(key))
    except lmdb.BadValsizeError:  # no key of an LMDB is empty or so long
        return False


class ImageReader:
    """Reader of a data set's images, from disk or an LMDB as its option block says.

    Args:
        opt: Option block with `name`, `io_backend` and a `dataroot_KIND` for each kind.
        kinds: Kinds of images: lq, gt.

    Attributes:
        roots: Kind -> folder or LMDB.
    """

    def __init__(self, opt: dict[str, Any], kinds: tuple[str, ...]) -> None:
        self.name, self.roots = opt["name"], {kind: expand(opt[f"dataroot_{kind}"]) for kind in kinds}
        self.backend = {key: opt["io_backend"][key] for key in opt["io_backend"] if key not in ("type", "client_keys")}
        self.type = opt["io_backend"]["type"]
        self.client: Any = None  # opened where it is used: LMDBs cannot travel to workers

    def path(self, name: str, kind: str) -> str:
        """Path of an image on the disk, or its key."""
        return name if self.type == "lmdb" else str(Path(self.roots[kind], name))

    def where(self, path: str, kind: str) -> str:
        """Name of an image in messages: the data set, then its file, or LMDB and key."""
        place = f"{self.roots[kind]}, entry {path}" if self.type == "lmdb" else path
        return f"data set {self.name}: {printable(place)}"

    def read(self, path: str, kind: str) -> Image:
        """Read an image, (H, W, 3) BGR, 8-bit (decoded by OpenCV as BasicSR does).

        Raises:
            InputError: It cannot be decoded, or the LMDB cannot be opened.
        """
        try:
            content = self._client().get(path, kind)
            check_claim(content)
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        except FileNotFoundError:
            raise InputError(f"{self.where(path, kind)}: no such file; correct the list") from None
        except ClaimError as error:
            raise InputError(f"{self.where(path, kind)}: {error}") from None
        except (OSError, TypeError, ValueError, cv2.error, lmdb.Error):
            image = None
        if image is None:
            raise InputError(f"{self.where(path, kind)}: {UNREADABLE}")
        return image

    def _client(self) -> Any:
        if self.client is None:
            places = {"db_paths": list(self.roots.values()), "client_keys": list(self.roots)}
            options = {**self.backend, **(places if self.type == "lmdb" else {})}
            try:
                self.client = FileClient(self.type, **options)
            except Exception as error:  # each backend has its own
                roots = " or ".join(map(printable, self.roots.values()))
                raise InputError(f"data set {self.name}: {roots} cannot be opened: {one_line(error)}") from error
        return self.client

    def check(self, paths: Iterable[str], kind: str) -> "Headers":
        """Look at the headers of images, without decoding any whose header tells enough."""
        if self.type == "lmdb":
            return Headers(lmdb_sizes(Path(self.roots[kind])), {}, self._missing_entries(paths, kind))
        headers = Headers({}, {}, {})
        for path in paths:
            try:
                size, extras = read_header(path)
                if size is None:
                    height, width = self.read(path, kind).shape[:2]
                    size = (height, width)
                headers.sizes[path] = size
                if extras:
                    headers.extras[path] = extras
            except ImageError as error:
                self._second_opinion(path, kind, str(error), headers)
            except (OSError, InputError) as error:
                headers.problems[path] = error.line if isinstance(error, InputError) else self._line(path, kind, error)
        return headers

    def _missing_entries(self, keys: Iterable[str], kind: str) -> dict[str, str]:
        """Lines about the entries of an LMDB that its list has and its data has not."""
        environment = self._client().client._client[kind]
        self.client = None
        size = environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)
        # LMDB maps the file into memory: reading behind its end would kill the process.
        if Path(self.roots[kind], "data.mdb").stat().st_size < size:
            raise InputError(f"data set {self.name}: {self.roots[kind]}: data.mdb is cut short; prepare the set again")
        with environment.begin() as transaction, transaction.cursor() as cursor:
            missing = [key for key in keys if not _has(cursor, key.encode("utf-8", "surrogateescape"))]
        return {key: f"{self.where(key, kind)}: is not there; prepare the LMDB again" for key in missing}

    def _second_opinion(self, path: str, kind: str, problem: str, headers: "Headers") -> None:
        """Keep what OpenCV can read and our reader of headers does not know, such as GIF and JPEG 2000."""
        if "cannot be decoded" in problem:
            try:
                height, width = self.read(path, kind).shape[:2]
                headers.sizes[path] = (height, width)
                return
            except InputError:
                problem = UNREADABLE
        headers.problems[path] = f"{self.where(path, kind)}: {problem}"

    def _line(self, path: str, kind: str, error: OSError) -> str:
        return f"{self.where(path, kind)}: cannot be read ({error.strerror}); check the file"


class Headers:
    """Findings of `ImageReader.check`, by path.

    Args:
        sizes: Height and width of images, as far as they are known.
        extras: What 8-bit RGB has no room for.
        problems: Lines about images that cannot be used.
    """

    def __init__(self, sizes: Sizes, extras: dict[str, tuple[str, ...]], problems: dict[str, str]) -> None:
        self.sizes, self.extras, self.problems = sizes, extras, problems

    def refuse_problems(self) -> None:
        """Raise InputError if there are problems: the first ones, and their number."""
        lines = list(self.problems.values())
        if lines:
            more = [f"{lines[0].partition(': ')[0]}: {len(lines) - 5} more images like that"] * (len(lines) > 5)
            raise InputError("\n".join([*lines[:5], *more]))

    def remarks(self) -> list[str]:
        """Line about what images lose when they become 8-bit RGB; nothing without any."""
        if not self.extras:
            return []
        counts = Counter(extra for extras in self.extras.values() for extra in extras)
        what = ", ".join(f"{extra} of {count}" for extra, count in counts.items())
        count = len(self.extras)
        return [f"{count} picture{'s' * (count > 1)} read as 8-bit RGB without {what} (names in the log)"]

    def details(self) -> list[str]:
        """Line for each of these images."""
        return [f"{printable(path)}: read without {', '.join(extras)}" for path, extras in self.extras.items()]


def to_tensor(image: Image) -> Tensor:
    """Convert (H, W, 3) BGR or (H, W, 1), 0..255, to (C, H, W) RGB or gray, float32, 0..1."""
    image = image[..., ::-1] if image.shape[2] == 3 else image
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)


def in_color(color: str | None) -> Callable[[Image], Tensor]:
    """Conversion of images (H, W, 3) BGR to tensors (C, H, W), 0..1.

    Args:
        color: None for RGB; gray for OpenCV's 8-bit RGB2GRAY; y for Y of YCbCr (BT.601, 16..235).
    """
    if color == "gray":
        return lambda image: to_tensor(to_gray(image))
    if color == "y":
        return _to_y
    return to_tensor


def _to_y(image: Image) -> Tensor:
    y = bgr2ycbcr(image.astype(np.float32) / 255, y_only=True)
    return torch.from_numpy(np.ascontiguousarray(y))[None]


def check_patch(size: tuple[int, ...], gt_patch: int, where: str) -> None:
    """Raise InputError if an image of `size` does not hold a GT patch of side `gt_patch`."""
    if min(size) < gt_patch:
        raise InputError(
            f"{where}: {size[0]}x{size[1]} is smaller than the GT patch {gt_patch}x{gt_patch}; remove it or take "
            "smaller patches"
        )
