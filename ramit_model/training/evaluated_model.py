"""Validation and test of BasicSR's SRModel: every image restored, measured, reported; the base of RestorationModel."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from ramit_model.basicsr_bridge import SRModel, get_root_logger, master_only
from ramit_model.basicsr_changes import note_problems
from ramit_model.inference import evaluation
from ramit_model.inference.foreign.network import ForeignNetwork
from ramit_model.inference.memory_model import check_memory
from ramit_model.inference.padding import size_unit
from ramit_model.inference.restoring import restore_pixels
from ramit_model.inference.tiling import Tiling
from ramit_model.system.errors import InputError, NotEnoughMemoryError
from ramit_model.system.files import FATAL
from ramit_model.system.memory import is_out_of_memory
from ramit_model.system.text import escaped, printable
from ramit_model.training.resume import random_states, restore_random_states
from ramit_model.training.schedule import Schedule
from ramit_model.training.terminal import FILE_ONLY
from ramit_model.training.validation_history import ValidationHistory, validation_line

if TYPE_CHECKING:
    from ramit_model.training.session import Session


class EvaluatedModel(SRModel):
    """SRModel whose validation measures each image, is shared out over the processes and keeps the best network.

    Attributes:
        session: The training that runs; None in a test.
        opt: Options after BasicSR's parser.
        net_g: Network, bare or wrapped.
        schedule: Schedule of the training.
        history: Measurements of the training so far.
        validated: Data set and iteration of every validation so far.
        lq: Batch that is restored, (B, C, H, W).
        output: Its result, (B, C, H * scale, W * scale), not clamped.
    """

    session: "Session | None" = None
    opt: dict[str, Any]
    net_g: nn.Module
    schedule: Schedule
    history: ValidationHistory
    validated: set[tuple[str, int]]
    lq: Tensor
    output: Tensor

    def _save_networks(self, label: int | str, facts: dict[str, Any] | None = None) -> None:
        raise NotImplementedError

    @master_only
    def print_network(self, net: nn.Module) -> None:
        """Log the layers, and say how large the network is."""
        super().print_network(net)
        bare = self.get_bare_model(net)
        of_others = bare.parameters_in_file if isinstance(bare, ForeignNetwork) else None
        size = of_others or sum(parameter.numel() for parameter in bare.parameters())
        get_root_logger().info(f"network: {type(bare).__name__}, {size:,} parameters")

    def test(self, tiling: Tiling | None = None) -> None:
        """Run the network on `self.lq` into `self.output`, (B, C, H * scale, W * scale), not clamped.

        Args:
            tiling: Whether and how to tile the images; None: as `val.tile` says.

        Raises:
            NotEnoughMemoryError: A whole image does not fit the memory.
        """
        # The bare network, as DistributedDataParallel would wait for processes that do not validate.
        net = self.get_bare_model(getattr(self, "net_g_ema", self.net_g))
        was_training = net.training
        net.eval()
        unit, scale = size_unit(net, self.opt["network_g"]), self.opt["scale"]
        tiling = tiling or self._tiling()
        try:
            if tiling.tile is None:
                check_memory(net, self.lq.shape, unit, scale, self.device)
            self.output = restore_pixels(net, self.lq, unit=unit, scale=scale, tiling=tiling, device=self.device)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, InputError) or not is_out_of_memory(error):
                raise
            height, width = self.lq.shape[2:]
            raise NotEnoughMemoryError(
                f"val.tile: {tiling.tile or '~'}: no memory for {width}x{height} pixels; write auto"
            ) from None
        finally:
            net.train(was_training)

    def nondist_validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None:
        """Restore every image of a set; save pictures, log metrics and keep the best network, as the options say.

        Several processes share out the images; the first one reports.

        Args:
            dataloader: One image a batch.
            current_iter: Iteration; in a test, the name of the run.
            tb_logger: TensorBoard writer or None.
            save_img: Whether to save the results as PNG.
        """
        name = dataloader.dataset.opt["name"]  # type: ignore[attr-defined]
        if isinstance(current_iter, int):
            # BasicSR's loop validates once more at its end, with an iteration that is one too high.
            current_iter = min(current_iter, self.schedule.total_iter)
            if (name, current_iter) in self.validated:
                return
            self.validated.add((name, current_iter))
        generators = random_states()
        results, broken_off = self._evaluate(dataloader, name, current_iter, tb_logger, save_img)
        restore_random_states(generators)  # whether and when it is validated changes no training
        shares = evaluation.gather([(results, broken_off)])
        if self.session and any(broken_off for _, broken_off in shares):
            self.session.stop(self.session.interruption.agreed() or 0, int(current_iter))
        results = sorted((result for share, _ in shares for result in share), key=lambda result: result.index)
        note_problems(result.problem for result in results if result.problem)
        results = [result for result in results if result.metrics]
        if self.opt["rank"] == 0 and results:
            self._report(name, results, current_iter, tb_logger)

    dist_validation = nondist_validation

    def _evaluate(
        self, dataloader: DataLoader[Any], name: str, current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> tuple[list[evaluation.ImageResult], bool]:
        """Restore the images of this process; returns their results, and whether a signal has broken that off."""
        val = self.opt["val"]
        results = []
        for result, pictures in evaluation.evaluate(
            self.restore, dataloader, val.get("metrics") or {}, progress_bar=val.get("pbar", True)
        ):
            if pictures is None:
                results.append(result)
                continue
            if save_img and (problem := self._save(pictures.result, name, result.name, current_iter)):
                result = replace(result, problem=problem)  # noqa: PLW2901  the same image
            if tb_logger and result.index < val.get("tb_images", 0):
                tag = f"{name}/{escaped(result.name)}: LQ, result, GT"
                tb_logger.add_image(tag, evaluation.side_by_side(pictures), current_iter, dataformats="HWC")
            results.append(result)
            if self.session and self.session.interruption.noted:
                return results, True
        return results, False

    def validates_first(self, start: int) -> bool:
        """Whether the network is validated before the first iteration.

        It is if it begins with weights, so that what it was counts for the best network; and where a resumed training
        lacks the validation at the iteration that it goes on from, since that was broken off.

        Args:
            start: Last iteration before the training was interrupted, or 0.
        """
        val = self.opt.get("val") or {}
        if not val.get("metrics"):
            return False
        if start:
            sets = [block for phase, block in self.opt["datasets"].items() if phase.startswith("val")]
            measured = {(block["name"], start) for block in sets if block.get("dataroot_gt")}
            return start % val["val_freq"] == 0 and not measured <= self.validated
        weights = self.opt["path"].get("pretrain_network_g") and not self.schedule.warm_start_trainable
        return bool(weights) and bool(val.get("at_start", True))

    def _save(
        self, picture: evaluation.Picture, dataset_name: str, image_name: str, current_iter: int | str
    ) -> str | None:
        """Save a result; returns a line about it if its name is one that the file system does not take.

        Raises:
            OSError: It cannot be written, and neither could the next one.
        """
        path = self._picture_path(dataset_name, image_name, current_iter)
        try:
            evaluation.save_picture(picture, path)
        except OSError as error:
            if error.errno in FATAL:
                raise
            return f"data set {dataset_name}: {printable(path)}: {error.strerror}; rename the image"
        return None

    def _tiling(self) -> Tiling:
        return Tiling((self.opt.get("val") or {}).get("tile"))

    def restore(self, lq: Tensor, tiling: Tiling | None = None) -> Tensor:
        """Restore LQ images (B, C, H, W) in 0..1 to (B, C, H * scale, W * scale), not clamped.

        Args:
            lq: The images; those that are tiled stay where they are.
            tiling: See `test`.
        """
        tiling = tiling or self._tiling()
        if tiling.tile is None:
            self.feed_data({"lq": lq})
        else:
            self.lq = lq
        self.test(tiling)
        output = self.output
        # Free the memory of the device before the next image.
        del self.lq, self.output
        return output

    def _picture_path(self, dataset_name: str, image_name: str, current_iter: int | str) -> Path:
        folder = Path(self.opt["path"]["visualization"]) / dataset_name
        if self.is_train:
            return folder / image_name / f"{image_name}_{current_iter}.png"
        return folder / f"{image_name}_{self.opt['val'].get('suffix') or self.opt['name']}.png"

    def _report(
        self, dataset_name: str, results: list[evaluation.ImageResult], current_iter: int | str, tb_logger: Any
    ) -> None:
        """Log the averages of the metrics; keep the best network or, in a test, write a table."""
        self.metric_results = evaluation.averages(results)
        self._initialize_best_metric_results(dataset_name)
        for name, value in self.metric_results.items():
            self._update_best_metric_result(dataset_name, name, value, current_iter)
        if isinstance(current_iter, int):
            self._keep_best(dataset_name, current_iter)
            self.history.add(current_iter, dataset_name, self.metric_results)
        else:
            path = Path(self.opt["path"]["results_root"]) / f"{dataset_name}.csv"
            lines = evaluation.write_table(path, results)
            get_root_logger().info(f"{dataset_name}, also in {path}:\n{lines}", extra=FILE_ONLY)
        self._log_validation_metric_values(current_iter, dataset_name, tb_logger)

    def _log_validation_metric_values(self, current_iter: int | str, dataset_name: str, tb_logger: Any) -> None:
        """Log the averages in one line, and to TensorBoard."""
        best, expected = self.best_metric_results[dataset_name], self.opt.get("expected", [])
        get_root_logger().info(validation_line(dataset_name, current_iter, self.metric_results, best, expected))
        for metric, value in self.metric_results.items() if tb_logger else ():
            tb_logger.add_scalar(f"metrics/{dataset_name}/{metric}", value, current_iter)

    def _keep_best(self, dataset_name: str, current_iter: int) -> None:
        """Write net_g_best.pth if the first metric is at its best on the first validation set."""
        first = next(block["name"] for phase, block in self.opt["datasets"].items() if phase.startswith("val"))
        metric = next(iter(self.metric_results))
        if dataset_name == first and self.best_metric_results[first][metric]["iter"] == current_iter:
            self._save_networks("best", {"iteration": current_iter, "metrics": {dataset_name: self.metric_results}})

    def _restore_best_results(self) -> None:
        metrics = (self.opt.get("val") or {}).get("metrics") or {}
        for row in self.history.rows:
            if row.metric in metrics:
                self._initialize_best_metric_results(row.dataset)
                self._update_best_metric_result(row.dataset, row.metric, row.value, row.iteration)
