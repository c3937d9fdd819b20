"""Differential expression between donors: counts of each donor's cells are added, and donors are compared, not cells.

Source: Squair et al. 2021, doi:10.1038/s41467-021-25960-2 (why); Love et al. 2014, doi:10.1186/s13059-014-0550-8
(DESeq2); Muzellec et al. 2023, doi:10.1093/bioinformatics/btad547 (PyDESeq2).
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scfviz.analysis.differential_expression import CHOSEN_BY_LOOKING, check_groups
from scfviz.analysis.expression import Progress, ShouldStop
from scfviz.errors import OptionError, Stopped

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts

FEWEST_CELLS_PER_SAMPLE = 10
FEWEST_REPLICATES = 2
# Two donors a side can be tested, but hardly anything real is found; below three the page says so.
GOOD_REPLICATES = 3
FEWEST_COUNTS_PER_GENE = 10
FEW_GENES = 2_000
MAX_DONORS = 500
DONOR_WORDS = re.compile(
    r"(^|[_. ])(donors?|patients?|individuals?|subjects?|participants?|replicates?|rep|mouse|animal|samples?)"
    r"($|[_. ]|id)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Replicates:
    """Samples (donor and side) with enough cells.

    Attributes
    ----------
    column
        Column of `obs` that names the donors.
    donors_in, donors_out
        Donors with enough cells in the group and in the reference.
    is_paired
        Whether every donor has cells on both sides, so that each is compared with itself.
    n_dropped
        Samples with fewer than 10 cells, left out.
    """

    column: str
    donors_in: tuple[str, ...]
    donors_out: tuple[str, ...]
    is_paired: bool
    n_dropped: int

    @property
    def can_test(self) -> bool:
        """Whether both sides have at least 2 donors."""
        return min(len(self.donors_in), len(self.donors_out)) >= FEWEST_REPLICATES


@dataclass(frozen=True)
class PseudobulkComparison:
    """Differential expression with donors as replicates.

    Attributes
    ----------
    table
        One row per gene that was tested: `names`, `scores` (Wald statistic), `logfoldchanges` (log2), `lfc_se`,
        `base_mean` (mean of normalised counts per sample), `pvals`, `pvals_adj` (Benjamini-Hochberg after
        independent filtering; NaN for genes that filtering or an outlier took out), the highest score first.
    samples
        One row per sample: `donor`, `side`, `n_cells`, `total_counts`.
    """

    table: "pd.DataFrame"
    samples: "pd.DataFrame"
    replicates: Replicates
    design: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the tables, as JSON-able fields."""
        return {
            "method": "pseudobulk, DESeq2 (Wald test)",
            "design": self.design,
            "donor_column": self.replicates.column,
            "donors_in": list(self.replicates.donors_in),
            "donors_out": list(self.replicates.donors_out),
            "is_paired": self.replicates.is_paired,
            "n_dropped_samples": self.replicates.n_dropped,
            "n_genes": len(self.table),
            "notes": list(self.notes),
        }


def donor_columns(obs: "pd.DataFrame") -> list[str]:
    """Columns whose name speaks of donors and that hold 2 to 500 of them, the surest first."""
    found = []
    for i, name in enumerate(map(str, obs.columns)):
        match = DONOR_WORDS.search(name)
        if match and FEWEST_REPLICATES <= obs.iloc[:, i].nunique() <= MAX_DONORS:
            is_sample = match.group(2).lower().startswith(("sample", "rep"))
            found.append((is_sample, i, name))
    return [name for _, _, name in sorted(found)]


def find_replicates(obs: "pd.DataFrame", group: np.ndarray, reference: np.ndarray | None, column: str) -> Replicates:
    """Which donors have at least 10 cells on each side.

    Raises
    ------
    OptionError
        The column is not there, or the groups do not fit (see `check_groups`).
    """
    group, reference = check_groups(group, reference, len(obs))
    donors = _donors(obs, column)
    counts = {side: donors[mask].value_counts() for side, mask in (("in", group), ("out", reference))}
    enough = {side: sorted(c.index[c >= FEWEST_CELLS_PER_SAMPLE]) for side, c in counts.items()}
    dropped = sum(int(((c > 0) & (c < FEWEST_CELLS_PER_SAMPLE)).sum()) for c in counts.values())
    is_paired = enough["in"] == enough["out"] and len(enough["in"]) >= FEWEST_REPLICATES
    return Replicates(column, tuple(enough["in"]), tuple(enough["out"]), is_paired, dropped)


