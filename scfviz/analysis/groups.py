"""The numbers behind violins, dot plots, heatmaps and stacked bars; drawing is done elsewhere."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.analysis.expression import Expression, Progress, ShouldStop, find_genes, read_columns, read_mask
from scfviz.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

MISSING = "missing"
MAX_GROUPS = 1_000
# Widths of a violin: the density is counted on this many steps and smoothed.
VIOLIN_STEPS = 128
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Grouping:
    """Cells in named groups.

    Attributes
    ----------
    names
        Names of the groups, in the order of the categories, else sorted with numbers in them read as numbers;
        "missing" last, for cells without a value.
    codes
        int32 (n_obs,): number of each cell's group, -1 for cells that take no part.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    @property
    def n_cells(self) -> np.ndarray:
        """Cells in each group, int64 (n_groups,)."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    @property
    def kept(self) -> np.ndarray:
        """Positions of the cells that take part."""
        return np.flatnonzero(self.codes >= 0)


@dataclass(frozen=True)
class GroupSummary:
    """Expression of genes in groups: the numbers of a dot plot or heatmap.

    Attributes
    ----------
    genes, groups
        Names of the columns and rows.
    n_cells
        int64 (n_groups,).
    mean
        float64 (n_groups, n_genes): mean of ln(1 + counts per 10,000) over all cells of the group.
    fraction
        float64 (n_groups, n_genes): share of cells that express the gene, 0 to 1.
    """

    genes: tuple[str, ...]
    groups: tuple[str, ...]
    n_cells: np.ndarray
    mean: np.ndarray
    fraction: np.ndarray

    def scaled(self) -> np.ndarray:
        """Means of each gene from 0 (lowest group) to 1 (highest), (n_groups, n_genes); 0 where all are alike."""
        low, high = self.mean.min(axis=0), self.mean.max(axis=0)
        return np.divide(self.mean - low, high - low, out=np.zeros_like(self.mean), where=high > low)

    def standardised(self) -> np.ndarray:
        """Means of each gene as standard deviations from its mean over the groups, which all count alike.

        Returns
        -------
        np.ndarray
            float64 (n_groups, n_genes); 0 where all groups are alike.
        """
        spread = self.mean.std(axis=0)
        differs = spread > 1e-12 * np.abs(self.mean).max(axis=0, initial=0.0)
        return np.divide(self.mean - self.mean.mean(axis=0), spread, out=np.zeros_like(self.mean), where=differs)

    def take(self, groups: np.ndarray, genes: np.ndarray) -> "GroupSummary":
        """The same numbers with groups and genes in another order, given by their positions."""
        at = np.ix_(groups, genes)
        return GroupSummary(
            tuple(self.genes[i] for i in genes),
            tuple(self.groups[i] for i in groups),
            self.n_cells[groups],
            self.mean[at],
            self.fraction[at],
        )

    def as_table(self) -> "pd.DataFrame":
        """One row per group and gene: group, gene, n_cells, mean, fraction."""
        import pandas as pd

        n_groups, n_genes = self.mean.shape
        return pd.DataFrame(
            {
                "group": np.repeat(np.array(self.groups, dtype=object), n_genes),
                "gene": np.tile(np.array(self.genes, dtype=object), n_groups),
                "n_cells": np.repeat(self.n_cells, n_genes),
                "mean": self.mean.ravel(),
                "fraction": self.fraction.ravel(),
            }
        )


@dataclass(frozen=True)
class Violin:
    """Distribution of one variable in one group.

    Attributes
    ----------
    n_cells, n_zero
        All cells with a value, and those at exactly zero.
    quantiles
        float64 (5,): lowest, quarter, median, three quarters, highest; NaN without cells.
    mean
        Mean of all values.
    at, density
        float64 (128,): positions and the share of cells per unit there (a histogram smoothed with a Gaussian); a
        single value has all its weight in one place. Empty without cells.
    """

    variable: str
    group: str
    n_cells: int
    n_zero: int
    quantiles: np.ndarray
    mean: float
    at: np.ndarray
    density: np.ndarray


@dataclass(frozen=True)
class Composition:
    """How groups are made up: the numbers of a stacked bar chart.

    Attributes
    ----------
    rows, parts
        Names of the bars and of their parts.
    counts
        int64 (n_rows, n_parts), cells.
    fractions
        float64 (n_rows, n_parts), shares of the row, 0 to 1; 0 in a row without cells.
    """

    rows: tuple[str, ...]
    parts: tuple[str, ...]
    counts: np.ndarray
    fractions: np.ndarray


def group_cells(column: "pd.Series", mask: np.ndarray | None = None) -> Grouping:
    """Groups of cells by a column of categories, texts or truth values.

    Parameters
    ----------
    mask
        bool (n_obs,): only these cells take part; None takes all.

    Raises
    ------
    OptionError
        The column has more than 1,000 values.
    """
    import pandas as pd

    values = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("string").astype("category")
    names = [str(name) for name in values.cat.categories]
    # An alphabetical order is nobody's choice: "10" comes after "2".
    order = sorted(range(len(names)), key=lambda i: _natural(names[i])) if names == sorted(names) else None
    if len(names) > MAX_GROUPS:
        raise OptionError(
            f"The column '{column.name}' has {len(names):,} different values.",
            f"At most {MAX_GROUPS:,} groups can be shown.",
            "Choose a column with groups.",
        )
    codes = values.cat.codes.to_numpy().astype(np.int32)
    if order is not None:
        names = [names[i] for i in order]
        codes = np.append(np.argsort(order), -1).astype(np.int32)[codes]
    if (codes < 0).any():
        codes[codes < 0] = len(names)
        names.append(MISSING if MISSING not in names else f"{MISSING} (no value)")
    if mask is not None:
        codes[~read_mask(mask, len(codes), "The selection")] = -1
    used = np.bincount(codes[codes >= 0], minlength=len(names)) > 0
    renumbered = np.append(np.cumsum(used) - 1, -1).astype(np.int32)
    return Grouping(tuple(np.array(names, dtype=object)[used]), renumbered[codes])


def keep_largest(grouping: Grouping, most: int) -> Grouping:
    """The largest groups in their order; cells of the others take no part any more."""
    if len(grouping.names) <= most:
        return grouping
    kept = np.sort(np.argsort(-grouping.n_cells, kind="stable")[:most])
    new = np.full(len(grouping.names) + 1, -1, np.int32)
    new[kept] = np.arange(most)
    return Grouping(tuple(grouping.names[i] for i in kept), new[grouping.codes])


def order_by_similarity(values: np.ndarray) -> np.ndarray:
    """An order of rows, float (n_rows, n_columns), in which similar ones are neighbours.

    Hierarchical clustering with average linkage of Euclidean distances, its leaves turned so that neighbours are as
    similar as they can be (Bar-Joseph et al. 2001, doi:10.1093/bioinformatics/17.suppl_1.S22).

    Returns
    -------
    np.ndarray
        int64 (n_rows,), positions of rows.
    """
    if len(values) < 3:
        return np.arange(len(values))
    from scipy.cluster.hierarchy import leaves_list, linkage

    return leaves_list(linkage(values, "average", optimal_ordering=True)).astype(np.int64)


def summarise_groups(
    expression: Expression,
    genes: Sequence[str],
    grouping: Grouping,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> GroupSummary:
    """Mean and fraction expressing of genes in groups.

    Raises
    ------
    GeneError
        A gene is unknown or was not measured.
    """
    wanted = find_genes(expression, genes)
    places, back = np.unique(wanted, return_inverse=True)
    kept = grouping.kept
    codes, n_groups = grouping.codes[kept], len(grouping.names)
    members = sp.csr_matrix((np.ones(len(kept)), (codes, np.arange(len(kept)))), shape=(n_groups, len(kept)))
    sums, expressed = np.zeros((n_groups, len(places))), np.zeros((n_groups, len(places)))
    for positions, values in expression.blocks(places, cells=kept, progress=progress, should_stop=should_stop):
        at = np.searchsorted(places, positions)
        sums[:, at] = (members @ values.astype(np.float64)).toarray()
        expressed[:, at] = (members @ (values > 0).astype(np.float64)).toarray()
    n_cells = grouping.n_cells
    symbols = np.asarray(expression.genes)[wanted].astype(str)
    share = 1 / np.maximum(n_cells, 1)[:, None]
    return GroupSummary(tuple(symbols), grouping.names, n_cells, (sums * share)[:, back], (expressed * share)[:, back])


def suggest_genes(
    expression: Expression, grouping: Grouping, *, per_group: int = 2, most_cells: int = 2_000, seed: int = 0
) -> tuple[list[str], int]:
    """Genes to start looking with: for each group those whose mean stands highest above that of every other group.

    Parameters
    ----------
    per_group
        How many genes of each group, fewer where fewer are highest there; a gene is named once.
    most_cells
        About so many cells are read, drawn at random, from each group about alike.

    Returns
    -------
    The genes in the order of their groups, and the number of cells that were read. No test is made.
    """
    n_groups = len(grouping.names)
    if n_groups < 2:
        return [], 0
    kept, rng = grouping.kept, np.random.default_rng(seed)
    shuffled = rng.permutation(kept)
    codes = grouping.codes[shuffled]
    order = np.argsort(codes, kind="stable")
    place = np.arange(len(codes)) - np.repeat(np.searchsorted(codes[order], np.arange(n_groups)), grouping.n_cells)
    cells = np.sort(shuffled[order[place < max(1, most_cells // n_groups)]])
    sample = Grouping(grouping.names, np.full(len(grouping.codes), -1, np.int32))
    sample.codes[cells] = grouping.codes[cells]
    names = np.asarray(expression.genes)[np.asarray(expression.is_measured)].astype(str)
    mean = summarise_groups(expression, names, sample).mean
    two = np.partition(mean, -2, axis=0)[-2:]
    lead = np.where(mean == two[1], mean - two[0], 0.0)  # above the next group; 0 where another group is highest
    best = [i for row in lead for i in np.argsort(-row, kind="stable")[:per_group] if row[i] > 0]
    return [str(names[i]) for i in dict.fromkeys(best)], len(cells)


def make_violins(
    expression: Expression, genes: Sequence[str], grouping: Grouping, *, progress: Progress | None = None
) -> list[Violin]:
    """Distributions of genes (ln(1 + counts per 10,000)) in groups, gene by gene and group by group.

    Raises
    ------
    GeneError
        A gene is unknown or was not measured.
    """
    wanted, kept = find_genes(expression, genes), grouping.kept
    places, back = np.unique(wanted, return_inverse=True)
    values = read_columns(expression, places, cells=kept, progress=progress)
    codes, violins = grouping.codes[kept], []
    order = np.argsort(codes, kind="stable")
    for gene, column in zip(wanted, back, strict=True):
        dense = values[:, [column]].toarray().ravel()
        violins += violins_of(dense, str(expression.genes[gene]), grouping.names, codes, order=order)
    return violins


def violins_of(
    values: np.ndarray, variable: str, names: Sequence[str], codes: np.ndarray, *, order: np.ndarray | None = None
) -> list[Violin]:
    """Distributions of any variable, float (n,), in groups numbered by `codes`, (n,); missing values are left out.

    `order` is the stable order of the codes, for callers that have it already.
    """
    order = np.argsort(codes, kind="stable") if order is None else order
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    sorted_values = np.asarray(values, dtype=np.float64)[order]
    parts = [sorted_values[low:high] for low, high in zip(bounds[:-1], bounds[1:], strict=True)]
    return [_violin(part[np.isfinite(part)], variable, name) for part, name in zip(parts, names, strict=True)]


def violin_table(violins: Sequence[Violin]) -> "pd.DataFrame":
    """One row per violin: group, gene, n_cells, mean, fraction above zero, and the five quantiles."""
    import pandas as pd

    rows = [
        (v.group, v.variable, v.n_cells, v.mean, 1 - v.n_zero / v.n_cells if v.n_cells else 0.0, *v.quantiles)
        for v in violins
    ]
    names = ("lowest", "quarter", "median", "three_quarters", "highest")
    return pd.DataFrame(rows, columns=["group", "gene", "n_cells", "mean", "fraction", *names])


def compose(rows: Grouping, parts: Grouping) -> Composition:
    """Cells of each part in each row, for example cell types by sample. Only cells that take part in both count."""
    both = (rows.codes >= 0) & (parts.codes >= 0)
    shape = (len(rows.names), len(parts.names))
    numbers = rows.codes[both].astype(np.int64) * shape[1] + parts.codes[both]
    counts = np.bincount(numbers, minlength=shape[0] * shape[1]).reshape(shape)
    totals = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros(shape), where=totals > 0)
    return Composition(rows.names, parts.names, counts, fractions)


def _natural(name: str) -> list[tuple[float, str]]:
    return [(float(part), "") if part.isdecimal() else (np.inf, part) for part in re.split(r"(\d+)", name.casefold())]


def _violin(values: np.ndarray, variable: str, group: str) -> Violin:
    if not len(values):
        return Violin(variable, group, 0, 0, np.full(len(QUANTILES), np.nan), np.nan, np.empty(0), np.empty(0))
    quantiles = np.quantile(values, QUANTILES)
    low, high = quantiles[0], quantiles[-1]
    if high > low:
        from scipy.ndimage import gaussian_filter1d

        counts, edges = np.histogram(values, bins=VIOLIN_STEPS, range=(low, high))
        step = edges[1] - edges[0]
        # Silverman's width, from the spread without outliers
        spread = min(values.std(), (quantiles[3] - quantiles[1]) / 1.349 or np.inf)
        width = max(0.9 * spread * len(values) ** -0.2 / step, 0.5)
        at, density = (
            (edges[1:] + edges[:-1]) / 2,
            gaussian_filter1d(counts / (len(values) * step), width, mode="reflect"),
        )
    else:
        at, density = np.array([low]), np.array([1.0])
    return Violin(variable, group, len(values), int((values == 0).sum()), quantiles, float(values.mean()), at, density)
