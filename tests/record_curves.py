"""Record what the trainings of options/check_*.yml come to, with several seeds, in options/expected.json.

`python tests/record_curves.py --help`. It goes on where it was interrupted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
OPTIONS = TESTS.parent / "options"
# The folders of the tests are called like the packages.
sys.path[:] = [str(TESTS.parent), *(path for path in sys.path if Path(path).resolve() != TESTS)]

from ramit_model.config.expectations import FILE, fingerprint_of
from ramit_model.config.options import load_options
from ramit_model.training.validation_history import Measurement, read_history

SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = sorted(path.stem for path in OPTIONS.glob("check_*.yml"))
    parser.add_argument("names", nargs="*", default=names, metavar="NAME", help="option files (default: all)")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR", help="folder for data and experiments")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    os.chdir(args.work)  # below which the options look for data
    run(["prepare", "photographs", "--out", "datasets"])
    for name in args.names:
        curves = [curve_of(name, seed) for seed in SEEDS]
        fingerprint = fingerprint_of(load_options(OPTIONS / f"{name}.yml", is_train=True))
        record(name, {"options": fingerprint, "seeds": list(SEEDS), "curve": averaged(curves)})


def run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "ramit_model", *arguments], check=True)


def curve_of(name: str, seed: int) -> list[Measurement]:
    """Train with a seed, unless that is done."""
    experiment = Path("experiments", f"{name}_{seed}")
    if not (experiment / "models/net_g_latest.pth").is_file():
        forced = ["--force_yml", f"name={experiment.name}", f"manual_seed={seed}"]
        run(["train", "-opt", str(OPTIONS / f"{name}.yml"), "--auto_resume", *forced])
    return read_history(experiment)[1]


def averaged(curves: list[list[Measurement]]) -> list[list[Any]]:
    """Average over the seeds of each measurement, and the largest distance from it."""
    rows = []
    for measurements in zip(*curves, strict=True):
        values = [each.value for each in measurements]
        mean = statistics.fmean(values)
        spread = max(abs(value - mean) for value in values)
        rows.append([*measurements[0][:3], round(mean, 6), round(spread, 6)])
    return rows


def record(name: str, curve: dict[str, Any]) -> None:
    """Put a curve into the file, one row a line."""
    path = OPTIONS / FILE
    recorded = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    recorded[name] = curve
    texts = []
    for key, value in sorted(recorded.items()):
        rows = ",\n".join(f"   {json.dumps(row)}" for row in value["curve"])
        head = f'  "options": {json.dumps(value["options"])},\n  "seeds": {json.dumps(value["seeds"])},\n'
        texts.append(f' {json.dumps(key)}: {{\n{head}  "curve": [\n{rows}\n  ]\n }}')
    path.write_text("{\n" + ",\n".join(texts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
