"""Perturbations over a graph of genes: a small network learns where the effects of neighbours lie.

A signal that starts at the perturbed gene spreads over genes that share biological processes and, where control cells
are at hand, over genes that they express together. A network with one hidden layer reads how far it meets the signals
of the measured perturbations, and says how far the cells move along the principal components of the screen. It is
trained once, on mean changes; what it says of every gene of the graph is kept as factors, so that nothing is trained,
and no graph needed, when a question is asked.

Source: after GEARS, Roohani et al. 2024, doi:10.1038/s41587-023-01905-6, with means in place of cells and the
normalised adjacency of Kipf & Welling 2017, doi:10.48550/arXiv.1609.02907, applied before the network as by Wu et al.
2019, doi:10.48550/arXiv.1902.07153.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from scfviz.tasks.perturbation.spaces import COEXPRESSION, GO, GeneSpace

N_EDGES = 20  # of each gene to those that it is expressed with
_N_STEPS, _STAYS = 2, 0.5  # of a signal, and what is left of it at each further one
N_MEMBERS, _N_HIDDEN = 3, 16
_N_EPOCHS, _PATIENCE, _EVERY, _RATE = 300, 60, 5, 0.01
_BLOCK, _LEAST = 500, 1e-3


@dataclass(frozen=True)
class GeneSignals:
    """How much of a signal that starts at one gene arrives at others.

    Attributes
    ----------
    genes
        Of the graph, sorted.
    starts
        Genes at which the signals start.
    table
        float32 (n_genes, n_starts).
    """

    genes: tuple[str, ...]
    starts: tuple[str, ...]
    table: np.ndarray


@dataclass(frozen=True)
class GraphFactors:
    """What trained networks say of single genes.

    Attributes
    ----------
    genes
        Those that a signal of a measured perturbation reaches; of others nothing is said.
    members
        float16 (N_MEMBERS, n, K): what each network says, along components.
    components
        float32 (K, n_genes): of the genes read out.
    """

    genes: tuple[str, ...]
    members: np.ndarray
    components: np.ndarray

    def say(self, genes: Sequence[str]) -> np.ndarray:
        """What each network adds to the mean effect: float64 (N_MEMBERS, n_genes, n_read_out)."""
        place = {gene: i for i, gene in enumerate(self.genes)}
        factors = np.zeros((len(self.members), len(genes), len(self.components)))
        known = [i for i, gene in enumerate(genes) if gene in place]
        factors[:, known] = self.members[:, [place[genes[i]] for i in known]]
        return factors @ self.components.astype(np.float64)

    def arrays(self) -> dict[str, np.ndarray]:
        """As arrays alone, by name."""
        names = np.frombuffer("\n".join(self.genes).encode(), dtype=np.uint8)
        return {"graph_genes": names, "graph_members": self.members, "graph_components": self.components}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "GraphFactors | None":
        """What `arrays` gave; None where it is not among them: what was fitted before this view has none."""
        if "graph_members" not in arrays:
            return None
        text = np.asarray(arrays["graph_genes"], dtype=np.uint8).tobytes().decode()
        genes = tuple(text.split("\n")) if text else ()
        members, components = (np.asarray(arrays[f"graph_{part}"]) for part in ("members", "components"))
        if members.shape[1:] != (len(genes), len(components)):
            raise ValueError("factors of another graph")
        return cls(genes, members, components)


def coexpression_space(genes: Sequence[str], profiles: np.ndarray) -> GeneSpace:
    """Genes by their expression in control cells; the cosine of two is their correlation.

    Parameters
    ----------
    profiles
        (n_genes, n_cells), see `effects.control_profiles`.
    """
    vectors = profiles - profiles.mean(axis=1, keepdims=True)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), 0).astype(np.float32)
    return GeneSpace(COEXPRESSION, {gene: i for i, gene in enumerate(genes)}, vectors)


def spread_signals(spaces: Mapping[str, GeneSpace], starts: Sequence[str]) -> GeneSignals:
    """Signals over the graph of "go" and, where it is there, of "coexpression"; each counts the same.

    An edge between genes weighs their cosine by processes, or the correlation of their expression where it is among the
    largest of either; every gene gives and takes by the root of its edges' sum.
    """
    used = [spaces[name] for name in (GO, COEXPRESSION) if name in spaces]
    genes = tuple(sorted({gene for space in used for gene in space.place}))
    place = {gene: i for i, gene in enumerate(genes)}
    graphs = [_spreader(space, place) for space in used]
    signal = np.zeros((len(genes), len(starts)), dtype=np.float32)
    columns = [i for i, gene in enumerate(starts) if gene in place]
    signal[[place[starts[i]] for i in columns], columns] = 1
    total = np.zeros_like(signal)
    for step in range(_N_STEPS):
        signal = sum(spread(signal) for spread in graphs) / np.float32(len(graphs))
        total += np.float32(_STAYS**step) * signal
    return GeneSignals(genes, tuple(starts), total)


def fit_factors(
    signals: GeneSignals, genes: Sequence[str], above: np.ndarray, components: np.ndarray, *, seed: int = 0
) -> GraphFactors:
    """Train networks on measured single effects; of a perturbation's own signal nothing is read.

    Three learn from two thirds of the genes each and say when to stop: at the epoch with the least squared error on the
    thirds left out, and before the first one unless they are better there than the mean by more than a standard error.
    Three others learn from all up to that epoch.

    Parameters
    ----------
    signals
        From all of `genes`, and from others.
    genes
        Perturbed, n.
    above
        float64 (n, n_read_out): effects less their mean.
    components
        float64 (K, n_read_out): orthonormal directions.
    """
    place = {gene: i for i, gene in enumerate(signals.genes)}
    order = [i for i in np.argsort(np.asarray(genes)) if genes[i] in place]
    kept = components.astype(np.float32)
    none = GraphFactors((), np.zeros((N_MEMBERS, 0, len(kept)), dtype=np.float16), kept)
    if len(order) < 2 * N_MEMBERS:
        return none
    start_of = {gene: i for i, gene in enumerate(signals.starts)}
    rows = [place[genes[i]] for i in order]
    met = signals.table[:, [start_of[genes[i]] for i in order]]
    met[rows, np.arange(len(rows))] = 0
    targets = above[order] @ components.T
    scales = [float(np.sqrt((table**2).sum() / len(rows))) for table in (met[rows], targets / np.sqrt(len(kept)))]
    if min(scales) < 1e-9:
        return none
    met /= np.float32(scales[0])
    trained = _train(met[rows], targets / scales[1], seed)
    if trained is None:
        return none
    first, second = trained
    known = np.flatnonzero(np.abs(met).max(axis=1) > 1e-3)
    hidden = np.tanh(met[known] @ first).reshape(len(known), N_MEMBERS, _N_HIDDEN)
    said = np.einsum("nmh,mhk->mnk", hidden, second) * scales[1]
    return GraphFactors(tuple(signals.genes[i] for i in known), said.astype(np.float16), kept)


def _train(inputs: np.ndarray, targets: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Weights (n, N_MEMBERS * H) and (N_MEMBERS, H, K) of the networks that saw all; None: the mean is better.

    All networks are trained side by side. The last layer begins at zero: before the first epoch each says the mean.
    """
    import torch

    n, n_nets = len(targets), 2 * N_MEMBERS
    generator = torch.Generator().manual_seed(seed)
    third = torch.randperm(n, generator=generator) % N_MEMBERS
    sees = torch.ones((n, n_nets))
    sees[torch.arange(n), third] = 0
    first = torch.randn((n, n_nets * _N_HIDDEN), generator=generator).mul_(0.3).requires_grad_()
    second = torch.zeros((n_nets, _N_HIDDEN, targets.shape[1]), requires_grad=True)
    met, goal = torch.from_numpy(inputs), torch.from_numpy(targets.astype(np.float32))[:, None]
    optimiser = torch.optim.Adam([first, second], lr=_RATE)
    of_mean = (targets**2).mean(axis=1)
    least, best, found = float(of_mean.mean()), 0, None
    for epoch in range(_N_EPOCHS + 1):
        hidden = torch.tanh(met @ first).reshape(n, n_nets, _N_HIDDEN)
        errors = ((torch.einsum("nmh,mhk->nmk", hidden, second) - goal) ** 2).mean(dim=2)
        if epoch and epoch % _EVERY == 0:
            left_out = errors.detach()[torch.arange(n), third].numpy()
            if (error := float(left_out.mean())) < least:
                least, best, better = error, epoch, of_mean - left_out
                is_clear = better.mean() > better.std(ddof=1) / np.sqrt(n)
                kept = first[:, N_MEMBERS * _N_HIDDEN :], second[N_MEMBERS:]
                found = tuple(part.detach().numpy().copy() for part in kept) if is_clear else None
            elif epoch - best >= _PATIENCE:
                break
        optimiser.zero_grad()
        ((errors * sees).sum(dim=0) / sees.sum(dim=0)).sum().backward()
        optimiser.step()
    return found