def what_to_trust(replicates: Replicates | None) -> str:
    """One plain sentence: whether to believe the test of cells or the one of donors, and why."""
    if replicates is None:
        return (
            "Take these genes as candidates only: cells are not replicates, and no column of the file names several "
            "donors, so that nothing better can be computed."
        )
    n_in, n_out = len(replicates.donors_in), len(replicates.donors_out)
    if not replicates.can_test:
        return (
            f"Take these genes as candidates only: cells are not replicates, and '{replicates.column}' has {n_in} "
            f"donors with at least {FEWEST_CELLS_PER_SAMPLE} cells on the first side and {n_out} on the second, where "
            f"{FEWEST_REPLICATES} on each are needed to test donors."
        )
    caution = (
        f"; with only {min(n_in, n_out)} donors on a side it finds little, and what it misses may still be real"
        if min(n_in, n_out) < GOOD_REPLICATES
        else ""
    )
    return (
        f"Trust the test of donors ({n_in} against {n_out} from '{replicates.column}'), because cells of one donor are "
        f"not replicates and donors are{caution}."
    )


def compare_donors(
    counts: "AlignedCounts",
    group: np.ndarray,
    reference: np.ndarray | None,
    column: str,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> PseudobulkComparison:
    """Compare two groups of cells donor by donor with DESeq2.

    Counts of the cells of one donor on one side are added to a sample. When every donor is on both sides, each is
    compared with itself (design `~ donor + side`), else `~ side`.

    Parameters
    ----------
    group, reference
        As in `compare_cells`.
    column
        Column of `obs` that names the donors.

    Raises
    ------
    OptionError
        There are fewer than 2 donors with at least 10 cells on a side.
    """
    import pandas as pd

    replicates = find_replicates(counts.obs, group, reference, column)
    if not replicates.can_test:
        raise OptionError(
            f"There are {len(replicates.donors_in)} and {len(replicates.donors_out)} donors with at least "
            f"{FEWEST_CELLS_PER_SAMPLE} cells on the two sides.",
            f"At least {FEWEST_REPLICATES} on each side are needed.",
            "Choose another column, or use the test of cells and take its genes as candidates only.",
        )
    group, reference = check_groups(group, reference, counts.n_obs)
    sample, samples = _assign_samples(counts.obs, group, reference, replicates)
    sums = _add_counts(counts, sample, len(samples), progress, should_stop)
    samples["total_counts"] = sums.sum(axis=1)
    kept = np.flatnonzero(counts.is_measured & (sums.sum(axis=0) >= FEWEST_COUNTS_PER_GENE))
    notes = [what_to_trust(replicates), CHOSEN_BY_LOOKING]
    shared = set(replicates.donors_in) & set(replicates.donors_out)
    if shared and not replicates.is_paired:
        notes.append(
            f"{len(shared)} donors are on both sides, others on one: all are treated as independent. To compare each "
            "donor with itself, select only donors that have cells on both sides."
        )
    if not counts.counts_report.is_whole:
        notes.append("The counts are estimates with fractions; the sums were rounded.")
    if replicates.n_dropped:
        notes.append(f"{replicates.n_dropped} samples with fewer than {FEWEST_CELLS_PER_SAMPLE} cells were left out.")
    if len(kept) < 2:
        raise OptionError(
            f"Only {len(kept)} genes have {FEWEST_COUNTS_PER_GENE} counts in all samples together.",
            "At least 2 are needed.",
            "Select more cells.",
        )
    design = "~donor + side" if replicates.is_paired else "~side"
    whole = pd.DataFrame(np.rint(sums[:, kept]).astype(np.int64), columns=counts.genes[kept].astype(str))
    table = _fit(whole, samples, design)
    symbol_of = dict(zip(counts.index.names, counts.index.symbols, strict=True))
    table["model_gene"] = table["names"].map(symbol_of)
    if progress is not None:
        progress(1.0)
    return PseudobulkComparison(table, samples, replicates, design, tuple(notes))


def _donors(obs: "pd.DataFrame", column: str) -> "pd.Series":
    names = list(map(str, obs.columns))
    if column not in names:
        raise OptionError(f"There is no column '{column}'.", f"The columns are {', '.join(names[:10]) or 'none'}.")
    values = obs.iloc[:, names.index(column)]
    n_values = values.nunique()
    if n_values > MAX_DONORS:
        raise OptionError(
            f"'{column}' has {n_values:,} different values.",
            f"At most {MAX_DONORS} donors can be compared.",
            "Choose a column that names donors.",
        )
    return values.astype("string").reset_index(drop=True)


def _assign_samples(
    obs: "pd.DataFrame", group: np.ndarray, reference: np.ndarray, replicates: Replicates
) -> tuple[np.ndarray, "pd.DataFrame"]:
    """Number of each cell's sample (-1 for none) and the table of samples, the reference first."""
    import pandas as pd

    donors = _donors(obs, replicates.column)
    rows, sample = [], np.full(len(obs), -1)
    for side, mask, names in (("reference", reference, replicates.donors_out), ("group", group, replicates.donors_in)):
        for name in names:
            cells = mask & (donors == name).fillna(False).to_numpy(dtype=bool)
            sample[cells] = len(rows)
            rows.append({"donor": name, "side": side, "n_cells": int(cells.sum())})
    return sample, pd.DataFrame(rows)


def _add_counts(
    counts: "AlignedCounts",
    sample: np.ndarray,
    n_samples: int,
    progress: Progress | None,
    should_stop: ShouldStop | None,
) -> np.ndarray:
    """Counts per sample and gene, float64 (n_samples, n_genes), in one pass over the cells that are in a sample."""
    cells = np.flatnonzero(sample >= 0)
    part, of = counts.subset(cells), sample[cells]
    sums = np.zeros((n_samples, counts.n_genes))
    for start, block in part.blocks():
        if should_stop is not None and should_stop():
            raise Stopped
        rows = np.arange(block.shape[0])
        membership = (np.ones(len(rows)), (of[start : start + len(rows)], rows))
        sums += (sp.csr_matrix(membership, shape=(n_samples, len(rows))) @ block).toarray()
        if progress is not None:
            progress(0.5 * (start + len(rows)) / part.n_obs)
    return sums


def _fit(sums: "pd.DataFrame", samples: "pd.DataFrame", design: str) -> "pd.DataFrame":
    """DESeq2's Wald test of the group against the reference."""
    import warnings

    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.ds import DeseqStats

    sums.index = [f"sample{i}" for i in range(len(sums))]
    donors = {name: f"d{i}" for i, name in enumerate(sorted(set(samples["donor"])))}
    about = samples.assign(donor=samples["donor"].map(donors))[["donor", "side"]].set_index(sums.index)
    # starting processes takes longer than fitting a few genes
    n_cpus = 1 if sums.shape[1] < FEW_GENES else None
    with warnings.catch_warnings():
        # its own remarks on few samples and fallbacks of the dispersion fit; the notes say what matters here
        warnings.simplefilter("ignore")
        # every gene has a zero in some sample when samples are small: then the median of ratios has nothing to go
        # by
        factors = "ratio" if (sums > 0).all().any() else "poscounts"
        dataset = DeseqDataSet(
            counts=sums,
            metadata=about,
            design=design,
            size_factors_fit_type=factors,
            n_cpus=n_cpus,
            quiet=True,
            low_memory=True,
        )
        dataset.deseq2()
        stats = DeseqStats(dataset, contrast=["side", "group", "reference"], n_cpus=n_cpus, quiet=True)
        stats.summary()
    found = stats.results_df
    table = found.rename(
        columns={
            "stat": "scores",
            "log2FoldChange": "logfoldchanges",
            "lfcSE": "lfc_se",
            "baseMean": "base_mean",
            "pvalue": "pvals",
            "padj": "pvals_adj",
        }
    )
    table = table.rename_axis("names").reset_index()
    order = ["names", "scores", "logfoldchanges", "lfc_se", "base_mean", "pvals", "pvals_adj"]
    return table[order].sort_values("scores", ascending=False, kind="stable", ignore_index=True)
