"""Map cells onto a reference whose picture stays fixed: labels with probability, distance, place on the picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scfviz.errors import DatasetError, GeneError, OptionError
from scfviz.tasks.mapping.labels import (
    FEWEST_CELLS,
    NO_COUNTERPART,
    UNDECIDED,
    ReferenceLabels,
    sample_labels,
)
from scfviz.tasks.mapping.search import Look, ReferenceSearch, combine_scores, p_values, place_cells
from scfviz.tasks.mapping.spaces import SPACES, JointSpaces, Points, log_counts
from scfviz.tasks.views import Gain, ViewWeights, combine, gain_from, weigh

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

FEWEST_GENES, FEW_GENES = 50, 1_000
# in common: below it likeness was measured to tell a wrong tissue from the right one no more (`benchmarks/NOTES.md`)
FEW_FOR_LIKENESS = 450
LEAST_PROBABILITY = 0.5  # of a label; below it a cell is undecided
N_FOLDS, MOST_HELD_OUT = 5, 4_000
_ROWS = 10_000  # cells of the query at a time
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pair:
    """A query and its reference on the genes that both measured, cells without counts on these left out.

    Attributes
    ----------
    query, reference
        Counts in the model's gene order.
    labels
        Of the reference's cells.
    query_rows, reference_rows
        int64: which cells of the given datasets these are.
    n_genes
        Genes that both measured.
    notes
        What was left out, and why.
    """

    query: "AlignedCounts"
    reference: "AlignedCounts"
    labels: ReferenceLabels
    query_rows: np.ndarray
    reference_rows: np.ndarray
    n_genes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class HeldOut:
    """What a reference says of its own cells in spaces that were learned without them, fold by fold.

    A cell that helped to learn a space lies farther out in it than one that did not: distances of the one say nothing
    about the other (`benchmarks/NOTES.md`).

    Attributes
    ----------
    codes
        int (n,): labels of the cells; of a large reference a sample.
    looks
        By space, rows as in `codes`.
    """

    codes: np.ndarray
    looks: Mapping[str, Look]


@dataclass(frozen=True)
class FittedReference:
    """A reference that cells can be mapped onto.

    Attributes
    ----------
    spaces, points
        What was learned on it, and its cells there.
    searches
        Its neighbours, by space.
    labels
        Of its cells.
    held_out
        What it says of its own cells.
    weights, gain
        What each space is worth for its labels, and what the model adds to the principal components.
    used
        Weight of each space in the answer: as learned, or 1 for the one that was chosen.
    """

    spaces: JointSpaces
    points: Points
    searches: Mapping[str, ReferenceSearch]
    labels: ReferenceLabels
    held_out: HeldOut
    weights: ViewWeights
    gain: Gain
    used: Mapping[str, float]

    @property
    def own_scores(self) -> np.ndarray:
        """How far its own cells lie from the others, float64 (n,); see `Look.score` and `HeldOut`."""
        return combine_scores(self.held_out.looks, self.used)

    @property
    def main(self) -> str:
        """The space whose neighbours give a cell its place: the heaviest."""
        return max(self.used, key=lambda name: (self.used[name], name == "both"))


@dataclass(frozen=True)
class CellMapping:
    """Cells on a reference.

    Attributes
    ----------
    label
        object (n_obs,): label, "undecided" below a probability of 0.5, or "no counterpart".
    nearest, runner_up
        object (n_obs,): the likeliest label and the second, whatever the distance.
    probability
        float64 (n_obs,), of `nearest`.
    distance
        float64 (n_obs,): distance to the neighbours in the reference over that of these to their own; 1 is as near
        as the reference's cells are to each other.
    p_value
        float64 (n_obs,): share of the reference's own cells that lie as far, each judged by the others.
    umap
        float32 (n_obs, 2): place on the reference's picture.
    probabilities
        float32 (n_obs, n_labels), in the order of `names`.
    names
        Labels of the reference.
    points
        The cells in the spaces, corrected.
    by_space
        object (n_obs,) likeliest label of each space alone.
    n_pairs
        Pairs of mutual neighbours behind the shift, by space; empty where none was subtracted.
    neighbors
        int32 (n_obs, k), the nearest cells of the reference in the heaviest space.
    likeness
        float64 (n_obs,): how far what sets the cell's cluster apart is what sets its neighbours apart, see
        `compare_groups`; NaN where nobody can tell.
    farness
        float64 (n_obs,): what p values are of: ln of the distance, without the platform's part, and farther where the
        cluster is less like its neighbours than others are.
    is_unlike
        bool (n_obs,): so little that the cluster has no counterpart.
    platform_distance
        Distance that the cells of clusters that fit have in common, 1 where there is none; p values are without it.
    """

    label: np.ndarray
    nearest: np.ndarray
    runner_up: np.ndarray
    probability: np.ndarray
    distance: np.ndarray
    p_value: np.ndarray
    umap: np.ndarray
    probabilities: np.ndarray
    names: tuple[str, ...]
    points: Points
    by_space: Mapping[str, np.ndarray]
    n_pairs: Mapping[str, int]
    neighbors: np.ndarray
    likeness: np.ndarray
    farness: np.ndarray
    is_unlike: np.ndarray
    platform_distance: float = 1.0


def pair_cells(query: "AlignedCounts", reference: "AlignedCounts", labels: ReferenceLabels) -> Pair:
    """Bring a query and a reference to what they share.

    Raises
    ------
    GeneError
        They measured too few genes in common.
    DatasetError
        Too few cells are left.
    """
    common = query.is_measured & reference.is_measured
    n_genes = int(common.sum())
    if n_genes < FEWEST_GENES:
        raise GeneError(
            f"Query and reference have {n_genes:,} genes of the model in common: the query measured "
            f"{int(query.is_measured.sum()):,}, the reference {int(reference.is_measured.sum()):,}.",
            f"At least {FEWEST_GENES} are needed.",
            "Choose a reference that measured the same genes.",
        )
    notes = []
    if n_genes < FEW_GENES:
        notes.append(f"Query and reference have only {n_genes:,} genes in common; types may not be told apart.")
    if n_genes < FEW_FOR_LIKENESS:
        notes.append(warn_of_few_genes(n_genes))
    parts, rows = [], []
    for name, counts in (("query", query), ("reference", reference)):
        part = counts.only_genes(common)
        usable = np.flatnonzero((part.total_counts > 0) & ~part.is_other_species)
        if n_left := counts.n_obs - len(usable):
            notes.append(f"{n_left:,} cells of the {name} have no counts on the common genes and are left out.")
        rows.append(usable)
        parts.append(part.subset(usable) if n_left else part)
    fewest = {"query": 1, "reference": FEWEST_CELLS}
    for (name, least), part in zip(fewest.items(), parts, strict=True):
        if part.n_obs < least:
            raise DatasetError(
                f"The {name} has {part.n_obs:,} cells with counts on the common genes.",
                f"At least {least} are needed.",
                f"Choose a larger {name}.",
            )
    return Pair(parts[0], parts[1], labels.take(rows[1]), rows[0], rows[1], n_genes, tuple(notes))


def warn_of_few_genes(n_genes: int) -> str:
    """What so few genes in common mean for cells without counterpart."""
    return (
        f"With {n_genes:,} genes in common another tissue can look like the right one: on fewer than "
        f"{FEW_FOR_LIKENESS} genes clusters of a wrong tissue were as like the reference as those of the right one. Do "
        "not rely on 'no counterpart' here."
    )


def fit_reference(
    pair: Pair, embedding: np.ndarray, *, space: str = "combination", n_neighbors: int = 15, seed: int = 0
) -> FittedReference:
    """Learn the spaces and what each is worth on the reference.

    Parameters
    ----------
    embedding
        (n_reference, D), the model's, on the common genes.

    Raises
    ------
    OptionError
        There is no such space.
    """
    if space not in (*SPACES, "combination"):
        raise OptionError(f"There is no space '{space}'.", f"One of: combination, {', '.join(SPACES)}.", "Choose one.")
    values, labels = log_counts(pair.reference), pair.labels
    spaces = JointSpaces(seed=seed).fit(values, embedding)
    points = spaces.transform(values, embedding)
    searches = search_spaces(points, labels.codes, len(labels.names), n_neighbors)
    held_out = _hold_out(values, embedding, labels, n_neighbors, seed)
    views = {name: look.probabilities for name, look in held_out.looks.items()}
    cells = np.arange(len(held_out.codes))
    weights = weigh(views, held_out.codes, cells, loss="log", seed=seed)
    gain = gain_from(("model", "both"), views, held_out.codes, cells, loss="log", seed=seed)
    used = weights.weights if space == "combination" else {name: float(name == space) for name in SPACES}
    return FittedReference(spaces, points, searches, labels, held_out, weights, gain, used)


def search_spaces(points: Points, codes: np.ndarray, n_labels: int, n_neighbors: int) -> dict[str, ReferenceSearch]:
    """Neighbours of a reference in each of its spaces."""
    return {name: ReferenceSearch(points[name], codes, n_labels, n_neighbors) for name in SPACES}


def _hold_out(
    values: sparse.csr_matrix, embedding: np.ndarray, labels: ReferenceLabels, n_neighbors: int, seed: int
) -> HeldOut:
    rows = sample_labels(labels.codes, MOST_HELD_OUT, seed)
    folds = np.array_split(np.random.default_rng(seed).permutation(rows), N_FOLDS)
    looks: dict[str, list[Look]] = {name: [] for name in SPACES}
    for fold in folds:
        rest = np.sort(np.setdiff1d(rows, fold))
        spaces = JointSpaces(seed=seed).fit(values[rest], embedding[rest])
        own, other = (spaces.transform(values[cells], embedding[cells]) for cells in (rest, fold))
        for name, search in search_spaces(own, labels.codes[rest], len(labels.names), n_neighbors).items():
            looks[name].append(search.look(other[name]))
    joined = {name: Look.join(parts) for name, parts in looks.items()}
    return HeldOut(labels.codes[np.concatenate(folds)], joined)


def map_points(
    fitted: FittedReference,
    points: Points,
    picture: np.ndarray,
    *,
    false_rate: float = 0.05,
    correction: str = "shift",
    progress: Progress | None = None,
) -> CellMapping:
    """Map cells that are in the reference's spaces already; novelty is by distance alone, see `find_novel`.

    Parameters
    ----------
    points
        The query's cells, as `JointSpaces.project` gives them.
    picture
        float (n_reference, 2).
    """
    moved, n_pairs = points.moved_to(fitted.points, correction)
    pieces: list[dict[str, Any]] = []
    own = fitted.own_scores
    for start in range(0, len(points), _ROWS):
        part = moved.take(np.arange(start, min(start + _ROWS, len(points))))
        looks = {name: search.look(part[name]) for name, search in fitted.searches.items()}
        pieces.append(_answer(fitted, looks, own, picture, false_rate))
        if progress is not None:
            progress(start + len(part), len(points))
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0] if name != "by_space"}
    by_space = {name: np.concatenate([piece["by_space"][name] for piece in pieces]) for name in SPACES}
    return CellMapping(**joined, names=fitted.labels.names, points=moved, by_space=by_space, n_pairs=n_pairs)


def _answer(
    fitted: FittedReference, looks: Mapping[str, Look], own: np.ndarray, picture: np.ndarray, false_rate: float
) -> dict[str, Any]:
    names = np.array(fitted.labels.names, dtype=object)
    said = combine({name: look.probabilities for name, look in looks.items()}, fitted.used)
    order = np.argsort(-said, axis=1, kind="stable")
    probability = said[np.arange(len(said)), order[:, 0]]
    score = combine_scores(looks, fitted.used)
    p_value = p_values(score, own)
    nearest = names[order[:, 0]]
    label = np.where(probability >= LEAST_PROBABILITY, nearest, UNDECIDED)
    return {
        "label": np.where(p_value < false_rate, NO_COUNTERPART, label),
        "nearest": nearest,
        "runner_up": names[order[:, 1]],
        "probability": probability,
        "distance": np.exp(score),
        "p_value": p_value,
        "umap": place_cells(looks[fitted.main], picture),
        "neighbors": looks[fitted.main].numbers.astype(np.int32),
        "likeness": np.full(len(said), np.nan),
        "farness": score,
        "is_unlike": np.zeros(len(said), dtype=bool),
        "probabilities": said.astype(np.float32),
        "by_space": {name: names[look.probabilities.argmax(axis=1)] for name, look in looks.items()},
    }


def spread_mapping(found: CellMapping, rows: np.ndarray, n_obs: int) -> CellMapping:
    """A mapping of some cells as one of all; the others have no counterpart and no numbers."""
    if len(rows) == n_obs:
        return found

    def spread(values: np.ndarray, empty: str | float | None = None) -> np.ndarray:
        if values.dtype != object:
            empty = {"f": np.nan, "b": False}.get(values.dtype.kind, -1)
        full = np.full((n_obs, *values.shape[1:]), empty, dtype=values.dtype)
        full[rows] = values
        return full

    arrays = {name: spread(value) for name, value in vars(found).items() if isinstance(value, np.ndarray)}
    arrays["label"] = spread(found.label, NO_COUNTERPART)
    points = Points(spread(found.points.pca), spread(found.points.model))
    by_space = {name: spread(value) for name, value in found.by_space.items()}
    return replace(found, **arrays, points=points, by_space=by_space)


def draw_picture(reference: "AlignedCounts", *, seed: int = 0) -> np.ndarray:
    """The reference's own map from its variable genes, float32 (n_reference, 2); it knows nothing of any query."""
    from scfviz.tasks.embedding.compute import build_map, embed_baseline

    placed = np.flatnonzero(reference.total_counts > 0)
    picture = np.full((reference.n_obs, 2), np.nan, dtype=np.float32)
    picture[placed] = build_map(embed_baseline(reference.subset(placed), seed=seed), seed=seed).umap
    return picture
