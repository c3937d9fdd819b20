"""Conditions of cells from a table of guide counts: a guide is there if it has its share of the cell's guide counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.data.formats import PACKED, TABLE_SUFFIXES
from scfviz.data.perturbations import condition_name, gene_of_guide, is_control
from scfviz.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

MIN_COUNTS, MIN_SHARE = 3, 0.2
NO_GUIDE, CONTROL_NAME, COLUMN = "unassigned", "ctrl", "guides"
_ROWS_AT_ONCE, _MOST_GUIDES = 5_000, 50_000
_GUIDE_FEATURES = "crispr"  # in the feature types of Cell Ranger: CRISPR Guide Capture


@dataclass(frozen=True)
class GuideAssignment:
    """Conditions from guides.

    Attributes
    ----------
    conditions
        Text of each cell, (n_obs,): genes joined by `+`, `ctrl`, or `unassigned`.
    n_matched
        Cells whose barcode is in the table of guides.
    n_several
        Cells with guides against several genes.
    """

    conditions: np.ndarray
    n_matched: int
    n_several: int

    def describe(self) -> str:
        """The assignment in words."""
        n_without = int((self.conditions == NO_GUIDE).sum())
        return (
            f"{self.n_matched:,} of {len(self.conditions):,} cells are in the guide table; {self.n_several:,} have "
            f"guides against several genes, {n_without:,} have none."
        )


def assign_guides(
    counts: sp.spmatrix | np.ndarray,
    guides: Sequence[str],
    barcodes: Sequence[str],
    cells: Sequence[str],
    *,
    min_counts: float = MIN_COUNTS,
    min_share: float = MIN_SHARE,
) -> GuideAssignment:
    """Assign each cell its guides, and name its condition after their genes.

    Parameters
    ----------
    counts
        (n_barcodes, n_guides), counts of each guide in each cell.
    guides, barcodes
        Names of columns and rows.
    cells
        Names of the dataset's cells.
    min_counts, min_share
        A guide is in a cell with so many counts and this share of the cell's guide counts. Several guides against
        genes make a combination; a control guide beside them says nothing.

    Raises
    ------
    DatasetError
        The table does not fit its names, or none of its barcodes is a cell of the dataset.
    """
    table = sp.csr_matrix(counts).astype(np.float64)
    if table.shape != (len(barcodes), len(guides)):
        raise DatasetError(
            f"The guide table has {table.shape[0]:,} rows and {table.shape[1]:,} columns, its names are "
            f"{len(barcodes):,} barcodes and {len(guides):,} guides.",
            "One row a cell and one column a guide are needed.",
        )
    row_of = {str(name): i for i, name in enumerate(barcodes)}
    rows = np.array([row_of.get(str(name), -1) for name in cells], dtype=np.int64)
    if not (rows >= 0).any():
        raise DatasetError(
            f"None of the guide table's barcodes is a cell of this dataset: it has {barcodes[0]}, the dataset "
            f"{cells[0]}.",
            "The same names of cells are needed in both.",
            "Remove what was added before or behind the barcodes (sample names, -1).",
        )
    genes = [CONTROL_NAME if is_control(guide) else gene_of_guide(str(guide)) for guide in guides]
    genes = [CONTROL_NAME if is_control(gene) else gene for gene in genes]
    totals = np.asarray(table.sum(axis=1)).ravel()
    conditions = np.full(len(rows), NO_GUIDE, dtype=object)
    for cell, row in enumerate(rows):
        if row < 0:
            continue
        part = slice(table.indptr[row], table.indptr[row + 1])
        values, columns = table.data[part], table.indices[part]
        there = columns[(values >= min_counts) & (values >= min_share * totals[row])]
        found = {genes[column] for column in there}
        targets = found - {CONTROL_NAME}
        if targets:
            conditions[cell] = condition_name(tuple(targets))
        elif found:
            conditions[cell] = CONTROL_NAME
    n_several = sum("+" in text for text in conditions)
    return GuideAssignment(conditions, int((rows >= 0).sum()), n_several)


def read_guide_table(path: str | Path) -> tuple[sp.csr_matrix, list[str], list[str]]:
    """Counts of each guide in each cell, with the names of guides and cells.

    Parameters
    ----------
    path
        A CSV or TSV file with the barcodes in its first column and one column a guide, or any dataset that scfviz reads
        (h5ad, 10x h5) whose features are guides; of several kinds of features those of CRISPR guides are taken.

    Raises
    ------
    DatasetError
        It cannot be read, or holds no numbers.
    """
    path = Path(path)
    if not path.name.lower().removesuffix(PACKED).endswith(TABLE_SUFFIXES):
        return _read_features(path)
    import pandas as pd

    parts, barcodes, guides = [], [], []
    try:
        for chunk in pd.read_csv(path, index_col=0, sep=None, engine="python", chunksize=_ROWS_AT_ONCE):
            guides = list(map(str, chunk.columns))
            if len(guides) > _MOST_GUIDES:
                raise DatasetError(
                    f"The guide table '{path.name}' has {len(guides):,} columns.",
                    f"One column a guide is needed, at most {_MOST_GUIDES:,}.",
                    "Turn the table, so that cells are rows.",
                )
            values = chunk.to_numpy(dtype=np.float64)
            if not np.isfinite(values).all() or (values < 0).any():
                raise ValueError("not counts")
            barcodes += list(map(str, chunk.index))
            parts.append(sp.csr_matrix(values))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"The guide table '{path.name}' cannot be read.",
            "A CSV file is needed: barcodes in the first column, one column of counts for each guide.",
            "Write it with the counts of each guide in each cell.",
        ) from error
    if not guides or not barcodes:
        raise DatasetError(
            f"The guide table '{path.name}' holds no guides or no cells.",
            "Barcodes in the first column and one column a guide are needed.",
            "Choose another file.",
        )
    return sp.csr_matrix(sp.vstack(parts)), guides, barcodes


def _read_features(path: Path) -> tuple[sp.csr_matrix, list[str], list[str]]:
    from scfviz.data.read import read_dataset

    adata = read_dataset(path)
    kinds = [name for name in ("feature_types", "feature_type") if name in adata.var]
    if kinds:
        is_guide = adata.var[kinds[0]].astype(str).str.lower().str.contains(_GUIDE_FEATURES).to_numpy()
        adata = adata[:, is_guide] if is_guide.any() else adata
    counts = adata.X[:] if not sp.issparse(adata.X) else adata.X
    return sp.csr_matrix(counts), list(map(str, adata.var_names)), list(map(str, adata.obs_names))


def add_guides(obs: "pd.DataFrame", path: str | Path) -> "tuple[pd.DataFrame, str, GuideAssignment]":
    """The table of cells with the conditions of a guide table as a further column, and the name of that column.

    Raises
    ------
    DatasetError
        The table cannot be read, or its barcodes are not those of the cells.
    """
    found = assign_guides(*read_guide_table(path), list(obs.index))
    column = COLUMN
    while column in obs.columns:
        column += "_"
    return obs.assign(**{column: found.conditions}), column, found
