"""Before and after, for the eye: a strip for each picture, and one page with sliders that holds all it shows."""

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ramit_model.inference.batch.jobs import Job
from ramit_model.inference.page import data_uri, render
from ramit_model.inference.pictures.picture import Picture, to_bytes
from ramit_model.system.files import write_atomically, write_text_atomically
from ramit_model.system.text import escaped

TEMPLATE = Path(__file__).with_name("compare.html")
WHOLE = 1280
"""Longest side of a whole picture on the page, pixels."""
DETAIL = 400
"""Sides of the detail, pixels of the result."""
STRIP_WHOLE = 900
"""Longest side of a whole picture in a strip, pixels."""
MAX_ON_PAGE = 60
"""Pictures on a page, so that it still opens on a phone."""
MAX_PROFILE = 8192
"""Bytes of the largest ICC profile that is embedded four times a picture."""
MARGIN, CAPTION = 12, 26

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """The same part of a picture before and after, (h, w, 3) RGB of equal sizes."""

    before: Pixels
    after: Pixels


@dataclass(frozen=True)
class Entry:
    """One picture on the page: its name, sizes in words, and data URIs of whole and detail."""

    name: str
    sizes: str
    whole: tuple[str, str]
    detail: tuple[str, str] | None
    width: int
    height: int


class Comparisons:
    """Writes the strips of many pictures, and the page of the first ones. Threads may share it.

    Args:
        folder: For the strips and `compare.html`; made if needed.
        title: What was done, in a few words.
        page: Name of the page.
    """

    def __init__(self, folder: Path, title: str, page: str = "compare.html") -> None:
        self.page = folder / page
        self._folder, self._title = folder, title
        self._entries: dict[int, Entry] = {}
        self._count = 0
        self._lock = threading.Lock()

    def add(self, number: int, place: Path, before: Picture, after: Picture) -> None:
        """Write the strip of a picture, and keep what the page needs.

        Args:
            number: Place in the order of the page.
            place: Path of the picture below its folder.
            before: Picture before.
            after: Picture after, as large or larger by a whole factor.
        """
        whole, detail = whole_view(before, after), detail_view(before, after)
        strip = self._folder / place.with_name(f"{place.name}.jpg")
        strip.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_encoded(draw_strip(whole, detail), "JPEG", after.metadata.icc, quality=92), strip)
        with self._lock:
            self._count += 1
            if len(self._entries) >= MAX_ON_PAGE and number > max(self._entries):
                return
        entry = _entry(place, before, after, whole, detail)
        with self._lock:
            self._entries[number] = entry
            if len(self._entries) > MAX_ON_PAGE:
                del self._entries[max(self._entries)]

    def adder(self, jobs: Sequence[Job]) -> Callable[[Job, Picture, Picture], None]:
        """Function that adds one of the jobs, in their order, with the picture before and after."""
        numbers = {job: number for number, job in enumerate(jobs)}
        return lambda job, before, after: self.add(numbers[job], Path(job.place), before, after)

    def write_page(self) -> None:
        """Write the page of all pictures so far; without any, there is none."""
        if not self._entries:
            return
        entries = [entry for _, entry in sorted(self._entries.items())]
        values = {"title": self._title, "entries": entries, "count": self._count, "detail": DETAIL}
        self.page.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(render(TEMPLATE, values), self.page)


