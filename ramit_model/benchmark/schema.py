"""Schema of the option files of benchmarks; its data sets are those of `ramit_model.config.schema`."""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from ramit_model.config.blocks import Block, Count, Gpus, Natural, Sigma, Typed
from ramit_model.inference.precision import Precision

Runtime = Literal["pytorch", "onnxruntime", "openvino"]
"""Programs that run networks; the last two read ONNX."""

Devices = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [{"const": "auto"}, {"type": "array", "items": {"enum": ["cpu", "cuda"]}, "minItems": 1}]}
    ),
]
InputSize = Annotated[list[Natural], Field(min_length=2, max_length=3)]


class BenchmarkNetwork(Block):
    """Network to measure."""

    network_g: Typed = Field(description="Network, with its hyper-parameters.")
    weights: str | None = Field(
        default=None, description="Weight file; ~ measures the cost alone, with random weights."
    )
    param_key: str | None = Field(
        default="params", description="Key of the weights in the file: params, or params_ema for the moving average."
    )
    published: str | None = Field(default=None, description="Entry of the published figures to compare with.")


class BenchmarkVal(Block):
    """Metrics of restored images."""

    metrics: Annotated[dict[str, Typed], Field(min_length=1)] = Field(
        description="Name -> BasicSR's metric with its arguments: crop_border, test_y_channel, better."
    )
    sigma: Annotated[list[Sigma], Field(min_length=1)] | None = Field(
        default=None, description="Noise levels at which sets of clean images are tested, in 8-bit gray levels."
    )
    tile: Natural | None = Field(
        default=None, description="Side of tiles in LQ pixels for images that memory is too small for; ~ for no tiles."
    )


class Cost(Block):
    """Time and memory."""

    devices: Devices = Field(default="auto", description="List of cpu and cuda; auto takes the GPU where there is one.")
    precisions: Annotated[list[Precision], Field(min_length=1)] = Field(
        default=["float32"], description="Precisions of the computation; tf32 on GPUs only."
    )
    runtimes: Annotated[list[Runtime], Field(min_length=1)] = Field(
        default=["pytorch"],
        description="What runs the networks; onnxruntime and openvino time forward passes in float32 on the CPU.",
    )
    memory_formats: Annotated[list[Literal["contiguous", "channels_last"]], Field(min_length=1)] = Field(
        default=["contiguous"], description="Memory layouts of network and images."
    )
    compile: Annotated[list[bool], Field(min_length=1)] = Field(
        default=[False], description="Without and with `torch.compile`, which needs a C++ compiler."
    )
    inputs: list[InputSize] = Field(
        default=[], description="Forward passes to time: LQ width, height and images (1 if left out)."
    )
    train: list[InputSize] = Field(default=[], description="Training steps to time, likewise.")
    runs: Natural = Field(default=9, description="Timed runs of each case.")
    warmup: Count = Field(default=2, description="Runs before them that do not count.")


class Strip(Block):
    """Picture to compare: ground truth, input and results side by side."""

    dataset: str = Field(description="Name of the test set, with _sigma15 and the like for noise levels.")
    image: str | None = Field(default=None, description="Name of the image; ~ takes the first one.")
    crop: Annotated[list[int], Field(min_length=4, max_length=4)] | None = Field(
        default=None, description="Left, top, width, height in GT pixels; ~ takes the part with most detail."
    )
    size: Natural = Field(default=64, description="Side in GT pixels of the part that is found by itself.")


class BenchmarkOptions(Block):
    """Option file of `basicsr benchmark`."""

    name: str = Field(description="Name of the benchmark and its folder: letters, digits and . + - _ only.")
    scale: Natural = Field(description="Output size over input size; 1 for all tasks but super-resolution.")
    num_gpu: Gpus = Field(
        default="auto", description="GPUs, or auto for those that there are; 0 restores images on the CPU."
    )
    baseline: str | None = Field(
        default=None, description="Network that times are compared with; ~ takes the first one."
    )
    networks: Annotated[dict[str, dict[str, Any]], Field(min_length=1)] = Field(
        description="Name -> network to measure; ~ leaves one out."
    )
    datasets: dict[str, dict[str, Any]] = Field(
        default={}, description="test_1, test_2, ...: sets of images as in a test; ~ leaves one out."
    )
    val: dict[str, Any] | None = Field(default=None, description="Metrics of restored images; needed with `datasets`.")
    cost: dict[str, Any] | None = Field(default=None, description="Time and memory to measure; ~ for none.")
    strips: list[dict[str, Any]] = Field(default=[], description="Pictures to compare.")


BLOCKS: dict[str, type[Block]] = {"networks": BenchmarkNetwork, "val": BenchmarkVal, "cost": Cost, "strips": Strip}
"""Option of a benchmark -> schema of its block, or of each block in it."""
