"""Gene context embeddings, streamed: the decoder runs over chosen cells, and only sums over parts of them stay.

What is kept is one array (4, n_genes, n_genes + decoder width), however many cells there are: in each quarter of the
cells, how the contexts of two genes change together, and the mean context of each gene.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from scfviz.data.align import AlignedCounts
    from scfviz.model.engine import InferenceRun
    from scfviz.model.prepared_decoder import KeySample
    from scfviz.model.scfoundation import ScFoundation
    from scfviz.model.store import ResultStore
    from scfviz.model.tokens import PreparedCells


CELLS_PER_PART = 64  # whose sums are added up before they are added to a quarter's; on a cluster one worker adds them
KEYS_DRAWN = 256  # genes that the decoder attends to in place of all that a cell does not express
_LARGEST_ERROR = 0.03  # of how contexts change from cell to cell; above it the decoder attends to all genes
_CELLS_TRIED = 6


@dataclass(frozen=True)
class Contexts:
    """Context embeddings of genes in quarters of the cells.

    Attributes
    ----------
    products
        float32 (4, n_genes, n_genes): mean over the cells of the inner product of two genes' contexts.
    means
        float32 (4, n_genes, decoder width): mean context of each gene.
    n_cells
        int64 (4,).
    provenance
        What was computed, with what, on what.
    """

    products: np.ndarray
    means: np.ndarray
    n_cells: np.ndarray
    provenance: dict[str, Any]


def embed_contexts(
    counts: "AlignedCounts",
    model: "ScFoundation",
    genes: np.ndarray,
    quarter: np.ndarray,
    *,
    precision: str = "auto",
    device: str = "auto",
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    cluster: str | None = None,
) -> Contexts:
    """How context embeddings of genes change together over cells; an interrupted run in `out` goes on.

    Parameters
    ----------
    counts
        The cells, in the model's gene order.
    genes
        int64 (n_genes,): positions in the model.
    quarter
        int64 (n_obs,): 0 to 3, none empty.
    precision, device, out, progress, should_stop, cluster
        See `scfviz.model.infer.embed_cells`.

    Raises
    ------
    DatasetError, OptionError, CheckpointError, JobError, Stopped
        See `scfviz.model.infer.embed_cells`.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7 (the embeddings); how they change together is ours.
    """
    from scfviz.model.cluster.run import start_run

    order = np.argsort(quarter, kind="stable")  # so that the cells of a part follow each other
    tried = np.isin(order, np.linspace(0, len(order) - 1, _CELLS_TRIED).astype(np.int64)).nonzero()[0]
    in_order = counts.subset(order) if hasattr(counts, "subset") else counts[order]
    n_cells, n_genes = np.bincount(quarter), len(genes)
    task = {
        "task": "gene contexts of quarters",
        "genes": hashlib.sha256(genes.tobytes()).hexdigest()[:16],
        "quarters": hashlib.sha256(quarter.astype(np.int64).tobytes()).hexdigest()[:16],
        "keys_drawn": KEYS_DRAWN,
        "cells_per_part": CELLS_PER_PART,
    }
    with start_run(cluster, out, should_stop, in_order, model, None, None, precision, device) as run:
        shape = (len(n_cells), n_genes, n_genes + model.config.decoder_width)
        store = run.open_store(out, shape, task, decode=True, resume=True)
        sums, asked = _Sums(n_cells, store), {"genes": tuple(genes.tolist()), "n_drawn": KEYS_DRAWN}
        error = run.try_out(store, partial(_key_error, **asked), tried)
        is_sampled = error <= _LARGEST_ERROR
        run.compute(
            store,
            partial(_sum_contexts, **asked, is_sampled=is_sampled),
            sums.add,
            decode=True,
            progress=progress,
            should_stop=should_stop,
            groups=sums.parts,
            sums=sums.values,
        )
        about = run.provenance(task["task"])
    values = store.finish()
    about |= {"keys_drawn": KEYS_DRAWN, "keys_error": error} if is_sampled else {}
    return Contexts(values[..., :n_genes], values[..., n_genes:], n_cells, about)


class _Sums:
    """Sums over quarters, each of sums over parts of it: the same to the bit, whoever adds up a part.

    Attributes
    ----------
    parts
        Cells of each part, which follow each other as the quarters do.
    values
        float64 (2, ...): of the quarter and of the part at hand.
    """

    def __init__(self, n_cells: np.ndarray, store: "ResultStore"):
        self._n_cells, self._ends, self._store = n_cells, np.cumsum(n_cells), store
        self.parts = [
            np.arange(first, min(first + CELLS_PER_PART, end))
            for n, end in zip(n_cells, self._ends, strict=True)
            for first in range(end - n, end, CELLS_PER_PART)
        ]
        self._starts = [part[0] for part in self.parts]
        kept = store.load_sums()
        self.values = np.zeros((2, *store.values.shape[1:])) if kept is None else kept

    def add(self, indices: np.ndarray, values: np.ndarray, is_last: bool) -> None:
        """Take sums over some cells of a part; see `InferenceRun.compute`."""
        of_quarter, of_part = self.values
        quarter = int(np.searchsorted(self._ends, indices[0], side="right"))
        part = self.parts[int(np.searchsorted(self._starts, indices[0], side="right")) - 1]
        if len(indices) == len(part):  # it comes whole, whatever an interrupted run had of it
            of_part.fill(0)
        for some in values:
            np.add(of_part, some, out=of_part)
        if is_last:
            np.add(of_quarter, of_part, out=of_quarter)
            of_part.fill(0)
        if is_last and part[-1] + 1 == self._ends[quarter]:
            self._store.values[quarter] = of_quarter / self._n_cells[quarter]
            of_quarter.fill(0)


def _sum_contexts(
    run: "InferenceRun", cells: "PreparedCells", genes: tuple[int, ...], n_drawn: int, is_sampled: bool
) -> np.ndarray:
    """Sums over cells (1, n_genes, n_genes + decoder width): inner products of genes' contexts, and the contexts."""
    import torch

    wanted, sample = _rows(genes, run.config.n_genes, n_drawn, run.device)
    total = torch.zeros((len(genes), len(genes) + run.config.decoder_width), device=run.device)
    for values, _hidden in run.decode(cells, wanted, sample if is_sampled else None):
        total[:, : len(genes)].addmm_(values, values.T)
        total[:, len(genes) :] += values
    return total.cpu().numpy()[None]


