"""Read every value of the chosen matrix once: refuse what is no count, and keep what later steps need to know."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.data import likeness
from scfviz.data import matrix as mx
from scfviz.data.candidates import MIN_WHOLE_OF_ESTIMATES, Candidate, count_var, is_whole, rounded
from scfviz.data.genes import GeneMatch
from scfviz.data.recovery import count_failing
from scfviz.errors import ChoiceError, DatasetError

if TYPE_CHECKING:
    from anndata import AnnData

MAX_FAILING_CELLS = 0.05
BULK_GENES = 12_000  # a cell expresses fewer of the model's genes, a bulk sample more
# No gene has so many counts in a cell or a sample; -1 in 32 bits without a sign is 4,294,967,295.
IMPOSSIBLE_COUNT = 1e9
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
    n_humped: int = 0  # cells in which twos are commoner than ones
    why: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int8))  # (n_obs,) of `likeness.WHY`
    empty: list[int] = field(default_factory=list)  # the first cells without counts on the genes that count
    n_empty: int = 0
    gene_totals: np.ndarray = field(default_factory=lambda: np.empty(0))
    gene_cells: np.ndarray = field(default_factory=lambda: np.empty(0))  # cells with the gene
    gene_codes: np.ndarray = field(default_factory=lambda: np.empty(0))  # equal for columns with equal counts
    totals: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_obs,)
    n_expressed: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_obs,) genes that count, with counts
    foreign: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_obs,) counts on genes of another species
    sums: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_obs, k) sums that were asked for
    n_summed: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_obs,) genes in them, with counts


def scan(
    adata: "AnnData",
    chosen: Candidate,
    name: str,
    match: GeneMatch | None = None,
    *,
    weights: np.ndarray | None = None,
    watch: Callable[[float], None] | None = None,
) -> Scan:
    """Read the chosen matrix in blocks of cells.

    Parameters
    ----------
    match
        Which genes the model knows: a cell without counts on them is empty. None takes all genes of the file.
    weights
        float64 (n_vars, k): what is summed up for each cell; the first column says with 1 which genes take part.
    watch
        Called with the share that is done, 0 to 1; may raise to end the reading.
    """
    matrix = chosen.matrix
    n_obs, n_vars = matrix.shape
    found = Scan(n_obs, n_vars, why=np.zeros(n_obs, np.int8), totals=np.zeros(n_obs), foreign=np.zeros(n_obs))
    found.n_expressed = np.zeros(n_obs, dtype=np.int32)
    found.gene_totals, found.gene_codes = np.zeros((2, n_vars))
    found.gene_cells = np.zeros(n_vars, dtype=np.int64)
    target = np.where(chosen.features.is_gene, np.arange(n_vars), -1) if match is None else match.target
    is_foreign = np.zeros(n_vars, bool) if match is None else match.is_foreign
    has_sums = weights is not None
    weights = np.zeros((n_vars, 1)) if weights is None else weights
    if has_sums:
        found.sums, found.n_summed = np.zeros((n_obs, weights.shape[1])), np.zeros(n_obs, dtype=np.int32)
    for start, block in mx.row_blocks(matrix):
        block = mx.keep_columns(block, chosen.features.is_gene)
        refuse_bad_values(adata, chosen, start, block, name)
        block = without_zeros(as_counts(block, start, chosen, found))
        n_rows, stop = block.shape[0], start + block.shape[0]
        totals, codes = (block.T @ np.stack([np.ones(n_rows), row_codes(start, stop)], axis=1)).T
        found.gene_totals += totals
        found.gene_codes += codes
        found.gene_cells += np.bincount(block.indices, minlength=n_vars)
        sums = block @ np.column_stack([np.ones(n_vars), is_foreign, weights])
        found.totals[start:stop], found.foreign[start:stop] = sums[:, 0], sums[:, 1]
        n_expressed, n_summed = count_genes(block, target, weights[:, 0] > 0)
        found.n_expressed[start:stop] = n_expressed
        if has_sums:
            found.sums[start:stop], found.n_summed[start:stop] = sums[:, 2:], n_summed
        empty = np.flatnonzero(n_expressed == 0)
        found.n_empty += len(empty)
        found.empty += [start + int(i) for i in empty[: N_NAMES - len(found.empty)]]
        found.largest = max(found.largest, float(block.data.max()) if n_rows and block.nnz else 0.0)
        if watch is not None:
            watch(stop / n_obs)
    return found


def without_zeros(block: sp.csr_matrix) -> sp.csr_matrix:
    """The block with each entry once, and none that is zero."""
    if block.has_canonical_format and block.data.all():
        return block
    block = block.copy()
    block.sum_duplicates()
    block.eliminate_zeros()
    return block


def count_genes(block: sp.csr_matrix, target: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Genes with entries in each row, and entries in some columns: two arrays (n_rows,).

    Parameters
    ----------
    target
        int (n_vars,): which gene each column is, below 0 for none. Several may be one gene.
    columns
        bool (n_vars,).
    """
    is_gene = target >= 0
    is_repeated = is_gene & (np.bincount(target[is_gene], minlength=1)[target] > 1)
    entries = sp.csr_matrix((np.ones(block.nnz, np.float32), block.indices, block.indptr), shape=block.shape)
    n_genes, n_entries = (entries @ np.stack([is_gene & ~is_repeated, columns], axis=1).astype(np.float64)).T
    if is_repeated.any():
        kept = is_repeated[block.indices]
        indptr = np.concatenate([[0], np.cumsum(kept)])[block.indptr]
        shape = (block.shape[0], int(target.max()) + 1)
        genes = sp.csr_matrix((np.ones(kept.sum(), bool), target[block.indices[kept]], indptr), shape=shape)
        genes.sum_duplicates()
        n_genes = n_genes + np.diff(genes.indptr)
    return n_genes, n_entries


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
    found.n_humped += int(judged.is_humped.sum())
    found.why[start : start + block.shape[0]] = judged.why
    return block


