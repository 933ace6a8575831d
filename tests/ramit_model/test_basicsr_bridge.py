"""The seam to BasicSR: what `import ramit_arch` promises, and each change, in fresh processes."""

import hashlib
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import recorded, run_python

from ramit_model import basicsr_bridge, basicsr_changes
from ramit_model.basicsr_changes import init_dist_on_cpu

WITHOUT_TORCHVISION_OPERATORS = """
import torch
load = torch.ops.load_library
def refuse(path):
    raise OSError("built for another torch")
torch.ops.load_library = refuse
"""


PLUGINS = ["import ramit_arch", "import ramit_model"]

REGISTERED = """
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, MODEL_REGISTRY
assert "RAMiT" in ARCH_REGISTRY and "NGswin" in ARCH_REGISTRY
assert "PairedRestorationDataset" in DATASET_REGISTRY and "CleanImageDataset" in DATASET_REGISTRY
assert "RestorationModel" in MODEL_REGISTRY
"""

OLD_TORCHVISION = """
import sys, types
import torchvision.transforms.functional as functional
module = types.ModuleType("torchvision.transforms.functional_tensor")
module.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules[module.__name__] = module
"""

WITHOUT_BASICSR = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "basicsr":
            raise ModuleNotFoundError("No module named 'basicsr'", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.mark.parametrize("plugin", PLUGINS)
def test_registries_know_what_is_ours_when_basicsr_is_imported_later(plugin: str) -> None:
    run_python(f"{plugin}\nimport basicsr\n{REGISTERED}")


@pytest.mark.parametrize("plugin", PLUGINS)
def test_registries_know_what_is_ours_when_basicsr_was_imported_before(plugin: str) -> None:
    run_python(f"{OLD_TORCHVISION}\nimport basicsr\n{plugin}\n{REGISTERED}")


@pytest.mark.parametrize("module", ["data.paired", "data.clean", "inference.evaluation", "training.sampler"])
def test_any_module_may_be_imported_first(module: str) -> None:
    """As a spawned worker does that unpickles a data set."""
    run_python(f"import ramit_model.{module}, ramit_model\nramit_model.register()\n{REGISTERED}")


def test_networks_are_imported_without_basicsr_and_torchvision() -> None:
    run_python("""
import sys
import ramit_arch
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"basicsr", "torchvision", "cv2", "scipy"}, loaded
""")


def test_networks_work_where_basicsr_is_not_installed() -> None:
    run_python(
        WITHOUT_BASICSR
        + """
import ramit_arch, torch
net = ramit_arch.RAMiT(scale=2, dim=16, depths=[1, 1, 1, 1], neck_groups=1)
assert net(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)
try:
    import ramit_model.training.restoration_model
except ModuleNotFoundError as error:
    assert error.name == "basicsr"
else:
    raise AssertionError("BasicSR was found")
"""
    )


def _source(target: str) -> str:
    """Source of BasicSR's own object, whether it is replaced here or not."""
    return inspect.getsource(basicsr_bridge.original(target))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _provider() -> str:
    """Distribution that the installed files come from; if both are installed, the later one has overwritten them."""
    importlib.import_module("basicsr")
    degradations = inspect.getsource(sys.modules["basicsr.data.degradations"])
    return "basicsr" if "functional_tensor" in degradations else "my-basicsr"


def test_the_code_that_we_use_and_replace_is_the_code_that_we_know() -> None:
    """A new BasicSR may have fixed something itself, or may expect something else of a replacement."""
    known = recorded("basicsr_sources")[_provider()]
    targets = {change.target for change in basicsr_bridge.CHANGES if change.when != "before"}
    found = {
        "functions": {target: _digest(_source(target)) for target in targets},
        # Python reads line ends as "\n", which the two distributions write differently.
        "modules": {
            name: _digest(Path(importlib.import_module(name).__file__).read_text(encoding="utf-8"))
            for name in known["modules"]
        },
    }
    for kind, digests in found.items():
        changed = [name for name, digest in digests.items() if known[kind].get(name) != digest]
        assert not changed, f"BasicSR has other code than {_provider()} 1.4.2 in {', '.join(changed)}: see CHANGES"
        assert known[kind].keys() == digests.keys()


def test_every_module_that_we_depend_on_is_recorded() -> None:
    ours = {change.target.partition(":")[0] for change in basicsr_bridge.CHANGES if change.when != "before"}
    ours |= set(basicsr_bridge.NAMES.values())
    for known in recorded("basicsr_sources").values():
        assert ours <= known["modules"].keys()


def test_distributions_differ_only_where_we_have_looked() -> None:
    """my-basicsr is BasicSR's repository two years after its last release: fixes, optimizers, `yaml_load`, comments."""
    one, other = recorded("basicsr_sources").values()
    different = {target for target, digest in one["functions"].items() if other["functions"][target] != digest}
    assert different == {"basicsr.train:parse_options", "basicsr.test:parse_options"}


def test_every_name_is_there() -> None:
    for name in basicsr_bridge.NAMES:
        assert getattr(basicsr_bridge, name) is not None
    with pytest.raises(AttributeError, match="SRModle"):
        _ = basicsr_bridge.SRModle


def test_every_change_says_why() -> None:
    for change in basicsr_bridge.CHANGES:
        assert change.why.endswith(".") and change.versions and ":" in change.target and ":" in change.by


def test_basicsr_alone() -> None:
    """Should this fail, BasicSR or torchvision has changed: see which changes are still needed."""
    done = subprocess.run([sys.executable, "-c", "import basicsr"], capture_output=True, text=True, check=False)
    if _provider() == "basicsr":
        assert "functional_tensor" in done.stderr or "torchvision::nms" in done.stderr
    else:
        assert done.returncode == 0 or "torchvision::nms" in done.stderr


def test_basicsr_imports_with_us() -> None:
    assert "ok" in run_python("import ramit_arch, basicsr, basicsr.train; print('ok')")


def test_installing_twice_changes_nothing() -> None:
    run_python("""
import ramit_arch, sys
from ramit_model import basicsr_bridge, basicsr_changes
import basicsr.train, basicsr.utils.options
from basicsr.models.base_model import BaseModel
def state():
    return (sys.modules["torchvision.transforms.functional_tensor"], basicsr.train.load_resume_state,
            basicsr.utils.options.init_dist, BaseModel.model_to_device)
before = state()
basicsr_bridge.install()
basicsr_bridge.register()
assert state() == before
""")


HEALTHY_TORCHVISION = """
try:
    import torchvision
except RuntimeError:
    print("torchvision's own operators do not load here")
    raise SystemExit
"""


def run_with_healthy_torchvision(code: str) -> None:
    if said := run_python(HEALTHY_TORCHVISION + code):
        pytest.skip(said.strip())


def test_functional_tensor_is_left_alone_where_it_exists() -> None:
    run_with_healthy_torchvision("""
import sys, types
import torchvision.transforms.functional as functional
own = types.ModuleType("torchvision.transforms.functional_tensor")
own.rgb_to_grayscale = functional.rgb_to_grayscale
sys.modules[own.__name__] = own
import ramit_arch, basicsr
assert sys.modules[own.__name__] is own
""")


def test_torchvision_without_its_operators() -> None:
    broken = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCHVISION_OPERATORS + "import torchvision"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "torchvision::nms" in broken.stderr
    run_python(WITHOUT_TORCHVISION_OPERATORS + "import ramit_arch, basicsr")


def test_torchvision_with_its_operators_is_left_alone() -> None:
    run_with_healthy_torchvision("""
import ramit_arch, basicsr, sys
assert sys.modules["torchvision"] is torchvision and not hasattr(torchvision, "_declared_operators")
""")


def test_with_a_gpu_the_cpu_changes_stay_away() -> None:
    run_python("""
import torch
torch.cuda.is_available = lambda: True
import ramit_arch, basicsr.utils.options
from basicsr.models.base_model import BaseModel
for function in (basicsr.utils.options.init_dist, BaseModel.model_to_device):
    assert function.__module__.startswith("basicsr."), function
""")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the CPU changes stay away where there is a GPU")
def test_without_a_gpu_all_three_are_rebound() -> None:
    run_python("""
import ramit_arch, basicsr.train, basicsr.utils.options
from basicsr.models.base_model import BaseModel
for function in (basicsr.train.load_resume_state, basicsr.utils.options.init_dist, BaseModel.model_to_device):
    assert function.__module__ == "ramit_model.basicsr_changes", function
""")


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: (p.mkdir(), (p / "__init__.py").touch())])
def test_a_folder_called_basicsr_is_named(tmp_path: Path, make) -> None:
    make(tmp_path / "basicsr")
    # A folder without __init__.py loses against the installed package: nothing to complain about then.
    code = """
import sys
sys.path.insert(0, "")
import ramit_arch
try:
    import basicsr
except ImportError as error:
    print(error)
else:
    assert basicsr.__version__
    print("healthy")
"""
    said = run_python(code, cwd=tmp_path)
    if (tmp_path / "basicsr" / "__init__.py").exists():
        assert "is not the BasicSR package" in said
        assert str(tmp_path) in said
    else:
        assert said.strip() == "healthy"


