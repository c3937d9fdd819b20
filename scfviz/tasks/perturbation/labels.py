"""Labels of a screen of knock-downs, and what a predictor keeps of them: parameters, not the labels themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from scfviz.tasks.perturbation.spaces import GeneSpace

RANK, WEIGHT_RANK = 64, 8
_PRIOR = 5.0  # labels that a gene's frequency counts beside its own
_POWERS = {"go": 2, "model": 3}  # of cosines: near ones count more
_NAMES_AT_ONCE = 4_000


@dataclass(frozen=True)
class LabelTable:
    """Labels of a screen.

    Attributes
    ----------
    perturbations, genes
        Names of rows and columns.
    labels
        float32 (n_perturbations, n_genes), sparse: 1 + label (0 or 1) where there is one.
    """

    perturbations: tuple[str, ...]
    genes: tuple[str, ...]
    labels: sp.csr_matrix

    @classmethod
    def of_pairs(
        cls,
        perturbations: Sequence[str],
        genes: Sequence[str],
        labels: Sequence[int],
        all_genes: Sequence[str] | None = None,
    ) -> "LabelTable":
        """From one name of each kind and one label a pair; `all_genes`, sorted, are the columns where given."""
        rows, row_of = np.unique(np.asarray(perturbations).astype(str), return_inverse=True)
        columns, column_of = np.unique(np.asarray(genes).astype(str), return_inverse=True)
        if all_genes is not None:
            wider = np.asarray(all_genes).astype(str)
            column_of, columns = np.searchsorted(wider, columns)[column_of], wider
        values = np.asarray(labels, dtype=np.float32) + 1
        table = sp.coo_matrix((values, (row_of, column_of)), shape=(len(rows), len(columns)))
        return cls(tuple(rows.tolist()), tuple(columns.tolist()), sp.csr_matrix(table))

    def take(self, rows: np.ndarray) -> "LabelTable":
        """Only some perturbations; the genes stay."""
        return LabelTable(tuple(self.perturbations[i] for i in rows), self.genes, self.labels[rows])

    @cached_property
    def frequency(self) -> np.ndarray:
        """float64 (n_genes,): share of ones, drawn towards that of all genes."""
        there = np.asarray((self.labels > 0).sum(axis=0)).ravel()
        ones = np.asarray((self.labels == 2).sum(axis=0)).ravel()
        return (ones + _PRIOR * ones.sum() / max(there.sum(), 1)) / (there + _PRIOR)

    @cached_property
    def parts(self) -> tuple[sp.csr_matrix, sp.csr_matrix]:
        """float32 (n_perturbations, n_genes) each, sparse: what labels are above the frequency, and 1 for each."""
        labels = self.labels.tocoo()
        values = np.stack([(labels.data - 1) - self.frequency[labels.col], np.ones(labels.nnz)]).astype(np.float32)
        above, ones = (sp.csr_matrix((one, (labels.row, labels.col)), shape=labels.shape) for one in values)
        return above, ones

    def sums(self, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Both parts added up over perturbations with the weights `near` (n, n_perturbations): (n, n_genes) each."""
        above, ones = self.parts
        return np.asarray(near @ above), np.asarray(near @ ones)


@dataclass(frozen=True)
class LabelSummary:
    """What is kept of a `LabelTable`: directions along which similar knock-downs agree.

    Attributes
    ----------
    perturbations, genes
        Names of rows and columns.
    frequency
        float64 (n_genes,), as in the table.
    above, ones
        Factors (n_perturbations, k) and (k, n_genes), float16, whose product stands for a part of the table.
    n_labels
        How many labels there were.
    """

    perturbations: tuple[str, ...]
    genes: tuple[str, ...]
    frequency: np.ndarray
    above: tuple[np.ndarray, np.ndarray]
    ones: tuple[np.ndarray, np.ndarray]
    n_labels: int

    def sums(self, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `LabelTable.sums`, of the parts that were kept."""
        above, ones = (
            near @ left.astype(np.float32) @ right.astype(np.float32) for left, right in (self.above, self.ones)
        )
        return above, np.maximum(ones, 0)


def similar(space: GeneSpace, names: Sequence[str], perturbations: Sequence[str]) -> np.ndarray:
    """How much each perturbation counts for each name: float32 (n_names, n_perturbations), from 0 to 1."""
    return space.similarity(names, perturbations) ** _POWERS[space.name]


def overlap(perturbations: Sequence[str], spaces: Mapping[str, GeneSpace]) -> np.ndarray:
    """float32 (n, n): how often two perturbations count for the same gene, over all genes that the spaces know."""
    total = np.zeros((len(perturbations), len(perturbations)), dtype=np.float32)
    for space in spaces.values():
        names, of_space = sorted(space.place), np.zeros_like(total)
        for start in range(0, len(names), _NAMES_AT_ONCE):
            near = similar(space, names[start : start + _NAMES_AT_ONCE], perturbations)
            of_space += near.T @ near
        total += of_space / max(float(np.trace(of_space)), 1e-9)
    return total


def summarise(table: LabelTable, overlaps: np.ndarray) -> LabelSummary:
    """Keep of a table what matters for sums over similar knock-downs, and none of its labels.

    Parameters
    ----------
    overlaps
        See `overlap`: sums are kept as well as a product of so few factors can, on average over all genes that may be
        asked for; the genes read out count alike, however many labels they have.
    """
    values, axes = np.linalg.eigh(overlaps.astype(np.float64))
    root = (np.sqrt(np.maximum(values, 0))[:, None] * axes.T).astype(np.float32)
    above, ones = table.parts
    there = np.maximum(np.asarray(ones.sum(axis=0)).ravel(), 1)
    return LabelSummary(
        table.perturbations,
        table.genes,
        table.frequency,
        _factors(root, above, np.sqrt(there), RANK),
        _factors(root, ones, there, WEIGHT_RANK),
        int(table.labels.nnz),
    )


def _factors(root: np.ndarray, part: sp.csr_matrix, scale: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    scaled = sp.csr_matrix(part @ sp.diags(1 / scale))
    seen = np.asarray(root @ scaled, dtype=np.float32)
    squares, axes = np.linalg.eigh((seen @ seen.T).astype(np.float64))
    kept = [i for i in np.argsort(-squares)[:rank] if squares[i] > 1e-9 * squares.max()]
    basis = (axes[:, kept].T.astype(np.float32) @ seen) / np.sqrt(squares[kept])[:, None].astype(np.float32)
    return np.asarray(scaled @ basis.T).astype(np.float16), (basis * scale[None, :]).astype(np.float16)
