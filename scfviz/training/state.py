"""What a run leaves on disk: a state to resume from, a log, and nothing half-written."""

import csv
import os
from pathlib import Path
from typing import Any

import torch

from scfviz.errors import CheckpointError

STATE, LOG = "state.pt", "log.csv"

COLUMNS = (
    "step",
    "loss",
    "mse_expressed",
    "mse_zero",
    "learning_rate",
    "gradient_norm",
    "cells",
    "tokens",
    "flops",
    "cells_per_second",
    "memory_gb",
    "seconds",
    "validation",
    "validation_expressed",
    "validation_zero",
    "baseline_expressed",
    "baseline_expressed_masked",
    "baseline_zero",
    "datasets_expressed",
    "datasets_zero",
    "datasets_baseline_expressed",
    "datasets_baseline_expressed_masked",
    "datasets_baseline_zero",
)
TIMING = ("cells_per_second", "memory_gb", "seconds")  # differ between equal runs


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state, whole or not at all; the last good one stays until then."""
    staging = folder / f".{STATE}.writing"
    with staging.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(staging, folder / STATE)


def read_state(folder: Path) -> dict[str, Any]:
    """Read the state of an earlier run.

    Raises
    ------
    CheckpointError
        There is none, or it is damaged.
    """
    try:
        return torch.load(folder / STATE, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"'{folder}' holds no state to resume from.",
            f"A run writes {STATE} there every few hundred steps.",
            "Start without --resume, or give the folder of the interrupted run.",
        ) from None
    except Exception as error:  # torch.load raises many kinds
        raise CheckpointError(
            f"The training state in '{folder}' cannot be read ({error}).", f"{STATE} must be whole.", "Start again."
        ) from error


class TrainingLog:
    """`log.csv`, one row per logged step, with the same rows after an interruption as without."""

    def __init__(self, folder: Path, resumed_at: int):
        self.path = folder / LOG
        self.rows: list[dict[str, Any]] = []
        if resumed_at and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as stream:
                self.rows = [row for row in csv.DictReader(stream) if int(row["step"]) <= resumed_at]
        self._write_all()

    @property
    def seconds(self) -> float:
        """Time spent training so far, over all interruptions."""
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    def add(self, row: dict[str, Any]) -> None:
        """Append one row."""
        row = {column: _short(row.get(column, "")) for column in COLUMNS}
        self.rows.append(row)
        with self.path.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, COLUMNS).writerow(row)

    def copy_to(self, folder: Path) -> None:
        """Put a copy into a checkpoint folder, where the app draws it."""
        if folder.is_dir():
            staging = folder / f".{LOG}.writing"
            staging.write_bytes(self.path.read_bytes())
            os.replace(staging, folder / LOG)

    def _write_all(self) -> None:
        staging = self.path.with_name(f".{LOG}.writing")
        with staging.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(staging, self.path)


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
