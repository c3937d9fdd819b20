"""What a mapping could have noticed: every type left out of the reference in its turn, and cells of no tissue."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.tasks.mapping.compute import CellMapping, FittedReference, HeldOut, Pair, map_points, search_spaces
from scfviz.tasks.mapping.labels import NO_COUNTERPART, sample_labels
from scfviz.tasks.mapping.novelty import find_novel
from scfviz.tasks.mapping.scores import cluster_query
from scfviz.tasks.mapping.search import combine_scores
from scfviz.tasks.mapping.spaces import SPACES, JointSpaces, Points, log_counts
from scfviz.tasks.views import combine

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.model.scfoundation import ScFoundation

MOST_CELLS, MOST_LABELS, FEWEST_CELLS = 2_000, 30, 10
CHANCE, POWER, LARGEST = 0.01, 0.8, 1_000
CONTROL_CELLS, GENES_PER_BIN = 100, 50
CONTROL = "cells whose genes were exchanged with others of similar mean expression: a tissue that does not exist"


def measure_power(
    pair: Pair,
    embedding: np.ndarray,
    fitted: FittedReference,
    *,
    n_neighbors: int = 15,
    false_rate: float = 0.05,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> "pd.DataFrame":
    """Leave each label out of the reference, learn the spaces again, and look whether its cells are noticed.

    Parameters
    ----------
    embedding
        (n_reference, D), the model's.
    fitted
        The reference, for the weight of each space in the answer.

    Returns
    -------
    DataFrame
        One row per label of at least ten cells, the thirty largest: `label`, `n_cells` tested, `auroc` of the distance
        against the cells that stayed (in the answer, and `auroc_SPACE`), `detected` share without counterpart at the
        false rate, `taken_for` the label that most would get instead, `noticed_from` the fewest cells at which a group
        of such cells would have more without counterpart than chance (0.01) explains, in four of five cases; missing
        where a thousand do not suffice. These are by distance alone; `detected_by_both` is the share without
        counterpart by distance and likeness, as in the answer, `false_by_both` the same of the cells whose label
        stayed, and `likeness` that of the clusters of the left-out cells (median; missing where nobody can tell).
    """
    import pandas as pd

    rows = sample_labels(pair.labels.codes, MOST_CELLS, seed)
    values, embedding = log_counts(pair.reference.subset(rows)), np.asarray(embedding[rows])
    labels = pair.labels.take(rows)
    counts = np.bincount(labels.codes, minlength=len(labels.names))
    enough = [code for code in labels.known if FEWEST_CELLS <= counts[code] <= len(rows) - FEWEST_CELLS]
    enough = sorted(enough, key=lambda code: -counts[code])[:MOST_LABELS]
    table = []
    for done, code in enumerate(enough):
        part = replace(pair, reference=pair.reference.subset(rows), labels=labels)
        table.append(_leave_out(part, fitted, values, embedding, code, n_neighbors, false_rate, seed))
        progress(done + 1, len(enough))
    names = [
        "label",
        "n_cells",
        "auroc",
        *(f"auroc_{name}" for name in SPACES),
        "detected",
        "detected_by_both",
        "false_by_both",
        "likeness",
        "taken_for",
        "noticed_from",
    ]
    return pd.DataFrame(table, columns=names)


def _leave_out(
    pair: Pair,
    fitted: FittedReference,
    values: sparse.csr_matrix,
    embedding: np.ndarray,
    code: int,
    n_neighbors: int,
    false_rate: float,
    seed: int,
) -> dict[str, object]:
    from sklearn.metrics import roc_auc_score

    labels, used = pair.labels, fitted.used
    leaves = np.flatnonzero(labels.codes == code)
    stays = np.random.default_rng(seed).permutation(np.flatnonzero(labels.codes != code))
    # what is compared with the new cells was not learned on either
    beside, learned = np.split(stays, [max(len(stays) // 3, 1)])
    learned = np.sort(learned)
    spaces = JointSpaces(seed=seed).fit(values[learned], embedding[learned])
    own, other, new = (spaces.transform(values[cells], embedding[cells]) for cells in (learned, beside, leaves))
    n_labels = len(labels.names)
    searches = search_spaces(own, labels.codes[learned], n_labels, n_neighbors)
    held_out = {name: search.look(other[name]) for name, search in searches.items()}
    looks = {name: search.look(new[name]) for name, search in searches.items()}
    is_new = np.repeat([0, 1], [len(beside), len(leaves)])

    def auroc(weights: Mapping[str, float]) -> float:
        both = np.concatenate([combine_scores(held_out, weights), combine_scores(looks, weights)])
        return float(roc_auc_score(is_new, both))

    # of few cells the farthest sets the limit: p values of them could never fall below the false rate
    limit = np.quantile(combine_scores(held_out, used), 1 - false_rate, method="higher")
    detected = float((combine_scores(looks, used) > limit).mean())
    said = combine({name: look.probabilities for name, look in looks.items()}, used)
    instead = np.bincount(said.argmax(axis=1), minlength=n_labels).argmax()
    less = replace(
        fitted,
        spaces=spaces,
        points=own,
        searches=searches,
        labels=labels.take(learned),
        held_out=HeldOut(labels.codes[beside], held_out),
    )
    query = np.concatenate([beside, leaves])
    both = replace(pair, reference=pair.reference.subset(learned), query=pair.reference.subset(query))
    mapped = _map_as_asked(both, less, spaces.transform(values[query], embedding[query]), false_rate, seed)
    new = is_new == 1
    likeness = mapped.likeness[new]
    return {
        "label": labels.names[code],
        "n_cells": len(leaves),
        "detected_by_both": float((mapped.label[new] == NO_COUNTERPART).mean()),
        "false_by_both": float((mapped.label[~new] == NO_COUNTERPART).mean()),
        "likeness": float(np.nanmedian(likeness)) if np.isfinite(likeness).any() else float("nan"),
        "auroc": auroc(used),
        **{f"auroc_{name}": auroc({name: 1.0}) for name in SPACES},
        "detected": detected,
        "taken_for": labels.names[instead],
        "noticed_from": noticed_from(detected, false_rate),
    }


def _map_as_asked(pair: Pair, fitted: FittedReference, points: Points, false_rate: float, seed: int) -> CellMapping:
    """Cells of the same platform mapped as any query is, by distance and by the likeness of their clusters."""
    nowhere = np.zeros((len(fitted.points), 2), dtype=np.float32)
    found = map_points(fitted, points, nowhere, false_rate=false_rate, correction="none")
    clusters = cluster_query(found.points[fitted.main], seed=seed)
    return find_novel(pair, fitted, found, clusters, false_rate=false_rate)


def noticed_from(detected: float, false_rate: float) -> int | None:
    """Fewest cells of a group in which more are called new than chance explains; None where a thousand do not suffice.

    Parameters
    ----------
    detected
        Share of its cells that are called new.
    false_rate
        The same of cells that are not new.
    """
    from scipy.stats import binom

    sizes = np.arange(1, LARGEST + 1)
    needed = binom.isf(CHANCE, sizes, false_rate) + 1  # so many are rarer than the chance
    enough = binom.sf(needed - 1, sizes, detected) >= POWER
    # the binomial steps up and down: from this size on it holds
    fails = np.flatnonzero(~enough)
    first = 0 if not len(fails) else fails[-1] + 1
    return int(sizes[first]) if first < LARGEST else None


def missing_type_size(power: "pd.DataFrame") -> tuple[int | None, int]:
    """The size from which four of five of the labels left out would have been noticed, and how many labels that is."""
    sizes = sorted(size for size in power["noticed_from"] if size is not None and size == size)
    needed = int(np.ceil(POWER * len(power)))
    if not len(power) or len(sizes) < needed:
        return None, len(sizes)
    size = int(sizes[needed - 1])
    return size, sum(found <= size for found in sizes)


def exchange_genes(counts: sparse.csr_matrix, seed: int = 0) -> sparse.csr_matrix:
    """The same counts on other genes of similar mean: depth, sparsity and levels stay, what belongs together does not.

    Parameters
    ----------
    counts
        (n_obs, n_genes), raw counts.
    """
    mean = np.asarray(counts.mean(axis=0)).ravel()
    expressed = np.flatnonzero(mean > 0)
    order = expressed[np.argsort(-mean[expressed], kind="stable")]
    rng, target = np.random.default_rng(seed), np.arange(counts.shape[1])
    for start in range(0, len(order), GENES_PER_BIN):
        group = order[start : start + GENES_PER_BIN]
        target[group] = rng.permutation(group)
    found = counts.tocoo()
    return sparse.csr_matrix((found.data, (found.row, target[found.col])), shape=counts.shape)


@dataclass(frozen=True)
class _InMemory:
    """Counts as `compare_groups` reads them."""

    counts: sparse.csr_matrix

    @property
    def n_obs(self) -> int:
        return self.counts.shape[0]

    @property
    def n_genes(self) -> int:
        return self.counts.shape[1]

    def blocks(self) -> Iterator[tuple[int, sparse.csr_matrix]]:
        yield 0, self.counts


def run_control(
    pair: Pair,
    fitted: FittedReference,
    model: "ScFoundation",
    *,
    false_rate: float = 0.05,
    correction: str = "shift",
    precision: str = "auto",
    device: str = "auto",
    seed: int = 0,
) -> float:
    """Share of the control's cells that get no counterpart; see `CONTROL`.

    Up to a hundred cells of the reference are taken, and mapped as any query is.
    """
    from scfviz.data.normalise import log_normalise
    from scfviz.model.infer import embed_cells

    rows = sample_labels(pair.labels.codes, CONTROL_CELLS, seed, at_least=2)[: 2 * CONTROL_CELLS]
    part = pair.reference.subset(rows)
    counts = exchange_genes(sparse.csr_matrix(sparse.vstack([block for _, block in part.blocks()])), seed)
    embedding = embed_cells(counts, model, precision=precision, device=device).values
    points = fitted.spaces.transform(log_normalise(counts), np.asarray(embedding))
    nowhere = np.zeros((len(fitted.points), 2), dtype=np.float32)
    found = map_points(fitted, points, nowhere, false_rate=false_rate, correction=correction)
    clusters = cluster_query(found.points[fitted.main], seed=seed)
    found = find_novel(replace(pair, query=_InMemory(counts)), fitted, found, clusters, false_rate=false_rate)
    return float((found.label == NO_COUNTERPART).mean())
