"""Readers of what a stranger may hand over, each with hostile input for it."""

import contextlib
import gzip
import io
import json
import shutil
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import awkward
import fuzz_inputs as inputs
import torch
import yaml
from helpers import REPOSITORY, TINY, photograph, testing_options, training_options
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as save_safetensors

from datasets_prep.checking import check
from datasets_prep.families import FAMILIES, own_folder
from datasets_prep.headers import size_in_header
from datasets_prep.image_files import Treatment, decode, encode_png
from datasets_prep.image_formats import ImageError
from datasets_prep.lmdb_writer import write_pairs
from datasets_prep.preparation import Settings, prepare
from datasets_prep.sources import look_into, needs_unpacking, read, unpack
from ramit_arch import RAMiT
from ramit_model.benchmark.measure.measurements import Measurements
from ramit_model.benchmark.plan import load_plan
from ramit_model.config.options import load_options
from ramit_model.data.clean import CleanImageDataset
from ramit_model.data.paired import PairedRestorationDataset
from ramit_model.data.single import SingleRestorationDataset
from ramit_model.inference.opened import identify
from ramit_model.inference.pictures.picture import PictureError
from ramit_model.inference.pictures.reading import read_picture
from ramit_model.inference.weights import read_weight_file
from ramit_model.system.errors import InputError
from ramit_model.training.resume import _read_state

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Target:
    """Reader with its input.

    Attributes:
        inputs: Strategy; its values are plain data, so that a finding can be printed and tried again.
        run: Reads one input, in a folder of its own.
        errors: Errors for the user.
        most: Bytes that memory may grow by.
        lines: Whether an error may have several lines.
    """

    inputs: st.SearchStrategy[Any]
    run: Callable[[Any, Path], None]
    errors: tuple[type[BaseException], ...] = (InputError,)
    most: int = 512 * MEBIBYTE
    lines: bool = False


def make_targets(base: Path) -> dict[str, Target]:
    """All targets by name; `base` is a folder for the real files that they begin with."""
    write_pairs(((f"p{i}", photograph(16, 24, seed=i)) for i in range(2)), base, scale=2)
    for kind, factor in (("hr", 2), ("lr", 1)):
        (base / kind).mkdir()
        for i in range(2):
            (base / kind / f"p{i}.png").write_bytes(encode_png(photograph(16 * factor, 24 * factor, seed=i), 1))
    image = (base / "lr" / "p0.png").read_bytes()
    torch.manual_seed(0)
    state = RAMiT(**{key: value for key, value in TINY.items() if key != "type"}).state_dict()
    (base / "tiny.pth").write_bytes(saved(state))
    return {
        **_option_targets(base),
        "lists": Target(_lists(), lambda content, folder: _read_list(content, folder, base)),
        "pictures": Target(
            inputs.pictures([file.content for file in (*awkward.good(), *awkward.bad())]),
            lambda content, _: ignore(read_picture(content)),
            errors=(PictureError,),
        ),
        "image-headers": Target(inputs.pictures(_images()), _read_image, errors=(ImageError, InputError)),
        "zips": Target(inputs.zips(image), _read_archive, lines=True),
        "tars": Target(inputs.tars(image), _read_archive, lines=True),
        "pth": Target(inputs.pickles([saved(state), saved({"params": {"a": torch.ones(2)}})]), _read_weights),
        "states": Target(
            inputs.pickles([saved({"epoch": 1, "iter": 2, "optimizers": [], "schedulers": []})]), _read_training_state
        ),
        "safetensors": Target(
            inputs.safetensor_files([save_safetensors(state, {"network_g": json.dumps(TINY)})], list(state)[:4]),
            _read_weights,
        ),
        **_prepare_targets(base),
    }


def ignore(_: Any) -> None:
    """Do nothing with a result."""


