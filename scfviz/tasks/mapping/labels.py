"""The labels of a reference: which column, which cells, and what cannot be transferred, in words."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.groups import MAX_GROUPS, MISSING, group_cells
from scfviz.analysis.metrics import CELL_TYPE_COLUMNS, choose_labels, sounds_like_types
from scfviz.errors import DatasetError, OptionError

if TYPE_CHECKING:
    import pandas as pd

FEWEST_CELLS = 10  # of a reference
NO_COUNTERPART, UNDECIDED = "no counterpart", "undecided"


@dataclass(frozen=True)
class ReferenceLabels:
    """Labels of a reference's cells.

    Attributes
    ----------
    column
        Where they come from.
    names
        The labels; the last one is "missing" where some cells have none.
    codes
        int (n_reference,), position of each cell's label.
    """

    column: str
    names: tuple[str, ...]
    codes: np.ndarray

    def take(self, cells: np.ndarray) -> "ReferenceLabels":
        """Some of the cells, all names."""
        return ReferenceLabels(self.column, self.names, self.codes[cells])

    @property
    def known(self) -> np.ndarray:
        """Positions of the names that are labels."""
        return np.array([i for i, name in enumerate(self.names) if name != MISSING], dtype=int)


def read_labels(obs: "pd.DataFrame", column: str | None = None) -> ReferenceLabels:
    """Labels of a reference from a column of its table.

    Parameters
    ----------
    column
        None takes the one that looks most like cell types.

    Raises
    ------
    OptionError
        There is no such column, or it holds numbers, one label only, or nearly another one for every cell.
    DatasetError
        No column holds labels.
    """
    column = find_column(obs) if column is None else column
    if column not in obs.columns:
        listed = ", ".join(map(str, obs.columns[:20])) or "none"
        raise OptionError(
            f"The reference has no column '{column}'.", f"Its columns are {listed}.", "Choose one with labels."
        )
    values = obs[column]
    if _is_measured_in_numbers(values):
        raise OptionError(
            f"The column '{column}' of the reference holds numbers.",
            "Only labels are transferred: texts, categories, yes or no.",
            "Choose a column of labels, or bin the numbers first.",
        )
    if (n_kinds := values.dropna().astype(str).nunique()) > min(MAX_GROUPS, max(values.notna().sum() / 2, 2)):
        raise OptionError(
            f"The column '{column}' of the reference has {n_kinds:,} different labels for {len(obs):,} cells.",
            f"At most {MAX_GROUPS:,} labels can be transferred, and most of them need two cells or more.",
            "Choose a column of cell types or groups.",
        )
    grouping = group_cells(values.astype("string"))
    found = ReferenceLabels(column, grouping.names, grouping.codes.astype(np.int64))
    if len(found.known) < 2:
        held = f"the label '{grouping.names[found.known[0]]}' only" if len(found.known) else "no label"
        raise OptionError(
            f"The column '{column}' of the reference holds {held}.",
            "There must be at least two labels to choose between.",
            "Choose another column.",
        )
    return found


def find_column(obs: "pd.DataFrame") -> str:
    """The column that looks most like cell types.

    Raises
    ------
    DatasetError
        No column holds labels.
    """
    chosen, _ = choose_labels(obs, most=MAX_GROUPS)
    exact = [name for name in CELL_TYPE_COLUMNS if name in chosen]
    likely = [*exact, *(name for name in chosen if sounds_like_types(name)), *chosen]
    if not likely:
        raise DatasetError(
            "The reference has no column of labels.",
            "Its table of cells needs a column with at least two labels, such as cell types.",
            "Choose a labelled dataset as reference.",
        )
    return likely[0]


def sample_labels(codes: np.ndarray, most: int, seed: int, *, at_least: int = 50) -> np.ndarray:
    """About so many cells, each label with its share and at least so many where it has them; ascending positions."""
    if len(codes) <= most:
        return np.arange(len(codes))
    rng, found = np.random.default_rng(seed), []
    for code in np.unique(codes):
        mine = np.flatnonzero(codes == code)
        size = min(len(mine), max(at_least, round(most * len(mine) / len(codes))))
        found.append(rng.choice(mine, size, replace=False))
    return np.sort(np.concatenate(found))


def _is_measured_in_numbers(values: "pd.Series") -> bool:
    from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype

    if is_bool_dtype(values):
        return False
    # whole numbers of few kinds are numbered clusters
    return is_float_dtype(values) or (is_integer_dtype(values) and values.nunique() > 100)
