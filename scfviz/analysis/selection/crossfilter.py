"""Bars of columns and genes that filter cells, and the filters inside a rule.

A filter is a part of the rule that is in force: thresholds or categories of one variable, joined to the rest by "and".
So nothing else has to be remembered, and undoing the rule undoes the filters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.selection.rules import Categories, Intersection, Rule, Threshold

if TYPE_CHECKING:
    import pandas as pd

N_BARS = 40
MAX_LABELS = 60
_NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)

# ("column" or "gene", name): what a filter is about.
Variable = tuple[str, str]


@dataclass(frozen=True)
class Bins:
    """Cells in the bars of one variable. The bars belong to the dataset, not to what is selected.

    Attributes
    ----------
    variable
        What is counted.
    edges
        float64 (n_bars + 1,), borders of the bars of numbers; a value on a border is in the bar above it. The first and
        the last bar also hold what lies beyond them. Empty for categories.
    labels
        Names of the bars of categories; empty for numbers.
    values
        What a rule calls the categories of each bar: one, several for the bar of the smallest, None for no label.
    codes
        int16 (n_cells,): bar of each cell, -1 for a number that is not known.
    is_discrete
        Whether each bar is one whole number.
    """

    variable: Variable
    edges: np.ndarray
    labels: tuple[str, ...]
    values: tuple[tuple[str | bool | None, ...], ...]
    codes: np.ndarray
    is_discrete: bool = False

    @property
    def n_bars(self) -> int:
        """Number of bars."""
        return len(self.labels) or max(0, len(self.edges) - 1)

    def count(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Cells in each bar, int64 (n_bars,): all, or those of a bool mask (n_cells,)."""
        codes = self.codes if mask is None else self.codes[mask]
        return np.bincount(codes + np.int16(1), minlength=self.n_bars + 1)[1:]

    def n_unknown(self, mask: np.ndarray | None = None) -> int:
        """Cells without a number, among all or those of a mask."""
        return int(((self.codes < 0) if mask is None else (self.codes < 0) & mask).sum())

    def range_rules(self, first: int, last: int) -> tuple[Threshold, ...]:
        """The rules for bars of numbers from `first` to `last`, both included; none where that is all of them."""
        kind, name = self.variable
        low = (Threshold(kind, name, ">=", float(self.edges[first])),) if first > 0 else ()
        return low + ((Threshold(kind, name, "<", float(self.edges[last + 1])),) if last < self.n_bars - 1 else ())

    def label_rules(self, bars: Sequence[int]) -> tuple[Categories, ...]:
        """The rule for some bars of categories; none where that is all or nothing."""
        if not 0 < len(bars) < self.n_bars:
            return ()
        return (Categories(self.variable[1], tuple(value for bar in bars for value in self.values[bar])),)


def bin_numbers(variable: Variable, values: np.ndarray, *, n_bars: int = N_BARS) -> Bins:
    """Bars of equal width with round borders.

    Parameters
    ----------
    values
        float (n_cells,). Where a few cells lie far from all others, the outer bars hold them, so that the rest is not
        pressed into one bar.
    """
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    if not known.any():
        return Bins(variable, np.empty(0), (), (), np.full(len(values), -1, np.int16))
    low, high = float(values[known].min()), float(values[known].max())
    inner_low, inner_high = (float(value) for value in np.percentile(values[known], [0.5, 99.5]))
    reach = 0.5 * (inner_high - inner_low)
    bottom = inner_low if reach > 0 and inner_low - low > reach else low
    top = inner_high if reach > 0 and high - inner_high > reach else high
    whole = bool((values[known] == np.rint(values[known])).all())
    edges = _round_edges(bottom, top, n_bars, whole)
    codes = np.full(len(values), -1, np.int16)
    codes[known] = np.searchsorted(edges[1:-1], values[known], side="right")
    return Bins(variable, edges, (), (), codes, whole and bool((np.diff(edges) == 1).all()))


