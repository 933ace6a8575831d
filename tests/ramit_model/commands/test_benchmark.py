"""`basicsr benchmark`, as users run it: the whole of it, killed and started again, refused in one line."""

import csv
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import yaml
from benchmark_options import NETWORKS, benchmark_options, measure_in_this_process, save_weights
from helpers import THREADS, children, metrics, photograph, run_basicsr, start_process, testing_options, wait_until

from ramit_model.benchmark.measure import cost, quality
from ramit_model.cli import main

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="children are found in /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Path:
    """Options and weights of two networks; one is measured on images, both are timed."""
    folder = tmp_path_factory.mktemp("benchmark")
    options = benchmark_options(pairs, {"tiny": save_weights(folder / "tiny.pth")})
    del options["networks"]["wide"]
    options["cost"] = {"inputs": [[24, 16]], "runs": 3, "warmup": 1}
    (folder / "options.yml").write_text(yaml.safe_dump(options, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> "subprocess.CompletedProcess[str]":
    """A benchmark in `folder / benchmarks / tiny` that nothing disturbed."""
    return run_basicsr("benchmark", "-opt", "options.yml", cwd=folder, fresh=True)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """No further processes; what they would have been started for.

    With the threads of `run_basicsr`: another number would be another machine, on which all is measured anew.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield measure_in_this_process(monkeypatch)
    torch.set_num_threads(threads)


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[str]]:
    """Exit code and the lines on stderr."""
    capsys.readouterr()
    try:
        code = main(["benchmark", *map(str, arguments)])
    except SystemExit as exit_:
        code = int(str(exit_.code))
    return code, capsys.readouterr().err.splitlines()


def lines(out: Path) -> list[dict[str, Any]]:
    file = out / "measurements.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def test_the_whole_report(finished: "subprocess.CompletedProcess[str]", folder: Path) -> None:
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert finished.stdout.splitlines()[-1] == "The whole report: benchmarks/tiny/report.html"
    for word in ("tiny", "plain", "bicubic", "pairs", "forward 24x16, float32, cpu"):
        assert word in finished.stdout
    out = folder / "benchmarks/tiny"
    found = results(out)
    for name in ("report.html", "report.md", "report.tex", "results.csv", found["strips"][0]["file"]):
        assert (out / name).stat().st_size > 0
    assert list((out / "plots").glob("*.svg"))
    (pairs_found,) = found["datasets"]
    assert {name: len(result["images"]) for name, result in pairs_found["results"].items()} == {"bicubic": 9, "tiny": 9}
    (case,) = found["costs"]
    for network in case["networks"].values():
        assert network["failure"] is None
        assert len(network["seconds"]) == 3
        # Processes of their own: that much memory, and not that of the tests.
        assert 0 < network["peak_memory"] < 1e9
    assert len(found["networks"][0]["weights"]["sha256"]) == 64
    assert found["machine"]["threads"] == THREADS
    assert found["versions"]["torch"]


def test_numbers_are_those_of_the_test(
    finished: "subprocess.CompletedProcess[str]", folder: Path, pairs: Path, write_options: Callable[..., Path]
) -> None:
    path = write_options(testing_options(pairs, str(folder / "tiny.pth")))
    tested = run_basicsr("test", "-opt", path, cwd=path.parent)
    assert tested.returncode == 0, tested.stderr
    with (path.parent / "results/tiny/pairs.csv").open() as file:
        rows = {row.pop("image"): row for row in csv.DictReader(file)}
    found = results(folder / "benchmarks/tiny")["datasets"][0]["results"]["tiny"]
    measured = {**found["images"], "average": found["average"]}
    assert {name: {metric: f"{value:.6f}" for metric, value in row.items()} for name, row in measured.items()} == rows
    assert len(rows) == 10
    assert list(rows["average"]) == list(metrics())


def test_a_second_time_measures_nothing(
    finished: "subprocess.CompletedProcess[str]", folder: Path, here: list[Any], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    out = folder / "benchmarks/tiny"
    before, numbers = (out / "measurements.jsonl").read_bytes(), results(out)
    monkeypatch.chdir(folder)
    code, said = run_here(capsys, "-opt", "options.yml")
    assert (code, said, here) == (0, [], [])
    assert (out / "measurements.jsonl").read_bytes() == before
    again = results(out)
    for key in ("networks", "datasets", "costs", "strips", "machine", "versions", "options"):
        assert again[key] == numbers[key]


# Interrupted ----------------------------------------------------------------------------------------------------------


def measures(process: int) -> bool:
    """Whether one of its children is there to measure; others come and go."""
    for child in children(process):
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return True
    return False


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts the command in a group of its own, as a terminal does."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str | Path) -> "subprocess.Popen[str]":
        command = ("-m", "ramit_model", "benchmark")
        process = start_process(*command, *arguments, cwd=folder, OMP_NUM_THREADS=str(THREADS))
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@LINUX
def test_killed_interrupted_and_gone_on(
    finished: "subprocess.CompletedProcess[str]",
    folder: Path,
    tmp_path: Path,
    start: Callable[..., "subprocess.Popen[str]"],
    here: list[Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert finished.returncode == 0, finished.stderr
    out = tmp_path / "out"
    command = ("-opt", "options.yml", "--only", "quality", "--out", out)
    process = start(*command)
    assert wait_until(lambda: len(lines(out)) >= 3 or process.poll() is not None, 120)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), 20)
    known = lines(out)
    assert 3 <= len(known) < 18
    assert not (out / "results.json").exists()
    with (out / "measurements.jsonl").open("a") as file:
        file.write('{"kind": "quality", "ke')  # as a kill may leave it

    process = start(*command)
    assert wait_until(lambda: measures(process.pid) or process.poll() is not None, 120)
    workers = children(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    said, remarks = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == ""
    assert remarks.strip().splitlines() == ["basicsr benchmark: interrupted; the same command goes on where it was"]
    assert wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), 20)
    assert lines(out)[: len(known)] == known

    monkeypatch.chdir(folder)
    assert run_here(capsys, *command) == (0, [])
    assert {len(task.images) for _, task in here} <= set(range(1, 10))
    keys = Counter(line["key"] for line in lines(out))
    assert len(keys) == 18
    assert set(keys.values()) == {1}
    undisturbed = results(folder / "benchmarks/tiny")
    assert results(out)["datasets"] == undisturbed["datasets"]
    assert results(out)["strips"] == undisturbed["strips"]


# Refused --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(pairs: Path, tmp_path: Path, write_options: Callable[..., Path], here: list[Any]) -> dict[str, Any]:
    """Options of a benchmark of one small network."""
    options = benchmark_options(pairs)
    weights = save_weights(tmp_path / "plain.pth", "plain")
    options["networks"] = {"plain": {"network_g": NETWORKS["plain"], "weights": str(weights)}}
    options["cost"] = {"inputs": [[8, 8]], "runs": 2, "warmup": 0}
    return options


Write = Callable[..., Path]


def test_arguments(
    quick: dict[str, Any], write_options: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_options(quick), tmp_path / "out"
    forced = ["--force_yml", "cost:runs=4", "name=other"]
    assert run_here(capsys, "-opt", path, "--out", out, "--limit", "2", "--only", "plain", *forced) == (0, [])
    found = results(out)
    assert found["name"] == "other"
    assert [len(network["seconds"]) for network in found["costs"][0]["networks"].values()] == [4]
    assert list(found["datasets"][0]["results"]["plain"]["images"]) == ["p0", "p1"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "-opt"),
        (["-opt", "nowhere.yml"], "nowhere.yml: no such option file"),
        (["-opt", "FILE", "--limit", "0"], "--limit"),
        (["-opt", "FILE", "--limit", "few"], "'few' is not a whole number of at least 1"),
        (["-opt", "FILE", "--only", "plane"], "did you mean plain?"),
        (["-opt", "FILE", "--force_yml", "cost:run=1"], "did you mean runs?"),
        (["-opt", "FILE", "--force_yml", "networks:plain=none"], "networks"),
        (["-opt", "FILE", "--incomplet"], "unknown argument --incomplet"),
        (["-opt", "FILE", "--out", "FILE"], "options.yml: is not a folder"),
        (["-opt", "FILE", "--out", "FILE/deeper"], "options.yml/deeper: is not a folder"),
    ],
)
def test_mistakes(
    arguments: list[str], part: str, quick: dict[str, Any], write_options: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_options(quick)
    code, said = run_here(capsys, *(argument.replace("FILE", str(path)) for argument in arguments))
    assert code == 2
    (line,) = said
    assert line.startswith("basicsr benchmark: ")
    assert part in line


def test_what_is_missing(
    quick: dict[str, Any], write_options: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick["networks"]["plain"]["weights"] = "no/plain.pth"
    quick["datasets"]["test_2"] = {**quick["datasets"]["test_1"], "name": "lost", "dataroot_gt": "no/HR.lmdb"}
    path, out = write_options(quick), tmp_path / "out"
    code, said = run_here(capsys, "-opt", path, "--out", out)
    assert code == 2
    missing = [
        "networks.plain.weights: no/plain.pth: no such file",
        "datasets.test_2.dataroot_gt: no/HR.lmdb: no such folder",
    ]
    assert said[:2] == [f"basicsr benchmark: {path}: {line}" for line in missing]
    assert len(said) == 3
    assert not out.exists()
    code, said = run_here(capsys, "-opt", path, "--out", out, "--incomplete")
    assert (code, said) == (0, [f"basicsr benchmark: {line}; going on without" for line in missing])
    assert results(out)["notes"] == missing


def test_a_bad_image_is_found_before_anything_is_measured(
    quick: dict[str, Any], write_options: Write, tmp_path: Path, here: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, side in (("HR", 32), ("LR", 16)):
        (tmp_path / name).mkdir()
        for image in "ab":
            cv2.imwrite(str(tmp_path / name / f"{image}.png"), photograph(side, side))
    (tmp_path / "HR/b.png").write_bytes(b"no image")
    quick["datasets"]["test_1"].update(
        io_backend={"type": "disk"}, dataroot_gt=str(tmp_path / "HR"), dataroot_lq=str(tmp_path / "LR")
    )
    out = tmp_path / "out"
    code, (line,) = run_here(capsys, "-opt", write_options(quick), "--out", out)
    assert code == 2
    assert line.startswith(f"basicsr benchmark: data set pairs: {tmp_path / 'HR/b.png'}: cannot be decoded as an image")
    assert (here, lines(out)) == ([], [])


def test_bad_weights(
    quick: dict[str, Any], write_options: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_options(quick), tmp_path / "out"
    for content in (b"no weights", save_weights(tmp_path / "tiny.pth").read_bytes()):
        (tmp_path / "plain.pth").write_bytes(content)
        code, (line,) = run_here(capsys, "-opt", path, "--out", out)
        assert code == 2
        assert line.startswith(f"basicsr benchmark: {tmp_path / 'plain.pth'}: ")
        assert lines(out) == []


def test_another_benchmark_writes_there(
    quick: dict[str, Any], write_options: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = write_options(quick), tmp_path / "out"
    from ramit_model.benchmark.measure.measurements import Measurements

    with Measurements(out / "measurements.jsonl"):
        code, said = run_here(capsys, "-opt", path, "--out", out)
    assert code == 2
    assert said == [f"basicsr benchmark: {out}: another benchmark is writing here; choose another --out"]


def test_a_folder_that_cannot_be_written(
    quick: dict[str, Any], write_options: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("nothing is locked for this user")
    code, said = run_here(capsys, "-opt", write_options(quick), "--out", folder / "out")
    assert code == 2
    assert said == [f"basicsr benchmark: {folder / 'out'}: Permission denied; make it writable or change the folder"]


@pytest.mark.parametrize("size", [300, 20_000])
def test_a_full_disk(
    size: int, quick: dict[str, Any], write_options: Write, tmp_path: Path, here: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Among the measurements, or among the files of the report; with room, it goes on."""
    resource = pytest.importorskip("resource")
    path, out = write_options(quick), tmp_path / "out"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        code, said = run_here(capsys, "-opt", path, "--out", out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    (line,) = said
    assert line.startswith("basicsr benchmark: ")
    assert line.endswith(": File too large; check the disk or change the folder")
    assert not (out / "report.html").exists()
    assert not list(out.rglob("*.tmp*"))
    assert run_here(capsys, "-opt", path, "--out", out) == (0, [])
    keys = [line["key"] for line in lines(out)]
    assert len(keys) == len(set(keys)) == 2 * 9 + 1 + 2


@pytest.mark.parametrize("module", [quality, cost])
def test_interrupted_wherever_it_is(
    module: Any,
    quick: dict[str, Any],
    write_options: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    path, out = write_options(quick), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module, "isolated", interrupted)
        code, said = run_here(capsys, "-opt", path, "--out", out)
    assert code == 130
    assert said == ["", "basicsr benchmark: interrupted; the same command goes on where it was"]
    # Nothing is locked.
    assert run_here(capsys, "-opt", path, "--out", out) == (0, [])
