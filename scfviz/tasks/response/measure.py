"""What a treatment changed in each cell type, measured: population means of ln(1 + counts per 10,000)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from scfviz.errors import DatasetError, OptionError
from scfviz.tasks.perturbation.effects import sum_conditions, symbols_of

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.data.perturbations import PerturbationDesign

MIN_CELLS, MOST_TYPES = 5, 200
_NO_TYPE = frozenset(("nan", "", "unknown", "unassigned", "na", "doublet"))


@dataclass(frozen=True)
class Responses:
    """Measured changes by cell type; no cells.

    Attributes
    ----------
    genes
        Symbols of the genes read out.
    types
        Those with control cells.
    treatment
        What the treated cells were given.
    n_controls, n_treated
        int64 (n_types,).
    basal
        float64 (n_types, n_genes): means of the control cells.
    change, variance
        float64 (n_types, n_genes): mean of the treated less that of the control cells, and its sampling variance; NaN
        of a type with too few treated cells.
    halves
        float64 (2, n_types, n_genes): the change in each half of the cells.
    """

    genes: tuple[str, ...]
    types: tuple[str, ...]
    treatment: str
    n_controls: np.ndarray
    n_treated: np.ndarray
    basal: np.ndarray
    change: np.ndarray
    variance: np.ndarray
    halves: np.ndarray

    @property
    def is_measured(self) -> np.ndarray:
        """bool (n_types,): types with enough cells of both kinds."""
        return self.n_treated >= MIN_CELLS

    @property
    def trust(self) -> np.ndarray:
        """float64 (n_types,): how much a type counts, from 0 to 1; half where it has the typical number of cells."""
        both = 1 / (1 / np.maximum(self.n_controls, 1e-9) + 1 / np.maximum(self.n_treated, 1e-9))
        typical = np.median(both[self.is_measured]) if self.is_measured.any() else 1.0
        return both / (both + typical)

    def take(self, rows: np.ndarray) -> "Responses":
        """Only some types."""
        arrays = ("n_controls", "n_treated", "basal", "change", "variance")
        return replace(
            self,
            types=tuple(self.types[i] for i in rows),
            halves=self.halves[:, rows],
            **{name: getattr(self, name)[rows] for name in arrays},
        )


def choose_treatment(design: "PerturbationDesign", treatment: str | None) -> int:
    """Number of the condition whose response is asked for.

    Raises
    ------
    OptionError
        There is no such condition.
    """
    if treatment is None:
        return int(np.argmax(design.n_cells[1:])) + 1
    names = list(design.conditions[1:])
    if treatment not in names:
        raise OptionError(
            f"'{design.column}' has no condition '{treatment}' with enough cells.",
            f"There are: {', '.join(names[:12])}.",
            "Choose one of them.",
        )
    return names.index(treatment) + 1


def types_of(counts: "AlignedCounts", column: str, design: "PerturbationDesign") -> tuple[np.ndarray, tuple[str, ...]]:
    """Type of each cell, int32 (n_obs,), -1 where it has none, and the names of the types.

    Raises
    ------
    OptionError
        There is no such column, it is that of the conditions, or it holds too many values.
    """
    if column not in counts.obs.columns or column == design.column:
        raise OptionError(
            f"'{column}' is no column of cell types.",
            f"The dataset has {', '.join(map(str, counts.obs.columns[:15])) or 'no columns'}.",
            "Choose the one with the types.",
        )
    texts = counts.obs[column].astype(str).to_numpy().astype(str)
    names, codes = np.unique(texts, return_inverse=True)
    if len(names) > MOST_TYPES:
        raise OptionError(
            f"'{column}' has {len(names):,} values.",
            f"At most {MOST_TYPES} cell types can be compared.",
            "Choose a column of types, not of cells.",
        )
    known = np.array([name.strip().lower() not in _NO_TYPE for name in names])
    place = np.where(known, np.cumsum(known) - 1, -1).astype(np.int32)
    return place[codes.ravel()], tuple(names[known].tolist())


def measure_responses(
    counts: "AlignedCounts",
    design: "PerturbationDesign",
    column: str,
    *,
    treatment: str | None = None,
    sizes: np.ndarray | None = None,
    sums: np.ndarray | None = None,
    most_genes: int = 5_000,
    seed: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Responses:
    """Changes of each cell type under one treatment.

    Parameters
    ----------
    counts
        Cells over all genes of their file.
    design
        Treatments of the cells and their control, see `read_design`.
    column
        Of `obs`, with the cell types.
    treatment
        Its name; the one with most cells when left out.
    sizes
        Counts of each cell to normalise by, see `library_sizes`.
    sums
        Of `response_sums`; computed when left out.

    Raises
    ------
    OptionError
        There is no such column or treatment.
    DatasetError
        No type has enough control cells.
    """
    codes, names = response_codes(counts, design, column, treatment)
    if sums is None:
        sizes = counts.total_counts if sizes is None else sizes
        sums = sum_conditions(counts, codes, 2 * len(names), sizes, progress=progress, should_stop=should_stop)
    n_cells = np.bincount(codes[codes >= 0], minlength=2 * len(names))
    halves_of = np.stack([(n_cells + 1) // 2, n_cells // 2])
    columns, genes = _choose_genes(counts, sums[0].sum(axis=(0, 1)), most_genes)
    kept = np.flatnonzero(n_cells[0::2] >= MIN_CELLS)
    if not len(kept):
        raise DatasetError(
            f"No type of '{column}' has {MIN_CELLS} control cells.",
            "Changes are measured against control cells of the same type.",
            "Choose another column of types, or another control.",
        )
    sums = sums[:, :, :, columns]
    total, square = sums[0].sum(axis=0), sums[1].sum(axis=0)
    size = np.maximum(n_cells, 1)[:, None]
    mean = total / size
    of_mean = np.maximum(square / size - mean**2, 0) / np.maximum(size - 1, 1)
    half_means = sums[0] / np.maximum(halves_of, 1)[:, :, None]
    few = (n_cells[1::2][kept] < MIN_CELLS)[:, None]
    change, variance = mean[1::2] - mean[0::2], of_mean[1::2] + of_mean[0::2]
    halves = half_means[:, 1::2] - half_means[:, 0::2]
    return Responses(
        genes,
        tuple(names[i] for i in kept),
        design.conditions[choose_treatment(design, treatment)],
        n_cells[0::2][kept],
        n_cells[1::2][kept],
        mean[0::2][kept],
        np.where(few, np.nan, change[kept]),
        np.where(few, np.nan, variance[kept]),
        halves[:, kept],
    )


def response_codes(
    counts: "AlignedCounts", design: "PerturbationDesign", column: str, treatment: str | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Group of each cell, int32 (n_obs,): twice its type, one more where it was treated, -1 else; names of types."""
    of_type, names = types_of(counts, column, design)
    number = choose_treatment(design, treatment)
    is_asked = ((design.codes == 0) | (design.codes == number)) & (of_type >= 0)
    return np.where(is_asked, 2 * of_type + (design.codes == number), -1).astype(np.int32), names


def _choose_genes(counts: "AlignedCounts", totals: np.ndarray, most_genes: int) -> tuple[np.ndarray, tuple[str, ...]]:
    symbols = symbols_of(counts.genes)
    _, first = np.unique(symbols, return_index=True)
    is_first = np.isin(np.arange(len(symbols)), first) & counts.is_measured & (totals > 0)
    order = np.argsort(-np.where(is_first, totals, -1), kind="stable")[:most_genes]
    chosen = np.sort(order[is_first[order]])
    if not len(chosen):
        raise DatasetError("No gene has counts in these cells.", "Counts are needed.", "Choose where the counts are.")
    return chosen, tuple(symbols[chosen].tolist())
