"""Stages of a long computation: says where it is, stops between two, measures each, keeps what a later run can use."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scfviz.errors import Stopped

READING = 0.02  # share of a run that reading its file counts as


class Steps:
    """The stages of one run of a task.

    Parameters
    ----------
    work
        Folder for what an interrupted run should find again. Arrays in it that become part of the result are moved,
        not copied.
    report
        Called with the share of the work done, 0 to 1, and with what is being done.
    should_stop
        Asked at every stage.
    find_embedding
        Embeddings that are kept from earlier computations, see `scfviz.jobs.embeddings.find_embedding`.
    cluster
        Where the model runs, see `scfviz.model.infer.embed_cells`.
    """

    def __init__(
        self,
        work: Path,
        report: Callable[[float, str], None] = lambda share, stage: None,
        should_stop: Callable[[], bool] = lambda: False,
        find_embedding: Callable[[str, Mapping[str, Any]], tuple[np.ndarray, np.ndarray] | None] = lambda path, of: (
            None
        ),
        cluster: str | None = None,
    ):
        self.work, self._report, self.should_stop, self.cluster = work, report, should_stop, cluster
        self.find_embedding = find_embedding
        self.seconds: dict[str, float] = {}
        self._stage, self._start = "", 0.0

    def step(self, share: float, stage: str) -> "Steps":
        """Begin a stage; as a context it is measured.

        Raises
        ------
        Stopped
            Somebody asked to.
        """
        if self.should_stop():
            raise Stopped
        self._report(share, stage)
        self._stage = stage
        return self

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.seconds[self._stage] = round(time.monotonic() - self._start, 3)

    def progress(self, first: float, last: float) -> Callable[[int, int], None]:
        """What reports (done, total) of the stage at hand as a share between two others."""
        stage = self._stage

        def progress(done: int, total: int) -> None:
            self._report(first + (last - first) * done / max(total, 1), stage)

        return progress

    def watch(self, share: float) -> None:
        """Report how much of a file is read, 0 to 1, before the work itself begins; Stopped as of `step`."""
        if self.should_stop():
            raise Stopped
        self._report(READING * share, self._stage)

    def keep(self, name: str, compute: Callable[[], np.ndarray], *, mapped: bool = False) -> np.ndarray:
        """The array of an earlier run where there is one, else a new one, written as a whole; read at once, or from
        disk as needed.
        """
        path = self.work / f"{name}.npy"
        if not path.exists():
            temporary = self.work / f".{name}.tmp.npy"
            np.save(temporary, compute())
            os.replace(temporary, path)
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
