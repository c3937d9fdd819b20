"""What links genes: the views, what each is worth on held-out cells, and the links that result."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scfviz.tasks.gene_modules.coexpression import correlate, pool_cells
from scfviz.tasks.gene_modules.contexts import Contexts, context_similarity

if TYPE_CHECKING:
    from scfviz.tasks.views import Gain, ViewWeights

SPLITS = ((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))  # of quarters into halves
_PAIRS_PER_GENE = 100
TITLES = {"model": "scFoundation's context embeddings", "coexpression": "Co-expression over metacells"}


@dataclass(frozen=True)
class Cells:
    """Cells whose genes are linked.

    Attributes
    ----------
    counts
        CSR (n_obs, n_genes) of the chosen genes.
    totals
        float64 (n_obs,): counts over all genes.
    components
        float64 (n_obs, k), principal components.
    groups
        str (n_obs,).
    keys, quarter
        (n_obs,): random numbers, see `cell_keys`, and quarters of the cells.
    """

    counts: sparse.csr_matrix
    totals: np.ndarray
    components: np.ndarray
    groups: np.ndarray
    keys: np.ndarray
    quarter: np.ndarray

    def take(self, cells: np.ndarray) -> "Cells":
        """Only some cells."""
        return Cells(
            self.counts[cells],
            self.totals[cells],
            self.components[cells],
            self.groups[cells],
            self.keys[cells],
            self.quarter[cells],
        )


@dataclass(frozen=True)
class Links:
    """How strongly genes go together.

    Attributes
    ----------
    views
        By name, float32 (n_genes, n_genes): correlations of each view.
    combined
        float32 (n_genes, n_genes): the correlation in other cells that the views lead one to expect.
    resampled
        The same from halves of the cells, two for each of three splits.
    weights
        What each view is worth; None where there is one.
    gain
        Of the combination with the model over co-expression alone; None without the model.
    slopes
        By view: expected correlation in other cells over that of the view.
    reliability
        By view, correlation of one half's links with the other's.
    """

    views: dict[str, np.ndarray]
    combined: np.ndarray
    resampled: tuple[np.ndarray, ...]
    weights: "ViewWeights | None"
    gain: "Gain | None"
    slopes: dict[str, float]
    reliability: dict[str, float]

    def describe(self) -> list[dict[str, Any]]:
        """One row for each view: weight, loss on held-out cells, slope, reliability."""
        weights = None if self.weights is None else self.weights
        return [
            {
                "view": name,
                "title": TITLES[name],
                "weight": 1.0 if weights is None else weights.weights[name],
                "loss": np.nan if weights is None else weights.losses[name],
                "slope": self.slopes[name],
                "reliability": self.reliability[name],
            }
            for name in self.views
        ]


def link_genes(
    cells: Cells,
    contexts: Contexts | None,
    *,
    view: str,
    seed: int = 0,
) -> Links:
    """Similarities between all pairs of genes, by view and combined, and again from halves of the cells.

    The truth that weights are learned on is the correlation over the single cells of the half that no view has seen.

    Parameters
    ----------
    contexts
        Of the model, in the same quarters. None: no model.
    view
        "combination", "model" or "coexpression": which views are used.
    """
    names = ("model", "coexpression") if view == "combination" else (view,)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for half in (half for split in SPLITS for half in split):
        if "coexpression" in names:
            parts["coexpression"].append(_coexpress(cells.take(np.isin(cells.quarter, half))))
        if "model" in names:
            parts["model"].append(context_similarity(contexts, half))
    views = {}
    if "model" in names:
        views["model"] = context_similarity(contexts)
    if "coexpression" in names:
        views["coexpression"] = _coexpress(cells)
    slopes, weights, gain = _learn(parts, cells, seed)
    share = {name: 1.0 for name in names} if weights is None else weights.weights
    upper = np.triu_indices(cells.counts.shape[1], 1)
    reliability = {name: float(np.corrcoef(found[0][upper], found[1][upper])[0, 1]) for name, found in parts.items()}

    def combine(given: dict[str, np.ndarray]) -> np.ndarray:
        total = sum(share[name] * slopes[name] * given[name] for name in names)
        return np.clip(total, -1, 1).astype(np.float32)

    resampled = tuple(combine({name: parts[name][i] for name in names}) for i in range(2 * len(SPLITS)))
    return Links(views, combine(views), resampled, weights, gain, slopes, reliability)


def _coexpress(cells: Cells) -> np.ndarray:
    return correlate(pool_cells(cells.counts, cells.totals, cells.components, cells.keys).values)


def _learn(
    parts: dict[str, list[np.ndarray]], cells: Cells, seed: int
) -> tuple[dict[str, float], "ViewWeights | None", "Gain | None"]:
    """How far each view's correlations hold in other cells, and what each is worth beside the others."""
    from scfviz.data.normalise import log_normalise
    from scfviz.tasks.views import gain_from, weigh

    n_genes = cells.counts.shape[1]
    rng = np.random.default_rng(seed)
    n_partners = min(_PAIRS_PER_GENE, n_genes - 1)
    shift = np.stack([rng.permutation(n_genes - 1)[:n_partners] + 1 for _ in range(n_genes)])
    rows, columns = np.arange(n_genes)[:, None], (np.arange(n_genes)[:, None] + shift) % n_genes
    truth, said = [], {name: [] for name in parts}
    for other in (0, 1):
        unseen = np.isin(cells.quarter, SPLITS[0][other])
        values = log_normalise(cells.counts[unseen], cells.totals[unseen]).toarray()
        truth.append(correlate(values)[rows, columns])
        for name, found in parts.items():
            said[name].append(found[1 - other][rows, columns])
    truth = np.concatenate(truth, axis=1).astype(np.float64)
    given = {name: np.concatenate(found, axis=1).astype(np.float64) for name, found in said.items()}
    slopes = {name: _slope(values, truth) for name, values in given.items()}
    if len(given) == 1:
        return slopes, None, None
    predicted = {name: slopes[name] * values for name, values in given.items()}
    genes = np.arange(n_genes)
    weights = weigh(predicted, truth, genes, loss="squared", seed=seed)
    gain = gain_from(("model",), predicted, truth, genes, loss="squared", seed=seed)
    return slopes, weights, gain


def _slope(view: np.ndarray, truth: np.ndarray) -> float:
    return max(float((view * truth).sum() / max(np.square(view).sum(), 1e-12)), 0.0)
