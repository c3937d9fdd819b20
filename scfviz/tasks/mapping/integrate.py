"""Integrate the batches of one dataset in each space, and say how well they mix before and after."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.groups import MISSING, group_cells
from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.mapping import balanced
from scfviz.tasks.mapping.balanced import balanced_purity
from scfviz.tasks.mapping.harmony import harmonise
from scfviz.tasks.mapping.lisi import mixing_of, scale_ilisi, score_mixing
from scfviz.tasks.mapping.neighbors import spread_sample
from scfviz.tasks.mapping.spaces import SPACES, TITLES, JointSpaces, Points, log_counts

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts
    from scfviz.model.scfoundation import ScFoundation

STAGES = {"shift": "one shift a batch", "clusters": "one shift a soft cluster", "harmony": "Harmony"}
MOST_BATCHES, FEWEST_CELLS, MOST_CELLS_TO_FIT, MOST_CELLS_TO_SCORE = 50, 10, 20_000, 6_000


@dataclass(frozen=True)
class Integration:
    """Batches of a dataset in common spaces.

    Attributes
    ----------
    before, after
        The cells in the spaces as they are, and corrected.
    batches
        object (n_obs,), batch of each cell.
    mixing
        float64 (n_obs,): mixing of the batches around each cell after integration, in both spaces side by side; 0 is
        one batch, 1 all batches alike. Of many cells a sample has a number, the others NaN.
    n_pairs
        Pairs of mutual neighbours behind the shift of each batch, by its name; empty of other corrections.
    correction
        How they were brought together.
    """

    before: Points
    after: Points
    batches: np.ndarray
    mixing: np.ndarray
    n_pairs: dict[str, int]
    correction: str


def integrate_batches(
    aligned: "AlignedCounts",
    model: "ScFoundation",
    batch: str,
    *,
    embedding: np.ndarray | None = None,
    correction: str = "shift",
    precision: str = "auto",
    device: str = "auto",
    seed: int = 0,
) -> Integration:
    """Bring batches of one dataset together; the dataset is not changed.

    The largest batch stays where it is. Each other one is moved, the next largest first, by the mean difference of
    mutual nearest neighbours from those before it: one vector for a whole batch, so types keep their distances.

    Parameters
    ----------
    aligned
        Counts in the model's gene order.
    batch
        Column of its table.
    embedding
        (n_obs, D), where it is at hand.
    correction
        "shift"; "clusters", one shift per soft cluster of those before; or "harmony", which moves all batches.

    Raises
    ------
    OptionError, DatasetError
        The column holds no batches; the message says why.

    Source: mutual nearest neighbours, Haghverdi et al. 2018, doi:10.1038/nbt.4091; here one vector a batch.
    """
    from scfviz.model.infer import embed_cells

    batches = read_batches(aligned.obs, batch)
    if embedding is None:
        embedding = embed_cells(aligned, model, precision=precision, device=device).values
    chosen = np.sort(np.random.default_rng(seed).permutation(aligned.n_obs)[:MOST_CELLS_TO_FIT])
    spaces = JointSpaces(seed=seed).fit(log_counts(aligned.subset(chosen)), np.asarray(embedding[chosen]))
    before = spaces.project(aligned, embedding)
    after, n_pairs = _correct(before, batches, correction, seed)
    mixing = np.full(aligned.n_obs, np.nan)
    scored = spread_sample(after["both"], MOST_CELLS_TO_SCORE)
    found = scale_ilisi(mixing_of(after["both"][scored], batches[scored]), len(np.unique(batches)))
    mixing[scored] = np.clip(found, 0.0, 1.0)  # but for rounding it lies there
    return Integration(before, after, batches, mixing, n_pairs, correction)


def _correct(points: Points, batches: np.ndarray, correction: str, seed: int) -> tuple[Points, dict[str, int]]:
    if correction == "harmony":
        return Points(*(harmonise(points[space], batches, seed=seed) for space in ("pca", "model"))), {}
    names, counts = np.unique(batches, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")]
    pca, model_part = points.pca.copy(), points.model.copy()
    done, n_pairs = batches == order[0], {}
    for name in order[1:]:
        mine = batches == name
        moved, pairs = points.take(np.flatnonzero(mine)).moved_to(Points(pca[done], model_part[done]), correction)
        pca[mine], model_part[mine] = moved.pca, moved.model
        n_pairs |= {str(name): pairs["pca"]} if pairs else {}
        done |= mine
    return Points(pca, model_part), n_pairs


def read_batches(obs: "pd.DataFrame", column: str) -> np.ndarray:
    """The batch of each cell, object (n_obs,).

    Raises
    ------
    OptionError
        There is no such column, or it holds no batches.
    DatasetError
        A batch has too few cells.
    """
    if column not in obs.columns:
        listed = ", ".join(map(str, obs.columns[:20])) or "none"
        raise OptionError(f"The dataset has no column '{column}'.", f"Its columns are {listed}.", "Choose another.")
    n_kinds = obs[column].astype(str).nunique()
    if not 2 <= n_kinds <= MOST_BATCHES:
        raise OptionError(
            f"The column '{column}' has {n_kinds:,} different values.",
            f"Batches are 2 to {MOST_BATCHES}: samples, donors, chemistries.",
            "Choose another column.",
        )
    grouping = group_cells(obs[column].astype("string"))
    small = [name for name, n in zip(grouping.names, grouping.n_cells, strict=True) if n < FEWEST_CELLS]
    if small:
        raise DatasetError(
            f"The batch '{small[0]}' of the column '{column}' has fewer than {FEWEST_CELLS} cells"
            + (" (cells without a value)." if small[0] == MISSING else "."),
            f"Each batch needs at least {FEWEST_CELLS}.",
            "Leave these cells out, or choose another column.",
        )
    return np.array(grouping.names, dtype=object)[grouping.codes]


def score_integration(found: Integration, types: np.ndarray) -> "pd.DataFrame":
    """One row per space, before and after: mixing of batches within shared types, and purity of types; both 0 to 1.

    The last row is the graph of balanced neighbours in the principal components as they are, after BBKNN.
    """
    import pandas as pd

    rows = []
    for stage, points in (("as it is", found.before), (STAGES[found.correction], found.after)):
        chosen = spread_sample(points["both"], MOST_CELLS_TO_SCORE)
        for space in SPACES:
            mixed = score_mixing(points[space][chosen], found.batches[chosen].astype(str), types[chosen].astype(str))
            rows.append({"space": space, "title": TITLES[space], "batches": stage} | mixed)
    chosen = spread_sample(found.before.pca, MOST_CELLS_TO_SCORE)
    purity = balanced_purity(found.before.pca[chosen], found.batches[chosen], types[chosen])
    graph = {"ilisi": None, "clisi": purity, "n_shared_types": rows[0]["n_shared_types"]}
    rows.append({"space": balanced.SPACE, "title": balanced.TITLE, "batches": balanced.STAGE} | graph)
    return pd.DataFrame(rows)
