"""Gene context embeddings, streamed: the decoder runs over chosen cells, and only sums over parts of them stay.

What is kept is one array (4, n_genes, n_genes + decoder width), however many cells there are: in each quarter of the
cells, how the contexts of two genes change together, and the mean context of each gene.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from scfviz.data.align import AlignedCounts
    from scfviz.model.engine import InferenceRun
    from scfviz.model.prepared_decoder import KeySample
    from scfviz.model.scfoundation import ScFoundation


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
    precision, device, out, progress, should_stop
        See `scfviz.model.infer.embed_cells`.

    Raises
    ------
    DatasetError, OptionError, CheckpointError, JobError, Stopped
        See `scfviz.model.infer.embed_cells`.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7 (the embeddings); how they change together is ours.
    """
    import torch

    from scfviz.model.engine import InferenceRun

    run = InferenceRun(counts, model, None, None, precision, device)
    n_genes, width = len(genes), model.config.decoder_width
    members = [np.flatnonzero(quarter == number) for number in range(int(quarter.max()) + 1)]
    task = {
        "task": "gene contexts of quarters",
        "genes": hashlib.sha256(genes.tobytes()).hexdigest()[:16],
        "quarters": hashlib.sha256(quarter.astype(np.int64).tobytes()).hexdigest()[:16],
        "keys_drawn": KEYS_DRAWN,
    }
    store = run.open_store(out, (len(members), n_genes, n_genes + width), task, decode=True, resume=True)
    sums = store.load_sums()
    if sums is None:
        sums = np.zeros(store.values.shape[1:])
    wanted = torch.from_numpy(genes).to(run.device)
    sample, error = _sample_keys(run, wanted)

    def sum_cells(cells: Any) -> np.ndarray:
        total = torch.zeros(sums.shape, device=run.device)
        for values, _hidden in run.decode(cells, wanted, sample):
            total[:, :n_genes].addmm_(values, values.T)
            total[:, n_genes:] += values
        return total.cpu().numpy()[None]

    def add(indices: np.ndarray, values: np.ndarray, is_last: bool) -> None:
        for part in values:
            np.add(sums, part, out=sums)
        if is_last:
            number = quarter[indices[0]]
            store.values[number] = sums / len(members[number])
            sums.fill(0)

    run.compute(
        store, sum_cells, add, decode=True, progress=progress, should_stop=should_stop, groups=members, sums=sums
    )
    values = store.finish()
    n_cells = np.array([len(cells) for cells in members])
    about = run.provenance(task["task"]) | ({"keys_drawn": KEYS_DRAWN, "keys_error": error} if sample else {})
    return Contexts(values[..., :n_genes], values[..., n_genes:], n_cells, about)


def _sample_keys(run: "InferenceRun", wanted: "torch.Tensor") -> tuple["KeySample | None", float]:
    """Genes for the decoder to attend to, and the error that this leaves on a few cells; None where it is too large."""
    import torch

    from scfviz.model.prepared_decoder import KeySample

    sample = KeySample(run.config.n_genes, wanted, KEYS_DRAWN)
    tried = np.unique(np.linspace(0, run.source.n_obs - 1, _CELLS_TRIED).astype(np.int64))
    with torch.inference_mode():
        exact, sampled = (
            torch.stack([values for values, _hidden in run.decode(run.read(tried), wanted, keys)])
            for keys in (None, sample)
        )
    exact, sampled = (values - values.mean(0) for values in (exact, sampled))
    error = float((sampled - exact).norm() / exact.norm().clamp_min(1e-12))
    return (sample if error <= _LARGEST_ERROR else None), error


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
