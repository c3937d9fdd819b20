"""An inference run whose windows are computed by the workers of a cluster."""

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import scfviz
from scfviz.errors import JobError
from scfviz.model.batching import BatchPlan, cell_flops, most_tokens_per_batch
from scfviz.model.checkpoint import load_checkpoint
from scfviz.model.cluster.worker import CELLS, REPORT, WindowJob, compute_window, evaluate_cells
from scfviz.model.cluster.workers import SECONDS_BETWEEN_LOOKS, SchedulerLost, ShouldStop, Workers, explain
from scfviz.model.engine import Evaluate, InferenceRun, Progress, weights_hash
from scfviz.model.scfoundation import ScFoundation
from scfviz.model.store import ResultStore

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

# Work of a window: some seconds of a core, or of a GPU. It does not depend on the number of workers, so that whatever
# cluster goes on finds what another one has done.
FLOP_PER_WINDOW = {"cpu": 2e12, "cuda": 2e14, "mps": 2e13}
_TASKS_PER_THREAD = 2
_SECONDS_UNTIL_SEEN = 90.0  # a file system may show new files late


def is_on_disk(counts: Any, model: ScFoundation) -> bool:
    """Whether workers can open both themselves."""
    if getattr(counts, "origin", None) is None or model.folder is None:
        return False
    return weights_hash(load_checkpoint(model.folder)) == weights_hash(model)


@contextmanager
def start_run(
    cluster: str | None,
    out: Path | str | None,
    should_stop: ShouldStop | None,
    counts: Any,
    model: ScFoundation,
    *options: Any,
) -> Iterator[InferenceRun]:
    """A run on the workers of a cluster where one is given and they can open everything themselves, else one here.

    Parameters
    ----------
    cluster, out, should_stop
        See `infer.embed_cells`.
    counts, model, *options
        See `InferenceRun`.
    """
    if cluster is None or out is None or not is_on_disk(counts, model):
        yield InferenceRun(counts, model, *options)
        return
    with Workers(cluster) as workers:
        yield ClusterRun(workers, Path(out), should_stop, counts, model, *options)


class ClusterRun(InferenceRun):
    """An `InferenceRun` on a cluster, see there.

    Parameters
    ----------
    workers, out
        Who computes; and the folder, which they all see.
    """

    def __init__(
        self,
        workers: Workers,
        out: Path,
        should_stop: ShouldStop | None,
        counts: "AlignedCounts",
        model: ScFoundation,
        *options: Any,
    ):
        self._workers = workers
        self._counts, self._checkpoint = counts, model.folder.resolve()
        self._folder = out.resolve() / "windows"
        self._should_stop = should_stop or (lambda: False)
        super().__init__(counts, model, *options)

    def _prepare(self, device: str, precision: str) -> None:
        kind, self.precision = self._ask(lambda: self._workers.resolve(device, precision, self._should_stop))
        self.device, self._device_name = torch.device(kind), kind if device == "auto" else device

    def _ask(self, ask: Callable[[], Any]) -> Any:
        while True:
            try:
                return ask()
            except SchedulerLost:
                self._workers.reconnect(self._should_stop)

    def _plan(self, decode: bool) -> BatchPlan:
        n_tokens = most_tokens_per_batch(self.device, decode)  # by which a run without a cluster would go on
        if decode:  # sums depend on batches: those of one machine
            return BatchPlan(n_tokens)
        n_entries = int(self.source.n_expressed.sum())
        per_entry = float(cell_flops(self.config, self.source.n_expressed + 2, decode).sum()) / max(n_entries, 1)
        limit = BatchPlan(n_tokens).entries_per_window
        return BatchPlan(n_tokens, int(np.clip(FLOP_PER_WINDOW[self.device.type] / per_entry, 1, limit)))

    def open_store(
        self, out: Path | str, shape: tuple[int, ...], task: dict[str, Any], *, decode: bool, resume: bool
    ) -> ResultStore:
        """See `InferenceRun`."""
        store = super().open_store(out, shape, task, decode=decode, resume=resume)
        if not resume:
            shutil.rmtree(self._folder, ignore_errors=True)
        return store

    def hardware(self) -> str:
        """What the workers compute on."""
        return ", ".join(sorted(self._workers.hardware))

    def _try_out(self, store: ResultStore, evaluate: Evaluate, indices: np.ndarray) -> np.ndarray:
        given = self._publish(store), self._should_stop, evaluate_cells
        return self._ask(lambda: self._workers.ask_one(*given, given[0], evaluate, indices.tolist()))

    def _compute(
        self,
        store: ResultStore,
        evaluate: Evaluate,
        keep: Callable[[np.ndarray, np.ndarray, bool], None],
        decode: bool,
        progress: Progress | None,
        _should_stop: ShouldStop | None,
        groups: Sequence[np.ndarray] | None,
        sums: np.ndarray | None,
    ) -> None:
        job, plan = self._publish(store), None if groups is None else store.plan
        work = cell_flops(self.config, self.source.n_expressed + 2, decode)
        windows, running = _Windows(job, store, self.source.n_expressed, work, groups, sums), {}
        while not windows.is_complete:
            if progress is not None:
                progress(int(self.source.n_obs * windows.share_done()), self.source.n_obs)
            try:
                able = self._workers.able(job, self._should_stop)
                _hear(windows, running, able)
                while windows.todo and len(running) < _TASKS_PER_THREAD * sum(able.values()):
                    number = windows.todo.popleft()
                    given = job, evaluate, plan, *windows.ranges[number]
                    task = self._workers.submit(compute_window, *given, workers=list(able))
                    running[task] = number, able.keys()
            except SchedulerLost:
                self._workers.reconnect(self._should_stop)
                windows.todo.extendleft(number for number, _able in running.values())
                running.clear()
            if not windows.take(keep):
                time.sleep(SECONDS_BETWEEN_LOOKS)
        shutil.rmtree(self._folder, ignore_errors=True)
        if progress is not None:
            progress(self.source.n_obs, self.source.n_obs)

    def _publish(self, store: ResultStore) -> WindowJob:
        """Write what workers need to know of the cells, and say where it is."""
        from scfviz.data.open import write_report
        from scfviz.data.source import take_fingerprint

        counts, (path, column) = self._counts, self._counts.origin
        self._folder.mkdir(exist_ok=True)
        write_report(self._folder / REPORT, counts.counts_report, path)
        about = {"n_expressed": self.source.n_expressed, "totals": self.source.totals}
        about["is_measured"] = counts.is_measured
        if counts.cells is not None:
            about["rows"] = counts.cells
        with (self._folder / f".{CELLS}").open("wb") as file:
            np.savez(file, **about)
        (self._folder / f".{CELLS}").replace(self._folder / CELLS)
        (self._folder / REPORT).chmod(0o644)  # workers may be another user's
        return WindowJob(
            version=scfviz.__version__,
            data=str(path),
            data_size=take_fingerprint(path).size,
            gene_column=column,
            checkpoint=str(self._checkpoint),
            weights=self._weights,
            folder=str(self._folder),
            content=store.content(),
            target_depth=self.target_depth,
            depth_fold=self.depth_fold,
            precision=self.precision,
            device=self._device_name,
        )


