"""The one hand-written source of the option files: `python options/recipes.py` writes them, `--check` compares.

Facts are the published recipes (RAMiT, CVPRW 2024). Edit here, never in the YAML files.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import indent

# The table -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainingData:
    """Training images.

    Attributes:
        folder: Below `datasets`.
        words: What they are.
        patches: Random patches that make an epoch.
        sub_images: Large images are cut into sub-images.
    """

    folder: str
    words: str
    patches: int
    sub_images: bool = False


@dataclass(frozen=True)
class Schedule:
    """How long a network trains, on which patches and at which rates.

    Attributes:
        epochs: Of each stage, after the warm start.
        patches: Side of the square patches in each stage, LQ pixels.
        batches: Patches an iteration in each stage, over all processes together.
        halved: Epochs, counted over the stages, after which the rate halves.
        warmup: Epochs, the first of `epochs`, in which the rate rises from 0.
        warm_start: Epochs before `epochs` in which only the tail of a model of another scale trains.
        lr: Base rate; of the first stage, where there are several.
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
    """What a network is trained and tested for.

    Attributes:
        words: Its name in words.
        test_sets: Folders below `datasets`; the first one also validates.
        on_y: Compared on Y of YCbCr (BT.601, 16..235), or on all channels.
        clean: The input is made from the ground truth when it is read.
        gray: Images are gray, made from colours when they are read.
    """

    words: str
    test_sets: tuple[str, ...]
    on_y: bool = False
    clean: bool = False
    gray: bool = False


# fmt: off
#                     folder        words                             patches an epoch
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
    "CDN": Task("colour denoising", ("CBSD68", "Kodak24", "McMaster", "Urban100"), clean=True),
    "GDN": Task("gray denoising", ("Set12", "BSD68", "Urban100"), clean=True, gray=True),
    "LLE": Task("low-light enhancement", ("LOL", "VE-LOL-cap")),
    "DR":  Task("deraining", ("Test100", "Rain100H"), on_y=True),
}
# fmt: on

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

CLEAN_FOLDERS = {"Urban100": "Urban100/HR", "BSD68": "CBSD68/GT  # the colour set through RGB2GRAY"}
"""Where clean images are, if not in `<set>/GT`."""


@dataclass(frozen=True)
class Recipe:
    """A network in a row of the table, and what follows for it. Iterations are steps of the optimiser."""

    goal: str
    network: str
    data: TrainingData
    schedule: Schedule

    @property
    def name(self) -> str:
        """What follows `train_` and `test_`."""
        return f"{self.network}_{self.goal}"

    @property
    def scale(self) -> int:
        """Output size over input size."""
        return int(self.goal[1:]) if self.goal.startswith("x") else 1

    @property
    def task_name(self) -> str:
        """SR for every scale."""
        return "SR" if self.scale > 1 else self.goal

    @property
    def task(self) -> Task:
        """What the network does."""
        return TASKS[self.task_name]

    @property
    def weights(self) -> str:
        """The published file."""
        goal = self.goal if self.network == "NGswin" else self.goal.upper()
        return f"weights/{self.network}_{goal}.pth"

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

    def after(self, epoch: int) -> int:
        """Iterations until the end of an epoch; both are counted from the end of the warm start."""
        iterations = 0
        for epochs, length in zip(self.schedule.epochs, self.epoch_lengths, strict=True):
            iterations += min(epoch, epochs) * length
            epoch = max(epoch - epochs, 0)
        return iterations


# Blocks that every file is made of -----------------------------------------------------------------------------------


def line(option: str, comment: str = "") -> str:
    """One option, with a comment behind it."""
    return f"{option}  # {comment}\n" if comment else f"{option}\n"


def block(key: str, *parts: str, comment: str = "") -> str:
    """A YAML mapping under a key, with a comment behind the key."""
    return line(f"{key}:", comment) + indent("".join(parts), "  ")


