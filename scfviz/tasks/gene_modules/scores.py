"""Numbers of cells: how strongly each expresses a module, and how active each regulator is."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.analysis.gene_sets import choose_controls
from scfviz.data.normalise import log_normalise

if TYPE_CHECKING:
    from collections.abc import Callable

    from scfviz.data.align import AlignedCounts

ROWS = 4_096
TOP_SHARE = 0.05  # of the measured genes, for `recovery`


def module_weights(
    module: np.ndarray,
    positions: np.ndarray,
    pool: np.ndarray,
    pool_names: np.ndarray,
    pool_mean: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Weights of all genes in the score of each module, float32 (n_all, n_modules): genes less their controls.

    Parameters
    ----------
    module, positions
        (n_genes,) of the genes that take part: number of the module, position among all genes.
    pool, pool_names, pool_mean
        Positions, names and mean expression of the genes that controls are chosen from, the chosen ones among them.

    Source: Satija et al. 2015, doi:10.1038/nbt.3192.
    """
    n_modules = int(module.max(initial=0))
    weights = np.zeros((int(max(pool.max(), positions.max())) + 1, n_modules), dtype=np.float32)
    for number in range(1, n_modules + 1):
        genes = positions[module == number]
        controls = choose_controls(pool_names, pool_mean, pool, genes, seed)
        controls = np.setdiff1d(controls, genes)
        weights[genes, number - 1] += 1 / len(genes)
        if len(controls):
            weights[controls, number - 1] -= 1 / len(controls)
    return weights


def activity_weights(signs: np.ndarray) -> np.ndarray:
    """What turns expression into regulator activity: see `activity`.

    Parameters
    ----------
    signs
        float (n_genes, n_factors): weight of each target, 0 for genes that are none.
    """
    centered = signs - signs.mean(axis=0, keepdims=True)
    length = np.linalg.norm(centered, axis=0, keepdims=True)
    return np.divide(centered, length, out=np.zeros_like(centered), where=length > 0)


def activity(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Activity of regulators in cells, float32 (n_cells, n_factors): the t value of a linear model per regulator.

    Of a cell's expression over genes against the weights of the regulator's targets, as decoupler's `ulm` fits it.

    Parameters
    ----------
    values
        (n_cells, n_genes), ln(1 + counts per 10,000).
    weights
        Of `activity_weights`.

    Source: Badia-i-Mompel et al. 2022, doi:10.1093/bioadv/vbac016.
    """
    centered = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    r = np.divide(centered @ weights, length, out=np.zeros((len(values), weights.shape[1])), where=length > 0)
    r = np.clip(r, -1 + 1e-12, 1 - 1e-12)
    return (r * np.sqrt((values.shape[1] - 2) / (1 - r**2))).astype(np.float32)


def recovery(counts: sparse.csr_matrix, targets: np.ndarray, order: np.ndarray, n_top: int) -> np.ndarray:
    """Activity of regulators in cells as AUCell has it, float32 (n_cells, n_factors), 0 to 1.

    The area under the curve that recovers a regulator's targets along a cell's genes from the highest, up to the
    `n_top` first, as a share of the largest possible. Genes without counts are not recovered.

    Parameters
    ----------
    counts
        (n_cells, n_genes).
    targets
        bool (n_genes, n_factors).
    order
        int (n_genes,): which of genes with equal counts stands first, drawn once for all cells.

    Source: Aibar et al. 2017, doi:10.1038/nmeth.4463.
    """
    found = np.zeros((counts.shape[0], targets.shape[1]))
    for cell in range(counts.shape[0]):
        span = slice(counts.indptr[cell], counts.indptr[cell + 1])
        genes, values = counts.indices[span], counts.data[span]
        ranked = genes[np.lexsort((order[genes], -values))][: n_top - 1]
        found[cell] = (n_top - 1 - np.arange(len(ranked))) @ targets[ranked]
    n_targets = np.minimum(targets.sum(axis=0), n_top - 1)
    largest = n_targets * (n_top - 1) - n_targets * (n_targets - 1) / 2
    return np.divide(found, largest, out=np.zeros_like(found), where=largest > 0).astype(np.float32)


def score_cells(
    counts: "AlignedCounts",
    weights: np.ndarray,
    positions: np.ndarray,
    regulons: np.ndarray | None,
    *,
    method: str = "ulm",
    seed: int = 0,
    progress: "Callable[[int, int], None] | None" = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of modules, float32 (n_obs, n_modules), and activities of regulators, (n_obs, n_factors), cell by cell.

    Parameters
    ----------
    weights
        Of `module_weights`.
    positions, regulons
        Genes that take part, and for each the weight of every regulator; None: no regulators.
    method, seed
        `ulm`, see `activity`, or `aucell`, see `recovery`: over all measured genes and targets of positive weight.
    """
    n_factors = 0 if regulons is None else regulons.shape[1]
    scores = np.zeros((counts.n_obs, weights.shape[1]), dtype=np.float32)
    activities = np.zeros((counts.n_obs, n_factors), dtype=np.float32)
    scaled = None if regulons is None or method != "ulm" else activity_weights(regulons)
    targets = np.zeros((counts.n_genes, n_factors), dtype=bool)
    if n_factors:
        targets[positions] = regulons > 0
    order = np.random.default_rng(seed).permutation(counts.n_genes)
    n_top = int(np.ceil(TOP_SHARE * counts.is_measured.sum()))
    for start, block in counts.blocks(ROWS):
        values = log_normalise(block)
        rows = slice(start, start + values.shape[0])
        scores[rows] = values[:, : len(weights)] @ weights
        if scaled is not None:
            activities[rows] = activity(values[:, positions].toarray().astype(np.float64), scaled)
        elif n_factors:
            activities[rows] = recovery(block, targets, order, n_top)
        if progress is not None:
            progress(rows.stop, counts.n_obs)
    return scores, activities
