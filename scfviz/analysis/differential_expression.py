"""Which genes differ between two groups of cells: scanpy's Wilcoxon and t-test, from sparse counts in pieces.

The statistics are scanpy's (`sc.tl.rank_genes_groups`) to rounding. Ranks are computed from the values above zero
only: all zeros of a gene are tied at the lowest rank, so they need no sorting. That makes 100,000 cells a matter of
seconds where sorting every value of the dense matrix takes minutes (`benchmarks/differential_expression.py`).

Source: Wolf et al. 2018, doi:10.1186/s13059-017-1382-0; Soneson & Robinson 2018, doi:10.1038/nmeth.4612 (comparison
of tests).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

from scfviz.analysis.expression import Expression, Progress, ShouldStop, read_mask
from scfviz.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

Method = Literal["wilcoxon", "t-test"]
METHODS = ("wilcoxon", "t-test")
COLUMNS = (
    "names",
    "scores",
    "logfoldchanges",
    "pvals",
    "pvals_adj",
    "pct_in",
    "pct_out",
    "mean_in",
    "mean_out",
    "only_in",
    "model_gene",
)
ONLY_GROUP, ONLY_REFERENCE = "first", "second"
FEWEST_CELLS = 2
# Below this the normal approximation of the rank sum is poor (scanpy warns at the same number).
FEW_CELLS = 25
# scanpy adds this to both sides of a fold change so that zero can be divided by.
LOW_EXPRESSION = 1e-9
SCANPY_TYPES = {"names": "O", "scores": "f4", "logfoldchanges": "f4", "pvals": "f8", "pvals_adj": "f8"}

NOT_REPLICATES = (
    "These p values treat every cell as an independent sample. Cells of one donor are not replicates: they share "
    "the donor's genes, history and handling. The ranking of genes is useful; the p values are far too small and "
    "say nothing about other donors."
)
CHOSEN_BY_LOOKING = (
    "If the groups were chosen by looking at expression (clusters, lassos, thresholds), the genes that were looked at "
    "differ by construction, whatever the test."
)


@dataclass(frozen=True)
class Comparison:
    """Differential expression of one group of cells against another.

    Attributes
    ----------
    table
        One row per measured gene, the highest score first: `names`; `scores` (z of the rank sum, or t);
        `logfoldchanges` (log2 of mean counts per 10,000, scanpy's way: means are taken of the logs); `pvals`;
        `pvals_adj` (Benjamini-Hochberg over all measured genes); `pct_in`, `pct_out` (fraction of cells that
        express the gene, 0 to 1); `mean_in`, `mean_out` (mean of ln(1 + counts per 10,000)); `only_in`
        ("first" or "second" where the other side has no count of the gene: its fold change is a bound of arithmetic,
        not a measurement; else ""); `model_gene` (the model's symbol of the gene, "" where it does not know it).
    method, tie_correct
        How it was computed.
    n_group, n_reference
        Numbers of cells.
    notes
        What a reader should know, in plain words.
    """

    table: "pd.DataFrame"
    method: str
    tie_correct: bool
    n_group: int
    n_reference: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything but the table, as JSON-able fields."""
        return {
            "method": self.method,
            "tie_correct": self.tie_correct,
            "n_group": self.n_group,
            "n_reference": self.n_reference,
            "n_genes": len(self.table),
            "notes": list(self.notes),
        }


def compare_cells(
    expression: Expression,
    group: np.ndarray,
    reference: np.ndarray | None = None,
    *,
    method: Method = "wilcoxon",
    tie_correct: bool = True,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Comparison:
    """Compare the expression of every measured gene between two groups of cells.

    Parameters
    ----------
    expression
        Log-normalised expression, read gene chunk by gene chunk.
    group
        bool (n_obs,).
    reference
        bool (n_obs,), no cell in common with `group`; None takes all other cells.
    method
        "wilcoxon" (rank sum, normal approximation) or "t-test" (Welch).
    tie_correct
        Correct the rank sum's variance for ties. Without it, as scanpy's default has it, the test is far too
        cautious for genes that are zero in most cells.
    progress
        Called with the share done, 0 to 1.
    should_stop
        Asked between two chunks; True ends with `Stopped`.

    Raises
    ------
    OptionError
        A group has fewer than 2 cells, the groups share cells, or the method is unknown.
    """
    if method not in METHODS:
        raise OptionError(f"There is no test '{method}'.", f"There are: {', '.join(METHODS)}.", "Choose one of them.")
    group, reference = check_groups(group, reference, expression.n_obs)
    cells = None if (group | reference).all() else np.flatnonzero(group | reference)
    in_group = group if cells is None else group[cells]
    n_in, n_out = int(in_group.sum()), int((~in_group).sum())
    positions, parts = [], []
    for genes, values in expression.blocks(cells=cells, progress=progress, should_stop=should_stop):
        sums = sum_groups(values, in_group)
        part = describe_groups(sums, n_in, n_out)
        part["scores"], part["pvals"] = (
            rank_sum_test(values, in_group, tie_correct=tie_correct)
            if method == "wilcoxon"
            else welch_test(part, n_in, n_out)
        )
        positions.append(genes)
        parts.append(part)
    table = make_table(expression, positions, parts)
    notes = [NOT_REPLICATES, CHOSEN_BY_LOOKING]
    if min(n_in, n_out) <= FEW_CELLS:
        notes.append(f"The smaller group has only {min(n_in, n_out)} cells: p values are rough below {FEW_CELLS + 1}.")
    return Comparison(table, method, tie_correct and method == "wilcoxon", n_in, n_out, tuple(notes))


def check_groups(group: np.ndarray, reference: np.ndarray | None, n_obs: int) -> tuple[np.ndarray, np.ndarray]:
    """Two masks without a common cell and with at least 2 cells each; without a reference, the rest.

    Raises
    ------
    OptionError
        A group is too small or the groups overlap.
    """
    group = read_mask(group, n_obs, "The group")
    reference = ~group if reference is None else read_mask(reference, n_obs, "The reference")
    shared = int((group & reference).sum())
    if shared:
        raise OptionError(
            f"{shared:,} cells are in both selections.",
            "A cell can only be on one side of a comparison.",
            "Take the second selection without the first (difference).",
        )
    for mask, what in ((group, "The first selection"), (reference, "The second selection (or the rest)")):
        if mask.sum() < FEWEST_CELLS:
            raise OptionError(
                f"{what} has {int(mask.sum())} cells.",
                f"At least {FEWEST_CELLS} are needed on each side.",
                "Select more cells.",
            )
    return group, reference


def sum_groups(values: sp.csc_matrix, in_group: np.ndarray) -> dict[str, np.ndarray]:
    """For each gene and side: `sum`, `squares` and `n` (cells above zero); float64, `_in` and `_out`, (k,) each."""
    by_gene = values.astype(np.float64).T
    sides = {"in": in_group.astype(np.float64), "out": (~in_group).astype(np.float64)}
    sums = {}
    for name, data in (("sum", by_gene.data), ("squares", by_gene.data**2), ("n", np.ones(by_gene.nnz))):
        part = sp.csr_matrix((data, by_gene.indices, by_gene.indptr), shape=by_gene.shape)
        sums |= {f"{name}_{side}": part @ members for side, members in sides.items()}
    return sums


def describe_groups(sums: dict[str, np.ndarray], n_in: int, n_out: int) -> dict[str, np.ndarray]:
    """Means, variances (n - 1), fractions above zero of both sides and the log2 fold change, (k,) each."""
    part = {}
    for side, n in (("in", n_in), ("out", n_out)):
        mean = sums[f"sum_{side}"] / n
        part[f"mean_{side}"] = mean
        part[f"var_{side}"] = np.maximum(sums[f"squares_{side}"] / n - mean**2, 0) * (n / (n - 1))
        part[f"pct_{side}"] = sums[f"n_{side}"] / n
    above, below = (np.expm1(part[f"mean_{side}"]) + LOW_EXPRESSION for side in ("in", "out"))
    part["logfoldchanges"] = np.log2(above / below)
    return part


def rank_sum_test(
    values: sp.csc_matrix, in_group: np.ndarray, *, tie_correct: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Wilcoxon's rank sum test of each column, with the normal approximation.

    Parameters
    ----------
    values
        CSC float32 (n_cells, k), every stored value above zero.
    in_group
        bool (n_cells,): the group; all others are the reference.

    Returns
    -------
    z scores float64 (k,), above zero where the group is higher, and two-sided p values float64 (k,). A gene without
    any difference in ranks has 0 and 1.
    """
    from scipy.stats import norm

    n_genes, n_cells, n_in = values.shape[1], values.shape[0], int(in_group.sum())
    n_out = n_cells - n_in
    per_gene = np.diff(values.indptr).astype(np.int64)
    # Gene, value and side share one whole number, and floats above zero sort like their bits: numpy sorts whole
    # numbers many times faster than it finds the order of floats.
    keys = np.repeat(np.arange(n_genes, dtype=np.uint64) << np.uint64(33), per_gene)
    keys |= values.data.astype(np.float32, copy=False).view(np.uint32).astype(np.uint64) << np.uint64(1)
    keys |= in_group[values.indices]
    for low, high in pairwise(values.indptr):
        keys[low:high].sort()
    inside = np.concatenate([[0], np.cumsum(keys & np.uint64(1), dtype=np.int64)])
    keys >>= np.uint64(1)
    # Runs of equal values within a gene share their mean rank.
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    last = np.append(first[1:], len(keys)).astype(np.int64)
    gene = (keys[first] >> np.uint64(32)).astype(np.int64)
    run_in = inside[last] - inside[first]
    n_zero = n_cells - per_gene
    n_zero_in = n_in - np.bincount(gene, run_in, minlength=n_genes)
    mean_rank = (n_zero - values.indptr[:-1])[gene] + (first + last + 1) / 2
    rank_sum = np.bincount(gene, run_in * mean_rank, minlength=n_genes) + n_zero_in * (n_zero + 1) / 2
    is_tie = last - first > 1
    tied = (last - first)[is_tie].astype(np.float64)
    ties = np.bincount(gene[is_tie], tied**3 - tied, minlength=n_genes) + n_zero.astype(np.float64) ** 3 - n_zero
    correction = 1 - ties / (float(n_cells) ** 3 - n_cells) if tie_correct else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt(np.maximum(correction, 0) * n_in * n_out * (n_cells + 1) / 12)
        scores = (rank_sum - n_in * (n_cells + 1) / 2) / spread
    scores[~np.isfinite(scores)] = 0
    return scores, 2 * norm.sf(np.abs(scores))


def welch_test(part: dict[str, np.ndarray], n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Welch's t and two-sided p values, (k,) each, from `describe_groups`; 0 and 1 where nothing varies."""
    from scipy.stats import ttest_ind_from_stats

    sides = [(part[f"mean_{side}"], np.sqrt(part[f"var_{side}"]), n) for side, n in (("in", n_in), ("out", n_out))]
    with np.errstate(invalid="ignore", divide="ignore"):
        scores, pvals = ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False)
    scores, pvals = np.array(scores), np.array(pvals)
    scores[np.isnan(scores)], pvals[np.isnan(pvals)] = 0, 1
    return scores, pvals


def adjust(pvals: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg adjusted p values."""
    from scipy.stats import false_discovery_control

    return false_discovery_control(pvals) if len(pvals) else np.asarray(pvals, dtype=np.float64)


def with_measured_changes(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table of a comparison for reading: no fold change (NaN) of genes that one side has no count of."""
    if "only_in" not in table:
        return table
    return table.assign(logfoldchanges=table["logfoldchanges"].where(table["only_in"] == ""))


def to_rank_genes_groups(
    table: "pd.DataFrame",
    *,
    group: str,
    reference: str = "rest",
    method: str,
    tie_correct: bool = False,
    groupby: str = "selection",
) -> dict[str, Any]:
    """A table of `compare_cells` or `compare_donors` in the layout of scanpy's `uns["rank_genes_groups"]`.

    Parameters
    ----------
    group, reference
        Names of the two sides; "rest" for all other cells.

    Returns
    -------
    dict
        Readable by `sc.get.rank_genes_groups_df(adata, group)`; where the table has fractions of cells, they are
        under `pts` (and `pts_rest`).
    """
    import pandas as pd

    result: dict[str, Any] = {
        "params": {
            "groupby": groupby,
            "reference": reference,
            "method": method,
            "use_raw": False,
            "layer": "",  # AnnData files hold no None here in all versions
            "corr_method": "benjamini-hochberg",
            "tie_correct": tie_correct,
        }
    }
    for column, kind in SCANPY_TYPES.items():
        result[column] = np.array([(value,) for value in table[column]], dtype=[(group, kind)]).view(np.recarray)
    if "pct_in" not in table:
        return result
    names = pd.Index(table["names"].astype(str), name=None)
    if reference == "rest":
        result["pts"] = pd.DataFrame({group: table["pct_in"].to_numpy()}, index=names)
        result["pts_rest"] = pd.DataFrame({group: table["pct_out"].to_numpy()}, index=names)
    else:
        both = {group: table["pct_in"].to_numpy(), reference: table["pct_out"].to_numpy()}
        result["pts"] = pd.DataFrame(both, index=names)
    return result


def make_table(
    expression: Expression, positions: list[np.ndarray], parts: list[dict[str, np.ndarray]]
) -> "pd.DataFrame":
    """The table of a comparison from its pieces: positions of genes, and their numbers, see `COLUMNS`."""
    import pandas as pd

    columns = {
        name: np.concatenate([part[name] for part in parts] or [[]])
        for name in COLUMNS
        if name not in ("names", "pvals_adj", "only_in", "model_gene")
    }
    wanted = np.concatenate(positions or [[]]).astype(np.int64)
    columns["names"] = np.asarray(expression.genes)[wanted].astype(str)
    columns["model_gene"] = np.asarray(expression.index.symbols, dtype=object)[wanted].astype(str)
    columns["pvals_adj"] = adjust(columns["pvals"])
    in_group, in_reference = columns["pct_in"] > 0, columns["pct_out"] > 0
    columns["only_in"] = np.select(
        [in_group & ~in_reference, in_reference & ~in_group], [ONLY_GROUP, ONLY_REFERENCE], ""
    )
    table = pd.DataFrame(columns)[list(COLUMNS)]
    return table.sort_values(["scores", "logfoldchanges"], ascending=False, kind="stable", ignore_index=True)
