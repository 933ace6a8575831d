"""Comparison strips: GT with a crop marked, and that crop of every result, enlarged, with names and PSNR."""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ramit_model.basicsr_bridge import calculate_psnr
from ramit_model.inference.evaluation import Picture

GT = "GT"
ENLARGED = 260
"""Pixels that an enlarged crop has at most along its longer side; the factor is whole."""
WIDEST = 900
"""Pixels that the whole GT has at most along its width."""
MARGIN, GAP, LINE = 16, 6, 24
TITLE, NAME, TEXT = 22, 20, 17
"""Sizes of fonts, pixels."""
INK, RED = "black", (230, 0, 0)

Crop = tuple[int, int, int, int]
"""Left, top, width, height, pixels."""


def choose_crop(gt: Picture, reference: Picture, size: int) -> Crop:
    """Find the square window in which a picture is farthest from GT.

    Args:
        gt: (H, W, 3) or (H, W).
        reference: A picture of the same shape, such as a blurred GT: then the window has the most detail.
        size: Side of the window, pixels; smaller where the image is.

    Returns:
        Window with the largest squared error, summed over channels; the topmost, then leftmost, of equal ones.
    """
    height, width = gt.shape[:2]
    side = min(size, height, width)
    error = np.square(gt.astype(np.int64) - reference.astype(np.int64)).reshape(height, width, -1).sum(axis=2)
    # Sums over all rectangles from the top left corner, in whole numbers, so that no rounding decides.
    sums = np.pad(error.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(np.argmax(windows), windows.shape)
    return int(left), int(top), side, side


def cut(picture: Picture, crop: Crop) -> Picture:
    """Part of a picture inside the crop, (height, width, 3) or (height, width)."""
    left, top, width, height = crop
    return picture[top : top + height, left : left + width]


def crop_psnr(picture: Picture, gt: Picture, crop: Crop, *, test_y_channel: bool) -> float:
    """PSNR of a crop, including its border.

    Args:
        picture: (H, W, 3) BGR or (H, W).
        gt: Ground truth of the same shape.
        crop: Window to compare.
        test_y_channel: Whether color pictures are compared on Y.

    Returns:
        dB; infinite for equal crops.
    """
    return float(calculate_psnr(cut(picture, crop), cut(gt, crop), crop_border=0, test_y_channel=test_y_channel))


def draw_strip(
    gt: Picture,
    pictures: Mapping[str, Picture],
    crop: Crop,
    captions: Mapping[str, str],
    title: str,
    best: Collection[str] = (),
) -> bytes:
    """Draw the whole GT with the crop marked, and to its right the enlarged crops of GT and all pictures.

    Args:
        gt: (H, W, 3) BGR or (H, W).
        pictures: Name -> picture of the same size; the reference first. One to eight fit well.
        crop: Window to enlarge.
        captions: Name -> line below the name, such as `36.68 dB (crop 31.20 dB)`; `GT` and others may be missing.
        title: Line above everything.
        best: Names of which the caption is underlined.

    Returns:
        PNG.
    """
    cells = []
    for name, picture in {GT: gt, **pictures}.items():
        cells.append(Cell(_enlarge(_image(cut(picture, crop))), name, captions.get(name, ""), name in best))
    columns = len(cells) if len(cells) <= 4 else (len(cells) + 1) // 2
    block = _block(cells, columns)
    whole = _marked(_image(gt), crop, block.height)
    heading = _font(TITLE)
    width = max(whole.width + MARGIN + block.width, int(heading.getlength(title)) + 1) + 2 * MARGIN
    sheet = Image.new("RGB", (width, block.height + TITLE + 3 * MARGIN), "white")
    ImageDraw.Draw(sheet).text((MARGIN, MARGIN), title, fill=INK, font=heading)
    top = TITLE + 2 * MARGIN
    sheet.paste(whole, (MARGIN, top + (block.height - whole.height) // 2))
    sheet.paste(block, (whole.width + 2 * MARGIN, top))
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    return content.getvalue()


@dataclass(frozen=True)
class Cell:
    """An enlarged crop and the two lines below it."""

    image: Image.Image
    name: str
    caption: str
    underlined: bool

    @property
    def width(self) -> int:
        """Width of the widest of the three, pixels."""
        lines = _font(NAME).getlength(self.name), _font(TEXT).getlength(self.caption)
        return max(self.image.width, *(int(line) + 1 for line in lines))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _image(picture: Picture) -> Image.Image:
    """RGB, of a BGR or gray picture."""
    return Image.fromarray(np.ascontiguousarray(picture[..., ::-1] if picture.ndim == 3 else picture)).convert("RGB")


def _enlarge(image: Image.Image) -> Image.Image:
    """Enlarge by a whole factor, so that single pixels can be seen."""
    zoom = max(1, ENLARGED // max(image.size))
    return image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST)


def _block(cells: list[Cell], columns: int) -> Image.Image:
    """Cells of the same size in rows, without margins around them."""
    width = max(cell.width for cell in cells)
    height = cells[0].image.height + GAP + 2 * LINE
    rows = -(-len(cells) // columns)
    size = columns * (width + MARGIN) - MARGIN, rows * (height + MARGIN) - MARGIN
    block = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(block)
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        left, top = column * (width + MARGIN), row * (height + MARGIN)
        block.paste(cell.image, (left + (width - cell.image.width) // 2, top))
        middle, below = left + width / 2, top + cell.image.height + GAP
        draw.text((middle, below), cell.name, fill=INK, font=_font(NAME), anchor="ma")
        draw.text((middle, below + LINE), cell.caption, fill=INK, font=_font(TEXT), anchor="ma")
        if cell.underlined:
            half, line = _font(TEXT).getlength(cell.caption) / 2, below + LINE + TEXT + 2
            draw.line((middle - half, line, middle + half, line), fill=INK, width=2)
    return block


def _marked(image: Image.Image, crop: Crop, height: int) -> Image.Image:
    """Whole image, scaled to a height unless it gets too wide, with a frame around the crop."""
    scale = min(height / image.height, WIDEST / image.width)
    # Reduce without aliasing; enlarge with whole pixels.
    kind = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    scaled = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), kind)
    left, top, crop_width, crop_height = crop
    edges = left * scale, top * scale, (left + crop_width) * scale - 1, (top + crop_height) * scale - 1
    draw = ImageDraw.Draw(scaled)
    # Red between white can be seen on every background; at the border of the image, red stays.
    for grow, width, color in ((4, 6, "white"), (3, 3, RED)):
        x0, y0 = (max(0, round(edge) - grow) for edge in edges[:2])
        x1, y1 = (min(limit - 1, round(edge) + grow) for edge, limit in zip(edges[2:], scaled.size, strict=True))
        draw.rectangle((x0, y0, x1, y1), outline=color, width=width)
    return scaled
