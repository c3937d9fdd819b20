"""Markers of all groups at once: each group against all other cells, in one pass over the genes.

The statistics are those of `differential_expression` (scanpy's `rank_genes_groups`, each group against the rest); ranks
of a gene are found once for all groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from scfviz.analysis.differential_expression import (
    CHOSEN_BY_LOOKING,
    FEWEST_CELLS,
    METHODS,
    NOT_REPLICATES,
    Method,
    describe_groups,
    make_table,
    to_rank_genes_groups,
    welch_test,
)
from scfviz.analysis.expression import Expression, Progress, ShouldStop
from scfviz.analysis.groups import Grouping
from scfviz.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Markers:
    """Genes that set each group apart from all other cells.

    Attributes
    ----------
    tables
        By group, in the order of the groups: every measured gene, the highest score first; the columns of
        `Comparison.table`.
    n_cells
        Cells of each group.
    method, tie_correct
        How it was computed.
    notes
        What a reader should know, in plain words.
    """

    tables: "Mapping[str, pd.DataFrame]"
    n_cells: Mapping[str, int]
    method: str
    tie_correct: bool
    notes: tuple[str, ...]

    def as_table(self) -> "pd.DataFrame":
        """All groups in one table: `group`, then the columns of each."""
        import pandas as pd

        parts = [table.assign(group=name) for name, table in self.tables.items()]
        table = pd.concat(parts, ignore_index=True)
        return table[["group", *(column for column in table if column != "group")]]


def find_markers(
    expression: Expression,
    grouping: Grouping,
    *,
    method: Method = "wilcoxon",
    tie_correct: bool = True,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Markers:
    """Compare each group with all other cells that take part.

    Parameters
    ----------
    grouping
        Groups of all cells, see `group_cells`; cells with the code -1 take no part.
    method, tie_correct
        As in `compare_cells`.

    Raises
    ------
    OptionError
        Fewer than 2 groups have at least 2 cells, or the method is unknown.
    """
    if method not in METHODS:
        raise OptionError(f"There is no test '{method}'.", f"There are: {', '.join(METHODS)}.", "Choose one of them.")
    kept, n_cells = grouping.kept, grouping.n_cells
    tested = np.flatnonzero(n_cells >= FEWEST_CELLS)
    if len(tested) < 2:
        raise OptionError(
            f"{len(tested)} groups have at least {FEWEST_CELLS} cells.",
            "At least 2 are needed to compare each with the others.",
            "Choose another column of groups.",
        )
    codes = grouping.codes[kept]
    members = sp.csr_matrix((np.ones(len(kept)), (codes, np.arange(len(kept)))), shape=(len(n_cells), len(kept)))
    positions: list[np.ndarray] = []
    parts: dict[int, list[dict[str, np.ndarray]]] = {int(group): [] for group in tested}
    for genes, values in expression.blocks(cells=kept, progress=progress, should_stop=should_stop):
        sums = _sum_all(members, values)
        ranks = _RankSums(members, values, sums["n"]) if method == "wilcoxon" else None
        for group, found in parts.items():
            n_in = int(n_cells[group])
            n_out = len(kept) - n_in
            part = describe_groups(_sides(sums, group), n_in, n_out)
            tests = ranks.test(group, n_in, tie_correct) if ranks is not None else welch_test(part, n_in, n_out)
            part["scores"], part["pvals"] = tests
            found.append(part)
        positions.append(genes)
    tables = {grouping.names[group]: make_table(expression, positions, found) for group, found in parts.items()}
    notes = [NOT_REPLICATES, CHOSEN_BY_LOOKING]
    if left_out := [name for name, n in zip(grouping.names, n_cells, strict=True) if n < FEWEST_CELLS]:
        notes.append(f"Left out, fewer than {FEWEST_CELLS} cells: {', '.join(left_out)}.")
    sizes = {grouping.names[group]: int(n_cells[group]) for group in parts}
    return Markers(tables, sizes, method, tie_correct and method == "wilcoxon", tuple(notes))


def top_markers(tables: "Mapping[str, pd.DataFrame]", per_group: int) -> dict[str, list[str]]:
    """The highest genes of each group that are higher there than elsewhere, by group."""
    found = {}
    for name, table in tables.items():
        higher = table[(table["scores"] > 0) & (table["logfoldchanges"] > 0)]
        found[name] = higher["names"].head(per_group).astype(str).tolist()
    return found


def to_scanpy(
    tables: "Mapping[str, pd.DataFrame]", *, groupby: str, method: str, names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """All groups in the layout of scanpy's `uns["rank_genes_groups"]`, each against the rest.

    Parameters
    ----------
    names
        Row name in the file's gene table of each gene, where they are called otherwise here.
    """
    import pandas as pd

    result: dict[str, Any] = {}
    fractions: dict[str, dict[str, Any]] = {"pts": {}, "pts_rest": {}}
    for group, table in tables.items():
        renamed = table if names is None else table.assign(names=table["names"].map(lambda gene: names.get(gene, gene)))
        one = to_rank_genes_groups(renamed, group=group, method=method, tie_correct=True, groupby=groupby)
        result.setdefault("params", one["params"])
        for part, shares in fractions.items():
            shares[group] = one[part][group]
        for column in set(one) - {"params", *fractions}:
            result.setdefault(column, []).append((group, one[column][group]))
    for column in [column for column in result if column != "params"]:
        kinds = [(group, values.dtype) for group, values in result[column]]
        stacked = np.empty(len(result[column][0][1]), dtype=kinds).view(np.recarray)
        for group, values in result[column]:
            stacked[group] = values
        result[column] = stacked
    return result | {part: pd.DataFrame(shares) for part, shares in fractions.items()}


def _sum_all(members: sp.csr_matrix, values: sp.csc_matrix) -> dict[str, np.ndarray]:
    """For each group and gene: `sum`, `squares` and `n` (cells above zero); float64 (n_groups, k)."""
    exact = values.astype(np.float64)
    squares, ones = exact.copy(), exact.copy()
    squares.data, ones.data = squares.data**2, np.ones_like(ones.data)
    return {name: (members @ of).toarray() for name, of in (("sum", exact), ("squares", squares), ("n", ones))}


def _sides(sums: Mapping[str, np.ndarray], group: int) -> dict[str, np.ndarray]:
    found = {}
    for name, values in sums.items():
        found[f"{name}_in"] = values[group]
        found[f"{name}_out"] = values.sum(axis=0) - values[group]
    return found


class _RankSums:
    """Ranks of some genes over all cells, found once; see `rank_sum_test`, which does the same for one group."""

    def __init__(self, members: sp.csr_matrix, values: sp.csc_matrix, n_expressed: np.ndarray):
        self.n_cells = values.shape[0]
        per_gene = np.diff(values.indptr).astype(np.int64)
        gene = np.repeat(np.arange(values.shape[1]), per_gene)
        order = np.lexsort((values.data, gene))
        sorted_values, sorted_gene = values.data[order], gene[order]
        is_new = np.append(True, (np.diff(sorted_values) != 0) | (np.diff(sorted_gene) != 0))[: len(order)]
        first = np.flatnonzero(is_new)
        last = np.append(first[1:], len(order))
        n_zero = self.n_cells - per_gene
        run_gene = sorted_gene[first]
        mean_rank = (n_zero - values.indptr[:-1])[run_gene] + (first + last + 1) / 2
        ranks = np.empty(len(order))
        ranks[order] = np.repeat(mean_rank, last - first)
        ranked = sp.csc_matrix((ranks, values.indices, values.indptr), shape=values.shape)
        self.n_zero_rank = (n_zero + 1) / 2
        self.rank_sums, self.n_expressed = (members @ ranked).toarray(), n_expressed
        tied = (last - first).astype(np.float64)
        self.ties = np.bincount(run_gene, tied**3 - tied, minlength=values.shape[1])
        self.ties = self.ties + n_zero.astype(np.float64) ** 3 - n_zero

    def test(self, group: int, n_in: int, tie_correct: bool) -> tuple[np.ndarray, np.ndarray]:
        """z scores and two-sided p values of a group against all other cells, (k,) each."""
        from scipy.stats import norm

        n, n_out = float(self.n_cells), self.n_cells - n_in
        sums = self.rank_sums[group] + (n_in - self.n_expressed[group]) * self.n_zero_rank
        correction = 1 - self.ties / (n**3 - n) if tie_correct else 1.0
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(np.maximum(correction, 0) * n_in * n_out * (n + 1) / 12)
            scores = (sums - n_in * (n + 1) / 2) / spread
        scores = np.where(np.isfinite(scores), scores, 0.0)
        return scores, 2 * norm.sf(np.abs(scores))
