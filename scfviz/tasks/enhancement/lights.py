"""Three lights for genes: whether enhanced values of a gene say more than its counts."""

from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.enhancement.correlations import Correlations
from scfviz.tasks.enhancement.methods import loss_of, shares_at_depth
from scfviz.tasks.enhancement.options import INPUT

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.tasks.enhancement.scores import Split

USE, UNSURE, AVOID = "use", "can't tell", "do not use"
SURE = 1.645  # standard errors: 5 % on each side


def judge_genes(
    split: "Split", names: np.ndarray, shares: dict[str, np.ndarray], correlations: Correlations, method: str
) -> "pd.DataFrame":
    """Numbers and light of each compared gene.

    Columns: `gene`; `n_cells` with its counts; `correlation_input` and `correlation` of the method with held-back
    counts; `gain` between the two and its standard error `gain_error`; `loss_gain`, how much likelier held-back counts
    are than with the gene's mean in every cell, in nats per cell, and `loss_gain_error`; `light`.

    Use: the correlation rises for certain, and the values beat the gene's mean. Do not use: the correlation falls for
    certain, or the gene's mean in every cell would be the better prediction for certain. Else nobody can tell.
    """
    import pandas as pd

    test, test_depth = split.held_back()
    seen, depth = split.seen(), split.depth[split.rows]
    means = np.asarray(split.train.sum(axis=0, dtype=np.float64)).ravel()[split.genes] / split.train.sum()
    at_depth = shares_at_depth(seen, shares[method], depth, split.target[split.rows])
    ahead = loss_of(np.broadcast_to(means, test.shape), means, test, test_depth)
    ahead = ahead - loss_of(at_depth, means, test, test_depth)
    loss_gain, loss_error = ahead.mean(axis=0), ahead.std(axis=0) / np.sqrt(len(ahead))
    gain, error = correlations.gain_of_genes(method, INPUT)
    return pd.DataFrame(
        {
            "gene": names[split.genes].astype(str),
            "n_cells": ((seen + test) > 0).sum(axis=0),
            "correlation_input": correlations.of_genes(INPUT),
            "correlation": correlations.of_genes(method),
            "gain": gain,
            "gain_error": error,
            "loss_gain": loss_gain,
            "loss_gain_error": loss_error,
            "light": lights(gain, error, loss_gain, np.where(split.counted, loss_error, np.inf)),
        }
    )


def lights(gain: np.ndarray, error: np.ndarray, loss_gain: np.ndarray, loss_error: np.ndarray) -> np.ndarray:
    """The light of each gene, object (n_genes,); see `judge_genes`."""
    # with few counts, means of losses are too skewed for standard errors: those genes come with an infinite one
    is_better = (gain > SURE * error) & (loss_gain > 0)
    is_worse = (gain < -SURE * error) | (loss_gain < -SURE * loss_error)
    return np.select([is_worse, is_better], [AVOID, USE], UNSURE).astype(object)
