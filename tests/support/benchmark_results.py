"""Results of a benchmark that never ran: every case that a report has to show, with easy numbers."""

import statistics
from itertools import combinations

from ramit_model.benchmark.results import (
    OUT_OF_MEMORY,
    Case,
    CaseCost,
    Comparison,
    Counts,
    Interval,
    NetworkCost,
    NetworkInfo,
    NetworkQuality,
    Published,
    PublishedSet,
    Results,
    SetQuality,
    Strip,
    Weights,
)

BASELINE = "RAMiT-slimSR"
ODD = "R&D <net>_x"
"""A name that needs escaping everywhere."""
WITHOUT_WEIGHTS = "NGswin"
REFERENCE = "bicubic"

METRICS = {
    "psnr": {"type": "calculate_psnr", "crop_border": 2, "test_y_channel": True},
    "ssim": {"type": "calculate_ssim", "crop_border": 2, "test_y_channel": True},
}
SET5 = ("baby", "bird", "butterfly", "head", "woman")
MCMASTER = tuple(str(number) for number in range(1, 9))
GAIN = {REFERENCE: (-3.0, -0.02), BASELINE: (0.0, 0.0), ODD: (-0.25, 0.0005)}
"""Network -> how far its PSNR and SSIM are from those of the baseline."""


def _quality(
    images: tuple[str, ...], network: str, published: dict[str, float], missing: tuple[str, ...] = ()
) -> NetworkQuality:
    psnr, ssim = GAIN[network]
    values = {
        image: {"psnr": 36.0 + i / 2 + psnr, "ssim": 0.95 + i / 1000 + ssim}
        for i, image in enumerate(images)
        if image not in missing
    }
    average = {metric: statistics.fmean(value[metric] for value in values.values()) for metric in METRICS}
    return NetworkQuality(
        images=values,
        average=average,
        interval={"psnr": Interval(average["psnr"] - 0.5, average["psnr"] + 0.75)},
        difference={metric: average[metric] - value for metric, value in published.items()},
        tiled=images[-1:] if network == ODD else (),
        out_of_memory=missing,
    )


def _set_quality(
    name: str, images: tuple[str, ...], image_count: int, published: dict[str, float], missing: tuple[str, ...]
) -> SetQuality:
    results = {
        REFERENCE: _quality(images, REFERENCE, {}),
        BASELINE: _quality(images, BASELINE, published),
        ODD: _quality(images, ODD, {}, missing),
    }
    comparisons = []
    for first, second in combinations(results, 2):
        both = len(results[first].images.keys() & results[second].images.keys())
        difference = GAIN[first][0] - GAIN[second][0]
        interval = Interval(difference - 0.1, difference + 0.1)
        comparisons.append(Comparison(first, second, both, difference, interval, 2 / 2**both, 3 * 2 / 2**both))
    return SetQuality(name, images, image_count, METRICS, REFERENCE, results, comparisons)


def timed(*seconds: float, baseline: tuple[float, ...], batch: int, peak_memory: int | None) -> NetworkCost:
    """The cost of a network that took `seconds`, where the baseline took `baseline`."""
    ratios = [before / now for before, now in zip(baseline, seconds, strict=True)]
    median = statistics.median(seconds)
    return NetworkCost(
        failure=None,
        seconds=seconds,
        median=median,
        spread=_quartiles(seconds),
        ratio=statistics.median(ratios),
        ratio_spread=_quartiles(ratios),
        images_per_second=batch / median,
        peak_memory=peak_memory,
    )


def _quartiles(values: tuple[float, ...] | list[float]) -> Interval:
    low, _, high = statistics.quantiles(values, method="inclusive")
    return Interval(low, high)


def _costs() -> list[CaseCost]:
    forward = Case("forward", "cpu", "float32", "contiguous", False, 320, 180, 1)
    fast = Case("forward", "cpu", "bfloat16", "channels_last", True, 320, 180, 4)
    train = Case("train", "cuda", "tf32", "contiguous", False, 64, 64, 16)
    base = (0.080, 0.100, 0.090)
    return [
        CaseCost(
            forward,
            {
                BASELINE: timed(*base, baseline=base, batch=1, peak_memory=312_400_000),
                ODD: timed(0.160, 0.200, 0.180, baseline=base, batch=1, peak_memory=624_800_000),
                WITHOUT_WEIGHTS: timed(0.040, 0.050, 0.045, baseline=base, batch=1, peak_memory=None),
            },
        ),
        CaseCost(
            fast,
            {
                BASELINE: timed(*base, baseline=base, batch=4, peak_memory=1_250_000_000),
                ODD: NetworkCost("torch.compile raised BackendCompilerFailed: no C++ compiler was found"),
                WITHOUT_WEIGHTS: timed(0.040, 0.050, 0.045, baseline=base, batch=4, peak_memory=900_000_000),
            },
        ),
        CaseCost(
            train,
            {
                BASELINE: timed(1.5, 1.25, 1.75, baseline=(1.5, 1.25, 1.75), batch=16, peak_memory=12_500_000_000),
                ODD: NetworkCost(OUT_OF_MEMORY),
                WITHOUT_WEIGHTS: timed(3.0, 2.5, 3.5, baseline=(1.5, 1.25, 1.75), batch=16, peak_memory=25_000_000_000),
            },
        ),
    ]


def example_results() -> Results:
    """Three networks, one of them without weights, on two test sets and in three cases."""
    published = Published("RAMiT paper, table 2", 940_000, 163.4e9, {"Set5": PublishedSet(37.12, 0.9512)})
    ngswin = Published("NGswin paper, table 1", 998_000, 140.4e9, {"Set5": PublishedSet(38.05, 0.9610)})
    output = (1280, 720)
    networks = [
        NetworkInfo(
            BASELINE,
            {"type": "RAMiT", "dim": 48},
            Weights("weights/slimSR_x2.pth", "0a" * 32),
            Counts(939_793, 163.42e9, 512.3e6, output),
            published,
        ),
        NetworkInfo(
            ODD,
            {"type": "Odd", "note": "<b>&"},
            Weights("weights/odd_&_even.pth", "0b" * 32),
            Counts(1_204_117, 250.5e9, 700.25e6, output),
            None,
            number=1,
        ),
        NetworkInfo(
            WITHOUT_WEIGHTS, {"type": "NGswin"}, None, Counts(998_384, 140.41e9, 401.5e6, output), ngswin, number=2
        ),
    ]
    datasets = [
        _set_quality("Set5", SET5, 5, {"psnr": 37.12, "ssim": 0.9512}, ()),
        _set_quality("McMaster_sigma25", MCMASTER, 18, {}, MCMASTER[2:3]),
    ]
    return Results(
        name="x2 <lightweight> & co",
        option_file="options/benchmark_x2.yml",
        options={
            "name": "x2 <lightweight> & co",
            "scale": 2,
            "networks": {network.name: {"network_g": network.network_g} for network in networks},
        },
        finished="2025-01-31T12:00:00+00:00",
        scale=2,
        baseline=BASELINE,
        machine={"system": "Linux 6.1", "cpu": "Some CPU", "cores": 2, "memory_gb": 8.3, "gpu": None},
        versions={"python": "3.11.7", "torch": "2.9.0"},
        networks=networks,
        datasets=datasets,
        costs=_costs(),
        strips=[
            Strip(
                "Set5",
                "butterfly",
                (16, 24, 64, 48),
                "strips/Set5_butterfly.png",
                {REFERENCE: 34.0, BASELINE: 37.0, ODD: 36.75},
                {REFERENCE: 30.0, BASELINE: 34.5, ODD: 34.25},
            )
        ],
    )
