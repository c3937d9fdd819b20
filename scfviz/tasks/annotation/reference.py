"""Labelled cells to learn from: which column holds the types, whether it can, and which cells take part."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.metrics import sounds_like_units
from scfviz.errors import DatasetError, GeneError, OptionError

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts

FEWEST_CELLS = 3  # of a type that is learned
MOST_TYPES = 500
MOST_PER_TYPE, MOST_CELLS = 1_000, 20_000
ONTOLOGY_COLUMNS = ("cell_type_ontology_term_id", "cell_ontology_id", "cell_ontology_term_id")
_NO_LABEL = {"", "nan", "na", "none", "unlabelled", "unlabeled", "unknown", "unassigned", "undefined", "ambiguous"}
_IS_CELL = re.compile(r"barcode|cell_?id", re.I)


@dataclass(frozen=True)
class LabelledCells:
    """Cells whose types are known.

    Attributes
    ----------
    rows
        int64 (n,): which cells of their dataset, in an order that does not depend on the file's.
    truth
        int (n,): type of each.
    labels
        Names of the types, sorted.
    units
        object (n,): donor or batch of each cell; None where no column says so.
    unit
        Name of that column.
    ontology
        Cell Ontology ID by type, of those that the file gives.
    notes
        What was left out, and why.
    """

    rows: np.ndarray
    truth: np.ndarray
    labels: tuple[str, ...]
    units: np.ndarray | None = None
    unit: str | None = None
    ontology: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_reference(path: str | Path, genes: tuple[str, ...], reports: Path | None = None) -> "AlignedCounts":
    """The counts of a labelled file in the model's gene order.

    Raises
    ------
    DatasetError, GeneError
        It has no counts that can be used, or no genes; the text says that it is the reference.
    """
    from scfviz.data.open import open_dataset

    try:
        opened = open_dataset(path, reports=reports)
        return opened.align(genes)
    except (DatasetError, GeneError) as error:
        found = f"The reference '{Path(path).name}': {error.found}"
        raise type(error)(found, error.needed, error.advice) from error


def refuse_other_species(reference: "AlignedCounts", counts: "AlignedCounts") -> None:
    """Refuse a reference of another species.

    Raises
    ------
    GeneError
        The genes of one are human, those of the other are not.
    """
    one, other = reference.gene_report.organism, counts.gene_report.organism
    if one != other:
        raise GeneError(
            f"The reference's genes are those of the {one}, the dataset's those of the {other}.",
            "Types are only comparable within a species.",
            "Choose a reference of the same species.",
        )


def choose_cells(obs: "pd.DataFrame", label: str | None, unit: str | None = None) -> LabelledCells:
    """The labelled cells of a table of cells.

    Parameters
    ----------
    obs
        One row a cell.
    label
        Column with the types; the likeliest one when left out.
    unit
        Column with donors or batches; found when left out.

    Raises
    ------
    OptionError
        There is no such column, or it holds no types of cells: numbers, donors, a name for each cell, one type only.
    """
    column = find_label_column(obs, label)
    return from_labels(obs, read_labels(obs, column), column, unit)


def find_label_column(obs: "pd.DataFrame", label: str | None) -> str:
    """The column with the types; the likeliest one when none is given.

    Raises
    ------
    OptionError
        There is none.
    """
    from scfviz.analysis.metrics import CELL_TYPE_COLUMNS, choose_labels, sounds_like_types

    names = list(map(str, obs.columns))
    if label is not None:
        if label not in names:
            raise OptionError(
                f"The reference has no column '{label}'.",
                f"Its columns are {', '.join(names[:20]) or 'none'}.",
                "Choose the one with the cell types.",
            )
        return label
    known = [name for name in CELL_TYPE_COLUMNS if name in names]
    likely = [name for name in choose_labels(obs, most=MOST_TYPES)[0] if sounds_like_types(name)]
    if not known + likely:
        raise OptionError(
            "No column of the reference looks like cell types.",
            f"Its columns are {', '.join(names[:20]) or 'none'}.",
            "Say which column holds them.",
        )
    return (known + likely)[0]


def read_labels(obs: "pd.DataFrame", column: str) -> np.ndarray:
    """object (n,): a text for each cell, None where it has no label.

    Raises
    ------
    OptionError
        The column holds numbers, names of donors or of single cells.
    """
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    values = obs[column]
    kinds = values.cat.categories.dtype if str(values.dtype) == "category" else values.dtype
    if is_numeric_dtype(kinds) and not is_bool_dtype(kinds):
        raise OptionError(
            f"The column '{column}' holds numbers.",
            "Names of cell types are needed.",
            "Choose another column; if the numbers are clusters, name them first (labels of the Explorer).",
        )
    if sounds_like_units(column) or _IS_CELL.search(column):
        raise OptionError(
            f"The column '{column}' names donors, batches or cells, not types of cells.",
            "A classifier of it would learn who a cell is from.",
            "Choose the column with the cell types.",
        )
    texts = values.astype(object).where(values.notna(), None)
    return np.array(
        [None if t is None or str(t).strip().lower() in _NO_LABEL else str(t).strip() for t in texts], object
    )


def from_labels(
    obs: "pd.DataFrame", names: np.ndarray, column: str, unit: str | None = None, *, say: str = "The reference"
) -> LabelledCells:
    """Choose among labelled cells: types with at least 3, at most 1,000 of a type and 20,000 in all.

    Raises
    ------
    OptionError
        See `choose_cells`.
    """
    known = np.flatnonzero(np.array([name is not None for name in names], dtype=bool))
    if not len(known):
        raise OptionError(
            f"No cell has a label in the column '{column}'.", "Labelled cells are needed.", "Choose another column."
        )
    labels, codes = np.unique(names[known].astype(str), return_inverse=True)
    n_cells = np.bincount(codes)
    if len(labels) > MOST_TYPES:
        raise OptionError(
            f"The column '{column}' holds {len(labels):,} kinds of labels.",
            f"At most {MOST_TYPES} types can be told apart.",
            "Choose the column with the cell types, or a coarser one.",
        )
    enough = n_cells >= FEWEST_CELLS
    if enough.sum() < 2:
        what = "one type only" if len(labels) == 1 else f"{len(labels):,} types, of which {int(enough.sum())}"
        tail = "" if len(labels) == 1 else f" {'has' if enough.sum() == 1 else 'have'} at least {FEWEST_CELLS} cells"
        raise OptionError(
            f"The column '{column}' holds {what}{tail}.",
            f"At least 2 types with at least {FEWEST_CELLS} cells each are needed.",
            "Choose another column, or a reference with more cells.",
        )
    notes = []
    if len(known) < len(names):
        notes.append(
            f"{say}: {len(names) - len(known):,} of {len(names):,} cells have no label and are not learned from."
        )
    if not enough.all():
        few = ", ".join(labels[~enough][:5])
        notes.append(f"{say}: types with fewer than {FEWEST_CELLS} cells are left out: {few}.")
    rows, n_left = _sample(obs.index[known].astype(str), codes, enough)
    if n_left:
        notes.append(f"{say}: {n_left:,} labelled cells beyond {MOST_PER_TYPE:,} of a type are not learned from.")
    kept = labels[enough]
    number = np.cumsum(enough) - 1
    truth = number[codes[rows]]
    rows = known[rows]
    unit, units = _find_units(obs.iloc[rows], truth, unit)
    ontology = _ontology(obs.iloc[rows], kept[truth])
    return LabelledCells(rows, truth, tuple(map(str, kept)), units, unit, ontology, tuple(notes))


def _sample(cells: "pd.Index", codes: np.ndarray, enough: np.ndarray) -> tuple[np.ndarray, int]:
    """Cells that are learned from, ordered by a digest of their names: the order of the file changes nothing."""
    order = np.array(sorted(range(len(cells)), key=lambda i: (zlib.crc32(cells[i].encode()), cells[i])), dtype=np.int64)
    order = order[enough[codes[order]]]
    most = max(FEWEST_CELLS, min(MOST_PER_TYPE, MOST_CELLS // int(enough.sum())))
    taken, seen = [], np.zeros(len(enough), dtype=int)
    for place in order:
        seen[codes[place]] += 1
        if seen[codes[place]] <= most:
            taken.append(place)
    return np.array(taken, dtype=np.int64), len(order) - len(taken)


def _find_units(obs: "pd.DataFrame", truth: np.ndarray, unit: str | None) -> tuple[str | None, np.ndarray | None]:
    """A column of donors or batches that can be held out: at least 3 units, half of the types in several."""
    if unit is not None and unit not in obs:
        raise OptionError(
            f"The reference has no column '{unit}'.", f"Its columns are {', '.join(map(str, obs.columns[:20]))}."
        )
    found = [unit] if unit is not None else [name for name in map(str, obs.columns) if sounds_like_units(name)]
    for name in found:
        if obs[name].isna().any():
            continue
        units = obs[name].astype(str).to_numpy(object)
        n_units = len(set(units))
        spread = [len(set(units[truth == k])) > 1 for k in np.unique(truth)]
        if 3 <= n_units <= len(units) / 5 and np.mean(spread) >= 0.5:
            return name, units
        if unit is not None:
            raise OptionError(
                f"The column '{unit}' cannot be held out part by part: it has {n_units:,} values, and "
                f"{np.mean(spread):.0%} of the types are in more than one.",
                "At least 3 donors or batches are needed, and most types in several.",
                "Leave the column out: cells are held out then.",
            )
    return None, None


def _ontology(obs: "pd.DataFrame", labels: np.ndarray) -> dict[str, str]:
    name = next((name for name in ONTOLOGY_COLUMNS if name in obs), None)
    if name is None:
        return {}
    ids = obs[name].astype(object).to_numpy()
    found = {}
    for label in np.unique(labels):
        own = {str(value) for value in ids[labels == label] if str(value).startswith("CL:")}
        if len(own) == 1:
            found[str(label)] = own.pop()
    return found
