"""`basicsr restore`: files, folders, pipes, mistakes, interruptions, several processes."""

import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import awkward
import cv2
import numpy as np
import pytest
import torch
from helpers import TINY, photograph, start_process

from ramit_arch import RAMiT
from ramit_model.cli import main
from ramit_model.inference.batch.made_with import NOTES
from ramit_model.inference.pictures.reading import read_picture
from ramit_model.inference.restorer import restore


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny network x2, which state what they are of."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.manual_seed(0)
    torch.save(RAMiT(**{key: value for key, value in TINY.items() if key != "type"}).state_dict(), path)
    return path


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of seven pictures, two of them in a folder below; the test runs beside it."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for i in range(7):
        cv2.imwrite(str(folder / ("below" * (i > 4)) / f"p{i}.png"), photograph(20 + i, 31, seed=i))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)
    return folder


def run(*arguments: str | Path) -> int:
    return main(["restore", *map(str, arguments)])


def test_a_folder(photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(photos, "--weights", weights, "-o", "out") == 0
    written = sorted(path.relative_to("out") for path in Path("out").rglob("[!.]*.*"))
    assert written == sorted(path.relative_to(photos) for path in photos.rglob("*.png"))
    expected = restore(cv2.imread(str(photos / "below/p6.png"))[..., ::-1].copy(), weights)
    assert np.array_equal(cv2.imread("out/below/p6.png")[..., ::-1], expected)
    out = capsys.readouterr().out
    assert out.startswith("7 pictures restored (")
    assert "MP/s" in out
    assert out.endswith(": out\n")


def test_what_is_there_is_skipped(photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (photos, "--weights", weights)
    assert run(*arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in Path("restored").rglob("*.png")}
    Path("restored/p3.png").unlink()
    assert run(*arguments) == 0
    assert "1 picture restored" in capsys.readouterr().out.splitlines()[-1]
    assert {path for path, when in before.items() if path.stat().st_mtime_ns == when} == {
        path for path in before if path.name != "p3.png"
    }
    assert run(*arguments) == 0
    assert "7 skipped" in capsys.readouterr().out
    assert run(*arguments, "--overwrite") == 0
    assert all(path.stat().st_mtime_ns != when for path, when in before.items())


def test_results_of_other_weights_are_not_skipped(
    photos: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.pth"
    torch.manual_seed(1)
    torch.save(RAMiT(**{key: value for key, value in TINY.items() if key != "type"}).state_dict(), other)
    assert run(photos / "p0.png", "--weights", weights) == 0
    assert run(photos / "p1.png", "--weights", other) == 0
    before = Path("restored/p0.png").read_bytes()
    capsys.readouterr()
    assert run(photos / "p*.png", "--weights", other) == 2
    assert capsys.readouterr().err == (
        "basicsr restore: restored/p0.png: made with other weights or another setting (tiny.pth); add --overwrite to "
        "restore again, or give another folder with -o\n"
    )
    assert Path("restored/p0.png").read_bytes() == before
    assert not Path("restored/p2.png").exists()
    assert run(photos / "p*.png", "--weights", other, "--overwrite") == 0
    assert Path("restored/p0.png").read_bytes() != before
    assert run(photos / "p*.png", "--weights", other) == 0


def test_nothing_to_do_needs_no_weights(photos: Path, weights: Path) -> None:
    assert run(photos / "p1.png", "--weights", weights, "-o", "x.png") == 0
    assert run(photos / "p1.png", "--weights", "nowhere.pth", "-o", "x.png") == 0


def test_a_bad_file_is_named_and_the_rest_goes_on(
    photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "p0.png").write_bytes((photos / "p0.png").read_bytes()[:100])
    assert run(photos, "--weights", weights, "-o", "out") == 2
    captured = capsys.readouterr()
    assert captured.err == f"basicsr restore: {photos / 'p0.png'}: is cut short or damaged; replace it\n"
    assert "6 pictures restored" in captured.out
    assert "1 failed" in captured.out
    assert not Path("out/p0.png").exists()


def test_awkward_files(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    good, bad = list(awkward.good()), list(awkward.bad())
    for file in (*good, *bad):
        (folder / file.name).write_bytes(file.content)
    assert run(folder, "--weights", weights, "-o", tmp_path / "out") == 2
    err = capsys.readouterr().err
    for file in bad:
        name = file.name.replace("\n", "\\n")
        assert len([line for line in err.splitlines() if f"/{name}: " in line]) == 1, file.name
    written = {path.name: path for path in (tmp_path / "out").glob("[!.]*")}
    assert len(written) == len(good)
    for file in good:
        output = written.pop(file.name, None) or written.pop(f"{Path(file.name).stem}.png", None)
        output = output or written.pop(f"{file.name}.png")
        after = read_picture(output.read_bytes())
        assert after.size == tuple(2 * size for size in file.size), file.name
        before = read_picture(file.content).metadata
        assert after.metadata.icc == before.icc
        assert after.metadata.xmp == before.xmp
        if before.dpi and "webp" not in file.name:
            assert after.metadata.dpi == pytest.approx(before.dpi, abs=0.02)
        assert bool(after.metadata.exif) == bool(before.exif)


@pytest.mark.parametrize("form", ["jpg", "webp", "tiff", "png"])
def test_formats(form: str, photos: Path, weights: Path) -> None:
    assert run(photos / "p1.png", "--weights", weights, "--format", form, "--quality", "90") == 0
    (written,) = Path("restored").glob("[!.]*")
    assert written.name == f"p1.{form}"
    assert read_picture(written.read_bytes()).size == (42, 62)


def test_strip(photos: Path, weights: Path) -> None:
    Path("full.png").write_bytes(next(f.content for f in awkward.good() if f.name == "everything.png"))
    assert run("full.png", "--weights", weights, "--strip") == 0
    metadata = read_picture(Path("restored/full.png").read_bytes()).metadata
    assert metadata.icc
    assert (metadata.exif, metadata.xmp, metadata.dpi, metadata.chunks) == (None, None, None, ())


def test_other_arguments_of_the_network(photos: Path, weights: Path) -> None:
    assert run(photos / "p1.png", "--weights", weights, "--self-ensemble", "--tile", "64", "--device", "cpu") == 0
    assert run(photos / "p2.png", "--weights", weights, "--precision", "bfloat16", "--tile", "none") == 0


def test_pipes(photos: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary) -> None:
    content = (photos / "p1.png").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    monkeypatch.setattr("sys.stdout", os.fdopen(os.dup(1), "w"))
    assert run("-", "--weights", weights) == 0
    sys.stdout.flush()
    piped = read_picture(capfdbinary.readouterr().out)
    assert run(photos / "p1.png", "--weights", weights, "-o", "x.png") == 0
    assert np.array_equal(piped.pixels, read_picture(Path("x.png").read_bytes()).pixels)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere.png"], "no such file"),
        (["photos", "-o", "photos"], "input folder itself"),
        (["photos", "--quality", "0"], "--quality"),
        (["photos", "--quality", "101"], "1 to 100"),
        (["photos", "--tile", "-5"], "--tile"),
        (["photos", "--device", "cuda:77"], "no such GPU"),
        (["-", "photos"], "one picture alone"),
        (["photos", "--format", "gif"], "gif"),
    ],
)
def test_mistakes(
    photos: Path, weights: Path, arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run(*arguments, "--weights", weights)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    err = capsys.readouterr().err
    assert part in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("restored").exists()


def test_a_full_disk_ends_the_command(photos: Path, weights: Path, monkeypatch, capsys) -> None:
    from ramit_model.inference.batch import run as batch

    def full(content: object, path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(batch, "write_atomically", full)
    assert run(photos, "--weights", weights) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]


def command(photos: Path, weights: Path) -> list[str]:
    return ["-m", "ramit_model", "restore", str(photos), "--weights", str(weights), "-o", "out"]


def test_killed_at_any_moment_and_started_again(photos: Path, weights: Path) -> None:
    assert run(photos, "--weights", weights, "-o", "whole") == 0
    rng = random.Random(0)
    for _ in range(3):
        process = start_process(*command(photos, weights), cwd=Path.cwd(), OMP_NUM_THREADS="1")
        deadline = time.monotonic() + 60
        while not Path("out").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.random() * 0.1)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path in Path("out").rglob("*.png"):
            if not path.name.startswith("."):
                assert path.read_bytes() == (Path("whole") / path.relative_to("out")).read_bytes()
    assert run(photos, "--weights", weights, "-o", "out") == 0
    for path in Path("whole").rglob("*.png"):
        assert path.read_bytes() == (Path("out") / path.relative_to("whole")).read_bytes()


def test_ctrl_c_says_how_to_go_on(photos: Path, weights: Path) -> None:
    for i in range(60):
        cv2.imwrite(str(photos / f"more{i}.png"), photograph(120, 120, seed=i))
    process = start_process(*command(photos, weights), cwd=Path.cwd(), OMP_NUM_THREADS="1")
    deadline = time.monotonic() + 60
    while not Path("out").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on there" in err
    assert "Traceback" not in err
    assert not list(Path("out").rglob("*.tmp"))


def test_several_processes_share_the_files(photos: Path, weights: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, *command(photos, weights)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    texts = [process.communicate(timeout=120)[0] for process in processes]
    assert [text.split(" restored")[0] for text in texts] == ["4 pictures", "3 pictures"]
    assert len(list(Path("out").rglob("*.png"))) == 7
    assert len(Path("out", NOTES).read_text().splitlines()) == 7


def test_compare(photos: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(photos, "--weights", weights, "-o", "out", "--compare") == 0
    assert "before and after: out_compare/compare.html" in capsys.readouterr().out
    page = Path("out_compare/compare.html").read_text(encoding="utf-8")
    assert page.count("<section") == 7
    Path("out_compare/compare.html").unlink()
    Path("out/p1.png").unlink()
    assert run(photos, "--weights", weights, "-o", "out", "--compare") == 0
    assert Path("out_compare/compare.html").read_text(encoding="utf-8") == page
    # Everything is there: no network is needed for the page.
    assert run(photos, "--weights", "nowhere.pth", "-o", "out", "--compare") == 0
    assert run(".", "--weights", weights, "-o", "out") == 0
    assert not list(Path("out").rglob("*.jpg"))
