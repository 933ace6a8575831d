"""Memory: real errors of real allocators, and what a process holds."""

import sys

import cv2
import numpy as np
import pytest
import torch
from helpers import run_python

from ramit_model.system.memory import is_out_of_memory, resident, resident_peak

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and seen on Linux")


def test_errors_by_their_type() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("no"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(MemoryError) as caught:
        np.zeros(2**60, np.uint8)
    assert type(caught.value) is not MemoryError
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("message", ["CUDA error: out of memory", "HIP out of memory. Tried to allocate 2.00 GiB"])
def test_errors_by_their_text(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the patch is too large"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
        FileNotFoundError(2, "No such file or directory", "memory.pth"),
        cv2.error("(-215:Assertion failed) !_src.empty() in function 'cvtColor'"),
        KeyboardInterrupt(),
        RuntimeError(),
    ],
)
def test_other_errors(error: BaseException) -> None:
    assert not is_out_of_memory(error)


ALLOCATIONS = """
import cv2, numpy as np, resource, torch
from ramit_model.system.memory import is_out_of_memory

picture = np.zeros((100, 100, 3), np.uint8)
network = torch.nn.Conv2d(1, 64, 3)
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize:")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
for allocate in (
    lambda: torch.empty(2**32),
    lambda: torch.zeros(4, 2**28).sum(),
    lambda: network(torch.zeros(1, 1, 4000, 4000)),
    lambda: np.ones(2**33),
    lambda: cv2.resize(picture, (30000, 30000)),
    lambda: bytes(2**33),
):
    try:
        allocate()
        print("enough")
    except Exception as error:
        print(is_out_of_memory(error), type(error).__name__, str(error).splitlines()[:1])
"""


@LINUX
def test_real_allocations_that_fail() -> None:
    said = run_python(ALLOCATIONS).splitlines()
    assert len(said) == 6
    assert [line for line in said if not line.startswith("True ")] == []


PEAK = """
import torch
from ramit_model.system.memory import resident, resident_peak

def state():
    now, peak = resident(), resident_peak()
    assert peak > now - 2**20  # the kernel counts in batches
    return now, peak

before = state()
tensor = torch.ones(200_000_000, dtype=torch.uint8)
during = state()
del tensor
print(*before, *during, *state())
"""


@LINUX
def test_what_a_process_holds() -> None:
    before, peak_before, during, peak_during, after, peak_after = map(int, run_python(PEAK).split())
    assert before > 10e6
    assert 195e6 < during - before < 215e6
    assert 195e6 < peak_during - before < 215e6 + peak_before - before
    # Given back, but not forgotten.
    assert after < during - 195e6
    assert abs(peak_after - peak_during) < 2**20


@LINUX
def test_this_process_holds_something() -> None:
    assert resident_peak() + 2**20 > resident() > 10e6


def test_systems_that_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert (resident(), resident_peak()) == (0, 0)
