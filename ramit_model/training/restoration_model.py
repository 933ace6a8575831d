"""RestorationModel: BasicSR's SRModel for restoration networks, by small overrides; `evaluated_model` tests it."""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ramit_model.basicsr_bridge import MODEL_REGISTRY, build_network, get_root_logger, master_only
from ramit_model.inference import evaluation
from ramit_model.inference.facts import package_version
from ramit_model.inference.precision import autocast
from ramit_model.inference.weights import without_modules
from ramit_model.system.errors import InputError
from ramit_model.system.files import remove_leftovers
from ramit_model.training.activation_checkpointing import checkpoint_activations
from ramit_model.training.checkpoint import save_atomically, save_networks
from ramit_model.training.criteria import Criteria, total
from ramit_model.training.evaluated_model import EvaluatedModel
from ramit_model.training.expectation import describe_end
from ramit_model.training.loading import load_weights
from ramit_model.training.losses import LossAverage, diverged
from ramit_model.training.optimizers import arguments_of, make_optimizer
from ramit_model.training.resume import random_states, restore_random_states
from ramit_model.training.schedule import Schedule
from ramit_model.training.skipping import SKIPPED, LeapFilter
from ramit_model.training.terminal import FILE_ONLY, describe_schedule
from ramit_model.training.validation_history import ValidationHistory


