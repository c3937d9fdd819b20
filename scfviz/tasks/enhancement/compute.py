"""Expression at a greater depth: a cell's own counts, the cells around it and a model, each weighed by its worth.

What a model expects of one cell, and what the dataset says about it, are two views of the same unknown: the share of
each gene in the cell's molecules. Here they become one prior, and the counts that were seen update it. How much each
view is worth is learned on the dataset itself, without knowing the answer: the counts of some cells are split in two,
one half predicts the other. A model that knows nothing gets no weight.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.analysis.baselines import smooth_cells
from scfviz.errors import DatasetError, OptionError

if TYPE_CHECKING:
    from scfviz.model.tokens import PreparedCells

DATASET, NEIGHBORS, MODEL = "dataset", "neighbours", "model"
N_LEARN = 16  # cells whose counts are split
INTERVAL = (0.05, 0.95)
_MOST_ENTRIES = 120_000  # of the split cells, a random sample: three exponents need no more
_PRIOR_COUNTS, _PRIOR_SHARE = 10.0, 0.25  # neighbours are drawn towards the dataset: counts, and share of their counts
_TYPICAL = np.log(1e-4)  # share of a gene at which the concentration is quoted
_CONCENTRATIONS = (np.log(1e-2), np.log(1e3))
_SMALLEST = 1e-12

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
        self._measured = counts[:, is_measured].astype(np.float64)
        self._sums = np.asarray(self._measured.sum(axis=0)).ravel()

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
        views = self._views(rows, one, target_depth[rows], expect)
        seen, held_back = (part[:, self.is_measured].toarray().astype(np.float64) for part in (one, other[kept]))
        *exponents, offset, concentration, slope = _fit(list(views.values()), seen, held_back, rng).tolist()
        return Weights(dict(zip(views, exponents, strict=True)), offset, concentration, slope)

    def enhance(
        self, rows: np.ndarray, target_depth: np.ndarray, weights: Weights, expect: Expect | None = None
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

        Raises
        ------
        OptionError
            A target depth is below the depth that was measured.
        """
        from scipy.stats import nbinom

        target, depth = target_depth[rows], self.totals[rows]
        if (target < depth * (1 - 1e-9)).any():
            worst = int(np.argmin(target / depth))
            raise OptionError(
                f"The target depth of cell {int(rows[worst]) + 1} is {target[worst]:,.0f}, it has {depth[worst]:,.0f}.",
                "Counts can be added, not removed.",
                "Choose a target depth above that of every cell.",
            )
        views = self._views(rows, self.counts[rows], target, expect)
        log_share = sum(weights.exponents[name] * view for name, view in views.items()) + weights.offset
        log_share = np.clip(log_share, -30.0, 0.0)
        share = np.exp(log_share)
        concentration = np.exp(
            np.clip(weights.log_concentration + weights.slope * (log_share - _TYPICAL), *_CONCENTRATIONS)
        )
        shape = (len(rows), len(self.is_measured))
        median, low, high = (np.zeros(shape, dtype=np.float32) for _ in range(3))
        for i, row in enumerate(rows):
            seen = self._measured[row].toarray().ravel()
            size = concentration[i] + seen
            mean = size / (concentration[i] / share[i] + depth[i]) * max(target[i] - depth[i], 0.0)
            for part, quantile in ((median, 0.5), (low, INTERVAL[0]), (high, INTERVAL[1])):
                more = nbinom.ppf(quantile, size, size / (size + np.maximum(mean, _SMALLEST)))
                part[i, self.is_measured] = np.log1p((seen + np.maximum(more, 0.0)) * (1e4 / target[i]))
        return Enhanced(median, low, high, weights)

    @cached_property
    def walk(self) -> sparse.csr_matrix:
        """(n_obs, n_obs), see `smooth_cells`."""
        from scfviz.model.tokens import log_normalise

        return smooth_cells(log_normalise(self.counts, self.totals), seed=self.seed)

    def _others(self, rows: np.ndarray) -> sparse.csr_matrix:
        """Weights of the other cells around each cell, (n, n_obs); a row sums to one, or is empty."""
        walk = self.walk[rows]
        others = walk - sparse.csr_matrix(
            (walk[np.arange(len(rows)), rows].A1, (np.arange(len(rows)), rows)), walk.shape
        )
        sums = np.asarray(others.sum(axis=1)).ravel()
        return sparse.csr_matrix(sparse.diags(1 / np.where(sums > 1e-12, sums, np.inf)) @ others)

    def _views(
        self, rows: np.ndarray, seen: sparse.csr_matrix, target: np.ndarray, expect: Expect | None
    ) -> dict[str, np.ndarray]:
        """Logarithm of each measured gene's share, float64 (n, n_measured) by view.

        The dataset's views leave the cell itself out, so that its two halves stay independent (but for the choice of
        its neighbours, which takes the whole cell); the model sees `seen`.
        """
        others = self._sums[None] - self._measured[rows].toarray()
        n_measured = others.shape[1]
        dataset = (others + 0.1) / (others.sum(axis=1, keepdims=True) + 0.1 * n_measured)
        walk = self._others(rows)
        n_cells = 1 / np.maximum(np.asarray(walk.multiply(walk).sum(axis=1)), 1e-9)  # as many cells of equal weight
        near = (walk @ self._measured).toarray() * n_cells
        depth = (walk @ self.totals)[:, None] * n_cells
        prior = _PRIOR_COUNTS + _PRIOR_SHARE * depth
        views = {
            DATASET: np.log(dataset),
            NEIGHBORS: np.log((near + prior * dataset) / (depth + prior)),
        }
        if expect is not None:
            from scfviz.model.tokens import PreparedCells, log_normalise

            totals = np.asarray(seen.sum(axis=1, dtype=np.float64)).ravel()
            tokens = (np.log10(depth).astype(np.float32) for depth in (target, totals))
            values = expect(PreparedCells(log_normalise(seen, totals), *tokens), None)[:, self.is_measured]
            counts = np.stack([counts_behind(*cell) for cell in zip(values, target, strict=True)]) + 1e-3
            views[MODEL] = np.log(counts / counts.sum(axis=1, keepdims=True))
        return views


