"""The `basicsr` command: help, versions, mistakes, and that no mistake ends in a traceback."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import run_basicsr, testing_options, training_options

from ramit_arch import RAMiT
from ramit_model.cli import build_parser, main
from ramit_model.system.processes import LAUNCHER


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert len(err.strip().splitlines()) == 1, err
    return err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["train", "test", "demo", "prepare"]),
        (["--help"], ["examples:", "train", "test"]),
        (["train", "--help"], ["-opt", "--nproc", "--auto_resume", "--force_yml", "torchrun"]),
        (["test", "--help"], ["-opt"]),
        (["prepare", "folder", "--help"], ["--source", "--scale"]),
        (["--version"], ["ramit-basicsr", "basicsr 1.4", "torch", "Python"]),
    ],
)
def test_help(arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main(arguments) == 0
    except SystemExit as exit_:
        assert exit_.code == 0
    out = capsys.readouterr().out
    for part in parts:
        assert part in out


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys, ramit_model.cli; ramit_model.cli.build_parser(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["tarin"], "tarin"),
        (["train"], "-opt"),
        (["train", "-opt", "no.yml"], "no such option file"),
        (["train", "-opt", "no.yml", "--autoresume"], "--autoresume"),
        (["train", "-opt", "no.yml", "--launcher", "mpi"], "mpi"),
        (["prepare", "folder", "--source", "nowhere", "--out", "o", "--scale", "2"], "nowhere"),
        (["prepare", "folder", "--source", ".", "--out", "o", "--scale", "0"], "--scale"),
        (["prepare", "DIV3K"], "DIV3K"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    assert part in one_line(capsys)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("extra", "part"),
    [
        (["--nproc", "2", "--rdvz-endpoint", "x"], "--rdvz-endpoint"),
        (["--nproc", "2", "--launcher", "pytorch"], "--launcher"),
        (["--nproc", "two"], "two"),
        (["--force_yml", "trian:total_iter=3"], "trian"),
    ],
)
def test_wrong_arguments_beside_a_good_file(
    extra: list[str],
    part: str,
    pairs: Path,
    write_options: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # --nproc would set it for the tests after this one
    assert main(["train", "-opt", str(write_options(training_options(pairs))), *extra]) == 2
    assert part in one_line(capsys)
    assert LAUNCHER not in os.environ


def weights(kind: str, path: Path) -> Path:
    """A file that is not the tiny network's weights."""
    if kind == "cut":
        torch.save(RAMiT(scale=2, dim=16, depths=[1, 1, 1, 2], neck_groups=1).state_dict(), path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "text":
        path.write_text("<html>")
    elif kind == "another scale":
        torch.save(RAMiT(scale=4, dim=16, depths=[1, 1, 1, 2], neck_groups=1).state_dict(), path)
    return path


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", ["cut", "text", "another scale"])
def test_wrong_weights_end_the_command_with_one_line(
    kind: str, pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    options = write_options(testing_options(pairs, str(weights(kind, tmp_path / "w.pth"))))
    done = run_basicsr("test", "-opt", options, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"basicsr test: {tmp_path / 'w.pth'}: ")


@pytest.mark.bad_input
@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_ends_training_with_one_line(
    workers: int, pairs: Path, tmp_path: Path, write_options: Callable[..., Path]
) -> None:
    from helpers import photograph

    from datasets_prep.lmdb_writer import LmdbWriter

    class Broken(LmdbWriter):
        def put(self, key, image):
            super().put(key, image)
            self._pending[-1] = (self._pending[-1][0], self._pending[-1][1][:100])

    for part, size in (("HR", 48), ("LR_bicubic_X2", 24)):
        with Broken(tmp_path / f"{part}.lmdb") as writer:
            writer.put("bad", photograph(size, size))
    options = training_options(tmp_path)
    options["datasets"]["train"]["num_worker_per_gpu"] = workers
    done = run_basicsr("train", "-opt", write_options(options), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("basicsr train: data set pairs: ")
    assert "entry bad" in last


def test_a_foreign_basicsr_folder_is_named(pairs: Path, tmp_path: Path, write_options: Callable[..., Path]) -> None:
    (tmp_path / "basicsr").mkdir()
    (tmp_path / "basicsr" / "__init__.py").touch()
    # As `python -m` finds modules by default.
    path = write_options(training_options(pairs))
    done = run_basicsr("train", "-opt", path, cwd=tmp_path, env={"PYTHONSAFEPATH": ""})
    assert done.returncode == 2
    assert "is not the BasicSR package" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_before_anything_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ramit_model.cli.build_parser", interrupted)
    assert main(["train", "-opt", "x.yml"]) == 130
    assert one_line(capsys).strip() == "basicsr: interrupted"


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-opt", "\x1b]0;title\x07\r.yml"]) == 2
    assert r"\x1b]0;title\x07\r.yml: no such option file" in one_line(capsys)


def test_paths_may_begin_with_home_and_have_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells leave `--out=~/x` and quoted ones as they are: a folder called ~ would be made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", "/data")
    parse = build_parser().parse_args
    args = parse(["restore", "~/p/*.jpg", "-", "--weights", "$DATA/w.pth", "--out=~/out"])
    assert args.inputs == [f"{tmp_path}/p/*.jpg", "-"]
    assert (args.weights, args.out) == ("/data/w.pth", f"{tmp_path}/out")
    assert parse(["prepare", "folder", "--source", "x", "--out=~/x"]).out == tmp_path / "x"
    assert parse(["prepare", "check", "$DATA/HR.lmdb/"]).paths == [Path("/data/HR.lmdb")]
    assert parse(["test", "-opt", "~/test.yml"]).opt == f"{tmp_path}/test.yml"
    assert parse(["benchmark", "-opt", "~/b.yml", "--out=~/b"]).out == tmp_path / "b"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "'trian' is unknown; did you mean train? see basicsr --help"),
        (["prepare", "Urban10", "--source", "x", "--out", "y"], "did you mean Urban100? see basicsr prepare --help"),
        (["prepare", "list", "Urban10"], "Urban10: unknown family; did you mean Urban100?"),
        (["train", "-opt", "x", "--launcher", "slrum"], "did you mean slurm?"),
    ],
)
def test_unknown_words_name_the_nearest(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert line in capsys.readouterr().err
