"""Where genes lie in the picture: modules as discs that do not overlap, each with its genes in it.

The same every time. Distances mean nothing: modules lie where their discs find room, near those they are linked with.
"""

import numpy as np
from scipy import sparse

_GAP, _GOLDEN = 0.22, 0.6180339887


def place_genes(graph: sparse.csr_matrix, module: np.ndarray, seed: int = 0) -> np.ndarray:
    """float32 (n_genes, 2).

    Parameters
    ----------
    graph
        Links, symmetric, weights above 0.
    module
        int (n_genes,), 0 for genes in no module: they lie on a ring around all.
    """
    n_modules = int(module.max(initial=0))
    sizes = np.bincount(module, minlength=n_modules + 1)[1:]
    radii = np.sqrt(np.maximum(sizes, 1))
    centers = _place_discs(graph, module, radii, seed)
    places = np.zeros((len(module), 2))
    for number in range(1, n_modules + 1):
        members = np.flatnonzero(module == number)
        places[members] = centers[number - 1] + radii[number - 1] * _place_within(graph[members][:, members], seed)
    alone = np.flatnonzero(module == 0)
    if len(alone):
        far = np.hypot(*places[module > 0].T).max() if n_modules else 0.0
        turn = 2 * np.pi * np.arange(len(alone)) / len(alone)
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        places[alone] = ring * (far + 1.5 + 1.2 * (np.arange(len(alone)) % 3)[:, None])
    return places.astype(np.float32)


def _force(graph: sparse.csr_matrix, seed: int) -> np.ndarray:
    """Places by springs (Fruchterman-Reingold), in the unit disc."""
    import random

    import igraph

    upper = sparse.triu(graph, 1).tocoo()
    net = igraph.Graph(n=graph.shape[0], edges=list(zip(upper.row.tolist(), upper.col.tolist(), strict=True)))
    igraph.set_random_number_generator(random.Random(seed))
    try:
        start = np.random.default_rng(seed).normal(size=(graph.shape[0], 2)).tolist()
        weights = upper.data.astype(float).tolist()
        found = net.layout_fruchterman_reingold(weights=weights, seed=start, niter=400)
    finally:
        igraph.set_random_number_generator(random)
    return np.array(found.coords, dtype=np.float64).reshape(-1, 2)


def _place_within(graph: sparse.csr_matrix, seed: int) -> np.ndarray:
    """Genes of one module in the unit disc, evenly dense; neighbours lie in one direction from the middle.

    Radii come by turns, not from the springs: those put the genes with most links on one heap in the middle, and these
    are the ones that are looked at.
    """
    n = graph.shape[0]
    if n == 1:
        return np.zeros((1, 2))
    places = _force(graph, seed)
    places -= places.mean(axis=0)
    rank = np.argsort(np.argsort(np.hypot(*places.T), kind="stable"))
    turns = np.argsort(np.argsort((rank * _GOLDEN) % 1.0, kind="stable"))
    angle = 2 * np.pi * np.argsort(np.argsort(np.arctan2(places[:, 1], places[:, 0]), kind="stable")) / n
    radius = 0.95 * np.sqrt((turns + 0.5) / n)
    even = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return _push_apart(even, np.full(n, 0.8 / np.sqrt(n)), 40)


def _place_discs(graph: sparse.csr_matrix, module: np.ndarray, radii: np.ndarray, seed: int) -> np.ndarray:
    """Centres of modules, (n_modules, 2): near those they are linked with, without overlap, around the origin."""
    n = len(radii)
    if n < 2:
        return np.zeros((n, 2))
    member = sparse.csr_matrix((np.ones(len(module)), (module, np.arange(len(module)))), shape=(n + 1, len(module)))
    between = (member @ graph @ member.T).toarray()[1:, 1:]
    between /= np.outer(radii, radii)
    np.fill_diagonal(between, 0)
    places = _force(sparse.csr_matrix(between), seed)
    places -= places.mean(axis=0)
    spread = np.hypot(*places.T).max() or 1.0
    # begin close together and let the discs find room: an even, round picture
    return _push_apart(places / spread * 0.8 * np.sqrt((radii**2).sum()), radii * (1 + _GAP), 400)


def _push_apart(places: np.ndarray, radii: np.ndarray, n_rounds: int) -> np.ndarray:
    """Move discs until none overlaps, each pair by half of its overlap, and all a little towards the middle."""
    places = places.copy()
    room = radii[:, None] + radii[None, :]
    for number in range(n_rounds):
        away = places[:, None] - places[None, :]
        distance = np.hypot(away[..., 0], away[..., 1]) + 1e-9
        overlap = np.maximum(room - distance, 0)
        np.fill_diagonal(overlap, 0)
        places += 0.5 * (away / distance[..., None] * overlap[..., None]).sum(axis=1) * 0.6
        if number < n_rounds * 2 // 3:
            places *= 0.99
    return places
