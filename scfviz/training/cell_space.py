"""Fitting a cell space: neighbours in a dataset's own principal components are brought together, others apart.

A dataset's components show which of its cells are alike, and nothing of other datasets; one linear map of the frozen
embedding that respects the neighbours of many datasets at once holds what they have in common. No label is used.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.data.corpus_reader import Corpus
from scfviz.errors import DatasetError, GeneError
from scfviz.model.cell_space import CellSpace

if TYPE_CHECKING:
    import torch

    from scfviz.model.scfoundation import ScFoundation

Components = Callable[[sparse.csr_matrix], np.ndarray]

FEWEST_CELLS = 40  # of a dataset that takes part


@dataclass(frozen=True)
class SpaceOptions:
    """How a cell space is fitted.

    Attributes
    ----------
    dims
        Numbers per cell.
    cells_per_dataset
        At most; drawn at random from its training cells.
    max_genes
        Of a cell with more expressed genes, the share of `max_genes` in them, of its counts, is seen at most.
    shares
        Every cell is seen as it is and thinned to a share of its counts between these.
    neighbors
        Nearest cells of a cell that count as its like.
    temperature
        Cosines are divided by it.
    steps, datasets_per_step, pairs_per_dataset
        Of the fit.
    dropout, learning_rate, weight_decay, seed
        The same.
    """

    dims: int = 128
    cells_per_dataset: int = 500
    max_genes: int = 1500
    shares: tuple[float, float] = (0.15, 0.7)
    neighbors: int = 10
    temperature: float = 0.2
    steps: int = 1500
    datasets_per_step: int = 6
    pairs_per_dataset: int = 32
    dropout: float = 0.1
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0


@dataclass(frozen=True)
class _Dataset:
    """`views` float32 (2, n, D): cells as they are and thinned; `near` int (n, k): their nearest others."""

    name: str
    views: np.ndarray
    near: np.ndarray


def fit_cell_space(
    model: "ScFoundation",
    corpus: Corpus | Path | str,
    components: Components,
    options: SpaceOptions | None = None,
    *,
    leave_out: Sequence[str] = (),
    precision: str = "auto",
    device: str = "auto",
    report: Callable[[str], None] | None = None,
) -> CellSpace:
    """Fit a cell space on the training cells of a corpus.

    Parameters
    ----------
    model
        Stays as it is.
    components
        From ln(1 + counts per 10,000) of a dataset's cells, (n, n_genes), to (n, C), where like lies by like.
    leave_out
        Names of datasets that take no part.
    report
        Told what is being done, a sentence at a time.

    Raises
    ------
    GeneError
        The corpus is in another gene order.
    DatasetError
        Fewer than two datasets have enough cells, or a name to be left out is none of the corpus.
    """
    corpus, options = corpus if isinstance(corpus, Corpus) else Corpus(corpus), options or SpaceOptions()
    say = report or (lambda _text: None)
    if tuple(corpus.genes) != model.genes:
        raise GeneError(
            f"The corpus '{corpus.folder}' holds {len(corpus.genes):,} genes in another order than the model.",
            "Both must name the same genes in the same order.",
            "Build the corpus again for this model.",
        )
    names = [source["name"] for source in corpus.sources]
    if unknown := sorted(set(leave_out) - set(names)):
        raise DatasetError(
            f"The corpus '{corpus.folder}' has no dataset {', '.join(unknown)}.",
            f"It holds {', '.join(names[:20])}{' ...' if len(names) > 20 else ''}.",
            "Name some of these.",
        )
    chosen = _training_cells(corpus, options, leave_out)
    if len(chosen) < 2:
        raise DatasetError(
            f"{len(chosen)} datasets of the corpus '{corpus.folder}' have {FEWEST_CELLS} training cells or more.",
            "Two are needed: a cell space holds what datasets have in common.",
            "Add datasets with `scfviz corpus build`.",
        )
    datasets = []
    for number, (name, positions) in enumerate(chosen.items(), start=1):
        say(f"Embedding {len(positions):,} cells of {name}, {number} of {len(chosen)} datasets")
        datasets.append(_prepare(name, corpus, positions, model, components, options, precision, device))
    say(f"Fitting {options.steps:,} steps")
    mean, loadings, loss = _fit(datasets, options)
    about = asdict(options) | {
        "corpus": corpus.fingerprint,
        "datasets": list(chosen),
        "n_cells": sum(map(len, chosen.values())),
        "loss": loss,
    }
    return CellSpace(mean, loadings, about)


def _training_cells(corpus: Corpus, options: SpaceOptions, leave_out: Sequence[str]) -> dict[str, np.ndarray]:
    """Positions of the cells of each dataset that takes part."""
    chosen, start = {}, 0
    for number, source in enumerate(corpus.sources):
        n = 0 if source["is_held_out"] else sum(shard["n_train"] for shard in source["shards"])
        if n >= FEWEST_CELLS and source["name"] not in leave_out:
            order = np.random.default_rng([options.seed, number]).permutation(n)
            chosen[source["name"]] = start + np.sort(order[: options.cells_per_dataset])
        start += n
    return chosen


def _prepare(
    name: str,
    corpus: Corpus,
    positions: np.ndarray,
    model: "ScFoundation",
    components: Components,
    options: SpaceOptions,
    precision: str,
    device: str,
) -> _Dataset:
    from scfviz.model.infer import embed_cells

    cells = [corpus.cell(int(position)) for position in positions]
    counts = _stack([(cell.genes, cell.counts) for cell in cells], len(corpus.genes))
    rng = np.random.default_rng([options.seed, int(positions[0])])
    views = []
    for low, high in ((1.0, 1.0), options.shares):
        parts = []
        for cell in cells:
            whole, n = np.rint(cell.counts).astype(np.int64), len(cell.genes)
            share = rng.uniform(low, high) * min(1.0, options.max_genes / n)
            seen = rng.binomial(whole, share) if share < 1 else whole
            seen = seen if seen.any() else whole
            parts.append((cell.genes[seen > 0], seen[seen > 0]))
        some = _stack(parts, len(corpus.genes))
        views.append(embed_cells(some, model, precision=precision, device=device).values)
    return _Dataset(name, np.stack(views), _nearest(counts, components, options))


def _stack(cells: Sequence[tuple[np.ndarray, np.ndarray]], n_genes: int) -> sparse.csr_matrix:
    ends = np.cumsum([0, *(len(genes) for genes, _counts in cells)])
    genes, counts = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    return sparse.csr_matrix((counts.astype(np.float32), genes, ends), shape=(len(cells), n_genes))


def _nearest(counts: sparse.csr_matrix, components: Components, options: SpaceOptions) -> np.ndarray:
    """Numbers of the nearest other cells in the dataset's components, int (n, k)."""
    from sklearn.neighbors import NearestNeighbors

    from scfviz.data.normalise import log_normalise

    values = log_normalise(counts, np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel())
    places = components(values)
    n_near = max(1, min(options.neighbors, len(places) // 10))
    return NearestNeighbors(n_neighbors=n_near).fit(places).kneighbors(return_distance=False)


def _fit(datasets: Sequence[_Dataset], options: SpaceOptions) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (D,), loadings (D, K), and the loss of the last tenth of the steps."""
    import torch

    everything = np.concatenate([part for of in datasets for part in of.views]).astype(np.float64)
    mean, spread = everything.mean(axis=0), everything.std(axis=0)
    scale = np.where(spread > 1e-6 * max(float(spread.max()), 1e-12), 1 / np.maximum(spread, 1e-12), 0.0)
    views = [torch.from_numpy(((of.views - mean) * scale).astype(np.float32)) for of in datasets]
    alike = [_mutual(of.near) for of in datasets]
    weights = np.array([len(of.near) for of in datasets], dtype=np.float64) ** 0.5
    rng, torch_rng = np.random.default_rng(options.seed), torch.Generator().manual_seed(options.seed)
    drawn = torch.randn(len(mean), options.dims, generator=torch_rng) * len(mean) ** -0.5
    loadings = drawn.requires_grad_()
    optimiser = torch.optim.AdamW([loadings], lr=options.learning_rate, weight_decay=options.weight_decay)
    n_together, losses = min(options.datasets_per_step, len(datasets)), []
    for step in range(options.steps):
        rate = options.learning_rate * min(1.0, (step + 1) / 50) * (1 - step / options.steps)
        optimiser.param_groups[0]["lr"] = rate
        loss = torch.zeros(())
        for i in rng.choice(len(datasets), n_together, p=weights / weights.sum(), replace=False):
            near = datasets[i].near
            cells = rng.permutation(len(near))[: options.pairs_per_dataset]
            others = near[cells, rng.integers(near.shape[1], size=len(cells))]
            rows = np.concatenate([cells, others])
            seen = views[i][torch.from_numpy(rng.integers(2, size=len(rows))), torch.from_numpy(rows)]
            kept = torch.rand(seen.shape, generator=torch_rng) >= options.dropout
            places = torch.nn.functional.normalize((seen * kept) @ loadings, dim=1)
            loss = loss + contrast(places, alike[i][rows][:, rows], options.temperature)
        optimiser.zero_grad()
        (loss / n_together).backward()
        optimiser.step()
        losses.append(loss.item() / n_together)
    fitted = scale[:, None] * loadings.detach().numpy()
    return mean.astype(np.float32), fitted.astype(np.float32), float(np.mean(losses[-max(1, options.steps // 10) :]))


def _mutual(near: np.ndarray) -> "torch.Tensor":
    """bool (n, n): cells of which one is among the nearest of the other, and each cell with itself."""
    import torch

    alike = np.eye(len(near), dtype=bool)
    alike[np.arange(len(near))[:, None], near] = True
    return torch.from_numpy(alike | alike.T)


def contrast(places: "torch.Tensor", alike: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """Cross-entropy of finding a cell's partner among cells that are not its like.

    Parameters
    ----------
    places
        (2 B, K), rows of length one; the second half are the partners of the first, in order.
    alike
        bool (2 B, 2 B): pairs that are no contrast to each other.

    Source: van den Oord et al. 2018, arXiv:1807.03748.
    """
    import torch

    cosines = places @ places.T / temperature
    n = len(places)
    rows = torch.arange(n)
    partner = cosines[rows, (rows + n // 2) % n]
    others = cosines.masked_fill(alike, -1e9).logsumexp(dim=1)
    return torch.nn.functional.softplus(others - partner).mean()
