"""Parts of a training around BasicSR's loop: first validation, end at signals, signs of life, pictures.

BasicSR's loop makes its parts one after another; each is noted here, in place of BasicSR's own function.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ramit_model.basicsr_bridge import get_root_logger, original
from ramit_model.system.errors import InputError, one_line
from ramit_model.system.processes import patience
from ramit_model.training import sampler
from ramit_model.training.interruption import Interruption, StoppedError
from ramit_model.training.progress import ProgressLogger
from ramit_model.training.training_table import TrainingTable

TABLE = "training.csv"
"""Table of the losses, in the folder of the experiment."""


@dataclass
class Session:
    """Parts of the training that runs.

    Attributes:
        opt: Options after BasicSR's parser.
        sampler: Sampler of the training set; BasicSR's knows the epoch.
        val_loaders: Loaders of the validation sets.
        board: TensorBoard writer or None.
        model: The model.
        progress: Logger of the progress.
        interruption: Signals to stop.
        start: Last iteration before this process began.
        iteration: Iterations done; None before the first begins.
        drawn: Measurements that the learning curve shows.
        cleanup: What is to be closed in the end.
    """

    opt: dict[str, Any] = field(default_factory=dict)
    sampler: Any = None
    val_loaders: list[Any] = field(default_factory=list)
    board: Any = None
    model: Any = None
    progress: ProgressLogger | None = None
    interruption: Interruption = field(default_factory=Interruption)
    start: int = 0
    iteration: int | None = None
    drawn: int = 0
    cleanup: ExitStack = field(default_factory=ExitStack)

    def before_iteration(self, iteration: int) -> None:
        """Do what is due before an iteration, which comes after all that the last one did.

        Raises:
            StoppedError: A process got a signal to stop.
        """
        if self.iteration is None:
            self.start = iteration - 1
            self._validate_first()
        self.iteration = iteration - 1
        if number := self.interruption.agreed():
            self.stop(number, iteration - 1)
        if self.progress:
            self.progress.show_life(iteration - 1)
        self.draw_learning_curve()

    def draw_learning_curve(self) -> None:
        """Draw the learning curve into the experiment if it was validated since the last time.

        One that cannot be drawn ends no training: a line says why.
        """
        history = getattr(self.model, "history", None)
        logger = self.opt.get("logger") or {}
        if history is None or self.opt["rank"] != 0 or not logger.get("learning_curve", True):
            return
        if len(history.rows) == self.drawn:
            return
        self.drawn = len(history.rows)
        from ramit_model.training.learning_curve import draw_learning_curve  # imports Matplotlib

        folder = history.path.parent
        try:
            beside = Path(logger["compare_with"]) if logger.get("compare_with") else None
            expected = self.opt.get("expected", [])
            picture = folder / "learning_curve.png"
            draw_learning_curve(self.opt["name"], folder / TABLE, history.rows, beside, picture, expected)
        except (InputError, OSError) as error:
            get_root_logger().warning(f"no learning curve: {one_line(error)}")

    def show_first_batch(self) -> None:
        """Write a picture of the batch with which a training begins."""
        if self.iteration or self.opt["rank"] != 0:
            return
        from ramit_model.training.first_batch import can_be_shown, save_first_batch

        lq, gt = (getattr(self.model, name, None) for name in ("lq", "gt"))
        if can_be_shown(lq) and can_be_shown(gt):
            save_first_batch(lq, gt, Path(self.opt["path"]["experiments_root"], "first_batch.png"))

    def _validate_first(self) -> None:
        """Validate what the training begins with, unless that is known: it counts for the best network, too."""
        if not hasattr(self.model, "validates_first") or not self.model.validates_first(self.start):
            return
        for loader in self.val_loaders:
            self.model.validation(loader, self.start, self.board, self.opt["val"]["save_img"])
        if self.progress:
            self.progress.restart_clock(self.start)

    def stop(self, number: int, iteration: int) -> None:
        """Save a checkpoint and end; all processes do it at the same iteration.

        Args:
            number: The signal.
            iteration: Last iteration that is done.

        Raises:
            StoppedError: Always.
        """
        saved = iteration if iteration > self.start else None
        if saved is not None:
            self.model.save(getattr(self.sampler, "epoch", 0), saved)
        self.interruption.wait_for_all()
        raise StoppedError(number, saved)


_sessions: list[Session] = []


def session() -> Session:
    """The training of this process."""
    return _sessions[0]


@contextmanager
def running() -> Iterator[None]:
    """Make the session of a training, and close what it opened in the end."""
    _sessions[:] = [Session()]
    with session().cleanup:
        yield


def create_train_val_dataloader(opt: dict[str, Any], logger: Any) -> tuple[Any, Any, list[Any], int, int]:
    """`basicsr.train.create_train_val_dataloader`: see `sampler`."""
    created = sampler.create_train_val_dataloader(opt, logger)
    session().sampler, session().val_loaders = created[1], created[2]
    return created


def init_tb_loggers(opt: dict[str, Any]) -> Any:
    """`basicsr.train.init_tb_loggers`; TensorBoard forgets what was logged after the iteration that is resumed.

    Raises:
        InputError: Weights & Biases cannot be used.
    """
    current = session()
    current.opt = opt
    if opt["rank"] != 0 or not opt["logger"].get("use_tb_logger") or "debug" in opt["name"]:
        return None
    wandb = opt["logger"].get("wandb") or {}
    if wandb.get("project") is not None:
        try:
            _start_wandb(opt, **wandb)
        except Exception as error:  # the package has many of its own
            raise InputError(f"logger.wandb: {one_line(error)}; log in, or write wandb: ~") from error
    from torch.utils.tensorboard import SummaryWriter

    resumed = opt.get("resume_iter")
    purge = None if resumed is None else resumed + 1
    current.board = SummaryWriter(Path(opt["root_path"], "tb_logger", opt["name"]), purge_step=purge)
    current.cleanup.callback(current.board.close)
    return current.board


def _start_wandb(
    opt: dict[str, Any], project: str, resume_id: str | None = None, mode: str | None = None, **_: Any
) -> None:
    """Let Weights & Biases take what TensorBoard gets; BasicSR's own function asks today's package for what is gone."""
    import wandb

    resume = "allow" if resume_id else None
    wandb.init(
        project=project, name=opt["name"], id=resume_id, resume=resume, mode=mode, config=opt, sync_tensorboard=True
    )


def build_model(opt: dict[str, Any]) -> Any:
    """`basicsr.models.build_model`; from now on, signals end the training after an iteration."""
    current = session()
    current.model = model = original("basicsr.train:build_model")(opt)
    current.interruption = Interruption(several=opt["dist"], timeout=patience(opt))
    current.cleanup.enter_context(current.interruption.listening())
    model.session = current
    update = model.update_learning_rate

    def update_learning_rate(current_iter: int, warmup_iter: int = -1) -> None:
        current.before_iteration(current_iter)
        update(current_iter, warmup_iter=warmup_iter)

    model.update_learning_rate = update_learning_rate
    optimize = model.optimize_parameters

    def optimize_parameters(current_iter: int) -> None:
        current.show_first_batch()
        optimize(current_iter)

    model.optimize_parameters = optimize_parameters
    current.cleanup.callback(current.draw_learning_curve)
    return model


def progress_logger(opt: dict[str, Any], start_iter: int = 0, tb_logger: Any = None) -> ProgressLogger:
    """`basicsr.train.MessageLogger`: see `progress`."""
    table = TrainingTable(Path(opt["path"]["experiments_root"], TABLE), start_iter) if opt["rank"] == 0 else None
    session().progress = progress = ProgressLogger(opt, start_iter, tb_logger, table)
    return progress