def test_a_folder_called_basicsr_is_named_where_basicsr_is_not_installed(tmp_path: Path) -> None:
    """Python would import a folder without `__init__.py`, and the first name asked of it would be missing."""
    (tmp_path / "basicsr").mkdir()
    said = run_python(
        """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_in_folder_only(name, path=None, target=None):
    return find(name, [""] if name == "basicsr" else path, target)
PathFinder.find_spec = find_in_folder_only
import ramit_arch, ramit_model
for attempt in (lambda: __import__("basicsr"), ramit_model.register):
    try:
        attempt()
    except ImportError as error:
        assert error.name == "basicsr", error
        print(error)
    else:
        raise AssertionError("imported")
""",
        cwd=tmp_path,
    )
    assert said.count("is not the BasicSR package") == 2 and str(tmp_path / "basicsr") in said


def test_a_basicsr_without_its_files_is_named(tmp_path: Path) -> None:
    """As pip leaves one of two distributions that own the folder when it has removed the other."""
    (tmp_path / "basicsr" / "archs").mkdir(parents=True)
    (tmp_path / "my_basicsr-1.4.2.dist-info").mkdir()
    (tmp_path / "my_basicsr-1.4.2.dist-info" / "METADATA").write_text("Name: my-basicsr\nVersion: 1.4.2\n")
    said = run_python(f"""
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_in_folder_only(name, path=None, target=None):
    return find(name, [{str(tmp_path)!r}] if name == "basicsr" else path, target)
PathFinder.find_spec = find_in_folder_only
sys.path.insert(0, {str(tmp_path)!r})
import ramit_model
try:
    ramit_model.register()
except ImportError as error:
    print(error)
""")
    assert said.strip().endswith("pip install --force-reinstall --no-deps my-basicsr==1.4.2")
    assert len(said.strip().splitlines()) == 1 and "parts of BasicSR are missing" in said


