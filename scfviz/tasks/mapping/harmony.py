"""Corrections that move cells cluster by cluster, beside the one shift of `spaces`.

Harmony itself is an optional extra, for its licence (GPL-3) is not this project's: `pip install scfviz[harmony]`.
"""

import importlib.util

import numpy as np

from scfviz.errors import OptionError

N_CLUSTERS, SHARPNESS, RIDGE = 30, 0.1, 1.0  # Harmony's
FEWEST_CELLS = 15  # of the reference in a cluster, on average
HARMONY = (
    "Korsunsky I, Millard N, Fan J, et al. (2019). Fast, sensitive and accurate integration of single-cell data with "
    "Harmony. Nature Methods 16, 1289-1296. doi:10.1038/s41592-019-0619-0 (also the local inverse Simpson's index)"
)
SYMPHONY = (
    "Kang JB, Nathan A, Weinand K, et al. (2021). Efficient and precise single-cell reference atlas mapping with "
    "Symphony. Nature Communications 12, 5890. doi:10.1038/s41467-021-25957-x"
)


def is_installed() -> bool:
    """Whether Harmony is at hand."""
    return importlib.util.find_spec("harmonypy") is not None


def refuse_without_harmony() -> None:
    """Say how to get Harmony.

    Raises
    ------
    OptionError
        It is not installed.
    """
    if not is_installed():
        raise OptionError(
            "Harmony is not installed.",
            "It is an optional extra, because its licence is the GPL.",
            "Install it with: pip install 'scfviz[harmony]'; or choose the correction 'shift' or 'clusters'.",
        )


def harmonise(points: np.ndarray, batches: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Cells with their batches brought together by Harmony, float32 (n_obs, D).

    Parameters
    ----------
    points
        (n_obs, D).
    batches
        (n_obs,), any values.

    Raises
    ------
    OptionError
        Harmony is not installed.

    Source: Korsunsky et al. 2019, doi:10.1038/s41592-019-0619-0.
    """
    refuse_without_harmony()
    import logging

    import harmonypy
    import pandas as pd

    logging.getLogger("harmonypy").setLevel(logging.WARNING)
    table = pd.DataFrame({"batch": np.asarray(batches).astype(str)})
    found = harmonypy.run_harmony(
        np.asarray(points, dtype=np.float64), table, "batch", verbose=False, random_state=seed
    )
    corrected = np.asarray(found.Z_corr, dtype=np.float32)
    return corrected if corrected.shape == points.shape else corrected.T  # before 2.0 cells were columns


def shift_by_clusters(reference: np.ndarray, query: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The query with one shift subtracted per soft cluster of the reference, which stays; float32 (n_query, D).

    With few cells a cluster's shift shrinks. A type that the reference lacks is drawn to the nearest cluster.

    Parameters
    ----------
    reference, query
        (n, D) each.

    Source: the projection of Symphony, Kang et al. 2021, doi:10.1038/s41467-021-25957-x, with k-means clusters.
    """
    from sklearn.cluster import KMeans

    n_clusters = int(np.clip(len(reference) // FEWEST_CELLS, 1, N_CLUSTERS))
    own, other = np.asarray(reference, dtype=np.float64), np.asarray(query, dtype=np.float64)
    centres = KMeans(n_clusters, n_init=3, random_state=seed).fit(_to_unit(own)).cluster_centers_
    membership = [_softmax(2 * _to_unit(part) @ _to_unit(centres).T / SHARPNESS) for part in (own, other)]
    means = (membership[0].T @ own) / np.maximum(membership[0].sum(axis=0), 1e-9)[:, None]
    away = membership[1].T @ other - membership[1].sum(axis=0)[:, None] * means
    shifts = away / (membership[1].sum(axis=0) + RIDGE)[:, None]
    return (other - membership[1] @ shifts).astype(np.float32)


def _to_unit(points: np.ndarray) -> np.ndarray:
    return points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)


def _softmax(values: np.ndarray) -> np.ndarray:
    found = np.exp(values - values.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)
