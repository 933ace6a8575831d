"""The one hand-written source of the option files: `python options/recipes.py` writes them, `--check` compares.

Facts are the published recipes (RAMiT, CVPRW 2024). Edit here and in `templates`, never in the YAML files. The JSON
schema and the tables in README.md are written, too; they come from the schema of the options.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

# The table -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingData:
    """Training images.

    Attributes:
        folder: Folder below `datasets`.
        description: Their sources.
        patches: Random patches that make an epoch.
        sub_images: Large images are cut into sub-images.
    """

    folder: str
    description: str
    patches: int
    sub_images: bool = False


@dataclass(frozen=True)
class Schedule:
    """Length of a training, its patches and its rates.

    Attributes:
        epochs: Epochs of each stage, after the warm start.
        patches: Side of the square patches in each stage, LQ pixels.
        batches: Patches an iteration in each stage, over all processes together.
        halved: Epochs, counted over the stages, after which the rate halves.
        warmup: Epochs, the first of `epochs`, in which the rate rises from 0.
        warm_start: Epochs before `epochs` in which only the tail of a model of another scale trains.
        lr: Base rate; that of the first stage where there are several.
        ema_decay: Decay of the moving average of the weights; None for no average.
    """

    epochs: tuple[int, ...]
    patches: tuple[int, ...]
    batches: tuple[int, ...]
    halved: tuple[int, ...]
    warmup: int = 0
    warm_start: int = 0
    lr: float = 4e-4
    ema_decay: float | None = None


@dataclass(frozen=True)
class Task:
    """Purpose of a network, and how it is measured.

    Attributes:
        description: Name in words.
        test_sets: Folders below `datasets`; the first one also validates.
        on_y: Metrics compare Y of YCbCr (BT.601, 16..235), or else all channels.
        clean: The input is made from the ground truth when it is read.
        gray: Images are gray, made from color images when they are read.
    """

    description: str
    test_sets: tuple[str, ...]
    on_y: bool = False
    clean: bool = False
    gray: bool = False


# fmt: off
#                     folder        description                       patches an epoch
DIV2K = TrainingData("DIV2K",      "DIV2K",                           80 * 800, sub_images=True)
DFBW  = TrainingData("DFBW",       "DIV2K, Flickr2K, BSD500 and WED", 3 * (800 + 2650 + 400 + 4744), sub_images=True)
LOL   = TrainingData("LOL_VE-LOL", "LOL and VE-LOL",                  25_000)
RAIN  = TrainingData("Rain13K",    "Rain13K",                         25_000)

#                      epochs           patches        batches
SCRATCH     = Schedule((500,),          (64,),         (64,),        halved=(200, 300, 400, 425, 450, 475), warmup=20)
FROM_X2     = Schedule((250,),          (64,),         (64,),        halved=(50, 100, 150, 175, 200, 225), warmup=10,
                       warm_start=50)
PROGRESSIVE = Schedule((100, 100, 200), (64, 96, 128), (64, 32, 16), halved=(200, 300, 350, 375), warmup=20)
SWINIR      = Schedule((500,),          (64,),         (64,),        halved=(250, 400, 450, 475), lr=2e-4,
                       ema_decay=0.999)

RECIPES: tuple[tuple[str, tuple[str, ...], TrainingData, Schedule], ...] = (
    ("x2",  ("RAMiT", "RAMiT-1", "RAMiT-slimSR"), DIV2K, SCRATCH),
    ("x3",  ("RAMiT", "RAMiT-1", "RAMiT-slimSR"), DIV2K, FROM_X2),
    ("x4",  ("RAMiT", "RAMiT-1", "RAMiT-slimSR"), DIV2K, FROM_X2),
    ("CDN", ("RAMiT", "RAMiT-1"),                 DFBW,  PROGRESSIVE),
    ("GDN", ("RAMiT",),                           DFBW,  PROGRESSIVE),
    ("LLE", ("RAMiT", "RAMiT-slimLLE"),           LOL,   PROGRESSIVE),
    ("DR",  ("RAMiT",),                           RAIN,  PROGRESSIVE),
    ("x2",  ("NGswin",),                          DIV2K, SCRATCH),
    ("x3",  ("NGswin",),                          DIV2K, FROM_X2),
    ("x4",  ("NGswin",),                          DIV2K, FROM_X2),
    ("x2",  ("SwinIR-light",),                    DIV2K, SWINIR),
    ("x3",  ("SwinIR-light",),                    DIV2K, SWINIR),
    ("x4",  ("SwinIR-light",),                    DIV2K, SWINIR),
)
"""Task or scale, networks, training data, schedule. Each network has a file for training and one for tests."""

TASKS = {
    "SR":  Task("super-resolution", ("Set5", "Set14", "BSD100", "Urban100", "Manga109"), on_y=True),
    "CDN": Task("color denoising", ("CBSD68", "Kodak24", "McMaster", "Urban100"), clean=True),
    "GDN": Task("gray denoising", ("Set12", "BSD68", "Urban100"), clean=True, gray=True),
    "LLE": Task("low-light enhancement", ("LOL", "VE-LOL-cap")),
    "DR":  Task("deraining", ("Test100", "Rain100H"), on_y=True),
}
# fmt: on

FINETUNED = {
    **dict.fromkeys(("x2", "x3", "x4", "CDN"), "RAMiT-1"),
    **dict.fromkeys(("GDN", "DR"), "RAMiT"),
    "LLE": "RAMiT-slimLLE",
}
"""Task or scale -> the network that people fine-tune on photos of their own and check a set-up with: not the largest,
where there is a choice. They have a laptop."""

CHECKED = ("x2", "x4", "LLE")
"""Scales and tasks whose short training on embedded photographs is recorded, in expected.json."""

COMPARED = ("NGswin", "SwinIR-light")
"""Networks that RAMiT is compared with."""

SPEED = "speed"
BENCHMARKS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "x2": ("SwinIR-light", ("640, 360", "128, 128, 8"), "Set5/butterfly Set14/barbara Urban100/img_092"),
    "x3": ("SwinIR-light", ("426, 240", "128, 128, 8"), "Set5/butterfly Set14/barbara Urban100/img_092"),
    "x4": ("SwinIR-light", ("320, 180", "128, 128, 8"), "Set5/butterfly Set14/barbara Urban100/img_092"),
    "CDN": ("RAMiT", ("640, 360", "128, 128, 8"), "McMaster_sigma50/1 Urban100_sigma50/img_092"),
    "GDN": ("RAMiT", ("640, 360", "128, 128, 8"), "Set12_sigma50/09 Urban100_sigma50/img_092"),
    "LLE": ("RAMiT", ("600, 400", "128, 128, 8"), "LOL/146 LOL/748"),
    "DR": ("RAMiT", ("640, 360", "128, 128, 8"), "Test100 Rain100H"),
    SPEED: ("SwinIR-light", ("192, 192", "320, 180", "64, 64, 8"), ""),
}
"""Task or scale -> the network that times are compared with, LQ inputs to time, images to draw (the first of a set)."""

CLEAN_FOLDERS = {"Urban100": "Urban100/HR", "BSD68": "CBSD68/GT  # the color set through RGB2GRAY"}
"""Folders of clean images that are not in `<set>/GT`."""


@dataclass(frozen=True)
class Recipe:
    """Network in a row of the table, and what follows for it. Iterations are steps of the optimizer."""

    goal: str
    network: str
    data: TrainingData
    schedule: Schedule

    @property
    def name(self) -> str:
        """Part of the file names after `train_` and `test_`."""
        return f"{self.network}_{self.goal}"

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return int(self.goal[1:]) if self.goal.startswith("x") else 1

    @property
    def task_name(self) -> str:
        """Key of `TASKS`; SR for every scale."""
        return "SR" if self.scale > 1 else self.goal

    @property
    def task(self) -> Task:
        """Purpose of the network."""
        return TASKS[self.task_name]

    @property
    def weights(self) -> str:
        """Published weight file."""
        goal = self.goal if self.network == "NGswin" else self.goal.upper()
        return f"weights/{self.network}_{goal}.pth"

    @property
    def x2(self) -> "Recipe":
        """Recipe of the same network for x2, whose weights begin a warm start."""
        return Recipe("x2", self.network, self.data, SCRATCH)

    @property
    def compared(self) -> bool:
        """Whether RAMiT is compared with the network."""
        return self.network in COMPARED

    @property
    def dataset_type(self) -> str:
        """Class of the data sets."""
        return "CleanImageDataset" if self.task.clean else "PairedRestorationDataset"

    @property
    def crop_border(self) -> int:
        """Pixels at each side that metrics leave out: the scale in super-resolution, none in the other tasks."""
        return self.scale if self.scale > 1 else 0

    @property
    def duration(self) -> str:
        """Length of the training, in words."""
        if self.progressive:
            return f"{self.total:,} iterations in {len(self.schedule.epochs)} stages"
        size = self.schedule.patches[0]
        return f"{self.total:,} iterations of {self.schedule.batches[0]} LQ patches of {size}x{size}"

    @property
    def progressive(self) -> bool:
        """Whether patches grow from stage to stage."""
        return len(self.schedule.epochs) > 1

    @property
    def epoch_lengths(self) -> list[int]:
        """Iterations an epoch in each stage; the last batch of an epoch counts whole."""
        return [ceil(self.data.patches / batch) for batch in self.schedule.batches]

    @property
    def stage_lengths(self) -> list[int]:
        """Iterations of each stage."""
        return [n * length for n, length in zip(self.schedule.epochs, self.epoch_lengths, strict=True)]

    @property
    def warm_start(self) -> int:
        """Iterations of the warm start."""
        return self.schedule.warm_start * self.epoch_lengths[0]

    @property
    def total(self) -> int:
        """Iterations in all."""
        return self.warm_start + sum(self.stage_lengths)

    @property
    def milestones(self) -> list[int]:
        """Iterations after which the rate halves, counted from the end of the warm start."""
        return [self.after(epoch) for epoch in self.schedule.halved]

    def after(self, epoch: int) -> int:
        """Iterations until the end of an epoch; both are counted from the end of the warm start."""
        iterations = 0
        for epochs, length in zip(self.schedule.epochs, self.epoch_lengths, strict=True):
            iterations += min(epoch, epochs) * length
            epoch = max(epoch - epochs, 0)
        return iterations


TABLES_BEGIN = "<!-- option tables: begin (python options/recipes.py writes them) -->"
TABLES_END = "<!-- option tables: end -->"
EXPECTED_BEGIN = "<!-- expected: begin (python options/recipes.py writes it) -->"
EXPECTED_END = "<!-- expected: end -->"
"""Marks in README.md, between which tables are written."""


# Files ---------------------------------------------------------------------------------------------------------------


def clean_folder(name: str) -> str:
    """Folder of a set of clean images, below `datasets`."""
    return CLEAN_FOLDERS.get(name, f"{name}/GT")


def families(sets: Iterable[str]) -> str:
    """Names by which `basicsr prepare` knows the sources of image sets."""
    return ", ".join(dict.fromkeys(clean_folder(name).split("/")[0] for name in sets))


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  YAML, not HTML
)
TEMPLATES.filters["families"] = families


def render(template: str, **values: Any) -> str:
    """Text of an option file from a template in `templates`."""
    return TEMPLATES.get_template(f"{template}.yml.j2").render(clean_folder=clean_folder, **values)


def recipes() -> Iterator[Recipe]:
    """Every network in the table, for each of its tasks."""
    for goal, networks, data, schedule in RECIPES:
        for name in networks:
            yield Recipe(goal, name, data, schedule)


def benchmark_file(goal: str) -> str:
    """Benchmark of all networks for a task, or of speed alone."""
    baseline, inputs, images = BENCHMARKS[goal]
    quality = goal != SPEED
    measured = [recipe for recipe in recipes() if recipe.goal == (goal if quality else "x2")]
    strips = [name.partition("/")[::2] for name in images.split()]
    return render(
        "benchmark", goal=goal, quality=quality, measured=measured, baseline=baseline, inputs=inputs, strips=strips
    )


def option_files() -> Iterator[tuple[str, str]]:
    """Name and text of every option file."""
    for recipe in recipes():
        yield f"train_{recipe.name}.yml", render("train", r=recipe)
        yield f"test_{recipe.name}.yml", render("test", r=recipe)
    for goal in BENCHMARKS:
        yield f"benchmark_{goal}.yml", benchmark_file(goal)
    for recipe in recipes():
        if FINETUNED[recipe.goal] == recipe.network:
            yield f"finetune_RAMiT_{recipe.goal}.yml", render("finetune", r=recipe)
            if recipe.goal in CHECKED:
                yield f"check_RAMiT_{recipe.goal}.yml", render("check", r=recipe)
    yield "train_demo.yml", render("train_demo")
    yield "test_demo.yml", render("test_demo")


def reference_files() -> Iterator[tuple[str, str]]:
    """Name and text of the files that are written from the schema of the options."""
    from ramit_model.benchmark.schema import BLOCKS, BenchmarkOptions
    from ramit_model.config.reference import json_schema, option_tables

    schema = json_schema(BenchmarkOptions, BLOCKS)
    yield "schema.json", json.dumps(schema, indent=1) + "\n"
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    readme = with_part(readme, EXPECTED_BEGIN, expected_table(), EXPECTED_END)
    yield "README.md", with_part(readme, TABLES_BEGIN, option_tables(schema), TABLES_END)


def with_part(text: str, begin: str, part: str, end: str) -> str:
    """Text with another part between two lines."""
    pattern = f"{re.escape(begin)}.*{re.escape(end)}"
    return re.sub(pattern, lambda _: f"{begin}\n\n{part}\n{end}", text, flags=re.S)


def expected_table() -> str:
    """Table of what the trainings of check_*.yml come to: a row for each metric, a column for each validation."""
    from ramit_model.config.expectations import recorded_curves

    lines = []
    for name, curve in recorded_curves().items():
        for metric in dict.fromkeys(row.metric for row in curve):
            rows = [row for row in curve if row.metric == metric]
            if not lines:
                headings = ["file", "metric", *(f"{row.iteration:,}" for row in rows)]
                lines += [f"| {' | '.join(headings)} |", f"| {' | '.join('---' for _ in headings)} |"]
            lines.append(f"| {' | '.join([f'`{name}.yml`', metric, *map(str, rows)])} |")
    return "".join(f"{line}\n" for line in lines)


def main(folder: Path, *, check: bool) -> int:
    """Write the files into `folder`; with `check`, only name those that differ. Returns how many do."""
    stale = 0
    for name, text in (*option_files(), *reference_files()):
        file = folder / name
        if check and (not file.is_file() or file.read_text(encoding="utf-8") != text):
            print(f"{file}: differs from options/recipes.py; run python options/recipes.py")
            stale += 1
        elif not check:
            file.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout's schema, whatever is installed
    raise SystemExit(main(Path(__file__).parent, check="--check" in sys.argv[1:]))
