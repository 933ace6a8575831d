"""Memory at hand: the system's, and what control groups of both versions leave; unreadable files mean nothing."""

import sys
from pathlib import Path

import pytest

from ramit_model.system.memory_at_hand import control_group_limits, memory_at_hand

GIB = 1024**3
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    return root


MEMINFO = {"proc/meminfo": f"MemTotal: {64 * 1024**2} kB\nMemAvailable: {16 * 1024**2} kB\n"}
V2 = {
    "proc/self/cgroup": "0::/user/job\n",
    "sys/fs/cgroup/user/job/memory.max": "max\n",
    "sys/fs/cgroup/user/job/memory.current": f"{GIB}\n",
    "sys/fs/cgroup/user/memory.max": f"{4 * GIB}\n",
    "sys/fs/cgroup/user/memory.current": f"{3 * GIB}\n",
    "sys/fs/cgroup/user/memory.stat": f"anon {GIB}\ninactive_file {GIB // 2}\n",
}
V2_CONTAINER = {
    "proc/self/cgroup": "0::/docker/0123\n",
    "sys/fs/cgroup/memory.max": f"{6 * GIB}\n",
    "sys/fs/cgroup/memory.current": f"{GIB}\n",
}
V1 = {
    "proc/self/cgroup": "12:cpu,cpuacct:/job\n7:memory:/job\n",
    "sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{2 * GIB}\n",
    "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{GIB}\n",
    "sys/fs/cgroup/memory/job/memory.stat": f"total_inactive_file {GIB // 4}\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
}


@pytest.mark.parametrize(
    ("contents", "limits"),
    [
        (V2, [GIB + GIB // 2]),
        (V2_CONTAINER, [5 * GIB]),
        (V1, [GIB + GIB // 4]),
        ({"proc/self/cgroup": "0::/\n"}, []),
        ({"proc/self/cgroup": "garbage:\n"}, []),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "no number\n"}, []),
        ({}, []),
    ],
    ids=["v2, parent", "v2, container", "v1", "none", "garbage", "no number", "no files"],
)
def test_control_groups(tmp_path: Path, contents: dict[str, str], limits: list[int]) -> None:
    assert control_group_limits(files(tmp_path, contents)) == limits


@LINUX
@pytest.mark.parametrize(
    ("contents", "available"),
    [(MEMINFO, 16 * GIB), ({**MEMINFO, **V2_CONTAINER}, 5 * GIB), ({**MEMINFO, **V1}, GIB + GIB // 4)],
    ids=["system", "v2", "v1"],
)
def test_the_least_counts(tmp_path: Path, contents: dict[str, str], available: int) -> None:
    # Beyond it, what this process has freed and keeps.
    assert available <= memory_at_hand(files(tmp_path, contents)) <= available + 4 * GIB


def test_of_this_machine() -> None:
    assert 2**20 < memory_at_hand() < 2**50