def saved(content: Any) -> bytes:
    """File of torch.save."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


# Option files ---------------------------------------------------------------------------------------------------------


def _templates(base: Path, kind: str) -> list[dict[str, Any]]:
    """Shipped option files whose data and weights are there, and tiny ones."""
    found = []
    for path in sorted((REPOSITORY / "options").glob(f"{kind}_*.yml")):
        options = yaml.safe_load(path.read_text())
        for block in options.get("datasets", {}).values():
            is_lmdb = block["io_backend"]["type"] == "lmdb"
            for key, root in (("dataroot_gt", "HR.lmdb"), ("dataroot_lq", "LR_bicubic_X2.lmdb")):
                if key in block:
                    block[key] = str(base / (root if is_lmdb else "hr" if key == "dataroot_gt" else "lr"))
        for network in options.get("networks", {}).values():
            network["weights"] = str(base / "tiny.pth")
        for block in (options, *options.get("networks", {}).values()):
            if block.get("network_g", {}).get("type") == "RAMiT" and len(found) % 8:  # soon built
                block["network_g"] |= {"dim": 16, "depths": [1, 1, 1, 1], "neck_groups": 1}
        options["networks"] = dict([*options.get("networks", {}).items()][:2])
        if not options["networks"]:
            del options["networks"]
        if options.get("path", {}).get("pretrain_network_g"):
            options["path"]["pretrain_network_g"] = str(base / "tiny.pth")
        found.append(options)
    return found


def _option_targets(base: Path) -> dict[str, Target]:
    trainings = [*_templates(base, "train"), training_options(base)]
    tests = [*_templates(base, "test"), testing_options(base)]
    benchmarks = _templates(base, "benchmark")
    shipped = [path.read_bytes() for path in sorted((REPOSITORY / "options").glob("*.yml"))]
    circles = [b"name: &a [*a]\n", b"a: &a {b: *a}\nname: x\n", _laughs(), b"[" * 5000, b"? {a: b}\n: c\n"]

    def load(options: Any, folder: Path) -> None:
        path = folder / "options.yml"
        path.write_bytes(options if isinstance(options, bytes) else dump(options))
        kind = ("train", "test")["train" not in options] if isinstance(options, dict) else "train"
        load_options(path, is_train=kind == "train")

    def force(entries: list[str], folder: Path) -> None:
        path = folder / "options.yml"
        path.write_bytes(dump(trainings[-1]))
        load_options(path, is_train=True, forced=entries)

    def plan(options: dict[str, Any], folder: Path) -> None:
        path = folder / "options.yml"
        path.write_bytes(dump(options))
        load_plan(path, incomplete=True)

    return {
        "options": Target(inputs.changed_options([*trainings, *tests]), load),
        "yaml": Target(inputs.mutated([*shipped[::8], *circles]), load),
        "force-yml": Target(inputs.overrides([trainings[-1]]), force),
        "benchmark-options": Target(inputs.changed_options(benchmarks), plan, lines=True),
    }


def _laughs() -> bytes:
    """YAML of a few lines that stands for a billion values."""
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines).encode()


def dump(options: dict[str, Any]) -> bytes:
    """Options as a YAML file."""
    return yaml.safe_dump(options, sort_keys=False, allow_unicode=True).encode()


# Data sets ------------------------------------------------------------------------------------------------------------


@st.composite
def _lists(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Kind of data set, of storage, and a list file."""
    seeds = [
        b"p0.png (32,48,3)\np1.png (32,48,3)\n",
        b"p0.png\r\n\r\np1.png\n",
        b"\xef\xbb\xbfp0.png\n",
        b"../lr/p0.png\n",
        b"",
    ]
    return (
        draw(st.sampled_from(("paired", "clean", "single"))),
        draw(st.sampled_from(("disk", "lmdb"))),
        draw(st.one_of(inputs.mutated(seeds), st.binary(max_size=30))),
    )


def _read_list(given: tuple[str, str, bytes], folder: Path, base: Path) -> None:
    kind, storage, content = given
    (folder / "list.txt").write_bytes(content)
    lmdb = storage == "lmdb"
    opt: dict[str, Any] = {
        "name": "x",
        "phase": "test",
        "scale": 2,
        "sigma": 25,
        "io_backend": {"type": storage},
        "dataroot_gt": str(base / ("HR.lmdb" if lmdb else "hr")),
        "dataroot_lq": str(base / ("LR_bicubic_X2.lmdb" if lmdb else "lr")),
        "meta_info_file": str(folder / "list.txt"),
    }
    made: Any = {"paired": PairedRestorationDataset, "clean": CleanImageDataset, "single": SingleRestorationDataset}[
        kind
    ](opt)
    if kind != "single":
        made.check_images(2)
    for i in range(len(made)):
        made[i]


