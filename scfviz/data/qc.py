"""Quality of each cell: depth, genes, mitochondrial share; and filters on them."""

import numpy as np
import pandas as pd

from scfviz.data.align import AlignedCounts
from scfviz.errors import OptionError


def qc_metrics(aligned: AlignedCounts) -> pd.DataFrame:
    """Depth, number of genes and mitochondrial share of each cell, over the model's genes.

    Returns
    -------
    DataFrame
        Index: cell names. `total_counts` float64 (counts), `n_genes` int32 (genes with counts), `pct_counts_mt`
        float64 (% of the counts; NaN where no mitochondrial gene was measured or the cell has no counts).
    """
    total = aligned.total_counts
    share = np.divide(100 * aligned.mitochondrial_counts, total, out=np.full(aligned.n_obs, np.nan), where=total > 0)
    return pd.DataFrame(
        {"total_counts": total, "n_genes": aligned.n_expressed, "pct_counts_mt": share}, index=aligned.obs.index
    )


def filter_cells(
    metrics: pd.DataFrame,
    *,
    min_counts: float | None = None,
    min_genes: int | None = None,
    max_pct_mt: float | None = None,
) -> np.ndarray:
    """Which cells stay.

    Parameters
    ----------
    metrics
        From `qc_metrics`.
    min_counts, min_genes, max_pct_mt
        Limits that still pass; None sets no limit. A cell whose mitochondrial share is unknown passes that limit.

    Returns
    -------
    bool (n_obs,). Cells without any counts never stay.

    Raises
    ------
    OptionError
        A limit is negative, or a percentage above 100.
    """
    for name, value in (("min_counts", min_counts), ("min_genes", min_genes), ("max_pct_mt", max_pct_mt)):
        if value is not None and (value < 0 or (name == "max_pct_mt" and value > 100)):
            raise OptionError(
                f"{name} is {value:g}.",
                "It must be between 0 and 100." if name == "max_pct_mt" else "It must not be negative.",
            )
    keep = metrics["total_counts"].to_numpy() > 0
    if min_counts is not None:
        keep &= metrics["total_counts"].to_numpy() >= min_counts
    if min_genes is not None:
        keep &= metrics["n_genes"].to_numpy() >= min_genes
    if max_pct_mt is not None:
        share = metrics["pct_counts_mt"].to_numpy()
        keep &= np.isnan(share) | (share <= max_pct_mt)
    return keep