class _Windows:
    """Which windows are to be computed, which are, and which of these are in the store, which takes them in order."""

    def __init__(
        self,
        job: WindowJob,
        store: ResultStore,
        n_expressed: np.ndarray,
        work: np.ndarray,
        groups: Sequence[np.ndarray] | None,
        sums: np.ndarray | None,
    ):
        self._job, self._store, self._sums = job, store, sums
        windows = list(store.plan.windows(n_expressed, groups))
        self.ranges = [(int(window[0]), int(window[-1]) + 1) for window in windows]
        self._batches = np.cumsum([len(store.plan.batches(n_expressed[window] + 2)) for window in windows])
        self._work = np.array([work[window].sum() for window in windows])
        self._next = int(np.searchsorted(self._batches, store.batches_done, side="right"))
        self._computed: dict[int, float] = {}  # and since when
        self.todo: deque[int] = deque()
        for number in range(self._next, len(windows)):
            if job.window(*self.ranges[number]).exists():
                self.note_computed(number)
            else:
                self.todo.append(number)

    @property
    def is_complete(self) -> bool:
        """Whether the store holds everything."""
        return self._next == len(self.ranges)

    def share_done(self) -> float:
        """Of the work, 0 to 1."""
        done = self._work[: self._next].sum() + self._work[list(self._computed)].sum()
        return float(done / self._work.sum())

    def note_computed(self, number: int) -> None:
        """A window has been written."""
        self._computed[number] = time.monotonic()

    def take(self, keep: Callable[[np.ndarray, np.ndarray, bool], None]) -> bool:
        """Bring windows into the store, and remove their files; returns whether there were some."""
        taken = []
        while self._next in self._computed:
            first, last = self.ranges[self._next]
            path = self._job.window(first, last)
            try:
                values = np.load(path, allow_pickle=False)
                expected = (last - first, np.float32) if self._sums is None else (1, np.float64)
                if values.shape != (expected[0], *self._store.values.shape[1:]) or values.dtype != expected[1]:
                    raise ValueError("another shape")
            except FileNotFoundError:
                if time.monotonic() - self._computed[self._next] < _SECONDS_UNTIL_SEEN:
                    break
                raise JobError(
                    f"A worker has written '{path}', and it is not there.",
                    "Results come through a file system that workers and this computer share.",
                    "Give an output on such a file system.",
                ) from None
            except (ValueError, EOFError):  # damaged on the disk
                path.unlink(missing_ok=True)
                del self._computed[self._next]
                self.todo.appendleft(self._next)
                break
            keep(np.arange(first, last), values, True)
            del self._computed[self._next]
            self._store.batches_done = int(self._batches[self._next])
            self._next += 1
            taken.append(path)
        if taken:
            self._store.save(self._sums, force=True)
            for path in taken:
                path.unlink(missing_ok=True)
        return bool(taken)


def _hear(windows: _Windows, running: dict[Any, tuple[int, Any]], able: dict[str, int]) -> None:
    """Take note of the tasks that ended, and take back those that nobody is left to compute."""
    for task, (number, given_to) in list(running.items()):
        status = task.status
        if status == "pending" and given_to & able.keys():
            continue
        del running[task]
        if status == "finished":
            windows.note_computed(number)
        elif status == "error":
            first, last = windows.ranges[number]
            raise explain(task.exception(), f" at cells {first:,} to {last - 1:,}")
        else:
            task.cancel()
            windows.todo.appendleft(number)
