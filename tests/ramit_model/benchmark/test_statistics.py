"""Statistics against worked examples, enumeration and properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramit_model.benchmark.results import Interval
from ramit_model.benchmark.statistics import compare, holm, mean_interval, median, paired_ratios, quartiles, wilcoxon

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def sample(size: int, seed: int = 0) -> list[float]:
    return (30 + np.random.default_rng(seed).normal(size=size)).tolist()


# Bootstrap ------------------------------------------------------------------------------------------------------------


def test_interval_holds_the_mean_and_shrinks_with_the_sample() -> None:
    widths = []
    for size in (10, 100, 1000):
        values = sample(size)
        low, high = mean_interval(values)
        assert low < np.mean(values) < high
        # Student's interval of a large normal sample is the same but for chance.
        assert high - low == pytest.approx(2 * 1.96 * np.std(values, ddof=1) / math.sqrt(size), rel=0.2)
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    intervals = [mean_interval(sample(25, seed)) for seed in range(100)]
    assert 88 <= sum(low <= 30 <= high for low, high in intervals) <= 99


def test_interval_of_skewed_values_leans_to_the_tail() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    low, high = mean_interval(values.tolist())
    assert high - values.mean() > values.mean() - low


def test_interval_is_reproducible_and_leaves_the_global_generator_alone() -> None:
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    assert mean_interval(sample(20)) == mean_interval(sample(20))
    assert np.random.rand() == expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[2.5, 2.5, 2.5], [38.1837] * 5, [0.0, 0.0]])
def test_interval_of_constant_values_is_a_point(values: list[float]) -> None:
    assert mean_interval(values) == pytest.approx((values[0], values[0]))


@pytest.mark.filterwarnings("error")
def test_interval_of_two_values_is_theirs() -> None:
    assert mean_interval([1.0, 2.0]) == (1.0, 2.0)


@pytest.mark.parametrize("values", [[], [30.0], [30.0, math.inf]])
def test_no_interval(values: list[float]) -> None:
    assert mean_interval(values) is None


# Wilcoxon -------------------------------------------------------------------------------------------------------------


def enumerated_p(differences: list[float]) -> float:
    """Of all 2^n ways to give the ranks signs, the share that is at least as far from the middle as the one seen."""
    order = sorted(differences, key=abs)
    ranks = range(1, len(order) + 1)
    seen = sum(rank for rank, difference in zip(ranks, order, strict=True) if difference > 0)
    middle = sum(ranks) / 2
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(order))]
    return sum(abs(s - middle) >= abs(seen - middle) for s in sums) / len(sums)


@pytest.mark.parametrize("size", range(1, 9))
def test_wilcoxon_is_exact_for_few_images(size: int) -> None:
    random = np.random.default_rng(size)
    for shift in (0, 0.5, 3):
        differences = random.normal(shift, 1, size).tolist()
        assert wilcoxon(differences) == pytest.approx(enumerated_p(differences), rel=1e-12)


def test_wilcoxon_of_literal_cases() -> None:
    assert wilcoxon([1, 2, 3, 4, 5]) == pytest.approx(2 / 32)  # all of one sign: 2 of 2^5
    assert wilcoxon([-1, 2, 3, 4, 5]) == pytest.approx(4 / 32)  # sums 0, 1, 14, 15 of 15
    assert wilcoxon([-2, 1, 3, 4, 5]) == pytest.approx(6 / 32)
    assert wilcoxon([1, 2, 3, 4, 5, 6, 7, 8]) == pytest.approx(2 / 256)


def test_wilcoxon_leaves_zeros_out() -> None:
    assert wilcoxon([0, 1, 2, 0, 3, 4, 5]) == wilcoxon([1, 2, 3, 4, 5])


@pytest.mark.parametrize("differences", [[], [0.0], [0.0] * 20])
def test_wilcoxon_without_a_difference(differences: list[float]) -> None:
    assert wilcoxon(differences) == 1


# Holm -----------------------------------------------------------------------------------------------------------------


def test_holm_worked_example() -> None:
    # 4 * 0.005, 3 * 0.01, 2 * 0.03, and 1 * 0.04, which must not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(P_VALUES)
def test_holm_raises_keeps_the_order_and_stays_a_probability(p_values: list[float]) -> None:
    corrected = holm(p_values)
    m = len(p_values)
    assert all(p <= c <= min(1, m * p) for p, c in zip(p_values, corrected, strict=True))
    for (p, c), (q, d) in itertools.combinations(zip(p_values, corrected, strict=True), 2):
        assert (p <= q and c <= d) or (p >= q and c >= d)


@given(st.data())
def test_holm_does_not_depend_on_the_order_of_the_tests(data: st.DataObject) -> None:
    p_values = data.draw(P_VALUES)
    order = data.draw(st.permutations(range(len(p_values))))
    corrected = holm(p_values)
    assert holm([p_values[i] for i in order]) == [corrected[i] for i in order]


# Comparisons ----------------------------------------------------------------------------------------------------------


def test_compares_every_two_networks_on_their_common_images() -> None:
    results = {
        "a": {"1": 30.0, "2": 31.0, "3": 32.0, "4": 33.0, "5": 34.0, "6": 35.0},
        "b": {"1": 29.9, "2": 30.8, "3": 31.7, "4": 32.6, "5": 33.5},
        "c": {"5": 34.0, "6": 35.0, "7": 36.0},
    }
    ab, ac, bc = compare(results)
    assert [(c.first, c.second, c.images) for c in (ab, ac, bc)] == [("a", "b", 5), ("a", "c", 2), ("b", "c", 1)]
    assert ab.mean_difference == pytest.approx(0.3)
    assert ab.interval.low < 0.3 < ab.interval.high
    assert ab.p == pytest.approx(2 / 32)
    assert ab.p_holm == pytest.approx(3 * 2 / 32)
    assert (ac.mean_difference, ac.interval, ac.p, ac.p_holm) == (0, Interval(0, 0), 1, 1)
    assert (bc.mean_difference, bc.interval, bc.p) == (pytest.approx(-0.5), None, 1)


def test_pairing_sees_what_the_spread_between_images_hides() -> None:
    first = dict(enumerate(np.random.default_rng(0).normal(30, 5, 20)))
    second = {image: psnr - 0.1 - 0.001 * image for image, psnr in first.items()}
    (comparison,) = compare({"first": first, "second": second})
    assert 0.1 < comparison.interval.low < comparison.mean_difference < comparison.interval.high < 0.12
    assert comparison.p == pytest.approx(2 / 2**20)
    (reverse,) = compare({"second": second, "first": first})
    assert (reverse.mean_difference, reverse.p) == (pytest.approx(-comparison.mean_difference), comparison.p)


def test_constant_difference() -> None:
    values = {str(i): float(i) for i in range(6)}
    (comparison,) = compare({"a": {image: psnr + 0.5 for image, psnr in values.items()}, "b": values})
    assert comparison.interval == (0.5, 0.5)
    assert comparison.p < 0.05


def test_nothing_in_common() -> None:
    (comparison,) = compare({"a": {"1": 30.0}, "b": {"2": 30.0}})
    assert (comparison.images, comparison.mean_difference, comparison.interval) == (0, 0, None)
    assert (comparison.p, comparison.p_holm) == (1, 1)
    assert compare({"a": {"1": 30.0}}) == []


def test_two_perfect_results_are_equal() -> None:
    (comparison,) = compare({"a": {"1": math.inf, "2": 31.0}, "b": {"1": math.inf, "2": 30.0}})
    assert comparison.mean_difference == 0.5


# Times ----------------------------------------------------------------------------------------------------------------


def test_median() -> None:
    assert median([3, 1, 2]) == 2
    assert median([1.0, 2.0]) == 1.5


def test_quartiles() -> None:
    assert quartiles([4, 1, 3, 2, 5]) == Interval(2, 4)
    assert quartiles([7.0]) == Interval(7, 7)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
@settings(max_examples=50)
def test_quartiles_are_ordered_and_within_the_values(values: list[float]) -> None:
    low, high = quartiles(values)
    assert min(values) <= low <= high <= max(values)


def test_ratios_pair_the_runs() -> None:
    assert paired_ratios([2.0, 3.0], [1.0, 6.0]) == [2.0, 0.5]
    with pytest.raises(ValueError, match="shorter"):
        paired_ratios([2.0, 3.0], [1.0])