def row_codes(start: int, stop: int) -> np.ndarray:
    """A number between 0 and 1 for every cell, the same in every run: columns with equal sums of these are equal."""
    return np.modf(np.arange(start + 1, stop + 1) * 0.6180339887498949)[0]


def refuse_unlike(found: Scan, chosen: Candidate, name: str, *, by_totals: bool = True) -> None:
    """Refuse a matrix that does not hold the counts of all cells; without `by_totals` their totals may be close.

    Raises
    ------
    ChoiceError
        The values are whole numbers, but unlike counts; the user may know better.
    DatasetError
        Some cells hold other values.
    """
    # Among cells of whole counts already a few others are a mixture; estimates and rounded values vary by themselves.
    is_mixture = not chosen.recovery and found.n_failing + found.n_whole == found.n_obs
    if found.n_failing > (likeness.MAX_FAR_CELLS if is_mixture else MAX_FAILING_CELLS) * found.n_obs:
        what = "are no whole multiples of the smallest one" if chosen.recovery else "are no whole numbers"
        raise DatasetError(
            f"{chosen.location} of {name} does not hold the counts of all cells: in {found.n_failing:,} of "
            f"{found.n_obs:,} cells the values {what}.",
            "Raw counts are needed.",
            "Save the raw counts into layers['counts'] and open that file.",
        )
    if chosen.recovery:
        return
    if by_totals:
        found.why[likeness.at_fixed_total(found.totals) & (found.why == 0)] = likeness.FIXED_TOTAL
    why = likeness.too_many(found.why, found.n_judged)
    where = f"in {int((found.why > 0).sum()):,} of {found.n_obs:,} cells " if why else ""
    if not why and likeness.is_humped(found.n_humped, found.n_judged):
        why, where = likeness.HUMP, f"in {found.n_humped:,} of {found.n_obs:,} cells "
    if by_totals and not why:
        is_plain = found.is_whole and 2 * found.n_multiples <= found.n_judged
        why = likeness.unlike_totals(found.totals, chosen.sample, is_plain=is_plain)
    if why:
        raise ChoiceError(
            f"{chosen.location} of {name} does not hold the counts of all cells: {where}the values do not look like "
            f"counts: {likeness.WHY[why]}.",
            "Raw counts are needed.",
            "Save the raw counts into layers['counts'] and open that file. If these are the counts, choose them: "
            f'counts="{chosen.location}" in Python, --counts in commands.',
            choices=(chosen.location,),
            title=DatasetError.title,
        )


def refuse_bad_values(adata: "AnnData", chosen: Candidate, start: int, block: sp.csr_matrix, name: str) -> None:
    """Refuse missing, infinite, negative and impossibly large values, naming the first cell and gene that has one."""
    if block.nnz == 0:
        return
    if block.dtype.kind == "f" and not np.isfinite(block.data.sum(dtype=np.float64)):
        bad, what = ~np.isfinite(block.data), "missing or infinite (NaN, inf)"
    elif block.dtype.kind != "u" and block.data.min() < 0:
        bad, what = block.data < 0, "negative"
    elif block.data.max() >= IMPOSSIBLE_COUNT:
        bad, what = block.data >= IMPOSSIBLE_COUNT, "larger than any count (negative ones, stored without a sign?)"
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


def bulk_note(n_expressed: np.ndarray) -> list[str]:
    """A sentence where cells have as many genes as only bulk samples have.

    Parameters
    ----------
    n_expressed
        Genes of the model with counts, of each cell.
    """
    median = float(np.median(n_expressed)) if len(n_expressed) else 0.0
    if median < BULK_GENES:
        return []
    return [
        f"Half of the cells have {median:,.0f} genes or more, as only bulk samples have; they were taken for cells. "
        "Add --bulk if they are samples."
    ]
