"""Results of a benchmark: plain dataclasses, written to `results.json` as they are. Reports read nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

OUT_OF_MEMORY = "out of memory"
PYTORCH = "pytorch"
PUBLISHED_OUTPUT = (1280, 720)
"""Width and height, in pixels, of the output for which papers on super-resolution state Mult-Adds."""


class Interval(NamedTuple):
    """Limits of a 95 % confidence interval, or quartiles."""

    low: float
    high: float


@dataclass(frozen=True)
class Counts:
    """Counts of a network, independent of the machine.

    Attributes:
        parameters: Number of parameters.
        mult_adds: Multiply-accumulate operations of all convolutions and matrix products; None if not counted.
        activations: Elements of the outputs of all convolutions and matrix products; None if not counted.
        output: Width and height of the output that `mult_adds` and `activations` belong to, pixels.
    """

    parameters: int
    mult_adds: float | None
    activations: float | None
    output: tuple[int, int]


@dataclass(frozen=True)
class PublishedSet:
    """Published PSNR (dB) and SSIM of a network on a test set."""

    psnr: float
    ssim: float


@dataclass(frozen=True)
class Published:
    """Published figures of a network.

    Attributes:
        source: Publication.
        parameters: Published number; papers round.
        mult_adds: For an output of `PUBLISHED_OUTPUT`.
        sets: Name of a test set -> its figures; averages over the whole set.
        counts_note: Sentence on a difference in counting, if there is one.
        training: Images that the network was trained on, such as DIV2K; None if not noted.
        doubt: What is not certain about where the figures come from; None for nothing.
    """

    source: str
    parameters: int | None
    mult_adds: float | None
    sets: dict[str, PublishedSet]
    counts_note: str | None = None
    training: str | None = None
    doubt: str | None = None


@dataclass(frozen=True)
class Weights:
    """A file of weights."""

    path: str
    sha256: str


@dataclass(frozen=True)
class NetworkInfo:
    """A network of the benchmark.

    Attributes:
        name: Name in the option file.
        network_g: Options of the network.
        weights: File of weights; None if only the cost is measured.
        counts: Counts.
        published: Published figures, if any.
        number: Place in the option file, from 0: gives the color, so that a network keeps it in other reports.
        found: What was found out of a network that its file describes: architecture, program, scale, unit of sizes.
    """

    name: str
    network_g: dict[str, Any]
    weights: Weights | None
    counts: Counts
    published: Published | None
    number: int = 0
    found: str | None = None


@dataclass(frozen=True)
class NetworkQuality:
    """Quality of a network, or of the baseline without one, on an image set.

    Attributes:
        images: Image -> metric -> value; without those that ran out of memory.
        average: Metric -> mean over `images`.
        interval: Metric -> bootstrap confidence interval of that mean; empty for fewer than two images.
        difference: Metric -> measured less published average; empty where nothing is published for this set, where
            images are missing, or where other metrics were measured than published.
        tiled: Images restored in tiles because memory was too small.
        out_of_memory: Images that could not be restored.
    """

    images: dict[str, dict[str, float]]
    average: dict[str, float]
    interval: dict[str, Interval]
    difference: dict[str, float]
    tiled: Sequence[str] = ()
    out_of_memory: Sequence[str] = ()


@dataclass(frozen=True)
class Comparison:
    """A Wilcoxon signed-rank test between the PSNRs of two networks on the same images.

    Attributes:
        first: First network.
        second: Second network.
        images: Number of images that both restored.
        mean_difference: PSNR of `first` less that of `second`, mean over the images, dB.
        interval: Bootstrap confidence interval of that mean; None for fewer than two images.
        p: Two-sided p-value.
        p_holm: P-value corrected by Holm's method for the number of comparisons on this test set.
    """

    first: str
    second: str
    images: int
    mean_difference: float
    interval: Interval | None
    p: float
    p_holm: float


@dataclass(frozen=True)
class SetQuality:
    """Quality on an image set.

    Attributes:
        name: Name in the option file; for denoising with the noise level, `McMaster_sigma25`.
        images: Names of the images, in order.
        image_count: Number of images in the set; larger than that of `images` if a limit was given.
        metrics: Metric -> its block in the option file.
        reference: Name of the baseline without a network: `bicubic` or `input`.
        results: Network -> its quality; `reference` first.
        comparisons: Comparisons of every two networks.
        comparable: Whether it was measured as published figures are: on all images of the set, by the same protocol.
    """

    name: str
    images: Sequence[str]
    image_count: int
    metrics: dict[str, dict[str, Any]]
    reference: str
    results: dict[str, NetworkQuality]
    comparisons: Sequence[Comparison]
    comparable: bool = False


@dataclass(frozen=True)
class Case:
    """Settings of a timed run, the same for all networks.

    Attributes:
        mode: `forward`, or `train` for a step of training (forward, L1 loss, backward, Adam).
        device: `cpu` or `cuda`.
        precision: `float32`, `tf32`, `bfloat16` or `float16`.
        memory_format: `contiguous` or `channels_last`.
        compiled: Whether torch.compile was used.
        width: Width of the input, pixels.
        height: Height of the input, pixels.
        batch: Images in the input.
        runtime: `pytorch`, or `onnxruntime` or `openvino` for the network as ONNX.
    """

    mode: str
    device: str
    precision: str
    memory_format: str
    compiled: bool
    width: int
    height: int
    batch: int
    runtime: str = PYTORCH

    @property
    def words(self) -> str:
        """Description in one line: `forward 8 x 64x64, float32, cuda, compiled`; PyTorch is not mentioned."""
        images = f"{self.batch} x " if self.batch > 1 else ""
        parts = [f"{self.mode} {images}{self.width}x{self.height}", self.precision, self.device]
        parts += [self.runtime] if self.runtime != PYTORCH else []
        parts += ["channels last"] if self.memory_format == "channels_last" else []
        return ", ".join([*parts, *(["compiled"] if self.compiled else [])])


@dataclass(frozen=True)
class NetworkCost:
    """Cost of a network in a case.

    Attributes:
        failure: None, `out of memory`, or another reason why there are no times.
        seconds: Time of each run; run i of all networks came one after the other.
        median: Median of `seconds`.
        spread: Quartiles of `seconds`.
        ratio: Median of the ratios of the baseline's time to this network's, run by run: above 1 is faster than the
            baseline. None without a baseline.
        ratio_spread: Quartiles of these ratios.
        images_per_second: Throughput, batch over median.
        peak_memory: Peak memory beyond that of the process and the weights, bytes: on a CPU, resident memory of a
            separate process; on a GPU, memory allocated by torch.
    """

    failure: str | None
    seconds: Sequence[float] = ()
    median: float | None = None
    spread: Interval | None = None
    ratio: float | None = None
    ratio_spread: Interval | None = None
    images_per_second: float | None = None
    peak_memory: int | None = None


@dataclass(frozen=True)
class CaseCost:
    """Costs of all networks in a case."""

    case: Case
    networks: dict[str, NetworkCost]


@dataclass(frozen=True)
class Strip:
    """A comparison picture.

    Attributes:
        dataset: Image set.
        image: Name of the image.
        crop: Left, top, width, height of the enlarged window, in GT pixels.
        file: PNG, below the folder of the report.
        psnr: Network (the reference first) -> PSNR of the whole image, dB.
        crop_psnr: Network -> PSNR of the crop alone, dB.
    """

    dataset: str
    image: str
    crop: tuple[int, int, int, int]
    file: str
    psnr: dict[str, float]
    crop_psnr: dict[str, float]


@dataclass(frozen=True)
class Results:
    """Results of a benchmark.

    Attributes:
        name: Name of the benchmark.
        option_file: Path of the option file.
        options: Content of the option file, with the overrides of the command line.
        finished: Time of the end, UTC, ISO 8601.
        scale: Output size over input size.
        baseline: Network that times are compared with.
        machine: Facts about the machine: `system`, `cpu`, `cores`, `memory_gb`, `gpu` (None without), ...
        versions: Package -> version, `python` first.
        networks: In the order of the option file.
        datasets: In the order of the option file.
        costs: In the order of the option file.
        strips: In the order of the option file.
        notes: Missing files and folders that the option file names, one line each.
        literature: Published figures at this scale, by the name of the network, measured or not.
    """

    name: str
    option_file: str
    options: dict[str, Any]
    finished: str
    scale: int
    baseline: str
    machine: dict[str, Any]
    versions: dict[str, str]
    networks: Sequence[NetworkInfo]
    datasets: Sequence[SetQuality]
    costs: Sequence[CaseCost]
    strips: Sequence[Strip]
    notes: Sequence[str] = ()
    literature: Mapping[str, Published] = field(default_factory=dict)


def psnr_metric(metrics: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Name of PSNR among the metrics of the option file; None if it is not measured."""
    return next((name for name, block in metrics.items() if block.get("type") == "calculate_psnr"), None)