@MODEL_REGISTRY.register()
class RestorationModel(EvaluatedModel):
    """Trains and tests one network that maps LQ images to GT images.

    Differences from `SRModel`:

    - Learning rate, progressive stages and warm start follow a `Schedule`.
    - Mixed precision, gradient clipping, gradient accumulation, torch.compile and channels-last are options.
    - Only logging waits for the GPU. A loss that is not finite ends the run.
    - Checkpoints are written whole or not at all, and hold everything that a training needs to be resumed.
    - Validation is shared out over the processes, measures each image, and pads to the network's `size_unit`.
    - Published weights (bare state dicts) load like BasicSR's files, with EMA too.
    """

    gt: Tensor

    def __init__(self, opt: dict[str, Any]) -> None:
        self.train_opt: dict[str, Any] = opt["train"] if opt["is_train"] else {}
        if opt["is_train"]:
            self.schedule = Schedule.from_options(opt, opt["world_size"])
        super().__init__(opt)

    # Training ---------------------------------------------------------------------------------------------------------

    def init_training_settings(self) -> None:
        """Set up losses, optimizer, EMA and the options of this class."""
        self.amp: str | None = self.train_opt.get("amp")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.amp == "float16")
        self.accumulate: int = self.train_opt.get("accumulate", 1)
        self.grad_clip: float | None = self.train_opt.get("grad_clip")
        above = self.train_opt.get("skip_above")
        self.leap_filter = LeapFilter(above) if above else None
        self.losses = LossAverage(self.opt["world_size"] if self.opt["dist"] else 1)
        self.trained_modules: tuple[str, ...] | None = None
        self.validated: set[tuple[str, int]] = set()
        experiment = Path(self.opt["path"]["experiments_root"])
        self.history = ValidationHistory(experiment / "validation.csv")
        if self.train_opt.get("activation_checkpointing"):
            checkpoint_activations(self.get_bare_model(self.net_g), self.opt["network_g"]["type"])
        if self.train_opt.get("compile"):
            self.get_bare_model(self.net_g).compile()
        get_root_logger().info(describe_schedule(self.train_opt))
        if expected := describe_end(self.opt.get("expected", [])):
            get_root_logger().info(expected)
        self.net_g.train()
        self._begin_average()
        self.criteria = Criteria(self.train_opt).to(self.device)
        self.setup_optimizers()
        self.setup_schedulers()

    def _begin_average(self) -> None:
        """Build the network that holds the moving average of the weights, if there is one."""
        self.ema_decay: float = self.train_opt.get("ema_decay", 0)
        if self.ema_decay == 0:
            return
        get_root_logger().info(f"Use Exponential Moving Average with decay: {self.ema_decay}")
        self.net_g_ema = build_network(self.opt["network_g"]).to(self.device)
        path = self.opt["path"]
        if path.get("resume_state") and path.get("pretrain_network_g") is not None:
            strict = path.get("strict_load_g", True)
            self.load_network(self.net_g_ema, path["pretrain_network_g"], strict, "params_ema")
        else:
            self.model_ema(0)  # a tail that was not loaded must be the same in both
        self.net_g_ema.eval()

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move the network to the device; wrap it for several processes."""
        if self.train_opt.get("channels_last"):
            net = net.to(memory_format=torch.channels_last)
        wrapped: nn.Module = super().model_to_device(net)
        return wrapped

    def setup_optimizers(self) -> None:
        """Make the optimizer of the first iteration."""
        self._train_modules(self.schedule.trainable(1))

    def setup_schedulers(self) -> None:
        """Do nothing: the learning rate is a function of the iteration, without a scheduler."""

    def _train_modules(self, names: tuple[str, ...] | None) -> None:
        """Train only the named modules (None: the whole network), with a new optimizer."""
        bare = self.get_bare_model(self.net_g)
        frozen = {} if names is None else without_modules(dict(bare.named_parameters()), names)
        for name, parameter in bare.named_parameters():
            parameter.requires_grad_(name not in frozen)
        if self.opt["dist"] and names != self.trained_modules:
            # DistributedDataParallel looks at requires_grad only when it wraps the network.
            self.net_g = self.model_to_device(bare)
        trained = [parameter for parameter in bare.parameters() if parameter.requires_grad]
        self.optimizer_g = make_optimizer(self.train_opt["optim_g"], trained)
        self.optimizers = [self.optimizer_g]
        self.trained_modules = names
        if self.leap_filter:
            self.leap_filter.forget()

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Set learning rate and trained modules of an iteration.

        Args:
            current_iter: Iteration that is about to begin, from 1.
            warmup_iter: Ignored; the schedule has it.
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
        """Make one optimizer step with the batch of `feed_data`.

        Args:
            current_iter: The iteration, from 1.
        """
        self.optimizer_g.zero_grad(set_to_none=True)
        parts = list(zip(self.lq.chunk(self.accumulate), self.gt.chunk(self.accumulate), strict=True))
        for part, (lq, gt) in enumerate(parts, 1):
            with self._synchronize_if(part == len(parts)):
                with autocast(self.device.type, self.amp):
                    output = self.net_g(lq)
                losses = self.criteria(output.float(), gt)
                share = len(lq) / len(self.lq)
                self.scaler.scale(total(losses) * share).backward()
            for name, value in losses.items():
                self.losses.add(name, value.detach() * share)
        self.losses.end_iteration()
        leaps = self._finish_gradients(current_iter)
        if not leaps:
            self.scaler.step(self.optimizer_g)
        self.scaler.update()
        if self.ema_decay > 0 and not leaps:
            self.model_ema(self.ema_decay)

    def _finish_gradients(self, iteration: int) -> bool:
        """Clip the gradients; returns whether they leap, so that the iteration is to be skipped.

        Raises:
            InputError: They have not been finite for long.
        """
        if self.grad_clip is None and not self.leap_filter:
            return False
        self.scaler.unscale_(self.optimizer_g)
        gradients = [parameter.grad for parameter in self.net_g.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.leap_filter and self._leaps(self.leap_filter, norm, iteration):
            return True
        if self.grad_clip is not None:
            nn.utils.clip_grads_with_norm_(self.net_g.parameters(), self.grad_clip, norm)
        return False

    def _leaps(self, leap_filter: LeapFilter, norm: Tensor, iteration: int) -> bool:
        """Whether the gradient leaps, which is the same in all processes. Waits for the GPU."""
        if self.opt["dist"]:
            dist.broadcast(norm, 0)
        value, median = norm.item(), leap_filter.median
        if self.scaler.is_enabled() and not math.isfinite(value):
            return False  # float16: the scaler leaves this step out and lowers its factor
        try:
            leaps = leap_filter.leaps(value)
        except FloatingPointError:
            raise diverged("the gradient", self.opt["name"], self.amp) from None
        if leaps:
            message = f"iteration {iteration:,} is skipped: gradient norm {value:.4g}, lately {median:.4g}"
            get_root_logger().info(message, extra=FILE_ONLY)
        return leaps

    def _synchronize_if(self, last: bool) -> AbstractContextManager[None]:
        """Let the processes exchange gradients only after the last part of a batch."""
        if self.opt["dist"] and not last:
            context: AbstractContextManager[None] = self.net_g.no_sync()  # type: ignore[operator]
            return context
        return nullcontext()

    def model_ema(self, decay: float = 0.999) -> None:
        """Update the exponential moving average of the weights; decay 0 copies them."""
        bare = self.get_bare_model(self.net_g)
        averaged, current = (list(net.parameters()) for net in (self.net_g_ema, bare))
        get_ema_multi_avg_fn(decay)(averaged, current, 0)
        for buffer, value in zip(self.net_g_ema.buffers(), bare.buffers(), strict=True):
            buffer.copy_(value)

    def get_current_log(self) -> dict[str, float]:
        """Losses since the last call, averaged over iterations and processes, and iterations skipped so far.

        Waits for the GPU.

        Raises:
            InputError: A loss is not finite.
        """
        losses = self._finite_losses()
        self.losses.reset()
        return {**losses, SKIPPED: self.leap_filter.count} if self.leap_filter else losses

    def _finite_losses(self) -> dict[str, float]:
        try:
            return self.losses.values()
        except FloatingPointError as error:
            raise diverged(f"the loss{error}", self.opt["name"], self.amp) from None

    # Checkpoints ------------------------------------------------------------------------------------------------------

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = "params"
    ) -> None:
        """Load a published or a BasicSR checkpoint; a warm start leaves out the modules that it trains.

        Args:
            net: Network, bare or wrapped.
            load_path: File of `torch.save`.
            strict: Whether names and shapes must match; otherwise only matching weights are loaded.
            param_key: Key of the weights in a BasicSR file; bare files need none.

        Raises:
            InputError: The file cannot be read, or does not fit while `strict`.
        """
        net = self.get_bare_model(net)
        fresh: tuple[str, ...] = ()
        if self.is_train and not self.opt["path"].get("resume_state"):
            fresh = self.schedule.warm_start_trainable
        load_weights(net, load_path, strict=strict, param_key=param_key, fresh=fresh)

    def save(self, epoch: int, current_iter: int) -> None:
        """Write the network and, except at the end of a run (-1), the training state.

        Raises:
            InputError: The training has diverged: the loss or a weight is not finite. Nothing is written.
        """
        self._finite_losses()
        weights = [parameter.isfinite().all() for parameter in self.get_bare_model(self.net_g).parameters()]
        if not torch.stack(weights).all():
            raise diverged("a weight", self.opt["name"], self.amp)
        self._save_networks(current_iter)
        self.save_training_state(epoch, current_iter)

    def _save_networks(self, label: int | str, facts: dict[str, Any] | None = None) -> None:
        if hasattr(self, "net_g_ema"):
            self.save_network([self.net_g, self.net_g_ema], "net_g", label, ["params", "params_ema"], facts=facts)
        else:
            self.save_network(self.net_g, "net_g", label, facts=facts)

    @master_only
    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int | str,
        param_key: str | list[str] = "params",
        *,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Write `net_label`_`current_iter`.pth (-1: latest): the state dict of each network under its key, and facts.

        The file states network_g, scale, iteration and version; `facts` add to them, or replace them.
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        bare = {key: self.get_bare_model(part) for key, part in zip(keys, nets, strict=True)}
        label = "latest" if current_iter == -1 else current_iter
        stated = {
            "network_g": self.opt["network_g"],
            "scale": self.opt["scale"],
            "iteration": self.schedule.total_iter if current_iter == -1 else current_iter,
            "version": package_version(),
            **(facts or {}),
        }
        save_networks(bare, Path(self.opt["path"]["models"]) / f"{net_label}_{label}.pth", stated)

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `current_iter`.state for `resume_training`; nothing at the end of a run (-1)."""
        if current_iter == -1:
            return
        generators = evaluation.gather([random_states()])
        if self.opt["rank"] == 0:
            state = {
                "epoch": epoch,
                "iter": current_iter,
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
                "optimizer": self.train_opt["optim_g"]["type"],
                "schedulers": [],  # BasicSR's own models need the key
                "scaler": self.scaler.state_dict(),
                "leaps": self.leap_filter.state_dict() if self.leap_filter else None,
                "generators": generators,
                "batch": self.opt.get("batch"),
            }
            save_atomically(state, Path(self.opt["path"]["training_states"]) / f"{current_iter}.state")

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Restore optimizer, scaler, random generators and best results from a training state.

        Args:
            resume_state: State written by `save_training_state` or by BasicSR's `SRModel`.

        Raises:
            InputError: The optimizer state belongs to another network.
        """
        modules = self.schedule.trainable(resume_state["iter"])
        if modules != self.trained_modules:
            self._train_modules(modules)
        self._resume_optimizer(resume_state)
        if self.leap_filter and resume_state.get("leaps"):
            self.leap_filter.load_state_dict(resume_state["leaps"])
        if self.scaler.is_enabled() and resume_state.get("scaler"):
            self.scaler.load_state_dict(resume_state["scaler"])
        generators = resume_state.get("generators", [])
        if self.opt["rank"] < len(generators):
            restore_random_states(generators[self.opt["rank"]])
        get_root_logger().info(f"going on from iteration {resume_state['iter']}")
        self.history.read(last=resume_state["iter"])
        self.validated = {(row.dataset, row.iteration) for row in self.history.rows}
        self._restore_best_results()
        if self.opt["rank"] == 0:
            for key in ("experiments_root", "models", "training_states"):
                remove_leftovers(Path(self.opt["path"][key]))

    def _resume_optimizer(self, resume_state: dict[str, Any]) -> None:
        path, block = self.opt["path"]["resume_state"], self.train_opt["optim_g"]
        kind = resume_state.get("optimizer", "Adam")  # BasicSR has no other
        if kind != block["type"]:
            raise InputError(
                f"{path}: is of a training with {kind}, and train.optim_g.type is {block['type']}; resume with {kind}, "
                "or begin another training with its weights (path.pretrain_network_g)"
            )
        try:
            state = resume_state["optimizers"][0]
            # Its groups have the arguments of the run that wrote it, whatever the options say now.
            groups = [{**group, **arguments_of(block)} for group in state["param_groups"]]
            self.optimizer_g.load_state_dict({**state, "param_groups": groups})
        except (ValueError, KeyError, IndexError) as error:
            raise InputError(f"{path}: does not fit these options ({error}); resume with those of its run") from None
