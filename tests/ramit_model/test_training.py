"""BasicSR's trainer and tester with our packages, as users run them: in subprocesses, on real LMDBs."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import REPOSITORY, run_basicsr, testing_options, training_options

TWO_PROCESSES = ["--nproc", "2"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["params"]


def logged(path: Path, pattern: str) -> list[str]:
    """What `pattern` finds in the log of a run."""
    return re.findall(pattern, next(path.glob("*.log")).read_text())


def test_train_resume_and_test(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    """Train to iteration 4, go on to 8 with --auto_resume, test: metrics of training and test agree."""
    options = training_options(pairs)
    options["datasets"]["train"]["num_worker_per_gpu"] = 1
    path = write_options(options)
    first = run_basicsr("train", "-opt", path, "--force_yml", "train:total_iter=4", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    experiment = tmp_path / "experiments/tiny"
    assert (experiment / "training_states/4.state").is_file()
    before = weights(experiment / "models/net_g_4.pth")

    time.sleep(1.1)  # BasicSR names logs by the second
    second = run_basicsr("train", "-opt", path, "--auto_resume", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "Resuming training from epoch: 0, iter: 4." in second.stderr
    assert re.findall(r"iter: +(\d+), lr", second.stderr) == ["5", "6", "7", "8"]
    after = weights(experiment / "models/net_g_8.pth")
    assert any(not torch.equal(before[key], after[key]) for key in before)
    # The milestone at 6 holds in the resumed run.
    assert re.findall(r"lr:\((\S+),\)", second.stderr) == ["1.000e-03", "1.000e-03", "5.000e-04", "5.000e-04"]

    test = write_options(testing_options(pairs, "experiments/tiny/models/net_g_latest.pth"), "test.yml")
    tested = run_basicsr("test", "-opt", test, cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    psnr = r"# psnr: ([\d.]+)"
    assert re.findall(psnr, tested.stderr)[-1] == re.findall(psnr, second.stderr)[-1]
    assert len(list((tmp_path / "results/tiny/visualization/pairs").glob("*.png"))) == 9
    assert "# CMD:" in (experiment / "options.yml").read_text()


def test_plain_basicsr_names_work(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    """SRModel, PairedImageDataset and a network of BasicSR's own, by the same command."""
    options = training_options(pairs, model_type="SRModel")
    options["network_g"] = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
    for dataset in options["datasets"].values():
        dataset["type"] = "PairedImageDataset"
    done = run_basicsr("train", "-opt", write_options(options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_interrupt_and_go_on(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    options = training_options(pairs)
    options["datasets"]["train"]["dataset_enlarge_ratio"] = 10000
    options["train"]["total_iter"] = 100000
    path = write_options(options)
    command = [sys.executable, "-m", "ramit_model", "train", "-opt", str(path)]
    # A test run in the background ignores Ctrl-C, and its children would too.
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        states = tmp_path / "experiments/tiny/training_states"
        for _ in range(1200):
            if list(states.glob("*.state")):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    last = max(int(state.stem) for state in states.glob("*.state"))
    assert said.strip().splitlines()[-1].startswith(f"basicsr train: interrupted; the last checkpoint is {last}.state")
    forced = ["--force_yml", f"train:total_iter={last + 2}"]
    resumed = run_basicsr("train", "-opt", path, "--auto_resume", *forced, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert f"Resuming training from epoch: 0, iter: {last}." in resumed.stderr


@pytest.mark.parametrize("launcher", ["--nproc 2", "torchrun"])
def test_two_processes(launcher: str, pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    """Two gloo processes with spawned workers train, resume and test."""
    options = training_options(pairs)
    options["datasets"]["train"]["num_worker_per_gpu"] = 1
    options["dist_params"] = {"backend": "nccl", "port": 29500}
    path = write_options(options)

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        if launcher == "--nproc 2":
            return run_basicsr(*arguments, *TWO_PROCESSES, cwd=tmp_path)
        command = [*TORCHRUN, "--no-python", sys.executable, "-m", "ramit_model", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    first = run("train", "-opt", path, "--force_yml", "train:total_iter=4")
    assert first.returncode == 0, first.stderr
    assert "world_size: 2" in first.stderr
    second = run("train", "-opt", path, "--auto_resume")
    assert second.returncode == 0, second.stderr
    assert "iter: 4." in second.stderr
    tested = run("test", "-opt", write_options(testing_options(pairs), "test.yml"))
    assert tested.returncode == 0, tested.stderr
    assert "# psnr" in tested.stderr


def test_an_input_error_in_several_processes(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    (tmp_path / "w.pth").write_text("no weights")
    path = write_options(testing_options(pairs, str(tmp_path / "w.pth")))
    done = run_basicsr("test", "-opt", path, *TWO_PROCESSES, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "w.pth: " in done.stderr


def test_gradients_of_two_processes_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
sys.path.insert(0, {str(REPOSITORY / "tests/support")!r})
from helpers import TINY
import torch
import torch.distributed as dist
import ramit_model
ramit_model.register()
from basicsr.models.base_model import BaseModel
from basicsr.utils.options import init_dist
from ramit_arch import RAMiT

init_dist("pytorch")
model = BaseModel({{"num_gpu": 0, "is_train": True, "dist": True}})
arguments = {{key: value for key, value in TINY.items() if key != "type"}}
torch.manual_seed(0)
net = model.model_to_device(RAMiT(**arguments).double())
torch.manual_seed(0)
whole = RAMiT(**arguments).double()
x, target = torch.rand(4, 3, 16, 16).double(), torch.rand(4, 3, 32, 32).double()
part = slice(2 * dist.get_rank(), 2 * dist.get_rank() + 2)
(net(x[part]) - target[part]).abs().mean().backward()
(whole(x) - target).abs().mean().backward()
for a, b in zip(net.parameters(), whole.parameters(), strict=True):
    torch.testing.assert_close(a.grad, b.grad)
print("equal")
""")
    done = subprocess.run(
        [*TORCHRUN, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("equal") == 2
