"""Going on from a checkpoint: the newest that is whole, and the random number generators as they were."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ramit_model.system.errors import InputError
from ramit_model.training import resume
from ramit_model.training.checkpoint import save_atomically
from ramit_model.training.resume import load_resume_state, random_states, restore_random_states

# Random number generators ---------------------------------------------------------------------------------------------


def numbers() -> list[float]:
    """A few of each kind; the normal ones come in pairs, of which the generators keep the second."""
    return [
        *(random.random() for _ in range(3)),
        random.gauss(0, 1),
        *np.random.rand(3),
        np.random.randn(),
        *torch.rand(3).tolist(),
        *torch.randn(20).tolist(),
    ]


@pytest.mark.parametrize("kept", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("drawn", [0, 700], ids=["fresh", "used"])
def test_generators_go_on_after_a_round_trip(tmp_path: Path, drawn: int, kept: bool) -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    for _ in range(drawn):
        numbers()
    if kept:  # one normal number: the second of its pair waits
        random.gauss(0, 1)
        np.random.randn()
    torch.save({"generators": [random_states()]}, tmp_path / "4.state")
    expected = numbers()
    assert numbers() != expected
    restore_random_states(torch.load(tmp_path / "4.state", weights_only=True)["generators"][0])
    assert numbers() == expected


def test_asking_for_the_states_changes_nothing() -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    expected = numbers()
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    random_states()
    assert numbers() == expected


def test_states_do_not_change_with_the_generators(tmp_path: Path) -> None:
    torch.manual_seed(0)
    states = random_states()
    expected = numbers()
    numbers()
    restore_random_states(states)
    assert numbers() == expected


# Checkpoints ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """experiments/tiny with whole checkpoints of iterations 4, 8 and 12, and the network of the last iteration."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments/tiny"
    for name in ("models", "training_states"):
        (folder / name).mkdir(parents=True)
    for iteration in (4, 8, 12):
        state = {"epoch": 3, "iter": iteration, "optimizers": [{"step": torch.rand(50)}], "schedulers": []}
        save_atomically(state, folder / f"training_states/{iteration}.state")
        save_atomically({"params": {"weight": torch.rand(50)}}, folder / f"models/net_g_{iteration}.pth")
    save_atomically({"params": {"weight": torch.rand(50)}}, folder / "models/net_g_latest.pth")
    return folder


def options(
    auto_resume: bool = True,
    rank: int = 0,
    kind: str = "PairedRestorationDataset",
    processes: int = 1,
    batch: int = 16,
    **path: Any,
) -> Any:
    """As they come from BasicSR's parser."""
    return {
        "name": "tiny",
        "auto_resume": auto_resume,
        "rank": rank,
        "world_size": processes,
        "train": {},
        "datasets": {"train": {"type": kind, "batch_size_per_gpu": batch}},
        "network_g": {"type": "RAMiT"},
        "path": {"models": "experiments/tiny/models", "pretrain_network_g": None, "resume_state": None, **path},
    }


