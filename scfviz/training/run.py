"""A run from its first step, or from where it was interrupted, to its last."""

import contextlib
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from scfviz.errors import OptionError
from scfviz.training.batches import TrainingBatch, TrainingParts, iterate_steps
from scfviz.training.objective import forward_flops
from scfviz.training.options import TrainingOptions
from scfviz.training.state import TrainingLog, read_state, write_state
from scfviz.training.trainer import Trainer

# steps done, steps of the run, loss of the step
Progress = Callable[[int, int, float], None]
ShouldStop = Callable[[], bool]


def run_training(
    trainer: Trainer,
    parts: TrainingParts,
    folder: Path,
    *,
    resume: bool,
    identity: dict[str, Any],
    validate: Callable[[Trainer], dict[str, float]],
    export: Callable[[Trainer, TrainingLog], None],
    say: Callable[[str], None],
    n_workers: int = 0,
    tensorboard: Any = None,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Trainer:
    """Train up to the last step, or until a signal or `should_stop` asks to stop.

    Parameters
    ----------
    folder
        Holds `state.pt` and `log.csv`.
    identity
        What must be equal between a run and its continuation: model, corpus, masking, batches, optimiser.
    validate
        Scores the averaged weights.
    export
        Writes the averaged weights as a checkpoint folder; called on every rank.
    say
        Called with a line of text per logged step, on the first rank.
    progress
        Called after each step with the steps done, the steps of the run, and the mean squared error of the step, on the
        first rank.
    should_stop
        Asked between steps. As after Ctrl-C, the state of the last step is saved and its weights are exported; the run
        then goes on with `resume` to the same curve and weights.

    Raises
    ------
    OptionError
        The stored run was another one.
    JobError
        See `Trainer.train_step`.
    """
    options, ranks = trainer.options, trainer.ranks
    window: list[dict[str, float]] = []
    if resume:
        state = read_state(folder)
        _check_identity(state["identity"], identity, folder)
        trainer.load(state)
        window = [dict(part) for part in state["window"]]
        say(f"resumed at step {trainer.step:,}")
    log = TrainingLog(folder, trainer.step) if ranks.rank == 0 else None
    earlier, began = log.seconds if log else 0.0, time.monotonic()
    stop = _StopSignal(should_stop)
    last_cells, last_time = trainer.seen["cells"], began
    done = trainer.step >= options.steps
    with stop.caught():
        for step_parts in iterate_steps(parts, trainer.step, options.steps, n_workers):
            window.append(trainer.train_step(step_parts, lambda b: _provenance(parts, b)))
            _count(trainer, step_parts)
            if progress is not None and ranks.rank == 0:
                progress(trainer.step, options.steps, _loss(window[-1:]))
            stopping = ranks.sum([float(stop.is_asked())])[0] > 0
            done = trainer.step >= options.steps
            is_due = done or trainer.step % _up(options.validate_every, options.log_every) == 0
            if done or trainer.step % options.log_every == 0:
                row = _summary(window, trainer, options)
                row["cells_per_second"] = (trainer.seen["cells"] - last_cells) / max(time.monotonic() - last_time, 1e-9)
                if is_due:
                    with trainer.averaged_weights():
                        row |= validate(trainer)
                    done |= _is_worn_out(trainer, row)
                row |= {"memory_gb": _memory_gb(ranks.device), "seconds": earlier + time.monotonic() - began}
                window = []
                if log is not None:
                    log.add(row)
                    _to_tensorboard(tensorboard, row)
                    say(_line(row, options.steps))
                last_cells, last_time = trainer.seen["cells"], time.monotonic()
            # before the state: a run that is killed in between exports again
            is_kept = not options.keep_best or trainer.best == float("inf") or (is_due and trainer.waited == 0)
            if is_kept and (done or stopping or is_due):
                with trainer.averaged_weights():
                    export(trainer, log)
            if done or stopping or trainer.step % options.save_every == 0:
                state = {**trainer.state(), "window": window, "identity": identity}
                if ranks.rank == 0:
                    write_state(folder, state)
            if done or stopping:
                break
    if stop.asked and not done:
        say(f"stopped at step {trainer.step:,}; go on with --resume")
    return trainer


def _count(trainer: Trainer, step_parts: list[TrainingBatch]) -> None:
    """Add the step to what the run has seen."""
    lengths = [n for batch in step_parts for n in batch.tokens.lengths]
    flops = 3 * forward_flops(trainer.objective.model.config, lengths, step_parts[0].ids_BR.shape[1])
    for name, value in zip(("cells", "tokens", "flops"), (len(lengths), sum(lengths), flops), strict=True):
        trainer.seen[name] += trainer.ranks.sum([value])[0]


def _check_identity(stored: dict[str, Any], mine: dict[str, Any], folder: Path) -> None:
    different = sorted(name for name in mine if stored.get(name) != mine[name])
    if different:
        raise OptionError(
            "The run to resume had other settings: "
            + "; ".join(f"{name} was {stored.get(name)}, now {mine[name]}" for name in different)
            + ".",
            f"'{folder}' can only be resumed as it was started; steps, rates and intervals may change.",
            "Use the same settings, or another --out.",
        )


def _loss(steps: list[dict[str, float]]) -> float:
    n_entries = sum(part["n_expressed"] + part["n_zero"] for part in steps)
    return sum(part["expressed"] + part["zero"] for part in steps) / max(n_entries, 1)


def _summary(window: list[dict[str, float]], trainer: Trainer, options: TrainingOptions) -> dict[str, Any]:
    total = {name: sum(part[name] for part in window) for name in window[0]}
    return {
        "step": trainer.step,
        "loss": _loss(window),
        "mse_expressed": total["expressed"] / max(total["n_expressed"], 1),
        "mse_zero": total["zero"] / max(total["n_zero"], 1),
        "learning_rate": options.rate_at(trainer.step - 1),
        "gradient_norm": total["norm"] / len(window),
        "cells": int(trainer.seen["cells"]),
        "tokens": int(trainer.seen["tokens"]),
        "flops": trainer.seen["flops"],
    }


def _line(row: dict[str, Any], steps: int) -> str:
    text = (
        f"step {row['step']:,} of {steps:,}  loss {row['loss']:.4f}  expressed {row['mse_expressed']:.4f}  zero "
        f"{row['mse_zero']:.4f}  rate {row['learning_rate']:.2g}  {row['cells_per_second']:.1f} cells/s"
    )
    if "validation" in row:  # else the corpus holds out no cell
        text += (
            f"\n  held-out cells: {row['validation']:.4f}; masked expressed {row['validation_expressed']:.4f}, the "
            f"gene's mean {row['baseline_expressed']:.4f}; zeros {row['validation_zero']:.4f}, "
            f"{row['baseline_zero']:.4f}"
        )
    if "datasets_expressed" in row:
        text += (
            f"\n  held-out datasets: masked expressed {row['datasets_expressed']:.4f}, the gene's mean "
            f"{row['datasets_baseline_expressed']:.4f}"
        )
    return text


def _is_worn_out(trainer: Trainer, row: dict[str, Any]) -> bool:
    """Count validations without a better result; whether they are more than the run's patience."""
    if "validation" not in row:
        return False
    trainer.waited = 0 if row["validation"] < trainer.best else trainer.waited + 1
    trainer.best = min(trainer.best, row["validation"])
    return trainer.options.patience is not None and trainer.waited >= trainer.options.patience


def _provenance(parts: TrainingParts, batch: TrainingBatch) -> str:
    corpus = parts.corpus
    described = [corpus.describe_cell(corpus.cell(position)) for position in batch.positions]
    return ", ".join(described[:8]) + (f" and {len(described) - 8} more" if len(described) > 8 else "")


def _memory_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _to_tensorboard(writer: Any, row: dict[str, Any]) -> None:
    if writer is not None:
        for name, value in row.items():
            if isinstance(value, int | float):
                writer.add_scalar(name, value, row["step"])


def _up(every: int, unit: int) -> int:
    return -(-every // unit) * unit


class _StopSignal:
    """Finish the step, save, and leave, when the terminal, the system or the caller asks."""

    def __init__(self, should_stop: ShouldStop | None) -> None:
        self.asked, self._should_stop = False, should_stop

    def is_asked(self) -> bool:
        """Whether anybody asked; the caller is asked once."""
        self.asked = self.asked or (self._should_stop is not None and self._should_stop())
        return self.asked

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        def ask(_number: int, _frame: object) -> None:
            self.asked = True

        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: nobody sends signals here
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
