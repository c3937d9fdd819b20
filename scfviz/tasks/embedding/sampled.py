"""Maps of very many cells: a sample is laid out, the others are placed beside their nearest cells of the sample, and
how well the picture keeps neighbours is measured for both.
"""

from dataclasses import asdict, dataclass
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from scipy import sparse

from scfviz.data.memory import give_back_memory

MOST_LAID_OUT = 200_000
N_PLACING, DECAY, LEAST_WEIGHT = 5, 3.0, 1e-6  # sampled neighbours that a cell is placed by, and how they are weighed
N_JUDGED, N_KEPT = 2_000, 15  # cells of each kind whose neighbours are compared, and how many neighbours
MOST_EXACT = 8_192  # cells of a sample that are searched exactly, as scanpy does
_ROWS, _ROWS_COMPARED = 10_000, 2_000


@dataclass(frozen=True)
class Fidelity:
    """How well a picture keeps neighbours.

    Attributes
    ----------
    placed, laid_out
        Share of a cell's 15 nearest cells in the representation that are among its 15 nearest on the picture, 0 to 1:
        mean over cells that were placed, and over cells of the sample.
    n_placed, n_laid_out
        Cells of the map of each kind.
    n_judged
        Cells of each kind that were judged, at most.
    """

    placed: float
    laid_out: float
    n_placed: int
    n_laid_out: int
    n_judged: int

    def as_dict(self) -> dict[str, Any]:
        """The scores as values that JSON can hold."""
        return asdict(self)


def choose_sample(n_obs: int, n_sample: int, seed: int) -> np.ndarray:
    """Rows of the cells that are laid out, int64 (n_sample,), ascending."""
    return np.sort(np.random.default_rng(seed).choice(n_obs, n_sample, replace=False))


def take_cells(points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Some cells, float32 (n_chosen, D), in a file without a name that goes with the array: 200,000 embeddings of 512
    numbers would hold 0.4 GB of memory beside all that is found with them. In memory where the disk has no room.
    """
    try:
        with TemporaryFile() as file:
            for at in range(0, len(chosen), _ROWS):
                file.write(np.ascontiguousarray(points[chosen[at : at + _ROWS]], dtype=np.float32))
            file.flush()
            return np.memmap(file, np.float32, "c", shape=(len(chosen), points.shape[1]))
    except OSError:
        return np.asarray(points[chosen], dtype=np.float32)


def link_to_sample(points: np.ndarray, chosen: np.ndarray, sample: np.ndarray, *, seed: int = 0) -> sparse.csr_matrix:
    """Link every cell outside of a sample to its nearest cells in it.

    Parameters
    ----------
    points
        (n_obs, D); read in pieces.
    chosen
        int (n_sample,), rows of the sample.
    sample
        float32 (n_sample, D), its cells; see `take_cells`.

    Returns
    -------
    csr_matrix
        float32 (n_obs, n_sample), weights between 0 and 1 that fall with the distance; no links of the sample's cells.
    """
    search = _search(sample, min(N_PLACING, len(chosen)), seed)
    rest = np.setdiff1d(np.arange(len(points)), chosen, assume_unique=True)
    found = [search(np.asarray(points[rest[at : at + _ROWS]], np.float32)) for at in range(0, len(rest), _ROWS)]
    neighbors, distances = (np.concatenate(part) for part in zip(*found, strict=True))
    # the nearest counts in full, as in UMAP; the others fall off faster, since a plain mean draws all to the middle
    beyond = distances - distances[:, :1]
    weights = np.exp(-DECAY * beyond / np.maximum(beyond.mean(axis=1, keepdims=True), 1e-12))
    weights = np.maximum(weights, LEAST_WEIGHT)
    rows = np.repeat(rest, neighbors.shape[1])
    links = (weights.ravel().astype(np.float32), (rows, neighbors.ravel()))
    return sparse.csr_matrix(links, shape=(len(points), len(chosen)))


def join_graphs(neighbors: sparse.csr_matrix, links: sparse.csr_matrix, chosen: np.ndarray) -> sparse.csr_matrix:
    """The graph of a sample and the links of the others to it, float32 (n_obs, n_obs), see `CellMap.neighbors`."""
    inside, outside = neighbors.tocoo(), links.tocoo()
    weights = np.concatenate([inside.data, outside.data]).astype(np.float32)
    rows = np.concatenate([chosen[inside.row], outside.row])
    columns = np.concatenate([chosen[inside.col], chosen[outside.col]])
    return sparse.csr_matrix((weights, (rows, columns)), shape=(links.shape[0],) * 2)


def laid_out_in(neighbors: sparse.csr_matrix) -> np.ndarray:
    """Rows of the cells of a map that were laid out, ascending: a placed cell has links, but is nobody's neighbour."""
    is_neighbor = np.bincount(neighbors.indices, minlength=neighbors.shape[0]) > 0
    return np.flatnonzero(is_neighbor | (np.diff(neighbors.indptr) == 0))


def take_majority(links: sparse.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """The label of most of each cell's linked cells, (n,); of as many the one with more weight.

    Parameters
    ----------
    links
        (n, n_sample), see `link_to_sample`.
    labels
        (n_sample,).
    """
    names, codes = np.unique(labels, return_inverse=True)
    belongs = sparse.csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)))
    votes = sparse.csr_matrix((1 + 1e-3 * links.data, links.indices, links.indptr), shape=links.shape)
    return names[np.asarray((votes @ belongs).argmax(axis=1)).ravel()]


