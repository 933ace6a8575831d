"""`basicsr restore` of awkward files, and its speed beside a plain loop; `crash_harness.py` kills it.

python tests/measure_restore.py awkward [--also FOLDER]...   # all files in one call, with a tiny network
python tests/measure_restore.py throughput --weights FILE [--count 50] [--size 384]
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parent
# The folders of the tests are called like the packages.
sys.path[:] = [str(TESTS / "support"), *(path for path in sys.path if Path(path).resolve() != TESTS)]

import awkward
import cv2
import torch
from helpers import TINY, photograph
from PIL import Image

from ramit_arch import RAMiT
from ramit_model.inference.batch.jobs import list_jobs
from ramit_model.inference.batch.made_with import NOTES
from ramit_model.inference.batch.run import Settings, restore_files
from ramit_model.inference.pictures.exif import DESCRIPTIVE
from ramit_model.inference.restorer import Restorer

SCALE = 2


def tiny_weights(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "tiny.pth"
    torch.save(RAMiT(**{key: value for key, value in TINY.items() if key != "type"}).state_dict(), path)
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ramit_model", "restore", *map(str, arguments)]


def described(path: Path) -> dict[str, object]:
    """What Pillow finds in a file beside its pixels, in a form that two files of different formats share."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(path)
        image.load()
        exif = image.getexif()
        found: dict[str, object] = {f"exif {tag:#x}": str(exif[tag]) for tag in DESCRIPTIVE if tag in exif}
        for tag in (0x8769, 0x8825):
            # Sizes change, and the place of the interoperability directory.
            kept = {key: str(value) for key, value in exif.get_ifd(tag).items() if key not in (0xA002, 0xA003, 0xA005)}
            found |= {f"exif {tag:#x} {key:#x}": value for key, value in kept.items()}
        found["icc"] = image.info.get("icc_profile") or None
        if image.info.get("dpi") and image.format != "WEBP":
            found["dpi"] = tuple(round(float(value)) for value in image.info["dpi"])
    return found


def measure_awkward(args: argparse.Namespace) -> int:
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, out = folder / "in", folder / "out"
        (source / "made").mkdir(parents=True)
        expected = {file.name: file for file in (*awkward.good(), *awkward.bad())}
        for file in expected.values():
            (source / "made" / file.name).write_bytes(file.content)
        for i, more in enumerate(args.also):
            (source / f"also{i}").symlink_to(more.resolve(), target_is_directory=True)
        jobs = list_jobs([str(source)], str(out))
        started = time.monotonic()
        done = subprocess.run(
            command(source, "--weights", tiny_weights(folder), "-o", out), capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - started
        lines = Counter(re.findall(r"^basicsr restore: (.*?): ", done.stderr, re.MULTILINE))
        counts, wrong, refusals = Counter[str](), [], Counter[str]()
        compared = 0
        for job in jobs:
            where = str(job.source).replace("\n", "\\n")
            made = expected.get(job.source.name) if job.source.parent.name == "made" else None
            restored = job.output.is_file()
            counts["restored" if restored else "refused"] += 1
            if made and restored != (made.fault is None):
                wrong.append(f"{where}: {'restored' if restored else 'refused'}")
            if not restored:
                if lines[where] != 1:
                    wrong.append(f"{where}: {lines[where]} lines")
                continue
            try:
                before = described(job.source)
            except Exception:
                counts["original that Pillow cannot read"] += 1
                continue
            after = described(job.output)
            if Image.open(job.source).mode in ("CMYK", "LAB"):
                before["icc"] = None
            lost = {key for key in before if before[key] is not None and before[key] != after.get(key)}
            if job.output.suffix == ".webp":
                lost -= {"dpi"}
            compared += sum(before[key] is not None for key in before)
            if lost:
                parts = (f"{key}: {str(before[key])[:40]} -> {str(after.get(key))[:40]}" for key in sorted(lost))
                wrong.append(f"{where}: {'; '.join(parts)}")
        outputs = {job.output for job in jobs}
        leftovers = [path for path in out.rglob("*") if path.is_file() and path not in outputs and path.name != NOTES]
        traceback = "Traceback" in done.stderr
        for line in done.stderr.splitlines():
            refusals[re.sub(r"\d+", "N", line.rpartition(": ")[2])[:90]] += 1
        print(f"{len(jobs)} files in one call, {seconds:.0f} s, exit code {done.returncode}: {dict(counts)}")
        print(f"{compared} entries of metadata compared; {len(leftovers)} leftovers; traceback: {traceback}")
        print(done.stdout.strip())
        for text, count in refusals.most_common():
            print(f"  {count:4} x {text}")
        print("\n".join(["WRONG:", *wrong] if wrong else ["nothing wrong"]))
        return int(bool(wrong or leftovers or traceback))


def measure_throughput(args: argparse.Namespace) -> int:
    """Time the command beside a plain loop of reading, network and writing, start of the process left out."""

    class Silent:
        def note(self, job: object, text: str) -> None: ...
        def failed(self, job: object, text: str) -> None: ...
        def progress(self, share: float) -> None: ...
        def processed(self, pixels: int) -> None: ...
        def written(self, job: object) -> None: ...

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for i in range(args.count):
            picture = photograph(args.size, args.size, seed=i)
            cv2.imwrite(str(folder / "in" / f"{i}.{args.form}"), picture)
        restorer = Restorer(args.weights)
        pixels = args.count * args.size**2 / 1e6

        def plain(out: Path) -> None:
            out.mkdir()
            for path in sorted((folder / "in").iterdir()):
                result = restorer(cv2.imread(str(path))[..., ::-1].copy())
                cv2.imwrite(str(out / path.name), result[..., ::-1])

        def overlapped(out: Path) -> None:
            restore_files(list_jobs([str(folder / "in")], str(out)), restorer, Settings(), Silent())

        restorer(photograph(args.size, args.size))
        times: dict[str, list[float]] = {"plain loop": [], "basicsr restore": []}
        for turn in range(args.turns):
            for label, work in (("plain loop", plain), ("basicsr restore", overlapped)):
                started = time.monotonic()
                work(folder / f"{label} {turn}")
                times[label].append(time.monotonic() - started)
        for label, seconds in times.items():
            rates = ", ".join(f"{pixels / each:.3f}" for each in seconds)
            print(f"{label}: {rates} MP/s ({args.count} pictures of {args.size}x{args.size}, {args.form})")
    return 0


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    files = verbs.add_parser("awkward")
    files.add_argument("--also", type=Path, nargs="+", default=[], help="folders with further files")
    files.set_defaults(run=measure_awkward)
    throughput = verbs.add_parser("throughput")
    throughput.add_argument("--weights", required=True)
    throughput.add_argument("--count", type=int, default=50)
    throughput.add_argument("--size", type=int, default=256)
    throughput.add_argument("--form", default="png")
    throughput.add_argument("--turns", type=int, default=2)
    throughput.set_defaults(run=measure_throughput)
    args = parser.parse_args()
    return args.run(args)


if __name__ == "__main__":
    sys.exit(run())
