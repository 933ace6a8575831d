"""The speed benchmark beside the tests: one tiny run of the command, and mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import REPOSITORY

TINY_RUN = "--networks RAMiT-1 --inputs 32x32 --train 32x32x1 --pairs 1 --forms float32 --setting basicsr --threads 1"


def measure_speed(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(REPOSITORY / "tests/measure_speed.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_tiny_run(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    done = measure_speed(*TINY_RUN.split(), "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["machine"]["threads"] == 1
    assert found["versions"]["torch"]
    assert [entry["input"] for entry in found["measurements"]] == ["forward 32x32", "train 32x32"]
    for entry, passes in zip(found["measurements"], (1, 3), strict=True):
        assert (entry["setting"], entry["network"]) == ("basicsr", "RAMiT-1")
        assert entry["mult_adds"] == passes * found["measurements"][0]["mult_adds"] > 0
        reference, (ours,) = entry["reference"], entry["forms"].values()
        for cost in (reference, ours):
            assert cost["failure"] is None
            (seconds,) = cost["seconds"]
            assert cost["median"] == seconds > 0
            gflops = 2 * entry["mult_adds"] / seconds / 1e9
            assert cost["gflops"] == pytest.approx(gflops)
            assert cost["matmul_share"] == pytest.approx(gflops / entry["matmul_gflops"]["float32"])
            if sys.platform == "linux":
                assert 0 < cost["peak_memory"] < 2e9
                assert cost["memory_ratio"] == pytest.approx(reference["peak_memory"] / cost["peak_memory"])
        assert ours["ratio"] == pytest.approx(reference["seconds"][0] / ours["seconds"][0])
        assert ours["ratio_spread"] == [ours["ratio"]] * 2

    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    assert [len(row) for row in rows] == [10] * 4
    assert [row[:2] for row in rows[2:]] == [["RAMiT-1 x2", "forward 32x32"], ["RAMiT-1 x2", "train 32x32"]]
    shown = float(rows[2][3])
    assert shown == pytest.approx(found["measurements"][0]["reference"]["median"] * 1e3, rel=1e-3)
    assert done.stdout.count("**basicsr**") == 1
    assert "**plain**" not in done.stdout


def test_a_mistake() -> None:
    done = measure_speed("--inputs", "192by192")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("measure_speed.py: argument --inputs: '192by192' is not WIDTHxHEIGHT")
