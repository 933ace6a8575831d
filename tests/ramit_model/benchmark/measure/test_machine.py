"""What is said of the machine, on this one and on pretended others."""

import importlib.metadata
import json
import os
import platform
import sys
import types
from pathlib import Path

import pytest
import torch

from ramit_model.benchmark.measure import machine as described
from ramit_model.benchmark.measure.machine import machine, versions


def test_describes_this_machine() -> None:
    facts = machine()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["threads"] == torch.get_num_threads()
    assert 1 <= facts["cores"] <= os.cpu_count()
    assert facts["cpu"]
    assert facts["cpu_capability"]
    assert (facts["gpu"] is None) == (not torch.cuda.is_available())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Fast CPU @ 2.00GHz\n\nmodel name\t: other\n",
            "Fast CPU @ 2.00GHz",
        ),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", "arm"),
        (None, "arm"),
    ],
)
def test_cpu_model(content: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cpuinfo"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(described, "CPU_INFO", path)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert machine()["cpu"] == expected


def test_nothing_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "CPU_INFO", tmp_path / "missing")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "")
    monkeypatch.delattr(os, "sysconf")
    facts = machine()
    assert (facts["cpu"], facts["memory_gb"]) == ("unknown", None)


@pytest.mark.parametrize(("cuda", "hip", "expected"), [("12.8", None, "12.8"), (None, "6.3", "6.3")])
def test_gpu(cuda: str | None, hip: str | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = types.SimpleNamespace(name="Fast GPU", total_memory=24_000_000_000)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    facts = machine()
    assert (facts["gpu"], facts["gpu_memory_gb"], facts["cuda"]) == ("Fast GPU", 24.0, expected)


def test_versions() -> None:
    found = versions()
    assert next(iter(found)) == "python"
    assert found["python"] == sys.version.split()[0]
    assert found["torch"] == importlib.metadata.version("torch")
    assert "opencv-python" in found


def test_versions_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"basicsr": "1.4.2", "opencv-python-headless": "4.9.0", "numpy": "2.0.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(described, "version", version)
    expected = {"python": platform.python_version(), "basicsr": "1.4.2", "numpy": "2.0.0", "opencv-python": "4.9.0"}
    assert versions() == expected
