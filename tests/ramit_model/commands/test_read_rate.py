"""The measuring command: what it reads and says. No time decides a test."""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import pytest
import torch
from helpers import run_python, training_options

from ramit_model.commands.read_rate import Variant, main
from ramit_model.data.patches import PatchRequest

NUMBER = r"[\d.]+"
RATE = rf"median {NUMBER} \({NUMBER} to {NUMBER}\)"


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leave other tests their threads."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture
def file(pairs: Path, write_options: Callable[..., Path]) -> str:
    return str(write_options(training_options(pairs)))


QUICK = ("--seconds", "0.001", "--rounds", "3")


def test_one_variant(file: str, pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-opt", file, *QUICK]) == 0
    first, second = capsys.readouterr().out.splitlines()
    folders = [pairs / "HR.lmdb", pairs / "LR_bicubic_X2.lmdb"]
    size = sum(path.stat().st_size for folder in folders for path in folder.iterdir()) / 1e6
    assert first == f"as given: 9 entries; all {size:.1f} MB read once, so the page cache is warm"
    assert re.fullmatch(rf"as given: {RATE} patches/s, 3 rounds of 0.001 s, one core", second)


def test_two_variants(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    beside = ["datasets:train:gt_size=16", "datasets:train:use_rot=false"]
    assert main(["-opt", file, *QUICK, "--force_yml", "datasets:val=none", "--beside", *beside]) == 0
    lines = capsys.readouterr().out.splitlines()
    name = re.escape(" ".join(beside))
    assert [bool(re.match(rf"{name}: ", line)) for line in lines] == [False, True, False, True, False]
    assert re.match(rf"as given: {RATE} patches/s", lines[2])
    assert re.match(rf"{name}: {RATE} patches/s", lines[3])
    assert re.fullmatch(rf"ratio, second to first: {RATE}, in pairs", lines[4])


def test_what_a_training_takes_is_read(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variant, taken = Variant(file, ["manual_seed=3", "datasets:train:gt_size=24"]), []
    original = type(variant.dataset).__getitem__
    monkeypatch.setattr(
        type(variant.dataset), "__getitem__", lambda self, request: taken.append(request) or original(self, request)
    )
    for _ in range(40):
        assert variant.rate(0) > 0
    wanted = [request for batch in variant.sampler for request in batch]
    assert all(isinstance(request, PatchRequest) and request.patch_size == 12 for request in taken)
    # A training of 8 iterations of 2 patches; then it begins anew.
    assert taken == list(islice(wanted * 3, 40))
    assert variant.sampler.seed == 3


def test_rounds_are_interleaved(file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """And the ratio is that of pairs: each variant reads 1, 2, 4 patches a second in turn, or twice as many."""
    order: list[int] = []
    rates = {16: iter([0, 1, 2, 4]), 8: iter([0, 2, 4, 8])}

    def rate(variant: Variant, seconds: float) -> float:
        patch = variant.sampler.schedule.stages[0].patch_size
        order.append(patch)
        return next(rates[patch])

    monkeypatch.setattr(Variant, "rate", rate)
    assert main(["-opt", file, *QUICK, "--beside", "datasets:train:gt_size=16"]) == 0
    assert order[2:] == [16, 8, 8, 16, 16, 8]
    assert capsys.readouterr().out.splitlines()[2:] == [
        "as given: median 2.0 (1.0 to 4.0) patches/s, 3 rounds of 0.001 s, one core",
        "datasets:train:gt_size=16: median 4.0 (2.0 to 8.0) patches/s, 3 rounds of 0.001 s, one core",
        "ratio, second to first: median 2.000 (2.000 to 2.000), in pairs",
    ]


def test_one_thread(file: str) -> None:
    assert main(["-opt", file, *QUICK]) == 0
    assert (torch.get_num_threads(), cv2.getNumThreads()) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "-opt"),
        (["-opt", "nowhere.yml"], "no such option file"),
        (["-opt", "FILE", "--force_yml", "datasets:train:gt_sise=8"], "did you mean gt_size?"),
        (["-opt", "FILE", "--beside", "datasets:train:gt_size=33"], "multiple of scale"),
        (["-opt", "FILE", "--beside", "datasets:train:gt_size=96"], "smaller than the GT patch"),
        (["-opt", "FILE", "--force_yml", "datasets:train:type=PairedImageDataset"], "is not measured"),
        (["-opt", "FILE", "--seconds", "0"], "--seconds and --rounds"),
        (["-opt", "FILE", "--seconds", "nan"], "--seconds and --rounds"),
        (["-opt", "FILE", "--rounds", "few"], "--rounds"),
        (["-opt", "FILE", "more"], "more"),
    ],
)
def test_mistakes(arguments: list[str], part: str, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([file if argument == "FILE" else argument for argument in arguments])
    except SystemExit as exit_:
        code = exit_.code
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("python -m ramit_model.commands.read_rate: ")
    assert part in line


def test_threads_are_chosen_before_libraries_are_imported() -> None:
    run_python("import sys, ramit_model.commands.read_rate; assert not {'torch', 'numpy', 'cv2'} & set(sys.modules)")