def head(comment: str, name: str, scale: int, *more: str) -> str:
    """What the file is, and the options that stand in no block."""
    written = "Written by options/recipes.py. For changes of your own, copy this file under another name.\n"
    return indent(written + comment, "# ") + f"name: {name}\n{''.join(more)}scale: {scale}\nnum_gpu: auto\n"


def run_head(comment: str, name: str, scale: int) -> str:
    """The head of a training or a test."""
    return head(comment, name, scale, "model_type: RestorationModel\n") + "manual_seed: 0\n"


def data_set(phase: str, name: str, gt: str, lq: str | None, *more: str) -> str:
    """Pairs, or clean images where `lq` is None, in folders or LMDBs below `datasets`."""
    return block(
        phase,
        f"name: {name}\n",
        f"type: {'PairedRestorationDataset' if lq else 'CleanImageDataset'}\n",
        f"dataroot_gt: datasets/{gt}\n",
        f"dataroot_lq: datasets/{lq}\n" if lq else "",
        *more,
        block("io_backend", f"type: {'lmdb' if gt.endswith('.lmdb') else 'disk'}\n"),
    )


def loading(size: str, workers: int) -> str:
    """How the training set is read: patches of a size, flipped and turned at random, by so many processes."""
    return indent(f"{size}use_hflip: true\nuse_rot: true\nnum_worker_per_gpu: {workers}\n", "  ")


def path(weights: str, *more: str, train: bool, comment: str = "") -> str:
    """Where weights come from, with a comment above them; training can also resume."""
    return block(
        "path",
        indent(comment, "# "),
        f"pretrain_network_g: {weights}\n",
        *more,
        "strict_load_g: true\n",
        "resume_state: ~\n" if train else "",
    )


def optimisation(lr: float, milestones: Sequence[int], *, lr_comment: str = "", milestones_comment: str = "") -> str:
    """Adam, its rate and the loss."""
    return (
        block("optim_g", "type: Adam\n", line(f"lr: {lr:g}", lr_comment), "weight_decay: 0\nbetas: [0.9, 0.999]\n")
        + block(
            "scheduler",
            "type: MultiStepLR\n",
            line(f"milestones: {list(milestones)}", milestones_comment),
            "gamma: 0.5\n",
        )
        + block("pixel_opt", "type: L1Loss\nloss_weight: 1.0\nreduction: mean\n")
    )


def metrics(border: int, *, on_y: bool) -> str:
    """PSNR and SSIM of what is left when `border` pixels at each side are cropped."""
    common = f"crop_border: {border}\ntest_y_channel: {yes(on_y)}\nbetter: higher\n"
    return block("metrics", *(block(name, f"type: calculate_{name}\n", common) for name in ("psnr", "ssim")))


def logger(save_every: int, *, tensorboard: bool) -> str:
    """What is told and kept of a training run, and how often."""
    return block(
        "logger",
        f"print_freq: 100\nsave_checkpoint_freq: {save_every}\nuse_tb_logger: {yes(tensorboard)}\n",
    )


def yes(value: bool) -> str:
    """A truth value in YAML."""
    return "true" if value else "false"


# Blocks of a recipe --------------------------------------------------------------------------------------------------

SWINIR_LIGHT = """\
type: SwinIR
upscale: {scale}
in_chans: 3
img_size: 64
window_size: 8
img_range: 1.0
depths: [6, 6, 6, 6]
embed_dim: 60
num_heads: [6, 6, 6, 6]
mlp_ratio: 2
upsampler: pixelshuffledirect
resi_connection: 1conv
"""

AFTER_WARM_START = "counted from the end of the warm start"

FURTHER_OPTIONS = """\
# amp: bfloat16        # or float16; published: full precision
# grad_clip: 1.0       # largest norm of the gradient; published: none
# accumulate: 2        # parts a batch is computed in: less memory, the same gradients
# compile: true        # torch.compile
# channels_last: true
"""


