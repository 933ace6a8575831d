"""Statistics of paired measurements: bootstrap intervals, Wilcoxon's test with Holm's correction, medians, ratios."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy import stats

from ramit_model.benchmark.results import Comparison, Interval

RESAMPLES = 9999
SEED = 0


def mean_interval(values: Sequence[float]) -> Interval | None:
    """95 % bootstrap confidence interval of the mean, the same for the same values.

    Bias-corrected and accelerated (BCa); by percentiles where that is undefined, as for values that are all the same.

    Args:
        values: Values of a sample.

    Returns:
        None for fewer than two values, or if one is not finite (the PSNR of a perfect result is not).
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    interval = _bootstrap(values, "BCa")
    return interval if np.isfinite(interval).all() else _bootstrap(values, "percentile")


def _bootstrap(values: Sequence[float], method: str) -> Interval:
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        # SciPy 1.15 renamed random_state to rng; it takes the old name too, and older ones take no other.
        generator = np.random.default_rng(SEED)
        limits = stats.bootstrap(
            (values,), np.mean, n_resamples=RESAMPLES, method=method, vectorized=True, random_state=generator
        ).confidence_interval
    return Interval(float(limits.low), float(limits.high))


def compare(results: Mapping[str, Mapping[str, float]]) -> list[Comparison]:
    """Compare every two networks on the images that both restored.

    Args:
        results: Network -> image -> PSNR, dB.

    Returns:
        First with second network, first with third, ... Their `p_holm` are corrected for the length of this list. Two
        networks without a common image differ by 0, with p = 1.
    """
    pairs = list(combinations(results, 2))
    differences = [_differences(results[first], results[second]) for first, second in pairs]
    p_values = [wilcoxon(paired) for paired in differences]
    return [
        Comparison(
            first=first,
            second=second,
            images=len(paired),
            mean_difference=float(np.mean(paired)) if paired else 0.0,
            interval=mean_interval(paired),
            p=p,
            p_holm=p_holm,
        )
        for (first, second), paired, p, p_holm in zip(pairs, differences, p_values, holm(p_values), strict=True)
    ]


def _differences(first: Mapping[str, float], second: Mapping[str, float]) -> list[float]:
    """First less second, of each image that both have."""
    common = [(value, second[image]) for image, value in first.items() if image in second]
    # Two perfect results are equal, but infinity less infinity is NaN.
    return [0.0 if a == b else a - b for a, b in common]


def wilcoxon(differences: Sequence[float]) -> float:
    """The p-value of Wilcoxon's signed-rank test, two-sided; exact where SciPy can.

    Args:
        differences: Differences of pairs. Zeros are left out, as Wilcoxon did.

    Returns:
        1 where no difference is left.
    """
    nonzero = [difference for difference in differences if difference != 0]
    if not nonzero:
        return 1.0
    return float(stats.wilcoxon(nonzero, alternative="two-sided", method="auto").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the smallest of m p-values times m, the next times m - 1, ...; none below the last.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6, 1979.

    Args:
        p_values: P-values of all tests of a family.

    Returns:
        Corrected p-values in the same order, at most 1.
    """
    corrected = [0.0] * len(p_values)
    last = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        last = max(last, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = last
    return corrected


def median(values: Sequence[float]) -> float:
    """Median of one value or more."""
    return float(np.median(values))


def quartiles(values: Sequence[float]) -> Interval:
    """First and third quartile of one value or more, interpolated linearly."""
    low, high = np.quantile(values, [0.25, 0.75])
    return Interval(float(low), float(high))


def paired_ratios(baseline_seconds: Sequence[float], seconds: Sequence[float]) -> list[float]:
    """Speed of a network relative to the baseline, run by run.

    Args:
        baseline_seconds: Time of each run of the baseline.
        seconds: Time of each run of the network, next to the baseline's of the same index.

    Returns:
        Above 1 is faster than the baseline.

    Raises:
        ValueError: There are more runs of one than of the other.
    """
    return [baseline / own for baseline, own in zip(baseline_seconds, seconds, strict=True)]
