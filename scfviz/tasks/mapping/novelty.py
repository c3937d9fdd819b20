"""Which cells have no counterpart: by their distance to the reference, and by what sets their cluster apart.

Distance alone calls cells of another platform new, and cells of another tissue not: both were measured
(`benchmarks/NOTES.md`). So clusters are compared with their neighbours over all genes as well, see `profiles`. Where
some clusters fit, the distance that they have in common is the platform's and is taken out; a cluster that is less
like its neighbours than the others are counts as farther; and one that is unlike them has no counterpart, however near
it lies.
"""

from dataclasses import replace

import numpy as np

from scfviz.tasks.mapping.compute import LEAST_PROBABILITY, CellMapping, FittedReference, Pair
from scfviz.tasks.mapping.labels import NO_COUNTERPART, UNDECIDED
from scfviz.tasks.mapping.profiles import compare_groups
from scfviz.tasks.mapping.search import p_values

# Likeness below which a cluster has no counterpart, among types and where only one label is found, and above which it
# has one; chosen on datasets of the corpus and panels, never on those of the evaluation.
UNLIKE, UNLIKE_ALONE, FITS = 0.33, 0.2, 0.4
FEWEST_CELLS = 10  # that fit, so that they say what the platform does
_NEAR = 0.25  # quantile of distances: those of cells that surely have a counterpart


def find_novel(
    pair: Pair, fitted: FittedReference, found: CellMapping, clusters: np.ndarray, *, false_rate: float = 0.05
) -> CellMapping:
    """Decide which cells have no counterpart.

    Parameters
    ----------
    found
        The query of `pair` on the reference, as `map_points` gives it.
    clusters
        (n_query,), of the query's cells.

    Returns
    -------
    CellMapping
        With `likeness`, `is_unlike`, `platform_distance`, `farness`, `p_value` and `label` in the light of both tests.
    """
    by_cluster = compare_groups(pair.query, pair.reference, found.neighbors, clusters, found.nearest)
    told = [by_cluster[str(name)] for name in clusters]
    likeness = np.array([one.value for one in told])
    is_unlike = likeness < np.where([one.is_among_types for one in told], UNLIKE, UNLIKE_ALONE)
    own, scores = fitted.own_scores, np.log(found.distance)
    platform, typical = typical_fit(scores, likeness, own)
    behind = np.nan_to_num(np.maximum(typical - likeness, 0.0))
    farness = scores - platform + behind
    p_value = p_values(farness, own)
    label = np.where(found.probability >= LEAST_PROBABILITY, found.nearest, UNDECIDED)
    return replace(
        found,
        label=np.where((p_value < false_rate) | is_unlike, NO_COUNTERPART, label),
        p_value=p_value,
        farness=farness,
        likeness=likeness,
        is_unlike=is_unlike,
        platform_distance=float(np.exp(platform)),
    )


def typical_fit(scores: np.ndarray, likeness: np.ndarray, own: np.ndarray) -> tuple[float, float]:
    """What the cells of clusters that fit have in common: distance, as `Look.score` and at least 0, and likeness.

    Parameters
    ----------
    scores, likeness
        (n,) of the query's cells.
    own
        (n_reference,), scores of the reference's cells.

    Returns
    -------
    tuple
        0 and NaN where fewer than ten cells fit.
    """
    fits = likeness >= FITS
    if fits.sum() < FEWEST_CELLS:
        return 0.0, float("nan")
    farther = float(np.quantile(scores[fits], _NEAR) - np.quantile(own, _NEAR))
    return max(0.0, farther), float(np.median(likeness[fits]))
