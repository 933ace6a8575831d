"""RestorationModel: padding, modes, loading, validation, checkpoints."""

import csv
import logging
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.metrics import calculate_psnr
from basicsr.models.sr_model import SRModel
from basicsr.utils import tensor2img
from helpers import TINY, testing_options, training_options
from torch.utils._python_dispatch import TorchDispatchMode
from trainers import batch, model, parameters, resumed_model, train, training_model

from ramit_arch import RAMiT
from ramit_model.data.paired import PairedRestorationDataset
from ramit_model.data.single import SingleRestorationDataset
from ramit_model.inference.opened import open_network
from ramit_model.inference.padding import pad_symmetric
from ramit_model.inference.weights import read_weight_file
from ramit_model.system.errors import InputError
from ramit_model.training.expectation import Expected
from ramit_model.training.image_losses import SSIMLoss
from ramit_model.training.restoration_model import RestorationModel


def tiny_network() -> RAMiT:
    return RAMiT(**{key: value for key, value in TINY.items() if key != "type"})


@pytest.fixture
def trainer(pairs: Path, tmp_path: Path) -> RestorationModel:
    return model(training_options(pairs), tmp_path, is_train=True)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (24, 33), (64, 32)])
def test_test_pads_symmetrically_and_crops(trainer: RestorationModel, size: tuple[int, int]) -> None:
    x = torch.rand(1, 3, *size)
    trainer.feed_data({"lq": x})
    trainer.test()
    assert trainer.output.shape == (1, 3, size[0] * 2, size[1] * 2)
    with torch.no_grad():
        whole = trainer.net_g.eval()(pad_symmetric(x, 32))
    torch.testing.assert_close(trainer.output, whole[..., : size[0] * 2, : size[1] * 2])


@pytest.mark.parametrize("known", [True, False])
def test_what_is_expected_is_said_at_the_start(
    known: bool, pairs: Path, tmp_path: Path, log: list[logging.LogRecord]
) -> None:
    rows = [Expected(8, "pairs", "psnr", 27.4, 0.2)] if known else []
    model(training_options(pairs, expected=rows), tmp_path, is_train=True)
    lines = [record.getMessage() for record in log]
    assert ("expected at 8 iterations: psnr 27.40 ± 0.20" in lines) == known


def tested(pairs: Path, root: Path, lq: torch.Tensor, tile: Any) -> torch.Tensor:
    options = testing_options(pairs)
    options["val"]["tile"] = tile
    torch.manual_seed(0)
    return model(options, root, is_train=False).restore(lq)


def test_tiles(pairs: Path, tmp_path: Path) -> None:
    lq = torch.rand(1, 3, 150, 200, generator=torch.Generator().manual_seed(0))
    whole = tested(pairs, tmp_path, lq, None)
    assert torch.equal(tested(pairs, tmp_path, lq, "auto"), whole)
    in_tiles = tested(pairs, tmp_path, lq, 128)
    assert not torch.equal(in_tiles, whole)
    assert (in_tiles - whole).square().mean() < 1e-6