def _key_error(run: "InferenceRun", cells: "PreparedCells", genes: tuple[int, ...], n_drawn: int) -> float:
    """The error that a sample of genes for the decoder to attend to leaves on a few cells."""
    import torch

    wanted, sample = _rows(genes, run.config.n_genes, n_drawn, run.device)
    exact, sampled = (
        torch.stack([values for values, _hidden in run.decode(cells, wanted, keys)]) for keys in (None, sample)
    )
    exact, sampled = (values - values.mean(0) for values in (exact, sampled))
    return float((sampled - exact).norm() / exact.norm().clamp_min(1e-12))


@lru_cache(maxsize=4)
def _rows(
    genes: tuple[int, ...], n_genes: int, n_drawn: int, device: "torch.device"
) -> tuple["torch.Tensor", "KeySample"]:
    """The genes that are asked for, and those that the decoder attends to beside them."""
    import torch

    from scfviz.model.prepared_decoder import KeySample

    wanted = torch.tensor(genes, dtype=torch.int64, device=device)
    return wanted, KeySample(n_genes, wanted, n_drawn)


def context_similarity(contexts: Contexts, quarters: Sequence[int] = (0, 1, 2, 3)) -> np.ndarray:
    """Correlation between genes of how their contexts change from cell to cell, float32 (n_genes, n_genes).

    The mean of a gene over all cells is subtracted: it says which gene it is, and genes that are alike in that are not
    those that go together.

    Parameters
    ----------
    quarters
        Of the cells, those that count.
    """
    products, center = _mean(contexts, quarters)
    products -= center @ center.T
    length = np.sqrt(np.maximum(np.diag(products), 0))
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 1e-6)
    return np.clip(products * scale[:, None] * scale[None, :], -1, 1).astype(np.float32)


def context_spread(contexts: Contexts) -> np.ndarray:
    """Variance of each gene's context over cells, float64 (n_genes,): how much the model sees it change."""
    products, center = _mean(contexts, range(len(contexts.n_cells)))
    return np.maximum(np.diag(products) - np.square(center).sum(axis=1), 0)


def _mean(contexts: Contexts, quarters: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Products and means over some quarters, float64."""
    quarters = list(quarters)
    share = contexts.n_cells[quarters] / contexts.n_cells[quarters].sum()
    products = sum(w * np.asarray(contexts.products[q], dtype=np.float64) for w, q in zip(share, quarters, strict=True))
    means = sum(w * np.asarray(contexts.means[q], dtype=np.float64) for w, q in zip(share, quarters, strict=True))
    return products, means