@pytest.mark.parametrize("workers", [0, 2])
def test_one_lmdb_serves_several_data_sets(pairs: Path, workers: int) -> None:
    run_python(f"""
import ramit_arch, torch
from basicsr.data.single_image_dataset import SingleImageDataset
def dataset():
    return SingleImageDataset({{"dataroot_lq": {str(pairs / "HR.lmdb")!r}, "io_backend": {{"type": "lmdb"}}}})
first = dataset()
first[0]
for other in (dataset(), first):
    items = list(torch.utils.data.DataLoader(other, num_workers={workers}))
    assert len(items) == 9 and items[0]["lq"].shape == (1, 3, 48, 48)
""")


def test_an_error_while_prefetching_is_not_waited_for() -> None:
    run_python("""
import ramit_arch
from basicsr.data.prefetch_dataloader import PrefetchDataLoader
assert [int(batch) for batch in PrefetchDataLoader(num_prefetch_queue=1, dataset=range(5))] == [0, 1, 2, 3, 4]
class Broken(list):
    def __getitem__(self, index):
        if index == 2:
            raise ValueError("unreadable")
        return 0
seen = []
try:
    for batch in PrefetchDataLoader(num_prefetch_queue=1, dataset=Broken(range(5))):
        seen.append(batch)
except ValueError as error:
    assert str(error) == "unreadable" and len(seen) == 2
else:
    raise AssertionError("no error")
""")


