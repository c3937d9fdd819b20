"""Expression at a greater depth: a cell's own counts, the cells around it and a model, each weighed by its worth.

What a model expects of one cell, and what the dataset says about it, are two views of the same unknown: the share of
each gene in the cell's molecules. Here they become one prior, and the counts that were seen update it. How much each
view is worth is learned on the dataset itself, without knowing the answer: the counts of some cells are split in two,
one half predicts the other. A model that knows nothing gets no weight.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.data.normalise import log_normalise, log_values
from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.enhancement.around import Surroundings
from scfviz.tasks.enhancement.fit import CONCENTRATIONS, TYPICAL, counts_behind, fit_views, more_counts

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.model.scfoundation import ScFoundation
    from scfviz.model.tokens import PreparedCells

DATASET, NEIGHBORS, MODEL = "dataset", "neighbours", "model"
N_LEARN = 16  # cells whose counts are split
INTERVAL = (0.05, 0.95)
_PRIOR_COUNTS, _PRIOR_SHARE = 10.0, 0.25  # neighbours are drawn towards the dataset: counts, and share of their counts

# prepared cells -> ln(1 + counts per 10,000) of all genes at the target depth; the second argument hides nothing
Expect = Callable[["PreparedCells", None], np.ndarray]


@dataclass(frozen=True)
class Weights:
    """What each view is worth in one dataset.

    Attributes
    ----------
    exponents
        By name of the view: the prior share of a gene is the product of the views' shares to these powers. 0: unused.
    offset
        Added to the logarithm of that product.
    log_concentration, slope
        Size of the gamma prior around it, how many counts of evidence the prior is worth: its logarithm for a gene of
        one in 10,000 molecules, and how that grows with the logarithm of the share.
    """

    exponents: dict[str, float]
    offset: float
    log_concentration: float
    slope: float


@dataclass(frozen=True)
class Enhanced:
    """Expression that a deeper measurement would have shown.

    Attributes
    ----------
    median, low, high
        float32 (n, n_genes), ln(1 + counts per 10,000) at the target depth: the middle of what is expected, and the
        ends of the interval that holds 90 % of it. Zero where a gene was not measured.
    weights
        What the prediction relied on.
    """

    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    weights: Weights


def read_counts(aligned: "AlignedCounts") -> sparse.csr_matrix:
    """All counts, float32, without a second copy of them on the way; estimated ones with fractions are rounded."""
    n_entries = int(np.asarray(aligned.n_expressed, dtype=np.int64).sum())
    data, indices = np.empty(n_entries, dtype=np.float32), np.empty(n_entries, dtype=np.int32)
    indptr = np.zeros(aligned.n_obs + 1, dtype=np.int32 if n_entries < 2**31 else np.int64)
    for start, block in aligned.blocks():
        first, last = int(indptr[start]), int(indptr[start]) + block.nnz
        data[first:last], indices[first:last] = block.data, block.indices
        indptr[start + 1 : start + block.shape[0] + 1] = first + block.indptr[1:]
    counts = sparse.csr_matrix((data, indices, indptr), shape=(aligned.n_obs, aligned.n_genes))
    if not aligned.counts_report.is_whole:
        np.rint(counts.data, out=counts.data)
        counts.eliminate_zeros()
    return counts


def expect_expression(model: "ScFoundation", device: str = "auto") -> Expect:
    """The full forward pass of a model, in fp32, one cell at a time; below zero becomes zero."""
    import torch

    from scfviz.model.lanes import compute_in_order
    from scfviz.model.prepared import PreparedModel, choose_device
    from scfviz.model.tokens import PreparedCells, tokenise

    prepared = PreparedModel(model, choose_device(device), "fp32")

    @torch.inference_mode()
    def expect_one(cells: "PreparedCells", one: slice) -> np.ndarray:
        cell = PreparedCells(cells.values[one], cells.target_token[one], cells.source_token[one])
        tokens = tokenise(cell, model.config).to(prepared.device)
        hidden_LD = prepared.encode(tokens)
        predicted = prepared.to_expression(prepared.decode(hidden_LD, tokens.ids_N), hidden_LD)
        return predicted.clamp_min(0).cpu().numpy()

    def expect(cells: "PreparedCells", _hidden: None) -> np.ndarray:
        found = np.empty(cells.values.shape, dtype=np.float32)
        rows = ((row, functools.partial(expect_one, cells, slice(row, row + 1))) for row in range(len(found)))
        for row, predicted in compute_in_order(rows, prepared.device):
            found[row] = predicted
        return found

    return expect


def refuse_shallow(target: np.ndarray, depth: np.ndarray, names: np.ndarray) -> None:
    """Refuse target depths below the depth of the cell."""
    if (target < depth * (1 - 1e-9)).any():
        worst = int(np.argmin(target / depth))
        raise OptionError(
            f"The target depth of cell {names[worst]} is {target[worst]:,.0f}, it has {depth[worst]:,.0f}.",
            "Counts can be added, not removed.",
            "Choose a target depth above that of every cell.",
        )


class Enhancer:
    """What a dataset says about the expression of its cells, and how that and a model's view make a prediction.

    Counts x of a gene in a cell of depth t are Poisson with mean t times the gene's share; the share is gamma around
    the prior. Counts at the target depth are those seen plus a negative binomial number for the rest.

    Parameters
    ----------
    counts
        Sparse (n_obs, n_genes), whole numbers, in the model's gene order; no cell without counts, at least 3 cells.
    is_measured
        bool (n_genes,).

    Source: splitting counts after Batson et al. 2019, doi:10.1101/786269, and Neufeld et al. 2022,
    doi:10.1093/biostatistics/kxac047; gamma-Poisson posterior after Huang et al. 2018 (SAVER),
    doi:10.1038/s41592-018-0033-z, whose prior comes from a regression in place of a model.
    """

    def __init__(self, counts: sparse.csr_matrix, is_measured: np.ndarray, *, seed: int = 0):
        self.counts, self.is_measured, self.seed = counts, is_measured, seed
        self.totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        self._sums = np.bincount(counts.indices, weights=counts.data, minlength=counts.shape[1])
        self.around = Surroundings(counts, self.totals, seed=seed)

    def learn(self, target_depth: np.ndarray, expect: Expect | None = None) -> Weights:
        """Find what each view is worth, from halves of the counts of some cells.

        Parameters
        ----------
        target_depth
            (n_obs,) counts per cell that the model will be asked for.
        expect
            The model; `None` for the dataset alone.

        Raises
        ------
        DatasetError
            No cell has a count in both halves.
        """
        rng = np.random.default_rng(self.seed)
        rows = np.sort(rng.permutation(len(self.totals))[:N_LEARN])
        one = self.counts[rows].copy()
        one.data = rng.binomial(np.rint(one.data).astype(np.int64), 0.5).astype(one.data.dtype)
        other = self.counts[rows] - one
        one.eliminate_zeros()
        kept = np.flatnonzero((np.diff(one.indptr) > 0) & (np.asarray(other.sum(axis=1)).ravel() > 0))
        if not len(kept):
            raise DatasetError(
                f"No cell of {len(rows)} has two counts.",
                "Counts are split in two to learn what they can predict.",
                "Use deeper cells.",
            )
        rows, one = rows[kept], one[kept]
        views = self._views(rows, one, target_depth[rows], expect, np.flatnonzero(self.is_measured))
        seen, held_back = (part[:, self.is_measured].toarray().astype(np.float64) for part in (one, other[kept]))
        *exponents, offset, concentration, slope = fit_views(list(views.values()), seen, held_back, rng).tolist()
        return Weights(dict(zip(views, exponents, strict=True)), offset, concentration, slope)

    def enhance(
        self,
        rows: np.ndarray,
        target_depth: np.ndarray,
        weights: Weights,
        expect: Expect | None = None,
        genes: np.ndarray | None = None,
    ) -> Enhanced:
        """Predict what cells would show at a greater depth.

        Parameters
        ----------
        rows
            int (n,), which cells.
        target_depth
            (n_obs,) counts per cell, none below the cell's own.
        weights, expect
            From `learn`, with the same model.
        genes
            int (n_chosen,), columns of the results; all genes when left out. Their numbers are the same either way.

        Raises
        ------
        OptionError
            A target depth is below the depth that was measured.
        """
        target, depth = target_depth[rows], self.totals[rows]
        genes = np.arange(len(self.is_measured)) if genes is None else np.asarray(genes)
        is_measured = self.is_measured[genes]
        seen, size, rate = self.posterior(rows, target_depth, weights, expect, genes[is_measured])
        parts = []
        for quantile in (0.5, *INTERVAL):
            more = more_counts(quantile, size, rate, target - depth)
            part = np.zeros((len(rows), len(genes)), dtype=np.float32)
            part[:, is_measured] = log_values(seen + more, target[:, None])
            parts.append(part)
        return Enhanced(*parts, weights)

    def posterior(
        self,
        rows: np.ndarray,
        target_depth: np.ndarray,
        weights: Weights,
        expect: Expect | None,
        genes: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Seen counts of measured genes, and the gamma posterior of their shares: size and rate, each (n, n_genes).

        The parameters are those of `enhance`. The expected share is size / rate.

        Raises
        ------
        OptionError
            A target depth is below the depth that was measured.
        """
        target, depth = target_depth[rows], self.totals[rows]
        refuse_shallow(target, depth, rows + 1)
        columns = self.around.counts_of(genes)
        views = self._views(rows, self.counts[rows], target, expect, genes)
        log_share = sum(weights.exponents[name] * view for name, view in views.items()) + weights.offset
        log_share = np.clip(log_share, -30.0, 0.0)
        concentration = np.exp(
            np.clip(weights.log_concentration + weights.slope * (log_share - TYPICAL), *CONCENTRATIONS)
        )
        seen = columns[rows].toarray()
        return seen, concentration + seen, concentration / np.exp(log_share) + depth[:, None]

    def _views(
        self,
        rows: np.ndarray,
        seen: sparse.csr_matrix,
        target: np.ndarray,
        expect: Expect | None,
        genes: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Logarithm of the shares of some measured genes among all measured ones, float64 (n, len(genes)) by view.

        The dataset's views leave the cell itself out, so that its two halves stay independent (but for the choice of
        its neighbours, which takes the whole cell); the model sees `seen`.
        """
        own = self.counts[rows][:, genes].toarray().astype(np.float64)
        # counts of genes that are not measured are zero
        in_others = (self._sums.sum() - self.totals[rows])[:, None]
        dataset = (self._sums[genes] - own + 0.1) / (in_others + 0.1 * self.is_measured.sum())
        near, depth = self.around.sums(rows, own, genes)
        prior = _PRIOR_COUNTS + _PRIOR_SHARE * depth
        views = {
            DATASET: np.log(dataset),
            NEIGHBORS: np.log((near + prior * dataset) / (depth + prior)),
        }
        if expect is not None:
            from scfviz.model.tokens import PreparedCells

            totals = np.asarray(seen.sum(axis=1, dtype=np.float64)).ravel()
            tokens = (np.log10(depth).astype(np.float32) for depth in (target, totals))
            values = expect(PreparedCells(log_normalise(seen, totals), *tokens), None)[:, self.is_measured]
            counts = np.stack([counts_behind(*cell) for cell in zip(values, target, strict=True)]) + 1e-3
            places = np.searchsorted(np.flatnonzero(self.is_measured), genes)
            views[MODEL] = np.log(counts[:, places] / counts.sum(axis=1, keepdims=True))
        return views
