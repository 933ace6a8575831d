"""RestorationModel: BasicSR's SRModel for restoration networks, by small overrides."""

import csv
from pathlib import Path
from typing import Any

import ramit_arch  # noqa: F401  mends BasicSR for the imports below

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ramit_model.checkpoint import check_fit, read_weights, save_atomically
from ramit_model.padding import pad_symmetric


@MODEL_REGISTRY.register()
class RestorationModel(SRModel):
    """Trains and tests one network that maps LQ images to GT images.

    What differs from `SRModel`: tests pad symmetrically to the network's `size_unit` and leave training mode as they
    found it; metrics are kept for each image (a test writes them to `results/NAME/SET.csv`); published weights (bare
    state dicts) load as well as BasicSR's files, with EMA too; checkpoints are written whole or not at all.
    """

    opt: dict[str, Any]
    lq: torch.Tensor
    output: torch.Tensor

    def test(self) -> None:
        """Run the network on `self.lq` into `self.output`, (B, C, H * scale, W * scale), not clamped."""
        # The bare network: DistributedDataParallel would wait for processes that do not validate.
        net = self.get_bare_model(getattr(self, "net_g_ema", self.net_g))
        was_training = net.training
        net.eval()
        height, width = (size * self.opt["scale"] for size in self.lq.shape[-2:])
        with torch.no_grad():
            output = net(pad_symmetric(self.lq, getattr(net, "size_unit", 1)))
        net.train(was_training)
        self.output = output[..., :height, :width]

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Step the scheduler and warm up linearly from 0; at `warmup_iter` the full rate is reached.

        BasicSR's own warm-up stops one iteration short and keeps that slightly lower rate for the rest of the run.
        """
        super().update_learning_rate(current_iter, warmup_iter)
        if current_iter == warmup_iter:
            self._set_lr(self._get_init_lr())

    def nondist_validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None:
        """Restore every image of a set; save pictures, log metrics and keep the best, as the options say.

        Args:
            dataloader: One image a batch.
            current_iter: Iteration; in a test, the name of the run.
            tb_logger: TensorBoard writer or None.
            save_img: Whether to save the results as PNG.
        """
        val, dataset_name = self.opt["val"], dataloader.dataset.opt["name"]  # type: ignore[attr-defined]
        table: dict[str, dict[str, float]] = {}
        # `None` shows the bar on terminals only.
        for data in tqdm(dataloader, desc=dataset_name, unit="image", disable=None if val.get("pbar", True) else True):
            image_name = Path(data.get("gt_path", data["lq_path"])[0]).stem
            result, gt = self._restore(data)
            if save_img:
                imwrite(result, str(self._picture_path(dataset_name, image_name, current_iter)))
            if gt is not None:
                images = {"img": result, "img2": gt}
                metrics = val.get("metrics") or {}
                table[image_name] = {key: float(calculate_metric(images, opt)) for key, opt in metrics.items()}
        if any(table.values()):
            self._report(dataset_name, table, current_iter, tb_logger)

    def _restore(self, data: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Result and GT (if there is one) of a batch of one, 8-bit, (H, W, 3) BGR or (H, W)."""
        self.feed_data(data)
        self.test()
        result = tensor2img([self.output])
        # Free what the device holds before the next image comes; `self.gt` may be a training batch's.
        del self.lq, self.output
        return result, tensor2img([data["gt"]]) if "gt" in data else None

    def _picture_path(self, dataset_name: str, image_name: str, current_iter: int | str) -> Path:
        folder = Path(self.opt["path"]["visualization"]) / dataset_name
        if self.is_train:
            return folder / image_name / f"{image_name}_{current_iter}.png"
        return folder / f"{image_name}_{self.opt['val'].get('suffix') or self.opt['name']}.png"

    def _report(
        self, dataset_name: str, table: dict[str, dict[str, float]], current_iter: int | str, tb_logger: Any
    ) -> None:
        """Log the average of each metric over the images of a set, and in a test each image, into a CSV file too."""
        names = list(next(iter(table.values())))
        self.metric_results = {name: float(np.mean([row[name] for row in table.values()])) for name in names}
        self._initialize_best_metric_results(dataset_name)
        for name, value in self.metric_results.items():
            self._update_best_metric_result(dataset_name, name, value, current_iter)
        if not self.is_train:
            rows = [[image, *(f"{row[name]:.6f}" for name in names)] for image, row in table.items()]
            rows.append(["average", *(f"{value:.6f}" for value in self.metric_results.values())])
            path = Path(self.opt["path"]["results_root"]) / f"{dataset_name}.csv"
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([["image", *names], *rows])
            lines = "".join(f"\n\t{'  '.join(cells)}" for cells in rows)
            get_root_logger().info(f"{dataset_name}, also in {path}: image  {'  '.join(names)}{lines}")
        self._log_validation_metric_values(current_iter, dataset_name, tb_logger)

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load a published or a BasicSR checkpoint.

        Args:
            net: Network, bare or wrapped.
            load_path: File of `torch.save`.
            strict: Whether names and shapes must be the same; otherwise what fits is loaded.
            param_key: Key of the weights in a BasicSR file; bare files need none.

        Raises:
            InputError: The file cannot be read, or does not fit while `strict`.
        """
        net = self.get_bare_model(net)
        weights = read_weights(load_path, param_key)
        get_root_logger().info(f"Loading {type(net).__name__} from {load_path}.")
        if strict:
            check_fit(net, weights, load_path)
        else:
            self._print_different_keys_loading(net, weights, strict=False)
        net.load_state_dict(weights, strict=strict)

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = "params"
    ) -> None:
        """Write `net_label`_`current_iter`.pth (-1: latest) with the state dict of each network under its key."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {
            key: {name: tensor.cpu() for name, tensor in self.get_bare_model(part).state_dict().items()}
            for key, part in zip(keys, nets, strict=True)
        }
        iteration = "latest" if current_iter == -1 else current_iter
        save_atomically(content, Path(self.opt["path"]["models"]) / f"{net_label}_{iteration}.pth")

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `current_iter`.state with what `resume_training` needs; nothing for the end of a run (-1)."""
        if current_iter == -1:
            return
        state = {
            "epoch": epoch,
            "iter": current_iter,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
        }
        save_atomically(state, Path(self.opt["path"]["training_states"]) / f"{current_iter}.state")