def network(recipe: Recipe) -> str:
    """The network with its published settings."""
    if recipe.network == "SwinIR-light":
        return block("network_g", SWINIR_LIGHT.format(scale=recipe.scale))
    if recipe.network == "NGswin":
        return block("network_g", f"type: NGswin\nscale: {recipe.scale}\n")
    scale = f"scale: {recipe.scale}\n" if recipe.scale > 1 else ""
    return block("network_g", f"type: RAMiT\nvariant: {recipe.network}\ntask: {recipe.task_name}\n", scale)


def color(recipe: Recipe) -> str:
    """Every data set of gray images says so."""
    return "color: gray\n" if recipe.task.gray else ""


def training_set(recipe: Recipe) -> str:
    """The training data, in LMDBs."""
    folder, more = recipe.data.folder, color(recipe)
    gt, lq = f"{folder}/GT.lmdb", None if recipe.task.clean else f"{folder}/LQ.lmdb"
    if recipe.task_name == "SR":
        gt, lq = f"{folder}/{folder}_train_HR_sub.lmdb", f"{folder}/{folder}_train_LR_bicubic_X{recipe.scale}_sub.lmdb"
    if recipe.task.clean:
        more += "sigma: [0, 50]  # noise level of each patch, uniform, in 8-bit grey levels\n"
    if recipe.data.sub_images:
        more += "sub_images: true  # NAME_s001, NAME_s002, ... are one image; all images are drawn equally often\n"
    return data_set("train", folder, gt, lq, more) + loading(patches(recipe), workers=6) + "  pin_memory: true\n"


def patches(recipe: Recipe) -> str:
    """Size and number of the training patches, where they stay the same."""
    if recipe.progressive:
        return "# Sizes of patches and batches are those of the stages in train: progressive.\n"
    size, batch = recipe.schedule.patches[0], recipe.schedule.batches[0]
    return line(f"gt_size: {size * recipe.scale}", "GT pixels; the LQ patch is gt_size / scale") + line(
        f"batch_size_per_gpu: {batch // 2}", f"2 GPUs x {batch // 2} = {batch}; on one GPU write {batch}"
    )


def evaluation_set(phase: str, name: str, recipe: Recipe) -> str:
    """A set of images in folders; LR files are called like their HR file with x2, x3 or x4 behind."""
    if recipe.task_name == "SR":
        template = f"filename_tmpl: '{{}}x{recipe.scale}'\n"
        return data_set(phase, name, f"{name}/HR", f"{name}/LR_bicubic/X{recipe.scale}", template)
    if recipe.task.clean:
        return data_set(phase, name, CLEAN_FOLDERS.get(name, f"{name}/GT"), None, color(recipe))
    return data_set(phase, name, f"{name}/GT", f"{name}/LQ")


def start(recipe: Recipe) -> str:
    """The x2 model of the same network where there is a warm start, else random weights."""
    if not recipe.warm_start:
        return path("~", train=True)
    x2 = Recipe("x2", recipe.network, recipe.data, SCRATCH)
    return path(
        f"experiments/train_{x2.name}/models/net_g_latest.pth",
        train=True,
        comment=f"The trained x2 model, or its published weights: {x2.weights}; all weights but to_target load.\n",
    )


def curriculum(recipe: Recipe) -> str:
    """Warm start or stages, where there are any."""
    if recipe.warm_start:
        return block(
            "warm_start",
            f"iters: {recipe.warm_start}\ntrainable: [to_target]\n",
            comment="first only the tail trains, at the constant base rate; then everything, with a fresh Adam",
        )
    if not recipe.progressive:
        return ""
    stages, epochs = recipe.schedule, " + ".join(str(n) for n in recipe.schedule.epochs)
    options = {
        f"iters: {recipe.stage_lengths}": f"{epochs} epochs of {recipe.data.patches:,} patches",
        f"patch_sizes: {list(stages.patches)}": "LQ pixels",
        f"batch_sizes: {list(stages.batches)}": "over all processes together",
    }
    width = max(len(option) for option in options)
    return block(
        "progressive",
        *(line(option.ljust(width), comment) for option, comment in options.items()),
        comment="stages, one after the other; the rate follows the batch: lr * batch / first batch",
    )


