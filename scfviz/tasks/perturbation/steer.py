"""Which measured perturbation moves cells of one group towards another: population means, ranked with intervals."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.errors import OptionError
from scfviz.tasks.perturbation.effects import ScreenEffects, sum_conditions, symbols_of

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts

MIN_CELLS, MIN_GENES = 10, 20


@dataclass(frozen=True)
class Difference:
    """Goal less start over the genes that the screen and the cells share.

    Attributes
    ----------
    genes
        int (k,): their positions among the screen's genes.
    change, variance
        float64 (k,): difference of the means of ln(1 + counts per 10,000), and its sampling variance.
    """

    genes: np.ndarray
    change: np.ndarray
    variance: np.ndarray


def measure_difference(
    counts: "AlignedCounts", is_start: np.ndarray, is_goal: np.ndarray, effects: ScreenEffects
) -> Difference:
    """The difference between two groups of cells over a screen's genes.

    Parameters
    ----------
    counts
        Cells over all genes of their file.
    is_start, is_goal
        bool (n_obs,).

    Raises
    ------
    OptionError
        A group is too small, or too few genes of the screen were measured in the cells.
    """
    for name, mask in (("start", is_start), ("goal", is_goal)):
        if mask.sum() < MIN_CELLS:
            raise OptionError(
                f"The {name} has {int(mask.sum()):,} cells.",
                f"At least {MIN_CELLS} are needed.",
                "Choose another group.",
            )
    codes = np.where(is_goal, 1, np.where(is_start, 0, -1)).astype(np.int32)
    sums = sum_conditions(counts, codes, 2, counts.total_counts).sum(axis=1)
    place = {symbol: i for i, symbol in reversed(list(enumerate(symbols_of(counts.genes)))) if counts.is_measured[i]}
    shared = np.array([i for i, gene in enumerate(effects.genes) if gene in place], dtype=np.int64)
    if len(shared) < MIN_GENES:
        raise OptionError(
            f"{len(shared):,} of the screen's {len(effects.genes):,} genes were measured in these cells.",
            f"At least {MIN_GENES} are needed.",
            "Use cells with all genes.",
        )
    columns = np.array([place[effects.genes[i]] for i in shared])
    sizes = np.array([is_start.sum(), is_goal.sum()])[:, None]
    means, squares = sums[0][:, columns] / sizes, sums[1][:, columns] / sizes
    of_mean = np.maximum(squares - means**2, 0) / np.maximum(sizes - 1, 1)
    return Difference(shared, means[1] - means[0], of_mean.sum(axis=0))


def rank_perturbations(effects: ScreenEffects, difference: Difference) -> "pd.DataFrame":
    """How far each measured perturbation goes along the difference, the farthest first.

    The share of the way is the projection of the perturbation's change on the difference: 1 would carry the mean of the
    start to that of the goal along this direction. What it changes beside it shows in the cosine.

    Returns
    -------
    DataFrame
        `condition`, `share` with `low` and `high` (95 % from the sampling variance of both), `cosine`, `n_cells`.
    """
    import pandas as pd

    change, variance = effects.change[:, difference.genes], effects.variance[:, difference.genes]
    own = effects.own_gene()[:, difference.genes]
    change, variance, target, noise = (  # the perturbed gene itself counts on neither side
        np.where(own, 0, values) for values in (change, variance, difference.change, difference.variance)
    )
    length = np.maximum((target**2).sum(axis=1) - noise.sum(axis=1), 1e-9)
    along = (change * target).sum(axis=1)
    error = np.sqrt((variance * target**2 + change**2 * noise).sum(axis=1)) / length
    share, norms = along / length, np.linalg.norm(change, axis=1) * np.linalg.norm(target, axis=1)
    table = pd.DataFrame(
        {
            "condition": effects.conditions,
            "share": share,
            "low": share - 1.96 * error,
            "high": share + 1.96 * error,
            "cosine": along / np.maximum(norms, 1e-12),
            "n_cells": effects.n_cells,
        }
    )
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)