def whole_view(before: Picture, after: Picture) -> View:
    """The whole picture, at most `WHOLE` pixels long, before enlarged as a viewer does."""
    height, width = after.size
    factor = min(1.0, WHOLE / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return View(_shown(before, size), _shown(after, size))


def detail_view(before: Picture, after: Picture) -> View | None:
    """The part with the most detail, pixel by pixel; None if the whole picture is shown so anyway."""
    height, width = after.size
    if max(height, width) <= WHOLE and max(height, width) <= 2 * DETAIL:
        return None
    scale = height // before.size[0]
    side = min(DETAIL, height, width) // scale * scale
    top, left = (start // scale * scale for start in _busiest(after.pixels, side))
    return View(
        _shown(_part(before, top // scale, left // scale, side // scale), (side, side)),
        _shown(_part(after, top, left, side), (side, side)),
    )


def _part(picture: Picture, top: int, left: int, side: int) -> Picture:
    rows, columns = slice(top, top + side), slice(left, left + side)
    return Picture(picture.pixels[rows, columns], None if picture.alpha is None else picture.alpha[rows, columns])


def _busiest(pixels: NDArray[Any], side: int) -> tuple[int, int]:
    """Top and left of the square of pixels with the strongest edges that is not at the border if it can be avoided."""
    height, width = pixels.shape[:2]
    step = max(1, side // 50)
    gray = to_bytes(np.ascontiguousarray(pixels[::step, ::step])).astype(np.float32)
    gray = gray.mean(axis=2) if gray.ndim == 3 else gray
    edges = np.sqrt(np.abs(cv2.Laplacian(gray, cv2.CV_32F)))
    window = max(1, side // step)
    sums = cv2.boxFilter(edges, -1, (window, window), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    valid = sums[: max(1, gray.shape[0] - window + 1), : max(1, gray.shape[1] - window + 1)]
    top, left = np.unravel_index(int(valid.argmax()), valid.shape)
    return min(int(top) * step, height - side), min(int(left) * step, width - side)


def _shown(picture: Picture, size: tuple[int, int]) -> Pixels:
    """Picture of another size (width, height), 8-bit RGB, on white where it is transparent."""
    smaller = size[0] < picture.size[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    pixels = to_bytes(cv2.resize(picture.pixels, size, interpolation=method))
    pixels = np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels
    if picture.alpha is None:
        return pixels
    alpha = to_bytes(cv2.resize(picture.alpha, size, interpolation=method))[..., None].astype(np.float32) / 255
    return np.rint(pixels * alpha + 255 * (1 - alpha)).astype(np.uint8)


def draw_strip(whole: View, detail: View | None) -> Pixels:
    """Before and after side by side, the detail below; (H, W, 3) RGB."""
    rows = [_limited(whole)] + ([detail] if detail else [])
    width = max(2 * view.after.shape[1] for view in rows) + 3 * MARGIN
    height = sum(view.after.shape[0] for view in rows) + CAPTION + MARGIN * len(rows)
    sheet = Image.new("RGB", (max(width, 160), height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    top = CAPTION
    for view in rows:
        middle = sheet.width // 2
        for text, pixels, left in (
            ("before", view.before, middle - MARGIN // 2 - view.before.shape[1]),
            ("after", view.after, middle + MARGIN // 2),
        ):
            if top == CAPTION:
                draw.text((left, 4), text, fill="black", font=font)
            sheet.paste(Image.fromarray(pixels), (left, top))
        top += view.after.shape[0] + MARGIN
    return np.asarray(sheet)


def _limited(view: View) -> View:
    height, width = view.after.shape[:2]
    factor = STRIP_WHOLE / max(height, width)
    if factor >= 1:
        return view
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return View(*(cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (view.before, view.after)))


def _entry(place: Path, before: Picture, after: Picture, whole: View, detail: View | None) -> Entry:
    icc = after.metadata.icc
    sizes = [f"{width} \u00d7 {height}" for height, width in (before.size, after.size)]
    height, width = whole.after.shape[:2]
    return Entry(
        name=escaped(place.as_posix()),
        sizes=sizes[0] if before.size == after.size else " \u2192 ".join(sizes),
        whole=(_data_uri(whole.before, icc), _data_uri(whole.after, icc)),
        detail=(_data_uri(detail.before, icc, 95), _data_uri(detail.after, icc, 95)) if detail else None,
        width=width,
        height=height,
    )


def _data_uri(pixels: Pixels, icc: bytes | None, quality: int = 88) -> str:
    return data_uri(_encoded(pixels, "WEBP", icc, quality=quality), "image/webp")


def _encoded(pixels: Pixels, kind: str, icc: bytes | None, quality: int) -> bytes:
    file = io.BytesIO()
    # A profile of gray values does not fit RGB.
    fits = icc is not None and len(icc) <= MAX_PROFILE and icc[16:20] == b"RGB "
    Image.fromarray(pixels).save(file, kind, quality=quality, icc_profile=icc if fits else None)
    return file.getvalue()
