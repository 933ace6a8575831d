"""Smoke test: what a new user does, on every supported Python that is here, each in a fresh virtual environment.

    python tests/smoke.py                   every supported Python that is found
    python tests/smoke.py --others          all but the one that runs this
    python tests/smoke.py --lowest 3.10     with the oldest release of everything that setup.py admits

Installs the package, imports it, registers it with BasicSR, prepares pictures, trains and tests a tiny network through
the `basicsr` command, and runs the tests of what the package expects of BasicSR (with --lowest, the fast tests, too).
Needs nothing but Python. Exit code 1 if something of ours failed; a Python that is missing, or whose downloads failed,
is named as skipped.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")
CHECKOUT = Path(__file__).resolve().parents[1]

NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError|Read timed out|ConnectionResetError|Connection broken|"
    r"IncompleteRead|IncompleteDownload|download incomplete|ProtocolError|ProxyError|SSLError|RemoteDisconnected|"
    r"ConnectionError|Name or service not known|Temporary failure in name resolution|"
    r"HTTP error (408|429|5\d\d)|HTTPError: (408|429|5\d\d)|"
    # A file cut short has another checksum; older releases of pip only find that it cannot be unpacked.
    r"DO NOT MATCH THE HASHES|Wheel '\S+' located at \S+ is invalid",
    re.IGNORECASE,
)
"""What pip says when the network or the package index fails, and never when a build or the resolution does."""

PICTURES = """
import pathlib, cv2, numpy
pathlib.Path("pictures").mkdir()
for seed in range(4):
    noise = numpy.random.default_rng(seed).integers(0, 256, (14, 14, 3)).astype(numpy.uint8)
    assert cv2.imwrite(f"pictures/{seed}.png", cv2.resize(noise, (96, 96), interpolation=cv2.INTER_CUBIC))
"""

REGISTER = """
import torch, ramit_arch, ramit_model
ramit_model.register()
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
assert "RAMiT" in ARCH_REGISTRY and "PairedRestorationDataset" in DATASET_REGISTRY
assert "RestorationModel" in MODEL_REGISTRY
network = ramit_arch.RAMiT(scale=2, dim=16, depths=[1, 1, 1, 1], neck_groups=1)
assert network(torch.rand(1, 3, 9, 15)).shape == (1, 3, 18, 30)
"""

LMDBS = ("dataroot_gt=data/pictures/HR.lmdb", "dataroot_lq=data/pictures/LR_bicubic_X2.lmdb")
TINY = ("name=smoke", "num_gpu=0", "network_g:dim=16", "network_g:depths=[1, 1, 1, 1]", "network_g:neck_groups=1")
TRAINING = (
    *TINY,
    *("train:total_iter=4", "train:warmup_iter=2", "train:scheduler:milestones=[3]", "val:val_freq=4"),
    *("logger:print_freq=1", "logger:save_checkpoint_freq=4", "datasets:train:gt_size=32"),
    *(f"datasets:{phase}:{lmdb}" for phase in ("train", "val") for lmdb in LMDBS),
)
TEST = (
    *TINY,
    "path:pretrain_network_g=experiments/smoke/models/net_g_latest.pth",
    *(f"datasets:test:{lmdb}" for lmdb in LMDBS),
)


class NetworkFailure(Exception):  # noqa: N818  nothing of ours is wrong
    """Downloading failed; the line of pip that says so."""


def interpreters() -> Iterator[tuple[str, Path | None]]:
    """Version and interpreter of each supported Python; None if it is not here."""
    homes = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    for version in SUPPORTED:
        found = [shutil.which(f"python{version}")]
        found += sorted(path for home in homes for path in home.glob(f"{version}.*/bin/python"))
        # A shim on PATH may stand for nothing.
        yield version, next((Path(path) for path in found if path and version_of(Path(path)) == version), None)


def version_of(python: Path) -> str:
    """Major and minor version of an interpreter, "" if it does not run."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command, and return its output; show it and raise `CalledProcessError` if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    # Options are shorter than what comes after them, which is data.
    shown = " ".join(str(word) for word in command if "\n" not in str(word))
    print(f"  {time.monotonic() - started:6.1f} s  {shown[:110]}", flush=True)
    if done.returncode:
        print(done.stdout)
        done.check_returncode()
    return done.stdout