def state_file(iteration: int) -> str:
    return str(Path(f"experiments/tiny/training_states/{iteration}.state"))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_the_newest_is_taken(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opt = options(param_key_g="params_ema")
    state = load_resume_state(opt)
    assert (state["iter"], opt["resume_iter"], opt["path"]["resume_state"]) == (12, 12, state_file(12))
    assert Path(opt["path"]["pretrain_network_g"]) == Path("experiments/tiny/models/net_g_12.pth")
    assert state["optimizers"][0]["step"].device.type == "cpu"
    assert capsys.readouterr().err == ""


def test_iterations_are_numbers(experiment: Path) -> None:
    """100 is newer than 12; what is called otherwise is no state of ours."""
    for folder, old, new in (("training_states", "8.state", "100.state"), ("models", "net_g_8.pth", "net_g_100.pth")):
        (experiment / folder / old).rename(experiment / folder / new)
    (experiment / "training_states/best.state").write_bytes(b"")
    opt = options()
    load_resume_state(opt)
    assert opt["path"]["resume_state"] == state_file(100)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty state": lambda folder: cut(folder / "training_states/12.state", 0),
    "three bytes of a state": lambda folder: cut(folder / "training_states/12.state", 3),
    "ten bytes of a state": lambda folder: cut(folder / "training_states/12.state", 10),
    "half a state": lambda folder: cut(folder / "training_states/12.state", 700),
    "all but a byte of a state": lambda folder: cut(folder / "training_states/12.state", -1),
    "text for a state": lambda folder: (folder / "training_states/12.state").write_bytes(b"no state"),
    "zeros for a state": lambda folder: (folder / "training_states/12.state").write_bytes(bytes(2000)),
    "weights for a state": lambda folder: torch.save({"params": {}}, folder / "training_states/12.state"),
    "a tensor for a state": lambda folder: torch.save(torch.rand(3), folder / "training_states/12.state"),
    "no network": lambda folder: (folder / "models/net_g_12.pth").unlink(),
    "empty network": lambda folder: cut(folder / "models/net_g_12.pth", 0),
    "half a network": lambda folder: cut(folder / "models/net_g_12.pth", 700),
    "all but a byte of a network": lambda folder: cut(folder / "models/net_g_12.pth", -1),
    "a state for a network": lambda folder: torch.save({"iter": 12}, folder / "models/net_g_12.pth"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(experiment: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    DAMAGES[damage](experiment)
    opt = options()
    state = load_resume_state(opt)
    assert (state["iter"], opt["resume_iter"], opt["path"]["resume_state"]) == (8, 8, state_file(8))
    assert Path(opt["path"]["pretrain_network_g"]).name == "net_g_8.pth"
    (said,) = capsys.readouterr().err.splitlines()
    file = "net_g_12.pth" if "network" in damage else "12.state"
    assert said.startswith("--auto_resume passes over 12.state: ")
    assert file in said.removeprefix("--auto_resume passes over 12.state: ")
    # Nothing is removed: someone may want to see it.
    assert (experiment / "training_states/12.state").exists()


@pytest.mark.parametrize("size", range(0, 1400, 50))
def test_a_state_that_ends_anywhere(experiment: Path, size: int) -> None:
    path = experiment / "training_states/12.state"
    assert path.stat().st_size > 1400
    cut(path, size)
    assert load_resume_state(options())["iter"] == 8


def test_two_damaged_checkpoints(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut(experiment / "training_states/12.state", 100)
    cut(experiment / "models/net_g_8.pth", 100)
    assert load_resume_state(options())["iter"] == 4
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == [f"--auto_resume passes over {i}.state" for i in (12, 8)]


def test_leftovers_of_a_killed_process_are_nothing(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (experiment / "training_states/.16.state.4711.tmp").write_bytes(b"half")
    (experiment / "models/.net_g_16.pth.4711.tmp").write_bytes(b"half")
    save_atomically({"params": {"weight": torch.rand(5)}}, experiment / "models/net_g_16.pth")
    assert load_resume_state(options())["iter"] == 12
    assert capsys.readouterr().err == ""


def test_none_is_whole(experiment: Path) -> None:
    for iteration in (4, 8, 12):
        cut(experiment / f"training_states/{iteration}.state", 100)
    with pytest.raises(InputError) as caught:
        load_resume_state(options())
    assert str(caught.value) == (
        "experiments/tiny: none of 3 checkpoints loads whole; remove or rename the folder to start over"
    )


def test_no_checkpoint_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    opt = options()
    assert load_resume_state(opt) is None
    assert "resume_iter" not in opt
    assert capsys.readouterr().err == ""
    (tmp_path / "experiments/tiny/training_states").mkdir(parents=True)
    assert load_resume_state(opt) is None
    assert opt["path"]["resume_state"] is None
    (said,) = capsys.readouterr().err.splitlines()
    assert "experiments/tiny" in said
    assert "starts over" in said


def test_checkpoints_of_another_name(experiment: Path) -> None:
    opt = options()
    opt["name"] = "other"
    assert load_resume_state(opt) is None


# A state that the options name ----------------------------------------------------------------------------------------


def test_a_named_state(experiment: Path) -> None:
    opt = options(False, resume_state=state_file(4))
    assert load_resume_state(opt)["iter"] == opt["resume_iter"] == 4
    assert Path(opt["path"]["pretrain_network_g"]).name == "net_g_4.pth"


@pytest.mark.parametrize("place", ["../models", "."])
def test_another_run_goes_on_with_the_weights_beside_the_state(experiment: Path, place: str) -> None:
    state = experiment / "training_states/4.state"
    weights = (state.parent / place / "net_g_4.pth").resolve()
    (experiment / "models/net_g_4.pth").replace(weights)
    opt = options(False, resume_state=str(state), models="experiments/new/models")
    assert load_resume_state(opt)["iter"] == 4
    assert Path(opt["path"]["pretrain_network_g"]).resolve() == weights
    assert Path("experiments/new/models").is_dir()


def test_no_state_named(experiment: Path) -> None:
    opt = options(False)
    assert load_resume_state(opt) is None
    assert opt["path"]["pretrain_network_g"] is None


def test_auto_resume_goes_before_a_named_state(experiment: Path) -> None:
    opt = options(True, resume_state=state_file(4))
    assert load_resume_state(opt)["iter"] == 12


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("models/net_g_8.pth", None, "not a training state; name a .state file"),
        ("training_states/8.state", b"no state", "no checkpoint of plain tensors"),
        ("training_states/9.state", None, "no such file"),
    ],
    ids=["weights", "text", "missing"],
)
def test_a_named_state_that_is_none(experiment: Path, file: str, content: bytes | None, reason: str) -> None:
    """It is not another that is taken."""
    if content is not None:
        (experiment / file).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_resume_state(options(False, resume_state=str(experiment / file)))
    message = str(caught.value)
    assert message.startswith(f"{experiment / file}: ")
    assert reason in message
    assert "\n" not in message


def test_a_list_for_a_state(experiment: Path) -> None:
    torch.save([1, 2], experiment / "training_states/8.state")
    with pytest.raises(InputError, match=r"not a training state; name a \.state file"):
        load_resume_state(options(False, resume_state=state_file(8)))


@pytest.mark.parametrize(
    ("kind", "epoch"), [("PairedRestorationDataset", 0), ("CleanImageDataset", 0), ("PairedImageDataset", 3)]
)
@pytest.mark.parametrize("auto_resume", [True, False])
def test_epochs(experiment: Path, kind: str, epoch: int, auto_resume: bool) -> None:
    """The whole run is one epoch to our loader; BasicSR's goes on with the one that it had reached."""
    state = load_resume_state(options(auto_resume, kind=kind, resume_state=state_file(12)))
    assert (state["epoch"], state["iter"]) == (epoch, 12)


def test_the_first_process_chooses(
    experiment: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine may see files of another late: what it sees itself does not count, and it says nothing."""
    cut(experiment / "training_states/12.state", 100)
    monkeypatch.setattr(resume, "gather", lambda _: [state_file(8), None])
    opt = options(rank=1, processes=2)
    assert load_resume_state(opt)["iter"] == 8
    assert opt["path"]["resume_state"] == state_file(8)
    assert capsys.readouterr().err == ""


def test_a_checkpoint_on_another_machine_alone(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "gather", lambda _: [state_file(16), None])
    with pytest.raises(InputError, match=r"16\.state: is on the machine of the first process, but not on .*share"):
        load_resume_state(options(rank=1, processes=2))


# The batch ------------------------------------------------------------------------------------------------------------


def batches(processes: int, batch: int, before: dict[str, int] | None, **train: Any) -> tuple[int, Any]:
    """Patches of each process and what the next checkpoint notes, going on from a checkpoint that notes `before`."""
    state = {"epoch": 3, "iter": 12, "optimizers": [], "schedulers": [], "batch": before}
    save_atomically(state, state_file(12))
    opt = options(processes=processes, batch=batch)
    opt["train"] = train
    load_resume_state(opt)
    return opt["datasets"]["train"]["batch_size_per_gpu"], opt.get("batch")


def test_the_batch_stays_with_other_processes(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batches(4, 16, None) == (16, {"each": 16, "all": 64})  # a checkpoint that does not say
    assert batches(4, 16, {"each": 16, "all": 64}) == (16, {"each": 16, "all": 64})
    assert capsys.readouterr().err == ""
    noted = {"each": 16, "all": 64}
    for processes, each in ((2, 32), (1, 64), (8, 8), (4, 16)):  # one after another
        each_now, noted = batches(processes, 16, noted)
        assert (each_now, noted) == (each, {"each": 16, "all": 64})
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "processes: 2 instead of 4; 32 patches each, so that an iteration has 64 as before"
    assert len(said) == 3
    # Whoever changes the option means it; in stages, the batch is that of all processes anyway.
    assert batches(2, 8, {"each": 16, "all": 64}) == (8, {"each": 8, "all": 16})
    assert batches(2, 16, {"each": 16, "all": 64}, progressive={"iters": [9]}) == (16, None)


@pytest.mark.parametrize(("processes", "train"), [(3, {}), (2, {"accumulate": 3})])
def test_a_batch_that_cannot_be_shared_out(experiment: Path, processes: int, train: dict[str, int]) -> None:
    with pytest.raises(InputError, match=f"a batch of 64, as before, .* over {processes} processes"):
        batches(processes, 16, {"each": 16, "all": 64}, **train)
