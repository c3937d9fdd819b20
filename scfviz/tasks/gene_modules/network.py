"""From each transcription factor to its likely targets, with the evidence of every edge."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

TARGETS_PER_FACTOR = 50
N_NULL = 100
N_TREES, MOST_POOLS = 200, 300
NETWORK_COLUMNS = (
    "source",
    "target",
    "weight",
    "sign",
    "r_model",
    "r_coexpression",
    "trees",
    "expected_r",
    "percentile",
    "stability",
    "rank",
)


def fit_trees(values: np.ndarray, factors: np.ndarray, seed: int = 0) -> np.ndarray:
    """How much each factor helps boosted trees to predict each gene, float32 (n_factors, n_genes).

    Parameters
    ----------
    values
        (n_metacells, n_genes), ln(1 + counts per 10,000).
    factors
        Positions of the transcription factors among the genes.

    Source: Moerman et al. 2019, doi:10.1093/bioinformatics/bty916 (GRNBoost2), by rustscenic.
    """
    from rustscenic.grn import infer

    if len(values) > MOST_POOLS:  # they overlap: more of them hold little more
        values = values[np.sort(np.random.default_rng(seed).choice(len(values), MOST_POOLS, replace=False))]
    names = [str(i) for i in range(values.shape[1])]
    table = infer(
        (np.ascontiguousarray(values, dtype=np.float32), names),
        [names[i] for i in factors],
        n_estimators=N_TREES,
        learning_rate=0.05,
        seed=seed,
        verbose=False,
    )
    row = np.full(values.shape[1], -1)
    row[factors] = np.arange(len(factors))
    found = np.zeros((len(factors), values.shape[1]), dtype=np.float32)
    found[row[table["TF"].astype(int)], table["target"].astype(int)] = table["importance"]
    return found


def percentiles(scores: np.ndarray) -> np.ndarray:
    """Rank of each target among all of its factor, 0 to 1, float64 (n_factors, n_genes); ties in the middle."""
    from scipy.stats import rankdata

    return (rankdata(scores, axis=1) - 0.5) / scores.shape[1]


def edge_weights(similarity: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Weight of each edge, 0 to 1, float64 (n_factors, n_genes): rank of the target among all targets of the factor.

    Of the expected correlation, whatever its sign. Boosted trees are evidence beside it and no part of it: they lowered
    the scores on known networks, and change most when a few cells go (`benchmarks/gene_modules.py`). A factor is no
    target of itself.

    Parameters
    ----------
    similarity
        (n_genes, n_genes), expected correlations.
    """
    scores = np.abs(similarity[factors]).astype(np.float64)
    scores[np.arange(len(factors)), factors] = -1
    weights = percentiles(scores)
    weights[np.arange(len(factors)), factors] = 0
    return weights


def null_percentiles(
    similarity: np.ndarray, factors: np.ndarray, is_factor: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """Share of genes that are no factors, but expressed as much, whose link to the target is weaker.

    Float64 (n_factors, n_genes). It takes away what a target has with any gene.

    Parameters
    ----------
    mean
        (n_genes,) expression, by which each factor gets its 100 nearest genes.
    """
    strength, others = np.abs(similarity), np.flatnonzero(~is_factor)
    found = np.ones((len(factors), len(similarity)))
    for row, factor in enumerate(factors):
        like = others[np.argsort(np.abs(mean[others] - mean[factor]), kind="stable")[:N_NULL]]
        if len(like):
            weaker = strength[like] < strength[factor]
            itself = like[:, None] == np.arange(len(similarity))
            found[row] = (weaker & ~itself).sum(axis=0) / np.maximum((~itself).sum(axis=0), 1)
    return found


def infer_edges(
    names: np.ndarray,
    factors: np.ndarray,
    is_factor: np.ndarray,
    mean: np.ndarray,
    views: dict[str, np.ndarray],
    combined: np.ndarray,
    resampled: Sequence[np.ndarray],
    trees: np.ndarray | None,
    *,
    most: int = TARGETS_PER_FACTOR,
) -> "pd.DataFrame":
    """The best targets of each factor, with their evidence; see `NETWORK_COLUMNS`.

    `weight` is the rank among the factor's targets (1 is the best), `sign` +1 or -1 that of the expected correlation,
    `percentile` that among genes like the factor (see `null_percentiles`), `stability` the share of halves of the
    cells in which the target is among the factor's best again with the same sign.
    """
    import pandas as pd

    if not len(factors):
        return pd.DataFrame({name: [] for name in NETWORK_COLUMNS})
    weights = edge_weights(combined, factors)
    null = null_percentiles(combined, factors, is_factor, mean)
    k = min(most, len(names) - 1)
    targets = np.argsort(-weights, axis=1, kind="stable")[:, :k]
    rows = np.repeat(np.arange(len(factors)), k)
    columns = targets.ravel()
    expected = combined[factors[rows], columns]
    stable = np.zeros(len(rows))
    for one in resampled:
        again = percentiles(np.abs(one[factors]))[rows, columns] >= 1 - 2 * k / len(names)
        stable += again & (np.sign(one[factors[rows], columns]) == np.sign(expected))
    absent = np.full(len(rows), np.nan)
    table = pd.DataFrame(
        {
            "source": names[factors[rows]],
            "target": names[columns],
            "weight": weights[rows, columns],
            "sign": np.where(expected < 0, -1, 1),
            "r_model": views["model"][factors[rows], columns] if "model" in views else absent,
            "r_coexpression": views["coexpression"][factors[rows], columns] if "coexpression" in views else absent,
            "trees": absent if trees is None else trees[rows, columns],
            "expected_r": expected,
            "percentile": null[rows, columns],
            "stability": stable / max(len(resampled), 1),
            "rank": np.tile(np.arange(1, k + 1), len(factors)),
        }
    )
    return table[list(NETWORK_COLUMNS)]


def regulon_matrix(edges: "pd.DataFrame", names: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Signed weight of each target in each regulon, float64 (n_genes, n_factors): edges that beat 95 % of the null."""
    place = {name: i for i, name in enumerate(names)}
    column = {names[factor]: i for i, factor in enumerate(factors)}
    found = np.zeros((len(names), len(factors)))
    good = edges[(edges["percentile"] >= 0.95) & (edges["stability"] >= 0.5)]
    rows = good["target"].map(place).to_numpy(dtype=np.int64)
    columns = good["source"].map(column).to_numpy(dtype=np.int64)
    found[rows, columns] = good["sign"].to_numpy(dtype=float) * good["expected_r"].abs().to_numpy(dtype=float)
    return found
