"""Maps of cells: the model's embedding, the simple baseline, and both together, each through the same neighbours,
UMAP and clusters.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.data.memory import give_back_memory
from scfviz.data.normalise import log_normalise
from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.embedding.neighbors import neighbor_search
from scfviz.tasks.embedding.sampled import (
    MOST_LAID_OUT,
    Fidelity,
    choose_sample,
    join_graphs,
    laid_out_in,
    link_to_sample,
    place_cells,
    score_fidelity,
    take_cells,
    take_majority,
)

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

# Variable genes are chosen on at most this many cells: the choice hardly changes above, and memory stays
# bounded.
MAX_CELLS_FOR_GENES = 50_000
FEWEST_CELLS_FOR_MAP = 3
_ROWS = 20_000  # of an embedding, at a time


@dataclass(frozen=True)
class CellMap:
    """A flat picture of an embedding.

    Attributes
    ----------
    umap
        float32 (n_obs, 2), no unit; NaN where it could not be computed.
    clusters
        str (n_obs,), Leiden clusters "0", "1", ... from the largest to the smallest.
    neighbors
        float32 (n_obs, n_obs), weights of the neighbour graph, for clusters at another resolution.
        Of a map that was laid out from a sample, the rows of the others hold their links to cells of the sample.
    notes
        What could not be computed or was done differently, and why.
    fidelity
        How well placed cells keep their neighbours beside those that were laid out; None where all were laid out.
    """

    umap: np.ndarray
    clusters: np.ndarray
    neighbors: sparse.csr_matrix
    notes: tuple[str, ...]
    fidelity: Fidelity | None = None


def embed_baseline(
    aligned: "AlignedCounts",
    *,
    n_top_genes: int = 2000,
    n_comps: int = 50,
    seed: int = 0,
    most_cells: int = MOST_LAID_OUT,
) -> np.ndarray:
    """Embed cells without a model: log1p, variable genes, principal components.

    Works on the same genes as the model (its measured ones), so that both see the same data.

    Parameters
    ----------
    aligned
        Counts; read in pieces, only the variable genes stay in memory.
    n_top_genes
        Most variable genes to keep (scanpy's default criterion); all that vary where there are fewer.
    n_comps
        Principal components; fewer for fewer cells or genes.
    most_cells
        Of more cells the components are found on a random sample of so many, the one that `build_map` lays out, and
        all cells are projected on them.

    Returns
    -------
    np.ndarray
        float32 (n_obs, at most `n_comps`), principal components of ln(1 + counts per 10,000).

    Raises
    ------
    DatasetError
        A cell has no counts, or no gene varies.

    Source: scanpy (Wolf et al. 2018, doi:10.1186/s13059-017-1382-0), highly variable genes after Satija et
    al. 2015.
    """
    from scfviz.analysis.baselines import find_components

    empty = np.flatnonzero(np.asarray(aligned.total_counts) <= 0)
    if len(empty):
        raise DatasetError(
            f"{len(empty):,} cells have no counts in the model's genes, the first is '{aligned.obs.index[empty[0]]}'.",
            "Each cell needs at least one count.",
            "Remove these cells with a filter of at least 1 count.",
        )
    n_obs = aligned.n_obs
    if n_obs == 1:
        return np.zeros((1, 1), dtype=np.float32)
    genes = _variable_genes(aligned, n_top_genes, seed)
    if n_obs > most_cells:
        return _project(aligned, genes, n_comps, seed, choose_sample(n_obs, max(most_cells, 2), seed))
    log_counts = _log1p(aligned, genes)
    if len(genes) < 2:
        values = log_counts.toarray()
        return (values - values.mean(axis=0)).astype(np.float32)
    loadings, shift = find_components(log_counts, n_comps, seed)
    return (log_counts @ loadings - shift).astype(np.float32)


def _project(aligned: "AlignedCounts", genes: np.ndarray, n_comps: int, seed: int, chosen: np.ndarray) -> np.ndarray:
    """Principal components that a sample has, of all cells, read in pieces; see `embed_baseline`."""
    from scfviz.analysis.baselines import find_components

    sample = _log1p(aligned.subset(chosen), genes)
    if len(genes) < 2:
        loadings, shift = np.eye(len(genes)), sample.mean(axis=0).A1
    else:
        loadings, shift = find_components(sample, n_comps, seed)
    return np.concatenate([(rows @ loadings - shift).astype(np.float32) for rows in _log1p_pieces(aligned, genes)])


class JointEmbedding:
    """A dataset's principal components with a model's embedding beside them: what both see, in one space.

    The embedding is standardised and brought to its leading components, which together get a quarter of the
    variance of the dataset's. Neither side knows labels; the quarter was chosen on datasets outside the evaluation
    (`benchmarks/NOTES.md`).
    """

    N_COMPS, SHARE = 20, 0.25

    def __init__(self) -> None:
        self._mean = self._loadings = np.empty(0)

    def fit(self, components: np.ndarray, embedding: np.ndarray) -> "JointEmbedding":
        """Learn the embedding's components and their weight from cells.

        Parameters
        ----------
        components
            (n_obs, C), see `embed_baseline`.
        embedding
            (n_obs, D), any kind of array; read in pieces.
        """
        width = embedding.shape[1]
        sums, products, n_obs = np.zeros(width), np.zeros((width, width)), len(embedding)
        origin = np.asarray(embedding[:1], dtype=np.float64)  # sums of differences from a cell keep their digits
        for _start, block in _blocks(embedding):
            sums += (block - origin).sum(axis=0)
            products += (block - origin).T @ (block - origin)
        self._mean = origin.ravel() + sums / n_obs
        covariance = products / n_obs - np.outer(sums, sums) / n_obs**2
        spread = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        varies = spread > 1e-6 * max(float(spread.max()), 1e-12)
        scale = np.where(varies, 1 / np.where(varies, spread, 1.0), 0.0)
        values, vectors = np.linalg.eigh(covariance * np.outer(scale, scale))
        leading = np.argsort(-values)[: self.N_COMPS]
        values, vectors = np.maximum(values[leading], 0.0), vectors[:, leading]
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(leading))])
        wanted = self.SHARE * float(np.var(components, axis=0, dtype=np.float64).sum())
        size = np.sqrt(wanted / values.sum()) if values.sum() > 0 and wanted > 0 else 1.0
        self._loadings = scale[:, None] * vectors * size
        return self

    def transform(self, components: np.ndarray, embedding: np.ndarray) -> np.ndarray:
        """Both side by side: float32 (n_obs, C + at most 20)."""
        n_obs, width = components.shape
        joint = np.empty((n_obs, width + self._loadings.shape[1]), dtype=np.float32)
        joint[:, :width] = components
        for start, block in _blocks(embedding):
            joint[start : start + len(block), width:] = (block - self._mean) @ self._loadings
        return joint


def join_embeddings(components: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """The joint embedding of one dataset; see `JointEmbedding`."""
    return JointEmbedding().fit(components, embedding).transform(components, embedding)


def build_map(
    embedding: np.ndarray,
    *,
    n_neighbors: int = 15,
    resolution: float = 1.0,
    seed: int = 0,
    most_cells: int = MOST_LAID_OUT,
) -> CellMap:
    """Neighbours, UMAP and Leiden clusters of an embedding, with scanpy and a fixed seed.

    Of more than `most_cells` cells a random sample of so many is laid out and clustered; the others are placed by
    their nearest cells in it, take the cluster of most of these, and `fidelity` says what that costs.

    Parameters
    ----------
    embedding
        (n_obs, D), finite.
    n_neighbors
        Size of a cell's neighbourhood; smaller where there are fewer cells.
    resolution
        Of the Leiden clusters: higher gives more.
    most_cells
        Cells that are laid out at most.

    Raises
    ------
    DatasetError
        The embedding holds NaN or infinite values.

    Source: McInnes et al. 2018, arXiv:1802.03426 (UMAP); Traag et al. 2019, doi:10.1038/s41598-019-41695-z
    (Leiden).
    """
    import anndata as ad
    import scanpy as sc

    import scfviz.tasks.embedding.kept_umap  # noqa: F401

    embedding = np.asarray(embedding, dtype=np.float32)
    finite = [np.isfinite(embedding[at : at + _ROWS]).all(axis=1) for at in range(0, len(embedding), _ROWS)]
    wrong = np.flatnonzero(~np.concatenate(finite)) if finite else ()
    if len(wrong):
        raise DatasetError(
            f"The embedding of {len(wrong):,} cells holds values that are no numbers, the first is cell {wrong[0]:,}.",
            "A map needs finite numbers.",
            "Embed again with precision fp32; if that doesn't help, the checkpoint is damaged.",
        )
    n_obs = len(embedding)
    if n_obs < FEWEST_CELLS_FOR_MAP:
        note = f"No map or clusters of {n_obs} cells: neighbours need at least {FEWEST_CELLS_FOR_MAP}."
        nothing = sparse.csr_matrix((n_obs, n_obs), dtype=np.float32)
        return CellMap(np.full((n_obs, 2), np.nan, np.float32), np.full(n_obs, "0"), nothing, (note,))
    if n_obs > most_cells:
        return _build_from_sample(embedding, n_neighbors, resolution, seed, max(most_cells, FEWEST_CELLS_FOR_MAP))
    notes = []
    if n_neighbors > n_obs - 1:
        n_neighbors = n_obs - 1
        notes.append(f"Neighbourhoods of {n_neighbors} cells, because there are only {n_obs} cells.")
    if (embedding == embedding[0]).all():
        notes.append("All cells have the same embedding: the map and the clusters mean nothing.")
    if not (
        embedding.flags.c_contiguous and embedding.flags.writeable
    ):  # pynndescent does not take what may only be read
        embedding = take_cells(embedding, np.arange(n_obs))
    adata = ad.AnnData(shape=(n_obs, 0), obsm={"X": embedding})
    search = neighbor_search(n_obs, n_neighbors, seed)
    sc.pp.neighbors(adata, n_neighbors=n_neighbors, use_rep="X", random_state=seed, transformer=search)
    del adata.obsp["distances"]
    give_back_memory()
    # the spectral start needs clearly more cells than dimensions
    sc.tl.umap(adata, random_state=seed, init_pos="spectral" if n_obs > 2 * n_neighbors else "random")
    neighbors = sparse.csr_matrix(adata.obsp["connectivities"], dtype=np.float32)
    clusters = cluster_cells(neighbors, resolution=resolution, seed=seed)
    return CellMap(np.asarray(adata.obsm["X_umap"], dtype=np.float32), clusters, neighbors, tuple(notes))


def _build_from_sample(embedding: np.ndarray, n_neighbors: int, resolution: float, seed: int, n_sample: int) -> CellMap:
    """See `build_map`, of more cells than are laid out."""
    n_obs, chosen = len(embedding), choose_sample(len(embedding), n_sample, seed)
    cells = take_cells(embedding, chosen)
    sample = build_map(cells, n_neighbors=n_neighbors, resolution=resolution, seed=seed, most_cells=n_sample)
    give_back_memory()
    links = link_to_sample(embedding, chosen, cells, seed=seed)
    give_back_memory()
    neighbors = join_graphs(sample.neighbors, links, chosen)
    rest = np.setdiff1d(np.arange(n_obs), chosen, assume_unique=True)
    clusters = _spread_clusters(sample.clusters, links[rest], chosen, rest)
    umap = np.empty((n_obs, 2), dtype=np.float32)
    umap[chosen], umap[rest] = sample.umap, place_cells(links[rest], sample.umap, clusters[chosen], clusters[rest])
    note = (
        f"A random sample of {n_sample:,} of {n_obs:,} cells was laid out and clustered; each of the others stands "
        "among its nearest cells of the sample and belongs to the cluster of most of them."
    )
    fidelity = score_fidelity(embedding, umap, chosen, seed=seed)
    return CellMap(umap, clusters, neighbors, (note, *sample.notes), fidelity)


def cluster_cells(neighbors: sparse.spmatrix, *, resolution: float = 1.0, seed: int = 0) -> np.ndarray:
    """Leiden clusters from a neighbour graph.

    Parameters
    ----------
    neighbors
        (n_obs, n_obs), weights, as in `CellMap.neighbors`.
    resolution
        Higher gives more clusters; above 0.

    Returns
    -------
    np.ndarray
        str (n_obs,), "0" is the largest cluster.

    Raises
    ------
    OptionError
        The resolution is not above 0.
    """
    import igraph

    if not 0 < resolution < np.inf:
        raise OptionError(f"The resolution is {resolution}.", "It must be a number above 0.", "Try 1.")
    edges = sparse.coo_matrix(neighbors)
    edges.eliminate_zeros()
    if edges.nnz == 0:
        return np.full(neighbors.shape[0], "0")
    graph = igraph.Graph(neighbors.shape[0], zip(edges.row, edges.col, strict=True))
    weights = edges.data.astype(np.float64)
    igraph.set_random_number_generator(_Random(seed))
    try:
        found = graph.community_leiden("modularity", weights, resolution=resolution, n_iterations=2)
    finally:
        igraph.set_random_number_generator(random)
    return _number_by_size(np.array(found.membership).astype(str))


def cluster_map(neighbors: sparse.csr_matrix, *, resolution: float = 1.0, seed: int = 0) -> np.ndarray:
    """Leiden clusters of a map, also of one that was laid out from a sample: the others take the most frequent one
    among their nearest cells of it. Parameters and what is returned as of `cluster_cells`.
    """
    neighbors = sparse.csr_matrix(neighbors)
    laid_out = laid_out_in(neighbors)
    if len(laid_out) == neighbors.shape[0]:
        return cluster_cells(neighbors, resolution=resolution, seed=seed)
    rest = np.setdiff1d(np.arange(neighbors.shape[0]), laid_out, assume_unique=True)
    clusters = cluster_cells(neighbors[laid_out][:, laid_out], resolution=resolution, seed=seed)
    return _spread_clusters(clusters, neighbors[rest][:, laid_out], laid_out, rest)


def _spread_clusters(
    sampled: np.ndarray, links: sparse.csr_matrix, laid_out: np.ndarray, rest: np.ndarray
) -> np.ndarray:
    """Clusters of all cells, from those that were laid out and the links of the rest to these."""
    clusters = np.empty(len(laid_out) + len(rest), dtype=sampled.dtype)
    clusters[laid_out], clusters[rest] = sampled, take_majority(links, sampled)
    return _number_by_size(clusters)


class _Random:
    """numpy's generator under the names that igraph calls, as scanpy hands it over."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.RandomState(seed)
        self.random, self.gauss = self._rng.random_sample, self._rng.normal

    def getrandbits(self, n_bits: int) -> int:
        return self._rng.tomaxint() & ((1 << n_bits) - 1)

    def randint(self, low: int, high: int) -> int:
        return self._rng.randint(low, high + 1)


def _number_by_size(labels: np.ndarray) -> np.ndarray:
    """Labels called "0", "1", ... from the most frequent on: igraph numbers communities by their first cell."""
    _, found, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    numbers = np.empty(len(sizes), dtype=np.int64)
    numbers[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.array([str(number) for number in range(len(sizes))])[numbers[found]]


def _blocks(embedding: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row and float64 values of each piece of an array that may lie on disk."""
    for start in range(0, len(embedding), _ROWS):
        yield start, np.asarray(embedding[start : start + _ROWS], dtype=np.float64)


def _variable_genes(aligned: "AlignedCounts", n_top_genes: int, seed: int) -> np.ndarray:
    """Numbers of the most variable measured genes, ascending."""
    from scfviz.analysis.baselines import choose_variable_genes

    sample = aligned
    if aligned.n_obs > MAX_CELLS_FOR_GENES:
        chosen = np.random.default_rng(seed).choice(aligned.n_obs, MAX_CELLS_FOR_GENES, replace=False)
        sample = aligned.subset(np.sort(chosen))
    measured = np.flatnonzero(aligned.is_measured)
    varies = choose_variable_genes(_log1p_pieces(sample, measured), n_top_genes)
    if not len(varies):
        raise DatasetError(
            f"None of the {len(measured):,} genes differs between the {aligned.n_obs:,} cells.",
            "Cells can only be told apart by genes that vary.",
            "Check that the file holds the counts of different cells.",
        )
    return measured[varies]


def _log1p(aligned: "AlignedCounts", genes: np.ndarray) -> sparse.csr_matrix:
    """ln(1 + counts per 10,000) of some genes, float32 (n_obs, len(genes)), read in pieces."""
    return sparse.vstack(list(_log1p_pieces(aligned, genes)), format="csr", dtype=np.float32)


def _log1p_pieces(aligned: "AlignedCounts", genes: np.ndarray) -> Iterator[sparse.csr_matrix]:
    """The same, piece by piece."""
    for start, block in aligned.blocks():
        rows = sparse.csr_matrix(block[:, genes])
        yield log_normalise(rows, aligned.total_counts[start : start + rows.shape[0]])
