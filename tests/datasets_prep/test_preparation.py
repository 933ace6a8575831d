"""Whole preparations by the command: content, going on where one stopped, nothing half-written, one line a mistake."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest
from helpers import photograph, run_basicsr

from datasets_prep import stores, writing
from datasets_prep.bicubic import crop_to_multiple, downscale
from datasets_prep.image_files import encode_png
from datasets_prep.manifest import read_header
from ramit_model.cli import main


def prepare(*arguments: str | Path) -> int:
    """The command, in this process."""
    jobs = [] if "--jobs" in arguments else ["--jobs", "1"]
    return main(["prepare", *map(str, arguments), *jobs])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command said on stderr; every line begins with its name."""
    found = capsys.readouterr().err.splitlines()
    assert all(line.startswith("basicsr prepare: ") for line in found)
    return [line.removeprefix("basicsr prepare: ") for line in found]


def read_lmdb(path: Path) -> dict[str, np.ndarray]:
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {k.decode(): cv2.imdecode(np.frombuffer(v, np.uint8), -1) for k, v in transaction.cursor()}


def content(root: Path) -> dict[str, object]:
    """Every file below `root`; LMDBs by key and pixels."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix == ".lmdb":
            found |= {f"{path.name}:{key}": image.tobytes() for key, image in read_lmdb(path).items()}
        elif path.is_file() and path.name != "data.mdb":
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def save(folder: Path, **images: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in images.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return save(tmp_path / "photos", **{f"p{i}": photograph(40 + i, 61, seed=i) for i in range(6)})


@pytest.fixture
def low_light(tmp_path: Path) -> Path:
    """A folder laid out like LOL's download: our485/{high,low}, eval15/{high,low}."""
    for i in range(5):
        part = tmp_path / "LOLdataset" / ("our485" if i < 3 else "eval15")
        save(part / "high", **{str(i): photograph(24, 32, seed=i)})
        save(part / "low", **{str(i): photograph(24, 32, seed=i) // 8})
    return tmp_path / "LOLdataset"


# --- what comes out ---


def test_clean_images_of_ones_own(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare("folder", "--source", photos, "--out", tmp_path / "out", "--scale", 2, 3) == 0
    assert "HR.lmdb: 6 entries from 6 images" in capsys.readouterr().out
    hr = read_lmdb(tmp_path / "out/HR.lmdb")
    assert {image.shape for image in hr.values()} == {(36, 60, 3), (42, 60, 3)}
    for scale in (2, 3):
        lr = read_lmdb(tmp_path / f"out/LR_bicubic_X{scale}.lmdb")
        assert lr.keys() == hr.keys() == {f"p{i}" for i in range(6)}
        for key in hr:
            np.testing.assert_array_equal(lr[key], downscale(hr[key], scale))
    assert not (tmp_path / "out/.preparing").exists()
    assert (tmp_path / "out/LR_bicubic_X2.lmdb/meta_info.txt").read_text().splitlines()[0] == "p0.png (18,30,3) 1"


def test_sub_images_of_lq_and_gt_lie_in_the_same_places(photos: Path, tmp_path: Path) -> None:
    grid = ["--crop-size", 24, "--step", 12]
    assert prepare("folder", "--source", photos, "--out", tmp_path / "out", "--scale", 2, *grid) == 0
    hr, lr = read_lmdb(tmp_path / "out/HR.lmdb"), read_lmdb(tmp_path / "out/LR_bicubic_X2.lmdb")
    whole = crop_to_multiple(photograph(40, 61, seed=0), 2)
    shrunk = downscale(whole, 2)
    assert len([key for key in hr if key.startswith("p0_s")]) == 3 * 4
    # Second row, third column.
    np.testing.assert_array_equal(hr["p0_s007"], whole[12:36, 24:48])
    np.testing.assert_array_equal(lr["p0_s007"], shrunk[6:18, 12:24])
    # The last row and column lie at the border.
    np.testing.assert_array_equal(lr["p0_s012"], shrunk[-12:, -12:])


def test_without_a_scale_there_is_ground_truth_alone(photos: Path, tmp_path: Path) -> None:
    assert prepare("folder", "--source", photos, "--out", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["GT.lmdb"]
    np.testing.assert_array_equal(read_lmdb(tmp_path / "out/GT.lmdb")["p5"], photograph(45, 61, seed=5))


def test_pairs_of_ones_own_at_a_scale(tmp_path: Path) -> None:
    gt = save(tmp_path / "a", x=photograph(50, 61), y=photograph(48, 64, seed=1))
    lq = save(tmp_path / "b", x=photograph(25, 30), y=photograph(24, 32, seed=1))
    assert prepare("folder", "--source", f"gt={gt}", f"lq={lq}", "--scale", 2, "--out", tmp_path / "out") == 0
    found = read_lmdb(tmp_path / "out/GT.lmdb"), read_lmdb(tmp_path / "out/LQ.lmdb")
    assert [{k: v.shape[:2] for k, v in images.items()} for images in found] == [
        {"x": (50, 60), "y": (48, 64)},
        {"x": (25, 30), "y": (24, 32)},
    ]


def test_training_and_test_pairs_of_one_download(low_light: Path, tmp_path: Path) -> None:
    out = tmp_path / "datasets"
    assert prepare("LOL-train", "--source", low_light, "--out", out, "--incomplete") == 0
    assert prepare("LOL", "--source", low_light, "--out", out, "--incomplete") == 0
    assert read_lmdb(out / "LOL-train/LQ.lmdb").keys() == {"0", "1", "2"}
    assert {path.name for path in (out / "LOL/LQ").glob("*.png")} == {"3.png", "4.png"}
    np.testing.assert_array_equal(cv2.imread(str(out / "LOL/GT/3.png")), photograph(24, 32, seed=3))
    header = read_header(out / "LOL/LQ")
    assert header is not None
    assert (header.images, header.complete, header.gt) == (2, False, "../../LOL/GT")


def test_a_union_says_where_each_image_comes_from(photos: Path, low_light: Path, tmp_path: Path) -> None:
    labels = [f"{name}={photos}" for name in ("DIV2K", "Flickr2K", "BSD500", "WED")]
    assert prepare("DFBW", "--source", *labels, "--out", tmp_path / "out", "--incomplete") == 0
    keys = read_lmdb(tmp_path / "out/DFBW/GT.lmdb").keys()
    assert len(keys) == 24
    assert {"DIV2K_p0_s001", "Flickr2K_p0_s001", "BSD500_p0_s001", "WED_p0_s001"} <= keys


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_archives_give_what_their_folders_give(kind: str, low_light: Path, tmp_path: Path) -> None:
    archive = tmp_path / f"LOLdataset.{kind}"
    files = [(path, path.relative_to(tmp_path)) for path in low_light.rglob("*") if path.is_file()]
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for path, name in files:
                opened.write(path, name)
    else:
        with tarfile.open(archive, "w:gz" if kind == "tgz" else "w") as opened_tar:
            for path, name in files:
                opened_tar.add(path, name)
    for source, out in ((low_light, tmp_path / "1"), (archive, tmp_path / "2")):
        assert prepare("LOL", "--source", source, "--out", out, "--incomplete") == 0
    assert content(tmp_path / "2") == content(tmp_path / "1")


def test_lr_images_are_made_as_published(assets: Path, tmp_path: Path) -> None:
    published = assets / "images/Set5"
    assert prepare("Set5", "--source", f"gt={published / 'HR'}", "--out", tmp_path) == 0
    compared = 0
    for scale in (2, 3, 4):
        for path in (published / f"LR_bicubic/X{scale}").iterdir():
            made = tmp_path / f"Set5/LR_bicubic/X{scale}" / path.name
            np.testing.assert_array_equal(cv2.imread(str(made)), cv2.imread(str(path)))
            compared += 1
    assert compared == 15


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """Set5 as in the usual download, with x2 LR images that are one gray level off: rounding differs among programs."""
    for i in range(5):
        image = photograph(30 + i, 41, seed=i).clip(1, 254)
        save(tmp_path / "benchmark/Set5/HR", **{f"im{i}": image})
        lr = downscale(crop_to_multiple(image, 2), 2)
        save(tmp_path / "benchmark/Set5/LR_bicubic/X2", **{f"im{i}x2": lr + (lr < 255).astype(np.uint8)})
    return tmp_path / "benchmark"


def test_given_lr_images_are_kept_and_others_made(benchmark: Path, tmp_path: Path) -> None:
    assert prepare("Set5", "--source", benchmark, "--out", tmp_path / "out") == 0
    made, given = tmp_path / "out/Set5/LR_bicubic", benchmark / "Set5/LR_bicubic"
    for i in range(5):
        np.testing.assert_array_equal(cv2.imread(f"{made}/X2/im{i}x2.png"), cv2.imread(f"{given}/X2/im{i}x2.png"))
        hr = cv2.imread(str(tmp_path / f"out/Set5/HR/im{i}.png"))
        np.testing.assert_array_equal(cv2.imread(f"{made}/X3/im{i}x3.png"), downscale(crop_to_multiple(hr, 3), 3))
    assert hr.shape == (34, 41, 3)  # whole


def test_lr_images_of_other_images_are_refused(
    benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = benchmark / "Set5/LR_bicubic/X2/im3x2.png"
    cv2.imwrite(str(wrong), cv2.imread(str(wrong))[::-1])
    assert prepare("Set5", "--source", benchmark, "--out", tmp_path / "out") == 2
    problem, kept = lines(capsys)
    assert "im3x2.png: is not the bicubic LR image of" in problem
    assert kept == "Set5: 4 of 5 images are kept for the next call"


def test_gray_images_in_a_color_set_are_stored_as_color_and_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(photos, gray=photograph(40, 40)[..., 0])
    assert prepare("folder", "--source", photos, "--out", tmp_path / "out") == 0
    assert "folder: gray stored as color: gray\n" in capsys.readouterr().out
    assert read_lmdb(tmp_path / "out/GT.lmdb")["gray"].shape == (40, 40, 3)
    header = read_header(tmp_path / "out/GT.lmdb")
    assert header is not None
    assert header.notes == {"gray stored as color": ["gray"]}


def test_a_gray_set_stays_gray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(tmp_path / "Set12", **{f"{i:02}": photograph(20, 24, seed=i)[..., 0] for i in range(12)})
    assert prepare("Set12", "--source", source, "--out", tmp_path / "out") == 0
    assert cv2.imread(str(tmp_path / "out/Set12/GT/07.png"), cv2.IMREAD_UNCHANGED).shape == (20, 24)
    save(source, **{"03": photograph(20, 24)})
    assert prepare("Set12", "--source", source, "--out", tmp_path / "again") == 2
    assert "03.png: is colored" in lines(capsys)[0]


def test_nothing_but_results_is_said_where_no_terminal_is(photos: Path, tmp_path: Path) -> None:
    done = run_basicsr("prepare", "folder", "--source", photos, "--out", "out", "--jobs", 2, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    code = """
import sys
from datasets_prep import writing
from ramit_model.cli import main
writing.BYTES_A_COMMIT = 2**20
assert main(["prepare", "folder", "--source", sys.argv[1], "--out", sys.argv[1] + "_out", "--jobs", "1"]) == 0
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3)).astype(np.uint8)
    peaks = []
    for count in (6, 66):  # the LMDBs have about 6 and 70 MB
        folder = save(tmp_path / str(count), **{f"p{i}": noise for i in range(count)})
        command = [sys.executable, "-c", code, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))  # kB
    assert peaks[1] < peaks[0] + 20_000


# --- what is there already ---


def test_what_is_there_is_left_alone(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ("folder", "--source", photos, "--out", tmp_path / "out", "--scale", 2)
    assert prepare(*call) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert prepare(*call) == 0
    assert capsys.readouterr().out.count("exists already, left alone") == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert prepare(*call, "--force") == 0
    assert (tmp_path / "out/HR.lmdb/data.mdb").stat().st_mtime_ns > before[tmp_path / "out/HR.lmdb/data.mdb"]
    assert not (tmp_path / "out/.preparing").exists()


def test_further_scales_are_added(tmp_path: Path, photos: Path) -> None:
    call = ("DIV2K", "--source", f"DIV2K={photos}", "--out", tmp_path / "out", "--incomplete", "--crop-size", 24)
    assert prepare(*call, "--scale", 2) == 0
    folder = tmp_path / "out/DIV2K"
    before = (folder / "DIV2K_train_HR_sub.lmdb/data.mdb").stat().st_mtime_ns
    assert prepare(*call, "--scale", 2, 4) == 0
    assert len(list(folder.iterdir())) == 3
    assert (folder / "DIV2K_train_HR_sub.lmdb/data.mdb").stat().st_mtime_ns == before
    hr = read_lmdb(folder / "DIV2K_train_HR_sub.lmdb")
    lr = read_lmdb(folder / "DIV2K_train_LR_bicubic_X4_sub.lmdb")
    assert {k: (v.shape[0] // 4, v.shape[1] // 4) for k, v in hr.items()} == {k: v.shape[:2] for k, v in lr.items()}


def test_something_else_in_its_place_is_not_replaced(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("folder", "--source", photos, "--out", tmp_path / "out")
    assert prepare(*call) == 0
    before = content(tmp_path / "out")
    assert prepare(*call, "--compress-level", 3) == 2
    (photos / "p0.png").unlink()
    assert prepare(*call) == 2
    assert prepare(*call[:3], "--out", photos / "p1.png") == 2
    said = lines(capsys)
    assert len(said) == 3
    assert "with another compress_level" in said[0]
    assert "from other images (6 then, 5 now)" in said[1]
    assert "is a file" in said[2]
    assert content(tmp_path / "out") == before
    (tmp_path / "out/GT.lmdb/manifest.jsonl").unlink()
    assert prepare(*call) == 2
    assert "not from this command" in lines(capsys)[0]
    assert prepare(*call, "--force") == 0
    assert len(read_lmdb(tmp_path / "out/GT.lmdb")) == 5


# --- interruptions ---


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BYTES_A_COMMIT", 1)


@pytest.mark.parametrize("family", ["folder", "Set5"])
def test_interrupted_anywhere_the_next_call_finishes(
    family: str, benchmark: Path, photos: Path, tmp_path: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, more = (photos, ["--scale", 2]) if family == "folder" else (benchmark, [])
    call = (family, "--source", source, *more)
    assert prepare(*call, "--out", tmp_path / "whole") == 0
    expected = content(tmp_path / "whole")

    # Every step that changes something on the disk may be the last one.
    steps = [
        (stores.LmdbStore, "put"),
        (stores.FolderStore, "put"),
        (writing.Journal, "add"),
        (writing.Writing, "_finish"),
        (writing.Writing, "_publish"),
        (writing, "write_manifest"),
    ]
    interrupted = 0
    for number, (owner, name) in enumerate(steps):
        for last in range(0, 12, 3):
            out = tmp_path / f"{number}_{last}"
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, _raise_after(getattr(owner, name), last))
                interrupted += prepare(*call, "--out", out) == 130
            assert prepare(*call, "--out", out) == 0
            assert content(out) == expected, (name, last)
    assert interrupted >= 10


def _raise_after(function, calls, error=KeyboardInterrupt):
    left = [calls]

    def call(*args, **kwargs):
        if left[0] == 0:
            raise error
        left[0] -= 1
        return function(*args, **kwargs)

    return call


def test_what_was_done_is_not_done_again(
    photos: Path, tmp_path: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("folder", "--source", photos, "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(stores.LmdbStore, "put", _raise_after(stores.LmdbStore.put, 4))
        assert prepare(*call) == 130
    processed = []
    process = writing.process
    monkeypatch.setattr(writing, "process", lambda item, job: processed.append(item) or process(item, job))
    assert prepare(*call) == 0
    assert [item.key for item in processed] == ["p4", "p5"]


def test_files_that_change_between_two_calls_are_done_again(
    photos: Path, tmp_path: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("folder", "--source", photos, "--out", tmp_path / "out", "--scale", 2)
    with monkeypatch.context() as patch:
        patch.setattr(stores.LmdbStore, "put", _raise_after(stores.LmdbStore.put, 9))
        assert prepare(*call) == 130
    save(photos, p1=photograph(80, 30, seed=9))
    (photos / "p2.png").unlink()
    assert prepare(*call) == 0
    assert prepare(*call[:3], "--out", tmp_path / "fresh", "--scale", 2) == 0
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_other_settings_begin_anew(
    photos: Path, tmp_path: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("folder", "--source", photos, "--scale", 2)
    with monkeypatch.context() as patch:
        patch.setattr(stores.LmdbStore, "put", _raise_after(stores.LmdbStore.put, 7))
        assert prepare(*call, "--out", tmp_path / "out", "--compress-level", 9) == 130
    assert prepare(*call, "--out", tmp_path / "out") == 0
    assert prepare(*call, "--out", tmp_path / "fresh") == 0
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_a_random_moment_the_next_call_finishes(seed: int, tmp_path: Path) -> None:
    photos = save(tmp_path / "photos", **{f"p{i:02}": photograph(200, 201, seed=i) for i in range(30)})
    call = ("prepare", "folder", "--source", photos, "--scale", 2, "--crop-size", 96, "--jobs", 2, "--out")
    assert run_basicsr(*call, "whole", cwd=tmp_path).returncode == 0
    command = [sys.executable, "-m", "ramit_model", *map(str, call), "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(random.Random(seed).uniform(0.4, 1.5))
    process.kill()
    process.wait()
    again = run_basicsr(*call, "out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    photos = save(tmp_path / "photos", **{f"p{i:02}": photograph(400, 401, seed=i) for i in range(60)})
    call = ("prepare", "folder", "--source", photos, "--scale", 2, "--jobs", 2, "--compress-level", 9, "--out", "out")
    process = subprocess.Popen(
        [sys.executable, "-m", "ramit_model", *map(str, call)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What starts tests in the background may have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out/.preparing/journal.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it too
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip() == "basicsr prepare: interrupted; the same command goes on where it stopped"
    assert not (tmp_path / "out/HR.lmdb").exists()
    assert run_basicsr(*call, cwd=tmp_path).returncode == 0


# --- what is wrong ---


def test_a_decompressed_archive_stays_only_for_work_that_goes_on(
    photos: Path, tmp_path: Path, small_batches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "photos.tgz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(photos, "photos")
    assert prepare("LOL", "--source", archive, "--out", tmp_path / "out") == 2
    assert not (tmp_path / "out/LOL").exists()
    call = ("WED", "--source", archive, "--out", tmp_path / "out", "--incomplete")
    with monkeypatch.context() as patch:
        patch.setattr(stores.LmdbStore, "put", _raise_after(stores.LmdbStore.put, 2))
        assert prepare(*call) == 130
    assert list((tmp_path / "out/WED").glob("*/*.tar"))
    assert prepare(*call) == 0
    assert [path.name for path in (tmp_path / "out/WED").iterdir()] == ["GT.lmdb"]


def test_every_file_that_cannot_be_used_is_named_and_nothing_is_written(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "empty.png").touch()
    (photos / "text.png").write_text("no image")
    save(photos, tiny=photograph(1, 9))
    assert prepare("folder", "--source", photos, "--out", tmp_path / "out", "--scale", 2) == 2
    said = lines(capsys)
    assert [line.split(": ")[0] for line in said] == ["photos/empty.png", "photos/text.png", "photos/tiny.png"]
    assert not (tmp_path / "out").exists()


def test_bad_pixels_are_named_and_good_images_kept(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (photos / "p2.png").read_bytes()
    (photos / "p2.png").write_bytes(whole[: len(whole) // 2])
    call = ("folder", "--source", photos, "--out", tmp_path / "out")
    assert prepare(*call) == 2
    problem, kept = lines(capsys)
    assert problem.startswith("photos/p2.png: is cut short or damaged")
    assert kept == "folder: 5 of 6 images are kept for the next call"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".preparing"]
    (photos / "p2.png").write_bytes(whole)
    assert prepare(*call) == 0
    assert len(read_lmdb(tmp_path / "out/GT.lmdb")) == 6


def test_pairs_of_other_sizes_are_named(low_light: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(low_light / "eval15/low", **{"4": photograph(24, 30)})
    assert prepare("LOL", "--source", low_light, "--out", tmp_path / "out", "--incomplete") == 2
    assert lines(capsys) == [
        "LOLdataset/eval15/low/4.png: is 24x30, but LOLdataset/eval15/high/4.png 24x32; a wrong pair?"
    ]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["DIV2K"], "is missing"),
        (["folder", "--scale", "1"], "argument --scale: '1' is not a whole number of at least 2"),
        (["folder", "--jobs", "0"], "argument --jobs: '0' is not a whole number of at least 1"),
        (["folder", "--compress-level", "10"], "argument --compress-level: 10 is unknown; choose one of 0, 1, 2"),
        (["folder", "--scale", "2", "--crop-size", "31"], "--crop-size, --step: not a multiple of 2"),
        (["folder", "--step", "31"], "--step and --thresh-size need --crop-size"),
        (["Set5", "--crop-size", "31"], "unknown argument --crop-size"),
        (["nothing"], "argument FAMILY: 'nothing' is unknown; choose one of DIV2K, "),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str], said: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = [] if said == "is missing" else ["--source", str(photos)]
    try:
        code = main(["prepare", *arguments, *source, "--out", str(tmp_path / "out")])
    except SystemExit as error:
        code = error.code
    err = capsys.readouterr().err
    assert code == 2
    assert said in err or "required: --source" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_too_little_space_is_said_before_anything_is_written(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 5000, 5000))
    assert prepare("folder", "--source", photos, "--out", tmp_path / "out") == 2
    assert "but only 5.0 kB are free" in lines(capsys)[0]
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_said_and_survived(
    photos: Path,
    tmp_path: Path,
    small_batches: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = ("folder", "--source", photos, "--out", tmp_path / "out", "--scale", 2)
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "No space left on device", "HR.lmdb")
        patch.setattr(stores.LmdbStore, "put", _raise_after(stores.LmdbStore.put, 5, full))
        assert prepare(*call) == 2
    (said,) = lines(capsys)
    assert "No space left on device; make room" in said
    assert prepare(*call) == 0
    assert prepare(*call[:3], "--out", tmp_path / "fresh", "--scale", 2) == 0
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x" * 99)])
def test_an_unfinished_lmdb_that_is_damaged_is_begun_again(
    damage: Callable[[Path], object], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ("folder", "--source", photos, "--out", tmp_path / "out")
    whole = (photos / "p1.png").read_bytes()
    (photos / "p1.png").write_bytes(whole[:-40])
    assert prepare(*call) == 2
    (photos / "p1.png").write_bytes(whole)
    damage(tmp_path / "out/.preparing/GT.lmdb/data.mdb")
    capsys.readouterr()
    assert prepare(*call) == 0
    assert "folder: begun again" in capsys.readouterr().out
    assert prepare(*call[:3], "--out", tmp_path / "fresh") == 0
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_two_calls_at_a_time(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out/.preparing").mkdir(parents=True)
    with writing.FileLock(tmp_path / "out/.preparing/lock"):
        assert prepare("folder", "--source", photos, "--out", tmp_path / "out") == 2
    assert "another process is preparing this set" in lines(capsys)[0]


def test_content_that_is_not_what_was_written_is_not_published(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put = stores.LmdbStore.put
    with monkeypatch.context() as patch:
        patch.setattr(stores.LmdbStore, "put", lambda store, entries: put(store, [(k, c[:-9]) for k, c in entries]))
        assert prepare("folder", "--source", photos, "--out", tmp_path / "out") == 2
    assert "entry p0 is not what was written" in lines(capsys)[0]
    assert not (tmp_path / "out/GT.lmdb").exists()
    assert prepare("folder", "--source", photos, "--out", tmp_path / "out") == 0
    header = json.loads((tmp_path / "out/GT.lmdb/manifest.jsonl").read_text().splitlines()[0])
    assert header["entries"] == 6


def test_a_folder_of_pairs_is_not_taken_for_clean_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mine/high", "mine/low"):
        Path(folder).mkdir(parents=True)
        for name in ("a", "b"):
            Path(folder, f"{name}.png").write_bytes(encode_png(photograph(16, 16), 1))
    assert main(["prepare", "folder", "--source", "mine", "--out", "o"]) == 2
    assert "--source gt=mine/high lq=mine/low" in capsys.readouterr().err
    assert not Path("o").exists()
    assert main(["prepare", "folder", "--source", "gt=mine/high", "lq=mine/low", "--out", "o"]) == 0
    assert main(["prepare", "folder", "--source", "mine/high", "mine/low", "--out", "both"]) == 0


def test_a_wrong_scale_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, size in (("hr", 24), ("lr", 12)):
        Path(folder).mkdir()
        for i in range(3):
            Path(folder, f"{i}.png").write_bytes(encode_png(photograph(size, size), 1))
    assert main(["prepare", "folder", "--source", "gt=hr", "lq=lr", "--scale", "3", "--out", "o"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "So differ all 3 pairs: --scale is GT size over LQ size" in line
    assert "lr/1.png" not in line


def test_out_may_not_be_a_link_to_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hr").mkdir()
    Path("hr/a.png").write_bytes(encode_png(photograph(16, 16), 1))
    Path("o").symlink_to("/nowhere")
    assert main(["prepare", "folder", "--source", "hr", "--out", "o"]) == 2
    assert "o: is a link that leads nowhere; choose another --out" in capsys.readouterr().err


def test_names_that_the_terminal_cannot_show(tmp_path: Path) -> None:
    """Escaped on the terminal, right on the disk."""
    (tmp_path / "写真").mkdir()
    (tmp_path / "写真/é.png").write_bytes(encode_png(photograph(24, 24), 1))
    ascii_only = {"PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = run_basicsr("prepare", "folder", "--source", "写真", "--out", "データ", cwd=tmp_path, env=ascii_only)
    assert done.returncode == 0, done.stderr
    assert "GT.lmdb: 1 entries from 1 images" in done.stdout
    assert done.stdout.isascii()
    assert (tmp_path / "データ/GT.lmdb/meta_info.txt").read_text() == "u00e9.png (24,24,3) 1\n"