def warmup(recipe: Recipe) -> str:
    """How long the rate rises; the milestones of the rate are counted from the same iteration."""
    if not recipe.schedule.warmup:
        return line("warmup_iter: -1", "none")
    counted = f", {AFTER_WARM_START}" if recipe.warm_start else ""
    return line(f"warmup_iter: {recipe.after(recipe.schedule.warmup)}", f"linear from 0{counted}")


def rates(recipe: Recipe) -> str:
    """The base rate and when it halves."""
    lr_comment = milestones_comment = ""
    if recipe.warm_start:
        milestones_comment = AFTER_WARM_START
    elif recipe.progressive:
        lr_comment, milestones_comment = "of the first stage", "iterations of the whole run"
    milestones = [recipe.after(epoch) for epoch in recipe.schedule.halved]
    return optimisation(recipe.schedule.lr, milestones, lr_comment=lr_comment, milestones_comment=milestones_comment)


def training(recipe: Recipe) -> str:
    """Length, rates and loss."""
    decay = recipe.schedule.ema_decay
    return block(
        "train",
        line(f"total_iter: {recipe.total}", "with the warm start" if recipe.warm_start else ""),
        curriculum(recipe),
        warmup(recipe),
        rates(recipe),
        f"ema_decay: {decay}\n" if decay else "",
        FURTHER_OPTIONS,
        "" if decay else "# ema_decay: 0.999     # published: none\n",
    )


def sigma(recipe: Recipe, *levels: int, comment: str = "") -> str:
    """Noise levels of denoising, in 8-bit grey levels."""
    return line(f"sigma: {list(levels)}", comment) if recipe.task.clean else ""


def recipe_metrics(recipe: Recipe) -> str:
    """Super-resolution crops as many pixels as its scale, the other tasks none."""
    return metrics(recipe.scale if recipe.scale > 1 else 0, on_y=recipe.task.on_y)


# Files ---------------------------------------------------------------------------------------------------------------


def duration(recipe: Recipe) -> str:
    """How long a network trains, in words."""
    schedule = recipe.schedule
    if recipe.progressive:
        return f"{recipe.total:,} iterations in {len(schedule.epochs)} stages"
    size = schedule.patches[0]
    return f"{recipe.total:,} iterations of {schedule.batches[0]} LQ patches of {size}x{size}"


def preparation(*sets: str) -> str:
    """How its data comes to be there."""
    families = dict.fromkeys(CLEAN_FOLDERS.get(name, name).split("/")[0] for name in sets)
    return f"Data: basicsr prepare NAME --source ... --out datasets, for {', '.join(families)}"


def train_file(recipe: Recipe) -> str:
    """The training recipe of a network."""
    source = "for comparison" if recipe.network in COMPARED else "as published"
    begins = " from x2 weights" if recipe.warm_start else ""
    comment = (
        f"{recipe.network} {recipe.goal} {source}: "
        f"{recipe.task.words} on {recipe.data.words}{begins}, {duration(recipe)}.\n"
        f"{preparation(recipe.data.folder, recipe.task.test_sets[0])}\n"
        f"basicsr train -opt options/train_{recipe.name}.yml --nproc 2\n"
    )
    validation = evaluation_set("val", recipe.task.test_sets[0], recipe)
    return "\n".join(
        (
            run_head(comment, f"train_{recipe.name}", recipe.scale),
            block("datasets", training_set(recipe), validation),
            network(recipe),
            start(recipe),
            training(recipe),
            block(
                "val",
                "val_freq: 5000\nsave_img: false\n",
                sigma(recipe, 25),
                "tb_images: 3  # pictures of each set for TensorBoard\n",
                recipe_metrics(recipe),
            ),
            logger(5000, tensorboard=True),
            block("dist_params", "backend: nccl  # without GPUs, gloo is taken\nport: 29500\n"),
        )
    )


