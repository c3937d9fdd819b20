"""The one engine behind all inference: it reads windows of cells, computes batches, and survives what may happen."""

import functools
import hashlib
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

import scfviz
from scfviz.errors import CheckpointError, JobError, OptionError, Stopped
from scfviz.model.batching import (
    BatchPlan,
    cell_flops,
    choose_tokens_per_batch,
    is_out_of_memory,
    release_memory,
)
from scfviz.model.lanes import compute_in_order
from scfviz.model.prepared import PreparedModel, choose_device, choose_precision
from scfviz.model.prepared_decoder import KeySample
from scfviz.model.scfoundation import Pooling, ScFoundation, pool_cells
from scfviz.model.source import CellSource
from scfviz.model.store import ResultStore
from scfviz.model.tokens import (
    PreparedCells,
    check_depth,
    prepare_cells,
    prepare_official_input,
    refuse_empty_cells,
    tokenise,
)

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

Progress = Callable[[int, int], None]
ShouldStop = Callable[[], bool]
Evaluate = Callable[["InferenceRun", PreparedCells], np.ndarray]


class InferenceRun:
    """Cells, a model on a device and the options that both meet with.

    Parameters
    ----------
    counts, model, target_depth, depth_fold, precision, device, official_input, official_totals
        See `infer.embed_cells`.
    prepared
        The model as it was laid out for another run, in place of doing so for `precision` and `device`.

    Raises
    ------
    DatasetError, GeneError, OptionError
        See `infer.embed_cells`; everything foreseeable is refused before anything is computed.
    """

    def __init__(
        self,
        counts: "AlignedCounts | csr_matrix",
        model: ScFoundation,
        target_depth: float | None,
        depth_fold: float | None,
        precision: str,
        device: str,
        official_input: str | None = None,
        official_totals: np.ndarray | None = None,
        *,
        prepared: PreparedModel | None = None,
    ):
        check_depth(target_depth, depth_fold)
        self.config, self.target_depth, self.depth_fold = model.config, target_depth, depth_fold
        self.source, self.official_input = CellSource(counts, model.genes), official_input
        refuse_empty_cells(self.source.totals, self.source.names)
        self._official: PreparedCells | None = None
        self._totals_hash = (
            None if official_totals is None else hashlib.sha256(official_totals.tobytes()).hexdigest()[:16]
        )
        if official_input is not None:
            if depth_fold is not None or self.source.names is not None:
                raise OptionError(
                    f"The input kind '{official_input}' is combined with a depth fold or an aligned dataset.",
                    "It takes a sparse matrix of values, and at most a target depth.",
                    "Leave the input kind out for raw counts.",
                )
            everything = self.source.read(np.arange(self.source.n_obs))  # a median over all samples may be needed
            self._official = prepare_official_input(
                everything, official_input, target_depth=target_depth, totals=official_totals
            )
        self._model, self.prepared = model, prepared
        if prepared is None:
            self._prepare(device, precision)
        else:
            self.device, self.precision = prepared.device, prepared.precision

    def _prepare(self, device: str, precision: str) -> None:
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.prepared = PreparedModel(self._model, self.device, self.precision)

    @functools.cached_property
    def _weights(self) -> str:
        return weights_hash(self._model)

    def _plan(self, decode: bool) -> BatchPlan:
        return BatchPlan(choose_tokens_per_batch(self.config, self.device, self.prepared.dtype.itemsize, decode))

    def open_store(
        self, out: Path | str | None, shape: tuple[int, ...], task: dict[str, Any], *, decode: bool, resume: bool
    ) -> ResultStore:
        """A place for results that knows what they are of.

        Parameters
        ----------
        task
            What else than cells, weights and depths determines the values.
        decode
            Whether the decoder runs too.
        """
        fingerprint = {}
        if out is not None:
            fingerprint = {
                "cells": self.source.fingerprint(),
                "weights": self._weights,
                "config": self.config.as_dict(),
                "target_depth": self.target_depth,
                "depth_fold": self.depth_fold,
                "official_input": self.official_input,
                "official_totals": self._totals_hash,
                "precision": self.precision,
                "device": self.device.type,
                **task,
            }
        return ResultStore(None if out is None else Path(out), shape, self._plan(decode), fingerprint, resume)

    def depths(self) -> tuple[np.ndarray, np.ndarray]:
        """Source and target depth of each cell in counts; NaN for official inputs."""
        source = np.full(self.source.n_obs, np.nan) if self.official_input is not None else self.source.totals
        if self.target_depth is not None:
            return source, np.full(self.source.n_obs, float(self.target_depth))
        return source, source * (self.depth_fold or 1.0)

    def provenance(self, task: str) -> dict[str, Any]:
        """What was computed, with what, on what: plain values without `None`."""
        options = {
            "target_depth": self.target_depth,
            "depth_fold": self.depth_fold,
            "official_input": self.official_input,
            "n_measured_genes": self.source.n_measured,
        }
        return {
            "task": task,
            "scfviz": scfviz.__version__,
            "torch": str(torch.__version__),
            "weights_sha256": self._weights,
            "n_obs": self.source.n_obs,
            "n_genes": self.config.n_genes,
            "precision": self.precision,
            "device": self.device.type,
            "hardware": self.hardware(),
            **{name: value for name, value in options.items() if value is not None},
        }

    def hardware(self) -> str:
        """What computes."""
        return hardware_name(self.device)

    def embed(self, cells: PreparedCells, pooling: Pooling) -> np.ndarray:
        """Embeddings float32 (n, width) of a few cells; see `infer.embed_cells`."""
        tokens = tokenise(cells, self.config).to(self.device)
        return pool_cells(self.prepared.encode(tokens), tokens, pooling).cpu().numpy()

    def compute(
        self,
        store: ResultStore,
        evaluate: Evaluate,
        keep: Callable[[np.ndarray, np.ndarray, bool], None],
        *,
        decode: bool,
        progress: Progress | None,
        should_stop: ShouldStop | None,
        groups: Sequence[np.ndarray] | None = None,
        sums: np.ndarray | None = None,
    ) -> None:
        """Evaluate all batches that are not done yet, in the order of the plan.

        Parameters
        ----------
        evaluate
            Results of a few cells, given this run and them; joined along the first axis when a batch has to be split.
            What a cluster computes is a function of a module, or a `partial` of one: its workers are handed its name.
        keep
            Takes the cell numbers of a batch, its results, and whether it is the last of its group.
        decode
            Whether the decoder runs, for the time left.
        groups
            Ascending cell numbers of each group, over which results are sums; all cells when left out. On a cluster
            one worker adds up a group, whose cells must follow each other.
        sums
            Running sums that `keep` changes, saved with the progress.
        """
        try:
            self._compute(store, evaluate, keep, decode, progress, should_stop, groups, sums)
        except BaseException:  # whatever it was: what is done stays, and another run may go on with it
            store.close()
            raise

    def _compute(
        self,
        store: ResultStore,
        evaluate: Evaluate,
        keep: Callable[[np.ndarray, np.ndarray, bool], None],
        decode: bool,
        progress: Progress | None,
        should_stop: ShouldStop | None,
        groups: Sequence[np.ndarray] | None,
        sums: np.ndarray | None,
    ) -> None:
        lengths = self.source.n_expressed + 2
        work = cell_flops(self.config, lengths, decode)
        total, done, number = float(work.sum()), 0.0, 0
        last_of_group = {int(members[-1]) for members in groups} if groups is not None else set()
        to_do = []
        for window in store.plan.windows(self.source.n_expressed, groups):
            batches = [window[batch] for batch in store.plan.batches(lengths[window])]
            n_done = min(max(store.batches_done - number, 0), len(batches))
            done += sum(float(work[batch].sum()) for batch in batches[:n_done])
            number += len(batches)
            if n_done < len(batches):
                to_do.append((window, batches[n_done:]))
        is_stopped = False

        @torch.inference_mode()
        def compute(cells: PreparedCells, window: np.ndarray, batch: np.ndarray) -> np.ndarray:
            return self._evaluate(evaluate, cells, np.searchsorted(window, batch), batch, store)

        def computations() -> Iterator[tuple[tuple[np.ndarray, bool], Callable[[], np.ndarray]]]:
            nonlocal is_stopped
            for (window, batches), cells in zip(to_do, self._read_ahead(to_do), strict=True):
                for batch in batches:
                    is_stopped = should_stop is not None and should_stop()
                    if is_stopped:
                        return
                    is_last = batch is batches[-1] and int(window[-1]) in last_of_group
                    yield (batch, is_last), partial(compute, cells, window, batch)

        with closing(compute_in_order(computations(), self.device)) as results:
            for (batch, is_last), values in results:
                self._refuse_no_numbers(values, batch)
                keep(batch, values, is_last)
                done += float(work[batch].sum())
                store.batches_done += 1
                store.save(sums)
                if progress is not None:
                    progress(int(self.source.n_obs * min(done / total, 1.0)), self.source.n_obs)
        if is_stopped:
            store.save(sums, force=True)
            raise Stopped
        if progress is not None:
            progress(self.source.n_obs, self.source.n_obs)

    def try_out(self, store: ResultStore, evaluate: Evaluate, indices: np.ndarray) -> np.ndarray:
        """What `evaluate` makes of a few cells before all are computed; see `compute`.

        Parameters
        ----------
        indices
            Ascending cell numbers.
        """
        try:
            return self._try_out(store, evaluate, indices)
        except BaseException:
            store.close()
            raise

    def _try_out(self, _store: ResultStore, evaluate: Evaluate, indices: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return evaluate(self, self.read(indices))

    def _read_ahead(self, to_do: Sequence[tuple[np.ndarray, list[np.ndarray]]]) -> Iterator[PreparedCells]:
        """The cells of each window; the next one is read while this one is computed."""
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = None
            for position in range(len(to_do)):
                cells = (ahead or reader.submit(self.read, to_do[position][0])).result()
                ahead = reader.submit(self.read, to_do[position + 1][0]) if position + 1 < len(to_do) else None
                yield cells

    def decode(
        self, cells: PreparedCells, wanted_K: torch.Tensor | None = None, sample: KeySample | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Gene context embeddings (n_genes, decoder width) and encoder output of one cell after the other.

        Parameters
        ----------
        wanted_K
            Positions of the genes that are asked for, on the run's device; all when left out.
        sample
            Genes that the decoder attends to beside those and the cell's own; all when left out.
        """
        tokens = tokenise(cells, self.config).to(self.device)
        hidden_ND = self.prepared.encode(tokens)
        for hidden_LD, ids_L in zip(hidden_ND.split(tokens.lengths), tokens.ids_N.split(tokens.lengths), strict=True):
            yield self.prepared.decode(hidden_LD, ids_L, wanted_K, sample), hidden_LD

    def decode_as_one_batch(self, model: ScFoundation) -> np.ndarray:
        """Gene context embeddings (n_obs, n_genes, decoder width) of cells that depend on each other; fp32, CPU."""
        everything = np.arange(self.source.n_obs)
        tokens = tokenise(self.read(everything), self.config)
        with torch.inference_mode():
            values = model.decode(model.encode(tokens), tokens, official_batch=True).numpy()
        self._refuse_no_numbers(values, everything)
        return values

    def read(self, indices: np.ndarray) -> PreparedCells:
        """Some cells as the model takes them."""
        if self._official is not None:
            return _take(self._official, indices)
        names = None if self.source.names is None else self.source.names[indices]
        return prepare_cells(
            self.source.read(indices), target_depth=self.target_depth, depth_fold=self.depth_fold, names=names
        )

    def _evaluate(
        self,
        evaluate: Evaluate,
        cells: PreparedCells,
        batch: np.ndarray,
        indices: np.ndarray,
        store: ResultStore,
    ) -> np.ndarray:
        """Results of a batch, in halves where memory does not suffice for it at once."""
        n_tokens = int(self.source.n_expressed[indices].sum()) + 2 * len(indices)
        if len(batch) == 1 or store.batch_limit is None or n_tokens <= store.batch_limit:
            try:
                return evaluate(self, _take(cells, batch))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise self._too_large(int(indices[0])) from error
                store.batch_limit = n_tokens // 2
            # here the error is gone, and with it the tensors that its traceback held
            release_memory(self.device)
        middle = len(batch) // 2
        parts = (slice(None, middle), slice(middle, None))
        return np.concatenate([self._evaluate(evaluate, cells, batch[p], indices[p], store) for p in parts])

    def _refuse_no_numbers(self, values: np.ndarray, indices: np.ndarray) -> None:
        """Nothing that is no number is ever written: it would pass for a result."""
        if np.isfinite(values).all():
            return
        wrong = indices
        if len(values) == len(indices):  # else they are sums over the batch
            wrong = indices[~np.isfinite(values).reshape(len(values), -1).all(axis=1)]
        name = f"number {wrong[0] + 1}" if self.source.names is None else self.source.names[wrong[0]]
        raise CheckpointError(
            f"The model gives values that are no numbers for cell {name} (of {len(wrong):,} in its batch).",
            "Every result must be a finite number: nothing was written from this batch on.",
            "The weights are damaged, or their numbers are too large for this precision: try --precision fp32, then "
            "copy the checkpoint again.",
        )

    def _too_large(self, index: int) -> JobError:
        name = f"number {index + 1}" if self.source.names is None else self.source.names[index]
        return JobError(
            f"Memory does not suffice for cell {name} with {self.source.n_expressed[index]:,} expressed genes.",
            "Each cell must fit into memory on its own.",
            "Close other programs, use a smaller checkpoint, or a device with more memory.",
        )


def weights_hash(model: ScFoundation) -> str:
    """16 hexadecimal digits over all weights and the genes."""
    digest = hashlib.sha256("\0".join(model.genes).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()[:16]


def hardware_name(device: torch.device) -> str:
    """The processor's or accelerator's own name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        cpuinfo = Path("/proc/cpuinfo")
        if cpuinfo.is_file():
            for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("model name"):
                    return f"{line.partition(':')[2].strip()}, {torch.get_num_threads()} threads"
    return platform.processor() or platform.machine()


def _take(cells: PreparedCells, indices: np.ndarray) -> PreparedCells:
    return PreparedCells(cells.values[indices], cells.target_token[indices], cells.source_token[indices])