def test_a_whole_image_without_memory_is_refused(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and an error of memory for those who can go on in tiles."""
    lq = torch.zeros(1, 3, 600, 800)
    monkeypatch.setattr("ramit_model.inference.memory_model.memory_at_hand", lambda: 10**8)
    with pytest.raises(
        InputError, match=r"val\.tile: ~: 800x600 pixels need about 0\.\d GB .* 0\.1 GB .* auto"
    ) as error:
        tested(pairs, tmp_path, lq, None)
    assert isinstance(error.value, MemoryError)
    assert tested(pairs, tmp_path, lq, "auto").shape == (1, 3, 1200, 1600)


def test_running_out_of_memory_is_one_line(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(RAMiT, "forward", forward)
    with pytest.raises(InputError, match=r"val\.tile: ~: no memory for 40x30 pixels; write auto"):
        tested(pairs, tmp_path, torch.zeros(1, 3, 30, 40), None)


@pytest.mark.parametrize("training", [True, False])
def test_test_leaves_the_mode_as_it_was(trainer: RestorationModel, training: bool) -> None:
    trainer.net_g.train(training)
    trainer.feed_data({"lq": torch.rand(1, 3, 8, 8)})
    trainer.test()
    assert trainer.net_g.training is training
    assert not trainer.output.requires_grad


def test_a_network_without_size_unit_is_not_padded(pairs: Path, tmp_path: Path) -> None:
    options = training_options(pairs)
    options["network_g"] = {"type": "MSRResNet", "num_feat": 4, "num_block": 1, "upscale": 2}
    trainer = model(options, tmp_path, is_train=True)
    x = torch.rand(1, 3, 9, 7)
    trainer.feed_data({"lq": x})
    trainer.test()
    with torch.no_grad():
        torch.testing.assert_close(trainer.output, trainer.net_g(x))


def test_swinir_is_padded_to_whole_windows(pairs: Path, tmp_path: Path) -> None:
    options = training_options(pairs)
    windows = {"img_size": 16, "window_size": 8, "depths": [2], "embed_dim": 8, "num_heads": [2], "mlp_ratio": 2}
    options["network_g"] = {"type": "SwinIR", "upscale": 2, **windows, "upsampler": "pixelshuffledirect"}
    trainer = model(options, tmp_path, is_train=True)
    x = torch.rand(1, 3, 9, 7)
    trainer.feed_data({"lq": x})
    trainer.test()
    with torch.no_grad():
        whole = trainer.net_g.eval()(pad_symmetric(x, 8))
    torch.testing.assert_close(trainer.output, whole[..., :18, :14])


@pytest.mark.parametrize("ema_decay", [0, 0.9])
@pytest.mark.parametrize("bare", [True, False])
def test_loads_published_and_basicsr_files(pairs: Path, tmp_path: Path, bare: bool, ema_decay: float) -> None:
    torch.manual_seed(1)
    weights = tiny_network().state_dict()
    torch.save(weights if bare else {"params": weights}, tmp_path / "w.pth")
    options = training_options(pairs)
    options["path"]["pretrain_network_g"] = str(tmp_path / "w.pth")
    options["train"]["ema_decay"] = ema_decay
    trainer = model(options, tmp_path, is_train=True)
    for net in (trainer.net_g, trainer.net_g_ema) if ema_decay else (trainer.net_g,):
        torch.testing.assert_close(dict(net.state_dict()), dict(weights))


def test_strict_and_lenient_loading(pairs: Path, tmp_path: Path) -> None:
    weights = tiny_network().state_dict()
    weights["to_target.conv.weight"] = torch.zeros(48, 16, 3, 3)
    torch.save(weights, tmp_path / "w.pth")
    options = training_options(pairs)
    options["path"]["pretrain_network_g"] = str(tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"to_target\.conv\.weight is 48x16x3x3 in the file"):
        model(options, tmp_path, is_train=True)
    options["path"]["strict_load_g"] = False
    loaded = model(options, tmp_path, is_train=True).net_g.state_dict()
    torch.testing.assert_close(loaded["shallow.conv.weight"], weights["shallow.conv.weight"])
    assert loaded["to_target.conv.weight"].shape == (12, 16, 3, 3)


def test_the_optimiser_has_the_rates_of_the_curriculum(trainer: RestorationModel) -> None:
    rates = []
    for iteration in range(1, 9):
        trainer.update_learning_rate(iteration)
        rates.append(trainer.get_current_learning_rate()[0])
    # Milestone 6 takes effect at iteration 7.
    assert rates == pytest.approx([0.0005, 0.001, 0.001, 0.001, 0.001, 0.001, 0.0005, 0.0005])


def test_a_step_is_plain_adam_on_the_l1_loss(trainer: RestorationModel) -> None:
    """Against torch's own optimiser, by hand."""
    net = tiny_network()
    net.load_state_dict(trainer.net_g.state_dict())
    adam = torch.optim.Adam(net.parameters(), lr=0.001, betas=(0.9, 0.99))
    for iteration in (2, 3, 4):
        data = batch(seed=iteration)
        loss = (net(data["lq"]) - data["gt"]).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    train(trainer, range(2, 5))
    torch.testing.assert_close(parameters(trainer), dict(net.named_parameters()), rtol=0, atol=0)


LOSSES = [
    {"type": "CharbonnierLoss"},
    {"type": "FFTLoss", "loss_weight": 0.05},
    {"type": "SSIMLoss", "loss_weight": 0.1},
    {"type": "FFTLoss", "loss_weight": 0.01, "name": "again"},
]


def test_the_sum_of_a_list_of_losses_is_back_propagated(pairs: Path, tmp_path: Path) -> None:
    trainer = training_model(pairs, tmp_path, pixel_opt=None, losses=LOSSES)
    net = tiny_network()
    net.load_state_dict(trainer.net_g.state_dict())
    data = batch(seed=2)
    output = net(data["lq"])
    distance = ((output - data["gt"]) ** 2 + 1e-12).sqrt().mean()
    frequencies = torch.view_as_real(torch.fft.rfft2(output - data["gt"], norm="ortho")).abs().mean()
    values = [distance, 0.05 * frequencies, SSIMLoss(0.1)(output, data["gt"]), 0.01 * frequencies]
    sum(values).backward()
    train(trainer, range(2, 3))
    gradients = [[parameter.grad for parameter in n.parameters()] for n in (trainer.net_g, net)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)
    names = ["l_charbonnier", "l_fft", "l_ssim", "l_again"]
    expected = {name: value.item() for name, value in zip(names, values, strict=True)}
    assert trainer.get_current_log() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "train_options",
    [
        {"amp": "bfloat16"},
        {"amp": "float16"},
        {"accumulate": 2},
        {"activation_checkpointing": True},
        {"ema_decay": 0.9},
    ],
    ids=str,
)
def test_a_list_of_losses_beside_other_options(pairs: Path, tmp_path: Path, train_options: dict[str, Any]) -> None:
    logs = []
    for options in ({}, train_options):
        trainer = training_model(pairs, tmp_path, pixel_opt=None, losses=LOSSES, **options)
        train(trainer, range(1, 4))
        logs.append(trainer.get_current_log())
    assert list(logs[0]) == ["l_charbonnier", "l_fft", "l_ssim", "l_again"]
    assert logs[1] == pytest.approx(logs[0], rel=0.02 if "amp" in train_options else 1e-4)


