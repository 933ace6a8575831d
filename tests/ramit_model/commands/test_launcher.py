"""Arguments of the launcher; test_training.py starts processes by it."""

import pytest

from ramit_model.commands import launcher
from ramit_model.system.errors import InputError


def test_launcher_arguments_are_torchruns() -> None:
    launcher.check_launcher_arguments([])
    launcher.check_launcher_arguments(["--nnodes", "2", "--node-rank=1", "--rdzv-endpoint", "host:29400"])
    for wrong in (["--nodes", "2"], ["--nnodes"], ["more"]):
        with pytest.raises(InputError, match="--help"):
            launcher.check_launcher_arguments(wrong)
