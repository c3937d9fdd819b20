"""What is known of a cell before any label is: variable genes, their principal components, and those of the model's
embedding. Learned on the reference, then the same for every other cell.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.errors import DatasetError, GeneError

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

N_COMPS_GENES, N_COMPS_MODEL = 50, 100
FEWEST_GENES = 100
_ROWS = 4_096


@dataclass(frozen=True)
class CellFeatures:
    """Some cells, as the methods see them.

    Attributes
    ----------
    genes
        Sparse float32 (n, G): ln(1 + counts per 10,000) of the variable genes, 0 where a gene is not measured.
    filled
        float32 (G,): what genes that these cells' file does not measure are taken to be, 0 for the others.
    components
        float32 (n, C), principal components of the genes.
    model
        float32 (n, M), principal components of the model's embedding; M is 0 where the model takes no part.
    """

    genes: sparse.csr_matrix
    filled: np.ndarray
    components: np.ndarray
    model: np.ndarray

    def __len__(self) -> int:
        return len(self.components)

    def take(self, rows: np.ndarray) -> "CellFeatures":
        """Only these cells."""
        return CellFeatures(self.genes[rows], self.filled, self.components[rows], self.model[rows])

    def without_model(self) -> "CellFeatures":
        """The same cells by their genes alone."""
        return replace(self, model=self.model[:, :0])

    @property
    def joint(self) -> np.ndarray:
        """Both kinds of components side by side, each with a mean variance of one on the reference."""
        return np.hstack([self.components[:, :30], self.model[:, :30]])


@dataclass(frozen=True)
class FeatureSpace:
    """How cells become features.

    Attributes
    ----------
    genes
        Symbols over which counts are totalled: those that the reference measures.
    variable
        int (G,): which of them vary.
    means, loadings, shift
        float32 (G,), (G, C), (C,): mean ln(1 + counts per 10,000), and the components.
    model_mean, model_loadings
        float32 (D,), (D, M): of the embedding; D and M are 0 where the model takes no part.
    """

    genes: tuple[str, ...]
    variable: np.ndarray
    means: np.ndarray
    loadings: np.ndarray
    shift: np.ndarray
    model_mean: np.ndarray
    model_loadings: np.ndarray

    @classmethod
    def fit(cls, counts: "AlignedCounts", embedding: np.ndarray | None, takes_part: np.ndarray) -> "FeatureSpace":
        """Learn from the cells of a reference.

        Parameters
        ----------
        counts
            In the model's gene order.
        embedding
            (n, D), of the same cells; None: by their genes alone.
        takes_part
            bool (n_genes,): genes that may be used.

        Raises
        ------
        GeneError
            Fewer than 100 genes may be used.
        DatasetError
            The cells do not differ.
        """
        from scfviz.analysis.baselines import choose_variable_genes, find_components

        genes = np.flatnonzero(takes_part)
        if len(genes) < FEWEST_GENES:
            raise GeneError(
                f"The reference and the dataset have {len(genes):,} genes in common.",
                f"At least {FEWEST_GENES} genes that both measure are needed.",
                "Check that both name their genes by human symbols or Ensembl IDs, or choose another reference.",
            )
        values = sparse.vstack(list(_log_values(counts, genes)), format="csr")
        variable = choose_variable_genes(values)
        if len(variable) < 2 or counts.n_obs < 3:
            raise DatasetError(
                f"{counts.n_obs:,} cells of the reference, in which {len(variable):,} genes differ.",
                "At least 3 cells and 2 genes that differ are needed.",
                "Choose a larger reference.",
            )
        values = values[:, variable]
        found, start = find_components(values, N_COMPS_GENES, seed=0)
        loadings, shift = found.astype(np.float32), start.astype(np.float32)
        scale = np.float32(1 / max(float(np.sqrt(np.mean(np.var(values @ loadings, axis=0)))), 1e-9))
        means = np.asarray(values.mean(axis=0), dtype=np.float32).ravel()
        names = tuple(str(name) for name in counts.genes[genes])
        of_model = (np.empty(0, np.float32), np.empty((0, 0), np.float32))
        if embedding is not None:
            of_model = _components_of(embedding)
        return cls(names, variable.astype(np.int64), means, loadings * scale, shift * scale, *of_model)

    @property
    def reads_model(self) -> bool:
        """Whether the embedding of cells is needed."""
        return self.model_loadings.size > 0

    def without_model(self) -> "FeatureSpace":
        """The same by genes alone."""
        return replace(self, model_mean=self.model_mean[:0], model_loadings=self.model_loadings[:0, :0])

    def count_measured(self, counts: "AlignedCounts") -> tuple[int, int]:
        """How many of the variable genes a dataset measures, and how many there are."""
        there = self._find(counts)[1][self.variable]
        return int(there.sum()), len(there)

    def _find(self, counts: "AlignedCounts") -> tuple[np.ndarray, np.ndarray]:
        """Where each gene stands in a dataset, and whether it is measured there."""
        position = {str(gene): number for number, gene in enumerate(counts.genes)}
        places = np.array([position.get(gene, -1) for gene in self.genes])
        return places, (places >= 0) & counts.is_measured[places]

    def transform(self, counts: "AlignedCounts", embedding: np.ndarray | None) -> CellFeatures:
        """Features of all cells of a dataset, in memory; see `blocks` for many cells."""
        parts = [part for _start, part in self.blocks(counts, embedding)]
        return CellFeatures(
            sparse.vstack([part.genes for part in parts], format="csr"),
            parts[0].filled,
            np.vstack([part.components for part in parts]),
            np.vstack([part.model for part in parts]),
        )

    def blocks(self, counts: "AlignedCounts", embedding: np.ndarray | None) -> Iterator[tuple[int, CellFeatures]]:
        """First cell and features of a few cells at a time; without an embedding the model's are none.

        Raises
        ------
        GeneError
            The dataset measures fewer than 100 of the reference's genes.
        DatasetError
            A cell has no counts in them.
        """
        places, there = self._find(counts)
        if there.sum() < FEWEST_GENES:
            raise GeneError(
                f"The dataset measures {int(there.sum()):,} of the reference's {len(self.genes):,} genes.",
                f"At least {FEWEST_GENES} are needed.",
                "Check that both name their genes by human symbols or Ensembl IDs, or choose another reference.",
            )
        filled = np.where(there[self.variable], 0.0, self.means).astype(np.float32)
        into = sparse.csr_matrix(
            (np.ones(there.sum(), np.float32), (np.flatnonzero(there), np.arange(there.sum()))),
            shape=(len(there), int(there.sum())),
        ).T.tocsr()[:, self.variable]  # from the genes that are there to the variable ones
        for number, values in enumerate(_log_values(counts, places[there])):
            start = number * _ROWS
            genes = sparse.csr_matrix(values @ into)
            components = genes @ self.loadings + (filled @ self.loadings - self.shift)
            model = np.empty((genes.shape[0], 0), np.float32)
            if embedding is not None and self.reads_model:
                of_model = np.asarray(embedding[start : start + _ROWS], np.float32)
                model = ((of_model - self.model_mean) @ self.model_loadings).astype(np.float32)
            yield start, CellFeatures(genes, filled, components.astype(np.float32), model)


def _log_values(counts: "AlignedCounts", genes: np.ndarray) -> Iterator[sparse.csr_matrix]:
    """ln(1 + counts per 10,000) of some genes, float32, a few cells at a time."""
    from scfviz.data.normalise import log_normalise

    for start in range(0, counts.n_obs, _ROWS):
        rows = sparse.csr_matrix(counts.rows(start, start + _ROWS)[:, genes])
        totals = np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel()
        empty = np.flatnonzero(totals <= 0)
        if len(empty):
            raise DatasetError(
                f"The cell '{counts.obs.index[start + empty[0]]}' has no counts in the genes that are compared.",
                "Each cell needs at least one.",
                "Leave such cells out with a filter of at least 1 count, or more.",
            )
        yield log_normalise(rows, totals)


def _components_of(embedding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and loadings of the standardised embedding's components, which together have a mean variance of one."""
    from scipy.linalg import eigh

    values = np.asarray(embedding, dtype=np.float64)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    varies = spread > 1e-6 * max(float(spread.max()), 1e-12)
    scale = np.where(varies, 1 / np.where(varies, spread, 1.0), 0.0)
    standard = (values - mean) * scale
    covariance = standard.T @ standard / len(values)
    width = len(covariance)
    n_comps = max(1, min(N_COMPS_MODEL, len(values) - 1, width))
    variances, vectors = eigh(covariance, subset_by_index=[width - n_comps, width - 1])
    variances, vectors = np.maximum(variances[::-1], 0.0), vectors[:, ::-1]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(n_comps)])
    loadings = scale[:, None] * vectors / max(float(np.sqrt(variances.mean())), 1e-9)
    return mean.astype(np.float32), loadings.astype(np.float32)
