"""Each mend of BasicSR, in a fresh process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import run_python

WITHOUT_TORCHVISION_OPERATORS = """
import torch
load = torch.ops.load_library
def refuse(path):
    raise OSError("built for another torch")
torch.ops.load_library = refuse
"""


def test_basicsr_alone_does_not_import_here() -> None:
    """Should this fail, BasicSR or torchvision has changed: see which mends are still needed."""
    done = subprocess.run([sys.executable, "-c", "import basicsr"], capture_output=True, text=True, check=False)
    assert "functional_tensor" in done.stderr or "torchvision::nms" in done.stderr


def test_import_mends_basicsr() -> None:
    assert "ok" in run_python("import ramit_arch, basicsr, basicsr.train; print('ok')")


def test_mending_twice_changes_nothing() -> None:
    run_python("""
import ramit_arch, sys
from ramit_arch import compat
import basicsr.train, basicsr.utils.options
from basicsr.models.base_model import BaseModel
def state():
    return (sys.modules["torchvision.transforms.functional_tensor"], basicsr.train.load_resume_state,
            basicsr.utils.options.init_dist, BaseModel.model_to_device)
before = state()
compat.mend()
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
import ramit_arch
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
import ramit_arch, sys
assert sys.modules["torchvision"] is torchvision and not hasattr(torchvision, "_declared_operators")
""")


def test_with_a_gpu_nothing_is_rebound() -> None:
    run_python("""
import torch
torch.cuda.is_available = lambda: True
import ramit_arch, basicsr.train, basicsr.utils.options
from basicsr.models.base_model import BaseModel
for function in (basicsr.train.load_resume_state, basicsr.utils.options.init_dist, BaseModel.model_to_device):
    assert function.__module__.startswith("basicsr."), function
""")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the CPU mends stay away where there is a GPU")
def test_without_a_gpu_all_three_are_rebound() -> None:
    run_python("""
import ramit_arch, basicsr.train, basicsr.utils.options
from basicsr.models.base_model import BaseModel
for function in (basicsr.train.load_resume_state, basicsr.utils.options.init_dist, BaseModel.model_to_device):
    assert function.__module__ == "ramit_arch.compat", function
""")


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: (p.mkdir(), (p / "__init__.py").touch())])
def test_a_folder_called_basicsr_is_named(tmp_path: Path, make) -> None:
    make(tmp_path / "basicsr")
    # A folder without __init__.py loses against the installed package: nothing to complain about then.
    code = """
import sys
sys.path.insert(0, "")
try:
    import ramit_arch
except ImportError as error:
    print(error)
else:
    import basicsr
    assert basicsr.__version__
    print("healthy")
"""
    said = run_python(code, cwd=tmp_path)
    if (tmp_path / "basicsr" / "__init__.py").exists():
        assert "is not the BasicSR package" in said
        assert str(tmp_path) in said
    else:
        assert said.strip() == "healthy"


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


def test_spawned_workers_are_mended(tmp_path: Path) -> None:
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
from ramit_arch import compat
compat.init_dist_on_cpu("slurm", backend="nccl", port={port})
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
    from ramit_arch import compat

    with pytest.raises(ValueError, match="mpi"):
        compat.init_dist_on_cpu("mpi")
