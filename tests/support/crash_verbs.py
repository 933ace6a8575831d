"""Commands that the crash harness disturbs: tiny inputs, and what of their results must be the same in the end."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import lmdb
import torch
import yaml
from helpers import photograph, testing_options, training_options

from datasets_prep.lmdb_writer import write_pairs

CHECKPOINTS = ("experiments/run/models/net_g_[0-9]*.pth", "experiments/run/training_states/*.state")
"""With fewer than two of them, the command says that none loads, for it must not begin again by itself."""
LATEST = ("experiments/run/models/net_g_latest.pth", "experiments/run/models/net_g_best.pth")

Outcome = dict[str, str]
"""File, or part of one -> checksum of its content."""


@dataclass(frozen=True)
class Verb:
    """Command, and how its results are judged.

    Attributes:
        arguments: Arguments of `basicsr`; the current folder is one of its own.
        outcome: Results in that folder. Until the end some may be missing, but none may be another than in the end.
        state: Patterns of the files from which the command goes on, which may vanish or be damaged.
        least: Number of these files that must be there before one is spoiled.
        changing: Results that become others while the command runs.
        by_hand: Result -> complaint, for what a checksum does not say.
        fresh: Start Python anew, as processes that start others by themselves want it.
        written_once: Whether results that are there are left alone.
    """

    arguments: tuple[str, ...]
    outcome: Callable[[Path], Outcome]
    state: tuple[str, ...]
    least: int = 1
    changing: tuple[str, ...] = ()
    by_hand: Callable[[Path], list[str]] = lambda _: []
    fresh: bool = False
    written_once: bool = False


def make_verbs(base: Path) -> dict[str, Verb]:
    """All verbs; `base` is a folder for their inputs."""
    from benchmark_options import benchmark_options, save_weights  # imports BasicSR, which helpers has prepared

    write_pairs(((f"p{i}", photograph(32, 48, seed=i)) for i in range(4)), base, scale=2)
    (base / "photos").mkdir()
    (base / "many").mkdir()
    for i in range(80):
        folder = base / ("photos" if i < 8 else "many")
        cv2.imwrite(str(folder / f"{i:02}.png"), photograph(*((40, 56) if i < 8 else (240, 320)), seed=i))
    weights = save_weights(base / "tiny.pth")
    training = training_options(base, name="run")
    training["train"]["total_iter"] = 12
    training["val"]["val_freq"] = 6
    training["logger"]["save_checkpoint_freq"] = 3
    two = {**training, "datasets": {**training["datasets"]}}
    two["datasets"]["train"] = {**training["datasets"]["train"], "batch_size_per_gpu": 1}
    benchmark = benchmark_options(base, {"tiny": weights}, cost={"inputs": [[16, 16]], "runs": 2, "warmup": 1})
    benchmark["networks"] = {"tiny": benchmark["networks"]["tiny"]}
    options = {
        "train": training,
        "train2": two,
        "test": testing_options(base, str(weights), name="run"),
        "benchmark": benchmark,
    }
    for name, content in options.items():
        (base / f"{name}.yml").write_text(yaml.safe_dump(content, sort_keys=False))
    train = ("train", "-opt", str(base / "train.yml"), "--auto_resume")
    photos = str(base / "photos")
    return {
        "train": Verb(train, _trained, CHECKPOINTS, least=4, changing=LATEST),
        "train2": Verb(
            ("train", "-opt", str(base / "train2.yml"), "--auto_resume", "--nproc", "2"),
            _trained,
            CHECKPOINTS,
            least=4,
            changing=LATEST,
            fresh=True,
        ),
        "test": Verb(("test", "-opt", str(base / "test.yml")), _tested, ("results/run/**/*.png", "results/run/*.csv")),
        "benchmark": Verb(
            ("benchmark", "-opt", str(base / "benchmark.yml"), "--out", "out"),
            _benchmarked,
            ("out/measurements.jsonl", "out/pictures/*.png"),
            by_hand=_measured_twice,
        ),
        "prepare": Verb(
            ("prepare", "folder", "--source", str(base / "many"), "--out", "made", "--scale", "2", "--jobs", "1"),
            _prepared,
            ("made/.preparing/*.json*", "made/.preparing/*/data.mdb"),
        ),
        "restore": Verb(
            ("restore", photos, "-o", "restored", "--weights", str(weights)),
            lambda folder: _files(folder, folder.glob("restored/*.png")),
            ("restored/.*",),
            written_once=True,
        ),
    }


def _files(folder: Path, paths: Iterable[Path]) -> Outcome:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items() if not _is_temporary(name)}


def _is_temporary(name: str) -> bool:
    return name.endswith(".tmp")


def _trained(folder: Path) -> Outcome:
    """Weights and states of the optimizer, to the bit, and the metrics of every validation."""
    run = folder / "experiments" / "run"
    found: Outcome = {}
    for path in [*run.glob("models/*.pth"), *run.glob("training_states/*.state")]:
        if _is_temporary(path.name):
            continue
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            found[path.relative_to(folder).as_posix()] = f"not whole: {error!s:.80}"
            continue
        if path.suffix == ".state":
            content = {key: content[key] for key in ("iter", "optimizers", "schedulers")}
        found[path.relative_to(folder).as_posix()] = _digest(content)
    return found


def _digest(content: Any) -> str:
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(value.contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                digest.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    add(content)
    return digest.hexdigest()


def _tested(folder: Path) -> Outcome:
    run = folder / "results" / "run"
    return _files(folder, [*run.rglob("*.png"), *run.glob("*.csv")])


def _prepared(folder: Path) -> Outcome:
    """Entries of the LMDBs under their final names, and their lists."""
    found: Outcome = {}
    for store in folder.glob("made/*.lmdb"):
        with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
            entries = {bytes(key).decode(): bytes(value) for key, value in transaction.cursor()}
        found[store.name] = _digest({key: hashlib.sha256(value).hexdigest() for key, value in entries.items()})
        found |= _files(folder, store.glob("m*.*"))
        found = {name: value for name, value in found.items() if not name.endswith("data.mdb")}
    return found


def _benchmarked(folder: Path) -> Outcome:
    """Quality and counts, which are no times, and the pictures."""
    found = _files(folder, [*folder.glob("out/pictures/*.png"), *folder.glob("out/strips/*.png")])
    results = folder / "out" / "results.json"
    if results.is_file():
        content = json.loads(results.read_text())
        found["quality"] = _digest(content["datasets"])
        found["counts"] = _digest([network["counts"] for network in content["networks"]])
    for name in ("report.html", "report.md", "results.csv"):
        if (folder / "out" / name).is_file():
            found[name] = "is there"
    return found


def _measured_twice(folder: Path) -> list[str]:
    journal = folder / "out" / "measurements.jsonl"
    lines = journal.read_text(errors="replace").splitlines() if journal.is_file() else []
    keys = Counter()
    for line in lines:
        try:
            keys[json.loads(line)["key"]] += 1
        except (ValueError, TypeError, KeyError):
            continue
    return [f"{key} was measured {count} times" for key, count in keys.items() if count > 1]