def test_gray_patches_and_a_list_of_losses(pairs: Path, tmp_path: Path) -> None:
    options = training_options(pairs)
    options |= {"scale": 1, "network_g": {**TINY, "scale": 1, "task": "GDN"}}
    options["train"] |= {"pixel_opt": None, "losses": LOSSES}
    trainer = model(options, tmp_path, is_train=True)
    trainer.feed_data({name: torch.rand(2, 1, 16, 16) for name in ("lq", "gt")})
    trainer.optimize_parameters(1)
    log = trainer.get_current_log()
    assert log["l_again"] == pytest.approx(log["l_fft"] / 5, rel=1e-5)
    assert all(parameter.grad is not None for parameter in trainer.net_g.parameters())


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_gives_the_gradients_of_the_whole(pairs: Path, tmp_path: Path, parts: int) -> None:
    gradients, losses = [], []
    for accumulate in (1, parts):
        trainer = training_model(pairs, tmp_path, accumulate=accumulate)
        train(trainer, range(1, 2))
        gradients.append({name: p.grad for name, p in trainer.net_g.named_parameters()})
        losses.append(trainer.get_current_log()["l_pix"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-7)


def test_gradients_are_clipped(pairs: Path, tmp_path: Path) -> None:
    norms = []
    for grad_clip in (None, 0.01):
        trainer = training_model(pairs, tmp_path, grad_clip=grad_clip)
        train(trainer, range(1, 2))
        norms.append(torch.nn.utils.get_total_norm([p.grad for p in trainer.net_g.parameters()]).item())
    assert norms[0] > 0.02
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_mixed_precision_stays_near_full_precision(pairs: Path, tmp_path: Path, amp: str) -> None:
    losses = []
    for kind in (None, amp):
        trainer = training_model(pairs, tmp_path, amp=kind)
        assert trainer.scaler.is_enabled() is (kind == "float16")
        train(trainer, range(1, 5))
        losses.append(trainer.get_current_log()["l_pix"])
        assert all(p.dtype is torch.float32 and p.grad.isfinite().all() for p in trainer.net_g.parameters())
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_activation_checkpointing_changes_no_gradient(pairs: Path, tmp_path: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        trainer = training_model(pairs, tmp_path, activation_checkpointing=checkpointing)
        train(trainer, range(1, 3))
        assert trainer.net_g.stage4.checkpointing == checkpointing
        gradients.append([parameter.grad for parameter in trainer.net_g.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_channels_last_changes_the_layout_only(pairs: Path, tmp_path: Path) -> None:
    results = []
    for channels_last in (False, True):
        trainer = training_model(pairs, tmp_path, channels_last=channels_last)
        train(trainer, range(1, 3))
        results.append(trainer.get_current_log()["l_pix"])
    assert trainer.lq.is_contiguous(memory_format=torch.channels_last)
    assert trainer.net_g.shallow.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert results[1] == pytest.approx(results[0], rel=1e-4)


def test_a_compiled_network(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trains as the plain one does and keeps its names; other sizes in validation are not compiled."""
    compile_module, sizes = torch.nn.Module.compile, []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        sizes.append(next(tuple(x.shape) for x in inputs if x.ndim == 4 and x.shape[:2] == (4, 3)))
        return graph

    # The real compiler takes minutes.
    monkeypatch.setattr(torch.nn.Module, "compile", lambda net: compile_module(net, backend=backend, dynamic=False))
    plain, compiled = (training_model(pairs, tmp_path, compile=flag) for flag in (False, True))
    for trainer in (plain, compiled):
        train(trainer, range(1, 3))
        trainer.feed_data({"lq": torch.rand(1, 3, 9, 7)})
        trainer.test()
    assert sizes == [(4, 3, 16, 16)]
    torch.testing.assert_close(parameters(compiled), parameters(plain))


def test_averaged_weights(pairs: Path, tmp_path: Path) -> None:
    trainer = training_model(pairs, tmp_path, ema_decay=0.75)
    expected = parameters(trainer)
    for iteration in (1, 2, 3):
        train(trainer, range(iteration, iteration + 1))
        expected = {name: 0.75 * expected[name] + 0.25 * p for name, p in parameters(trainer).items()}
    torch.testing.assert_close(dict(trainer.net_g_ema.named_parameters()), expected)
    trainer.save(0, 3)
    saved = torch.load(tmp_path / "models/net_g_3.pth", weights_only=True)
    torch.testing.assert_close({name: saved["params_ema"][name] for name in expected}, expected)
    assert not torch.equal(saved["params"]["shallow.conv.weight"], saved["params_ema"]["shallow.conv.weight"])


def test_losses_are_averaged_between_lines(trainer: RestorationModel) -> None:
    values = []
    for iteration in (1, 2, 3):
        data = batch(seed=iteration)
        with torch.no_grad():
            values.append((trainer.net_g(data["lq"]) - data["gt"]).abs().mean().item())
        train(trainer, range(iteration, iteration + 1))
    assert trainer.get_current_log() == {"l_pix": pytest.approx(sum(values) / 3, rel=1e-5)}
    train(trainer, range(4, 5))
    assert trainer.get_current_log()["l_pix"] != pytest.approx(sum(values) / 3, rel=1e-5)


class ScalarReads(TorchDispatchMode):
    """Counts how often a number is read out of a tensor, for which a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += operator is torch.ops.aten._local_scalar_dense.default
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("train_options", [{}, {"ema_decay": 0.9, "accumulate": 2, "grad_clip": 1.0}], ids=str)
def test_nothing_is_read_before_it_is_logged(pairs: Path, tmp_path: Path, train_options: dict[str, Any]) -> None:
    trainer = training_model(pairs, tmp_path, **train_options)
    trainer.optimizer_g.step = lambda: None  # torch's own; on a CPU it reads its step counts
    with ScalarReads() as reads:
        train(trainer, range(1, 4))
        assert reads.count == 0
        trainer.get_current_log()
        assert reads.count > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training(trainer: RestorationModel, tmp_path: Path, bad: float) -> None:
    train(trainer, range(1, 3))
    trainer.save(0, 2)
    good = (tmp_path / "models/net_g_2.pth").read_bytes()
    trainer.feed_data({**batch(), "gt": torch.full((4, 3, 32, 32), bad)})
    trainer.optimize_parameters(3)
    with pytest.raises(InputError, match=r"the loss is not finite \(NaN or Inf\); "):
        trainer.save(0, 3)
    with pytest.raises(InputError, match=r"the loss is not finite \(NaN or Inf\); "):
        trainer.get_current_log()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["net_g_2.pth"]
    assert (tmp_path / "models/net_g_2.pth").read_bytes() == good


def test_the_loss_that_is_not_finite_is_named(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SSIMLoss, "forward", lambda _, output, gt: (output - gt).mean() * float("nan"))
    trainer = training_model(pairs, tmp_path, pixel_opt=None, losses=LOSSES)
    train(trainer, range(1, 2))
    with pytest.raises(InputError, match=r"^the loss l_ssim is not finite \(NaN or Inf\); "):
        trainer.get_current_log()


def test_a_weight_that_is_not_finite_is_not_saved(trainer: RestorationModel, tmp_path: Path) -> None:
    train(trainer, range(1, 2))
    with torch.no_grad():
        trainer.net_g.to_target.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"a weight is not finite \(NaN or Inf\)"):
        trainer.save(0, 1)
    assert not list((tmp_path / "models").iterdir())


# Warm start -----------------------------------------------------------------------------------------------------------

TAIL = {"iters": 2, "trainable": ["to_target"]}


def warm_starter(pairs: Path, root: Path, **train_options: Any) -> RestorationModel:
    """A trainer that begins with the body of a network of another scale."""
    torch.manual_seed(5)
    arguments = {**TINY, "scale": 4}
    del arguments["type"]
    torch.save(RAMiT(**arguments).state_dict(), root / "x4.pth")
    options = training_options(pairs)
    options["path"]["pretrain_network_g"] = str(root / "x4.pth")
    options["train"].update(warm_start=TAIL, **train_options)
    return model(options, root, is_train=True)


def tail(name: str) -> bool:
    return name.startswith("to_target.")


@pytest.mark.parametrize("ema_decay", [0, 0.9])
def test_warm_start_loads_the_body_and_trains_the_tail(pairs: Path, tmp_path: Path, ema_decay: float) -> None:
    trainer = warm_starter(pairs, tmp_path, ema_decay=ema_decay)
    loaded, start = torch.load(tmp_path / "x4.pth", weights_only=True), parameters(trainer)
    for name, value in start.items():
        # The tail's inner convolutions have the same shape at every scale, and start fresh nonetheless.
        same = value.shape == loaded[name].shape and torch.equal(value, loaded[name])
        assert same is not tail(name) or not value.any(), name
    if ema_decay:
        torch.testing.assert_close(dict(trainer.net_g_ema.named_parameters()), start, rtol=0, atol=0)
    train(trainer, range(1, 3))
    assert trainer.get_current_learning_rate() == [0.001]
    for name, value in parameters(trainer).items():
        assert torch.equal(value, start[name]) is not tail(name), name
    body = dict(trainer.net_g.named_parameters())["shallow.conv.weight"]
    assert body.grad is None
    train(trainer, range(3, 5))
    # A fresh optimiser and its own warm-up: iteration 3 is the first of two.
    assert [int(state["step"]) for state in trainer.optimizer_g.state.values()] == [2] * len(start)
    for name, value in parameters(trainer).items():
        assert not torch.equal(value, start[name]), name


def test_warm_start_refuses_another_body(pairs: Path, tmp_path: Path) -> None:
    weights = tiny_network().state_dict()
    del weights["stage1.blocks.block0.norm1.norm.weight"]
    torch.save(weights, tmp_path / "w.pth")
    options = training_options(pairs)
    options["path"]["pretrain_network_g"] = str(tmp_path / "w.pth")
    options["train"]["warm_start"] = TAIL
    with pytest.raises(InputError, match=r"1 missing \(stage1\.blocks\.block0\.norm1\.norm\.weight\)"):
        model(options, tmp_path, is_train=True)


# Going on -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "train_options"),
    [(1, {}), (2, {}), (3, {}), (5, {}), (2, {"amp": "float16", "grad_clip": 0.1}), (3, {"ema_decay": 0.9})],
    ids=str,
)
def test_a_resumed_training_is_the_same_one(
    pairs: Path, tmp_path: Path, at: int, train_options: dict[str, Any]
) -> None:
    """Before, at and after the switch of a warm start: bit for bit."""
    whole = warm_starter(pairs, tmp_path, **train_options)
    train(whole, range(1, at + 1))
    whole.save(0, at)
    drawn = torch.rand(3)
    train(whole, range(at + 1, 7))

    options = training_options(pairs)
    options["train"].update(warm_start=TAIL, **train_options)
    resumed = resumed_model(options, tmp_path, at)
    torch.testing.assert_close(torch.rand(3), drawn, rtol=0, atol=0)
    train(resumed, range(at + 1, 7))
    torch.testing.assert_close(parameters(resumed), parameters(whole), rtol=0, atol=0)
    assert resumed.get_current_learning_rate() == whole.get_current_learning_rate()
    if "ema_decay" in train_options:
        averaged = [dict(trainer.net_g_ema.named_parameters()) for trainer in (resumed, whole)]
        torch.testing.assert_close(averaged[0], averaged[1], rtol=0, atol=0)
    if "amp" in train_options:
        assert resumed.scaler.state_dict() == whole.scaler.state_dict()


def test_a_state_of_basicsr_is_taken(pairs: Path, tmp_path: Path) -> None:
    """Trainings that began with SRModel go on with RestorationModel."""
    options = training_options(pairs)
    runs = {"is_train": True, "dist": False, "rank": 0, "world_size": 1, "path": {**options["path"]}}
    runs["path"].update(models=str(tmp_path), training_states=str(tmp_path))
    plain = SRModel(deepcopy({**options, **runs}))
    plain.feed_data(batch())
    plain.optimize_parameters(1)
    plain.save(0, 1)
    trainer = model(options, tmp_path, is_train=True)
    trainer.resume_training(torch.load(tmp_path / "1.state", weights_only=True))
    assert int(next(iter(trainer.optimizer_g.state.values()))["step"]) == 1


@pytest.mark.parametrize("ema_decay", [0, 0.5])
def test_saved_weights_know_themselves(pairs: Path, tmp_path: Path, ema_decay: float) -> None:
    trainer = training_model(pairs, tmp_path, ema_decay=ema_decay)
    trainer.save(0, 2)
    file = read_weight_file(tmp_path / "models/net_g_2.pth")
    assert (file.facts["network_g"], file.facts["scale"], file.facts["iteration"]) == (TINY, 2, 2)
    opened = open_network(tmp_path / "models/net_g_2.pth")
    assert (opened.options, opened.task, opened.scale) == (TINY, "SR", 2)
    net = trainer.net_g_ema if ema_decay else trainer.net_g
    torch.testing.assert_close(dict(opened.network.state_dict()), dict(net.state_dict()), rtol=0, atol=0)


def test_weights_none_of_which_fits_are_an_error(pairs: Path, tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3), "shallow.conv.bias": torch.zeros(17)}, tmp_path / "w.pth")
    trainer = training_model(pairs, tmp_path)
    with pytest.raises(InputError, match=r"w\.pth: none of its 2 weights fits this RAMiT; check network_g"):
        trainer.load_network(trainer.net_g, str(tmp_path / "w.pth"), strict=False)


def test_a_state_of_another_network_is_refused(pairs: Path, tmp_path: Path) -> None:
    trainer = training_model(pairs, tmp_path)
    state = {"epoch": 0, "iter": 1, "optimizers": [{"state": {}, "param_groups": []}]}
    with pytest.raises(InputError, match="does not fit these options"):
        trainer.resume_training(state)


# Validation -----------------------------------------------------------------------------------------------------------


def loader(pairs: Path, name: str = "pairs") -> torch.utils.data.DataLoader[Any]:
    options = {**training_options(pairs)["datasets"]["val"], "name": name, "phase": "val", "scale": 2}
    return torch.utils.data.DataLoader(PairedRestorationDataset(options))


def test_the_best_network_is_kept(pairs: Path, tmp_path: Path) -> None:
    trainer = training_model(pairs, tmp_path, total_iter=100)
    best = tmp_path / "models/net_g_best.pth"
    trainer.validation(loader(pairs), 1, None, save_img=False)
    first = best.read_bytes()
    facts = read_weight_file(best).facts
    assert facts["iteration"] == 1
    assert facts["metrics"]["pairs"].keys() == {"psnr", "ssim"}
    with torch.no_grad():
        trainer.net_g.to_target.final_conv.bias.add_(9)  # much worse
    trainer.validation(loader(pairs), 2, None, save_img=False)
    assert best.read_bytes() == first
    # Another set does not count, and the same iteration is not measured twice.
    trainer.validation(loader(pairs, "others"), 2, None, save_img=False)
    trainer.validation(loader(pairs), 2, None, save_img=False)
    with (tmp_path / "validation.csv").open() as file:
        rows = [(row["iteration"], row["dataset"], row["metric"]) for row in csv.DictReader(file)]
    assert rows == [
        *[("1", "pairs", metric) for metric in ("psnr", "ssim")],
        *[("2", "pairs", metric) for metric in ("psnr", "ssim")],
        *[("2", "others", metric) for metric in ("psnr", "ssim")],
    ]
    assert best.read_bytes() == first

    # A resumed training knows what was best, up to where it goes on.
    resumed = training_model(pairs, tmp_path, total_iter=100)
    trainer.save(0, 1)
    resumed.resume_training(torch.load(tmp_path / "training_states/1.state", weights_only=True))
    assert resumed.best_metric_results["pairs"]["psnr"]["iter"] == 1
    with torch.no_grad():
        resumed.net_g.to_target.final_conv.bias.add_(9)
    resumed.validation(loader(pairs), 2, None, save_img=False)
    assert best.read_bytes() == first


def test_the_last_validation_has_the_last_iteration(pairs: Path, tmp_path: Path) -> None:
    """BasicSR's loop asks for one more than there were."""
    trainer = training_model(pairs, tmp_path)
    trainer.validation(loader(pairs), 10, None, save_img=False)
    assert trainer.best_metric_results["pairs"]["psnr"]["iter"] == 8


class Recorder:
    """Stands in for a TensorBoard writer."""

    def __init__(self) -> None:
        self.images: dict[str, Any] = {}

    def add_scalar(self, *_: Any) -> None:
        pass

    def add_image(self, tag: str, image: Any, _: int, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images[tag] = image


def test_pictures_for_tensorboard(pairs: Path, tmp_path: Path) -> None:
    options = training_options(pairs)
    options["val"]["tb_images"] = 2
    board = Recorder()
    model(options, tmp_path, is_train=True).validation(loader(pairs), 4, board, save_img=False)
    assert list(board.images) == ["pairs/p0: LQ, result, GT", "pairs/p1: LQ, result, GT"]
    picture = board.images["pairs/p0: LQ, result, GT"]
    assert picture.shape == (48, 3 * 48, 3)
    item = loader(pairs).dataset[0]
    expected = (item["gt"].permute(1, 2, 0).numpy() * 255).round()
    assert (picture[:, 96:] == expected).all()


def test_checkpoints_are_basicsrs_and_whole(trainer: RestorationModel, tmp_path: Path) -> None:
    trainer.save(epoch=1, current_iter=7)
    trainer.save(epoch=-1, current_iter=-1)
    assert {p.name for p in (tmp_path / "models").iterdir()} == {"net_g_7.pth", "net_g_latest.pth"}
    assert {p.name for p in (tmp_path / "training_states").iterdir()} == {"7.state"}
    saved = torch.load(tmp_path / "models/net_g_7.pth", weights_only=True)
    torch.testing.assert_close(saved["params"], dict(trainer.net_g.state_dict()))
    state = torch.load(tmp_path / "training_states/7.state", weights_only=True)
    assert (state["epoch"], state["iter"]) == (1, 7)
    trainer.resume_training(state)


def test_validation_of_a_set(pairs: Path, tmp_path: Path) -> None:
    tester = model(testing_options(pairs), tmp_path, is_train=False)
    dataset_options = {**testing_options(pairs)["datasets"]["test"], "phase": "test", "scale": 2}
    loader = torch.utils.data.DataLoader(PairedRestorationDataset(dataset_options))
    tester.validation(loader, "tiny", None, save_img=True)
    with (tmp_path / "results_root/pairs.csv").open() as file:
        rows = {row["image"]: (float(row["psnr"]), float(row["ssim"])) for row in csv.DictReader(file)}
    assert list(rows) == [f"p{i}" for i in range(9)] + ["average"]
    # Each row against BasicSR's metric on what the network gives, from the definition.
    for item in PairedRestorationDataset({**dataset_options, "io_backend": {"type": "lmdb"}}):
        lq = item["lq"][None]
        with torch.no_grad():
            y = tester.net_g.eval()(pad_symmetric(lq, 32))[..., : lq.shape[2] * 2, : lq.shape[3] * 2]
        expected = calculate_psnr(tensor2img(y), tensor2img(item["gt"]), crop_border=2, test_y_channel=True)
        assert rows[item["gt_path"]][0] == pytest.approx(expected, abs=1e-6)
    mean = sum(psnr for name, (psnr, _) in rows.items() if name != "average") / 9
    assert rows["average"][0] == pytest.approx(mean, abs=1e-5)
    assert len(list((tmp_path / "visualization/pairs").glob("*_tiny.png"))) == 9


def test_a_set_without_gt_between_training_steps(pairs: Path, tmp_path: Path) -> None:
    """The ground truth of the last training batch is not taken for the image's own."""
    trainer = model(training_options(pairs), tmp_path, is_train=True)
    trainer.feed_data({"lq": torch.rand(2, 3, 8, 8), "gt": torch.rand(2, 3, 16, 16)})
    options = {"name": "photos", "dataroot_lq": str(pairs / "LR_bicubic_X2.lmdb"), "io_backend": {"type": "lmdb"}}
    trainer.validation(torch.utils.data.DataLoader(SingleRestorationDataset(options)), 4, None, save_img=True)
    assert (tmp_path / "visualization/photos/p0/p0_4.png").is_file()
    assert not hasattr(trainer, "metric_results")


def test_same_names_in_two_sets_do_not_overwrite_each_other(pairs: Path, tmp_path: Path) -> None:
    trainer = model(training_options(pairs), tmp_path, is_train=True)
    for name in ("one", "two"):
        options = {**training_options(pairs)["datasets"]["val"], "name": name, "phase": "val", "scale": 2}
        loader = torch.utils.data.DataLoader(PairedRestorationDataset(options))
        trainer.validation(loader, 4, None, save_img=True)
    assert (tmp_path / "visualization/one/p0/p0_4.png").is_file()
    assert (tmp_path / "visualization/two/p0/p0_4.png").is_file()
