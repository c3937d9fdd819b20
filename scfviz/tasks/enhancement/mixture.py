"""The combination of all methods: how much each is worth, learned on counts of the same cells that were held back.

The posterior of `scfviz.tasks.enhancement.compute` is careful: in shallow cells the means of neighbours or clusters,
or a low rank, predict more. Which one does differs between datasets, so nobody chooses: a weighted mean of all methods
is the answer, and a method that predicts nothing gets no weight.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scfviz.tasks.enhancement.methods import (
    NUMBERS_OF_NEIGHBORS,
    RANKS,
    Neighbourhood,
    Shares,
    combined,
    loss_of,
    shares_at_depth,
    split_counts,
)
from scfviz.tasks.enhancement.options import CLUSTER_MEANS, INPUT, LOW_RANK, NEIGHBORS, POSTERIOR
from scfviz.tasks.views import combine, weigh

GENE_MEANS = "gene means"
N_LEARN = 600  # cells whose held-back counts say what the methods are worth
MOST_GENES = 2_000  # and genes, a random sample of more
FEWEST_CELLS = 5  # with held-back counts of a gene


@dataclass(frozen=True)
class Mixture:
    """What was learned on held-back counts.

    Attributes
    ----------
    n_neighbors, rank
        With which `Neighbourhood.smooth` and `Neighbourhood.low_rank` predict best.
    weights
        By method: at least 0, their sum is 1. `POSTERIOR` is that of an `Enhancer`.
    """

    n_neighbors: int
    rank: int
    weights: dict[str, float]

    @property
    def simple_methods(self) -> dict[str, tuple[str, int | None]]:
        """Method of `Neighbourhood` by its public name, and the number that it takes."""
        return {
            INPUT: ("input", None),
            GENE_MEANS: ("gene_means", None),
            CLUSTER_MEANS: ("cluster_means", None),
            NEIGHBORS: ("smooth", self.n_neighbors),
            LOW_RANK: ("low_rank", self.rank),
        }

    def simple(self, name: str, space: Neighbourhood) -> Shares:
        """Shares that a simple method expects of cells."""
        kind, number = self.simple_methods[name]
        method = getattr(space, kind)
        return method if number is None else method(number)

    def mix(self, space: Neighbourhood, posterior: Shares) -> Shares:
        """Shares that all methods expect together, by their weights."""
        used = {name: weight for name, weight in self.weights.items() if weight > 0}
        views = {name: posterior if name == POSTERIOR else self.simple(name, space) for name in used}

        def shares(rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
            return combine({name: view(rows, genes) for name, view in views.items()}, used)

        return shares


def learn_mixture(
    counts: sparse.csr_matrix, is_measured: np.ndarray, genes: np.ndarray, fold: np.ndarray, *, seed: int = 0
) -> Mixture:
    """Learn from a tenth of the counts that is held back.

    The number of neighbours and the rank are those with the least Poisson loss. Weights make the squared error least
    of shares that are standardised gene by gene: in each gene what matters is which cells have more of it. The model
    takes no part, because its answers are slow: what it adds is in the posterior.

    Parameters
    ----------
    counts, is_measured
        See `Enhancer`.
    genes
        int64, genes whose held-back counts are predicted.
    fold
        (n_obs,) target depth of each cell over its own.
    """
    from scfviz.tasks.enhancement.compute import Enhancer

    rng = np.random.default_rng((seed, 1))
    rest, held_back = split_counts(counts, 0.1, rng)
    left = np.flatnonzero((np.diff(rest.indptr) > 0) & (np.diff(held_back.indptr) > 0))
    rows = np.sort(rng.permutation(len(left))[:N_LEARN])
    rest, held_back, fold = rest[left], held_back[left][rows], fold[left]
    space = Neighbourhood(rest, seed=seed)
    n_cells = np.bincount(held_back.indices, minlength=counts.shape[1])
    told = genes[n_cells[genes] >= FEWEST_CELLS]
    told = np.sort(rng.permutation(told if len(told) else genes)[:MOST_GENES])
    test, test_depth = held_back[:, told].toarray(), np.asarray(held_back.sum(axis=1)).ravel()
    seen, depth, target = space.columns(told)[rows].toarray(), space.totals[rows], (space.totals * fold)[rows]

    def at_depth(shares: Shares) -> np.ndarray:
        return shares_at_depth(seen, shares(rows, told), depth, target)

    def best(candidates: Sequence[int], method: Callable[[int], Shares]) -> int:
        losses = [
            loss_of(at_depth(method(number)), space.mean_shares[told], test, test_depth).mean() for number in candidates
        ]
        return int(candidates[int(np.argmin(losses))])

    numbers = [k for k in NUMBERS_OF_NEIGHBORS if k < len(left)] or [len(left) - 1]
    ranks = [r for r in RANKS if r <= space.components.shape[1]] or [space.components.shape[1]]
    found = Mixture(best(numbers, space.smooth), best(ranks, space.low_rank), {})
    enhancer = Enhancer(rest, is_measured, seed=seed)
    targets = enhancer.totals * fold
    views = {name: at_depth(found.simple(name, space)) for name in found.simple_methods}
    views[POSTERIOR] = at_depth(combined(enhancer, targets, enhancer.learn(targets)))
    return Mixture(found.n_neighbors, found.rank, _weigh(views, test / test_depth[:, None], seed))


def _weigh(views: Mapping[str, np.ndarray], truth: np.ndarray, seed: int) -> dict[str, float]:
    spread = truth.std(axis=0)
    varies = spread > 0
    if not varies.any():
        return {POSTERIOR: 1.0}

    def standardise(values: np.ndarray) -> np.ndarray:
        return ((values - values.mean(axis=0))[:, varies] / spread[varies]).astype(np.float32)

    standard = {name: standardise(view) for name, view in views.items()}
    return weigh(standard, standardise(truth), np.arange(len(truth)), loss="squared", seed=seed).weights