def test_file(recipe: Recipe) -> str:
    """The test of a network's weights on the usual sets."""
    comment = (
        f"{recipe.network} {recipe.goal} by the published protocol: {recipe.task.words}.\n"
        f"{preparation(*recipe.task.test_sets)}\n"
        f"basicsr test -opt options/test_{recipe.name}.yml\n"
        "Leave a data set out with --force_yml datasets:test_2=none\n"
    )
    sets = [evaluation_set(f"test_{i}", name, recipe) for i, name in enumerate(recipe.task.test_sets, 1)]
    averaged = line("param_key_g: params_ema", "the moving average, where a file has one")
    own = f"experiments/train_{recipe.name}/models/net_g_latest.pth"
    return "\n".join(
        (
            run_head(comment, f"test_{recipe.name}", recipe.scale),
            block("datasets", *sets),
            network(recipe),
            path(
                recipe.weights,
                averaged if recipe.schedule.ema_decay else "",
                train=False,
                comment=f"The published file, or your own: {own}\n",
            ),
            block(
                "val",
                "save_img: true\nsuffix: ~  # ~ appends the name of this test to saved images\n",
                sigma(recipe, 15, 25, 50, comment="every set is tested at each noise level"),
                recipe_metrics(recipe),
            ),
        )
    )


DEMO_NETWORK = """\
network_g:
  type: RAMiT
  variant: RAMiT
  task: SR
  scale: 2
  dim: 32
  depths: [2, 2, 2, 2]
  neck_groups: 2
"""


def demo_set(phase: str, folder: str) -> str:
    """Photographs of scikit-image."""
    return data_set(phase, "demo", f"demo/{folder}/HR.lmdb", f"demo/{folder}/LR_bicubic_X2.lmdb")


def train_demo() -> str:
    """A small RAMiT x2, a few minutes on two CPU cores."""
    comment = "A small RAMiT x2 for a few minutes on two CPU cores; `basicsr demo` makes its data and runs it.\n"
    training_data = demo_set("train", "train") + loading("gt_size: 64\nbatch_size_per_gpu: 4\n", workers=1)
    return "\n".join(
        (
            run_head(comment, "demo", scale=2),
            block("datasets", training_data, demo_set("val", "val")),
            DEMO_NETWORK,
            path("~", train=True),
            block("train", "total_iter: 2000\nwarmup_iter: 50\n", optimisation(0.002, [1000, 1400, 1700, 1900])),
            block("val", "val_freq: 500\nsave_img: false\npbar: false\n", metrics(2, on_y=True)),
            logger(500, tensorboard=False),
        )
    )


def test_demo() -> str:
    """The demo's test twin."""
    comment = "Tests the demo's network; `basicsr demo` runs it before and after training.\n"
    return "\n".join(
        (
            run_head(comment, "demo", scale=2),
            block("datasets", demo_set("test", "val")),
            DEMO_NETWORK,
            path("experiments/demo/models/net_g_latest.pth", train=False),
            block("val", "save_img: true\nsuffix: result\npbar: false\n", metrics(2, on_y=True)),
        )
    )


def benchmarked(recipe: Recipe, *, trained: bool) -> str:
    """A network of a benchmark; where it is trained, with its weights."""
    return block(
        recipe.network,
        network(recipe),
        f"weights: {recipe.weights if trained else '~  # random ones cost the same'}\n",
        "param_key: params_ema\n" if trained and recipe.schedule.ema_decay else "",
        f"published: {recipe.name}  # entry of the published figures\n",
    )


