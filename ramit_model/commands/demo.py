"""The demo: embedded photographs -> LMDBs -> test, train, test by the `basicsr` command -> one picture."""

import csv
import io
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets_prep.demo_set import prepare_demo_set

NEAREST = Image.Resampling.NEAREST
MARGIN, CAPTION = 16, 40
ZOOM = 2
"""Side of an image pixel in the picture, so that differences can be seen."""


def run_demo(out: Path) -> int:
    """Run the whole demo in `out`; finished steps of an interrupted run are kept.

    Args:
        out: Folder for data, experiments, results and the picture.

    Returns:
        Exit code: 0, or that of the step that failed.
    """
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    print(f"1/5 make LMDBs of scikit-image's photographs in {out / 'datasets'}", flush=True)
    prepare_demo_set(out / "datasets" / "demo")
    recipes = recipe_folder()
    train, test = str(recipes / "train_demo.yml"), str(recipes / "test_demo.yml")
    untrained = ["--force_yml", "name=demo_untrained", "path:pretrain_network_g=none"]
    steps = {
        "2/5 test the untrained network": ["test", "-opt", test, *untrained],
        "3/5 train": ["train", "-opt", train, "--auto_resume"],
        "4/5 test the trained network": ["test", "-opt", test],
    }
    for title, arguments in steps.items():
        print(title, flush=True)
        code = subprocess.run([sys.executable, "-m", "ramit_model", *arguments], cwd=out, check=False).returncode
        if code:
            return code
    before, after = (_average_psnr(out / "results" / name / "demo.csv") for name in ("demo_untrained", "demo"))
    picture = out / "demo.png"
    print(f"5/5 draw {picture}", flush=True)
    bicubic = draw_comparison(out, picture)
    print(
        f"PSNR on Y of the validation images: {before:.2f} dB untrained, {after:.2f} dB trained "
        f"(bicubic interpolation: {bicubic:.2f} dB). {time.monotonic() - started:.0f} s. Picture: {picture}"
    )
    return 0


def recipe_folder() -> Path:
    """Folder of the option files: inside an installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    return next(folder for folder in (here / "recipes", here.parent / "options") if folder.is_dir())


def _rows(path: Path) -> dict[str, float]:
    """PSNR of each image, and `average`, from a test's CSV file."""
    with path.open(encoding="utf-8") as file:
        return {row["image"]: float(row["psnr"]) for row in csv.DictReader(file)}


def _average_psnr(path: Path) -> float:
    return _rows(path)["average"]


def _read_lmdb(path: Path) -> dict[str, Image.Image]:
    """All images of an LMDB by name, RGB."""
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {key.decode(): Image.open(io.BytesIO(content)).convert("RGB") for key, content in transaction.cursor()}


def draw_comparison(out: Path, picture: Path) -> float:
    """Draw LQ (enlarged by bicubic interpolation), result and GT of each validation image side by side.

    Args:
        out: The demo's folder, with data and results.
        picture: PNG to write.

    Returns:
        Average PSNR of the enlarged LQ images on Y, 2 border pixels cropped, in dB.
    """
    import ramit_model

    ramit_model.register()
    from ramit_model.basicsr_bridge import calculate_psnr

    lq = _read_lmdb(out / "datasets/demo/val/LR_bicubic_X2.lmdb")
    gt = _read_lmdb(out / "datasets/demo/val/HR.lmdb")
    psnr = _rows(out / "results/demo/demo.csv")
    rows, bicubic_psnr = [], []
    for name, target in gt.items():
        enlarged = lq[name].resize(target.size, Image.Resampling.BICUBIC)
        result = Image.open(out / f"results/demo/visualization/demo/{name}_result.png").convert("RGB")
        bgr = [np.asarray(image)[..., ::-1] for image in (enlarged, target)]
        bicubic_psnr.append(float(calculate_psnr(*bgr, crop_border=2, test_y_channel=True)))
        pictures = [
            image.resize((image.width * ZOOM, image.height * ZOOM), NEAREST) for image in (enlarged, result, target)
        ]
        captions = (f"LQ, bicubic x2: {bicubic_psnr[-1]:.2f} dB", f"RAMiT (demo): {psnr[name]:.2f} dB", "GT")
        rows.append(list(zip(pictures, captions, strict=True)))
    _draw_rows(rows).save(picture)
    return sum(bicubic_psnr) / len(bicubic_psnr)


def _draw_rows(rows: list[list[tuple[Image.Image, str]]]) -> Image.Image:
    """Pictures in rows, each with its caption below."""
    width = max(sum(image.width + MARGIN for image, _ in row) for row in rows) + MARGIN
    height = sum(row[0][0].height + CAPTION + MARGIN for row in rows) + MARGIN
    sheet = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(24)
    top = MARGIN
    for row in rows:
        left = MARGIN
        for image, caption in row:
            sheet.paste(image, (left, top))
            draw.text((left, top + image.height + 6), caption, fill="black", font=font)
            left += image.width + MARGIN
        top += row[0][0].height + CAPTION + MARGIN
    return sheet
