"""Read every value of the chosen matrix once: refuse what is no count, and keep what later steps need to know."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.data import likeness
from scfviz.data import matrix as mx
from scfviz.data.candidates import MIN_WHOLE_OF_ESTIMATES, Candidate, count_var, is_whole, rounded
from scfviz.data.genes import GeneMatch
from scfviz.data.recovery import count_failing
from scfviz.errors import DatasetError

if TYPE_CHECKING:
    from anndata import AnnData

MAX_FAILING_CELLS = 0.05
N_NAMES = 3


@dataclass
class Scan:
    """What reading all cells of a matrix found. Per gene arrays have one value per column of the file."""

    n_obs: int
    n_vars: int
    is_whole: bool = True
    largest: float = 0.0
    n_failing: int = 0  # cells whose values are not whole, or do not come out whole
    n_whole: int = 0  # cells all of whose values are whole
    n_judged: int = 0
    n_multiples: int = 0  # cells all of whose values are multiples of a number above 1
    n_bumpy: int = 0  # cells with numbers that are commoner than drawing molecules allows
    why: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int8))  # (n_obs,) of `likeness.WHY`
    empty: list[int] = field(default_factory=list)  # the first cells without counts on the genes that count
    n_empty: int = 0
    gene_totals: np.ndarray = field(default_factory=lambda: np.empty(0))
    gene_cells: np.ndarray = field(default_factory=lambda: np.empty(0))  # cells with the gene
    gene_codes: np.ndarray = field(default_factory=lambda: np.empty(0))  # equal for columns with equal counts
    totals: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_obs,)
    foreign: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_obs,) counts on genes of another species


def scan(adata: "AnnData", chosen: Candidate, name: str, match: GeneMatch | None = None) -> Scan:
    """Read the chosen matrix in blocks of cells.

    Parameters
    ----------
    match
        Which genes the model knows: a cell without counts on them is empty. None takes all genes of the file.
    """
    matrix = chosen.matrix
    n_obs, n_vars = matrix.shape
    found = Scan(n_obs, n_vars, why=np.zeros(n_obs, np.int8), totals=np.zeros(n_obs), foreign=np.zeros(n_obs))
    found.gene_totals, found.gene_codes = np.zeros((2, n_vars))
    found.gene_cells = np.zeros(n_vars, dtype=np.int64)
    counts = chosen.features.is_gene if match is None else match.target >= 0
    has_foreign = match is not None and bool(match.is_foreign.any())
    for start, block in mx.row_blocks(matrix):
        block = mx.keep_columns(block, chosen.features.is_gene)
        refuse_bad_values(adata, chosen, start, block, name)
        block = as_counts(block, start, chosen, found)
        n_rows, stop = block.shape[0], start + block.shape[0]
        found.gene_totals += np.bincount(block.indices, weights=block.data, minlength=n_vars)
        weights = np.repeat(row_codes(start, stop), np.diff(block.indptr))
        found.gene_codes += np.bincount(block.indices, weights=block.data * weights, minlength=n_vars)
        found.gene_cells += np.bincount(block.indices, minlength=n_vars)
        found.totals[start:stop] = np.asarray(block.sum(axis=1, dtype=np.float64)).ravel()
        if has_foreign:
            found.foreign[start:stop] = block @ match.is_foreign.astype(np.float64)
        on_genes = counts[block.indices] & (block.data > 0)
        empty = np.flatnonzero(np.diff(np.concatenate([[0], np.cumsum(on_genes)])[block.indptr]) == 0)
        found.n_empty += len(empty)
        found.empty += [start + int(i) for i in empty[: N_NAMES - len(found.empty)]]
        found.largest = max(found.largest, float(block.data.max()) if n_rows and block.nnz else 0.0)
    return found


def as_counts(block: sp.csr_matrix, start: int, chosen: Candidate, found: Scan) -> sp.csr_matrix:
    """The counts of a block; what does not look like counts is noted."""
    if chosen.recovery:
        found.n_failing += count_failing(block, chosen.recovery)
        return chosen.recovery.apply(block)
    flags = is_whole(block.data)
    if flags.all():
        block = rounded(block)
        found.n_whole += block.shape[0]
    else:
        found.is_whole = False
        n_values = np.diff(block.indptr)
        n_whole = np.diff(np.concatenate([[0], np.cumsum(flags)])[block.indptr])
        found.n_failing += int((n_whole < MIN_WHOLE_OF_ESTIMATES * n_values).sum())
        found.n_whole += int((n_whole == n_values).sum())
    n_genes = int(chosen.features.is_gene.sum())
    judged = likeness.judge_cells(block, is_whole=bool(flags.all()), n_genes=n_genes)
    found.n_judged += int(judged.is_judged.sum())
    found.n_multiples += int((judged.unit > 1).sum())
    found.n_bumpy += int(judged.is_bumpy.sum())
    found.why[start : start + block.shape[0]] = judged.why
    return block


def row_codes(start: int, stop: int) -> np.ndarray:
    """A number between 0 and 1 for every cell, the same in every run: columns with equal sums of these are equal."""
    return np.modf(np.arange(start + 1, stop + 1) * 0.6180339887498949)[0]


def refuse_unlike(found: Scan, chosen: Candidate, name: str) -> None:
    """Refuse a matrix that does not hold the counts of all cells."""
    n, what = 0, ""
    # Among cells of whole counts already a few others are a mixture; estimates and rounded values vary by themselves.
    is_mixture = not chosen.recovery and found.n_failing + found.n_whole == found.n_obs
    if found.n_failing > (likeness.MAX_FAR_CELLS if is_mixture else MAX_FAILING_CELLS) * found.n_obs:
        n = found.n_failing
        what = "are no whole multiples of the smallest one" if chosen.recovery else "are no whole numbers"
        what = f"the values {what}"
    elif not chosen.recovery:
        found.why[likeness.at_fixed_total(found.totals) & (found.why == 0)] = likeness.FIXED_TOTAL
        if not (why := likeness.too_many(found.why, found.n_judged)):
            return
        n = int((found.why > 0).sum())
        what = f"the values do not look like counts: {likeness.WHY[why]}"
    if what:
        raise DatasetError(
            f"{chosen.location} of {name} does not hold the counts of all cells: in {n:,} of {found.n_obs:,} cells "
            f"{what}.",
            "Raw counts are needed.",
            "Save the raw counts into layers['counts'] and open that file.",
        )


def refuse_bad_values(adata: "AnnData", chosen: Candidate, start: int, block: sp.csr_matrix, name: str) -> None:
    """Refuse missing, infinite and negative values, naming the first cell and gene that has one."""
    if block.nnz == 0:
        return
    if block.dtype.kind == "f" and not np.isfinite(block.data.sum(dtype=np.float64)):
        bad, what = ~np.isfinite(block.data), "missing or infinite (NaN, inf)"
    elif block.dtype.kind != "u" and block.data.min() < 0:
        bad, what = block.data < 0, "negative"
    else:
        return
    if not bad.any():
        return
    first = int(np.flatnonzero(bad)[0])
    row = int(np.searchsorted(block.indptr, first, side="right")) - 1
    gene = count_var(adata, chosen.location).index[block.indices[first]]
    raise DatasetError(
        f"{chosen.location} of {name} has values that are {what}; the first is {block.data[first]:g} "
        f"in the cell '{adata.obs_names[start + row]}', gene '{gene}'.",
        "Counts are whole numbers from 0 up.",
        "Repair or remove these values, or save the raw counts into layers['counts'].",
    )
