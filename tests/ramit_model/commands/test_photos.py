"""`basicsr test` on folders of photos as people have them: nothing is lost without a word."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from helpers import TINY, photograph, run_basicsr, testing_options

from ramit_arch import RAMiT

Write = Callable[..., Path]
GRAY = {**{key: value for key, value in TINY.items() if key != "scale"}, "task": "GDN"}


def photo(path: Path, seed: int = 0, **changes: Any) -> bytes:
    content = bytes(cv2.imencode(path.suffix, photograph(16, 16, seed=seed))[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content


def run(pairs: Path, write_options: Write, folder: Path, **changes: Any) -> "subprocess.CompletedProcess[str]":
    block = {"name": "photos", "type": "SingleRestorationDataset", "dataroot_lq": str(folder / "photos")}
    network = changes.pop("network_g", TINY)
    torch.manual_seed(0)
    net = RAMiT(**{key: value for key, value in network.items() if key != "type"})
    torch.save(net.state_dict(), folder / "w.pth")
    options = testing_options(pairs, str(folder / "w.pth"), scale=network.get("scale", 1), network_g=network)
    options["datasets"] = {"test": {**block, "io_backend": {"type": "disk"}, **changes}}
    options["val"].pop("metrics")
    return run_basicsr("test", "-opt", write_options(options), cwd=folder)


def test_a_folder_as_people_have_it(pairs: Path, tmp_path: Path, write_options: Write) -> None:
    """Names that are no text or too long, a damaged picture, 16 bits, files that are no pictures."""
    photos = tmp_path / "photos"
    for name in ("\udcd6\udcd0.png", "good.JPG", "あ" * 83 + ".png"):
        photo(photos / name)
    (photos / "bad.png").write_bytes(photo(photos / "bad.png")[:-20])
    (photos / "lie.bmp").write_bytes(b"BM" + bytes(12) + b"\x28\0\0\0\x81\xff\xff\xff\x40\0\0\0\1\0\x18\0" + bytes(99))
    deep = photograph(16, 16).astype(np.uint16) * 257
    (photos / "deep.png").write_bytes(bytes(cv2.imencode(".png", deep)[1]))
    (photos / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    done = run(pairs, write_options, tmp_path)
    assert done.returncode == 2, done.stderr
    assert "data set photos: 1 file left out, being no picture: Thumbs.db\n" in done.stderr
    assert "data set photos: 1 picture read as 8-bit RGB without 16 bits of 1 (names in the log)\n" in done.stderr
    ours = [line for line in done.stderr.splitlines() if line.startswith("basicsr test: ")]
    assert "bad.png: is cut short or damaged" in ours[0]
    assert "lie.bmp: claims -127x64 pixels, which no image has" in ours[1]
    assert "File name too long; rename the image" in ours[2]
    assert ours[-1] == "basicsr test: 3 not restored; all other pictures are"
    results = tmp_path / "results/tiny/visualization/photos"
    assert sorted(path.name for path in results.iterdir()) == [
        "deep_tiny.png",
        "good_tiny.png",
        "\udcd6\udcd0_tiny.png",
    ]
    assert "photos/deep.png: read without 16 bits" in next(tmp_path.glob("results/tiny/*.log")).read_text(
        encoding="utf-8"
    )


def test_results_of_one_name_are_refused_before_anything_runs(
    pairs: Path, tmp_path: Path, write_options: Write
) -> None:
    for suffix in (".png", ".jpg", ".bmp"):
        photo(tmp_path / f"photos/shot{suffix}")
    done = run(pairs, write_options, tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "basicsr test: data set photos: shot.bmp and shot.jpg: would have one result, shot; rename or remove one"
    )
    assert not list(tmp_path.glob("results/tiny/visualization/*"))


@pytest.mark.parametrize("suffix", [".png", ".ppm"])
def test_gray_photos(pairs: Path, tmp_path: Path, write_options: Write, suffix: str) -> None:
    photo(tmp_path / f"photos/a{suffix}")
    done = run(pairs, write_options, tmp_path, network_g=GRAY, color="gray")
    assert done.returncode == 0, done.stderr
    result = cv2.imread(str(tmp_path / "results/tiny/visualization/photos/a_tiny.png"), cv2.IMREAD_UNCHANGED)
    assert result.shape == (16, 16)