def _spreader(space: GeneSpace, place: Mapping[str, int]) -> Callable[[np.ndarray], np.ndarray]:
    """One step of signals (n, k) over the edges of a space, by the places of the graph."""
    there = np.empty(len(space.place), dtype=np.int64)
    there[list(space.place.values())] = [place[gene] for gene in space.place]
    shape = (len(place), len(there))
    rows = sp.csr_matrix((np.ones(len(there), dtype=np.float32), (there, np.arange(len(there)))), shape=shape)
    if space.name == COEXPRESSION:
        edges = sp.csr_matrix(rows @ _strongest(space.vectors) @ rows.T)
    else:
        vectors = sp.csr_matrix(rows @ sp.csr_matrix(space.vectors))
        turned = sp.csr_matrix(vectors.T)

    def neighbours(signal: np.ndarray) -> np.ndarray:
        if space.name == COEXPRESSION:
            return edges @ signal
        return vectors @ (turned @ signal) - signal  # all cosines, but a gene's with itself

    degree = neighbours(np.ones((len(place), 1), dtype=np.float32))
    root = np.where(degree > _LEAST, 1 / np.sqrt(np.maximum(degree, _LEAST)), 0).astype(np.float32)
    return lambda signal: root * neighbours(root * signal)


def _strongest(vectors: np.ndarray) -> sp.csr_matrix:
    """Correlations above noise that are among the largest of either gene: float32 (n, n), none with itself."""
    least, parts = max(0.1, 3 / np.sqrt(vectors.shape[1])), []
    for start in range(0, len(vectors), _BLOCK):
        near = vectors[start : start + _BLOCK] @ vectors.T
        near[np.arange(len(near)), start + np.arange(len(near))] = 0
        k = min(N_EDGES, near.shape[1])
        near[(near < least) | (near < np.partition(near, -k, axis=1)[:, [-k]])] = 0
        parts.append(sp.csr_matrix(near))
    edges = sp.csr_matrix(sp.vstack(parts))
    return sp.csr_matrix(edges.maximum(edges.T))
