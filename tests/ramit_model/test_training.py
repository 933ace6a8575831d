"""BasicSR's trainer and tester with our packages, as users run them: in subprocesses, on real LMDBs."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import REPOSITORY, TINY, run_basicsr, testing_options, training_options

from ramit_arch import RAMiT

TWO_PROCESSES = ["--nproc", "2"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""What each of two processes has: sums over another number of threads differ in the last digit."""

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["params"]


def newest_log(path: Path) -> str:
    """Log file of the last run in a folder."""
    return max(path.glob("*.log"), key=lambda log: log.stat().st_mtime_ns).read_text()


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
    assert "going on from iteration 4\n" in second.stderr
    log = newest_log(experiment)
    assert re.findall(r"iter: +(\d+), lr", log) == ["5", "6", "7", "8"]
    after = weights(experiment / "models/net_g_8.pth")
    assert any(not torch.equal(before[key], after[key]) for key in before)
    # The milestone at 6 holds in the resumed run.
    assert re.findall(r"lr:\((\S+),\)", log) == ["1.000e-03", "1.000e-03", "5.000e-04", "5.000e-04"]

    # One run without an interruption comes to the same weights, bit for bit.
    whole = run_basicsr("train", "-opt", path, "--force_yml", "name=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    undisturbed = weights(tmp_path / "experiments/whole/models/net_g_8.pth")
    torch.testing.assert_close(after, undisturbed, rtol=0, atol=0)

    test = write_options(testing_options(pairs, "experiments/tiny/models/net_g_latest.pth"), "test.yml")
    tested = run_basicsr("test", "-opt", test, cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    psnr = r"pairs: psnr ([\d.]+)"
    assert re.findall(psnr, tested.stderr) == re.findall(psnr, second.stderr)
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
    assert said.strip().splitlines()[-1].startswith(f"basicsr train: stopped by SIGINT; saved at iteration {last:,} (")
    forced = ["--force_yml", f"train:total_iter={last + 2}"]
    resumed = run_basicsr("train", "-opt", path, "--auto_resume", *forced, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert f"going on from iteration {last}\n" in resumed.stderr


def test_two_processes(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    """Two gloo processes with spawned workers train, resume and test."""
    options = training_options(pairs)
    options["datasets"]["train"]["num_worker_per_gpu"] = 1
    options["dist_params"] = {"backend": "nccl", "port": 29500}
    path = write_options(options)
    command = [*TORCHRUN, "--no-python", sys.executable, "-m", "ramit_model", "train", "-opt", str(path)]
    first = subprocess.run(
        [*command, "--force_yml", "train:total_iter=4"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert first.returncode == 0, first.stderr
    assert "world_size: 2" in newest_log(tmp_path / "experiments/tiny")
    assert "on the CPU (2 processes, 1 thread each, " in first.stderr
    second = run_basicsr("train", "-opt", path, "--auto_resume", *TWO_PROCESSES, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stderr.count("going on from iteration 4\n") == 1
    test = write_options(testing_options(pairs, "experiments/tiny/models/net_g_latest.pth"), "test.yml")
    tested = run_basicsr("test", "-opt", test, *TWO_PROCESSES, cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    assert len(list((tmp_path / "results/tiny/visualization/pairs").glob("*.png"))) == 9
    alone = run_basicsr("test", "-opt", test, "--force_yml", "name=alone", cwd=tmp_path, env=ONE_THREAD)
    assert alone.returncode == 0, alone.stderr
    # Every image once, whoever restored it.
    assert (tmp_path / "results/tiny/pairs.csv").read_text() == (tmp_path / "results/alone/pairs.csv").read_text()


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


def test_two_processes_skip_the_same_iterations(tmp_path: Path) -> None:
    """Their weights stay equal, and those of a resumed training are the same, bit for bit."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
sys.path.insert(0, {str(REPOSITORY / "tests/support")!r})
from pathlib import Path
import torch
import torch.distributed as dist
import ramit_model
ramit_model.register()
from basicsr.utils.options import init_dist
from helpers import training_options
from trainers import batch
from ramit_model.training.restoration_model import RestorationModel

init_dist("pytorch")
rank, root = dist.get_rank(), Path()

def trainer(resumed=None):
    opt = training_options(root) | {{"is_train": True, "dist": True, "rank": rank, "world_size": 2}}
    opt["network_g"] = {{"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}}
    losses = [{{"type": "MSELoss"}}, {{"type": "FFTLoss", "loss_weight": 0.05}}]
    opt["train"] |= {{"pixel_opt": None, "losses": losses, "skip_above": 1.1, "ema_decay": 0.9, "total_iter": 24}}
    opt["path"] |= {{"experiments_root": root, "models": root, "training_states": root}}
    if resumed:
        opt["path"] |= {{"pretrain_network_g": "net_g_15.pth", "resume_state": "15.state"}}
    torch.manual_seed(0)
    model = RestorationModel(opt)
    if resumed:
        model.resume_training(torch.load("15.state", weights_only=True))
    return model

def train(model, iterations):
    for iteration in iterations:
        model.update_learning_rate(iteration)
        model.feed_data(batch(seed=2 * iteration + rank))
        model.optimize_parameters(iteration)

whole = trainer()
train(whole, range(1, 16))
whole.save(0, 15)
dist.barrier()
resumed = trainer(True)
for model in (whole, resumed):
    train(model, range(16, 25))
skipped = whole.leap_filter.count
assert 1 < skipped < 14 and resumed.leap_filter.count == skipped
for net, other in ((whole.net_g.module, resumed.net_g.module), (whole.net_g_ema, resumed.net_g_ema)):
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        first = a.detach().clone()
        dist.broadcast(first, 0)
        assert torch.equal(first, a)
Path(f"equal{{rank}}").touch()
""")
    done = subprocess.run(
        [*TORCHRUN, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "equal0").exists()
    assert (tmp_path / "equal1").exists()


def test_losses_optimizer_schedule_and_leaps_go_on(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    """As the run that was never interrupted, bit for bit, with the same iterations skipped."""
    options = training_options(pairs)
    del options["train"]["pixel_opt"]
    options["train"] |= {
        "total_iter": 24,
        "losses": [{"type": "CharbonnierLoss"}, {"type": "FFTLoss", "loss_weight": 0.05, "name": "frequencies"}],
        "optim_g": {"type": "AdamW", "lr": 0.002, "weight_decay": 0.1},
        "scheduler": {"type": "CosineAnnealingLR", "T_max": 23, "eta_min": 0.0001},
        "skip_above": 1.05,  # every other iteration or so
        "ema_decay": 0.9,
    }
    options["val"]["val_freq"], options["logger"]["save_checkpoint_freq"] = 24, 3
    path, logs, ends = write_options(options), [], []
    for name, totals in {"tiny": (15, 24), "whole": (24,)}.items():
        for total in totals:
            forced = ["--force_yml", f"name={name}", f"train:total_iter={total}"]
            done = run_basicsr("train", "-opt", path, "--auto_resume", *forced, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            time.sleep(1.1)  # BasicSR names logs by the second
        folder = tmp_path / "experiments" / name
        text = "".join(log.read_text() for log in sorted(folder.glob("*.log")))
        logs.append(re.findall(r"iter: +(\d+), lr:\((\S+),\).*(l_charb.*)", text))
        skipped = [int(number) for number in re.findall(r"iteration (\d+) is skipped", text)]
        assert len(skipped) == int(re.findall(r"skipped: (\d+)", text)[-1])
        assert 2 < len(skipped) < 14
        assert min(skipped) > 10
        ends.append(torch.load(folder / "models/net_g_24.pth", weights_only=True))
    assert logs[0] == logs[1]
    assert re.fullmatch(r"l_charbonnier: \S+ l_frequencies: \S+ skipped: \d+", logs[0][0][2].strip())
    for key in ("params", "params_ema"):
        torch.testing.assert_close(ends[0][key], ends[1][key], rtol=0, atol=0)


STAGES = {"iters": [3, 3, 10], "patch_sizes": [8, 16, 20], "batch_sizes": [16, 8, 4]}


def staged_options(pairs: Path, **train_options: Any) -> dict[str, Any]:
    """Progressive training with everything that can be combined with it."""
    options = training_options(pairs)
    for key in ("gt_size", "batch_size_per_gpu", "dataset_enlarge_ratio"):
        del options["datasets"]["train"][key]
    options["train"].update(progressive=STAGES, **train_options)
    options["logger"]["save_checkpoint_freq"] = 1
    return options


@pytest.mark.parametrize(
    ("processes", "totals"), [([], (2, 3, 6, 8)), (TWO_PROCESSES, (3, 8))], ids=["one process", "two processes"]
)
def test_stages_and_warm_start(
    processes: list[str], totals: tuple[int, ...], pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    """Cross every switch, and go on at each of them; as the run that was never interrupted, bit for bit."""
    options = staged_options(
        pairs, warm_start={"iters": 2, "trainable": ["to_target"]}, ema_decay=0.9, amp="bfloat16", accumulate=2
    )
    options["path"]["pretrain_network_g"] = str(tmp_path / "x3.pth")
    another_scale = {key: value for key, value in TINY.items() if key != "type"} | {"scale": 3}
    torch.save(RAMiT(**another_scale).state_dict(), tmp_path / "x3.pth")
    path, states = write_options(options), tmp_path / "experiments/tiny/training_states"
    for total in totals:
        arguments = ["-opt", path, "--auto_resume", *processes, "--force_yml", f"train:total_iter={total}"]
        done = run_basicsr("train", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (states / f"{total}.state").is_file()
        time.sleep(1.1)  # BasicSR names logs by the second
    logs = "".join(log.read_text() for log in (tmp_path / "experiments/tiny").glob("*.log"))
    assert "from iteration 3: LQ patch 8, batch 16\n" in logs
    assert "from iteration 7: LQ patch 20, batch 4\n" in logs
    rates = dict(re.findall(r"iter: +(\d+), lr:\((\S+),\)", logs))
    # Warm start; warm-up over two iterations; half the batch; a quarter of it.
    assert [float(rates[str(i)]) for i in range(1, 9)] == [1e-3, 1e-3, 5e-4, 5e-4, 5e-4, 5e-4, 2.5e-4, 2.5e-4]
    tail = [name for name in weights(states.parent / "models/net_g_2.pth") if name.startswith("to_target")]
    body = "shallow.conv.weight"
    changed = [
        [not torch.equal(before[name], after[name]) for name in (tail[0], body)]
        for before, after in (
            [weights(states.parent / f"models/net_g_{i}.pth") for i in pair] for pair in ((1, 2), (2, 3), (7, 8))
        )
    ]
    assert changed == [[True, False], [True, True], [True, True]]
    time.sleep(1.1)
    whole = run_basicsr("train", "-opt", path, *processes, "--force_yml", "name=whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    ends = [weights(tmp_path / f"experiments/{name}/models/net_g_8.pth") for name in ("tiny", "whole")]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)


def test_two_processes_train_as_one_with_the_whole_batch(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    options = staged_options(pairs)
    options["train"]["total_iter"] = 4
    path = write_options(options)
    for name, processes in (("one", []), ("two", TWO_PROCESSES)):
        done = run_basicsr("train", "-opt", path, *processes, "--force_yml", f"name={name}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    one, two = (tmp_path / f"experiments/{name}" for name in ("one", "two"))
    # To rounding: Adam's first steps have the size of the rate, whatever the gradient's.
    torch.testing.assert_close(
        weights(two / "models/net_g_4.pth"), weights(one / "models/net_g_4.pth"), rtol=0, atol=1e-4
    )
    losses = [[float(loss) for loss in logged(run, r"l_pix: (\S+)")] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    values = [[float(line.split(",")[-1]) for line in (run / "validation.csv").read_text().splitlines()[1:]]
              for run in (one, two)]  # fmt: skip
    assert values[1] == pytest.approx(values[0], rel=1e-3)


def test_shared_validation_equals_that_of_one_process(
    pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    """Nine images over two processes: every image once, the averages to the last digit."""
    options = training_options(pairs)
    options["train"].update(total_iter=1, warm_start={"iters": 1, "trainable": ["to_target.final_conv"]})
    options["train"]["optim_g"]["lr"] = 1e-30  # the network stays as it is
    arguments = {key: value for key, value in TINY.items() if key != "type"}
    torch.save(RAMiT(**arguments).state_dict(), tmp_path / "x2.pth")
    options["path"]["pretrain_network_g"] = str(tmp_path / "x2.pth")
    values = []
    for name, processes in (("one", []), ("two", TWO_PROCESSES)):
        forced = ["--force_yml", f"name={name}"]
        done = run_basicsr("train", "-opt", write_options(options), *processes, *forced, cwd=tmp_path, env=ONE_THREAD)
        assert done.returncode == 0, done.stderr
        rows = (tmp_path / f"experiments/{name}/validation.csv").read_text().splitlines()[1:]
        values.append([float(row.split(",")[-1]) for row in rows])
    assert len(values[0]) == 2
    assert values[1] == pytest.approx(values[0], abs=1e-9)


def test_killed_at_any_moment(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    options = training_options(pairs)
    options["logger"]["save_checkpoint_freq"] = 1
    options["train"]["total_iter"] = 100000
    path, states = write_options(options), tmp_path / "experiments/tiny/training_states"
    reached = 0
    for wait in (0.02, 0.07, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-m", "ramit_model", "train", "-opt", str(path), "--auto_resume", "--verbose"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if f"iter: {reached + 3:7,d}" in line:  # a line an iteration, as --verbose says
                break
        time.sleep(wait)
        process.kill()
        process.communicate()
        newest = max(int(state.stem) for state in states.glob("*.state"))
        assert newest >= reached + 2
        reached = newest
    broken = states / f"{reached}.state"
    broken.write_bytes(broken.read_bytes()[:1000])
    forced = ["--force_yml", f"train:total_iter={reached + 1}"]
    done = run_basicsr("train", "-opt", path, "--auto_resume", *forced, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"--auto_resume passes over {reached}.state: " in done.stderr
    assert f"going on from iteration {reached - 1}\n" in done.stderr
    assert not list(states.glob(".*"))


def test_a_loss_that_is_no_number(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    options = training_options(pairs)
    options["logger"]["save_checkpoint_freq"] = 1
    path = write_options(options)
    first = run_basicsr("train", "-opt", path, "--force_yml", "train:total_iter=2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    done = run_basicsr(
        "train", "-opt", path, "--auto_resume", "--force_yml", "train:optim_g:lr=!!float 1e30", cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"basicsr train: (the loss|a weight) is not finite \(NaN or Inf\); the last good checkpoint is "
                     r"\d\.state: lower train\.optim_g\.lr", done.stderr)  # fmt: skip
    newest = max((tmp_path / "experiments/tiny/models").glob("net_g_[0-9].pth"))
    assert all(tensor.isfinite().all() for tensor in weights(newest).values() if tensor.is_floating_point())


def test_a_full_disk(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    """Files may not grow beyond 200 kB: too little for a checkpoint."""
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); "
    code = limit + "from ramit_model.cli import main; raise SystemExit(main(sys.argv[1:]))"
    path = write_options(training_options(pairs))
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "-opt", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("basicsr train: ")
    assert "net_g_4.pth: " in done.stderr.strip().splitlines()[-1]
    assert not list((tmp_path / "experiments/tiny/models").iterdir())


def test_noise_on_the_fly(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    """Gray denoising from an LMDB of colour images; one option tests at several noise levels."""
    options = training_options(pairs, scale=1)
    options["network_g"] = {**TINY, "scale": 1, "task": "GDN"}
    clean = {"type": "CleanImageDataset", "color": "gray", "dataroot_gt": str(pairs / "HR.lmdb")}
    options["datasets"]["train"].update(clean, sigma=[0, 50])
    del options["datasets"]["train"]["dataroot_lq"]
    options["datasets"]["val"] = {"name": "gray", "io_backend": {"type": "lmdb"}, **clean}
    for block in options["val"]["metrics"].values():
        block.update(crop_border=0, test_y_channel=False)
    options["val"]["sigma"] = [25]
    done = run_basicsr("train", "-opt", write_options(options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "validation at 8, gray_sigma25: psnr " in done.stderr
    test = {key: options[key] for key in ("model_type", "scale", "num_gpu", "manual_seed", "network_g")}
    test.update(name="tiny", path={"pretrain_network_g": "experiments/tiny/models/net_g_latest.pth"})
    test.update(
        datasets={"test_1": options["datasets"]["val"]}, val={**options["val"], "sigma": [15, 50], "suffix": None}
    )
    del test["val"]["val_freq"]
    tested = run_basicsr("test", "-opt", write_options(test, "test.yml"), cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    averages = [
        float((tmp_path / f"results/tiny/gray_sigma{sigma}.csv").read_text().splitlines()[-1].split(",")[1])
        for sigma in (15, 50)
    ]
    assert averages[0] > averages[1]
