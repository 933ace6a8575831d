"""RestorationModel: BasicSR's SRModel for restoration networks, by small overrides."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import ramit_arch  # noqa: F401  mends BasicSR for the imports below
from ramit_arch.compat import training_states

import torch
import torch.distributed as dist
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ramit_model.inference.evaluation import ImageResult, averages, evaluate, save_picture, side_by_side, write_table
from ramit_model.inference.padding import run_padded, size_unit
from ramit_model.inference.precision import autocast
from ramit_model.inference.weights import check_fit, read_weights, without_modules
from ramit_model.system.errors import InputError
from ramit_model.system.files import remove_leftovers
from ramit_model.training.checkpoint import save_atomically
from ramit_model.training.resume import random_states, restore_random_states
from ramit_model.training.schedule import Schedule
from ramit_model.training.validation_history import ValidationHistory


@MODEL_REGISTRY.register()
class RestorationModel(SRModel):
    """Trains and tests one network that maps LQ images to GT images.

    What differs from `SRModel`: the learning rate, the stages of progressive training and the warm start follow a
    `Schedule`; mixed precision, gradient clipping, batches in parts, torch.compile and channels-last are options;
    nothing waits for the GPU but what is logged; a loss that is no number ends the run; checkpoints are written whole
    or not at all and hold all that a training needs to go on; validation is shared out over the processes, keeps
    metrics for each image and pads symmetrically to the network's `size_unit`; published weights (bare state dicts)
    load as well as BasicSR's files, with EMA too.
    """

    opt: dict[str, Any]
    net_g: nn.Module
    lq: Tensor
    gt: Tensor
    output: Tensor

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_opt: dict[str, Any] = opt["train"] if opt["is_train"] else {}
        if opt["is_train"]:
            self.schedule = Schedule.from_options(opt, opt["world_size"])
        super().__init__(opt)

    # Training ---------------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        """Set up losses, optimiser, EMA, and what this class adds."""
        self.amp: str | None = self.train_opt.get("amp")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == "float16")
        self.accumulate: int = self.train_opt.get("accumulate", 1)
        self.grad_clip: float | None = self.train_opt.get("grad_clip")
        self.loss_sums: dict[str, Tensor] = {}
        self.summed = 0
        self.trained_modules: tuple[str, ...] | None = None
        self.validated: set[tuple[str, int]] = set()
        experiment = Path(self.opt["path"]["experiments_root"])
        self.history = ValidationHistory(experiment / "validation.csv")
        if self.train_opt.get("activation_checkpointing"):
            self._checkpoint_activations()
        if self.train_opt.get("compile"):
            self.get_bare_model(self.net_g).compile()
        super().init_training_settings()
        if self.ema_decay > 0 and not self.opt["path"].get("resume_state"):
            self.model_ema(0)  # a fresh tail must be the same one

    def _checkpoint_activations(self) -> None:
        stages = [module for module in self.get_bare_model(self.net_g).modules() if hasattr(module, "checkpointing")]
        if not stages:
            kind = self.opt["network_g"]["type"]
            raise InputError(f"train.activation_checkpointing: {kind} does not know it; set it to false")
        for stage in stages:
            stage.checkpointing = True

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move the network to the device; wrap it for several processes."""
        if self.train_opt.get("channels_last"):
            net = net.to(memory_format=torch.channels_last)
        wrapped: nn.Module = super().model_to_device(net)
        return wrapped

    def setup_optimizers(self) -> None:
        """Make the optimiser of the first iteration."""
        self._train_modules(self.schedule.trainable(1))

    def setup_schedulers(self) -> None:
        """BasicSR's schedulers are not needed: the rate is a function of the iteration."""

    def _train_modules(self, names: tuple[str, ...] | None) -> None:
        """Train only the named modules (None: the whole network), with a fresh optimiser."""
        bare = self.get_bare_model(self.net_g)
        frozen = {} if names is None else without_modules(dict(bare.named_parameters()), names)
        for name, parameter in bare.named_parameters():
            parameter.requires_grad_(name not in frozen)
        if self.opt["dist"] and names != self.trained_modules:
            # DistributedDataParallel looks only once which parameters are trained.
            self.net_g = self.model_to_device(bare)
        arguments = {key: value for key, value in self.train_opt["optim_g"].items() if key != "type"}
        trained = [parameter for parameter in bare.parameters() if parameter.requires_grad]
        self.optimizer_g = self.get_optimizer(self.train_opt["optim_g"]["type"], trained, **arguments)
        self.optimizers = [self.optimizer_g]
        self.trained_modules = names

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Set rate and trained modules of an iteration, as the schedule says.

        Args:
            current_iter: Iteration that is about to begin, from 1.
            warmup_iter: Ignored; the schedule knows it.
        """
        modules = self.schedule.trainable(current_iter)
        if modules != self.trained_modules:
            self._train_modules(modules)
            get_root_logger().info(f"From iteration {current_iter} on, the whole network is trained.")
        rate = self.schedule.rate(current_iter)
        for group in self.optimizer_g.param_groups:
            group["lr"] = rate

    def feed_data(self, data: dict[str, Any]) -> None:
        """Move a batch to the device, without waiting for it."""
        layout = torch.channels_last if self.train_opt.get("channels_last") else torch.preserve_format
        self.lq = data["lq"].to(self.device, non_blocking=True, memory_format=layout)
        if "gt" in data:
            self.gt = data["gt"].to(self.device, non_blocking=True)

    def optimize_parameters(self, current_iter: int) -> None:
        """One optimiser step with the batch of `feed_data`.

        Args:
            current_iter: The iteration, from 1.
        """
        self.optimizer_g.zero_grad(set_to_none=True)
        parts = list(zip(self.lq.chunk(self.accumulate), self.gt.chunk(self.accumulate), strict=True))
        for part, (lq, gt) in enumerate(parts, 1):
            with self._synchronised_if(part == len(parts)):
                with autocast(self.device.type, self.amp):
                    output = self.net_g(lq)
                losses = self._losses(output.float(), gt)
                share = len(lq) / len(self.lq)
                loss = torch.stack(list(losses.values())).sum() * share
                self.scaler.scale(loss).backward()
            for name, value in losses.items():
                self._add_loss(name, value.detach() * share)
        self.summed += 1
        if self.grad_clip is not None:
            self.scaler.unscale_(self.optimizer_g)
            nn.utils.clip_grad_norm_(self.net_g.parameters(), self.grad_clip)
        self.scaler.step(self.optimizer_g)
        self.scaler.update()
        if self.ema_decay > 0:
            self.model_ema(self.ema_decay)

    def _synchronised_if(self, last: bool) -> AbstractContextManager[None]:
        """Let the processes exchange gradients only after the last part of a batch."""
        if self.opt["dist"] and not last:
            context: AbstractContextManager[None] = self.net_g.no_sync()  # type: ignore[operator]
            return context
        return nullcontext()

    def _losses(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        losses: dict[str, Tensor | None] = {}
        if self.cri_pix:
            losses["l_pix"] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            losses["l_percep"], losses["l_style"] = self.cri_perceptual(output, gt)
        return {name: loss for name, loss in losses.items() if loss is not None}

    def _add_loss(self, name: str, value: Tensor) -> None:
        self.loss_sums[name] = self.loss_sums[name] + value if name in self.loss_sums else value

    def model_ema(self, decay: float = 0.999) -> None:
        """Move the averaged weights towards the network's; 0 copies them."""
        bare = self.get_bare_model(self.net_g)
        averaged, current = (list(net.parameters()) for net in (self.net_g_ema, bare))
        get_ema_multi_avg_fn(decay)(averaged, current, 0)
        for buffer, value in zip(self.net_g_ema.buffers(), bare.buffers(), strict=True):
            buffer.copy_(value)

    def get_current_log(self) -> dict[str, float]:
        """Losses since they were last asked for, averaged over iterations and processes. Waits for the GPU.

        Raises:
            InputError: One is not finite.
        """
        losses = self._average_losses()
        self.loss_sums, self.summed = {}, 0
        return losses

    def _average_losses(self) -> dict[str, float]:
        if not self.loss_sums:
            return {}
        values = torch.stack(list(self.loss_sums.values())) / self.summed
        if self.opt["dist"]:
            dist.all_reduce(values)
            values /= self.opt["world_size"]
        if not values.isfinite().all():
            raise InputError(f"the loss is no finite number any more{self._last_good()}")
        return dict(zip(self.loss_sums, values.tolist(), strict=True))

    def _last_good(self) -> str:
        states = training_states(self.opt["name"])
        kept = f"the last good checkpoint is {states[0].name}" if states else "no checkpoint was saved before"
        remedy = "lower train.optim_g.lr or set train.grad_clip"
        if self.amp == "float16":
            remedy = "set train.amp to bfloat16"
        return f"; {kept}: {remedy}, and go on with --auto_resume"

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load a published or a BasicSR checkpoint; a training's warm start leaves out the modules that it trains.

        Args:
            net: Network, bare or wrapped.
            load_path: File of `torch.save`.
            strict: Whether names and shapes must be the same; otherwise what fits is loaded.
            param_key: Key of the weights in a BasicSR file; bare files need none.

        Raises:
            InputError: The file cannot be read, or does not fit while `strict`.
        """
        net = self.get_bare_model(net)
        fresh: tuple[str, ...] = ()
        if self.is_train and not self.opt["path"].get("resume_state"):
            fresh = self.schedule.warm_start_trainable
        weights = without_modules(read_weights(load_path, param_key), fresh)
        without = f", without {', '.join(fresh)}" if fresh else ""
        get_root_logger().info(f"Loading {type(net).__name__} from {load_path}{without}.")
        if strict:
            remedy = "check network_g (variant, task, scale), or set path.strict_load_g: false to load what fits"
            check_fit(net, weights, load_path, apart_from=fresh, remedy=remedy)
        else:
            self._print_different_keys_loading(net, weights, strict=False)
        net.load_state_dict(weights, strict=strict and not fresh)

    def save(self, epoch: int, current_iter: int) -> None:
        """Write the network and, but for the end of a run (-1), all that a training needs to go on.

        Raises:
            InputError: The training has gone astray: the loss or a weight is not finite. Nothing is written.
        """
        self._average_losses()
        weights = [parameter.isfinite().all() for parameter in self.get_bare_model(self.net_g).parameters()]
        if not torch.stack(weights).all():
            raise InputError(f"a weight is no finite number any more{self._last_good()}")
        self._save_networks(current_iter)
        self.save_training_state(epoch, current_iter)

    def _save_networks(self, label: int | str) -> None:
        if hasattr(self, "net_g_ema"):
            self.save_network([self.net_g, self.net_g_ema], "net_g", label, ["params", "params_ema"])
        else:
            self.save_network(self.net_g, "net_g", label)

    @master_only
    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int | str,
        param_key: str | list[str] = "params",
    ) -> None:
        """Write `net_label`_`current_iter`.pth (-1: latest) with the state dict of each network under its key."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {
            key: {name: tensor.cpu() for name, tensor in self.get_bare_model(part).state_dict().items()}
            for key, part in zip(keys, nets, strict=True)
        }
        label = "latest" if current_iter == -1 else current_iter
        save_atomically(content, Path(self.opt["path"]["models"]) / f"{net_label}_{label}.pth")

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `current_iter`.state with what `resume_training` needs; nothing for the end of a run (-1)."""
        if current_iter == -1:
            return
        generators: list[Any] = [random_states()]
        if self.opt["dist"]:
            generators = [None] * self.opt["world_size"]
            dist.all_gather_object(generators, random_states())
        if self.opt["rank"] == 0:
            state = {
                "epoch": epoch,
                "iter": current_iter,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "schedulers": [],  # BasicSR's own models ask for the key
                "scaler": self.scaler.state_dict(),
                "generators": generators,
            }
            save_atomically(state, Path(self.opt["path"]["training_states"]) / f"{current_iter}.state")

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Go on where a training state was written: optimiser, scaler, random generators, best results.

        Args:
            resume_state: What `save_training_state` wrote, or a state of BasicSR's `SRModel`.

        Raises:
            InputError: The optimiser's state belongs to another network.
        """
        modules = self.schedule.trainable(resume_state["iter"])
        if modules != self.trained_modules:
            self._train_modules(modules)
        try:
            self.optimizer_g.load_state_dict(resume_state["optimizers"][0])
        except (ValueError, KeyError, IndexError) as error:
            path = self.opt["path"]["resume_state"]
            raise InputError(f"{path}: does not fit these options ({error}); resume with those of its run") from None
        if self.scaler.is_enabled() and resume_state.get("scaler"):
            self.scaler.load_state_dict(resume_state["scaler"])
        generators = resume_state.get("generators", [])
        if self.opt["rank"] < len(generators):
            restore_random_states(generators[self.opt["rank"]])
        self.history.read(last=resume_state["iter"])
        metrics = (self.opt.get("val") or {}).get("metrics") or {}
        for row in self.history.rows:
            if row.metric in metrics:
                self._initialize_best_metric_results(row.dataset)
                self._update_best_metric_result(row.dataset, row.metric, row.value, row.iteration)
        if self.opt["rank"] == 0:
            for key in ("experiments_root", "models", "training_states"):
                remove_leftovers(Path(self.opt["path"][key]))

    # Validation and test ----------------------------------------------------------------------------------------------

    def test(self) -> None:
        """Run the network on `self.lq` into `self.output`, (B, C, H * scale, W * scale), not clamped."""
        # The bare network: DistributedDataParallel would wait for processes that do not validate.
        net = self.get_bare_model(getattr(self, "net_g_ema", self.net_g))
        was_training = net.training
        net.eval()
        unit = size_unit(net, self.opt["network_g"])
        with torch.no_grad():
            # Not what torch.compile made: images come in many sizes, and each would be compiled anew.
            self.output = run_padded(net.forward, self.lq, unit, self.opt["scale"])
        net.train(was_training)

    def nondist_validation(
        self, dataloader: DataLoader[Any], current_iter: int | str, tb_logger: Any, save_img: bool
    ) -> None:
        """Restore every image of a set; save pictures, log metrics and keep the best, as the options say.

        Several processes share the images out among them; the first one reports.

        Args:
            dataloader: One image a batch.
            current_iter: Iteration; in a test, the name of the run.
            tb_logger: TensorBoard writer or None.
            save_img: Whether to save the results as PNG.
        """
        name = dataloader.dataset.opt["name"]  # type: ignore[attr-defined]
        if isinstance(current_iter, int):
            # At its end, BasicSR's loop validates once more, with a count that is too high.
            current_iter = min(current_iter, self.schedule.total_iter)
            if (name, current_iter) in self.validated:
                return
            self.validated.add((name, current_iter))
        val = self.opt["val"]
        results = []
        for result, pictures in evaluate(
            self.restore, dataloader, val.get("metrics") or {}, progress_bar=val.get("pbar", True)
        ):
            if save_img:
                save_picture(pictures.result, self._picture_path(name, result.name, current_iter))
            if tb_logger and result.index < val.get("tb_images", 0):
                tag = f"{name}/{result.name}: LQ, result, GT"
                tb_logger.add_image(tag, side_by_side(pictures), current_iter, dataformats="HWC")
            results.append(result)
        if self.opt["dist"]:
            shares: list[list[ImageResult]] = [[]] * self.opt["world_size"]
            dist.all_gather_object(shares, results)
            results = sorted((result for share in shares for result in share), key=lambda result: result.index)
        if self.opt["rank"] == 0 and any(result.metrics for result in results):
            self._report(name, results, current_iter, tb_logger)

    dist_validation = nondist_validation

    def restore(self, lq: Tensor) -> Tensor:
        """The network's output for LQ images (B, C, H, W) in 0..1: (B, C, H * scale, W * scale), not clamped."""
        self.feed_data({"lq": lq})
        self.test()
        output = self.output
        # Free what the device holds before the next image comes.
        del self.lq, self.output
        return output

    def _picture_path(self, dataset_name: str, image_name: str, current_iter: int | str) -> Path:
        folder = Path(self.opt["path"]["visualization"]) / dataset_name
        if self.is_train:
            return folder / image_name / f"{image_name}_{current_iter}.png"
        return folder / f"{image_name}_{self.opt['val'].get('suffix') or self.opt['name']}.png"

    def _report(self, dataset_name: str, results: list[ImageResult], current_iter: int | str, tb_logger: Any) -> None:
        """Log the average of each metric over the images of a set; keep the best network; in a test, write a table."""
        self.metric_results = averages(results)
        self._initialize_best_metric_results(dataset_name)
        for name, value in self.metric_results.items():
            self._update_best_metric_result(dataset_name, name, value, current_iter)
        if isinstance(current_iter, int):
            self._keep_best(dataset_name, current_iter)
            self.history.add(current_iter, dataset_name, self.metric_results)
        else:
            path = Path(self.opt["path"]["results_root"]) / f"{dataset_name}.csv"
            lines = write_table(path, results)
            get_root_logger().info(f"{dataset_name}, also in {path}:\n{lines}")
        self._log_validation_metric_values(current_iter, dataset_name, tb_logger)

    def _keep_best(self, dataset_name: str, current_iter: int) -> None:
        """Write net_g_best.pth whenever the first metric is at its best on the first validation set."""
        first = next(block["name"] for phase, block in self.opt["datasets"].items() if phase.startswith("val"))
        metric = next(iter(self.metric_results))
        if dataset_name == first and self.best_metric_results[first][metric]["iter"] == current_iter:
            self._save_networks("best")