def counts_behind(values: np.ndarray, depth: float) -> np.ndarray:
    """Mean count of a Poisson number whose expected ln(1 + counts per 10,000) is known.

    Parameters
    ----------
    values
        Expected ln(1 + counts per 10,000), any shape; below zero counts as zero.
    depth
        Counts of the cell.

    Returns
    -------
    ndarray
        float64. Up to 60 counts from a table, beyond as if the number were its mean.
    """
    from scipy.stats import poisson

    means = np.concatenate([[0.0], np.geomspace(1e-4, 60.0, 160)])
    numbers = np.arange(160)
    expected = poisson.pmf(numbers, means[:, None]) @ np.log1p(numbers * (1e4 / depth))
    beyond = np.expm1(np.minimum(values, 20.0)) * (depth / 1e4)
    return np.where(values < expected[-1], np.interp(values, expected, means), np.maximum(beyond, means[-1]))


def _fit(
    views: Sequence[np.ndarray],
    seen: np.ndarray,
    held_back: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Exponents, offset, and both numbers of the concentration that make held-back counts likeliest.

    Held-back counts are negative binomial given the seen ones, exactly as in `Enhancer.enhance`.
    """
    from scipy.optimize import minimize
    from scipy.special import digamma, gammaln

    drawn = rng.choice(seen.size, min(seen.size, _MOST_ENTRIES), replace=False)
    centres = np.array([view.mean() for view in views])  # else exponents and offset would pull at each other
    table = np.stack(
        [*(v.ravel()[drawn] - c for v, c in zip(views, centres, strict=True)), np.ones(len(drawn))], axis=1
    )
    x, x_seen = held_back.ravel()[drawn], seen.ravel()[drawn]
    t, t_seen = (np.repeat(part.sum(axis=1), part.shape[1])[drawn] for part in (held_back, seen))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_share = np.clip(table @ parameters[:-2], -30.0, 0.0)
        r = np.exp(np.clip(parameters[-2] + parameters[-1] * (log_share - _TYPICAL), *_CONCENTRATIONS))
        size, prior = r + x_seen, r * np.exp(-log_share)
        rate = prior + t_seen
        likelihood = gammaln(x + size) - gammaln(size) + size * np.log(rate / (rate + t)) + x * np.log(t / (rate + t))
        of_rate = (size * t / rate - x) / (rate + t)
        of_log_r = r * (digamma(x + size) - digamma(size) + np.log(rate / (rate + t))) + of_rate * prior
        of_log_share = of_log_r * parameters[-1] - of_rate * prior
        slopes = [table.T @ of_log_share, [of_log_r.sum(), of_log_r @ (log_share - _TYPICAL)]]
        return -float(likelihood.mean()), -np.concatenate(slopes) / len(x)

    n = len(views)
    bounds = [(0.0, 2.0)] * n + [(-30.0, 0.0), _CONCENTRATIONS, (-1.0, 1.0)]
    exponents = np.full(n, 1 / n)
    found = minimize(
        loss, [*exponents, centres @ exponents, 0.0, 0.0], jac=True, method="L-BFGS-B", bounds=bounds,
        options={"ftol": 1e-10, "maxiter": 200},
    ).x  # fmt: skip
    found[n] -= centres @ found[:n]
    return found