def place_cells(
    links: sparse.csr_matrix, positions: np.ndarray, sample_labels: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Weighted means of the positions of a cell's linked cells that have its label, float32 (n, 2).

    A mean over two islands would stand between them, where no cell is.
    """
    edges = links.tocoo()
    same = sample_labels[edges.col] == labels[edges.row]
    near = sparse.csr_matrix((edges.data[same], (edges.row[same], edges.col[same])), shape=links.shape)
    return np.asarray((near @ positions) / near.sum(axis=1).reshape(-1, 1), dtype=np.float32)


def score_fidelity(points: np.ndarray, picture: np.ndarray, chosen: np.ndarray, *, seed: int = 0) -> Fidelity:
    """Share of true neighbours that a picture keeps, for placed cells and for those of the sample.

    Parameters
    ----------
    points
        (n_obs, D), the representation; all cells are searched, exactly.
    picture
        (n_obs, 2), finite.
    chosen
        int (n_sample,), rows of the cells that were laid out.
    """
    rng, rest = np.random.default_rng(seed), np.setdiff1d(np.arange(len(points)), chosen, assume_unique=True)
    judged = [np.sort(rng.permutation(cells)[:N_JUDGED]) for cells in (rest, chosen)]
    cells, k = np.concatenate(judged), min(N_KEPT, len(points) - 1)
    true, drawn = _nearest(points, cells, k), _nearest(picture, cells, k)
    kept = (true[:, :, None] == drawn[:, None, :]).any(axis=2).mean(axis=1)
    placed, laid_out = np.split(kept, [len(judged[0])])
    most = max(map(len, judged))
    return Fidelity(float(placed.mean()), float(laid_out.mean()), len(rest), len(chosen), most)


def _search(sample: np.ndarray, k: int, seed: int):  # noqa: ANN202
    """A function from points to (neighbours in the sample, distances), (n, k) each, the nearest first."""
    if len(sample) <= MOST_EXACT:
        from sklearn.neighbors import NearestNeighbors

        exact = NearestNeighbors(n_neighbors=k).fit(sample)
        return lambda points: exact.kneighbors(points)[::-1]
    from pynndescent import NNDescent

    index = NNDescent(sample, n_neighbors=30, random_state=seed, compressed=True)
    give_back_memory()
    return lambda points: index.query(points, k=k)


def _nearest(points: np.ndarray, cells: np.ndarray, k: int) -> np.ndarray:
    """The `k` nearest other cells of some, int64 (len(cells), k) in no order, by comparing with all cells."""
    middle = np.asarray(points[cells], dtype=np.float64).mean(axis=0)  # small numbers lose less in the products
    asked = (points[cells] - middle).astype(np.float32)
    found, apart = np.zeros((len(cells), k), np.int64), np.full((len(cells), k), np.inf, np.float32)
    for start in range(0, len(points), _ROWS_COMPARED):
        block = (points[start : start + _ROWS_COMPARED] - middle).astype(np.float32)
        distances = (block**2).sum(axis=1) - 2 * asked @ block.T
        here = np.flatnonzero((cells >= start) & (cells < start + len(block)))
        distances[here, cells[here] - start] = np.inf
        nearer = np.flatnonzero(distances.min(axis=1) < apart.max(axis=1))  # few, once many cells were compared
        distances = distances[nearer]
        near = _smallest(distances, k)
        both = np.hstack([found[nearer], near + start])
        distances = np.hstack([apart[nearer], np.take_along_axis(distances, near, 1)])
        best = _smallest(distances, k)
        found[nearer], apart[nearer] = np.take_along_axis(both, best, 1), np.take_along_axis(distances, best, 1)
    return found


def _smallest(values: np.ndarray, k: int) -> np.ndarray:
    """Columns of the `k` smallest values of each row, of all where there are no more, in no order."""
    if values.shape[1] <= k:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, k - 1, axis=1)[:, :k]