def test_spawned_workers_have_the_changes(tmp_path: Path) -> None:
    """BasicSR's own data set class comes out of its pickle in a worker that imported nothing of BasicSR before."""
    script = tmp_path / "script.py"
    script.write_text("""
import cv2, numpy, pathlib, torch
import ramit_arch
from basicsr.data.single_image_dataset import SingleImageDataset

if __name__ == "__main__":
    folder = pathlib.Path("images")
    folder.mkdir()
    cv2.imwrite("images/a.png", numpy.zeros((4, 5, 3), numpy.uint8))
    dataset = SingleImageDataset({"dataroot_lq": "images", "io_backend": {"type": "disk"}})
    loader = torch.utils.data.DataLoader(dataset, num_workers=1, multiprocessing_context="spawn")
    print([tuple(item["lq"].shape) for item in loader])
""")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "[(1, 3, 4, 5)]" in done.stdout, done.stderr


SLURM = """
import os
os.environ.update(SLURM_PROCID="0", SLURM_NTASKS="1", SLURM_NODELIST="node[1-4]", SLURM_LOCALID="0", {address})
from ramit_model.basicsr_changes import init_dist_on_cpu
init_dist_on_cpu("slurm", backend="nccl", port={port})
import torch.distributed as dist
assert dist.get_backend() == "gloo" and dist.get_world_size() == 1
print(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"])
"""


def free_port() -> int:
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_slurm_with_a_given_address() -> None:
    port = free_port()
    assert run_python(SLURM.format(address='MASTER_ADDR="127.0.0.1"', port=port)).split() == ["127.0.0.1", str(port)]


def test_slurm_asks_scontrol_for_the_first_host(tmp_path: Path) -> None:
    fake = tmp_path / "scontrol"
    fake.write_text('#!/bin/sh\n[ "$3" = "node[1-4]" ] && echo localhost && echo node2\n')
    fake.chmod(0o755)
    address = f'PATH="{tmp_path}:" + os.environ["PATH"]'
    assert run_python(SLURM.format(address=address, port=free_port())).startswith("localhost")


def test_unknown_launcher() -> None:
    with pytest.raises(ValueError, match="mpi"):
        init_dist_on_cpu("mpi")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_test_RAMiT_x2_1.log", "test_RAMiT_x2_1.log"),
        ("train_train_x2_1.log", "train_x2_1.log"),
        ("test_train_x2_1.log", "test_train_x2_1.log"),
        ("train_mine_1.log", "train_mine_1.log"),
    ],
)
def test_logs_name_the_verb_once(name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_log(logger_name: str, log_level: int, log_file: str) -> None:
        opened.append(log_file)
        raise InterruptedError

    monkeypatch.setattr(basicsr_changes, "_runs", [basicsr_changes.Run({}, "o.yml")])
    monkeypatch.setattr(basicsr_bridge, "get_root_logger", open_log, raising=False)
    with pytest.raises(InterruptedError):
        basicsr_changes.start_log(log_file=str(tmp_path / name))
    assert opened == [str(tmp_path / expected)]


def test_a_folder_may_be_put_aside_several_times_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from basicsr.utils.misc import mkdir_and_rename

    monkeypatch.setattr("time.strftime", lambda *_: "20240506_070809")
    for i in range(4):
        mkdir_and_rename(str(tmp_path / "run"))
        (tmp_path / "run" / "file").write_text(str(i))
    archived = "run_archived_20240506_070809"
    names = ["run", archived, f"{archived}_2", f"{archived}_3"]
    assert {path.name: (path / "file").read_text() for path in tmp_path.iterdir()} == dict(
        zip(names, "3012", strict=True)
    )


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-16", "given.yml"), ("utf-8-sig", "given.yml"), ("utf-8", "kept/it.yml")]
)
def test_the_option_file_is_kept_in_utf_8(
    encoding: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the copy of an earlier run, which a training may be given."""
    (tmp_path / "kept").mkdir()
    path = tmp_path / name
    path.write_text("name: 写真\n", encoding=encoding)
    monkeypatch.setattr(basicsr_changes, "_runs", [basicsr_changes.Run({"rank": 0}, str(path))])
    basicsr_changes.copy_option_file(str(path), str(tmp_path / "kept"))
    kept = (tmp_path / "kept" / path.name).read_bytes().decode()
    assert kept.startswith("# GENERATE TIME: ")
    assert kept.endswith("\n\nname: 写真\n")
    basicsr_changes._runs[0].options["rank"] = 1
    path.unlink()  # only the first process reads it
    basicsr_changes.copy_option_file(str(path), str(tmp_path / "kept"))