def network_failure(output: str) -> str:
    """First line of pip's output that says that the network failed, "" if it failed for another reason."""
    return next((line.strip() for line in output.splitlines() if NETWORK.search(line)), "")


def lowest() -> list[str]:
    """Constraints that hold every requirement of setup.py at its lower bound."""
    text = (CHECKOUT / "setup.py").read_text(encoding="utf-8")
    return [f"{name}=={bound}" for name, bound in re.findall(r'^ +"([\w.-]+)>=([\d.]+)[^"]*",', text, re.MULTILINE)]


def smoke(python: Path, folder: Path, constraints: list[str]) -> None:
    """Install and use the package in a fresh environment.

    Args:
        python: Interpreter.
        folder: Empty folder for the environment and everything else.
        constraints: Constraints for pip, such as "numpy==1.26".

    Raises:
        NetworkFailure: Downloading failed.
        subprocess.CalledProcessError: Anything else failed.
    """
    run(python, "-m", "venv", folder / "venv", cwd=folder)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    own, command = scripts / "python", scripts / "basicsr"
    (folder / "constraints.txt").write_text("\n".join(constraints), encoding="utf-8")
    try:
        run(scripts / "pip", "install", "--use-pep517", "-c", "constraints.txt", f"{CHECKOUT}[test]", cwd=folder)
    except subprocess.CalledProcessError as error:
        if line := network_failure(error.output or ""):
            raise NetworkFailure(line) from error
        raise
    print("          " + run(command, "--version", cwd=folder).strip().replace("\n", "\n          "))
    run(own, "-c", REGISTER, cwd=folder)
    run(own, "-c", PICTURES, cwd=folder)
    run(command, "prepare", "folder", "--source", "pictures", "--out", "data/pictures", "--scale", "2", cwd=folder)
    options = CHECKOUT / "options"
    run(command, "train", "-opt", options / "train_demo.yml", "--force_yml", *TRAINING, cwd=folder)
    run(command, "test", "-opt", options / "test_demo.yml", "--force_yml", *TEST, cwd=folder)
    tests = ["tests/ramit_model/test_basicsr_bridge.py", "tests/ramit_model/commands/test_version.py"]
    for selected in [("-k", "know or version or recorded", *tests), ("-m", "fast")][: 2 if constraints else 1]:
        said = run(own, "-m", "pytest", "-q", *selected, cwd=CHECKOUT)
        print(f"          {said.splitlines()[-1]}", flush=True)


def main() -> int:
    """Run the smoke test; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="versions, such as 3.12, or interpreters")
    parser.add_argument("--others", action="store_true", help="leave out the version that runs this")
    parser.add_argument("--lowest", action="store_true", help="install the lower bounds of all requirements")
    arguments = parser.parse_args()
    own = "{}.{}".format(*sys.version_info[:2])
    here = dict(interpreters())
    pythons = {version_of(Path(name)) or name: Path(name) for name in arguments.pythons if name not in here}
    pythons |= {name: path for name, path in here.items() if name in arguments.pythons or not arguments.pythons}
    constraints = lowest() if arguments.lowest else []
    results = {}
    for version, python in pythons.items():
        if python is None:
            results[version] = "skipped: no such interpreter here"
        elif not (arguments.others and version == own):
            results[version] = _outcome(version, python, constraints)
    print("\n".join(f"smoke test on Python {version}: {result}" for version, result in results.items()))
    return int(any(result.startswith("FAILED") for result in results.values()))


def _outcome(version: str, python: Path, constraints: list[str]) -> str:
    print(f"Python {version}: {python}", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="smoke") as folder:
        try:
            smoke(python, Path(folder), constraints)
        except NetworkFailure as error:
            return f"skipped: the network failed while downloading: {error}"
        except subprocess.CalledProcessError as error:
            return f"FAILED: {' '.join(map(str, error.cmd))[:200]}"
    return f"passed in {time.monotonic() - started:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
