"""Fixtures that several tests share."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import photograph
from hypothesis import settings

from datasets_prep.lmdb_writer import write_pairs

# A machine that is busy with a training is slow at times: that is no failure.
settings.register_profile("patient", settings(deadline=None))
settings.load_profile("patient")


FAST = {
    *("bicubic", "estimate", "families", "image_files", "journal", "listing", "lmdb_writer", "manifest"),
    *("sources", "stores", "files", "doctests", "readme", "recipes", "layout"),
    *("mobivari", "gather", "degradation", "patches", "padding", "tiling", "evaluation"),
    *("photo_listing", "photo_sets", "decoded"),
    *("options", "reference", "trials", "plan", "published", "statistics", "measurements"),
    *("jobs", "pipeline", "reading", "writing", "pairing", "own_images", "headers", "paths"),
    *("long_format", "page", "renderings", "tables", "schedule", "progress", "validation_history", "checkpoint"),
}
"""Names of the files (`test_NAME.py`) whose tests are fast: pure functions, texts, small files, no processes."""

SLOW_FIXTURES = frozenset({"assets"})
"""Real weights and images: a test that asks for one of these is not fast."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the fast tests."""
    for item in items:
        if item.path.stem.removeprefix("test_") in FAST and not SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.fast)


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of published weights and real images, which the environment variable RAMIT_ASSETS names."""
    folder = os.environ.get("RAMIT_ASSETS")
    if not folder:
        pytest.skip("RAMIT_ASSETS names no folder with weights/ and images/")
    return Path(folder)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with HR.lmdb and LR_bicubic_X2.lmdb: nine pictures, one of an odd size."""
    folder = tmp_path_factory.mktemp("pairs")
    sizes = [(48, 48)] * 7 + [(50, 66), (40, 64)]
    write_pairs(((f"p{i}", photograph(*size, seed=i)) for i, size in enumerate(sizes)), folder, scale=2)
    return folder


@pytest.fixture
def write_options(tmp_path: Path) -> Callable[..., Path]:
    """Write options as a YAML file into the test's folder."""

    def write(options: dict[str, Any], name: str = "options.yml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(options, sort_keys=False))
        return path

    return write


@pytest.fixture
def log() -> Iterator[list[logging.LogRecord]]:
    """What BasicSR's logger is given, from INFO up; it hands nothing on once BasicSR has made it, nor always before."""
    records: list[logging.LogRecord] = []
    handler, logger = logging.Handler(), logging.getLogger("basicsr")
    handler.emit = records.append  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """On small tensors, threads wait for each other more than they help."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