def cost(inputs: Sequence[str], *precisions: str) -> str:
    """What is timed."""
    return block(
        "cost",
        "devices: auto  # the GPU where there is one, else the CPU; or [cpu, cuda]\n",
        f"precisions: [{', '.join(precisions)}]  # float32, tf32 (on GPUs), bfloat16, float16\n",
        "memory_formats: [contiguous]  # or channels_last\n",
        "compile: [false]\n",
        line(f"inputs: [{', '.join(f'[{size}]' for size in inputs)}]", "forward pass: LQ width, height, images (or 1)"),
        line("train: [[64, 64, 4]]", "training step, likewise"),
        "runs: 9\nwarmup: 2\n",
    )


def strips(names: str) -> str:
    """Images to draw."""
    rows = []
    for name in names.split():
        folder, _, image = name.partition("/")
        rows.append(f"- {{dataset: {folder}{f', image: {image!r}' if image else ''}}}\n")
    return block(
        "strips", *rows, comment="pictures to compare; crop: [left, top, width, height], GT pixels, or automatic"
    )


def benchmark_file(goal: str) -> str:
    """A benchmark of all networks for a task, or of speed alone."""
    baseline, inputs, images = BENCHMARKS[goal]
    quality = goal != SPEED
    measured = [recipe for recipe in recipes() if recipe.goal == (goal if quality else "x2")]
    recipe = measured[0]
    if quality:
        comment = (
            f"{', '.join(recipe.network for recipe in measured)}: {recipe.task.words} {goal}, side by side.\n"
            f"{preparation(*recipe.task.test_sets)}\n"
            f"basicsr benchmark -opt options/benchmark_{goal}.yml\n"
            "--incomplete does without the weights and data sets that are not there.\n"
        )
    else:
        comment = (
            "Speed and memory of the x2 networks, without data and weights.\n"
            f"basicsr benchmark -opt options/benchmark_{goal}.yml\n"
        )
    sets = [evaluation_set(f"test_{i}", name, recipe) for i, name in enumerate(recipe.task.test_sets, 1)]
    tile = "tile: ~  # side of tiles, LQ pixels, for images that memory is too small for\n"
    levels = sigma(recipe, 15, 25, 50, comment="every set is tested at each noise level")
    parts = (
        head(comment, f"benchmark_{goal}", recipe.scale, f"baseline: {baseline}  # times are compared with its\n"),
        block("networks", *(benchmarked(recipe, trained=quality) for recipe in measured)),
        block("datasets", *sets) if quality else "",
        block("val", levels, tile, recipe_metrics(recipe)) if quality else "",
        cost(inputs, "float32", *([] if quality else ["bfloat16"])),
        strips(images) if quality else "",
    )
    return "\n".join(part for part in parts if part)


def recipes() -> Iterator[Recipe]:
    """Every network in the table, for each of its tasks."""
    for goal, networks, data, schedule in RECIPES:
        for name in networks:
            yield Recipe(goal, name, data, schedule)


def option_files() -> Iterator[tuple[str, str]]:
    """Name and text of every option file."""
    for recipe in recipes():
        yield f"train_{recipe.name}.yml", train_file(recipe)
        yield f"test_{recipe.name}.yml", test_file(recipe)
    for goal in BENCHMARKS:
        yield f"benchmark_{goal}.yml", benchmark_file(goal)
    yield "train_demo.yml", train_demo()
    yield "test_demo.yml", test_demo()


def main(folder: Path, *, check: bool) -> int:
    """Write the files into `folder`; with `check`, only name those that differ. Returns how many do."""
    stale = 0
    for name, text in option_files():
        file = folder / name
        if check and (not file.is_file() or file.read_text(encoding="utf-8") != text):
            print(f"{file}: differs from options/recipes.py; run python options/recipes.py")
            stale += 1
        elif not check:
            file.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    raise SystemExit(main(Path(__file__).parent, check="--check" in sys.argv[1:]))
