"""Views of a perturbation that was not measured: each predicts the change of all genes from those that were."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from scfviz.errors import OptionError
from scfviz.tasks.perturbation.graph import GeneSignals, GraphFactors, fit_factors
from scfviz.tasks.perturbation.spaces import GeneSpace

NO_CHANGE, MEAN, ADDITIVE, GRAPH = "no_change", "mean", "additive", "graph"
COMBINATION = "combination"  # of all views, by their weights
VIEWS = (NO_CHANGE, MEAN, ADDITIVE, "nearest_go", "nearest_model", "ridge_pca", "ridge_go", "ridge_model", GRAPH)
MODEL_VIEWS = ("nearest_model", "ridge_model")
TITLES = {
    NO_CHANGE: "Nothing changes",
    MEAN: "Mean of the measured perturbations",
    ADDITIVE: "Sum of the single effects",
    "nearest_go": "Nearest perturbations by Gene Ontology",
    "nearest_model": "Nearest perturbations by the model's gene embeddings",
    "ridge_pca": "Regression on principal components of the screen",
    "ridge_go": "Regression on Gene Ontology",
    "ridge_model": "Regression on the model's gene embeddings",
    GRAPH: "Network over the graph of genes",
}
N_COMPONENTS, N_NEAREST = 20, 10
_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_POWERS = {"go": 2, "model": 3}


def refuse_unknown_method(method: str, views: Iterable[str]) -> None:
    """Refuse what is neither the combination nor one of the views.

    Raises
    ------
    OptionError
        With the names that can be asked for.
    """
    known = (COMBINATION, *views)
    if method not in known:
        raise OptionError(
            f"There is no method '{method}' in this predictor.", f"It has {', '.join(known)}.", "Choose one of them."
        )


def order_of(targets: Sequence[str]) -> int:
    """Number of genes of a condition."""
    return len(targets)


@dataclass(frozen=True)
class Views:
    """All views, learned from measured conditions of one or two genes.

    Parameters
    ----------
    genes
        Read out, n_genes.
    targets
        Of each measured condition.
    change
        float64 (n, n_genes).
    spaces
        By name, see `spaces`.
    factors
        Of the view "graph", see `with_graph`; without them there is none.

    Source: the linear models are those of Ahlmann-Eltze et al. 2025, doi:10.1038/s41592-025-02772-6.
    """

    genes: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...]
    change: np.ndarray
    spaces: Mapping[str, GeneSpace]
    factors: GraphFactors | None = None

    def with_graph(self, signals: GeneSignals, seed: int = 0) -> "Views":
        """The same with the view "graph", trained on the measured conditions."""
        above = self._effects - self._mean_single
        return replace(self, factors=fit_factors(signals, self._known, above, self._components, seed=seed))

    def spread(self, targets: Sequence[Sequence[str]]) -> np.ndarray:
        """Standard deviation of the networks of the view "graph": float64 (n_targets, n_genes), NaN without it."""
        if self.factors is None:
            return np.full((len(targets), len(self.genes)), np.nan)
        unseen = [[gene for gene in one if gene not in self.singles] for one in targets]
        return np.array([self.factors.say(genes).sum(axis=1).std(axis=0, ddof=1) for genes in unseen])

    @cached_property
    def singles(self) -> dict[str, np.ndarray]:
        """Change by single gene: measured, or what doubles leave for it when the known partner is taken off."""
        found = {one[0]: self.change[i] for i, one in enumerate(self.targets) if len(one) == 1}
        open_rows = [i for i, one in enumerate(self.targets) if len(one) == 2 and not set(one) <= set(found)]
        unknown = sorted({gene for i in open_rows for gene in self.targets[i]} - set(found))
        if not unknown:
            return found
        place = {gene: i for i, gene in enumerate(unknown)}
        parts = np.zeros((len(open_rows), len(unknown)))
        rest = self.change[open_rows].copy()
        for row, i in enumerate(open_rows):
            for gene in self.targets[i]:
                if gene in place:
                    parts[row, place[gene]] = 1
                else:
                    rest[row] -= found[gene]
        solved = np.linalg.solve(parts.T @ parts + 0.5 * np.eye(len(unknown)), parts.T @ rest)
        return found | {gene: solved[i] for gene, i in place.items()}

    @cached_property
    def _mean_single(self) -> np.ndarray:
        return self._effects.mean(axis=0) if self.singles else np.zeros(len(self.genes))

    @cached_property
    def _known(self) -> tuple[str, ...]:
        return tuple(self.singles)

    @cached_property
    def _effects(self) -> np.ndarray:
        return np.array([self.singles[gene] for gene in self._known]).reshape(len(self._known), len(self.genes))

    @cached_property
    def _mean_double(self) -> np.ndarray:
        rows = [i for i, one in enumerate(self.targets) if len(one) == 2]
        return self.change[rows].mean(axis=0) if len(rows) > 1 else 2 * self._mean_single

    def mean_of(self, order: int) -> np.ndarray:
        """Mean of the measured conditions of so many genes."""
        return self._mean_single if order == 1 else self._mean_double * order / 2

    def predict(self, targets: Sequence[Sequence[str]], names: Sequence[str] = VIEWS) -> dict[str, np.ndarray]:
        """Change of every condition by each view that is there: float64 (n_targets, n_genes)."""
        singles = sorted({gene for one in targets for gene in one})
        found = {}
        for name in names:
            if name == GRAPH and self.factors is None:
                continue
            if name == NO_CHANGE:
                found[name] = np.zeros((len(targets), len(self.genes)))
            elif name == MEAN:
                found[name] = np.array([self.mean_of(order_of(one)) for one in targets])
            else:
                of_gene = dict(zip(singles, self._single(name, singles), strict=True)) | {
                    gene: self.singles[gene] for gene in singles if gene in self.singles
                }
                found[name] = np.array([np.sum([of_gene[gene] for gene in one], axis=0) for one in targets])
        return found

    def _single(self, name: str, genes: Sequence[str]) -> np.ndarray:
        """What a view says of single genes that were not measured."""
        mean = self._mean_single
        if name == ADDITIVE or len(self._known) < 3:
            return np.repeat(mean[None], len(genes), axis=0)
        if name == GRAPH:
            return mean + self.factors.say(genes).mean(axis=0)
        kind, _, of = name.partition("_")
        if kind == "nearest":
            return mean + self._nearest(of, genes)
        near, own = self._kernel(of, genes)
        return mean + near @ self._solve(own)

    def _nearest(self, of: str, genes: Sequence[str]) -> np.ndarray:
        space = self.spaces[of]
        near = space.similarity(genes, self._known).astype(np.float64) ** _POWERS[of]
        own = space.similarity(self._known, self._known).astype(np.float64) ** _POWERS[of]
        np.fill_diagonal(own, 0)
        k = min(N_NEAREST, len(self._known))
        for table in (near, own):
            table[table < np.partition(table, -k, axis=1)[:, [-k]]] = 0
        typical = np.median(own.sum(axis=1))  # with typical evidence, half is believed
        return (near @ (self._effects - self._mean_single)) / (near.sum(axis=1, keepdims=True) + typical + 1e-9)

    def _kernel(self, of: str, genes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if of != "pca":
            space = self.spaces[of]
            own, near = space.rows(self._known), space.rows(genes)
            tables = [found.toarray() if hasattr(found, "toarray") else found for found in (near @ own.T, own @ own.T)]
            return np.asarray(tables[0], dtype=np.float64), np.asarray(tables[1], dtype=np.float64)
        place = {gene: i for i, gene in enumerate(self.genes)}
        loadings = self._components.T * np.sqrt(len(self.genes))

        def rows(names: Sequence[str]) -> np.ndarray:
            return np.array([loadings[place[one]] if one in place else np.zeros(loadings.shape[1]) for one in names])

        own, near = rows(self._known), rows(genes)
        return near @ own.T, own @ own.T

    @cached_property
    def _components(self) -> np.ndarray:
        """(K, n_genes): directions in which the measured single effects differ most."""
        _, sizes, directions = np.linalg.svd(self._effects - self._mean_single, full_matrices=False)
        n_kept = min(N_COMPONENTS, int((sizes > 1e-9).sum()), max(len(self._known) - 1, 1))
        return directions[: max(n_kept, 1)]

    def _solve(self, own: np.ndarray) -> np.ndarray:
        """Coefficients (n_known, n_genes) of the ridge regression with the penalty that is best left one out."""
        effects = self._effects - self._mean_single
        effects = (effects @ self._components.T) @ self._components
        scale = max(np.trace(own) / len(own), 1e-9)
        best, least = np.zeros_like(effects), float((effects**2).sum())  # to say nothing is possible, too
        for penalty in _PENALTIES:
            inverse = np.linalg.inv(own + penalty * scale * np.eye(len(own)))
            coefficients = inverse @ effects
            left_out = coefficients / np.diag(inverse)[:, None]
            if (error := float((left_out**2).sum())) < least:
                best, least = coefficients, error
        return best
