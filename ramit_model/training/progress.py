"""Progress of a training: lines in BasicSR's format in the log file, one line on the terminal, a row of the
table, TensorBoard scalars.
"""

import datetime
import time
from typing import Any

from ramit_model.basicsr_bridge import get_root_logger, master_only
from ramit_model.system.text import readable_time
from ramit_model.training.schedule import Schedule
from ramit_model.training.terminal import FILE_ONLY, ProgressLine
from ramit_model.training.training_table import TrainingTable


class ProgressLogger:
    """Logs the progress of a training; replaces BasicSR's `MessageLogger`.

    The remaining time follows from the average pace of this process, validations and checkpoints included.

    Args:
        opt: Options after BasicSR's parser.
        start_iter: Last iteration before the training was interrupted, or 0.
        tb_logger: TensorBoard writer or None.
        table: Table that gets every line, too.
    """

    def __init__(
        self,
        opt: dict[str, Any],
        start_iter: int = 0,
        tb_logger: Any = None,
        table: TrainingTable | None = None,
    ) -> None:
        self.name, self.total = opt["name"], int(opt["train"]["total_iter"])
        self.tb_logger = tb_logger if opt["logger"].get("use_tb_logger") else None
        self.table = table
        self.start_iter, self.start_time = start_iter, time.monotonic()
        self.images: int = opt.get("train_images", 0)
        self.schedule = Schedule.from_options(opt, opt["world_size"]) if self.images else None
        self.line = ProgressLine(self.total, start_iter)

    def reset_start_time(self) -> None:
        """Leave out the first iteration, which is slower than all others."""
        self.restart_clock(self.start_iter + 1)

    def restart_clock(self, iteration: int) -> None:
        """Measure the pace from the end of `iteration` on."""
        self.start_iter, self.start_time = iteration, time.monotonic()

    @master_only
    def __call__(self, log_vars: dict[str, Any]) -> None:
        """Log one line.

        Args:
            log_vars: epoch, iter, lrs; time and data_time of an iteration (seconds); losses and other scalars.
        """
        epoch, iteration, rates = (log_vars.pop(key) for key in ("epoch", "iter", "lrs"))
        if self.schedule:  # our loader makes one epoch of the whole run; log the passes over the images instead
            epoch = self.schedule.patches_before(iteration + 1) // self.images
        seconds, waiting = log_vars.pop("time", 0.0), log_vars.pop("data_time", 0.0)
        numbers = " ".join(
            f"{name}: {value}" if isinstance(value, int) else f"{name}: {value:.4e}" for name, value in log_vars.items()
        )
        get_root_logger().info(
            f"[{self.name[:5]}..][epoch:{epoch:3d}, iter:{iteration:8,d}, lr:({''.join(f'{r:.3e},' for r in rates)})] "
            f"[eta: {self._eta(iteration)}, time (data): {seconds:.3f} ({waiting:.3f})] {numbers}",
            extra=FILE_ONLY,
        )
        self.line.show(iteration, self._summary(iteration, rates[0], seconds, log_vars))
        if self.table:
            timing = {"seconds": seconds, "data_seconds": waiting}
            self.table.add({"iteration": iteration, "rate": rates[0], **timing, **log_vars})
        if self.tb_logger:
            scalars = {f"losses/{k}" if k.startswith("l_") else k: value for k, value in log_vars.items()}
            for name, value in {**scalars, "lr": rates[0], "time": seconds, "data_time": waiting}.items():
                self.tb_logger.add_scalar(name, value, iteration)

    @master_only
    def show_life(self, iteration: int) -> None:
        """Say how far the training is if nothing was said for a while: log lines may be hours apart."""
        remaining = self._remaining(iteration)
        if remaining is not None and self.line.is_due():
            pace = (time.monotonic() - self.start_time) / (iteration - self.start_iter)
            self.line.show(iteration, f"{pace:.2g} s an iteration, {readable_time(remaining)} left")

    def _summary(self, iteration: int, rate: float, seconds: float, log_vars: dict[str, Any]) -> str:
        """Text that the terminal shows beside the number of the iteration: losses, and numbers of what happened."""
        parts = [
            f"{value} {name}" if isinstance(value, int) else f"{name.removeprefix('l_')} loss {value:.4g}"
            for name, value in log_vars.items()
        ]
        parts += [f"rate {rate:.3g}", f"{seconds:.2g} s an iteration"]
        remaining = self._remaining(iteration)
        return ", ".join([*parts, f"{readable_time(remaining)} left"] if remaining else parts)

    def _eta(self, iteration: int) -> str:
        remaining = self._remaining(iteration)
        return "?" if remaining is None else str(datetime.timedelta(seconds=round(remaining)))

    def _remaining(self, iteration: int) -> float | None:
        """Seconds to the end; None before the first iteration is done."""
        done = iteration - self.start_iter
        if done < 1:
            return None
        return (time.monotonic() - self.start_time) / done * (self.total - iteration)
