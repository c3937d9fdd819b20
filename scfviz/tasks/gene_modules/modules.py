"""Modules: communities of genes in the graph of their links, at the resolution that repeats best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import pandas as pd

N_LINKS = 10
SMALLEST = 5
RESOLUTIONS = (0.4, 0.7, 1.0, 1.5, 2.2, 3.2, 5.0)
NEARLY = 0.8
NONE = 0


@dataclass(frozen=True)
class Modules:
    """Genes in communities.

    Attributes
    ----------
    module
        int64 (n_genes,): 1 is the largest module; 0 for genes in none of at least 5 genes.
    graph
        CSR (n_genes, n_genes), symmetric: links to each gene's 10 nearest.
    connectivity
        float64 (n_genes,): sum of a gene's links within its module, over the largest of the module.
    stability
        float64 (n_genes,): of a gene's module mates, the share that it is with again in halves of the cells.
    resolution
        That was used.
    curve
        For each resolution: `resolution`, `n_modules`, `share` of genes in modules, `stability` (adjusted Rand index
        between modules of all cells and of halves), `is_chosen`.
    """

    module: np.ndarray
    graph: sparse.csr_matrix
    connectivity: np.ndarray
    stability: np.ndarray
    resolution: float
    curve: "pd.DataFrame"

    @property
    def n_modules(self) -> int:
        """How many there are."""
        return int(self.module.max(initial=0))


def noise_of(resampled: Sequence[np.ndarray]) -> float:
    """How large a similarity of genes without any link gets, two standard deviations, from two halves of the cells."""
    if len(resampled) < 2:
        return 0.0
    upper = np.triu_indices(len(resampled[0]), 1)
    return float(np.std(resampled[0][upper] - resampled[1][upper]))


def link_graph(similarity: np.ndarray, least: float = 0.0, n_links: int = N_LINKS) -> sparse.csr_matrix:
    """Each gene's nearest genes, as a symmetric graph whose weights are the positive similarities.

    Parameters
    ----------
    similarity
        (n_genes, n_genes), symmetric.
    least
        Weaker ones are no links.
    """
    n_genes = len(similarity)
    own = np.array(similarity, dtype=np.float32)
    np.fill_diagonal(own, -np.inf)
    k = min(n_links, n_genes - 1)
    nearest = np.argpartition(-own, k - 1, axis=1)[:, :k]
    weights = np.take_along_axis(own, nearest, axis=1)
    kept = weights > max(least, 0.0)
    rows = np.repeat(np.arange(n_genes), k).reshape(n_genes, k)[kept]
    graph = sparse.csr_matrix((weights[kept], (rows, nearest[kept])), shape=own.shape)
    return graph.maximum(graph.T).tocsr()


def find_modules(
    similarity: np.ndarray, resampled: Sequence[np.ndarray], *, resolution: float | None = None, seed: int = 0
) -> Modules:
    """Communities of genes (Leiden), and how far they repeat in halves of the cells.

    Parameters
    ----------
    similarity
        (n_genes, n_genes).
    resampled
        The same from parts of the cells.
    resolution
        None takes the finest whose modules repeat at least four fifths as well as the best do.

    Source: Traag et al. 2019, doi:10.1038/s41598-019-41695-z.
    """
    import pandas as pd
    from sklearn.metrics import adjusted_rand_score

    least = noise_of(resampled)
    graph, graphs = link_graph(similarity, least), [link_graph(one, least) for one in resampled]
    tried = RESOLUTIONS if resolution is None else tuple(sorted({*RESOLUTIONS, resolution}))
    rows, found = [], {}
    for value in tried:
        module = _communities(graph, value, seed)
        again = [_communities(one, value, seed) for one in graphs]
        found[value] = module, again
        scores = [adjusted_rand_score(module[module > 0], other[module > 0]) for other in again if (module > 0).any()]
        rows.append((value, int(module.max(initial=0)), float((module > 0).mean()), float(np.mean(scores or [0.0]))))
    curve = pd.DataFrame(rows, columns=["resolution", "n_modules", "share", "stability"])
    chosen = resolution if resolution is not None else _most_stable(curve)
    curve["is_chosen"] = curve["resolution"] == chosen
    module, again = found[chosen]
    return Modules(module, graph, _connectivity(graph, module), _repeats(module, again), float(chosen), curve)


def _communities(graph: sparse.csr_matrix, resolution: float, seed: int) -> np.ndarray:
    """Numbers of modules by size; communities of fewer than 5 genes are none."""
    from scfviz.tasks.embedding.compute import cluster_cells

    labels = cluster_cells(graph, resolution=resolution, seed=seed).astype(np.int64)
    sizes = np.bincount(labels)
    return np.where(sizes[labels] >= SMALLEST, labels + 1, NONE)


def _most_stable(curve: "pd.DataFrame") -> float:
    """The finest resolution that repeats nearly as well as the best."""
    return float(curve.loc[curve["stability"] >= NEARLY * curve["stability"].max(), "resolution"].max())


def _connectivity(graph: sparse.csr_matrix, module: np.ndarray) -> np.ndarray:
    edges = graph.tocoo()
    same = (module[edges.row] == module[edges.col]) & (module[edges.row] > 0)
    total = np.bincount(edges.row[same], weights=edges.data[same], minlength=len(module)).astype(np.float64)
    top = np.zeros(module.max(initial=0) + 1)
    np.maximum.at(top, module, total)
    return np.divide(total, top[module], out=np.zeros_like(total), where=top[module] > 0)


def _repeats(module: np.ndarray, again: Sequence[np.ndarray]) -> np.ndarray:
    """Share of each gene's module mates that are its mates again, mean over `again`."""
    total, n_modules = np.zeros(len(module)), int(module.max(initial=0))
    for other in again:
        table = np.zeros((n_modules + 1, int(other.max(initial=0)) + 1))
        np.add.at(table, (module, other), 1)
        with_it = np.where(other > 0, table[module, other] - 1, 0)
        total += with_it / np.maximum(np.bincount(module, minlength=n_modules + 1)[module] - 1, 1)
    return np.where(module > 0, total / max(len(again), 1), 0.0)


def hubs(names: np.ndarray, found: Modules, number: int, most: int = 8) -> list[str]:
    """Genes of a module with the strongest links within it, the first first."""
    members = np.flatnonzero(found.module == number)
    return names[members[np.argsort(-found.connectivity[members], kind="stable")[:most]]].tolist()
