"""The joint spaces of a query and its reference: learned on the reference alone, the query is projected into them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.analysis.baselines import VariableGenePca
from scfviz.tasks.embedding.compute import JointEmbedding
from scfviz.tasks.mapping.harmony import shift_by_clusters
from scfviz.tasks.mapping.neighbors import NeighborSearch, spread_sample

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

SPACES = ("pca", "model", "both")
TITLES = {"pca": "PCA projection", "model": "scFoundation", "both": "Both side by side"}
N_COMPS = 20  # more are noise of the cells that they were learned on
MOST_CELLS_FOR_SHIFT, MUTUAL_NEIGHBORS, SHIFT_ROUNDS = 4_000, 10, 3
CELLS_OF_A_SHIFT = 20.0  # a shift that rests on so many pairs is believed by half


def log_counts(aligned: "AlignedCounts") -> sparse.csr_matrix:
    """ln(1 + counts per 10,000) of all cells, float32 (n_obs, n_genes)."""
    from scfviz.data.normalise import log_normalise

    pieces = [log_normalise(block, aligned.total_counts[at : at + block.shape[0]]) for at, block in aligned.blocks()]
    return sparse.csr_matrix(sparse.vstack(pieces, format="csr", dtype=np.float32))


class JointSpaces:
    """Principal components of the reference's variable genes, and leading components of the model's embedding.

    Every cell has length one in each of the two: platforms differ in how far the same cells lie from the mean, hardly
    in which direction (`benchmarks/NOTES.md`). Both spaces side by side are the third, in which the model counts as in
    `JointEmbedding`. Nothing is learned from a query.
    """

    def __init__(self, seed: int = 0):
        self._pca, self._joint, self.n_components = VariableGenePca(n_comps=N_COMPS, seed=seed), JointEmbedding(), 0

    def fit(self, values: sparse.csr_matrix, embedding: np.ndarray) -> "JointSpaces":
        """Learn from the reference.

        Parameters
        ----------
        values
            (n_obs, n_genes), ln(1 + counts per 10,000); at least 3 cells.
        embedding
            (n_obs, D), see `embed_cells`.

        Raises
        ------
        DatasetError
            Fewer than 3 cells, or fewer than 2 genes differ.
        """
        components = self._pca.fit(values).transform(values)
        self._joint.fit(components, embedding)
        self.n_components = components.shape[1]
        return self

    def transform(self, values: sparse.csr_matrix, embedding: np.ndarray) -> "Points":
        """Cells in the spaces."""
        found = self._joint.transform(self._pca.transform(values), embedding)
        return Points(*(_to_unit(part) for part in np.split(found, [self.n_components], axis=1)))

    def project(
        self, aligned: "AlignedCounts", embedding: np.ndarray, progress: Callable[[int, int], None] | None = None
    ) -> "Points":
        """The same for a dataset, block by block."""
        from scfviz.data.normalise import log_normalise

        pieces = []
        for start, block in aligned.blocks():
            stop = start + block.shape[0]
            values = log_normalise(block, aligned.total_counts[start:stop])
            pieces.append(self.transform(values, np.asarray(embedding[start:stop])))
            if progress is not None:
                progress(stop, aligned.n_obs)
        return Points(*(np.concatenate(parts) for parts in zip(*((p.pca, p.model) for p in pieces), strict=True)))


@dataclass(frozen=True)
class Points:
    """Cells in the two spaces, each row of length one.

    Attributes
    ----------
    pca, model
        float32 (n_obs, components).
    """

    pca: np.ndarray
    model: np.ndarray

    def __getitem__(self, space: str) -> np.ndarray:
        if space == "both":
            return np.hstack([self.pca, np.float32(JointEmbedding.SHARE**0.5) * self.model])
        return self.pca if space == "pca" else self.model

    def __len__(self) -> int:
        return len(self.pca)

    def take(self, cells: np.ndarray) -> "Points":
        """Some of the cells."""
        return Points(self.pca[cells], self.model[cells])

    def moved_to(self, reference: "Points", correction: str = "shift") -> tuple["Points", dict[str, int]]:
        """The same cells corrected towards a reference, and the pairs that an overall shift rests on, by space."""
        if correction == "none":
            return self, {}
        if correction == "clusters":
            return Points(
                *(_to_unit(shift_by_clusters(reference[space], self[space])) for space in ("pca", "model"))
            ), {}
        shifts = {space: find_shift(reference[space], self[space]) for space in ("pca", "model")}
        moved = Points(*(_to_unit(self[space] - shift.vector) for space, shift in shifts.items()))
        return moved, {space: shift.n_pairs for space, shift in shifts.items()}


def _to_unit(points: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)
    return (points / np.maximum(length, 1e-12)).astype(np.float32)


@dataclass(frozen=True)
class Shift:
    """What the whole query differs by from the reference.

    Attributes
    ----------
    vector
        float64 (D,), to be subtracted from the query.
    n_pairs
        Pairs of mutual neighbours that it rests on.
    """

    vector: np.ndarray
    n_pairs: int


def find_shift(reference: np.ndarray, query: np.ndarray) -> Shift:
    """One shift between two sets of cells: mean difference of mutual nearest neighbours, found in three rounds.

    It is one vector for all cells, so a type that the reference lacks stays apart. With few pairs it shrinks to
    nothing.

    Parameters
    ----------
    reference, query
        (n, D) each; of many cells an even sample is used.

    Source: mutual nearest neighbours, Haghverdi et al. 2018, doi:10.1038/nbt.4091; here one vector, not one a cell.
    """
    own = reference[spread_sample(reference, MOST_CELLS_FOR_SHIFT)].astype(np.float64)
    other = query[spread_sample(query, MOST_CELLS_FOR_SHIFT)].astype(np.float64)
    vector, n_pairs, search = np.zeros(reference.shape[1]), 0, NeighborSearch(own)
    for _ in range(SHIFT_ROUNDS):
        moved = other - vector
        to_own = search.nearest(moved, MUTUAL_NEIGHBORS)[0]
        to_other = NeighborSearch(moved).nearest(own, MUTUAL_NEIGHBORS)[0]
        forth = _links(to_own, len(own))
        pairs = forth.multiply(_links(to_other, len(other)).T).tocoo()
        n_pairs = pairs.nnz
        if not n_pairs:
            break
        # every cell of the query counts once, however many partners it has
        of_cell = np.bincount(pairs.row, minlength=len(other))[pairs.row]
        weight = 1.0 / of_cell
        difference = (other[pairs.row] - own[pairs.col]) * weight[:, None]
        n_cells = weight.sum()
        vector = difference.sum(axis=0) / (n_cells + CELLS_OF_A_SHIFT)
    return Shift(vector, int(n_pairs))


def _links(numbers: np.ndarray, n: int) -> sparse.csr_matrix:
    rows = np.repeat(np.arange(len(numbers)), numbers.shape[1])
    return sparse.csr_matrix((np.ones(numbers.size), (rows, numbers.ravel())), shape=(len(numbers), n))
