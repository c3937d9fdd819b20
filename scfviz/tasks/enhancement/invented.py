"""What a method invents: correlations and differences between cells that are known not to be there.

Counts of some genes are drawn again at random, with the depth of each cell and the mean of its cluster, or of all
cells: the first have no correlation with any gene inside a cluster, the second no difference between clusters. What a
method shows of them after all is its own.

Source: after Andrews and Hemberg 2019, doi:10.12688/f1000research.16613.2, who permute genes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.tasks.enhancement.methods import Neighbourhood, Shares, combined, values_at_depth
from scfviz.tasks.enhancement.mixture import Mixture
from scfviz.tasks.enhancement.options import POSTERIOR

if TYPE_CHECKING:
    from scfviz.tasks.enhancement.compute import Expect, Weights
    from scfviz.tasks.enhancement.scores import Split

N_GENES = 60  # of each kind: drawn again by cluster, drawn again over all cells, left alone
STRONG = 0.3  # correlation
FEWEST_CELLS = 10  # of each of two clusters that are compared
LEVEL = 0.05  # of the test


@dataclass(frozen=True)
class Redrawn:
    """Counts with some genes drawn again.

    Attributes
    ----------
    counts
        Sparse (n, n_genes).
    clusters
        int64 (n,), found before.
    by_cluster, by_all, alone
        int64 positions of the genes that were drawn again with their cluster's mean, with that of all cells, and of
        some that were left alone.
    """

    counts: sparse.csr_matrix
    clusters: np.ndarray
    by_cluster: np.ndarray
    by_all: np.ndarray
    alone: np.ndarray


def redraw(
    counts: sparse.csr_matrix, genes: np.ndarray, clusters: np.ndarray, rng: np.random.Generator
) -> Redrawn | None:
    """Draw the counts of some of `genes` again; `None` where they are too few."""
    if len(genes) < 6:
        return None
    chosen = rng.permutation(genes)[: 3 * N_GENES]
    by_cluster, by_all, alone = (np.sort(part) for part in np.array_split(chosen, 3))
    totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    member = sparse.csr_matrix((np.ones(len(clusters)), (clusters, np.arange(len(clusters)))))
    of_cluster = (member @ counts[:, by_cluster]).toarray() / (member @ totals)[:, None]
    of_all = np.asarray(counts[:, by_all].sum(axis=0, dtype=np.float64)).ravel() / totals.sum()
    # the depth at which the counts that stay and those drawn have the wanted shares: else what a cell loses or gains
    # by the drawing would itself be a difference between clusters
    stay = totals - np.asarray(counts[:, np.concatenate([by_cluster, by_all])].sum(axis=1, dtype=np.float64)).ravel()
    depth = (stay / np.maximum(1 - of_all.sum() - of_cluster.sum(axis=1)[clusters], 0.05))[:, None]
    new = counts.tolil()
    new[:, by_cluster] = rng.poisson(of_cluster[clusters] * depth).astype(counts.dtype)
    new[:, by_all] = rng.poisson(of_all * depth).astype(counts.dtype)
    found = sparse.csr_matrix(new)
    found.eliminate_zeros()
    if (np.asarray(found.sum(axis=1)) <= 0).any():  # so few counts that the genes drawn were all there was
        return None
    return Redrawn(found, clusters, by_cluster, by_all, alone)


def count_invented(
    split: "Split",
    mixture: Mixture,
    weights: Mapping[str, "Weights"],
    expect: "Expect | None",
    clusters: np.ndarray,
    rows: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Invented correlations and differences of each method.

    Parameters
    ----------
    split
        Whose visible counts are taken.
    mixture
        What the methods are worth, as it was learned before the drawing.
    weights
        Of the posteriors of the combinations, by name; the model speaks where the weights know it.
    clusters
        int64 (n,), of the cells in `split`.
    rows
        int64, cells whose values are looked at.

    Returns
    -------
    dict
        By method: `invented_per_1000`, pairs of genes in a thousand with a correlation beyond 0.3 inside clusters
        that neither the truth nor the counts have (for the counts: that the truth does not have); `false_positives`,
        percentage of genes without a difference that a rank-sum test between the two largest clusters calls different
        at p < 0.05, where 5 is right. Empty where nothing could be drawn.
    """
    from scfviz.tasks.enhancement.compute import MODEL, Enhancer

    drawn = redraw(split.train, split.genes[split.counted], clusters, np.random.default_rng((split.seed, 4)))
    if drawn is None:
        return {}
    space = Neighbourhood(drawn.counts, seed=split.seed)
    enhancer = Enhancer(drawn.counts, split.is_measured, seed=split.seed)
    target = enhancer.totals * (split.target / split.depth)
    shares: dict[str, Shares] = {name: mixture.simple(name, space) for name in mixture.simple_methods}
    for name, known in weights.items():
        posterior = combined(enhancer, target, known, expect if MODEL in known.exponents else None)
        shares[name] = mixture.mix(space, posterior)
        shares.setdefault(POSTERIOR, posterior)
    genes = np.concatenate([drawn.by_cluster, drawn.alone, drawn.by_all])
    seen, depth = drawn.counts[rows][:, genes].toarray(), enhancer.totals[rows]
    ends = np.cumsum([len(drawn.by_cluster), len(drawn.alone)])
    found: dict[str, dict[str, float]] = {}
    of_counts = np.zeros((len(drawn.by_cluster), len(drawn.alone)))
    for name, method in shares.items():  # the input comes first
        values = values_at_depth(seen, method(rows, genes), depth, target[rows]).astype(np.float64)
        one, other, null = np.split(values, ends, axis=1)
        strength = np.abs(correlate_inside(one, other, drawn.clusters[rows]))
        is_invented = (strength > STRONG) & (of_counts <= STRONG)
        of_counts = strength if not found else of_counts
        found[name] = {"invented_per_1000": 1e3 * float(is_invented.mean())}
        if (rate := false_positives(null, drawn.clusters[rows])) is not None:
            found[name]["false_positives"] = rate
    return found


def correlate_inside(one: np.ndarray, other: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Correlation of each gene of `one` (n, a) with each of `other` (n, b), without the means of clusters."""
    parts = []
    for values in (one, other):
        member = sparse.csr_matrix((np.ones(len(clusters)), (clusters, np.arange(len(clusters)))))
        sizes = np.maximum(np.asarray(member.sum(axis=1)), 1.0)
        left = values - ((member @ values) / sizes)[clusters]
        size = np.sqrt((left**2).sum(axis=0))
        is_varying = size > 1e-6 * np.sqrt((values**2).sum(axis=0) + 1e-12)
        parts.append(np.where(is_varying, left / np.where(is_varying, size, 1.0), 0.0))
    return parts[0].T @ parts[1]


def false_positives(values: np.ndarray, clusters: np.ndarray) -> float | None:
    """Percentage of genes (n, n_genes) without a difference that are called different between the largest clusters."""
    from scipy.stats import mannwhitneyu

    sizes = np.bincount(clusters)
    largest = np.argsort(-sizes)[:2]
    if len(largest) < 2 or sizes[largest[1]] < FEWEST_CELLS:
        return None
    one, other = (values[clusters == cluster] for cluster in largest)
    varies = np.ptp(values, axis=0) > 0
    if not varies.any():
        return 0.0
    found = mannwhitneyu(one[:, varies], other[:, varies], axis=0).pvalue < LEVEL
    return 100 * float(found.sum()) / values.shape[1]
