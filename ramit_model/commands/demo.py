"""The demo: embedded photographs -> LMDBs -> test, train, test by the `basicsr` command -> one picture."""

import csv
import io
import json
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from datasets_prep.demo_set import prepare_demo_set
from ramit_model.config.option_file import read_yaml, recipe_folder
from ramit_model.system.files import check_folder, write_atomically
from ramit_model.system.memory import keep_freed_memory
from ramit_model.system.processes import run_child
from ramit_model.system.text import readable_time

NEAREST = Image.Resampling.NEAREST
MARGIN, CAPTION = 16, 40
ZOOM = 2
"""Side of an image pixel in the picture, so that differences can be seen."""

SECONDS = 150
"""Time of the training on a machine that is too slow for all iterations of the option file."""
MILESTONES = (0.5, 0.7, 0.85, 0.95)
"""Shares of the training after which the learning rate is halved."""
FEWEST = 20
"""Least number of iterations, and the unit of longer ones."""
TRIAL, FEWEST_STEPS = 3.0, 4
"""Seconds and number of iterations, at least, for measuring how long one takes."""
PAUSE = 10.0
"""Seconds between two looks at the progress."""


def run_demo(out: Path, *, verbose: bool = False) -> int:
    """Run the whole demo in `out`; finished steps of an interrupted run are kept.

    Args:
        out: Folder for data, experiments, results and the picture.
        verbose: Show everything that training and tests log.

    Returns:
        Exit code: 0, or that of the step that failed.
    """
    started = time.monotonic()
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    print(f"1/5 make LMDBs of scikit-image's photographs in {out / 'datasets'}", flush=True)
    prepare_demo_set(out / "datasets" / "demo")
    recipes = recipe_folder()
    train, test = str(recipes / "train_demo.yml"), str(recipes / "test_demo.yml")

    def run(*arguments: str) -> None:
        command = [sys.executable, "-m", "ramit_model", *arguments, *["--verbose"] * verbose]
        if code := run_child(command, out):
            raise subprocess.CalledProcessError(code, command)

    try:
        print("2/5 test the untrained network", flush=True)
        run("test", "-opt", test, "--force_yml", "name=demo_untrained", "path:pretrain_network_g=none")
        length = choose_length(read_yaml(train), out / "length.json")
        print(f"3/5 train for {length.iterations:,} iterations, about {length.time}", flush=True)
        run("train", "-opt", train, "--auto_resume", "--force_yml", *length.options())
        print("4/5 test the trained network", flush=True)
        run("test", "-opt", test)
    except subprocess.CalledProcessError as error:
        return error.returncode
    before, after = (_average_psnr(out / "results" / name / "demo.csv") for name in ("demo_untrained", "demo"))
    picture = out / "demo.png"
    print(f"5/5 draw {picture}", flush=True)
    bicubic = draw_comparison(out, picture)
    print(
        f"PSNR on Y of the validation images: {before:.2f} dB untrained, {after:.2f} dB trained "
        f"(bicubic interpolation: {bicubic:.2f} dB). {readable_time(time.monotonic() - started)}. Picture: {picture}"
    )
    return 0


@dataclass(frozen=True)
class Length:
    """Length of the demo's training.

    Attributes:
        iterations: Number of iterations.
        pace: Seconds of an iteration on this machine, as measured.
    """

    iterations: int
    pace: float

    @property
    def time(self) -> str:
        """Expected time in words."""
        return readable_time(self.iterations * self.pace)

    def options(self) -> list[str]:
        """Options that replace those of the option file, whose shape of the schedule is kept."""
        milestones = [round(share * self.iterations) for share in MILESTONES]
        quarter = max(1, self.iterations // 4)
        return [
            f"train:total_iter={self.iterations}",
            f"train:scheduler:milestones={milestones}",
            f"train:warmup_iter={min(50, quarter)}",
            f"val:val_freq={quarter}",
            f"logger:save_checkpoint_freq={quarter}",
            f"logger:print_freq={max(1, min(100, int(PAUSE / self.pace)))}",
        ]


def choose_length(options: dict[str, Any], note: Path) -> Length:
    """Choose as many iterations as take `SECONDS` on this machine, or as the option file has if they take less.

    Args:
        options: Option file of the demo's training.
        note: File that keeps the choice, so that an interrupted demo goes on with it.
    """
    with suppress(OSError, ValueError, TypeError):
        return Length(**json.loads(note.read_bytes()))
    pace = seconds_per_iteration(options)
    most = int(options["train"]["total_iter"])
    length = Length(min(most, max(FEWEST, int(SECONDS / pace) // FEWEST * FEWEST)), pace)
    write_atomically(json.dumps(asdict(length)).encode(), note)
    return length


def seconds_per_iteration(options: dict[str, Any]) -> float:
    """Train for a few seconds on random images; returns the median time of an iteration in seconds.

    Args:
        options: Option file of a training.
    """
    import torch

    from ramit_model.basicsr_bridge import build_network

    keep_freed_memory()  # as a training does
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network: Any = build_network(dict(options["network_g"])).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0)
    dataset = options["datasets"]["train"]
    gt = torch.rand(dataset["batch_size_per_gpu"], 3, dataset["gt_size"], dataset["gt_size"], device=device)
    lq = torch.nn.functional.avg_pool2d(gt, options["scale"])
    times: list[float] = []
    end = time.monotonic() + TRIAL
    while len(times) < FEWEST_STEPS or time.monotonic() < end:
        before = time.perf_counter()
        optimizer.zero_grad()
        loss = torch.nn.functional.l1_loss(network(lq), gt)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the GPU
        times.append(time.perf_counter() - before)
    return statistics.median(times[1:])


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
