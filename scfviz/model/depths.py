"""Which read depths a model knows from its training, and what is reported about others."""

from collections.abc import Mapping
from typing import Any

import numpy as np

FAR = 2.0  # beyond the trained range by this factor


def depth_notes(training: Mapping[str, Any], source: np.ndarray, target: np.ndarray) -> list[str]:
    """Sentences on depths far outside those that the model was trained with; empty where there are none.

    Parameters
    ----------
    training
        Of the checkpoint; `depths` holds the 1st and 99th percentile (`low`, `high`) of the counts of its training
        cells. Without it nothing is known, and nothing said.
    source, target
        (n_obs,) counts per cell. Sources below the range are no matter: cells were thinned in training.
    """
    depths = training.get("depths")
    if not isinstance(depths, Mapping):
        return []
    low, high = float(depths["low"]), float(depths["high"])
    notes = []
    for name, values, is_far in (
        ("target", target, (target > FAR * high) | (target < low / FAR)),
        ("own", source, source > FAR * high),
    ):
        if name == "own" and np.array_equal(source, target):
            continue
        if n_far := int(is_far.sum()):
            found = values[is_far]
            size = f"{found.min():,.0f}" if found.min() == found.max() else f"{found.min():,.0f} to {found.max():,.0f}"
            notes.append(
                f"The {name} depth of {n_far:,} of the {len(values):,} cells ({size} counts) lies far outside what the "
                f"model was trained with: 98 % of its training cells had {low:,.0f} to {high:,.0f} counts. Their "
                f"results are extrapolated."
            )
    return notes