def bin_labels(name: str, column: "pd.Series", *, most: int = MAX_LABELS) -> Bins:
    """A bar for each category, in the order of the categories; one for the smallest together where there are too many,
    and one for cells without a label.
    """
    from scfviz.analysis.groups import MISSING, group_cells, keep_largest
    from scfviz.analysis.selection.query import read_column

    grouping = group_cells(column)
    names, codes = list(grouping.names), grouping.codes
    # Rules know truth values as such, and everything else by its text.
    is_truth = read_column(column).kind == "truth"
    values: list[tuple] = [((text == "True") if is_truth else text,) for text in names]
    has_missing = bool(column.isna().any())
    if has_missing:
        values[-1], names[-1] = (None,), "no label" if names[-1] == MISSING else names[-1]
    if len(names) > most:
        kept = keep_largest(grouping, most - 1)
        places = [i for i, text in enumerate(grouping.names) if text in set(kept.names)]
        rest = [i for i in range(len(names)) if i not in set(places)]
        codes = np.where(kept.codes >= 0, kept.codes, most - 1)
        values = [values[i] for i in places] + [tuple(value for i in rest for value in values[i])]
        names = [names[i] for i in places] + [f"{len(rest):,} smaller ones"]
    return Bins(("column", name), np.empty(0), tuple(names), tuple(values), codes.astype(np.int16))


def split_filters(rule: Rule | None) -> tuple[tuple[Rule, ...], dict[Variable, tuple[Rule, ...]]]:
    """The parts of a rule: what else it asks for, and its filters by variable.

    Together they are the rule: a cell is chosen when it is in every part.
    """
    rest: list[Rule] = []
    filters: dict[Variable, tuple[Rule, ...]] = {}
    for part in _flatten(rule):
        if isinstance(part, Threshold) and part.op in ("<", "<=", ">", ">="):
            variable = (part.kind, part.name)
        elif isinstance(part, Categories):
            variable = ("column", part.column)
        else:
            rest.append(part)
            continue
        filters[variable] = (*filters.get(variable, ()), part)
    return tuple(rest), filters


def join_filters(rest: Sequence[Rule], filters: Mapping[Variable, Sequence[Rule]]) -> Rule | None:
    """The rule made of parts and filters; `None` where there is neither."""
    parts = (*rest, *(part for own in filters.values() for part in own))
    return None if not parts else parts[0] if len(parts) == 1 else Intersection(parts)


def chosen_range(filters: Sequence[Rule]) -> tuple[float, float]:
    """The lowest and highest number that the thresholds of one variable leave; infinite where they ask for none."""
    lows = [part.value for part in filters if isinstance(part, Threshold) and part.op.startswith(">")]
    highs = [part.value for part in filters if isinstance(part, Threshold) and part.op.startswith("<")]
    return max(lows, default=-np.inf), min(highs, default=np.inf)


def chosen_bars(bins: Bins, filters: Sequence[Rule]) -> list[int]:
    """The bars whose categories, all of them, every part of a filter names."""
    named = [{_as_text(value) for value in part.values} for part in filters if isinstance(part, Categories)]
    common = set.intersection(*named) if named else set()
    return [bar for bar, values in enumerate(bins.values) if set(map(_as_text, values)) <= common]


def read_bars(bins: Bins, bars: object) -> tuple[int, ...]:
    """Numbers of bars that a browser sent, ascending and each once; what is none is left out."""
    numbers = bars if isinstance(bars, list | tuple) else ()
    known = {int(bar) for bar in numbers if isinstance(bar, int | float) and 0 <= bar < bins.n_bars}
    return tuple(sorted(known))


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def _flatten(rule: Rule | None) -> list[Rule]:
    if rule is None:
        return []
    if not isinstance(rule, Intersection):
        return [rule]
    return [inner for part in rule.parts for inner in _flatten(part)]


def _round_edges(low: float, high: float, n_bars: int, whole: bool) -> np.ndarray:
    if whole and high - low < n_bars:
        return np.arange(np.floor(low), np.ceil(high) + 2)  # one bar for each number
    if high <= low:
        return np.array([low, low + 1.0])
    rough = (high - low) / n_bars
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(nice * power for nice in _NICE_STEPS if nice * power >= rough * 0.999)
    if whole:
        step = max(1.0, np.rint(step))
    first, last = int(np.floor(low / step)), int(np.ceil(high / step))
    # Multiples, cut to 12 digits: 0.1 + 0.2 would be shown as 0.30000000000000004.
    edges = np.array([float(f"{k * step:.12g}") for k in range(first, max(last, first + 1) + 1)])
    return edges if (np.diff(edges) > 0).all() else np.linspace(low, high, n_bars + 1)
