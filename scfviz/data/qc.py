"""Quality of each cell: depth, genes, mitochondrial share; and filters on them."""

import numpy as np
import pandas as pd

from scfviz.data.align import AlignedCounts
from scfviz.errors import DatasetError, OptionError


def qc_metrics(aligned: AlignedCounts) -> pd.DataFrame:
    """Depth, number of genes and mitochondrial share of each cell.

    Parameters
    ----------
    aligned
        With all genes of the file (`OpenDataset.counts`), these are the usual numbers of scanpy; the names of
        mitochondrial genes begin with MT-.

    Returns
    -------
    DataFrame
        Index: cell names. `total_counts` float64 (counts), `n_genes` int32 (genes with counts), `pct_counts_mt`
        float64 (% of the counts; NaN where no mitochondrial gene was measured or the cell has no counts). In a file of
        human and mouse cells also `is_other_species`, bool.
    """
    total = aligned.total_counts
    share = np.divide(100 * aligned.mitochondrial_counts, total, out=np.full(aligned.n_obs, np.nan), where=total > 0)
    columns = {"total_counts": total, "n_genes": aligned.n_expressed, "pct_counts_mt": share}
    if aligned.counts_report.n_other_species:
        columns["is_other_species"] = aligned.is_other_species
    return pd.DataFrame(columns, index=aligned.obs.index)


def filter_cells(
    metrics: pd.DataFrame,
    *,
    model_counts: np.ndarray | None = None,
    min_counts: float | None = None,
    min_genes: int | None = None,
    max_pct_mt: float | None = None,
) -> np.ndarray:
    """Which cells stay.

    Parameters
    ----------
    metrics
        From `qc_metrics`.
    model_counts
        Counts of each cell in the model's genes, where the cells are for the model: those without any cannot stay.
    min_counts, min_genes, max_pct_mt
        Limits that still pass; None sets no limit. A cell whose mitochondrial share is unknown passes that limit.

    Returns
    -------
    bool (n_obs,). Cells without any counts, and cells of another species, never stay.

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
    if "is_other_species" in metrics:
        keep &= ~metrics["is_other_species"].to_numpy()
    if model_counts is not None:
        keep &= np.asarray(model_counts) > 0
    if min_counts is not None:
        keep &= metrics["total_counts"].to_numpy() >= min_counts
    if min_genes is not None:
        keep &= metrics["n_genes"].to_numpy() >= min_genes
    if max_pct_mt is not None:
        share = metrics["pct_counts_mt"].to_numpy()
        keep &= np.isnan(share) | (share <= max_pct_mt)
    return keep


def choose_cells(
    counts: AlignedCounts, aligned: AlignedCounts, filters: dict[str, float] | None, metrics: pd.DataFrame | None = None
) -> np.ndarray:
    """Which cells of a file are computed: the one choice of commands and jobs.

    Parameters
    ----------
    counts
        All genes of the file (`OpenDataset.counts`), which the filters are on.
    aligned
        The same cells in the model's gene order; `counts` itself where no model reads them.
    filters
        Limits by their names in `filter_cells`; without any, cells that the model cannot read are refused.
    metrics
        From `qc_metrics`, where they are at hand.

    Returns
    -------
    int64 (n_kept,), ascending rows of the file.

    Raises
    ------
    DatasetError
        The filters remove all cells; or, without filters, the model cannot read some.
    OptionError
        A limit makes no sense.
    """
    for_model = aligned is not counts
    if not filters:
        if for_model:
            refuse_unusable(aligned)
        return np.arange(aligned.n_obs)
    metrics = qc_metrics(counts) if metrics is None else metrics
    kept = np.flatnonzero(filter_cells(metrics, model_counts=counts.known_counts if for_model else None, **filters))
    if not len(kept):
        raise DatasetError(
            f"The filters remove all {aligned.n_obs:,} cells.",
            "At least one cell must remain; for the model it needs a count in its genes.",
            "Loosen the filters.",
        )
    return kept


def refuse_unusable(aligned: AlignedCounts) -> None:
    """Refuse cells that the model cannot read, before anything is computed.

    Raises
    ------
    DatasetError
        Cells have no counts on the model's genes, or are of another species. The message names the first ones.
    """
    is_empty = aligned.total_counts <= 0
    is_foreign = aligned.is_other_species & ~is_empty
    found = [
        f"{int(flags.sum()):,} of {aligned.n_obs:,} cells {what} (for example "
        f"{', '.join(map(str, aligned.obs.index[flags][:3]))})"
        for flags, what in (
            (is_empty, "have no counts on the model's genes"),
            (is_foreign, "have most of their counts on mouse genes"),
        )
        if flags.any()
    ]
    if found:
        raise DatasetError(
            f"{' and '.join(found)}.",
            "Every cell needs counts on the model's genes, and must be human where a file holds human and mouse cells.",
            "Leave such cells out with a filter: at least 200 counts per cell (--min-counts 200 in commands), or 1.",
        )