def _images() -> list[bytes]:
    """Small pictures of all kinds that data sets are made of."""
    picture = Image.fromarray(photograph(12, 20))
    files = []
    for kind, options in (("PNG", {}), ("JPEG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        for mode in ("RGB", "L"):
            file = io.BytesIO()
            picture.convert(mode).save(file, kind, **options)
            files.append(file.getvalue())
    exif = awkward.exif(6)
    for kind in ("JPEG", "PNG", "WEBP"):
        file = io.BytesIO()
        picture.save(file, kind, exif=exif)
        files.append(file.getvalue())
    return files


def _read_image(content: bytes, folder: Path) -> None:
    size = size_in_header(content)
    assert size is None or all(type(length) is int for length in size), size
    (folder / "x.png").write_bytes(content)
    with contextlib.suppress(InputError):
        opt = {"name": "x", "phase": "test", "sigma": 5, "io_backend": {"type": "disk"}, "dataroot_gt": str(folder)}
        made = CleanImageDataset(opt)
        made.check_images(2)
        made[0]
    decode(content, Treatment("color", "round"))


def _read_archive(content: bytes, folder: Path) -> None:
    source = folder / "archive"
    source.write_bytes(gzip.compress(content, 1) if len(content) % 3 == 0 else content)
    unpacked = unpack(source, folder / "unpacked") if needs_unpacking(source) else None
    for member in look_into(source, unpacked).members:
        assert ".." not in member.path.parts, member
        assert not Path(member.name).is_absolute(), member
        read(member)


# Weights --------------------------------------------------------------------------------------------------------------


def _read_weights(content: bytes, folder: Path) -> None:
    path = folder / "weights"
    path.write_bytes(content)
    identify(read_weight_file(path))


def _read_training_state(content: bytes, folder: Path) -> None:
    path = folder / "4.state"
    path.write_bytes(content)
    _read_state(path)


# Prepared data --------------------------------------------------------------------------------------------------------


def quietly(action: Callable[[], Any]) -> Any:
    """Run something without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return action()


def _prepare_targets(base: Path) -> dict[str, Target]:
    photos = base / "photos"
    (photos / "Set5" / "HR").mkdir(parents=True)
    for i in range(3):
        (photos / "Set5" / "HR" / f"{i}.png").write_bytes(encode_png(photograph(12, 18, seed=i), 1))
    kinds = {
        "folder": (own_folder(pairs=False, scales=(2,), grid=None), "HR.lmdb"),
        "Set5": (FAMILIES["Set5"], "Set5/HR"),
    }
    settings = Settings(scales=(2,), jobs=1, incomplete=True)
    for name, (family, _) in kinds.items():
        quietly(lambda family=family, name=name: prepare(family, [("", photos)], base / f"whole {name}", settings))
        _interrupt(family, photos, base / f"begun {name}", settings)

    def edited(files: dict[str, bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
        return st.sampled_from(sorted(files)).flatmap(
            lambda name: st.tuples(
                st.just(name), st.one_of(inputs.mutated([files[name]], 4), _changed_lines(files[name]))
            )
        )

    def read_manifests(given: tuple[str, bytes], folder: Path) -> None:
        name, content = given
        kind = name.partition("/")[0].removeprefix("whole ")
        shutil.copytree(base / f"whole {kind}", folder / f"whole {kind}")
        (folder / name).write_bytes(content)
        quietly(lambda: [found.summary for found in check(folder, jobs=1)])
        family = kinds[kind][0]
        quietly(lambda: prepare(family, [("", photos)], folder / f"whole {kind}", settings))

    def go_on(given: tuple[str, bytes], folder: Path) -> None:
        name, content = given
        kind = name.partition("/")[0].removeprefix("begun ")
        shutil.copytree(base / f"begun {kind}", folder / f"begun {kind}")
        (folder / name).write_bytes(content)
        family, store = kinds[kind]
        quietly(lambda: prepare(family, [("", photos)], folder / f"begun {kind}", settings))
        wrong = quietly(lambda: [line for found in check(folder, jobs=1) for line in found.problems])
        assert not wrong, wrong
        assert _manifest(folder / f"begun {kind}" / store) == _manifest(base / f"whole {kind}" / store)

    def measurements(content: bytes, folder: Path) -> None:
        path = folder / "measurements.jsonl"
        path.write_bytes(content)
        with Measurements(path) as kept:
            kept.add("k", 1)
            assert kept.get("k") == 1

    manifests = {
        str(path.relative_to(base)): path.read_bytes()
        for pattern in ("whole */**/*manifest.jsonl", "whole */**/meta_info.txt")
        for path in base.glob(pattern)
    }
    begun = {
        str(path.relative_to(base)): path.read_bytes()
        for pattern in ("begun */**/journal.jsonl", "begun */**/plan.json")
        for path in base.glob(pattern)
    }
    seeds = [b'{"key": "a", "value": {"psnr": 1.5}}\n{"key": "b", "value": null}\n', b"", b"[]\n", b'{"key": []}\n']
    return {
        "manifests": Target(edited(manifests), read_manifests, lines=True),
        "journals": Target(edited(begun), go_on, lines=True),
        "measurements": Target(inputs.mutated(seeds), measurements),
    }


def _interrupt(family: Any, photos: Path, out: Path, settings: Settings) -> None:
    """Leave a preparation unfinished: one image is damaged, then mended."""
    image = photos / "Set5" / "HR" / "1.png"
    content = image.read_bytes()
    image.write_bytes(content[:-30])
    with contextlib.suppress(InputError):
        quietly(lambda: prepare(family, [("", photos)], out, replace(settings, compress_level=1)))
    image.write_bytes(content)


def _manifest(store: Path) -> bytes:
    (path,) = store.glob("*manifest.jsonl")
    return path.read_bytes()


@st.composite
def _changed_lines(draw: st.DrawFn, content: bytes) -> bytes:
    """File of JSON lines with values replaced by any other."""
    try:
        lines = {"lines": [json.loads(line) for line in content.splitlines()]}
    except ValueError:
        return draw(inputs.mutated([content]))
    changed = draw(inputs.changed_options([deepcopy(lines)]))
    found = changed.get("lines")
    return b"".join(
        json.dumps(line, default=repr).encode() + b"\n" for line in (found if isinstance(found, list) else [found])
    )


warnings.simplefilter("ignore")
